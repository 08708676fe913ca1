r"""Partial pooling with non-negative slopes: block pivoting on the arrow system.

Minimises the objective of `skmtl.solvers.arrow` subject to :math:`b_{tj} = m_j + v_{tj} \ge 0`
and :math:`m_j \ge 0` for some features j. For features with slopes that vary, m is a mean of the
tasks' slopes, shrunk towards zero, so that its own constraint is never active; for the others, it
is the only constraint.

If :math:`b_{tj} = 0` for the features j of a set :math:`A_t`, these columns vanish from task t,
and :math:`v_{tj} = -m_j` adds :math:`\lambda_v m_j^2` to the ridge: the remaining problem is an
arrow system. Block pivoting (Portugal, Judice and Vicente 1994; Kim and Park 2011) guesses the
sets, solves, moves negative slopes to zero and frees those with a negative multiplier, all at once;
if this makes no progress, one per task, and finally one at a time, which always terminates. It ends
exactly at the solution, mostly after a few systems, and after fewer from the sets of a similar
problem.

References
----------
Portugal, L. F., Judice, J. J. and Vicente, L. N. (1994). A comparison of block pivoting and
interior-point algorithms for linear least squares problems with nonnegative variables.
Mathematics of Computation 63, 625-643. :doi:`10.1090/S0025-5718-1994-1250776-4`

Kim, J. and Park, H. (2011). Fast nonnegative matrix factorization: an active-set-like method and
comparisons. SIAM Journal on Scientific Computing 33, 3261-3281. :doi:`10.1137/110821172`
"""

from dataclasses import dataclass, replace

import numpy as np

from ..tasks.moments import TaskMoments
from . import make_system
from .mixed import solve_given

__all__ = ["SignedSolution", "SignedSystem"]

# Values below zero by less than this share of the largest slope, or multiplier, are rounding.
_ROUNDING = 1e-11
# Slope strength, as a share of the largest task's rows, that stands for zero: with a smaller one,
# rounding errors would decide which slopes of tasks with few rows are negative.
_LEAST_STRENGTH = 1e-7
_PATIENCE = 5  # rounds without progress before fewer pivots are taken at once


@dataclass
class SignedSolution:
    """A solution with its active sets.

    Attributes
    ----------
    theta : ndarray of shape (1 + n_features,)
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    residual : float
        Largest violation of the optimality conditions, relative to the gradient at zero.
    own, shared : bool ndarrays of shape (n_tasks, n_features) and (n_features,)
        Slopes that are fixed at zero.
    n_iter : int
        Number of systems solved.
    """

    theta: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    residual: float
    own: np.ndarray
    shared: np.ndarray
    n_iter: int

    def stretched(self, factor):
        """Return the same solution for features multiplied by `factor`."""
        return replace(self, coef=self.coef / factor, theta=self.theta / np.append(1.0, factor))


class SignedSystem:
    """Training moments of some tasks, with features whose slopes must not be negative.

    Parameters
    ----------
    data : TaskMoments or TaskRows of shape (n_tasks,)
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    positive : bool ndarray of shape (n_features,)
    varies : bool ndarray of shape (n_features,), optional
        Features whose slopes differ between tasks; None means all.
    """

    _last = None  # solution
    _system = None  # the last one, with its slope strength and set of slopes at zero
    _system_slope = _system_own = None

    def __init__(self, data, penalty, positive, varies=None, executor=None):
        self.data, self.penalty, self.positive, self.executor = data, penalty, positive, executor
        self.varies = np.ones(len(positive), dtype=bool) if varies is None else varies
        self._varies = varies
        zeros = np.zeros((len(data.weight), len(positive)))
        self._scale = self._gradients(zeros, np.zeros(len(zeros)))[2]

    def solve(self, strengths, start=None, given=None, max_iter=500):
        """Solve at (slope strength, intercept strength, ridge).

        Parameters
        ----------
        start : SignedSolution, optional
            Solution of a similar problem; by default, the last solution of this system.
        given : ndarray of shape (n_features,), optional
            Shared slopes, which are known for the features that do not vary.
        """
        slope, pull, ridge = strengths
        slope = max(slope, _LEAST_STRENGTH * self.data.weight.max(initial=1.0))
        strengths = slope, pull, ridge
        start = self._last if start is None else start
        free_own = np.isfinite(slope) & self.varies
        can_own = self.positive & free_own & (self.data.weight > 0)[:, None]
        can_shared = self.positive & ~free_own & np.isfinite(ridge)
        if given is not None:
            can_shared &= self.varies
        own, shared = np.zeros_like(can_own), np.zeros_like(can_shared)
        if start is not None:
            own, shared = can_own & start.own, can_shared & start.shared
        fewest, patience, step = np.inf, _PATIENCE, 0
        for n_iter in range(1, max_iter + 1):
            found = self._equalities(strengths, own, shared, given, n_iter)
            wrong_own, wrong_shared = self._wrong(found, strengths, can_own, can_shared)
            n_wrong = wrong_own.sum() + wrong_shared.sum()
            if n_wrong == 0:
                break
            if n_wrong < fewest:
                fewest, patience, step = n_wrong, _PATIENCE, 0
            elif patience > 0:
                patience -= 1
            elif step < 2:
                step, patience = step + 1, (2 - step) * _PATIENCE
            own, shared = _pivot(own, shared, wrong_own, wrong_shared, step)
        self._last = found = self._clipped(found, strengths, given)
        return found

    def _equalities(self, strengths, own, shared, given, n_iter):
        """Return the solution with the slopes in the sets `own` and `shared` at zero."""
        slope, pull, ridge = strengths
        pulls = np.array([pull])
        if self._system_slope != slope or (self._system_own != own).any():
            data = _without(self.data, own)
            self._system = make_system(data, self.penalty, self.executor, self._varies)
            self._system.factor(slope)
            self._system_slope, self._system_own = slope, own
        system = self._system
        penalty, weight = self.penalty, np.array([ridge])
        if np.isfinite(ridge):
            fixed = own.sum(0) / system.kappa if system.kappa > 0 else 0.0
            penalty, weight = ridge * self.penalty + fixed, np.ones(1)
        known, values = shared.copy(), np.zeros(len(shared))
        if given is not None:
            known |= ~self.varies
            values[~self.varies] = given[~self.varies]
        theta = solve_given(system, known, values[known], pulls, weight, penalty)
        coef, intercept = np.zeros(own.shape), np.zeros(len(own))
        system.add_blend(theta, pulls, np.ones((len(own), 1)), coef, intercept)
        coef[own] = 0.0
        return SignedSolution(theta[0], coef, intercept, np.nan, own, shared, n_iter)

    def _gradients(self, coef, intercept):
        """Return ``X'r`` and ``1'r`` of the tasks' residuals r, and their scale."""
        data, mean, p = self.data, self.data.mean, self.data.n_features
        grad_a = data.weight * (mean[:, p] - intercept - (mean[:, :p] * coef).sum(1))
        grad_b = data.gradient(coef) + mean[:, :p] * grad_a[:, None]
        scale = max(np.abs(grad_b).sum(0).max(initial=0.0), np.abs(grad_a).sum(), 1e-300)
        return grad_b, grad_a, scale

    def _multipliers(self, found, strengths):
        """Return derivatives of half the objective by the tasks' slopes and by the shared ones."""
        slope, _, ridge = strengths
        m = found.theta[1:]
        grad_b, grad_a, _ = self._gradients(found.coef, found.intercept)
        by_shared = np.zeros(len(m)) if np.isinf(ridge) else ridge * self.penalty * m
        if np.isinf(slope):
            return np.zeros(found.coef.shape), by_shared - grad_b.sum(0), grad_a
        gaps = (found.coef - m) / self._system.kappa
        by_shared = by_shared - np.where(self.varies, gaps.sum(0), grad_b.sum(0))
        return np.where(self.varies, gaps - grad_b, 0.0), by_shared, grad_a

    def _wrong(self, found, strengths, can_own, can_shared):
        """Return free slopes that are negative, and fixed ones with a negative multiplier."""
        rounding = _ROUNDING
        if strengths[0] > 0:  # the weaker the strength, the worse the condition number
            rounding += 1e-15 * self.data.weight.max(initial=1.0) / strengths[0]
        small = rounding * max(np.abs(found.coef).max(initial=0.0), 1e-300)
        by_own, by_shared, _ = self._multipliers(found, strengths)
        least = rounding * self._scale
        wrong_own = np.where(found.own, by_own < -least, can_own & (found.coef < -small))
        below = can_shared & (found.theta[1:] < -small)
        return wrong_own, np.where(found.shared, by_shared < -least, below)

    def _clipped(self, found, strengths, given):
        """Return the solution with negative rounding errors set to zero, and its residual."""
        slope, pull, ridge = strengths
        positive = self.positive
        found.coef[:, positive] = np.maximum(found.coef[:, positive], 0.0)
        found.theta[1:][positive] = np.maximum(found.theta[1:][positive], 0.0)
        by_own, by_shared, grad_a = self._multipliers(found, strengths)
        at_zero = positive & (found.coef == 0.0)
        by_own = np.where(at_zero, np.minimum(by_own, 0.0), by_own)
        at_zero = positive & ~(np.isfinite(slope) & self.varies) & (found.theta[1:] == 0.0)
        by_shared = np.where(at_zero, np.minimum(by_shared, 0.0), by_shared)
        residuals = [abs(grad_a.sum()), np.abs(by_own).max(initial=0.0)]
        if np.isfinite(ridge):
            free = slice(None) if given is None else self.varies
            residuals.append(np.abs(by_shared[free]).max(initial=0.0))
        if np.isfinite(pull):
            gaps = grad_a - pull * (found.intercept - found.theta[0])
            residuals.append(np.abs(gaps).max(initial=0.0))
        found.residual = max(residuals) / self._scale
        return found


def _pivot(own, shared, wrong_own, wrong_shared, step):
    """Exchange all wrong slopes (step 0), one per task (1), or a single one (2)."""
    if step > 0:
        rows = np.flatnonzero(wrong_own.any(axis=1))
        last = wrong_own.shape[1] - 1 - np.argmax(wrong_own[rows, ::-1], axis=1)
        chosen = slice(None) if step == 1 else slice(len(rows) - 1, len(rows))
        picked_own, picked_shared = np.zeros_like(wrong_own), np.zeros_like(wrong_shared)
        picked_own[rows[chosen], last[chosen]] = True
        if wrong_shared.any():  # shared slopes come after all others
            picked_shared[np.flatnonzero(wrong_shared)[-1]] = True
            if step == 2:
                picked_own[:] = False
        wrong_own, wrong_shared = picked_own, picked_shared
    return own ^ wrong_own, shared ^ wrong_shared


def _without(data, columns):
    """Return the data with the given columns of each task set to zero."""
    if not columns.any():
        return data
    keep = np.column_stack([~columns, np.ones(len(columns), dtype=bool)]).astype(np.float64)
    if hasattr(data, "scatter"):
        products = keep[:, :, None] * keep[:, None, :]
        return TaskMoments(data.weight, data.mean * keep, data.scatter * products)
    return _RowsWithout(data, keep)


class _RowsWithout:
    """`TaskRows` with some columns of each task set to zero."""

    def __init__(self, data, keep):
        self.data, self.keep = data, keep
        self.weight, self.mean, self.n_features = data.weight, data.mean * keep, data.n_features

    def root(self, t):
        return self.data.root(t) * self.keep[t]
