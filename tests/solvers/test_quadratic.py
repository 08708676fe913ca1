"""Quadratic programs with bounds and a bounded sum, against a general optimiser."""

import numpy as np
import pytest
import reference
from scipy.optimize import linprog

from skmtl.solvers import quadratic as room
from skmtl.solvers.quadratic import duality_gap, solve_in_parts, solve_quadratic


def matching(n, p, seed=0, shift=0.5, sigma=None):
    """K and k of kernel mean matching."""
    rng = np.random.default_rng(seed)
    S, T = rng.normal(size=(n, p)), rng.normal(shift, 0.8, size=(n // 2 + 1, p))
    sigma = np.sqrt(2.0 * p) if sigma is None else sigma
    k = n * reference.gaussian_kernel(S, T, sigma).mean(axis=1)
    return reference.gaussian_kernel(S, S, sigma), k


def bounds(n, top=1000.0, eps=None):
    eps = 1 - 1 / np.sqrt(n) if eps is None else eps
    return np.full(n, top), n * (1 - eps), n * (1 + eps)


def assert_feasible(c, upper, low, high):
    assert (c >= 0.0).all() and (c <= upper).all()
    slack = 4 * np.finfo(float).eps * high
    assert low - slack <= c.sum() <= high + slack


# Low rank (interior point), high rank (pivoting), active bounds of sum and variables, fixed sum.
CASES = [(120, 1, {}), (60, 2, {}), (60, 10, {}), (50, 30, {}), (60, 10, {"eps": 0.0}),
         (60, 2, {"eps": 0.0}), (60, 10, {"top": 1.7, "eps": 0.01}), (50, 2, {"top": 1.5}),
         (30, 10, {"eps": 1e-4}), (2, 3, {}), (60, 1, {"top": 3.0, "eps": 0.02})]  # fmt: skip


@pytest.mark.parametrize(("n", "p", "how"), CASES, ids=str)
def test_the_minimum_is_that_of_a_general_optimiser(n, p, how):
    K, k = matching(n, p)
    limits = bounds(n, **how)
    found = solve_quadratic(K, k, *limits)
    assert_feasible(found.c, *limits)
    assert found.gap <= 1e-8 * abs(found.objective)
    np.testing.assert_allclose(found.objective, 0.5 * found.c @ K @ found.c - k @ found.c)
    other, least = reference.dense_quadratic(K, k, *limits)
    assert abs(other.sum() - np.clip(other.sum(), *limits[1:])) < 1e-6
    assert found.objective <= least + 2e-8 * abs(least)
    np.testing.assert_allclose(found.objective, least, rtol=1e-4)
    assert found.history["gap"][-1] == found.gap


@pytest.mark.parametrize(("n", "p", "how"), CASES, ids=str)
def test_both_ways_agree(n, p, how):
    K, k = matching(n, p)
    limits = bounds(n, **how)
    wanted = solve_quadratic(K, k, *limits)
    for factor in [None] + [np.linalg.cholesky(K + 1e-10 * np.eye(n))] * (p == 2):
        problem = room._BoxProblem(K, k, *limits, 1e-8)
        room._interior(problem, factor, 100)
        found = problem.solution()
        assert_feasible(found.c, *limits)
        np.testing.assert_allclose(found.objective, wanted.objective, rtol=2e-8)
        assert found.gap <= 1e-8 * abs(found.objective)


def test_pivoting_ends_exactly():
    K, k = matching(80, 10)
    found = solve_quadratic(K, k, *bounds(80))
    assert found.gap < 1e-12 * abs(found.objective)
    gradient, free = K @ found.c - k, found.c > 0
    assert np.abs(gradient[free]).max() < 1e-9 < gradient[~free].min()


def test_a_sum_that_binds_has_one_price():
    K, k = matching(80, 10)
    upper, low, high = bounds(80, 2.0, 1e-3)
    found = solve_quadratic(K, k, upper, low, high)
    gradient, free = K @ found.c - k, (found.c > 1e-9) & (found.c < 2.0 - 1e-9)
    assert free.any() and np.ptp(gradient[free]) < 1e-7 * np.abs(k).max()
    assert min(found.c.sum() - low, high - found.c.sum()) < 1e-9


def test_the_gap_is_a_linear_program():
    rng = np.random.default_rng(0)
    for low, high in ((1.0, 3.0), (0.0, 100.0), (2.0, 2.0)):
        gradient, upper, c = rng.normal(size=9), rng.uniform(0.2, 1.0, 9), np.full(9, 0.2)
        sums = np.array([np.ones(9), -np.ones(9)])
        best = linprog(gradient, sums, [high, -low], bounds=[(0, u) for u in upper])
        wanted = gradient @ c - best.fun
        np.testing.assert_allclose(duality_gap(gradient, c, upper, low, high), wanted)


def test_many_weights_are_as_good_and_the_even_ones_are_found():
    """Coordinate descent reaches the same objective with far fewer positive coordinates."""
    K, k = matching(300, 1)
    found = solve_quadratic(K, k, *bounds(300)).c
    uneven = np.ones(300)
    gradient = K @ uneven - k
    room.kernels.quadratic.descend(K, gradient, uneven, np.full(300, 1000.0), 300)
    effective = [c.sum() ** 2 / (c @ c) for c in (found, uneven)]
    assert effective[0] > 3 * effective[1]
    objective = [0.5 * c @ K @ c - k @ c for c in (found, uneven)]
    np.testing.assert_allclose(*objective, rtol=1e-5)


@pytest.mark.parametrize(("p", "how"), [(2, {}), (10, {}), (10, {"top": 2.0, "eps": 0.01})])
def test_in_parts(p, how):
    K, k = matching(200, p)
    limits = bounds(200, **how)
    parts = np.array_split(np.random.default_rng(0).permutation(200), 4)
    asked = []

    def kernel(rows, columns):
        asked.append(len(rows) * len(columns))
        return K[np.ix_(rows, columns)]

    found = solve_in_parts(kernel, k, *limits, parts, tol=1e-6, max_rounds=100)
    assert_feasible(found.c, *limits)
    assert found.gap <= 1e-6 * abs(found.objective) and max(asked) <= 200 * 50
    np.testing.assert_allclose(found.objective, solve_quadratic(K, k, *limits).objective, rtol=2e-6)


def test_the_gap_of_an_early_end_is_honest():
    K, k = matching(120, 1)
    early = solve_quadratic(K, k, *bounds(120), max_iter=2)
    best = solve_quadratic(K, k, *bounds(120)).objective
    assert early.gap > 1e-8 * abs(early.objective)
    assert early.objective - best <= early.gap
    rows = np.array_split(np.arange(120), 3)
    few = solve_in_parts(lambda a, b: K[np.ix_(a, b)], k, *bounds(120), rows, max_rounds=0)
    assert 0 <= few.objective - best <= few.gap
