"""One learner for tasks with different losses, without linear models beside it."""

from dataclasses import dataclass, replace

import numpy as np

from ...guard.residuals import ResidualScale
from ...losses import LOG_LOSS, SQUARED_ERROR
from ...tasks.copies import Settled, relative_weights, settle_support
from ..base import SharingFit
from .blend import RowErrors
from .design import Rows
from .model import LearnedFit

__all__ = ["MeansModel", "MeansOfTask", "fit_by_loss"]

# Bounds of the probabilities in the errors of held-out rows.
_LEAST_PROBABILITY = 1e-6


def fit_by_loss(problem, member, member_report):
    """Return the `SharingFit` of a learner whose predictions are means.

    Parameters
    ----------
    problem : RowProblem
        With the loss of every task.
    member : LearnedMember
        The learner, judged and finished.
    member_report : dict of arrays
    """
    seen = np.flatnonzero(np.isfinite(member.held_out[:, 0]))
    found = _HeldOutMeans.of(problem, seen, member.held_out[seen, 0])
    residual_scale = found.residual_scale()
    n_tasks, n_features = problem.n_tasks, problem.rows.X.shape[1]
    model = MeansModel(
        [member.fitted()], problem.location, problem.scale, problem.has_log_loss,
        replace(residual_scale, std=None), problem.copies,
    )  # fmt: skip
    noise = None
    if problem.learns_noise:
        noise = _noise_of(member.model, problem)
    return SharingFit(
        coef=np.zeros((n_tasks, n_features)),
        intercept=np.zeros(n_tasks),
        shared_coef=np.zeros(n_features),
        shared_intercept=0.0,
        strengths={},
        history={},
        report=found.report(residual_scale),
        kkt_residual=np.nan,
        n_iter=max(estimator.layers.n_iter for _, estimator in member.model.parts),
        adapter=_SupportRows(
            problem.copies, np.ones(n_features + 1), True if problem.scale_by_task else None
        ),
        residual_scale=residual_scale,
        squares=_feature_squares(problem),
        learned=LearnedFit(model, member_report),
        noise=noise,
        loss=problem.task_losses.single or problem.task_losses.with_new(problem.loss),
    )


def _noise_of(model, problem):
    """Return the geometric mean of the noise variances of the splits, in the caller's units."""
    total, times = np.zeros((2, problem.n_tasks))
    for _, estimator in model.parts:
        codes = estimator.codes.astype(np.int64)
        total[codes] += np.log(estimator.noise)
        times[codes] += 1.0
    with np.errstate(invalid="ignore"):  # NaN for a task that is in no training rows
        return np.exp(total / times) * problem.scale[:-1] ** 2


def _feature_squares(problem):
    """Return the squares ``(n_tasks, n_features)`` of the features about the tasks' means."""
    X, codes, n_tasks = problem.rows.X, problem.rows.codes, problem.n_tasks
    squares = np.empty((n_tasks, X.shape[1]))
    for j, column in enumerate(X.T):
        mean = np.bincount(codes, problem.weight * column, n_tasks) / problem.task_rows
        squares[:, j] = np.bincount(codes, problem.weight * (column - mean[codes]) ** 2, n_tasks)
    return squares


@dataclass
class _HeldOutMeans:
    """Predictions of held-out rows, in the caller's units.

    Attributes
    ----------
    mean, y, weight, codes : ndarray of shape (n_rows,)
    has_log_loss : bool ndarray of shape (n_tasks + 1,)
    """

    mean: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    codes: np.ndarray
    has_log_loss: np.ndarray

    @classmethod
    def of(cls, problem, rows, means):
        """Return the predictions `means` of some rows, which are in the units of the learner."""
        codes = problem.rows.codes[rows]
        means = problem.location[codes] + problem.scale[codes] * means
        return cls(means, problem.y[rows], problem.weight[rows], codes, problem.has_log_loss)

    def _sums(self, values):
        return np.bincount(self.codes, values, minlength=len(self.has_log_loss) - 1)

    def losses(self):
        """Return squared errors, and log-losses of the tasks that have them."""
        p = np.clip(self.mean, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
        log_losses = -np.where(self.y > 0.5, np.log(p), np.log1p(-p))
        return np.where(self.has_log_loss[self.codes], log_losses, (self.y - self.mean) ** 2)

    def residual_scale(self):
        """Return the `ResidualScale`; deviations are NaN for the log-loss and for unseen tasks."""
        squared = ~self.has_log_loss[:-1]
        errors = self.mean - self.y
        sse, rows = self._sums(self.weight * errors**2), self._sums(self.weight)
        std = np.full(len(squared), np.nan)
        if not squared.any():
            return ResidualScale(np.inf, np.nan, std, np.nan, np.zeros(0), 0.0)
        of_squared = squared[self.codes]
        position = np.cumsum(squared) - 1
        probe = RowErrors(
            errors[of_squared], position[self.codes[of_squared]], self.weight[of_squared]
        )
        scale = ResidualScale.learn(sse[squared], rows[squared], np.nan, probe)
        std[squared] = scale.std
        return replace(scale, std=std, unseen_std=np.nan)

    def report(self, residual_scale):
        """Return the errors of the tasks, each in its own loss; there are no other models."""
        losses, rows = self.losses(), self._sums(self.weight)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self._sums(self.weight * losses) / rows
            spread = self._sums(self.weight * (losses - mean[self.codes]) ** 2)
            std_error = np.sqrt(spread / rows / np.maximum(rows - 1.0, 0.0))
        unknown = np.full(len(rows) + 1, np.nan)
        report = {}
        for name in ("independent", "pooled"):
            report |= {f"error_{name}": unknown.copy(), f"std_error_{name}": unknown.copy()}
        report["error_shared"] = np.append(mean, np.nan)
        report["std_error_shared"] = np.append(std_error, np.nan)
        report["used"] = np.full(len(unknown), "shared", dtype=object)
        report["residual_std"] = np.append(residual_scale.std, residual_scale.unseen_std)
        return report


@dataclass
class _SupportRows:
    """What an estimator asks about the rows of a new task (as of an `Adapter`).

    Attributes
    ----------
    copies : Settled
    scale : ndarray of shape (n_features + 1,)
    units : object
        None if targets have one scale for all tasks.
    """

    copies: Settled
    scale: np.ndarray
    units: object = None

    def support(self, X, y, weight):
        """Return the rows of a new task, with weights in the unit of the fit."""
        return settle_support(X, y, weight, self.copies)


@dataclass
class MeansModel:
    """Predictions of a learner, which are means, for known, unseen and new tasks.

    Attributes
    ----------
    members : list of one FittedMember
    location, scale : ndarray of shape (n_tasks + 1,)
        Units of the learner's target; the last are those of an unseen task.
    has_log_loss : bool ndarray of shape (n_tasks + 1,)
        Whether a task has the log-loss; an unseen one last.
    residual_scale : ResidualScale
        Prior of the residuals of new tasks.
    copies : Settled
    position : ndarray of shape (n_all_tasks + 1,) or None
        As in `LearnedModel`.
    """

    members: list
    location: np.ndarray
    scale: np.ndarray
    has_log_loss: np.ndarray
    residual_scale: ResidualScale
    copies: Settled
    position: np.ndarray | None = None
    inputs = None

    def predict(self, rows):
        """Return means ``(n_rows, 1)``."""
        if self.position is not None:
            rows = replace(rows, codes=self.position[rows.codes])
        means = self.members[0].model.predict(rows)
        return self.location[rows.codes, None] + self.scale[rows.codes, None] * means

    def for_task(self, code):
        """Return the `MeansOfTask` of a known task."""
        if self.position is not None:
            code = self.position[code]
        return MeansOfTask(
            self.members[0], self.location[code], self.scale[code], code,
            has_log_loss=bool(self.has_log_loss[code]),
        )  # fmt: skip

    def adapt(self, rows, y, weight, loss=None):
        """Return the `MeansOfTask` of a new task, and the deviation of its labels.

        Parameters
        ----------
        rows : Rows
            Rows of the new task; their codes are -1.
        y, weight : ndarray of shape (n_rows,)
        loss : {"squared_error", "log_loss"}, optional
            By default that of an unseen task.

        Raises
        ------
        ValueError
            For a loss that no task of the fit has, and for targets of the log-loss other than 0
            and 1.
        """
        location, scale = self._units_of(loss, y)
        target, weight = (y - location) / scale, relative_weights(weight, self.copies)
        name = self._loss_name(loss)
        values = self.members[0].model.values(rows, target, weight, loss=name)
        has_log_loss = name == LOG_LOSS.name
        blend = MeansOfTask(self.members[0], location, scale, -1, values, has_log_loss)
        if has_log_loss:
            return blend, np.nan
        left_out = [
            value.left_out_errors(design.transform(rows), target, weight)
            for value, (design, _) in zip(values, self.members[0].model.parts, strict=True)
        ]
        sse = scale**2 * (weight @ np.mean(left_out, axis=0) ** 2)
        return blend, float(self.residual_scale.std_of(sse, weight.sum()))

    def _loss_name(self, loss):
        default = LOG_LOSS if self.has_log_loss[-1] else SQUARED_ERROR
        return default.name if loss is None else loss

    def _units_of(self, loss, y):
        """Return the location and the scale of a new task with a loss."""
        name, has_log_loss = self._loss_name(loss), self.has_log_loss
        known = {LOG_LOSS.name: has_log_loss[:-1], SQUARED_ERROR.name: ~has_log_loss[:-1]}
        if not known.get(name, np.zeros(1)).any():
            names = sorted(name for name, tasks in known.items() if tasks.any())
            raise ValueError(
                f"loss={loss!r} of the new task, but the tasks of the fit have "
                f"{' and '.join(map(repr, names))}; give one of these."
            )
        if name == LOG_LOSS.name:
            wrong = (y != 0.0) & (y != 1.0)
            if wrong.any():
                raise ValueError(
                    f"the new task has loss='log_loss', but y has the value "
                    f"{float(y[int(np.argmax(wrong))])!r}; encode it as 0 and 1, or give "
                    "loss='squared_error'."
                )
            return 0.0, 1.0
        own = int(np.argmax(~has_log_loss))  # all tasks of squared error have the same units
        return self.location[own], self.scale[own]


@dataclass
class MeansOfTask:
    """Means of one task.

    Attributes
    ----------
    member : FittedMember
    location, scale : float
    code : int
        Code of the task for the learner; -1 for a new task.
    values : list or None
        What stands for a new task (`FoldModel.values`).
    has_log_loss : bool
    """

    member: object
    location: float
    scale: float
    code: int
    values: list | None = None
    has_log_loss: bool = False

    def predict(self, X, view):
        """Return means ``(n_rows, 1)``."""
        rows = Rows(X, view, np.full(X.shape[0], self.code))
        return self.location + self.scale * self.member.model.predict(rows, self.values)
