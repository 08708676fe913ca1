"""`MultiTaskRegressor.partial_fit`, and the statistics that it keeps of the rows."""

import numbers
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from .._callbacks import Progress, with_callbacks
from .._compat import check_columns, fit_context
from .._jit import worker_pool
from .._typing import ArrayLike, MatrixLike
from ..sharing.problem import Problem
from ..sharing.tree import TaskTree
from ..tasks.blocks import deal_blocks, folds
from ..tasks.cells import shared_cells
from ..tasks.copies import Settled
from ..tasks.evidence import trust_of_moments
from ..tasks.fold_column import refuse_empty_folds
from ..tasks.keys import RowKeys
from ..tasks.moments import TaskMoments, block_moments
from ._learned import has_learners

__all__ = ["AvailableWithMoments", "NoMomentsError", "PartialFitMixin", "SeenRows"]


@dataclass(frozen=True)
class SeenRows:
    """Statistics of the rows that `partial_fit` has seen.

    Attributes
    ----------
    moments : TaskMoments of shape (n_tasks, n_folds)
    weight : float
        Total weight of the rows, without decay.
    sizes : ndarray of shape (n_tasks,)
        Numbers of rows.
    keys : RowKeys or ColumnUnits or None
        Keys by which rows are assigned to folds, and means and scales of the columns; without the
        former if the folds come from a column.
    fourth : ndarray of shape (n_features,) or None
        Sums of the fourth powers of the columns, in the units of `keys`.
    """

    moments: TaskMoments
    weight: float
    sizes: np.ndarray
    keys: RowKeys | None = None
    fourth: np.ndarray | None = None

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
            return cls(block_moments(table, executor=executor), weight, sizes)
        keys = keys or RowKeys.learn(table.X, table.y, table.sample_weight, table.rows)
        if block is None:
            table = replace(table, keys=keys.keys(table.X, table.y, table.rows))
            cells = shared_cells(table, keys.feature_keys(table.X, table.rows))
            block = deal_blocks(replace(table, cells=cells), n_folds, seed)
        else:
            block = block[table.rows]
        moments = block_moments(table, block, n_folds, executor)
        fourth = keys.fourth_powers(table.X, table.weights(), table.rows)
        return cls(moments, weight, sizes, keys, fourth)

    def moments_of(self, has_rows):
        """Return a copy of the moments of the tasks that have rows."""
        if isinstance(self.moments, TaskMoments):
            return self.moments.take(np.flatnonzero(has_rows))
        return replace(self.moments)  # in shards, where all tasks have rows

    @property
    def unit(self):
        """Factor that gives the weights a mean of one."""
        return self.sizes.sum() / self.weight

    @property
    def n_folds(self):
        """Number of folds."""
        return self.moments.weight.shape[1]

    def faded(self, decay):
        """Return the statistics with all weights multiplied by `decay`."""
        fourth = None if self.fourth is None else self.fourth * decay
        return replace(self, moments=self.moments.faded(decay), fourth=fourth)

    def plus(self, other, n_tasks, position, other_position):
        """Return the sum with other statistics, whose tasks have other positions among all tasks.

        Parameters
        ----------
        other : SeenRows
        n_tasks : int
            Number of all tasks.
        position, other_position : ndarray of int
            Positions of the tasks of both among all tasks.
        """
        moments, sizes = self.moments.expanded(n_tasks, position), np.zeros(n_tasks, dtype=np.int64)
        moments.add(other.moments, other_position)
        sizes[position] += self.sizes
        sizes[other_position] += other.sizes
        fourth = None if self.fourth is None else self.fourth + other.fourth
        return SeenRows(moments, self.weight + other.weight, sizes, self.keys, fourth)

    def settled(self, whole):
        """Return the result of `settle`, from the tasks' moments (`whole`) in the unit."""
        total, mean, variance = whole.pooled()
        square = (variance + (mean - np.append(self.keys.mean, 0.0)) ** 2)[:-1] * self.keys.scale**2
        tails = self.unit * self.fourth / total
        tails = np.divide(tails, square**2, out=np.zeros_like(tails), where=square > 0.0)
        return Settled(None, self.unit, trust=trust_of_moments(whole, tails))


class NoMomentsError(ValueError, AttributeError):
    """The model was fitted without the moments that `partial_fit` needs.

    It is also an AttributeError, so that `hasattr` finds no `partial_fit`.
    """


class AvailableWithMoments:
    """Descriptor of `partial_fit`, which is missing if the last fit kept no moments."""

    def __init__(self, method):
        self.method = method

    def __get__(self, model, owner=None):
        if model is None:
            return self.method
        if model._learned is not None:
            raise AttributeError(model._not_linear("partial_fit"))
        found = model._needs_all_rows()
        if found is not None:
            raise AttributeError(
                f"{found[0]} all rows at once, so there is no partial_fit; call fit, or {found[1]}."
            )
        if hasattr(model, "coef_") and model._kept is None:
            raise NoMomentsError(
                "fit kept no moments that partial_fit could add to (keep_moments=False), and a new "
                "start would discard the fitted model; set keep_moments=True before fit, call "
                "partial_fit from the first rows on, or start with a clone of the estimator."
            )
        return self.method.__get__(model, owner)


class PartialFitMixin:
    """`partial_fit` of the regressor, and fits to moments of rows that are not in memory."""

    _n_folds: Any  # of `MultiTaskBase`

    def _needs_all_rows(self):
        """Return which parameter needs all rows, and the remedy; None if moments suffice."""
        sharing = f"sharing={self.sharing!r}"
        if has_learners(self.sharing) and not self._has_linear_part():
            return f"{sharing} fits learners, which need", "set sharing='partial_pooling'"
        if self.grouping_columns is not None:
            listed = self._listed_groupings()
            return f"grouping_columns={listed!r} needs", "set grouping_columns=None"
        if isinstance(self.task_weight, str) and self.task_weight == "uncertainty":
            return "task_weight='uncertainty' learns noise levels, which needs", (
                "set task_weight='balanced', a dict from tasks to weights (such as "
                "1 / task_noise_**2 of an earlier fit), or None"
            )
        if self._minimises_scores():
            return f"loss={self.loss!r} needs", "set loss='squared_error'"
        if isinstance(self._named_object(), TaskTree):
            return "sharing=TaskTree needs", "set sharing='partial_pooling'"
        return None

    def _earlier(self, decay):
        """Return the decayed statistics of earlier calls; None in the first call."""
        number = isinstance(decay, numbers.Real) and not isinstance(decay, bool)
        if not number or not 0.0 < decay <= 1.0:
            raise ValueError(f"decay={decay!r} must be a number above 0 and at most 1.")
        return self._kept.faded(decay) if hasattr(self, "coef_") else None

    def _add_to(self, earlier, rows, seen):
        """Return the labels of all tasks, and the sum of earlier and new statistics."""
        n_tasks = len(seen.sizes)
        if seen.n_folds != earlier.n_folds:
            raise ValueError(
                f"cv={self.cv} differs from the {earlier.n_folds} folds of earlier calls of "
                "partial_fit; leave cv unchanged, or start with a clone of the estimator."
            )
        if (rows.labels is None) != (self._labels is None):
            raise ValueError("give tasks in every call of partial_fit, or in none.")
        if rows.labels is not None:
            labels, old, new = self._labels.union(rows.labels)
            return labels, earlier.plus(seen, len(labels), old, new)
        if n_tasks != len(earlier.sizes):
            raise ValueError(
                f"y has {n_tasks} tasks, but had {len(earlier.sizes)} in earlier calls; give one "
                "column per task, with NaN for missing labels."
            )
        self._check_target_names(rows.targets)
        if rows.targets is None and self._task_source == "target":
            rows.targets = self.tasks_  # the new y is an array without names
        return None, earlier.plus(seen, n_tasks, np.arange(n_tasks), np.arange(n_tasks))

    @AvailableWithMoments
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        task: ArrayLike | None = None,
        decay: float = 1.0,
    ) -> Self:
        """Add the moments of further rows to those of earlier calls, and fit all tasks again.

        If the strengths are numbers, the result is the same as that of `fit` on all rows. With
        strengths "auto", which are tuned again in every call, it differs only by the assignment of
        rows to folds. New tasks may appear in any call. A preprocessor is fitted in the first call
        only.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Further rows, like those of `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels. A 2-D y must have the same tasks in every call; a task may have no labels in
            some calls.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of these rows.
        task : array-like of shape (n_samples,), default=None
            Task labels, if X has no task column.
        decay : float, default=1.0
            Factor on the weights of the rows of earlier calls, above 0 and at most 1, so that the
            model follows a drift: with 0.5 in monthly calls, rows that are three months old have an
            eighth of their weight.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For the same reasons as in `fit`, and if `cv` is neither an int nor None.
        NoMomentsError
            A ValueError, after a `fit` that kept no moments.
        AttributeError
            For learners, grouping columns and ``task_weight="uncertainty"``, which need all rows.
            With "auto", all calls fit linear models.

        Notes
        -----
        The estimator, and its pickle, contain the moments of every task and fold, not the rows:
        ``8 * n_tasks * cv * (n_features + 2) ** 2`` bytes, which is 40 MB for 1,000 tasks, 5 folds
        and 30 features. `fit` keeps them only with ``keep_moments=True``.

        With strengths "auto", weights are relative to their mean over all rows so far, and copies
        of rows are not recognised. There is one assignment of rows to folds, by statistics of the
        first call, which `fit` repeats on small tables. `predict_interval` uses the normal
        distribution, as no rows are available.
        """
        n_folds, earlier = self._n_folds(), self._earlier(decay)
        if earlier is not None:
            check_columns(self, X, reset=False)
        return self._add_rows(X, y, sample_weight, task, n_folds, earlier)

    def _add_rows(
        self, X, y, sample_weight, task, n_folds, earlier=None, keep=True, empty_tasks=True
    ):
        """Fit to the sums of earlier statistics, if any, and those of further rows."""
        progress = Progress(self, X, y)
        rows, y, _, table = self._pack(
            X, y, sample_weight, task, anew=earlier is None, empty_tasks=empty_tasks
        )
        solver = self._linear_structure()
        restriction = self._restriction(solver, X, rows.preprocessor, table)
        with worker_pool(self.n_jobs) as executor:
            keys, block = earlier and earlier.keys, self._folds_of_column(X, n_folds)
            seen = SeenRows.of(table, n_folds, self._seed(), executor, keys, block)
            if earlier is not None:
                rows.labels, seen = self._add_to(earlier, rows, seen)
            if block is not None:
                refuse_empty_folds(self.fold_column, seen.moments.weight.sum(axis=0))
            fitted, stds = self._fit_seen(solver, seen, rows, y, restriction, executor, progress)
        self._store(X, y, rows, solver, fitted, seen.sizes, stds)
        return self._finish(progress, fitted, seen if keep else None)

    def _finish(self, progress, fitted, seen):
        """Set what depends on the fit alone, and keep the statistics of the rows seen."""
        self.target_scale_ = "table" if fitted.adapter.units is None else "task"
        self._kept = seen
        self._store_losses(fitted.loss)
        progress.end()
        return self

    def _fit_seen(
        self, solver, seen, rows, y, restriction, executor, progress, problem_class=None
    ):  # fmt: skip
        """Fit to the statistics of rows, by default with a `Problem`.

        Returns
        -------
        fitted : SharingFit
            The fit of all tasks, including those without rows.
        stds : ndarray of shape (n_features,)
            Standard deviations of the features.
        """
        has_rows = seen.sizes > 0
        blocks = seen.moments_of(has_rows)
        settled, schemes, whole = Settled(None), [], blocks.merge(executor=executor)
        stds = np.sqrt(whole.pooled()[2][:-1])
        if self.cv is not None:
            blocks, whole = blocks.faded(seen.unit), whole.faded(seen.unit)
            settled, schemes = seen.settled(whole), [(blocks, folds(None, seen.n_folds))]
        settled = self._weigh_moments(settled, solver, rows, y, has_rows, blocks, whole)
        problem = (problem_class or Problem)(
            schemes, whole, executor=executor, progress=progress, within=self._within(solver),
            copies=settled,
        )  # fmt: skip
        problem.restrict(restriction)
        return self._fit_problem(solver, problem).with_empty_tasks(has_rows), stds
