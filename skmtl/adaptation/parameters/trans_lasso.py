"""Sparse linear regression from nested sets of sources, and what the target adds to them."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Lasso, LassoCV, LinearRegression, Ridge

from ...solvers.lasso import lasso_path
from ...solvers.products import Products
from ..base import Adaptation, AdaptationResult, check_number
from ..judge import evidence_of_squares
from ..pool import steps_down, total_weight

__all__ = ["TransLasso"]

# Sets of the nearest sources: each has this share of the next larger one.
_SHRINK = 0.6
# Weights of source rows: at most this factor apart, down to where they count as the target's.
_STEP, _MOST_STEPS = 10.0, 3
# Strengths, in equal ratios from the strongest down to this share of it.
_N_STRENGTHS, _LEAST = 10, 1 / 30
# ... and those of the difference.
_N_DIFFERENCES, _LEAST_DIFFERENCE = 8, 1 / 8
# Strengths at which sources are ranked, as shares of the strongest.
_RANKED_AT = (0.5, 0.2)
# Candidates of less than this share are not worth a fit.
_LEAST_SHARE = 0.01
_ROUGH_TOL = 1e-3


class TransLasso(Adaptation):
    r"""Sparse linear regression, in two steps, with sets of sources averaged.

    For a set of sources S and a weight :math:`\omega` of their rows, first

    .. math:: b = \arg\min_b \; \frac{1}{2 W} \Big( \sum_{i \in \text{target}} (y_i - a - x_i'b)^2
        + \omega \sum_{k \in S} \sum_{i \in k} (y_i - a_k - x_i'b)^2 \Big) + s \|b\|_1

    and then, on the target's rows alone, what they add:

    .. math:: \delta = \arg\min_\delta \; \frac{1}{2n} \sum_{i \in \text{target}}
        (y_i - a - x_i'(b + \delta))^2 + s' \|\delta\|_1

    Sources are ranked by the squared error of their own lasso on the target's rows. The sets are
    the nearest source, the two nearest, and so on in growing steps up to all, each at up to three
    weights of its rows; beside them stands the target's own lasso. Every candidate's strength s,
    with and without :math:`\delta`, and s' are chosen by cross-validation over target rows (``cv``
    of `TransferEstimator`); the candidates' coefficients are averaged by their errors e with
    shares :math:`\propto e^{-n/4}`.

    It assumes that the target's coefficients are sparse and that those of good sources differ from
    them in few places, or by little. Each source has an intercept of its own. Features are not
    scaled. It needs target labels.

    Parameters
    ----------
    tol : float, default=1e-6
        Duality gap of the last fits, as a share of the error of a constant.
    max_iter : int, default=1000
        Sweeps over the coefficients, for each strength.

    Notes
    -----
    Of the wrapped estimator, a `Lasso`, `LassoCV`, `Ridge` or `LinearRegression`, only
    ``fit_intercept`` is used: strengths are chosen here. ``estimator_`` is a `Lasso` (`LassoCV`
    where that was given) with the coefficients set. Li, Cai and Li rank sources by marginal
    products, choose strengths by theory, and aggregate on a part of the rows held out.

    Memory grows with the square of the number of features, and time hardly with the rows: the fits
    work on products of the rows. ``transfer_report_`` has, by source, the "error" of its own lasso
    on the target's rows.

    References
    ----------
    Li, S., Cai, T. T. and Li, H. (2022). Transfer learning for high-dimensional linear regression:
    prediction, estimation and minimax optimality. JRSS B 84, 149-173. :doi:`10.1111/rssb.12479`

    Tian, Y. and Feng, Y. (2023). Transfer learning under high-dimensional generalized linear
    models. JASA 118, 2684-2697. :doi:`10.1080/01621459.2022.2071278`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LassoCV
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> coef = np.r_[np.ones(5), np.zeros(95)]
    >>> X, X_target, X_later = (rng.normal(size=(n, 100)) for n in (300, 40, 500))
    >>> y, y_target = X @ coef + rng.normal(size=300), X_target @ coef + rng.normal(size=40)
    >>> model = TransferEstimator(LassoCV(), source=Source(X, y), adaptation="trans_lasso")
    >>> model = model.fit(X_target, y_target)
    >>> alone = LassoCV().fit(X_target, y_target)
    >>> model.score(X_later, X_later @ coef) > alone.score(X_later, X_later @ coef)
    True
    """

    only = "regressor"
    _TAKES = (Lasso, LassoCV, LinearRegression, Ridge)

    def __init__(self, tol=1e-6, max_iter=1000):
        self.tol = tol
        self.max_iter = max_iter

    def check(self):
        """Raise a ValueError unless both parameters are above zero."""
        check_number(self, "tol", above=0.0, why="a share of the objective, such as 1e-6")
        check_number(self, "max_iter", least=1, whole=True, why="sweeps, such as 1000")

    def check_given(self, *, estimator, **given):
        super().check_given(estimator=estimator, **given)
        if type(estimator) not in self._TAKES:
            names = ", ".join(kind.__name__ for kind in self._TAKES)
            raise ValueError(
                f"the adaptation TransLasso is a lasso by itself: estimator must be one of "
                f"{names}, got {type(estimator).__name__}."
            )

    def fit(self, problem, random_state, progress):
        """Rank the sources, judge the candidates, and average them."""
        if not problem.splits:
            raise ValueError(
                "the adaptation TransLasso judges by target rows and needs two at least; got "
                f"n_samples={len(problem.y)}. Use adaptation='pooled'."
            )
        progress(f"judging sets of {len(problem.sources)} sources")
        search = _Search(problem)
        choices, errors, share = search.judge()
        progress(f"fitting {np.count_nonzero(share)} candidates")
        coef, gap = np.zeros(problem.X.shape[1]), 0.0
        target = search.target
        for i in np.flatnonzero(share):
            found, one_gap = search.fit_choice(target, choices[i], self.tol, self.max_iter)
            coef += share[i] * found
            gap = max(gap, one_gap)
        weights = share @ np.array([search.weights_of(c.candidate) for c in choices])
        predictor = _as_fitted(problem.estimator, coef, target.intercept(coef))
        history = {
            "n_sources": np.array([len(c.candidate.members) for c in choices]),
            "weight": np.array([c.candidate.weight for c in choices]),
            "difference": np.array([c.difference is not None for c in choices]),
            "error": errors,
            "share": share,
        }
        report = {"error": search.ranking, "dual_gap": np.full(len(weights), gap)}
        return AdaptationResult(predictor, weights, report, history)


@dataclass(frozen=True, eq=False)
class _NestedSet:
    """A set of sources, the weight of their rows, and their products."""

    members: tuple
    weight: float
    products: Products | None


@dataclass(frozen=True, eq=False)
class _Choice:
    """A candidate at strengths given as steps down from the strongest, the second maybe None."""

    candidate: _NestedSet
    step: int
    difference: int | None


class _Search:
    """Candidates, and their errors on target rows left out."""

    def __init__(self, problem):
        self.problem = problem
        self.centre = problem.estimator.fit_intercept
        self.target = self.target_of(np.arange(len(problem.y)))
        of_sources = [Products.of(s.X, s.y, s.weight, self.centre) for s in problem.sources]
        self.ranking = np.array([self._error_alone(p) for p in of_sources])
        self.candidates = self._list(of_sources)

    def target_of(self, rows):
        rows = self.problem.take(rows)
        return Products.of(rows.X, rows.y, rows.weight, self.centre)

    def _error_alone(self, products):
        """Mean squared error of a source's own lasso on target rows, whatever its intercept."""
        strengths = products.strongest() * np.array(_RANKED_AT)
        coef = lasso_path(products, strengths, 0.1)[0][-1] if strengths[0] > 0 else 0.0
        coef = np.broadcast_to(coef, products.moment.shape)
        return self.target.less(coef).square / self.target.weight

    def _list(self, of_sources):
        order = np.argsort(self.ranking, kind="stable")
        out, total = [_NestedSet((), 0.0, None)], None
        sizes = _sizes(len(order))
        of_target = total_weight(self.problem)
        for place, k in enumerate(order):
            total = of_sources[k] if total is None else total.plus(of_sources[k], 1.0)
            if place + 1 in sizes:
                members = tuple(order[: place + 1].tolist())
                for weight in steps_down(total.weight, of_target, _STEP, _MOST_STEPS, share=1.0):
                    out.append(_NestedSet(members, float(weight), total))
        return out

    def weights_of(self, candidate):
        out = np.zeros(len(self.problem.sources))
        out[list(candidate.members)] = candidate.weight
        return out

    # ------------------------------------------------------------------------------ fits

    def _first(self, target, candidate, n_steps=_N_STRENGTHS, tol=_ROUGH_TOL, **options):
        """The first step along its path: coefficients and gaps."""
        products = target
        if candidate.products is not None:
            products = target.plus(candidate.products, candidate.weight)
        return _path(products, _N_STRENGTHS, _LEAST, n_steps, tol, **options)

    def _second(self, target, coef, n_steps=_N_DIFFERENCES, tol=_ROUGH_TOL, **options):
        """The difference on the target, likewise."""
        products = target.less(coef)
        coefs, gaps = _path(products, _N_DIFFERENCES, _LEAST_DIFFERENCE, n_steps, tol, **options)
        return coef + coefs, gaps

    def fit_choice(self, target, choice, tol, max_iter):
        """Coefficients, and the largest duality gap."""
        options = {"tol": tol, "max_iter": max_iter, "warn": True}
        coefs, gaps = self._first(target, choice.candidate, choice.step + 1, **options)
        if choice.difference is None:
            return coefs[-1], gaps[-1]
        moved, more = self._second(target, coefs[-1], choice.difference + 1, **options)
        return moved[-1], max(gaps[-1], more[-1])

    # ------------------------------------------------------------------------- judgement

    def judge(self):
        """The choices ``(n,)``, their errors, and their shares."""
        folds = [(self.target_of(train), test) for train, test in self.problem.splits]
        choices, errors = [], []
        for candidate in self.candidates:
            paths = [self._first(target, candidate)[0] for target, _ in folds]
            error = self._errors(folds, paths)
            step = int(error.argmin())
            choices.append(_Choice(candidate, step, None))
            errors.append(error[step])
            if candidate.members:
                moved = [
                    self._second(target, coefs[step])[0]
                    for (target, _), coefs in zip(folds, paths, strict=True)
                ]
                error = self._errors(folds, moved)
                choices.append(_Choice(candidate, step, int(error.argmin())))
                errors.append(error.min())
        errors = np.array(errors)
        constant = self.target.square / self.target.weight
        return choices, errors, _shares(errors, total_weight(self.problem), constant)

    def _errors(self, folds, paths):
        """Mean squared errors of the rows left out, by strength."""
        sums, total = 0.0, 0.0
        for (target, test), coefs in zip(folds, paths, strict=True):
            rows = self.problem.take(test)
            level = target.mean[-1] - coefs @ target.mean[:-1]
            missed = rows.y[:, None] - rows.X @ coefs.T - level
            sums = sums + rows.row_weight @ missed**2
            total += rows.row_weight.sum()
        return sums / total


def _path(products, n_all, least, n_steps, tol, **options):
    """Coefficients and gaps at the first `n_steps` of `n_all` strengths, the strongest first."""
    strongest = products.strongest()
    if strongest <= 0.0:  # labels that do not vary, or nothing left to explain
        return np.zeros((n_steps, len(products.moment))), np.zeros(n_steps)
    strengths = strongest * np.geomspace(1.0, least, n_all)[:n_steps]
    return lasso_path(products, strengths, tol, **options)


def _sizes(n_sources):
    """Sizes of the sets: each a share of the next, down to one."""
    sizes = {n_sources}
    while min(sizes) > 1:
        sizes.add(max(1, int(round(_SHRINK * min(sizes)))))
    return sizes


def _shares(errors, n_rows, constant):
    evidence = evidence_of_squares(errors, n_rows, constant)
    share = np.exp(evidence - evidence.max())
    share = np.where(share < _LEAST_SHARE * share.sum(), 0.0, share)
    return share / share.sum()


def _as_fitted(estimator, coef, intercept):
    """A fitted `LassoCV` or `Lasso` with these coefficients."""
    model = clone(estimator)
    if not isinstance(model, (Lasso, LassoCV)):
        model = Lasso(fit_intercept=estimator.fit_intercept)
    model.coef_, model.intercept_, model.n_features_in_ = coef, intercept, len(coef)
    return model
