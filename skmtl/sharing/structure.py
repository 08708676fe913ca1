"""Base class of structures that solve their own candidates, under the guard."""

import functools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..guard.member import Member
from ..losses import SQUARED_ERROR
from .base import Sharing, fit_one, guarded_fit
from .member import Blend, refit_without
from .strengths import SLOPE_COST, Grid, SlopeScaling, baseline_grids, check_strength, pooled_grid

__all__ = ["Solution", "Structure"]


@dataclass
class Solution:
    """Models of the tasks under one candidate, on the standardised scale.

    Parameters
    ----------
    coef : ndarray of shape (n_tasks, n_features)
        Slopes of every task. Those of a task without rows must be finite, too: such a task is one
        that has no rows in a split, and predicted with these slopes. The shared ones suit it.
    intercept : ndarray of shape (n_tasks,)
        Intercept of every task, where all features are zero, not at the means of the task. A task
        without rows best has the shared one.
    shared : ndarray of shape (1 + n_features,)
        Intercept and slopes for an unseen task. Where nothing is shared, the average of the tasks'
        models by their weights is one.
    complexity : float or ndarray of shape (n_tasks,)
        Effective number of parameters that a task's own slopes add to the shared ones, at least 0;
        one number is that of every task. Intercepts are not counted. The larger it is, the smaller
        is the prior weight of the candidate.
    residual : float, default=0.0
        Violation of the optimality conditions, one number for all tasks: the largest absolute value
        of any condition of any task, relative to the largest gradient of zero slopes. The largest
        residual of the candidates with weight becomes ``kkt_residual_``; a fit on all rows warns if
        it is above ``Structure.tol``.
    n_iter : int, default=1
        Number of iterations, which becomes ``n_iter_``.
    shared_complexity : float or None, default=None
        Effective number of parameters of the shared slopes, beside those in `complexity`: 0 if they
        are only an average of the tasks' slopes. None is the number of shared slopes that are not
        zero. ``summary()`` adds it to the sum of `complexity` and one intercept per task.
    """

    coef: np.ndarray
    intercept: np.ndarray
    shared: np.ndarray
    complexity: object
    residual: float = 0.0
    n_iter: int = 1
    shared_complexity: float | None = None


class Structure(Sharing):
    r"""Base class of structures that solve their own candidates.

    A subclass lists its candidates and solves them, for squared errors. The candidates are then
    cross-validated together with *independent* and *pooled* and weighed per task, and new tasks can
    be adapted to. There is no guard if all parameters among the candidates' keys were given as
    numbers. With a guard the model is an average of candidates, so that the zeros of a sparse
    solution are not zeros of the average.

    `path` is called some thirty times per fit: on all rows, for every split, and for groups of
    tasks that are left out. A new task's own part is drawn to the shared model by a ridge that has
    the variances of the known tasks' own parts, whatever the penalty of the structure. Standard
    errors of ``summary()`` are NaN where the structure has half of the weight or more, since the
    penalty does not say them.

    Attributes
    ----------
    losses : tuple of Loss
        Losses that `path` minimises; others raise an error.
    per_row : tuple of str
        Names of the strengths in the unit of the sample weights, such as a ridge in rows.
    rotation_invariant : bool
        Whether the structure depends on the features only through their inner products, as a ridge
        does. If so, more features than rows are replaced by coordinates in the span of the rows.
    tol : float
        Largest ``Solution.residual`` of a solution.

    Notes
    -----
    **Scale.** Features and target are standardised over the table, with the weights of the rows: a
    mean of zero and a standard deviation of one, unless ``target_scale="task"`` gives every task's
    target a unit of its own. If no strength is given, features are divided by their standard
    deviation within tasks instead (with ``cv=None`` they are not), and ``alpha_`` of such a fit is
    in that unit: given to another fit, it is not the same strength. A feature that is constant is
    zero, with zero products.

    **Strengths.** The objective is the structure's own, and no factor is implied: a ridge
    :math:`\lambda \|b\|^2` beside the squared errors, as in `skmtl.sharing.PartialPooling`, is
    :math:`\tfrac{1}{2} \lambda \|b\|^2` beside half of them, to which ``data.gradient`` belongs. On
    the standardised scale strengths are in rows. In the caller's units a ridge is in rows times the
    squared standard deviation of a feature, and the scale of the target does not matter. It does
    for penalties that are not quadratic: :math:`\alpha \|b\|_1` beside half of the squared errors
    has a strength in rows times the standard deviations of the feature and of the target, and is
    scikit-learn's ``Lasso(alpha / n_rows)`` on the standardised rows of a task. With
    ``target_scale="auto"`` the standard deviation of the target is that of the table or those of
    the tasks, as the fit decides; beside a given strength of this kind, set ``"table"``.
    """

    losses = (SQUARED_ERROR,)
    per_row = ("alpha",)
    rotation_invariant = False
    tol = 1e-6

    @property
    def tuned(self) -> bool:
        """Whether no strength is given: none refers to a scale of the features."""
        return not any(map(self._is_given, self.per_row))

    def candidates(self, data: Any) -> list[dict[str, Any]]:
        """Return the candidates to choose from.

        Parameters
        ----------
        data : TaskMoments or TaskRows of shape (n_tasks,)
            As `path` takes them, for all tasks.

        Returns
        -------
        list of dict
            All have the same keys: names of parameters of the structure, and of whatever else
            describes a candidate. The values may depend on the data, such as the smallest strength
            for which all slopes are zero. A single candidate if all strengths are given.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method candidates.")

    def path(self, data: Any, candidates: list[dict[str, Any]]) -> Iterable[Solution]:
        r"""Yield the `Solution` of every candidate in turn.

        The method is called for all tasks, for the training rows of every split, and for some of
        the tasks, in any order.

        Parameters
        ----------
        data : TaskMoments or TaskRows of shape (n_tasks,)
            The standardised rows, which both classes describe as the notes say.
        candidates : list of dict
            Those to solve.

        Yields
        ------
        Solution
            One per candidate, in their order.

        Notes
        -----
        With :math:`X_t, y_t` the rows of task t less their weighted means, and :math:`W_t` the
        diagonal matrix of their weights, which contain those of ``task_weight=``, `data` has

        - ``n_features``, the total ``weight`` (n_tasks,) of every task, and the weighted ``mean``
          (n_tasks, n_features + 1), the target's last. Tasks may have no rows: their weights, means
          and products are zero;
        - ``products(t)``: the products :math:`[X_t, y_t]'W_t[X_t, y_t]`, of shape
          (n_features + 1, n_features + 1), not to be changed. They cost memory at many features:
          ``root(t)``, of `TaskRows` only, is a matrix R of at most n_features + 1 rows with
          :math:`R'R` equal to them;
        - ``gradient(coef)``: :math:`X_t'W_t(y_t - X_tb_t)` of shape (n_tasks, n_features), for
          slopes of this shape: minus the gradient of half of the weighted squared errors, with
          intercepts that are optimal for the slopes;
        - ``errors(coefs, intercepts)``: the weighted sums (n_tasks, n_models) of squared errors of
          models for all tasks, with slopes (n_models, n_features) and intercepts (n_models,);
        - ``feature_squares()``: the diagonals of the products, of shape (n_tasks, n_features);
        - ``take(tasks)``: the same of some tasks, an array of positions.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method path.")

    def check(self) -> None:
        """Raise a ValueError for a strength per row that is neither "auto" nor a number >= 0."""
        for name in self.per_row:
            if hasattr(self, name):
                check_strength(name, getattr(self, name))

    def _is_given(self, name):
        return getattr(self, name, "auto") != "auto"

    def _check_candidates(self, candidates):
        name = type(self).__name__
        if not isinstance(candidates, list) or not all(isinstance(c, dict) for c in candidates):
            raise ValueError(f"{name}.candidates must return a list of dicts, not {candidates!r}.")
        if not candidates:
            raise ValueError(f"{name}.candidates returned none for these rows.")
        if any(candidate.keys() != candidates[0].keys() for candidate in candidates):
            keys = sorted({tuple(candidate) for candidate in candidates})
            raise ValueError(f"the dicts of {name}.candidates must have the same keys, not {keys}.")
        return candidates

    def _fit_problem(self, problem):
        if problem.loss not in self.losses:
            supported = " and ".join(repr(loss.name) for loss in self.losses)
            raise ValueError(
                f"sharing={type(self).__name__} fits {supported} only, but this estimator fits "
                f"{problem.loss.name!r}; choose another structure of skmtl.sharing."
            )
        candidates = self._check_candidates(self.candidates(problem.moments.weighted()))
        given = {name for name in self.per_row if self._is_given(name)}
        unit = problem.copies.unit
        candidates = [{n: v * unit if n in given else v for n, v in c.items()} for c in candidates]
        member = _StructureMember(problem, self, candidates)
        parameters = self.get_params(deep=False).keys() & candidates[0].keys()
        auto = sorted(name for name in parameters if not self._is_given(name))
        if not problem.schemes:
            if len(candidates) > 1:
                self._refuse_without_folds(auto)
            return fit_one(problem, member)
        problem.progress("screening the candidates of independent and pooled")
        grids = baseline_grids(problem.strengths)
        short_lists, scalings = problem.screen(Grid.concatenate(grids), grids)
        grid = Grid.concatenate(short_lists)
        # Screening may have added candidates with a learned scaling to the independent ones.
        pooled = np.append(np.zeros(len(candidates), dtype=bool), grid.are_pooled)
        first = np.arange(len(pooled)) < len(candidates)
        baselines = [~first & ~pooled, pooled]
        # One task has no model of its own beside the pooled one.
        every = first | pooled if problem.n_tasks == 1 else np.ones_like(first)
        # Without strengths to tune, the fit is that of the structure, without a guard.
        is_fixed = parameters and not auto
        allowed = [first if is_fixed else every, *baselines]
        return guarded_fit(problem, [member, problem.member(grid, scalings)], allowed, baselines)


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
        """Solutions on all rows."""
        return self.solutions(self.problem.moments)

    def solutions(self, data):
        """Return checked copies of the structure's solutions, as `path` may work in place."""
        name, shape, found = type(self.structure).__name__, (len(data.weight), data.n_features), []
        shapes = [shape, shape[:1], (1 + shape[1],)]
        for solution in self.structure.path(data.weighted(), self.candidates):
            which = self.candidates[len(found)] if len(found) < len(self) else "no more"
            parts = solution.coef, solution.intercept, solution.shared
            parts = [np.array(part, dtype=float) for part in parts]
            if [part.shape for part in parts] != shapes:
                raise ValueError(
                    f"{name}.path gave arrays of shapes {[part.shape for part in parts]} for the "
                    f"candidate {which}; coef, intercept and shared must have the shapes {shapes}."
                )
            spent = np.asarray(solution.complexity)
            if spent.shape not in ((), shape[:1]) or not np.isreal(spent).all() or spent.min() < 0:
                raise ValueError(
                    f"{name}.path gave the complexity {solution.complexity!r} for {which}; it must "
                    "be a number of at least 0, or one per task."
                )
            shared = solution.shared_complexity
            shared = np.count_nonzero(parts[2][1:]) if shared is None else shared
            if shared < 0:
                raise ValueError(
                    f"{name}.path gave the shared_complexity {shared!r} for {which}; it must be a "
                    "number of at least 0."
                )
            if not all(np.isfinite(p).all() for p in (*parts, spent, solution.residual, shared)):
                raise ValueError(f"{name}.path gave figures that are not finite for {which}.")
            found.append(Solution(*parts, spent, solution.residual, solution.n_iter, shared))
        if len(found) != len(self):
            raise ValueError(f"{name}.path gave {len(found)} solutions for {len(self)} candidates.")
        return found

    def log_prior(self, rows):
        """Return log-weights like those of a `Grid` whose shared slopes are zero."""
        n_effective = np.array([np.mean(solution.complexity) for solution in self.whole])
        level = pooled_grid(np.inf).log_prior(0, rows.mean(), self.problem.strengths)
        return level - SLOPE_COST * n_effective

    def models(self, train, split=None):
        """Return slopes and intercepts, like `LeastSquares.models`."""
        return self.problem.models_in_units(train, self.models_of)

    def models_of(self, data):
        """Return `models` in the units of the data."""
        found = self.solutions(data)
        slopes = np.stack([solution.coef for solution in found], axis=1)
        return slopes, np.column_stack([solution.intercept for solution in found])

    def shared(self, data):
        """Return the shared models ``(n_candidates, 1 + n_features)``."""
        return np.array([solution.shared for solution in self.solutions(data)])

    def left_out(self, tasks, group):
        return refit_without(self, tasks, group)

    def solve(self, shares, more):
        shared_models = np.array([solution.shared for solution in self.whole])
        weight = shares.tasks.mean(0)
        top = self.whole[int(np.argmax(weight))]
        pairs = list(zip(shares.tasks.T, self.whole, strict=True))
        return Blend(
            sum(w[:, None] * solution.coef for w, solution in pairs),
            sum(w * solution.intercept for w, solution in pairs),
            shares.unseen @ shared_models, shared_models, self._residual(shares), top.n_iter,
            weight.max(), self._n_effective(shares),
        )  # fmt: skip

    def _residual(self, shares):
        """Return the largest residual of a candidate with weight, and warn if it is too large."""
        used = np.flatnonzero(shares.tasks.any(axis=0) | (shares.unseen > 0))
        if not len(used):
            return 0.0
        worst = max(used, key=lambda k: self.whole[k].residual)
        found, tol = self.whole[worst], self.structure.tol
        if found.residual > tol:
            warnings.warn(
                f"{type(self.structure).__name__} stopped at a residual of {found.residual:.1e}, "
                f"above tol={tol:g}, after {found.n_iter} iterations, for the candidate "
                f"{self.strengths[worst]}; raise its strengths, or leave out features that are "
                "collinear.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return float(found.residual)

    def _n_effective(self, shares):
        """Return what the candidates contribute to the effective number of parameters.

        Every task has an intercept and its own slopes.
        """
        pairs = zip(shares.tasks.T, self.whole, strict=True)
        return float(
            sum(
                (weight * (1.0 + solution.complexity)).sum()
                + weight.mean() * solution.shared_complexity
                for weight, solution in pairs
            )
        )

    def as_grid(self, judged):
        """Return Gaussian priors, with the variances of the tasks' deviations, as a `Grid`."""
        noise = self._noise() if judged is None else judged.noise
        grids, scalings = [], []
        for k, solution in enumerate(self.whole):
            slopes = ((solution.coef - solution.shared[1:]) ** 2).mean(axis=0)
            level = ((solution.intercept - solution.shared[0]) ** 2).mean()
            mean = slopes.mean()
            scalings.append(
                SlopeScaling(np.sqrt(slopes / mean) if mean > 0 else np.ones(len(slopes)))
            )
            with np.errstate(divide="ignore"):
                slope, intercept = noise / np.array([mean, level])
            grids.append(Grid.product(slope, intercept, np.inf, k))
        return functools.reduce(Grid.append, grids), scalings

    def _noise(self):
        """Return the squared error per row of the first candidate, for a fit without a guard."""
        first, moments = self.whole[0], self.problem.moments
        gram = np.zeros((len(first.coef), 1, 1))
        sse = moments.add_error_grams(first.coef[:, None], first.intercept[:, None].copy(), gram)
        return max(sse.sum() / moments.weight.sum(), 1e-300)

    @property
    def strengths(self):
        """Strengths of every candidate in the unit of the caller's weights: a list of dicts."""
        unit, per_row = self.problem.copies.unit, self.structure.per_row
        return [{n: v / unit if n in per_row else v for n, v in c.items()} for c in self.candidates]

    @property
    def columns(self):
        """Columns of the history, by name."""
        strengths, columns = self.strengths, {}
        for name in self.candidates[0]:
            values = np.array([candidate[name] for candidate in strengths])
            columns[name] = values if values.dtype.kind in "iuf" else values.astype(object)
        return columns
