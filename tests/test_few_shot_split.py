"""FewShotSplit: the shots of held-out tasks, types of y, scikit-learn's tools."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.metrics import task_scorer
from skmtl.model_selection import FewShotSplit


def as_lists(splits):
    return [(train.tolist(), test.tolist()) for train, test in splits]


def bare(tasks):
    """A table without columns."""
    return np.zeros((len(tasks), 1))


def held_out(cv, tasks, y=None):
    """The tasks that each fold holds out, and their shots; fails unless the split is one.

    Every other task is whole in training, and of the held-out ones each row is on one side.
    """
    tasks, found = np.asarray(tasks), []
    for train, test in cv.split(bare(tasks), y, tasks):
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(len(tasks)))
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        out = set(tasks[test])
        found.append((out, [i for i in train if tasks[i] in out]))
    assert len(found) == cv.get_n_splits(bare(tasks), y, tasks)
    return found


def ragged(n_tasks=23, seed=0):
    """Unsorted tasks with three classes in numbers of their own; 0 to 12 rows of each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 13, size=(n_tasks, 3))
    sizes[:, 0] += 2  # all can be tested
    tasks = np.repeat(np.arange(n_tasks), sizes.sum(axis=1))
    y = np.concatenate([np.repeat(["a", "b", "c"], row) for row in sizes])
    order = rng.permutation(len(y))
    return tasks[order], y[order]


# tasks and rows of the folds


@pytest.mark.parametrize("n_splits", [2, 5, 23])
@pytest.mark.parametrize("n_shots", [0, 1, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_task_is_held_out_once(n_splits, n_shots, shuffle):
    tasks, y = ragged()
    cv = FewShotSplit(n_splits, n_shots=n_shots, shuffle=shuffle)
    folds = [out for out, _ in held_out(cv, tasks, y)]
    assert sorted(t for out in folds for t in out) == list(range(23))
    assert np.ptp([len(out) for out in folds]) <= 1


@pytest.mark.parametrize("n_shots", [1, 3, 8, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_shots_of_every_class(n_shots, shuffle):
    tasks, y = ragged()
    for out, shots in held_out(FewShotSplit(4, n_shots=n_shots, shuffle=shuffle), tasks, y):
        for task in out:
            for label in np.unique(y):
                rows = (tasks == task) & (y == label)
                n_rows, n_known = rows.sum(), rows[shots].sum()
                if n_rows <= 1:  # the only row of a class is a shot
                    assert n_known == n_rows
                else:  # at least one is left for testing
                    assert n_known == min(n_shots, n_rows - 1)


@pytest.mark.parametrize("n_shots", [1, 3, 100])
@pytest.mark.parametrize(
    "stratify, target",
    [
        ("auto", "decimals"),
        ("auto", "none"),
        ("auto", "two columns"),
        (False, "classes"),
        (False, "none"),
        (False, "decimals"),
    ],
)
def test_shots_of_the_task(n_shots, stratify, target):
    tasks, labels = ragged()
    y = {
        "decimals": np.random.default_rng(0).normal(size=len(tasks)),
        "none": None,
        "two columns": np.column_stack([labels == "a", labels == "b"]),
        "classes": labels,
    }[target]
    for out, shots in held_out(FewShotSplit(4, n_shots=n_shots, stratify=stratify), tasks, y):
        for task in out:
            n_rows = (tasks == task).sum()
            assert (tasks[shots] == task).sum() == min(n_shots, n_rows - 1)


def test_without_shots_whole_tasks_are_held_out():
    tasks = np.repeat(np.arange(6), 4)
    folds = as_lists(FewShotSplit(3, n_shots=0, shuffle=False).split(bare(tasks), None, tasks))
    by_group = as_lists(GroupKFold(3).split(bare(tasks), None, tasks))
    assert sorted(folds) == sorted(by_group)


def test_unshuffled_takes_the_first_rows_of_each_class():
    tasks = ["b", "a", "b", "a", "b", "b", "a", "b", "a", "a"]
    y = ["n", "n", "n", "n", "y", "n", "y", "y", "n", "y"]
    cv = FewShotSplit(2, n_shots=1, shuffle=False)
    assert held_out(cv, tasks, y) == [({"a"}, [1, 6]), ({"b"}, [0, 4])]
    cv = FewShotSplit(2, n_shots=3, shuffle=False, stratify=False)
    assert held_out(cv, tasks, y) == [({"a"}, [1, 3, 6]), ({"b"}, [0, 2, 4])]


def test_seeds():
    tasks, y = ragged()

    def folds(cv):
        return as_lists(cv.split(bare(tasks), y, tasks))

    default = folds(FewShotSplit(4))
    assert folds(FewShotSplit(4)) == default == folds(FewShotSplit(4, random_state=0))
    other = folds(FewShotSplit(4, random_state=1))
    assert other != default
    assert folds(FewShotSplit(4, shuffle=False)) not in (default, other)
    # both the tasks of a fold and the shots are drawn
    first, second = (held_out(FewShotSplit(4, random_state=s), tasks, y) for s in (0, 1))
    assert [out for out, _ in first] != [out for out, _ in second]
    known = [
        {i for _, shots in part for i in shots if (tasks == tasks[i]).sum() > 6}
        for part in (first, second)
    ]
    assert known[0] != known[1]
    generator = np.random.RandomState(0)
    cv = FewShotSplit(4, random_state=generator)
    assert folds(cv) == default and folds(cv) != default
    np.random.seed(0)
    drawn = folds(FewShotSplit(4, random_state=None))
    assert folds(FewShotSplit(4, random_state=None)) != drawn


def test_shots_are_drawn_evenly():
    tasks, y = np.repeat(np.arange(2), 10), np.tile([0, 1], 10)
    times = np.zeros(20)
    for seed in range(300):
        for _, shots in held_out(FewShotSplit(2, n_shots=2, random_state=seed), tasks, y):
            times[shots] += 1
    assert times.sum() == 300 * 8
    # each row is a shot in 2 draws of 5, with a standard error of 0.028
    assert (np.abs(times / 300 - 0.4) < 0.1).all()


def test_more_shots_add_to_the_fewer():
    tasks, y = ragged()
    few, more = (held_out(FewShotSplit(4, n_shots=n), tasks, y) for n in (2, 5))
    for (out, shots), (out_more, shots_more) in zip(few, more, strict=True):
        assert out == out_more
        assert set(shots) < set(shots_more)


def test_labels_of_tasks_and_classes_are_only_names():
    tasks, y = ragged()
    cv = FewShotSplit(4, n_shots=2)
    expected = as_lists(cv.split(bare(tasks), y, tasks))
    named = [f"shop {t:02d}" for t in tasks]
    for labels in (y, np.char.add("class ", y), pd.factorize(y, sort=True)[0]):
        assert as_lists(cv.split(bare(tasks), labels, named)) == expected


# small tasks


def test_tasks_too_small_to_be_tested():
    # a: both classes twice; b: one row of each; c: a single row; d: one class twice
    tasks, y = list("aaaabbcdd"), list("xyxyxyxyy")
    cv = FewShotSplit(2, n_shots=5)
    with pytest.warns(UserWarning, match="2 of 4 tasks have too few rows to be tested"):
        folds = held_out(cv, tasks, y)
    assert sorted(sorted(out) for out, _ in folds) == [["a"], ["d"]]
    with pytest.warns(UserWarning, match="1 of 4 tasks have too few rows"):  # b has two rows
        folds = held_out(FewShotSplit(3, stratify=False), tasks, y)
    assert sorted(t for out, _ in folds for t in out) == ["a", "b", "d"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = held_out(FewShotSplit(4, n_shots=0), tasks, y)
    assert sorted(t for out, _ in folds for t in out) == ["a", "b", "c", "d"]


def test_no_task_can_be_tested():
    with pytest.raises(ValueError, match="No task can be tested: all 3 tasks have too few rows"):
        held_out(FewShotSplit(2), [1, 2, 3])
    with pytest.raises(ValueError, match="No task can be tested: all 2 tasks .*stratify="):
        held_out(FewShotSplit(2), [1, 1, 2, 2], [10, 20, 30, 40])
    with pytest.raises(ValueError, match="No task can be tested: all 0 tasks"):
        held_out(FewShotSplit(2), [], [])


def test_fewer_tasks_than_folds():
    tasks = np.repeat(["a", "b", "c"], 8)
    with pytest.raises(ValueError, match="n_splits=5 folds over tasks .* there are 3; use fewer"):
        held_out(FewShotSplit(), tasks)
    with pytest.raises(ValueError, match=r"there are 3 \(1 others have too few rows"):
        held_out(FewShotSplit(4), [*tasks, "d"])
    assert len(held_out(FewShotSplit(3), tasks)) == 3


def test_a_task_of_one_class():
    tasks, y = np.repeat([0, 1], 6), np.array([1] * 6 + [0, 1] * 3)
    for out, shots in held_out(FewShotSplit(2, n_shots=2), tasks, y):
        assert np.bincount(y[shots], minlength=2).tolist() == ([0, 2] if out == {0} else [2, 2])


# kinds of y

YES = np.array([True, False, True, True, False, False] * 4)
TARGETS = {
    "bools": YES,
    "list of bools": YES.tolist(),
    "ints": YES.astype(int),
    "whole floats": YES.astype(float),
    "column": YES[:, None].astype(int),
    "strings": np.where(YES, "yes", "no"),
    "list of strings": np.where(YES, "yes", "no").tolist(),
    "object strings": np.where(YES, "yes", "no").astype(object),
    "object ints": YES.astype(int).astype(object),
    "object bools": YES.astype(object),
    "pandas strings": pd.Series(np.where(YES, "yes", "no"), index=np.arange(24)[::-1]),
    "pandas category": pd.Series(np.where(YES, "yes", "no")).astype("category"),
    "pandas bools": pd.Series(YES),
    "pandas nullable ints": pd.Series(YES, dtype="Int64"),
    "pandas nullable bools": pd.Series(YES, dtype="boolean"),
    "pandas frame": pd.DataFrame({"y": YES}),
    "polars strings": pl.Series(np.where(YES, "yes", "no").tolist()),
    "polars category": pl.Series(np.where(YES, "yes", "no").tolist(), dtype=pl.Categorical),
    "polars bools": pl.Series(YES.tolist()),
    "polars ints": pl.Series(YES.astype(int).tolist()),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("stratify", ["auto", True])
def test_kinds_of_classes(kind, stratify):
    y = TARGETS[kind]
    before = copy.deepcopy(y)
    tasks = np.repeat([0, 1, 2, 3], 6)
    cv = FewShotSplit(2, n_shots=2, stratify=stratify)
    assert as_lists(cv.split(bare(tasks), y, tasks)) == as_lists(cv.split(bare(tasks), YES, tasks))
    for _, shots in held_out(cv, tasks, y):
        assert YES[shots].sum() == 4 and len(shots) == 8
    same = y.equals(before) if hasattr(y, "equals") else np.array_equal(y, before)
    assert same


DECIMALS = np.linspace(0.1, 2.3, 24)


@pytest.mark.parametrize(
    "y",
    [
        DECIMALS,
        DECIMALS.tolist(),
        DECIMALS.astype(object),
        pd.Series(DECIMALS, dtype="Float64"),
        pl.Series(DECIMALS),
    ],
    ids=["numpy", "list", "objects", "pandas nullable", "polars"],
)
def test_kinds_of_numbers(y):
    tasks = np.repeat([0, 1, 2, 3], 6)
    for _, shots in held_out(FewShotSplit(2, n_shots=2), tasks, y):
        assert len(shots) == 4


def test_whole_numbers_that_may_be_amounts():
    rng = np.random.default_rng(0)
    tasks, y = np.repeat(np.arange(10), 20), rng.poisson(8, size=200)
    with pytest.warns(UserWarning, match=r"distinct whole numbers in y for classes.*stratify=Fal"):
        held_out(FewShotSplit(), tasks, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for stratify in (True, False):
            held_out(FewShotSplit(stratify=stratify), tasks, y)
        held_out(FewShotSplit(), tasks, y.astype(str))
        held_out(FewShotSplit(n_shots=9), tasks, y % 2)  # 18 rows of 20, but two classes
        held_out(FewShotSplit(n_shots=1), tasks, y % 5)


def unlabelled(*y, **options):
    return pd.Series([*y] * 4, **options)


@pytest.mark.parametrize(
    "y, match",
    [
        (unlabelled(1.0, 0.0, np.nan), "y is missing or infinite in 4 rows, the first.* row 2;"),
        (unlabelled(0.5, np.nan, 0.7), "in 4 rows, the first of them row 1; drop rows"),
        (unlabelled(0.5, np.inf, 0.7), "missing or infinite in 4 rows"),
        (unlabelled("a", None, "b"), "in 4 rows, the first of them row 1"),
        (unlabelled("a", None, "b", dtype=object), "in 4 rows"),
        (unlabelled("a", pd.NA, "b", dtype=object), "in 4 rows"),
        (unlabelled(1, None, 0, dtype="Int64"), "in 4 rows"),
        (unlabelled(True, None, False, dtype="boolean"), "in 4 rows"),
        (unlabelled("a", None, "b", dtype="category"), "in 4 rows"),
        (pl.Series(["a", None, "b"] * 4), "in 4 rows"),
        (pl.Series([1, None, 0] * 4), "in 4 rows"),
        (["a", np.nan, "b"] * 4, "in 4 rows"),
        (["a", 1, "b"] * 4, r"mixed or unsupported types \(int, str\)"),
        ([True, 1, 0] * 4, r"mixed or unsupported types \(bool, int\)"),
        ([{}, {}, {}] * 4, r"unsupported types \(dict\)"),
        ([10**30, 1, 2] * 4, r"unsupported types \(int\)"),
        (np.array(["2024-01", "2024-02", "2024-03"] * 4, "M8[M]"), r"type datetime64\[M\]"),
        (np.array([b"a", b"b", b"c"] * 4), "values of type |S1"),
        (np.ones(12) * 1j, "values of type complex128"),
        (np.ones(11), "inconsistent numbers of samples"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_bad_targets(y, match):
    tasks = np.repeat([0, 1], 6)
    with pytest.raises(ValueError, match=match):
        held_out(FewShotSplit(2, n_shots=1), tasks, y)
    if len(y) == 12:  # y is not read then
        expected = held_out(FewShotSplit(2, n_shots=1), tasks)
        assert held_out(FewShotSplit(2, n_shots=1, stratify=False), tasks, y) == expected


@pytest.mark.parametrize(
    "y, match",
    [
        (None, "stratify=True needs y, but it is None"),
        (np.linspace(1, 3, 12), r"numbers with decimals, such as 1\.18.*stratify=False"),
        (np.ones((12, 2)), r"one class per row, but y has shape \(12, 2\)"),
    ],
)
def test_stratified_shots_need_classes(y, match):
    with pytest.raises(ValueError, match=match):
        held_out(FewShotSplit(2, stratify=True), np.repeat([0, 1], 6), y)


# sources of task labels

SHOPS = np.array(["b", "a", "a", "b", "c", "a", "b", "c", "a", "b", "c", "c"])
LABELS = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])


def frames():
    data = {"x": np.arange(12.0), "shop": SHOPS, "z": np.ones(12)}
    pandas = pd.DataFrame(data)
    codes = np.unique(SHOPS, return_inverse=True)[1]
    polars_category = pl.col("shop").cast(pl.Categorical)
    return {
        "pandas": (pandas, "shop"),
        "pandas category": (pandas.astype({"shop": "category"}), "shop"),
        "pandas renamed": (pandas.rename(columns={"shop": "remainder__shop"}), "shop"),
        "pandas odd index": (pandas.set_index(np.arange(12)[::-1] + 5), "shop"),
        "polars": (pl.DataFrame(data), "shop"),
        "polars category": (pl.DataFrame(data).with_columns(polars_category), "shop"),
        "numpy floats": (np.column_stack([np.ones(12), codes]), 1),
        "numpy negative index": (np.column_stack([np.ones(12), codes]), -1),
        "numpy objects": (np.column_stack([np.ones(12), SHOPS]).astype(object), 1),
        "list": ([[1.0, int(c)] for c in codes], 1),
    }


@pytest.mark.parametrize("kind", frames())
def test_task_column(kind):
    X, column = frames()[kind]
    before = copy.deepcopy(X)
    expected = as_lists(FewShotSplit(3, n_shots=1).split(bare(SHOPS), LABELS, SHOPS))
    assert as_lists(FewShotSplit(3, n_shots=1, task_column=column).split(X, LABELS)) == expected
    same = X.equals(before) if hasattr(X, "equals") else np.array_equal(X, before)
    assert same


def test_sparse_task_column():
    from scipy.sparse import csr_array

    codes = np.unique(SHOPS, return_inverse=True)[1]
    X = csr_array(np.column_stack([np.ones(12), codes]))
    expected = as_lists(FewShotSplit(3, n_shots=1).split(bare(SHOPS), LABELS, SHOPS))
    assert as_lists(FewShotSplit(3, n_shots=1, task_column=1).split(X, LABELS)) == expected


@pytest.mark.parametrize("wrap", [list, np.asarray, pd.Series, pl.Series])
def test_groups_override_the_column(wrap):
    X = pd.DataFrame({"x": np.arange(12.0), "shop": SHOPS})
    groups = np.repeat([1, 2], 6)
    expected = as_lists(FewShotSplit(2, n_shots=1).split(X, LABELS, groups))
    cv = FewShotSplit(2, n_shots=1, task_column="shop")
    assert as_lists(cv.split(X, LABELS, wrap(groups))) == expected
    assert as_lists(cv.split(X, LABELS)) != expected


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        ({"n_splits": 1}, ValueError, "n_splits=1 must be a number of folds, .* at least 2"),
        ({"n_splits": 2.5}, ValueError, "n_splits=2.5 must be a number of folds"),
        ({"n_shots": -1}, ValueError, "n_shots=-1 must be a number of rows"),
        ({"n_shots": 0.2}, ValueError, "n_shots=0.2 must be a number of rows"),
        ({"n_shots": True}, ValueError, "n_shots=True must be a number of rows"),
        ({"n_shots": [1, 5]}, ValueError, r"n_shots=\[1, 5\] must be a number of rows, one"),
        ({"stratify": "yes"}, ValueError, "stratify='yes' must be True .* or 'auto'"),
        ({"stratify": 1}, ValueError, "stratify=1 must be"),
        ({"shuffle": "no"}, TypeError, "shuffle='no' must be True or False"),
    ],
)
def test_bad_parameters(kwargs, error, match):
    with pytest.raises(error, match=match):
        FewShotSplit(**kwargs)


@pytest.mark.parametrize(
    "kwargs, groups, match",
    [
        ({}, None, r"task_column=None and groups=None.*FewShotSplit\(task_column="),
        ({"task_column": "store"}, None, "task_column='store' is not a column of X.*'x', 'shop'"),
        ({}, [1.5] * 12, "groups holds non-integral numbers"),
        ({}, np.array(["a", None] * 6, object), "groups has 6 missing labels"),
        ({}, [1, 1, 2], "inconsistent numbers of samples"),
    ],
)
def test_bad_tasks(kwargs, groups, match):
    X = pd.DataFrame({"x": np.arange(12.0), "shop": SHOPS})
    with pytest.raises(ValueError, match=match):
        list(FewShotSplit(2, **kwargs).split(X, LABELS, groups))


# scikit-learn's tools


def visits(n_tasks=10, n_rows=24, seed=0):
    """A table sorted by string task ids, with string classes and similar tasks."""
    rng = np.random.default_rng(seed)
    shop = np.repeat([f"shop {i}" for i in range(n_tasks)], n_rows)
    X = pd.DataFrame(rng.normal(size=(len(shop), 3)), columns=["p", "q", "r"])
    level = np.repeat(0.5 * rng.normal(size=n_tasks), n_rows)
    y = np.where(X["p"] + level + 0.3 * rng.normal(size=len(shop)) > 0, "buys", "leaves")
    return X.assign(shop=shop), pd.Series(y)


def pooled(drop="by ColumnTransformer"):
    if drop == "by function":  # scikit-learn 1.6's ColumnTransformer finds no polars columns
        drop = FunctionTransformer(lambda X: X[["p", "q", "r"]])
    else:
        drop = ColumnTransformer([("features", "passthrough", ["p", "q", "r"])], remainder="drop")
    return Pipeline([("drop", drop), ("logistic", LogisticRegression())])


@pytest.mark.parametrize(
    "wrap, wrap_y, drop",
    [
        (pd.DataFrame, pd.Series, "by ColumnTransformer"),
        (pl.from_pandas, lambda y: pl.Series(y.tolist()), "by function"),
    ],
    ids=["pandas", "polars"],
)
def test_cross_val_score_and_grid_search(wrap, wrap_y, drop):
    X, y = visits()
    cv = FewShotSplit(5, n_shots=5, task_column="shop")
    expected = cross_val_score(pooled(), X, y, cv=list(cv.split(X, y)), scoring="accuracy")
    model, table, target = pooled(drop), wrap(X), wrap_y(y)
    scores = cross_val_score(model, table, target, cv=cv, scoring="accuracy")
    np.testing.assert_allclose(scores, expected)
    grid = {"logistic__C": [1.0, 1e-6]}
    search = GridSearchCV(model, grid, cv=cv, scoring="accuracy").fit(table, target)
    assert search.n_splits_ == 5
    assert search.best_params_ == {"logistic__C": 1.0}
    np.testing.assert_allclose(search.best_score_, expected.mean())


def test_search_over_an_array():
    X, y = visits()
    array = X.assign(shop=np.unique(X["shop"], return_inverse=True)[1]).to_numpy()
    drop = ColumnTransformer([("features", "passthrough", [0, 1, 2])])
    model = Pipeline([("drop", drop), ("logistic", LogisticRegression())])
    cv = FewShotSplit(5, task_column=3)
    search = GridSearchCV(model, {"logistic__C": [1.0]}, cv=cv, scoring="accuracy").fit(array, y)
    by_name = FewShotSplit(5, task_column="shop")
    expected = cross_val_score(pooled(), X, y, cv=by_name, scoring="accuracy")
    np.testing.assert_allclose(search.best_score_, expected.mean())


def test_what_the_model_sees_in_cross_validate_and_learning_curve():
    X, y = visits()
    cv = FewShotSplit(5, n_shots=3, task_column="shop")
    result = cross_validate(pooled(), X, y, cv=cv, return_indices=True)
    for train, test in zip(result["indices"]["train"], result["indices"]["test"], strict=True):
        assert X["shop"].iloc[train].nunique() == 10
        assert X["shop"].iloc[test].nunique() == 2
        known = X["shop"].iloc[train].isin(X["shop"].iloc[test])
        assert (y.iloc[train][known].groupby(X["shop"].iloc[train]).value_counts() == 3).all()
    _sizes, _, scores = learning_curve(pooled(), X, y, cv=cv, train_sizes=[0.5, 1.0])
    np.testing.assert_allclose(scores[-1], result["test_score"])


def test_rows_that_are_never_tested():
    X, y = visits()
    cv = FewShotSplit(5, task_column="shop")
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict(pooled(), X, y, cv=cv)
    with pytest.raises(ValueError, match="only works for partitions"):
        StackingClassifier([("pooled", pooled())], cv=cv).fit(X, y)


def test_groups_by_metadata_routing():
    X, y = visits()
    expected = cross_val_score(pooled(), X, y, cv=FewShotSplit(3, task_column="shop"))
    shops = X["shop"].to_numpy()
    scores = cross_val_score(pooled(), X, y, cv=FewShotSplit(3), groups=shops)
    np.testing.assert_allclose(scores, expected)
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(pooled(), X, y, cv=FewShotSplit(3), params={"groups": shops})
        np.testing.assert_allclose(scores, expected)
        renamed = FewShotSplit(3).set_split_request(groups="shops")
        search = GridSearchCV(pooled(), {"logistic__C": [1.0]}, cv=renamed).fit(X, y, shops=shops)
        np.testing.assert_allclose(search.best_score_, expected.mean())


def test_repr_pickle_copy():
    cv = FewShotSplit(3, n_shots=2, task_column="shop", random_state=7)
    assert "".join(repr(cv).split()) == (
        "FewShotSplit(n_shots=2,n_splits=3,random_state=7,shuffle=True,stratify='auto',"
        "task_column='shop')"
    )
    X, y = visits()
    for twin in (pickle.loads(pickle.dumps(cv)), copy.deepcopy(cv)):
        assert repr(twin) == repr(cv)
        assert as_lists(twin.split(X, y)) == as_lists(cv.split(X, y))


# with the models of this package


def test_shots_help_a_model_that_knows_tasks():
    """Scores with and without rows of the new tasks in training."""
    rng = np.random.default_rng(0)
    shop = np.repeat(np.arange(30), 20)
    X = pd.DataFrame({"p": rng.normal(size=600), "shop": [f"shop {i}" for i in shop]})
    y = X["p"] + 2 * rng.normal(size=30)[shop] + 0.3 * rng.normal(size=600)
    model = MultiTaskRegressor("partial_pooling", task_column="shop")
    score = {}
    for n_shots in (0, 2, 6):
        cv = FewShotSplit(3, n_shots=n_shots, task_column="shop")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if n_shots == 0 else "error")  # unknown tasks
            score[n_shots] = cross_val_score(
                model, X, y, cv=cv, scoring=task_scorer("rmse"), error_score="raise"
            ).mean()
    assert score[0] < -1.2 and -0.5 < score[2] < score[6] < -0.25  # the noise is 0.3


@pytest.mark.parametrize("estimator", [MultiTaskRegressor, MultiTaskClassifier])
def test_inside_a_fit(estimator):
    X, y = visits()
    y = y if estimator is MultiTaskClassifier else X["p"] + (y == "buys")
    cv = FewShotSplit(3, n_shots=4, task_column="shop")
    model = estimator("partial_pooling", task_column="shop", cv=cv).fit(X, y)
    twin = estimator("partial_pooling", task_column="shop", cv=list(cv.split(X, y))).fit(X, y)
    np.testing.assert_allclose(model.coef_, twin.coef_)
    assert np.isfinite(model.task_report_["error_shared"][:10]).all()
