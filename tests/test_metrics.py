"""task_scores, task_score, task_scorer: equality with scikit-learn, gaps, scikit-learn's tools."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn import metrics as skm
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skmtl.metrics import task_score, task_scorer, task_scores
from skmtl.model_selection import TaskKFold


def nmse(y_true, y_pred, sample_weight=None):
    mean = np.average(y_true, weights=sample_weight)
    variance = np.average((y_true - mean) ** 2, weights=sample_weight)
    return skm.mean_squared_error(y_true, y_pred, sample_weight=sample_weight) / variance


REFERENCE = {
    "r2": skm.r2_score,
    "mse": skm.mean_squared_error,
    "mae": skm.mean_absolute_error,
    "rmse": skm.root_mean_squared_error,
    "nmse": nmse,
}


def ragged(seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    task = rng.permutation(np.repeat(["d", "b", "a", "c"], [40, 3, 12, 5]))
    y = rng.normal(size=60) + offset
    return y, y + rng.normal(size=60), task, rng.uniform(0.1, 2.0, size=60)


def slow_scores(y, prediction, task, metric, weight):
    """Readable counterpart: a loop over tasks."""
    scores = []
    for t in np.unique(task):
        rows = task == t
        kwargs = {} if weight is None else {"sample_weight": weight[rows]}
        scores.append(REFERENCE[metric](y[rows], prediction[rows], **kwargs))
    return np.array(scores)


@pytest.mark.parametrize("metric", REFERENCE)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("as_function", [False, True])
def test_task_scores_equal_the_metric_on_each_task(metric, weighted, offset, as_function):
    y, prediction, task, weight = ragged(offset=offset)
    weight = weight if weighted else None
    used = REFERENCE[metric] if as_function else metric
    scores = task_scores(y, prediction, task=task, metric=used, sample_weight=weight)
    assert list(scores) == ["task", "n_samples", "score"]
    assert scores["task"].tolist() == ["a", "b", "c", "d"]
    assert scores["n_samples"].tolist() == [12, 3, 5, 40]
    expected = slow_scores(y, prediction, task, metric, weight)
    np.testing.assert_allclose(scores["score"], expected, rtol=1e-7)


@pytest.mark.parametrize("metric", REFERENCE)
@pytest.mark.parametrize("weighted", [False, True])
def test_averages(metric, weighted):
    y, prediction, task, weight = ragged()
    weight = weight if weighted else None
    score = partial(task_score, y, prediction, task=task, metric=metric, sample_weight=weight)
    each = slow_scores(y, prediction, task, metric, weight)
    assert score() == pytest.approx(each.mean())
    assert score(average="median") == pytest.approx(np.median(each))
    micro = REFERENCE[metric](y, prediction, sample_weight=weight)
    assert score(average="micro") == pytest.approx(micro)
    alone = partial(task_score, y, prediction, metric=metric, sample_weight=weight)
    assert alone() == alone(average="micro") == pytest.approx(micro)  # no task: one task
    assert isinstance(score(), float)


@pytest.mark.parametrize("average", ["macro", "median", "micro"])
def test_invariance_to_row_order_and_relabelling(average):
    y, prediction, task, weight = ragged()
    score = partial(task_score, metric="r2", average=average)
    expected = score(y, prediction, task=task, sample_weight=weight)
    p = np.random.default_rng(1).permutation(60)
    again = score(y[p], prediction[p], task=task[p], sample_weight=weight[p])
    assert again == pytest.approx(expected)
    codes = 100 - np.unique(task, return_inverse=True)[1]
    assert score(y, prediction, task=codes, sample_weight=weight) == pytest.approx(expected)
    scaled = score(1e-5 * y, 1e-5 * prediction, task=task, sample_weight=weight)
    assert scaled == pytest.approx(expected)


def test_integer_weights_are_repeated_rows():
    y, prediction, task, _ = ragged()
    weight = np.random.default_rng(2).integers(0, 4, 60)
    repeated = [np.repeat(v, weight) for v in (y, prediction, task)]
    for metric in REFERENCE:
        for average in ("macro", "micro"):
            a = task_score(
                y, prediction, task=task, metric=metric, average=average, sample_weight=weight
            )
            b = task_score(*repeated[:2], task=repeated[2], metric=metric, average=average)
            assert a == pytest.approx(b)


# gaps


def gaps(seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(30, 4))
    prediction = y + 0.5 * rng.normal(size=(30, 4))
    y[rng.uniform(size=y.shape) < 0.4] = np.nan
    y[:, 3] = np.nan
    return y, prediction


WRAPS = {
    "numpy": np.asarray,
    "pandas": pd.DataFrame,
    "pandas nullable": lambda a: pd.DataFrame(a).astype("Float64"),
    "polars": lambda a: pl.DataFrame(a, schema=[f"t{i}" for i in range(4)]),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("metric", REFERENCE)
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
@pytest.mark.parametrize("weighted", [False, True])
def test_nan_in_columns_is_left_out(metric, wrap, weighted):
    y, prediction = gaps()
    weight = np.linspace(0.5, 1.5, 30) if weighted else None
    known = ~np.isnan(y)
    expected = []
    for j in range(3):
        rows = known[:, j]
        kwargs = {"sample_weight": weight[rows]} if weighted else {}
        expected.append(REFERENCE[metric](y[rows, j], prediction[rows, j], **kwargs))
    scores = task_scores(wrap(y), wrap(prediction), metric=metric, sample_weight=weight)
    assert scores["task"].tolist() == [0, 1, 2, 3]
    assert scores["n_samples"].tolist() == known.sum(axis=0).tolist()
    np.testing.assert_allclose(scores["score"], [*expected, np.nan])
    score = task_score(wrap(y), prediction, metric=metric, sample_weight=weight)
    assert score == pytest.approx(np.mean(expected))
    micro = task_score(y, prediction, metric=metric, average="micro", sample_weight=weight)
    flat = None if weight is None else np.repeat(weight, 4).reshape(30, 4)[known]
    assert micro == pytest.approx(
        REFERENCE[metric](y[known], prediction[known], sample_weight=flat)
    )


def test_columns_equal_the_long_table():
    y, prediction = gaps()
    rows, task = np.nonzero(~np.isnan(y))
    long = task_score(y[rows, task], prediction[rows, task], task=task)
    assert task_score(y, prediction) == pytest.approx(long)


def test_nan_in_one_dimension_is_left_out():
    scores = task_scores(
        [1.0, np.nan, 3.0, np.nan], [1.0, 2.0, 5.0, np.nan], task=["b", "b", "b", "a"], metric="mae"
    )
    assert scores["task"].tolist() == ["a", "b"]
    assert scores["n_samples"].tolist() == [0, 2]
    np.testing.assert_array_equal(scores["score"], [np.nan, 1.0])


@pytest.mark.parametrize("metric", ["r2", "nmse"])
def test_undefined_tasks_are_nan_and_left_out(metric):
    task = ["one row", "equal", "equal", "equal", "fine", "fine", "fine", "weight 0", "weight 0"]
    y = [1.0, 0.1, 0.1, 0.1, 1.0, 2.0, 4.0, 3.0, 5.0]
    weight = [1.0] * 7 + [0.0] * 2
    prediction = np.zeros(9)
    scores = task_scores(y, prediction, task=task, metric=metric, sample_weight=weight)
    assert scores["task"].tolist() == ["equal", "fine", "one row", "weight 0"]
    assert scores["n_samples"].tolist() == [3, 3, 1, 2]
    fine = REFERENCE[metric](np.array(y[4:7]), prediction[4:7])
    np.testing.assert_allclose(scores["score"], [np.nan, fine, np.nan, np.nan])
    score = task_score(y, prediction, task=task, metric=metric, sample_weight=weight)
    assert score == pytest.approx(fine)
    # an error needs one row only
    assert not np.isnan(task_scores(y, prediction, task=task, metric="mae")["score"]).any()


@pytest.mark.parametrize("average", ["macro", "micro", "median"])
def test_undefined_everywhere_warns(average):
    with pytest.warns(UndefinedMetricWarning, match="metric='r2' is undefined for every task"):
        assert np.isnan(task_score([1.0, 1.0], [1.0, 2.0], task=[0, 0], average=average))


def test_classes_and_a_callable():
    y = np.array(["yes", "no", "yes", "no", "no"])
    prediction = np.array(["yes", "no", "no", "no", "yes"])
    task = pd.Series([1, 1, 1, 2, 2])
    scores = task_scores(y, prediction, task=task, metric=skm.accuracy_score)
    np.testing.assert_allclose(scores["score"], [2 / 3, 1 / 2])
    micro = task_score(y, prediction, task=task, metric=skm.accuracy_score, average="micro")
    assert micro == pytest.approx(0.6)


def test_nothing_passed_is_modified():
    y, prediction = gaps()
    before = y.copy(), prediction.copy()
    weight = np.ones(30)
    task_score(y, prediction, sample_weight=weight)
    task_scores(y, prediction, metric=skm.mean_absolute_error)
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(prediction, before[1])


Y3 = [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "y, prediction, kwargs, match",
    [
        (Y3, Y3, {"metric": "neg_mse"}, "metric='neg_mse' is unknown; give one of 'r2'"),
        (Y3, Y3, {"metric": None}, "metric=None is unknown"),
        (Y3, Y3, {"metric": ["r2"]}, "is unknown"),
        (Y3, Y3, {"average": "weighted"}, "average='weighted' is unknown; give one of 'macro'"),
        (Y3, Y3[:2], {}, r"y_pred has shape \(2,\), but y_true has shape \(3,\)"),
        (np.zeros((3, 2)), Y3, {}, r"y_pred has shape \(3,\), but y_true has shape \(3, 2\)"),
        (np.zeros((3, 2)), np.zeros((3, 2)), {"task": [0, 0, 1]}, "every column is a task"),
        (Y3, Y3, {"task": [0, 1]}, "task has 2 labels, but y_true has 3 rows"),
        (Y3, Y3, {"task": [0.5, 1, 1]}, "task holds non-integral numbers such as .*0.5"),
        (Y3, Y3, {"task": np.array(["a", None, "b"], object)}, "task has 1 missing labels"),
        (Y3, [1.0, np.nan, 3.0], {"task": ["a", "b", "b"]}, "y_pred is NaN for 1.*task 'b'"),
        (Y3, [1.0, np.inf, 3.0], {}, "y_pred contains infinity"),
        ([1.0, np.inf, 3.0], Y3, {}, "y_true contains infinity"),
        (["a", "b", "c"], Y3, {}, "y_true must be numbers for metric='r2'.*metric='accuracy'"),
        (Y3, Y3, {"sample_weight": [1.0, 1.0]}, r"sample_weight has shape \(2,\).*\(3,\)"),
        (Y3, Y3, {"sample_weight": [1.0, -2.0, 1.0]}, "negative weights.*-2.0, in row 1"),
        (Y3, Y3, {"sample_weight": [0.0, 0.0, 0.0]}, "sample_weight is zero in every row"),
        (Y3, Y3, {"sample_weight": [1.0, np.nan, 1.0]}, "sample_weight contains NaN"),
    ],
)
def test_bad_input(y, prediction, kwargs, match):
    with pytest.raises(ValueError, match=match):
        task_score(y, prediction, **kwargs)


# the scorer


def panel(n_tasks=6, seed=0):
    """A pandas table with string task ids and tasks of 8 to 40 rows."""
    rng = np.random.default_rng(seed)
    sizes = np.linspace(8, 40, n_tasks).astype(int)
    code = rng.permutation(np.repeat(np.arange(n_tasks), sizes))
    X = pd.DataFrame(rng.normal(size=(len(code), 3)), columns=["p", "q", "r"])
    y = X["p"] * code + 3 * rng.normal(size=n_tasks)[code] + rng.normal(size=len(code))
    return X.assign(shop=np.array([f"shop {c}" for c in code])), y


def features(X):
    return X[["p", "q", "r"]]


def pooled(drop="by ColumnTransformer"):
    if drop == "by function":  # scikit-learn 1.6's ColumnTransformer finds no polars columns
        drop = FunctionTransformer(features)
    else:
        drop = ColumnTransformer([("features", "passthrough", ["p", "q", "r"])], remainder="drop")
    return Pipeline([("drop", drop), ("ridge", Ridge())])


class TaskMeans(RegressorMixin, BaseEstimator):
    """A minimal model with a task column, or with task=, that predicts the task's mean."""

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}

    def __init__(self, task_column=None, shrink=0.0):
        self.task_column = task_column
        self.shrink = shrink

    def _tasks(self, X, task):
        if task is not None:
            return np.asarray(task)
        if isinstance(self.task_column, str):
            names = [c for c in X.columns if c == self.task_column or c.endswith("__shop")]
            return X[names[0]].to_numpy()
        return np.asarray(X)[:, self.task_column]

    def fit(self, X, y, task=None):
        y, task = np.asarray(y), self._tasks(X, task)
        means = {t: y[task == t].mean() for t in np.unique(task)}
        self.means_ = {t: (1 - self.shrink) * m + self.shrink * y.mean() for t, m in means.items()}
        return self

    def predict(self, X, task=None):
        return np.array([self.means_[t] for t in self._tasks(X, task)])


def by_hand(splits, estimator, X, y, task, sign=1, **kwargs):
    """Expected output of cross_val_score with our scorer."""
    scores = []
    for train, test in splits:
        model = clone(estimator).fit(X.iloc[train], y.iloc[train])
        score = task_score(
            y.iloc[test], model.predict(X.iloc[test]), task=task.iloc[test], **kwargs
        )
        scores.append(sign * score)
    return scores


@pytest.mark.parametrize("metric, sign", [("r2", 1), ("mse", -1), ("rmse", -1), ("nmse", -1)])
@pytest.mark.parametrize("average", ["macro", "micro", "median"])
def test_scorer_in_cross_val_score(metric, sign, average):
    X, y = panel()
    cv = TaskKFold(3, task_column="shop")
    scorer = task_scorer(metric, average=average, task_column="shop")
    expected = by_hand(cv.split(X), pooled(), X, y, X["shop"], sign, metric=metric, average=average)
    scores = cross_val_score(pooled(), X, y, cv=cv, scoring=scorer, error_score="raise")
    np.testing.assert_allclose(scores, expected)
    scores = cross_val_score(
        pooled("by function"), pl.from_pandas(X), y, cv=cv, scoring=scorer, error_score="raise"
    )
    np.testing.assert_allclose(scores, expected)


def test_micro_equals_the_string_scorer():
    X, y = panel()
    cv = TaskKFold(3, task_column="shop")
    for metric, name in [("r2", "r2"), ("mse", "neg_mean_squared_error")]:
        scorer = task_scorer(metric, average="micro", task_column="shop")
        np.testing.assert_allclose(
            cross_val_score(pooled(), X, y, cv=cv, scoring=scorer),
            cross_val_score(pooled(), X, y, cv=cv, scoring=name),
        )


def test_scorer_in_grid_search():
    X, y = panel()
    scorer = task_scorer("rmse", task_column="shop")
    cv = TaskKFold(3, task_column="shop")
    search = GridSearchCV(
        pooled(), {"ridge__alpha": [1.0, 1e6]}, scoring=scorer, cv=cv, error_score="raise"
    ).fit(X, y)
    expected = by_hand(cv.split(X), pooled(), X, y, X["shop"], -1, metric="rmse")
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][0], np.mean(expected))
    assert search.score(X, y) == pytest.approx(scorer(search, X, y))
    many = cross_validate(
        pooled(), X, y, cv=cv, scoring={"macro": scorer, "plain": "r2"}, error_score="raise"
    )
    np.testing.assert_allclose(many["test_macro"], expected)


def wrapped_models():
    """Estimators around a model with a task column, and the table for each."""
    X, _ = panel()
    codes = X["shop"].str[-1].astype(int).to_numpy()
    array = np.column_stack([X[["p", "q", "r"]].to_numpy(), codes])
    turn = FunctionTransformer(lambda A: A[:, ::-1])
    rename = ColumnTransformer([("features", "passthrough", ["p"])], remainder="passthrough")
    rename.set_output(transform="pandas")
    grid = {"shrink": [0.0]}
    model, indexed = TaskMeans("shop"), TaskMeans(0)
    return {
        "plain": (model, X),
        "one step": (make_pipeline(model), X),
        "renamed by a ColumnTransformer": (make_pipeline(rename, model), X),
        "full name after a ColumnTransformer": (
            make_pipeline(rename, TaskMeans("remainder__shop")),
            X,
        ),
        "index, moved by a step": (make_pipeline(turn, indexed), array),
        "pipeline in a pipeline": (make_pipeline(turn, make_pipeline(turn, TaskMeans(3))), array),
        "search": (GridSearchCV(model, grid, cv=TaskKFold(2, task_column="shop")), X),
        "search around a pipeline": (
            GridSearchCV(
                make_pipeline(turn, indexed),
                {"taskmeans__shrink": [0.0]},
                cv=TaskKFold(2, task_column=3),
            ),
            array,
        ),
        "transformed target": (TransformedTargetRegressor(model), X),
        "search in a pipeline": (
            make_pipeline(turn, GridSearchCV(indexed, grid, cv=TaskKFold(2, task_column=0))),
            array,
        ),
    }


@pytest.mark.parametrize("case", wrapped_models())
def test_scorer_finds_the_models_task_column(case):
    estimator, X = wrapped_models()[case]
    frame, y = panel()
    estimator.fit(X, y)
    expected = task_score(y, estimator.predict(X), task=frame["shop"], metric="mae")
    assert task_scorer("mae")(estimator, X, y) == pytest.approx(-expected)
    assert expected != pytest.approx(task_score(y, estimator.predict(X), metric="mae"))


def test_scorer_that_cannot_follow_x_says_so():
    _, array = wrapped_models()["index, moved by a step"]
    y = panel()[1]
    fitted = TaskMeans(3).fit(array, y)

    class Around(BaseEstimator):  # keeps an unfitted pipeline, predicts with another model
        def __init__(self, estimator):
            self.estimator = estimator

        def predict(self, X):
            return fitted.predict(X)

    around = Around(make_pipeline(OneHotEncoder(), TaskMeans(3)))
    with pytest.raises(
        ValueError, match=r"cannot transform X.*give task_scorer\(task_column=...\)"
    ):
        task_scorer()(around, array, y)
    assert task_scorer(task_column=3)(around, array, y) == pytest.approx(0)


def test_scorer_without_any_task_is_one_task():
    X, y = panel()
    model = pooled().fit(X, y)
    assert task_scorer("r2")(model, X, y) == pytest.approx(skm.r2_score(y, model.predict(X)))


class ColumnMeans(RegressorMixin, BaseEstimator):
    """A model for a two-dimensional y with gaps."""

    def __init__(self, shrink=0.0):
        self.shrink = shrink

    def fit(self, X, y):
        self.mean_ = (1 - self.shrink) * np.nanmean(y, axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


def test_scorer_with_gaps_in_two_dimensions():
    y = gaps()[0][:, :3] + 5
    X = np.zeros((30, 1))
    scorer = task_scorer("mse")
    scores = cross_val_score(ColumnMeans(), X, y, cv=3, scoring=scorer, error_score="raise")
    assert (scores < 0).all()
    search = GridSearchCV(ColumnMeans(), {"shrink": [0.0, 0.9]}, cv=3, scoring=scorer).fit(X, y)
    assert search.best_params_ == {"shrink": 0.0}
    with pytest.raises(ValueError, match="every column is a task"):
        task_scorer(task_column=0)(search, X, y)


def test_scorer_with_task_argument():
    X, y = panel()
    table, shops = X[["p", "q", "r"]], X["shop"]
    model = TaskMeans().fit(table, y, task=shops)
    expected = task_score(y, model.predict(table, task=shops), task=shops)
    assert task_scorer()(model, table, y, task=shops) == pytest.approx(expected)
    # a model that takes no task is scored per task as well
    ridge = Ridge().fit(table, y)
    expected = task_score(y, ridge.predict(table), task=shops)
    assert task_scorer()(ridge, table, y, task=shops) == pytest.approx(expected)
    with pytest.raises(ValueError, match="task= and task_column='shop' were both given"):
        task_scorer(task_column="shop")(pooled().fit(X, y), X, y, task=shops)


def test_sample_weight():
    X, y = panel()
    weight = np.linspace(0.1, 2, len(y))
    model = pooled().fit(X, y)
    expected = task_score(y, model.predict(X), task=X["shop"], sample_weight=weight)
    scorer = task_scorer(task_column="shop")
    assert scorer(model, X, y, sample_weight=weight) == pytest.approx(expected)
    assert scorer(model, X, y) != pytest.approx(expected)


def test_metadata_routing():
    X, y = panel()
    weight = np.linspace(0.1, 2, len(y))
    cv = TaskKFold(3, task_column="shop")
    scorer = task_scorer(task_column="shop")
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        scorer.set_score_request(sample_weight=True)
    unweighted = cross_val_score(pooled(), X, y, cv=cv, scoring=scorer)
    with sklearn.config_context(enable_metadata_routing=True):
        score = partial(cross_val_score, pooled(), X, y, cv=cv, scoring=scorer, error_score="raise")
        with pytest.raises(Exception, match="sample_weight"):
            score(params={"sample_weight": weight})
        with pytest.raises(TypeError, match="weights"):
            scorer.set_score_request(weights=True)
        scorer.set_score_request(sample_weight=True)
        ridge = pooled()
        ridge.set_params(ridge=Ridge().set_fit_request(sample_weight=False))
        params = {"sample_weight": weight}
        weighted = cross_val_score(ridge, X, y, cv=cv, scoring=scorer, params=params)
        twin = pickle.loads(pickle.dumps(scorer))
        again = cross_val_score(ridge, X, y, cv=cv, scoring=twin, params=params)
        several = cross_validate(ridge, X, y, cv=cv, scoring={"ours": scorer}, params=params)
    expected = []
    for train, test in cv.split(X):
        prediction = pooled().fit(X.iloc[train], y.iloc[train]).predict(X.iloc[test])
        kwargs = {"task": X["shop"].iloc[test], "sample_weight": weight[test]}
        expected.append(task_score(y.iloc[test], prediction, **kwargs))
    np.testing.assert_allclose(weighted, expected)
    np.testing.assert_allclose(again, expected)
    np.testing.assert_allclose(several["test_ours"], expected)
    assert (weighted != unweighted).all()


def test_task_is_routed_to_the_scorer_and_to_predict():
    X, y = panel()
    table, shops = X[["p", "q", "r"]], X["shop"].to_numpy()
    cv = TaskKFold(3)
    expected = cross_val_score(
        TaskMeans("shop"), X, y, cv=TaskKFold(3, task_column="shop"), scoring=task_scorer()
    )
    with sklearn.config_context(enable_metadata_routing=True):
        params = {"task": shops, "groups": shops}
        for model in (TaskMeans(), make_pipeline(FunctionTransformer(), TaskMeans())):
            scores = cross_val_score(
                model, table, y, cv=cv, scoring=task_scorer(), params=params, error_score="raise"
            )
            np.testing.assert_allclose(scores, expected)
        search = GridSearchCV(TaskMeans(), {"shrink": [0.0]}, cv=cv, scoring=task_scorer())
        search.fit(table, y, **params)
        np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected.mean())


def test_grid_search_weights_without_routing():
    X, y = panel()
    weight = np.linspace(0.1, 2, len(y))
    table = X[["p", "q", "r"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scoring in (task_scorer(), {"a": task_scorer(), "b": task_scorer("mae")}):
            search = GridSearchCV(
                Ridge(), {"alpha": [1.0]}, scoring=scoring, cv=3, refit=False, error_score="raise"
            ).fit(table, y, sample_weight=weight)
            assert len(search.cv_results_["params"]) == 1


def my_gain(y_true, y_pred):
    return -np.max(np.abs(y_true - y_pred))


@pytest.mark.parametrize(
    "metric, kwargs, sign",
    [
        (skm.r2_score, {}, 1),
        (skm.mean_absolute_error, {}, -1),
        (partial(skm.mean_pinball_loss, alpha=0.1), {}, -1),
        (my_gain, {"greater_is_better": True}, 1),
        (my_gain, {"greater_is_better": False}, -1),
        ("r2", {"greater_is_better": True}, 1),
    ],
)
def test_greater_is_better(metric, kwargs, sign):
    X, y = panel()
    model = pooled().fit(X, y)
    expected = sign * task_score(y, model.predict(X), task=X["shop"], metric=metric)
    assert task_scorer(metric, task_column="shop", **kwargs)(model, X, y) == pytest.approx(expected)


@pytest.mark.parametrize(
    "args, kwargs, match",
    [
        ((my_gain,), {}, "can't be inferred for metric=my_gain; give greater_is_better=True"),
        (("mse",), {"greater_is_better": True}, "contradicts metric='mse'"),
        (("mape",), {}, "metric='mape' is unknown"),
        (("r2",), {"average": "mean"}, "average='mean' is unknown"),
    ],
)
def test_bad_scorer(args, kwargs, match):
    with pytest.raises(ValueError, match=match):
        task_scorer(*args, **kwargs)


def test_scorer_unknown_column():
    X, y = panel()
    with pytest.raises(ValueError, match="'store' is not a column of X.*'shop'"):
        task_scorer(task_column="store")(pooled().fit(X, y), X, y)


@pytest.mark.parametrize(
    "scorer, shown",
    [
        (task_scorer(), "task_scorer('r2', average='macro')"),
        (
            task_scorer("mae", average="micro", task_column="shop"),
            "task_scorer('mae', average='micro', task_column='shop')",
        ),
        (
            task_scorer(my_gain, task_column=0, greater_is_better=True),
            "task_scorer(my_gain, average='macro', task_column=0, greater_is_better=True)",
        ),
    ],
)
def test_repr_pickle_clone(scorer, shown):
    assert repr(scorer) == shown
    assert repr(eval(shown)) == shown
    twins = [pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer), clone(scorer, safe=False)]
    for twin in twins:
        assert vars(twin) == vars(scorer)
    search = clone(GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring=scorer))
    assert repr(search.scoring) == shown


def test_classifier_with_a_function():
    X, y = panel()
    labels = np.where(y > y.median(), "high", "low")
    drop = ColumnTransformer([("features", "passthrough", ["p", "q", "r"])])
    model = make_pipeline(drop, LogisticRegression())
    scores = cross_val_score(
        model,
        X,
        labels,
        cv=TaskKFold(3, task_column="shop"),
        scoring=task_scorer(skm.accuracy_score, task_column="shop"),
        error_score="raise",
    )
    assert ((scores > 0.3) & (scores <= 1)).all()
