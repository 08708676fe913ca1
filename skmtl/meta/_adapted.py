"""The model of one task, as ``for_task`` and ``adapt`` of a meta-learner return it."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin, RegressorMixin

from ..base import OneTask

__all__ = ["AdaptedTaskClassifier", "AdaptedTaskModel", "ShiftedHead", "as_dense"]


def as_dense(X):
    """The array that a sparse matrix (of a preprocessor) stands for; an array as it is."""
    return X.toarray() if hasattr(X, "toarray") else X


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
        Z = self._standards.features(as_dense(self.features(X)))
        return self._head.predict(Z, np.zeros(len(Z), dtype=np.int64))


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

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes, of shape (n_samples, n_classes)."""
        return self._expected(X)[:, : len(self.classes_)]

    def predict_proba(self, X):
        """Probabilities of the classes, of shape (n_samples, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X):
        """The most probable class of every row; a task column is ignored."""
        return self.classes_[self.predict_log_proba(X).argmax(axis=1)]
