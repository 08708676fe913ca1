"""Splits of rows as a user gives them: read once, and refused where they are no splits."""

import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

__all__ = ["check_n_folds", "read_splits", "refuse_empty"]

_PAIRS = "cv must be an int, a splitter such as KFold(5), or a list of pairs (train, test) of rows"


def check_n_folds(cv, n_samples=None):
    """A number of folds as an int.

    Parameters
    ----------
    cv : int
    n_samples : int, optional
        Rows that are dealt to them; None where more are to come.

    Raises
    ------
    ValueError
        Unless there are at least 2 folds and at most as many as rows.
    """
    if cv < 2:
        raise ValueError(f"cv={cv} must be at least 2 folds.")
    if n_samples is not None and cv > n_samples:
        raise ValueError(
            f"cv={_shown(cv)} folds are more than the {n_samples} rows there are; give at most "
            f"{n_samples}."
        )
    return int(cv)


def read_splits(cv, X, y=None, groups=None, *, n_samples, copies=True):
    """The splits of a splitter or of an iterable, checked.

    Parameters
    ----------
    cv : splitter or iterable of (train, test)
        Of each pair a side is an array of row numbers (negative ones count from the end), a
        boolean mask over all rows, or a slice. An iterator is used up by this: read again, it
        yields no splits and is refused.
    X, y, groups
        What a splitter is asked with. `groups` only where it is not None; splitters that do not
        want it may say so, which is not passed on.
    n_samples : int
        Rows that the splits are of.
    copies : bool
        Whether a row may be listed several times on one side, as in a bootstrap; scikit-learn
        then trains (or tests) on it so many times. False refuses it, for callers that could only
        count it once.

    Returns
    -------
    list of (train, test)
        Arrays of row numbers from 0 to ``n_samples - 1``, in the order given. A side may be empty:
        which rows are usable is the caller's to say, by `refuse_empty`.

    Raises
    ------
    ValueError
        For anything else: no splits, no pairs, rows that are not there or no row numbers, and
        rows in both train and test.
    """
    splits = []
    for k, split in enumerate(_ask(cv, X, y, groups)):
        pair = _pair_of(split, k)
        train, test = (
            _rows_of(side, name, k, n_samples)
            for side, name in zip(pair, ("train", "test"), strict=True)
        )
        _refuse_shared(train, test, k, n_samples)
        if not copies:
            _refuse_copies(train, "train", k)
            _refuse_copies(test, "test", k)
        splits.append((train, test))
    if not splits:
        once = ""
        if not hasattr(cv, "split") and iter(cv) is cv:
            once = " An iterator can be read only once: give a list, or a splitter."
        raise ValueError(
            f"cv={_shown(cv)} yields no splits; at least one pair (train, test) is needed.{once}"
        )
    return splits


def refuse_empty(train, test, k, which="of positive weight"):
    """Raise where split `k` has no usable rows on one of its sides."""
    if not len(train) or not len(test):
        raise ValueError(
            f"cv: split {k} has no training rows or no test rows {which}; use fewer folds or "
            "another splitter."
        )


def _ask(cv, X, y, groups):
    """The splits as they come."""
    if isinstance(cv, type):
        raise ValueError(f"cv={cv.__name__} is a class; give an object of it, {cv.__name__}(...).")
    if hasattr(cv, "split") and not isinstance(cv, (str, bytes)):
        given = {} if groups is None else {"groups": groups}
        with warnings.catch_warnings():  # tasks are offered as groups; a splitter may not want them
            warnings.filterwarnings("ignore", message="The groups parameter is ignored")
            try:
                found = cv.split(X, y, **given)
                if isinstance(found, Iterable):
                    return list(found)
            except ValueError as error:
                raise ValueError(f"cv={_shown(cv)} cannot split these rows: {error}") from error
        raise ValueError(f"cv={_shown(cv)}: its split() returned {_shown(found)}, no pairs.")
    if isinstance(cv, (str, bytes, Mapping, Set)) or not isinstance(cv, Iterable):
        raise ValueError(f"{_PAIRS}; found {_shown(cv)} of type {type(cv).__name__}.")
    return list(cv)


def _pair_of(split, k):
    """A pair, whatever its sides."""
    listed = isinstance(split, Sequence) and not isinstance(split, (str, bytes))
    listed = listed or (isinstance(split, np.ndarray) and split.ndim > 0)
    if listed and len(split) == 2:
        return split
    found = f"{_shown(split)} of type {type(split).__name__}"
    if listed:
        found = f"{len(split)} entries, {_shown(split)}"
    hint = ""
    if isinstance(split, numbers.Integral):
        hint = " For the number of each row's fold, give PredefinedSplit(numbers)."
    raise ValueError(
        f"cv: split {k} is {found}, not a pair (train, test) of rows; a single split is "
        f"cv=[(train, test)].{hint}"
    )


def _rows_of(side, name, k, n_samples):
    """One side of a split as row numbers from 0 to ``n_samples - 1``."""
    where = f"cv: {name} of split {k}"
    if isinstance(side, slice):
        return np.arange(n_samples)[side]
    try:
        rows = np.asarray(side)
    except ValueError as error:  # of lists of several lengths
        raise ValueError(f"{where} is no array of row numbers: {error}") from error
    if rows.ndim != 1:
        raise ValueError(
            f"{where} is {_shown(side)} of type {type(side).__name__} ({rows.ndim} dimensions); "
            "give a 1-D array of row numbers or a boolean mask."
        )
    if rows.dtype == bool:
        if len(rows) != n_samples:
            raise ValueError(
                f"{where} is a mask of {len(rows)} rows, but there are {n_samples}; a mask has "
                "one entry a row."
            )
        return np.flatnonzero(rows)
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    if rows.dtype.kind not in "iu":
        raise ValueError(
            f"{where} has entries such as {_shown(rows[0])} (dtype {rows.dtype}), but rows are "
            "given by number, counted from 0, or by a boolean mask; convert them to int."
        )
    wrong = (rows >= n_samples) | (rows < -n_samples)
    if wrong.any():
        raise ValueError(
            f"{where} lists row {rows[wrong][0]}, but there are {n_samples} rows, counted from 0 "
            f"to {n_samples - 1}; positions are wanted, not labels of an index."
        )
    rows = rows.astype(np.int64)
    return np.where(rows < 0, rows + n_samples, rows)


def _refuse_shared(train, test, k, n_samples):
    trained = np.zeros(n_samples, dtype=bool)
    trained[train] = True
    both = np.unique(test[trained[test]])
    if len(both):
        raise ValueError(
            f"cv: train and test of split {k} overlap, in {len(both)} row(s) such as row "
            f"{both[0]}; an error on a row that was trained on says nothing: take such rows out "
            "of one of them."
        )


def _refuse_copies(rows, name, k):
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"cv: {name} of split {k} lists row {values[counts > 1][0]} more than once, where each "
            "row counts once; drop the copies."
        )


def _shown(value, most=60):
    """A value in an error message, in short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 3] + "..."
