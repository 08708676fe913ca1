"""feature_importances_ of the linear estimators, and selectors that use them."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.model_selection import TaskKFold
from skmtl.tasks.table import pack
from skmtl.tasks.variation import column_stds

FACES = MultiTaskRegressor, MultiTaskClassifier
GETTER = {"importance_getter": "feature_importances_"}
SLOPES = np.array([1.0, -2.0, 0.1, 0.5])


def table(rng, face, scale=1.0):
    """Return a task column and features whose importances are given by `SLOPES`."""
    task = np.repeat(np.arange(8), 25)
    F = rng.normal(size=(200, 4)) * scale
    y = (F / scale) @ SLOPES + rng.normal(size=8)[task] + 0.3 * rng.normal(size=200)
    return np.column_stack([task, F]), y if face is MultiTaskRegressor else y > 0


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("scale", [1.0, np.array([1e3, 1e-3, 1e6, 1.0])])
def test_what_they_are(rng, face, scale):
    X, y = table(rng, face, scale)
    model = face("partial_pooling", task_column=0).fit(X, y)
    found = model.feature_importances_
    sizes = np.bincount(X[:, 0].astype(int))
    by_hand = np.average(np.abs(model.coef_), axis=0, weights=sizes) * X[:, 1:].std(axis=0)
    np.testing.assert_allclose(found[1:], by_hand)
    assert found.shape == (5,) and found[0] == found[1:].max()
    assert np.argsort(found[1:]).tolist() == [2, 3, 0, 1]


def test_excluded_columns_have_none_and_each_task_column_the_most(rng):
    X, y = table(rng, MultiTaskRegressor)
    frame = pd.DataFrame(X[:, 1:], columns=list("abcd"))
    frame["shop"], frame["half"], frame["id"] = X[:, 0].astype(int), np.arange(200) % 2, 1.0
    model = MultiTaskRegressor(
        "partial_pooling", task_column=["shop", "half"], exclude_columns="id"
    ).fit(frame, y)
    found = dict(zip(frame.columns, model.feature_importances_, strict=True))
    assert found["id"] == 0.0 and found["shop"] == found["half"] == found["b"] == max(
        found.values()
    )


def test_of_categories_the_sum_of_levels(rng):
    frame = pd.DataFrame({"a": rng.normal(size=200), "kind": np.arange(200) % 3})
    frame["kind"] = frame["kind"].map({0: "p", 1: "q", 2: "r"})
    y = 0.1 * frame["a"] + 4.0 * (frame["kind"] == "q") + 0.1 * rng.normal(size=200)
    model = MultiTaskRegressor("partial_pooling", preprocessor="auto").fit(frame, y)
    levels = model.preprocessor_.transform(frame)
    single = np.abs(model.coef_[0]) * levels.std(axis=0)
    np.testing.assert_allclose(model.feature_importances_, [single[0], single[1:].sum()])


def test_transformers_of_the_callers(rng):
    X, y = table(rng, MultiTaskRegressor)
    frame = pd.DataFrame(X, columns=["shop", "a", "b", "c", "d"]).astype({"shop": int})
    scaled = MultiTaskRegressor(
        "partial_pooling", task_column="shop", preprocessor=StandardScaler()
    ).fit(frame, y)
    plain = MultiTaskRegressor("partial_pooling", task_column="shop").fit(frame, y)
    np.testing.assert_allclose(scaled.feature_importances_, plain.feature_importances_)
    named = make_column_transformer((StandardScaler(), ["a", "b"]), (StandardScaler(), ["c", "d"]))
    prefixed = MultiTaskRegressor("partial_pooling", task_column="shop", preprocessor=named).fit(
        frame, y
    )
    np.testing.assert_allclose(prefixed.feature_importances_, plain.feature_importances_)
    turned = MultiTaskRegressor("partial_pooling", task_column="shop", preprocessor=PCA(2)).fit(
        frame, y
    )
    assert not hasattr(turned, "feature_importances_")
    message = "does not show which columns its outputs come from"
    with pytest.raises(AttributeError, match=message):
        turned.feature_importances_  # noqa: B018
    assert not hasattr(MultiTaskRegressor("partial_pooling"), "feature_importances_")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("selector", [RFE, SelectFromModel, RFECV])
def test_selectors_keep_what_matters(rng, face, selector):
    X, y = table(rng, face)
    model = face(task_column=0, sharing="pooled")
    if selector is RFE:
        found = RFE(model, n_features_to_select=3, **GETTER).fit(X, y)
    elif selector is SelectFromModel:
        found = SelectFromModel(model, max_features=3, threshold=-np.inf, **GETTER).fit(X, y)
    else:
        cv = TaskKFold(3, task_column=0)
        found = RFECV(model, min_features_to_select=2, cv=cv, **GETTER).fit(X, y)
    kept = found.get_support()
    assert kept[0] and kept[2]
    if selector is not RFECV:
        assert kept.tolist() == [True, True, True, False, False]


def test_a_sequential_selector_needs_no_importances(rng):
    X, y = table(rng, MultiTaskRegressor)
    frame = pd.DataFrame(X[:, 1:], columns=list("abcd"))
    found = SequentialFeatureSelector(
        MultiTaskRegressor(sharing="pooled"), n_features_to_select=1, cv=3
    ).fit(frame, y)
    assert found.get_feature_names_out().tolist() == ["b"]


def test_partial_fit_has_those_of_fit(rng):
    X, y = table(rng, MultiTaskRegressor)
    once = MultiTaskRegressor("partial_pooling", task_column=0).partial_fit(X, y)
    twice = (
        MultiTaskRegressor("partial_pooling", task_column=0)
        .partial_fit(X[::2], y[::2])
        .partial_fit(X[1::2], y[1::2])
    )
    for model in (once, twice):
        spread = X[:, 1:].std(axis=0)
        sizes = np.bincount(X[:, 0].astype(int))
        by_hand = np.average(np.abs(model.coef_), axis=0, weights=sizes) * spread
        np.testing.assert_allclose(model.feature_importances_[1:], by_hand)


def test_spreads_of_columns(rng):
    X = rng.normal(3.0, 2.0, size=(9000, 3)) * (rng.random((9000, 3)) < 0.2)
    weight = rng.integers(0, 3, size=9000).astype(float)
    mean = np.average(X, axis=0, weights=weight)
    wanted = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    codes = rng.integers(5, size=9000)
    for form in (np.asarray, sparse.csr_matrix):
        packed = pack(form(X), np.zeros(9000), codes, 5, weight)
        np.testing.assert_allclose(column_stds(packed), wanted)
    far = pack(X + 1e8, np.zeros(9000), codes, 5, weight)
    np.testing.assert_allclose(column_stds(far), wanted, rtol=1e-6)
