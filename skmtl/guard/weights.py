"""Weights of candidates, per task, from cross-validated errors."""

from dataclasses import dataclass, replace

import numpy as np

from ..tasks.keys import by_size

__all__ = [
    "TaskPrior", "left_out_weights", "log_scores", "noise_level", "size_balanced_weights",
    "task_weights", "unseen_weights",
]  # fmt: skip

# Held-out errors of many candidates on few rows are noisy and dependent, so log-likelihoods are
# tempered: those of the task itself, and the sums over other tasks, which also count as at most
# `_OTHERS_ROWS` rows.
_OWN = 0.5
_OTHERS = 0.3
_OTHERS_ROWS = 1000.0
# Tasks with less than this fraction of the median task's rows do not influence other tasks.
_NEGLIGIBLE = 1e-3
# Width of the kernel, on the logarithm of the rows, by which tasks of similar sizes share evidence.
_SIZE_WIDTH = 0.7
# Prior probability that a task uses an arbitrary candidate, and number of prior tasks behind the
# mixing proportions.
_STRAY = 0.1
_PRIOR_TASKS = 16.0
# Prior rows at the table's noise level that each task's noise level is shrunk with.
_NOISE_ROWS = 4.0


def _softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def noise_level(sse, rows, most_tasks=2000):
    """Return the error per row of the best candidate in the task of the median row.

    The median over tasks rather than the mean over rows is used so that a task in other units does
    not set the scale.
    """
    if not (rows > 0).any():
        return 1.0
    judged = by_size(rows, sse.sum(1))  # does not depend on the order of the tasks
    judged = judged[rows[judged] > 0]
    judged = judged[:: max(1, len(judged) // most_tasks)]
    error = sse[judged] / rows[judged, None]
    order = np.argsort(error, axis=0)
    # Half of several equal tasks have half of the rows only up to rounding.
    reached = np.cumsum(rows[judged][order], axis=0) >= (0.5 - 1e-9) * rows[judged].sum()
    middle = np.take_along_axis(error, order, axis=0)[
        np.argmax(reached, axis=0), np.arange(sse.shape[1])
    ]
    return max(middle.min(), 1e-300)


def log_scores(sse, rows, noise=None):
    """Return t-like log-likelihoods of the held-out rows of each task under each candidate.

    Every task has its own noise level, shrunk towards that of the table (`noise_level`). Scores
    are differences to the best candidate of the task.
    """
    if noise is None:
        noise = noise_level(sse, rows)
    spread = (sse + _NOISE_ROWS * noise) / (rows[:, None] + _NOISE_ROWS)
    scores = -0.5 * (rows[:, None] + _NOISE_ROWS) * np.log(spread)
    return scores - scores.max(axis=1, keepdims=True)


def unseen_weights(scores, rows, log_prior=0.0):
    """Return weights of the candidates for an unseen task, from the scores of all tasks."""
    temper = min(_OTHERS, _OTHERS_ROWS / max(rows.sum(), 1e-300))
    return _softmax(temper * scores.sum(0) + log_prior)


def left_out_weights(sse):
    """Return weights of the candidates for an unseen task, from errors on left-out tasks.

    Parameters
    ----------
    sse : ndarray of shape (n_tasks, n_candidates)
        Every left-out task is one observation, regardless of its number of rows.
    """
    total = np.maximum(sse.sum(0), 1e-300)
    return _softmax(-0.5 * len(sse) * np.log(total / total.min()))


def _least_rows(rows):
    """Return the rows below which a task does not influence others (e.g. after decay)."""
    return _NEGLIGIBLE * np.median(rows[rows > 0]) if (rows > 0).any() else 1.0


def size_balanced_weights(rows):
    """Return weights of the tasks that give every size of task the same total weight."""
    bins = np.round(4 * _SIZE_WIDTH * np.log(np.maximum(rows, 1e-300))).astype(np.int64)
    _, where, count = np.unique(bins, return_inverse=True, return_counts=True)
    weight = np.minimum(rows / _least_rows(rows), 1.0) / count[where]
    return weight / max(weight.sum(), 1e-300)


@dataclass
class TaskPrior:
    """Prior weights of the candidates for a task of a given size.

    The prior combines the scores of tasks of similar sizes, counted as at most `_OTHERS_ROWS`
    rows, with the weights that these tasks were given.

    Attributes
    ----------
    size : ndarray of shape (n_sizes,)
        Non-empty bins: the logarithm of the rows in quarters.
    n_tasks, rows : ndarray of shape (n_sizes,)
        Number of tasks in each bin, and the sum of their rows.
    scores : ndarray of shape (n_sizes, n_candidates)
        Sums of the tasks' scores.
    users : ndarray of shape (n_sizes, n_candidates)
        Sums of the tasks' weights.
    log_prior : ndarray of shape (n_candidates,)
        Log-weights of the candidates before any error is known.
    stray : float
        Prior probability that a task uses an arbitrary candidate.
    own : float
        Factor on the scores of the task itself.
    """

    size: np.ndarray
    n_tasks: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    users: np.ndarray
    log_prior: np.ndarray
    stray: float = _STRAY
    own: float = _OWN

    @classmethod
    def learn(cls, scores, rows, sizes, log_prior, n_steps, stray=_STRAY, own=_OWN):
        """Learn from tasks sorted by size, with EM steps for the mixing proportions.

        Returns
        -------
        prior : TaskPrior
        weights : ndarray of shape (n_tasks, n_candidates)
            Weights of these tasks.
        """
        likelihood = np.exp(own * scores)
        size, first = np.unique(np.round(4 * np.log(sizes)), return_index=True)
        n_tasks = np.diff(np.r_[first, len(rows)])
        rows, scores = np.add.reduceat(rows, first), np.add.reduceat(scores, first)
        self = cls(size, n_tasks, rows, scores, np.zeros_like(scores), log_prior, stray, own)
        near = self._nearness(size)
        mixed = base = self._base(near)
        for _ in range(n_steps):
            self.users = np.add.reduceat(_posterior(likelihood, mixed, n_tasks), first)
            mixed = self._mixed(near, base)
        return self, _posterior(likelihood, mixed, n_tasks)

    @classmethod
    def untried(cls, log_prior, stray=_STRAY, own=_OWN):
        """Return the prior of candidates that were not evaluated on any task."""
        none, zeros = np.zeros(1), np.zeros((1, len(log_prior)))
        return cls(none, none, none, zeros, zeros, log_prior, stray, own)

    def _nearness(self, size):
        """Return the kernel between these sizes and the bins: 1 for equal sizes."""
        return np.exp(-0.5 * ((size[:, None] - self.size) / (4 * _SIZE_WIDTH)) ** 2)

    def _base(self, near):
        """Return the weights by the scores of tasks of similar sizes."""
        temper = np.minimum(_OTHERS, _OTHERS_ROWS / np.maximum(near @ self.rows, 1.0))
        weight = _softmax((temper[:, None] * near) @ self.scores + self.log_prior)
        return (1.0 - self.stray) * weight + self.stray / self.scores.shape[1]

    def _mixed(self, near, base):
        """Return `base` mixed with the weights of tasks of similar sizes."""
        n_near = near @ self.n_tasks
        return (near @ self.users + _PRIOR_TASKS * base) / (n_near + _PRIOR_TASKS)[:, None]

    def at(self, rows):
        """Return weights ``(n_candidates,)`` for a task with this many rows.

        Outside the range of known sizes, return those of the nearest size.
        """
        size = np.clip(4 * np.log(rows), self.size[0], self.size[-1])
        return self._at(np.array([size]))[0]

    def at_sizes(self):
        """Return weights ``(n_sizes, n_candidates)`` for the known sizes."""
        return self._at(self.size)

    def _at(self, size):
        near = self._nearness(size)
        return self._mixed(near, self._base(near))

    def weights(self, scores, rows):
        """Return weights ``(n_candidates,)`` for a task with this many rows and these scores."""
        return _softmax(np.log(self.at(rows)) + self.own * scores)

    def take(self, chosen):
        """Return the prior of some of the candidates."""
        prior = np.broadcast_to(self.log_prior, self.scores.shape[1])[chosen]
        return replace(
            self, scores=self.scores[:, chosen], users=self.users[:, chosen], log_prior=prior
        )


def _posterior(likelihood, prior, n_tasks):
    """Return the weights of tasks by their likelihoods and the priors of their sizes."""
    share = likelihood * np.repeat(prior, n_tasks, axis=0)
    return share / share.sum(axis=1, keepdims=True)


def task_weights(scores, rows, log_prior=0.0, n_steps=15, few_shot=None):
    """Return weights of the candidates for every task.

    The prior of a task comes from tasks of similar size (`TaskPrior`) and is updated with the
    task's own tempered scores, so that a task unlike the others can use other candidates.
    Candidates are averaged rather than selected because few rows cannot identify the best one.

    Parameters
    ----------
    scores : ndarray of shape (n_tasks, n_candidates)
    rows : ndarray of shape (n_tasks,)
        Held-out rows (weights) behind the scores of each task.
    log_prior : float ndarray of shape (n_candidates,)
        Log-weights of the candidates before any error is known.
    few_shot : tuple of (scores, rows, sizes), optional
        Scores of further tasks, computed as if only `sizes` rows of them were known.

    Returns
    -------
    weights : ndarray of shape (n_tasks, n_candidates)
        Rows sum to one.
    prior : TaskPrior or None
        None if no task has held-out rows.
    """
    out = np.tile(unseen_weights(scores, rows, log_prior), (len(scores), 1))
    judged = np.argsort(rows, kind="stable")
    judged = judged[rows[judged] > 0]
    if not len(judged):
        return out, None
    scores, rows = scores[judged], rows[judged]
    # Tasks with negligible rows are binned with the smallest of the others.
    sizes = np.maximum(rows, rows[rows >= _least_rows(rows)].min())
    if few_shot is not None:
        scores = np.vstack([scores, few_shot[0]])
        rows, sizes = np.r_[rows, few_shot[1]], np.r_[sizes, few_shot[2]]
    order = np.argsort(sizes, kind="stable")
    prior, weights = TaskPrior.learn(scores[order], rows[order], sizes[order], log_prior, n_steps)
    out[judged] = weights[np.argsort(order)[: len(judged)]]
    return out, prior
