"""Candidates of partial pooling for squared errors, solved on block-wise moments."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..solvers import make_system, solve_given
from ..solvers.arrow import gradients
from ..solvers.signed import SignedSystem
from .member import Blend, PoolingMember, refit_without

__all__ = ["LeastSquares", "SignedLeastSquares", "gradients_of"]

# About the largest number of left-out tasks that are also predicted from a few of their rows.
_FEW_SHOT_TASKS = 33
# Largest KKT residual of a solution with signs that does not cause a warning.
_LARGEST_RESIDUAL = 1e-6


class LeastSquares(PoolingMember):
    """Candidates that arrow systems solve, with one factorization per slope strength."""

    def solutions(self, data):
        """Yield ``(scaling, system, candidates, theta)`` per scaling and slope strength.

        `theta` are the candidates' shared intercepts and slopes, in the scaled features.
        """
        for scaling, system, where in self._factored(data):
            intercepts, ridges = self.grid.intercept[where], self.grid.ridge[where]
            if self.given is None:
                theta = system.solve_shared(intercepts, ridges)
            else:
                known = self.given[self.fixed]
                theta = solve_given(system, self.fixed, known, intercepts, ridges)
            yield scaling, system, where, theta

    def _factored(self, data):
        """Yield ``(scaling, system, candidates)`` per scaling and slope strength."""
        last = system = None
        for k, slope, where in self.grid.levels:
            scaling = self.scalings[k]
            if k != last:
                last, system = k, self._system(scaling, data)
            yield scaling, system.factor(slope), where

    def _system(self, scaling, data):
        """Return the arrow system of some moments in the features of a `SlopeScaling`."""
        moments = scaling.stretched(data)
        places = self.problem.places(scaling, moments)
        return make_system(
            moments.weighted(), scaling.factors**2, self.problem.executor, scaling.varies, *places
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
        return self.problem.models_in_units(train, self.models_of)

    def models_of(self, data):
        """Return `models` in the units of the data."""
        shape = len(data.weight), len(self)
        slopes, intercepts = np.empty((*shape, self.problem.n_features)), np.empty(shape)
        for scaling, system, where, theta in self.solutions(data):
            system.models(theta, self.grid.intercept[where], slopes, intercepts, where.start)
            if scaling.per_feature:
                slopes[:, where] *= scaling.factors
        return slopes, intercepts

    def shared(self, data):
        """Return the shared models ``(n_candidates, 1 + n_features)`` of the candidates."""
        out = np.empty((len(self), 1 + self.problem.n_features))
        for scaling, _, where, theta in self.solutions(data):
            out[where] = theta * np.append(1.0, scaling.factors)
        return out

    def mean_slopes(self, shares):
        """Return the shared slopes of the candidates, averaged with the tasks' mean weights."""
        weight = shares.tasks.mean(0)
        used = np.flatnonzero(weight)
        return (weight[used] @ self.take(used).shared(self.problem.moments))[1:]

    def blend(self, data, shares, more=()):
        """Return the `Blend` on some moments (None: of all rows).

        `more` are the positions of further candidates whose shared models are needed.
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
        """Add the needed candidates to a blend, whose certificate is that of candidate `top`."""
        member = self.take(needed)
        for scaling, system, where, theta in member.solutions(data):
            chosen, intercepts = needed[where], member.grid.intercept[where]
            coef = np.zeros_like(blend.coef)
            weight = np.ascontiguousarray(shares.tasks[:, chosen])
            system.add_blend(theta, intercepts, weight, coef, blend.intercept)
            blend.coef += coef * scaling.factors
            blend.shared_models[chosen] = theta * np.append(1.0, scaling.factors)
            unseen = self.problem.for_unseen(blend.shared_models[chosen], scaling)
            blend.shared += shares.unseen[chosen] @ unseen
            if top in chosen:
                pick = int(np.flatnonzero(chosen == top)[0])
                candidate, given = self.grid.take([top]), system.given
                found = gradients_of(system, theta[pick], candidate)
                ridge = float(candidate.ridge[0])
                blend.residual = found.residual(system.penalty, ridge, theta[pick, 1:], given)

    def left_out(self, tasks, group):
        moments, n_groups = self.problem.moments.take(tasks), group.max(initial=-1) + 1
        shared = np.empty((n_groups, len(self), 1 + self.problem.n_features))
        unseen = np.empty_like(shared)
        for scaling, system, where in self._factored(moments):
            intercepts, ridges = self.grid.intercept[where], self.grid.ridge[where]
            shared[:, where] = system.solve_without(group, intercepts, ridges)
            shared[:, where, 1:] *= scaling.factors
            unseen[:, where] = self.problem.for_unseen(shared[:, where], scaling)
        return shared, unseen

    def few_shot_errors(self, left, size):
        """Return errors on the tasks with at least twice `size` rows."""
        left = left.subsample(max(1, len(left.tasks) // _FEW_SHOT_TASKS))
        units = self.problem.units
        support, rest = self.problem.few_shot_split(left.tasks, size)
        if units is not None:  # learned from the known rows
            units = units.take(left.tasks).relearned(support, prior=False)
            support, rest = (part.in_units(units.location, units.scale) for part in (support, rest))
        factors = self.problem.moments.factors
        if factors is not None and factors.of_noise:  # otherwise that of a new task is unknown
            support.factors = factors.take(left.tasks)
        errors = np.zeros((len(left.tasks), len(self)))
        n_groups, _, n_shared = left.shared.shape
        for scaling, system, where in self._factored(support):
            # Errors under the shared models of all groups; each task then gets those of its group.
            factors = np.append(1.0, scaling.factors)
            theta = (left.shared[:, where] / factors).reshape(-1, n_shared)
            intercepts = np.tile(self.grid.intercept[where], n_groups)
            found = system.errors(theta, intercepts, scaling.stretched(rest))
            found = found.reshape(len(found), n_groups, -1)
            errors[:, where] = found[np.arange(len(found)), left.group]
        if units is not None:
            errors *= units.scale[:, None] ** 2
        if support.factors is not None:
            errors = support.factors.weighted_errors(errors)
        kept = rest.weight > 0
        return errors[kept], rest.weight[kept]


class SignedLeastSquares(LeastSquares):
    """Candidates whose slopes have given signs; each one takes several systems to solve."""

    def signed(self, data):
        """Yield the position and the `SignedSolution` of every candidate."""
        for k in np.unique(self.grid.scaling):
            scaling = self.scalings[k]
            system = SignedSystem(
                scaling.stretched(data).weighted(), scaling.factors**2,
                self.problem.restriction.positive,
                scaling.varies, self.problem.executor,
            )  # fmt: skip
            for c in np.flatnonzero(self.grid.scaling == k):
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
            weight = shares.tasks[:, c]
            blend.coef += weight[:, None] * found.coef
            blend.intercept += weight * found.intercept
            blend.shared_models[c] = found.theta
            blend.shared += shares.unseen[c] * found.theta
            if c == top:
                blend.residual, blend.n_iter = found.residual, found.n_iter

    def left_out(self, tasks, group):
        return refit_without(self, tasks, group)


def gradients_of(system, theta, candidate):
    """Return the `Gradients` of one candidate at the current slope strength of a system."""
    n_tasks, n_columns = system.moments.mean.shape
    coef, intercept = np.zeros((n_tasks, n_columns - 1)), np.zeros(n_tasks)
    system.add_blend(theta[None], candidate.intercept, np.ones((n_tasks, 1)), coef, intercept)
    strengths = (candidate.slope[0], candidate.intercept[0], candidate.ridge[0])
    return gradients(
        system.moments, tuple(map(float, strengths)), theta, coef, intercept, system.varies,
        system.centres, system.anchors,
    )  # fmt: skip
