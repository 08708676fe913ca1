"""Features: which columns of a table they are, and how messy ones become finite numbers."""

import datetime
import numbers
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from .encode import column_names, drop_columns, find_task_column

__all__ = ["FeatureColumns", "make_preprocessor", "output_names"]

MISSING = "(missing)"
# Levels in fewer rows, and those beyond the most frequent, share one column: a coefficient from
# a row or two is noise, and every column costs time in every task.
_MIN_LEVEL_ROWS = 5
_MAX_LEVELS = 30
_NUMBERS = (numbers.Real, Decimal, np.bool_)
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


# ------------------------------------------------------------------------ which columns they are


@dataclass(frozen=True)
class FeatureColumns:
    """The columns that are features, and those that are not: the task's and excluded ones.

    Attributes
    ----------
    names : list or None
        Of the features; None where the table has no column names.
    n_features : int
    others : list of int
        Positions of the columns that are no features.
    other_names : list or None
    """

    names: list | None
    n_features: int
    others: list
    other_names: list | None

    @classmethod
    def find(cls, X, task_column=None, exclude_columns=None):
        """Find the columns in a frame, array or sparse matrix.

        Raises
        ------
        ValueError
            Naming the columns that are not there; where the task column is excluded.
        """
        others = []
        if task_column is not None:
            others.append(find_task_column(X, task_column))
        others += _find_excluded(X, exclude_columns, others)
        others = sorted(set(others))
        names = column_names(X)
        n_features = X.shape[1] - len(others) if len(X.shape) == 2 else 0
        if names is None:
            return cls(None, n_features, others, None)
        features = [name for i, name in enumerate(names) if i not in others]
        return cls(features, n_features, others, [names[i] for i in others])

    def select(self, X):
        """The features of `X`; the other columns may be there or not.

        In a frame each of them is known by its name. In an array they are either all there or
        all left out.
        """
        names = column_names(X)
        if names is not None and self.names is not None:
            present = [i for i, name in enumerate(names) if name in self.other_names]
        else:
            all_there = len(X.shape) == 2 and X.shape[1] == self.n_features + len(self.others)
            present = self.others if all_there else []
        return drop_columns(X, present) if present else X

    def check(self, X, owner):
        """Raise unless the columns of `X` are the features."""
        if X.shape[1] != self.n_features:
            raise ValueError(
                f"X has {X.shape[1]} features, but {owner} is expecting {self.n_features} features "
                "as input, beside those that it ignores."
            )
        names = column_names(X)
        if names is not None and self.names is not None and names != self.names:
            raise ValueError(
                f"The feature names should match those in fit, in the same order: {self.names}; "
                f"X has {names}."
            )


def _find_excluded(X, exclude_columns, task):
    """Positions of the excluded columns; `task` is a list with that of the task column, if any."""
    if exclude_columns is None:
        return []
    single = isinstance(exclude_columns, (str, numbers.Integral))
    columns = [exclude_columns] if single else list(exclude_columns)
    found, missing = [], []
    names = column_names(X)
    for column in columns:
        absent = names is not None and isinstance(column, str) and not _has_name(names, column)
        if absent:
            missing.append(column)
        else:
            found.append(find_task_column(X, column, "exclude_columns"))
    if missing:
        shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"exclude_columns names {', '.join(map(repr, missing))}, not found in X, whose columns "
            f"are: {shown}."
        )
    if set(task) & set(found):
        column = columns[found.index(task[0])]
        raise ValueError(
            f"exclude_columns names {column!r}, which is the task column and so no feature "
            "anyway; leave it out of exclude_columns."
        )
    return found


def _has_name(names, name):
    return name in names or any(isinstance(c, str) and c.endswith("__" + name) for c in names)


# ------------------------------------------------------------------------- how they become numbers


def make_preprocessor(preprocessor, X):
    """An unfitted transformer of the caller's: for "auto" one made for the columns of `X`."""
    return auto_preprocessor(X) if isinstance(preprocessor, str) else clone(preprocessor)


def auto_preprocessor(X):
    """The unfitted transformer that makes numbers of the columns of `X`, judged one by one.

    Numbers and booleans get gaps filled with the median, and a column that says where a gap
    was; all else is one-hot encoded, a gap being a level of its own. Numbers are not scaled:
    the models standardise by themselves, and so coefficients stay in the columns' units.

    Parameters
    ----------
    X : data frame, ndarray or sparse matrix of shape (n_samples, n_features)

    Returns
    -------
    ColumnTransformer or SimpleImputer
        The latter for a sparse matrix, whose columns are numbers.

    Raises
    ------
    ValueError
        For a column of dates.
    """
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    if sparse.issparse(X):
        return imputer
    names = column_names(X)
    kinds = [_kind(column, f"{label!r}", names is not None) for label, column in _columns(X)]
    by_name = names is not None and all(isinstance(name, str) for name in names)
    steps = []
    for kind, reader, last in (
        ("numbers", read_numbers, imputer),
        ("categories", read_categories, _one_hot()),
    ):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        if mine:
            labels = [i if names is None else names[i] for i in mine]
            read = FunctionTransformer(
                reader, feature_names_out="one-to-one", kw_args={"labels": labels}
            )
            steps.append(
                (kind, Pipeline([("read", read), ("encode", last)]), labels if by_name else mine)
            )
    return ColumnTransformer(steps, sparse_threshold=0.0, verbose_feature_names_out=False)


def _one_hot():
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=_MIN_LEVEL_ROWS,
        max_categories=_MAX_LEVELS,
        sparse_output=False,
    )


def output_names(preprocessor, n_features):
    """The names of what `preprocessor` makes; x0, x1, ... where it does not tell."""
    try:
        names = preprocessor.get_feature_names_out()
    except (AttributeError, ValueError):  # one of its steps has none, or two are alike
        names = [f"x{i}" for i in range(n_features)]
    return np.asarray(names, dtype=object)


def _columns(X):
    """Pairs of a label and a column; the label is the name, or the index among the features."""
    names = column_names(X)
    if names is None:
        return [(i, X[:, i]) for i in range(X.shape[1])]
    return [(name, X[name]) for name in names]


def _values(column):
    return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)


def is_missing(value):
    """None, NaN, and what pandas calls NA and NaT (which cannot be asked: NA != NA is NA)."""
    if isinstance(value, numbers.Real):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _kind(column, label, in_frame):
    """Whether a column holds "numbers" or "categories"; dates raise.

    Strings are categories in a frame, which has types to tell; in an array they are numbers
    where all of them can be read as such.
    """
    if getattr(getattr(column, "dtype", None), "name", None) == "category":
        return "categories"
    values = _values(column)
    if values.dtype.kind in "biuf":
        return "numbers"
    present = [] if values.dtype.kind in "mM" else [v for v in values.tolist() if not is_missing(v)]
    types = set(map(type, present))
    if values.dtype.kind in "mM" or any(issubclass(t, _DATES) for t in types):
        raise ValueError(
            f"column {label} of X holds dates or times, which preprocessor='auto' does not turn "
            f"into numbers: leave it out with exclude_columns=[{label}], or give a transformer of "
            "your own as preprocessor=, one that makes numbers of it."
        )
    if present and all(issubclass(t, _NUMBERS) for t in types):
        return "numbers"
    return "numbers" if present and not in_frame and _reads_as_numbers(present) else "categories"


def _reads_as_numbers(values):
    try:
        np.asarray(values, dtype=object).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


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
    values = _values(column)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    values = values.astype(object)
    present = np.array([not is_missing(v) for v in values.tolist()], dtype=bool)
    out = np.full(len(values), np.nan)
    try:
        out[present] = values[present].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"column {label!r} of X held numbers in fit, but now holds something else: {error}."
        ) from None
    return out


def read_categories(X, labels):
    """Columns as strings; a missing value is a level of its own."""
    out = np.empty(X.shape, dtype=object)
    for j, (_, column) in enumerate(_columns(X)):
        out[:, j] = [_level(value) for value in _values(column).tolist()]
    return out


def _level(value):
    """The name of a level: 1 and 1.0 are one, as gaps make floats of a column of integers."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return MISSING
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return str(int(value)) if float(value).is_integer() else str(value)
    return str(value)
