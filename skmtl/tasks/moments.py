"""Block-wise task moments: all that squared loss needs to know about the rows."""

from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._jit import run_chunks

__all__ = ["TaskMoments", "block_moments", "moment_bytes", "scale_of"]


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

    def merge(self, chosen=None, tasks=None, pool=None):
        """Put the chosen blocks of each task together: shape (n_tasks, n_blocks) to (n_tasks,)."""
        n_tasks, n_blocks = self.weight.shape
        chosen = np.ones(n_blocks, dtype=bool) if chosen is None else chosen
        tasks = np.arange(n_tasks) if tasks is None else tasks
        out = TaskMoments.empty((len(tasks),), self.n_features)
        run_chunks(
            kernels.moments.merge_blocks, len(tasks), self.weight, self.mean, self.scatter,
            chosen, tasks, out.weight, out.mean, out.scatter, pool=pool,
        )  # fmt: skip
        return out

    def add(self, other, into):
        """Add the blocks of `other`, whose task i is this object's task ``into[i]``."""
        merge_into = kernels.moments.merge_into
        for i, t in enumerate(into):
            for b in range(self.weight.shape[1]):
                self.weight[t, b] = merge_into(
                    self.weight[t, b], self.mean[t, b], self.scatter[t, b],
                    other.weight[i, b], other.mean[i, b], other.scatter[i, b],
                )  # fmt: skip

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

    def add_error_grams(self, slopes, intercepts, gram, pool=None):
        """Add to ``gram[t]`` the inner products of task t's models' errors.

        `slopes (n_tasks, n_models, n_features)` and `intercepts (n_tasks, n_models)`, which is
        overwritten. Returns the squared errors ``(n_tasks, n_models)``.
        """
        sse = np.zeros(intercepts.shape)
        run_chunks(
            kernels.moments.error_grams, len(gram), slopes, intercepts, self.weight, self.mean,
            self.scatter, gram, sse, pool=pool,
        )  # fmt: skip
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


def block_moments(table, block=None, n_blocks=1, pool=None):
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
        edges = np.r_[0, np.cumsum(np.bincount(key, minlength=table.n_tasks * n_blocks))]
        rows, y = rows[order], y[order]
        weight = None if weight is None else weight[order]
    has_weight = weight is not None
    args = (y, weight if has_weight else y[:0], has_weight, rows, edges)
    args += (out.weight, out.mean, out.scatter)
    if isinstance(table.X, np.ndarray):
        run_chunks(kernels.moments.block_moments, len(out.weight), table.X, *args, pool=pool)
    else:
        X = table.X
        run_chunks(
            kernels.moments.block_moments_csr, len(out.weight), X.data, X.indices, X.indptr,
            *args, pool=pool,
        )  # fmt: skip
    shape = (table.n_tasks, n_blocks)
    d = table.n_features + 1
    return TaskMoments(
        out.weight.reshape(shape), out.mean.reshape(*shape, d), out.scatter.reshape(*shape, d, d)
    )


def scale_of(total, mean, variance):
    """1 / standard deviation, and 0 for what is constant up to rounding."""
    eps = np.finfo(np.float64).eps
    constant = variance <= total * eps * variance + (total * mean * eps) ** 2
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))
