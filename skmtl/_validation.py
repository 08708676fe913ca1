"""What every face checks: tables, weights, numbers, magnitudes."""

import numbers
import warnings

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length

from ._warnings import warn_user
from .tasks.columns import column_names, is_missing, is_plain, take_column, unwrap
from .tasks.variation import column_limits

__all__ = [
    "as_array", "as_numbers", "check_features", "check_length", "check_magnitudes", "check_output",
    "check_table", "check_target_magnitude", "check_weights", "read_features", "refuse_masked",
    "refuse_other_kinds",
]  # fmt: skip

# Beyond these, squares of numbers times rows leave the range of float64 (1e-308 to 1e308).
_SMALLEST, _LARGEST = 1e-150, 1e150

_REMEDY = (
    'X must be finite numbers beside the task column: preprocessor="auto" fills gaps and encodes '
    "categories, and exclude_columns= leaves out columns that are not features."
)
_REMEDY_OF_OUTPUT = "preprocessor= must turn X into finite numbers; this is what it returned."


# ------------------------------------------------------------------------------------------ tables


def check_table(estimator, X):
    """Columns of any kind, with rows and columns enough: a frame as it is, or an array."""
    if len(getattr(X, "shape", ())) == 2 and 0 in X.shape:
        what = "feature" if X.shape[0] else "sample"
        raise ValueError(
            f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required"
            + (": X has no column beside the task's and excluded ones." if X.shape[0] else ".")
        )
    if column_names(X) is not None:
        return X
    if type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2:
        return X  # scikit-learn would ask first which kind of frame it is
    refuse_masked(X, "X")
    if getattr(getattr(X, "dtype", None), "kind", "") == "c":
        refuse_other_kinds(X)  # raises
    return check_array(
        X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False, estimator=estimator,
        input_name="X",
    )  # fmt: skip


def check_features(estimator, X, remedy=_REMEDY):
    """The features as a float64 array (C-ordered) or CSR matrix; a clear error otherwise."""
    if len(getattr(X, "shape", ())) == 2 and X.shape[1] == 0 and X.shape[0] > 0:
        check_table(estimator, X)  # raises
    if is_plain(X, 2) and X.size and X.flags.c_contiguous:
        return X
    refuse_masked(X, "X")
    X = refuse_other_kinds(X)
    try:
        X = check_array(
            X, accept_sparse="csr", dtype=np.float64, order="C", estimator=estimator,
            input_name="X",
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError) as error:
        where = _column_at_fault(X)
        if where is None:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"column {where} of X: {error}\n{remedy}") from None
    return sparse.csr_matrix(X) if sparse.issparse(X) else X


def read_features(estimator, X, preprocessor):
    """The columns that are features as finite numbers, by the fitted `preprocessor` (or None)."""
    if preprocessor is None:
        return check_features(estimator, X)
    return check_output(estimator, X, preprocessor.transform(X))


def check_output(estimator, X, Z):
    """What a preprocessor made of `X` as `check_features` returns it."""
    Z = check_features(estimator, Z, _REMEDY_OF_OUTPUT)
    check_consistent_length(X, Z)
    return Z


def refuse_masked(values, name):
    """Raise for a masked array with masked entries, which estimators would read as numbers."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(
            f"{name} is a masked array with {np.ma.getmaskarray(values).sum()} masked entries, "
            "whose mask estimators do not see: fill them, such as by .filled(np.nan), of features "
            'with preprocessor="auto" for the gaps.'
        )


def refuse_other_kinds(X):
    """`X` itself, or raise for dates and complex numbers; a frame of nothing but dates as days.

    numpy would make numbers of dates whose size depends on their unit.
    """
    names = column_names(X)
    if names is None:
        labels, kinds = [""], [getattr(getattr(X, "dtype", None), "kind", "")]
    else:
        labels = [f"column {name!r} of " for name in names]
        kinds = [_dtype_kind(dtype) for dtype in _dtypes(X)]
    if names and set(kinds) == {"M"}:
        warn_user(
            "all columns of X are dates: {}. They are taken as days since 1970-01-01; leave them "
            "out with exclude_columns=, or make the numbers that are meant.",
            [(name, "dates") for name in names[:10]],
        )
        return np.column_stack([_days(take_column(X, j)) for j in range(len(names))])
    for label, name, kind in zip(labels, names or [...], kinds, strict=True):
        if kind in ("M", "m"):
            raise TypeError(
                f"{label}X holds dates or times, which are no numbers: leave it out with "
                f"exclude_columns=[{name!r}], or make numbers of it, as by a transformer given as "
                'preprocessor= (preprocessor="auto" takes no dates either).'
            )
        if kind == "c":
            raise ValueError(f"{label}X: Complex data not supported; give its parts as numbers.")
    return X


def _days(column):
    """Days since 1970-01-01, NaN where there is no date."""
    dates = np.asarray(column).astype("datetime64[ns]")
    days = dates.astype(np.int64) / 86_400e9
    return np.where(np.isnat(dates), np.nan, days)


def _dtypes(X):
    """The types of a frame's columns, of which pyarrow has another word."""
    return list(X.dtypes) if hasattr(X, "dtypes") else X.schema.types


def _dtype_kind(dtype):
    """numpy's letter for a type, as far as it tells that."""
    kind = getattr(dtype, "kind", None)  # of numpy and pandas
    if isinstance(kind, str):
        return kind
    name = str(dtype).lower()
    return "M" if name.startswith(("date", "time", "duration")) else ""


def _column_at_fault(X):
    """The first column that is no numbers, else the first with one that is not finite, in words.

    None where it is none of them.
    """
    names = column_names(X)
    if sparse.issparse(X) or (names is None and getattr(X, "ndim", 0) != 2):
        return None
    not_finite = None
    for j, label in enumerate(range(X.shape[1]) if names is None else names):
        try:
            values = np.asarray(take_column(X, j)).astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            return repr(label)
        if not_finite is None and not np.isfinite(values).all():
            not_finite = repr(label)
    return not_finite


# ------------------------------------------------------------------------- labels and weights


def as_array(values, name, one_a_row="label"):
    """`values` as an array of one or more dimensions.

    Parameters
    ----------
    values : array-like
    name : str
        What errors call it.
    one_a_row : str
        What it should have one of a row.

    Raises
    ------
    TypeError, ValueError
        For what is no array, or none of plain entries: a single value, a lazy frame, masked
        entries, rows of several lengths, records.
    """
    if type(values) is np.ndarray and values.dtype.kind in "biuf" and values.size and values.ndim:
        return values
    wanted = f"give an array of one {one_a_row} a row"
    values = unwrap(values, name)
    refuse_masked(values, name)
    if sparse.issparse(values):
        raise TypeError(f"{name} is a sparse matrix; {wanted}, such as {name}.toarray().ravel().")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is no array, {wanted}: {error}") from None
    if array.ndim == 0:
        raise TypeError(f"{name} is a single {type(values).__name__}; {wanted}.")
    if array.ndim == 2 and array.shape[1] == 0:
        raise ValueError(f"{name} has no columns (shape {array.shape}); {wanted}.")
    if array.dtype.kind == "V":
        raise TypeError(f"{name} has records of type {array.dtype}; {wanted}.")
    if array.dtype.kind in "US" and isinstance(values, (list, tuple)):
        # numpy has made strings of numbers that stood beside strings
        return np.array(values, dtype=object)
    return array


def as_numbers(values, name, one_a_row="label"):
    """`values` as a float64 array of one or more dimensions, missing ones as NaN.

    Raises
    ------
    TypeError, ValueError
        As `as_array`; and for entries that are no numbers, naming the first one.
    """
    array = as_array(values, name, one_a_row)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind in "mM":
        raise TypeError(
            f"{name} holds dates or times, which are no numbers: convert them, such as to days "
            "since the first one."
        )
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported; give its real part, say.")
    out = np.full(array.shape, np.nan)
    for place, value in np.ndenumerate(array.astype(object, copy=False)):
        if is_missing(value):
            continue
        try:
            out[place] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise type(error if not isinstance(error, OverflowError) else ValueError())(
                f"{name} must hold numbers, but has {value!r:.60} of type {type(value).__name__} "
                f"in row {place[0]}: {error}."
            ) from None
    return out


def check_length(values, n_samples, name):
    """Raise unless there is a value a row."""
    if len(values) != n_samples:
        raise ValueError(
            f"{name} has {len(values)} entries, but X has {n_samples} rows (inconsistent numbers "
            "of samples); give one a row."
        )


def check_weights(sample_weight, n_samples):
    """Sample weights as float64, or None; negative or all-zero ones raise."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, float(sample_weight))
    weight = as_numbers(sample_weight, "sample_weight", "weight")
    if weight.ndim != 1:
        raise ValueError(f"sample_weight must be 1-D, got an array of shape {weight.shape}.")
    if len(weight) != n_samples:
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}: one weight a row."
        )
    if not np.isfinite(weight).all():
        i = int(np.argmin(np.isfinite(weight)))
        found = "NaN" if np.isnan(weight[i]) else "infinity"
        raise ValueError(
            f"Input sample_weight contains {found}, the first in row {i}; give every row a finite "
            "weight of zero or more."
        )
    if (weight < 0).any():
        raise ValueError(
            f"sample_weight has negative entries, the first in row {int(np.argmax(weight < 0))}; "
            "weights say how often a row counts: make them zero or more."
        )
    if not (weight > 0).any():
        raise ValueError("sample_weight is zero for every row; give some row a positive weight.")
    return weight


# ------------------------------------------------------------------------------- magnitudes


def check_magnitudes(X, y=None, weight=None):
    """Refuse numbers whose squares overflow or vanish.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Finite numbers.
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks), optional
        Numbers, of which NaN are missing.
    weight : ndarray of shape (n_samples,), optional

    Raises
    ------
    ValueError
        For a magnitude above 1e150, for a column whose values differ by less than 1e-150, and for
        positive weights outside of these.
    """
    if X.shape[0] and X.shape[1]:
        _check_columns(*column_limits(X), "X: column {} (counted from 0, without the task column)")
    if y is not None:
        check_target_magnitude(y)
    if weight is not None:
        positive = weight[weight > 0]
        for value in (positive.min(initial=1.0), positive.max(initial=1.0)):
            if not _SMALLEST <= value <= _LARGEST:
                raise ValueError(
                    f"sample_weight holds {value:.3g}; weights must lie between {_SMALLEST:g} and "
                    f"{_LARGEST:g}: divide them by a common factor, such as their mean."
                )


def check_target_magnitude(y, name="y"):
    """The same for a target of numbers."""
    if not len(y):
        return
    with warnings.catch_warnings():  # a task without labels
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    where = name if y.ndim == 1 else f"{name}: task {{}}"
    _check_columns(np.atleast_1d(low), np.atleast_1d(high), where)


def _check_columns(low, high, where):
    top = np.maximum(np.abs(low), np.abs(high))
    if (top > _LARGEST).any():
        j = int(np.argmax(top > _LARGEST))
        raise ValueError(
            f"{where.format(j)} holds {_largest(low[j], high[j]):.3g}; numbers beyond "
            f"{_LARGEST:g} overflow when they are squared: give them in a larger unit."
        )
    spread = high - low
    small = (spread > 0) & (spread < _SMALLEST)
    if small.any():
        j = int(np.argmax(small))
        raise ValueError(
            f"{where.format(j)} differs by {spread[j]:.3g} at most; differences below "
            f"{_SMALLEST:g} vanish when they are squared: give them in a smaller unit."
        )


def _largest(low, high):
    return low if abs(low) > abs(high) else high
