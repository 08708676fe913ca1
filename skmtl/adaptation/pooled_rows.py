"""Rows of sources and target stacked in one table, with one weight per source."""

import numpy as np

from .._compat import take_rows
from ..tasks.stack import stack_rows
from .base import fit_rows

__all__ = ["PooledRows", "stack_groups", "target_features", "weight_steps"]


def stack_groups(groups):
    """Return X, y and weights (None if no group has any) of several `SourceRows`, stacked."""
    weight = None
    if any(group.weight is not None for group in groups):
        weight = np.concatenate([group.row_weight for group in groups])
    X = stack_rows([group.X for group in groups])
    return X, np.concatenate([group.y for group in groups]), weight


def target_features(problem):
    """Return all target rows, with or without labels, in one table, and their weights."""
    parts = [] if problem.y is None else [(problem.X, problem.row_weight)]
    if problem.unlabeled is not None:
        parts.append((problem.unlabeled, np.ones(problem.unlabeled.shape[0])))
    tables, weights = zip(*parts, strict=True)
    return stack_rows(tables), np.concatenate(weights)


class PooledRows:
    """All source rows, followed by a selection of the target's.

    Parameters
    ----------
    problem : TransferProblem
    rows : ndarray of int
        Indices of target rows.
    """

    def __init__(self, problem, rows):
        self.problem = problem
        groups = [*problem.sources, problem.take(rows)]  # the target has the last code
        self.X, self.y, self.weight = stack_groups(groups)
        self.codes = np.repeat(np.arange(len(groups)), [len(group.y) for group in groups])

    def fit(self, source_weights, shifts=None, times=1):
        """Return a clone of the estimator, fitted on target rows and weighted source rows.

        Parameters
        ----------
        source_weights : ndarray of shape (n_sources,)
            Weights of source rows relative to target rows; sources of weight zero are left out.
        shifts : ndarray of shape (n_sources,), default=None
            Constants added to the labels of each source.
        times : int, default=1
            How often each target row is repeated, for estimators without weights.
        """
        factors, y = np.append(source_weights, 1.0), self.y
        if shifts is not None and np.any(shifts):
            y = y + np.append(shifts, 0.0)[self.codes]
        rows = None if (factors > 0).all() else np.flatnonzero(factors[self.codes] > 0)
        if times > 1:
            rows = np.arange(len(y)) if rows is None else rows
            target = rows[self.codes[rows] == len(source_weights)]
            rows = np.concatenate([rows, np.tile(target, times - 1)])
        X, weight = self.X, self.weight
        if (factors[factors > 0] != 1.0).any():
            weight = factors[self.codes] if weight is None else weight * factors[self.codes]
        if rows is not None:
            X, y, weight = take_rows(X, rows), y[rows], None if weight is None else weight[rows]
        return fit_rows(self.problem.estimator, X, y, weight)


def weight_steps(source_weight, target_weight, ratio, most, share=0.1):
    """Return weights of source rows, from 1 down, in equal ratios.

    At the last one all source rows together count `share` of all target rows. Neighbours are at
    most a factor `ratio` apart, unless that takes more than `most` weights.

    Parameters
    ----------
    source_weight, target_weight : float
        Total weights of source and target rows.
    ratio : float
    most : int
    share : float, default=0.1
    """
    top = max(source_weight / (share * target_weight), 1.0)
    n_steps = min(1 + int(np.ceil(np.log(top) / np.log(ratio))), most)
    return 1.0 / np.geomspace(1.0, top, n_steps)
