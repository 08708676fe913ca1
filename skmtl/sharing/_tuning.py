"""Tuning by exact cross-validation on block moments: screen, judge, blend."""

from dataclasses import dataclass

import numpy as np

from ..solvers import kkt_residual, make_system
from ._strengths import Grid, crowd_weights, log_scores, task_weights, unseen_weights, voices

__all__ = ["Judged", "Shares", "Tuner", "Verdict"]

# Floating point operations that screening all candidates may cost; beyond, it sees some of the
# tasks and some of the splits.
_SCREEN_WORK = 1.6e8
_FEWEST_TASKS = 48
# Candidates of a structure that go on from the screening to all tasks and splits: the more the
# smoother the average; few where there is much data, as their errors' products cost.
_SHORT_LIST = (24, 256)
_BLEND_WORK = 4e7
# Slope strengths that go on: each means factoring every task in every split.
_FACTOR_WORK = 1.3e8
# A slope strength whose candidates together weigh less is not worth factoring every task for.
_LEAST_LEVEL = 0.1
# A candidate's share of a task below this is not worth its arithmetic.
_LEAST_SHARE = 0.01


@dataclass
class Shares:
    """Candidates' weights: ``tasks (n_tasks, n_candidates)`` and ``crowd (n_candidates,)``."""

    tasks: np.ndarray
    crowd: np.ndarray

    def pruned(self):
        """The same without small shares."""
        return Shares(_prune(self.tasks), _prune(self.crowd[None])[0])


def _prune(shares):
    top = shares.max(axis=1, keepdims=True)
    kept = np.where(shares >= _LEAST_SHARE * top, shares, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


@dataclass
class Verdict:
    """What judged candidates weigh by.

    Attributes
    ----------
    scores : ndarray of shape (n_tasks, n_candidates)
        The tasks' verdicts for each other.
    own : ndarray of shape (n_tasks, n_candidates)
        The tasks' verdicts for themselves.
    log_prior : ndarray of shape (n_candidates,)
        Added to what `Grid.log_prior` says.
    """

    scores: np.ndarray
    own: np.ndarray
    log_prior: np.ndarray


@dataclass
class Judged:
    """Cross-validated errors of candidates, on the standardised target.

    Attributes
    ----------
    sse : ndarray of shape (n_splits, n_tasks, n_candidates)
    rows : ndarray of shape (n_splits, n_tasks)
        Held-out weights.
    gram : ndarray of shape (n_tasks, n_candidates, n_candidates) or None
        Products of the candidates' held-out errors, for the errors of blends.
    repeats : float
        How often each row was held out.
    """

    sse: np.ndarray
    rows: np.ndarray
    gram: np.ndarray | None
    repeats: float

    def totals(self):
        """Errors ``(n_tasks, n_candidates)`` and weights ``(n_tasks,)``, per repeat."""
        return self.sse.sum(0) / self.repeats, self.rows.sum(0) / self.repeats

    def verdict(self):
        """How well the candidates predicted, as log-likelihoods; a `Verdict`."""
        scores = log_scores(*self.totals())
        return Verdict(scores, scores, np.zeros(scores.shape[1]))

    def blend_errors(self, shares):
        """Errors a row of a blend, and their standard errors from the spread over splits."""
        _, std_error = self.means(np.einsum("stc,tc->st", self.sse, shares))
        with np.errstate(invalid="ignore"):
            mean = np.einsum("tc,tck,tk->t", shares, self.gram, shares) / self.rows.sum(0)
        return np.maximum(mean, 0.0), std_error

    def means(self, each):
        """Means a row of the sums ``(n_splits, n_tasks)``, and the means' standard errors."""
        total = self.rows.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = each.sum(0) / total
            per_row = np.where(self.rows > 0, each / self.rows, 0.0)
            used = (self.rows > 0).sum(0)
            std_error = np.sqrt((self.rows / total * (per_row - mean) ** 2).sum(0) / (used - 1))
        return mean, np.where(used > 1, std_error, np.nan)


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

    def system(self, moments, metric):
        """An arrow system on moments in metric number `metric`."""
        moments = self.in_metric(moments, metric)
        varies = self.restriction.varies_in(metric)
        return make_system(moments, self.metrics[metric] ** 2, self.problem.pool, varies)

    def in_metric(self, moments, metric):
        return moments if metric == 0 else moments.stretched(self.metrics[metric])

    def solutions(self, train, metric, grid):
        """Yield ``(system, slice of the grid, theta, part of the grid)`` for one metric."""
        system = self.system(train, metric)
        for level_metric, slope, where in grid.levels():
            if level_metric == metric:
                part = grid.take(where)
                system.factor(slope)
                yield system, where, system.solve_shared(part.intercept, part.ridge), part

    def judge(self, grid, tasks=None, most=None, blends=False):
        """Cross-validate candidates; returns a `Judged`."""
        problem = self.problem
        n_tasks = problem.n_tasks if tasks is None else len(tasks)
        gram = np.zeros((n_tasks, len(grid), len(grid))) if blends else None
        sse, rows = [], []
        for train, test in problem.splits(tasks, most):
            if blends:
                slopes, intercepts = self._models(grid, train)
                sse.append(test.add_error_grams(slopes, intercepts, gram, problem.pool))
            else:
                sse.append(self._errors(grid, train, test))
            rows.append(test.weight)
            problem.progress(f"judged {len(grid)} candidates on split {len(rows)}")
        sse, rows = np.array(sse), np.array(rows)
        weight = problem.moments.weight if tasks is None else problem.moments.weight[tasks]
        return Judged(sse, rows, gram, max(1.0, rows.sum() / max(weight.sum(), 1e-300)))

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
        per_system = len(grid.levels()) * (3.0 * p**3 + 2000.0)
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

    def short_list(self, grid, scores, rows, most):
        """The candidates that weigh most, on average over tasks."""
        prior = grid.log_prior(self.problem.n_varying(grid), rows.mean())
        weight = voices(rows) @ task_weights(scores, rows, prior, n_steps=1)
        weight += crowd_weights(scores, rows, prior)
        levels = [where for _, _, where in grid.levels()]
        mass = np.array([weight[where].sum() for where in levels])
        most_levels, least = self.level_limits()
        fewest = np.sort(mass)[::-1][:most_levels][-1]
        for where, one in zip(levels, mass, strict=True):
            if one < max(fewest, least * mass.sum()):
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
        if not self.learn_metric(strengths, sse[:, best].sum() / max(rows.sum(), 1e-300)):
            return None
        listed = self.short_list(grid, scores, rows, _SHORT_LIST[0])
        listed = listed.take(np.isfinite(listed.slope))
        if not len(listed):
            return None
        pairs = np.unique(np.column_stack([listed.intercept, listed.ridge]), axis=0)
        near = (grid.slope >= strengths[0] / 4) & (grid.slope <= strengths[0] * 12)
        slopes = np.unique(grid.slope[finite & near])
        i, r = np.tile(pairs, (len(slopes), 1)).T
        s = np.repeat(slopes, len(pairs))
        return Grid(s, i.copy(), r.copy(), np.full(len(s), len(self.metrics) - 1))

    def learn_metric(self, strengths, noise, prior=5.0, n_steps=6, most_tasks=64):
        """Learn how much each feature's slope varies over tasks; returns True if unalike.

        Fixed-point steps (MacKay 1992) for the variances of the tasks' slopes from the given
        strengths, on some of the tasks, each variance drawn towards its start as by `prior`
        tasks: with few tasks and few rows a variance for each feature over-fits.
        """
        problem = self.problem
        slope, intercept, ridge = strengths
        tasks = problem.sample(most_tasks)
        varies = self.restriction.varies
        live = slice(None) if varies is None else varies
        if len(tasks) < 4 or len(np.ones(problem.n_features)[live]) < 2:
            return False
        variance = np.ones(problem.n_features)
        ones = np.ones((len(tasks), 1))
        moments = problem.moments.take(tasks)
        for _ in range(n_steps):
            stretched = moments.stretched(np.sqrt(variance))
            system = make_system(stretched, variance, varies=varies).factor(slope)
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
        return True

    def solve(self, grid, shares):
        """`blend` on all rows; and the number of iterations."""
        return *self.blend(self.problem.moments, grid, shares), 1

    def blend_errors(self, judged, grid, shares):
        """Held-out errors a row of a blend of judged candidates, and their standard errors."""
        return judged.blend_errors(shares.tasks)

    def blend(self, data, grid, shares):
        """Blend the candidates' models.

        Parameters
        ----------
        data : TaskMoments or TaskRows of shape (n_tasks,)
        shares : Shares

        Returns
        -------
        coef (n_tasks, n_features), intercept (n_tasks,), theta (1 + n_features,)
            On the standardised scale; theta is the shared (intercept, slopes).
        kkt_residual : float
            Of the candidate of largest weight; a blend has no objective of its own.
        """
        p, n_tasks = self.problem.n_features, self.problem.n_tasks
        coef, intercept, theta = np.zeros((n_tasks, p)), np.zeros(n_tasks), np.zeros(1 + p)
        mean_share = shares.tasks.mean(0)
        needed, top = mean_share + shares.crowd > 0, int(np.argmax(mean_share))
        for metric in np.unique(grid.metric[needed]):
            keep = np.flatnonzero(needed & (grid.metric == metric))
            own = np.zeros((n_tasks, p))
            for system, where, solved, part in self.solutions(data, metric, grid.take(keep)):
                share = np.ascontiguousarray(shares.tasks[:, keep[where]])
                system.add_blend(solved, part.intercept, share, own, intercept)
                crowd = shares.crowd[keep[where]] @ solved
                theta[0] += crowd[0]
                theta[1:] += crowd[1:] * self.metrics[metric]
                if top in keep[where]:
                    pick = int(np.flatnonzero(keep[where] == top)[0])
                    residual = _certificate(system, solved[pick], part.take(slice(pick, pick + 1)))
            coef += own * self.metrics[metric]
        return coef, intercept, theta, residual

    def unseen_errors(self, grid, most_tasks=100):
        """Errors of the shared models on tasks left out, a fifth of the tasks at a time.

        Returns
        -------
        sse : ndarray of shape (n_tasks, n_candidates)
        rows : ndarray of shape (n_tasks,)
            For some of the tasks; empty where there is only one.
        """
        problem = self.problem
        tasks = problem.sample(most_tasks)
        n_groups = min(5, len(tasks))
        group = np.arange(len(tasks)) % n_groups
        sse, rows = np.zeros((len(tasks), len(grid))), problem.moments.weight[tasks]
        if n_groups < 2:
            return sse[:0], rows[:0]
        test = problem.moments.take(tasks)
        theta = np.empty((n_groups, len(grid), 1 + problem.n_features))
        for metric in np.unique(grid.metric):
            system = self.system(test, metric)
            for level_metric, slope, where in grid.levels():
                if level_metric == metric:
                    part = grid.take(where)
                    system.factor(slope)
                    theta[:, where] = system.solve_without(group, part.intercept, part.ridge)
            theta[:, grid.metric == metric, 1:] *= self.metrics[metric]
        for g in range(n_groups):
            sse[group == g] = test.take(group == g).errors(theta[g, :, 1:], theta[g, :, 0])
        return sse, rows


def _certificate(system, theta, pick):
    """The KKT residual of one candidate at a system's present slope strength."""
    shape = system.moments.mean.shape
    coef, intercept = np.zeros((shape[0], shape[1] - 1)), np.zeros(shape[0])
    system.add_blend(theta[None], pick.intercept, np.ones((shape[0], 1)), coef, intercept)
    strengths = float(pick.slope[0]), float(pick.intercept[0]), float(pick.ridge[0])
    return kkt_residual(
        system.moments, system.penalty, strengths, theta, coef, intercept, system.varies,
        system.given,
    )  # fmt: skip
