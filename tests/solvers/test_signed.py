"""Non-negative slopes: block pivoting against bounded least squares on the dense problem."""

import numpy as np
import pytest
import reference
from scipy.optimize import nnls
from solvers.test_arrow import data_of, table_of

from skmtl.solvers import arrow as room
from skmtl.solvers import make_system
from skmtl.solvers.signed import SignedSystem, _pivot
from skmtl.tasks.table import pack

STRENGTHS = [
    (0.3, 0.5, 3.0),
    (5.0, 0.5, 0.7),
    (100.0, np.inf, 0.7),
    (np.inf, 0.5, 0.7),
    (np.inf, np.inf, 0.0),
    (0.3, 0.5, np.inf),
    (2.0, 0.5, 0.0),
]
FORMS = pytest.mark.parametrize("form", ["moments", "rows"])


def assert_solution(found, wanted, positive, **tolerance):
    tolerance = tolerance or {"rtol": 1e-7, "atol": 1e-8}
    for got, want in zip((found.theta, found.coef, found.intercept), wanted, strict=True):
        np.testing.assert_allclose(got, want, **tolerance)
    assert (found.coef[:, positive] >= 0).all() and (found.theta[1:][positive] >= 0).all()
    assert found.residual < 1e-9


@FORMS
@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
@pytest.mark.parametrize("p", [1, 4, 9])
@pytest.mark.parametrize("which", ["all", "some"])
@pytest.mark.parametrize("vary", ["all", "some"])
def test_solutions_are_those_of_bounded_least_squares(form, strengths, p, which, vary):
    table, penalty = table_of(p), np.linspace(0.5, 2.0, p)
    positive = np.ones(p, dtype=bool) if which == "all" else np.arange(p) % 2 == 1
    varies = None if vary == "all" else np.arange(p) % 3 == 0
    system = SignedSystem(data_of(table, form), penalty, positive, varies)
    found = system.solve(strengths)
    X, w = table.X[table.rows], table.sample_weight
    wanted = reference.dense_signed(
        X, table.y, table.codes, 6, strengths, positive, w, penalty, varies
    )
    assert_solution(found, wanted, positive)
    if varies is not None:
        assert (found.coef == found.theta[1:])[:, ~varies].all()
    plain = make_system(data_of(table, form), penalty, varies=varies).factor(strengths[0])
    theta = plain.solve_shared(np.array(strengths[1:2]), np.array(strengths[2:]))
    if positive.sum() > 1 and np.isfinite(strengths[2]):  # the bounds matter
        assert np.abs(theta[0] - found.theta).max() > 1e-2


@FORMS
def test_many_features(form):
    p = room._LARGE + 3
    table, positive = table_of(p, n=60, n_tasks=4), np.arange(p) < 50
    found = SignedSystem(data_of(table, form), np.ones(p), positive).solve((1.0, 0.5, 2.0))
    X, w = table.X[table.rows], table.sample_weight
    wanted = reference.dense_signed(
        X, table.y, table.codes, 4, (1.0, 0.5, 2.0), positive, w
    )  # fmt: skip
    assert_solution(found, wanted, positive)


@FORMS
def test_independent_is_nonnegative_least_squares_a_task(form):
    """With centred rows, as the intercepts are not penalised, and at a strength of zero."""
    table = table_of(3, n=200, weighted=False)
    positive = np.ones(3, dtype=bool)
    for strengths in ((0.0, 0.0, np.inf), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)):
        found = SignedSystem(data_of(table, form), np.ones(3), positive).solve(strengths)
        for t in np.unique(table.codes):
            mine = table.codes == t
            X, y = table.X[table.rows][mine], table.y[mine]
            wanted = nnls(X - X.mean(0), y - y.mean())[0]
            np.testing.assert_allclose(found.coef[t], wanted, rtol=1e-6, atol=1e-7)
            want = y.mean() - X.mean(0) @ wanted
            np.testing.assert_allclose(found.intercept[t], want, rtol=1e-6, atol=1e-7)
        assert found.residual < 1e-6  # at the limit of double precision


@FORMS
def test_pooled_is_nonnegative_least_squares(form):
    table, positive = table_of(5, weighted=False), np.ones(5, dtype=bool)
    found = SignedSystem(data_of(table, form), np.ones(5), positive).solve((np.inf, np.inf, 0.0))
    X = table.X[table.rows]
    wanted = nnls(X - X.mean(0), table.y - table.y.mean())[0]
    np.testing.assert_allclose(found.coef, np.tile(wanted, (6, 1)), atol=1e-8)
    assert (wanted == 0).any()


@FORMS
def test_where_no_bound_binds_it_is_the_arrow_system(form):
    table = table_of(4)
    table.y[:] += 30.0 * table.X[table.rows].sum(1)
    found = SignedSystem(data_of(table, form), np.ones(4), np.ones(4, dtype=bool)).solve(
        (0.3, 0.5, 3.0)
    )
    assert found.n_iter == 1 and (found.coef > 0).all()
    X, w = table.X[table.rows], table.sample_weight
    wanted = reference.dense_ridge(X, table.y, table.codes, 6, (0.3, 0.5, 3.0), w)
    assert_solution(found, wanted, np.ones(4, dtype=bool))


@FORMS
def test_the_start_does_not_matter_but_saves_systems(form):
    table, positive = table_of(9), np.ones(9, dtype=bool)
    cold = SignedSystem(data_of(table, form), np.ones(9), positive)
    first = cold.solve((1.0, 0.5, 2.0))
    again = cold.solve((1.0, 0.5, 2.0))
    assert first.n_iter > 2 and again.n_iter == 1
    neighbour = SignedSystem(data_of(table, form), np.ones(9), positive).solve(
        (1.3, 0.5, 2.0), start=first
    )
    assert neighbour.n_iter < first.n_iter
    far = SignedSystem(data_of(table, form), np.ones(9), positive)
    far.solve((np.inf, np.inf, 0.0))
    np.testing.assert_allclose(far.solve((1.0, 0.5, 2.0)).coef, first.coef, atol=1e-10)


@FORMS
def test_given_shared_slopes_are_an_offset(form):
    table = table_of(4)
    varies = np.array([True, False, True, False])
    positive = np.array([True, True, False, False])
    given = np.array([9.0, 0.7, 9.0, -2.0])
    system = SignedSystem(data_of(table, form), np.ones(4), positive, varies)
    for strengths in ((1.0, 0.5, 2.0), (np.inf, 0.5, 2.0)):
        found = system.solve(strengths, given=given)
        np.testing.assert_array_equal(found.theta[[2, 4]], [0.7, -2.0])
        X, w = table.X[table.rows], table.sample_weight
        left = table.y - X[:, ~varies] @ given[~varies]
        wanted = reference.dense_signed(
            X[:, varies], left, table.codes, 6, strengths, positive[varies], w
        )
        np.testing.assert_allclose(found.coef[:, varies], wanted[1], rtol=1e-7, atol=1e-8)
        assert found.residual < 1e-9


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.jit
def test_tables_of_every_kind_are_solved(seed):
    """Few rows per task, collinear and equal columns, strengths of zero."""
    rng = np.random.default_rng(seed)
    n_tasks, p = rng.integers(2, 30), rng.integers(1, 28)
    n = n_tasks * rng.integers(1, 30)
    codes, X = rng.integers(n_tasks, size=n), rng.normal(size=(n, p))
    X = X @ (np.eye(p) + rng.choice([0.0, 0.3, 3.0]) * rng.normal(size=(p, p)))
    if seed % 3 == 0:
        X[:, -1] = X[:, 0]
    if seed % 4 == 0:
        X = np.round(X)
    X = (X - X.mean(0)) / np.maximum(X.std(0), 1e-9)
    y = (X * (rng.normal(size=p) + rng.normal(size=(n_tasks, p)))[codes]).sum(1)
    table = pack(X, y + rng.normal(size=n), codes, n_tasks)
    positive = rng.random(p) < 0.7
    varies = None if seed % 2 else rng.random(p) < 0.5
    strengths = [(0.0, 0.0, 1.0), (0.0, 0.0, np.inf), (1e-3, 0.1, 0.0), (0.1, 0.01, 1e-2)]
    for form in ("moments", "rows"):
        system = SignedSystem(data_of(table, form), np.ones(p), positive, varies)
        for triple in [*strengths, (10.0, 1.0, 1.0), (np.inf, np.inf, 0.0)]:
            assert system.solve(triple).residual < (1e-7 if triple[0] == 0 else 1e-10)


def test_the_residual_sees_what_is_not_solved():
    table, positive = table_of(9), np.ones(9, dtype=bool)
    cut = SignedSystem(data_of(table, "moments"), np.ones(9), positive)
    assert cut.solve((1.0, 0.5, 2.0), max_iter=1).residual > 1e-4
    held = SignedSystem(data_of(table, "moments"), np.ones(9), positive)
    start = held.solve((1.0, 0.5, 2.0))
    start.own[:] = True
    held = SignedSystem(data_of(table, "moments"), np.ones(9), positive)
    assert held.solve((1.0, 0.5, 2.0), start=start, max_iter=1).residual > 1e-4


@pytest.mark.parametrize("step", [1, 2])
def test_fewer_pivots_end_at_the_same_solution(step, monkeypatch):
    """The fallback of block pivoting if it makes no progress."""
    from skmtl.solvers import signed

    table, positive = table_of(9, n_tasks=12), np.ones(9, dtype=bool)
    wanted = SignedSystem(data_of(table, "moments"), np.ones(9), positive).solve((1.0, 0.5, 2.0))
    monkeypatch.setattr(signed, "_pivot", lambda *args: _pivot(*args[:4], step))
    found = SignedSystem(data_of(table, "moments"), np.ones(9), positive).solve((1.0, 0.5, 2.0))
    np.testing.assert_allclose(found.coef, wanted.coef, atol=1e-10)
    assert found.n_iter > wanted.n_iter


def test_pivots():
    none, shared = np.zeros((3, 2), dtype=bool), np.zeros(2, dtype=bool)
    wrong = np.array([[True, True], [False, False], [True, False]])
    also = np.array([True, True])
    own, held = _pivot(none, shared, wrong, also, 0)
    assert (own == wrong).all() and held.all()
    own, held = _pivot(none, shared, wrong, also, 1)
    np.testing.assert_array_equal(own, [[False, True], [False, False], [True, False]])
    np.testing.assert_array_equal(held, [False, True])
    own, held = _pivot(none, shared, wrong, also, 2)
    assert not own.any() and list(held) == [False, True]
    own, held = _pivot(none, shared, wrong, shared, 2)
    np.testing.assert_array_equal(own, [[False, False], [False, False], [True, False]])
