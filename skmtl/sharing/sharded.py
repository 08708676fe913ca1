"""Fits to moments that are kept in shards: every shard is eliminated on its own.

A shard hands over only the Gram matrices of what all tasks share, one per candidate. Their sums
give the shared models, with which the tasks of every shard are solved in a second pass. What is
computed is the same as for moments in memory, up to the order of sums.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ..guard.judge import Judged
from ..guard.weights import noise_level
from .least_squares import LeastSquares, gradients_of
from .member import Blend
from .problem import Problem

__all__ = ["ShardedProblem"]

# Share of the memory for moments that products of held-out errors may take.
_GRAM_SHARE = 0.25


@dataclass
class ShardedProblem(Problem):
    """The data of a regression as `ShardedMoments`, with one cross-validation scheme at most.

    Attributes
    ----------
    memory_limit : float
        Bytes of moments that are in memory at a time.
    """

    memory_limit: float = np.inf
    takes_units = False

    def member(self, grid, scalings=None):
        """Return the candidates of a grid as a member of the guard."""
        return _ShardedLeastSquares(self, grid, scalings or self.scalings())

    def splits(self, tasks=None, most=None):
        """Yield training and test moments of some tasks, in memory (None: of all)."""
        return super().splits(np.arange(self.n_tasks) if tasks is None else tasks, most)

    def judge(self, members):
        """Cross-validate the candidates of all members and return a `Judged`."""
        (member,), (blocks, partition) = members, self.schemes[0]
        n_splits, n_candidates = len(partition.train), len(member)
        thetas = member.shared_of(blocks, partition.train)
        gram = None
        if 8.0 * self.n_tasks * n_candidates**2 <= _GRAM_SHARE * self.memory_limit:
            gram = np.zeros((self.n_tasks, n_candidates, n_candidates))
        sse, rows = (
            np.empty((n_splits, self.n_tasks, n_candidates)),
            np.empty((n_splits, self.n_tasks)),
        )
        first_coef = [None] * n_splits
        for tasks, s, (train, test) in self._held_out(blocks, partition):
            slopes, intercepts = member.models_given(train, thetas[s], member.weight_limits[s])
            if tasks.start == 0:
                first_coef[s] = slopes[0].copy()
            part = np.zeros((len(train.weight), n_candidates, n_candidates))
            of_part = part if gram is None else gram[tasks]
            sse[s, tasks] = test.add_error_grams(slopes, intercepts, of_part, self.executor)
            rows[s, tasks] = test.weight
        self.progress(f"cross-validated {n_candidates} candidates on {n_splits} splits")
        repeats = max(1.0, rows.sum() / max(self.moments.weight.sum(), 1e-300))
        judged = _JudgedShards(
            sse, rows, gram, repeats, first_coef=first_coef, factors=self.moments.factors,
            problem=self, member=member, thetas=thetas,
        )  # fmt: skip
        judged.noise = noise_level(*judged.totals())
        return judged

    def _held_out(self, blocks, partition):
        """Yield tasks, a split and its training and test moments, one shard at a time."""
        for tasks, part in blocks.parts():
            for s, pair in enumerate(zip(partition.train, partition.test, strict=True)):
                yield tasks, s, tuple(part.merge(side, executor=self.executor) for side in pair)

    def blend_errors(self, member, thetas, shares):
        """Return the squared held-out errors ``(n_tasks,)`` of a blend, summed over the splits."""
        blocks, partition = self.schemes[0]
        used, out = np.flatnonzero(shares.any(axis=0)), np.zeros(self.n_tasks)
        part = member.take(used)
        for tasks, s, (train, test) in self._held_out(blocks, partition):
            slopes, intercepts = part.models_given(train, thetas[s][used], member.weight_limits[s])
            weight = shares[tasks][:, used]
            slopes = np.einsum("tc,tcj->tj", weight, slopes)[:, None]
            intercepts = np.einsum("tc,tc->t", weight, intercepts)[:, None]
            gram = np.zeros((len(slopes), 1, 1))
            out[tasks] += test.add_error_grams(slopes, intercepts, gram, self.executor)[:, 0]
        return out

    def held_out_errors(self, test, blend):
        """Return the squared errors ``(n_tasks,)`` of a `Blend` on test moments."""
        out = np.zeros(self.n_tasks)
        for tasks, part in test.parts():
            coef, intercept = blend.coef[tasks][:, None], blend.intercept[tasks][:, None].copy()
            gram = np.zeros((len(coef), 1, 1))
            out[tasks] = part.add_error_grams(coef, intercept, gram, self.executor)[:, 0]
        return out


@dataclass
class _JudgedShards(Judged):
    """Held-out errors, whose products are computed again if they would take too much memory."""

    problem: object = None
    member: object = None
    thetas: list | None = None

    def blend_errors(self, shares):
        if self.gram is not None:
            return super().blend_errors(shares)
        _, std_error = self.means(np.einsum("stc,tc->st", self.sse, shares))
        with np.errstate(invalid="ignore"):
            sums = self.problem.blend_errors(self.member, self.thetas, shares)
            return sums / self.rows.sum(0), std_error


class _ShardedLeastSquares(LeastSquares):
    """Candidates that are solved shard by shard."""

    weight_limits = None  # of every split: the largest weight of a task

    def shared_of(self, blocks, sides):
        """Return the shared models of every candidate on some blocks of the rows, for each side.

        They are in the scaled features, ``(n_candidates, 1 + n_features)`` each.

        Parameters
        ----------
        blocks : ShardedBlocks
        sides : list of bool ndarray of shape (n_blocks,)
        """
        self.weight_limits = [self._largest_weight(blocks, side) for side in sides]
        p = self.problem.n_features
        grams = np.zeros((len(sides), len(self), 1 + p, 2 + p))
        for _, part in blocks.parts():
            for s, side in enumerate(sides):
                self._add_grams(grams[s], part.merge(side), self.weight_limits[s])
        return [self._solve_grams(gram) for gram in grams]

    def _largest_weight(self, blocks, side):
        weight = blocks.weight[:, side].sum(axis=1)
        factors = blocks.factors
        return float((weight if factors is None else weight * factors.values).max())

    def _systems(self, data, largest):
        """Yield ``(scaling, system, candidates)`` per scaling and slope strength of a shard."""
        last = system = None
        for k, slope, where in self.grid.levels:
            scaling = self.scalings[k]
            if k != last:
                last, system = k, self._system(scaling, data)
                system.set_largest_weight(largest)
            yield scaling, system.factor(slope), where

    def _add_grams(self, grams, data, largest):
        """Add the Gram matrices and right-hand sides of the candidates on a shard."""
        for _, system, where in self._systems(data, largest):
            strengths = self.grid.intercept[where]
            for strength in np.unique(strengths):
                G, g = system.gram(strength)
                grams[np.arange(len(self))[where][strengths == strength]] += np.column_stack([G, g])

    def _solve_grams(self, grams):
        theta = np.zeros((len(self), 1 + self.problem.n_features))
        for c in range(len(self)):
            penalty = self.scalings[self.grid.scaling[c]].factors ** 2
            theta[c] = _solved(grams[c], self.grid.ridge[c], penalty)
        return theta

    def models_given(self, data, theta, largest):
        """Return slopes and intercepts of all candidates on a shard, given the shared models."""
        shape = len(data.weight), len(self)
        slopes, intercepts = np.empty((*shape, self.problem.n_features)), np.empty(shape)
        for scaling, system, where in self._systems(data, largest):
            system.models(theta[where], self.grid.intercept[where], slopes, intercepts, where.start)
            if scaling.per_feature:
                slopes[:, where] *= scaling.factors
        return slopes, intercepts

    def shared(self, data):
        factors = np.array([self.scalings[k].factors for k in self.grid.scaling])
        theta = self.shared_of(data.blocks, [data.chosen])[0]
        theta[:, 1:] *= factors
        return theta

    def blend(self, data, shares, more=()):
        data = self.problem.moments if data is None else data
        p, n_tasks = self.problem.n_features, len(data.weight)
        shared_models = np.zeros((len(self), 1 + p))
        blend = Blend(np.zeros((n_tasks, p)), np.zeros(n_tasks), np.zeros(1 + p), shared_models)
        needed = self.needed(shares, more)
        if not len(needed):
            return blend
        member = self.take(needed)
        theta = member.shared_of(data.blocks, [data.chosen])[0]
        for i, c in enumerate(needed):
            scaling = self.scalings[self.grid.scaling[c]]
            shared_models[c] = theta[i] * np.append(1.0, scaling.factors)
            unseen = self.problem.for_unseen(shared_models[c], scaling)
            blend.shared += shares.unseen[c] * unseen
        top, found = np.flatnonzero(needed == np.argmax(shares.tasks.mean(0))), []
        for tasks, part in data.parts():
            found += member._add_part(
                blend, part, tasks, theta, shares.tasks[tasks][:, needed], top
            )
        if found:
            candidate = member.grid.take(top)
            penalty = self.scalings[candidate.scaling[0]].factors ** 2
            gradients = functools.reduce(lambda one, other: one.plus(other), found)
            ridge = float(candidate.ridge[0])
            blend.residual = gradients.residual(penalty, ridge, theta[top[0], 1:])
        return blend

    def _add_part(self, blend, data, tasks, theta, shares, top):
        """Add the models of a shard to a blend; return the gradients of the candidate `top`."""
        found = []
        for scaling, system, where in self._systems(data, self.weight_limits[0]):
            coef, weight = np.zeros((len(data.weight), data.n_features)), shares[:, where]
            system.add_blend(
                theta[where], self.grid.intercept[where], np.ascontiguousarray(weight), coef,
                blend.intercept[tasks],
            )  # fmt: skip
            blend.coef[tasks] += coef * scaling.factors
            if len(top) and where.start <= top[0] < where.stop:
                found.append(gradients_of(system, theta[top[0]], self.grid.take(top)))
        return found


def _solved(gram, ridge, penalty):
    """Return the shared model of a Gram matrix and its right-hand side, ``(1 + p, 2 + p)``.

    Constant features, and the intercept of tasks with free intercepts, have zeros.
    """
    G, g, out = gram[:, :-1].copy(), gram[:, -1], np.zeros(len(gram))
    slopes = np.arange(1, len(G))
    if np.isinf(ridge):
        slopes = slopes[:0]
    else:
        G[slopes, slopes] += ridge * penalty
    live = np.append(0, slopes)
    live = live[np.diag(G)[live] > 0.0]
    if not len(live):  # scipy 1.11 cannot solve an empty system
        return out
    unit = 1.0 / np.sqrt(np.diag(G)[live])
    A, b = G[np.ix_(live, live)] * np.multiply.outer(unit, unit), g[live] * unit
    try:
        out[live] = unit * cho_solve(cho_factor(A), b)
    except LinAlgError:  # collinear features without a ridge
        out[live] = unit * np.linalg.lstsq(A, b, rcond=1e-12)[0]
    return out
