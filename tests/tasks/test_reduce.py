"""More features than rows: the same ridge problem in fewer coordinates."""

import numpy as np
import pytest
from scipy import sparse

from skmtl.sharing.base import SharingFit
from skmtl.sharing.newcomers import Adapter
from skmtl.sharing.strengths import Grid, SlopeScaling
from skmtl.tasks.reduce import RowSpace
from skmtl.tasks.table import pack


def table_of(n=8, p=20, form=np.asarray, weight=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.1, 50, size=p) + rng.normal(size=p)
    X[:, 3] = 7.0
    codes = np.arange(n) % 2
    return pack(form(X), rng.normal(size=n), codes, 2, weight), X


def standardised(X, weight=None):
    mean = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    keep = spread > 1e-9
    return (X - mean) / np.where(keep, spread, 1.0) * keep


def test_enough_rows_need_no_reduction():
    table, _ = table_of(n=20, p=20)
    space = RowSpace.of(table)
    assert space.table is table and space.standardise
    fitted = object()
    assert space.expand(fitted) is fitted


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
def test_inner_products_of_standardised_rows_are_kept(form, weighted):
    weight = np.array([1.0, 2, 0, 1, 3, 1, 1, 0.5]) if weighted else None
    table, X = table_of(form=form, weight=weight)
    space = RowSpace.of(table)
    assert not space.standardise and space.table.n_features < 8
    live = slice(None) if weight is None else weight > 0
    Z = standardised(X, weight)[live]
    got = space.table.X[live]
    np.testing.assert_allclose(got @ got.T, Z @ Z.T, rtol=1e-9, atol=1e-9)


def adapter(theta):
    """An adapter in coordinates whose mean is zero."""
    grid = Grid.product(*np.ones((3, 1)))
    none, ones = np.zeros(theta.shape[1]), np.ones(theta.shape[1])
    return Adapter(grid, theta, [SlopeScaling(ones[1:])], None, np.ones(1), 1.0, none, ones)


def test_predictions_are_the_same_in_both_coordinates():
    table, X = table_of()
    space = RowSpace.of(table)
    rank = space.table.n_features
    rng = np.random.default_rng(1)
    fitted = SharingFit(
        rng.normal(size=(2, rank)),
        rng.normal(size=2),
        rng.normal(size=rank),
        1.5,
        {},
        {},
        {},
        0.0,
        1,
        adapter(rng.normal(size=(1, 1 + rank))),
        None,
        np.zeros((2, rank)),
    )
    full = space.expand(fitted)
    theta, reduced = full.adapter.shared_models[0], fitted.adapter.shared_models[0]
    np.testing.assert_allclose(
        (X - full.adapter.centre[:-1]) * full.adapter.scale[:-1] @ theta[1:] + theta[0],
        space.table.X @ reduced[1:] + reduced[0],
    )
    assert full.coef.shape == (2, 20) and full.shared_coef.shape == (20,)
    np.testing.assert_array_equal(full.coef[:, 3], 0.0)  # constant
    np.testing.assert_allclose(
        X @ full.coef.T + full.intercept, space.table.X @ fitted.coef.T + fitted.intercept
    )
    np.testing.assert_allclose(
        X @ full.shared_coef + full.shared_intercept,
        space.table.X @ fitted.shared_coef + fitted.shared_intercept,
    )


def test_all_columns_constant():
    table = pack(np.full((3, 5), 2.0), np.arange(3.0), np.zeros(3, dtype=int), 1)
    space = RowSpace.of(table)
    assert np.isfinite(space.table.X).all() and not space.table.X.any()
