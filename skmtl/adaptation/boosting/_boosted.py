"""Fitted estimators that boosting returns: learners with votes."""

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ..._compat import check_columns
from ..._typing import MatrixLike, NDArray
from ...tasks.columns import as_table

__all__ = ["BoostedClassifier", "BoostedRegressor", "weighted_median"]

# A cumulative share of votes this close to one half, relatively, counts as one half.
_SLACK = 1e-12


def weighted_median(values, votes):
    """Return the smallest value at which the cumulative votes reach half of all votes.

    Parameters
    ----------
    values : ndarray of shape (n_learners, n_rows)
    votes : ndarray of shape (n_learners,)
        Not negative, and not all zero.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    if len(values) == 1:
        return values[0]
    order = np.argsort(values, axis=0, kind="stable")
    sums = np.cumsum(votes[order], axis=0)
    median = (sums >= (0.5 - _SLACK) * sums[-1]).argmax(axis=0)
    rows = np.arange(values.shape[1])
    return values[order[median, rows], rows]


class Boosted(BaseEstimator):
    """Base class of the boosted estimators: learners and their votes."""

    @classmethod
    def _of(cls, estimators, votes, X):
        model = cls()
        model.estimators_, model.estimator_weights_ = list(estimators), np.array(votes)
        check_columns(model, X, reset=True)
        return model

    def fit(self, X: Any, y: Any) -> None:
        """Raise a TypeError: `TransferEstimator` fits the model.

        Parameters
        ----------
        X, y : object
            Not used.
        """
        raise TypeError(
            f"{type(self).__name__} comes fitted from TransferEstimator; fit that instead."
        )

    def _read(self, X):
        """Return X as a table after the check of its columns; the learners check its values."""
        check_is_fitted(self)
        X = as_table(X)
        check_columns(self, X, reset=False)
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if hasattr(self, "estimators_"):
            tags.input_tags = get_tags(self.estimators_[0]).input_tags
        return tags


class BoostedRegressor(RegressorMixin, Boosted):
    """Weighted median of the predictions of boosted learners.

    The fitted model of `TransferEstimator` with `TrAdaBoostR2` or `TwoStageTrAdaBoostR2`.

    Attributes
    ----------
    estimators_ : list of estimators
        The learners.
    estimator_weights_ : ndarray of shape (n_learners,)
        The votes of the learners in the median.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if the learners were fitted on a data frame with string names.
    """

    @classmethod
    def _of(cls, estimators, votes, X):
        model = super()._of(estimators, votes, X)
        if all(type(e) in (Ridge, LinearRegression) for e in model.estimators_):
            model._coef = np.array([e.coef_ for e in model.estimators_])
            model._intercept = np.array([[e.intercept_] for e in model.estimators_])
        return model

    def predict(self, X: MatrixLike) -> NDArray:
        """Predict the weighted median.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            A table that the learners accept.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predictions.
        """
        if hasattr(self, "_coef"):  # all learners in one product
            X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
            values = (X @ self._coef.T).T + self._intercept
        else:
            X = self._read(X)
            values = np.array([learner.predict(X) for learner in self.estimators_])
        return weighted_median(values, self.estimator_weights_)


class BoostedClassifier(ClassifierMixin, Boosted):
    """Weighted vote of boosted classifiers.

    The fitted model of `TransferEstimator` with `TrAdaBoost`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    estimators_ : list of estimators
        The learners.
    estimator_weights_ : ndarray of shape (n_learners,)
        The votes of the learners.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if the learners were fitted on a data frame with string names.
    """

    @classmethod
    def _of(cls, estimators, votes, X, classes):
        model = super()._of(estimators, votes, X)
        model.classes_ = classes
        return model

    def _shares(self, X):
        """Return each class's share of the votes, of shape (n_samples, n_classes)."""
        X = self._read(X)
        shares, rows = np.zeros((X.shape[0], len(self.classes_))), np.arange(X.shape[0])
        votes = self.estimator_weights_ / self.estimator_weights_.sum()
        for learner, vote in zip(self.estimators_, votes, strict=True):
            shares[rows, np.searchsorted(self.classes_, learner.predict(X))] += vote
        return shares

    def predict(self, X: MatrixLike) -> NDArray:
        """Predict the class with the most votes; of equals, the first in ``classes_``.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            A table that the learners accept.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        return self.classes_[self._shares(X).argmax(axis=1)]

    def decision_function(self, X: MatrixLike) -> NDArray:
        """Return the agreement of the learners: ``(K s - 1) / (K - 1)`` for a share s of the votes.

        As in scikit-learn's ``AdaBoostClassifier``: from -1 / (K - 1) to 1 for K classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            A table that the learners accept.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, that of the second minus that of the first, from -2 to 2.
        """
        shares = self._shares(X)
        n_classes = shares.shape[1]
        if n_classes == 2:
            return 2.0 * (shares[:, 1] - shares[:, 0])
        return (n_classes * shares - 1.0) / max(n_classes - 1, 1)

    def predict_log_proba(self, X: MatrixLike) -> NDArray:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            A table that the learners accept.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities.
        """
        return np.log(self.predict_proba(X))

    def predict_proba(self, X: MatrixLike) -> NDArray:
        """Return the softmax of the agreement by class, divided by ``K - 1``.

        As in scikit-learn's ``AdaBoostClassifier``. The values never reach zero or one and are not
        calibrated: calibrate them if probabilities matter.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            A table that the learners accept.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        shares = self._shares(X)
        n_classes = max(shares.shape[1], 2)
        return softmax(n_classes * shares / (n_classes - 1) ** 2, axis=1)
