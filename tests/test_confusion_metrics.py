"""Precision, recall, F1 and balanced accuracy equal those of scikit-learn for each task."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as skm
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skmtl import MultiTaskClassifier
from skmtl.metrics import task_score, task_scorer, task_scores
from skmtl.model_selection import TaskKFold
from skmtl.sharing import PartialPooling

FIGURES = {"precision": skm.precision_score, "recall": skm.recall_score, "f1": skm.f1_score}
AVERAGES = ("macro", "weighted", "micro")
BY_MEAN = [*map("_".join, itertools.product(FIGURES, AVERAGES)), "balanced_accuracy"]


def reference(metric, y, prediction, weight, pos_label=None):
    """scikit-learn's metric of one task, NaN where it is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted only
        if metric == "balanced_accuracy":
            return skm.balanced_accuracy_score(y, prediction, sample_weight=weight)
        figure, _, average = metric.partition("_")
        kwargs = {"sample_weight": weight, "zero_division": np.nan}
        if metric == "precision_weighted" and not np.isin(y, prediction).any():
            return np.nan  # labels of no class; scikit-learn returns 0 for 0 / 0
        if average:
            return FIGURES[figure](y, prediction, average=average, **kwargs)
        return FIGURES[figure](y, prediction, pos_label=pos_label, **kwargs)


def draw(rng, classes):
    """Tasks of one to forty rows: small ones lack classes, in labels or in predictions."""
    task = rng.permutation(np.repeat(np.arange(90), np.r_[[1] * 30, rng.integers(2, 40, 60)]))
    y = rng.choice(classes, len(task))
    prediction = np.where(rng.random(len(task)) < 0.5, y, rng.choice(classes, len(task)))
    return y, prediction, task, rng.integers(0, 3, len(task)) + 0.0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", BY_MEAN)
@pytest.mark.parametrize("classes", [["no", "yes"], [3, 1, 7, 4]])
def test_means_over_classes(metric, classes, weighted, rng):
    y, prediction, task, weight = draw(rng, classes)
    weight = weight if weighted else None
    scores = task_scores(y, prediction, task=task, metric=metric, sample_weight=weight)
    expected = []
    for t in scores["task"]:
        # scikit-learn counts a class of weight zero; here such rows are ignored.
        rows = task == t if weight is None else (task == t) & (weight > 0)
        w = None if weight is None else weight[rows]
        expected.append(reference(metric, y[rows], prediction[rows], w) if rows.any() else np.nan)
    np.testing.assert_allclose(scores["score"], expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", FIGURES)
@pytest.mark.parametrize("positive, pos_label", [("yes", None), ("no", "no"), ("yes", "yes")])
def test_the_positive_one_of_two_classes(metric, positive, pos_label, weighted, rng):
    y, prediction, task, weight = draw(rng, ["no", "yes"])
    weight = weight if weighted else None
    kwargs = {"task": task, "metric": metric, "sample_weight": weight, "pos_label": pos_label}
    scores = task_scores(y, prediction, **kwargs)["score"]
    expected = []
    for t in np.unique(task):
        rows = task == t if weight is None else (task == t) & (weight > 0)
        w = None if weight is None else weight[rows]
        found = (y[rows] == positive).any() or (prediction[rows] == positive).any()
        pair = y[rows] == positive, prediction[rows] == positive
        expected.append(reference(metric, *pair, w, True) if found else np.nan)
    np.testing.assert_allclose(scores, expected)
    assert np.isnan(scores).any() and np.isfinite(scores).any()
    macro = task_score(y, prediction, **kwargs)
    assert macro == pytest.approx(np.nanmean(expected))
    micro = reference(metric, y == positive, prediction == positive, weight, True)
    assert task_score(y, prediction, average="micro", **kwargs) == pytest.approx(micro)


@pytest.mark.parametrize("metric", FIGURES)
def test_more_than_two_classes_are_a_mean(metric, rng):
    y, prediction, task, _ = draw(rng, ["a", "b", "c"])
    score = [task_scores(y, prediction, task=task, metric=m) for m in (metric, f"{metric}_macro")]
    np.testing.assert_array_equal(score[0]["score"], score[1]["score"])


def test_what_is_undefined():
    y = ["no", "no", "yes", "yes", "no", "no"]
    prediction = ["no", "no", "no", "no", "yes", "no"]
    task = ["none", "none", "missed", "missed", "false", "false"]
    scores = {}
    for metric in ("precision", "recall", "f1", "precision_macro", "balanced_accuracy"):
        found = task_scores(y, prediction, task=task, metric=metric)
        scores[metric] = dict(zip(found["task"], found["score"], strict=True))
    nan = pytest.approx(np.nan, nan_ok=True)
    assert scores["precision"] == {"none": nan, "missed": nan, "false": 0.0}
    assert scores["recall"] == {"none": nan, "missed": 0.0, "false": nan}
    assert scores["f1"] == {"none": nan, "missed": 0.0, "false": 0.0}
    # no row was predicted to be "yes": the mean is over "no" alone
    assert scores["precision_macro"] == {"none": 1.0, "missed": 0.0, "false": 0.5}
    assert scores["balanced_accuracy"] == {"none": 1.0, "missed": 0.0, "false": 0.5}


def test_undefined_everywhere():
    with pytest.warns(UndefinedMetricWarning, match="precision, recall and f1"):
        score = task_score([0, 0, 0], [0, 0, 0], task=[0, 0, 1], metric="recall")
    assert np.isnan(score)


@pytest.mark.parametrize("y", [[1, 1, 1], [True, True, True]])
def test_a_single_class_that_is_the_positive_one(y):
    assert task_score(y, y, metric="recall") == 1.0


def test_a_single_class_tells_nothing_by_its_name():
    y = ["yes", "yes"]
    with pytest.raises(ValueError, match="'yes' is the only class; give pos_label="):
        task_score(y, y, metric="f1")
    assert task_score(y, y, metric="f1", labels=["no", "yes"]) == 1.0
    assert task_score(y, y, metric="f1", pos_label="yes") == 1.0
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(task_score(y, y, metric="f1", labels=["yes", "no"]))
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(task_score(y, y, metric="f1", pos_label="no"))


def test_bad_positive_labels():
    y = ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"pos_label='a' must be one of two classes.*'f1_macro'"):
        task_score(y, y, metric="f1", pos_label="a")
    with pytest.raises(ValueError, match="pos_label='d' must be one of two classes"):
        task_score(y[:2], y[:2], metric="f1", pos_label="d")
    for metric in ("accuracy", "f1_macro", "balanced_accuracy", "r2"):
        with pytest.raises(ValueError, match="pos_label=1 is only for metrics of one class"):
            task_score([0, 1], [0, 1], metric=metric, pos_label=1)
    with pytest.raises(ValueError, match="labels=.* is only for metrics that depend on the order"):
        task_score([0, 1], [0, 1], metric="f1_macro", labels=[0, 1])
    with pytest.raises(ValueError, match="convert them to the same type"):
        task_score([0, 1], ["0", "1"], metric="f1")


def test_labels_that_are_missing_are_left_out():
    y = pd.Series(["yes", None, "no", "yes"], dtype="string")
    prediction = ["yes", "yes", "no", "no"]
    assert task_score(y, prediction, metric="recall") == 0.5
    assert task_score(y, prediction, metric="precision") == 1.0


def test_every_column_of_y_is_a_task(rng):
    y, prediction = rng.integers(0, 2, (2, 50, 3))
    scores = task_scores(y, prediction, metric="f1")["score"]
    np.testing.assert_allclose(scores, [skm.f1_score(y[:, t], prediction[:, t]) for t in range(3)])


@pytest.mark.parametrize(
    "metric", ["precision", "recall", "f1", "f1_weighted", "balanced_accuracy"]
)
def test_scorer(metric, rng):
    X = np.column_stack([np.repeat(np.arange(6), 30), rng.normal(size=(180, 2))])
    y = np.where(X[:, 1] + rng.logistic(size=180) > 0, "stays", "leaves")
    model = MultiTaskClassifier(PartialPooling(2.0, alpha_shared=1.0), task_column=0, cv=None)
    cv = TaskKFold(3, task_column=0)
    scores = cross_val_score(model, X, y, cv=cv, scoring=task_scorer(metric), error_score="raise")
    for score, (train, test) in zip(scores, cv.split(X), strict=True):
        prediction = model.fit(X[train], y[train]).predict(X[test])
        expected = task_score(y[test], prediction, task=X[test, 0].astype(int), metric=metric)
        assert score == pytest.approx(expected)


def test_scorer_knows_the_models_classes_and_the_positive_one(rng):
    X = np.column_stack([np.repeat([0, 1], 20), rng.normal(size=40)])
    y = np.where(X[:, 1] > 0, "yes", "no")
    model = LogisticRegression().fit(X, y)
    yes = y == "yes"  # a table of one class
    assert task_scorer("recall", task_column=0)(model, X[yes], y[yes]) > 0.5
    scorer = task_scorer("recall", task_column=0, pos_label="no")
    assert repr(scorer) == "task_scorer('recall', average='macro', task_column=0, pos_label='no')"
    prediction = model.predict(X)
    expected = np.mean([(prediction[(X[:, 0] == t) & ~yes] == "no").mean() for t in (0, 1)])
    assert scorer(model, X, y) == pytest.approx(expected)
