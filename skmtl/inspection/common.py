"""Helpers of the displays: unwrapping estimators, naming tasks, and drawing shared elements."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "BLUE",
    "COLORS",
    "LEFT_LIMIT",
    "VERMILION",
    "Axes",
    "Found",
    "check_columns",
    "draw_loss_arrows",
    "draw_points",
    "draw_remarks",
    "draw_right_column",
    "error_removed",
    "find_model",
    "format_percent",
    "gain_limits",
    "line_heights",
    "name_band",
    "open_axes",
    "open_one_axes",
    "open_parts",
    "plural",
    "shorten",
    "style_axes",
    "style_lines",
    "task_name",
]

Axes: TypeAlias = Any  # of matplotlib, which is imported only when something is drawn

# Okabe-Ito blue and vermilion: distinguishable with colour blindness and in greyscale.
BLUE, VERMILION = "#0072b2", "#d55e00"
# All colours of that palette, for lines that have one each.
COLORS = BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a800"
LEFT_LIMIT = -100.0  # percent; a larger loss becomes an arrow, to leave room for the others
_MULTI_TASK = "multi-task estimators such as MultiTaskRegressor"


class Found(NamedTuple):
    """A fitted multi-task estimator, and the transformers between it and the caller's table."""

    model: object
    heads: list  # fitted transformers of X, in order
    targets: list  # fitted transformers of y, in order

    def features(self, X):
        """Return `X` as it reaches the model."""
        for head in self.heads:
            X = head.transform(X)
        return X

    def target(self, y):
        """Return `y` as it reaches the model."""
        for transformer in self.targets:
            column = np.asarray(y)
            y = transformer.transform(column[:, None] if column.ndim == 1 else column)
            y = y[:, 0] if y.shape[1] == 1 else y
        return y


def find_model(estimator, attribute, display, drawn=_MULTI_TASK):
    """Find the fitted step with `attribute` inside pipelines, searches and target transformers.

    Raises
    ------
    TypeError
        If no step has it; the message names `display` and what it draws, `drawn`.
    NotFittedError
        If the innermost estimator is not fitted.
    """
    inner, heads, targets = estimator, [], []
    while not hasattr(inner, attribute):
        if hasattr(inner, "best_estimator_"):  # such as GridSearchCV
            inner = inner.best_estimator_
        elif hasattr(inner, "steps"):  # Pipeline
            heads += [inner[:-1]] if len(inner.steps) > 1 else []
            inner = inner.steps[-1][1]
        elif hasattr(inner, "regressor_"):  # TransformedTargetRegressor
            targets += [inner.transformer_] if hasattr(inner, "transformer_") else []
            inner = inner.regressor_
        else:
            break
    else:
        return Found(inner, heads, targets)
    if hasattr(inner, "get_params"):
        check_is_fitted(inner)
    where = f" (the final step of {type(estimator).__name__})" if inner is not estimator else ""
    hint = "; a search needs refit=True" if hasattr(inner, "cv_results_") else ""
    raise TypeError(
        f"{type(inner).__name__}{where} has no {attribute}: {display} draws fitted {drawn}{hint}."
    )


def task_name(model, name):
    """Return what one task is called: `name`, else the name of the task column, else None."""
    column = getattr(model, "task_column", None)
    return column if name is None and isinstance(column, str) else name


def plural(name):
    """Return the plural of `name` if it is a plain word, else "tasks"."""
    if not (name.isalpha() and name.islower() and len(name) > 2):
        return "tasks"
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in tuple("aeiou"):
        return name[:-1] + "ies"
    return name + "s"


def shorten(label, width=28):
    """Cut `label` in its middle, as long names mostly differ at their ends."""
    label = str(label)
    if len(label) <= width:
        return label
    return label[: width // 2] + "…" + label[-(width - width // 2 - 1) :]


def format_percent(value, _):
    """Format a tick label with its sign."""
    return f"{value:+.3g}" if value else "0"


# ------------------------------------------------------------------------------------- reports


def check_columns(report, keys):
    """Raise a ValueError for columns of unequal length, or for weights that are none.

    `keys` are the columns to check; the first one has the labels, and "weight" is among them.
    """
    noun = keys[0]
    labels = report[noun]
    for key in keys:
        if len(report[key]) != len(labels):
            raise ValueError(
                f"report has {len(report[key])} entries of {key!r}, but {len(labels)} {noun}s; "
                f"give one entry per {noun}."
            )
    weight = np.asarray(report["weight"], dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(weight) | (weight < 0.0))
    if len(bad):
        raise ValueError(
            f"report has the weight {weight[bad[0]]} for {noun} '{labels[bad[0]]}'; weights must "
            "be finite and not negative."
        )


def error_removed(error, reference):
    """Return the share of the error `reference` that is removed, in percent.

    An error of zero cannot be removed, only added to.
    """
    none = reference == 0.0
    share = (reference - error) / np.where(none, 1.0, reference)
    return 100.0 * np.where(none, np.where(error > 0.0, -np.inf, error), share)


# ------------------------------------------------------------------------------------- drawing


def open_axes(display, ax, n_rows=1, n_columns=1, **figure):
    """Return the axes to draw on, as an array of one dimension; import matplotlib only here.

    `ax` is one axes or an array-like of axes; None opens a new figure, described by `figure`.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as exc:
        raise ImportError(f"{display}.plot needs matplotlib: pip install skmtl[plot]") from exc
    if ax is None:
        _, ax = plt.subplots(n_rows, n_columns, layout="constrained", **figure)
    return np.atleast_1d(np.asarray(ax, dtype=object)).ravel()


def open_one_axes(display, ax, **figure):
    """Return the axes to draw on, of a display that draws on a single one."""
    axes = open_axes(display, ax, **figure)
    if len(axes) != 1:
        raise ValueError(f"ax has {len(axes)} axes; give one.")
    return axes[0]


def open_parts(display, ax, n_parts, **figure):
    """Return the axes to draw on, of a display with one or two parts, of which one may be given."""
    axes = open_axes(display, ax, 1, n_parts, **figure)
    if not 1 <= len(axes) <= n_parts:
        why = "there are only weights to draw" if n_parts == 1 else "or one"
        raise ValueError(f"ax has {len(axes)} axes; give {n_parts}, {why}.")
    return axes


def style_axes(ax, grid, hidden, color="0.9"):
    """Draw grid lines of axis `grid` behind the data, without the spines at the sides `hidden`."""
    ax.grid(axis=grid, color=color, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in hidden:
        ax.spines[side].set_visible(False)


def style_lines(ax, bottom):
    """Style axes with one line per name, the first at height 0 and the last at `bottom`."""
    ax.set_ylim(bottom + 0.8, -0.8)
    ax.tick_params(axis="y", length=0)
    style_axes(ax, "x", ("top", "right", "left"))


def gain_limits(gains, has_arrows):
    """Return the limits of an axis of gains, given those drawn, and if there are arrows as well."""
    gains = gains[np.isfinite(gains)]
    low, high = gains.min(initial=-1.0), gains.max(initial=1.0)
    low = LEFT_LIMIT if has_arrows else max(low, LEFT_LIMIT)
    high = min(high, 100.0)  # a bar may extend further, but no error is below zero
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def line_heights(n_lines, most):
    """Arrange tasks or sources on lines, the first one at the top.

    Up to `most` of them get a line each. Of more, the first and the last ones do, and all others
    share a band between these, as smaller points without a name.

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
    top = (most + 1) // 2
    bottom = most - top
    band = max(4.0, most / 3)
    middle = top - 0.5 + band * (np.arange(n_lines - most) + 0.5) / (n_lines - most)
    last = top + band + np.arange(bottom)
    named = np.ones(n_lines, dtype=bool)
    named[top : n_lines - bottom] = False
    heights = np.concatenate([np.arange(top, dtype=float), middle, last])
    return heights, named, (top - 0.5, top - 0.5 + band)


def name_band(ax, n_points, band):
    """Write beside a band how many points it holds."""
    ax.annotate(
        f"{n_points:,} more,\nin the same order", (0, sum(band) / 2),
        xycoords=("axes fraction", "data"), xytext=(-8, 0), textcoords="offset points",
        ha="right", va="center", style="italic", color="0.4",
    )  # fmt: skip


def draw_points(ax, x, y, filled, color=BLUE, **style):
    """Draw points: those that are `filled`, a mask or True for all, and rings."""
    return ax.scatter(
        x, y, s=46, marker="o", facecolors=np.where(np.atleast_1d(filled), color, "white"),
        edgecolors=color, linewidths=1.2, zorder=4, **style,
    )  # fmt: skip


def draw_loss_arrows(ax, gains, heights, color, **text):
    """Draw an arrow at the left edge, labelled with its value, for each loss beyond the limit."""
    ax.scatter(np.full(len(gains), LEFT_LIMIT), heights, s=34, marker="<", c=color, zorder=4)
    for gain, height in zip(gains, heights, strict=True):
        ax.annotate(
            f"{gain:.0f}" if gain > -9999.5 else "< -9999", (LEFT_LIMIT, height), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize="x-small", color=color, zorder=3,
            **text,
        )  # fmt: skip


def draw_remarks(ax, texts, heights, left=0.0):
    """Write texts to the right of `left`, on lines where there is nothing to draw."""
    left = np.broadcast_to(left, len(heights))
    for text, x, height in zip(texts, left, heights, strict=True):
        ax.annotate(
            text, (x, height), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize="x-small", style="italic", color="0.5", zorder=3,
        )  # fmt: skip


def draw_right_column(ax, title, texts, heights, offset):
    """Write a column of texts, and its title, `offset` points to the right of the axes."""
    style = {"textcoords": "offset points", "fontsize": "small", "color": "0.4"}
    for text, height in zip(texts, heights, strict=True):
        ax.annotate(
            text, (1, height), xytext=(offset, 0), xycoords=("axes fraction", "data"), va="center",
            **style,
        )  # fmt: skip
    ax.annotate(title, (1, 1), xytext=(offset, 4), xycoords="axes fraction", **style)
