"""TaskReportDisplay: what is drawn, where, and through which wrappers."""

import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_grunfeld
from skmtl.inspection import TaskReportDisplay
from skmtl.inspection._drawing import open_one_axes
from skmtl.inspection.common import plural
from skmtl.model_selection import TaskKFold

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

import legible  # noqa: E402

BY_TASK = TaskKFold(2, task_column=0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_report(n_tasks, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "task": np.array([*(f"store {i:04d}" for i in range(n_tasks)), None], dtype=object),
        "n_samples": np.append(rng.integers(2, 2000, n_tasks), 0),
        "gain_over_independent": np.append(rng.uniform(-0.5, 0.9, n_tasks), np.nan),
        "gain_over_pooled": np.append(rng.uniform(-0.5, 0.9, n_tasks), 0.1),
    }


def names(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.fixture(scope="module")
def fitted():
    X, y = load_grunfeld(return_X_y=True)
    return MultiTaskRegressor("partial_pooling", task_column=0).fit(X, y)


def test_from_estimator(fitted):
    display = TaskReportDisplay.from_estimator(fitted)
    assert display.figure_ is display.ax_.figure
    assert display.others_ is None
    assert len(names(display)) == 12
    assert names(display)[-1] == "(task never seen)"
    report = fitted.task_report_
    drawn = np.sort(display.independent_.get_offsets()[:, 0])
    gains = 100 * report["gain_over_independent"]
    np.testing.assert_allclose(drawn, np.sort(gains[gains >= -100]))
    assert display.zero_line_.get_xdata()[0] == 0


def test_frame_gives_names():
    pytest.importorskip("pandas")
    X, y = load_grunfeld(return_X_y=True, as_frame=True)
    display = TaskReportDisplay.from_estimator(
        MultiTaskRegressor("partial_pooling", task_column="firm").fit(X, y)
    )
    assert set(names(display)) == {*load_grunfeld().task_labels, "(firm never seen)"}
    assert "one model per firm" in display.independent_.get_label()


def test_through_pipeline_and_search(fitted):
    X, y = load_grunfeld(return_X_y=True)
    pipe = make_pipeline(
        FunctionTransformer(), MultiTaskRegressor("partial_pooling", task_column=0)
    )
    search = GridSearchCV(pipe, {"multitaskregressor__sharing": ["partial_pooling"]}, cv=BY_TASK)
    search.fit(X, y)
    display = TaskReportDisplay.from_estimator(search)
    assert len(names(display)) == 12
    inner = search.best_estimator_[-1]
    assert display.report is inner.task_report_


def test_not_fitted_and_wrong_estimators():
    with pytest.raises(NotFittedError):
        TaskReportDisplay.from_estimator(MultiTaskRegressor("partial_pooling", task_column=0))
    with pytest.raises(NotFittedError):
        TaskReportDisplay.from_estimator(
            make_pipeline(MultiTaskRegressor("partial_pooling", task_column=0))
        )
    ridge = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(TypeError, match="LinearRegression has no task_report_"):
        TaskReportDisplay.from_estimator(ridge)
    with pytest.raises(TypeError, match="final step of Pipeline"):
        TaskReportDisplay.from_estimator(make_pipeline(FunctionTransformer(), ridge))
    with pytest.raises(TypeError, match="has no task_report_"):
        TaskReportDisplay.from_estimator("a string")


def test_search_without_refit():
    X, y = load_grunfeld(return_X_y=True)
    grid = {"sharing": ["pooled"]}
    search = GridSearchCV(
        MultiTaskRegressor("partial_pooling", task_column=0), grid, cv=BY_TASK, refit=False
    ).fit(X, y)
    with pytest.raises(TypeError, match="refit=True"):
        TaskReportDisplay.from_estimator(search)


def test_transformed_target():
    class Wrapper(BaseEstimator):
        pass

    wrapper, inner = Wrapper(), Wrapper()
    wrapper.regressor_, inner.task_report_ = inner, make_report(3)
    assert len(names(TaskReportDisplay.from_estimator(wrapper))) == 4


def test_on_given_axes():
    figure, axes = plt.subplots(1, 2)
    display = TaskReportDisplay(make_report(5)).plot(ax=axes[1], name="shop")
    assert display.ax_ is axes[1] and display.figure_ is figure
    assert not axes[0].has_data()
    assert plt.get_fignums() == [figure.number]
    assert "one model per shop" in display.independent_.get_label()


def test_returns_itself():
    display = TaskReportDisplay(make_report(2))
    assert display.plot() is display


@pytest.mark.parametrize("sort", ["gain_over_independent", "gain_over_pooled", "n_samples"])
def test_sorting(sort):
    report = make_report(7)
    display = TaskReportDisplay(report).plot(sort=sort)
    order = np.argsort(-np.asarray(report[sort][:-1], dtype=float))
    assert names(display)[:-1] == list(report["task"][order])
    heights = display.ax_.get_yticks()
    assert (np.diff(heights) > 0).all()
    bottom, top = display.ax_.get_ylim()
    assert bottom > top  # the first one is at the top


def test_sorting_by_label():
    report = make_report(7)
    assert names(TaskReportDisplay(report).plot(sort="task"))[:-1] == list(report["task"][:-1])


def test_bad_arguments():
    display = TaskReportDisplay(make_report(3))
    with pytest.raises(ValueError, match="sort='gain'"):
        display.plot(sort="gain")
    with pytest.raises(ValueError, match="max_tasks=1"):
        display.plot(max_tasks=1)
    with pytest.raises(ValueError, match="gain_over_pooled"):
        TaskReportDisplay({"task": [], "n_samples": [], "gain_over_independent": []})
    with pytest.raises(ValueError, match="cv=None"):
        TaskReportDisplay({})


@pytest.mark.parametrize("max_tasks, n_named", [(2, 2), (9, 4), (10, 5), (40, 20), (149, 74)])
def test_many_tasks_are_all_drawn(max_tasks, n_named):
    report = make_report(150)
    display = TaskReportDisplay(report).plot(max_tasks=max_tasks)
    assert len(names(display)) == n_named + 1
    n_between = 150 - n_named
    assert any(f"{n_between} more" in text for text in texts(display.ax_))
    assert [len(points.get_offsets()) for points in display.others_] == [n_between] * 2
    drawn = np.concatenate(
        [display.independent_.get_offsets()[:, 0], display.others_[0].get_offsets()[:, 0]]
    )
    np.testing.assert_allclose(
        np.sort(drawn), np.sort(100 * report["gain_over_independent"][:-1]), atol=1e-9
    )


@pytest.mark.parametrize("n_tasks", [1, 2, 11, 40, 150, 2000])
def test_labels_do_not_overlap(n_tasks):
    legible.check_places(TaskReportDisplay(make_report(n_tasks)).plot(name="store").figure_)


@pytest.mark.parametrize("width, height", [(4, 3), (6.4, 4.8)])
def test_given_axes_have_as_many_lines_as_room(width, height):
    for n_tasks in (3, 12, 40, 1000):
        figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
        TaskReportDisplay(make_report(n_tasks)).plot(ax=ax)
        legible.check_places(figure)
    most = [len(names(TaskReportDisplay(make_report(40)).plot(ax=ax))) for _ in range(2)]
    assert 2 < most[0] == most[1] < 41  # drawn twice, it is the same


def test_long_names_keep_both_ends():
    report = make_report(2)
    report["task"][0] = "A" * 40 + "1"
    report["task"][1] = "A" * 40 + "2"
    shown = names(TaskReportDisplay(report).plot())
    assert len(set(shown)) == 3
    assert max(map(len, shown)) <= 28


def test_tasks_without_figures_are_counted():
    report = make_report(5)
    for key in ("gain_over_independent", "gain_over_pooled"):
        report[key][2] = np.nan
    display = TaskReportDisplay(report).plot()
    assert "store 0002" not in names(display)
    assert "left out: 1" in display.ax_.get_xlabel()


def test_huge_losses_become_arrows():
    report = make_report(4)
    report["gain_over_pooled"][1] = -57.0
    report["gain_over_independent"][1:3] = -3.0, -np.inf
    display = TaskReportDisplay(report).plot()
    assert {"-300", "-5700", "< -9999"} <= set(texts(display.ax_))
    legible.check_places(display.figure_)  # two values on one line, side by side
    assert len(display.pooled_.get_offsets()) == 4  # three tasks and the unseen one
    assert display.ax_.get_xlim()[0] > -130


def test_nothing_to_draw():
    report = make_report(2)
    for key in ("gain_over_independent", "gain_over_pooled"):
        report[key][:] = np.nan
    display = TaskReportDisplay(report).plot()
    display.figure_.canvas.draw()
    assert "left out: 2" in display.ax_.get_xlabel()


def test_dollars_are_no_formulas():
    report = make_report(2)
    report["task"][:2] = "$5 to $10", r"$\frac$"
    display = TaskReportDisplay(report).plot(name="$x^2$")
    display.figure_.canvas.draw()
    assert {"$5 to $10", r"$\frac$"} <= set(names(display))


def test_no_unseen_row():
    report = {key: values[:-1] for key, values in make_report(6).items()}
    assert len(names(TaskReportDisplay(report).plot())) == 6


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skmtl\[plot\]"):
        TaskReportDisplay(make_report(2)).plot()


# ------------------------------------------------------------------- few rows per task


def noisy_report(sizes, gain=0.0, seed=0):
    """A report with standard errors: mean squared normal errors of `sizes` rows per task."""
    rng = np.random.default_rng(seed)
    report = {
        "task": np.array([*(f"store {i:04d}" for i in range(len(sizes))), None], dtype=object),
        "n_samples": np.append(sizes, 0),
    }
    for name, factor in (("independent", 1.0), ("pooled", 1.0), ("shared", 1.0 - gain)):
        rows = [factor * rng.normal(size=n) ** 2 for n in sizes]
        deviation = [
            row.std(ddof=1) / np.sqrt(len(row)) if len(row) > 1 else np.nan for row in rows
        ]
        report[f"error_{name}"] = np.array([*(row.mean() for row in rows), 1.0])
        report[f"std_error_{name}"] = np.array([*deviation, 0.1])
    report["error_independent"][-1] = np.nan
    for other in ("independent", "pooled"):
        report[f"gain_over_{other}"] = 1 - report["error_shared"] / report[f"error_{other}"]
    return report


@pytest.mark.parametrize("n_tasks", [3, 100, 3000])
@pytest.mark.parametrize("largest", [3, 60])
def test_tasks_of_few_rows(n_tasks, largest):
    sizes = np.random.default_rng(1).integers(1, largest + 1, n_tasks)
    display = TaskReportDisplay(noisy_report(sizes, gain=0.3)).plot(name="store")
    legible.check_places(display.figure_)
    losses = [text for text in texts(display.ax_) if text.lstrip("< ").startswith("-")]
    # Few gains are significant; of thousands of larger tasks, some exceed two standard errors.
    assert all(float(loss) > -1000 for loss in losses) if largest > 3 else losses == []
    low, high = display.ax_.get_xlim()
    assert -120 < low < 0 < high < 120
    if n_tasks > 40:
        shown = [name for name in names(display) if name.startswith("store ")]
        assert len(shown) <= 40 if largest > 3 else len(shown) < 3


def test_sizes_have_a_line_each():
    report = noisy_report([1] * 700 + [2] * 900 + [3] * 1400, gain=0.4)
    display = TaskReportDisplay(report).plot(name="shop")
    assert names(display)[:3] == [
        "700 shops of 1 row",
        "900 shops of 2 rows",
        "1,400 shops of 3 rows",
    ]
    assert names(display)[-1] == "(shop never seen)"
    assert ["700", "1,800", "4,200"] == [
        t for t in texts(display.ax_) if t in ("700", "1,800", "4,200")
    ]
    for other, points in zip(("independent", "pooled"), display.sizes_, strict=True):
        error = {way: report[f"error_{way}"][:-1] for way in (other, "shared")}
        expected = [
            100 * (1 - error["shared"][rows].sum() / error[other][rows].sum())
            for rows in (slice(0, 700), slice(700, 1600), slice(1600, 3000))
        ]
        np.testing.assert_allclose(points.get_offsets()[:, 0], expected)
    assert "too few rows to tell" in display.ax_.get_xlabel()


def test_only_what_exceeds_two_standard_errors_is_named():
    report = noisy_report([60] * 100)
    for row, factor in ((3, 0.2), (50, 0.3), (77, 4.0)):
        for key in ("error_shared", "std_error_shared"):
            report[key][row] *= factor
    for other in ("independent", "pooled"):
        report[f"gain_over_{other}"] = 1 - report["error_shared"] / report[f"error_{other}"]
    display = TaskReportDisplay(report).plot()
    shown = names(display)
    assert {"store 0003", "store 0050", "store 0077"} <= set(shown) and len(shown) < 15
    assert shown.index("store 0003") < shown.index("store 0050") < shown.index("store 0077")
    n_between = 100 - (len(shown) - 2)  # a line for the size, one for the task never seen
    assert any(f"{n_between} more" in text for text in texts(display.ax_))


def test_a_loss_beyond_doubt_keeps_its_figure():
    report = noisy_report([200] * 5)
    for key in ("error_shared", "std_error_shared"):
        report[key][1] *= 30
    for other in ("independent", "pooled"):
        report[f"gain_over_{other}"] = 1 - report["error_shared"] / report[f"error_{other}"]
    display = TaskReportDisplay(report).plot()
    figures = [int(text) for text in texts(display.ax_) if text.startswith("-")]
    assert len(figures) == 2 and max(figures) < -1000
    assert display.sizes_ is None and len(names(display)) == 6


def test_few_tasks_with_few_rows_are_summed_too():
    display = TaskReportDisplay(noisy_report([1, 2, 1])).plot()
    assert names(display)[0] == "3 tasks of 1 to 2 rows"
    assert set(names(display)[1:4]) == {f"store {i:04d}" for i in range(3)}
    assert texts(display.ax_).count("too few rows to tell") >= 2


@pytest.mark.parametrize("sort", ["gain_over_independent", "gain_over_pooled", "n_samples", "task"])
def test_sorting_of_many(sort):
    report = noisy_report(np.random.default_rng(2).integers(2, 300, 150), gain=0.4)
    display = TaskReportDisplay(report).plot(sort=sort, max_tasks=10)
    legible.check_places(display.figure_)
    shown = [name for name in names(display) if name.startswith("store ")]
    rows = np.array([int(name[-4:]) for name in shown])
    assert 1 <= len(rows) <= 10
    values = rows if sort == "task" else -np.asarray(report[sort], dtype=float)[rows]
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize(
    "name, text",
    [("store", "stores"), ("city", "cities"), ("day", "days"), ("class", "classes"),
     ("store_id", "tasks"), ("Store", "tasks"), ("batch", "batches")],
)  # fmt: skip
def test_plural(name, text):
    assert plural(name) == text


@pytest.mark.parametrize("n_axes", [0, 2])
def test_one_axes_is_needed(n_axes):
    axes = plt.subplots(1, 2)[1][:n_axes]
    with pytest.raises(ValueError, match=f"ax has {n_axes} axes; give one"):
        open_one_axes("TaskReportDisplay", axes)
    assert open_one_axes("TaskReportDisplay", plt.gca()) is plt.gca()
    plt.close("all")
