"""Common base classes of the estimators: task labels, feature columns, preprocessing."""

import numbers
import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import r2_score
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ._callbacks import CallbackSupportMixin
from ._compat import HasMethods, StrOptions, check_columns, take_rows
from ._validation import (
    as_numbers,
    check_features,
    check_length,
    check_magnitudes,
    check_output,
    check_table,
    check_weights,
    read_features,
)
from ._warnings import ELSEWHERE, LATER, once_per_search
from .metrics import task_score
from .tasks.auto import warn_of_forgotten_task
from .tasks.columns import as_table, check_names
from .tasks.encode import (
    TaskLabels,
    is_single_label,
    label_of_row,
    read_labels,
    target_labels,
)
from .tasks.features import FeatureColumns, make_preprocessor
from .tasks.table import pack

__all__ = ["Face", "TaskEstimator", "UnknownTaskWarning"]


class UnknownTaskWarning(UserWarning):
    """Rows of tasks never seen in fit were predicted with what all tasks share."""


@dataclass
class ResolvedRows:
    """Validated rows: features, and the code of each row's task (None if no task was given).

    `raw` are the features before preprocessing. In fit they also hold the sample weights, the
    fitted preprocessor (if any), and the column names of a 2-D target (if it has names). In predict
    they hold the groups of tasks that are not in fit, if the tasks have levels above them.
    """

    X: object
    codes: np.ndarray | None
    labels: TaskLabels | None
    weight: np.ndarray | None = None
    preprocessor: object = None
    targets: np.ndarray | None = None
    raw: object = None
    groups: np.ndarray | None = None


def r2_over_tasks(y, prediction, sample_weight=None):
    """Return R²; for a 2-D `y` with NaN, the mean R² of the tasks over their labelled rows."""
    y = as_numbers(y, "y")
    if y.ndim == 1 or not np.isnan(y).any():
        return r2_score(y, prediction, sample_weight=sample_weight)
    return task_score(y, prediction, sample_weight=sample_weight)


class Face(CallbackSupportMixin, BaseEstimator):
    """Base of all estimators: nested parameters, a preprocessor, a seed.

    Subclasses have the parameters `preprocessor` and `random_state`, and an attribute `_named`: the
    name of the parameter that takes an object or a string, a dict from these strings to classes,
    and the module of the classes.
    """

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator and of the objects in its parameters.

        Parameters
        ----------
        **params : dict
            Names and values; ``preprocessor__...`` sets a parameter of the preprocessor.

        Returns
        -------
        object
            The estimator itself.

        Raises
        ------
        ValueError
            If a nested parameter is set on a string instead of an object.
        """
        name, by_name, module = self._named
        nested = [key for key in params if key.startswith(f"{name}__")]
        value = params.get(name, getattr(self, name))
        if nested and isinstance(value, str) and value in by_name:
            raise ValueError(
                f"{nested[0]} cannot be set on {name}={value!r}, which is a string; pass the "
                f"object instead: {name}={module}.{by_name[value].__name__}()."
            )
        preprocessor = params.get("preprocessor", self.preprocessor)
        nested = [key for key in params if key.startswith("preprocessor__")]
        if nested and not hasattr(preprocessor, "set_params"):
            raise ValueError(
                f"{nested[0]} cannot be set on preprocessor={preprocessor!r}; pass a transformer "
                "instead, such as a ColumnTransformer."
            )
        return super().set_params(**params)

    def _named_object(self):
        """Return the object that the parameter in `_named` describes, cloned and checked."""
        name, by_name, _ = self._named
        value = getattr(self, name)
        if isinstance(value, str):
            return by_name[value]()
        if isinstance(value, type):
            raise TypeError(
                f"{name}={value.__name__} is a class; pass an instance: {value.__name__}()."
            )
        value = clone(value) if isinstance(value, BaseEstimator) else value
        if hasattr(value, "check"):
            value.check()
        return value

    def _seed(self):
        if self.random_state is None:
            return 0
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _require_target(self, y):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )

    def _follow_preprocessor(self, tags):
        """Adapt the input tags to the kinds of input that the preprocessor accepts."""
        if hasattr(self.preprocessor, "__sklearn_tags__"):
            # Some preprocessors, such as scalers, accept NaN and pass it on.
            tags.input_tags = replace(
                get_tags(self.preprocessor).input_tags, pairwise=False, allow_nan=False
            )
        elif self.preprocessor == "auto":
            tags.input_tags.allow_nan = True
            tags.input_tags.string = tags.input_tags.categorical = True
        return tags


class TaskEstimator(Face):
    """Base of the estimators for many tasks: reads the tasks in fit and in predict.

    Subclasses have the parameters listed in `_parameter_constraints`.
    """

    _parameter_constraints: dict = {
        "task_column": [str, numbers.Integral, list, tuple, None],
        "preprocessor": [StrOptions({"auto"}), HasMethods(["fit", "transform"]), None],
        "exclude_columns": [str, numbers.Integral, "array-like", None],
        "categorical_columns": [str, numbers.Integral, "array-like", None],
        "handle_unknown": [StrOptions({"shared", "error"})],
        "n_jobs": [None, numbers.Integral],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _check_task_source(self, task, y):
        if self.task_column is not None and task is not None:
            raise ValueError(
                f"both task_column={self.task_column!r} and task= were given; pass only one of "
                "them."
            )
        if y.ndim == 2 and (self.task_column is not None or task is not None):
            if y.shape[1] == 1:  # df[["target"]]
                return column_or_1d(y, warn=True)
            given = "task=" if task is not None else f"task_column={self.task_column!r}"
            raise ValueError(
                f"y is 2-D (one task per column), but {given} names tasks too; pass a 1-D y, or "
                f"leave out {given}."
            )
        return y

    def _split_rows(self, X, task):
        """Return the `FeatureColumns`, the features, and the raw labels (None without a task)."""
        X = as_table(X)
        check_names(X)
        columns = self._find_columns(X)
        if self.task_column is not None:
            task = read_labels(X, self.task_column)
        return columns, columns.select(X), task

    def _features_to_fit(self, X, y, weight=None, categorical=None):
        """Fit the preprocessor and return the features as finite numbers.

        The preprocessor is fitted on the rows of positive weight, without using the weights; rows
        of weight zero become zeros.

        Returns
        -------
        Z : ndarray or csr matrix of shape (n_samples, n_outputs)
            float64.
        preprocessor : transformer or None
        """
        if self.preprocessor is None:
            return check_features(self, X), None
        X = check_table(self, X)
        n_samples = X.shape[0]
        live = np.arange(n_samples) if weight is None else np.flatnonzero(weight > 0)
        if len(live) < n_samples:
            X, y = take_rows(X, live), y[live]
        preprocessor = make_preprocessor(self.preprocessor, X, categorical, hints=True)
        if hasattr(preprocessor, "fit_transform"):
            Z = preprocessor.fit_transform(X, y)
        else:
            Z = preprocessor.fit(X, y).transform(X)
        Z = check_output(self, X, Z)
        if len(live) < n_samples:
            where = live, np.arange(len(live))
            Z = sparse.csr_matrix((np.ones(len(live)), where), shape=(n_samples, len(live))) @ Z
        return Z, preprocessor

    def _features_to_predict(self, X):
        """Return the features of `X` as finite numbers, transformed by the fitted preprocessor.

        `X` has the columns seen in fit; the task column and excluded columns may be missing.
        """
        X = check_table(self, self._columns.select(as_table(X)))
        self._columns.check(X, type(self).__name__)
        return read_features(self, X, self.preprocessor_)

    def _label_source(self):
        return "task=" if self.task_column is None else f"task column {self.task_column!r}"

    def _rows_to_fit(
        self, X, y, task, sample_weight=None, target=None, anew=True, empty_tasks=False
    ):
        """Validate and encode the rows of fit.

        Parameters
        ----------
        X, y, task, sample_weight
            As in fit.
        target : ndarray of shape (n_samples,), default=None
            The target to fit the preprocessor with; `y` by default.
        anew : bool
            Whether to fit the preprocessor; otherwise the fitted one is used.
        empty_tasks : bool
            Whether a column of a 2-D `y` may be without any label.

        Returns
        -------
        rows : ResolvedRows
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
        """
        self._require_target(y)
        targets = target_labels(y)
        y = self._check_task_source(task, self._check_target(y, empty_tasks))
        if isinstance(task, str):
            raise ValueError(
                f"task={task!r} is a single label, but fit needs one label per row; if it is a "
                f"column of X, set task_column={task!r}."
            )
        columns, features, labels = self._split_rows(X, task)
        self._check_categorical()
        features = check_table(self, features)
        check_consistent_length(features, y)
        weight = check_weights(sample_weight, len(y))
        raw = features
        if anew:
            target = y if target is None else target
            if labels is None and y.ndim == 1 and isinstance(self.preprocessor, str):
                warn_of_forgotten_task(features, columns.categorical)
            features, preprocessor = self._features_to_fit(
                features, target, weight, columns.categorical
            )
        else:
            preprocessor = self.preprocessor_
            features = read_features(self, features, preprocessor)
        check_magnitudes(features, y if y.dtype.kind == "f" else None, weight)
        if labels is None:
            return ResolvedRows(features, None, None, weight, preprocessor, targets, raw), y
        encoded, codes = TaskLabels.from_rows(labels, self._label_source())
        check_length(codes, len(y), self._label_source())
        n_tasks, n_samples = len(encoded), len(codes)
        if anew and n_tasks > 20 and n_tasks > 0.9 * n_samples:  # later batches may be small
            warnings.warn(
                f"{self._label_source()} has {n_tasks} tasks in {n_samples} rows: nearly every "
                "row has its own task. Check that the tasks are read from the right column.",
                UserWarning,
                stacklevel=4,
            )
        return ResolvedRows(features, codes, encoded, weight, preprocessor, None, raw), y

    def _pack(self, X, y, sample_weight, task, **kwargs):
        """Validate the rows and sort them by task; return ``(rows, y, codes, table)``."""
        rows, y = self._rows_to_fit(X, y, task, sample_weight, **kwargs)
        codes = np.zeros(len(y), dtype=np.int64) if rows.codes is None else rows.codes
        if y.ndim == 2:
            n_tasks = y.shape[1]
        else:
            n_tasks = 1 if rows.labels is None else len(rows.labels)
        return rows, y, codes, pack(rows.X, y, codes, n_tasks, rows.weight)

    def _find_columns(self, X):
        return FeatureColumns.find(
            as_table(X), self.task_column, self.exclude_columns, self.categorical_columns
        )

    def _check_categorical(self):
        if self.categorical_columns is not None and not isinstance(self.preprocessor, str):
            raise ValueError(
                f"categorical_columns={self.categorical_columns!r} requires preprocessor='auto', "
                f"but preprocessor={self.preprocessor!r}; set preprocessor='auto', or leave out "
                "categorical_columns."
            )

    def _check_target_names(self, names):
        """Raise if a 2-D target does not have the column names seen in fit."""
        known = self.tasks_.tolist()
        if names is None or self._task_source != "target" or not isinstance(known[0], str):
            return
        if list(names) != known:
            raise ValueError(
                f"y has the columns {list(names)[:10]}, but in fit it had {known[:10]}: every "
                "column is a task; pass the same columns in the same order."
            )

    def _check_scored(self, y):
        """Raise if the columns of `y` are not the tasks in the columns of `predict`."""
        self._check_target_names(target_labels(y))

    def _store_tasks(self, X, y, rows):
        """Set the fitted attributes that describe columns and tasks."""
        X = as_table(X)
        check_columns(self, X, reset=True)
        self._columns = self._find_columns(X)
        self.preprocessor_ = rows.preprocessor
        self._labels = rows.labels
        # How the tasks were given: "column", "array", "target" (2-D y) or "none".
        if y.ndim == 2:
            self._task_source = "target"
            self.tasks_ = np.arange(y.shape[1]) if rows.targets is None else rows.targets
        elif rows.labels is None:
            self._task_source = "none"
            self.tasks_ = np.zeros(1, dtype=np.int64)
        else:
            self._task_source = "array" if self.task_column is None else "column"
            self.tasks_ = rows.labels.classes

    def _find_task(self, label):
        """Return the position of a task in ``tasks_``."""
        check_is_fitted(self)
        if self._labels is not None:
            return self._labels.find(label)
        labels, codes = TaskLabels.from_rows(self.tasks_)  # tasks_ has the column order of y
        return int(np.flatnonzero(codes == labels.find(label))[0])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return self._follow_preprocessor(tags)

    def _check_target(self, y, empty_tasks=False):
        y = as_numbers(y, "y")
        if y.ndim > 2:
            raise ValueError(f"y must be 1-D or 2-D, got an array of shape {y.shape}.")
        if y.ndim == 1:
            assert_all_finite(y, input_name="y", estimator_name=type(self).__name__)
            return y
        if np.isinf(y).any():
            raise ValueError("Input y contains infinity; drop or correct the rows concerned.")
        empty = np.flatnonzero(np.isnan(y).all(axis=0))
        if len(empty) == y.shape[1]:
            raise ValueError(
                f"y has no label, only NaN, in all {len(empty)} columns (one task per column); "
                "pass at least one labelled row."
            )
        if len(empty) and not empty_tasks:
            warnings.warn(
                f"y has tasks without any label ({len(empty)} of {y.shape[1]}): columns "
                f"{empty.tolist()[:10]}. They are predicted with what all tasks share.",
                UserWarning,
                stacklevel=5,
            )
        return y

    def _rows_to_predict(self, X, task):
        """Validate and encode the rows of predict; the code of an unknown task is -1."""
        check_is_fitted(self)
        if self.task_column is not None and task is not None:
            raise ValueError(
                f"both task_column={self.task_column!r} and task= were given; pass only one of "
                "them."
            )
        X = as_table(X)
        _, features, labels = self._split_rows(X, task)
        features = check_table(self, features)
        check_columns(self, X, reset=False)
        raw, features = features, read_features(self, features, self.preprocessor_)
        if self._task_source in ("target", "none"):
            if labels is not None:
                raise ValueError(
                    "task= was given, but the model was fitted without tasks; leave it out."
                )
            return ResolvedRows(features, None, None, raw=raw)
        if labels is None:
            raise ValueError(
                f"the model was fitted on {len(self.tasks_)} tasks, but no task was given: "
                "pass task= with one label per row."
            )
        if is_single_label(labels, self._labels):  # one label for all rows
            codes = self._labels.encode([labels], self._label_source())
            codes = np.repeat(codes, features.shape[0])
        else:
            codes = self._labels.encode(labels, self._label_source())
            check_length(codes, features.shape[0], self._label_source())
        self._handle_unknown_tasks(codes, labels)
        groups = self._groups_of_rows(codes, labels)
        return ResolvedRows(features, codes, self._labels, raw=raw, groups=groups)

    def _groups_of_rows(self, codes, labels):
        """Return the groups of new tasks on the levels above them; None without levels."""
        return None

    def _remedy_for_unknown_tasks(self):
        """Return the remedy for the error on unknown tasks; None if they are predicted."""
        return (
            "drop them or set handle_unknown='shared'" if self.handle_unknown == "error" else None
        )

    def _known_of_unknown_tasks(self):
        """Return in words what unknown tasks are predicted with."""
        return "what all tasks share"

    def _handle_unknown_tasks(self, codes, labels):
        unknown = codes < 0
        if not unknown.any():
            return
        first = labels
        if not is_single_label(labels, self._labels):
            first = label_of_row(labels, int(np.argmax(unknown)))
        found = (
            f"{int(unknown.sum())} of {len(codes)} rows ({unknown.mean():.0%}) belong to tasks "
            f"never seen in fit, such as {first!r}"
        )
        remedy = self._remedy_for_unknown_tasks()
        if remedy is not None:
            raise ValueError(f"{found}; {remedy}.")
        splitter = (
            "skmtl.model_selection.TaskKFold() with groups="
            if self.task_column is None
            else f"skmtl.model_selection.TaskKFold(task_column={self.task_column!r})"
        )
        where = once_per_search((UnknownTaskWarning, type(self).__name__, splitter))
        if where == LATER:
            return
        if where == ELSEWHERE:  # one text for all folds and candidates
            found = "in this cross-validation rows belong to tasks never seen in fit"
        warnings.warn(
            f"{found}; they are predicted with {self._known_of_unknown_tasks()}. In "
            f"cross-validation, use {splitter} to keep every task in every training fold.",
            UnknownTaskWarning,
            stacklevel=4,
        )
