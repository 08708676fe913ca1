"""Predictions of linear models and learners together, for known, unseen and new tasks."""

from dataclasses import dataclass, field, replace

import numpy as np

from ...guard.stacking import StackedWeights
from ...losses import SQUARED_ERROR
from ...tasks.stack import linear_scores
from .design import Rows, encoded

__all__ = ["LearnedFit", "LearnedInputs", "LearnedModel", "TaskBlend"]


@dataclass
class LearnedInputs:
    """Scores of a learner as features of the linear models.

    Attributes
    ----------
    member : FittedMember
    keeps_features : bool
        Whether the scores are added to the features, or take their place.
    """

    member: object
    keeps_features: bool

    def columns(self, rows, values=None):
        """Return the columns ``(n_rows, n_columns)`` that the linear models see."""
        scores = self.member.model.predict(rows, values)
        return np.hstack([rows.X, scores]) if self.keeps_features else scores


@dataclass
class LearnedModel:
    """Blend of linear models and learners, with weights per task.

    Attributes
    ----------
    linear : SharingFit
        Without the predictions of rows.
    members : list of FittedMember
        Learners that got weight, with their models only.
    weights : ndarray of shape (n_tasks + 1, 1 + n_members)
        Weights of the linear models and of the members; the last row is for an unseen task.
    by_size : StackedWeights
        Weights for new tasks.
    location, scale : ndarray of shape (n_tasks + 1,)
        Units of the learners' target.
    offset_rows : ndarray of shape (n_members,)
        Rows with which the mean residual of a new task is shrunk, for members on the target.
    loss : Loss
    inputs : LearnedInputs or None
        None if the linear models see the features.
    position : ndarray of shape (n_all_tasks + 1,) or None
        Position of every task among those with rows, -1 for the others and for an unseen task.
    """

    linear: object
    members: list
    weights: np.ndarray
    by_size: StackedWeights
    location: np.ndarray
    scale: np.ndarray
    offset_rows: np.ndarray
    loss: object = SQUARED_ERROR
    inputs: LearnedInputs | None = None
    position: np.ndarray | None = None

    def linear_share(self, weights):
        """Return the weight ``(n,)`` of the linear models, in members on residuals too."""
        direct = [0.0 if member.on_residuals else 1.0 for member in self.members]
        return 1.0 - weights[:, 1:] @ direct

    def predict(self, rows):
        """Return scores ``(n_rows, n_scores)``."""
        if self.position is not None:
            rows = replace(rows, codes=self.position[rows.codes])
        linear, codes = self.linear, rows.codes
        weights = self.weights[codes]
        location, scale = self.location[codes, None], self.scale[codes, None]
        coef = np.concatenate([linear.coef, linear.shared_coef[None]])
        intercept = np.concatenate([linear.intercept, np.asarray(linear.shared_intercept)[None]])
        X = rows.X if self.inputs is None else self.inputs.columns(rows)
        out = linear_scores(X, coef, intercept, codes)
        out *= self.linear_share(weights)[:, None]
        for m, member in enumerate(self.members):
            used = np.flatnonzero(weights[:, 1 + m] > 0)
            if len(used):
                part = scale[used] * member.model.predict(rows.take(used))
                part += 0.0 if member.on_residuals else location[used]
                out[used] += weights[used, 1 + m, None] * part
        return out

    def for_task(self, code):
        """Return the `TaskBlend` of a known task."""
        linear = self.linear
        if self.position is not None:
            code = self.position[code]
        coef, intercept = linear.shared_coef, linear.shared_intercept
        if code >= 0:
            coef, intercept = linear.coef[code], linear.intercept[code]
        return TaskBlend(
            coef, intercept, self.members, self.weights[code],
            float(self.linear_share(self.weights[[code]])[0]),
            self.location[code], self.scale[code], code, inputs=self.inputs,
        )  # fmt: skip

    def adapt(self, rows, y, weight, offset=None, **options):
        """Return the `TaskBlend` of a new task, and the leave-one-out error of the linear model.

        Parameters
        ----------
        rows : Rows
            Rows of the new task; their codes are -1.
        y, weight : ndarray of shape (n_rows,)
        offset : ndarray of shape (n_rows, n_scores), optional
            What is added to the scores of linear models; all members must be on residuals.
        **options : dict
            Passed on to the adapter of the linear models.
        """
        new = _NewTask(self, rows, y, weight, options)
        weights = self.by_size.at(new.weight.sum()).copy()
        share = float(self.linear_share(weights[None])[0])
        values = []
        left_over = np.zeros((len(y), new.encoded.shape[1])) if offset is None else offset.copy()
        for m, member in enumerate(self.members):
            values.append(None)
            if weights[1 + m] > 0.0:
                values[m] = member.model.values(rows, new.target, new.representative)
                if member.on_residuals:
                    part = new.scale * member.model.predict(rows, values[m])
                    left_over += weights[1 + m] / share * part
        X, input_values = rows.X, None
        if self.inputs is not None:
            input_values = self.inputs.member.model.values(rows, new.target, new.representative)
            X = self.inputs.columns(rows, input_values)
        coef, intercept, error = self.linear.adapter.adapt(
            X, y, weight, offset=left_over, **options
        )
        offsets = np.zeros((len(self.members), left_over.shape[1]))
        for m, member in enumerate(self.members):
            if weights[1 + m] > 0.0 and not member.on_residuals:
                scores = member.model.predict(rows, values[m])
                shifts = values[m] is None
                offsets[m], mine = new.offset(scores, self.offset_rows[m], shifts)
                # Its weight comes from tasks that it was fitted on, and this is another.
                if error is not None and mine > new.in_units(error):
                    weights[1 + m] = 0.0
        direct = [0.0 if member.on_residuals else 1.0 for member in self.members]
        kept = 1.0 - weights[1:] @ direct
        factor = kept / share if share > 0 else 1.0
        weights[1:] *= np.where(direct, 1.0, factor)
        blend = TaskBlend(
            coef, intercept, self.members, weights, kept, new.location, new.scale, -1, values,
            offsets, self.inputs, input_values,
        )  # fmt: skip
        return blend, error


class _NewTask:
    """Rows of a new task, as learners see them.

    Attributes
    ----------
    target : ndarray of shape (n_rows,)
        Standardised target, or codes of classes.
    encoded : ndarray of shape (n_rows, n_scores)
        The target as the loss sees it.
    weight, representative : ndarray of shape (n_rows,)
        Weights of the rows, and those under which they represent the task (`LogisticAdapter`).
    sampled : ndarray of shape (n_scores,)
        What sampling by class adds to the scores of the rows.
    shift : ndarray of shape (n_scores,)
        What given proportions of the classes add to the scores of the task.
    """

    def __init__(self, model, rows, y, weight, options):
        adapter, self.loss = model.linear.adapter, model.loss
        self.location, self.scale = model.location[-1], model.scale[-1]
        self.weight = adapter.relative(weight)
        self.target = (y - self.location) / self.scale
        self.representative = adapter.representative(y, self.weight, **options)
        self.sampled, shift = adapter.sampling(y.astype(np.int64), self.weight, **options)
        self.shift = np.zeros(len(self.sampled)) if shift is None else shift
        self.encoded = encoded(self.target, len(self.sampled))

    def offset(self, scores, prior_rows, shifts):
        """Return what is added to the scores of a member, and its leave-one-out loss per row.

        Parameters
        ----------
        scores : ndarray of shape (n_rows, n_scores)
        prior_rows : float
            Curvature of the loss by which the offset is shrunk.
        shifts : bool
            Whether there is an offset; otherwise the member has seen the new task's mean target.
        """
        weight, start = self.weight[:, None], self.shift + self.sampled
        offset, without = self.shift, scores + start
        if shifts:
            # A Newton step from the shared level, of all rows and of all but one.
            means = self.loss.means(scores + start)
            slope = weight * (self.encoded - means)
            curvature = weight * self.loss.curvature(means)
            total, all_curvature = slope.sum(axis=0), curvature.sum(axis=0) + prior_rows
            offset = offset + total / all_curvature
            without = without + (total - slope) / (all_curvature - curvature)
        loss = self.loss.value(without, self.encoded)
        return offset, self.weight @ loss / self.weight.sum()

    def in_units(self, error):
        """Return the leave-one-out loss of the linear model in the units of the learners.

        `error` is what the adapter returns: a standard deviation, or a loss.
        """
        return 0.5 * (error / self.scale) ** 2 if self.loss is SQUARED_ERROR else error


@dataclass
class TaskBlend:
    """Scores of one task.

    Attributes
    ----------
    coef : ndarray of shape ([n_scores,] n_features)
    intercept : float or ndarray of shape (n_scores,)
    members : list of FittedMember
    weights : ndarray of shape (1 + n_members,)
    linear_share : float
    location, scale : float
    code : int
        Code of the task for the learners; -1 for a new task.
    values : list, default=()
        What stands for a new task, by member (`FoldModel.values`).
    offsets : ndarray of shape (n_members, n_scores)
        Added to the scores of the members, for a new task.
    inputs : LearnedInputs or None
    input_values : list or None
        What stands for a new task in the inputs (`FoldModel.values`).
    """

    coef: np.ndarray
    intercept: float
    members: list
    weights: np.ndarray
    linear_share: float
    location: float
    scale: float
    code: int
    values: list = field(default_factory=list)
    offsets: np.ndarray | None = None
    inputs: LearnedInputs | None = None
    input_values: list | None = None

    def predict(self, X, view):
        """Return scores ``(n_rows, n_scores)``."""
        rows = Rows(X, view, np.full(X.shape[0], self.code))
        if self.inputs is not None:
            X = self.inputs.columns(rows, self.input_values)
        out = X @ np.atleast_2d(self.coef).T + self.intercept
        out = self.linear_share * out
        for m, member in enumerate(self.members):
            if self.weights[1 + m] == 0.0:
                continue
            part = member.model.predict(rows, self.values[m] if self.values else None)
            if self.offsets is not None:
                part = part + self.offsets[m]
            part = self.scale * part + (0.0 if member.on_residuals else self.location)
            out += self.weights[1 + m] * part
        return out


@dataclass
class LearnedFit:
    """Learners beside the linear models of a fit.

    Attributes
    ----------
    model : LearnedModel or None
        None if all weight is on the linear models.
    member_report : dict of arrays
    view : LearnerView or None
    """

    model: LearnedModel | None
    member_report: dict
    view: object = None

    def with_empty_tasks(self, seen):
        """Return the fit with tasks without rows inserted, which are treated as unseen ones."""
        if self.model is None:
            return self
        position = np.full(len(seen) + 1, -1)
        position[:-1][seen] = np.arange(seen.sum())
        return replace(self, model=replace(self.model, position=position))
