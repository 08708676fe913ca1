"""Screening for the log-loss, on a quadratic model of it around one reference model."""

import itertools
from dataclasses import dataclass

import numpy as np

from ..solvers.newton import Scores
from .logistic import JUDGED
from .problem import Problem
from .screening import Screening
from .strengths import LOGISTIC

__all__ = ["screen"]

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
# Candidates that go on, as each is solved again in every split; fewer where these stand for all
# but this part of the weight.
_SHORT_LIST, _REST = 16, 0.1
# Decades apart at which one candidate still stands for another.
_NEIGHBOURHOOD = 0.7


def screen(problem, own, limits):
    """Return what `Screening.screen` does, for the candidates of a `LogisticProblem`."""
    return _Screening(_Quadratic.of(problem, *_best_reference(problem))).screen(own, limits)


@dataclass
class _Quadratic(Problem):
    """The log-loss as a squared one, around a reference model of each split's training rows.

    With more than two classes, of the class whose share is nearest to a half.
    """

    whole: object = None
    reference: object = None
    known: object = None  # the reference models of the first splits
    k: int = 0
    strengths = LOGISTIC

    @classmethod
    def of(cls, problem, reference, known):
        strengths, scaling = reference
        system = problem.system(problem.table, scaling)
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
        strengths, scaling = self.reference
        for i, (train, test) in enumerate(self.whole.splits()):
            if most is not None and i >= most:
                return
            if i == len(self._splits):
                fit = self.whole.system(train, scaling)
                held_out = self.whole.system(test, self.whole.scalings()[0])
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
    and a `Scaling`.
    """
    kinds = problem.scalings()[: 1 + problem.apart]
    references = [(strengths, scaling) for scaling in kinds for strengths in _REFERENCES]
    loss, rows, models = np.zeros(len(references)), 0, []
    for train, test in itertools.islice(problem.splits(), _REFERENCE_SPLITS):
        held_out = problem.system(test, kinds[0])
        fits = {scaling.apart: problem.system(train, scaling) for scaling in kinds}
        model, found = models[-1][0] if models else None, []
        for i, (strengths, scaling) in enumerate(references):
            model = _solved(fits[scaling.apart], strengths, model)
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
    return system.solve(strengths, start, *JUDGED)[0]


class _Screening(Screening):
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
        return np.sort(chosen)


def _places(grid):
    """Where candidates stand in the grid, in decades; a ridge's count for half."""
    columns = []
    for strength in (grid.slope, grid.intercept, grid.ridge):
        finite = strength[np.isfinite(strength)]
        beyond = 10.0 * finite.max(initial=0.1)
        columns.append(
            np.log10(np.where(np.isfinite(strength), np.maximum(strength, 1e-3), beyond))
        )
    return np.column_stack([*columns, grid.scaling]) * [1.0, 1.0, 0.5, 1.0]
