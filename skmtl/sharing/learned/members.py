"""A learner fitted in every split of the cross-validation, alone or on the linear residuals."""

from dataclasses import dataclass, field

import numpy as np

from ..._jit import on_this_machine
from .design import Design

__all__ = [
    "FEWEST_TO_DROP",
    "FittedMember",
    "FoldModel",
    "LearnedMember",
    "finish",
    "fit_on",
    "fit_splits",
    "judge",
    "scores_of",
]

# Fewest held-out rows after which a learner may be dropped.
FEWEST_TO_DROP = 100
# Decimal digits of the standardised target that learners see.
_DIGITS = 10
# Smallest probability of a class that learners may predict.
_LEAST_PROBABILITY = 1e-3


def scores_of(means):
    """Return scores ``(n_rows, n_scores)`` from what learners predict.

    `means` are predictions ``(n_rows,)``, or probabilities ``(n_rows, n_classes)``, whose scores
    are their logarithms, or the log-odds of the second of two classes.
    """
    if means.ndim == 1:
        return means[:, None]
    log = np.log(np.maximum(means, _LEAST_PROBABILITY))
    return log[:, 1:] - log[:, :1] if means.shape[1] == 2 else log


@dataclass
class FoldModel:
    """Mean of the models that were fitted in the splits of a cross-validation.

    Attributes
    ----------
    parts : list of (Design, estimator)
    """

    parts: list

    def predict(self, rows, values=None):
        """Return scores ``(n_rows, n_scores)``; for a new task, with its `values`."""
        values = [None] * len(self.parts) if values is None else values
        total = 0.0
        with on_this_machine():
            for (design, estimator), value in zip(self.parts, values, strict=True):
                if hasattr(value, "predict"):
                    total = total + value.predict(design.transform(rows))
                else:
                    total = total + estimator.predict(design.transform(rows, value))
        return scores_of(total / len(self.parts))

    @property
    def encodes_task(self):
        """Whether the models see the mean target of a task, which is known for new tasks too."""
        return None in self.parts[0][0].means

    def values(self, rows, target, weight, **options):
        """Return what stands for a new task with these rows; None if there is nothing.

        These are its mean targets, or models with a part of their own for it, whose ``adapted``
        gets the options.
        """
        if hasattr(self.parts[0][1], "adapted"):
            return [
                estimator.adapted(design.transform(rows), target, weight, **options)
                for design, estimator in self.parts
            ]
        if not self.encodes_task:
            return None
        return [design.means[None].of_new_level(target, weight) for design, _ in self.parts]


@dataclass
class FittedMember:
    """What predictions need of a member.

    Attributes
    ----------
    name : str
    model : FoldModel
    on_residuals : bool
        Whether predictions are added to those of the linear models.
    """

    name: str
    model: FoldModel
    on_residuals: bool


@dataclass
class LearnedMember:
    """A learner fitted in every split, on the target or on what other models leave over.

    Attributes
    ----------
    name : str
    learner : object
        With ``fit``, ``task`` and ``fewest_rows``, as `BoostedTrees` has them.
    on_residuals : bool
        Whether the learner is fitted on the residuals of other models, and predictions are added
        to those of the linear models.
    base : ndarray of shape (n_splits, n_rows, n_scores) or None
        Scores of these other models, as in `HeldOut`.
    held_out : ndarray of shape (n_rows, n_scores)
        Scores of the rows by models without them, in the units of the learners.
    model : FoldModel
    dropped : str or None
        Why the member was left out.
    one_split : bool
        Whether only the first split was fitted, for a large table.
    """

    name: str
    learner: object
    on_residuals: bool = False
    base: np.ndarray | None = None
    held_out: np.ndarray | None = None
    model: FoldModel | None = None
    dropped: str | None = None
    one_split: bool = False
    _parts: list = field(default_factory=list)
    _total: np.ndarray | None = None
    _times: np.ndarray | None = None
    _moved: bool = False

    def refusal(self, problem):
        """Return why the member cannot be fitted on these rows; None if it can."""
        n, least = problem.n_distinct, self.learner.fewest_rows
        if problem.rows.view is None:
            return "X is sparse"
        if n < least:
            return f"needs at least {least} rows, and the table has {n}"
        if problem.has_task_units and not self.on_residuals:
            return "the scales of the target differ by task"
        if problem.has_groupings and not self.on_residuals:
            return "only learners of residuals are fitted beside grouping columns"
        if problem.n_scores > 1 and self.on_residuals:
            return "learners of residuals are for two classes"
        return None

    def splits(self, problem):
        """Return the training rows, the test rows and the base of the splits to be judged on."""
        partition, out = problem.partitions[0], []
        for s in range(1 if self.one_split else len(partition.train)):
            train, test = (
                np.flatnonzero(side[s][partition.block])
                for side in (partition.train, partition.test)
            )
            base = self.base[s] if self.on_residuals else None
            if base is not None:
                # Rows that are in no test fold may have no prediction of the other models.
                known = np.isfinite(base).all(axis=1)
                train, test = train[known[train]], test[known[test]]
            if len(train) and len(test):
                out.append((train, test, base))
        return out

    def add_split(self, problem, test, base, part, means):
        """Add the predictions of the test rows of a split by a model of the others."""
        if self._times is None:
            self._times = np.zeros(problem.n_rows, dtype=np.int64)
            self._total = np.zeros((problem.n_rows, *means.shape[1:]))
        self._moved |= bool(means.any())
        self._parts.append(part)
        self._total[test] += means + base[test, 0] if self.on_residuals else means
        self._times[test] += 1
        seen = self._times > 0
        means = (self._total.T / np.maximum(self._times, 1)).T
        self.held_out = np.where(seen[:, None], scores_of(means), np.nan)

    def drop_unless_better(self, can_gain):
        """Drop the member if its held-out rows so far show that it cannot win.

        Parameters
        ----------
        can_gain : callable
            Called with held-out scores and their rows; returns whether they could improve the blend
            of the members before this one.
        """
        seen = np.flatnonzero(self._times)
        if self.on_residuals and not self._moved:
            self.drop("it found nothing in what the linear models leave over")
        elif len(seen) >= FEWEST_TO_DROP and not can_gain(self.held_out[seen], seen):
            self.drop("the first splits showed no gain")

    def drop(self, reason):
        """Leave the member out, and forget what was fitted."""
        self.dropped, self.held_out, self._parts = reason, None, []

    def arguments_on(self, problem, chosen):
        """Return the arguments of `fit_learner` for a fit on some of the rows.

        `chosen` is a mask. There is no early stopping.
        """
        base = None
        if self.on_residuals:
            base = problem.averaged(self.base)
            chosen = chosen & np.isfinite(base).all(axis=1)
        rounds = [getattr(estimator, "n_iter_", None) for _, estimator in self._parts]
        n_rounds = None if rounds[0] is None else round(np.mean(rounds))
        return self.learner, np.flatnonzero(chosen), base, None, n_rounds

    def use_splits(self):
        """Set `model` to the mean of the models of the splits."""
        self.model = FoldModel(self._parts)

    def fitted(self):
        """Return what predictions need of the member."""
        return FittedMember(self.name, self.model, self.on_residuals)


def fit_learner(problem, learner, train, base, test=None, n_rounds=None):
    """Return a fitted `Design` and estimator, and what they predict for the rows in `test`.

    Parameters
    ----------
    problem : RowProblem
    learner : object
        With ``fit`` as `BoostedTrees` has it.
    train, test : ndarray of rows
    base : ndarray of shape (n_rows, n_scores) or None
        Scores whose residuals are fitted.
    n_rounds : int or None
        Rounds of boosting, if there are no rows for early stopping.
    """
    target, weights = problem.target, problem.weight
    design = Design(
        problem.n_levels, problem.n_tasks, learner.task, learner.takes_gaps, learner.sorts_columns
    )
    if base is not None:
        target, weights = problem.left_over(base)
    train, weight = problem.merged(train, weights)
    # Targets that differ by rounding would lead to other splits of trees.
    target = np.round(target, _DIGITS)
    blocks = problem.partitions[0].block[train]
    M = design.fit(problem.rows.take(train), target[train], weight, blocks)
    validation, tested = n_rounds, None
    if test is not None:
        tested = design.transform(problem.rows.take(test))
        validation = tested, target[test], problem.with_factors(test, weights[test])
    estimator = learner.fit(
        M, design.categorical, target[train], problem.with_factors(train, weight), validation,
        problem.seed, problem.n_classes if base is None else 0,
    )  # fmt: skip
    return (design, estimator), None if tested is None else estimator.predict(tested)


def fit_splits(problem, members, first=0, last=None):
    """Fit members in some of their splits, from `first` to before `last`."""
    jobs = []
    for member in members:
        splits = list(enumerate(member.splits(problem)))[first:last]
        jobs.extend((member, *split) for split in splits)
    arguments = [(m.learner, train, base, test) for m, _, (train, test, base) in jobs]
    in_processes = all(m.learner.in_processes for m in members)
    results = problem.run(fit_learner, arguments, in_processes)
    for (member, number, (_, test, base)), found in zip(jobs, results, strict=True):
        member.add_split(problem, test, base, *found)
        problem.progress(f"{member.name}: split {number + 1}")


def judge(problem, member):
    """Fit a member in all splits, whatever its errors are."""
    fit_splits(problem, [member])
    member.use_splits()


def finish(problem, members):
    """Set the models of members: the means of the splits' or, of one split, fits on all rows."""
    alone = [member for member in members if member.one_split]
    everything = np.ones(problem.n_rows, dtype=bool)
    for member in members:
        member.use_splits()
    for member, model in zip(alone, fit_on(problem, alone, everything), strict=True):
        member.model = model


def fit_on(problem, members, chosen):
    """Return the `FoldModel` of every member, fitted on the chosen rows.

    `chosen` is a mask.
    """
    arguments = [member.arguments_on(problem, chosen) for member in members]
    return [FoldModel([part]) for part, _ in problem.run(fit_learner, arguments)]
