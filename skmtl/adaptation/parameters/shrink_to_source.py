"""Linear models shrunk towards the parameters of the source's model."""

from functools import partial
from typing import Any, Literal

import numpy as np

from ..._compat import take_rows
from ..base import (
    Adaptation,
    AdaptationResult,
    choice,
    fit_target,
    is_auto,
    number,
)  # fmt: skip
from ..evaluation import best_candidate, row_errors
from ..linear_models import check_linear, own_penalty, read_scores, target_rows, write_scores
from ._candidates import can_fit_target, source_models

__all__ = ["ShrinkToSource"]

# Candidates for alpha, beside 0 and infinity, relative to the scale of the rows.
_GRID = np.logspace(2.0, -4.0, 13)


class ShrinkToSource(Adaptation):
    r"""A linear model with slopes that are shrunk towards those of the source's model.

    The estimator is fitted on the source's rows. Then, with its slopes :math:`b^S`, the model of
    the target's rows minimises

    .. math:: \min_{b, c} \; \sum_i w_i (y_i - x_i'b - c)^2 + \alpha \|b - b^S\|^2
        + \alpha_0 \|b\|^2

    where :math:`\alpha_0` is the estimator's own penalty: ``alpha`` of a Ridge, zero for other
    regressors. For a LogisticRegression the loss is the log-loss, penalties are halved, and
    :math:`\alpha_0` is 1 / ``C``. The intercept c is not penalised. At infinity the slopes are the
    source's, and only the intercept is fitted on the target; at zero the result is the estimator
    fitted on the target's rows alone, which is the guard against a harmful source.

    The assumption is that features have similar effects in source and target: that :math:`b - b^S`
    is small, whatever the distributions of features are. Levels may differ by any amount. Target
    labels are needed.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Strength of the shrinkage, from 0 to infinity, in the unit of ``alpha`` of Ridge (1 / ``C``
        of LogisticRegression), relative to losses summed over rows. "auto" chooses among 0,
        infinity and thirteen values between, from 1e-4 to 100 times the scale of the rows (the mean
        square of a feature, times the number of rows), by cross-validation over target rows (``cv``
        of `TransferEstimator`), with the squared error or the log-loss. With a single target row it
        is infinity.
    sources : {"nearest", "all"}, default="nearest"
        With several sources, whether slopes are shrunk towards those of one model of all their rows
        ("all"), or also towards those of the nearest ones: sources are sorted by the error that the
        slopes of each have on the target's rows, and the first one, two, four, ..., all are tried
        along with `alpha`. This guards against a few harmful sources among useful ones.

    Notes
    -----
    Any regressor that predicts by ``coef_`` and ``intercept_`` is supported. On the source's rows
    it is fitted with its own loss and penalty, such as a Lasso's; on the target's rows the loss is
    the squared error. Other fitted attributes, such as ``n_iter_``, are those of the fit on the
    source.

    If the target's rows do not determine the slopes and the estimator has no penalty, a small
    `alpha` leads to the solution that fits the rows and is nearest to the source's, which is not
    that of ``alpha=0``.

    For classes without target rows, the scores at the mean of the target's rows stay those of the
    source, relative to the mean of the others'.

    ``source_weights_`` are 1 for the sources that the slopes are shrunk towards, otherwise 0.

    References
    ----------
    Chelba, C. and Acero, A. (2006). Adaptation of maximum entropy capitalizer: little data can
    help a lot. Computer Speech & Language 20(4). :doi:`10.1016/j.csl.2005.05.005`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> coef = rng.normal(size=8)
    >>> X, X_new, X_later = (rng.normal(size=(n, 8)) for n in (500, 12, 1000))
    >>> old = Source(X, X @ coef + 0.5 * rng.normal(size=500))
    >>> moved = coef + 0.2 * rng.normal(size=8)
    >>> y_new, y_later = X_new @ moved + 3 + 0.5 * rng.normal(size=12), X_later @ moved + 3
    >>> model = TransferEstimator(Ridge(), source=old, adaptation="shrink_to_source")
    >>> model = model.fit(X_new, y_new)
    >>> model.score(X_later, y_later) > Ridge().fit(X_new, y_new).score(X_later, y_later)
    True
    """

    _checks = {
        "alpha": number(
            least=0.0,
            auto=True,
            infinite=True,
            why="the strength of the shrinkage towards the source's slopes",
        ),
        "sources": choice("nearest", "all"),
    }

    def __init__(
        self,
        alpha: float | Literal["auto"] = "auto",
        sources: Literal["nearest", "all"] = "nearest",
    ):
        self.alpha = alpha
        self.sources = sources

    def _check_given(self, *, estimator: Any, classifier: bool, **given: bool) -> None:
        super()._check_given(estimator=estimator, classifier=classifier, **given)
        check_linear(self, estimator, classifier)

    def _fit(self, problem, random_state, progress):
        """Choose the candidate by cross-validation, and fit it on all target rows."""
        progress(f"fitting on the rows of {len(problem.sources)} sources")
        rows = target_rows(problem, problem.all_rows)
        centres = self._centres(problem, rows)
        grid = _grid(problem, rows) if is_auto(self.alpha) else [float(self.alpha)]
        # Of equals the first: all sources, and the strongest shrinkage.
        tried = [(centre, alpha) for centre in centres for alpha in grid]
        if is_auto(self.alpha) and _can_be_zero(problem):
            tried.append((centres[0], 0.0))
        (centre, alpha), history = tried[0], {}
        if problem.splits and len(tried) > 1:
            models = partial(self._models, problem, tried)
            (centre, alpha), errors = best_candidate(problem, tried, models, progress)
            history = {
                "n_sources": np.array([len(group) for (group, *_), _ in tried]),
                "alpha": np.array([alpha for _, alpha in tried]),
                "error": errors,
            }
        progress(f"fitting on {len(problem.y)} target rows, with alpha={alpha:g}")
        predictor = self._fit_candidate(problem, rows, problem.all_rows, centre, alpha)
        weights = np.zeros(len(problem.sources))
        weights[centre[0]] = float(alpha > 0)
        return AdaptationResult(predictor, weights, history=history)

    def _centres(self, problem, rows):
        """Return the candidates to shrink towards: (positions of sources, model, its scores)."""

        def source_error(model):
            centre = None, model, read_scores(model, problem.classes, self)
            model = self._fit_candidate(problem, rows, problem.all_rows, centre, np.inf)
            return problem.row_weight @ row_errors(model, problem.X, problem.y, problem.classes)

        return [
            (group, model, read_scores(model, problem.classes, self))
            for group, model in source_models(problem, self.sources, source_error)
        ]

    def _models(self, problem, tried, index):
        rows = target_rows(problem, index)
        for centre, alpha in tried:
            yield self._fit_candidate(problem, rows, index, centre, alpha)

    def _fit_candidate(self, problem, rows, index, centre, alpha):
        """Return the model of the target rows `index`, which the solver takes as `rows`."""
        own = own_penalty(problem.estimator) or 0.0
        if alpha == 0 and not own:
            return fit_target(problem, index)
        _, model, (coef, intercept) = centre
        # The sum of both penalties is one, about a point between zero and the source's slopes.
        share = 1.0 if alpha == np.inf else alpha / (alpha + own)
        # Intercepts that are not fitted keep the scores at the mean of the rows.
        intercept = intercept + (1.0 - share) * (coef @ rows.mean)
        coef, intercept = rows.solve(share * coef, intercept, alpha + own)
        X = take_rows(problem.X, index)
        return write_scores(model, coef, intercept, problem.classes, X, self)


def _grid(problem, rows):
    """Return positive values of alpha, the largest first."""
    if not problem.splits or not len(rows.s):
        return [np.inf]
    return [np.inf, *(rows.scale * _GRID).tolist()]


def _can_be_zero(problem):
    """Return whether alpha can be zero.

    Without a penalty, rows of a single class do not determine a model.
    """
    return bool(problem.splits) and bool(own_penalty(problem.estimator) or can_fit_target(problem))
