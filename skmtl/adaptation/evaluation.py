"""Prediction errors of fitted models on target rows."""

import numpy as np
from joblib import Parallel, delayed
from scipy.special import log_softmax

from ..tasks.targets import align_classes

__all__ = [
    "best_candidate",
    "candidate_errors",
    "evidence_of_squares",
    "row_errors",
    "sharpened_losses",
]


def candidate_errors(problem, models):
    """Return the cross-validated errors of candidates.

    Parameters
    ----------
    problem : TransferProblem
        With splits.
    models : callable
        ``models(index)`` yields the model of every candidate, fitted with the target rows `index`.

    Returns
    -------
    ndarray of shape (n_candidates,)
        Means over target rows of the errors that `row_errors` defines.
    """
    results = Parallel(n_jobs=problem.n_jobs)(
        delayed(_split_errors)(problem, models, train, test) for train, test in problem.splits
    )
    sums, totals = zip(*results, strict=True)
    return np.sum(sums, axis=0) / np.sum(totals)


def best_candidate(problem, candidates, models, progress):
    """Return the candidate with the smallest error, the first of equals, and all errors.

    Parameters
    ----------
    problem : TransferProblem
    candidates : list
    models : callable
        As for `candidate_errors`.
    progress : callable
    """
    progress(f"evaluating {len(candidates)} candidates in {len(problem.splits)} splits")
    errors = candidate_errors(problem, models)
    return candidates[int(np.argmin(errors))], errors


def _split_errors(problem, models, train, test):
    """Return the weighted sum of the test rows' errors for every candidate, and total weight."""
    rows = problem.take(test)
    X, y, weight = rows.X, rows.y, rows.row_weight
    sums = [weight @ row_errors(model, X, y, problem.classes) for model in models(train)]
    return np.array(sums), weight.sum()


def row_errors(predictor, X, y, classes=None):
    """Return the error of every row.

    The squared error for numbers; for classes the log-loss, or 0 and 1 if the predictor has no
    probabilities.

    Parameters
    ----------
    predictor : fitted estimator
    X, y
        Target rows.
    classes : ndarray or None
        The problem's classes, sorted; None for a regressor.

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


def sharpened_losses(predictor, X, y, classes, powers):
    """Return the log-losses of rows for probabilities raised to each power and normalised.

    Parameters
    ----------
    predictor : fitted classifier
        With ``predict_proba``.
    X, y, classes
        As for `row_errors`.
    powers : sequence of float
        Powers above 1 move probabilities towards 0 and 1.

    Returns
    -------
    ndarray of shape (n_powers, n_rows)
    """
    log = _log_probabilities(predictor, X, classes)
    observed = np.arange(len(y)), np.searchsorted(classes, y)
    return np.array([-log_softmax(power * log, axis=1)[observed] for power in powers])


def _log_probabilities(predictor, X, classes):
    p = align_classes(predictor.predict_proba(X), predictor.classes_, classes, 0.0)
    return np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))


def evidence_of_squares(error, n_rows, constant):
    """Return half the log-likelihood of each candidate, given its mean squared error.

    Half, because the `n_rows` rows are few and the same for all candidates. Errors that are tiny
    relative to `constant`, the error of a constant prediction, are rounding. They are not compared
    with the largest error, since a candidate may have diverged.
    """
    float64 = np.finfo(np.float64)
    error = np.clip(error, max(1e-12 * constant, float64.tiny), float64.max)
    return -0.25 * n_rows * np.log(error)
