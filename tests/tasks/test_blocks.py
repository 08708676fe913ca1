"""Cross-validation schemes as blocks."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, TimeSeriesSplit

from skmtl.tasks.blocks import _distinct, deal_blocks, partitions
from skmtl.tasks.keys import row_keys
from skmtl.tasks.table import pack as packed


def pack(X, y, codes, n_tasks):
    table = packed(X, y, codes, n_tasks)
    return replace(table, keys=row_keys(X, table.y, None, table.rows)[1])


def table_of(n=90, n_tasks=4, seed=0, order=None, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    X, y, codes = rng.normal(size=(n, 3)), rng.normal(size=n), rng.integers(n_tasks, size=n)
    order = np.arange(n) if order is None else order
    return pack(X[order], (y * scale + shift)[order], codes[order], n_tasks), order


def by_row(table, block):
    out = np.empty(table.X.shape[0], dtype=np.int64)
    out[table.rows] = block
    return out


def splits_of(table, parts):
    """(train, test) rows of every split, as sets."""
    for part in parts:
        for train, test in zip(part.train, part.test, strict=True):
            yield (
                set(table.rows[train[part.block]].tolist()),
                set(table.rows[test[part.block]].tolist()),
            )


@pytest.mark.parametrize("n_blocks", [2, 3, 5])
def test_every_task_is_dealt_evenly(n_blocks):
    table, _ = table_of()
    block = deal_blocks(table, n_blocks)
    for t in range(4):
        counts = np.bincount(block[table.codes == t], minlength=n_blocks)
        assert np.ptp(counts) <= 1


def test_dealing_depends_on_content_only():
    table, _ = table_of()
    wanted = by_row(table, deal_blocks(table, 5))
    order = np.random.default_rng(1).permutation(90)
    shuffled, _ = table_of(order=order)
    np.testing.assert_array_equal(by_row(shuffled, deal_blocks(shuffled, 5)), wanted[order])
    rescaled, _ = table_of(scale=1000.0, shift=5.0)
    np.testing.assert_array_equal(by_row(rescaled, deal_blocks(rescaled, 5)), wanted)
    other_seed = by_row(table, deal_blocks(table, 5, seed=1))
    assert (other_seed != wanted).mean() > 0.3


def test_classes_are_not_dealt_evenly_within_tasks():
    rng = np.random.default_rng(0)
    y, codes = np.tile([0.0, 0.0, 0.0, 0.0, 1.0], 400), np.repeat(np.arange(200), 10)
    table = pack(rng.normal(size=(2000, 2)), y, codes, 200)
    (part,) = partitions(table, 5, classifier=True)[:1]
    ones = np.zeros((200, 5))
    np.add.at(ones, (table.codes, part.block), table.y)
    # Two rows of class 1 among ten, two a fold: together by chance in one of nine tasks.
    assert (ones == 2).any(axis=1).mean() == pytest.approx(1 / 9, abs=0.06)


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_two_rows_is_in_every_training_fold(seed):
    rng = np.random.default_rng(seed)
    y = (np.arange(60) < 2).astype(float)
    table = pack(rng.normal(size=(60, 2)), y, rng.integers(3, size=60), 3)
    for part in partitions(table, 3, classifier=True):
        for train in part.train:
            assert table.y[train[part.block]].max() == 1.0


def test_tasks_of_one_row_do_not_all_stand_in_one_block():
    rng = np.random.default_rng(0)
    table = pack(rng.normal(size=(200, 2)), rng.normal(size=200), np.arange(200), 200)
    assert np.bincount(deal_blocks(table, 5), minlength=5).min() > 20


def test_sparse_rows_are_dealt_by_content():
    rng = np.random.default_rng(0)
    X, y, codes = rng.normal(size=(60, 3)), rng.normal(size=60), rng.integers(3, size=60)
    order = rng.permutation(60)
    a = pack(sparse.csr_matrix(X), y, codes, 3)
    b = pack(sparse.csr_matrix(X[order]), y[order], codes[order], 3)
    wanted = by_row(a, deal_blocks(a, 4))
    np.testing.assert_array_equal(by_row(b, deal_blocks(b, 4)), wanted[order])


def test_an_int_is_that_many_folds_repeated_on_small_tables():
    table, _ = table_of()
    parts = partitions(table, 3)
    assert len(parts) > 1
    for part in parts:
        assert part.train.shape == part.test.shape == (3, 3)
    splits = list(splits_of(table, parts))
    for train, test in splits:
        assert train | test == set(range(90)) and not train & test
    for first in range(0, len(splits), 3):
        tests = [test for _, test in splits[first : first + 3]]
        assert sum(map(len, tests)) == 90
    assert splits[0] != splits[3]
    large, _ = table_of(n=20_000)
    assert len(partitions(large, 3)) == 1


SPLITTERS = {
    "KFold": KFold(4),
    "GroupKFold": GroupKFold(3),
    "TimeSeriesSplit": TimeSeriesSplit(4),
    "few shuffles": ShuffleSplit(3, random_state=0),
    "many shuffles": ShuffleSplit(9, test_size=0.3, random_state=0),
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_a_splitter_gives_its_own_splits(name):
    cv = SPLITTERS[name]
    table, _ = table_of()
    X = table.X
    groups = np.random.default_rng(2).integers(6, size=90) if name == "GroupKFold" else None
    wanted = [(set(train), set(test)) for train, test in cv.split(X, None, groups)]
    parts = partitions(table, cv, X=X, y=np.zeros(90), groups=groups)
    assert list(splits_of(table, parts)) == wanted
    for part in parts:
        assert part.block.max() < part.n_blocks == part.train.shape[1]


@pytest.mark.parametrize("n_splits", [1, 5, 12, 45, 130])  # the last ones outgrow 64 bits
def test_distinct_roles_are_those_of_numpy(n_splits):
    rng = np.random.default_rng(n_splits)
    kinds = rng.integers(3, size=(60, n_splits)).astype(np.int8)
    role = kinds[rng.integers(60, size=500)]
    wanted, wanted_block = np.unique(role, axis=0, return_inverse=True)
    found, block = _distinct(role)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(block, wanted_block.ravel())


def test_an_iterable_of_splits():
    table, _ = table_of()
    splits = [(np.arange(30), np.arange(40, 60)), (np.arange(50, 90), np.arange(20))]
    parts = partitions(table, iter(splits), X=table.X)
    wanted = [(set(train), set(test)) for train, test in splits]
    assert list(splits_of(table, parts)) == wanted


def test_a_packed_table_of_columns_is_split_by_rows():
    """In a 2-D target, a row's labels stand in the same fold of a splitter."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 3))
    y[::3, 1] = np.nan
    table = pack(X, y, None, 3)
    (part,) = partitions(table, KFold(4), X=X, y=y)
    for test, (_, rows) in zip(part.test, KFold(4).split(X), strict=True):
        assert set(table.rows[test[part.block]]) == set(rows)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "cv=1 must be at least 2"),
        ([], "no splits"),
        ([(np.arange(5), np.array([], dtype=int))], "split 0 has no training rows or no test"),
        ([(np.array([], dtype=int), np.arange(5))], "split 0 has no training rows or no test"),
    ],
)
def test_bad_schemes(cv, message):
    table, _ = table_of()
    with pytest.raises(ValueError, match=message):
        partitions(table, cv, X=table.X)
