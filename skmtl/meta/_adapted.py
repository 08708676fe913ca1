"""The model of one task, as ``for_task`` and ``adapt`` of a meta-learner return it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.pipeline import Pipeline

from .._plain import plain_classifier, plain_regressor
from .._typing import MatrixLike, NDArray
from ..learners.base import Adapted
from ..task_models import OneTask
from ..tasks.stack import as_dense
from ..tasks.standards import Standards

__all__ = ["AdaptedTaskClassifier", "AdaptedTaskModel", "ShiftedHead"]


@dataclass
class ShiftedHead:
    """The head of a single task with shifted intercepts.

    Attributes
    ----------
    head : Adapted
    shift : ndarray of shape (n_classes,)
    """

    head: Adapted
    shift: np.ndarray

    def predict(self, X, codes):
        """Return log-probabilities of the classes, as `Adapted.predict` does."""
        log = self.head.predict(X, codes)[:, : len(self.shift)]
        return log_softmax(log + self.shift, axis=1)


class AdaptedTask(OneTask):
    """A head adapted to one task; columns of X that are not features are ignored.

    Subclasses define ``_scores_at(Z)``: scores ``(n_samples, n_scores)`` of standardised features,
    which are linear in these if the head is linear.
    """

    _accept_sparse: Any = False
    _standards: Standards

    @classmethod
    def _of_head(cls, head, standards, columns, preprocessor):
        model = cls._of_columns(columns, preprocessor)
        model._head, model._standards = head, standards
        return model

    def _expected(self, X):
        """Return the predictions of the head for rows of X, on its own scale."""
        return self._at(self._standards.features(as_dense(self.features(X))))

    def _at(self, Z):
        """Return the predictions of the head for standardised features."""
        return self._head.predict(Z, np.zeros(len(Z), dtype=np.int64))

    def _linear(self):
        """Return the coefficients and intercepts of the scores, in the units of X.

        Returns
        -------
        coef : ndarray of shape (n_scores, n_outputs)
        intercept : ndarray of shape (n_scores,)

        Raises
        ------
        ValueError
            If the scores are not linear in the features.
        """
        standards = self._standards
        p = len(standards.columns)
        origin = self._scores_at(np.zeros((1, p)))[0]
        slopes = (self._scores_at(np.eye(p)) - origin).T
        points = 3.0 * np.random.default_rng(0).normal(size=(20, p))
        scores = self._scores_at(points)
        gap = np.abs(origin + points @ slopes.T - scores).max()
        if gap > 1e-6 * (1.0 + np.abs(scores).max()):
            raise ValueError(
                f"this {type(self).__name__} is not linear in the features, so that there is no "
                "equivalent linear model of scikit-learn: save it as it is with joblib, or use a "
                "learner with linear heads, such as 'auto'."
            )
        coef = np.zeros((len(origin), standards.n_features))
        coef[:, standards.columns] = slopes * standards.scale
        return coef, origin - slopes @ (standards.centre * standards.scale)


class AdaptedTaskModel(RegressorMixin, AdaptedTask):
    """The model of one task, an ordinary fitted regressor.

    It is returned by ``for_task(label)`` and ``adapt(X, y)`` of a `MetaLearnerRegressor`.

    Attributes
    ----------
    preprocessor_ : transformer or None
        Fitted transformer of the columns of X into features.
    n_features_in_ : int
        Number of columns of X that are features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if the meta-learner was fitted on a data frame.
    """

    def _scores_at(self, Z):
        return self._standards.restore(self._at(Z))[:, None]

    def to_sklearn(self) -> Pipeline:
        """Return the same model composed of estimators of scikit-learn.

        Returns
        -------
        Pipeline
            See `LinearTaskModel.to_sklearn`.

        Raises
        ------
        ValueError
            If the learner's heads are not linear in the features.
        """
        coef, intercept = self._linear()
        return plain_regressor(self, coef[0], intercept[0])

    def predict(self, X: MatrixLike) -> NDArray:
        """Predict the target of each row.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict; the task column and excluded columns, if present, are ignored.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted numbers.
        """
        return self._standards.restore(self._expected(X))


class AdaptedTaskClassifier(ClassifierMixin, AdaptedTask):
    """The classifier of one task, an ordinary fitted classifier.

    It is returned by ``for_task(label)`` and ``adapt(X, y)`` of a `MetaLearnerClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The task's own classes, unless tasks share them.
    preprocessor_ : transformer or None
        Fitted transformer of the columns of X into features.
    n_features_in_ : int
        Number of columns of X that are features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if the meta-learner was fitted on a data frame.
    """

    classes_: np.ndarray

    @classmethod
    def _of_head(cls, head, standards, columns, preprocessor, classes):
        model = super()._of_head(head, standards, columns, preprocessor)
        model.classes_ = classes.copy()
        return model

    def _scores_at(self, Z):
        log = self._at(Z)[:, : len(self.classes_)]
        # Log-probabilities are linear up to a constant per row.
        return log - log.mean(axis=1, keepdims=True)

    def to_sklearn(self) -> Pipeline:
        """Return the same model composed of estimators of scikit-learn.

        Returns
        -------
        Pipeline
            See `LinearTaskClassifier.to_sklearn`.

        Raises
        ------
        ValueError
            If the learner's heads are not linear in the features, or the task has one class only.
        """
        if len(self.classes_) < 2:
            raise ValueError(
                f"the task has one class only, {self.classes_[0]!r}, for which scikit-learn has no "
                "linear model: use predict of this classifier."
            )
        coef, intercept = self._linear()
        if len(self.classes_) == 2:
            coef, intercept = coef[1] - coef[0], intercept[1] - intercept[0]
        return plain_classifier(self, coef, intercept, self.classes_)

    def predict_log_proba(self, X: MatrixLike) -> NDArray:
        """Predict the log-probabilities of the classes.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict; the task column and excluded columns, if present, are ignored.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities, in the order of ``classes_``.
        """
        return self._expected(X)[:, : len(self.classes_)]

    def predict_proba(self, X: MatrixLike) -> NDArray:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict; the task column and excluded columns, if present, are ignored.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: MatrixLike) -> NDArray:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict; the task column and excluded columns, if present, are ignored.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted classes.
        """
        return self.classes_[self.predict_log_proba(X).argmax(axis=1)]
