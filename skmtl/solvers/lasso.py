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
    """Return the coefficients along a path of decreasing strengths.

    Parameters
    ----------
    products : Products
    strengths : ndarray of shape (n_strengths,)
        Decreasing and positive, in the units of scikit-learn's ``alpha``: relative to half the mean
        squared error.
    tol : float
        Tolerance on the duality gap, as a share of the objective at zero.
    max_iter : int, default=1000
        Largest number of sweeps over the coefficients, for each strength.
    warn : bool, default=False
        Whether to warn if the gap at the last strength exceeds `tol`.

    Returns
    -------
    coefs : ndarray of shape (n_strengths, n_features)
    gaps : ndarray of shape (n_strengths,)
        Duality gaps, as shares of the objective at zero.
    """
    strengths = np.ascontiguousarray(strengths, dtype=np.float64)
    coefs, gaps = np.empty((len(strengths), len(products.moment))), np.empty(len(strengths))
    kernels.lasso.lasso_path(
        products.gram, products.moment, products.square, products.weight * strengths, tol, max_iter,
        coefs, gaps,
    )  # fmt: skip
    gaps /= max(0.5 * products.square, np.finfo(np.float64).tiny)
    if warn and gaps[-1] > tol:
        warnings.warn(
            f"the lasso stopped at a duality gap of {gaps[-1]:.1e}, above tol={tol:g}, after "
            f"{max_iter} sweeps; features may be nearly collinear, or of very different "
            "scales: scale them.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return coefs, gaps
