"""Weights of tasks: factors, and their place in tables and moments."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import reference

from skmtl.tasks.encode import TaskLabels, by_task
from skmtl.tasks.moments import block_moments
from skmtl.tasks.rows import TaskRows
from skmtl.tasks.table import pack
from skmtl.tasks.task_weights import (
    TaskFactors,
    balanced_factors,
    fit_with_noise,
    given_factors,
    noise_factors,
    noise_levels,
)


def table_of(rng, factors, n=60):
    codes = np.r_[0:3, rng.integers(3, size=n - 3)]
    X, y, w = rng.normal(size=(n, 2)), rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    return replace(pack(X, y, codes, 3, w), factors=factors)


def test_factors_by_hand(rng):
    rows, std = rng.uniform(1.0, 50.0, 7), np.exp(rng.normal(size=7))
    np.testing.assert_allclose(balanced_factors(rows).values, reference.balanced_factors(rows))
    np.testing.assert_allclose(noise_factors(std, rows).values, reference.noise_factors(std, rows))
    given = TaskFactors(rng.uniform(size=7)).normalised(rows)
    assert rows @ given.values == pytest.approx(rows.sum())


def test_tasks_without_noise_have_bounded_factors():
    values = noise_factors(np.array([0.0, 1.0, 1.0]), np.full(3, 5.0)).values
    assert np.isfinite(values).all() and values[0] > 1e4
    np.testing.assert_array_equal(noise_factors(np.zeros(3), np.full(3, 5.0)).values, np.ones(3))


def test_only_noise_depends_on_units(rng):
    values, scale = rng.uniform(1.0, 2.0, 4), np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(TaskFactors(values).in_units(scale).values, values)
    np.testing.assert_array_equal(
        TaskFactors(values, of_noise=True).in_units(scale).values, values * scale**2
    )


@pytest.mark.parametrize("values", [[0.3, 2.0, 5.0], [0.0, 1.0, 2.0]])
@pytest.mark.parametrize("as_rows", [False, True])
def test_weighted_moments_are_those_of_weighted_rows(values, as_rows, rng):
    table = table_of(rng, TaskFactors(np.array(values)))
    block = rng.integers(2, size=len(table.y))
    if as_rows:
        found = TaskRows.of(table, block).merge(np.array([True, False])).weighted()
        wanted = TaskRows.of(table.weighted(), block).merge(np.array([True, False]))
    else:
        found = block_moments(table, block, 2).merge(np.array([True, False])).weighted()
        wanted = block_moments(table.weighted(), block, 2).merge(np.array([True, False]))
    np.testing.assert_allclose(found.weight, wanted.weight, rtol=1e-12)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-12, atol=1e-12)
    for t in range(3):
        np.testing.assert_allclose(found.products(t), wanted.products(t), atol=1e-10)
    assert found.factors is None


@pytest.mark.parametrize("as_rows", [False, True])
def test_factors_follow_their_tasks(as_rows, rng):
    table = table_of(rng, TaskFactors(np.array([1.0, 2.0, 3.0]), of_noise=True))
    assert table.take(np.array([0, 2])).factors.values.tolist() == [1.0, 3.0]
    data = TaskRows.of(table) if as_rows else block_moments(table).merge()
    parts = data.take(np.array([2])), data.copy(), data.stretched(np.full(2, 2.0))
    assert [part.factors.values.tolist() for part in parts] == [[3.0], [1.0, 2.0, 3.0]] + [
        [1.0, 2.0, 3.0]
    ]
    inside = data.in_units(np.zeros(3), np.array([1.0, 2.0, 1.0]))
    assert inside.factors.values.tolist() == [1.0, 8.0, 3.0]
    assert block_moments(table).merge(tasks=np.array([1])).factors.values.tolist() == [2.0]


def test_keys_are_found_in_any_order():
    labels = np.array(["south", "east", "north"], dtype=object)
    assert by_task({"north": 1.0, "south": 2.0}, labels, "task_weight") == {2: 1.0, 0: 2.0}
    assert given_factors({"east": 3.0}, labels).tolist() == [1.0, 3.0, 1.0]
    assert by_task({17: 1.0}, TaskLabels.from_rows(np.array([4, 17]))[0], "loss") == {1: 1.0}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"west": 1.0}, "a key of task_weight='west' is not a task"),
        ({"east": -1.0}, "gives task 'east' the weight -1.0; .* at least zero"),
        ({"east": np.nan}, "gives task 'east' the weight nan"),
        ({"east": np.inf}, "gives task 'east' the weight inf"),
        ({"east": True}, "gives task 'east' the weight True"),
        ({"east": "2"}, "gives task 'east' the weight '2'"),
        ({"east": 0.0, "north": 0}, "zero for all tasks; give at least one"),
    ],
)
def test_what_is_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        given_factors(weights, np.array(["east", "north"], dtype=object))


def test_rounds_end_once_noise_levels_settle(rng):
    """The fits that are made if weights hardly change the noise levels, or if these are alike."""
    rows, truth, calls = np.full(3, 10.0), np.array([1.0, 4.0, 16.0]), []

    def fit(factors):
        calls.append(factors)
        return SimpleNamespace(std=truth if factors is None else truth * [1.0, 1.02, 0.98])

    def noise_of(fitted):
        return fitted.std

    fitted, noise = fit_with_noise(fit, noise_of, rows, lambda text: None)
    assert len(calls) == 2 and calls[0] is None
    np.testing.assert_allclose(calls[1].values, reference.noise_factors(truth, rows))
    assert noise is fitted.std and noise[2] == 16.0 * 0.98
    calls.clear()
    fit_with_noise(fit, noise_of, rows, lambda text: None, start=lambda factors: fit(factors))
    assert [call is None for call in calls] == [True, False, False]

    def alike(factors):
        calls.append(factors)
        return SimpleNamespace(std=np.array([1.0, 1.05, 1.0]))

    calls.clear()
    fit_with_noise(alike, noise_of, rows, lambda text: None)
    assert calls == [None]


def test_noise_levels_of_a_linear_smoother(rng):
    """Of a ridge regression with leverages that are all alike: the unbiased estimate."""
    n, p = 40, 8
    X = np.linalg.qr(rng.normal(size=(n, p)))[0] * np.sqrt(n)
    hat, errors = X @ np.linalg.solve(X.T @ X + 20.0 * np.eye(p), X.T), []
    for _ in range(400):
        y = rng.normal(size=n)
        residual = y - hat @ y
        training, held_out = np.mean(residual**2), np.mean((residual / (1.0 - np.diag(hat))) ** 2)
        std = np.sqrt(np.array([held_out]))
        errors.append(noise_levels(std, np.array([held_out]), np.array([training]))[0] ** 2)
    assert np.mean(errors) == pytest.approx(1.0, abs=0.06)


def test_noise_levels_without_held_out_rows():
    found = noise_levels(np.array([2.0, 2.0, 2.0]), np.array([np.nan, 4.0, 4.0]), np.full(3, 0.0))
    assert found[0] == 2.0 and 0.0 < found[1] < 1.0
    found = noise_levels(np.array([2.0]), np.array([4.0]), np.array([5.0]))
    assert found[0] == 2.0
