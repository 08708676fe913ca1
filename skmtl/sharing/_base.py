"""What every sharing structure is: strengths to choose among, and a fit on task moments."""

from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.base import BaseEstimator

from ._restriction import UNRESTRICTED, Restriction
from ._strengths import SQUARED
from ._tuning import Tuner

__all__ = ["Problem", "Sharing", "SharingFit", "scale_of"]


def scale_of(total, mean, variance):
    """1 / standard deviation, and 0 for what is constant up to rounding."""
    eps = np.finfo(np.float64).eps
    constant = variance <= total * eps * variance + (total * mean * eps) ** 2
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))


@dataclass
class Problem:
    """The data of a fit, as a sharing structure sees it: standardised over the table.

    The moments given are the problem's own from then on: they are standardised in place.

    Attributes
    ----------
    schemes : list of (TaskMoments of shape (n_tasks, n_blocks), Partition)
        Empty where nothing is to be cross-validated.
    moments : TaskMoments of shape (n_tasks,)
    pool : executor or None
        From `_jit.worker_pool`.
    progress : callable
        Called with a line of text at each step.
    standardise : bool
        False where the features are already on a common scale.
    restriction : Restriction
        What is known of the slopes.
    centre, scale : ndarray of shape (n_features + 1,)
        Features and target are ``([X, y] - centre) * scale``.
    """

    schemes: list
    moments: object
    pool: object = None
    progress: object = field(default=lambda text: None)
    standardise: bool = True
    restriction: Restriction = UNRESTRICTED
    strengths = SQUARED

    def __post_init__(self):
        total, self.centre, variance = self.moments.pooled()
        self.scale = scale_of(total, self.centre, variance)
        if not self.standardise:
            self.scale[:-1] = 1.0
        if self.scale[-1] == 0.0:  # a constant target: keep it on its own scale
            self.scale[-1] = 1.0
        for moments in (self.moments, *(blocks for blocks, _ in self.schemes)):
            moments.rescale(self.centre, self.scale)

    def restrict(self, restriction):
        """Fit within a restriction. Features whose slopes are to be negative are turned round."""
        self.restriction = restriction
        if restriction.signs is not None:
            signs = np.append(restriction.signs, 1.0)
            self.scale = self.scale * signs
            for moments in (self.moments, *(blocks for blocks, _ in self.schemes)):
                moments.rescale(0.0, signs)

    def tuner(self):
        """What judges candidates on this problem."""
        if not self.restriction:
            return Tuner(self)
        from ._restricted import RestrictedTuner  # here, as it builds on problems

        return RestrictedTuner(self)

    def sample(self, most):
        """At most this many tasks with rows, evenly over their sizes.

        In an order that only their content decides, so that labels and their order do not matter.
        """
        order = np.lexsort((self.moments.mean[:, -1], self.moments.weight))
        order = order[self.moments.weight[order] > 0]
        picks = np.round(np.linspace(0, len(order) - 1, min(most, len(order))))
        return order[picks.astype(np.int64)]

    @property
    def n_tasks(self):
        return len(self.moments.weight)

    @property
    def n_features(self):
        return self.moments.n_features

    def n_varying(self, grid):
        """Features that are not constant, and whose slopes vary by task under the candidates."""
        return self.restriction.n_varying(self.scale[:-1] != 0, grid.metric)

    def splits(self, tasks=None, most=None):
        """``(train, test)`` moments of the scheme's splits, for some tasks."""
        done = 0
        for blocks, partition in self.schemes:
            for train, test in zip(partition.train, partition.test, strict=True):
                if most is not None and done >= most:
                    return
                done += 1
                yield blocks.merge(train, tasks, self.pool), blocks.merge(test, tasks, self.pool)

    @property
    def n_splits(self):
        return sum(len(partition.train) for _, partition in self.schemes)


@dataclass
class SharingFit:
    """A fitted sharing structure, on the caller's scale.

    With several sets of scores (a classifier of more than two classes) `coef` and `intercept`
    have a second axis for them, and the shared ones a first.
    """

    coef: np.ndarray
    intercept: np.ndarray
    shared_coef: np.ndarray
    shared_intercept: np.ndarray
    strengths: dict
    history: dict
    report: dict
    kkt_residual: float
    n_iter: int

    def spread(self, seen):
        """The same with tasks that have no rows put in: they are what a task never seen is.

        Parameters
        ----------
        seen : bool ndarray of shape (n_all_tasks,)
        """
        if seen.all():
            return self
        coef = np.repeat(self.shared_coef[None], len(seen), axis=0)
        intercept = np.repeat(np.asarray(self.shared_intercept)[None], len(seen), axis=0)
        coef[seen], intercept[seen] = self.coef, self.intercept
        place = np.full(len(seen) + 1, -1)
        place[:-1][seen] = np.arange(seen.sum())
        report = {name: column[place] for name, column in self.report.items()}
        return replace(self, coef=coef, intercept=intercept, report=report)


class Sharing(BaseEstimator):
    """Base of the sharing structures."""

    def grid(self, n_tasks, strengths):
        """The candidates of this structure, a `Grid`, of the `Strengths` to choose from."""
        raise NotImplementedError

    def restriction(self, names):
        """What the structure restricts of the slopes of features so named, a `Restriction`."""
        return UNRESTRICTED

    def fit_problem(self, problem):
        """Fit on a `Problem` or a `LogisticProblem`; returns a `SharingFit`."""
        raise NotImplementedError
