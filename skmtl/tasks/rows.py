"""The rows themselves, where the tasks' moments would be larger than they are."""

from dataclasses import dataclass, replace

import numpy as np

from .moments import moment_bytes
from .stack import as_dense

__all__ = ["TaskRows", "prefers_rows"]

# Moments are faster; they give way to the rows only where they take more memory than this.
_MOMENT_BYTES = 2**30


def prefers_rows(table, n_blocks):
    """Whether moments of every (task, block) would be too large beside the rows."""
    row_bytes = 8 * len(table.rows) * (table.n_features + 1)
    return moment_bytes(table.n_tasks * n_blocks, table.n_features) > max(_MOMENT_BYTES, row_bytes)


@dataclass
class TaskRows:
    """Rows of [X, y] that answer the questions `TaskMoments` answers.

    Attributes
    ----------
    Z : ndarray of shape (n_rows, n_features + 1)
        Sorted by task, never changed; ``Z * scale + shift`` is what is meant.
    row_weight, block : ndarray of shape (n_rows,)
    offsets : ndarray of shape (n_tasks + 1,)
    """

    Z: np.ndarray
    row_weight: np.ndarray
    block: np.ndarray
    offsets: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    def __post_init__(self):
        self.weight = np.add.reduceat(np.r_[self.row_weight, 0.0], self.offsets[:-1])
        self.weight[np.diff(self.offsets) == 0] = 0.0
        self.mean = np.zeros((len(self.weight), self.Z.shape[1]))
        for t in np.flatnonzero(self.weight > 0):
            rows = slice(self.offsets[t], self.offsets[t + 1])
            raw = self.row_weight[rows] @ self.Z[rows] / self.weight[t]
            self.mean[t] = raw * self.scale + self.shift

    @classmethod
    def of(cls, table, block=None):
        X = table.X[table.rows]
        X = as_dense(X)
        n, d = len(table.rows), table.n_features + 1
        block = np.zeros(n, dtype=np.int64) if block is None else block
        Z = np.column_stack([X, table.y])
        return cls(Z, table.weights(), block, table.offsets, np.ones(d), np.zeros(d))

    @property
    def n_features(self):
        return self.Z.shape[1] - 1

    def _select(self, rows, offsets):
        return replace(
            self, Z=self.Z[rows], row_weight=self.row_weight[rows], block=self.block[rows],
            offsets=offsets,
        )  # fmt: skip

    def merge(self, chosen=None, tasks=None, executor=None):
        """The rows of the chosen blocks, of some tasks."""
        part = self if tasks is None else self.take(tasks)
        if chosen is None:
            return part.copy()
        rows = np.flatnonzero(chosen[part.block])
        return part._select(rows, np.searchsorted(rows, part.offsets))

    def take(self, tasks):
        """The rows of some tasks."""
        starts, stops = self.offsets[:-1][tasks], self.offsets[1:][tasks]
        spans = [np.arange(a, b) for a, b in zip(starts, stops, strict=True)]
        rows = np.concatenate([*spans, np.zeros(0, dtype=np.int64)])
        return self._select(rows, np.r_[0, np.cumsum(stops - starts)])

    def copy(self):
        return replace(self)

    def rescale(self, centre, scale):
        """The rows of ``([X, y] - centre) * scale``; only the bookkeeping changes."""
        self.shift = (self.shift - centre) * scale
        self.scale = self.scale * scale
        self.mean = np.where(self.weight[:, None] > 0, (self.mean - centre) * scale, 0.0)
        return self

    def target_scatter(self):
        """Weighted squares of the target's deviations from the tasks' means."""
        codes = np.repeat(np.arange(len(self.weight)), np.diff(self.offsets))
        gap = self.Z[:, -1] * self.scale[-1] + self.shift[-1] - self.mean[codes, -1]
        return np.bincount(codes, self.row_weight * gap**2, minlength=len(self.weight))

    def in_units(self, location, scale):
        """The rows of ``[X, (y - location) / scale]``, one of each a task, as a copy."""
        codes = np.repeat(np.arange(len(self.weight)), np.diff(self.offsets))
        Z, ones, none = self.Z.copy(), self.scale.copy(), self.shift.copy()
        Z[:, -1] = (Z[:, -1] * ones[-1] + none[-1] - location[codes]) / scale[codes]
        ones[-1], none[-1] = 1.0, 0.0
        return replace(self, Z=Z, scale=ones, shift=none)

    def feature_squares(self):
        """Weighted squares of the features' deviations from the tasks' means."""
        out = np.zeros((len(self.weight), self.n_features))
        for t in np.flatnonzero(self.weight > 0):
            out[t] = (self.root(t)[:, :-1] ** 2).sum(axis=0)
        return out

    def stretched(self, factor):
        """The rows of ``[X * factor, y]``, as a copy."""
        return self.copy().rescale(0.0, np.append(factor, 1.0))

    def root(self, t):
        """Rows whose products are task t's centred scatter: at most n_features + 1 of them."""
        rows = slice(self.offsets[t], self.offsets[t + 1])
        Z = self.Z[rows] * self.scale + (self.shift - self.mean[t])
        Z *= np.sqrt(self.row_weight[rows])[:, None]
        return np.linalg.qr(Z, mode="r") if len(Z) > Z.shape[1] else Z

    def pooled(self):
        """Weight, mean and variances of all rows together."""
        total = self.row_weight.sum()
        mean = self.row_weight @ self.Z / total
        variance = self.row_weight @ (self.Z - mean) ** 2 / total
        return total, mean * self.scale + self.shift, variance * self.scale**2

    def gradient(self, coef):
        """``X_c'(y_c - X_c b)`` of every task on centred rows, shape (n_tasks, n_features)."""
        out = np.zeros((len(self.weight), self.n_features))
        for t in np.flatnonzero(self.weight > 0):
            root = self.root(t)
            out[t] = root[:, :-1].T @ (root[:, -1] - root[:, :-1] @ coef[t])
        return out

    def errors(self, coefs, intercepts):
        """Squared errors ``(n_tasks, n_models)`` of models that serve every task alike."""
        out = np.zeros((len(self.weight), len(coefs)))
        for t in np.flatnonzero(self.weight > 0):
            root = self.root(t)
            miss = self.mean[t, -1] - intercepts - coefs @ self.mean[t, :-1]
            out[t] = ((root[:, -1:] - root[:, :-1] @ coefs.T) ** 2).sum(0)
            out[t] += self.weight[t] * miss**2
        return out

    def add_error_grams(self, slopes, intercepts, gram, executor=None):
        """Add to ``gram[t]`` the products of the models' errors; returns their squares."""
        sse = np.zeros(intercepts.shape)
        for t in np.flatnonzero(self.weight > 0):
            root = self.root(t)
            error = root[:, -1:] - root[:, :-1] @ slopes[t].T
            miss = self.mean[t, -1] - intercepts[t] - slopes[t] @ self.mean[t, :-1]
            products = error.T @ error + self.weight[t] * np.outer(miss, miss)
            gram[t] += products
            sse[t] = np.diag(products)
        return sse
