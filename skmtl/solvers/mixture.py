r"""Maximum likelihood estimates of the proportions of a mixture of known components.

.. math:: \max_p \sum_t v_t \log \sum_l A_{tl} p_l \quad \text{subject to} \quad p \ge 0, \;
    \textstyle\sum_l p_l = 1

where the weights v sum to one and no entry of A is negative. The problem is convex; Newton's method
needs about ten steps where EM needs thousands.

With :math:`d_l = \sum_t v_t A_{tl} / (Ap)_t`, the objective is at most :math:`\log \max_l d_l`
below its maximum (by Jensen's inequality, as :math:`\sum_l q_l d_l \le \max_l d_l` for all
proportions q); this is the certificate. The solver does not need the constraint on the sum: with
:math:`\sum_l p_l` subtracted from the objective, the maximum sums to one by itself. The interior
point method (primal-dual, with a line search on the barrier function) handles the bounds only.

References
----------
Koenker, R. and Mizera, I. (2014). Convex optimization, shape constraints, compound decisions, and
empirical Bayes rules. Journal of the American Statistical Association 109, 674-685.
:doi:`10.1080/01621459.2013.869224`

Kim, Y., Carbonetto, P., Stephens, M. and Anitescu, M. (2020). A fast algorithm for maximum
likelihood estimation of mixture proportions using sequential quadratic programming. Journal of
Computational and Graphical Statistics 29, 261-273. :doi:`10.1080/10618600.2019.1689985`
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

__all__ = ["MixtureSolution", "solve_mixture"]

_SHRINK = 0.1  # factor on the barrier per iteration
_SUFFICIENT = 1e-4  # Armijo's rule


@dataclass
class MixtureSolution:
    """Proportions and their certificate.

    Attributes
    ----------
    p : ndarray of shape (n_parts,)
        Sums to one.
    objective : float
    gap : float
        Upper bound on the distance of the objective to its maximum.
    n_iter : int
    """

    p: np.ndarray
    objective: float
    gap: float
    n_iter: int


def solve_mixture(A, v, tol=1e-8, max_iter=100):
    """Maximise ``v @ log(A @ p)`` over proportions p.

    Parameters
    ----------
    A : ndarray of shape (n_rows, n_parts)
        Not negative, without rows of zeros.
    v : ndarray of shape (n_rows,)
        Positive; divided by their sum.
    tol : float
        Tolerance on the gap.
    max_iter : int

    Returns
    -------
    MixtureSolution
        Its gap shows whether `tol` was reached.
    """
    largest = A.max(axis=1)  # scaling a row adds a constant to the objective
    A, v = A / largest[:, None], v / v.sum()
    constant, n = v @ np.log(largest), A.shape[1]
    p = np.full(n, 1.0 / n)
    multiplier = np.ones(n)  # of the bounds
    best = None
    for n_iter in range(max_iter + 1):
        mixed = A @ p
        pull = A.T @ (v / mixed)
        # For the proportions p / sum(p).
        total = p.sum()
        gap = max(float(np.log(pull.max() * total)), 0.0)
        if best is None or gap < best.gap:
            objective = float(v @ np.log(mixed / total)) + constant
            best = MixtureSolution(p / total, objective, gap, n_iter)
        if gap <= tol or n_iter == max_iter:
            break
        mu = _SHRINK * (p @ multiplier) / n
        step = _newton(A, v, mixed, pull, p, multiplier, mu)
        if step is None:
            break
        p, multiplier = _move(A, v, p, multiplier, mixed, step, mu)
    return MixtureSolution(best.p, best.objective, best.gap, n_iter)


def _newton(A, v, mixed, pull, p, multiplier, mu):
    """Return the steps of p and of the multipliers, and the slope of the barrier function."""
    scaled = A * (np.sqrt(v) / mixed)[:, None]
    curvature = dsyrk(1.0, scaled.T, lower=1)
    curvature[np.diag_indices(len(p))] += multiplier / p
    gradient = 1.0 - pull - mu / p
    try:
        factor = cho_factor(curvature, lower=True, check_finite=False, overwrite_a=True)
    except LinAlgError:
        return None
    d = -cho_solve(factor, gradient, check_finite=False)
    return d, mu / p - multiplier - multiplier / p * d, gradient @ d


def _move(A, v, p, multiplier, mixed, step, mu):
    """Take a step that keeps all values positive and decreases the barrier function."""
    d, d_multiplier, slope = step
    length = min(1.0, 0.99 / max((-d / p).max(), 1e-300))
    change = A @ d
    for _ in range(40):
        relative = length * d / p
        rise = (
            length * d.sum() - v @ np.log1p(length * change / mixed) - mu * np.log1p(relative).sum()
        )
        if rise <= _SUFFICIENT * length * slope:
            break
        length *= 0.5
    length_of_multiplier = min(1.0, 0.99 / max((-d_multiplier / multiplier).max(), 1e-300))
    return p + length * d, multiplier + length_of_multiplier * d_multiplier
