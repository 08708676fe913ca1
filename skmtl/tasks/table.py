"""TaskTable: the packed rows of all tasks, sorted by task."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .variation import task_means

__all__ = ["TaskTable", "pack"]


@dataclass(frozen=True)
class TaskTable:
    """Rows of all tasks, sorted by task.

    The design is not copied: `rows` says which row of `X` each packed row is, so that a 2-D
    target (every row in many tasks) and a million rows cost no second copy.

    Attributes
    ----------
    X : ndarray or csr matrix of shape (n_samples, n_features)
        float64; an ndarray is C-ordered.
    y, sample_weight : ndarray of shape (n_packed,)
        Packed; `sample_weight` is None where every row weighs one.
    rows : ndarray of shape (n_packed,)
    offsets : ndarray of shape (n_tasks + 1,)
        Task t holds the packed rows ``offsets[t]`` to ``offsets[t + 1]``.
    keys : ndarray of shape (n_packed,) or None
        What orders the rows, where that is wanted (`skmtl.tasks.keys`).
    """

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    rows: np.ndarray
    offsets: np.ndarray
    keys: np.ndarray | None = None

    @property
    def n_tasks(self):
        return len(self.offsets) - 1

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def codes(self):
        """The task of every packed row."""
        return np.repeat(np.arange(self.n_tasks), self.task_sizes())

    def task_sizes(self):
        """Rows of every task that have a label and a weight."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def means(self):
        """Every task's weight ``(n_tasks,)`` and feature means ``(n_tasks, n_features)``."""
        return task_means(self)

    def weights(self):
        """The weight of every packed row."""
        return np.ones(len(self.rows)) if self.sample_weight is None else self.sample_weight

    def task_sums(self, values):
        """Sums of the packed rows' values over each task."""
        sums = np.append(0.0, np.cumsum(values))[self.offsets]
        return sums[1:] - sums[:-1]

    def select(self, chosen):
        """The packed rows that the mask `chosen` is true for; all tasks stay."""
        weight = None if self.sample_weight is None else self.sample_weight[chosen]
        keys = None if self.keys is None else self.keys[chosen]
        offsets = np.append(0, np.cumsum(chosen))[self.offsets]
        return replace(
            self, y=self.y[chosen], sample_weight=weight, rows=self.rows[chosen],
            offsets=offsets, keys=keys,
        )  # fmt: skip

    def take(self, tasks):
        """The rows of some tasks, which must be in order."""
        sizes = self.task_sizes()
        kept = np.zeros(self.n_tasks, dtype=bool)
        kept[tasks] = True
        part = self.select(np.repeat(kept, sizes))
        return replace(part, offsets=np.r_[0, np.cumsum(sizes[tasks])])

    def compact(self, dense_size=0):
        """The same with no other rows in X, which is dense up to so many numbers."""
        X = self.X[self.rows]
        if hasattr(X, "toarray") and X.shape[0] * X.shape[1] <= dense_size:
            X = X.toarray()
        return replace(self, X=X, rows=np.arange(len(self.rows)))

    def without_empty_tasks(self):
        """The tasks that have rows."""
        if self.task_sizes().all():
            return self
        return replace(self, offsets=np.r_[0, self.offsets[1:][self.task_sizes() > 0]])


def pack(X, y, codes, n_tasks, sample_weight=None):
    """Sort rows by task.

    Parameters
    ----------
    X : ndarray or csr matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
        A 2-D target has one task a column; NaN is "not labelled".
    codes : ndarray of shape (n_samples,) or None
        None with a 2-D target.
    sample_weight : ndarray of shape (n_samples,) or None
        Rows of weight zero are left out.
    """
    if y.ndim == 2:
        rows, y_packed, offsets = _pack_columns(y, sample_weight)
    else:
        small = codes.astype(np.uint16) if n_tasks <= 2**16 else codes  # radix sort
        rows = np.argsort(small, kind="stable")
        if sample_weight is not None:
            rows = rows[sample_weight[rows] > 0]
        counts = (
            np.bincount(codes[rows], minlength=n_tasks)
            if len(rows) < len(codes)
            else (np.bincount(codes, minlength=n_tasks))
        )
        offsets = np.r_[0, np.cumsum(counts)]
        y_packed = y[rows]
    weight = None if sample_weight is None else sample_weight[rows]
    return TaskTable(X, y_packed, weight, rows, offsets)


def _pack_columns(y, sample_weight):
    labelled = ~np.isnan(y)
    if sample_weight is not None:
        labelled &= (sample_weight > 0)[:, None]
    tasks, rows = np.nonzero(labelled.T)
    offsets = np.r_[0, np.cumsum(np.bincount(tasks, minlength=y.shape[1]))]
    return rows, y[rows, tasks], offsets
