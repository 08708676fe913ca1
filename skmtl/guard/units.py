"""Location and scale of the target for every task."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import polygamma

from .residuals import variance_prior

__all__ = ["Units"]

# Standard deviations of the log-scales over tasks, beyond sampling error: below the first, the
# tasks share one scale without a comparison; above the second, every task has its own units unless
# that is worse.
_LEAST_SPREAD, _CLEAR_SPREAD = 0.5, 1.0


@dataclass
class Units:
    r"""Location and scale of the target for every task, shrunk towards those of all tasks.

    The variance :math:`s_t^2` is shrunk towards a common one as in `ResidualScale`. The location is
    shrunk, in units of the scale, towards the mean of :math:`\bar y_t / s_t` over tasks, which is
    common to tasks that differ only by a gain.

    Attributes
    ----------
    location, scale : ndarray of shape (n_tasks,)
    prior_rows, prior_variance : float
        Rows and variance of the prior of the variances.
    location_rows, prior_location : float
        Rows and mean of the prior of the locations, in units of the scale.
    """

    location: np.ndarray
    scale: np.ndarray
    prior_rows: float
    prior_variance: float
    location_rows: float
    prior_location: float

    @classmethod
    def learn(cls, moments):
        """Learn from the `TaskMoments` or `TaskRows` of the tasks."""
        rows, mean, square = moments.weight, moments.mean[:, -1], moments.target_scatter()
        prior_rows, prior_variance = variance_prior(square, np.maximum(rows - 1.0, 0.0))
        if not prior_variance > 0.0:  # all constant, or a single row each
            prior_rows, prior_variance = np.inf, 1.0
        self = cls(None, None, prior_rows, prior_variance, 0.0, 0.0)
        seen = rows > 0
        ratio, noise = (mean / self._scale_of(rows, square))[seen], 1.0 / rows[seen]
        between = max(np.var(ratio) - noise.mean(), 1e-6)
        weight = 1.0 / (noise + between)
        self.location_rows, self.prior_location = 1.0 / between, weight @ ratio / weight.sum()
        return self.of(rows, mean, square)

    def _scale_of(self, rows, square):
        if np.isinf(self.prior_rows):
            return np.full(len(rows), np.sqrt(self.prior_variance))
        total = self.prior_rows + np.maximum(rows - 1.0, 0.0)
        known = total > 0.0  # false for a single row without a prior
        variance = np.where(known, self.prior_rows * self.prior_variance + square, 0.0)
        variance = np.where(known, variance / np.where(known, total, 1.0), self.prior_variance)
        return np.sqrt(np.maximum(variance, 1e-10 * self.prior_variance))

    def of(self, rows, mean, square):
        """Return the units of other tasks, from the moments of their targets."""
        scale = self._scale_of(rows, square)
        location = rows * mean + self.location_rows * self.prior_location * scale
        return replace(self, scale=scale, location=location / (rows + self.location_rows))

    def take(self, tasks):
        """Return the units of some tasks."""
        return replace(self, scale=self.scale[tasks], location=self.location[tasks])

    def relearned(self, moments, prior=True):
        """Return units learned from other rows of the tasks, relative to these.

        Parameters
        ----------
        moments : TaskMoments or TaskRows
            Moments in these units.
        prior : bool
            Whether the prior is learned again as well.
        """
        outside = moments.in_units(-self.location / self.scale, 1.0 / self.scale)
        if prior:
            return self._relative(Units.learn(outside))
        mean, square = outside.mean[:, -1], outside.target_scatter()
        return self._relative(self.of(outside.weight, mean, square))

    def _relative(self, other):
        return replace(
            other,
            location=(other.location - self.location) / self.scale,
            scale=other.scale / self.scale,
        )

    @property
    def unseen(self):
        """Location and scale of an unseen task."""
        scale = np.sqrt(self.prior_variance)
        return self.prior_location * scale, scale

    def convert_unseen(self, model):
        """Convert intercept and slopes of an unseen task, in place."""
        location, scale = self.unseen
        model *= scale
        model[0] += location

    def of_unseen(self):
        """Return the units of an unseen task, relative to those of each task."""
        location, scale = (np.full(len(self.scale), value) for value in self.unseen)
        return self._relative(replace(self, location=location, scale=scale))

    def required_advantage(self):
        """Return by how many standard errors task-specific units must be better than one scale.

        It is infinite, so that a comparison is not necessary, unless the scales differ by more than
        sampling error.
        """
        if np.isinf(self.prior_rows) or len(self.scale) < 3:
            return np.inf
        spread = 0.5 * np.sqrt(polygamma(1, self.prior_rows / 2))
        if spread <= _LEAST_SPREAD:
            return np.inf
        return -1.0 if spread > _CLEAR_SPREAD else 1.0

    def convert_models(self, slopes, intercepts):
        """Convert models from these units to those that they are relative to, in place.

        The shapes are (n_tasks, ..., n_features) and (n_tasks, ...).
        """
        shape = (-1,) + (1,) * (intercepts.ndim - 1)
        slopes *= self.scale.reshape(shape)[..., None]
        intercepts *= self.scale.reshape(shape)
        intercepts += self.location.reshape(shape)
