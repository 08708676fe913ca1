"""Convex weights of the members of an ensemble, per size of task, from held-out errors."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

__all__ = ["StackedWeights", "simplex_weights"]

# Width of the kernel, on the logarithm of the rows, by which tasks of similar sizes share evidence.
_SIZE_WIDTH = 0.7
# Standard errors by which a blend has to be better than the first member to be used at all.
_REQUIRED = 2.0
# Prior rows at the table's noise level that each task's noise level is shrunk with.
_NOISE_ROWS = 4.0
# Steps in which weights and noise levels follow each other.
_STEPS = 5
# From this many tasks on, standard errors are those over tasks instead of rows.
_MANY_TASKS = 8


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
    def learn(cls, errors, weight, codes, n_tasks):
        """Learn from the held-out errors of rows.

        Parameters
        ----------
        errors : ndarray of shape (n_rows, n_members)
            The first member is the one to fall back to.
        weight, codes : ndarray of shape (n_rows,)
            Weight and task of each row; rows are sorted by task.
        n_tasks : int
        """
        rows = np.bincount(codes, weight, minlength=n_tasks)
        gram = _grams(errors, weight, codes, n_tasks)
        seen = rows > 0
        least = np.diagonal(gram, axis1=1, axis2=2).min(axis=1)
        level = _NOISE_ROWS * np.median(least[seen] / rows[seen])
        size = np.unique(np.round(4.0 * np.log(rows[seen]))) / 4.0
        log_rows = np.log(np.where(seen, rows, 1.0))
        weights, advantage = np.zeros((len(size), gram.shape[1])), np.zeros(len(size))
        for i, centre in enumerate(size):
            kernel = np.exp(-0.5 * ((log_rows - centre) / _SIZE_WIDTH) ** 2) * seen
            found = np.full(gram.shape[1], 1.0 / gram.shape[1])
            for _ in range(_STEPS):
                # The noise of a task is the error of the blend itself, so that a task that the
                # blend does not suit, as in Student's distribution, has little influence.
                noise = np.einsum("m,tmk,k->t", found, gram, found)
                near = kernel * (rows + _NOISE_ROWS) / np.maximum(noise + level, 1e-300)
                found = simplex_weights(np.tensordot(near, gram, axes=1))
            advantage[i] = _advantage(found, errors, weight, codes, gram, near)
            first = np.eye(len(found))[0]
            weights[i] = found if advantage[i] > _REQUIRED else first
        return cls(np.exp(size), weights, advantage)

    def of_tasks(self, rows, errors, weight, codes):
        """Return the weights ``(n_tasks, n_members)`` of the tasks.

        They are those of the tasks' sizes, but for tasks on whose own held-out rows the blend is
        worse than the first member by more than `_REQUIRED` standard errors: these use the first
        member.

        Parameters
        ----------
        rows : ndarray of shape (n_tasks,)
        errors, weight, codes
            As in `learn`.
        """
        out = self.at(rows)
        loss = weight * ((errors * out[codes]).sum(axis=1) ** 2 - errors[:, 0] ** 2)
        n = np.maximum(np.bincount(codes, minlength=len(out)), 1)
        total = np.bincount(codes, loss, minlength=len(out))
        square = np.bincount(codes, loss**2, minlength=len(out))
        worse = total > _REQUIRED * np.sqrt(np.maximum(square - total**2 / n, 0.0))
        out[worse & (n > 1)] = np.eye(out.shape[1])[0]
        return out

    def at(self, rows):
        """Return the weights ``(..., n_members)`` for tasks with these numbers of rows."""
        log_size = np.log(self.size)
        place = np.abs(np.log(np.maximum(rows, 1e-300))[..., None] - log_size).argmin(axis=-1)
        return self.weights[place]


def _grams(errors, weight, codes, n_tasks):
    """Return weighted products of the members' errors, per task."""
    n_members = errors.shape[1]
    products = (errors[:, :, None] * errors[:, None] * weight[:, None, None]).reshape(
        len(errors), -1
    )
    out = np.column_stack([np.bincount(codes, column, minlength=n_tasks) for column in products.T])
    return out.reshape(n_tasks, n_members, n_members)


def simplex_weights(gram):
    """Return the weights that minimise ``w' gram w`` among those that are >= 0 and sum to one."""
    n_members = len(gram)
    level = np.trace(gram) / n_members
    if not level > 0.0:
        return np.eye(n_members)[0]
    root = np.linalg.cholesky(gram / level + 1e-9 * np.eye(n_members)).T
    # The sum is one up to the error of a large penalty, and the weights are then rescaled.
    system = np.vstack([root, np.full((1, n_members), 1e3)])
    found, _ = nnls(system, np.append(np.zeros(n_members), 1e3))
    return found / found.sum()


def _advantage(found, errors, weight, codes, gram, near):
    """Return by how many standard errors a blend is better than the first member."""
    if len(near) >= _MANY_TASKS:
        gain = near * (gram[:, 0, 0] - np.einsum("m,tmk,k->t", found, gram, found))
    else:
        gain = near[codes] * weight * (errors[:, 0] ** 2 - (errors @ found) ** 2)
    spread = np.sqrt(max((gain**2).sum() - gain.sum() ** 2 / len(gain), 0.0))
    return gain.sum() / spread if spread > 0 else 0.0
