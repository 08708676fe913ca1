"""Keys of rows: what they do not depend on, and what they tell apart."""

import numpy as np
import pytest
from scipy import sparse

from skmtl.tasks.keys import RowKeys, by_size, mixed, row_keys, uniforms


def table(seed, n=180, p=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X.sum(axis=1) + rng.normal(size=n), rng


def order_of(X, y, **kwargs):
    return mixed(row_keys(X, y, **kwargs)[1])


def assert_near(got, wanted, bound=1e-6):
    """On a circle, as the fractional parts lie."""
    assert np.abs((got - wanted + 0.5) % 1.0 - 0.5).max() < bound


@pytest.mark.parametrize("seed", range(3))
def test_keys_do_not_depend_on_order_units_shifts_or_signs(seed):
    X, y, rng = table(seed)
    wanted = order_of(X, y)
    columns, rows = rng.permutation(5), rng.permutation(180)
    units = 10.0 ** rng.uniform(-6, 6, size=5) * rng.choice([-1.0, 1.0], size=5)
    assert_near(order_of(X[:, columns], y), wanted)
    assert_near(order_of(X * units, y), wanted)
    assert_near(order_of(X + 1e4, y), wanted)
    assert_near(order_of(X, 3.0 - 2.5 * y), wanted)
    assert_near(order_of(X[rows], y[rows]), wanted[rows])
    assert_near(order_of(X, y, weight=np.full(180, 7.3)), wanted)
    assert_near(order_of(sparse.csr_matrix(X), y), wanted)


def test_sparse_and_dense_agree_where_most_entries_are_zero():
    X, y, rng = table(0)
    X[rng.uniform(size=X.shape) < 0.8] = 0.0
    X[:, 2] = 1.0  # constant
    rows = rng.integers(180, size=300)
    wanted = order_of(X, y[rows], rows=rows)
    assert_near(order_of(sparse.csr_matrix(X), y[rows], rows=rows), wanted)


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_keys_of_batches_use_the_statistics_of_the_first_batch(layout):
    X, y, rng = table(3)
    made, every = RowKeys.learn(layout(X), y), np.arange(180)
    assert_near(mixed(made.keys(layout(X), y, every)), order_of(X, y))
    later, labels = rng.normal(size=(50, 5)), rng.normal(size=50)
    units, wanted = np.array([1e3, -1e-3, 1.0, -2.0, 1e6]), made.keys(later, labels, np.arange(50))
    other = RowKeys.learn(layout(X * units), 5.0 * y)
    got = other.keys(layout(later * units), 5.0 * labels, np.arange(50))
    assert_near(mixed(got), mixed(wanted))


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_fourth_powers_of_later_rows(layout):
    X, y, rng = table(5)
    X[rng.uniform(size=X.shape) < 0.5] = 0.0
    made, rows, weight = RowKeys.learn(X[:90], y[:90]), np.arange(90, 180), rng.uniform(size=90)
    wanted = weight @ ((X[90:] - X[:90].mean(axis=0)) / X[:90].std(axis=0)) ** 4
    np.testing.assert_allclose(made.fourth_powers(layout(X), weight, rows), wanted, rtol=1e-9)


@pytest.mark.parametrize("n_first", [1, 2])
def test_keys_differ_after_a_small_or_constant_first_batch(n_first):
    X, y, _ = table(4)
    made = RowKeys.learn(np.tile(X[:1], (n_first, 1)), np.tile(y[:1], n_first))
    keys = mixed(made.keys(X, y, np.arange(180)))
    assert np.histogram(keys, bins=4, range=(0.0, 1.0))[0].min() > 25


def test_weights_are_copies():
    X, y, rng = table(1)
    k = rng.integers(1, 4, size=180)
    wanted = order_of(np.repeat(X, k, axis=0), np.repeat(y, k))
    assert_near(np.repeat(order_of(X, y, weight=k.astype(float)), k), wanted)


def test_mirrored_and_swapped_rows_have_other_keys():
    X, y, _ = table(2)
    X[1], y[1] = 2.0 * X.mean(axis=0) - X[0], 2.0 * y.mean() - y[0]
    X[2], y[2] = X[3][[1, 0, 2, 3, 4]], y[3]
    for labels in (y, np.zeros(180)):
        of_features, _, _ = row_keys(X, labels)
        assert len(np.unique(np.round(of_features, 9))) == 180


def test_rows_of_binary_columns_have_keys_of_their_own():
    rng = np.random.default_rng(4)
    X = np.array([[a, b, c, d] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])
    X = X[rng.integers(16, size=300)].astype(float)
    for y in (X @ [1.0, 2.0, -1.0, 0.5] + rng.normal(size=300), (X[:, 0] > X[:, 1]) * 1.0):
        of_features, _, _ = row_keys(X, y)
        assert len(np.unique(np.round(of_features, 9))) == len(np.unique(X, axis=0))


def test_symmetric_columns():
    """A balanced factor on which y does not depend has no direction."""
    X = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)] * 3)
    y = np.repeat([0.0, 1.0, 5.0], 4)
    keys = order_of(X, y)
    assert_near(order_of(-X, y), keys)
    assert len(np.unique(np.round(keys, 9))) == 3


def test_the_order_looks_random():
    X, y, _ = table(3, n=4000)
    first, second = order_of(X, y), mixed(row_keys(X, y)[1], seed=1)
    for other in (X[:, 0], y, second):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.06  # 4 standard errors
    for u in (first, second, uniforms(4000)):
        gap = np.abs(np.sort(u) - (np.arange(4000) + 0.5) / 4000).max()
        assert gap < 1.95 / np.sqrt(4000)  # Kolmogorov and Smirnov, 0.1 %


def test_sizes_that_differ_by_rounding_are_alike():
    sizes, content = np.array([3.0, 3.0 + 1e-15, 2.0, 0.1]), np.array([2.0, 1.0, 3.0, 4.0])
    assert by_size(sizes, content).tolist() == [3, 2, 1, 0]
