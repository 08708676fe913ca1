"""Grouping columns: further categories of the rows, whose levels have effects of their own."""

from dataclasses import dataclass

import numpy as np

from .columns import as_table, column_names, find_columns, take_column
from .encode import TaskLabels

__all__ = ["Groupings", "LevelEffects", "Levels"]


@dataclass(frozen=True)
class Levels:
    """Level of every row in every grouping column.

    Attributes
    ----------
    codes : int ndarray of shape (n_rows, n_groupings)
        With contiguous columns; -1 for a level that was not seen in fit.
    sizes : tuple of int
        Number of levels of each column.
    """

    codes: np.ndarray
    sizes: tuple

    def __post_init__(self):
        object.__setattr__(self, "codes", np.asfortranarray(self.codes))

    def take(self, rows):
        """Return the levels of some rows."""
        return Levels(self.codes[rows], self.sizes)

    def split(self, effects):
        """Return a list of the effects of each column's levels, from those of all levels."""
        return np.split(effects, np.cumsum(self.sizes)[:-1])

    def mean_targets(self, y):
        """Return the mean targets ``(n_rows, n_groupings)`` of the rows' levels.

        Rows of different levels differ in them, whatever the names of the levels.
        """
        rows = np.maximum(self.sums(np.ones(len(y))), 1.0)
        means = zip(self.split(self.sums(y) / rows), self.codes.T, strict=True)
        return np.column_stack([values[column] for values, column in means])

    def sums(self, values):
        """Return sums of values of the rows ``(n_all_levels,)``, column by column."""
        columns = zip(self.codes.T, self.sizes, strict=True)
        return np.concatenate([np.bincount(column, values, size) for column, size in columns])

    def of_rows(self, effects):
        """Return the sums ``(n_rows,)`` of the rows' effects, from those of all levels."""
        parts = zip(self.split(effects), self.codes.T, strict=True)
        return sum(values[column] for values, column in parts)


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
    def from_rows(cls, X, columns):
        """Learn the levels of a table, and return ``(Groupings, Levels)``."""
        found = find_columns(X, columns, "grouping_columns")
        listed = [columns] if np.ndim(columns) == 0 else list(columns)
        read = [
            TaskLabels.from_rows(take_column(X, i), f"grouping column {column!r}")
            for i, column in zip(found, listed, strict=True)
        ]
        names = column_names(X)
        names = None if names is None else [names[i] for i in found]
        self = cls(listed, [labels for labels, _ in read], names, X.shape[1])
        return self, Levels(np.column_stack([codes for _, codes in read]), self.sizes)

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
    effects : list of ndarray of shape (n_levels,)
    """

    groupings: Groupings
    effects: list

    def of_rows(self, X, optional=False):
        """Return the sums ``(n_rows,)`` of the effects of the rows of a table.

        Levels that were not seen in fit have no effect, nor have, if `optional`, columns that are
        missing.
        """
        codes, out = self.groupings.encode(as_table(X), optional).codes, 0.0
        for column, values in zip(codes.T, self.effects, strict=True):
            out = out + np.append(values, 0.0)[column]
        return out
