"""Few candidates, judged with the estimator itself."""

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.dummy import DummyClassifier

from ..._compat import take_rows
from ..base import takes_weights, tells_classes
from ..judge import row_errors, sharpened_losses
from ..pool import Pool
from ._ridge_judge import Candidate, JudgedRows

__all__ = ["Finalists", "few_splits", "list_finalists"]

# Splits that candidates, of which there are three at most, are judged in with the estimator itself.
_MOST_SPLITS = 4
# Log-losses are those at the best of these powers of the probabilities: an estimator that is too
# timid gets bolder by rows of any kind, which is no help in telling the classes apart. None is
# below 1, which would excuse what is bold and wrong.
_SHARPNESS = (1.0, 2.0, 4.0, 8.0)
# A row's log-loss counts at most this: forests give probability zero to what does happen.
_MOST_LOSS = 5.0
# What a wrong class costs where there are no probabilities.
_WRONG_CLASS = 2.0
# Finalists whose weights differ by less than this share are one: the first, of whole weights, as
# boosting takes several times as long with others.
_SAME = 0.5
# Sources of at least this share of the largest weight are selected; other weights than 1 are tried
# where ridges do better with them by so many nats: a fit with weights may cost several without.
_SELECTED, _WEIGHED_COST = 0.1, 1.0
# The target alone has to be better than a candidate with help by so many nats, of squared errors
# and of log-losses: these are of few classes, and so noisier.
_INDEPENDENT_COST, _INDEPENDENT_COST_OF_CLASSES = 1.0, 2.0
# The power in which weights are averaged: at 1 a little trust in a large source that harms would
# outweigh the target.
_POWER = 0.5


def few_splits(splits, most=_MOST_SPLITS):
    """At most so many splits: joined where each row is tested once, otherwise the first ones.

    Joined splits train on the rows that all of them train on, and test what any of them tests.
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
    """Candidates, judged with the estimator itself.

    Parameters
    ----------
    problem : TransferProblem
    splits : sequence of (train, test)
    shifts_of : callable
        ``shifts_of(rows)`` are the constants for the sources' labels, by these target rows.
    """

    def __init__(self, problem, splits, shifts_of):
        self.problem, self.splits, self.shifts_of = problem, splits, shifts_of
        self.judged = JudgedRows(problem, splits)

    def choose(self, candidates, progress):
        """The candidates' mean, and the history.

        The share of a candidate is by its likelihood on the rows left out, less what help is ahead
        of none. Estimators without weights get the best candidate.
        """
        errors = self._errors(candidates, progress)
        weights = np.array([c.weights for c in candidates])
        shifted = np.array([c.shifted for c in candidates])
        helped = weights.any(axis=1)
        cost = _INDEPENDENT_COST_OF_CLASSES if self.problem.classifier else _INDEPENDENT_COST
        evidence = self._evidence(errors) - np.where(helped, 0.0, cost)
        share = np.exp(evidence - evidence.max())
        share /= share.sum()
        history = {
            "candidate": np.array([c.name for c in candidates]),
            "weight": weights.max(axis=1),
            "shifted": shifted > 0,
            "error": self.judged.mean(errors),
            "share": share,
        }
        if not takes_weights(self.problem.estimator):
            best = share.argmax()
            return weights[best], shifted[best], history
        mean = (share @ weights**_POWER) ** (1.0 / _POWER)
        return mean, share @ shifted / max(share[helped].sum(), 1e-300), history

    def _errors(self, candidates, progress):
        """Cross-validated errors of all rows, of shape (n_candidates, n_target)."""
        problem, n_splits = self.problem, len(self.splits)
        jobs = [
            delayed(_split_errors)(problem, candidates, self.shifts_of(train), train, test)
            for train, test in self.splits
        ]
        found = []
        if effective_n_jobs(problem.n_jobs) == 1:
            for k, (function, args, kwargs) in enumerate(jobs):
                progress(f"judging {len(candidates)} candidates, split {k + 1} of {n_splits}")
                found.append(function(*args, **kwargs))
        else:
            progress(f"judging {len(candidates)} candidates in {n_splits} splits")
            found = Parallel(n_jobs=problem.n_jobs)(jobs)
        sums = self.judged.mean_of_splits(found)
        best = self.judged.mean(sums).argmin(axis=0)  # of the powers
        return sums[best, np.arange(len(candidates))]

    def _evidence(self, errors):
        """Log-likelihoods of candidates."""
        if self.problem.classifier:
            return -self.judged.weight.sum() * self.judged.mean(errors)
        return self.judged.evidence_of_squares(errors, whole=True)


def _split_errors(problem, candidates, shifts, train, test):
    """Errors of the test rows under each candidate, by sharpness.

    Of shape (n_sharpness, n_candidates, n_test); the first is 1 for numbers.
    """
    pool = Pool(problem, train)
    X, y = take_rows(problem.X, test), problem.y[test]
    out = []
    for candidate in candidates:
        model = _fit_candidate(pool, candidate, shifts)
        if not problem.classifier:
            errors = row_errors(model, X, y)[None]
            errors = np.where(np.isnan(errors), np.inf, errors)
        elif _has_probabilities(model, problem.estimator):
            errors = sharpened_losses(model, X, y, problem.classes, _SHARPNESS)
            errors = np.fmin(errors, _MOST_LOSS)  # also of probabilities that are NaN
        else:
            errors = _WRONG_CLASS * (model.predict(X) != y)
            errors = np.tile(errors, (len(_SHARPNESS), 1))
        out.append(errors)
    return np.stack(out, axis=1)


def _has_probabilities(model, estimator):
    """Whether to judge by them; what stands in for it on one class is judged as the estimator."""
    return hasattr(estimator if isinstance(model, DummyClassifier) else model, "predict_proba")


def _fit_candidate(pool, candidate, shifts):
    if pool.problem.classifier:
        used = pool.y[np.append(candidate.weights, 1.0)[pool.codes] > 0]
        if not tells_classes(pool.problem, used):  # a fold, or a source, without the other class
            return DummyClassifier().fit(np.zeros((len(used), 1)), used)
    return pool.fit(candidate.weights, candidate.shifted * shifts if candidate.shifted else None)


def list_finalists(judge, weights, shifted):
    """The candidates that are worth fits of the estimator, of different weights.

    The target's rows alone, all sources, and in between the weights that ridges lead to, or the
    same sources with all their weight where ridges do no better with the weights. Where they see
    no help, their best candidate with help stands for it.

    Parameters
    ----------
    judge : RidgeJudge
        Its `judge` has been called.
    weights : ndarray of shape (n_sources,)
    shifted : float
        Its verdict.
    """
    n_sources = len(judge.of_sources)
    listed = []
    if judge.alone:
        listed.append(Candidate("independent", np.zeros(n_sources)))
    if not weights.any():
        helped = [i for i, c in enumerate(judge.candidates) if c.weights.any()]
        best = judge.candidates[helped[judge.share[helped].argmax()]]
        weights, shifted = best.weights, best.shifted
    some = Candidate("selected", (weights >= _SELECTED * weights.max()).astype(float), shifted)
    # A target of one class does best where sources, which know the other, count next to nothing.
    if judge.weighs and judge.alone:
        weighed = Candidate("weighed", weights, shifted)
        less, more = judge.evidence_of([some, weighed])
        if more - less > _WEIGHED_COST:
            some = weighed
    for candidate in (some, Candidate("pooled", np.ones(n_sources))):
        if not any(_same(candidate, other) for other in listed):
            listed.append(candidate)
    return listed


def _same(a, b):
    if (a.shifted > 0) != (b.shifted > 0):
        return False
    return bool((np.abs(a.weights - b.weights) <= _SAME * np.maximum(a.weights, b.weights)).all())
