"""Copies, counts and chance."""

import numpy as np
import pytest

from skmtl.tasks.blocks import deal_blocks, partitions
from skmtl.tasks.copies import Settled, settle, settle_support
from skmtl.tasks.table import pack


def continuous(seed=0, n=60, n_tasks=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng.normal(size=n), np.arange(n) % n_tasks, rng


def binary(seed=0, n=400, n_tasks=2):
    rng = np.random.default_rng(seed)
    X = rng.integers(2, size=(n, 2)).astype(float)
    return X, (rng.uniform(size=n) < 0.3 + 0.2 * X[:, 0]).astype(float), np.arange(n) % n_tasks


def content(table):
    rows = np.column_stack([table.codes, table.X[table.rows], table.y, table.weights()])
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_equal_rows_changes_nothing(seed, weighted):
    """Nor where they weigh unalike, or labels are as far from their mean on either side."""
    rng = np.random.default_rng(seed)
    codes, order = rng.integers(4, size=120), rng.permutation(120)
    X, y = np.zeros((120, 1)), np.arange(120) % 2 * 1.0
    X[:8] = 1.0
    weight = rng.uniform(0.2, 3.0, size=120) if weighted else np.ones(120)
    found = []
    for rows in (np.arange(120), order):
        table = settle(pack(X[rows], y[rows], codes[rows], 4, weight[rows])).table
        given = table.codes, table.X[table.rows], table.y, deal_blocks(table, 5), table.weights()
        dealt = np.column_stack(given)
        found.append(dealt[np.lexsort(dealt.T)])
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_copies_become_one_row():
    X, y, codes, rng = continuous()
    k = rng.integers(1, 5, size=60)
    one = settle(pack(X, y, codes, 3, k.astype(float)))
    other = settle(pack(np.repeat(X, k, 0), np.repeat(y, k), np.repeat(codes, k), 3, None))
    assert one.together and other.together
    np.testing.assert_allclose(content(one.table), content(other.table), rtol=1e-12)
    np.testing.assert_allclose(one.table.weights().mean(), 1.0)
    np.testing.assert_allclose(one.unit, 1.0 / k.mean())


@pytest.mark.parametrize("factor", [1e-6, 0.37, 1000.0])
def test_a_common_factor_is_nothing(factor):
    X, y, codes, rng = continuous()
    w = rng.integers(1, 5, size=60) / 1.0
    one, other = (settle(pack(X, y, codes, 3, weight)) for weight in (w, w * factor))
    np.testing.assert_allclose(content(one.table), content(other.table), rtol=1e-9)
    np.testing.assert_allclose(one.unit, other.unit * factor)


def test_equal_rows_of_a_binary_table_are_chance():
    X, y, codes = binary()
    settled = settle(pack(X, y, codes, 2, None))
    assert not settled.together and settled.unit == 1.0
    assert settled.table.sample_weight is None and len(settled.table.rows) == 400
    # They fall on all sides, not evenly: what is held out is as any other row.
    block = partitions(settled.table, 5)[0].block
    cell = np.unique(content_keys(settled.table), return_inverse=True)[1]
    counts = np.bincount(cell * 5 + block).reshape(-1, 5)
    expected = counts.sum(1, keepdims=True) / 5
    chi2 = ((counts - expected) ** 2 / expected).sum() / (4 * len(counts))
    assert 0.4 < chi2 < 2.0


def content_keys(table):
    return table.codes * 8 + table.X[table.rows] @ [4, 2] + table.y


def test_counts_of_a_binary_table_are_rows():
    X, y, codes = binary()
    rows, k = np.unique(np.column_stack([X, y, codes]), axis=0, return_counts=True)
    counted = pack(rows[:, :2], rows[:, 2], rows[:, 3].astype(int), 2, 3.0 * k)
    one, other = settle(counted), settle(pack(X, y, codes, 2, None))
    assert not one.together and one.unit == 1.0 / 3.0
    np.testing.assert_array_equal(content(one.table), content(other.table))
    np.testing.assert_allclose(np.sort(one.table.keys), np.sort(other.table.keys), atol=1e-12)


def test_a_constant_weight_of_a_binary_table_is_nothing():
    X, y, codes = binary()
    one, other = (settle(pack(X, y, codes, 2, w)) for w in (None, np.full(400, 1000.0)))
    assert not other.together and other.unit == 1e-3
    np.testing.assert_array_equal(content(one.table), content(other.table))


def test_large_counts_are_dealt_in_parts():
    X, y, codes = binary(n=40)
    w = np.full(40, 10.0**6)
    w[::3] += 1.0
    settled = settle(pack(X, y, codes, 2, w))
    total = np.bincount(settled.table.codes, settled.table.weights())
    np.testing.assert_allclose(total / settled.unit, np.bincount(codes, w))
    assert len(settled.table.rows) <= 16 * 1000


def test_rows_of_fixed_folds_stay():
    X, y, codes, _rng = continuous()
    k = np.repeat([1, 2], 30)
    table = pack(np.repeat(X, k, 0), np.repeat(y, k), np.repeat(codes, k), 3, None)
    settled = settle(table, fixed_rows=True)
    np.testing.assert_array_equal(settled.table.rows, table.rows)
    np.testing.assert_allclose(settled.unit, 60 / 90)


def test_what_there_is_too_little_of_to_deal_stays():
    X, y = np.repeat([[1.0], [2.0]], 5, axis=0), np.repeat([0.0, 1.0], 5)
    assert len(settle(pack(X, y, np.zeros(10, dtype=int), 1, None)).table.rows) == 10


@pytest.mark.parametrize(("together", "wanted"), [(True, [1.5, 0.5]), (False, [2, 1, 1])])
def test_rows_of_a_new_task(together, wanted):
    X, y, w = np.array([[1.0], [0.0], [1.0]]), np.array([2.0, 1.0, 2.0]), np.array([2.0, 1.0, 1.0])
    settled = Settled(None, together=together, counts=not together)
    _, _, weight = settle_support(X, y, w, settled)
    assert sorted(weight.tolist(), reverse=True) == wanted
    _, _, relative = settle_support(X, y, 0.3 * w, settled)
    np.testing.assert_allclose(relative, weight / weight.mean())
