"""What each task gains by sharing."""

import numpy as np

from ._common import (
    BLUE,
    VERMILION,
    find_model,
    import_pyplot,
    line_heights,
    shorten,
    task_name,
)

__all__ = ["TaskReportDisplay"]

_STYLE = {
    "independent": {
        "marker": "o", "size": 46, "color": BLUE, "face": BLUE, "edge": "white",
        "label": "over independent (one model per {name})",
    },
    "pooled": {
        "marker": "D", "size": 26, "color": VERMILION, "face": "white", "edge": VERMILION,
        "label": "over pooled (one model for all)",
    },
}  # fmt: skip
_REQUIRED = ("task", "n_samples", "gain_over_independent", "gain_over_pooled")
_SORTS = ("gain_over_independent", "gain_over_pooled", "n_samples", "task")
_LEFT_LIMIT = -100.0  # percent; a loss beyond it becomes an arrow, so that it hides nobody else


def _sort_order(report, tasks, sort):
    """Rows of the report from the top of the picture to its bottom, NaN last."""
    if sort == "task":
        return tasks  # the report is sorted by label already
    key = -np.asarray(report[sort], dtype=float)[tasks]
    return tasks[np.argsort(key, kind="stable")]  # argsort puts NaN last


class TaskReportDisplay:
    """What each task gains by sharing, over one model per task and over one model for all.

    A dot plot of a ``task_report_``: a line a task with two points, the gain over *independent* and
    the gain over *pooled*, both as the share of the cross-validated error (squared, or a
    classifier's log-loss) that sharing removes. Right of zero sharing helps the task, left of it it
    harms. The last line, apart, is a task never seen. With more than `max_tasks` tasks the first
    and the last ones are named and all others stand between them in a narrow band.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    report : dict of arrays
        The ``task_report_`` of a fitted multi-task estimator, or a dict like it: one entry a task
        under the keys ``"task"``, ``"n_samples"``, ``"gain_over_independent"`` and
        ``"gain_over_pooled"``; an entry whose task is None is the task never seen.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the picture.
    figure_ : matplotlib Figure
        The figure of the axes.
    independent_, pooled_ : matplotlib PathCollection
        The points of the gains over independent and over pooled, in percent, of the tasks that
        have a line of their own.
    others_ : list of two matplotlib PathCollection or None
        The same of all other tasks; None if there are none.
    zero_line_ : matplotlib Line2D
        The line of no gain.

    Raises
    ------
    ValueError
        If `report` is empty (an estimator fitted with ``cv=None``) or lacks a key.

    See Also
    --------
    skmtl.MultiTaskRegressor : Its ``task_report_`` holds the figures.
    TaskCoefficientsDisplay : The coefficients themselves.

    Notes
    -----
    The errors of a ``task_report_`` have also chosen how much to share, so the gains are somewhat
    optimistic; ``python -m skmtl`` measures them outside of all tuning. Tasks without any gain to
    show, such as those of a single row, are left out and counted below the axis; a loss of more
    than 100 % becomes an arrow.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> from skmtl.inspection import TaskReportDisplay
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> model = MultiTaskRegressor(task_column="firm").fit(X, y)
    >>> display = TaskReportDisplay.from_estimator(model)
    >>> display.ax_.get_xlabel()
    'gain by sharing: error removed, %'
    """

    def __init__(self, report):
        missing = [key for key in _REQUIRED if key not in report]
        if not report:
            raise ValueError(
                "report is empty: the estimator was fitted without cross-validation (cv=None?)."
            )
        if missing:
            raise ValueError(f"report lacks {missing}; give a task_report_ or a dict like it.")
        self.report = report

    @classmethod
    def from_estimator(
        cls, estimator, *, ax=None, max_tasks=40, sort="gain_over_independent", name=None
    ):
        """Draw the ``task_report_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            One with a ``task_report_``, or a Pipeline, a GridSearchCV or a
            TransformedTargetRegressor that ends in one.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure of a fitting height is made.
        max_tasks : int, default=40
            How many tasks get a line of their own.
        sort : {"gain_over_independent", "gain_over_pooled", "n_samples", "task"}, \
                default="gain_over_independent"
            What the tasks are sorted by, the largest first (labels: the smallest first).
        name : str, default=None
            What one task is called. If None, the estimator's `task_column` if that is a name,
            else "task".

        Returns
        -------
        display : :class:`TaskReportDisplay`

        Raises
        ------
        TypeError
            If there is no ``task_report_`` to be found.
        NotFittedError
            If the estimator is not fitted.
        """
        model = find_model(estimator, "task_report_", cls.__name__).model
        name = task_name(model, name)
        return cls(model.task_report_).plot(ax=ax, max_tasks=max_tasks, sort=sort, name=name)

    def plot(self, *, ax=None, max_tasks=40, sort="gain_over_independent", name=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure of a fitting height is made.
        max_tasks : int, default=40
            How many tasks get a line of their own; at least 2.
        sort : {"gain_over_independent", "gain_over_pooled", "n_samples", "task"}, \
                default="gain_over_independent"
            What the tasks are sorted by, the largest first (labels: the smallest first).
        name : str, default=None
            What one task is called, such as "firm". If None, "task".

        Returns
        -------
        display : :class:`TaskReportDisplay`

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `sort` or `max_tasks` is out of range.
        """
        plt = import_pyplot("TaskReportDisplay")
        if sort not in _SORTS:
            raise ValueError(f"sort={sort!r} is none of {', '.join(map(repr, _SORTS))}.")
        if max_tasks < 2:
            raise ValueError(f"max_tasks={max_tasks!r} must be at least 2.")
        name = "task" if name is None else str(name)
        rows, heights, named, band = self._layout(sort, max_tasks)
        if ax is None:
            tall = 1.6 + 0.235 * (heights[-1] + 1 if len(heights) else 1)
            _, ax = plt.subplots(figsize=(7.6, tall), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self._draw_tasks(rows[named], heights[named], name)
        self._draw_labels(rows[named], heights[named], name)
        self.others_ = None
        if band is not None:
            self._draw_band(rows[~named], heights[~named], band)
        n_tasks = sum(task is not None for task in self.report["task"])
        n_drawn = sum(self.report["task"][row] is not None for row in rows)
        self._draw_frame(heights, n_tasks - n_drawn)
        return self

    def _layout(self, sort, max_tasks):
        """Rows of the report in drawing order, their heights, who is named, the band's edges."""
        known = np.any([~np.isnan(self._percent(other)) for other in _STYLE], axis=0)
        unseen = np.array([task is None for task in self.report["task"]], dtype=bool)
        tasks = _sort_order(self.report, np.flatnonzero(~unseen & known), sort)
        heights, named, band = line_heights(len(tasks), max_tasks)
        apart = np.flatnonzero(unseen & known)
        below = (heights[-1] + 1.7 if len(heights) else 0.0) + np.arange(len(apart))
        named = np.append(named, np.ones(len(apart), dtype=bool))
        return np.concatenate([tasks, apart]), np.concatenate([heights, below]), named, band

    def _percent(self, other, rows=slice(None)):
        return 100 * np.asarray(self.report[f"gain_over_{other}"], dtype=float)[rows]

    def _draw_tasks(self, rows, heights, name):
        """Both points of every task that has a line, and a thin line between them."""
        pairs = np.column_stack([self._percent(other, rows) for other in _STYLE])
        pairs = np.maximum(pairs, _LEFT_LIMIT)
        joined = np.isfinite(pairs).all(axis=1)
        self.ax_.hlines(
            heights[joined], pairs[joined].min(axis=1), pairs[joined].max(axis=1),
            color="0.85", linewidth=1.5, zorder=1,
        )  # fmt: skip
        for other, style in _STYLE.items():
            gains = self._percent(other, rows)
            inside = gains >= _LEFT_LIMIT
            points = self.ax_.scatter(
                gains[inside], heights[inside], s=style["size"], marker=style["marker"],
                facecolors=style["face"], edgecolors=style["edge"], linewidths=1.2, zorder=4,
                label=style["label"].format(name=name),
            )  # fmt: skip
            setattr(self, f"{other}_", points)
            self._draw_arrows(gains, heights, style["color"])

    def _draw_arrows(self, gains, heights, color):
        """An arrow at the left edge, with its figure, for a loss that leaves the picture."""
        outside = gains < _LEFT_LIMIT
        edge = np.full(outside.sum(), _LEFT_LIMIT)
        self.ax_.scatter(edge, heights[outside], s=34, marker="<", c=color, zorder=4)
        for gain, height in zip(gains[outside], heights[outside], strict=True):
            self.ax_.annotate(
                f"{gain:.0f}" if gain > -9999.5 else "< -9999", (_LEFT_LIMIT, height),
                xytext=(6, 0), textcoords="offset points", va="center", fontsize="x-small",
                color=color, bbox={"boxstyle": "square,pad=0.1", "fc": "white", "lw": 0}, zorder=3,
            )  # fmt: skip

    def _draw_band(self, rows, heights, band):
        """The tasks between the first and the last ones, as a cloud of small points."""
        self.others_ = []
        for zorder, (other, style) in zip((2.5, 2.2), _STYLE.items(), strict=True):
            gains = np.maximum(self._percent(other, rows), _LEFT_LIMIT)
            self.others_.append(
                self.ax_.scatter(
                    gains, heights, s=5, c=style["color"], alpha=0.7, linewidths=0, zorder=zorder
                )
            )
        self.ax_.axhspan(*band, color="0.95", zorder=0, linewidth=0)
        self.ax_.annotate(
            f"{len(rows):,} more,\nin the same order", (0, sum(band) / 2),
            xycoords=("axes fraction", "data"), xytext=(-8, 0), textcoords="offset points",
            ha="right", va="center", style="italic", color="0.4",
        )  # fmt: skip

    def _draw_labels(self, rows, heights, name):
        """Task names on the left, numbers of rows on the right."""
        tasks = [self.report["task"][row] for row in rows]
        unseen = f"({name} never seen)"
        self.ax_.set_yticks(heights, [unseen if task is None else shorten(task) for task in tasks])
        beside = {"textcoords": "offset points", "fontsize": "small", "color": "0.4"}
        for row, task, height in zip(rows, tasks, heights, strict=True):
            if task is not None:
                self.ax_.annotate(
                    f"{int(self.report['n_samples'][row]):,}", (1, height), xytext=(6, 0),
                    xycoords=("axes fraction", "data"), va="center", **beside,
                )  # fmt: skip
        self.ax_.annotate("rows", (1, 1), xycoords="axes fraction", xytext=(6, 4), **beside)

    def _draw_frame(self, heights, n_left_out):
        """The zero line, limits, axis label and legend."""
        ax = self.ax_
        self.zero_line_ = ax.axvline(0, color="0.25", linewidth=1, zorder=2)
        ax.set_ylim(heights[-1] + 0.8 if len(heights) else 1, -0.8)
        ax.margins(x=0.06)
        note = f"\nleft out: {n_left_out:,} with too few rows to measure" if n_left_out else ""
        ax.set_xlabel(f"gain by sharing: error removed, %{note}")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
        ax.grid(axis="x", color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize="small",
            borderaxespad=0.1, handletextpad=0.2,
        )  # fmt: skip
