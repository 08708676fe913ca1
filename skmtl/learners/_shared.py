"""What tasks share beside levels of their own: slopes within tasks, and from task to task."""

from dataclasses import dataclass, replace

import numpy as np

from ._prior import GaussianPrior, n_scores, newton_of_many

__all__ = ["FREE", "FREE_LEVEL", "FREE_OWN", "SharedPart", "pooled_mean"]

# Variances of intercepts of which nothing is known: of log-odds; of numbers in squares of the noise
# about a level that is free; and where tasks have classes of their own, whose scores are equal
# anywhere, not only near the mean of all rows.
FREE, FREE_LEVEL, FREE_OWN = 10.0, 1e4, 1e4
# From this many rows on one model of them all is found by BLAS, not by the kernel for small heads.
_MANY_ROWS = 5000
# Times that levels and shared slopes are found in turn.
_TURNS = 6
# Ridges on what the slopes from task to task differ by, in tasks; infinity: by nothing.
_RIDGES = np.r_[10.0 ** np.arange(-2.0, 2.5, 0.5), np.inf]


def zero_mean(tasks):
    return np.zeros((n_scores(tasks), 1 + tasks.n_features))


def diagonal_root(slopes, intercept):
    return np.diag(np.sqrt(np.append(intercept, slopes)))


def pooled_mean(tasks, variance=1.0, offset=0.0, start=None):
    """Parameters of one model for all tasks' rows; zero where tasks have classes of their own.

    Scores get `offset (n_rows, n_scores)`, too. Many rows are fitted from `start` on, if not from
    zero.
    """
    zero = zero_mean(tasks)
    if tasks.own_classes:
        return zero
    ways = None if tasks.ways is None else tasks.ways[:1]
    whole = replace(tasks, offsets=tasks.offsets[[0, -1]], ways=ways)
    root = diagonal_root(np.full(tasks.n_features, variance), FREE)
    if ways is not None and len(tasks.y) >= _MANY_ROWS:
        Z = np.column_stack([np.ones(len(tasks.y)), tasks.X]) * np.diag(root)
        base = np.zeros((len(tasks.y), len(zero))) + offset
        start = None if start is None else start / np.diag(root)
        return newton_of_many(Z, base, tasks.y, tasks.weight, start) * np.diag(root)
    return GaussianPrior("pooled", zero, root).heads_and_left_out(whole, offset)[0][0]


@dataclass
class SharedPart:
    r"""Scores :math:`\mu_0 + \mu_b'c + \mu'(x - c)`, with the task's centre c.

    Slopes within tasks are found beside levels of the tasks' own; slopes from task to task are
    those, unless levels say otherwise (Mundlak 1978).

    Attributes
    ----------
    mean : ndarray of shape (n_scores, 1 + n_features)
        :math:`\mu_0, \mu`.
    between : ndarray of shape (n_scores, n_features)
        :math:`\mu_b`.
    variance : float
        Of the tasks' levels, which is learned (Gelman and Hill, 2007, ch. 12).
    free : bool
        Whether numbers differ so much between tasks that levels are free.
    levels : ndarray of shape (n_tasks, n_scores)
        Of these tasks, beside the shared part.
    """

    mean: np.ndarray
    between: np.ndarray
    variance: float
    free: bool
    levels: np.ndarray

    @classmethod
    def of(cls, tasks):
        """Learn it; zero where tasks have classes of their own."""
        mean = pooled_mean(tasks)
        if tasks.own_classes:
            levels = np.zeros((tasks.n_tasks, len(mean)))
            return cls(mean, mean[:, 1:], FREE_OWN, False, levels)
        centres = tasks.centres()
        inner = replace(tasks, X=tasks.X - centres[tasks.codes])
        self = cls(mean, mean[:, 1:], 1.0, False, None)
        for _ in range(_TURNS):
            prior = self.prior("intercepts", self.of_levels(self.variance, tasks.n_features))
            heads, _, moment, _ = prior.posterior(tasks)
            variance = max(moment[0, 0], 1e-4)
            levels = heads[:, :, 0] + np.einsum("tj,tkj->tk", centres, heads[:, :, 1:])
            start, between = _from_task_to_task(levels, centres, self.mean[:, 1:])
            slopes = np.column_stack([np.zeros(len(mean)), mean[:, 1:]])  # levels have the rest
            mean = pooled_mean(inner, offset=levels[tasks.codes], start=slopes)
            mean[:, 0] += start
            free = tasks.ways is None and variance > FREE_LEVEL
            levels = levels - mean[:, 0] - centres @ between.T
            self = cls(mean, between, min(variance, FREE_LEVEL) if free else variance, free, levels)
        return self

    @staticmethod
    def of_levels(variance, n_features):
        """A root of a covariance in which levels alone vary."""
        root = np.zeros((1 + n_features, 1))
        root[0] = np.sqrt(variance)
        return root

    def prior(self, name, root, cost=0.0, mean=None):
        """A prior about the shared part, or about another `mean`."""
        mean = self.mean if mean is None else mean
        return GaussianPrior(name, mean, root, cost, self.between, self.free)

    def scores(self, tasks):
        """What is expected of the rows of the tasks it was learned from, levels included."""
        centres = tasks.centres()
        X = tasks.X - centres[tasks.codes]
        level = self.levels + self.mean[:, 0] + centres @ self.between.T
        return X @ self.mean[:, 1:].T + level[tasks.codes]


def _from_task_to_task(levels, centres, within):
    """Intercepts, and slopes of the levels along the centres: those within tasks and a difference.

    The ridge on the difference has the least error on levels left out, each by itself.
    """
    if not centres.any() or len(levels) < 3:
        return (levels - centres @ within.T).mean(axis=0), within
    gaps = levels - centres @ within.T
    means, origin = gaps.mean(axis=0), centres.mean(axis=0)
    C = centres - origin
    scale = np.sqrt((C**2).mean(axis=0))
    scale[scale == 0.0] = 1.0
    U, s, Vt = np.linalg.svd(C / scale, full_matrices=False)
    along = U.T @ (gaps - means)
    best, chosen = np.inf, None
    for ridge in _RIDGES:
        share = s**2 / (s**2 + ridge)
        leverage = (U**2) @ share + 1.0 / len(C)
        left = (gaps - means - U @ (share[:, None] * along)) / np.maximum(
            1.0 - leverage[:, None], 1e-3
        )
        error = (left**2).sum()
        if error < best:
            best, chosen = error, share
    over = np.divide(chosen, s, out=np.zeros_like(s), where=s > 1e-12 * s[0])
    slopes = (Vt.T @ (over[:, None] * along)).T / scale
    return means - slopes @ origin, within + slopes
