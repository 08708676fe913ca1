"""Tuning where slopes are restricted.

Candidates are averaged with weights of each task's own, which would give each task another
slope of a feature whose slope is to be the same in every task. So the shared slopes of such
features are averaged with the tasks' mean weights first, and the candidates are then solved anew
given these.
"""

import numpy as np

from ..solvers import solve_given
from ..solvers.newton import Scores
from ._logistic import LogisticTuner
from ._restriction import FREE
from ._tuning import Tuner

__all__ = ["RestrictedLogisticTuner", "RestrictedTuner"]


class _Restricted:
    """What the tuners of restricted problems share."""

    def _mixes(self, grid, shares):
        """Whether a blend would give every task another slope of what does not vary."""
        needed = shares.tasks.any(axis=0) | (shares.crowd > 0)
        varies = self.restriction.varies
        if varies is None or varies.all() or (grid.metric[needed] == FREE).any():
            return False
        return needed.sum() > 1


class RestrictedTuner(_Restricted, Tuner):
    """`Tuner` on a restricted `Problem`."""

    _given = None  # shared slopes (n_features,) that are known of the features that do not vary

    def solutions(self, train, metric, grid):
        for system, where, theta, part in super().solutions(train, metric, grid):
            if self._given is not None:
                fixed = ~self.restriction.varies
                known = self._given[fixed]
                theta = solve_given(system, fixed, known, part.intercept, part.ridge)
            yield system, where, theta, part

    def blend(self, data, grid, shares):
        if not self._mixes(grid, shares):
            return super().blend(data, grid, shares)
        fixed = ~self.restriction.varies
        mean_share = shares.tasks.mean(0)
        needed = np.flatnonzero(mean_share > 0)
        part, common = grid.take(needed), np.zeros(1 + len(fixed))
        for metric in np.unique(part.metric):
            mine = np.flatnonzero(part.metric == metric)
            for _, where, theta, _ in self.solutions(data, metric, part.take(mine)):
                common += mean_share[needed[mine[where]]] @ theta
        self._given = common[1:]
        try:
            coef, intercept, theta, residual = super().blend(data, grid, shares)
        finally:
            self._given = None
        coef[:, fixed] = theta[1:][fixed] = common[1:][fixed]
        return coef, intercept, theta, residual

    def blend_errors(self, judged, grid, shares):
        if not self._mixes(grid, shares):
            return super().blend_errors(judged, grid, shares)
        each = []
        for train, test in self.problem.splits():
            coef, intercept, _, _ = self.blend(train, grid, shares)
            one = np.zeros((len(coef), 1, 1))
            each.append(test.add_error_grams(coef[:, None], intercept[:, None], one)[:, 0])
        return judged.means(np.array(each))


class RestrictedLogisticTuner(_Restricted, LogisticTuner):
    """`LogisticTuner` on a restricted `LogisticProblem`."""

    _given = None  # (n_scores, n_features), as above

    def __init__(self, problem):
        if problem.restriction.positive is not None:
            raise ValueError(
                "positive= of the sharing structure is for MultiTaskRegressor; MultiTaskClassifier "
                "has no signs of slopes: leave it None."
            )
        super().__init__(problem)
        self.restriction = problem.restriction

    def _solve(self, system, grid, c, start, *limits, given=None):
        given = self._given if given is None else given
        return super()._solve(system, grid, c, start, *limits, given=given)

    def solve(self, grid, shares):
        if not self._mixes(grid, shares):
            return super().solve(grid, shares)
        problem, fixed = self.problem, ~self.restriction.varies
        mean_share = shares.tasks.mean(0)
        common = np.zeros((problem.n_scores, len(fixed)))
        for c in np.flatnonzero(mean_share):
            common += mean_share[c] * self._whole(grid, c).theta[:, 1:]
        self._given = common
        try:
            coef, intercept, theta, *certificate = super().solve(grid, shares)
        finally:
            self._given = None
        slopes = common[0] if problem.n_scores == 1 else common
        theta[..., 1:][..., fixed] = slopes[..., fixed]
        coef[..., fixed] = slopes[..., fixed]
        return coef, intercept, theta, *certificate

    def blend_errors(self, judged, grid, shares):
        if not self._mixes(grid, shares):
            return super().blend_errors(judged, grid, shares)
        problem, fixed = self.problem, ~self.restriction.varies
        mean_share = shares.tasks.mean(0)
        each = []
        for (train, _), (test, coef, _) in zip(problem.splits(), judged.models, strict=True):
            # The slopes of what does not vary are alike in all tasks, of which the first.
            common = np.einsum("c,ckj->kj", mean_share, coef[:, :, 0])
            blend = Scores.zeros(problem.n_scores, problem.n_tasks, problem.n_features)
            for c in np.flatnonzero(mean_share):
                start, system = self._whole(grid, c), self.system(train, grid.metric[c])
                found = self._solve(system, grid, c, start, given=common)[0]
                blend.coef += shares.tasks[:, c, None] * found.coef
                blend.intercept += shares.tasks[:, c] * found.intercept
            blend.coef[..., fixed] = common[:, None, fixed]
            each.append(test.losses(test.log_probabilities(blend)))
        return judged.means(np.array(each))
