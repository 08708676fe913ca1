"""How close two computations of one result come: condition number times machine epsilon.

Which BLAS kernel runs, on how many threads, decides the last digits of a product of matrices; a
linear system multiplies what is wrong with them by its condition number. So no tolerance is below
that, and none is so wide that an error of one in a million would pass.
"""

import numpy as np

EPSILON = np.finfo(float).eps
SLACK = 1000.0  # sums of hundreds of terms, and the constants of the backward errors
WIDEST = 1e-6


def condition_of_normal_equations(X, weight=None, alpha=0.0, fit_intercept=True):
    """The condition number of ``X'WX + alpha I``, of rows less their weighted mean if centred.

    Without alpha that on the span of the rows, in which the least-norm solution lies.
    """
    weight = np.ones(len(X)) if weight is None else np.asarray(weight, dtype=float)
    if fit_intercept:
        X = X - np.average(X, axis=0, weights=weight)
    singular = np.linalg.svd(np.sqrt(weight)[:, None] * X, compute_uv=False)
    least = singular[singular > 1e-10 * singular[0]].min(initial=np.inf)
    if alpha:
        least = singular.min() if X.shape[1] <= len(X) else 0.0
    return (singular[0] ** 2 + alpha) / (least**2 + alpha)


def tolerance(condition=1.0):
    """The error, relative to the largest entry, that is rounding at this condition number."""
    bound = max(SLACK * EPSILON * condition, 1e-12)
    assert bound <= WIDEST, (
        f"at a condition number of {condition:.1e} rounding hides errors of {bound:.1e}: compare "
        "fitted values, an objective or residuals instead"
    )
    return bound


def assert_same_but_rounding(got, wanted, condition=1.0, scale=None, err_msg=""):
    """Equal up to rounding.

    Parameters
    ----------
    condition : float
        Of the system that was solved; 1 for sums and products.
    scale : float, default=None
        Of the terms that were added; by default the largest absolute entry wanted.
    """
    scale = np.max(np.abs(wanted), initial=0.0) if scale is None else scale
    np.testing.assert_allclose(
        got, wanted, rtol=0, atol=tolerance(condition) * scale, err_msg=err_msg
    )
