"""Products of centred rows, of which sets of rows can be weighed without another pass over them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Products"]

# Rows that are centred and multiplied at once.
_AT_ONCE = 2**16


@dataclass(frozen=True, eq=False)
class Products:
    """Sums over rows that are centred on their own mean.

    Attributes
    ----------
    gram : ndarray of shape (n_features, n_features)
    moment : ndarray of shape (n_features,)
        Of features and labels.
    square : float
        Of labels.
    weight : float
        Of the rows.
    mean : ndarray of shape (1 + n_features,)
        Of features, and of the labels at the end.
    """

    gram: np.ndarray
    moment: np.ndarray
    square: float
    weight: float
    mean: np.ndarray

    @classmethod
    def of(cls, X, y, weight=None, centre=True):
        """From dense or CSR rows; about zero where `centre` is False."""
        total = float(len(y)) if weight is None else float(weight.sum())
        mean = np.zeros(X.shape[1] + 1)
        w = np.ones(len(y)) if weight is None else weight
        if centre:
            mean[:-1], mean[-1] = (X.T @ w) / total, (y @ w) / total
        r = y - mean[-1]
        if sparse.issparse(X):
            gram = (X.T @ X.multiply(w[:, None])).toarray()
            gram -= total * np.outer(mean[:-1], mean[:-1])
            return cls(gram, X.T @ (w * r), float(w @ r**2), total, mean)
        gram, moment, root = np.zeros((X.shape[1], X.shape[1])), np.zeros(X.shape[1]), np.sqrt(w)
        for start in range(0, len(y), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            Z = X[some] - mean[:-1]
            if weight is not None:
                Z *= root[some, None]
            gram += Z.T @ Z
            moment += Z.T @ (root[some] * r[some])
        return cls(gram, moment, float(w @ r**2), total, mean)

    def plus(self, others, factor):
        """With those of `others`, times a factor; the mean stays this one's."""
        return Products(
            self.gram + factor * others.gram, self.moment + factor * others.moment,
            self.square + factor * others.square, self.weight + factor * others.weight, self.mean,
        )  # fmt: skip

    def less(self, coef):
        """Of the labels less ``X @ coef``."""
        fitted = self.gram @ coef
        square = self.square - 2 * self.moment @ coef + coef @ fitted
        return Products(
            self.gram, self.moment - fitted, max(square, 0.0), self.weight, self.mean
        )  # fmt: skip

    def strongest(self):
        """The least strength at which all coefficients are zero."""
        return float(np.abs(self.moment).max()) / self.weight

    def intercept(self, coef):
        return float(self.mean[-1] - self.mean[:-1] @ coef)
