"""Candidates of partial pooling as members of the guard, for every loss."""

from copy import copy
from dataclasses import dataclass

import numpy as np

from ..guard.member import Member

__all__ = ["Blend", "PoolingMember", "refit_without"]


@dataclass
class Blend:
    """A weighted average of candidates, on the standardised scale.

    With several sets of scores (a classifier with more than two classes), they are the second axis
    of `coef` and `intercept`, and the last but one of `shared` and `shared_models`.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    shared : ndarray of shape (1 + n_features,)
        Intercept and slopes for an unseen task.
    shared_models : ndarray of shape (n_candidates, 1 + n_features)
        Shared intercepts and slopes of the candidates; zero for candidates without weight.
    residual : float, default=0.0
        Certificate of the candidate with the largest weight, as a blend has no objective; the
        largest of all candidates with weight if these solve themselves.
    n_iter : int, default=1
    weight : float, default=0.0
        Largest weight of a candidate, averaged over tasks.
    n_effective : float or None
        Effective number of parameters, if it does not follow from the candidates' strengths.
    """

    coef: np.ndarray
    intercept: np.ndarray
    shared: np.ndarray
    shared_models: np.ndarray
    residual: float = 0.0
    n_iter: int = 1
    weight: float = 0.0
    n_effective: float | None = None

    def plus(self, other):
        """Return the sum with a blend of other candidates, whose strengths are known."""
        heavier = max(self, other, key=lambda blend: blend.weight)
        return Blend(
            self.coef + other.coef, self.intercept + other.intercept, self.shared + other.shared,
            np.concatenate([self.shared_models, other.shared_models]),
            max(self.residual, other.residual), heavier.n_iter, heavier.weight, self.n_effective,
        )  # fmt: skip


class PoolingMember(Member):
    """Candidates of partial pooling: base of the members for squared errors and for the log-loss.

    A blend with weights per task gives all slopes of every task different values. If the slopes of
    some features must be equal in all tasks, they are first averaged with the mean weights of the
    tasks, and the candidates are then solved again with these slopes held fixed.

    Parameters
    ----------
    problem : Problem or NewtonProblem
    grid : Grid
    scalings : list of SlopeScaling

    Attributes
    ----------
    given : ndarray of shape ([n_scores,] n_features) or None
        Shared slopes. Those of features that do not vary by task are held fixed.
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
        """Numbers of features whose slopes vary by task, without constant ones, per candidate."""
        live = self.problem.scale[:-1] != 0
        counts = [(live if s.varies is None else live & s.varies).sum() for s in self.scalings]
        return np.array(counts)[self.grid.scaling]

    def take(self, candidates):
        """Return the member with some of the candidates."""
        other = copy(self)
        other.grid = self.grid.take(candidates)
        return other

    def needed(self, shares, more=()):
        """Return the positions of candidates with any weight, and of `more`."""
        needed = shares.tasks.any(axis=0) | (shares.unseen > 0)
        needed[np.asarray(more, dtype=np.int64)] = True
        return np.flatnonzero(needed)

    def must_agree(self, shares, more=()):
        """Return whether a blend would make slopes differ that must be equal in all tasks.

        `more` are the positions of further candidates in use, those for new tasks.
        """
        needed = self.needed(shares, more)
        if self.problem.restriction.varies is None or len(needed) < 2:
            return False
        return all(self.scalings[k].varies is not None for k in self.grid.scaling[needed])

    def solve(self, shares, more):
        if self.must_agree(shares, more):
            blend = self.blend_given(self.mean_slopes(shares), None, shares, more)
        else:
            blend = self.blend(None, shares, more)
        blend.weight = shares.tasks.mean(0).max(initial=0.0)
        return blend

    @property
    def fixed(self):
        """Mask of the features whose slopes do not differ by task."""
        return ~self.problem.restriction.varies

    def blend_given(self, slopes, data, shares, more=()):
        """Return the blend in which slopes that do not differ by task are exactly those given."""
        other, fixed = copy(self), self.fixed
        other.given = slopes
        blend = other.blend(data, shares, more)
        blend.coef[..., fixed] = slopes[..., None, fixed]
        blend.shared[..., 1:][..., fixed] = slopes[..., fixed]
        blend.shared_models[..., 1:][..., fixed] = slopes[..., fixed]
        return blend

    def blend_held_out(self, judged, shares):
        share = shares.tasks.mean(0)
        for (train, test), coef in zip(self.problem.splits(), judged.first_coef, strict=True):
            # Slopes that do not vary are those of the first task.
            blend = self.blend_given(np.tensordot(share, coef, axes=1), train, shares)
            yield self.problem.held_out_errors(test, blend)

    def as_grid(self, judged):
        """Return the candidates as a `Grid`, and the list of its scalings."""
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
        """Columns of the history, by name."""
        grid, unit = self.grid, self.problem.strength_unit
        scalings = [self.scalings[k] for k in grid.scaling]
        return {
            "alpha": grid.slope / unit,
            "alpha_intercept": grid.intercept / unit,
            "alpha_shared": grid.ridge / unit,
            "per_feature": np.array([scaling.per_feature for scaling in scalings]),
            "within_tasks": np.array([scaling.within_only for scaling in scalings]),
        }


def refit_without(member, tasks, group):
    """Return `Member.left_out` by fitting the shared models again without each group."""
    parts = (member.problem.moments.take(tasks[group != g]) for g in range(group.max() + 1))
    shared = np.array([member.shared(part) for part in parts])
    return shared, shared
