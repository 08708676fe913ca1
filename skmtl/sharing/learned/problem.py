"""The rows of a fit with learners, and the linear models beside them."""

import contextlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from joblib import effective_n_jobs
from threadpoolctl import threadpool_limits

from .design import Rows

__all__ = ["RowProblem"]


@dataclass
class RowProblem:
    """The rows of a fit, sorted by task, in an order that depends on their content only.

    Attributes
    ----------
    rows : Rows
    y, weight : ndarray of shape (n_rows,)
    n_levels : ndarray of shape (n_columns,)
        Levels of the categories of the view.
    group : ndarray of shape (n_rows,)
        Equal rows of a task have the same number, and become one row of their joint weight before
        a learner sees them.
    partitions : list of Partition
        Schemes of cross-validation, in the order of the rows.
    fit_linear : callable
        Called with a structure of linear models and, optionally, another target of the rows;
        returns a `SharingFit` with `HeldOut` predictions in the order of the rows.
    n_tasks : int
    n_jobs : int or None
    seed : int
    progress : callable
    estimator : regressor or None
        A further learner that the user gives.
    factors : ndarray of shape (n_rows,) or None
        Weights of the rows' tasks, by which weights are multiplied in the fit of a learner.
    losses : TaskLosses or None
        The loss of every task.
    """

    rows: Rows
    y: np.ndarray
    weight: np.ndarray
    n_levels: np.ndarray
    group: np.ndarray
    partitions: list
    fit_linear: object
    n_tasks: int
    n_jobs: int | None = None
    seed: int = 0
    progress: object = field(default=lambda text: None)
    estimator: object = None
    factors: object = None
    losses: object = None

    def __post_init__(self):
        share = self.weight / self.weight.sum()
        mean = share @ self.y
        std = np.sqrt(share @ (self.y - mean) ** 2)
        if std <= 1e-12 * abs(mean):
            std = 1.0
        self.use_units(np.full(self.n_tasks + 1, mean), np.full(self.n_tasks + 1, std))

    def use_units(self, location, scale):
        """Set the location and the scale of every task's target, as learners see it."""
        self.location, self.scale = location, scale
        self.has_task_units = bool((scale != scale[0]).any())
        self.target = self.standardised(self.y)

    def standardised(self, values, codes=None):
        """Return targets or predictions of the rows in the units of the learners."""
        codes = self.rows.codes if codes is None else codes
        return (values - self.location[codes]) / self.scale[codes]

    def averaged(self, nested):
        """Return predictions of held-out rows, averaged over splits; NaN if there are none.

        Parameters
        ----------
        nested : ndarray of shape (n_splits, n_rows)
            As in `HeldOut`.
        """
        first = self.partitions[0]
        test = first.test[:, first.block]
        times = test.sum(axis=0)
        total = np.where(test, nested, 0.0).sum(axis=0)
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)

    @cached_property
    def n_distinct(self):
        """Number of different rows."""
        return len(np.unique(self.group))

    def merged(self, chosen):
        """Return one row of every group among the chosen rows, and the weights of the groups."""
        _, first, group = np.unique(self.group[chosen], return_index=True, return_inverse=True)
        if len(first) == len(chosen):
            return chosen, self.weight[chosen]
        order = np.argsort(first)  # keeps the order of the rows
        return chosen[first[order]], np.bincount(group, self.weight[chosen])[order]

    def with_factors(self, rows, weight):
        """Return weights of rows, multiplied by the weights of their tasks."""
        return weight if self.factors is None else weight * self.factors[rows]

    @property
    def n_rows(self):
        return len(self.y)

    @contextlib.contextmanager
    def threads(self):
        """Limit the threads of learners, of BLAS and OpenMP alike, to `n_jobs`."""
        with threadpool_limits(1 if self.n_jobs is None else effective_n_jobs(self.n_jobs)):
            yield
