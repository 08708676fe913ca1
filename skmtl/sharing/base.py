"""Base class of the sharing structures, and the result of a fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..guard.guard import Guard
from ..guard.residuals import OutOfRangeVariance
from ..guard.shares import Shares
from ..losses import SQUARED_ERROR, TaskLosses
from .held_out import HeldOut
from .inference import n_effective_of
from .restriction import UNRESTRICTED, Restriction

__all__ = ["Sharing", "SharingFit", "fit_one", "guarded_fit"]

# Number of rows for which a task has half of its full weight in a comparison of fits.
_HALF_WEIGHT_ROWS = 10.0


@dataclass
class SharingFit:
    """A fitted sharing structure, on the caller's scale.

    With several sets of scores (a classifier with more than two classes), they are the second axis
    of `coef` and `intercept`, and the first axis of the shared model.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    shared_coef : ndarray of shape (n_features,)
    shared_intercept : float
    strengths : dict
        Strengths of the structure's candidate with the largest weight.
    history, report : dict of arrays
    kkt_residual : float
    n_iter : int
    adapter : Adapter
        Fits models of new tasks.
    residual_scale : ResidualScale or None
    squares : ndarray of shape (n_tasks, n_features)
        Squares of the features about the tasks' means.
    slope_strength : float, default=np.inf
        Ridge on the task-specific standardised slopes, in the unit of the weights of the squares.
    held_out : HeldOut or None
        Predictions of the rows, if the problem asks for them.
    learned : LearnedFit or None
        Learners beside the linear models.
    noise : ndarray of shape (n_tasks,) or None
        Noise variances of the tasks, where they are learned.
    target_units : ndarray of shape (n_tasks,) or None
        Units of the tasks' targets in which the fit compares their errors.
    crossed : CrossedEffects or None
        Effects of grouping columns, which the models of the tasks do not contain, and of levels
        above the tasks, which they contain.
    above : LevelModels or None
        Models of the levels above the tasks.
    left_out : tuple of ndarray of shape (n_left_out,), or None
        Tasks that were left out, and the errors per row of an unseen task's model on them.
    loss : Loss or TaskLosses
        The loss with all its parameters, in the caller's units; several ones with that of a task
        never seen, last.
    strangers : Strangers or None
        What is known of new tasks in groups that are not known.
    inference : Inference or None
        Standard errors of what all tasks share, and the effective number of parameters.
    set_thresholds : SetThresholds or None
        Thresholds of prediction sets, of a classification that was cross-validated.
    by_loss : dict of pairs of Loss and SharingFit
        Names of losses whose tasks were fitted apart from those of other losses.
    """

    coef: np.ndarray
    intercept: np.ndarray
    shared_coef: np.ndarray
    shared_intercept: np.ndarray
    strengths: dict
    history: dict
    report: dict
    kkt_residual: float
    n_iter: int
    adapter: object
    residual_scale: object
    squares: np.ndarray
    slope_strength: float = np.inf
    held_out: HeldOut | None = None
    learned: object = None
    noise: np.ndarray | None = None
    target_units: np.ndarray | None = None
    crossed: object = None
    above: object = None
    left_out: tuple | None = None
    loss: object = SQUARED_ERROR
    strangers: object = None
    inference: object = None
    set_thresholds: object = None
    by_loss: dict = field(default_factory=dict)

    def advantage_over(self, other, rows):
        """Return how much smaller the cross-validated errors are, in standard errors.

        The logarithms of the ratios of errors are averaged over tasks. Tasks with few `rows`, whose
        errors are noisy, have smaller weights.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.log(self.report["error_shared"] / other.report["error_shared"])[:-1]
        known = np.isfinite(gap)
        gap, weight = gap[known], rows[known] / (rows[known] + _HALF_WEIGHT_ROWS)
        if len(gap) < 2 or not gap.any():
            return 0.0
        weight = weight / weight.sum()
        mean, spare = weight @ gap, (weight**2).sum()
        return -mean * np.sqrt((1.0 - spare) / (spare * (weight @ (gap - mean) ** 2)))

    def out_of_range(self, X):
        """Return the `OutOfRangeVariance` of a fit on these rows."""
        scale = np.abs(self.adapter.scale[:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            strength = np.where(scale > 0, self.slope_strength / scale**2, np.inf)
        return OutOfRangeVariance.of(X, self.squares, strength)

    def with_empty_tasks(self, seen):
        """Return the fit with tasks without rows inserted, which get the model of an unseen task.

        With levels above the tasks it is that of an unseen task in their groups.

        Parameters
        ----------
        seen : bool ndarray of shape (n_all_tasks,)
            False for the tasks to insert.
        """
        if seen.all():
            return self
        coef = np.repeat(self.shared_coef[None], len(seen), axis=0)
        intercept = np.repeat(np.asarray(self.shared_intercept)[None], len(seen), axis=0)
        squares = np.zeros((len(seen), self.squares.shape[1]))
        if self.above is not None:
            coef, intercept = self.above.added(coef, intercept, self.above.levels.parents)
        coef[seen], intercept[seen], squares[seen] = self.coef, self.intercept, self.squares
        position = np.full(len(seen) + 1, -1)
        position[:-1][seen] = np.arange(seen.sum())
        return replace(
            self,
            coef=coef,
            intercept=intercept,
            report={name: column[position] for name, column in self.report.items()},
            residual_scale=self.residual_scale and self.residual_scale.take(position[:-1]),
            squares=squares,
            loss=self.loss.take(position) if isinstance(self.loss, TaskLosses) else self.loss,
            noise=None if self.noise is None else np.append(self.noise, np.nan)[position[:-1]],
            learned=self.learned and self.learned.with_empty_tasks(seen),
            set_thresholds=self.set_thresholds and self.set_thresholds.take(position[:-1]),
        )

    def left_out_advantage_over(self, other, rows, groups):
        """Return how much smaller the errors on left-out tasks are, in standard errors.

        The logarithms of the ratios of errors are averaged over tasks as in `advantage_over`. Tasks
        of one group share its effect, so that groups are the units of the standard error.

        Parameters
        ----------
        other : SharingFit
        rows : ndarray of shape (n_tasks,)
        groups : int ndarray of shape (n_tasks,)
        """
        (tasks, errors), (_, others) = self.left_out, other.left_out
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.log(others / errors)
        known = np.isfinite(gap)
        tasks, gap = tasks[known], gap[known]
        weight, group = rows[tasks] / (rows[tasks] + _HALF_WEIGHT_ROWS), groups[tasks]
        total, sums = np.bincount(group, weight), np.bincount(group, weight * gap)
        total, sums = total[total > 0], sums[total > 0]
        if len(total) < 2 or not sums.any():
            return 0.0
        spread = len(total) / (len(total) - 1) * ((sums - gap @ weight / weight.sum() * total) ** 2)
        return sums.sum() / np.sqrt(max(spread.sum(), 1e-300))

    def predicts_better_than(self, other, rows, groups):
        """Return whether groups of tasks improve predictions, compared with a fit without them.

        They do if errors are smaller on known tasks, or by a standard error on left-out tasks, and
        on neither larger by a standard error. Slopes of groups, which are easily mistaken, are to
        improve predictions of known tasks by a standard error, or of both kinds.

        Parameters
        ----------
        other : SharingFit
        rows : ndarray of shape (n_tasks,)
            Weights of the tasks.
        groups : int ndarray of shape (n_tasks,)
            Groups of the tasks.
        """
        known = self.advantage_over(other, rows)
        new = self.left_out_advantage_over(other, rows, groups)
        least = 1.0 if self.above.has_slopes else 0.0
        return min(known, new) > -1.0 and (known > least or (new > 1.0 and known > least - 1.0))

    def with_baselines_of(self, other):
        """Return the fit with the baselines of another one in its report."""
        kept = ("independent", "pooled")
        more = {name: v for name, v in other.report.items() if name.endswith(kept)}
        return replace(self, report={**self.report, **more})


class Sharing(BaseEstimator):
    """Base class of the sharing structures."""

    # Whether more features than rows may be replaced by coordinates in the span of the rows.
    rotation_invariant = True
    # Whether tasks share a part of the model, in whose fit tasks may have weights.
    weighs_tasks = True
    # Whether tasks may have slopes of their own for all features.
    _has_task_slopes = False
    # Whether the structure learns from tasks of squared error and of log-loss together.
    mixes_losses = False
    # Whether its linear models minimise any losses, those of each loss on their own.
    takes_scores = False

    def _refuse_without_folds(self, names):
        """Raise the ValueError for strengths that cannot be tuned without cross-validation."""
        raise ValueError(
            f"{', '.join(names)} of {type(self).__name__}: strengths that are 'auto' need "
            "cross-validation, but cv=None; give numbers, or set cv=5."
        )

    def restriction(self, names: Sequence[str]) -> Restriction:
        """Return the restriction of the slopes.

        Parameters
        ----------
        names : sequence of str
            Names of the features.

        Returns
        -------
        Restriction
            Features whose slopes differ by task, and features whose slopes have a sign.
        """
        return UNRESTRICTED

    def fit_problem(self, problem: Any) -> SharingFit:
        """Fit the models of all tasks.

        Parameters
        ----------
        problem : Problem or NewtonProblem
            The data.

        Returns
        -------
        SharingFit
            The fitted models.
        """
        return self._fit_problem(problem)

    def _fit_problem(self, problem):
        raise NotImplementedError


def fit_one(problem, member):
    """Return the `SharingFit` of a member with a single candidate, without a guard."""
    ones = Shares(np.ones((problem.n_tasks, 1)), np.ones(1), np.ones(1, dtype=bool))
    return _assemble(problem, [member], ones)


def guarded_fit(problem, members, allowed, baselines):
    """Return the `SharingFit` of the blend that a `Guard` chooses and reports.

    Parameters
    ----------
    problem : Problem or NewtonProblem
    members : list of Member
        The first one is that of the structure. Beside what the guard asks for, every member has
        ``as_grid``, by which new tasks are adapted to, and the first one ``strengths`` and
        ``columns``, as `PoolingMember` has them.
    allowed, baselines : lists of three and two bool ndarrays of shape (n_candidates,)
        Masks that `Guard` and `Guard.report` take.
    """
    guard = Guard(problem, members, allowed)
    report = guard.report(baselines, problem.error_units)
    shares = guard.shares[0]
    residual_scale = problem.residual_scale(report["error_shared"], guard.judged, shares)
    fitted = _assemble(problem, members, shares, guard.judged, report, residual_scale)
    fitted.left_out = guard.left_out(problem.error_units)
    fitted.set_thresholds = problem.set_thresholds(guard.judged, guard.left, shares)
    if problem.nested_splits is not None:
        fitted.held_out = HeldOut.of(problem, members[0], shares, guard.left)
    return fitted


def _assemble(problem, members, shares, judged=None, report=None, residual_scale=None):
    """Fit the blend on all rows, and return it on the caller's scale."""
    blend, grid, scalings = _solve(members, shares, judged)
    adapter = problem.adapter(grid, scalings, blend.shared_models, shares, judged, residual_scale)
    weight, report = shares.tasks.mean(0), report or {}
    inference = _inference(problem, len(members[0]), weight, grid, scalings, blend)
    history = {**_columns(members), "weight": weight}
    if judged is not None:
        errors, rows = judged.totals()
        history["error"] = problem.error_units[:-1] @ errors / max(rows.sum(), 1e-300)
    coef, intercept, shared = blend.coef, blend.intercept, blend.shared
    if problem.units is not None:
        problem.units.convert_models(coef, intercept)
        problem.units.convert_unseen(shared)
    if residual_scale is not None:
        residual_scale = residual_scale.scaled(*problem.target_units)
        report["residual_std"] = np.r_[residual_scale.std, residual_scale.unseen_std]
    coef, intercept = problem.in_caller_units(coef, intercept)
    shared_coef, shared_intercept = problem.in_caller_units(shared[..., 1:], shared[..., 0])
    strengths = members[0].strengths
    return SharingFit(
        coef=coef,
        intercept=intercept,
        shared_coef=shared_coef,
        shared_intercept=shared_intercept,
        strengths=strengths[int(np.argmax(weight[: len(strengths)]))],
        history=history,
        report=report,
        kkt_residual=blend.residual,
        n_iter=max(1, blend.n_iter),  # the start may be the solution
        adapter=adapter,
        residual_scale=residual_scale,
        squares=problem.feature_squares(),
        slope_strength=float(grid.slope[int(np.argmax(weight))]),
        target_units=problem.target_units[0],
        loss=problem.fitted_loss,
        inference=inference,
    )


def _inference(problem, n_own, weight, grid, scalings, blend):
    """Return the `Inference` of a blend, of which the first `n_own` candidates are the structure's.

    If these have no strengths, the grid has estimates of them for new tasks, which say nothing of
    the accuracy of what is shared; standard errors are then those of the baselines, if these have
    most of the weight.
    """

    def candidate(k):
        return grid.slope[k], grid.intercept[k], grid.ridge[k], scalings[grid.scaling[k]]

    if blend.n_effective is None:
        return problem.inference(candidate(int(np.argmax(weight))), blend)
    others = n_own + np.flatnonzero(weight[n_own:])
    spent = blend.n_effective + sum(
        weight[k] * n_effective_of(problem, candidate(k)) for k in others
    )
    has_most = weight[:n_own].sum() >= 0.5
    heaviest = None if has_most else candidate(n_own + int(np.argmax(weight[n_own:])))
    return problem.inference(heaviest, blend, spent)


def _solve(members, shares, judged):
    """Return the `Blend` of all candidates, and their `Grid` and scalings."""
    blend = grid = None
    start, scalings, new = 0, [], shares.for_new_tasks()[0]
    for member in members:
        stop = start + len(member)
        more = new[(new >= start) & (new < stop)] - start
        part = member.solve(shares.take(slice(start, stop)), more)
        candidates, more_scalings = member.as_grid(judged)
        candidates = replace(candidates, scaling=candidates.scaling + len(scalings))
        blend = part if blend is None else blend.plus(part)
        grid = candidates if grid is None else grid.append(candidates)
        start, scalings = stop, [*scalings, *more_scalings]
    return blend, grid, scalings


def _columns(members):
    """Return the columns of the history: those of the first member, padded for the others."""
    first, *others = members
    if not others:
        return first.columns
    n_others, columns = sum(map(len, others)), {}
    for name, values in first.columns.items():
        missing = np.nan if values.dtype.kind in "iuf" else None
        columns[name] = np.append(values, np.full(n_others, missing))
    pooled = np.concatenate([member.are_pooled for member in others])
    kinds = np.where(pooled, "pooled", "independent")
    return {**columns, "member": np.append(np.full(len(first), "own"), kinds)}
