"""Tuning with the log-loss: screened on one quadratic model of it, judged by Newton's method."""

import functools
import itertools
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import softmax

from ..guard.judge import Judged, LeftOut, Verdict
from ..guard.weights import voices
from ..losses import LOG_LOSS
from ..solvers.newton import LogisticSystem, Scores
from ..tasks.copies import Settled
from ..tasks.keys import evenly_by_size, mixed
from ..tasks.moments import block_moments, moment_bytes, scale_of
from ..tasks.prevalence import Prevalence
from ..tasks.variation import task_squares
from .newcomers import LogisticAdapter
from .problem import Problem
from .restriction import UNRESTRICTED, Restriction
from .strengths import LOGISTIC
from .tuning import Tuner

__all__ = ["LogisticProblem", "LogisticTuner"]

# The log-loss is taken for quadratic around the stiffest of these whose held-out loss is within
# a margin (in nats) of the best: around a model far too stiff, or too loose, it would mislead.
_REFERENCES = [
    (100.0, 10.0, 10.0),
    (30.0, 3.0, 1.0),
    (10.0, 1.0, 1.0),
    (3.0, 0.3, 0.3),
    (1.0, 0.1, 0.1),
]
_REFERENCE_ROWS, _REFERENCE_SPLITS = 3000, 5
_REFERENCE_MARGIN = 3.0
# While judging, a solution is good enough when a step lowers the objective by less than this (in
# nats, as the log-loss is), or after so many steps.
_JUDGE_GAIN, _JUDGE_STEPS = 1.0, 8
# Prior rows behind the verdict of all tasks together, labelled as the pooled model expects: so many
# times the root of the table's rows. Without them, tasks of five rows of one class would seem to
# prove that they have no other class.
_PRIOR_ROWS = 1.0
# Candidates that go on from the screening, as each is solved anew in every split; fewer where these
# stand for all but so much of the weight.
_SHORT_LIST, _REST = 16, 0.1
# Memory that curvatures of all blocks may take where the rows take less.
_CURVATURE_BYTES = 2**26
# Decades apart at which one candidate still stands for another.
_NEIGHBOURHOOD = 0.7


@dataclass
class LogisticProblem:
    """The data of a classifier's fit, as a sharing structure sees it.

    Attributes
    ----------
    table : TaskTable
        Its target holds the codes of the classes.
    n_classes : int
    partitions : list of Partition
        Empty where nothing is to be cross-validated.
    """

    table: object
    n_classes: int
    partitions: list
    executor: object = None
    progress: object = field(default=lambda text: None)
    standardise: bool = True
    tol: float = 1e-4
    max_iter: int = 100
    restriction: Restriction = UNRESTRICTED
    within: bool = False
    copies: Settled = Settled(None)
    loss = LOG_LOSS
    strengths = LOGISTIC
    units = None
    variation = None

    def __post_init__(self):
        self._splits = self._curvatures = None
        whole = block_moments(replace(self.table, offsets=self.table.offsets[[0, -1]]))
        total, self.centre, variance = whole.merge().pooled()
        self.scale = scale_of(total, self.centre, variance)
        self._scale_features(total, variance[:-1], lambda: task_squares(self.table))
        self.centre[-1], self.scale[-1] = 0.0, 1.0  # scores have units of their own
        self.weight = self.table.task_sums(self.table.weights())

    @property
    def n_tasks(self):
        return self.table.n_tasks

    @property
    def n_features(self):
        return self.table.n_features

    @property
    def target_units(self):
        """As `Problem.target_units`: a log-loss has no unit."""
        return np.ones(self.n_tasks), 1.0

    @property
    def n_scores(self):
        """Sets of scores: one for two classes, else one a class."""
        return 1 if self.n_classes == 2 else self.n_classes

    def n_varying(self, grid):
        return self.restriction.n_varying(self.scale[:-1] > 0, grid.metric)

    @property
    def schemes(self):
        return self.partitions

    def restrict(self, restriction):
        """Fit within a restriction."""
        if restriction.positive is not None:
            raise ValueError(
                "positive= and negative= of the sharing structure are for MultiTaskRegressor; "
                "leave them None in MultiTaskClassifier."
            )
        self.restriction = restriction

    def sample(self, most):
        """At most this many tasks, evenly over their sizes, in an order that only content decides.

        As `Problem.sample`; tasks of as many rows of each class are told apart by their keys.
        """
        table = self.table
        if table.keys is None:
            content = table.task_sums(table.weights() * table.y)
        else:
            content = table.task_sums(mixed(table.keys))
        return evenly_by_size(self.weight, content, most)

    def feature_squares(self):
        """Zeros: only intervals need them."""
        return np.zeros((self.n_tasks, self.n_features))

    apart = Problem.apart
    for_unseen = Problem.for_unseen
    _scale_features = Problem._scale_features

    def system(self, table, metric, number=0, apart=False):
        """Newton's method on some of the rows, with slopes' variances `metric` squared.

        `number` is that of the metric, `apart` whether its shared slopes are those within tasks.
        """
        places = self.variation and functools.partial(self.variation.places, apart)
        return LogisticSystem(
            table, self.n_classes, self.centre[:-1], self.scale[:-1] * metric, metric**2,
            self.executor, self.restriction.varies_in(number), places,
        )  # fmt: skip

    def splits(self):
        """``(train, test)`` tables of every split."""
        if self._splits is None:
            self._splits = [
                (self.table.select(train[part.block]), self.table.select(test[part.block]))
                for part in self.partitions
                for train, test in zip(part.train, part.test, strict=True)
            ]
        return self._splits

    def keep_curvatures(self, working):
        """Keep the block-wise moments of a working table of all rows, for all splits to go by."""
        blocks = [
            block_moments(working, part.block, part.n_blocks, self.executor)
            for part in self.partitions
        ]
        self._curvatures = working.sample_weight, blocks

    def lend_curvatures(self, system, split=None, side=0):
        """Let a system of all rows, or of a side of a split, go by what was kept of these.

        `side` is 0 for the training rows of a split and 1 for its test rows.
        """
        if self._curvatures is None:
            return
        weight, blocks = self._curvatures
        if split is None:
            system.keep(weight, blocks[0].merge(executor=self.executor))
            return
        sides = [
            (number, pair[side])
            for number, part in enumerate(self.partitions)
            for pair in zip(part.train, part.test, strict=True)
        ]
        number, chosen = sides[split]
        rows = chosen[self.partitions[number].block]
        system.keep(weight[rows], blocks[number].merge(chosen, executor=self.executor))

    def can_keep_curvatures(self, system):
        """Whether the blocks' moments of a system of all rows are worth their memory."""
        n_blocks = sum(part.n_blocks for part in self.partitions)
        size = moment_bytes(self.n_tasks * n_blocks, self.n_features)
        rows = 8 * len(self.table.rows) * self.n_features
        return system.keeps_curvatures and n_blocks > 0 and size <= max(rows, _CURVATURE_BYTES)


@dataclass
class JudgedLosses(Judged):
    """Held-out log-losses of candidates; `sse` is their sum a task.

    Attributes
    ----------
    expected : ndarray of shape (n_splits, n_pooled, n_tasks, n_candidates)
        What the losses would be if the held-out labels were drawn from each pooled candidate.
    pooled : ndarray of shape (n_pooled,)
        Which candidates these are.
    models : list of (LogisticSystem, scores, slopes)
        For every split the system of the test rows, their scores under all candidates
        ``(n_candidates, n_scores, n_packed)``, which take less memory than models do, and the
        first task's slopes ``(n_candidates, n_scores, n_features)``.
    """

    expected: np.ndarray = None
    pooled: np.ndarray = None
    models: list = None

    def without(self, split):
        keep = np.arange(len(self.rows)) != split
        return replace(super().without(split), expected=self.expected[keep], models=None)

    def verdict(self):
        loss, rows = self.totals()
        best = int(np.argmin(self.sse.sum((0, 1))[self.pooled]))
        expected = self.expected[:, best].sum(0) / np.maximum(self.rows.sum(0), 1e-300)[:, None]
        prior_rows = _PRIOR_ROWS * np.sqrt(rows.sum())
        return Verdict(
            loss.min(axis=1, keepdims=True) - loss, -prior_rows * (voices(rows) @ expected)
        )

    def blend_errors(self, shares):
        """Log-losses a row of a blend, and their standard errors from the spread over splits."""
        each = []
        for test, scores, _ in self.models:
            blend = np.einsum("ic,cki->ki", shares[test.table.codes], scores)
            each.append(test.losses(test.log_probabilities_at(blend)))
        return self.means(np.array(each))


class LogisticTuner:
    """Judges candidate strengths on a `LogisticProblem`.

    The screening is that of the squared loss on the working responses at one reference model;
    the few candidates that are left are solved in every split, and judged by the log-loss.
    """

    def __init__(self, problem):
        self.problem = problem
        self.metrics = problem.restriction.metrics(problem.n_features)
        self.apart = [False] * len(self.metrics)
        self._solutions, self._kept = {}, None

    def screen(self, own, families):
        tuner = _Screening(_Quadratic.of(self.problem, *_best_reference(self.problem)))
        grids = tuner.screen(own, families)
        self.metrics, self.apart = tuner.metrics, tuner.apart
        return grids

    def judge(self, grid, blends=True):
        """Cross-validate candidates; returns a `JudgedLosses`."""
        problem = self.problem
        pooled = np.flatnonzero(grid.are_pooled)
        losses, expected, rows, models = [], [], [], []
        for c in range(len(grid)):  # all of them first: one system in memory at a time
            self._whole(grid, c)
        self._kept = None
        for split, (train, test) in enumerate(problem.splits()):
            system = problem.system(test, self.metrics[0])
            found = self._solve_all(grid, train, split)
            scores = np.array([system.eta(one) for one in found])
            logs = [system.log_probabilities_at(eta) for eta in scores]
            draws = [np.exp(logs[c]) for c in pooled]
            losses.append(np.column_stack([system.losses(log) for log in logs]))
            expected.append(
                [np.column_stack([system.losses(log, draw) for log in logs]) for draw in draws]
            )
            rows.append(test.task_sums(test.weights()))
            models.append((system, scores, np.array([one.coef[:, 0] for one in found])))
            problem.progress(f"judged {len(grid)} candidates on split {len(rows)}")
        losses, rows = np.array(losses), np.array(rows)
        repeats = max(1.0, rows.sum() / problem.weight.sum())
        return JudgedLosses(
            losses, rows, None, repeats, expected=np.array(expected), pooled=pooled, models=models
        )

    def _solve_all(self, grid, table, split):
        """Scores of every candidate on the training rows of a split; in the first metric."""
        found, system = [], None
        for c in range(len(grid)):  # sorted by metric
            if c == 0 or grid.metric[c] != grid.metric[c - 1]:
                system = self.system(table, grid.metric[c])
                self.problem.lend_curvatures(system, split)
            found.append(self._solve(system, grid, c, self._whole(grid, c))[0])
        return found

    log_prior, as_grid = Tuner.log_prior, Tuner.as_grid
    strengths_of, columns = Tuner.strengths_of, Tuner.columns

    def system(self, table, metric):
        """Newton's method on some of the rows in metric number `metric`."""
        return self.problem.system(table, self.metrics[metric], metric, self.apart[metric])

    def _system_of_all(self, metric):
        """The same on all rows; the last is kept, with its curvatures."""
        if self._kept is None or self._kept[0] != metric:
            self._kept = metric, self.system(self.problem.table, metric)
            self.problem.lend_curvatures(self._kept[1])
        return self._kept[1]

    def blend_errors(self, judged, grid, shares):
        """As `Tuner.blend_errors`."""
        return judged.blend_errors(shares.tasks)

    def _solve(self, system, grid, c, start, *limits, given=None):
        """Scores (in the first metric), KKT residual and steps of one candidate."""
        limits = limits or (0.0, _JUDGE_STEPS, _JUDGE_GAIN)
        metric = self.metrics[grid.metric[c]]
        strengths = float(grid.slope[c]), float(grid.intercept[c]), float(grid.ridge[c])
        start = start.stretched(metric)
        found, residual, n_iter = system.solve(strengths, start, *limits, given=given)
        return found.stretched(1.0 / metric), residual, n_iter

    def _whole(self, grid, c):
        """The candidate's scores on all rows, roughly solved; kept, as every split starts there."""
        key = tuple(grid.rows()[c])
        if key not in self._solutions:
            problem = self.problem
            system = self._system_of_all(grid.metric[c])
            start = Scores.zeros(system.n_scores, problem.n_tasks, problem.n_features)
            if self._solutions:  # the last one solved is a neighbour in the grid
                start = next(reversed(self._solutions.values()))
            self._solutions[key] = self._solve(system, grid, c, start)[0]
        return self._solutions[key]

    def solve(self, grid, shares):
        """Blend the candidates on all rows; as `Tuner.solve`."""
        problem = self.problem
        mean_share = shares.tasks.mean(0)
        needed, top = np.flatnonzero(mean_share + shares.crowd > 0), int(np.argmax(mean_share))
        blend = None
        thetas = np.zeros((len(grid), problem.n_scores, 1 + problem.n_features))
        for key, scores in self._solutions.items():
            thetas[(grid.rows() == key).all(axis=1)] = scores.theta
        for c in needed:
            system = self._system_of_all(grid.metric[c])
            found, residual, n_iter = self._solve(
                system, grid, c, self._whole(grid, c), problem.tol, problem.max_iter
            )
            thetas[c] = found.theta
            if c == top:
                certificate = residual, n_iter
            if blend is None:
                blend = Scores.zeros(system.n_scores, problem.n_tasks, problem.n_features)
            blend.coef += shares.tasks[:, c, None] * found.coef
            blend.intercept += shares.tasks[:, c] * found.intercept
            apart = self.apart[grid.metric[c]]
            blend.theta += shares.crowd[c] * problem.for_unseen(found.theta, apart)
        coef, intercept, theta = blend.coef, blend.intercept, blend.theta
        if len(theta) == 1:
            return coef[0], intercept[0], theta[0], *certificate, thetas
        return coef.transpose(1, 0, 2), intercept.T, theta, *certificate, thetas

    def residual_scale(self, error, judged, shares):
        """None: probabilities say by themselves how sure they are."""
        return None

    def adapter(self, grid, shares, thetas, judged, residual_scale):
        """What the fit knows about a task to come; as `Tuner.adapter`."""
        kept, prior = shares.for_new_tasks()
        problem = self.problem
        return LogisticAdapter(
            grid.take(kept), thetas[kept], self.metrics, prior, shares.crowd[kept], 1.0,
            problem.centre, problem.scale, restriction=problem.restriction,
            copies=replace(problem.copies, table=None), variation=problem.variation,
            apart=self.apart, prevalence=None if prior is None else self._prevalence(),
        )  # fmt: skip

    def _prevalence(self):
        """How the classes' shares vary over tasks."""
        table, n_classes = self.problem.table, self.problem.n_classes
        codes = table.codes * n_classes + table.y.astype(np.int64)
        counts = np.bincount(codes, table.weights(), minlength=table.n_tasks * n_classes)
        return Prevalence.of(counts.reshape(-1, n_classes))

    def left_out(self, grid, most_tasks=100):
        """As `Tuner.left_out`; a shared model is one Newton step from the solution with all."""
        problem = self.problem
        tasks = problem.sample(most_tasks)
        n_groups = min(5, len(tasks))
        group = np.arange(len(tasks)) % n_groups
        place = np.argsort(tasks)  # tables keep their tasks in order
        tasks, group = tasks[place], group[place]
        theta = np.empty((n_groups, len(grid), problem.n_scores, 1 + problem.n_features))
        if n_groups < 2:
            return LeftOut(tasks[:0], group[:0], theta[:0])
        every = len(tasks) == problem.n_tasks
        table = problem.table if every else problem.table.take(tasks)
        for c in range(len(grid)):
            metric = self.metrics[grid.metric[c]]
            if every:
                system = self._system_of_all(grid.metric[c])
            else:
                system = self.system(table, grid.metric[c])
            scores = self._whole(grid, c).stretched(metric)
            scores = Scores(scores.coef[:, tasks], scores.intercept[:, tasks], scores.theta)
            theta[:, c] = self._without(system, scores, grid, c, group) * np.r_[1.0, metric]
        return LeftOut(tasks, group, theta)

    def unseen_errors(self, grid, left):
        """Losses of the shared models on the tasks left out; as `Tuner.unseen_errors`."""
        table = self.problem.table.take(left.tasks)
        system = self.problem.system(table, self.metrics[0])
        loss = np.zeros((len(left.tasks), left.theta.shape[1]))
        for c in range(left.theta.shape[1]):
            theta = left.theta[left.group, c]
            theta = self.problem.for_unseen(theta, self.apart[grid.metric[c]])
            scores = Scores(
                np.ascontiguousarray(theta[..., 1:].transpose(1, 0, 2)),
                np.ascontiguousarray(theta[..., 0].T), None,
            )  # fmt: skip
            loss[:, c] = system.losses(system.log_probabilities(scores))
        return loss, self.problem.weight[left.tasks]

    def early_verdict(self, grid, left, judged):
        """None."""
        return None

    @staticmethod
    def _without(system, scores, grid, c, group):
        """Shared intercepts and slopes (n_groups, n_scores, 1 + n_features) without each group."""
        eta = system.eta(scores)
        out = []
        for k in range(system.n_scores):
            arrow = system.arrow_at(eta, k)
            arrow.factor(float(grid.slope[c]))
            out.append(
                arrow.solve_without(group, grid.intercept[[c]].copy(), grid.ridge[[c]].copy())
            )
        return np.array(out)[:, :, 0].transpose(1, 0, 2)

    def unseen_weights(self, loss, rows):
        """Weights for a task never seen: each left-out task is one observation."""
        return softmax(-len(loss) * loss.sum(0) / rows.sum())


@dataclass
class _Quadratic(Problem):
    """The log-loss as a squared one, around a reference model of each split's training rows.

    With more than two classes, of the class whose share is nearest to a half.
    """

    whole: LogisticProblem = None
    reference: tuple = None
    known: list = None  # the reference model of the first splits
    k: int = 0
    strengths = LOGISTIC

    @classmethod
    def of(cls, problem, reference, known):
        ones = np.ones(problem.n_features)
        strengths, apart = reference
        system = problem.system(problem.table, ones, apart=apart)
        share = [system.weight @ system.target(k) for k in range(system.n_scores)]
        k = int(np.argmin(np.abs(np.array(share) / system.weight.sum() - 0.5)))
        eta = system.eta(_solved(system, strengths))
        if problem.can_keep_curvatures(system):
            problem.keep_curvatures(system.quadratic(eta, k)[0])
            problem.lend_curvatures(system)
        moments = system.working_moments(eta, k)
        return cls(
            [], moments, problem.executor, problem.progress, restriction=problem.restriction,
            whole=problem, reference=reference, known=known, k=k,
        )  # fmt: skip

    def __post_init__(self):
        self.centre, self.scale = self.whole.centre, self.whole.scale
        self.variation = self.whole.variation
        self._splits = []

    @property
    def n_splits(self):
        return sum(len(part.train) for part in self.whole.partitions)

    def splits(self, tasks=None, most=None):
        """Training and test moments of some tasks, which are the same in every call."""
        ones = np.ones(self.n_features)
        for i, (train, test) in enumerate(self.whole.splits()):
            if most is not None and i >= most:
                return
            if i == len(self._splits):
                strengths, apart = self.reference
                fit = self.whole.system(train, ones, apart=apart)
                held_out = self.whole.system(test, ones)
                start = self.known[min(i, len(self.known) - 1)]
                self.whole.lend_curvatures(fit, i, 0)
                self.whole.lend_curvatures(held_out, i, 1)
                model = start if i < len(self.known) else _solved(fit, strengths, start)
                pair = [s.working_moments(s.eta(model), self.k) for s in (fit, held_out)]
                pair = pair if tasks is None else [part.take(tasks) for part in pair]
                self._splits.append(tuple(pair))
            yield self._splits[i]


def _best_reference(problem):
    """The stiffest reference that is about as good as any, and its models on the first splits.

    By log-loss on as few of these as hold out `_REFERENCE_ROWS` rows. A reference is the strengths
    and whether shared slopes are those within tasks only.
    """
    kinds = [False, True] if problem.apart else [False]
    references = [(strengths, apart) for apart in kinds for strengths in _REFERENCES]
    ones, loss, rows, models = np.ones(problem.n_features), np.zeros(len(references)), 0, []
    for train, test in itertools.islice(problem.splits(), _REFERENCE_SPLITS):
        held_out = problem.system(test, ones)
        fits = [problem.system(train, ones, apart=apart) for apart in kinds]
        model, found = models[-1][0] if models else None, []
        for i, (strengths, apart) in enumerate(references):
            model = _solved(fits[apart], strengths, model)
            found.append(model)
            loss[i] += held_out.losses(held_out.log_probabilities(model)).sum()
        models.append(found)
        rows += len(test.rows)
        if rows >= _REFERENCE_ROWS:
            break
    best = int(np.argmax(loss <= loss.min() + _REFERENCE_MARGIN))
    return references[best], [found[best] for found in models]


def _solved(system, strengths, start=None):
    """A rough solution."""
    start = start or Scores.zeros(system.n_scores, system.n_tasks, system.n_features)
    return system.solve(strengths, start, 0.0, _JUDGE_STEPS, _JUDGE_GAIN)[0]


class _Screening(Tuner):
    """The screening of the squared loss on working responses, whose noise is one."""

    def scores(self, sse, rows):
        scores = -0.5 * sse
        return scores - scores.max(axis=1, keepdims=True)

    def most_candidates(self):
        return max(6, _SHORT_LIST // self.problem.whole.n_scores)

    def short_list(self, grid, scores, rows, most):
        """Candidates that stand for all that weigh, each for its neighbours in the grid, too.

        The heaviest alone would be neighbours of one another, and nothing else be left for the
        tasks, few or small, that are unlike the others.
        """
        left = self.mean_weights(grid, scores, rows)
        place = _places(grid)
        gaps = ((place[:, None] - place) ** 2).sum(axis=2)
        near = np.exp(-0.5 * gaps / _NEIGHBOURHOOD**2)
        chosen = []
        enough = _REST * left.sum()
        while len(chosen) < min(most, len(grid)) and left.sum() > enough:
            chosen.append(int(np.argmax(near @ left)))
            left = left * (1.0 - near[chosen[-1]])
        return grid.take(np.sort(chosen))


def _places(grid):
    """Where candidates stand in the grid, in decades; a ridge's count for half."""
    columns = []
    for strength in (grid.slope, grid.intercept, grid.ridge):
        finite = strength[np.isfinite(strength)]
        beyond = 10.0 * finite.max(initial=0.1)
        columns.append(
            np.log10(np.where(np.isfinite(strength), np.maximum(strength, 1e-3), beyond))
        )
    return np.column_stack([*columns, grid.metric]) * [1.0, 1.0, 0.5, 1.0]
