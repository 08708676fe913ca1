"""Task labels: checks, and conversion to codes and back."""

import contextlib
import difflib
import itertools
import numbers
from dataclasses import dataclass

import numpy as np

from .columns import column_names, find_columns, is_missing, take_column, unwrap

__all__ = [
    "LabelColumns",
    "TaskLabels",
    "is_single_label",
    "label_columns",
    "label_of_row",
    "read_labels",
    "target_labels",
]


@dataclass(frozen=True)
class LabelColumns:
    """Task labels given by several columns; the label of a row is a tuple.

    Attributes
    ----------
    columns : list of array-like of shape (n_samples,)
    names : list
        Names of the columns in error messages.
    """

    columns: list
    names: list

    def __len__(self):
        return len(self.columns[0])

    def label(self, row):
        """Return the label of a row, a tuple."""
        return tuple(np.asarray(column)[[row]].tolist()[0] for column in self.columns)


def read_labels(X, task_column, parameter="task_column"):
    """Return the labels in one or several columns; a list, even of one column, gives tuples.

    Returns
    -------
    array-like of shape (n_samples,) or LabelColumns

    Raises
    ------
    ValueError
        If a column is not found.
    """
    found = find_columns(X, task_column, parameter)
    if task_column is None or isinstance(task_column, (str, numbers.Number)):
        return take_column(X, found[0])
    return LabelColumns([take_column(X, i) for i in found], [repr(c) for c in task_column])


def is_single_label(value, labels):
    """Return whether `value` is a single label of the kind of `labels`, not one per row."""
    if isinstance(value, tuple) and isinstance(labels.kind, tuple):
        return not any(isinstance(part, (tuple, list, np.ndarray)) for part in value)
    return isinstance(value, (str, numbers.Number, np.generic)) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    )


def label_columns(labels, what="the task column"):
    """Return labels that are tuples or rows of a frame as `LabelColumns`; None for plain labels."""
    if isinstance(labels, LabelColumns):
        return labels
    labels = unwrap(labels, what)
    names = column_names(labels)
    if names is not None and len(names) != 1:
        if not names:
            raise ValueError(f"{what} is a data frame without columns; pass one label per row.")
        return LabelColumns([take_column(labels, j) for j in range(len(names))], names)
    if not isinstance(labels, (list, tuple)):
        if getattr(labels, "dtype", None) != np.dtype(object) or np.ndim(labels) != 1:
            return None
        labels = np.asarray(labels)
    if not len(labels) or not isinstance(labels[0], tuple):
        return None
    labels = list(labels)
    lengths = {len(label) if isinstance(label, tuple) else 0 for label in labels}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(
            f"{what} holds tuples together with other labels, or tuples of several lengths; pass a "
            "tuple of the same length in every row."
        )
    columns = [list(column) for column in zip(*labels, strict=True)]
    return LabelColumns(columns, list(range(len(columns))))


def label_of_row(labels, row):
    """Return the label of a row as the caller wrote it; `labels` may be one label for all rows."""
    columns = label_columns(labels, "task=")
    if columns is not None:
        return columns.label(row)
    labels = np.asarray(labels, dtype=object if isinstance(labels, (list, tuple)) else None)
    return labels.ravel()[[row if labels.ndim else 0]].tolist()[0]


def target_labels(y):
    """Return the column names of a 2-D target as task labels, in order.

    The result is None if the target has no names, or if they are of several kinds.
    """
    names = None if isinstance(y, np.ndarray) else column_names(unwrap(y, "y"))
    if names is None or len(names) < 2:
        return None
    try:
        labels, codes = TaskLabels.from_rows(names, "the column names of y")
    except ValueError:
        return None
    if len(labels) < len(names):
        raise ValueError(f"y has duplicate column names {sorted(map(str, names))}; rename them.")
    return labels.classes[codes]


def _check_missing(labels, what):
    missing = np.array([is_missing(label) for label in labels.tolist()], dtype=bool)
    if missing.any():
        raise ValueError(
            f"{what} has {int(missing.sum())} missing labels, the first in row "
            f"{int(np.argmax(missing))}; drop these rows, or replace missing labels by a label."
        )


def _object_kind(labels, what):
    """Return the kind of all labels in an object array: string, boolean, integer or float."""
    types = set(map(type, labels.tolist()))
    if all(issubclass(t, str) for t in types):
        return "string"
    if all(issubclass(t, (bool, np.bool_)) for t in types):
        return "boolean"
    if all(issubclass(t, numbers.Integral) and t is not bool for t in types):
        return "integer"
    _check_missing(labels, what)
    if all(issubclass(t, numbers.Real) and t is not bool for t in types):
        return "float"
    raise ValueError(
        f"{what} holds labels of mixed or unsupported kinds "
        f"({', '.join(sorted(t.__name__ for t in types))}); make them all strings or all integers."
    )


def _as_1d(labels, what):
    """Return labels as an array of one dimension."""
    labels = unwrap(labels, what)
    if column_names(labels) is not None:  # a frame of one column
        labels = take_column(labels, 0)
    if isinstance(labels, (list, tuple)):  # numpy would turn [1, "17"] into strings
        try:
            labels = np.array(labels, dtype=object)
        except ValueError as error:  # arrays of several shapes
            raise ValueError(f"{what} must hold one label per row: {error}") from error
    labels = np.asarray(labels)
    if labels.ndim == 0:
        raise ValueError(
            f"{what} must hold one label per row, got a single value of type "
            f"{type(labels.item()).__name__}: {labels!s:.60}."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{what} must hold one label per row, got an array of shape {labels.shape}; if several "
            "columns name the task, pass a data frame of them or a list of tuples."
        )
    return labels


def check_labels(labels, what="the task column"):
    """Return plain labels as a 1-D array of one kind.

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        Of dtype int64, bool or object (strings).
    kind : {"integer", "boolean", "string"}
    """
    labels = _as_1d(labels, what)
    if labels.dtype.kind in "US":
        return labels.astype(object), "string"
    if labels.dtype.kind == "b":
        return labels, "boolean"
    if labels.dtype.kind in "iu":
        return _to_int64(labels, what), "integer"
    if labels.dtype.kind in "OT":
        labels = labels.astype(object, copy=False)
        kind = _object_kind(labels, what) if len(labels) else "string"
        if kind == "integer":
            return _to_int64(labels, what), kind
        if kind != "float":
            return labels.astype({"boolean": bool, "string": object}[kind], copy=False), kind
        labels = _as_one_float(labels)
    if labels.dtype.kind != "f":
        raise ValueError(
            f"{what} holds labels of type {labels.dtype}; convert them to strings or integers."
        )
    if np.isnan(labels).any():
        _check_missing(labels, what)
    whole = np.isfinite(labels) & (labels == np.rint(labels))
    if not whole.all():
        raise ValueError(
            f"{what} holds non-integral numbers such as {labels[np.argmin(whole)].item()}: it "
            "looks as if a transformer (a scaler?) changed the ids. Keep the task column out of "
            "it, e.g. with ColumnTransformer(..., remainder='passthrough')."
        )
    return _to_int64(labels, what), "integer"


def _as_one_float(labels):
    """Return objects, some of them floats, in the least precise float type among them."""
    types = [np.dtype(t) for t in set(map(type, labels.tolist())) if issubclass(t, np.floating)]
    return labels.astype(min(types, key=lambda t: np.finfo(t).nmant, default=np.float64))


def _to_int64(labels, what):
    """Return whole numbers as int64; raise if their type does not represent them exactly."""
    most, bits = 2**63 - 1, 64
    if labels.dtype.kind == "f":
        bits = min(np.finfo(labels.dtype).nmant + 1, 63)
        most = 2**bits - 1
    if len(labels) and (labels.max() > most or labels.min() < -most):
        raise ValueError(
            f"{what} holds integers beyond {bits} bits (dtype {labels.dtype}), so that different "
            "labels may become equal; convert them to strings, before they become floats."
        )
    return labels.astype(np.int64, copy=False)


def _factorize(labels, kind):
    """Return the sorted distinct labels and the code of each row."""
    if kind == "integer" and len(labels):
        low, high = int(labels.min()), int(labels.max())
        if high - low < 4 * len(labels) + 1000:  # a lookup table is faster than sorting
            seen = np.zeros(high - low + 1, dtype=bool)
            shifted = labels - low
            seen[shifted] = True
            return np.flatnonzero(seen) + low, (np.cumsum(seen) - 1)[shifted]
    if kind != "string":
        return np.unique(labels, return_inverse=True)
    rows = labels.tolist()
    code = {v: i for i, v in enumerate(dict.fromkeys(rows))}
    codes = np.fromiter(map(code.__getitem__, rows), np.int64, len(rows))
    names = np.array(list(code), dtype=object)
    order = np.argsort(names)
    return names[order], np.argsort(order)[codes]


def _first_label(labels):
    """Return the first label as text, as the user would write it."""
    return repr(labels[:1].tolist()[0])


class TaskLabels:
    """Distinct task labels of a table, sorted; converts labels to codes.

    Attributes
    ----------
    classes : ndarray of shape (n_tasks,)
        Sorted labels, as the caller would write them.
    kind : {"integer", "boolean", "string"} or tuple of these
        A tuple with the kinds of the parts if labels are tuples.
    """

    def __init__(self, classes, kind, parts=None, steps=None):
        self.classes = classes
        self.kind = kind
        self._parts = parts  # TaskLabels of each column
        self._steps = steps  # existing pairs of codes, column by column
        self._code = None

    def __len__(self):
        return len(self.classes)

    @classmethod
    def from_rows(cls, labels, what="the task column"):
        """Learn the labels of a table, and return ``(TaskLabels, codes)``."""
        columns = label_columns(labels, what)
        if columns is not None:
            return cls._from_columns(columns, what)
        labels, kind = check_labels(labels, what)
        classes, codes = _factorize(labels, kind)
        return cls(classes, kind), codes.astype(np.int64, copy=False)

    @classmethod
    def _from_columns(cls, columns, what):
        read = [
            cls.from_rows(column, f"column {name} of {what}")
            for column, name in zip(columns.columns, columns.names, strict=True)
        ]
        _check_equal_lengths([codes for _, codes in read], what)
        parts = [part for part, _ in read]
        code, steps = read[0][1], []
        for part, codes in read[1:]:
            found, code = np.unique(code * len(part) + codes, return_inverse=True)
            steps.append(found)
        first = np.unique(code, return_index=True)[1]
        labels = [part.classes[codes[first]].tolist() for part, codes in read]
        classes = np.empty(len(first), dtype=object)
        classes[:] = list(zip(*labels, strict=True))
        return cls(classes, tuple(part.kind for part in parts), parts, steps), code

    def encode(self, labels, what="the task column"):
        """Return the codes of `labels`, with -1 for a label never seen in fit."""
        columns = label_columns(labels, what)
        if columns is not None and self._parts is not None:
            return self._encode_columns(columns, what)
        if columns is not None:
            self._refuse_kind("tuple", columns.label(0), what)
        labels, kind = check_labels(labels, what)
        if kind != self.kind and len(labels):
            self._refuse_kind(kind, labels[:1].tolist()[0], what)
        if self.kind == "string":
            if self._code is None:
                self._code = {v: i for i, v in enumerate(self.classes)}
            codes = map(self._code.get, labels.tolist(), itertools.repeat(-1))
            return np.fromiter(codes, np.int64, len(labels))
        return _positions(self.classes, labels) if len(labels) else np.empty(0, np.int64)

    def _encode_columns(self, columns, what):
        if len(columns.columns) != len(self._parts):
            raise ValueError(
                f"{what} holds labels of {len(columns.columns)} parts such as "
                f"{columns.label(0)!r}, but the model was fitted on labels of {len(self._parts)} "
                f"such as {_first_label(self.classes)}; pass the same columns as in fit."
            )
        codes = [
            part.encode(column, f"column {name} of {what}")
            for part, column, name in zip(self._parts, columns.columns, columns.names, strict=True)
        ]
        _check_equal_lengths(codes, what)
        code = codes[0]
        for step, part, more in zip(self._steps, self._parts[1:], codes[1:], strict=True):
            code = np.where((code < 0) | (more < 0), -1, code * len(part) + more)
            code = _positions(step, code)
        return code

    def _refuse_kind(self, kind, label, what):
        fitted_kind = "tuple" if isinstance(self.kind, tuple) else self.kind
        raise ValueError(
            f"{what} holds {kind} labels such as {label!r}, but the model was fitted on "
            f"{fitted_kind} labels such as {_first_label(self.classes)}; convert them to the same "
            "kind."
        )

    def find(self, label, parameter="label"):
        """Return the code of one label.

        Raises
        ------
        ValueError
            If there is no such label, naming similar ones.
        """
        code = -1
        if is_single_label(label, self) and not isinstance(label, complex):
            with contextlib.suppress(ValueError):  # a label of another kind
                code = int(self.encode([label])[0])
        if code < 0:
            raise ValueError(
                f"{parameter}={label!r} is not a task seen in fit"
                f"{_similar_labels(label, self.classes.tolist())}."
            )
        return code

    def union(self, other):
        """Return the labels of both, and the positions of both in the union.

        The labels are this object if it has all of them, at a cost that depends on `other` only.
        """
        if other.kind != self.kind:
            raise ValueError(
                f"the task labels are of kind {other.kind} such as {_first_label(other.classes)}, "
                f"but earlier labels were of kind {self.kind} such as {_first_label(self.classes)};"
                " convert them to the same kind."
            )
        found = self.encode(other.classes)
        if (found >= 0).all():
            return self, np.arange(len(self)), found
        both, _ = TaskLabels.from_rows(np.concatenate([self.classes, other.classes]))
        return both, both.encode(self.classes), both.encode(other.classes)

    def __getstate__(self):
        return {**vars(self), "_code": None}


def by_task(values, labels, parameter):
    """Return a mapping from tasks to values as a dict from the tasks' positions.

    Parameters
    ----------
    values : mapping
    labels : ndarray of shape (n_tasks,) or TaskLabels
        Labels of the tasks; an array may have any order.
    parameter : str
        Name of the mapping in errors.
    """
    if isinstance(labels, TaskLabels):
        known, order = labels, np.arange(len(labels))
    else:
        known, codes = TaskLabels.from_rows(labels)
        order = np.argsort(codes)
    return {
        int(order[known.find(label, f"a key of {parameter}")]): value
        for label, value in values.items()
    }


def _positions(known, values):
    """Return the position of each value in the sorted array `known`, or -1."""
    position = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[position] == values, position, -1)


def _check_equal_lengths(columns, what):
    lengths = sorted(set(map(len, columns)))
    if len(lengths) > 1:
        raise ValueError(
            f"{what} has columns of unequal lengths, {lengths}; pass one label per row in each."
        )


def _similar_labels(label, labels):
    """Return the labels similar to an unknown one, or the first labels, as text."""
    texts = [str(known) for known in labels]
    similar = difflib.get_close_matches(str(label), texts, n=3, cutoff=0.6)
    if not similar:
        lower = [text.casefold() for text in texts]
        found = difflib.get_close_matches(str(label).casefold(), lower, n=3, cutoff=0.6)
        similar = [texts[lower.index(text)] for text in found]
    if similar:
        return "; did you mean " + " or ".join(repr(labels[texts.index(text)]) for text in similar)
    more = ", ..." if len(labels) > 5 else ""
    return f", which are: {', '.join(map(repr, labels[:5]))}{more}"
