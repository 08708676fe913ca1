"""Which gains of a ``task_report_`` mean something: by task, and summed over tasks of a size.

Of a task's error :math:`E` with one way of sharing, and :math:`E_s` with what is fitted, the gain
is :math:`1 - E_s / E`. Its standard error is taken to be that of the difference :math:`E - E_s`, in
units of :math:`E`: on a few rows :math:`E` may be tiny by chance, and then neither means anything.

The variance of a row's difference is told from the task's own rows, and drawn to what is typical
as a few further rows would draw it: two rows may differ by next to nothing, by chance or as they
predict each other. Typical is the most of what all tasks' rows say, what those of tasks of its
size say, and what would make the scatter of :math:`(E - E_s) / (E + E_s)` among these mere noise.
This is the moderated t-statistic of Smyth (2004), :doi:`10.2202/1544-6115.1027`, with the weight
of the prior fixed.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

__all__ = [
    "OTHERS",
    "Gains",
    "SizeClasses",
    "by_size",
    "chance",
    "choose_named",
    "has_spreads",
    "mostly_noise",
    "sum_of_all",
    "task_gains",
]

OTHERS = ("independent", "pooled")
_LEVEL = 0.9772498680518208  # of the normal distribution below two standard deviations
_NOTHING = 0.005  # a gain that rounds to 0 % is none, however sure
_MOST_CLASSES = 8
_NORMAL = 2.0  # variance of a squared normal error, in units of its squared mean
_PRIOR = 4  # rows' worth of what all tasks tell of a task's variance
_FEW_TASKS = 5  # of fewer, their scatter tells less than their own standard errors


class Gains(NamedTuple):
    """Gains over one other way of sharing, and how far they can be told from nothing.

    Attributes
    ----------
    gain : ndarray of shape (n,)
    reach : ndarray of shape (n,)
        Two standard errors, or what Student's distribution asks for in their place on few rows;
        infinite where there is no standard error.
    solid : ndarray of bool of shape (n,)
        Whether the other's error, by which the gain is divided, exceeds two standard errors of its
        own.
    """

    gain: np.ndarray
    reach: np.ndarray
    solid: np.ndarray

    @property
    def telling(self):
        """Which mean something: known to within the other's error or, of a loss that is a multiple
        of it, both being more than noise."""
        beyond = self.solid & (np.abs(self.gain) > self.reach)
        return np.isfinite(self.gain) & ((self.reach <= 1.0) | beyond)

    @property
    def clear(self):
        """Which mean something and exceed two standard errors."""
        is_any = np.abs(self.gain) >= _NOTHING
        return self.telling & (np.abs(self.gain) > self.reach) & is_any

    def take(self, rows):
        """Those of some entries."""
        return Gains(self.gain[rows], self.reach[rows], self.solid[rows])


class SizeClasses(NamedTuple):
    """Tasks of a size, from the smallest, and the gains of their summed errors.

    Attributes
    ----------
    low, high : ndarray of shape (n_classes,)
        Rows of the smallest and of the largest task.
    n_tasks, n_samples : ndarray of shape (n_classes,)
        How many tasks there are, and how many rows they have together.
    errors : dict of ndarray of shape (n_classes,)
        "independent", "pooled" and "shared": errors a row.
    gains : dict of Gains
        Over "independent" and "pooled".
    """

    low: np.ndarray
    high: np.ndarray
    n_tasks: np.ndarray
    n_samples: np.ndarray
    errors: dict
    gains: dict


def has_spreads(report):
    """Whether the report holds what is needed to tell gains from noise."""
    names = (*OTHERS, "shared")
    return all(f"{key}_{name}" in report for key in ("error", "std_error") for name in names)


def _counts(report):
    """Rows by which every task was judged."""
    return np.asarray(report.get("n_tested", report["n_samples"]), dtype=float)


def _two(degrees):
    """What two standard errors are in Student's distribution of so many degrees of freedom."""
    degrees = np.asarray(degrees, dtype=float)
    return np.where(degrees >= 1, stdtrit(np.maximum(degrees, 1), _LEVEL), np.inf)


def _raw_spread(report, other):
    """Standard errors of the differences of the two errors, from every task's own rows.

    ``std_error_gain_over_...`` tells them where the report has it, from the rows' paired
    differences. Else the two errors are taken for uncorrelated; being of the same rows, they mostly
    are correlated, so that the true standard error is rather smaller.
    """
    paired = report.get(f"std_error_gain_over_{other}")
    if paired is not None:
        return np.asarray(paired, dtype=float) * np.asarray(report[f"error_{other}"], dtype=float)
    spreads = [np.asarray(report[f"std_error_{name}"], dtype=float) for name in (other, "shared")]
    return np.hypot(*spreads)


def _is_unseen(report):
    return np.array([task is None for task in report["task"]], dtype=bool)


def _moderated(report, own, scale, least):
    """Standard errors of means over a task's rows, drawn to those of other tasks.

    Parameters
    ----------
    report : dict of arrays
    own : ndarray of shape (n,)
        Told from the task's own rows.
    scale : ndarray of shape (n,)
        In units of which tasks are alike.
    least : float or ndarray of shape (n,)
        What a row's variance typically is at least, in units of the squared scale.

    Returns
    -------
    spread, degrees : ndarray of shape (n,)
        Standard errors and their degrees of freedom.
    """
    unseen, rows = _is_unseen(report), _counts(report)
    degrees = np.maximum(rows - 1, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = rows * (own / scale) ** 2
        told = ~unseen & np.isfinite(ratio) & (degrees > 0)
        degrees = np.where(told, degrees, 0.0)
        ratio = degrees * np.where(told, ratio, 0.0)
        typical = np.full(len(rows), ratio.sum() / degrees.sum())
        for mine in _classes(_sizes(report), ~unseen):
            typical[mine] = np.fmax(typical[mine], ratio[mine].sum() / degrees[mine].sum())
        typical = np.fmax(typical, least)
        degrees = degrees + _PRIOR
        spread = scale * np.sqrt((ratio + _PRIOR * typical) / degrees / rows)
    degrees[unseen] = (~unseen).sum() - 1.0  # there the tasks are what was drawn
    return np.where(unseen, own, spread), degrees


def _sizes(report):
    return np.asarray(report["n_samples"]).astype(np.int64)


def _scatter(report, difference, scale):
    """The variance of a row's difference that would make the scatter in a size mere noise."""
    unseen, rows = _is_unseen(report), _counts(report)
    out = np.full(len(rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = difference / scale
    known = ~unseen & np.isfinite(relative)
    for mine in _classes(_sizes(report), known):
        if len(mine) >= _FEW_TASKS:
            out[mine] = rows[mine] * relative[mine].var(ddof=1)
    return out


def _spread(report, other):
    """Standard errors of the differences of errors, and their degrees of freedom."""
    base, shared = (np.asarray(report[f"error_{name}"], dtype=float) for name in (other, "shared"))
    scale = base + shared
    return _moderated(
        report, _raw_spread(report, other), scale, _scatter(report, base - shared, scale)
    )


def task_gains(report, other):
    """The gains of every task over `other`, as `Gains`.

    Parameters
    ----------
    report : dict of arrays
        A ``task_report_``.
    other : {"independent", "pooled"}
    """
    gain = np.asarray(report[f"gain_over_{other}"], dtype=float)
    if not has_spreads(report):
        return Gains(gain, np.full(len(gain), np.inf), np.zeros(len(gain), dtype=bool))
    spread, degrees = _spread(report, other)
    base = np.asarray(report[f"error_{other}"], dtype=float)
    own = np.asarray(report[f"std_error_{other}"], dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = _two(degrees) * spread / base
        of_base, degrees = _moderated(report, own, base, _NORMAL)
        solid = _two(degrees) * of_base <= base
    return Gains(gain, np.where(np.isnan(reach), np.inf, reach), solid)


def by_size(report, tasks, *, one_class=False):
    """The gains of tasks of a size together: errors summed over their rows.

    Sizes are 1, 2, 3, 4 to 7, 8 to 15, ... rows, wider where that makes many classes. The
    standard error of a sum comes from the scatter of the tasks' differences about their mean or, of
    few tasks, from their own standard errors.

    Parameters
    ----------
    report : dict of arrays
        A ``task_report_``.
    tasks : ndarray of int
        Rows of the report.
    one_class : bool, default=False
        Whether all tasks are taken for one size.

    Returns
    -------
    SizeClasses
    """
    names = (*OTHERS, "shared")
    errors = {name: np.asarray(report[f"error_{name}"], dtype=float)[tasks] for name in names}
    known = np.isfinite(list(errors.values())).all(axis=0) & (_counts(report)[tasks] > 0)
    tasks = tasks[known]
    errors = {name: error[known] for name, error in errors.items()}
    rows = _counts(report)[tasks]
    sizes = np.asarray(report["n_samples"])[tasks].astype(np.int64)
    members = [np.arange(len(sizes))] if one_class and len(sizes) else _classes(sizes)
    total = np.array([rows[mine].sum() for mine in members])
    sums = {
        name: np.array([(rows[mine] * error[mine]).sum() for mine in members]) / total
        for name, error in errors.items()
    }
    gains = {}
    for other in OTHERS:
        spread = _spread(report, other)[0][tasks]
        difference = rows * (errors[other] - errors["shared"])
        reach = [
            _reach_of_sum(difference[mine], rows[mine], spread[mine]) / rows[mine].sum()
            for mine in members
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = 1.0 - sums["shared"] / sums[other]
            reach = np.array(reach) / sums[other]
        none = np.zeros(len(gain), dtype=bool)
        gains[other] = Gains(gain, np.where(np.isnan(reach), np.inf, reach), none)
    return SizeClasses(
        np.array([sizes[mine].min() for mine in members], dtype=np.int64),
        np.array([sizes[mine].max() for mine in members], dtype=np.int64),
        np.array([len(mine) for mine in members], dtype=np.int64),
        np.array([sizes[mine].sum() for mine in members], dtype=np.int64),
        sums,
        gains,
    )


def sum_of_all(report, tasks):
    """As `by_size`, with all `tasks` as one class."""
    return by_size(report, tasks, one_class=True)


def _reach_of_sum(difference, rows, spread):
    """Two standard errors of the sum of the tasks' differences, each of them summed over rows."""
    n_tasks = len(difference)
    if n_tasks >= _FEW_TASKS:
        about = difference - rows * (difference.sum() / rows.sum())
        return _two(n_tasks - 1) * np.sqrt(n_tasks / (n_tasks - 1) * (about @ about))
    return _two((rows - 1).sum() + _PRIOR) * np.sqrt(((rows * spread) ** 2).sum())


def _classes(sizes, among=None):
    """Which tasks, of those `among`, are of a size: arrays of positions, from the smallest on."""
    rows = np.arange(len(sizes)) if among is None else np.flatnonzero(among)
    if not len(rows):
        return []
    sizes = sizes[rows]
    octave = np.frexp(sizes.astype(float))[1]  # 4 to 7: 3
    level, step = np.where(sizes < 4, sizes - 1, octave), 1
    while len(np.unique(level)) > _MOST_CLASSES:
        step += 1
        level = (octave - 1) // step
    return [rows[level == one] for one in np.unique(level)]


# ------------------------------------------------------------------------------ what is to be named


def mostly_noise(report, tasks):
    """Whether most of the tasks have too few rows for gains of their own to mean anything."""
    telling = np.any([task_gains(report, other).telling[tasks] for other in OTHERS], axis=0)
    return bool(len(tasks)) and bool(telling.mean() < 0.5)


def choose_named(report, tasks, most, key="independent"):
    """Of tasks in order, those to be named where there are too many to name all.

    They gain or lose more than two standard errors over `key`, or lose as much over the other of
    independent and pooled. Where that are more than `most`, the first and the last are named.

    Returns
    -------
    named : ndarray of int
        Of `tasks`, in their order.
    n_clear : int
        How many there are.
    """
    clear = task_gains(report, key).clear
    for other in OTHERS:
        gains = task_gains(report, other)
        clear = clear | (gains.clear & (gains.gain < 0))
    clear = tasks[clear[tasks]]
    if len(clear) <= most:
        return clear, len(clear)
    top = (most + 1) // 2
    return np.concatenate([clear[:top], clear[len(clear) - (most - top) :]]), len(clear)


def chance(gains):
    """How many tasks would exceed two standard errors to one side by chance alone."""
    return round((1.0 - _LEVEL) * int(np.isfinite(gains.reach).sum()))
