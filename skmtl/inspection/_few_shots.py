"""Display of the scores of new tasks against their number of labelled rows."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier

from .._typing import ArrayLike, MatrixLike, RandomState
from ._drawing import (
    BLUE,
    GREY,
    VERMILION,
    Axes,
    figure_size,
    finish,
    label_sizes,
    line_style,
    open_one_axes,
    paper,
    style_axes,
)
from ._few_shot_curve import few_shot_curve, final_step
from .common import task_name

__all__ = ["FewShotCurveDisplay"]

_COLORS = {"adapted": BLUE, "independent": VERMILION, "pooled": GREY}
_LEGEND = {
    "adapted": "adapted (learned from other tasks)",
    "independent": "independent (fitted on the labelled rows alone)",
    "pooled": "pooled (one model for all, without labelled rows)",
}
_NAMES = {"log_loss": "log-loss", "brier": "Brier score", "roc_auc": "area under the ROC curve",
          "r2": "R²", "mse": "mean squared error", "mae": "mean absolute error",
          "rmse": "root mean squared error", "nmse": "normalised mean squared error"}  # fmt: skip
_WORST_R2 = -1.0  # lower limit of the axis, which leaves room for the better curves


class FewShotCurveDisplay:
    """Scores of new tasks against their number of labelled rows.

    The curves are mean scores over held-out tasks, with a band of one standard error: *adapted* by
    the estimator, *independent* (fitted on these rows alone) and, if the classes are shared by all
    tasks, *pooled* (one model for all tasks, fitted without the held-out ones). Up to 30 numbers
    of rows have a point each, and as many of them a label as there is room for.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    shots : array-like of shape (n_shots,)
        Number of labelled rows of a task.
    adapted, independent : array-like of shape (n_shots, n_tasks)
        Scores of every task; those of a task are measured on the same rows.
    pooled : array-like of shape (n_tasks,), default=None
        Scores of the pooled model, if there is one.
    score_name : str, default="score"
        Name of the score in the axis label.
    per_class : bool, default=False
        Whether `shots` counts rows of each class.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the display.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    lines_ : dict of matplotlib Line2D
        Curves by name: "adapted", "independent" and, if there is one, "pooled".
    bands_ : dict of matplotlib PolyCollection
        Bands by name; empty for a single task.
    mean_, standard_error_ : dict of ndarray
        Mean scores and their standard errors, by name: of shape (n_shots,), or a number for
        "pooled". They are computed over the tasks that have a score in all curves.

    Raises
    ------
    ValueError
        If shapes don't match, or no task has a score in all curves.

    See Also
    --------
    few_shot_curve : Computes the scores.
    skmtl.model_selection.FewShotSplit : The folds.

    Notes
    -----
    The bands show how much tasks differ. The curves are paired, being measured on the same rows of
    the same tasks, so that a difference between two of them is more certain than either curve. R²
    below -1 is cut off if other curves are above it.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MetaLearnerRegressor
    >>> from skmtl.inspection import FewShotCurveDisplay
    >>> rng = np.random.default_rng(0)
    >>> task = np.repeat(np.arange(30), 12)
    >>> X = rng.normal(size=(360, 4))
    >>> slope = 1 + 0.3 * rng.normal(size=30)
    >>> y = slope[task] * X.sum(axis=1) + rng.normal(size=360)
    >>> display = FewShotCurveDisplay.from_estimator(
    ...     MetaLearnerRegressor("subspace"), X, y, task=task, shots=(1, 2, 5), n_splits=2
    ... )
    >>> display.ax_.get_ylabel()
    'R², mean over 30 tasks'
    """

    def __init__(
        self,
        shots: ArrayLike,
        adapted: ArrayLike,
        independent: ArrayLike,
        pooled: ArrayLike | None = None,
        *,
        score_name: str = "score",
        per_class: bool = False,
    ) -> None:
        self.shots = np.asarray(shots)
        self.adapted = np.asarray(adapted, dtype=np.float64)
        self.independent = np.asarray(independent, dtype=np.float64)
        self.pooled = None if pooled is None else np.asarray(pooled, dtype=np.float64)
        self.score_name, self.per_class = score_name, per_class
        if self.adapted.ndim != 2 or len(self.adapted) != len(self.shots):
            raise ValueError(
                f"adapted has shape {self.adapted.shape}, but must have one row for each of "
                f"{len(self.shots)} shots and one column per task."
            )
        shapes = {"independent": self.adapted.shape, "pooled": self.adapted.shape[1:]}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} has shape {values.shape}, but must have {shape}.")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        y: ArrayLike,
        *,
        task: ArrayLike | None = None,
        shots: Sequence[int] = (1, 2, 5, 10, 20),
        n_splits: int = 5,
        scoring: str | Callable | None = None,
        baseline: Any = None,
        random_state: RandomState = 0,
        n_jobs: int | None = None,
        score_name: str | None = None,
        name: str | None = None,
        ax: Axes = None,
    ) -> Self:
        """Score an estimator with folds over tasks, and draw the curves.

        All parameters but the last three are those of :func:`few_shot_curve`.

        Parameters
        ----------
        estimator : estimator
            A `MetaLearnerClassifier` or `MetaLearnerRegressor` (or a multi-task estimator), or a
            Pipeline that ends in one. Clones of it are fitted; it is left unchanged.
        X : array-like or data frame of shape (n_samples, n_features)
            Table of all tasks.
        y : array-like of shape (n_samples,)
            Labels.
        task : array-like of shape (n_samples,), default=None
            Task labels of the rows.
        shots : sequence of int, default=(1, 2, 5, 10, 20)
            Numbers of labelled rows of a new task.
        n_splits : int, default=5
            Number of folds.
        scoring : str, callable or None, default=None
            Metric. None means accuracy for classifiers, and R² for regressors.
        baseline : estimator, default=None
            Estimator of the independent and pooled models.
        random_state : int, RandomState instance or None, default=0
            Seed of the folds and of the draw of shots.
        n_jobs : int, default=None
            Number of folds that are computed in parallel.
        score_name : str, default=None
            Name of the score in the axis label. If None, it is taken from `scoring`.
        name : str, default=None
            Noun for one task. If None, the estimator's `task_column` if that is a name, else
            "task".
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is made.

        Returns
        -------
        display : :class:`FewShotCurveDisplay`
            The display, drawn.

        Raises
        ------
        TypeError, ValueError
            As :func:`few_shot_curve` does.
        """
        curve = few_shot_curve(
            estimator, X, y, task=task, shots=shots, n_splits=n_splits, scoring=scoring,
            baseline=baseline, random_state=random_state, n_jobs=n_jobs,
        )  # fmt: skip
        classifies = is_classifier(estimator)
        if scoring is None:
            scoring = "accuracy" if classifies else "r2"
        if score_name is None:
            score_name = "score"
            if isinstance(scoring, str):
                score_name = _NAMES.get(scoring, scoring.replace("_", " "))
        return cls(
            curve.shots, curve.adapted, curve.independent, curve.get("pooled"),
            score_name=score_name, per_class=classifies,
        ).plot(ax=ax, name=task_name(final_step(estimator), name))  # fmt: skip

    def plot(self, *, ax: Axes = None, name: str | None = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is made.
        name : str, default=None
            Noun for one task, such as "shop". If None, "task".

        Returns
        -------
        display : :class:`FewShotCurveDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no task has a score in all curves.
        """
        n_tasks = self._summarise()
        self.ax_ = open_one_axes(type(self).__name__, ax, size=figure_size)
        self.figure_ = self.ax_.figure
        self.lines_: dict[str, Any] = {}
        self.bands_: dict[str, Any] = {}
        for curve in self.mean_:
            self._draw_curve(curve, n_tasks)
        self._draw_frame("task" if name is None else str(name), n_tasks)
        return self

    def _summarise(self):
        """Compute means and standard errors over the tasks with all scores; return their number."""
        curves = {"adapted": self.adapted, "independent": self.independent}
        if self.pooled is not None:
            curves["pooled"] = self.pooled
        whole = np.isfinite(np.vstack(list(curves.values()))).all(axis=0)
        n_tasks = int(whole.sum())
        if not n_tasks:
            raise ValueError(
                f"no task has a {self.score_name} for every number of shots; score more rows per "
                "task (fewer shots), or choose a metric that is defined for few rows."
            )
        curves = {name: scores[..., whole] for name, scores in curves.items()}
        self.mean_ = {name: scores.mean(axis=-1) for name, scores in curves.items()}
        self.standard_error_ = {
            name: scores.std(axis=-1, ddof=1) / np.sqrt(n_tasks)
            if n_tasks > 1
            else np.full(scores.shape[:-1], np.nan)
            for name, scores in curves.items()
        }
        return n_tasks

    def _draw_curve(self, curve, n_tasks):
        ax, mean, error = self.ax_, self.mean_[curve], self.standard_error_[curve]
        label, low, high, color = _LEGEND[curve], mean - error, mean + error, _COLORS[curve]
        band = {"color": color, "alpha": 0.16, "linewidth": 0, "zorder": 1}
        if curve == "pooled":
            self.lines_[curve] = ax.axhline(
                mean, color=color, linestyle=(0, (5, 3)), zorder=2, label=label, **line_style()
            )
            if n_tasks > 1:
                self.bands_[curve] = ax.axhspan(low, high, **band)
            return
        is_adapted = curve == "adapted"
        (self.lines_[curve],) = ax.plot(
            self.shots, mean, label=label, color=color, marker="o" if is_adapted else "D",
            markerfacecolor=color if is_adapted else paper(ax), zorder=4 if is_adapted else 3,
            **line_style(len(self.shots)),
        )  # fmt: skip
        if n_tasks > 1:
            self.bands_[curve] = ax.fill_between(self.shots, low, high, **band)

    def _draw_frame(self, name, n_tasks):
        """Draw scales, labels and legend."""
        ax = self.ax_
        low = ax.get_ylim()[0]
        best = max(float(np.max(mean)) for mean in self.mean_.values())
        if self.score_name == _NAMES["r2"] and low < _WORST_R2 < best:
            ax.set_ylim(bottom=_WORST_R2)
        style_axes(ax, "y")
        per_class = ", of each class" if self.per_class else ""
        tasks = f"{n_tasks:,} {name}s" if n_tasks > 1 else f"one {name}"
        finish(
            ax,
            list(self.lines_.values()),
            xlabel=f"labelled rows of a new {name}{per_class}",
            ylabel=f"{self.score_name}, mean over {tasks}",
        )
        label_sizes(ax, self.shots)
