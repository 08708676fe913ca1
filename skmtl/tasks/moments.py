"""Block-wise moments of tasks, which replace the rows for squared loss."""

from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from .._jit import run_chunks, run_spans

__all__ = ["TaskMoments", "block_moments", "moment_bytes", "readonly", "scale_of"]

# Sparse rows are converted to dense ones in parts of this many numbers, but at least one block.
_DENSE_SIZE = 2**20
# Blocks are added in parts of this many tasks, which stay in the cache.
_TASKS_AT_A_TIME = 64


@dataclass
class TaskMoments:
    """Centred moments of [X, y] for groups of rows; the leading dimensions are the groups.

    Attributes
    ----------
    weight : ndarray of shape (...,)
        Sum of the sample weights.
    mean : ndarray of shape (..., n_features + 1)
        Weighted means; the last column is the target.
    scatter : ndarray of shape (..., n_features + 1, n_features + 1)
        Weighted sums of products of deviations from the mean of the group.
    factors : TaskFactors or None
        Factors on the weights of the tasks' rows in a fit, which the moments do not contain.
    """

    weight: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray
    factors: object = None

    @property
    def n_features(self):
        return self.mean.shape[-1] - 1

    @property
    def arrays(self):
        """The three arrays as a named tuple for kernels."""
        return kernels.arrow.Moments(self.weight, self.mean, self.scatter)

    @classmethod
    def empty(cls, shape, n_features):
        d = n_features + 1
        return cls(np.zeros(shape), np.zeros((*shape, d)), np.zeros((*shape, d, d)))

    def take(self, tasks):
        """Return a copy of the moments of the given tasks."""
        return TaskMoments(*(part[tasks].copy() for part in self.arrays), self._factors_of(tasks))

    def _factors_of(self, tasks):
        return self.factors and self.factors.take(tasks)

    def copy(self):
        return replace(
            self, weight=self.weight.copy(), mean=self.mean.copy(), scatter=self.scatter.copy()
        )

    def weighted(self):
        """Return the moments to fit, of one group per task: with the factors of the tasks."""
        if self.factors is None:
            return self
        values = self.factors.values
        return TaskMoments(
            self.weight * values, np.where(values[:, None] > 0, self.mean, 0.0),
            self.scatter * values[:, None, None],
        )  # fmt: skip

    def block(self, number):
        """Return the moments of one block of each task: shape (n_tasks, n_blocks) to (n_tasks,)."""
        parts = (np.ascontiguousarray(part[:, number]) for part in self.arrays)
        return TaskMoments(*parts, self.factors)

    def merge(self, chosen=None, tasks=None, executor=None):
        """Merge the chosen blocks of each task: shape (n_tasks, n_blocks) to (n_tasks,)."""
        n_tasks, n_blocks = self.weight.shape
        chosen = np.ones(n_blocks, dtype=bool) if chosen is None else chosen
        tasks = np.arange(n_tasks) if tasks is None else tasks
        if chosen.sum() == 1:
            parts = (part[tasks, chosen.argmax()] for part in self.arrays)
            return TaskMoments(*parts, self._factors_of(tasks))
        out = TaskMoments.empty((len(tasks),), self.n_features)
        out.factors = self._factors_of(tasks)
        run_chunks(
            kernels.moments.merge_blocks, len(tasks), self.arrays, chosen, tasks, out.arrays,
            executor=executor,
        )  # fmt: skip
        return out

    def with_blocks(self, other, tasks):
        """Return the moments of some tasks with the blocks of `other`, one of its tasks for each.

        Both have the shape (n_tasks, n_blocks), and the blocks stay apart.
        """
        out = TaskMoments.empty((len(tasks), self.weight.shape[1]), self.n_features)
        for start in range(0, len(tasks), _TASKS_AT_A_TIME):
            part = slice(start, start + _TASKS_AT_A_TIME)
            weight, mean, scatter = (values[tasks[part]] for values in self.arrays)
            more = other.weight[part]
            total = weight + more
            share = np.divide(more, total, out=np.zeros_like(total), where=total > 0.0)
            # Differences from the former means give constants a scatter of exactly zero.
            mean = np.where(weight[..., None] > 0.0, mean, other.mean[part])
            gap = np.where(more[..., None] > 0.0, other.mean[part] - mean, 0.0)
            out.weight[part], out.mean[part] = total, mean + share[..., None] * gap
            gap *= np.sqrt(weight * share)[..., None]
            scatter += other.scatter[part]
            scatter += gap[..., :, None] * gap[..., None, :]
            out.scatter[part] = scatter
        return out

    def faded(self, decay):
        """Return the moments of the same rows with weights multiplied by `decay`."""
        if decay == 1.0:
            return self
        return replace(self, weight=self.weight * decay, scatter=self.scatter * decay)

    def expanded(self, n_tasks, where):
        """Return the moments for a larger table, in which task i becomes ``where[i]``."""
        out = TaskMoments.empty((n_tasks, *self.weight.shape[1:]), self.n_features)
        for part, values in zip(out.arrays, self.arrays, strict=True):
            part[where] = values
        return out

    def pooled(self):
        """Return the weight, mean and variances of all groups together (one dimension)."""
        total = self.weight.sum()
        mean = self.weight @ self.mean / total
        gaps = self.mean - mean
        within = np.einsum("tjj->j", self.scatter)
        return total, mean, (within + self.weight @ gaps**2) / total

    def parts(self, most):
        """Yield slices of at most this many tasks, and their moments."""
        for start in range(0, len(self.weight), most):
            tasks = slice(start, start + most)
            yield (
                tasks,
                TaskMoments(*(part[tasks] for part in self.arrays), self._factors_of(tasks)),
            )

    def total_scatter(self):
        """Return the sum of the groups' products (one dimension)."""
        return self.scatter.sum(axis=0)

    def products(self, t):
        """Return the centred products ``(n_features + 1, n_features + 1)`` of task t."""
        return self.scatter[t]

    def gradient(self, coef):
        """Return ``X_c'(y_c - X_c b)`` of every task on centred rows, (n_tasks, n_features)."""
        C, p = self.scatter, self.n_features
        return C[:, :p, p] - np.einsum("tij,tj->ti", C[:, :p, :p], coef)

    def errors(self, coefs, intercepts):
        """Return the squared errors ``(n_tasks, n_models)`` of models for all tasks."""
        C, p = self.scatter, self.n_features
        miss = self.mean[:, p:] - intercepts - self.mean[:, :p] @ coefs.T
        quad = C[:, p, p][:, None] - 2.0 * C[:, p, :p] @ coefs.T
        quad += np.einsum("tic,ci->tc", C[:, :p, :p] @ coefs.T, coefs)
        return np.maximum(quad, 0.0) + self.weight[:, None] * miss**2

    def add_error_grams(self, slopes, intercepts, gram, executor=None):
        """Add to ``gram[t]`` the inner products of the errors of task t's models.

        `slopes` has the shape (n_tasks, n_models, n_features). `intercepts`, (n_tasks, n_models),
        is overwritten. The squared errors ``(n_tasks, n_models)`` are returned.
        """
        sse, test = np.empty(intercepts.shape), self.arrays

        def add_part(start, stop):
            B = np.empty((stop - start, self.n_features + 2, slopes.shape[1]))
            B[:, :-2] = slopes[start:stop].transpose(0, 2, 1)
            B[:, -2], B[:, -1] = -1.0, intercepts[start:stop]
            sse[start:stop] = kernels.arrow.errors(start, stop, B, test, gram)

        most = kernels.arrow.at_a_time(slopes.shape[1] * self.mean.shape[1])
        run_spans(add_part, len(gram), most, executor)
        return sse

    def rescale(self, centre, scale):
        """Change in place to the moments of ``([X, y] - centre) * scale``."""
        self.mean -= centre
        self.mean[self.weight <= 0] = 0.0
        self.mean *= scale
        self.scatter *= np.multiply.outer(scale, scale)
        return self

    def target_scatter(self):
        """Return the weighted sum of squares of the target about the mean of each group."""
        return self.scatter[..., -1, -1]

    def in_units(self, location, scale):
        """Return the moments of ``[X, (y - location) / scale]``, with one of each per task."""
        out = self.copy()
        tasks = (-1,) + (1,) * (self.weight.ndim - 1)
        location, scale = location.reshape(tasks), scale.reshape(tasks)
        target = (out.mean[..., -1] - location) / scale
        out.mean[..., -1] = np.where(self.weight > 0, target, 0.0)
        out.scatter[..., -1, :] /= scale[..., None]
        out.scatter[..., :, -1] /= scale[..., None]
        out.factors = self.factors and self.factors.in_units(scale.ravel())
        return out

    def feature_squares(self):
        """Return the weighted sums of squares of the features about the means of the tasks."""
        j = np.arange(self.n_features)
        return self.scatter[:, j, j]

    def stretched(self, factor):
        """Return the moments of ``[X * factor, y]``."""
        scale = np.append(factor, 1.0)
        scatter = self.scatter * np.multiply.outer(scale, scale)
        return replace(self, mean=self.mean * scale, scatter=scatter)


def moment_bytes(n_groups, n_features):
    """Return the memory that the moments of `n_groups` groups take."""
    d = n_features + 1
    return 8 * n_groups * (1 + d + d * d)


def block_moments(table, block=None, n_blocks=1, executor=None):
    """Compute the moments of every (task, block) in one pass over the rows.

    Parameters
    ----------
    table : TaskTable
    block : ndarray of shape (n_packed,), optional
        Block of each packed row.

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
    kernel, X = _sparse_moments, table.X
    if isinstance(X, np.ndarray):
        kernel, X = kernels.moments.block_moments, readonly(X)
    run_chunks(
        kernel, len(out.weight), X, y, y[:0] if weight is None else weight, rows, edges,
        int(np.diff(edges).max(initial=1)), out.arrays, executor=executor,
    )  # fmt: skip
    parts = (part.reshape(table.n_tasks, n_blocks, *part.shape[1:]) for part in out.arrays)
    return TaskMoments(*parts, table.factors)


def _sparse_moments(start, stop, X, y, weight, rows, edges, longest, out):
    """Call `kernels.moments.block_moments` on parts of sparse rows, converted to dense ones."""
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
    """Return a read-only view, so that kernels are compiled once for it and for memory maps."""
    X = X.view()
    X.flags.writeable = False
    return X


def scale_of(total, mean, variance):
    """Return 1 / standard deviation, and 0 for columns that are constant up to rounding."""
    eps = np.finfo(np.float64).eps
    constant = variance <= total * eps * variance + (total * mean * eps) ** 2
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))
