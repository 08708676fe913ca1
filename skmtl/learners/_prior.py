r"""Candidates of the closed forms: how a task's linear head follows from its rows.

The parameters of a head are the intercept and the slopes of one score, for numbers and for two
classes that mean the same in every task; of one score a class otherwise.
"""

from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._jit import run_chunks

__all__ = ["GaussianPrior", "Prototypes", "class_sums", "n_scores"]

_SQUARED, _BINARY, _SOFTMAX = 0, 1, 2  # as `kernels.heads` numbers them
# Tasks whose posterior moments are added up at a time.
_AT_A_TIME = 64


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
    r"""Parameters :math:`w = \mu + Lv` with :math:`v \sim N(0, I)`, for every score.

    Attributes
    ----------
    name : str
        The family: "independent", "pooled", "hierarchical", "subspace".
    mean : ndarray of shape (n_scores, 1 + n_features)
    root : ndarray of shape (1 + n_features, rank)
        L; for numbers in units of the noise.
    cost : float
        How much better, in nats, its verdict must be than that of candidates without.
    """

    name: str
    mean: np.ndarray
    root: np.ndarray
    cost: float = 0.0

    def heads(self, tasks, offset=0.0):
        """Heads at the largest posterior density; scores get `offset (n_rows, n_scores)`, too.

        Returns
        -------
        parameters : ndarray of shape (n_tasks, n_scores, 1 + n_features)
        left_out : ndarray of shape (n_rows, n_scores)
            Scores of the rows, each by its task without it; of one that weighs more, without one
            of the equal rows that it stands for.
        """
        v, left_out, *_ = self._solve(tasks, offset)
        return self._mean_of(v.shape[1]) + v @ self.root.T, left_out

    def posterior(self, tasks):
        """Means over tasks and scores of the parameters less the prior's mean, and how many.

        Returns
        -------
        step : ndarray of shape (n_scores, 1 + n_features)
            Means over tasks.
        moment : ndarray of shape (1 + n_features, 1 + n_features)
            Means of squares, Laplace's posterior variance included.
        n_heads : int
        """
        v, _, loss, rows = self._solve(tasks)
        moment, n_heads = np.zeros((v.shape[2], v.shape[2])), 0
        for start in range(0, tasks.n_tasks, _AT_A_TIME):
            stop = min(start + _AT_A_TIME, tasks.n_tasks)
            n_heads += kernels.heads.posterior_moments(start, stop, loss, rows, v, moment)
        moment /= max(n_heads, 1)
        return v.mean(0) @ self.root.T, self.root @ moment @ self.root.T, n_heads

    def _mean_of(self, scores):
        """The mean; zero where the classes are other ones, or more."""
        if len(self.mean) == scores:
            return self.mean
        return np.zeros((scores, self.mean.shape[1]))

    def _solve(self, tasks, offset=0.0):
        """Coordinates v, the scores left out, and what the kernels were given."""
        scores = n_scores(tasks)
        mean = self._mean_of(scores)
        Z = np.ascontiguousarray(tasks.X @ self.root[1:] + self.root[0])
        base = np.ascontiguousarray(tasks.X @ mean[:, 1:].T + mean[:, 0] + offset)
        ways = np.ones(tasks.n_tasks, np.int64) if tasks.ways is None else tasks.ways
        rows = kernels.heads.Rows(
            Z, base, tasks.y.astype(np.float64), tasks.weight, tasks.offsets, ways,
            *kernels.heads.gram_matrices(Z, tasks.offsets),
        )  # fmt: skip
        v, left_out = np.empty((tasks.n_tasks, scores, Z.shape[1])), np.zeros(base.shape)
        loss = _loss_code(tasks)
        run_chunks(kernels.heads.fit_heads, tasks.n_tasks, loss, rows, v, left_out)
        return v, left_out, loss, rows


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
        sums, counts = class_sums(tasks)
        total = np.maximum(counts.sum(1), 1e-300)
        centre = self._PRIOR_ROWS * sums.sum(1) / total[:, None]
        means = (sums + centre[:, None]) / (counts + self._PRIOR_ROWS)[:, :, None]
        out = np.empty((*means.shape[:2], 1 + tasks.n_features))
        out[:, :, 1:] = means * self.metric
        out[:, :, 0] = -0.5 * (means**2 @ self.metric)
        codes, y, w = tasks.codes, tasks.y, np.minimum(tasks.weight, 1.0)[:, None]
        left_out = np.einsum("ij,ikj->ik", tasks.X, out[codes, :, 1:]) + out[codes, :, 0]
        without = sums[codes, y] - w * tasks.X + centre[codes]
        mean = without / (counts[codes, y][:, None] - w + self._PRIOR_ROWS)
        left_out[np.arange(len(y)), y] = ((tasks.X - 0.5 * mean) * mean) @ self.metric
        return out, left_out


def class_sums(tasks):
    """Sums of the rows of every task's classes ``(n_tasks, n_classes, p)``, and their weights."""
    most = n_scores(tasks)
    key = tasks.codes * most + tasks.y
    counts = np.bincount(key, tasks.weight, minlength=tasks.n_tasks * most)
    sums = np.zeros((len(counts), tasks.n_features))
    np.add.at(sums, key, tasks.weight[:, None] * tasks.X)
    return sums.reshape(tasks.n_tasks, most, -1), counts.reshape(tasks.n_tasks, most)
