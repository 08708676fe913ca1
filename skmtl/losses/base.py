"""Base class of the losses."""

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
    """

    name: str

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
