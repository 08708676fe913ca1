"""Candidate strengths of partial pooling, and what they cost before any verdict."""

import functools
import numbers
from dataclasses import dataclass

import numpy as np

from .restriction import UNRESTRICTED

__all__ = [
    "LOGISTIC", "SLOPE_COST", "SQUARED", "Grid", "Scaling", "Strengths", "check_strength",
    "independent_grid", "limit_grids", "pooled_grid", "within_grid",
]  # fmt: skip

# Position of the second scaling of a problem (`Problem.scalings`): of candidates whose shared
# slopes are the slopes within tasks only, or, in a restricted problem, of those with all slopes
# free.
_SECOND = 1


@dataclass(frozen=True)
class Scaling:
    """How the tasks' own slopes vary from feature to feature, as some candidates assume.

    Attributes
    ----------
    factors : ndarray of shape (n_features,)
        Standard deviations of the own slopes relative to one another: slopes are penalised after
        division by them.
    apart : bool
        Whether the shared slopes are the slopes within tasks only.
    varies : bool ndarray of shape (n_features,) or None
        Features whose slopes differ by task; None for all of them.
    """

    factors: np.ndarray
    apart: bool = False
    varies: np.ndarray | None = None

    @property
    def own(self):
        """The factors, with zero for features whose slopes do not differ by task."""
        return self.factors if self.varies is None else self.factors * self.varies

    @property
    def per_feature(self):
        """Whether features have variances of their own."""
        return np.ptp(self.factors) > 0

    def stretched(self, moments):
        """Return moments of the features multiplied by the factors."""
        return moments.stretched(self.factors) if (self.factors != 1.0).any() else moments


@dataclass(frozen=True)
class Strengths:
    """What "auto" chooses from: strengths on standardised features.

    Attributes
    ----------
    slopes, intercepts, ridges : ndarray
    free : float
        On an intercept of the task's own: what "independent" means.
    unit : float
        What the caller's weights were multiplied by, and strengths that are given are to be.
    apart : bool
        Whether shared slopes that are told from those between tasks are to be tried.
    every : int
        With every how many of the slope strengths they are, from the largest down.
    """

    slopes: np.ndarray
    intercepts: np.ndarray
    ridges: np.ndarray
    free: float
    unit: float = 1.0
    apart: bool = False
    every: int = 1

    def given(self, strength):
        """A given strength, or several, in the unit of the weights."""
        return np.atleast_1d(np.asarray(strength, dtype=float)) * self.unit


def _powers(*exponents):
    return np.r_[10.0 ** np.array(exponents), np.inf]


# In rows: 10 pulls as hard as ten rows do.
SQUARED = Strengths(
    slopes=_powers(-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    intercepts=np.r_[0.0, _powers(-1.0, 0.0, 1.0, 2.0)],
    ridges=_powers(-2.0, 0.0, 1.0, 2.0, 3.0),
    free=0.0,
    every=2,
)
# 1 / variance on the scale of log-odds: weaker ones would let few rows of one class prove
# anything. A row counts for p(1 - p) <= 1/4.
LOGISTIC = Strengths(
    slopes=_powers(0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    intercepts=_powers(-1.0, -0.5, 0.0, 0.5, 1.0, 1.5),
    ridges=_powers(-1.0, 0.0, 1.0, 2.0),
    free=1e-1,
)

# Prior cost, in log-weight, of each effective parameter that a task's own slopes spend, and of
# each decade that the ridge on the shared slopes is weaker: errors on a handful of rows cannot
# tell many candidates apart, and the weak ones can go badly wrong.
SLOPE_COST = 0.05
_RIDGE_COST = 0.35


@dataclass(frozen=True)
class Grid:
    """A list of candidates, sorted so that equal slope strengths stand side by side.

    Attributes
    ----------
    slope, intercept, ridge : ndarray of shape (n_candidates,)
        Strengths on the tasks' own slopes, their own intercepts and the shared slopes.
    scaling : ndarray of shape (n_candidates,)
        Position of each candidate's `Scaling` in a list of them.
    """

    slope: np.ndarray
    intercept: np.ndarray
    ridge: np.ndarray
    scaling: np.ndarray

    def __len__(self):
        return len(self.slope)

    @classmethod
    def product(cls, slopes, intercepts, ridges, scaling=0):
        s, i, r = np.meshgrid(slopes, intercepts, ridges, indexing="ij")
        return cls(s.ravel(), i.ravel(), r.ravel(), np.full(s.size, scaling))

    @classmethod
    def concatenate(cls, grids):
        """All candidates of the grids once, sorted."""
        rows = np.concatenate([g.rows() for g in grids])
        rows = np.unique(rows, axis=0)
        return cls(rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 0].astype(np.int64))

    def rows(self):
        return np.column_stack([self.scaling, self.slope, self.intercept, self.ridge])

    def take(self, chosen):
        return Grid(
            self.slope[chosen], self.intercept[chosen], self.ridge[chosen], self.scaling[chosen]
        )

    def append(self, other):
        """The candidates of both, in this order."""
        return Grid(
            np.r_[self.slope, other.slope], np.r_[self.intercept, other.intercept],
            np.r_[self.ridge, other.ridge], np.r_[self.scaling, other.scaling],
        )  # fmt: skip

    def log_prior(self, n_features, rows, strengths=SQUARED):
        """Log-weights before any verdict, for tasks of so many rows: the stronger, the simpler.

        `strengths` is the `Strengths` chosen from.
        """
        spent = n_features * rows / np.maximum(rows + self.slope, 1e-300)
        finite = np.log10(strengths.ridges[:-1])
        with np.errstate(divide="ignore"):  # infinity counts as half a decade beyond the grid
            decades = np.clip(np.log10(self.ridge), finite.min(), finite.max() + 0.5)
        return _RIDGE_COST * decades - SLOPE_COST * spent

    def members(self, other):
        """Which candidates are in `other`, as a mask."""
        known = set(map(tuple, other.rows().tolist()))
        return np.array([tuple(row) in known for row in self.rows().tolist()], dtype=bool)

    @property
    def are_pooled(self):
        """Which candidates are one model for all tasks."""
        return np.isinf(self.slope) & np.isinf(self.intercept)

    @functools.cached_property
    def levels(self):
        """``(scaling, slope, slice)`` of every run of equal slope strengths."""
        same = (self.slope[1:] == self.slope[:-1]) & (self.scaling[1:] == self.scaling[:-1])
        edges = [0, *(np.flatnonzero(~same) + 1), len(self)]
        return [
            (int(self.scaling[a]), float(self.slope[a]), slice(int(a), int(b)))
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]


def within_grid(slopes, intercepts, ridges):
    """Candidates whose shared slopes are those within tasks only.

    Free intercepts say nothing of what is between tasks, and say the same of both.
    """
    some = np.isfinite(intercepts) & (intercepts > 0)
    return Grid.product(slopes, intercepts[some], ridges, _SECOND)


_NONE = np.array([np.inf])


def independent_grid(slopes, intercept, scaling=0):
    """Candidates of one model per task."""
    slopes = np.atleast_1d(np.asarray(slopes, dtype=float))
    return Grid.product(slopes, np.array([intercept]), _NONE, scaling)


def pooled_grid(ridges):
    """Candidates of one model for all tasks."""
    return Grid.product(_NONE, _NONE, np.atleast_1d(np.asarray(ridges, dtype=float)))


def limit_grids(strengths, restriction=UNRESTRICTED):
    """Independent and pooled, as candidates: what every fit is judged against."""
    scaling = 0 if restriction.varies is None else _SECOND  # one model per task, in all features
    return [
        independent_grid(strengths.slopes, strengths.free, scaling),
        pooled_grid(strengths.ridges),
    ]


def check_strength(name, value):
    """Raise a ValueError unless a strength is 'auto' or a number >= 0."""
    if isinstance(value, str) and value == "auto":
        return
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and value >= 0:
        return
    raise ValueError(
        f"{name}={value!r} must be 'auto' or a number from 0 to infinity (a strength on "
        "standardised features)."
    )
