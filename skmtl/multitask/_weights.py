"""The part of the multi-task estimators that deals with weights and losses per task."""

import functools
from dataclasses import replace

import numpy as np
from sklearn.base import is_classifier

from ..losses import LOG_LOSS, SQUARED_ERROR, TaskLosses
from ..sharing.task_noise import TaskNoise
from ..tasks.moments import block_moments
from ..tasks.rows import prefers_rows
from ..tasks.stack import linear_scores
from ..tasks.task_weights import (
    NoiseLevels,
    TaskFactors,
    balanced_factors,
    fit_with_noise,
    given_factors,
    is_mapping,
    noise_levels,
    shrunk_levels,
)

__all__ = ["WeightsMixin", "labels_of"]

# Most features of which noise levels are told by the likelihood of the tasks' slopes.
_MOST_FEATURES = 200
# Least degrees of freedom beyond these of a task whose noise level is not that of all tasks: with
# fewer, the likelihood of the logarithm is far from normal.
_LEAST_SPARE = 3.0


class WeightsMixin:
    """Read ``loss`` and ``task_weight``, and fit with weights of the tasks."""

    def _check_task_parameters(self, solver, labels, has_rows, table=None):
        """Check both parameters before anything is fitted.

        `labels` are those of all tasks in the order of ``tasks_``, an array or `TaskLabels`,
        `has_rows` is a mask of the tasks with rows, and `table` the `TaskTable` of all tasks.

        Returns
        -------
        losses : TaskLosses
            Those of the tasks with rows.
        given : ndarray of shape (n_tasks,) or None
            Weights of the tasks with rows, if they are a mapping.
        """
        default = LOG_LOSS if is_classifier(self) else SQUARED_ERROR
        every = TaskLosses.of(self.loss, labels, default)
        losses = every.take(np.flatnonzero(has_rows))
        self._check_losses(losses, solver)
        losses.check(default, solver, type(self).__name__)
        names = labels if isinstance(labels, np.ndarray) else labels.classes
        every.check_empty(has_rows, default, names)
        if table is not None and not is_classifier(self):
            every.check_targets(table.y, table.codes, names)
        if is_mapping(self.task_weight):
            given = given_factors(self.task_weight, labels)[has_rows]
            apart = 0 * losses.positions if hasattr(solver, "fit_rows") else losses.positions
            if not np.bincount(apart, given).all():
                where = "that have rows"
                if apart.any():
                    name = losses.losses[int(np.argmin(np.bincount(apart, given)))].name
                    where += f" and loss={name!r}"
                raise ValueError(
                    f"task_weight={dict(self.task_weight)!r} is zero for all tasks {where}; give "
                    "at least one of them a positive weight."
                )
            return losses, given
        if isinstance(self.task_weight, str) and self.task_weight == "uncertainty":
            self._check_uncertainty()
        return losses, None

    def _check_losses(self, losses, solver):
        """Raise a ValueError for parameters that the losses do not go with."""

    def _check_uncertainty(self):
        if is_classifier(self):
            raise ValueError(
                "task_weight='uncertainty' needs a noise level per task, which the log-loss of "
                "linear scores does not have: a temperature only rescales the scores, which every "
                "task has of its own. Set task_weight='balanced', a dict from tasks to weights, "
                "or None."
            )
        if self.keep_moments:
            raise ValueError(
                "keep_moments=True is for partial_fit, which task_weight='uncertainty' does not "
                "have, as noise levels need all rows at once; set keep_moments=False."
            )
        if self.cv is None:
            raise ValueError(
                "task_weight='uncertainty' needs cross-validation to learn noise levels, but "
                "cv=None; set cv=5, or task_weight to a dict from tasks to 1 / noise variance."
            )

    def _fit_weighted(self, solver, settled, losses, given, fit, progress):
        """Return the `SharingFit` with the weights of the tasks, and its noise variances or None.

        Parameters
        ----------
        solver : object
            The sharing structure.
        settled : Settled
        losses : TaskLosses
        given : ndarray of shape (n_tasks,) or None
            Weights that were given task by task.
        fit : callable
            Returns the fit of a `Settled` table.
        progress : Progress
        """
        table, kind = settled.table, self.task_weight
        learns_noise = isinstance(kind, str) and kind == "uncertainty"
        of_slopes, first = getattr(solver, "_has_task_slopes", False), None
        if learns_noise and (of_slopes or hasattr(solver, "fit_rows")):
            first = _noise_of_slopes(table)
        noise_of = functools.partial(_noise_of, table=table, of_slopes=of_slopes, first=first)
        if kind is None or not getattr(solver, "weighs_tasks", True):
            fitted = fit(settled)
            return fitted, noise_of(fitted).variance if learns_noise else None
        if learns_noise and losses.single is not self._loss:
            fitted = fit(settled)  # errors of several losses are not compared: it learns the noise
            return fitted, fitted.noise
        weight = table.task_sums(table.weights())
        if learns_noise:

            def fit_with(factors):
                return fit(replace(settled, table=replace(table, factors=factors)))

            tuned = getattr(solver, "tuned", hasattr(solver, "fit_rows"))
            return fit_with_noise(fit_with, noise_of, weight, progress, first, tuned)
        settled, factors = self._settled_with(settled, solver, given, weight)
        return fit(replace(settled, table=replace(table, factors=factors))), None

    @staticmethod
    def _settled_with(settled, solver, given, weight):
        """Return the `Settled` of balanced or given weights of the tasks, and `TaskFactors`.

        Given weights are normalised; strengths that are numbers are multiplied by the same factor,
        so that they stay in the unit of the caller's weights.
        """
        factors = balanced_factors(weight) if given is None else TaskFactors(given)
        mean = weight @ factors.values / weight.sum()
        if not getattr(solver, "tuned", hasattr(solver, "fit_rows")):
            settled = replace(settled, unit=settled.unit / mean)
        elif given is not None:
            factors = replace(factors, evidence=np.full(len(given), np.inf))
        return settled, factors.normalised(weight)

    def _weigh_moments(self, settled, solver, labels, has_rows, *moments):
        """Set the factors of moments that were added up, and return their `Settled`.

        `labels` are those of all tasks, as `labels_of` returns them.
        """
        _, given = self._check_task_parameters(solver, labels, has_rows)
        if self.task_weight is None or not getattr(solver, "weighs_tasks", True):
            return settled
        settled, factors = self._settled_with(settled, solver, given, moments[-1].weight)
        for part in moments:
            part.factors = factors
        return settled

    def _store_noise(self, fitted):
        """Set ``task_noise_``, or remove that of an earlier fit."""
        self.__dict__.pop("task_noise_", None)
        if fitted.noise is not None:
            self.task_noise_ = np.sqrt(fitted.noise)


def _noise_of(fitted, table, of_slopes, first):
    """Return the `NoiseLevels` of the tasks of a table after a fit.

    Parameters
    ----------
    fitted : SharingFit
    table : TaskTable
    of_slopes : bool
        Whether linear models have slopes of every task, for all features.
    first : NoiseLevels or None
        What `_noise_of_slopes` returns for the table.
    """
    codes, weight = table.codes, table.weights()
    rows, unit = table.task_sums(weight), fitted.target_units**2
    held_out = fitted.report["error_shared"][:-1] / unit
    if fitted.learned is not None and fitted.learned.model is not None:
        # Learners such as trees have almost no error on the rows of the fit.
        return NoiseLevels(unit * noise_levels(held_out, held_out, rows))
    effects = 0.0 if fitted.crossed is None else fitted.crossed.whole
    if of_slopes and fitted.crossed is None and not np.ptp(unit):
        found = first
    elif of_slopes:
        found = _noise_of_slopes(replace(table, y=(table.y - effects) / np.sqrt(unit)[codes]))
        found = found and replace(found, variance=unit * found.variance)
    else:
        found = None
    if found is not None:
        return found
    if fitted.above is not None:  # the models of the tasks contain what groups of tasks add
        effects = 0.0
    coef = np.vstack([fitted.coef, fitted.shared_coef])  # the last is for no task
    fit = linear_scores(table.X[table.rows], coef, fitted.intercept, codes)[:, 0]
    training = table.task_sums(weight * (table.y - effects - fit) ** 2) / rows / unit
    return NoiseLevels(unit * noise_levels(held_out, training, rows))


def _noise_of_slopes(table):
    """Return the `NoiseLevels` beyond slopes of every task; None if these tell none."""
    if table.n_features > _MOST_FEATURES or prefers_rows(table, 1):
        return None
    found = TaskNoise.learn(block_moments(replace(table, factors=None)).merge())
    known = found.spare >= _LEAST_SPARE
    if not known.any():
        return None
    log_variance = np.where(known, found.log_variance, np.nan)
    variance = shrunk_levels(log_variance, found.sampling[known])
    return NoiseLevels(variance, np.exp(found.log_slopes) / variance)


def labels_of(rows, y, n_tasks):
    """Return the labels of all tasks, in the order of ``tasks_``."""
    if rows.labels is not None:
        return rows.labels
    if y.ndim == 2 and rows.targets is not None:
        return rows.targets
    return np.arange(n_tasks)
