"""Kernels of quadratic programs against their readable twins."""

import numpy as np
import pytest
import reference

from skmtl.kernels import quadratic as kernels


def matrix(n, p, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, p))
    return reference.gaussian_kernel(rows, rows, 1.0)


@pytest.mark.parametrize("n_sweeps", [0, 1, 4])
@pytest.mark.parametrize("top", [0.3, 100.0])
def test_descend(n_sweeps, top):
    rng = np.random.default_rng(1)
    K, k, start = matrix(12, 2), rng.normal(0.5, 1.0, 12), rng.uniform(0.0, 0.3, 12)
    upper = top * rng.uniform(1.0, 2.0, 12)
    c, gradient = start.copy(), K @ start - k
    kernels.descend(K, gradient, c, upper, n_sweeps)
    np.testing.assert_allclose(c, reference.coordinate_sweeps(K, k, start, upper, n_sweeps))
    np.testing.assert_allclose(gradient, K @ c - k, atol=1e-10)
    assert n_sweeps == 0 or ((c == 0.0).any() and (top > 1.0 or (c == upper).any()))


def test_rows_and_columns():
    K, rng = np.random.default_rng(2).normal(size=(30, 30)), np.random.default_rng(3)
    for n in (0, 1, 6, 7):
        rows = np.sort(rng.choice(30, n, replace=False))
        for dtype in (np.float64, np.float32):
            square = np.zeros((n, n), dtype=dtype)
            kernels.take_square(K, rows, square)
            np.testing.assert_array_equal(square, np.triu(K[rows][:, rows]).astype(dtype))
        values, out = rng.normal(size=n), rng.normal(size=30)
        expected = out + values @ K[rows]
        kernels.add_rows(K, rows, values, out)
        np.testing.assert_allclose(out, expected, rtol=1e-11, atol=1e-11)


def test_low_rank():
    K = matrix(40, 1)
    L = np.empty((30, 40))
    rank = kernels.low_rank(K, L, 1e-6)
    assert 3 < rank < 15
    np.testing.assert_allclose(L[:rank].T, reference.pivoted_cholesky(K, rank), atol=1e-6)
    left = np.trace(K) - (L[:rank] ** 2).sum()
    assert 0 <= left <= 1e-6 * 40 < np.trace(K) - (L[: rank - 1] ** 2).sum()


def test_no_low_rank():
    assert kernels.low_rank(matrix(40, 8), np.empty((20, 40)), 1e-6) == -1
    assert kernels.low_rank(matrix(40, 1), np.empty((3, 40)), 1e-6) == -1
    assert kernels.low_rank(np.eye(4), np.empty((4, 4)), 1e-6) == 4
