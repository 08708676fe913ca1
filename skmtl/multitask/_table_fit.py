"""Fit of linear models on a table, beside the effects of groupings and levels."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..sharing.groupings import CrossedEffects
from ..sharing.tree import LevelModels, Strangers
from ..tasks.reduce import RowSpace

__all__ = ["TableFit"]

# Largest residual of the joint system that does not cause a warning.
_LARGEST_RESIDUAL = 1e-4
# Most features for which groups of tasks are tried with slopes that are tuned.
_MOST_FEATURES = 50


@dataclass
class TableFit:
    """Fit a structure of linear models on a `Settled` table, when called with both.

    Attributes
    ----------
    face : MultiTaskBase
    X : array-like
        Argument of `fit`, for names.
    preprocessor : transformer or None
    make_problem : callable
        Called with a `RowSpace`, partitions, an executor and the keyword arguments `within` and
        `copies`; returns a `Problem` or a `NewtonProblem`.
    parts : list of Partition
    executor, progress : object
    loss : Loss
    groupings : Groupings or None
    levels : Levels or None
        Levels of the rows of X in the grouping columns.
    above : TaskLevels or None
        Levels above the tasks.
    has_rows : bool ndarray of shape (n_all_tasks,)
    """

    face: object
    X: object
    preprocessor: object
    make_problem: object
    parts: list
    executor: object
    progress: object
    loss: object
    groupings: object
    levels: object
    above: object
    has_rows: np.ndarray

    def __call__(self, structure, settled, **options):
        """Return the `SharingFit`; `options` are keyword arguments of the problem."""
        if self.above is None:
            return self._fit(structure, settled, options)
        given = self.face._given_of_levels(structure, len(self.above.names))
        if None not in given[0] + given[1]:  # there is nothing to guard
            return self._fit(structure, settled, options, given)
        rows = settled.table.task_sums(settled.table.weights())
        groups = self.above.parents[self.has_rows, 0]
        flat = self._fit(structure, settled, options)
        without_slopes = given[0], [np.inf if s is None else s for s in given[1]]
        few = settled.table.n_features <= _MOST_FEATURES
        for strengths in (given, without_slopes) if few else (without_slopes,):
            tree = self._fit(structure, settled, options, strengths)
            if tree is not None and tree.predicts_better_than(flat, rows, groups):
                return replace(tree.with_baselines_of(flat), strangers=Strangers.of(flat, tree))
            if tree is None or not tree.above.has_slopes:
                break
        self.progress("levels above the tasks do not help")
        return replace(flat, above=LevelModels.none(self.above, flat.coef.shape[-1]))

    def _fit(self, structure, settled, options, given=None):
        """Return the fit of a table; None if levels above the tasks that are tuned have no effect.

        `given` are the strengths of their intercepts and slopes; without these there are no levels.
        """
        face, above = self.face, None if given is None else self.above
        restriction = face._restriction(
            structure, face._find_columns(self.X), self.preprocessor, settled.table.n_features
        )
        within = face._within(structure)
        # A row space mixes features, which a restriction and the slopes of levels refer to.
        invariant = getattr(structure, "rotation_invariant", True)
        has_slopes = self.levels is not None and any(self.levels.slopes)
        if above is not None:
            has_slopes = has_slopes or not np.isinf([s or 0.0 for s in given[1]]).all()
        if restriction or has_slopes or not invariant:
            space = RowSpace(settled.table)
        else:
            space = RowSpace.of(settled.table, within, settled.trust)
        crossed = self._learn(structure, settled, space.table, given, restriction)
        n_levels = 0 if above is None else len(above.names)
        if n_levels and None in given[0] + given[1] and crossed.without(n_levels):
            return None
        problem = self.make_problem(
            space, self.parts, self.executor, within=within, copies=settled, crossed=crossed,
            **options,
        )  # fmt: skip
        if restriction:
            problem.restrict(restriction)
        fitted = space.expand(face._fit_problem(structure, problem))
        if n_levels:
            models = LevelModels.of(above, crossed, n_levels, fitted.coef.shape[-1])
            groups = above.parents[self.has_rows]
            coef, intercept = models.added(fitted.coef, fitted.intercept, groups)
            fitted = replace(fitted, coef=coef, intercept=intercept, above=models)
        return replace(fitted, crossed=None if crossed is None else replace(crossed, search=None))

    def _learn(self, structure, settled, table, of_levels, restriction):
        """Return the `CrossedEffects` of the packed rows of a table; None without groupings.

        `of_levels` are given strengths, as in `_fit`.
        """
        parts, given = [], []
        if of_levels is not None:
            slopes = tuple(s is None or np.isfinite(s) for s in of_levels[1])
            parents = self.above.parents[self.has_rows]
            parts.append(self.above.levels(table.codes, parents, slopes))
            tuned = [s for s, has_slopes in zip(of_levels[1], slopes, strict=True) if has_slopes]
            given.append((of_levels[0], tuned))
        if self.levels is not None:
            parts.append(self.levels.take(table.rows))
            given.append(self.face._given_strengths())
        if not parts:
            return None
        what = self.face._check_beside_groupings(structure, restriction, table)
        levels = parts[0] if len(parts) == 1 else parts[0].plus(parts[1])
        strengths = [s for one in zip(*given, strict=True) for listed in one for s in listed]
        strengths = [None if s is None else s * settled.unit for s in strengths]
        pooling = None
        if hasattr(structure, "given_strengths"):
            pooling = structure.given_strengths(table.n_tasks, settled.unit)
        if not self.parts and (pooling is None or None in strengths):
            raise ValueError(
                f"sharing={self.face.sharing!r} is tuned beside {what}, which needs "
                "cross-validation, but cv=None; set cv=5, or sharing to PartialPooling or TaskTree "
                "with numbers for all strengths."
            )
        crossed = CrossedEffects.learn(
            table, levels, self.parts, strengths, pooling, restriction.varies is None,
            self.loss, executor=self.executor, progress=self.progress,
        )  # fmt: skip
        if crossed.residual > _LARGEST_RESIDUAL:
            warnings.warn(
                f"the effects of {what} stopped at a residual of {crossed.residual:.1e}, above "
                f"{_LARGEST_RESIDUAL:g}, after {crossed.n_iter} iterations: groupings or levels "
                "determine each other, or strengths are near zero; leave out a grouping, or raise "
                "the strengths.",
                ConvergenceWarning,
                stacklevel=2,
            )
        crossed = replace(crossed, groupings=self.groupings, unit=settled.unit)
        if of_levels is None:
            return crossed
        parents = self.above.parents[self.has_rows]
        return replace(crossed, parents=parents, outer=self.above.outer)
