"""`MultiTaskRegressor.partial_fit`, and fits to moments."""

import numbers
from typing import Any, Self

import numpy as np

from .._callbacks import Progress, with_callbacks
from .._compat import check_columns, fit_context
from .._jit import worker_pool
from .._typing import ArrayLike, MatrixLike
from ..sharing.problem import Problem
from ..sharing.tree import TaskTree
from ..tasks.blocks import folds
from ..tasks.copies import Settled
from ..tasks.fold_column import refuse_empty_folds
from ..tasks.seen import SeenRows
from ._learned import has_learners
from ._pending import PendingMixin, check_solve

__all__ = ["AvailableWithMoments", "NoMomentsError", "PartialFitMixin", "SeenRows"]


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
        if "tasks_" in vars(model) and vars(model).get("_kept") is None:
            raise NoMomentsError(
                "fit kept no moments that partial_fit could add to (keep_moments=False), and a new "
                "start would discard the fitted model; set keep_moments=True before fit, call "
                "partial_fit from the first rows on, or start with a clone of the estimator."
            )
        return self.method.__get__(model, owner)


class PartialFitMixin(PendingMixin):
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
        earlier = vars(self).get("_kept")
        return None if earlier is None else earlier.faded(decay)

    def _check_folds(self, n_folds, earlier):
        if (n_folds or 1) != earlier.n_folds:
            raise ValueError(
                f"cv={self.cv} differs from the {earlier.n_folds} folds of earlier calls of "
                "partial_fit; leave cv unchanged, or start with a clone of the estimator."
            )

    def _add_to(self, earlier, rows, seen):
        """Return the labels of all tasks, and the sum of earlier and new statistics."""
        n_tasks = len(seen.sizes)
        if (rows.labels is None) != (self._labels is None):
            raise ValueError("give tasks in every call of partial_fit, or in none.")
        if rows.labels is not None:
            labels, old, new = self._labels.union(rows.labels)
            return labels, earlier.plus(seen, new, len(labels), old)
        if n_tasks != len(earlier.sizes):
            raise ValueError(
                f"y has {n_tasks} tasks, but had {len(earlier.sizes)} in earlier calls; give one "
                "column per task, with NaN for missing labels."
            )
        self._check_target_names(rows.targets)
        if rows.targets is None and self._task_source == "target":
            rows.targets = self.tasks_  # the new y is an array without names
        return None, earlier.plus(seen, np.arange(n_tasks), n_tasks)

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
        solve: bool | int = True,
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
        solve : bool or int, default=True
            When the models are fitted. True: in this call. False: when they are next asked for, by
            `predict`, ``coef_`` or any other method or fitted attribute; this call only adds up
            moments, at a cost that depends on its own rows and tasks. A number n: in this call if
            at least n rows have come since the last fit, otherwise as with False.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For the same reasons as in `fit`, and if `cv` is neither an int nor None. Errors of
            these rows are raised in this call; with ``solve=False``, those of the fit (such as a
            fold without rows) when the models are asked for. Either leaves the moments unchanged.
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
        solve = check_solve(solve)
        n_folds, earlier = self._n_folds(), self._earlier(decay)
        if earlier is not None:
            check_columns(self, X, reset=False)
            self._check_folds(n_folds, earlier)
        return self._add_rows(X, y, sample_weight, task, n_folds, earlier, solve=solve)

    def _add_rows(
        self, X, y, sample_weight, task, n_folds, earlier=None, keep=True, empty_tasks=True,
        solve=True,
    ):  # fmt: skip
        """Add the statistics of rows to earlier ones, if any, and fit to the sums if it is time."""
        progress = Progress(self, X, y)
        rows, y, _, table = self._pack(
            X, y, sample_weight, task, anew=earlier is None, empty_tasks=empty_tasks
        )
        solver = self._linear_structure()
        self._restriction(solver, self._find_columns(X), rows.preprocessor, table.n_features)
        draft = self._draft()
        with worker_pool(self.n_jobs) as executor:
            keys, block = earlier and earlier.keys, self._folds_of_column(X, n_folds)
            seen = SeenRows.of(table, n_folds, self._seed(), executor, keys, block)
            if earlier is not None:
                rows.labels, seen = self._add_to(earlier, rows, seen)
            n_rows = draft._forget_solution() + len(y)
            draft._store_tasks(X, y, rows)
            if solve is True or (solve is not False and n_rows >= solve):
                draft._solve(solver, seen, executor, progress)
            else:
                draft._rows_to_solve = n_rows
        draft._kept = seen if keep else None
        self._become(draft)
        progress.end()
        return self

    def _solve(self, solver, seen, executor, progress, problem_class=Problem):
        """Fit all tasks to the statistics of their rows, with a `Problem` or one in shards."""
        restriction = self._restriction(
            solver, self._columns, self.preprocessor_, seen.moments.n_features
        )
        fitted, stds = self._fit_seen(solver, seen, restriction, executor, progress, problem_class)
        self._store_solution(solver, fitted, seen.sizes, stds)
        self._store_target(fitted)

    def _fit_seen(self, solver, seen, restriction, executor, progress, problem_class):
        """Fit to the statistics of rows, after the attributes of tasks and columns were set.

        Returns
        -------
        fitted : SharingFit
            The fit of all tasks, including those without rows.
        stds : ndarray of shape (n_features,)
            Standard deviations of the features.
        """
        has_rows = seen.sizes > 0
        blocks = seen.moments_of(has_rows)
        if self.fold_column is not None and self.cv is not None:
            refuse_empty_folds(self.fold_column, blocks.weight.sum(axis=0))
        settled, schemes, whole = Settled(None), [], blocks.merge(executor=executor)
        stds = np.sqrt(whole.pooled()[2][:-1])
        if self.cv is not None:
            blocks, whole = blocks.faded(seen.unit), whole.faded(seen.unit)
            settled, schemes = seen.settled(whole), [(blocks, folds(None, seen.n_folds))]
        # The columns of a 2-D target are in the order of `tasks_`.
        labels = self.tasks_ if self._labels is None else self._labels
        settled = self._weigh_moments(settled, solver, labels, has_rows, blocks, whole)
        problem = problem_class(
            schemes, whole, executor=executor, progress=progress, within=self._within(solver),
            copies=settled,
        )  # fmt: skip
        problem.restrict(restriction)
        return self._fit_problem(solver, problem).with_empty_tasks(has_rows), stds
