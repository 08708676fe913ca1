"""MetaTrainingDisplay: plots of a history, and errors without one."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MetaLearnerClassifier, MetaLearnerRegressor, MultiTaskRegressor
from skmtl.inspection import MetaTrainingDisplay
from skmtl.learners import MAML, Prototypes, Reptile, RidgeHead

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def history(numbers=False, held_out=True):
    by_step = np.array([[0.9, 0.8, 0.7], [0.8, 0.5, 0.4], [0.7, 0.4, 0.3], [0.7, 0.4, 0.35]])
    curves = {"step": np.array([0, 100, 200, 230]), "train_loss": np.array([np.nan, 0.5, 0.2, 0.1])}
    if held_out:
        curves |= {
            "held_out_loss": by_step[:, -1],
            "held_out_loss_by_step": by_step,
            "held_out_accuracy_by_step": np.full((4, 3), np.nan) if numbers else 1 - by_step,
        }
    return curves


def table(n_tasks=30):
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(12 * n_tasks, 3)), np.repeat(np.arange(n_tasks), 12)
    return X, X[:, 0] + rng.normal(size=n_tasks)[task] * X[:, 1], task


def test_what_is_drawn():
    curves = history()
    display = MetaTrainingDisplay(curves)
    assert display.plot() is display
    assert display.ax_ is display.axes_[0] and display.figure_ is display.ax_.figure
    x, y = display.train_line_.get_data()
    assert x.tolist() == [100, 200, 230] and y.tolist() == [0.5, 0.2, 0.1]
    x, y = display.held_out_line_.get_data()
    assert x.tolist() == [0, 100, 200, 230]
    np.testing.assert_array_equal(y, curves["held_out_loss"])
    assert display.best_ == 2
    kept = display.ax_.lines[-1]
    assert (kept.get_xdata()[0], kept.get_ydata()[0]) == (200, 0.3)
    labels = [line.get_label() for line in display.inner_lines_]
    assert labels == ["before training", "after 100 outer steps", "after 200 outer steps (kept)"]
    for line, look in zip(display.inner_lines_, (0, 1, 2), strict=True):
        assert line.get_xdata().tolist() == [0, 1, 2]
        np.testing.assert_array_equal(line.get_ydata(), curves["held_out_accuracy_by_step"][look])
    assert display.axes_[1].get_ylabel() == "accuracy of held-out tasks"


def test_accuracy_or_loss():
    for numbers, curve in ((True, "auto"), (True, "loss"), (False, "loss")):
        display = MetaTrainingDisplay(history(numbers)).plot(curve=curve)
        assert display.axes_[1].get_ylabel() == "loss of held-out tasks"
        np.testing.assert_array_equal(display.inner_lines_[-1].get_ydata(), [0.7, 0.4, 0.3])
    display = MetaTrainingDisplay(history()).plot(curve="accuracy")
    assert display.axes_[1].get_ylabel() == "accuracy of held-out tasks"
    with pytest.raises(ValueError, match="curve='accuracy' was not recorded: targets are numbers"):
        MetaTrainingDisplay(history(True)).plot(curve="accuracy")
    with pytest.raises(ValueError, match="curve='f1' is none of 'accuracy', 'auto', 'loss'"):
        MetaTrainingDisplay(history()).plot(curve="f1")


def test_no_tasks_held_out():
    display = MetaTrainingDisplay(history(held_out=False)).plot()
    assert len(display.axes_) == 1 and display.held_out_line_ is None
    assert display.inner_lines_ == [] and display.best_ == 3
    with pytest.raises(ValueError, match="curve='loss' was not recorded: no tasks were held out"):
        MetaTrainingDisplay(history(held_out=False)).plot(curve="loss")


@pytest.mark.parametrize("learner", [RidgeHead, Prototypes])
def test_learners_without_inner_steps(learner):
    X, y, task = table(20)
    model = MetaLearnerClassifier(learner(max_iter=20, check_every=10)).fit(X, y > 0, task=task)
    display = MetaTrainingDisplay.from_estimator(model)
    assert len(display.axes_) == 1 and display.inner_lines_ == []
    np.testing.assert_array_equal(
        display.held_out_line_.get_ydata(), model.history_["held_out_loss"]
    )
    why = "this learner takes no inner steps"
    with pytest.raises(ValueError, match=f"curve='accuracy' was not recorded: {why}; leave curve"):
        display.plot(curve="accuracy")
    with pytest.raises(ValueError, match=f"ax has 2 axes; give 1, as {why}"):
        display.plot(ax=plt.subplots(2)[1])


def test_training_that_never_helped():
    curves = {name: values[:1] for name, values in history().items()}
    display = MetaTrainingDisplay(curves).plot()
    assert [line.get_label() for line in display.inner_lines_] == ["before training (kept)"]


def test_on_given_axes():
    _, axes = plt.subplots(2, 1)
    display = MetaTrainingDisplay(history()).plot(ax=axes)
    assert list(display.axes_) == list(axes)
    display = MetaTrainingDisplay(history()).plot(ax=axes[0])
    assert list(display.axes_) == [axes[0]] and display.inner_lines_ == []
    with pytest.raises(ValueError, match="ax has 2 axes; give 1, as no tasks were held out"):
        MetaTrainingDisplay(history(held_out=False)).plot(ax=axes)
    with pytest.raises(ValueError, match="ax has 3 axes; give 2, or one"):
        MetaTrainingDisplay(history()).plot(ax=plt.subplots(3)[1])


@pytest.mark.parametrize("face", [MetaLearnerClassifier, MetaLearnerRegressor])
@pytest.mark.parametrize("learner", [MAML((6,), max_iter=250), Reptile((6,), max_iter=250)])
def test_from_estimator(face, learner):
    X, y, task = table()
    y = y > 0 if face is MetaLearnerClassifier else y
    model = face(clone(learner)).fit(X, y, task=task)
    display = MetaTrainingDisplay.from_estimator(make_pipeline(FunctionTransformer(), model))
    assert display.history is model.history_
    np.testing.assert_array_equal(display.held_out_line_.get_xdata(), [0, 100, 200, 250])
    assert len(display.inner_lines_[-1].get_xdata()) == 6
    best = display.history["held_out_loss_by_step"][display.best_, -1]
    assert best == display.history["held_out_loss"].min()


def test_who_has_no_curves():
    X, y, task = table(8)
    closed = MetaLearnerRegressor("subspace").fit(X, y, task=task)
    named = "learner='maml', 'reptile', 'ridge_head' and 'prototypes'"
    with pytest.raises(ValueError, match=rf"learner Subspace\(\) has no .*{named}"):
        MetaTrainingDisplay.from_estimator(closed)
    with pytest.raises(ValueError, match="MultiTaskRegressor has no meta-training curves: only"):
        MetaTrainingDisplay.from_estimator(
            MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
        )
    with pytest.raises(ValueError, match=r"history lacks \['train_loss'\]: only learners"):
        MetaTrainingDisplay({"step": np.arange(3)})
    with pytest.raises(ValueError, match="history is empty"):
        MetaTrainingDisplay({"step": np.arange(0), "train_loss": np.arange(0)})
    with pytest.raises(NotFittedError):
        MetaTrainingDisplay.from_estimator(MetaLearnerRegressor("maml"))
    with pytest.raises(TypeError, match="LinearRegression has no history_"):
        MetaTrainingDisplay.from_estimator(LinearRegression().fit(X, y))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"MetaTrainingDisplay.plot needs matplotlib"):
        MetaTrainingDisplay(history()).plot()
