"""Working weights and responses of the logistic loss, for Newton's method."""

import numpy as np

from .._jit import njit

# Lower bound of the curvature p(1 - p) of a row, which limits the length of a step.
_FLOOR = 1e-6


@njit
def linear_scores(start, stop, X, rows, offsets, coef, intercept, out):
    """Compute ``out[i] = X[rows[i]] @ coef[t] + intercept[t]`` for the packed rows i of tasks t."""
    for t in range(start, stop):
        for i in range(offsets[t], offsets[t + 1]):
            r = rows[i]
            s = intercept[t]
            for j in range(X.shape[1]):
                s += X[r, j] * coef[t, j]
            out[i] = s


@njit
def weighted_rows(start, stop, X, rows, offsets, factor, out):
    """Sum ``factor[i] * X[rows[i]]`` over the packed rows i of each task t, to ``out[t]``."""
    for t in range(start, stop):
        for j in range(X.shape[1]):
            out[t, j] = 0.0
        for i in range(offsets[t], offsets[t + 1]):
            r, f = rows[i], factor[i]
            for j in range(X.shape[1]):
                out[t, j] += f * X[r, j]


@njit
def working(start, stop, offsets, y, weight, score, offset, w, z, loss):
    """Compute working weights `w`, working responses `z` and the log-loss of each task.

    The loss is ``sum(weight * (log(1 + exp(f)) - y f))`` at ``f = score + offset`` with y in
    {0, 1}. Its quadratic approximation at the scores is ``sum(w (z - score)^2) / 2`` plus a
    constant.
    """
    for t in range(start, stop):
        total = 0.0
        for i in range(offsets[t], offsets[t + 1]):
            f = score[i] + offset[i]
            e = np.exp(-abs(f))
            small = e / (1.0 + e)
            p = 1.0 - small if f > 0.0 else small
            curvature = max(small * (1.0 - small), _FLOOR)
            w[i] = weight[i] * curvature
            z[i] = score[i] + (y[i] - p) / curvature
            total += weight[i] * (np.log1p(e) + max(f, 0.0) - y[i] * f)
        loss[t] = total
