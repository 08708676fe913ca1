"""MemberReportDisplay: lines of members, curves by number of rows, and reports of every model."""

import copy
import itertools
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from skmtl import MetaLearnerRegressor, MultiTaskClassifier, MultiTaskRegressor
from skmtl.inspection import MemberReportDisplay
from skmtl.sharing import SharedEstimator, SharedHiddenLayers

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

import legible  # noqa: E402

BLUE, WHITE = matplotlib.colors.to_rgba("#0072b2"), matplotlib.colors.to_rgba("white")
N_TASKS = 5


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def small():
    """Four members with known positions: the third was not judged, the last is far worse."""
    return {
        "member": np.array(["linear", "smooth", "forest", "boosted"], dtype=object),
        "error": np.array([4.0, 1.0, np.nan, 10.0]),
        "weight": np.array([0.25, 0.75, 0.0, 0.0]),
        "n_tasks": np.array([1200, 1100, 0, 0]),
        "weight_unseen": np.array([1.0, 0.0, 0.0, 0.0]),
        "status": np.array(["used", "used", "X is sparse", "no better than the others"]),
    }


def by_size():
    """Three members at two numbers of rows; the first is used at one of them, the last never."""
    return {
        "member": np.array(["default", "shared", "own"] * 2, dtype=object),
        "n_rows": np.array([2.1, 2.1, 2.1, 9.5, 9.5, 9.5]),
        "error": np.array([4.0, 2.0, 6.0, 2.0, 0.5, 7.0]),
        "weight": np.array([0.4, 0.6, 0.0, 0.0, 1.0, 0.0]),
        "status": np.array(["used", "used", "no better than the others"] * 2),
    }


def names(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def widths(display):
    return [bar.get_width() for bars in display.weights_ for bar in bars]


def places(display):
    """Return the points of all members, with NaN where a member has none."""
    return [np.asarray(p.get_offsets()).tolist() for p in display.errors_]


def bent(seed=0, n=240):
    rng = np.random.default_rng(seed)
    X, task = rng.normal(size=(n, 2)), np.arange(n) % N_TASKS
    y = 2.0 * np.sin(2.0 * X[:, 0]) + rng.normal(size=N_TASKS)[task] + 0.2 * rng.normal(size=n)
    return np.column_stack([X, task]), y


def blend(sharing="auto", **kwargs):
    return MultiTaskRegressor(sharing, task_column=2, cv=3, **kwargs)


@pytest.fixture(scope="module")
def fitted():
    return blend().fit(*bent())


# ----------------------------------------------------------------------------- one line each


def test_what_is_drawn():
    report = small()
    before = copy.deepcopy(report)
    display = MemberReportDisplay(report)
    assert display.plot() is display
    assert display.figure_ is display.ax_.figure and display.ax_ is display.axes_[0]
    assert names(display) == display.members_ == ["linear", "smooth", "forest", "boosted"]
    left, right = display.axes_
    # The error removed, at the height of the member; none without an error, or beyond the limit.
    assert places(display) == [[[0.0, 0.0]], [[75.0, 1.0]], [], []]
    assert "-150" in texts(left)
    assert display.zero_line_.get_xdata()[0] == 0
    assert "gain by this member: error removed, %\n(0: linear)" == left.get_xlabel()
    # Bars of the weights, reasons where there is none, and a diamond for a task never seen.
    assert widths(display) == [0.25, 0.75, 0.0, 0.0]
    middles = [bar.get_y() + bar.get_height() / 2 for bars in display.weights_ for bar in bars]
    np.testing.assert_allclose(middles, range(4))
    reasons = {text.xy: text.get_text() for text in right.texts if text.get_style() == "italic"}
    assert reasons == {(0.0, 2.0): "X is sparse", (0.0, 3.0): "no better than the others"}
    assert display.unseen_.get_offsets().tolist() == [[1.0, 0.0]]
    columns = ["0.25", "0.75", "0", "0", "weight", "1,200", "1,100", "0", "0", "tasks"]
    assert texts(right)[:10] == columns
    assert left.get_ylim() == right.get_ylim() and left.get_ylim()[0] > left.get_ylim()[1]
    for key, values in before.items():
        np.testing.assert_array_equal(report[key], values)


def test_rings_are_members_without_weight():
    report = small() | {"error": np.array([4.0, 1.0, 3.0, 2.0])}
    display = MemberReportDisplay(report).plot()
    faces = [points.get_facecolors()[0] for points in display.errors_]
    np.testing.assert_allclose(faces, [BLUE, BLUE, WHITE, WHITE])
    assert legend(display.ax_) == ["this member alone", "the same, of weight 0"]
    assert legend(display.axes_[1]) == ["weight for a task never seen"]
    all_used = report | {"weight": np.full(4, 0.25), "weight_unseen": np.zeros(4)}
    display = MemberReportDisplay(all_used).plot()
    assert legend(display.ax_) == ["this member alone"]
    assert display.axes_[1].get_legend() is None


def test_a_reason_stands_beside_a_diamond():
    report = small() | {"weight_unseen": np.array([0.7, 0.0, 0.0, 0.3])}
    right = MemberReportDisplay(report).plot().axes_[1]
    assert [t.xy for t in right.texts if t.get_text().startswith("no better")] == [(0.3, 3.0)]


def test_one_given_axes_has_weights_as_numbers():
    figure, ax = plt.subplots()
    display = MemberReportDisplay(small()).plot(ax=ax)
    assert list(display.axes_) == [ax] and display.weights_ == [] and display.unseen_ is None
    assert len(display.errors_) == 4
    assert {"0.25", "0.75", "X is sparse"} <= set(texts(ax))  # that was not judged
    assert "no better than the others" not in texts(ax)  # it has a point, or an arrow
    assert plt.get_fignums() == [figure.number]
    display = MemberReportDisplay(small()).plot(ax=plt.subplots(1, 2)[1])
    assert len(display.axes_) == 2


@pytest.mark.parametrize("n_members", [1, 2, 10])
def test_few_members_and_many(n_members):
    rng = np.random.default_rng(0)
    labels = [f"member {m}" for m in range(n_members)]
    report = {"member": labels, "error": rng.uniform(1, 2, n_members), "weight": [1 / n_members]}
    report["weight"] = report["weight"] * n_members
    display = MemberReportDisplay(report).plot()
    assert names(display) == labels
    assert len(display.axes_) == (1 if n_members == 1 else 2)  # there is nothing to compare with
    display.figure_.canvas.draw()
    high = display.axes_[-1].get_window_extent().height / display.figure_.dpi
    assert high / (n_members + 0.6) > 0.2  # inches, for a line of text
    boxes = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))
    assert boxes[0].x0 >= 0


def test_first_errors_of_zero_and_long_names():
    report = small() | {"error": np.array([0.0, 0.0, np.nan, 1.0])}
    report["member"] = np.array(["linear", "x" * 60, "forest", "boosted"])
    report["status"] = np.array(["used", "used", "reason " * 20, "worse"])
    display = MemberReportDisplay(report).plot()
    assert places(display) == [[[0.0, 0.0]], [[0.0, 1.0]], [], []]
    assert "< -9999" in texts(display.ax_)
    assert 20 < len(names(display)[1]) <= 28
    legible.check_places(display.figure_)
    assert 30 < max(map(len, texts(display.axes_[1]))) <= 52


# -------------------------------------------------------------------- by number of labelled rows


def test_members_by_number_of_rows():
    display = MemberReportDisplay(by_size()).plot()
    left, _right = display.axes_
    assert display.members_ == ["default", "shared", "own"]
    assert places(display) == [[[2.1, 0], [9.5, 0]], [[2.1, 50], [9.5, 75]], [[2.1, -50]]]
    arrows = [part.get_offsets().tolist() for part in left.collections]
    assert arrows.count([[9.5, -100.0]]) == 1  # of the last one: -250 %
    faces = display.errors_[0].get_facecolors()  # the second one is not used: a ring
    assert faces[0, 0] < 1 and faces[1].tolist() == [1.0] * 4
    heights = [[bar.get_height() for bar in bars] for bars in display.weights_]
    bottoms = [[bar.get_y() for bar in bars] for bars in display.weights_]
    np.testing.assert_allclose(heights, [[0.4, 0.0], [0.6, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(bottoms, [[0.0, 0.0], [0.4, 0.0], [1.0, 1.0]])
    for ax in display.axes_:
        assert ax.get_xscale() == "log"
        assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "10"]
    assert legend(left) == ["default", "shared", "own: no better than the others"]
    assert "(0: default)" in left.get_ylabel()


def test_order_of_entries_does_not_matter():
    report = {key: values[[3, 1, 0, 5, 4, 2]] for key, values in by_size().items()}
    display, wanted = MemberReportDisplay(report).plot(), MemberReportDisplay(by_size()).plot()
    assert display.members_ == wanted.members_ and places(display) == places(wanted)


def test_many_numbers_of_rows():
    sizes = np.exp(np.arange(20) / 4)
    report = {
        "member": np.tile(["a", "b"], 20), "n_rows": np.repeat(sizes, 2), "weight": np.full(40, 0.5)
    }  # fmt: skip
    report["error"] = np.tile([1.0, 0.5], 20)
    display = MemberReportDisplay(report).plot()
    assert len(display.ax_.get_xticks()) <= 8
    assert len(display.errors_[1].get_offsets()) == len(display.weights_[1]) == 20
    one = plt.subplots()[1]
    assert MemberReportDisplay(report).plot(ax=one).weights_ == []
    report = {key: np.concatenate([values, values]) for key, values in report.items()}
    report["n_rows"][40:] += 300.0
    display = MemberReportDisplay(report).plot()
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in display.weights_]
    assert len(display.errors_[1].get_offsets()) == 40 and tops == [0.5, 1.0]


@pytest.mark.parametrize("n_members", [40, 41, 500])
def test_many_members_share_a_band(n_members, rng):
    report = {"member": np.arange(n_members), "error": rng.uniform(1, 2, n_members)}
    display = MemberReportDisplay(report | {"weight": np.full(n_members, 0.01)}).plot()
    n_named = n_members if n_members == 40 else 20
    assert len(display.errors_) == len(display.weights_) == len(names(display)) == n_named
    more = f"{n_members - n_named} more,\nin the same order"
    assert (more in texts(display.ax_)) == (n_members > 40)
    drawn = sum(len(points.get_offsets()) for points in display.ax_.collections)
    assert drawn == n_members


def test_many_members_by_number_of_rows():
    n_members, n_sizes = 30, 3
    weight = np.zeros((n_sizes, n_members))
    weight[:, [5, 9, 11, 12, 20, 21, 22]] = 1 / 7
    report = {
        "member": np.tile([f"learner {m}" for m in range(n_members)], n_sizes),
        "n_rows": np.repeat([2, 5, 9], n_members),
        "error": np.ones(n_members * n_sizes),
        "weight": weight.ravel(),
    }
    display = MemberReportDisplay(report).plot()
    assert legend(display.ax_) == [
        *(f"learner {m}" for m in (0, 5, 9, 11, 12, 20, 21, 22)), "22 more"
    ]  # fmt: skip
    assert len(display.errors_) == len(display.weights_) == n_members


def test_a_single_number_of_rows_is_drawn_as_lines():
    report = {key: values[:3] for key, values in by_size().items()}
    display = MemberReportDisplay(report).plot()
    assert names(display) == ["default", "shared", "own"]
    assert places(display) == [[[0.0, 0.0]], [[50.0, 1.0]], [[-50.0, 2.0]]]


# ------------------------------------------------------------------------------ fitted models


def test_from_estimator(fitted):
    display = MemberReportDisplay.from_estimator(fitted)
    report = fitted.member_report_
    assert display.report is report
    assert names(display) == ["linear", "smooth", "forest", "forest_residuals", "boosted"]
    removed = 100 * (1 - report["error"] / report["error"][0])
    for value, points, height in zip(removed, places(display), range(5), strict=True):
        if np.isnan(value) or value < -100:
            assert points == []
        else:
            np.testing.assert_allclose(points, [[value, height]])
    assert removed[1] > 50
    np.testing.assert_allclose(widths(display), report["weight"])
    assert set(report["status"][report["weight"] == 0]) <= set(texts(display.axes_[1]))


def test_inside_a_pipeline_and_a_search(fitted):
    pipe = make_pipeline(FunctionTransformer(), blend()).fit(*bent())
    display = MemberReportDisplay.from_estimator(pipe)
    assert display.report is pipe[-1].member_report_
    search = GridSearchCV(blend(), {"sharing": ["auto"]}, cv=2).fit(*bent())
    display = MemberReportDisplay.from_estimator(search)
    assert display.report is search.best_estimator_.member_report_
    np.testing.assert_array_equal(display.report["error"], fitted.member_report_["error"])


def test_classes_and_an_estimator():
    X, y = bent()
    model = MultiTaskClassifier("auto", task_column=2, cv=3).fit(X, y > 0)
    assert len(MemberReportDisplay.from_estimator(model).axes_) == 2
    model = blend(estimator=KNeighborsRegressor()).fit(X, y)
    display = MemberReportDisplay.from_estimator(model)
    assert names(display)[-2:] == ["estimator_residuals", "estimator"]


def test_reports_without_errors_have_weights_only():
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    for sharing, wanted in (
        (SharedEstimator(tree, "clone"), "estimator"),
        (SharedHiddenLayers((4,), alpha=1.0, max_iter=4), "hidden_layers"),
    ):
        model = blend(sharing).fit(*bent())
        display = MemberReportDisplay.from_estimator(model)
        assert len(display.axes_) == 1 and display.errors_ == [] and display.zero_line_ is None
        assert names(display)[0] == wanted and widths(display)[0] == 1.0
        assert len(widths(display)) == len(model.member_report_["member"])
        with pytest.raises(ValueError, match="ax has 2 axes; give 1, there are only weights"):
            MemberReportDisplay.from_estimator(model, ax=plt.subplots(1, 2)[1])


def test_sparse_rows_judge_linear_models_alone():
    X, y = bent()
    model = MultiTaskRegressor("auto", cv=3).fit(sparse.csr_matrix(X[:, :2]), y, task=X[:, 2])
    display = MemberReportDisplay.from_estimator(model)
    assert len(display.axes_) == 1 and texts(display.ax_).count("X is sparse") == 4


def test_meta_learners(rng):
    task = np.repeat(np.arange(24), 20)
    X = rng.uniform(-3, 3, (480, 2))
    y = 2.0 * np.sin(2.0 * X[:, 0]) + rng.normal(size=24)[task] + 0.2 * rng.normal(size=480)
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    model = MetaLearnerRegressor(estimator=tree).fit(X, y, task=task)
    display = MemberReportDisplay.from_estimator(model)
    report = model.member_report_
    assert display.members_ == ["default", "shared", "own"] and len(display.axes_) == 2
    error = report["error"].reshape(-1, 3)
    shared = np.array(places(display)[1])
    np.testing.assert_allclose(shared[:, 1], 100 * (1 - error[:, 1] / error[:, 0]))
    np.testing.assert_allclose(shared[:, 0], report["n_rows"][::3])
    total = sum(np.array([bar.get_height() for bar in bars]) for bars in display.weights_)
    np.testing.assert_allclose(total, 1.0)
    alone = MetaLearnerRegressor(estimator=tree).fit(X[:20], y[:20])
    display = MemberReportDisplay.from_estimator(alone)
    assert texts(display.ax_).count("there are no other tasks to judge it on") == 2


# --------------------------------------------------------------------------------- bad input


def test_estimators_without_members():
    X, y = bent()
    with pytest.raises(NotFittedError):
        MemberReportDisplay.from_estimator(blend())
    with pytest.raises(NotFittedError):
        MemberReportDisplay.from_estimator(make_pipeline(blend()))
    for model in (blend("partial_pooling"), LinearRegression()):
        with pytest.raises(TypeError, match="no member_report_.*draws fitted.*sharing='auto'"):
            MemberReportDisplay.from_estimator(model.fit(X, y))


WRONG = {
    "nothing": ({}, r"report lacks \['member', 'weight'\]; give a member_report_"),
    "no member": ({"member": [], "weight": []}, "report has no member"),
    "lengths": (small() | {"error": np.ones(3)}, "3 entries of 'error', but 4 members"),
    "a weight": (
        small() | {"weight": np.array([1.0, np.nan, 0.0, 0.0])},
        "the weight nan for member 'smooth'; weights must be finite and not negative",
    ),
    "an error": (small() | {"error": np.array([1.0, -2.0, 0.0, 0.0])}, "has the error -2.0"),
    "numbers of rows": (by_size() | {"n_rows": np.arange(6)}, "'n_rows' that are not positive"),
    "twice": (by_size() | {"n_rows": np.ones(6)}, "every member once for every number"),
    "a gap": (
        {key: values[:5] for key, values in by_size().items()},
        "every member once for every number",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_reports(name):
    report, match = WRONG[name]
    with pytest.raises(ValueError, match=match):
        MemberReportDisplay(report)


def test_wrong_axes():
    for report in (small(), by_size()):
        with pytest.raises(ValueError, match="ax has 3 axes; give 2, or one"):
            MemberReportDisplay(report).plot(ax=plt.subplots(3)[1])


def test_no_global_state():
    before = dict(matplotlib.rcParams)
    display = MemberReportDisplay(small())
    first = display.plot().figure_
    assert display.plot().figure_ is not first and len(display.errors_) == 4
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"MemberReportDisplay.plot needs matplotlib"):
        MemberReportDisplay(small()).plot()
