"""Linear models and learners of any kind under one guard, for classes."""

import pickle

import checks
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, SVR

from skmtl import MultiTaskClassifier
from skmtl.sharing import SharedEstimator, SharedHiddenLayers

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore:X has feature names")]

N_TASKS = 9


def scores_of(rng, X, task):
    level = rng.normal(size=N_TASKS)
    return 2.0 * (X[:, 0] ** 2 - 1.0) + X[:, 1] * X[:, 2] + level[task]


def bent(rng, n=900):
    """Return features, task codes and classes whose log-odds bend."""
    X, task = rng.normal(size=(n, 3)), rng.integers(N_TASKS, size=n)
    return X, task, scores_of(rng, X, task) + rng.logistic(size=n) > 0.0


def straight(rng, n=500):
    X, task = rng.normal(size=(n, 3)), rng.integers(N_TASKS, size=n)
    coef = rng.normal(size=3) + 0.3 * rng.normal(size=(N_TASKS, 3))
    return X, task, (X * coef[task]).sum(1) + rng.logistic(size=n) > 0.0


def fit(X, task, y, sharing="auto", cv=3, **kwargs):
    return MultiTaskClassifier(sharing, cv=cv, **kwargs).fit(X, y, task=task)


def loss(model, X, task, y):
    return log_loss(y, model.predict_proba(X, task=task))


def test_classes_whose_log_odds_bend_are_learned(rng):
    X, task, y = bent(rng)
    train = np.arange(len(y)) < 600
    model = fit(X[train], task[train], y[train])
    linear = fit(X[train], task[train], y[train], "partial_pooling")
    test = X[~train], task[~train], y[~train]
    assert loss(model, *test) < 0.9 * loss(linear, *test)
    assert model.member_report_["weight"].sum() == pytest.approx(1.0)
    held_out = np.average(model.task_report_["error_shared"][:-1], weights=np.bincount(task[train]))
    assert held_out == pytest.approx(loss(model, *test), rel=0.3)
    # Blends of log-odds are calibrated: the mean probability is the share of the class.
    assert model.predict_proba(test[0], task=test[1])[:, 1].mean() == pytest.approx(
        test[2].mean(), abs=0.08
    )
    for name in ("coef_", "feature_importances_"):
        with pytest.raises(AttributeError, match=f"no {name}.*sharing='partial_pooling'"):
            getattr(model, name)


def test_straight_log_odds_keep_linear_models(rng):
    X, task, y = straight(rng)
    model, linear = fit(X, task, y), fit(X, task, y, "partial_pooling")
    np.testing.assert_array_equal(model.coef_, linear.coef_)
    assert model.member_report_["weight"].tolist()[0] == 1.0
    assert set(model.task_report_["used"]) <= {"shared", "pooled", "independent"}


def test_scores_probabilities_and_classes_agree(rng):
    X, task, y = bent(rng)
    labels = np.where(y, "yes", "no")
    model = fit(X, task, labels)
    score = model.decision_function(X, task=task)
    np.testing.assert_allclose(model.predict_proba(X, task=task)[:, 1], expit(score))
    np.testing.assert_array_equal(model.predict(X, task=task), np.where(score > 0, "yes", "no"))
    own, mine = model.for_task(3), task == 3
    np.testing.assert_allclose(own.decision_function(X[mine]), score[mine], **checks.CLOSE)
    again = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(again.predict(X[mine]), own.predict(X[mine]))
    assert again.classes_.tolist() == ["no", "yes"]


def test_more_than_two_classes(rng):
    X, task = rng.normal(size=(900, 3)), rng.integers(N_TASKS, size=900)
    y = np.digitize(scores_of(rng, X, task) + rng.logistic(size=900), [-1.5, 1.5])
    train = np.arange(900) < 600
    model = fit(X[train], task[train], y[train])
    linear = fit(X[train], task[train], y[train], "partial_pooling")
    test = X[~train], task[~train], y[~train]
    assert loss(model, *test) < 0.95 * loss(linear, *test)
    assert "learners of residuals are for two classes" in model.member_report_["status"]
    proba = model.predict_proba(X, task=task)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    own = model.for_task(1).predict_proba(X[task == 1])
    np.testing.assert_allclose(own, proba[task == 1], **checks.CLOSE)
    adapted = model.adapt(X[:30], y[:30]).predict_proba(X)
    np.testing.assert_allclose(adapted.sum(axis=1), 1.0)


def rare(rng, n=3000):
    """Return a table in which one row in eight is of the second class, with new rows of a task."""
    X, task = rng.normal(size=(n, 3)), rng.integers(N_TASKS, size=n)
    score = 1.5 * (X[:, 0] ** 2 - 1.0) + 0.3 * rng.normal(size=N_TASKS)[task] - 2.5
    return X, task, score + rng.logistic(size=n) > 0.0


@pytest.mark.parametrize("by_class", [False, True])
def test_new_tasks(rng, by_class):
    """Five rows of each class do not raise the probability of a rare class."""
    X, task, y = rare(rng)
    known = task < N_TASKS - 1
    model = fit(X[known], task[known], y[known])
    new = np.flatnonzero(~known)
    support = new[:20]
    if by_class:
        support = np.r_[new[~y[new]][:5], new[y[new]][:5]]
    rest = np.setdiff1d(new, support)
    proba = model.adapt(X[support], y[support]).predict_proba(X[rest])[:, 1]
    assert proba.mean() == pytest.approx(y[rest].mean(), abs=0.06)
    linear = fit(X[known], task[known], y[known], "partial_pooling")
    plain = linear.adapt(X[support], y[support]).predict_proba(X[rest])
    assert log_loss(y[rest], proba) < log_loss(y[rest], plain)


def test_known_proportions_of_the_classes_shift_a_new_task(rng):
    X, task, y = rare(rng)
    model = fit(X, task, y)
    given = [
        model.adapt(X[:10], y[:10], class_prior={False: 1.0 - p, True: p}).predict_proba(X)[:, 1]
        for p in (0.05, 0.5)
    ]
    assert given[0].mean() < 0.5 * given[1].mean()


def test_a_new_task_unlike_the_others_is_adapted_to_by_its_own_rows(rng):
    X, task, y = bent(rng, 1500)
    model = fit(X, task, y)
    new = rng.normal(size=(400, 3))
    labels = 4.0 * new[:, 0] - 3.0 * new[:, 2] + rng.logistic(size=400) > 0.0
    found = model.adapt(new[:200], labels[:200]).predict_proba(new[200:])
    plain = fit(X, task, y, "partial_pooling").adapt(new[:200], labels[:200])
    wanted = log_loss(labels[200:], plain.predict_proba(new[200:]))
    assert log_loss(labels[200:], found) < 1.3 * wanted + 0.05


def test_order_labels_copies_and_threads_change_nothing(rng):
    X, task, y = bent(rng, 500)
    wanted = fit(X, task, y).decision_function(X, task=task)
    order, names = rng.permutation(len(y)), rng.permutation(N_TASKS)
    columns = rng.permutation(X.shape[1])
    found = {
        "columns": fit(X[:, columns], task, y).decision_function(X[:, columns], task=task),
        "order": fit(X[order], task[order], y[order]).decision_function(X, task=task),
        "labels": fit(X, names[task], y).decision_function(X, task=names[task]),
        "threads": fit(X, task, y, n_jobs=2).decision_function(X, task=task),
    }
    close = {"rtol": 1e-5, "atol": 1e-5}
    for name, score in found.items():
        np.testing.assert_allclose(score, wanted, err_msg=name, **close)
    weight = rng.integers(1, 4, size=len(y))
    weighted = MultiTaskClassifier("auto", cv=3).fit(X, y, weight, task=task)
    copies = [np.repeat(part, weight, axis=0) for part in (X, task, y)]
    np.testing.assert_allclose(
        weighted.decision_function(X, task=task),
        fit(*copies).decision_function(X, task=task),
        **close,
    )


def test_gaps_and_categories_reach_the_learners(rng):
    X, task, y = bent(rng)
    kind = rng.integers(12, size=len(y))
    y = 2.0 * rng.normal(size=12)[kind] + scores_of(rng, X, task) + rng.logistic(size=len(y)) > 0
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["kind"], frame["shop"] = [f"kind {k}" for k in kind], task
    frame.loc[rng.random(len(y)) < 0.1, "a"] = np.nan
    train = np.arange(len(y)) < 700
    options = {"task_column": "shop", "preprocessor": "auto"}
    model = MultiTaskClassifier("auto", cv=3, **options).fit(frame[train], y[train])
    linear = MultiTaskClassifier("partial_pooling", **options).fit(frame[train], y[train])
    losses = [log_loss(y[~train], m.predict_proba(frame[~train])) for m in (model, linear)]
    assert losses[0] < 0.95 * losses[1]
    assert np.isfinite(model.predict_proba(frame[~train].assign(kind="new"))).all()


def test_rare_classes_tasks_of_one_class_and_sparse_rows(rng):
    X, task, y = bent(rng)
    y[task == 2], y[task == 3] = True, False
    model = fit(X, task, y)
    proba = model.predict_proba(X, task=task)[:, 1]
    assert np.isfinite(proba).all() and proba[task == 2].mean() > 0.6 > proba[task == 3].mean()
    once = np.zeros(400, dtype=int)
    once[:2] = 1  # in some folds there is one of them, or none
    labels = np.where(rng.random(400) < 0.5, 2, once)
    assert np.isfinite(fit(X[:400], task[:400], labels).predict_proba(X, task=task)).all()
    assert np.isfinite(fit(X[:400], task[:400], once).predict_proba(X, task=task)).all()
    linear = fit(sparse.csr_matrix(X), task, y)
    assert set(linear.member_report_["status"][1:]) == {"X is sparse"}


@pytest.mark.parametrize("own", ["intercept", "linear", "clone"])
@pytest.mark.parametrize("sees_task", [False, True])
def test_any_classifier_is_shared(rng, own, sees_task):
    X, task, y = bent(rng, 1200)
    train = np.arange(len(y)) < 900
    forest = RandomForestClassifier(30, min_samples_leaf=5, random_state=0)
    model = fit(X[train], task[train], y[train], SharedEstimator(forest, own, sees_task=sees_task))
    linear = fit(X[train], task[train], y[train], "partial_pooling")
    test = X[~train], task[~train], y[~train]
    assert loss(model, *test) < 0.97 * loss(linear, *test)
    assert model.member_report_["weight"][0] == 1.0
    own_scores = model.for_task(1).decision_function(X[task == 1])
    wanted = model.decision_function(X[task == 1], task=task[task == 1])
    np.testing.assert_allclose(own_scores, wanted, **checks.CLOSE)
    assert np.isfinite(model.adapt(X[:20], y[:20]).predict_proba(X)).all()


def test_scores_of_an_estimator_are_calibrated_by_the_tasks(rng):
    """A classifier that is too sure of itself is shared with slopes below one."""
    X, task, y = bent(rng, 900)
    sure = KNeighborsClassifier(1)
    model = fit(X, task, y, SharedEstimator(sure, "intercept"))
    test = bent(rng, 900)[0]
    assert np.abs(model.decision_function(test, task=task)).max() < 3.0


def test_clones_are_used_where_tasks_have_functions_of_their_own(rng):
    X, task = rng.normal(size=(2400, 2)), rng.integers(3, size=2400)
    score = np.choose(task, [np.sin(3 * X[:, 0]), np.cos(3 * X[:, 1]), X[:, 0] * X[:, 1]])
    y = 4.0 * score + rng.logistic(size=2400) > 0
    train = np.arange(2400) < 1800
    found = {}
    for own in ("intercept", "clone"):
        forest = RandomForestClassifier(30, min_samples_leaf=10, random_state=0)
        model = fit(X[train], task[train], y[train], SharedEstimator(forest, own))
        found[own] = loss(model, X[~train], task[~train], y[~train])
    assert found["clone"] < 0.95 * found["intercept"]


def test_hidden_layers_are_shared(rng):
    X, task, y = bent(rng, 1200)
    train = np.arange(len(y)) < 900
    sharing = SharedHiddenLayers(hidden_layer_sizes=(16,))
    model = fit(X[train], task[train], y[train], sharing, random_state=0)
    linear = fit(X[train], task[train], y[train], "partial_pooling")
    test = X[~train], task[~train], y[~train]
    assert loss(model, *test) < 0.95 * loss(linear, *test)
    assert {"epoch", "train_loss", "validation_loss"} <= set(model.history_)
    adapted = model.adapt(X[:50], y[:50])
    assert np.isfinite(adapted.predict_proba(X)).all()
    with pytest.raises(ValueError, match="two classes, not 3"):
        fit(X, task, np.digitize(X[:, 0], [-0.5, 0.5]), sharing)


def test_estimator_is_a_further_member_of_auto(rng):
    X, task, y = bent(rng, 500)
    model = fit(X, task, y, estimator=KNeighborsClassifier(20))
    assert {"estimator", "estimator_blind"} <= set(model.member_report_["member"])


WRONG = {
    "a regressor": ({"estimator": SVR()}, "is not a classifier"),
    "no probabilities": ({"estimator": SVC()}, "has no predict_proba.*CalibratedClassifierCV"),
    "another sharing": (
        {"estimator": LogisticRegression(), "sharing": "pooled"},
        "estimator= is a further learner for sharing='auto', but sharing='pooled'",
    ),
    "no folds": ({"cv": None}, "sharing='auto' needs cross-validation, but cv=None"),
    "a shared regressor": ({"sharing": SharedEstimator(SVR())}, "is not a classifier"),
    "own": ({"sharing": SharedEstimator(SVC(), "slopes")}, "own='slopes' is unknown"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters(rng, name):
    X, task, y = bent(rng, 60)
    params, match = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=match):
        fit(X, task, y, **{"sharing": "auto", **params})


def test_weights_need_an_estimator_that_takes_them(rng):
    X, task, y = bent(rng, 60)
    model = MultiTaskClassifier(SharedEstimator(KNeighborsClassifier()))
    with pytest.raises(ValueError, match="KNeighborsClassifier takes no sample_weight.*another"):
        model.fit(X, y, rng.uniform(1.0, 2.0, 60), task=task)


CONFIGURATIONS = {
    "a forest": MultiTaskClassifier(SharedEstimator(RandomForestClassifier(5)), cv=2),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)
