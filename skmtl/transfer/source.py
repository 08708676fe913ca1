"""Handles on rows: given to an estimator as a parameter, shared by all its clones."""

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import column_or_1d

from .._compat import take_rows
from .._validation import check_features, check_weights, refuse_masked
from ..tasks.columns import as_table, check_names, column_names, is_missing, is_plain
from ..tasks.encode import TaskLabels

__all__ = ["REMEDY", "Handle", "Source", "Unlabeled", "check_kind", "read_target"]

# What `Source` without a task calls its only source.
ONE_SOURCE = "source"
REMEDY = (
    'X must be finite numbers: preprocessor="auto" fills gaps and encodes categories, and a '
    "Pipeline as estimator= prepares source and target rows alike."
)


class Handle:
    """Rows that are never changed: clones and copies of a handle are the handle itself."""

    # No __len__, __iter__, shape or __array__: numpy, which holds the parameters of a grid search,
    # would take a handle for a sequence.

    def _hold(self, **attributes):
        vars(self).update({name: _read_only(value) for name, value in attributes.items()})

    def __setattr__(self, name, value):
        self.__delattr__(name)

    def __delattr__(self, name):
        raise AttributeError(
            f"{type(self).__name__} is immutable, so that clones can share it; make a new one."
        )

    def __sklearn_clone__(self):
        return self

    __copy__ = __sklearn_clone__

    def __deepcopy__(self, memo):
        return self

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_numbers"}

    def __setstate__(self, state):
        self._hold(**state)  # arrays come writeable out of a pickle

    @property
    def n_rows(self):
        """Rows, all sources together."""
        return self.X.shape[0]

    @property
    def n_features(self):
        """Columns of X."""
        return self.X.shape[1]

    @property
    def feature_names(self):
        """Column names of a data frame as a list, or None."""
        return column_names(self.X)

    def numbers(self):
        """X as finite float64 numbers, an ndarray (C-ordered) or csr matrix; converted once."""
        if "_numbers" not in vars(self):
            self._hold(_numbers=check_features(type(self).__name__, self.X, REMEDY))
        return self._numbers


class Source(Handle):
    """Labelled rows from elsewhere, to be given to `TransferEstimator` as ``source=``.

    An immutable handle: clones and copies of an estimator share it, however many rows it has, and
    in parallel jobs joblib maps its arrays from disk rather than copying them.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)
        The same columns as the target's rows: in data frames of the same names, in any order.
    y : array-like of shape (n_rows,)
        Numbers or class labels, as those of the target.
    task : array-like of shape (n_rows,), default=None
        Which source each row belongs to: strings or integers. None: all are of one source.
    sample_weight : array-like of shape (n_rows,), default=None
        How often each row counts. Rows of weight zero are left out.

    Attributes
    ----------
    X : ndarray, csr matrix or data frame
        Rows source by source; the rows of source s are ``offsets[s]:offsets[s + 1]``.
    y : ndarray of shape (n_rows,)
    sample_weight : ndarray of shape (n_rows,) or None
    labels : ndarray of shape (n_sources,)
        The sources, sorted; ``["source"]`` without `task`.
    offsets : ndarray of shape (n_sources + 1,)

    Raises
    ------
    ValueError
        For lengths that differ, missing labels, labels of mixed kinds, duplicate column names, bad
        weights, and for no rows.

    Notes
    -----
    **Rows are not copied** unless they must be sorted by source, or some have weight zero: the
    handle holds read-only views of the arrays given, and shallow copies of data frames. Nothing
    that uses it changes them. If you change the arrays in place afterwards, the handle sees that;
    pass ``X.copy()`` where you mean to. (Data frames of pandas 3 and polars protect themselves.)

    Two sources are equal only if they are the same object.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source
    >>> rng = np.random.default_rng(0)
    >>> Source(rng.normal(size=(500, 3)), rng.normal(size=500), task=np.arange(500) % 4)
    Source(500 rows x 3 features, 4 sources)
    """

    def __init__(self, X, y, task=None, sample_weight=None):
        X, y = _read_table(X, "Source"), read_target(y)
        _check_length(y, X, "y")
        weight = check_weights(sample_weight, len(y))
        labels, codes = np.array([ONE_SOURCE], dtype=object), None
        if task is not None:
            encoded, codes = TaskLabels.from_rows(task, "task=")
            _check_length(codes, X, "task")
            labels = encoded.classes
        rows = _rows_to_take(codes, weight)
        if rows is not None:
            X, y = take_rows(X, rows), y[rows]
            weight = None if weight is None else weight[rows]
            codes = None if codes is None else codes[rows]
        if codes is None:
            sizes = np.array([len(y)])
        else:
            sizes = np.bincount(codes, minlength=len(labels))
            labels, sizes = labels[sizes > 0], sizes[sizes > 0]
        self._hold(
            X=X, y=y, sample_weight=weight, labels=labels, offsets=np.append(0, np.cumsum(sizes))
        )

    def distinct(self):
        """The distinct values of y, sorted; found once."""
        if "_distinct" not in vars(self):
            self._hold(_distinct=np.unique(self.y))
        return self._distinct

    @property
    def n_sources(self):
        """Number of sources."""
        return len(self.labels)

    def __repr__(self):
        sources = f"{self.n_sources} source{'s' if self.n_sources > 1 else ''}"
        return f"Source({self.n_rows} rows x {self.n_features} features, {sources})"


class Unlabeled(Handle):
    """Target rows without labels, to be given to `TransferEstimator` as ``unlabeled=``.

    An immutable handle, as `Source` is; rows are not copied.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)

    Attributes
    ----------
    X : ndarray, csr matrix or data frame

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Unlabeled
    >>> Unlabeled(np.zeros((200, 3)))
    Unlabeled(200 rows x 3 features)
    """

    def __init__(self, X):
        self._hold(X=_read_table(X, "Unlabeled"))

    def __repr__(self):
        return f"Unlabeled({self.n_rows} rows x {self.n_features} features)"


def check_kind(X, owner, dates=True):
    """Raise for a table that nothing can be fitted to.

    Parameters
    ----------
    X : table
    owner : str
        Whose table it is, for the error.
    dates : bool
        Whether an array of dates is legal, as a step may make numbers of them.
    """
    if isinstance(X, np.matrix):
        raise ValueError(f"{owner}: X is a numpy matrix; give an array, np.asarray(X).")
    refuse_masked(X, f"{owner}: X")
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind and kind in "cV" + "mM" * (not dates):
        what = "Complex data not supported: " * (kind == "c")  # scikit-learn's words
        raise ValueError(
            f"{what}{owner}: X is an array of type {X.dtype}; it must be numbers, or columns that "
            "preprocessor= or a Pipeline as estimator= makes numbers of."
        )


def _read_table(X, owner):
    X = as_table(X)
    check_kind(X, owner)
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            f"{owner}: X must be a table of one row and one column at least, got shape {X.shape}."
        )
    check_names(X)
    if column_names(X) is not None:
        # Shares the columns; those that the caller replaces later stay as they are here.
        return X.clone() if hasattr(X, "clone") else X.copy(deep=False)
    return sparse.csr_matrix(X) if sparse.issparse(X) else np.asarray(X)


def read_target(y):
    """Labels in one dimension, numbers as numbers and strings as strings; none is missing."""
    if isinstance(y, (list, tuple)):  # numpy would turn [1, "yes"] into strings
        if any(hasattr(value, "__len__") and not isinstance(value, (str, bytes)) for value in y):
            y = _one_a_row(y)
        else:
            y = np.array(y, dtype=object)
    if is_plain(y, 1):
        return y
    y = np.asarray(y)
    if y.ndim != 1 and not (y.ndim == 2 and y.shape[1] == 1):
        raise ValueError(f"Source: y must be one label a row, got an array of shape {y.shape}.")
    if y.dtype.kind in "mMcV":
        raise ValueError(f"Source: y is of type {y.dtype}; give numbers or class labels.")
    y = column_or_1d(y, warn=True)  # nullable integers stay integers
    if y.dtype.kind in "iufb":
        assert_all_finite(y, input_name="Source: y")
        return y
    if y.dtype.kind == "U":
        return y
    values = y.tolist()
    types = set(map(type, values))
    if all(issubclass(t, str) for t in types):
        return y.astype(object, copy=False)
    missing = [i for i, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(
            f"Source: y has {len(missing)} missing labels, the first in row {missing[0]}; a source "
            "is labelled rows: drop these."
        )
    nested = [
        i for i, value in enumerate(values) if np.ndim(value) or isinstance(value, (set, dict))
    ]
    if nested:
        i = nested[0]
        raise ValueError(
            f"Source: y holds {values[i]!r} of type {type(values[i]).__name__} in row {i}; give "
            "one number or class label a row."
        )
    plain = np.array(values)
    if any(issubclass(t, str) for t in types) or plain.dtype.kind not in "iufb":
        names = ", ".join(sorted(t.__name__ for t in types))
        raise ValueError(f"Source: y has labels of mixed kinds ({names}); make them all one kind.")
    assert_all_finite(plain, input_name="Source: y")
    return plain


def _one_a_row(y):
    """A list of lists as an array of one column, say; raises where they are of several lengths."""
    try:
        return np.array(y)
    except ValueError:
        raise ValueError(
            "Source: y has entries of several lengths; give one number or class label a row."
        ) from None


def _check_length(values, X, name):
    if len(values) != X.shape[0]:
        raise ValueError(
            f"Source: X has {X.shape[0]} rows, but {name} has {len(values)}; give one label a row."
        )


def _rows_to_take(codes, weight):
    """Rows of positive weight in the order of their sources; None where all are, as they stand."""
    rows = None
    if weight is not None and (weight == 0).any():
        rows = np.flatnonzero(weight)
    if codes is not None:
        codes = codes if rows is None else codes[rows]
        if (np.diff(codes) < 0).any():
            order = np.argsort(codes, kind="stable")
            rows = order if rows is None else rows[order]
    return rows


def _read_only(value):
    """Arrays as read-only views; the caller's own stay writeable."""
    if sparse.issparse(value):
        parts = tuple(_read_only(part) for part in (value.data, value.indices, value.indptr))
        return sparse.csr_matrix(parts, shape=value.shape)
    if not isinstance(value, np.ndarray):
        return value
    value = value.view()
    value.flags.writeable = False
    return value
