"""An estimator beside the default learner: where it is used, and what it may not do."""

import pickle

import numpy as np
import pandas as pd
import pytest
import reference
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skmtl import MetaLearnerClassifier, MetaLearnerRegressor
from skmtl.learners import MAML, Auto, WithEstimator
from skmtl.learners._fitted import _CLIPS, _least_loss, digests
from skmtl.learners.base import LabelledTasks

TREES = {"max_depth": 5, "min_samples_leaf": 3, "random_state": 0}


def bent(rng, n_tasks=24, rows=20, noise=0.2):
    """Return features, a target that bends alike in all tasks, and tasks with their own levels."""
    X, task = rng.uniform(-3, 3, (n_tasks * rows, 2)), np.repeat(np.arange(n_tasks), rows)
    y = 2 * np.abs(X[:, 0]) + rng.normal(size=n_tasks)[task] + noise * rng.normal(size=len(X))
    return X, y, task


def steps(rng, n_tasks=30, rows=24):
    """Return tasks of numbers that have steps of their own, with nothing in common."""
    X, task = rng.uniform(-3, 3, (n_tasks * rows, 1)), np.repeat(np.arange(n_tasks), rows)
    edge, height = rng.uniform(-2, 2, n_tasks), rng.choice([-3.0, 3.0], n_tasks)
    return X, np.where(X[:, 0] > edge[task], height[task], 0.0), task


def rings(rng, n_tasks=60, rows=18):
    """Return tasks with two of six classes each, which no line separates."""
    own = np.array([rng.permutation(6)[:2] for _ in range(n_tasks)])
    task = np.repeat(np.arange(n_tasks), rows)
    outer = rng.integers(2, size=len(task))
    angle = rng.uniform(0, 2 * np.pi, len(task))
    X = (0.5 + 2.0 * outer + 0.2 * rng.normal(size=len(task)))[:, None]
    X = X * np.column_stack([np.cos(angle), np.sin(angle)])
    return X, own[task, outer], task


def weights_of(model):
    """Return the mean weight of each member over the numbers of rows."""
    return pd.DataFrame(model.member_report_).groupby("member")["weight"].mean()


# ------------------------------------------------------------------------ what it is good for


@pytest.mark.slow
def test_a_response_that_bends_alike_is_shared(rng):
    X, y, task = bent(rng, 30)
    known = task < 24
    forest = RandomForestRegressor(20, min_samples_leaf=3, random_state=0)
    model = MetaLearnerRegressor(estimator=forest).fit(X[known], y[known], task=task[known])
    default = MetaLearnerRegressor().fit(X[known], y[known], task=task[known])
    errors = {"model": 0.0, "default": 0.0, "scratch": 0.0}
    for t in range(24, 30):
        few, rest = np.flatnonzero(task == t)[:6], np.flatnonzero(task == t)[6:]
        models = {
            "model": model.adapt(X[few], y[few]), "default": default.adapt(X[few], y[few]),
            "scratch": clone(forest).fit(X[few], y[few]),
        }  # fmt: skip
        for name, m in models.items():
            errors[name] += np.mean((m.predict(X[rest]) - y[rest]) ** 2)
    assert errors["model"] < 0.5 * min(errors["default"], errors["scratch"])
    assert weights_of(model)["shared"] > 0.8


def test_levels_of_tasks_are_no_noise_to_the_shared_estimator(rng):
    """It is fitted to what is left of the target without them."""
    X, y, task = bent(rng, noise=0.05)
    y = y + 5.0 * rng.normal(size=24)[task]
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    model = MetaLearnerRegressor(estimator=tree).fit(X, y, task=task)
    report = pd.DataFrame(model.member_report_).pivot(
        index="n_rows", columns="member", values="error"
    )
    assert (report["shared"] < 0.5 * report["default"]).iloc[1:].all()


def test_levels_are_learned_although_the_shared_estimator_has_seen_none_of_the_task(rng):
    """The tasks of fit are predicted with an estimator that was fitted without them."""
    X, y, task = bent(rng, noise=0.05)
    tree = DecisionTreeRegressor(random_state=0)  # remembers every row it was fitted on
    model = MetaLearnerRegressor(estimator=tree).fit(X, y, task=task)
    means = np.array([y[task == t].mean() for t in range(24)])
    found = np.array([model.predict(X, task=t).mean() for t in range(24)])
    assert np.corrcoef(means, found)[0, 1] > 0.9


def test_clones_are_used_where_tasks_have_nothing_in_common_but_steps(rng):
    X, y, task = steps(rng)
    model = MetaLearnerRegressor(estimator=DecisionTreeRegressor(random_state=0))
    model.fit(X, y, task=task)
    assert weights_of(model)["own"] > 0.5


@pytest.mark.slow
def test_own_classes_are_separated_by_clones(rng):
    X, y, task = rings(rng)
    forest = RandomForestClassifier(10, random_state=0)
    model = MetaLearnerClassifier(estimator=forest, shared_classes=False).fit(X, y, task=task)
    status = dict(zip(model.member_report_["member"], model.member_report_["status"], strict=True))
    assert status["shared"] == "each task has its own classes"
    assert weights_of(model)["own"] > 0.3
    first, second = 0.5 * np.eye(2), 2.5 * np.eye(2)
    known = np.vstack([first, -first, second, -second])
    new = model.adapt(known, np.repeat(["inner", "outer"], 4))  # classes never seen
    assert new.classes_.tolist() == ["inner", "outer"]
    assert new.score(known, np.repeat(["inner", "outer"], 4)) > 0.8
    assert model.adapt(known[:4], ["inner"] * 4).predict(known).tolist() == ["inner"] * 8


def test_three_shared_classes(rng):
    X, y, task = bent(rng)
    labels = np.array(["low", "mid", "top"])[np.searchsorted(np.quantile(y, [0.4, 0.7]), y)]
    tree = DecisionTreeClassifier(**TREES)
    model = MetaLearnerClassifier(estimator=tree, shared_classes=True).fit(X, labels, task=task)
    assert weights_of(model)["shared"] > 0.2
    p = model.predict_proba(X, task=task)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(model.for_task(3).predict_proba(X[task == 3]), p[task == 3])


# ------------------------------------------------------------------------------- the guard


@pytest.mark.parametrize("classes", [False, True])
def test_useless_estimators_get_no_weight_and_change_nothing(rng, classes):
    X, task = rng.normal(size=(480, 3)), np.repeat(np.arange(24), 20)
    y = (X * rng.normal(size=(24, 3))[task]).sum(axis=1) + rng.normal(size=480)
    face, stump = MetaLearnerRegressor, DecisionTreeRegressor(max_depth=1)
    if classes:
        face, stump, y = MetaLearnerClassifier, DecisionTreeClassifier(max_depth=1), y > 0
    plain = face().fit(X, y, task=task)
    model = face(estimator=stump).fit(X, y, task=task)
    assert weights_of(model)["default"] == 1.0
    assert set(model.member_report_["status"][1:3]) == {"no better than the others"}
    predict = "predict_proba" if classes else "predict"
    for a, b in ((plain, model), (plain.adapt(X[:6], y[:6]), model.adapt(X[:6], y[:6]))):
        more = {"task": task} if a is plain else {}
        wanted, found = (getattr(m, predict)(X, **more) for m in (a, b))
        np.testing.assert_array_equal(found, wanted)
    assert len(pickle.dumps(model)) < 1.5 * len(pickle.dumps(plain)) + 2000
    assert model.for_task(0).to_sklearn() is not None  # linear, as no tree is in it


def test_a_single_task_has_nothing_to_judge_by(rng):
    X, y, _ = bent(rng, 1)
    model = MetaLearnerRegressor(estimator=DecisionTreeRegressor()).fit(X, y)
    assert model.member_report_["status"][1] == "there are no other tasks to judge it on"
    np.testing.assert_array_equal(model.predict(X), MetaLearnerRegressor().fit(X, y).predict(X))


def test_without_estimator_there_is_no_report(rng):
    X, y, task = bent(rng, 6)
    model = MetaLearnerRegressor(estimator=LinearRegression()).fit(X, y, task=task)
    assert isinstance(model.learner_, WithEstimator)
    assert set(model.member_report_) == {"member", "n_rows", "error", "weight", "status"}
    model.set_params(estimator=None).fit(X, y, task=task)
    assert not hasattr(model, "member_report_") and isinstance(model.learner_, Auto)


def test_errors_of_the_report_are_in_units_of_the_target(rng):
    X, y, task = bent(rng, 8)
    one, thousand = (
        MetaLearnerRegressor(estimator=Ridge()).fit(X, c * y, task=task).member_report_["error"]
        for c in (1.0, 1000.0)
    )
    np.testing.assert_allclose(thousand, 1e6 * one, rtol=1e-4)


# ------------------------------------------------------------------- adapted and known tasks


@pytest.mark.parametrize(
    ("face", "estimator"),
    [
        (MetaLearnerRegressor, RandomForestRegressor(5, min_samples_leaf=3)),
        (MetaLearnerClassifier, HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=5)),
        (MetaLearnerClassifier, make_pipeline(StandardScaler(), GaussianNB())),
    ],
    ids=["forest", "boosting", "pipeline"],
)
def test_adapt_on_the_rows_of_a_task_is_that_task(rng, face, estimator):
    X, y, task = bent(rng)
    y = y > np.median(y) if face is MetaLearnerClassifier else y
    model = face(estimator=estimator).fit(X, y, task=task)
    assert weights_of(model)["default"] < 1.0
    twice = face(estimator=estimator, n_jobs=2).fit(X, y, task=task)
    predict = "predict_proba" if face is MetaLearnerClassifier else "predict"
    np.testing.assert_array_equal(
        getattr(model, predict)(X, task=task), getattr(twice, predict)(X, task=task)
    )
    rows = rng.permutation(np.flatnonzero(task == 4))
    wanted = getattr(model, predict)(X, task=4)
    for own in (model.for_task(4), model.adapt(X[rows], y[rows])):
        np.testing.assert_allclose(getattr(own, predict)(X), wanted, atol=1e-9)
        again = pickle.loads(pickle.dumps(own))
        np.testing.assert_array_equal(getattr(again, predict)(X), getattr(own, predict)(X))
    assert np.isfinite(getattr(model.adapt(X[:1], y[:1]), predict)(X)).all()


def test_weights_are_copies(rng):
    X, y, task = bent(rng, 10, 12)
    k = rng.integers(1, 3, size=len(y))
    tree, rows = DecisionTreeRegressor(**TREES), np.repeat(np.arange(len(y)), k)
    weighted = MetaLearnerRegressor(estimator=tree).fit(X, y, k, task=task)
    copied = MetaLearnerRegressor(estimator=tree).fit(X[rows], y[rows], task=task[rows])
    np.testing.assert_allclose(
        weighted.predict(X, task=task), copied.predict(X, task=task), rtol=1e-6
    )


def test_shares_of_classes_are_followed(rng):
    X, y, task = rings(rng)
    y = (y > 2).astype(int)
    model = MetaLearnerClassifier(
        estimator=RandomForestClassifier(10, random_state=0), shared_classes=False
    ).fit(X, y + 2 * (task % 3), task=task)
    few = np.flatnonzero(task == 0)
    means = [
        model.adapt(X[few], y[few], class_prior={0: 1 - p, 1: p}).predict_proba(X)[:, 1].mean()
        for p in (0.1, 0.5, 0.9)
    ]
    assert means == sorted(means) and means[2] - means[0] > 0.1


@pytest.mark.slow
def test_a_search_over_the_estimator(rng):
    X, y, task = bent(rng, 8)
    search = GridSearchCV(
        MetaLearnerRegressor(task_column=0, estimator=DecisionTreeRegressor(random_state=0)),
        {"estimator__max_depth": [1, 4]}, cv=3,
    )  # fmt: skip
    search.fit(np.column_stack([task, X]), y)
    assert search.best_params_ == {"estimator__max_depth": 4}
    assert not hasattr(search.estimator.estimator, "tree_")  # only clones are fitted


# ------------------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize(
    ("face", "params", "message"),
    [
        (MetaLearnerClassifier, {"estimator": LinearSVC()}, "no predict_proba.*Calibrated"),
        (MetaLearnerClassifier, {"estimator": Ridge()}, "is not a classifier; pass one"),
        (MetaLearnerClassifier, {"estimator": GaussianNB}, "is a class; pass an instance"),
        (MetaLearnerClassifier, {"estimator": 3}, "estimator"),
        (MetaLearnerRegressor, {"estimator": GaussianNB()}, "is not a regressor; pass one"),
        (MetaLearnerRegressor, {"estimator": Ridge(), "learner": "maml"}, "learner='auto'.*'maml'"),
        (MetaLearnerRegressor, {"estimator": Ridge(), "learner": MAML()}, "set learner='auto'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(rng, face, params, message):
    X, y, task = bent(rng, 6)
    y = y > np.median(y) if face is MetaLearnerClassifier else y
    model = face().fit(X, y, task=task)
    before = pickle.dumps(model._result)
    with pytest.raises((TypeError, ValueError), match=message):
        model.set_params(**params).fit(X, y, task=task)
    assert pickle.dumps(model._result) == before


@pytest.mark.parametrize(
    ("face", "estimator", "shared"),
    [
        (MetaLearnerRegressor, KNeighborsRegressor(), None),
        (MetaLearnerClassifier, make_pipeline(StandardScaler(), KNeighborsClassifier()), True),
        (MetaLearnerClassifier, KNeighborsClassifier(), False),
    ],
)
def test_weights_need_an_estimator_that_takes_them(rng, face, estimator, shared):
    X, y, task = rings(rng, 12, 12)
    params = {} if shared is None else {"shared_classes": shared}
    model = face(estimator=estimator, **params).fit(X, y, task=task)
    with pytest.raises(ValueError, match="KNeighbors.*takes no sample_weight"):
        model.fit(X, y, rng.uniform(1, 2, len(y)), task=task)
    model.predict(X[:3], task=task[:3])  # as before


def test_calibrated_margins_and_gaps(rng):
    X, y, task = bent(rng, 8)
    X[rng.random(X.shape) < 0.1] = np.nan
    svm = CalibratedClassifierCV(LinearSVC(), cv=2)
    model = MetaLearnerClassifier(estimator=svm)
    with pytest.raises(ValueError, match='preprocessor="auto"'):
        model.fit(X, y > 3, task=task)
    model.set_params(preprocessor="auto").fit(X, y > 3, task=task)
    assert np.isfinite(model.adapt(X[:2], y[:2] > 3).predict_proba(X)).all()


def test_a_bad_parameter_is_no_lack_of_rows(rng):
    X, y, task = rings(rng, 12, 12)
    for shared in (True, False):
        model = MetaLearnerClassifier(estimator=LogisticRegression(C=-1.0), shared_classes=shared)
        with pytest.raises(ValueError, match="'C' parameter"):
            model.fit(X, y, task=task)


# --------------------------------------------------------------------------- slow twins


def test_clips_are_those_of_the_twin(rng):
    own, weight = rng.beta(2, 0.3, size=80), rng.uniform(size=80)
    own[:4] = 0.0
    for n_classes in (2, 4):
        wanted = reference.least_clip(own, weight, n_classes, _CLIPS)
        assert _least_loss(own, weight, n_classes) == wanted


def test_digests_tell_tasks_apart_whatever_the_order_of_rows(rng):
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    tasks = LabelledTasks(X, y, np.ones(12), np.array([0, 5, 8, 12]))
    order = np.r_[rng.permutation(5), 5 + rng.permutation(3), 8, 8, 9, 10, 11]
    again = LabelledTasks(X[order], y[order], np.ones(13), np.array([0, 5, 8, 13]))
    np.testing.assert_array_equal(digests(tasks), digests(again))
    assert len(set(digests(tasks))) == 3
    assert (digests(tasks) != digests(LabelledTasks(X, y + 1, np.ones(12), tasks.offsets))).all()
