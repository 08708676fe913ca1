"""SharedMap: derivatives, the objective, the trace norm as its limit, and the certificate."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skmtl.solvers.shared_map import MappedTask, MapSolution, SharedMap

BASE = np.random.default_rng(0).normal(size=(5, 2))


def squared_tasks(rng, n_tasks=3, n=30, fit_intercept=True):
    tasks, rows = [], []
    for _ in range(n_tasks):
        X, w = rng.normal(1.0, 1.0, size=(n, 5)), rng.uniform(0.5, 2.0, n)
        y = X @ BASE @ rng.normal(size=2) + 2.0 + 0.3 * rng.normal(size=n)
        tasks.append(MappedTask.of(X, y[:, None], w, True, fit_intercept))
        rows.append((X, y, w))
    return tasks, rows


def mixed_tasks(rng):
    """One task with three classes, and one with two."""
    X, Z, w = rng.normal(size=(12, 5)), rng.normal(size=(4, 5)), rng.uniform(0.5, 2.0, 12)
    three = MappedTask.of(X, np.eye(3)[np.arange(12) % 3], w, False)
    return [three, MappedTask.of(Z, np.array([[0.0], [1.0], [1.0], [0.0]]), w[:4], False)]


@pytest.mark.parametrize("squared", [True, False], ids=["squared", "log-loss"])
def test_derivatives_by_differences(squared, rng):
    shared = SharedMap(squared_tasks(rng)[0] if squared else mixed_tasks(rng), 2)
    x, v = rng.normal(size=(2, len(shared.start())))
    ahead, behind = (shared.value_and_gradient(x + e * v, 0.7) for e in (1e-5, -1e-5))
    _value, gradient = shared.value_and_gradient(x, 0.7)
    np.testing.assert_allclose(gradient @ v, (ahead[0] - behind[0]) / 2e-5, rtol=1e-6)
    np.testing.assert_allclose(
        shared.curve(x, v, 0.7), (ahead[1] - behind[1]) / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_objective_on_the_rows_as_they_are(rng):
    """An orthogonal transform reduces the rows; levels are optimal."""
    tasks, rows = squared_tasks(rng)
    assert len(tasks[0].X) == 6  # of 30
    shared = SharedMap(tasks, 2)
    end = shared.solve(3.0)
    total = 1.5 * ((end.A**2).sum() + (end.H**2).sum())
    for t, (X, y, w) in enumerate(rows):
        coef, intercept = shared.model(end, t)
        missed = y - X @ coef[0] - intercept
        np.testing.assert_allclose(w @ missed, 0.0, atol=1e-8)
        total += 0.5 * w @ missed**2
    left_out = sum(0.5 * (w @ (y - w @ y / w.sum()) ** 2) for _, y, w in rows)
    inside = sum(0.5 * (task.target**2).sum() for task in tasks)
    # The QR decomposition also keeps the part of the target that no slope explains.
    np.testing.assert_allclose(inside, left_out)
    np.testing.assert_allclose(total, end.history[-1])


def trace_norm(tasks, mu, n_iter=5000):
    """Minimise ``L(B) + mu |B|_*`` by plain proximal gradient steps."""
    L = max(np.linalg.norm(np.sqrt(t.weight) * t.X, 2) ** 2 for t in tasks)
    B = np.zeros((tasks[0].X.shape[1], len(tasks)))
    for _ in range(n_iter):
        G = [t.X.T @ (t.weight * (t.X @ B[:, [i]] - t.target)) for i, t in enumerate(tasks)]
        U, s, V = np.linalg.svd(B - np.hstack(G) / L, full_matrices=False)
        B = (U * np.maximum(s - mu / L, 0.0)) @ V
    return B


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_with_as_many_components_as_tasks_it_is_the_trace_norm(share, rng):
    tasks, _ = squared_tasks(rng)
    shared = SharedMap(tasks, 3)
    mu = share * shared.strongest()
    end = shared.solve(mu)
    np.testing.assert_allclose(end.A @ end.H, trace_norm(tasks, mu), atol=1e-6)
    np.testing.assert_allclose(shared.excess(end, mu), 1.0, atol=1e-6)
    assert end.gradient <= 1e-7 and (np.diff(end.history) <= 0).all()
    np.testing.assert_allclose(  # balanced, so that the norms add up to the trace norm
        ((end.A**2).sum() + (end.H**2).sum()) / 2, np.linalg.svd(end.A @ end.H)[1].sum()
    )


def test_nothing_is_left_from_the_strongest_penalty_on(rng):
    for tasks in (squared_tasks(rng)[0], mixed_tasks(rng)):
        shared = SharedMap(tasks, 2)
        top = shared.strongest()
        over, under = (shared.solve(f * top) for f in (1.01, 0.9))
        assert np.abs(over.A @ over.H).max() < 1e-6 < 1e-3 < np.abs(under.A @ under.H).max()


def test_too_few_components_are_told_by_the_certificate(rng):
    tasks, _ = squared_tasks(rng)
    shared = SharedMap(tasks, 1)
    mu = 0.05 * shared.strongest()
    end = shared.solve(mu)
    assert end.A.shape == (5, 1) and shared.excess(end, mu) > 1.5
    assert SharedMap(tasks, 9).n_components == 3


def test_components_that_a_strong_penalty_killed_come_back(rng):
    tasks, _ = squared_tasks(rng)
    shared = SharedMap(tasks, 3)
    strong, weak = (f * shared.strongest() for f in (0.6, 0.01))
    killed = shared.solve(strong)
    assert np.linalg.matrix_rank(killed.A @ killed.H, tol=1e-4) < 3
    on, cold = shared.solve(weak, killed), shared.solve(weak)
    np.testing.assert_allclose(on.history[-1], cold.history[-1], rtol=1e-9)
    nothing = MapSolution(0 * killed.A, 0 * killed.H, killed.c, [], 0.0)
    again = shared.solve(weak, nothing)
    np.testing.assert_allclose(again.history[-1], cold.history[-1], rtol=1e-9)


def test_weights_scale_and_intercepts(rng):
    (task, *_), ((X, y, w), *_) = squared_tasks(rng)
    twice = MappedTask.of(X, y[:, None], 2 * w, True)
    one, two = (SharedMap([t], 1) for t in (task.scaled(2.0), twice))
    np.testing.assert_allclose(one.model(one.solve(3.0), 0)[0], two.model(two.solve(3.0), 0)[0])
    raw = MappedTask.of(X, y[:, None], w, True, fit_intercept=False)
    shared = SharedMap([raw], 1)
    assert shared.model(shared.solve(1.0), 0)[1] == 0.0


def test_a_gradient_that_is_left_is_told(rng):
    tasks, _ = squared_tasks(rng)
    with pytest.warns(ConvergenceWarning, match="stopped after 1 steps with a gradient of"):
        SharedMap(tasks, 2).solve(1.0, max_iter=1)
