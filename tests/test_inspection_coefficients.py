"""TaskCoefficientsDisplay: the coefficients drawn, their places, and the comparison."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.inspection import TaskCoefficientsDisplay
from skmtl.model_selection import TaskKFold
from skmtl.sharing import PartialPooling

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

import legible  # noqa: E402

FIXED = PartialPooling(alpha=3.0, alpha_shared=1.0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table(n_tasks=6, rows=30, seed=0):
    """The slope of "p" varies most per unit, and that of "q" per standard deviation."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(n_tasks), rows)
    X = pd.DataFrame(rng.normal(size=(len(code), 3)), columns=["p", "q", "r"])
    X["q"] = 100 * X["q"] + 500
    slopes = np.array([2.0, 0.05, 0.1]) * rng.normal(size=(n_tasks, 3))
    y = (X * slopes[code]).sum(axis=1) + code + 0.3 * rng.normal(size=len(code))
    return X.assign(shop=np.array([f"shop {c}" for c in code])), y.rename("revenue")


def regressor():
    return MultiTaskRegressor(FIXED, task_column="shop", cv=None)


def drawn(points):
    return points.get_offsets()[:, 0]


def titles(display, loc="left"):
    return [ax.get_title(loc=loc) for ax in display.axes_]


def test_without_rows_the_coefficients_as_they_are():
    X, y = table()
    model = regressor().fit(X, y)
    display = TaskCoefficientsDisplay.from_estimator(model)
    assert titles(display) == ["intercept", "p", "r", "q"]  # by their variation per unit
    units = ["target where all features are 0", *["target per unit"] * 3]
    assert titles(display, "right") == units
    np.testing.assert_allclose(drawn(display.points_[0]), model.intercept_)
    np.testing.assert_allclose(drawn(display.points_[1]), model.coef_[:, 0])
    assert display.shared_lines_[3].get_xdata()[0] == model.shared_coef_[1]
    assert display.independent_points_ is None and display.independent_coef is None
    assert [t.get_text() for t in display.axes_[0].get_yticklabels()] == ["this model"]


def test_with_rows_an_independent_model_is_fitted():
    X, y = table()
    before = X.copy()
    model = regressor().fit(X, y)
    display = TaskCoefficientsDisplay.from_estimator(model, X, y)
    assert titles(display) == ["intercept", "q", "p", "r"]  # per standard deviation
    assert titles(display, "right")[:2] == ["revenue at the features' means", "revenue per unit"]
    alone = MultiTaskRegressor("independent", task_column="shop").fit(X, y)
    np.testing.assert_allclose(display.independent_coef[:, 1:], alone.coef_[:, [1, 0, 2]])
    np.testing.assert_allclose(drawn(display.independent_points_[1]), alone.coef_[:, 1])
    mean = X[["p", "q", "r"]].mean().to_numpy()
    for one, level in ((model, display.coef[:, 0]), (alone, display.independent_coef[:, 0])):
        np.testing.assert_allclose(level, one.intercept_ + one.coef_ @ mean)
    shared = model.shared_intercept_ + model.shared_coef_ @ mean
    assert display.shared_coef[0] == pytest.approx(shared)
    pd.testing.assert_frame_equal(X, before)
    assert model.coef_frame().loc["shop 1", "p"] == model.coef_[1, 0]  # the model is unchanged


def test_an_independent_model_of_the_users():
    X, y = table()
    model, alone = regressor().fit(X, y), MultiTaskRegressor("independent", task_column="shop")
    alone.fit(X, y)
    display = TaskCoefficientsDisplay.from_estimator(model, independent=alone, features=["r", 0])
    assert titles(display) == ["r", "p"]
    np.testing.assert_array_equal(display.independent_coef, alone.coef_[:, [2, 0]])
    other = clone(alone).fit(X[X["shop"] != "shop 0"], y[X["shop"] != "shop 0"])
    with pytest.raises(ValueError, match="other tasks_ than the estimator.*same table"):
        TaskCoefficientsDisplay.from_estimator(model, independent=other)
    other = clone(alone).fit(X[["q", "p", "r", "shop"]], y)
    with pytest.raises(ValueError, match="other coef_feature_names_"):
        TaskCoefficientsDisplay.from_estimator(model, independent=other)


def test_features_and_how_many():
    X, y = table()
    model = regressor().fit(X, y)

    def shown(**kwargs):
        return titles(TaskCoefficientsDisplay.from_estimator(model, **kwargs))

    assert shown(max_features=2) == ["intercept", "p"]
    assert shown(features="q") == ["q"]
    assert shown(features=["r", "intercept"]) == ["r", "intercept"]
    assert shown(features=[1]) == ["q"]
    for bad in ("s", 3, -1, 1.5):
        with pytest.raises(ValueError, match=f"features has {bad!r}, .*'intercept', 'p'"):
            shown(features=[bad])
    with pytest.raises(ValueError, match="features is empty"):
        shown(features=[])
    with pytest.raises(ValueError, match="max_features=0"):
        shown(max_features=0)
    with pytest.raises(ValueError, match="y was given without X"):
        shown(y=y)


def test_through_a_pipeline_and_a_search():
    X, y = table()
    array = np.column_stack([X[["p", "q", "r"]], X["shop"].str[-1].astype(int)])
    model = MultiTaskRegressor(FIXED, task_column=0, cv=None)
    pipe = make_pipeline(FunctionTransformer(lambda A: A[:, ::-1]), model)
    grid = {"multitaskregressor__sharing__alpha": [3.0]}
    search = GridSearchCV(pipe, grid, cv=TaskKFold(2, task_column=3)).fit(array, y)
    display = TaskCoefficientsDisplay.from_estimator(search, array, y)
    plain = TaskCoefficientsDisplay.from_estimator(regressor().fit(X, y), X, y)
    assert titles(display) == ["intercept", "x1", "x2", "x0"]
    assert titles(display, "right")[1] == "revenue per preprocessed unit"
    np.testing.assert_allclose(display.coef, plain.coef, rtol=1e-8)
    alone = MultiTaskRegressor("independent", task_column=0).fit(array[:, ::-1], y)
    np.testing.assert_array_equal(display.independent_coef[:, 1:], alone.coef_[:, [1, 2, 0]])


def test_transformed_target():
    X, y = table()
    model = TransformedTargetRegressor(regressor(), transformer=StandardScaler()).fit(X, y)
    display = TaskCoefficientsDisplay.from_estimator(model, X, y)
    assert titles(display, "right")[1] == "revenue, transformed, per unit"
    plain = TaskCoefficientsDisplay.from_estimator(regressor().fit(X, y), X, y)
    scale = model.transformer_.scale_
    np.testing.assert_allclose(display.coef[:, 1:], plain.coef[:, 1:] / scale, rtol=1e-6)
    alone = plain.independent_coef[:, 1:] / scale
    np.testing.assert_allclose(display.independent_coef[:, 1:], alone, rtol=1e-6)


def test_task_argument_sparse_rows_and_columns_of_y():
    from scipy.sparse import csr_matrix

    X, y = table()
    plain = TaskCoefficientsDisplay.from_estimator(regressor().fit(X, y), X, y)
    model = MultiTaskRegressor(FIXED, cv=None)
    rows = csr_matrix(X[["p", "q", "r"]].to_numpy())
    model.fit(rows, y, task=X["shop"])
    display = TaskCoefficientsDisplay.from_estimator(model, rows, y, task=X["shop"])
    np.testing.assert_allclose(display.coef, plain.coef, rtol=1e-6)
    alone = MultiTaskRegressor("independent").fit(rows, y, task=X["shop"])
    again = TaskCoefficientsDisplay.from_estimator(model, rows, independent=alone, task=X["shop"])
    np.testing.assert_array_equal(display.independent_coef, again.independent_coef)
    assert "one task" in [t.get_text() for t in display.axes_[0].get_legend().get_texts()]

    both = np.column_stack([y, -y])
    model.fit(rows, both)
    display = TaskCoefficientsDisplay.from_estimator(model, rows, both, features=["x0"])
    np.testing.assert_allclose(display.coef[0], -display.coef[1])
    assert display.tasks.tolist() == [0, 1]


def test_classes():
    X, y = table(rows=20)
    kind = np.array(["low", "mid", "top"])[pd.qcut(y, 3, labels=False)]
    model = MultiTaskClassifier(FIXED, task_column="shop", cv=None)
    model.fit(X, kind)
    with pytest.raises(ValueError, match="class_of_interest must be given with 3 classes"):
        TaskCoefficientsDisplay.from_estimator(model)
    with pytest.raises(ValueError, match="class_of_interest='none' is not a class"):
        TaskCoefficientsDisplay.from_estimator(model, class_of_interest="none")
    display = TaskCoefficientsDisplay.from_estimator(model, class_of_interest="mid", features=["p"])
    np.testing.assert_array_equal(display.coef[:, 0], model.coef_[:, 1, 0])
    assert titles(display, "right") == ["log-score of 'mid' per unit"]

    model.fit(X, kind == "top")
    second = TaskCoefficientsDisplay.from_estimator(model, X, kind == "top")
    first = TaskCoefficientsDisplay.from_estimator(model, X, kind == "top", class_of_interest=False)
    np.testing.assert_array_equal(first.coef, -second.coef)
    np.testing.assert_array_equal(first.independent_coef, -second.independent_coef)
    assert titles(second, "right")[0] == "log-odds of True at the features' means"
    with pytest.raises(ValueError, match="MultiTaskRegressor, which has no classes"):
        TaskCoefficientsDisplay.from_estimator(regressor().fit(X, y), class_of_interest="top")


# the figure itself


def random_display(n_tasks, n_features=3, seed=0, compared=True):
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=(n_tasks, n_features))
    return TaskCoefficientsDisplay(
        coef,
        coef.mean(axis=0),
        tasks=[f"store {i:04d}" for i in range(n_tasks)],
        feature_names=[f"feature {j}" for j in range(n_features)],
        independent_coef=2 * coef if compared else None,
        units=["euros per unit"] * n_features,
    )


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("n_tasks", [1, 2, 5, 40, 1000])
def test_all_tasks_are_drawn_and_nothing_overlaps(n_tasks, compared):
    display = random_display(n_tasks, compared=compared).plot(name="store")
    for j, ax in enumerate(display.axes_):
        np.testing.assert_allclose(np.sort(drawn(display.points_[j])), np.sort(display.coef[:, j]))
        if compared:
            given = np.sort(display.independent_coef[:, j])
            np.testing.assert_allclose(np.sort(drawn(display.independent_points_[j])), given)
        assert len(ax.texts) == (0 if n_tasks == 1 else 2)
    legible.check_places(display.figure_)


@pytest.mark.parametrize("places", [(0.0, 0.01), (0.99, 1.0), (0.5, 0.51), (0.0, 1.0)])
@pytest.mark.parametrize("length", [1, 22])
def test_names_of_ends_that_are_close(places, length):
    """The independent coefficients set the limits, so that the model's may be anywhere."""
    coef = np.array([[places[0]], [places[1]], [np.mean(places)]])
    alone, noun = np.array([[0.0], [1.0], [0.5]]), "s" * length
    for size in (None, (4, 3)):
        ax = None if size is None else plt.subplots(figsize=size, layout="constrained")[1]
        display = TaskCoefficientsDisplay(
            coef, [0.5], tasks=[noun + str(i) for i in range(3)], feature_names=["p"],
            independent_coef=alone,
        ).plot(ax=ax)  # fmt: skip
        legible.check_places(display.figure_)


def test_many_points_are_spread_by_their_density(rng):
    coef = rng.normal(size=(3000, 1))
    display = TaskCoefficientsDisplay(coef, [0.0], tasks=range(3000), feature_names=["p"]).plot()
    x, height = np.abs(np.asarray(display.points_[0].get_offsets())).T
    assert height[x > 2.5].max() < 0.3 * height[x < 0.5].max() < 0.3


def test_the_ends_are_named():
    display = random_display(40, n_features=1).plot()
    ends = display.tasks[[display.coef[:, 0].argmin(), display.coef[:, 0].argmax()]]
    assert [text.get_text() for text in display.axes_[0].texts] == ends.tolist()


def test_a_task_far_off_becomes_an_arrow():
    display = random_display(20, n_features=1)
    display.coef[3] = -1e6
    display.plot()
    assert len(drawn(display.points_[0])) == 19
    assert display.axes_[0].get_xlim()[0] > -100
    texts = [text.get_text() for text in display.axes_[0].texts]
    assert "1 beyond" in texts and "store 0003 (-1e+06)" in texts


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_equal_coefficients(value):
    same = np.full((3, 1), value)
    display = TaskCoefficientsDisplay(same, [value], tasks=list("abc"), feature_names=["p"]).plot()
    low, high = display.axes_[0].get_xlim()
    assert low < value < high
    assert not display.axes_[0].texts  # no task is the smallest


def test_on_given_axes():
    figure, axes = plt.subplots(2, 2)
    display = random_display(5).plot(ax=axes.ravel()[1:])
    assert display.figure_ is figure and not axes[0, 0].has_data()
    assert plt.get_fignums() == [figure.number]
    assert random_display(5, n_features=1).plot(ax=axes[0, 0]).axes_[0] is axes[0, 0]
    with pytest.raises(ValueError, match="ax has 4 axes; give one for each of 3"):
        random_display(5).plot(ax=axes)


def test_bad_arguments():
    with pytest.raises(NotFittedError):
        TaskCoefficientsDisplay.from_estimator(regressor())
    ridge = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(TypeError, match="LinearRegression has no shared_coef_: TaskCoefficients"):
        TaskCoefficientsDisplay.from_estimator(ridge)
    names = {"tasks": list("abc"), "feature_names": ["p", "q"]}
    coef = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"coef has shape \(3,\)"):
        TaskCoefficientsDisplay(np.zeros(3), [0.0], **names)
    with pytest.raises(ValueError, match=r"shared_coef has shape \(3,\), but must have \(2,\)"):
        TaskCoefficientsDisplay(coef, np.zeros(3), **names)
    with pytest.raises(ValueError, match="independent_coef has entries that are not finite"):
        TaskCoefficientsDisplay(coef, coef[0], **names, independent_coef=coef + np.nan)
    with pytest.raises(ValueError, match="tasks has 4 entries"):
        TaskCoefficientsDisplay(coef, coef[0], tasks=list("abcd"), feature_names="pq")


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"TaskCoefficientsDisplay.*pip install skmtl\[plot\]"):
        random_display(3).plot()
