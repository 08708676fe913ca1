"""Candidates of partial pooling for the log-loss, solved by Newton's method."""

from dataclasses import replace

import numpy as np

from ..solvers.newton import Scores
from .member import Blend, PoolingMember

__all__ = ["JUDGED", "Logistic"]

# While judging, a solution is good enough when a step lowers the objective by less than this (in
# nats, as the log-loss is), or after so many steps: tolerance, steps and gain of
# `LogisticSystem.solve`.
JUDGED = 0.0, 8, 1.0


class Logistic(PoolingMember):
    """Candidates that Newton's method solves one by one, each from where a neighbour ended."""

    def __init__(self, problem, grid, scalings):
        super().__init__(problem, grid, scalings)
        self._solutions, self._kept = {}, None

    def models(self, train, split):
        """Return the `Scores` of every candidate on the training rows of a split, unscaled."""
        self._solve_all()
        found, last = [], None
        for c, k in enumerate(self.grid.scaling):  # sorted
            if k != last:
                last, system = k, self.problem.system(train, self.scalings[k])
                self.problem.lend_curvatures(system, split)
            found.append(self._solve(system, c, self._whole(c))[0])
        return found

    def _solve_all(self):
        """Solve all candidates on all rows first: one system in memory at a time."""
        for c in range(len(self)):
            self._whole(c)
        self._kept = None

    def _system_of_all(self, k):
        """Return the system of all rows in a scaling; the last is kept, with its curvatures."""
        if self._kept is None or self._kept[0] != k:
            self._kept = k, self.problem.system(self.problem.table, self.scalings[k])
            self.problem.lend_curvatures(self._kept[1])
        return self._kept[1]

    def _solve(self, system, c, start, limits=JUDGED):
        """Return the unscaled scores, the KKT residual and the steps of one candidate."""
        factors = self.scalings[self.grid.scaling[c]].factors
        strengths = self.grid.slope[c], self.grid.intercept[c], self.grid.ridge[c]
        found, residual, n_iter = system.solve(
            tuple(map(float, strengths)), start.stretched(factors), *limits, given=self.given
        )
        return found.stretched(1.0 / factors), residual, n_iter

    def _whole(self, c):
        """Return rough scores of the candidate on all rows; kept, as every split starts there."""
        key = tuple(self.grid.rows()[c])
        if key not in self._solutions:
            problem = self.problem
            system = self._system_of_all(self.grid.scaling[c])
            start = Scores.zeros(system.n_scores, problem.n_tasks, problem.n_features)
            if self._solutions:  # the last one solved is a neighbour in the grid
                start = next(reversed(self._solutions.values()))
            self._solutions[key] = self._solve(system, c, start)[0]
        return self._solutions[key]

    def solve(self, shares, more):
        """Return the `Blend`, with the tasks on the first axis and no axis for a single score."""
        blend = super().solve(shares, more)
        coef, intercept = blend.coef.transpose(1, 0, 2), blend.intercept.T
        if self.problem.n_scores == 1:
            coef, intercept, blend.theta = coef[:, 0], intercept[:, 0], blend.theta[0]
        return replace(blend, coef=coef, intercept=intercept)

    def mean_slopes(self, shares):
        """Return the shared slopes of the candidates, averaged with the tasks' mean weights."""
        self._solve_all()
        share = shares.tasks.mean(0)
        return sum(share[c] * self._whole(c).theta[:, 1:] for c in np.flatnonzero(share))

    def blend(self, data, shares, more=()):
        """Return the `Blend` on a table (None: on all rows, to the problem's tolerance)."""
        problem, share = self.problem, shares.tasks.mean(0)
        used, top = share + shares.crowd > 0, int(np.argmax(share))
        zero = Scores.zeros(problem.n_scores, problem.n_tasks, problem.n_features)
        thetas = np.zeros((len(self), *zero.theta.shape))
        blend = Blend(zero.coef, zero.intercept, zero.theta, thetas)
        last = None
        for c in self.needed(shares, more):
            k, limits = self.grid.scaling[c], JUDGED
            if data is None:
                system = self._system_of_all(k)
                limits = (problem.tol, problem.max_iter) if used[c] else JUDGED
            elif k != last:
                last, system = k, problem.system(data, self.scalings[k])
            found, residual, n_iter = self._solve(system, c, self._whole(c), limits)
            if c == top:
                blend.residual, blend.n_iter = residual, n_iter
            blend.thetas[c] = found.theta
            blend.coef += shares.tasks[:, c, None] * found.coef
            blend.intercept += shares.tasks[:, c] * found.intercept
            unseen = problem.for_unseen(found.theta, self.scalings[k].apart)
            blend.theta += shares.crowd[c] * unseen
        return blend

    def left_out(self, tasks, group):
        """A shared model is one Newton step from the solution with all tasks."""
        problem = self.problem
        order = np.argsort(tasks)  # tables keep their tasks in order
        tasks, group = tasks[order], group[order]
        every = len(tasks) == problem.n_tasks
        table = problem.table if every else problem.table.take(tasks)
        theta = np.empty((group.max() + 1, len(self), problem.n_scores, 1 + problem.n_features))
        unseen = np.empty_like(theta)
        for c, k in enumerate(self.grid.scaling):
            scaling = self.scalings[k]
            system = self._system_of_all(k) if every else problem.system(table, scaling)
            scores = self._whole(c).stretched(scaling.factors)
            scores = Scores(scores.coef[:, tasks], scores.intercept[:, tasks], scores.theta)
            theta[:, c] = self._without(system, scores, c, group) * np.r_[1.0, scaling.factors]
            unseen[:, c] = problem.for_unseen(theta[:, c], scaling.apart)
        return theta, unseen

    def _without(self, system, scores, c, group):
        """Return shared models ``(n_groups, n_scores, 1 + n_features)`` without each group."""
        eta, one = system.eta(scores), self.grid.take([c])
        out = []
        for k in range(system.n_scores):
            arrow = system.arrow_at(eta, k).factor(float(one.slope[0]))
            out.append(arrow.solve_without(group, one.intercept, one.ridge))
        return np.array(out)[:, :, 0].transpose(1, 0, 2)
