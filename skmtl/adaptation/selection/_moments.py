"""Ridge regressions that weigh sources, from sums over each source's rows made once."""

import numpy as np
from scipy import sparse

from ...tasks.stack import as_dense

__all__ = ["RidgeMoments"]

# Rows that are centred and multiplied at once, and numbers in a temporary array.
_ROWS_AT_ONCE, _NUMBERS_AT_ONCE = 2**16, 2**22


class RidgeMoments:
    r"""Sums over the rows of sources, for many ridges at once.

    With weights :math:`\omega_k` of the sources' rows and constants :math:`c_k` added to their
    labels each ridge minimises, for every label by itself,

    .. math:: \sum_{i \in \text{target}} w_i (y_i - b - x_i'a)^2 + \sum_k \omega_k
        \sum_{i \in k} w_i (y_i + c_k - b - x_i'a)^2 + \alpha \|a\|^2

    at a cost that does not depend on the number of source rows.

    Parameters
    ----------
    target : SourceRows
        X of finite numbers ``(n_target, n_features)``, y ``(n_target, n_labels)``.
    sources : sequence of SourceRows
        Likewise; X may be a csr matrix.
    alpha : float
        Above zero.
    """

    def __init__(self, target, sources, alpha):
        self.target, self.alpha = target, alpha
        # All sums are about the target's means: far from zero, products lose their digits.
        self.centre = target.row_weight @ _beside(target) / target.row_weight.sum()
        parts = [self._sums_of(source) for source in sources]
        self.totals = np.array([total for total, _, _ in parts])
        self.means = np.array([mean for _, mean, _ in parts])
        self.squares = np.array([square for _, _, square in parts])

    def alone(self):
        """Predictions by each source's own ridge, of shape (n_sources, n_target, n_labels)."""
        p = self._n_features
        coef, level = self._lines(np.eye(len(self.totals)), (0.0, 0.0 * self.means[0], 0.0))
        return (self.target.X - self.centre[:p]) @ coef + (level + self.centre[p:])[:, None, :]

    def misses(self, weights, shift, train, test):
        """What several ridges miss of the labels of target rows.

        Parameters
        ----------
        weights : ndarray of shape (n_ridges, n_sources)
        shift : ndarray of shape (n_sources,) or None
            Constants that may be added to the labels of sources.
        train, test : ndarrays of int
            Target rows to fit on, and to predict.

        Returns
        -------
        missed : ndarray of shape (n_ridges, n_test, n_labels)
            Without the shift.
        moved : ndarray of shape (n_ridges, n_test, 1)
            What the shift adds to predictions; zero, where it is None.
        """
        p, n_labels = self._n_features, self.target.y.shape[1]
        at_once = max(1, _NUMBERS_AT_ONCE // (self.squares[0].size + len(test)))
        own = self._sums(_beside(self.target, train), self.target.row_weight[train])
        X, y = self.target.X[test] - self.centre[:p], self.target.y[test] - self.centre[p:]
        missed, moved = np.empty((len(weights), *y.shape)), np.zeros((len(weights), len(y), 1))
        for start in range(0, len(weights), at_once):
            some = slice(start, start + at_once)
            coef, level = self._lines(weights[some], own, shift)
            found = X @ coef + level[:, None, :]
            missed[some] = y - found[:, :, :n_labels]
            if shift is not None:
                moved[some] = found[:, :, n_labels:]
        return missed, moved

    @property
    def _n_features(self):
        return self.target.X.shape[1]

    def _lines(self, weights, own, shift=None):
        """Coefficients ``(n_ridges, n_features, n_labels)`` and levels, about the centre.

        A `shift` is one more label: a constant on the rows of each source, zero on the target's.
        """
        p = self._n_features
        total, mean, square = own
        totals = weights * self.totals
        W = totals.sum(axis=1) + total
        middle = totals @ self.means + total * mean
        # Most weights are zero: candidates are of a source alone, or of few.
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

    def _sums_of(self, rows):
        """Of many rows, so many at once."""
        parts = []
        for start in range(0, len(rows.y), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            parts.append(self._sums(_beside(rows, some), rows.row_weight[some]))
        totals, means, squares = zip(*parts, strict=True)
        return sum(totals), np.average(means, axis=0, weights=totals), sum(squares)

    def _sums(self, Z, weight):
        """Total weight, means and squares, about the centre."""
        total, p = weight.sum(), self._n_features
        mean = weight @ Z / total
        R = (Z - mean) * np.sqrt(weight)[:, None]
        mean = mean - self.centre
        return total, mean, R[:, :p].T @ R + total * np.outer(mean[:p], mean)


def _beside(rows, some=slice(None)):
    """Features and labels of some rows in one table."""
    X = rows.X[some]
    return np.hstack([as_dense(X), rows.y[some]])
