"""Base class of the multi-task estimators."""

import numbers
import reprlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, StrOptions
from .._jit import worker_pool
from .._typing import Frame, NDArray
from .._validation import check_magnitudes, check_weights
from ..base import TaskEstimator
from ..losses import LOG_LOSS, Loss
from ..sharing import BY_NAME
from ..sharing.joined import join
from ..sharing.restriction import UNRESTRICTED
from ..task_models import LinearTaskClassifier, LinearTaskModel
from ..tasks.blocks import partitions
from ..tasks.columns import as_table
from ..tasks.copies import Settled, settle
from ..tasks.features import output_names, output_sources
from ..tasks.fold_column import folds_of_rows, refuse_empty_folds
from ..tasks.splits import check_n_folds
from ..tasks.stack import as_dense
from ..tasks.view import RowView
from ._groupings import GroupingsMixin
from ._learned import LearnedMixin, has_learners
from ._levels import LevelsMixin
from ._summary import SummaryMixin
from ._table_fit import TableFit
from ._weights import WeightsMixin, labels_of

__all__ = ["MultiTaskBase"]


@dataclass
class _Call:
    """What a call of `fit` has read, for the fits of its tasks.

    Attributes
    ----------
    X, y : array-like
        Arguments of `fit`, for splitters and names.
    codes : ndarray of shape (n_samples,)
    rows : ResolvedRows
    view : RowView or None
        None if the structure fits linear models only.
    groupings : Groupings or None
    levels : Levels or None
    above : TaskLevels or None
    has_rows : bool ndarray of shape (n_all_tasks,)
    make_problem, progress : callable
    """

    X: object
    y: object
    codes: np.ndarray
    rows: object
    view: object
    groupings: object
    levels: object
    above: object
    has_rows: np.ndarray
    make_problem: object
    progress: object

    def hidden(self):
        """Return columns ``(n_samples, n_hidden)`` beside X that distinguish rows, or None."""
        parts = [] if self.levels is None else [self.levels.mean_targets(self.y)]
        if self.view is not None:
            parts.insert(0, self.view.hidden)
        return np.hstack(parts) if parts else None


TaskModel = TypeVar("TaskModel", LinearTaskModel, LinearTaskClassifier)


class MultiTaskBase(
    LearnedMixin,
    WeightsMixin,
    GroupingsMixin,
    LevelsMixin,
    SummaryMixin,
    TaskEstimator,
    Generic[TaskModel],
):
    """Base class of the multi-task estimators."""

    _parameter_constraints: dict = {
        **TaskEstimator._parameter_constraints,
        "sharing": [
            StrOptions(set(BY_NAME)),
            HasMethods(["fit_problem"]),
            HasMethods(["fit_rows"]),
        ],
        "grouping_columns": [str, numbers.Integral, "array-like", Mapping, None],
        "fold_column": [str, numbers.Integral, None],
        "cv": ["cv_object", None],
        "loss": [str, Mapping, Loss],
        "task_weight": [StrOptions({"balanced", "uncertainty"}), Mapping, None],
    }
    _named = "sharing", BY_NAME, "skmtl.sharing"

    def _share(self, X, y, codes, table, make_problem, rows, progress):
        """Fit the sharing structure.

        Parameters
        ----------
        X, y : array-like
            Arguments of `fit`, for splitters and names.
        codes : ndarray of shape (n_samples,)
            Task of each row.
        table : TaskTable
        make_problem : callable
            Returns for a `Loss` what makes the problem of a `TableFit`.
        rows : ResolvedRows
        progress : Progress

        Returns
        -------
        solver : object
            A copy of the sharing structure.
        fitted : SharingFit
            The fit of all tasks, including those without rows.
        """
        solver = self._structure()
        has_rows = table.task_sizes() > 0
        labels = labels_of(rows, y, len(has_rows))
        losses, given = self._check_task_parameters(solver, labels, has_rows, table)
        groupings, levels = self._read_groupings(X, y)
        above = self._read_levels(solver, rows, y, table, losses)
        view = None
        if hasattr(solver, "fit_rows"):
            view = RowView.of(rows.preprocessor, rows.raw, rows.X)
        call = _Call(
            X, y, codes, rows, view, groupings, levels, above, has_rows, make_problem, progress
        )
        table = table.without_empty_tasks()
        if view is not None or losses.single is not None:
            fitted = self._fit_tasks(solver, table, losses, given, call)
            return solver, fitted.with_empty_tasks(has_rows)
        fits = []
        for k, loss in enumerate(losses.losses):
            progress(f"fitting the tasks with loss={loss.name!r}")
            tasks = np.flatnonzero(losses.positions == k)
            weights = None if given is None else given[tasks]
            try:
                part = table.take(tasks)
                fits.append(self._fit_tasks(solver, part, losses.take(tasks), weights, call))
            except ValueError as error:
                raise ValueError(f"the tasks with loss={loss.name!r}: {error}") from error
        return solver, join(fits, losses, self._loss).with_empty_tasks(has_rows)

    def _fit_tasks(self, solver, table, losses, given, call):
        """Return the `SharingFit` of tasks that are fitted together.

        Parameters
        ----------
        solver : object
            The sharing structure.
        table : TaskTable
            Tasks with rows.
        losses : TaskLosses
        given : ndarray of shape (n_tasks,) or None
            Weights of the tasks, if they are a mapping.
        call : _Call
        """
        parts, rows, progress = [], call.rows, call.progress
        is_linear = call.view is None
        classes = is_classifier(self) or (is_linear and losses.single is LOG_LOSS)
        settled = self._settled_by_loss(table, call.hidden(), losses, classes)
        if call.levels is not None:  # their effects are what rows with the same features share
            settled = replace(settled, table=replace(settled.table, cells=None))
        if self.cv is not None:
            parts = partitions(
                settled.table, self._scheme(call.X), X=call.X, y=call.y, groups=call.codes,
                seed=self._seed(), classifier=classes,
                is_part=table.n_tasks < call.has_rows.sum(),
            )  # fmt: skip
        with worker_pool(self.n_jobs) as executor:
            loss = losses.single if is_linear else self._loss
            fit_table = TableFit(
                self, call.X, rows.preprocessor, call.make_problem(loss), parts, executor,
                progress, loss, call.groupings, call.levels, call.above, call.has_rows,
            )  # fmt: skip

            def fit(settled):
                if is_linear:
                    return fit_table(solver, settled)
                return self._learn(
                    solver, settled, parts, fit_table, rows, call.view, progress, losses
                )

            fitted, noise = self._fit_weighted(solver, settled, losses, given, fit, progress)
        if fitted.crossed is not None:
            crossed = fitted.crossed.with_caller_weights(settled.unit)
            residual = max(fitted.kkt_residual, crossed.residual)
            fitted = replace(fitted, crossed=crossed, kkt_residual=residual)
        if fitted.residual_scale is not None:
            fitted.residual_scale.out_of_range = fitted.out_of_range(table.X)
        self._warn_of_fit(table, fitted)
        return replace(fitted, noise=noise)

    def _warn_of_fit(self, table, fitted):
        """Warn if the fit of some tasks stopped early, or has no solution."""

    def _warn_of_early_stop(self, fitted, stacklevel, what="KKT residual"):
        """Warn if Newton's method has not reached the tolerance."""
        if fitted.kkt_residual > self.tol:
            warnings.warn(
                f"the final fit stopped at a {what} of {fitted.kkt_residual:.1e}, above "
                f"tol={self.tol:g}, after {fitted.n_iter} steps; increase "
                f"max_iter={self.max_iter} or tol.",
                ConvergenceWarning,
                stacklevel=stacklevel + 1,
            )

    def _fit_problem(self, solver, problem):
        return solver.fit_problem(problem)

    def _minimises_scores(self):
        """Return whether linear models of a regression minimise another loss than squares."""
        return False

    def _within(self, solver):
        """Return whether features are scaled by their variation within tasks."""
        return self.cv is not None and getattr(solver, "tuned", False)

    def _scheme(self, X):
        """Return `cv`, or its splits if a column has the folds."""
        if self.fold_column is None:
            return self.cv
        folds = self._folds_of_column(X, self._n_folds())
        refuse_empty_folds(self.fold_column, np.bincount(folds, minlength=self.cv))
        return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(self.cv)]

    def _n_folds(self):
        """Return the number of folds that a column assigns, or that are dealt batch by batch."""
        if self.cv is None:
            return None
        if not isinstance(self.cv, numbers.Integral):
            why = "partial_fit and lazy frames assign rows to folds one by one"
            if self.fold_column is not None:
                why = f"fold_column={self.fold_column!r} has the folds"
            given = reprlib.repr(self.cv)
            raise ValueError(f"cv={given} must be an int or None, because {why}; set cv=5.")
        check_n_folds(self.cv)
        return int(self.cv)

    def _folds_of_column(self, X, n_folds):
        """Return the folds ``(n_samples,)`` of the rows by ``fold_column``; None without it."""
        if self.fold_column is None or n_folds is None:
            return None
        return folds_of_rows(as_table(X), self.fold_column, n_folds, self._seed())

    def _settled_by_loss(self, table, hidden, losses, classes):
        """Return `_settled` in the caller's units, whatever the unit of targets of squared error.

        Rows are ordered by a standardised target, in which 0 and 1 would otherwise hang on it.
        """
        if classes or losses.single is self._loss or losses.single not in (None, LOG_LOSS):
            return self._settled(table, hidden, classes)
        location, scale = losses.units(table.y, table.codes, table.weights())
        codes = table.codes
        table = replace(table, y=(table.y - location[codes]) / scale[codes])
        settled = self._settled(table, hidden, classes)
        table, codes = settled.table, settled.table.codes
        return replace(settled, table=replace(table, y=location[codes] + scale[codes] * table.y))

    def _settled(self, table, hidden=None, classes=False):
        """Return the table with weights in the unit for tuning, and with copies recognised.

        `hidden` are columns ``(n_samples, n_hidden)`` beside X that also distinguish rows, and
        `classes` says whether the target holds codes of classes.
        """
        if self.cv is None:
            return Settled(table)
        if len(table.rows) < 4:
            raise ValueError(
                f"Found {len(table.rows)} sample(s) with a label and weight "
                f"(n_samples = {len(table.rows)}), but tuning and the report need at least 4; "
                "with fewer, give numbers for the strengths and set cv=None."
            )
        fixed_rows = self.fold_column is not None or not isinstance(self.cv, numbers.Integral)
        if hidden is None or not hidden.shape[1]:
            return settle(table, fixed_rows, classes)
        if sparse.issparse(table.X):
            both = sparse.hstack([table.X, sparse.csr_matrix(hidden)], format="csr")
        else:
            both = np.column_stack([table.X, hidden])
        settled = settle(replace(table, X=both), fixed_rows, classes)
        trust = np.asarray(settled.trust)[: table.n_features]
        return replace(settled, table=replace(settled.table, X=table.X), trust=trust)

    def _restriction(self, solver, columns, preprocessor, n_features):
        """Return the structure's restriction of the slopes.

        `columns` are the `FeatureColumns` of the table, and `n_features` is their number after
        preprocessing.
        """
        if not hasattr(solver, "restriction"):  # not a structure of `skmtl.sharing`
            return UNRESTRICTED
        if has_learners(self.sharing):  # the features are not only those of X
            return solver.restriction([f"x{j}" for j in range(n_features)])
        return solver.restriction(_feature_names(columns, preprocessor, n_features))

    def _store(self, X, y, rows, solver, fitted, sizes, stds):
        """Set the fitted attributes, after everything else has succeeded."""
        self._store_tasks(X, y, rows)
        self._store_solution(solver, fitted, sizes, stds)

    def _store_solution(self, solver, fitted, sizes, stds):
        """Set the fitted attributes beside those of `_store_tasks`.

        `sizes` are the numbers of rows of the tasks, and `stds` the standard deviations of the
        features after preprocessing.
        """
        self._store_learned(fitted)
        self._store_noise(fitted)
        self._store_groupings(fitted)
        self._store_levels(fitted, solver, sizes)
        if self._learned is None:
            self.coef_, self.intercept_ = fitted.coef, fitted.intercept
            self.shared_coef_ = fitted.shared_coef
            self.shared_intercept_ = fitted.shared_intercept
            names = _feature_names(self._columns, self.preprocessor_, fitted.coef.shape[-1])
            self.coef_feature_names_ = names
        self.kkt_residual_, self.n_iter_ = fitted.kkt_residual, fitted.n_iter
        for name, value in fitted.strengths.items():
            setattr(solver, f"{name}_", value)
        self.sharing_ = solver
        self.history_ = fitted.history
        self._adapter, self._residual_scale = fitted.adapter, fitted.residual_scale
        self.task_report_ = self._make_report(fitted.report, sizes)
        self._store_level_report(sizes)
        self._store_summary(fitted, sizes)
        self._importances = None
        if self._learned is None:
            self._importances = self._column_importances(sizes, stds)

    @property
    def feature_importances_(self) -> NDArray:
        """Importances of the columns of X, one per column.

        The importance of a feature is its absolute slope times its standard deviation over the
        table, averaged over the rows (and classes). For a column of categories, it is the sum over
        the levels. The task column and grouping columns have the largest importance of all
        features, so that feature selection never drops them; excluded columns have 0.

        Raises
        ------
        AttributeError
            If a custom transformer does not show which columns its outputs come from.
        """
        check_is_fitted(self)
        if self._importances is None:
            raise self._no_importances()
        return self._importances

    def _column_importances(self, sizes, stds):
        """Return the importances of the columns of X, or None if they are unknown."""
        columns, slopes = self._columns, np.tensordot(sizes / sizes.sum(), np.abs(self.coef_), 1)
        importances = (slopes if slopes.ndim == 1 else slopes.mean(axis=0)) * stds
        sources = output_sources(self.preprocessor_, columns, len(importances))
        if sources is None:
            return None
        features = np.bincount(sources, importances, minlength=columns.n_features)
        out = np.zeros(self.n_features_in_)
        out[np.delete(np.arange(len(out)), columns.others)] = features
        out[[*columns.tasks, *columns.groupings]] = features.max(initial=0.0)
        return out

    def _make_report(self, report, sizes):
        if not report:
            return {}
        table = {
            "task": np.r_[self.tasks_.astype(object), np.array([None], dtype=object)],
            "n_samples": np.r_[sizes, 0],
            **report,
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            for other in ("independent", "pooled"):
                table[f"gain_over_{other}"] = 1.0 - table["error_shared"] / table[f"error_{other}"]
        return table

    def for_task(self, label: object) -> TaskModel:
        """Return the model of one task as a fitted estimator.

        Parameters
        ----------
        label : str, int or tuple
            One of ``tasks_``.

        Returns
        -------
        LinearTaskModel or LinearTaskClassifier
            A small, picklable estimator that predicts single rows fast. It takes columns before
            preprocessing, which is included; the task column and excluded columns are ignored.

        Raises
        ------
        ValueError
            If the task was not seen in fit.
        """
        t = self._find_task(label)
        errors = self._errors_of_task(t)
        if self._learned is not None:
            return self._learned_task_model(self._learned.for_task(t), errors)
        return self._task_model(self.coef_[t], self.intercept_[t], errors, self._loss_at(t))

    def _errors_of_task(self, t):
        """Return what is known of the errors of a task: the scale of its residuals, or None."""
        return self._residual_scale and self._residual_scale.take(np.array([t]))

    def _adapt(self, X, y, sample_weight, **kwargs):
        check_is_fitted(self)
        adapter = loss = None
        if self._learned is None:
            adapter, loss = self._adapter_of(kwargs.pop("loss", None))
            reader = self._task_model(self.shared_coef_, self.shared_intercept_, None, loss)
        else:
            reader = self._learned_task_model(None, None)
        rows, X = X, reader.features(X)
        y = self._check_support(y, loss)
        check_consistent_length(X, y)
        weight = check_weights(sample_weight, len(y))
        check_magnitudes(X, y, weight)
        weight = np.ones(len(y)) if weight is None else weight
        X = as_dense(X)
        known = self._known_of_new(rows, X)
        if known.offset is not None:
            kwargs["offset"] = known.offset[:, None]
        if self._learned is not None:
            blend, error = self._adapt_learned(rows, X, y, weight, known.adapter, **kwargs)
            if known.model is not None:
                blend.coef, blend.intercept = known.added_to(blend.coef, blend.intercept)
            errors = self._errors_of_new_task(self._residual_scale, error, X, y, weight)
            return self._learned_task_model(blend, errors)
        coef, intercept, error = (known.adapter or adapter).adapt(X, y, weight, **kwargs)
        errors = self._errors_of_new_task(adapter.residual_scale, error, X, y, weight)
        return self._task_model(*known.added_to(coef, intercept), errors, loss)

    def _errors_of_new_task(self, scale, std, X, y, weight):
        """Return the scale of the residuals of a new task; None if it is unknown."""
        if scale is None or std is None:
            return None
        X, _, weight = self._adapter_of(None)[0].support(X, y, weight)
        out_of_range = self._residual_scale.out_of_range
        return replace(
            scale,
            std=np.array([std]),
            out_of_range=out_of_range and out_of_range.of_new_task(X, weight),
        )

    def coef_frame(self, kind: Literal["total", "own"] = "total", *, level: object = None) -> Frame:
        """Return the coefficients as a pandas data frame: one row per task, one column per feature.

        Parameters
        ----------
        kind : {"total", "own"}, default="total"
            "total" are the coefficients of the tasks' models, ``intercept_`` and ``coef_``. "own"
            are the differences to the shared model, ``coef_ - shared_coef_``, also for the
            intercept.
        level : str or int, default=None
            A level above the tasks, one of the keys of ``level_coef_``: one row per group of this
            level instead of one row per task.

        Returns
        -------
        pandas.DataFrame of shape (n_tasks + 1, n_features + 1)
            The index contains ``tasks_`` and has the name of the task column, or else "task". The
            last row is the shared model for either kind, so that total is own plus the last row.
            Its label is None, as in ``task_report_``; None is not a valid task label. The
            columns are "intercept" ("(intercept)" if a feature has that name) and
            ``coef_feature_names_``. With more than two classes, the columns have two levels,
            "class" and "feature", and there are ``n_classes * (n_features + 1)`` of them.

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            If `kind` is neither "total" nor "own", and for a level that the model does not have.
        NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> frame = MultiTaskRegressor("partial_pooling", task_column="firm").fit(X, y).coef_frame()
        >>> frame.columns.tolist()
        ['intercept', 'value', 'capital', 'year']
        >>> frame.shape                           # one row per firm, and the shared model
        (12, 4)
        """
        if kind not in ("total", "own"):
            raise ValueError(f"kind={kind!r} is unknown; give 'total' or 'own'.")
        check_is_fitted(self)
        if self._learned is not None:
            raise AttributeError(self._not_linear("coef_frame"))
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__}.coef_frame needs pandas: pip install pandas. Without it, "
                "use coef_, intercept_ and coef_feature_names_, which contain the same numbers."
            ) from error
        names, tasks, shared = self._named_coefficients()
        column = self.task_column if isinstance(self.task_column, str) else "task"
        labels = self.tasks_
        if level is not None:
            column, labels, tasks = self._coefficients_of_level(level)
        rows = np.concatenate([tasks - shared if kind == "own" else tasks, shared[None]])
        labels = np.append(labels.astype(object), [None])
        index = pd.Index(labels, dtype=object, name=column)
        if rows.ndim == 3:
            names = pd.MultiIndex.from_product([self.classes_, names], names=["class", "feature"])
        return pd.DataFrame(rows.reshape(len(rows), -1), index=index, columns=names)

    def _named_coefficients(self):
        """Return names, coefficients of all tasks and shared ones, with the intercept first.

        Returns
        -------
        names : list of length n_features + 1
        tasks : ndarray of shape (n_tasks, [n_classes,] n_features + 1)
        shared : ndarray of shape ([n_classes,] n_features + 1)
        """
        features = self.coef_feature_names_.tolist()
        intercept = "(intercept)" if "intercept" in features else "intercept"
        tasks = np.concatenate([self.intercept_[..., None], self.coef_], axis=-1)
        shared = np.concatenate(
            [np.asarray(self.shared_intercept_)[..., None], self.shared_coef_], axis=-1
        )
        return [intercept, *features], tasks, shared

    def _adapter_of(self, loss):
        """Return the adapter of new tasks with a loss, by default that of tasks not seen."""
        return self._adapter, loss

    def _loss_at(self, t):
        """Return the loss of a task by its position; None if it is that of the estimator."""
        return None

    def _check_support(self, y, loss):
        """Return the labels of a new task's rows, encoded as in `fit`."""
        raise NotImplementedError

    def _task_model(self, coef, intercept, errors, loss=None):
        """Return a fitted estimator with the coefficients of one task, and `_errors_of_task`."""
        raise NotImplementedError


def _feature_names(columns, preprocessor, n_features):
    """Return the names of the features that the model is fitted on, after preprocessing."""
    if preprocessor is not None:
        return output_names(preprocessor, n_features)
    unnamed = columns.names is None
    names = [f"x{i}" for i in range(n_features)] if unnamed else columns.names
    return np.asarray(names, dtype=object)
