"""Ridge regressions with weights of sources, from moments of each source's rows."""

import numpy as np
from scipy import sparse

from ...tasks.stack import as_dense

__all__ = ["RidgeMoments"]

# Rows that are centred and multiplied at once, and numbers in a temporary array.
_ROWS_AT_ONCE, _NUMBERS_AT_ONCE = 2**16, 2**22


class RidgeMoments:
    r"""Moments of the rows of sources, for many ridges at once.

    With weights :math:`\omega_k` of the sources' rows and constants :math:`c_k` added to their
    labels each ridge minimises, separately for every label,

    .. math:: \sum_{i \in \text{target}} w_i (y_i - b - x_i'a)^2 + \sum_k \omega_k
        \sum_{i \in k} w_i (y_i + c_k - b - x_i'a)^2 + \alpha \|a\|^2

    at a cost that does not depend on the number of source rows.

    Parameters
    ----------
    target : SourceRows
        X of finite numbers ``(n_target, n_features)``, y ``(n_target, n_labels)``.
    sources : sequence of SourceRows
        Of the same form; X may be a csr matrix.
    alpha : float
        Positive.
    """

    def __init__(self, target, sources, alpha):
        self.target, self.alpha, self._n_features = target, alpha, target.X.shape[1]
        # All moments are taken about the target's means: far from zero, products lose digits.
        self.centre = target.row_weight @ _joined(target) / target.row_weight.sum()
        moments = zip(*(self._moments_of_source(source) for source in sources), strict=True)
        self.totals, self.means, self.squares = map(np.array, moments)

    def alone(self):
        """Return each source's own ridge's predictions, (n_sources, n_target, n_labels)."""
        p = self._n_features
        coef, level = self._ridges(np.eye(len(self.totals)), (0.0, 0.0 * self.means[0], 0.0))
        return (self.target.X - self.centre[:p]) @ coef + (level + self.centre[p:])[:, None, :]

    def residuals(self, weights, shift, train, test):
        """Return the residuals of several ridges on target rows.

        Parameters
        ----------
        weights : ndarray of shape (n_ridges, n_sources)
        shift : ndarray of shape (n_sources,) or None
            Constants that may be added to the labels of sources.
        train, test : ndarrays of int
            Target rows to fit on, and to predict.

        Returns
        -------
        residuals : ndarray of shape (n_ridges, n_test, n_labels)
            Without the shift.
        moved : ndarray of shape (n_ridges, n_test, 1)
            The change of predictions by the shift; zero if it is None.
        """
        p, n_labels = self._n_features, self.target.y.shape[1]
        at_once = max(1, _NUMBERS_AT_ONCE // (self.squares[0].size + len(test)))
        of_target = self._moments(_joined(self.target, train), self.target.row_weight[train])
        X, y = self.target.X[test] - self.centre[:p], self.target.y[test] - self.centre[p:]
        residuals, moved = np.empty((len(weights), *y.shape)), np.zeros((len(weights), len(y), 1))
        for start in range(0, len(weights), at_once):
            block = slice(start, start + at_once)
            coef, level = self._ridges(weights[block], of_target, shift)
            predicted = X @ coef + level[:, None, :]
            residuals[block] = y - predicted[:, :, :n_labels]
            if shift is not None:
                moved[block] = predicted[:, :, n_labels:]
        return residuals, moved

    def _ridges(self, weights, of_target, shift=None):
        """Return coefficients ``(n_ridges, n_features, n_labels)`` and levels, about the centre.

        A `shift` is one more label: a constant on the rows of each source, zero on the target's.
        """
        p = self._n_features
        total, mean, square = of_target
        totals = weights * self.totals
        W = totals.sum(axis=1) + total
        middle = totals @ self.means + total * mean
        # Most weights are zero, since most candidates have one or few sources.
        flat = sparse.csr_matrix(weights) @ self.squares.reshape(len(self.squares), -1)
        square = square + flat.reshape(-1, p, middle.shape[1])
        if shift is not None:
            shifted = totals * shift
            middle = np.hstack([middle, shifted.sum(axis=1)[:, None]])
            square = np.concatenate([square, (shifted @ self.means[:, :p])[:, :, None]], axis=2)
        middle /= W[:, None]
        square -= (W[:, None] * middle[:, :p])[:, :, None] * middle[:, None, :]
        A = square[:, :, :p] + self.alpha * np.eye(p)
        coef = np.linalg.solve(A, square[:, :, p:])
        return coef, middle[:, p:] - (middle[:, None, :p] @ coef)[:, 0]

    def _moments_of_source(self, rows):
        """Return the moments of all rows of a source, computed in blocks of rows."""
        parts = []
        for start in range(0, len(rows.y), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            parts.append(self._moments(_joined(rows, block), rows.row_weight[block]))
        totals, means, squares = zip(*parts, strict=True)
        return sum(totals), np.average(means, axis=0, weights=totals), sum(squares)

    def _moments(self, Z, weight):
        """Return total weight, means and squares, about the centre."""
        total, p = weight.sum(), self._n_features
        mean = weight @ Z / total
        R = (Z - mean) * np.sqrt(weight)[:, None]
        mean = mean - self.centre
        return total, mean, R[:, :p].T @ R + total * np.outer(mean[:p], mean)


def _joined(rows, index=slice(None)):
    """Return the features and labels of rows in one table."""
    return np.hstack([as_dense(rows.X[index]), rows.y[index]])
