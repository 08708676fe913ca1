"""Sparse linear regression from nested sets of sources, with a correction fitted on the target."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Lasso, LassoCV, LinearRegression, Ridge

from ...solvers.lasso import lasso_path
from ...solvers.products import Products
from ..base import Adaptation, AdaptationResult, number
from ..evaluation import evidence_of_squares
from ..pooled_rows import weight_steps

__all__ = ["TransLasso"]

# Each set of the nearest sources has this share of the number of sources in the next larger set.
_SHRINK = 0.6
# Weights of source rows: at most this factor apart, down to where all of them count as much as the
# target's rows.
_STEP, _MOST_STEPS = 10.0, 3
# Numbers of strengths, in equal ratios from the largest one down to this share of it, of the first
# step and of the correction.
_N_STRENGTHS, _LEAST = 10, 1 / 30
_N_DIFFERENCES, _LEAST_DIFFERENCE = 8, 1 / 8
# Strengths at which sources are ranked, as shares of the largest.
_RANKED_AT = (0.5, 0.2)
# Candidates with less than this share are dropped.
_LEAST_SHARE = 0.01
_ROUGH_TOL = 1e-3


class TransLasso(Adaptation):
    r"""Sparse linear regression in two steps, averaged over sets of sources.

    For a set of sources S and a weight :math:`\omega` of their rows, the first step is

    .. math:: b = \arg\min_b \; \frac{1}{2 W} \Big( \sum_{i \in \text{target}} (y_i - a - x_i'b)^2
        + \omega \sum_{k \in S} \sum_{i \in k} (y_i - a_k - x_i'b)^2 \Big) + s \|b\|_1

    and the second step is a correction fitted on the target's rows alone:

    .. math:: \delta = \arg\min_\delta \; \frac{1}{2n} \sum_{i \in \text{target}}
        (y_i - a - x_i'(b + \delta))^2 + s' \|\delta\|_1

    Sources are ranked by the squared error of each one's lasso on the target's rows. The sets are
    the nearest source, the two nearest, and so on in growing steps up to all, each at up to three
    weights of its rows; the lasso of the target's rows alone is a further candidate. Every
    candidate's strength s, with and without :math:`\delta`, and s' are chosen by cross-validation
    over target rows (``cv`` of `TransferEstimator`). The candidates' coefficients are averaged with
    shares :math:`\propto e^{-n/4}`, for errors e.

    The assumption is that the target's coefficients are sparse, and that those of good sources
    differ from them in few places or by small amounts. Each source has its own intercept. Features
    are not scaled. Target labels are needed.

    Parameters
    ----------
    tol : float, default=1e-6
        Duality gap of the final fits, relative to the error of a constant prediction.
    max_iter : int, default=1000
        Maximum number of sweeps over the coefficients, for each strength.

    Notes
    -----
    The estimator must be a `Lasso`, `LassoCV`, `Ridge` or `LinearRegression`, of which only
    ``fit_intercept`` is used; strengths are chosen here. ``estimator_`` is a `Lasso` (or a
    `LassoCV` if that was passed) with these coefficients. Li, Cai and Li rank sources by marginal
    products, choose strengths by theory, and aggregate on held-out rows.

    Fits use products of the rows, so that memory grows with the square of the number of features,
    and time depends little on the number of rows. ``transfer_report_`` contains, for each source,
    the "error" of its own lasso on the target's rows.

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
    _SUPPORTED = (Lasso, LassoCV, LinearRegression, Ridge)

    _checks = {
        "tol": number(above=0.0, why="a share of the objective, such as 1e-6"),
        "max_iter": number(least=1, whole=True, why="the most sweeps, such as 1000"),
    }

    def __init__(self, tol: float = 1e-6, max_iter: int = 1000):
        self.tol = tol
        self.max_iter = max_iter

    def _check_given(self, *, estimator: Any, **given: bool) -> None:
        super()._check_given(estimator=estimator, **given)
        if type(estimator) not in self._SUPPORTED:
            names = ", ".join(kind.__name__ for kind in self._SUPPORTED)
            raise ValueError(
                f"the adaptation TransLasso fits a lasso of its own: estimator must be one of "
                f"{names}, got {type(estimator).__name__}; adaptation='auto' takes any estimator."
            )

    def _fit(self, problem, random_state, progress):
        """Rank the sources, evaluate the candidates, and average them."""
        if not problem.splits:
            raise ValueError(
                "the adaptation TransLasso chooses by cross-validation over target rows and needs "
                f"at least two; got n_samples={len(problem.y)}. Use adaptation='pooled'."
            )
        progress(f"evaluating sets of {len(problem.sources)} sources")
        search = _Search(problem)
        choices, share = search.choices()
        progress(f"fitting {np.count_nonzero(share)} candidates")
        coef, gap = np.zeros(problem.X.shape[1]), 0.0
        for i in np.flatnonzero(share):
            coef_of_one, gap_of_one = search.fit_choice(choices[i], self.tol, self.max_iter)
            coef += share[i] * coef_of_one
            gap = max(gap, gap_of_one)
        weights = share @ np.array([search.weights_of(c.candidate) for c in choices])
        predictor = _as_fitted(problem.estimator, coef, search.target.intercept(coef))
        history = {
            "n_sources": np.array([len(c.candidate.members) for c in choices]),
            "weight": np.array([c.candidate.weight for c in choices]),
            "difference": np.array([c.difference is not None for c in choices]),
            "error": np.array([c.error for c in choices]),
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
    """A candidate with the positions of its strengths, counted from the largest.

    That of the correction is None if there is none.
    """

    candidate: _NestedSet
    step: int
    difference: int | None
    error: float


class _Search:
    """Candidates, and their cross-validated errors on target rows."""

    def __init__(self, problem):
        self.problem = problem
        self.centre = problem.estimator.fit_intercept
        self.target = self.target_of(problem.all_rows)
        of_sources = [Products.of(s.X, s.y, s.weight, self.centre) for s in problem.sources]
        self.ranking = np.array([self._error_alone(p) for p in of_sources])
        self.candidates = self._list(of_sources)

    def target_of(self, rows):
        rows = self.problem.take(rows)
        return Products.of(rows.X, rows.y, rows.weight, self.centre)

    def _error_alone(self, products):
        """Return the mean squared error of a source's lasso on target rows, up to an intercept."""
        strengths = products.strongest() * np.array(_RANKED_AT)
        coef = lasso_path(products, strengths, 0.1).coefs[-1] if strengths[0] > 0 else 0.0
        coef = np.broadcast_to(coef, products.moment.shape)
        return self.target.less(coef).square / self.target.weight

    def _list(self, of_sources):
        order = np.argsort(self.ranking, kind="stable")
        candidates, total = [_NestedSet((), 0.0, None)], None
        sizes = _sizes(len(order))
        for n, k in enumerate(order, start=1):
            total = of_sources[k] if total is None else total.plus(of_sources[k], 1.0)
            if n in sizes:
                weights = weight_steps(
                    total.weight, self.problem.total_weight, _STEP, _MOST_STEPS, share=1.0
                )
                members = tuple(order[:n].tolist())
                candidates += [_NestedSet(members, float(weight), total) for weight in weights]
        return candidates

    def weights_of(self, candidate):
        weights = np.zeros(len(self.problem.sources))
        weights[list(candidate.members)] = candidate.weight
        return weights

    # ------------------------------------------------------------------------------ fits

    def _first(self, target, candidate, n_steps=_N_STRENGTHS, tol=_ROUGH_TOL, **options):
        """Return coefficients and gaps of the first step, for a path of strengths."""
        products = target
        if candidate.products is not None:
            products = target.plus(candidate.products, candidate.weight)
        return _path(products, _N_STRENGTHS, _LEAST, n_steps, tol, **options)

    def _second(self, target, coef, n_steps=_N_DIFFERENCES, tol=_ROUGH_TOL, **options):
        """Return coefficients with a correction fitted on the target, and gaps, for a path."""
        products = target.less(coef)
        coefs, gaps = _path(products, _N_DIFFERENCES, _LEAST_DIFFERENCE, n_steps, tol, **options)
        return coef + coefs, gaps

    def fit_choice(self, choice, tol, max_iter):
        """Return coefficients, and the largest duality gap."""
        options = {"tol": tol, "max_iter": max_iter, "warn": True}
        coefs, gaps = self._first(self.target, choice.candidate, choice.step + 1, **options)
        if choice.difference is None:
            return coefs[-1], gaps[-1]
        corrected, more = self._second(self.target, coefs[-1], choice.difference + 1, **options)
        return corrected[-1], max(gaps[-1], more[-1])

    # ------------------------------------------------------------------------------ errors

    def choices(self):
        """Return the choices, and their shares."""
        folds = [(self.target_of(train), test) for train, test in self.problem.splits]
        choices = []
        for candidate in self.candidates:
            paths = [self._first(target, candidate)[0] for target, _ in folds]
            error = self._errors(folds, paths)
            step = int(error.argmin())
            choices.append(_Choice(candidate, step, None, error[step]))
            if candidate.members:
                corrected = [
                    self._second(target, coefs[step])[0]
                    for (target, _), coefs in zip(folds, paths, strict=True)
                ]
                error = self._errors(folds, corrected)
                choices.append(_Choice(candidate, step, int(error.argmin()), error.min()))
        errors = np.array([choice.error for choice in choices])
        constant = self.target.square / self.target.weight
        evidence = evidence_of_squares(errors, self.problem.total_weight, constant)
        share = np.exp(evidence - evidence.max())
        share = np.where(share < _LEAST_SHARE * share.sum(), 0.0, share)
        return choices, share / share.sum()

    def _errors(self, folds, paths):
        """Return the mean squared errors of held-out rows, by strength."""
        sums, total = 0.0, 0.0
        for (target, test), coefs in zip(folds, paths, strict=True):
            rows = self.problem.take(test)
            level = target.mean[-1] - coefs @ target.mean[:-1]
            residuals = rows.y[:, None] - rows.X @ coefs.T - level
            sums = sums + rows.row_weight @ residuals**2
            total += rows.row_weight.sum()
        return sums / total


def _path(products, n_all, least, n_steps, tol, **options):
    """Return coefficients and gaps at the `n_steps` largest of `n_all` strengths."""
    strongest = products.strongest()
    if strongest <= 0.0:  # labels are constant, or there is nothing left to explain
        return np.zeros((n_steps, len(products.moment))), np.zeros(n_steps)
    strengths = strongest * np.geomspace(1.0, least, n_all)[:n_steps]
    path = lasso_path(products, strengths, tol, **options)
    return path.coefs, path.gaps


def _sizes(n_sources):
    """Return the sizes of the sets: each a share of the next, down to one."""
    sizes = {n_sources}
    while min(sizes) > 1:
        sizes.add(max(1, int(round(_SHRINK * min(sizes)))))
    return sizes


def _as_fitted(estimator, coef, intercept):
    """Return a fitted `LassoCV` or `Lasso` with these coefficients."""
    model = clone(estimator)
    if not isinstance(model, (Lasso, LassoCV)):
        model = Lasso(fit_intercept=estimator.fit_intercept)
    model.coef_, model.intercept_, model.n_features_in_ = coef, intercept, len(coef)
    return model
