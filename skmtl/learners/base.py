"""What a learner is: it learns from many tasks what makes the next one easy."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator

from ..losses import LOG_LOSS

__all__ = [
    "Adapted", "Knowledge", "LabelledTasks", "Learner", "log_probabilities", "rank_in_groups",
]  # fmt: skip


@dataclass(frozen=True)
class LabelledTasks:
    """Labelled rows of some tasks, side by side.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        Rows of task t are ``offsets[t]:offsets[t + 1]``.
    y : ndarray of shape (n_rows,)
        Numbers (float64), or positions among the task's own classes (int64).
    weight : ndarray of shape (n_rows,)
        How much each row counts beside others, above zero; each is one observation.
    offsets : ndarray of shape (n_tasks + 1,)
    ways : ndarray of shape (n_tasks,) or None
        How many classes each task has; None where y are numbers.
    shared_classes : bool
        Whether a position means the same class in every task.
    labels : ndarray of shape (n_tasks, most_ways) or None
        Where classes are not shared, the class at each position, as a code of all classes; -1
        beyond the task's own.
    evenness : ndarray of shape (n_features,) or None
        How evenly features vary, where they differ in that; their mean is one.
    class_prior : ndarray of shape (n_tasks, most_ways) or None
        The tasks' shares of their classes, where these are known and rows say nothing of them.
    pull : ndarray of shape (n_features,) or None
        Rows that zero counts as in a task's `centres`; None: these are zero.
    executor : executor or None
        Threads that heads are fitted in.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offsets: np.ndarray
    ways: np.ndarray | None = None
    shared_classes: bool = True
    labels: np.ndarray | None = None
    evenness: np.ndarray | None = None
    class_prior: np.ndarray | None = None
    pull: np.ndarray | None = None
    executor: object = None

    @property
    def n_tasks(self):
        return len(self.offsets) - 1

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def own_classes(self):
        """Whether every task has classes of its own."""
        return self.ways is not None and not self.shared_classes

    @property
    def most_ways(self):
        """The most classes that a task has, two at least."""
        return max(2, int(self.ways.max(initial=2)))

    @property
    def sizes(self):
        """Rows of every task."""
        return np.diff(self.offsets)

    @property
    def codes(self):
        """Every row's task."""
        return np.repeat(np.arange(self.n_tasks), self.sizes)

    def rows(self, chosen):
        """The same tasks with some of their rows, of which `chosen` is a mask."""
        sizes = np.bincount(self.codes[chosen], minlength=self.n_tasks)
        return replace(
            self, X=self.X[chosen], y=self.y[chosen], weight=self.weight[chosen],
            offsets=np.append(0, np.cumsum(sizes)),
        )  # fmt: skip

    def take(self, tasks):
        """Some of the tasks, in the order given."""
        tasks = np.asarray(tasks, dtype=np.int64)
        sizes = self.sizes[tasks]
        offsets = np.append(0, np.cumsum(sizes))
        rows = np.repeat(self.offsets[tasks] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return self.pick(tasks, rows, sizes)

    def pick(self, tasks, rows, sizes):
        """Some of the tasks, the first with the first ``sizes[0]`` of `rows`, and so on."""
        return replace(
            self, X=self.X[rows], y=self.y[rows], weight=self.weight[rows],
            offsets=np.append(0, np.cumsum(sizes)).astype(np.int64),
            ways=None if self.ways is None else self.ways[tasks],
            labels=None if self.labels is None else self.labels[tasks],
            class_prior=None if self.class_prior is None else self.class_prior[tasks],
        )  # fmt: skip

    def means(self, X):
        """Weighted means of the columns of X over every task's rows; zero where it has none."""
        out, filled = np.zeros((self.n_tasks, X.shape[1])), self.sizes > 0
        if filled.any():
            starts = self.offsets[:-1][filled]
            first = np.repeat(X[starts], self.sizes[filled], axis=0)  # deviations do not cancel
            sums = np.add.reduceat(self.weight[:, None] * (X - first), starts, axis=0)
            out[filled] = X[starts] + sums / np.add.reduceat(self.weight, starts)[:, None]
        return out

    def centres(self):
        """Where every task's features are: its rows' mean, drawn to zero by `pull`."""
        if self.pull is None or np.isinf(self.pull).all():
            return np.zeros((self.n_tasks, self.n_features))
        total = np.bincount(self.codes, self.weight, minlength=self.n_tasks)[:, None]
        return self.means(self.X) * (total / np.maximum(total + self.pull, 1e-300))

    def class_counts(self):
        """Weights of the rows of every task's classes ``(n_tasks, most_ways)``."""
        key = self.codes * self.most_ways + self.y
        counts = np.bincount(key, self.weight, minlength=self.n_tasks * self.most_ways)
        return counts.reshape(self.n_tasks, self.most_ways)


def rank_in_groups(keys, groups):
    """Every row's place in its group, in the order of `keys`."""
    order = np.lexsort((keys, groups))
    starts = np.append(0, np.cumsum(np.bincount(groups, minlength=1)))
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - starts[groups[order]]
    return rank


def log_probabilities(scores, ways):
    """Log-probabilities of the classes of rows whose tasks have ``ways (n_rows,)`` of them.

    One score is the log-odds of the second of two. Minus infinity beyond a task's own classes.
    """
    if scores.shape[1] > 1:
        outside = np.arange(scores.shape[1]) >= ways[:, None]
        scores = np.where(outside, -np.inf, scores)
    return LOG_LOSS.log_probabilities(scores)


class Learner(BaseEstimator):
    """Base of the learners: parameters, and `learn`."""

    def check(self):
        """Raise a ValueError for parameters that make no sense."""

    def learn(self, tasks, random_state, progress):
        """Learn from `LabelledTasks` what tasks have in common.

        Parameters
        ----------
        tasks : LabelledTasks
        random_state : numpy.random.RandomState
        progress : callable
            Is told in words what is being done.

        Returns
        -------
        Knowledge
        """
        raise NotImplementedError


class Knowledge:
    """What was learned: small, picklable, free of rows.

    Attributes
    ----------
    history : dict of arrays
        Training curves, one entry a step or epoch that was recorded.
    """

    history: dict = {}
    # Whether `adapt` itself minds `LabelledTasks.class_prior`; else rows are weighed by it before.
    minds_class_prior = False

    def adapt(self, tasks):
        """Heads for the tasks from their labelled rows, an `Adapted`.

        A task may have any number of rows, none included, and rows of one class only.
        """
        raise NotImplementedError


class Adapted:
    """Heads of some tasks, ready to predict."""

    def predict(self, X, codes):
        """What is expected of rows ``X (n_rows, n_features)`` of the tasks ``codes (n_rows,)``.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, most_ways)
            Numbers, or logarithms of the probabilities of each task's classes, which are minus
            infinity beyond the task's own.
        """
        raise NotImplementedError

    def take(self, tasks):
        """The heads of some of the tasks."""
        raise NotImplementedError
