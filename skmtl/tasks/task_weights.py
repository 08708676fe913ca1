r"""Weights of whole tasks, in the fit of what all tasks share.

The rows of task t are weighted by :math:`w_i f_t` in every fit. What is measured on held-out rows
(errors of candidates, residuals, sizes of tasks, units of the target) is measured with the plain
weights :math:`w_i`: a task does not become larger, nor its errors smaller, by its weight.
"""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import polygamma

from .encode import by_task

__all__ = [
    "NoiseLevels",
    "TaskFactors",
    "balanced_factors",
    "fit_with_noise",
    "given_factors",
    "is_mapping",
    "noise_levels",
    "shrunk_levels",
]

# Rounds of fit and noise levels, which end once all levels change by less than a tenth: an error
# of this size in a weight has no visible effect on the fit.
_MOST_ROUNDS, _SETTLED = 5, 0.1
# Least noise variance, relative to the median task's: a task without noise has a bounded weight.
_LEAST_VARIANCE = 1e-5
# Least ratio of errors on the rows of a fit to held-out ones: a fit that passes through its rows
# says nothing about the noise.
_LEAST_RATIO = 0.05
# Quantiles of inverse noise variances over the rows, which are normalised.
_QUARTILE, _NEARLY_NONE = 0.75, 0.1
# Least weight of rows of nearly all tasks, in a unit of tuned strengths, and the largest factor for
# it: some tasks have weights near zero because they are not to count.
_LEAST_FACTOR, _MOST_FACTOR = 0.1, 1e4
# Most steps for the variance of noise levels over tasks.
_MOST_STEPS = 50


@dataclass(frozen=True)
class TaskFactors:
    """Factors on the weights of the rows of every task.

    Attributes
    ----------
    values : ndarray of shape (n_tasks,)
    of_noise : bool
        Whether they are inverse noise variances, which depend on the units of the tasks' targets.
    evidence : ndarray of shape (n_tasks,) or None
        Variance of the tasks' slopes relative to that of the noise, on standardised features; inf
        if unknown. None if strengths are not tuned.
    """

    values: np.ndarray
    of_noise: bool = False
    evidence: np.ndarray | None = None

    def take(self, tasks):
        """Return the factors of some of the tasks."""
        evidence = None if self.evidence is None else self.evidence[tasks]
        return replace(self, values=self.values[tasks], evidence=evidence)

    def in_units(self, scale):
        """Return the factors for targets divided by the `scale` of their tasks."""
        return replace(self, values=self.values * scale**2) if self.of_noise else self

    def normalised(self, weight):
        """Return the factors with a mean of one, inverse variances with an upper quartile of one.

        A quartile does not depend on tasks that are nearly without noise. Strengths are then in
        rows of the quieter tasks, and noisy ones, whose own verdicts are chance, cannot have
        strengths that are much lower. Tuned strengths have a lower bound, though: if that of most
        likelihood, 1 / `evidence` in rows of a task, were below one, factors are multiplied until
        it is one, or nearly all factors are at least one (`_LEAST_FACTOR` for other weights).
        `weight` are the total weights of the tasks, over which means and quantiles are taken.
        """
        share, values = weight / weight.sum(), self.values
        unit = _quantile(values, share, _QUARTILE) if self.of_noise else share @ values
        values = values / unit
        if self.evidence is not None:
            least = 1.0 if self.of_noise else _LEAST_FACTOR
            live = values > 0.0  # tasks may have weights of zero
            needed = np.median(self.evidence[live] / values[live])
            most = least / _quantile(values[live], share[live] / share[live].sum(), _NEARLY_NONE)
            values = values * np.clip(needed, 1.0, np.clip(most, 1.0, _MOST_FACTOR))
        return replace(self, values=values)

    def weighted_errors(self, errors):
        """Return squared errors ``(n_tasks, n_candidates)``, relative to known noise variances."""
        return errors * self.values[:, None] if self.of_noise else errors

    @property
    def of_scores(self):
        """Factors on log-likelihoods, which already refer to the noise of the task."""
        return np.ones_like(self.values) if self.of_noise else self.values


def balanced_factors(weight):
    """Return the `TaskFactors` that give tasks with these total weights the same weight."""
    return TaskFactors(weight.sum() / (len(weight) * weight))


@dataclass(frozen=True)
class NoiseLevels:
    """Noise levels of the tasks.

    Attributes
    ----------
    variance : ndarray of shape (n_tasks,)
        Noise variances.
    evidence : ndarray of shape (n_tasks,) or None
        As in `TaskFactors`; None is unknown.
    """

    variance: np.ndarray
    evidence: np.ndarray | None = None

    def factors(self, weight, tuned=True):
        """Return the normalised `TaskFactors`; `tuned` says whether strengths are tuned."""
        evidence = self.evidence
        if evidence is None:
            evidence = np.full(len(self.variance), np.inf)
        factors = TaskFactors(1.0 / self.variance, True, evidence if tuned else None)
        return factors.normalised(weight)


def _quantile(values, share, level):
    """Return a quantile of values with weights that sum to one."""
    order = np.argsort(values)
    return values[order[np.searchsorted(np.cumsum(share[order]), level - 1e-9)]]


def given_factors(task_weight, labels):
    """Return the factors ``(n_tasks,)`` of a mapping from tasks to weights, by default one.

    Parameters
    ----------
    task_weight : mapping
    labels : ndarray of shape (n_tasks,) or TaskLabels

    Raises
    ------
    ValueError
        For a key that is not a task, and for weights that are negative, not finite or all zero.
    """
    for label, weight in task_weight.items():
        number = isinstance(weight, numbers.Real) and not isinstance(weight, (bool, np.bool_))
        if not number or not 0.0 <= weight < np.inf:
            raise ValueError(
                f"task_weight gives task {label!r} the weight {weight!r}; weights must be finite "
                "numbers of at least zero: correct it, or leave the task out for a weight of one."
            )
    values = np.ones(len(labels))
    for position, weight in by_task(task_weight, labels, "task_weight").items():
        values[position] = weight
    if not values.any():
        raise ValueError(
            f"task_weight={dict(task_weight)!r} is zero for all tasks; give at least one task a "
            "positive weight."
        )
    return values


def is_mapping(task_weight):
    """Return whether weights are given task by task."""
    return isinstance(task_weight, Mapping)


def noise_levels(held_out, training, rows):
    r"""Return the noise variances of tasks from errors on held-out rows and on the rows of the fit.

    The error of a model, beyond the noise, adds to its held-out errors and takes away from those on
    the rows of the fit. With the leverage h of the rows, :math:`s_{held-out} = s_{training} /
    (1 - h)^2`, and the variance of the noise is :math:`s_{training} / (1 - h)`: the geometric mean
    of both (Golub, Heath & Wahba 1979), with (1 - h) n degrees of freedom. Their logarithms are
    shrunk towards the mean, by their sampling variances and their variance :math:`\tau^2` over
    tasks. As weights by chance differences would do harm, :math:`\tau^2` is the moment estimate
    less the standard error that it has if all tasks are alike.

    Parameters
    ----------
    held_out, training : ndarray of shape (n_tasks,)
        Mean squared errors; NaN if a task has no held-out rows.
    rows : ndarray of shape (n_tasks,)
        Numbers of rows.

    References
    ----------
    Golub, G. H., Heath, M. and Wahba, G. (1979). Generalized cross-validation as a method for
    choosing a good ridge parameter. Technometrics 21(2). :doi:`10.1080/00401706.1979.10489751`
    """
    known = held_out > 0.0
    if not known.any():
        return np.ones(len(rows))
    spare = np.sqrt(np.clip(training[known] / held_out[known], _LEAST_RATIO, 1.0))  # 1 - h
    out = np.full(len(rows), np.nan)
    out[known] = np.log(held_out[known] * spare)
    return shrunk_levels(out, polygamma(1, rows[known] * spare / 2.0))


def shrunk_levels(log_variance, sampling):
    """Return noise variances, whose logarithms are shrunk towards their mean.

    Parameters
    ----------
    log_variance : ndarray of shape (n_tasks,)
        NaN if unknown.
    sampling : ndarray of shape (n_known,)
        Sampling variances of those that are known.
    """
    known = np.isfinite(log_variance)
    found = log_variance[known]
    found = np.maximum(found, np.median(found) + np.log(_LEAST_VARIANCE))
    between, centre = _spread(found, sampling)
    out = np.full(len(log_variance), centre)
    out[known] += between / (between + sampling) * (found - centre)
    return np.exp(out)


def _spread(values, sampling):
    """Return the variance of values over tasks beyond their sampling variances, and their mean."""
    between, centre, n_spare = 0.0, values.mean(), len(values) - 1
    for _ in range(_MOST_STEPS if n_spare else 0):
        share = 1.0 / (sampling + between)
        share /= share.sum()
        centre, noise = share @ values, share @ sampling
        found = share @ (values - centre) ** 2 / (1.0 - share @ share)
        before, between = between, max(found - noise * (1.0 + np.sqrt(2.0 / n_spare)), 0.0)
        if abs(between - before) <= 1e-6 * (1.0 + between):
            break
    return between, centre


def fit_with_noise(fit, noise_of, weight, progress, first=None, tuned=True):
    """Fit alternately with the noise levels of the tasks, until these settle.

    Parameters
    ----------
    fit : callable
        Called with `TaskFactors` or None; returns a `SharingFit`.
    noise_of : callable
        Called with a `SharingFit`; returns the `NoiseLevels` of the tasks.
    weight : ndarray of shape (n_tasks,)
        Total weights of the tasks.
    progress : callable
        Called with a line of text.
    first : NoiseLevels, optional
        Those of the first fit; without them, all rows count alike there.
    tuned : bool
        Whether strengths are tuned.

    Returns
    -------
    fitted : SharingFit
        The last fit.
    noise : ndarray of shape (n_tasks,)
        Its noise variances.
    """
    factors = None if first is None else first.factors(weight, tuned)
    if first is not None and _are_alike(factors.values):
        factors = None
    for number in range(1, _MOST_ROUNDS + 1):
        fitted = fit(factors)
        noise = noise_of(fitted)
        if number == _MOST_ROUNDS:
            break
        found = noise.factors(weight, tuned)
        if _are_alike(found.values / (1.0 if factors is None else factors.values)):
            break
        progress(f"noise of the tasks: round {number}")
        factors = found
    return fitted, noise.variance


def _are_alike(ratios):
    """Return whether ratios of inverse variances are about the same in every task."""
    logs = np.log(ratios)
    return 0.5 * np.abs(logs - np.median(logs)).max() <= _SETTLED
