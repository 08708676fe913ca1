"""The data of a fit by a loss of the rows' scores, and the evaluation of models on it."""

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np

from ..guard.judge import Judged
from ..guard.prediction_sets import SetThresholds, label_scores
from ..guard.weights import size_balanced_weights
from ..losses import ABSOLUTE_ERROR, LOG_LOSS
from ..solvers.newton import NewtonSystem, Scores
from ..tasks.moments import block_moments, moment_bytes, scale_of
from ..tasks.prevalence import Prevalence
from ..tasks.variation import task_squares
from .inference import infer
from .newton import ROUGH, NewtonMember
from .newton_screening import screen
from .problem import BaseProblem
from .scored import ScoredProblem
from .strengths import LOGISTIC, ROBUST

__all__ = ["JudgedLosses", "NewtonProblem"]

# Number of prior rows behind the scores of all tasks together, relative to the root of the table's
# rows. Their labels are those expected under the pooled model. Without them, tasks with five rows
# of one class would support models that exclude the other classes.
_PRIOR_ROWS = 1.0
# Strengths (slopes, intercepts, shared slopes) of the fits from which noise is estimated, in the
# unit of the noise, and the number of fits. Levels of the tasks are not to count as noise.
_FIRST_FIT, _FIRST_FITS = (30.0, 1e-3, 1.0), 2
# Memory that the curvatures of all blocks may take even if the rows take less.
_CURVATURE_BYTES = 2**26


@dataclass
class NewtonProblem(ScoredProblem, BaseProblem):
    """The data of a classification, or of a regression by another loss than squares.

    In a regression, targets of losses without a link are standardised, and the weights of the rows
    are divided by the noise (`Loss.noise`), so that losses are log-likelihoods and strengths are
    1 / variance.

    Attributes
    ----------
    table : TaskTable
        The target of a classification contains the codes of the classes.
    n_classes : int
        Number of classes; 0 in a regression.
    partitions : list of Partition
        Partitions of the cross-validation schemes; empty without cross-validation.
    tol, max_iter : float and int
        Tolerance of the final fit, and its largest number of Newton steps per candidate.
    loss : Loss
    noise : float
        What the weights of the rows were divided by.
    unit : float
        Factor on the targets of a regression.
    """

    table: object
    n_classes: int
    partitions: list
    tol: float = 1e-4
    max_iter: int = 100
    loss: object = LOG_LOSS
    noise: float = 1.0
    unit = 1.0
    strengths = LOGISTIC

    def __post_init__(self):
        self._splits = self._curvatures = None
        one = replace(self.table, offsets=self.table.offsets[[0, -1]], factors=None)
        whole = block_moments(one)
        total, self.centre, variance = whole.merge().pooled()
        self.scale = scale_of(total, self.centre, variance)
        self._scale_features(variance[:-1], lambda: task_squares(self.table))
        self.centre[-1], self.scale[-1] = 0.0, 1.0  # scores are not standardised
        if not self.n_classes:
            self._scale_target()
        elif self.crossed is not None:
            self.table = replace(self.table, known=self.crossed.whole)
        if self.crossed is not None:
            unit = self.strength_unit / self.copies.unit
            self.strengths = self.crossed.candidates(self.strengths, unit)
        self.weight = self.table.task_sums(self.table.weights())

    def _scale_target(self):
        """Set the unit of the target, and divide the weights of the rows by the noise.

        Targets with a link are divided by their mean, which shifts the scores. Others are shifted
        by their middle, and divided by the spread within tasks, so that the levels of the tasks do
        not matter.
        """
        table, weight = self.table, self.table.weights()
        level = self.loss.constant(table.y, weight)
        self.centre[-1] = level
        if self.loss.has_link:
            self.unit = np.exp(-level)
            y, known = self.unit * table.y, None if self.crossed is None else self.crossed.whole
            self.table = replace(table, y=y, known=known)
        else:
            about = np.abs(table.y - self._constants(table)[table.codes])
            spread = np.average(about, weights=weight)
            if spread <= 1e-12 * abs(level):  # as if every task had a single row
                spread = np.average(np.abs(table.y - level), weights=weight)
            self.unit = self.scale[-1] = 1.0 / spread if spread > 0.0 else 1.0
            self.table = replace(table, y=(table.y - level) * self.unit)
            self.loss, self.strengths = self.loss.in_units(self.unit), ROBUST
        self.loss, self.noise = self._learn_noise()
        self.table = replace(self.table, sample_weight=weight / self.noise)

    def _constants(self, table):
        """Return for every task the score that minimises the loss of its rows alone."""
        weight, out = table.weights(), np.zeros(table.n_tasks)
        for t, (start, stop) in enumerate(itertools.pairwise(table.offsets)):
            if stop > start:
                out[t] = self.loss.constant(table.y[start:stop], weight[start:stop])
        return out

    def start(self, table):
        """Return `Scores` to start from: for residuals, the tasks' own constants."""
        out = Scores.zeros(self.n_scores, table.n_tasks, self.n_features)
        if not self.n_classes and not self.loss.has_link:
            out.intercept[0] = self._constants(table)
        return out

    def _learn_noise(self):
        """Return the loss with all its parameters, and the noise, from first fits.

        Residuals of fitted rows are too small, and those of held-out rows too large, by about the
        same factor. Without cross-validation, and for a constant target, nothing depends on the
        noise.
        """
        loss = self.loss
        if loss.name == "huber" and loss.delta == "auto":
            self.loss = ABSOLUTE_ERROR
            residuals = self.table.y - self._first_scores(self.table, self.table)
            loss = loss.with_noise(residuals, self.table.weights())
        if not self.partitions or not np.ptp(self.table.y):
            return loss, 1.0
        self.loss, part = loss, self.partitions[0]
        sides = part.train[0][part.block], part.test[0][part.block]
        table = self._of_split(0, 0)
        train = table.select(sides[0])
        has_rows = train.task_sizes() > 0  # the level of other tasks is not known
        test, noise = table.select(sides[1] & has_rows[table.codes]), 1.0
        if not len(test.y):  # nearly all tasks have a single row
            known = 0.0 if table.known is None else table.known
            return loss, loss.noise(np.zeros(len(table.y)) + known, table.y, table.weights())
        for _ in range(_FIRST_FITS):  # whose strengths are in the unit of the noise
            fitted = self._first_scores(train, train, noise)
            held_out = self._first_scores(train, test, noise)
            found = [
                loss.noise(scores, rows.y, rows.weights())
                for scores, rows in ((fitted, train), (held_out, test))
            ]
            noise = float(np.sqrt(np.prod(found)))
        return loss, noise

    def _first_scores(self, train, test, noise=1.0):
        """Return scores of the rows of a table by a rough fit to those of another one."""
        scaling = self.scalings()[0]
        slope, intercept, ridge = (noise * strength for strength in _FIRST_FIT)
        strengths = slope, intercept if self.loss.has_link else 0.0, ridge
        found = self.system(train, scaling).solve(strengths, self.start(train), *ROUGH)[0]
        eta = self.system(test, scaling).eta(found)[0]
        return eta if test.known is None else eta + test.known

    @property
    def n_features(self):
        return self.table.n_features

    @property
    def schemes(self):
        """Cross-validation schemes; empty without cross-validation."""
        return self.partitions

    def target_statistic(self):
        """Return the tasks' sums of codes, by which tasks without keys are ordered."""
        return self.table.task_sums(self.table.weights() * self.table.y)

    def system(self, table, scaling):
        """Return the `NewtonSystem` of some of the rows, in the features of a `SlopeScaling`."""
        places = self.variation and functools.partial(self.variation.places, scaling.within_only)
        return self._system(table, scaling, places)

    def training_system(self, table, scaling):
        """Return the `system` to fit: rows have the weights of their tasks."""
        if table.factors is None:
            return self.system(table, scaling)
        places, rows = None, table.means[0]
        if self.variation is not None:  # the centres of tasks depend on their numbers of rows

            def places(_, mean):
                return self.variation.places(scaling.within_only, rows, mean)

        return self._system(table.weighted(), scaling, places)

    def _system(self, table, scaling, places):
        factors = scaling.factors
        return NewtonSystem(
            table, self.loss, self.n_scores, self.centre[:-1], self.scale[:-1] * factors,
            factors**2, self.executor, scaling.varies, places,
        )  # fmt: skip

    def inference(self, candidate, blend):
        """Return the `Inference` of a blend, as `Problem` does; None if the loss is no likelihood.

        It is that of the working responses.
        """
        if self.n_scores > 1 or not self.loss.is_likelihood:
            return None
        system = self.training_system(self.table, self.scalings()[0])
        eta = system.eta(Scores(blend.coef[None], blend.intercept[None], blend.shared[None]))

        def places(scaling):
            if self.variation is None:
                return None, None
            weight, mean = self.table.means
            mean = (mean - self.centre[:-1]) * self.scale[:-1]
            return self.variation.places(scaling.within_only, weight, mean)

        moments = system.working_moments(eta, 0)
        found = infer(self, moments, places, candidate, lambda n_effective: 1.0, unit_noise=True)
        return self._with_dispersion(found)

    def splits(self):
        """Return a list of the ``(train, test)`` tables of every split."""
        if self._splits is None:
            self._splits = [
                tuple(self._of_split(number, s).select(side[part.block]) for side in sides)
                for number, part in enumerate(self.partitions)
                for s, sides in enumerate(zip(part.train, part.test, strict=True))
            ]
        return self._splits

    def _of_split(self, number, split):
        """Return the table with what is known in a split of a partition."""
        if self.crossed is None:
            return self.table
        return self._with_effects(self.crossed.of_splits[number][split])

    def _with_effects(self, effects):
        """Return the table whose known scores contain these sums of the rows' effects."""
        return replace(self.table, known=effects)

    def keep_curvatures(self, system, eta, k):
        """Keep the block-wise moments of a system of all rows, for the systems of all splits.

        They are those at the scores `eta` for score set k. Nothing is kept if they would take too
        much memory.
        """
        n_blocks = sum(part.n_blocks for part in self.partitions)
        size = moment_bytes(self.n_tasks * n_blocks, self.n_features)
        rows = 8 * len(self.table.rows) * self.n_features
        if not (system.keeps_curvatures and 0 < size <= max(rows, _CURVATURE_BYTES)):
            return
        working = system.quadratic(eta, k)[0]
        blocks = [
            block_moments(working, part.block, part.n_blocks, self.executor)
            for part in self.partitions
        ]
        self._curvatures = working.sample_weight, blocks
        self.lend_curvatures(system)

    def lend_curvatures(self, system, split=None, side=0):
        """Give a system of all rows, or of one side of a split, the kept moments of its rows.

        `side` is 0 for the training rows of a split and 1 for its test rows, which do not have the
        weights of their tasks.
        """
        if self._curvatures is None or (side and self.table.factors is not None):
            return
        if split is None:
            weight, blocks = self._curvatures
            system.keep(weight, blocks[0].merge(executor=self.executor))
            return
        sides = [
            (number, pair[side])
            for number, part in enumerate(self.partitions)
            for pair in zip(part.train, part.test, strict=True)
        ]
        self._lend_blocks(system, *sides[split])

    def _lend_blocks(self, system, number, chosen):
        """Give a system of some blocks of a partition the kept moments of its rows."""
        if self._curvatures is not None:
            weight, blocks = self._curvatures
            rows = chosen[self.partitions[number].block]
            system.keep(weight[rows], blocks[number].merge(chosen, executor=self.executor))

    @property
    def partition(self):
        """Partition of the first cross-validation scheme."""
        return self.partitions[0]

    def models_of_blocks(self, member, shares, chosen, split):
        """Return slopes and intercepts of a blend on some blocks, as `Problem` does."""
        data = self._of_split(0, split).select(chosen[self.partition.block])
        blend = member.blend(data, shares, lend=lambda system: self._lend_blocks(system, 0, chosen))
        coef, intercept = blend.coef.transpose(1, 0, 2), blend.intercept.T
        if self.n_scores == 1:
            coef, intercept = coef[:, 0], intercept[:, 0]
        return self.in_caller_units(coef, intercept)

    def member(self, grid, scalings=None):
        """Return the candidates of a grid as a member of the guard."""
        return NewtonMember(self, grid, scalings or self.scalings())

    def screen(self, candidates, baselines):
        """Return the short lists of `Screening.screen`."""
        return screen(self, candidates, baselines)

    def judge(self, members):
        """Cross-validate the candidates of all members and return a `JudgedLosses`."""
        are_pooled = np.concatenate([member.are_pooled for member in members])
        losses, expected, rows, held_out, first_coef = [], [], [], [], []
        for number, (train, test) in enumerate(self.splits()):
            models = [model for member in members for model in member.models(train, number)]
            system = self.system(test, self.scalings()[0])
            scores = np.array([system.eta(model) for model in models])
            pooled = np.flatnonzero(are_pooled if self.loss.is_likelihood else [])
            draws = [system.means(scores[c]) for c in pooled]
            found = [system.expected_losses(eta, draws) for eta in scores]
            losses.append(np.column_stack([loss for loss, _ in found]))
            expected.append(
                [np.column_stack(part) for part in zip(*(e for _, e in found), strict=True)]
            )
            rows.append(test.task_sums(test.weights()))
            held_out.append((system, scores))
            first_coef.append(np.array([model.coef[:, 0] for model in models]))
            self.progress(f"cross-validated {len(models)} candidates on split {number + 1}")
        losses, rows = np.array(losses), np.array(rows)
        return JudgedLosses(
            losses, rows, None, max(1.0, rows.sum() / self.weight.sum()), first_coef=first_coef,
            factors=self.table.factors, expected=np.array(expected),
            pooled=pooled, held_out=held_out,
        )  # fmt: skip

    def held_out_errors(self, test, blend):
        """Return the losses ``(n_tasks,)`` of a `Blend` on a test table."""
        system = self.system(test, self.scalings()[0])
        return system.losses(system.eta(blend))

    def left_out_errors(self, left):
        """Return the losses of shared models on left-out tasks, and the tasks' rows."""
        order, system = self._system_of_left(left)
        loss = np.zeros((len(order), left.unseen.shape[1]))
        for c in range(loss.shape[1]):
            scores = _scores_of_left(left.unseen[left.group[order], c])
            loss[order, c] = system.losses(system.eta(scores))
        return loss, self.weight[left.tasks]

    def _system_of_left(self, left):
        """Return the order of left-out tasks in a table, and the system of their rows."""
        order = np.argsort(left.tasks)
        table = self.table
        if self.crossed is not None:
            self.crossed.leave_out(left.tasks, left.group)
            table = self._with_effects(self.offset_of_new)
        return order, self.system(table.take(left.tasks[order]), self.scalings()[0])

    def set_thresholds(self, judged, left, shares):
        """Return the `SetThresholds` of a blend with these `Shares`."""
        if not self.n_classes:
            return None
        parts = []
        for system, scores in judged.held_out:
            table = system.table
            eta = np.einsum("ic,cki->ki", shares.tasks[table.codes], scores)
            found = label_scores(system.means(eta).T, table.y)
            parts.append((found, table.codes, system.weight / judged.repeats))
        scores, codes, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        of_left = None
        if len(left.tasks):
            order, system = self._system_of_left(left)
            models = np.moveaxis(left.unseen, 1, -1) @ shares.unseen
            eta = system.eta(_scores_of_left(models[left.group[order]]))
            found = label_scores(system.means(eta).T, system.table.y)
            of_left = found, system.table.codes, system.weight
        return SetThresholds.learn(scores, codes, weight, self.n_tasks, of_left)

    def _prevalence(self):
        """Return the distribution over tasks of the classes' proportions."""
        table, n_classes = self.table, self.n_classes
        codes = table.codes * n_classes + table.y.astype(np.int64)
        counts = np.bincount(codes, table.weights(), minlength=table.n_tasks * n_classes)
        return Prevalence.of(counts.reshape(-1, n_classes))


def _scores_of_left(models):
    """Return the `Scores` of models ``(n_tasks, n_scores, 1 + n_features)``, one per task."""
    coef = np.ascontiguousarray(models[..., 1:].transpose(1, 0, 2))
    return Scores(coef, np.ascontiguousarray(models[..., 0].T), None)


@dataclass
class JudgedLosses(Judged):
    """Held-out losses of candidates; `sse` contains their sums per task.

    Attributes
    ----------
    expected : ndarray of shape (n_splits, n_pooled, n_tasks, n_candidates)
        Expected losses if the held-out labels were drawn from each pooled candidate.
    pooled : ndarray of shape (n_pooled,)
        Positions of the pooled candidates.
    held_out : list of (NewtonSystem, scores)
        For every split, the system of the test rows and their scores under all candidates
        ``(n_candidates, n_scores, n_packed)``, which take less memory than the models.
    """

    expected: np.ndarray | None = None
    pooled: np.ndarray | None = None
    held_out: list | None = None

    def without(self, split):
        keep = np.arange(len(self.rows)) != split
        return replace(super().without(split), expected=self.expected[keep], held_out=None)

    def scores(self):
        loss, rows = self.totals()
        if not len(self.pooled):
            return loss.min(axis=1, keepdims=True) - loss, 0.0
        best = int(np.argmin(self.sse.sum((0, 1))[self.pooled]))
        expected = self.expected[:, best].sum(0) / np.maximum(self.rows.sum(0), 1e-300)[:, None]
        prior_rows = _PRIOR_ROWS * np.sqrt(rows.sum())
        log_prior = -prior_rows * (size_balanced_weights(rows) @ expected)
        return loss.min(axis=1, keepdims=True) - loss, log_prior

    def blend_errors(self, shares):
        """Return losses per row of a blend, and their standard errors over splits."""
        losses = []
        for system, scores in self.held_out:
            blend = np.einsum("ic,cki->ki", shares[system.table.codes], scores)
            losses.append(system.losses(blend))
        return self.means(np.array(losses))
