"""Losses of residuals that outliers do not rule: Huber's, and those of medians and quantiles."""

import numbers
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar

from .._typing import NDArray
from .base import LEAST_NOISE, Loss

__all__ = ["ABSOLUTE_ERROR", "Huber", "Quantile", "weighted_quantile"]

# Multiple of the noise at which the Huber loss bends: with normal noise it loses 5 % of the rows.
_BEND = 1.345


class _Residuals(Loss):
    """Loss of the residuals y - s."""

    def means(self, scores: NDArray, axis: int = -1) -> NDArray:
        return scores

    def noise(self, scores: NDArray, target: NDArray, weight: NDArray) -> float:
        # The scale of a distribution whose log-likelihood is proportional to the loss.
        loss = self.value(scores[:, None], target[:, None])
        return max(float(np.average(loss, weights=weight)), LEAST_NOISE)


@dataclass(frozen=True)
class Huber(_Residuals):
    r"""Huber's loss: squares of small residuals, absolute values of large ones.

    .. math:: \ell(y, s) = \begin{cases} r^2 / 2 & |r| \le \delta \\
              \delta\, (|r| - \delta / 2) & |r| > \delta \end{cases}, \qquad r = y - s

    Parameters
    ----------
    delta : "auto" or float, default="auto"
        Residual at which the loss bends, in the units of y. "auto" is 1.345 times the noise, which
        is estimated from the median of the absolute residuals of a fit of the absolute error.

    References
    ----------
    Huber, P. (1964). Robust estimation of a location parameter. Annals of Mathematical Statistics
    35(1). :doi:`10.1214/aoms/1177703732`

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.losses import Huber
    >>> model = MultiTaskRegressor("partial_pooling", loss=Huber(delta=2.0))
    """

    delta: float | Literal["auto"] = "auto"

    name = "huber"
    code = "HUBER"

    def __post_init__(self):
        if isinstance(self.delta, str) and self.delta == "auto":
            return
        number = isinstance(self.delta, numbers.Real) and not isinstance(self.delta, bool)
        if not number or not 0.0 < self.delta < np.inf:
            raise ValueError(f"delta={self.delta!r} of Huber must be 'auto' or a number above 0.")

    @property
    def parameters(self) -> tuple[float, float, float]:
        """Parameters of the formula; without a number for `delta` there is none."""
        return self._number, 0.0, 0.0

    @property
    def _number(self) -> float:
        """The residual at which the loss bends."""
        return float(self.delta)

    def with_noise(self, residuals: NDArray, weight: NDArray) -> "Huber":
        """Return the loss with a number for `delta`, from residuals of a robust fit.

        Parameters
        ----------
        residuals, weight : ndarray of shape (n_rows,)
            Residuals and weights.

        Returns
        -------
        Huber
            The loss.
        """
        if self.delta != "auto":
            return self
        noise = 1.4826 * weighted_quantile(np.abs(residuals), weight, 0.5)
        if noise <= 0.0:  # half of the residuals are zero
            noise = max(float(np.average(np.abs(residuals), weights=weight)), 1e-12)
        return replace(self, delta=float(_BEND * noise))

    def in_units(self, scale: float) -> Loss:
        return self if self.delta == "auto" else replace(self, delta=float(self._number * scale))

    def value(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        r, at = np.abs(target - scores), self._number
        return np.asarray(np.where(r <= at, 0.5 * r**2, at * (r - 0.5 * at))).sum(axis=axis)

    def gradient(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        return -np.clip(target - scores, -self._number, self._number)

    def bend(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        return np.minimum(1.0, self._number / np.maximum(np.abs(target - scores), 1e-300))

    def constant(self, target: NDArray, weight: NDArray) -> float:
        low, high = float(target.min()), float(target.max())
        if self.delta == "auto" or low == high:
            return weighted_quantile(target, weight, 0.5)
        found = minimize_scalar(
            lambda s: weight @ self.value(np.full((len(target), 1), s), target[:, None]),
            bounds=(low, high), method="bounded", options={"xatol": 1e-10 * (high - low)},
        )  # fmt: skip
        return float(found.x)


class _Pinball(_Residuals):
    """Loss with one slope for positive and another one for negative residuals."""

    code = "PINBALL"
    degree = 1.0
    smooth = False
    width = 0.0

    def _slopes(self):
        """Return the slopes for positive and for negative residuals."""
        raise NotImplementedError

    @property
    def parameters(self) -> tuple[float, float, float]:
        """Parameters of the formula."""
        return (*self._slopes(), self.width)

    def smoothed(self, width: float) -> Loss:
        other = copy(self)
        object.__setattr__(other, "width", width)  # the classes are frozen
        return other

    def value(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        (a, b), r = self._slopes(), target - scores
        half, tilt, size = 0.5 * (a + b), 0.5 * (a - b), np.abs(r)
        if self.width > 0.0:
            size = np.where(size <= self.width, 0.5 * (r**2 / self.width + self.width), size)
        return (half * size + tilt * r).sum(axis=axis)

    def gradient(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        (a, b), r = self._slopes(), target - scores
        sign = np.clip(r / self.width, -1.0, 1.0) if self.width > 0.0 else np.sign(r)
        return -0.5 * (a + b) * sign - 0.5 * (a - b)

    def bend(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        size = np.maximum(np.abs(target - scores), max(self.width, 1e-300))
        return 0.5 * sum(self._slopes()) / size

    def constant(self, target: NDArray, weight: NDArray) -> float:
        a, b = self._slopes()
        return weighted_quantile(target, weight, a / (a + b))


@dataclass(frozen=True)
class Quantile(_Pinball):
    r"""Pinball loss, whose minimum is a quantile of the target.

    .. math:: \ell(y, s) = \alpha\, (y - s)_+ + (1 - \alpha)\, (s - y)_+

    Parameters
    ----------
    level : float, default=0.5
        The quantile :math:`\alpha`, between 0 and 1.

    References
    ----------
    Koenker, R. and Bassett, G. (1978). Regression quantiles. Econometrica 46(1).
    :doi:`10.2307/1913643`

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.losses import Quantile
    >>> model = MultiTaskRegressor("partial_pooling", loss=Quantile(0.9))
    """

    level: float = 0.5

    name = "quantile"

    def __post_init__(self):
        number = isinstance(self.level, numbers.Real) and not isinstance(self.level, bool)
        if not number or not 0.0 < self.level < 1.0:
            raise ValueError(f"level={self.level!r} of Quantile must be between 0 and 1.")

    def _slopes(self):
        return float(self.level), 1.0 - float(self.level)


@dataclass(frozen=True)
class _AbsoluteError(_Pinball):
    r""":math:`\ell(y, s) = |y - s|`, whose minimum is a median."""

    name = "absolute_error"

    def __repr__(self):
        return "ABSOLUTE_ERROR"

    def _slopes(self):
        return 1.0, 1.0


ABSOLUTE_ERROR = _AbsoluteError()


def weighted_quantile(values, weight, level):
    """Return the smallest value at which the share of the weights reaches a level."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order])
    at = np.searchsorted(share, (level - 1e-12) * share[-1])
    return float(values[order[min(at, len(order) - 1)]])
