"""Packed rows of all tasks, sorted by task."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .variation import task_means

__all__ = ["TaskTable", "pack"]


@dataclass(frozen=True)
class TaskTable:
    """Rows of all tasks, sorted by task.

    `X` is not copied, but indexed by `rows`. This saves memory for large tables, and for a 2-D
    target, where every row belongs to many tasks.

    Attributes
    ----------
    X : ndarray or csr matrix of shape (n_samples, n_features)
        float64; an ndarray is C-ordered.
    y, sample_weight : ndarray of shape (n_packed,)
        Target and weight of each packed row; `sample_weight` is None if all weights are one.
    rows : ndarray of shape (n_packed,)
        Row of `X` of each packed row.
    offsets : ndarray of shape (n_tasks + 1,)
        Task t has the packed rows ``offsets[t]`` to ``offsets[t + 1]``.
    keys : ndarray of shape (n_packed,) or None
        Keys that order the rows (`skmtl.tasks.keys`).
    factors : TaskFactors or None
        Factors on the weights of the tasks' rows in a fit (`skmtl.tasks.task_weights`).
    cells : ndarray of shape (n_packed,) or None
        Keys of the rows' features, if rows of several tasks with the same features are to be in the
        same folds (`skmtl.tasks.cells`).
    known : ndarray of shape (n_packed,) or None
        Part of the scores of the rows, of a classification, that is known before a fit.
    """

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    rows: np.ndarray
    offsets: np.ndarray
    keys: np.ndarray | None = None
    factors: object = None
    known: np.ndarray | None = None
    cells: np.ndarray | None = None

    @property
    def n_tasks(self):
        return len(self.offsets) - 1

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def codes(self):
        """Task of each packed row."""
        return np.repeat(np.arange(self.n_tasks), self.task_sizes())

    def task_sizes(self):
        """Return the number of packed rows of each task."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def means(self):
        """Weight ``(n_tasks,)`` and feature means ``(n_tasks, n_features)`` of each task."""
        return task_means(self)

    def weights(self):
        """Return the weight of each packed row."""
        return np.ones(len(self.rows)) if self.sample_weight is None else self.sample_weight

    def task_sums(self, values):
        """Sum values of packed rows over each task."""
        sums = np.append(0.0, np.cumsum(values))[self.offsets]
        return sums[1:] - sums[:-1]

    def select(self, chosen):
        """Return the packed rows for which the mask `chosen` is true; all tasks stay."""
        return replace(
            self,
            y=self.y[chosen],
            sample_weight=None if self.sample_weight is None else self.sample_weight[chosen],
            rows=self.rows[chosen],
            offsets=np.append(0, np.cumsum(chosen))[self.offsets],
            keys=None if self.keys is None else self.keys[chosen],
            known=None if self.known is None else self.known[chosen],
            cells=None if self.cells is None else self.cells[chosen],
        )

    def take(self, tasks):
        """Return the rows of the given tasks, which must be sorted."""
        sizes = self.task_sizes()
        kept = np.zeros(self.n_tasks, dtype=bool)
        kept[tasks] = True
        selected = self.select(np.repeat(kept, sizes))
        factors = self.factors and self.factors.take(tasks)
        return replace(selected, offsets=np.r_[0, np.cumsum(sizes[tasks])], factors=factors)

    def weighted(self):
        """Return the table to fit: with the factors of the tasks in the weights of the rows."""
        if self.factors is None:
            return self
        weight = self.weights() * self.factors.values[self.codes]
        return replace(self, sample_weight=weight, factors=None)

    def compact(self, dense_size=0):
        """Return the table with only its rows in X, which is dense up to `dense_size` numbers."""
        X = self.X[self.rows]
        if hasattr(X, "toarray") and X.shape[0] * X.shape[1] <= dense_size:
            X = X.toarray()
        return replace(self, X=X, rows=np.arange(len(self.rows)))

    def without_empty_tasks(self):
        """Return the table without tasks that have no rows."""
        sizes = self.task_sizes()
        return self if sizes.all() else replace(self, offsets=np.r_[0, self.offsets[1:][sizes > 0]])


def pack(X, y, codes, n_tasks, sample_weight=None):
    """Sort rows by task.

    Parameters
    ----------
    X : ndarray or csr matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
        A 2-D target has one task per column, with NaN for missing labels.
    codes : ndarray of shape (n_samples,) or None
        Task of each row; None for a 2-D target.
    n_tasks : int
        Number of tasks.
    sample_weight : ndarray of shape (n_samples,) or None
        Rows of weight zero are left out.

    Returns
    -------
    TaskTable
    """
    if y.ndim == 2:
        rows, y_packed, offsets = _pack_columns(y, sample_weight)
    else:
        small = codes.astype(np.uint16) if n_tasks <= 2**16 else codes  # radix sort
        rows = np.argsort(small, kind="stable")
        if sample_weight is not None:
            rows = rows[sample_weight[rows] > 0]
        kept = codes if len(rows) == len(codes) else codes[rows]
        offsets = np.r_[0, np.cumsum(np.bincount(kept, minlength=n_tasks))]
        y_packed = y[rows]
    weight = None if sample_weight is None else sample_weight[rows]
    return TaskTable(X, y_packed, weight, rows, offsets)


def _pack_columns(y, sample_weight):
    labelled = ~np.isnan(y)
    if sample_weight is not None:
        labelled &= (sample_weight > 0)[:, None]
    tasks, rows = np.nonzero(labelled.T)
    return rows, y[rows, tasks], np.r_[0, np.cumsum(labelled.sum(axis=0))]
