"""Candidates of partial pooling for losses other than squares, solved by Newton's method."""

from dataclasses import replace

import numpy as np

from ..solvers.newton import Scores
from .member import Blend, PoolingMember

__all__ = ["ROUGH", "NewtonMember"]

# Tolerance, number of steps and least gain (in nats) of `NewtonSystem.solve` for solutions that
# are only compared with each other.
ROUGH = 0.0, 8, 1.0


class NewtonMember(PoolingMember):
    """Candidates that Newton's method solves one by one, each from a neighbour's solution."""

    def __init__(self, problem, grid, scalings):
        super().__init__(problem, grid, scalings)
        self._solutions, self._kept = {}, None

    def models(self, train, split):
        """Return the `Scores` of every candidate on the training rows of a split, unscaled."""
        self._solve_all()
        found, last = [], None  # candidates are sorted by scaling
        for c, k in enumerate(self.grid.scaling):
            if k != last:
                last, system = k, self.problem.training_system(train, self.scalings[k])
                self.problem.lend_curvatures(system, split)
            found.append(self._solve(system, c, self._whole(c))[0])
        return found

    def _solve_all(self):
        """Solve all candidates on all rows, with only one system in memory at a time."""
        for c in range(len(self)):
            self._whole(c)
        self._kept = None

    def _system_of_all(self, k):
        """Return the system of all rows in a scaling; the last one is cached."""
        if self._kept is None or self._kept[0] != k:
            self._kept = k, self.problem.training_system(self.problem.table, self.scalings[k])
            self.problem.lend_curvatures(self._kept[1])
        return self._kept[1]

    def _solve(self, system, c, start, stopping=ROUGH):
        """Return the unscaled scores, the KKT residual and the number of steps of a candidate."""
        factors = self.scalings[self.grid.scaling[c]].factors
        strengths = self.grid.slope[c], self.grid.intercept[c], self.grid.ridge[c]
        found, residual, n_iter = system.solve(
            tuple(map(float, strengths)), start.stretched(factors), *stopping, given=self.given
        )
        return found.stretched(1.0 / factors), residual, n_iter

    def _whole(self, c):
        """Return rough scores of the candidate on all rows, cached as a start for every split."""
        key = tuple(self.grid.rows()[c])
        if key not in self._solutions:
            problem = self.problem
            system = self._system_of_all(self.grid.scaling[c])
            start = problem.start(problem.table)
            if self._solutions:  # the last solution is that of a neighbour in the grid
                start = next(reversed(self._solutions.values()))
            self._solutions[key] = self._solve(system, c, start)[0]
        return self._solutions[key]

    def solve(self, shares, more):
        """Return the `Blend` with the tasks on the first axis, without an axis of one score set."""
        blend = super().solve(shares, more)
        coef, intercept = blend.coef.transpose(1, 0, 2), blend.intercept.T
        if self.problem.n_scores == 1:
            coef, intercept, blend.shared = coef[:, 0], intercept[:, 0], blend.shared[0]
        return replace(blend, coef=coef, intercept=intercept)

    def mean_slopes(self, shares):
        """Return the shared slopes of the candidates, averaged with the tasks' mean weights."""
        self._solve_all()
        weight = shares.tasks.mean(0)
        return sum(weight[c] * self._whole(c).theta[:, 1:] for c in np.flatnonzero(weight))

    def blend(self, data, shares, more=(), lend=lambda system: None):
        """Return the `Blend` on a table (None: on all rows, to the problem's tolerance).

        `lend` gives curvatures to the systems of the table (`NewtonProblem.lend_curvatures`).
        """
        problem, weight = self.problem, shares.tasks.mean(0)
        used, top = weight + shares.unseen > 0, int(np.argmax(weight))
        zero = Scores.zeros(problem.n_scores, problem.n_tasks, problem.n_features)
        shared_models = np.zeros((len(self), *zero.theta.shape))
        blend, last = Blend(zero.coef, zero.intercept, zero.theta, shared_models), None
        for c in self.needed(shares, more):
            if not used[c] and self.given is None:  # rough, as in the cross-validation
                shared_models[c] = self._whole(c).theta
                continue
            k, stopping = self.grid.scaling[c], ROUGH
            if data is None:
                system = self._system_of_all(k)
                stopping = (problem.tol, problem.max_iter) if used[c] else ROUGH
            elif k != last:
                last, system = k, problem.training_system(data, self.scalings[k])
                lend(system)
            found, residual, n_iter = self._solve(system, c, self._whole(c), stopping)
            if c == top:
                blend.residual, blend.n_iter = residual, n_iter
            blend.shared_models[c] = found.theta
            blend.coef += shares.tasks[:, c, None] * found.coef
            blend.intercept += shares.tasks[:, c] * found.intercept
            blend.shared += shares.unseen[c] * problem.for_unseen(found.theta, self.scalings[k])
        return blend

    def left_out(self, tasks, group):
        """Return shared models that are one Newton step from the solution with all tasks."""
        problem = self.problem
        order = np.argsort(tasks)  # the order of tasks in a table
        tasks, group = tasks[order], group[order]
        is_whole = len(tasks) == problem.n_tasks
        table = problem.table if is_whole else problem.table.take(tasks)
        shared = np.empty((group.max() + 1, len(self), problem.n_scores, 1 + problem.n_features))
        unseen = np.empty_like(shared)
        for c, k in enumerate(self.grid.scaling):
            scaling = self.scalings[k]
            system = self._system_of_all(k) if is_whole else problem.training_system(table, scaling)
            scores = self._whole(c).stretched(scaling.factors)
            scores = Scores(scores.coef[:, tasks], scores.intercept[:, tasks], scores.theta)
            shared[:, c] = self._without(system, scores, c, group) * np.r_[1.0, scaling.factors]
            unseen[:, c] = problem.for_unseen(shared[:, c], scaling)
        return shared, unseen

    def _without(self, system, scores, c, group):
        """Return shared models ``(n_groups, n_scores, 1 + n_features)`` without each group."""
        eta, candidate = system.eta(scores), self.grid.take([c])
        out = []
        for k in range(system.n_scores):
            arrow = system.arrow_at(eta, k).factor(float(candidate.slope[0]))
            out.append(arrow.solve_without(group, candidate.intercept, candidate.ridge))
        return np.array(out)[:, :, 0].transpose(1, 0, 2)
