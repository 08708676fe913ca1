"""Checks of cross-validation splits given by the user."""

import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

__all__ = ["check_n_folds", "read_splits", "refuse_empty"]

_PAIRS = "cv must be an int, a splitter such as KFold(5), or a list of pairs (train, test) of rows"


def check_n_folds(cv, n_samples=None):
    """Check a number of folds, and return it as an int.

    Parameters
    ----------
    cv : int
    n_samples : int, optional
        Number of rows; None if it is not yet known.

    Raises
    ------
    ValueError
        Unless there are at least 2 folds and at most as many as rows.
    """
    if cv < 2:
        raise ValueError(f"cv={cv} must be at least 2 folds.")
    if n_samples is not None and cv > n_samples:
        raise ValueError(
            f"cv={_short_repr(cv)} folds are more than the {n_samples} rows; set cv to at most "
            f"{n_samples}."
        )
    return int(cv)


def read_splits(cv, X, y=None, groups=None, *, n_samples, copies=True):
    """Read and check the splits of a splitter or of an iterable.

    Parameters
    ----------
    cv : splitter or iterable of (train, test)
        Each side of a pair is an array of row numbers (negative ones count from the end), a boolean
        mask over all rows, or a slice. An iterator is consumed; a second time it yields no splits
        and is refused.
    X, y, groups
        Arguments of the splitter's ``split``. `groups` is passed if it is not None; the warning of
        splitters that ignore it is suppressed.
    n_samples : int
        Number of rows that are split.
    copies : bool
        Whether a row may be listed several times on one side, as in a bootstrap. False refuses
        this, for callers that can count a row only once.

    Returns
    -------
    list of (train, test)
        Arrays of row numbers from 0 to ``n_samples - 1``, in the order given. A side may be empty;
        the caller checks this with `refuse_empty`, because only the caller knows the usable rows.

    Raises
    ------
    ValueError
        If there are no splits, if they are not pairs of valid row numbers, or if a row is in both
        train and test.
    """
    splits = []
    for k, split in enumerate(_ask(cv, X, y, groups)):
        train, test = (
            _rows_of(side, name, k, n_samples, copies)
            for side, name in zip(_pair_of(split, k), ("train", "test"), strict=True)
        )
        _refuse_shared(train, test, k, n_samples)
        splits.append((train, test))
    if not splits:
        hint = ""
        if not hasattr(cv, "split") and iter(cv) is cv:
            hint = " An iterator can be read only once: give a list, or a splitter."
        raise ValueError(
            f"cv={_short_repr(cv)} yields no splits; at least one pair (train, test) is needed."
            f"{hint}"
        )
    return splits


def refuse_empty(train, test, k, which="of positive weight"):
    """Raise if split `k` has no usable training rows or no usable test rows."""
    if not len(train) or not len(test):
        raise ValueError(
            f"cv: split {k} has no training rows or no test rows {which}; use fewer folds or "
            "another splitter."
        )


def _ask(cv, X, y, groups):
    """Return the unchecked splits as a list."""
    if isinstance(cv, type):
        raise ValueError(f"cv={cv.__name__} is a class; pass an instance: {cv.__name__}(...).")
    if hasattr(cv, "split") and not isinstance(cv, (str, bytes)):
        given = {} if groups is None else {"groups": groups}
        with warnings.catch_warnings():  # tasks are passed as groups, which some splitters ignore
            warnings.filterwarnings("ignore", message="The groups parameter is ignored")
            try:
                found = cv.split(X, y, **given)
                if isinstance(found, Iterable):
                    return list(found)
            except ValueError as error:
                raise ValueError(
                    f"cv={_short_repr(cv)} cannot split these rows: {error}"
                ) from error
        raise ValueError(
            f"cv={_short_repr(cv)}: its split() returned {_short_repr(found)}, but should yield "
            "pairs (train, test) of rows."
        )
    if isinstance(cv, (str, bytes, Mapping, Set)) or not isinstance(cv, Iterable):
        raise ValueError(f"{_PAIRS}; found {_short_repr(cv)} of type {type(cv).__name__}.")
    return list(cv)


def _pair_of(split, k):
    """Return a split that is a pair, and raise for others."""
    listed = isinstance(split, Sequence) and not isinstance(split, (str, bytes))
    listed = listed or (isinstance(split, np.ndarray) and split.ndim > 0)
    if listed and len(split) == 2:
        return split
    found = f"{_short_repr(split)} of type {type(split).__name__}"
    if listed:
        found = f"{len(split)} entries, {_short_repr(split)}"
    hint = ""
    if isinstance(split, numbers.Integral):
        hint = " If you have the number of the fold of each row, pass PredefinedSplit(numbers)."
    raise ValueError(
        f"cv: split {k} is {found}, not a pair (train, test) of rows; a single split is "
        f"cv=[(train, test)].{hint}"
    )


def _rows_of(side, name, k, n_samples, copies):
    """Return one side of a split as row numbers from 0 to ``n_samples - 1``."""
    where = f"cv: {name} of split {k}"
    if isinstance(side, slice):
        return np.arange(n_samples)[side]
    try:
        rows = np.asarray(side)
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"{where} is not an array of row numbers: {error}") from error
    if rows.ndim != 1:
        raise ValueError(
            f"{where} is {_short_repr(side)} of type {type(side).__name__} ({rows.ndim} "
            "dimensions); pass a 1-D array of row numbers or a boolean mask."
        )
    if rows.dtype == bool:
        if len(rows) != n_samples:
            raise ValueError(
                f"{where} is a mask with {len(rows)} entries, but there are {n_samples} rows; "
                "pass one entry per row."
            )
        return np.flatnonzero(rows)
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    if rows.dtype.kind not in "iu":
        raise ValueError(
            f"{where} has entries such as {_short_repr(rows[0])} (dtype {rows.dtype}); pass row "
            "numbers counted from 0 as integers, or a boolean mask."
        )
    wrong = (rows >= n_samples) | (rows < -n_samples)
    if wrong.any():
        raise ValueError(
            f"{where} lists row {rows[wrong][0]}, but there are {n_samples} rows, counted from 0 "
            f"to {n_samples - 1}; pass positions, not labels of an index."
        )
    rows = rows.astype(np.int64)
    rows = np.where(rows < 0, rows + n_samples, rows)
    if not copies:
        values, counts = np.unique(rows, return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"{where} lists row {values[counts > 1][0]} more than once, but each row counts "
                "once here; remove the copies."
            )
    return rows


def _refuse_shared(train, test, k, n_samples):
    trained = np.zeros(n_samples, dtype=bool)
    trained[train] = True
    both = np.unique(test[trained[test]])
    if len(both):
        raise ValueError(
            f"cv: train and test of split {k} overlap, in {len(both)} row(s) such as row "
            f"{both[0]}; test rows must not be training rows: remove them from one side."
        )


def _short_repr(value, most=60):
    """Return the repr of a value, cut to `most` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 3] + "..."
