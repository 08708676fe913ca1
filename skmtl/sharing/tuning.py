"""Tuning by exact cross-validation on block moments: screen, judge, blend."""

from dataclasses import replace

import numpy as np

from ..guard.judge import Judged, LeftOut
from ..guard.residuals import ResidualScale
from ..guard.weights import (
    crowd_weights,
    log_scores,
    noise_level,
    task_weights,
    unseen_weights,
    voices,
)
from ..solvers import kkt_residual, make_system
from .newcomers import Adapter
from .strengths import Grid

__all__ = ["Tuner"]

# Floating point operations that screening all candidates may cost; beyond, it sees some of the
# tasks and some of the splits.
_SCREEN_WORK = 1.6e8
_FEWEST_TASKS = 48
# Candidates of a structure that go on from the screening to all tasks and splits: the more the
# smoother the average; few where there is much data, as their errors' products cost.
_SHORT_LIST = (24, 256)
_BLEND_WORK = 2e7
# Slope strengths that go on: each means factoring every task in every split.
_FACTOR_WORK = 5e8
# A neighbourhood of slope strengths (a standard deviation in decades) whose candidates together
# weigh less is not worth factoring every task for.
_LEAST_LEVEL, _LEVEL_WIDTH = 0.03, 0.5
# Tasks left out also judge candidates as if they had so few rows: large tasks hardly care how
# strongly they are drawn to the others, and a task that begins does.
_EARLY_ROWS, _EARLY_TASKS = 5, 33


class Tuner:
    """Judges candidate strengths on a `Problem`.

    Attributes
    ----------
    metrics : list of ndarray of shape (n_features,)
        Square roots of the features' slope variances; the first is all ones. Where the problem
        is restricted, so is the second, for which it is not.
    """

    def __init__(self, problem):
        self.problem = problem
        self.restriction = problem.restriction
        self.metrics = self.restriction.metrics(problem.n_features)
        self.apart = [False] * len(self.metrics)
        if problem.apart:
            self.metrics.append(np.ones(problem.n_features))
            self.apart.append(True)

    def system(self, moments, metric):
        """An arrow system on moments in metric number `metric`."""
        moments = self.in_metric(moments, metric)
        varies = self.restriction.varies_in(metric)
        places = self.problem.places(self.apart[metric], moments)
        return make_system(
            moments, self.metrics[metric] ** 2, self.problem.executor, varies, *places
        )

    def in_metric(self, moments, metric):
        stretch = self.metrics[metric]
        return moments if (stretch == 1.0).all() else moments.stretched(stretch)

    def solutions(self, train, metric, grid):
        """Yield ``(system, slice of the grid, theta, part of the grid)`` for one metric."""
        system = self.system(train, metric)
        for level_metric, slope, where in grid.levels:
            if level_metric == metric:
                part = grid.take(where)
                system.factor(slope)
                yield system, where, system.solve_shared(part.intercept, part.ridge), part

    def judge(self, grid, tasks=None, most=None, blends=False):
        """Cross-validate candidates; returns a `Judged`."""
        problem = self.problem
        n_tasks = problem.n_tasks if tasks is None else len(tasks)
        gram = np.zeros((n_tasks, len(grid), len(grid))) if blends else None
        probe = problem.probe() if blends else None
        sse, rows = [], []
        for train, test in problem.splits(tasks, most):
            if blends:
                slopes, intercepts = self._models(grid, train)
                if probe is not None:
                    probe.look(slopes, intercepts)
                sse.append(test.add_error_grams(slopes, intercepts, gram, problem.executor))
            else:
                sse.append(self._errors(grid, train, test))
            rows.append(test.weight)
            problem.progress(f"judged {len(grid)} candidates on split {len(rows)}")
        sse, rows = np.array(sse), np.array(rows)
        weight = problem.moments.weight if tasks is None else problem.moments.weight[tasks]
        repeats = max(1.0, rows.sum() / max(weight.sum(), 1e-300))
        judged = Judged(sse, rows, gram, repeats, probe)
        return replace(judged, noise=noise_level(*judged.totals())) if blends else judged

    def _errors(self, grid, train, test):
        """Squared errors ``(n_tasks, n_candidates)`` on one split."""
        out = np.zeros((len(train.weight), len(grid)))
        for metric in np.unique(grid.metric):
            in_metric = self.in_metric(test, metric)
            for system, where, theta, part in self.solutions(train, metric, grid):
                out[:, where] = system.errors(theta, part.intercept, in_metric)
        return out

    def _models(self, grid, train):
        """The tasks' slopes and intercepts under every candidate."""
        units = self.problem.units
        if units is not None:  # as the training rows tell them
            units = units.relearned(train)
            train = train.in_units(units.location, units.scale)
        slopes, intercepts = self._solved(grid, train)
        if units is not None:
            units.models(slopes, intercepts)
        return slopes, intercepts

    def _solved(self, grid, train):
        """`_models` in the units of the training rows."""
        shape = len(train.weight), len(grid)
        slopes, intercepts = np.empty((*shape, self.problem.n_features)), np.empty(shape)
        for metric in np.unique(grid.metric):
            for system, where, theta, part in self.solutions(train, metric, grid):
                system.models(theta, part.intercept, slopes, intercepts, where.start)
            if metric > 0:  # candidates are sorted by metric: a slice, which is not copied
                first, stop = np.searchsorted(grid.metric, [metric, metric + 1])
                slopes[:, first:stop] *= self.metrics[metric]
        return slopes, intercepts

    def scores(self, sse, rows):
        """How well each candidate predicted each task, as a log-likelihood."""
        return log_scores(sse, rows)

    def unseen_weights(self, sse, rows):
        """Weights for a task never seen, from errors on tasks left out."""
        return unseen_weights(sse)

    def sample(self, grid):
        """Tasks (None: all) and number of splits to screen on, within the work allowed."""
        problem, p = self.problem, self.problem.n_features
        per_system = len(grid.levels) * (3.0 * p**3 + 2000.0)
        per_system += len(grid) * (4.0 * p**2 + 20.0 * p + 100.0)
        systems = max(_SCREEN_WORK / per_system, 1.0)
        n_splits = min(problem.n_splits, max(2, int(systems / _FEWEST_TASKS)))
        n_tasks = int(max(_FEWEST_TASKS, systems / n_splits))
        if n_tasks >= problem.n_tasks:
            return None, n_splits
        return problem.sample(n_tasks), n_splits

    def most_candidates(self):
        """How many candidates the work allows to judge and blend on all tasks."""
        problem = self.problem
        per_pair = problem.n_tasks * problem.n_splits * problem.n_features
        return int(np.clip(np.sqrt(_BLEND_WORK / max(per_pair, 1)), *_SHORT_LIST))

    def level_limits(self):
        """How many slope strengths go on to all tasks and splits, and the least weight of one."""
        problem = self.problem
        per_level = problem.n_tasks * problem.n_splits * (3.0 * problem.n_features**3 + 1000.0)
        most = max(2, int(_FACTOR_WORK / per_level))
        return most, _LEAST_LEVEL if most < 100 else 0.0

    def log_prior(self, grid, rows):
        """Log-weights of the candidates before any verdict of tasks with so many rows."""
        return grid.log_prior(self.problem.n_varying(grid), rows.mean(), self.problem.strengths)

    def mean_weights(self, grid, scores, rows):
        """The candidates' weights, on average over tasks and the crowd."""
        prior = self.log_prior(grid, rows)
        weight = voices(rows) @ task_weights(scores, rows, prior, n_steps=1)[0]
        return weight + crowd_weights(scores, rows, prior)

    def short_list(self, grid, scores, rows, most):
        """The candidates that weigh most, on average over tasks."""
        weight = self.mean_weights(grid, scores, rows)
        levels = grid.levels
        mass = np.array([weight[where].sum() for _, _, where in levels])
        chosen = _spread_out(levels, mass, *self.level_limits())
        for i, (_, _, where) in enumerate(levels):
            if i not in chosen:
                weight[where] = 0.0
        keep = np.argsort(-weight, kind="stable")[:most]
        return grid.take(np.sort(keep[weight[keep] >= 1e-3 * weight.max()]))

    def screen(self, own, families):
        """Short lists of a structure's candidates and of each other family's, judged together.

        On a sample of tasks and splits where there is much data.
        """
        grid = Grid.concatenate([own, *families])
        tasks, n_splits = self.sample(grid)
        judged = self.judge(grid, tasks, n_splits)
        sse, rows = judged.totals()

        def listed(family, most):
            member = grid.members(family)
            part = self.scores(sse[:, member], rows)
            return self.short_list(grid.take(member), part, rows, most)

        member = grid.members(own)
        mine, errors = grid.take(member), sse[:, member]
        second = self._second_metric(mine, self.scores(errors, rows), errors, rows)
        if second is not None:
            more = self.judge(second, tasks, n_splits).totals()[0]
            mine, errors = mine.append(second), np.hstack([errors, more])
        mine = self.short_list(mine, self.scores(errors, rows), rows, self.most_candidates())
        return [
            mine,
            *(listed(family, most) for family, most in zip(families, (1, 2), strict=True)),
        ]

    def _second_metric(self, grid, scores, sse, rows):
        """Candidates in a learned metric, where features' slopes vary unalike; or None."""
        finite = np.isfinite(grid.slope)
        if len(np.unique(grid.slope[finite])) < 3:
            return None
        best = int(np.argmax(np.where(finite, scores.sum(0), -np.inf)))
        strengths = grid.slope[best], grid.intercept[best], grid.ridge[best]
        apart = self.apart[grid.metric[best]]
        if not self.learn_metric(strengths, apart, sse[:, best].sum() / max(rows.sum(), 1e-300)):
            return None
        listed = self.short_list(grid, scores, rows, _SHORT_LIST[0])
        listed = listed.take(np.isfinite(listed.slope) & (listed.metric == grid.metric[best]))
        if not len(listed):
            return None
        pairs = np.unique(np.column_stack([listed.intercept, listed.ridge]), axis=0)
        near = (grid.slope >= strengths[0] / 4) & (grid.slope <= strengths[0] * 12)
        slopes = np.unique(grid.slope[finite & near])
        i, r = np.tile(pairs, (len(slopes), 1)).T
        s = np.repeat(slopes, len(pairs))
        return Grid(s, i.copy(), r.copy(), np.full(len(s), len(self.metrics) - 1))

    def learn_metric(self, strengths, apart, noise, prior=5.0, n_steps=6, most_tasks=64):
        """Learn how much each feature's slope varies over tasks; returns True if unalike.

        Fixed-point steps (MacKay 1992) for the variances of the tasks' slopes from the given
        strengths, on some of the tasks, each variance drawn towards its start as by `prior`
        tasks: with few tasks and few rows a variance for each feature over-fits.
        """
        problem = self.problem
        slope, intercept, ridge = strengths
        tasks = problem.sample(most_tasks)
        varies = self.restriction.varies
        live = problem.scale[:-1] != 0  # a constant's variance stays where it started
        if varies is not None:
            live = live & varies
        if len(tasks) < 4 or live.sum() < 2:
            return False
        variance = np.ones(problem.n_features)
        ones = np.ones((len(tasks), 1))
        moments = problem.moments.take(tasks)
        for _ in range(n_steps):
            stretched = moments.stretched(np.sqrt(variance))
            places = problem.places(apart, stretched)
            system = make_system(stretched, variance, None, varies, *places).factor(slope)
            theta = system.solve_shared(np.array([intercept]), np.array([ridge]))
            coef, a = np.zeros((len(tasks), problem.n_features)), np.zeros(len(tasks))
            system.add_blend(theta, np.array([intercept]), ones, coef, a)
            spread = slope * ((coef - theta[0, 1:]) ** 2).sum(0) / max(noise, 1e-12)
            informed = len(tasks) - slope * system.leftover_variance()
            new = variance * (spread + prior) / (np.maximum(informed, 0.0) + prior)
            step = np.abs(np.log(new / variance)).max()
            variance = new
            if step < 0.1:
                break
        if variance[live].max() < 4.0 * variance[live].min():
            return False
        self.metrics.append(np.sqrt(variance))
        self.apart.append(apart)
        return True

    def solve(self, grid, shares):
        """`blend` on all rows, for new tasks too; before its last item the number of iterations."""
        more = shares.for_new_tasks()[0]
        *found, thetas = self.blend(self.problem.moments, grid, shares, more)
        return *found, 1, thetas

    def blend_errors(self, judged, grid, shares):
        """Held-out errors a row of a blend of judged candidates, and their standard errors."""
        return judged.blend_errors(shares.tasks)

    def blend(self, data, grid, shares, more=()):
        """Blend the candidates' models.

        Parameters
        ----------
        data : TaskMoments or TaskRows of shape (n_tasks,)
        shares : Shares
        more : sequence of int
            Further candidates whose shared parts are wanted.

        Returns
        -------
        coef (n_tasks, n_features), intercept (n_tasks,), theta (1 + n_features,)
            On the standardised scale; theta is the shared (intercept, slopes).
        kkt_residual : float
            Of the candidate of largest weight; a blend has no objective of its own.
        thetas : ndarray of shape (n_candidates, 1 + n_features)
            The candidates' shared parts; zero for those that nobody uses.
        """
        p, n_tasks = self.problem.n_features, self.problem.n_tasks
        coef, intercept, theta = np.zeros((n_tasks, p)), np.zeros(n_tasks), np.zeros(1 + p)
        thetas = np.zeros((len(grid), 1 + p))
        mean_share = shares.tasks.mean(0)
        needed, top = mean_share + shares.crowd > 0, int(np.argmax(mean_share))
        residual = 0.0  # none of them is used
        needed[np.asarray(more, dtype=np.int64)] = True
        for metric in np.unique(grid.metric[needed]):
            keep = np.flatnonzero(needed & (grid.metric == metric))
            own = np.zeros((n_tasks, p))
            for system, where, solved, part in self.solutions(data, metric, grid.take(keep)):
                share = np.ascontiguousarray(shares.tasks[:, keep[where]])
                system.add_blend(solved, part.intercept, share, own, intercept)
                thetas[keep[where]] = solved * np.r_[1.0, self.metrics[metric]]
                unseen = self.problem.for_unseen(thetas[keep[where]], self.apart[metric])
                theta += shares.crowd[keep[where]] @ unseen
                if top in keep[where]:
                    pick = int(np.flatnonzero(keep[where] == top)[0])
                    residual = _certificate(system, solved[pick], part.take(slice(pick, pick + 1)))
            coef += own * self.metrics[metric]
        return coef, intercept, theta, residual, thetas

    def early_verdict(self, grid, left, judged):
        """Verdicts on candidates for tasks of few rows: ``(scores, rows, sizes)``, or None.

        From tasks left out of which only so many rows are known.
        """
        if self.problem.table is None or not len(left.tasks):
            return None
        sse, rows = self.early_errors(grid, left, _EARLY_ROWS)
        if not len(rows):
            return None
        scores = log_scores(sse, rows, judged.noise)
        return scores, rows, np.full(len(rows), float(_EARLY_ROWS))

    def residual_scale(self, error, judged, shares):
        """Return the `ResidualScale` of new rows, from the errors of the report."""
        rows, (own, unseen) = judged.totals()[1], self.problem.target_units
        error = error / np.r_[own, unseen] ** 2
        sse = np.nan_to_num(error[:-1]) * rows
        return ResidualScale.learn(sse, rows, error[-1], judged.probe, shares.tasks)

    def adapter(self, grid, shares, thetas, judged, residual_scale):
        """What the fit knows about a task to come."""
        kept, prior = shares.for_new_tasks()
        problem = self.problem
        noise = 1.0 if judged is None else judged.noise
        return Adapter(
            grid.take(kept), thetas[kept], self.metrics, prior, shares.crowd[kept], noise,
            problem.centre, problem.scale, residual_scale and replace(residual_scale, std=None),
            None if problem.units is None else replace(problem.units, scale=None, location=None),
            self.restriction, replace(problem.copies, table=None),
            problem.variation if self.restriction.positive is None else None, self.apart,
        )  # fmt: skip

    def as_grid(self, candidates, judged):
        """The candidates as a `Grid`, by which new tasks are adapted to."""
        return candidates

    def strengths_of(self, grid, weight):
        """Strengths of the candidate that weighs most, in the unit of the caller's weights."""
        number, unit = int(np.argmax(weight)), self.problem.copies.unit
        return {
            "alpha": float(grid.slope[number] / unit),
            "alpha_intercept": float(grid.intercept[number] / unit),
            "alpha_shared": float(grid.ridge[number] / unit),
            **self.problem.restriction.as_dict(),
        }

    def columns(self, grid):
        """What the history shows of the candidates."""
        unit = self.problem.copies.unit
        return {
            "alpha": grid.slope / unit,
            "alpha_intercept": grid.intercept / unit,
            "alpha_shared": grid.ridge / unit,
            "per_feature": np.array([np.ptp(m) > 0 for m in self.metrics])[grid.metric],
            "within_tasks": np.array(self.apart)[grid.metric],
        }

    def left_out(self, grid, most_tasks=100):
        """The shared models without some of the tasks, a fifth of them at a time: a `LeftOut`."""
        problem = self.problem
        tasks = problem.sample(most_tasks)
        n_groups = min(5, len(tasks))
        group = np.arange(len(tasks)) % n_groups
        theta = np.empty((n_groups, len(grid), 1 + problem.n_features))
        if n_groups < 2:
            return LeftOut(tasks[:0], group[:0], theta[:0])
        moments = problem.moments.take(tasks)
        for metric in np.unique(grid.metric):
            system = self.system(moments, metric)
            for level_metric, slope, where in grid.levels:
                if level_metric == metric:
                    part = grid.take(where)
                    system.factor(slope)
                    theta[:, where] = system.solve_without(group, part.intercept, part.ridge)
            theta[:, grid.metric == metric, 1:] *= self.metrics[metric]
        return LeftOut(tasks, group, theta)

    def unseen_errors(self, grid, left):
        """Errors of the shared models on the tasks left out.

        Returns
        -------
        sse : ndarray of shape (n_left_out, n_candidates)
        rows : ndarray of shape (n_left_out,)
        """
        sse = np.zeros((len(left.tasks), left.theta.shape[1]))
        thetas = left.theta.copy()
        for metric in np.unique(grid.metric):
            mine = grid.metric == metric
            thetas[:, mine] = self.problem.for_unseen(thetas[:, mine], self.apart[metric])
        test = self.problem.moments.take(left.tasks)
        units = self.problem.units
        if units is not None:
            slopes, intercepts = thetas[left.group, :, 1:], thetas[left.group, :, 0]
            units.take(left.tasks).foreign().models(slopes, intercepts)
            gram = np.zeros((len(slopes), *2 * sse.shape[1:]))
            return test.add_error_grams(slopes, intercepts, gram), test.weight
        for g, theta in enumerate(thetas):
            sse[left.group == g] = test.take(left.group == g).errors(theta[:, 1:], theta[:, 0])
        return sse, test.weight

    def early_errors(self, grid, left, size):
        """Errors on the tasks left out, once `size` of their rows are known; as `unseen_errors`.

        Of the tasks that have twice as many rows at least.
        """
        left = left.every(max(1, len(left.tasks) // _EARLY_TASKS))
        support, rest = self.problem.thinned(left.tasks, size)
        if self.problem.units is not None:  # which must be told from the few rows, too
            units = self.problem.units.take(left.tasks).relearned(support, anew=False)
            support, rest = (part.in_units(units.location, units.scale) for part in (support, rest))
        sse = np.zeros((len(left.tasks), len(grid)))
        n_groups, _, n_shared = left.theta.shape
        for metric in np.unique(grid.metric):
            system, in_metric = self.system(support, metric), self.in_metric(rest, metric)
            stretch = np.append(1.0, self.metrics[metric])
            for level_metric, slope, where in grid.levels:
                if level_metric == metric:  # all groups' shared models at once, to take its own
                    shared = (left.theta[:, where] / stretch).reshape(-1, n_shared)
                    pulls = np.tile(grid.intercept[where], n_groups)
                    errors = system.factor(slope).errors(shared, pulls, in_metric)
                    errors = errors.reshape(len(errors), n_groups, -1)
                    sse[:, where] = errors[np.arange(len(errors)), left.group]
        if self.problem.units is not None:
            sse *= units.scale[:, None] ** 2
        kept = rest.weight > 0
        return sse[kept], rest.weight[kept]


def _spread_out(levels, mass, most, least):
    """The slope strengths that cover the weight, greedily: a neighbour stands for its like.

    Tasks that are unlike the rest want strengths far from the common one; next to that one, its
    neighbours weigh more but add little.
    """
    metric = np.array([m for m, _, _ in levels])
    with np.errstate(divide="ignore"):
        place = np.log10(np.array([slope for _, slope, _ in levels]))
    finite = np.where(np.isfinite(place), place, np.nan)
    ends = (0.0, 0.0) if np.isnan(finite).all() else (np.nanmin(finite), np.nanmax(finite))
    place = np.clip(place, ends[0] - 1.0, ends[1] + 0.5)
    near = np.exp(-0.5 * ((place[:, None] - place) / _LEVEL_WIDTH) ** 2)
    near *= metric[:, None] == metric
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


def _certificate(system, theta, pick):
    """The KKT residual of one candidate at a system's present slope strength."""
    shape = system.moments.mean.shape
    coef, intercept = np.zeros((shape[0], shape[1] - 1)), np.zeros(shape[0])
    system.add_blend(theta[None], pick.intercept, np.ones((shape[0], 1)), coef, intercept)
    strengths = float(pick.slope[0]), float(pick.intercept[0]), float(pick.ridge[0])
    return kkt_residual(
        system.moments, system.penalty, strengths, theta, coef, intercept, system.varies,
        system.given, system.centres, system.anchors,
    )  # fmt: skip
