"""Noise levels of the tasks by the restricted likelihood of their slopes."""

import numpy as np
import pytest
import reference

from skmtl import MultiTaskRegressor
from skmtl.sharing.task_noise import TaskNoise
from skmtl.tasks.moments import block_moments
from skmtl.tasks.table import pack


def draw(rng, n_tasks=12, rows=20, p=3, spread=0.4, ratio=30.0):
    """Return features, target, task, and the noise level of every task."""
    sizes = np.broadcast_to(rows, n_tasks)
    task = np.repeat(np.arange(n_tasks), sizes)
    X = rng.normal(size=(len(task), p)) * np.arange(1.0, p + 1.0)
    slopes = (rng.normal(size=p) + spread * rng.normal(size=(n_tasks, p))) / np.arange(1.0, p + 1.0)
    noise = ratio ** rng.uniform(-0.5, 0.5, size=n_tasks)
    y = 5.0 * rng.normal(size=n_tasks)[task] + (X * slopes[task]).sum(axis=1)
    return X, y + noise[task] * rng.normal(size=len(task)), task, noise


def learn(X, y, task, weight=None):
    table = pack(X, y, task, task.max() + 1, weight)
    return TaskNoise.learn(block_moments(table).merge())


@pytest.mark.parametrize("rows", [20, [3, 5, 40, 9, 4, 60, 12, 15, 8, 25, 30, 6]])
def test_one_more_round_of_the_twin_changes_nothing(rng, rows):
    X, y, task, _ = draw(rng, rows=rows)
    found = learn(X, y, task)
    mean, sampling, log_slopes = reference.task_noise_round(
        X, y, task, np.exp(found.log_variance), np.exp(found.log_slopes)
    )
    told = np.bincount(task) > 4  # with fewer rows than that, the grid bounds the likelihood
    np.testing.assert_allclose(found.log_variance[told], mean[told], atol=0.02)
    np.testing.assert_allclose(found.sampling[told], sampling[told], rtol=0.05, atol=0.01)
    assert (found.sampling[~told] > 2.0).all()
    assert found.log_slopes == pytest.approx(log_slopes, abs=0.02)


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_noise_is_found(rng, spread):
    errors = []
    for _ in range(8):
        X, y, task, noise = draw(rng, spread=spread)
        found = learn(X, y, task)
        z = (found.log_variance - 2.0 * np.log(noise)) / np.sqrt(found.sampling)
        errors.append([np.mean(z), np.std(z)])
    bias, width = np.mean(errors, axis=0)
    assert abs(bias) < 0.3 and width == pytest.approx(1.0, abs=0.25)


def test_few_rows_know_little(rng):
    X, y, task, _ = draw(rng, rows=[2, 3, *[30] * 10])
    found = learn(X, y, task)
    assert (found.sampling[:2] > 0.7).all() and (found.sampling[2:] < 0.2).all()
    X, y, task, _ = draw(rng, n_tasks=6, rows=10, p=15)  # fewer rows than features
    assert np.isfinite(learn(X, y, task).log_variance).all()


def test_units_and_copies(rng):
    X, y, task, _ = draw(rng)
    wanted = learn(X, y, task)
    other = learn(
        np.column_stack([100.0 * X[:, ::-1] - 3.0, np.ones(len(y))]), 10.0 * y + 7.0, task
    )
    np.testing.assert_allclose(other.log_variance, wanted.log_variance + np.log(100.0), atol=1e-6)
    count = 1 + np.arange(len(y)) % 2
    rows = np.repeat(np.arange(len(y)), count)
    copied, weighed = learn(X[rows], y[rows], task[rows]), learn(X, y, task, count.astype(float))
    np.testing.assert_allclose(weighed.log_variance, copied.log_variance, atol=1e-6)


@pytest.mark.parametrize("kind", ["exact", "constant", "one task", "no features"])
def test_odd_tables(rng, kind):
    X, y, task, _ = draw(rng)
    if kind == "exact":
        y = X.sum(axis=1)
    elif kind == "constant":
        y = np.full(len(y), 3.0)
    elif kind == "one task":
        task = np.zeros(len(y), dtype=int)
    else:
        X = np.ones((len(y), 1))
    found = learn(X, y, task)
    assert np.isfinite(found.log_variance).all() and (found.sampling > 0.0).all()
    if kind == "no features":
        plain = [np.log(np.var(y[task == t], ddof=1)) for t in range(12)]
        np.testing.assert_allclose(found.log_variance, plain, atol=0.2)


@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize("ratio", [10.0, 100.0])
def test_errors_are_those_of_known_noise(spread, ratio):
    """Also where slopes differ much: strengths then are far below a row of the quiet tasks."""
    errors, noise = [], 3.0 * np.where(np.arange(16) % 2, 1.0 / ratio, 1.0)
    task = np.repeat(np.arange(16), 40)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, slopes = rng.normal(size=(640, 4)), spread * rng.normal(size=(16, 4))
        mean = (X * slopes[task]).sum(axis=1)
        y = mean + noise[task] * rng.normal(size=640)
        known = {t: 1.0 / level**2 for t, level in enumerate(noise)}
        errors.append([])
        for weight in ("uncertainty", known, None):
            model = MultiTaskRegressor("partial_pooling", task_weight=weight)
            found = model.fit(X, y, task=task).predict(X, task=task)
            errors[-1].append(np.mean((found - mean) ** 2))
    learned, known, plain = np.mean(errors, axis=0)
    assert learned < 1.1 * known and learned < 1.02 * plain
    assert known < 1.1 * plain
