"""Structures that solve their candidates themselves, under the guard."""

from dataclasses import dataclass, replace

import numpy as np

from ..guard.judge import LeftOut
from .base import Sharing, fit_one, guarded_fit
from .strengths import SLOPE_COST, Grid, limits
from .tuning import Tuner

__all__ = ["Solution", "Structure"]


@dataclass
class Solution:
    """One candidate's models of all tasks, on the standardised scale.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
    intercept : ndarray of shape (n_tasks,)
    shared : ndarray of shape (1 + n_features,)
        Intercept and slopes that a task never seen is predicted with.
    complexity : float or ndarray of shape (n_tasks,)
        Effective parameters of a task's own: the more, the less a candidate weighs beforehand.
    residual : float, default=0.0
        The certificate: a KKT residual, or a duality gap, relative to the problem's scale.
    n_iter : int, default=1
    """

    coef: np.ndarray
    intercept: np.ndarray
    shared: np.ndarray
    complexity: object
    residual: float = 0.0
    n_iter: int = 1


class Structure(Sharing):
    """Base of structures that are a solver: one class, in one file.

    A subclass says which candidates there are, and solves them. Everything else follows: they are
    cross-validated beside *independent* and *pooled*, every task is given weights of them, and
    tasks to come are adapted to.

    Attributes
    ----------
    losses : tuple of str
        What it can be fitted to.
    per_row : tuple of str
        Strengths that rows pull against: given ones are in the unit of the caller's weights.
    rotation_invariant : bool
        Whether it sees no more of the features than their inner products, as a ridge does: only
        then may more features than rows be replaced by coordinates in the span of the rows.
    """

    losses = ("squared_error",)
    per_row = ("alpha",)
    rotation_invariant = False

    def candidates(self, data):
        """Return the candidates for these `TaskMoments` or `TaskRows`: a list of dicts.

        The keys are the names of the strengths, as parameters of the structure have them; the
        values may depend on the data, such as the largest strength that does not yield zero. One
        candidate, where all strengths are given.
        """
        raise NotImplementedError

    def path(self, data, candidates):
        """Yield the `Solution` of every candidate in turn, each from the one before if that helps.

        Parameters
        ----------
        data : TaskMoments or TaskRows of shape (n_tasks,)
            Standardised over the table; tasks may be without rows.
        candidates : list of dict
        """
        raise NotImplementedError

    def fit_problem(self, problem):
        self.check()
        if problem.loss not in self.losses:
            raise ValueError(
                f"sharing={type(self).__name__} is for loss in {list(self.losses)}, but this "
                f"estimator fits {problem.loss!r}; choose another structure of skmtl.sharing."
            )
        own = self.candidates(problem.moments)
        if not own:
            raise ValueError(f"{type(self).__name__}.candidates gave none for these rows.")
        given = [n for n in self.per_row if n in own[0] and not isinstance(getattr(self, n), str)]
        own = [{**c, **{n: c[n] * problem.copies.unit for n in given}} for c in own]
        tuner = _StructureTuner(problem, self)
        if not problem.schemes:
            return fit_one(tuner, _Candidates(own, Grid.product(*np.empty((3, 0)))))
        problem.progress("screening the models that it is compared with")
        known, plain = limits(problem.strengths), Tuner(problem)
        grids = plain.screen(Grid.concatenate(known), known)
        tuner.metrics, tuner.apart = plain.metrics, plain.apart
        candidates = _Candidates(own, Grid.concatenate(grids))
        mine = candidates if len(own) > 1 else candidates.of_own()
        return guarded_fit(tuner, candidates, [mine, *known], known)


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
        """The structure's are in the first."""
        return np.append(np.zeros(len(self.own), dtype=np.int64), self.grid.metric)


class _StructureTuner(Tuner):
    """Judges the candidates of a structure beside those of a `Grid`."""

    def __init__(self, problem, structure):
        super().__init__(problem)
        self.structure, self._found = structure, None

    def _solve_own(self, candidates, data):
        return list(self.structure.path(data, candidates.own))

    def _whole(self, candidates):
        """Solutions on all rows, which are wanted more than once."""
        if self._found is None:
            self._found = self._solve_own(candidates, self.problem.moments)
        return self._found

    def log_prior(self, candidates, rows):
        spent = np.array([np.mean(found.complexity) for found in self._whole(candidates)])
        return np.append(-SLOPE_COST * spent, super().log_prior(candidates.grid, rows))

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
        """None: newcomers of other structures are but approximated."""
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

    def adapter(self, candidates, shares, thetas, judged, spread):
        """Own parts of a new task are Gaussian, with the variances of the known tasks' ones."""
        grid, error = candidates.grid, self._error(candidates) if judged is None else judged.noise
        for one in reversed(self._whole(candidates)):
            slopes = ((one.coef - one.shared[1:]) ** 2).mean(axis=0)
            level, mean = ((one.intercept - one.shared[0]) ** 2).mean(), slopes.mean()
            self.metrics.append(np.sqrt(slopes / mean) if mean > 0 else np.ones(len(slopes)))
            self.apart.append(False)
            with np.errstate(divide="ignore"):
                pulls = np.array([[error], [error]]) / np.array([[mean], [level]])
            grid = Grid(*pulls, np.array([np.inf]), np.array([len(self.metrics) - 1])).append(grid)
        return super().adapter(grid, shares, thetas, judged, spread)

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
        units = dict.fromkeys(self.structure.per_row, self.problem.copies.unit)
        return [{n: v / units.get(n, 1) for n, v in c.items()} for c in candidates.own]

    def columns(self, candidates):
        """Strengths, NaN for the models that it is compared with, and which these are."""
        n = len(candidates.grid)
        limit = np.where(candidates.grid.are_pooled, "pooled", "independent")
        shown = self._shown(candidates)
        return {
            **{name: np.append([c[name] for c in shown], np.full(n, np.nan)) for name in shown[0]},
            "member": np.append(np.full(len(candidates.own), "own"), limit),
        }
