"""Columns of a table: data frames of any library, arrays and sparse matrices alike."""

import numbers

import numpy as np

__all__ = [
    "are_names", "as_table", "check_names", "column_names", "drop_columns", "find_column",
    "find_columns", "frame_library", "has_columns", "has_name", "is_category", "is_missing",
    "is_plain", "shown_names", "stack_frames", "take_column", "unwrap",
]  # fmt: skip


# --------------------------------------------------------------------------------- which library


def frame_library(table):
    """The name of the library that a table is of; of the base class's where it is a subclass."""
    modules = [c.__module__.partition(".")[0] for c in type(table).__mro__]
    known = [name for name in modules if name in ("pandas", "polars", "numpy", "scipy")]
    return known[0] if known else modules[0]


def _as_narwhals(X):
    """What narwhals makes of a frame; `X` itself where it is none that narwhals knows."""
    import narwhals as nw  # pandas and polars frames do without

    return nw.from_native(X, pass_through=True)


def unwrap(X, name="X"):
    """The frame or series inside a wrapper of narwhals, else `X`; lazy ones are refused.

    Raises
    ------
    TypeError
        For a lazy frame or a query, whose rows are not there. The message does not show it, as
        that would run the query.
    """
    if isinstance(X, (np.ndarray, list, tuple, str, numbers.Number)) or X is None:
        return X
    if type(X).__name__ in ("DataFrame", "Series") and frame_library(X) in ("pandas", "polars"):
        return X
    if hasattr(X, "tocsr") or not hasattr(X, "columns"):
        native = getattr(X, "to_native", None)
        return X if native is None else native()
    frame = _as_narwhals(X)
    if type(frame).__name__ == "LazyFrame":
        raise TypeError(
            f"{name} is a {type(frame.to_native()).__name__} "
            f"({type(frame.to_native()).__module__}), a lazy frame whose rows have not been read: "
            "collect them into a data frame first, such as by .collect() (polars), .df() (DuckDB) "
            "or .compute() (Dask)."
        )
    return frame.to_native() if type(frame).__name__ == "DataFrame" else X


def as_table(X, name="X"):
    """`X` itself if it has columns to choose from; a list as an array, COO and the like as CSR."""
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
            f"{name} is no array: its rows are of several lengths. ({error})"
        ) from error
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


# ---------------------------------------------------------------------------------- which columns


def column_names(X):
    """The column names of a data frame as a list, or None for anything else."""
    if not hasattr(X, "columns") or not hasattr(X, "__getitem__") or not hasattr(X, "shape"):
        return None
    if frame_library(X) in ("pandas", "polars"):
        return list(X.columns)
    return list(_as_narwhals(X).columns)


def check_names(X):
    """Raise where two columns of a frame have one name; returns the names, or None."""
    names = column_names(X)
    if names is not None and len(set(map(str, names))) < len(names):
        repeated = sorted({str(c) for c in names if list(map(str, names)).count(str(c)) > 1})
        raise ValueError(
            f"X has duplicate column names {repeated}; rename them, so that a column name "
            "says which column is meant."
        )
    return names


def find_column(X, column, parameter="task_column"):
    """Resolve a column's name or index to a position in `X`.

    A name is found exactly, or as the one column that ends in ``__name``
    (a ColumnTransformer renames ``shop`` to ``remainder__shop``). `parameter` is what the
    errors call it.

    Raises
    ------
    ValueError
        Naming the column, what was found instead and the remedy.
    """
    names = check_names(X)
    if isinstance(column, bool) or not isinstance(column, (str, numbers.Integral)):
        raise ValueError(
            f"{parameter}={column!r} is of type {type(column).__name__}; give the "
            "column's name (data frames) or its integer index (arrays)."
        )
    if isinstance(column, str):
        if names is None:
            raise ValueError(
                f"{parameter}={column!r} is a name, but X is a {type(X).__name__} without "
                "column names; give the column's integer index, or pass a data frame."
            )
        return _find_name(names, column, parameter)
    n_columns = X.shape[1] if len(getattr(X, "shape", ())) == 2 else 0
    index = int(column)
    if not -n_columns <= index < n_columns:
        raise ValueError(f"{parameter}={index} is out of range: X has {n_columns} columns.")
    return index % n_columns


def find_columns(X, columns, parameter="task_column"):
    """Positions of one column or of several, in the order given.

    Raises
    ------
    ValueError
        As `find_column`; and where there are none, or one of them is named twice.
    """
    if columns is None or isinstance(columns, (str, bytes, numbers.Number)):
        return [find_column(X, columns, parameter)]
    try:
        listed = list(columns)
    except TypeError:
        return [find_column(X, columns, parameter)]  # raises
    if not listed or isinstance(columns, (dict, set, frozenset)):
        raise ValueError(
            f"{parameter}={columns!r} names no columns in order; give a name, an index, or a list "
            "of these."
        )
    found = [find_column(X, column, parameter) for column in listed]
    if len(set(found)) < len(found):
        raise ValueError(f"{parameter}={columns!r} names a column twice.")
    return found


def are_names(columns):
    """Whether one column or several are all given by name."""
    several = [columns] if isinstance(columns, str) or not hasattr(columns, "__iter__") else columns
    return all(isinstance(column, str) for column in several)


def has_columns(X, columns):
    """Whether `X` has columns that are given by name; an index says nothing."""
    if not are_names(columns):
        return False
    try:
        find_columns(X, columns)
    except ValueError:
        return False
    return True


def has_name(names, name):
    """Whether `find_column` would find a name."""
    return name in names or any(isinstance(c, str) and c.endswith("__" + name) for c in names)


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
    raise ValueError(
        f"{parameter}={name!r} is not a column of X, whose columns are: {shown_names(names)}."
    )


def shown_names(names):
    """The names in an error message, the first twenty of them."""
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")


def drop_columns(X, positions):
    """`X` without the columns at `positions`; the caller's object is left as it is."""
    names = column_names(X)
    if names is None:
        return X[:, np.delete(np.arange(X.shape[1]), positions)]
    kept = [c for i, c in enumerate(names) if i not in positions]
    if frame_library(X) in ("pandas", "polars"):
        return X[kept]
    return _as_narwhals(X).select(kept).to_native()


def take_column(X, index):
    """Column `index` of a frame, array or sparse matrix, in one dimension."""
    names = column_names(X)
    if names is not None:
        return X[names[index]]
    column = X[:, [index]]
    return np.ravel(column.toarray() if hasattr(column, "toarray") else column)


def stack_frames(frames):
    """Frames of one library that narwhals knows, one below the other."""
    import narwhals as nw

    return nw.concat([nw.from_native(frame) for frame in frames]).to_native()


# ---------------------------------------------------------------------------------- what they hold


def is_missing(value):
    """None, NaN, and what pandas calls NA and NaT (which cannot be asked: NA != NA is NA)."""
    if isinstance(value, numbers.Real):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def is_category(column):
    """Whether a column of a frame is of a type that says "categories"."""
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "name", None) == "category":  # pandas
        return True
    # polars, and pyarrow's dictionaries
    kind = str(dtype if dtype is not None else getattr(column, "type", ""))
    return kind.startswith(("Categorical", "Enum", "dictionary"))
