"""Screening for losses other than squares, on a quadratic approximation of the loss."""

import itertools
from dataclasses import dataclass

import numpy as np

from .newton import ROUGH
from .problem import Problem
from .screening import Screening
from .strengths import LOGISTIC

__all__ = ["REFERENCES", "REFERENCE_MARGIN", "ScoreScreening", "screen"]

# Strengths of reference models. The loss is approximated around the first of these models whose
# held-out loss is within a margin (in nats) of the best one.
REFERENCES = [
    (100.0, 10.0, 10.0),
    (30.0, 3.0, 1.0),
    (10.0, 1.0, 1.0),
    (3.0, 0.3, 0.3),
    (1.0, 0.1, 0.1),
]
_REFERENCE_ROWS, _REFERENCE_SPLITS = 3000, 5
REFERENCE_MARGIN = 3.0
# Most candidates that are selected, as each is solved again in every split; fewer if they cover all
# but a fraction of the weight.
_SHORT_LIST, _REST = 16, 0.1
# Width (a standard deviation in decades) of the neighbourhood that a candidate covers.
_NEIGHBOURHOOD, _NEIGHBOURHOOD_OF_CLASSES = 0.5, 0.7


def screen(problem, candidates, baselines):
    """Return the short lists of `Screening.screen`, for a `NewtonProblem`."""
    quadratic = _Quadratic.of(problem, *_best_reference(problem))
    found = ScoreScreening(quadratic, problem.n_scores, problem.n_classes > 0)
    return found.screen(candidates, baselines)


@dataclass
class _Quadratic(Problem):
    """The loss as a squared one, around a reference model of each split's training rows.

    With more than two classes, it is that of the class whose share is nearest to a half.

    Attributes
    ----------
    whole : NewtonProblem
    reference : tuple of strengths and SlopeScaling
    models : list of Scores
        Reference models of the first splits.
    k : int
        Score set of the class.
    """

    whole: object = None
    reference: object = None
    models: object = None
    k: int = 0
    strengths = LOGISTIC

    @classmethod
    def of(cls, problem, reference, models):
        """Return the approximation of a `NewtonProblem` around a reference."""
        strengths, scaling = reference
        system = problem.training_system(problem.table, scaling)
        k = 0
        if system.n_scores > 1:
            share = [system.weight @ system.target(k) for k in range(system.n_scores)]
            k = int(np.argmin(np.abs(np.array(share) / system.weight.sum() - 0.5)))
        eta = system.eta(_solved(problem, system, strengths))
        problem.keep_curvatures(system, eta, k)
        moments = system.working_moments(eta, k)
        return cls(
            [], moments, executor=problem.executor, progress=problem.progress,
            restriction=problem.restriction, whole=problem, reference=reference, models=models, k=k,
        )  # fmt: skip

    def __post_init__(self):
        self.centre, self.scale = self.whole.centre, self.whole.scale
        self.variation = self.whole.variation
        self._splits = []

    @property
    def n_splits(self):
        return sum(len(part.train) for part in self.whole.partitions)

    def splits(self, tasks=None, most=None):
        """Yield training and test moments of some tasks, which are the same in every call."""
        strengths, scaling = self.reference
        for i, (train, test) in enumerate(self.whole.splits()):
            if most is not None and i >= most:
                return
            if i == len(self._splits):
                fit = self.whole.training_system(train, scaling)
                held_out = self.whole.system(test, self.whole.scalings()[0])
                self.whole.lend_curvatures(fit, i, 0)
                self.whole.lend_curvatures(held_out, i, 1)
                if i < len(self.models):
                    model = self.models[i]
                else:
                    model = _solved(self.whole, fit, strengths, self.models[-1])
                pair = [s.working_moments(s.eta(model), self.k) for s in (fit, held_out)]
                pair = pair if tasks is None else [part.take(tasks) for part in pair]
                self._splits.append(tuple(pair))
            yield self._splits[i]


def _best_reference(problem):
    """Return the reference, strengths and a `SlopeScaling`, and its models on the first splits.

    The references are compared by their losses on the first splits that together hold out
    `_REFERENCE_ROWS` rows, or on `_REFERENCE_SPLITS` splits.
    """
    scalings = problem.scalings()[: 1 + problem.separates_levels]
    references = [(strengths, scaling) for scaling in scalings for strengths in REFERENCES]
    loss, rows, models = np.zeros(len(references)), 0, []
    for train, test in itertools.islice(problem.splits(), _REFERENCE_SPLITS):
        held_out = problem.system(test, scalings[0])
        fits = {
            scaling.within_only: problem.training_system(train, scaling) for scaling in scalings
        }
        model, found = models[-1][0] if models else None, []
        for i, (strengths, scaling) in enumerate(references):
            model = _solved(problem, fits[scaling.within_only], strengths, model)
            found.append(model)
            loss[i] += held_out.losses(held_out.eta(model)).sum()
        models.append(found)
        rows += len(test.rows)
        if rows >= _REFERENCE_ROWS:
            break
    best = int(np.argmax(loss <= loss.min() + REFERENCE_MARGIN))
    return references[best], [found[best] for found in models]


def _solved(problem, system, strengths, start=None):
    """Return a rough solution."""
    start = start or problem.start(system.table)
    return system.solve(strengths, start, *ROUGH)[0]


class ScoreScreening(Screening):
    """Screening on working responses, whose noise level is one.

    Parameters
    ----------
    problem : Problem
        Its moments are those of working responses.
    n_scores : int
        Number of score sets.
    is_classification : bool
    """

    def __init__(self, problem, n_scores, is_classification):
        super().__init__(problem)
        self.n_scores, self.is_classification = n_scores, is_classification

    def scores(self, sse, rows):
        scores = -0.5 * sse
        return scores - scores.max(axis=1, keepdims=True)

    def most_candidates(self):
        return max(6, _SHORT_LIST // self.n_scores)

    def short_list(self, grid, scores, rows, most):
        """Return candidates whose neighbourhoods in the grid cover the weight.

        The candidates with the largest weights alone would be neighbours of each other, without any
        that suit the tasks, few or small, that are unlike the others.
        """
        left = self.mean_weights(grid, scores, rows)  # weight that is not yet covered
        position = _positions(grid)
        gaps = ((position[:, None] - position) ** 2).sum(axis=2)
        width = _NEIGHBOURHOOD_OF_CLASSES if self.is_classification else _NEIGHBOURHOOD
        near = np.exp(-0.5 * gaps / width**2)
        chosen = []
        enough = _REST * left.sum()
        while len(chosen) < min(most, len(grid)) and left.sum() > enough:
            chosen.append(int(np.argmax(near @ left)))
            left = left * (1.0 - near[chosen[-1]])
        return grid.take(np.sort(chosen))


def _positions(grid):
    """Return the positions of candidates in the grid, in decades; those of ridges are halved."""
    columns = []
    for strength in (grid.slope, grid.intercept, grid.ridge):
        finite = strength[np.isfinite(strength)]
        beyond = 10.0 * finite.max(initial=0.1)
        columns.append(
            np.log10(np.where(np.isfinite(strength), np.maximum(strength, 1e-3), beyond))
        )
    return np.column_stack([*columns, grid.scaling]) * [1.0, 1.0, 0.5, 1.0]
