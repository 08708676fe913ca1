"""preprocessor="auto": every column of a table judged by itself, and made numbers of."""

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
# Levels in fewer rows, and those beyond the most frequent, share one column: a coefficient from
# a row or two is noise, and every column costs time in every task.
_MIN_LEVEL_ROWS = 5
_MAX_LEVELS = 30
# Whole numbers look like codes with so many distinct values, unless they are years; and a column
# like a task with so many levels, and so many rows of each on average.
_FEW, _MOST_CODES, _YEARS = 3, 20, (1500, 2500)
_LEAST_TASKS, _LEAST_TASK_ROWS = 5, 3
_NUMBERS = (numbers.Real, Decimal, np.bool_)
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
_LEVELS = (str, bytes, *_NUMBERS, enum.Enum, uuid.UUID)
# How a missing number is written where all numbers are strings.
_GAPS = {"", "na", "n/a", "nan", "null", "none", "<na>", "?", "-", "."}


def auto_preprocessor(X, categorical=None, hints=False):
    """The unfitted transformer that makes numbers of the columns of `X`, judged one by one.

    Numbers and booleans get gaps filled with the median, and a column that says where a gap
    was; strings that are all numbers are read as such. All else is one-hot encoded, a gap being a
    level of its own. Numbers are not scaled: the models standardise by themselves, and so
    coefficients stay in the columns' units.

    Parameters
    ----------
    X : data frame, ndarray or sparse matrix of shape (n_samples, n_features)
    categorical : list of int or None
        Positions of columns that are categories whatever they hold.
    hints : bool
        Whether to warn of columns that may be meant otherwise: levels that are cut, and, with no
        word on `categorical`, numbers that look like codes.

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
                f"categorical_columns names {len(categorical)} columns, but X is sparse, whose "
                "columns are numbers: give a data frame or a dense array."
            )
        return MedianImputer(**options)
    imputer = MedianImputer(**options, copy=False)  # of what `read_numbers` has made
    names = column_names(X)
    columns = _columns(X)
    said = set(categorical or ())
    kinds = [
        _kind(column, repr(label), said_so=i in said) for i, (label, column) in enumerate(columns)
    ]
    if hints:
        _warn_of_cut_levels(columns, kinds)
        if categorical is None:
            _warn_of_codes(columns, kinds)
    by_name = names is not None and all(isinstance(name, str) for name in names)
    steps = []
    for kind, reader, last in (
        ("numbers", read_numbers, imputer),
        ("categories", read_categories, _one_hot()),
    ):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        if mine:
            labels = [i if names is None else names[i] for i in mine]
            options = {"labels": labels}
            if kind == "categories":
                options["others"] = [columns[i][0] for i in mine if not _is_text(columns[i][1])]
            read = FunctionTransformer(reader, feature_names_out="one-to-one", kw_args=options)
            steps.append(
                (kind, Pipeline([("read", read), ("encode", last)]), labels if by_name else mine)
            )
    return ColumnTransformer(steps, sparse_threshold=0.0, verbose_feature_names_out=False)


class MedianImputer(SimpleImputer):
    """A SimpleImputer of medians, which it finds without masked arrays, ten times as fast."""

    def fit(self, X, y=None):
        """Find the median of every column, and the columns with gaps.

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
    """A table of two rows with the medians of `X`, and a gap in every column that has one."""
    middle, gap = np.full(X.shape[1], np.nan), np.zeros(X.shape[1], dtype=bool)
    for j in range(X.shape[1]):  # one after the other, as copies of all take memory
        missing = np.isnan(X[:, j])
        gap[j] = missing.any()
        if not missing.all():
            middle[j] = np.median(X[~missing, j])
    return np.vstack([middle, np.where(gap, np.nan, middle)])


def plain_imputer(imputer):
    """The same as a `SimpleImputer`."""
    plain = SimpleImputer(**imputer.get_params())
    vars(plain).update(vars(imputer))
    plain.copy = True  # its table is the caller's
    return plain


def _one_hot():
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=_MIN_LEVEL_ROWS,
        max_categories=_MAX_LEVELS,
        sparse_output=False,
    )


def sources_of_auto(preprocessor, n_features):
    """Which feature each output of a fitted "auto" is of; None for another transformer.

    Returns
    -------
    ndarray of shape (n_outputs,) or None
    """
    if isinstance(preprocessor, SimpleImputer):
        return _sources_of_imputer(preprocessor, np.arange(n_features))
    if not isinstance(preprocessor, ColumnTransformer):
        return None
    out = []
    for kind, step, columns in preprocessor.transformers_:
        reader = getattr(step[0], "func", None) if isinstance(step, Pipeline) else None
        if reader not in (read_numbers, read_categories):
            return None
        place = {name: i for i, name in enumerate(getattr(preprocessor, "feature_names_in_", ()))}
        mine = np.array([place.get(c, c) for c in columns], dtype=np.int64)
        if kind == "numbers":
            out.append(_sources_of_imputer(step[-1], mine))
        else:
            out.append(np.repeat(mine, [_n_levels(step[-1], j) for j in range(len(mine))]))
    return np.concatenate(out) if out else np.empty(0, dtype=np.int64)


def _sources_of_imputer(imputer, columns):
    gaps = imputer.indicator_.features_ if imputer.indicator_ is not None else []
    return np.concatenate([columns, columns[np.asarray(gaps, dtype=np.int64)]])


def _n_levels(encoder, j):
    """The number of outputs of a one-hot encoder's column."""
    rare = encoder.infrequent_categories_[j]
    return len(encoder.categories_[j]) - (0 if rare is None else len(rare) - 1)


# -------------------------------------------------------------------------- what a column holds


def _columns(X):
    """Pairs of a label and a column; the label is the name, or the index among the features."""
    names = column_names(X)
    if names is None:
        return [(i, X[:, i]) for i in range(X.shape[1])]
    return [(name, X[name]) for name in names]


def _kind(column, label, said_so=False):
    """Whether a column holds "numbers" or "categories"; what is neither raises.

    Strings are numbers where all of them can be read as such, and none looks like a code.
    """
    if is_category(column):
        return "categories"
    values = np.asarray(column)
    if values.ndim != 1:
        _refuse(label, str(column.dtype), False)
    if values.dtype.kind in "biuf":
        return "categories" if said_so else "numbers"
    if values.dtype.kind in "mMcV":
        _refuse(label, values.dtype.name, values.dtype.kind in "mM")
    present = [v for v in values.tolist() if not is_missing(v)]
    types = set(map(type, present))
    for found in types:
        if not issubclass(found, _LEVELS):
            _refuse(label, found.__name__, issubclass(found, _DATES))
    if said_so or not present:
        return "categories"
    numeric = all(issubclass(t, _NUMBERS) for t in types) or _read_as_numbers(present)
    return "numbers" if numeric else "categories"


def unreadable_columns(X):
    """Positions of the columns that `auto_preprocessor` refuses."""
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
        f"column {label} of X holds {what}, which preprocessor='auto' does not turn "
        f"into numbers: leave it out with exclude_columns=[{label}], or give a transformer of "
        "your own as preprocessor=, one that makes numbers of it."
    )


def _read_as_numbers(values):
    """Whether all values can be read as numbers, some of them strings, and none is a code."""
    try:
        read = [_number(value) for value in set(values)]
    except (TypeError, ValueError):
        return False
    return not all(value != value for value in read)


def _number(value):
    """A number, or a string that is one; NaN for one that says there is none.

    Digits after a leading zero, as in a postcode, and underscores make no number.
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


# ------------------------------------------------------------------------------------ as numbers


def read_numbers(X, labels):
    """Columns as float64, NaN where a value is missing.

    Raises
    ------
    ValueError
        For a value that is no number or infinite, naming its column.
    """
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf":
        out = X.astype(np.float64)
    else:
        columns = zip(labels, _columns(X), strict=True)
        out = np.column_stack([_read_column(label, column) for label, (_, column) in columns])
    infinite = np.isinf(out).any(axis=0)
    if infinite.any():
        raise ValueError(
            f"column {labels[int(np.argmax(infinite))]!r} of X contains infinity; make it a "
            "missing value (NaN), or drop these rows."
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
            f"column {label!r} of X held numbers in fit, but now holds something else: {error}."
        ) from None
    return np.array(read, dtype=np.float64)


def _is_text(column):
    """Whether all values of a column are strings, or missing."""
    values = np.asarray(column, dtype=object).tolist()
    return all(issubclass(t, str) for t in {type(v) for v in values if not is_missing(v)})


def read_categories(X, labels, others=()):
    """Columns as strings; a missing value is a level of its own.

    `others` are the columns that held something else than strings in fit, which `to_sklearn` needs
    to know.
    """
    out = np.empty(X.shape, dtype=object)
    for j, (_, column) in enumerate(_columns(X)):
        out[:, j] = [_level(value) for value in np.asarray(column).tolist()]
    return out


def _level(value):
    """The name of a level: 1 and 1.0 are one, as gaps make floats of a column of integers."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return MISSING
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return str(int(value)) if float(value).is_integer() else str(value)
    return value.decode() if isinstance(value, bytes) else str(value)


# ---------------------------------------------------------------------- what may be meant otherwise


def _levels_of(column):
    return {_level(value) for value in set(np.asarray(column).tolist())}


def _warn_of_cut_levels(columns, kinds):
    many = [
        (label, len(_levels_of(column)))
        for (label, column), kind in zip(columns, kinds, strict=True)
        if kind == "categories"
    ]
    many = [(label, f"{n} categories") for label, n in many if n > _MAX_LEVELS]
    if many:
        warn_user(
            f"preprocessor='auto' gives at most {_MAX_LEVELS} categories a column of their own, "
            "and all others of {} share one. Where these are tasks, name them in task_column=; "
            "else exclude_columns= leaves them out.",
            many,
        )


def _warn_of_codes(columns, kinds):
    codes = []
    for (label, column), kind in zip(columns, kinds, strict=True):
        if kind == "numbers":
            text = np.asarray(column).dtype.kind not in "biuf"
            n = _n_codes(_read_column(label, column), text)
            codes += [(label, f"{n} distinct{', stored as strings' * text}")] if n else []
    if codes:
        warn_user(
            "preprocessor='auto' takes whole numbers for numbers: {}. Where they are codes of "
            "categories, name them in categorical_columns=; where all are numbers, "
            "categorical_columns=[] says so.",
            codes,
        )


def _n_codes(values, text):
    """How many distinct whole numbers there are, if they look like codes; else 0.

    Few numbers do, and, where `text` says that they were strings, any.
    """
    values = values[np.isfinite(values)]
    head = np.unique(values[:1000])
    if (len(head) > _MOST_CODES and not text) or (head != np.rint(head)).any():
        return 0
    found = np.unique(values)
    whole = (found == np.rint(found)).all() and len(found) >= _FEW and found[0] >= 0
    years = whole and _YEARS[0] <= found[0] and found[-1] <= _YEARS[1]
    few = len(found) <= min(_MOST_CODES, len(values) // _MIN_LEVEL_ROWS)
    return len(found) if whole and (few or text) and not years else 0


def warn_of_forgotten_task(X, categorical=None):
    """Warn of columns of categories that look like the task, where no task was given."""
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
            f"no task was given, and {{}} may name it: set task_column={found[0][0]!r}; where "
            f"it is a feature, categorical_columns=[{found[0][0]!r}] says so.",
            found,
        )
