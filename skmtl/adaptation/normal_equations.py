"""Ridge and least squares by normal equations, for rows that are known to be numbers.

In every fit, scikit-learn checks, copies and centres all rows, which takes ten times as long as a
small fit itself. Here a fit consists of the moments of the rows and a Cholesky factor, and rows
that are fitted repeatedly with different weights are centred once. The result is that of
scikit-learn's `Ridge` or `LinearRegression`, up to rounding.
"""

import copy
import numbers
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

from .. import kernels
from ..tasks.columns import is_plain

__all__ = [
    "LinearRows", "LinearSolution", "Moments", "fit_ridge", "has_one_strength", "is_linear",
]  # fmt: skip

# The smallest allowed ratio of the squares of a Cholesky factor's pivots, and of the eigenvalues
# for least squares, which scikit-learn solves without squaring the rows. Below these, scikit-learn
# fits.
_LEAST_PIVOT, _LEAST_EIGENVALUE = 1e-12, 1e-7
# A moment that is less than this share of what was subtracted from it has lost too many digits.
_CANCELLED = 1e-6
# Divisor where all weights of some rows are zero.
_NO_WEIGHT = np.finfo(np.float64).tiny
# Numbers in a temporary array.
_AT_ONCE = 2**20
# Numbers in a table up to which scikit-learn's checks take longer than the fit.
_SMALL = 2**17
# The same for the number of rows times numbers in the table, if there are more features than rows.
_SMALL_TO_ROTATE = 2**21
# Columns of a table, ones and y included, up to which our kernel is faster than BLAS.
_NARROW = 40


def is_linear(estimator):
    """Return whether `LinearRows` can fit it: a Ridge or LinearRegression that is solved directly.

    Subclasses are not supported, since they may do anything.
    """
    if type(estimator) not in (Ridge, LinearRegression):
        return False
    if estimator.positive is not False or not isinstance(estimator.fit_intercept, bool):
        return False
    if type(estimator) is LinearRegression:
        return True
    return has_one_strength(estimator) and estimator.solver in ("auto", "cholesky")


def has_one_strength(ridge):
    """Return whether the penalty of a `Ridge` is one number, zero or more."""
    alpha = ridge.alpha
    number = isinstance(alpha, numbers.Real) and not isinstance(alpha, bool)
    return number and 0.0 <= alpha < np.inf


def fit_ridge(estimator, X, y, weight):
    """Return a fitted `Ridge` for few rows, or None if scikit-learn is as fast or must be used.

    Only float64 arrays of finite numbers are fitted here.

    Parameters
    ----------
    estimator : estimator
    X : table of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
        Positive.
    """
    is_ridge = type(estimator) is Ridge and is_linear(estimator)
    if not (is_ridge and is_plain(X, 2) and is_plain(y, 1) and 0 < X.size <= _SMALL):
        return None
    if X.shape[0] < X.shape[1] and X.shape[0] * X.size > _SMALL_TO_ROTATE:
        return None
    estimator._validate_params()
    rows = LinearRows(estimator, X, y)
    with np.errstate(over="ignore", invalid="ignore"):  # scikit-learn raises the error
        (solution,) = rows.fit(np.ones((1, len(y))) if weight is None else weight[None])
    return rows.model(solution)


class LinearSolution(NamedTuple):
    """Coefficients found by `LinearRows`, and other fitted attributes of the estimator."""

    coef: np.ndarray
    intercept: float
    others: dict


class LinearRows:
    r"""Rows to fit with different weights.

    With weights w a ridge of strength :math:`\alpha` minimises

    .. math:: \sum_i w_i (y_i - b - x_i'c)^2 + \alpha \|c\|^2,

    so that :math:`c` solves :math:`(X'WX + \alpha I) c = X'Wy`, for rows centred at their weighted
    means if there is an intercept :math:`b`. If there are more features than rows, features are
    first rotated and reduced to the number of rows, which changes neither fit nor penalty.

    Parameters
    ----------
    estimator : Ridge or LinearRegression
        Accepted by `is_linear`.
    X : ndarray of shape (n_rows, n_features)
        Finite float64 numbers; not checked.
    y : ndarray of shape (n_rows,)
    n_first : int
        Number of first rows whose sums are computed separately, so that they can be reused
        (`first`).
    """

    def __init__(self, estimator, X, y, n_first=0):
        self.estimator, self.y, self.n_first = estimator, y, n_first
        self._rotation = None
        # The fitted estimator without coefficients.
        self._blank = copy.copy(estimator)
        self._blank.n_features_in_ = X.shape[1]
        if type(estimator) is Ridge:
            self._blank.n_iter_, self._blank.solver_ = None, "cholesky"
        if X.shape[1] > X.shape[0]:
            self._rotation, R = np.linalg.qr(X.T)
            X = R.T
        self.X = X
        self._intercept = estimator.fit_intercept
        self._first = _CentredRows(X[:n_first], y[:n_first], self._intercept) if n_first else None
        self._rest = _CentredRows(X[n_first:], y[n_first:], self._intercept)

    def first(self, weights):
        """Return moments of the first rows, to be passed to `fit` while their weights stay.

        Parameters
        ----------
        weights : ndarray of shape (n_fits, n_first)
        """
        return self._first.moments(weights)

    def fit(self, weights, first=None):
        """Return a `LinearSolution` for each vector of weights.

        Parameters
        ----------
        weights : ndarray of shape (n_fits, n_rows)
            Not negative, and not all zero in any fit.
        first : Moments, default=None
            Moments of the first rows, if they are known.
        """
        moments = self._rest.moments(weights[:, self.n_first :])
        if self.n_first:
            first = self.first(weights[:, : self.n_first]) if first is None else first
            both = first, moments
            moments = _merge(*both) if self._intercept else Moments(*map(np.add, *both))
        A, b = moments.scatter[:, :-1, :-1], moments.scatter[:, :-1, -1]
        means, levels = moments.mean[:, :-1], moments.mean[:, -1]
        if type(self.estimator) is Ridge:
            np.einsum("ijj->ij", A)[...] += self.estimator.alpha  # a view of the diagonals
            solved = [_solve_ridge(*pair) for pair in zip(A, b, strict=True)]
        else:
            tol = getattr(self.estimator, "tol", 0.0)
            solved = [_solve_least_squares(*pair, tol) for pair in zip(A, b, strict=True)]
        solutions = []
        for i, (coef, others) in enumerate(solved):
            if coef is None:
                solutions.append(self._fit_by_scikit_learn(weights[i]))
            else:
                level = levels[i] - means[i] @ coef if self._intercept else 0.0
                solutions.append(LinearSolution(coef, level, others))
        return solutions

    def predict(self, solutions):
        """Return predictions of all rows, of shape (n_solutions, n_rows)."""
        coef = np.array([solution.coef for solution in solutions])
        return coef @ self.X.T + np.array([[solution.intercept] for solution in solutions])

    def boost(self, weight, n_source, n_rounds, rounding):
        """Run all rounds of TrAdaBoost.R2 in a kernel; None if they must be run one by one.

        Parameters
        ----------
        weight : ndarray of shape (n_rows,)
            Initial weights.
        n_source : int
            Number of source rows, which come first.
        n_rounds : int
        rounding : float
            If no deviation is above it, all count as zero.

        Returns
        -------
        solutions : list of LinearSolution
            One per round; the last may have an error of 1/2 or more.
        weights : ndarray of shape (n_made, n_rows)
            The weights of each round.
        statistics : ndarray of shape (n_made, 3)
            The target's error, beta, and the target's share of the weights.
        """
        Z, centre = self._rest.Z, self._rest.centre
        if type(self.estimator) is not Ridge or self.n_first or len(Z) > _NARROW:
            return None
        weights = np.empty((n_rounds, len(weight)))
        weights[0] = weight
        residuals, statistics = np.empty((n_rounds, len(Z))), np.empty((n_rounds, 3))
        n_made = kernels.boosting.boost_ridge(
            Z, n_source, float(self.estimator.alpha), self._intercept,
            (_CANCELLED, _LEAST_PIVOT, rounding), weights, residuals, statistics,
        )  # fmt: skip
        if n_made < 0:  # a singular matrix, or digits were lost
            return None
        # The residuals are the products of these vectors with rows [1, x, y].
        residuals, coefs = residuals[:n_made], -residuals[:n_made, 1:-1]
        intercepts = centre[-1] - residuals[:, 0] - coefs @ centre[:-1]
        intercepts = intercepts.tolist() if self._intercept else [0.0] * n_made
        solutions = [LinearSolution(*pair, {}) for pair in zip(coefs, intercepts, strict=True)]
        return solutions, weights[:n_made], statistics[:n_made]

    def model(self, solution):
        """Return the fitted estimator."""
        model = type(self._blank).__new__(type(self._blank))
        vars(model).update(vars(self._blank))
        rotated = self._rotation is not None
        model.coef_ = self._rotation @ solution.coef if rotated else solution.coef
        model.intercept_ = solution.intercept
        vars(model).update(solution.others)
        return model

    def _fit_by_scikit_learn(self, weight):
        """Return scikit-learn's solution, for a matrix that is singular."""
        rows = np.flatnonzero(weight)
        model = clone(self.estimator).fit(self.X[rows], self.y[rows], sample_weight=weight[rows])
        names = ("solver_", "n_iter_", "rank_", "singular_")
        others = {name: vars(model)[name] for name in names if name in vars(model)}
        return LinearSolution(model.coef_, model.intercept_, others)


def _solve_ridge(A, b):
    # The transpose is the same matrix, in LAPACK's order.
    factor, coef, failed = dposv(A.T, b)
    pivots = factor.diagonal()
    low, high = pivots.min() ** 2, pivots.max() ** 2
    if failed or not _LEAST_PIVOT * high <= low < np.inf or not np.isfinite(coef).all():
        return None, {}
    return coef, {}


def _solve_least_squares(A, b, tol):
    squares = np.linalg.eigvalsh(A)[::-1]
    if squares[-1] <= max(_LEAST_EIGENVALUE, tol**2) * squares[0]:
        return None, {}
    return dposv(A.T, b)[1], {"rank_": len(A), "singular_": np.sqrt(squares)}


class Moments(NamedTuple):
    """Weighted sums over rows ``[x, y]``, for each of several weights.

    Without an intercept the means are not used, and the scatter is taken about zero.
    """

    total: np.ndarray  # (n_fits,), sums of weights
    mean: np.ndarray  # (n_fits, n_features + 1)
    scatter: np.ndarray  # (n_fits, n_features + 1, n_features + 1), about the mean


class _CentredRows:
    """Rows ``[x, y]``, centred once near their weighted means."""

    def __init__(self, X, y, centred):
        self._centred = centred
        # Transposed: one row per column of the table. The first is of ones, so that products with
        # it are sums.
        self.Z = np.empty((X.shape[1] + 2, len(y)))
        self.Z[0], self.Z[1:-1], self.Z[-1] = 1.0, X.T, y
        self.centre = np.zeros(X.shape[1] + 1)
        if centred:
            self.centre = self.Z[1:].mean(axis=1)
            self.Z[1:] -= self.centre[:, None]

    def moments(self, weights):
        """Return `Moments` for each of the weights ``(n_fits, n_rows)``."""
        square = _square(self.Z, weights)
        total, sums, square = square[:, 0, 0], square[:, 0, 1:], square[:, 1:, 1:]
        if not self._centred:
            return Moments(total, sums, square)
        shift = sums / np.maximum(total, _NO_WEIGHT)[:, None]
        scatter = square - shift[:, :, None] * sums[:, None, :]
        lost = np.einsum("ijj->ij", scatter) < _CANCELLED * np.einsum("ijj->ij", square)
        for i in np.flatnonzero(lost.any(axis=1)):  # weight has moved to rows far from the centre
            scatter[i] = _square(self.Z[1:] - shift[i][:, None], weights[[i]])[0]
        return Moments(total, self.centre + shift, scatter)


def _square(Z, weights):
    """Return the sums of ``w z z'`` over the columns z, of shape (n_fits, n_z, n_z)."""
    out = np.empty((len(weights), len(Z), len(Z)))
    if len(Z) <= _NARROW:
        kernels.boosting.weighted_squares(Z, np.ascontiguousarray(weights), out)
        return out
    at_once = max(1, _AT_ONCE // Z.size)
    for start in range(0, len(weights), at_once):
        block = slice(start, start + at_once)
        scaled = Z * np.sqrt(weights[block, None, :])
        np.matmul(scaled, scaled.transpose(0, 2, 1), out=out[block])
    return out


def _merge(a, b):
    """Return the moments of two groups of rows together."""
    total = a.total + b.total
    share = b.total / total
    gap = b.mean - a.mean
    between = (a.total * share)[:, None, None] * (gap[:, :, None] * gap[:, None, :])
    mean = a.mean + share[:, None] * gap
    return Moments(total, mean, a.scatter + b.scatter + between)
