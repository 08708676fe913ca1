"""Select the candidate strengths that are cross-validated on all tasks and splits."""

import numpy as np

from ..guard.weights import log_scores, size_balanced_weights, task_weights, unseen_weights
from ..solvers import make_system
from .least_squares import LeastSquares
from .strengths import Grid, SlopeScaling

__all__ = ["Screening"]

# Floating point operations for screening all candidates. If it would take more, only some of the
# tasks and splits are used.
_SCREEN_WORK = 1.6e8
_FEWEST_TASKS = 48
# Fewest and most candidates of a structure that are selected, and the floating point operations for
# the products of their errors.
_SHORT_LIST = (24, 256)
_BLEND_WORK = 2e7
# Fewest candidates beyond this many numbers in the models of one candidate, of all splits: errors
# and weights of the tasks under each candidate are then what takes time and memory.
_MANY_NUMBERS, _FEW_CANDIDATES = 2e6, 12
# Floating point operations for factorisations: one per task, split and selected slope strength.
_FACTOR_WORK = 5e8
# Least total weight of the candidates around a slope strength, below which it is not selected, and
# the width (a standard deviation in decades) of that neighbourhood.
_LEAST_LEVEL, _LEVEL_WIDTH = 0.03, 0.5
# Fewest and most candidates with signs that are selected, and the floating point operations.
_SIGNED_LIST = (6, 24)
_SIGNED_WORK = 4e9
# Tasks from which the variances of slopes are learned, the number of prior tasks behind the initial
# value of each variance, and the number of steps.
_VARIANCE_TASKS, _VARIANCE_PRIOR, _VARIANCE_STEPS = 64, 5.0, 6


class Screening:
    """Cross-validate all candidates of a problem on a sample, and select the best.

    Parameters
    ----------
    problem : Problem

    Attributes
    ----------
    scalings : list of SlopeScaling
        Scalings of the selected candidates.
    """

    def __init__(self, problem):
        self.problem, self.scalings = problem, problem.scalings()

    def screen(self, candidates, baselines):
        """Return short lists of a structure's candidates and of those of the baselines.

        Parameters
        ----------
        candidates : Grid
        baselines : sequence of two Grid
            Candidates of *independent* and of *pooled*.

        Returns
        -------
        short_lists : list of three Grid
        scalings : list of SlopeScaling
        """
        grid = Grid.concatenate([candidates, *baselines])
        self._sample(grid)
        errors, rows = self._judge(grid)
        mask = grid.isin(candidates)
        part, part_errors = self._with_per_feature(grid.take(mask), errors[:, mask], rows)
        scores = self.scores(part_errors, rows)
        short_lists = [self.short_list(part, scores, rows, self.most_candidates())]
        for baseline, most in zip(baselines, (1, 2), strict=True):
            mask = grid.isin(baseline)
            part, scores = grid.take(mask), self.scores(errors[:, mask], rows)
            short_lists.append(self.short_list(part, scores, rows, most))
        return short_lists, self.scalings

    def scores(self, errors, rows):
        """Return log-likelihoods of the tasks' held-out rows under each candidate."""
        factors = self.problem.moments.factors
        if factors is not None:
            factors = factors if self.tasks is None else factors.take(self.tasks)
            errors = factors.weighted_errors(errors)
        return log_scores(errors, rows)

    def _sample(self, grid):
        """Choose tasks (None: all) and a number of splits, within the work allowed."""
        problem, p = self.problem, self.problem.n_features
        factoring = len(grid.levels) * (3.0 * p**3 + 2000.0)
        solving = len(grid) * (4.0 * p**2 + 20.0 * p + 100.0)
        systems = max(_SCREEN_WORK / (factoring + solving), 1.0)
        self.n_splits = min(problem.n_splits, max(2, int(systems / _FEWEST_TASKS)))
        n_tasks = int(max(_FEWEST_TASKS, systems / self.n_splits))
        self.tasks = None if n_tasks >= problem.n_tasks else problem.sample(n_tasks)

    def _judge(self, grid):
        """Return errors ``(n_tasks, n_candidates)`` and rows of the sample, per repeat."""
        problem, errors, rows = self.problem, 0.0, 0.0
        member = LeastSquares(problem, grid, self.scalings)
        for number, (train, test) in enumerate(problem.splits(self.tasks, self.n_splits)):
            errors, rows = errors + member.errors(train, test), rows + test.weight
            problem.progress(f"cross-validated {len(grid)} candidates on split {number + 1}")
        weight = problem.moments.weight
        weight = weight if self.tasks is None else weight[self.tasks]
        repeats = max(1.0, rows.sum() / max(weight.sum(), 1e-300))
        return errors / repeats, rows / repeats

    def most_candidates(self):
        """Return how many candidates the work allows to cross-validate on all tasks."""
        problem = self.problem
        pairs = problem.n_tasks * problem.n_splits
        numbers = max(pairs * problem.n_features, 1)
        most = np.clip(np.sqrt(_BLEND_WORK / numbers), *_SHORT_LIST)
        if numbers > _MANY_NUMBERS:
            most = _FEW_CANDIDATES
        if problem.restriction.positive is None:
            return int(most)
        work = pairs * (10.0 * problem.n_features**3 + 5000.0)
        return int(min(most, np.clip(_SIGNED_WORK / max(work, 1.0), *_SIGNED_LIST)))

    def short_list(self, grid, scores, rows, most):
        """Return the candidates with the largest weights, averaged over tasks."""
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
        return grid.take(np.sort(keep[weight[keep] >= 1e-3 * weight.max()]))

    def mean_weights(self, grid, scores, rows):
        """Return the candidates' weights, averaged over tasks, plus those for an unseen task."""
        prior = self.problem.member(grid, self.scalings).log_prior(rows)
        weight = size_balanced_weights(rows) @ task_weights(scores, rows, prior, n_steps=1)[0]
        return weight + unseen_weights(scores, rows, prior)

    def _with_per_feature(self, grid, errors, rows):
        """Append candidates with a learned variance per feature, if variances differ."""
        per_feature = self._per_feature(grid, errors, rows)
        if per_feature is None:
            return grid, errors
        return grid.append(per_feature), np.hstack([errors, self._judge(per_feature)[0]])

    def _per_feature(self, grid, errors, rows):
        """Return candidates with a learned variance per feature, or None if variances are equal."""
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
        listed = self.short_list(grid, scores, rows, _SHORT_LIST[0])
        listed = listed.take(np.isfinite(listed.slope) & (listed.scaling == grid.scaling[best]))
        if not len(listed):
            return None
        pairs = np.unique(np.column_stack([listed.intercept, listed.ridge]), axis=0)
        near = (grid.slope >= strengths[0] / 4) & (grid.slope <= strengths[0] * 12)
        slopes = np.unique(grid.slope[finite & near])
        intercepts, ridges = np.tile(pairs, (len(slopes), 1)).T
        scaling = np.full(len(intercepts), len(self.scalings) - 1)
        return Grid(np.repeat(slopes, len(pairs)), intercepts.copy(), ridges.copy(), scaling)

    def learn_scaling(self, strengths, scaling, noise):
        """Learn how much the slope of each feature varies over tasks; None if all vary equally.

        Fixed-point steps (MacKay 1992) for the variances of the tasks' slopes start from the given
        strengths, on some of the tasks. Each variance is shrunk towards its initial value, because
        a variance per feature would overfit with few tasks and few rows.
        """
        problem, (slope, intercept, ridge) = self.problem, strengths
        tasks = problem.sample(_VARIANCE_TASKS)
        live = problem.scale[:-1] != 0  # features that are not constant
        if scaling.varies is not None:
            live = live & scaling.varies
        if len(tasks) < 4 or live.sum() < 2:
            return None
        variance = np.ones(problem.n_features)
        ones, intercepts = np.ones((len(tasks), 1)), np.array([intercept])
        moments = problem.moments.take(tasks)
        for _ in range(_VARIANCE_STEPS):
            stretched = moments.stretched(np.sqrt(variance))
            places = problem.places(scaling, stretched)
            stretched = stretched.weighted()
            system = make_system(stretched, variance, None, scaling.varies, *places).factor(slope)
            shared = system.solve_shared(intercepts, np.array([ridge]))
            coef, level = np.zeros((len(tasks), problem.n_features)), np.zeros(len(tasks))
            system.add_blend(shared, intercepts, ones, coef, level)
            squares = slope * ((coef - shared[0, 1:]) ** 2).sum(0) / max(noise, 1e-12)
            informed = np.maximum(len(tasks) - slope * system.leftover_variance(), 0.0)
            new = variance * (squares + _VARIANCE_PRIOR) / (informed + _VARIANCE_PRIOR)
            step = np.abs(np.log(new / variance)).max()
            variance = new
            if step < 0.1:
                break
        if variance[live].max() < 4.0 * variance[live].min():
            return None
        return SlopeScaling(np.sqrt(variance), scaling.within_only, scaling.varies)


def _cover(levels, mass, most, least):
    """Choose slope strengths greedily so that their neighbourhoods cover the weight.

    The neighbours of the best strength have large weights but add little to it, while tasks unlike
    the others need strengths that are far from the best one.
    """
    scaling = np.array([k for k, _, _ in levels])
    with np.errstate(divide="ignore"):
        decade = np.log10(np.array([slope for _, slope, _ in levels]))
    finite = decade[np.isfinite(decade)]
    ends = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    decade = np.clip(decade, ends[0] - 1.0, ends[1] + 0.5)
    near = np.exp(-0.5 * ((decade[:, None] - decade) / _LEVEL_WIDTH) ** 2)
    near *= scaling[:, None] == scaling
    left, chosen = mass.copy(), []  # weight that is not yet covered
    while len(chosen) < min(most, len(levels)):
        cover = near @ left
        cover[chosen] = -1.0
        best = int(np.argmax(cover))
        if cover[best] < least * mass.sum() and chosen:
            break
        chosen.append(best)
        left *= 1.0 - near[best]
    return set(chosen)
