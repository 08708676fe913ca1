"""Weighted Gram matrices, and TrAdaBoost.R2 with ridges, against naive twins."""

import numpy as np
import pytest
import reference
from sklearn.linear_model import Ridge

from skmtl import kernels
from skmtl.adaptation import normal_equations
from skmtl.adaptation.boosting._rounds import _ROUNDING
from skmtl.adaptation.normal_equations import LinearRows

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.mark.parametrize("n_columns", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("n_rows", [1, 40, 512, 1100])
def test_squares_are_sums_over_rows(n_rows, n_columns, rng):
    Z, weights = rng.normal(size=(n_columns, n_rows)), rng.uniform(size=(3, n_rows))
    out = np.full((3, n_columns, n_columns), np.nan)
    kernels.boosting.weighted_squares(Z, weights, out)
    wanted = [sum(w * np.outer(z, z) for w, z in zip(some, Z.T, strict=True)) for some in weights]
    np.testing.assert_allclose(out, wanted, rtol=1e-10, atol=1e-10)
    Z[0, -1] = np.nan  # is not lost by sums in another order
    kernels.boosting.weighted_squares(Z, weights, out)
    assert np.isnan(out[:, 0]).all() and not np.isnan(out[:, 1:, 1:]).any()


def problem(rng, n_features, n_source=700, n_target=20):
    X = rng.normal(size=(n_source + n_target, n_features)) + 2.0
    y = X @ rng.normal(size=n_features) + rng.normal(size=len(X))
    y[: n_source // 2] += 3.0 * X[: n_source // 2, 0]
    return X, y, rng.uniform(0.5, 1.5, len(y))


@pytest.mark.parametrize("n_features", [1, 4, 5])
@pytest.mark.parametrize("n_rounds", [1, 6])
@pytest.mark.parametrize("ridge", [Ridge(0.5), Ridge(20.0, fit_intercept=False)])
def test_rounds_are_those_of_the_twin(ridge, n_rounds, n_features, rng):
    X, y, weight = problem(rng, n_features)
    before = weight.copy()
    rows = LinearRows(ridge, X, y)
    lines, weights, told = rows.boost(weight, 700, n_rounds, _ROUNDING * np.abs(y).max())
    parts = (X[:700], y[:700]), (X[700:], y[700:])
    learners, votes, wanted, used = reference.tradaboost(ridge, *parts, weight, n_rounds)
    np.testing.assert_allclose(told[:, [0, 2]], wanted, **CLOSE)
    assert len(told) == n_rounds and (told[:, 0] < 0.5).all()
    np.testing.assert_allclose(weights[-1], used, **CLOSE)
    np.testing.assert_allclose(-np.log(told[-len(votes) :, 1]), votes, **CLOSE)
    for line, learner in zip(lines[-len(learners) :], learners, strict=True):
        np.testing.assert_allclose(line.coef, learner.coef_, **CLOSE)
        np.testing.assert_allclose(line.intercept, learner.intercept_, **CLOSE)
    np.testing.assert_array_equal(weight, before)


def test_a_bad_learner_is_the_last(rng):
    made = []
    for _ in range(30):
        X, y, weight = problem(rng, 3)
        y[700:] *= -4.0
        lines, weights, told = LinearRows(Ridge(), X, y).boost(weight, 700, 8, 0.0)
        assert len(lines) == len(weights) == len(told) <= 8
        assert (told[:-1, 0] < 0.5).all() and (told[-1, 0] >= 0.5 or len(told) == 8)
        made.append(len(told))
    assert 1 < min(n for n in made if n > 1) < 8


def test_what_the_kernel_leaves_to_others(monkeypatch, rng):
    X, y, weight = problem(rng, 3)

    def boost(ridge, X):
        return LinearRows(ridge, X, y).boost(weight, 700, 3, 0.0)

    assert boost(Ridge(), X) is not None
    assert boost(Ridge(0.0), np.column_stack([X, X[:, 0]])) is None  # singular
    far = np.where(np.arange(len(y)) < 719, 1e-30, 1.0)
    assert (
        LinearRows(Ridge(), X, y).boost(far, 700, 3, 0.0) is None
    )  # a single row dominates: cancellation
    monkeypatch.setattr(normal_equations, "_NARROW", 4)
    assert boost(Ridge(), X) is None
