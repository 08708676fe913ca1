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


def test_weights_by_noise_are_nearly_those_of_known_noise():
    """What tasks share is about the same as with the true weights, unlike that of plain rows."""
    gaps = []
    for seed in range(6):
        X, y, task, noise = draw(np.random.default_rng(seed), n_tasks=15, p=6)
        known = {t: 1.0 / level**2 for t, level in enumerate(noise)}
        wanted, found, plain = (
            MultiTaskRegressor("partial_pooling", task_weight=weight).fit(X, y, task=task)
            for weight in (known, "uncertainty", None)
        )
        scale = np.arange(1.0, 7.0)
        gaps.append(
            [np.abs(scale * (m.shared_coef_ - wanted.shared_coef_)).max() for m in (found, plain)]
        )
        np.testing.assert_allclose(np.log(found.task_noise_), np.log(noise), atol=1.2)
    near, far = np.mean(gaps, axis=0)
    assert near < 0.5 * far
