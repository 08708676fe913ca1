"""The rows of a fit with learners, and the linear models beside them."""

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import threadpool_limits

from ..._jit import on_this_machine
from ...guard.prediction_sets import SetThresholds, label_scores
from ...guard.stacking import RowLosses, SquaredErrors
from ...losses import LOG_LOSS, SQUARED_ERROR, mean_and_std
from ...tasks.copies import Settled
from ...tasks.keys import mixed
from .design import Rows, encoded

__all__ = ["RowProblem"]

# From this many rows, or numbers in a table of not so few rows, a learner is judged on one split,
# and then fitted on all rows.
_ONE_SPLIT_ROWS = 20_000
_ONE_SPLIT_NUMBERS, _FEWEST_FOR_ONE_SPLIT = 1_000_000, 5_000
# Fewest numbers in a table whose learners are fitted in several processes.
_FEWEST_FOR_PROCESSES = 10_000
# Bounds of the probabilities in working responses.
_LEAST_PROBABILITY = 0.01


@dataclass
class RowProblem:
    """The rows of a fit, sorted by task, in an order that depends on their content only.

    Attributes
    ----------
    rows : Rows
    y, weight : ndarray of shape (n_rows,)
        The target of a classification contains the codes of the classes.
    n_levels : ndarray of shape (n_columns,)
        Levels of the categories of the view.
    group : ndarray of shape (n_rows,)
        Equal rows of a task have the same number, and become one row of their joint weight before
        a learner sees them.
    partitions : list of Partition
        Schemes of cross-validation, in the order of the rows.
    fit_linear : callable
        Called with a structure of linear models and, optionally, another target of the rows, or
        other features; returns a `SharingFit`, with `HeldOut` predictions in the order of the rows
        if it is given ``nested_splits``.
    n_tasks : int
    loss : Loss
    n_classes : int
        Number of classes; 0 in a regression.
    n_jobs : int or None
    seed : int
    progress : callable
    estimator : estimator or None
        A further learner that the user gives.
    factors : ndarray of shape (n_rows,) or None
        Weights of the rows' tasks, by which weights are multiplied in the fit of a learner.
    task_losses : TaskLosses or None
        The loss of every task.
    learns_noise : bool
        Whether a structure that takes a loss per task learns the noise of each task.
    scale_by_task : bool
        Whether such a structure has a scale of the target for each task.
    copies : Settled
        Unit of the weights, and whether equal rows are copies; without the table.
    has_groupings : bool
        Whether the predictions of linear models contain effects of grouping columns.

    Attributes
    ----------
    target : ndarray of shape (n_rows,)
        The target as learners see it: standardised, or codes of classes.
    encoded : ndarray of shape (n_rows, n_scores)
        The target as the loss sees it: standardised, or 0 and 1 for every score.
    """

    rows: Rows
    y: np.ndarray
    weight: np.ndarray
    n_levels: np.ndarray
    group: np.ndarray
    partitions: list
    fit_linear: object
    n_tasks: int
    loss: object = SQUARED_ERROR
    n_classes: int = 0
    n_jobs: int | None = None
    seed: int = 0
    progress: object = field(default=lambda text: None)
    estimator: object = None
    factors: object = None
    task_losses: object = None
    learns_noise: bool = False
    scale_by_task: bool = False
    copies: Settled = Settled(None)
    has_groupings: bool = False

    @classmethod
    def of(cls, settled, parts, fit_table, X, view, **options):
        """Return the problem of a table.

        Parameters
        ----------
        settled : Settled
            The table with keys of its rows.
        parts : list of Partition
        fit_table : callable
            Called with a structure of linear models, a `Settled` table and keyword arguments of
            the problem; returns a `SharingFit`.
        X : {ndarray, csr matrix} of shape (n_samples, n_features)
            Features after preprocessing.
        view : RowView
            Features for learners.
        **options : dict
            Further attributes.
        """
        table = settled.table
        # Learners may depend on the order of the rows, which depends on their content only.
        order = np.lexsort((table.weights(), table.y, mixed(table.keys)))
        where = table.rows[order]

        def fit_linear(structure, y=None, scores=None, keeps_features=True, **options):
            packed = settled
            if y is not None:
                target = np.empty(len(order))
                target[order] = y
                packed = replace(settled, table=replace(table, y=target))
            if scores is not None:
                packed = _with_scores(settled, where, scores, keeps_features)
            fitted = fit_table(structure, packed, **options)
            if fitted.held_out is None:
                return fitted
            nested, offsets = fitted.held_out.nested[:, order], fitted.held_out.offsets
            offsets = None if offsets is None else offsets[order]
            held_out = replace(fitted.held_out, nested=nested, offsets=offsets)
            return replace(fitted, held_out=held_out)

        return cls(
            Rows(X[where], view.take(where), table.codes[order]),
            table.y[order],
            table.weights()[order],
            view.n_levels,
            _groups_of_equal_rows(table, order),
            [replace(part, block=part.block[order]) for part in parts],
            fit_linear,
            table.n_tasks,
            factors=None if table.factors is None else _factors_of_rows(table)[order],
            copies=replace(settled, table=None),
            **options,
        )

    def __post_init__(self):
        mean, std = 0.0, 1.0
        if self.has_other_losses:
            self.use_units(*self.task_losses.units(self.y, self.rows.codes, self.weight))
            return
        if not self.n_classes:
            mean, std = mean_and_std(self.y, self.weight)
        self.use_units(np.full(self.n_tasks + 1, mean), np.full(self.n_tasks + 1, std))

    @property
    def has_other_losses(self):
        """Whether any task has another loss than `loss`."""
        return self.task_losses is not None and self.task_losses.single is not self.loss

    @property
    def new_loss(self):
        """The loss of a task never seen."""
        return self.task_losses.of_new(self.loss)

    @cached_property
    def has_log_loss(self):
        """Mask ``(n_tasks + 1,)`` of tasks with targets 0 and 1 in a regression, a new one last."""
        if not self.has_other_losses:
            return np.zeros(self.n_tasks + 1, dtype=bool)
        return np.append(self.task_losses.of_kind(LOG_LOSS), self.new_loss is LOG_LOSS)

    @property
    def n_scores(self):
        """Number of score sets: one in a regression and for two classes, else one per class."""
        return self.n_classes if self.n_classes > 2 else 1

    def use_units(self, location, scale):
        """Set the location and the scale of every task's target, as learners see it."""
        self.location, self.scale = location, scale
        own = scale[~self.has_log_loss]  # the scale of log-odds is no unit
        self.has_task_units = bool((own != own[:1]).any())
        self.target = self.standardised(self.y[:, None])[:, 0]
        self.encoded = encoded(self.target, self.n_scores)

    def standardised(self, scores):
        """Return scores ``(..., n_rows, n_scores)`` of all rows in the units of the learners."""
        codes = self.rows.codes
        return (scores - self.location[codes, None]) / self.scale[codes, None]

    def averaged(self, nested):
        """Return scores ``(n_rows, n_scores)`` of held-out rows, averaged over splits.

        They are NaN for rows that are never held out.

        Parameters
        ----------
        nested : ndarray of shape (n_splits, n_rows, n_scores)
            As in `HeldOut`.
        """
        first = self.partitions[0]
        test = first.test[:, first.block, None]
        times = test.sum(axis=0)
        total = np.where(test, nested, 0.0).sum(axis=0)
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)

    def losses(self, scores, chosen=slice(None)):
        """Return the losses of the chosen rows, squared errors in a regression."""
        loss = self.loss.value(scores, self.encoded[chosen])
        return loss if self.n_classes else 2.0 * loss

    def mean_errors(self, scores, chosen):
        """Return mean losses ``(n_members,)`` of the chosen rows, in the caller's units.

        `scores` are those of members, ``(n_chosen, n_members, n_scores)``.
        """
        unit = self.scale[self.rows.codes[chosen]] ** 2
        losses = [unit * self.losses(part, chosen) for part in scores.transpose(1, 0, 2)]
        return np.average(losses, axis=1, weights=self.weight[chosen])

    def held_out(self, scores, chosen, target=None):
        """Return the held-out rows of members, as the guard learns weights from them.

        Parameters
        ----------
        scores : ndarray of shape (n_chosen, n_members, n_scores)
        chosen : ndarray
            Mask or positions of the rows.
        target : ndarray of shape (n_chosen, n_scores), optional
            Targets other than `encoded`.
        """
        part = self.weight[chosen], self.rows.codes[chosen], self.n_tasks, self.task_rows
        target = self.encoded[chosen] if target is None else target
        if self.n_classes:
            return RowLosses(scores, target, self.loss, *part)
        return SquaredErrors(scores[:, :, 0] - target, *part)

    def label_scores(self, scores, chosen):
        """Return what `SetThresholds.learn` takes of rows with these scores of the classes.

        Parameters
        ----------
        scores : ndarray of shape (n_chosen, n_scores)
        chosen : ndarray
            Mask or positions of the rows.
        """
        found = label_scores(self.loss.means(scores), self.y[chosen])
        return found, self.rows.codes[chosen], self.weight[chosen]

    def set_thresholds(self, scores, chosen, left=None):
        """Return the `SetThresholds` of a classification, from the scores of held-out rows.

        `left` are the `label_scores` of left-out tasks, if there are any.
        """
        return SetThresholds.learn(*self.label_scores(scores, chosen), self.n_tasks, left)

    def left_over(self, base):
        """Return what a learner of residuals is to predict, and the weights of the rows.

        In a classification these are the working responses of Newton's method and their weights
        (Friedman et al. 2000), with probabilities bounded away from 0 and 1.

        Parameters
        ----------
        base : ndarray of shape (n_rows, 1)
            Scores.
        """
        if not self.n_classes:
            return self.target - base[:, 0], self.weight
        mean = np.clip(self.loss.means(base)[:, 0], _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
        curvature = self.loss.curvature(mean)
        weight = self.weight * curvature
        # Forests take the sum of the weights as the number of rows to draw.
        weight *= self.weight.sum() / np.nansum(weight)
        return (self.target - mean) / curvature, weight

    @cached_property
    def task_rows(self):
        """Weights ``(n_tasks,)`` of the tasks' rows."""
        return np.bincount(self.rows.codes, self.weight, minlength=self.n_tasks)

    @cached_property
    def n_distinct(self):
        """Number of different rows."""
        return len(np.unique(self.group))

    def merged(self, chosen, weight):
        """Return one row of every group among the chosen rows, and the weights of the groups.

        `weight` are weights of all rows.
        """
        _, first, group = np.unique(self.group[chosen], return_index=True, return_inverse=True)
        if len(first) == len(chosen):
            return chosen, weight[chosen]
        order = np.argsort(first)  # keeps the order of the rows
        return chosen[first[order]], np.bincount(group, weight[chosen])[order]

    def n_splits_with(self, n_rows):
        """Return how many of the first splits it takes to hold out so many rows, or all."""
        first = self.partitions[0]
        held_out = np.cumsum(first.test[:, first.block].sum(axis=1))
        return min(int(np.searchsorted(held_out, n_rows)) + 1, len(held_out))

    @property
    def n_judged_splits(self):
        """Number of splits that learners are judged on: one for large tables, else all."""
        n = self.n_distinct
        wide = n >= _FEWEST_FOR_ONE_SPLIT and n * self.rows.X.shape[1] >= _ONE_SPLIT_NUMBERS
        return 1 if wide or n >= _ONE_SPLIT_ROWS else len(self.partitions[0].train)

    def with_factors(self, rows, weight):
        """Return weights of rows, multiplied by the weights of their tasks."""
        return weight if self.factors is None else weight * self.factors[rows]

    @property
    def n_rows(self):
        return len(self.y)

    def run(self, function, arguments, in_processes=True):
        """Yield ``function(problem, *args)`` for each of the arguments, in their order.

        With `n_jobs`, large tables are given to processes. Every call has one thread: OpenMP's are
        slow on thousands of rows, and wait for each other where cores are shared.
        """
        with on_this_machine():
            n_jobs = min(effective_n_jobs(self.n_jobs), len(arguments))
            parallel = Parallel(n_jobs, return_as="generator")
        is_small = self.n_rows * self.rows.X.shape[1] < _FEWEST_FOR_PROCESSES
        if n_jobs <= 1 or is_small or not in_processes:
            for args in arguments:
                yield _with_one_thread(function, self, args)
            return
        bare = copy.copy(self)
        bare.fit_linear = bare.progress = None  # these are functions within functions
        calls = (delayed(_with_one_thread)(function, bare, args) for args in arguments)
        yield from parallel(calls)


def _with_one_thread(function, problem, args):
    with threadpool_limits(1), on_this_machine():
        return function(problem, *args)


def _factors_of_rows(table):
    """Return the factors of the packed rows with a mean of one, as learners expect of weights."""
    values = table.factors.values[table.codes]
    return values / np.average(values, weights=table.weights())


def _groups_of_equal_rows(table, order):
    """Return the same number for equal rows of a task, in the given order of the rows."""
    parts = [part[order] for part in (table.codes, table.keys, table.y)]
    found = np.lexsort(parts)
    new = np.zeros(len(order), dtype=bool)
    for part in parts:
        new[1:] |= part[found[1:]] != part[found[:-1]]
    group = np.empty(len(order), dtype=np.int64)
    group[found] = np.cumsum(new)
    return group


def _with_scores(settled, where, scores, keeps_features):
    """Return a `Settled` table with scores as features.

    Parameters
    ----------
    settled : Settled
    where : ndarray of shape (n_rows,)
        Positions of the rows in the features of the table.
    scores : ndarray of shape (n_rows, n_scores)
    keeps_features : bool
        Whether the scores are added to the features, or take their place.
    """
    table, n_scores = settled.table, scores.shape[1]
    columns = np.zeros((table.X.shape[0], n_scores))
    columns[where] = scores
    trust = np.ones(n_scores)
    if keeps_features:
        columns = np.column_stack([table.X, columns])
        trust = np.append(np.broadcast_to(settled.trust, table.n_features), trust)
    return replace(settled, table=replace(table, X=columns), trust=trust)
