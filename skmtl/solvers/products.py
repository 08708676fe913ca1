"""Products of centred rows, which combine sets of rows without another pass over them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Products"]

_BLOCK_ROWS = 2**16  # centred and multiplied at once


@dataclass(frozen=True, eq=False)
class Products:
    """Sums of products over rows that are centred on their mean.

    Attributes
    ----------
    gram : ndarray of shape (n_features, n_features)
        Products of the features.
    moment : ndarray of shape (n_features,)
        Products of features and labels.
    square : float
        Sum of the squared labels.
    weight : float
        Sum of the weights of the rows.
    mean : ndarray of shape (1 + n_features,)
        Means of the features, and of the labels at the end.
    """

    gram: np.ndarray
    moment: np.ndarray
    square: float
    weight: float
    mean: np.ndarray

    @classmethod
    def of(cls, X, y, weight=None, centre=True):
        """Compute products from dense or CSR rows; they are not centred if `centre` is False."""
        w = np.ones(len(y)) if weight is None else weight
        total = float(w.sum())
        mean = np.zeros(X.shape[1] + 1)
        if centre:
            mean[:-1], mean[-1] = (X.T @ w) / total, (y @ w) / total
        r = y - mean[-1]
        if sparse.issparse(X):
            gram = (X.T @ X.multiply(w[:, None])).toarray()
            gram -= total * np.outer(mean[:-1], mean[:-1])
            return cls(gram, X.T @ (w * r), float(w @ r**2), total, mean)
        gram, moment, root = np.zeros((X.shape[1], X.shape[1])), np.zeros(X.shape[1]), np.sqrt(w)
        for start in range(0, len(y), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            Z = X[block] - mean[:-1]
            if weight is not None:
                Z *= root[block, None]
            gram += Z.T @ Z
            moment += Z.T @ (root[block] * r[block])
        return cls(gram, moment, float(w @ r**2), total, mean)

    def plus(self, others, factor):
        """Add those of `others`, times a factor; the mean is kept."""
        return Products(
            self.gram + factor * others.gram, self.moment + factor * others.moment,
            self.square + factor * others.square, self.weight + factor * others.weight, self.mean,
        )  # fmt: skip

    def less(self, coef):
        """Return the products with ``X @ coef`` subtracted from the labels."""
        fitted = self.gram @ coef
        square = self.square - 2 * self.moment @ coef + coef @ fitted
        return Products(
            self.gram, self.moment - fitted, max(square, 0.0), self.weight, self.mean
        )  # fmt: skip

    def strongest(self):
        """Return the smallest strength at which all coefficients are zero."""
        return float(np.abs(self.moment).max()) / self.weight

    def intercept(self, coef):
        return float(self.mean[-1] - self.mean[:-1] @ coef)
