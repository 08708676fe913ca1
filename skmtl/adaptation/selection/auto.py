"""Automatic choice of the sources' weights, and of constants added to their labels."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils import get_tags

from ..base import (
    Adaptation,
    AdaptationResult,
    enough_classes,
    takes_weights,
)  # fmt: skip
from ..pooled_rows import PooledRows
from ._finalists import Finalists, few_splits, list_finalists
from ._ridge_data import approximate_ridge_data, exact_ridge_data, is_plain_ridge
from ._ridge_screening import RidgeScreening

__all__ = ["Auto"]


class Auto(Adaptation):
    r"""Weights of sources, chosen on the target's rows: large if a source helps, otherwise small.

    One model for all rows, as in `Pooled`, with one weight per source. Sources are evaluated by
    ridge regressions, which are cheap, on held-out target rows (``cv`` of `TransferEstimator`):

    - *independent*: target rows alone;
    - each source alone with the target;
    - the best two sources, the best three, ..., all of them (with many sources, in growing steps).

    Each set is tried at several weights of its rows, from 1 (*pooled*) down to where they count a
    tenth of the target's rows, and, for a regressor, with and without a constant added to the
    labels of each source: the mean residual of the source's ridge on the target. A candidate c with
    mean squared error :math:`e_c` has the share

    .. math:: \pi_c \propto e_c^{-n/4} \text{ (numbers)}, \qquad
        \pi_c \propto e_c^{-n/2} \text{ (classes, as one column of 0 and 1 each)}

    with `n` target rows; for numbers the log-likelihood is halved, since the rows are few and the
    candidates many. The prior is 2 nats in favour of candidates with sources, and half a nat in
    favour of shifted labels. The weights of the sources are the mean of the candidates' weights,
    :math:`(\sum_c \pi_c w_c^p)^{1/p}`. At :math:`p = 1` a small share of a large harmful source
    outweighs the target's rows. Therefore means with six powers from 1 down to 0.1 are compared by
    the full log-likelihood, each must be better than the one before by 0.8 nats, and the best is
    used.

    For a `Ridge` with up to 128 features these errors are the estimator's own, and the weights are
    final. Any other estimator is itself fitted, in up to four splits, with the *finalists*

    - *independent*: target rows alone;
    - *weighed*: the weights that ridges lead to, or their best set of sources if these are zero;
      or, if ridges are not better with the weights by 1 nat, *selected*: the sources with at least
      a tenth of the largest of these weights, at weight 1;
    - *pooled*: all rows with weight 1.

    Their shares are :math:`\propto e_c^{-n/2}`, or :math:`\propto \exp(-n e_c)` for log-losses with
    the best of four powers of the probabilities, from 1 up, so that the shares depend on how well
    classes are separated. The prior in favour of candidates with sources is 1 nat, and 2 nats for
    classes. The weights are the mean with :math:`p = 1/2`, and the estimator is fitted with them on
    all rows.

    Harmful sources receive a weight of almost or exactly zero, and if no source helps, the model is
    that of the target's rows alone. This is guarded, not guaranteed, because the choice is based on
    few rows.

    Parameters
    ----------
    shift : bool, default=True
        Whether constants added to the labels of sources are tried. Never for a classifier, a
        ``TransformedTargetRegressor``, or an estimator whose tags require positive labels; nor,
        with a warning, if the estimator raises an error for them.

    Notes
    -----
    The estimator is fitted at most 15 times: 12 times to evaluate three finalists in four splits,
    twice to test whether it accepts shifted labels if no label is negative, and once at the end. If
    there are more than four splits, they are joined to four if each row is tested once; otherwise
    the first four are used. ``n_jobs`` runs splits in parallel.

    Ridges use numbers: at most 64 columns, those most correlated with labels, standardised (gaps
    filled, categories one-hot encoded), and, unless the estimator is a linear one of scikit-learn,
    the leaves of small trees fitted to the largest sources, which represent nonlinear effects. The
    ridges' strength is chosen by generalised cross-validation within sources and target.

    For an estimator that does not support ``sample_weight`` the best finalist is used, among sets
    of sources at weight 1. With a single target row all sources have weight 1. For `Lasso` and
    `LassoCV`, `TransLasso` is faster still.

    ``transfer_report_`` contains, for each source, "error" (the cross-validated squared error of
    the ridge with this source alone at the best weight, with labels shifted or not; for classes,
    summed over their standardised columns), "error_independent" (without sources, the same number
    for all), "standard_error" of the difference, and "shift" (the constant added to its labels).
    These errors are those used for the choice, and are therefore slightly optimistic. ``history_``
    contains the finalists; for a `Ridge`, all candidates. If target rows are copies of each other,
    pass a ``cv`` that keeps copies together: otherwise the error of the target's rows alone is too
    small.

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

    def __init__(self, shift: bool = True):
        self.shift = shift

    def check(self) -> None:
        """Raise a ValueError unless `shift` is a bool."""
        if not isinstance(self.shift, (bool, np.bool_)):
            raise ValueError(
                f"shift={self.shift!r} must be True (try constants added to labels) or False."
            )

    def reads_numbers(self, estimator: Any) -> bool:
        """Return whether tables must be finite float64 numbers for this estimator.

        Parameters
        ----------
        estimator : estimator
            The estimator to be fitted.

        Returns
        -------
        bool
            True for a `Ridge` whose fits can be computed from moments of the rows.
        """
        return is_plain_ridge(estimator)

    def _fit(self, problem, random_state, progress):
        """Evaluate the candidates, and fit a clone of the estimator with the resulting weights."""
        n_sources = len(problem.sources)
        if not problem.splits:
            progress(
                f"fitting on all rows; {len(problem.y)} target rows are too few to choose weights"
            )
            weights, shifts, report, history = np.ones(n_sources), None, {}, {}
        else:
            weights, shifts, report, history = self._choose_weights(problem, progress)
            report["shift"] = np.zeros(n_sources) if shifts is None else shifts
        progress(f"fitting on target rows and {np.count_nonzero(weights)} of {n_sources} sources")
        predictor = PooledRows(problem, problem.all_rows).fit(weights, shifts)
        return AdaptationResult(predictor, weights, report, history)

    def _choose_weights(self, problem, progress):
        """Return the weights and shifts of the sources, the report, and the history."""
        data, splits = exact_ridge_data(problem), problem.splits
        exact = data is not None
        if not exact:
            data, splits = approximate_ridge_data(problem), few_splits(splits)
        n = len(data.sources)
        progress(f"evaluating {n} source{'s' * (n > 1)} by ridges in {len(splits)} splits")
        screening = RidgeScreening(
            data, splits,
            shift=self.shift and _may_shift(problem),
            takes_weights=takes_weights(problem.estimator),
            # Target rows of one class do not show how well the other class is predicted.
            alone=enough_classes(problem, problem.y),
        )  # fmt: skip
        weights, shifted = screening.source_weights()
        if exact:
            history = screening.history()
        else:
            finalists = list_finalists(screening, weights, shifted)
            if any(c.shifted for c in finalists) and not _accepts_shifts(
                problem, screening, finalists
            ):
                finalists = [replace(c, shifted=0.0) for c in finalists]
            weights, shifted, history = Finalists(problem, splits, screening.shifts_of).choose(
                finalists, progress
            )
            weights = screening.without_traces(weights)
        shifts = None
        if shifted > 0 and weights.any():
            shifts = shifted * screening.shifts_of(problem.all_rows)
            shifts[weights == 0] = 0.0
        return weights, shifts, screening.report(), history


def _accepts_shifts(problem, screening, candidates):
    """Return whether the estimator can be fitted to shifted labels; counts cannot be negative."""
    if any(y.min() < 0.0 for y in (problem.y, *(source.y for source in problem.sources))):
        return True  # the estimator is known to accept negative labels
    pool, candidate = (
        PooledRows(problem, problem.all_rows),
        next(c for c in candidates if c.shifted),
    )
    try:
        pool.fit(candidate.weights, candidate.shifted * screening.shifts_of(problem.all_rows))
    except ValueError as error:
        pool.fit(candidate.weights)  # raises if the shift is not the cause
        warnings.warn(
            "constants added to the labels of sources are not tried: estimator="
            f"{type(problem.estimator).__name__} raised {error!r} when fitted to shifted labels. "
            "Set adaptation=Auto(shift=False) to suppress this warning.",
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
