"""A picture of how a learner that is trained by gradient steps came to what it knows."""

import numpy as np

from .common import BLUE, VERMILION, find_model, import_pyplot

__all__ = ["MetaTrainingDisplay"]

_ACCURACY, _LOSS = "held_out_accuracy_by_step", "held_out_loss_by_step"
_CURVES = {"auto", "accuracy", "loss"}
_WITHOUT = (
    "only learners that are trained by gradient steps have meta-training curves: learner='maml', "
    "'reptile', 'ridge_head' and 'prototypes'; closed forms are computed, not trained"
)


class MetaTrainingDisplay:
    """The meta-training curves of a learner that is trained by gradient steps.

    These are "maml", "reptile", "ridge_head" and "prototypes".

    On the left the loss against outer steps: on the tasks that are learned from, and on tasks that
    were held out. A ring marks the step with the lowest held-out loss, whose parameters are kept.
    On the right how well held-out tasks are told after 0, 1, ... inner steps on their labelled
    rows: before training, half-way, and with what is kept. Ridge heads and prototypes learn a new
    task in closed form: they take no inner steps, and have only the left part, as there is where no
    tasks were held out.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    history : dict of arrays
        The ``history_`` of a fitted meta-learner, by look: "step", "train_loss", both of shape
        (n_looks,), and, where tasks were held out, "held_out_loss" (n_looks,) and, of learners
        that take inner steps, "held_out_loss_by_step" and "held_out_accuracy_by_step"
        (n_looks, inner_steps + 1).

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of one or two
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    train_line_ : matplotlib Line2D
    held_out_line_ : matplotlib Line2D or None
    inner_lines_ : list of matplotlib Line2D
        Of the looks on the right, in the order of training; empty where there is no right part.
    best_ : int
        The look whose parameters are kept: of the lowest held-out loss, or the last.

    Raises
    ------
    ValueError
        If `history` has no such curves.

    See Also
    --------
    skmtl.learners.MAML, skmtl.learners.Reptile : Have such a history.
    skmtl.learners.RidgeHead, skmtl.learners.Prototypes : Have one without inner steps.
    FewShotCurveDisplay : What all learners can be compared by.

    Notes
    -----
    Training losses are means over the steps since the last look, of tasks as they were drawn;
    held-out ones are of the same rows at every look.

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

    def __init__(self, history):
        missing = [key for key in ("step", "train_loss") if key not in history]
        if missing:
            raise ValueError(f"history lacks {missing}: {_WITHOUT}.")
        if not len(history["step"]):
            raise ValueError("history is empty: training ended before its first look.")
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, curve="auto", ax=None):
        """Draw the ``history_`` of a fitted meta-learner.

        Parameters
        ----------
        estimator : fitted estimator
            A `MetaLearnerClassifier` or `MetaLearnerRegressor` whose learner is trained by gradient
            steps, or a Pipeline or a GridSearchCV that ends in one.
        curve : {"auto", "accuracy", "loss"}, default="auto"
            As in :meth:`plot`.
        ax : matplotlib Axes or array-like of two Axes, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : :class:`MetaTrainingDisplay`

        Raises
        ------
        TypeError
            If there is no ``history_`` to be found.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If its learner has no meta-training curves.
        """
        model = find_model(estimator, "history_", cls.__name__).model
        if "train_loss" not in model.history_:
            learner = getattr(model, "learner_", None)
            what = type(model).__name__ if learner is None else f"the learner {learner!r}"
            raise ValueError(f"{what} has no meta-training curves: {_WITHOUT}.")
        return cls(model.history_).plot(curve=curve, ax=ax)

    def plot(self, *, curve="auto", ax=None):
        """Draw the display.

        Parameters
        ----------
        curve : {"auto", "accuracy", "loss"}, default="auto"
            What the right part shows. "auto" is the accuracy, or of numbers the loss.
        ax : matplotlib Axes or array-like of two Axes, default=None
            A single one gets the left part only. If None, a new figure is made.

        Returns
        -------
        display : :class:`MetaTrainingDisplay`

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `curve` is unknown or was not recorded, or more axes are given than there are parts.
        """
        plt = import_pyplot(type(self).__name__)
        curve = self._find_curve(curve)
        n_parts = 1 if curve is None else 2
        if ax is None:
            _, ax = plt.subplots(1, n_parts, figsize=(4.4 * n_parts, 3.8), layout="constrained")
        self.axes_ = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(self.axes_) > n_parts:
            raise ValueError(
                f"ax has {len(self.axes_)} axes; give {n_parts}" + (
                    f", as {self._why_no_steps()}." if n_parts == 1 else ", or one."
                )
            )  # fmt: skip
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self._draw_outer(self.axes_[0])
        self.inner_lines_ = []
        if len(self.axes_) == 2:
            self._draw_inner(self.axes_[1], curve)
        for one in self.axes_:
            one.grid(axis="y", color="0.9", linewidth=0.8)
            one.set_axisbelow(True)
            for side in ("top", "right"):
                one.spines[side].set_visible(False)
        return self

    def _find_curve(self, curve):
        """The key of the history that the right part shows, or None."""
        if curve not in _CURVES:
            raise ValueError(f"curve={curve!r} is none of {', '.join(map(repr, sorted(_CURVES)))}.")
        has = [k for k in (_ACCURACY, _LOSS) if np.isfinite(self.history.get(k, np.nan)).any()]
        if curve == "auto":
            return has[0] if has else None
        key = _ACCURACY if curve == "accuracy" else _LOSS
        if key not in has:
            raise ValueError(
                f"curve={curve!r} was not recorded: "
                + (f"{self._why_no_steps()}; leave curve='auto', which draws the left part."
                   if not has else "targets are numbers; it is 'loss'.")
            )  # fmt: skip
        return key

    def _why_no_steps(self):
        """Why there is no right part."""
        if "held_out_loss" in self.history and _LOSS not in self.history:
            return "this learner takes no inner steps"
        return "no tasks were held out"

    def _draw_outer(self, ax):
        """Losses against outer steps."""
        step, held_out = self.history["step"], self.history.get("held_out_loss")
        train = np.asarray(self.history["train_loss"], dtype=np.float64)
        known = np.isfinite(train)  # there is none before the first step
        (self.train_line_,) = ax.plot(
            step[known], train[known], color=VERMILION, linewidth=1.5, label="tasks learned from"
        )
        self.held_out_line_, self.best_ = None, len(step) - 1
        if held_out is not None:
            (self.held_out_line_,) = ax.plot(
                step, held_out, color=BLUE, linewidth=1.8, label="held-out tasks"
            )
            self.best_ = int(np.nanargmin(held_out))
            ax.plot(
                step[self.best_], held_out[self.best_], linestyle="none", marker="o", markersize=9,
                markerfacecolor="none", markeredgecolor=BLUE, markeredgewidth=1.8, label="kept",
            )  # fmt: skip
        ax.set_xlabel("outer steps")
        ax.set_ylabel("loss of a new task")
        ax.legend(frameon=False, fontsize="small")

    def _draw_inner(self, ax, key):
        """How held-out tasks are told after each inner step: before training, half-way, kept."""
        step, values = self.history["step"], np.asarray(self.history[key])
        looks = np.unique([0, self.best_ // 2, self.best_])
        shades = {0: "0.65", self.best_ // 2: "0.35"} | {self.best_: BLUE}
        for look in looks:
            label = f"after {step[look]:,} outer steps" if step[look] else "before training"
            (line,) = ax.plot(
                values[look], color=shades[look], marker="o", markersize=4.5, linewidth=1.8,
                label=label + (" (kept)" if look == self.best_ else ""),
            )  # fmt: skip
            self.inner_lines_.append(line)
        ax.xaxis.get_major_locator().set_params(integer=True)
        what = "accuracy" if key == _ACCURACY else "loss"
        ax.set_xlabel("inner steps on the task's labelled rows")
        ax.set_ylabel(f"{what} of held-out tasks")
        ax.legend(frameon=False, fontsize="small")
