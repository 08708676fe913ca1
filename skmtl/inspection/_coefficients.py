"""Display of the tasks' coefficients, and how far sharing moves them."""

import numbers
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils.sparsefuncs import mean_variance_axis

from .._typing import ArrayLike, MatrixLike
from ._drawing import (
    BLUE,
    GREY,
    VERMILION,
    Axes,
    draw_points,
    draw_reference,
    figure_size,
    finish,
    fit_name,
    font_points,
    ink,
    literal,
    measure,
    on_paper,
    open_axes,
    point_area,
    style_axes,
    text_width,
)
from .common import find_model, task_name

__all__ = ["TaskCoefficientsDisplay"]

_FARTHEST = 10.0  # interquartile ranges from the quartiles; coefficients beyond become an arrow
_N_SPREAD = 30  # with this many tasks, points are spread vertically
_N_FAINT = 300  # with this many tasks, points are filled and faint, as rings would overlap
_N_GRID = 256  # places at which the density of the tasks is known
_STRIP = 72.0  # points of height for two rows of a strip


class TaskCoefficientsDisplay:
    """Coefficients of all tasks, and how far sharing moves them.

    There is one strip per feature. Its lower row has one point per task, the coefficient that the
    model uses. If there is an independent model to compare with, the upper row has the coefficient
    estimated from the task's rows alone, and a thin line joins the two. A vertical line marks the
    coefficient that all tasks share. If little is shared, the thin lines are vertical; if much is
    shared, they converge. The tasks with the smallest and the largest coefficient are named. Many
    points are spread vertically, the farther, the more tasks have a similar coefficient.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    coef : array-like of shape (n_tasks, n_features)
        Coefficients of the tasks; the intercept counts as a feature.
    shared_coef : array-like of shape (n_features,)
        Coefficients that those of the tasks are shrunk towards.
    tasks : array-like of shape (n_tasks,)
        Labels of the tasks.
    feature_names : sequence of length n_features
        Titles of the strips.
    independent_coef : array-like of shape (n_tasks, n_features), default=None
        Coefficients of the tasks without sharing.
    units : sequence of str, default=None
        Unit of the coefficients of each feature.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_features,)
        The strips, from the top.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    points_ : list of matplotlib PathCollection
        For every strip, the coefficients within its limits.
    independent_points_ : list of matplotlib PathCollection, or None
        For every strip, the independent coefficients within its limits; None without them.
    shared_lines_ : list of matplotlib Line2D
        For every strip, the line of the shared coefficient.

    Raises
    ------
    ValueError
        If shapes don't match, or a coefficient is not finite.

    See Also
    --------
    TaskReportDisplay : What each task gains by sharing.
    skmtl.MultiTaskRegressor.coef_frame : The coefficients as a table.

    Notes
    -----
    The independent model is regularised too. It shrinks coefficients towards zero, not towards the
    shared coefficients. If features are correlated, a coefficient may move away from the shared one
    because another one moves towards it.

    A coefficient farther than ten interquartile ranges from the middle half of the tasks would
    leave no room for the others; it becomes an arrow at the edge of its strip.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> from skmtl.inspection import TaskCoefficientsDisplay
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> model = MultiTaskRegressor("partial_pooling", task_column="firm").fit(X, y)
    >>> display = TaskCoefficientsDisplay.from_estimator(model, X, y, features=["capital"])
    >>> display.axes_[0].get_title(loc="left")
    'capital'
    """

    def __init__(
        self,
        coef: ArrayLike,
        shared_coef: ArrayLike,
        *,
        tasks: ArrayLike,
        feature_names: Sequence[Any],
        independent_coef: ArrayLike | None = None,
        units: Sequence[str] | None = None,
    ) -> None:
        self.coef = _finite(coef, "coef", None)
        n_tasks, n_features = self.coef.shape
        self.shared_coef = _finite(shared_coef, "shared_coef", (n_features,))
        self.independent_coef = None
        if independent_coef is not None:
            self.independent_coef = _finite(independent_coef, "independent_coef", self.coef.shape)
        self.tasks = np.asarray(tasks, dtype=object)
        self.feature_names = list(feature_names)
        self.units = [""] * n_features if units is None else list(units)
        lengths = {"tasks": n_tasks, "feature_names": n_features, "units": n_features}
        for name, length in lengths.items():
            if len(getattr(self, name)) != length:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries, but coef has shape "
                    f"{self.coef.shape}: give {length}."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        *,
        task: ArrayLike | None = None,
        independent: Any = None,
        features: str | int | Sequence[str | int] | None = None,
        max_features: int = 4,
        class_of_interest: Any = None,
        name: str | None = None,
        ax: Axes = None,
    ) -> Self:
        """Draw the coefficients of a fitted multi-task estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `MultiTaskRegressor` or `MultiTaskClassifier`, or a Pipeline, a GridSearchCV or a
            TransformedTargetRegressor that ends in one. Behind a Pipeline the features are those
            that reach the model, in their units there.
        X : array-like or data frame of shape (n_samples, n_features), default=None
            Rows that the estimator was fitted on. If given, the intercept is replaced by the
            prediction at the features' means, as an intercept at zero may be far from all rows.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Labels of the rows. With X and y an independent model is fitted for comparison: a clone
            with ``sharing="independent"``, fitted without sample weights.
        task : array-like of shape (n_samples,), default=None
            Task labels of the rows, if fit was given ``task=``.
        independent : fitted estimator, default=None
            Model to compare with, instead of one fitted on X and y. If None, and without y, there
            is no comparison.
        features : list of str or int, default=None
            Names among ``coef_feature_names_`` or "intercept", or positions among the features.
            If None, the intercept and the features whose coefficients vary most between tasks: per
            standard deviation of the feature if X is given, else per unit.
        max_features : int, default=4
            Number of strips if `features` is None.
        class_of_interest : class label, default=None
            The class whose coefficients are drawn. If None, the second of two classes; with more
            than two it must be given.
        name : str, default=None
            Noun for one task. If None, the estimator's `task_column` if that is a name, else
            "task".
        ax : matplotlib Axes or array-like of Axes, default=None
            One axes per feature. If None, a new figure is made.

        Returns
        -------
        display : :class:`TaskCoefficientsDisplay`
            The display, drawn.

        Raises
        ------
        TypeError
            If no step of the estimator is a multi-task estimator.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a feature or class is unknown, if `y` comes without `X`, or if `independent` has
            other tasks or features.
        """
        found = find_model(estimator, "shared_coef_", cls.__name__)
        model = found.model
        if y is not None and X is None:
            raise ValueError("y was given without X: give the rows the labels belong to.")
        if max_features < 1:
            raise ValueError(f"max_features={max_features!r} must be at least 1.")
        k, sign = _class_position(model, class_of_interest)
        names, coef, shared = _coefficients(model, k, sign)
        mean, scale = np.zeros(len(names) - 1), np.ones(len(names) - 1)
        if X is not None:
            X = found.features(X)
            mean, scale = _mean_and_scale(model._rows_to_predict(X, task).X)
        alone = None
        if independent is not None:
            alone = find_model(independent, "shared_coef_", cls.__name__).model
        elif y is not None:
            alone = _fit_independent(model, X, found.target(y), task)
        if alone is not None:
            _check_comparable(model, alone)
            alone = _coefficients(alone, k, sign)[1]
        for table in (coef, shared, alone):
            if table is not None:
                table[..., 0] += table[..., 1:] @ mean
        chosen = _choose(names, coef, scale, features, max_features)
        return cls(
            coef[:, chosen],
            shared[chosen],
            tasks=model.tasks_,
            feature_names=[names[j] for j in chosen],
            independent_coef=None if alone is None else alone[:, chosen],
            units=_units(found, y, k, sign, chosen, at_mean=X is not None),
        ).plot(ax=ax, name=task_name(model, name))

    def plot(self, *, ax: Axes = None, name: str | None = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of Axes, default=None
            One axes per feature. If None, a new figure is made.
        name : str, default=None
            Noun for one task, such as "firm". If None, "task".

        Returns
        -------
        display : :class:`TaskCoefficientsDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the number of axes is not that of the features.
        """
        n_features = self.coef.shape[1]
        self.axes_ = open_axes(type(self).__name__, ax, n_features, size=self._figure_size)
        if len(self.axes_) != n_features:
            raise ValueError(f"ax has {len(self.axes_)} axes; give one for each of {n_features}.")
        self.figure_ = self.axes_[0].figure
        self.points_: list[Any] = []
        self.shared_lines_: list[Any] = []
        self.independent_points_: list[Any] | None = None if self.independent_coef is None else []
        for j, axes in enumerate(self.axes_):
            self._draw_strip(axes, j)
        handles = self._legend_handles("task" if name is None else str(name))
        lift = 1.2 * font_points("axes.titlesize") + font_points("xtick.labelsize")
        finish(self.axes_[0], handles, lift=lift)
        return self

    def _figure_size(self):
        """Return inches: for each strip its title, its rows and the labels of its ticks."""
        rows = _STRIP * (0.5 if self.independent_coef is None else 1.0)
        texts = 1.6 * font_points("axes.titlesize") + 2.4 * font_points("xtick.labelsize") + 14.0
        height = self.coef.shape[1] * (rows + texts) + 2.0 * font_points("legend.fontsize")
        return figure_size(1.2, points=height)

    def _draw_strip(self, ax, j):
        """Draw one feature: points, the lines between them, the shared line, and names."""
        coef, n_tasks = self.coef[:, j], len(self.coef)
        alone = None if self.independent_coef is None else self.independent_coef[:, j]
        low, high = ends = _strip_ends(coef, alone, self.shared_coef[j])
        if low < 0 < high:
            draw_reference(ax, color=ink(ax, 0.3), linestyle=(0, (4, 3)), zorder=0.5)
        line = ax.axvline(
            self.shared_coef[j], color=GREY, linewidth=2.0, zorder=2, label="shared by all"
        )
        self.shared_lines_.append(line)
        heights = _point_heights(coef, ends)
        if alone is not None:
            above = 1.0 + _point_heights(alone, ends)
            self._draw_moves(ax, coef, alone, heights, above)
            faint = {"alpha": 0.6, "linewidths": 0.0} if n_tasks >= _N_FAINT else {}
            points = _scatter(ax, alone, above, ends, VERMILION, n_tasks >= _N_FAINT, **faint)
            self.independent_points_.append(points)
        rim = {"edgecolors": ink(ax, 0.0), "linewidths": 0.8 if n_tasks < _N_FAINT else 0.2}
        self.points_.append(_scatter(ax, coef, heights, ends, BLUE, True, **rim))
        ax.set_xlim(ends)
        ax.set_ylim(-0.7, 0.4 if alone is None else 1.35)
        self._draw_frame(ax, j)
        self._name_extremes(ax, coef, ends)

    def _draw_moves(self, ax, coef, alone, heights, above):
        """Draw one thin line per task, from its independent coefficient to that of the model."""
        from matplotlib.collections import LineCollection

        lines = np.stack([np.c_[alone, above], np.c_[coef, heights]], axis=1)
        alpha = float(np.clip(12 / len(coef) ** 0.75, 0.04, 0.8))
        ax.add_collection(
            LineCollection(lines, colors=ink(ax, 0.6), alpha=alpha, linewidths=0.9, zorder=1),
            autolim=False,
        )

    def _name_extremes(self, ax, coef, ends):
        """Write the names of the tasks with the smallest and the largest coefficient."""
        if len(coef) < 2 or np.ptp(coef) == 0:
            return
        width, extremes = measure(ax)[0], (int(np.argmin(coef)), int(np.argmax(coef)))
        places = np.clip(coef[list(extremes)], *ends)
        room = 0.5 * width - 8.0
        names = [fit_name(self.tasks[t], "small", room, 22) for t in extremes]
        for k, t in enumerate(extremes):
            if places[k] != coef[t]:
                names[k] = f"{fit_name(self.tasks[t], 'small', room - 40.0, 22)} ({coef[t]:.3g})"
        lefts = _text_places(
            width * (places - ends[0]) / (ends[1] - ends[0]),
            [text_width(name, "small") for name in names],
            width,
        )
        for name, place, left in zip(names, places, lefts, strict=True):
            offset = left - width * (place - ends[0]) / (ends[1] - ends[0])
            ax.annotate(
                name, (place, -0.26), xytext=(offset, 0), textcoords="offset points", va="top",
                fontsize="small", color=ink(ax, 0.75), zorder=4, parse_math=False,
            )  # fmt: skip

    def _draw_frame(self, ax, j):
        """Draw the title, the unit and the names of the two rows."""
        rows = ["this model"] if self.independent_coef is None else ["this model", "independent"]
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(axis="y", length=0, pad=7)  # room for arrows
        style_axes(ax, "x", ("top", "right", "left"))
        width, unit = measure(ax)[0], self.units[j]
        title = fit_name(self.feature_names[j], "axes.titlesize", 0.55 * width, 40)
        room = width - 1.15 * text_width(title, "axes.titlesize") - 10.0
        unit = fit_name(unit, "small", room, max(5, len(unit))) if unit else ""
        left = ax.set_title(title, loc="left", fontweight="bold")
        right = ax.set_title(unit, loc="right", color=ink(ax, 0.6), fontsize="small")
        literal([left, right])

    def _legend_handles(self, name):
        """Return the entries of the legend, with points of their usual size."""
        ax = self.axes_[0]
        labels = [(BLUE, True, f"one {name}")]
        if self.independent_coef is not None:
            labels.append((VERMILION, False, f"the same {name}, one model per {name}"))
        handles = [draw_points(ax, [], [], full, color, label=text) for color, full, text in labels]
        return [*handles, self.shared_lines_[0]]


# ------------------------------------------------------------------------------- what to draw


def _finite(values, name, shape):
    """Return `values` as a finite array of this shape; None stands for any 2-D shape."""
    values = np.asarray(values, dtype=np.float64)
    if (values.ndim != 2 or 0 in values.shape) if shape is None else values.shape != shape:
        wanted = "(n_tasks, n_features)" if shape is None else shape
        raise ValueError(f"{name} has shape {values.shape}, but must have {wanted}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has entries that are not finite; leave these tasks out.")
    return values


def _class_position(model, label):
    """Return ``(k, sign)``: the position of the class in 3-D, or the sign of 2-D coefficients."""
    if not is_classifier(model):
        if label is not None:
            raise ValueError(
                f"class_of_interest={label!r} was given for {type(model).__name__}, which has no "
                "classes; leave it out."
            )
        return None, 1.0
    classes = model.classes_.tolist()
    if label is None and len(classes) > 2:
        raise ValueError(f"class_of_interest must be given with {len(classes)} classes: {classes}.")
    if label is not None and label not in classes:
        raise ValueError(f"class_of_interest={label!r} is not a class; the classes are {classes}.")
    k = 1 if label is None else classes.index(label)
    return (k, 1.0) if len(classes) > 2 else (None, 1.0 if k else -1.0)


def _coefficients(model, k, sign):
    """Return names, and copies of the tasks' and the shared coefficients, intercept first."""
    names, tasks, shared = model._named_coefficients()
    if k is not None:
        tasks, shared = tasks[:, k], shared[k]
    return names, sign * tasks, sign * shared


def _mean_and_scale(X):
    if sparse.issparse(X):
        mean, variance = mean_variance_axis(X, axis=0)
        return mean, np.sqrt(variance)
    return X.mean(axis=0), X.std(axis=0)


def _fit_independent(model, X, y, task):
    """Fit a clone without sharing, tuned by cross-validation even if `model` was not tuned."""
    cv = 5 if model.cv is None else model.cv
    alone = clone(model).set_params(sharing="independent", cv=cv)
    return alone.fit(X, y) if task is None else alone.fit(X, y, task=task)


def _check_comparable(model, alone):
    """Raise unless both models have coefficients of the same tasks, features and classes."""
    for attribute in ("tasks_", "coef_feature_names_", "classes_"):
        ours, theirs = (getattr(one, attribute, np.empty(0)) for one in (model, alone))
        if ours.tolist() != theirs.tolist():
            raise ValueError(
                f"independent has other {attribute} than the estimator: {theirs.tolist()[:5]}, ... "
                f"rather than {ours.tolist()[:5]}, ...; fit both on the same table."
            )


def _choose(names, coef, scale, features, max_features):
    """Return the positions among `names` of the coefficients to draw."""
    if features is None:
        order = np.argsort(-coef[:, 1:].std(axis=0) * scale, kind="stable")
        return [0, *(int(j) + 1 for j in order[: max_features - 1])]
    features = [features] if isinstance(features, (str, numbers.Integral)) else list(features)
    if not features:
        raise ValueError("features is empty; give a name or position, or None.")
    chosen = []
    for feature in features:
        if feature in names:
            chosen.append(names.index(feature))
        elif isinstance(feature, numbers.Integral) and 0 <= feature < len(names) - 1:
            chosen.append(int(feature) + 1)
        else:
            shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
            raise ValueError(f"features has {feature!r}, which is none of {shown}.")
    return chosen


def _units(found, y, k, sign, chosen, *, at_mean):
    """Return the unit of each coefficient, in words."""
    model = found.model
    if k is not None:  # scores of the softmax: log-odds up to a constant common to all classes
        target = f"log-score of {model.classes_.tolist()[k]!r}"
    elif is_classifier(model):
        target = f"log-odds of {model.classes_.tolist()[1 if sign > 0 else 0]!r}"
    else:
        target = str(getattr(y, "name", None) or "target")
        if found.targets:
            target += ", transformed,"
    where = " at the features' means" if at_mean else " where all features are 0"
    unit = "preprocessed unit" if found.heads else "unit"
    return [target.rstrip(",") + where if j == 0 else f"{target} per {unit}" for j in chosen]


# ------------------------------------------------------------------------------ where to draw it


def _strip_ends(coef, alone, shared):
    """Return the limits of a strip, which a few distant tasks do not widen."""
    low = high = shared
    for values in (coef, alone):
        if values is not None:
            first, third = np.quantile(values, [0.25, 0.75])
            margin = _FARTHEST * (third - first) or np.inf
            inside = values[(values >= first - margin) & (values <= third + margin)]
            low, high = min(low, inside.min()), max(high, inside.max())
    size = max(abs(low), abs(high))
    pad = 0.05 * (high - low) if high - low > 1e-9 * size else 0.1 * size or 1.0
    return low - pad, high + pad


def _point_heights(values, ends):
    """Return heights of points around a row: zero, or spread by their density if there are many."""
    n_tasks = len(values)
    if n_tasks < _N_SPREAD:
        return np.zeros(n_tasks)
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    turn = (rank * 0.6180339887498949) % 1.0  # similar coefficients get very different heights
    edges = np.linspace(*ends, _N_GRID + 1)
    count = np.histogram(values, edges)[0]
    width = max(1.0, _N_GRID * np.std(np.clip(values, *ends)) / np.ptp(ends) * n_tasks**-0.2)
    bell = np.exp(-0.5 * (np.arange(-_N_GRID, _N_GRID + 1) / width) ** 2)
    density = np.convolve(count, bell)[_N_GRID:-_N_GRID]
    density = np.interp(values, 0.5 * (edges[1:] + edges[:-1]), density / max(1e-9, density.max()))
    return (turn - 0.5) * density * min(0.5, 0.08 * np.sqrt(n_tasks / _N_SPREAD))


def _text_places(places, widths, width):
    """Return where two texts begin, beside their points, so that they neither overlap nor end.

    All lengths are in points. Both are written outwards if there is room for that.
    """
    gap = 4.0
    first = max(0.0, places[0] - gap - widths[0])
    last = min(width - widths[1], places[1] + gap)
    if first + widths[0] + gap > last:  # one of them begins at an edge
        if first == 0.0:
            last = min(width - widths[1], first + widths[0] + 3 * gap)
        first = min(first, last - 3 * gap - widths[0])
    return first, last


def _scatter(ax, values, heights, ends, color, filled, **style):
    """Draw the points within the limits, and an arrow with the number of points beyond each."""
    level = float(np.mean(heights))
    beyond = (values < ends[0]).sum(), (values > ends[1]).sum()
    for edge, marker, n_beyond in zip(ends, "<>", beyond, strict=True):
        if not n_beyond:
            continue
        ax.scatter(
            [edge], [level], s=point_area(marker="<"), marker=marker, color=color, clip_on=False,
            zorder=4,
        )  # fmt: skip
        left = marker == "<"
        ax.annotate(
            f"{n_beyond:,} beyond", (edge, level), xytext=(7 if left else -7, 0),
            textcoords="offset points", ha="left" if left else "right", va="center",
            fontsize="small", color=ink(ax, 0.75), zorder=4, **on_paper(ax),
        )  # fmt: skip
    inside = (values >= ends[0]) & (values <= ends[1])
    return draw_points(
        ax, values[inside], heights[inside], filled, color, n_points=len(values),
        **{"zorder": 3} | style,
    )  # fmt: skip
