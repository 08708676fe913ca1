r"""Adaptation of a fitted model to a new task, from a few of its rows.

Given the shared part (a, m) and the strengths, the task-specific part of the new task minimises

.. math:: \sum_i w_i (y_i - a - x_i'm - a_t - x_i'v_t)^2
          + \lambda_a a_t^2 + \lambda_v \|v_t\|^2,

or the log-loss plus half of the penalties, like a fit on all tasks with the shared part held fixed.
This is solved for every candidate of the fit, and the candidates are averaged. Their prior weights
are those of tasks of similar size, which are updated with the leave-one-out errors of the new rows.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

from ..guard.weights import TaskPrior, log_scores
from ..losses import LOG_LOSS
from ..solvers.arrow import kappa_of
from ..solvers.newton import ROUGH_WIDTHS
from ..tasks.copies import Settled, relative_weights, settle_support
from ..tasks.prevalence import prior_weights, sampling_offset
from .restriction import UNRESTRICTED, Restriction
from .strengths import SlopeScaling

__all__ = ["Adapter", "LogisticAdapter", "NewtonAdapter"]

_MOST_STEPS = 50
_MOST_ROUNDS = 200
_MOST_HALVINGS = 30
_LEAST_GAIN = 1e-10
# Numbers in the bases of the candidates that are solved in one batch.
_BATCH_SIZE = 10**6


@dataclass
class Adapter:
    """Adaptation of the candidates of a fit to new tasks.

    Attributes
    ----------
    grid : Grid
        The candidates.
    shared_models : ndarray of shape (n_candidates, 1 + n_features)
        Shared intercepts and slopes of the candidates, on the standardised scale.
    scalings : list of SlopeScaling
        Scalings of the candidates.
    prior : TaskPrior or None
        Prior weights of the candidates; None if they were not cross-validated.
    unseen : ndarray of shape (n_candidates,)
        Weights of the candidates if there is no prior.
    noise : float
        Error per row of the table.
    centre, scale : ndarray of shape (n_features + 1,)
        Features and target are ``([X, y] - centre) * scale``.
    residual_scale : ResidualScale or None
        Scale of residuals on the standardised scale, or in the units of each task.
    units : Units or None
        Prior for the units of a new task, on the standardised scale.
    restriction : Restriction
        Restriction of the slopes.
    copies : Settled
        Unit of the weights, and whether equal rows are copies; without the table.
    variation : Variation or None
        Variation of the standardised features, which determines where task-specific slopes are
        centred.
    """

    grid: object
    shared_models: np.ndarray
    scalings: list
    prior: object
    unseen: np.ndarray
    noise: float
    centre: np.ndarray
    scale: np.ndarray
    residual_scale: object = None
    units: object = None
    restriction: Restriction = UNRESTRICTED
    copies: Settled = Settled(None)
    variation: object = None

    def _centre_of(self, Z, weight):
        """Return the point at which the slopes of the new task are centred."""
        if self.variation is None:
            return np.zeros(Z.shape[1])
        rows = weight.sum()
        return self.variation.centres(np.array([rows]), (weight @ Z / rows)[None])[0]

    def _models_for(self, Z, weight):
        """Return the shared models for the new task, at whose centre slopes within tasks apply."""
        within = np.array([self.scalings[k].within_only for k in self.grid.scaling])
        if not within.any():
            return self.shared_models
        models, centre = self.shared_models.copy(), self._centre_of(Z, weight)
        shift = np.where(self.variation.within > 0, centre, 0.0)
        models[within, ..., 0] -= models[within, ..., 1:] @ shift
        return models

    def relative(self, weight):
        """Return the weights of rows as numbers of rows: whole numbers, or with a mean of one."""
        return relative_weights(weight, self.copies)

    def representative(self, y, weight):
        """Return weights under which the rows represent the task: those given."""
        return weight

    def sampling(self, y, weight, class_prior=None):
        """Return what is added to the scores of the given rows only, and of all rows: nothing."""
        return np.zeros(1), None

    def support(self, X, y, weight):
        """Return the rows of a new task, with weights in the unit of the fit."""
        if self.prior is None:  # strengths were given
            return X, y, weight * self.copies.unit
        return settle_support(X, y, weight, self.copies)

    def untried(self, grid, n_features, rows=10):
        """Return an adapter with other candidates, without errors of tasks, for the shared model.

        It is used after a fit on a single task, from which the strengths cannot be learned.
        """
        shared = np.tensordot(self.unseen, self.shared_models, 1)
        models = np.repeat(shared[None], len(grid), axis=0)
        prior = TaskPrior.untried(grid.log_prior(n_features, rows))
        return replace(self, grid=grid, shared_models=models, prior=prior, unseen=None)

    def in_features(self, space):
        """Return the adapter in the features whose coordinates are those of a `RowSpace`."""
        models, n_features = self.shared_models, len(space.scale)
        slopes = models[..., 1:] @ space.directions.T
        return replace(
            self, shared_models=np.concatenate([models[..., :1], slopes], axis=-1),
            scalings=[SlopeScaling(np.ones(n_features), s.within_only) for s in self.scalings],
            centre=np.r_[space.centre, self.centre[-1]], scale=np.r_[space.scale, self.scale[-1]],
            variation=self.variation and self.variation.alike(n_features),
        )  # fmt: skip

    def adapt(self, X, y, weight, offset=None):
        """Return the new task's model on the caller's scale.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        y, weight : ndarray of shape (n_samples,)
        offset : ndarray of shape (n_samples, 1), optional
            What is to be added to the predictions of the model.

        Returns
        -------
        coef : ndarray of shape (n_features,)
        intercept : float
        std : float or None
            Standard deviation of new labels about the predictions.
        """
        if offset is not None:
            y = y - offset[:, 0]
        X, y, weight = self.support(X, y, weight)
        Z = (X - self.centre[:-1]) * self.scale[:-1]
        rows = weight.sum()
        location, unit = self.centre[-1], 1.0 / self.scale[-1]
        if self.units is not None:
            z = (y - location) / unit
            mean = weight @ z / rows
            units = self.units.of(np.array([rows]), mean, weight @ (z - mean) ** 2)
            location, unit = location + unit * units.location[0], unit * units.scale[0]
        models = self._models_for(Z, weight)
        own, errors = self._own(models, Z, (y - location) / unit, weight)
        shares = self.unseen
        if self.prior is not None:
            scores = log_scores((weight @ errors**2)[None], np.array([rows]), self.noise)
            shares = self.prior.weights(scores[0], rows)
        b = shares @ (models + own)
        coef = self._held(b[1:] * self.scale[:-1] * unit) + 0.0
        intercept = location + b[0] * unit - coef @ self.centre[:-1]
        if self.residual_scale is None:
            return coef, intercept, None
        std = self.residual_scale.std_of(weight @ (errors @ shares) ** 2, rows)
        return coef, intercept, unit * float(std)

    def _held(self, coef):
        """Set slopes that do not vary by task to exactly the shared ones, on the caller's scale."""
        if all(self.scalings[k].varies is not None for k in self.grid.scaling):
            fixed = ~self.restriction.varies
            shared = self.shared_models[0][..., 1:][..., fixed]
            coef[..., fixed] = shared * self.scale[:-1][fixed] / self.scale[-1]
        return coef

    def _own(self, models, Z, y, weight):
        """Return task-specific parts, and leave-one-out errors ``(n_samples, n_candidates)``.

        The parts have the shape of `models`, the shared models for the task.
        """
        if self.restriction.positive is not None:
            return self._own_signed(models, Z, y, weight)
        centre = self._centre_of(Z, weight)
        own, errors = np.zeros_like(models), np.empty((len(y), len(models)))
        residuals = (y - models[:, :1] - models[:, 1:] @ Z.T)[:, :, None]
        for chosen, kind, bases, transforms in self._bases(Z - centre, weight):
            weighted = np.swapaxes(bases * weight[:, None], 1, 2)
            inverse = np.linalg.inv(np.eye(bases.shape[2]) + weighted @ bases)
            coords = inverse[kind] @ (weighted[kind] @ residuals[chosen])
            leverage = np.einsum("cij,cji->ci", bases @ inverse, weighted)
            left = np.maximum(1.0 - leverage, 1e-12)
            fitted = bases[kind] @ coords
            errors[:, chosen] = ((residuals[chosen] - fitted)[:, :, 0] / left[kind]).T
            own[chosen] = (transforms[kind] @ coords)[:, :, 0]
        own[:, 0] -= own[:, 1:] @ centre
        return own, errors

    def _own_signed(self, models, Z, y, weight):
        """Return `_own` for slopes with signs.

        In the leave-one-out errors, slopes that are zero remain zero.
        """
        own, errors = np.zeros_like(models), np.empty((len(y), len(models)))
        design = np.column_stack([np.ones(len(Z)), Z])
        positive = np.append(False, self.restriction.positive)
        roots, kinds = self._roots(weight)
        for k, root in enumerate(roots):
            # Coordinates of unit strength, with the unbounded ones first.
            live = np.flatnonzero(root > 0)
            live = live[np.argsort(positive[live], kind="stable")]
            basis, n_free = design[:, live] * root[live], (~positive[live]).sum()
            weighted = basis.T * weight
            gram = np.eye(len(live)) + weighted @ basis
            for c in np.flatnonzero(kinds == k):
                model = models[c]
                residuals, least = y - design @ model, -model[live] / root[live]
                coords, held = _at_least(gram, weighted @ residuals, least, n_free)
                free = ~held
                inverse = np.linalg.inv(gram[np.ix_(free, free)])
                leverage = np.einsum("ij,ji->i", basis[:, free] @ inverse, weighted[free])
                errors[:, c] = (residuals - basis @ coords) / np.maximum(1.0 - leverage, 1e-12)
                own[c, live] = root[live] * coords
                own[c, live[held]] = -model[live[held]]
                own[c, positive] = np.maximum(own[c, positive], -model[positive])
        return own, errors

    def _roots(self, weight):
        """Return the standard deviations of task-specific parts, and the kind of each candidate.

        Returns
        -------
        roots : ndarray of shape (n_kinds, 1 + n_features)
            Distinct standard deviations, of intercept and slopes.
        kinds : ndarray of shape (n_candidates,)
        """
        grid, scale = self.grid, max(weight.sum(), 1.0)
        keys = np.column_stack([grid.scaling, grid.slope, grid.intercept])
        unique, kinds = np.unique(keys, axis=0, return_inverse=True)
        variances = np.array([[kappa_of(s, scale) for s in (a, v)] for _, v, a in unique])
        slopes = np.array([self.scalings[k].own_factors for k in unique[:, 0].astype(np.int64)])
        roots = np.hstack([np.sqrt(variances[:, :1]), np.sqrt(variances[:, 1:]) * slopes])
        return roots, kinds.ravel()

    def _bases(self, Z, weight):
        """Yield task-specific parts in coordinates of unit strength, for groups of candidates.

        With fewer rows than coordinates, only coordinates in the span of the rows are used.

        Yields
        ------
        chosen : ndarray of shape (n_chosen,)
            Positions of the candidates.
        kind : ndarray of shape (n_chosen,)
            Position of the basis of each candidate.
        bases : ndarray of shape (n_bases, n_samples, rank)
        transforms : ndarray of shape (n_bases, 1 + n_features, rank)
            Matrices from the coordinates to intercept and slopes.
        """
        roots, kinds = self._roots(weight)
        design = np.column_stack([np.ones(len(Z)), Z])
        if len(Z) < design.shape[1]:
            span, triangle = np.linalg.qr(np.swapaxes(design * roots[:, None], 1, 2))
            bases, transforms = np.swapaxes(triangle, 1, 2), span * roots[:, :, None]
            yield np.arange(len(kinds)), kinds, bases, transforms
            return
        step = max(1, _BATCH_SIZE // design.size)
        for first in range(0, len(roots), step):
            part = roots[first : first + step, :, None]
            chosen = np.flatnonzero((kinds >= first) & (kinds < first + step))
            bases = design * np.swapaxes(part, 1, 2)
            yield chosen, kinds[chosen] - first, bases, part * np.eye(design.shape[1])


def _at_least(gram, moment, least, n_free):
    """Minimise ``x'Gx / 2 - c'x``, where all but the first `n_free` coordinates have lower bounds.

    The bounded coordinates are solved by the active-set method of Lawson and Hanson, after the
    unbounded ones are eliminated.

    Parameters
    ----------
    gram : ndarray of shape (n, n)
    moment, least : ndarray of shape (n,)
        The vector c, and the lower bounds.
    n_free : int

    Returns
    -------
    found : ndarray of shape (n,)
    held : bool ndarray of shape (n,)
        Mask of the coordinates that are at their bounds.
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
    if free.any():  # scipy 1.11 cannot solve an empty system
        found[free] = cho_solve(cho_factor(gram[np.ix_(free, free)]), rest)
    return found, held


@dataclass
class NewtonAdapter(Adapter):
    """Adaptation of the candidates of a fit by another loss than squares to new tasks.

    Attributes
    ----------
    shared_models : ndarray of shape (n_candidates, n_scores, 1 + n_features)
    loss : Loss
    unit : float
        Factor on the targets of a regression.
    """

    loss: object = LOG_LOSS
    unit: float = 1.0

    def adapt(self, X, y, weight, offset=None, class_prior=None):
        """Return the new task's model on the caller's scale.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
            The target; in a classification, codes of the classes.
        weight : ndarray of shape (n_samples,)
        offset : ndarray of shape (n_samples, n_scores), optional
            What is to be added to the scores of the model.
        class_prior : ndarray of shape (n_classes,), optional
            Proportions of the classes in the task, for which the intercepts are corrected.

        Returns
        -------
        coef : ndarray of shape (n_features,), or (n_classes, n_features) for more than two classes
        intercept : float or ndarray of shape (n_classes,)
        loss : float or None
            Leave-one-out loss per row, of the candidates on average.
        """
        n_features = X.shape[1]
        if offset is not None:
            X = np.hstack([X, offset])
        X, y, weight = self.support(X, y, weight)
        X, offset = X[:, :n_features], X[:, n_features:].T
        Z = (X - self.centre[:-1]) * self.scale[:-1]
        sampled, shift = self.sampling(y, weight, class_prior)
        models = self._models_for(Z, weight)
        if shift is not None:
            models = models.copy()
            models[..., 0] += shift
        offset = sampled[:, None] + (offset * self.scale[-1] if len(offset) else 0.0)
        level = self.centre[-1]
        y = (y if self.loss.has_link else y - level) * self.unit
        own, loss = self._own(models, Z, self._encoded(y), weight / self.noise, offset)
        shares = self.unseen
        if self.prior is not None:
            shares = self.prior.weights(loss.min() - loss, weight.sum() / self.noise)
        b = np.tensordot(shares, models + own, 1)
        coef = self._held(b[:, 1:] * self.scale[:-1] / self.scale[-1])
        intercept = level + b[:, 0] / self.scale[-1] - coef @ self.centre[:-1]
        loss = float(shares @ loss / weight.sum())
        return (coef, intercept, loss) if len(b) > 1 else (coef[0], intercept[0], loss)

    def _encoded(self, y):
        """Return the targets ``(n_scores, n_samples)`` as the loss takes them."""
        return y[None]

    def _own(self, models, Z, target, weight, offset):
        """Return task-specific parts like `models`, and leave-one-out losses per candidate.

        `offset`, of shape (n_scores, n_samples or 1), is added to the scores of the rows.
        """
        own, loss = np.zeros_like(models), np.empty(len(models))
        scores = np.array([model[:, :1] + model[:, 1:] @ Z.T for model in models])
        offset, centre = scores + offset, self._centre_of(Z, weight)
        for chosen, kind, bases, transforms in self._bases(Z - centre, weight):
            newton = _Newton(bases[kind], offset[chosen], target, weight, self.loss)
            if not self.loss.has_link:
                newton.start_at_squares()
            own[chosen] = newton.solve() @ np.swapaxes(transforms[kind], 1, 2)
            loss[chosen] = self.loss.value(newton.left_out(), target, axis=1) @ weight
        own[..., 0] -= own[..., 1:] @ centre
        return own, loss


@dataclass
class LogisticAdapter(NewtonAdapter):
    """Adaptation of the candidates of a classifier to new tasks.

    Attributes
    ----------
    prevalence : Prevalence or None
        Distribution over tasks of the classes' proportions, by which a sample that was drawn by
        class is recognised.
    """

    prevalence: object = None

    def _encoded(self, y):
        n_scores = self.shared_models.shape[1]
        target = (y == 1)[None] if n_scores == 1 else y == np.arange(n_scores)[:, None]
        return target.astype(np.float64)

    def representative(self, y, weight, class_prior=None):
        """Return weights under which the rows have the proportions of the classes in the task.

        `y` are the codes of the classes. The proportions are those of `class_prior`, or those in
        other tasks to the extent that the rows were probably sampled by class.
        """
        prior, by_class, y = class_prior, 1.0, y.astype(np.int64)
        if prior is None:
            if self.prevalence is None:
                return weight
            prior = self.prevalence.mean
            by_class = self.prevalence.by_class(np.bincount(y, weight, minlength=len(prior))[None])
        return by_class * prior_weights(y, weight, prior) + (1.0 - by_class) * weight

    def sampling(self, y, weight, class_prior):
        """Return the corrections of the scores for sampling by class and for other proportions.

        Rows whose class proportions differ from those of the tasks were probably sampled by class;
        the less these proportions vary over tasks, the higher is that probability.

        Returns
        -------
        sampled : ndarray of shape (n_scores,)
            Terms that sampling by class adds to the scores of the rows.
        shift : ndarray of shape (n_scores,) or None
            Terms that a `class_prior` unlike the proportions in other tasks adds to the shared
            intercepts.
        """
        n_scores, shift = self.shared_models.shape[1], None
        if class_prior is None and self.prevalence is None:
            return np.zeros(n_scores), None
        counts = np.bincount(y.astype(np.int64), weight, minlength=max(n_scores, 2))[None]
        if class_prior is not None:
            offset = sampling_offset(counts, class_prior)[0]
            usual = class_prior if self.prevalence is None else self.prevalence.mean
            shift = np.log(class_prior) - np.log(usual)
        else:
            offset = sampling_offset(counts, self.prevalence.mean)[0]
            offset = offset * self.prevalence.by_class(counts)[0]
        if n_scores == 1:
            return np.diff(offset), None if shift is None else np.diff(shift)
        return offset, shift


class _Newton:
    """Newton's method for many candidates at once, with steps halved until the objective falls.

    With more than two classes, the score sets are updated in turn.

    Parameters
    ----------
    basis : ndarray of shape (n_candidates, n_samples, rank)
    offset : ndarray of shape (n_candidates, n_scores, n_samples)
    target : ndarray of shape (n_scores, n_samples)
    weight : ndarray of shape (n_samples,)
    loss : Loss
    """

    def __init__(self, basis, offset, target, weight, loss):
        self.basis, self.offset, self.target, self.weight = basis, offset, target, weight
        self.loss = loss.smoothed(ROUGH_WIDTHS[-1])
        self.coords = np.zeros((*offset.shape[:2], basis.shape[2]))

    def start_at_squares(self):
        """Start from the solution for squared errors, where that is better than no own part.

        A majorant of a loss of residuals moves slowly from far away.
        """
        weighted = self.basis * self.weight[:, None]
        gram = np.swapaxes(self.basis, 1, 2) @ weighted + np.eye(self.basis.shape[2])
        right = np.swapaxes(weighted, 1, 2) @ (self.target - self.offset)[:, 0, :, None]
        start = np.swapaxes(np.linalg.solve(gram, right), 1, 2)
        better = self.objective(start) < self.objective(self.coords)
        self.coords = np.where(better[:, None, None], start, self.coords)

    def solve(self):
        """Return the coordinates ``(n_candidates, n_scores, rank)`` of task-specific parts."""
        n_scores = len(self.target)
        value = self.objective(self.coords)
        for _ in range(_MOST_STEPS if n_scores == 1 else _MOST_ROUNDS):
            before = value
            for k in range(n_scores):
                gradient, curvature, *_ = self.quadratic(k)
                step = np.zeros_like(self.coords)
                step[:, k] = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
                value = self.descend(value, step)
            if (before - value <= _LEAST_GAIN * (1.0 + np.abs(value))).all():
                break
        return self.coords

    def left_out(self):
        """Return the leave-one-out scores of the rows, by one Newton step from the solution."""
        out = self.scores(self.coords)
        for k in range(len(self.target)):
            _, curvature, slope, bend = self.quadratic(k)
            squares = np.einsum("cir,crs,cis->ci", self.basis, np.linalg.inv(curvature), self.basis)
            left = np.maximum(1.0 - self.weight * bend * squares, 1e-12)
            out[:, k] += self.weight * slope * squares / left
        return out

    def scores(self, coords):
        """Return the scores ``(n_candidates, n_scores, n_samples)`` of the rows."""
        return self.offset + coords @ np.swapaxes(self.basis, 1, 2)

    def objective(self, coords):
        """Return the objective of each candidate."""
        loss = self.loss.value(self.scores(coords), self.target, axis=1)
        return loss @ self.weight + 0.5 * (coords**2).sum((1, 2))

    def quadratic(self, k):
        """Return what a Newton step of score set k needs.

        Returns
        -------
        gradient : ndarray of shape (n_candidates, rank)
            The negative gradient of the objective.
        curvature : ndarray of shape (n_candidates, rank, rank)
        slope, bend : ndarray of shape (n_candidates, n_samples)
            Slopes and curvatures of the rows' losses.
        """
        scores = self.scores(self.coords)
        slope = self.loss.gradient(scores, self.target, axis=1)[:, k]
        bend = self.loss.bend(scores, self.target, axis=1)[:, k]
        across = np.swapaxes(self.basis, 1, 2)
        gradient = -(across @ (self.weight * slope)[:, :, None])[:, :, 0]
        curvature = across @ (self.basis * (self.weight * bend)[:, :, None])
        gradient, curvature = gradient - self.coords[:, k], curvature + np.eye(across.shape[1])
        return gradient, curvature, slope, bend

    def descend(self, value, step):
        """Take the step of each candidate, halved until the objective falls."""
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
