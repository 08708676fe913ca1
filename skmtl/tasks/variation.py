r"""How features vary within tasks and between them.

A feature's slope in one task is learned from its variation within the task. Where tasks stand at
different levels of a feature (price levels of products, weeks in which shops opened) the table's
standard deviation is mostly between tasks, and says nothing of that.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Variation", "column_limits", "column_stds", "task_means", "task_squares"]

# Within-task standard deviations are taken for at least this part of the table's.
_LEAST_PART = 1e-4
# The part of a feature's variance that must be between tasks for its slope to differ there.
_LEAST_LEVEL = 0.25


# Rows that are centred at once.
_CHUNK = 4096


@dataclass(frozen=True)
class Variation:
    r"""Variances of features within tasks and between the tasks' own means.

    The place about which a task's own slopes turn is its mean :math:`\bar x_t`, drawn towards the
    table's where it is known from few rows n,

    .. math:: c_t = \bar x + \frac{n b}{n b + w} (\bar x_t - \bar x),

    with the variances w within and b between tasks: the best linear guess of the task's true mean.

    Attributes
    ----------
    within, between : ndarray of shape (n_features,)
    """

    within: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, weight, mean, squares):
        """From every task's rows, means, and sums of squares about these.

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
        # What is constant within tasks has means that are so up to rounding only.
        rounding = 10.0 * np.finfo(np.float64).eps * np.abs(mean).max(axis=0)
        within = np.where(within > 1e-20 * between + rounding**2, within, 0.0)
        between -= within * (1.0 / weight).mean()
        return cls(within, np.maximum(between, 0.0))

    def scale(self, variance, trust=1.0):
        r"""1 / standard deviation within tasks; over the table where that is nothing.

        Parameters
        ----------
        variance : ndarray of shape (n_features,)
            Over the table; zero for what is constant.
        trust : ndarray of shape (n_features,), optional
            What it is multiplied by.
        """
        own = np.where(
            self.within > 0, np.maximum(self.within, _LEAST_PART**2 * variance), variance
        )
        return trust * np.where(variance > 0, 1.0 / np.sqrt(np.where(variance > 0, own, 1.0)), 0.0)

    def rescaled(self, scale):
        """Of features multiplied by `scale`."""
        return Variation(self.within * scale**2, self.between * scale**2)

    def alike(self, n_features=None):
        """The same for all features together: what a rotation of them does not change."""
        n_features = len(self.within) if n_features is None else n_features
        within, between = self.within.mean(), self.between.mean()
        return Variation(np.full(n_features, within), np.full(n_features, between))

    @property
    def level_part(self):
        """The part of the features' variances that is between tasks; 0 where nothing is within."""
        whole = self.within + self.between
        return np.where(self.within > 0, self.between / np.where(whole > 0, whole, 1.0), 0.0)

    def centres(self, weight, mean):
        """Where the tasks' own slopes turn, for features centred over the table.

        Parameters
        ----------
        weight : ndarray of shape (n_tasks,)
        mean : ndarray of shape (n_tasks, n_features)
            May be multiplied by any factor a feature.
        """
        told = weight[:, None] * self.between
        whole = told + self.within
        return mean * np.where(whole > 0, told / np.where(whole > 0, whole, 1.0), 0.0)

    def places(self, apart, weight, mean):
        """Centres, and what of them the shared slopes meet: nothing where they are told apart.

        That is of features that vary within tasks; the others' slopes are all between.
        """
        centres = self.centres(weight, mean)
        return centres, np.where(self.within > 0, 0.0, centres) if apart else centres

    def levels_differ(self):
        """Whether some feature varies between tasks beside what it does within."""
        return bool((self.level_part > _LEAST_LEVEL).any())


def column_limits(X):
    """The least and the largest value of every column of an array or sparse matrix."""
    low, high = X.min(axis=0), X.max(axis=0)
    if sparse.issparse(X):
        return low.toarray().ravel(), high.toarray().ravel()
    return low, high


def column_stds(table):
    """Standard deviations of the features over the rows of a table, each by its weight."""
    X, n_features = table.X, table.n_features
    weight = np.bincount(table.rows, table.weights(), minlength=X.shape[0])
    total = weight.sum()
    mean = np.asarray(X.T @ weight).ravel() / total
    squares = np.zeros(n_features)
    if sparse.issparse(X):
        stored = np.repeat(weight, np.diff(X.indptr))
        gaps = X.data - mean[X.indices]
        squares += np.bincount(X.indices, stored * gaps**2, minlength=n_features)
        there = np.bincount(X.indices, stored, minlength=n_features)
        return np.sqrt((squares + np.maximum(total - there, 0.0) * mean**2) / total)
    for start in range(0, X.shape[0], _CHUNK):  # no second copy of the table
        part = X[start : start + _CHUNK] - mean
        squares += weight[start : start + _CHUNK] @ (part * part)
    return np.sqrt(squares / total)


def task_means(table):
    """Every task's weight ``(n_tasks,)`` and feature means ``(n_tasks, n_features)``."""
    total, by_task = _averaging(table)
    return total, _means(table, by_task, _sparse_rows(table))


def _sparse_rows(table):
    """The packed rows of a sparse table; None of a dense one, of which no copy is made."""
    return sparse.csr_matrix(table.X)[table.rows] if sparse.issparse(table.X) else None


def _means(table, by_task, sparse_rows):
    if sparse_rows is not None:
        return (by_task @ sparse_rows).toarray()
    mean = np.empty((table.n_tasks, table.n_features))
    for j in range(table.n_features):  # a column at a time, which needs no copy of the table
        mean[:, j] = by_task @ table.X[table.rows, j]
    return mean


def _averaging(table):
    """The tasks' weights, and the matrix that averages packed rows over each task."""
    weight = table.weights()
    total = table.task_sums(weight)
    share = weight / np.where(total > 0, total, 1.0)[table.codes]
    shape = table.n_tasks, len(table.rows)
    return total, sparse.csr_matrix((share, np.arange(shape[1]), table.offsets), shape=shape)


def task_squares(table):
    """Every task's weight, feature means, and sums of squares about these.

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
        # About the tasks' means: squares of the entries there are, and of the means for the others.
        gap = X.data - mean[np.repeat(codes, np.diff(X.indptr)), X.indices]
        entries = sparse.csr_matrix((gap**2, X.indices, X.indptr), shape=X.shape)
        there = sparse.csr_matrix((np.ones(len(gap)), X.indices, X.indptr), shape=X.shape)
        missing = np.maximum(1.0 - (by_task @ there).toarray(), 0.0)
        missing[missing < 1e-12] = 0.0  # shares add up to one up to rounding
        squares = (by_task @ entries).toarray() + missing * mean**2
        return total, mean, squares * total[:, None]
    squares = np.empty_like(mean)
    for j in range(table.n_features):
        squares[:, j] = by_task @ (table.X[table.rows, j] - mean[codes, j]) ** 2
    return total, mean, squares * total[:, None]
