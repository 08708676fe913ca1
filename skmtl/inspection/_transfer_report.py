"""Display of how much each source helps a target, and of the weights in the model."""

from typing import Any, Self

import numpy as np

from ._drawing import (
    BLUE,
    GREY,
    LEFT_LIMIT,
    Axes,
    count_lines,
    draw_band,
    draw_loss_arrows,
    draw_points,
    draw_reference,
    draw_right_columns,
    figure_size,
    finish,
    fit_names,
    font_points,
    format_percent,
    format_weight,
    gain_limits,
    ink,
    line_heights,
    lines_points,
    most_lines,
    open_parts,
    point_area,
    style_lines,
)
from .common import check_columns, error_removed, find_model

__all__ = ["TransferReportDisplay"]

_REQUIRED = ("source", "n_samples", "weight")
_EVALUATED = ("error", "error_independent", "standard_error")
_SMALLEST = 0.02  # share of the largest weight: with a smaller one, the axis is logarithmic
_FARTHEST = 1e-6  # share of the largest weight at which the logarithmic axis begins
_GAIN = "gain by this {name}: error removed, %\n(0: the target's rows alone)"
_WEIGHT = "weight of a row\n(1: a target row)"
_LINE = {"color": BLUE, "alpha": 0.45, "linewidth": 2.2, "zorder": 3}


class TransferReportDisplay:
    """How much each source helps a target, and the weight it has in the model.

    There is one line per source, the best one at the top. On the left is the change in the target's
    cross-validated error when that source is the only one: the share of the error (squared error,
    or log-loss) of a model of the target's rows alone that it removes, with a bar of one standard
    error to each side. To the right of zero the source helps, to the left it harms. On the right is
    the weight that the fitted model gives to each of its rows, where a row of the target has weight
    1; rings are sources of weight zero. With more than `max_sources` sources, the first and the
    last ones are named, half of `max_sources` in total, and all others are drawn between them in a
    narrow band.

    Adaptations that do not evaluate each source by itself, such as "kmm" and "tradaboost", have
    weights only, which are drawn with the largest at the top.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    report : dict of arrays of shape (n_sources,)
        The ``transfer_report_`` of a fitted `TransferEstimator`, or a dict like it: "source"
        (labels), "n_samples", "weight", and if each source was evaluated "error",
        "error_independent" and "standard_error".

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_parts,)
        One or two axes, from the left.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    order_ : ndarray of shape (n_sources,)
        Indices of the sources in the report, from the top of the figure to its bottom.
    gains_ : matplotlib PathCollection or None
        Points of the error removed, in percent, of the sources that have a line of their own;
        None if only weights are drawn.
    error_bars_ : matplotlib LineCollection or None
        One standard error to each side of these points.
    weights_ : matplotlib PathCollection or None
        Points of the weights; None if a single `ax` has the gains, with the weights as text.
    others_ : list of matplotlib PathCollection
        Points of the sources in the band, one collection per part; empty without a band.
    zero_line_ : matplotlib Line2D or None
        Line of the error of the target's rows alone.

    Raises
    ------
    ValueError
        If `report` has no source, lacks a key, or has neither errors nor weights that differ; if
        lengths don't match, or a weight is negative or not finite.

    See Also
    --------
    skmtl.adaptation.Auto : The adaptation that evaluates each source.
    TaskReportDisplay : What each of many tasks gains by sharing.

    Notes
    -----
    The errors were also used to choose the sources, and each source is shown at the best of several
    weights, so the gains are optimistic: of many useless sources, some are right of zero by chance,
    and these come first. A point within two standard errors of zero is not significant, and the
    errors are measured on few target rows. Evaluate the whole model by cross-validation of the
    `TransferEstimator`. The bar is the standard error of the difference of the errors, as a share
    of the error of the target's rows alone.

    A source that helps by itself may have a small weight if a better one adds the same information.
    Weights are per row: 1000 rows with weight 0.05 count as much as 50 rows of the target. Their
    axis is logarithmic if some are very small. A loss of more than 100 % becomes an arrow.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.inspection import TransferReportDisplay
    >>> rng = np.random.default_rng(0)
    >>> coef, X, X_target = rng.normal(size=8), rng.normal(size=(300, 8)), rng.normal(size=(15, 8))
    >>> slopes = np.repeat([coef, coef + 0.3 * rng.normal(size=8), -coef], 100, axis=0)
    >>> y = (X * slopes).sum(axis=1) + rng.normal(size=300)
    >>> source = Source(X, y, np.repeat(["alike", "similar", "opposite"], 100))
    >>> model = TransferEstimator(Ridge(), source=source)
    >>> model = model.fit(X_target, X_target @ coef + rng.normal(size=15))
    >>> display = TransferReportDisplay.from_estimator(model)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['alike (100)', 'similar (100)', 'opposite (100)']
    """

    def __init__(self, report: dict[str, Any]) -> None:
        missing = [key for key in _REQUIRED if key not in report]
        if "error_independent" in report:
            missing += [key for key in _EVALUATED if key not in report]
        if missing:
            raise ValueError(f"report lacks {missing}; give a transfer_report_ or a dict like it.")
        self.report = report
        n_sources = len(self.report["source"])
        if not n_sources:
            raise ValueError(
                "report has no source: the estimator was fitted with source=None; give it a Source."
            )
        check_columns(self.report, (*_REQUIRED, *(_EVALUATED if self._is_evaluated else ())))
        weight = self._column("weight")
        if not self._is_evaluated and np.ptp(weight) <= 1e-9 * weight.max():
            raise ValueError(
                "report has no error of single sources, and "
                + ("only one source" if n_sources == 1 else "the same weight for all of them")
                + f" ({weight[0]:.3g}): there is nothing to compare. adaptation='auto' evaluates "
                "each source, given at least two target rows (for a classifier, of two classes)."
            )

    @property
    def _is_evaluated(self):
        return "error_independent" in self.report

    def _column(self, key):
        return np.asarray(self.report[key], dtype=np.float64)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes = None, max_sources: int = 40, name: str | None = None
    ) -> Self:
        """Draw the ``transfer_report_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `TransferEstimator`, or a Pipeline or a GridSearchCV that ends in one.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on, as in :meth:`plot`.
        max_sources : int, default=40
            Number of sources up to which each has a line of its own; at least 2. It is smaller on
            given axes that have no room for as many lines.
        name : str, default=None
            Noun for one source, such as "plant". If None, "source".

        Returns
        -------
        display : :class:`TransferReportDisplay`
            The display, drawn.

        Raises
        ------
        TypeError
            If no step of the estimator has a ``transfer_report_``.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            For the same reasons as in the class and in :meth:`plot`.
        """
        found = find_model(estimator, "transfer_report_", cls.__name__, "TransferEstimators")
        return cls(found.model.transfer_report_).plot(ax=ax, max_sources=max_sources, name=name)

    def plot(self, *, ax: Axes = None, max_sources: int = 40, name: str | None = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of two Axes, default=None
            Axes to draw on. A single one has the errors, and the weights as numbers beside them. If
            None, a new figure of a suitable height is made.
        max_sources : int, default=40
            Number of sources up to which each has a line of its own; at least 2. It is smaller on
            given axes that have no room for as many lines.
        name : str, default=None
            Noun for one source, such as "plant". If None, "source".

        Returns
        -------
        display : :class:`TransferReportDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `max_sources` is out of range, or more axes are given than there are parts.
        """
        if max_sources < 2:
            raise ValueError(f"max_sources={max_sources!r} must be at least 2.")
        name = "source" if name is None else str(name)
        key = self._column("error") if self._is_evaluated else -self._column("weight")
        order = np.argsort(key, kind="stable")  # NaN last
        heights, named, band = line_heights(len(order), max_sources)
        n_parts, xlabel = (2, _GAIN) if self._is_evaluated else (1, _WEIGHT)
        xlabel = xlabel.format(name=name)
        self.axes_ = open_parts(
            type(self).__name__, ax, n_parts, width_ratios=[3, 1.3][:n_parts],
            size=lambda: self._figure_size(n_parts, heights[-1], xlabel),
        )  # fmt: skip
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        if ax is not None:
            room = max(4, int(most_lines(self.ax_, 3, xlabel)))
            heights, named, band = line_heights(len(order), min(max_sources, room + 1))
        self.order_ = order
        self.others_: list[Any] = []
        self.gains_ = self.error_bars_ = self.weights_ = self.zero_line_ = None
        for axes in self.axes_:
            if axes is not self.ax_:
                axes.set_yticks([])
            style_lines(axes, heights[-1])
        self._draw_labels(order[named], heights[named], name)
        if band is not None:
            draw_band(self.axes_, int(np.sum(~named)), band)
        if self._is_evaluated:
            self._draw_gains(self.ax_, heights, named, name)
        if len(self.axes_) == 2 or not self._is_evaluated:
            self._draw_weights(self.axes_[-1], heights, named)
        return self

    def _figure_size(self, n_parts, bottom, label):
        width = 1.4 if n_parts == 2 else 1.0
        n_label = count_lines(label, 72.0 * figure_size(0.55)[0])
        return figure_size(width, points=lines_points(bottom, 3, n_label))

    # -------------------------------------------------------------------------- parts

    def _gains(self):
        """Return the percentage of error that each source removes, and its standard error."""
        error, alone, standard_error = (self._column(key) for key in _EVALUATED)
        gain = error_removed(error, alone)
        none = alone == 0.0
        return gain, np.where(none, 0.0, 100.0 * standard_error / np.where(none, 1.0, alone))

    def _draw_points(self, ax, values, heights, drawn, **style):
        """Draw some points, filled if the model uses their source and else as rings."""
        used = self._column("weight")[self.order_] > 0.0
        return draw_points(ax, values[drawn], heights[drawn], used[drawn], **style)

    def _draw_cloud(self, ax, values, heights, named):
        """Draw the points in the band; those of unused sources are grey, as rings would blur."""
        if not named.all():
            color = np.where(self._column("weight")[self.order_] > 0.0, BLUE, GREY)
            self.others_.append(
                ax.scatter(
                    values[~named], heights[~named], s=point_area(int(np.sum(~named))),
                    c=color[~named], linewidths=0, zorder=2.5,
                )
            )  # fmt: skip

    def _draw_gains(self, ax, heights, named, name):
        """Draw the error removed by each source: points, bars, and arrows for large losses."""
        gain, standard_error = (values[self.order_] for values in self._gains())
        inside = ~(gain < LEFT_LIMIT)
        self.zero_line_ = draw_reference(ax)
        drawn = named & inside
        low, high = (gain - standard_error)[drawn], (gain + standard_error)[drawn]
        self.error_bars_ = ax.hlines(heights[drawn], low, high, label="± one standard error",
                                     **_LINE)  # fmt: skip
        self.gains_ = self._draw_points(ax, gain, heights, drawn)
        self._draw_cloud(ax, np.maximum(gain, LEFT_LIMIT), heights, named)
        beyond = named & ~inside
        draw_loss_arrows(ax, gain[beyond], heights[beyond])
        shown = np.concatenate([low, high, gain[~named]])
        ax.set_xlim(gain_limits(shown, not inside.all()))
        ax.xaxis.set_major_formatter(format_percent)
        finish(
            ax,
            self._legend_handles(name),
            xlabel=_GAIN.format(name=name),
            lift=6.0 + 1.2 * font_points("small"),  # the title of the names
        )

    def _draw_weights(self, ax, heights, named):
        """Draw the weight per row of each source: lines from zero, or points on a log axis."""
        weight = self._column("weight")[self.order_]
        largest = max(1.0, weight.max())
        floor = max(weight[weight > 0.0].min(initial=1.0), _FARTHEST * largest)
        left = 0.0
        if floor < _SMALLEST * largest:
            ax.set_xscale("log")
            left = floor / 3.0
            ax.set_xlim(left / 1.6, largest * 1.6)
        else:
            ax.hlines(heights[named], 0.0, weight[named], **_LINE)
            ax.set_xlim(-0.05 * largest, 1.08 * largest)
        values = np.where(weight < floor, left, weight)
        self.weights_ = self._draw_points(ax, values, heights, named, clip_on=False)
        self._draw_cloud(ax, values, heights, named)
        draw_reference(ax, at=1.0, linestyle=(0, (4, 3)))
        finish(ax, xlabel=_WEIGHT)

    # -------------------------------------------------------------------------- frame

    def _draw_labels(self, rows, heights, name):
        """Write names and numbers of rows on the left, weights on the right."""
        n_samples, weight = np.asarray(self.report["n_samples"]), self._column("weight")
        names = fit_names(self.ax_, [self.report["source"][row] for row in rows])
        labels = [
            f"{text} ({int(n_samples[row]):,})" for text, row in zip(names, rows, strict=True)
        ]
        self.ax_.set_yticks(heights, labels, parse_math=False)
        weights = [format_weight(weight[row]) for row in rows]
        draw_right_columns(self.axes_[-1], [("weight", weights, heights)])
        self.ax_.annotate(
            f"{name} (rows)", (0, 1), xytext=(-4, 4), xycoords="axes fraction", ha="right",
            textcoords="offset points", fontsize="small", color=ink(self.ax_, 0.6),
        )  # fmt: skip

    def _legend_handles(self, name):
        alone = f"this {name} alone, at its best weight"
        handles = [draw_points(self.ax_, [], [], True, label=alone), self.error_bars_]
        if (self._column("weight") == 0.0).any():
            unused = "the same, but not used: its weight is 0"
            handles.append(draw_points(self.ax_, [], [], False, label=unused))
        return handles
