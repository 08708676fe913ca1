"""Weighted Gram matrices of a narrow table, and all rounds of TrAdaBoost.R2 with ridges."""

import numpy as np

from .._jit import njit

__all__ = ["boost_ridge", "weighted_squares"]

_WIDTH = 512  # number of rows processed at a time, so that a few columns fit the fastest cache
_MIN_ERROR = 2.220446049250313e-16  # an error of zero would lead to an infinite vote


@njit(helper=True, any_order=True)
def _square(Z, weight, first, second, out):
    """Write ``Z diag(weight) Z'`` to `out`, in two-by-two blocks, which halves memory reads.

    `first` and `second` are workspace.
    """
    n_columns, n = Z.shape
    for a in range(n_columns):
        for b in range(n_columns):
            out[a, b] = 0.0
    for start in range(0, n, _WIDTH):
        m = min(_WIDTH, n - start)
        w = weight[start : start + m]
        for a in range(0, n_columns, 2):
            a_next = min(a + 1, n_columns - 1)
            u, v = Z[a, start : start + m], Z[a_next, start : start + m]
            for i in range(m):
                first[i] = w[i] * u[i]
                second[i] = w[i] * v[i]
            for b in range(0, a + 1, 2):
                b_next = min(b + 1, n_columns - 1)
                x, y = Z[b, start : start + m], Z[b_next, start : start + m]
                s, t, p, q = 0.0, 0.0, 0.0, 0.0
                for i in range(m):
                    s += first[i] * x[i]
                    t += first[i] * y[i]
                    p += second[i] * x[i]
                    q += second[i] * y[i]
                out[a, b] += s
                if b < a:
                    out[a, b_next] += t
                if a_next > a:
                    out[a_next, b] += p
                    out[a_next, b_next] += q
    for a in range(n_columns):
        for b in range(a):
            out[b, a] = out[a, b]


def weighted_squares(Z, weights, out):
    """Compute the sums of ``w z z'`` over the columns z of `Z`, for several vectors of weights.

    Parameters
    ----------
    Z : ndarray of shape (n_columns, n_rows)
    weights : ndarray of shape (n_weights, n_rows)
    out : ndarray of shape (n_weights, n_columns, n_columns)
        Output.
    """
    _weighted_squares(Z, weights, np.empty(_WIDTH), np.empty(_WIDTH), out)


@njit
def _weighted_squares(Z, weights, first, second, out):
    for i in range(len(weights)):
        _square(Z, weights[i], first, second, out[i])


@njit(helper=True)
def _centre(square, cancelled):
    """Subtract the products of the means from the lower triangle; return False on cancellation."""
    total = square[0, 0]
    for a in range(1, len(square)):
        before = square[a, a]
        for b in range(1, a + 1):
            square[a, b] -= square[a, 0] * square[b, 0] / total
        if not square[a, a] >= cancelled * before:
            return False
    return True


@njit(helper=True)
def _solve(square, alpha, least_pivot, coef):
    """Compute ridge coefficients by a Cholesky factor in place; return False if it is singular.

    The last row of the lower triangle holds the products with y, from its second entry on. The
    factorisation of this row solves the first triangular system.
    """
    n = len(coef)
    low, high = np.inf, 0.0
    for j in range(1, n + 1):
        s = square[j, j] + alpha
        for k in range(1, j):
            s -= square[j, k] * square[j, k]
        if not s > 0.0:
            return False
        low, high = min(low, s), max(high, s)
        square[j, j] = np.sqrt(s)
        for i in range(j + 1, n + 2):
            s = square[i, j]
            for k in range(1, j):
                s -= square[i, k] * square[j, k]
            square[i, j] = s / square[j, j]
    for j in range(n - 1, -1, -1):
        s = square[n + 1, j + 1]
        for i in range(j + 1, n):
            s -= square[i + 1, j + 1] * coef[i]
        coef[j] = s / square[j + 1, j + 1]
    return not low < least_pivot * high


@njit(helper=True, any_order=True)
def _deviate(Z, line, weight, out):
    """Write ``|line'Z|`` of the rows of positive weight to `out`; return the largest value."""
    n_columns, n = Z.shape
    largest = 0.0
    for start in range(0, n, _WIDTH):
        m = min(_WIDTH, n - start)
        part = out[start : start + m]
        for i in range(m):
            part[i] = 0.0
        for a in range(n_columns):
            factor, z = line[a], Z[a, start : start + m]
            for i in range(m):
                part[i] += factor * z[i]
        for i in range(m):
            part[i] = abs(part[i]) if weight[start + i] > 0.0 else 0.0
            largest = max(largest, part[i])
    return largest


@njit(helper=True, any_order=True)
def _reweigh(weight, deviation, power):
    """Apply ``weight *= exp(power * deviation)`` in place; return the sum of the weights."""
    total = 0.0
    for i in range(len(weight)):
        weight[i] *= np.exp(power * deviation[i])
        total += weight[i]
    return total


def boost_ridge(Z, n_source, alpha, centred, limits, weights, lines, summary):
    r"""Compute the rounds of TrAdaBoost.R2 with ridges fitted by normal equations.

    Parameters
    ----------
    Z : ndarray of shape (n_features + 2, n_rows)
        Ones, features and y, with one column per row of the table; source rows first.
    n_source : int
    alpha : float
        Strength of the ridge.
    centred : bool
        Whether there is an intercept.
    limits : tuple of float
        Least share of a square that must remain after centring, and least ratio of the smallest
        pivot to the largest: below either, the computation is abandoned. And the largest deviation
        that counts as zero.
    weights : ndarray of shape (n_rounds, n_rows)
        Weights that each round is fitted with; the first row is input, the others are output.
    lines : ndarray of shape (n_rounds, n_features + 2)
        Output: y minus the prediction of a round is its row times Z.
    summary : ndarray of shape (n_rounds, 3)
        Output: the error on the target, beta, and the target's share of the weights.

    Returns
    -------
    int
        Number of rounds, of which the last may have an error of at least one half; -1 if the
        computation was abandoned.
    """
    n_columns, n = Z.shape
    work = np.empty((n_columns, n_columns)), np.empty(n), np.empty(_WIDTH), np.empty(_WIDTH)
    return _boost_ridge(Z, n_source, alpha, centred, limits, work, weights, lines, summary)


@njit(any_order=True)
def _boost_ridge(Z, n_source, alpha, centred, limits, work, weights, lines, summary):
    cancelled, least_pivot, negligible = limits
    square, deviation, first, second = work
    n_columns, n = Z.shape
    n_rounds = len(weights)
    total, size = 0.0, 0.0
    for i in range(n):
        total += weights[0, i]
        size += weights[0, i] if i < n_source else 0.0
    shrink = -np.log1p(np.sqrt(2.0 * np.log(max(size, 1.0)) / n_rounds))
    for t in range(n_rounds):
        weight, line = weights[t], lines[t]
        _square(Z, weight, first, second, square)
        if centred and not _centre(square, cancelled):
            return -1
        if not _solve(square, alpha, least_pivot, line[1:-1]):
            return -1
        line[0], line[-1] = 0.0, 1.0
        for a in range(1, n_columns - 1):
            line[a] = -line[a]
        if centred:
            for a in range(1, n_columns):
                line[0] -= line[a] * square[a, 0] / square[0, 0]
        largest = _deviate(Z, line, weight, deviation)
        scale = 0.0 if largest <= negligible else 1.0 / largest
        target, error = 0.0, 0.0
        for i in range(n_source, n):
            target += weight[i]
            error += weight[i] * deviation[i]
        error *= scale / target
        clipped = min(max(error, _MIN_ERROR), 1.0 - _MIN_ERROR)
        beta = clipped / (1.0 - clipped)
        summary[t, 0], summary[t, 1], summary[t, 2] = error, beta, target / total
        if error >= 0.5 or t + 1 == n_rounds:
            return t + 1
        new = weights[t + 1]
        for i in range(n):
            new[i] = weight[i]
        new_total = _reweigh(new[:n_source], deviation[:n_source], scale * shrink)
        new_total += _reweigh(new[n_source:], deviation[n_source:], -scale * np.log(beta))
        for i in range(n):
            new[i] *= total / new_total
    return n_rounds
