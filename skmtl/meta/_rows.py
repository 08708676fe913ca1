"""Rows of tasks as learners get them: in an order that only content decides, weights in a unit."""

from dataclasses import dataclass

import numpy as np

from ..learners.base import LabelledTasks
from ..tasks.copies import MOST_PARTS, distinct_rows, relative_rows, settle
from ..tasks.keys import by_size, mixed, row_order
from ..tasks.stack import as_dense

__all__ = ["Unit", "arranged"]


@dataclass(frozen=True)
class Unit:
    """What equal rows and weights of a table mean.

    Attributes
    ----------
    together : bool
        Equal rows of a task are copies of one, rather than alike by chance.
    counts : bool
        They are not, and weights are whole numbers, which count rows.
    factor : float
        What weights of the table were multiplied by.
    """

    together: bool
    counts: bool
    factor: float

    def of_tasks(self, tasks):
        """The weights of `tasks` as `support` has them, each task by itself."""
        if self.counts:
            return tasks.weight
        total = np.bincount(tasks.codes, tasks.weight, minlength=tasks.n_tasks)
        return tasks.weight * (tasks.sizes / np.maximum(total, 1e-300))[tasks.codes]

    def support(self, X, y, weight):
        """Rows of a new task, all of positive weight, as those of the table were arranged.

        Returns
        -------
        rows, weight : ndarray
            Which rows there are, and their weights: relative to the mean of the task's, or counts.
        """
        if not len(y):
            return np.zeros(0, dtype=np.int64), weight
        if not (self.counts and (weight == np.rint(weight)).all()):
            return relative_rows(X, y, weight, self.together)
        first, total = distinct_rows(X, y, weight)
        total *= self.factor
        n_parts = np.clip(np.floor(total + 1e-9), 1, MOST_PARTS).astype(np.int64)
        return np.repeat(first, n_parts), np.repeat(total / n_parts, n_parts)


def arranged(table):
    """The table's rows and tasks in an order that only their content decides.

    Returns
    -------
    rows : LabelledTasks
        Those tasks that have rows; labels and features as they are in the table.
    tasks : ndarray
        Which tasks of the table these are.
    unit : Unit
    trust : ndarray of shape (n_features,)
        Zero for columns that get no slope.
    """
    weight = table.weights()
    whole = bool((weight == np.rint(weight)).all())
    settled = settle(table, classes=table.y.dtype.kind != "f")
    table = settled.table
    order, sizes = row_order(table), table.task_sizes()
    rows = LabelledTasks(
        as_dense(table.X[table.rows[order]]), table.y[order], table.weights()[order],
        table.offsets,
    )  # fmt: skip
    filled = np.flatnonzero(sizes)
    total, content = table.task_sums(table.weights()), table.task_sums(mixed(table.keys))
    tasks = filled[by_size(total[filled], content[filled])]
    unit = Unit(settled.together, whole and not settled.together, settled.unit)
    return rows.take(tasks), tasks, unit, settled.trust
