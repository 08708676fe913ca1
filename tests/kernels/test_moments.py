"""Moment kernels against their twins."""

import numpy as np
import pytest
import reference

from skmtl.kernels import moments as kernels
from skmtl.kernels.arrow import Moments
from skmtl.tasks.moments import TaskMoments, readonly


def rows_of(p, sizes, seed=0, offset=0.0, weighted=False):
    """Return packed rows in groups of the given sizes, with a design in another order."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    X = rng.normal(size=(n + 3, p)) + offset
    rows = rng.permutation(n + 3)[:n]
    y = rng.normal(size=n) - offset
    w = rng.uniform(0.2, 3.0, size=n) if weighted else np.empty(0)
    return X, y, w, rows, np.r_[0, np.cumsum(sizes)]


def empty(n_groups, p):
    d = p + 1
    return np.zeros(n_groups), np.zeros((n_groups, d)), np.zeros((n_groups, d, d))


def run(X, y, w, rows, edges):
    """Compute all groups at once, or in two calls, as by threads."""
    n_groups, p = len(edges) - 1, X.shape[1]
    out = empty(n_groups, p)
    half, longest = n_groups // 2, int(np.diff(edges).max())
    for a, b in ((0, half), (half, n_groups)):
        kernels.block_moments(a, b, readonly(X), y, w, rows, edges, longest, Moments(*out))
    return out


def assert_moments(got, wanted, rtol=1e-10, atol=1e-10):
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=atol)


@pytest.mark.parametrize("p", [1, 2, 7, 20, 60])
@pytest.mark.parametrize("weighted", [False, True])
def test_block_moments(p, weighted):
    X, y, w, rows, edges = rows_of(p, [5, 0, 1, 30, 7, 8, 0], weighted=weighted)
    got = run(X, y, w, rows, edges)
    assert_moments(got, reference.block_moments(X, y, w, weighted, rows, edges))
    assert got[0][1] == 0 and not got[1][1].any() and not got[2][1].any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [5, 200])
def test_a_large_mean_does_not_cancel(size, weighted):
    X, y, w, rows, edges = rows_of(3, [size], offset=0.0, weighted=weighted)
    X, y = np.round(X * 64) / 64, np.round(y * 64) / 64  # exact after the shift
    near = run(X, y, w, rows, edges)
    far = run(X + 1e8, y - 1e8, w, rows, edges)
    np.testing.assert_allclose(far[2], near[2], rtol=1e-6, atol=1e-6)
    naive = (X[rows] + 1e8).T @ (X[rows] + 1e8) - size * np.outer(far[1][0, :3], far[1][0, :3])
    assert np.abs(naive - near[2][0, :3, :3]).max() > 1e-3  # the cancellation that is avoided


def test_weights_are_repeated_rows():
    X, y, _, rows, edges = rows_of(4, [3, 9])
    times = np.random.default_rng(1).integers(1, 4, size=12)
    weighted = run(X, y, times.astype(float), rows, edges)
    ends = np.r_[0, np.cumsum(times)]
    repeated = run(X, np.repeat(y, times), np.empty(0), np.repeat(rows, times), ends[edges])
    assert_moments(weighted, repeated)


def stacked(p, n_tasks, n_blocks, seed=0, offset=0.0, weighted=True):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 6, size=n_tasks * n_blocks)
    sizes[:n_blocks] = 0  # a task without rows
    X, y, w, rows, edges = rows_of(p, sizes.tolist(), seed, offset, weighted)
    flat = run(X, y, w, rows, edges)
    shaped = [part.reshape(n_tasks, n_blocks, *part.shape[1:]) for part in flat]
    return shaped, (X, y, w, rows, edges)


@pytest.mark.parametrize("p", [1, 5, 60])
@pytest.mark.parametrize("chosen", [[1, 1, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]])
def test_merge_blocks(p, chosen):
    parts, _ = stacked(p, 6, 3)
    chosen, tasks = np.array(chosen, dtype=bool), np.array([4, 0, 5])
    out = empty(3, p)
    out[1][:], out[2][:] = 7.0, 7.0  # overwritten
    kernels.merge_blocks(0, 3, Moments(*parts), chosen, tasks, Moments(*out))
    assert_moments(out, reference.merge_blocks(*parts, chosen, tasks))


def test_merged_blocks_are_the_moments_of_all_rows():
    parts, (X, y, w, rows, edges) = stacked(4, 5, 3, offset=50.0)
    out = empty(5, 4)
    kernels.merge_blocks(0, 5, Moments(*parts), np.ones(3, dtype=bool), np.arange(5), Moments(*out))
    whole = run(X, y, w, rows, edges[::3])
    assert_moments(out, whole)


def added(a, b):
    """Return the merged moments of two groups, as `TaskMoments.with_blocks` does."""
    one, other = (TaskMoments(*(part[None, None].copy() for part in group)) for group in (a, b))
    return tuple(part[0, 0] for part in one.with_blocks(other, np.array([0])).arrays)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_merging_is_associative(offset):
    X, y, w, rows, edges = rows_of(3, [4, 9, 2], offset=offset, weighted=True)
    parts = run(X, y, w, rows, edges)
    a, b, c = ([np.asarray(part[i]) for part in parts] for i in range(3))
    left, right, turned = added(added(a, b), c), added(a, added(b, c)), added(added(c, a), b)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if offset == 0 else {"rtol": 1e-5, "atol": 1e-5}
    assert_moments(left, right, **tolerance)
    assert_moments(left, turned, **tolerance)
    if offset == 0:
        assert_moments(left, reference.merge(reference.merge(a, b), c))


def test_merging_nothing_changes_nothing():
    X, y, w, rows, edges = rows_of(3, [4, 0], weighted=True)
    some, none = ([np.asarray(part[i]) for part in run(X, y, w, rows, edges)] for i in range(2))
    for got in (added(some, none), added(none, some)):
        for g, wanted in zip(got, some, strict=True):
            np.testing.assert_array_equal(g, wanted)
