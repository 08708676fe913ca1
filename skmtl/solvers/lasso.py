r"""The lasso from products of centred rows, along a path of strengths, with its duality gap.

.. math:: \min_b \; \frac{1}{2W} \sum_i w_i (y_i - \bar y - (x_i - \bar x)'b)^2 + s \|b\|_1

with :math:`W = \sum_i w_i`.
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import kernels

__all__ = ["LassoPath", "lasso_path", "lasso_residuals"]


class LassoPath(NamedTuple):
    """Coefficients along a path of strengths, and how close to the solutions they are.

    Coordinate descent ends at a duality gap, which bounds the objective and not the conditions of
    optimality: a coefficient of zero violates its condition by at most the root of twice the gap
    times the feature's square, and one that is about to vanish by any amount. `lasso_residuals`
    returns the violations.

    Attributes
    ----------
    coefs : ndarray of shape (n_strengths, n_features)
    gaps : ndarray of shape (n_strengths,)
        Duality gaps, as shares of the objective at zero.
    n_sweeps : int
        Number of sweeps over the coefficients, for all strengths together.
    """

    coefs: np.ndarray
    gaps: np.ndarray
    n_sweeps: int


def lasso_path(products, strengths, tol, max_iter=1000, warn=False):
    """Return the coefficients along a path of decreasing strengths.

    Parameters
    ----------
    products : Products
    strengths : ndarray of shape (n_strengths,)
        Decreasing and positive, in the units of scikit-learn's ``alpha``: relative to half the mean
        squared error.
    tol : float
        Tolerance on the duality gap, as a share of the objective at zero. It is not reached if
        `max_iter` sweeps do not suffice, which the gaps tell.
    max_iter : int, default=1000
        Largest number of sweeps over the coefficients, for each strength. Small tolerances take
        more, with more features than rows tens of thousands.
    warn : bool, default=False
        Whether to warn if the gap at the last strength exceeds `tol`.

    Returns
    -------
    LassoPath
    """
    strengths = np.ascontiguousarray(strengths, dtype=np.float64)
    coefs, gaps = np.empty((len(strengths), len(products.moment))), np.empty(len(strengths))
    n_sweeps = kernels.lasso.lasso_path(
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
    return LassoPath(coefs, gaps, n_sweeps)


def lasso_residuals(products, strengths, coefs):
    """Return the largest violation of the conditions of optimality at every strength.

    Parameters
    ----------
    products : Products
    strengths : ndarray of shape (n_strengths,)
        Those of `lasso_path`.
    coefs : ndarray of shape (n_strengths, n_features)

    Returns
    -------
    ndarray of shape (n_strengths,)
        Relative to the smallest strength at which all coefficients are zero.
    """
    gradient = products.moment - coefs @ products.gram
    bound = products.weight * np.asarray(strengths, dtype=np.float64)[:, None]
    miss = np.where(
        coefs != 0,
        np.abs(gradient - bound * np.sign(coefs)),
        np.maximum(np.abs(gradient) - bound, 0.0),
    )
    largest = np.abs(products.moment).max(initial=0.0)
    return miss.max(axis=1, initial=0.0) / max(largest, np.finfo(np.float64).tiny)
