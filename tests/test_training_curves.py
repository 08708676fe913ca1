"""TrainingCurveDisplay: what is drawn of a history, for few tasks and many."""

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MetaLearnerRegressor, MultiTaskRegressor
from skmtl.inspection import MetaTrainingDisplay, TrainingCurveDisplay
from skmtl.learners import Reptile
from skmtl.sharing import SharedHiddenLayers

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def history(n_tasks=0, n_splits=2, validated=True):
    """Return curves of three checks per split, with the noise of tasks if there are any."""
    n = 3 * n_splits
    curves = {
        "split": np.repeat(np.arange(1, n_splits + 1), 3),
        "epoch": np.tile([2, 4, 6], n_splits),
        "train_loss": np.tile([0.5, 0.3, 0.1], n_splits),
        "validation_loss": np.full(n, np.nan),
        "kept": np.tile([False, False, True], n_splits),
    }
    if validated:
        curves["validation_loss"] = np.tile([0.6, 0.4, 0.45], n_splits)
        curves["kept"] = np.tile([False, True, False], n_splits)
    rng = np.random.default_rng(0)
    if 0 < n_tasks <= 100:
        curves["task_noise"] = rng.uniform(0.1, 1.0, (n, n_tasks))
    elif n_tasks:
        noise = rng.uniform(0.1, 1.0, (n, n_tasks))
        curves["task_noise_quantiles"] = np.quantile(noise, [0, 0.25, 0.5, 0.75, 1], axis=1).T
    return curves


def rings(ax):
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in ax.lines
        if line.get_marker() == "o"
    ]


def test_losses_of_all_splits_and_of_one():
    display = TrainingCurveDisplay(history())
    assert display.plot() is display and len(display.axes_) == 1
    assert display.figure_ is display.ax_.figure and display.noise_lines_ == []
    assert len(display.train_lines_) == len(display.validation_lines_) == 2
    for line in display.validation_lines_:
        assert line.get_xdata().tolist() == [2, 4, 6]
        assert line.get_ydata().tolist() == [0.6, 0.4, 0.45]
    assert rings(display.ax_) == [(4.0, 0.4)] * 2
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["training rows", "validation rows", "kept"]  # once, not for every split
    assert len(display.plot(split=2).train_lines_) == 1
    with pytest.raises(ValueError, match="split=3 is none of the 2, counted from 1"):
        display.plot(split=3)


def test_without_validation():
    display = TrainingCurveDisplay(history(validated=False)).plot()
    assert display.validation_lines_ == [] and rings(display.ax_) == []


def test_axis_of_losses():
    curves = history()
    assert TrainingCurveDisplay(curves).plot().ax_.get_yscale() == "linear"
    curves["train_loss"] = np.tile([5.0, 0.3, 0.1], 2)
    assert TrainingCurveDisplay(curves).plot().ax_.get_yscale() == "log"
    curves["train_loss"] = np.tile([5.0, 0.3, -0.1], 2)
    assert TrainingCurveDisplay(curves).plot().ax_.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("n_tasks", "n_lines", "n_entries"), [(3, 3, 3), (40, 40, 2), (3000, 1, 3)]
)
def test_noise_of_few_and_of_many_tasks(n_tasks, n_lines, n_entries):
    display = TrainingCurveDisplay(history(n_tasks), tasks=[f"shop {i}" for i in range(n_tasks)])
    display.plot(split=2)
    right = display.axes_[1]
    assert len(display.noise_lines_) == n_lines
    assert right.get_legend().get_title().get_text() == "split 2"
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    assert len(texts) == n_entries
    if n_tasks == 3:
        assert texts == ["shop 0", "shop 1", "shop 2"]
        wanted = display.history["task_noise"][3:, 1]
        np.testing.assert_array_equal(display.noise_lines_[1].get_ydata(), wanted)
    if n_tasks == 3000:
        wanted = display.history["task_noise_quantiles"][3:, 2]
        np.testing.assert_array_equal(display.noise_lines_[0].get_ydata(), wanted)
    display.plot(ax=plt.subplots()[1])  # the left panel alone
    assert display.noise_lines_ == []


def test_noise_of_every_task_is_summarised_if_they_are_many(rng):
    noise = rng.uniform(0.1, 1.0, (6, 101))
    display = TrainingCurveDisplay(history() | {"task_noise": noise}).plot()
    (line,) = display.noise_lines_
    np.testing.assert_allclose(line.get_ydata(), np.median(noise[:3], axis=1))


def test_many_splits_are_summarised(rng):
    """Splits end at epochs of their own."""
    curves = history(n_splits=30)
    for key in ("train_loss", "validation_loss"):
        curves[key] = rng.uniform(0.3, 0.6, 90)
    short = np.flatnonzero((curves["split"] % 2 == 0) & (curves["epoch"] == 6))
    curves = {key: np.delete(values, short) for key, values in curves.items()}
    display = TrainingCurveDisplay(curves).plot()
    for key, lines in (
        ("train_loss", display.train_lines_),
        ("validation_loss", display.validation_lines_),
    ):
        (line,) = lines
        assert line.get_xdata().tolist() == [2, 4, 6]
        wanted = [np.median(curves[key][curves["epoch"] == epoch]) for epoch in (2, 4, 6)]
        np.testing.assert_allclose(line.get_ydata(), wanted)
    assert [x for x, _ in rings(display.ax_)] == [4.0]
    assert len(display.plot(split=2).train_lines_[0].get_xdata()) == 2
    del curves["validation_loss"]
    display = TrainingCurveDisplay(curves).plot()
    assert len(display.train_lines_) == 1 and display.validation_lines_ == []


def test_a_task_that_a_split_lacks():
    curves = history(3)
    curves["task_noise"][:3, 1] = np.nan
    display = TrainingCurveDisplay(curves).plot()
    assert [line.get_label() for line in display.noise_lines_] == ["0", "2"]
    assert len(display.plot(split=2).noise_lines_) == 3


def test_too_many_axes():
    with pytest.raises(ValueError, match="ax has 2 axes; give 1, as the noise of the tasks"):
        TrainingCurveDisplay(history()).plot(ax=plt.subplots(2)[1])
    with pytest.raises(ValueError, match="ax has 3 axes; give 2, or one"):
        TrainingCurveDisplay(history(3)).plot(ax=plt.subplots(3)[1])


def test_from_estimators(rng):
    X, task = rng.normal(size=(240, 3)), np.repeat(np.array(["a", "b", "c"]), 80)
    y = np.abs(X[:, 0]) + 0.1 * rng.normal(size=240)
    sharing = SharedHiddenLayers((4,), alpha=1.0, task_noise="per_task", max_iter=6)
    model = MultiTaskRegressor(sharing, cv=2).fit(X, y, task=task)
    display = TrainingCurveDisplay.from_estimator(make_pipeline(FunctionTransformer(), model))
    assert display.history is model.history_
    assert [line.get_label() for line in display.noise_lines_] == ["a", "b", "c"]
    meta = MetaLearnerRegressor(Reptile((4,), max_iter=200)).fit(X, y, task=np.arange(240) // 8)
    display = TrainingCurveDisplay.from_estimator(meta)
    left = MetaTrainingDisplay.from_estimator(meta)
    np.testing.assert_array_equal(
        display.validation_lines_[0].get_ydata(), left.held_out_line_.get_ydata()
    )
    assert rings(display.ax_) == rings(left.ax_)
    with pytest.raises(ValueError, match=r"history lacks \['step'\]"):
        MetaTrainingDisplay.from_estimator(model)


def test_who_has_no_curves(rng):
    X = rng.normal(size=(60, 2))
    linear = MultiTaskRegressor("partial_pooling").fit(X, X[:, 0], task=np.arange(60) % 3)
    with pytest.raises(ValueError, match="MultiTaskRegressor has no training curve: sharing='hid"):
        TrainingCurveDisplay.from_estimator(linear)
    with pytest.raises(ValueError, match=r"history lacks \['epoch', 'train_loss'\]"):
        TrainingCurveDisplay({"alpha": np.arange(3)})
    with pytest.raises(ValueError, match="history is empty"):
        TrainingCurveDisplay({"epoch": np.arange(0), "train_loss": np.arange(0)})
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(MultiTaskRegressor("hidden_layers"))
    with pytest.raises(TypeError, match="LinearRegression has no history_"):
        TrainingCurveDisplay.from_estimator(LinearRegression().fit(X, X[:, 0]))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"TrainingCurveDisplay.plot needs matplotlib"):
        TrainingCurveDisplay(history()).plot()
