"""Quadratic programs in a box: coordinate descent, and a Cholesky factor of low rank."""

import numpy as np

from .._jit import njit


@njit
def descend(K, gradient, c, upper, n_sweeps):
    """Sweeps of coordinate descent for ``min c'Kc/2 - k'c`` over ``0 <= c <= upper``, in place.

    `gradient` is ``Kc - k``, and kept so.
    """
    for _ in range(n_sweeps):
        for i in range(len(c)):
            step = min(max(c[i] - gradient[i] / K[i, i], 0.0), upper[i]) - c[i]
            if step != 0.0:
                c[i] += step
                for j in range(len(c)):
                    gradient[j] += step * K[i, j]


@njit
def take_square(K, rows, out):
    """``out[:] = K[rows][:, rows]``, its upper triangle only."""
    for i in range(len(rows)):
        row = K[rows[i]]
        for j in range(i, len(rows)):
            out[i, j] = row[rows[j]]


@njit(fused=True)
def add_rows(K, rows, values, out):
    """``out += values @ K[rows]``, without a copy of the rows."""
    for i in range(0, len(rows) - 1, 2):
        v, w = values[i], values[i + 1]
        first, second = K[rows[i]], K[rows[i + 1]]
        for j in range(len(out)):
            out[j] += v * first[j] + w * second[j]
    if len(rows) % 2:
        v, first = values[-1], K[rows[-1]]
        for j in range(len(out)):
            out[j] += v * first[j]


def low_rank(K, L, share):
    """Columns of a pivoted Cholesky factor with ``K ~ LL'``, written to the rows of `L`.

    Ends when the trace of what is left is below `share` of K's, and returns the rank; -1 as soon
    as the rows of `L` would not be enough at twice the pace so far.
    """
    return _low_rank(K, L, share, np.diag(K).copy())


@njit
def _low_rank(K, L, share, left):
    n = len(K)
    trace = 0.0
    for i in range(n):
        trace += left[i]
    for r in range(len(L)):
        pivot = 0
        for i in range(1, n):
            if left[i] > left[pivot]:
                pivot = i
        root = np.sqrt(left[pivot])
        for i in range(n):
            L[r, i] = K[pivot, i]
        for s in range(r):
            factor = L[s, pivot]
            for i in range(n):
                L[r, i] -= factor * L[s, i]
        total = 0.0
        for i in range(n):
            L[r, i] /= root
            left[i] = max(left[i] - L[r, i] * L[r, i], 0.0)
            total += left[i]
        if total <= share * trace:
            return r + 1
        if (r + 1) % 16 == 0 and 2.0 * np.log(total / trace) / (r + 1) * len(L) > np.log(share):
            return -1
    return -1
