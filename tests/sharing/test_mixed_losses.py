"""Losses that differ by task, through ``loss=`` of the estimator."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.sharing import SharedEstimator, SharedHiddenLayers
from skmtl.solvers.shared_layers import fit_shared_layers

pytestmark = pytest.mark.jit

LOSS = {"sold": "log_loss"}
TASKS = ["price", "sold", "weight"]
# The same fit whose sums are added up in another order.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def quick(max_iter=8, **params):
    return SharedHiddenLayers((4,), alpha=1.0, max_iter=max_iter, **params)


def draw(rng, n=120, n_tasks=3):
    """Return features, target and task: numbers and 0/1 that depend on the same bent feature."""
    X, task = rng.normal(size=(n, 3)), np.array(TASKS, dtype=object)[np.arange(n) % n_tasks]
    score = 4.0 * (np.abs(X[:, 0]) - 0.8)
    y = 100.0 + 5.0 * score + rng.normal(size=n)
    y = np.where(task == "weight", 100.0 - 5.0 * score, y)
    return X, np.where(task == "sold", score + rng.logistic(size=n) > 0, y), task


def fit(X, y, task, **params):
    options = {"sharing": quick(), "loss": LOSS, "cv": 2, **params}
    return MultiTaskRegressor(**options).fit(X, y, task=task)


@pytest.fixture(scope="module")
def table():
    return draw(np.random.default_rng(0))


@pytest.fixture(scope="module")
def model(table):
    return fit(*table)


# ------------------------------------------------------------------------------- predictions


def test_predictions_are_means(table, model):
    X, y, task = table
    found, sold = model.predict(X, task=task), task == "sold"
    assert 0.0 < found[sold].min() < 0.5 < found[sold].max() < 1.0
    assert abs(found[sold].mean() - y[sold].mean()) < 0.2
    assert found[~sold].min() > 60.0 and abs(found[~sold].mean() - y[~sold].mean()) < 5.0
    assert model.member_report_["member"].tolist() == ["hidden_layers"]
    with pytest.raises(AttributeError, match="no coef_, because the fit is not linear"):
        model.coef_  # noqa: B018


def test_a_number_helps_a_yes_or_no(rng):
    """The bend of the features is learned from the number, and a linear model cannot have it."""
    X, y, task = draw(rng, 1200, 2)
    train = (np.arange(1200) < 400) & ((task == "price") | (np.arange(1200) < 120))
    test = (np.arange(1200) >= 400) & (task == "sold")
    sharing = SharedHiddenLayers((16,), alpha=1.0, max_iter=150)
    model = fit(X[train], y[train], task[train], sharing=sharing)
    own = train & (task == "sold")
    linear = LogisticRegression().fit(X[own], y[own]).predict_proba(X[test])[:, 1]
    alone = MultiTaskRegressor(sharing, loss="log_loss", cv=2).fit(X[own], y[own])
    found = log_loss(y[test], model.predict(X[test], task="sold"))
    assert found < 0.85 * log_loss(y[test], linear)
    assert found < log_loss(y[test], alone.predict(X[test]))


def test_one_task_is_that_of_the_table(table, model):
    X, _, task = table
    for label in TASKS:
        one, own = X[task == label], model.for_task(label)
        np.testing.assert_allclose(own.predict(one), model.predict(one, task=label), **ROUNDING)
        again = pickle.loads(pickle.dumps(own))
        np.testing.assert_array_equal(again.predict(one), own.predict(one))


def test_columns_of_y_are_tasks(rng):
    X = rng.normal(size=(60, 2))
    Y = pd.DataFrame({"price": 50.0 + X[:, 0], "sold": X[:, 0] > 0}, dtype=float)
    Y.iloc[::3, 1] = np.nan
    model = MultiTaskRegressor(quick(), loss=LOSS, cv=2).fit(X, Y)
    found, std = model.predict(X, return_std=True)
    assert found.shape == Y.shape and found[:, 0].min() > 40.0
    assert ((found[:, 1] > 0.0) & (found[:, 1] < 1.0)).all()
    assert np.isfinite(std[:, 0]).all() and np.isnan(std[:, 1]).all()
    assert np.isfinite(model.score(X, Y))
    by_number = MultiTaskRegressor(quick(), loss={1: "log_loss"}, cv=2).fit(X, Y.to_numpy())
    np.testing.assert_array_equal(by_number.predict(X), found)


def test_tasks_in_a_column(table, model):
    X, y, task = table
    frame = pd.DataFrame(X, columns=list("abc")).assign(task=task)
    other = MultiTaskRegressor(quick(), task_column="task", loss=LOSS, cv=2).fit(frame, y)
    np.testing.assert_array_equal(other.predict(frame), model.predict(X, task=task))


def test_copies_of_the_model(table, model):
    X, y, task = table
    wanted = model.predict(X, task=task)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X, task=task), wanted)
    unfitted = clone(model)
    assert unfitted.loss == LOSS
    np.testing.assert_array_equal(unfitted.fit(X, y, task=task).predict(X, task=task), wanted)


# ------------------------------------------------------------------------------- invariances


def test_order_and_names_change_nothing(table, model, rng):
    X, y, task = table
    wanted, order = model.predict(X, task=task), rng.permutation(len(y))
    found = fit(X[order], y[order], task[order]).predict(X, task=task)
    np.testing.assert_allclose(found, wanted, **ROUNDING)
    names = {"price": "z", "sold": "y", "weight": "x"}
    other = np.array([names[label] for label in task], dtype=object)
    found = fit(X, y, other, loss={"y": "log_loss"}).predict(X, task=other)
    np.testing.assert_allclose(found, wanted, **ROUNDING)


def test_units_of_the_numbers(table, model):
    X, y, task = table
    sold = task == "sold"
    found = fit(X, np.where(sold, y, 1e3 * y - 7.0), task).predict(X, task=task)
    wanted = model.predict(X, task=task)
    wanted = np.where(sold, wanted, 1e3 * wanted - 7.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_one_loss_for_all_tasks(table):
    X, y, task = table
    plain = fit(X, y, task, loss="squared_error").predict(X, task=task)
    for loss in (dict.fromkeys(TASKS, "squared_error"), {}):
        np.testing.assert_array_equal(fit(X, y, task, loss=loss).predict(X, task=task), plain)
    y = (y > np.median(y)).astype(float)
    named = fit(X, y, task, loss="log_loss")
    found = named.predict(X, task=task)
    assert ((found > 0.0) & (found < 1.0)).all()
    every = fit(X, y, task, loss=dict.fromkeys(TASKS, "log_loss"))
    np.testing.assert_array_equal(every.predict(X, task=task), found)
    with pytest.warns(UnknownTaskWarning):
        unseen = named.predict(X, task="new")
    assert ((unseen > 0.0) & (unseen < 1.0)).all() and np.ptp(unseen) > 0.01
    new = named.adapt(X[:20], y[:20]).predict(X)
    assert ((new > 0.0) & (new < 1.0)).all()
    _, std = named.predict(X, task=task, return_std=True)
    assert np.isnan(std).all()


def test_tasks_without_rows_in_a_fold(rng):
    """A task of one row is held out by a fit that has no head for it."""
    X, y, task = draw(rng)
    task = np.where(np.arange(len(y)) == 1, "rare", task).astype(object)
    model = fit(X, y, task, loss={"sold": "log_loss", "rare": "log_loss"})
    found = model.predict(X, task="rare")
    assert ((found > 0.0) & (found < 1.0)).all()
    assert 0.0 < model.task_report_["error_shared"][list(model.tasks_).index("rare")] < 5.0


# ------------------------------------------------------------------------- errors and weights


def test_errors_are_those_of_the_losses(table, model):
    X, y, task = table
    report = model.task_report_
    assert report["task"].tolist() == [*TASKS, None]
    price, sold, weight, unseen = report["error_shared"]
    assert 0.3 < sold < 0.9 and min(price, weight) > 10.0 and np.isnan(unseen)
    for name in ("error_independent", "error_pooled", "gain_over_pooled"):
        assert np.isnan(report[name]).all()
    assert (report["std_error_shared"][:-1] > 0.0).all()
    np.testing.assert_allclose(report["residual_std"][[0, 2]], np.sqrt([price, weight]), rtol=0.5)
    assert np.isnan(report["residual_std"][[1, 3]]).all()
    low, high = model.predict_interval(X, 0.8, task=task)
    sold = task == "sold"
    assert np.isnan(low[sold]).all() and np.isnan(high[sold]).all()
    assert 0.6 < np.mean(((low <= y) & (y <= high))[~sold]) < 0.97


@pytest.mark.parametrize("task_weight", ["balanced", {"sold": 5.0}, "uncertainty"])
def test_weights_of_tasks(table, model, task_weight):
    X, y, task = table
    few = (np.arange(len(y)) % 4 > 0) | (task != "sold")
    weighted = fit(X[few], y[few], task[few], task_weight=task_weight)
    found, sold = weighted.predict(X, task=task), task == "sold"
    plain = fit(X[few], y[few], task[few]).predict(X, task=task)
    assert ((found[sold] > 0.0) & (found[sold] < 1.0)).all()
    assert np.abs(found - plain)[sold].max() > 1e-4
    assert hasattr(weighted, "task_noise_") == (task_weight == "uncertainty")


def test_noise_of_tasks(rng):
    X, y, task = draw(rng, 300)
    y = y + np.where(task == "weight", 20.0 * rng.normal(size=300), 0.0)
    model = fit(X, y, task, sharing=quick(60), task_weight="uncertainty")
    price, sold, weight = model.task_noise_
    assert weight > 1.5 * price and price < 20.0 < weight + 10.0
    assert 0.5 < sold < 1.3  # the root of twice a log-loss
    assert model.history_["task_noise"].shape[1] == 3


def test_tasks_in_units_of_their_own(rng):
    X, y, task = draw(rng, 300)
    y = np.where(task == "weight", y / 1000.0, y)
    errors = []
    for scale in ("table", "task"):
        model = fit(X, y, task, sharing=quick(60), target_scale=scale)
        assert model.target_scale_ == scale
        errors.append(model.task_report_["error_shared"][2])
    assert errors[1] < 0.5 * errors[0]


def test_weights_of_rows_are_copies(table):
    X, y, task = table
    weight = 1.0 + (np.arange(len(y)) % 3 == 0)
    copies = np.repeat(np.arange(len(y)), weight.astype(int))
    options = {"sharing": quick(), "loss": LOSS, "cv": 2}
    one = MultiTaskRegressor(**options).fit(X, y, task=task, sample_weight=weight)
    other = MultiTaskRegressor(**options).fit(X[copies], y[copies], task=task[copies])
    found, wanted = (m.predict(X, task=task) for m in (one, other))
    np.testing.assert_allclose(found, wanted, **ROUNDING)


# --------------------------------------------------------------------------------- new tasks


def test_a_new_task_of_either_loss(rng):
    X, y, task = draw(rng, 300)
    model = fit(X, y, task, sharing=quick(60))
    price, sold = task == "price", task == "sold"
    number = model.adapt(X[price][:30], y[price][:30])
    found, std = number.predict(X[price], return_std=True)
    assert np.mean((found - y[price]) ** 2) < 0.5 * y[price].var() and (std > 0.0).all()
    low, high = number.predict_interval(X[price], 0.8)
    assert 0.6 < np.mean((low <= y[price]) & (y[price] <= high)) < 1.0
    classes = model.adapt(X[sold][:40], y[sold][:40], loss="log_loss")
    found, std = classes.predict(X[sold], return_std=True)
    assert ((found > 0.0) & (found < 1.0)).all() and np.isnan(std).all()
    rate = np.full(sold.sum(), y[sold].mean())
    assert log_loss(y[sold], found) < log_loss(y[sold], rate)
    again = pickle.loads(pickle.dumps(classes))
    np.testing.assert_array_equal(again.predict(X[sold]), found)
    with pytest.warns(UnknownTaskWarning):
        assert model.predict(X, task="new").min() > 50.0  # a number, not a probability


def test_wrong_new_tasks(table, model):
    X, y, task = table
    with pytest.raises(ValueError, match="new task has loss='log_loss', but y has the value "):
        model.adapt(X[:5], y[:5], loss="log_loss")
    with pytest.raises(ValueError, match="loss='poisson' of the new task, but the tasks of the"):
        model.adapt(X[:5], y[:5], loss="poisson")
    linear = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    with pytest.raises(ValueError, match="all tasks of the fit have 'squared_error'; leave out"):
        linear.adapt(X[:5], y[:5], loss="log_loss")
    found = linear.adapt(X[:5], y[:5], loss="squared_error").predict(X)
    np.testing.assert_array_equal(found, linear.adapt(X[:5], y[:5]).predict(X))


def test_errors_of_a_new_task_leave_its_rows_out(rng):
    X, y = rng.normal(size=(90, 2)), rng.normal(size=90)
    layers = fit_shared_layers(X, y, None, np.array([0, 40, 90]), hidden=(4,), max_iter=5)
    new, target, weight = rng.normal(size=(8, 2)), rng.normal(size=8), rng.uniform(1.0, 2.0, 8)
    found = layers.adapt(new, target, weight).left_out_errors(new, target, weight)
    for i in range(8):
        kept = np.arange(8) != i
        without = layers.adapt(new[kept], target[kept], weight[kept])
        wanted = target[i] - without.predict(new[[i]], np.zeros(1, int))[0]
        assert found[i] == pytest.approx(wanted, abs=1e-6)


# -------------------------------------------------------------------------------- wrong input

WRONG = {
    "target": (
        {"loss": {"price": "log_loss"}},
        "task 'price': loss='log_loss' is for targets of 0 and 1, but",
    ),
    "every target": ({"loss": "log_loss"}, "encode it as 0 and 1, or set the loss of the task"),
    "key": ({"loss": {"sales": "log_loss"}}, "a key of loss='sales' is not a task seen in fit"),
    "name": ({"loss": {"sold": "hinge"}}, "loss gives task 'sold' 'hinge', which is not a loss"),
    "structure": (
        {"sharing": SharedEstimator(LinearRegression())},
        "loss mixes 'log_loss' and 'squared_error': .* with sharing=SharedEstimator minimises "
        "'squared_error'; set loss='squared_error', or sharing='partial_pooling'",
    ),
    "counts": (
        {"loss": {"price": "poisson"}},
        "minimises 'squared_error' and 'log_loss'; set loss=",
    ),
    "noise without folds": ({"task_weight": "uncertainty", "cv": None}, "but cv=None; set cv=5"),
    "no folds": ({"cv": None}, "needs cross-validation, but cv=None"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_leaves_a_fitted_model_alone(table, model, name):
    X, y, task = table
    params, message = WRONG[name]
    other = pickle.loads(pickle.dumps(model)).set_params(**params)
    with pytest.raises(ValueError, match=message):
        other.fit(X, y, task=task)
    other.set_params(**{key: model.get_params()[key] for key in params})
    np.testing.assert_array_equal(other.predict(X, task=task), model.predict(X, task=task))


def test_a_log_loss_task_needs_rows(table):
    X, y, task = table
    with pytest.raises(ValueError, match=re.escape("task 'sold' 'log_loss', but it has no rows")):
        MultiTaskRegressor(quick(), loss=LOSS, cv=2).fit(
            X, y, task=task, sample_weight=(task != "sold").astype(float)
        )
    model = MultiTaskRegressor(quick(), loss=LOSS, cv=2)  # another task does without
    model.fit(X, y, task=task, sample_weight=(task != "weight").astype(float))
    assert model.predict(X, task="weight").min() > 50.0
    assert np.isnan(model.predict(X, task="weight", return_std=True)[1]).all()


def test_classifiers_have_the_log_loss_only(table):
    X, y, task = table
    message = "use MultiTaskRegressor, which takes a loss per task"
    for loss in ({"price": "squared_error"}, "squared_error"):
        with pytest.raises(ValueError, match=message):
            MultiTaskClassifier("hidden_layers", loss=loss).fit(X, y > 0.5, task=task)
