"""Rows of tasks, in place of moments that would take more memory."""

from dataclasses import dataclass, replace

import numpy as np

from .moments import moment_bytes
from .stack import as_dense

__all__ = ["TaskRows", "prefers_rows"]

# Moments are faster than rows and are used if they take at most this much memory.
_MOMENT_BYTES = 2**30


def prefers_rows(table, n_blocks):
    """Return whether the moments of every (task, block) are too large, compared with the rows."""
    row_bytes = 8 * len(table.rows) * (table.n_features + 1)
    return moment_bytes(table.n_tasks * n_blocks, table.n_features) > max(_MOMENT_BYTES, row_bytes)


@dataclass
class TaskRows:
    """Rows of [X, y] with the same interface as `TaskMoments`.

    Attributes
    ----------
    Z : ndarray of shape (n_rows, n_features + 1)
        Rows sorted by task, which are never changed; the values are ``Z * scale + shift``.
    row_weight, block : ndarray of shape (n_rows,)
        Weight and block of each row.
    offsets : ndarray of shape (n_tasks + 1,)
        Task t has the rows ``offsets[t]`` to ``offsets[t + 1]``.
    scale, shift : ndarray of shape (n_features + 1,)
    factors : TaskFactors or None
        Factors on the weights of the tasks' rows in a fit.
    """

    Z: np.ndarray
    row_weight: np.ndarray
    block: np.ndarray
    offsets: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    factors: object = None

    def __post_init__(self):
        self.weight = np.add.reduceat(np.r_[self.row_weight, 0.0], self.offsets[:-1])
        self.weight[np.diff(self.offsets) == 0] = 0.0
        self.mean = np.zeros((len(self.weight), self.Z.shape[1]))
        for t in np.flatnonzero(self.weight > 0):
            rows = slice(self.offsets[t], self.offsets[t + 1])
            mean = self.row_weight[rows] @ self.Z[rows] / self.weight[t]
            self.mean[t] = mean * self.scale + self.shift

    @classmethod
    def of(cls, table, block=None):
        Z = np.column_stack([as_dense(table.X[table.rows]), table.y])
        n, d = Z.shape
        block = np.zeros(n, dtype=np.int64) if block is None else block
        ones, zeros = np.ones(d), np.zeros(d)
        return cls(Z, table.weights(), block, table.offsets, ones, zeros, table.factors)

    @property
    def n_features(self):
        return self.Z.shape[1] - 1

    def _select(self, rows, offsets):
        return replace(
            self, Z=self.Z[rows], row_weight=self.row_weight[rows], block=self.block[rows],
            offsets=offsets,
        )  # fmt: skip

    def merge(self, chosen=None, tasks=None, executor=None):
        """Return the rows of the chosen blocks and the given tasks."""
        part = self if tasks is None else self.take(tasks)
        if chosen is None:
            return part.copy()
        rows = np.flatnonzero(chosen[part.block])
        return part._select(rows, np.searchsorted(rows, part.offsets))

    def take(self, tasks):
        """Return the rows of the given tasks."""
        starts, stops = self.offsets[:-1][tasks], self.offsets[1:][tasks]
        spans = [np.arange(a, b) for a, b in zip(starts, stops, strict=True)]
        rows = np.concatenate([*spans, np.zeros(0, dtype=np.int64)])
        part = self._select(rows, np.r_[0, np.cumsum(stops - starts)])
        part.factors = self.factors and self.factors.take(tasks)
        return part

    def weighted(self):
        """Return the rows to fit: with the factors of the tasks in their weights."""
        if self.factors is None:
            return self
        values = np.repeat(self.factors.values, np.diff(self.offsets))
        return replace(self, row_weight=self.row_weight * values, factors=None)

    def copy(self):
        return replace(self)

    def rescale(self, centre, scale):
        """Change to the rows of ``([X, y] - centre) * scale``; `Z` stays the same."""
        self.shift = (self.shift - centre) * scale
        self.scale = self.scale * scale
        self.mean = np.where(self.weight[:, None] > 0, (self.mean - centre) * scale, 0.0)
        return self

    def target_scatter(self):
        """Return the weighted sum of squares of the target about the mean of each task."""
        codes = np.repeat(np.arange(len(self.weight)), np.diff(self.offsets))
        gap = self.Z[:, -1] * self.scale[-1] + self.shift[-1] - self.mean[codes, -1]
        return np.bincount(codes, self.row_weight * gap**2, minlength=len(self.weight))

    def in_units(self, location, scale):
        """Return the rows of ``[X, (y - location) / scale]``, with one of each per task."""
        codes = np.repeat(np.arange(len(self.weight)), np.diff(self.offsets))
        Z, column_scale, shift = self.Z.copy(), self.scale.copy(), self.shift.copy()
        Z[:, -1] = (Z[:, -1] * column_scale[-1] + shift[-1] - location[codes]) / scale[codes]
        column_scale[-1], shift[-1] = 1.0, 0.0
        factors = self.factors and self.factors.in_units(scale)
        return replace(self, Z=Z, scale=column_scale, shift=shift, factors=factors)

    def feature_squares(self):
        """Return the weighted sums of squares of the features about the means of the tasks."""
        out = np.zeros((len(self.weight), self.n_features))
        for t in np.flatnonzero(self.weight > 0):
            out[t] = (self.root(t)[:, :-1] ** 2).sum(axis=0)
        return out

    def stretched(self, factor):
        """Return the rows of ``[X * factor, y]``."""
        return self.copy().rescale(0.0, np.append(factor, 1.0))

    def root(self, t):
        """Return a root R of the scatter ``R'R`` of task t, with at most n_features + 1 rows."""
        rows = slice(self.offsets[t], self.offsets[t + 1])
        Z = self.Z[rows] * self.scale + (self.shift - self.mean[t])
        Z *= np.sqrt(self.row_weight[rows])[:, None]
        return np.linalg.qr(Z, mode="r") if len(Z) > Z.shape[1] else Z

    def products(self, t):
        """Return the centred products ``(n_features + 1, n_features + 1)`` of task t."""
        root = self.root(t)
        return root.T @ root

    def pooled(self):
        """Return the weight, mean and variances of all rows together."""
        total = self.row_weight.sum()
        mean = self.row_weight @ self.Z / total
        variance = self.row_weight @ (self.Z - mean) ** 2 / total
        return total, mean * self.scale + self.shift, variance * self.scale**2

    def gradient(self, coef):
        """Return ``X_c'(y_c - X_c b)`` of every task on centred rows, (n_tasks, n_features)."""
        out = np.zeros((len(self.weight), self.n_features))
        for t in np.flatnonzero(self.weight > 0):
            root = self.root(t)
            out[t] = root[:, :-1].T @ (root[:, -1] - root[:, :-1] @ coef[t])
        return out

    def errors(self, coefs, intercepts):
        """Return the squared errors ``(n_tasks, n_models)`` of models for all tasks."""
        out = np.zeros((len(self.weight), len(coefs)))
        for t in np.flatnonzero(self.weight > 0):
            root = self.root(t)
            miss = self.mean[t, -1] - intercepts - coefs @ self.mean[t, :-1]
            out[t] = ((root[:, -1:] - root[:, :-1] @ coefs.T) ** 2).sum(0)
            out[t] += self.weight[t] * miss**2
        return out

    def add_error_grams(self, slopes, intercepts, gram, executor=None):
        """Add to ``gram[t]`` the inner products of the models' errors, and return their squares."""
        sse = np.zeros(intercepts.shape)
        for t in np.flatnonzero(self.weight > 0):
            root = self.root(t)
            error = root[:, -1:] - root[:, :-1] @ slopes[t].T
            miss = self.mean[t, -1] - intercepts[t] - slopes[t] @ self.mean[t, :-1]
            products = error.T @ error + self.weight[t] * np.outer(miss, miss)
            gram[t] += products
            sse[t] = np.diag(products)
        return sse
