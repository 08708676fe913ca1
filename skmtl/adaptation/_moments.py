"""Ridge regressions that weigh sources, from sums over each source's rows made once."""

import numpy as np

from ..solvers.products import Products
from ._linear import is_ridge

__all__ = ["RidgeMoments"]


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
        self.problem = problem
        sources = [Products.of(s.X, s.y, s.weight) for s in problem.sources]
        self.totals = np.array([products.weight for products in sources])
        self.means = np.array([products.mean for products in sources])
        self.scatters = np.array([_scatter(products) for products in sources])

    @staticmethod
    def fits(problem):
        """Whether the estimator is a plain `Ridge`, and rows are finite numbers, and many."""
        ridge = problem.estimator
        if not is_ridge(ridge) or not ridge.fit_intercept or ridge.alpha == 0.0:
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
        rows = self.problem.take(rows)
        target = Products.of(rows.X, rows.y, rows.weight)
        scatter = _scatter(target)
        coefs, levels = [], []
        for weight, shift in zip(weights, shifts, strict=True):
            means = np.vstack([self.means, target.mean])
            means[:-1, -1] += shift
            totals = np.append(weight * self.totals, target.weight)
            middle = totals @ means / totals.sum()
            gaps = np.sqrt(totals)[:, None] * (means - middle)
            A = scatter + np.tensordot(weight, self.scatters, 1) + gaps[:, :-1].T @ gaps
            coef, level = _solve(A, middle, self.alpha)
            coefs.append(coef)
            levels.append(level)
        return np.array(coefs), np.array(levels)


def _scatter(products):
    """The rows' features by features and labels ``(n_features, n_features + 1)``."""
    return np.column_stack([products.gram, products.moment])


def _solve(scatter, mean, alpha):
    A = scatter[:, :-1] + alpha * np.eye(len(mean) - 1)
    coef = np.linalg.solve(A, scatter[:, -1])
    return coef, mean[-1] - mean[:-1] @ coef
