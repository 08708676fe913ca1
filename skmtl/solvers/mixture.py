r"""Proportions of a mixture of known parts, by maximum likelihood.

.. math:: \max_p \sum_t v_t \log \sum_l A_{tl} p_l \quad \text{subject to} \quad p \ge 0, \;
    \textstyle\sum_l p_l = 1

where the weights v sum to one and no entry of A is below zero. The problem is convex; what EM
takes thousands of steps for takes Newton's method some ten.

With :math:`d_l = \sum_t v_t A_{tl} / (Ap)_t`, the objective is at most :math:`\log \max_l d_l`
below its maximum (by Jensen's inequality, as :math:`\sum_l q_l d_l \le \max_l d_l` for all
proportions q): the certificate. The sum is no constraint for the solver: subtracting
:math:`\sum_l p_l` from the objective gives a maximum that sums to one by itself, and the interior
point method (primal-dual, with a line search on the barrier function) only has bounds to mind.

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

_SHRINK = 0.1  # of the barrier, an iteration
_SUFFICIENT = 1e-4  # Armijo's rule


@dataclass
class MixtureSolution:
    """Proportions, and how good they are.

    Attributes
    ----------
    p : ndarray of shape (n_parts,)
        Sums to one.
    objective : float
    gap : float
        At most so much below the maximum.
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
        At least zero; no row is zero.
    v : ndarray of shape (n_rows,)
        Above zero; divided by their sum.
    tol : float
        It ends where the gap is below.
    max_iter : int

    Returns
    -------
    MixtureSolution
        Ask its gap whether `tol` was reached.
    """
    top = A.max(axis=1)  # a factor of a row is a constant of the objective
    A, v = A / top[:, None], v / v.sum()
    constant, n = v @ np.log(top), A.shape[1]
    p = np.full(n, 1.0 / n)
    force = np.ones(n)  # multipliers of the bounds
    best = None
    for n_iter in range(max_iter + 1):
        mixed = A @ p
        pull = A.T @ (v / mixed)
        # At proportions p / sum(p), where everything in A @ p is divided by that sum.
        total = p.sum()
        gap = max(float(np.log(pull.max() * total)), 0.0)
        if best is None or gap < best.gap:
            objective = float(v @ np.log(mixed / total)) + constant
            best = MixtureSolution(p / total, objective, gap, n_iter)
        if gap <= tol or n_iter == max_iter:
            break
        mu = _SHRINK * (p @ force) / n
        step = _newton(A, v, mixed, pull, p, force, mu)
        if step is None:
            break
        p, force = _move(A, v, p, force, mixed, step, mu)
    return MixtureSolution(best.p, best.objective, best.gap, n_iter)


def _newton(A, v, mixed, pull, p, force, mu):
    """Changes of p and of the multipliers, and the barrier function's slope along them."""
    scaled = A * (np.sqrt(v) / mixed)[:, None]
    curvature = dsyrk(1.0, scaled.T, lower=1)
    curvature[np.diag_indices(len(p))] += force / p
    gradient = 1.0 - pull - mu / p
    try:
        factor = cho_factor(curvature, lower=True, check_finite=False, overwrite_a=True)
    except LinAlgError:
        return None
    d = -cho_solve(factor, gradient, check_finite=False)
    return d, mu / p - force - force / p * d, gradient @ d


def _move(A, v, p, force, mixed, step, mu):
    """A step that keeps all above zero and lowers the barrier function."""
    d, d_force, slope = step
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
    by = min(1.0, 0.99 / max((-d_force / force).max(), 1e-300))
    return p + length * d, force + by * d_force
