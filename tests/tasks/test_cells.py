"""Rows of several tasks with the same features are dealt together."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from scipy import sparse

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.tasks.blocks import deal_blocks, partitions
from skmtl.tasks.cells import shared_cells
from skmtl.tasks.copies import settle
from skmtl.tasks.keys import row_keys
from skmtl.tasks.table import pack


def columns(seed, n=60, n_tasks=4, missing=0.0, p=3):
    """A table with one task per column of y."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)), rng.normal(size=(n, n_tasks))
    y[rng.uniform(size=y.shape) < missing] = np.nan
    return X, y


def settled(X, y, codes=None, n_tasks=None):
    return settle(pack(X, y, codes, n_tasks or y.shape[1])).table


def cells_of(X, codes):
    table = pack(X, np.arange(len(X), dtype=float), codes, codes.max() + 1)
    return shared_cells(table, row_keys(table.X, table.y, None, table.rows)[0])


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n", [60, 1500])
def test_a_row_is_in_one_block(kind, missing, n):
    X, y = columns(0, n, missing=missing)
    table = settled(kind(X), y)
    for seed in range(3):
        block = deal_blocks(table, 5, seed)
        of_row = np.full(n, -1)
        of_row[table.rows] = block
        np.testing.assert_array_equal(of_row[table.rows], block)
        counts = [np.bincount(block[table.codes == t], minlength=5) for t in range(4)]
        expected = len(table.rows) / 20
        assert np.abs(np.array(counts) - expected).max() < 0.6 * expected
        if n < 500 and not missing:  # dealt in turn
            assert np.ptp(counts, axis=1).max() <= 1
    assert (deal_blocks(table, 5, 1) != deal_blocks(table, 5, 2)).mean() > 0.5


def test_small_tasks_beside_large_ones_are_balanced():
    X, y = columns(1, 900, 6)
    y[60:, 3:] = np.nan
    table = settled(X, y)
    block = deal_blocks(table, 5)
    assert len(set(zip(table.rows, block, strict=True))) == 900
    X, y = columns(2, 400, 40)
    y[np.random.default_rng(2).uniform(size=y.shape) < 0.9] = np.nan
    table = settled(X, y)
    block = deal_blocks(table, 5)
    assert len(set(zip(table.rows, block, strict=True))) == len(set(table.rows))
    spread = [np.ptp(np.bincount(block[table.codes == t], minlength=5)) for t in range(40)]
    assert np.mean(spread) < 5.0  # about 7 if rows were dealt at random


def test_dealing_depends_on_content_only():
    X, y = columns(3, 80, missing=0.3)
    rng = np.random.default_rng(4)
    order, tasks = rng.permutation(80), rng.permutation(4)

    def by_row(X, y):
        table, out = settled(X, y), np.full(len(X), -1)
        out[table.rows] = deal_blocks(table, 5)
        return out

    wanted = by_row(X, y)
    np.testing.assert_array_equal(by_row(X[order], y[order]), wanted[order])
    np.testing.assert_array_equal(by_row(X, y[:, tasks]), wanted)
    np.testing.assert_array_equal(by_row(-3.0 * X[:, ::-1] + 7.0, 1e4 * y), wanted)
    rows, codes = np.nonzero(~np.isnan(y))
    long = settled(X[rows], y[rows, codes], codes, 4)
    found = np.full(80, -1)
    found[rows[long.rows]] = deal_blocks(long, 5)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_values", [2, 6, 30, 10**6])
def test_equal_features_by_chance(seed, n_values):
    """The decision is that of the pairs of rows, counted one by one."""
    rng = np.random.default_rng(seed)
    X, codes = rng.integers(n_values, size=(150, 2)).astype(float), rng.integers(5, size=150)
    X[75:125], codes[75:125] = X[25:75], (codes[25:75] + 1) % 5  # the same cases in other tasks
    found, wanted = cells_of(X, codes) is not None, reference.shares_cells(X, codes)
    assert found == wanted
    if n_values != 30:
        assert wanted == (n_values > 30)


def test_tables_without_shared_rows():
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(100, 2)), np.arange(100) % 5
    assert cells_of(X, codes) is None  # all rows differ
    many, few = rng.normal(size=(1000, 2)), np.arange(1000) % 5
    many[1] = many[0]
    assert cells_of(many, few) is None  # hardly any row is repeated
    assert cells_of(np.repeat(X[:50], 2, axis=0), np.zeros(100, dtype=int)) is None  # one task
    days = np.arange(100.0)[:, None] // 10
    assert cells_of(days, np.arange(100) % 10) is None  # a design of ten days
    assert cells_of(np.repeat(X[:20], 5, axis=0), codes) is not None
    table = settled(X[:24], rng.normal(size=(24, 3)))
    block = deal_blocks(table, 24)  # too few rows for blocks of their own
    np.testing.assert_array_equal(block, deal_blocks(replace(table, cells=None), 24))


def test_grouping_columns_are_what_rows_share():
    """Every level of a grouping is to be both held out and trained on."""
    rng = np.random.default_rng(5)
    person, task = np.repeat(np.arange(60), 5), np.tile(np.arange(5), 60)
    X = np.column_stack([rng.normal(size=60)[person], person])
    y = X[:, 0] + 2.0 * rng.normal(size=60)[person] + 0.1 * rng.normal(size=300)
    with_effects = MultiTaskRegressor("partial_pooling", grouping_columns=1).fit(X, y, task=task)
    assert with_effects.grouping_strengths_[1] < 0.1
    assert np.average(with_effects.task_report_["error_shared"][:-1]) < 0.05
    without = MultiTaskRegressor("partial_pooling", exclude_columns=1).fit(X, y, task=task)
    errors = without.task_report_["error_shared"][:-1]
    assert np.average(errors) > 0.9 * np.mean((y - without.predict(X, task=task)) ** 2)


def correlated(seed, n=100, p=10, n_tasks=30):
    """Outcomes of the same cases whose noise is alike, and whose slopes differ."""
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=p) / np.sqrt(p) + 0.3 * rng.normal(size=(n_tasks, p)) / np.sqrt(p)
    X = rng.normal(size=(n, p))
    noise = np.sqrt(0.9) * rng.normal(size=(n, 1)) + np.sqrt(0.1) * rng.normal(size=(n, n_tasks))
    return X, X @ coef.T + noise, coef


def test_noise_that_tasks_have_in_common_does_not_speak_for_sharing():
    """It did: errors were 1.4 times those of separate fits, and reported as 10 % too small."""
    ratio, report = [], []
    for seed in range(4):
        X, y, coef = correlated(seed)
        model = MultiTaskRegressor("partial_pooling").fit(X, y)
        alone = MultiTaskRegressor("independent").fit(X, y)
        error, wanted = (((m.coef_ - coef) ** 2).sum(axis=1).mean() for m in (model, alone))
        ratio.append(error / wanted)
        report.append(model.task_report_["error_shared"][:-1].mean() / (1.0 + error))
    assert np.mean(ratio) < 1.05
    assert np.mean(report) == pytest.approx(1.0, abs=0.15)


def test_classes_of_the_same_cases():
    """Labels of a long table that agree in all tasks are held out together."""
    rng = np.random.default_rng(6)
    X, task = np.repeat(rng.normal(size=(80, 6)), 4, axis=0), np.tile(np.arange(4), 80)
    y = np.repeat(rng.integers(2, size=80), 4)
    table = settle(pack(X, y.astype(float), task, 4), classes=True).table
    (part,) = partitions(table, 5, classifier=True)[:1]
    held_out = {c: set() for c in range(80)}
    for row, block in zip(table.rows, part.block, strict=True):
        held_out[row // 4].add(block)
    assert all(len(blocks) == 1 for blocks in held_out.values())
    model = MultiTaskClassifier("partial_pooling").fit(X, y, task=task)
    assert model.task_report_["error_shared"][:-1].mean() > 0.65  # nothing is predicted


@pytest.mark.parametrize("kind", ["replicates", "binary"])
def test_rows_of_a_target_of_several_columns_are_known(kind):
    """Equal features do not hide which labels belong to one row."""
    rng = np.random.default_rng(7)
    X = np.repeat(rng.normal(size=(60, 3)), 2, axis=0)
    if kind == "binary":
        X = rng.integers(2, size=(120, 3)).astype(float)
    y = rng.normal(size=(120, 5))
    y[rng.uniform(size=y.shape) < 0.2] = np.nan

    def by_row(X, y):
        table, out = settled(X, y), np.full(len(X), -1)
        block = deal_blocks(table, 5)
        out[table.rows] = block
        np.testing.assert_array_equal(out[table.rows], block)
        return out

    order = rng.permutation(120)
    np.testing.assert_array_equal(by_row(X[order], y[order]), by_row(X, y)[order])
