"""Standardisation of features and targets."""

from dataclasses import dataclass

import numpy as np

from .moments import scale_of

__all__ = ["Standards"]


@dataclass(frozen=True)
class Standards:
    """Parameters of the standardisation of features and target.

    Attributes
    ----------
    n_features : int
        Number of features, including constant ones.
    columns : ndarray of shape (n_varying,)
        Positions of the features that are used: they vary, and their trust is positive. If there
        are none, the first feature.
    centre, scale : ndarray of shape (n_varying,)
        Standardised features are ``(X[:, columns] - centre) * scale``.
    target_centre, target_scale : float
        The same for the target; 0 and 1 for classes.
    """

    n_features: int
    columns: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    target_centre: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def of(cls, X, y, weight, trust=1.0):
        """Compute the parameters from weighted rows; the target is standardised if it is float."""
        centre, scale = _centre_and_scale(X, weight)
        scale = np.where(np.asarray(trust) > 0.0, scale, 0.0)
        columns = np.flatnonzero(scale)
        columns = columns if len(columns) else np.zeros(1, dtype=np.int64)
        features = X.shape[1], columns, centre[columns], scale[columns]
        if y.dtype.kind != "f":
            return cls(*features)
        (target_centre,), (target_scale,) = _centre_and_scale(y[:, None], weight)
        return cls(*features, float(target_centre), float(target_scale) or 1.0)

    def features(self, X):
        if len(self.columns) < X.shape[1]:
            X = np.take(X, self.columns, axis=1)  # C-ordered, as X
        return (X - self.centre) * self.scale

    def target(self, y):
        """Return the standardised target; classes are returned unchanged."""
        return (y - self.target_centre) * self.target_scale if y.dtype.kind == "f" else y

    def restore(self, prediction):
        """Return predictions in the original units of the target."""
        return prediction / self.target_scale + self.target_centre


def _centre_and_scale(X, weight):
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    return mean, scale_of(weight.sum(), mean, variance)
