r"""Linear heads of many tasks on shared features, under a Gaussian prior learned from the tasks.

With the features :math:`\tilde z = (z, 1)` the score of task t is :math:`\tilde z'(m + d_t)` with
deviations :math:`d_t \sim N(0, S)`. A label's loss, half the squared error or the log-loss, is
divided by :math:`\sigma_t^2`, the noise. Given m, S and the noise, the heads minimise

.. math:: \sum_t \Big( \sum_{i \in t} \frac{w_i}{\sigma_t^2}\,
          \ell(\tilde z_i'(m + d_t); y_i) + \tfrac12\, d_t' S^{-1} d_t \Big),

and m, S and the noise are learned by expectation maximisation, with Laplace's approximation for the
log-loss.
"""

from dataclasses import dataclass

import numpy as np

from .. import kernels

__all__ = ["HeadPrior", "HeadRows", "fit_heads", "learn_prior"]

SQUARED, LOG_LOSS = 0, 1  # codes of `kernels.heads`

# Number of tasks that the initial covariance counts as, and rows that the common noise counts as.
_PRIOR_TASKS, _PRIOR_ROWS = 2.0, 10.0
_TASKS_AT_ONCE = 512
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
    error, rows : ndarray of shape (n_tasks,)
        The noise of a task is estimated by ``error / rows``: the squared error, over the weight of
        the rows less that of the effective parameters; or twice the left-out log-loss, over the
        weight of the rows.
    """

    deviations: np.ndarray
    moment: np.ndarray
    error: np.ndarray
    rows: np.ndarray


def fit_heads(rows, prior):
    """Return the `Heads` of the tasks."""
    n_tasks, width = len(rows.losses), len(prior.mean)
    heads = Heads(
        np.empty((n_tasks, width)), np.zeros((width, width)), np.empty(n_tasks), np.empty(n_tasks)
    )
    squared = np.flatnonzero(rows.losses == SQUARED)
    for first in range(0, len(squared), _TASKS_AT_ONCE):
        _fit_squared(rows, prior, squared[first : first + _TASKS_AT_ONCE], heads)
    if len(squared) < n_tasks:
        _fit_classes(rows, prior, heads)
    return heads


def _fit_squared(rows, prior, tasks, heads):
    """Fit heads of numbers, from the moments of each task."""
    width, R = len(prior.mean), prior.root
    gram, cross = np.empty((len(tasks), width, width)), np.empty((len(tasks), width))
    square, weight, counts = np.empty((3, len(tasks)))
    for i, t in enumerate(tasks):
        part = slice(rows.offsets[t], rows.offsets[t + 1])
        A = np.empty((part.stop - part.start, width))
        A[:, :-1], A[:, -1] = rows.H[part], 1.0
        gap, w = rows.y[part] - A @ prior.mean, rows.weight[part]
        weighted = w[:, None] * A
        gram[i], cross[i] = weighted.T @ A, gap @ weighted
        square[i], weight[i], counts[i] = w @ gap**2, w.sum(), len(w)
    precision = 1.0 / prior.noise[tasks]
    inner = precision[:, None, None] * (R.T @ (gram @ R))
    inner[:, range(width), range(width)] += 1.0
    covariance = np.linalg.inv(inner)
    v = np.matmul(covariance, (precision[:, None] * (cross @ R))[:, :, None])[:, :, 0]
    own = v @ R.T
    heads.deviations[tasks] = own
    heads.moment[:] += R @ (covariance.sum(axis=0) + v.T @ v) @ R.T
    error = square - 2.0 * (own * cross).sum(1) + np.einsum("ti,tij,tj->t", own, gram, own)
    heads.error[tasks] = np.maximum(error, 0.0)
    used = width - np.trace(covariance, axis1=1, axis2=2)
    heads.rows[tasks] = weight * (1.0 - np.minimum(used / np.maximum(counts, 1.0), 1.0))


def _fit_classes(rows, prior, heads):
    """Fit heads of classes by Newton's method."""
    n_tasks, offsets, R = len(rows.losses), rows.offsets, prior.root
    base = rows.H @ prior.mean[:-1] + prior.mean[-1]
    Z = np.ascontiguousarray(rows.H @ R[:-1] + R[-1])
    packed = kernels.heads.Rows(
        Z, base[:, None], rows.y, rows.weight / prior.noise[rows.codes], offsets,
        np.ones(n_tasks, np.int64), *kernels.heads.gram_matrices(Z, offsets),
    )  # fmt: skip
    V, left = np.zeros((n_tasks, 1, Z.shape[1])), np.zeros((len(Z), 1))
    covariance = np.zeros((Z.shape[1], Z.shape[1]))
    classes = rows.losses == LOG_LOSS
    edges = np.flatnonzero(np.diff(np.r_[False, classes, False]))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        covariance += kernels.heads.fit_heads(
            int(start), int(stop), LOG_LOSS, packed, V, left, True
        )
    V = V[classes, 0]
    heads.deviations[classes] = V @ R.T
    heads.moment[:] += R @ (covariance + V.T @ V) @ R.T
    sign = np.where(rows.y > 0.5, -1.0, 1.0)
    losses = 2.0 * rows.sums(rows.weight * np.logaddexp(0.0, sign * left[:, 0]))
    heads.error[classes], heads.rows[classes] = losses[classes], rows.sums(rows.weight)[classes]


def pooled_head(rows, noise, precision):
    """Return the head of all tasks together: ridge regression, or one Newton step for classes."""
    target = np.where(rows.losses[rows.codes] == SQUARED, rows.y, 4.0 * (rows.y - 0.5))
    weight = rows.weight / noise[rows.codes]
    A = np.column_stack([rows.H, np.ones(len(rows.H))])
    gram = A.T @ (weight[:, None] * A)
    gram[np.diag_indices_from(gram)] += precision
    return np.linalg.solve(gram, A.T @ (weight * target))


def noise_of(rows, heads, by_task):
    """Return variances of the noise: of each task, or the same for all tasks with squared error.

    For the log-loss, the variance is twice the mean loss (Kendall et al.), or one if not by task. A
    task's own noise is averaged with the common one, which counts as a few rows.
    """
    squared, out = rows.losses == SQUARED, np.ones(len(rows.losses))
    for kind in (squared, ~squared):
        if kind.any() and (by_task or kind is squared):
            total = max(heads.rows[kind].sum(), 1e-300)
            common = max(heads.error[kind].sum() / total, _MIN_VARIANCE)
            counts = _PRIOR_ROWS * rows.weight.mean()
            own = (heads.error + counts * common) / (heads.rows + counts)
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
        heads = fit_heads(rows, HeadPrior(mean, root_of(covariance), noise))
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
