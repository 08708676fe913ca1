"""Folds of rows by a column of whole numbers, the same in memory and in any query engine."""

import numpy as np

from .columns import find_column, take_column
from .encode import check_labels

__all__ = ["fold_of", "folds_of_rows", "refuse_empty_folds", "refuse_fold_column"]

# A prime below 2**31: products of two remainders fit into 64 bits.
_PRIME = 2_147_483_647
_FACTOR = 1_103_515_245


def fold_of(value, n_folds, seed, where):
    """Return the fold of a row by a whole number: its own if it is one, else a random one.

    The numbers from 0 to `n_folds` are folds, where `n_folds` is fold 0, so that folds may be
    counted from 0 or from 1. All other numbers, such as the ids of rows, are hashed.

    Parameters
    ----------
    value : ndarray of int64, or expression of a query
        Only sums, products, remainders and comparisons are taken of it.
    n_folds : int
    seed : int
    where : callable
        Called with a condition and two values, like `numpy.where`.
    """
    # Engines differ in the sign of the remainder of a negative number.
    rest = (value % _PRIME + _PRIME) % _PRIME
    rest = (rest * _FACTOR + seed % _PRIME) % _PRIME
    rest = (rest * ((rest + _FACTOR) % _PRIME)) % _PRIME
    return where((value >= 0) & (value <= n_folds), value % n_folds, rest % n_folds)


def folds_of_rows(X, column, n_folds, seed):
    """Return the fold of every row of a table by one of its columns.

    Raises
    ------
    ValueError
        If there is no such column, or if it holds anything but whole numbers.
    """
    values = take_column(X, find_column(X, column, "fold_column"))
    what = f"fold_column={column!r}"
    values, kind = check_labels(values, what)
    if kind != "integer":
        refuse_fold_column(column, f"{kind}s")
    return fold_of(values, n_folds, seed, np.where)


def refuse_fold_column(column, found):
    """Raise a ValueError for a fold column with anything but whole numbers."""
    raise ValueError(
        f"fold_column={column!r} holds {found}, but folds come from whole numbers: name a column "
        "of fold numbers (0, 1, ...) or of integer ids, or add one to the table."
    )


def refuse_empty_folds(column, weights):
    """Raise a ValueError unless every fold has rows; `weights` are the weights of the folds."""
    filled = int((weights > 0).sum())
    if filled < len(weights):
        raise ValueError(
            f"fold_column={column!r} has rows in {filled} of cv={len(weights)} folds; set cv to "
            "the number of folds (at least 2), or name a column of integer ids."
        )
