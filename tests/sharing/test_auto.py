"""Linear models and learners of any kind under one guard."""

import pickle

import checks
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from skmtl import MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.model_selection import TaskTimeSeriesSplit
from skmtl.sharing import Auto, SharedEstimator
from skmtl.sharing.learned import problem

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore:X has feature names")]

N_TASKS = 9


def bent(rng, n=700, noise=0.3):
    """Return features, task codes and a target with curvature, a product and levels."""
    X, task = rng.normal(size=(n, 3)), rng.integers(N_TASKS, size=n)
    level = rng.normal(size=N_TASKS)
    y = 2.0 * np.sin(2.0 * X[:, 0]) + X[:, 1] * X[:, 2] + level[task]
    return X, task, y + noise * rng.normal(size=n)


def straight(rng, n=400):
    X, task = rng.normal(size=(n, 3)), rng.integers(N_TASKS, size=n)
    coef = rng.normal(size=3) + 0.3 * rng.normal(size=(N_TASKS, 3))
    return X, task, (X * coef[task]).sum(1) + 0.5 * rng.normal(size=n)


def fit(X, task, y, sharing="auto", cv=3, **kwargs):
    return MultiTaskRegressor(sharing, cv=cv, **kwargs).fit(X, y, task=task)


def mse(model, X, task, y):
    return np.mean((model.predict(X, task=task) - y) ** 2)


def test_a_response_that_bends_is_learned(rng):
    X, task, y = bent(rng)
    train = np.arange(len(y)) < 500
    model = fit(X[train], task[train], y[train])
    linear = fit(X[train], task[train], y[train], "partial_pooling")
    test = X[~train], task[~train], y[~train]
    assert mse(model, *test) < 0.3 * mse(linear, *test)
    report = model.member_report_
    assert report["weight"].sum() == pytest.approx(1.0)
    assert report["n_tasks"].max() == N_TASKS
    # The report's errors are those of rows that were held out.
    held_out = np.average(model.task_report_["error_shared"][:-1], weights=np.bincount(task[train]))
    assert held_out == pytest.approx(mse(model, *test), rel=0.5)
    low, high = model.predict_interval(X[~train], 0.9, task=task[~train])
    assert 0.8 < np.mean((low <= y[~train]) & (y[~train] <= high)) < 0.97


def test_a_straight_response_keeps_linear_models(rng):
    X, task, y = straight(rng)
    model, linear = fit(X, task, y), fit(X, task, y, "partial_pooling")
    np.testing.assert_array_equal(model.coef_, linear.coef_)
    np.testing.assert_array_equal(model.intercept_, linear.intercept_)
    assert model.member_report_["member"][0] == "linear"
    assert model.member_report_["weight"].tolist()[0] == 1.0
    assert model.coef_frame().shape == (N_TASKS + 1, 4)


def test_what_is_missing_says_so(rng):
    X, task, y = bent(rng)
    model = fit(X, task, y)
    for name in ("coef_", "shared_intercept_", "coef_feature_names_", "feature_importances_"):
        with pytest.raises(AttributeError, match=f"no {name}.*sharing='partial_pooling'"):
            getattr(model, name)
    with pytest.raises(AttributeError, match="no coef_frame"):
        model.coef_frame()
    with pytest.raises(AttributeError, match="no partial_fit.*sharing='partial_pooling'"):
        model.partial_fit(X, y, task=task)
    with pytest.raises(AttributeError, match="object has no attribute 'nonsense'"):
        model.nonsense  # noqa: B018
    # A linear fit of the same object has all of it, and forgets the learners.
    model.set_params(sharing="partial_pooling").fit(X, y, task=task)
    assert model.coef_.shape == (N_TASKS, 3) and not hasattr(model, "member_report_")


def test_with_moments_it_is_partial_pooling(rng):
    """So that what needs linear models works on the default, too."""
    X, task, y = bent(rng, 200)
    model, linear = (fit(X, task, y, s, keep_moments=True) for s in ("auto", "partial_pooling"))
    np.testing.assert_array_equal(model.coef_, linear.coef_)
    assert not hasattr(model, "member_report_")
    first, rest = np.arange(200) < 150, np.arange(200) >= 150
    model, linear = (
        MultiTaskRegressor(s, cv=3).partial_fit(X[first], y[first], task=task[first])
        for s in ("auto", "partial_pooling")
    )
    for one in (model, linear):
        one.partial_fit(X[rest], y[rest], task=task[rest])
    np.testing.assert_array_equal(model.coef_, linear.coef_)
    shared = MultiTaskRegressor(SharedEstimator(SVR()))
    with pytest.raises(
        AttributeError, match="learners, which need all rows at once, so there is no p"
    ):
        shared.partial_fit(X, y, task=task)


def test_one_task_and_new_tasks(rng):
    X, task, y = bent(rng, 1200)
    known = task < N_TASKS - 1
    model = fit(X[known], task[known], y[known])
    own, mine = model.for_task(3), task == 3
    wanted = model.predict(X[mine], task=task[mine])
    np.testing.assert_allclose(own.predict(X[mine]), wanted, **checks.CLOSE)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(own)).predict(X[mine]), wanted)
    new = np.flatnonzero(~known)
    adapted = model.adapt(X[new[:10]], y[new[:10]])
    error = np.mean((adapted.predict(X[new[10:]]) - y[new[10:]]) ** 2)
    with pytest.warns(UnknownTaskWarning):
        unseen = model.predict(X[new[10:]], task=np.full(len(new) - 10, N_TASKS))
    assert error < np.mean((unseen - y[new[10:]]) ** 2)
    linear = fit(X[known], task[known], y[known], "partial_pooling").adapt(X[new[:10]], y[new[:10]])
    assert error < 0.2 * np.mean((linear.predict(X[new[10:]]) - y[new[10:]]) ** 2)
    std = adapted.predict(X[:5], return_std=True)[1]
    assert (std > 0.2).all() and (std < 1.0).all()


def test_a_new_task_unlike_the_others_is_adapted_to_by_its_own_rows(rng):
    """Learners that suit the known tasks get no weight for a task that they do not suit."""
    X, task, y = bent(rng, 1200)
    model = fit(X, task, y, estimator=RandomForestRegressor(20, random_state=0))
    new = rng.normal(size=(200, 3))
    labels = 5.0 * new[:, 0] - 3.0 * new[:, 2] + 0.3 * rng.normal(size=200)
    linear = fit(X, task, y, "partial_pooling")
    found, wanted = (
        np.mean((m.adapt(new[:60], labels[:60]).predict(new[60:]) - labels[60:]) ** 2)
        for m in (model, linear)
    )
    assert found < 2.0 * wanted + 0.5


def test_order_labels_copies_and_threads_change_nothing(rng):
    X, task, y = bent(rng, 400)
    wanted = fit(X, task, y).predict(X, task=task)
    order, names = rng.permutation(len(y)), rng.permutation(N_TASKS)
    columns = rng.permutation(X.shape[1])
    found = {
        "columns": fit(X[:, columns], task, y).predict(X[:, columns], task=task),
        "order": fit(X[order], task[order], y[order]).predict(X, task=task),
        "labels": fit(X, names[task], y).predict(X, task=names[task]),
        "threads": fit(X, task, y, n_jobs=2).predict(X, task=task),
    }
    for name, prediction in found.items():
        np.testing.assert_allclose(prediction, wanted, err_msg=name, **checks.CLOSE)
    weight = rng.integers(1, 4, size=len(y))
    weighted = MultiTaskRegressor("auto", cv=3).fit(X, y, weight, task=task)
    copies = [np.repeat(part, weight, axis=0) for part in (X, task, y)]
    np.testing.assert_allclose(
        weighted.predict(X, task=task), fit(*copies).predict(X, task=task), **checks.CLOSE
    )


def test_processes_change_nothing(rng, monkeypatch):
    """Of tables large enough to be given to them."""
    monkeypatch.setattr(problem, "_FEWEST_FOR_PROCESSES", 0)
    X, task, y = bent(rng, 400)
    alone, together = (fit(X, task, y, n_jobs=n_jobs) for n_jobs in (None, 2))
    assert alone.member_report_["weight"][1:].any()
    np.testing.assert_array_equal(together.predict(X, task=task), alone.predict(X, task=task))


def test_nothing_given_is_changed_and_pickles_keep_no_rows(rng):
    X, task, y = bent(rng, 600)
    before = X.copy(), y.copy()
    model = fit(X, task, y)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X, task=task), model.predict(X, task=task))
    arrays = []

    def walk(value, seen):
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            arrays.append(value.shape)
        for part in getattr(value, "__dict__", {}).values() if not isinstance(value, type) else ():
            walk(part, seen)
        if isinstance(value, (list, tuple)):
            for part in value:
                walk(part, seen)

    walk(model._learned, set())
    assert arrays and all(len(y) not in shape for shape in arrays)


def test_gaps_and_categories_reach_the_learners(rng):
    X, task, y = bent(rng)
    kind = rng.integers(40, size=len(y))
    y = y + 2.0 * rng.normal(size=40)[kind]
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["kind"], frame["shop"] = [f"kind {k}" for k in kind], task
    frame.loc[rng.random(len(y)) < 0.1, "a"] = np.nan
    train = np.arange(len(y)) < 550
    with pytest.warns(UserWarning, match="at most 30 categories"):
        model = MultiTaskRegressor("auto", cv=3, task_column="shop", preprocessor="auto").fit(
            frame[train], y[train]
        )
    assert model.score(frame[~train], y[~train]) > 0.5
    odd = frame[~train].assign(kind="new")
    assert np.isfinite(model.predict(odd)).all()
    assert np.isfinite(model.for_task(2).predict(odd)).all()


def test_rows_that_differ_only_in_rare_levels_are_not_copies(rng):
    """The linear models see one column for all rare levels, but learners tell them apart."""
    n = 600
    level = np.array([f"level {k}" for k in rng.integers(200, size=n)], dtype=object)
    frame = pd.DataFrame({"level": level, "x": rng.integers(2, size=n), "shop": np.arange(n) % 3})
    y = rng.integers(3, size=n).astype(float)  # nothing to learn
    with pytest.warns(UserWarning, match="at most 30 categories"):
        model = MultiTaskRegressor("auto", cv=3, task_column="shop", preprocessor="auto").fit(
            frame, y
        )
    error = model.member_report_["error"]
    assert np.nanmin(error) > 0.9 * y.var()


def test_targets_in_two_dimensions_and_tasks_without_labels(rng):
    X, task, y = bent(rng)
    Y = np.full((len(y), N_TASKS + 1), np.nan)
    Y[np.arange(len(y)), task] = y
    with pytest.warns(UserWarning, match="tasks without any label"):
        wide = MultiTaskRegressor("auto", cv=3).fit(X, Y)
    long = fit(X, task, y)
    found = wide.predict(X)
    assert found.shape == Y.shape and np.isfinite(found).all()
    np.testing.assert_allclose(
        found[np.arange(len(y)), task], long.predict(X, task=task), **checks.CLOSE
    )
    assert np.isfinite(wide.for_task(N_TASKS).predict(X)).all()
    single = MultiTaskRegressor("auto", cv=3).fit(X, y)
    assert single.predict(X).shape == y.shape


def test_sparse_rows_are_for_linear_models(rng):
    X, task, y = bent(rng, 300)
    model = fit(sparse.csr_matrix(X), task, y)
    assert set(model.member_report_["status"][1:]) == {"X is sparse"}
    assert model.coef_.shape == (N_TASKS, 3)
    with pytest.raises(ValueError, match="sparse"):
        fit(sparse.csr_matrix(X), task, y, SharedEstimator(KNeighborsRegressor()))
    bent_model = fit(*bent(rng))
    with pytest.raises(TypeError, match="X is sparse, but.*toarray"):
        bent_model.predict(sparse.csr_matrix(X), task=task)


def test_a_time_budget_ends_the_list_of_members(rng):
    X, task, y = bent(rng)
    model = fit(X, task, y, Auto(time_budget=1e-9))
    assert "time_budget was used up" in model.member_report_["status"][1]
    with pytest.raises(ValueError, match="time_budget='1 h' must be a positive number"):
        fit(X, task, y, Auto(time_budget="1 h"))
    with pytest.raises(ValueError, match="time_budget=-1 must be a positive number"):
        fit(X, task, y, Auto(time_budget=-1))


def test_scales_that_differ_by_task(rng):
    X, task, y = bent(rng, 1500)
    factor = 10.0 ** np.arange(N_TASKS)
    model = fit(X, task, factor[task] * y)
    assert model.target_scale_ == "task"
    gap = (model.predict(X, task=task) - factor[task] * y) / factor[task]
    linear = fit(X, task, factor[task] * y, "partial_pooling")
    linear_gap = (linear.predict(X, task=task) - factor[task] * y) / factor[task]
    assert np.mean(gap**2) < 0.5 * np.mean(linear_gap**2)
    assert "the scales of the target differ by task" in model.member_report_["status"]


def test_inspection_of_the_fitted_object(rng):
    X, task, y = bent(rng)
    table = np.column_stack([X, task])
    model = MultiTaskRegressor("auto", cv=3, task_column=3).fit(table, y)
    importance = permutation_importance(model, table, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.min() > 0.01
    assert partial_dependence(model, table, [0], grid_resolution=10)["average"].std() > 0.5


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # matplotlib's, of SHAP's colours
def test_shapley_values_of_the_fitted_object(rng):
    """The task is a column of the table, and so it gets its share of a prediction as well."""
    shap = pytest.importorskip("shap")
    X, task, y = bent(rng, 300)
    table = np.column_stack([X, task])
    model = MultiTaskRegressor("auto", task_column=3, cv=3).fit(table, y)
    assert model.member_report_["weight"][0] < 0.5  # not linear
    explainer = shap.KernelExplainer(model.predict, table[:20])
    values = explainer.shap_values(table[20:25], silent=True)
    assert values.shape == (5, 4)
    found = explainer.expected_value + values.sum(axis=1)
    np.testing.assert_allclose(found, model.predict(table[20:25]), **checks.CLOSE)
    # Tasks have levels of their own, which no feature explains.
    assert np.abs(values[:, 3]).mean() > 0.1


@pytest.mark.parametrize("own", [None, "linear", "clone"])
def test_folds_in_time(rng, own):
    """Rows of the first fold are never held out."""
    X, task, y = bent(rng)
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(shop=task, day=np.arange(len(y)))
    cv = TaskTimeSeriesSplit(n_splits=3, time_column="day", task_column="shop")
    sharing = "auto" if own is None else SharedEstimator(RandomForestRegressor(10), own)
    model = MultiTaskRegressor(sharing, task_column="shop", exclude_columns=["day"], cv=cv)
    train, test = frame[:500], frame[500:]
    linear = clone(model).set_params(sharing="partial_pooling").fit(train, y[:500])
    assert model.fit(train, y[:500]).score(test, y[500:]) > linear.score(test, y[500:])


# ---------------------------------------------------------------------------- SharedEstimator


@pytest.mark.parametrize("own", ["intercept", "linear", "clone"])
@pytest.mark.parametrize("sees_task", [False, True])
def test_any_regressor_is_shared(rng, own, sees_task):
    X, task, y = bent(rng, 900)
    train = np.arange(len(y)) < 600
    svr = make_pipeline(StandardScaler(), SVR(C=10.0))
    model = fit(X[train], task[train], y[train], SharedEstimator(svr, own, sees_task=sees_task))
    blind = svr.fit(X[train], y[train])
    error = mse(model, X[~train], task[~train], y[~train])
    assert error < 0.7 * np.mean((blind.predict(X[~train]) - y[~train]) ** 2)
    assert model.member_report_["member"][0] == "estimator"
    assert np.isfinite(model.adapt(X[:8], y[:8]).predict(X)).all()


def test_own_intercepts_shrink_to_zero_where_there_is_nothing_of_their_own(rng):
    X, task, _ = bent(rng, 500)
    y = np.sin(2.0 * X[:, 0]) + 0.3 * rng.normal(size=500)
    sharing = SharedEstimator(RandomForestRegressor(20, random_state=0), "intercept")
    model = fit(X, task, y, sharing)
    apart = [model.predict(X[:50], task=np.full(50, t)) for t in range(N_TASKS)]
    assert np.std(apart, axis=0).max() < 0.1


def test_clones_are_used_where_tasks_have_functions_of_their_own(rng):
    X, task = rng.normal(size=(1500, 2)), rng.integers(3, size=1500)
    y = np.choose(task, [np.sin(3 * X[:, 0]), np.cos(3 * X[:, 1]), X[:, 0] * X[:, 1]])
    y = y + 0.1 * rng.normal(size=1500)
    train = np.arange(1500) < 1000
    errors = {}
    for own in ("intercept", "clone"):
        sharing = SharedEstimator(RandomForestRegressor(20, random_state=0), own)
        model = fit(X[train], task[train], y[train], sharing)
        errors[own] = mse(model, X[~train], task[~train], y[~train])
    assert errors["clone"] < 0.5 * errors["intercept"]


def test_estimator_is_a_further_member_of_auto(rng):
    X, task, y = bent(rng, 500)
    model = fit(X, task, y, estimator=KNeighborsRegressor(5))
    assert {"estimator", "estimator_residuals"} <= set(model.member_report_["member"])
    params = MultiTaskRegressor("auto", cv=3, estimator=KNeighborsRegressor(5)).get_params()
    assert params["estimator__n_neighbors"] == 5
    boosting = HistGradientBoostingRegressor(max_iter=20)
    assert clone(MultiTaskRegressor("auto", cv=3, estimator=boosting)).estimator.max_iter == 20


WRONG = {
    "a name without an estimator": (
        {"sharing": "shared_estimator"},
        "'sharing' parameter.*'partial_pooling'",
    ),
    "a class": (
        {"estimator": SVR},
        "'estimator' parameter|estimator=SVR is a class; pass an instance",
    ),
    "a classifier": ({"estimator": LogisticRegression()}, "is not a regressor"),
    "no estimator": ({"estimator": "svr"}, "'estimator' parameter"),
    "another sharing": (
        {"estimator": SVR(), "sharing": "pooled"},
        "estimator= is a further learner for sharing='auto', but sharing='pooled'",
    ),
    "moments": (
        {"keep_moments": True, "sharing": SharedEstimator(SVR())},
        "keep_moments=True is for linear models",
    ),
    "no folds": ({"cv": None}, "sharing='auto' needs cross-validation, but cv=None"),
    "no folds, shared": ({"cv": None, "sharing": SharedEstimator(SVR())}, "but cv=None"),
    "own": ({"sharing": SharedEstimator(SVR(), "slopes")}, "own='slopes' is unknown"),
    "a shared classifier": (
        {"sharing": SharedEstimator(LogisticRegression())},
        "is not a regressor",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters(rng, name):
    X, task, y = bent(rng, 60)
    params, match = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=match):
        fit(X, task, y, **{"sharing": "auto", **params})


def test_weights_need_an_estimator_that_takes_them(rng):
    X, task, y = bent(rng, 60)
    model = MultiTaskRegressor(SharedEstimator(KNeighborsRegressor()))
    with pytest.raises(ValueError, match="KNeighborsRegressor takes no sample_weight.*another"):
        model.fit(X, y, rng.uniform(1.0, 2.0, 60), task=task)
    weighted = SharedEstimator(make_pipeline(StandardScaler(), SVR()))
    MultiTaskRegressor(weighted).fit(X, y, rng.uniform(1.0, 2.0, 60), task=task)


def test_a_wrapped_target_works_as_well(rng):
    X, task, y = bent(rng, 300)
    estimator = TransformedTargetRegressor(SVR(), transformer=StandardScaler())
    assert np.isfinite(fit(X, task, y, SharedEstimator(estimator)).predict(X, task=task)).all()


CONFIGURATIONS = {
    "a forest": MultiTaskRegressor(SharedEstimator(RandomForestRegressor(5)), cv=2),
    "boosting": MultiTaskRegressor(
        SharedEstimator(HistGradientBoostingRegressor(max_iter=5)), cv=2
    ),
    "a support vector machine": MultiTaskRegressor(SharedEstimator(SVR()), cv=2),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)
