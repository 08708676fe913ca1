"""Candidates of partial pooling for losses of scores, solved on working moments that queries give.

A step solves the candidates on the working moments at the present scores, and is halved while the
objective grows. Each step takes a query, and so does each halving.
"""

from dataclasses import replace

import numpy as np

from ..guard.shares import Shares
from ..solvers.arrow import kkt_residual
from ..solvers.newton import Scores, penalty_of
from .least_squares import LeastSquares
from .member import Blend

__all__ = ["Descent", "WorkingMember"]

# Each halving is a pass over the rows.
_MOST_HALVINGS = 12
# Relative growth of the objective that is allowed: rounding, and for averages of candidates, which
# have no objective of their own, that of the candidate with the largest weight.
_ROUNDING, _OF_BLENDS = 1e-10, 1e-3
# Steps without a residual of half the least one so far, after which rounding errors limit it.
_MOST_IDLE, _NEAR_ROUNDING = 2, 1e-7


class WorkingMember(LeastSquares):
    """Candidates that least squares solve on working moments."""

    def solve(self, shares, more):
        """Return the `Blend` on all rows, to the problem's tolerance."""
        problem, top = self.problem, int(np.argmax(shares.tasks.mean(0)))
        descent, n_iter, residual = Descent(problem), 0, np.inf
        while residual > problem.tol and n_iter < problem.max_iter and not descent.is_stuck:
            residual, n_iter = descent.step(self, top, shares, more), n_iter + 1
            problem.progress(f"step {n_iter} of the fit: residual {residual:.1e}")
        return replace(descent.blend, residual=residual, n_iter=n_iter)

    def solve_once(self, shares, more):
        """Return the `Blend` on the present working moments."""
        return super().solve(shares, more)

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

    def _judged(self, c, scores):
        """Return what the penalty and the residual of a candidate take, in its features."""
        grid, scaling = self.grid, self.scalings[self.grid.scaling[c]]
        moments = scaling.stretched(self.problem.moments)
        places = self.problem.places(scaling, moments)
        strengths = tuple(float(s[c]) for s in (grid.slope, grid.intercept, grid.ridge))
        factors = scaling.factors
        theta = scores.theta / np.append(1.0, factors)
        own = scores.coef / factors, scores.intercept, theta
        return moments, strengths, factors**2, own, places, scaling.varies

    def objective(self, c, scores):
        """Return the loss at the present scores plus the penalties of a candidate's `Scores`."""
        _, strengths, penalty, own, places, _ = self._judged(c, scores)
        return self.problem.total_loss + penalty_of(strengths, penalty, *own, *places)

    def residual(self, c, scores):
        """Return the KKT residual of a candidate's `Scores` on the present working moments."""
        moments, strengths, penalty, own, places, varies = self._judged(c, scores)
        coef, intercept, theta = own
        return kkt_residual(
            moments.weighted(), penalty, strengths, theta, coef, intercept, varies, None, *places
        )


class Descent:
    """Steps of Newton's method on the rows of a problem.

    Parameters
    ----------
    problem : WorkingProblem

    Attributes
    ----------
    blend : Blend
        The models at whose scores the working moments of the problem are.
    scores : Scores
        Those of the candidate with the largest weight.
    is_stuck : bool
        Whether further steps would not decrease the objective, or the residual.
    """

    def __init__(self, problem):
        self.problem, self.blend, self.is_stuck = problem, None, False
        # A reference does not have the infinite strengths of other candidates.
        self.scores = problem.constant if problem.is_at_start else None
        self._least, self._idle = np.inf, 0

    def step(self, member, top, shares=None, more=()):
        """Take a step, and return the KKT residual of a candidate.

        Parameters
        ----------
        member : WorkingMember
        top : int
            The candidate with the largest weight.
        shares : Shares, optional
            Weights of the candidates; by default that of candidate `top` is one.
        more : sequence of int
            Further candidates whose shared models are needed.
        """
        shares = member.of_one(top) if shares is None else shares
        is_single = len(member.needed(shares)) == 1
        slack = _ROUNDING if is_single else _OF_BLENDS
        before = np.inf if self.scores is None else member.objective(top, self.scores)
        if not is_single and self.blend is None:
            before = np.inf
        blend, scores = member.solve_once(shares, more), member.scores(top)
        for _ in range(_MOST_HALVINGS):
            self.problem.move(blend.coef, blend.intercept)
            after = member.objective(top, scores)
            if after <= before + slack * abs(before):
                break
            self.problem.progress("the objective has grown: half the step")
            blend, scores = self._halved(blend, scores)
        else:
            self.is_stuck = True
        self.blend, self.scores = blend, scores
        residual = member.residual(top, scores)
        self._idle = 0 if residual < 0.5 * self._least else self._idle + 1
        self._least = min(self._least, residual)
        if self._idle >= _MOST_IDLE and residual < _NEAR_ROUNDING:
            self.is_stuck = True
        return residual

    def _halved(self, blend, scores):
        """Return the means of models and of those before the step."""
        old = self.blend
        if old is None:  # the constant model
            at = self.problem.constant
            old = Blend(
                at.coef, at.intercept, at.theta, np.tile(at.theta, (len(blend.shared_models), 1))
            )
        names = "coef", "intercept", "shared", "shared_models"
        halved = {name: 0.5 * (getattr(old, name) + getattr(blend, name)) for name in names}
        names = "coef", "intercept", "theta"
        means = (0.5 * (getattr(self.scores, name) + getattr(scores, name)) for name in names)
        return replace(blend, **halved), Scores(*means)
