"""Candidates of partial pooling for losses of scores, solved on working moments that queries give.

The loss is approximated at one or more *points*, models of the tasks. Candidates that are pooled,
and those that are one model per task, may be far from the others, and have points of their own. A
step solves the candidates of a point on its working moments, moves the point to the solution, and
is halved while the objective grows. Each step takes a query for all points, and so does each
halving.
"""

import itertools
from dataclasses import replace

import numpy as np

from ..guard.shares import Shares
from ..solvers.arrow import kkt_residual
from ..solvers.newton import Scores, penalty_of
from .least_squares import LeastSquares
from .member import Blend

__all__ = ["INDEPENDENT", "OWN", "POOLED", "Descent", "WorkingMember", "advance"]

# Points of the candidates: those with finite strengths, pooled models, and one model per task.
OWN, POOLED, INDEPENDENT = range(3)
# Each halving is a pass over the rows.
_MOST_HALVINGS = 12
# Relative growth of the objective that is allowed: rounding, and for averages of candidates, which
# have no objective of their own, that of the candidate with the largest weight.
_ROUNDING, _OF_BLENDS = 1e-10, 1e-3
# Steps without a residual of half the least one so far, after which rounding errors limit it.
_MOST_IDLE, _NEAR_ROUNDING = 2, 1e-7
# Part of the mean weights of candidates in the point of a task that gives none of them any weight.
_MEAN_PART = 1e-3


class WorkingMember(LeastSquares):
    """Candidates that least squares solve on working moments."""

    @property
    def points(self):
        """The point ``(n_candidates,)`` at which the loss is approximated for each candidate."""
        grid, out = self.grid, np.full(len(self), OWN)
        if self.problem.n_points > 1:
            free = grid.intercept <= self.problem.strengths.free_intercept
            out[np.isinf(grid.ridge) & free] = INDEPENDENT
            out[grid.are_pooled] = POOLED
        return out

    def _factored(self, data):
        """Yield ``(scaling, system, candidates)`` per scaling, slope strength and point."""
        points, last, system = self.points, None, None
        for k, slope, where in self.grid.levels:
            scaling = self.scalings[k]
            edges = where.start + 1 + np.flatnonzero(np.diff(points[where]))
            edges = [where.start, *edges.tolist(), where.stop]
            for start, stop in itertools.pairwise(edges):
                if (k, points[start]) != last:
                    last = k, points[start]
                    system = self._system(scaling, data.at(points[start]))
                yield scaling, system.factor(slope), slice(start, stop)

    def solve(self, shares, more):
        """Return the `Blend` on all rows, to the problem's tolerance."""
        problem, used, n_iter = self.problem, self.needed(shares), 0
        descents = []
        for point in np.unique(self.points[used]):
            descents.append(Descent(problem, int(point)))
            descents[-1].aim(self, self._of_point(shares, point))
        left = descents
        while left and n_iter < problem.max_iter:
            advance(problem, left)
            n_iter += 1
            residual = max(descent.residual for descent in descents)
            problem.progress(f"step {n_iter} of the fit: residual {residual:.1e}")
            left = [d for d in left if d.residual > problem.tol and not d.is_stuck]
        # Half a step further, as the last working moments are known.
        blend = super().solve(shares, more)
        return replace(blend, residual=residual, n_iter=n_iter)

    def solve_once(self, shares):
        """Return the `Blend` on the present working moments."""
        return super().solve(shares, ())

    def _of_point(self, shares, point):
        """Return the weights of the candidates of a point alone."""
        own = self.points == point
        mean = (shares.tasks.mean(axis=0) + shares.unseen) * own
        tasks = shares.tasks * own + _MEAN_PART * mean
        return Shares(tasks / tasks.sum(axis=1, keepdims=True), mean / mean.sum(), own)

    def of_one(self, c):
        """Return the weights of a single candidate."""
        share = np.zeros(len(self))
        share[c] = 1.0
        return Shares(np.tile(share, (self.problem.n_tasks, 1)), share, share > 0.0)

    def scores(self, c):
        """Return the `Scores` of a candidate on the present working moments, without an axis."""
        n_tasks, p = self.problem.n_tasks, self.problem.n_features
        ((scaling, system, _, theta),) = self.take([c]).solutions(self.problem.moments)
        coef, intercept = np.zeros((n_tasks, p)), np.zeros(n_tasks)
        pull = self.grid.intercept[c : c + 1]
        system.add_blend(theta, pull, np.ones((n_tasks, 1)), coef, intercept)
        factors = scaling.factors
        return Scores(coef * factors, intercept, theta[0] * np.append(1.0, factors))

    def _in_features(self, c, scores):
        """Return what the penalty and the residual of a candidate take, in its features."""
        grid, scaling = self.grid, self.scalings[self.grid.scaling[c]]
        moments = scaling.stretched(self.problem.moments.at(self.points[c]))
        places = self.problem.places(scaling, moments)
        strengths = tuple(float(s[c]) for s in (grid.slope, grid.intercept, grid.ridge))
        factors = scaling.factors
        theta = scores.theta / np.append(1.0, factors)
        own = scores.coef / factors, scores.intercept, theta
        return moments, strengths, factors**2, own, places, scaling.varies

    def objective(self, c, scores):
        """Return the loss at the candidate's point plus the penalties of its `Scores`."""
        _, strengths, penalty, own, places, _ = self._in_features(c, scores)
        total = self.problem.total_loss[self.points[c]]
        return total + penalty_of(strengths, penalty, *own, *places)

    def residual(self, c, scores):
        """Return the KKT residual of a candidate's `Scores` on the present working moments."""
        moments, strengths, penalty, own, places, varies = self._in_features(c, scores)
        coef, intercept, theta = own
        return kkt_residual(
            moments.weighted(), penalty, strengths, theta, coef, intercept, varies, None, *places
        )


class Descent:
    """Steps of Newton's method to the solution of candidates of one point.

    Parameters
    ----------
    problem : WorkingProblem
    point : int

    Attributes
    ----------
    blend : Blend
        The models at whose scores the working moments of the point are, or are to be.
    scores : Scores
        Those of the candidate with the largest weight.
    residual : float
        KKT residual of this candidate.
    is_stuck : bool
        Whether further steps would decrease neither the objective nor the residual.
    """

    def __init__(self, problem, point):
        self.problem, self.point, self.is_stuck = problem, point, False
        self.blend = self.scores = None
        if problem.is_at_start:  # compare with the constant model, which all strengths allow
            at = self.scores = problem.constant
            self.blend = Blend(at.coef, at.intercept, at.theta, at.theta[None])
        self._may_restart = problem.is_at_start and point != POOLED
        self.residual = self._least = np.inf
        self._idle = self._n_halvings = 0

    def aim(self, member, shares):
        """Set the candidates, and their weights."""
        self.member, self.shares = member, shares
        self.top = int(np.argmax(shares.tasks.mean(axis=0)))
        self._is_single = len(member.needed(shares)) == 1

    def propose(self):
        """Solve the candidates on the present working moments."""
        self._old, self._before, self._n_halvings = (self.blend, self.scores), np.inf, 0
        # A reference does not have the infinite strengths of other candidates.
        if self.scores is not None:
            self._before = self.member.objective(self.top, self.scores)
        self.blend = self.member.solve_once(self.shares)
        self.scores = self.member.scores(self.top)

    def accept(self):
        """Return whether the objective has not grown; else halve the step, or start anew."""
        after = self.member.objective(self.top, self.scores)
        slack = _ROUNDING if self._is_single else _OF_BLENDS
        is_better = after <= self._before + slack * abs(self._before)
        if not is_better and self._may_restart:
            self._may_restart = False
            self.blend, self.scores = self._old
            self.problem.restart(self.point)
            self.propose()
            return False
        self._may_restart = False
        if not is_better and self._n_halvings < _MOST_HALVINGS:
            self._n_halvings += 1
            self._halve()
            return False
        self.is_stuck = not is_better
        self.residual = self.member.residual(self.top, self.scores)
        self._idle = 0 if self.residual < 0.5 * self._least else self._idle + 1
        self._least = min(self._least, self.residual)
        if self._idle >= _MOST_IDLE and self.residual < _NEAR_ROUNDING:
            self.is_stuck = True
        return True

    def _halve(self):
        old, at = self._old
        self.blend = replace(
            self.blend,
            coef=0.5 * (old.coef + self.blend.coef),
            intercept=0.5 * (old.intercept + self.blend.intercept),
        )
        names = "coef", "intercept", "theta"
        means = (0.5 * (getattr(at, name) + getattr(self.scores, name)) for name in names)
        self.scores = Scores(*means)


def advance(problem, descents):
    """Take a step of every descent, with one query for all of them per step and halving."""
    for descent in descents:
        descent.propose()
    while descents:
        problem.move([(d.point, d.blend.coef, d.blend.intercept) for d in descents])
        descents = [descent for descent in descents if not descent.accept()]
        if descents:
            problem.progress("the objective has grown: a shorter step")
