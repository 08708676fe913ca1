"""Candidates of partial pooling as a member of the guard, whatever the loss."""

from copy import copy
from dataclasses import dataclass

import numpy as np

from ..guard.member import Member

__all__ = ["Blend", "PoolingMember"]


@dataclass
class Blend:
    """A weighted average of candidates, on the standardised scale.

    With several sets of scores (a classifier of more than two classes), they are the second axis
    of `coef` and `intercept`, and the last but one of `theta` and `thetas`.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    theta : ndarray of shape (1 + n_features,)
        Intercept and slopes for a task never seen.
    thetas : ndarray of shape (n_candidates, 1 + n_features)
        The candidates' shared intercepts and slopes; zero for candidates that nobody uses.
    residual : float, default=0.0
        Certificate of the candidate with the largest weight: a blend has no objective of its own.
    n_iter : int, default=1
    weight : float, default=0.0
        That weight, on average over tasks.
    """

    coef: np.ndarray
    intercept: np.ndarray
    theta: np.ndarray
    thetas: np.ndarray
    residual: float = 0.0
    n_iter: int = 1
    weight: float = 0.0

    def plus(self, other):
        """Return the sum with a blend of other candidates."""
        coef, intercept = self.coef + other.coef, self.intercept + other.intercept
        thetas = np.concatenate([self.thetas, other.thetas])
        theta, heavier = self.theta + other.theta, max(self, other, key=lambda one: one.weight)
        return Blend(
            coef, intercept, theta, thetas, heavier.residual, heavier.n_iter, heavier.weight
        )

    def fix(self, fixed, slopes):
        """Set the slopes that do not differ by task, which rounding would tell apart."""
        self.coef[..., fixed] = slopes[..., None, fixed]
        self.theta[..., 1:][..., fixed] = slopes[..., fixed]
        self.thetas[..., 1:][..., fixed] = slopes[..., fixed]
        return self


class PoolingMember(Member):
    """Candidates of partial pooling: base of the members for squares and for the log-loss.

    A blend with weights per task gives every task its own slopes. Where the slopes of some
    features must be equal in all tasks, these slopes are averaged first, with the tasks' mean
    weights, and the candidates are then solved again given the average.

    Parameters
    ----------
    problem : Problem or LogisticProblem
    grid : Grid
    scalings : list of Scaling

    Attributes
    ----------
    given : ndarray of shape ([n_scores,] n_features) or None
        Shared slopes, of which those of features that do not vary are held fixed.
    """

    given = None

    def __init__(self, problem, grid, scalings):
        self.problem, self.grid, self.scalings = problem, grid, scalings

    def __len__(self):
        return len(self.grid)

    @property
    def are_pooled(self):
        return self.grid.are_pooled

    def log_prior(self, rows):
        return self.grid.log_prior(self.n_varying, rows.mean(), self.problem.strengths)

    @property
    def n_varying(self):
        """Features that are not constant and whose slopes vary by task under each candidate."""
        live = self.problem.scale[:-1] != 0
        counts = [(live if s.varies is None else live & s.varies).sum() for s in self.scalings]
        return np.array(counts)[self.grid.scaling]

    def of_candidates(self, attribute):
        """Return an attribute of every candidate's `Scaling`, as a list."""
        return [getattr(self.scalings[k], attribute) for k in self.grid.scaling]

    def take(self, candidates):
        """Return the member with some of the candidates."""
        other = copy(self)
        other.grid = self.grid.take(candidates)
        return other

    def by_scaling(self):
        """Yield every scaling in use and the positions of its candidates."""
        for k in np.unique(self.grid.scaling):
            yield self.scalings[k], np.flatnonzero(self.grid.scaling == k)

    def needed(self, shares, more=()):
        """Return the positions of candidates with any weight, and of `more`."""
        needed = shares.tasks.any(axis=0) | (shares.crowd > 0)
        needed[np.asarray(more, dtype=np.int64)] = True
        return np.flatnonzero(needed)

    def must_agree(self, shares, more=()):
        """Whether a blend would give the tasks different slopes where these must be equal.

        `more` are further candidates in use, those for new tasks.
        """
        needed = self.needed(shares, more)
        varies = self.problem.restriction.varies
        if varies is None or len(needed) < 2:
            return False
        return all(self.scalings[k].varies is not None for k in self.grid.scaling[needed])

    def holding(self, slopes):
        """Return the member with the slopes of features that do not vary held fixed."""
        other = copy(self)
        other.given = slopes
        return other

    def solve(self, shares, more):
        if self.must_agree(shares, more):
            slopes = self.mean_slopes(shares)
            blend = self.holding(slopes).blend(None, shares, more).fix(self.fixed, slopes)
        else:
            blend = self.blend(None, shares, more)
        blend.weight = shares.tasks.mean(0).max(initial=0.0)
        return blend

    @property
    def fixed(self):
        """Mask of the features whose slopes do not differ by task."""
        return ~self.problem.restriction.varies

    def blend_held_out(self, judged, shares):
        """Yield the held-out errors of each split where the blend `must_agree`, ``(n_tasks,)``."""
        share = shares.tasks.mean(0)
        for (train, test), first in zip(self.problem.splits(), judged.first, strict=True):
            # All tasks have the first task's slopes where slopes do not vary.
            slopes = np.tensordot(share, first, axes=1)
            blend = self.holding(slopes).blend(train, shares).fix(self.fixed, slopes)
            yield self.problem.held_out_errors(test, blend)

    def as_grid(self, judged):
        return self.grid, self.scalings

    @property
    def strengths(self):
        """Strengths of every candidate in the unit of the caller's weights: a list of dicts."""
        columns = {n: v for n, v in self.columns.items() if n.startswith("alpha")}
        masks = self.problem.restriction.as_dict()
        return [
            {**{name: float(values[c]) for name, values in columns.items()}, **masks}
            for c in range(len(self))
        ]

    @property
    def columns(self):
        """What the history shows of the candidates, by name."""
        grid, unit = self.grid, self.problem.copies.unit
        return {
            "alpha": grid.slope / unit,
            "alpha_intercept": grid.intercept / unit,
            "alpha_shared": grid.ridge / unit,
            "per_feature": np.array(self.of_candidates("per_feature")),
            "within_tasks": np.array(self.of_candidates("apart")),
        }
