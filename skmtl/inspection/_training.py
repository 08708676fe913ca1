"""Display of training curves: losses against epochs or steps, and the noise of the tasks."""

from typing import Any, NamedTuple, Self

import numpy as np

from ._drawing import (
    BLUE,
    GREY,
    Axes,
    draw_range,
    figure_size,
    finish,
    fit_name,
    font_points,
    ink,
    label_numbers,
    line_style,
    measure,
    open_parts,
    palette,
    style_axes,
)
from .common import find_model

__all__ = ["STEPS", "TrainingCurveDisplay", "check_curves", "draw_losses", "panel_size"]


class Kind(NamedTuple):
    """Columns of a history, and labels of its panel."""

    time: str
    validation: str
    unit: str  # of the time
    labels: tuple  # of both losses
    loss: str


EPOCHS = Kind("epoch", "validation_loss", "epochs", ("training rows", "validation rows"), "loss")
STEPS = Kind(
    "step", "held_out_loss", "outer steps", ("training tasks", "held-out tasks"),
    "loss of a new task",
)  # fmt: skip
_WITHOUT = (
    "sharing='hidden_layers' of MultiTaskRegressor, and the learners 'maml', 'reptile', "
    "'ridge_head' and 'prototypes' have training curves; other models are not trained step by step"
)
_NAMED = 8  # tasks with a line and a name each
_DRAWN = 100  # tasks with a line each
_SPLITS = 20  # splits with a line each
_RANGE = ("all tasks", "half of them", "median")
_LOG_FROM = 20.0  # ratio of losses from which their axis is logarithmic


class TrainingCurveDisplay:
    """Training curves of a model that is trained in epochs or steps.

    The left panel shows the loss against epochs, on the rows that are trained on and on validation
    rows. A ring marks the epoch whose parameters are kept: a ring at the very end suggests that
    more epochs may help, and a validation loss that rises after the ring, that the model would
    over-fit. If a perceptron was trained in every split of `cv`, there are lines for each; more
    than 20 splits are shown by their range, their quartiles and their median.

    If the noise of each task was learned, the right panel shows its variance, in units of the
    variance of the target: tasks with a larger one count less. Up to 8 tasks have a colour each, up
    to 100 a thin line, and more are shown by their range, their quartiles and their median.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    history : dict of arrays
        The ``history_`` of a fitted estimator, one entry per check: "train_loss" and "epoch", and
        optionally "validation_loss", "split", "kept", "task_noise" (n_checks, n_tasks) and
        "task_noise_quantiles" (n_checks, 5), as in `skmtl.sharing.SharedHiddenLayers`; or "step"
        and "held_out_loss", as meta-learners have them.
    tasks : sequence, default=None
        Labels of the tasks. None numbers them.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        One or two axes, from the left.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    train_lines_ : list of matplotlib Line2D
        Training loss of each split, or its median over many splits.
    validation_lines_ : list of matplotlib Line2D
        Validation loss of each split, or its median over many splits; empty without one.
    noise_lines_ : list of matplotlib Line2D
        Noise of each task, or its median over many tasks; empty without a right panel.

    Raises
    ------
    ValueError
        If `history` has no training curve.

    See Also
    --------
    MetaTrainingDisplay : Also shows the inner steps of meta-learners.
    skmtl.sharing.SharedHiddenLayers : Has such a history.

    Notes
    -----
    The loss has a logarithmic axis if it is positive and falls to less than a twentieth.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import TrainingCurveDisplay
    >>> from skmtl.sharing import SharedHiddenLayers
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.normal(size=(400, 2)), rng.integers(4, size=400)
    >>> y = np.abs(X[:, 0]) * (1 + task) + 0.1 * (1 + task) * rng.normal(size=400)
    >>> sharing = SharedHiddenLayers((16,), task_noise="per_task", max_iter=100)
    >>> model = MultiTaskRegressor(sharing, cv=3).fit(X, y, task=task)
    >>> display = TrainingCurveDisplay.from_estimator(model)
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['loss', "variance of the tasks' noise"]
    """

    def __init__(self, history: dict[str, Any], *, tasks: Any = None) -> None:
        self._kind = next((kind for kind in (EPOCHS, STEPS) if kind.time in history), EPOCHS)
        check_curves(history, (self._kind.time, "train_loss"), _WITHOUT)
        self.history = history
        self.tasks = tasks

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, split: int | None = None, ax: Axes = None
    ) -> Self:  # fmt: skip
        """Draw the ``history_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `MultiTaskRegressor` with ``sharing="hidden_layers"``, or a `MetaLearnerClassifier` or
            `MetaLearnerRegressor` whose learner is trained by gradient steps; or a Pipeline or a
            GridSearchCV that ends in one.
        split : int, default=None
            Number of the split, as in :meth:`plot`.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on, as in :meth:`plot`.

        Returns
        -------
        display : :class:`TrainingCurveDisplay`
            The display, drawn.

        Raises
        ------
        TypeError
            If no step of the estimator has a ``history_``.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If its model has no training curve.
        """
        model = find_model(estimator, "history_", cls.__name__).model
        if "train_loss" not in model.history_:
            raise ValueError(f"{type(model).__name__} has no training curve: {_WITHOUT}.")
        tasks = getattr(model, "tasks_", None)
        return cls(model.history_, tasks=tasks).plot(split=split, ax=ax)

    def plot(self, *, split: int | None = None, ax: Axes = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        split : int, default=None
            Number of the split to draw, from 1. None draws the losses of all splits, and the noise
            in the first one.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on. A single one has the left panel only. If None, a new figure is made.

        Returns
        -------
        display : :class:`TrainingCurveDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no such split, or if there are more axes than panels.
        """
        history = self.history
        number = history.get("split", np.ones(len(history["train_loss"]), dtype=int))
        splits = np.unique(number)
        if split is not None and split not in splits:
            raise ValueError(f"split={split!r} is none of the {len(splits)}, counted from 1.")
        if split is not None:
            splits = splits[splits == split]
        noisy = {"task_noise", "task_noise_quantiles"} & set(history)
        n_panels = 2 if noisy else 1
        self.axes_ = open_parts(
            type(self).__name__, ax, n_panels, panel_size(n_panels, 1 + self._n_named() / 2),
            "as the noise of the tasks was not learned",
        )  # fmt: skip
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self._draw_losses(self.ax_, [np.flatnonzero(number == s) for s in splits])
        self.noise_lines_: list[Any] = []
        if len(self.axes_) == 2:
            title = f"split {splits[0]}" if len(np.unique(number)) > 1 else None
            self._draw_noise(self.axes_[1], np.flatnonzero(number == splits[0]), title)
        return self

    def _n_named(self):
        """Return the number of tasks with a name."""
        n_tasks = np.shape(self.history.get("task_noise", ()))[1:]
        return n_tasks[0] if n_tasks and n_tasks[0] <= _NAMED else 0

    def _draw_losses(self, ax, parts):
        """Draw the losses of some splits, given by the rows of the history."""
        self.train_lines_, self.validation_lines_ = [], []
        if len(parts) > _SPLITS:
            self._draw_ranges(ax, parts)
        else:
            self._draw_splits(ax, parts)
        lines = [*self.train_lines_, *self.validation_lines_]
        values = np.concatenate([line.get_ydata() for line in lines])
        values = values[np.isfinite(values)]
        if len(values) and values.min() > 0 and values.max() > _LOG_FROM * values.min():
            ax.set_yscale("log")
        style_axes(ax, "y")
        label_numbers(ax, np.max(self.history[self._kind.time]))
        handles = ax.get_legend_handles_labels()[0]
        finish(ax, handles, xlabel=self._kind.unit, ylabel=self._kind.loss)

    def _draw_splits(self, ax, parts):
        """Draw the losses of each split."""
        history, kind, opacity = self.history, self._kind, max(0.3, min(1.0, 2.0 / len(parts)))
        for n, rows in enumerate(parts):
            held_out = history[kind.validation][rows] if kind.validation in history else None
            if held_out is not None and not np.isfinite(held_out).any():
                held_out = None
            kept = np.flatnonzero(history["kept"][rows]) if "kept" in history else []
            train, line, _ = draw_losses(
                ax, history[kind.time][rows], history["train_loss"][rows], held_out,
                kind.labels if n == 0 else ("_", "_"), best=kept[0] if len(kept) else None,
                opacity=opacity,
            )  # fmt: skip
            self.train_lines_.append(train)
            self.validation_lines_ += [] if line is None else [line]

    def _draw_ranges(self, ax, parts):
        """Draw the range, the quartiles and the median of many splits, which may end early."""
        history, kind = self.history, self._kind
        time, place = np.unique(history[kind.time], return_inverse=True)
        keys = ["train_loss"] + [kind.validation] * (kind.validation in history)
        colors = GREY, BLUE
        for key, label, color in zip(keys, kind.labels, colors, strict=False):
            table = np.full((len(parts), len(time)), np.nan)
            for split, rows in zip(table, parts, strict=True):
                split[place[rows]] = history[key][rows]
            known = np.isfinite(table).any(axis=0)
            if not known.any():
                continue
            label = f"{label}: median, half and all of {len(parts):,} splits"
            quantiles = np.nanquantile(table[:, known], [0, 0.25, 0.5, 0.75, 1], axis=0)
            line = draw_range(ax, time[known], quantiles, ("_", "_", label), color)
            (self.train_lines_ if key == "train_loss" else self.validation_lines_).append(line)
        if self.validation_lines_ and "kept" in history:
            kept = np.median(history[kind.time][history["kept"]])
            line = self.validation_lines_[0]
            _draw_ring(ax, kept, np.interp(kept, *line.get_data()), "kept (median)")

    def _draw_noise(self, ax, rows, title):
        """Draw the noise of the tasks in one split: by task if they are few."""
        time = self.history[self._kind.time][rows]
        if "task_noise" in self.history:
            self._draw_noise_of_tasks(ax, time, np.asarray(self.history["task_noise"])[rows])
        else:
            quantiles = np.asarray(self.history["task_noise_quantiles"])[rows].T
            self.noise_lines_.append(draw_range(ax, time, quantiles, _RANGE))
        ax.set_yscale("log")
        style_axes(ax, "y")
        label_numbers(ax, np.max(time))
        finish(
            ax,
            ax.get_legend_handles_labels()[0],
            xlabel=self._kind.unit,
            ylabel="variance of the tasks' noise",
            title=title,
        )

    def _draw_noise_of_tasks(self, ax, time, noise):
        """Draw a line for each task, with a colour each if they are few, or their quantiles."""
        codes = np.flatnonzero(np.isfinite(noise).any(axis=0))
        names = range(noise.shape[1]) if self.tasks is None else self.tasks
        if len(codes) > _DRAWN:
            quantiles = np.nanquantile(noise[:, codes], [0, 0.25, 0.5, 0.75, 1], axis=1)
            self.noise_lines_.append(draw_range(ax, time, quantiles, _RANGE))
        elif len(codes) > _NAMED:
            for n, code in enumerate(codes):
                self.noise_lines_ += ax.plot(
                    time, noise[:, code], color=ink(ax, 0.4), linewidth=0.7,
                    label="one task" if n == 0 else "_",
                )  # fmt: skip
            label = f"median of {len(codes):,} tasks"
            median = np.nanmedian(noise, axis=1)
            ax.plot(time, median, color=BLUE, label=label, **line_style(width=1.3))
        else:
            width = 0.5 * measure(ax)[0] - 5.0 * font_points("legend.fontsize")  # two columns
            for code, color in zip(codes, palette(ax, len(codes)), strict=True):
                name = fit_name(names[code], "legend.fontsize", width, 20)
                self.noise_lines_ += ax.plot(
                    time, noise[:, code], color=color, label=name, **line_style()
                )


def panel_size(n_panels, n_legend=0):
    """Return a function that returns the size of a figure of one or two panels, in inches."""
    sides = (1.5, 0.85) if n_panels == 2 else (1.0, 1.0)
    return lambda: figure_size(*sides, n_legend=n_legend)


def check_curves(history, needed, without):
    """Raise a ValueError if the history lacks a needed column, or has no rows."""
    missing = [key for key in needed if key not in history]
    if missing:
        raise ValueError(f"history lacks {missing}: {without}.")
    if not len(history[needed[0]]):
        raise ValueError("history is empty: training ended before the first check; raise max_iter.")


def draw_losses(ax, time, train, held_out, labels, *, best=None, opacity=1.0):
    """Draw losses against steps, with a ring at the check that is kept.

    Parameters
    ----------
    ax : matplotlib Axes
    time, train : ndarray of shape (n_checks,)
        The training loss may be NaN before the first step.
    held_out : ndarray of shape (n_checks,) or None
    labels : tuple of str
        Names of both lines.
    best : int, optional
        Index of the check that is kept. None is the lowest held-out loss, or the last check.
    opacity : float

    Returns
    -------
    train_line, held_out_line : matplotlib Line2D
        The second one may be None.
    best : int
    """
    train, line = np.asarray(train, dtype=np.float64), None
    known = np.isfinite(train)
    style = line_style() | {"alpha": opacity}
    (train_line,) = ax.plot(time[known], train[known], color=GREY, label=labels[0], **style)
    if held_out is None:
        return train_line, None, len(time) - 1 if best is None else int(best)
    (line,) = ax.plot(time, held_out, color=BLUE, label=labels[1], **style)
    best = int(np.nanargmin(held_out)) if best is None else int(best)
    _draw_ring(ax, time[best], held_out[best], "_" if labels[1] == "_" else "kept")
    return train_line, line, best


def _draw_ring(ax, x, y, label):
    """Draw a ring at what is kept."""
    style = line_style(width=1.2)
    ax.plot(
        x, y, linestyle="none", marker="o", markersize=1.5 * style["markersize"],
        markerfacecolor="none", markeredgecolor=BLUE, markeredgewidth=style["linewidth"],
        label=label,
    )  # fmt: skip
