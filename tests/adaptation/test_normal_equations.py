"""Ridge and least squares by weighted normal equations are those of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from rounding import assert_same_but_rounding, condition_of_normal_equations
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

from skmtl.adaptation.normal_equations import LinearRows, fit_ridge, is_linear


def table(rng, n_rows, n_features, level=0.0):
    X = level + rng.normal(size=(n_rows, n_features))
    return X, X @ rng.normal(size=n_features) + rng.normal(size=n_rows)


def fit_linear(estimator, X, y, weight):
    """Ours."""
    rows = LinearRows(estimator, X, y)
    weight = np.ones(len(y)) if weight is None else weight
    return rows.model(rows.fit(weight[None])[0])


def refer(estimator, X, y, weight):
    """scikit-learn's."""
    return clone(estimator).fit(X, y, sample_weight=weight)


def condition_of(estimator, X, weight=None):
    alpha = getattr(estimator, "alpha", 0.0)
    return condition_of_normal_equations(X, weight, alpha, estimator.fit_intercept)


def assert_same(ours, theirs, X, condition):
    """Equal in all that is fitted, up to rounding at the condition number of what was solved."""
    assert type(ours) is type(theirs) and vars(ours).keys() == vars(theirs).keys()
    level = np.abs(X).max(axis=0) @ np.abs(theirs.coef_) + np.abs(theirs.intercept_)
    for name, value in vars(theirs).items():
        if name == "singular_":
            value = value[: len(ours.singular_)]  # rows of weight zero were left out
        if isinstance(value, (float, np.ndarray)):
            scale = level if name == "intercept_" else None
            if name == "coef_":  # slopes of features that vary by rounding are rounding, too
                scale = max(np.abs(value).max(), level / np.abs(X).max())
            assert_same_but_rounding(vars(ours)[name], value, condition, scale, err_msg=name)
        else:
            assert vars(ours)[name] == value


@pytest.mark.parametrize("shape", [(50, 1), (50, 6), (6, 50), (20, 20), (1, 3)])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", ["", "weights", "zeros"])
@pytest.mark.parametrize("estimator", [Ridge(1e-2), Ridge(30), Ridge(0.0), LinearRegression()])
def test_fits_are_those_of_scikit_learn(estimator, weighted, fit_intercept, shape, rng):
    if shape[1] >= shape[0] and getattr(estimator, "alpha", 1.0) == 0.0:
        pytest.skip("a singular problem, of which each road finds its own solution")
    if shape[0] == 1 and fit_intercept and type(estimator) is LinearRegression:
        pytest.skip("a row less itself is rounding, of which scikit-learn tells the rank")
    estimator.set_params(fit_intercept=fit_intercept)
    condition = np.inf
    while condition > 1e6:  # a square table may be as good as singular
        X, y = table(rng, *shape, level=3.0)
        weight = rng.uniform(0.1, 5.0, len(y)) if weighted else None
        if weighted == "zeros" and len(y) > 6:
            weight[::4] = 0.0
        condition = condition_of(estimator, X, weight)
    assert is_linear(estimator)
    before = X.copy(), y.copy()
    ours, theirs = (fit(estimator, X, y, weight) for fit in (fit_linear, refer))
    assert_same(ours, theirs, X, condition)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    assert not hasattr(estimator, "coef_")


def test_what_is_singular_is_left_to_scikit_learn(rng):
    X, y = table(rng, 40, 4)
    X = np.column_stack([X, X[:, 0] + X[:, 1], np.ones(40)])
    weight = rng.uniform(0.5, 2.0, 40)
    ours, theirs = (fit(LinearRegression(), X, y, weight) for fit in (fit_linear, refer))
    assert_same(ours, theirs, X, condition=1.0)  # the same call, whatever the condition
    assert ours.rank_ == 4
    nearly = X + 1e-7 * rng.normal(size=X.shape)
    both = (fit(LinearRegression(), nearly, y, weight) for fit in (fit_linear, refer))
    assert_same(*both, nearly, condition=1.0)
    ridge = Ridge(1e-3)
    both = (fit(ridge, X, y, weight) for fit in (fit_linear, refer))
    assert_same(*both, X, condition_of(ridge, X, weight))


def test_rows_far_apart_lose_no_digits(rng):
    (X, y), (X_far, y_far) = table(rng, 40, 3), table(rng, 30, 3, level=1e5)
    X, y = np.vstack([X, X_far]), np.concatenate([y, y_far])
    weight = np.where(np.arange(70) < 40, 1e-12, 1.0)
    for n_first in (0, 40):
        rows = LinearRows(Ridge(), X, y, n_first)
        ours, theirs = rows.model(rows.fit(weight[None])[0]), refer(Ridge(), X, y, weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8)


@pytest.mark.parametrize("n_features", [5, 80])
@pytest.mark.parametrize("n_first", [0, 25])
@pytest.mark.parametrize("estimator", [Ridge(), Ridge(fit_intercept=False), LinearRegression()])
def test_many_weights_at_once_and_kept_sums(estimator, n_first, n_features, monkeypatch, rng):
    monkeypatch.setattr("skmtl.adaptation.normal_equations._AT_ONCE", 700)
    X, y = table(rng, 60, n_features, level=2.0)
    weights = rng.uniform(0.0, 2.0, (7, 60))
    weights[:, :n_first] = weights[0, :n_first]
    weights[2:, :n_first] = 0.0
    rows = LinearRows(estimator, X, y, n_first)
    kept = rows.first(weights[:, :n_first]) if n_first else None
    for lines in (rows.fit(weights), rows.fit(weights, kept)):
        predicted = rows.predict(lines)
        for line, weight, values in zip(lines, weights, predicted, strict=True):
            live = np.flatnonzero(weight)
            wanted = refer(estimator, X[live], y[live], weight[live])
            condition = condition_of(estimator, X[live], weight[live])
            assert_same_but_rounding(rows.model(line).coef_, wanted.coef_, condition)
            assert_same_but_rounding(values, wanted.predict(X), condition)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(30, 4), (5, 9), (1, 2), (300, 60)])
def test_one_ridge(shape, weighted, rng):
    X, y = table(rng, *shape)
    weight = rng.uniform(0.1, 5.0, len(y)) if weighted else None
    ridge = Ridge(0.3)
    ours, theirs = fit_ridge(ridge, X, y, weight), refer(ridge, X, y, weight)
    assert_same(ours, theirs, X, condition_of(ridge, X, weight))
    assert not hasattr(ridge, "coef_")


def test_what_is_left_to_scikit_learn(rng):
    X, y = table(rng, 30, 4)
    others = [pd.DataFrame(X), X.astype(np.float32), sparse.csr_matrix(X), X[:, :0]]
    for bad in (np.nan, np.inf):
        others.append(X.copy())
        others[-1][3, 1] = bad
    assert all(fit_ridge(Ridge(), other, y, None) is None for other in others)
    assert fit_ridge(Ridge(), X, y.astype(np.float32), None) is None
    assert fit_ridge(LinearRegression(), X, y, None) is None
    assert fit_ridge(OtherRidge(), X, y, None) is None


def test_what_scikit_learn_refuses(rng):
    X, y = table(rng, 30, 4)
    with pytest.raises(ValueError, match="infs or NaNs"):
        fit_ridge(Ridge(), 1e155 * X, y, None)
    with pytest.raises(ValueError, match="tol"):
        fit_ridge(Ridge(tol=-1.0), X, y, None)
    wide, y_wide = table(rng, 100, 1000)
    assert fit_ridge(Ridge(), wide, y_wide, None) is None  # not refused: it is faster there


class OtherRidge(Ridge):
    pass


@pytest.mark.parametrize(
    "estimator",
    [
        OtherRidge(),
        Ridge(solver="svd"),
        Ridge(positive=True),
        Ridge(alpha=-1.0),
        Ridge(alpha=[1.0]),
        Ridge(alpha="much"),
        Ridge(alpha=np.inf),
        Ridge(fit_intercept="no"),
        LinearRegression(positive=True),
    ],
)
def test_what_is_not_fitted_here(estimator):
    assert not is_linear(estimator)
