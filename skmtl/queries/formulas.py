"""Formulas of losses for the rows of queries and for arrays."""

from collections import namedtuple

import numpy as np

from ..losses import GAMMA, LOG_LOSS, POISSON

__all__ = ["LOSSES", "ArrayMath", "RowFormulas", "row_formulas"]

# Losses of which queries take working moments.
LOSSES = (LOG_LOSS, POISSON, GAMMA)
# Least curvature of a row, as in memory, and the largest score: engines may raise errors where
# exponentials overflow.
_FLOOR, _LARGEST_SCORE = 1e-6, 300.0
# Loss of a row, its negative slope, its curvature, its least value and its part of Pearson's
# statistic.
RowFormulas = namedtuple("RowFormulas", ["loss", "slope", "curvature", "least", "pearson"])


def row_formulas(loss, y, score, math):
    """Return the `RowFormulas` of the targets and scores of rows.

    Parameters
    ----------
    loss : Loss
        One of `LOSSES`.
    y, score : ndarray, or expression of a query
        Engines repeat an expression wherever it is used, in all sums: every formula uses the score
        once or twice.
    math : object
        Its methods ``exp``, ``log``, ``where``, ``larger`` and ``smaller`` are like ``exp``,
        ``log``, ``where``, ``maximum`` and ``minimum`` of numpy.
    """
    s = math.larger(math.smaller(score, _LARGEST_SCORE), -_LARGEST_SCORE)
    if loss is LOG_LOSS:
        inverse = math.exp(s * -1.0) + 1.0
        mean, value = 1.0 / inverse, math.log(inverse) + (y * -1.0 + 1.0) * s
        curvature, slope = mean * (mean * -1.0 + 1.0), y - mean
        least = pearson = y * 0.0
    elif loss is POISSON:
        curvature = mean = math.exp(s)
        slope, value = y - mean, mean - y * s
        least = y - y * math.log(math.where(y > 0.0, y, 1.0))
        pearson = slope * slope / mean
    else:
        curvature = ratio = y * math.exp(s * -1.0)
        slope, value = ratio - 1.0, ratio + s
        least, pearson = math.log(y) + 1.0, slope * slope
    return RowFormulas(value, slope, math.larger(curvature, _FLOOR), least, pearson)


class ArrayMath:
    """Arithmetic on arrays, for `row_formulas`."""

    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    where = staticmethod(np.where)
    larger = staticmethod(np.maximum)
    smaller = staticmethod(np.minimum)
