"""Features of a lazy frame as expressions of numbers, also with ``preprocessor="auto"``."""

import numpy as np
from sklearn.compose import ColumnTransformer

from ..tasks.auto import (
    MAX_LEVELS,
    MIN_LEVEL_ROWS,
    MISSING,
    are_numeric_strings,
    reader_of,
)
from ..tasks.features import make_preprocessor
from .frames import collect

__all__ = ["check_complete", "fit_auto", "number", "read_columns", "to_numbers"]

# A column with more levels is probably an id.
_MOST_LEVELS = 100_000


def read_columns(schema, names, what, kinds=("numbers", "text")):
    """Return "numbers", "whole numbers", "booleans" or "text" for each column, or raise.

    Parameters
    ----------
    schema : dict from str to narwhals.DType
    names : list of str
    what : str
        What the columns are, in the error.
    kinds : tuple of str
        Kinds that are allowed; "numbers" includes whole numbers and booleans.
    """
    out = {}
    for name in names:
        dtype, kind = schema[name], "text"
        if dtype.is_integer():
            kind = "whole numbers"
        elif dtype.is_numeric():
            kind = "numbers"
        elif str(dtype) == "Boolean":
            kind = "booleans"
        if kind == "text" and not str(dtype).startswith(("String", "Categorical", "Enum")):
            raise TypeError(
                f"column {name!r} of X is of type {dtype}, which is neither numbers nor strings: "
                f"leave it out with exclude_columns=[{name!r}], or convert it in the frame."
            )
        if kind == "text" and "text" not in kinds:
            remedy = "convert it to numbers in the frame."
            if what == "a feature":
                remedy = (
                    'X must have numbers besides the task column; preprocessor="auto" encodes '
                    "strings, and exclude_columns= leaves out columns that are not features."
                )
            raise ValueError(f"column {name!r} of X, {what}, is of type {dtype}: {remedy}")
        out[name] = kind
    return out


def number(name):
    """Return a column of numbers as an expression of float64."""
    import narwhals as nw

    return nw.col(name).cast(nw.Float64)


def level(name, kind):
    """Return a column of categories as an expression of strings, gaps being a level."""
    import narwhals as nw

    column = nw.col(name)
    if kind == "numbers":
        raise ValueError(
            f"column {name!r} of X, a lazy frame, holds numbers that need not be whole, but is "
            "encoded as categories: convert it to integers or strings in the frame."
        )
    if kind == "booleans":
        text = nw.when(column).then(nw.lit("True")).otherwise(nw.lit("False"))
        return nw.when(column.is_null()).then(nw.lit(MISSING)).otherwise(text)
    return column.cast(nw.String).fill_null(MISSING)


def check_complete(summary, names, n_features=0):
    """Raise a ValueError for gaps and infinite numbers.

    `names` are those of all columns, of which the first `n_features` are features.
    """
    gaps = np.flatnonzero(summary.missing)
    if len(gaps):
        listed = ", ".join(f"{names[j]} ({summary.missing[j]} rows)" for j in gaps[:10])
        remedy = "Filter these rows in the frame."
        if gaps[0] < n_features:
            remedy = (
                "Fill them in the frame, for example by fill_null, or filter these rows; "
                "preprocessor='auto' learns to fill gaps in memory only, as a median needs all "
                "numbers at once."
            )
        raise ValueError(
            f"X, a lazy frame of {summary.n_rows} rows, has missing values: {listed}. {remedy}"
        )
    sizes = np.maximum(np.abs(summary.low), np.abs(summary.high))
    bad = np.flatnonzero(~np.isfinite(summary.mean) | ~(sizes < 1e150))
    if len(bad):
        raise ValueError(
            f"{names[bad[0]]} of X, a lazy frame, contains NaN, infinity or numbers beyond 1e150; "
            "filter or correct these rows in the frame."
        )


def fit_auto(frame, proto, kinds, categorical, means, progress):
    """Return the fitted preprocessor of ``preprocessor="auto"``, from counts of levels.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    proto : native data frame
        The features, without rows.
    kinds : dict from str to str
        Kinds of the features, as `read_columns` returns them.
    categorical : list of int or None
        Positions of the features that are categories.
    means : dict from str to float
        Means of the features that are numbers.
    progress : callable
    """
    import narwhals as nw

    names, chosen = list(kinds), {list(kinds)[j] for j in categorical or ()}
    columns, counted = {}, {}
    for name, kind in kinds.items():
        if kind != "text" and name not in chosen:
            columns[name] = [means[name]]
            continue
        progress(f"query of the levels of {name!r}")
        counted[name] = _levels(frame, name, kind, name in chosen)
    # Where all levels of a column are rare, the table is small, and the counts are taken as they
    # are: rows that fill up would make a level frequent.
    exact = any(counts.max() < MIN_LEVEL_ROWS for _, counts in counted.values())
    for name, (levels, counts) in counted.items():
        short = counts if exact else _short_counts(counts)
        pairs = zip(levels, short.tolist(), strict=True)
        columns[name] = [text for text, n in pairs for _ in range(n)]
    n = max(map(len, columns.values()))
    for name, values in columns.items():
        # Rows that only fill up repeat the first level, which is the most frequent one.
        columns[name] = values + values[:1] * (n - len(values))
    implementation = nw.from_native(proto).implementation
    small = nw.from_dict({name: columns[name] for name in names}, backend=implementation)
    small = small.to_native()
    return make_preprocessor("auto", small, categorical, hints=True).fit(small)


def _levels(frame, name, kind, is_categorical):
    """Return the levels of a column and their counts, the most frequent ones first."""
    import narwhals as nw

    query = frame.select(level(name, kind).alias("level")).group_by("level")
    query = query.agg(nw.len().alias("n"))
    found = collect(lambda: query.head(_MOST_LEVELS + 1), f"the levels of {name!r}")
    if len(found) > _MOST_LEVELS:
        raise ValueError(
            f"column {name!r} of X has more than {_MOST_LEVELS} levels: it looks like an id. Leave "
            f"it out with exclude_columns=[{name!r}], or name it in task_column."
        )
    present = [text for text in found["level"].to_list() if text != MISSING]
    if kind == "text" and present and not is_categorical and are_numeric_strings(present):
        raise ValueError(
            f"column {name!r} of X, a lazy frame, has numbers that are stored as strings: convert "
            f"it to numbers in the frame, or name it in categorical_columns=[{name!r}] if they are "
            "codes of categories."
        )
    pairs = sorted(zip(found["n"].to_list(), found["level"].to_list(), strict=True))[::-1]
    return [text for _, text in pairs], np.array([n for n, _ in pairs], dtype=np.int64)


def _short_counts(counts):
    """Return small counts that have the same order of frequency and the same rare levels.

    The counts of levels that are too many to be encoded are all the least one that is not rare.
    """
    frequent = counts >= MIN_LEVEL_ROWS
    least = counts[frequent][: MAX_LEVELS + 1].min()
    ranks = np.unique(counts[counts >= least], return_inverse=True)[1]
    short = np.where(frequent, MIN_LEVEL_ROWS, counts)
    short[counts >= least] = MIN_LEVEL_ROWS + 1 + ranks
    return short


def to_numbers(preprocessor, names, kinds):
    """Return the outputs of a fitted "auto" as expressions of float64; of None, the features.

    Parameters
    ----------
    preprocessor : ColumnTransformer or None
    names : list of str
        Names of the features.
    kinds : dict from str to str

    Raises
    ------
    ValueError
        For any other transformer.
    """
    if preprocessor is None:
        return [number(name) for name in names]
    if not isinstance(preprocessor, ColumnTransformer):
        _refuse(preprocessor)
    out = []
    for kind, step, columns in preprocessor.transformers_:
        if reader_of(step) is None:
            _refuse(preprocessor)
        columns = [c if isinstance(c, str) else names[c] for c in columns]
        if kind == "numbers":
            out += _imputed(step[-1], columns)
        else:
            for j, name in enumerate(columns):
                out += _one_hot(step[-1], j, level(name, kinds[name]))
    return out


def _imputed(imputer, columns):
    """Return columns with gaps filled, and the indicators of gaps."""
    import narwhals as nw

    numbers = [number(name) for name in columns]
    missing = [column.is_null() | column.is_nan() for column in numbers]
    parts = zip(numbers, missing, imputer.statistics_.tolist(), strict=True)
    out = [nw.when(gap).then(nw.lit(value)).otherwise(column) for column, gap, value in parts]
    gaps = imputer.indicator_.features_ if imputer.indicator_ is not None else []
    return out + [missing[j].cast(nw.Float64) for j in gaps]


def _one_hot(encoder, j, column):
    """Return the indicators of the levels of column `j` of a one-hot encoder."""
    import narwhals as nw

    rare = encoder.infrequent_categories_[j]
    levels = encoder.categories_[j].tolist()
    if rare is not None:
        levels = [text for text in levels if text not in set(rare.tolist())]
    out = [(column == text).cast(nw.Float64) for text in levels]
    if rare is None:
        return out
    if not levels:
        return [nw.lit(1.0)]
    return [*out, (~column.is_in(levels)).cast(nw.Float64)]


def _refuse(preprocessor):
    raise ValueError(
        f"preprocessor={type(preprocessor).__name__} transforms rows in memory, but X is a lazy "
        "frame; transform its columns in the frame, or set preprocessor='auto' or None."
    )
