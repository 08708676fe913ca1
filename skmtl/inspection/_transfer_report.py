"""Which source helps a target, how much, and what the model uses of it."""

import numpy as np

from .common import BLUE, VERMILION, find_model, import_pyplot, line_heights, shorten

__all__ = ["TransferReportDisplay"]

_REQUIRED = ("source", "n_samples", "weight")
_JUDGED = ("error", "error_independent", "standard_error")
_LEFT_LIMIT = -100.0  # percent; a loss beyond it becomes an arrow, so that it hides nobody else
_SMALLEST = 0.02  # of the longest line: with smaller weights than this their axis is logarithmic
_FARTHEST = 1e-6  # the logarithmic axis reaches no lower; what is below stands at its edge
_JUDGES = (
    "adaptation='auto', with two target rows or more (of a classifier: of two classes), judges "
    "each source"
)


class TransferReportDisplay:
    """Which source helps a target, how much, and what the model uses of it.

    A line a source, the best one at the top. On the left, what it does to the target's
    cross-validated error when it is the only source: the share of the error of the target's rows
    alone (squared, or log-loss) that it removes, with a bar of one standard error to either side.
    Right of zero it helps, left of it it harms. On the right, the weight that a row of it was given
    in the fitted model, beside 1 for a row of the target; rings are sources without weight. With
    more than `max_sources` the first and the last ones are named and all others stand between them
    in a narrow band.

    Of adaptations that do not judge single sources, but weigh them differently, such as "kmm" and
    "tradaboost", only the weights are drawn, the largest at the top.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    report : dict of arrays of shape (n_sources,)
        The ``transfer_report_`` of a fitted `TransferEstimator`, or a dict like it: "source"
        (labels), "n_samples", "weight", and where sources were judged "error",
        "error_independent" and "standard_error".

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of one or two
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    order_ : ndarray of shape (n_sources,)
        The sources' places in the report, from the top of the picture to its bottom.
    gains_ : matplotlib PathCollection or None
        The points of the error removed, in percent, of the sources that have a line of their own;
        None where there are only weights.
    error_bars_ : matplotlib LineCollection or None
        One standard error to either side of them.
    weights_ : matplotlib PathCollection or None
        The points of the weights; None where a single `ax` has the gains, and weights are text.
    others_ : list of matplotlib PathCollection
        The points of the sources in the band, one collection a part; empty without a band.
    zero_line_ : matplotlib Line2D or None
        The line of the target alone.

    Raises
    ------
    ValueError
        If `report` has no source, lacks a key, or has neither errors nor weights that differ; if
        lengths don't match, or a weight is negative or not finite.

    See Also
    --------
    skmtl.adaptation.Auto : The adaptation that judges each source.
    TaskReportDisplay : What each of many tasks gains by sharing.

    Notes
    -----
    The errors have also done the choosing, and each source is shown at the best of several weights,
    so they are optimistic: of many useless sources some stand right of zero by luck, and these are
    at the top. A point less than two standard errors from zero says little, and few target rows
    judge. Measure the whole model by cross-validation around the `TransferEstimator`. The bar is
    the standard error of the difference of the errors, as a share of the target's own error.

    A source that helps alone may get little weight, where a better one teaches the same. Weights
    are those of a row: 1000 rows at 0.05 count as much as 50 rows of the target. Their axis is
    logarithmic where some are very small. A loss of more than 100 % becomes an arrow.

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

    def __init__(self, report):
        missing = [key for key in _REQUIRED if key not in report]
        if "error_independent" in report:
            missing += [key for key in _JUDGED if key not in report]
        if missing:
            raise ValueError(f"report lacks {missing}; give a transfer_report_ or a dict like it.")
        self.report = report
        self._check()

    def _check(self):
        """Raise a ValueError unless there is something to draw."""
        n_sources = len(self.report["source"])
        if not n_sources:
            raise ValueError(
                "report has no source: the estimator was fitted with source=None; give it a Source."
            )
        for key in (*_REQUIRED, *(_JUDGED if self._judged else ())):
            if len(self.report[key]) != n_sources:
                raise ValueError(
                    f"report has {len(self.report[key])} entries of {key!r}, but {n_sources} "
                    "sources; give one entry a source."
                )
        weight = self._column("weight")
        bad = np.flatnonzero(~np.isfinite(weight) | (weight < 0.0))
        if len(bad):
            raise ValueError(
                f"report has the weight {weight[bad[0]]} for source "
                f"'{self.report['source'][bad[0]]}'; weights must be finite numbers from 0 on."
            )
        if not self._judged and np.ptp(weight) <= 1e-9 * weight.max():
            raise ValueError(
                "report has no error of single sources, and "
                + ("one source only" if n_sources == 1 else "the same weight for all of them")
                + f" ({weight[0]:.3g}): there is nothing to compare. {_JUDGES}."
            )

    @property
    def _judged(self):
        return "error_independent" in self.report

    def _column(self, key):
        return np.asarray(self.report[key], dtype=np.float64)

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, max_sources=40, name=None):
        """Draw the ``transfer_report_`` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `TransferEstimator`, or a Pipeline or a GridSearchCV that ends in one.
        ax : matplotlib Axes or array-like of two Axes, default=None
            As in :meth:`plot`.
        max_sources : int, default=40
            How many sources get a line of their own; at least 2.
        name : str, default=None
            What one source is called, such as "plant". If None, "source".

        Returns
        -------
        display : :class:`TransferReportDisplay`

        Raises
        ------
        TypeError
            If there is no ``transfer_report_`` to be found.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As the class and :meth:`plot`.
        """
        found = find_model(estimator, "transfer_report_", cls.__name__, "TransferEstimators")
        return cls(found.model.transfer_report_).plot(ax=ax, max_sources=max_sources, name=name)

    def plot(self, *, ax=None, max_sources=40, name=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of two Axes, default=None
            A single one gets the errors, and the weights as numbers beside them. If None, a new
            figure of a fitting height is made.
        max_sources : int, default=40
            How many sources get a line of their own; at least 2.
        name : str, default=None
            What one source is called, such as "plant". If None, "source".

        Returns
        -------
        display : :class:`TransferReportDisplay`

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `max_sources` is out of range, or more axes are given than there are parts.
        """
        plt = import_pyplot(type(self).__name__)
        if max_sources < 2:
            raise ValueError(f"max_sources={max_sources!r} must be at least 2.")
        name = "source" if name is None else str(name)
        key = self._column("error") if self._judged else -self._column("weight")
        order = np.argsort(key, kind="stable")  # NaN last
        heights, named, band = line_heights(len(order), max_sources)
        axes = self._find_axes(plt, ax, heights)
        self.axes_, self.ax_, self.figure_ = axes, axes[0], axes[0].figure
        self.order_, self.others_ = order, []
        self.gains_ = self.error_bars_ = self.weights_ = self.zero_line_ = None
        lines = order, heights, named
        if self._judged:
            self._draw_gains(axes[0], *lines)
        if len(axes) == 2 or not self._judged:
            self._draw_weights(axes[-1], *lines)
        self._draw_labels(order[named], heights[named], name)
        for one in axes:
            self._draw_frame(one, heights, band)
        if band is not None:
            self._name_band(len(order) - int(named.sum()), band)
        return self

    def _find_axes(self, plt, ax, heights):
        """The axes to draw on, of one part or of two."""
        n_parts = 2 if self._judged else 1
        if ax is None:
            size = (8.4 if n_parts == 2 else 6.4), 1.7 + 0.235 * (heights[-1] + 1)
            ratios = [3, 1.3][:n_parts]
            _, ax = plt.subplots(1, n_parts, figsize=size, width_ratios=ratios,
                                 layout="constrained")  # fmt: skip
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if not 1 <= len(axes) <= n_parts:
            why = "there are only weights to draw" if n_parts == 1 else "or one"
            raise ValueError(f"ax has {len(axes)} axes; give {n_parts}, {why}.")
        return axes

    # -------------------------------------------------------------------------- the parts

    def _gains(self):
        """Percent of the target's own error that each source removes, and its standard error."""
        error, alone, spread = (self._column(key) for key in _JUDGED)
        # Where the target alone makes no error there is none to remove, only some to be added.
        none = alone == 0.0
        scale = np.where(none, 1.0, alone)
        gain = 100.0 * np.where(none, np.where(error > 0.0, -np.inf, 0.0), (alone - error) / scale)
        return gain, np.where(none, 0.0, 100.0 * spread / scale)

    def _draw_gains(self, ax, order, heights, named):
        """The error removed by each source: points, bars, arrows where a loss is too large."""
        gain, spread = (values[order] for values in self._gains())
        used = self._column("weight")[order] > 0.0
        inside = ~(gain < _LEFT_LIMIT)
        self.zero_line_ = ax.axvline(0, color="0.25", linewidth=1, zorder=2)
        drawn = named & inside
        self.error_bars_ = ax.hlines(
            heights[drawn], (gain - spread)[drawn], (gain + spread)[drawn], color=BLUE, alpha=0.45,
            linewidth=2.2, zorder=3, label="± one standard error",
        )  # fmt: skip
        self.gains_ = ax.scatter(
            gain[drawn], heights[drawn], s=46, marker="o", facecolors=_faces(used[drawn]),
            edgecolors=BLUE, linewidths=1.2, zorder=4,
        )  # fmt: skip
        if not named.all():
            cloud = np.maximum(gain, _LEFT_LIMIT)[~named]
            self.others_.append(ax.scatter(cloud, heights[~named], **_cloud(used[~named])))
        self._draw_arrows(ax, gain[named & ~inside], heights[named & ~inside])
        shown = np.concatenate([(gain - spread)[drawn], (gain + spread)[drawn], gain[~named]])
        shown = shown[np.isfinite(shown)]
        low, high = shown.min(initial=-1.0), shown.max(initial=1.0)
        low = _LEFT_LIMIT if not inside.all() else max(low, _LEFT_LIMIT)
        high = min(high, 100.0)  # bars may reach beyond it, errors can't be less than none
        pad = 0.06 * (high - low)
        ax.set_xlim(low - pad, high + pad)
        ax.set_xlabel("the target's error that is removed, %\n(0: the target's rows alone)")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")

    def _draw_arrows(self, ax, gains, heights):
        """An arrow at the left edge, with its figure, for a loss that leaves the picture."""
        edge = np.full(len(gains), _LEFT_LIMIT)
        ax.scatter(edge, heights, s=34, marker="<", c=VERMILION, zorder=4)
        for gain, height in zip(gains, heights, strict=True):
            ax.annotate(
                f"{gain:.0f}" if gain > -9999.5 else "< -9999", (_LEFT_LIMIT, height),
                xytext=(6, 0), textcoords="offset points", va="center", fontsize="x-small",
                color=VERMILION, zorder=3,
            )  # fmt: skip

    def _draw_weights(self, ax, order, heights, named):
        """The weight of a row of each source: lines from zero, or points on a logarithmic axis."""
        weight = self._column("weight")[order]
        top = max(1.0, weight.max())
        floor = max(weight[weight > 0.0].min(initial=1.0), _FARTHEST * top)
        logarithmic = floor < _SMALLEST * top
        left = 0.0
        if logarithmic:
            ax.set_xscale("log")
            left = floor / 3.0
            ax.set_xlim(left / 1.6, top * 1.6)
        else:
            ax.hlines(heights[named], 0.0, weight[named], color=BLUE, alpha=0.45, linewidth=2.2,
                      zorder=3)  # fmt: skip
            ax.set_xlim(-0.05 * top, 1.08 * top)
        at = np.where(weight < floor, left, weight)
        used = weight > 0.0
        self.weights_ = ax.scatter(
            at[named], heights[named], s=46, marker="o", facecolors=_faces(used[named]),
            edgecolors=BLUE, linewidths=1.2, zorder=4, clip_on=False,
        )  # fmt: skip
        if not named.all():
            self.others_.append(ax.scatter(at[~named], heights[~named], **_cloud(used[~named])))
        ax.axvline(1.0, color="0.25", linewidth=1, linestyle=(0, (4, 3)), zorder=2)
        ax.set_xlabel("weight of a row\n(1: a target row)")

    # -------------------------------------------------------------------------- what is around

    def _draw_labels(self, rows, heights, name):
        """Names and numbers of rows on the left, weights as numbers on the right, and a legend."""
        n_samples, weight = np.asarray(self.report["n_samples"]), self._column("weight")
        labels = [
            f"{shorten(self.report['source'][row])} ({int(n_samples[row]):,})" for row in rows
        ]
        self.ax_.set_yticks(heights, labels)
        beside = {"textcoords": "offset points", "fontsize": "small", "color": "0.4"}
        last = self.axes_[-1]
        for row, height in zip(rows, heights, strict=True):
            last.annotate(
                f"{weight[row]:.2g}", (1, height), xytext=(8, 0), va="center",
                xycoords=("axes fraction", "data"), **beside,
            )  # fmt: skip
        corner = {"xycoords": "axes fraction", **beside}
        last.annotate("weight", (1, 1), xytext=(8, 4), **corner)
        self.ax_.annotate(f"{name} (rows)", (0, 1), xytext=(-4, 4), ha="right", **corner)
        if self._judged:
            self._draw_legend(name, (weight == 0.0).any())

    def _draw_legend(self, name, rings):
        """What points, bars and, where there are any, rings are."""
        point = {"s": 46, "edgecolors": BLUE, "linewidths": 1.2}
        alone = f"this {name} alone, at its best weight"
        handles = [
            self.ax_.scatter([], [], facecolors=BLUE, label=alone, **point), self.error_bars_,
        ]  # fmt: skip
        if rings:
            unused = "the same, but not used: its weight is 0"
            handles.append(self.ax_.scatter([], [], facecolors="white", label=unused, **point))
        self.ax_.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0, 1), frameon=False,
            fontsize="small", borderaxespad=0.1, handletextpad=0.4,
        )  # fmt: skip

    def _draw_frame(self, ax, heights, band):
        """Limits, grid and spines of one part."""
        if ax is not self.ax_:
            ax.set_yticks([])
        ax.set_ylim(heights[-1] + 0.8, -0.8)
        ax.grid(axis="x", color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        if band is not None:
            ax.axhspan(*band, color="0.95", zorder=0, linewidth=0)

    def _name_band(self, n_others, band):
        self.ax_.annotate(
            f"{n_others:,} more,\nin the same order", (0, sum(band) / 2),
            xycoords=("axes fraction", "data"), xytext=(-8, 0), textcoords="offset points",
            ha="right", va="center", style="italic", color="0.4",
        )  # fmt: skip


def _faces(used):
    """Points of sources that the model uses are filled."""
    return np.where(used, BLUE, "white")


def _cloud(used):
    """How the points in the band look: those of unused sources are grey, as rings would blur."""
    return {"s": 6, "c": np.where(used, BLUE, "0.6"), "linewidths": 0, "zorder": 2.5}
