"""Packing rows by task."""

import numpy as np
import pytest

from skmtl.tasks.table import pack


def rows_by_task(table):
    """Every task's rows of X, targets and weights, as sorted tuples."""
    out = []
    for first, last in zip(table.offsets[:-1], table.offsets[1:], strict=True):
        weights = np.ones(len(table.y)) if table.sample_weight is None else table.sample_weight
        mine = slice(first, last)
        out.append(sorted(zip(table.rows[mine], table.y[mine], weights[mine], strict=True)))
    return out


@pytest.mark.parametrize("n_tasks", [4, 70_000])  # codes of two widths
def test_rows_are_sorted_by_task(n_tasks):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 2)), rng.normal(size=50)
    codes = rng.choice([0, 1, n_tasks - 1], size=50)  # the others have no rows
    table = pack(X, y, codes, n_tasks)
    assert table.X is X and table.n_features == 2 and table.n_tasks == n_tasks
    np.testing.assert_array_equal(table.y, y[table.rows])
    np.testing.assert_array_equal(table.codes, codes[table.rows])
    np.testing.assert_array_equal(np.sort(table.rows), np.arange(50))
    np.testing.assert_array_equal(table.task_sizes(), np.bincount(codes, minlength=n_tasks))
    assert table.sample_weight is None


def test_rows_of_weight_zero_are_left_out():
    y = np.arange(6.0)
    codes = np.array([1, 0, 1, 2, 0, 1])
    weight = np.array([1.0, 0.0, 2.0, 0.0, 3.0, 4.0])
    table = pack(np.zeros((6, 1)), y, codes, 3, weight)
    assert rows_by_task(table) == [
        [(4, 4.0, 3.0)], [(0, 0.0, 1.0), (2, 2.0, 2.0), (5, 5.0, 4.0)], [],
    ]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
def test_columns_of_a_target(weighted):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 4))
    y[rng.uniform(size=y.shape) < 0.4] = np.nan
    weight = rng.integers(0, 3, size=30).astype(float) if weighted else None
    table = pack(np.zeros((30, 2)), y, None, 4, weight)
    wanted = [
        [
            (i, y[i, t], 1.0 if weight is None else weight[i])
            for i in range(30)
            if not np.isnan(y[i, t]) and (weight is None or weight[i] > 0)
        ]
        for t in range(4)
    ]
    assert rows_by_task(table) == wanted
