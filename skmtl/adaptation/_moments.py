"""Ridge regressions that weigh sources, from sums over each source's rows made once."""

import numpy as np
from sklearn.linear_model import Ridge

from ._linear import is_linear

__all__ = ["RidgeMoments"]

# Rows that are centred and multiplied at once.
_AT_ONCE = 2**16


class RidgeMoments:
    r"""Sums over the rows of a problem's sources, for one ridge after another.

    With weights :math:`\omega_k` of the sources' rows and constants :math:`c_k` added to their
    labels it minimises

    .. math:: \sum_{i \in \text{target}} w_i (y_i - b - x_i'a)^2 + \sum_k \omega_k
        \sum_{i \in k} w_i (y_i + c_k - b - x_i'a)^2 + \alpha \|a\|^2

    at a cost that does not depend on the number of source rows.

    Parameters
    ----------
    problem : TransferProblem
        For which `fits` holds.
    """

    def __init__(self, problem):
        self.alpha = problem.estimator.alpha
        parts = [_moments(s.X, s.y, s.weight) for s in problem.sources]
        self.totals, self.means, self.scatters = map(np.array, zip(*parts, strict=True))
        self.problem = problem

    @staticmethod
    def fits(problem):
        """Whether the estimator is a plain `Ridge`, and rows are finite numbers, and many."""
        ridge = problem.estimator
        if type(ridge) is not Ridge or not is_linear(ridge):
            return False
        if not ridge.fit_intercept or ridge.alpha == 0.0:
            return False
        tables = [problem.X, *(source.X for source in problem.sources)]
        plain = all(
            isinstance(X, np.ndarray) and X.dtype == np.float64 and np.isfinite(X.sum())
            for X in tables
        )
        return plain and sum(len(X) for X in tables) >= problem.X.shape[1]

    def alone(self):
        """Coefficients of each source's own ridge ``(n_sources, n_features)``, and intercepts."""
        lines = [
            _solve(scatter, mean, self.alpha)
            for scatter, mean in zip(self.scatters, self.means, strict=True)
        ]
        return np.array([coef for coef, _ in lines]), np.array([level for _, level in lines])

    def lines(self, weights, shifts, rows):
        """Ridges on these target rows and on the sources.

        Parameters
        ----------
        weights, shifts : ndarrays of shape (n_lines, n_sources)
        rows : ndarray of int

        Returns
        -------
        coef : ndarray of shape (n_lines, n_features)
        intercept : ndarray of shape (n_lines,)
        """
        problem = self.problem
        own = None if problem.weight is None else problem.weight[rows]
        total, mean, scatter = _moments(problem.X[rows], problem.y[rows], own)
        coefs, levels = [], []
        for weight, shift in zip(weights, shifts, strict=True):
            means = np.vstack([self.means, mean])
            means[:-1, -1] += shift
            totals = np.append(weight * self.totals, total)
            middle = totals @ means / totals.sum()
            gaps = np.sqrt(totals)[:, None] * (means - middle)
            A = scatter + np.tensordot(weight, self.scatters, 1) + gaps.T @ gaps
            coef, level = _solve(A, middle, self.alpha)
            coefs.append(coef)
            levels.append(level)
        return np.array(coefs), np.array(levels)


def _moments(X, y, weight):
    """Total weight, means of ``[x, y]``, and their scatter about the means."""
    n_columns = X.shape[1] + 1
    centre = np.append(X[:_AT_ONCE].mean(axis=0), y[:_AT_ONCE].mean())
    total, sums, square = 0.0, np.zeros(n_columns), np.zeros((n_columns, n_columns))
    for start in range(0, len(y), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        Z = np.column_stack([X[some], y[some]]) - centre
        w = np.ones(len(Z)) if weight is None else weight[some]
        total += w.sum()
        sums += w @ Z
        Z *= np.sqrt(w)[:, None]
        square += Z.T @ Z
    return total, centre + sums / total, square - np.outer(sums, sums) / total


def _solve(scatter, mean, alpha):
    A = scatter[:-1, :-1] + alpha * np.eye(len(mean) - 1)
    coef = np.linalg.solve(A, scatter[:-1, -1])
    return coef, mean[-1] - mean[:-1] @ coef
