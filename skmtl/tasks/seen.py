"""Statistics of rows that arrive in batches, to which a batch is added in the time of its tasks."""

from dataclasses import dataclass, replace

import numpy as np

from .blocks import deal_blocks
from .cells import shared_cells
from .copies import Settled
from .evidence import trust_of_moments
from .keys import RowKeys
from .moments import TaskMoments, block_moments

__all__ = ["SeenRows"]

# The common factor of decays is multiplied into the moments before it gets as small as this.
_LEAST_FACTOR = 1e-6
# New tasks get room for this multiple of the tasks, so that a few in every batch do not mean a
# copy of all moments in every batch.
_GROWTH = 1.5


@dataclass(frozen=True)
class SeenRows:
    """Statistics of the rows that `partial_fit` has seen.

    `plus` does not copy the moments of all tasks. It returns statistics with the same arrays, and
    the new moments of the tasks of a batch beside these (`update`). Once the caller holds on to
    the result, `written` puts them into the arrays. An error or Ctrl-C before that leaves the
    earlier statistics as they were. If `written` is interrupted, the update is still there: it
    precedes what the arrays contain, and writing it again does no harm.

    Attributes
    ----------
    moments : TaskMoments of shape (n_slots, n_folds)
        Moments of the tasks in the order in which they came; `blocks` returns those of tasks.
    weight : float
        Total weight of the rows, without decay.
    sizes : ndarray of shape (n_tasks,)
        Numbers of rows.
    keys : RowKeys or ColumnUnits or None
        Keys by which rows are assigned to folds, and means and scales of the columns; without the
        former if the folds come from a column.
    fourth : ndarray of shape (n_features,) or None
        Sums of the fourth powers of the columns, in the units of `keys`.
    factor : float
        Factor on the weights in `moments` and `update`, from decays.
    slots : ndarray of shape (n_tasks,) or None
        Positions of the tasks in `moments`; None if these are in order.
    update : tuple or None
        Slots of some tasks, and their `TaskMoments` in place of those in `moments`.
    owned : bool
        Whether `moments` belong to no other statistics, and may be changed in place.
    """

    moments: TaskMoments
    weight: float
    sizes: np.ndarray
    keys: RowKeys | None = None
    fourth: np.ndarray | None = None
    factor: float = 1.0
    slots: np.ndarray | None = None
    update: tuple | None = None
    owned: bool = False

    @classmethod
    def of(cls, table, n_folds, seed, executor, keys=None, block=None):
        """Return the statistics of the rows of a table.

        Parameters
        ----------
        table : TaskTable
        n_folds : int or None
            Number of folds; None without cross-validation.
        seed : int
        executor : executor or None
        keys : RowKeys or None
            Keys of earlier rows; None for the first rows.
        block : ndarray of shape (n_samples,) or None
            Folds of the rows of X, if a column has them.
        """
        weight, sizes = float(table.weights().sum()), table.task_sizes()
        if n_folds is None:
            return cls(block_moments(table, executor=executor), weight, sizes, owned=True)
        keys = keys or RowKeys.learn(table.X, table.y, table.sample_weight, table.rows)
        if block is None:
            table = replace(table, keys=keys.keys(table.X, table.y, table.rows))
            cells = shared_cells(table, keys.feature_keys(table.X, table.rows))
            block = deal_blocks(replace(table, cells=cells), n_folds, seed)
        else:
            block = block[table.rows]
        moments = block_moments(table, block, n_folds, executor)
        fourth = keys.fourth_powers(table.X, table.weights(), table.rows)
        return cls(moments, weight, sizes, keys, fourth, owned=True)

    @property
    def unit(self):
        """Factor that gives the weights a mean of one."""
        return self.sizes.sum() / self.weight

    @property
    def n_folds(self):
        """Number of folds."""
        return self.moments.weight.shape[1]

    def moments_of(self, has_rows):
        """Return a copy of the moments of the tasks that have rows."""
        if isinstance(self.moments, TaskMoments):
            return self.blocks(np.flatnonzero(has_rows))
        return replace(self.moments)  # in shards, where all tasks have rows

    def blocks(self, tasks):
        """Return a copy of the moments of the given tasks, of shape (len(tasks), n_folds)."""
        slots = self._slots_of(tasks)
        out = TaskMoments(*(part[slots] for part in self.moments.arrays))
        if self.update is not None:
            changed, moments = self.update
            where = np.full(len(self.moments.weight), -1)
            where[changed] = np.arange(len(changed))
            rows = np.flatnonzero(where[slots] >= 0)
            for ours, new in zip(out.arrays, moments.arrays, strict=True):
                ours[rows] = new[where[slots[rows]]]
        if self.factor != 1.0:
            out.weight *= self.factor
            out.scatter *= self.factor
        return out

    def faded(self, decay):
        """Return the statistics with all weights multiplied by `decay`."""
        fourth = None if self.fourth is None else self.fourth * decay
        return replace(self, factor=self.factor * decay, fourth=fourth)

    def plus(self, other, into, n_tasks, position=None):
        """Return the sum with other statistics, whose tasks have other positions.

        Parameters
        ----------
        other : SeenRows
            Statistics of a batch, as `of` returns them.
        into : ndarray of int
            Positions of its tasks among all tasks.
        n_tasks : int
            Number of all tasks.
        position : ndarray of int, optional
            Positions of the tasks so far among all tasks, if there are new ones.
        """
        base = self._with_room(n_tasks)
        slots, sizes = base.slots, base.sizes.copy()
        if n_tasks > len(sizes):
            slots = _with_new_tasks(base._slots_of(np.arange(len(sizes))), n_tasks, position)
            sizes = np.zeros(n_tasks, dtype=np.int64)
            sizes[position] = base.sizes
        sizes[into] += other.sizes
        live = np.flatnonzero(other.sizes)
        changed = into[live] if slots is None else slots[into[live]]
        batch = other.moments if len(live) == len(into) else other.moments.take(live)
        batch = batch.faded(1.0 / base.factor)
        fourth = None if base.fourth is None else base.fourth + other.fourth
        return replace(
            base, weight=base.weight + other.weight, sizes=sizes, slots=slots, fourth=fourth,
            update=(changed, base.moments.with_blocks(batch, changed)),
        )  # fmt: skip

    def written(self):
        """Write the update into the arrays, and return the statistics without it."""
        if self.update is None or not self.owned:
            return self
        slots, moments = self.update
        for ours, new in zip(self.moments.arrays, moments.arrays, strict=True):
            ours[slots] = new
        return replace(self, update=None)

    def shared(self):
        """Return the statistics for several holders: whoever adds to them copies them first."""
        return replace(self, owned=False)

    def settled(self, whole):
        """Return the result of `settle`, from the tasks' moments (`whole`) in the unit."""
        total, mean, variance = whole.pooled()
        square = (variance + (mean - np.append(self.keys.mean, 0.0)) ** 2)[:-1] * self.keys.scale**2
        tails = self.unit * self.fourth / total
        tails = np.divide(tails, square**2, out=np.zeros_like(tails), where=square > 0.0)
        return Settled(None, self.unit, trust=trust_of_moments(whole, tails))

    def _slots_of(self, tasks):
        return tasks if self.slots is None else self.slots[tasks]

    def _with_room(self, n_tasks):
        """Return the statistics without an update, in arrays of their own for `n_tasks` tasks."""
        has_room = n_tasks <= len(self.moments.weight)
        if self.owned and has_room and self.factor >= _LEAST_FACTOR:
            return self.written()
        n_seen = len(self.sizes)
        n_slots = n_seen if n_tasks == n_seen else max(n_tasks, int(_GROWTH * n_seen))
        moments = self.blocks(np.arange(n_seen)).expanded(n_slots, np.arange(n_seen))
        return replace(self, moments=moments, factor=1.0, slots=None, update=None, owned=True)

    def __getstate__(self):
        """Return the moments of the tasks only, without room for further ones.

        Arrays that were loaded may belong to a file, so that the first batch copies them.
        """
        state, n_tasks = self.shared(), len(self.sizes)
        if len(self.moments.weight) > n_tasks or self.slots is not None or self.update is not None:
            moments = self.blocks(np.arange(n_tasks))
            state = replace(state, moments=moments, factor=1.0, slots=None, update=None)
        return vars(state)


def _with_new_tasks(slots, n_tasks, position):
    """Return the slots of all tasks: new ones follow those so far, which have new positions."""
    out = np.full(n_tasks, -1)
    out[position] = slots
    out[out < 0] = np.arange(len(slots), n_tasks)
    return out
