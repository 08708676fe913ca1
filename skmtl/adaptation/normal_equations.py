"""Ridge and least squares by normal equations, of rows that are known to be numbers.

scikit-learn checks, copies and centres all rows at every fit, which takes ten times as long as a
small fit itself. Here a fit is the moments of the rows and a Cholesky factor, and rows that are
fitted time after time, with other weights, are centred once. What comes out is the `Ridge` or
`LinearRegression` that scikit-learn would have fitted, up to rounding.
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
    "Line", "LinearRows", "Moments", "fit_ridge", "has_one_strength", "is_linear", "is_ridge",
]  # fmt: skip

# The least ratio of the squares of a Cholesky factor's pivots, and that of eigenvalues where
# scikit-learn solves least squares without squaring the rows; below it fits the rows itself.
_LEAST_PIVOT, _LEAST_EIGENVALUE = 1e-12, 1e-7
# Below this share of what was subtracted from it, a moment has lost too many digits.
_CANCELLED = 1e-6
# What to divide by, where all weights of some rows are zero.
_NO_WEIGHT = np.finfo(np.float64).tiny
# Numbers in a temporary array.
_AT_ONCE = 2**20
# Numbers in a table, up to which scikit-learn's checks take longer than the fit.
_SMALL = 2**17
# Rows times numbers, likewise, where there are more features than rows.
_SMALL_TO_ROTATE = 2**21
# Columns of a table, ones and y included, up to which our own sums are faster than BLAS.
_NARROW = 40


def is_linear(estimator):
    """Whether `LinearRows` fits it: exactly Ridge or LinearRegression, solved directly.

    A subclass may do anything, so that only the classes themselves count.
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


def is_ridge(estimator):
    """Whether it is such a `Ridge`."""
    return type(estimator) is Ridge and is_linear(estimator)


def fit_ridge(estimator, X, y, weight):
    """A `Ridge` of few rows fitted, or None where scikit-learn is as fast or has more to say.

    Only float64 arrays of finite numbers are fitted here.

    Parameters
    ----------
    estimator : estimator
    X : table of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
        Above zero.
    """
    if not (is_ridge(estimator) and is_plain(X, 2) and is_plain(y, 1) and 0 < X.size <= _SMALL):
        return None
    if X.shape[0] < X.shape[1] and X.shape[0] * X.size > _SMALL_TO_ROTATE:
        return None
    estimator._validate_params()
    rows = LinearRows(estimator, X, y)
    with np.errstate(over="ignore", invalid="ignore"):  # such are scikit-learn's to refuse
        (line,) = rows.fit(np.ones((1, len(y))) if weight is None else weight[None])
    return rows.model(line)


class Line(NamedTuple):
    """Coefficients of `LinearRows`, and other fitted attributes of the estimator."""

    coef: np.ndarray
    intercept: float
    others: dict


class LinearRows:
    r"""Rows to fit with many weights.

    With weights w a ridge of strength :math:`\alpha` minimises

    .. math:: \sum_i w_i (y_i - b - x_i'c)^2 + \alpha \|c\|^2,

    so that :math:`c` solves :math:`(X'WX + \alpha I) c = X'Wy`, of rows centred at their weighted
    means where there is an intercept :math:`b`. More features than rows are first rotated to as
    many as there are rows, which changes neither fit nor penalty.

    Parameters
    ----------
    estimator : Ridge or LinearRegression
        For which `is_linear` holds.
    X : ndarray of shape (n_rows, n_features)
        Finite float64 numbers; not checked.
    y : ndarray of shape (n_rows,)
    n_first : int
        Rows that are summed up apart, so that their sums can be kept (`first`).
    """

    def __init__(self, estimator, X, y, n_first=0):
        self.estimator, self.y, self.n_first = estimator, y, n_first
        self._n_features, self._back = X.shape[1], None
        if X.shape[1] > X.shape[0]:
            self._back, R = np.linalg.qr(X.T)
            X = R.T
        self.X = X
        self._intercept = estimator.fit_intercept
        self._first = _Block(X[:n_first], y[:n_first], self._intercept) if n_first else None
        self._rest = _Block(X[n_first:], y[n_first:], self._intercept)
        self._blank = None

    def first(self, weights):
        """Moments of the first rows, to be given to `fit` as long as their weights stay.

        Parameters
        ----------
        weights : ndarray of shape (n_fits, n_first)
        """
        return self._first.moments(weights)

    def fit(self, weights, first=None):
        """A `Line` for each of the weights.

        Parameters
        ----------
        weights : ndarray of shape (n_fits, n_rows)
            From zero on, not all zero.
        first : Moments, default=None
            Of the first rows.
        """
        moments = self._rest.moments(weights[:, self.n_first :])
        if self.n_first:
            first = self.first(weights[:, : self.n_first]) if first is None else first
            moments = _merge(first, moments) if self._intercept else _add(first, moments)
        A, b = moments.scatter[:, :-1, :-1], moments.scatter[:, :-1, -1]
        means, levels = moments.mean[:, :-1], moments.mean[:, -1]
        if type(self.estimator) is Ridge:
            np.einsum("ijj->ij", A)[...] += self.estimator.alpha  # a view of the diagonals
            solved = [_solve_ridge(*one) for one in zip(A, b, strict=True)]
        else:
            tol = getattr(self.estimator, "tol", 0.0)
            solved = [_solve_least_squares(*one, tol) for one in zip(A, b, strict=True)]
        lines = []
        for i, (coef, others) in enumerate(solved):
            if coef is None:
                lines.append(self._refer(weights[i]))
            else:
                level = levels[i] - means[i] @ coef if self._intercept else 0.0
                lines.append(Line(coef, level, others))
        return lines

    def predict(self, lines):
        """Predictions of all rows, of shape (n_lines, n_rows)."""
        coef = np.array([line.coef for line in lines])
        return coef @ self.X.T + np.array([[line.intercept] for line in lines])

    def boost(self, weight, n_source, n_rounds, rounding):
        """Rounds of TrAdaBoost.R2 all at once, or None where they must be made one by one.

        Parameters
        ----------
        weight : ndarray of shape (n_rows,)
            To begin with.
        n_source : int
            The first so many rows are those of sources.
        n_rounds : int
        rounding : float
            No deviation above it: all count as none.

        Returns
        -------
        lines : list of Line
            Of every round that was made; the last may have an error of a half or more.
        weights : ndarray of shape (n_made, n_rows)
            That they were fitted with.
        told : ndarray of shape (n_made, 3)
            The target's error, beta, and the target's share of the weights.
        """
        Z, centre = self._rest.Z, self._rest.centre
        if type(self.estimator) is not Ridge or self.n_first or len(Z) > _NARROW:
            return None
        weights = np.empty((n_rounds, len(weight)))
        weights[0] = weight
        found, told = np.empty((n_rounds, len(Z))), np.empty((n_rounds, 3))
        n_made = kernels.boosting.boost_ridge(
            Z, n_source, float(self.estimator.alpha), self._intercept,
            (_CANCELLED, _LEAST_PIVOT, rounding), weights, found, told,
        )  # fmt: skip
        if n_made < 0:  # a singular matrix, or digits were lost
            return None
        found, coefs = found[:n_made], -found[:n_made, 1:-1]
        intercepts = centre[-1] - found[:, 0] - coefs @ centre[:-1]
        intercepts = intercepts.tolist() if self._intercept else [0.0] * n_made
        lines = [Line(*line, {}) for line in zip(coefs, intercepts, strict=True)]
        return lines, weights[:n_made], told[:n_made]

    def model(self, line):
        """The fitted estimator."""
        if self._blank is None:
            self._blank = copy.copy(self.estimator)  # unfitted, with numbers and strings only
            self._blank.n_features_in_ = self._n_features
            if type(self.estimator) is Ridge:
                self._blank.n_iter_, self._blank.solver_ = None, "cholesky"
        model = type(self._blank).__new__(type(self._blank))
        vars(model).update(vars(self._blank))
        model.coef_ = line.coef if self._back is None else self._back @ line.coef
        model.intercept_ = line.intercept
        vars(model).update(line.others)
        return model

    def _refer(self, weight):
        """By scikit-learn, which knows what to do with a singular matrix."""
        rows = np.flatnonzero(weight)
        model = clone(self.estimator).fit(self.X[rows], self.y[rows], sample_weight=weight[rows])
        given = ("solver_", "n_iter_", "rank_", "singular_")
        others = {name: vars(model)[name] for name in given if name in vars(model)}
        return Line(model.coef_, model.intercept_, others)


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
    """Sums over rows ``[x, y]`` with several weights.

    Without an intercept the means are not used, and the scatter is that about zero.
    """

    total: np.ndarray  # (n_fits,) of weights
    mean: np.ndarray  # (n_fits, n_features + 1)
    scatter: np.ndarray  # (n_fits, n_features + 1, n_features + 1), about the mean


class _Block:
    """Rows ``[x, y]``, centred once near where their weighted means will be."""

    def __init__(self, X, y, centred):
        self._centred = centred
        # One row a column of the table, the first of ones: products with it are sums.
        self.Z = np.empty((X.shape[1] + 2, len(y)))
        self.Z[0], self.Z[1:-1], self.Z[-1] = 1.0, X.T, y
        self.centre = np.zeros(X.shape[1] + 1)
        if centred:
            self.centre = self.Z[1:].mean(axis=1)
            self.Z[1:] -= self.centre[:, None]

    def moments(self, weights):
        """Moments for each of the weights ``(n_fits, n_rows)``."""
        square = _square(self.Z, weights)
        total, sums, square = square[:, 0, 0], square[:, 0, 1:], square[:, 1:, 1:]
        if not self._centred:
            return Moments(total, sums, square)
        shift = sums / np.maximum(total, _NO_WEIGHT)[:, None]
        scatter = square - shift[:, :, None] * sums[:, None, :]
        lost = np.einsum("ijj->ij", scatter) < _CANCELLED * np.einsum("ijj->ij", square)
        if lost.any():  # weight has gone to rows far from the centre
            for i in np.flatnonzero(lost.any(axis=1)):
                Z = self.Z[1:] - shift[i][:, None]
                scatter[i] = _square(Z, weights[[i]])[0]
        return Moments(total, self.centre + shift, scatter)


def _square(Z, weights):
    """Sums of ``w z z'`` over the columns z, of shape (n_fits, n_z, n_z)."""
    out = np.empty((len(weights), len(Z), len(Z)))
    if len(Z) <= _NARROW:
        kernels.boosting.weighted_squares(Z, np.ascontiguousarray(weights), out)
        return out
    at_once = max(1, _AT_ONCE // Z.size)
    for start in range(0, len(weights), at_once):
        some = slice(start, start + at_once)
        scaled = Z * np.sqrt(weights[some, None, :])
        np.matmul(scaled, scaled.transpose(0, 2, 1), out=out[some])
    return out


def _merge(a, b):
    """Moments of two groups of rows together."""
    total = a.total + b.total
    share = b.total / total
    gap = b.mean - a.mean
    between = (a.total * share)[:, None, None] * (gap[:, :, None] * gap[:, None, :])
    mean = a.mean + share[:, None] * gap
    return Moments(total, mean, a.scatter + b.scatter + between)


def _add(a, b):
    return Moments(*(u + v for u, v in zip(a, b, strict=True)))
