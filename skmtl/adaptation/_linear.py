"""Ridge and least squares fitted time after time to the same rows, with other weights.

scikit-learn checks, copies and centres all rows at every fit; here that is done once, and a fit is
the moments of the rows and a Cholesky factor. What comes out is the `Ridge` or `LinearRegression`
that scikit-learn would have fitted, up to rounding.
"""

import copy
import numbers
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.lapack import dposv
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

from ._base import fit_rows

__all__ = ["LinearRows", "Line", "fit_linear", "is_linear"]

# The least ratio of the squares of a Cholesky factor's pivots, and that of eigenvalues where
# scikit-learn solves least squares without squaring the rows; below it fits the rows itself.
_LEAST_PIVOT, _LEAST_EIGENVALUE = 1e-12, 1e-7
# Below this share of what was subtracted from it, a moment has lost too many digits.
_CANCELLED = 1e-6


def is_linear(estimator, X):
    """Whether `fit_linear` fits it: exactly Ridge or LinearRegression, solved directly, and dense.

    Parameters
    ----------
    estimator : estimator
        A subclass may do anything, so that only the classes themselves count.
    X : {ndarray, csr matrix, data frame} of shape (n_rows, n_features)
    """
    if type(estimator) not in (Ridge, LinearRegression):
        return False
    if not isinstance(X, np.ndarray) or X.dtype != np.float64:
        return False
    given = estimator.get_params(deep=False)
    if given["positive"] is not False or not isinstance(given["fit_intercept"], bool):
        return False
    if type(estimator) is LinearRegression:
        return True
    alpha = given["alpha"]
    number = isinstance(alpha, numbers.Real) and not isinstance(alpha, bool)
    return number and 0.0 <= alpha < np.inf and given["solver"] in ("auto", "cholesky")


def fit_linear(estimator, X, y, weight):
    """A fitted clone of `estimator`, as that of `fit_rows`.

    Parameters
    ----------
    estimator : Ridge or LinearRegression
        For which `is_linear` holds.
    X : ndarray of shape (n_rows, n_features)
        Finite float64 numbers; not checked.
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
        From zero on, not all zero.
    """
    rows = LinearRows(estimator, X, y)
    return rows.model(rows.fit(np.ones(len(y)) if weight is None else weight))


@dataclass(frozen=True, eq=False)
class Line:
    """Coefficients of `LinearRows`, and other fitted attributes of the estimator."""

    coef: np.ndarray
    intercept: float
    others: dict = field(default_factory=dict)


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
    y : ndarray of shape (n_rows,)
    n_first : int
        Rows that are summed up apart, so that their sums can be kept (`first`), and groups that
        are far apart lose no digits.
    """

    def __init__(self, estimator, X, y, n_first=0):
        self.estimator, self.y, self.n_first = estimator, y, n_first
        self._back = None
        n_features = X.shape[1]
        if X.shape[1] > X.shape[0]:
            self._back, R = np.linalg.qr(X.T)
            X = R.T
        self.X = X
        self._alpha = getattr(estimator, "alpha", 0.0)
        self._intercept = estimator.fit_intercept
        Z = np.column_stack([X, y])
        self._first = _Block(Z[:n_first], self._intercept) if n_first else None
        self._rest = _Block(Z[n_first:], self._intercept)
        self._blank = _blank(estimator, n_features)

    def first(self, weight):
        """Moments of the first rows, to be given to `fit` as long as their weights stay."""
        return self._first.moments(weight)

    def fit(self, weight, first=None):
        """The fit with weights of shape (n_rows,), as a `Line`."""
        moments = self._rest.moments(weight[self.n_first :])
        if self.n_first:
            first = self.first(weight[: self.n_first]) if first is None else first
            moments = _merge(first, moments) if self._intercept else _add(first, moments)
        _, mean, scatter = moments
        p = self.X.shape[1]
        solve = _least_squares if type(self.estimator) is LinearRegression else _ridge
        solved = solve(scatter[:p, :p], scatter[:p, p], self._alpha, self.estimator)
        if solved is None:
            return self._refer(weight)
        coef, others = solved
        return Line(coef, mean[p] - mean[:p] @ coef if self._intercept else 0.0, others)

    def predict(self, lines):
        """Predictions of all rows, of shape (n_lines, n_rows)."""
        coef = np.array([line.coef for line in lines])
        return coef @ self.X.T + np.array([[line.intercept] for line in lines])

    def model(self, line):
        """The fitted estimator."""
        model = copy.copy(self._blank)
        model.coef_ = line.coef if self._back is None else self._back @ line.coef
        model.intercept_ = line.intercept
        vars(model).update(line.others)
        return model

    def _refer(self, weight):
        """By scikit-learn, which knows what to do with a singular matrix."""
        rows = np.flatnonzero(weight)
        model = fit_rows(self.estimator, self.X[rows], self.y[rows], weight[rows])
        given = ("solver_", "n_iter_", "rank_", "singular_")
        others = {name: vars(model)[name] for name in given if name in vars(model)}
        return Line(model.coef_, model.intercept_, others)


def _blank(estimator, n_features):
    """What to copy and fill: a clone with the attributes that all its fits share."""
    model = clone(estimator)
    model.n_features_in_ = n_features
    if type(model) is Ridge:
        model.n_iter_, model.solver_ = None, "cholesky"
    return model


def _ridge(A, b, alpha, _):
    A = A.copy()
    A.flat[:: len(A) + 1] += alpha
    factor, coef, failed = dposv(A, b)
    if failed:
        return None
    pivots = factor.diagonal()
    if pivots.min() ** 2 < _LEAST_PIVOT * pivots.max() ** 2:
        return None
    return coef, {}


def _least_squares(A, b, _, estimator):
    squares = np.linalg.eigvalsh(A)[::-1]
    least = max(_LEAST_EIGENVALUE, getattr(estimator, "tol", 0.0) ** 2)
    if squares[-1] <= least * squares[0]:
        return None
    coef, failed = dposv(A, b)[1:]
    return None if failed else (coef, {"rank_": len(A), "singular_": np.sqrt(squares)})


# -------------------------------------------------------------------------------------- moments
# (sum of weights, weighted mean, weighted scatter about it) of rows [x, y]; without an intercept
# means are zero and the scatter is about zero.


class _Block:
    """Rows, centred once near where their weighted means will be."""

    def __init__(self, Z, centred):
        self._centred = centred
        self._centre = Z.mean(axis=0) if centred else np.zeros(Z.shape[1])
        self._Z = Z - self._centre if centred else Z

    def moments(self, weight):
        Z = self._Z
        total = weight.sum()
        scaled = Z * np.sqrt(weight)[:, None]
        square = scaled.T @ scaled
        if not self._centred or total <= 0.0:
            return total, self._centre, square
        shift = (weight @ Z) / total
        scatter = square - total * np.outer(shift, shift)
        if (scatter.diagonal() < _CANCELLED * square.diagonal()).any():
            # Weights have gone to rows far from the centre.
            scaled = (Z - shift) * np.sqrt(weight)[:, None]
            scatter = scaled.T @ scaled
        return total, self._centre + shift, scatter


def _merge(a, b):
    """Moments of two groups together."""
    (weight_a, mean_a, scatter_a), (weight_b, mean_b, scatter_b) = a, b
    if weight_a <= 0.0 or weight_b <= 0.0:
        return b if weight_a <= 0.0 else a
    total, gap = weight_a + weight_b, mean_b - mean_a
    scatter = scatter_a + scatter_b + (weight_a * (weight_b / total)) * np.outer(gap, gap)
    return total, mean_a + gap * (weight_b / total), scatter


def _add(a, b):
    return tuple(u + v for u, v in zip(a, b, strict=True))
