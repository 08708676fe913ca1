"""What every sharing structure is, and what a fit of one gives."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator

from ..guard.guard import Guard
from ..guard.residuals import Reach
from ..guard.shares import Shares
from .restriction import UNRESTRICTED

__all__ = ["Sharing", "SharingFit", "fit_one", "guarded_fit"]

# Rows at which a task's error counts half in a comparison of fits.
_UNTOLD_ROWS = 10.0


@dataclass
class SharingFit:
    """A fitted sharing structure, on the caller's scale.

    With several sets of scores (a classifier of more than two classes) `coef` and `intercept`
    have a second axis for them, and the shared ones a first. `adapter` carries the shared part to
    a task to come; `residual_scale` is that of new rows about their predictions, or None;
    `squares`, of shape (n_tasks, n_features), are the features' about the tasks' means; `pull` is
    the ridge on a task's own standardised slopes, in the unit of the squares' weights.
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
    pull: float = np.inf

    @property
    def target_scale(self):
        """The scale that the tasks share on."""
        return "table" if self.adapter.units is None else "task"

    def advantage_over(self, other, rows):
        """How much smaller the tasks' cross-validated errors are, in standard errors.

        On average over tasks, each in its own units; those of few `rows`, of which errors say
        little, count less.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.log(self.report["error_shared"] / other.report["error_shared"])[:-1]
        known = np.isfinite(gap)
        gap, weight = gap[known], rows[known] / (rows[known] + _UNTOLD_ROWS)
        if len(gap) < 2 or not gap.any():
            return 0.0
        weight = weight / weight.sum()
        mean, spare = weight @ gap, (weight**2).sum()
        return -mean * np.sqrt((1.0 - spare) / (spare * (weight @ (gap - mean) ** 2)))

    def reach(self, X):
        """The `Reach` of a fit on these rows."""
        scale = np.abs(self.adapter.scale[:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            own = self.pull / scale**2
        return Reach.of(X, self.squares, np.where(scale > 0, own, np.inf))

    def with_empty_tasks(self, seen):
        """The same with tasks that have no rows put in: they are what a task never seen is.

        Parameters
        ----------
        seen : bool ndarray of shape (n_all_tasks,)
        """
        if seen.all():
            return self
        coef = np.repeat(self.shared_coef[None], len(seen), axis=0)
        intercept = np.repeat(np.asarray(self.shared_intercept)[None], len(seen), axis=0)
        coef[seen], intercept[seen] = self.coef, self.intercept
        place = np.full(len(seen) + 1, -1)
        place[:-1][seen] = np.arange(seen.sum())
        report = {name: column[place] for name, column in self.report.items()}
        residual_scale = (
            None if self.residual_scale is None else self.residual_scale.take(place[:-1])
        )
        squares = np.zeros((len(seen), self.squares.shape[1]))
        squares[seen] = self.squares
        return replace(
            self,
            coef=coef,
            intercept=intercept,
            report=report,
            residual_scale=residual_scale,
            squares=squares,
        )


class Sharing(BaseEstimator):
    """Base of the sharing structures."""

    # Whether more features than rows may be replaced by coordinates in the span of the rows.
    rotation_invariant = True

    def check(self):
        """Raise a ValueError for parameters that are unfit."""

    def refuse_without_folds(self, names):
        """Raise the ValueError of strengths that are to be tuned without cross-validation."""
        raise ValueError(
            f"{', '.join(names)} of {type(self).__name__} being 'auto' needs cross-validation, but "
            "cv=None; give numbers, or set cv=5."
        )

    def restriction(self, names):
        """What the structure restricts of the slopes of features so named, a `Restriction`."""
        return UNRESTRICTED

    def fit_problem(self, problem):
        """Fit on a `Problem` or a `LogisticProblem`; returns a `SharingFit`."""
        raise NotImplementedError


def fit_one(problem, member):
    """Return the `SharingFit` of a member with a single candidate, compared with nothing."""
    ones = Shares(np.ones((problem.n_tasks, 1)), np.ones(1), np.ones(1, dtype=bool))
    return _assemble(problem, [member], ones)


def guarded_fit(problem, members, families, limits):
    """Return the `SharingFit` of the candidates' blend, chosen and reported by a `Guard`.

    Parameters
    ----------
    problem : Problem or LogisticProblem
    members : list of Member
        The first is the structure's.
    families, limits : bool ndarrays of shape (3, n_candidates) and (2, n_candidates)
        As `Guard` and `Guard.report` take them.
    """
    guard = Guard(problem, members, families)
    shares = guard.shares[0]
    report = guard.report(limits, np.r_[problem.target_units] ** 2)
    residual_scale = problem.residual_scale(report["error_shared"], guard.judged, shares)
    return _assemble(problem, members, shares, guard.judged, report, residual_scale)


def _assemble(problem, members, shares, judged=None, report=None, residual_scale=None):
    """Fit the blend on all rows, and return it on the caller's scale."""
    blend, grid, scalings = _solve(members, shares, judged)
    adapter = problem.adapter(grid, scalings, blend.thetas, shares, judged, residual_scale)
    weight, report = shares.tasks.mean(0), report or {}
    history = {**_columns(members), "weight": weight}
    if judged is not None:
        errors, rows = judged.totals()
        history["error"] = problem.target_units[0] ** 2 @ errors / max(rows.sum(), 1e-300)
    coef, intercept, theta = blend.coef, blend.intercept, blend.theta
    if problem.units is not None:
        problem.units.models(coef, intercept)
        location, scale = problem.units.unseen
        theta *= scale
        theta[0] += location
    x_scale, y_scale = problem.scale[:-1], problem.scale[-1]
    x_mean, y_mean = problem.centre[:-1], problem.centre[-1]
    if residual_scale is not None:
        residual_scale = residual_scale.scaled(*problem.target_units)
        report["residual_std"] = np.r_[residual_scale.std, residual_scale.unseen_std]
    coef = coef * x_scale / y_scale + 0.0  # no -0.0, where a feature's sign was reversed
    shared = theta[..., 1:] * x_scale / y_scale + 0.0
    strengths = members[0].strengths
    return SharingFit(
        coef=coef,
        intercept=y_mean + intercept / y_scale - coef @ x_mean,
        shared_coef=shared,
        shared_intercept=y_mean + theta[..., 0] / y_scale - shared @ x_mean,
        strengths=strengths[int(np.argmax(weight[: len(strengths)]))],
        history=history,
        report=report,
        kkt_residual=blend.residual,
        n_iter=blend.n_iter,
        adapter=adapter,
        residual_scale=residual_scale,
        squares=problem.feature_squares(),
        pull=float(grid.slope[int(np.argmax(weight))]),
    )


def _solve(members, shares, judged):
    """Return the `Blend` of all members' candidates, and these as a `Grid` with its scalings."""
    blend = grid = None
    first, scalings, new = 0, [], shares.for_new_tasks()[0]
    for member in members:
        stop = first + len(member)
        part, more = shares.take(slice(first, stop)), new[(new >= first) & (new < stop)] - first
        found, (candidates, scales) = member.solve(part, more), member.as_grid(judged)
        candidates = replace(candidates, scaling=candidates.scaling + len(scalings))
        blend = found if blend is None else blend.plus(found)
        grid = candidates if grid is None else grid.append(candidates)
        first, scalings = stop, [*scalings, *scales]
    return blend, grid, scalings


def _columns(members):
    """Return what the history shows: of the first member, padded for the candidates of others."""
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
