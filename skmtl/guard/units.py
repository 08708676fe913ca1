"""Tasks in units of their own: a location and a scale of the target for each."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import polygamma

from .residuals import variance_prior

__all__ = ["Units"]

# Tasks whose scales differ by less than this (standard deviation of the logarithm, beyond what
# their few rows explain) share one scale without a trial; where they differ by more than e-fold,
# units of their own are taken unless they prove worse.
_LEAST_SPREAD, _EVIDENT_SPREAD = 0.5, 1.0


@dataclass
class Units:
    r"""A location and a scale of the target for every task, shrunk where a task has few rows.

    The variance :math:`s_t^2` is drawn towards the tasks' common one as in
    `ResidualScale`; the location,
    in units of the scale, towards the mean of :math:`\bar y_t / s_t` over tasks: tasks that differ
    by a gain only have that in common.

    Attributes
    ----------
    location, scale : ndarray of shape (n_tasks,)
    prior_rows, prior_variance : float
        What the variances are drawn towards.
    centre, pull : float
        What the locations are drawn towards, in units of the scale, and as by how many rows.
    """

    location: np.ndarray
    scale: np.ndarray
    prior_rows: float
    prior_variance: float
    centre: float
    pull: float

    @classmethod
    def learn(cls, moments):
        """From the tasks' `TaskMoments` or `TaskRows`."""
        rows, mean, square = moments.weight, moments.mean[:, -1], moments.target_scatter()
        prior_rows, prior_variance = variance_prior(square, np.maximum(rows - 1.0, 0.0))
        if not prior_variance > 0.0:  # all constant, or a single row each
            prior_rows, prior_variance = np.inf, 1.0
        self = cls(None, None, prior_rows, prior_variance, 0.0, 0.0)
        seen = rows > 0
        ratio, noise = (mean / self._scale_of(rows, square))[seen], 1.0 / rows[seen]
        between = max(np.var(ratio) - noise.mean(), 1e-6)
        weight = 1.0 / (noise + between)
        centre = weight @ ratio / weight.sum()
        return replace(self, centre=centre, pull=1.0 / between).of(rows, mean, square)

    def _scale_of(self, rows, square):
        if np.isinf(self.prior_rows):
            return np.full(len(rows), np.sqrt(self.prior_variance))
        d = np.maximum(rows - 1.0, 0.0)
        total = self.prior_rows + d
        known = total > 0.0  # a single row tells no scale
        variance = np.where(known, self.prior_rows * self.prior_variance + square, 0.0)
        variance = np.where(known, variance / np.where(known, total, 1.0), self.prior_variance)
        return np.sqrt(np.maximum(variance, 1e-10 * self.prior_variance))

    def _location_of(self, rows, mean, scale):
        return (rows * mean + self.pull * self.centre * scale) / (rows + self.pull)

    def of(self, rows, mean, square):
        """The units of other tasks, from the moments of their targets."""
        scale = self._scale_of(rows, square)
        return replace(self, scale=scale, location=self._location_of(rows, mean, scale))

    def take(self, tasks):
        """Of some tasks."""
        return replace(self, scale=self.scale[tasks], location=self.location[tasks])

    def relearned(self, moments, anew=True):
        """Units that other rows of the tasks tell, relative to these.

        Parameters
        ----------
        moments : TaskMoments or TaskRows
            In these units.
        anew : bool
            Whether what the tasks have in common is learned anew as well.
        """
        outside = moments.in_units(-self.location / self.scale, 1.0 / self.scale)
        if anew:
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
        """Location and scale of a task never seen."""
        scale = np.sqrt(self.prior_variance)
        return self.centre * scale, scale

    def foreign(self):
        """The units of a task never seen, relative to these."""
        location, scale = self.unseen
        n_tasks = len(self.scale)
        return self._relative(
            replace(self, location=np.full(n_tasks, location), scale=np.full(n_tasks, scale))
        )

    def spread(self):
        """Standard deviation of the log-scales over tasks, beyond what their few rows explain."""
        if np.isinf(self.prior_rows) or len(self.scale) < 3:
            return 0.0
        return 0.5 * np.sqrt(polygamma(1, self.prior_rows / 2))

    def differ(self):
        """Whether units of the tasks' own are worth a trial."""
        return self.spread() > _LEAST_SPREAD

    def differ_evidently(self):
        """Whether it is one scale for all tasks that would have to prove better."""
        return self.spread() > _EVIDENT_SPREAD

    def models(self, slopes, intercepts):
        """In place: models in these units become models in the units they are relative to.

        Of shapes (n_tasks, ..., n_features) and (n_tasks, ...).
        """
        shape = (-1,) + (1,) * (intercepts.ndim - 1)
        slopes *= self.scale.reshape(shape)[..., None]
        intercepts *= self.scale.reshape(shape)
        intercepts += self.location.reshape(shape)
