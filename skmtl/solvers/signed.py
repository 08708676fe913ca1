r"""Partial pooling with slopes that are at least zero: block pivoting on the arrow system.

Minimises the objective of `skmtl.solvers.arrow` subject to :math:`b_{tj} = m_j + v_{tj} \ge 0`
and :math:`m_j \ge 0` for some features j. Where a feature's slopes vary, m is a mean of the
tasks' slopes, drawn to zero, so that its own constraint never binds; where they do not, it is
the only one.

With :math:`b_{tj} = 0` for the features j of a set :math:`A_t`, these columns vanish from task t,
and :math:`v_{tj} = -m_j` adds :math:`\lambda_v m_j^2` to the ridge: what is left is an arrow
system. Block pivoting (Portugal, Judice and Vicente 1994; Kim and Park 2011) guesses the sets,
solves, moves to zero what came out negative and frees what has a negative multiplier, all at
once; where that makes no progress, one a task, and then one at all, which always ends. It ends at
the solution exactly, mostly after a few systems, and fewer from the sets of a similar problem.

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

# Below zero by less than this share of the largest slope, or multiplier, is rounding.
_ROUNDING = 1e-11
# Slope strength, as a share of the largest task's rows, at which one of zero is taken: with less,
# rounding would decide which slopes of tasks with few rows are negative.
_LEAST_STRENGTH = 1e-7
# Rounds without progress before fewer pivots are taken at once.
_PATIENCE = 5


@dataclass
class SignedSolution:
    """One solution, and the sets it was found by.

    Attributes
    ----------
    theta : ndarray of shape (1 + n_features,)
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    residual : float
        Largest violation of the optimality conditions, relative to the gradient at zero.
    own, shared : bool ndarrays of shape (n_tasks, n_features) and (n_features,)
        Slopes that are held at zero.
    n_iter : int
        Systems solved.
    """

    theta: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    residual: float
    own: np.ndarray
    shared: np.ndarray
    n_iter: int

    def stretched(self, factor):
        """The same on features multiplied by `factor`."""
        return replace(self, coef=self.coef / factor, theta=self.theta / np.append(1.0, factor))


class SignedSystem:
    """Training moments of some tasks, and features whose slopes are at least zero.

    Parameters
    ----------
    data : TaskMoments or TaskRows of shape (n_tasks,)
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    positive : bool ndarray of shape (n_features,)
    varies : bool ndarray of shape (n_features,), optional
        Features whose slopes differ by task; None is all.
    """

    def __init__(self, data, penalty, positive, varies=None, executor=None):
        self.data, self.penalty, self.positive, self.executor = data, penalty, positive, executor
        self.varies = np.ones(len(positive), dtype=bool) if varies is None else varies
        self._varies = varies
        self._scale = self._gradients(
            np.zeros((len(data.weight), len(positive))), np.zeros(len(data.weight))
        )[2]
        self._last = None

    def solve(self, strengths, start=None, given=None, max_iter=500):
        """The solution at (slope strength, intercept strength, ridge).

        Parameters
        ----------
        start : SignedSolution, optional
            Of a similar problem; else the last one found.
        given : ndarray of shape (n_features,), optional
            Shared slopes that are known of the features that do not vary.
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
        """The solution with the slopes in the sets `own` and `shared` at zero."""
        slope, pull, ridge = strengths
        pulls = np.array([pull])
        if not hasattr(self, "_system") or self._slope != slope or (self._sets != own).any():
            data = _without(self.data, own)
            self._system = make_system(data, self.penalty, self.executor, self._varies).factor(
                slope
            )
            self._slope, self._sets = slope, own
        system = self._system
        penalty, weight = self.penalty, np.array([ridge])
        if np.isfinite(ridge):
            held = own.sum(0) / system.kappa if system.kappa > 0 else 0.0
            penalty, weight = ridge * self.penalty + held, np.ones(1)
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
        """``X'r`` and ``1'r`` of the tasks' residuals r, and their scale at zero."""
        data, p = self.data, self.data.n_features
        mean = data.mean
        grad_a = data.weight * (mean[:, p] - intercept - (mean[:, :p] * coef).sum(1))
        grad_b = data.gradient(coef) + mean[:, :p] * grad_a[:, None]
        scale = max(np.abs(grad_b).sum(0).max(initial=0.0), np.abs(grad_a).sum(), 1e-300)
        return grad_b, grad_a, scale

    def _multipliers(self, found, strengths):
        """Derivatives of half the objective by the tasks' slopes, and by the shared ones."""
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
        """Free slopes below zero, and those at zero that would rather rise."""
        rounding = _ROUNDING
        if strengths[0] > 0:  # the weaker, the worse conditioned
            rounding += 1e-15 * self.data.weight.max(initial=1.0) / strengths[0]
        small = rounding * max(np.abs(found.coef).max(initial=0.0), 1e-300)
        by_own, by_shared, _ = self._multipliers(found, strengths)
        least = rounding * self._scale
        wrong_own = np.where(found.own, by_own < -least, can_own & (found.coef < -small))
        below = can_shared & (found.theta[1:] < -small)
        return wrong_own, np.where(found.shared, by_shared < -least, below)

    def _clipped(self, found, strengths, given):
        """The solution without what rounding left below zero, and its residual."""
        where = self.positive
        found.coef[:, where] = np.maximum(found.coef[:, where], 0.0)
        found.theta[1:][where] = np.maximum(found.theta[1:][where], 0.0)
        by_own, by_shared, grad_a = self._multipliers(found, strengths)
        at_zero = where & (found.coef == 0.0)
        by_own = np.where(at_zero, np.minimum(by_own, 0.0), by_own)
        tied = where & ~(np.isfinite(strengths[0]) & self.varies) & (found.theta[1:] == 0.0)
        by_shared = np.where(tied, np.minimum(by_shared, 0.0), by_shared)
        residuals = [abs(grad_a.sum()), np.abs(by_own).max(initial=0.0)]
        if np.isfinite(strengths[2]):
            free = slice(None) if given is None else self.varies
            residuals.append(np.abs(by_shared[free]).max(initial=0.0))
        if np.isfinite(strengths[1]):
            gaps = grad_a - strengths[1] * (found.intercept - found.theta[0])
            residuals.append(np.abs(gaps).max(initial=0.0))
        found.residual = max(residuals) / self._scale
        return found


def _pivot(own, shared, wrong_own, wrong_shared, step):
    """Exchange all that is wrong (step 0), one of each task (1), or one at all (2)."""
    if step > 0:
        rows = np.flatnonzero(wrong_own.any(axis=1))
        last = wrong_own.shape[1] - 1 - np.argmax(wrong_own[rows, ::-1], axis=1)
        some = slice(None) if step == 1 else slice(len(rows) - 1, len(rows))
        picked_own, picked_shared = np.zeros_like(wrong_own), np.zeros_like(wrong_shared)
        picked_own[rows[some], last[some]] = True
        if wrong_shared.any():  # counted after all others
            picked_shared[np.flatnonzero(wrong_shared)[-1]] = True
            if step == 2:
                picked_own[:] = False
        wrong_own, wrong_shared = picked_own, picked_shared
    return own ^ wrong_own, shared ^ wrong_shared


def _without(data, columns):
    """The data of each task without some of its columns: they become zero."""
    if not columns.any():
        return data
    keep = np.column_stack([~columns, np.ones(len(columns), dtype=bool)]).astype(np.float64)
    if hasattr(data, "scatter"):
        products = keep[:, :, None] * keep[:, None, :]
        return TaskMoments(data.weight, data.mean * keep, data.scatter * products)
    return _RowsWithout(data, keep)


class _RowsWithout:
    """`TaskRows` of which each task lacks some columns."""

    def __init__(self, data, keep):
        self.data, self.keep = data, keep
        self.weight, self.mean, self.n_features = data.weight, data.mean * keep, data.n_features

    def root(self, t):
        return self.data.root(t) * self.keep[t]
