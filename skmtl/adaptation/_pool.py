"""Rows of sources and target in one table, each source with a weight of its own."""

import numpy as np

from .._compat import take_rows
from ..tasks.stack import stack_rows
from ._base import fit_rows

__all__ = ["Pool", "steps_down", "total_weight"]


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
        parts = [(s.X, s.y, s.weight) for s in problem.sources]
        own = None if problem.weight is None else problem.weight[rows]
        parts.append((take_rows(problem.X, rows), problem.y[rows], own))
        self.X = stack_rows([X for X, _, _ in parts])
        self.y = np.concatenate([y for _, y, _ in parts])
        # Rows of the target are the last "source".
        self.codes = np.repeat(np.arange(len(parts)), [len(y) for _, y, _ in parts])
        self.weight = None
        if problem.weighted:
            weights = [np.ones(len(y)) if w is None else w for _, y, w in parts]
            self.weight = np.concatenate(weights)

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
