"""One task's model, an ordinary fitted estimator: what ``for_task`` and ``adapt`` return."""

import numbers

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._compat import check_columns
from ._plain import plain_classifier, plain_regressor
from ._validation import check_table, read_features, refuse_other_kinds
from .losses import LOG_LOSS
from .tasks.columns import as_table

__all__ = [
    "LinearTaskClassifier", "LinearTaskModel", "OneTask", "check_residual_scale", "interval",
    "most_probable", "probabilities",
]  # fmt: skip


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
            X = refuse_other_kinds(X)
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
    def _from_coefficients(cls, coef, intercept, columns, preprocessor=None, residual_scale=None):
        model = super()._from_coefficients(coef, intercept, columns, preprocessor)
        model._residual_scale = residual_scale
        return model

    def to_sklearn(self):
        """The same model of scikit-learn's own parts, which tools for these can read.

        Returns
        -------
        Pipeline
            Its last step is a fitted `Ridge` with ``coef_`` and ``intercept_``; before it the
            preprocessor, if there is one, that of "auto" as an imputer and an encoder. It takes
            the features alone, neither the task column nor excluded ones. "auto" has read
            numbers from strings; the pipeline wants numbers.

        Raises
        ------
        ValueError
            Where "auto" has encoded categories that are no strings, such as codes.

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> model = MultiTaskRegressor(task_column="firm").fit(X, y).for_task("IBM")
        >>> model.to_sklearn()[-1].coef_.shape
        (3,)
        """
        return plain_regressor(self, self.coef_, self.intercept_)

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
        residual_scale = check_residual_scale(self._residual_scale) if return_std else None
        features = self.features(X)
        prediction = self._scores_of(features)
        if not return_std:
            return prediction
        return prediction, residual_scale.of_rows(features, np.zeros(len(prediction), dtype=int))

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
        return interval(
            *self.predict(X, return_std=True), check_residual_scale(self._residual_scale), coverage
        )


def check_residual_scale(residual_scale):
    """The spread of new rows about their predictions; an error where none was learned."""
    if residual_scale is None:
        raise ValueError(
            "return_std=True and predict_interval need out-of-fold errors, but the model was "
            "fitted with cv=None; set cv=5."
        )
    return residual_scale


def interval(prediction, std, residual_scale, coverage):
    """``(low, high)`` about the predictions."""
    number = isinstance(coverage, numbers.Real) and not isinstance(coverage, bool)
    if not number or not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage={coverage!r} must be a number between 0 and 1, such as 0.9.")
    low, high = residual_scale.band(float(coverage))
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

    def to_sklearn(self):
        """The same model of scikit-learn's own parts, which tools for these can read.

        Returns
        -------
        Pipeline
            As `LinearTaskModel.to_sklearn`; its last step is a fitted `LogisticRegression`.
        """
        return plain_classifier(self, self.coef_, self.intercept_, self.classes_)

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
    return LOG_LOSS.means(scores)


def most_probable(scores, classes):
    """The class of largest score, or the second one where the log-odds are above zero."""
    return classes[(scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)]
