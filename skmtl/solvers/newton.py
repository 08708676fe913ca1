r"""Newton's method for partial pooling with a loss of the rows' scores.

Over the shared (a, m) and the (a_t, v_t) of each task, on features standardised over the table, it
minimises

.. math:: \sum_t \sum_{i \in t} w_i\, \ell(y_i, f_t(x_i))
          + \tfrac12 \left(\lambda_m m'Pm + \lambda_a \sum_t a_t^2
          + \lambda_v \sum_t \|v_t\|^2\right), \quad f_t(x) = a + a_t + x'(m + v_t),

for a loss such as the log-loss. Each step solves the arrow system of `skmtl.solvers.arrow` on the
moments of the working responses, and is halved until the objective decreases. With many features,
computing the moments of a step costs a hundred times as much as its gradient. Curvatures and their
factorisation are then kept for further steps, and for other strengths, as long as the objective
decreases by about the amount they predict (the chord method). A loss without a second derivative
everywhere has working responses of a majorant (Hunter and Lange 2000), and one that bends at a
point is smoothed around it, within a width that decreases until the duality gap is small. With more
than two classes, every class has its own scores, the loss is multinomial, and the classes take
steps in turn: given the others, one class is a binary problem with an offset. Rounds over the
classes converge slowly if the classes are well separated, so they are extrapolated by Anderson's
method whenever that decreases the objective.

References
----------
Hunter, D. R. and Lange, K. (2000). Quantile regression via an MM algorithm. Journal of
Computational and Graphical Statistics 9(1). :doi:`10.1080/10618600.2000.10474866`

Walker, H. F. and Ni, P. (2011). Anderson acceleration for fixed-point iterations. SIAM Journal on
Numerical Analysis 49(4). :doi:`10.1137/10078356X`
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from .._jit import run_chunks
from ..losses.log_loss import log_sum_exp
from ..tasks.moments import block_moments, readonly
from ..tasks.rows import TaskRows, prefers_rows
from . import make_system, solve_given
from .arrow import kkt_residual

__all__ = ["ROUGH_WIDTHS", "NewtonSystem", "Scores", "penalty_of", "working_table"]

_MOST_HALVINGS = 30
# Number of features from which curvatures are kept.
_MANY_FEATURES = 24
# Largest relative deviation of the decrease from its prediction at which they are kept further.
_MISLEADS = 0.3
# Steps that one with kept curvatures counts as, and the share of the least gain at which these
# steps end, which is smaller because they leave more of the gain to later steps.
_KEPT_STEP = 0.25
_KEPT_GAIN = 0.2
# Widths of smoothing, in the unit of the target, of losses that bend at a point.
_WIDTHS = tuple(10.0 ** np.arange(-1.0, -7.5, -0.5))
ROUGH_WIDTHS = (0.1, 0.02)
# Mean loss, in that unit, to which gaps are relative if the loss is smaller.
_LEAST_LOSS = 1e-3
_MEMORY = 6  # rounds over the classes that an extrapolation uses


@dataclass
class Scores:
    """Linear scores of every task: one set per class, or a single set for two classes.

    Attributes
    ----------
    coef : ndarray of shape (n_scores, n_tasks, n_features)
    intercept : ndarray of shape (n_scores, n_tasks)
    theta : ndarray of shape (n_scores, 1 + n_features)
        Shared intercepts and slopes.
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
        """Return all numbers as one vector."""
        return np.concatenate([self.coef.ravel(), self.intercept.ravel(), self.theta.ravel()])

    def like(self, vector):
        """Return scores of the same shapes from one vector."""
        coef, intercept, theta = np.split(vector, np.cumsum([self.coef.size, self.intercept.size]))
        return Scores(
            coef.reshape(self.coef.shape),
            intercept.reshape(self.intercept.shape),
            theta.reshape(self.theta.shape),
        )

    def stretched(self, factor):
        """Return the same scores for features multiplied by `factor`."""
        theta = self.theta.copy()
        theta[:, 1:] /= factor
        return Scores(self.coef / factor, self.intercept.copy(), theta)


class NewtonSystem:
    """Newton's method on labelled rows of some tasks.

    Parameters
    ----------
    table : TaskTable
        For classes, its target holds their codes. What is `known` of the scores of rows with one
        score is added to those of the models.
    loss : Loss
    n_scores : int
        Number of score sets: one, or for the log-loss one per class.
    centre, scale : ndarray of shape (n_features,)
        The features of the problem are ``(X - centre) * scale``.
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    varies : bool ndarray of shape (n_features,), optional
        Features whose slopes differ between tasks; None means all.
    places : callable, optional
        Returns centres and anchors (`ArrowSystem`) from the tasks' weights and feature means.
    """

    def __init__(
        self, table, loss, n_scores, centre, scale, penalty, executor=None, varies=None,
        places=None,
    ):  # fmt: skip
        self.table, self.loss, self.n_scores = table, loss, n_scores
        self.centre, self.scale, self.penalty, self.executor = centre, scale, penalty, executor
        self._units = np.append(centre, 0.0), np.append(scale, 1.0)
        self.varies = varies
        self.weight = table.weights()
        self.n_tasks, self.n_features = table.n_tasks, table.n_features
        self._kept = None  # working weights of earlier scores, and the arrow system with these
        # Sparse rows are gathered once, instead of at every step.
        self._sparse = None if isinstance(table.X, np.ndarray) else table.X[table.rows]
        self.centres = self.anchors = None
        if places is not None:
            weight, mean = table.means
            mean = (mean - centre) * scale * (weight > 0)[:, None]
            self.centres, self.anchors = places(weight, mean)

    def scores_of(self, coef, intercept):
        """Return the scores ``(n_packed,)`` of all rows for one set of the tasks' models."""
        table, raw = self.table, np.ascontiguousarray(coef * self.scale)
        constant = intercept - raw @ self.centre
        if self._sparse is None:
            out = np.empty(len(table.rows))
            run_chunks(
                kernels.newton.linear_scores, self.n_tasks, readonly(table.X), table.rows,
                table.offsets, raw, constant, out, executor=self.executor,
            )  # fmt: skip
            return out
        codes = table.codes
        products = self._sparse.multiply(raw[codes]).sum(axis=1)
        return np.asarray(products).ravel() + constant[codes]

    def eta(self, scores):
        """Return the scores of all rows, ``(n_scores, n_packed)``."""
        return np.array(
            [self.scores_of(scores.coef[k], scores.intercept[k]) for k in range(self.n_scores)]
        )

    def _with_known(self, eta):
        return eta if self.table.known is None else eta + self.table.known

    def means(self, eta):
        """Return the predictions ``(n_scores, n_packed)`` from the scores of the models."""
        return self.loss.means(self._with_known(eta), axis=0)

    def losses(self, eta):
        """Return the loss of every task, summed over its rows, from the scores of the models.

        The least possible loss of a row counts as zero.
        """
        return self.by_task(self._values(eta) - self._least)

    @functools.cached_property
    def _least(self):
        return 0.0 if self.n_scores > 1 else self.loss.least(self.table.y)

    def expected_losses(self, eta, draws):
        """Return the losses of every task, and those expected for targets of other models.

        Parameters
        ----------
        eta : ndarray of shape (n_scores, n_packed)
            Scores of a model.
        draws : list of ndarray of shape (n_scores, n_packed)
            Means of the targets under other models.

        Returns
        -------
        losses : ndarray of shape (n_tasks,)
        expected : list of ndarray of shape (n_tasks,)
            The loss is linear in the target.
        """
        values = self._values(eta) - self._least
        if not draws:
            return self.by_task(values), []
        slopes = self.loss.target_slopes(self._with_known(eta))
        target = np.array([self.target(k) for k in range(self.n_scores)])
        more = (((draw - target) * slopes).sum(axis=0) for draw in draws)
        return self.by_task(values), [self.by_task(values + part) for part in more]

    def _values(self, eta):
        """Return the losses ``(n_packed,)`` of the rows."""
        eta = self._with_known(eta)
        if self.n_scores > 1:
            label = np.take_along_axis(eta, self.table.y.astype(np.int64)[None], axis=0)[0]
            return log_sum_exp(eta, axis=0)[0] - label
        return self.loss.value(eta, self.table.y[None], axis=0)

    def by_task(self, values):
        """Return weighted sums over each task's rows."""
        return self.table.task_sums(self.weight * values)

    def target(self, k):
        """Return the target of score set k: with several, 1 for rows of its class, else 0."""
        return self.table.y if self.n_scores == 1 else (self.table.y == k).astype(np.float64)

    def offset(self, eta, k):
        """Return the offset of the binary problem of class k, given the other classes' scores."""
        if self.n_scores == 1:
            return np.zeros(eta.shape[1]) if self.table.known is None else self.table.known
        return -log_sum_exp(np.delete(eta, k, axis=0), axis=0)[0]

    def quadratic(self, eta, k):
        """Return the working table of score set k at the scores `eta`, and the tasks' losses."""
        loss = self.loss
        if not (loss.smooth or loss.width):  # curvatures of residuals of zero are not finite
            loss = loss.smoothed(ROUGH_WIDTHS[-1])
        return working_table(
            self.table, loss, self.target(k), eta[k], self.offset(eta, k), self.executor
        )

    def moments(self, working):
        """Return the standardised moments of a working table, or its rows if these are smaller."""
        if prefers_rows(working, 1):
            moments = TaskRows.of(working)
        else:
            moments = block_moments(working, executor=self.executor).block(0)
        return moments.rescale(*self._units)

    def working_moments(self, eta, k):
        """Return the standardised moments of score set k's working table at the scores `eta`."""
        working, _ = self.quadratic(eta, k)
        system = self._kept_arrow(working, eta[k])
        return self.moments(working) if system is None else system.moments.copy()

    def arrow_at(self, eta, k):
        """Return the arrow system of score set k at `eta`, with kept curvatures if any."""
        working, _ = self.quadratic(eta, k)
        return self._kept_arrow(working, eta[k]) or self._arrow(self.moments(working))

    def _arrow(self, moments):
        return make_system(
            moments, self.penalty, self.executor, self.varies, self.centres, self.anchors
        )

    @property
    def keeps_curvatures(self):
        """Whether steps may use curvatures of earlier scores."""
        # Not with several classes: the steps of the other classes change the curvatures of each.
        return (
            self.n_scores == 1
            and self.n_features >= _MANY_FEATURES
            and self._sparse is None
            and self.varies is None
            and not prefers_rows(self.table, 1)
        )

    def keep(self, weight, moments):
        """Use these moments, with working weights `weight`, in the next steps."""
        if self.keeps_curvatures:
            self._kept = weight, self._arrow(moments.rescale(*self._units))

    def _kept_arrow(self, working, score):
        """Return the arrow system of kept curvatures with the gradient at `score`, or None."""
        if self._kept is None:
            return None
        weight, system = self._kept
        # Products of the kept weights with the responses that give this gradient.
        products = weight * score + working.sample_weight * (working.y - score)
        total = system.moments.weight
        mean = self.table.task_sums(products) / np.where(total > 0.0, total, 1.0)
        factor = products - weight * mean[self.table.codes]
        cross = np.empty((self.n_tasks, self.n_features))
        run_chunks(
            kernels.newton.weighted_rows, self.n_tasks, readonly(self.table.X),
            self.table.rows, self.table.offsets, factor, cross, executor=self.executor,
        )  # fmt: skip
        square = np.divide(factor**2, weight, out=np.zeros_like(factor), where=weight > 0.0)
        system.retarget(cross * self.scale, mean, self.table.task_sums(square))
        return system

    def solve(self, strengths, start, tol, max_iter, least_gain=0.0, given=None):
        """Minimise from `start`, a loss that bends at a point with ever less smoothing.

        The parameters and results are those of `_minimise`.
        """
        if self.loss.smooth:
            return self._minimise(strengths, start, tol, max_iter, least_gain, given)
        bent, n_iter = self.loss, 0
        try:
            for width in _WIDTHS if tol > 0.0 else ROUGH_WIDTHS:
                self.loss = bent.smoothed(width)
                start, residual, more = self._minimise(
                    strengths, start, tol, max_iter, least_gain, given
                )
                n_iter += more
                if tol > 0.0:
                    gap = self._gap(bent, start)
                    if gap <= tol:
                        break
        finally:
            self.loss = bent
        return start, max(residual, gap) if tol > 0.0 else residual, n_iter

    def _gap(self, bent, scores):
        """Return the relative duality gap of a smoothed solution.

        The gradients of the smoothed loss are feasible in the dual problem, and meet the optimality
        conditions of the smoothed one. The gap is then what the loss of the rows exceeds the
        conjugate's bound.
        """
        eta = self._with_known(self.eta(scores))
        y = self.table.y[None]
        value = self.weight @ bent.value(eta, y, axis=0)
        bound = self.weight @ (-self.loss.gradient(eta, y) * (y - eta))[0]
        # Of residuals of zero, the gap is at least about the least width.
        return (value - bound) / max(value, _LEAST_LOSS * self.weight.sum())

    def _minimise(self, strengths, start, tol, max_iter, least_gain=0.0, given=None):
        """Minimise from `start`.

        Parameters
        ----------
        strengths : tuple of float
            Slope strength, intercept strength and ridge.
        start : Scores
        tol : float
            Tolerance on the KKT residual, relative to the gradient at zero; with 0 it is not
            computed.
        max_iter : int
            Largest number of steps, or rounds over the classes.
        least_gain : float
            Stop if a round decreases the objective by less.
        given : ndarray of shape (n_scores, n_features), optional
            Shared slopes, which are known for the features that do not vary.

        Returns
        -------
        scores : Scores
        residual : float
            KKT residual; NaN if it was not computed.
        n_iter : int
            Number of steps or rounds.
        """
        scores = self._feasible(start, strengths, given)
        eta = self.eta(scores)
        quadratic = None
        extrapolate = _Extrapolation() if self.n_scores > 1 and tol > 0.0 else None
        known = None if given is None else ~self.varies
        steps, n_iter = 0.0, 0
        while True:
            residual, gain, any_kept = 0.0, 0.0, False
            moves = steps < max_iter and (tol == 0.0 or n_iter < max_iter)
            before = scores.flat() if extrapolate else None
            for k in range(self.n_scores):
                working, loss = quadratic or self.quadratic(eta, k)
                system = self._kept_arrow(working, eta[k])
                is_kept = system is not None
                system = system or self._new_arrow(working)
                if tol > 0.0:
                    residual_k = kkt_residual(
                        system.moments, self.penalty, strengths, scores.theta[k], scores.coef[k],
                        scores.intercept[k], self.varies, known, self.centres, self.anchors,
                    )  # fmt: skip
                    residual = max(residual, residual_k)
                if moves and (tol == 0.0 or residual_k > tol):
                    decrease, quadratic, is_predicted = self._step(
                        system, strengths, scores, eta, k, working, loss.sum(), given
                    )
                    gain += decrease
                    any_kept = any_kept or is_kept
                    if not is_predicted or decrease <= 0.0:
                        self._kept = None  # computed anew in the next step
                if self.n_scores > 1:  # the next model is that of another class
                    quadratic = None
            if (tol > 0.0 and residual <= tol) or not moves:
                break
            least = least_gain * (_KEPT_GAIN if any_kept else 1.0)
            if gain < least and not (any_kept and tol > 0.0):
                break
            steps, n_iter = steps + (_KEPT_STEP if any_kept else 1.0), n_iter + 1
            if extrapolate and steps < max_iter:
                proposed = scores.like(extrapolate(before, scores.flat()))
                scores, eta = self._better(strengths, proposed, scores, eta, given)
        return scores, residual if tol > 0.0 else np.nan, n_iter

    def _new_arrow(self, working):
        """Return the arrow system of a working table, kept for the next steps if worthwhile."""
        system = self._arrow(self.moments(working))
        if self.keeps_curvatures:
            self._kept = working.sample_weight, system
        return system

    def _better(self, strengths, proposed, scores, eta, given):
        """Return the better of two scores by the objective, with the scores of all rows."""
        if self.varies is not None:  # removes rounding errors in the slopes that do not vary
            proposed = self._feasible(proposed, strengths, given)
        proposed_eta = self.eta(proposed)
        if self._objective(strengths, proposed, proposed_eta) < self._objective(
            strengths, scores, eta
        ):
            return proposed, proposed_eta
        return scores, eta

    def _objective(self, strengths, scores, eta):
        total = self.weight @ self._values(eta)
        for k in range(self.n_scores):
            total += self._penalty(strengths, scores.coef[k], scores.intercept[k], scores.theta[k])
        return total

    def _step(self, system, strengths, scores, eta, k, working, loss, given=None):
        """Take one Newton step of score set k, halved until the objective decreases, in place.

        Returns the decrease, the quadratic model at the new scores, and whether the old model
        predicted about this decrease.
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
        old, old_eta = (scores.coef[k], scores.intercept[k], scores.theta[k]), eta[k].copy()
        new = [coef, intercept, theta[0]]
        eta[k] = self.scores_of(coef, intercept)
        before = loss + self._penalty(strengths, *old)
        descent = (working.sample_weight * (working.y - old_eta)) @ (eta[k] - old_eta)
        change = [b - a for a, b in zip(old, new, strict=True)]
        more_penalty = self._penalty(strengths, *new) - self._penalty(strengths, *old)
        predicted = 0.5 * (descent - more_penalty + self._penalty(strengths, *change))
        for halving in range(_MOST_HALVINGS):
            quadratic = self.quadratic(eta, k)
            after = quadratic[1].sum() + self._penalty(strengths, *new)
            if after <= before + 1e-12 * abs(before):
                scores.coef[k], scores.intercept[k], scores.theta[k] = new
                decrease, rounding = before - after, 1e-10 * abs(before)
                is_near = abs(decrease - predicted) <= _MISLEADS * predicted + rounding
                return decrease, quadratic, halving == 0 and is_near
            new = [0.5 * (a + b) for a, b in zip(old, new, strict=True)]
            eta[k] = 0.5 * (old_eta + eta[k])
        eta[k] = old_eta
        return 0.0, self.quadratic(eta, k), False

    def _penalty(self, strengths, coef, intercept, theta):
        return penalty_of(
            strengths, self.penalty, coef, intercept, theta, self.centres, self.anchors
        )

    def _at_centres(self, intercept, coef, theta):
        return _at_centres(intercept, coef, theta, self.centres, self.anchors)

    def _feasible(self, start, strengths, given=None):
        """Return a copy of the scores that meets infinite strengths and given slopes."""
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
                intercept[k] = theta[k, 0] - self._at_centres(0.0, coef[k], theta[k])
        return Scores(coef, intercept, theta)


def penalty_of(strengths, penalty, coef, intercept, theta, centres=None, anchors=None):
    """Return the penalties of one score set, without those of infinite strengths.

    Parameters
    ----------
    strengths : tuple of float
        Slope strength, intercept strength and ridge.
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    theta : ndarray of shape (1 + n_features,)
    centres, anchors : ndarray of shape (n_tasks, n_features), optional
        Those of `ArrowSystem`.
    """
    slope, pull, ridge = strengths
    total = 0.0
    if np.isfinite(slope):
        total += slope * ((coef - theta[1:]) ** 2).sum()
    if np.isfinite(pull):
        level = _at_centres(intercept, coef, theta, centres, anchors)
        total += pull * ((level - theta[0]) ** 2).sum()
    if np.isfinite(ridge):
        total += ridge * penalty @ theta[1:] ** 2
    return 0.5 * total


def _at_centres(intercept, coef, theta, centres, anchors):
    """Return the tasks' intercepts at their centres, less the shared slopes at the anchors."""
    if centres is None:
        return intercept
    return intercept + (centres * coef).sum(axis=1) - anchors @ theta[1:]


def working_table(table, loss, target, score, offset, executor=None):
    """Return the table of working responses and weights, and the losses of the tasks.

    Parameters
    ----------
    table : TaskTable
    loss : Loss
    target, score, offset : ndarray of shape (n_packed,)
        The loss is that of the target and of the sum of score and offset.
    executor : executor, optional
    """
    n = len(target)
    out = kernels.newton.Working(np.empty(n), np.empty(n), np.empty(table.n_tasks))
    rows = kernels.newton.ScoredRows(target, table.weights(), score, offset)
    run_chunks(
        kernels.newton.working, table.n_tasks, table.offsets, loss.kernel_code, rows, out,
        executor=executor,
    )  # fmt: skip
    return replace(table, y=out.z, sample_weight=out.w), out.loss


class _Extrapolation:
    """Extrapolation of a fixed-point iteration from its last rounds."""

    def __init__(self):
        self._rounds = []

    def __call__(self, start, end):
        """Return an affine combination of the ends of the last rounds, all of them vectors."""
        self._rounds = [*self._rounds[1 - _MEMORY :], (end, end - start)]
        if len(self._rounds) < 2:
            return end
        ends, steps = (np.diff(np.array(part), axis=0) for part in zip(*self._rounds, strict=True))
        gram = steps @ steps.T
        gram[np.diag_indices_from(gram)] += 1e-10 * np.trace(gram) + 1e-300
        return end - np.linalg.solve(gram, steps @ (end - start)) @ ends
