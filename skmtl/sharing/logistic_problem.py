"""The data of a classifier's fit, and what is evaluated on it: log-losses of held-out rows."""

import functools
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import softmax

from ..guard.judge import Judged, Verdict
from ..guard.weights import voices
from ..losses import LOG_LOSS
from ..solvers.newton import LogisticSystem, Scores
from ..tasks.copies import Settled
from ..tasks.keys import evenly_by_size, mixed
from ..tasks.moments import block_moments, moment_bytes, scale_of
from ..tasks.prevalence import Prevalence
from ..tasks.variation import task_squares
from .log_loss_screening import screen
from .logistic import Logistic
from .newcomers import LogisticAdapter
from .problem import Problem
from .restriction import UNRESTRICTED, Restriction
from .strengths import LOGISTIC

__all__ = ["JudgedLosses", "LogisticProblem"]

# Prior rows behind the scores of all tasks together, labelled as the pooled model expects: this
# number times the root of the table's rows. Without them, tasks of five rows of one class would
# seem to prove that they have no other class.
_PRIOR_ROWS = 1.0
# Memory that curvatures of all blocks may take where the rows take less.
_CURVATURE_BYTES = 2**26


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

    apart, for_unseen, scalings = Problem.apart, Problem.for_unseen, Problem.scalings
    _scale_features = Problem._scale_features

    def system(self, table, scaling):
        """Return Newton's method on some of the rows, in the features of a `Scaling`."""
        places = self.variation and functools.partial(self.variation.places, scaling.apart)
        factors = scaling.factors
        return LogisticSystem(
            table, self.n_classes, self.centre[:-1], self.scale[:-1] * factors, factors**2,
            self.executor, scaling.varies, places,
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

    def member(self, grid, scalings=None):
        """Return the candidates of a grid as a member of the guard."""
        return Logistic(self, grid, scalings or self.scalings())

    def screen(self, own, limits):
        """Return what `Screening.screen` does."""
        return screen(self, own, limits)

    def judge(self, members):
        """Cross-validate the candidates of all members; return a `JudgedLosses`."""
        are_pooled = np.concatenate([member.are_pooled for member in members])
        losses, expected, rows, models, first = [], [], [], [], []
        for number, (train, test) in enumerate(self.splits()):
            found = [one for member in members for one in member.models(train, number)]
            system = self.system(test, self.scalings()[0])
            scores = np.array([system.eta(one) for one in found])
            logs = [system.log_probabilities_at(eta) for eta in scores]
            draws = [np.exp(logs[c]) for c in np.flatnonzero(are_pooled)]
            losses.append(np.column_stack([system.losses(log) for log in logs]))
            expected.append(
                [np.column_stack([system.losses(log, draw) for log in logs]) for draw in draws]
            )
            rows.append(test.task_sums(test.weights()))
            models.append((system, scores))
            first.append(np.array([one.coef[:, 0] for one in found]))
            self.progress(f"judged {len(found)} candidates on split {number + 1}")
        losses, rows = np.array(losses), np.array(rows)
        return JudgedLosses(
            losses, rows, None, max(1.0, rows.sum() / self.weight.sum()), first=first,
            expected=np.array(expected), pooled=np.flatnonzero(are_pooled), models=models,
        )  # fmt: skip

    def held_out_errors(self, test, blend):
        """Return the log-losses ``(n_tasks,)`` of a `Blend` on a test table."""
        system = self.system(test, self.scalings()[0])
        return system.losses(system.log_probabilities(blend))

    def unseen_errors(self, left):
        """Return the losses of shared models on the tasks left out, and the tasks' rows."""
        order = np.argsort(left.tasks)  # tables keep their tasks in order
        table, group = self.table.take(left.tasks[order]), left.group[order]
        system = self.system(table, self.scalings()[0])
        loss = np.zeros((len(order), left.unseen.shape[1]))
        for c in range(loss.shape[1]):
            theta = left.unseen[group, c]
            scores = Scores(
                np.ascontiguousarray(theta[..., 1:].transpose(1, 0, 2)),
                np.ascontiguousarray(theta[..., 0].T), None,
            )  # fmt: skip
            loss[order, c] = system.losses(system.log_probabilities(scores))
        return loss, self.weight[left.tasks]

    @staticmethod
    def unseen_weights(loss, rows):
        """Return weights of candidates for a task never seen: each task left out is one row."""
        return softmax(-len(loss) * loss.sum(0) / rows.sum())

    def early_scores(self, member, left, judged):
        """Return None: a few labels say too little about candidates."""
        return None

    def residual_scale(self, error, judged, shares):
        """Return None: probabilities are their own measure of uncertainty."""
        return None

    def adapter(self, grid, scalings, thetas, shares, judged, residual_scale):
        """Return the `LogisticAdapter` of candidates to new tasks."""
        kept, prior = shares.for_new_tasks()
        return LogisticAdapter(
            grid.take(kept), thetas[kept], scalings, prior, shares.crowd[kept], 1.0,
            self.centre, self.scale, restriction=self.restriction,
            copies=replace(self.copies, table=None), variation=self.variation,
            prevalence=None if prior is None else self._prevalence(),
        )  # fmt: skip

    def _prevalence(self):
        """Return how the classes' shares vary over tasks."""
        table, n_classes = self.table, self.n_classes
        codes = table.codes * n_classes + table.y.astype(np.int64)
        counts = np.bincount(codes, table.weights(), minlength=table.n_tasks * n_classes)
        return Prevalence.of(counts.reshape(-1, n_classes))


@dataclass
class JudgedLosses(Judged):
    """Held-out log-losses of candidates; `sse` is their sum a task.

    Attributes
    ----------
    expected : ndarray of shape (n_splits, n_pooled, n_tasks, n_candidates)
        What the losses would be if the held-out labels were drawn from each pooled candidate.
    pooled : ndarray of shape (n_pooled,)
        Which candidates these are.
    models : list of (LogisticSystem, scores)
        For every split the system of the test rows and their scores under all candidates
        ``(n_candidates, n_scores, n_packed)``, which take less memory than models do.
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
        for test, scores in self.models:
            blend = np.einsum("ic,cki->ki", shares[test.table.codes], scores)
            each.append(test.losses(test.log_probabilities_at(blend)))
        return self.means(np.array(each))
