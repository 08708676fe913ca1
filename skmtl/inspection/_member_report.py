"""Display of the members of a blend: what each scored, and where it is used."""

from typing import Any, NamedTuple, Self

import numpy as np

from ._drawing import (
    BLUE,
    GREY,
    LEFT_LIMIT,
    VERMILION,
    Axes,
    Label,
    count_lines,
    draw_band,
    draw_loss_arrows,
    draw_points,
    draw_reference,
    draw_remarks,
    draw_right_columns,
    figure_size,
    finish,
    fit_name,
    fit_names,
    format_percent,
    format_weight,
    gain_limits,
    ink,
    label_sizes,
    line_heights,
    line_style,
    lines_points,
    measure,
    most_lines,
    open_parts,
    palette,
    point_area,
    style_axes,
    style_lines,
)
from .common import check_columns, error_removed, find_model, shorten

__all__ = ["MemberReportDisplay"]

_REQUIRED = ("member", "weight")
_OPTIONAL = ("n_rows", "error", "n_tasks", "weight_unseen", "status")
_DRAWN = (
    "models with learners: sharing='auto' and other learners of MultiTaskRegressor and "
    "MultiTaskClassifier, or estimator= of MetaLearnerRegressor and MetaLearnerClassifier"
)
_MOST = 40  # members up to which each has a line
_NAMED = 8  # members with a colour and a name each, by number of rows
_MOST_BARS = 30  # numbers of rows up to which each has bars
_LONGEST = 52  # letters of a status
_WEIGHTS = "weight in the predictions"


class _Members(NamedTuple):
    """What a report says of its members, by number of labelled rows."""

    names: list
    sizes: np.ndarray | None  # numbers of rows; None if the report has none, or a single one
    weight: np.ndarray  # (n_members, n_sizes)
    gain: np.ndarray  # (n_members, n_sizes), in percent of the first member's error; may be NaN
    status: list  # of the members

    @property
    def are_judged(self):
        """Whether any member has an error that the first one's can be compared to."""
        return not np.isnan(self.gain[1:]).all()


class MemberReportDisplay:
    """What each member of a blend scored on held-out rows, and the weight it has.

    There is one line per member, in the order of the report, which begins with the linear models.
    On the left is the share of the first member's held-out error (squared error, or log-loss) that
    the member removes when it predicts alone: to the right of zero it is better than the first one,
    to the left worse. Rings are members of weight zero, and a member that was not judged has no
    point. On the right is a bar of the member's weight in the predictions, and a diamond at its
    weight for a task never seen; a member without weight has the reason there instead. Beside them
    are the weight and the number of tasks that use the member.

    The report of a meta-learner has errors and weights by the number of labelled rows of a task.
    Its members are drawn against this number instead, each in its own colour: the error removed on
    the left, and stacked bars of the weights on the right. The legend has the reason for members
    that have no weight.

    Reports without errors, such as those of `skmtl.sharing.SharedEstimator`, and those of which
    only the first member was judged, have the weights only.

    Of more than 40 members, the first and the last ones have lines, 20 in total, and all others
    share a narrow band between these. By number of rows, up to 8 members have a colour each; of
    more, the first one and those with the largest weights.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    report : dict of arrays
        The ``member_report_`` of a fitted estimator, or a dict like it: "member" (names) and
        "weight", and optionally "error", "status", "n_tasks", "weight_unseen" and "n_rows". With
        the last of these there is one entry for every member and number of rows.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_parts,)
        One or two axes, from the left.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    members_ : list of str
        Names of the members, in the order of the report.
    errors_ : list of matplotlib PathCollection
        Points of the error removed, in percent, one collection per member that has a line; empty
        if only weights are drawn.
    weights_ : list of matplotlib BarContainer
        Bars of the weights, one container per member that has a line, or areas (PolyCollection) of
        more than 30 numbers of rows; empty if a single `ax` has the errors.
    unseen_ : matplotlib PathCollection or None
        Diamonds at the weights for a task never seen.
    zero_line_ : matplotlib Line2D or None
        Line of the first member's error; None if only weights are drawn.

    Raises
    ------
    ValueError
        If `report` has no member or lacks a key; if lengths don't match, or a weight is negative or
        not finite, or an error is negative; or if it has "n_rows" that are not positive, or not
        every member once for each of them.

    See Also
    --------
    skmtl.sharing.Auto : The linear models and learners that are blended.
    skmtl.learners.WithEstimator : The members of meta-learners.
    TaskReportDisplay : What each task gains by sharing.

    Notes
    -----
    The errors were also used to choose the weights, so they are somewhat optimistic. A member that
    is better than the first one may still have no weight, if the difference is within two standard
    errors, or if another member adds the same information; a member that is worse may have some, if
    it errs on other rows. An error of more than twice the first one's becomes an arrow.

    Weights are means over the rows of all tasks with ``sharing="auto"``, and over tasks with
    `skmtl.sharing.SharedEstimator` and `skmtl.sharing.SharedHiddenLayers`. Those of the latter two
    need not add up to one, as their learner is not blended with the tasks' own linear parts, but
    added to them.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import MemberReportDisplay
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.normal(size=(300, 2)), rng.integers(5, size=300)
    >>> y = np.sin(2 * X[:, 0]) + rng.normal(size=5)[task] + 0.2 * rng.normal(size=300)
    >>> model = MultiTaskRegressor("auto").fit(X, y, task=task)
    >>> display = MemberReportDisplay.from_estimator(model)
    >>> display.members_
    ['linear', 'smooth', 'forest', 'forest_residuals', 'boosted']
    """

    def __init__(self, report: dict[str, Any]) -> None:
        missing = [key for key in _REQUIRED if key not in report]
        if missing:
            raise ValueError(f"report lacks {missing}; give a member_report_ or a dict like it.")
        if not len(report["member"]):
            raise ValueError("report has no member; give the member_report_ of a fitted estimator.")
        check_columns(report, [*_REQUIRED, *(key for key in _OPTIONAL if key in report)])
        self.report = report
        self._members = self._read()
        self.members_: list[str] = self._members.names

    def _read(self):
        """Return the `_Members` of the report."""
        report, sizes = self.report, None
        names, order = [str(name) for name in report["member"]], np.arange(len(report["member"]))
        if "n_rows" in report:
            names, sizes, order = _by_size(names, np.asarray(report["n_rows"], dtype=np.float64))
        order = order.reshape(len(names), -1)
        weight = np.asarray(report["weight"], dtype=np.float64)[order]
        error = np.full(weight.shape, np.nan)
        if "error" in report:
            error = np.asarray(report["error"], dtype=np.float64)[order]
        if (error < 0.0).any():
            raise ValueError(f"report has the error {np.nanmin(error)}; none may be negative.")
        status = [str(report["status"][n]) if "status" in report else "" for n in order[:, 0]]
        sizes = None if order.shape[1] == 1 else sizes
        return _Members(names, sizes, weight, error_removed(error, error[0]), status)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes = None) -> Self:
        """Draw the ``member_report_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `MultiTaskRegressor` or `MultiTaskClassifier` with ``sharing="auto"`` or another
            learner, or a `MetaLearnerRegressor` or `MetaLearnerClassifier` with ``estimator=``; or
            a Pipeline, a GridSearchCV or a TransformedTargetRegressor that ends in one.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on, as in :meth:`plot`.

        Returns
        -------
        display : :class:`MemberReportDisplay`
            The display, drawn.

        Raises
        ------
        TypeError
            If no step of the estimator has a ``member_report_``.
        NotFittedError
            If the estimator is not fitted.
        """
        model = find_model(estimator, "member_report_", cls.__name__, _DRAWN).model
        return cls(model.member_report_).plot(ax=ax)

    def plot(self, *, ax: Axes = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on. A single one has the errors, with weights as numbers beside them, or
            only whether a member is used if these depend on the number of rows. If None, a new
            figure of a suitable size is made.

        Returns
        -------
        display : :class:`MemberReportDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If more axes are given than there are parts.
        """
        n_parts = 2 if self._members.are_judged else 1
        by_size = self._members.sizes is not None
        self._lines = line_heights(len(self.members_), _MOST)
        size = self._size_of_curves if by_size else self._size_of_lines
        self.axes_ = open_parts(type(self).__name__, ax, n_parts, lambda: size(n_parts))
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self.errors_: list[Any] = []
        self.weights_: list[Any] = []
        self.unseen_ = self.zero_line_ = None
        has_weights = len(self.axes_) == n_parts
        if by_size:
            self._draw_by_size(n_parts == 2, has_weights)
        else:
            if ax is not None and self._lines[0][-1] > (
                room := most_lines(self.ax_, 2, self._errors_label())
            ):
                self._lines = line_heights(len(self.members_), max(4, int(room)))
            self._draw_lines(n_parts == 2, has_weights)
        return self

    def _size_of_curves(self, n_parts):
        sides = (1.5, 0.85) if n_parts == 2 else (1.0, 1.0)
        return figure_size(*sides, n_legend=min(len(self.members_), _NAMED + 1) / 2)

    def _size_of_lines(self, n_parts):
        width = 72.0 * figure_size(0.5 if n_parts == 2 else 0.7)[0]
        points = lines_points(self._lines[0][-1], 2, count_lines(self._errors_label(), width))
        return figure_size(1.5 if n_parts == 2 else 1.0, points=points)

    # -------------------------------------------------------------------------- one line each

    def _draw_lines(self, has_errors, has_weights):
        """Draw one line per member, or the last ones in a band if they are many."""
        members, (heights, named, band) = self._members, self._lines
        last, texts = self.axes_[-1], [format_weight(weight) for weight in members.weight[named, 0]]
        columns = [("weight", texts, heights[named])]
        if "n_tasks" in self.report:
            counts = np.asarray(self.report["n_tasks"])[named]
            columns.append(("tasks", [f"{int(n):,}" for n in counts], heights[named]))
        names = [name for name, has_line in zip(members.names, named, strict=True) if has_line]
        for axes in self.axes_:
            axes.set_yticks([])
            style_lines(axes, heights[-1])
        self.ax_.set_yticks(heights[named], fit_names(self.ax_, names), parse_math=False)
        draw_right_columns(last, columns)
        if band is not None:
            draw_band(self.axes_, int(np.sum(~named)), band)
        if has_errors:
            self._draw_errors(self.ax_)
        if has_weights:
            self._draw_weights(last)

    def _draw_errors(self, ax):
        """Draw the error that each member removes, and reasons if there is no other place."""
        members, (heights, named, _) = self._members, self._lines
        gain, used = members.gain[:, 0], members.weight[:, 0] > 0.0
        inside, beyond = gain >= LEFT_LIMIT, (gain < LEFT_LIMIT) & named
        self.zero_line_ = draw_reference(ax)
        for m in np.flatnonzero(named):
            drawn = slice(m, m + 1) if inside[m] else slice(0)
            self.errors_.append(draw_points(ax, gain[drawn], heights[drawn], used[m]))
        self._draw_cloud(ax, np.maximum(gain, LEFT_LIMIT))
        draw_loss_arrows(ax, gain[beyond], heights[beyond])
        low, high = gain_limits(gain, (gain < LEFT_LIMIT).any())
        ax.set_xlim(low, high)
        if len(self.axes_) == 1:
            self._draw_reasons(ax, np.isnan(gain) & named, low)
        ax.xaxis.set_major_formatter(format_percent)
        handles = [draw_points(ax, [], [], True, label="this member alone")]
        if not used[~np.isnan(gain)].all():
            handles.append(draw_points(ax, [], [], False, label="the same, of weight 0"))
        finish(ax, handles, xlabel=self._errors_label())

    def _errors_label(self):
        return f"gain by this member: error removed, %\n(0: {shorten(self.members_[0])})"

    def _draw_cloud(self, ax, values):
        """Draw the members without a line as small points, grey without weight."""
        heights, named, _ = self._lines
        if not named.all():
            used = self._members.weight[~named, 0] > 0.0
            color, area = np.where(used, BLUE, GREY), point_area(int(np.sum(~named)))
            ax.scatter(values[~named], heights[~named], s=area, c=color, linewidths=0, zorder=2.5)

    def _draw_weights(self, ax):
        """Draw a bar for each weight, and the reason where there is none."""
        heights, named, _ = self._lines
        weight, handles = self._members.weight[:, 0], []
        for m in np.flatnonzero(named):
            bars = ax.barh([heights[m]], [weight[m]], height=0.6, color=BLUE)
            self.weights_.append(bars)
        self._draw_cloud(ax, weight)
        largest, left = max(1.0, weight.max()), np.zeros(len(weight))
        if "weight_unseen" in self.report:
            unseen = np.asarray(self.report["weight_unseen"], dtype=np.float64)
            shown, largest = (unseen > 0.0) & named, max(largest, unseen.max())
            left = np.where(unseen < 0.5, unseen, 0.0)  # reasons stand beside the diamonds
            self.unseen_ = draw_points(
                ax, unseen[shown], heights[shown], False, VERMILION, marker="D", clip_on=False,
                label="weight for a task never seen",
            )  # fmt: skip
            handles = [self.unseen_] if shown.any() else []
        ax.set_xlim(0.0, 1.04 * largest)
        self._draw_reasons(ax, (weight == 0.0) & named, left)
        finish(ax, handles, xlabel=_WEIGHTS)

    def _draw_reasons(self, ax, unused, left):
        """Write why members have no weight, to the right of `left`."""
        rows, status = np.flatnonzero(unused), self._members.status
        left = np.broadcast_to(left, len(unused))
        draw_remarks(ax, [Label(status[row], left[row]) for row in rows], self._lines[0][rows])

    # ------------------------------------------------------------------- by number of labelled rows

    def _draw_by_size(self, has_errors, has_weights):
        """Draw errors and weights against the number of labelled rows of a task."""
        colors, named = self._choose_colors()
        handles = self._legend_handles(colors, named)
        for axes in self.axes_:
            is_errors = has_errors and axes is self.ax_
            if is_errors:
                self._draw_curves(axes, colors)
            elif has_weights:
                self._draw_stacks(axes, colors)
            style_axes(axes, "y")
            finish(
                axes,
                handles if axes is self.ax_ else [],
                xlabel="labelled rows of the task",
                ylabel=self._errors_label() if is_errors else _WEIGHTS,
            )
            label_sizes(axes, self._members.sizes)

    def _choose_colors(self):
        """Return the colours of the members, and which have one of their own.

        These are the first one and, if they are many, those with the largest weights.
        """
        weight, ax = self._members.weight, self.ax_
        named = np.ones(len(weight), dtype=bool)
        if len(weight) > _NAMED:
            rank = np.argsort(np.argsort(-weight.sum(axis=1), kind="stable"), kind="stable")
            named = rank < _NAMED - 1
            named[0] = True
        own = iter(palette(ax, int(named.sum()) - 1))
        colors = [next(own) if is_named else ink(ax, 0.2) for is_named in named[1:]]
        return [GREY, *colors], named

    def _draw_curves(self, ax, colors):
        """Draw the error that each member removes, filled where the member is used."""
        members = self._members
        gain, sizes = members.gain, members.sizes
        self.zero_line_ = draw_reference(ax, "y", color=GREY, linewidth=1.2)
        for m, color in enumerate(colors):
            inside, beyond = gain[m] >= LEFT_LIMIT, gain[m] < LEFT_LIMIT
            if m:
                ax.plot(sizes, gain[m], color=color, zorder=3, **line_style())
            points = draw_points(
                ax, sizes[inside], gain[m, inside], members.weight[m, inside] > 0.0, color,
                n_points=len(sizes),
            )  # fmt: skip
            self.errors_.append(points)
            area = point_area(len(sizes), "v")
            edge = np.full(beyond.sum(), LEFT_LIMIT)
            ax.scatter(sizes[beyond], edge, s=area, marker="v", color=color, zorder=4)
        ax.set_ylim(gain_limits(gain, (gain < LEFT_LIMIT).any()))
        ax.yaxis.set_major_formatter(format_percent)

    def _draw_stacks(self, ax, colors):
        """Draw a stack of the weights at each number of rows, the first member at the bottom."""
        weight, sizes = self._members.weight, self._members.sizes
        reach = np.exp(0.4 * np.diff(np.log(sizes)).min())
        left, top = sizes / reach, np.cumsum(weight, axis=0)
        for m, color in enumerate(colors):
            if len(sizes) > _MOST_BARS:
                area = ax.fill_between(sizes, top[m] - weight[m], top[m], color=color, linewidth=0)
                self.weights_.append(area)
                continue
            bars = ax.bar(
                left, weight[m], sizes * reach - left, top[m] - weight[m], align="edge",
                color=color,
            )  # fmt: skip
            self.weights_.append(bars)
        ax.set_ylim(0.0, 1.02 * max(1.0, top[-1].max()))

    def _legend_handles(self, colors, named):
        """Return points with the names of the members, and the reasons of those without weight."""
        members, ax, handles = self._members, self.ax_, []
        used, width = members.weight.any(axis=1), measure(ax)[0]
        for m in np.flatnonzero(named):
            label = fit_name(members.names[m], "legend.fontsize", width)
            if not used[m] and members.status[m]:
                label += f": {shorten(members.status[m], _LONGEST)}"
            handles.append(draw_points(ax, [], [], used[m], colors[m], label=label))
        if not named.all():
            label = f"{np.sum(~named):,} more"
            handles.append(draw_points(ax, [], [], True, ink(ax, 0.2), label=label))
        return handles


def _by_size(member, n_rows):
    """Return the names, the numbers of rows, and the entries of each name by number of rows."""
    if not (np.isfinite(n_rows) & (n_rows > 0.0)).all():
        raise ValueError("report has 'n_rows' that are not positive numbers.")
    names, sizes = list(dict.fromkeys(member)), np.unique(n_rows)
    place = np.array([names.index(name) for name in member])
    order = np.lexsort((n_rows, place))
    wanted = np.repeat(np.arange(len(names)), len(sizes)), np.tile(sizes, len(names))
    if not all(np.array_equal(a[order], b) for a, b in zip((place, n_rows), wanted, strict=True)):
        raise ValueError("report must have every member once for every number in 'n_rows'.")
    return names, sizes, order
