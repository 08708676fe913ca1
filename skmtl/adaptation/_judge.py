"""How well a fitted predictor does on target rows."""

import numpy as np

__all__ = ["align_classes", "mean_error", "row_errors"]


def align_classes(scores, have, wanted, fill):
    """Columns for the classes `wanted` of scores for the classes `have`, some of them.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_have) or (n_rows,)
        One dimension: scores of the second of two classes.
    have, wanted : ndarray
        Sorted.
    fill : float
        For classes that are not in `have`.

    Returns
    -------
    ndarray of shape (n_rows, n_wanted), or `scores` where the classes are the same
    """
    if len(have) == len(wanted):
        return scores
    if scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    out = np.full((len(scores), len(wanted)), fill, dtype=scores.dtype)
    out[:, np.searchsorted(wanted, have)] = scores
    return out


def row_errors(predictor, X, y, classes=None):
    """The error of every row.

    Squared for numbers; for classes the log-loss, or 0 and 1 where there are no probabilities.

    Parameters
    ----------
    predictor : fitted estimator
    X, y
        Target rows.
    classes : ndarray or None
        Of the problem, sorted; None where y are numbers.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    if classes is None:
        return (y - predictor.predict(X)) ** 2
    if not hasattr(predictor, "predict_proba"):
        return (predictor.predict(X) != y).astype(np.float64)
    p = align_classes(predictor.predict_proba(X), predictor.classes_, classes, 0.0)
    p = p[np.arange(len(y)), np.searchsorted(classes, y)]
    return -np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))


def mean_error(errors, weight=None):
    """The mean of rows' errors, the rows counting as often as `weight` says."""
    return float(np.average(errors, weights=weight))
