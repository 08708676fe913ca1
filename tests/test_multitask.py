"""MultiTaskRegressor: the task contract, scikit-learn's checks and tools, fitted attributes."""

import pickle
import warnings

import checks
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator

from skmtl import MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.model_selection import TaskKFold
from skmtl.sharing import Independent, PartialPooling, Pooled

FIXED = PartialPooling(alpha=1.0, alpha_shared=1.0)

# -------------------------------------------------------------------------- the task contract

CONTRACT = {
    "partial pooling": MultiTaskRegressor("partial_pooling"),
    "independent": MultiTaskRegressor("independent"),
    "pooled": MultiTaskRegressor(Pooled()),
    "fixed": MultiTaskRegressor(FIXED, cv=None),
    "one slope varies": MultiTaskRegressor(PartialPooling(varying=[0]), cv=2),
    "a sign, fixed": MultiTaskRegressor(
        PartialPooling(1.0, alpha_shared=1.0, positive=[0]), cv=None
    ),
    "auto": MultiTaskRegressor(FIXED, cv=None, preprocessor="auto"),
    "balanced tasks": MultiTaskRegressor("partial_pooling", cv=2, task_weight="balanced"),
    "noise of tasks": MultiTaskRegressor("partial_pooling", cv=2, task_weight="uncertainty"),
}


@pytest.mark.parametrize(("estimator", "check"), list(checks.contract_cases(CONTRACT)))
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", checks.bad_input_of(MultiTaskRegressor(FIXED, cv=None)))
def test_bad_input(name):
    checks.check_bad_input(MultiTaskRegressor(FIXED, cv=None), name)


# ---------------------------------------------------------------------- scikit-learn's checks


class WithTaskColumnAndNoise(checks.WithTaskColumn):
    """Noise levels of tasks need all rows at once."""

    @property
    def partial_fit(self):
        return MultiTaskRegressor("partial_pooling", task_weight="uncertainty").partial_fit


CONFIGURATIONS = {
    "default": MultiTaskRegressor(),
    "independent": MultiTaskRegressor("independent"),
    "pooled": MultiTaskRegressor("pooled"),
    "fixed": MultiTaskRegressor(PartialPooling(alpha=1.0, alpha_shared=1.0), cv=None),
    "a task column, fixed": checks.WithTaskColumn(FIXED, task_column=0, cv=None),
    "a task column": checks.WithTaskColumn("partial_pooling", task_column=0, cv=2),
    "one slope varies": MultiTaskRegressor(PartialPooling(varying=[0]), cv=2),
    "a sign": MultiTaskRegressor(PartialPooling(negative=[0]), cv=2),
    "auto": MultiTaskRegressor("partial_pooling", preprocessor="auto"),
    "auto, a task column": checks.WithTaskColumn(
        FIXED, task_column=0, cv=None, preprocessor="auto"
    ),
    "a preprocessor": MultiTaskRegressor(FIXED, cv=None, preprocessor=StandardScaler()),
    "noise of tasks": WithTaskColumnAndNoise(
        "partial_pooling", task_column=0, cv=2, task_weight="uncertainty"
    ),
}


@pytest.mark.jit
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)


def test_all_checks_are_run():
    """The first configuration of a class is tested with all checks of `check_estimator`."""
    assert len(CONFIGURATIONS) >= 6
    wanted = [
        checks.check_name(check) for _, check in estimator_checks_generator(MultiTaskRegressor())
    ]
    assert "check_fit_idempotent" in wanted and len(set(wanted)) > 40
    first = [c.values[1] for c in checks.estimator_check_cases(CONFIGURATIONS)][: len(wanted)]
    assert [checks.check_name(check) for check in first] == wanted


# ----------------------------------------------------------------------- scikit-learn's tools


def shop_table(n=120, n_tasks=6, seed=0):
    """Return a frame with a column of strings, and a level and a slope for each shop."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.arange(n) % n_tasks)
    X = pd.DataFrame({"price": rng.normal(5.0, 2.0, n), "size": rng.normal(size=n)})
    X.insert(1, "shop", np.array([f"shop {c}" for c in "fbdace"], dtype=object)[code])
    slope = 2.0 + 0.5 * rng.normal(size=n_tasks)
    y = slope[code] * X["price"].to_numpy() + 3.0 * rng.normal(size=n_tasks)[code]
    return X, y + 0.3 * rng.normal(size=n)


X, Y = shop_table()
TASK = X["shop"].to_numpy()
NUMBERS = X.drop(columns="shop")


def model(**params):
    """Return a fast model with fixed strengths; tuning is tested in tests/sharing."""
    return MultiTaskRegressor(
        params.pop("sharing", clone(FIXED)), **{"task_column": "shop", "cv": None, **params}
    )


def pipe(estimator=None):
    scale = ColumnTransformer(
        [("scale", StandardScaler(), ["price", "size"])], remainder="passthrough"
    )
    return Pipeline([("scale", scale), ("model", estimator or model())])


@pytest.fixture(autouse=True)
def no_unknown_tasks():
    """Tools that lose the task column would only cause a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnknownTaskWarning)
        yield


def test_the_task_matters_in_this_table():
    alone = r2_score(Y, Ridge().fit(NUMBERS, Y).predict(NUMBERS))
    assert alone < 0.9 < model().fit(X, Y).score(X, Y)


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_pipeline_with_a_column_transformer(output):
    pipeline = pipe()
    if output == "default":  # an array of objects: the column is known by its index
        pipeline.set_params(model__task_column=2)
    else:
        pipeline.set_output(transform=output)
    frame = pl.DataFrame(X) if output == "polars" else X
    got = pipeline.fit(frame, Y).predict(frame)
    np.testing.assert_allclose(got, model().fit(X, Y).predict(X), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(pipeline.score(frame, Y), r2_score(Y, got))
    if output != "default":
        assert list(pipeline[-1].coef_feature_names_) == ["scale__price", "scale__size"]
        assert "remainder__shop" in pipeline[-1].feature_names_in_
    own = pipeline[-1].for_task("shop a")
    mine = TASK == "shop a"
    np.testing.assert_allclose(
        own.predict(pipeline[:-1].transform(frame.filter(mine) if output == "polars" else X[mine])),
        got[mine],
    )


def test_pipeline_that_imputes_and_encodes():
    frame = X.assign(colour=np.where(np.arange(len(X)) % 3, "red", "blue"))
    frame.loc[::10, "price"] = np.nan
    one_hot = OneHotEncoder(sparse_output=False)
    prepare = ColumnTransformer(
        [("numbers", SimpleImputer(), ["price", "size"]), ("words", one_hot, ["colour"])],
        remainder="passthrough",
    ).set_output(transform="pandas")
    pipeline = make_pipeline(prepare, model()).fit(frame, Y)
    assert pipeline[-1].coef_.shape == (6, 4)
    assert pipeline.score(frame, Y) > 0.7


@pytest.mark.parametrize("scoring", [None, "r2", "neg_mean_absolute_error"])
@pytest.mark.parametrize("piped", [False, True])
def test_grid_search_over_a_strength(scoring, piped):
    estimator = pipe().set_output(transform="pandas") if piped else model()
    name = "model__sharing__alpha" if piped else "sharing__alpha"
    grid = {name: [0.1, 10.0, np.inf]}
    search = GridSearchCV(estimator, grid, scoring=scoring, cv=3, error_score="raise").fit(X, Y)
    assert search.predict(X).shape == (len(X),)
    assert search.best_params_[name] < np.inf
    wanted = [
        cross_val_score(
            clone(estimator).set_params(**{name: a}), X, Y, cv=3, scoring=scoring
        ).mean()
        for a in grid[name]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], wanted)
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    assert search.score(X, Y) == pytest.approx(search.best_score_, rel=0.9)


@pytest.mark.jit
def test_grid_search_over_sharing_objects_and_strings():
    grid = {"sharing": ["pooled", Independent(alpha=1.0), PartialPooling(alpha=1.0)]}
    search = GridSearchCV(model(cv=3), grid, cv=3, error_score="raise").fit(X, Y)
    assert search.best_params_["sharing"] != "pooled"


@pytest.mark.parametrize(
    "cv", [3, KFold(3, shuffle=True, random_state=0), TaskKFold(3, task_column="shop")]
)
def test_cross_validation(cv):
    scores = cross_val_score(model(), X, Y, scoring="r2", cv=cv)
    out_of_fold = cross_val_predict(model(), X, Y, cv=cv)
    assert scores.min() > 0.9
    assert r2_score(Y, out_of_fold) > 0.9
    result = cross_validate(model(), X, Y, cv=cv, scoring=["r2", "neg_mean_squared_error"])
    np.testing.assert_allclose(result["test_r2"], scores)
    splits = (cv if hasattr(cv, "split") else KFold(3)).split(X, Y)
    for train, test in splits:
        by_hand = model().fit(X.iloc[train], Y[train]).predict(X.iloc[test])
        np.testing.assert_allclose(out_of_fold[test], by_hand)


@pytest.mark.jit
def test_cross_validation_in_processes():
    one, two = (cross_val_predict(model(cv=3), X, Y, cv=3, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_sorted_tables_warn_that_test_tasks_were_never_seen():
    order = np.argsort(TASK, kind="stable")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(UnknownTaskWarning, match=r"TaskKFold\(task_column='shop'\)"):
            cross_val_score(model(), X.iloc[order], Y[order], cv=6)


def test_stacking_and_voting():
    ridge = make_pipeline(
        ColumnTransformer([("shop", OneHotEncoder(), ["shop"])], remainder="passthrough"), Ridge()
    )
    members = [("ours", model()), ("ridge", ridge)]
    stack = StackingRegressor(members, cv=TaskKFold(3, task_column="shop")).fit(X, Y)
    assert stack.score(X, Y) > 0.95
    np.testing.assert_allclose(stack.transform(X)[:, 0], model().fit(X, Y).predict(X))
    vote = VotingRegressor(members).fit(X, Y)
    wanted = (model().fit(X, Y).predict(X) + ridge.fit(X, Y).predict(X)) / 2
    np.testing.assert_allclose(vote.predict(X), wanted)


def test_permutation_importance():
    fitted = model().fit(X, Y)
    result = permutation_importance(fitted, X, Y, n_repeats=3, random_state=0, scoring="r2")
    price, shop, size = result.importances_mean
    assert price > shop > 0.01 and shop > 10 * abs(size)


def test_partial_dependence():
    fitted = model().fit(X, Y)
    result = partial_dependence(fitted, X, ["price"], kind="both", grid_resolution=5)
    assert result["average"].shape == (1, 5)
    slopes = np.diff(result["average"][0]) / np.diff(result["grid_values"][0])
    wanted = np.mean([fitted.coef_[list(fitted.tasks_).index(t), 0] for t in TASK])
    np.testing.assert_allclose(slopes, wanted)
    shops = partial_dependence(fitted, X, ["shop"], categorical_features=["shop"])
    assert list(shops["grid_values"][0]) == sorted(set(TASK))
    means = [fitted.for_task(t).predict(NUMBERS).mean() for t in sorted(set(TASK))]
    np.testing.assert_allclose(shops["average"][0], means)


def test_bagging_by_index():
    codes = np.unique(TASK, return_inverse=True)[1]
    array = np.column_stack([codes, NUMBERS])
    bag = BaggingRegressor(
        model(task_column=0), n_estimators=5, random_state=0, max_samples=0.8
    ).fit(array, Y)
    assert bag.score(array, Y) > 0.9
    bag.fit(array.astype(object), Y)
    with_frame = BaggingRegressor(model(task_column=1), n_estimators=3, random_state=0)
    frame = X.assign(shop=codes)
    assert with_frame.fit(frame, Y).score(frame, Y) > 0.9


def test_sparse_output_of_a_pipeline():
    codes = np.unique(TASK, return_inverse=True)[1].astype(float)
    array = np.column_stack([codes, NUMBERS])
    pipeline = make_pipeline(FunctionTransformer(sparse.csr_matrix), model(task_column=0))
    np.testing.assert_allclose(
        pipeline.fit(array, Y).predict(array), model(task_column=0).fit(array, Y).predict(array)
    )


# ------------------------------------------------------------------------- metadata routing


def routed():
    return make_pipeline(StandardScaler(), model(task_column=None))


def test_routing_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = routed().fit(NUMBERS, Y, task=TASK)
        got = pipeline.predict(NUMBERS, task=TASK)
        score = pipeline.score(NUMBERS, Y, task=TASK)
        weighted = pipeline.score(NUMBERS, Y, task=TASK, sample_weight=np.arange(len(Y)))
    np.testing.assert_allclose(got, model().fit(X, Y).predict(X), rtol=1e-7, atol=1e-8)
    assert score == pytest.approx(r2_score(Y, got))
    assert weighted == pytest.approx(r2_score(Y, got, sample_weight=np.arange(len(Y))))


@pytest.mark.parametrize("piped", [False, True])
def test_routing_through_grid_search(piped):
    if piped and checks.SKLEARN < (1, 8):
        pytest.skip("scikit-learn before 1.8 routes nothing to the score of a pipeline in a search")
    estimator = routed() if piped else model(task_column=None)
    name = "multitaskregressor__sharing__alpha" if piped else "sharing__alpha"
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            estimator, {name: [0.1, np.inf]}, cv=3, scoring=None, error_score="raise"
        ).fit(NUMBERS, Y, task=TASK)
        assert search.best_params_ == {name: 0.1}
        assert search.score(NUMBERS, Y, task=TASK) > 0.9
    wanted = cross_val_score(model(sharing=PartialPooling(0.1, alpha_shared=1.0)), X, Y, cv=3)
    if not piped:
        np.testing.assert_allclose(search.cv_results_["mean_test_score"][0], wanted.mean())


def test_routing_of_weights_must_be_asked_for_in_fit_as_everywhere():
    weight = np.arange(len(Y)) % 3
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = model(task_column=None).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), estimator)
        pipeline.fit(NUMBERS, Y, task=TASK, sample_weight=weight)
    Z = StandardScaler().fit_transform(NUMBERS)
    alone = clone(estimator).fit(Z, Y, task=TASK, sample_weight=weight)
    np.testing.assert_allclose(pipeline[-1].coef_, alone.coef_)


def test_the_global_configuration_is_left_alone():
    before = sklearn.get_config()
    model().fit(X, Y).predict(X)
    assert sklearn.get_config() == before


# ----------------------------------------------------------------------- fitted attributes


@pytest.fixture(scope="module")
def fitted():
    return MultiTaskRegressor("partial_pooling", task_column="shop").fit(X, Y)


REPORT = [
    "task", "n_samples", "error_independent", "std_error_independent", "error_pooled",
    "std_error_pooled", "error_shared", "std_error_shared", "used", "gain_over_independent",
    "gain_over_pooled",
]  # fmt: skip


@pytest.mark.jit
def test_shapes(fitted):
    assert list(fitted.tasks_) == [f"shop {c}" for c in "abcdef"]
    assert fitted.coef_.shape == (6, 2) and fitted.intercept_.shape == (6,)
    assert fitted.shared_coef_.shape == (2,) and np.ndim(fitted.shared_intercept_) == 0
    assert list(fitted.coef_feature_names_) == ["price", "size"]
    assert fitted.n_iter_ == 1 and fitted.n_features_in_ == 3
    assert 0.0 <= fitted.kkt_residual_ < 1e-8


@pytest.mark.jit
def test_coefficients_are_what_predict_uses(fitted):
    code = np.unique(TASK, return_inverse=True)[1]
    by_hand = (NUMBERS.to_numpy() * fitted.coef_[code]).sum(1) + fitted.intercept_[code]
    np.testing.assert_allclose(fitted.predict(X), by_hand)


@pytest.mark.jit
def test_report(fitted):
    report = fitted.task_report_
    assert set(REPORT) <= set(report)
    assert {len(column) for column in report.values()} == {7}
    assert list(report["task"]) == [*fitted.tasks_, None]
    counts = X["shop"].value_counts()
    assert list(report["n_samples"]) == [*(counts[t] for t in fitted.tasks_), 0]
    assert set(report["used"]) <= {"independent", "pooled", "shared"}
    table = pd.DataFrame(report)
    for name in ("independent", "pooled", "shared"):
        assert (table[f"error_{name}"][:-1] > 0).all()
        assert (table[f"std_error_{name}"][:-1] > 0).all()
    for other in ("independent", "pooled"):
        wanted = 1 - table["error_shared"] / table[f"error_{other}"]
        np.testing.assert_allclose(table[f"gain_over_{other}"], wanted)
    last = table.iloc[-1]
    assert last["error_shared"] > 0 and last["error_pooled"] > 0
    assert np.isnan(last["error_independent"])  # there is no independent model of an unseen task


@pytest.mark.jit
def test_report_tells_the_truth(fitted):
    """Its errors are about those on new rows of the same shops."""
    slope_error = []
    for seed in (1, 2, 3):
        frame, y = shop_table(n=360, seed=seed)
        train = np.arange(360) % 3 == 0
        report = MultiTaskRegressor("partial_pooling", task_column="shop").fit(
            frame[train], y[train]
        )
        error = ((y - report.predict(frame)) ** 2)[~train].mean()
        told = np.average(
            report.task_report_["error_shared"][:-1], weights=report.task_report_["n_samples"][:-1]
        )
        slope_error.append(told / error)
    assert 0.7 < np.mean(slope_error) < 1.4


@pytest.mark.jit
def test_report_of_one_task():
    report = MultiTaskRegressor("partial_pooling").fit(NUMBERS, Y).task_report_
    assert {len(column) for column in report.values()} == {2}
    assert list(report["n_samples"]) == [len(Y), 0]


@pytest.mark.jit
def test_report_of_columns():
    y = np.column_stack([Y, Y + 1.0, Y])
    y[:50, 2] = np.nan
    report = MultiTaskRegressor("partial_pooling").fit(NUMBERS, y).task_report_
    assert list(report["task"]) == [0, 1, 2, None]
    assert list(report["n_samples"]) == [120, 120, 70, 0]


@pytest.mark.jit
def test_history(fitted):
    history = fitted.history_
    assert {"alpha", "alpha_intercept", "alpha_shared", "weight", "error"} <= set(history)
    assert len({len(column) for column in history.values()}) == 1
    assert len(history["alpha"]) > 1
    assert history["weight"].sum() == pytest.approx(1.0)
    assert (history["error"] > 0).all()
    best = history["error"].min()
    assert history["error"][np.argmax(history["weight"])] < 2 * best
    for name in ("alpha", "alpha_intercept", "alpha_shared"):
        assert getattr(fitted.sharing_, f"{name}_") in history[name]


def test_tags():
    tags = get_tags(MultiTaskRegressor())
    assert tags.estimator_type == "regressor"
    assert tags.input_tags.sparse and not tags.input_tags.allow_nan
    assert tags.target_tags.required and tags.target_tags.multi_output


def test_nested_parameters():
    estimator = MultiTaskRegressor(PartialPooling())
    assert estimator.get_params()["sharing__alpha"] == "auto"
    assert estimator.set_params(sharing__alpha=3.0).sharing.alpha == 3.0
    swapped = estimator.set_params(sharing=Independent(), sharing__alpha=2.0)
    assert isinstance(swapped.sharing, Independent) and swapped.sharing.alpha == 2.0


# ------------------------------------------------------------------------------ partial_fit


@pytest.mark.parametrize("strengths", [(1.0, 1.0, 1.0), (np.inf, np.inf, 0.5), (2.0, 0.0, 1.0)])
@pytest.mark.parametrize("cv", [None, pytest.param(5, marks=pytest.mark.jit)])
def test_partial_fit_is_fit_at_fixed_strengths(strengths, cv):
    alpha, alpha_intercept, alpha_shared = strengths
    sharing = PartialPooling(alpha, alpha_intercept=alpha_intercept, alpha_shared=alpha_shared)
    whole = model(sharing=sharing, cv=cv).fit(X, Y)
    weight = np.random.default_rng(0).uniform(0.0, 2.0, size=len(Y))
    weighted = model(sharing=sharing, cv=cv).fit(X, Y, sample_weight=weight)
    for wanted, w in ((whole, None), (weighted, weight)):
        parts = model(sharing=sharing, cv=cv)
        # One shop appears late, and one only early.
        order = np.argsort(np.where(TASK == "shop f", 2, TASK != "shop a"), kind="stable")
        for rows in np.array_split(order, 4):
            part = None if w is None else w[rows]
            parts.partial_fit(X.iloc[rows], Y[rows], sample_weight=part)
        np.testing.assert_array_equal(parts.tasks_, wanted.tasks_)
        np.testing.assert_allclose(parts.predict(X), wanted.predict(X), rtol=1e-8)
        np.testing.assert_allclose(parts.shared_coef_, wanted.shared_coef_, rtol=1e-8)


@pytest.mark.jit
def test_partial_fit_when_tuned():
    parts = model(sharing="partial_pooling", cv=5)
    for rows in np.array_split(np.arange(len(Y)), 3):
        parts.partial_fit(X.iloc[rows], Y[rows])
    whole = model(sharing="partial_pooling", cv=5).fit(X, Y)
    np.testing.assert_array_equal(parts.task_report_["n_samples"], whole.task_report_["n_samples"])
    assert parts.score(X, Y) > 0.98 * whole.score(X, Y)


@pytest.mark.jit
def test_partial_fit_when_tuned_does_not_depend_on_units():
    """Units of columns, labels and weights do not matter, nor the order and signs of columns."""
    rng = np.random.default_rng(7)
    Z, task = rng.normal(size=(180, 4)), np.arange(180) % 9
    y = Z.sum(axis=1) + rng.normal(size=9)[task] + rng.normal(size=180)
    weight = rng.uniform(0.5, 2.0, size=180)

    def predictions(Z, y, weight):
        model = MultiTaskRegressor("partial_pooling")
        for rows in np.split(np.arange(180), [50, 51, 120]):
            model.partial_fit(Z[rows], y[rows], weight[rows], task=task[rows])
        return model.predict(Z, task=task)

    wanted = predictions(Z, y, weight)
    turned = (Z * [1e3, -1e-4, 1.0, 1e5])[:, ::-1]
    for Z_got, factor in ((Z, 1e-6), (Z, 1e6), (turned, 1.0)):
        np.testing.assert_allclose(predictions(Z_got, y, factor * weight), wanted, atol=1e-6)
    np.testing.assert_allclose(predictions(Z, 1e3 * y, weight), 1e3 * wanted, atol=1e-3)


@pytest.mark.jit
@pytest.mark.parametrize("decay", [1.0, 0.8])
def test_partial_fit_trusts_a_slope_by_the_evidence_for_it(decay):
    rng = np.random.default_rng(8)
    Z, task = rng.normal(size=(600, 2)), np.arange(600) % 6
    Z[:, 1] = 0.0
    Z[[5, 250, 590], 1] = 1e-4
    y = Z[:, 0] + rng.uniform(-1.0, 1.0, size=600)
    outliers = np.exp(3.0 * rng.normal(size=600))
    for column, target, wanted in ((Z[:, 1], y, 0.0), (outliers, y + outliers, 1.0)):
        model = MultiTaskRegressor("partial_pooling")
        for rows in np.split(np.arange(600), [200, 201, 500]):
            X = np.column_stack([Z[rows, 0], column[rows]])
            model.partial_fit(X, target[rows], task=task[rows], decay=decay)
        np.testing.assert_allclose(model.coef_[:, 1], wanted, atol=1e-2)


def test_partial_fit_with_columns_of_a_target():
    y = np.column_stack([Y, -Y])
    y[::3, 1] = np.nan
    fixed = MultiTaskRegressor(clone(FIXED), cv=None)
    whole = clone(fixed).fit(NUMBERS, y)
    parts = clone(fixed).partial_fit(NUMBERS[:50], y[:50]).partial_fit(NUMBERS[50:], y[50:])
    np.testing.assert_allclose(parts.predict(NUMBERS), whole.predict(NUMBERS), rtol=1e-8)


def test_a_failed_partial_fit_changes_nothing():
    parts = model().partial_fit(X[:60], Y[:60])
    wanted = parts.predict(X)
    for frame, y in (
        (X[60:].assign(shop=3), Y[60:]),
        (X[60:].rename(columns={"price": "cost"}), Y[60:]),
        (X[60:].assign(price=np.nan), Y[60:]),
    ):
        with pytest.raises(ValueError):
            parts.partial_fit(frame, y)
        np.testing.assert_array_equal(parts.predict(X), wanted)
    parts.partial_fit(X[60:], Y[60:])
    np.testing.assert_allclose(parts.predict(X), model().fit(X, Y).predict(X), rtol=1e-8)


def test_partial_fit_after_a_fit_without_moments_is_refused():
    fitted = model().fit(X[:60], Y[:60])
    before = fitted.coef_.copy()
    with pytest.raises(ValueError, match="set keep_moments=True before fit"):
        fitted.partial_fit(X[60:], Y[60:])
    assert not hasattr(fitted, "partial_fit") and hasattr(clone(fitted), "partial_fit")
    np.testing.assert_array_equal(fitted.coef_, before)


@pytest.mark.parametrize("cv", [None, pytest.param(5, marks=pytest.mark.jit)])
def test_fit_followed_by_partial_fit(cv):
    fitted = model(cv=cv, keep_moments=True).fit(X[:60], Y[:60]).partial_fit(X[60:], Y[60:])
    parts = model(cv=cv).partial_fit(X[:60], Y[:60]).partial_fit(X[60:], Y[60:])
    np.testing.assert_allclose(fitted.coef_, parts.coef_, rtol=1e-8)
    np.testing.assert_allclose(fitted.coef_, model(cv=cv).fit(X, Y).coef_, rtol=1e-8)
    assert len(pickle.dumps(fitted)) > len(pickle.dumps(model(cv=cv).fit(X, Y)))
    with pytest.raises(ValueError, match="cv=.* must be an int"):
        model(cv=KFold(3), keep_moments=True).fit(X, Y)


def test_decay_is_a_weight_of_earlier_rows():
    parts = model().partial_fit(X[:40], Y[:40]).partial_fit(X[40:60], Y[40:60], decay=0.5)
    parts.partial_fit(X[60:], Y[60:], decay=0.25)
    weight = np.repeat([0.125, 0.25, 1.0], [40, 20, len(Y) - 60])
    whole = model().fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-8)
    np.testing.assert_allclose(parts.shared_coef_, whole.shared_coef_, rtol=1e-8)


@pytest.mark.jit
def test_decay_follows_a_drift():
    rng = np.random.default_rng(0)
    task, slope, errors = np.repeat(np.arange(6), 20), np.ones(6), []
    steady, fading = MultiTaskRegressor("partial_pooling"), MultiTaskRegressor("partial_pooling")
    for month in range(8):
        slope = slope + 0.8
        Z = rng.normal(size=(120, 1))
        y = slope[task] * Z[:, 0] + 0.3 * rng.normal(size=120)
        if month:
            errors.append([np.mean((m.predict(Z, task=task) - y) ** 2) for m in (steady, fading)])
        steady.partial_fit(Z, y, task=task)
        fading.partial_fit(Z, y, task=task, decay=0.3)
    assert np.mean(errors, axis=0)[1] < 0.5 * np.mean(errors, axis=0)[0]


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5, "half", None, True, np.nan])
def test_decay_is_a_share(decay):
    parts = model().partial_fit(X[:60], Y[:60])
    with pytest.raises(ValueError, match="decay=.* must be a number above 0 and at most 1"):
        parts.partial_fit(X[60:], Y[60:], decay=decay)


def test_a_piece_may_lack_every_label_of_a_task():
    y = np.column_stack([Y, -Y, 2 * Y])
    y[:50, 1] = y[50:, 2] = np.nan
    fixed = MultiTaskRegressor(clone(FIXED), cv=None)
    parts = clone(fixed).partial_fit(NUMBERS[:50], y[:50])
    np.testing.assert_array_equal(parts.coef_[1], parts.shared_coef_)  # no labels of this task
    parts.partial_fit(NUMBERS[50:], y[50:])
    np.testing.assert_allclose(parts.coef_, clone(fixed).fit(NUMBERS, y).coef_, rtol=1e-8)
    with pytest.raises(ValueError, match="y has no label, only NaN, in all 3 columns"):
        parts.partial_fit(NUMBERS[:5], np.full((5, 3), np.nan))


def test_strengths_may_be_held_after_tuning():
    parts = MultiTaskRegressor("partial_pooling", task_column="shop", cv=5).partial_fit(
        X[:60], Y[:60]
    )
    found = parts.sharing_
    held = PartialPooling(
        found.alpha_, alpha_intercept=found.alpha_intercept_, alpha_shared=found.alpha_shared_
    )
    parts.set_params(sharing=held, target_scale="table").partial_fit(X[60:], Y[60:])
    wanted = MultiTaskRegressor(held, task_column="shop", target_scale="table").fit(X, Y)
    np.testing.assert_allclose(parts.coef_, wanted.coef_, rtol=1e-7)


def test_fit_after_partial_fit_starts_anew():
    parts = model().partial_fit(X[:60], Y[:60]).fit(X, Y)
    np.testing.assert_array_equal(parts.coef_, model().fit(X, Y).coef_)


@pytest.mark.jit
@pytest.mark.parametrize(
    ("params", "message"),
    [({"cv": 3}, "cv=3 differs from the 5 folds of earlier calls of partial_fit")],
)
def test_parameters_that_may_not_change_between_calls(params, message):
    parts = model(cv=5).partial_fit(X[:60], Y[:60])
    with pytest.raises(ValueError, match=message):
        parts.set_params(**params).partial_fit(X[60:], Y[60:])
    with pytest.raises(ValueError, match="cv=.* must be an int"):
        model(cv=KFold(3)).partial_fit(X, Y)
    with pytest.raises(ValueError, match="cv=1 must be at least 2 folds"):
        model(cv=None).partial_fit(X[:60], Y[:60]).set_params(cv=1).partial_fit(X[60:], Y[60:])


def test_a_copy_goes_on_with_partial_fit():
    parts = pickle.loads(pickle.dumps(model().partial_fit(X[:60], Y[:60])))
    parts.partial_fit(X[60:], Y[60:])
    np.testing.assert_allclose(parts.coef_, model().fit(X, Y).coef_, rtol=1e-8)


def test_unknown_tasks_warn_once_with_the_share():
    fitted = model().fit(X, Y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted.predict(X.assign(shop=np.where(TASK == "shop a", "elsewhere", TASK)))
    assert len(caught) == 1 and "20 of 120 rows (17%)" in str(caught[0].message)
    assert caught[0].filename == __file__  # it points at the caller
