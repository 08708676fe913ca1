"""Losses of positive targets with the logarithm as link: counts, and amounts."""

import numpy as np
from scipy.special import xlogy

from .base import LEAST_NOISE, FixedLoss

__all__ = ["GAMMA", "POISSON", "LogLink"]


class LogLink(FixedLoss):
    """Loss whose scores are the logarithms of the means."""

    factor = 2.0
    has_link = True
    is_likelihood = True

    def means(self, scores, axis=-1):
        with np.errstate(over="ignore"):
            return np.exp(scores)

    def link(self, means):
        return np.log(means)

    def constant(self, target, weight):
        mean = float(np.average(target, weights=weight))
        if mean <= 0.0:
            raise ValueError(f"loss={self.name!r} needs numbers above 0, but all of y are 0.")
        return float(np.log(mean))

    def noise(self, scores, target, weight):
        # Pearson's estimate of the dispersion.
        means = np.exp(scores)
        squares = (target - means) ** 2 / self._variance(means)
        return max(float(np.average(squares, weights=weight)), LEAST_NOISE)

    def _variance(self, means):
        """Return the variances of targets with these means, up to the dispersion."""
        raise NotImplementedError


class _Poisson(LogLink):
    r"""Half the Poisson deviance, up to a constant: :math:`\ell(y, s) = e^s - y s`."""

    name = "poisson"
    degree = 1.0
    code = "POISSON"

    def value(self, scores, target, axis=-1):
        return (self.means(scores) - target * scores).sum(axis=axis)

    def target_slopes(self, scores):
        return -scores

    def curve(self, means, moved, axis=-1):
        return means * moved

    def curvature(self, means):
        return means

    def least(self, target):
        return target - xlogy(target, target)

    def _variance(self, means):
        return means

    def check_target(self, y):
        if (y < 0).any():
            raise ValueError(
                f"loss='poisson' is for counts, but y has the value {float(y.min())!r}; numbers "
                "must be at least 0, or choose loss='squared_error'."
            )


class _Gamma(LogLink):
    r"""Half the gamma deviance, up to a constant: :math:`\ell(y, s) = s + y e^{-s}`."""

    name = "gamma"
    degree = 0.0
    code = "GAMMA"

    def value(self, scores, target, axis=-1):
        return (scores + target * self.means(-scores)).sum(axis=axis)

    def gradient(self, scores, target, axis=-1):
        return 1.0 - target * self.means(-scores)

    def target_slopes(self, scores):
        return np.exp(-scores)

    def bend(self, scores, target, axis=-1):
        return target * self.means(-scores)

    def least(self, target):
        return 1.0 + np.log(target)

    def _variance(self, means):
        return means**2

    def check_target(self, y):
        if (y <= 0).any():
            raise ValueError(
                f"loss='gamma' is for amounts above 0, but y has the value {float(y.min())!r}; "
                "leave out such rows, or choose loss='poisson' or 'squared_error'."
            )


POISSON, GAMMA = _Poisson(), _Gamma()
