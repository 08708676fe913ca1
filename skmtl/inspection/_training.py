"""Display of training curves: losses against epochs or steps, and the noise of the tasks."""

from typing import Any, Self

import numpy as np

from .common import BLUE, COLORS, VERMILION, Axes, find_model, open_axes, shorten, style_axes

__all__ = ["TrainingCurveDisplay", "check_curves", "draw_losses"]

# Names of the columns with the time, the validation loss and the label of the axis.
_KINDS = (
    ("epoch", "validation_loss", "epochs", ("training rows", "validation rows")),
    ("step", "held_out_loss", "steps", ("training tasks", "held-out tasks")),
)
_WITHOUT = (
    "sharing='hidden_layers' of MultiTaskRegressor, and the learners 'maml', 'reptile', "
    "'ridge_head' and 'prototypes' have training curves; other models are not trained step by step"
)
_NAMED = 8  # tasks with a line and a name each
_LOG_FROM = 20.0  # ratio of losses from which their axis is logarithmic


class TrainingCurveDisplay:
    """Training curves of a model that is trained in epochs or steps.

    The left panel shows the loss against epochs, on the rows that are trained on and on validation
    rows. A ring marks the epoch whose parameters are kept: a ring at the very end suggests that
    more epochs may help, and a validation loss that rises after the ring, that the model would
    over-fit. If a perceptron was trained in every split of `cv`, there are lines for each.

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
        Training loss of each split.
    validation_lines_ : list of matplotlib Line2D
        Validation loss of each split; empty without one.
    noise_lines_ : list of matplotlib Line2D
        Noise of each task, or its median; empty without a right panel.

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
        self._kind = next((kind for kind in _KINDS if kind[0] in history), _KINDS[0])
        check_curves(history, (self._kind[0], "train_loss"), _WITHOUT)
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
        size = 4.8 * n_panels, 3.8
        self.axes_ = open_axes(type(self).__name__, ax, 1, n_panels, figsize=size)
        if len(self.axes_) > n_panels:
            why = "." if noisy else ", as the noise of the tasks was not learned."
            raise ValueError(f"ax has {len(self.axes_)} axes; give at most {n_panels}{why}")
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self._draw_losses(self.ax_, [np.flatnonzero(number == s) for s in splits])
        self.noise_lines_: list[Any] = []
        if len(self.axes_) == 2:
            self._draw_noise(self.axes_[1], np.flatnonzero(number == splits[0]))
            if len(np.unique(number)) > 1:
                self.axes_[1].set_title(f"split {splits[0]}", fontsize="small")
        for axes in self.axes_:
            style_axes(axes, "y", ("top", "right"))
        return self

    def _draw_losses(self, ax, parts):
        """Draw the losses of some splits, given by the rows of the history."""
        history, (time, validation, unit, labels) = self.history, self._kind
        self.train_lines_, self.validation_lines_ = [], []
        opacity, known = max(0.3, min(1.0, 2.0 / len(parts))), []
        for n, rows in enumerate(parts):
            held_out = history[validation][rows] if validation in history else None
            if held_out is not None and not np.isfinite(held_out).any():
                held_out = None
            kept = np.flatnonzero(history["kept"][rows]) if "kept" in history else []
            train, line, _ = draw_losses(
                ax, history[time][rows], history["train_loss"][rows], held_out,
                labels if n == 0 else ("_", "_"), best=kept[0] if len(kept) else None,
                opacity=opacity,
            )  # fmt: skip
            self.train_lines_.append(train)
            self.validation_lines_ += [] if line is None else [line]
            known += [values.get_ydata() for values in (train, line) if values is not None]
        values = np.concatenate(known)
        values = values[np.isfinite(values)]
        if len(values) and values.min() > 0 and values.max() > _LOG_FROM * values.min():
            ax.set_yscale("log")
        ax.set_xlabel(unit)
        ax.set_ylabel("loss")
        ax.legend(frameon=False, fontsize="small")

    def _draw_noise(self, ax, rows):
        """Draw the noise of the tasks in one split: by task if they are few."""
        time = self.history[self._kind[0]][rows]
        if "task_noise" in self.history:
            noise = np.asarray(self.history["task_noise"])[rows]
            codes = np.flatnonzero(np.isfinite(noise).any(axis=0))
            names = range(noise.shape[1]) if self.tasks is None else self.tasks
            if len(codes) <= _NAMED:
                for code, color in zip(codes, COLORS, strict=False):
                    self.noise_lines_ += ax.plot(
                        time, noise[:, code], color=color, label=shorten(names[code], 20)
                    )
            else:
                for code in codes:
                    self.noise_lines_ += ax.plot(time, noise[:, code], color="0.6", linewidth=0.7)
                median = np.nanmedian(noise, axis=1)
                label = f"median of {len(codes)} tasks"
                ax.plot(time, median, color=BLUE, linewidth=2, label=label)
        else:
            quantiles = np.asarray(self.history["task_noise_quantiles"])[rows].T
            low, first, median, third, high = quantiles
            band = {"color": BLUE, "linewidth": 0}
            ax.fill_between(time, low, high, alpha=0.15, label="all tasks", **band)
            ax.fill_between(time, first, third, alpha=0.35, label="half of them", **band)
            self.noise_lines_ += ax.plot(time, median, color=BLUE, linewidth=2, label="median")
        ax.set_yscale("log")
        ax.set_xlabel(self._kind[2])
        ax.set_ylabel("variance of the tasks' noise")
        ax.legend(frameon=False, fontsize="small", ncols=2)


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
    (train_line,) = ax.plot(
        time[known], train[known], color=VERMILION, linewidth=1.5, alpha=opacity, label=labels[0]
    )
    if held_out is None:
        return train_line, None, len(time) - 1 if best is None else int(best)
    (line,) = ax.plot(
        time, held_out, color=BLUE, linewidth=1.8, alpha=opacity, label=labels[1]
    )  # fmt: skip
    best = int(np.nanargmin(held_out)) if best is None else int(best)
    ax.plot(
        time[best], held_out[best], linestyle="none", marker="o", markersize=9,
        markerfacecolor="none", markeredgecolor=BLUE, markeredgewidth=1.8,
        label="_" if labels[1] == "_" else "kept",
    )  # fmt: skip
    return train_line, line, best
