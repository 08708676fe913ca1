"""What the faces share: whose row is it, are the rows sound, and which model predicts it."""

import numbers
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.metrics import r2_score
from sklearn.utils import check_array, check_consistent_length, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ._callbacks import CallbackSupportMixin
from ._compat import HasMethods, StrOptions, check_columns, take_rows
from ._validation import check_magnitudes
from .tasks.encode import (
    TaskLabels,
    as_table,
    column_names,
    find_task_column,
    is_plain,
    take_column,
)
from .tasks.features import FeatureColumns, make_preprocessor
from .tasks.table import pack

__all__ = ["Face", "LinearTaskClassifier", "LinearTaskModel", "TaskEstimator", "UnknownTaskWarning"]

_REMEDY = (
    'X must be finite numbers beside the task column: preprocessor="auto" fills gaps and encodes '
    "categories, and exclude_columns= leaves out columns that are not features."
)
_REMEDY_OF_OUTPUT = "preprocessor= must turn X into finite numbers; this is what it returned."


class UnknownTaskWarning(UserWarning):
    """Rows of tasks never seen in fit were predicted with what all tasks share."""


@dataclass
class Rows:
    """Validated rows: features, and the code of each row's task (None: no task given).

    In fit also the sample weights, and the preprocessor that made the features, if any.
    """

    X: object
    codes: np.ndarray | None
    labels: TaskLabels | None
    weight: np.ndarray | None = None
    preprocessor: object = None


def check_table(estimator, X):
    """Columns of any kind, with rows and columns enough: a frame as it is, or an array."""
    if len(getattr(X, "shape", ())) == 2 and 0 in X.shape:
        what = "feature" if X.shape[0] else "sample"
        raise ValueError(
            f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required"
            + (": X has no column beside the task's and excluded ones." if X.shape[0] else ".")
        )
    if column_names(X) is not None:
        return X
    if type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2:
        return X  # scikit-learn would ask first which kind of frame it is
    return check_array(
        X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False, estimator=estimator,
        input_name="X",
    )  # fmt: skip


def check_features(estimator, X, remedy=_REMEDY):
    """The features as a float64 array (C-ordered) or CSR matrix; a clear error otherwise."""
    if len(getattr(X, "shape", ())) == 2 and X.shape[1] == 0 and X.shape[0] > 0:
        check_table(estimator, X)  # raises
    if is_plain(X, 2) and X.size and X.flags.c_contiguous:
        return X
    try:
        X = check_array(
            X, accept_sparse="csr", dtype=np.float64, order="C", estimator=estimator,
            input_name="X",
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        text = str(error)
        if any(s in text for s in ("NaN", "infinity", "could not convert", "must be a string")):
            raise type(error)(f"{text}\n{remedy}") from None
        raise
    if sparse.issparse(X):
        X = sparse.csr_matrix(X)

    return X


def read_features(estimator, X, preprocessor):
    """The columns that are features as finite numbers, by the fitted `preprocessor` (or None)."""
    if preprocessor is None:
        return check_features(estimator, X)
    Z = check_features(estimator, preprocessor.transform(X), _REMEDY_OF_OUTPUT)
    check_consistent_length(X, Z)
    return Z


def check_weights(sample_weight, n_samples):
    """Sample weights as float64, or None; negative or all-zero ones raise."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, float(sample_weight))
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"sample_weight must be 1-D, got an array of shape {weight.shape}.")
    if len(weight) != n_samples:
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}: one weight a row."
        )
    if (weight < 0).any():
        raise ValueError(
            f"sample_weight has negative entries, the first in row {int(np.argmax(weight < 0))}; "
            "weights say how often a row counts: make them zero or more."
        )
    if not (weight > 0).any():
        raise ValueError("sample_weight is zero for every row; give some row a positive weight.")
    return weight


def r2_over_tasks(y, prediction, sample_weight=None):
    """R²; with a 2-D y the mean over tasks, NaN labels left out."""
    y = np.asarray(y, dtype=np.float64)
    if y.ndim == 1 or not np.isnan(y).any():
        return r2_score(y, prediction, sample_weight=sample_weight)
    from .metrics import task_score

    return task_score(y, prediction, sample_weight=sample_weight)


class Face(CallbackSupportMixin, BaseEstimator):
    """What every face has: parameters inside parameters, a preprocessor, a seed.

    Subclasses have a `preprocessor`, a `random_state`, and `_named`: the parameter that takes an
    object or the name of one, what the names stand for, and the module where the objects are.
    """

    def set_params(self, **params):
        """Set parameters; ``name__alpha``, ``preprocessor__...`` reach into objects."""
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
                "of your own, such as a ColumnTransformer."
            )
        return super().set_params(**params)

    def _named_object(self):
        """The object that `_named` is about, which is not the caller's."""
        name, by_name, _ = self._named
        value = getattr(self, name)
        if isinstance(value, str):
            return by_name[value]()
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
        """The tags of a face that takes what its preprocessor takes."""
        if hasattr(self.preprocessor, "__sklearn_tags__"):
            # It takes what the preprocessor takes; but NaN may come out again, as of a scaler.
            theirs = get_tags(self.preprocessor).input_tags
            tags.input_tags = replace(theirs, pairwise=False, allow_nan=False)
        elif self.preprocessor == "auto":
            tags.input_tags.allow_nan = True
            tags.input_tags.string = tags.input_tags.categorical = True
        return tags


class TaskEstimator(Face):
    """Base of the faces: resolves tasks in fit and in predict.

    Subclasses have the parameters below.
    """

    _parameter_constraints: dict = {
        "task_column": [str, numbers.Integral, None],
        "preprocessor": [StrOptions({"auto"}), HasMethods(["fit", "transform"]), None],
        "exclude_columns": [str, numbers.Integral, "array-like", None],
        "handle_unknown": [StrOptions({"shared", "error"})],
        "n_jobs": [None, numbers.Integral],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _check_task_source(self, task, y):
        if self.task_column is not None and task is not None:
            raise ValueError(
                f"both task_column={self.task_column!r} and task= were given; give one of them."
            )
        if y.ndim == 2 and (self.task_column is not None or task is not None):
            if y.shape[1] == 1:  # df[["target"]]
                return column_or_1d(y, warn=True)
            given = "task=" if task is not None else f"task_column={self.task_column!r}"
            raise ValueError(
                f"y is 2-D (one task a column), but {given} names tasks too; pass a 1-D y, or "
                "leave the tasks to y's columns."
            )
        return y

    def _split_rows(self, X, task):
        """The columns that are features, and raw labels (None where no task is given)."""
        X = as_table(X)
        names = column_names(X)
        if names is not None and len(set(map(str, names))) < len(names):
            find_task_column(X, 0)  # raises: duplicate column names
        columns = FeatureColumns.find(X, self.task_column, self.exclude_columns)
        if self.task_column is not None:
            task = take_column(X, find_task_column(X, self.task_column))
        return columns.select(X), task

    def _features_to_fit(self, X, y, weight=None):
        """The columns that are features as finite numbers, and the preprocessor fitted on them.

        It is fitted on the rows of positive weight, each of them once; the other rows are zeros.

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
        preprocessor = make_preprocessor(self.preprocessor, X)
        if hasattr(preprocessor, "fit_transform"):
            Z = preprocessor.fit_transform(X, y)
        else:
            Z = preprocessor.fit(X, y).transform(X)
        Z = check_features(self, Z, _REMEDY_OF_OUTPUT)
        check_consistent_length(X, Z)
        if len(live) < n_samples:
            place = sparse.csr_matrix(
                (np.ones(len(live)), (live, np.arange(len(live)))), shape=(n_samples, len(live))
            )
            Z = place @ Z
        return Z, preprocessor

    def _features_to_predict(self, X):
        """The features of `X` as finite numbers, by the fitted preprocessor.

        `X` has the columns of fit; the task column and excluded ones may be left out.
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
            What the preprocessor is to see as y, if not y.
        anew : bool
            Whether to fit the preprocessor, or to use the one there is.
        empty_tasks : bool
            Whether columns of a 2-D y may lack labels.

        Returns
        -------
        rows : Rows
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
        """
        self._require_target(y)
        y = self._check_task_source(task, self._check_target(y, empty_tasks))
        features, labels = self._split_rows(X, task)
        features = check_table(self, features)
        check_consistent_length(features, y)
        weight = check_weights(sample_weight, len(y))
        if anew:
            target = y if target is None else target
            features, preprocessor = self._features_to_fit(features, target, weight)
        else:
            preprocessor = self.preprocessor_
            features = read_features(self, features, preprocessor)
        check_magnitudes(features, y if y.dtype.kind == "f" else None, weight)
        if labels is None:
            return Rows(features, None, None, weight, preprocessor), y
        encoded, codes = TaskLabels.from_rows(labels, self._label_source())
        check_consistent_length(features, codes)
        n_tasks, n_samples = len(encoded), len(codes)
        if n_tasks > 20 and n_tasks > 0.9 * n_samples:
            warnings.warn(
                f"{self._label_source()} has {n_tasks} tasks in {n_samples} rows: nearly every "
                "row is a task of its own. Is it the right column?",
                UserWarning,
                stacklevel=4,
            )
        return Rows(features, codes, encoded, weight, preprocessor), y

    def _pack(self, X, y, sample_weight, task, **kwargs):
        """Validate, and sort the rows by task: ``(rows, y, codes, table)``."""
        rows, y = self._rows_to_fit(X, y, task, sample_weight, **kwargs)
        codes = np.zeros(len(y), dtype=np.int64) if rows.codes is None else rows.codes
        if y.ndim == 2:
            n_tasks = y.shape[1]
        else:
            n_tasks = 1 if rows.labels is None else len(rows.labels)
        return rows, y, codes, pack(rows.X, y, codes, n_tasks, rows.weight)

    def _find_columns(self, X):
        return FeatureColumns.find(as_table(X), self.task_column, self.exclude_columns)

    def _store_tasks(self, X, y, rows):
        """Set the fitted attributes that tell columns and tasks."""
        check_columns(self, X, reset=True)
        self._columns = self._find_columns(X)
        self.preprocessor_ = rows.preprocessor
        self._labels = rows.labels
        # How the tasks were given: "column", "array", "target" (2-D y) or "none".
        if y.ndim == 2:
            self._task_source = "target"
            self.tasks_ = np.arange(y.shape[1])
        elif rows.labels is None:
            self._task_source = "none"
            self.tasks_ = np.zeros(1, dtype=np.int64)
        else:
            self._task_source = "array" if self.task_column is None else "column"
            self.tasks_ = rows.labels.classes

    def _find_task(self, label):
        """The position of a task among ``tasks_``."""
        check_is_fitted(self)
        found = np.flatnonzero(self.tasks_ == label)
        if len(found) != 1:
            shown = ", ".join(map(repr, self.tasks_[:5].tolist()))
            raise ValueError(f"label={label!r} is not a task seen in fit, which are: {shown}, ...")
        return int(found[0])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return self._follow_preprocessor(tags)

    def _check_target(self, y, empty_tasks=False):
        y = check_array(
            y, ensure_2d=False, dtype=np.float64, input_name="y",
            ensure_all_finite="allow-nan", allow_nd=True, estimator=self,
        )  # fmt: skip
        if y.ndim > 2:
            raise ValueError(f"y must be 1-D or 2-D, got an array of shape {y.shape}.")
        if y.ndim == 1:
            return check_array(y, ensure_2d=False, input_name="y", estimator=self)
        if np.isinf(y).any():
            raise ValueError("Input y contains infinity; drop or correct these rows.")
        empty = np.flatnonzero(np.isnan(y).all(axis=0))
        if len(empty) == y.shape[1] or (len(empty) and not empty_tasks):
            raise ValueError(
                f"y has tasks without any label: columns {empty.tolist()[:10]}; drop them."
            )
        return y

    def _rows_to_predict(self, X, task):
        """Validate and encode the rows of predict; codes are -1 for an unknown task."""
        check_is_fitted(self)
        if self.task_column is not None and task is not None:
            raise ValueError(
                f"both task_column={self.task_column!r} and task= were given; give one of them."
            )
        features, labels = self._split_rows(X, task)
        features = check_table(self, features)
        check_columns(self, X, reset=False)
        features = read_features(self, features, self.preprocessor_)
        if self._task_source in ("target", "none"):
            if labels is not None:
                raise ValueError(
                    "task= was given, but the model was fitted without tasks; leave it out."
                )
            return Rows(features, None, None)
        if labels is None:
            raise ValueError(
                f"the model was fitted on {len(self.tasks_)} tasks, but no task was given: "
                "pass task=, one label a row."
            )
        codes = self._labels.encode(labels, self._label_source())
        check_consistent_length(features, codes)
        self._handle_unknown_tasks(codes, labels)
        return Rows(features, codes, self._labels)

    def _remedy_for_unknown_tasks(self):
        """What to do about rows of unknown tasks; None where they are predicted."""
        return (
            "drop them or set handle_unknown='shared'" if self.handle_unknown == "error" else None
        )

    def _handle_unknown_tasks(self, codes, labels):
        unknown = codes < 0
        if not unknown.any():
            return
        first = np.asarray(labels).ravel()[[int(np.argmax(unknown))]].tolist()[0]
        share = f"{int(unknown.sum())} of {len(codes)} rows ({unknown.mean():.0%})"
        found = f"{share} belong to tasks never seen in fit, such as {first!r}"
        remedy = self._remedy_for_unknown_tasks()
        if remedy is not None:
            raise ValueError(f"{found}; {remedy}.")
        splitter = (
            "skmtl.model_selection.TaskKFold() with groups="
            if self.task_column is None
            else f"skmtl.model_selection.TaskKFold(task_column={self.task_column!r})"
        )
        warnings.warn(
            f"{found}; they are predicted "
            f"with what all tasks share. In cross-validation, use {splitter} to keep every task "
            "in every training fold.",
            UnknownTaskWarning,
            stacklevel=4,
        )


class OneTask(BaseEstimator):
    """The model of one task; columns that are no features are ignored."""

    _accept_sparse = "csr"

    @classmethod
    def _of_columns(cls, columns, preprocessor):
        model = cls()
        model.n_features_in_ = columns.n_features
        if columns.names and all(isinstance(name, str) for name in columns.names):
            model.feature_names_in_ = np.asarray(columns.names, dtype=object)
        model.preprocessor_ = preprocessor
        model._columns = columns
        return model

    def fit(self, X, y):
        """Raises: the model comes fitted from ``for_task`` or ``adapt``."""
        name = type(self).__name__
        raise TypeError(f"{name} comes fitted from for_task or adapt; fit the estimator it is of.")

    def features(self, X):
        """The features of the rows of `X`, without the task column."""
        check_is_fitted(self)
        X = self._columns.select(as_table(X))
        if self.preprocessor_ is None:
            return validate_data(
                self, X, accept_sparse=self._accept_sparse, dtype=np.float64, reset=False
            )
        X = check_table(self, X)
        check_columns(self, X, reset=False)
        return read_features(self, X, self.preprocessor_)


class LinearTask(OneTask):
    """The linear scores of one task."""

    @classmethod
    def _from_coefficients(cls, coef, intercept, columns, preprocessor=None):
        model = cls._of_columns(columns, preprocessor)
        model.coef_, model.intercept_ = coef.copy(), np.asarray(intercept).copy()[()]
        return model

    def _scores(self, X):
        return self._scores_of(self.features(X))

    def _scores_of(self, features):
        return features @ self.coef_.T + self.intercept_


class LinearTaskModel(RegressorMixin, LinearTask):
    """The linear model of one task, an ordinary fitted regressor.

    Made by ``for_task(label)`` or ``adapt(X, y)`` of a multi-task estimator; small, and fast on
    one row.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    intercept_ : float
    preprocessor_ : transformer or None
        What makes the features that `coef_` is of from the columns of X.
    n_features_in_ : int
        Columns of X that are features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the multi-task estimator was fitted on a data frame.
    """

    @classmethod
    def _from_coefficients(cls, coef, intercept, columns, preprocessor=None, spread=None):
        model = super()._from_coefficients(coef, intercept, columns, preprocessor)
        model._spread = spread
        return model

    def predict(self, X, return_std=False):
        """Predict; the task column and excluded ones are ignored, where X has them.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features_in_)
        return_std : bool, default=False
            Also return the standard deviation of new labels about the predictions.

        Returns
        -------
        prediction : ndarray of shape (n_samples,)
        std : ndarray of shape (n_samples,)
            Only with `return_std`.
        """
        spread = check_spread(self._spread) if return_std else None
        features = self.features(X)
        prediction = self._scores_of(features)
        if not return_std:
            return prediction
        return prediction, spread.of_rows(features, np.zeros(len(prediction), dtype=int))

    def predict_interval(self, X, coverage=0.9):
        """Intervals that hold a share `coverage` of new labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        coverage : float, default=0.9

        Returns
        -------
        low, high : ndarray of shape (n_samples,)
        """
        return interval(*self.predict(X, return_std=True), check_spread(self._spread), coverage)


def check_spread(spread):
    """The spread of new rows about their predictions; an error where none was learned."""
    if spread is None:
        raise ValueError(
            "return_std=True and predict_interval need out-of-fold errors, but the model was "
            "fitted with cv=None; set cv=5."
        )
    return spread


def interval(prediction, std, spread, coverage):
    """``(low, high)`` about the predictions."""
    number = isinstance(coverage, numbers.Real) and not isinstance(coverage, bool)
    if not number or not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage={coverage!r} must be a number between 0 and 1, such as 0.9.")
    low, high = spread.band(float(coverage))
    return prediction + low * std, prediction + high * std


class LinearTaskClassifier(ClassifierMixin, LinearTask):
    """The linear classifier of one task, an ordinary fitted classifier.

    Made by ``for_task(label)`` or ``adapt(X, y)`` of a multi-task classifier; small, and fast on
    one row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Of the log-odds of ``classes_[1]``, or of each class's score.
    intercept_ : float or ndarray of shape (n_classes,)
    preprocessor_ : transformer or None
        What makes the features that `coef_` is of from the columns of X.
    n_features_in_ : int
        Columns of X that are features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the multi-task estimator was fitted on a data frame.
    """

    @classmethod
    def _from_coefficients(cls, coef, intercept, columns, preprocessor, classes):
        model = super()._from_coefficients(coef, intercept, columns, preprocessor)
        model.classes_ = classes.copy()
        return model

    def decision_function(self, X):
        """Log-odds of the second class ``(n_samples,)``, or scores ``(n_samples, n_classes)``."""
        return self._scores(X)

    def predict_proba(self, X):
        """Probabilities of the classes, of shape (n_samples, n_classes)."""
        return probabilities(self._scores(X))

    def predict(self, X):
        """The most probable class of every row; a task column is ignored."""
        return most_probable(self._scores(X), self.classes_)


def probabilities(scores):
    """Probabilities of the classes from log-odds ``(n,)`` or scores ``(n, n_classes)``."""
    if scores.ndim == 1:
        return np.column_stack([expit(-scores), expit(scores)])
    return softmax(scores, axis=1)


def most_probable(scores, classes):
    """The class of largest score, or the second one where the log-odds are above zero."""
    return classes[(scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)]
