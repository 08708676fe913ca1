"""A linear model that is pulled to the parameters of the source's."""

from functools import partial

import numpy as np

from ..._compat import take_rows
from ..base import Adaptation, AdaptationResult, check_choice, check_number, fit_target, is_auto
from ..judge import candidate_errors, row_errors
from ..linear_models import check_linear, own_penalty, read_scores, target_rows, write_scores
from ._candidates import has_classes, source_models

__all__ = ["ShrinkToSource"]

# Candidates for alpha, beside 0 and infinity, relative to what the rows weigh.
_GRID = np.logspace(2.0, -4.0, 13)


class ShrinkToSource(Adaptation):
    r"""A linear model that is pulled to the parameters of the source's.

    The estimator is fitted on the source's rows; then, with its slopes :math:`b^S`, on the
    target's,

    .. math:: \min_{b, c} \; \sum_i w_i (y_i - x_i'b - c)^2 + \alpha \|b - b^S\|^2
        + \alpha_0 \|b\|^2

    where :math:`\alpha_0` is the estimator's own penalty: ``alpha`` of a Ridge, none of other
    regressors. Of a LogisticRegression the loss is the log-loss, penalties are halved, and
    :math:`\alpha_0` is 1 / ``C``. The intercept c is free; it is not pulled. At infinity the slopes
    are the source's and only the intercept is the target's own; at zero it is the estimator fitted
    on the target's rows alone, which is what protects from a source that harms.

    It assumes that features do about the same in source and target: that :math:`b - b^S` is
    small, whatever rows look like on either side. Levels may differ at will. It needs labels of
    the target.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Strength of the pull, from 0 to infinity, in the unit of ``alpha`` of Ridge (1 / ``C`` of
        LogisticRegression): beside the sum of the losses of rows. "auto" takes the best of 0,
        infinity and thirteen values between, from 1e-4 to 100 times what the rows weigh (the mean
        square of a feature, times the number of rows): by cross-validation over target rows (``cv``
        of `TransferEstimator`), by squared error or log-loss. With a single target row it is
        infinity.
    sources : {"nearest", "all"}, default="nearest"
        Of several sources, slopes are pulled to those of one model of all their rows, or of the
        rows of the nearest: sources are sorted by how well the slopes of each predict the target's
        rows, and the first one, two, four, ..., all are tried along with `alpha`. That is the
        guard against some sources that harm.

    Notes
    -----
    Any regressor will do that predicts by ``coef_`` and ``intercept_``; the source's rows have
    its own loss and penalty, such as a Lasso's, the target's have squared loss. What it learned
    besides from the source, such as ``n_iter_``, stays as it was.

    Where the target's rows do not determine the slopes and the estimator has no penalty of its
    own, small `alpha` lead to the solution that fits the rows and is nearest to the source's, which
    is not that of ``alpha=0``.

    Of classes that target rows do not show, the scores at the mean of the target's rows stay as the
    source has them, beside the mean of the others'.

    ``source_weights_`` are 1 for the sources that the slopes are pulled to, else 0.

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

    def __init__(self, alpha="auto", sources="nearest"):
        self.alpha = alpha
        self.sources = sources

    def check(self):
        """Raise a ValueError for another `alpha` than "auto" or 0 to infinity, or `sources`."""
        check_number(
            self, "alpha", least=0.0, auto=True, infinite=True,
            why="how strongly slopes are pulled to the source's",
        )  # fmt: skip
        check_choice(self, "sources", ("nearest", "all"))

    def check_given(self, *, estimator, classifier, **given):
        super().check_given(estimator=estimator, classifier=classifier, **given)
        check_linear(self, estimator, classifier)

    def fit(self, problem, random_state, progress):
        """Fit on the source, then on the target with every candidate and split, and once more."""
        progress(f"fitting on the rows of {len(problem.sources)} sources")
        every = np.arange(len(problem.y))
        rows = target_rows(problem, every)
        centres = self._centres(problem, rows)
        grid = _grid(problem, rows) if is_auto(self.alpha) else [float(self.alpha)]
        # Of equals the first: all sources, and the strongest pull.
        tried = [(centre, alpha) for centre in centres for alpha in grid]
        if is_auto(self.alpha) and _can_be_alone(problem):
            tried.append((centres[0], 0.0))
        (centre, alpha), history = tried[0], {}
        if problem.splits and len(tried) > 1:
            progress(f"judging {len(tried)} candidates in {len(problem.splits)} splits")
            error = candidate_errors(problem, partial(self._models, problem, tried))
            centre, alpha = tried[np.argmin(error)]
            history = {
                "n_sources": np.array([len(group) for (group, *_), _ in tried]),
                "alpha": np.array([alpha for _, alpha in tried]),
                "error": error,
            }
        progress(f"fitting on {len(every)} target rows, with alpha={alpha:g}")
        predictor = self._fit(problem, rows, every, centre, alpha)
        weights = np.zeros(len(problem.sources))
        weights[centre[0]] = float(alpha > 0)
        return AdaptationResult(predictor, weights, history=history)

    def _centres(self, problem, rows):
        """What slopes may be pulled to: (positions of the sources, model, its scores)."""
        every = np.arange(len(problem.y))

        def misses(model):
            centre = None, model, read_scores(model, problem.classes, self)
            model = self._fit(problem, rows, every, centre, np.inf)
            return problem.row_weight @ row_errors(model, problem.X, problem.y, problem.classes)

        return [
            (group, model, read_scores(model, problem.classes, self))
            for group, model in source_models(problem, self.sources, misses)
        ]

    def _models(self, problem, tried, index):
        rows = target_rows(problem, index)
        for centre, alpha in tried:
            yield self._fit(problem, rows, index, centre, alpha)

    def _fit(self, problem, rows, index, centre, alpha):
        """The model of the target's rows `index`, which are `rows` for the solver."""
        own = own_penalty(problem.estimator)
        if alpha == 0 and not own:
            return fit_target(problem, index)
        _, model, (coef, intercept) = centre
        own = own or 0.0
        # Two penalties are one, about a point between zero and the source's slopes.
        share = 1.0 if alpha == np.inf else alpha / (alpha + own)
        # Where intercepts are not free, it is the scores at the rows' mean that stay.
        intercept = intercept + (1.0 - share) * (coef @ rows.mean)
        coef, intercept = rows.solve(share * coef, intercept, alpha + own)
        X = take_rows(problem.X, index)
        return write_scores(model, coef, intercept, problem.classes, X, self)


def _grid(problem, rows):
    """Values of alpha above zero, the strongest pull first."""
    if not problem.splits or not len(rows.s):
        return [np.inf]
    return [np.inf, *(rows.scale * _GRID).tolist()]


def _can_be_alone(problem):
    """Whether alpha can be zero.

    Without a penalty, rows that are all of one class have no model of their own.
    """
    return bool(problem.splits) and bool(own_penalty(problem.estimator) or has_classes(problem))
