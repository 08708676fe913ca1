"""Arrow kernels against their formulas, and all together against one dense ridge problem."""

import numpy as np
import pytest
import reference

from skmtl.kernels import arrow as kernels

SIZES = [9, 0, 1, 3, 14]
WIDTHS = [1, 2, 5, 20, 60, 90]
STRENGTHS = [0.01, 1.0, 30.0, 1e4, np.inf]


def problem(p, sizes=SIZES, seed=0, weighted=False, mean=0.5):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(len(codes), p)) + mean
    X[:, 2::4] = codes[:, None]  # features of the task, which are constant within it
    X[codes == 3, 1::4] = 0.1  # and others that happen to be
    coef = rng.normal(size=p) + 0.5 * rng.normal(size=(len(sizes), p))
    y = (X * coef[codes]).sum(1) + rng.normal(size=len(sizes))[codes] + rng.normal(size=len(codes))
    w = rng.uniform(0.3, 2.0, size=len(codes)) if weighted else None
    return X, y, codes, w


def moments_of(X, y, codes, n_tasks, w=None):
    groups = [
        reference.moments(X[codes == t], y[codes == t], None if w is None else w[codes == t])
        for t in range(n_tasks)
    ]
    return reference.stack_moments(groups)


def factors(moments, kappa):
    """The kernel's factors, in two calls as threads would."""
    n_tasks, p = len(moments[0]), moments[1].shape[1] - 1
    shapes = ((n_tasks, p, p), (n_tasks, p), (n_tasks, p), (n_tasks,), (n_tasks,))
    out = tuple(np.full(shape, np.nan) for shape in shapes)
    parts = [kernels.factor(a, b, *moments, kappa, *out) for a, b in ((0, 2), (2, n_tasks))]
    return out, parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]


def shared_solutions(moments, kappa, alphas, ridges, penalty=None, active=None):
    weight, mean, _ = moments
    p = mean.shape[1] - 1
    penalty = np.ones(p) if penalty is None else penalty
    active = weight > 0 if active is None else active
    (U, u, d, xu, xd), S, r = factors(moments, kappa)
    theta = np.full((len(ridges), 1 + p), np.nan)
    kernels.solve_shared(
        weight, mean[:, p].copy(), u, xu, xd, kappa, S, r, active, penalty, alphas, ridges, theta
    )
    return theta, (U, u, d, xu, xd)


def task_models(moments, kappa, alphas, theta, parts):
    """Each task's slopes and intercept under each shared solution, (n_tasks, n_pairs, ...)."""
    weight, mean, _ = moments
    n_tasks, p, n_pairs = len(weight), mean.shape[1] - 1, len(theta)
    coef, intercept = np.zeros((n_pairs, n_tasks, p)), np.zeros((n_pairs, n_tasks))
    for c in range(n_pairs):
        share = np.zeros((n_tasks, n_pairs))
        share[:, c] = 1.0
        kernels.blend(
            0, n_tasks, theta, share, weight, mean, kappa, alphas, *parts, coef[c], intercept[c]
        )
    return coef, intercept


def solve(X, y, codes, n_tasks, strengths, w=None, penalty=None):
    """Kernels from rows to coefficients at one triple of strengths."""
    slope, pull, ridge = strengths
    kappa = 0.0 if np.isinf(slope) else 1.0 / slope
    moments = moments_of(X, y, codes, n_tasks, w)
    alphas, ridges = np.array([pull]), np.array([ridge])
    theta, parts = shared_solutions(moments, kappa, alphas, ridges, penalty)
    coef, intercept = task_models(moments, kappa, alphas, theta, parts)
    return theta[0], coef[0], intercept[0]


@pytest.mark.parametrize("p", WIDTHS)
@pytest.mark.parametrize("kappa", [0.0, 1e-6, 0.03, 1.0, 1e3])
def test_factor(p, kappa):
    X, y, codes, _ = problem(p)
    moments = moments_of(X, y, codes, len(SIZES))
    got, S, r = factors(moments, kappa)
    wanted, S_wanted, r_wanted = reference.factor(*moments, kappa)
    start = 1 if kappa == 0 else 0  # U is not read at kappa = 0
    for g, w in zip(got[start:], wanted[start:], strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(S, S_wanted, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(S, S.T, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(r, r_wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("p", [*range(1, 10), 60, 90])
def test_spd_inverse(p):
    rng = np.random.default_rng(p)
    root = rng.normal(size=(p, p + 5))
    A = root @ root.T + np.eye(p)
    out = np.full((p, p), np.nan)
    kernels._spd_inverse(A.copy(), np.empty((p, p)), out)
    np.testing.assert_allclose(out @ A, np.eye(p), atol=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 1e-12, 1e-6, 1e-4, 1e-2, 1.0])
def test_the_schur_part_of_the_shared_slopes_does_not_cancel(kappa):
    X, y, codes, _ = problem(6)
    _, _, scatter = moments_of(X, y, codes, len(SIZES))
    C = scatter[0]
    U = np.linalg.inv(np.eye(6) + kappa * C[:6, :6])
    S = np.zeros((6, 6))
    kernels._add_schur(C, U, kappa, np.trace(C[:6, :6]), S)
    np.testing.assert_allclose(S, U @ C[:6, :6], rtol=1e-9, atol=1e-9)


def test_schur_by_group():
    X, y, codes, _ = problem(4, sizes=[5, 4, 0, 8, 3])
    moments = moments_of(X, y, codes, 5)
    group, kappa = np.array([1, 0, 1, 0, 2]), 0.2
    (U, *_), whole, _ = factors(moments, kappa)
    out = np.zeros((3, 4, 4))
    kernels.schur_by_group(moments[0], moments[2], kappa, U, group, out)
    for g in range(3):
        mine = tuple(part[group == g] for part in moments)
        np.testing.assert_allclose(out[g], reference.factor(*mine, kappa)[1], rtol=1e-9)
    np.testing.assert_allclose(out.sum(0), whole, rtol=1e-9)


@pytest.mark.parametrize(
    ("n", "alpha", "wanted"),
    [(0.0, 1.0, 0.0), (0.0, np.inf, 0.0), (4.0, np.inf, 4.0), (4.0, 0.0, 0.0), (4.0, 4.0, 2.0)],
)
def test_pull(n, alpha, wanted):
    assert kernels.pull(n, alpha) == wanted
    assert reference.pull(n, alpha) == wanted


@pytest.mark.parametrize("q", [1, 4, 61])
def test_solve_spd(q):
    rng = np.random.default_rng(q)
    root = rng.normal(size=(q, q + 5))
    A, b, x = root @ root.T, rng.normal(size=q), np.empty(q)
    kernels._solve_spd(A.copy(), b, x)
    np.testing.assert_allclose(A @ x, b, rtol=1e-6, atol=1e-8)


def test_solve_spd_gives_zero_to_vanished_directions():
    A = np.diag([2.0, 0.0, 4.0])
    x = np.empty(3)
    kernels._solve_spd(A, np.array([2.0, 0.0, 2.0]), x)
    np.testing.assert_allclose(x, [1.0, 0.0, 0.5])


@pytest.mark.parametrize("p", [1, 5, 60])
@pytest.mark.parametrize("kappa", [0.0, 0.2, 5.0])
@pytest.mark.parametrize("alpha", [0.0, 0.7, np.inf])
def test_shared_gram(p, kappa, alpha):
    X, y, codes, _ = problem(p)
    moments = moments_of(X, y, codes, len(SIZES))
    weight, mean, _ = moments
    (_, u, _, xu, xd), S, r = factors(moments, kappa)
    G, g = np.full((1 + p, 1 + p), np.nan), np.full(1 + p, np.nan)
    active = weight > 0
    kernels.shared_gram(weight, mean[:, p].copy(), u, xu, xd, kappa, alpha, S, r, active, G, g)
    G_wanted, g_wanted = reference.shared_gram(*moments, kappa, alpha, active)
    np.testing.assert_allclose(np.triu(G), np.triu(G_wanted), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(g, g_wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("p", [1, 3, 12])
@pytest.mark.parametrize("slope", STRENGTHS)
@pytest.mark.parametrize("pull", [0.5, np.inf])
@pytest.mark.parametrize("ridge", [1e-3, 2.0, np.inf])
def test_everything_is_one_dense_ridge(p, slope, pull, ridge):
    X, y, codes, _ = problem(p)
    theta, coef, intercept = solve(X, y, codes, len(SIZES), (slope, pull, ridge))
    wanted = reference.dense_ridge(X, y, codes, len(SIZES), (slope, pull, ridge))
    np.testing.assert_allclose(theta, wanted[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(coef, wanted[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(intercept, wanted[2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("p", WIDTHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_dense_ridge_of_any_width_with_weights_and_penalties(p, weighted):
    X, y, codes, w = problem(p, weighted=weighted)
    penalty = np.random.default_rng(5).uniform(0.5, 2.0, size=p)
    strengths = (3.0, 0.7, 1.5)
    got = solve(X, y, codes, len(SIZES), strengths, w, penalty)
    wanted = reference.dense_ridge(X, y, codes, len(SIZES), strengths, w, penalty)
    for g, v in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, v, rtol=1e-6, atol=1e-7)


def test_free_intercepts():
    """alpha = 0: the tasks' intercepts are their own; only predictions are determined."""
    X, y, codes, _ = problem(3)
    _, coef, intercept = solve(X, y, codes, len(SIZES), (2.0, 0.0, 1.0))
    _, coef_wanted, a_wanted = reference.dense_ridge(X, y, codes, len(SIZES), (2.0, 0.0, 1.0))
    np.testing.assert_allclose(coef, coef_wanted, rtol=1e-7, atol=1e-12)
    seen = np.array(SIZES) > 0
    np.testing.assert_allclose(intercept[seen], a_wanted[seen], rtol=1e-7)


def test_free_slopes_are_independent_least_squares():
    X, y, codes, _ = problem(2, sizes=[9, 14])
    _, coef, intercept = solve(X, y, codes, 2, (1e-9, 0.0, np.inf))
    for t in range(2):
        A = np.column_stack([np.ones((codes == t).sum()), X[codes == t]])
        wanted = np.linalg.lstsq(A, y[codes == t])[0]
        np.testing.assert_allclose(np.r_[intercept[t], coef[t]], wanted, rtol=1e-6)


def test_no_slopes_of_their_own_is_the_limit():
    X, y, codes, _ = problem(4)
    limit = solve(X, y, codes, len(SIZES), (np.inf, 1.0, 1.0))
    near = solve(X, y, codes, len(SIZES), (1e9, 1.0, 1.0))
    for a, b in zip(limit, near, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(limit[1], np.tile(limit[0][1:], (len(SIZES), 1)))


def test_inactive_tasks_do_not_vote():
    X, y, codes, _ = problem(3, sizes=[6, 7, 8])
    moments = moments_of(X, y, codes, 3)
    weight, mean, _ = moments
    kappa, alphas, ridges = 0.5, np.array([1.0]), np.array([1.0])
    active = np.array([True, False, True])
    (_, u, d, xu, xd), _, _ = factors(moments, kappa)
    _, S, r = factors(tuple(part[active] for part in moments), kappa)
    theta = np.empty((1, 4))
    kernels.solve_shared(
        weight, mean[:, 3].copy(), u, xu, xd, kappa, S, r, active, np.ones(3), alphas, ridges, theta
    )
    kept = active[codes]
    wanted = reference.dense_ridge(X[kept], y[kept], codes[kept], 3, (2.0, 1.0, 1.0))[0]
    np.testing.assert_allclose(theta[0], wanted, rtol=1e-7)


def pairs():
    """Pairs of strengths with equal intercept strengths side by side."""
    alphas = np.array([0.0, 0.0, 0.5, 0.5, np.inf, np.inf])
    ridges = np.array([1.0, np.inf, 0.1, 10.0, 1.0, np.inf])
    return alphas, ridges


@pytest.mark.parametrize("p", [1, 5, 60])
@pytest.mark.parametrize("slope", [0.5, 50.0, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_those_of_predicted_rows(p, slope, weighted):
    """task_errors and task_models at many strengths, and blends of one, row by row."""
    n_tasks = len(SIZES)
    X, y, codes, w = problem(p, weighted=weighted)
    X_test, y_test, codes_test, w_test = problem(p, [4, 3, 0, 2, 12], seed=9, weighted=weighted)
    train = moments_of(X, y, codes, n_tasks, w)
    test = moments_of(X_test, y_test, codes_test, n_tasks, w_test)
    kappa = 0.0 if np.isinf(slope) else 1.0 / slope
    alphas, ridges = pairs()
    theta, parts = shared_solutions(train, kappa, alphas, ridges)
    coef, intercept = task_models(train, kappa, alphas, theta, parts)
    sse = np.zeros((n_tasks, len(alphas)))
    given = (theta, *train, kappa, alphas, *parts)
    kernels.task_errors(0, n_tasks, *given, *test, sse)
    for c in range(len(alphas)):
        wanted = reference.squared_errors(X_test, y_test, codes_test, coef[c], intercept[c], w_test)
        np.testing.assert_allclose(sse[:, c], wanted, rtol=1e-7, atol=1e-7)
    first, shape = 2, (n_tasks, len(alphas) + 3)
    slopes, intercepts = np.full((*shape, p), np.nan), np.full(shape, np.nan)
    kernels.task_models(0, n_tasks, *given, first, slopes, intercepts)
    assert np.isnan(intercepts[:, [0, 1, -1]]).all() and np.isnan(slopes[:, [0, 1, -1]]).all()
    np.testing.assert_allclose(slopes[:, 2:-1], coef.transpose(1, 0, 2), rtol=1e-8)
    np.testing.assert_allclose(intercepts[:, 2:-1], intercept.T, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_a_blend_is_the_mean_of_the_models(kappa):
    X, y, codes, _ = problem(4)
    moments = moments_of(X, y, codes, len(SIZES))
    alphas, ridges = pairs()
    theta, parts = shared_solutions(moments, kappa, alphas, ridges)
    models, intercepts = task_models(moments, kappa, alphas, theta, parts)
    rng = np.random.default_rng(0)
    share = rng.uniform(size=(len(SIZES), len(alphas)))
    share[:, 2] = 0.0
    share[0] = 0.0  # a task that takes nothing from this level
    coef, intercept = np.ones((len(SIZES), 4)), np.ones(len(SIZES))
    kernels.blend(
        0, len(SIZES), theta, share, moments[0], moments[1], kappa, alphas, *parts, coef, intercept
    )
    np.testing.assert_allclose(coef, 1.0 + np.einsum("tc,ctj->tj", share, models), rtol=1e-8)
    np.testing.assert_allclose(intercept, 1.0 + np.einsum("tc,ct->t", share, intercepts), rtol=1e-8)
