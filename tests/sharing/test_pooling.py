"""Independent, pooled, partial pooling: equal to dense solutions and to scikit-learn, guarded."""

import warnings

import numpy as np
import pytest
import reference
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.multitask import _least_squares
from skmtl.sharing import Independent, PartialPooling, Pooled


def table(n=120, p=4, n_tasks=6, seed=0, spread=0.7, noise=0.5):
    """Return tasks of very different sizes with slopes around common ones, in unusual units."""
    rng = np.random.default_rng(seed)
    task = np.r_[np.arange(n_tasks), rng.choice(n_tasks, p=_shares(n_tasks), size=n - n_tasks)]
    X = rng.normal(size=(n, p))
    coef = rng.normal(size=p) + spread * rng.normal(size=(n_tasks, p))
    y = (X * coef[task]).sum(1) + rng.normal(size=n_tasks)[task] + noise * rng.normal(size=n)
    return X * 10.0 ** rng.integers(-2, 3, size=p) + rng.normal(size=p), y, task


def _shares(n_tasks):
    shares = 0.5 ** np.arange(n_tasks)
    return shares / shares.sum()


def standardise(X, w=None):
    X = X.toarray() if hasattr(X, "toarray") else X
    mean = np.average(X, axis=0, weights=w)
    return (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=w))


def fixed(alpha, alpha_intercept, alpha_shared, **params):
    sharing = PartialPooling(alpha, alpha_intercept=alpha_intercept, alpha_shared=alpha_shared)
    return MultiTaskRegressor(sharing, cv=None, **params)


def dense_predictions(X, y, task, strengths, w=None):
    Z = standardise(X, w)
    n_tasks = task.max() + 1
    theta, coef, intercept = reference.dense_ridge(Z, y, task, n_tasks, strengths, w)
    own = (Z * coef[task]).sum(1) + intercept[task]
    return own, Z @ theta[1:] + theta[0]


STRENGTHS = [
    (1.0, 1.0, 1.0),
    (0.01, 0.1, 10.0),
    (100.0, 0.5, 0.0),
    (np.inf, 2.0, 0.3),
    (np.inf, np.inf, 5.0),
    (5.0, np.inf, 1.0),
    (3.0, 0.0, 1.0),
    (2.0, 1.0, np.inf),
    (1e4, 1e-2, 1e-3),
]


@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_fixed_strengths_are_one_dense_ridge(strengths, weighted):
    X, y, task = table()
    w = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y)) if weighted else None
    model = fixed(*strengths).fit(X, y, sample_weight=w, task=task)
    own, shared = dense_predictions(X, y, task, strengths, w)
    np.testing.assert_allclose(model.predict(X, task=task), own, rtol=1e-6, atol=1e-7)
    if strengths[1] > 0:  # else the shared intercept is not determined
        got = X @ model.shared_coef_ + model.shared_intercept_
        np.testing.assert_allclose(got, shared, rtol=1e-6, atol=1e-6)
    assert model.kkt_residual_ < 1e-8
    assert model.n_iter_ == 1


@pytest.mark.parametrize("p", [1, 30, 60])
def test_any_width_is_one_dense_ridge(p):
    X, y, task = table(n=150, p=p)
    model = fixed(2.0, 0.5, 1.0).fit(X, y, task=task)
    own, _ = dense_predictions(X, y, task, (2.0, 0.5, 1.0))
    np.testing.assert_allclose(model.predict(X, task=task), own, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("strengths", [(2.0, 0.5, 1.0), (np.inf, 1.0, 0.1), (1.0, 1.0, np.inf)])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_more_features_than_rows_is_one_dense_ridge(strengths, form):
    X, y, task = table(n=40, p=75, n_tasks=3)
    new = table(n=40, p=75, n_tasks=3, seed=5)[0]
    model = fixed(*strengths).fit(form(X), y, task=task)
    assert model.coef_.shape == (3, 75)
    own, _ = dense_predictions(X, y, task, strengths)
    np.testing.assert_allclose(model.predict(X, task=task), own, rtol=1e-6, atol=1e-7)
    mean, scale = X.mean(0), X.std(0)
    _, coef, a = reference.dense_ridge(standardise(X), y, task, 3, strengths)
    wanted = ((new - mean) / scale * coef[task]).sum(1) + a[task]
    np.testing.assert_allclose(model.predict(new, task=task), wanted, rtol=1e-6, atol=1e-6)
    assert model.kkt_residual_ < 1e-8


@pytest.mark.jit
@pytest.mark.parametrize("strengths", [(1.0, 1.0, 1.0), (np.inf, np.inf, 1.0)])
def test_cross_validation_does_not_change_fixed_strengths(strengths):
    X, y, task = table()
    without = fixed(*strengths).fit(X, y, task=task)
    model = fixed(*strengths).set_params(cv=3).fit(X, y, task=task)
    np.testing.assert_allclose(model.coef_, without.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, without.intercept_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.shared_coef_, without.shared_coef_, rtol=1e-8, atol=1e-10)
    assert without.task_report_ == {} and model.task_report_


# --------------------------------------------------------------------- baselines and equalities


def least_squares_a_task(X, y, task, at, task_at):
    out = np.empty(len(at))
    for t in np.unique(task_at):
        model = LinearRegression().fit(X[task == t], y[task == t])
        out[task_at == t] = model.predict(at[task_at == t])
    return out


@pytest.mark.parametrize("alpha", [0.0, 1e-8])
@pytest.mark.parametrize("sharing", ["partial pooling", "independent"])
def test_strength_to_zero_is_least_squares_a_task(alpha, sharing):
    rng = np.random.default_rng(0)
    task = np.repeat([0, 1, 2], [20, 30, 15])
    X = rng.normal(size=(65, 4)) * [1.0, 100.0, 0.01, 1.0] + 3.0
    y = (X * rng.normal(size=(3, 4))[task]).sum(1) + rng.normal(size=65)
    if sharing == "independent":
        model = MultiTaskRegressor(Independent(alpha=alpha), cv=None)
    else:
        model = fixed(alpha, alpha, 1.0)
    prediction = model.fit(X, y, task=task).predict(X, task=task)
    wanted = least_squares_a_task(X, y, task, X, task)
    np.testing.assert_allclose(prediction, wanted, rtol=1e-5, atol=1e-5 * y.std())


@pytest.mark.parametrize("alpha", [0.1, 3.0, 200.0])
def test_independent_is_one_ridge_a_task_on_the_tables_scale(alpha):
    X, y, task = table()
    model = MultiTaskRegressor(Independent(alpha=alpha), cv=None).fit(X, y, task=task)
    Z = standardise(X)
    for t in range(6):
        mine = task == t
        if mine.sum() == 1:
            wanted = y[mine]
        else:
            wanted = Ridge(alpha=alpha).fit(Z[mine], y[mine]).predict(Z[mine])
        got = model.predict(X[mine], task=task[mine])
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
    assert model.kkt_residual_ < 1e-8


@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0, 200.0])
@pytest.mark.parametrize("sharing", ["pooled", "partial pooling"])
@pytest.mark.parametrize("weighted", [False, True])
def test_strength_to_infinity_is_ridge_behind_a_scaler(alpha, sharing, weighted):
    X, y, task = table()
    w = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y)) if weighted else None
    if sharing == "pooled":
        model = MultiTaskRegressor(Pooled(alpha=alpha), cv=None)
    else:
        model = fixed(np.inf, np.inf, alpha)
    model.fit(X, y, sample_weight=w, task=task)
    pipe = make_pipeline(StandardScaler(), Ridge(alpha=alpha))
    pipe.fit(X, y, standardscaler__sample_weight=w, ridge__sample_weight=w)
    np.testing.assert_allclose(model.predict(X, task=task), pipe.predict(X), rtol=1e-7)
    np.testing.assert_allclose(model.coef_, np.tile(model.shared_coef_, (6, 1)), rtol=1e-12)
    np.testing.assert_allclose(model.coef_[0], pipe[-1].coef_ / pipe[0].scale_, rtol=1e-7)


def test_a_large_strength_is_near_the_pooled_limit():
    X, y, task = table()
    near = fixed(1e9, 1e9, 1.0).fit(X, y, task=task).predict(X, task=task)
    limit = fixed(np.inf, np.inf, 1.0).fit(X, y, task=task).predict(X, task=task)
    np.testing.assert_allclose(near, limit, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.1, 10.0])
@pytest.mark.parametrize("given", ["no task", "task=", "column"])
@pytest.mark.parametrize("strength", [0.0, 1.0, np.inf])
def test_one_task_is_ridge(alpha, given, strength):
    X, y, _ = table()
    model = fixed(strength, "auto" if strength else 0.0, alpha)
    pipe = make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(X, y)
    if given == "column":
        X = np.column_stack([np.full(len(y), 7.0), X])
        model.set_params(task_column=0)
    kwargs = {"task": np.full(len(y), 7)} if given == "task=" else {}
    prediction = model.fit(X, y, **kwargs).predict(X, **kwargs)
    wanted = pipe.predict(X[:, 1:] if given == "column" else X)
    np.testing.assert_allclose(prediction, wanted, rtol=1e-7)


# ----------------------------------------------------------------------------- units and forms

SHARINGS = ["partial_pooling", "independent", "pooled", PartialPooling(1.0, alpha_shared=1.0)]


@pytest.mark.jit
@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_the_scale_of_y_does_not_matter(sharing):
    X, y, task = table()
    model = MultiTaskRegressor(sharing)
    wanted = model.fit(X, y, task=task).predict(X, task=task) * 1000 + 5
    report = model.task_report_
    got = model.fit(X, y * 1000 + 5, task=task).predict(X, task=task)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6 * wanted.std())
    for name in ("error_shared", "error_independent", "error_pooled", "std_error_shared"):
        scaled = model.task_report_[name]
        np.testing.assert_allclose(scaled, report[name] * 1e6, rtol=1e-6, err_msg=name)
    assert list(report["used"]) == list(model.task_report_["used"])


def test_the_scale_of_features_does_not_matter_at_fixed_strengths():
    X, y, task = table()
    wanted = fixed(1.0, 1.0, 1.0).fit(X, y, task=task).predict(X, task=task)
    moved = X * [1e6, 1e-6, 3.0, -1.0] + [0.0, 0.0, 1e3, 5.0]
    got = fixed(1.0, 1.0, 1.0).fit(moved, y, task=task).predict(moved, task=task)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


def test_a_large_mean_costs_no_precision():
    X, y, task = table(p=2)
    X, y = np.round(standardise(X) * 2**10) / 2**10, np.round(y * 2**10) / 2**10
    wanted = fixed(1.0, 1.0, 1.0).fit(X, y, task=task).predict(X, task=task)
    got = fixed(1.0, 1.0, 1.0).fit(X + 1e7, y - 1e7, task=task).predict(X + 1e7, task=task)
    np.testing.assert_allclose(got + 1e7, wanted, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, np.inf])
def test_weights_are_repeated_rows(alpha):
    X, y, task = table()
    times = np.random.default_rng(1).integers(0, 4, size=len(y))
    times[:6] = 1  # every task keeps a row
    rows = np.repeat(np.arange(len(y)), times)
    weighted = fixed(alpha, 1.0, 1.0).fit(X, y, sample_weight=times, task=task)
    repeated = fixed(alpha, 1.0, 1.0).fit(X[rows], y[rows], task=task[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array])
def test_sparse_is_dense(form):
    X, y, task = table(p=6)
    X = np.where(np.random.default_rng(3).uniform(size=X.shape) < 0.5, 0.0, X)
    dense = fixed(2.0, 1.0, 1.0).fit(X, y, task=task)
    model = fixed(2.0, 1.0, 1.0).fit(form(X), y, task=task)
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        model.predict(form(X), task=task), dense.predict(X, task=task), rtol=1e-8
    )


@pytest.mark.jit
def test_sparse_is_dense_when_tuned_on_given_splits():
    X, y, task = table(p=6)
    X = np.where(np.random.default_rng(3).uniform(size=X.shape) < 0.5, 0.0, X)
    rows = np.arange(len(y))
    splits = [(rows[rows % 4 != k], rows[rows % 4 == k]) for k in range(4)]
    dense = MultiTaskRegressor("partial_pooling", cv=splits).fit(X, y, task=task)
    model = MultiTaskRegressor("partial_pooling", cv=splits).fit(sparse.csr_matrix(X), y, task=task)
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------------------------- guards


def simulate(coef, intercept, rows, noise=0.5, seed=0):
    """Return training rows of every task, and test rows without noise."""
    rng = np.random.default_rng(seed)
    n_tasks, p = coef.shape
    task = np.repeat(np.arange(n_tasks), rows)
    X = rng.normal(size=(len(task), p))
    clean = (X * coef[task]).sum(1) + intercept[task]
    at, task_at = rng.normal(size=(200 * n_tasks, p)), np.repeat(np.arange(n_tasks), 200)
    truth = (at * coef[task_at]).sum(1) + intercept[task_at]
    y = clean + noise * rng.normal(size=len(task))
    return (X, y, task), (at, truth, task_at)


def risk(model, train, test):
    """Return the squared distance to the truth, averaged over tasks."""
    X, y, task = train
    at, truth, task_at = test
    return np.mean((model.fit(X, y, task=task).predict(at, task=task_at) - truth) ** 2)


def mean_risks(coef, intercept, rows, noise, n_draws=4):
    """Return the risks of shared, independent and pooled over draws, plus the noise variance."""
    tables = [simulate(coef, intercept, rows, noise, seed) for seed in range(n_draws)]
    models = [MultiTaskRegressor(sharing) for sharing in SHARINGS[:3]]
    return [noise**2 + np.mean([risk(model, *t) for t in tables]) for model in models]


@pytest.mark.jit
@pytest.mark.parametrize("rows", [12, 40, 150])
def test_tasks_with_nothing_in_common_fall_back_to_independent(rows):
    """With slopes of opposite signs pooling is harmful, and the guard avoids it."""
    coef = np.where(np.arange(8) % 2 == 0, 1.0, -1.0)[:, None] * [2.0, -1.0, 1.5]
    shared, independent, pooled = mean_risks(coef, np.zeros(8), rows, 0.5)
    assert shared <= 1.05 * independent
    assert shared < 0.2 * pooled


@pytest.mark.jit
@pytest.mark.parametrize("rows", [5, 10, 40])
def test_equal_tasks_gain_from_pooling(rows):
    coef = np.tile([2.0, -1.0, 1.5, 0.5], (12, 1))
    shared, independent, pooled = mean_risks(coef, np.ones(12), rows, 1.0, n_draws=12)
    assert shared <= 1.05 * pooled
    assert shared < independent


@pytest.mark.jit
def test_related_tasks_gain_over_both():
    coef = np.array([2.0, -1.0, 1.5, 0.5]) + 0.4 * np.random.default_rng(1).normal(size=(20, 4))
    shared, independent, pooled = mean_risks(coef, np.linspace(-2, 2, 20), 8, 1.0)
    assert shared < 0.9 * pooled
    assert shared < 0.9 * independent


@pytest.mark.jit
def test_a_task_in_other_units_is_not_dragged_along():
    coef = np.tile([2.0, -1.0, 1.5], (10, 1))
    intercept = np.zeros(10)
    coef[9], intercept[9] = [40.0, 0.0, -20.0], 300.0
    errors = {(kind, odd): [] for kind in ("partial_pooling", "independent") for odd in (0, 1)}
    for seed in range(4):
        train, (at, truth, task_at) = simulate(coef, intercept, 30, seed=seed)
        for kind, odd in errors:  # the other tasks are not harmed
            mine = (task_at == 9) == odd
            test = at[mine], truth[mine], task_at[mine]
            errors[kind, odd].append(risk(MultiTaskRegressor(kind), train, test) + 0.25)
    for odd in (0, 1):
        shared, alone = (np.mean(errors[kind, odd]) for kind in ("partial_pooling", "independent"))
        assert shared <= 1.1 * alone


@pytest.mark.jit
def test_the_report_says_where_sharing_helps():
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(10), 8)
    X = rng.normal(size=(80, 4))
    y = X @ [1.0, -1.0, 0.5, 0.0] + 0.5 * rng.normal(size=80)
    report = MultiTaskRegressor("partial_pooling").fit(X, y, task=task).task_report_
    assert np.mean(report["gain_over_independent"][:-1]) > 0.05


# ------------------------------------------------------------------------------------ tuning


@pytest.mark.jit
@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_tuning_is_about_as_good_as_the_best_fixed_strengths(spread):
    """The tuned strength is near the best one of a grid, which is found with the truth."""
    rng = np.random.default_rng(3)
    coef = rng.normal(size=4) + spread * rng.normal(size=(10, 4))
    tables = simulate(coef, rng.normal(size=10), 15, noise=1.0)
    grid = [(s, i, 1.0) for s in (0.1, 1.0, 10.0, 100.0, np.inf) for i in (0.1, 1.0, 10.0)]
    best = min(risk(fixed(*strengths), *tables) for strengths in grid)
    assert risk(MultiTaskRegressor("partial_pooling"), *tables) + 1.0 <= 1.05 * (best + 1.0)


@pytest.mark.jit
def test_fixing_one_strength_leaves_the_others_tuned():
    X, y, task = table()
    model = MultiTaskRegressor(PartialPooling(alpha=3.0, alpha_intercept="auto")).fit(
        X, y, task=task
    )
    assert model.sharing_.alpha_ == 3.0
    assert model.sharing_.alpha_intercept_ == 3.0  # follows alpha
    model = MultiTaskRegressor(PartialPooling(alpha_shared=7.0)).fit(X, y, task=task)
    assert model.sharing_.alpha_shared_ == 7.0
    assert model.sharing.get_params() == PartialPooling(alpha_shared=7.0).get_params()
    assert not hasattr(model.sharing, "alpha_")  # the argument is not changed


@pytest.mark.jit
@pytest.mark.parametrize("sharing", SHARINGS[:3])
def test_no_warning_and_finite_at_odd_tables(sharing):
    rng = np.random.default_rng(0)
    X, y, task = rng.normal(size=(30, 3)), rng.normal(size=30), np.repeat(np.arange(6), 5)
    tables = {
        "constant target": (X, np.full(30, 3.0), task),
        "constant feature": (np.column_stack([X, np.full(30, 1e5)]), y, task),
        "all constant": (np.ones((30, 2)), y, task),
        "repeated feature": (np.column_stack([X, X]), y, task),
        "feature constant within tasks": (np.column_stack([X, task]), y, task),
        "tasks of one row": (X, y, np.r_[np.arange(20), np.repeat(20, 10)]),
        "every row a task": (X[:15], y[:15], np.arange(15)),
        "perfect fit": (X, X @ [1.0, 2.0, 3.0], task),
        "tiny values": (X * 1e-150, y * 1e-150, task),
        "huge values": (X * 1e100, y * 1e100, task),
        "four rows": (X[:4], y[:4], [0, 0, 1, 1]),
    }
    for name, (X_, y_, task_) in tables.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model = MultiTaskRegressor(sharing).fit(X_, y_, task=task_)
            except RuntimeWarning as warning:
                raise AssertionError(f"{name}: {warning}") from warning
        assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all(), name
        assert np.isfinite(model.predict(X_, task=task_)).all(), name
        if name == "constant target":
            np.testing.assert_allclose(model.predict(X_, task=task_), 3.0)
        if name == "perfect fit" and sharing == "partial_pooling":
            np.testing.assert_allclose(model.predict(X_, task=task_), y_, atol=0.05)


@pytest.mark.parametrize("sharing", [PartialPooling(), Independent(), Pooled()], ids=str)
@pytest.mark.parametrize("alpha", [-1.0, np.nan, "much", None, True, [1.0]])
def test_bad_strengths(sharing, alpha):
    X, y, task = table()
    name = "alpha"
    sharing.set_params(**{name: alpha})
    with pytest.raises(ValueError, match=rf"{name}=.* must be 'auto' or a number"):
        MultiTaskRegressor(sharing).fit(X, y, task=task)


@pytest.mark.jit
def test_a_splitter_is_used_without_a_warning():
    X, y, task = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MultiTaskRegressor("partial_pooling", cv=KFold(3)).fit(X, y, task=task)
    rows = np.arange(len(y))
    splits = list(KFold(3).split(rows))
    same = MultiTaskRegressor("partial_pooling", cv=splits).fit(X, y, task=task)
    np.testing.assert_array_equal(model.coef_, same.coef_)


# ---------------------------------------------------------------------------------- row form


@pytest.mark.jit
@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("p", [3, 20])  # tasks of more and of fewer rows than features
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_the_row_form_is_the_moment_form(sharing, p, weighted, form, monkeypatch):
    X, y, task = table(p=p, n=60)
    w = np.random.default_rng(1).integers(0, 3, size=60).astype(float) if weighted else None
    fits = []
    for by_rows in (False, True):
        monkeypatch.setattr(_least_squares, "prefers_rows", lambda *args, r=by_rows: r)
        model = MultiTaskRegressor(sharing, cv=KFold(2, shuffle=True, random_state=0))
        fits.append(model.fit(form(X), y, sample_weight=w, task=task))
    assert_same_fit(*fits)


@pytest.mark.jit
def test_the_row_form_of_a_target_with_columns(monkeypatch):
    X, y, _ = table(n=60)
    y = np.column_stack([y, -y, y**2])
    y[::3, 1] = np.nan
    fits = []
    for by_rows in (False, True):
        monkeypatch.setattr(_least_squares, "prefers_rows", lambda *args, r=by_rows: r)
        fits.append(MultiTaskRegressor("partial_pooling").fit(X, y))
    assert_same_fit(*fits)


@pytest.mark.parametrize("strengths", [(2.0, 0.5, 1.0), (np.inf, 1.0, 0.1), (1.0, 1.0, np.inf)])
def test_the_row_form_is_one_dense_ridge(strengths, monkeypatch):
    monkeypatch.setattr(_least_squares, "prefers_rows", lambda *args: True)
    X, y, task = table(p=20)
    model = fixed(*strengths).fit(X, y, task=task)
    own, _ = dense_predictions(X, y, task, strengths)
    np.testing.assert_allclose(model.predict(X, task=task), own, rtol=1e-6, atol=1e-7)
    assert model.kkt_residual_ < 1e-8


def assert_same_fit(a, b):
    names = ["coef_", "intercept_", "shared_coef_", "shared_intercept_"]
    for name in names:
        wanted = getattr(b, name)
        atol = 1e-8 * max(np.abs(wanted).max(), 1e-300)
        np.testing.assert_allclose(getattr(a, name), wanted, 1e-8, atol, err_msg=name)
    for name, wanted in b.task_report_.items():
        if wanted.dtype == object:
            assert list(a.task_report_[name]) == list(wanted)
        else:
            np.testing.assert_allclose(a.task_report_[name], wanted, 1e-7, 1e-10, err_msg=name)


@pytest.mark.jit
@pytest.mark.parametrize("n_tasks", [150, 600])
def test_relabelling_many_tasks(n_tasks):
    """Tasks are sampled by content, not by label."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(n_tasks), 6)
    X = rng.normal(size=(len(task), 4))
    coef = rng.normal(size=4) + rng.normal(size=(n_tasks, 4)) * [0.01, 0.1, 0.5, 1.5]
    y = (X * coef[task]).sum(1) + rng.normal(size=len(task))
    label = rng.permutation(n_tasks)[task]
    wanted = MultiTaskRegressor("partial_pooling").fit(X, y, task=task).predict(X, task=task)
    got = MultiTaskRegressor("partial_pooling").fit(X, y, task=label).predict(X, task=label)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
