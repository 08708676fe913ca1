"""Conversion of the times of rows to integers in the same order."""

import datetime
import numbers
import re

import numpy as np

__all__ = ["rank_times"]

# Strings of one such form sort in time: the year comes first, and all parts have fixed widths.
_ISO = re.compile(r"\d{4}(\D.*)?")
_OFFSET = re.compile(r":\d\d.*?([+-]\d\d:?\d\d)$")


def rank_times(times, what="the time column"):
    """Return the position of each row's time among the distinct times, counted from 0.

    Parameters
    ----------
    times : array-like of shape (n_samples,)
        Numbers, datetimes, dates, or ISO strings of one form, also in a pandas or polars column.
        Ordered categories of pandas are sorted in their order.
    what : str
        Name of the times in error messages.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If times are missing, of mixed kinds, or of a kind that does not sort in time.
    """
    _check_missing(_missing_in_column(times), what)
    if getattr(getattr(times, "dtype", None), "ordered", False):
        times = times.cat.codes
    if hasattr(times, "to_numpy"):
        times = times.to_numpy()
    times = np.asarray(times)
    if times.ndim != 1:
        raise ValueError(f"{what} must hold one time per row, got an array of shape {times.shape}.")
    if times.dtype.kind in "USTO":
        return _rank_objects(times.astype(object), what)
    if times.dtype.kind not in "iufMm":
        raise ValueError(
            f"{what} holds values of type {times.dtype}; pass numbers, datetimes or ISO strings."
        )
    if times.dtype.kind in "fMm":
        _check_missing(np.isnan(times), what)
    return np.unique(times, return_inverse=True)[1].ravel()


def _missing_in_column(times):
    """Return a mask of the missing values of a pandas or polars column; empty for arrays."""
    for method in ("isna", "is_null"):
        if hasattr(times, method):
            return np.asarray(getattr(times, method)(), dtype=bool)
    return np.zeros(0, dtype=bool)


def _check_missing(missing, what):
    if missing.any():
        raise ValueError(
            f"{what} has {int(missing.sum())} missing times, the first in row "
            f"{int(np.argmax(missing))}; drop these rows or fill in their times."
        )


def _kind(value):
    if isinstance(value, str):
        return "string"
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
        return "number"
    if isinstance(value, datetime.datetime):  # includes pandas' Timestamp
        return "datetime"
    return type(value).__name__


def _rank_objects(times, what):
    rows = times.tolist()
    _check_missing(np.array([v is None or v != v for v in rows], dtype=bool), what)
    kinds = sorted(set(map(_kind, rows)))
    if len(kinds) > 1:
        raise ValueError(
            f"{what} holds times of mixed kinds ({', '.join(kinds)}); convert all of them to "
            "numbers, datetimes or ISO strings."
        )
    if kinds == ["string"]:
        _check_iso(set(rows), what)
    try:
        order = sorted(set(rows))
    except TypeError as exc:
        raise ValueError(
            f"{what} holds values of type {kinds[0]} that have no order ({exc}); pass numbers, "
            "datetimes or ISO strings."
        ) from exc
    rank = {value: i for i, value in enumerate(order)}
    return np.fromiter(map(rank.__getitem__, rows), np.int64, len(rows))


def _check_iso(strings, what):
    """Raise for strings that do not sort in time, which would train models on the future."""
    odd = [s for s in strings if not _ISO.fullmatch(s)]
    if odd:
        raise ValueError(
            f"{what} holds the string {min(odd)!r}, which does not begin with a year as ISO "
            "strings do ('2024-03-31', '2024-W07'); convert the column to datetimes or numbers."
        )
    # One example of each form, which is the positions of digits and the offset from UTC.
    forms = {}
    for string in sorted(strings):
        offset = _OFFSET.search(string)
        form = re.sub(r"\d", "0", string), offset and offset[1]
        forms.setdefault(form, string)
    if len(forms) > 1:
        raise ValueError(
            f"{what} holds strings of different forms, such as "
            f"{' and '.join(map(repr, list(forms.values())[:2]))}, which do not sort in time; "
            "convert the column to datetimes."
        )
