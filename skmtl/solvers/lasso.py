r"""The lasso from products of centred rows, along a path of strengths, with its duality gap.

.. math:: \min_b \; \frac{1}{2W} \sum_i w_i (y_i - \bar y - (x_i - \bar x)'b)^2 + s \|b\|_1

with :math:`W = \sum_i w_i`.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import kernels

__all__ = ["lasso_path"]


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
