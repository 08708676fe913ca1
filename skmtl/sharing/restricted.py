"""Tuning where slopes are restricted.

Candidates are averaged with weights of each task's own, which would give each task another
slope of a feature whose slope is to be the same in every task. So the shared slopes of such
features are averaged with the tasks' mean weights first, and the candidates are then solved anew
given these.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..guard.judge import LeftOut
from ..solvers import solve_given
from ..solvers.newton import Scores
from ..solvers.signed import SignedSystem
from .logistic import LogisticProblem, LogisticTuner
from .restriction import FREE
from .tuning import Tuner

__all__ = ["make_tuner"]

# Candidates with signs that are judged and blended, and the floating point operations allowed.
_SIGNED_LIST = (6, 24)
_SIGNED_WORK = 4e9
# A residual of signed slopes above this is no solution.
_LARGEST_RESIDUAL = 1e-6


class _Restricted:
    """What the tuners of restricted problems share."""

    def _mixes(self, grid, shares):
        """Whether a blend would give every task another slope of what does not vary."""
        needed = shares.tasks.any(axis=0) | (shares.crowd > 0)
        needed[shares.for_new_tasks()[0]] = True
        varies = self.restriction.varies
        if varies is None or varies.all() or (grid.metric[needed] == FREE).any():
            return False
        return needed.sum() > 1


class RestrictedTuner(_Restricted, Tuner):
    """`Tuner` on a restricted `Problem`.

    Signs of slopes are left out of the screening, which chooses candidates, and of nothing else.
    """

    _given = None  # shared slopes (n_features,) that are known of the features that do not vary

    def most_candidates(self):
        most = super().most_candidates()
        if self.restriction.positive is None:
            return most
        problem = self.problem  # every candidate takes some systems of its own in every split
        work = problem.n_tasks * problem.n_splits * (10.0 * problem.n_features**3 + 5000.0)
        return int(min(most, np.clip(_SIGNED_WORK / max(work, 1.0), *_SIGNED_LIST)))

    def solutions(self, train, metric, grid):
        for system, where, theta, part in super().solutions(train, metric, grid):
            if self._given is not None:
                fixed = ~self.restriction.varies
                known = self._given[fixed]
                theta = solve_given(system, fixed, known, part.intercept, part.ridge)
            yield system, where, theta, part

    def signed(self, data, grid):
        """Yield every candidate's number and `SignedSolution`, in the first metric."""
        for metric in np.unique(grid.metric):
            factor = self.metrics[metric]
            system = SignedSystem(
                self.in_metric(data, metric), factor**2, self.restriction.positive,
                self.restriction.varies_in(metric), self.problem.executor,
            )  # fmt: skip
            for c in np.flatnonzero(grid.metric == metric):
                strengths = float(grid.slope[c]), float(grid.intercept[c]), float(grid.ridge[c])
                found = system.solve(strengths, given=self._given)
                yield c, found.stretched(1.0 / factor)

    def judge(self, grid, tasks=None, most=None, blends=False):
        self._judged = []
        return super().judge(grid, tasks, most, blends)

    def _solved(self, grid, train):
        if self.restriction.positive is None:
            slopes, intercepts = super()._solved(grid, train)
        else:
            shape = len(train.weight), len(grid)
            slopes, intercepts = np.empty((*shape, self.problem.n_features)), np.empty(shape)
            for c, found in self.signed(train, grid):
                slopes[:, c], intercepts[:, c] = found.coef, found.intercept
        # Of the first task, whose slopes of what does not vary are those of all.
        self._judged.append(slopes[0].copy())
        return slopes, intercepts

    def _shared(self, data, grid):
        """The candidates' shared solutions ``(n_candidates, 1 + n_features)``."""
        out = np.empty((len(grid), 1 + self.problem.n_features))
        if self.restriction.positive is not None:
            for c, found in self.signed(data, grid):
                out[c] = found.theta
            return out
        for metric in np.unique(grid.metric):
            mine = np.flatnonzero(grid.metric == metric)
            for _, where, theta, _ in self.solutions(data, metric, grid.take(mine)):
                out[mine[where]] = theta
            out[mine, 1:] *= self.metrics[metric]
        return out

    def solve(self, grid, shares):
        *found, n_iter, thetas = super().solve(grid, shares)
        if self.restriction.positive is None:
            return *found, n_iter, thetas
        if found[-1] > _LARGEST_RESIDUAL:
            warnings.warn(
                f"the slopes with a sign stopped at a KKT residual of {found[-1]:.1e}, above "
                f"{_LARGEST_RESIDUAL:g}, after {self._n_iter} systems: features are collinear "
                "beyond double precision; raise alpha or alpha_shared, or leave some out.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return *found, self._n_iter, thetas

    def blend(self, data, grid, shares, more=(), common=None):
        if not self._mixes(grid, shares):
            return self._blend(data, grid, shares, more)
        fixed, mean_share = ~self.restriction.varies, shares.tasks.mean(0)
        if common is None:
            needed = np.flatnonzero(mean_share)
            common = (mean_share[needed] @ self._shared(data, grid.take(needed)))[1:]
        self._given = common
        try:
            coef, intercept, theta, residual, thetas = self._blend(data, grid, shares, more)
        finally:
            self._given = None
        coef[:, fixed] = theta[1:][fixed] = thetas[:, 1:][:, fixed] = common[fixed]
        return coef, intercept, theta, residual, thetas

    def _blend(self, data, grid, shares, more):
        if self.restriction.positive is None:
            return super().blend(data, grid, shares, more)
        coef, intercept = np.zeros((len(data.weight), data.n_features)), np.zeros(len(data.weight))
        theta, mean_share = np.zeros(1 + data.n_features), shares.tasks.mean(0)
        thetas = np.zeros((len(grid), len(theta)))
        needed, top = mean_share + shares.crowd > 0, int(np.argmax(mean_share))
        needed[np.asarray(more, dtype=np.int64)] = True
        needed = np.flatnonzero(needed)
        for i, found in self.signed(data, grid.take(needed)):
            share = shares.tasks[:, needed[i]]
            coef += share[:, None] * found.coef
            intercept += share * found.intercept
            thetas[needed[i]] = found.theta
            theta += shares.crowd[needed[i]] * found.theta
            if needed[i] == top:
                residual, self._n_iter = found.residual, found.n_iter
        return coef, intercept, theta, residual, thetas

    def blend_errors(self, judged, grid, shares):
        if not self._mixes(grid, shares):
            return super().blend_errors(judged, grid, shares)
        each = []
        for (train, test), slopes in zip(self.problem.splits(), self._judged, strict=True):
            common = shares.tasks.mean(0) @ slopes
            coef, intercept, *_ = self.blend(train, grid, shares, common=common)
            one = np.zeros((len(coef), 1, 1))
            each.append(test.add_error_grams(coef[:, None], intercept[:, None], one)[:, 0])
        return judged.means(np.array(each))

    def left_out(self, grid, most_tasks=100):
        if self.restriction.positive is None:
            return super().left_out(grid, most_tasks)
        moments, tasks = self.problem.moments, self.problem.sample(most_tasks)
        n_groups = min(5, len(tasks))
        group = np.arange(len(tasks)) % n_groups
        theta = np.empty((n_groups, len(grid), 1 + self.problem.n_features))
        if n_groups < 2:
            return LeftOut(tasks[:0], group[:0], theta[:0])
        for g in range(n_groups):
            theta[g] = self._shared(moments.take(tasks[group != g]), grid)
        return LeftOut(tasks, group, theta)


class RestrictedLogisticTuner(_Restricted, LogisticTuner):
    """`LogisticTuner` on a restricted `LogisticProblem`."""

    _given = None  # (n_scores, n_features), as above

    def __init__(self, problem):
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
            coef, intercept, theta, *certificate, thetas = super().solve(grid, shares)
            for c in shares.for_new_tasks()[0]:
                if not (mean_share[c] or shares.crowd[c]):  # not among those just solved
                    system, start = self.system(problem.table, grid.metric[c]), self._whole(grid, c)
                    thetas[c] = self._solve(system, grid, c, start)[0].theta
        finally:
            self._given = None
        slopes = common[0] if problem.n_scores == 1 else common
        theta[..., 1:][..., fixed] = slopes[..., fixed]
        coef[..., fixed] = slopes[..., fixed]
        thetas[..., 1:][..., fixed] = common[:, fixed]
        return coef, intercept, theta, *certificate, thetas

    def blend_errors(self, judged, grid, shares):
        if not self._mixes(grid, shares):
            return super().blend_errors(judged, grid, shares)
        problem, fixed = self.problem, ~self.restriction.varies
        mean_share = shares.tasks.mean(0)
        each = []
        for (train, _), (test, _, slopes) in zip(problem.splits(), judged.models, strict=True):
            # The slopes of what does not vary are alike in all tasks.
            common = np.einsum("c,ckj->kj", mean_share, slopes)
            blend = Scores.zeros(problem.n_scores, problem.n_tasks, problem.n_features)
            for c in np.flatnonzero(mean_share):
                start, system = self._whole(grid, c), self.system(train, grid.metric[c])
                found = self._solve(system, grid, c, start, given=common)[0]
                blend.coef += shares.tasks[:, c, None] * found.coef
                blend.intercept += shares.tasks[:, c] * found.intercept
            blend.coef[..., fixed] = common[:, None, fixed]
            each.append(test.losses(test.log_probabilities(blend)))
        return judged.means(np.array(each))


def make_tuner(problem):
    """What judges candidates on a `Problem` or a `LogisticProblem`."""
    if isinstance(problem, LogisticProblem):
        return (RestrictedLogisticTuner if problem.restriction else LogisticTuner)(problem)
    return (RestrictedTuner if problem.restriction else Tuner)(problem)
