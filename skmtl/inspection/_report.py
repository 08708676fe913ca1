"""Display of what each task gains by sharing."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np

from ._drawing import (
    GREY,
    LEFT_LIMIT,
    VERMILION,
    Axes,
    Label,
    band_height,
    count_lines,
    draw_band,
    draw_loss_arrows,
    draw_points,
    draw_reference,
    draw_remarks,
    draw_right_columns,
    figure_size,
    finish,
    fit_names,
    format_percent,
    gain_limits,
    ink,
    line_heights,
    lines_points,
    most_lines,
    open_one_axes,
    paper,
    point_area,
    style_lines,
)
from .common import find_model, plural, task_name
from .gains import (
    SizeClasses,
    by_size,
    choose_named,
    has_standard_errors,
    is_telling,
    is_unseen,
    mostly_noise,
    sum_of_all,
    task_gains,
)

__all__ = ["TaskReportDisplay"]

_STYLE = {
    "independent": {
        "marker": "o", "color": VERMILION, "label": "over independent (one model per {name})",
    },
    "pooled": {"marker": "D", "color": GREY, "label": "over pooled (one model for all)"},
}  # fmt: skip
_REQUIRED = ("task", "n_samples", "gain_over_independent", "gain_over_pooled")
_SORTS = ("gain_over_independent", "gain_over_pooled", "n_samples", "task")
_PALE = 0.35  # opacity of a gain that does not exceed two standard errors
_SEPARATION = 1.7  # lines between two parts of the figure
_OFFSET = {"independent": -0.16, "pooled": 0.16}  # in lines, for points with error bars


class _Layout(NamedTuple):
    """Which entries are drawn at which height, downwards from 0 at the top."""

    sizes: SizeClasses | None
    size_heights: np.ndarray
    rows: np.ndarray  # of the report: those with a line or in the band
    heights: np.ndarray  # of these
    named: np.ndarray  # which of these have a line
    band: tuple | None  # upper and lower end

    @property
    def bottom(self):
        """Height of the last line."""
        return max(np.max(h, initial=0.0) for h in (self.size_heights, self.heights))


def _sort(report, tasks, sort):
    """Sort rows of the report from the top of the figure to its bottom, NaN last."""
    if sort == "task":
        return tasks  # the report is sorted by label already
    key = -np.asarray(report[sort], dtype=float)[tasks]
    return tasks[np.argsort(key, kind="stable")]


class TaskReportDisplay:
    """Gain of each task by sharing, over one model per task and over one model for all.

    A dot plot of a ``task_report_`` with one line per task and two points on each line: the gain
    over *independent* and the gain over *pooled*. A gain is the share of the cross-validated error
    (squared error, or log-loss for classifiers) that sharing removes. To the right of zero sharing
    helps the task, to the left it harms; a pale point is within two standard errors of zero. The
    last line, set apart, is for tasks never seen in training.

    If there are more than `max_tasks` tasks, or most tasks have too few rows to distinguish a gain
    from chance, the first lines show gains by task size: errors are summed over the rows of all
    tasks of a size, and bars extend two standard errors to each side. Of more than `max_tasks`
    tasks, only those get a line of their own that gain or lose more than two standard errors over
    independent (over pooled, if they are sorted by that), or lose as much over the other, and at
    most half of `max_tasks`, the first and the last. The remaining tasks with a meaningful gain
    are drawn in a narrow band between them, so that no figure is much higher than one of
    `max_tasks` tasks.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    report : dict of arrays
        The ``task_report_`` of a fitted multi-task estimator, or a dict like it: one entry per task
        under the keys ``"task"``, ``"n_samples"``, ``"gain_over_independent"`` and
        ``"gain_over_pooled"``; an entry whose task is None stands for tasks never seen. Standard
        errors are used if there are ``"error_..."`` and ``"std_error_..."`` of "independent",
        "pooled" and "shared". Without them, all points are drawn alike, and of many tasks the first
        and the last are named.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the display.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    independent_, pooled_ : matplotlib PathCollection
        Gains over independent and over pooled, in percent, of the tasks that have a line of their
        own.
    sizes_ : list of two matplotlib PathCollection or None
        Both gains of tasks grouped by size; None if these are not drawn.
    others_ : list of two matplotlib PathCollection or None
        Both gains of the tasks in the band; None without a band.
    zero_line_ : matplotlib Line2D
        Vertical line at a gain of zero.

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
    The errors of a ``task_report_`` were also used to choose how much to share, so the gains are
    somewhat optimistic; ``python -m skmtl`` measures them on rows that no tuning has used. Tasks
    without a meaningful gain are left out and counted below the axis; a loss of more than 100 %
    becomes an arrow.

    The standard error of a gain is that of the difference of the two errors, divided by the other
    error. The report has standard errors of both errors, but not of their difference, so they are
    taken to be uncorrelated. As errors of the same rows they mostly are positively correlated: the
    true standard error is smaller, and fewer tasks are named than could be. (An entry
    ``"std_error_gain_over_..."`` in a dict is used instead.) The variance within a task is shrunk
    towards that of tasks of its size with the weight of 4 rows, and two standard errors are the
    equivalent quantile of Student's distribution. A gain with an uncertainty of more than 100 % is
    not drawn, unless it is a significant loss. The standard error of a sum over tasks of a size
    comes from the scatter of these tasks or, for fewer than 5 tasks, from their own standard
    errors.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> from skmtl.inspection import TaskReportDisplay
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> model = MultiTaskRegressor(task_column="firm").fit(X, y)
    >>> display = TaskReportDisplay.from_estimator(model)
    >>> display.ax_.get_xlabel().splitlines()[0]
    'gain by sharing: error removed, %'
    """

    def __init__(self, report: dict[str, Any]) -> None:
        missing = [key for key in _REQUIRED if key not in report]
        if not report:
            raise ValueError(
                "report is empty: the estimator was fitted without cross-validation (cv=None?); "
                "set cv=5 and fit again."
            )
        if missing:
            raise ValueError(f"report lacks {missing}; give a task_report_ or a dict like it.")
        self.report = report

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Axes = None,
        max_tasks: int = 40,
        sort: Literal[
            "gain_over_independent", "gain_over_pooled", "n_samples", "task"
        ] = "gain_over_independent",
        name: str | None = None,
    ) -> Self:
        """Draw the ``task_report_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            One with a ``task_report_``, or a Pipeline, a GridSearchCV or a
            TransformedTargetRegressor that ends in one.
        ax : matplotlib Axes, default=None
            Axes to draw on, best in a figure with ``layout="constrained"``, as names stand beside
            them. If None, a new figure of a suitable height is made.
        max_tasks : int, default=40
            Number of tasks up to which each has a line of its own; at least 2. It is smaller on
            given axes that have no room for as many lines.
        sort : {"gain_over_independent", "gain_over_pooled", "n_samples", "task"}, \
                default="gain_over_independent"
            Key that the tasks are sorted by, the largest first (labels: the smallest first).
        name : str, default=None
            Noun for one task, such as "firm". If None, the estimator's `task_column` if that is a
            name, else "task".

        Returns
        -------
        display : :class:`TaskReportDisplay`
            The display, drawn.

        Raises
        ------
        TypeError
            If no step of the estimator has a ``task_report_``.
        NotFittedError
            If the estimator is not fitted.
        """
        model = find_model(estimator, "task_report_", cls.__name__).model
        name = task_name(model, name)
        return cls(model.task_report_).plot(ax=ax, max_tasks=max_tasks, sort=sort, name=name)

    def plot(
        self,
        *,
        ax: Axes = None,
        max_tasks: int = 40,
        sort: Literal[
            "gain_over_independent", "gain_over_pooled", "n_samples", "task"
        ] = "gain_over_independent",
        name: str | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, best in a figure with ``layout="constrained"``, as names stand beside
            them. If None, a new figure of a suitable height is made.
        max_tasks : int, default=40
            Number of tasks up to which each has a line of its own; at least 2. It is smaller on
            given axes that have no room for as many lines.
        sort : {"gain_over_independent", "gain_over_pooled", "n_samples", "task"}, \
                default="gain_over_independent"
            Key that the tasks are sorted by, the largest first (labels: the smallest first).
        name : str, default=None
            Noun for one task, such as "firm". If None, "task".

        Returns
        -------
        display : :class:`TaskReportDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `sort` or `max_tasks` is out of range.
        """
        if sort not in _SORTS:
            raise ValueError(f"sort={sort!r} is none of {', '.join(map(repr, _SORTS))}.")
        if max_tasks < 2:
            raise ValueError(f"max_tasks={max_tasks!r} must be at least 2.")
        name = "task" if name is None else str(name)
        layout = self._layout(sort, max_tasks)
        self.ax_ = open_one_axes("TaskReportDisplay", ax, size=lambda: self._figure_size(layout))
        self.figure_ = self.ax_.figure
        if ax is not None:
            layout = self._fit(layout, sort, max_tasks)
        rows, heights, named = layout.rows, layout.heights, layout.named
        self.sizes_, without = None, list[float]()
        self._taken: dict[int, float] = {}  # points of a line that have values of arrows
        if layout.sizes is not None:
            self.sizes_ = self._draw_sizes(layout, without)
        self._draw_tasks(rows[named], heights[named], name, without)
        self.others_ = None
        if layout.band is not None:
            self.others_ = self._draw_band(rows[~named], heights[~named], layout.band)
        self._draw_frame(layout)
        self._draw_labels(layout, name)
        remark = Label("too few rows to tell", 0.0, "too few rows")
        draw_remarks(self.ax_, [remark] * len(without), without)
        finish(self.ax_, self._legend_handles(name), xlabel=self._xlabel(layout))
        return self

    def _figure_size(self, layout):
        width = 72.0 * figure_size(1.2)[0]
        n_label = count_lines(self._xlabel(layout), 0.7 * width)
        return figure_size(1.2, points=lines_points(layout.bottom, len(_STYLE), n_label))

    def _fit(self, layout, sort, max_tasks):
        """Return a layout for which the axes have room: of fewer tasks or sizes."""
        room = most_lines(self.ax_, len(_STYLE), self._xlabel(layout))
        most = min(max_tasks, max(2, len(layout.rows)))
        while layout.bottom > room and most > 2:
            most = max(2, most - int(np.ceil(layout.bottom - room)))
            layout = self._layout(sort, most)
        return self._layout(sort, most, one_size=True) if layout.bottom > room else layout

    def _xlabel(self, layout):
        return "\n".join(["gain by sharing: error removed, %", *self._notes(layout)])

    def _has_gain(self):
        """Return for every entry of the report whether it has a gain."""
        return np.any([~np.isnan(self._percent(other)) for other in _STYLE], axis=0)

    def _layout(self, sort, max_tasks, *, one_size=False):
        report = self.report
        known, unseen = self._has_gain(), is_unseen(report)
        tasks = _sort(report, np.flatnonzero(~unseen & known), sort)
        sizes, rest = None, np.zeros(0, dtype=np.int64)
        if not has_standard_errors(report):
            heights, named, band = line_heights(len(tasks), max_tasks)
        else:
            if len(tasks) > max_tasks or mostly_noise(report, tasks):
                sizes = by_size(report, tasks)
                if one_size or 2 * len(sizes.low) > len(tasks):
                    sizes = sum_of_all(report, tasks)
            if len(tasks) > max_tasks:
                tasks, rest = self._choose(tasks, sort, max(2, max_tasks // 2))
            heights, named, band = self._stack(tasks, rest, sort, max_tasks)
            tasks = np.concatenate([tasks, rest])
        top = 0 if sizes is None else len(sizes.low)
        if top:
            shift = top - 1 + _SEPARATION
            heights, band = heights + shift, band and tuple(edge + shift for edge in band)
        unseen = np.flatnonzero(unseen & known)
        last = max(np.max(heights, initial=-_SEPARATION), top - 1.0)
        return _Layout(
            sizes,
            np.arange(float(top)),
            np.concatenate([tasks, unseen]),
            np.concatenate([heights, last + _SEPARATION + np.arange(len(unseen))]),
            np.append(named, np.ones(len(unseen), dtype=bool)),
            band,
        )

    def _choose(self, tasks, sort, most):
        """Return the tasks to name, and the other ones with a meaningful gain."""
        key = sort.removeprefix("gain_over_") if sort.startswith("gain") else "independent"
        named, _ = choose_named(self.report, tasks, most, key)
        return named, tasks[is_telling(self.report)[tasks] & ~np.isin(tasks, named)]

    def _stack(self, tasks, rest, sort, max_tasks):
        """Arrange `tasks`, gains above and losses below a band, and `rest` in the band.

        Returns heights of `tasks` and then of `rest`, as `line_heights` does.
        """
        if not len(rest):
            return line_heights(len(tasks), len(tasks))
        top = (len(tasks) + 1) // 2
        if sort.startswith("gain"):
            top = int(np.sum(np.asarray(self.report[sort], dtype=float)[tasks] >= 0))
        height = max(3.0, min(band_height(max_tasks), len(rest) / 5))
        begin = top - 0.5
        heights = np.arange(len(tasks), dtype=float)
        heights[top:] += height
        inside = begin + height * (np.arange(len(rest)) + 0.5) / len(rest)
        named = np.append(np.ones(len(tasks), dtype=bool), np.zeros(len(rest), dtype=bool))
        return np.concatenate([heights, inside]), named, (begin, begin + height)

    def _percent(self, other):
        return 100 * np.asarray(self.report[f"gain_over_{other}"], dtype=float)

    def _gains(self, other, rows):
        """Return gains in percent, NaN if they are not meaningful, and which of them are pale."""
        percent = self._percent(other)[rows]
        if not has_standard_errors(self.report):
            return percent, np.zeros(len(percent), dtype=bool)
        gains = task_gains(self.report, other).take(rows)
        percent[~gains.telling & ~is_unseen(self.report)[rows]] = np.nan
        return percent, ~gains.clear

    def _draw_tasks(self, rows, heights, name, without):
        """Draw both points of each task that has a line, joined by a thin line."""
        gains = {other: self._gains(other, rows) for other in _STYLE}
        pairs = np.maximum(np.column_stack([gain for gain, _ in gains.values()]), LEFT_LIMIT)
        joined = np.isfinite(pairs).all(axis=1)
        self.ax_.hlines(
            heights[joined], pairs[joined].min(axis=1), pairs[joined].max(axis=1),
            color=ink(self.ax_, 0.2), linewidth=1.5, zorder=1,
        )  # fmt: skip
        for other, (gain, pale) in gains.items():
            points = self._draw_points(other, gain, heights, pale)
            points.set_label(_STYLE[other]["label"].format(name=name))
            setattr(self, f"{other}_", points)
        without += heights[np.isnan(pairs).all(axis=1)].tolist()

    def _draw_points(self, other, gains, heights, pale):
        """Draw the points of one kind, and arrows for those beyond the left limit."""
        inside, beyond = gains >= LEFT_LIMIT, gains < LEFT_LIMIT
        points = self._draw_kind(other, gains[inside], heights[inside], pale[inside])
        color = _STYLE[other]["color"]
        draw_loss_arrows(self.ax_, gains[beyond], heights[beyond], color, self._taken)
        return points

    def _draw_kind(self, other, x, y, pale, **style):
        """Draw filled points over independent and rings over pooled, those that are `pale` pale."""
        from matplotlib.colors import to_rgb

        marker, color, back = _STYLE[other]["marker"], _STYLE[other]["color"], paper(self.ax_)
        shades = np.tile(to_rgb(color), (len(pale), 1))
        shades[pale] = np.asarray(back) + _PALE * (shades[pale] - back)
        filled = other == "independent"  # with a rim, to separate points
        return draw_points(
            self.ax_, x, y, filled, shades, marker=marker, edgecolors=back if filled else shades,
            **style,
        )  # fmt: skip

    def _draw_sizes(self, layout, without):
        """Draw the gains of tasks of a size, with two standard errors to each side."""
        points, known = [], np.zeros(len(layout.size_heights), dtype=bool)
        for other, style in _STYLE.items():
            gains = layout.sizes.gains[other]
            percent = np.where(gains.telling, 100 * gains.gain, np.nan)
            heights = layout.size_heights + _OFFSET[other]
            low, high = percent - 100 * gains.reach, percent + 100 * gains.reach
            self.ax_.hlines(
                heights[gains.telling], np.maximum(low, LEFT_LIMIT)[gains.telling],
                np.minimum(high, 100.0)[gains.telling], color=style["color"], linewidth=1.2,
                zorder=3,
            )  # fmt: skip
            points.append(self._draw_points(other, percent, heights, ~gains.clear))
            known |= gains.telling
        without += layout.size_heights[~known].tolist()
        return points

    def _draw_band(self, rows, heights, band):
        """Draw the tasks without a line as small points."""
        draw_band([self.ax_], len(rows), band)
        return [
            self.ax_.scatter(
                np.maximum(self._gains(other, rows)[0], LEFT_LIMIT), heights,
                s=point_area(len(rows)), c=_STYLE[other]["color"], alpha=0.7, linewidths=0,
                zorder=zorder,
            )
            for other, zorder in (("independent", 2.5), ("pooled", 2.2))
        ]  # fmt: skip

    def _draw_labels(self, layout, name):
        """Write names on the left and numbers of rows on the right."""
        rows, heights = layout.rows[layout.named], layout.heights[layout.named]
        labels, counts = [], []
        if layout.sizes is not None:
            labels = _size_labels(layout.sizes, name)
            if fit_names(self.ax_, labels, max(map(len, labels))) != labels:
                labels = _size_labels(layout.sizes)
            counts = layout.sizes.n_samples.tolist()
            heights = np.concatenate([layout.size_heights, heights])
        tasks = [self.report["task"][row] for row in rows]
        labels += fit_names(
            self.ax_, [f"({name} never seen)" if task is None else task for task in tasks]
        )
        counts += [
            None if task is None else int(self.report["n_samples"][row])
            for row, task in zip(rows, tasks, strict=True)
        ]
        self.ax_.set_yticks(heights, labels, parse_math=False)
        counted = [n is not None for n in counts]
        texts = [f"{n:,}" for n in counts if n is not None]
        draw_right_columns(self.ax_, [("rows", texts, heights[counted])])

    def _notes(self, layout):
        """Return the lines below the axis: what is pale, and how many tasks are not drawn."""
        tasks, known = ~is_unseen(self.report), self._has_gain()
        n_left_out = int(np.sum(tasks & ~known))
        notes = [f"left out: {n_left_out:,} with too few rows to measure"] if n_left_out else []
        if has_standard_errors(self.report):
            notes.insert(0, "pale: within two standard errors of zero")
        drawn = np.isin(np.flatnonzero(tasks & known), layout.rows)
        if not drawn.all():
            notes.append(f"by size alone: {np.sum(~drawn):,} with too few rows to tell")
        return notes

    def _draw_frame(self, layout):
        """Draw the zero line and the limits."""
        ax = self.ax_
        self.zero_line_ = draw_reference(ax)
        style_lines(ax, layout.bottom)
        ends = np.asarray(ax.dataLim.intervalx)
        ax.set_xlim(gain_limits(ends, ends[0] <= LEFT_LIMIT))
        ax.xaxis.set_major_formatter(format_percent)

    def _legend_handles(self, name):
        handles = [self._draw_kind(other, [], [], np.zeros(1, dtype=bool)) for other in _STYLE]
        for other, handle in zip(_STYLE, handles, strict=True):
            handle.set_label(_STYLE[other]["label"].format(name=name))
        return handles


def _size_labels(sizes, name=None):
    """Return labels such as "1,024 stores of 2 to 3 rows", or without the noun."""
    labels = []
    for low, high, n_tasks in zip(sizes.low, sizes.high, sizes.n_tasks, strict=True):
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        noun = "" if name is None else " " + (name if n_tasks == 1 else plural(name))
        labels.append(f"{n_tasks:,}{noun} of {span} row{'s' if high > 1 else ''}")
    return labels
