"""What boosting leaves behind: learners with votes, as ordinary fitted estimators."""

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ..._compat import check_columns
from ...tasks.columns import as_table

__all__ = ["BoostedClassifier", "BoostedRegressor", "weighted_median"]

# Heights this close to one half, relatively, are one half.
_SLACK = 1e-12


def weighted_median(values, votes):
    """The least of values that, with all below it, has half of the votes.

    Parameters
    ----------
    values : ndarray of shape (n_learners, n_rows)
    votes : ndarray of shape (n_learners,)
        From zero on, not all zero.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    if len(values) == 1:
        return values[0]
    order = np.argsort(values, axis=0, kind="stable")
    heights = np.cumsum(votes[order], axis=0)
    place = (heights >= (0.5 - _SLACK) * heights[-1]).argmax(axis=0)
    rows = np.arange(values.shape[1])
    return values[order[place, rows], rows]


class Boosted(BaseEstimator):
    """Learners and what their votes count."""

    @classmethod
    def _of(cls, estimators, votes, X):
        model = cls()
        model.estimators_, model.estimator_weights_ = list(estimators), np.array(votes)
        check_columns(model, X, reset=True)
        return model

    def fit(self, X, y):
        """Raises: the model comes fitted from `TransferEstimator`."""
        name = type(self).__name__
        raise TypeError(f"{name} comes fitted from TransferEstimator; fit that instead.")

    def _read(self, X):
        """The table as the learners are to see it; they check what is in it."""
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
    """Predicts the weighted median of its learners' predictions.

    Made by `TransferEstimator` with `TrAdaBoostR2` or `TwoStageTrAdaBoostR2`.

    Attributes
    ----------
    estimators_ : list of estimators
    estimator_weights_ : ndarray of shape (n_learners,)
        What the prediction of each counts in the median.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the learners were fitted on a data frame with string names.
    """

    @classmethod
    def _of(cls, estimators, votes, X):
        model = super()._of(estimators, votes, X)
        if all(type(e) in (Ridge, LinearRegression) for e in model.estimators_):
            model._coef = np.array([e.coef_ for e in model.estimators_])
            model._intercept = np.array([[e.intercept_] for e in model.estimators_])
        return model

    def predict(self, X):
        """Predict.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Whatever the learners take.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        if hasattr(self, "_coef"):  # all learners in one product
            X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
            values = (X @ self._coef.T).T + self._intercept
        else:
            X = self._read(X)
            values = np.array([learner.predict(X) for learner in self.estimators_])
        return weighted_median(values, self.estimator_weights_)


class BoostedClassifier(ClassifierMixin, Boosted):
    """Predicts the class with most votes of its learners.

    Made by `TransferEstimator` with `TrAdaBoost`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of estimators
    estimator_weights_ : ndarray of shape (n_learners,)
        What the vote of each counts.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the learners were fitted on a data frame with string names.
    """

    @classmethod
    def _of(cls, estimators, votes, X, classes):
        model = super()._of(estimators, votes, X)
        model.classes_ = classes
        return model

    def _shares(self, X):
        """Shares of the votes, of shape (n_samples, n_classes)."""
        X = self._read(X)
        shares, rows = np.zeros((X.shape[0], len(self.classes_))), np.arange(X.shape[0])
        votes = self.estimator_weights_ / self.estimator_weights_.sum()
        for learner, vote in zip(self.estimators_, votes, strict=True):
            shares[rows, np.searchsorted(self.classes_, learner.predict(X))] += vote
        return shares

    def predict(self, X):
        """The class with most votes; of equals the first in ``classes_``.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Whatever the learners take.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.classes_[self._shares(X).argmax(axis=1)]

    def decision_function(self, X):
        """How far the learners agree: ``(K s - 1) / (K - 1)`` for a share s of the votes.

        As of scikit-learn's ``AdaBoostClassifier``: from -1 / (K - 1) to 1 for K classes.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes the second's minus the first's, from -2 to 2.
        """
        shares = self._shares(X)
        n_classes = shares.shape[1]
        if n_classes == 2:
            return 2.0 * (shares[:, 1] - shares[:, 0])
        return (n_classes * shares - 1.0) / max(n_classes - 1, 1)

    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def predict_proba(self, X):
        """Softmax of the agreement, ``decision_function`` by class over ``K - 1``.

        As of scikit-learn's ``AdaBoostClassifier``. It never reaches zero or one and says little
        of frequencies: calibrate where probabilities matter.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        shares = self._shares(X)
        n_classes = max(shares.shape[1], 2)
        return softmax(n_classes * shares / (n_classes - 1) ** 2, axis=1)
