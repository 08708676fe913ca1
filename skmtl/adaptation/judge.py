"""How well a fitted predictor does on target rows."""

import numpy as np
from joblib import Parallel, delayed
from scipy.special import log_softmax

from ..tasks.targets import align_classes

__all__ = ["candidate_errors", "evidence_of_squares", "row_errors", "sharpened_losses"]


def candidate_errors(problem, models):
    """Cross-validated errors of candidates.

    Parameters
    ----------
    problem : TransferProblem
        With splits.
    models : callable
        ``models(index)`` yields the model of every candidate, fitted with the target's rows
        `index`.

    Returns
    -------
    ndarray of shape (n_candidates,)
        Mean over the target's rows: squared error, or as `row_errors` has it for classes.
    """
    found = Parallel(n_jobs=problem.n_jobs)(
        delayed(_judge)(problem, models, train, test) for train, test in problem.splits
    )
    sums, totals = zip(*found, strict=True)
    return np.sum(sums, axis=0) / np.sum(totals)


def _judge(problem, models, train, test):
    """Sums of the test rows' errors under every candidate, and of their weights."""
    rows = problem.take(test)
    X, y, weight = rows.X, rows.y, rows.row_weight
    sums = [weight @ row_errors(model, X, y, problem.classes) for model in models(train)]
    return np.array(sums), weight.sum()


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
    log = _log_probabilities(predictor, X, classes)
    return -log[np.arange(len(y)), np.searchsorted(classes, y)]


def sharpened_losses(predictor, X, y, classes, factors):
    """Log-losses of the rows with probabilities taken to each power, and normalised.

    Parameters
    ----------
    predictor : fitted classifier
        With ``predict_proba``.
    X, y, classes
        As in `row_errors`.
    factors : sequence of float
        The powers: above 1 for bolder probabilities.

    Returns
    -------
    ndarray of shape (n_factors, n_rows)
    """
    log = _log_probabilities(predictor, X, classes)
    own = np.arange(len(y)), np.searchsorted(classes, y)
    return np.array([-log_softmax(factor * log, axis=1)[own] for factor in factors])


def _log_probabilities(predictor, X, classes):
    p = align_classes(predictor.predict_proba(X), predictor.classes_, classes, 0.0)
    return np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))


def evidence_of_squares(error, n_rows, constant):
    """Half the log-likelihood of each candidate, of its mean squared error on `n_rows` rows.

    Half, as the rows are few, and the same ones for all. `constant` is the error of a constant,
    beside which what is tiny is rounding; not of the worst candidate, which may have diverged.
    """
    limits = np.finfo(np.float64)
    error = np.clip(error, max(1e-12 * constant, limits.tiny), limits.max)
    return -0.25 * n_rows * np.log(error)
