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
    NoiseLevels,
    TaskFactors,
    balanced_factors,
    fit_with_noise,
    given_factors,
    noise_levels,
)


def table_of(rng, factors, n=60):
    codes = np.r_[0:3, rng.integers(3, size=n - 3)]
    X, y, w = rng.normal(size=(n, 2)), rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    return replace(pack(X, y, codes, 3, w), factors=factors)


def test_factors_by_hand(rng):
    rows, std = rng.uniform(1.0, 50.0, 7), np.exp(rng.normal(size=7))
    np.testing.assert_allclose(balanced_factors(rows).values, reference.balanced_factors(rows))
    found = NoiseLevels(std**2).factors(rows, tuned=False).values
    np.testing.assert_allclose(found, reference.noise_factors(std, rows))
    given = TaskFactors(rng.uniform(size=7)).normalised(rows)
    assert rows @ given.values == pytest.approx(rows.sum())


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
    moved = np.array([1.0, 1.02, 0.98]) ** 2

    def fit(factors):
        calls.append(factors)
        return SimpleNamespace(variance=truth**2 * (1.0 if factors is None else moved))

    def noise_of(fitted):
        return NoiseLevels(fitted.variance)

    fitted, noise = fit_with_noise(fit, noise_of, rows, lambda text: None, tuned=False)
    assert len(calls) == 2 and calls[0] is None
    np.testing.assert_allclose(calls[1].values, reference.noise_factors(truth, rows))
    assert noise is fitted.variance and noise[2] == (16.0 * 0.98) ** 2
    calls.clear()
    fit_with_noise(fit, noise_of, rows, lambda text: None, NoiseLevels(truth**2), tuned=False)
    assert len(calls) == 1  # the levels are as they were
    np.testing.assert_allclose(calls[0].values, reference.noise_factors(truth, rows))

    def alike(factors):
        calls.append(factors)
        return SimpleNamespace(variance=np.array([1.0, 1.1, 1.0]))

    calls.clear()
    fit_with_noise(alike, noise_of, rows, lambda text: None)
    assert calls == [None]


def test_factors_keep_tuned_strengths_in_reach(rng):
    """Slopes that differ much need strengths below one row of the quiet tasks."""
    std, rows = np.repeat([0.1, 3.0], 10), np.full(20, 30.0)
    plain = NoiseLevels(std**2).factors(rows, tuned=False).values
    assert plain.max() == 1.0
    for slopes in (1e-6, 0.01, 0.3, 3.0, 1e4):
        factors = NoiseLevels(std**2, slopes / std**2).factors(rows).values
        np.testing.assert_allclose(factors / factors[0], plain / plain[0])
        strength = factors[0] * std[0] ** 2 / slopes  # that of most likelihood
        assert strength > 0.999 or factors.min() == pytest.approx(1.0)
        assert factors.min() <= 1.0 + 1e-9
        if strength > 1.001:
            np.testing.assert_allclose(factors, plain)
    unknown = NoiseLevels(std**2).factors(rows).values
    assert unknown.min() == pytest.approx(1.0)


def test_noise_levels_of_least_squares(rng):
    """The errors of the model are in the held-out errors, but not in the noise level."""
    n, p, found = 40, 8, []
    X = rng.normal(size=(n, p))
    hat = X @ np.linalg.solve(X.T @ X, X.T)
    for _ in range(400):
        residual = rng.normal(size=n)
        residual = residual - hat @ residual
        training, held_out = np.mean(residual**2), np.mean((residual / (1.0 - np.diag(hat))) ** 2)
        found.append([*noise_levels(*np.array([[held_out], [training], [40.0]])), held_out])
    assert np.mean(found, axis=0)[0] == pytest.approx(1.0, abs=0.06)
    assert np.mean(found, axis=0)[1] > 1.15


@pytest.mark.parametrize("spread", [0.4, 2.0])
def test_noise_levels_are_shrunk(spread, rng):
    """As the slow counterpart; nearer to the truth than each task's own."""
    rows = rng.integers(4, 30, size=40).astype(float)
    truth = np.exp(spread * rng.normal(size=40))
    held_out = truth * rng.chisquare(rows) / rows
    found = noise_levels(held_out, held_out, rows)
    np.testing.assert_allclose(found, reference.noise_levels(held_out, held_out, rows), rtol=1e-4)
    training = held_out * rng.uniform(0.3, 0.9, 40)
    wanted = reference.noise_levels(held_out, training, rows)
    np.testing.assert_allclose(noise_levels(held_out, training, rows), wanted, rtol=1e-4)
    assert np.std(np.log(found / truth)) < np.std(np.log(held_out / truth))


def test_chance_makes_no_weights(rng):
    """Two tasks of ten rows, and many: their levels are mostly those of one level."""
    for n_tasks, least in ((2, 0.75), (30, 0.75)):
        alike = []
        for _ in range(200):
            error = rng.chisquare(10.0, size=n_tasks) / 10.0
            found = noise_levels(error, error, np.full(n_tasks, 10.0))
            alike.append(np.ptp(np.log(found)) < 1e-9)
        assert np.mean(alike) > least


def test_noise_levels_without_held_out_rows():
    rows = np.full(3, 1e4)
    found = noise_levels(np.array([np.nan, 4.0, 16.0]), np.array([1.0, 4.0, 16.0]), rows)
    np.testing.assert_allclose(found[1:], [4.0, 16.0], rtol=1e-2)
    assert 4.0 < found[0] < 16.0
    np.testing.assert_array_equal(noise_levels(np.zeros(2), np.zeros(2), np.ones(2)), np.ones(2))
    exact = noise_levels(np.array([0.0, 1e-30, 1.0, 1.0]), np.zeros(4), np.full(4, 50.0))
    assert np.isfinite(np.log(exact)).all()
