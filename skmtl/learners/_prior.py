r"""Candidates of the closed forms: how a task's linear head follows from its rows.

The parameters of a head are the intercept and the slopes of one score, for numbers and for two
classes that mean the same in every task; of one score a class otherwise.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._jit import run_chunks
from ..losses import LOG_LOSS

__all__ = ["GaussianPrior", "Prototypes", "class_sums", "n_scores", "newton_of_many"]

_SQUARED, _BINARY, _SOFTMAX = 0, 1, 2  # as `kernels.heads` numbers them
# When `newton_of_many` stops, as the kernel does.
_MOST_STEPS, _MOST_HALVINGS, _LAST_GAIN = 100, 12, 1e-7
# Rows of `newton_of_many` that are multiplied at once.
_AT_A_TIME = 512
# Standard deviations of a level that a prior tells: farther ones are unlike the tasks of fit.
_USUAL = 3.0
# The largest variance of a level about where it is looked for, in squares of the noise.
_WIDEST = 1e4


def n_scores(tasks):
    """How many scores a head has."""
    if tasks.ways is None:
        return 1
    return 1 if tasks.shared_classes and tasks.most_ways == 2 else tasks.most_ways


def _loss_code(tasks):
    if tasks.ways is None:
        return _SQUARED
    return _BINARY if n_scores(tasks) == 1 else _SOFTMAX


@dataclass
class GaussianPrior:
    r"""A task's own parameters as a Gaussian about those that tasks share.

    With the task's centre c (`LabelledTasks.centres`), scores are

    .. math:: \mu_0 + \mu_b'c + \mu'(x - c) + w_0 + w'(x - c), \quad (w_0, w) = Lv,
              \quad v \sim N(0, I).

    Attributes
    ----------
    name : str
        The family: "independent", "pooled", "hierarchical", "subspace".
    mean : ndarray of shape (n_scores, 1 + n_features)
        :math:`\mu_0, \mu`.
    root : ndarray of shape (1 + n_features, rank)
        L; for numbers in units of the noise.
    cost : float
        How much better, in nats, its verdict must be than that of candidates without.
    between : ndarray of shape (n_scores, n_features) or None
        :math:`\mu_b`, the slopes from task to task. None: those within tasks, and c is zero.
    free : bool
        Of numbers: whether :math:`w_0` may be anything.
    """

    name: str
    mean: np.ndarray
    root: np.ndarray
    cost: float = 0.0
    between: np.ndarray | None = None
    free: bool = False

    def heads(self, tasks):
        """Heads at the largest posterior density ``(n_tasks, n_scores, 1 + n_features)``."""
        return self._parameters(tasks, self._solve(tasks, 0.0))

    def heads_and_left_out(self, tasks, offset=0.0, shift=None):
        """Heads at the largest posterior density, and what they say of rows left out.

        Parameters
        ----------
        tasks : LabelledTasks
        offset : ndarray of shape (n_rows, n_scores) or float
            What these rows' scores have beside the head's.
        shift : ndarray of shape (n_tasks, n_scores), default=None
            Added to the prior's mean intercepts.

        Returns
        -------
        parameters : ndarray of shape (n_tasks, n_scores, 1 + n_features)
        left_out : ndarray of shape (n_rows, n_scores)
            Scores of the rows, each by its task without it.
        """
        if shift is not None:
            offset = offset + shift[tasks.codes]
        found = self._solve(tasks, offset, left_out=True)
        return self._parameters(tasks, found, shift), found.left_out

    def _parameters(self, tasks, found, shift=None):
        parameters = self._mean_of(self.mean, n_scores(tasks)) + self._own(found)
        if shift is not None:
            parameters[:, :, 0] += shift
        if self.between is not None:
            self._leave_centres(tasks, found.centres, parameters)
        return parameters

    def _leave_centres(self, tasks, centres, parameters):
        """Turn intercepts at the tasks' centres into those at zero, in place.

        Where a task without rows is, its rows will tell, as far as features differ by task.
        """
        between = self._mean_of(self.between, parameters.shape[1])
        parameters[:, :, 0] += np.einsum("tj,tkj->tk", centres, between - parameters[:, :, 1:])
        empty = tasks.sizes == 0
        if empty.any() and tasks.pull is not None:
            share = 1.0 / (1.0 + tasks.pull)
            slopes = parameters[empty, :, 1:]
            parameters[empty, :, 1:] = slopes + share * (between - slopes)

    def posterior(self, tasks):
        """Heads, and means over tasks and scores of the tasks' own parameters.

        Returns
        -------
        heads : ndarray of shape (n_tasks, n_scores, 1 + n_features)
        step : ndarray of shape (n_scores, 1 + n_features)
            Means over tasks.
        moment : ndarray of shape (1 + n_features, 1 + n_features)
            Means of squares, Laplace's posterior variance included.
        n_heads : int
        """
        found = self._solve(tasks, 0.0, posterior=True)
        n_heads = int(tasks.ways.sum()) if _loss_code(tasks) == _SOFTMAX else tasks.n_tasks
        flat = found.v.reshape(-1, found.v.shape[2])
        moment = self.root @ ((found.covariance + flat.T @ flat) / max(n_heads, 1)) @ self.root.T
        own = self._own(found)
        if found.levels is not None:  # what v has no part in
            cross = (found.levels[:, :, None] * own).mean(axis=(0, 1))
            square = (found.levels**2).mean()
            cross[0] -= square
            moment[0] += cross
            moment[:, 0] += cross
            moment[0, 0] += square
        return self._parameters(tasks, found), own.mean(axis=0), moment, n_heads

    def _own(self, found):
        own = found.v @ self.root.T
        if found.levels is not None:
            own[:, :, 0] += found.levels
        return own

    @staticmethod
    def _mean_of(mean, scores):
        """The mean; zero where the classes are other ones, or more."""
        return mean if len(mean) == scores else np.zeros((scores, mean.shape[1]))

    def _solve(self, tasks, offset, left_out=False, posterior=False):
        scores = n_scores(tasks)
        mean, X = self._mean_of(self.mean, scores), tasks.X
        centres = np.zeros((tasks.n_tasks, tasks.n_features))
        base = mean[:, 0] + offset
        if self.between is not None:
            centres = tasks.centres()
            X = X - centres[tasks.codes]
            base = base + (centres @ self._mean_of(self.between, scores).T)[tasks.codes]
        base = np.ascontiguousarray(X @ mean[:, 1:].T + base)
        levels, stretch = None, np.ones((tasks.n_tasks, 1))
        if tasks.ways is None and self.root[0].any():
            levels, stretch = self._levels(tasks, base)
            base += levels[tasks.codes]
        Z = np.ascontiguousarray(X @ self.root[1:] + stretch[tasks.codes] * self.root[0])
        ways = np.ones(tasks.n_tasks, np.int64) if tasks.ways is None else tasks.ways
        rows = kernels.heads.Rows(
            Z, base, tasks.y.astype(np.float64), tasks.weight, tasks.offsets, ways,
            *kernels.heads.gram_matrices(Z, tasks.offsets),
        )  # fmt: skip
        v = np.empty((tasks.n_tasks, scores, Z.shape[1]))
        left = np.zeros((len(base) if left_out else 0, scores))
        covariances = run_chunks(
            kernels.heads.fit_heads, tasks.n_tasks, _loss_code(tasks), rows, v, left, posterior,
            executor=tasks.executor,
        )  # fmt: skip
        if levels is not None:
            levels = levels + (stretch - 1.0) * (v @ self.root[0])
        return _Solution(v, left, levels, centres, sum(covariances))

    def _levels(self, tasks, base):
        """Levels of numbers that are unlike those of the tasks of fit.

        Where the level is free, all are. Else the prior's tails are heavy: beyond `_USUAL` standard
        deviations its variance is as much larger as the square of the gap is.

        Returns
        -------
        levels : ndarray of shape (n_tasks, 1)
            Where the level is looked for: near zero, or about where rows are on average.
        stretch : ndarray of shape (n_tasks, 1)
            What the level's standard deviation there is multiplied by.
        """
        gaps = tasks.means(tasks.y[:, None] - base)
        if self.free:
            return gaps, np.ones(gaps.shape)
        variance = self.root[0] @ self.root[0]
        total = np.bincount(tasks.codes, tasks.weight, minlength=tasks.n_tasks)[:, None]
        usual = _USUAL**2 * (variance + 1.0 / np.maximum(total, 1e-300))
        wide = np.maximum(gaps**2 / usual, 1.0)
        most = np.maximum(_WIDEST / variance, 1.0)
        return gaps * (1.0 - 1.0 / wide), np.sqrt(np.minimum(wide, most))


def newton_of_many(Z, base, y, weight, start=None):
    """Coordinates of one head of many rows, as `kernels.heads.fit_heads` finds those of small ones.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, rank)
    base : ndarray of shape (n_rows, n_scores)
        What the scores have beside; one score is that of the second of two classes.
    y : int ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,)
    start : ndarray of shape (n_scores, rank), default=None
        Where to begin, if not at zero.

    Returns
    -------
    v : ndarray of shape (n_scores, rank)
    """
    n_scores, rank = base.shape[1], Z.shape[1]
    shown = (y[:, None] == (np.arange(n_scores) if n_scores > 1 else 1)).astype(np.float64)
    v = trial = np.zeros((n_scores, rank)) if start is None else start
    value, step, n_halvings = np.inf, v, 0
    for _ in range(_MOST_STEPS):
        eta = base + Z @ trial.T
        new = 0.5 * (trial**2).sum() + weight @ LOG_LOSS.value(eta, shown)
        if new > value:
            if n_halvings == _MOST_HALVINGS:
                break
            n_halvings += 1
            trial = v - 0.5**n_halvings * step
            continue
        v, value, n_halvings = trial, new, 0
        mu = LOG_LOSS.means(eta)
        H = np.eye(n_scores * rank)
        for k, q in itertools.product(range(n_scores), repeat=2):
            block = H[k * rank : (k + 1) * rank, q * rank : (q + 1) * rank]
            if k == q:
                block += _weighted_gram(Z, weight * mu[:, k] * (1.0 - mu[:, k]))
            else:
                block -= _weighted_gram(Z, weight * mu[:, k] * mu[:, q])
        gradient = v + (weight[:, None] * (mu - shown)).T @ Z
        step = np.linalg.solve(H, gradient.ravel()).reshape(v.shape)
        trial = v - step
        if 0.5 * (gradient * step).sum() <= _LAST_GAIN * (1.0 + abs(value)):
            return trial
    return v


def _weighted_gram(Z, weight):
    """The sum of ``weight[i] * outer(Z[i], Z[i])``, of so few rows at a time as caches hold."""
    total = np.zeros((Z.shape[1], Z.shape[1]))
    for start in range(0, len(Z), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        rows = np.sqrt(weight[some])[:, None] * Z[some]
        total += rows.T @ rows
    return total


@dataclass
class _Solution:
    """Coordinates of heads, and how they were found.

    Attributes
    ----------
    v : ndarray of shape (n_tasks, n_scores, rank)
    left_out : ndarray of shape (n_rows, n_scores)
        Empty, where not asked for.
    levels : ndarray of shape (n_tasks, 1) or None
        Beside what v has in the intercept.
    centres : ndarray of shape (n_tasks, n_features)
    covariance : ndarray of shape (rank, rank)
        Sum of the heads' posterior covariances, where asked for.
    """

    v: np.ndarray
    left_out: np.ndarray
    levels: np.ndarray | None
    centres: np.ndarray
    covariance: np.ndarray


@dataclass
class Prototypes:
    """The nearest of the classes' means, in a diagonal metric.

    Attributes
    ----------
    name : str
    metric : ndarray of shape (n_features,)
        Inverse variances within classes.
    """

    name: str
    metric: np.ndarray
    cost: float = 0.0

    # Rows of the task's mean that stand behind each class's.
    _PRIOR_ROWS = 0.1

    def heads(self, tasks):
        """As `GaussianPrior.heads`."""
        return self.heads_and_left_out(tasks)[0]

    def heads_and_left_out(self, tasks, offset=0.0, shift=None):
        """As `GaussianPrior.heads_and_left_out`; `shift` is added to the intercepts."""
        sums, counts = class_sums(tasks)
        total = np.maximum(counts.sum(1), 1e-300)
        centre = self._PRIOR_ROWS * sums.sum(1) / total[:, None]
        means = (sums + centre[:, None]) / (counts + self._PRIOR_ROWS)[:, :, None]
        out = np.empty((*means.shape[:2], 1 + tasks.n_features))
        out[:, :, 1:] = means * self.metric
        out[:, :, 0] = -0.5 * (means**2 @ self.metric)
        codes, y, w = tasks.codes, tasks.y, tasks.weight[:, None]
        left_out = np.einsum("ij,ikj->ik", tasks.X, out[codes, :, 1:]) + out[codes, :, 0]
        without = sums[codes, y] - w * tasks.X + centre[codes]
        mean = without / (np.maximum(counts[codes, y][:, None] - w, 0.0) + self._PRIOR_ROWS)
        left_out[np.arange(len(y)), y] = ((tasks.X - 0.5 * mean) * mean) @ self.metric
        if shift is not None:
            out[:, :, 0] += shift
            left_out += shift[codes]
        return out, left_out + offset


def class_sums(tasks):
    """Sums of the rows of every task's classes ``(n_tasks, n_classes, p)``, and their weights."""
    most = n_scores(tasks)
    key = tasks.codes * most + tasks.y
    counts = np.bincount(key, tasks.weight, minlength=tasks.n_tasks * most)
    sums = np.zeros((len(counts), tasks.n_features))
    np.add.at(sums, key, tasks.weight[:, None] * tasks.X)
    return sums.reshape(tasks.n_tasks, most, -1), counts.reshape(tasks.n_tasks, most)
