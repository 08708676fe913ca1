"""Which sources help, how much they are to count, and whether their labels are to be shifted."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils import get_tags

from ..base import Adaptation, AdaptationResult, takes_weights, tells_classes
from ..pool import Pool
from ._finalists import Finalists, few_splits, list_finalists
from ._ridge_judge import RidgeJudge
from ._view import exact_view, is_plain_ridge, rough_view

__all__ = ["Auto"]


class Auto(Adaptation):
    r"""Sources that help count much, others little or nothing: judged on target rows.

    One model for all rows, as in `Pooled`, with a weight for each source. Sources are judged by
    ridge regressions, which cost little, on target rows left out (``cv`` of `TransferEstimator`):

    - *independent*: target rows alone;
    - each source alone beside the target;
    - the best two sources, the best three, ..., all of them (of many sources, in growing steps).

    Each set is tried at several weights of its rows, from 1 (*pooled*) down to where they count
    a tenth of the target's rows, and, for a regressor, with and without a constant of its own
    added to each source's labels: the mean of what its ridge misses on the target.
    Candidate :math:`c` of mean squared error :math:`e_c` gets the share

    .. math:: \pi_c \propto e_c^{-n/4} \text{ (numbers)}, \qquad
        \pi_c \propto e_c^{-n/2} \text{ (classes, as one column of 0 and 1 each)}

    with `n` target rows: of numbers half the evidence is taken, as few rows judge many candidates.
    Beforehand, help is ahead of none by 2 nats, and shifted labels of others by a half.
    The weights of the sources are the candidates' mean by share,
    :math:`(\sum_c \pi_c w_c^p)^{1/p}`. At :math:`p = 1` some trust in a large source that harms
    outweighs the target's rows; so means of six powers from 1 down to 0.1 are judged in turn, on
    all of the evidence, each 0.8 nats behind the one before, and the best is taken.

    For a `Ridge` of up to 128 features these are its own errors, and that is all. Any other
    estimator is not a ridge: it is fitted itself, in up to four splits, with the *finalists*

    - *independent*: target rows alone;
    - *weighed*: the weights that ridges lead to, or their best set where they see no help; or,
      where ridges do not do better with them by 1 nat, *selected*: the sources of at least a tenth
      of the largest of these weights, at weight 1;
    - *pooled*: all rows alike.

    Their shares are by likelihood, :math:`e_c^{-n/2}`, or :math:`\exp(-n e_c)` of log-losses at
    the best of four powers of the probabilities, from 1 up, so that what counts is how well
    classes are told apart; help is ahead by 1 nat, of classes 2. The weights are their mean with
    :math:`p = 1/2`, and with these the estimator is fitted to all rows.

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
    The estimator is fitted at most 15 times in all: 12 to judge three finalists in four splits, two
    to see whether it takes shifted labels, where none is below zero, and once at the end. More
    splits than four are joined to four, where each row is tested once; else the first four count.
    ``n_jobs`` runs splits in parallel.

    Ridges see numbers: at most 64 columns, those most correlated with labels, standardised (gaps
    filled, categories one-hot encoded), and, unless the estimator is a linear one of scikit-learn,
    the leaves of small trees fitted to the largest sources, which tell what is not linear. Their
    strength is chosen by generalised cross-validation within sources and target.

    An estimator that does not take ``sample_weight`` gets the best finalist, of sets of sources
    at weight 1. A single target row cannot judge: all sources count 1. For `Lasso` and `LassoCV`
    `TransLasso` is faster still.

    In ``transfer_report_`` are, for each source, "error" (cross-validated squared error of the
    ridge with this source alone at the best weight, labels shifted or not; of classes summed over
    their standardised columns), "error_independent" (without any, the same for all),
    "standard_error" of the difference, and "shift" (what was added to its labels). These errors
    also did the choosing and are somewhat optimistic. ``history_`` has the finalists, of a `Ridge`
    all candidates. Where rows of the target are copies of each other, give a ``cv`` that keeps
    copies together: else the target's rows alone look better than they are.

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

    def reads_numbers(self, estimator):
        """Whether tables are to be numbers: of a plain `Ridge` their sums are enough."""
        return is_plain_ridge(estimator)

    def fit(self, problem, random_state, progress):
        """Judge the candidates and fit a clone of the estimator with the weights they lead to."""
        n_sources = len(problem.sources)
        if not problem.splits:
            progress(f"fitting on all rows; {len(problem.y)} target rows cannot judge")
            weights, shifts, report, history = np.ones(n_sources), None, {}, {}
        else:
            weights, shifts, report, history = self._judge(problem, progress)
            report["shift"] = np.zeros(n_sources) if shifts is None else shifts
        used = int(np.count_nonzero(weights))
        progress(f"fitting on target rows and {used} of {n_sources} sources")
        predictor = Pool(problem, np.arange(len(problem.y))).fit(weights, shifts)
        return AdaptationResult(predictor, weights, report, history)

    def _judge(self, problem, progress):
        """Weights of the sources, what to add to their labels, the report and the history."""
        given = {
            "shift": self.shift and _may_shift(problem),
            "weighs": takes_weights(problem.estimator),
            # Where the target's rows show one class they cannot tell the other's.
            "alone": tells_classes(problem, problem.y),
        }
        view = exact_view(problem)
        if view is not None:
            judge = _by_ridges(view, problem.splits, progress, **given)
            weights, shifted = judge.verdict()
            history = judge.history()
        else:
            splits = few_splits(problem.splits)
            view = rough_view(problem)
            judge = _by_ridges(view, splits, progress, **given)
            listed = list_finalists(judge, *judge.verdict())
            if any(c.shifted for c in listed) and not _takes_shifts(problem, judge, listed):
                listed = [replace(c, shifted=0.0) for c in listed]
            weights, shifted, history = Finalists(problem, splits, judge.shifts_of).choose(
                listed, progress
            )
            weights = judge.without_traces(weights)
        shifts = None
        if shifted > 0 and weights.any():
            shifts = shifted * judge.shifts_of(np.arange(len(problem.y)))
            shifts[weights == 0] = 0.0
        return weights, shifts, judge.report(), history


def _by_ridges(view, splits, progress, **given):
    n = len(view.sources)
    progress(f"judging {n} source{'s' * (n > 1)} by ridges in {len(splits)} splits")
    judge = RidgeJudge(view, splits, **given)
    judge.judge()
    return judge


def _takes_shifts(problem, judge, candidates):
    """Whether the estimator can be fitted to shifted labels, as counts cannot below zero."""
    if any(y.min() < 0.0 for y in (problem.y, *(source.y for source in problem.sources))):
        return True  # the estimator is known to take labels below zero
    every = np.arange(len(problem.y))
    pool, one = Pool(problem, every), next(c for c in candidates if c.shifted)
    try:
        pool.fit(one.weights, one.shifted * judge.shifts_of(every))
    except ValueError as error:
        pool.fit(one.weights)  # raises, where the shift is not to blame
        warnings.warn(
            f"a constant added to the labels of sources is not tried, as it would be with "
            f"other labels: estimator={type(problem.estimator).__name__} raised {error!r}. "
            "Set adaptation=Auto(shift=False) to say so yourself.",
            UserWarning,
            stacklevel=2,
        )
        return False
    return True


def _may_shift(problem):
    estimator = problem.estimator
    return not (
        problem.classifier
        or isinstance(estimator, TransformedTargetRegressor)
        or get_tags(estimator).target_tags.positive_only
    )
