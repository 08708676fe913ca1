"""Working weights and responses of losses, for Newton's method."""

from collections import namedtuple

import numpy as np

from .._jit import njit

# Codes of the formulas in `derivatives`.
LOG_LOSS = 0
POISSON = 1
GAMMA = 2
HUBER = 3
PINBALL = 4
# Lower bound of the curvature of a row, which limits the length of a step.
FLOOR = 1e-6

# Formula of a loss: its code, and its parameters. `a` is the bend of the Huber loss; `a` and `b`
# are the slopes of the pinball loss for positive and negative residuals, which is smoothed within
# `width` of zero.
LossCode = namedtuple("LossCode", ["code", "a", "b", "width"])
# Targets, weights and scores of packed rows, and an offset of the scores.
ScoredRows = namedtuple("ScoredRows", ["y", "weight", "score", "offset"])
# Working weights and responses of packed rows, and the losses of the tasks.
Working = namedtuple("Working", ["w", "z", "loss"])


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
def derivatives(loss, y, f):
    """Return the value, slope and curvature of a row's loss at the score f.

    The curvature is that of a parabola that touches the loss at f: the second derivative, or for
    losses that bend at a point, that of a majorant. Values are up to a constant per row.
    """
    code, a, b, width = loss
    if code == LOG_LOSS:
        e = np.exp(-abs(f))
        small = e / (1.0 + e)
        p = 1.0 - small if f > 0.0 else small
        return np.log1p(e) + max(f, 0.0) - y * f, p - y, max(small * (1.0 - small), FLOOR)
    if code == POISSON:
        mean = np.exp(f)
        return mean - y * f, mean - y, max(mean, FLOOR)
    if code == GAMMA:
        ratio = y * np.exp(-f)
        return ratio + f, 1.0 - ratio, max(ratio, FLOOR)
    r = y - f
    if code == HUBER:
        if abs(r) <= a:
            return 0.5 * r * r, -r, 1.0
        return a * (abs(r) - 0.5 * a), -a if r > 0.0 else a, a / abs(r)
    half, tilt = 0.5 * (a + b), 0.5 * (a - b)
    if abs(r) <= width:
        bend = half / width
        return 0.5 * (bend * r * r + half * width) + tilt * r, -bend * r - tilt, bend
    return half * abs(r) + tilt * r, (-half if r > 0.0 else half) - tilt, half / abs(r)


@njit
def working(start, stop, offsets, loss, rows, out):
    """Compute working weights, working responses and the loss of each task.

    The loss is ``sum(weight * loss(y, f))`` at ``f = score + offset``. Its quadratic approximation
    at the scores is ``sum(w (z - score)^2) / 2`` plus a constant.
    """
    for t in range(start, stop):
        total = 0.0
        for i in range(offsets[t], offsets[t + 1]):
            value, slope, curvature = derivatives(loss, rows.y[i], rows.score[i] + rows.offset[i])
            out.w[i] = rows.weight[i] * curvature
            out.z[i] = rows.score[i] - slope / curvature
            total += rows.weight[i] * value
        out.loss[t] = total
