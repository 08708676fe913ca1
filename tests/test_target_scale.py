"""Tasks in different units: gains and offsets over decades, with few rows each."""

import numpy as np
import pytest

from skmtl import MultiTaskRegressor
from skmtl.guard.units import Units
from skmtl.metrics import task_score
from skmtl.sharing import PartialPooling
from skmtl.tasks.moments import block_moments
from skmtl.tasks.rows import TaskRows
from skmtl.tasks.table import pack


def sensors(seed=0, n_tasks=12, rows=8, decades=3.0, offset=0.0, noise=0.3):
    """Return training and test rows of sensors with one law but different gains and offsets."""
    rng = np.random.default_rng(seed)
    gain = 10 ** rng.uniform(-decades / 2, decades / 2, size=n_tasks)
    zero, coef = offset * gain * rng.normal(size=n_tasks), rng.normal(size=4)

    def draw(n):
        task = np.repeat(np.arange(n_tasks), n)
        X = rng.normal(size=(len(task), 4))
        signal = X @ coef + 1.0 + noise * rng.normal(size=len(task))
        return X, gain[task] * signal + zero[task], task

    return draw(rows), draw(100)


def nmse(model, X, y, task):
    return task_score(y, model.predict(X, task=task), task=task, metric="nmse")


def errors(configurations, seeds=range(6), **kwargs):
    out, linear = [], {"sharing": "partial_pooling"}
    for seed in seeds:
        (X, y, task), test = sensors(seed, **kwargs)
        models = [MultiTaskRegressor(**linear | c).fit(X, y, task=task) for c in configurations]
        out.append([nmse(model, *test) for model in models])
    return np.mean(out, axis=0)


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_gains_over_three_decades(offset):
    """By macro nMSE, sharing on each sensor's scale beats independent and the table's scale."""
    auto, independent, table, own = errors(
        [{}, {"sharing": "independent"}, {"target_scale": "table"}, {"target_scale": "task"}],
        offset=offset,
    )
    assert auto < 0.85 * independent and auto < 0.9 * table
    assert auto < 1.1 * own


def test_tasks_in_the_same_units_are_left_alone():
    (X, y, task), _ = sensors(decades=0.0)
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    other = MultiTaskRegressor("partial_pooling", target_scale="table").fit(X, y, task=task)
    assert model.target_scale_ == "table"
    np.testing.assert_array_equal(model.coef_, other.coef_)


def test_every_task_may_have_its_own_unit():
    """Other units of the tasks hardly change results except for their units."""
    (X, y, task), (A, _, at) = sensors(decades=1.0, rows=40)
    rng = np.random.default_rng(1)
    gain, zero = 10 ** rng.uniform(-3, 3, size=12), rng.normal(size=12)
    spread = np.array([y[task == t].std() for t in range(12)])
    for sharing in (PartialPooling(alpha=3.0, alpha_shared=1.0), "partial_pooling"):
        model = MultiTaskRegressor(sharing, target_scale="task").fit(X, y, task=task)
        moved = MultiTaskRegressor(sharing, target_scale="task")
        moved.fit(X, gain[task] * (y + zero[task]), task=task)
        got = moved.predict(A, task=at) / gain[at] - zero[at]
        gap = np.abs(got - model.predict(A, task=at)) / spread[at]
        assert np.median(gap) < 0.05 and gap.max() < 0.5


def test_report_and_spread_are_in_the_tasks_units():
    (X, y, task), (A, b, at) = sensors(rows=20)
    model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    assert model.target_scale_ == "task"
    came = np.bincount(at, (b - model.predict(A, task=at)) ** 2) / 100
    for name in ("error_shared", "error_independent"):
        assert np.abs(np.log(model.task_report_[name][:-1] / came)).mean() < 0.6
    low, high = model.predict_interval(A, task=at)
    within = np.bincount(at, (low < b) & (b < high)) / 100
    assert 0.85 < within.mean() < 0.95 and within.min() > 0.6
    # The error of an unseen task is that of an unknown gain.
    report = model.task_report_
    with pytest.warns(UserWarning, match="never seen"):
        unseen = ((y - model.predict(X, task=task + 100)) ** 2).mean()
    assert abs(np.log(report["error_shared"][-1] / unseen)) < 1.0


def test_folds_are_honest():
    """Units are learned in the training rows of each fold: with pure noise there is no gain."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(200), 3)
    y = 10 ** rng.uniform(-1, 1, size=200)[task] * rng.normal(size=600)
    X = rng.normal(size=(600, 2))
    model = MultiTaskRegressor("partial_pooling", target_scale="task").fit(X, y, task=task)
    variance = np.bincount(task, y**2)[:200] / 3
    # Noise cannot be predicted: relative to a task's mean square the error is at least one.
    assert np.exp(np.mean(np.log(model.task_report_["error_shared"][:-1] / variance))) > 0.95


def test_a_new_task_in_units_of_its_own():
    promised, covered = [], []
    for seed in range(6):
        (X, y, task), (A, b, at) = sensors(seed, offset=2.0)
        old = task < 11
        model = MultiTaskRegressor("partial_pooling").fit(X[old], y[old], task=task[old])
        assert model.target_scale_ == "task"
        new = model.adapt(X[~old], y[~old])
        test = A[at == 11], b[at == 11]
        promised.append(1.0 - new.score(*test))
        low, high = new.predict_interval(test[0])
        covered.append(((low < test[1]) & (test[1] < high)).mean())
    assert np.mean(promised) < 0.35
    # With few rows a scale is known only within a factor, so that a single task can be far off.
    assert np.mean(covered) > 0.75 and min(covered) > 0.5


def test_a_2d_target_of_assays():
    """A typical use: rows with labels of many assays, each in its own unit."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    gain = 10 ** rng.uniform(-2, 2, size=15)
    Y = (X @ rng.normal(size=4))[:, None] * gain + 0.5 * gain * rng.normal(size=(30, 15))
    Y[rng.uniform(size=Y.shape) < 0.6] = np.nan
    model = MultiTaskRegressor("partial_pooling").fit(X, Y)
    assert model.target_scale_ == "task"
    assert model.score(X, Y) > 0.5


@pytest.mark.parametrize("scale", ["table", "task"])
def test_partial_fit_and_no_validation(scale):
    (X, y, task), _ = sensors()
    sharing = PartialPooling(alpha=3.0, alpha_shared=1.0)
    model = MultiTaskRegressor(sharing, cv=None, target_scale=scale).fit(X, y, task=task)
    assert model.target_scale_ == scale
    half = np.arange(len(y)) % 2 == 0
    other = MultiTaskRegressor(sharing, cv=None, target_scale=scale)
    other.partial_fit(X[half], y[half], task=task[half])
    other.partial_fit(X[~half], y[~half], task=task[~half])
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-7, atol=1e-9)
    assert MultiTaskRegressor(sharing, cv=None).fit(X, y, task=task).target_scale_ == "table"


def test_other_scales_are_refused():
    (X, y, task), _ = sensors()
    with pytest.raises(ValueError, match="target_scale"):
        MultiTaskRegressor("partial_pooling", target_scale="tasks").fit(X, y, task=task)


# --------------------------------------------------------------------------------- the units


def test_moments_and_rows_in_units_agree():
    (X, y, task), _ = sensors(rows=6)
    table = pack(X, y, task, 12)
    units = Units.learn(block_moments(table).merge())
    assert (units.scale > 0).all()
    moved = pack(X, (y - units.location[task]) / units.scale[task], task, 12)
    wanted = block_moments(moved).merge()
    moments = block_moments(table).merge().in_units(units.location, units.scale)
    rows = TaskRows.of(table).merge().in_units(units.location, units.scale)
    np.testing.assert_allclose(moments.mean, wanted.mean, atol=1e-10)
    np.testing.assert_allclose(moments.scatter, wanted.scatter, atol=1e-8)
    np.testing.assert_allclose(rows.mean, wanted.mean, atol=1e-10)
    np.testing.assert_allclose(rows.target_scatter(), wanted.target_scatter(), atol=1e-8)
    coef = np.random.default_rng(0).normal(size=(12, 4))
    np.testing.assert_allclose(rows.gradient(coef), wanted.gradient(coef), atol=1e-7)


def test_units_are_shrunk_where_rows_are_few():
    rng = np.random.default_rng(0)
    rows = np.r_[np.full(30, 40), np.full(30, 2)]
    task = np.repeat(np.arange(60), rows)
    scale = np.exp(0.8 * rng.normal(size=60))
    y = scale[task] * rng.normal(size=len(task))
    units = Units.learn(block_moments(pack(np.zeros((len(y), 1)), y, task, 60)).merge())
    raw = np.array([y[task == t].std() for t in range(60)])
    log = np.log(units.scale)
    assert log[30:].std() < 0.7 * np.log(raw[30:]).std()
    gap = np.abs(log[:30] - np.log(raw[:30]))
    assert np.median(gap) < 0.03 and gap.max() < 0.4
    again = units.relearned(
        block_moments(pack(np.zeros((len(y), 1)), y, task, 60)).merge().in_units(
            units.location, units.scale
        )
    )  # fmt: skip
    np.testing.assert_allclose(again.scale, 1.0, rtol=1e-9)
    np.testing.assert_allclose(again.location, 0.0, atol=1e-9)


def test_constant_targets_have_a_unit():
    units = Units.learn(
        block_moments(pack(np.zeros((6, 1)), np.ones(6), np.arange(6) // 2, 3)).merge()
    )
    assert np.isfinite(units.scale).all() and (units.scale > 0).all()
