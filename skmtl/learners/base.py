"""Interface of the learners: they learn from many tasks how to adapt to a new one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator

from .._typing import NDArray
from ..losses import LOG_LOSS

__all__ = [
    "Adapted", "Knowledge", "LabelledTasks", "Learner", "log_probabilities", "mask_scores",
    "rank_in_groups",
]  # fmt: skip


@dataclass(frozen=True)
class LabelledTasks:
    """Labelled rows of several tasks, sorted by task.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        The rows of task t are ``offsets[t]:offsets[t + 1]``.
    y : ndarray of shape (n_rows,)
        Numbers (float64), or indices into the task's list of classes (int64).
    weight : ndarray of shape (n_rows,)
        Positive weights. Each row is one observation, whatever its weight.
    offsets : ndarray of shape (n_tasks + 1,)
    ways : ndarray of shape (n_tasks,) or None
        Number of classes of each task; None if `y` holds numbers.
    shared_classes : bool
        Whether an index means the same class in every task.
    labels : ndarray of shape (n_tasks, max_ways) or None
        If classes are not shared, the code among all classes of the class at each index; -1 beyond
        the task's last class.
    inverse_kurtosis : ndarray of shape (n_features,) or None
        Inverse kurtosis of the features within tasks, scaled to mean one; None if it is about the
        same for all features.
    class_prior : ndarray of shape (n_tasks, max_ways) or None
        Shares of the classes in each task, if they are known and the rows do not reflect them.
    prior_rows : ndarray of shape (n_features,) or None
        Number of rows that the prior mean, zero, counts as in `centres`; None: all centres are
        zero.
    executor : executor or None
        Threads in which heads are fitted.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offsets: np.ndarray
    ways: np.ndarray | None = None
    shared_classes: bool = True
    labels: np.ndarray | None = None
    inverse_kurtosis: np.ndarray | None = None
    class_prior: np.ndarray | None = None
    prior_rows: np.ndarray | None = None
    executor: object = None

    @property
    def n_tasks(self):
        return len(self.offsets) - 1

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def own_classes(self):
        """Whether each task has its own list of classes."""
        return self.ways is not None and not self.shared_classes

    @property
    def max_ways(self):
        """Largest number of classes of a task, at least two."""
        return max(2, int(self.ways.max(initial=2)))

    @property
    def sizes(self):
        """Number of rows of each task."""
        return np.diff(self.offsets)

    @property
    def codes(self):
        """Task of each row."""
        return np.repeat(np.arange(self.n_tasks), self.sizes)

    @classmethod
    def join(cls, parts):
        """Return the tasks of several parts, whose classes are shared or that have numbers."""
        starts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        offsets = [part.offsets[1:] + n for part, n in zip(parts, starts, strict=False)]
        first = parts[0]
        return replace(
            first, X=np.concatenate([part.X for part in parts]),
            y=np.concatenate([part.y for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
            offsets=np.concatenate([[0], *offsets]),
            ways=None if first.ways is None else np.concatenate([part.ways for part in parts]),
        )  # fmt: skip

    def select_rows(self, mask):
        """Return the same tasks with the rows selected by a boolean mask."""
        sizes = np.bincount(self.codes[mask], minlength=self.n_tasks)
        return replace(
            self, X=self.X[mask], y=self.y[mask], weight=self.weight[mask],
            offsets=np.append(0, np.cumsum(sizes)),
        )  # fmt: skip

    def take(self, tasks):
        """Return the given tasks, in the order given."""
        tasks = np.asarray(tasks, dtype=np.int64)
        sizes = self.sizes[tasks]
        offsets = np.append(0, np.cumsum(sizes))
        rows = np.repeat(self.offsets[tasks] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return self.pick(tasks, rows, sizes)

    def pick(self, tasks, rows, sizes):
        """Return the given tasks: the first with the first ``sizes[0]`` of `rows`, and so on."""
        return replace(
            self, X=self.X[rows], y=self.y[rows], weight=self.weight[rows],
            offsets=np.append(0, np.cumsum(sizes)).astype(np.int64),
            ways=None if self.ways is None else self.ways[tasks],
            labels=None if self.labels is None else self.labels[tasks],
            class_prior=None if self.class_prior is None else self.class_prior[tasks],
        )  # fmt: skip

    def batches(self, size):
        """Yield the tasks in batches of at most `size`."""
        for start in range(0, self.n_tasks, size):
            yield self.take(np.arange(start, min(start + size, self.n_tasks)))

    def sums(self, values):
        """Return the sum of `values`, one per row, over the rows of each task."""
        return np.bincount(self.codes, values, minlength=self.n_tasks)

    def means(self, X):
        """Return the weighted column means of X over each task's rows; zero without rows."""
        out, filled = np.zeros((self.n_tasks, X.shape[1])), self.sizes > 0
        if filled.any():
            starts = self.offsets[:-1][filled]
            first = np.repeat(X[starts], self.sizes[filled], axis=0)  # deviations do not cancel
            sums = np.add.reduceat(self.weight[:, None] * (X - first), starts, axis=0)
            out[filled] = X[starts] + sums / np.add.reduceat(self.weight, starts)[:, None]
        return out

    def centres(self):
        """Return the feature means of each task, shrunk towards zero by `prior_rows`."""
        if self.prior_rows is None or np.isinf(self.prior_rows).all():
            return np.zeros((self.n_tasks, self.n_features))
        total = self.sums(self.weight)[:, None]
        return self.means(self.X) * (total / np.maximum(total + self.prior_rows, 1e-300))

    def class_counts(self):
        """Return the total weight of each class in each task, ``(n_tasks, max_ways)``."""
        key = self.codes * self.max_ways + self.y
        counts = np.bincount(key, self.weight, minlength=self.n_tasks * self.max_ways)
        return counts.reshape(self.n_tasks, self.max_ways)

    def class_sums(self):
        """Return the weighted sums of the rows of each class, and the weights of the classes.

        Returns
        -------
        sums : ndarray of shape (n_tasks, max_ways, n_features)
        counts : ndarray of shape (n_tasks, max_ways)
        """
        sums = np.zeros((self.n_tasks, self.max_ways, self.n_features))
        np.add.at(sums, (self.codes, self.y), self.weight[:, None] * self.X)
        return sums, self.class_counts()


def rank_in_groups(keys, groups):
    """Return the rank of each row within its group, in the order of `keys`."""
    order = np.lexsort((keys, groups))
    starts = np.append(0, np.cumsum(np.bincount(groups, minlength=1)))
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - starts[groups[order]]
    return rank


def mask_scores(scores, ways):
    """Return the scores, with minus infinity for the classes that a row's task does not have.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_scores)
        A single score is the log-odds of the second of two classes, and stays as it is.
    ways : ndarray of shape (n_rows,)
        Number of classes of the task of each row.
    """
    if scores.shape[1] == 1:
        return scores
    return np.where(np.arange(scores.shape[1]) >= ways[:, None], -np.inf, scores)


def log_probabilities(scores, ways):
    """Return the log-probabilities of the classes, given the arguments of `mask_scores`."""
    return LOG_LOSS.log_probabilities(mask_scores(scores, ways))


class Learner(BaseEstimator):
    """Base class of the learners.

    A subclass defines constructor parameters, conditions on their values in `_requirements`, and
    either ``_learn(tasks, random_state, progress)`` or the whole method `learn`.
    """

    # For each parameter to check, a predicate and the words for what it requires.
    _requirements: dict = {}

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter has an invalid value.
        """
        for name, (is_valid, requirement) in self._requirements.items():
            value = getattr(self, name)
            if not is_valid(value):
                raise ValueError(f"{name}={value!r}: {requirement}.")

    def learn(
        self,
        tasks: LabelledTasks,
        random_state: np.random.RandomState,
        progress: Callable[[str], object],
    ) -> "Knowledge":
        """Learn what the tasks have in common.

        Parameters
        ----------
        tasks : LabelledTasks
            The training tasks.
        random_state : numpy.random.RandomState
            Source of all random draws.
        progress : callable
            Called with a short text at the start of each stage.

        Returns
        -------
        Knowledge
            Adapts to new tasks.

        Raises
        ------
        ValueError
            If a parameter has an invalid value, or the learner cannot be trained on these tasks.

        Warns
        -----
        UserWarning
            If no task has enough rows for training, and the learner can be used untrained.
        """
        self.check()
        return self._learn(tasks, random_state, progress)


class Knowledge:
    """Result of a learner: small, picklable, and without training rows.

    Attributes
    ----------
    history : dict of arrays
        Training curves, with one entry per recorded step or epoch.
    """

    history: dict = {}
    # Whether `adapt` uses `LabelledTasks.class_prior` itself; if not, the caller reweights rows.
    uses_class_prior = False

    def adapt(self, tasks: LabelledTasks) -> "Adapted":
        """Fit a head to the labelled rows of each task.

        Parameters
        ----------
        tasks : LabelledTasks
            A task may have any number of rows, including none, and rows of a single class.

        Returns
        -------
        Adapted
            The heads of the tasks.
        """
        raise NotImplementedError


class Adapted:
    """Fitted heads of several tasks."""

    def predict(self, X: NDArray, codes: NDArray) -> NDArray:
        """Predict rows of known tasks.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
            Rows to predict.
        codes : ndarray of shape (n_rows,)
            Task of each row.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, max_ways)
            Expected numbers, or log-probabilities of each task's classes, which are minus infinity
            for classes that the task does not have.
        """
        raise NotImplementedError

    def take(self, tasks: NDArray) -> "Adapted":
        """Return the heads of the given tasks.

        Parameters
        ----------
        tasks : ndarray of int
            Indices of the tasks.

        Returns
        -------
        Adapted
            Their heads, in the order given.
        """
        raise NotImplementedError
