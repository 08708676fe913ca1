"""coef_frame: the coefficients with names, for all shapes of coefficients."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import PartialPooling

FIXED = PartialPooling(alpha=3.0, alpha_shared=1.0)


def table(names=("p", "q", "r"), labels=("b", "a", "c"), seed=0):
    """Return a data frame with 15 rows of each task in a column "shop", and a target."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(labels)), 15)
    X = pd.DataFrame(rng.normal(size=(len(code), len(names))), columns=list(names))
    y = X.iloc[:, 0] * code + code + rng.normal(size=len(code))
    return X.assign(shop=np.array(labels)[code]), y


def regressor(task_column="shop"):
    return MultiTaskRegressor(FIXED, task_column=task_column, cv=None)


@pytest.mark.parametrize("labels", [("b", "a", "c"), (3, 1, 20), (True, False)])
def test_one_row_a_task_and_last_the_shared_model(labels):
    X, y = table(labels=labels)
    model = regressor().fit(X, y)
    frame = model.coef_frame()
    assert frame.index.name == "shop" and frame.index.dtype == object
    assert frame.index.tolist() == [*sorted(labels), None]
    assert frame.columns.tolist() == ["intercept", "p", "q", "r"]
    np.testing.assert_array_equal(frame[["p", "q", "r"]][:-1], model.coef_)
    np.testing.assert_array_equal(frame["intercept"][:-1], model.intercept_)
    np.testing.assert_array_equal(frame.iloc[-1], [model.shared_intercept_, *model.shared_coef_])


def test_total_is_own_plus_shared():
    model = regressor().fit(*table())
    total, own = model.coef_frame(), model.coef_frame(kind="own")
    assert own.index.equals(total.index)
    pd.testing.assert_series_equal(own.iloc[-1], total.iloc[-1])
    pd.testing.assert_frame_equal(own[:-1] + own.iloc[-1], total[:-1])
    assert own["p"].loc["a"] == model.coef_[0, 0] - model.shared_coef_[0]


def test_predicts_what_the_model_does():
    X, y = table()
    model = regressor().fit(X, y)
    rows = model.coef_frame().loc[X["shop"]]
    slopes = rows[["p", "q", "r"]].to_numpy()
    expected = rows["intercept"] + (X[["p", "q", "r"]].to_numpy() * slopes).sum(axis=1)
    np.testing.assert_allclose(model.predict(X), expected)


def test_joins_the_report():
    X, y = table()
    model = MultiTaskRegressor("partial_pooling", task_column="shop").fit(X, y)
    report = pd.DataFrame(model.task_report_).set_index("task")
    joined = model.coef_frame().join(report)
    assert joined["n_samples"].tolist() == [15, 15, 15, 0]


@pytest.mark.parametrize("task_column", [None, 3])
def test_an_index_or_an_array_of_labels(task_column):
    X, y = table(labels=(1, 2))
    if task_column is None:
        model = regressor(None).fit(X[["p", "q", "r"]].to_numpy(), y, task=X["shop"])
    else:
        model = regressor(3).fit(X.to_numpy(), y)
    frame = model.coef_frame()
    assert frame.index.name == "task"
    assert frame.columns.tolist() == ["intercept", "x0", "x1", "x2"]
    named = regressor().fit(X, y).coef_frame()
    np.testing.assert_allclose(frame, named, rtol=1e-9)


def test_tasks_in_the_columns_of_y():
    X, y = table()
    model = regressor(None).fit(X[["p", "q", "r"]], np.column_stack([y, -y]))
    frame = model.coef_frame()
    assert frame.index.tolist() == [0, 1, None]
    np.testing.assert_allclose(frame.loc[0], -frame.loc[1])


def test_one_task():
    X, y = table()
    model = regressor(None).fit(X[["p", "q", "r"]], y)
    frame = model.coef_frame()
    assert frame.index.tolist() == [0, None]
    np.testing.assert_allclose(frame.iloc[0], frame.iloc[1])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifier(n_classes):
    X, y = table()
    kind = np.array(["low", "mid", "high"])[pd.qcut(y, n_classes, labels=False)]
    model = MultiTaskClassifier(FIXED, task_column="shop", cv=None).fit(X, kind)
    frame = model.coef_frame("own")
    names = ["intercept", "p", "q", "r"]
    if n_classes == 2:
        assert frame.columns.tolist() == names
        np.testing.assert_allclose(frame["q"][:-1], model.coef_[:, 1] - model.shared_coef_[1])
        return
    assert frame.shape == (4, 12)
    assert frame.columns.names == ["class", "feature"]
    for k, label in enumerate(model.classes_):
        assert frame[label].columns.tolist() == names
        own = model.coef_[:, k] - model.shared_coef_[k]
        np.testing.assert_array_equal(frame[label][["p", "q", "r"]][:-1], own)
        own = model.intercept_[:, k] - model.shared_intercept_[k]
        np.testing.assert_array_equal(frame[label]["intercept"][:-1], own)


def test_a_feature_called_intercept():
    X, y = table(names=("intercept", "q"))
    frame = regressor().fit(X, y).coef_frame()
    assert frame.columns.tolist() == ["(intercept)", "intercept", "q"]


def test_nothing_of_the_model_is_shared_with_the_frame():
    model = regressor().fit(*table())
    before = model.coef_.copy(), model.intercept_.copy()
    frame = model.coef_frame()
    frame.iloc[:, :] = 0.0
    np.testing.assert_array_equal(model.coef_, before[0])
    np.testing.assert_array_equal(model.intercept_, before[1])


def test_errors(monkeypatch):
    with pytest.raises(NotFittedError):
        regressor().coef_frame()
    model = regressor().fit(*table())
    with pytest.raises(ValueError, match="kind='shared' is unknown; give 'total' or 'own'"):
        model.coef_frame("shared")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="coef_frame needs pandas: pip install pandas"):
        model.coef_frame()
