"""Task labels: finding them in X, checking them, turning them into codes and back."""

import itertools
import numbers

import numpy as np

__all__ = [
    "TaskLabels",
    "as_table",
    "column_names",
    "drop_columns",
    "find_task_column",
    "is_plain",
    "split_task_column",
    "take_column",
]


def as_table(X):
    """`X` itself if it has columns to choose from; a list as an array, COO and the like as CSR."""
    if hasattr(X, "tocsr"):
        return X if X.format in ("csr", "csc") else X.tocsr()
    if hasattr(X, "shape"):
        return X
    array = np.asarray(X)
    # numpy makes strings of the numbers that stand beside strings.
    return np.array(X, dtype=object) if array.dtype.kind in "US" else array


def is_plain(array, ndim):
    """Whether it is an ndarray of finite float64 numbers: nothing is left to check or convert.

    scikit-learn's checks ask first whether it is one of many kinds of frame, which takes longer
    than fitting a few rows. False where the sum overflows: then they shall look at it.
    """
    if type(array) is not np.ndarray or array.dtype != np.float64 or array.ndim != ndim:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


def column_names(X):
    """The column names of a data frame as a list, or None for anything else.

    Works for pandas and polars alike: both have ``columns`` and ``__getitem__``.
    """
    if not hasattr(X, "columns") or not hasattr(X, "__getitem__") or not hasattr(X, "shape"):
        return None
    return list(X.columns)


def find_task_column(X, task_column, parameter="task_column"):
    """Resolve `task_column` to a position in `X`.

    A name is found exactly, or as the one column that ends in ``__name``
    (a ColumnTransformer renames ``shop`` to ``remainder__shop``). `parameter` is what the
    errors call it.

    Raises
    ------
    ValueError
        Naming the column, what was found instead and the remedy.
    """
    names = column_names(X)
    if names is not None:
        repeated = sorted({str(c) for c in names if names.count(c) > 1})
        if repeated:
            raise ValueError(
                f"X has duplicate column names {repeated}; rename them, so that a column name "
                "says which column is meant."
            )
    if isinstance(task_column, bool) or not isinstance(task_column, (str, numbers.Integral)):
        raise ValueError(
            f"{parameter}={task_column!r} is of type {type(task_column).__name__}; give the "
            "column's name (data frames) or its integer index (arrays)."
        )
    if isinstance(task_column, str):
        if names is None:
            raise ValueError(
                f"{parameter}={task_column!r} is a name, but X is a {type(X).__name__} without "
                "column names; give the column's integer index, or pass a data frame."
            )
        return _find_name(names, task_column, parameter)
    n_columns = X.shape[1] if len(getattr(X, "shape", ())) == 2 else 0
    index = int(task_column)
    if not -n_columns <= index < n_columns:
        raise ValueError(f"{parameter}={index} is out of range: X has {n_columns} columns.")
    return index % n_columns


def _find_name(names, name, parameter):
    if name in names:
        return names.index(name)
    suffixed = [i for i, c in enumerate(names) if isinstance(c, str) and c.endswith("__" + name)]
    if len(suffixed) == 1:
        return suffixed[0]
    if suffixed:
        raise ValueError(
            f"{parameter}={name!r} could be any of {[names[i] for i in suffixed]}; "
            "give the full name of one."
        )
    shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    raise ValueError(f"{parameter}={name!r} is not a column of X, whose columns are: {shown}.")


def drop_columns(X, positions):
    """`X` without the columns at `positions`; the caller's object is left as it is."""
    names = column_names(X)
    if names is not None:
        return X[[c for i, c in enumerate(names) if i not in positions]]
    keep = np.delete(np.arange(X.shape[1]), positions)
    return X[:, keep]


def take_column(X, index):
    """Column `index` of a frame, array or sparse matrix, in one dimension."""
    names = column_names(X)
    if names is not None:
        return X[names[index]]
    column = X[:, [index]]
    return np.ravel(column.toarray() if hasattr(column, "toarray") else column)


def split_task_column(X, task_column):
    """Split `X` into the labels of the task column and the remaining columns."""
    X = as_table(X)
    index = find_task_column(X, task_column)
    return take_column(X, index), drop_columns(X, [index])


def _check_missing(labels, what):
    missing = labels != labels  # NaN is the one value unequal to itself
    missing = np.asarray(missing, dtype=bool) | np.array([v is None for v in labels], dtype=bool)
    if missing.any():
        raise ValueError(
            f"{what} has {int(missing.sum())} missing labels, the first in row "
            f"{int(np.argmax(missing))}; drop these rows or give them a label of their own."
        )


def _object_kind(labels, what):
    """The kind shared by all labels of an object array: 'string', 'integer' or 'boolean'."""
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


def check_labels(labels, what="the task column"):
    """Labels as a 1-D array of one kind.

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        Of dtype int64, bool or object (strings).
    kind : {"integer", "boolean", "string"}
    """
    if hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    elif isinstance(labels, (list, tuple)):  # numpy would turn [1, "17"] into strings
        labels = np.array(labels, dtype=object)
    labels = np.asarray(labels)
    if labels.ndim == 0:
        raise ValueError(f"{what} must be one label a row, got the single value {labels!s}.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"{what} must be one label a row, got an array of shape {labels.shape}.")
    if labels.dtype.kind in "US":
        return labels.astype(object), "string"
    if labels.dtype.kind == "b":
        return labels, "boolean"
    if labels.dtype.kind in "iu":
        return _to_int64(labels, what), "integer"
    if labels.dtype.kind == "O" or labels.dtype.kind == "T":
        labels = labels.astype(object, copy=False)
        kind = _object_kind(labels, what) if len(labels) else "string"
        if kind == "integer":
            return _to_int64(labels, what), kind
        if kind != "float":
            return labels.astype({"boolean": bool, "string": object}[kind], copy=False), kind
        labels = labels.astype(np.float64)
    if labels.dtype.kind != "f":
        raise ValueError(
            f"{what} holds labels of type {labels.dtype}; make them strings or integers."
        )
    if np.isnan(labels).any():
        _check_missing(labels, what)
    whole = np.isfinite(labels) & (labels == np.rint(labels))
    if not whole.all():
        raise ValueError(
            f"{what} holds non-integral numbers such as {labels[np.argmin(whole)].item()}: it "
            "looks as if a transformer (a scaler?) changed the ids. Keep the task column out of "
            "it, e.g. ColumnTransformer(..., remainder='passthrough')."
        )
    return _to_int64(labels, what), "integer"


def _to_int64(labels, what):
    """Whole numbers as int64; a float holds them exactly up to 2**53 only."""
    most = 2**53 if labels.dtype.kind == "f" else 2**63 - 1
    if len(labels) and (labels.max() > most or labels.min() < -most):
        raise ValueError(
            f"{what} holds integers beyond {'53' if most == 2**53 else '64'} bits, which would "
            "run into one another; make them strings."
        )
    return labels.astype(np.int64, copy=False)


def _factorize(labels, kind):
    """Sorted distinct labels and the code of every row."""
    if kind == "integer" and len(labels):
        low, high = int(labels.min()), int(labels.max())
        if high - low < 4 * len(labels) + 1000:  # a lookup table beats a sort
            seen = np.zeros(high - low + 1, dtype=bool)
            shifted = labels - low
            seen[shifted] = True
            lookup = np.cumsum(seen) - 1
            return np.flatnonzero(seen) + low, lookup[shifted]
    if kind != "string":
        return np.unique(labels, return_inverse=True)
    rows = labels.tolist()
    code = {v: i for i, v in enumerate(dict.fromkeys(rows))}
    codes = np.fromiter(map(code.__getitem__, rows), np.int64, len(rows))
    names = np.array(list(code), dtype=object)
    order = np.argsort(names)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return names[order], rank[codes]


def _shown(labels):
    """The first label as its user would write it."""
    return repr(labels[:1].tolist()[0])


class TaskLabels:
    """The distinct task labels of a table, sorted; encodes rows to codes.

    Attributes
    ----------
    classes : ndarray of shape (n_tasks,)
        Sorted labels, as the caller would write them.
    kind : {"integer", "boolean", "string"}
    """

    def __init__(self, classes, kind):
        self.classes = classes
        self.kind = kind
        self._code = None

    def __len__(self):
        return len(self.classes)

    @classmethod
    def from_rows(cls, labels, what="the task column"):
        """Learn the labels of a table; returns ``(TaskLabels, codes)``."""
        labels, kind = check_labels(labels, what)
        classes, codes = _factorize(labels, kind)
        return cls(classes, kind), codes.astype(np.int64, copy=False)

    def encode(self, labels, what="the task column"):
        """Codes of `labels`, -1 for a label never seen in fit."""
        labels, kind = check_labels(labels, what)
        if kind != self.kind and len(labels):
            raise ValueError(
                f"{what} holds {kind} labels such as {_shown(labels)}, but the model was fitted on "
                f"{self.kind} labels such as {_shown(self.classes)}; convert them to the same kind."
            )
        if self.kind == "string":
            if self._code is None:
                self._code = {v: i for i, v in enumerate(self.classes)}
            found = map(self._code.get, labels.tolist(), itertools.repeat(-1))
            return np.fromiter(found, np.int64, len(labels))
        position = np.searchsorted(self.classes, labels)
        position = np.minimum(position, len(self.classes) - 1)
        return np.where(self.classes[position] == labels, position, -1)

    def union(self, other):
        """The labels of both, and where each one's codes land in the union."""
        if other.kind != self.kind:
            raise ValueError(
                f"the task labels are {other.kind}s such as {_shown(other.classes)}, but earlier "
                f"ones were {self.kind}s such as {_shown(self.classes)}; use one kind."
            )
        both = TaskLabels(*_union(self, other))
        return both, both.encode(self.classes), both.encode(other.classes)

    def __getstate__(self):
        return {"classes": self.classes, "kind": self.kind, "_code": None}


def _union(a, b):
    return _factorize(np.concatenate([a.classes, b.classes]), a.kind)[0], a.kind
