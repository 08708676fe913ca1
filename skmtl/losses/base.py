"""Base class of the losses."""

from typing import Any

import numpy as np

from .. import kernels  # which imports numba on first use only
from .._typing import NDArray

__all__ = ["LEAST_NOISE", "FixedLoss", "Loss"]

# Smallest noise of a loss: targets that a fit explains exactly have none.
LEAST_NOISE = 1e-12


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
    factor : float
        Factor on values in reports, so that they are the unit deviance.
    has_link : bool
        Whether predictions are another function of the scores than the scores themselves.
    degree : float
        Exponent of the unit of the target in the loss.
    smooth : bool
        Whether the loss has a derivative everywhere.
    is_likelihood : bool
        Whether it is a log-likelihood, linear in the target.
    """

    name: str
    code: str = ""
    factor = 1.0
    has_link = False
    degree = 2.0
    smooth = True
    is_likelihood = False

    def value(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        """Return the loss of every row, summed over the score sets, up to a constant.

        Parameters
        ----------
        scores, target : ndarray
            Arrays of one shape.
        axis : int, default=-1
            Axis of the score sets.

        Returns
        -------
        ndarray
            The losses, without this axis.
        """
        raise NotImplementedError

    def means(self, scores: NDArray, axis: int = -1) -> NDArray:
        """Return the predictions (the inverse link) of the scores.

        Parameters
        ----------
        scores : ndarray
            Scores.
        axis : int, default=-1
            Axis of the score sets.

        Returns
        -------
        ndarray
            Predictions, in the shape of the scores.
        """
        raise NotImplementedError

    def link(self, means: NDArray) -> NDArray:
        """Return the scores of predictions, for losses of one score.

        Parameters
        ----------
        means : ndarray
            Predictions.

        Returns
        -------
        ndarray
            Scores, in the shape of the predictions.
        """
        return means

    def gradient(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        """Return the derivatives with respect to the scores.

        Parameters
        ----------
        scores, target : ndarray
            Arrays of one shape.
        axis : int, default=-1
            Axis of the score sets.

        Returns
        -------
        ndarray
            Derivatives, in the shape of the scores.
        """
        return self.means(scores, axis) - target

    def curve(self, means: NDArray, moved: NDArray, axis: int = -1) -> NDArray:
        """Return the product of the Hessian with a vector.

        Parameters
        ----------
        means : ndarray
            Predictions at the scores, where the Hessian is taken.
        moved : ndarray
            The vector.
        axis : int, default=-1
            Axis of the score sets.

        Returns
        -------
        ndarray
            The product, in the shape of the scores.
        """
        raise NotImplementedError

    def curvature(self, means: NDArray) -> NDArray:
        """Return the diagonal of the Hessian.

        Parameters
        ----------
        means : ndarray
            Predictions at the scores, where it is taken.

        Returns
        -------
        ndarray
            The diagonal, in the shape of the scores.
        """
        raise NotImplementedError

    def target_slopes(self, scores: NDArray) -> NDArray:
        """Return the derivatives with respect to the target, of losses that are linear in it.

        Parameters
        ----------
        scores : ndarray
            Scores.

        Returns
        -------
        ndarray
            Derivatives, in the shape of the scores.
        """
        raise NotImplementedError

    def bend(self, scores: NDArray, target: NDArray, axis: int = -1) -> NDArray:
        """Return the curvatures that Newton's method uses.

        They are the diagonal of the Hessian, or the curvatures of a majorant.

        Parameters
        ----------
        scores, target : ndarray
            Arrays of one shape.
        axis : int, default=-1
            Axis of the score sets.

        Returns
        -------
        ndarray
            Curvatures, in the shape of the scores.
        """
        return self.curvature(self.means(scores, axis))

    def least(self, target: NDArray) -> NDArray:
        """Return the smallest values of the loss of one score.

        Parameters
        ----------
        target : ndarray
            Targets of any shape.

        Returns
        -------
        ndarray
            The values, in the same shape.
        """
        return np.zeros(np.shape(target))

    def constant(self, target: NDArray, weight: NDArray) -> float:
        """Return the score that minimises the loss of rows without features.

        Parameters
        ----------
        target, weight : ndarray of shape (n_rows,)
            Targets and weights.

        Returns
        -------
        float
            The score.
        """
        raise NotImplementedError

    def deviance(self, scores: NDArray, target: NDArray) -> NDArray:
        """Return the unit deviance of rows with one score.

        Parameters
        ----------
        scores, target : ndarray
            Arrays of one shape, without an axis of score sets.

        Returns
        -------
        ndarray
            Deviances, in the same shape.
        """
        value = self.value(scores[..., None], target[..., None])
        return self.factor * (value - self.least(target))

    def explained(self, y: NDArray, prediction: NDArray, weight: NDArray) -> float:
        """Return D², the share of the deviance that predictions explain.

        Parameters
        ----------
        y, prediction, weight : ndarray of shape (n_rows,)
            Targets, predictions and weights.

        Returns
        -------
        float
            The share. For a constant target it is 1 for perfect predictions and 0 for others, as
            R² is.

        Raises
        ------
        ValueError
            For targets outside the range of the loss.
        """
        self.check_target(y)
        left, total = weight @ self.deviance(self.link(prediction), y), 0.0
        if np.ptp(y):
            total = weight @ self.deviance(np.full(len(y), self.constant(y, weight)), y)
        if total <= 0.0:
            return 1.0 if left == 0.0 else 0.0
        return float(1.0 - left / total)

    def in_units(self, scale: float) -> "Loss":
        """Return the loss of targets that are multiplied by a scale, up to a factor.

        Parameters
        ----------
        scale : float
            The scale.

        Returns
        -------
        Loss
            The loss.
        """
        return self

    def smoothed(self, width: float) -> "Loss":
        """Return the loss, smoothed within a distance of where it has no derivative.

        Parameters
        ----------
        width : float
            The distance.

        Returns
        -------
        Loss
            The loss.
        """
        return self

    def noise(self, scores: NDArray, target: NDArray, weight: NDArray) -> float:
        """Return what the loss of a row is divided by to be a log-likelihood.

        Parameters
        ----------
        scores, target, weight : ndarray of shape (n_rows,)
            Fitted scores, targets and weights.

        Returns
        -------
        float
            The dispersion, or the scale of the residuals.
        """
        return 1.0

    def check_target(self, y: NDArray) -> None:
        """Raise a ValueError for targets that the loss does not have.

        Parameters
        ----------
        y : ndarray
            Targets.

        Raises
        ------
        ValueError
            For targets outside the range of the loss.
        """

    @property
    def parameters(self) -> tuple[float, float, float]:
        """Parameters of the formula."""
        return (0.0, 0.0, 0.0)

    @property
    def kernel_code(self) -> Any:
        """The formula as kernels take it."""
        return kernels.newton.LossCode(getattr(kernels.newton, self.code), *self.parameters)


class FixedLoss(Loss):
    """A loss without parameters: an object with the name of the loss in capitals."""

    def __repr__(self):
        return self.name.upper()

    def __reduce__(self):
        return repr(self)  # a pickle refers to the object in the module of the class
