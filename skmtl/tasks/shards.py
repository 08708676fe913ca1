"""Moments of so many tasks that they are kept in files, in shards of consecutive tasks."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .moments import TaskMoments

__all__ = ["ShardStore", "ShardedBlocks", "ShardedMoments"]

_PARTS = "weight", "mean", "scatter"


class ShardStore:
    """Files with the block-wise moments of tasks, in a temporary folder.

    The folder is removed with the object. `append` adds the shards in the order of the tasks.

    Attributes
    ----------
    edges : list of int
        Tasks ``edges[k]`` to ``edges[k + 1]`` are those of shard k.
    weight : ndarray of shape (n_tasks, n_blocks)
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="skmtl_shards_")
        self.edges, self._weights = [0], []

    def append(self, moments):
        """Write the `TaskMoments` of shape (n_tasks, n_blocks) of the next tasks."""
        for name in _PARTS:
            np.save(self._path(len(self.edges) - 1, name), getattr(moments, name))
        self.edges.append(self.edges[-1] + len(moments.weight))
        self._weights.append(moments.weight)
        self.n_features = moments.n_features

    def _path(self, shard, name):
        return Path(self._folder.name) / f"{shard}_{name}.npy"

    @property
    def weight(self):
        """Total weights of the blocks."""
        if len(self._weights) > 1:
            self._weights = [np.concatenate(self._weights)]
        return self._weights[0]

    def __len__(self):
        return len(self.edges) - 1

    def load(self, shard):
        """Return the moments of a shard."""
        return TaskMoments(*(np.load(self._path(shard, name)) for name in _PARTS))

    def take(self, tasks):
        """Return the moments of some tasks."""
        shards = np.searchsorted(self.edges, tasks, side="right") - 1
        out = TaskMoments.empty((len(tasks), self.weight.shape[1]), self.n_features)
        for shard in np.unique(shards):
            where = np.flatnonzero(shards == shard)
            rows = tasks[where] - self.edges[shard]
            for name, part in zip(_PARTS, out.arrays, strict=True):
                # Only the pages of these tasks are read.
                part[where] = np.load(self._path(shard, name), mmap_mode="r")[rows]
        return out


@dataclass
class ShardedBlocks:
    """Block-wise moments like `TaskMoments` of shape (n_tasks, n_blocks), in a store.

    Attributes
    ----------
    store : ShardStore
    unit : float
        Factor on the weights.
    edits : list of (centre, scale)
        Arguments of the calls of `rescale`.
    factors : TaskFactors or None
    """

    store: ShardStore
    unit: float = 1.0
    edits: list = field(default_factory=list)
    factors: object = None
    _taken: tuple | None = None

    @property
    def n_features(self):
        return self.store.n_features

    @property
    def weight(self):
        return self.store.weight * self.unit

    def rescale(self, centre, scale):
        """Change the moments to those of ``([X, y] - centre) * scale``."""
        self.edits, self._taken = [*self.edits, (centre, scale)], None
        return self

    def faded(self, decay):
        """Return the moments of the same rows with weights multiplied by `decay`."""
        return replace(self, unit=self.unit * decay, _taken=None)

    def _edited(self, moments, tasks):
        moments = moments.faded(self.unit)
        for centre, scale in self.edits:
            moments.rescale(centre, scale)
        moments.factors = self.factors and self.factors.take(tasks)
        return moments

    def parts(self):
        """Yield slices of tasks and their `TaskMoments`, one shard at a time."""
        for shard in range(len(self.store)):
            tasks = slice(self.store.edges[shard], self.store.edges[shard + 1])
            yield tasks, self._edited(self.store.load(shard), tasks)

    def merge(self, chosen=None, tasks=None, executor=None):
        """Return the merged blocks of all tasks, or the `TaskMoments` of some tasks."""
        if tasks is None:
            return ShardedMoments.of(self, chosen)
        # Candidates are screened on the same tasks in every split.
        if self._taken is None or not np.array_equal(self._taken[0], tasks):
            self._taken = tasks, self._edited(self.store.take(tasks), tasks)
        return self._taken[1].merge(chosen, executor=executor)


@dataclass
class ShardedMoments:
    """Moments like `TaskMoments` of shape (n_tasks,), whose products stay in a store.

    Attributes
    ----------
    blocks : ShardedBlocks
    chosen : bool ndarray of shape (n_blocks,)
        Blocks that are merged.
    weight : ndarray of shape (n_tasks,)
    mean, squares : ndarray of shape (n_tasks, n_features + 1)
        Means, and sums of squares about these.
    """

    blocks: ShardedBlocks
    chosen: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, blocks, chosen=None):
        """Merge the chosen blocks, all by default."""
        n_tasks, n_blocks = blocks.weight.shape
        chosen = np.ones(n_blocks, dtype=bool) if chosen is None else chosen
        self = cls(replace(blocks), chosen, np.empty(n_tasks), *np.empty((2, n_tasks, 0)))
        self.mean, self.squares = np.empty((2, n_tasks, blocks.n_features + 1))
        for tasks, part in self.parts():
            self.weight[tasks], self.mean[tasks] = part.weight, part.mean
            self.squares[tasks] = np.einsum("tjj->tj", part.scatter)
        return self

    @property
    def n_features(self):
        return self.blocks.n_features

    @property
    def factors(self):
        return self.blocks.factors

    @factors.setter
    def factors(self, value):
        self.blocks.factors = value

    def parts(self, most=None):
        """Yield slices of tasks and their `TaskMoments`, one shard at a time."""
        for tasks, part in self.blocks.parts():
            yield tasks, part.merge(self.chosen)

    def take(self, tasks):
        """Return the `TaskMoments` of some tasks."""
        return self.blocks.merge(self.chosen, np.asarray(tasks))

    def weighted(self):
        """Return the moments themselves; those of every part have the factors of the tasks."""
        return self

    def rescale(self, centre, scale):
        """Change in place to the moments of ``([X, y] - centre) * scale``."""
        self.blocks.rescale(centre, scale)
        self.mean = np.where(self.weight[:, None] > 0, (self.mean - centre) * scale, 0.0)
        self.squares = self.squares * np.square(scale)
        return self

    def faded(self, decay):
        """Return the moments of the same rows with weights multiplied by `decay`."""
        return replace(
            self, blocks=self.blocks.faded(decay), weight=self.weight * decay,
            squares=self.squares * decay,
        )  # fmt: skip

    def pooled(self):
        """Return the weight, mean and variances of all tasks together."""
        total = self.weight.sum()
        mean = self.weight @ self.mean / total
        return total, mean, (self.squares.sum(0) + self.weight @ (self.mean - mean) ** 2) / total

    def total_scatter(self):
        """Return the sum of the tasks' products."""
        return sum(part.scatter.sum(axis=0) for _, part in self.parts())

    def feature_squares(self):
        """Return the weighted sums of squares of the features about the means of the tasks."""
        return self.squares[:, :-1]

    def target_scatter(self):
        """Return the weighted sums of squares of the target about the means of the tasks."""
        return self.squares[:, -1]
