"""What tasks share besides levels of their own: slopes within tasks, and slopes between tasks."""

from dataclasses import dataclass, replace

import numpy as np

from ._prior import GaussianPrior, n_scores, newton_of_many

__all__ = ["FREE", "FREE_LEVEL", "FREE_OWN", "SharedPart", "pooled_mean"]

# Prior variances of intercepts about which nothing is known: of log-odds; of numbers, in squares
# of the noise around a free level; and of scores where each task has its own classes, whose
# boundaries need not be near the mean of all rows.
FREE, FREE_LEVEL, FREE_OWN = 10.0, 1e4, 1e4
# From this many rows on, a pooled model is fitted by BLAS instead of the kernel for small heads.
_MANY_ROWS = 5000
# Number of alternations between levels and shared slopes.
_N_ALTERNATIONS = 6
# Ridge strengths, in tasks, on the difference between the slopes between and within tasks; an
# infinite one sets the difference to zero.
_RIDGES = np.r_[10.0 ** np.arange(-2.0, 2.5, 0.5), np.inf]


def zero_mean(tasks):
    return np.zeros((n_scores(tasks), 1 + tasks.n_features))


def diagonal_root(slopes, intercept):
    return np.diag(np.sqrt(np.append(intercept, slopes)))


def pooled_mean(tasks, variance=1.0, offset=0.0, start=None):
    """Return the parameters of one model for the rows of all tasks.

    They are zero if each task has its own classes.

    Parameters
    ----------
    tasks : LabelledTasks
    variance : float, default=1.0
        Prior variance of the slopes.
    offset : ndarray of shape (n_rows, n_scores) or float, default=0.0
        Added to the scores.
    start : ndarray of shape (n_scores, 1 + n_features), default=None
        Initial parameters if there are many rows; None starts at zero.
    """
    zero = zero_mean(tasks)
    if tasks.own_classes:
        return zero
    ways = None if tasks.ways is None else tasks.ways[:1]
    root = diagonal_root(np.full(tasks.n_features, variance), FREE)
    if ways is not None and len(tasks.y) >= _MANY_ROWS:
        Z = np.column_stack([np.ones(len(tasks.y)), tasks.X]) * np.diag(root)
        base = np.broadcast_to(offset, (len(tasks.y), len(zero)))
        start = None if start is None else start / np.diag(root)
        return newton_of_many(Z, base, tasks.y, tasks.weight, start) * np.diag(root)
    whole = replace(tasks, offsets=tasks.offsets[[0, -1]], ways=ways)
    return GaussianPrior("pooled", zero, root).heads_and_left_out(whole, offset)[0][0]


@dataclass
class SharedPart:
    r"""Shared scores :math:`\mu_0 + \mu_b'c + \mu'(x - c)`, with the task's centre c.

    Slopes within tasks are estimated jointly with the levels of the tasks. Slopes between tasks
    are the same unless the levels indicate otherwise (Mundlak 1978).

    Attributes
    ----------
    mean : ndarray of shape (n_scores, 1 + n_features)
        :math:`\mu_0, \mu`.
    between : ndarray of shape (n_scores, n_features)
        :math:`\mu_b`.
    variance : float
        Estimated variance of the tasks' levels (Gelman and Hill 2007, ch. 12).
    free : bool
        For numbers, whether levels vary so much between tasks that they are unrestricted.
    levels : ndarray of shape (n_tasks, n_scores)
        Deviations of these tasks' levels from the shared part.
    """

    mean: np.ndarray
    between: np.ndarray
    variance: float
    free: bool
    levels: np.ndarray

    @classmethod
    def of(cls, tasks):
        """Estimate the shared part; it is zero if each task has its own classes."""
        mean = pooled_mean(tasks)
        if tasks.own_classes:
            levels = np.zeros((tasks.n_tasks, len(mean)))
            return cls(mean, mean[:, 1:], FREE_OWN, False, levels)
        centres = tasks.centres()
        inner = replace(tasks, X=tasks.X - centres[tasks.codes])
        self = cls(mean, mean[:, 1:], 1.0, False, None)
        for _ in range(_N_ALTERNATIONS):
            prior = self.prior("intercepts", self.level_root(self.variance, tasks.n_features))
            heads, _, moment, _ = prior.posterior(tasks)
            variance = max(moment[0, 0], 1e-4)
            levels = heads[:, :, 0] + np.einsum("tj,tkj->tk", centres, heads[:, :, 1:])
            intercept, between = _slopes_between(levels, centres, self.mean[:, 1:])
            slopes = np.column_stack([np.zeros(len(mean)), mean[:, 1:]])  # levels have the rest
            mean = pooled_mean(inner, offset=levels[tasks.codes], start=slopes)
            mean[:, 0] += intercept
            free = tasks.ways is None and variance > FREE_LEVEL
            levels = levels - mean[:, 0] - centres @ between.T
            self = cls(mean, between, FREE_LEVEL if free else variance, free, levels)
        return self

    @staticmethod
    def level_root(variance, n_features):
        """Return a root of the prior covariance if only levels vary."""
        root = np.zeros((1 + n_features, 1))
        root[0] = np.sqrt(variance)
        return root

    def prior(self, name, root, cost=0.0, mean=None):
        """Return a prior centred at the shared part, or at another `mean`."""
        mean = self.mean if mean is None else mean
        return GaussianPrior(name, mean, root, cost, self.between, self.free)

    def scores(self, tasks):
        """Return the scores, including levels, of the tasks that the part was estimated from."""
        centres = tasks.centres()
        X = tasks.X - centres[tasks.codes]
        level = self.levels + self.mean[:, 0] + centres @ self.between.T
        return X @ self.mean[:, 1:].T + level[tasks.codes]


def _slopes_between(levels, centres, within):
    """Regress levels on centres: return intercepts, and slopes as those within and a difference.

    The ridge strength on the difference minimises the leave-one-out error of the levels.
    """
    gaps = levels - centres @ within.T
    means = gaps.mean(axis=0)
    if not centres.any() or len(levels) < 3:
        return means, within
    origin = centres.mean(axis=0)
    C = centres - origin
    scale = np.sqrt((C**2).mean(axis=0))
    scale[scale == 0.0] = 1.0
    U, s, Vt = np.linalg.svd(C / scale, full_matrices=False)
    along = U.T @ (gaps - means)
    best, chosen = np.inf, None
    for ridge in _RIDGES:
        share = s**2 / (s**2 + ridge)
        leverage = (U**2) @ share + 1.0 / len(C)
        residuals = gaps - means - U @ (share[:, None] * along)
        error = ((residuals / np.maximum(1.0 - leverage[:, None], 1e-3)) ** 2).sum()
        if error < best:
            best, chosen = error, share
    factor = np.divide(chosen, s, out=np.zeros_like(s), where=s > 1e-12 * s[0])
    slopes = (Vt.T @ (factor[:, None] * along)).T / scale
    return means - slopes @ origin, within + slopes
