"""Choice among few candidates by fits of the estimator itself."""

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import softmax
from sklearn.dummy import DummyClassifier

from ..._compat import take_rows
from ..base import enough_classes, takes_weights
from ..evaluation import row_errors, sharpened_losses
from ..pooled_rows import PooledRows
from ._ridge_screening import Candidate, HeldOutRows, candidate_arrays

__all__ = ["Finalists", "few_splits", "list_finalists"]

# The largest number of splits; there are at most three candidates.
_MOST_SPLITS = 4
# Log-losses are those with the best of these powers of the probabilities: an estimator with too
# cautious probabilities gets more confident by any additional rows, which does not help to separate
# the classes. Powers below 1 would excuse confident errors.
_SHARPNESS = (1.0, 2.0, 4.0, 8.0)
# The largest log-loss of a row: forests predict probability zero for classes that occur.
_MOST_LOSS = 5.0
# The loss of a wrong class if there are no probabilities.
_WRONG_CLASS = 2.0
# Finalists whose weights differ by less than this share are one: the first, whose weights are 0 and
# 1, since boosting takes several times as long with other weights.
_SAME = 0.5
# Sources with at least this share of the largest weight are selected. Weights other than 1 are
# tried if ridges are better with them by this many nats, since they may make fits slower.
_SELECTED, _WEIGHTED_COST = 0.1, 1.0
# The target alone must be better than a candidate with sources by this many nats, for squared
# errors and for log-losses, which have larger random errors.
_INDEPENDENT_COST, _INDEPENDENT_COST_OF_CLASSES = 1.0, 2.0
# The power in which weights are averaged: at 1 a small share of a candidate with a large harmful
# source would outweigh the target.
_POWER = 0.5


def few_splits(splits, most=_MOST_SPLITS):
    """Return at most `most` splits: joined if each row is tested once, otherwise the first ones.

    A joined split trains on the rows that all its splits train on, and tests all their test rows.
    """
    splits = list(splits)
    if len(splits) <= most:
        return splits
    tests = np.concatenate([test for _, test in splits])
    if len(np.unique(tests)) < len(tests):
        return splits[:most]
    joined = []
    for group in np.array_split(np.arange(len(splits)), most):
        train = splits[group[0]][0]
        for k in group[1:]:
            train = train[np.isin(train, splits[k][0])]
        joined.append((train, np.concatenate([splits[k][1] for k in group])))
    return joined if all(len(train) for train, _ in joined) else splits[:most]


class Finalists:
    """Candidates, evaluated with the estimator itself.

    Parameters
    ----------
    problem : TransferProblem
    splits : sequence of (train, test)
    shifts_of : callable
        ``shifts_of(rows)`` are the constants for the sources' labels by these target rows.
    """

    def __init__(self, problem, splits, shifts_of):
        self.problem, self.splits, self.shifts_of = problem, splits, shifts_of
        self.held_out = HeldOutRows(problem, splits)

    def choose(self, candidates, progress):
        """Return the mean weights, the share of shifted labels, and the history.

        The share of a candidate is its likelihood on held-out rows, times a prior in favour of
        candidates with sources. For estimators without weights the best candidate is returned.
        """
        errors = self._errors(candidates, progress)
        weights, shifted = candidate_arrays(candidates)
        helped = weights.any(axis=1)
        if self.problem.classifier:
            cost = _INDEPENDENT_COST_OF_CLASSES
            evidence = -self.held_out.weight.sum() * self.held_out.mean(errors)
        else:
            cost = _INDEPENDENT_COST
            evidence = self.held_out.evidence_of_squares(errors, full=True)
        evidence = evidence - np.where(helped, 0.0, cost)
        share = softmax(evidence)
        history = {
            "candidate": np.array([c.name for c in candidates]),
            "weight": weights.max(axis=1),
            "shifted": shifted > 0,
            "error": self.held_out.mean(errors),
            "share": share,
        }
        if not takes_weights(self.problem.estimator):
            best = share.argmax()
            return weights[best], shifted[best], history
        mean = (share @ weights**_POWER) ** (1.0 / _POWER)
        return mean, share @ shifted / max(share[helped].sum(), 1e-300), history

    def _errors(self, candidates, progress):
        """Return cross-validated errors of all rows, of shape (n_candidates, n_target)."""
        problem, n_splits = self.problem, len(self.splits)
        jobs = [
            delayed(_split_errors)(problem, candidates, self.shifts_of(train), train, test)
            for train, test in self.splits
        ]
        if effective_n_jobs(problem.n_jobs) == 1:
            errors = []
            for k, (function, args, kwargs) in enumerate(jobs):
                progress(f"evaluating {len(candidates)} candidates, split {k + 1} of {n_splits}")
                errors.append(function(*args, **kwargs))
        else:
            progress(f"evaluating {len(candidates)} candidates in {n_splits} splits")
            errors = Parallel(n_jobs=problem.n_jobs)(jobs)
        means = self.held_out.mean_of_splits(errors)
        best = self.held_out.mean(means).argmin(axis=0)  # the best power
        return means[best, np.arange(len(candidates))]


def _split_errors(problem, candidates, shifts, train, test):
    """Return errors of the test rows for each power and candidate.

    Of shape (n_powers, n_candidates, n_test); the first is 1 for regressors.
    """
    pool = PooledRows(problem, train)
    X, y = take_rows(problem.X, test), problem.y[test]
    out = []
    for candidate in candidates:
        model = _fit_candidate(pool, candidate, shifts)
        if not problem.classifier:
            errors = row_errors(model, X, y)[None]
            errors = np.where(np.isnan(errors), np.inf, errors)
        elif _has_probabilities(model, problem.estimator):
            errors = sharpened_losses(model, X, y, problem.classes, _SHARPNESS)
            errors = np.fmin(errors, _MOST_LOSS)  # also replaces NaN
        else:
            errors = np.tile(_WRONG_CLASS * (model.predict(X) != y), (len(_SHARPNESS), 1))
        out.append(errors)
    return np.stack(out, axis=1)


def _has_probabilities(model, estimator):
    """Return whether to use probabilities; a DummyClassifier is treated like the estimator."""
    return hasattr(estimator if isinstance(model, DummyClassifier) else model, "predict_proba")


def _fit_candidate(pool, candidate, shifts):
    if pool.problem.classifier:
        used = pool.y[np.append(candidate.weights, 1.0)[pool.codes] > 0]
        if not enough_classes(pool.problem, used):  # a fold or a source may have one class only
            return DummyClassifier().fit(np.zeros((len(used), 1)), used)
    return pool.fit(candidate.weights, candidate.shifted * shifts if candidate.shifted else None)


def list_finalists(screening, weights, shifted):
    """Return the candidates to fit the estimator with, of sufficiently different weights.

    These are the target's rows alone, all sources, and between them the weights that ridges lead
    to, or the same sources with weight 1 if ridges are no better with the weights. If those weights
    are all zero, the best candidate with sources is used instead.

    Parameters
    ----------
    screening : RidgeScreening
    weights : ndarray of shape (n_sources,)
    shifted : float
        As `screening.source_weights` returns them.
    """
    listed = []
    if screening.alone:
        listed.append(Candidate("independent", np.zeros(len(weights))))
    if not weights.any():
        helped = [i for i, c in enumerate(screening.candidates) if c.weights.any()]
        best = screening.candidates[helped[screening.share[helped].argmax()]]
        weights, shifted = best.weights, best.shifted
    selected = (weights >= _SELECTED * weights.max()).astype(float)
    candidate = Candidate("selected", selected, shifted)
    # Not for a target with one class, which would be predicted best if sources with the other class
    # counted little.
    if screening.takes_weights and screening.alone:
        weighted = Candidate("weighed", weights, shifted)
        without, with_weights = screening.evidence_of([candidate, weighted])
        if with_weights - without > _WEIGHTED_COST:
            candidate = weighted
    for finalist in (candidate, Candidate("pooled", np.ones(len(weights)))):
        if not any(_same(finalist, other) for other in listed):
            listed.append(finalist)
    return listed


def _same(a, b):
    close = np.abs(a.weights - b.weights) <= _SAME * np.maximum(a.weights, b.weights)
    return (a.shifted > 0) == (b.shifted > 0) and bool(close.all())
