"""What each task gains by sharing."""

from typing import NamedTuple

import numpy as np

from .common import (
    BLUE,
    VERMILION,
    find_model,
    import_pyplot,
    line_heights,
    plural,
    shorten,
    task_name,
)
from .gains import (
    SizeClasses,
    by_size,
    choose_named,
    has_spreads,
    mostly_noise,
    sum_of_all,
    task_gains,
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
_PALE = 0.35  # how opaque a gain is that does not exceed two standard errors
_APART = 1.7  # between a part of the picture and the next, in lines
_OFFSET = {"independent": -0.16, "pooled": 0.16}  # in lines, where points have whiskers


class _Layout(NamedTuple):
    """What stands on which line, from the top, at height 0, downwards."""

    sizes: SizeClasses | None
    size_heights: np.ndarray
    rows: np.ndarray  # of the report: those with a line or in the band
    heights: np.ndarray  # of these
    named: np.ndarray  # which of these have a line
    band: tuple | None  # where it begins and ends

    @property
    def bottom(self):
        """The height of the last line."""
        return max(np.max(h, initial=0.0) for h in (self.size_heights, self.heights))


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
    harms; a pale point is within two standard errors of zero. The last line, apart, is a task never
    seen.

    With more than `max_tasks` tasks, and with fewer where most have too few rows to tell a gain
    from chance, the first lines show gains by size of task: of errors summed over the rows of all
    tasks of a size, with two standard errors to both sides. Of more than `max_tasks` tasks only
    those have a line of their own that gain or lose more than two standard errors over independent
    (over pooled, where they are sorted by that), or lose as much over the other. The others with a
    gain to show stand between them in a narrow band.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    report : dict of arrays
        The ``task_report_`` of a fitted multi-task estimator, or a dict like it: one entry a task
        under the keys ``"task"``, ``"n_samples"``, ``"gain_over_independent"`` and
        ``"gain_over_pooled"``; an entry whose task is None is the task never seen. Standard errors
        are known where there are ``"error_..."`` and ``"std_error_..."`` of "independent",
        "pooled" and "shared"; without them all points are drawn alike, and of many tasks the first
        and the last are named.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the picture.
    figure_ : matplotlib Figure
        The figure of the axes.
    independent_, pooled_ : matplotlib PathCollection
        The points of the gains over independent and over pooled, in percent, of the tasks that
        have a line of their own.
    sizes_ : list of two matplotlib PathCollection or None
        The same of tasks of a size together; None if these are not drawn.
    others_ : list of two matplotlib PathCollection or None
        The same of the tasks in the band; None if there are none.
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
    show are left out and counted below the axis; a loss of more than 100 % becomes an arrow.

    The standard error of a gain is that of the difference of the two errors, in units of the other
    one. The report has standard errors of both, but not of their difference: they are taken to be
    uncorrelated. As errors of the same rows they mostly are correlated, so that the true one is
    smaller, and fewer tasks are named than might be. (An entry ``"std_error_gain_over_..."`` in a
    dict is used instead.) The variance in a task is drawn to what tasks of its size show, as 4
    further rows would draw it, and two standard errors are what Student's distribution makes of
    them. A gain that is not known to within 100 % means nothing, and is not drawn unless it is a
    loss beyond doubt. The standard errors of sums over tasks of a size are those of the tasks'
    scatter, or of fewer than 5 tasks of their own standard errors.

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
        layout = self._layout(sort, max_tasks)
        if ax is None:
            tall = 1.6 + 0.235 * (layout.bottom + 1)
            _, ax = plt.subplots(figsize=(7.6, tall), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.sizes_ = None if layout.sizes is None else self._draw_sizes(layout)
        rows, heights, named = layout.rows, layout.heights, layout.named
        self._draw_tasks(rows[named], heights[named], name)
        self._draw_labels(layout, name)
        self.others_ = None
        if layout.band is not None:
            self._draw_band(rows[~named], heights[~named], layout.band)
        self._draw_frame(layout, name)
        return self

    def _layout(self, sort, max_tasks):
        report = self.report
        known = np.any([~np.isnan(self._percent(other)) for other in _STYLE], axis=0)
        unseen = np.array([task is None for task in report["task"]], dtype=bool)
        tasks = _sort_order(report, np.flatnonzero(~unseen & known), sort)
        sizes, rest = None, np.zeros(0, dtype=np.int64)
        if not has_spreads(report):
            heights, named, band = line_heights(len(tasks), max_tasks)
        else:
            if len(tasks) > max_tasks or mostly_noise(report, tasks):
                sizes = by_size(report, tasks)
                if 2 * len(sizes.low) > len(tasks):
                    sizes = sum_of_all(report, tasks)
            if len(tasks) > max_tasks:
                tasks, rest = self._choose(tasks, sort, max_tasks)
            heights, named, band = self._stack(tasks, rest, sort, max_tasks)
            tasks = np.concatenate([tasks, rest])
        top = 0 if sizes is None else len(sizes.low)
        if top:
            shift = top - 1 + _APART
            heights, band = heights + shift, band and tuple(edge + shift for edge in band)
        apart = np.flatnonzero(unseen & known)
        last = max(np.max(heights, initial=-_APART), top - 1.0)
        below = last + _APART + np.arange(len(apart))
        return _Layout(
            sizes,
            np.arange(float(top)),
            np.concatenate([tasks, apart]),
            np.concatenate([heights, below]),
            np.append(named, np.ones(len(apart), dtype=bool)),
            band,
        )

    def _choose(self, tasks, sort, max_tasks):
        """Those to be named, and the others that have gains to show."""
        key = sort.removeprefix("gain_over_") if sort.startswith("gain") else "independent"
        named, _ = choose_named(self.report, tasks, max_tasks, key)
        telling = np.any([task_gains(self.report, other).telling for other in _STYLE], axis=0)
        return named, tasks[telling[tasks] & ~np.isin(tasks, named)]

    def _stack(self, tasks, rest, sort, max_tasks):
        """Heights of the tasks with a line, the gains above the band of the rest and the losses
        below it; then of the rest."""
        if not len(rest):
            return line_heights(len(tasks), len(tasks))
        top = (len(tasks) + 1) // 2
        if sort.startswith("gain"):
            top = int(np.sum(np.asarray(self.report[sort], dtype=float)[tasks] >= 0))
        tall = max(4.0, min(max_tasks / 3, len(rest) / 5))
        begin = top - 0.5
        heights = np.arange(len(tasks), dtype=float)
        heights[top:] += tall
        between = begin + tall * (np.arange(len(rest)) + 0.5) / len(rest)
        named = np.append(np.ones(len(tasks), dtype=bool), np.zeros(len(rest), dtype=bool))
        return np.concatenate([heights, between]), named, (begin, begin + tall)

    def _percent(self, other, rows=slice(None)):
        return 100 * np.asarray(self.report[f"gain_over_{other}"], dtype=float)[rows]

    def _gains(self, other, rows):
        """Gains in percent, NaN where they mean nothing, and which are pale."""
        gains = self._percent(other, rows).copy()
        if not has_spreads(self.report):
            return gains, np.zeros(len(gains), dtype=bool)
        told = task_gains(self.report, other).take(rows)
        unseen = np.array([self.report["task"][row] is None for row in rows], dtype=bool)
        gains[~told.telling & ~unseen] = np.nan
        return gains, ~told.clear

    def _draw_tasks(self, rows, heights, name):
        """Both points of every task that has a line, and a thin line between them."""
        gains = {other: self._gains(other, rows) for other in _STYLE}
        pairs = np.maximum(np.column_stack([gain for gain, _ in gains.values()]), _LEFT_LIMIT)
        joined = np.isfinite(pairs).all(axis=1)
        self.ax_.hlines(
            heights[joined], pairs[joined].min(axis=1), pairs[joined].max(axis=1),
            color="0.85", linewidth=1.5, zorder=1,
        )  # fmt: skip
        for other, (gain, pale) in gains.items():
            points = self._draw_points(other, gain, heights, pale)
            points.set_label(_STYLE[other]["label"].format(name=name))
            setattr(self, f"{other}_", points)
        for height in heights[np.isnan(pairs).all(axis=1)]:
            self._say_unknown(height)

    def _draw_points(self, other, gains, heights, pale):
        """Points of one kind, and arrows for those that leave the picture."""
        style = _STYLE[other]
        inside = gains >= _LEFT_LIMIT
        points = self.ax_.scatter(
            gains[inside], heights[inside], s=style["size"], marker=style["marker"], linewidths=1.2,
            facecolors=_shades(style["face"], pale[inside]),
            edgecolors=_shades(style["edge"], pale[inside]), zorder=4,
        )  # fmt: skip
        self._draw_arrows(gains, heights, style["color"])
        return points

    def _draw_sizes(self, layout):
        """Gains of tasks of a size, with two standard errors to both sides."""
        drawn, known = [], np.zeros(len(layout.size_heights), dtype=bool)
        for other, style in _STYLE.items():
            told = layout.sizes.gains[other]
            gains = np.where(told.telling, 100 * told.gain, np.nan)
            heights = layout.size_heights + _OFFSET[other]
            low, high = gains - 100 * told.reach, gains + 100 * told.reach
            self.ax_.hlines(
                heights[told.telling], np.maximum(low, _LEFT_LIMIT)[told.telling],
                np.minimum(high, 100.0)[told.telling], color=style["color"], linewidth=1.2,
                zorder=3,
            )  # fmt: skip
            drawn.append(self._draw_points(other, gains, heights, ~told.clear))
            known |= told.telling
        for height in layout.size_heights[~known]:
            self._say_unknown(height)
        return drawn

    def _say_unknown(self, height):
        self.ax_.annotate(
            "too few rows to tell", (0, height), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize="x-small", style="italic", color="0.5", zorder=3,
        )  # fmt: skip

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
            gains = np.maximum(self._gains(other, rows)[0], _LEFT_LIMIT)
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

    def _draw_labels(self, layout, name):
        """Names on the left, numbers of rows on the right."""
        rows, heights = layout.rows[layout.named], layout.heights[layout.named]
        tasks = [self.report["task"][row] for row in rows]
        unseen = f"({name} never seen)"
        labels = [unseen if task is None else shorten(task) for task in tasks]
        counts = [
            None if task is None else int(self.report["n_samples"][row])
            for row, task in zip(rows, tasks, strict=True)
        ]
        if layout.sizes is not None:
            labels = _size_labels(layout.sizes, name) + labels
            counts = layout.sizes.n_samples.tolist() + counts
            heights = np.concatenate([layout.size_heights, heights])
        self.ax_.set_yticks(heights, labels)
        beside = {"textcoords": "offset points", "fontsize": "small", "color": "0.4"}
        for count, height in zip(counts, heights, strict=True):
            if count is not None:
                self.ax_.annotate(
                    f"{count:,}", (1, height), xytext=(6, 0),
                    xycoords=("axes fraction", "data"), va="center", **beside,
                )  # fmt: skip
        self.ax_.annotate("rows", (1, 1), xycoords="axes fraction", xytext=(6, 4), **beside)

    def _notes(self, layout):
        """What stands below the axis: who is not in the picture, and what is pale."""
        tasks = np.array([task is not None for task in self.report["task"]], dtype=bool)
        known = np.any([~np.isnan(self._percent(other)) for other in _STYLE], axis=0)
        n_left_out = int(np.sum(tasks & ~known))
        notes = [f"left out: {n_left_out:,} with too few rows to measure"] if n_left_out else []
        if has_spreads(self.report):
            notes.insert(0, "pale: within two standard errors of zero")
        drawn = np.isin(np.flatnonzero(tasks & known), layout.rows)
        if not drawn.all():
            notes.append(f"by size alone: {np.sum(~drawn):,} with too few rows to tell")
        return "".join(f"\n{note}" for note in notes)

    def _draw_frame(self, layout, name):
        """The zero line, limits, axis label and legend."""
        ax = self.ax_
        self.zero_line_ = ax.axvline(0, color="0.25", linewidth=1, zorder=2)
        ax.set_ylim(layout.bottom + 0.8, -0.8)
        ax.margins(x=0.06)
        ax.set_xlabel(f"gain by sharing: error removed, %{self._notes(layout)}")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
        ax.grid(axis="x", color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        ax.legend(
            handles=_legend_handles(name), loc="lower left", bbox_to_anchor=(0, 1),
            frameon=False, fontsize="small", borderaxespad=0.1, handletextpad=0.2,
        )  # fmt: skip


def _shades(color, pale):
    """One colour a point, as RGBA."""
    from matplotlib.colors import to_rgba_array

    shades = np.repeat(to_rgba_array(color), len(pale), axis=0)
    if color != "white":  # a face that hides the line behind it, or the edge that sets points apart
        shades[pale, :3] = 1 - _PALE * (1 - shades[pale, :3])
    return shades


def _legend_handles(name):
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], linestyle="", marker=style["marker"], markersize=np.sqrt(style["size"]),
            markerfacecolor=style["face"], markeredgecolor=style["edge"], markeredgewidth=1.2,
            label=style["label"].format(name=name),
        )
        for style in _STYLE.values()
    ]  # fmt: skip


def _size_labels(sizes, name):
    """Such as "1,024 stores of 2 to 3 rows"."""
    labels = []
    for low, high, n_tasks in zip(sizes.low, sizes.high, sizes.n_tasks, strict=True):
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        what = name if n_tasks == 1 else plural(name)
        labels.append(f"{n_tasks:,} {what} of {span} row{'s' if high > 1 else ''}")
    return labels
