"""Log-loss of classes."""

import numpy as np
from scipy.special import expit, logit

from .base import FixedLoss

__all__ = ["LOG_LOSS", "log_sum_exp"]

# Bounds of probabilities whose log-odds are finite.
_LEAST = np.finfo(np.float64).eps


class _LogLoss(FixedLoss):
    r""":math:`\ell(y, s) = \log \sum_k e^{s_k} - \sum_k y_k s_k`.

    With one score, the log-odds of the second of two classes, :math:`\log(1 + e^s) - y s`.
    """

    name = "log_loss"
    code = "LOG_LOSS"
    has_link = True
    is_likelihood = True

    def value(self, scores, target, axis=-1):
        if scores.shape[axis] == 1:
            return (np.logaddexp(0.0, scores) - target * scores).sum(axis=axis)
        return log_sum_exp(scores, axis).squeeze(axis) - (target * scores).sum(axis=axis)

    def means(self, scores, axis=-1):
        if scores.shape[axis] == 1:
            return expit(scores)
        return np.exp(scores - log_sum_exp(scores, axis))

    def link(self, means):
        return logit(np.clip(means, _LEAST, 1.0 - _LEAST))

    def constant(self, target, weight):
        return float(self.link(np.average(target, weights=weight)))

    def check_target(self, y):
        wrong = (y != 0.0) & (y != 1.0)
        if wrong.any():
            raise ValueError(
                "loss='log_loss' is for targets of 0 and 1, but y has the value "
                f"{float(y[int(np.argmax(wrong))])!r}; encode it as 0 and 1, or set the loss of "
                "the task to 'squared_error'."
            )

    def target_slopes(self, scores):
        return -scores

    def curve(self, means, moved, axis=-1):
        if means.shape[axis] == 1:
            return self.curvature(means) * moved
        return means * (moved - (means * moved).sum(axis=axis, keepdims=True))

    def curvature(self, means):
        return means * (1.0 - means)

    def log_probabilities(self, scores, axis=-1):
        """Return the classes' log-probabilities along the axis; two for one score.

        The score of an impossible class is minus infinity.
        """
        if scores.shape[axis] == 1:
            return -np.logaddexp(0.0, np.concatenate([scores, -scores], axis=axis))
        return scores - log_sum_exp(scores, axis)


def log_sum_exp(scores, axis):
    """Return the logarithm of the sum of exponentials, with the axis kept.

    It has less overhead on few rows than scipy's function.
    """
    top = scores.max(axis=axis, keepdims=True)
    return top + np.log(np.exp(scores - top).sum(axis=axis, keepdims=True))


LOG_LOSS = _LogLoss()
