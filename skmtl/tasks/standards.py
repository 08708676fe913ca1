"""Features and targets on a common scale."""

from dataclasses import dataclass

import numpy as np

from .moments import scale_of

__all__ = ["Standards"]


@dataclass(frozen=True)
class Standards:
    """What features and target are standardised by.

    Attributes
    ----------
    n_features : int
        Constant ones included.
    columns : ndarray of shape (n_varying,)
        The features that are not constant, and trusted; the others are left out. Where all are,
        the first.
    centre, scale : ndarray of shape (n_varying,)
        Features are ``(X[:, columns] - centre) * scale``.
    target_centre, target_scale : float
        The same of the target; 0 and 1 where it holds classes.
    """

    n_features: int
    columns: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    target_centre: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def of(cls, X, y, weight, trust=1.0):
        """Means and deviations over weighted rows; of y too where it holds numbers (floats)."""
        centre, scale = _centre_and_scale(X, weight)
        scale = np.where(np.asarray(trust) > 0.0, scale, 0.0)
        columns = np.flatnonzero(scale)
        columns = columns if len(columns) else np.zeros(1, dtype=np.int64)
        features = X.shape[1], columns, centre[columns], scale[columns]
        if y.dtype.kind != "f":
            return cls(*features)
        (target_centre,), (target_scale,) = _centre_and_scale(y[:, None], weight)
        return cls(*features, float(target_centre), float(target_scale) or 1.0)

    @property
    def spread(self):
        """The standard deviations of what `features` returns; zero where all are constant."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    def features(self, X):
        if len(self.columns) < X.shape[1]:
            X = np.take(X, self.columns, axis=1)  # C-ordered, as X
        return (X - self.centre) * self.scale

    def target(self, y):
        """The target standardised; classes are left as they are."""
        return (y - self.target_centre) * self.target_scale if y.dtype.kind == "f" else y

    def restore(self, prediction):
        """Predictions in the target's own units."""
        return prediction / self.target_scale + self.target_centre


def _centre_and_scale(X, weight):
    total = weight.sum()
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    return mean, scale_of(total, mean, variance)
