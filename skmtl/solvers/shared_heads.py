r"""Linear heads of many tasks on shared features, under a Gaussian prior learned from the tasks.

With the features :math:`\tilde z = (z, 1)` the score of task t is :math:`\tilde z'(m + d_t)` with
deviations :math:`d_t \sim N(0, S)`. A label's loss, half the squared error or the log-loss, is
divided by :math:`\sigma_t^2`, the noise. Given m, S and the noise, the heads minimise

.. math:: \sum_t \Big( \sum_{i \in t} \frac{w_i}{\sigma_t^2}\,
          \ell(\tilde z_i'(m + d_t); y_i) + \tfrac12\, d_t' S^{-1} d_t \Big),

and m, S and the noise are learned by expectation maximisation, with Laplace's approximation for the
log-loss.
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import kernels

__all__ = ["HeadPrior", "HeadRows", "fit_heads", "learn_prior"]

SQUARED, LOG_LOSS = 0, 1  # codes of `kernels.heads`

# Number of tasks that the initial covariance counts as, and rows that the common noise counts as.
_PRIOR_TASKS, _PRIOR_ROWS = 2.0, 10.0
_MIN_VARIANCE = 1e-6  # of the noise, relative to the variance of the targets


@dataclass(frozen=True)
class HeadRows:
    """Packed rows of all tasks.

    Attributes
    ----------
    H : ndarray of shape (n_rows, width)
        Features.
    y, weight : ndarray of shape (n_rows,)
    offsets : ndarray of shape (n_tasks + 1,)
    losses : ndarray of shape (n_tasks,)
        Codes of the losses.
    """

    H: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offsets: np.ndarray
    losses: np.ndarray

    @property
    def codes(self):
        """Task of each row."""
        return np.repeat(np.arange(len(self.losses)), np.diff(self.offsets))

    def sums(self, values):
        """Sum values of the rows over each task."""
        sums = np.append(0.0, np.cumsum(values))[self.offsets]
        return np.diff(sums)


@dataclass(frozen=True)
class HeadPrior:
    """Prior of the heads, and the noise.

    Attributes
    ----------
    mean : ndarray of shape (width + 1,)
        Mean head m; its last entry is the intercept.
    root : ndarray of shape (width + 1, width + 1)
        A matrix R with RR' = S.
    noise : ndarray of shape (n_tasks,)
        Variances of the noise.
    """

    mean: np.ndarray
    root: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class Heads:
    """Heads of tasks under a prior.

    Attributes
    ----------
    deviations : ndarray of shape (n_tasks, width + 1)
    moment : ndarray of shape (width + 1, width + 1)
        Sum over tasks of the second moments of the deviations' posterior distributions.
    scores, left_out : ndarray of shape (n_rows,)
        Scores of the rows, and those under the head fitted without the row.
    """

    deviations: np.ndarray
    moment: np.ndarray
    scores: np.ndarray
    left_out: np.ndarray


def fit_heads(rows, prior, details=False):
    """Return the `Heads` of the tasks; with `details`, including moments and left-out scores."""
    n_tasks, offsets = len(rows.losses), rows.offsets
    base = rows.H @ prior.mean[:-1] + prior.mean[-1]
    Z = np.ascontiguousarray(rows.H @ prior.root[:-1] + prior.root[-1])
    packed = kernels.heads.Rows(
        Z, base[:, None], rows.y, rows.weight / prior.noise[rows.codes], offsets,
        np.ones(n_tasks, np.int64), *kernels.heads.gram_matrices(Z, offsets),
    )  # fmt: skip
    rank = Z.shape[1]
    V, left = np.empty((n_tasks, 1, rank)), np.empty((len(Z) if details else 0, 1))
    covariance = np.zeros((rank, rank) if details else (0, 0))
    edges = np.flatnonzero(np.diff(rows.losses)) + 1
    for a, b in zip(np.append(0, edges), np.append(edges, n_tasks), strict=True):
        covariance = covariance + kernels.heads.fit_heads(
            int(a), int(b), int(rows.losses[a]), packed, V, left, details
        )
    V = V[:, 0]
    deviations = V @ prior.root.T
    if not details:
        return Heads(deviations, covariance, base[:0], base[:0])
    scores = base + np.einsum("ij,ij->i", Z, V[rows.codes])
    moment = prior.root @ (covariance + V.T @ V) @ prior.root.T
    return Heads(deviations, moment, scores, left[:, 0])


def pooled_head(rows, noise, precision):
    """Return the head of all tasks together: ridge regression, or one Newton step for classes."""
    target = np.where(rows.losses[rows.codes] == SQUARED, rows.y, 4.0 * (rows.y - 0.5))
    weight = rows.weight / noise[rows.codes]
    A = np.column_stack([rows.H, np.ones(len(rows.H))])
    gram = A.T @ (weight[:, None] * A)
    gram[np.diag_indices_from(gram)] += precision
    return np.linalg.solve(gram, A.T @ (weight * target))


def noise_of(rows, heads, by_task):
    """Return variances of the noise: of each task, or the same for all tasks with a loss.

    The product of a residual and its left-out residual has the variance of the noise as its mean.
    For the log-loss, the variance is twice the mean loss (Kendall et al.), or one if not by task.
    """
    squared, codes = rows.losses == SQUARED, rows.codes
    gap, left = rows.y - heads.scores, rows.y - heads.left_out
    sign = np.where(rows.y > 0.5, -1.0, 1.0)
    values = np.where(squared[codes], gap * left, 2.0 * np.logaddexp(0.0, sign * heads.left_out))
    sums, total = rows.sums(rows.weight * values), rows.sums(rows.weight)
    out = np.ones(len(squared))
    for kind in (squared, ~squared):
        if kind.any() and (by_task or kind is squared):
            common = max(sums[kind].sum() / total[kind].sum(), _MIN_VARIANCE)
            counts = _PRIOR_ROWS * rows.weight.mean()
            own = (sums + counts * common) / (total + counts)
            out[kind] = np.maximum(own[kind], _MIN_VARIANCE) if by_task else common
    return out


def learn_prior(rows, by_task, n_steps, strength=None, start=None):
    """Learn the prior of the heads.

    Parameters
    ----------
    rows : HeadRows
    by_task : bool
        Whether each task has noise of its own.
    n_steps : int
        Number of steps of expectation maximisation.
    strength : float, optional
        Fixed ridge strength on deviations, in the unit of the summed losses: S is the identity
        divided by the strength. None: learned.
    start : HeadPrior, optional
        Prior to start from.

    Returns
    -------
    prior : HeadPrior
        With a fixed strength its noise is one, unless by task.
    noise : ndarray of shape (n_tasks,)
        Estimated noise.
    """
    n_tasks, width = len(rows.losses), rows.H.shape[1] + 1
    noise = estimate = np.ones(n_tasks)
    # With this precision scores have a variance of one, as standardised targets have.
    precision = (rows.H**2).sum() / max(len(rows.H), 1) + 1.0
    initial = np.eye(width) / (precision if strength is None else max(strength, 1e-10))
    covariance = initial
    if start is None:
        mean = pooled_head(rows, noise, precision)
    else:
        mean, covariance = start.mean, start.root @ start.root.T
    for _ in range(n_steps):
        heads = fit_heads(rows, HeadPrior(mean, root_of(covariance), noise), details=True)
        average = heads.deviations.mean(axis=0)
        # The mean head is shrunk towards zero: (T S^-1 + precision)^-1 T S^-1 of the average head.
        shrunk = n_tasks * np.eye(width) + precision * covariance
        step = np.linalg.solve(shrunk, n_tasks * (mean + average)) - mean
        mean = mean + step
        if strength is None:
            own = n_tasks * (np.outer(average - step, average - step) - np.outer(average, average))
            spread = heads.moment + own
            covariance = (spread + _PRIOR_TASKS * initial) / (n_tasks + _PRIOR_TASKS)
        estimate = noise_of(rows, heads, by_task)
        noise = estimate if strength is None or by_task else noise
    return HeadPrior(mean, root_of(covariance), noise), estimate


def root_of(covariance):
    """Return a square root of a covariance matrix."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return vectors * np.sqrt(np.maximum(values, 0.0))
