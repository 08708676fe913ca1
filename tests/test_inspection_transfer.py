"""TransferReportDisplay: the parts drawn, their places, and reports without anything to draw."""

import copy
import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import Source, TransferEstimator
from skmtl.inspection import TransferReportDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

import legible  # noqa: E402

BLUE, WHITE = matplotlib.colors.to_rgba("#0072b2"), matplotlib.colors.to_rgba("white")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_report(n_sources=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "source": np.array([f"plant {i:03d}" for i in range(n_sources)]),
        "n_samples": rng.integers(20, 5000, n_sources),
        "weight": rng.uniform(0.1, 1.0, n_sources),
        "error": rng.uniform(0.5, 3.0, n_sources),
        "error_independent": np.full(n_sources, 2.0),
        "standard_error": rng.uniform(0.1, 0.4, n_sources),
    }


def small():
    """Three sources with known positions in the figure."""
    return {
        "source": np.array(["bad", "good", "fair"]),
        "n_samples": np.array([1500, 20, 300]),
        "weight": np.array([0.0, 0.8, 0.25]),
        "error": np.array([5.0, 1.0, 3.0]),
        "error_independent": np.full(3, 4.0),
        "standard_error": np.array([0.4, 0.2, 1.0]),
    }


def weights_only(weight):
    n = len(weight)
    return {"source": np.arange(n), "n_samples": np.full(n, 10), "weight": np.array(weight)}


def names(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    coef, X, X_target = rng.normal(size=6), rng.normal(size=(300, 6)), rng.normal(size=(16, 6))
    slopes = np.repeat([-coef, coef, coef + 0.4 * rng.normal(size=6)], 100, axis=0)
    y = (X * slopes).sum(axis=1) + 0.5 * rng.normal(size=300)
    source = Source(X, y, np.repeat(["opposite", "alike", "similar"], 100))
    return source, X_target, X_target @ coef + 0.5 * rng.normal(size=16)


@pytest.fixture(scope="module")
def fitted(rows):
    source, X, y = rows
    return TransferEstimator(Ridge(), source=source).fit(X, y)


def test_what_is_drawn():
    report = small()
    before = copy.deepcopy(report)
    display = TransferReportDisplay(report)
    assert display.plot() is display
    assert display.figure_ is display.ax_.figure and display.ax_ is display.axes_[0]
    assert names(display) == ["good (20)", "fair (300)", "bad (1,500)"]
    assert display.order_.tolist() == [1, 2, 0]
    np.testing.assert_allclose(display.gains_.get_offsets(), [[75, 0], [25, 1], [-25, 2]])
    bars = [segment[:, 0].tolist() for segment in display.error_bars_.get_segments()]
    np.testing.assert_allclose(bars, [[70, 80], [0, 50], [-35, -15]])
    np.testing.assert_allclose(display.weights_.get_offsets(), [[0.8, 0], [0.25, 1], [0, 2]])
    for points in (display.gains_, display.weights_):  # the last one is not used: a ring
        np.testing.assert_allclose(points.get_facecolors(), [BLUE, BLUE, WHITE])
    assert display.zero_line_.get_xdata()[0] == 0
    assert display.others_ == []
    low, high = display.axes_[0].get_xlim()
    assert low < -35 and high > 80
    assert texts(display.axes_[1])[:3] == ["0.8", "0.25", "0"]
    bottom, top = display.ax_.get_ylim()
    assert bottom > top and display.axes_[1].get_ylim() == (bottom, top)
    for key, values in before.items():
        np.testing.assert_array_equal(report[key], values)


def test_legend():
    def legend(report, name=None):
        drawn = TransferReportDisplay(report).plot(name=name).ax_.get_legend()
        return [text.get_text() for text in drawn.get_texts()], drawn.legend_handles[0]

    labels, first = legend(small(), "plant")
    assert labels[0] == "this plant alone, at its best weight" and len(labels) == 3
    report = small()
    report["weight"] = np.array([0.3, 0.0, 0.0])  # the best source is not used: its point a ring
    _, first = legend(report)
    np.testing.assert_allclose(first.get_facecolor()[0], BLUE)
    report["weight"] = np.full(3, 0.5)
    assert legend(report)[0] == ["this source alone, at its best weight", "± one standard error"]


def test_from_estimator(fitted):
    display = TransferReportDisplay.from_estimator(fitted, name="plant")
    report = fitted.transfer_report_
    assert display.report is report
    assert names(display) == ["alike (100)", "similar (100)", "opposite (100)"]
    assert "plant (rows)" in texts(display.ax_)
    gains = 100 * (1 - report["error"] / report["error_independent"])
    np.testing.assert_allclose(display.gains_.get_offsets()[:, 0], gains[display.order_])
    assert gains.max() > 20 and gains.min() < 0
    np.testing.assert_array_equal(display.order_, np.argsort(report["error"]))


def test_classifier(rows):
    source, X, y = rows
    source = Source(source.X, source.y > 0, np.repeat(source.labels, 100))
    model = TransferEstimator(LogisticRegression(), source=source).fit(X, y > 0)
    display = TransferReportDisplay.from_estimator(model)
    assert names(display)[-1] == "opposite (100)"
    report = model.transfer_report_
    gains = 100 * (1 - report["error"] / report["error_independent"])[display.order_]
    inside = gains >= -100  # what is beyond is an arrow
    np.testing.assert_allclose(display.gains_.get_offsets()[:, 0], gains[inside])
    assert {f"{gain:.0f}" for gain in gains[~inside]} <= set(texts(display.ax_))
    assert inside.any()


def test_through_pipeline_and_search(rows):
    source, X, y = rows
    pipe = make_pipeline(FunctionTransformer(), TransferEstimator(Ridge(), source=source))
    search = GridSearchCV(pipe, {"transferestimator__estimator__alpha": [1.0]}, cv=2).fit(X, y)
    display = TransferReportDisplay.from_estimator(search)
    assert display.report is search.best_estimator_[-1].transfer_report_


def test_not_fitted_and_wrong_estimators():
    with pytest.raises(NotFittedError):
        TransferReportDisplay.from_estimator(TransferEstimator())
    with pytest.raises(NotFittedError):
        TransferReportDisplay.from_estimator(make_pipeline(TransferEstimator()))
    line = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(TypeError, match="no transfer_report_: .* draws fitted TransferEstimators"):
        TransferReportDisplay.from_estimator(line)


# ------------------------------------------------------------------------------ weights alone


def test_weights_without_errors():
    display = TransferReportDisplay(weights_only([0.5, 1.5, 0.0, 1.0])).plot()
    assert len(display.axes_) == 1 and display.gains_ is None and display.zero_line_ is None
    assert display.order_.tolist() == [1, 3, 0, 2]  # the largest at the top
    np.testing.assert_allclose(display.weights_.get_offsets()[:, 0], [1.5, 1.0, 0.5, 0.0])
    assert names(display)[0] == "1 (10)"
    assert display.ax_.get_legend() is None


@pytest.mark.parametrize("adaptation", ["kmm", "tradaboost_r2"])
def test_adaptations_that_weigh_sources(rows, adaptation):
    source, X, y = rows
    model = TransferEstimator(Ridge(), source=source, adaptation=adaptation).fit(X, y)
    display = TransferReportDisplay.from_estimator(model)
    expected = np.sort(model.source_weights_)[::-1]
    assert display.gains_ is None
    drawn, left = display.weights_.get_offsets()[:, 0], display.ax_.get_xlim()[0]
    np.testing.assert_allclose(drawn[expected > left], expected[expected > left])


def test_errors_that_have_nothing_to_compare_with(rows):
    source, X, y = rows
    model = TransferEstimator(source=source, adaptation="trans_lasso").fit(X, y)
    assert "error" in model.transfer_report_
    assert TransferReportDisplay.from_estimator(model).gains_ is None


def test_nothing_to_compare(rows):
    source, X, y = rows
    pooled = TransferEstimator(Ridge(), source=source, adaptation="pooled").fit(X, y)
    with pytest.raises(
        ValueError, match=r"same weight for all of them .*adaptation='auto' evaluates"
    ):
        TransferReportDisplay.from_estimator(pooled)
    one = TransferEstimator(Ridge(), source=Source(source.X, source.y), adaptation="pooled")
    with pytest.raises(ValueError, match="only one source"):
        TransferReportDisplay.from_estimator(one.fit(X, y))
    single_row = TransferEstimator(Ridge(), source=source).fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="at least two target rows"):
        TransferReportDisplay.from_estimator(single_row)
    with pytest.raises(ValueError, match="source=None"):
        TransferReportDisplay.from_estimator(TransferEstimator(Ridge()).fit(X, y))
    unused = TransferEstimator(Ridge(), source=source, adaptation="independent").fit(X, y)
    with pytest.raises(ValueError, match=r"same weight for all of them \(0\)"):
        TransferReportDisplay.from_estimator(unused)


# --------------------------------------------------------------------------------- bad input


def test_bad_reports():
    with pytest.raises(ValueError, match=r"report lacks \['source', 'n_samples', 'weight'\]"):
        TransferReportDisplay({})
    report = small()
    del report["standard_error"]
    with pytest.raises(ValueError, match=r"report lacks \['standard_error'\]"):
        TransferReportDisplay(report)
    with pytest.raises(ValueError, match="2 entries of 'weight', but 3 sources"):
        TransferReportDisplay(small() | {"weight": np.ones(2)})
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="for source 'good'; weights must be finite"):
            TransferReportDisplay(small() | {"weight": np.array([0.0, bad, 1.0])})


def test_bad_arguments():
    display = TransferReportDisplay(small())
    with pytest.raises(ValueError, match="max_sources=1 must be at least 2"):
        display.plot(max_sources=1)
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="ax has 3 axes; give 2, or one"):
        display.plot(ax=plt.subplots(3)[1])
    display = TransferReportDisplay(weights_only([0.5, 1.0]))
    with pytest.raises(ValueError, match="ax has 2 axes; give 1, there are only weights"):
        display.plot(ax=plt.subplots(2)[1])


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"TransferReportDisplay.plot needs matplotlib"):
        TransferReportDisplay(small()).plot()


# ------------------------------------------------------------------------- axes and extremes


def test_on_given_axes():
    figure, axes = plt.subplots(1, 3)
    display = TransferReportDisplay(small()).plot(ax=axes[1:])
    assert list(display.axes_) == list(axes[1:]) and display.figure_ is figure
    assert not axes[0].has_data() and plt.get_fignums() == [figure.number]


def test_one_given_axes_has_weights_as_numbers():
    figure, ax = plt.subplots()
    display = TransferReportDisplay(small()).plot(ax=ax)
    assert list(display.axes_) == [ax] and display.weights_ is None
    assert len(display.gains_.get_offsets()) == 3
    assert texts(ax)[:4] == ["0.8", "0.25", "0", "weight"]
    assert plt.get_fignums() == [figure.number]


def test_no_global_state():
    before = dict(matplotlib.rcParams)
    TransferReportDisplay(small()).plot()
    assert dict(matplotlib.rcParams) == before
    display = TransferReportDisplay(small())
    first = display.plot().figure_
    assert display.plot().figure_ is not first


@pytest.mark.parametrize("max_sources, n_named", [(2, 2), (9, 4), (40, 20)])
def test_many_sources_are_all_drawn(max_sources, n_named):
    report = make_report(150)
    display = TransferReportDisplay(report).plot(max_sources=max_sources)
    assert len(names(display)) == n_named
    n_between = 150 - n_named
    assert any(f"{n_between} more" in text for text in texts(display.ax_))
    expected = 100 * (1 - report["error"] / 2.0)
    for k, (points, all_of_them) in enumerate(
        ((display.gains_, expected), (display.weights_, report["weight"]))
    ):
        assert len(display.others_[k].get_offsets()) == n_between
        drawn = np.vstack([points.get_offsets(), display.others_[k].get_offsets()])
        drawn = drawn[np.argsort(drawn[:, 1])]  # downwards
        np.testing.assert_allclose(drawn[:, 0], all_of_them[display.order_])


@pytest.mark.parametrize("n_sources", [1, 2, 11, 40, 150])
def test_labels_do_not_overlap(n_sources):
    report = make_report(n_sources)
    report["weight"][::3] = 0.0
    legible.check_places(TransferReportDisplay(report).plot(name="plant").figure_)


def test_long_names_keep_both_ends():
    report = small() | {"source": np.array([f"{'A' * 40}{i}" for i in range(3)])}
    shown = names(TransferReportDisplay(report).plot())
    assert len(set(shown)) == 3
    assert max(map(len, shown)) <= 28 + len(" (1,500)")


def test_small_weights_get_a_logarithmic_axis():
    report = small() | {"weight": np.array([0.0, 0.8, 0.001])}
    ax = TransferReportDisplay(report).plot().axes_[1]
    assert ax.get_xscale() == "log"
    assert TransferReportDisplay(small()).plot().axes_[1].get_xscale() == "linear"
    display = TransferReportDisplay(report | {"weight": np.array([0.0, 0.8, 1e-12])}).plot()
    drawn = display.weights_.get_offsets()[:, 0]
    left, right = display.axes_[1].get_xlim()
    assert drawn[0] == 0.8 and drawn[1] == drawn[2]  # both are at the edge
    assert 1e-8 < left < drawn[1] < 1e-6 and right > 1
    np.testing.assert_allclose(display.weights_.get_facecolors(), [BLUE, BLUE, WHITE])
    assert "1e-12" in texts(display.axes_[1])
    display = TransferReportDisplay(weights_only([60.0, 5000.0])).plot()
    left, right = display.ax_.get_xlim()
    assert left < 1 and right > 5000  # the weight of a target row stays visible


def test_huge_losses_become_arrows():
    report = small()
    report["error"][0] = 200.0
    display = TransferReportDisplay(report).plot()
    assert "-4900" in texts(display.ax_)
    assert len(display.gains_.get_offsets()) == 2
    assert -130 < display.ax_.get_xlim()[0] < -100


def test_bars_beyond_the_whole_error_are_cut():
    report = small() | {"standard_error": np.full(3, 40.0)}
    low, high = TransferReportDisplay(report).plot().ax_.get_xlim()
    assert -115 < low < -100 and 100 < high < 115


def test_target_alone_without_error():
    report = small() | {"error_independent": np.zeros(3), "error": np.array([0.0, 1.0, 0.0])}
    display = TransferReportDisplay(report).plot()
    assert "< -9999" in texts(display.ax_)
    np.testing.assert_array_equal(display.gains_.get_offsets()[:, 0], [0.0, 0.0])


def test_errors_that_are_not_finite():
    report = small() | {"error": np.array([np.nan, 1.0, np.inf])}
    display = TransferReportDisplay(report).plot()
    display.figure_.canvas.draw()
    assert names(display) == ["good (20)", "fair (300)", "bad (1,500)"]
    assert "< -9999" in texts(display.ax_)
    assert display.gains_.get_offsets()[0].tolist() == [75.0, 0.0]
