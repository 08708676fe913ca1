"""Features of a lazy frame as expressions of numbers, also with ``preprocessor="auto"``."""

import numpy as np
from sklearn.compose import ColumnTransformer

from ..tasks.auto import MAX_LEVELS, MIN_LEVEL_ROWS, MISSING, reader_of
from ..tasks.features import make_preprocessor
from .frames import collect

__all__ = ["check_complete", "fit_auto", "number", "read_columns", "to_numbers"]

# A column with more levels is probably an id.
_MOST_LEVELS = 100_000


def read_columns(schema, names, what, kinds=("numbers", "text")):
    """Return whether each column holds "numbers" or "text", or raise.

    Parameters
    ----------
    schema : dict from str to narwhals.DType
    names : list of str
    what : str
        What the columns are, in the error.
    kinds : tuple of str
        Kinds that are allowed.
    """
    out = {}
    for name in names:
        dtype = schema[name]
        kind = "numbers" if dtype.is_numeric() or str(dtype) == "Boolean" else "text"
        if kind == "text" and not str(dtype).startswith(("String", "Categorical", "Enum")):
            raise TypeError(
                f"column {name!r} of X is of type {dtype}, which is neither numbers nor strings: "
                f"leave it out with exclude_columns=[{name!r}], or convert it in the frame."
            )
        if kind not in kinds:
            raise ValueError(
                f"column {name!r} of X, {what}, is of type {dtype}: X must have numbers besides "
                'the task column; preprocessor="auto" encodes strings, and exclude_columns= leaves '
                "out columns that are not features."
            )
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
        column = column.cast(nw.Int64)
    return column.cast(nw.String).fill_null(MISSING)


def check_complete(summary, names):
    """Raise a ValueError for gaps and infinite numbers; `names` are those of all columns."""
    gaps = np.flatnonzero(summary.missing)
    if len(gaps):
        listed = ", ".join(f"{names[j]} ({summary.missing[j]} rows)" for j in gaps[:10])
        raise ValueError(
            f"X, a lazy frame of {summary.n_rows} rows, has missing values: {listed}. Fill them in "
            "the frame, for example by fill_null, or filter these rows; preprocessor='auto' fills "
            "gaps in memory only, as a median needs all numbers at once."
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
    columns = {}
    for name, kind in kinds.items():
        if kind == "numbers" and name not in chosen:
            columns[name] = [means[name]]
            continue
        progress(f"query of the levels of {name!r}")
        levels, counts = _levels(frame, name, kind)
        columns[name] = _column_with(levels, counts)
    n = max(map(len, columns.values()))
    for name, values in columns.items():
        # Rows that only fill up repeat the first level, which is the most frequent one.
        columns[name] = values + values[:1] * (n - len(values))
    implementation = nw.from_native(proto).implementation
    small = nw.from_dict({name: columns[name] for name in names}, backend=implementation)
    small = small.to_native()
    return make_preprocessor("auto", small, categorical, hints=True).fit(small)


def _levels(frame, name, kind):
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
    pairs = sorted(zip(found["n"].to_list(), found["level"].to_list(), strict=True))[::-1]
    return [text for _, text in pairs], np.array([n for n, _ in pairs], dtype=np.int64)


def _column_with(levels, counts):
    """Return a short column whose levels have the same order of frequency and the same rare ones.

    The frequencies of levels that are too many to be encoded are all the least one that is not
    rare.
    """
    frequent = counts >= MIN_LEVEL_ROWS
    least = counts[frequent][: MAX_LEVELS + 1].min(initial=counts.max())
    ranks = np.unique(counts[counts >= least], return_inverse=True)[1]
    short = np.where(frequent, MIN_LEVEL_ROWS, counts)
    short[counts >= least] = MIN_LEVEL_ROWS + 1 + ranks
    return [text for text, n in zip(levels, short.tolist(), strict=True) for _ in range(n)]


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

    values = zip(columns, imputer.statistics_.tolist(), strict=True)
    out = [number(name).fill_null(value) for name, value in values]
    gaps = imputer.indicator_.features_ if imputer.indicator_ is not None else []
    return out + [nw.col(columns[j]).is_null().cast(nw.Float64) for j in gaps]


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
