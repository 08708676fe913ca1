"""Slopes that differ between tasks for some features only, against the dense problem."""

import numpy as np
import pytest
import reference
from solvers.test_arrow import PULLS, RIDGES, SLOPES, answers, assert_same, data_of, table_of

from skmtl.solvers import MixedSystem, RowSystem, make_system, solve_given
from skmtl.solvers import arrow as room
from skmtl.solvers.arrow import kkt_residual

STRENGTHS = [(0.5, 3.0), (0.5, np.inf), (np.inf, 0.7), (np.inf, 0.0)]


def varying(p, n=None):
    """About a third of the features, or the first n."""
    return np.arange(p) % 3 == 1 if n is None else np.arange(p) < n


def models_of(system, theta, pulls, c):
    n_tasks, p = len(system.active), system.moments.n_features
    coef, intercept = np.zeros((n_tasks, p)), np.zeros(n_tasks)
    share = np.zeros((n_tasks, len(pulls)))
    share[:, c] = 1.0
    system.add_blend(theta, pulls, share, coef, intercept)
    return coef, intercept


@pytest.mark.parametrize("slope", SLOPES[1:])
@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("p", [1, 4, 9, room._LARGE + 3])
def test_models_are_those_of_the_dense_problem(form, slope, p):
    table, penalty = table_of(p), np.linspace(0.5, 2.0, p)
    varies = varying(p) if p > 1 else np.array([True])
    system = make_system(data_of(table, form), penalty, varies=varies).factor(slope)
    assert type(system) is (MixedSystem if form == "moments" else RowSystem)
    pulls, ridges = np.array(STRENGTHS[: 3 if p > 40 else 4]).T
    theta = system.solve_shared(pulls, ridges)
    X, w = table.X[table.rows], table.sample_weight
    for c in range(len(pulls)):
        strengths = (slope, pulls[c], ridges[c])
        wanted = reference.dense_ridge(X, table.y, table.codes, 6, strengths, w, penalty, varies)
        coef, intercept = models_of(system, theta, pulls, c)
        for got, want in zip((theta[c], coef, intercept), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-9)
        np.testing.assert_array_equal(
            coef[:, ~varies], np.tile(theta[c, 1:][~varies], (6, 1))
        )  # exactly
        args = data_of(table, form), penalty, strengths, theta[c], coef, intercept
        assert kkt_residual(*args, varies=varies) < 1e-10
        if np.isfinite(slope) and p > 1:
            assert kkt_residual(*args) > 1e-3


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("p", [1, 4, 25])
def test_rows_and_moments_say_the_same(slope, p):
    table, test = table_of(p), table_of(p, seed=1)
    varies = varying(p) if p > 1 else np.array([True])
    systems = [
        answers(
            make_system(data_of(table, form), np.linspace(0.5, 2.0, p), varies=varies),
            slope, data_of(test, form),
        )
        for form in ("moments", "rows")
    ]  # fmt: skip
    if slope == 0:  # near the limit only predictions are determined
        assert_same(*({"sse": s["sse"]} for s in systems), rtol=1e-4, atol=1e-3)
    else:
        assert_same(*systems, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("slope", SLOPES[1:])
def test_where_all_features_vary_it_is_the_arrow_system(slope):
    table, test = table_of(5), table_of(5, seed=1)
    systems = [
        answers(make_system(data_of(table, "moments"), np.ones(5), varies=varies), slope,
                data_of(test, "moments"))
        for varies in (None, np.ones(5, dtype=bool))
    ]  # fmt: skip
    assert_same(*systems, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", ["moments", "rows"])
def test_where_none_varies_it_is_random_intercepts(form):
    table, test = table_of(5), table_of(5, seed=1)
    none = make_system(data_of(table, form), np.ones(5), varies=np.zeros(5, dtype=bool))
    plain = make_system(data_of(table, form), np.ones(5))
    got, wanted = (answers(s, k, data_of(test, form)) for s, k in ((none, 1.0), (plain, np.inf)))
    got.pop("leftover"), wanted.pop("leftover")
    assert_same(got, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("slope", SLOPES[1:])
def test_without_a_group_is_a_fit_without_its_rows(form, slope):
    table, varies = table_of(4), varying(4)
    group = np.array([0, 1, 1, 0, 2, 2])
    pulls, ridges = np.array([0.5, np.inf]), np.array([3.0, 0.7])
    system = make_system(data_of(table, form), np.ones(4), varies=varies).factor(slope)
    for g, theta in enumerate(system.solve_without(group, pulls, ridges)):
        kept = group[table.codes] != g
        X, y, w = table.X[table.rows][kept], table.y[kept], table.sample_weight[kept]
        for c in range(2):
            strengths = (slope, pulls[c], ridges[c])
            wanted = reference.dense_ridge(
                X, y, table.codes[kept], 6, strengths, w, varies=varies
            )[0]  # fmt: skip
            np.testing.assert_allclose(theta[c], wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("form", ["moments", "rows"])
def test_leftover_variance_of_what_does_not_vary_is_all_of_it(form):
    table, varies = table_of(4), varying(4)
    system = make_system(data_of(table, form), np.ones(4), varies=varies).factor(2.0)
    alone = make_system(data_of(table, form).stretched(varies * 1.0), np.ones(4)).factor(2.0)
    np.testing.assert_allclose(system.leftover_variance(), alone.leftover_variance(), rtol=1e-9)
    np.testing.assert_allclose(system.leftover_variance()[~varies], 6 / 2.0)


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("slope", SLOPES[1:])
def test_given_shared_slopes_are_an_offset(form, slope):
    """Columns with known slopes, equal in all tasks, can be subtracted from the target."""
    table = table_of(4)
    varies = np.array([True, False, True, False])
    data, values = data_of(table, form), np.array([0.7, -2.0])
    system = make_system(data, np.ones(4), varies=varies).factor(slope)
    theta = solve_given(system, ~varies, values, PULLS[1:4], RIDGES[1:4])
    np.testing.assert_array_equal(theta[:, [2, 4]], np.tile(values, (3, 1)))
    X, w = table.X[table.rows], table.sample_weight
    left = table.y - X[:, ~varies] @ values
    for c, strengths in enumerate(zip([slope] * 3, PULLS[1:4], RIDGES[1:4], strict=True)):
        if strengths[1] == 0:
            continue  # the shared intercept is not determined
        wanted = reference.dense_ridge(X[:, varies], left, table.codes, 6, strengths, w)
        np.testing.assert_allclose(theta[c, [0, 1, 3]], wanted[0], rtol=1e-7, atol=1e-8)
        coef, intercept = models_of(system, theta, PULLS[1:4], c)
        np.testing.assert_allclose(coef[:, varies], wanted[1], rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(intercept, wanted[2], rtol=1e-7, atol=1e-8)
        args = data, np.ones(4), strengths, theta[c], coef, intercept
        assert kkt_residual(*args, varies=varies, given=~varies) < 1e-10
