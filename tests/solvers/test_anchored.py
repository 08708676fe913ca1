"""Solvers of anchored linear models: gradients, gradient descent, and the warning."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skmtl.solvers import anchored
from skmtl.solvers.anchored import LogisticRows, SquaredRows, gradient_path

_rng = np.random.default_rng(0)
X, W = _rng.normal(2.0, 1.0, size=(15, 4)), _rng.uniform(0.5, 2.0, 15)
Y, CODES = X @ [1.0, 0.0, -1.0, 2.0] + _rng.normal(size=15), np.arange(15) % 3
del _rng  # each test draws from its own generator


def test_gradient_of_the_log_loss_by_differences(rng):
    for rows, K in ((LogisticRows(X, CODES, 3, W), 3), (LogisticRows(X, CODES % 2, 2, W), 1)):
        scores, moved = rng.normal(size=(2, 15, K))
        slope = (rows.loss(scores + 1e-6 * moved) - rows.loss(scores - 1e-6 * moved)) / 2e-6
        np.testing.assert_allclose((rows.gradient(scores) * moved).sum(), slope, rtol=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_descent_has_a_closed_form_for_the_square(penalty):
    """After k steps the remaining distance of the slopes is ``(I - H / L)^k`` times the first."""
    rows, start = SquaredRows(X, Y, W), np.array([[0.5, 0.5, 0.0, 0.0]])
    C = X - W @ X / W.sum()
    H = C.T @ (W[:, None] * C)
    L = np.linalg.eigvalsh(H)[-1] + penalty
    H = H + penalty * np.eye(4)
    end = np.linalg.solve(H, C.T @ (W * Y))
    steps = [0, 1, 7, 40]
    path = list(gradient_path(rows, start, np.array([9.0]), penalty, steps))
    np.testing.assert_array_equal(path[0][0], start)
    np.testing.assert_allclose(path[0][1], [9.0])
    for k, (coef, intercept) in list(zip(steps, path, strict=True))[1:]:
        left = np.linalg.matrix_power(np.eye(4) - H / L, k) @ (start[0] - end)
        np.testing.assert_allclose(coef[0], end + left, rtol=1e-9)
        np.testing.assert_allclose(intercept, W @ (Y - X @ coef[0]) / W.sum())


def test_descent_never_goes_up(rng):
    for rows, K in ((LogisticRows(X, CODES, 3, W), 3), (LogisticRows(X, CODES % 2, 2, W), 1)):
        values = [
            rows.loss(X @ coef.T + intercept) + (coef**2).sum()
            for coef, intercept in gradient_path(
                rows, 3 * rng.normal(size=(K, 4)), np.zeros(K), 2.0, range(60)
            )
        ]
        assert (np.diff(values) <= 1e-12 * values[0]).all() and values[-1] < values[0]


def test_a_gradient_that_is_left_is_told(monkeypatch):
    monkeypatch.setattr(anchored, "_MOST_STEPS", 1)
    with pytest.warns(ConvergenceWarning, match="stopped after 1 steps .* tolerance 1.0e-10"):
        LogisticRows(X, CODES, 3, W).solve(np.zeros((3, 4)), np.zeros(3), 0.1)
