"""Convex weights of the members of an ensemble, per size of task, from held-out predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

__all__ = [
    "RowLosses",
    "SquaredErrors",
    "StackedWeights",
    "simplex_weights",
    "unseen_blend",
]

# Width of the kernel, on the logarithm of the rows, by which tasks of similar sizes share evidence.
# Beyond so many widths it is zero: thousands of rows of large tasks, however small their weights,
# would outweigh those of the small ones.
_SIZE_WIDTH, _MOST_WIDTHS = 1.0, 2.0
# Standard errors by which a blend has to be better than the first member to be used at all; and,
# over rows, for a size with few tasks if no blend is used for other sizes.
_REQUIRED, _REQUIRED_OF_FEW = 1.0, 2.0
# Smallest gain that counts, as a share of the losses of the first member.
_LEAST_GAIN = 1e-3
# Standard errors by which it has to be worse on the rows of a task not to be used there.
_REQUIRED_OF_TASK = 2.0
# With fewer left-out tasks, standard errors for unseen tasks are those over rows, and so many.
_FEWEST_TASKS, _REQUIRED_OF_ROWS = 3, 2.0
# Prior rows at the table's noise level that each task's noise level is shrunk with.
_NOISE_ROWS = 4.0
# Steps in which weights and noise levels, or working responses, follow each other.
_STEPS = 5
# From this many tasks on, standard errors are those over tasks instead of rows.
_MANY_TASKS = 8
_MOST_HALVINGS = 10


class _MemberRows:
    """Held-out predictions of members: what the weights are learned from.

    Parameters
    ----------
    weight, codes : ndarray of shape (n_rows,)
        Weight and task of each row; rows are sorted by task.
    n_tasks : int
    size : ndarray of shape (n_tasks,), default=None
        Weights of the tasks' rows, including those that are not held out; by default `rows`.

    Attributes
    ----------
    rows : ndarray of shape (n_tasks,)
        Weights of the tasks' held-out rows.
    """

    n_members: int

    def __init__(self, weight, codes, n_tasks, size=None):
        self.weight, self.codes, self.n_tasks = weight, codes, n_tasks
        self.rows = self.task_sums(weight)
        self.size = self.rows if size is None else size

    def task_sums(self, values):
        """Return sums of the rows' values over tasks."""
        return np.bincount(self.codes, values, minlength=self.n_tasks)

    def losses(self, blend):
        """Return the losses ``(n_rows,)`` of a blend, without the weights of the rows.

        `blend` are the weights of the members, ``(n_members,)`` or by row ``(n_rows, n_members)``.
        """
        raise NotImplementedError

    def relative(self, kernel, blend):
        """Return the weights ``(n_tasks,)`` of tasks relative to their noise under a blend."""
        return kernel

    def step(self, blend, kernel):
        """Return a better blend for tasks of the weights `kernel`, of shape (n_tasks,)."""
        raise NotImplementedError

    def best(self, kernel):
        """Return the best blend for tasks of these weights, and their weights beside the noise."""
        blend = np.full(self.n_members, 1.0 / self.n_members)
        for _ in range(_STEPS):
            near = self.relative(kernel, blend)
            blend = self.step(blend, near)
        return blend, near

    def gains(self, blend):
        """Return by how much the weighted losses of rows are below those of the first member."""
        return self.weight * (self.losses(np.eye(self.n_members)[0]) - self.losses(blend))

    def can_gain(self, other):
        """Return whether another member could improve the blend of these members.

        It cannot if a step from the best blend towards its scores increases the losses by more than
        a standard error.

        Parameters
        ----------
        other : object of the same class
            The same rows of the other member alone.
        """
        blend, near = self.best((self.rows > 0).astype(np.float64))
        increase = near[self.codes] * self.weight * self.slopes(blend, other)
        return increase.sum() <= np.sqrt((increase**2).sum())

    def slopes(self, blend, other):
        """Return the derivatives of the losses ``(n_rows,)`` from a blend towards a member."""
        raise NotImplementedError

    def advantage(self, blend, near, over_rows=False):
        """Return by how many standard errors a blend is better than the first member.

        They are those over tasks, if there are many, unless `over_rows`. A thousandth of the losses
        is subtracted from the gain, as members that predict alike are not worth a choice.
        """
        first = self.weight * self.losses(np.eye(self.n_members)[0])
        gain = self.gains(blend) - _LEAST_GAIN * first
        if self.n_tasks >= _MANY_TASKS and not over_rows:
            gain = near * self.task_sums(gain)
        else:
            gain = near[self.codes] * gain
        spread = np.sqrt(max((gain**2).sum() - gain.sum() ** 2 / len(gain), 0.0))
        return gain.sum() / spread if spread > 0 else 0.0


class SquaredErrors(_MemberRows):
    """Held-out errors of members, of squared error.

    Parameters
    ----------
    errors : ndarray of shape (n_rows, n_members)
        The first member is the one to fall back to.
    weight, codes, n_tasks, size
        As in the base class.
    """

    def __init__(self, errors, weight, codes, n_tasks, size=None):
        super().__init__(weight, codes, n_tasks, size)
        self.errors, self.n_members = errors, errors.shape[1]
        products = errors[:, :, None] * errors[:, None] * weight[:, None, None]
        sums = [self.task_sums(column) for column in products.reshape(len(errors), -1).T]
        self.gram = np.column_stack(sums).reshape(n_tasks, self.n_members, self.n_members)
        least = np.diagonal(self.gram, axis1=1, axis2=2).min(axis=1)
        seen = self.rows > 0
        self._level = _NOISE_ROWS * np.median(least[seen] / self.rows[seen])

    def losses(self, blend):
        return (self.errors * blend).sum(axis=1) ** 2

    def slopes(self, blend, other):
        error = self.errors @ blend
        return 2.0 * error * (other.errors[:, 0] - error)

    def relative(self, kernel, blend):
        # The noise of a task is the error of the blend itself, so that a task that the blend does
        # not suit, as in Student's distribution, has little influence.
        noise = np.einsum("m,tmk,k->t", blend, self.gram, blend)
        return kernel * (self.rows + _NOISE_ROWS) / np.maximum(noise + self._level, 1e-300)

    def step(self, blend, kernel):
        return simplex_weights(np.tensordot(kernel, self.gram, axes=1))


class RowLosses(_MemberRows):
    """Held-out scores of members, of any smooth loss.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_members, n_scores)
        The first member is the one to fall back to.
    target : ndarray of shape (n_rows, n_scores)
    loss : Loss
    weight, codes, n_tasks, size
        As in the base class.
    """

    def __init__(self, scores, target, loss, weight, codes, n_tasks, size=None):
        super().__init__(weight, codes, n_tasks, size)
        self.scores, self.target, self.loss = scores, target, loss
        self.n_members = scores.shape[1]

    def _blended(self, blend):
        return (self.scores * blend[..., None]).sum(axis=1)

    def losses(self, blend):
        return self.loss.value(self._blended(blend), self.target)

    def slopes(self, blend, other):
        at = self._blended(blend)
        return ((self.loss.means(at) - self.target) * (other.scores[:, 0] - at)).sum(axis=1)

    def step(self, blend, kernel):
        """Minimise the quadratic approximation; the step is halved until the loss falls."""
        weight, scores = kernel[self.codes] * self.weight, self.scores
        at = self._blended(blend)
        means = self.loss.means(at)
        curved = self.loss.curve(means[:, None], scores) * weight[:, None, None]
        gram = np.einsum("imk,ijk->mj", curved, scores)
        slope = np.einsum("imk,ik,i->m", scores, means - self.target, weight)
        found, before = simplex_weights(gram, slope - gram @ blend), weight @ self.losses(blend)
        for _ in range(_MOST_HALVINGS):
            if weight @ self.losses(found) <= before:
                return found
            found = 0.5 * (found + blend)
        return blend


@dataclass
class StackedWeights:
    """Weights of the members for tasks of every size.

    Attributes
    ----------
    size : ndarray of shape (n_sizes,)
        Numbers of rows, sorted.
    weights : ndarray of shape (n_sizes, n_members)
    advantage : ndarray of shape (n_sizes,)
        By how many standard errors the best blend was better than the first member.
    """

    size: np.ndarray
    weights: np.ndarray
    advantage: np.ndarray

    @classmethod
    def learn(cls, held_out: Any) -> "StackedWeights":
        """Learn from `SquaredErrors` or `RowLosses`."""
        seen, n_members = held_out.rows > 0, held_out.n_members
        log_rows = np.log(np.where(seen, held_out.size, 1.0))
        size = np.unique(np.round(4.0 * log_rows[seen])) / 4.0
        weights, advantage = np.zeros((len(size), n_members)), np.zeros(len(size))
        relative, n_alike = [], np.zeros(len(size))
        for i, centre in enumerate(size):
            distance = np.abs(log_rows - centre) / _SIZE_WIDTH
            kernel = np.exp(-0.5 * distance**2) * (seen & (distance <= _MOST_WIDTHS))
            weights[i], near = held_out.best(kernel)
            advantage[i], n_alike[i] = held_out.advantage(weights[i], near), (kernel > 0).sum()
            relative.append(near)
        required, is_better = np.full(len(size), _REQUIRED), advantage > _REQUIRED
        for i in np.flatnonzero(n_alike < min(_MANY_TASKS, seen.sum())).tolist():
            # A few tasks of one size among several are likely to show some advantage by chance.
            if not np.delete(is_better, i).any():
                advantage[i] = held_out.advantage(weights[i], relative[i], over_rows=True)
                required[i] = _REQUIRED_OF_FEW
        for i, blend in enumerate(weights):
            weights[i] = _shrunk(blend, advantage[i], required[i])
        return cls(np.exp(size), weights, advantage)

    def of_tasks(self, rows, held_out):
        """Return the weights ``(n_tasks, n_members)`` of the tasks.

        They are those of the tasks' sizes, but for tasks on whose own held-out rows the blend is
        worse than the first member by more than `_REQUIRED_OF_TASK` standard errors: these use the
        first member.

        Parameters
        ----------
        rows : ndarray of shape (n_tasks,)
            Weights of the tasks, including rows that were not held out.
        held_out : SquaredErrors or RowLosses
        """
        out, codes = self.at(rows), held_out.codes
        loss = -held_out.gains(out[codes])
        n = np.maximum(np.bincount(codes, minlength=len(out)), 1)
        total, square = held_out.task_sums(loss), held_out.task_sums(loss**2)
        worse = total > _REQUIRED_OF_TASK * np.sqrt(np.maximum(square - total**2 / n, 0.0))
        out[worse & (n > 1)] = np.eye(out.shape[1])[0]
        return out

    def at(self, rows):
        """Return the weights ``(..., n_members)`` for tasks with these numbers of rows."""
        log_size = np.log(self.size)
        place = np.abs(np.log(np.maximum(rows, 1e-300))[..., None] - log_size).argmin(axis=-1)
        return self.weights[place]


def _shrunk(blend, advantage, required):
    """Return a blend shrunk towards the first member, by how sure its advantage is.

    It is the first member if the advantage is not above what is required.

    On the way from the first member to the blend, the loss first falls by twice the gain per step;
    so `advantage` standard errors of the gain are twice as many of the slope, and the shrunk step
    is that of James and Stein (1961) for it.
    """
    step = 1.0 - 0.25 / advantage**2 if advantage > required else 0.0
    return np.eye(len(blend))[0] * (1.0 - step) + step * blend


def unseen_blend(held_out):
    """Return the weights ``(n_members,)`` for an unseen task, from predictions of left-out tasks.

    All tasks count the same. Only the first member has weight unless the blend is better by more
    than a standard error over tasks; over rows, and by two, if there are fewer than three tasks.
    """
    blend = np.full(held_out.n_members, 1.0 / held_out.n_members)
    seen = held_out.rows > 0
    kernel = np.where(seen, 1.0 / np.where(seen, held_out.rows, 1.0), 0.0)
    for _ in range(_STEPS):
        blend = held_out.step(blend, kernel)
    gain, required = held_out.gains(blend) * kernel[held_out.codes], _REQUIRED_OF_ROWS
    if seen.sum() >= _FEWEST_TASKS:
        gain, required = held_out.task_sums(gain)[seen], _REQUIRED
    spread = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return blend if gain.mean() > required * spread else np.eye(held_out.n_members)[0]


def simplex_weights(gram, slope=None):
    """Return the weights that minimise ``w' gram w / 2 + slope' w`` on the simplex.

    The weights are >= 0 and sum to one. Without a slope, it is zero. Where the minimum is not
    unique, the first weight is the largest.
    """
    n_members = len(gram)
    level = np.trace(gram) / n_members
    if not level > 0.0:
        return np.eye(n_members)[0]
    # Of members that predict alike, the first one has the weight.
    ridge = np.append(1e-9, np.full(n_members - 1, 1e-6))
    root = np.linalg.cholesky(gram / level + np.diag(ridge)).T
    target = np.zeros(n_members)
    if slope is not None:
        target = -solve_triangular(root, slope / level, trans="T")
    # The sum is one up to the error of a large penalty, and the weights are then rescaled.
    system = np.vstack([root, np.full((1, n_members), 1e3)])
    found, _ = nnls(system, np.append(target, 1e3))
    return found / found.sum()
