"""Arrow kernels against their formulas, and together against a dense ridge problem."""

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
    X[:, 2::4] = codes[:, None]  # features of the task, constant within it
    X[codes == 3, 1::4] = 0.1  # and features that are constant by chance
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
    """Return the kernel's factors, computed in two calls, as by threads."""
    n_tasks, p = len(moments[0]), moments[1].shape[1] - 1
    shapes = ((n_tasks, p, p), (n_tasks, p), (n_tasks, p), (n_tasks,), (n_tasks,))
    out = tuple(np.full(shape, np.nan) for shape in shapes)
    given = kernels.Moments(*moments), kappa, kernels.Factors(*out)
    parts = [kernels.factor(a, b, *given) for a, b in ((0, 2), (2, n_tasks))]
    return out, parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]


def shared(means, kappa, S, r, penalty, alphas, ridges, known=None, free=None):
    q = 1 + len(r)
    theta = np.zeros((len(ridges), q))
    free = np.ones(q - 1, dtype=bool) if free is None else free
    theta[:, 1:][:, ~free] = 0.0 if known is None else known[~free]
    free = np.append(0, 1 + np.flatnonzero(free))
    work = kernels.shared_work(len(means.weight), q)
    kernels.solve_shared(means, kappa, S, r, penalty, (alphas, ridges), free, work, theta)
    return theta


def shared_solutions(moments, kappa, alphas, ridges, penalty=None, active=None):
    weight, mean, _ = moments
    p = mean.shape[1] - 1
    penalty = np.ones(p) if penalty is None else penalty
    active = weight > 0 if active is None else active
    (U, u, d, xu, xd), S, r = factors(moments, kappa)
    means = kernels.Means(weight, mean, u, xu, xd, active)
    theta = shared(means, kappa, S, r, penalty, alphas, ridges)
    return theta, (U, u, d, xu, xd)


def task_models(moments, kappa, alphas, theta, parts):
    """Return the slopes and intercept of each task under each shared solution."""
    n_tasks = len(moments[0])
    intercepts = np.tile(theta[:, 0], (n_tasks, 1))  # at the tasks' centres, here zero
    shared = kernels.Shared(intercepts, theta[:, 1:].T.copy(), alphas)
    given = shared, kernels.Moments(*moments), kappa, kernels.Factors(*parts)
    B = np.concatenate([kernels.models(a, b, *given) for a, b in ((0, 2), (2, n_tasks))])
    assert (B[:, -2] == -1.0).all()
    return B[:, :-2].transpose(2, 0, 1), B[:, -1].T


def solve(X, y, codes, n_tasks, strengths, w=None, penalty=None):
    """Return coefficients from rows, by the kernels, at one triple of strengths."""
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


@pytest.mark.parametrize("p", [*range(1, 10), 20, 61])
@pytest.mark.parametrize("kappa", [1e-12, 1e-6, 1e-4, 1e-2, 1.0])
def test_the_schur_part_of_the_shared_slopes_does_not_cancel(p, kappa):
    moments = moments_of(*problem(p, sizes=[p + 8, 3])[:3], 2)
    _, S, _ = factors(moments, kappa)
    C = moments[2][:, :p, :p]
    wanted = sum(np.linalg.solve(np.eye(p) + kappa * c, c) for c in C)
    np.testing.assert_allclose(S, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


def test_vanished_directions_of_the_shared_system_get_zero():
    """A feature that does not vary within any task, without a ridge, is undetermined."""
    S, r = np.diag([0.0, 4.0]), np.array([0.0, 2.0])
    means = (np.ones(3), np.zeros((3, 3)), np.zeros((3, 2)), np.zeros(3), np.zeros(3))
    means = kernels.Means(*means, np.ones(3, dtype=bool))
    theta = shared(means, 0.5, S, r, np.ones(2), np.array([np.inf]), np.zeros(1))
    np.testing.assert_allclose(theta, [[0.0, 0.0, 0.5]])


@pytest.mark.parametrize("p", [3, 6, 61])
@pytest.mark.parametrize("kappa", [0.0, 0.2])
def test_shared_slopes_that_are_given(p, kappa):
    """The free entries solve their rows of the shared system, which the twin writes out."""
    X, y, codes, _ = problem(p, sizes=[9, 0, 4, 30])
    moments = moments_of(X, y, codes, 4)
    alphas, ridges = pairs()
    (_, u, _, xu, xd), S, r = factors(moments, kappa)
    means = kernels.Means(*moments[:2], u, xu, xd, moments[0] > 0)
    rng = np.random.default_rng(3)
    free, known = np.arange(p) % 3 > 0, rng.normal(size=p)
    penalty = rng.uniform(0.5, 2.0, size=p)
    theta = shared(means, kappa, S, r, penalty, alphas, ridges, known, free)
    rest = np.append(True, free)
    for c in range(len(ridges)):
        G, g = reference.shared_gram(*moments, kappa, alphas[c], moments[0] > 0)
        np.testing.assert_array_equal(theta[c, ~rest], known[~free])
        if np.isinf(ridges[c]):
            assert not theta[c, 1:][free].any()
            miss = g[0] - G[0] @ theta[c]
        else:
            miss = (g - G @ theta[c] - ridges[c] * np.append(0.0, penalty) * theta[c])[rest]
        np.testing.assert_allclose(miss, 0.0, atol=1e-7 * np.abs(g).max())


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
    """With alpha = 0 intercepts are independent; only predictions are determined."""
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
    (_, u, _d, xu, xd), _, _ = factors(moments, kappa)
    _, S, r = factors(tuple(part[active] for part in moments), kappa)
    means = kernels.Means(weight, mean, u, xu, xd, active)
    theta = shared(means, kappa, S, r, np.ones(3), alphas, ridges)
    kept = active[codes]
    wanted = reference.dense_ridge(X[kept], y[kept], codes[kept], 3, (2.0, 1.0, 1.0))[0]
    np.testing.assert_allclose(theta[0], wanted, rtol=1e-7)


def pairs():
    """Return pairs of strengths with equal intercept strengths adjacent."""
    alphas = np.array([0.0, 0.0, 0.5, 0.5, np.inf, np.inf])
    ridges = np.array([1.0, np.inf, 0.1, 10.0, 1.0, np.inf])
    return alphas, ridges


@pytest.mark.parametrize("p", [1, 5, 60])
@pytest.mark.parametrize("slope", [0.5, 50.0, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_those_of_predicted_rows(p, slope, weighted):
    """Return models and errors at many strengths, computed from rows."""
    n_tasks = len(SIZES)
    X, y, codes, w = problem(p, weighted=weighted)
    X_test, y_test, codes_test, w_test = problem(p, [4, 3, 0, 2, 12], seed=9, weighted=weighted)
    train = moments_of(X, y, codes, n_tasks, w)
    test = moments_of(X_test, y_test, codes_test, n_tasks, w_test)
    kappa = 0.0 if np.isinf(slope) else 1.0 / slope
    alphas, ridges = pairs()
    theta, parts = shared_solutions(train, kappa, alphas, ridges)
    coef, intercept = task_models(train, kappa, alphas, theta, parts)
    sse = errors(coef, intercept, test)
    for c in range(len(alphas)):
        wanted = reference.squared_errors(X_test, y_test, codes_test, coef[c], intercept[c], w_test)
        np.testing.assert_allclose(sse[:, c], wanted, rtol=1e-7, atol=1e-7)


def errors(coef, intercept, test, gram=None):
    """Return the kernel's squared errors ``(n_tasks, n_models)``, in two calls, as by threads."""
    n_models, n_tasks, p = coef.shape
    B = np.full((n_tasks, p + 2, n_models), -1.0)
    B[:, :-2], B[:, -1] = coef.transpose(1, 2, 0), intercept.T
    halves = ((0, 3), (3, n_tasks))
    return np.concatenate(
        [kernels.errors(a, b, B[a:b], kernels.Moments(*test), gram) for a, b in halves]
    )


@pytest.mark.parametrize("p", [1, 2, 5, 60])
@pytest.mark.parametrize("n_models", [1, 6])
def test_a_blend_has_the_error_that_the_products_of_errors_say(p, n_models):
    """A blend with shares s has the error s' gram s; products are added to the given values."""
    rng = np.random.default_rng(0)
    X, y, codes, w = problem(p, sizes=[5, 0, 1, 30], weighted=True, mean=3.0)
    X[:, 1::2] = 0.1  # constant features
    moments = moments_of(X, y, codes, 4, w)
    slopes, intercepts = rng.normal(size=(n_models, 4, p)), rng.normal(size=(n_models, 4))
    start = rng.normal(size=(4, n_models, n_models))
    gram = start.copy()
    sse = errors(slopes, intercepts, moments, gram)
    wanted = reference.error_grams(X, y, codes, slopes.transpose(1, 0, 2), intercepts.T, w)
    np.testing.assert_allclose(gram - start, wanted, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(sse, np.einsum("tcc->tc", wanted), rtol=1e-7, atol=1e-7)
    share = rng.dirichlet(np.ones(n_models), size=4)
    blended = reference.squared_errors(
        X, y, codes, np.einsum("tc,ctj->tj", share, slopes), (share * intercepts.T).sum(1), w
    )
    got = np.einsum("tc,tck,tk->t", share, gram - start, share)
    np.testing.assert_allclose(got, blended, rtol=1e-7, atol=1e-7)
