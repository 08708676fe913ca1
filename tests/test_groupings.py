"""Grouping columns of the multi-task estimators: who rated whom."""

import pickle
import warnings

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.multitask import _table_fit
from skmtl.sharing import Independent, PartialPooling, Pooled
from skmtl.sharing.grouping_search import moment_variances
from skmtl.sharing.groupings import CrossedEffects

pd = pytest.importorskip("pandas")

pytestmark = pytest.mark.jit
FIXED = PartialPooling(alpha=6.0, alpha_intercept=3.0, alpha_shared=0.5)
GIVEN = {"student": 2.0, "dept": 5.0}


def ratings(seed=0, n=600, n_lecturers=20, n_students=60, bend=0.0, student=1.0):
    """Lecturers (the tasks), students who cross them, and departments that contain lecturers."""
    rng = np.random.default_rng(seed)
    lecturer, who = rng.integers(n_lecturers, size=n), rng.integers(n_students, size=n)
    frame = pd.DataFrame(
        {
            "lecturer": [f"l{i}" for i in lecturer],
            "student": who + 100,
            "dept": np.array(["art", "bio", "law"])[lecturer % 3],
            "age": rng.normal(size=n),
            "hours": rng.normal(size=n),
        }
    )
    y = 0.5 * frame["age"] + rng.normal(size=n_lecturers)[lecturer]
    y = y + student * rng.normal(size=n_students)[who] + np.array([1.0, 0.0, -1.0])[lecturer % 3]
    y = y + bend * np.sin(3 * frame["hours"])
    return frame, (y + 0.7 * rng.normal(size=n)).to_numpy()


def face(sharing="partial_pooling", grouping_columns=("student", "dept"), **params):
    listed = list(grouping_columns) if isinstance(grouping_columns, tuple) else grouping_columns
    return MultiTaskRegressor(sharing, task_column="lecturer", grouping_columns=listed, **params)


def numbers(frame):
    return frame[["age", "hours"]].to_numpy()


def codes_of(column):
    return np.unique(column, return_inverse=True)[1]


# ---------------------------------------------------------------------------- fixed strengths


@pytest.mark.parametrize(
    ("sharing", "pooling"),
    [
        (FIXED, (6.0, 3.0, 0.5)),
        (PartialPooling(alpha=np.inf, alpha_intercept=3.0, alpha_shared=0.0), (np.inf, 3.0, 0.0)),
        (
            PartialPooling(alpha=1.0, alpha_intercept=3.0, alpha_shared=0.0, varying=[]),
            (np.inf, 3.0, 0.0),
        ),
        (Pooled(2.0), (np.inf, np.inf, 2.0)),
    ],
    ids=["slopes", "intercepts", "no slopes vary", "pooled"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_fixed_strengths_are_the_joint_ridge(sharing, pooling, weighted, rng):
    X, y = ratings(n=200)
    weight = rng.uniform(0.5, 2.0, size=len(y)) if weighted else None
    model = face(sharing, GIVEN, cv=None).fit(X, y, weight)
    Z = reference.standardised(numbers(X), weight)
    codes = np.column_stack([codes_of(X["student"]), codes_of(X["dept"])])
    sizes = codes.max(axis=0) + 1
    wanted, effects = reference.crossed_ridge(
        Z, y, codes_of(X["lecturer"]), 20, codes, sizes, pooling, (2.0, 5.0), weight
    )
    np.testing.assert_allclose(model.predict(X), wanted, atol=1e-6)
    assert model.kkt_residual_ <= 1e-8 and model.grouping_strengths_ == GIVEN
    for column, values in zip(GIVEN, effects, strict=True):
        found = model.grouping_effects_[column]
        np.testing.assert_array_equal(found["level"], np.unique(X[column]))
        np.testing.assert_allclose(found["effect"], values, atol=1e-6)
        rows = np.bincount(codes_of(X[column]), weight)
        np.testing.assert_allclose(found["n_samples"], rows)


def test_strengths_that_are_ratios_of_variances_give_best_linear_unbiased_predictions():
    """From the covariance of the labels, without any ridge (Henderson 1975)."""
    X, y = ratings(n=150, n_lecturers=12, n_students=25)
    noise, variances = 0.5, {"lecturer": 0.8, "student": 1.2, "dept": 0.4}
    Z = {c: np.eye(X[c].nunique())[codes_of(X[c])] for c in variances}
    V = noise * np.eye(len(y)) + sum(v * Z[c] @ Z[c].T for c, v in variances.items())
    fixed = np.column_stack([np.ones(len(y)), numbers(X)])
    inner = np.linalg.solve(V, fixed)
    beta = np.linalg.solve(fixed.T @ inner, inner.T @ y)
    rest = np.linalg.solve(V, y - fixed @ beta)
    blup = fixed @ beta + sum(v * Z[c] @ (Z[c].T @ rest) for c, v in variances.items())
    given = {c: noise / variances[c] for c in ("student", "dept")}
    pooling = PartialPooling(
        alpha=np.inf, alpha_intercept=noise / variances["lecturer"], alpha_shared=0.0
    )
    model = face(pooling, given, cv=None).fit(X, y)
    np.testing.assert_allclose(model.predict(X), blup, atol=1e-7)
    student = variances["student"] * Z["student"].T @ rest
    np.testing.assert_allclose(model.grouping_effects_["student"]["effect"], student, atol=1e-7)


def test_weights_of_tasks_leave_given_strengths_in_rows():
    X, y = ratings(n=200)
    weights = {"l0": 4.0, "l1": 0.5}
    model = face(FIXED, GIVEN, cv=None, task_weight=weights).fit(X, y)
    row_weights = X["lecturer"].map(weights).fillna(1.0).to_numpy()
    wanted = face(FIXED, GIVEN, cv=None).fit(X, y, row_weights)
    for column in GIVEN:
        assert model.grouping_strengths_[column] == pytest.approx(GIVEN[column])
        rows = np.bincount(codes_of(X[column]))
        np.testing.assert_allclose(model.grouping_effects_[column]["n_samples"], rows)
    assert np.corrcoef(model.predict(X), wanted.predict(X))[0, 1] > 0.999


def test_a_joint_system_that_stops_early_warns(monkeypatch):
    X, y = ratings(n=200)
    monkeypatch.setattr(_table_fit, "_LARGEST_RESIDUAL", 1e-300)
    with pytest.warns(ConvergenceWarning, match=r"grouping_columns=\['student', 'dept'\] stopped"):
        face(FIXED, GIVEN, cv=None).fit(X, y)


def test_infinite_strengths_are_a_fit_without_the_columns():
    X, y = ratings()
    without = face(FIXED, None, cv=None, exclude_columns=["student", "dept"]).fit(X, y)
    model = face(FIXED, {"student": np.inf, "dept": np.inf}, cv=None).fit(X, y)
    np.testing.assert_allclose(model.predict(X), without.predict(X), atol=1e-10)
    assert not model.grouping_effects_["student"]["effect"].any()


@pytest.mark.parametrize("kind", [MultiTaskRegressor, MultiTaskClassifier])
def test_slopes_of_levels_are_the_joint_optimum(kind):
    X, y = ratings(n=260, n_lecturers=8, n_students=15)
    is_class = kind is MultiTaskClassifier
    y = (y > np.median(y)).astype(float) if is_class else y
    options = {"tol": 1e-9} if is_class else {}
    given = {"student": (2.0, 4.0), "dept": 5.0}
    model = kind(FIXED, task_column="lecturer", grouping_columns=given, cv=None, **options).fit(
        X, y
    )
    Z, task = reference.standardised(numbers(X)), codes_of(X["lecturer"])
    student, dept = codes_of(X["student"]), codes_of(X["dept"])
    sizes = (15, 3)
    A, penalty = reference.crossed_design(
        Z, task, 8, np.column_stack([student, dept]), sizes, (6.0, 3.0, 0.5), (2.0, 5.0)
    )
    dummies = np.eye(15)[student]
    A = np.hstack([A, *(dummies * z[:, None] for z in Z.T)])
    penalty = np.r_[penalty, np.full(30, 4.0)]
    if is_class:
        beta = reference.penalised_logistic(A, penalty, y)
        np.testing.assert_allclose(model.decision_function(X), A @ beta, atol=1e-5)
    else:
        beta = np.linalg.solve(A.T @ A + np.diag(penalty + 1e-12), A.T @ y)
        np.testing.assert_allclose(model.predict(X), A @ beta, atol=1e-6)
    effects = model.grouping_effects_["student"]
    slopes = beta[-30:].reshape(2, 15).T / numbers(X).std(axis=0)
    np.testing.assert_allclose(effects["slopes"], slopes, atol=1e-5)
    assert model.grouping_strengths_ == {"student": (2.0, 4.0), "dept": 5.0}
    one = X[X["lecturer"] == "l3"]
    alone = model.for_task("l3")
    predict = "decision_function" if is_class else "predict"
    np.testing.assert_allclose(getattr(alone, predict)(one), getattr(model, predict)(one))
    bare = one.drop(columns=["lecturer", "student", "dept"])
    assert np.abs(getattr(alone, predict)(bare) - getattr(alone, predict)(one)).max() > 0.01


def test_slopes_of_levels_are_found_where_there_are_any():
    X, y = ratings(n=3000, n_students=100)
    rng = np.random.default_rng(7)
    bent = y + rng.normal(size=100)[X["student"] - 100] * X["age"].to_numpy()
    train = np.arange(len(y)) % 4 > 0
    auto = {"student": ("auto", "auto")}
    errors = []
    for columns in (auto, ["student"]):
        model = face(grouping_columns=columns, exclude_columns="dept").fit(X[train], bent[train])
        errors.append(np.mean((bent[~train] - model.predict(X[~train])) ** 2))
    assert errors[0] < 0.7 * errors[1]
    plain = face(grouping_columns=auto, exclude_columns="dept").fit(X[train], y[train])
    assert plain.grouping_strengths_["student"][1] > 10.0
    adapted = plain.adapt(X[~train].iloc[:5], y[~train][:5])
    assert np.isfinite(adapted.predict(X[~train])).all()
    terms = plain.summary().components["term"].tolist()
    assert terms[:2] == ["intercept", "slopes"]


# ------------------------------------------------------------------------------------- tuned


def test_moment_variances(rng):
    codes = np.column_stack([rng.integers(6, size=50), rng.integers(9, size=50)])
    weight, values = np.ones(50), rng.normal(size=50)
    system = reference.moment_system(codes, weight)
    groups = [np.zeros(50, dtype=int), *codes.T]
    sums = [sum(len(v) * v.var() for v in (values[g == k] for k in set(g))) for g in groups]
    wanted = np.linalg.solve(system, sums)
    noise, variances = moment_variances(values, codes)
    assert wanted[0] > 0  # and the others are made non-negative
    np.testing.assert_allclose(noise, wanted[0])
    np.testing.assert_allclose(variances, np.maximum(wanted[1:], 0.0), atol=1e-12)


def test_moment_variances_of_weighted_rows(rng):
    """Whose noise has the variance 1 / weight, as of working responses."""
    codes = np.column_stack([rng.integers(6, size=50), rng.integers(9, size=50)])
    weight, values = rng.uniform(0.5, 2.0, size=50), rng.normal(size=50)
    system, sums = reference.moment_system(codes, weight), []
    for group in [np.zeros(50, dtype=int), *codes.T]:
        means = [
            np.average(values[group == g], weights=weight[group == g])
            for g in range(group.max() + 1)
        ]
        sums.append(weight @ (values - np.array(means)[group]) ** 2)
    wanted = np.linalg.solve(system, sums)
    noise, variances = moment_variances(values, codes, weight, np.ones(50))
    np.testing.assert_allclose([noise, *variances], [wanted[0], *np.maximum(wanted[1:], 0.0)])


def test_moment_variances_are_found():
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(300, size=20_000), rng.integers(500, size=20_000)])
    values = 2.0 * rng.normal(size=300)[codes[:, 0]] + 0.5 * rng.normal(size=500)[codes[:, 1]]
    noise, variances = moment_variances(values + rng.normal(size=20_000), codes)
    np.testing.assert_allclose([noise, *variances], [1.0, 4.0, 0.25], rtol=0.2)


def test_crossed_students_are_told_from_lecturers():
    X, y = ratings(n=1200)
    train = np.arange(len(y)) % 4 > 0
    errors = []
    dummies = face(grouping_columns=None, preprocessor="auto", categorical_columns=["student"])
    without = face(grouping_columns=None, exclude_columns=["student", "dept"])
    for model in (face(), without, dummies):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "preprocessor='auto' encodes at most 30")
            model.fit(X[train], y[train])
        errors.append(np.mean((y[~train] - model.predict(X[~train])) ** 2))
    with_effects, without, dummies = errors
    assert with_effects < 0.6 * without and with_effects < 0.99 * dummies
    assert with_effects < 1.25 * 0.7**2  # of the noise


def test_a_useless_column_changes_little():
    X, y = ratings(n=1200, student=0.0)
    train = np.arange(len(y)) % 4 > 0
    models = [
        face(grouping_columns=("student",), exclude_columns="dept"),
        face(grouping_columns=None, exclude_columns=["student", "dept"]),
    ]
    errors = [
        np.mean((y[~train] - m.fit(X[train], y[train]).predict(X[~train])) ** 2) for m in models
    ]
    assert errors[0] < 1.005 * errors[1]
    assert models[0].grouping_strengths_["student"] > 30.0


@pytest.mark.parametrize(
    "sharing", [Independent(), Pooled(), PartialPooling(varying=[]), "partial_pooling"]
)
def test_structures_are_fitted_beside_the_effects(sharing):
    X, y = ratings()
    model = face(sharing).fit(X, y)
    assert 0 < model.grouping_strengths_["student"] < 10.0
    assert model.score(X, y) > 0.5 and np.isfinite(model.task_report_["error_shared"]).all()
    std = model.predict(X.iloc[:5], return_std=True)[1]
    assert (std > 0.5).all() and (std < 2.0).all()


def test_order_names_copies_and_threads_change_nothing(rng):
    X, y = ratings()
    model = face().fit(X, y)
    wanted = model.predict(X)
    order = rng.permutation(len(y))
    other = X.iloc[order].assign(
        student=[f"s{997 - i}" for i in X["student"].iloc[order]],
        lecturer=X["lecturer"].iloc[order].str.replace("l", "z"),
    )
    again = face(n_jobs=2).fit(other, y[order]).predict(other)
    np.testing.assert_allclose(again, wanted[order], rtol=1e-6, atol=1e-6)
    twice = pd.concat([X, X], ignore_index=True)
    np.testing.assert_allclose(
        face().fit(twice, np.r_[y, y]).predict(X),
        face().fit(X, y, np.full(len(y), 2.0)).predict(X),
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip


def test_learners_of_residuals_are_fitted_beside_the_effects():
    X, y = ratings(n=1500, bend=2.0)
    train = np.arange(len(y)) % 4 > 0
    auto, linear = face("auto").fit(X[train], y[train]), face().fit(X[train], y[train])
    errors = [np.mean((y[~train] - m.predict(X[~train])) ** 2) for m in (auto, linear)]
    assert errors[0] < 0.6 * errors[1]
    report = auto.member_report_
    assert set(report["member"][report["weight"] > 0]) <= {"linear", "smooth", "forest_residuals"}
    assert "beside grouping columns" in report["status"][list(report["member"]).index("boosted")]
    some = X[~train]
    one = some[some["lecturer"] == "l3"]
    np.testing.assert_allclose(auto.for_task("l3").predict(one), auto.predict(one))
    assert "student" in auto.grouping_effects_


# ------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("kind", [MultiTaskRegressor, MultiTaskClassifier])
def test_without_tasks_there_are_levels_only(kind):
    X, y = ratings()
    y = y if kind is MultiTaskRegressor else y > np.median(y)
    X = X.drop(columns=["lecturer", "dept"])
    train = np.arange(len(y)) % 4 > 0
    model = kind("partial_pooling", grouping_columns="student").fit(X[train], y[train])
    without = kind("partial_pooling", exclude_columns="student").fit(X[train], y[train])
    assert model.score(X[~train], y[~train]) > without.score(X[~train], y[~train]) + 0.05


def test_levels_never_seen_have_no_effect():
    X, y = ratings()
    model = face().fit(X, y)
    new = X.iloc[:5].assign(student=1, dept="new")
    base = numbers(new) @ np.eye(2)
    t = model.tasks_.searchsorted(new["lecturer"])
    wanted = (base * model.coef_[t]).sum(axis=1) + model.intercept_[t]
    np.testing.assert_allclose(model.predict(new), wanted)
    effects = model.grouping_effects_
    level = effects["student"]["level"].searchsorted(X["student"].iloc[:5])
    both = wanted + effects["student"]["effect"][level]
    np.testing.assert_allclose(model.predict(new.assign(student=X["student"].iloc[:5])), both)


def test_models_of_tasks_have_the_effects():
    X, y = ratings()
    model = face().fit(X, y)
    one = X[X["lecturer"] == "l3"]
    alone = model.for_task("l3")
    np.testing.assert_allclose(alone.predict(one), model.predict(one))
    np.testing.assert_allclose(
        alone.predict(one.drop(columns=["lecturer", "student", "dept"])),
        numbers(one) @ alone.coef_ + alone.intercept_,
    )
    with pytest.raises(ValueError, match=r"grouping_columns=\['student', 'dept'\].*effects"):
        alone.to_sklearn()


@pytest.mark.filterwarnings("ignore:.*never seen in fit")
def test_a_new_task_is_adapted_beside_the_effects():
    X, y = ratings(n=2000, n_lecturers=40)
    new = (X["lecturer"] == "l0").to_numpy()
    model = face().fit(X[~new], y[~new])
    rows, labels = X[new], y[new]
    adapted = model.adapt(rows.iloc[:8], labels[:8])
    bare = model.adapt(rows.iloc[:8].drop(columns=["student", "dept"]), labels[:8])
    errors = [np.mean((labels[8:] - m.predict(rows.iloc[8:])) ** 2) for m in (adapted, bare, model)]
    assert errors[0] < errors[1] and errors[0] < errors[2]


def test_scikit_learns_tools():
    X, y = ratings(n=300)
    X, model = X.assign(dept=codes_of(X["dept"])), face()
    grid = {"grouping_columns": [["student"], ["dept"], {"student": 1e3}]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_params_["grouping_columns"] == ["student"]
    assert cross_val_predict(model, X, y, cv=3).shape == y.shape
    behind = make_pipeline(FunctionTransformer(), clone(model)).fit(X, y)
    fitted = clone(model).fit(X, y)
    np.testing.assert_array_equal(behind.predict(X), fitted.predict(X))
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))
    assert fitted.feature_importances_.shape == (5,)
    assert fitted.feature_importances_[[0, 1, 2]].min() == fitted.feature_importances_.max()
    fitted.set_params(grouping_columns=None, exclude_columns=["student", "dept"]).fit(X, y)
    assert not hasattr(fitted, "grouping_effects_") and not hasattr(fitted, "grouping_strengths_")


def test_arrays_and_other_frames():
    X, y = ratings(n=300)
    wanted = face().fit(X, y).predict(X)
    table = X.assign(lecturer=codes_of(X["lecturer"]), dept=codes_of(X["dept"])).to_numpy(float)
    model = MultiTaskRegressor("partial_pooling", task_column=0, grouping_columns=[1, 2])
    np.testing.assert_allclose(model.fit(table, y).predict(table), wanted, atol=1e-7)
    alone = model.for_task(3)
    mine = table[:, 0] == 3
    np.testing.assert_allclose(alone.predict(table[mine]), model.predict(table[mine]))
    assert alone.predict(table[mine][:, 3:]).shape == (mine.sum(),)
    pl = pytest.importorskip("polars")
    frame = pl.from_pandas(X)
    np.testing.assert_allclose(face().fit(frame, y).predict(frame), wanted, atol=1e-7)


# ----------------------------------------------------------------------------------- classes


def passed(y):
    return np.where(y > np.median(y), "pass", "fail")


def classifier(sharing="partial_pooling", grouping_columns=("student", "dept"), **params):
    listed = list(grouping_columns) if isinstance(grouping_columns, tuple) else grouping_columns
    return MultiTaskClassifier(sharing, task_column="lecturer", grouping_columns=listed, **params)


@pytest.mark.parametrize("weighted", [False, True])
def test_fixed_strengths_are_the_joint_logistic_regression(weighted, rng):
    X, y = ratings(n=200)
    weight = rng.uniform(0.5, 2.0, size=len(y)) if weighted else None
    model = classifier(FIXED, GIVEN, cv=None, tol=1e-9).fit(X, passed(y), weight)
    Z = reference.standardised(numbers(X), weight)
    codes = np.column_stack([codes_of(X["student"]), codes_of(X["dept"])])
    wanted, effects = reference.crossed_logistic(
        Z, (y > np.median(y)).astype(float), codes_of(X["lecturer"]), 20, codes,
        codes.max(axis=0) + 1, (6.0, 3.0, 0.5), (2.0, 5.0), weight,
    )  # fmt: skip
    np.testing.assert_allclose(model.decision_function(X), wanted, atol=1e-5)
    student = model.grouping_effects_["student"]["effect"]
    np.testing.assert_allclose(student, effects[0], atol=1e-5)
    assert model.grouping_strengths_ == GIVEN and model.kkt_residual_ <= 1e-6


@pytest.mark.parametrize("sharing", ["partial_pooling", "auto"])
def test_crossed_students_matter_to_classes(sharing):
    X, y = ratings(n=1500)
    y, train = passed(y), np.arange(len(y)) % 4 > 0
    errors = []
    for columns, excluded in ((("student", "dept"), None), (None, ["student", "dept"])):
        model = classifier(sharing, columns, exclude_columns=excluded).fit(X[train], y[train])
        errors.append(log_loss(y[~train], model.predict_proba(X[~train])))
    assert errors[0] < 0.85 * errors[1]


def test_models_of_tasks_and_new_tasks_of_classes():
    X, y = ratings(n=2000, n_lecturers=40)
    new, y = (X["lecturer"] == "l0").to_numpy(), passed(y)
    model = classifier().fit(X[~new], y[~new])
    one = X[X["lecturer"] == "l3"]
    alone = model.for_task("l3")
    np.testing.assert_allclose(alone.decision_function(one), model.decision_function(one))
    without = one.drop(columns=["student", "dept"])
    np.testing.assert_allclose(
        alone.decision_function(without), numbers(one) @ alone.coef_ + alone.intercept_
    )
    rows, labels = X[new], y[new]
    adapted = model.adapt(rows.iloc[:20], labels[:20])
    bare = model.adapt(rows.iloc[:20].drop(columns=["student", "dept"]), labels[:20])
    losses = [log_loss(labels[20:], m.predict_proba(rows.iloc[20:])) for m in (adapted, bare)]
    assert losses[0] < 1.02 * losses[1]
    np.testing.assert_allclose(
        np.diff(adapted.decision_function(rows.iloc[[0, 0]].assign(student=[1, 100]))),
        model.grouping_effects_["student"]["effect"][0],
    )
    with pytest.raises(ValueError, match="no class of scikit-learn adds the effects"):
        alone.to_sklearn()


def test_order_and_names_change_no_class(rng):
    X, y = ratings()
    y, order = passed(y), rng.permutation(len(y))
    wanted = classifier().fit(X, y).decision_function(X)
    other = X.iloc[order].assign(student=[f"s{997 - i}" for i in X["student"].iloc[order]])
    again = classifier(n_jobs=2).fit(other, y[order]).decision_function(other)
    np.testing.assert_allclose(again, wanted[order], atol=1e-4)


def test_learners_of_residuals_beside_the_effects_of_classes():
    X, y = ratings(n=2500, bend=2.5)
    train = np.arange(len(y)) % 4 > 0
    auto, linear = (
        classifier(kind).fit(X[train], passed(y)[train]) for kind in ("auto", "partial_pooling")
    )
    losses = [log_loss(passed(y)[~train], m.predict_proba(X[~train])) for m in (auto, linear)]
    assert losses[0] < 0.9 * losses[1]
    some = X[~train]
    one = some[some["lecturer"] == "l3"]
    alone = auto.for_task("l3")
    np.testing.assert_allclose(alone.decision_function(one), auto.decision_function(one))
    assert auto.adapt(some.iloc[:9], passed(y)[~train][:9]).predict(some).shape == (len(some),)


# ------------------------------------------------------------------------------------ errors

X_SMALL, Y_SMALL = ratings(n=60, n_lecturers=4, n_students=9)
BAD = {
    "no such column": ({"grouping_columns": ["pupil"]}, "grouping_columns='pupil' is not a column"),
    "twice": ({"grouping_columns": ["dept", "dept"]}, "names a column twice"),
    "the task": ({"grouping_columns": ["lecturer"]}, "'lecturer', which is the task column"),
    "excluded": ({"exclude_columns": "dept"}, "'dept', which is among exclude_columns"),
    "categorical": (
        {"categorical_columns": ["dept"], "preprocessor": "auto"},
        "'dept', which is among grouping_columns",
    ),
    "no folds": ({"cv": None}, "cv=None; give a dict from columns to numbers"),
    "pooling without folds": (
        {"cv": None, "grouping_columns": GIVEN},
        "cross-validation, but cv=None",
    ),
    "strength": ({"grouping_columns": {"dept": -1.0}}, r"grouping_columns\['dept'\]=-1.0 must be"),
    "a word": ({"grouping_columns": {"dept": "much"}}, "must be 'auto' or a number"),
    "a slope": ({"sharing": PartialPooling(varying=["age"])}, r"varying=\[\] for no slopes"),
    "a sign": ({"sharing": PartialPooling(positive=["age"])}, "positive=.*cannot be fitted"),
    "layers": ({"sharing": "hidden_layers"}, "linear models and 'auto', but sharing='hidden"),
    "moments": ({"keep_moments": True}, "needs all rows at once, but keep_moments=True"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_go_together(name):
    params, message = BAD[name]
    model = face().fit(X_SMALL, Y_SMALL)
    before = model.predict(X_SMALL)
    broken = clone(model).set_params(**params)
    with pytest.raises(ValueError, match=message):
        broken.fit(X_SMALL, Y_SMALL)
    assert not hasattr(broken, "coef_")
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(X_SMALL, Y_SMALL)
    np.testing.assert_array_equal(model.set_params(**face().get_params()).predict(X_SMALL), before)


def test_bad_rows():
    model = face().fit(X_SMALL, Y_SMALL)
    with pytest.raises(ValueError, match="grouping column 'dept' has 1 missing labels"):
        face().fit(X_SMALL.assign(dept=[None, *X_SMALL["dept"][1:]]), Y_SMALL)
    with pytest.raises(ValueError, match="grouping column 'student' holds string labels"):
        model.predict(X_SMALL.assign(student="a"))
    with pytest.raises(ValueError, match="y has 2 columns"):
        MultiTaskRegressor(grouping_columns=["dept"]).fit(
            X_SMALL[["dept", "age"]], np.c_[Y_SMALL, Y_SMALL]
        )
    with pytest.raises(ValueError, match=r"for two classes, but y has 3"):
        classifier().fit(X_SMALL, np.arange(60) % 3)
    with pytest.raises(AttributeError, match=r"grouping_columns=\['student', 'dept'\].*all rows"):
        face().partial_fit(X_SMALL, Y_SMALL)


def test_the_effects_are_those_of_the_training_rows(rng):
    """In every split, so that held-out rows are judged on effects that have not seen them."""
    from skmtl.tasks.blocks import folds
    from skmtl.tasks.groupings import Levels
    from skmtl.tasks.table import pack

    X, codes, y = rng.normal(size=(60, 2)), np.arange(60) % 4, rng.normal(size=60)
    table, levels = pack(X, y, codes, 4), None
    levels = Levels(rng.integers(6, size=(60, 1)), (6,))
    part, pooling = folds(np.arange(60) % 3, 3), (np.inf, 2.0, 1.0)
    found = CrossedEffects.learn(table, levels, [part], [1.5], pooling)
    Z = reference.standardised(X[table.rows])
    for s, offset in enumerate(found.of_splits[0]):
        train = part.train[s][part.block]
        effects = reference.crossed_ridge(
            Z[train], table.y[train], table.codes[train], 4, levels.codes[train], (6,), pooling,
            (1.5,),
        )[1]  # fmt: skip
        np.testing.assert_allclose(offset, effects[0][levels.codes[:, 0]], atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*never seen in fit")
def test_levels_never_seen_widen_intervals():
    rng = np.random.default_rng(0)
    X, y = ratings(n=3000, n_students=150, student=0.0)
    y = y + 2.0 * rng.normal(size=150)[X["student"] - 100]
    known = (X["student"] < 200).to_numpy()
    model = face(grouping_columns=("student",), exclude_columns="dept").fit(X[known], y[known])
    low, high = model.predict_interval(X[~known], coverage=0.9)
    assert 0.8 < ((low < y[~known]) & (y[~known] < high)).mean() < 0.97
    one = X[~known & (X["lecturer"] == "l3")]
    std = model.predict(one, return_std=True)[1]
    np.testing.assert_allclose(model.for_task("l3").predict(one, return_std=True)[1], std)
    seen = model.predict(one.assign(student=100), return_std=True)[1]
    assert (std > 1.5 * seen).all()
