"""Predictions of linear models and learners together, for known, unseen and new tasks."""

from dataclasses import dataclass, field, replace

import numpy as np

from ...guard.stacking import StackedWeights
from ...tasks.stack import rowwise
from .design import Rows

__all__ = ["LearnedFit", "LearnedModel", "TaskBlend"]


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
    position: np.ndarray | None = None

    def linear_share(self, weights):
        """Return the weight ``(n,)`` of the linear models, in members on residuals too."""
        direct = [0.0 if member.on_residuals else 1.0 for member in self.members]
        return 1.0 - weights[:, 1:] @ direct

    def predict(self, rows):
        """Return predictions ``(n_rows,)``."""
        if self.position is not None:
            rows = replace(rows, codes=self.position[rows.codes])
        linear, codes = self.linear, rows.codes
        weights, location, scale = (
            part[codes] for part in (self.weights, self.location, self.scale)
        )
        coef = np.vstack([linear.coef, linear.shared_coef])
        intercept = np.append(linear.intercept, linear.shared_intercept)
        base = rowwise(rows.X, coef, codes) + intercept[codes]
        out = self.linear_share(weights) * base
        for m, member in enumerate(self.members):
            used = np.flatnonzero(weights[:, 1 + m] > 0)
            if len(used):
                part = scale[used] * member.model.predict(rows.take(used))
                part += 0.0 if member.on_residuals else location[used]
                out[used] += weights[used, 1 + m] * part
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
            self.location[code], self.scale[code], code,
        )  # fmt: skip

    def adapt(self, rows, y, weight):
        """Return the `TaskBlend` of a new task, and its residual standard deviation.

        Parameters
        ----------
        rows : Rows
            Rows of the new task; their codes are -1.
        y, weight : ndarray of shape (n_rows,)
        """
        weights = self.by_size.at(weight.sum()).copy()
        share = float(self.linear_share(weights[None])[0])
        location, scale = self.location[-1], self.scale[-1]
        target, values, offsets = (y - location) / scale, [], np.zeros(len(self.members))
        left_over = y.copy()  # what remains for the linear model
        for m, member in enumerate(self.members):
            values.append(None)
            if weights[1 + m] > 0.0:
                values[m] = member.model.values(rows, target, weight)
                if member.on_residuals:
                    part = member.model.predict(rows, values[m])
                    left_over -= weights[1 + m] / share * scale * part
        coef, intercept, std = self.linear.adapter.adapt(rows.X, left_over, weight)
        for m, member in enumerate(self.members):
            if weights[1 + m] > 0.0 and not member.on_residuals:
                residual = target - member.model.predict(rows, values[m])
                total = weight.sum()
                if values[m] is None:
                    mine = total + self.offset_rows[m]
                    offsets[m] = weight @ residual / mine
                    # Errors of the rows with offsets from the others.
                    residual = residual - (weight @ residual - weight * residual) / (mine - weight)
                # Its weight comes from tasks that it was fitted on, and this is another.
                if std is not None and weight @ residual**2 > total * (std / scale) ** 2:
                    weights[1 + m] = 0.0
        direct = [0.0 if member.on_residuals else 1.0 for member in self.members]
        kept = 1.0 - weights[1:] @ direct
        factor = kept / share if share > 0 else 1.0
        weights[1:] *= np.where(direct, 1.0, factor)
        blend = TaskBlend(
            coef, intercept, self.members, weights, kept, location, scale, -1, values, offsets
        )
        return blend, std


@dataclass
class TaskBlend:
    """Predictions of one task.

    Attributes
    ----------
    coef : ndarray of shape (n_features,)
    intercept : float
    members : list of FittedMember
    weights : ndarray of shape (1 + n_members,)
    linear_share : float
    location, scale : float
    code : int
        Code of the task for the learners; -1 for a new task.
    values : list, default=()
        What stands for a new task, by member (`FoldModel.values`).
    offsets : ndarray of shape (n_members,)
        Added to the predictions of the members, for a new task.
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

    def predict(self, X, view):
        """Return predictions ``(n_rows,)``."""
        rows = Rows(X, view, np.full(X.shape[0], self.code))
        out = self.linear_share * (X @ self.coef + self.intercept)
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
