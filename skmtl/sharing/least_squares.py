"""Candidates of partial pooling for squared errors, solved on block-wise moments."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..solvers import kkt_residual, make_system, solve_given
from ..solvers.signed import SignedSystem
from .member import Blend, PoolingMember

__all__ = ["LeastSquares", "SignedLeastSquares"]

# Of the tasks left out, at most about so many are also predicted from their first rows.
_EARLY_TASKS = 33
# A residual of slopes with a sign above this is no solution.
_LARGEST_RESIDUAL = 1e-6


class LeastSquares(PoolingMember):
    """Candidates that arrow systems solve, one factorization per slope strength."""

    def solutions(self, data):
        """Yield ``(scaling, system, candidates, theta)`` per scaling and slope strength.

        `theta` are the candidates' shared intercepts and slopes, in the scaled features.
        """
        for scaling, system, where in self._factored(data):
            pulls, ridges = self.grid.intercept[where], self.grid.ridge[where]
            if self.given is None:
                theta = system.solve_shared(pulls, ridges)
            else:
                known = self.given[self.fixed]
                theta = solve_given(system, self.fixed, known, pulls, ridges)
            yield scaling, system, where, theta

    def _factored(self, data):
        last = system = None
        for k, slope, where in self.grid.levels:
            scaling = self.scalings[k]
            if k != last:
                last, system = k, self.system(data, scaling)
            yield scaling, system.factor(slope), where

    def system(self, data, scaling):
        """Return an arrow system on some moments."""
        moments = scaling.stretched(data)
        places = self.problem.places(scaling.apart, moments)
        return make_system(
            moments, scaling.factors**2, self.problem.executor, scaling.varies, *places
        )

    def errors(self, train, test):
        """Return the squared errors ``(n_tasks, n_candidates)`` on the test moments of a split."""
        out, stretched, last = np.zeros((len(train.weight), len(self))), None, None
        for scaling, system, where, theta in self.solutions(train):
            if scaling is not last:
                last, stretched = scaling, scaling.stretched(test)
            out[:, where] = system.errors(theta, self.grid.intercept[where], stretched)
        return out

    def models(self, train, split=None):
        """Return slopes ``(n_tasks, n_candidates, n_features)`` and intercepts of the tasks."""
        units = self.problem.units
        if units is None:
            return self.models_of(train)
        units = units.relearned(train)
        slopes, intercepts = self.models_of(train.in_units(units.location, units.scale))
        units.models(slopes, intercepts)
        return slopes, intercepts

    def models_of(self, data):
        """Return `models` in the units of the data."""
        shape = len(data.weight), len(self)
        slopes, intercepts = np.empty((*shape, self.problem.n_features)), np.empty(shape)
        for scaling, system, where, theta in self.solutions(data):
            pulls = self.grid.intercept[where]
            system.models(theta, pulls, slopes, intercepts, where.start)
            if scaling.per_feature:
                slopes[:, where] *= scaling.factors
        return slopes, intercepts

    def shared(self, data):
        """Return the candidates' shared solutions ``(n_candidates, 1 + n_features)``."""
        out = np.empty((len(self), 1 + self.problem.n_features))
        for scaling, _, where, theta in self.solutions(data):
            out[where] = theta * np.append(1.0, scaling.factors)
        return out

    def mean_slopes(self, shares):
        """Return the shared slopes of the candidates, averaged with the tasks' mean weights."""
        share = shares.tasks.mean(0)
        used = np.flatnonzero(share)
        return (share[used] @ self.take(used).shared(self.problem.moments))[1:]

    def blend(self, data, shares, more=()):
        """Return the `Blend` on some moments (None: of all rows).

        `more` are further candidates whose shared models are wanted.
        """
        data = self.problem.moments if data is None else data
        p, n_tasks = self.problem.n_features, len(data.weight)
        blend = Blend(
            np.zeros((n_tasks, p)), np.zeros(n_tasks), np.zeros(1 + p), np.zeros((len(self), 1 + p))
        )
        needed = self.needed(shares, more)
        if len(needed):
            top = int(np.argmax(shares.tasks.mean(0)))
            self._add(blend, data, shares, needed, top)
        return blend

    def _add(self, blend, data, shares, needed, top):
        some = self.take(needed)
        for scaling, system, where, theta in some.solutions(data):
            chosen, pulls = needed[where], some.grid.intercept[where]
            share = np.ascontiguousarray(shares.tasks[:, chosen])
            own = np.zeros_like(blend.coef)
            system.add_blend(theta, pulls, share, own, blend.intercept)
            blend.coef += own * scaling.factors
            blend.thetas[chosen] = theta * np.append(1.0, scaling.factors)
            unseen = self.problem.for_unseen(blend.thetas[chosen], scaling.apart)
            blend.theta += shares.crowd[chosen] @ unseen
            if top in chosen:
                pick = int(np.flatnonzero(chosen == top)[0])
                blend.residual = _certificate(system, theta[pick], self.grid.take([top]))

    def left_out(self, tasks, group):
        moments, n_groups = self.problem.moments.take(tasks), group.max(initial=-1) + 1
        theta = np.empty((n_groups, len(self), 1 + self.problem.n_features))
        unseen = np.empty_like(theta)
        for scaling, system, where in self._factored(moments):
            pulls, ridges = self.grid.intercept[where], self.grid.ridge[where]
            theta[:, where] = system.solve_without(group, pulls, ridges)
            theta[:, where, 1:] *= scaling.factors
            unseen[:, where] = self.problem.for_unseen(theta[:, where], scaling.apart)
        return theta, unseen

    def early_errors(self, left, size):
        """Of the tasks that have at least twice as many rows."""
        left, problem = left.every(max(1, len(left.tasks) // _EARLY_TASKS)), self.problem
        support, rest = problem.thinned(left.tasks, size)
        if problem.units is not None:  # learned from the few rows, too
            units = problem.units.take(left.tasks).relearned(support, anew=False)
            support, rest = (part.in_units(units.location, units.scale) for part in (support, rest))
        errors = np.zeros((len(left.tasks), len(self)))
        n_groups, _, n_shared = left.theta.shape
        for scaling, system, where in self._factored(support):
            # All groups' shared models at once; every task then takes those of its own group.
            factors = np.append(1.0, scaling.factors)
            shared = (left.theta[:, where] / factors).reshape(-1, n_shared)
            pulls = np.tile(self.grid.intercept[where], n_groups)
            found = system.errors(shared, pulls, scaling.stretched(rest))
            found = found.reshape(len(found), n_groups, -1)
            errors[:, where] = found[np.arange(len(found)), left.group]
        if problem.units is not None:
            errors *= units.scale[:, None] ** 2
        kept = rest.weight > 0
        return errors[kept], rest.weight[kept]


class SignedLeastSquares(LeastSquares):
    """Candidates with slopes of a given sign: every candidate takes some systems of its own."""

    def signed(self, data):
        """Yield every candidate's number and `SignedSolution`."""
        for scaling, candidates in self.by_scaling():
            system = SignedSystem(
                scaling.stretched(data), scaling.factors**2, self.problem.restriction.positive,
                scaling.varies, self.problem.executor,
            )  # fmt: skip
            for c in candidates:
                strengths = self.grid.slope[c], self.grid.intercept[c], self.grid.ridge[c]
                found = system.solve(tuple(map(float, strengths)), given=self.given)
                yield c, found.stretched(1.0 / scaling.factors)

    def models_of(self, data):
        shape = len(data.weight), len(self)
        slopes, intercepts = np.empty((*shape, self.problem.n_features)), np.empty(shape)
        for c, found in self.signed(data):
            slopes[:, c], intercepts[:, c] = found.coef, found.intercept
        return slopes, intercepts

    def shared(self, data):
        return np.array([found.theta for _, found in self.signed(data)])

    def solve(self, shares, more):
        blend = super().solve(shares, more)
        if blend.residual > _LARGEST_RESIDUAL:
            warnings.warn(
                "the solver for slopes with a sign stopped at a KKT residual of "
                f"{blend.residual:.1e}, above {_LARGEST_RESIDUAL:g}, after {blend.n_iter} linear "
                "systems: features are collinear in double precision; raise alpha or "
                "alpha_shared, or leave out some of the features.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return blend

    def _add(self, blend, data, shares, needed, top):
        for i, found in self.take(needed).signed(data):
            c = needed[i]
            share = shares.tasks[:, c]
            blend.coef += share[:, None] * found.coef
            blend.intercept += share * found.intercept
            blend.thetas[c] = found.theta
            blend.theta += shares.crowd[c] * found.theta
            if c == top:
                blend.residual, blend.n_iter = found.residual, found.n_iter

    def left_out(self, tasks, group):
        moments = self.problem.moments
        theta = np.array(
            [self.shared(moments.take(tasks[group != g])) for g in range(group.max(initial=-1) + 1)]
        )
        return theta, theta


def _certificate(system, theta, candidate):
    """Return the KKT residual of one candidate at a system's present slope strength."""
    shape = system.moments.mean.shape
    coef, intercept = np.zeros((shape[0], shape[1] - 1)), np.zeros(shape[0])
    system.add_blend(theta[None], candidate.intercept, np.ones((shape[0], 1)), coef, intercept)
    strengths = (candidate.slope[0], candidate.intercept[0], candidate.ridge[0])
    return kkt_residual(
        system.moments, system.penalty, tuple(map(float, strengths)), theta, coef, intercept,
        system.varies, system.given, system.centres, system.anchors,
    )  # fmt: skip
