"""Losses by name, and the loss of every task."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..tasks.encode import by_task
from .base import Loss
from .counts import GAMMA, POISSON
from .log_loss import LOG_LOSS
from .robust import ABSOLUTE_ERROR, Huber, Quantile
from .squared import SQUARED_ERROR

__all__ = ["BY_NAME", "TaskLosses", "mean_and_std"]

# A further loss is one class of this package and its entry here.
BY_NAME: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        SQUARED_ERROR, LOG_LOSS, Huber(), ABSOLUTE_ERROR, Quantile(), POISSON, GAMMA,
    )
}  # fmt: skip


@dataclass(frozen=True)
class TaskLosses:
    """The loss of every task.

    Attributes
    ----------
    losses : tuple of Loss
        Distinct losses, in the order of their names.
    positions : ndarray of shape (n_tasks,)
        Position of each task's loss in `losses`.
    """

    losses: tuple[Loss, ...]
    positions: np.ndarray

    @classmethod
    def of(cls, loss, labels, default):
        """Resolve the parameter ``loss=`` of an estimator.

        Parameters
        ----------
        loss : str, Loss or mapping
            Loss of all tasks, or losses by task.
        labels : ndarray of shape (n_tasks,) or TaskLabels
            Labels of the tasks.
        default : Loss
            Loss of the tasks that are not in a mapping.

        Raises
        ------
        ValueError
            For a name that is no loss, and for a key that is not a task.
        """
        each = [default] * len(labels)
        if isinstance(loss, Mapping):
            found = {
                label: _loss_of(name, f"loss gives task {label!r}") for label, name in loss.items()
            }
            for position, one in by_task(found, labels, "loss").items():
                each[position] = one
        else:
            each = [_loss_of(loss, "loss is")] * len(labels)
        used = sorted(set(each), key=repr)
        used.sort(key=lambda one: one.name)
        return cls(tuple(used), np.array([used.index(one) for one in each], dtype=np.int64))

    def of_task(self, t):
        """Return the `Loss` of the task at a position."""
        return self.losses[self.positions[t]]

    def of_kind(self, loss):
        """Return the mask ``(n_tasks,)`` of the tasks with this `Loss`."""
        return np.array([one is loss for one in self.losses])[self.positions]

    def units(self, y, codes, weight):
        """Return locations and scales ``(n_tasks + 1,)`` of the targets, an unseen task's last.

        They are 0 and 1 for the log-loss, and otherwise those of all rows of the other tasks.

        Parameters
        ----------
        y, codes, weight : ndarray of shape (n_rows,)
        """
        classes = np.append(self.of_kind(LOG_LOSS), self.single is LOG_LOSS)
        rows = ~classes[codes]
        if not rows.any():
            return np.zeros(len(classes)), np.ones(len(classes))
        mean, std = mean_and_std(y[rows], weight[rows])
        return np.where(classes, [[0.0], [1.0]], [[mean], [std]])

    def take(self, tasks):
        """Return the losses of some of the tasks."""
        kept, positions = np.unique(self.positions[tasks], return_inverse=True)
        return TaskLosses(tuple(self.losses[k] for k in kept), positions)

    def of_new(self, default):
        """Return the `Loss` of a task never seen.

        It is the default if any task has it, otherwise that of most tasks (of two, the first by
        name).
        """
        if default in self.losses:
            return default
        return self.losses[int(np.argmax(np.bincount(self.positions)))]

    def with_new(self, default):
        """Return the losses with that of a task never seen after those of the tasks."""
        new = self.losses.index(self.of_new(default))
        return replace(self, positions=np.append(self.positions, new))

    def means(self, scores, codes):
        """Return the predictions of scores.

        Parameters
        ----------
        scores : ndarray
        codes : int ndarray
            Tasks of the scores, in a shape that broadcasts to theirs.
        """
        if self.single is not None:
            return self.single.means(scores[..., None])[..., 0]
        position = np.broadcast_to(self.positions[codes], scores.shape)
        out = np.empty(scores.shape)
        for k, loss in enumerate(self.losses):
            out[position == k] = loss.means(scores[position == k, None])[:, 0]
        return out

    @property
    def single(self):
        """The loss of all tasks; None if tasks have different ones."""
        return self.losses[0] if len(self.losses) == 1 else None

    def check_empty(self, has_rows, default, labels):
        """Raise a ValueError for tasks without rows whose loss is not that of a task never seen.

        Parameters
        ----------
        has_rows : bool ndarray of shape (n_tasks,)
        default : Loss
        labels : ndarray of shape (n_tasks,)
        """
        new = self.take(np.flatnonzero(has_rows)).of_new(default)
        wrong = ~has_rows & ~self.of_kind(new)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"loss gives task {labels.tolist()[at]!r} {self.of_task(at).name!r}, but it has no "
                f"rows of positive weight, and such tasks have {new.name!r} here; leave the task "
                "out of loss."
            )

    def check_targets(self, y, codes, labels):
        """Raise a ValueError for targets that the losses of their tasks do not have.

        Parameters
        ----------
        y, codes : ndarray of shape (n_rows,)
            Target and task of each row.
        labels : ndarray of shape (n_tasks,)
        """
        kind = self.positions[codes]
        for k, loss in enumerate(self.losses):
            try:
                loss.check_target(y[kind == k])
            except ValueError as error:
                if self.single is not None and loss is not LOG_LOSS:
                    raise
                task = labels.tolist()[_first_refused(loss, y, codes, kind == k)]
                raise ValueError(f"task {task!r}: {error}") from None

    def check(self, default, sharing, estimator):
        """Raise a ValueError unless a sharing structure can minimise these losses.

        Parameters
        ----------
        default : Loss
            The loss that every structure of the estimator minimises.
        sharing : object
            The structure; with a true attribute ``mixes_losses`` it takes the squared error and the
            log-loss, also mixed, with ``takes_scores`` any losses.
        estimator : str
            Name of the estimator.
        """
        if self.single is default:
            return
        names = " and ".join(repr(loss.name) for loss in self.losses)
        given = f"loss={names}" if self.single else f"loss mixes {names}"
        if default is LOG_LOSS:  # class labels have no squared error
            raise ValueError(
                f"{given}: {estimator} minimises 'log_loss'; leave out loss, or use "
                "MultiTaskRegressor, which takes a loss per task."
            )
        takes_both = getattr(sharing, "mixes_losses", False)
        of_two = all(loss in (LOG_LOSS, SQUARED_ERROR) for loss in self.losses)
        fits_rows = hasattr(sharing, "fit_rows")  # learners of squares beside linear models
        takes_any = getattr(sharing, "takes_scores", False) and not fits_rows
        if takes_any or (takes_both and of_two):
            return
        taken = f"{default.name!r}" + " and 'log_loss'" * takes_both
        raise ValueError(
            f"{given}: {estimator} with sharing={type(sharing).__name__} minimises {taken}; set "
            f"loss={default.name!r}, or sharing='partial_pooling', which takes any losses."
        )


def mean_and_std(y, weight):
    """Return the weighted mean and standard deviation of targets; 1 for constant ones."""
    share = weight / weight.sum()
    mean = share @ y
    std = np.sqrt(share @ (y - mean) ** 2)
    return mean, std if std > 1e-12 * abs(mean) else 1.0


def _first_refused(loss, y, codes, rows):
    """Return the first task with a target that its loss does not have."""
    for i in np.flatnonzero(rows):
        try:
            loss.check_target(y[i : i + 1])
        except ValueError:
            return codes[i]
    raise AssertionError("no target is refused")


def _loss_of(loss, what):
    """Return the `Loss` of a name, or of an object."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in BY_NAME:
        raise ValueError(
            f"{what} {loss!r}, which is not a loss; available are {sorted(BY_NAME)}, and the "
            "objects of skmtl.losses."
        )
    return BY_NAME[loss]
