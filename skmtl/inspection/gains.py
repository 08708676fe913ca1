r"""Gains of a ``task_report_`` with their uncertainty: per task, and summed over tasks of a size.

With :math:`E` a task's error under another way of sharing (independent or pooled), and :math:`E_s`
its error under the fitted sharing, the gain is :math:`1 - E_s / E`. Its standard error is that of
the difference :math:`E - E_s`, divided by :math:`E`. On few rows :math:`E` may be tiny by chance,
and then neither the gain nor its standard error is meaningful.

The variance of a row's difference is estimated from the task's own rows and shrunk towards a prior
value, because a few rows may differ by next to nothing, by chance or because they predict each
other. The prior value is the largest of three estimates: from the rows of all tasks; from the rows
of the tasks of the same size; and the variance at which noise alone would explain the scatter of
:math:`(E - E_s) / (E + E_s)` among the tasks of that size. The prior counts as a fixed number of
rows. This is the moderated t-statistic of Smyth (2004), :doi:`10.2202/1544-6115.1027`, with a
fixed prior weight.
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
    "has_standard_errors",
    "is_telling",
    "is_unseen",
    "mostly_noise",
    "sum_of_all",
    "task_gains",
]

OTHERS = ("independent", "pooled")
_LEVEL = 0.9772498680518208  # of the normal distribution below two standard deviations
_ROUNDS_TO_ZERO = 0.005  # a smaller gain is shown as 0 %, and counts as none
_MOST_CLASSES = 8
_NORMAL = 2.0  # variance of a squared normal error, in units of its squared mean
_PRIOR_ROWS = 4  # weight of the prior variance
_FEW_TASKS = 5  # with fewer, their own standard errors say more than their scatter


class Gains(NamedTuple):
    """Gains over one other way of sharing, with their uncertainty.

    Attributes
    ----------
    gain : ndarray of shape (n,)
    reach : ndarray of shape (n,)
        Two standard errors, or the equivalent quantile of Student's distribution on few rows;
        infinite where there is no standard error.
    solid : ndarray of bool of shape (n,)
        Whether the other error, by which the gain is divided, exceeds two standard errors of its
        own.
    """

    gain: np.ndarray
    reach: np.ndarray
    solid: np.ndarray

    @property
    def telling(self):
        """Whether each gain is meaningful.

        Its uncertainty is at most the other error; or the gain is a loss of several times that
        error, and both the loss and the error exceed two standard errors.
        """
        beyond = self.solid & (np.abs(self.gain) > self.reach)
        return np.isfinite(self.gain) & ((self.reach <= 1.0) | beyond)

    @property
    def clear(self):
        """Whether each gain is meaningful and exceeds two standard errors."""
        is_any = np.abs(self.gain) >= _ROUNDS_TO_ZERO
        return self.telling & (np.abs(self.gain) > self.reach) & is_any

    def take(self, rows):
        """Return the gains of some entries."""
        return Gains(self.gain[rows], self.reach[rows], self.solid[rows])


class SizeClasses(NamedTuple):
    """Classes of tasks of similar size, smallest first, and the gains of their summed errors.

    Attributes
    ----------
    low, high : ndarray of shape (n_classes,)
        Rows of the smallest and of the largest task.
    n_tasks, n_samples : ndarray of shape (n_classes,)
        Number of tasks, and of their rows in total.
    errors : dict of ndarray of shape (n_classes,)
        "independent", "pooled" and "shared": errors per row.
    gains : dict of Gains
        Over "independent" and "pooled".
    """

    low: np.ndarray
    high: np.ndarray
    n_tasks: np.ndarray
    n_samples: np.ndarray
    errors: dict
    gains: dict


def has_standard_errors(report):
    """Return whether the report has all errors and their standard errors."""
    keys = [f"{key}_{name}" for key in ("error", "std_error") for name in (*OTHERS, "shared")]
    return all(key in report for key in keys)


def is_unseen(report):
    """Return for every entry of the report whether it is the task never seen."""
    return np.array([task is None for task in report["task"]], dtype=bool)


def _column(report, key):
    return np.asarray(report[key], dtype=float)


def _n_tested(report):
    """Return the number of rows from which each task's errors were measured."""
    return np.asarray(report.get("n_tested", report["n_samples"]), dtype=float)


def _two_standard_errors(degrees):
    """Return the quantile of Student's distribution that stands for two standard errors."""
    degrees = np.asarray(degrees, dtype=float)
    return np.where(degrees >= 1, stdtrit(np.maximum(degrees, 1), _LEVEL), np.inf)


def _raw_standard_error(report, other):
    """Return the standard error of each task's difference of errors, from its own rows alone.

    ``std_error_gain_over_...`` has it, from the rows' paired differences, if the report does.
    Otherwise the two errors are taken to be uncorrelated. Being of the same rows, they mostly are
    positively correlated, so that the true standard error is smaller.
    """
    if f"std_error_gain_over_{other}" in report:
        return _column(report, f"std_error_gain_over_{other}") * _column(report, f"error_{other}")
    return np.hypot(_column(report, f"std_error_{other}"), _column(report, "std_error_shared"))


def _moderated(report, raw, scale, least):
    """Shrink standard errors of means over a task's rows towards those of other tasks.

    Parameters
    ----------
    report : dict of arrays
    raw : ndarray of shape (n,)
        Standard errors from each task's own rows.
    scale : ndarray of shape (n,)
        Unit in which the variances of tasks are comparable.
    least : float or ndarray of shape (n,)
        Smallest prior variance of a row, in units of the squared scale.

    Returns
    -------
    standard_error, degrees : ndarray of shape (n,)
        Moderated standard errors and their degrees of freedom.
    """
    unseen, rows = is_unseen(report), _n_tested(report)
    degrees = np.maximum(rows - 1, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = rows * (raw / scale) ** 2
        known = ~unseen & np.isfinite(variance) & (degrees > 0)
        degrees = np.where(known, degrees, 0.0)
        squares = degrees * np.where(known, variance, 0.0)
        prior = np.full(len(rows), squares.sum() / degrees.sum())
        for members in _classes(_sizes(report), ~unseen):
            of_size = squares[members].sum() / degrees[members].sum()
            prior[members] = np.fmax(prior[members], of_size)
        prior = np.fmax(prior, least)
        degrees = degrees + _PRIOR_ROWS
        moderated = scale * np.sqrt((squares + _PRIOR_ROWS * prior) / degrees / rows)
    degrees[unseen] = (~unseen).sum() - 1.0  # the error of an unseen task is a mean over tasks
    return np.where(unseen, raw, moderated), degrees


def _sizes(report):
    return np.asarray(report["n_samples"]).astype(np.int64)


def _variance_of_scatter(report, difference, scale):
    """Return the variance of a row's difference that would explain the scatter within a size."""
    unseen, rows = is_unseen(report), _n_tested(report)
    out = np.full(len(rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = difference / scale
    known = ~unseen & np.isfinite(relative)
    for members in _classes(_sizes(report), known):
        if len(members) >= _FEW_TASKS:
            out[members] = rows[members] * relative[members].var(ddof=1)
    return out


def _standard_error(report, other):
    """Return standard errors of the differences of errors, and their degrees of freedom."""
    base, shared = _column(report, f"error_{other}"), _column(report, "error_shared")
    scale = base + shared
    least = _variance_of_scatter(report, base - shared, scale)
    return _moderated(report, _raw_standard_error(report, other), scale, least)


def task_gains(report, other):
    """Return the gains of every task over `other`.

    Parameters
    ----------
    report : dict of arrays
        A ``task_report_``.
    other : {"independent", "pooled"}

    Returns
    -------
    Gains
    """
    gain = _column(report, f"gain_over_{other}")
    if not has_standard_errors(report):
        return Gains(gain, np.full(len(gain), np.inf), np.zeros(len(gain), dtype=bool))
    standard_error, degrees = _standard_error(report, other)
    base = _column(report, f"error_{other}")
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = _two_standard_errors(degrees) * standard_error / base
        of_base, degrees = _moderated(report, _column(report, f"std_error_{other}"), base, _NORMAL)
        solid = _two_standard_errors(degrees) * of_base <= base
    return Gains(gain, np.where(np.isnan(reach), np.inf, reach), solid)


def by_size(report, tasks, *, one_class=False):
    """Return the gains of tasks of similar size taken together: errors summed over their rows.

    Sizes are 1, 2, 3, 4 to 7, 8 to 15, ... rows, or wider classes if there would be too many. The
    standard error of a sum comes from the scatter of the tasks' differences about their mean or,
    for few tasks, from their own standard errors.

    Parameters
    ----------
    report : dict of arrays
        A ``task_report_``.
    tasks : ndarray of int
        Rows of the report.
    one_class : bool, default=False
        Whether to put all tasks into one class.

    Returns
    -------
    SizeClasses
    """
    errors = {name: _column(report, f"error_{name}")[tasks] for name in (*OTHERS, "shared")}
    known = np.isfinite(list(errors.values())).all(axis=0) & (_n_tested(report)[tasks] > 0)
    tasks = tasks[known]
    rows, sizes = _n_tested(report)[tasks], _sizes(report)[tasks]
    classes = [np.arange(len(sizes))] if one_class and len(sizes) else _classes(sizes)

    def sums(values):
        return np.array([values[members].sum() for members in classes])

    total = sums(rows)
    errors = {name: sums(rows * error[known]) / total for name, error in errors.items()}
    gains = {}
    for other in OTHERS:
        standard_error = rows * _standard_error(report, other)[0][tasks]
        base, shared = (_column(report, f"error_{name}")[tasks] for name in (other, "shared"))
        difference = rows * (base - shared)
        reach = [
            _reach_of_sum(difference[members], rows[members], standard_error[members])
            for members in classes
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = 1.0 - errors["shared"] / errors[other]
            reach = np.array(reach) / total / errors[other]
        none = np.zeros(len(gain), dtype=bool)
        gains[other] = Gains(gain, np.where(np.isnan(reach), np.inf, reach), none)
    return SizeClasses(
        np.array([sizes[members].min() for members in classes], dtype=np.int64),
        np.array([sizes[members].max() for members in classes], dtype=np.int64),
        np.array([len(members) for members in classes], dtype=np.int64),
        sums(sizes).astype(np.int64),
        errors,
        gains,
    )


def sum_of_all(report, tasks):
    """Return `by_size` with all `tasks` in one class."""
    return by_size(report, tasks, one_class=True)


def _reach_of_sum(difference, rows, standard_error):
    """Return two standard errors of the sum of the tasks' differences.

    `difference` and `standard_error` are those of the task's error summed over its rows.
    """
    n_tasks = len(difference)
    if n_tasks >= _FEW_TASKS:
        residual = difference - rows * (difference.sum() / rows.sum())
        variance = n_tasks / (n_tasks - 1) * (residual @ residual)
        return _two_standard_errors(n_tasks - 1) * np.sqrt(variance)
    degrees = (rows - 1).sum() + _PRIOR_ROWS
    return _two_standard_errors(degrees) * np.sqrt((standard_error**2).sum())


def _classes(sizes, among=None):
    """Group tasks (those `among`, or all) by size; return arrays of positions, smallest first."""
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


# ------------------------------------------------------------------------- which tasks to name


def is_telling(report):
    """Return for every entry whether its gain over independent or over pooled is meaningful."""
    return np.any([task_gains(report, other).telling for other in OTHERS], axis=0)


def mostly_noise(report, tasks):
    """Return whether most of the tasks have too few rows for a meaningful gain."""
    return bool(len(tasks)) and bool(is_telling(report)[tasks].mean() < 0.5)


def choose_named(report, tasks, most, key="independent"):
    """Choose the tasks to name where there are too many to name them all.

    These gain or lose more than two standard errors over `key`, or lose as much over the other one
    of independent and pooled. If they are more than `most`, the first and the last of them.

    Returns
    -------
    named : ndarray of int
        Some of `tasks`, in the same order.
    n_clear : int
        Number of tasks that gain or lose as much.
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
    """Return how many tasks would exceed two standard errors on one side by chance alone."""
    return round((1.0 - _LEVEL) * int(np.isfinite(gains.reach).sum()))
