"""Candidate strengths of partial pooling, and their prior weights."""

import functools
import itertools
import numbers
from dataclasses import dataclass

import numpy as np

from .restriction import UNRESTRICTED

__all__ = [
    "LOGISTIC", "ROBUST", "SLOPE_COST", "SQUARED", "Grid", "SlopeScaling", "Strengths",
    "baseline_grids", "check_strength", "independent_grid", "pooled_grid", "within_grid",
]  # fmt: skip

# Position of the second scaling of a problem (`Problem.scalings`). It is that of candidates whose
# shared slopes are the slopes within tasks only or, in a restricted problem, of candidates without
# restrictions.
_SECOND = 1


@dataclass(frozen=True)
class SlopeScaling:
    """Assumption of some candidates on how much the slopes of each feature vary by task.

    Attributes
    ----------
    factors : ndarray of shape (n_features,)
        Relative standard deviations of the task-specific slopes, which are penalised after division
        by them.
    within_only : bool
        Whether the shared slopes are the slopes within tasks only.
    varies : bool ndarray of shape (n_features,) or None
        Features whose slopes differ by task; None for all of them.
    """

    factors: np.ndarray
    within_only: bool = False
    varies: np.ndarray | None = None

    @property
    def own_factors(self):
        """Factors, with zero for features whose slopes do not differ by task."""
        return self.factors if self.varies is None else self.factors * self.varies

    @property
    def per_feature(self):
        """Whether the factors differ by feature."""
        return np.ptp(self.factors) > 0

    def stretched(self, moments):
        """Return moments of the features multiplied by the factors."""
        return moments.stretched(self.factors) if (self.factors != 1.0).any() else moments


@dataclass(frozen=True)
class Strengths:
    """Strengths that "auto" chooses from, on standardised features.

    Attributes
    ----------
    slopes, intercepts, ridges : ndarray
        Strengths on task-specific slopes, on task-specific intercepts and on the shared slopes.
    free_intercept : float
        Strength on the intercepts of independent models.
    unit : float
        Factor on the caller's weights, by which given strengths are multiplied as well.
    within_only : bool
        Whether there are candidates whose shared slopes are the slopes within tasks only.
    within_step : int
        Step between the slope strengths of these candidates, from the largest strength down.
    """

    slopes: np.ndarray
    intercepts: np.ndarray
    ridges: np.ndarray
    free_intercept: float
    unit: float = 1.0
    within_only: bool = False
    within_step: int = 1

    def given(self, strength):
        """Return one or several given strengths in the unit of the weights, as an array."""
        return np.atleast_1d(np.asarray(strength, dtype=float)) * self.unit


def _powers(*exponents):
    return np.r_[10.0 ** np.array(exponents), np.inf]


# In rows: a strength of 10 has the weight of ten rows.
SQUARED = Strengths(
    slopes=_powers(-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    intercepts=np.r_[0.0, _powers(-1.0, 0.0, 1.0, 2.0)],
    ridges=_powers(-2.0, 0.0, 1.0, 2.0, 3.0),
    free_intercept=0.0,
    within_step=2,
)
# 1 / variance on the scale of log-odds, where a row has the weight p(1 - p) <= 1/4. Weaker
# strengths would allow extreme models of tasks with few rows of one class.
LOGISTIC = Strengths(
    slopes=_powers(0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    intercepts=_powers(-1.0, -0.5, 0.0, 0.5, 1.0, 1.5),
    ridges=_powers(-1.0, 0.0, 1.0, 2.0),
    free_intercept=1e-1,
)

# The same for residuals in the unit of the spread within tasks, whose losses have a minimum without
# a penalty.
ROBUST = Strengths(
    slopes=LOGISTIC.slopes,
    intercepts=np.r_[0.0, _powers(-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)],
    ridges=LOGISTIC.ridges,
    free_intercept=0.0,
)

# Decrease of the prior log-weight per effective parameter of task-specific slopes, and per decade
# by which the ridge on the shared slopes is weaker: errors on few rows hardly distinguish the
# candidates, and weak ones can predict badly.
SLOPE_COST = 0.05
_RIDGE_COST = 0.35


@dataclass(frozen=True)
class Grid:
    """A list of candidates in which equal slope strengths are adjacent.

    Attributes
    ----------
    slope, intercept, ridge : ndarray of shape (n_candidates,)
        Strengths on task-specific slopes, on task-specific intercepts and on the shared slopes.
    scaling : ndarray of shape (n_candidates,)
        Position of each candidate's `SlopeScaling` in a list of them.
    """

    slope: np.ndarray
    intercept: np.ndarray
    ridge: np.ndarray
    scaling: np.ndarray

    def __len__(self):
        return len(self.slope)

    @classmethod
    def product(cls, slopes, intercepts, ridges, scaling=0):
        """Return all combinations of the strengths."""
        s, i, r = np.meshgrid(slopes, intercepts, ridges, indexing="ij")
        return cls(s.ravel(), i.ravel(), r.ravel(), np.full(s.size, scaling))

    @classmethod
    def concatenate(cls, grids):
        """Return the sorted union of the grids."""
        rows = np.unique(np.concatenate([grid.rows() for grid in grids]), axis=0)
        return cls(rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 0].astype(np.int64))

    def rows(self):
        """Return the candidates as rows of scaling, slope, intercept and ridge."""
        return np.column_stack([self.scaling, self.slope, self.intercept, self.ridge])

    def take(self, chosen):
        """Return some of the candidates."""
        return Grid(
            self.slope[chosen], self.intercept[chosen], self.ridge[chosen], self.scaling[chosen]
        )

    def append(self, other):
        """Return the candidates of both grids, in this order."""
        return Grid(
            np.r_[self.slope, other.slope], np.r_[self.intercept, other.intercept],
            np.r_[self.ridge, other.ridge], np.r_[self.scaling, other.scaling],
        )  # fmt: skip

    def log_prior(self, n_features, rows, strengths=SQUARED):
        """Return the prior log-weights, which increase with the strengths.

        Parameters
        ----------
        n_features : int or ndarray of shape (n_candidates,)
            Number of features whose slopes vary by task.
        rows : float
            Rows per task.
        strengths : Strengths
            The strengths that were chosen from.
        """
        n_effective = n_features * rows / np.maximum(rows + self.slope, 1e-300)
        finite = np.log10(strengths.ridges[:-1])
        with np.errstate(divide="ignore"):  # infinity is half a decade beyond the grid
            decades = np.clip(np.log10(self.ridge), finite.min(), finite.max() + 0.5)
        return _RIDGE_COST * decades - SLOPE_COST * n_effective

    def isin(self, other):
        """Return a mask of the candidates that are in another grid."""
        known = set(map(tuple, other.rows().tolist()))
        return np.array([tuple(row) in known for row in self.rows().tolist()], dtype=bool)

    @property
    def are_pooled(self):
        """Mask of the candidates that are one model for all tasks."""
        return np.isinf(self.slope) & np.isinf(self.intercept)

    @functools.cached_property
    def levels(self):
        """Runs of equal slope strengths, as tuples ``(scaling, slope, slice)``."""
        same = (self.slope[1:] == self.slope[:-1]) & (self.scaling[1:] == self.scaling[:-1])
        edges = [0, *(np.flatnonzero(~same) + 1), len(self)]
        return [
            (int(self.scaling[a]), float(self.slope[a]), slice(int(a), int(b)))
            for a, b in itertools.pairwise(edges)
        ]


def within_grid(slopes, intercepts, ridges):
    """Return candidates whose shared slopes are the slopes within tasks only.

    Strengths of zero and of infinity on the intercepts are left out: with free intercepts, the
    slopes between tasks have no effect.
    """
    penalised = np.isfinite(intercepts) & (intercepts > 0)
    return Grid.product(slopes, intercepts[penalised], ridges, _SECOND)


def independent_grid(slopes, intercept, scaling=0):
    """Return candidates that are one model per task."""
    return Grid.product(slopes, intercept, np.inf, scaling)


def pooled_grid(ridges):
    """Return candidates that are one model for all tasks."""
    return Grid.product(np.inf, np.inf, ridges)


def baseline_grids(strengths, restriction=UNRESTRICTED):
    """Return the candidates of independent and of pooled, with which every fit is compared."""
    scaling = 0 if restriction.varies is None else _SECOND  # one model per task, in all features
    return [
        independent_grid(strengths.slopes, strengths.free_intercept, scaling),
        pooled_grid(strengths.ridges),
    ]


def check_strength(name, value):
    """Raise a ValueError unless a strength is "auto" or a number >= 0."""
    if isinstance(value, str) and value == "auto":
        return
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and value >= 0:
        return
    raise ValueError(
        f"{name}={value!r} must be 'auto' or a number from 0 to infinity (a strength on "
        "standardised features)."
    )
