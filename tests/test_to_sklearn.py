"""Task models made of scikit-learn's own parts."""

import numpy as np
import pandas as pd
import pytest
from checks import linear
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skmtl import (
    MetaLearnerClassifier,
    MetaLearnerRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
)

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def table(rng, n=240):
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))
    frame["shop"] = np.array(list("pqrstu"))[np.arange(n) % 6]
    frame["kind"] = np.array(["red", "blue", "green"], dtype=object)[rng.integers(3, size=n)]
    y = frame["a"] - 2 * frame["b"] + (frame["kind"] == "red") + rng.normal(size=n)
    return frame, y.to_numpy()


def owned(module):
    return module.startswith("skmtl")


def parts(estimator):
    """The estimator and all that is inside of it."""
    yield estimator
    for step in getattr(estimator, "steps", ()):
        yield from parts(step[1])
    for step in getattr(estimator, "transformers_", ()):
        yield from parts(step[1])


@pytest.mark.parametrize("face", [MultiTaskRegressor, MetaLearnerRegressor])
@pytest.mark.parametrize("preprocessor", [None, "auto", StandardScaler()])
def test_regressors(rng, face, preprocessor):
    frame, y = table(rng)
    columns = ["a", "b", "c", "shop"] + (["kind"] if preprocessor == "auto" else [])
    model = linear(face, task_column="shop", preprocessor=preprocessor).fit(frame[columns], y)
    features = frame[columns].drop(columns="shop")
    for one in (model.for_task("q"), model.adapt(features[:9], y[:9])):
        plain = one.to_sklearn()
        assert isinstance(plain[-1], Ridge)
        assert not any(owned(type(part).__module__) for part in parts(plain))
        np.testing.assert_allclose(plain.predict(features), one.predict(features), **CLOSE)


@pytest.mark.parametrize("face", [MultiTaskClassifier, MetaLearnerClassifier])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers(rng, face, n_classes):
    frame, y = table(rng)
    y = np.array(["lo", "mid", "up"])[np.digitize(y, [0.0, 2.0][: n_classes - 1])]
    model = linear(face, task_column="shop", preprocessor="auto").fit(frame, y)
    features = frame.drop(columns="shop")
    for one in (model.for_task("q"), model.adapt(features[:30], y[:30])):
        plain = one.to_sklearn()
        assert isinstance(plain[-1], LogisticRegression)
        assert not any(owned(type(part).__module__) for part in parts(plain))
        wanted = one.predict_proba(features)
        np.testing.assert_allclose(plain.predict_proba(features), wanted, **CLOSE)
        np.testing.assert_array_equal(plain.predict(features), one.predict(features))


def test_gaps_of_both_kinds(rng):
    frame, y = table(rng)
    frame.loc[rng.random(len(frame)) < 0.2, "a"] = np.nan
    frame.loc[rng.random(len(frame)) < 0.2, "kind"] = np.nan
    one = (
        MultiTaskRegressor("partial_pooling", task_column="shop", preprocessor="auto")
        .fit(frame, y)
        .for_task("p")
    )
    features = frame.drop(columns="shop")
    plain = one.to_sklearn()
    np.testing.assert_allclose(plain.predict(features), one.predict(features), **CLOSE)
    unseen = features.assign(kind="violet")
    np.testing.assert_allclose(plain.predict(unseen), one.predict(unseen), **CLOSE)


def test_features_that_a_learner_leaves_out_have_no_slope(rng):
    X, task = rng.normal(size=(60, 3)), np.arange(60) % 4
    X[:, 1] = 7.0
    one = MetaLearnerRegressor().fit(X, X[:, 0] + rng.normal(size=60), task=task).for_task(2)
    plain = one.to_sklearn()
    assert plain[-1].coef_[1] == 0.0
    np.testing.assert_allclose(plain.predict(X), one.predict(X), **CLOSE)


def test_the_model_itself_is_left_alone(rng):
    frame, y = table(rng)
    one = (
        MultiTaskRegressor("partial_pooling", task_column="shop", preprocessor="auto")
        .fit(frame, y)
        .for_task("p")
    )
    features = frame.drop(columns="shop")
    before = one.predict(features)
    one.to_sklearn()[-1].coef_[:] = 0.0
    np.testing.assert_array_equal(one.predict(features), before)


def test_what_is_not_linear_says_so(rng):
    X, task = rng.normal(size=(60, 2)), np.arange(60) % 6
    labels = (X[:, 0] ** 2 > 0.5).astype(int)
    model = MetaLearnerClassifier("maml").fit(X, labels, task=task)
    with pytest.raises(ValueError, match="not linear"):
        model.for_task(0).to_sklearn()


def test_the_frame_is_left_as_it_is(rng):
    frame = table(rng)[0].drop(columns="kind")
    frame.loc[::7, "a"] = np.nan
    y = rng.normal(size=len(frame))
    one = (
        MultiTaskRegressor("partial_pooling", task_column="shop", preprocessor="auto")
        .fit(frame, y)
        .for_task("p")
    )
    plain, features = one.to_sklearn(), frame.drop(columns="shop")
    before = features.copy()
    for _ in range(2):
        np.testing.assert_allclose(plain.predict(features), one.predict(features), **CLOSE)
    pd.testing.assert_frame_equal(features, before)


@pytest.mark.parametrize(
    "levels",
    [
        [1, 2, 3], [1.0, 2.5, 3.0], pd.Categorical([1, 2, 3]), [b"x", b"y", b"z"],
        [True, False, "q"],
    ],
)  # fmt: skip
def test_categories_that_are_no_strings_are_refused(levels, rng):
    frame, y = table(rng)
    frame["kind"] = pd.Series(np.tile(np.asarray(levels, dtype=object), 80))
    model = MultiTaskRegressor(
        "partial_pooling", task_column="shop", preprocessor="auto", categorical_columns="kind"
    ).fit(frame, y)
    with pytest.raises(
        ValueError, match=r"columns \['kind'\] hold categories that are not strings"
    ):
        model.for_task("p").to_sklearn()
    # As the message says.
    model.fit(frame.assign(kind=frame["kind"].astype(str)), y)
    features = frame.drop(columns="shop").assign(kind=frame["kind"].astype(str))
    one = model.for_task("p")
    np.testing.assert_allclose(one.to_sklearn().predict(features), one.predict(features), **CLOSE)
