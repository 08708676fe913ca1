r"""Variation of features within and between tasks.

The slope of a feature in one task is learned from its variation within the task. If tasks differ in
the level of a feature (price levels of products, weeks in which shops opened), the standard
deviation over the table mostly reflects variation between tasks.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Variation", "column_limits", "column_stds", "task_means", "task_squares"]

# Lower bound of a within-task standard deviation, relative to that over the table.
_LEAST_PART = 1e-4
# Least share of the variance between tasks for which a slope between tasks is considered.
_LEAST_LEVEL = 0.25
# Number of rows centred at a time.
_CHUNK = 4096


@dataclass(frozen=True)
class Variation:
    r"""Variances of features within tasks and between the means of tasks.

    The task-specific slopes of a task apply to deviations from a centre, which is its mean
    :math:`\bar x_t` shrunk towards the mean of the table if the task has few rows n,

    .. math:: c_t = \bar x + \frac{n b}{n b + w} (\bar x_t - \bar x),

    with the variances w within and b between tasks: the best linear predictor of the true mean.

    Attributes
    ----------
    within, between : ndarray of shape (n_features,)
        Variances of each feature.
    """

    within: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, weight, mean, squares):
        """Compute the variances from each task's weight, means, and sums of squares about these.

        Parameters
        ----------
        weight : ndarray of shape (n_tasks,)
        mean, squares : ndarray of shape (n_tasks, n_features)
        """
        seen = weight > 0
        weight, mean = weight[seen], mean[seen]
        spare = np.maximum(weight - 1.0, 0.0).sum()
        within = squares[seen].sum(axis=0) / spare if spare > 0 else np.zeros(mean.shape[1])
        if len(weight) < 2:
            return cls(within, np.zeros_like(within))
        between = mean.var(axis=0, ddof=1)
        # For features that are constant within tasks, `within` is due to rounding of the means.
        rounding = 10.0 * np.finfo(np.float64).eps * np.abs(mean).max(axis=0)
        within = np.where(within > 1e-20 * between + rounding**2, within, 0.0)
        between -= within * (1.0 / weight).mean()
        return cls(within, np.maximum(between, 0.0))

    def scale(self, variance, trust=1.0):
        r"""Return 1 / standard deviation: within tasks, or over the table if there is none within.

        Parameters
        ----------
        variance : ndarray of shape (n_features,)
            Variance over the table; zero for constant features.
        trust : ndarray of shape (n_features,), optional
            Factors for the result.
        """
        variance_used = np.where(
            self.within > 0, np.maximum(self.within, _LEAST_PART**2 * variance), variance
        )
        std = np.sqrt(np.where(variance > 0, variance_used, 1.0))
        return trust * np.where(variance > 0, 1.0 / std, 0.0)

    def rescaled(self, scale):
        """Return the variances of features multiplied by `scale`."""
        return Variation(self.within * scale**2, self.between * scale**2)

    def alike(self, n_features=None):
        """Return the mean variances for all features, which a rotation does not change."""
        n_features = len(self.within) if n_features is None else n_features
        within, between = self.within.mean(), self.between.mean()
        return Variation(np.full(n_features, within), np.full(n_features, between))

    @property
    def level_part(self):
        """Share of each variance between tasks; zero for features constant within tasks."""
        whole = self.within + self.between
        return np.where(self.within > 0, self.between / np.where(whole > 0, whole, 1.0), 0.0)

    def centres(self, weight, mean):
        """Return the centres of the tasks, for features centred over the table.

        Parameters
        ----------
        weight : ndarray of shape (n_tasks,)
        mean : ndarray of shape (n_tasks, n_features)
            Means of the tasks, in any unit of each feature.
        """
        between = weight[:, None] * self.between
        whole = between + self.within
        return mean * np.where(whole > 0, between / np.where(whole > 0, whole, 1.0), 0.0)

    def places(self, apart, weight, mean):
        """Return the centres, and the part of them to which the shared slopes apply.

        If slopes between tasks are separate (`apart`), the shared slopes apply to the centres of
        only those features that are constant within tasks.
        """
        centres = self.centres(weight, mean)
        return centres, np.where(self.within > 0, 0.0, centres) if apart else centres

    def levels_differ(self):
        """Return whether a considerable part of some feature's variance is between tasks."""
        return bool((self.level_part > _LEAST_LEVEL).any())


def column_limits(X):
    """Return the smallest and the largest value of every column of an array or sparse matrix."""
    low, high = X.min(axis=0), X.max(axis=0)
    if sparse.issparse(X):
        return low.toarray().ravel(), high.toarray().ravel()
    return low, high


def column_stds(table):
    """Return the weighted standard deviations of the features over the rows of a table."""
    X, n_features = table.X, table.n_features
    weight = np.bincount(table.rows, table.weights(), minlength=X.shape[0])
    total = weight.sum()
    mean = np.asarray(X.T @ weight).ravel() / total
    squares = np.zeros(n_features)
    if sparse.issparse(X):
        stored = np.repeat(weight, np.diff(X.indptr))
        gaps = X.data - mean[X.indices]
        squares += np.bincount(X.indices, stored * gaps**2, minlength=n_features)
        stored = np.bincount(X.indices, stored, minlength=n_features)
        return np.sqrt((squares + np.maximum(total - stored, 0.0) * mean**2) / total)
    for start in range(0, X.shape[0], _CHUNK):  # avoids a second copy of the table
        part = X[start : start + _CHUNK] - mean
        squares += weight[start : start + _CHUNK] @ (part * part)
    return np.sqrt(squares / total)


def task_means(table):
    """Return every task's weight ``(n_tasks,)`` and feature means ``(n_tasks, n_features)``."""
    total, by_task = _averaging(table)
    return total, _means(table, by_task, _sparse_rows(table))


def _sparse_rows(table):
    """Return the packed rows of a sparse table, or None for a dense one to avoid a copy."""
    return sparse.csr_matrix(table.X)[table.rows] if sparse.issparse(table.X) else None


def _means(table, by_task, sparse_rows):
    if sparse_rows is not None:
        return (by_task @ sparse_rows).toarray()
    mean = np.empty((table.n_tasks, table.n_features))
    for j in range(table.n_features):  # column by column, which needs no copy of the table
        mean[:, j] = by_task @ table.X[table.rows, j]
    return mean


def _averaging(table):
    """Return the weights of the tasks, and the matrix that averages packed rows by task."""
    weight = table.weights()
    total = table.task_sums(weight)
    share = weight / np.where(total > 0, total, 1.0)[table.codes]
    shape = table.n_tasks, len(table.rows)
    return total, sparse.csr_matrix((share, np.arange(shape[1]), table.offsets), shape=shape)


def task_squares(table):
    """Return every task's weight, feature means, and sums of squares about these.

    Parameters
    ----------
    table : TaskTable

    Returns
    -------
    weight : ndarray of shape (n_tasks,)
    mean, squares : ndarray of shape (n_tasks, n_features)
    """
    (total, by_task), codes, X = _averaging(table), table.codes, _sparse_rows(table)
    mean = _means(table, by_task, X)
    if X is not None:
        # Squares about the tasks' means, of the stored entries and of the zeros.
        gap = X.data - mean[np.repeat(codes, np.diff(X.indptr)), X.indices]
        entries = sparse.csr_matrix((gap**2, X.indices, X.indptr), shape=X.shape)
        stored = sparse.csr_matrix((np.ones(len(gap)), X.indices, X.indptr), shape=X.shape)
        zeros = np.maximum(1.0 - (by_task @ stored).toarray(), 0.0)
        zeros[zeros < 1e-12] = 0.0  # rounding error
        squares = (by_task @ entries).toarray() + zeros * mean**2
        return total, mean, squares * total[:, None]
    squares = np.empty_like(mean)
    for j in range(table.n_features):
        squares[:, j] = by_task @ (table.X[table.rows, j] - mean[codes, j]) ** 2
    return total, mean, squares * total[:, None]
