"""The tasks' coefficients, and how far sharing moves them."""

import numbers

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils.sparsefuncs import mean_variance_axis

from .common import BLUE, VERMILION, find_model, import_pyplot, shorten, task_name

__all__ = ["TaskCoefficientsDisplay"]

_DARK = "0.15"
_REACH = 10.0  # interquartile ranges from the quartiles; what is farther becomes an arrow
_CROWD = 30  # from so many tasks on, points are spread over a band
_DUST = 300  # from so many on, rings would run together: filled and faint points


class TaskCoefficientsDisplay:
    """The coefficients of all tasks, and how far sharing moves them.

    A strip a feature. Its lower row has a point for every task, the coefficient the model uses.
    Its upper row, where there is an independent model to compare with, has the coefficient that
    the task's rows give alone, and a thin line leads from the one to the other. The coefficient
    that all tasks share is a line across. Where little is shared the thin lines stand upright;
    where much is, they run together. The tasks of smallest and largest coefficient are named.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    coef : array-like of shape (n_tasks, n_features)
        The tasks' coefficients; an intercept is a feature like others.
    shared_coef : array-like of shape (n_features,)
        What they are drawn towards.
    tasks : array-like of shape (n_tasks,)
        Labels.
    feature_names : sequence of length n_features
    independent_coef : array-like of shape (n_tasks, n_features), default=None
        The tasks' coefficients with nothing shared.
    units : sequence of str, default=None
        What the coefficients of each feature are measured in.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_features,)
        The strips, from the top.
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        For every strip the tasks' coefficients that are within its limits.
    independent_points_ : list of matplotlib PathCollection, or None
        The independent ones; None without them.
    shared_lines_ : list of matplotlib Line2D

    Raises
    ------
    ValueError
        If shapes don't match, or a coefficient is not finite.

    See Also
    --------
    TaskReportDisplay : What each task gains by sharing.
    skmtl.MultiTaskRegressor.coef_frame : The figures, with names.

    Notes
    -----
    The independent model is regularised too: what a task's rows can't tell it draws to zero, not to
    the shared coefficient. Where features are correlated, a coefficient may move away from the
    shared one because another moves towards it.

    A coefficient farther than ten interquartile ranges from the middle half of the tasks would
    leave no room for the others; it becomes an arrow at the edge of its strip.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> from skmtl.inspection import TaskCoefficientsDisplay
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> model = MultiTaskRegressor(task_column="firm").fit(X, y)
    >>> display = TaskCoefficientsDisplay.from_estimator(model, X, y, features=["capital"])
    >>> display.axes_[0].get_title(loc="left")
    'capital'
    """

    def __init__(
        self, coef, shared_coef, *, tasks, feature_names, independent_coef=None, units=None
    ):
        self.coef = _finite(coef, "coef", None)
        n_tasks, n_features = self.coef.shape
        self.shared_coef = _finite(shared_coef, "shared_coef", (n_features,))
        self.independent_coef = (
            None
            if independent_coef is None
            else _finite(independent_coef, "independent_coef", self.coef.shape)
        )
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
        estimator,
        X=None,
        y=None,
        *,
        task=None,
        independent=None,
        features=None,
        max_features=4,
        class_of_interest=None,
        name=None,
        ax=None,
    ):
        """Draw the coefficients of a fitted multi-task estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A `MultiTaskRegressor` or `MultiTaskClassifier`, or a Pipeline, a GridSearchCV or a
            TransformedTargetRegressor that ends in one. Behind a Pipeline the features are those
            that reach the model, in their units there.
        X : array-like or data frame of shape (n_samples, n_features), default=None
            The rows the estimator was fitted on. With them the intercept is replaced by the
            prediction at the features' means, as an intercept at zero may lie far from all rows.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Their labels. With X and y an independent model is fitted for comparison, a clone with
            ``sharing="independent"``; weights are left out.
        task : array-like of shape (n_samples,), default=None
            Task labels of the rows, where fit was given ``task=``.
        independent : fitted estimator, default=None
            The model to compare with, in place of the one fitted on X and y. None without y draws
            no comparison.
        features : list of str or int, default=None
            Names among ``coef_feature_names_`` or "intercept", or positions among the features.
            If None, the intercept and those whose coefficients vary most over the tasks: per
            standard deviation of the feature if X is given, else per unit.
        max_features : int, default=4
            How many strips there are where `features` is None.
        class_of_interest : class label, default=None
            The class whose coefficients are drawn. Of two classes the second if None; with more
            it must be given.
        name : str, default=None
            What one task is called. If None, the estimator's `task_column` if that is a name,
            else "task".
        ax : matplotlib Axes or array-like of Axes, default=None
            One for every feature. If None, a new figure is made.

        Returns
        -------
        display : :class:`TaskCoefficientsDisplay`

        Raises
        ------
        TypeError
            If there is no multi-task estimator to be found.
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

    def plot(self, *, ax=None, name=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of Axes, default=None
            One for every feature. If None, a new figure is made.
        name : str, default=None
            What one task is called, such as "firm". If None, "task".

        Returns
        -------
        display : :class:`TaskCoefficientsDisplay`

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are not as many axes as features.
        """
        plt = import_pyplot(type(self).__name__)
        name = "task" if name is None else str(name)
        n_features = self.coef.shape[1]
        if ax is None:
            tall = 0.7 + n_features * (0.98 if self.independent_coef is None else 1.5)
            _, ax = plt.subplots(n_features, figsize=(7.6, tall), layout="constrained")
        self.axes_ = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(self.axes_) != n_features:
            raise ValueError(f"ax has {len(self.axes_)} axes; give one for each of {n_features}.")
        self.figure_ = self.axes_[0].figure
        self.points_, self.shared_lines_ = [], []
        self.independent_points_ = None if self.independent_coef is None else []
        for j, axes in enumerate(self.axes_):
            self._draw_strip(axes, j)
        self._draw_legend(self.axes_[-1], name)
        return self

    def _draw_strip(self, ax, j):
        """One feature: points, the lines between them, the shared line, and names."""
        coef = self.coef[:, j]
        alone = None if self.independent_coef is None else self.independent_coef[:, j]
        limits = _limits(coef, alone, self.shared_coef[j])
        height = _spread(coef)
        size = float(np.clip(150 / np.sqrt(len(coef)), 5, 44))
        if limits[0] < 0 < limits[1]:
            ax.axvline(0, color="0.75", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
        line = ax.axvline(self.shared_coef[j], color=VERMILION, linewidth=1.8, zorder=2)
        self.shared_lines_.append(line)
        if alone is not None:
            self._draw_moves(ax, coef, alone, height)
            ring = {"facecolors": "white", "edgecolors": BLUE, "linewidths": 1.2}
            if len(coef) >= _DUST:
                ring = {"facecolors": BLUE, "alpha": 0.6, "linewidths": 0}
            points = _scatter(ax, alone, 1 + height, limits, BLUE, s=size, **ring)
            self.independent_points_.append(points)
        rim = 0.8 if len(coef) < _DUST else 0.2
        points = _scatter(
            ax, coef, height, limits, _DARK,
            s=size, facecolors=_DARK, edgecolors="white", linewidths=rim,
        )  # fmt: skip
        self.points_.append(points)
        self._name_ends(ax, coef, height, limits)
        ax.set_xlim(limits)
        ax.set_ylim(-0.62, 0.4 if alone is None else 1.35)
        self._draw_frame(ax, j)

    def _draw_moves(self, ax, coef, alone, height):
        """A thin line for every task, from what its own rows say to what the model uses."""
        from matplotlib.collections import LineCollection

        ends = np.stack([np.c_[alone, 1 + height], np.c_[coef, height]], axis=1)
        alpha = float(np.clip(12 / len(coef) ** 0.75, 0.04, 0.8))  # dark, but never solid
        ax.add_collection(
            LineCollection(ends, colors=BLUE, alpha=alpha, linewidths=0.9, zorder=1),
            autolim=False,
        )

    def _name_ends(self, ax, coef, height, limits):
        """The names of the tasks with the smallest and the largest coefficient."""
        if len(coef) < 2 or np.ptp(coef) == 0:
            return
        for t, side in ((int(np.argmin(coef)), 0), (int(np.argmax(coef)), 1)):
            label, at = shorten(self.tasks[t], 22), coef[t]
            if not limits[0] <= at <= limits[1]:
                label, at = f"{label} ({at:.3g})", limits[side]
            # Towards the free side where there is room for some twenty letters, else inwards.
            room = abs(at - limits[side]) > 0.25 * (limits[1] - limits[0])
            align = ("right", "left")[side] if room else ("left", "right")[side]
            ax.annotate(
                label, (at, -0.26), xytext=(4 if align == "left" else -4, 0),
                textcoords="offset points", ha=align, va="top", fontsize="small", color="0.3",
                zorder=4,
            )  # fmt: skip

    def _draw_frame(self, ax, j):
        """Title, units and the names of the two lines."""
        ax.set_title(str(self.feature_names[j]), loc="left", fontweight="bold", fontsize="medium")
        ax.set_title(self.units[j], loc="right", color="0.4", fontsize="small")
        if self.independent_coef is None:
            ax.set_yticks([0], ["this model"])
        else:
            ax.set_yticks([0, 1], ["this model", "independent"])
        ax.tick_params(axis="y", length=0, pad=7)  # room for arrows
        ax.grid(axis="x", color="0.93", linewidth=0.8)
        ax.set_axisbelow(True)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)

    def _draw_legend(self, ax, name):
        """Below the last strip."""
        from matplotlib.transforms import ScaledTranslation

        handles = [self.points_[-1], self.shared_lines_[-1]]
        labels = [f"one {name}", "shared by all"]
        if self.independent_coef is not None:
            handles.insert(1, self.independent_points_[-1])
            labels.insert(1, f"the same {name}, one model per {name}")
        below = ScaledTranslation(0, -0.34, self.figure_.dpi_scale_trans)  # inches: tick labels
        legend = ax.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(0, 0), ncols=3, frameon=False,
            bbox_transform=ax.transAxes + below, fontsize="small", borderaxespad=0,
            handletextpad=0.4, columnspacing=1.5,
        )  # fmt: skip
        for handle in legend.legend_handles:
            if hasattr(handle, "set_sizes"):
                handle.set_sizes([36])


# ------------------------------------------------------------------------------- what to draw


def _finite(values, name, shape):
    values = np.asarray(values, dtype=np.float64)
    if (values.ndim != 2 or 0 in values.shape) if shape is None else values.shape != shape:
        wanted = "(n_tasks, n_features)" if shape is None else shape
        raise ValueError(f"{name} has shape {values.shape}, but must have {wanted}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has entries that are not finite; leave these tasks out.")
    return values


def _class_position(model, label):
    """``(k, sign)``: the class's position in 3-D coefficients, or the sign of 2-D ones."""
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
        raise ValueError(f"class_of_interest={label!r} is not a class; those are {classes}.")
    k = 1 if label is None else classes.index(label)
    return (k, 1.0) if len(classes) > 2 else (None, 1.0 if k else -1.0)


def _coefficients(model, k, sign):
    """Names, tasks' and shared coefficients of one class, intercept first; copies."""
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
    """A clone that shares nothing, tuned by cross-validation even where `model` was fixed."""
    cv = 5 if model.cv is None else model.cv
    alone = clone(model).set_params(sharing="independent", cv=cv)
    return alone.fit(X, y) if task is None else alone.fit(X, y, task=task)


def _check_comparable(model, alone):
    """Raise unless both have coefficients of the same tasks, features and classes."""
    for attribute in ("tasks_", "coef_feature_names_", "classes_"):
        ours, theirs = (getattr(one, attribute, np.empty(0)) for one in (model, alone))
        if ours.tolist() != theirs.tolist():
            raise ValueError(
                f"independent has other {attribute} than the estimator: {theirs.tolist()[:5]}, ... "
                f"rather than {ours.tolist()[:5]}, ...; fit both on the same table."
            )


def _choose(names, coef, scale, features, max_features):
    """Positions among `names` of what is drawn."""
    if features is None:
        variation = coef[:, 1:].std(axis=0) * scale
        most = np.argsort(-variation, kind="stable")[: max_features - 1]
        return [0, *(int(j) + 1 for j in most)]
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
    """What each coefficient is measured in, in words."""
    model = found.model
    if is_classifier(model):
        target = f"log-odds of {model.classes_.tolist()[1 if sign > 0 else 0]!r}"
        if k is not None:  # the softmax's scores: log-odds up to a constant all classes have
            target = f"log-score of {model.classes_.tolist()[k]!r}"
    else:
        target = str(getattr(y, "name", None) or "target")
        if found.targets:
            target += ", transformed,"
    place = " at the features' means" if at_mean else " where all features are 0"
    unit = "preprocessed unit" if found.heads else "unit"
    return [target.rstrip(",") + place if j == 0 else f"{target} per {unit}" for j in chosen]


# ------------------------------------------------------------------------------ where to draw it


def _limits(coef, alone, shared):
    """Where a strip begins and ends; a few far-off tasks don't widen it."""
    low = high = shared
    for values in (coef, alone):
        if values is None:
            continue
        first, third = np.quantile(values, [0.25, 0.75])
        reach = _REACH * (third - first)
        if reach == 0:
            reach = np.inf
        inside = values[(values >= first - reach) & (values <= third + reach)]
        low, high = min(low, inside.min()), max(high, inside.max())
    size = max(abs(low), abs(high))
    pad = 0.05 * (high - low) if high - low > 1e-9 * size else 0.1 * size or 1.0
    return low - pad, high + pad


def _spread(coef):
    """Heights around a line, so that many points don't hide one another."""
    n_tasks = len(coef)
    if n_tasks < _CROWD:
        return np.zeros(n_tasks)
    rank = np.argsort(np.argsort(coef, kind="stable"), kind="stable")
    turn = (rank * 0.6180339887498949) % 1.0  # neighbours in value are far apart in height
    return (turn - 0.5) * min(0.4, 0.08 * np.sqrt(n_tasks / _CROWD))


def _scatter(ax, values, heights, limits, color, **style):
    """The points within the limits, and an arrow with their number for those beyond each."""
    inside = (values >= limits[0]) & (values <= limits[1])
    level = float(np.mean(heights))
    for edge, marker, beyond in (
        (limits[0], "<", values < limits[0]),
        (limits[1], ">", values > limits[1]),
    ):
        if not beyond.any():
            continue
        ax.scatter([edge], [level], s=34, marker=marker, color=color, clip_on=False, zorder=4)
        left = marker == "<"
        ax.annotate(
            f"{int(beyond.sum()):,} beyond", (edge, level), xytext=(7 if left else -7, 0),
            textcoords="offset points", ha="left" if left else "right", va="center",
            fontsize="x-small", color="0.3", zorder=4,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "lw": 0, "alpha": 0.8},
        )  # fmt: skip
    return ax.scatter(values[inside], heights[inside], zorder=3, **style)
