"""How well a fitted predictor does on target rows."""

import numpy as np

from ..tasks.targets import align_classes

__all__ = ["row_errors"]


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
