r"""Newton's method for partial pooling with the logistic loss.

Over the shared (a, m) and each task's (a_t, v_t), on features standardised over the table, it
minimises

.. math:: \sum_t \sum_{i \in t} w_i \log(1 + e^{-y_i f_t(x_i)})
          + \tfrac12 \left(\lambda_m m'Pm + \lambda_a \sum_t a_t^2
          + \lambda_v \sum_t \|v_t\|^2\right), \quad f_t(x) = a + a_t + x'(m + v_t),

for y in {-1, 1}. Each step is the arrow system of `skmtl.solvers.arrow` on the moments of the
working responses, halved until the objective falls. Where features are many, the products of a
step's moments cost a hundred times what its gradient does; then curvatures and their factors serve
for as many steps as the objective falls by what they promise, of this and of other strengths (the
chord method). With more than two classes every class has
scores of its own, the loss is multinomial, and the classes take their steps in turn: given the
others, one class is a binary problem with an offset. Rounds over the classes converge slowly where
the classes separate, so they are extrapolated by Anderson's method wherever that lowers the
objective.

References
----------
Walker, H. F. and Ni, P. (2011). Anderson acceleration for fixed-point iterations. SIAM Journal on
Numerical Analysis 49(4). :doi:`10.1137/10078356X`
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from .._jit import run_chunks
from ..losses.log_loss import LOG_LOSS, log_sum_exp
from ..tasks.moments import block_moments, readonly
from ..tasks.rows import TaskRows, prefers_rows
from . import make_system, solve_given
from .arrow import kkt_residual

__all__ = ["LogisticSystem", "Scores"]

_MOST_HALVINGS = 30
# From this many features on curvatures are kept, while steps lower the objective by what these say
# up to such a part of it; what a step with old ones counts for; and up to which part of the least
# gain these go on, as they leave more behind.
_MANY_FEATURES = 24
_MISLEADS = 0.3
_OLD_STEP = 0.25
_OLD_GAIN = 0.2
# Rounds over the classes that an extrapolation looks back on.
_MEMORY = 6


@dataclass
class Scores:
    """Linear scores of every task, one set a class; a single set where there are two classes.

    Attributes
    ----------
    coef : ndarray of shape (n_scores, n_tasks, n_features)
    intercept : ndarray of shape (n_scores, n_tasks)
    theta : ndarray of shape (n_scores, 1 + n_features)
        The shared intercepts and slopes.
    """

    coef: np.ndarray
    intercept: np.ndarray
    theta: np.ndarray

    @classmethod
    def zeros(cls, n_scores, n_tasks, n_features):
        return cls(
            np.zeros((n_scores, n_tasks, n_features)),
            np.zeros((n_scores, n_tasks)),
            np.zeros((n_scores, 1 + n_features)),
        )

    def flat(self):
        """All numbers as one vector."""
        return np.concatenate([self.coef.ravel(), self.intercept.ravel(), self.theta.ravel()])

    def like(self, vector):
        """Scores of the same shapes from one vector."""
        parts = np.split(vector, np.cumsum([self.coef.size, self.intercept.size]))
        own = self.coef, self.intercept, self.theta
        return Scores(*(v.reshape(a.shape) for v, a in zip(parts, own, strict=True)))

    def stretched(self, factor):
        """The same scores on features multiplied by `factor`."""
        theta = self.theta.copy()
        theta[:, 1:] /= factor
        return Scores(self.coef / factor, self.intercept.copy(), theta)


class LogisticSystem:
    """Labelled rows of some tasks, and Newton's method on them.

    Parameters
    ----------
    table : TaskTable
        Its target holds the codes of the classes.
    n_classes : int
    centre, scale : ndarray of shape (n_features,)
        The problem is in the features ``(X - centre) * scale``.
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    varies : bool ndarray of shape (n_features,), optional
        Features whose slopes differ by task; None is all.
    places : callable, optional
        Gives centres and anchors (`ArrowSystem`) for the tasks' weights and feature means.
    """

    def __init__(
        self, table, n_classes, centre, scale, penalty, executor=None, varies=None, places=None
    ):
        self.table, self.n_classes = table, n_classes
        self.centre, self.scale, self.penalty, self.executor = centre, scale, penalty, executor
        self._units = np.append(centre, 0.0), np.append(scale, 1.0)
        self.varies = varies
        self.n_scores = 1 if n_classes == 2 else n_classes
        self.weight = table.weights()
        self.n_tasks, self.n_features = table.n_tasks, table.n_features
        # Curvatures of an earlier place: the working weights, and an arrow system with these.
        self._kept = None
        # Sparse rows are gathered once, not at every step.
        self._sparse = None if isinstance(table.X, np.ndarray) else table.X[table.rows]
        self.centres = self.anchors = None
        if places is not None:
            weight, mean = table.means
            mean = (mean - centre) * scale * (weight > 0)[:, None]
            self.centres, self.anchors = places(weight, mean)

    def scores_of(self, coef, intercept):
        """Scores ``(n_packed,)`` of all rows under one set of the tasks' models."""
        table, raw = self.table, np.ascontiguousarray(coef * self.scale)
        constant = intercept - raw @ self.centre
        if self._sparse is None:
            out = np.empty(len(table.rows))
            run_chunks(
                kernels.logistic.linear_scores, self.n_tasks, readonly(table.X), table.rows,
                table.offsets, raw, constant, out, executor=self.executor,
            )  # fmt: skip
            return out
        codes = table.codes
        products = self._sparse.multiply(raw[codes]).sum(axis=1)
        return np.asarray(products).ravel() + constant[codes]

    def eta(self, scores):
        """Scores of all rows, ``(n_scores, n_packed)``."""
        return np.array(
            [self.scores_of(scores.coef[k], scores.intercept[k]) for k in range(self.n_scores)]
        )

    def log_probabilities(self, scores):
        """Log-probabilities of the classes, ``(n_classes, n_packed)``."""
        return self.log_probabilities_at(self.eta(scores))

    def log_probabilities_at(self, eta):
        """The same at scores of all rows."""
        return LOG_LOSS.log_probabilities(eta, axis=0)

    def losses(self, log_probabilities, expected=None):
        """Log-loss of every task, summed over its rows.

        With `expected`, of shape (n_classes, n_packed), the mean over labels so distributed.
        """
        if expected is None:
            codes = self.table.y.astype(np.int64)[None]
            return self.by_task(-np.take_along_axis(log_probabilities, codes, axis=0)[0])
        return self.by_task(-(expected * log_probabilities).sum(axis=0))

    def by_task(self, values):
        """Weighted sums over each task's rows."""
        return self.table.task_sums(self.weight * values)

    def target(self, k):
        """1 for rows of the class that score set k is about, else 0."""
        return (self.table.y == (1 if self.n_scores == 1 else k)).astype(np.float64)

    def offset(self, eta, k):
        """What makes class k a binary problem, given the other classes' scores."""
        if self.n_scores == 1:
            return np.zeros(eta.shape[1])
        return -log_sum_exp(np.delete(eta, k, axis=0), axis=0)[0]

    def quadratic(self, eta, k):
        """The working table of score set k at the scores `eta`, and the tasks' losses."""
        n = len(self.table.rows)
        w, z, loss = np.empty(n), np.empty(n), np.empty(self.n_tasks)
        run_chunks(
            kernels.logistic.working, self.n_tasks, self.table.offsets, self.target(k),
            self.weight, eta[k], self.offset(eta, k), w, z, loss, executor=self.executor,
        )  # fmt: skip
        return replace(self.table, y=z, sample_weight=w), loss

    def moments(self, working):
        """Standardised moments of a working table, or its rows where those are smaller."""
        if prefers_rows(working, 1):
            moments = TaskRows.of(working)
        else:
            moments = block_moments(working, executor=self.executor).block(0)
        return moments.rescale(*self._units)

    def working_moments(self, eta, k):
        """Standardised moments of score set k's working table at the scores `eta`."""
        working, _ = self.quadratic(eta, k)
        system = self._kept_arrow(working, eta[k])
        return self.moments(working) if system is None else system.moments.copy()

    def arrow_at(self, eta, k):
        """The arrow system of score set k at the scores `eta`, by the curvatures kept, if any."""
        working, _ = self.quadratic(eta, k)
        system = self._kept_arrow(working, eta[k])
        return self.arrow(working) if system is None else system

    def arrow(self, working):
        """The arrow system of a working table."""
        return self._arrow_of(self.moments(working))

    def _arrow_of(self, moments):
        return make_system(
            moments, self.penalty, self.executor, self.varies, self.centres, self.anchors
        )

    @property
    def keeps_curvatures(self):
        """Whether steps may go by the curvatures of an earlier place."""
        # Classes take turns, and a class's steps say little of how good its curvatures are.
        return (
            self.n_scores == 1
            and self.n_features >= _MANY_FEATURES
            and self._sparse is None
            and self.varies is None
            and not prefers_rows(self.table, 1)
        )

    def keep(self, weight, moments):
        """Let the next steps go by these moments, with working weights `weight`."""
        if self.keeps_curvatures:
            self._kept = weight, self._arrow_of(moments.rescale(*self._units))

    def _kept_arrow(self, working, score):
        """The arrow system of the curvatures kept, if any, and the gradient at these scores."""
        if self._kept is None:
            return None
        weight, system = self._kept
        # Products of the weights kept and the responses that have this gradient with them.
        products = weight * score + working.sample_weight * (working.y - score)
        total = system.moments.weight
        mean = self.table.task_sums(products) / np.where(total > 0.0, total, 1.0)
        factor = products - weight * mean[self.table.codes]
        cross = np.empty((self.n_tasks, self.n_features))
        run_chunks(
            kernels.logistic.weighted_rows, self.n_tasks, readonly(self.table.X),
            self.table.rows, self.table.offsets, factor, cross, executor=self.executor,
        )  # fmt: skip
        square = np.divide(factor**2, weight, out=np.zeros_like(factor), where=weight > 0.0)
        system.retarget(cross * self.scale, mean, self.table.task_sums(square))
        return system

    def solve(self, strengths, start, tol, max_iter, least_gain=0.0, given=None):
        """Minimise from `start`.

        Parameters
        ----------
        strengths : tuple of float
            Slope strength, intercept strength and ridge.
        start : Scores
        tol : float
            On the KKT residual, relative to the gradient at zero; 0 leaves it uncomputed.
        max_iter : int
            Most steps, or rounds over the classes.
        least_gain : float
            Stop, too, when a round lowers the objective by less.
        given : ndarray of shape (n_scores, n_features), optional
            Shared slopes that are known of the features that do not vary.

        Returns
        -------
        scores : Scores
        residual : float
            The KKT residual reached; NaN where it was not computed.
        n_iter : int
        """
        scores = self._feasible(start, strengths, given)
        eta = self.eta(scores)
        quadratic = None
        ahead = _Extrapolation() if self.n_scores > 1 and tol > 0.0 else None
        steps, n_iter = 0.0, 0
        while True:
            residual, gain, old, moves = 0.0, 0.0, False, steps < max_iter
            moves = moves and (tol == 0.0 or n_iter < max_iter)
            start = scores.flat() if ahead else None
            for k in range(self.n_scores):
                working, loss = quadratic or self.quadratic(eta, k)
                system = self._kept_arrow(working, eta[k])
                kept = system is not None
                system = system or self._new_arrow(working)
                if tol > 0.0:
                    here = scores.theta[k], scores.coef[k], scores.intercept[k]
                    known = None if given is None else ~self.varies
                    away = kkt_residual(
                        system.moments, self.penalty, strengths, *here, self.varies, known,
                        self.centres, self.anchors,
                    )  # fmt: skip
                    residual = max(residual, away)
                if moves and (tol == 0.0 or away > tol):
                    fallen, quadratic, told = self._step(
                        system, strengths, scores, eta, k, working, loss.sum(), given
                    )
                    gain += fallen
                    old = old or kept
                    if not told or fallen <= 0.0:
                        self._kept = None  # anew at the next step
                if self.n_scores > 1:  # what follows is about another class
                    quadratic = None
            if (tol > 0.0 and residual <= tol) or not moves:
                break
            if not (old and tol > 0.0) and gain < least_gain * (_OLD_GAIN if old else 1.0):
                break
            steps, n_iter = steps + (_OLD_STEP if old else 1.0), n_iter + 1
            if ahead and steps < max_iter:
                scores, eta = self._further(ahead, strengths, start, scores, eta, given)
        return scores, residual if tol > 0.0 else np.nan, n_iter

    def _new_arrow(self, working):
        """The arrow system of a working table, kept for the next steps where that is worth it."""
        system = self.arrow(working)
        if self.keeps_curvatures:
            self._kept = working.sample_weight, system
        return system

    def _further(self, ahead, strengths, start, scores, eta, given=None):
        """Scores and their `eta` after a round, extrapolated where that lowers the objective."""
        proposed = scores.like(ahead(start, scores.flat()))
        if self.varies is not None:  # up to rounding they are; what does not vary is to be exact
            proposed = self._feasible(proposed, strengths, given)
        there = self.eta(proposed)
        if self._objective(strengths, proposed, there) < self._objective(strengths, scores, eta):
            return proposed, there
        return scores, eta

    def _objective(self, strengths, scores, eta):
        codes = self.table.y.astype(np.int64)[None]
        own = np.take_along_axis(eta, codes, axis=0)[0]
        total = self.weight @ (log_sum_exp(eta, axis=0)[0] - own)
        for k in range(self.n_scores):
            total += self._penalty(strengths, scores.coef[k], scores.intercept[k], scores.theta[k])
        return total

    def _step(self, system, strengths, scores, eta, k, working, loss, given=None):
        """One Newton step of score set k, halved until the objective falls; in place.

        Returns how much it fell, the quadratic model at the new scores, and whether it fell by
        what the model before had told.
        """
        slope, pull, ridge = strengths
        system.factor(slope)
        pulls = np.array([pull])
        if given is None:
            theta = system.solve_shared(pulls, np.array([ridge]))
        else:
            known = given[k, ~self.varies]
            theta = solve_given(system, ~self.varies, known, pulls, np.array([ridge]))
        coef, intercept = np.zeros_like(scores.coef[k]), np.zeros(self.n_tasks)
        system.add_blend(theta, pulls, np.ones((self.n_tasks, 1)), coef, intercept)
        old, start = (scores.coef[k], scores.intercept[k], scores.theta[k]), eta[k].copy()
        new = [coef, intercept, theta[0]]
        eta[k] = self.scores_of(coef, intercept)
        before = loss + self._penalty(strengths, *old)
        along = (working.sample_weight * (working.y - start)) @ (eta[k] - start)
        gaps = [b - a for a, b in zip(old, new, strict=True)]
        pulled = self._penalty(strengths, *new) - self._penalty(strengths, *old)
        told = 0.5 * (along - pulled + self._penalty(strengths, *gaps))
        for halving in range(_MOST_HALVINGS):
            quadratic = self.quadratic(eta, k)
            after = quadratic[1].sum() + self._penalty(strengths, *new)
            if after <= before + 1e-12 * abs(before):
                scores.coef[k], scores.intercept[k], scores.theta[k] = new
                fallen, rounding = before - after, 1e-10 * abs(before)
                true = halving == 0 and abs(fallen - told) <= _MISLEADS * told + rounding
                return fallen, quadratic, true
            new = [0.5 * (a + b) for a, b in zip(old, new, strict=True)]
            eta[k] = 0.5 * (start + eta[k])
        eta[k] = start
        return 0.0, self.quadratic(eta, k), False

    def _penalty(self, strengths, coef, intercept, theta):
        slope, pull, ridge = strengths
        total = 0.0
        if np.isfinite(slope):
            total += slope * ((coef - theta[1:]) ** 2).sum()
        if np.isfinite(pull):
            total += pull * ((self._at_centres(intercept, coef, theta) - theta[0]) ** 2).sum()
        if np.isfinite(ridge):
            total += ridge * self.penalty @ theta[1:] ** 2
        return 0.5 * total

    def _at_centres(self, intercept, coef, theta):
        """The tasks' intercepts at their centres, without what the shared slopes give there."""
        if self.centres is None:
            return intercept
        return intercept + (self.centres * coef).sum(axis=1) - self.anchors @ theta[1:]

    def _feasible(self, start, strengths, given=None):
        """A copy of the scores that keeps what infinite strengths, and what is known, demand."""
        slope, pull, ridge = strengths
        coef, intercept, theta = start.coef.copy(), start.intercept.copy(), start.theta.copy()
        if np.isinf(ridge):
            theta[:, 1:] = 0.0
        if given is not None:
            theta[:, 1:][:, ~self.varies] = given[:, ~self.varies]
        if self.varies is not None:
            coef[..., ~self.varies] = theta[:, None, 1:][..., ~self.varies]
        if np.isinf(slope):
            coef[:] = theta[:, None, 1:]
        if np.isinf(pull):
            for k in range(self.n_scores):
                turned = self._at_centres(0.0, coef[k], theta[k])
                intercept[k] = theta[k, 0] - turned
        return Scores(coef, intercept, theta)


class _Extrapolation:
    """Where the rounds of a fixed-point iteration lead, from what the last few did."""

    def __init__(self):
        self._rounds = []

    def __call__(self, start, end):
        """An affine combination of the ends of the last rounds; `start` and `end` are vectors."""
        self._rounds = [*self._rounds[1 - _MEMORY :], (end, end - start)]
        if len(self._rounds) < 2:
            return end
        ends, steps = (np.diff(np.array(part), axis=0) for part in zip(*self._rounds, strict=True))
        gram = steps @ steps.T
        gram[np.diag_indices_from(gram)] += 1e-10 * np.trace(gram) + 1e-300
        return end - np.linalg.solve(gram, steps @ (end - start)) @ ends
