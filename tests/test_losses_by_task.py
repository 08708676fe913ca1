"""Tables that mix numbers, counts and yes/no tasks, in linear models."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import d2_log_loss_score, log_loss, mean_poisson_deviance, r2_score
from sklearn.model_selection import GridSearchCV, KFold

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.losses import LOG_LOSS, POISSON, SQUARED_ERROR, Huber, Quantile
from skmtl.sharing import Independent, PartialPooling, TaskTree

FIXED = PartialPooling(3.0, alpha_intercept=1.0, alpha_shared=2.0)
KINDS = ["squared_error", "poisson", "log_loss"]
LOSS = {f"{kind} {i}": kind for kind in KINDS[1:] for i in range(3)}


def draw(seed, n=270):
    """Return features, target, task and loss of each row: three tasks of every kind."""
    rng = np.random.default_rng(seed)
    X, code = rng.normal(size=(n, 3)), np.arange(n) % 9
    kind = np.array(KINDS, dtype=object)[code // 3]
    task = np.array([f"{k} {c % 3}" for k, c in zip(kind, code, strict=True)], dtype=object)
    score = X @ [1.0, -0.5, 0.0] + 0.3 * rng.normal(size=9)[code]
    number, count = 50.0 + 7.0 * (score + rng.normal(size=n)), rng.poisson(np.exp(0.5 * score))
    answer = score + rng.logistic(size=n) > 0
    y = np.select([kind == k for k in KINDS[:2]], [number, count], answer.astype(float))
    return X, y, task, kind


@pytest.fixture(scope="module")
def table():
    return draw(0)


@pytest.fixture(scope="module")
def model(table):
    X, y, task, _ = table
    return MultiTaskRegressor("partial_pooling", loss=LOSS, cv=2).fit(X, y, task=task)


@pytest.mark.parametrize(("sharing", "cv"), [(FIXED, None), ("partial_pooling", 2), ("auto", 2)])
def test_tasks_of_one_loss_are_fitted_together(table, sharing, cv):
    """A loss's tasks have the models of a fit of these tasks alone."""
    X, y, task, kind = table
    found = MultiTaskRegressor(sharing, loss=LOSS, cv=cv).fit(X, y, task=task)
    alone = sharing if sharing != "auto" else "partial_pooling"
    report = found.task_report_
    for name in KINDS:
        own = kind == name
        one = MultiTaskRegressor(alone, loss=name, cv=cv).fit(X[own], y[own], task=task[own])
        places = [found.tasks_.tolist().index(label) for label in one.tasks_]
        np.testing.assert_allclose(found.coef_[places], one.coef_, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.intercept_[places], one.intercept_, rtol=1e-10)
        wanted = one.predict(X[own], task=task[own])
        np.testing.assert_allclose(found.predict(X[own], task=task[own]), wanted, rtol=1e-10)
        for key in one.task_report_:
            if key not in ("task", "used"):
                np.testing.assert_allclose(report[key][places], one.task_report_[key][:-1])
        if name == "log_loss":
            classes = MultiTaskClassifier(alone, cv=cv).fit(X[own], y[own], task=task[own])
            np.testing.assert_allclose(found.coef_[places], classes.coef_, rtol=1e-10)
        if name == "squared_error":
            np.testing.assert_allclose(found.shared_coef_, one.shared_coef_)
    assert found.kkt_residual_ <= found.tol
    assert {found.loss_[f"{k} 0"] for k in KINDS} == {SQUARED_ERROR, POISSON, LOG_LOSS}


def test_report_and_history(table, model):
    _, _, task, _ = table
    report = model.task_report_
    assert report["task"].tolist() == [*sorted(set(task)), None]
    assert (report["n_samples"][:-1] == 30).all()
    assert np.isfinite(report["error_shared"]).all()
    of_numbers = np.array([str(label).startswith("sq") for label in report["task"]])
    assert np.isnan(report["residual_std"][:-1][~of_numbers[:-1]]).all()
    assert (report["residual_std"][of_numbers] > 5.0).all()
    assert set(model.history_["loss"]) == set(KINDS)
    assert len({len(column) for column in model.history_.values()}) == 1
    assert set(model.sharing_.alpha_) == set(KINDS)
    assert (model.history_["weight"] >= 0).all() and np.isfinite(model.history_["error"]).all()


def test_scores_are_shares_of_the_deviance(table, model):
    X, y, task, kind = table
    p, own = model.predict(X, task=task), [kind == k for k in KINDS]
    poisson = 1 - mean_poisson_deviance(y[own[1]], p[own[1]]) / mean_poisson_deviance(
        y[own[1]], np.full(90, y[own[1]].mean())
    )
    wanted = [r2_score(y[own[0]], p[own[0]]), poisson, d2_log_loss_score(y[own[2]], p[own[2]])]
    assert model.score(X, y, task=task) == pytest.approx(np.mean(wanted))
    few = np.flatnonzero(own[2] | (np.arange(270) < 9))
    weight = np.where(own[2], 1.0, 0.0)[few]
    found = model.score(X[few], y[few], weight, task=task[few])
    answers = few[weight > 0]
    assert found == pytest.approx(d2_log_loss_score(y[answers], p[answers]))
    one = model.score(X[own[2]][:3], np.ones(3), task=task[own[2]][:3])
    assert one == 0.0  # of a single class, only perfect predictions are better


def test_probabilities(table, model):
    X, _, task, kind = table
    found, answers = model.predict_proba(X, task=task), kind == "log_loss"
    assert found.shape == (270, 2) and np.isnan(found[~answers]).all()
    np.testing.assert_array_equal(found[answers, 1], model.predict(X, task=task)[answers])
    np.testing.assert_allclose(found[answers].sum(axis=1), 1.0)
    one = model.for_task("log_loss 1")
    np.testing.assert_array_equal(one.predict_proba(X), model.predict_proba(X, task="log_loss 1"))
    number = model.for_task("squared_error 1")
    assert not hasattr(number, "predict_proba") and number.predict(X).min() > 5.0
    assert not hasattr(MultiTaskRegressor(loss="poisson"), "predict_proba")
    with pytest.raises(ValueError, match="no regressor that predicts probabilities"):
        one.to_sklearn()


def test_columns_of_y(table):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 3))
    score = X @ [1.0, -1.0, 0.5]
    Y = pd.DataFrame(
        {
            "price": 20.0 + score + rng.normal(size=80),
            "visits": rng.poisson(np.exp(0.5 * score)).astype(float),
            "sold": (score + rng.logistic(size=80) > 0).astype(float),
        }
    )
    Y.iloc[::4, 2] = np.nan
    model = MultiTaskRegressor(loss={"visits": "poisson", "sold": "log_loss"}, cv=2).fit(X, Y)
    found, std = model.predict(X, return_std=True)
    assert found.shape == (80, 3) and (found[:, 1:] > 0).all() and (found[:, 2] < 1).all()
    assert np.isfinite(std[:, 0]).all() and np.isnan(std[:, 1:]).all()
    low, high = model.predict_interval(X)
    assert (low[:, 0] < high[:, 0]).all() and np.isnan(high[:, 1:]).all()
    price, visits, sold = model.predict_proba(X)
    assert np.isnan(price).all() and np.isnan(visits).all()
    np.testing.assert_array_equal(sold[:, 1], found[:, 2])
    assert 0.1 < model.score(X, Y) < 1.0
    weight = (np.arange(80) % 2).astype(float)
    assert model.score(X, Y, weight) == pytest.approx(model.score(X[1::2], Y[1::2]))


def test_new_tasks(table, model):
    X, y, _, kind = table
    for name in KINDS:
        own = np.flatnonzero(kind == name)[:40]
        new = model.adapt(X[own], y[own], loss=name)
        alone = MultiTaskRegressor("partial_pooling", loss=name, cv=2)
        every = kind == name
        wanted = alone.fit(X[every], y[every], task=table[2][every]).adapt(X[own], y[own])
        np.testing.assert_allclose(new.predict(X), wanted.predict(X), rtol=1e-10)
        assert hasattr(new, "predict_proba") == (name == "log_loss")
    own = np.flatnonzero(kind == "squared_error")[:40]
    new = model.adapt(X[own], y[own])  # that of a task not seen
    assert np.isfinite(new.predict(X, return_std=True)[1]).all()
    with pytest.warns(UnknownTaskWarning):
        found, std = model.predict(X, task="another", return_std=True)
    np.testing.assert_allclose(found, X @ model.shared_coef_ + model.shared_intercept_)
    assert np.isfinite(std).all()
    with pytest.raises(ValueError, match=r"loss='gamma' of the new task, but .* 'log_loss' and"):
        model.adapt(X[own], y[own], loss="gamma")
    with pytest.raises(ValueError, match="loss='log_loss' is for targets of 0 and 1, but y has"):
        model.adapt(X[own], y[own], loss="log_loss")
    with pytest.raises(ValueError, match="loss='poisson' is for counts, but y has the value -"):
        model.adapt(X[own], -y[own], loss="poisson")


def test_without_numbers(table):
    """An unseen task has the loss of most tasks if none has squared errors."""
    X, y, task, kind = table
    rest = (kind != "squared_error") & (task != "log_loss 2")
    losses = {label: k for label, k in LOSS.items() if label != "log_loss 2"}
    model = MultiTaskRegressor(FIXED, loss=losses, cv=None).fit(X[rest], y[rest], task=task[rest])
    with pytest.warns(UnknownTaskWarning):
        found = model.predict(X, task="another")
    np.testing.assert_allclose(found, np.exp(X @ model.shared_coef_ + model.shared_intercept_))
    with pytest.raises(ValueError, match="fitted with loss='log_loss' and 'poisson'; fit two"):
        model.predict(X[rest], task=task[rest], return_std=True)


def test_two_losses_of_one_name(table):
    X, y, task, _ = table
    losses = {label: Quantile(0.1) for label in LOSS}
    losses.update({f"squared_error {i}": Quantile(0.9) for i in range(3)})
    model = MultiTaskRegressor(FIXED, loss=losses, cv=None, tol=1e-3).fit(X, y, task=task)
    assert set(model.sharing_.alpha_) == {"Quantile(level=0.1)", "Quantile(level=0.9)"}
    with pytest.raises(ValueError, match=r"Quantile\(level=0.1\) and .*0.9\); give one of these"):
        model.adapt(X[:30], y[:30], loss="quantile")
    assert np.isfinite(model.adapt(X[:30], y[:30], loss=Quantile(0.9)).coef_).all()
    mixed = {label: Huber() for label in LOSS}
    model = MultiTaskRegressor(FIXED, loss=mixed, cv=None).fit(X, y, task=task)
    assert model.loss_["poisson 0"].delta > 0  # chosen by the fit
    assert np.isfinite(model.adapt(X[:30], y[:30], loss="huber").coef_).all()


def test_a_custom_splitter_sees_the_rows_of_the_table(table):
    X, y, task, kind = table
    cv = KFold(3, shuffle=True, random_state=0)
    model = MultiTaskRegressor("partial_pooling", loss=LOSS, cv=cv).fit(X, y, task=task)
    own = np.flatnonzero(kind == "poisson")
    place = {row: i for i, row in enumerate(own)}
    splits = [
        tuple(np.array([place[r] for r in side if r in place]) for side in split)
        for split in cv.split(X)
    ]
    one = MultiTaskRegressor("partial_pooling", loss="poisson", cv=splits)
    one.fit(X[own], y[own], task=task[own])
    places = [model.tasks_.tolist().index(label) for label in one.tasks_]
    np.testing.assert_allclose(model.coef_[places], one.coef_, rtol=1e-10)


@pytest.mark.parametrize("task_weight", ["balanced", {"log_loss 0": 4.0}, "uncertainty"])
def test_weights_of_tasks(table, model, task_weight):
    X, y, task, kind = table
    kept = (np.arange(270) % 4 > 0) | (task != "log_loss 0")
    options = {"loss": LOSS, "cv": 2}
    X, y, task, kind = X[kept], y[kept], task[kept], kind[kept]
    found = MultiTaskRegressor("partial_pooling", task_weight=task_weight, **options)
    found.fit(X, y, task=task)
    plain = MultiTaskRegressor("partial_pooling", **options).fit(X, y, task=task)
    answers = np.array([label.startswith("log") for label in found.tasks_])
    changed = np.abs(found.coef_ - plain.coef_).max(axis=1) > 1e-8
    assert changed[answers].all() == (task_weight != "uncertainty")
    if task_weight == "uncertainty":
        numbers = np.array([label.startswith("sq") for label in found.tasks_])
        assert (found.task_noise_[numbers] > 4.0).all()
        assert np.isnan(found.task_noise_[~numbers]).all()
    if isinstance(task_weight, dict):
        zero = dict.fromkeys([f"log_loss {i}" for i in range(3)], 0.0)
        with pytest.raises(
            ValueError, match="zero for all tasks that have rows and loss=.log_loss."
        ):
            found.set_params(task_weight=zero).fit(X, y, task=task)


def test_tasks_without_rows(table):
    X, y, task, kind = table
    weight = (task != "squared_error 1").astype(float)
    model = MultiTaskRegressor(FIXED, loss=LOSS, cv=None)
    model.fit(X, y, task=task, sample_weight=weight)
    t = model.tasks_.tolist().index("squared_error 1")
    np.testing.assert_array_equal(model.coef_[t], model.shared_coef_)
    assert model.loss_["squared_error 1"] is SQUARED_ERROR
    found = model.predict(X, task=task)
    assert (found[kind == "log_loss"] < 1).all() and (found[kind == "poisson"] > 0).all()


def test_copies_of_the_model(table, model):
    X, y, task, _ = table
    wanted = model.predict(X, task=task)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X, task=task), wanted)
    again = clone(model).fit(X, y, task=task)
    np.testing.assert_array_equal(again.predict(X, task=task), wanted)
    frame = pd.DataFrame(X, columns=list("abc")).assign(which=task)
    search = GridSearchCV(
        MultiTaskRegressor(FIXED, task_column="which", loss=LOSS, cv=None),
        {"sharing": [FIXED, Independent(5.0)]}, cv=2, error_score="raise",
    )  # fmt: skip
    assert np.isfinite(search.fit(frame, y).cv_results_["mean_test_score"]).all()


def test_units_of_the_numbers_change_nothing(table):
    X, y, task, kind = table
    options = {"sharing": "partial_pooling", "loss": LOSS, "cv": 2}
    numbers = kind == "squared_error"
    one = MultiTaskRegressor(**options).fit(X, y, task=task)
    other = MultiTaskRegressor(**options).fit(X, np.where(numbers, 1e4 * y - 3.0, y), task=task)
    wanted = one.predict(X, task=task)
    wanted = np.where(numbers, 1e4 * wanted - 3.0, wanted)
    np.testing.assert_allclose(other.predict(X, task=task), wanted, rtol=1e-7)


def test_log_losses_of_a_regressor_are_those_of_the_classifier(table):
    X, y, task, kind = table
    own = kind == "log_loss"
    X, y, task = X[own], y[own], task[own]
    model = MultiTaskRegressor(loss="log_loss", cv=2).fit(X, y, task=task)
    classes = MultiTaskClassifier("partial_pooling", cv=2).fit(X, y, task=task)
    wanted = classes.predict_proba(X, task=task)
    np.testing.assert_allclose(model.predict_proba(X, task=task), wanted, rtol=1e-10)
    assert model.loss_ is LOG_LOSS and "log_loss" in str(model.summary())
    deviance = log_loss(y, np.full(90, y.mean()))
    share = 1.0 - log_loss(y, model.predict(X, task=task)) / deviance
    assert model.score(X, y, task=task) == pytest.approx(share)


WRONG = {
    "groupings": ({"grouping_columns": 2}, "cannot be combined with grouping_columns=2; set"),
    "moments": ({"keep_moments": True}, "cannot be combined with keep_moments=True; set"),
    "tree": (
        {"sharing": TaskTree(groups={"poisson 0": "a"})},
        "cannot be combined with sharing=TaskTree; set",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_leaves_a_fitted_model_alone(table, model, name):
    X, y, task, _ = table
    params, message = WRONG[name]
    other = pickle.loads(pickle.dumps(model)).set_params(**params)
    with pytest.raises(ValueError, match=message):
        other.fit(X, y, task=task)
    other.set_params(**{key: model.get_params()[key] for key in params})
    np.testing.assert_array_equal(other.predict(X, task=task), model.predict(X, task=task))


def test_wrong_targets_name_the_task(table):
    X, y, task, kind = table
    model = MultiTaskRegressor(FIXED, loss=LOSS, cv=None)
    with pytest.raises(ValueError, match=r"task 'poisson \d': loss='poisson' is for counts"):
        model.fit(X, np.where(kind == "poisson", -1.0, y), task=task)
    with pytest.raises(ValueError, match="task 'log_loss 0': loss='log_loss' is for targets"):
        model.fit(X, np.where(task == "log_loss 0", 2.0, y), task=task)
    with pytest.raises(AttributeError, match="needs all rows at once, so there is no partial_fit"):
        model.partial_fit(X, y, task=task)


@pytest.mark.parametrize("loss", ["poisson", LOSS])
def test_a_further_learner_is_for_squared_errors(table, loss):
    """It must not be fitted to squares instead."""
    X, y, task, _ = table
    model = MultiTaskRegressor(loss=loss, estimator=Ridge())
    with pytest.raises(ValueError, match="cannot be combined with estimator=Ridge"):
        model.fit(X, y, task=task)


def test_splits_without_rows_of_a_loss_are_left_out(table):
    X, y, task, kind = table
    order = np.argsort(kind, kind="stable")
    X, y, task, kind = X[order], y[order], task[order], kind[order]
    model = MultiTaskRegressor("partial_pooling", loss=LOSS, cv=KFold(6)).fit(X, y, task=task)
    assert np.isfinite(model.predict(X, task=task)).all()
    some = np.ones(270, dtype=bool)
    some[np.flatnonzero(kind == "poisson")[3:]] = False
    model = MultiTaskRegressor("partial_pooling", loss=LOSS)
    with pytest.raises(ValueError, match=r"tasks with loss='poisson': Found 3 sample\(s\)"):
        model.fit(X[some], y[some], task=task[some])


def test_scores_of_models_of_tasks(table, model):
    X, y, task, _kind = table
    for label in ("poisson 1", "log_loss 1", "squared_error 1"):
        own = task == label
        wanted = model.score(X[own], y[own], task=label)
        assert model.for_task(label).score(X[own], y[own]) == pytest.approx(wanted)
    one = MultiTaskRegressor(FIXED, cv=None, loss="log_loss").fit(X[own], (y[own] > 50)[:, None])
    wanted = one.score(X[own], (y[own] > 50)[:, None].astype(float))
    assert one.score(X[own], (y[own] > 50).astype(float)) == pytest.approx(wanted)
