"""Structures that solve their candidates themselves, under the guard."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from ..guard.judge import LeftOut
from ..losses import SQUARED_ERROR
from .base import Sharing, fit_one, guarded_fit
from .strengths import SLOPE_COST, Grid, check_strength, limit_grids, pooled_grid
from .tuning import Tuner

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
    per_row : tuple of str
        Names of the strengths whose unit is that of the sample weights, such as a ridge in rows.
    rotation_invariant : bool
        Whether it sees no more of the features than their inner products, as a ridge does: only
        then may more features than rows be replaced by coordinates in the span of the rows.
    """

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
        if problem.loss is not SQUARED_ERROR:
            raise ValueError(
                f"sharing={type(self).__name__} fits squared errors only, but this estimator fits "
                f"{problem.loss.name!r}; choose another structure of skmtl.sharing."
            )
        own = self.candidates(problem.moments)
        if not own:
            raise ValueError(f"{type(self).__name__}.candidates gave none for these rows.")
        unit = {n: problem.copies.unit for n in self.per_row if self._is_given(n)}
        own = [{n: v * unit[n] if n in unit else v for n, v in c.items()} for c in own]
        tuner = _StructureTuner(problem, self)
        if not problem.schemes:
            if len(own) > 1:
                self.refuse_without_folds([name for name in own[0] if not self._is_given(name)])
            return fit_one(tuner, _Candidates(own, Grid.product(*np.empty((3, 0)))))
        problem.progress("screening the candidates of independent and pooled")
        limits, plain = limit_grids(problem.strengths), Tuner(problem)
        grid = Grid.concatenate(plain.screen(Grid.concatenate(limits), limits))
        tuner.metrics, tuner.apart = plain.metrics, plain.apart
        # Screening may have added metrics: what is left is what the structure is compared with.
        limits = [grid.take(~grid.are_pooled), grid.take(grid.are_pooled)]
        candidates = _Candidates(own, grid)
        fixed = own[0] and all(map(self._is_given, own[0]))
        mine = candidates.of_own() if fixed else candidates
        return guarded_fit(tuner, candidates, [mine, *limits], limits)


@dataclass
class _Candidates:
    """Candidates of a structure, and after them those of the models it is compared with."""

    own: list
    grid: Grid

    def __len__(self):
        return len(self.own) + len(self.grid)

    def of_own(self):
        return replace(self, grid=self.grid.take(slice(0, 0)))

    def members(self, other):
        """Which candidates are in `other`, as a mask."""
        own = isinstance(other, _Candidates)
        grid = self.grid.members(other.grid if own else other)
        return np.append(np.full(len(self.own), own), grid)

    @property
    def are_pooled(self):
        return np.append(np.zeros(len(self.own), dtype=bool), self.grid.are_pooled)

    @property
    def metric(self):
        """The number of each candidate's metric: the first for those of the structure."""
        return np.append(np.zeros(len(self.own), dtype=np.int64), self.grid.metric)


class _StructureTuner(Tuner):
    """Judges the candidates of a structure beside those of a `Grid`."""

    def __init__(self, problem, structure):
        super().__init__(problem)
        self.structure, self._found, self._grid = structure, None, None

    def _solve_own(self, candidates, data):
        """The structure's solutions, checked and copied: a path may work in place."""
        name, shape, found = type(self.structure).__name__, (len(data.weight), data.n_features), []
        for one in self.structure.path(data, candidates.own):
            which = candidates.own[len(found)] if len(found) < len(candidates.own) else "no more"
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
        if len(found) != len(candidates.own):
            raise ValueError(
                f"{name}.path gave {len(found)} solutions for {len(candidates.own)} candidates."
            )
        return found

    def _whole(self, candidates):
        """Solutions on all rows, which are wanted more than once."""
        if self._found is None:
            self._found = self._solve_own(candidates, self.problem.moments)
        return self._found

    def log_prior(self, candidates, rows):
        """As of a `Grid` whose shared slopes are zero, as those of independent are."""
        spent = np.array([np.mean(found.complexity) for found in self._whole(candidates)])
        level = pooled_grid(np.inf).log_prior(0, rows.mean(), self.problem.strengths)
        return np.append(level - SLOPE_COST * spent, super().log_prior(candidates.grid, rows))

    def _solved(self, candidates, train):
        found = self._solve_own(candidates, train)
        slopes, intercepts = super()._solved(candidates.grid, train)
        return (
            np.concatenate([np.stack([one.coef for one in found], axis=1), slopes], axis=1),
            np.column_stack([*(one.intercept for one in found), intercepts]),
        )

    def left_out(self, candidates, most_tasks=100):
        left = super().left_out(candidates.grid, most_tasks)
        own = np.empty((len(left.theta), len(candidates.own), 1 + self.problem.n_features))
        for g in range(len(own)):
            known = self.problem.moments.take(left.tasks[left.group != g])
            own[g] = [found.shared for found in self._solve_own(candidates, known)]
        return LeftOut(left.tasks, left.group, np.concatenate([own, left.theta], axis=1))

    def early_verdict(self, candidates, left, judged):
        """None: how a structure adapts to a few rows is only approximated."""
        return None

    def solve(self, candidates, shares):
        n_own, found = len(candidates.own), self._whole(candidates)
        more = shares.for_new_tasks()[0]
        rest = replace(shares, tasks=shares.tasks[:, n_own:], crowd=shares.crowd[n_own:])
        thetas = np.zeros((len(candidates), 1 + self.problem.n_features))
        parts = [np.zeros(shape) for shape in (found[0].coef.shape, len(found[0].coef))]
        theta, residual, n_iter = np.zeros(thetas.shape[1]), 0.0, 1
        if len(candidates.grid):
            *parts, theta, residual, thetas[n_own:] = self.blend(
                self.problem.moments, candidates.grid, rest, more[more >= n_own] - n_own
            )
        coef, intercept = parts
        for c, one in enumerate(found):
            coef += shares.tasks[:, c, None] * one.coef
            intercept += shares.tasks[:, c] * one.intercept
            theta = theta + shares.crowd[c] * one.shared
            thetas[c] = one.shared
        top = int(np.argmax(shares.tasks.mean(0)))
        if top < n_own:
            residual, n_iter = found[top].residual, found[top].n_iter
        return coef, intercept, theta, residual, n_iter, thetas

    def adapter(self, candidates, shares, thetas, judged, residual_scale):
        """Own parts of a new task are Gaussian, with the variances of the known tasks' ones."""
        grid = self.as_grid(candidates, judged)
        return super().adapter(grid, shares, thetas, judged, residual_scale)

    def as_grid(self, candidates, judged):
        if self._grid is not None:
            return self._grid
        error, grids = self._error(candidates) if judged is None else judged.noise, []
        for one in self._whole(candidates):
            slopes = ((one.coef - one.shared[1:]) ** 2).mean(axis=0)
            level, mean = ((one.intercept - one.shared[0]) ** 2).mean(), slopes.mean()
            self.metrics.append(np.sqrt(slopes / mean) if mean > 0 else np.ones(len(slopes)))
            self.apart.append(False)
            with np.errstate(divide="ignore"):
                slope, intercept = error / np.array([mean, level])
            grids.append(Grid.product(slope, intercept, np.inf, len(self.metrics) - 1))
        self._grid = functools.reduce(Grid.append, [*grids, candidates.grid])
        return self._grid

    def _error(self, candidates):
        """The squared error per row of the first candidate, where nothing was judged."""
        one, moments = self._whole(candidates)[0], self.problem.moments
        gram = np.zeros((len(one.coef), 1, 1))
        sse = moments.add_error_grams(one.coef[:, None], one.intercept[:, None].copy(), gram)
        return max(sse.sum() / moments.weight.sum(), 1e-300)

    def strengths_of(self, candidates, weight):
        """The strengths of the structure's best candidate, whatever is used beside it."""
        shown = self._shown(candidates)
        return shown[int(np.argmax(weight[: len(shown)]))]

    def _shown(self, candidates):
        """Strengths in the unit of the caller's weights."""
        unit, per_row = self.problem.copies.unit, self.structure.per_row
        return [{n: v / unit if n in per_row else v for n, v in c.items()} for c in candidates.own]

    def columns(self, candidates):
        """The strengths, missing for independent and pooled, and which of the three it is."""
        shown, n_limits, columns = self._shown(candidates), len(candidates.grid), {}
        for name in shown[0]:
            values = np.array([c[name] for c in shown])
            if values.dtype.kind in "iuf":
                columns[name] = np.append(values, np.full(n_limits, np.nan))
            else:
                columns[name] = np.append(values.astype(object), [None] * n_limits)
        kinds = np.where(candidates.grid.are_pooled, "pooled", "independent")
        return {**columns, "member": np.append(np.full(len(shown), "own"), kinds)}
