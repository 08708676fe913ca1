"""All private imports from scikit-learn."""

import inspect
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from sklearn.base import _fit_context, is_classifier
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, _check_n_features

__all__ = [
    "HasMethods",
    "Interval",
    "LinearClassifierMixin",
    "LinearModel",
    "Method",
    "StrOptions",
    "check_columns",
    "fit_boosting",
    "fit_context",
    "take_rows",
]

Method = TypeVar("Method", bound=Callable)
# scikit-learn has no types: the decorated method keeps its own.
fit_context: Callable[..., Callable[[Method], Method]] = _fit_context


def take_rows(X, rows):
    """Return the given rows of an array, sparse matrix or data frame."""
    # For arrays, skip scikit-learn's slow detection of data frames.
    return X[rows] if type(X) is np.ndarray else _safe_indexing(X, rows)


def check_columns(estimator, X, *, reset):
    """Set or check ``feature_names_in_`` and ``n_features_in_``, the task column included."""
    # An array has no names; skip scikit-learn's slow detection of data frames.
    if type(X) is not np.ndarray or hasattr(estimator, "feature_names_in_"):
        _check_feature_names(estimator, X, reset=reset)
    _check_n_features(estimator, X, reset=reset)


def fit_boosting(boosting, X, y, weight, X_val, y_val, weight_val):
    """Fit histogram gradient boosting that stops early by the errors on given rows."""
    if "X_val" in inspect.signature(boosting.fit).parameters:
        return boosting.fit(
            X, y, sample_weight=weight, X_val=X_val, y_val=y_val, sample_weight_val=weight_val
        )
    # scikit-learn before 1.7 holds out a tenth of the rows, which it cannot where classes are rare.
    counts = np.unique(y, return_counts=True)[1]
    if is_classifier(boosting) and (min(counts) < 2 or len(y) < 10 * len(counts)):
        boosting.set_params(early_stopping=False, max_iter=100)  # its default
    return boosting.fit(X, y, sample_weight=weight)
