"""Rows and tasks in an order that only their content decides."""

import numpy as np
import pytest

from skmtl.tasks.content import Standards, arrange


def table(n=60, n_tasks=6, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(n_tasks, size=n))
    return rng.normal(size=(n, 2)), rng.normal(size=n), rng.uniform(0.5, 2.0, n), codes


def arranged(X, y, weight, codes, n_tasks=6):
    """Contents as lists of tasks' rows ``[x, y, weight]``."""
    order = np.argsort(codes, kind="stable")
    X, y, weight = X[order], y[order], weight[order]
    offsets = np.append(0, np.cumsum(np.bincount(codes, minlength=n_tasks)))
    got = arrange(X, y, weight, offsets, Standards.of(X, y, weight))
    rows = np.column_stack([X[got.rows], y[got.rows], got.weight])
    return [rows[got.offsets[t] : got.offsets[t + 1]] for t in got.tasks]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("classes", [False, True])
def test_neither_order_nor_labels_matter(classes):
    X, y, weight, codes = table()
    y = (y > 0).astype(np.int64) if classes else y
    wanted = arranged(X, y, weight, codes)
    rng = np.random.default_rng(1)
    rows, names = rng.permutation(60), rng.permutation(6)
    assert_same(arranged(X[rows], y[rows], weight[rows], codes[rows]), wanted)
    assert_same(arranged(X, y, weight, names[codes]), wanted)
    assert sum(map(len, wanted)) == 60
    by_label = arranged(X, y, weight, codes, n_tasks=6)
    starts = [np.flatnonzero((X == rows[0, :2]).all(1))[0] for rows in by_label]
    assert starts != sorted(starts)  # the order is another than the labels'


def test_equal_rows_are_one():
    X, y, weight, codes = table()
    twice = np.r_[np.arange(60), np.arange(0, 60, 2)]
    got = arranged(X[twice], y[twice], np.ones(90), codes[twice])
    assert_same(got, arranged(X, y, 2.0 - np.arange(60) % 2, codes))
    assert sum(map(len, got)) == 60
    other = y.copy()
    other[::2] += 1e-13  # hashed alike, and yet not equal
    apart = arranged(np.vstack([X, X]), np.r_[y, other], np.ones(120), np.r_[codes, codes])
    assert sum(map(len, apart)) == 90
    moved = arranged(X[twice], y[twice], np.ones(90), np.r_[codes, (codes[::2] + 1) % 6])
    assert sum(map(len, moved)) == 90  # equal rows of two tasks are two


def test_tasks_without_rows_are_left_out():
    X, y, weight, codes = table()
    live = codes != 2
    assert len(arranged(X[live], y[live], weight[live], codes[live])) == 5
    offsets = np.zeros(3, dtype=np.int64)
    none = arrange(X[:0], y[:0], weight[:0], offsets, Standards.of(X, y, weight))
    assert len(none.rows) == len(none.tasks) == 0 and list(none.offsets) == [0, 0, 0]


def test_tasks_of_equal_rows_go_by_weight():
    X, y, _, _ = table(n=10)
    both, codes = np.vstack([X, X]), np.repeat([0, 1], 10)
    for weight in (np.r_[np.ones(10), 2 * np.ones(10)], np.r_[2 * np.ones(10), np.ones(10)]):
        light, heavy = arranged(both, np.r_[y, y], weight, codes, n_tasks=2)
        assert (light[:, 3] == 1).all() and (heavy[:, 3] == 2).all()


def test_large_values_are_no_trouble():
    X, y, weight, codes = table()
    standards = Standards.of(X, y, weight)
    X = X.copy()
    X[3, 0] = 1e300
    with np.errstate(invalid="raise"):
        got = arrange(X, y, weight, np.array([0, 60]), standards)
    assert sorted(got.rows) == list(range(60))


def test_standards():
    X, y, weight, _ = table()
    X = np.column_stack([X[:, 0] * 1e3 + 5, np.full(60, 1e6), X[:, 1]])
    got = Standards.of(X, y, weight)
    Z = got.features(X)
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.average(Z**2, axis=0, weights=weight), 1.0)
    deviations = np.sqrt(np.average((X - np.average(X, 0, weight)) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(got.spread, deviations[[0, 2]])
    assert np.average(got.target(y) ** 2, weights=weight) == pytest.approx(1.0)
    np.testing.assert_allclose(got.restore(got.target(y)), y)
    assert Z.shape == (60, 2) and list(got.columns) == [0, 2]
    flat = Standards.of(X[:, [1, 1]], y, weight)
    assert (flat.features(np.full((4, 2), 7.0)) == np.zeros((4, 1))).all() and flat.spread == [0]
    classes = np.arange(60) % 3
    same = Standards.of(X, classes, weight)
    assert same.target(classes) is classes and (same.target_centre, same.target_scale) == (0, 1)
    constant = Standards.of(X, np.full(60, 3.0), weight)
    assert (constant.target_centre, constant.target_scale) == (3.0, 1.0)
