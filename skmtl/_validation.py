"""What every face checks of numbers."""

import warnings

import numpy as np

from .tasks.spreads import column_limits

__all__ = ["check_magnitudes", "check_target_magnitude"]

# Beyond these, squares of numbers times rows leave the range of float64 (1e-308 to 1e308).
_SMALLEST, _LARGEST = 1e-150, 1e150


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
