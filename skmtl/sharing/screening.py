"""Choose the candidate strengths that go on to cross-validation on all tasks and splits."""

import numpy as np

from ..guard.weights import crowd_weights, log_scores, task_weights, voices
from ..solvers import make_system
from .least_squares import LeastSquares
from .strengths import Grid, Scaling

__all__ = ["Screening"]

# Floating point operations that screening all candidates may cost; beyond, it uses some of the
# tasks and some of the splits.
_SCREEN_WORK = 1.6e8
_FEWEST_TASKS = 48
# Candidates of a structure that go on: the more the smoother the average; few where there is much
# data, as the products of their errors cost.
_SHORT_LIST = (24, 256)
_BLEND_WORK = 2e7
# Slope strengths that go on: each means factoring every task in every split.
_FACTOR_WORK = 5e8
# A neighbourhood of slope strengths (a standard deviation in decades) whose candidates together
# weigh less does not justify factoring every task.
_LEAST_LEVEL, _LEVEL_WIDTH = 0.03, 0.5
# Candidates with signs that go on, and the floating point operations allowed.
_SIGNED_LIST = (6, 24)
_SIGNED_WORK = 4e9
# Tasks from which the variances of slopes are learned, the number of tasks that the start of each
# variance counts for, and the number of steps.
_VARIANCE_TASKS, _VARIANCE_PRIOR, _VARIANCE_STEPS = 64, 5.0, 6


class Screening:
    """Cross-validate all candidates of a problem on a sample, and list the best.

    Parameters
    ----------
    problem : Problem

    Attributes
    ----------
    scalings : list of Scaling
        Those that the listed candidates refer to.
    """

    def __init__(self, problem):
        self.problem, self.scalings = problem, problem.scalings()

    def screen(self, own, limits):
        """Return the short lists of a structure's candidates and of those of each limit.

        Parameters
        ----------
        own : Grid
        limits : sequence of two Grid
            *Independent* and *pooled*.

        Returns
        -------
        list of three Grid
        scalings : list of Scaling
        """
        grid = Grid.concatenate([own, *limits])
        self._sample(grid)
        errors, rows = self._judge(grid)
        mine, chosen = self._own_list(grid.members(own), grid, errors, rows)
        lists = [mine.take(chosen)]
        for limit, most in zip(limits, (1, 2), strict=True):
            member = grid.members(limit)
            part, scores = grid.take(member), self.scores(errors[:, member], rows)
            lists.append(part.take(self.short_list(part, scores, rows, most)))
        return lists, self.scalings

    def _own_list(self, member, grid, errors, rows):
        grid, errors = grid.take(member), errors[:, member]
        second = self._per_feature(grid, errors, rows)
        if second is not None:
            grid, errors = grid.append(second), np.hstack([errors, self._judge(second)[0]])
        scores = self.scores(errors, rows)
        return grid, self.short_list(grid, scores, rows, self.most_candidates())

    def scores(self, errors, rows):
        """Return how well each candidate predicted each task, as a log-likelihood."""
        return log_scores(errors, rows)

    def _sample(self, grid):
        """Choose tasks (None: all) and a number of splits, within the work allowed."""
        problem, p = self.problem, self.problem.n_features
        per_system = len(grid.levels) * (3.0 * p**3 + 2000.0)
        per_system += len(grid) * (4.0 * p**2 + 20.0 * p + 100.0)
        systems = max(_SCREEN_WORK / per_system, 1.0)
        self.n_splits = min(problem.n_splits, max(2, int(systems / _FEWEST_TASKS)))
        n_tasks = int(max(_FEWEST_TASKS, systems / self.n_splits))
        self.tasks = None if n_tasks >= problem.n_tasks else problem.sample(n_tasks)

    def _judge(self, grid):
        """Return errors ``(n_tasks, n_candidates)`` and rows of the sample, per repeat."""
        problem, errors, rows = self.problem, 0.0, 0.0
        member = LeastSquares(problem, grid, self.scalings)
        for number, (train, test) in enumerate(problem.splits(self.tasks, self.n_splits)):
            errors, rows = errors + member.errors(train, test), rows + test.weight
            problem.progress(f"judged {len(grid)} candidates on split {number + 1}")
        weight = problem.moments.weight
        weight = weight if self.tasks is None else weight[self.tasks]
        repeats = max(1.0, rows.sum() / max(weight.sum(), 1e-300))
        return errors / repeats, rows / repeats

    def most_candidates(self):
        """Return how many candidates the work allows to judge and blend on all tasks."""
        problem = self.problem
        pairs = problem.n_tasks * problem.n_splits
        most = np.clip(np.sqrt(_BLEND_WORK / max(pairs * problem.n_features, 1)), *_SHORT_LIST)
        if problem.restriction.positive is None:
            return int(most)
        work = pairs * (10.0 * problem.n_features**3 + 5000.0)
        return int(min(most, np.clip(_SIGNED_WORK / max(work, 1.0), *_SIGNED_LIST)))

    def short_list(self, grid, scores, rows, most):
        """Return the positions of candidates that weigh most, on average over tasks."""
        weight = self.mean_weights(grid, scores, rows)
        levels, problem = grid.levels, self.problem
        mass = np.array([weight[where].sum() for *_, where in levels])
        per_level = problem.n_tasks * problem.n_splits * (3.0 * problem.n_features**3 + 1000.0)
        most_levels = max(2, int(_FACTOR_WORK / per_level))
        least = _LEAST_LEVEL if most_levels < 100 else 0.0
        chosen = _cover(levels, mass, most_levels, least)
        for i, (*_, where) in enumerate(levels):
            if i not in chosen:
                weight[where] = 0.0
        keep = np.argsort(-weight, kind="stable")[:most]
        return np.sort(keep[weight[keep] >= 1e-3 * weight.max()])

    def mean_weights(self, grid, scores, rows):
        """Return the candidates' weights, on average over tasks and over all rows."""
        prior = self.problem.member(grid, self.scalings).log_prior(rows)
        weight = voices(rows) @ task_weights(scores, rows, prior, n_steps=1)[0]
        return weight + crowd_weights(scores, rows, prior)

    def _per_feature(self, grid, errors, rows):
        """Return candidates with a learned variance per feature, or None if these are alike."""
        finite = np.isfinite(grid.slope)
        if len(np.unique(grid.slope[finite])) < 3:
            return None
        scores = self.scores(errors, rows)
        best = int(np.argmax(np.where(finite, scores.sum(0), -np.inf)))
        strengths = grid.slope[best], grid.intercept[best], grid.ridge[best]
        noise = errors[:, best].sum() / max(rows.sum(), 1e-300)
        scaling = self.learn_scaling(strengths, self.scalings[grid.scaling[best]], noise)
        if scaling is None:
            return None
        self.scalings = [*self.scalings, scaling]
        listed = grid.take(self.short_list(grid, scores, rows, _SHORT_LIST[0]))
        listed = listed.take(np.isfinite(listed.slope) & (listed.scaling == grid.scaling[best]))
        if not len(listed):
            return None
        pairs = np.unique(np.column_stack([listed.intercept, listed.ridge]), axis=0)
        near = (grid.slope >= strengths[0] / 4) & (grid.slope <= strengths[0] * 12)
        slopes = np.unique(grid.slope[finite & near])
        i, r = np.tile(pairs, (len(slopes), 1)).T
        s = np.repeat(slopes, len(pairs))
        return Grid(s, i.copy(), r.copy(), np.full(len(s), len(self.scalings) - 1))

    def learn_scaling(self, strengths, scaling, noise):
        """Learn how much each feature's slope varies over tasks; None if all vary alike.

        Fixed-point steps (MacKay 1992) for the variances of the tasks' slopes from the given
        strengths, on some of the tasks. Each variance is drawn towards its start as if by some
        more tasks: with few tasks and few rows, a variance per feature over-fits.
        """
        problem, (slope, intercept, ridge) = self.problem, strengths
        tasks = problem.sample(_VARIANCE_TASKS)
        live = problem.scale[:-1] != 0  # the variance of a constant stays where it started
        if scaling.varies is not None:
            live = live & scaling.varies
        if len(tasks) < 4 or live.sum() < 2:
            return None
        variance = np.ones(problem.n_features)
        ones, pull = np.ones((len(tasks), 1)), np.array([intercept])
        moments = problem.moments.take(tasks)
        for _ in range(_VARIANCE_STEPS):
            stretched = moments.stretched(np.sqrt(variance))
            places = problem.places(scaling.apart, stretched)
            system = make_system(stretched, variance, None, scaling.varies, *places).factor(slope)
            theta = system.solve_shared(pull, np.array([ridge]))
            coef, level = np.zeros((len(tasks), problem.n_features)), np.zeros(len(tasks))
            system.add_blend(theta, pull, ones, coef, level)
            squares = slope * ((coef - theta[0, 1:]) ** 2).sum(0) / max(noise, 1e-12)
            informed = np.maximum(len(tasks) - slope * system.leftover_variance(), 0.0)
            new = variance * (squares + _VARIANCE_PRIOR) / (informed + _VARIANCE_PRIOR)
            step = np.abs(np.log(new / variance)).max()
            variance = new
            if step < 0.1:
                break
        if variance[live].max() < 4.0 * variance[live].min():
            return None
        return Scaling(np.sqrt(variance), scaling.apart, scaling.varies)


def _cover(levels, mass, most, least):
    """Choose slope strengths that cover the weight, greedily: a neighbour stands for those near.

    Tasks that are unlike the rest need strengths far from the common one. The neighbours of the
    common one weigh more, but add little to it.
    """
    scaling = np.array([k for k, _, _ in levels])
    with np.errstate(divide="ignore"):
        place = np.log10(np.array([slope for _, slope, _ in levels]))
    finite = np.where(np.isfinite(place), place, np.nan)
    ends = (0.0, 0.0) if np.isnan(finite).all() else (np.nanmin(finite), np.nanmax(finite))
    place = np.clip(place, ends[0] - 1.0, ends[1] + 0.5)
    near = np.exp(-0.5 * ((place[:, None] - place) / _LEVEL_WIDTH) ** 2)
    near *= scaling[:, None] == scaling
    left, chosen = mass.copy(), []
    while len(chosen) < min(most, len(levels)):
        cover = near @ left
        cover[chosen] = -1.0
        best = int(np.argmax(cover))
        if cover[best] < least * mass.sum() and chosen:
            break
        chosen.append(best)
        left *= 1.0 - near[best]
    return set(chosen)
