"""Columns of tables: data frames of any library, arrays and sparse matrices."""

import numbers

import numpy as np

__all__ = [
    "are_names", "as_table", "check_names", "column_names", "drop_columns", "find_column",
    "find_columns", "frame_library", "has_columns", "has_name", "is_category", "is_missing",
    "is_plain", "shown_names", "stack_frames", "take_column", "unwrap",
]  # fmt: skip


# --------------------------------------------------------------------------------- which library


def frame_library(table):
    """Return the name of the library that defines the class of a table, or its base class."""
    modules = [c.__module__.partition(".")[0] for c in type(table).__mro__]
    known = [name for name in modules if name in ("pandas", "polars", "numpy", "scipy")]
    return known[0] if known else modules[0]


def _as_narwhals(X):
    """Return a frame as narwhals' frame; `X` itself if narwhals does not support it."""
    import narwhals as nw  # not needed for frames of pandas and polars

    return nw.from_native(X, pass_through=True)


def unwrap(X, name="X"):
    """Return the frame or series inside a narwhals wrapper, or else `X` itself.

    Raises
    ------
    TypeError
        For a lazy frame or a query. The message does not show it, because that would run the query.
    """
    if isinstance(X, (np.ndarray, list, tuple, str, numbers.Number)) or X is None:
        return X
    if type(X).__name__ in ("DataFrame", "Series") and frame_library(X) in ("pandas", "polars"):
        return X
    # Of the class, because the columns of a lazy frame may take a query.
    if hasattr(X, "tocsr") or not hasattr(type(X), "columns"):
        return X.to_native() if hasattr(X, "to_native") else X
    frame = _as_narwhals(X)
    if type(frame).__name__ == "LazyFrame":
        raise TypeError(
            f"{name} is a {type(frame.to_native()).__name__} "
            f"({type(frame.to_native()).__module__}), a lazy frame whose rows are not in memory: "
            "collect it into a data frame first, for example by .collect() (polars), .df() "
            "(DuckDB) or .compute() (Dask)."
        )
    return frame.to_native() if type(frame).__name__ == "DataFrame" else X


def as_table(X, name="X"):
    """Return `X` if columns can be selected from it; convert lists to arrays, COO etc. to CSR."""
    if type(X) is np.ndarray:
        return X
    X = unwrap(X, name)
    if hasattr(X, "tocsr"):
        return X if X.format in ("csr", "csc") else X.tocsr()
    if hasattr(X, "shape"):
        return X
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"{name} has rows of several lengths; pass a table with the same number of columns in "
            f"every row. ({error})"
        ) from error
    # numpy would turn numbers next to strings into strings.
    return np.array(X, dtype=object) if array.dtype.kind in "US" else array


def is_plain(array, ndim):
    """Return whether `array` is an ndarray of finite float64 numbers, which needs no checks.

    scikit-learn's checks first test for many kinds of data frames, which takes longer than fitting
    a few rows. If the sum overflows the answer is False, and the checks decide.
    """
    if type(array) is not np.ndarray or array.dtype != np.float64 or array.ndim != ndim:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


# ---------------------------------------------------------------------------------- which columns


def column_names(X):
    """Return the column names of a data frame as a list, or None for other tables."""
    if not hasattr(X, "columns") or not hasattr(X, "__getitem__") or not hasattr(X, "shape"):
        return None
    if frame_library(X) in ("pandas", "polars"):
        return list(X.columns)
    return list(_as_narwhals(X).columns)


def check_names(X):
    """Return the names of the columns, or None, and raise if two columns have the same name."""
    names = column_names(X)
    if names is not None and len(set(map(str, names))) < len(names):
        texts = list(map(str, names))
        repeated = sorted({text for text in texts if texts.count(text) > 1})
        raise ValueError(
            f"X has duplicate column names {repeated}; rename them so that all names differ."
        )
    return names


def find_column(X, column, parameter="task_column"):
    """Return the position of a column of `X`, given by name or index.

    A name matches a column of this name, or else the only column that ends in ``__name``
    (a ColumnTransformer renames ``shop`` to ``remainder__shop``). Errors mention `parameter`.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    names = check_names(X)
    if isinstance(column, bool) or not isinstance(column, (str, numbers.Integral)):
        raise ValueError(
            f"{parameter}={column!r} is of type {type(column).__name__}; pass the name of the "
            "column (data frames) or its integer index (arrays)."
        )
    if isinstance(column, str):
        if names is None:
            raise ValueError(
                f"{parameter}={column!r} is a name, but X is a {type(X).__name__} without "
                "column names; pass the integer index of the column, or make X a data frame."
            )
        return _find_name(names, column, parameter)
    n_columns = X.shape[1] if len(getattr(X, "shape", ())) == 2 else 0
    index = int(column)
    if not -n_columns <= index < n_columns:
        raise ValueError(
            f"{parameter}={index} is out of range: X has {n_columns} columns, counted from 0."
        )
    return index % n_columns


def find_columns(X, columns, parameter="task_column"):
    """Return the positions of one or several columns, in the order given.

    Raises
    ------
    ValueError
        As in `find_column`; also for an empty list, or if a column is named twice.
    """
    if columns is None or isinstance(columns, (str, bytes, numbers.Number)):
        return [find_column(X, columns, parameter)]
    try:
        listed = list(columns)
    except TypeError:
        return [find_column(X, columns, parameter)]  # raises
    if not listed or isinstance(columns, (dict, set, frozenset)):
        raise ValueError(
            f"{parameter}={columns!r} names no columns in order; pass a name, an index, or a list "
            "of these."
        )
    found = [find_column(X, column, parameter) for column in listed]
    if len(set(found)) < len(found):
        raise ValueError(f"{parameter}={columns!r} names a column twice; list each column once.")
    return found


def are_names(columns):
    """Return whether one column or all of several columns are given by name."""
    listed = [columns] if isinstance(columns, str) or not hasattr(columns, "__iter__") else columns
    return all(isinstance(column, str) for column in listed)


def has_columns(X, columns):
    """Return whether `X` has the columns, if they are given by name; False for an index."""
    if not are_names(columns):
        return False
    try:
        find_columns(X, columns)
    except ValueError:
        return False
    return True


def has_name(names, name):
    """Return whether `find_column` would find a name, or several columns that match it."""
    return name in names or bool(_with_suffix(names, name))


def _with_suffix(names, name):
    return [i for i, c in enumerate(names) if isinstance(c, str) and c.endswith("__" + name)]


def _find_name(names, name, parameter):
    if name in names:
        return names.index(name)
    matches = _with_suffix(names, name)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(
            f"{parameter}={name!r} could be any of {[names[i] for i in matches]}; "
            "give the full name of one."
        )
    raise ValueError(
        f"{parameter}={name!r} is not a column of X, whose columns are: {shown_names(names)}."
    )


def shown_names(names):
    """Return the first twenty names as text for an error message."""
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")


def drop_columns(X, positions):
    """Return `X` without the columns at `positions`; the caller's object does not change."""
    names = column_names(X)
    if names is None:
        return X[:, np.delete(np.arange(X.shape[1]), positions)]
    kept = [c for i, c in enumerate(names) if i not in positions]
    if frame_library(X) in ("pandas", "polars"):
        return X[kept]
    return _as_narwhals(X).select(kept).to_native()


def take_column(X, index):
    """Return column `index` of a frame, array or sparse matrix, in one dimension."""
    names = column_names(X)
    if names is not None:
        return X[names[index]]
    column = X[:, [index]]
    return np.ravel(column.toarray() if hasattr(column, "toarray") else column)


def stack_frames(frames):
    """Stack frames of one library that narwhals supports."""
    import narwhals as nw

    return nw.concat([nw.from_native(frame) for frame in frames]).to_native()


# ----------------------------------------------------------------------------- contents of columns


def is_missing(value):
    """Return whether a value is None, NaN, or pandas' NA or NaT (NA != NA is NA)."""
    if isinstance(value, numbers.Real):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def is_category(column):
    """Return whether a column of a frame has a categorical type."""
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "name", None) == "category":  # pandas
        return True
    # polars, and pyarrow's dictionaries
    kind = str(dtype if dtype is not None else getattr(column, "type", ""))
    return kind.startswith(("Categorical", "Enum", "dictionary"))
