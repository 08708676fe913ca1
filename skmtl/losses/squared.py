"""Half the squared error."""

import numpy as np

from .base import FixedLoss

__all__ = ["SQUARED_ERROR"]


class _SquaredError(FixedLoss):
    r""":math:`\ell(y, s) = (y - s)^2 / 2`."""

    name = "squared_error"
    factor = 2.0

    def value(self, scores, target, axis=-1):
        return 0.5 * ((scores - target) ** 2).sum(axis=axis)

    def means(self, scores, axis=-1):
        return scores

    def curve(self, means, moved, axis=-1):
        return moved

    def curvature(self, means):
        return np.ones_like(means)

    def constant(self, target, weight):
        return float(np.average(target, weights=weight))


SQUARED_ERROR = _SquaredError()
