"""Encoding of the columns of a table as numbers, with ``preprocessor="auto"``."""

import datetime
import enum
import numbers
import uuid
from decimal import Decimal

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from .._warnings import warn_user
from .columns import column_names, is_category, is_missing

__all__ = [
    "auto_preprocessor",
    "sources_of_auto",
    "unreadable_columns",
    "warn_of_forgotten_task",
]

MISSING = "(missing)"
# Levels with fewer rows, and levels beyond the most frequent ones, share one column: a coefficient
# from one or two rows is noise, and every column costs time in every task.
MIN_LEVEL_ROWS = 5
MAX_LEVELS = 30
# A column of whole numbers looks like codes if its number of distinct values lies between these,
# unless they are years.
_FEW, _MOST_CODES, _YEARS = 3, 20, (1500, 2500)
# A column looks like the task if it has at least this many levels, and rows per level on average.
_LEAST_TASKS, _LEAST_TASK_ROWS = 5, 3
_NUMBERS = (numbers.Real, Decimal, np.bool_)
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
_LEVELS = (str, bytes, *_NUMBERS, enum.Enum, uuid.UUID)
# Strings that mean a missing number in a column of numbers stored as strings.
_GAPS = {"", "na", "n/a", "nan", "null", "none", "<na>", "?", "-", "."}


def auto_preprocessor(X, categorical=None, hints=False):
    """Return an unfitted transformer that encodes each column of `X` according to its contents.

    In columns of numbers and booleans, gaps are filled with the median, and an indicator column
    marks them; columns of strings that are all numbers are read as numbers. All other columns are
    one-hot encoded, with a level for missing values. Numbers are not scaled: the models standardise
    by themselves, and so coefficients stay in the columns' units.

    Parameters
    ----------
    X : data frame, ndarray or sparse matrix of shape (n_samples, n_features)
    categorical : list of int or None
        Positions of columns that are categories regardless of their contents.
    hints : bool
        Whether to warn about columns that are possibly misread: categories with too many levels
        and, if `categorical` is None, numbers that look like codes.

    Returns
    -------
    ColumnTransformer or SimpleImputer
        The latter for a sparse matrix, whose columns are numbers.

    Raises
    ------
    ValueError
        For a column of dates, complex numbers, lists and the like, naming it.
    """
    options = {"strategy": "median", "add_indicator": True, "keep_empty_features": True}
    if sparse.issparse(X):
        if categorical:
            raise ValueError(
                f"categorical_columns names {len(categorical)} columns, but X is sparse, and all "
                "its columns are numbers: pass a data frame or a dense array."
            )
        return MedianImputer(**options)
    imputer = MedianImputer(**options, copy=False)  # `read_numbers` has made a copy
    names = column_names(X)
    columns = _columns(X)
    chosen = set(categorical or ())
    kinds = [
        _kind(column, repr(label), is_categorical=i in chosen)
        for i, (label, column) in enumerate(columns)
    ]
    if hints:
        _warn_of_cut_levels(columns, kinds)
        if categorical is None:
            _warn_of_codes(columns, kinds)
    by_name = names is not None and all(isinstance(name, str) for name in names)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=MIN_LEVEL_ROWS,
        max_categories=MAX_LEVELS,
        sparse_output=False,
    )
    steps = []
    for kind, reader, last in (
        ("numbers", read_numbers, imputer),
        ("categories", read_categories, one_hot),
    ):
        positions = [i for i, k in enumerate(kinds) if k == kind]
        if positions:
            labels = [columns[i][0] for i in positions]
            options = {"labels": labels}
            if kind == "categories":
                options["others"] = [
                    columns[i][0] for i in positions if not _is_text(columns[i][1])
                ]
            read = FunctionTransformer(reader, feature_names_out="one-to-one", kw_args=options)
            steps.append(
                (
                    kind,
                    Pipeline([("read", read), ("encode", last)]),
                    labels if by_name else positions,
                )
            )
    return ColumnTransformer(steps, sparse_threshold=0.0, verbose_feature_names_out=False)


class MedianImputer(SimpleImputer):
    """SimpleImputer of medians; without masked arrays it is ten times as fast."""

    def fit(self, X, y=None):
        """Compute the median of every column, and find the columns with gaps.

        Parameters
        ----------
        X : {ndarray, sparse matrix} of shape (n_samples, n_features)
        y : object
            Ignored.

        Returns
        -------
        self : object
        """
        return super().fit(X if sparse.issparse(X) else _two_rows(X))


def _two_rows(X):
    """Return a table of two rows with the same medians and the same columns with gaps as `X`."""
    medians, gap = np.full(X.shape[1], np.nan), np.zeros(X.shape[1], dtype=bool)
    for j in range(X.shape[1]):  # column by column, because a copy of all takes memory
        missing = np.isnan(X[:, j])
        gap[j] = missing.any()
        if not missing.all():
            medians[j] = np.median(X[~missing, j])
    return np.vstack([medians, np.where(gap, np.nan, medians)])


def plain_imputer(imputer):
    """Return a fitted `MedianImputer` as a `SimpleImputer`."""
    plain = SimpleImputer(**imputer.get_params())
    vars(plain).update(vars(imputer))
    plain.copy = True  # it must not change the caller's table
    return plain


def reader_of(step):
    """Return the function by which a step of a fitted "auto" reads columns; None for others."""
    reader = getattr(step[0], "func", None) if isinstance(step, Pipeline) else None
    return reader if reader in (read_numbers, read_categories) else None


def sources_of_auto(preprocessor, n_features):
    """Return the feature behind each output of a fitted "auto"; None for other transformers.

    Returns
    -------
    ndarray of shape (n_outputs,) or None
        Positions of features.
    """
    if isinstance(preprocessor, SimpleImputer):
        return _sources_of_imputer(preprocessor, np.arange(n_features))
    if not isinstance(preprocessor, ColumnTransformer):
        return None
    out = []
    for kind, step, columns in preprocessor.transformers_:
        if reader_of(step) is None:
            return None
        names = getattr(preprocessor, "feature_names_in_", ())
        position = {name: i for i, name in enumerate(names)}
        sources = np.array([position.get(c, c) for c in columns], dtype=np.int64)
        if kind == "numbers":
            out.append(_sources_of_imputer(step[-1], sources))
        else:
            out.append(np.repeat(sources, [_n_levels(step[-1], j) for j in range(len(sources))]))
    return np.concatenate(out) if out else np.empty(0, dtype=np.int64)


def _sources_of_imputer(imputer, columns):
    gaps = imputer.indicator_.features_ if imputer.indicator_ is not None else []
    return np.concatenate([columns, columns[np.asarray(gaps, dtype=np.int64)]])


def _n_levels(encoder, j):
    """Return the number of outputs of column `j` of a one-hot encoder."""
    rare = encoder.infrequent_categories_[j]
    return len(encoder.categories_[j]) - (0 if rare is None else len(rare) - 1)


# ----------------------------------------------------------------------------- contents of columns


def _columns(X):
    """Return pairs of a label and a column; the label is the name or the index of the feature."""
    names = column_names(X)
    if names is None:
        return [(i, X[:, i]) for i in range(X.shape[1])]
    return [(name, X[name]) for name in names]


def _kind(column, label, is_categorical=False):
    """Return whether a column holds "numbers" or "categories", and raise if neither.

    Strings are numbers if all of them can be read as numbers, and none looks like a code.
    """
    if is_category(column):
        return "categories"
    values = np.asarray(column)
    if values.ndim != 1:
        _refuse(label, str(column.dtype), False)
    if values.dtype.kind in "biuf":
        return "categories" if is_categorical else "numbers"
    if values.dtype.kind in "mMcV":
        _refuse(label, values.dtype.name, values.dtype.kind in "mM")
    present = [v for v in values.tolist() if not is_missing(v)]
    types = set(map(type, present))
    for found in types:
        if not issubclass(found, _LEVELS):
            _refuse(label, found.__name__, issubclass(found, _DATES))
    if is_categorical or not present:
        return "categories"
    numeric = all(issubclass(t, _NUMBERS) for t in types) or are_numeric_strings(present)
    return "numbers" if numeric else "categories"


def unreadable_columns(X):
    """Return the positions of the columns that `auto_preprocessor` refuses."""
    found = []
    for i, (label, column) in enumerate(_columns(X)):
        try:
            _kind(column, repr(label))
        except ValueError:
            found.append(i)
    return found


def _refuse(label, found, dates):
    what = "dates or times" if dates else f"values of type {found}"
    raise ValueError(
        f"column {label} of X holds {what}, which preprocessor='auto' cannot encode: leave "
        f"it out with exclude_columns=[{label}], or pass a transformer that encodes it as "
        "preprocessor=."
    )


def are_numeric_strings(values):
    """Return whether all values, some of them strings, can be read as numbers, and not only NaN."""
    try:
        read = [_number(value) for value in set(values)]
    except (TypeError, ValueError):
        return False
    return not all(value != value for value in read)


def _number(value):
    """Return a value as a float; NaN for a string that means a missing number.

    Strings with a leading zero, such as a postcode, or with underscores are refused as codes.
    """
    if not isinstance(value, (str, bytes)):
        return float(value)
    text = value.decode() if isinstance(value, bytes) else value
    text = text.strip()
    if text.casefold() in _GAPS:
        return np.nan
    digits = text.lstrip("+-")
    if "_" in text or (digits[:1] == "0" and digits[1:2].isdigit()):
        raise ValueError(f"{value!r} looks like a code")
    return float(text)


# --------------------------------------------------------------------------------- reading columns


def read_numbers(X, labels):
    """Return columns as float64, with NaN for missing values.

    Raises
    ------
    ValueError
        For a value that is infinite or not a number, naming its column.
    """
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf":
        out = X.astype(np.float64)
    else:
        columns = [column for _, column in _columns(X)]
        out = np.column_stack(list(map(_read_column, labels, columns)))
    infinite = np.isinf(out).any(axis=0)
    if infinite.any():
        raise ValueError(
            f"column {labels[int(np.argmax(infinite))]!r} of X contains infinity; make it a "
            "missing value (NaN), or drop the rows concerned."
        )
    return out


def _read_column(label, column):
    values = np.asarray(column)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    try:
        read = [np.nan if is_missing(v) else _number(v) for v in values.tolist()]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"column {label!r} of X held numbers in fit, but now holds another value: {error}. "
            "Correct it, or make it a missing value."
        ) from None
    return np.array(read, dtype=np.float64)


def _is_text(column):
    """Return whether all values of a column are strings or missing."""
    values = np.asarray(column, dtype=object).tolist()
    return all(issubclass(t, str) for t in {type(v) for v in values if not is_missing(v)})


def read_categories(X, labels, others=()):
    """Return columns as strings; missing values form one level.

    `others` are the columns with values other than strings in fit; only `to_sklearn` uses them.
    """
    out = np.empty(X.shape, dtype=object)
    for j, (_, column) in enumerate(_columns(X)):
        out[:, j] = [_level(value) for value in np.asarray(column).tolist()]
    return out


def _level(value):
    """Return the name of a level. 1 and 1.0 are equal: gaps turn integers into floats."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return MISSING
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return str(int(value)) if float(value).is_integer() else str(value)
    return value.decode() if isinstance(value, bytes) else str(value)


# --------------------------------------------------------------- warnings about misread columns


def _levels_of(column):
    return {_level(value) for value in set(np.asarray(column).tolist())}


def _warn_of_cut_levels(columns, kinds):
    many = [
        (label, f"{n} categories")
        for (label, column), kind in zip(columns, kinds, strict=True)
        if kind == "categories" and (n := len(_levels_of(column))) > MAX_LEVELS
    ]
    if many:
        warn_user(
            f"preprocessor='auto' encodes at most {MAX_LEVELS} categories of a column separately "
            "and all others together, which concerns {}. If a column names the task, set "
            "task_column=; grouping_columns= of the multi-task estimators gives every category an "
            "effect; exclude_columns= leaves the column out.",
            many,
        )


def _warn_of_codes(columns, kinds):
    codes = []
    for (label, column), kind in zip(columns, kinds, strict=True):
        if kind == "numbers":
            is_text = np.asarray(column).dtype.kind not in "biuf"
            n = _n_codes(_read_column(label, column), is_text)
            codes += [(label, f"{n} distinct{', stored as strings' * is_text}")] if n else []
    if codes:
        warn_user(
            "preprocessor='auto' treats whole numbers as numeric: {}. If they are codes of "
            "categories, name them in categorical_columns=; if all are numbers, set "
            "categorical_columns=[].",
            codes,
        )


def _n_codes(values, is_text):
    """Return the number of distinct whole numbers if they look like codes, else 0.

    Few distinct numbers look like codes; numbers stored as strings always do.
    """
    values = values[np.isfinite(values)]
    head = np.unique(values[:1000])
    if (len(head) > _MOST_CODES and not is_text) or (head != np.rint(head)).any():
        return 0
    found = np.unique(values)
    whole = (found == np.rint(found)).all() and len(found) >= _FEW and found[0] >= 0
    years = whole and _YEARS[0] <= found[0] and found[-1] <= _YEARS[1]
    few = len(found) <= min(_MOST_CODES, len(values) // MIN_LEVEL_ROWS)
    return len(found) if whole and (few or is_text) and not years else 0


def warn_of_forgotten_task(X, categorical=None):
    """Warn about columns that look like the task, if no task was given."""
    if sparse.issparse(X):
        return
    found = []
    for i, (label, column) in enumerate(_columns(X)):
        if i not in (categorical or ()) and _kind(column, repr(label)) == "categories":
            n = len(_levels_of(column))
            if _LEAST_TASKS <= n <= X.shape[0] / _LEAST_TASK_ROWS:
                found.append((label, f"{n} levels"))
    if found:
        warn_user(
            f"no task was given, but {{}} may name it: set task_column={found[0][0]!r}; if it is a "
            f"feature, set categorical_columns=[{found[0][0]!r}].",
            found,
        )
