"""Peers that read a data frame: boosted trees, and GPBoost with categories of many levels.

Each is told whether the target is a class, 0 or 1, and then predicts probabilities. `fit` and
`predict` are given the features as a frame, whose categories have pandas' dtype, and the tasks.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
from peers import GPBoostMixed
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

TASK = "task"
# Early stopping: a fifth of the rows is held out, then all are learned from with the best rounds.
MOST_ROUNDS, PATIENCE, HELD_OUT = 2_000, 50, 0.2
RATE = 0.05
# With its defaults, LightGBM ignores categories of fewer than 100 rows, as most tasks have.
SMALL_CATEGORIES = {"min_data_per_group": 10, "cat_smooth": 5}
# A category of more levels is no one-hot block and no split, but a grouping or a target encoding.
MOST_LEVELS = 255


def wide_categories(X):
    """Return the names of the categories of more than `MOST_LEVELS` levels."""
    names = X.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in X.dtypes]]
    return [name for name in names if X[name].cat.categories.size > MOST_LEVELS]


def held_out(y, classifier):
    """Return the positions of the rows to learn from and of those to stop early on."""
    stratify = y if classifier else None
    return train_test_split(
        np.arange(len(y)), test_size=HELD_OUT, random_state=0, stratify=stratify
    )


class _FramePeer:
    """What the peers share: the library, loaded before any fit is timed, and the task's column."""

    takes = "frames"
    module = None

    def __init__(self, classifier=False):
        self.classifier = classifier
        self.library = import_module(self.module) if self.module else None

    def _probability_or_mean(self, frame):
        if self.classifier:
            return self.model_.predict_proba(frame)[:, 1]
        return self.model_.predict(frame)


class LightGBM(_FramePeer):
    """LightGBM, stopped early, with the task among the categories."""

    module = "lightgbm"
    with_task = True

    def _frame(self, X, task):
        if not self.with_task:
            return X
        return X.assign(**{TASK: pd.Categorical(task, categories=self.tasks_)})

    def _estimator(self, rounds):
        lightgbm = self.library
        estimator = lightgbm.LGBMClassifier if self.classifier else lightgbm.LGBMRegressor
        options = {"learning_rate": RATE, "n_jobs": 1, "verbose": -1, **SMALL_CATEGORIES}
        return estimator(n_estimators=rounds, **options)

    def fit(self, X, task, y):
        """Fit to a frame of features, the tasks and the target."""
        self.tasks_ = np.unique(task)
        frame = self._frame(X, task)
        train, rest = held_out(y, self.classifier)
        stop = self.library.early_stopping(PATIENCE, verbose=False)
        stopped = self._estimator(MOST_ROUNDS).fit(
            frame.iloc[train], y[train], eval_set=[(frame.iloc[rest], y[rest])], callbacks=[stop]
        )
        self.model_ = self._estimator(max(1, stopped.best_iteration_)).fit(frame, y)
        return self

    def predict(self, X, task):
        """Predict the mean, or the probability of class 1, of each row."""
        return self._probability_or_mean(self._frame(X, task))


class LightGBMWithoutTask(LightGBM):
    """LightGBM, stopped early, without the task."""

    with_task = False


class CatBoost(_FramePeer):
    """CatBoost, stopped early, with the task among the categories; rate of learning by itself."""

    module = "catboost"
    most_rounds = 1_000  # for which CatBoost's own rate of learning is meant

    def _frame(self, X, task):
        categories = X.select_dtypes("category").columns
        frame = X.astype(dict.fromkeys(categories, str)).assign(**{TASK: np.asarray(task, str)})
        return frame, [*categories, TASK]

    def _estimator(self, **options):
        name = "CatBoostClassifier" if self.classifier else "CatBoostRegressor"
        options |= {"random_seed": 0, "thread_count": 1, "allow_writing_files": False}
        return getattr(self.library, name)(verbose=False, **options)

    def fit(self, X, task, y):
        """Fit to a frame of features, the tasks and the target."""
        frame, categories = self._frame(X, task)
        train, rest = held_out(y, self.classifier)
        stopped = self._estimator(
            iterations=self.most_rounds, early_stopping_rounds=PATIENCE, cat_features=categories
        )
        stopped.fit(frame.iloc[train], y[train], eval_set=(frame.iloc[rest], y[rest]))
        rounds, rate = stopped.get_best_iteration() + 1, stopped.learning_rate_
        self.model_ = self._estimator(
            iterations=rounds, learning_rate=rate, cat_features=categories
        ).fit(frame, y)
        return self

    def predict(self, X, task):
        """Predict the mean, or the probability of class 1, of each row."""
        return self._probability_or_mean(self._frame(X, task)[0])


class TargetEncodedBoosting(_FramePeer):
    """HistGradientBoosting with the task, and categories of many levels, target-encoded."""

    def fit(self, X, task, y):
        """Fit to a frame of features, the tasks and the target."""
        kind = "binary" if self.classifier else "continuous"
        encoder = TargetEncoder(target_type=kind, random_state=0)
        encode = make_column_transformer(
            (encoder, [TASK, *wide_categories(X)]),
            remainder="passthrough",
            verbose_feature_names_out=False,
        ).set_output(transform="pandas")
        boosting = (
            HistGradientBoostingClassifier if self.classifier else HistGradientBoostingRegressor
        )
        boosting = boosting(categorical_features="from_dtype", random_state=0)
        self.model_ = make_pipeline(encode, boosting).fit(X.assign(**{TASK: task}), y)
        return self

    def predict(self, X, task):
        """Predict the mean, or the probability of class 1, of each row."""
        return self._probability_or_mean(X.assign(**{TASK: task}))


class _Grouped:
    """Cuts a frame into groupings (task and categories of many levels) and other features."""

    def _groups(self, X, task):
        return np.column_stack([np.asarray(task, str), *(X[c].astype(str) for c in self.wide_)])


class GPBoostCrossed(_Grouped, GPBoostMixed):
    """GPBoost's linear mixed model: a random intercept per task and per level of wide categories.

    Other features are fixed effects: standardised numbers and categories one-hot encoded.
    """

    takes = "frames"

    def __init__(self, classifier=False, n_slopes=0):
        super().__init__(n_slopes)
        self.likelihood = "bernoulli_logit" if classifier else "gaussian"

    def fit(self, X, task, y):
        """Fit to a frame of features, the tasks and the target."""
        self.wide_ = wide_categories(X)
        number = make_column_selector(dtype_include="number")
        category = make_column_selector(dtype_include="category")
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        self.scale_ = ColumnTransformer(
            [("numbers", StandardScaler(), number), ("levels", one_hot, category)]
        )
        design = self.scale_.fit_transform(X.drop(columns=self.wide_))
        return super().fit(design, self._groups(X, task), y)

    def predict(self, X, task):
        """Predict the mean, or the probability of class 1; unknown levels have no effect."""
        design = self.scale_.transform(X.drop(columns=self.wide_))
        return super().predict(design, self._groups(X, task))


class GPBoostTree(_Grouped, _FramePeer):
    """GPBoost's boosted trees with random intercepts, stopped early; the target standardised."""

    module = "gpboost"
    rounds = 500

    def _train(self, X, groups, y, rounds, held=None):
        """Return boosted trees and their random effects, stopped early on held-out rows if any."""
        gpboost = self.library
        likelihood = "bernoulli_logit" if self.classifier else "gaussian"
        effects = gpboost.GPModel(group_data=groups, likelihood=likelihood)
        options = {"train_set": gpboost.Dataset(X, y), "num_boost_round": rounds}
        if held is not None:
            X_held, groups_held, y_held = held
            effects.set_prediction_data(group_data_pred=groups_held)
            options["valid_sets"] = gpboost.Dataset(X_held, y_held, reference=options["train_set"])
            options |= {"early_stopping_rounds": PATIENCE, "use_gp_model_for_validation": True}
        parameters = {"learning_rate": RATE, "num_leaves": 15, "verbose": -1, "num_threads": 1}
        # By the predictive likelihood, the default, it stops after a few rounds on some tables.
        parameters["metric"] = "binary_logloss" if self.classifier else "l2"
        return gpboost.train(params=parameters, gp_model=effects, verbose_eval=False, **options)

    def fit(self, X, task, y):
        """Fit to a frame of features, the tasks and the target."""
        self.wide_ = wide_categories(X)
        groups, X = self._groups(X, task), X.drop(columns=self.wide_)
        self.mean_, self.scale_ = (0.0, 1.0) if self.classifier else (y.mean(), y.std())
        y = (y - self.mean_) / self.scale_
        train, rest = held_out(y, self.classifier)
        held = X.iloc[rest], groups[rest], y[rest]
        stopped = self._train(X.iloc[train], groups[train], y[train], self.rounds, held)
        self.model_ = self._train(X, groups, y, max(1, stopped.best_iteration))
        return self

    def predict(self, X, task):
        """Predict the mean, or the probability of class 1; unknown levels have no effect."""
        groups, X = self._groups(X, task), X.drop(columns=self.wide_)
        found = self.model_.predict(data=X, group_data_pred=groups, pred_latent=False)
        return self.mean_ + self.scale_ * found["response_mean"]


FRAME_PEERS = {
    "lgbm_cat_es": LightGBM,
    "lgbm_notask": LightGBMWithoutTask,
    "te_hgb": TargetEncodedBoosting,
    "gpboost_lmm": GPBoostCrossed,
    "catboost": CatBoost,
    "gpboost_tree": GPBoostTree,
}
