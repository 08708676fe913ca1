"""Proportions of a mixture, against expectation maximisation and by their certificate."""

import numpy as np
import pytest
import reference

from skmtl.solvers.mixture import solve_mixture


def parts_of(n=60, m=8, sigma=1.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 2))
    A = reference.gaussian_kernel(rows, rows[:m], sigma) * rng.uniform(0.5, 2.0, m)
    return A, rng.uniform(0.5, 2.0, n)


@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("m", [1, 8, 60])
def test_the_maximum_is_that_of_em(sigma, m):
    A, v = parts_of(m=m, sigma=sigma)
    A = A[A.max(axis=1) > 0]
    found = solve_mixture(A, v[: len(A)])
    assert found.gap <= 1e-8 and found.n_iter < 40
    assert (found.p >= 0).all() and np.isclose(found.p.sum(), 1.0)
    v = v[: len(A)] / v[: len(A)].sum()
    np.testing.assert_allclose(found.objective, v @ np.log(A @ found.p), rtol=1e-9)
    em = v @ np.log(A @ reference.mixture_by_em(A, v, 5000))
    assert found.objective >= em - 1e-8
    np.testing.assert_allclose(found.objective, em, atol=1e-3)


def test_scales_of_rows_and_weights_do_not_matter():
    A, v = parts_of()
    rows = np.exp(np.linspace(-200.0, 200.0, len(v)))
    plain, scaled = solve_mixture(A, v), solve_mixture(A * rows[:, None], 7.0 * v)
    np.testing.assert_allclose(plain.p, scaled.p, atol=1e-9)
    constant = v @ np.log(rows) / v.sum()
    np.testing.assert_allclose(scaled.objective, plain.objective + constant)


def test_the_gap_of_an_early_end_is_honest():
    A, v = parts_of(m=20)
    best = solve_mixture(A, v).objective
    for max_iter in range(8):
        early = solve_mixture(A, v, max_iter=max_iter)
        assert -1e-9 <= best - early.objective <= early.gap + 1e-9
