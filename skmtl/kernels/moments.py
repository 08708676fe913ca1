"""Block-wise task moments: computed in one pass over the rows, and merged."""

import numpy as np

from .._jit import njit

# Below this number of rows per group, plain loops are faster than BLAS.
_FEW_ROWS = 8


def block_moments(start, stop, X, y, w, rows, edges, longest, moments):
    """Compute the moments of the groups ``start..stop``, whose last column is the target.

    Group g consists of the packed rows ``edges[g]..edges[g + 1]``, at most `longest`. `rows` maps
    packed rows to rows of `X`. `y` and `w` are packed; an empty `w` stands for weights of one.
    """
    Z = np.empty((longest, X.shape[1] + 1))
    _block_moments(start, stop, X, y, w, rows, edges, Z, moments)


@njit
def _block_moments(start, stop, X, y, w, rows, edges, Z, moments):
    """Compute `block_moments`; deviations from the first row give constants a scatter of zero."""
    weight, mean, scatter = moments
    p = X.shape[1]
    has_weight = w.shape[0] > 0
    for g in range(start, stop):
        first = edges[g]
        m = edges[g + 1] - first
        total = 0.0
        for j in range(p + 1):
            mean[g, j] = 0.0
        for i in range(m):
            r = rows[first + i]
            wi = w[first + i] if has_weight else 1.0
            total += wi
            for j in range(p):
                Z[i, j] = X[r, j]
            Z[i, p] = y[first + i]
            for j in range(p + 1):
                mean[g, j] += wi * (Z[i, j] - Z[0, j])
        weight[g] = total
        if total > 0.0:
            for j in range(p + 1):
                mean[g, j] = Z[0, j] + mean[g, j] / total
        for i in range(m):
            root = np.sqrt(w[first + i]) if has_weight else 1.0
            for j in range(p + 1):
                Z[i, j] = root * (Z[i, j] - mean[g, j])
        if m >= _FEW_ROWS:
            np.dot(Z[:m].T, Z[:m], scatter[g])
            continue
        for j in range(p + 1):
            for k in range(p + 1):
                scatter[g, j, k] = 0.0
        for i in range(m):
            for j in range(p + 1):
                zij = Z[i, j]
                for k in range(p + 1):
                    scatter[g, j, k] += zij * Z[i, k]


@njit
def merge_blocks(start, stop, blocks, chosen, tasks, out):
    """Merge the moments of the chosen blocks of each of the given tasks.

    Means are computed from deviations from the first block, so that columns that are constant over
    all blocks have a scatter of exactly zero.
    """
    weight, mean, scatter = blocks
    out_weight, out_mean, out_scatter = out
    d = mean.shape[2]
    for i in range(start, stop):
        t = tasks[i]
        total = 0.0
        first = -1
        for j in range(d):
            out_mean[i, j] = 0.0
            for k in range(d):
                out_scatter[i, j, k] = 0.0
        for b in range(weight.shape[1]):
            wb = weight[t, b]
            if chosen[b] and wb > 0.0:
                first = b if first < 0 else first
                total += wb
                for j in range(d):
                    out_mean[i, j] += wb * (mean[t, b, j] - mean[t, first, j])
        out_weight[i] = total
        if first < 0:
            continue
        for j in range(d):
            out_mean[i, j] = mean[t, first, j] + out_mean[i, j] / total
        for b in range(weight.shape[1]):
            wb = weight[t, b]
            if chosen[b] and wb > 0.0:
                for j in range(d):
                    gap = wb * (mean[t, b, j] - out_mean[i, j])
                    for k in range(d):
                        out_scatter[i, j, k] += scatter[t, b, j, k] + gap * (
                            mean[t, b, k] - out_mean[i, k]
                        )
