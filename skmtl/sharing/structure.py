"""Structures that solve their candidates themselves, under the guard."""

import functools
from dataclasses import dataclass

import numpy as np

from ..guard.member import Member
from ..losses import SQUARED_ERROR
from .base import Sharing, fit_one, guarded_fit
from .member import Blend
from .strengths import SLOPE_COST, Grid, Scaling, check_strength, limit_grids, pooled_grid

__all__ = ["Solution", "Structure"]


@dataclass
class Solution:
    """One candidate's models of the tasks, on the standardised scale.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    shared : ndarray of shape (1 + n_features,)
        Intercept and slopes that a task never seen is predicted with.
    complexity : float or ndarray of shape (n_tasks,)
        Effective parameters of a task's own: the more, the less a candidate weighs beforehand.
    residual : float, default=0.0
        The certificate, which becomes ``kkt_residual_``.
    n_iter : int, default=1
    """

    coef: np.ndarray
    intercept: np.ndarray
    shared: np.ndarray
    complexity: object
    residual: float = 0.0
    n_iter: int = 1


class Structure(Sharing):
    """Base of structures that solve their candidates themselves: one class, in one file.

    A subclass names its candidates and solves them, for squared errors. The rest follows: the
    candidates are cross-validated together with *independent* and *pooled*, every task is given
    weights of its own, and new tasks are adapted to. There is no guard where all strengths of the
    candidates are parameters that were given as numbers.

    Attributes
    ----------
    losses : tuple of Loss
        Those that `path` minimises; others are refused.
    per_row : tuple of str
        Names of the strengths whose unit is that of the sample weights, such as a ridge in rows.
    rotation_invariant : bool
        Whether it sees no more of the features than their inner products, as a ridge does: only
        then may more features than rows be replaced by coordinates in the span of the rows.
    """

    losses = (SQUARED_ERROR,)
    per_row = ("alpha",)
    rotation_invariant = False

    def candidates(self, data):
        """Return the candidates for these `TaskMoments` or `TaskRows`: a list of dicts.

        The keys are the names of the strengths, as parameters of the structure have them; the
        values may depend on the data, such as the largest strength that does not yield zero.
        Return a single candidate where all strengths are given.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method candidates.")

    def path(self, data, candidates):
        """Yield the `Solution` of every candidate in turn.

        It is called for all tasks, for the training rows of every split, and for some of the
        tasks, in any order.

        Parameters
        ----------
        data : TaskMoments or TaskRows of shape (n_tasks,)
            Standardised over the table. Tasks may be without rows. Both classes have `weight`,
            `mean`, `gradient`, `errors`, `feature_squares` and `take`.
        candidates : list of dict
        """
        raise NotImplementedError(f"{type(self).__name__} has no method path.")

    def check(self):
        for name in self.per_row:
            if hasattr(self, name):
                check_strength(name, getattr(self, name))

    def _is_given(self, name):
        return getattr(self, name, "auto") != "auto"

    def fit_problem(self, problem):
        self.check()
        if problem.loss not in self.losses:
            raise ValueError(
                f"sharing={type(self).__name__} fits {_names(self.losses)} only, but this "
                f"estimator fits {problem.loss.name!r}; choose another structure of skmtl.sharing."
            )
        own = self.candidates(problem.moments)
        if not own:
            raise ValueError(f"{type(self).__name__}.candidates gave none for these rows.")
        unit = {n: problem.copies.unit for n in self.per_row if self._is_given(n)}
        own = [{n: v * unit[n] if n in unit else v for n, v in c.items()} for c in own]
        member = _StructureMember(problem, self, own)
        if not problem.schemes:
            if len(own) > 1:
                self.refuse_without_folds([name for name in own[0] if not self._is_given(name)])
            return fit_one(problem, member)
        problem.progress("screening the candidates of independent and pooled")
        limits = limit_grids(problem.strengths)
        lists, scalings = problem.screen(Grid.concatenate(limits), limits)
        grid = Grid.concatenate(lists)
        plain = problem.member(grid, scalings)
        # Screening may have added scalings: all that is left is compared with.
        pooled = np.append(np.zeros(len(own), dtype=bool), grid.are_pooled)
        first = np.arange(len(own) + len(grid)) < len(own)
        fixed = own[0] and all(map(self._is_given, own[0]))
        limits = [~first & ~pooled, pooled]
        families = [first if fixed else first | True, *limits]
        return guarded_fit(problem, [member, plain], families, limits)


def _names(losses):
    return " and ".join(repr(loss.name) for loss in losses)


class _StructureMember(Member):
    """Candidates of a structure as a member of the guard."""

    def __init__(self, problem, structure, candidates):
        self.problem, self.structure, self.candidates = problem, structure, candidates

    def __len__(self):
        return len(self.candidates)

    @property
    def are_pooled(self):
        return np.zeros(len(self), dtype=bool)

    @functools.cached_property
    def whole(self):
        """The solutions on all rows."""
        return self.solutions(self.problem.moments)

    def solutions(self, data):
        """Return the structure's solutions, checked and copied: a path may work in place."""
        name, shape, found = type(self.structure).__name__, (len(data.weight), data.n_features), []
        for one in self.structure.path(data, self.candidates):
            which = self.candidates[len(found)] if len(found) < len(self) else "no more"
            parts = [np.array(a, dtype=float) for a in (one.coef, one.intercept, one.shared)]
            if [a.shape for a in parts] != [shape, shape[:1], (1 + shape[1],)]:
                raise ValueError(
                    f"{name}.path gave arrays of shapes {[a.shape for a in parts]} for the "
                    f"candidate {which}; coef, intercept and shared are to be of shapes "
                    f"{[shape, shape[:1], (1 + shape[1],)]}."
                )
            if not all(np.isfinite(a).all() for a in parts):
                raise ValueError(f"{name}.path gave models that are not finite for {which}.")
            found.append(Solution(*parts, one.complexity, one.residual, one.n_iter))
        if len(found) != len(self):
            raise ValueError(f"{name}.path gave {len(found)} solutions for {len(self)} candidates.")
        return found

    def log_prior(self, rows):
        """As of a `Grid` whose shared slopes are zero, as those of independent are."""
        spent = np.array([np.mean(found.complexity) for found in self.whole])
        level = pooled_grid(np.inf).log_prior(0, rows.mean(), self.problem.strengths)
        return level - SLOPE_COST * spent

    def models(self, train, split=None):
        """Return slopes and intercepts, as `LeastSquares.models` does."""
        units = self.problem.units
        if units is not None:
            units = units.relearned(train)
            train = train.in_units(units.location, units.scale)
        found = self.solutions(train)
        slopes = np.stack([one.coef for one in found], axis=1)
        intercepts = np.column_stack([one.intercept for one in found])
        if units is not None:
            units.models(slopes, intercepts)
        return slopes, intercepts

    def left_out(self, tasks, group):
        theta = []
        for g in range(group.max() + 1):
            known = self.problem.moments.take(tasks[group != g])
            theta.append([found.shared for found in self.solutions(known)])
        return np.array(theta), np.array(theta)

    def solve(self, shares, more):
        thetas = np.array([one.shared for one in self.whole])
        share = shares.tasks.mean(0)
        top = self.whole[int(np.argmax(share))]
        return Blend(
            sum(w[:, None] * one.coef for w, one in zip(shares.tasks.T, self.whole, strict=True)),
            sum(w * one.intercept for w, one in zip(shares.tasks.T, self.whole, strict=True)),
            shares.crowd @ thetas, thetas, top.residual, top.n_iter, share.max(),
        )  # fmt: skip

    def as_grid(self, judged):
        """Own parts of a new task are Gaussian, with the variances of the known tasks' ones."""
        noise = self._noise() if judged is None else judged.noise
        grids, scalings = [], []
        for k, one in enumerate(self.whole):
            slopes = ((one.coef - one.shared[1:]) ** 2).mean(axis=0)
            level, mean = ((one.intercept - one.shared[0]) ** 2).mean(), slopes.mean()
            scalings.append(Scaling(np.sqrt(slopes / mean) if mean > 0 else np.ones(len(slopes))))
            with np.errstate(divide="ignore"):
                slope, intercept = noise / np.array([mean, level])
            grids.append(Grid.product(slope, intercept, np.inf, k))
        return functools.reduce(Grid.append, grids), scalings

    def _noise(self):
        """Return the squared error per row of the first candidate, where nothing was judged."""
        one, moments = self.whole[0], self.problem.moments
        gram = np.zeros((len(one.coef), 1, 1))
        sse = moments.add_error_grams(one.coef[:, None], one.intercept[:, None].copy(), gram)
        return max(sse.sum() / moments.weight.sum(), 1e-300)

    @property
    def strengths(self):
        """Strengths of every candidate in the unit of the caller's weights: a list of dicts."""
        unit, per_row = self.problem.copies.unit, self.structure.per_row
        return [{n: v / unit if n in per_row else v for n, v in c.items()} for c in self.candidates]

    @property
    def columns(self):
        """What the history shows of the candidates, by name."""
        columns = {}
        for name in self.candidates[0]:
            values = np.array([one[name] for one in self.strengths])
            columns[name] = values if values.dtype.kind in "iuf" else values.astype(object)
        return columns
