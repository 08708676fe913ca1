"""A picture of how good a model of a new task is with few labelled rows, and with more."""

import numpy as np
from sklearn.base import is_classifier

from ._few_shot_curve import few_shot_curve, final_step
from .common import BLUE, VERMILION, import_pyplot, task_name

__all__ = ["FewShotCurveDisplay"]

_STYLE = {
    "adapted": {"color": BLUE, "marker": "o", "markerfacecolor": BLUE, "zorder": 4},
    "independent": {
        "color": VERMILION, "marker": "D", "markerfacecolor": "white", "zorder": 3,
    },
}  # fmt: skip
_LEGEND = {
    "adapted": "adapted, from what other tasks taught",
    "independent": "independent (the labelled rows alone)",
    "pooled": "pooled (one model for all, no labelled row)",
}
_NAMES = {"log_loss": "log-loss", "brier": "Brier score", "roc_auc": "area under the ROC curve",
          "r2": "R²", "mse": "mean squared error", "mae": "mean absolute error",
          "rmse": "root mean squared error", "nmse": "normalised mean squared error"}  # fmt: skip
_WORST_R2 = -1.0  # the curves of worse models leave the picture, so that they hide no others


class FewShotCurveDisplay:
    """How good a model of a new task is with few of its rows labelled, and with more.

    Mean scores over tasks against the number of labelled rows, with a band of one standard error:
    *adapted* by the estimator, *independent* (fitted on these rows alone) and, where a class means
    the same in every task, *pooled* (one model for all tasks, that has seen none of them).

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    shots : array-like of shape (n_shots,)
        How many rows of a task are labelled.
    adapted, independent : array-like of shape (n_shots, n_tasks)
        Scores of every task, on rows that are the same for all.
    pooled : array-like of shape (n_tasks,), default=None
    score_name : str, default="score"
    per_class : bool, default=False
        Whether `shots` counts rows of each class.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of matplotlib Line2D
        Under "adapted", "independent" and, if there is one, "pooled".
    bands_ : dict of matplotlib PolyCollection
        The same; empty for a single task.
    mean_, standard_error_ : dict of ndarray
        What is drawn: of shape (n_shots,), or a number for "pooled". Of the tasks with a score in
        all of them.

    Raises
    ------
    ValueError
        If shapes don't match, or no task has a score in all of them.

    See Also
    --------
    few_shot_curve : The figures.
    skmtl.model_selection.FewShotSplit : The folds.

    Notes
    -----
    The bands tell how much tasks differ. Curves are paired, on the same rows of the same tasks, so
    that a difference between two of them is known better than either. R² below -1 is not shown
    where others are above.

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
        self, shots, adapted, independent, pooled=None, *, score_name="score", per_class=False
    ):
        self.shots = np.asarray(shots)
        self.adapted = np.asarray(adapted, dtype=np.float64)
        self.independent = np.asarray(independent, dtype=np.float64)
        self.pooled = None if pooled is None else np.asarray(pooled, dtype=np.float64)
        self.score_name, self.per_class = score_name, per_class
        self._check()

    def _check(self):
        if self.adapted.ndim != 2 or len(self.adapted) != len(self.shots):
            raise ValueError(
                f"adapted has shape {self.adapted.shape}, but must have a row for each of "
                f"{len(self.shots)} shots and a column for every task."
            )
        shapes = {"independent": self.adapted.shape, "pooled": self.adapted.shape[1:]}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} has shape {values.shape}, but must have {shape}.")

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        task=None,
        shots=(1, 2, 5, 10, 20),
        n_splits=5,
        scoring=None,
        baseline=None,
        random_state=0,
        n_jobs=None,
        score_name=None,
        name=None,
        ax=None,
    ):
        """Score an estimator with folds over tasks, and draw the curves.

        Parameters
        ----------
        estimator : estimator
            A `MetaLearnerClassifier` or `MetaLearnerRegressor` (or a multi-task estimator), or a
            Pipeline that ends in one. Clones of it are fitted; it stays as it is.
        X, y, task, shots, n_splits, scoring, baseline, random_state, n_jobs
            As in :func:`few_shot_curve`.
        score_name : str, default=None
            What the scores are called. None takes it from `scoring`.
        name : str, default=None
            What one task is called. If None, the estimator's `task_column` if that is a name,
            else "task".
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is made.

        Returns
        -------
        display : :class:`FewShotCurveDisplay`

        Raises
        ------
        TypeError, ValueError
            As :func:`few_shot_curve`.
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

    def plot(self, *, ax=None, name=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is made.
        name : str, default=None
            What one task is called, such as "shop". If None, "task".

        Returns
        -------
        display : :class:`FewShotCurveDisplay`

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no task has a score in all curves.
        """
        plt = import_pyplot(type(self).__name__)
        name = "task" if name is None else str(name)
        n_tasks = self._summarise()
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
        self.ax_, self.figure_, self.lines_, self.bands_ = ax, ax.figure, {}, {}
        for curve in self.mean_:
            self._draw_curve(curve, n_tasks)
        self._draw_frame(name, n_tasks)
        return self

    def _summarise(self):
        """Means and standard errors over the tasks with a score everywhere; how many these are."""
        curves = {"adapted": self.adapted, "independent": self.independent}
        if self.pooled is not None:
            curves["pooled"] = self.pooled
        whole = np.all([np.isfinite(np.atleast_2d(c)).all(axis=0) for c in curves.values()], axis=0)
        n = int(whole.sum())
        if not n:
            raise ValueError(
                f"no task has a {self.score_name} for every number of shots; score more rows a "
                "task (fewer shots), or choose a metric that is defined for few."
            )
        self.mean_ = {k: c[..., whole].mean(axis=-1) for k, c in curves.items()}
        self.standard_error_ = {
            k: c[..., whole].std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(c), np.nan)
            for k, c in curves.items()
        }
        return n

    def _draw_curve(self, curve, n_tasks):
        mean, error = self.mean_[curve], self.standard_error_[curve]
        if curve == "pooled":
            color = "0.45"
            line = self.ax_.axhline(mean, color=color, linestyle=(0, (5, 3)), zorder=2)
            line.set_label(_LEGEND[curve])
        else:
            color = _STYLE[curve]["color"]
            (line,) = self.ax_.plot(
                self.shots, mean, linewidth=1.8, markersize=6, label=_LEGEND[curve], **_STYLE[curve]
            )
        self.lines_[curve] = line
        if n_tasks > 1 and curve == "pooled":
            self.bands_[curve] = self.ax_.axhspan(
                mean - error, mean + error, color=color, alpha=0.1, linewidth=0, zorder=1
            )
        elif n_tasks > 1:
            self.bands_[curve] = self.ax_.fill_between(
                self.shots, mean - error, mean + error, color=color, alpha=0.16, linewidth=0,
                zorder=1,
            )  # fmt: skip

    def _draw_frame(self, name, n_tasks):
        """Scales, labels and legend."""
        ax = self.ax_
        ax.set_xscale("log")
        ax.set_xticks(self.shots, [f"{n:,}" for n in self.shots])
        ax.minorticks_off()
        per = ", of each class" if self.per_class else ""
        ax.set_xlabel(f"labelled rows of a new {name}{per}")
        tasks = f"{n_tasks:,} {name}s" if n_tasks > 1 else f"one {name}"
        ax.set_ylabel(f"{self.score_name}, mean over {tasks}")
        low = ax.get_ylim()[0]
        if self.score_name == _NAMES["r2"] and low < _WORST_R2:
            best = max(float(np.max(mean)) for mean in self.mean_.values())
            ax.set_ylim(bottom=_WORST_R2 if best > _WORST_R2 else low)
        ax.grid(axis="y", color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize="small",
            borderaxespad=0.1,
        )  # fmt: skip
