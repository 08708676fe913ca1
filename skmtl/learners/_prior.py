r"""Candidates of the closed-form learners: how a task's linear head follows from its rows.

The parameters of a head are the intercept and the slopes of each score. There is one score for
numbers and for two classes that are the same in every task, and one score per class otherwise.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._jit import run_chunks
from ..losses import LOG_LOSS

__all__ = ["ClassMeans", "GaussianPrior", "indicators", "n_scores", "newton_of_many"]

_SQUARED, _BINARY, _SOFTMAX = 0, 1, 2  # codes of `kernels.heads`
# Limits of the iteration in `newton_of_many`, similar to those of the kernel.
_MAX_STEPS, _MAX_HALVINGS, _MIN_GAIN = 100, 12, 1e-7
# Number of rows that `newton_of_many` multiplies at once.
_BATCH_ROWS = 512
# A level farther from the prior mean than this many standard deviations is unlike those of fit.
_USUAL_DEVIATIONS = 3.0
# Largest prior variance of such a level, in squares of the noise.
_MAX_LEVEL_VARIANCE = 1e4


def n_scores(tasks):
    """Return the number of scores of a head."""
    if tasks.ways is None:
        return 1
    return 1 if tasks.shared_classes and tasks.max_ways == 2 else tasks.max_ways


def indicators(y, n_scores):
    """Return ``(n_rows, n_scores)`` indicators of the classes; of the second for one score."""
    return y[:, None] == (np.arange(n_scores) if n_scores > 1 else 1)


def _loss_code(tasks):
    if tasks.ways is None:
        return _SQUARED
    return _BINARY if n_scores(tasks) == 1 else _SOFTMAX


def _mean_for(mean, n_scores):
    """Return the prior mean, or zeros if the tasks have more scores or other classes."""
    return mean if len(mean) == n_scores else np.zeros((n_scores, mean.shape[1]))


@dataclass
class GaussianPrior:
    r"""Gaussian prior on the deviations of a task's parameters from shared ones.

    With the task's centre c (`LabelledTasks.centres`), scores are

    .. math:: \mu_0 + \mu_b'c + \mu'(x - c) + w_0 + w'(x - c), \quad (w_0, w) = Lv,
              \quad v \sim N(0, I).

    Attributes
    ----------
    name : str
        The family: "independent", "pooled", "intercepts", "hierarchical", "subspace".
    mean : ndarray of shape (n_scores, 1 + n_features)
        :math:`\mu_0, \mu`.
    root : ndarray of shape (1 + n_features, rank)
        L; for numbers in units of the noise.
    cost : float
        Negative log-weight of the candidate before any evidence, in nats.
    between : ndarray of shape (n_scores, n_features) or None
        :math:`\mu_b`, the slopes between tasks. None: equal to the slopes within tasks, and c is
        zero.
    free : bool
        For numbers, whether :math:`w_0` is unrestricted.
    """

    name: str
    mean: np.ndarray
    root: np.ndarray
    cost: float = 0.0
    between: np.ndarray | None = None
    free: bool = False

    def heads(self, tasks):
        """Return the maximum a posteriori heads, ``(n_tasks, n_scores, 1 + n_features)``."""
        return self._parameters(tasks, self._solve(tasks, 0.0))

    def heads_and_left_out(self, tasks, offset=0.0, shift=None):
        """Return the maximum a posteriori heads, and leave-one-out scores of the rows.

        Parameters
        ----------
        tasks : LabelledTasks
        offset : ndarray of shape (n_rows, n_scores) or float
            Added to the scores of the rows.
        shift : ndarray of shape (n_tasks, n_scores), default=None
            Added to the prior's mean intercepts.

        Returns
        -------
        parameters : ndarray of shape (n_tasks, n_scores, 1 + n_features)
        left_out : ndarray of shape (n_rows, n_scores)
            Score of each row under the head of its task fitted without it.
        """
        if shift is not None:
            offset = offset + shift[tasks.codes]
        fit = self._solve(tasks, offset, left_out=True)
        return self._parameters(tasks, fit, shift), fit.left_out

    def _parameters(self, tasks, fit, shift=None):
        """Return the tasks' intercepts and slopes, with intercepts at x = 0.

        The slopes of a task without rows are averages of those within and between tasks: its future
        rows will differ from the table's mean in both ways.
        """
        parameters = _mean_for(self.mean, n_scores(tasks)) + self._deviations(fit)
        if shift is not None:
            parameters[:, :, 0] += shift
        if self.between is None:
            return parameters
        between = _mean_for(self.between, parameters.shape[1])
        parameters[:, :, 0] += np.einsum(
            "tj,tkj->tk", fit.centres, between - parameters[:, :, 1:]
        )  # fmt: skip
        empty = tasks.sizes == 0
        if empty.any() and tasks.prior_rows is not None:
            slopes = parameters[empty, :, 1:]
            share = 1.0 / (1.0 + tasks.prior_rows)
            parameters[empty, :, 1:] = slopes + share * (between - slopes)
        return parameters

    def posterior(self, tasks):
        """Return the heads, and the mean and second moment of the deviations over tasks.

        Returns
        -------
        heads : ndarray of shape (n_tasks, n_scores, 1 + n_features)
        step : ndarray of shape (n_scores, 1 + n_features)
            Means over tasks.
        moment : ndarray of shape (1 + n_features, 1 + n_features)
            Second moment over tasks and scores, including Laplace's posterior covariance.
        n_heads : int
        """
        fit = self._solve(tasks, 0.0, posterior=True)
        n_heads = int(tasks.ways.sum()) if _loss_code(tasks) == _SOFTMAX else tasks.n_tasks
        flat = fit.v.reshape(-1, fit.v.shape[2])
        moment = self.root @ ((fit.covariance + flat.T @ flat) / max(n_heads, 1)) @ self.root.T
        deviations = self._deviations(fit)
        # v does not include the levels.
        cross = (fit.levels[:, :, None] * deviations).mean(axis=(0, 1))
        square = (fit.levels**2).mean()
        cross[0] -= square
        moment[0] += cross
        moment[:, 0] += cross
        moment[0, 0] += square
        return self._parameters(tasks, fit), deviations.mean(axis=0), moment, n_heads

    def _deviations(self, fit):
        deviations = fit.v @ self.root.T
        deviations[:, :, 0] += fit.levels
        return deviations

    def _solve(self, tasks, offset, left_out=False, posterior=False):
        k = n_scores(tasks)
        mean, X = _mean_for(self.mean, k), tasks.X
        centres = np.zeros((tasks.n_tasks, tasks.n_features))
        base = mean[:, 0] + offset
        if self.between is not None:
            centres = tasks.centres()
            X = X - centres[tasks.codes]
            base = base + (centres @ _mean_for(self.between, k).T)[tasks.codes]
        base = np.ascontiguousarray(X @ mean[:, 1:].T + base)
        levels, stretch = self._levels(tasks, base)
        base += levels[tasks.codes]
        Z = np.ascontiguousarray(X @ self.root[1:] + stretch[tasks.codes] * self.root[0])
        ways = np.ones(tasks.n_tasks, np.int64) if tasks.ways is None else tasks.ways
        rows = kernels.heads.Rows(
            Z, base, tasks.y.astype(np.float64), tasks.weight, tasks.offsets, ways,
            *kernels.heads.gram_matrices(Z, tasks.offsets),
        )  # fmt: skip
        v = np.empty((tasks.n_tasks, k, Z.shape[1]))
        scores = np.zeros((len(base) if left_out else 0, k))
        covariances = run_chunks(
            kernels.heads.fit_heads, tasks.n_tasks, _loss_code(tasks), rows, v, scores, posterior,
            executor=tasks.executor,
        )  # fmt: skip
        levels = levels + (stretch - 1.0) * (v @ self.root[0])
        return _HeadFit(v, scores, levels, centres, sum(covariances))

    def _levels(self, tasks, base):
        """Return where to search for the levels of tasks of numbers that are unlike those of fit.

        If levels are free, this holds for all tasks. Otherwise the prior has heavy tails: beyond
        `_USUAL_DEVIATIONS` standard deviations its variance grows with the square of the gap.

        Returns
        -------
        levels : ndarray of shape (n_tasks, 1)
            Centre of the search: zero for usual levels, else near the mean residual of the rows.
        stretch : ndarray of shape (n_tasks, 1)
            Factor on the level's standard deviation there.
        """
        if tasks.ways is not None or not self.root[0].any():
            return np.zeros((tasks.n_tasks, 1)), np.ones((tasks.n_tasks, 1))
        gaps = tasks.means(tasks.y[:, None] - base)
        if self.free:
            return gaps, np.ones(gaps.shape)
        variance = self.root[0] @ self.root[0]
        total = tasks.sums(tasks.weight)[:, None]
        usual = _USUAL_DEVIATIONS**2 * (variance + 1.0 / np.maximum(total, 1e-300))
        growth = np.maximum(gaps**2 / usual, 1.0)
        limit = np.maximum(_MAX_LEVEL_VARIANCE / variance, 1.0)
        return gaps * (1.0 - 1.0 / growth), np.sqrt(np.minimum(growth, limit))


def newton_of_many(Z, base, y, weight, start=None):
    """Fit one head to many rows by Newton's method; `kernels.heads.fit_heads` is for few rows.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, rank)
    base : ndarray of shape (n_rows, n_scores)
        Offset of the scores; a single score is the log-odds of the second of two classes.
    y : int ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,)
    start : ndarray of shape (n_scores, rank), default=None
        Initial coordinates, if not zero.

    Returns
    -------
    v : ndarray of shape (n_scores, rank)
        Coordinates of the head.
    """
    n_scores, rank = base.shape[1], Z.shape[1]
    target = indicators(y, n_scores).astype(np.float64)
    v = trial = np.zeros((n_scores, rank)) if start is None else start
    value, step, n_halvings = np.inf, v, 0
    for _ in range(_MAX_STEPS):
        scores = base + Z @ trial.T
        new = 0.5 * (trial**2).sum() + weight @ LOG_LOSS.value(scores, target)
        if new > value:
            if n_halvings == _MAX_HALVINGS:
                break
            n_halvings += 1
            trial = v - 0.5**n_halvings * step
            continue
        v, value, n_halvings = trial, new, 0
        mu = LOG_LOSS.means(scores)
        H = np.eye(n_scores * rank)
        for k, q in itertools.product(range(n_scores), repeat=2):
            gram = _weighted_gram(Z, weight * mu[:, k] * (1.0 - mu[:, k] if k == q else mu[:, q]))
            block = H[k * rank : (k + 1) * rank, q * rank : (q + 1) * rank]
            block += gram if k == q else -gram
        gradient = v + (weight[:, None] * (mu - target)).T @ Z
        step = np.linalg.solve(H, gradient.ravel()).reshape(v.shape)
        trial = v - step
        if 0.5 * (gradient * step).sum() <= _MIN_GAIN * (1.0 + abs(value)):
            return trial
    return v


def _weighted_gram(Z, weight):
    """Return the sum of ``weight[i] * outer(Z[i], Z[i])``, in batches that fit the cache."""
    total = np.zeros((Z.shape[1], Z.shape[1]))
    for start in range(0, len(Z), _BATCH_ROWS):
        batch = slice(start, start + _BATCH_ROWS)
        rows = np.sqrt(weight[batch])[:, None] * Z[batch]
        total += rows.T @ rows
    return total


@dataclass
class _HeadFit:
    """Fitted coordinates of heads.

    Attributes
    ----------
    v : ndarray of shape (n_tasks, n_scores, rank)
    left_out : ndarray of shape (n_rows, n_scores)
        Leave-one-out scores of the rows; empty unless requested.
    levels : ndarray of shape (n_tasks, n_scores)
        Part of the deviations' intercepts that v does not include.
    centres : ndarray of shape (n_tasks, n_features)
    covariance : ndarray of shape (rank, rank)
        Sum of the heads' posterior covariances; empty unless requested.
    """

    v: np.ndarray
    left_out: np.ndarray
    levels: np.ndarray
    centres: np.ndarray
    covariance: np.ndarray


@dataclass
class ClassMeans:
    """Classification by the nearest class mean, under a diagonal metric.

    Attributes
    ----------
    name : str
    precision : ndarray of shape (n_features,)
        Inverse variances within classes, the weights of the squared distances.
    cost : float
        As in `GaussianPrior`.
    """

    name: str
    precision: np.ndarray
    cost: float = 0.0

    # Number of rows that the task's mean counts as in each class mean.
    _PRIOR_ROWS = 0.1

    def heads(self, tasks):
        """Return the heads, as `GaussianPrior.heads` does."""
        return self.heads_and_left_out(tasks)[0]

    def heads_and_left_out(self, tasks, offset=0.0, shift=None):
        """Return what `GaussianPrior.heads_and_left_out` does; `shift` is added to intercepts."""
        sums, counts = tasks.class_sums()
        total = np.maximum(counts.sum(1), 1e-300)
        centre = self._PRIOR_ROWS * sums.sum(1) / total[:, None]
        means = (sums + centre[:, None]) / (counts + self._PRIOR_ROWS)[:, :, None]
        out = np.empty((*means.shape[:2], 1 + tasks.n_features))
        out[:, :, 1:] = means * self.precision
        out[:, :, 0] = -0.5 * (means**2 @ self.precision)
        codes, y, w = tasks.codes, tasks.y, tasks.weight[:, None]
        left_out = np.einsum("ij,ikj->ik", tasks.X, out[codes, :, 1:]) + out[codes, :, 0]
        without = sums[codes, y] - w * tasks.X + centre[codes]
        mean = without / (np.maximum(counts[codes, y][:, None] - w, 0.0) + self._PRIOR_ROWS)
        left_out[np.arange(len(y)), y] = ((tasks.X - 0.5 * mean) * mean) @ self.precision
        if shift is not None:
            out[:, :, 0] += shift
            left_out += shift[codes]
        return out, left_out + offset
