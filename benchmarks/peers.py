"""The linear models that a data scientist would build by hand: each with fit and predict.

All are given the same features: standardised numbers and 0/1 levels of categories.
"""

from __future__ import annotations

import time
import warnings
from functools import partial
from importlib import import_module

import numpy as np
from scipy import sparse
from scipy.linalg import qr
from sklearn.linear_model import LogisticRegressionCV, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder

ALPHAS = np.logspace(-2, 4, 13)


def ridge(X, y):
    """Return a fitted ridge, its strength chosen by leave-one-out, or five folds if X is sparse."""
    if not sparse.issparse(X):
        return RidgeCV(ALPHAS).fit(X, y)
    # Leave-one-out would need the eigenvectors of thousands of columns. The tables are sorted by
    # task, so folds are shuffled.
    folds = KFold(5, shuffle=True, random_state=0)
    return GridSearchCV(Ridge(solver="sparse_cg"), {"alpha": ALPHAS}, cv=folds).fit(X, y)


def dense(X):
    """Return X as an array."""
    return X.toarray() if sparse.issparse(X) else X


class PooledRidge:
    """One ridge for all rows, without the task."""

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.ridge_ = ridge(X, y)
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
        self.ridge_ = ridge(self.design(X, task), y)
        return self

    def design(self, X, task):
        """Return the features beside the one-hot task, sparse if X is."""
        own = self.encoder_.transform(task.reshape(-1, 1))
        return sparse.hstack([X, own], "csr") if sparse.issparse(X) else np.hstack([X, own])

    def predict(self, X, task):
        """Predict the target of each row; an unknown task has no intercept of its own."""
        return self.ridge_.predict(self.design(X, task))


class PerTaskRidge:
    """One ridge a task; the task's mean below `min_rows` rows, the pooled ridge if unknown."""

    min_rows = 3

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.pooled_ = ridge(X, y)
        self.models_ = {}
        for label in np.unique(task):
            rows = task == label
            if rows.sum() < self.min_rows:
                self.models_[label] = y[rows].mean()
            else:
                self.models_[label] = ridge(dense(X[rows]), y[rows])
        return self

    def predict(self, X, task):
        """Predict each row by the model of its task."""
        y = np.empty(len(task))
        for label in np.unique(task):
            rows = task == label
            model = self.models_.get(label, self.pooled_)
            y[rows] = model.predict(dense(X[rows])) if hasattr(model, "predict") else model
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


def logistic(X, y, folds=5):
    """Return a fitted logistic ridge, its strength chosen by log-loss in stratified folds.

    Shuffled ones: the tables are sorted by task, and folds of whole tasks would over-shrink.
    """
    folds = StratifiedKFold(folds, shuffle=True, random_state=0)
    model = LogisticRegressionCV(Cs=10, scoring="neg_log_loss", cv=folds, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of defaults that change in 1.10
        return model.fit(X, y)


class PooledLogistic(PooledRidge):
    """One logistic ridge for all rows, without the task; predicts probabilities, as all here."""

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and classes 0 or 1."""
        self.model_ = logistic(X, y)
        return self

    def predict(self, X, task):
        """Predict the probability of class 1 of each row."""
        return self.model_.predict_proba(X)[:, 1]


class OneHotLogistic(OneHotRidge):
    """One logistic ridge for all rows, with the one-hot task among the features."""

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and classes 0 or 1."""
        self.encoder_ = OneHotRidge().fit(X, task, y).encoder_
        self.model_ = logistic(self.design(X, task), y)
        return self

    def predict(self, X, task):
        """Predict the probability of class 1; an unknown task has no intercept of its own."""
        return self.model_.predict_proba(self.design(X, task))[:, 1]


class PerTaskLogistic(PerTaskRidge):
    """One logistic ridge a task; its smoothed base rate below `min_rows` rows of a class."""

    min_rows = 5

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and classes 0 or 1."""
        self.pooled_ = PooledLogistic().fit(X, task, y)
        self.models_ = {}
        for label in np.unique(task):
            rows = task == label
            n_rows, ones = rows.sum(), y[rows].sum()
            rarer = int(min(ones, n_rows - ones))
            if rarer < self.min_rows:
                self.models_[label] = (ones + 1) / (n_rows + 2)
            else:
                self.models_[label] = logistic(X[rows], y[rows], min(5, rarer))
        return self

    def predict(self, X, task):
        """Predict the probability of class 1 of each row by the model of its task."""
        probability = np.empty(len(X))
        for label in np.unique(task):
            rows = task == label
            model = self.models_.get(label, self.pooled_.model_)
            fitted = hasattr(model, "predict_proba")
            probability[rows] = model.predict_proba(X[rows])[:, 1] if fitted else model
        return probability


class GPBoostLogistic(GPBoostMixed):
    """GPBoost's logistic mixed model; its predictions are probabilities."""

    likelihood = "bernoulli_logit"


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
# The same for classes 0 and 1; they predict probabilities.
CLASS_PEERS = {
    "pooled_linear": PooledLogistic,
    "onehot_linear": OneHotLogistic,
    "pertask_linear": PerTaskLogistic,
    "gpboost_lmm": GPBoostLogistic,
    "gpboost_lmm_rs": partial(GPBoostLogistic, 5),
}


def run(peer, X_train, task_train, y_train, X_test, task_test):
    """Fit a peer and return its predictions of the test rows."""
    return peer.fit(X_train, task_train, y_train).predict(X_test, task_test)


def timed_run(make, arguments):
    """Return the predictions of the peer that `make` makes, and the seconds of fit and predict."""
    peer = make()
    start = time.perf_counter()
    prediction = run(peer, *arguments)
    return prediction, time.perf_counter() - start
