"""How the tasks' cross-validated errors weigh candidates, whatever these are."""

from dataclasses import dataclass, replace

import numpy as np

from ..tasks.keys import by_size

__all__ = [
    "TaskPrior", "crowd_weights", "log_scores", "noise_level", "task_weights", "unseen_weights",
    "voices",
]  # fmt: skip

# Held-out errors of many candidates on few rows are noisy and depend on one another, so their
# verdict is tempered: a task's own, and that of the crowd, which also counts at most as
# `_CROWD_ROWS` rows.
_OWN = 0.5
_CROWD = 0.3
_CROWD_ROWS = 1000.0
# Tasks of less than this share of the median task's rows are not heard.
_SILENT = 1e-3
# Tasks within about this ratio of sizes (in log) judge for each other.
_SIZE_WIDTH = 0.7
# Prior probability that a task uses any candidate at all, and prior tasks behind the mixing
# proportions.
_STRAY = 0.1
_CROWD_TASKS = 16.0
# Prior rows behind a task's noise level, at the table's.
_NOISE_ROWS = 4.0


def _softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def noise_level(sse, rows, most_tasks=2000):
    """Error a row of the best candidate in the median row's task.

    The median over tasks, not the mean over rows: a task in other units must not set the scale.
    """
    if not (rows > 0).any():
        return 1.0
    judged = by_size(rows, sse.sum(1))  # an order that only content decides
    judged = judged[rows[judged] > 0]
    judged = judged[:: max(1, len(judged) // most_tasks)]
    error = sse[judged] / rows[judged, None]
    order = np.argsort(error, axis=0)
    # Half of equal tasks have half of the rows up to rounding.
    reached = np.cumsum(rows[judged][order], axis=0) >= (0.5 - 1e-9) * rows[judged].sum()
    middle = np.take_along_axis(error, order, axis=0)[
        np.argmax(reached, axis=0), np.arange(sse.shape[1])
    ]
    return max(middle.min(), 1e-300)


def log_scores(sse, rows, noise=None):
    """How well each candidate predicted each task: a t-like log-likelihood of held-out rows.

    Every task has a noise level of its own, drawn towards the table's (`noise_level`). Scores are
    differences to the task's best candidate.
    """
    if noise is None:
        noise = noise_level(sse, rows)
    spread = (sse + _NOISE_ROWS * noise) / (rows[:, None] + _NOISE_ROWS)
    scores = -0.5 * (rows[:, None] + _NOISE_ROWS) * np.log(spread)
    return scores - scores.max(axis=1, keepdims=True)


def crowd_weights(scores, rows, log_prior=0.0):
    """Weights of the candidates for a task of which nothing is known."""
    temper = min(_CROWD, _CROWD_ROWS / max(rows.sum(), 1e-300))
    return _softmax(temper * scores.sum(0) + log_prior)


def _least_rows(rows):
    """Rows of a task below which it says nothing, such as where its weights have faded away."""
    return _SILENT * np.median(rows[rows > 0]) if (rows > 0).any() else 1.0


def voices(rows):
    """Shares of the tasks in a vote in which every size of task has an equal one."""
    bins = np.round(4 * _SIZE_WIDTH * np.log(np.maximum(rows, 1e-300))).astype(np.int64)
    _, where, count = np.unique(bins, return_inverse=True, return_counts=True)
    voice = np.minimum(rows / _least_rows(rows), 1.0) / count[where]
    return voice / max(voice.sum(), 1e-300)


@dataclass
class TaskPrior:
    """What tasks of a size turned out to use: the candidates' weights before a task's own verdict.

    Tasks of about the same size judge for each other; that verdict is counted as at most
    `_CROWD_ROWS` rows, and mixed with what such tasks turned out to use.

    Attributes
    ----------
    size : ndarray of shape (n_sizes,)
        Quarters of the logarithm of the rows: the bins that hold tasks.
    n_tasks, rows : ndarray of shape (n_sizes,)
        Tasks in each bin, and their rows together.
    scores : ndarray of shape (n_sizes, n_candidates)
        Sums of the tasks' verdicts.
    users : ndarray of shape (n_sizes, n_candidates)
        Sums of the tasks' weights.
    log_prior : ndarray of shape (n_candidates,)
        What the candidates weigh before any verdict.
    stray : float
        Prior probability that a task uses any candidate at all.
    own : float
        What a task's own verdict is multiplied by.
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
        """From tasks sorted by their sizes; EM for the mixing proportions.

        Returns
        -------
        prior : TaskPrior
        weights : ndarray of shape (n_tasks, n_candidates)
            Of these tasks.
        """
        verdicts = np.exp(own * scores)
        size, first = np.unique(np.round(4 * np.log(sizes)), return_index=True)
        n_tasks = np.diff(np.r_[first, len(rows)])
        rows, scores = np.add.reduceat(rows, first), np.add.reduceat(scores, first)
        self = cls(size, n_tasks, rows, scores, np.zeros_like(scores), log_prior, stray, own)
        near = self._nearness(size)
        base = self._verdict(near)
        mixed = base
        for _ in range(n_steps):
            self.users = np.add.reduceat(_times(verdicts, mixed, n_tasks), first)
            mixed = self._mixed(near, base)
        return self, _times(verdicts, mixed, n_tasks)

    @classmethod
    def untried(cls, log_prior, stray=_STRAY, own=_OWN):
        """Of candidates that no task has tried."""
        none, zeros = np.zeros(1), np.zeros((1, len(log_prior)))
        return cls(none, none, none, zeros, zeros, log_prior, stray, own)

    def _nearness(self, size):
        """How much the tasks of each bin judge for tasks of these sizes: 1 for the same size."""
        return np.exp(-0.5 * ((size[:, None] - self.size) / (4 * _SIZE_WIDTH)) ** 2)

    def _verdict(self, near):
        temper = np.minimum(_CROWD, _CROWD_ROWS / np.maximum(near @ self.rows, 1.0))
        crowd = _softmax((temper[:, None] * near) @ self.scores + self.log_prior)
        return (1.0 - self.stray) * crowd + self.stray / self.scores.shape[1]

    def _mixed(self, near, base):
        n_near = near @ self.n_tasks
        return (near @ self.users + _CROWD_TASKS * base) / (n_near + _CROWD_TASKS)[:, None]

    def at(self, rows):
        """Weights ``(n_candidates,)`` for a task of so many rows.

        Beyond the sizes seen, those of the nearest size.
        """
        size = np.clip(4 * np.log(rows), self.size[0], self.size[-1])
        near = self._nearness(np.array([size]))
        return self._mixed(near, self._verdict(near))[0]

    def at_sizes(self):
        """Weights ``(n_sizes, n_candidates)`` for the sizes seen."""
        near = self._nearness(self.size)
        return self._mixed(near, self._verdict(near))

    def weights(self, own_scores, rows):
        """Weights ``(n_candidates,)`` for a task of so many rows with this verdict of its own."""
        return _softmax(np.log(self.at(rows)) + self.own * own_scores)

    def take(self, chosen):
        """Of some of the candidates only."""
        prior = np.broadcast_to(self.log_prior, self.scores.shape[1])[chosen]
        return replace(
            self, scores=self.scores[:, chosen], users=self.users[:, chosen], log_prior=prior
        )


def _times(own, prior, n_tasks):
    """The tasks' own verdicts times their sizes' priors, as weights."""
    share = own * np.repeat(prior, n_tasks, axis=0)
    return share / share.sum(axis=1, keepdims=True)


def task_weights(scores, rows, log_prior=0.0, n_steps=15, early=None):
    """Weights of the candidates, task by task.

    A task's prior is what tasks of its size say (`TaskPrior`); its own tempered verdict does the
    rest, so that a task unlike the others can leave them. Averaging the candidates, rather than
    picking one, is what makes few rows safe.

    Parameters
    ----------
    scores : ndarray of shape (n_tasks, n_candidates)
    rows : ndarray of shape (n_tasks,)
        Held-out rows (weights) behind each task's scores.
    log_prior : float ndarray of shape (n_candidates,)
        What the candidates weigh before any verdict.
    early : tuple of (scores, rows, sizes), optional
        Verdicts of further tasks as if they had only so many rows.

    Returns
    -------
    weights : ndarray of shape (n_tasks, n_candidates)
        Rows sum to one.
    prior : TaskPrior or None
        None where no task was judged.
    """
    out = np.tile(crowd_weights(scores, rows, log_prior), (len(scores), 1))
    judged = np.argsort(rows, kind="stable")
    judged = judged[rows[judged] > 0]
    if not len(judged):
        return out, None
    scores, rows = scores[judged], rows[judged]
    # Tasks that say nothing stand with the smallest that say something.
    sizes, n_judged = np.maximum(rows, rows[rows >= _least_rows(rows)].min()), len(rows)
    if early is not None:
        scores = np.vstack([scores, early[0]])
        rows, sizes = np.r_[rows, early[1]], np.r_[sizes, early[2]]
    if scores.shape[1] == 1:  # nothing to choose
        n_steps = 0
    order = np.argsort(sizes, kind="stable")
    prior, weights = TaskPrior.learn(scores[order], rows[order], sizes[order], log_prior, n_steps)
    out[judged] = weights[np.argsort(order)[:n_judged]]
    return out, prior


def unseen_weights(sse):
    """Weights of the candidates for a task never seen, from errors on tasks left out.

    Parameters
    ----------
    sse : ndarray of shape (n_tasks, n_candidates)
        Each left-out task is one observation, whatever its rows.
    """
    total = np.maximum(sse.sum(0), 1e-300)
    return _softmax(-0.5 * len(sse) * np.log(total / total.min()))
