"""The linear models that a data scientist would build by hand: each with fit and predict.

All are given the same features: standardised numbers and 0/1 levels of categories.
"""

from __future__ import annotations

import warnings
from functools import partial
from importlib import import_module

import numpy as np
from scipy.linalg import qr
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import OneHotEncoder

ALPHAS = np.logspace(-2, 4, 13)


class PooledRidge:
    """One ridge for all rows, without the task."""

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.ridge_ = RidgeCV(ALPHAS).fit(X, y)
        return self

    def predict(self, X, task):
        """Predict the target of each row."""
        return self.ridge_.predict(X)


class OneHotRidge:
    """One ridge for all rows, with the one-hot task among the features."""

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.encoder_ = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        self.encoder_.fit(task.reshape(-1, 1))
        self.ridge_ = RidgeCV(ALPHAS).fit(self.design(X, task), y)
        return self

    def design(self, X, task):
        """Return the features beside the one-hot task, dense."""
        return np.hstack([X, self.encoder_.transform(task.reshape(-1, 1))])

    def predict(self, X, task):
        """Predict the target of each row; an unknown task has no intercept of its own."""
        return self.ridge_.predict(self.design(X, task))


class PerTaskRidge:
    """One ridge a task; the task's mean below `min_rows` rows, the pooled ridge if unknown."""

    min_rows = 3

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.pooled_ = RidgeCV(ALPHAS).fit(X, y)
        self.models_ = {}
        for label in np.unique(task):
            rows = task == label
            if rows.sum() < self.min_rows:
                self.models_[label] = y[rows].mean()
            else:
                self.models_[label] = RidgeCV(ALPHAS).fit(X[rows], y[rows])
        return self

    def predict(self, X, task):
        """Predict each row by the model of its task."""
        y = np.empty(len(X))
        for label in np.unique(task):
            rows = task == label
            model = self.models_.get(label, self.pooled_)
            y[rows] = model.predict(X[rows]) if hasattr(model, "predict") else model
        return y


def independent_columns(X, tol=1e-8):
    """Return the positions of a largest set of linearly independent columns."""
    R, pivots = qr(X, mode="r", pivoting=True)
    diagonal = np.abs(np.diag(R))
    return np.sort(pivots[: len(diagonal)][diagonal > tol * diagonal[0]])


def most_correlated(X, y, n_columns):
    """Return the positions of the columns of X most correlated with y, in order of position."""
    X, y = X - X.mean(axis=0), y - y.mean()
    norm = np.sqrt((X**2).sum(axis=0))
    correlation = np.abs(X.T @ y) / np.where(norm > 0, norm, np.inf)
    return np.sort(np.argsort(-correlation)[:n_columns])


def with_intercept(X):
    """Return X with a first column of ones."""
    return np.hstack([np.ones((len(X), 1)), X])


class _MixedModel:
    """Design matrices of a linear mixed model: fixed effects, and features with random slopes."""

    def __init__(self, n_slopes=0):
        self.n_slopes = n_slopes
        self.library = import_module(self.module)  # here, so that no fit is timed with its import

    def _choose_columns(self, X, y):
        # Maximum likelihood is not shrunk: with dependent columns both libraries end at a wrong
        # optimum, or at none.
        X = with_intercept(X)
        self.fixed_ = independent_columns(X)
        features = self.fixed_[self.fixed_ > 0]
        self.slopes_ = features[most_correlated(X[:, features], y, self.n_slopes)]

    def _design(self, X):
        X = with_intercept(X)
        return X[:, self.fixed_], X[:, self.slopes_]


class GPBoostMixed(_MixedModel):
    """GPBoost's linear mixed model: random intercept a task, and `n_slopes` random slopes."""

    module = "gpboost"
    likelihood = "gaussian"

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self._choose_columns(X, y)
        fixed, random = self._design(X)
        slopes = {}
        if random.shape[1]:
            slopes["group_rand_coef_data"] = random
            slopes["ind_effect_group_rand_coef"] = [1] * random.shape[1]
        self.model_ = self.library.GPModel(group_data=task, likelihood=self.likelihood, **slopes)
        self.model_.fit(y=y, X=fixed)
        return self

    def predict(self, X, task):
        """Predict the target of each row; an unknown task has no random effect."""
        fixed, random = self._design(X)
        random = random if random.shape[1] else None
        prediction = self.model_.predict(
            X_pred=fixed, group_data_pred=task, group_rand_coef_data_pred=random
        )
        return prediction["mu"]


class StatsmodelsMixed(_MixedModel):
    """statsmodels' MixedLM: random intercept a task, and `n_slopes` random slopes."""

    module = "statsmodels.regression.mixed_linear_model"

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self._choose_columns(X, y)
        fixed, random = self._design(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of boundary estimates, usual with random slopes
            model = self.library.MixedLM(y, fixed, groups=task, exog_re=with_intercept(random))
            self.model_ = model.fit()
        return self

    def predict(self, X, task):
        """Predict the target of each row; an unknown task has no random effect."""
        fixed, random = self._design(X)
        random = with_intercept(random)
        effects, zero = self.model_.random_effects, np.zeros(random.shape[1])
        own = np.array([np.asarray(effects.get(label, zero)) for label in task])
        return fixed @ self.model_.fe_params + (random * own).sum(axis=1)


# The five that the figures of accuracy are about. gpboost_lmm_rs has random slopes on the five
# features most correlated with the target: what one does in practice, for every further slope makes
# it slower by far.
PEERS = {
    "pooled_linear": PooledRidge,
    "onehot_linear": OneHotRidge,
    "pertask_linear": PerTaskRidge,
    "gpboost_lmm": GPBoostMixed,
    "gpboost_lmm_rs": partial(GPBoostMixed, 5),
}
# Slow ones, run only when named; None means a slope for every feature.
SLOW_PEERS = {
    "gpboost_lmm_rs_all": partial(GPBoostMixed, None),
    "mixedlm_slopes": partial(StatsmodelsMixed, 3),
}
ALL_PEERS = PEERS | SLOW_PEERS


def run(peer, X_train, task_train, y_train, X_test, task_test):
    """Fit a peer and return its predictions of the test rows."""
    return peer.fit(X_train, task_train, y_train).predict(X_test, task_test)
