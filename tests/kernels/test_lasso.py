"""Coordinate descent for the lasso against its twin and scikit-learn."""

import numpy as np
import pytest
import reference
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from skmtl import kernels
from skmtl.solvers.lasso import lasso_path, lasso_residuals
from skmtl.solvers.products import Products

_rng = np.random.default_rng(0)
N, P = 30, 8
X = _rng.normal(size=(N, P)) * np.r_[np.ones(P - 1), 0.0] + 2.0
Y = X @ np.r_[3.0, -2.0, np.zeros(P - 2)] + _rng.normal(size=N)
W = _rng.uniform(0.5, 3.0, N)
del _rng  # tests draw from their own generators
PRODUCTS = Products.of(X, Y, W)


def run(products, strengths, tol=1e-12, max_sweeps=10_000):
    coefs, gaps = np.empty((len(strengths), P)), np.empty(len(strengths))
    n_sweeps = kernels.lasso.lasso_path(
        products.gram, products.moment, products.square, strengths, tol, max_sweeps, coefs, gaps
    )
    return coefs, gaps, n_sweeps


def test_path_is_that_of_the_twin():
    strengths = PRODUCTS.weight * PRODUCTS.strongest() * np.array([1.0, 0.3, 0.05])
    coefs, gaps, _ = run(PRODUCTS, strengths)
    assert not coefs[0].any() and (np.count_nonzero(coefs[1:], axis=1) > 0).all()
    for strength, coef, gap in zip(strengths, coefs, gaps, strict=True):
        given = PRODUCTS.gram, PRODUCTS.moment
        np.testing.assert_allclose(coef, reference.lasso(*given, strength), atol=1e-6)
        wanted = reference.lasso_gap(*given, PRODUCTS.square, strength, coef)
        np.testing.assert_allclose(gap, wanted, atol=1e-9 * PRODUCTS.square)
        assert -1e-9 * PRODUCTS.square < gap <= 0.5e-12 * PRODUCTS.square + 1e-12 * PRODUCTS.square


@pytest.mark.parametrize("centre", [True, False])
def test_it_is_the_lasso_of_scikit_learn(centre):
    products = Products.of(X, Y, W, centre)
    strength = 0.1 * products.strongest()
    strengths = [products.strongest(), strength]
    coefs, gaps, _ = lasso_path(products, strengths, 1e-10)
    theirs = Lasso(strength, fit_intercept=centre, tol=1e-12, max_iter=100_000).fit(X, Y, W)
    np.testing.assert_allclose(coefs[1], theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(products.intercept(coefs[1]), theirs.intercept_, atol=1e-4)
    assert (gaps <= 1e-10).all() and (lasso_residuals(products, strengths, coefs) <= 1e-5).all()


def test_products_add_up(rng):
    parts = Products.of(X[:10], Y[:10]), Products.of(X[10:], Y[10:])
    both = parts[0].plus(parts[1], 0.5)
    rows, y = X.copy(), Y.copy()
    for part in (slice(0, 10), slice(10, None)):
        rows[part] -= X[part].mean(0)
        y[part] -= Y[part].mean()
    w = np.repeat([1.0, 0.5], [10, N - 10])
    np.testing.assert_allclose(both.gram, (rows.T * w) @ rows, atol=1e-10)
    np.testing.assert_allclose(both.moment, (rows.T * w) @ y)
    np.testing.assert_allclose([both.square, both.weight], [w @ y**2, w.sum()])
    coef = rng.normal(size=P)
    less = PRODUCTS.less(coef)
    direct = Products.of(X, Y - X @ coef, W)
    np.testing.assert_allclose(less.moment, direct.moment, atol=1e-8)
    np.testing.assert_allclose(less.square, direct.square)


def test_a_path_that_stops_early_says_so():
    strengths = PRODUCTS.strongest() * np.array([0.5, 1e-4])
    with pytest.warns(ConvergenceWarning, match=r"duality gap of .* above tol=1e-14, after 2 sw"):
        path = lasso_path(PRODUCTS, strengths, 1e-14, max_iter=2, warn=True)
    assert path.gaps[-1] > 1e-14 and path.n_sweeps == 4


@pytest.mark.jit
@pytest.mark.parametrize("seed", range(4))
def test_more_features_than_rows(seed):
    """A small tolerance is no worse than a large one, and what is reached is told."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, 60))
    y = X[:, 0] + 2.0 * X[:, 3] + rng.normal(size=20)
    products = Products.of(X, y)
    strengths = products.strongest() * np.geomspace(1.0, 1e-3, 12)
    path = lasso_path(products, strengths, 1e-12)
    assert path.gaps.max() < 1e-4 and 12 < path.n_sweeps <= 12_000
    patient = lasso_path(products, strengths, 1e-12, max_iter=100_000)
    assert (
        patient.gaps.max() <= 1e-12
        and lasso_residuals(products, strengths, patient.coefs).max() < 1e-10
    )
    assert patient.n_sweeps >= path.n_sweeps
    for k, coef in enumerate(patient.coefs):
        theirs = Lasso(strengths[k], tol=1e-14, max_iter=10**6).fit(X, y)
        np.testing.assert_allclose(coef, theirs.coef_, atol=1e-5)
    # Violations of solutions that are not found yet, from their definition.
    bound, gradient = (
        products.weight * strengths[-1],
        products.moment - products.gram @ path.coefs[-1],
    )
    sign = np.sign(path.coefs[-1])
    miss = np.where(sign != 0, np.abs(gradient - bound * sign), np.abs(gradient) - bound)
    assert lasso_residuals(products, strengths, path.coefs)[-1] == pytest.approx(
        max(miss.max(), 0.0) / np.abs(products.moment).max(), rel=1e-6, abs=1e-15
    )


def test_labels_that_do_not_vary():
    products = Products.of(X, np.ones(N))
    coefs, gaps, _ = lasso_path(products, [1.0], 1e-6)
    assert not coefs.any() and not gaps.any() and not lasso_residuals(products, [1.0], coefs).any()
