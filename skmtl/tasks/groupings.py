"""Groupings of the rows beside the tasks, or above them, whose levels have own effects."""

from dataclasses import dataclass, replace

import numpy as np

from .columns import as_table, column_names, find_columns, take_column
from .encode import TaskLabels
from .stack import linear_scores

__all__ = ["Groupings", "LevelEffects", "Levels"]


@dataclass(frozen=True)
class Levels:
    """Level of every row in every grouping, and the features whose slopes differ by level.

    Arrays of all effects have one part per grouping: level by level, the intercept and the slopes.

    Attributes
    ----------
    codes : int ndarray of shape (n_rows, n_groupings)
        With contiguous columns; -1 for a level that was not seen in fit.
    sizes : tuple of int
        Number of levels of each grouping.
    features : ndarray of shape (n_rows, n_features) or None
        Features whose slopes differ by level, with contiguous columns.
    slopes : tuple of bool
        Whether the levels of each grouping have slopes; by default none have.
    parents : list of (int ndarray of shape (n_tasks,) or None)
        For each grouping that contains whole tasks, the level of every task.
    """

    codes: np.ndarray
    sizes: tuple
    features: np.ndarray | None = None
    slopes: tuple = ()
    parents: tuple = ()

    def __post_init__(self):
        nothing = len(self.sizes) - len(self.slopes), len(self.sizes) - len(self.parents)
        object.__setattr__(self, "codes", np.asfortranarray(self.codes))
        object.__setattr__(self, "slopes", (*self.slopes, *[False] * nothing[0]))
        object.__setattr__(self, "parents", (*self.parents, *[None] * nothing[1]))
        if self.features is not None:
            object.__setattr__(self, "features", np.asfortranarray(self.features))

    def take(self, rows):
        """Return the levels of some rows."""
        features = None if self.features is None else self.features[rows]
        return replace(self, codes=self.codes[rows], features=features)

    def with_features(self, features):
        """Return the same levels of rows with these features."""
        return replace(self, features=features) if any(self.slopes) else self

    def plus(self, other):
        """Return both groupings of the same rows."""
        return Levels(
            np.column_stack([self.codes, other.codes]), self.sizes + other.sizes, self.features,
            self.slopes + other.slopes, self.parents + other.parents,
        )  # fmt: skip

    @property
    def widths(self):
        """Number of effects per level of each grouping."""
        width = 1 if self.features is None else 1 + self.features.shape[1]
        return [width if slopes else 1 for slopes in self.slopes]

    @property
    def n_strengths(self):
        """Number of strengths: one per grouping, and another one for slopes."""
        return len(self.sizes) + sum(self.slopes)

    def split(self, effects):
        """Return the effects of each grouping, ``(n_levels,)`` or with slopes ``(n_levels, k)``."""
        parts = np.split(effects, self._edges())
        return [
            part.reshape(-1, width) if slopes else part
            for part, width, slopes in zip(parts, self.widths, self.slopes, strict=True)
        ]

    def _edges(self):
        return np.cumsum([s * w for s, w in zip(self.sizes, self.widths, strict=True)])[:-1]

    def spread(self, strengths):
        """Return the strength of every effect, from those of the groupings and of their slopes."""
        strengths = np.asarray(strengths, dtype=float)
        of_slopes, parts = iter(strengths[len(self.sizes) :]), []
        for strength, size, width, slopes in zip(
            strengths[: len(self.sizes)], self.sizes, self.widths, self.slopes, strict=True
        ):
            block = np.full((size, width), next(of_slopes) if slopes else strength)
            block[:, 0] = strength
            parts.append(block.ravel())
        return np.concatenate(parts)

    def _multipliers(self, slopes):
        """Yield what an effect is multiplied by in every row: None for an intercept."""
        yield None
        if slopes:
            yield from self.features.T

    def _groupings(self):
        return zip(self.codes.T, self.sizes, self.slopes, strict=True)

    def mean_targets(self, y):
        """Return the mean targets ``(n_rows, n_groupings)`` of the rows' levels.

        Rows of different levels differ in them, whatever the names of the levels.
        """
        means = zip(self.rows(y), self.rows(np.ones(len(y))), self.codes.T, strict=True)
        return np.column_stack([(sums / np.maximum(n, 1.0))[column] for sums, n, column in means])

    def rows(self, values):
        """Return the sums of values of the rows of every level: a list of ``(n_levels,)``."""
        return [np.bincount(column, values, size) for column, size, _ in self._groupings()]

    def sums(self, values):
        """Return the sums of values of the rows times what multiplies every effect."""
        parts = []
        for column, size, slopes in self._groupings():
            products = (values if z is None else values * z for z in self._multipliers(slopes))
            sums = [np.bincount(column, one, size) for one in products]
            parts.append(np.column_stack(sums).ravel() if slopes else sums[0])
        return np.concatenate(parts)

    def of_rows(self, effects):
        """Return the sums ``(n_rows,)`` of the rows' effects, from all effects."""
        out = np.zeros(len(self.codes))
        for values, (column, _, slopes) in zip(self.split(effects), self._groupings(), strict=True):
            for z, one in zip(self._multipliers(slopes), np.atleast_2d(values.T), strict=True):
                out += one[column] if z is None else one[column] * z
        return out


@dataclass(frozen=True)
class Groupings:
    """Grouping columns of a table, and their levels.

    Attributes
    ----------
    columns : list of str or int
        The columns, as the caller named them.
    labels : list of TaskLabels
        Levels of each column.
    names : list or None
        Names of the columns; None if the table has no column names.
    n_columns : int
        Number of all columns of the table.
    """

    columns: list
    labels: list
    names: list | None
    n_columns: int

    @classmethod
    def from_rows(cls, X, columns, slopes):
        """Learn the levels of a table, and return ``(Groupings, Levels)``.

        `slopes` is a tuple of bool: whether the levels of each column have slopes.
        """
        found = find_columns(X, columns, "grouping_columns")
        listed = [columns] if np.ndim(columns) == 0 else list(columns)
        read = [
            TaskLabels.from_rows(take_column(X, i), f"grouping column {column!r}")
            for i, column in zip(found, listed, strict=True)
        ]
        names = column_names(X)
        names = None if names is None else [names[i] for i in found]
        self = cls(listed, [labels for labels, _ in read], names, X.shape[1])
        codes = np.column_stack([codes for _, codes in read])
        return self, Levels(codes, self.sizes, slopes=slopes)

    @property
    def sizes(self):
        """Number of levels of each column."""
        return tuple(map(len, self.labels))

    def encode(self, X, optional=False):
        """Return the `Levels` of a table.

        With `optional`, the table may be without some of the columns, all of whose levels are then
        taken as not seen.
        """
        codes = np.full((X.shape[0], len(self.columns)), -1, dtype=np.int64)
        for g, (column, labels) in enumerate(zip(self.columns, self.labels, strict=True)):
            if optional and not self._is_in(X, g):
                continue
            name = column if self.names is None else self.names[g]
            at = find_columns(X, name, "grouping_columns")[0]
            codes[:, g] = labels.encode(take_column(X, at), f"grouping column {column!r}")
        return Levels(codes, self.sizes)

    def _is_in(self, X, g):
        names = column_names(X)
        if names is None or self.names is None:
            return X.shape[1] == self.n_columns
        return self.names[g] in names


@dataclass(frozen=True)
class LevelEffects:
    """Effects of the levels of grouping columns, to be added to predictions.

    Attributes
    ----------
    groupings : Groupings
    effects : list of ndarray of shape (n_levels,) or (n_levels, 1 + n_features)
        With slopes, those of the features as they are.
    variances : tuple of float
        Variance of the effects of every column, in a regression whose residuals have a scale.
    """

    groupings: Groupings
    effects: list
    variances: tuple = ()

    def widened(self, std, X, optional=False):
        """Return standard deviations of labels, where levels that were not seen add a variance."""
        if not self.variances:
            return std
        codes = self.groupings.encode(as_table(X), optional).codes
        return np.sqrt(std**2 + (codes < 0) @ np.array(self.variances))

    @property
    def have_slopes(self):
        """Whether the levels of any column have slopes."""
        return any(values.ndim == 2 for values in self.effects)

    def of_rows(self, X, features, optional=False):
        """Return the sums ``(n_rows,)`` of the effects of the rows of a table.

        Levels that were not seen in fit have no effect, nor have, if `optional`, columns that are
        missing.

        Parameters
        ----------
        X : table
        features : ndarray or csr matrix of shape (n_rows, n_features), or None without slopes
            The features of the rows.
        optional : bool
        """
        codes, out = self.groupings.encode(as_table(X), optional).codes, 0.0
        for column, values in zip(codes.T, self.effects, strict=True):
            known = np.append(values, np.zeros_like(values[:1]), axis=0)  # code -1 is the last
            if values.ndim == 1:
                out = out + known[column]
            else:
                out = out + linear_scores(features, known[:, 1:], known[:, 0], column)[:, 0]
        return out
