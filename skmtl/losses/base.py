"""Base class of the losses."""

from typing import Any

import numpy as np

from .. import kernels  # which imports numba on first use only
from .._typing import NDArray

__all__ = ["Loss"]


class Loss:
    r"""A loss :math:`\ell(y, s)` of a row's target and scores, convex in the scores.

    Scores and targets are arrays with an axis of score sets: `axis`, by default the last one. There
    is one set for regression and for two classes (the log-odds of the second one), and one per
    class for more classes. Scores are finite; targets are numbers, or 0 and 1 for classes.

    Attributes
    ----------
    name : str
        Name of the loss in scikit-learn.
    code : str
        Name of the formula in `skmtl.kernels.newton`; empty if Newton's method does not need it.
    parameters : tuple of float
        Parameters of the formula.
    factor : float
        Factor on values in reports, so that they are the unit deviance.
    has_link : bool
        Whether predictions are another function of the scores than the scores themselves.
    degree : float
        Exponent of the unit of the target in the loss, of losses without a link.
    smooth : bool
        Whether the loss has a derivative everywhere.
    is_likelihood : bool
        Whether it is a log-likelihood, linear in the target.
    """

    name: str
    code: str = ""
    parameters: tuple[float, float, float] = (0.0, 0.0, 0.0)
    factor = 1.0
    has_link = False
    degree = 2.0
    smooth = True
    is_likelihood = False

    def value(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        """Return the loss of every row, summed over the score sets."""
        raise NotImplementedError

    def means(self, scores: NDArray, axis: int = -1) -> NDArray:
        """Return the predictions (the inverse link) of the scores, in the shape of the scores."""
        raise NotImplementedError

    def gradient(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        """Return the derivatives with respect to the scores."""
        return self.means(scores, axis) - target

    def curve(self, means: NDArray, moved: NDArray, axis: int = -1) -> NDArray:
        """Return the product of the Hessian with `moved`, at scores with these means."""
        raise NotImplementedError

    def curvature(self, means: NDArray) -> NDArray:
        """Return the diagonal of the Hessian at scores with these means."""
        raise NotImplementedError

    def target_slopes(self, scores: NDArray) -> NDArray:
        """Return the derivatives with respect to the target, of losses that are linear in it."""
        raise NotImplementedError

    def bend(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        """Return the curvatures that Newton's method uses, in the shape of the scores.

        They are the diagonal of the Hessian, or the curvatures of a majorant.
        """
        return self.curvature(self.means(scores, axis))

    def least(self, target: NDArray) -> NDArray:
        """Return the smallest values of the loss of one score, for targets of any shape."""
        return np.zeros(np.shape(target))

    def constant(self, target: NDArray, weight: NDArray) -> float:
        """Return the score that minimises the loss of rows without features."""
        raise NotImplementedError

    def deviance(self, scores: NDArray, target: NDArray) -> NDArray:
        """Return the unit deviance of rows with one score, of the shape of both arguments."""
        value = self.value(scores[..., None], target[..., None])
        return self.factor * (value - self.least(target))

    def in_units(self, scale: float) -> "Loss":
        """Return the loss of targets that are multiplied by a scale, up to a factor."""
        return self

    def smoothed(self, width: float) -> "Loss":
        """Return the loss, smoothed within a distance of where it has no derivative."""
        return self

    def noise(self, scores: NDArray, target: NDArray, weight: NDArray) -> float:
        """Return what the loss of a row is divided by to be a log-likelihood.

        It is estimated from fitted scores of rows, ``(n_rows,)``.
        """
        return 1.0

    def check_target(self, y: NDArray) -> None:
        """Raise a ValueError for targets that the loss does not have."""

    @property
    def kernel_code(self) -> Any:
        """The formula as kernels take it."""
        return kernels.newton.LossCode(getattr(kernels.newton, self.code), *self.parameters)
