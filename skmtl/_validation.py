"""Checks of all estimators: tables, labels, weights, magnitudes."""

import numbers
import warnings

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import check_array, check_consistent_length

from ._warnings import warn_user
from .tasks.columns import column_names, is_missing, is_plain, take_column, unwrap
from .tasks.variation import column_limits

__all__ = [
    "as_array", "as_numbers", "check_coverage", "check_features", "check_learner", "check_length",
    "check_magnitudes", "check_output", "check_table", "check_target_magnitude", "check_weights",
    "read_features", "refuse_masked", "refuse_other_kinds",
]  # fmt: skip

# Beyond these, sums of squares leave the range of float64 (1e-308 to 1e308).
_SMALLEST, _LARGEST = 1e-150, 1e150

_REMEDY = (
    'X must be finite numbers besides the task column: preprocessor="auto" fills gaps and encodes '
    "categories, and exclude_columns= leaves out columns that are not features."
)
_REMEDY_OF_OUTPUT = "preprocessor= must turn X into finite numbers, but it returned this."


# ------------------------------------------------------------------------------------------ tables


def check_table(estimator, X):
    """Check that X has rows and columns of any type; return a frame unchanged, or an array."""
    if len(getattr(X, "shape", ())) == 2 and 0 in X.shape:
        what, hint = "sample", "."
        if X.shape[0]:
            what, hint = "feature", ": X needs a column besides task_column= and exclude_columns=."
        raise ValueError(
            f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required{hint}"
        )
    if column_names(X) is not None:
        return X
    if type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2:
        return X  # skips scikit-learn's slow detection of data frames
    refuse_masked(X, "X")
    if getattr(getattr(X, "dtype", None), "kind", "") == "c":
        refuse_other_kinds(X)  # raises
    return check_array(
        X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False, estimator=estimator,
        input_name="X",
    )  # fmt: skip


def check_features(estimator, X, remedy=_REMEDY):
    """Return the features as a float64 array (C-ordered) or CSR matrix, or raise."""
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
        where = _invalid_column(X)
        if where is None:
            raise
        raise _type_or_value_error(error)(f"column {where} of X: {error}\n{remedy}") from None
    return sparse.csr_matrix(X) if sparse.issparse(X) else X


def _type_or_value_error(error):
    return TypeError if isinstance(error, TypeError) else ValueError


def read_features(estimator, X, preprocessor):
    """Return the features as finite numbers, transformed by the fitted `preprocessor` (or None)."""
    if preprocessor is None:
        return check_features(estimator, X)
    return check_output(estimator, X, preprocessor.transform(X))


def check_output(estimator, X, Z):
    """Check the output Z of a preprocessor for the rows X, and return it as `check_features`."""
    Z = check_features(estimator, Z, _REMEDY_OF_OUTPUT)
    check_consistent_length(X, Z)
    return Z


def refuse_masked(values, name):
    """Raise for a masked array with masked entries, which estimators would read as numbers."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(
            f"{name} is a masked array with {np.ma.getmaskarray(values).sum()} masked entries, but "
            "estimators ignore masks: fill the entries, for example by .filled(np.nan); for gaps "
            'in features set preprocessor="auto".'
        )


def refuse_other_kinds(X):
    """Raise for dates and complex numbers, and else return `X`; a frame of dates only as days.

    numpy would convert dates to numbers that depend on the unit of the dates.
    """
    names = column_names(X)
    if names is None:
        labels, kinds = [""], [getattr(getattr(X, "dtype", None), "kind", "")]
    else:
        labels = [f"column {name!r} of " for name in names]
        dtypes = X.dtypes if hasattr(X, "dtypes") else X.schema.types  # pyarrow
        kinds = [_dtype_kind(dtype) for dtype in dtypes]
    if names and set(kinds) == {"M"}:
        warn_user(
            "all columns of X are dates: {}. They are converted to days since 1970-01-01; leave "
            "them out with exclude_columns=, or pass numbers.",
            [(name, "dates") for name in names[:10]],
        )
        return np.column_stack([_days(take_column(X, j)) for j in range(len(names))])
    for label, name, kind in zip(labels, names or [...], kinds, strict=True):
        if kind in ("M", "m"):
            raise TypeError(
                f"{label}X holds dates or times, which are not numbers: leave the column out with "
                f"exclude_columns=[{name!r}], or pass a transformer that converts it to numbers as "
                'preprocessor= (preprocessor="auto" does not accept dates either).'
            )
        if kind == "c":
            raise ValueError(
                f"{label}X: Complex data not supported; pass the real and imaginary parts."
            )
    return X


def _days(column):
    """Return days since 1970-01-01, with NaN for missing dates."""
    dates = np.asarray(column).astype("datetime64[ns]")
    return np.where(np.isnat(dates), np.nan, dates.astype(np.int64) / 86_400e9)


def _dtype_kind(dtype):
    """Return numpy's code for the kind of a type, or "" if it is not known."""
    kind = getattr(dtype, "kind", None)  # numpy and pandas
    if isinstance(kind, str):
        return kind
    return "M" if str(dtype).lower().startswith(("date", "time", "duration")) else ""


def _invalid_column(X):
    """Return the repr of the first column that is not numeric, else of the first not finite one.

    The result is None if there is no such column, or if X has no columns to inspect.
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


# --------------------------------------------------------------------------- other estimators


def check_learner(estimator, classifier=False, parameter="estimator"):
    """Raise an error unless the estimator is an unfitted regressor, or classifier, of scikit-learn.

    A classifier must have probabilities.
    """
    kind = "classifier" if classifier else "regressor"
    if isinstance(estimator, type):
        raise TypeError(
            f"{parameter}={estimator.__name__} is a class; pass an instance: "
            f"{estimator.__name__}()."
        )
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict"):
        raise TypeError(
            f"{parameter}={estimator!r} must be a scikit-learn {kind}, with fit and predict."
        )
    if not (is_classifier if classifier else is_regressor)(estimator):
        example = "RandomForestClassifier()" if classifier else "RandomForestRegressor()"
        raise ValueError(f"{parameter}={estimator!r} is not a {kind}; pass one, such as {example}.")
    if classifier and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"{parameter}={estimator!r} has no predict_proba, but the log-loss needs "
            "probabilities; wrap it in CalibratedClassifierCV, or choose another classifier."
        )


# ------------------------------------------------------------------------- labels and weights


def as_array(values, name, content="label"):
    """Return `values` as an array of one or more dimensions.

    Parameters
    ----------
    values : array-like
    name : str
        Name of the argument in error messages.
    content : str
        What the array should have one of per row.

    Raises
    ------
    TypeError, ValueError
        For anything but an array of plain entries: a single value, a lazy frame, masked entries,
        rows of several lengths, records.
    """
    if type(values) is np.ndarray and values.dtype.kind in "biuf" and values.size and values.ndim:
        return values
    wanted = f"pass an array with one {content} per row"
    values = unwrap(values, name)
    refuse_masked(values, name)
    if sparse.issparse(values):
        raise TypeError(f"{name} is a sparse matrix; {wanted}, such as {name}.toarray().ravel().")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not an array, {wanted}: {error}") from None
    if array.ndim == 0:
        raise TypeError(f"{name} is a single {type(values).__name__}; {wanted}.")
    if array.ndim == 2 and array.shape[1] == 0:
        raise ValueError(f"{name} has no columns (shape {array.shape}); {wanted}.")
    if array.dtype.kind == "V":
        raise TypeError(f"{name} has records of type {array.dtype}; {wanted}.")
    if array.dtype.kind in "US" and isinstance(values, (list, tuple)):
        # numpy has converted numbers next to strings to strings.
        return np.array(values, dtype=object)
    return array


def as_numbers(values, name, content="label"):
    """Return `values` as a float64 array of one or more dimensions, with NaN for missing values.

    Raises
    ------
    TypeError, ValueError
        As in `as_array`, and for entries that are not numbers.
    """
    array = as_array(values, name, content)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind in "mM":
        raise TypeError(
            f"{name} holds dates or times, which are not numbers: convert them, for example to "
            "days since the first date."
        )
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported; pass the real part, for example.")
    out = np.full(array.shape, np.nan)
    for index, value in np.ndenumerate(array.astype(object, copy=False)):
        if is_missing(value):
            continue
        try:
            out[index] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise _type_or_value_error(error)(
                f"{name} must hold numbers, but has {value!r:.60} of type {type(value).__name__} "
                f"in row {index[0]}: {error}."
            ) from None
    return out


def check_length(values, n_samples, name):
    """Raise unless there is one value per row."""
    if len(values) != n_samples:
        raise ValueError(
            f"{name} has {len(values)} entries, but X has {n_samples} rows (inconsistent numbers "
            "of samples); pass one entry per row."
        )


def check_coverage(coverage):
    """Return the coverage as a float, or raise if it is not a number between 0 and 1."""
    is_number = isinstance(coverage, numbers.Real) and not isinstance(coverage, bool)
    if not is_number or not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage={coverage!r} must be a number between 0 and 1, such as 0.9.")
    return float(coverage)


def check_weights(sample_weight, n_samples):
    """Return the sample weights as float64, or None; raise if negative or all zero."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, float(sample_weight))
    weight = as_numbers(sample_weight, "sample_weight", "weight")
    if weight.ndim != 1:
        raise ValueError(f"sample_weight must be 1-D, got an array of shape {weight.shape}.")
    if len(weight) != n_samples:
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}: pass one weight per "
            "row."
        )
    if not np.isfinite(weight).all():
        i = int(np.argmin(np.isfinite(weight)))
        found = "NaN" if np.isnan(weight[i]) else "infinity"
        raise ValueError(
            f"Input sample_weight contains {found}, the first in row {i}; make all weights finite "
            "numbers of zero or more."
        )
    if (weight < 0).any():
        raise ValueError(
            f"sample_weight has negative entries, the first in row {int(np.argmax(weight < 0))}; "
            "make all weights zero or more."
        )
    if not (weight > 0).any():
        raise ValueError("sample_weight is zero for every row; make some weights positive.")
    return weight


# ------------------------------------------------------------------------------- magnitudes


def check_magnitudes(X, y=None, weight=None):
    """Raise for numbers whose squares overflow or underflow.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Finite numbers.
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks), optional
        Numbers, or NaN for missing ones.
    weight : ndarray of shape (n_samples,), optional

    Raises
    ------
    ValueError
        For magnitudes above 1e150, for a column whose values differ by less than 1e-150, and for
        positive weights outside of this range.
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
    """Raise for a target of numbers whose squares overflow or underflow."""
    if not len(y):
        return
    with warnings.catch_warnings():  # numpy warns about tasks without labels
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    where = name if y.ndim == 1 else f"{name}: task {{}}"
    _check_columns(np.atleast_1d(low), np.atleast_1d(high), where)


def _check_columns(low, high, where):
    top = np.maximum(np.abs(low), np.abs(high))
    if (top > _LARGEST).any():
        j = int(np.argmax(top > _LARGEST))
        raise ValueError(
            f"{where.format(j)} holds {max(high[j], low[j], key=abs):.3g}; numbers beyond "
            f"{_LARGEST:g} overflow when they are squared: convert them to a larger unit."
        )
    extent = high - low
    small = (extent > 0) & (extent < _SMALLEST)
    if small.any():
        j = int(np.argmax(small))
        raise ValueError(
            f"{where.format(j)} has values that differ by at most {extent[j]:.3g}; differences "
            f"below {_SMALLEST:g} underflow when they are squared: convert them to a smaller unit."
        )
