"""Ridge and least squares by weighted normal equations are those of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

from skmtl.adaptation._linear import LinearRows, fit_ridge, is_linear

rng = np.random.default_rng(0)
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


@pytest.fixture(autouse=True)
def same_draws():
    """A test draws the same rows whichever ran before it, in whichever process."""
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


def table(n_rows, n_features, level=0.0):
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


def assert_same(ours, theirs):
    assert type(ours) is type(theirs) and vars(ours).keys() == vars(theirs).keys()
    for name, value in vars(theirs).items():
        if name == "singular_" and len(value) > len(vars(ours)[name]):
            value = value[value > 1e-9 * value[0]]  # rows of weight zero were left out
            np.testing.assert_allclose(vars(ours)[name][: len(value)], value, **CLOSE)
        elif isinstance(value, (float, np.ndarray)):
            np.testing.assert_allclose(vars(ours)[name], value, **CLOSE)
        else:
            assert vars(ours)[name] == value


@pytest.mark.parametrize("shape", [(50, 1), (50, 6), (6, 50), (20, 20), (1, 3)])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", ["", "weights", "zeros"])
@pytest.mark.parametrize("estimator", [Ridge(1e-2), Ridge(30), Ridge(0.0), LinearRegression()])
def test_fits_are_those_of_scikit_learn(estimator, weighted, fit_intercept, shape):
    if shape[1] >= shape[0] and getattr(estimator, "alpha", 1.0) == 0.0:
        pytest.skip("a singular problem, of which each road finds its own solution")
    if shape[0] == 1 and fit_intercept and type(estimator) is LinearRegression:
        pytest.skip("a row less itself is rounding, of which scikit-learn tells the rank")
    estimator.set_params(fit_intercept=fit_intercept)
    X, y = table(*shape, level=3.0)
    weight = rng.uniform(0.1, 5.0, len(y)) if weighted else None
    if weighted == "zeros" and len(y) > 6:
        weight[::4] = 0.0
    assert is_linear(estimator)
    before = X.copy(), y.copy()
    assert_same(fit_linear(estimator, X, y, weight), refer(estimator, X, y, weight))
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    assert not hasattr(estimator, "coef_")


def test_what_is_singular_is_left_to_scikit_learn():
    X, y = table(40, 4)
    X = np.column_stack([X, X[:, 0] + X[:, 1], np.ones(40)])
    weight = rng.uniform(0.5, 2.0, 40)
    ours, theirs = (fit(LinearRegression(), X, y, weight) for fit in (fit_linear, refer))
    assert_same(ours, theirs)
    assert ours.rank_ == 4
    nearly = X + 1e-7 * rng.normal(size=X.shape)
    assert_same(*(fit(LinearRegression(), nearly, y, weight) for fit in (fit_linear, refer)))
    assert_same(*(fit(Ridge(1e-3), X, y, weight) for fit in (fit_linear, refer)))


def test_rows_far_apart_lose_no_digits():
    (X, y), (X_far, y_far) = table(40, 3), table(30, 3, level=1e5)
    X, y = np.vstack([X, X_far]), np.concatenate([y, y_far])
    weight = np.where(np.arange(70) < 40, 1e-12, 1.0)
    for n_first in (0, 40):
        rows = LinearRows(Ridge(), X, y, n_first)
        ours, theirs = rows.model(rows.fit(weight[None])[0]), refer(Ridge(), X, y, weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8)


@pytest.mark.parametrize("n_features", [5, 80])
@pytest.mark.parametrize("n_first", [0, 25])
@pytest.mark.parametrize("estimator", [Ridge(), Ridge(fit_intercept=False), LinearRegression()])
def test_many_weights_at_once_and_kept_sums(estimator, n_first, n_features, monkeypatch):
    monkeypatch.setattr("skmtl.adaptation._linear._AT_ONCE", 700)
    X, y = table(60, n_features, level=2.0)
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
            np.testing.assert_allclose(rows.model(line).coef_, wanted.coef_, **CLOSE)
            np.testing.assert_allclose(values, wanted.predict(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(30, 4), (5, 9), (1, 2), (300, 60)])
def test_one_ridge(shape, weighted):
    X, y = table(*shape)
    weight = rng.uniform(0.1, 5.0, len(y)) if weighted else None
    ridge = Ridge(0.3)
    assert_same(fit_ridge(ridge, X, y, weight), refer(ridge, X, y, weight))
    assert not hasattr(ridge, "coef_")


def test_what_is_left_to_scikit_learn():
    X, y = table(30, 4)
    others = [pd.DataFrame(X), X.astype(np.float32), sparse.csr_matrix(X), X[:, :0]]
    for bad in (np.nan, np.inf):
        others.append(X.copy())
        others[-1][3, 1] = bad
    assert all(fit_ridge(Ridge(), other, y, None) is None for other in others)
    assert fit_ridge(Ridge(), X, y.astype(np.float32), None) is None
    assert fit_ridge(LinearRegression(), X, y, None) is None
    assert fit_ridge(OtherRidge(), X, y, None) is None


def test_what_scikit_learn_refuses():
    X, y = table(30, 4)
    with pytest.raises(ValueError, match="infs or NaNs"):
        fit_ridge(Ridge(), 1e155 * X, y, None)
    with pytest.raises(ValueError, match="tol"):
        fit_ridge(Ridge(tol=-1.0), X, y, None)
    wide, y_wide = table(100, 1000)
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
