"""Block-wise task moments: all that squared loss needs to know about the rows."""

from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._jit import run_chunks, run_spans

__all__ = ["TaskMoments", "block_moments", "moment_bytes", "readonly", "scale_of"]

# Sparse rows are made dense up to so many numbers at a time, or one block.
_DENSE_SIZE = 2**20


@dataclass
class TaskMoments:
    """Centred moments of [X, y], for groups of rows of any leading shape.

    Attributes
    ----------
    weight : ndarray of shape (...,)
        Sum of the sample weights.
    mean : ndarray of shape (..., n_features + 1)
        The last column is the target.
    scatter : ndarray of shape (..., n_features + 1, n_features + 1)
        Weighted sums of products of deviations from the group's mean.
    """

    weight: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def n_features(self):
        return self.mean.shape[-1] - 1

    @property
    def arrays(self):
        """The three for kernels."""
        return kernels.arrow.Moments(self.weight, self.mean, self.scatter)

    @classmethod
    def empty(cls, shape, n_features):
        d = n_features + 1
        return cls(np.zeros(shape), np.zeros((*shape, d)), np.zeros((*shape, d, d)))

    def take(self, tasks):
        """The moments of some tasks only, as a copy."""
        return TaskMoments(
            self.weight[tasks].copy(), self.mean[tasks].copy(), self.scatter[tasks].copy()
        )

    def copy(self):
        return TaskMoments(self.weight.copy(), self.mean.copy(), self.scatter.copy())

    def block(self, number):
        """The moments of one block of each task: shape (n_tasks, n_blocks) to (n_tasks,)."""
        return TaskMoments(*(np.ascontiguousarray(part[:, number]) for part in self.arrays))

    def merge(self, chosen=None, tasks=None, executor=None):
        """Put the chosen blocks of each task together: shape (n_tasks, n_blocks) to (n_tasks,)."""
        n_tasks, n_blocks = self.weight.shape
        chosen = np.ones(n_blocks, dtype=bool) if chosen is None else chosen
        tasks = np.arange(n_tasks) if tasks is None else tasks
        if chosen.sum() == 1:
            return TaskMoments(*(part[tasks, chosen.argmax()] for part in self.arrays))
        out = TaskMoments.empty((len(tasks),), self.n_features)
        run_chunks(
            kernels.moments.merge_blocks, len(tasks), self.arrays, chosen, tasks, out.arrays,
            executor=executor,
        )  # fmt: skip
        return out

    def add(self, other, into):
        """Add the blocks of `other`, whose task i is this object's task ``into[i]``."""
        shape = len(into), self.weight.shape[1]
        both = TaskMoments.empty((shape[0] * shape[1], 2), self.n_features)
        for part, mine, theirs in zip(both.arrays, self.arrays, other.arrays, strict=True):
            part[:, 0] = mine[into].reshape(-1, *part.shape[2:])
            part[:, 1] = theirs.reshape(-1, *part.shape[2:])
        for mine, sums in zip(self.arrays, both.merge().arrays, strict=True):
            mine[into] = sums.reshape(*shape, *sums.shape[1:])

    def faded(self, decay):
        """The moments of the same rows with weights multiplied by `decay`."""
        if decay == 1.0:
            return self
        return TaskMoments(self.weight * decay, self.mean, self.scatter * decay)

    def expanded(self, n_tasks, where):
        """The same moments in a larger table: task i moves to ``where[i]``."""
        out = TaskMoments.empty((n_tasks, *self.weight.shape[1:]), self.n_features)
        out.weight[where], out.mean[where], out.scatter[where] = (
            self.weight, self.mean, self.scatter,
        )  # fmt: skip
        return out

    def pooled(self):
        """Moments of all groups of a 1-D object together (weight, mean, variances)."""
        total = self.weight.sum()
        mean = self.weight @ self.mean / total
        gaps = self.mean - mean
        within = np.einsum("tjj->j", self.scatter)
        return total, mean, (within + self.weight @ gaps**2) / total

    def gradient(self, coef):
        """``X_c'(y_c - X_c b)`` of every task on centred rows, shape (n_tasks, n_features)."""
        C, p = self.scatter, self.n_features
        return C[:, :p, p] - np.einsum("tij,tj->ti", C[:, :p, :p], coef)

    def errors(self, coefs, intercepts):
        """Squared errors ``(n_tasks, n_models)`` of models that serve every task alike."""
        C, p = self.scatter, self.n_features
        miss = self.mean[:, p:] - intercepts - self.mean[:, :p] @ coefs.T
        quad = C[:, p, p][:, None] - 2.0 * C[:, p, :p] @ coefs.T
        quad += np.einsum("tic,ci->tc", C[:, :p, :p] @ coefs.T, coefs)
        return np.maximum(quad, 0.0) + self.weight[:, None] * miss**2

    def add_error_grams(self, slopes, intercepts, gram, executor=None):
        """Add to ``gram[t]`` the inner products of task t's models' errors.

        `slopes (n_tasks, n_models, n_features)` and `intercepts (n_tasks, n_models)`, which is
        overwritten. Returns the squared errors ``(n_tasks, n_models)``.
        """
        sse, test = np.empty(intercepts.shape), self.arrays

        def some(start, stop):
            B = np.empty((stop - start, self.n_features + 2, slopes.shape[1]))
            B[:, :-2] = slopes[start:stop].transpose(0, 2, 1)
            B[:, -2], B[:, -1] = -1.0, intercepts[start:stop]
            sse[start:stop] = kernels.arrow.errors(start, stop, B, test, gram)

        n_numbers = slopes.shape[1] * self.mean.shape[1]
        run_spans(some, len(gram), kernels.arrow.at_a_time(n_numbers), executor)
        return sse

    def rescale(self, centre, scale):
        """In place: the moments of ``([X, y] - centre) * scale``."""
        self.mean -= centre
        self.mean[self.weight <= 0] = 0.0
        self.mean *= scale
        self.scatter *= np.multiply.outer(scale, scale)
        return self

    def target_scatter(self):
        """Weighted squares of the target's deviations from the groups' means."""
        return self.scatter[..., -1, -1]

    def in_units(self, location, scale):
        """The moments of ``[X, (y - location) / scale]``, one of each a task, as a copy."""
        out = self.copy()
        tasks = (-1,) + (1,) * (self.weight.ndim - 1)
        location, scale = location.reshape(tasks), scale.reshape(tasks)
        target = (out.mean[..., -1] - location) / scale
        out.mean[..., -1] = np.where(self.weight > 0, target, 0.0)
        out.scatter[..., -1, :] /= scale[..., None]
        out.scatter[..., :, -1] /= scale[..., None]
        return out

    def feature_squares(self):
        """Weighted squares of the features' deviations from the tasks' means."""
        d = self.n_features
        return self.scatter[:, np.arange(d), np.arange(d)]

    def stretched(self, factor):
        """The moments of ``[X * factor, y]``, as a copy."""
        scale = np.append(factor, 1.0)
        return TaskMoments(
            self.weight, self.mean * scale, self.scatter * np.multiply.outer(scale, scale)
        )


def moment_bytes(n_groups, n_features):
    """Memory of the moments of `n_groups` groups."""
    d = n_features + 1
    return 8 * n_groups * (1 + d + d * d)


def block_moments(table, block=None, n_blocks=1, executor=None):
    """The moments of every (task, block), in one pass over the rows.

    Parameters
    ----------
    table : TaskTable
    block : ndarray of shape (n_packed,), optional
        The block of every packed row.

    Returns
    -------
    TaskMoments of shape (n_tasks, n_blocks)
    """
    out = TaskMoments.empty((table.n_tasks * n_blocks,), table.n_features)
    rows, y, weight = table.rows, table.y, table.sample_weight
    edges = table.offsets
    if n_blocks > 1:
        key = table.codes * n_blocks + block
        small = key.astype(np.uint16) if table.n_tasks * n_blocks <= 2**16 else key
        order = np.argsort(small, kind="stable")
        edges = np.append(0, np.cumsum(np.bincount(key, minlength=table.n_tasks * n_blocks)))
        rows, y = rows[order], y[order]
        weight = None if weight is None else weight[order]
    longest = int((edges[1:] - edges[:-1]).max(initial=1))
    given = y, y[:0] if weight is None else weight, rows, edges, longest
    if isinstance(table.X, np.ndarray):
        run_chunks(
            kernels.moments.block_moments, len(out.weight), readonly(table.X), *given, out.arrays,
            executor=executor,
        )  # fmt: skip
    else:
        run_chunks(_sparse_moments, len(out.weight), table.X, *given, out.arrays, executor=executor)
    shape = (table.n_tasks, n_blocks)
    d = table.n_features + 1
    return TaskMoments(
        out.weight.reshape(shape), out.mean.reshape(*shape, d), out.scatter.reshape(*shape, d, d)
    )


def _sparse_moments(start, stop, X, y, weight, rows, edges, longest, out):
    """`kernels.moments.block_moments` of sparse rows, some of which are made dense at a time."""
    most = _DENSE_SIZE // max(X.shape[1], 1)
    while start < stop:
        last = int(np.searchsorted(edges, edges[start] + most, side="right")) - 1
        last = min(max(last, start + 1), stop)
        packed = slice(edges[start], edges[last])
        dense = X[rows[packed]].toarray()
        part = kernels.arrow.Moments(*(array[start:last] for array in out))
        kernels.moments.block_moments(
            0, last - start, readonly(dense), y[packed], weight[packed], np.arange(len(dense)),
            edges[start : last + 1] - edges[start], longest, part,
        )  # fmt: skip
        start = last


def readonly(X):
    """A view that cannot be written: kernels are compiled once for this and memory maps alike."""
    X = X.view()
    X.flags.writeable = False
    return X


def scale_of(total, mean, variance):
    """1 / standard deviation, and 0 for what is constant up to rounding."""
    eps = np.finfo(np.float64).eps
    constant = variance <= total * eps * variance + (total * mean * eps) ** 2
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))
