"""What every sharing structure is, and what a fit of one gives."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator

from ..guard.spread import Reach
from .restriction import UNRESTRICTED

__all__ = ["Sharing", "SharingFit"]

# Rows at which a task's error counts half in a comparison of fits.
_UNTOLD_ROWS = 10.0


@dataclass
class SharingFit:
    """A fitted sharing structure, on the caller's scale.

    With several sets of scores (a classifier of more than two classes) `coef` and `intercept`
    have a second axis for them, and the shared ones a first. `adapter` carries the shared part to
    a task to come; `spread` is that of new rows about their predictions, or None; `squares`, of
    shape (n_tasks, n_features), are the features' about the tasks' means.
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
    spread: object
    squares: np.ndarray

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
        with np.errstate(divide="ignore", invalid="ignore"):  # in the unit of the squares' weights
            own = self.strengths["alpha"] * self.adapter.copies.unit / scale**2
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
        spread = None if self.spread is None else self.spread.take(place[:-1])
        squares = np.zeros((len(seen), self.squares.shape[1]))
        squares[seen] = self.squares
        return replace(
            self, coef=coef, intercept=intercept, report=report, spread=spread, squares=squares
        )


class Sharing(BaseEstimator):
    """Base of the sharing structures."""

    def grid(self, n_tasks, strengths):
        """The candidates of this structure, a `Grid`, of the `Strengths` to choose from."""
        raise NotImplementedError

    def restriction(self, names):
        """What the structure restricts of the slopes of features so named, a `Restriction`."""
        return UNRESTRICTED

    def fit_problem(self, problem):
        """Fit on a `Problem` or a `LogisticProblem`; returns a `SharingFit`."""
        raise NotImplementedError
