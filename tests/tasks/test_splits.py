"""Cross-validation splits given by the user: accepted and refused ones."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    ShuffleSplit,
    TimeSeriesSplit,
)

from skmtl import Source, TransferEstimator
from skmtl.tasks.splits import check_n_folds, read_splits

N = 12
FIRST, LAST = np.arange(8), np.arange(8, N)


def rows_of(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 2))
    return X, X[:, 0] + 0.1 * rng.normal(size=N)


def read(cv, **given):
    return read_splits(cv, *rows_of(), n_samples=N, **given)


LEGAL = {
    "arrays": (FIRST, LAST),
    "lists": (FIRST.tolist(), LAST.tolist()),
    "ranges": (range(8), range(8, N)),
    "masks": (np.arange(N) < 8, np.arange(N) >= 8),
    "a mask and rows": (np.arange(N) < 8, LAST),
    "lists of booleans": ([True] * 8 + [False] * 4, [False] * 8 + [True] * 4),
    "slices": (slice(8), slice(8, None)),
    "from the end": (np.arange(-12, -4), np.arange(-4, 0)),
    "unsigned": (FIRST.astype(np.uint8), LAST.astype(np.uint64)),
    "an index of pandas": (pd.Index(FIRST), pd.Series(LAST)),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_splits(name):
    for cv in ([LEGAL[name]], (LEGAL[name],), iter([list(LEGAL[name])])):
        ((train, test),) = read(cv)
        np.testing.assert_array_equal(train, FIRST)
        np.testing.assert_array_equal(test, LAST)
        assert train.dtype == test.dtype == np.int64


SPLITTERS = [
    KFold(3),
    TimeSeriesSplit(3),
    ShuffleSplit(4, random_state=0),
    PredefinedSplit(np.arange(N) % 3),
]


@pytest.mark.parametrize("cv", SPLITTERS, ids=lambda cv: type(cv).__name__)
def test_splitters_are_read_as_they_are(cv):
    X, y = rows_of()
    for ours, theirs in itertools.zip_longest(read(cv, groups=np.arange(N)), cv.split(X, y)):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_splitter_is_given_groups():
    groups = np.arange(N) % 4
    for train, test in read(GroupKFold(2), groups=groups):
        assert not set(groups[train]) & set(groups[test])


def test_rows_listed_twice():
    twice = np.r_[FIRST, 3]
    ((train, _),) = read([(twice, LAST)])
    np.testing.assert_array_equal(train, twice)
    with pytest.raises(ValueError, match="cv: train of split 0 lists row 3 more than once"):
        read([(twice, LAST)], copies=False)
    with pytest.raises(ValueError, match="cv: test of split 0 lists row 9 more than once"):
        read([(FIRST, np.r_[LAST, 9])], copies=False)


class Returns:
    """A splitter that returns something else."""

    def __init__(self, found):
        self.found = found

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1

    def split(self, X, y=None, groups=None):
        return self.found


def exhausted():
    splits = KFold(3).split(*rows_of())
    list(splits)
    return splits


# What is given, and what the error says.
BAD = {
    "nothing": ([], r"cv=\[\] yields no splits"),
    "an exhausted generator": (exhausted(), "yields no splits.*read only once: give a list"),
    "an exhausted iterator": (iter([]), "yields no splits.*read only once: give a list"),
    "a splitter of nothing": (Returns([]), "yields no splits"),
    "a splitter that returns None": (Returns(None), r"its split\(\) returned None"),
    "no rows": ([(None, None)], r"cv: train of split 0 is None of type NoneType.*1-D array"),
    "numbers for rows": ([(0, 1)], r"cv: train of split 0 is 0 of type int"),
    "overlap": ([(FIRST, np.arange(7, N))], r"cv: train and test of split 0 overlap.*row 7"),
    "overlap from the end": ([(FIRST, [-12])], r"train and test of split 0 overlap.*row 0"),
    "overlapping masks": ([(np.ones(N, bool), np.ones(N, bool))], "split 0 overlap, in 12 row"),
    "overlap in the second": ([(FIRST, LAST), (FIRST, FIRST)], "train and test of split 1 overlap"),
    "rows out of range": ([(FIRST, np.arange(8, 20))], r"test of split 0 lists row 12, but there"),
    "rows far out of range": ([(FIRST, np.array([2**63 + 1], np.uint64))], "lists row 92233720"),
    "rows before the first": ([(FIRST, [-13])], "test of split 0 lists row -13, but there are 12"),
    "floats": ([(FIRST * 1.0, LAST)], r"train of split 0 has entries such as .*0.0.*float64"),
    "missing numbers": ([([np.nan, 1], LAST)], "train of split 0 has entries such as .*nan"),
    "strings": ([(["a", "b"], LAST)], "train of split 0 has entries such as .*'a'"),
    "objects": ([(np.array([0, 1], object), LAST)], "entries such as 0 .dtype object"),
    "dates": ([(np.array([0, 1], "M8[D]"), LAST)], "train of split 0 has entries such as"),
    "a short mask": ([(np.ones(3, bool), LAST)], "train of split 0 is a mask with 3 entries, but "),
    "two dimensions": ([(FIRST[:, None], LAST)], r"train of split 0 .*\(2 dimensions\)"),
    "lists of several lengths": ([([[0], [1, 2]], LAST)], "train of split 0 is not an array of r"),
    "a set of rows": ([({0, 1}, {2, 3})], r"train of split 0 is {0, 1} of type set"),
    "triples": ([(FIRST, LAST, LAST)], r"cv: split 0 is 3 entries.*not a pair \(train, test\)"),
    "single arrays": ((FIRST, LAST), r"split 0 is 8 entries.*a single split is cv=\[\(train, test"),
    "folds of rows": (np.arange(N) % 3, r"split 0 is .* of type int64.*PredefinedSplit\(numbers\)"),
    "ints": ([1, 2], r"split 0 is 1 of type int, not a pair"),
    "strings for splits": (["ab", "cd"], "split 0 is 'ab' of type str, not a pair"),
    "dicts for splits": ([{0: 1, 1: 2}], "split 0 is {0: 1, 1: 2} of type dict, not a pair"),
    "a set for a split": ([{0, 1}], "split 0 is {0, 1} of type set, not a pair"),
    "Nones": ([None], "split 0 is None of type NoneType, not a pair"),
    "a dict": ({0: (FIRST, LAST)}, "cv must be an int, a splitter .* or a list of pairs.*dict"),
    "a set": ({(0, 1)}, "cv must be an int, a splitter .* or a list of pairs.*set"),
    "a class": (KFold, r"cv=KFold is a class; pass an instance: KFold\(...\)"),
    "more folds than rows": (KFold(13), r"cv=KFold.* cannot split these rows: .*n_splits=13"),
    "a splitter that lacks groups": (GroupKFold(2), r"cv=GroupKFold.*cannot split .*groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_invalid_splits_are_refused(name):
    cv, message = BAD[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read(cv)


@pytest.mark.parametrize("name", BAD)
def test_the_transfer_estimator_refuses_it_and_stays_as_it_was(name):
    cv, message = BAD[name]
    X, y = rows_of(1)
    model = TransferEstimator(Ridge(), source=Source(X, y)).fit(X, y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.set_params(cv=cv).fit(X, y)
    assert {**vars(model), "cv": None} == before


@pytest.mark.parametrize(("cv", "message"), [
    (1, "cv=1 must be at least 2 folds"),
    (-3, "cv=-3 must be at least 2 folds"),
    (13, "cv=13 folds are more than the 12 rows; set cv to at most 12"),
    (10**30, "cv=10+ folds are more than the 12 rows"),
])  # fmt: skip
def test_numbers_of_folds(cv, message):
    with pytest.raises(ValueError, match=message):
        check_n_folds(cv, N)
    assert check_n_folds(np.int32(3), N) == 3


def test_a_generator_guards_the_first_fit_and_is_refused_at_the_second():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=60)
    source = Source(X, y + 3 * X[:, 0], task=np.arange(60) % 5)
    splits = list(KFold(5).split(X))
    wanted = TransferEstimator(Ridge(), source=source, cv=splits).fit(X, y)
    assert (wanted.source_weights_ < 0.5).all()  # harmful ones
    model = TransferEstimator(Ridge(), source=source, cv=(split for split in splits)).fit(X, y)
    np.testing.assert_array_equal(model.source_weights_, wanted.source_weights_)
    with pytest.raises(ValueError, match="yields no splits.*give a list"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.source_weights_, wanted.source_weights_)
    again = wanted.fit(X, y)  # a list is read as often as one likes
    np.testing.assert_array_equal(again.source_weights_, model.source_weights_)


def test_a_bootstrap_trains_on_a_row_as_often_as_it_is_listed():
    rng = np.random.default_rng(3)
    X, X_source = rng.normal(size=(30, 2)), rng.normal(size=(80, 2))
    y, y_source = X @ [1.0, 2.0] + rng.normal(size=30), X_source @ [1.5, 2.0]
    source = Source(X_source, y_source)
    drawn = [np.sort(rng.integers(0, 30, 30)) for _ in range(3)]
    splits = [(rows, np.setdiff1d(np.arange(30), rows)) for rows in drawn]
    model = TransferEstimator(Ridge(), source=source, adaptation="pooled", cv=splits).fit(X, y)
    errors = []
    for train, test in splits:  # of the candidate that weighs all rows alike
        both = np.vstack([X_source, X[train]]), np.r_[y_source, y[train]]
        errors.append((y[test] - Ridge().fit(*both).predict(X[test])) ** 2)
    assert model.history_["target_weight"][0] == 1.0
    np.testing.assert_allclose(model.history_["error"][0], np.concatenate(errors).mean())


def test_any_number_of_folds_is_at_most_one_a_row():
    X, y = rows_of(4)
    source = Source(*rows_of(5))
    one, two = (
        TransferEstimator(Ridge(), source=source, cv=cv).fit(X, y).source_weights_
        for cv in (N, 10**30)
    )
    np.testing.assert_array_equal(one, two)
