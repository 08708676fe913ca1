"""Fits of tasks with different losses, joined to one."""

from dataclasses import dataclass, replace

import numpy as np

from ..losses import SQUARED_ERROR
from .base import SharingFit

__all__ = ["JoinedAdapter", "join"]


@dataclass
class JoinedAdapter:
    """Adaptation to new tasks of several losses.

    Attributes
    ----------
    losses : tuple of Loss
    adapters : list of Adapter
        One per loss.
    new : int
        Position of the loss of a task never seen.
    """

    losses: tuple
    adapters: list
    new: int

    def of(self, loss=None):
        """Return the loss and the adapter of a new task.

        Parameters
        ----------
        loss : str or Loss, optional
            By default that of a task never seen.

        Raises
        ------
        ValueError
            For a loss that no task of the fit has, and for the name of several of them.
        """
        if loss is None:
            return self.losses[self.new], self.adapters[self.new]
        found = [k for k, one in enumerate(self.losses) if loss in (one, one.name)]
        if len(found) != 1:
            known = sorted(one.name for one in self.losses)
            if found:
                known = [self.losses[k] for k in found]
            raise ValueError(
                f"loss={loss!r} of the new task, but the tasks of the fit have "
                f"{' and '.join(map(repr, known))}; give one of these."
            )
        return self.losses[found[0]], self.adapters[found[0]]

    @property
    def units(self):
        """Units of the tasks' targets, where these are squared errors; None for the table's."""
        return self.of(SQUARED_ERROR)[1].units if SQUARED_ERROR in self.losses else None


def join(fits, losses, default):
    """Return the `SharingFit` of all tasks.

    Parameters
    ----------
    fits : list of SharingFit
        One per loss, of the tasks that have it.
    losses : TaskLosses
    default : Loss
        Loss of a task never seen, if any task has it.
    """
    places = [np.flatnonzero(losses.positions == k) for k in range(len(fits))]
    names = _names_of([fit.loss for fit in fits])
    new = losses.losses.index(losses.of_new(default))
    order = np.argsort(np.concatenate(places))

    def gather(values):
        return np.concatenate(values)[order]

    fitted = replace(losses, losses=tuple(fit.loss for fit in fits))
    residual_scale = noise = None
    if SQUARED_ERROR in losses.losses:
        k = losses.losses.index(SQUARED_ERROR)
        position = np.full(len(order), -1)
        position[places[k]] = np.arange(len(places[k]))
        residual_scale, noise = _of_squares(fits[k], position, k == new)
    return SharingFit(
        coef=gather([fit.coef for fit in fits]),
        intercept=gather([fit.intercept for fit in fits]),
        shared_coef=fits[new].shared_coef,
        shared_intercept=fits[new].shared_intercept,
        strengths=_by_loss(names, [fit.strengths for fit in fits]),
        history=_stacked(names, [fit.history for fit in fits]),
        report=_reports([fit.report for fit in fits], order, new),
        kkt_residual=max(fit.kkt_residual for fit in fits),
        n_iter=max(fit.n_iter for fit in fits),
        adapter=JoinedAdapter(fitted.losses, [fit.adapter for fit in fits], new),
        residual_scale=residual_scale,
        squares=gather([fit.squares for fit in fits]),
        noise=noise,
        loss=replace(fitted, positions=np.append(losses.positions, new)),
        by_loss={name: (fit.loss, fit) for name, fit in zip(names, fits, strict=True)},
    )


def _names_of(losses):
    """Return names of losses, or their representations if several have one name."""
    names = [loss.name for loss in losses]
    return [repr(one) if names.count(one.name) > 1 else one.name for one in losses]


def _of_squares(fit, position, is_new):
    """Return the `ResidualScale` and the noise of all tasks from the fit of squared errors.

    Parameters
    ----------
    fit : SharingFit
    position : ndarray of shape (n_tasks,)
        Positions of all tasks in the fit; -1 for tasks of other losses, which have neither.
    is_new : bool
        Whether a task never seen has squared errors.
    """
    scale, noise = fit.residual_scale, fit.noise
    if scale is not None:
        scale = scale.take(position)
        std = np.where(position < 0, np.nan, scale.std)
        scale = replace(scale, std=std, unseen_std=scale.unseen_std if is_new else np.nan)
    if noise is not None:
        noise = np.append(noise, np.nan)[position]
    return scale, noise


def _by_loss(names, strengths):
    """Return for every strength a dict from losses to values."""
    return {
        key: {name: one[key] for name, one in zip(names, strengths, strict=True)}
        for key in strengths[0]
    }


def _stacked(names, histories):
    """Return the columns of all histories below each other, with a column of the loss."""
    sizes = [len(next(iter(one.values()))) for one in histories]
    columns = {"loss": np.repeat(np.array(names, dtype=object), sizes)}
    for key in dict.fromkeys(key for one in histories for key in one):
        parts = [
            one[key] if key in one else _missing(size, key, histories)
            for one, size in zip(histories, sizes, strict=True)
        ]
        columns[key] = np.concatenate(parts)
    return columns


def _missing(size, key, histories):
    """Return a column that a history does not have, of the kind that it has in the others."""
    kind = next(one[key].dtype.kind for one in histories if key in one)
    return np.full(size, np.nan) if kind in "iuf" else np.full(size, None, dtype=object)


def _reports(reports, order, new):
    """Return the report of all tasks; the last row, of a task never seen, is that of one loss."""
    columns = {}
    for key in dict.fromkeys(key for one in reports for key in one):
        parts = [
            one[key] if key in one else _missing(len(one["used"]), key, reports) for one in reports
        ]
        of_tasks = np.concatenate([part[:-1] for part in parts])[order]
        columns[key] = np.append(of_tasks, parts[new][-1:])
    return columns
