"""Which sources help, how much they are to count, and whether their labels are to be shifted."""

import warnings
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.utils import get_tags

from .._compat import take_rows
from ._base import Adaptation, Adapted, fit_rows, takes_weights, tells_classes
from ._judge import evidence_of_squares, row_errors, sharpened_losses
from ._moments import RidgeMoments
from ._pool import Pool, steps_down, total_weight

__all__ = ["Auto"]

# Weights of source rows that are tried are at most this factor apart, and at most so many.
_STEP, _MOST_STEPS = 10.0, 5
# Log-losses are those at the best of these powers of the probabilities: an estimator that is too
# timid gets bolder by rows of any kind, which is no help in telling the classes apart. None is
# below 1, which would excuse what is bold and wrong.
_SHARPNESS = (1.0, 2.0, 4.0, 8.0)
# The target alone has to be better than a candidate with help by so many nats.
_INDEPENDENT_COST = 2.0
# Labels of sources are at another level more often than not: the nats that a shift is ahead.
_SHIFT_GAIN = 0.5
# Weights are averaged in one of these powers: at 1 a little trust in all rows of a large source
# outweighs the target; the smaller it is, the less good sources count. Each has to be better than
# the one before by so many nats.
_POWERS, _POWER_COST = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1), 0.8
# Weights that differ by less than this share are the same.
_SAME = 0.1
# A row's log-loss counts at most this: forests give probability zero to what does happen.
_MOST_LOSS = 5.0
# What a wrong class costs where there are no probabilities.
_WRONG_CLASS = 2.0
# A source whose rows all together count less than this share of the target's is left out.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Weights of the sources ``(n_sources,)``, and how much of their shift labels are given."""

    name: str
    weights: np.ndarray
    shifted: float = 0.0


class Auto(Adaptation):
    r"""Sources that help count much, others little or nothing: judged on target rows.

    One model for all rows, as in `Pooled`, with a weight for each source. It is found by
    cross-validation over target rows (``cv`` of `TransferEstimator`) of

    - *independent*: target rows alone;
    - each source alone beside the target;
    - the best two sources, the best three, ..., all of them (of many sources, in growing steps).

    Each set is tried at several weights of its rows, from 1 (*pooled*) down to where they count
    a tenth of the target's rows, and, for a regressor, with and without a constant of its own
    added to each source's labels: the mean of what its model misses on the target.
    Candidate :math:`c` of error :math:`e_c` gets the share

    .. math:: \pi_c \propto e_c^{-n/4} \text{ (numbers)}, \qquad
        \pi_c \propto \exp(-n e_c) \text{ (classes)}

    with `n` target rows. The error is the squared one, of which only half the evidence is taken,
    as few rows judge many candidates; or the log-loss at the best of four powers of the
    probabilities, from 1 up, so that what counts is how well classes are told apart. Beforehand,
    help is ahead of none by 2 nats, and shifted labels of others by a half.

    The weights of the sources are the candidates' mean by share,
    :math:`(\sum_c \pi_c w_c^p)^{1/p}`. At :math:`p = 1` some trust in a large source that harms
    outweighs the target's rows; so means of six powers from 1 down to 0.1 are judged in turn, on
    all of the evidence, each 0.8 nats behind the one before, and the best is taken. With its
    weights, and the mean of the constants, the estimator is fitted once, to all rows.

    Harmful sources end with a weight of almost or exactly zero, and where no help helps,
    the target's rows alone remain: guarded, not guaranteed, as the judges are few.

    Parameters
    ----------
    shift : bool, default=True
        Whether constants added to the labels of sources are tried. Never for a classifier, a
        ``TransformedTargetRegressor`` and estimators whose tags ask for positive labels; nor,
        with a warning, where the estimator refuses them.

    Notes
    -----
    An estimator that does not take ``sample_weight`` gets the best candidate among sets of sources
    at weight 1. A single target row cannot judge: all sources count 1. With K sources there are
    about 5 K fits for every split, for a regressor 10 K, and six for the means. For `Lasso` and
    `LassoCV` use `TransLasso`.

    In ``transfer_report_`` are, for each source, "error" (cross-validated, with this source alone
    at the best weight, labels shifted or not), "error_independent" (without any, the same for
    all), "standard_error" of the difference, and "shift" (what was added to its labels). These
    errors also did the choosing and are somewhat optimistic. ``history_`` has all candidates.
    Where rows of the target are copies of each other, give a ``cv`` that keeps copies together:
    else the target's rows alone look better than they are.

    References
    ----------
    Li, S., Cai, T. T. and Li, H. (2022). Transfer learning for high-dimensional linear regression.
    JRSS B 84, 149-173. :doi:`10.1111/rssb.12479` (nested sets of sources, aggregated)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> coef, noise = rng.normal(size=10), rng.normal(size=(3, 200))
    >>> X, X_target, X_later = rng.normal(size=(200, 10)), rng.normal(size=(20, 10)), np.eye(10)
    >>> labels = [X @ coef + noise[0], -X @ coef + noise[1]]
    >>> source = Source(np.vstack([X, X]), np.concatenate(labels), np.repeat(["good", "bad"], 200))
    >>> model = TransferEstimator(Ridge(), source=source, adaptation="auto")
    >>> model = model.fit(X_target, X_target @ coef + noise[2, :20])
    >>> report = model.transfer_report_
    >>> for label, weight in zip(report["source"], report["weight"]):
    ...     print(f"{label} {weight:.1f}")
    bad 0.0
    good 0.7
    """

    needs_numbers = False

    def __init__(self, shift=True):
        self.shift = shift

    def check(self):
        """Raise a ValueError unless `shift` is a bool."""
        if not isinstance(self.shift, (bool, np.bool_)):
            raise ValueError(
                f"shift={self.shift!r} must be True (try constants added to labels) or False."
            )

    def fit(self, problem, random_state, progress):
        """Judge the candidates and fit a clone of the estimator with the weights they lead to."""
        n_sources = len(problem.sources)
        if not problem.splits:
            progress(f"fitting on all rows; {len(problem.y)} target rows cannot judge")
            weights, shifts, report, history = np.ones(n_sources), None, {}, {}
        else:
            judge = _Judge(problem, self.shift and _may_shift(problem))
            weights, shift_share, report, history = judge.verdict(progress)
            shifts = None
            if shift_share > 0:
                shifts = shift_share * judge.shifts_of(np.arange(len(problem.y)))
                shifts[weights == 0] = 0.0
            report["shift"] = np.zeros(n_sources) if shifts is None else shifts
        used = int(np.count_nonzero(weights))
        progress(f"fitting on target rows and {used} of {n_sources} sources")
        predictor = Pool(problem, np.arange(len(problem.y))).fit(weights, shifts)
        return Adapted(predictor, weights, report, history)


def _may_shift(problem):
    if problem.classifier or isinstance(problem.estimator, TransformedTargetRegressor):
        return False
    return not get_tags(problem.estimator).target_tags.positive_only


class _Judge:
    """Candidates and the errors of target rows under them."""

    def __init__(self, problem, shift):
        self.problem = problem
        self.shift = shift
        self.weighs = takes_weights(problem.estimator)
        self.of_sources = np.array([total_weight(source) for source in problem.sources])
        self.candidates, self.errors = [], np.empty((0, len(problem.y)))
        self.moments = RidgeMoments(problem) if RidgeMoments.fits(problem) else None
        # By the model of each source (n_sources, n_target), for its shift.
        self.missed = self._missed_by_each() if shift else None
        if shift and self.moments is None:
            self.shift = self._takes_shifts()
        # How many splits test each row; what none tests does not count.
        self.counts = np.zeros(len(problem.y))
        for _, test in problem.splits:
            np.add.at(self.counts, test, 1.0)
        self.row_weight = np.where(self.counts > 0, problem.row_weight, 0.0)

    # ----------------------------------------------------------------------- candidates

    def _at_all_weights(self, name, members):
        """Candidates of one set of sources."""
        inside = np.zeros(len(self.of_sources))
        inside[members] = 1.0
        steps = np.ones(1)
        if self.weighs:
            of_target = total_weight(self.problem)
            steps = steps_down(self.of_sources[members].sum(), of_target, _STEP, _MOST_STEPS)
        flags = (0.0, 1.0) if self.shift else (0.0,)
        return [_Candidate(name, step * inside, flag) for step in steps for flag in flags]

    def _independent(self):
        """Empty where the target's rows show one class: they cannot tell the other's."""
        if not tells_classes(self.problem, self.problem.y):
            return []
        return [_Candidate("independent", np.zeros(len(self.of_sources)))]

    def _try(self, candidates):
        """Add candidates and the errors of all rows under them."""
        if candidates:
            self.errors = np.vstack([self.errors, self._errors_of(candidates)])
            self.candidates += candidates

    def _errors_of(self, candidates):
        """Cross-validated errors of all rows, of shape (n_candidates, n_target)."""
        problem = self.problem
        if self.moments is not None:
            found = [self._linear_errors(candidates, *split) for split in problem.splits]
        else:
            found = Parallel(n_jobs=problem.n_jobs)(
                delayed(_split_errors)(problem, candidates, self.shifts_of(train), train, test)
                for train, test in problem.splits
            )
        sums = np.zeros((found[0].shape[0], len(candidates), len(problem.y)))
        for (_, test), errors in zip(problem.splits, found, strict=True):
            np.add.at(sums, (slice(None), slice(None), test), errors)
        best = (sums @ self.row_weight).argmin(axis=0)
        return sums[best, np.arange(len(candidates))] / np.maximum(self.counts, 1.0)

    def shifts_of(self, rows):
        """What to add to each source's labels, by these target rows; None: not asked for."""
        if not self.shift:
            return None
        weight = self.problem.weight
        weight = None if weight is None else weight[rows]
        return np.average(self.missed[:, rows], axis=1, weights=weight)

    def _missed_by_each(self):
        if self.moments is None:
            return np.array([_missed(self.problem, source) for source in self.problem.sources])
        coef, intercept = self.moments.alone()
        return self.problem.y - intercept[:, None] - coef @ self.problem.X.T

    def _takes_shifts(self):
        """Whether the estimator can be fitted to shifted labels, as counts cannot below zero."""
        problem, ones = self.problem, np.ones(len(self.of_sources))
        every = np.arange(len(problem.y))
        pool = Pool(problem, every)
        try:
            pool.fit(ones, self.shifts_of(every))
        except ValueError as error:
            pool.fit(ones)  # raises, where the shift is not to blame
            warnings.warn(
                f"a constant added to the labels of sources is not tried, as it would be with "
                f"other labels: estimator={type(problem.estimator).__name__} raised {error!r}. "
                "Set adaptation=Auto(shift=False) to say so yourself.",
                UserWarning,
                stacklevel=2,
            )
            return False
        return True

    def _linear_errors(self, candidates, train, test):
        """As `_split_errors`."""
        weights = np.array([c.weights for c in candidates])
        shifts = np.zeros(weights.shape)
        if self.shift:
            shifts = np.outer([c.shifted for c in candidates], self.shifts_of(train))
        coef, intercept = self.moments.lines(weights, shifts, train)
        X, y = self.problem.X[test], self.problem.y[test]
        return ((y - intercept[:, None] - coef @ X.T) ** 2)[None]

    # -------------------------------------------------------------------------- verdict

    def verdict(self, progress):
        """Weights of the sources, the share of shifted labels, the report and the history."""
        sources = self.problem.sources
        n_sources = len(sources)
        own = [self._at_all_weights(str(s.label), [k]) for k, s in enumerate(sources)]
        first = [*self._independent(), *(c for some in own for c in some)]
        progress(f"judging {n_sources} sources in {len(self.problem.splits)} splits")
        self._try(first)
        of_single = np.array([c.weights.argmax() if c.weights.any() else -1 for c in first])
        error = self._mean_errors(self.errors)
        best = [np.flatnonzero(of_single == k)[error[of_single == k].argmin()] for k in
                range(n_sources)]  # fmt: skip
        order = np.argsort(error[best], kind="stable")
        sets = [
            self._at_all_weights("pooled" if n == n_sources else f"best {n}", order[:n])
            for n in _sizes(n_sources)
        ]
        if sets:
            progress(f"judging {len(sets)} sets of sources")
        self._try([c for some in sets for c in some])
        share = self._shares()
        weights = np.array([c.weights for c in self.candidates])
        shifted = np.array([c.shifted for c in self.candidates])
        helped = weights.any(axis=1)
        if self.weighs:
            shift_share = share @ shifted / max(share[helped].sum(), 1e-300)
            progress("judging means of their weights")
            found = self._mean_weights(share, weights, shift_share)
        else:
            best_of_all = share.argmax()
            found = self._without_traces(weights[best_of_all])
            shift_share = shifted[best_of_all]
        history = {
            "candidate": np.array([c.name for c in self.candidates]),
            "weight": weights.max(axis=1),
            "shifted": shifted > 0,
            "error": self._mean_errors(self.errors),
            "share": share,
        }
        return found, shift_share if found.any() else 0.0, self._report(best), history

    def _mean_weights(self, share, weights, shift_share):
        """The mean of the candidates' weights, in the power that does best on the target's rows."""
        means = self._without_traces(np.array([(share @ weights**p) ** (1.0 / p) for p in _POWERS]))
        if (means.min(axis=0) >= (1.0 - _SAME) * means[0]).all():
            return means[0]
        errors = self._errors_of([_Candidate("mean", mean, shift_share) for mean in means])
        evidence = self._evidence(errors, whole=True) - _POWER_COST * np.arange(len(means))
        return means[evidence.argmax()]

    def _without_traces(self, weights):
        """Weights, zero where all rows of a source together would count next to nothing."""
        if not self._independent():
            return weights
        least = _LEAST_SHARE * total_weight(self.problem)
        return np.where(weights * self.of_sources < least, 0.0, weights)

    def _mean_errors(self, errors):
        return errors @ self.row_weight / self.row_weight.sum()

    def _evidence(self, errors, whole=False):
        """Log-likelihoods of candidates; half of them of squares, unless the `whole` is asked."""
        error, n_rows = self._mean_errors(errors), self.row_weight.sum()
        if self.problem.classifier:
            return -n_rows * error
        y = self.problem.y
        level = np.average(y, weights=self.row_weight)
        constant = np.average((y - level) ** 2, weights=self.row_weight)
        return (2.0 if whole else 1.0) * evidence_of_squares(error, n_rows, constant)

    def _shares(self):
        """How much each candidate is to be believed."""
        helped = np.array([c.weights.any() for c in self.candidates])
        shifted = np.array([c.shifted for c in self.candidates])
        ahead = _SHIFT_GAIN * shifted - np.where(helped, 0.0, _INDEPENDENT_COST)
        evidence = self._evidence(self.errors) + ahead
        share = np.exp(evidence - evidence.max())
        return share / share.sum()

    def _report(self, best):
        """What each source is worth alone, beside the target without help."""
        errors, n_sources = self.errors[best], len(best)
        report = {"error": errors @ self.row_weight / self.row_weight.sum()}
        if self.candidates[0].name != "independent":
            return report
        alone, judged = self.errors[0], self.row_weight > 0
        w = self.row_weight[judged]
        with np.errstate(invalid="ignore", over="ignore"):  # predictions may have been infinite
            gap = (errors - alone)[:, judged]
            spread = ((gap - np.average(gap, axis=1, weights=w)[:, None]) ** 2) @ w
        report["error_independent"] = np.full(n_sources, np.average(alone[judged], weights=w))
        report["standard_error"] = np.sqrt(spread / w.sum() / max(w.sum() - 1.0, 1.0))
        return report


def _sizes(n_sources):
    """Numbers of sources in the sets: all up to eight, then growing by a quarter, and the last."""
    sizes, n = [], 2
    while n < n_sources:
        sizes.append(n)
        n = max(n + 1, int(np.ceil(1.25 * n))) if n >= 8 else n + 1
    return [*sizes, n_sources] if n_sources > 1 else []


def _missed(problem, source):
    """By how much a source's model misses each target row; its mean, where it has no model."""
    try:
        model = fit_rows(problem.estimator, source.X, source.y, source.weight)
        missed = problem.y - model.predict(problem.X)
    except ValueError:  # few rows, such as one for three neighbours
        missed = np.array([np.nan])
    if not np.isfinite(missed).all():
        missed = problem.y - np.average(source.y, weights=source.weight)
    return missed


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
    if isinstance(model, DummyClassifier):
        model = estimator
    return hasattr(model, "predict_proba")


def _fit_candidate(pool, candidate, shifts):
    if pool.problem.classifier:
        used = pool.y[np.append(candidate.weights, 1.0)[pool.codes] > 0]
        if not tells_classes(pool.problem, used):  # a fold, or a source, without the other class
            return DummyClassifier().fit(np.zeros((len(used), 1)), used)
    try:
        return pool.fit(
            candidate.weights, candidate.shifted * shifts if candidate.shifted else None
        )
    except ValueError as error:
        if candidate.shifted:
            error.add_note(
                "A constant had been added to the labels of sources; if the estimator does not "
                "take such labels, set adaptation=Auto(shift=False)."
            )
        raise
