r"""Carrying what the tasks share to a new task, from a handful of its rows.

Given the shared part (a, m) and the strengths, the new task's own part minimises

.. math:: \sum_i w_i (y_i - a - x_i'm - a_t - x_i'v_t)^2
          + \lambda_a a_t^2 + \lambda_v \|v_t\|^2,

or the log-loss with half of the penalties: what a fit on all tasks would do, with the shared part
held. Every candidate of the fit is adapted so, and they are averaged as in the fit: the prior is
what tasks of that size use, the task's own verdict that of leave-one-out on its rows.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

from ..guard.weights import TaskPrior, log_scores
from ..losses import LOG_LOSS
from ..solvers.arrow import kappa_of
from ..tasks.copies import Settled, settle_support
from ..tasks.prevalence import sampling_offset
from .restriction import UNRESTRICTED, Restriction
from .strengths import Scaling

__all__ = ["Adapter", "LogisticAdapter"]

_MOST_STEPS = 50
_MOST_ROUNDS = 200
_MOST_HALVINGS = 30
_LEAST_GAIN = 1e-10
# Numbers in the bases of the candidates that are worked on together.
_AT_ONCE = 10**6


@dataclass
class Adapter:
    """What a fit knows about a task to come.

    Attributes
    ----------
    grid : Grid
        The candidates.
    theta : ndarray of shape (n_candidates, 1 + n_features)
        Their shared intercepts and slopes, on the standardised scale.
    scalings : list of Scaling
        Those that the candidates refer to.
    prior : TaskPrior or None
        None where nothing was judged.
    crowd : ndarray of shape (n_candidates,)
        The weights to take then.
    noise : float
        The table's error a row.
    centre, scale : ndarray of shape (n_features + 1,)
    residual_scale : ResidualScale or None
        On the standardised scale, or in a task's own units.
    units : Units or None
        How to tell those, on the standardised scale.
    restriction : Restriction
        What the tasks' slopes are restricted to.
    copies : Settled
        What the unit of the weights is, and whether equal rows are copies; without the table.
    variation : Variation or None
        Of the features, on the standardised scale: where a task's own slopes turn.
    """

    grid: object
    theta: np.ndarray
    scalings: list
    prior: object
    crowd: np.ndarray
    noise: float
    centre: np.ndarray
    scale: np.ndarray
    residual_scale: object = None
    units: object = None
    restriction: Restriction = UNRESTRICTED
    copies: Settled = Settled(None)
    variation: object = None

    def _centre_of(self, Z, weight):
        """Where the new task's own slopes turn."""
        if self.variation is None:
            return np.zeros(Z.shape[1])
        rows = weight.sum()
        return self.variation.centres(np.array([rows]), (weight @ Z / rows)[None])[0]

    def _for(self, Z, weight):
        """The same for one task, about whose centre shared slopes within tasks turn."""
        apart = np.array([self.scalings[k].apart for k in self.grid.scaling])
        if not apart.any():
            return self
        theta, centre = self.theta.copy(), self._centre_of(Z, weight)
        beside = np.where(self.variation.within > 0, centre, 0.0)
        theta[apart, ..., 0] -= theta[apart, ..., 1:] @ beside
        return replace(self, theta=theta)

    def support(self, X, y, weight):
        """The new task's rows, and weights in the unit of the fit's."""
        if self.prior is None:  # strengths were given
            return X, y, weight * self.copies.unit
        return settle_support(X, y, weight, self.copies)

    def untried(self, grid, n_features, rows=10):
        """The same with candidates of which nothing is known, about the shared model."""
        shared = np.tensordot(self.crowd, self.theta, 1)
        theta = np.repeat(shared[None], len(grid), axis=0)
        prior = TaskPrior.untried(grid.log_prior(n_features, rows))
        return replace(self, grid=grid, theta=theta, prior=prior, crowd=None)

    def in_features(self, space):
        """The same in the features of which a `RowSpace` has the coordinates."""
        theta = np.column_stack([self.theta[:, 0], self.theta[:, 1:] @ space.directions.T])
        return replace(
            self, theta=theta, scalings=_alike(self.scalings, len(space.scale)),
            centre=np.r_[space.centre, self.centre[-1]], scale=np.r_[space.scale, self.scale[-1]],
            variation=self.variation and self.variation.alike(len(space.scale)),
        )  # fmt: skip

    def adapt(self, X, y, weight):
        """The new task's model on the caller's scale.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        y, weight : ndarray of shape (n_samples,)

        Returns
        -------
        coef : ndarray of shape (n_features,)
        intercept : float
        std : float or None
            Standard deviation of new rows about their predictions.
        """
        X, y, weight = self.support(X, y, weight)
        Z = (X - self.centre[:-1]) * self.scale[:-1]
        rows = weight.sum()
        location, unit = self.centre[-1], 1.0 / self.scale[-1]
        if self.units is not None:
            z = (y - location) / unit
            mean = weight @ z / rows
            own = self.units.of(np.array([rows]), mean, weight @ (z - mean) ** 2)
            location, unit = location + unit * own.location[0], unit * own.scale[0]
        self = self._for(Z, weight)
        own, errors = self._own(Z, (y - location) / unit, weight)
        shares = self._shares((weight @ errors**2)[None], rows)
        b = shares @ (self.theta + own)
        coef = self._held(b[1:] * self.scale[:-1] * unit, self.theta[0]) + 0.0
        intercept = location + b[0] * unit - coef @ self.centre[:-1]
        if self.residual_scale is None:
            return coef, intercept, None
        return (
            coef,
            intercept,
            unit * float(self.residual_scale.std_of(weight @ (errors @ shares) ** 2, rows)),
        )

    def _held(self, coef, theta):
        """Slopes on the caller's scale, of which those that do not vary are exactly the shared."""
        if all(self.scalings[k].varies is not None for k in self.grid.scaling):
            fixed = ~self.restriction.varies
            shared = theta[..., 1:][..., fixed]
            coef[..., fixed] = shared * self.scale[:-1][fixed] / self.scale[-1]
        return coef

    def _shares(self, sse, rows):
        if self.prior is None:
            return self.crowd
        return self.prior.weights(log_scores(sse, np.array([rows]), self.noise)[0], rows)

    def _own(self, Z, y, weight):
        """Own parts ``(n_candidates, 1 + p)`` and leave-one-out errors ``(n, n_candidates)``."""
        if self.restriction.positive is not None:
            return self._own_signed(Z, y, weight)
        centre = self._centre_of(Z, weight)
        own, errors = np.zeros_like(self.theta), np.empty((len(y), len(self.theta)))
        gap = (y - self.theta[:, :1] - self.theta[:, 1:] @ Z.T)[:, :, None]
        for chosen, which, basis, back in self._bases(Z - centre, weight):
            heavy = np.swapaxes(basis * weight[:, None], 1, 2)
            inverse = np.linalg.inv(np.eye(basis.shape[2]) + heavy @ basis)
            found = inverse[which] @ (heavy[which] @ gap[chosen])
            left = np.maximum(1.0 - np.einsum("cij,cji->ci", basis @ inverse, heavy), 1e-12)
            errors[:, chosen] = ((gap[chosen] - basis[which] @ found)[:, :, 0] / left[which]).T
            own[chosen] = (back[which] @ found)[:, :, 0]
        own[:, 0] -= own[:, 1:] @ centre
        return own, errors

    def _own_signed(self, Z, y, weight):
        """`_own` where slopes have a sign, exactly; those left at zero stay there without a row."""
        own, errors = np.zeros_like(self.theta), np.empty((len(y), len(self.theta)))
        design = np.column_stack([np.ones(len(Z)), Z])
        positive = np.append(False, self.restriction.positive)
        roots, which = self._roots(weight)
        for k, root in enumerate(roots):
            # Coordinates of unit strength, the unbounded ones first.
            live = np.flatnonzero(root > 0)
            live = live[np.argsort(positive[live], kind="stable")]
            basis, n_free = design[:, live] * root[live], (~positive[live]).sum()
            heavy = basis.T * weight
            gram = np.eye(len(live)) + heavy @ basis
            for c in np.flatnonzero(which == k):
                theta = self.theta[c]
                gap, least = y - design @ theta, -theta[live] / root[live]
                found, held = _at_least(gram, heavy @ gap, least, n_free)
                free = ~held
                inverse = np.linalg.inv(gram[np.ix_(free, free)])
                reach = np.einsum("ij,ji->i", basis[:, free] @ inverse, heavy[free])
                errors[:, c] = (gap - basis @ found) / np.maximum(1.0 - reach, 1e-12)
                own[c, live] = root[live] * found
                own[c, live[held]] = -theta[live[held]]
                own[c, positive] = np.maximum(own[c, positive], -theta[positive])
        return own, errors

    def _roots(self, weight):
        """Standard deviations of the own parts ``(n_kinds, 1 + p)``, and the kind of each."""
        grid, scale = self.grid, max(weight.sum(), 1.0)
        keys = np.column_stack([grid.scaling, grid.slope, grid.intercept])
        unique, which = np.unique(keys, axis=0, return_inverse=True)
        free = np.array([[kappa_of(own, scale) for own in (a, v)] for _, v, a in unique])
        slopes = np.array([self.scalings[k].own for k in unique[:, 0].astype(np.int64)])
        return np.hstack([np.sqrt(free[:, :1]), np.sqrt(free[:, 1:]) * slopes]), which.ravel()

    def _bases(self, Z, weight):
        """Own parts in coordinates of unit strength, for groups of candidates.

        With fewer rows than coordinates only those that the rows span.

        Yields
        ------
        chosen : ndarray of shape (n_chosen,)
            Candidates.
        which : ndarray of shape (n_chosen,)
            The basis of each.
        basis : ndarray of shape (n_bases, n_samples, rank)
        back : ndarray of shape (n_bases, 1 + n_features, rank)
            From the coordinates to intercept and slopes.
        """
        roots, which = self._roots(weight)
        design = np.column_stack([np.ones(len(Z)), Z])
        if len(Z) < design.shape[1]:
            span, triangle = np.linalg.qr(np.swapaxes(design * roots[:, None], 1, 2))
            yield (
                np.arange(len(which)), which, np.swapaxes(triangle, 1, 2), span * roots[:, :, None],
            )  # fmt: skip
            return
        at_once = max(1, _AT_ONCE // design.size)
        for first in range(0, len(roots), at_once):
            part = roots[first : first + at_once, :, None]
            chosen = np.flatnonzero((which >= first) & (which < first + at_once))
            basis = design * np.swapaxes(part, 1, 2)
            yield chosen, which[chosen] - first, basis, part * np.eye(design.shape[1])


def _alike(scalings, n_features):
    """Return the scalings for features that a rotation has mixed: all of them vary alike."""
    return [Scaling(np.ones(n_features), scaling.apart) for scaling in scalings]


def _at_least(gram, moment, least, n_free):
    """Minimise ``x'Gx / 2 - c'x`` where all but the first `n_free` are at least so much.

    By the active sets of Lawson and Hanson, on what is left without the unbounded ones.

    Returns
    -------
    found : ndarray of shape (n,)
    held : bool ndarray of shape (n,)
        Which are at their bounds.
    """
    held = np.zeros(len(gram), dtype=bool)
    if n_free < len(gram):
        root = cholesky(gram)  # upper triangular
        target = solve_triangular(root, moment, trans="T")[n_free:]
        corner, least_bounded = root[n_free:, n_free:], least[n_free:]
        above, _ = nnls(corner, target - corner @ least_bounded, maxiter=100 * len(gram))
        held[n_free:] = above == 0.0
    found, free = np.where(held, least, 0.0), ~held
    rest = moment[free] - gram[np.ix_(free, held)] @ found[held]
    found[free] = cho_solve(cho_factor(gram[np.ix_(free, free)]), rest)
    return found, held


@dataclass
class LogisticAdapter(Adapter):
    """The same for classes; `theta` is ``(n_candidates, n_scores, 1 + n_features)``.

    `prevalence` tells rows that were sampled by class, or None.
    """

    prevalence: object = None

    def in_features(self, space):
        theta = np.concatenate([self.theta[..., :1], self.theta[..., 1:] @ space.directions.T], -1)
        return replace(
            self, theta=theta, scalings=_alike(self.scalings, len(space.scale)),
            centre=np.r_[space.centre, 0.0], scale=np.r_[space.scale, 1.0],
            variation=self.variation and self.variation.alike(len(space.scale)),
        )  # fmt: skip

    def adapt(self, X, y, weight, class_prior=None):
        """As `Adapter.adapt`, of class codes; ``(n_classes, ...)`` where there are more than two.

        The standard deviation is always None. `class_prior`, of shape (n_classes,), are the
        classes' shares in the task, which the intercepts are corrected for.
        """
        X, y, weight = self.support(X, y, weight)
        y = y.astype(np.int64)
        Z = (X - self.centre[:-1]) * self.scale[:-1]
        sampled, unlike = self._sampling(y, weight, class_prior)
        self = self._for(Z, weight)
        if unlike is not None:
            theta = self.theta.copy()
            theta[..., 0] += unlike
            self = replace(self, theta=theta)
        own, loss = self._own(Z, y, weight, sampled)
        rows = weight.sum()
        shares = self.crowd
        if self.prior is not None:
            shares = self.prior.weights(loss.min() - loss, rows)
        b = np.tensordot(shares, self.theta + own, 1)
        coef = self._held(b[:, 1:] * self.scale[:-1], self.theta[0])
        intercept = b[:, 0] - coef @ self.centre[:-1]
        return (coef, intercept, None) if len(b) > 1 else (coef[0], intercept[0], None)

    def _sampling(self, y, weight, class_prior):
        """What sampling by class adds to scores, and a task of other shares to shared intercepts.

        Rows that hold the classes in other shares than tasks do were probably sampled by class, the
        more surely the less these vary from task to task.
        """
        n_classes = self.theta.shape[1] if self.theta.shape[1] > 1 else 2
        counts, unlike = np.bincount(y, weight, minlength=n_classes)[None], None
        if class_prior is not None:
            offset = sampling_offset(counts, class_prior)[0]
            usual = class_prior if self.prevalence is None else self.prevalence.mean
            unlike = np.log(class_prior) - np.log(usual)
        elif self.prevalence is not None:
            offset = sampling_offset(counts, self.prevalence.mean)[0]
            offset = offset * self.prevalence.by_class(counts)[0]
        else:
            return np.zeros(self.theta.shape[1]), None
        if self.theta.shape[1] == 1:
            return np.diff(offset), None if unlike is None else np.diff(unlike)
        return offset, unlike

    def _own(self, Z, y, weight, sampled):
        """Own parts ``(n_candidates, n_scores, 1 + p)`` and leave-one-out log-losses.

        `sampled`, of shape (n_scores,), is what sampling by class adds to the rows' scores.
        """
        n_scores = self.theta.shape[1]
        target = (y == 1)[None] if n_scores == 1 else y == np.arange(n_scores)[:, None]
        target = target.astype(np.float64)
        own, loss = np.zeros_like(self.theta), np.empty(len(self.theta))
        offset = np.array([_scores(theta, Z) for theta in self.theta]) + sampled[:, None]
        centre = self._centre_of(Z, weight)
        for chosen, which, bases, back in self._bases(Z - centre, weight):
            newton = _Newton(bases[which], offset[chosen], target, weight)
            own[chosen] = newton.solve() @ np.swapaxes(back[which], 1, 2)
            log = LOG_LOSS.log_probabilities(newton.left_out(), axis=1)
            loss[chosen] = -log[:, y, np.arange(len(y))] @ weight
        own[..., 0] -= own[..., 1:] @ centre
        return own, loss


def _scores(theta, Z):
    """Scores ``(n_scores, n)`` of shared models."""
    return theta[:, :1] + theta[:, 1:] @ Z.T


class _Newton:
    """Newton's method for many candidates at once, halved until the objective falls.

    The scores of more than two classes take their steps in turn.

    Parameters
    ----------
    basis : ndarray of shape (n_candidates, n_samples, rank)
    offset : ndarray of shape (n_candidates, n_scores, n_samples)
    target : ndarray of shape (n_scores, n_samples)
    weight : ndarray of shape (n_samples,)
    """

    def __init__(self, basis, offset, target, weight):
        self.basis, self.offset, self.target, self.weight = basis, offset, target, weight
        self.coords = np.zeros((*offset.shape[:2], basis.shape[2]))

    def solve(self):
        """Own coordinates ``(n_candidates, n_scores, rank)``."""
        n_scores = len(self.target)
        value = self.objective(self.coords)
        for _ in range(_MOST_STEPS if n_scores == 1 else _MOST_ROUNDS):
            before = value
            for k in range(n_scores):
                gradient, curvature, _ = self.quadratic(k)
                step = np.zeros_like(self.coords)
                step[:, k] = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
                value = self.descend(value, step)
            if (before - value <= _LEAST_GAIN * (1.0 + np.abs(value))).all():
                break
        return self.coords

    def left_out(self):
        """Scores of every row without it: one step from the solution."""
        out = self.scores(self.coords)
        for k, target in enumerate(self.target):
            _, curvature, p = self.quadratic(k)
            reach = np.einsum("cir,crs,cis->ci", self.basis, np.linalg.inv(curvature), self.basis)
            left = np.maximum(1.0 - self.weight * p * (1.0 - p) * reach, 1e-12)
            out[:, k] -= self.weight * (target - p) * reach / left
        return out

    def scores(self, coords):
        return self.offset + coords @ np.swapaxes(self.basis, 1, 2)

    def objective(self, coords):
        loss = LOG_LOSS.value(self.scores(coords), self.target, axis=1)
        return loss @ self.weight + 0.5 * (coords**2).sum((1, 2))

    def quadratic(self, k):
        """Descent direction, curvature and probability of score set k."""
        p = LOG_LOSS.means(self.scores(self.coords), axis=1)[:, k]
        across = np.swapaxes(self.basis, 1, 2)
        gradient = (across @ (self.weight * (self.target[k] - p))[:, :, None])[:, :, 0]
        curvature = across @ (self.basis * (self.weight * p * (1.0 - p))[:, :, None])
        return gradient - self.coords[:, k], curvature + np.eye(across.shape[1]), p

    def descend(self, value, step):
        """Take the step, for each candidate as far as its objective falls."""
        for _ in range(_MOST_HALVINGS):
            new = self.coords + step
            after = self.objective(new)
            worse = after > value
            if not worse.any():
                self.coords = new
                return after
            step = np.where(worse[:, None, None], 0.5 * step, step)
        better = ~worse[:, None, None]
        self.coords = np.where(better, new, self.coords)
        return np.where(worse, value, after)
