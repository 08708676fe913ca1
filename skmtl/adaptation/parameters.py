"""A linear model that is pulled to the parameters of the source's."""

import numbers

import numpy as np
from joblib import Parallel, delayed

from .._compat import take_rows
from ._base import Adaptation, Adapted, fit_rows
from ._judge import row_errors
from ._linear import (
    check_linear,
    fit_sources,
    own_penalty,
    read_scores,
    target_rows,
    write_scores,
)  # fmt: skip

__all__ = ["ShrinkToSource"]

# Candidates for alpha, beside 0 and infinity, relative to what the rows weigh.
_GRID = np.logspace(2.0, -2.0, 9)


class ShrinkToSource(Adaptation):
    r"""A linear model that is pulled to the parameters of the source's.

    The estimator is fitted on the source's rows; then, with its slopes :math:`b^S`, on the
    target's,

    .. math:: \min_{b, c} \; \sum_i w_i (y_i - x_i'b - c)^2 + \alpha \|b - b^S\|^2
        + \alpha_0 \|b\|^2

    where :math:`\alpha_0` is the estimator's own penalty: ``alpha`` of a Ridge, none of other
    regressors. Of a LogisticRegression the loss is the log-loss, penalties are halved, and
    :math:`\alpha_0` is 1 / ``C``. The intercept c is free; it is not pulled. At infinity the slopes are the source's and
    only the intercept is the target's own; at zero it is the estimator fitted on the target's
    rows alone, which is what protects from a source that harms.

    It assumes that features do about the same in source and target: that :math:`b - b^S` is
    small, whatever rows look like on either side. Levels may differ at will. It needs labels of
    the target.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Strength of the pull, from 0 to infinity, in the unit of ``alpha`` of Ridge (1 / ``C`` of
        LogisticRegression): beside the sum of the losses of rows. "auto" takes the best of 0,
        infinity and nine values between, from a hundredth to a hundred times what the rows weigh
        (the mean square of a feature times the number of rows): by cross-validation over target
        rows (``cv`` of `TransferEstimator`), by squared error or log-loss. With a single target
        row it is infinity.
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

    Intercepts of classes that target rows do not show stay as the source has them, beside the mean
    of the others.

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
        value = self.alpha
        if not (isinstance(value, str) and value == "auto"):
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not number or not value >= 0.0:
                raise ValueError(
                    f"alpha={value!r} must be 'auto' or a number from 0 to infinity, such as 10.0: "
                    "how strongly slopes are pulled to the source's."
                )
        if self.sources not in ("nearest", "all"):
            raise ValueError(f"sources={self.sources!r} must be 'nearest' or 'all'.")

    def check_given(self, *, estimator, classifier, **given):
        super().check_given(estimator=estimator, classifier=classifier, **given)
        check_linear(self, estimator, classifier)

    def fit(self, problem, random_state, progress):
        """Fit on the source, then on the target with every candidate and split, and once more."""
        progress(f"fitting on the rows of {len(problem.sources)} sources")
        every = np.arange(len(problem.y))
        rows = target_rows(problem, every)
        centres = self._centres(problem, rows)
        alpha, chosen, history = self.alpha, 0, {}
        grid = _candidates(problem, rows) if alpha == "auto" else np.array([float(alpha)])
        if problem.splits and len(grid) * len(centres) > 1:
            alpha, chosen, history = self._choose(problem, centres, grid, progress)
        elif alpha == "auto":
            alpha = np.inf
        progress(f"fitting on {len(every)} target rows, with alpha={alpha:g}")
        predictor = self._fit(problem, rows, every, centres[chosen], alpha)
        weights = np.zeros(len(problem.sources))
        if alpha > 0:
            weights[centres[chosen][0]] = 1.0
        return Adapted(predictor, weights, history=history)

    def _centres(self, problem, rows):
        """What slopes may be pulled to: (positions of the sources, model, its scores)."""
        everyone = np.arange(len(problem.sources))
        pooled = self._centre(problem, everyone)
        if self.sources == "all" or len(everyone) == 1 or not problem.splits:
            return [pooled]
        own = [
            self._centre(problem, everyone[[s]])
            for s in everyone
            if _is_enough(problem, problem.sources[s])
        ]
        missed = [self._misses(problem, rows, centre) for centre in own]
        own = [own[i] for i in np.argsort(missed, kind="stable")]
        sizes = 2 ** np.arange(int(np.ceil(np.log2(max(len(own), 1)))))
        first = [np.sort(np.concatenate([group for group, *_ in own[:n]])) for n in sizes[::-1]]
        return [pooled, *(own[0] if len(g) == 1 else self._centre(problem, g) for g in first)]

    def _centre(self, problem, group):
        model = fit_sources(problem, [problem.sources[s] for s in group])
        return group, model, read_scores(model, problem.classes, self)

    def _misses(self, problem, rows, centre):
        """The error on the target's rows of a centre's slopes, with an intercept of their own."""
        every = np.arange(len(problem.y))
        errors = row_errors(
            self._fit(problem, rows, every, centre, np.inf), problem.X, problem.y, problem.classes
        )
        return errors.mean() if problem.weight is None else problem.weight @ errors

    def _choose(self, problem, centres, grid, progress):
        """The alpha and the centre of least cross-validated error, and what was tried."""
        n = len(grid) * len(centres)
        progress(f"judging {n} candidates in {len(problem.splits)} splits")
        found = Parallel(n_jobs=problem.n_jobs)(
            delayed(self._judge)(problem, centres, grid, train, test)
            for train, test in problem.splits
        )
        sums, totals = zip(*found, strict=True)
        error = np.sum(sums, axis=0) / np.sum(totals)
        # Of equals the first: all sources, and the strongest pull.
        best = np.unravel_index(np.argmin(error), error.shape)
        history = {"alpha": np.tile(grid, len(centres)), "error": error.ravel()}
        if len(centres) > 1:
            history["n_sources"] = np.repeat([len(group) for group, *_ in centres], len(grid))
        return float(grid[best[1]]), int(best[0]), history

    def _judge(self, problem, centres, grid, train, test):
        """Sums of the test rows' errors ``(n_centres, n_alphas)``, and of their weights."""
        rows = target_rows(problem, train)
        X, y = take_rows(problem.X, test), problem.y[test]
        weight = np.ones(len(test)) if problem.weight is None else problem.weight[test]
        sums = np.empty((len(centres), len(grid)))
        for i, centre in enumerate(centres):
            for j, alpha in enumerate(grid):
                model = self._fit(problem, rows, train, centre, alpha)
                sums[i, j] = weight @ row_errors(model, X, y, problem.classes)
        return sums, weight.sum()

    def _fit(self, problem, rows, index, centre, alpha):
        """The model of the target's rows `index`, which are `rows` for the solver."""
        own = own_penalty(problem.estimator)
        if alpha == 0 and not own:
            weight = None if problem.weight is None else problem.weight[index]
            return fit_rows(
                problem.estimator, take_rows(problem.X, index), problem.y[index], weight
            )
        _, model, (coef, intercept) = centre
        own = own or 0.0
        # Two penalties are one, about a point between zero and the source's slopes.
        share = 1.0 if alpha == np.inf else alpha / (alpha + own)
        coef, intercept = rows.solve(share * coef, intercept, alpha + own)
        X = take_rows(problem.X, index)
        return write_scores(model, coef, intercept, problem.classes, X, self)


def _is_enough(problem, source):
    """Whether a source can be fitted by itself."""
    return not problem.classifier or len(np.unique(source.y)) > 1


def _candidates(problem, rows):
    """Values of alpha, the strongest pull first."""
    grid = np.concatenate([[np.inf], rows.scale * _GRID]) if len(rows.s) else np.array([np.inf])
    if own_penalty(problem.estimator) or not problem.classifier:
        return np.append(grid, 0.0)
    # Without a penalty, rows of a split that are of one class have no model of their own.
    parts = [problem.y, *(problem.y[train] for train, _ in problem.splits)]
    return np.append(grid, 0.0) if all(len(np.unique(y)) > 1 for y in parts) else grid
