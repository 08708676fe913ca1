"""Display of the training of a gradient-based learner."""

from typing import Any, Literal, Self

import numpy as np

from ._drawing import BLUE, Axes, finish, ink, label_numbers, line_style, open_parts, style_axes
from ._training import STEPS, check_curves, draw_losses, panel_size
from .common import find_model

__all__ = ["MetaTrainingDisplay"]

_ACCURACY, _LOSS = "held_out_accuracy_by_step", "held_out_loss_by_step"
_CURVES = {"auto", "accuracy", "loss"}
_WITHOUT = (
    "only learners that are trained by gradient steps have meta-training curves: learner='maml', "
    "'reptile', 'ridge_head' and 'prototypes'; closed forms are computed, not trained"
)


class MetaTrainingDisplay:
    """Meta-training curves of a learner that is trained by gradient steps.

    These learners are "maml", "reptile", "ridge_head" and "prototypes".

    The left panel shows the loss against outer steps, on the training tasks and on held-out tasks.
    A ring marks the step with the lowest held-out loss, whose parameters are kept. The right panel
    shows the accuracy (or the loss) on held-out tasks after 0, 1, ... inner steps on their labelled
    rows: before training, half-way, and with the parameters that are kept. Ridge heads and
    prototypes adapt to a new task in closed form, without inner steps: they have the left panel
    only, as do learners for which no tasks were held out.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    history : dict of arrays
        The ``history_`` of a fitted meta-learner, one entry per check: "step", "train_loss", both
        of shape (n_checks,), and, if tasks were held out, "held_out_loss" (n_checks,) and, for
        learners with inner steps, "held_out_loss_by_step" and "held_out_accuracy_by_step"
        (n_checks, inner_steps + 1).

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        One or two axes, from the left.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    train_line_ : matplotlib Line2D
        Loss on the training tasks.
    held_out_line_ : matplotlib Line2D or None
        Loss on held-out tasks.
    inner_lines_ : list of matplotlib Line2D
        Curves of the right panel, in the order of training; empty without a right panel.
    best_ : int
        Index of the check whose parameters are kept: that with the lowest held-out loss, or the
        last.

    Raises
    ------
    ValueError
        If `history` has no such curves.

    See Also
    --------
    skmtl.learners.MAML, skmtl.learners.Reptile : Have such a history.
    skmtl.learners.RidgeHead, skmtl.learners.Prototypes : Have one without inner steps.
    FewShotCurveDisplay : Compares learners of any kind.
    TrainingCurveDisplay : Draws the left panel, also for other models that are trained in epochs.

    Notes
    -----
    Training losses are means over the steps since the last check, on the tasks drawn in these
    steps; held-out losses are measured on the same rows at every check.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MetaLearnerClassifier
    >>> from skmtl.inspection import MetaTrainingDisplay
    >>> from skmtl.learners import Reptile
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.normal(size=(600, 3)), np.repeat(np.arange(50), 12)
    >>> y = X[:, 0] + 0.5 * rng.normal(size=50)[task] + 0.3 * rng.logistic(size=600) > 0
    >>> model = MetaLearnerClassifier(Reptile((8,), max_iter=300)).fit(X, y, task=task)
    >>> display = MetaTrainingDisplay.from_estimator(model)
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['loss of a new task', 'accuracy of held-out tasks']
    """

    def __init__(self, history: dict[str, Any]) -> None:
        check_curves(history, ("step", "train_loss"), _WITHOUT)
        self.history = history

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        curve: Literal["auto", "accuracy", "loss"] = "auto",
        ax: Axes = None,
    ) -> Self:
        """Draw the ``history_`` of a fitted meta-learner.

        Parameters
        ----------
        estimator : fitted estimator
            A `MetaLearnerClassifier` or `MetaLearnerRegressor` whose learner is trained by gradient
            steps, or a Pipeline or a GridSearchCV that ends in one.
        curve : {"auto", "accuracy", "loss"}, default="auto"
            What the right panel shows, as in :meth:`plot`.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on, as in :meth:`plot`.

        Returns
        -------
        display : :class:`MetaTrainingDisplay`
            The display, drawn.

        Raises
        ------
        TypeError
            If no step of the estimator has a ``history_``.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If its learner has no meta-training curves.
        """
        model = find_model(estimator, "history_", cls.__name__).model
        if "train_loss" not in model.history_:
            learner = getattr(model, "learner_", None)
            owner = type(model).__name__ if learner is None else f"the learner {learner!r}"
            raise ValueError(f"{owner} has no meta-training curves: {_WITHOUT}.")
        return cls(model.history_).plot(curve=curve, ax=ax)

    def plot(self, *, curve: Literal["auto", "accuracy", "loss"] = "auto", ax: Axes = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        curve : {"auto", "accuracy", "loss"}, default="auto"
            What the right panel shows. "auto" is the accuracy for classifiers, and the loss for
            regressors.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on. A single one has the left panel only. If None, a new figure is made.

        Returns
        -------
        display : :class:`MetaTrainingDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `curve` is unknown or was not recorded, or if there are more axes than panels.
        """
        curve = self._find_curve(curve)
        n_panels = 1 if curve is None else 2
        self.axes_ = open_parts(
            type(self).__name__, ax, n_panels, panel_size(n_panels), f"as {self._why_no_steps()}"
        )
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self._draw_outer(self.axes_[0])
        self.inner_lines_: list[Any] = []
        if len(self.axes_) == 2:
            self._draw_inner(self.axes_[1], curve)
        return self

    def _find_curve(self, curve):
        """Return the key of the history that the right panel shows, or None."""
        if curve not in _CURVES:
            raise ValueError(f"curve={curve!r} is none of {', '.join(map(repr, sorted(_CURVES)))}.")
        found = [k for k in (_ACCURACY, _LOSS) if np.isfinite(self.history.get(k, np.nan)).any()]
        if curve == "auto":
            return found[0] if found else None
        key = _ACCURACY if curve == "accuracy" else _LOSS
        if key not in found:
            why = "targets are numbers; give curve='loss'."
            if not found:
                why = f"{self._why_no_steps()}; leave curve='auto', which draws the left panel."
            raise ValueError(f"curve={curve!r} was not recorded: {why}")
        return key

    def _why_no_steps(self):
        """Return why there is no right panel."""
        if "held_out_loss" in self.history and _LOSS not in self.history:
            return "this learner takes no inner steps"
        return "no tasks were held out"

    def _draw_outer(self, ax):
        """Draw losses against outer steps."""
        step, held_out = self.history["step"], self.history.get("held_out_loss")
        self.train_line_, self.held_out_line_, self.best_ = draw_losses(
            ax, step, self.history["train_loss"], held_out, STEPS.labels
        )
        style_axes(ax, "y")
        label_numbers(ax, step[-1])
        finish(ax, ax.get_legend_handles_labels()[0], xlabel=STEPS.unit, ylabel=STEPS.loss)

    def _draw_inner(self, ax, key):
        """Draw accuracy or loss against inner steps: before training, half-way, and kept."""
        step, values = self.history["step"], np.asarray(self.history[key])
        shades = {0: ink(ax, 0.35), self.best_ // 2: ink(ax, 0.65)} | {self.best_: BLUE}
        for check in sorted(shades):
            label = f"after {step[check]:,} outer steps" if step[check] else "before training"
            (line,) = ax.plot(
                values[check], color=shades[check], marker="o",
                label=label + (" (kept)" if check == self.best_ else ""),
                **line_style(values.shape[1]),
            )  # fmt: skip
            self.inner_lines_.append(line)
        label_numbers(ax, values.shape[1])
        style_axes(ax, "y")
        finish(
            ax,
            self.inner_lines_,
            xlabel="inner steps on the task's labelled rows",
            ylabel=f"{'accuracy' if key == _ACCURACY else 'loss'} of held-out tasks",
        )
