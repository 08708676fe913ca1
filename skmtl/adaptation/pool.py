"""Rows of sources and target in one table, each source with a weight of its own."""

import numpy as np

from .._compat import take_rows
from ..tasks.stack import stack_rows
from .base import fit_rows

__all__ = ["Pool", "features_of_target", "stack_groups", "steps_down", "total_weight"]


def stack_groups(groups):
    """Rows of several `SourceRows` in one table: X, y, and weights (None where none has any)."""
    weight = None
    if any(group.weight is not None for group in groups):
        weight = np.concatenate([group.row_weight for group in groups])
    X = stack_rows([group.X for group in groups])
    return X, np.concatenate([group.y for group in groups]), weight


def features_of_target(problem):
    """All target rows, labelled or not, in one table, and their weights."""
    tables = [] if problem.y is None else [problem.X]
    weights = [] if problem.y is None else [problem.row_weight]
    if problem.unlabeled is not None:
        tables.append(problem.unlabeled)
        weights.append(np.ones(problem.unlabeled.shape[0]))
    return stack_rows(tables), np.concatenate(weights)


class Pool:
    """All source rows, and below them some of the target's.

    Parameters
    ----------
    problem : TransferProblem
    rows : ndarray of int
        The target's.
    """

    def __init__(self, problem, rows):
        self.problem = problem
        # Rows of the target are the last "source".
        groups = [*problem.sources, problem.take(rows)]
        self.X, self.y, self.weight = stack_groups(groups)
        self.codes = np.repeat(np.arange(len(groups)), [len(group.y) for group in groups])

    def fit(self, source_weights, shifts=None, times=1):
        """A clone of the estimator, fitted on the rows of sources with a weight, and the target's.

        Parameters
        ----------
        source_weights : ndarray of shape (n_sources,)
            What a source row counts beside one of the target.
        shifts : ndarray of shape (n_sources,), default=None
            Added to the labels of source rows.
        times : int, default=1
            How often each target row is repeated, for estimators without weights.
        """
        factors, y = np.append(source_weights, 1.0), self.y
        if shifts is not None and np.any(shifts):
            y = y + np.append(shifts, 0.0)[self.codes]
        rows = None if (factors > 0).all() else np.flatnonzero(factors[self.codes] > 0)
        if times > 1:
            rows = np.arange(len(y)) if rows is None else rows
            own = rows[self.codes[rows] == len(source_weights)]
            rows = np.concatenate([rows, np.tile(own, times - 1)])
        weight = self.weight
        if (factors[factors > 0] != 1.0).any():
            weight = factors[self.codes] if weight is None else weight * factors[self.codes]
        X = self.X
        if rows is not None:
            X, y, weight = take_rows(X, rows), y[rows], None if weight is None else weight[rows]
        return fit_rows(self.problem.estimator, X, y, weight)


def total_weight(rows):
    """Of a `SourceRows`, or of a problem's target rows."""
    return float(len(rows.y)) if rows.weight is None else float(rows.weight.sum())


def steps_down(of_source, of_target, ratio, most, share=0.1):
    """Weights of source rows from 1 to where all together count `share` of the target's.

    In equal steps of at most `ratio`, unless they were more than `most`.
    """
    top = max(of_source / (share * of_target), 1.0)
    n_steps = min(1 + int(np.ceil(np.log(top) / np.log(ratio))), most)
    return 1.0 / np.geomspace(1.0, top, n_steps)
