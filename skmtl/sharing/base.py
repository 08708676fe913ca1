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


def fit_one(tuner, candidates):
    """The `SharingFit` of a single candidate, which nothing is compared with."""
    ones = Shares(np.ones((tuner.problem.n_tasks, 1)), np.ones(1), np.ones(1, dtype=bool))
    return _assemble(tuner, candidates, ones, None, {}, None)


def guarded_fit(tuner, candidates, families, limits):
    """The `SharingFit` of the candidates' blend, chosen and reported by a `Guard`."""
    guard = Guard(tuner, candidates, families)
    shares = guard.shares[0]
    report = guard.report(limits, np.r_[tuner.problem.target_units] ** 2)
    residual_scale = tuner.residual_scale(report["error_shared"], guard.judged, shares)
    return _assemble(tuner, candidates, shares, guard.judged, report, residual_scale)


def _assemble(tuner, candidates, shares, judged, report, residual_scale):
    """The final fit, on the caller's scale."""
    problem = tuner.problem
    coef, intercept, theta, residual, n_iter, thetas = tuner.solve(candidates, shares)
    adapter = tuner.adapter(candidates, shares, thetas, judged, residual_scale)
    pull = tuner.as_grid(candidates, judged).slope[int(np.argmax(shares.tasks.mean(0)))]
    history = {**tuner.columns(candidates), "weight": shares.tasks.mean(0)}
    if judged is not None:
        errors, rows = judged.totals()
        history["error"] = problem.target_units[0] ** 2 @ errors / max(rows.sum(), 1e-300)
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
    coef = coef * x_scale / y_scale + 0.0  # a slope that is turned round is no -0.0
    shared = theta[..., 1:] * x_scale / y_scale + 0.0
    return SharingFit(
        coef=coef,
        intercept=y_mean + intercept / y_scale - coef @ x_mean,
        shared_coef=shared,
        shared_intercept=y_mean + theta[..., 0] / y_scale - shared @ x_mean,
        strengths=tuner.strengths_of(candidates, history["weight"]),
        history=history,
        report=report,
        kkt_residual=residual,
        n_iter=n_iter,
        adapter=adapter,
        residual_scale=residual_scale,
        squares=problem.feature_squares(),
        pull=float(pull),
    )
