"""The style that all displays share: sizes, colours, points, names, legends and labels.

Sizes follow matplotlib's rcParams: ``figure.figsize``, the font sizes, ``lines.linewidth`` and
``lines.markersize``. Greys are mixtures of the colour of text and the background, so that every
style sheet has legible ones. On axes of the caller as many names are written as there is room for.
"""

import re
import textwrap
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .common import shorten

__all__ = [
    "BLUE",
    "GREY",
    "LEFT_LIMIT",
    "VERMILION",
    "Axes",
    "Label",
    "band_height",
    "count_lines",
    "draw_band",
    "draw_loss_arrows",
    "draw_points",
    "draw_range",
    "draw_reference",
    "draw_remarks",
    "draw_right_columns",
    "figure_size",
    "finish",
    "fit_name",
    "fit_names",
    "font_points",
    "format_percent",
    "format_weight",
    "gain_limits",
    "ink",
    "label_numbers",
    "label_sizes",
    "line_heights",
    "line_style",
    "lines_points",
    "literal",
    "measure",
    "most_lines",
    "on_paper",
    "open_axes",
    "open_one_axes",
    "open_parts",
    "palette",
    "paper",
    "point_area",
    "style_axes",
    "style_lines",
    "text_width",
]

Axes: TypeAlias = Any  # of matplotlib, which is imported only when something is drawn

# Of the colours of Okabe and Ito, distinguishable with colour blindness and in greyscale: the
# fitted model is blue, a model of one task alone (or what does harm) vermilion, and what is the
# same for all tasks grey.
BLUE, VERMILION, GREY = "#0072b2", "#d55e00", "#888888"
LEFT_LIMIT = -100.0  # percent; a larger loss becomes an arrow, to leave room for the others
_LINE_STEP = 1.5  # height of a line with a name, in font sizes
_LEAST_STEP = 1.25  # the same where the height is given
_SINGLE_POINTS = 30  # with more of them, points shrink
_AREAS = {"o": 1.28, "D": 0.72, "<": 0.95, "v": 0.95}  # in squares of lines.markersize
_SMALL = {"fontsize": "small"}


class Label(NamedTuple):
    """A text that begins at a point, and is as wide as the space beside it permits."""

    text: str
    x: float
    short: str = ""  # text for less space


# ---------------------------------------------------------------------------- sizes of texts


def font_points(size):
    """Return a font size in points; `size` is a key of rcParams, a word or a number."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=rcParams.get(size, size)).get_size_in_points()


def text_width(text, size):
    """Return the width of the longest line of `text` in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=font_points(size))
    return max(
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in str(text).split("\n")
    )


def fit_name(name, size, width, most=28):
    """Cut `name` in its middle to `most` letters, or fewer if these are wider than `width`."""
    text = shorten(name, most)
    wide = text_width(text, size)
    return text if wide <= width else shorten(name, max(5, int(len(text) * width / wide)))


def fit_names(ax, names, most=28):
    """Cut names that stand beside `ax` to half of the width that they and `ax` have together."""
    return [fit_name(name, "ytick.labelsize", 0.5 * _cell(ax)[0], most) for name in names]


def count_lines(text, width):
    """Return the number of lines of the label of an axis that has `width` points."""
    return 1 + _wrap(text, "axes.labelsize", width).count("\n")


def _wrap(text, size, width):
    """Break the lines of `text` that are wider than `width` points."""
    lines = []
    for line in text.split("\n"):
        wide = text_width(line, size) if line else 0.0
        if wide > width:
            lines += textwrap.wrap(line, max(8, int(len(line) * width / wide)))
        else:
            lines.append(line)
    return "\n".join(lines)


def literal(texts):
    """Show dollar signs as they are, not as formulas."""
    for text in texts:
        text.set_parse_math(False)


# ----------------------------------------------------------------------------------- figures


def open_axes(display, ax, n_rows=1, n_columns=1, size=None, **figure):
    """Return the axes to draw on, as an array of one dimension; import matplotlib only here.

    `ax` is one axes or an array-like of axes; None opens a new figure, described by `figure`.
    `size` is a function without arguments that returns its size, in inches.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as exc:
        raise ImportError(f"{display}.plot needs matplotlib: pip install skmtl[plot]") from exc
    if ax is None:
        figsize = None if size is None else size()
        _, ax = plt.subplots(n_rows, n_columns, layout="constrained", figsize=figsize, **figure)
    return np.atleast_1d(np.asarray(ax, dtype=object)).ravel()


def open_one_axes(display, ax, size=None):
    """Return the axes to draw on, of a display that draws on a single one."""
    axes = open_axes(display, ax, size=size)
    if len(axes) != 1:
        raise ValueError(f"ax has {len(axes)} axes; give one.")
    return axes[0]


def open_parts(display, ax, n_parts, size=None, why_one="there are only weights to draw", **figure):
    """Return the axes to draw on, of a display with one or two parts, of which one may be given."""
    axes = open_axes(display, ax, 1, n_parts, size, **figure)
    if not 1 <= len(axes) <= n_parts:
        why = why_one if n_parts == 1 else "or one"
        raise ValueError(f"ax has {len(axes)} axes; give {n_parts}, {why}.")
    return axes


def figure_size(width=1.0, height=1.0, *, points=None, n_legend=0):
    """Return a size in inches, in multiples of that of rcParams, or with a height in points.

    It grows with the number of lines of a legend.
    """
    from matplotlib import rcParams

    wide, high = rcParams["figure.figsize"]
    legend = 1.3 * max(0, n_legend - 3) * font_points("legend.fontsize") / 72.0
    return wide * width, legend + (high * height if points is None else points / 72.0)


def _frame_points(n_legend, n_label):
    """Return the height, in points, of a legend, tick labels and an axis label, by their lines."""
    legend = (1.3 * n_legend + 0.6) * font_points("legend.fontsize")
    label = 1.25 * n_label * font_points("axes.labelsize") + 6.0
    return legend + label + 1.2 * font_points("xtick.labelsize") + 16.0


def lines_points(bottom, n_legend, n_label):
    """Return the height in points of a figure with one line per name, the last at `bottom`."""
    step = _LINE_STEP * font_points("ytick.labelsize")
    return (bottom + 1.6) * step + _frame_points(n_legend, n_label)


def most_lines(ax, n_legend, label):
    """Return the height of the last line that given axes have room for, above this label."""
    width, height, is_laid_out = _cell(ax)
    if is_laid_out:
        height -= _frame_points(n_legend, count_lines(label, 0.9 * width))
    return height / (_LEAST_STEP * font_points("ytick.labelsize")) - 1.6


def _cell(ax):
    """Return width and height of `ax` in points, and whether that includes what is around them."""
    figure, spec = ax.figure, ax.get_subplotspec()
    width, height = figure.bbox.width, figure.bbox.height
    is_laid_out = figure.get_layout_engine() is not None and spec is not None
    if is_laid_out:
        place, bounds = spec.get_position(figure), figure.subplotpars
        width *= place.width / (bounds.right - bounds.left)
        height *= place.height / (bounds.top - bounds.bottom)
    else:
        width, height = ax.bbox.width, ax.bbox.height
    return width * 72 / figure.dpi, height * 72 / figure.dpi, is_laid_out


def measure(ax):
    """Return the width of `ax` itself, and what is to its left and to its right, in points."""
    box, around, figure = ax.bbox, ax.get_tightbbox(), ax.figure
    width, _, is_laid_out = _cell(ax)
    if is_laid_out and around is not None:
        left, right = (
            max(0.0, gap) * 72 / figure.dpi for gap in (box.x0 - around.x0, around.x1 - box.x1)
        )
        return max(20.0, width - left - right - 8.0), left, right
    margins = box.x0 - figure.bbox.x0, figure.bbox.x1 - box.x1
    return width, *(margin * 72 / figure.dpi for margin in margins)


# ------------------------------------------------------------------------------------ colours


def paper(ax):
    """Return the colour of the background of `ax`."""
    from matplotlib.colors import to_rgba

    color = np.ones(3)
    for part in (ax.figure.get_facecolor(), ax.get_facecolor()):
        *above, opacity = to_rgba(part)
        color = opacity * np.asarray(above) + (1.0 - opacity) * color
    return tuple(color.tolist())


def ink(ax, strength=1.0):
    """Return a colour between the background of `ax` (0) and the colour of text (1)."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    text, back = np.asarray(to_rgb(rcParams["text.color"])), np.asarray(paper(ax))
    return tuple((strength * text + (1.0 - strength) * back).tolist())


def palette(ax, n):
    """Return `n` colours, the first ones of Okabe and Ito's, for lines that have one each."""
    colors = [BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", ink(ax), "#b8a800"]
    return [colors[k % len(colors)] for k in range(n)]


# ------------------------------------------------------------------------- points, lines, axes


def point_area(n_points=1, marker="o"):
    """Return the area of points, which is smaller if there are many."""
    from matplotlib import rcParams

    share = np.clip(_SINGLE_POINTS / max(1, n_points), 0.1, 1.0)
    return float(_AREAS[marker] * rcParams["lines.markersize"] ** 2 * share)


def line_style(n_points=1, width=1.2):
    """Return widths of lines, and sizes of their points: none if these are many."""
    from matplotlib import rcParams

    is_many = n_points > _SINGLE_POINTS
    size, base = 0.0 if is_many else rcParams["lines.markersize"], rcParams["lines.linewidth"]
    return {"linewidth": width * base, "markersize": size, "markeredgewidth": 0.8 * base}


def draw_points(ax, x, y, filled, color=BLUE, *, marker="o", n_points=1, **style):
    """Draw points: those that are `filled`, a mask or True for all, and rings."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba, to_rgba_array

    filled = np.atleast_1d(filled)[:, None]
    faces = np.where(filled, to_rgba_array(color), to_rgba(paper(ax)))
    area, edges = point_area(n_points, marker), style.pop("edgecolors", color)
    width = 0.8 * rcParams["lines.linewidth"] * min(1.0, np.sqrt(_SINGLE_POINTS / max(1, n_points)))
    return ax.scatter(
        x, y, s=area, marker=marker, facecolors=faces, edgecolors=edges,
        **{"linewidths": width, "zorder": 4} | style,
    )  # fmt: skip


def draw_range(ax, x, quantiles, labels, color=BLUE):
    """Draw minimum, quartiles and maximum against `x` as two bands and a line; return the line.

    `labels` are those of the range, of the middle half and of the median.
    """
    low, first, median, third, high = quantiles
    band = {"color": color, "linewidth": 0}
    ax.fill_between(x, low, high, alpha=0.25, label=labels[0], **band)
    ax.fill_between(x, first, third, alpha=0.45, label=labels[1], **band)
    (line,) = ax.plot(x, median, color=color, label=labels[2], **line_style(width=1.3))
    return line


def draw_reference(ax, axis="x", at=0.0, **style):
    """Draw the line of what others are compared with."""
    draw = ax.axvline if axis == "x" else ax.axhline
    return draw(at, **{"color": ink(ax, 0.75), "linewidth": 1.0, "zorder": 2} | style)


def style_axes(ax, grid, hidden=("top", "right")):
    """Draw a faint grid of axis `grid` behind the data, without the spines at sides `hidden`."""
    from matplotlib import rcParams

    ax.grid(False, axis="y" if grid == "x" else "x")
    ax.grid(True, axis=grid, alpha=0.3 * rcParams["grid.alpha"])
    ax.set_axisbelow(True)
    for side in hidden:
        ax.spines[side].set_visible(False)


def style_lines(ax, bottom):
    """Style axes with one line per name, the first at height 0 and the last at `bottom`."""
    ax.set_ylim(bottom + 0.8, -0.8)
    ax.tick_params(axis="y", length=0)
    style_axes(ax, "x", ("top", "right", "left"))


def format_percent(value, _):
    """Format a tick label with its sign."""
    return f"{value:+.3g}" if value else "0"


def gain_limits(gains, has_arrows):
    """Return the limits of an axis of gains, given those drawn, and if there are arrows as well."""
    gains = gains[np.isfinite(gains)]
    low, high = gains.min(initial=-1.0), gains.max(initial=1.0)
    low = LEFT_LIMIT if has_arrows else max(low, LEFT_LIMIT)
    high = min(high, 100.0)  # a bar may extend further, but no error is below zero
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def label_numbers(ax, largest=1e4):
    """Give an axis of whole numbers as many labels as have room, with commas in thousands."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    letter = 0.6 * font_points("xtick.labelsize")
    n_labels = int(measure(ax)[0] / (letter * (2 + len(f"{largest:,.0f}"))))
    locator = MaxNLocator(int(np.clip(n_labels, 1, 9)), steps=[1, 2, 2.5, 5, 10], integer=True)
    ax.xaxis.set_major_locator(locator)
    if largest >= 1e3:
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def format_weight(weight):
    """Format a weight with two digits."""
    return f"{weight:,.0f}" if weight >= 99.5 else f"{weight:.2g}"


def label_sizes(ax, sizes):
    """Give a logarithmic axis of numbers of rows as many labels as have room, round ones first."""
    sizes = np.unique(np.asarray(sizes, dtype=np.float64))
    ax.set_xscale("log")
    ax.minorticks_off()
    texts = [f"{n:,.0f}" if n >= 1.0 else f"{n:.1g}" for n in sizes]
    place = np.log(sizes) * measure(ax)[0] / max(1e-9, 1.1 * np.ptp(np.log(sizes)))
    half = 0.33 * font_points("xtick.labelsize") * np.array([len(text) for text in texts]) + 3.0
    digit = sizes / 10.0 ** np.floor(np.log10(sizes) + 1e-9)
    is_end = np.isin(np.arange(len(sizes)), (0, len(sizes) - 1))
    rank = np.select([is_end, np.isclose(digit, 1), np.isclose(digit, 2) | np.isclose(digit, 5)],
                     [0, 1, 2], 3)  # fmt: skip
    kept = []
    for k in np.lexsort((np.arange(len(sizes)), rank)):
        if rank[k] == 3 and len(kept) >= 5:
            break
        if all(abs(place[k] - place[other]) >= half[k] + half[other] for other in kept):
            kept.append(k)
    kept.sort()
    ax.set_xticks(sizes[kept], [texts[k] for k in kept])


# ------------------------------------------------------------------------- one line per name


def line_heights(n_lines, most):
    """Arrange tasks or sources on lines, the first one at the top.

    Up to `most` of them get a line each. Of more, the first and the last ones do, half of `most` in
    total, and all others share a band between these, as smaller points without a name.

    Returns
    -------
    heights : ndarray of shape (n_lines,)
        Downwards from 0.
    named : ndarray of bool of shape (n_lines,)
        Which of them have a line.
    band : tuple of float or None
        Upper and lower end of the band.
    """
    if n_lines <= most:
        return np.arange(n_lines, dtype=float), np.ones(n_lines, dtype=bool), None
    n_named = max(2, most // 2)
    top = (n_named + 1) // 2
    bottom = n_named - top
    band = band_height(most)
    middle = top - 0.5 + band * (np.arange(n_lines - n_named) + 0.5) / (n_lines - n_named)
    last = top + band + np.arange(bottom)
    named = np.ones(n_lines, dtype=bool)
    named[top : n_lines - bottom] = False
    heights = np.concatenate([np.arange(top, dtype=float), middle, last])
    return heights, named, (top - 0.5, top - 0.5 + band)


def band_height(most):
    """Return the height of a band in a figure of `most` lines."""
    return float(np.clip(most / 4, 3.0, 10.0))


def draw_band(axes, n_points, band):
    """Shade a band of all `axes`, and write beside the first one how many points it holds."""
    for ax in axes:
        ax.axhspan(*band, color=ink(ax, 0.07), zorder=0, linewidth=0)
    axes[0].annotate(
        f"{n_points:,} more,\nin the same order", (0, sum(band) / 2),
        xycoords=("axes fraction", "data"), xytext=(-8, 0), textcoords="offset points",
        ha="right", va="center", style="italic", color=ink(axes[0], 0.6), **_SMALL,
    )  # fmt: skip


def draw_loss_arrows(ax, gains, heights, color=VERMILION, taken=None):
    """Draw an arrow at the left edge, labelled with its value, for each loss beyond the limit.

    `taken` has the points that are taken on a line, from earlier calls: another value stands beside
    the first one.
    """
    taken = {} if taken is None else taken
    first = np.array([round(height) not in taken for height in heights], dtype=bool)
    ax.scatter(
        np.full(first.sum(), LEFT_LIMIT), heights[first], s=point_area(marker="<"), marker="<",
        c=color, zorder=4,
    )  # fmt: skip
    for gain, height in zip(gains, heights, strict=True):
        text = f"{gain:.0f}" if gain > -9999.5 else "< -9999"
        offset = taken.get(round(height), 6.0)
        taken[round(height)] = offset + text_width(text, "small") + 6.0
        ax.annotate(
            text, (LEFT_LIMIT, height), xytext=(offset, 0), textcoords="offset points",
            va="center", color=color, zorder=3.5, **_SMALL, **on_paper(ax),
        )  # fmt: skip


def on_paper(ax):
    """Return the style of texts that hide what is behind them."""
    return {"bbox": {"boxstyle": "square,pad=0.1", "fc": paper(ax), "lw": 0}}


def draw_remarks(ax, labels, heights):
    """Write `Label` texts on lines where there is nothing to draw, cut where the axes end."""
    if not len(labels):
        return
    (low, high), width = ax.get_xlim(), measure(ax)[0]
    for label, height in zip(labels, heights, strict=True):
        space, text = width * (high - label.x) / (high - low) - 10.0, label.text
        if label.short and text_width(text, "small") > space:
            text = label.short
        ax.annotate(
            fit_name(text, "small", space, 52), (label.x, height), xytext=(6, 0),
            textcoords="offset points", va="center", style="italic", color=ink(ax, 0.6),
            zorder=3, parse_math=False, **_SMALL, **on_paper(ax),
        )  # fmt: skip


def draw_right_columns(ax, columns, offset=8.0):
    """Write columns of texts to the right of the axes, aligned at their right.

    `columns` has the title, the texts and the heights of each.
    """
    style = {"textcoords": "offset points", "ha": "right", "color": ink(ax, 0.6), **_SMALL}
    for title, texts, heights in columns:
        offset += max(text_width(text, "small") for text in (title, *texts))
        for text, height in zip(texts, heights, strict=True):
            ax.annotate(
                text, (1, height), xytext=(offset, 0), xycoords=("axes fraction", "data"),
                va="center", **style,
            )  # fmt: skip
        ax.annotate(title, (1, 1), xytext=(offset, 4), xycoords="axes fraction", **style)
        offset += 10.0


# ---------------------------------------------------------------------------- labels and legend


def finish(ax, handles=(), *, xlabel="", ylabel="", title=None, lift=0.0):
    """Write the labels of the axes, and a legend above them, as wide as there is room.

    Parameters
    ----------
    ax : matplotlib Axes
    handles : sequence of artists
        Entries of the legend, with their labels.
    xlabel, ylabel : str
        Lines that are too long are broken.
    title : str, optional
        Title of the legend.
    lift : float
        Points that the legend keeps free above the axes.
    """
    literal([ax.xaxis.label, ax.yaxis.label])
    width, left, right = measure(ax)
    if ylabel:  # it takes width, and the legend height
        size = font_points("axes.labelsize")
        left += 1.4 * size * (1 + ylabel.count("\n"))
        n_rows = _arrange([handle.get_label() for handle in handles], width, left)[2]
        _, height, is_laid_out = _cell(ax)
        height -= _frame_points(n_rows + (title is not None), 1) if is_laid_out else 0.0
        ax.set_ylabel(_wrap(ylabel, size, max(8.0 * size, height)))
        width, left, right = measure(ax)
    space, place = width + 2.0 * min(left, right), "center"
    if text_width(xlabel, "axes.labelsize") > space and left > right:
        space, place = width + left, "right"
    ax.set_xlabel(_wrap(xlabel, "axes.labelsize", space), loc=place)
    if len(handles):
        _draw_legend(ax, list(handles), width, left, title, lift)


def _draw_legend(ax, handles, width, left, title, lift):
    """Draw a legend above the axes, from their left end or, if it is wider, from further left.

    Curves on axes of the caller with too little above them have it among them.
    """
    from matplotlib.transforms import ScaledTranslation

    labels, n_columns, n_rows, wide = _arrange([h.get_label() for h in handles], width, left)
    shift = float(np.clip(wide - width, 0.0, left)) / 72
    place = ax.transAxes + ScaledTranslation(-shift, lift / 72, ax.figure.dpi_scale_trans)
    style = {"loc": "lower left", "bbox_to_anchor": (0, 1), "bbox_transform": place}
    above = (ax.figure.bbox.y1 - ax.bbox.y1) * 72 / ax.figure.dpi
    if ax.spines["left"].get_visible() and not _cell(ax)[2] and _frame_points(n_rows, 0) > above:
        style, n_columns = {"loc": "best"}, 1
    legend = ax.legend(
        handles, labels, **style, frameon=False, borderaxespad=0.1, borderpad=0.2,
        ncols=n_columns, columnspacing=1.5, handletextpad=0.6, title=title, alignment="left",
    )  # fmt: skip
    literal(legend.get_texts())


def _arrange(labels, width, left):
    """Return labels of a legend that have room, and its columns, rows and width in points.

    It may begin to the left of axes of this `width` if it would have many rows else.
    """
    if not labels:
        return labels, 1, 0, 0.0
    size, whole = font_points("legend.fontsize"), width + left
    entries = [text_width(label, size) + 3.6 * size for label in labels]
    for k, entry in enumerate(entries):
        if entry > whole:  # without the explanation
            labels[k] = re.split(r" \(|: ", labels[k])[0]
            entries[k] = text_width(labels[k], size) + 3.6 * size
    for room in (width, whole):
        for n_columns in range(len(labels), 0, -1):
            columns = np.array_split(entries, n_columns)
            wide = sum(column.max() for column in columns) + 1.5 * size * (n_columns - 1)
            if wide <= room:
                break
        n_rows = -(-len(labels) // max(1, n_columns))
        if n_rows <= 3:
            break
    return labels, n_columns, n_rows, float(wide)
