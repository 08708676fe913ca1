"""Features and targets on a common scale."""

import numpy as np
import pytest

from skmtl.tasks.standards import Standards


def table(n=60, n_tasks=6, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(n_tasks, size=n))
    return rng.normal(size=(n, 2)), rng.normal(size=n), rng.uniform(0.5, 2.0, n), codes


def test_standards():
    X, y, weight, _ = table()
    X = np.column_stack([X[:, 0] * 1e3 + 5, np.full(60, 1e6), X[:, 1]])
    got = Standards.of(X, y, weight)
    Z = got.features(X)
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.average(Z**2, axis=0, weights=weight), 1.0)
    deviations = np.sqrt(np.average((X - np.average(X, 0, weight)) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(1.0 / got.scale, deviations[[0, 2]])
    assert np.average(got.target(y) ** 2, weights=weight) == pytest.approx(1.0)
    np.testing.assert_allclose(got.restore(got.target(y)), y)
    assert Z.shape == (60, 2) and list(got.columns) == [0, 2]
    flat = Standards.of(X[:, [1, 1]], y, weight)
    assert (flat.features(np.full((4, 2), 7.0)) == np.zeros((4, 1))).all() and flat.scale == [0]
    classes = np.arange(60) % 3
    same = Standards.of(X, classes, weight)
    assert same.target(classes) is classes and (same.target_centre, same.target_scale) == (0, 1)
    constant = Standards.of(X, np.full(60, 3.0), weight)
    assert (constant.target_centre, constant.target_scale) == (3.0, 1.0)
