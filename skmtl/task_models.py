"""Models of one task, as returned by ``for_task`` and ``adapt``: ordinary fitted estimators."""

from typing import Any, Literal, NoReturn, overload

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ._compat import check_columns
from ._plain import plain_classifier, plain_regressor
from ._typing import ArrayLike, MatrixLike, NDArray
from ._validation import (
    check_coverage,
    check_table,
    check_weights,
    read_features,
    refuse_other_kinds,
)
from .guard.prediction_sets import check_set_thresholds, label_sets
from .losses import LOG_LOSS, SQUARED_ERROR
from .tasks.columns import as_table
from .tasks.targets import check_numbers

__all__ = [
    "BlendedTaskClassifier", "BlendedTaskModel", "LinearTaskClassifier", "LinearTaskModel",
    "OneTask", "TaskClassifier", "both_probabilities", "check_residual_scale",
    "interval", "most_probable", "one_or_more", "probabilities", "sets_from_scores",
]  # fmt: skip


class OneTask(BaseEstimator):
    """Model of one task; columns that are not features are ignored."""

    _accept_sparse = "csr"
    _level_effects = None

    @classmethod
    def _of_columns(cls, columns, preprocessor):
        model = cls()
        model.n_features_in_ = columns.n_features
        if columns.names and all(isinstance(name, str) for name in columns.names):
            model.feature_names_in_ = np.asarray(columns.names, dtype=object)
        model.preprocessor_ = preprocessor
        model._columns = columns
        return model

    def fit(self, X: Any, y: Any) -> NoReturn:
        """Raise an error: ``for_task`` and ``adapt`` return fitted models.

        Parameters
        ----------
        X, y : object
            Ignored.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"{type(self).__name__} is already fitted, by for_task or adapt, and cannot be fitted "
            "again; fit the multi-task estimator instead."
        )

    def _level_offset(self, X, features=None):
        """Return the sums of the effects of the rows' levels in grouping columns, if present."""
        effects = self._level_effects
        if effects is None:
            return 0.0
        features = self.features(X) if features is None and effects.have_slopes else features
        return effects.of_rows(X, features, optional=True)

    def features(self, X: MatrixLike) -> Any:
        """Return the features of `X` as the model uses them, without the task column.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            The task column and excluded columns are ignored if present.

        Returns
        -------
        ndarray or csr matrix of shape (n_samples, n_outputs)
            The output of the preprocessor, if there is one.
        """
        check_is_fitted(self)
        X = self._columns.select(as_table(X))
        if self.preprocessor_ is None:
            X = refuse_other_kinds(X)
            return validate_data(
                self, X, accept_sparse=self._accept_sparse, dtype=np.float64, reset=False
            )
        X = check_table(self, X)
        check_columns(self, X, reset=False)
        return read_features(self, X, self.preprocessor_)


class LinearTask(OneTask):
    """Linear model of one task."""

    @classmethod
    def _from_coefficients(cls, coef, intercept, columns, preprocessor=None):
        model = cls._of_columns(columns, preprocessor)
        model.coef_, model.intercept_ = coef.copy(), np.asarray(intercept).copy()[()]
        return model

    def _refuse_effects(self):
        """Raise a ValueError if scikit-learn has no class for the model."""
        if self._level_effects is not None:
            raise ValueError(
                f"grouping_columns={self._level_effects.groupings.columns!r}: no class of "
                "scikit-learn adds the effects of their levels; use grouping_effects_ of the "
                "multi-task estimator beside the coefficients."
            )

    def _scores(self, features):
        return features @ self.coef_.T + self.intercept_


class TaskRegressor(RegressorMixin, OneTask):
    """Regression model of one task: predictions, their standard deviations and intervals."""

    _loss = SQUARED_ERROR

    def _predictions(self, X):
        """Return the features of `X`, and the predictions."""
        raise NotImplementedError

    @overload
    def predict(self, X: MatrixLike, return_std: Literal[False] = False) -> NDArray: ...

    @overload
    def predict(self, X: MatrixLike, return_std: Literal[True]) -> tuple[NDArray, NDArray]: ...

    def predict(self, X: MatrixLike, return_std: bool = False) -> NDArray | tuple[NDArray, NDArray]:
        """Predict the target; the task column and excluded columns are ignored if present.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        return_std : bool, default=False
            Also return the standard deviation of new labels about the predictions.

        Returns
        -------
        prediction : ndarray of shape (n_samples,)
            Predicted target.
        std : ndarray of shape (n_samples,)
            Standard deviation; only with `return_std`.
        """
        features, prediction = self._predictions(X)
        scores = prediction + self._level_offset(X, features)
        prediction = self._loss.means(scores[:, None])[:, 0]
        if not return_std:
            return prediction
        if self._loss is not SQUARED_ERROR:
            raise ValueError(
                "return_std=True and predict_interval are for the squared error, but the model "
                f"was fitted with loss={self._loss.name!r}."
            )
        scale = check_residual_scale(self._residual_scale)
        std = scale.of_rows(features, np.zeros(len(prediction), dtype=int))
        effects = self._level_effects
        return prediction, std if effects is None else effects.widened(std, X, optional=True)

    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R² of the predictions; D², the share of the deviance, for other losses.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        y : array-like of shape (n_samples,)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            R², or D² for another loss.
        """
        loss = LOG_LOSS if self._has_probabilities() else self._loss
        if loss is SQUARED_ERROR:
            return super().score(X, y, sample_weight)
        target = check_numbers(y)
        check_consistent_length(X, target, sample_weight)
        weight = check_weights(sample_weight, len(target))
        weight = np.ones(len(target)) if weight is None else weight
        return loss.explained(target, self.predict(X), weight)

    def _has_probabilities(self):
        """Return whether predictions are probabilities of 1."""
        return self._loss is LOG_LOSS

    @available_if(lambda model: model._has_probabilities())
    def predict_proba(self, X: MatrixLike) -> NDArray:
        """Return the probabilities of 0 and 1, if the task has the log-loss.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Probabilities.
        """
        return both_probabilities(self.predict(X))

    def predict_interval(self, X: MatrixLike, coverage: float = 0.9) -> tuple[NDArray, NDArray]:
        """Return prediction intervals, which contain the fraction `coverage` of new labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        coverage : float, default=0.9
            Share of new labels inside the intervals, between 0 and 1.

        Returns
        -------
        low : ndarray of shape (n_samples,)
            Lower ends of the intervals.
        high : ndarray of shape (n_samples,)
            Upper ends of the intervals.
        """
        prediction, std = self.predict(X, return_std=True)
        return interval(prediction, std, self._residual_scale, coverage)


class LinearTaskModel(TaskRegressor, LinearTask):
    """Linear model of one task, an ordinary fitted regressor.

    Returned by ``for_task(label)`` and ``adapt(X, y)`` of a multi-task estimator. It is small, and
    fast on single rows.

    Attributes
    ----------
    coef_ : ndarray of shape (n_outputs,)
        Coefficients of the features, which are the outputs of the preprocessor if there is one.
    intercept_ : float
        Intercept.
    preprocessor_ : transformer or None
        Fitted preprocessor, which turns columns of X into features.
    n_features_in_ : int
        Number of columns of X that are features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of these columns; only if the multi-task estimator was fitted on a data frame.
    """

    @classmethod
    def _from_coefficients(cls, coef, intercept, columns, preprocessor=None, residual_scale=None):
        model = super()._from_coefficients(coef, intercept, columns, preprocessor)
        model._residual_scale = residual_scale
        return model

    def to_sklearn(self) -> Pipeline:
        """Convert the model to a pipeline of scikit-learn's own classes.

        Use it for tools that read only these.

        Returns
        -------
        Pipeline
            The last step is a fitted `Ridge` with ``coef_`` and ``intercept_``. The preprocessor,
            if there is one, comes before it; "auto" becomes an imputer and an encoder. The pipeline
            expects the features only, without the task column and excluded columns, and numbers
            where "auto" also reads numbers from strings.

        Raises
        ------
        ValueError
            If "auto" has encoded categories that are not strings, such as integer codes, and if the
            model has effects of grouping columns.

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> model = MultiTaskRegressor("partial_pooling", task_column="firm").fit(X, y)
        >>> model.for_task("IBM").to_sklearn()[-1].coef_.shape
        (3,)
        """
        self._refuse_effects()
        if self._loss is LOG_LOSS:
            raise ValueError(
                "loss='log_loss': scikit-learn has no regressor that predicts probabilities; the "
                "models of MultiTaskClassifier become a LogisticRegression."
            )
        if self._loss.has_link:
            raise ValueError(
                f"loss={self._loss.name!r}: the prediction is exp(X @ coef_ + intercept_), for "
                "which scikit-learn has no class that takes coefficients."
            )
        return plain_regressor(self, self.coef_, self.intercept_)

    def _predictions(self, X):
        features = self.features(X)
        return features, self._scores(features)


class BlendedTask(OneTask):
    """Model of one task that blends a linear model with learners of any kind."""

    @classmethod
    def _from_blend(cls, blend, view, columns, preprocessor):
        model = cls._of_columns(columns, preprocessor)
        model._blend, model._view = blend, view
        return model

    def _blended(self, X, features):
        """Return the scores ``(n_samples, n_scores)``."""
        raw = self._columns.select(as_table(X))
        return self._blend.predict(features, self._view(raw, features))


class BlendedTaskModel(TaskRegressor, BlendedTask):
    """Regression model of one task that blends a linear model with learners of any kind.

    Returned by ``for_task(label)`` and ``adapt(X, y)`` of a multi-task estimator whose fit is not
    linear. It contains the learners, and no other task's coefficients.

    Attributes
    ----------
    preprocessor_ : transformer or None
        Fitted preprocessor, which turns columns of X into features.
    n_features_in_ : int
        Number of columns of X that are features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of these columns; only if the multi-task estimator was fitted on a data frame.
    """

    @classmethod
    def _from_blend(cls, blend, view, columns, preprocessor, residual_scale):
        model = super()._from_blend(blend, view, columns, preprocessor)
        model._residual_scale = residual_scale
        return model

    def _has_probabilities(self):
        return getattr(self._blend, "has_log_loss", False)

    def _predictions(self, X):
        features = self.features(X)
        return features, self._blended(X, features)[:, 0]


def both_probabilities(second):
    """Return probabilities ``(n, 2)`` of 0 and 1 from those of 1."""
    return np.column_stack([1.0 - second, second])


def check_residual_scale(residual_scale):
    """Return the scale of the residuals, or raise if none was estimated."""
    if residual_scale is None:
        raise ValueError(
            "return_std=True and predict_interval need out-of-fold errors, but the model was "
            "fitted with cv=None; set cv=5."
        )
    return residual_scale


def interval(prediction, std, residual_scale, coverage):
    """Return the ends ``(low, high)`` of intervals about the predictions."""
    low, high = residual_scale.band(check_coverage(coverage))
    return prediction + low * std, prediction + high * std


class TaskClassifier(ClassifierMixin, OneTask):
    """Classifier of one task: scores, probabilities, classes and prediction sets."""

    _set_thresholds = None  # of models that were pickled before there were any

    def decision_function(self, X: MatrixLike) -> NDArray:
        """Return the log-odds of the second class, or the scores of more than two classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log-odds of ``classes_[1]``, or the score of each class.
        """
        return self._class_scores(X) + self._level_offset(X)

    def _class_scores(self, X):
        """Return what `decision_function` returns."""
        raise NotImplementedError

    def predict_proba(self, X: MatrixLike) -> NDArray:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``.
        """
        return probabilities(self.decision_function(X))

    def predict(self, X: MatrixLike) -> NDArray:
        """Predict the most probable class; the task column is ignored if present.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted classes.
        """
        return most_probable(self.decision_function(X), self.classes_)

    def predict_set(self, X: MatrixLike, coverage: float = 0.9) -> NDArray:
        """Return the prediction sets of rows, which contain the fraction `coverage` of new labels.

        The thresholds are those of the task in ``MultiTaskClassifier.predict_set``. After ``adapt``
        they are the larger ones of all tasks together and of an unseen task.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        coverage : float, default=0.9
            Share of new labels in the sets, between 0 and 1.

        Returns
        -------
        bool ndarray of shape (n_samples, n_classes)
            Whether a label is in the set, in the order of ``classes_``. A set is never empty, and
            contains the label that `predict` returns.

        Raises
        ------
        ValueError
            For a coverage that is not between 0 and 1, and if `fit` had ``cv=None``.
        """
        coverage = check_coverage(coverage)
        thresholds = check_set_thresholds(self._set_thresholds)
        scores = self.decision_function(X)
        codes = np.zeros(len(scores), dtype=np.int64)
        return sets_from_scores(scores, thresholds.at(coverage, codes))


class LinearTaskClassifier(TaskClassifier, LinearTask):
    """Linear classifier of one task, an ordinary fitted classifier.

    Returned by ``for_task(label)`` and ``adapt(X, y)`` of a multi-task classifier. It is small, and
    fast on single rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coef_ : ndarray of shape (n_outputs,) or (n_classes, n_outputs)
        Coefficients of the log-odds of ``classes_[1]`` (two classes), or of the score of each
        class. The features are the outputs of the preprocessor if there is one.
    intercept_ : float or ndarray of shape (n_classes,)
        Intercept of the log-odds, or of each score.
    preprocessor_ : transformer or None
        Fitted preprocessor, which turns columns of X into features.
    n_features_in_ : int
        Number of columns of X that are features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of these columns; only if the multi-task estimator was fitted on a data frame.
    """

    @classmethod
    def _from_coefficients(cls, coef, intercept, columns, preprocessor, classes, set_thresholds):
        model = super()._from_coefficients(coef, intercept, columns, preprocessor)
        model.classes_, model._set_thresholds = classes.copy(), set_thresholds
        return model

    def to_sklearn(self) -> Pipeline:
        """Convert the model to a pipeline of scikit-learn's own classes.

        Returns
        -------
        Pipeline
            The last step is a fitted `LogisticRegression`; see `LinearTaskModel.to_sklearn` for the
            preprocessor and the errors.
        """
        self._refuse_effects()
        return plain_classifier(self, self.coef_, self.intercept_, self.classes_)

    def _class_scores(self, X):
        return self._scores(self.features(X))


class BlendedTaskClassifier(TaskClassifier, BlendedTask):
    """Classifier of one task that blends a linear model with learners of any kind.

    Returned by ``for_task(label)`` and ``adapt(X, y)`` of a multi-task classifier whose fit is not
    linear. It contains the learners, and no other task's coefficients.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    preprocessor_ : transformer or None
        Fitted preprocessor, which turns columns of X into features.
    n_features_in_ : int
        Number of columns of X that are features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of these columns; only if the multi-task estimator was fitted on a data frame.
    """

    @classmethod
    def _from_blend(cls, blend, view, columns, preprocessor, classes, set_thresholds):
        model = super()._from_blend(blend, view, columns, preprocessor)
        model.classes_, model._set_thresholds = classes.copy(), set_thresholds
        return model

    def _class_scores(self, X):
        return one_or_more(self._blended(X, self.features(X)))


def probabilities(scores):
    """Return class probabilities from log-odds ``(n,)`` or scores ``(n, n_classes)``."""
    if scores.ndim == 1:
        return np.column_stack([expit(-scores), expit(scores)])
    return LOG_LOSS.means(scores)


def most_probable(scores, classes):
    """Return the class of the largest score, or the second class if its log-odds are positive."""
    return classes[_positions_of_top(scores)]


def _positions_of_top(scores):
    return (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)


def sets_from_scores(scores, thresholds):
    """Return the prediction sets ``(n, n_classes)`` from scores and the thresholds of the rows."""
    return label_sets(probabilities(scores), _positions_of_top(scores), thresholds)


def one_or_more(scores):
    """Return scores ``(n, n_scores)``, as a vector if there is one set of them."""
    return scores[:, 0] if scores.shape[1] == 1 else scores
