r"""The lasso from products of centred rows, along a path of strengths, with its duality gap.

.. math:: \min_b \; \frac{1}{2W} \sum_i w_i (y_i - \bar y - (x_i - \bar x)'b)^2 + s \|b\|_1

with :math:`W = \sum_i w_i`. The products :math:`\sum w_i (x_i - \bar x)(x_i - \bar x)'` of sets of
rows add up, so that a weight for each set costs no pass over the rows.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from .. import kernels

__all__ = ["Products", "lasso_path"]


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
        Z = X - mean[:-1]
        if weight is not None:
            root = np.sqrt(weight)
            Z *= root[:, None]
            r *= root
        return cls(Z.T @ Z, Z.T @ r, float(r @ r), total, mean)

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


def lasso_path(products, strengths, tol, max_iter=1000, warn=False):
    """Coefficients at falling strengths.

    Parameters
    ----------
    products : Products
    strengths : ndarray of shape (n_strengths,)
        Falling, above zero: of the mean squared error's half, as scikit-learn's ``alpha``.
    tol : float
        Duality gap, as a share of the objective at zero.
    max_iter : int, default=1000
        Sweeps over the coefficients, for each strength.
    warn : bool, default=False
        Whether to warn where the last one's gap is above `tol`.

    Returns
    -------
    coefs : ndarray of shape (n_strengths, n_features)
    gaps : ndarray of shape (n_strengths,)
        As shares of the objective at zero.
    """
    strengths = np.ascontiguousarray(strengths, dtype=np.float64)
    coefs, gaps = np.empty((len(strengths), len(products.moment))), np.empty(len(strengths))
    n = products.weight
    kernels.lasso.lasso_path(
        products.gram, products.moment, products.square, n * strengths, tol, max_iter, coefs, gaps
    )
    gaps /= max(0.5 * products.square, np.finfo(np.float64).tiny)
    if warn and gaps[-1] > tol:
        warnings.warn(
            f"the lasso stopped at a duality gap of {gaps[-1]:.1e}, above tol={tol:g}, after "
            f"{max_iter} sweeps; features may be nearly the same, or in units far apart: scale "
            "them.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return coefs, gaps
