"""Quadratic programs with box constraints: coordinate descent, low-rank Cholesky factors."""

import numpy as np

from .._jit import njit


@njit
def descend(K, gradient, c, upper, n_sweeps):
    """Minimise ``c'Kc/2 - k'c`` over ``0 <= c <= upper`` by sweeps of coordinate descent, in place.

    `gradient` is ``Kc - k`` and is updated.
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
    """Copy the upper triangle of ``K[rows][:, rows]`` to `out`."""
    for i in range(len(rows)):
        row = K[rows[i]]
        for j in range(i, len(rows)):
            out[i, j] = row[rows[j]]


@njit(fused=True)
def add_rows(K, rows, values, out):
    """Compute ``out += values @ K[rows]`` without a copy of the rows."""
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
    """Write the columns of a pivoted Cholesky factor with ``K ~ LL'`` to the rows of `L`.

    Returns the rank at which the trace of the remainder is at most `share` of that of K; or -1, as
    soon as the rows of `L` would not suffice even at twice the present rate of convergence.
    """
    return _low_rank(K, L, share, np.diag(K).copy())


@njit
def _low_rank(K, L, share, remainder):
    n = len(K)
    trace = 0.0
    for i in range(n):
        trace += remainder[i]
    for r in range(len(L)):
        pivot = 0
        for i in range(1, n):
            if remainder[i] > remainder[pivot]:
                pivot = i
        root = np.sqrt(remainder[pivot])
        for i in range(n):
            L[r, i] = K[pivot, i]
        for s in range(r):
            factor = L[s, pivot]
            for i in range(n):
                L[r, i] -= factor * L[s, i]
        total = 0.0
        for i in range(n):
            L[r, i] /= root
            remainder[i] = max(remainder[i] - L[r, i] * L[r, i], 0.0)
            total += remainder[i]
        if total <= share * trace:
            return r + 1
        if (r + 1) % 16 == 0 and 2.0 * np.log(total / trace) / (r + 1) * len(L) > np.log(share):
            return -1
    return -1
