"""Levels above the tasks: stores in regions."""

import pickle
import warnings

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.sharing import PartialPooling, TaskTree
from skmtl.sharing.base import SharingFit

pd = pytest.importorskip("pandas")

pytestmark = pytest.mark.jit
COLUMNS = ["region", "store"]
FIXED = TaskTree(
    alpha=5.0, alpha_intercept=3.0, alpha_shared=1.0, alpha_levels=4.0, alpha_levels_intercept=2.0
)


def chain(seed=0, regions=8, stores=8, rows=10, level=1.0, slopes=0.7, bend=0.0):
    """Stores in regions, whose names are labels of two kinds, and features on other scales."""
    rng = np.random.default_rng(seed)
    region = np.repeat(np.arange(regions), stores)
    store = np.repeat(np.arange(len(region)), rows)
    X = pd.DataFrame({"a": 3 + 2 * rng.normal(size=len(store)), "b": rng.normal(size=len(store))})
    coef = slopes * rng.normal(size=(regions, 2))[region] + 0.1 * rng.normal(size=(len(region), 2))
    mean = level * rng.normal(size=regions)[region] + 0.3 * rng.normal(size=len(region))
    mean = mean[store] + (coef[store] * (X.to_numpy() - [3, 0]) / [2, 1]).sum(axis=1)
    mean += bend * np.sin(3 * X["b"].to_numpy())
    X.insert(1, "region", np.array([f"r{i}" for i in range(regions)])[region[store]])
    X["store"] = store + 100
    return X, mean + 0.7 * rng.normal(size=len(store)), mean


def tree(sharing=None, **params):
    return MultiTaskRegressor(sharing or TaskTree(), task_column=COLUMNS, **params)


def parts(X):
    """Return the standardised features, the codes of the stores, and the regions of the stores."""
    Z = reference.standardised(X[["a", "b"]].to_numpy())
    store = np.unique(X["store"], return_inverse=True)[1]
    first = np.unique(store, return_index=True)[1]
    region = np.unique(X["region"], return_inverse=True)[1]
    return Z, store, region[first]


# ------------------------------------------------------------------------------- fixed strengths


@pytest.mark.parametrize(
    ("pooling", "of_levels"),
    [
        ((5.0, 3.0, 1.0), (2.0, 4.0)),
        ((np.inf, 0.5, 0.0), (3.0, np.inf)),
        ((1.0, 2.0, 0.5), (np.inf, 2.0)),
    ],
    ids=["slopes", "intercepts", "slopes of regions only"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_fixed_strengths_are_the_joint_ridge(pooling, of_levels, weighted, rng):
    X, y, _ = chain(rows=6)
    weight = rng.uniform(0.5, 2.0, size=len(y)) if weighted else None
    sharing = TaskTree(
        alpha=pooling[0], alpha_intercept=pooling[1], alpha_shared=pooling[2],
        alpha_levels=of_levels[1], alpha_levels_intercept=of_levels[0],
    )  # fmt: skip
    model = tree(sharing, cv=None).fit(X, y, weight)
    Z, store, region = parts(X)
    Z = reference.standardised(X[["a", "b"]].to_numpy(), weight)
    wanted, of_regions = reference.tree_ridge(Z, y, store, [region], pooling, [of_levels], weight)
    np.testing.assert_allclose(model.predict(X), wanted, atol=1e-7)
    assert model.kkt_residual_ <= 1e-8
    new = X.assign(store=7)
    with pytest.warns(UnknownTaskWarning, match="with the model of their group if it is known"):
        np.testing.assert_allclose(model.predict(new), of_regions[0], atol=1e-7)


def test_three_levels_are_the_joint_ridge():
    X, y, _ = chain(regions=9, stores=4, rows=5)
    X.insert(0, "country", np.array(["n", "s", "w"])[X["region"].str[1].astype(int) // 3])
    Z, store, region = parts(X)
    sharing = TaskTree(5.0, alpha_intercept=3.0, alpha_shared=1.0, alpha_levels=[6.0, 4.0])
    columns = ["country", "region", "store"]
    model = MultiTaskRegressor(sharing, task_column=columns, cv=None).fit(X, y)
    strengths = [(6.0, 6.0), (4.0, 4.0)]
    wanted, _ = reference.tree_ridge(Z, y, store, [region // 3, region], (5.0, 3.0, 1.0), strengths)
    np.testing.assert_allclose(model.predict(X), wanted, atol=1e-7)
    assert list(model.level_coef_) == ["country", "region"]
    assert model.level_coef_["region"]["group"][0] == ("n", "r0")
    np.testing.assert_array_equal(model.sharing_.alpha_levels_, [6.0, 4.0])
    # A new region in a known country starts from the country.
    new = X.assign(region="r10", store=7)
    coef, about = model.coef_feature_names_, model.level_coef_["country"]
    code = np.unique(X["country"], return_inverse=True)[1]
    wanted = about["intercept"][code] + (X[coef].to_numpy() * about["coef"][code]).sum(axis=1)
    with pytest.warns(UnknownTaskWarning):
        np.testing.assert_allclose(model.predict(new), wanted, atol=1e-9)


def test_strengths_that_are_ratios_of_variances_give_best_linear_unbiased_predictions():
    """Of nested random intercepts, from the covariance of the labels."""
    X, y, _ = chain(rows=5, slopes=0.0)
    Z, store, region = parts(X)
    noise, of_store, of_region = 0.5, 0.3, 0.9
    A, B = np.eye(len(region))[store], np.eye(8)[region[store]]
    V = noise * np.eye(len(y)) + of_store * A @ A.T + of_region * B @ B.T
    fixed = np.column_stack([np.ones(len(y)), Z])
    inner = np.linalg.solve(V, fixed)
    beta = np.linalg.solve(fixed.T @ inner, inner.T @ y)
    rest = np.linalg.solve(V, y - fixed @ beta)
    blup = fixed @ beta + (of_store * A @ A.T + of_region * B @ B.T) @ rest
    sharing = TaskTree(
        np.inf, alpha_intercept=noise / of_store, alpha_shared=0.0, alpha_levels=np.inf,
        alpha_levels_intercept=noise / of_region,
    )  # fmt: skip
    model = tree(sharing, cv=None).fit(X, y)
    np.testing.assert_allclose(model.predict(X), blup, atol=1e-8)
    np.testing.assert_allclose(model.level_coef_["region"]["coef"], [model.shared_coef_] * 8)


@pytest.mark.parametrize("kind", [MultiTaskRegressor, MultiTaskClassifier])
@pytest.mark.parametrize("cv", [5, None])
def test_one_level_is_partial_pooling(kind, cv):
    X, y, _ = chain()
    y = y if kind is MultiTaskRegressor else y > np.median(y)
    strengths = {} if cv else {"alpha": 5.0, "alpha_intercept": 3.0, "alpha_shared": 1.0}
    one, plain = (
        kind(s(**strengths), task_column="store", exclude_columns="region", cv=cv).fit(X, y)
        for s in (TaskTree, PartialPooling)
    )
    np.testing.assert_allclose(one.coef_, plain.coef_, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(one.intercept_, plain.intercept_, rtol=1e-10, atol=1e-10)
    assert not hasattr(one, "level_coef_")


def test_infinite_strengths_of_levels_are_the_flat_model():
    X, y, _ = chain()
    sharing = TaskTree(5.0, alpha_intercept=3.0, alpha_shared=1.0, alpha_levels=np.inf)
    flat = PartialPooling(5.0, alpha_intercept=3.0, alpha_shared=1.0)
    np.testing.assert_allclose(
        tree(sharing, cv=None).fit(X, y).coef_, tree(flat, cv=None).fit(X, y).coef_, atol=1e-10
    )


def test_a_mapping_is_the_columns():
    X, y, _ = chain()
    groups = dict(zip(X["store"], X["region"], strict=True)) | {7: "r3"}
    sharing = clone(FIXED).set_params(groups=groups)
    model = MultiTaskRegressor(sharing, task_column="store", exclude_columns="region", cv=None).fit(
        X, y
    )
    by_columns = tree(FIXED, cv=None).fit(X, y)
    np.testing.assert_allclose(model.predict(X), by_columns.predict(X), atol=1e-8)
    new = X.assign(store=7, region="r3")
    with pytest.warns(UnknownTaskWarning):  # a store of the mapping that is not in fit
        np.testing.assert_allclose(model.predict(new), by_columns.predict(new), atol=1e-8)
    assert list(model.level_coef_) == ["group"]
    assert sharing.groups == groups


def test_a_mapping_of_the_columns_of_a_target():
    """Every task has all rows; the fit is that of the same rows in one column."""
    rng = np.random.default_rng(3)
    X, group = rng.normal(size=(12, 2)), np.repeat([0, 1, 2], 4)
    Y = X @ rng.normal(size=(2, 12)) + rng.normal(size=3)[group] + 0.3 * rng.normal(size=(12, 12))
    names = [f"t{i}" for i in range(12)][::-1]
    groups = {name: f"g{g}" for name, g in zip(names, group, strict=True)}
    model = MultiTaskRegressor(clone(FIXED).set_params(groups=groups), cv=None)
    model.fit(X, pd.DataFrame(Y, columns=names))
    long = MultiTaskRegressor(clone(FIXED).set_params(groups=groups), cv=None)
    long.fit(np.tile(X, (12, 1)), Y.T.ravel(), task=np.repeat(names, 12))
    one = long.predict(X, task=["t3"] * 12)
    np.testing.assert_allclose(model.predict(X)[:, names.index("t3")], one, atol=1e-8)


# -------------------------------------------------------------------------------------- tuned


@pytest.mark.parametrize("sharing", [TaskTree(), "auto"])
def test_stores_and_new_stores_learn_from_their_regions(sharing):
    X, y, mean = chain(seed=1, stores=10)
    new, test = X["store"] % 10 == 9, np.arange(len(y)) % 10 == 0
    train = (~new & ~test).to_numpy()
    model = tree(sharing).fit(X[train], y[train])
    flat = tree("partial_pooling").fit(X[train], y[train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTaskWarning)
        errors = [(mean - m.predict(X)) ** 2 for m in (model, flat)]
    assert errors[0][test & ~new].mean() < 0.8 * errors[1][test & ~new].mean()
    assert errors[0][new].mean() < 0.5 * errors[1][new].mean()
    report = model.task_report_
    for name in ("error_independent", "error_pooled"):
        np.testing.assert_array_equal(report[name], flat.task_report_[name])
    assert (model.sharing_.alpha_levels_intercept_ < 30).all()
    # A new store with a few rows starts from its region.
    rows = X[new & (X["region"] == "r3")]
    some, rest = rows.iloc[:3], rows.index[3:]
    found = [m.adapt(some, y[some.index]).predict(X.loc[rest]) for m in (model, flat)]
    bare = model.adapt(some[["a", "b"]], y[some.index]).predict(X.loc[rest])
    errors = [np.mean((mean[rest] - p) ** 2) for p in (*found, bare)]
    assert errors[0] < errors[1] and errors[0] < errors[2]


def test_learners_go_with_levels():
    X, y, _ = chain(seed=2, stores=12, rows=20, bend=2.0)
    model = tree("auto").fit(X, y)
    assert model._learned is not None and np.isfinite(model.sharing_.alpha_levels_intercept_).all()
    one = X[X["store"] == 105]
    label = ("r0", 105)
    np.testing.assert_allclose(model.for_task(label).predict(one), model.predict(one))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTaskWarning)
        new = np.array([model.predict(one.assign(store=7, region=r)) for r in ("r0", "r1", "no")])
    assert np.ptp(new, axis=0).min() > 0
    share = model._learned.linear_share(model._learned.weights[-1:])[0]
    about = model.level_coef_["region"]
    assert share < 1 or "smooth" in model.member_report_["member"]
    gap = about["intercept"][1] - about["intercept"][0]
    gap = gap + one[["a", "b"]].to_numpy() @ (about["coef"][1] - about["coef"][0])
    np.testing.assert_allclose(new[1] - new[0], share * gap, atol=1e-8)


def test_irrelevant_regions_change_little():
    ratios = []
    for seed in range(4):
        X, y, _mean = chain(seed=seed, level=0.0, slopes=0.0)
        test = np.arange(len(y)) % 4 == 0
        models = [tree(s).fit(X[~test], y[~test]) for s in (TaskTree(), "partial_pooling")]
        errors = [np.mean((y[test] - m.predict(X[test])) ** 2) for m in models]
        ratios.append(errors[0] / errors[1])
    assert np.mean(ratios) < 1.005


def test_levels_without_use_are_the_flat_model(monkeypatch):
    X, y, _ = chain()
    monkeypatch.setattr(SharingFit, "predicts_better_than", lambda *args: False)
    model, flat = tree().fit(X, y), tree("partial_pooling").fit(X, y)
    np.testing.assert_array_equal(model.coef_, flat.coef_)
    np.testing.assert_array_equal(model.level_coef_["region"]["coef"], [flat.shared_coef_] * 8)
    assert np.isinf(model.sharing_.alpha_levels_).all()


def test_columns_that_cross_are_the_flat_product_under_auto():
    X, y, _ = chain()
    X["store"] = X["store"] % 8  # every region has the stores 0 to 7
    model, flat = tree("auto").fit(X, y), tree("partial_pooling").fit(X, y)
    np.testing.assert_array_equal(model.coef_, flat.coef_)
    assert not hasattr(model, "level_coef_")


def test_classes():
    X, y, _mean = chain(seed=4, stores=12, rows=30)
    new, test = (X["store"] % 12 == 11).to_numpy(), np.arange(len(y)) % 5 == 0
    train, y = ~new & ~test, y > np.median(y)
    kinds = (TaskTree(), "partial_pooling")
    models = [MultiTaskClassifier(s, task_column=COLUMNS).fit(X[train], y[train]) for s in kinds]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTaskWarning)
        p = [np.clip(m.predict_proba(X)[:, 1], 1e-9, 1 - 1e-9) for m in models]
    losses = [-np.where(y, np.log(q), np.log1p(-q)) for q in p]
    assert losses[0][new].mean() < 0.9 * losses[1][new].mean()
    assert losses[0][test].mean() < losses[1][test].mean()
    one = X[X["store"] == 105]
    alone = models[0].for_task(("r0", 105))
    np.testing.assert_allclose(alone.predict_proba(one), models[0].predict_proba(one))


def test_fixed_strengths_of_classes_are_the_joint_logistic_regression():
    X, y, _ = chain(regions=4, stores=4)
    y = (y > np.median(y)).astype(float)
    model = MultiTaskClassifier(FIXED, task_column=COLUMNS, cv=None, tol=1e-9).fit(X, y)
    Z, store, region = parts(X)
    pooling, of_levels = (5.0, 3.0, 1.0), [(2.0, 4.0)]
    wanted = reference.tree_logistic(Z, y, store, [region], pooling, of_levels)
    np.testing.assert_allclose(model.decision_function(X), wanted, atol=1e-5)


# ------------------------------------------------------------------------- beside other columns


def test_levels_go_with_grouping_columns():
    X, y, _ = chain(seed=5)
    rng = np.random.default_rng(5)
    X["customer"] = rng.integers(40, size=len(y))
    y = y + rng.normal(size=40)[X["customer"]]
    model = tree(grouping_columns=["customer"]).fit(X, y)
    assert model.grouping_strengths_["customer"] < 5.0
    assert len(model.grouping_effects_["customer"]["effect"]) == 40
    assert np.isfinite(model.sharing_.alpha_levels_intercept_).all()
    fixed = tree(FIXED, grouping_columns={"customer": np.inf}, cv=None).fit(X, y)
    plain = tree(FIXED, exclude_columns="customer", cv=None).fit(X, y)
    np.testing.assert_allclose(fixed.predict(X), plain.predict(X), atol=1e-8)


# ------------------------------------------------------------------------------- reports, tools


def test_reports_of_levels():
    X, y, _ = chain(seed=1)
    model = tree().fit(X, y)
    about, report = model.level_coef_["region"], model.level_report_["region"]
    assert about["group"].tolist() == [f"r{i}" for i in range(8)]
    np.testing.assert_array_equal(about["n_tasks"], 8)
    np.testing.assert_array_equal(report["n_samples"], 80)
    tasks = model.task_report_
    first = np.array([label is not None and label[0] == "r0" for label in tasks["task"]])
    wanted = np.average(tasks["error_shared"][first], weights=tasks["n_samples"][first])
    assert report["error_shared"][0] == pytest.approx(wanted)
    gain = 1 - report["error_shared"] / report["error_pooled"]
    np.testing.assert_allclose(report["gain_over_pooled"], gain)
    frame = model.coef_frame(level="region")
    assert frame.index.name == "region" and frame.index[:8].tolist() == about["group"].tolist()
    np.testing.assert_allclose(frame.iloc[:8, 1:], about["coef"])
    np.testing.assert_allclose(frame.iloc[-1, 1:].astype(float), model.shared_coef_)
    own = model.coef_frame("own", level="region")
    np.testing.assert_allclose(own.iloc[:8] + own.iloc[-1], frame.iloc[:8])
    with pytest.raises(ValueError, match="level='shop' is not a level.*'region'"):
        model.coef_frame(level="shop")
    model.set_params(sharing="partial_pooling").fit(X, y)
    assert not hasattr(model, "level_coef_") and not hasattr(model, "level_report_")
    with pytest.raises(ValueError, match="level='region'.*no levels"):
        model.coef_frame(level="region")


def test_order_names_copies_and_threads_change_nothing(rng):
    X, y, _ = chain(seed=1)
    wanted = tree().fit(X, y).predict(X)
    order = rng.permutation(len(y))
    other = X.iloc[order].assign(
        region=X["region"].iloc[order].str.replace("r", "z"), store=997 - X["store"].iloc[order]
    )
    again = tree(n_jobs=2).fit(other, y[order]).predict(other)
    np.testing.assert_allclose(again, wanted[order], rtol=1e-6, atol=1e-6)
    twice = pd.concat([X, X], ignore_index=True)
    doubled = tree().fit(X, y, np.full(len(y), 2.0)).predict(X)
    found = tree().fit(twice, np.r_[y, y]).predict(X)
    np.testing.assert_allclose(found, doubled, rtol=1e-6, atol=1e-6)


def test_labels_of_several_parts_and_arrays():
    """task= with tuples, and task columns by index."""
    X, y, _ = chain()
    wanted = tree(FIXED, cv=None).fit(X, y).predict(X)
    tuples = list(zip(X["region"], X["store"], strict=True))
    numbers = X[["a", "b"]].to_numpy()
    model = MultiTaskRegressor(FIXED, cv=None).fit(numbers, y, task=tuples)
    np.testing.assert_allclose(model.predict(numbers, task=tuples), wanted, atol=1e-8)
    assert list(model.level_coef_) == ["level_1"]
    with pytest.warns(UnknownTaskWarning):
        one = model.predict(numbers[:2], task=("r0", 7))
    about = model.level_coef_["level_1"]
    np.testing.assert_allclose(one, about["intercept"][0] + numbers[:2] @ about["coef"][0])
    array = np.column_stack([np.unique(X["region"], return_inverse=True)[1], X["store"], numbers])
    by_index = MultiTaskRegressor(FIXED, task_column=[0, 1], cv=None).fit(array, y)
    np.testing.assert_allclose(by_index.predict(array), wanted, atol=1e-8)
    adapted = by_index.adapt(array[:4], y[:4]), by_index.adapt(array[:4, 2:], y[:4])
    assert np.abs(adapted[0].coef_ - adapted[1].coef_).max() > 1e-3


@pytest.mark.filterwarnings("ignore::skmtl.base.UnknownTaskWarning")
def test_scikit_learns_tools():
    X, y, _ = chain()
    X["region"] = X["region"].str[1:].astype(int)
    model = tree()
    grid = {"sharing__alpha_levels_intercept": ["auto", 1.0], "sharing__alpha_levels": [np.inf]}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert cross_val_predict(search.best_estimator_, X, y, cv=3).shape == y.shape
    fitted = clone(model).fit(X, y)
    copy = pickle.loads(pickle.dumps(fitted))
    new = X.iloc[:5].assign(store=7)
    with pytest.warns(UnknownTaskWarning):
        np.testing.assert_array_equal(copy.predict(new), fitted.predict(new))


def test_tasks_without_rows_have_the_model_of_their_region():
    X, y, _ = chain()
    weight = (X["store"] != 100).to_numpy().astype(float)
    model = tree(FIXED, cv=None).fit(X, y, weight)
    about = model.level_coef_["region"]
    np.testing.assert_allclose(model.coef_[0], about["coef"][0])
    assert about["n_tasks"][0] == 7


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        (TaskTree(alpha_levels=-1.0), "alpha_levels=-1.0 must be 'auto' or a number"),
        (
            TaskTree(alpha_levels=[1.0, "auto"]),
            "alpha_levels=.* has 2 strengths, but the number",
        ),
        (TaskTree(alpha_levels_intercept=["no"]), "alpha_levels_intercept='no' must be"),
        (TaskTree(groups=["r0"]), "groups= of TaskTree is a list, but must be a mapping"),
        (TaskTree(groups={("r0", 100): "n"}), "has no group for 63 of 64 tasks, such as"),
        (TaskTree(groups={"r0": "n"}), "keys of kind string, but the task labels are of kind"),
        (TaskTree(groups={("r0", 100): "n", ("r0", 101): ("n", "s")}), "the same number of groups"),
        (TaskTree(groups={("r0", 100): ["n", "s"]}), "has lists as values; use tuples"),
    ],
)
def test_bad_levels(sharing, message):
    X, y, _ = chain()
    with pytest.raises(ValueError, match=message):
        tree(sharing).fit(X, y)


def test_what_levels_do_not_have():
    X, y, _ = chain()
    with pytest.raises(ValueError, match="needs all rows at once.*keep_moments=False"):
        tree(keep_moments=True).fit(X, y)
    with pytest.raises(ValueError, match=r"TaskTree is for two classes, but y has 3"):
        MultiTaskClassifier(TaskTree(), task_column=COLUMNS).fit(X, np.arange(len(y)) % 3)
    with pytest.raises(ValueError, match=r"the levels above the tasks.*cv=None; set cv=5"):
        tree(TaskTree(5.0, alpha_intercept=3.0, alpha_shared=1.0), cv=None).fit(X, y)


# ------------------------------------------------------------------- groups that are not known


def wide_regions(seed, n_regions=30, stores=6, rows=8):
    """Regions that differ much, in their levels and slopes, of stores that hardly do."""
    X, y, _ = chain(seed, n_regions, stores, rows, level=2.0, slopes=0.7)
    known = X["region"].isin([f"r{i}" for i in range(20)]).to_numpy()
    return X, y, known


@pytest.mark.filterwarnings("ignore::skmtl.base.UnknownTaskWarning")
def test_intervals_of_tasks_in_regions_never_seen():
    covered = []
    for seed in range(5):
        X, y, known = wide_regions(seed)
        model = tree().fit(X[known], y[known])
        low, high = model.predict_interval(X[~known], coverage=0.9)
        covered.append(((low < y[~known]) & (y[~known] < high)).mean())
    assert np.mean(covered) > 0.8
    inside = X[known].assign(store=7)
    std = [model.predict(part, return_std=True)[1].mean() for part in (inside, X[~known])]
    assert std[1] > 1.3 * std[0]


@pytest.mark.filterwarnings("ignore::skmtl.base.UnknownTaskWarning")
def test_sets_of_tasks_in_regions_never_seen():
    covered = []
    for seed in range(3):
        X, y, known = wide_regions(seed, rows=12)
        y = (y > np.median(y)).astype(int)
        model = MultiTaskClassifier(TaskTree(), task_column=COLUMNS).fit(X[known], y[known])
        sets = model.predict_set(X[~known], coverage=0.9)
        covered.append(sets[np.arange(len(sets)), y[~known]].mean())
    assert np.mean(covered) > 0.82


@pytest.mark.parametrize("sharing", [TaskTree(), "auto"])
def test_new_tasks_in_regions_never_seen_are_adapted_to_as_by_the_flat_model(sharing):
    errors = []
    for seed in range(4):
        X, y, known = wide_regions(seed)
        models = [tree(s).fit(X[known], y[known]) for s in (sharing, "partial_pooling")]
        for store in X["store"][~known].unique()[::6]:
            rows = X[X["store"] == store]
            target = y[rows.index]
            found = [
                np.mean((m.adapt(part[:3], target[:3]).predict(rows[3:]) - target[3:]) ** 2)
                for m in models
                for part in (rows, rows[["a", "b"]])
            ]
            errors.append(found)
    of_tree, bare, flat, _ = np.mean(errors, axis=0)
    assert of_tree < 1.1 * flat and bare < 1.1 * flat


def test_there_is_no_partial_fit():
    X, y, _ = chain()
    with pytest.raises(AttributeError, match="sharing=TaskTree needs all rows at once"):
        tree(FIXED, cv=None).partial_fit(X, y)
    assert not hasattr(tree("auto").partial_fit(X, y), "level_coef_")


def test_many_features_have_levels_without_slopes():
    rng = np.random.default_rng(0)
    X, y, _ = chain(slopes=0.0)
    more = pd.DataFrame(rng.normal(size=(len(y), 60)), columns=[f"z{i}" for i in range(60)])
    model = tree().fit(pd.concat([X, more], axis=1), y)
    assert np.isfinite(model.sharing_.alpha_levels_intercept_).all()
    assert np.isinf(model.sharing_.alpha_levels_).all()
    assert model.level_coef_["region"]["coef"].shape == (8, 62)


def test_levels_in_reverse_order_warn():
    X, y, _ = chain()
    model = MultiTaskRegressor(FIXED, task_column=["store", "region"], cv=None)
    with pytest.warns(UserWarning, match="every group of the level 'store' has a single task"):
        model.fit(X, y)
