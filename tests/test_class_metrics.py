"""The metrics of classes: equality with scikit-learn task by task, few classes, the scorer."""

from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn import metrics as skm
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from skmtl import MultiTaskClassifier
from skmtl.metrics import task_score, task_scorer, task_scores
from skmtl.model_selection import TaskKFold
from skmtl.sharing import PartialPooling

CLASSES = {2: np.array(["no", "yes"]), 3: np.array(["high", "low", "mid"])}
BY_CLASS = ("log_loss", "brier", "roc_auc")


def ragged(n_classes=2, seed=0):
    """Classes, probabilities (with ties), tasks with all classes, and weights."""
    rng = np.random.default_rng(seed)
    task = rng.permutation(np.repeat(["d", "b", "a", "c"], [40, 9, 12, 14]))
    code = rng.integers(0, n_classes, len(task))
    for t in np.unique(task):
        code[np.flatnonzero(task == t)[:n_classes]] = np.arange(n_classes)
    score = rng.normal(size=(len(task), n_classes))
    score[np.arange(len(task)), code] += 1
    p = np.exp(score)
    p = 0.05 + (1 - 0.05 * n_classes) * p / p.sum(axis=1, keepdims=True)
    p = np.round(32 * p) / 32  # exact, so that ties for one class are ties for the other
    p[:, -1] = 1 - p[:, :-1].sum(axis=1)
    return CLASSES[n_classes][code], p, task, rng.uniform(0.1, 2.0, len(task))


def reference(metric, y, p, classes, weight=None):
    """scikit-learn's score of one task with all classes."""
    if metric == "accuracy":
        return skm.accuracy_score(y, classes[p.argmax(axis=1)], sample_weight=weight)
    if metric == "log_loss":
        code = np.searchsorted(classes, y)
        return skm.log_loss(code, p, sample_weight=weight, labels=range(len(classes)))
    if metric == "brier":
        if len(classes) == 2:
            return skm.brier_score_loss(y == classes[1], p[:, 1], sample_weight=weight)
        truth = y[:, None] == classes
        return np.average(((p - truth) ** 2).sum(axis=1), weights=weight)
    areas = [
        skm.roc_auc_score(y == c, p[:, k], sample_weight=weight) for k, c in enumerate(classes)
    ]
    return np.mean(areas)


@pytest.mark.parametrize("metric", ["accuracy", *BY_CLASS])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_task_is_scored_as_scikit_learn_does(metric, n_classes, weighted):
    y, p, task, weight = ragged(n_classes)
    classes = CLASSES[n_classes]
    prediction = classes[p.argmax(axis=1)] if metric == "accuracy" else p
    kwargs = {"task": task, "metric": metric, "sample_weight": weight if weighted else None}
    scores = task_scores(y, prediction, **kwargs)
    expected = []
    for t in scores["task"]:
        rows = task == t
        w = weight[rows] if weighted else None
        expected.append(reference(metric, y[rows], p[rows], classes, w))
    np.testing.assert_allclose(scores["score"], expected)
    assert scores["n_samples"].tolist() == [12, 9, 14, 40]
    score = partial(task_score, y, prediction, **kwargs)
    assert score() == pytest.approx(np.mean(expected))
    assert score(average="median") == pytest.approx(np.median(expected))
    micro = reference(metric, y, p, classes, weight if weighted else None)
    assert score(average="micro") == pytest.approx(micro)


def test_three_classes_are_scikit_learns_own_multiclass_scores():
    y, p, task, _ = ragged(3)
    score = partial(task_score, y, p, average="micro", task=task)
    assert score(metric="roc_auc") == pytest.approx(skm.roc_auc_score(y, p, multi_class="ovr"))
    assert score(metric="log_loss") == pytest.approx(skm.log_loss(y, p))


@pytest.mark.parametrize("metric", BY_CLASS)
def test_forms_of_two_class_probabilities(metric):
    y, p, task, _ = ragged()
    score = partial(task_score, y, task=task, metric=metric)
    assert score(p[:, 1]) == pytest.approx(score(p))
    assert score(p[:, [1]]) == pytest.approx(score(p))
    assert score(p, labels=["no", "yes"]) == pytest.approx(score(p))
    assert score(p[:, ::-1], labels=["yes", "no"]) == pytest.approx(score(p))
    assert score(p.astype(np.float32)) == pytest.approx(score(p), rel=1e-5)
    as_bool = task_score(y == "yes", p[:, 1], task=task, metric=metric)
    assert as_bool == pytest.approx(score(p))


def test_a_task_of_one_class():
    y = np.array(["no", "yes", "no", "no"])
    p = np.array([0.2, 0.9, 0.3, 0.4])
    score = partial(task_scores, y, p, task=["both", "both", "one", "one"])
    expected = -np.log([0.8, 0.9]).mean(), -np.log([0.7, 0.6]).mean()
    np.testing.assert_allclose(score(metric="log_loss")["score"], expected)
    np.testing.assert_allclose(score(metric="brier")["score"], [0.025, 0.125])
    np.testing.assert_array_equal(score(metric="roc_auc")["score"], [1.0, np.nan])
    # left out of the average, as tasks without variance are for r2
    assert task_score(y, p, task=["both", "both", "one", "one"], metric="roc_auc") == 1.0


def test_a_table_of_one_class_needs_labels():
    score = partial(task_scores, ["no", "no"], [0.2, 0.4], task=[0, 1], metric="log_loss")
    np.testing.assert_allclose(score(labels=["no", "yes"])["score"], -np.log([0.8, 0.6]))
    with pytest.raises(ValueError, match=r"one number per row.*labels \['no'\]; give labels="):
        score()
    with pytest.warns(UndefinedMetricWarning, match="roc_auc need"):
        score = task_score(["no", "no"], [0.2, 0.4], metric="roc_auc", labels=["no", "yes"])
    assert np.isnan(score)


def test_a_task_without_one_of_three_classes():
    y, p, _, _ = ragged(3)
    some = y != "mid"
    score = task_score(y[some], p[some], metric="roc_auc", labels=CLASSES[3])
    areas = [skm.roc_auc_score(y[some] == c, p[some, k]) for k, c in enumerate(["high", "low"])]
    assert score == pytest.approx(np.mean(areas))


def test_roc_auc_takes_any_scores_and_counts_ties_half():
    y, p, task, _ = ragged()
    by_p = task_scores(y, p[:, 1], task=task, metric="roc_auc")["score"]
    log_odds = np.log(p[:, 1] / p[:, 0]).round(9)
    again = task_scores(y, log_odds, task=task, metric="roc_auc")["score"]
    np.testing.assert_allclose(again, by_p)
    flat = task_scores(y, np.zeros(len(y)), task=task, metric="roc_auc")["score"]
    np.testing.assert_allclose(flat, 0.5)
    codes = (y == "yes").astype(float)
    pairs = [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]
    assert task_score(*pairs, metric="roc_auc") == 0.75
    assert task_score(codes, codes, task=task, metric="roc_auc") == 1.0


def test_a_flat_no_is_dear_but_finite():
    loss = task_score([1, 0], [0.0, 0.0], metric="log_loss")
    assert loss == pytest.approx(skm.log_loss([1, 0], [0.0, 0.0], labels=[0, 1]))
    assert 15 < loss < 20


@pytest.mark.parametrize("metric", ["accuracy", *BY_CLASS])
def test_unlabelled_rows_are_left_out(metric):
    y, p, task, weight = ragged()
    given = CLASSES[2][p.argmax(axis=1)] if metric == "accuracy" else p
    kept = np.arange(len(y)) % 3 > 0
    score = partial(task_score, metric=metric)
    expected = score(y[kept], given[kept], task=task[kept], sample_weight=weight[kept])
    wraps = [np.asarray, list, pd.Series, pl.Series]
    wraps += [lambda v, dtype=dtype: pd.Series(v, dtype=dtype) for dtype in ("string", "category")]
    for gap in (np.nan, None):
        gappy = y.astype(object)
        gappy[~kept] = gap
        for wrap in wraps[: None if gap is None else 3]:  # polars has None only
            again = score(wrap(gappy), given, task=task, sample_weight=weight)
            assert again == pytest.approx(expected)


def test_two_dimensions_of_labels():
    y, p, task, _ = ragged()
    rows = [np.flatnonzero(task == t)[:9] for t in "abcd"]
    table = np.array([(y[r] == "yes").astype(float) for r in rows]).T
    table[0, 1] = np.nan
    chance = np.array([p[r, 1] for r in rows]).T
    scores = task_scores(table, chance, metric="log_loss")
    assert scores["n_samples"].tolist() == [9, 8, 9, 9]
    np.testing.assert_allclose(scores["score"][0], skm.log_loss(table[:, 0], chance[:, 0]))
    np.testing.assert_allclose(scores["score"][1], skm.log_loss(table[1:, 1], chance[1:, 1]))
    areas = [skm.roc_auc_score(table[1:, j], chance[1:, j]) for j in range(4)]
    assert task_score(table[1:], chance[1:], metric="roc_auc") == pytest.approx(np.mean(areas))


YN, P2 = ["no", "yes", "no"], [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]


@pytest.mark.parametrize(
    "y, prediction, kwargs, match",
    [
        (YN, P2, {"metric": "accuracy"}, r"y_pred has shape \(3, 2\).*probabilities.*'log_loss'"),
        (YN, [0, 1, 0], {"metric": "accuracy"}, "labels such as 'no', but y_pred such as 0"),
        (
            YN,
            P2[:2],
            {"metric": "log_loss"},
            r"shape \(2, 2\).*shape \(3,\); .*one column per class",
        ),
        (YN, YN, {"metric": "log_loss"}, "y_pred must be numbers for metric='log_loss'"),
        (YN, [0.1, 1.6, 0.2], {"metric": "log_loss"}, "outside of 0 to 1, such as 1.6"),
        (YN, [0.1, 0.6, -0.2], {"metric": "brier"}, "such as -0.2; metric='brier' needs"),
        (YN, [[0.5, 0.1]] * 3, {"metric": "brier"}, "a row that adds up to 0.6 rather than 1"),
        (YN, [[0.2, 0.3, 0.5]] * 3, {"metric": "log_loss"}, "y_pred has 3 columns, but y_true has"),
        (YN, P2, {"metric": "roc_auc", "labels": ["no"]}, r"has 2 columns, but labels=\['no'\]"),
        (
            YN,
            P2,
            {"metric": "log_loss", "labels": ["no", "maybe"]},
            "the label 'yes', which is not",
        ),
        (YN, P2, {"metric": "log_loss", "labels": [0, 1]}, "the label 'no', which is not among"),
        (YN, P2, {"metric": "log_loss", "labels": ["no", "no"]}, "repeated entries"),
        ([0, 1, 0], [0, 1, 0], {"metric": "r2", "labels": [0, 1]}, "labels=.* leave it out"),
        ([0, 1, 0], [0, 1, 0], {"metric": "accuracy", "labels": [0, 1]}, "leave it out"),
        (np.array(["a", 1, 2], object), P2, {"metric": "brier"}, "labels of mixed types"),
        (YN, [0.1, np.nan, 0.3], {"metric": "log_loss"}, "y_pred is NaN for 1 labelled rows"),
    ],
)
def test_bad_input(y, prediction, kwargs, match):
    with pytest.raises(ValueError, match=match):
        task_score(y, prediction, **kwargs)


# the scorer


def visits(n_classes=2, seed=0):
    """A table of eight customers, the first of which has one class only, and the classes."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.repeat(np.arange(8), np.arange(12, 28, 2)))
    X = pd.DataFrame(rng.normal(size=(len(code), 2)), columns=["p", "q"])
    X = X.assign(customer=np.array([f"customer {c}" for c in code]))
    score = X["p"] + 0.5 * code + rng.logistic(size=len(code))
    group = pd.qcut(score, n_classes, labels=False).to_numpy()
    return X, CLASSES[n_classes][np.where(code == 0, 0, group)]


def model(task_column="customer"):
    return MultiTaskClassifier(
        PartialPooling(2.0, alpha_shared=1.0), task_column=task_column, cv=None
    )


def expected_score(fitted, X, y, metric, **kwargs):
    task = kwargs.pop("task", None)
    task = X["customer"] if task is None else task
    if metric == "accuracy":
        return task_score(y, fitted.predict(X, **kwargs), task=task, metric=metric)
    p = fitted.predict_proba(X, **kwargs)
    return task_score(y, p, task=task, metric=metric, labels=fitted.classes_)


@pytest.mark.parametrize(
    "metric, sign", [("accuracy", 1), ("log_loss", -1), ("brier", -1), ("roc_auc", 1)]
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scorer_in_cross_validation(metric, sign, n_classes):
    X, y = visits(n_classes)
    cv = TaskKFold(3, task_column="customer")
    scores = cross_val_score(model(), X, y, cv=cv, scoring=task_scorer(metric), error_score="raise")
    expected = []
    for train, test in cv.split(X):
        fitted = model().fit(X.iloc[train], y[train])
        expected.append(sign * expected_score(fitted, X.iloc[test], y[test], metric))
    np.testing.assert_allclose(scores, expected)
    assert np.isfinite(scores).all()


def test_a_fold_of_one_class_has_a_log_loss():
    X, y = visits()
    fitted = model().fit(X, y)
    one = (X["customer"] == "customer 0").to_numpy()
    score = task_scorer("log_loss")(fitted, X[one], y[one])
    assert score == pytest.approx(np.log(fitted.predict_proba(X[one])[:, 0]).mean())


def test_scorer_through_pipelines_and_searches():
    X, y = visits()
    cv = TaskKFold(2, task_column="customer")
    pipe = make_pipeline(FunctionTransformer(), model())
    grid = {"multitaskclassifier__sharing__alpha": [0.1, 100.0]}
    search = GridSearchCV(pipe, grid, scoring=task_scorer("log_loss"), cv=cv, error_score="raise")
    search.fit(X, y)
    for metric in ("log_loss", "roc_auc", "accuracy"):
        sign = -1 if metric == "log_loss" else 1
        expected = sign * expected_score(search.best_estimator_, X, y, metric)
        assert task_scorer(metric)(search, X, y) == pytest.approx(expected)
        micro = task_scorer(metric, average="micro")(search, X, y)
        assert micro != pytest.approx(expected)
    assert task_scorer("log_loss", average="micro")(search, X, y) == pytest.approx(
        -skm.log_loss(y, search.predict_proba(X))
    )


def test_task_argument_reaches_predict_proba():
    X, y = visits()
    table, customer = X[["p", "q"]], X["customer"].to_numpy()
    fitted = model(None).fit(table, y, task=customer)
    for metric in ("log_loss", "roc_auc", "accuracy"):
        sign = -1 if metric == "log_loss" else 1
        expected = sign * expected_score(model().fit(X, y), X, y, metric)
        assert task_scorer(metric)(fitted, table, y, task=customer) == pytest.approx(expected)


def test_task_is_routed():
    X, y = visits()
    table, customer = X[["p", "q"]], X["customer"].to_numpy()
    scoring = {"loss": task_scorer("log_loss"), "area": task_scorer("roc_auc")}
    expected = cross_validate(
        model(), X, y, cv=TaskKFold(3, task_column="customer"), scoring=scoring
    )
    with sklearn.config_context(enable_metadata_routing=True):
        params = {"task": customer, "groups": customer}
        for one in (model(None), make_pipeline(FunctionTransformer(), model(None))):
            scores = cross_validate(
                one, table, y, cv=TaskKFold(3), scoring=scoring, params=params, error_score="raise"
            )
            for name in ("test_loss", "test_area"):
                np.testing.assert_allclose(scores[name], expected[name])


def test_models_that_know_nothing_of_tasks():
    X, y = visits()
    drop = FunctionTransformer(lambda frame: frame[["p", "q"]])
    logistic = make_pipeline(drop, LogisticRegression()).fit(X, y)
    expected = -expected_score(logistic, X, y, "log_loss")
    scorer = task_scorer("log_loss", task_column="customer")
    assert scorer(logistic, X, y) == pytest.approx(expected)

    machine = make_pipeline(drop, LinearSVC()).fit(X, y)
    with pytest.raises(ValueError, match="'log_loss' needs predict_proba, which Pipeline does not"):
        scorer(machine, X, y)
    score = task_score(y, machine.decision_function(X), task=X["customer"], metric="roc_auc")
    assert task_scorer("roc_auc", task_column="customer")(machine, X, y) == pytest.approx(score)


def test_a_class_the_model_has_never_seen():
    X, y = visits()
    fitted = model().fit(X, y)
    with pytest.raises(ValueError, match=r"the label 'maybe', which is not among labels=\['no'"):
        task_scorer("log_loss")(fitted, X, np.where(X["p"] > 0, "maybe", y))


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_greater_is_better_by_name(metric):
    with pytest.raises(ValueError, match=f"contradicts metric='{metric}'"):
        task_scorer(metric, greater_is_better=True)
    assert repr(task_scorer(metric)) == f"task_scorer('{metric}', average='macro')"
