"""What the multi-task faces share."""

import numbers
from dataclasses import replace

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .. import sharing as sharing_room
from .._compat import HasMethods, StrOptions
from .._jit import worker_pool
from .._validation import check_magnitudes, check_weights
from ..base import TaskEstimator
from ..sharing.restriction import UNRESTRICTED
from ..tasks.blocks import partitions
from ..tasks.copies import Settled, settle
from ..tasks.features import output_names, output_sources
from ..tasks.reduce import RowSpace
from ..tasks.stack import as_dense

__all__ = ["MultiTaskBase", "rowwise"]


class MultiTaskBase(TaskEstimator):
    """What the multi-task faces share: parameters, the packed table, and the fitted attributes."""

    _parameter_constraints: dict = {
        **TaskEstimator._parameter_constraints,
        "sharing": [StrOptions(set(sharing_room.BY_NAME)), HasMethods(["fit_problem"])],
        "cv": ["cv_object", None],
    }
    _named = "sharing", sharing_room.BY_NAME, "skmtl.sharing"

    def _share(self, X, y, codes, table, make_problem, preprocessor):
        """Fit the sharing structure.

        `make_problem(space, partitions, executor, within=, copies=)` states the problem on the
        packed table's row space.
        `preprocessor` is what made the features, fitted, or None.

        Returns
        -------
        solver : object
            The structure, which is not the caller's.
        fitted : SharingFit
            Of all tasks, those without rows included.
        """
        solver = self._named_object()
        restriction = self._restriction(solver, X, preprocessor, table.n_features)
        settled, within = self._settled(table.without_empty_tasks()), self._within(solver)
        full = settled.table
        # A row space mixes features.
        if restriction or not getattr(solver, "rotation_invariant", True):
            space = RowSpace(full)
        else:
            space = RowSpace.of(full, within, settled.trust)
        parts = self._partitions(space.table, X, y, codes)
        with worker_pool(self.n_jobs) as executor:
            problem = make_problem(space, parts, executor, within=within, copies=settled)
            if restriction:
                problem.restrict(restriction)
            fitted = self._fit_problem(solver, problem)
        return solver, space.expand(fitted).with_empty_tasks(table.task_sizes() > 0)

    def _fit_problem(self, solver, problem):
        return solver.fit_problem(problem)

    def _within(self, solver):
        """Whether slopes are learned on the features' scale within tasks."""
        return self.cv is not None and getattr(solver, "tuned", False)

    def _settled(self, table):
        """The table to tune on: copies are told, and weights have a unit of their own."""
        if self.cv is None:
            return Settled(table)
        if len(table.rows) < 4:
            raise ValueError(
                f"Found {len(table.rows)} sample(s) with a label and weight "
                f"(n_samples = {len(table.rows)}), while tuning and the report need at least 4; "
                "with fewer, fix the strengths and set cv=None."
            )
        fixed_rows = not isinstance(self.cv, numbers.Integral)
        return settle(table, fixed_rows, is_classifier(self))

    def _partitions(self, table, X, y, codes):
        if self.cv is None:
            return []
        return partitions(
            table,
            self.cv,
            X=X,
            y=y,
            groups=codes,
            seed=self._seed(),
            classifier=is_classifier(self),
        )

    def _restriction(self, solver, X, preprocessor, n_features):
        """What the structure restricts of the slopes; before anything is fitted."""
        if not hasattr(solver, "restriction"):  # not one of `skmtl.sharing`
            return UNRESTRICTED
        columns = self._find_columns(X)
        return solver.restriction(_feature_names(columns, preprocessor, n_features))

    def _store(self, X, y, rows, solver, fitted, sizes, stds):
        """Set the fitted attributes, all at once at the very end.

        `stds` are the standard deviations of the features after preprocessing.
        """
        self._store_tasks(X, y, rows)
        self.coef_, self.intercept_ = fitted.coef, fitted.intercept
        self.shared_coef_ = fitted.shared_coef
        self.shared_intercept_ = fitted.shared_intercept
        n_features = fitted.coef.shape[-1]
        self.coef_feature_names_ = _feature_names(self._columns, rows.preprocessor, n_features)
        for name, value in fitted.strengths.items():
            setattr(solver, f"{name}_", value)
        self.sharing_ = solver
        self.history_ = fitted.history
        self.kkt_residual_ = fitted.kkt_residual
        self.n_iter_ = fitted.n_iter
        self._adapter, self._residual_scale = fitted.adapter, fitted.residual_scale
        self.task_report_ = self._make_report(fitted.report, sizes)
        self._importances = self._of_columns(self._importances_of(sizes, stds), rows)

    @property
    def feature_importances_(self):
        """By how much each column of X moves the predictions, ``(n_features_in_,)``.

        The absolute slope times the feature's standard deviation over the table, averaged over
        the rows (and classes); of a column of categories the sum over its levels. The task
        column's is the largest of the others, so that feature selection never drops it; excluded
        columns have 0.

        Raises
        ------
        AttributeError
            Where a transformer of the caller's does not tell which column its outputs are of.
        """
        check_is_fitted(self)
        if self._importances is None:
            raise AttributeError(
                f"{type(self).__name__} has no feature_importances_: preprocessor= makes other "
                "columns than it is given, and does not tell of what. Give one that keeps the "
                'names of columns, or "auto".'
            )
        return self._importances

    def _importances_of(self, sizes, stds):
        """The same for the features after preprocessing."""
        share = sizes / sizes.sum()
        slopes = np.tensordot(share, np.abs(self.coef_), axes=1)
        return (slopes if slopes.ndim == 1 else slopes.mean(axis=0)) * stds

    def _of_columns(self, importances, rows):
        """Importances of the columns of X, from those of what the preprocessor made of them."""
        columns = self._columns
        sources = output_sources(rows.preprocessor, columns, len(importances))
        if sources is None:
            return None
        features = np.bincount(sources, importances, minlength=columns.n_features)
        out = np.zeros(self.n_features_in_)
        out[np.delete(np.arange(len(out)), columns.others)] = features
        out[columns.tasks] = features.max(initial=0.0)
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

    def for_task(self, label):
        """The model of one task, as an ordinary fitted estimator.

        Parameters
        ----------
        label : str, int or tuple
            A label among ``tasks_``.

        Returns
        -------
        LinearTaskModel or LinearTaskClassifier
            Takes the columns that are features, before any preprocessing, which it brings
            along; the task column and excluded ones are ignored. Small, fast on one row,
            picklable.

        Raises
        ------
        ValueError
            If the task was not seen in fit.
        """
        t = self._find_task(label)
        residual_scale = (
            None if self._residual_scale is None else self._residual_scale.take(np.array([t]))
        )
        return self._task_model(self.coef_[t], self.intercept_[t], residual_scale)

    def adapt(self, X, y, sample_weight=None):
        """A model for a new task, from some of its rows and what the tasks of `fit` share.

        Nothing is refitted and this estimator stays as it is. With the shared part held, the new
        task's own part is what `fit` would have found, for each of the strengths that tasks of
        its size use, averaged with weights that also heed leave-one-out errors on its rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the new task; needs no task column (one present is ignored).
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        LinearTaskModel or LinearTaskClassifier
            An ordinary fitted estimator, as `for_task` returns; its size does not depend on the
            training table.

        Raises
        ------
        ValueError
            For rows, labels or weights that are unfit.

        Notes
        -----
        Where all tasks were pooled, the new task's model is the shared one. Where `fit` saw one
        task, nothing is known of how tasks differ: with partial pooling all strengths are tried
        about that task's model, and leave-one-out errors on the new rows weigh them.
        """
        return self._adapt(X, y, sample_weight)

    def _adapt(self, X, y, sample_weight, **kwargs):
        check_is_fitted(self)
        shared = self._task_model(self.shared_coef_, self.shared_intercept_, None)
        X = shared.features(X)
        y = self._check_support(y)
        check_consistent_length(X, y)
        weight = check_weights(sample_weight, len(y))
        check_magnitudes(X, y, weight)
        weight = np.ones(len(y)) if weight is None else weight
        X = as_dense(X)
        coef, intercept, std = self._adapter.adapt(X, y, weight, **kwargs)
        residual_scale = None
        if std is not None:
            X, _, weight = self._adapter.support(X, y, weight)
            out_of_range = self._residual_scale.out_of_range
            residual_scale = replace(
                self._adapter.residual_scale,
                std=np.array([std]),
                out_of_range=out_of_range and out_of_range.of_new_task(X, weight),
            )
        return self._task_model(coef, intercept, residual_scale)

    def coef_frame(self, kind="total"):
        """The coefficients as a pandas data frame: one row a task, one column a feature.

        Parameters
        ----------
        kind : {"total", "own"}, default="total"
            "total" is what a task predicts with: ``intercept_`` and ``coef_``. "own" is what the
            task adds to the shared model: ``coef_ - shared_coef_``, and so for the intercept.

        Returns
        -------
        pandas.DataFrame of shape (n_tasks + 1, n_features + 1)
            Rows are ``tasks_`` in an index named as the task column (else "task"). The last row is
            the shared model in either kind, so that total is own plus the last row; its label is
            None, as in ``task_report_``, which no task can be called. Columns are "intercept"
            ("(intercept)" where a feature has that name) and ``coef_feature_names_``. With more
            than two classes they have two levels, "class" and "feature", and there are
            ``n_classes * (n_features + 1)`` of them.

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            If `kind` is something else.
        NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> frame = MultiTaskRegressor(task_column="firm").fit(X, y).coef_frame()
        >>> frame.columns.tolist()
        ['intercept', 'value', 'capital', 'year']
        >>> frame.shape                                         # a row a firm, and the shared one
        (12, 4)
        """
        if kind not in ("total", "own"):
            raise ValueError(f"kind={kind!r} is unknown; give 'total' or 'own'.")
        check_is_fitted(self)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__}.coef_frame needs pandas: pip install pandas. Without it, "
                "coef_, intercept_ and coef_feature_names_ hold the same figures."
            ) from error
        names, tasks, shared = self._named_coefficients()
        rows = np.concatenate([tasks - shared if kind == "own" else tasks, shared[None]])
        column = self.task_column if isinstance(self.task_column, str) else "task"
        labels = np.append(self.tasks_.astype(object), [None])
        index = pd.Index(labels, dtype=object, name=column)
        if rows.ndim == 3:
            names = pd.MultiIndex.from_product([self.classes_, names], names=["class", "feature"])
        return pd.DataFrame(rows.reshape(len(rows), -1), index=index, columns=names)

    def _named_coefficients(self):
        """Names, and all tasks' and the shared coefficients, the intercept first.

        Returns
        -------
        names : list of length n_features + 1
        tasks : ndarray of shape (n_tasks, [n_classes,] n_features + 1)
        shared : ndarray of shape ([n_classes,] n_features + 1)
        """
        features = self.coef_feature_names_.tolist()
        intercept = "(intercept)" if "intercept" in features else "intercept"
        tasks = np.concatenate([self.intercept_[..., None], self.coef_], axis=-1)
        alone = np.asarray(self.shared_intercept_)[..., None]
        return [intercept, *features], tasks, np.concatenate([alone, self.shared_coef_], axis=-1)

    def _check_support(self, y):
        """The labels of a new task's rows, as `fit` codes them."""
        raise NotImplementedError

    def _task_model(self, coef, intercept, residual_scale):
        """An ordinary fitted estimator with one task's coefficients."""
        raise NotImplementedError


def _feature_names(columns, preprocessor, n_features):
    """Names of what the model is fitted on, after preprocessing where there is one."""
    if preprocessor is not None:
        return output_names(preprocessor, n_features)
    names = columns.names
    if names is None:
        names = [f"x{i}" for i in range(n_features)]
    return np.asarray(names, dtype=object)


def rowwise(X, coef, codes):
    """``(X[i] @ coef[codes[i]])`` for every row."""
    if isinstance(X, np.ndarray):
        if len(codes) < 5 * len(coef):
            return np.einsum("ij,ij->i", X, coef[codes])
        out = np.empty(len(codes))
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(-1, len(coef)))
        for code, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True), start=-1):
            rows = order[a:b]
            out[rows] = X[rows] @ coef[code]
        return out
    return np.asarray(X.multiply(coef[codes]).sum(axis=1)).ravel()
