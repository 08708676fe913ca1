"""Targets: checks of numbers and class labels, class codes, and columns of scores."""

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
    """Return the labels of one task as finite float64 numbers."""
    if is_plain(y, 1):
        return y
    y = as_numbers(y, "y")
    if y.ndim > 2:
        raise ValueError(f"y must be 1-D, got an array of shape {y.shape}.")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    return y


def check_classes(y):
    """Return class labels in one dimension; continuous targets, gaps and columns raise."""
    y = as_array(y, "y")
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != 1):
        raise ValueError(
            f"y must be 1-D, got an array of shape {y.shape}; name the tasks with task_column= or "
            "task=, and pass one row per label."
        )
    y = check_labels(y)
    check_classification_targets(y)
    return y


def check_labels(y):
    """Return class labels in one dimension; gaps and several columns raise."""
    y = as_array(y, "y")
    if y.dtype.kind == "c":
        raise ValueError("y: Complex data not supported; pass class labels.")
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
            f"y has labels of type {' and '.join(sorted(others))}; convert them to strings or "
            "numbers."
        )
    is_string = {issubclass(t, str) for t in types}
    if len(is_string) > 1:
        names = ", ".join(sorted(t.__name__ for t in types))
        raise ValueError(f"y has labels of mixed kinds ({names}); convert them to one kind.")


def check_two_classes(classes):
    """Raise unless the rows of positive weight have at least two `classes`."""
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only among the rows of positive weight, {classes[0]!r}; a "
            "classifier needs at least two classes."
        )


def class_codes(y, classes):
    """Return the positions of labels in `classes`, -1 for unknown labels."""
    code = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([code.get(label, -1) for label in y.tolist()], dtype=np.int64)


def find_classes(y, classes):
    """Return the positions of labels in `classes`; unknown labels raise."""
    codes = class_codes(y, classes)
    if (codes < 0).any():
        raise ValueError(
            f"y has labels that fit did not see, such as {y[int(np.argmin(codes))]!r}; the "
            f"classes are {classes.tolist()[:10]}."
        )
    return codes


def align_classes(scores, have, wanted, fill):
    """Arrange the scores of the classes `have` in columns of the classes `wanted`.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_have) or (n_rows,)
        Scores of each class, or of the second of two classes.
    have, wanted : ndarray
        Sorted classes; `wanted` contains all of `have`.
    fill : float
        Score of classes that are not in `have`.

    Returns
    -------
    ndarray of shape (n_rows, n_wanted)
        `scores` itself if the classes are the same.
    """
    if len(have) == len(wanted):
        return scores
    if scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    out = np.full((len(scores), len(wanted)), fill, dtype=scores.dtype)
    out[:, np.searchsorted(wanted, have)] = scores
    return out
