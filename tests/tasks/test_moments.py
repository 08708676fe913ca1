"""Block moments of a table: from rows, merged, added, rescaled."""

import numpy as np
import pytest
import reference
from scipy import sparse

from skmtl._jit import worker_pool
from skmtl.tasks.moments import TaskMoments, block_moments, moment_bytes, scale_of
from skmtl.tasks.table import pack


def table_of(seed=0, n=200, p=3, n_tasks=40, form=np.asarray, weighted=False):
    rng = np.random.default_rng(seed)
    X, y, codes = rng.normal(size=(n, p)) + 2.0, rng.normal(size=n), rng.integers(n_tasks, size=n)
    weight = rng.integers(0, 3, size=n).astype(float) if weighted else None
    return pack(form(X), y, codes, n_tasks, weight)


def slow(table, block, n_blocks):
    X = table.X.toarray() if hasattr(table.X, "toarray") else table.X
    groups = []
    for t in range(table.n_tasks):
        for b in range(n_blocks):
            mine = (table.codes == t) & (block == b)
            w = None if table.sample_weight is None else table.sample_weight[mine]
            groups.append(reference.moments(X[table.rows[mine]], table.y[mine], w))
    shape = (table.n_tasks, n_blocks)
    return [part.reshape(*shape, *part.shape[1:]) for part in reference.stack_moments(groups)]


def assert_same(moments, wanted, rtol=1e-9):
    if isinstance(wanted, TaskMoments):
        wanted = (wanted.weight, wanted.mean, wanted.scatter)
    for got, w in zip((moments.weight, moments.mean, moments.scatter), wanted, strict=True):
        np.testing.assert_allclose(got, w, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_from_rows(form, weighted):
    table = table_of(form=form, weighted=weighted)
    block = np.random.default_rng(1).integers(3, size=len(table.rows))
    moments = block_moments(table, block, 3)
    assert moments.n_features == 3
    assert_same(moments, slow(table, block, 3))
    assert_same(block_moments(table), slow(table, np.zeros(len(table.rows)), 1))


def test_merged_blocks_are_the_whole():
    table = table_of(weighted=True)
    block = np.random.default_rng(1).integers(4, size=len(table.rows))
    moments = block_moments(table, block, 4)
    assert_same(moments.merge(), block_moments(table).merge())
    chosen = np.array([True, False, True, False])
    tasks = np.array([3, 30, 1])
    merged = moments.merge(chosen, tasks)
    wanted = slow(table, np.where(chosen[block], 0, 1), 2)
    assert_same(merged, [part[tasks, 0] for part in wanted])


def test_threads_change_nothing():
    table = table_of(n=3000, n_tasks=300)
    block = np.random.default_rng(1).integers(3, size=len(table.rows))
    one = block_moments(table, block, 3)
    with worker_pool(2) as executor:
        more = block_moments(table, block, 3, executor=executor)
        merged = one.merge(executor=executor)
    for name in ("weight", "mean", "scatter"):
        np.testing.assert_array_equal(getattr(one, name), getattr(more, name))
        np.testing.assert_array_equal(getattr(one.merge(), name), getattr(merged, name))


def test_tables_add_up():
    """Two tables with other tasks each: expanded and added, they are the one table."""
    rng = np.random.default_rng(0)
    X, y, codes = rng.normal(size=(80, 2)), rng.normal(size=80), rng.integers(5, size=80)
    early = codes < 3
    first, second = np.flatnonzero(early)[:30], np.r_[np.flatnonzero(early)[30:]]
    second = np.r_[second, np.flatnonzero(~early)]
    a = block_moments(pack(X[first], y[first], codes[first], 3))
    b = block_moments(pack(X[second], y[second], codes[second], 5))
    total = a.expanded(5, np.array([0, 1, 2]))
    assert_same(total.with_blocks(b, np.arange(5)), block_moments(pack(X, y, codes, 5)))


def test_taking_and_copying_leave_the_original_alone():
    moments = block_moments(table_of()).merge()
    before = moments.copy()
    moments.take(np.array([0, 2])).rescale(np.ones(4), np.full(4, 2.0))
    moments.copy().rescale(np.ones(4), np.full(4, 2.0))
    for name in ("weight", "mean", "scatter"):
        np.testing.assert_array_equal(getattr(moments, name), getattr(before, name))
    assert_same(moments.take(np.array([2])), [part[[2]] for part in before.arrays])


@pytest.mark.parametrize("weighted", [False, True])
def test_pooled(weighted):
    table = table_of(weighted=weighted)
    w = np.ones(len(table.rows)) if table.sample_weight is None else table.sample_weight
    Z = np.column_stack([table.X[table.rows], table.y])
    total, mean, variance = block_moments(table).merge().pooled()
    np.testing.assert_allclose(total, w.sum())
    np.testing.assert_allclose(mean, np.average(Z, axis=0, weights=w))
    np.testing.assert_allclose(variance, np.average((Z - mean) ** 2, axis=0, weights=w))


def test_rescaled_moments_are_those_of_rescaled_rows():
    table = table_of()
    centre, scale = np.array([1.0, -2.0, 0.5, 3.0]), np.array([2.0, 0.0, 1.0, 0.1])
    moments = block_moments(table).merge().rescale(centre, scale)
    moved = pack(
        (table.X - centre[:3]) * scale[:3], (table.y - 3.0) * 0.1, table.codes, table.n_tasks
    )
    moved = moved.__class__(moved.X, moved.y, None, table.rows, table.offsets)
    assert_same(moments, block_moments(moved).merge())


def test_bytes():
    moments = block_moments(table_of(p=5, n_tasks=7))
    held = moments.weight.nbytes + moments.mean.nbytes + moments.scatter.nbytes
    assert moment_bytes(7, 5) == held


def test_columns_constant_up_to_rounding_have_no_scale():
    n = 1000
    wide = 1e6 + 1e-3 * np.random.default_rng(0).normal(size=n)
    X = np.column_stack([np.full(n, 0.1), np.full(n, 1e8 / 3.0), np.zeros(n), wide])
    total, mean, variance = block_moments(pack(X, X[:, 0], np.zeros(n, int), 1)).merge().pooled()
    variance[0] = (0.1 * 1e-16) ** 2  # as another order of the sums leaves it
    scale = scale_of(total, mean, variance)
    np.testing.assert_array_equal(scale[:3], 0.0)
    np.testing.assert_allclose(scale[3], 1.0 / wide.std(), rtol=1e-3)
