"""Scores where every task has classes of its own: those of the task's model, and folds over tasks.

The table's tasks differ in how many classes they have, and no task has all.
"""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn import metrics as skm
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmtl import MetaLearnerClassifier
from skmtl.learners import Subspace
from skmtl.metrics import task_score, task_scorer, task_scores
from skmtl.model_selection import FewShotSplit

BIRDS = np.array(["finch", "jay", "kite", "owl", "rook", "tit", "wren"])
PROBABILITIES = ("log_loss", "brier", "roc_auc")


def gardens(n_gardens=16, n_rows=8, seed=0):
    """Two or three kinds of birds per garden, and the features that separate them."""
    rng = np.random.default_rng(seed)
    centres = 1.5 * rng.normal(size=(len(BIRDS), 3))
    garden, code = [], []
    for g in range(n_gardens):
        own = rng.permutation(len(BIRDS))[: 2 + g % 2]
        code += np.repeat(own, n_rows).tolist()
        garden += [f"garden {g:02d}"] * (n_rows * len(own))
    X = pd.DataFrame(centres[code] + rng.normal(size=(len(code), 3)), columns=["a", "b", "c"])
    order = rng.permutation(len(code))
    X = X.assign(garden=garden).iloc[order].reset_index(drop=True)
    return X, BIRDS[code][order]


def meta_learner(learner="subspace", **params):
    return MetaLearnerClassifier(learner, **{"task_column": "garden", **params})


@pytest.fixture(scope="module")
def fitted():
    X, y = gardens()
    model = meta_learner().fit(X, y)
    assert not model.shared_classes_ and len(model.classes_) == 7
    return model


def reference(metric, y, p, classes):
    """scikit-learn's score of one task's model."""
    if metric == "log_loss":
        return skm.log_loss(y, p, labels=classes)
    if len(classes) == 2:
        score = skm.roc_auc_score if metric == "roc_auc" else skm.brier_score_loss
        return score(y == classes[1], p[:, 1])
    if metric == "brier":
        return ((p - (y[:, None] == classes)) ** 2).sum(axis=1).mean()
    return skm.roc_auc_score(y, p, multi_class="ovr", labels=classes)


@pytest.mark.parametrize("metric", PROBABILITIES)
def test_a_task_is_scored_as_its_own_model_is(fitted, metric):
    X, y = gardens()
    scores = task_scores(
        y, fitted.predict_proba(X), task=X["garden"], metric=metric, labels=fitted.classes_,
        shared_classes=False,
    )  # fmt: skip
    assert len(scores["task"]) == 16
    for garden, score in zip(scores["task"], scores["score"], strict=True):
        rows = (X["garden"] == garden).to_numpy()
        one = fitted.for_task(garden)
        p = one.predict_proba(X[rows])
        assert p.shape[1] == len(np.unique(y[rows]))
        assert score == pytest.approx(reference(metric, y[rows], p, one.classes_))
    mean = scores["score"].mean()
    sign = 1 if metric == "roc_auc" else -1
    assert task_scorer(metric)(fitted, X, y) == pytest.approx(sign * mean)


def test_classes_that_are_taken_for_shared_halve_no_brier_score(fitted):
    X, y = gardens()
    arguments = {"task": X["garden"], "metric": "brier", "labels": fitted.classes_}
    shared = task_scores(y, fitted.predict_proba(X), **arguments)["score"]
    own = task_scores(y, fitted.predict_proba(X), **arguments, shared_classes=False)["score"]
    np.testing.assert_allclose(shared / own, np.tile([2.0, 1.0], 8))


def test_areas_over_all_rows_count_those_of_tasks_with_the_class():
    """Distinguishing the owl from rows of other tasks takes no model."""
    task = np.repeat(["a", "b"], 4)
    y = np.array(["jay", "jay", "owl", "owl", "jay", "kite", "jay", "kite"])
    p = np.zeros((8, 3))
    p[:4, 2] = [0.6, 0.2, 0.4, 0.7]
    p[:4, 0] = 1 - p[:4, 2]
    p[4:, 1] = [0.1, 0.2, 0.6, 0.5]
    p[4:, 0] = 1 - p[4:, 1]
    arguments = {"task": task, "metric": "roc_auc", "labels": ["jay", "kite", "owl"]}
    everywhere = skm.roc_auc_score(y, p, multi_class="ovr")
    micro = task_score(y, p, **arguments, average="micro")
    assert micro == pytest.approx(everywhere)
    own = task_score(y, p, **arguments, average="micro", shared_classes=False)
    areas = [
        skm.roc_auc_score(y == "jay", p[:, 0]),
        skm.roc_auc_score(y[4:] == "kite", p[4:, 1]),
        skm.roc_auc_score(y[:4] == "owl", p[:4, 2]),
    ]
    assert own == pytest.approx(np.mean(areas)) and own < everywhere - 0.05
    weighted = task_score(
        y, p, **arguments, average="micro", shared_classes=False, sample_weight=np.full(8, 3.0)
    )
    assert weighted == pytest.approx(own)


def test_a_label_that_was_never_seen_has_no_probability(fitted):
    X, y = gardens()
    rows = np.flatnonzero(X["garden"] == "garden 01")  # three classes
    X, y = X.iloc[rows], y[rows].astype(object)
    before = {m: task_scorer(m)(fitted, X, y) for m in PROBABILITIES}
    p = fitted.predict_proba(X)
    missing = np.setdiff1d(BIRDS, y)[0]
    for label in (missing, "a bird that no garden had"):
        changed = y.copy()
        changed[0] = label
        truth = np.flatnonzero(fitted.classes_ == y[0])[0]
        worse = np.log(p[0, truth]) - np.log(np.finfo(float).eps)
        got = {m: task_scorer(m)(fitted, X, changed) for m in PROBABILITIES}
        assert got["log_loss"] == pytest.approx(before["log_loss"] - worse / len(y))
        assert got["brier"] == pytest.approx(before["brier"] - 2 * p[0, truth] / len(y))
        assert got["roc_auc"] < before["roc_auc"]
    with pytest.raises(ValueError, match="the label 'newt', which is not among labels"):
        task_score(["newt"], p[:1], metric="log_loss", labels=fitted.classes_)
    with pytest.raises(ValueError, match="y_true holds labels such as 3, but labels= such as"):
        task_score([3], p[:1], metric="log_loss", labels=fitted.classes_, shared_classes=False)


@pytest.mark.parametrize("last", ["b", "c", "none of the labels"])
@pytest.mark.parametrize("metric", PROBABILITIES)
def test_rows_of_weight_zero_tell_no_classes(metric, last):
    """Neither their labels nor their predictions count."""
    p = np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.8, 0.2, 0.0], [0.2, 0.2, 0.6]])
    y = np.array(["a", "b", "b", last])
    arguments = {"metric": metric, "labels": ["a", "b", "c"], "shared_classes": False}
    three = task_scores(y[:3], p[:3], **arguments)["score"]
    assert three[0] == pytest.approx(reference(metric, y[:3], p[:3, :2], np.array(["a", "b"])))
    scores = task_scores(y, p, sample_weight=[1, 1, 1, 0], **arguments)
    np.testing.assert_allclose(scores["score"], three)
    assert scores["n_samples"] == [4]
    without = p[:, :2] / p[:, :2].sum(axis=1, keepdims=True)  # only the label is new
    arguments["labels"] = ["a", "b"]
    again = task_scores(y, without, sample_weight=[1, 1, 1, 0], **arguments)["score"]
    np.testing.assert_allclose(again, three)


@pytest.mark.parametrize("score", [task_score, task_scores])
@pytest.mark.parametrize("shared", ["auto", None, 0, "False"])
def test_shared_classes_is_a_bool(score, shared):
    arguments = {"metric": "brier", "labels": ["a", "b"]}
    with pytest.raises(
        ValueError,
        match=rf"shared_classes={shared!r} must be True or False; .*model\.shared_classes_",
    ):
        score(["a", "b"], [0.2, 0.6], shared_classes=shared, **arguments)
    with pytest.raises(ValueError, match="shared_classes="):
        score([1.0, 2.0], [1.0, 3.0], shared_classes=shared)
    assert score(["a", "b"], [0.2, 0.6], shared_classes=np.bool_(False), **arguments)


# ------------------------------------------------------------------------ folds over tasks


def rare_class():
    """Only one garden has a canary, so that most folds are without one."""
    X, y = gardens()
    chosen = (X["garden"] == "garden 03").to_numpy() & (y == y[X["garden"] == "garden 03"][0])
    return X, np.where(chosen, "canary", y)


def test_strings_of_scikit_learn_break_or_flatter():
    """The reason for the scorers; if this fails, the guide must be changed."""
    X, y = rare_class()
    cv = FewShotSplit(4, n_shots=2, task_column="garden")
    for scoring in ("neg_log_loss", "neg_brier_score", "roc_auc_ovr"):
        with pytest.raises(ValueError, match=r"(?i)number of classes|1d array"):
            cross_val_score(meta_learner(), X, y, cv=cv, scoring=scoring, error_score="raise")
    X, y = gardens()
    cv = FewShotSplit(2, n_shots=2, task_column="garden")
    flattering, honest = (
        cross_val_score(meta_learner(), X, y, cv=cv, scoring=scoring, error_score="raise").mean()
        for scoring in ("roc_auc_ovr", task_scorer("roc_auc"))
    )
    assert flattering > honest + 0.02


@pytest.mark.parametrize("metric", ["accuracy", *PROBABILITIES])
@pytest.mark.parametrize("stratify", ["auto", False])
def test_folds_over_tasks(metric, stratify):
    X, y = rare_class()
    cv = FewShotSplit(3, n_shots=4, task_column="garden", stratify=stratify, random_state=1)
    model = meta_learner(shared_classes=False)
    scores = cross_val_score(model, X, y, cv=cv, scoring=task_scorer(metric), error_score="raise")
    assert np.isfinite(scores).all()
    if stratify is False:
        return
    sign = -1 if metric in ("log_loss", "brier") else 1
    for (train, test), got in zip(cv.split(X, y), scores, strict=True):
        fit, each = meta_learner(shared_classes=False).fit(X.iloc[train], y[train]), []
        for garden in X["garden"].iloc[test].unique():
            known = train[X["garden"].iloc[train] == garden]
            asked = test[X["garden"].iloc[test] == garden]
            one = fit.adapt(X.iloc[known], y[known])
            each.append(
                np.mean(one.predict(X.iloc[asked]) == y[asked])
                if metric == "accuracy"
                else reference(metric, y[asked], one.predict_proba(X.iloc[asked]), one.classes_)
            )
        assert got == pytest.approx(sign * np.mean(each))


def shops(n_shops=24, n_rows=20):
    rng = np.random.default_rng(1)
    shop = np.repeat([f"shop {s:02d}" for s in range(n_shops)], n_rows)
    X = pd.DataFrame(rng.normal(size=(len(shop), 3)), columns=["p", "q", "r"]).assign(shop=shop)
    slope = np.repeat(rng.normal(size=n_shops), n_rows)
    log_odds = 3 * slope * (X["p"] + X["q"]) + rng.logistic(size=len(shop))
    return X, np.where(log_odds > 0, "buys", "walks by")


# Beyond the scores of predicting each shop's share of buyers: at best 0.54, -0.69, -0.25, 0.5.
LEAST = {"accuracy": 0.75, "log_loss": -0.5, "brier": -0.17, "roc_auc": 0.8}


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_grid_search_over_shops(kind):
    """String ids and string labels through a Pipeline, classes that mean the same everywhere."""
    X, y = shops()
    table = X if kind == "pandas" else pl.from_pandas(X)
    columns = ["p", "q", "r"]
    scale = StandardScaler().fit(X[columns])

    def scaled(frame):
        if kind == "polars":
            return frame.with_columns(
                (frame[c] - m) / s
                for c, m, s in zip(columns, scale.mean_, scale.scale_, strict=True)
            )
        return frame.assign(**(frame[columns] - scale.mean_) / scale.scale_)

    search = GridSearchCV(
        make_pipeline(FunctionTransformer(scaled), MetaLearnerClassifier(task_column="shop")),
        {"metalearnerclassifier__learner": ["subspace", Subspace(rank=1)]},
        cv=FewShotSplit(3, n_shots=5, task_column="shop"),
        scoring={m: m if m == "accuracy" else task_scorer(m) for m in LEAST},
        refit="log_loss", error_score="raise",
    )  # fmt: skip
    search.fit(table, y)
    assert search.best_estimator_[-1].shared_classes_
    assert list(search.classes_) == ["buys", "walks by"]
    for metric, least in LEAST.items():
        scores = search.cv_results_[f"mean_test_{metric}"]
        assert np.isfinite(scores).all() and scores.max() > least


def test_grid_search_over_gardens():
    X, y = rare_class()
    pipe = make_pipeline(FunctionTransformer(), MetaLearnerClassifier(task_column="garden"))
    cv = FewShotSplit(2, n_shots=3, task_column="garden")
    grid = {"metalearnerclassifier__learner": ["subspace", Subspace(rank=1)]}
    best = {}
    for scoring in ("accuracy", task_scorer("accuracy"), *map(task_scorer, PROBABILITIES)):
        search = GridSearchCV(pipe, grid, cv=cv, scoring=scoring, error_score="raise").fit(X, y)
        assert not search.best_estimator_[-1].shared_classes_
        best[str(scoring)] = search.best_score_
        scorer = task_scorer("brier")
        inner = search.best_estimator_[-1]
        assert scorer(search, X, y) == pytest.approx(scorer(inner, X, y))
    assert best["accuracy"] > 0.75 and best[str(task_scorer("roc_auc"))] > 0.85
    assert best[str(task_scorer("log_loss"))] > -0.7


def test_routed_task():
    X, y = gardens()
    features, garden = X[["a", "b", "c"]], X["garden"].to_numpy()
    cv = FewShotSplit(3, n_shots=2)
    wanted = cross_val_score(
        meta_learner(), X, y, cv=FewShotSplit(3, n_shots=2, task_column="garden"),
        scoring=task_scorer("brier"), error_score="raise",
    )  # fmt: skip
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(FunctionTransformer(), meta_learner(task_column=None))
        got = cross_val_score(
            model, features, y, cv=cv,
            scoring=task_scorer("brier"), params={"task": garden, "groups": garden},
            error_score="raise",
        )  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
