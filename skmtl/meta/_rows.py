"""Rows as learners take them: weights with a unit, in an order that depends only on content."""

from dataclasses import dataclass

import numpy as np

from ..learners.base import LabelledTasks
from ..tasks.copies import MOST_PARTS, distinct_rows, relative_rows, settle
from ..tasks.keys import by_size, mixed, row_order
from ..tasks.stack import as_dense

__all__ = ["RowWeighting", "arranged"]


@dataclass(frozen=True)
class RowWeighting:
    """Interpretation of equal rows and of weights.

    Attributes
    ----------
    copies : bool
        Whether equal rows of a task are copies of one row, rather than equal by chance.
    counts : bool
        Whether they are equal by chance, and weights are whole numbers that count rows.
    factor : float
        Factor by which the weights of the table were multiplied.
    """

    copies: bool
    counts: bool
    factor: float

    def of_tasks(self, tasks):
        """Return the weights of `tasks` as `support` returns them for each task."""
        if self.counts:
            return tasks.weight
        total = tasks.sums(tasks.weight)
        return tasks.weight * (tasks.sizes / np.maximum(total, 1e-300))[tasks.codes]

    def support(self, X, y, weight):
        """Select and weigh the rows of a new task, all of positive weight, like those of the table.

        Returns
        -------
        rows, weight : ndarray
            Indices of the rows to use, and their weights: counts, or relative to the task's mean.
        """
        if not len(y):
            return np.zeros(0, dtype=np.int64), weight
        if not (self.counts and (weight == np.rint(weight)).all()):
            return relative_rows(X, y, weight, self.copies)
        first, total = distinct_rows(X, y, weight)
        total *= self.factor
        n_parts = np.clip(np.floor(total + 1e-9), 1, MOST_PARTS).astype(np.int64)
        return np.repeat(first, n_parts), np.repeat(total / n_parts, n_parts)


def arranged(table):
    """Arrange the rows and tasks of a table in an order that depends only on their content.

    Returns
    -------
    rows : LabelledTasks
        The tasks that have rows; labels and features as in the table.
    tasks : ndarray
        Indices of these tasks in the table.
    weighting : RowWeighting
    trust : ndarray of shape (n_features,)
        Zero for columns that get no slope.
    """
    weight = table.weights()
    whole = bool((weight == np.rint(weight)).all())
    settled = settle(table, classes=table.y.dtype.kind != "f")
    table = settled.table
    order, weight = row_order(table), table.weights()
    rows = LabelledTasks(
        as_dense(table.X[table.rows[order]]), table.y[order], weight[order], table.offsets
    )
    filled = np.flatnonzero(table.task_sizes())
    total, content = table.task_sums(weight), table.task_sums(mixed(table.keys))
    tasks = filled[by_size(total[filled], content[filled])]
    weighting = RowWeighting(settled.together, whole and not settled.together, settled.unit)
    return rows.take(tasks), tasks, weighting, settled.trust
