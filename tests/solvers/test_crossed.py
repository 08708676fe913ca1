"""Partial pooling beside crossed groupings, against the dense problem."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from rounding import assert_same_but_rounding
from scipy import sparse

from skmtl._jit import worker_pool
from skmtl.losses import LOG_LOSS
from skmtl.solvers.crossed import CrossedNewton, CrossedSystem
from skmtl.tasks.groupings import Levels
from skmtl.tasks.table import pack

# Strengths on slopes, intercepts and shared slopes, and on the grouping columns.
POOLING = [(5.0, 3.0, 1.0), (np.inf, 0.5, 0.0), (np.inf, np.inf, 2.0), (0.5, np.inf, np.inf)]
STRENGTHS = [(2.0, 0.3), (np.inf, 4.0), (np.inf, np.inf)]


def crossed_table(rng, n=120, p=3, n_tasks=7, weighted=False, form=np.asarray):
    X, codes = rng.normal(size=(n, p)) + 2.0, rng.integers(n_tasks, size=n)
    levels = np.column_stack([rng.integers(11, size=n), 3 * codes // n_tasks])  # crossed; nested
    y = X[:, 0] + rng.normal(size=n_tasks)[codes] + rng.normal(size=11)[levels[:, 0]]
    y += rng.normal(size=n)
    weight = rng.uniform(0.5, 2.0, size=n) if weighted else None
    table = pack(form(X), y, codes, n_tasks, weight)
    sizes = (12, 3)  # a level without rows
    return table, Levels(levels[table.rows], sizes)


def dense(table, levels, centre, scale, pooling, strengths):
    X = table.X.toarray() if sparse.issparse(table.X) else table.X
    Z = (X[table.rows] - centre) * scale
    return reference.crossed_ridge(
        Z, table.y, table.codes, table.n_tasks, levels.codes, levels.sizes, pooling, strengths,
        table.weights(),
    )  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("strengths", STRENGTHS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_it_is_the_dense_ridge(weighted, pooling, strengths, form, rng):
    table, levels = crossed_table(rng, weighted=weighted, form=form)
    centre, scale = np.array([2.0, 1.5, 2.5]), np.array([1.0, 0.5, 2.0])
    system = CrossedSystem(table, levels, centre, scale).factor(*pooling)
    found = system.solve(table.y, strengths, tol=1e-12)
    models = system.fit(table.y - levels.of_rows(found.effects))
    predicted = system.predict(models) + levels.of_rows(found.effects)
    wanted, effects = dense(table, levels, centre, scale, pooling, strengths)
    np.testing.assert_allclose(predicted, wanted, atol=1e-8)
    np.testing.assert_allclose(found.effects, np.concatenate(effects), atol=1e-8)
    assert found.residual <= 1e-10 and (found.n_iter == 0) == np.isinf(strengths).all()


def test_the_certificate_is_the_gradient(rng):
    table, levels = crossed_table(rng, weighted=True)
    system = CrossedSystem(table, levels, np.zeros(3), np.ones(3)).factor(5.0, 3.0, 1.0)
    strengths = np.array([2.0, 0.3])
    rough = system.solve(table.y, strengths, max_iter=2)
    models = system.fit(table.y - levels.of_rows(rough.effects))
    error = table.y - system.predict(models) - levels.of_rows(rough.effects)
    gradient = (
        levels.sums(system.weight * error) - np.repeat(strengths, levels.sizes) * rough.effects
    )
    at_zero = levels.sums(system.weight * system.residuals(table.y))
    assert_same_but_rounding(rough.residual, np.abs(gradient).max() / np.abs(at_zero).max(), 1e3)
    assert 1e-3 < rough.residual and system.solve(table.y, strengths).residual <= 1e-9


def test_starts_and_threads_change_nothing(rng):
    table, levels = crossed_table(rng, n=3000, n_tasks=300)
    system = CrossedSystem(table, levels, np.zeros(3), np.ones(3)).factor(5.0, 3.0, 1.0)
    cold = system.solve(table.y, (2.0, 0.3))
    warm = system.solve(table.y, (2.0, 0.3), start=cold.effects)
    assert warm.n_iter <= 1
    np.testing.assert_allclose(warm.effects, cold.effects, atol=1e-7)
    with worker_pool(2) as executor:
        threaded = CrossedSystem(table, levels, np.zeros(3), np.ones(3), executor)
        found = threaded.factor(5.0, 3.0, 1.0).solve(table.y, (2.0, 0.3))
    np.testing.assert_array_equal(found.effects, cold.effects)


def test_a_target_that_levels_do_not_explain_has_no_effects(rng):
    table, levels = crossed_table(rng)
    system = CrossedSystem(table, levels, np.zeros(3), np.ones(3)).factor(5.0, 3.0, 1.0)
    found = system.solve(np.zeros(len(table.y)), (2.0, 0.3))
    assert not found.effects.any() and found.residual == 0.0


def test_weights_of_tasks_count(rng):
    table, levels = crossed_table(rng)

    class Factors:
        values = rng.uniform(0.2, 3.0, table.n_tasks)

    weighted = replace(table, factors=Factors())
    plain = replace(table, sample_weight=Factors.values[table.codes])
    found = [
        CrossedSystem(one, levels, np.zeros(3), np.ones(3))
        .factor(5.0, 3.0, 1.0)
        .solve(table.y, (2.0, 0.3))
        .effects
        for one in (weighted, plain)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("strengths", STRENGTHS)
def test_the_log_loss_is_minimised(weighted, pooling, strengths, rng):
    table, levels = crossed_table(rng, weighted=weighted)
    table = replace(table, y=(table.y > np.median(table.y)).astype(float))
    centre, scale = np.array([2.0, 1.5, 2.5]), np.array([1.0, 0.5, 2.0])
    system = CrossedNewton(table, levels, centre, scale, LOG_LOSS).factor(*pooling)
    found = system.solve(strengths, tol=1e-9)
    plain = CrossedSystem(table, levels, centre, scale)
    scores = plain.predict(found.models) + levels.of_rows(found.effects)
    Z = (table.X[table.rows] - centre) * scale
    wanted, effects = reference.crossed_logistic(
        Z, table.y, table.codes, table.n_tasks, levels.codes, levels.sizes, pooling, strengths,
        table.weights(),
    )  # fmt: skip
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    np.testing.assert_allclose(found.effects, np.concatenate(effects), atol=1e-5)
    assert found.residual <= 1e-8
    warm = system.solve(strengths, found, tol=1e-9)
    np.testing.assert_allclose(warm.effects, found.effects, atol=1e-6)


def test_separated_classes_have_finite_effects(rng):
    """The penalty holds them; steps are halved where the quadratic model is far off."""
    table, levels = crossed_table(rng)
    table = replace(table, y=(levels.codes[:, 0] > 5).astype(float))
    system = CrossedNewton(table, levels, np.zeros(3), np.ones(3), LOG_LOSS).factor(
        np.inf, np.inf, 1.0
    )
    found = system.solve((1e-3, np.inf))
    assert found.residual <= 1e-6 and np.isfinite(found.effects).all()
    assert found.effects[6:11].min() > found.effects[:6].max()
