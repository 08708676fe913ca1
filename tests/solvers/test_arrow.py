"""The arrow systems: moments or rows, few features or many, against the dense problem."""

from dataclasses import replace as replace

import numpy as np
import pytest
import reference

from skmtl._jit import worker_pool
from skmtl.solvers import ArrowSystem, RowSystem, make_system
from skmtl.solvers import arrow as room
from skmtl.solvers.arrow import kappa_of, kkt_residual
from skmtl.tasks.moments import block_moments
from skmtl.tasks.rows import TaskRows
from skmtl.tasks.table import pack

PULLS = np.array([0.0, 0.0, 0.5, 0.5, np.inf, np.inf])
RIDGES = np.array([1.0, np.inf, 0.0, 10.0, 1.0, np.inf])
SLOPES = [0.0, 0.3, 100.0, np.inf]


def table_of(p=4, n=80, n_tasks=6, seed=0, weighted=True):
    rng = np.random.default_rng(seed)
    X, codes = rng.normal(size=(n, p)), rng.integers(n_tasks, size=n)
    codes[codes == 3] = 0  # no rows
    coef = rng.normal(size=p) + rng.normal(size=(n_tasks, p))
    y = (X * coef[codes]).sum(1) + rng.normal(size=n)
    weight = rng.uniform(0.5, 2.0, size=n) if weighted else None
    return pack(X, y, codes, n_tasks, weight)


def data_of(table, form):
    return (block_moments(table) if form == "moments" else TaskRows.of(table)).merge()


def answers(system, slope, test):
    """All results of a system at one slope strength."""
    n_tasks, p = len(system.active), system.moments.n_features
    system.factor(slope)
    theta = system.solve_shared(PULLS, RIDGES)
    slopes, intercepts = np.zeros((n_tasks, 6, p)), np.zeros((n_tasks, 6))
    sse = system.errors(theta, PULLS, test)
    system.models(theta, PULLS, slopes, intercepts)
    share = np.random.default_rng(0).dirichlet(np.ones(6), size=n_tasks)
    coef, intercept = np.zeros((n_tasks, p)), np.zeros(n_tasks)
    system.add_blend(theta, PULLS, share, coef, intercept)
    group = np.arange(n_tasks) % 3
    without = np.array(system.solve_without(group, PULLS, RIDGES))
    leftover = system.leftover_variance() if np.isfinite(slope) and slope > 0 else np.zeros(p)
    return {
        "theta": theta, "sse": sse, "slopes": slopes, "intercepts": intercepts, "coef": coef,
        "intercept": intercept, "without": without, "leftover": leftover,
    }  # fmt: skip


def assert_same(got, wanted, rtol=1e-6, atol=1e-7):
    assert set(got) == set(wanted)
    for name in got:
        np.testing.assert_allclose(got[name], wanted[name], rtol, atol, err_msg=name)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("p", [1, 4, 25])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_and_moments_say_the_same(slope, p, weighted):
    table, test = table_of(p, weighted=weighted), table_of(p, seed=1, weighted=weighted)
    systems = []
    for form, kind in (("moments", ArrowSystem), ("rows", RowSystem)):
        system = make_system(data_of(table, form), np.linspace(0.5, 2.0, p))
        assert type(system) is kind
        systems.append(answers(system, slope, data_of(test, form)))
    exact = slope > 0
    if not exact:  # near the limit only predictions for tasks with enough rows are determined
        if p > 4:
            return
        systems = [{"sse": s["sse"]} for s in systems]
    assert_same(*systems, rtol=1e-7 if exact else 1e-4, atol=1e-8 if exact else 1e-3)


@pytest.mark.parametrize("slope", SLOPES[1:])
@pytest.mark.parametrize("form", ["moments", "rows"])
def test_many_features_by_lapack_are_the_kernel(slope, form, monkeypatch):
    table, test = table_of(12), table_of(12, seed=1)
    results = []
    for large in (10**9, 1):
        monkeypatch.setattr(room, "_LARGE", large)
        system = make_system(data_of(table, form), np.linspace(0.5, 2.0, 12))
        results.append(answers(system, slope, data_of(test, form)))
    assert_same(*results)


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("p", [3, room._LARGE + 3])
@pytest.mark.parametrize("slope", SLOPES[1:])
def test_shared_solutions_are_those_of_the_dense_problem(form, p, slope):
    table = table_of(p, n=60, n_tasks=4)
    penalty = np.linspace(0.5, 2.0, p)
    system = make_system(data_of(table, form), penalty).factor(slope)
    pulls, ridges = np.array([0.5, 0.5, np.inf]), np.array([3.0, np.inf, 0.7])
    theta = system.solve_shared(pulls, ridges)
    X, w = table.X[table.rows], table.sample_weight
    for c in range(3):
        strengths = (slope, pulls[c], ridges[c])
        wanted = reference.dense_ridge(X, table.y, table.codes, 4, strengths, w, penalty)
        np.testing.assert_allclose(theta[c], wanted[0], rtol=1e-6, atol=1e-7)
        coef, intercept = np.zeros((4, p)), np.zeros(4)
        share = np.zeros((4, 3))
        share[:, c] = 1.0
        system.add_blend(theta, pulls, share, coef, intercept)
        np.testing.assert_allclose(coef, wanted[1], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(intercept, wanted[2], rtol=1e-6, atol=1e-7)
        assert kkt_residual(
            data_of(table, form), penalty, strengths, theta[c], coef, intercept
        ) < 1e-9  # fmt: skip


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("varies", [None, [True, False, True]])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("slope", SLOPES[1:])
def test_own_slopes_about_centres_are_those_of_the_dense_problem(form, varies, apart, slope):
    table = table_of(3, n=60, n_tasks=5)
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(5, 3))
    anchors = np.where(rng.uniform(size=3) < 0.7, 0.0, centres) if apart else centres
    varies = None if varies is None else np.array(varies)
    places = centres, anchors if apart else None
    data = data_of(table, form)
    system = make_system(data, np.linspace(0.5, 2.0, 3), None, varies, *places).factor(slope)
    pulls, ridges = np.array([0.5, 0.5, 1e-9, np.inf]), np.array([3.0, np.inf, 0.7, 0.7])
    theta = system.solve_shared(pulls, ridges)
    X, w = table.X[table.rows], table.sample_weight
    models = np.zeros((5, 4, 3)), np.zeros((5, 4))
    system.models(theta, pulls, *models)
    sse = system.errors(theta, pulls, data)
    for c in range(4):
        strengths = slope, pulls[c], ridges[c]
        wanted = reference.dense_ridge(
            X, table.y, table.codes, 5, strengths, w, np.linspace(0.5, 2.0, 3), varies, centres,
            anchors,
        )  # fmt: skip
        coef, intercept = np.zeros((5, 3)), np.zeros(5)
        system.add_blend(theta, pulls, np.eye(4)[np.full(5, c)], coef, intercept)
        bound = 1e-5 if c == 2 else 1e-7  # the shared intercept depends on 1e-9 rows per task
        for got, answer in zip((theta[c], coef, intercept), wanted, strict=True):
            np.testing.assert_allclose(got, answer, rtol=bound, atol=bound)
        np.testing.assert_allclose(models[0][:, c], coef, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(models[1][:, c], intercept, rtol=1e-9, atol=1e-9)
        errors = reference.squared_errors(X, table.y, table.codes, coef, intercept, w)
        np.testing.assert_allclose(sse[:, c], errors, rtol=1e-7, atol=1e-9)
        residual = kkt_residual(
            data, system.penalty, strengths, theta[c], coef, intercept, varies, None, centres,
            anchors,
        )  # fmt: skip
        assert residual < 1e-8


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("slope", SLOPES[1:])
def test_without_a_group_is_a_fit_without_its_rows(form, slope):
    table = table_of(3)
    group = np.array([0, 1, 1, 0, 2, 2])
    pulls, ridges = np.array([0.5, np.inf]), np.array([3.0, 0.7])
    system = make_system(data_of(table, form), np.ones(3)).factor(slope)
    for g, theta in enumerate(system.solve_without(group, pulls, ridges)):
        kept = group[table.codes] != g
        X, y, w = table.X[table.rows][kept], table.y[kept], table.sample_weight[kept]
        for c in range(2):
            strengths = (slope, pulls[c], ridges[c])
            wanted = reference.dense_ridge(X, y, table.codes[kept], 6, strengths, w)[0]
            np.testing.assert_allclose(theta[c], wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("slope", [0.3, 5.0])
def test_leftover_variance_is_that_of_the_posterior(slope):
    """The diagonal of (slope + centred Gram matrix)^-1, summed over all tasks, even empty ones."""
    table = table_of(3)
    system = make_system(data_of(table, "moments"), np.ones(3)).factor(slope)
    wanted = np.zeros(3)
    for t in range(6):
        mine = table.codes == t
        _, _, scatter = reference.moments(
            table.X[table.rows][mine], table.y[mine], table.sample_weight[mine]
        )
        wanted += np.diag(np.linalg.inv(slope * np.eye(3) + scatter[:3, :3]))
    np.testing.assert_allclose(system.leftover_variance(), wanted, rtol=1e-9)


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize(
    "strengths", [(2.0, 0.5, 1.0), (np.inf, 0.5, 1.0), (2.0, np.inf, 1.0), (2.0, 0.5, np.inf)]
)
def test_the_residual_sees_a_wrong_solution(form, strengths):
    table = table_of(3)
    data = data_of(table, form)
    X, w = table.X[table.rows], table.sample_weight
    theta, coef, intercept = reference.dense_ridge(X, table.y, table.codes, 6, strengths, w)

    def residual(theta, coef, intercept):
        return kkt_residual(data, np.ones(3), strengths, theta, coef, intercept)

    assert residual(theta, coef, intercept) < 1e-10
    assert residual(theta, coef, intercept + 0.01) > 1e-4
    assert residual(theta, coef + 0.01, intercept) > 1e-4


def test_the_residual_is_the_gradient_of_the_objective():
    """By finite differences, away from the solution."""
    table = table_of(2)
    X, y, w, codes = table.X[table.rows], table.y, table.sample_weight, table.codes
    rng = np.random.default_rng(0)
    slope, pull, ridge = 2.0, 0.5, 1.5
    point = rng.normal(size=3 + 6 + 12)

    def objective(v):
        a, m, own_a, own = v[0], v[1:3], v[3:9], v[9:].reshape(6, 2)
        miss = y - a - own_a[codes] - (X * (m + own[codes])).sum(1)
        penalties = ridge * m @ m + pull * own_a @ own_a + slope * (own**2).sum()
        return 0.5 * (w @ miss**2 + penalties)

    step = 1e-5 * np.eye(len(point))
    gradient = [(objective(point + s) - objective(point - s)) / 2e-5 for s in step]
    at_zero = [(objective(s) - objective(-s)) / 2e-5 for s in step]
    theta = point[:3]
    coef, intercept = theta[1:] + point[9:].reshape(6, 2), theta[0] + point[3:9]
    got = kkt_residual(
        data_of(table, "moments"), np.ones(2), (slope, pull, ridge), theta, coef, intercept
    )
    scale = max(np.abs(np.reshape(at_zero[9:], (6, 2))).sum(0).max(), np.abs(at_zero[3:9]).sum())
    np.testing.assert_allclose(got, np.abs(gradient).max() / scale, rtol=1e-6)


def test_kappa():
    assert kappa_of(np.inf, 1.0) == 0.0
    assert kappa_of(4.0, 1.0) == 0.25
    assert 1e3 < kappa_of(0.0, 100.0) == kappa_of(1e-300, 100.0) < np.inf


@pytest.mark.parametrize("form", ["moments", "rows"])
def test_threads_change_nothing(form):
    table, test = table_of(3, n=2000, n_tasks=200), table_of(3, n=2000, n_tasks=200, seed=1)
    with worker_pool(2) as pool:
        one, two = (
            answers(make_system(data_of(table, form), np.ones(3), p), 3.0, data_of(test, form))
            for p in (None, pool)
        )
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_a_level_that_is_wrong_in_all_tasks_is_no_solution():
    """The shared intercept is not penalised, and has no effect on centred features."""
    moments = data_of(table_of(3), "moments")
    moments.mean[:, :3] = 0.0
    system = make_system(moments, np.ones(3)).factor(2.0)
    theta = system.solve_shared(np.array([np.inf]), np.array([1.0]))
    coef, intercept = np.zeros((6, 3)), np.zeros(6)
    system.add_blend(theta, np.array([np.inf]), np.ones((6, 1)), coef, intercept)
    for level in (0.0, 0.5):
        theta[:, 0] += level
        residual = kkt_residual(
            moments, np.ones(3), (2.0, np.inf, 1.0), theta[0], coef, intercept + level
        )
        assert residual > 1e-3 if level else residual < 1e-10


# ------------------------------------------------------------------------- many features


def many(p=90, n=400):
    """Tasks with many features, two of which are constant in some tasks; one task is empty."""
    rng = np.random.default_rng(3)
    X, codes = rng.normal(size=(n, p)), rng.integers(5, size=n)
    codes[codes == 3] = 0
    X[codes == 1, 4:6] = 7.0
    y = X[:, 0] + rng.normal(size=n)
    return pack(X, y, codes, 5, rng.uniform(0.5, 2.0, size=n))


@pytest.mark.parametrize("kappa", [1e-9, 1e-3, 1.0, 1e3])
def test_factors_of_many_features(kappa):
    moments = data_of(many(), "moments")
    p = moments.n_features
    assert p >= room._LARGE
    shapes = (5, p, p), (5, p), (5, p), (5,), (5,)
    factors = room.kernels.arrow.Factors(*(np.full(shape, np.nan) for shape in shapes))
    S, r = room.factor_tasks(0, 5, moments.arrays, kappa, factors)
    wanted, S_wanted, r_wanted = reference.factor(*moments.arrays, kappa)
    for got, twin in zip(factors, wanted, strict=True):
        np.testing.assert_allclose(got, twin, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(S, S_wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(r, r_wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("slope", [0.5, np.inf])
def test_one_ridge_is_solved_as_several_are(slope):
    system = make_system(data_of(many(), "moments"), np.linspace(0.5, 2.0, 90)).factor(slope)
    pulls, ridges = np.array([0.5, 0.5, np.inf]), np.array([1.0, 30.0, 2.0])
    several = system.solve_shared(pulls[:2], ridges[:2])
    for c in range(2):
        alone = system.solve_shared(pulls[[c]], ridges[[c]])
        np.testing.assert_allclose(alone[0], several[c], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("slope", [2.0, np.inf])
@pytest.mark.parametrize("p", [3, 90])
def test_another_target_of_the_same_rows(slope, p):
    table = many() if p == 90 else table_of(3)
    rng = np.random.default_rng(4)
    other = replace(table, y=rng.normal(size=len(table.y)))
    wanted = data_of(other, "moments")
    system = make_system(data_of(table, "moments"), np.ones(p)).factor(slope)
    square = wanted.target_scatter()
    system.retarget(wanted.scatter[:, :-1, -1], wanted.mean[:, -1], square)
    fresh = make_system(wanted, np.ones(p)).factor(slope)
    given = np.array([0.5]), np.array([3.0])
    theta = system.solve_shared(*given)
    np.testing.assert_allclose(theta, fresh.solve_shared(*given), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(system.moments.target_scatter(), square)
    np.testing.assert_allclose(
        system.factor(7.0).solve_shared(*given), fresh.factor(7.0).solve_shared(*given),
        rtol=1e-8, atol=1e-10,
    )  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1, 40, 90])
def test_eigenvalues_of_matrices_of_any_rank(rank, rng):
    rows = rng.normal(size=(rank, 90)) * np.geomspace(1.0, 1e-3, 90)
    products = rows.T @ rows
    values, vectors = room.eigen_of_rank(products)
    assert len(values) == (rank if 0 < rank < 0.6 * 90 else 90)
    assert (values >= 0).all() and (np.diff(values) >= 0).all()
    scale = max(products.max(), 1e-300)
    np.testing.assert_allclose((vectors * values) @ vectors.T, products, atol=1e-13 * 90 * scale)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-12)


@pytest.mark.parametrize("form", ["moments", "rows"])
@pytest.mark.parametrize("slope", SLOPES[1:])
def test_fewer_rows_than_features_by_their_rank(form, slope, monkeypatch):
    table, results = table_of(150, n=60), []
    for share in (0.6, 0.0):
        monkeypatch.setattr(room, "_DEFICIENT", share)
        system = make_system(data_of(table, form), np.linspace(0.5, 2.0, 150)).factor(slope)
        without = system.solve_without(np.arange(6) % 3, PULLS, RIDGES)
        results.append(np.array([system.solve_shared(PULLS, RIDGES), *without]))
    # From moments, whose products have rounding errors, more slopes than rows need a ridge.
    determined = (RIDGES > 0) | (form == "rows")
    found, wanted = (theta[:, determined] for theta in results)
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)
