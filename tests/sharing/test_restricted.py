"""Slopes that differ by task in some features only."""

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse
from scipy.optimize import lsq_linear
from sharing.test_pooling import standardise, table
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.multitask import _least_squares
from skmtl.sharing import PartialPooling
from skmtl.sharing.problem import Problem
from skmtl.solvers.signed import SignedSystem
from skmtl.tasks import rows as row_room

STRENGTHS = [
    (1.0, 1.0, 1.0),
    (0.01, 0.1, 10.0),
    (100.0, 0.5, 0.0),
    (np.inf, 2.0, 0.3),
    (3.0, 0.0, 1.0),
    (5.0, np.inf, 1.0),
    (2.0, 1.0, np.inf),
]


def fixed(strengths, varying, face=MultiTaskRegressor):
    alpha, pull, ridge = strengths
    sharing = PartialPooling(alpha, alpha_intercept=pull, alpha_shared=ridge, varying=varying)
    return face(sharing, cv=None)


def mask(varying, p):
    return np.isin(np.arange(p), varying)


def assert_alike(model, varying, p):
    """Assert that slopes that do not vary are exactly the shared ones, and others are not."""
    alike = (model.coef_ == model.shared_coef_).reshape(len(model.coef_), -1, p).all((0, 1))
    np.testing.assert_array_equal(alike, ~mask(varying, p))


def related(n, seed=0, n_tasks=20, p=4):
    """Return tasks whose slopes differ in the first feature only, in unusual units."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0)
    coef = truth.normal(size=p) + (np.arange(p) < 1) * truth.normal(size=(n_tasks, p))
    level, task = truth.normal(size=n_tasks), rng.integers(n_tasks, size=n)
    X = rng.normal(size=(n, p))
    score = (X * coef[task]).sum(1) + level[task]
    return X * [1.0, 10.0, 0.1, 1.0] + 3.0, score, task, rng


@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
@pytest.mark.parametrize("varying", [[1], [0, 3], []], ids=str)
@pytest.mark.parametrize("form", ["moments", "rows"])
def test_fixed_strengths_are_one_dense_ridge(strengths, varying, form, monkeypatch):
    if form == "rows":
        monkeypatch.setattr(row_room, "_MOMENT_BYTES", 0)
        monkeypatch.setattr(_least_squares, "prefers_rows", lambda table, n_blocks: True)
    X, y, task = table()
    w = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y))
    model = fixed(strengths, varying).fit(X, y, sample_weight=w, task=task)
    Z = standardise(X, w)
    if not varying:
        strengths = (np.inf, *strengths[1:])
    theta, coef, intercept = reference.dense_ridge(
        Z, y, task, 6, strengths, w, varies=mask(varying, 4)
    )
    wanted = (Z * coef[task]).sum(1) + intercept[task]
    np.testing.assert_allclose(model.predict(X, task=task), wanted, rtol=1e-8, atol=1e-8)
    if strengths[1] > 0:  # else the shared intercept is not determined
        got = X @ model.shared_coef_ + model.shared_intercept_
        np.testing.assert_allclose(got, Z @ theta[1:] + theta[0], rtol=1e-8, atol=1e-8)
    assert model.kkt_residual_ < 1e-9
    assert (model.coef_ == model.shared_coef_)[:, ~mask(varying, 4)].all()


@pytest.mark.parametrize(("n", "p"), [(150, 90), (40, 60)])
def test_many_features_are_one_dense_ridge(n, p):
    """This includes more features than rows, where an unrestricted fit uses other coordinates."""
    X, y, task = table(n=n, p=p, n_tasks=3)
    varying = [0, 5, 17, 50]
    model = fixed((2.0, 1.0, 3.0), varying).fit(X, y, task=task)
    Z = standardise(X)
    _, coef, intercept = reference.dense_ridge(
        Z, y, task, 3, (2.0, 1.0, 3.0), varies=mask(varying, p)
    )
    wanted = (Z * coef[task]).sum(1) + intercept[task]
    np.testing.assert_allclose(model.predict(X, task=task), wanted, rtol=1e-7, atol=1e-8)
    assert_alike(model, varying, p)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("strengths", [(0.7, 0.5, 1.0), (2.0, np.inf, 0.3)])
def test_the_classifier_is_one_dense_problem(n_classes, strengths):
    X, score, task, rng = related(200, n_tasks=5)
    y = np.digitize(score + rng.logistic(size=200), [-1.0, 1.0] if n_classes == 3 else [0.0])
    model = fixed(strengths, [0, 2], MultiTaskClassifier).set_params(tol=1e-7, max_iter=2000)
    model.fit(X, y, task=task)
    wanted = reference.dense_logistic(X, y, task, n_classes, strengths, varies=mask([0, 2], 4))
    np.testing.assert_allclose(model.predict_proba(X, task=task), wanted, rtol=1e-4, atol=1e-5)
    assert_alike(model, [0, 2], 4)


@pytest.mark.jit
@pytest.mark.parametrize(
    ("kind", "varying"),
    [
        ("regression", [0]), ("regression", [0, 1, 2]), ("regression", []), ("two classes", [0]),
        ("two classes", []), ("three classes", [0, 2]),
    ],
)  # fmt: skip
def test_tuned_slopes_are_exactly_alike(varying, kind):
    X, score, task, rng = related(200 if kind == "three classes" else 400)
    sharing = PartialPooling(varying=varying)
    if kind == "regression":
        model, y = MultiTaskRegressor(sharing), score + rng.normal(size=len(score))
    else:
        cuts = [0.0] if kind == "two classes" else [-1.0, 1.0]
        y = np.digitize(score + rng.logistic(size=len(score)), cuts)
        model = MultiTaskClassifier(sharing)
    model.fit(X, y, task=task)
    assert (model.history_["weight"] > 0).sum() > 1
    assert_alike(model, varying, 4)
    assert model.kkt_residual_ < 1e-4
    assert (model.task_report_["used"] != "independent").all()


@pytest.mark.jit
def test_a_variance_a_feature_is_learned_of_what_varies_only():
    """Slopes differ in the first feature and hardly in the second; the third one does not vary."""
    X, score, task, rng = related(800)
    model = MultiTaskRegressor(PartialPooling(varying=[0, 1]))
    model.fit(X, score + rng.normal(size=800), task=task)
    assert model.history_["weight"][model.history_["per_feature"]].sum() > 0.1
    assert_alike(model, [0, 1], 4)


@pytest.mark.jit
def test_the_report_tells_the_truth():
    """The report has the errors of the restricted model and of independent ones in all features."""
    told, true = [], []
    for seed in range(3):
        X, score, task, rng = related(2400, seed)
        y = score + rng.normal(size=len(score))
        model = MultiTaskRegressor(PartialPooling(varying=[0]))
        model.fit(X[:400], y[:400], task=task[:400])
        report = model.task_report_
        told.append(np.average(report["error_shared"][:-1], weights=report["n_samples"][:-1]))
        true.append(np.mean((model.predict(X[400:], task=task[400:]) - y[400:]) ** 2))
        plain = MultiTaskRegressor("partial_pooling")
        plain = plain.fit(X[:400], y[:400], task=task[:400]).task_report_
        np.testing.assert_allclose(
            report["error_independent"], plain["error_independent"], rtol=0.05
        )
    assert 0.85 < np.mean(told) / np.mean(true) < 1.15


@pytest.mark.jit
def test_knowing_which_slope_varies_helps():
    excess = {}
    for name, varying in (("known", [0]), ("unknown", None), ("wrong", [1])):
        errors = []
        for seed in range(3):
            X, score, task, rng = related(2200, seed)
            y = score[:200] + rng.normal(size=200)
            model = MultiTaskRegressor(PartialPooling(varying=varying))
            model.fit(X[:200], y, task=task[:200])
            errors.append(np.mean((model.predict(X[200:], task=task[200:]) - score[200:]) ** 2))
        excess[name] = np.mean(errors)
    assert excess["known"] < excess["unknown"] < excess["wrong"]


@pytest.mark.jit
def test_all_features_listed_are_no_restriction():
    X, y, task = table()
    plain = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
    listed = MultiTaskRegressor(PartialPooling(varying=[3, 1, 0, 2])).fit(X, y, task=task)
    np.testing.assert_array_equal(listed.coef_, plain.coef_)


def test_names_and_indices_do_not_count_the_task_column():
    X, y, task = table()
    frame = pd.DataFrame(X, columns=["price", "promo", "size", "age"])
    frame.insert(1, "shop", task)
    wanted = fixed((1.0, 1.0, 1.0), [1, 3]).fit(X, y, task=task)
    for varying in (["promo", "age"], [1, 3], ("age", "promo"), np.array([1, 3]), ["promo", 3]):
        model = fixed((1.0, 1.0, 1.0), varying).set_params(task_column="shop").fit(frame, y)
        np.testing.assert_array_equal(model.coef_, wanted.coef_)
        np.testing.assert_array_equal(model.sharing_.varying_, [False, True, False, True])
    unnamed = fixed((1.0, 1.0, 1.0), ["x1", "x3"]).fit(X, y, task=task)
    np.testing.assert_array_equal(unnamed.coef_, wanted.coef_)


@pytest.mark.parametrize(
    ("varying", "message"),
    [
        (["cost"], r"varying lists 'cost', not among the 4 features .*'price', 'promo'"),
        (["shop", "price"], r"varying lists 'shop', not among"),
        ([4], r"varying lists 4, .*from 0 to 3"),
        ([-1], r"varying lists -1"),
        ([True], r"varying lists True"),
        ([0.5, None], r"varying lists 0.5, None"),
        ("price", r"varying='price' must be a sequence .*such as \['price'\]"),
        (2, r"varying=2 must be a sequence"),
    ],
)
def test_unknown_columns(varying, message):
    X, y, task = table()
    frame = pd.DataFrame(X, columns=["price", "promo", "size", "age"])
    frame.insert(1, "shop", task)
    model = fixed((1.0, 1.0, 1.0), varying).set_params(task_column="shop")
    with pytest.raises(ValueError, match=message):
        model.fit(frame, y)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    fitted = clone(model).set_params(sharing__varying=["price"]).fit(frame, y)
    coef = fitted.coef_.copy()
    with pytest.raises(ValueError, match=message):
        fitted.set_params(sharing__varying=varying).fit(frame, y)
    np.testing.assert_array_equal(fitted.coef_, coef)
    with pytest.raises(ValueError, match=message):
        clone(model).partial_fit(frame, y)


def test_partial_fit_is_fit():
    X, y, task = table()
    model = fixed((1.0, 1.0, 1.0), [2])
    whole, parts = clone(model).fit(X, y, task=task), clone(model)
    for part in np.array_split(np.arange(len(y)), 3):
        parts.partial_fit(X[part], y[part], task=task[part])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-8)
    assert_alike(parts, [2], 4)


def test_sparse_is_dense():
    X, y, task = table()
    model = fixed((1.0, 1.0, 1.0), [2])
    wanted = clone(model).fit(X, y, task=task)
    got = clone(model).fit(sparse.csr_matrix(X), y, task=task)
    np.testing.assert_allclose(got.coef_, wanted.coef_, rtol=1e-8)


def test_a_task_without_labels_and_columns_of_a_target():
    X, y, _ = table()
    wide = np.column_stack([y, -y, y])
    wide[5:, 2] = np.nan
    model = fixed((1.0, 1.0, 1.0), [2]).fit(X, wide)
    assert model.coef_.shape == (3, 4)
    assert_alike(model, [2], 4)


@pytest.mark.jit
def test_one_task_is_the_plain_ridge():
    X, y, _ = table()
    got = MultiTaskRegressor(PartialPooling(varying=[1])).fit(X, y)
    wanted = MultiTaskRegressor("partial_pooling").fit(X, y)
    np.testing.assert_allclose(got.coef_, wanted.coef_, rtol=1e-3)


# ------------------------------------------------------------------------------------- signs


def signed(strengths, face=MultiTaskRegressor, **columns):
    alpha, pull, ridge = strengths
    sharing = PartialPooling(alpha, alpha_intercept=pull, alpha_shared=ridge, **columns)
    return face(sharing, cv=None)


def assert_signs(model, positive=(), negative=()):
    """Signs hold exactly, for the slopes of the tasks and the shared ones."""
    for columns, sign in ((positive, 1.0), (negative, -1.0)):
        columns = list(columns)
        assert (sign * model.coef_[:, columns] >= 0).all()
        assert (sign * model.shared_coef_[columns] >= 0).all()


@pytest.mark.parametrize("strengths", [*STRENGTHS[:4], *STRENGTHS[5:]], ids=str)
@pytest.mark.parametrize("varying", [None, [1, 2]], ids=str)
@pytest.mark.parametrize("form", ["moments", "rows"])
def test_signs_at_fixed_strengths_are_one_bounded_problem(strengths, varying, form, monkeypatch):
    if form == "rows":
        monkeypatch.setattr(row_room, "_MOMENT_BYTES", 0)
        monkeypatch.setattr(_least_squares, "prefers_rows", lambda table, n_blocks: True)
    X, y, task = table()
    w = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y))
    model = signed(strengths, varying=varying, positive=[0, 1], negative=[2])
    model.fit(X, y, sample_weight=w, task=task)
    Z = standardise(X, w) * [1.0, 1.0, -1.0, 1.0]
    varies = None if varying is None else mask(varying, 4)
    theta, coef, intercept = reference.dense_signed(
        Z, y, task, 6, strengths, mask([0, 1, 2], 4), w, varies=varies
    )
    wanted = (Z * coef[task]).sum(1) + intercept[task]
    np.testing.assert_allclose(model.predict(X, task=task), wanted, rtol=1e-7, atol=1e-7)
    got = X @ model.shared_coef_ + model.shared_intercept_
    np.testing.assert_allclose(got, Z @ theta[1:] + theta[0], rtol=1e-7, atol=1e-7)
    assert_signs(model, [0, 1], [2])
    assert model.kkt_residual_ < 1e-9
    plain = signed(strengths, varying=varying).fit(X, y, sample_weight=w, task=task)
    assert np.abs(plain.coef_ - model.coef_).max() > 1e-3  # the signs matter


def price_table(n, seed=0, n_tasks=20):
    """Return noisy sales that a price lowers, in some shops more than in others."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(0)
    price = -np.maximum(0.9 * truth.normal(size=n_tasks), 0.0)
    level, task = truth.normal(size=n_tasks), rng.integers(n_tasks, size=n)
    X = rng.normal(size=(n, 3))
    coef = np.column_stack([price, np.full(n_tasks, 0.5), np.zeros(n_tasks)])
    score = (X * coef[task]).sum(1) + level[task]
    return X * [1.0, 10.0, 0.1] + 3.0, score, task, rng


@pytest.mark.jit
@pytest.mark.parametrize("varying", [None, [0], [0, 1], []], ids=str)
def test_tuned_slopes_have_their_signs(varying):
    X, score, task, rng = price_table(200)
    y = score + rng.normal(size=200)
    sharing = PartialPooling(varying=varying, positive=[1], negative=[0])
    model = MultiTaskRegressor(sharing, cv=3).fit(X, y, task=task)
    assert (model.history_["weight"] > 0).sum() > 1
    assert_signs(model, [1], [0])
    if varying is not None:
        assert (model.coef_ == model.shared_coef_)[:, ~mask(varying, 3)].all()
    assert model.kkt_residual_ < 1e-9
    plain = MultiTaskRegressor(PartialPooling(varying=varying), cv=3).fit(X, y, task=task)
    if varying != []:
        assert (plain.coef_[:, 0] > 0).any()
    report = model.task_report_
    assert all(np.isfinite(report[f"error_{name}"][:-1]).all() for name in ("shared", "pooled"))
    assert report["error_shared"][-1] > 0


@pytest.mark.jit
def test_signs_help_and_the_report_tells_the_truth():
    excess = {"signed": [], "plain": []}
    told, true = [], []
    for seed in range(4):
        X, score, task, rng = price_table(2200, seed)
        y = score + 2.0 * rng.normal(size=len(score))
        for name, columns in (("signed", {"negative": [0], "positive": [1]}), ("plain", {})):
            model = MultiTaskRegressor(PartialPooling(**columns), cv=3)
            model.fit(X[:200], y[:200], task=task[:200])
            prediction = model.predict(X[200:], task=task[200:])
            excess[name].append(np.mean((prediction - score[200:]) ** 2))
            if name == "signed":
                report = model.task_report_
                rows = report["n_samples"][:-1]
                told.append(np.average(report["error_shared"][:-1], weights=rows))
                true.append(np.mean((prediction - y[200:]) ** 2))
    assert np.mean(excess["signed"]) < np.mean(excess["plain"])
    assert 0.85 < np.mean(told) / np.mean(true) < 1.15


@pytest.mark.jit
def test_turning_a_column_round_turns_its_sign(monkeypatch):
    # The few known rows of a task are chosen by a hash of the rows.
    monkeypatch.setattr(Problem, "few_shot_scores", lambda *args: None)
    X, score, task, rng = price_table(200)
    y = score + 2.0 * rng.normal(size=200)
    splits = [(np.flatnonzero(np.arange(200) % 3 != k), np.flatnonzero(np.arange(200) % 3 == k))
              for k in range(3)]  # fmt: skip
    minus = MultiTaskRegressor(PartialPooling(negative=[0]), cv=splits).fit(X, y, task=task)
    turned = X * [-1.0, 1.0, 1.0]
    plus = MultiTaskRegressor(PartialPooling(positive=[0]), cv=splits).fit(turned, y, task=task)
    np.testing.assert_allclose(minus.coef_ * [-1.0, 1.0, 1.0], plus.coef_, rtol=1e-8, atol=1e-10)


def test_a_warning_where_signs_are_not_solved(monkeypatch):
    X, y, task = table()
    model = signed((1.0, 1.0, 1.0), positive=[0, 1, 2, 3])
    assert 1 < clone(model).fit(X, y, task=task).n_iter_ < 20
    solve = SignedSystem.solve
    monkeypatch.setattr(SignedSystem, "solve", lambda *a, **k: solve(*a, **k, max_iter=1))
    with pytest.warns(ConvergenceWarning, match="KKT residual .* raise alpha"):
        cut = clone(model).fit(X, y, task=task)
    assert_signs(cut, range(4))  # all the same
    assert cut.kkt_residual_ > 1e-6


def test_names_and_errors_of_signs():
    X, y, task = table()
    frame = pd.DataFrame(X, columns=["price", "promo", "size", "age"])
    frame.insert(1, "shop", task)
    model = signed((1.0, 1.0, 1.0), positive=["promo"], negative=[0])
    model.set_params(task_column="shop").fit(frame, y)
    assert_signs(model, [1], [0])
    assert list(model.sharing_.positive_) == [False, True, False, False]
    assert list(model.sharing_.negative_) == [True, False, False, False]
    for columns, message in (
        ({"positive": ["cost"]}, "positive lists 'cost', not among the 4 features"),
        ({"negative": [7]}, "negative lists 7"),
        ({"negative": "price"}, "negative='price' must be a sequence"),
        ({"positive": ["price"], "negative": [0]}, "positive and negative both list 'price'"),
    ):
        bad = signed((1.0, 1.0, 1.0), **columns).set_params(task_column="shop")
        with pytest.raises(ValueError, match=message):
            bad.fit(frame, y)
        with pytest.raises(NotFittedError):
            check_is_fitted(bad)
    with pytest.raises(ValueError, match="positive= and negative= .* are for MultiTaskRegressor"):
        signed((1.0, 1.0, 1.0), MultiTaskClassifier, positive=[0]).fit(X, y > 0, task=task)


def test_no_signs_listed_is_no_restriction():
    X, y, task = table()
    plain = signed((1.0, 1.0, 1.0)).fit(X, y, task=task)
    none = signed((1.0, 1.0, 1.0), positive=[], negative=[]).fit(X, y, task=task)
    np.testing.assert_array_equal(none.coef_, plain.coef_)


def test_partial_fit_with_signs_is_fit():
    X, y, task = table()
    model = signed((1.0, 1.0, 1.0), positive=[0], negative=[1, 2])
    whole, parts = clone(model).fit(X, y, task=task), clone(model)
    for part in np.array_split(np.arange(len(y)), 3):
        parts.partial_fit(X[part], y[part], task=task[part])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-8, atol=1e-10)
    assert_signs(parts, [0], [1, 2])


def test_a_constant_column_and_one_task_with_signs():
    X, y, task = table()
    X[:, 2] = 7.0
    model = signed((1.0, 1.0, 1.0), positive=[0, 2], negative=[1]).fit(X, y, task=task)
    assert_signs(model, [0, 2], [1])
    alone = signed((1.0, 1.0, 1.0), positive=[0], negative=[1]).fit(X, y)
    assert_signs(alone, [0], [1])


# ------------------------------------------------------------------------ beside everything else


RESTRICTED = {
    "varying": {"varying": [0, 2]},
    "intercepts": {"varying": []},
    "signs": {"positive": [0, 1], "negative": [2]},
    "both": {"varying": [1, 2], "positive": [0, 1], "negative": [2]},
}


@pytest.mark.parametrize("n_known", [None, 3])  # 3: fewer rows than coefficients
@pytest.mark.parametrize("strengths", [(1.0, 1.0, 1.0), (0.01, 0.1, 10.0), (np.inf, 2.0, 0.3)])
@pytest.mark.parametrize("columns", RESTRICTED.values(), ids=list(RESTRICTED))
def test_a_task_adapted_to_its_own_rows_is_what_fit_found(columns, strengths, n_known):
    X, y, task = table()
    w = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    keep = (task != 3) | (np.cumsum(task == 3) <= (n_known or len(y)))
    X, y, task, w = X[keep], y[keep], task[keep], w[keep]
    own = task == 3
    model = signed(strengths, **columns).fit(X, y, sample_weight=w, task=task)
    got = model.adapt(X[own], y[own], sample_weight=w[own])
    np.testing.assert_allclose(got.coef_, model.coef_[3], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(got.predict(X), model.for_task(3).predict(X), rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(got.coef_ == 0.0, model.coef_[3] == 0.0)
    if "varying" in columns:
        fixed = ~mask(columns["varying"], 4)
        np.testing.assert_array_equal(got.coef_[fixed], model.shared_coef_[fixed])
    if "positive" in columns and np.isfinite(strengths[0]):
        assert (model.coef_ == 0.0).any()


def test_adapting_with_signs_is_a_bounded_problem():
    """Compare the model of a new task with opposite signs with that of another solver."""
    X, y, task = table()
    model = signed((2.0, 0.5, 1.0), positive=[0, 1], negative=[2]).fit(X, y, task=task)
    A = np.random.default_rng(3).normal(size=(7, 4)) * X.std(axis=0) + X.mean(axis=0)
    b = A @ [-1.0, 1.0, 2.0, -1.0] / X.std(axis=0).mean()
    Z = np.column_stack([np.ones(7), (A - X.mean(axis=0)) / X.std(axis=0)])
    shared = model.shared_coef_ * X.std(axis=0)
    prior = np.r_[model.shared_intercept_ + X.mean(axis=0) @ model.shared_coef_, shared]
    root = np.sqrt([0.5, 2.0, 2.0, 2.0, 2.0])
    wanted = lsq_linear(
        np.vstack([Z, np.diag(root)]), np.r_[b, root * prior],
        ([-np.inf, 0, 0, -np.inf, -np.inf], [np.inf, np.inf, np.inf, 0, np.inf]),
        method="bvls", tol=1e-14, max_iter=100,
    ).x  # fmt: skip
    got = model.adapt(A, b)
    np.testing.assert_allclose(got.coef_ * X.std(axis=0), wanted[1:], rtol=1e-7, atol=1e-8)
    assert got.coef_[0] == 0.0 and got.coef_[2] == 0.0


@pytest.mark.jit
@pytest.mark.parametrize("columns", [{"varying": [0]}, {"negative": [0]}], ids=str)
def test_tuned_models_adapt_and_know_their_spread(columns):
    X, score, task, rng = price_table(400)
    y = score + 0.5 * rng.normal(size=400)
    known = task != 3
    model = MultiTaskRegressor(PartialPooling(**columns), cv=3)
    model.fit(X[known], y[known], task=task[known])
    A, b = X[~known], -y[~known]  # a task with opposite slopes
    for size in (1, 3, len(b)):
        got = model.adapt(A[:size], b[:size])
        if "varying" in columns:
            np.testing.assert_array_equal(got.coef_[1:], model.shared_coef_[1:])
        else:
            assert got.coef_[0] <= 0.0 and not np.signbit(got.coef_[got.coef_ == 0.0]).any()
        assert np.isfinite(got.predict(A, return_std=True)[1]).all()
    _, std = model.predict(X[known], task=task[known], return_std=True)
    assert 0.35 < std.min() and std.max() < 0.8
    low, high = model.predict_interval(X[known], task=task[known], coverage=0.8)
    assert 0.7 < np.mean((low <= y[known]) & (y[known] <= high)) < 0.9


@pytest.mark.jit
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_adapts_with_the_slopes_held(n_classes):
    X, score, task, rng = related(200 if n_classes == 3 else 400)
    cuts = [0.0] if n_classes == 2 else [-1.0, 1.0]
    y = np.digitize(score + rng.logistic(size=len(score)), cuts)
    model = MultiTaskClassifier(PartialPooling(varying=[0])).fit(X, y, task=task)
    got = model.adapt(X[:9], y[:9])
    np.testing.assert_array_equal(got.coef_[..., 1:], model.shared_coef_[..., 1:])
    assert (got.coef_[..., 0] != model.shared_coef_[..., 0]).any()
    fitted = fixed((1.0, 0.5, 1.0), [0, 2], MultiTaskClassifier).set_params(tol=1e-7, max_iter=5000)
    fitted.fit(X, y, task=task)
    got = fitted.adapt(X[task == 3], y[task == 3])
    np.testing.assert_allclose(
        got.predict_proba(X), fitted.for_task(3).predict_proba(X), rtol=1e-4, atol=1e-5
    )


@pytest.mark.jit
def test_units_of_the_tasks():
    """Signs hold in any units; equal slopes in all tasks require a common unit."""
    X, score, task, rng = price_table(300)
    y = (score + 0.5 * rng.normal(size=300)) * 10.0 ** (task % 4 - 1.0)
    sharing = PartialPooling(negative=[0], positive=[1])
    model = MultiTaskRegressor(sharing, cv=3, target_scale="task").fit(X, y, task=task)
    assert_signs(model, [1], [0])
    report = model.task_report_
    came = np.bincount(task, (y - model.predict(X, task=task)) ** 2) / np.bincount(task)
    assert np.abs(np.log(report["error_shared"][:-1] / came)).mean() < 0.6
    assert np.isfinite(report["error_shared"]).all()
    got = model.adapt(X[:5], -100.0 * y[:5])
    assert got.coef_[0] <= 0.0 <= got.coef_[1]
    alike = signed((1.0, 1.0, 1.0), positive=[1], negative=[0]).set_params(target_scale="task")
    alike.fit(X, y, task=task)
    got = alike.adapt(X[task == 3], y[task == 3])
    np.testing.assert_allclose(got.coef_, alike.coef_[3], rtol=1e-7)
    held = MultiTaskRegressor(PartialPooling(varying=[0]), cv=3).fit(X, y, task=task)
    assert held.target_scale_ == "table"
    assert_alike(held, [0], 3)
    coef = held.coef_.copy()
    for method in (held.fit, clone(held).set_params(target_scale="task").partial_fit):
        held.set_params(target_scale="task")
        with pytest.raises(ValueError, match="target_scale='task' .* varying="):
            method(X, y, task=task)
    np.testing.assert_array_equal(held.coef_, coef)


def test_names_after_preprocessing():
    X, y, task = table()
    frame = pd.DataFrame(X, columns=["price", "promo", "size", "age"])
    frame.loc[::7, "promo"] = np.nan
    frame["region"] = np.where(np.arange(len(y)) % 3, "north", "south")
    frame["shop"], frame["row"] = task, np.arange(len(y))
    model = signed((1.0, 1.0, 1.0), varying=["price", "region_north"], negative=["age"])
    model.set_params(task_column="shop", exclude_columns="row", preprocessor="auto")
    model.fit(frame, y)
    names = model.coef_feature_names_.tolist()
    alike = (model.coef_ == model.shared_coef_).all(0)
    assert {n for n, same in zip(names, alike, strict=True) if not same} == {
        "price", "region_north",
    }  # fmt: skip
    assert (model.coef_[:, names.index("age")] <= 0).all()
    assert (clone(model).set_params(sharing__negative=None).fit(frame, y).coef_ > 0).any()
    first = clone(model).partial_fit(frame[:40], y[:40]).partial_fit(frame[40:], y[40:])
    assert first.coef_feature_names_.tolist() == names
    with pytest.raises(ValueError, match=r"varying lists 'region', not among the 7 features"):
        model.set_params(sharing__varying=["region"]).fit(frame, y)


def test_a_classifier_warns_of_separation():
    X, score, task, _ = related(200, n_tasks=5)
    y = score > 0
    with pytest.warns(
        ConvergenceWarning, match="alpha and alpha_intercept = 0 does not bound the coefficients"
    ):
        fixed((0.0, 0.0, 1.0), [0], MultiTaskClassifier).fit(X, y, task=task)
