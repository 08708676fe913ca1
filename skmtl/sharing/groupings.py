r"""Effects of groupings, beside whatever structure the tasks share.

Every level l of a grouping g adds :math:`b_{g,l}` to the predictions of its rows, or
:math:`b_{g,l} + x'c_{g,l}` if the levels have slopes, as those above the tasks have. The effects
are those of partial pooling with crossed groupings (`skmtl.solvers.crossed`), with the strengths
that predict held-out rows best. They are fitted in every split of the cross-validation, so that the
structure of the tasks is judged on what effects from the training rows leave over.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..losses import SQUARED_ERROR
from .grouping_search import ROUGH_RESIDUAL, CrossedSearch, NewtonSearch
from .inference import kappa_of_strengths

__all__ = ["CrossedEffects"]

# Most numbers in a table, and most features, for which standard errors are computed beside
# groupings.
_MOST_NUMBERS, _MOST_FEATURES = 10**5, 30


@dataclass
class CrossedEffects:
    """Effects of the levels of grouping columns.

    Attributes
    ----------
    pooling : tuple of float
        Strengths of partial pooling beside the effects: slopes, intercepts, shared slopes.
    strengths : ndarray of shape (n_strengths,)
        Strengths in rows, of every grouping and then of slopes: the effect of a level with n rows
        is shrunk by about n / (n + strength).
    effects : list of ndarray of shape (n_levels,) or (n_levels, 1 + n_features)
        Effects of the levels of each grouping, fitted on all rows; slopes are those of the features
        ``(X - centre) * scale``.
    whole : ndarray of shape (n_packed,)
        Sums of the rows' effects.
    of_splits : list of list of ndarray of shape (n_packed,)
        For every partition and each of its splits, the sums by effects from its training rows.
    residual : float
        Largest violation of the optimality conditions (`CrossedSolution`).
    n_iter : int
    level_weight : list of ndarray of shape (n_levels,)
        Weights of the levels' rows.
    parts : list of Partition
        The schemes of `of_splits`.
    centre, scale : ndarray of shape (n_features,)
    groupings : Groupings or None
        The grouping columns, and the names of their levels.
    unit : float
        Factor by which given strengths were multiplied.
    of_new : ndarray of shape (n_packed,) or None
        Sums of the effects, for tasks that were left out by effects from the other tasks.
    search : CrossedSearch or None
        Fits effects to some of the rows.
    parents : int ndarray of shape (n_tasks, n_levels) or None
        Groups of the tasks on the levels above them, which are the first groupings.
    outer : list of int ndarray or None
        As in `TaskLevels`.
    information : ndarray of shape (1 + n_features, 1 + n_features) or None
        Products of what all tasks share after everything else is eliminated, of a table that is not
        large, and of features ``(X - centre) * scale``.
    curvature : list of ndarray of shape (n_levels,)
        Working weights of the levels' rows.
    """

    pooling: tuple
    strengths: np.ndarray
    effects: list
    whole: np.ndarray
    of_splits: list
    residual: float
    n_iter: int
    level_weight: list
    parts: list
    centre: np.ndarray
    scale: np.ndarray
    groupings: object = None
    unit: float = 1.0
    of_new: np.ndarray | None = None
    search: object = None
    parents: np.ndarray | None = None
    outer: list | None = None
    information: np.ndarray | None = None
    curvature: list | None = None

    @classmethod
    def learn(
        cls, table, levels, parts, given=None, pooling=None, slopes=True, loss=SQUARED_ERROR,
        executor=None, progress=None,
    ):  # fmt: skip
        """Choose the strengths by cross-validation, and fit the effects.

        Parameters
        ----------
        table : TaskTable
        levels : Levels
            Levels of the packed rows.
        parts : list of Partition
            Schemes of cross-validation; empty if all strengths are given.
        given : list of (float or None), optional
            Strengths of the groupings and then of slopes, None for those to be tuned.
        pooling : tuple of float, optional
            Strengths of partial pooling: slopes, intercepts, shared slopes. They are tuned, too, if
            they are not given.
        slopes : bool
            Whether tasks may have slopes of their own.
        loss : Loss
            The squared error, or a loss with a link, of two classes for the log-loss.
        executor, progress : optional
            As in `Problem`.
        """
        kind = CrossedSearch if loss is SQUARED_ERROR else NewtonSearch
        search = kind(table, levels, parts, given, pooling, slopes, executor, loss)
        if progress is not None:
            progress("tuning the effects of grouping columns")
        pooling, strengths = search.best()
        every = np.ones(len(table.rows), dtype=bool)
        solution, whole = search.effects(every, pooling, strengths)
        information, curvature = None, levels.rows(table.weights())
        few = table.n_features <= _MOST_FEATURES
        is_crossed = any(parent is None for parent in levels.parents)
        if is_crossed and few and len(every) * (1 + table.n_features) <= _MOST_NUMBERS:
            information, curvature = search.information(pooling, strengths, solution)
        of_splits = []
        for part in parts:
            of_splits.append([])
            for train in part.train:
                of_splits[-1].append(search.effects(train[part.block], pooling, strengths)[1])
        return cls(
            pooling,
            strengths,
            search.levels.split(solution.effects),
            whole,
            of_splits,
            solution.residual,
            solution.n_iter,
            levels.rows(table.weights()),
            parts,
            search.centre,
            search.scale,
            search=search,
            information=information,
            curvature=curvature,
        )

    def leave_out(self, tasks, group):
        """Fit the effects without each group of tasks, and set `of_new`.

        Parameters
        ----------
        tasks, group : ndarray of shape (n_left_out,)
        """
        if self.of_new is not None:  # of the fit before, in other units
            return
        codes, self.of_new = self.search.table.codes, self.whole.copy()
        for g in range(group.max(initial=-1) + 1):
            left = np.isin(codes, tasks[group == g])
            _, sums = self.search.effects(~left, self.pooling, self.strengths, ROUGH_RESIDUAL)
            self.of_new[left] = sums[left]

    @property
    def n_effective(self):
        """About the effective number of parameters of the effects of grouping columns.

        What all rows share counts for the shared intercept.
        """
        start, total = 0 if self.parents is None else self.parents.shape[1], 0.0
        for rows, s in zip(self.curvature[start:], self.strengths[start:], strict=False):
            if np.isfinite(s) and s > 0:
                share = rows / (rows + s)
                total += share.sum() - share @ rows / rows.sum()
        return total

    def effects_in_units(self, chosen):
        """Return the effects of some groupings (a slice), whose slopes are of features as given."""
        out = []
        for effects in self.effects[chosen]:
            if effects.ndim == 2:
                slopes = effects[:, 1:] * self.scale
                effects = np.column_stack([effects[:, 0] - slopes @ self.centre, slopes])
            out.append(effects)
        return out

    @property
    def of_slopes(self):
        """Strengths of the slopes of every grouping; infinite for those without."""
        strengths = iter(self.strengths[len(self.effects) :])
        return np.array([next(strengths) if own.ndim == 2 else np.inf for own in self.effects])

    def levels_above(self, scale):
        """Return the levels above the tasks as `shared_inference` takes them.

        `scale` is that of the features there, ``(n_features,)``.
        """
        if self.parents is None:
            return ()
        n_levels, out = self.parents.shape[1], []
        ratio = np.divide(self.scale, scale, out=np.zeros_like(scale), where=scale > 0)
        for level in range(n_levels - 1, -1, -1):
            is_finest = level == n_levels - 1
            groups = self.parents[:, level] if is_finest else self.outer[level + 1][:, level]
            kappa = kappa_of_strengths(self.of_slopes[level], self.strengths[level], ratio)
            out.append((groups, kappa))
        return out

    def without(self, n_levels):
        """Return whether none of the first groupings, nor their slopes, have any effect."""
        return not any(effects.any() for effects in self.effects[:n_levels])

    def with_caller_weights(self, unit):
        """Return the effects with weights of levels divided by the factor on the rows' weights."""
        return replace(self, level_weight=[weight / unit for weight in self.level_weight])

    def candidates(self, strengths, unit=1.0):
        """Return the `Strengths` to choose from beside these effects, which are in another `unit`.

        The effects go with one strength on intercepts; others would leave to the tasks what the
        effects hold, or take it away twice. Independent and pooled models stay in the choice.
        """
        slope, intercept = self.pooling[0] * unit, self.pooling[1] * unit
        slopes = np.unique(np.append(strengths.slopes, slope))
        return replace(strengths, slopes=slopes, intercepts=np.unique([0.0, intercept, np.inf]))
