"""Targets: numbers, and class labels, their codes and the columns of their scores."""

import numbers

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from .._validation import as_array, as_numbers
from .columns import is_missing, is_plain

__all__ = [
    "align_classes", "check_classes", "check_labels", "check_numbers", "check_two_classes",
    "class_codes", "find_classes",
]  # fmt: skip


def check_numbers(y):
    """Labels of one task as finite float64 numbers."""
    if is_plain(y, 1):
        return y
    y = as_numbers(y, "y")
    if y.ndim > 2:
        raise ValueError(f"y must be 1-D, got an array of shape {y.shape}.")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    return y


def check_classes(y):
    """Class labels in one dimension; an error for numbers, for gaps, and for columns."""
    y = as_array(y, "y")
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != 1):
        raise ValueError(
            f"y must be 1-D, got shape {y.shape}: give the tasks by task_column= or task=, one "
            "row for every label."
        )
    y = check_labels(y)
    check_classification_targets(y)
    return y


def check_labels(y):
    """Class labels in one dimension, whatever they are; an error for gaps, and for columns."""
    y = as_array(y, "y")
    if y.dtype.kind == "c":
        raise ValueError("y: Complex data not supported; give class labels.")
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "O":
        _refuse_mixed(y.tolist())
    assert_all_finite(y, input_name="y")
    return y


def _refuse_mixed(labels):
    """Raise unless objects are labels of one kind, none of them missing."""
    missing = [i for i, label in enumerate(labels) if is_missing(label)]
    if missing:
        raise ValueError(
            f"Input y contains NaN: {len(missing)} labels are missing, the first in row "
            f"{missing[0]}; drop these rows."
        )
    types = set(map(type, labels))
    others = [
        t.__name__ for t in types if not issubclass(t, (str, bytes, numbers.Number, np.bool_))
    ]
    if others:
        raise ValueError(
            f"y has labels of type {' and '.join(sorted(others))}; make them strings or numbers."
        )
    strings = [t for t in types if issubclass(t, str)]
    if strings and len(strings) < len(types):
        names = ", ".join(sorted(t.__name__ for t in types))
        raise ValueError(f"y has labels of mixed kinds ({names}); make them all one kind.")


def check_two_classes(classes):
    """Raise unless the rows of positive weight have two `classes` at least."""
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only among the rows of positive weight, {classes[0]!r}; a "
            "classifier needs two classes at least."
        )


def class_codes(y, classes):
    """The positions of labels among `classes`, -1 for a label that is not there."""
    code = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([code.get(label, -1) for label in y.tolist()], dtype=np.int64)


def find_classes(y, classes):
    """The positions of labels among `classes`; an error for a label that is not there."""
    found = class_codes(y, classes)
    if (found < 0).any():
        raise ValueError(
            f"y has labels that fit did not see, such as {y[int(np.argmin(found))]!r}; the "
            f"classes are {classes.tolist()[:10]}."
        )
    return found


def align_classes(scores, have, wanted, fill):
    """Columns for the classes `wanted` of scores for the classes `have`, some of them.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_have) or (n_rows,)
        One dimension: scores of the second of two classes.
    have, wanted : ndarray
        Sorted.
    fill : float
        For classes that are not in `have`.

    Returns
    -------
    ndarray of shape (n_rows, n_wanted), or `scores` where the classes are the same
    """
    if len(have) == len(wanted):
        return scores
    if scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    out = np.full((len(scores), len(wanted)), fill, dtype=scores.dtype)
    out[:, np.searchsorted(wanted, have)] = scores
    return out
