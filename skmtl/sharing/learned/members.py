"""A learner fitted in every split of the cross-validation, alone or on the linear residuals."""

from dataclasses import dataclass, field

import numpy as np

from .design import Design

__all__ = ["FittedMember", "FoldModel", "LearnedMember", "scores_of"]

# The splits of small tables are repeated until about this many rows are predicted.
_REPEAT_UNTIL, _MOST_REPEATS = 2000, 4
# A learner whose error on the first split is this many times that of the best one is dropped.
_HOPELESS = 1.25
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
    base : ndarray of shape (n_splits, n_rows, n_scores) or None
        Scores of other models, as in `HeldOut`, whose residuals the learner is fitted on.
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
    base: np.ndarray | None = None
    held_out: np.ndarray | None = None
    model: FoldModel | None = None
    dropped: str | None = None
    one_split: bool = False
    _parts: list = field(default_factory=list)

    @property
    def on_residuals(self):
        """Whether predictions are added to those of the linear models."""
        return self.base is not None

    def refusal(self, problem):
        """Return why the member cannot be fitted on these rows; None if it can."""
        n, least = problem.n_distinct, self.learner.fewest_rows
        if problem.rows.view is None:
            return "X is sparse"
        if n < least:
            return f"needs at least {least} rows, and the table has {n}"
        if problem.has_task_units and not self.on_residuals:
            return "the scales of the target differ by task"
        if problem.n_scores > 1 and self.on_residuals:
            return "learners of residuals are for two classes"
        return None

    def judge(self, problem, best=None, every_split=False):
        """Fit the learner in the splits, and set `held_out`, or `dropped` if it cannot win.

        Parameters
        ----------
        problem : RowProblem
        best : callable or None
            Called with a mask of rows; returns the smallest mean squared error of the members so
            far on these rows.
        every_split : bool
            Whether to fit all splits of a large table as well.
        """
        self.one_split = problem.n_judged_splits == 1 and not every_split
        total, times = 0.0, np.zeros(problem.n_rows, dtype=np.int64)
        for number, (train, test, base) in enumerate(self._splits(problem)):
            part, tested = self._fit(problem, train, base, test)
            self._parts.append(part)
            problem.progress(f"{self.name}: split {number + 1}")
            means = part[1].predict(tested)
            if number == 0 and best is not None:
                loss = problem.losses(self._added(scores_of(means), base, test), test)
                if np.average(loss, weights=problem.weight[test]) > _HOPELESS * best(test):
                    self.dropped = "its error on the first split was too large"
                    self._parts = []
                    return
            sums = np.zeros((problem.n_rows, *means.shape[1:]))
            sums[test] = means + base[test, 0] if self.on_residuals else means
            total = total + sums
            times[test] += 1
            if self.one_split:
                break
        seen = times > 0
        means = (total.T / np.maximum(times, 1)).T
        self.held_out = np.where(seen[:, None], scores_of(means), np.nan)

    def _added(self, scores, base, rows):
        return base[rows] + scores if self.on_residuals else scores

    def _splits(self, problem):
        """Yield training rows, test rows, and the predictions whose residuals are the target."""
        n_schemes = int(np.clip(round(_REPEAT_UNTIL / problem.n_distinct), 1, _MOST_REPEATS))
        for partition in problem.partitions[: 1 if self.on_residuals else n_schemes]:
            for s in range(len(partition.train)):
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
                    yield train, test, base

    def _fit(self, problem, train, base, test=None, n_rounds=None):
        """Return a fitted `Design` and an estimator, and the columns of the rows in `test`.

        `base` are scores whose residuals are fitted, or None.
        """
        learner, target, weights = self.learner, problem.target, problem.weight
        design = Design(problem.n_levels, problem.n_tasks, learner.task, learner.takes_gaps)
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
        n_classes = 0 if self.on_residuals else problem.n_classes
        with problem.threads():
            estimator = learner.fit(
                M, design.categorical, target[train], problem.with_factors(train, weight),
                validation, problem.seed, n_classes,
            )  # fmt: skip
        return (design, estimator), tested

    def _fit_on(self, problem, chosen):
        """Return a `FoldModel` of one fit on the chosen rows, without early stopping."""
        base = None
        if self.on_residuals:
            base = problem.averaged(self.base)
            chosen = chosen & np.isfinite(base).all(axis=1)
        rounds = [getattr(estimator, "n_iter_", None) for _, estimator in self._parts]
        n_rounds = None if rounds[0] is None else round(np.mean(rounds))
        rows = np.flatnonzero(chosen)
        return FoldModel([self._fit(problem, rows, base, n_rounds=n_rounds)[0]])

    def fit_without(self, problem, tasks):
        """Return a `FoldModel` that was fitted without some tasks."""
        return self._fit_on(problem, ~np.isin(problem.rows.codes, tasks))

    def finish(self, problem):
        """Set `model`: the mean of the splits' models or, for large tables, a fit on all rows."""
        if self.one_split:
            self.model = self._fit_on(problem, np.ones(problem.n_rows, dtype=bool))
        else:
            self.model = FoldModel(self._parts)

    def fitted(self):
        """Return what predictions need of the member."""
        return FittedMember(self.name, self.model, self.on_residuals)
