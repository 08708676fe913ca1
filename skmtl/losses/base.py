"""What every loss answers about rows."""

__all__ = ["Loss"]


class Loss:
    r"""A loss :math:`\ell(y, s)` of a row's target and scores, convex in the scores.

    Scores and targets are arrays with an axis of score sets, the last one unless `axis` says
    otherwise: one set for numbers and for two classes (the log-odds of the second), one per class
    for more. Scores are finite; targets are numbers, or 0 and 1 for classes.

    Attributes
    ----------
    name : str
        As scikit-learn calls it.
    """

    name: str

    def value(self, scores, target, axis=-1):
        """Return the loss of every row, summed over the score sets."""
        raise NotImplementedError

    def means(self, scores, axis=-1):
        """Return what the scores predict, of the shape of the scores: the inverse link."""
        raise NotImplementedError

    def gradient(self, scores, target, axis=-1):
        """Return the derivatives by the scores."""
        return self.means(scores, axis) - target

    def curve(self, means, moved, axis=-1):
        """Return how the gradient changes, to first order, as scores of such means move."""
        raise NotImplementedError
