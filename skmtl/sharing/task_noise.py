r"""Noise levels of the tasks, from the restricted likelihood of a mixed model.

With free intercepts, slopes :math:`b_t \sim N(m, \tau^2 F^2)` and noise of variance
:math:`\sigma_t^2`, a task with centred features :math:`Z_t = X_t F` of rank r is independent normal
numbers: :math:`n_t - 1 - r` of variance :math:`\sigma_t^2`, and one of variance
:math:`\sigma_t^2 + \tau^2 D_{tj}` for every eigenvalue of :math:`Z_t'Z_t`. What their squares are
expected to be, given :math:`\sigma_t`, :math:`\tau` and all data, follows from the moments; the
variances that make them most likely are found in turn (EM).

References
----------
Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete data via
the EM algorithm. Journal of the Royal Statistical Society B 39(1).
:doi:`10.1111/j.2517-6161.1977.tb01600.x`
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

__all__ = ["TaskNoise"]

# Relative eigenvalues below which features do not vary within a task.
_RANK = 1e-10
# Most rounds, and the change of the logarithms at which they end.
_MOST_ROUNDS, _SETTLED = 50, 1e-3
# Grid of the logarithm of a task's variance, its greatest half-width, about that of all tasks, and
# its half-width in standard deviations about the most likely value.
_GRID, _WIDEST, _WIDTHS = np.linspace(-1.0, 1.0, 101), 16.0, 6.0
# Least variance, relative to that of all tasks, about which this grid is laid out.
_LEAST = 1e-12
# Bounds of the logarithm of the variance of slopes, relative to that of the noise; the upper one is
# at least that of the slopes that are found.
_LOG_SLOPES = (-18.0, 8.0)
# Numbers on the grid that are computed at a time.
_AT_A_TIME = 2**22


@dataclass
class TaskNoise:
    """Logarithms of the noise variances of tasks.

    Attributes
    ----------
    log_variance, sampling : ndarray of shape (n_tasks,)
        Means and variances of the logarithms under their likelihood.
    log_slopes : float
        Logarithm of the variance of the tasks' slopes.
    spare : ndarray of shape (n_tasks,)
        Degrees of freedom that the features leave. Without any, the noise is told only by how far
        slopes differ, of which the model is a simplification.
    """

    log_variance: np.ndarray
    sampling: np.ndarray
    log_slopes: float
    spare: np.ndarray

    @classmethod
    def learn(cls, moments):
        """Learn from the `TaskMoments` of the tasks."""
        parts = _Parts.of(moments)
        variance = np.full(len(moments.weight), parts.start())
        log_slopes = np.log(variance[0]) + np.mean(_LOG_SLOPES)
        for _ in range(_MOST_ROUNDS):
            squares = parts.expected_squares(variance, np.exp(log_slopes))
            before = np.append(np.log(variance), log_slopes)
            log_slopes = parts.best_slopes(squares, variance)
            mean, sampling = parts.log_variances(squares, np.exp(log_slopes))
            variance = np.exp(mean)
            if np.abs(np.append(mean, log_slopes) - before).max() <= _SETTLED:
                break
        return cls(mean, sampling, log_slopes, parts.spare)


@dataclass
class _Parts:
    """Independent parts of the tasks.

    Attributes
    ----------
    values : ndarray of shape (n_tasks, n_features)
        Eigenvalues; zero beyond the rank.
    own : ndarray of shape (n_tasks, n_features)
        Products of the eigenvectors with the target.
    shared : ndarray of shape (n_tasks, n_features, n_features)
        Their products with the features of the shared slopes.
    rest, spare : ndarray of shape (n_tasks,)
        Squared errors beyond all features, and their degrees of freedom.
    """

    values: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    rest: np.ndarray
    spare: np.ndarray

    @classmethod
    def of(cls, moments):
        p, scatter = moments.n_features, moments.scatter
        total = scatter.sum(axis=0)[range(p), range(p)]
        factor = np.divide(1.0, np.sqrt(total), out=np.zeros(p), where=total > 0)
        factor *= np.sqrt(max(moments.weight.sum() - len(moments.weight), 1.0))
        products = scatter[:, :p, :p] * np.outer(factor, factor)
        values, U = np.linalg.eigh(products)
        live = values > _RANK * np.maximum(values[:, -1:], 1e-300)
        values = np.where(live, values, 0.0)
        U = U * live[:, None]
        own = np.einsum("tij,ti->tj", U, scatter[:, :p, p] * factor)
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=live)
        rest = np.maximum(scatter[:, p, p] - (own**2 * inverse).sum(axis=1), 0.0)
        spare = np.maximum(moments.weight - 1.0 - live.sum(axis=1), 0.0)
        rest = np.where(spare > 0, rest, 0.0)
        return cls(values, own, np.swapaxes(U, 1, 2) @ products, rest, spare)

    def start(self):
        """Return a noise variance of all tasks."""
        spare = self.spare.sum()
        inverse = np.divide(1.0, self.values, out=np.zeros_like(self.values), where=self.values > 0)
        whole = self.rest.sum() + (self.own**2 * inverse).sum()
        found = self.rest.sum() / spare if spare > 0 else 0.0
        # A constant target has no scale.
        return max(found, 1e-6 * whole / max(spare + (self.values > 0).sum(), 1.0)) or 1.0

    def expected_squares(self, variance, slopes):
        """Return the expected squares ``(n_tasks, n_features)`` of the parts with features."""
        weight = np.divide(
            1.0, self.values * (variance[:, None] + slopes * self.values),
            out=np.zeros_like(self.values), where=self.values > 0,
        )  # fmt: skip
        weighted = self.shared * weight[:, :, None]
        S = np.tensordot(weighted, self.shared, axes=([0, 1], [0, 1]))
        inverse = np.linalg.pinv(S, rcond=_RANK, hermitian=True)
        m = inverse @ np.tensordot(weighted, self.own, axes=([0, 1], [0, 1]))
        doubt = ((self.shared @ inverse) * self.shared).sum(axis=2)
        squares = (self.own - self.shared @ m) ** 2 + doubt
        return np.divide(squares, self.values, out=np.zeros_like(squares), where=self.values > 0)

    def best_slopes(self, squares, variance):
        """Return the logarithm of the most likely variance of the slopes."""
        live, centre = self.values > 0, np.log(np.median(variance))
        slopes = np.divide(squares, self.values, out=np.zeros_like(squares), where=live)

        def cost(log_slopes):
            total = variance[:, None] + np.exp(log_slopes) * self.values
            return (np.log(total) + squares / total)[live].sum()

        largest = np.log(max(slopes.max(initial=0.0), 1e-300))
        bounds = centre + _LOG_SLOPES[0], max(centre + _LOG_SLOPES[1], largest)
        return float(minimize_scalar(cost, bounds=bounds, method="bounded").x)

    def log_variances(self, squares, slopes):
        """Return means and variances of the logarithms of the tasks' noise variances."""
        n_tasks, p = self.values.shape
        mean, sampling = np.empty((2, n_tasks))
        step = max(1, _AT_A_TIME // (len(_GRID) * (p + 1)))
        for first in range(0, n_tasks, step):
            part = slice(first, first + step)
            own = self.rest[part] / np.maximum(self.spare[part], 1.0)
            centre = np.log(np.where(own > _LEAST * self.start(), own, self.start()))
            rough = centre[:, None] + _WIDEST * _GRID
            chance = self._chances(rough, squares[part], slopes, part)
            top = np.take_along_axis(rough, chance.argmax(axis=1)[:, None], axis=1)
            width = _WIDTHS * np.sqrt(2.0 / np.maximum(self.spare[part], 1.0))
            fine = (
                top + np.minimum(width + _WIDEST * (_GRID[1] - _GRID[0]), _WIDEST)[:, None] * _GRID
            )
            chance = self._chances(fine, squares[part], slopes, part)
            mean[part] = (chance * fine).sum(axis=1)
            sampling[part] = (chance * (fine - mean[part][:, None]) ** 2).sum(axis=1)
        return mean, sampling

    def _chances(self, grid, squares, slopes, part):
        """Return the likelihoods of log-variances on a grid ``(n_tasks, n_points)``, of sum one."""
        values, variance = self.values[part][:, :, None], np.exp(grid)
        total = variance[:, None] + slopes * values
        cost = np.where(values > 0, np.log(total) + squares[:, :, None] / total, 0.0).sum(axis=1)
        cost += self.spare[part][:, None] * grid + self.rest[part][:, None] / variance
        chance = np.exp(-0.5 * (cost - cost.min(axis=1, keepdims=True)))
        return chance / chance.sum(axis=1, keepdims=True)
