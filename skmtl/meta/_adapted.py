"""The model of one task, as ``for_task`` and ``adapt`` of a meta-learner return it."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin, RegressorMixin

from .._plain import plain_classifier, plain_regressor
from ..task_models import OneTask
from ..tasks.stack import as_dense

__all__ = ["AdaptedTaskClassifier", "AdaptedTaskModel", "ShiftedHead"]


@dataclass
class ShiftedHead:
    """The head of a task with other intercepts.

    Attributes
    ----------
    head : Adapted
        Of a single task.
    shift : ndarray of shape (n_classes,)
    """

    head: object
    shift: np.ndarray

    def predict(self, X, codes):
        """As `Adapted.predict`."""
        log = self.head.predict(X, codes)[:, : len(self.shift)]
        return log_softmax(log + self.shift, axis=1)


class AdaptedTask(OneTask):
    """What a learner knows of one task; columns that are no features are ignored."""

    _accept_sparse = False

    @classmethod
    def _of_head(cls, head, standards, columns, preprocessor):
        model = cls._of_columns(columns, preprocessor)
        model._head, model._standards = head, standards
        return model

    def _expected(self, X):
        """What the learner expects of the rows, on its own scale."""
        return self._at(self._standards.features(as_dense(self.features(X))))

    def _at(self, Z):
        """The same of standardised features."""
        return self._head.predict(Z, np.zeros(len(Z), dtype=np.int64))

    def _scores_at(self, Z):
        """What is linear in standardised features if the head is, ``(n_samples, n_scores)``."""
        raise NotImplementedError

    def _linear(self):
        """Coefficients ``(n_scores, n_outputs)`` and intercepts of the scores, in the units of X.

        Raises
        ------
        ValueError
            Where the scores are not linear in the features.
        """
        standards = self._standards
        p = len(standards.columns)
        at = self._scores_at(np.zeros((1, p)))[0]
        slopes = (self._scores_at(np.eye(p)) - at).T
        points = 3.0 * np.random.default_rng(0).normal(size=(20, p))
        wanted, found = self._scores_at(points), at + points @ slopes.T
        if np.abs(found - wanted).max() > 1e-6 * (1.0 + np.abs(wanted).max()):
            raise ValueError(
                f"this {type(self).__name__} is not linear in the features, so that no linear "
                "model of scikit-learn is the same: save it as it is, by joblib, or choose a "
                "learner with linear heads, such as 'auto'."
            )
        coef = np.zeros((len(at), standards.n_features))
        coef[:, standards.columns] = slopes * standards.scale
        return coef, at - slopes @ (standards.centre * standards.scale)


class AdaptedTaskModel(RegressorMixin, AdaptedTask):
    """The model of one task, an ordinary fitted regressor.

    Made by ``for_task(label)`` or ``adapt(X, y)`` of a `MetaLearnerRegressor`.

    Attributes
    ----------
    preprocessor_ : transformer or None
        What makes features of the columns of X.
    n_features_in_ : int
        Columns of X that are features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the meta-learner was fitted on a data frame.
    """

    def _scores_at(self, Z):
        return self._standards.restore(self._at(Z))[:, None]

    def to_sklearn(self):
        """The same model of scikit-learn's own parts, which tools for these can read.

        Returns
        -------
        Pipeline
            As `LinearTaskModel.to_sklearn`.

        Raises
        ------
        ValueError
            Where the learner's heads are not linear in the features.
        """
        coef, intercept = self._linear()
        return plain_regressor(self, coef[0], intercept[0])

    def predict(self, X):
        """Predict; the task column and excluded ones are ignored, where X has them."""
        return self._standards.restore(self._expected(X))


class AdaptedTaskClassifier(ClassifierMixin, AdaptedTask):
    """The classifier of one task, an ordinary fitted classifier.

    Made by ``for_task(label)`` or ``adapt(X, y)`` of a `MetaLearnerClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The task's own, where tasks do not share them.
    preprocessor_ : transformer or None
        What makes features of the columns of X.
    n_features_in_ : int
        Columns of X that are features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the meta-learner was fitted on a data frame.
    """

    @classmethod
    def _of_head(cls, head, standards, columns, preprocessor, classes):
        model = super()._of_head(head, standards, columns, preprocessor)
        model.classes_ = classes.copy()
        return model

    def _scores_at(self, Z):
        log = self._at(Z)[:, : len(self.classes_)]
        # Logarithms of probabilities are linear up to what all classes have in common.
        return log - log.mean(axis=1, keepdims=True)

    def to_sklearn(self):
        """The same model of scikit-learn's own parts, which tools for these can read.

        Returns
        -------
        Pipeline
            As `LinearTaskClassifier.to_sklearn`.

        Raises
        ------
        ValueError
            Where the learner's heads are not linear in the features, or the task shows one class.
        """
        if len(self.classes_) < 2:
            raise ValueError(
                f"the task has one class only, {self.classes_[0]!r}, which is no model of "
                "scikit-learn's: predict it."
            )
        coef, intercept = self._linear()
        if len(self.classes_) == 2:
            coef, intercept = coef[1] - coef[0], intercept[1] - intercept[0]
        return plain_classifier(self, coef, intercept, self.classes_)

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes, of shape (n_samples, n_classes)."""
        return self._expected(X)[:, : len(self.classes_)]

    def predict_proba(self, X):
        """Probabilities of the classes, of shape (n_samples, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X):
        """The most probable class of every row; a task column is ignored."""
        return self.classes_[self.predict_log_proba(X).argmax(axis=1)]
