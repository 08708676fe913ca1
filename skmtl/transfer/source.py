"""Handles of rows: parameters of an estimator that all its clones share."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import column_or_1d

from .._compat import take_rows
from .._typing import ArrayLike, MatrixLike, NDArray
from .._validation import check_features, check_weights, refuse_masked
from ..tasks.columns import as_table, check_names, column_names, is_missing, is_plain
from ..tasks.encode import TaskLabels

__all__ = ["REMEDY", "Handle", "Source", "Unlabeled", "check_kind", "read_target"]

# The label of the only source of a `Source` without a task.
ONE_SOURCE = "source"
REMEDY = (
    'X must be finite numbers: preprocessor="auto" fills gaps and encodes categories, and a '
    "Pipeline as estimator= prepares source and target rows in the same way."
)


class Handle:
    """Immutable rows: clones and copies of a handle are the handle itself."""

    # No __len__, __iter__, shape or __array__: numpy, which holds the parameters of a grid search,
    # would treat a handle as a sequence.

    X: Any

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
        self._hold(**state)  # unpickled arrays are writeable

    @property
    def n_rows(self) -> int:
        """Number of rows, of all sources together."""
        return self.X.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns of X."""
        return self.X.shape[1]

    @property
    def feature_names(self) -> list | None:
        """Column names of a data frame; None for other tables."""
        return column_names(self.X)

    def numbers(self) -> Any:
        """Return X as finite float64 numbers, which are converted once.

        Returns
        -------
        ndarray or csr matrix of shape (n_rows, n_features)
            An ndarray is C-ordered.

        Raises
        ------
        ValueError
            If a value is not a finite number.
        """
        if "_numbers" not in vars(self):
            self._hold(_numbers=check_features(type(self).__name__, self.X, REMEDY))
        return vars(self)["_numbers"]


class Source(Handle):
    """Labelled rows of one or more sources, for the parameter ``source=`` of `TransferEstimator`.

    An immutable handle: all clones of an estimator share it, however many rows it has, and in
    parallel jobs joblib maps its arrays from disk rather than copying them.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)
        Source rows, with the same columns as the target's rows; in data frames, columns with the
        same names, in any order.
    y : array-like of shape (n_rows,)
        Numbers or class labels, of the same kind as the target's.
    task : array-like of shape (n_rows,), default=None
        The source of each row: strings or integers. None: all rows are of one source.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the rows. Rows of weight zero are left out.

    Attributes
    ----------
    X : ndarray, csr matrix or data frame
        Rows sorted by source; the rows of source s are ``offsets[s]:offsets[s + 1]``.
    y : ndarray of shape (n_rows,)
        Labels of these rows.
    sample_weight : ndarray of shape (n_rows,) or None
        Weights of these rows.
    labels : ndarray of shape (n_sources,)
        The sources, sorted; ``["source"]`` without `task`.
    offsets : ndarray of shape (n_sources + 1,)
        Positions of the first row of each source, and the number of rows.

    Raises
    ------
    ValueError
        If lengths differ, labels are missing or of mixed kinds, column names are duplicate, weights
        are invalid, or there are no rows.

    Notes
    -----
    **Rows are not copied** unless they must be sorted by source, or some have weight zero: the
    handle holds read-only views of the arrays, and shallow copies of data frames. No estimator
    changes them. If you change the original arrays in place, the handle changes too; pass
    ``X.copy()`` to prevent that. (Data frames of pandas 3 and polars protect themselves.)

    Two sources are equal only if they are the same object.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source
    >>> rng = np.random.default_rng(0)
    >>> Source(rng.normal(size=(500, 3)), rng.normal(size=500), task=np.arange(500) % 4)
    Source(500 rows x 3 features, 4 sources)
    """

    y: NDArray
    labels: NDArray

    def __init__(
        self,
        X: MatrixLike,
        y: ArrayLike,
        task: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ):
        table, target = _read_table(X, "Source"), read_target(y)
        _check_length(target, table, "y")
        weight = check_weights(sample_weight, len(target))
        labels, codes = np.array([ONE_SOURCE], dtype=object), np.zeros(len(target), dtype=np.int64)
        if task is not None:
            encoded, codes = TaskLabels.from_rows(task, "task=")
            _check_length(codes, table, "task")
            labels = encoded.classes
        rows = _rows_to_take(codes, weight)
        if rows is not None:
            table, target, codes = take_rows(table, rows), target[rows], codes[rows]
            weight = None if weight is None else weight[rows]
        sizes = np.bincount(codes, minlength=len(labels))
        self._hold(
            X=table, y=target, sample_weight=weight, labels=labels[sizes > 0],
            offsets=np.append(0, np.cumsum(sizes[sizes > 0])),
        )  # fmt: skip

    def distinct(self) -> NDArray:
        """Return the distinct values of y, which are computed once.

        Returns
        -------
        ndarray of shape (n_distinct,)
            Sorted values.
        """
        if "_distinct" not in vars(self):
            self._hold(_distinct=np.unique(self.y))
        return vars(self)["_distinct"]

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return len(self.labels)

    def __repr__(self):
        sources = f"{self.n_sources} source{'s' if self.n_sources > 1 else ''}"
        return f"Source({self.n_rows} rows x {self.n_features} features, {sources})"


class Unlabeled(Handle):
    """Target rows without labels, for the parameter ``unlabeled=`` of `TransferEstimator`.

    An immutable handle, like `Source`; rows are not copied.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)
        Target rows.

    Attributes
    ----------
    X : ndarray, csr matrix or data frame
        The rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Unlabeled
    >>> Unlabeled(np.zeros((200, 3)))
    Unlabeled(200 rows x 3 features)
    """

    def __init__(self, X: MatrixLike):
        self._hold(X=_read_table(X, "Unlabeled"))

    def __repr__(self):
        return f"Unlabeled({self.n_rows} rows x {self.n_features} features)"


def check_kind(X, owner, dates=True):
    """Raise a ValueError for a kind of table that no estimator can be fitted to.

    Parameters
    ----------
    X : table
    owner : str
        The object that the table belongs to, for the error.
    dates : bool
        Whether an array of dates is allowed, because a step may convert them to numbers.
    """
    if isinstance(X, np.matrix):
        raise ValueError(f"{owner}: X is a numpy matrix; pass an array, np.asarray(X).")
    refuse_masked(X, f"{owner}: X")
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind and kind in "cV" + "mM" * (not dates):
        prefix = "Complex data not supported: " * (kind == "c")  # scikit-learn's message
        raise ValueError(
            f"{prefix}{owner}: X is an array of type {X.dtype}; it must be numbers, or columns "
            "that preprocessor= or a Pipeline as estimator= converts to numbers."
        )


def _read_table(X, owner):
    X = as_table(X)
    check_kind(X, owner)
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            f"{owner}: X must be a table of at least one row and one column, got shape {X.shape}."
        )
    check_names(X)
    if column_names(X) is not None:
        # A shallow copy: it keeps columns that the caller replaces later.
        return X.clone() if hasattr(X, "clone") else X.copy(deep=False)
    return sparse.csr_matrix(X) if sparse.issparse(X) else np.asarray(X)


def read_target(y):
    """Return labels in one dimension, either numbers or strings, without missing values."""
    if isinstance(y, (list, tuple)):  # numpy would convert [1, "yes"] to strings
        if any(hasattr(value, "__len__") and not isinstance(value, (str, bytes)) for value in y):
            try:
                y = np.array(y)  # may have one column
            except ValueError:
                raise ValueError(
                    "Source: y has entries of several lengths; pass one number or class label per "
                    "row."
                ) from None
        else:
            y = np.array(y, dtype=object)
    if is_plain(y, 1):
        return y
    y = np.asarray(y)
    if y.ndim != 1 and not (y.ndim == 2 and y.shape[1] == 1):
        raise ValueError(f"Source: y must be one label per row, got an array of shape {y.shape}.")
    if y.dtype.kind in "mMcV":
        raise ValueError(f"Source: y is of type {y.dtype}; pass numbers or class labels.")
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
            f"Source: y has {len(missing)} missing labels, the first in row {missing[0]}; source "
            "rows must be labelled: drop these."
        )
    for i, value in enumerate(values):
        if np.ndim(value) or isinstance(value, (set, dict)):
            raise ValueError(
                f"Source: y holds {value!r} of type {type(value).__name__} in row {i}; pass one "
                "number or class label per row."
            )
    plain = np.array(values)
    if any(issubclass(t, str) for t in types) or plain.dtype.kind not in "iufb":
        names = ", ".join(sorted(t.__name__ for t in types))
        raise ValueError(f"Source: y has labels of mixed kinds ({names}); use only one kind.")
    assert_all_finite(plain, input_name="Source: y")
    return plain


def _check_length(values, X, name):
    if len(values) != X.shape[0]:
        raise ValueError(
            f"Source: X has {X.shape[0]} rows, but {name} has {len(values)}; pass one label per "
            "row."
        )


def _rows_to_take(codes, weight):
    """Return rows of positive weight, sorted by source; None if these are all rows in order."""
    rows = None
    if weight is not None and (weight == 0).any():
        rows = np.flatnonzero(weight)
        codes = codes[rows]
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        rows = order if rows is None else rows[order]
    return rows


def _read_only(value):
    """Return read-only views of arrays; the caller's arrays stay writeable."""
    if sparse.issparse(value):
        parts = tuple(_read_only(part) for part in (value.data, value.indices, value.indptr))
        return sparse.csr_matrix(parts, shape=value.shape)
    if not isinstance(value, np.ndarray):
        return value
    value = value.view()
    value.flags.writeable = False
    return value
