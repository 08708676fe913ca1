"""Newton's method with curvatures kept for many steps, against current ones."""

import numpy as np
import pytest

from skmtl.losses import LOG_LOSS
from skmtl.solvers import newton as room
from skmtl.solvers.newton import NewtonSystem, Scores
from skmtl.tasks.moments import block_moments
from skmtl.tasks.table import pack

STRENGTHS = [(1.0, 0.5, 2.0), (np.inf, 1.0, 1.0), (3.0, np.inf, 0.5)]


def table_of(rng, n_classes, p=6, n=400, n_tasks=5):
    X, codes = rng.normal(size=(n, p)), rng.integers(n_tasks, size=n)
    eta = (X @ rng.normal(size=(p, n_classes))) + rng.normal(size=(n_tasks, n_classes))[codes]
    y = (eta + rng.gumbel(size=eta.shape)).argmax(axis=1).astype(float)
    return pack(X, y, codes, n_tasks, rng.uniform(0.5, 2.0, size=n))


def system_of(table, n_classes, many, monkeypatch, **kwargs):
    monkeypatch.setattr(room, "_MANY_FEATURES", 1 if many else 10**9)
    p = table.n_features
    n_scores = 1 if n_classes == 2 else n_classes
    units = np.full(p, 0.1), np.full(p, 0.8)
    system = NewtonSystem(table, LOG_LOSS, n_scores, *units, np.ones(p), **kwargs)
    assert system.keeps_curvatures == many
    return system


def solve(system, strengths, tol=1e-8, start=None, **kwargs):
    start = start or Scores.zeros(system.n_scores, system.n_tasks, system.n_features)
    return system.solve(strengths, start, tol, 400, **kwargs)


def places(weight, mean):
    """Centres and anchors as for slopes within tasks, about the tasks' means."""
    return 0.7 * mean, np.zeros_like(mean)


@pytest.mark.parametrize("strengths", STRENGTHS)
@pytest.mark.parametrize("about", [None, places])
def test_old_curvatures_lead_to_the_same_solution(strengths, about, rng, monkeypatch):
    n_classes, table = 2, table_of(rng, 2)
    found = []
    for many in (False, True):
        system = system_of(table, n_classes, many, monkeypatch, places=about)
        scores, residual, _ = solve(system, strengths, 1e-7)
        assert residual <= 1e-7
        found.append(scores)
        monkeypatch.undo()
    np.testing.assert_allclose(found[1].coef, found[0].coef, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1].intercept, found[0].intercept, rtol=1e-4, atol=1e-5)


def test_curvatures_serve_other_strengths_and_are_made_anew_where_they_mislead(rng, monkeypatch):
    n_classes, table = 2, table_of(rng, 2)
    system = system_of(table, n_classes, True, monkeypatch)
    made = []
    moments = system.moments
    monkeypatch.setattr(system, "moments", lambda working: made.append(1) or moments(working))
    steps = [solve(system, (s, 1.0, 1.0), 1e-6)[2] for s in (1.0, 1.5, 2.0)]
    assert len(made) < system.n_scores * sum(steps) / 2
    # Curvatures at very different scores.
    weight = np.full(len(table.rows), 1e-3)
    for k in range(system.n_scores):
        working, _ = system.quadratic(np.zeros((system.n_scores, len(table.rows))), k)
        wrong = room.replace(working, sample_weight=weight)
        system.keep(weight, block_moments(wrong).block(0))
    start = Scores.zeros(system.n_scores, system.n_tasks, system.n_features)
    scores, residual, _ = solve(system, (2.0, 1.0, 1.0), 1e-7, start)
    monkeypatch.undo()
    wanted = solve(system_of(table, n_classes, False, monkeypatch), (2.0, 1.0, 1.0), 1e-7)[0]
    assert residual <= 1e-7
    np.testing.assert_allclose(scores.coef, wanted.coef, rtol=1e-4, atol=1e-5)


def test_a_model_of_kept_curvatures_has_the_gradient_of_here(rng, monkeypatch):
    table = table_of(rng, 2)
    system = system_of(table, 2, True, monkeypatch)
    weight = rng.uniform(0.1, 0.3, size=len(table.rows))
    kept = room.replace(table, sample_weight=weight)
    system.keep(weight, block_moments(kept).block(0))
    eta = rng.normal(size=(1, len(table.rows)))
    got = system.working_moments(eta, 0)
    working, _ = system.quadratic(eta, 0)
    slope = working.sample_weight * (working.y - eta[0])
    response = room.replace(table, y=eta[0] + slope / weight, sample_weight=weight)
    wanted = block_moments(response).block(0).rescale(*system._units)
    for name in ("weight", "mean", "scatter"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-9, atol=1e-9)


def test_a_rough_solution_is_near_enough(rng, monkeypatch):
    table = table_of(rng, 2, n=2000)
    system = system_of(table, 2, True, monkeypatch)
    rough = solve(system, STRENGTHS[0], 0.0, least_gain=1.0)[0]
    best = solve(system, STRENGTHS[0])[0]
    worth = [
        system._objective(STRENGTHS[0], s, np.vstack([0.0 * system.eta(s), system.eta(s)]))
        for s in (rough, best)
    ]
    assert 0.0 <= worth[0] - worth[1] < 1.0


def test_classes_that_take_turns_have_curvatures_of_here(rng):
    table = table_of(rng, 3, p=30)
    units = np.zeros(30), np.ones(30)
    assert not NewtonSystem(table, LOG_LOSS, 3, *units, np.ones(30)).keeps_curvatures


def test_no_more_rounds_than_asked_for(rng, monkeypatch):
    system = system_of(table_of(rng, 2), 2, True, monkeypatch)
    start = Scores.zeros(1, system.n_tasks, system.n_features)
    assert system.solve((1e-3, 1e-3, 1e-3), start, 1e-15, 7)[2] <= 7
