"""Kernels of the linear heads against a general optimiser and dense formulas."""

import numpy as np
import pytest
import reference

from skmtl.kernels import heads as kernels

SIZES = [4, 0, 12, 1, 7]
WIDTHS = [1, 3, 9]
LOSSES = [0, 1, 2]


def problem(loss, r, seed=0, ways=(3, 3, 2, 3, 2)):
    rng = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(SIZES))
    n = offsets[-1]
    Z = rng.normal(size=(n, r))
    Z[offsets[2] + 1] = Z[offsets[2]]  # two equal rows
    ways = np.array(ways)
    if loss == 0:
        y = rng.normal(size=n)
    else:
        top = np.full(n, 2) if loss == 1 else np.repeat(ways, SIZES)
        y = (rng.integers(0, 12, size=n) % top).astype(float)
    base = rng.normal(size=(n, 3 if loss == 2 else 1))
    return Z, base, y, rng.uniform(0.3, 2.0, size=n), offsets, ways


def rows_of(given):
    return kernels.Rows(*given, *kernels.gram_matrices(given[0], given[4]))


def solved(loss, given, posterior=False):
    """Fit in two calls, as by threads."""
    Z, base, *_ = given
    v = np.full((len(SIZES), base.shape[1], Z.shape[1]), np.nan)
    left_out, moments = np.zeros(base.shape), []
    for a, b in ((0, 2), (2, len(SIZES))):
        moments.append(kernels.fit_heads(a, b, loss, rows_of(given), v, left_out, posterior))
    return (v, left_out, sum(moments)) if posterior else (v, left_out)


def each_task(loss, given):
    Z, base, y, w, offsets, ways = given
    for t in range(len(SIZES)):
        rows, k = slice(offsets[t], offsets[t + 1]), ways[t] if loss == 2 else 1
        yield t, rows, k, (Z[rows], base[rows, :k], y[rows], w[rows])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("r", WIDTHS)
def test_heads_minimise_the_objective(loss, r):
    given = problem(loss, r)
    v, left_out = solved(loss, given)
    for t, rows, k, task in each_task(loss, given):
        assert not v[t, k:].any()
        wanted = reference.fit_head(loss, *task)
        np.testing.assert_allclose(v[t, :k], wanted, rtol=1e-5, atol=1e-6)
        out = reference.head_left_out(loss, *task, v[t, :k])
        np.testing.assert_allclose(left_out[rows, :k], out, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("r", WIDTHS)
def test_posterior_moments(loss, r):
    given = problem(loss, r)
    v, _, moment = solved(loss, given, posterior=True)
    moment += np.einsum("tki,tkj->ij", v, v)
    wanted = np.zeros((r, r))
    for t, _, k, task in each_task(loss, given):
        wanted += reference.head_moment(loss, *task, v[t, :k])
    np.testing.assert_allclose(moment, wanted, rtol=1e-9, atol=1e-10)


def test_left_out_is_exact_for_numbers():
    given = problem(0, 3)
    Z, base, y, w, offsets, _ = given
    _, left_out = solved(0, given)
    a, b = offsets[2], offsets[3]
    for i in range(a, b):
        without = w * (np.arange(len(w)) != i)
        rows = a + np.flatnonzero(without[a:b])
        v = reference.fit_head(0, Z[rows], base[rows], y[rows], without[rows])
        np.testing.assert_allclose(left_out[i, 0], base[i, 0] + Z[i] @ v[0], rtol=1e-6)


def test_extreme_scores_stay_finite():
    Z, base, y, w, offsets, ways = problem(2, 3)
    for loss, scores in ((1, base[:, :1]), (2, base)):
        label = np.minimum(y, 1.0) if loss == 1 else y
        given = (1e3 * Z, 1e3 * np.ascontiguousarray(scores), label, w, offsets, ways)
        v, left_out = solved(loss, given)
        assert np.isfinite(v).all() and np.isfinite(left_out).all()
        for t, _, k, task in each_task(loss, given):
            at_zero = reference.head_loss(loss, task[1], *task[2:])
            scores_there = task[1] + task[0] @ v[t, :k].T
            penalty = 0.5 * (v[t, :k] ** 2).sum()
            assert reference.head_loss(loss, scores_there, *task[2:]) + penalty <= at_zero + 1e-9


def test_large_heads_are_solved_alike():
    """There are more unknowns than in usual tasks."""
    rng = np.random.default_rng(0)
    n, r, k = 60, 40, 3
    given = (
        rng.normal(size=(n, r)), np.zeros((n, k)), rng.integers(0, k, n).astype(float), np.ones(n),
        np.array([0, n]), np.array([k]),
    )  # fmt: skip
    v, left_out = np.empty((1, k, r)), np.zeros((n, k))
    kernels.fit_heads(0, 1, 2, rows_of(given), v, left_out, False)
    np.testing.assert_allclose(v[0], reference.fit_head(2, *given[:4]), rtol=1e-4, atol=1e-6)
