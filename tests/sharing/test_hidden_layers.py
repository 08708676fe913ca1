"""Hidden layers that tasks share, behind the estimator."""

import builtins
import pickle
import re
import warnings

import checks
import numpy as np
import pytest
from scipy import sparse

from skmtl import MultiTaskRegressor
from skmtl._compiling import notify_of_compiling
from skmtl.base import UnknownTaskWarning
from skmtl.sharing import SharedHiddenLayers
from skmtl.sharing.layers_learner import LayersLearner

pytestmark = pytest.mark.jit

N_TASKS = 8


@pytest.fixture(scope="module")
def tables():
    """Tasks that are linear in the same six hidden units; the last one is new."""
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(900, 3)), rng.integers(N_TASKS, size=900)
    units = np.tanh(1.5 * X @ rng.normal(size=(3, 6)))
    heads = rng.normal(size=(N_TASKS, 6))
    y = (units * heads[task]).sum(1) + rng.normal(size=N_TASKS)[task] + 0.2 * rng.normal(size=900)
    parts = np.select([task == N_TASKS - 1, np.arange(900) < 650], ["new", "train"], "test")
    return {name: (X[parts == name], task[parts == name], y[parts == name]) for name in set(parts)}


@pytest.fixture(scope="module")
def model(tables):
    X, task, y = tables["train"]
    return MultiTaskRegressor(SharedHiddenLayers((16, 8)), cv=3).fit(X, y, task=task)


def error(model, X, task, y):
    return np.mean((model.predict(X, task=task) - y) ** 2)


def test_layers_are_shared(tables, model):
    X, task, y = tables["train"]
    linear = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    assert error(model, *tables["test"]) < 0.5 * error(linear, *tables["test"])
    assert model.member_report_["member"].tolist() == ["hidden_layers"]
    low, high = model.predict_interval(tables["test"][0], 0.9, task=tables["test"][1])
    assert 0.8 < np.mean((low <= tables["test"][2]) & (tables["test"][2] <= high)) < 0.97
    with pytest.raises(AttributeError, match="no coef_, because the fit is not linear"):
        model.coef_  # noqa: B018


def test_a_new_task_gets_a_head_of_its_own(tables, model):
    X, _, y = tables["new"]
    adapted = model.adapt(X[:30], y[:30])
    found = adapted.predict(X[30:])
    linear = MultiTaskRegressor("partial_pooling").fit(
        *tables["train"][::2], task=tables["train"][1]
    )
    wanted = linear.adapt(X[:30], y[:30]).predict(X[30:])
    assert np.mean((found - y[30:]) ** 2) < np.mean((wanted - y[30:]) ** 2)
    with pytest.warns(UnknownTaskWarning):
        unseen = model.predict(X[30:], task=np.full(len(X) - 30, N_TASKS - 1))
    assert np.mean((found - y[30:]) ** 2) < 0.5 * np.mean((unseen - y[30:]) ** 2)
    again = pickle.loads(pickle.dumps(adapted))
    np.testing.assert_array_equal(again.predict(X[30:]), found)


def test_one_task_is_that_of_the_table(tables, model):
    X, task, _ = tables["test"]
    own = model.for_task(2).predict(X[task == 2])
    wanted = model.predict(X[task == 2], task=task[task == 2])
    np.testing.assert_allclose(own, wanted, rtol=1e-5, atol=1e-6)  # layers in single precision


def test_order_and_names_change_nothing(tables):
    X, task, y = (part[:200] for part in tables["train"])
    rng = np.random.default_rng(1)
    order, sharing = rng.permutation(200), SharedHiddenLayers((4,), max_iter=20)
    wanted = MultiTaskRegressor(sharing, cv=3).fit(X, y, task=task).predict(X, task=task)
    found = MultiTaskRegressor(sharing, cv=3).fit(X[order], y[order], task=task[order])
    np.testing.assert_allclose(found.predict(X, task=task), wanted, **checks.CLOSE)
    other = MultiTaskRegressor(sharing, cv=3, random_state=5).fit(X, y, task=task)
    assert (other.predict(X, task=task) != wanted).any()


def test_history_has_a_training_curve_of_every_split(model):
    history = model.history_
    assert set(history) == {"split", "epoch", "train_loss", "validation_loss", "alpha", "kept"}
    splits = np.unique(history["split"])
    assert splits.tolist() == list(range(1, len(splits) + 1)) and len(splits) % 3 == 0
    for split in splits:
        curve = {name: column[history["split"] == split] for name, column in history.items()}
        assert (np.diff(curve["epoch"]) > 0).all() and np.isfinite(curve["train_loss"]).all()
        assert curve["kept"].sum() == 1 and len(set(curve["alpha"])) == 1
        assert curve["validation_loss"].argmin() == np.flatnonzero(curve["kept"])
        assert curve["validation_loss"].min() < 0.5 * curve["validation_loss"][0]
    parts = model._learned.members[0].model.parts
    assert len(parts) == len(splits) and not any(part.layers.history for _, part in parts)


def test_history_of_noise(tables):
    X, task, y = (part[:150] for part in tables["train"])
    sharing = SharedHiddenLayers((4,), task_noise="per_task", max_iter=5, alpha=1.0)
    few = MultiTaskRegressor(sharing, cv=2).fit(X, y, task=task).history_
    assert few["task_noise"].shape == (len(few["epoch"]), N_TASKS - 1)
    assert (few["task_noise"] > 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly as many tasks as rows
        many = MultiTaskRegressor(sharing, cv=2).fit(X, y, task=np.arange(150) % 130).history_
    assert "task_noise" not in many
    quantiles = many["task_noise_quantiles"]
    assert quantiles.shape == (len(many["epoch"]), 5) and (np.diff(quantiles) >= 0).all()


def test_progress_is_printed(tables, capsys):
    X, task, y = (part[:150] for part in tables["train"])
    sharing = SharedHiddenLayers((4,), max_iter=30, alpha=1.0)
    model = MultiTaskRegressor(sharing, cv=2, verbose=1).fit(X, y, task=task)
    lines = [line for line in capsys.readouterr().out.splitlines() if "validation loss" in line]
    found = [
        tuple(map(int, re.search(r"split (\d+), epoch (\d+)", line).groups())) for line in lines
    ]
    history = model.history_
    rows = [np.flatnonzero(history["split"] == s)[::10] for s in np.unique(history["split"])]
    rows = np.concatenate(rows)
    assert found == list(zip(history["split"][rows], history["epoch"][rows], strict=True))


def test_an_interrupted_fit_changes_nothing(tables, monkeypatch):
    X, task, y = (part[:150] for part in tables["train"])
    sharing = SharedHiddenLayers((4,), max_iter=30, alpha=1.0)
    model = MultiTaskRegressor(sharing, cv=2, verbose=1).fit(X, y, task=task)
    before = model.predict(X, task=task)

    def press(text):
        if "split 2, epoch" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(builtins, "print", press)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, -y, task=task)
    notify_of_compiling(None)
    np.testing.assert_array_equal(model.predict(X, task=task), before)


def test_targets_in_two_dimensions(tables):
    X, _task, _y = tables["train"]
    Y = np.column_stack([X[:, 0] ** 2, X[:, 0] ** 2 + X[:, 1]])
    Y = Y + 0.1 * np.random.default_rng(2).normal(size=Y.shape)
    Y[::3, 1] = np.nan
    model = MultiTaskRegressor(SharedHiddenLayers((16,), task_noise="per_task"), cv=3).fit(X, Y)
    assert model.predict(X).shape == Y.shape and model.score(X, Y) > 0.8


WRONG = {
    "widths": ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes=.0,. must be a sequence"),
    "no widths": ({"hidden_layer_sizes": ()}, "hidden_layer_sizes=.. must be a sequence"),
    "activation": ({"activation": "step"}, "activation='step' is unknown"),
    "alpha": ({"alpha": -1.0}, "alpha=-1.0 must be 'auto' or a number"),
    "noise": ({"task_noise": "learned"}, "task_noise='learned' is unknown"),
    "epochs": ({"max_iter": 0}, "max_iter=0 must be a whole number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters(tables, name):
    params, match = WRONG[name]
    with pytest.raises(ValueError, match=match):
        MultiTaskRegressor(SharedHiddenLayers(**params)).fit(*tables["train"][::2])


def test_sparse_rows_are_refused(tables):
    X, task, y = tables["train"]
    with pytest.raises(ValueError, match="sparse"):
        MultiTaskRegressor("hidden_layers").fit(sparse.csr_matrix(X), y, task=task)


# ---------------------------------------------------------------- the learner: losses and weights


@pytest.fixture(scope="module")
def mixed():
    """Tasks of numbers (even codes) and classes (odd ones) that are linear in the same units."""
    rng = np.random.default_rng(3)
    n_tasks, first = 24, 1.5 * rng.normal(size=(4, 4))
    heads = 2.0 * rng.normal(size=(n_tasks, 4))

    def draw(n):
        X, task = rng.normal(size=(n * n_tasks, 4)), np.repeat(np.arange(n_tasks), n)
        scores = (np.tanh(X @ first) * heads[task]).sum(axis=1)
        noisy = scores + np.where(task % 2, rng.logistic(size=len(X)), rng.normal(size=len(X)))
        y = np.where(task % 2, noisy > 0, noisy)
        return np.column_stack([X, task]), y, scores

    return draw(40), draw(200)


MIXED = {code: "log_loss" if code % 2 else "squared_error" for code in range(24)}


def fitted(rows, **params):
    M, y, _ = rows
    learner = LayersLearner({"hidden": (24, 12)}, **params)
    return learner.fit(M, np.zeros(M.shape[1], bool), y, np.ones(len(y)), None, 0)


def losses_of(found, rows):
    """Return the mean loss of numbers, as a share of the variance, and of classes."""
    M, y, scores = rows
    classes = M[:, -1] % 2 == 1
    squares = np.mean((found - scores)[~classes] ** 2) / scores[~classes].var()
    sign = np.where(y[classes] > 0.5, -1.0, 1.0)
    return np.array([squares, np.logaddexp(0.0, sign * found[classes]).mean()])


@pytest.mark.parametrize("task_weight", [None, "balanced", "uncertainty"])
def test_mixed_tasks_are_better_together(mixed, task_weight):
    train, test = mixed
    together = losses_of(fitted(train, loss=MIXED, task_weight=task_weight).predict(test[0]), test)
    found = np.empty(len(test[1]))
    for code in range(24):
        chosen, tested = (M[:, -1] == code for M in (train[0], test[0]))
        own = fitted([part[chosen] for part in train], loss=MIXED)
        found[tested] = own.predict(test[0][tested])
    assert (together < losses_of(found, test) * [0.8, 0.95]).all()


def test_scores_of_classes_are_log_odds(mixed):
    (M, y, _), (M_test, _, scores) = mixed
    odd = M[:, -1] % 2 == 1
    model = fitted((M[odd], y[odd], None), loss="log_loss")
    chosen = M_test[:, -1] % 2 == 1
    found = model.predict(M_test[chosen])
    share = 1.0 / (1.0 + np.exp(-found))
    wanted = 1.0 / (1.0 + np.exp(-scores[chosen]))
    assert np.corrcoef(share, wanted)[0, 1] > 0.75 and abs((share - wanted).mean()) < 0.05
    support = M[~odd][:40], (M[~odd][:40, 0] > 0).astype(float), np.ones(40)
    new = model.adapted(*support).predict(M[~odd])
    assert np.isfinite(new).all() and np.corrcoef(new[:40], support[1])[0, 1] > 0.3
    np.testing.assert_array_equal(new, model.adapted(*support, "log_loss").predict(M[~odd]))
    # The same as probabilities, as learners of classes predict them.
    learner = LayersLearner({"hidden": (24, 12)})
    both = learner.fit(M[odd], None, y[odd], np.ones(odd.sum()), None, 0, 2)
    found_both = both.predict(M_test[chosen])
    np.testing.assert_allclose(found_both, np.column_stack([1.0 - share, share]), atol=1e-12)
    assert both.adapted(*support).predict(M).shape == (len(M), 2)
    with pytest.raises(ValueError, match="support two classes, not 3"):
        learner.fit(M[odd], None, y[odd], np.ones(odd.sum()), None, 0, 3)
    assert set(model.layers.history) == {"epoch", "train_loss", "validation_loss"}


def test_uncertainty_learns_the_noise_of_each_task(mixed):
    model = fitted(mixed[0], loss=MIXED, task_weight="uncertainty")
    assert model.noise.shape == (24,) and len(np.unique(model.noise)) == 24
    assert model.layers.history["task_noise"].shape[1] == 24
    np.testing.assert_array_equal(fitted(mixed[0], loss=MIXED).noise[1::2], 1.0)
    with pytest.raises(ValueError, match="tasks have different losses; give loss, one of"):
        model.adapted(mixed[0][0][:5], mixed[0][1][:5], np.ones(5))


def test_weights_of_tasks(mixed):
    (M, y, _), _ = mixed
    few = M[:, -1] < 2
    M, y = M[few], y[few]
    chosen = np.arange(50)  # a task of 40 rows, one of 10
    rows = M[chosen], y[chosen], None
    loss = {0: "squared_error", 1: "log_loss"}
    balanced = fitted(rows, loss=loss, task_weight="balanced").predict(M)
    by_hand = fitted(rows, loss=loss, task_weight={0: 1.0, 1: 4.0}).predict(M)
    np.testing.assert_array_equal(balanced, by_hand)  # only ratios count
    np.testing.assert_array_equal(fitted(rows, loss=loss, task_weight={1: 4.0}).predict(M), by_hand)
    assert not np.array_equal(fitted(rows, loss=loss).predict(M), by_hand)


WRONG_TASKS = {
    "loss": ({"loss": "hinge"}, "loss='hinge' is unknown"),
    "missing loss": ({"loss": {0: "log_loss"}}, "loss=None is unknown"),
    "targets": ({"loss": "log_loss"}, "task 0 has loss='log_loss', but the target"),
    "weight": ({"loss": MIXED, "task_weight": "equal"}, "task_weight='equal' is unknown"),
    "number": ({"loss": MIXED, "task_weight": {3: -1.0}}, "task_weight of task 3 is -1.0"),
    "nan": ({"loss": MIXED, "task_weight": {0: np.nan}}, "task_weight of task 0 is nan"),
}


@pytest.mark.parametrize("name", WRONG_TASKS)
def test_wrong_losses_and_weights(mixed, name):
    params, match = WRONG_TASKS[name]
    with pytest.raises(ValueError, match=match):
        fitted(mixed[0], **params)


CONFIGURATIONS = {
    "hidden layers": MultiTaskRegressor(SharedHiddenLayers((4,), alpha=1.0, max_iter=5), cv=2)
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)
