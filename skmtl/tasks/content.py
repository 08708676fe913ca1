"""Rows and tasks in an order that only their content decides, and on a common scale."""

from dataclasses import dataclass

import numpy as np

from .. import kernels
from .._jit import run_chunks
from .moments import scale_of

__all__ = ["Contents", "Standards", "arrange"]

# Rows are hashed after rounding to this part of a standard deviation: what differs by rounding
# alone is then hashed alike.
_TICKS = 1e6
_MOST_TICKS = 2.0**62


@dataclass(frozen=True)
class Standards:
    """What features and target are standardised by.

    Attributes
    ----------
    columns : ndarray of shape (n_varying,)
        The features that are not constant; the others are left out. Where all are, the first.
    centre, scale : ndarray of shape (n_varying,)
        Features are ``(X[:, columns] - centre) * scale``.
    target_centre, target_scale : float
        The same of the target; 0 and 1 where it holds classes.
    """

    columns: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    target_centre: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def of(cls, X, y, weight):
        """Means and deviations over weighted rows; of y too where it holds numbers (floats)."""
        centre, scale = _centre_and_scale(X, weight)
        columns = np.flatnonzero(scale)
        columns = columns if len(columns) else np.zeros(1, dtype=np.int64)
        features = columns, centre[columns], scale[columns]
        if y.dtype.kind != "f":
            return cls(*features)
        (target_centre,), (target_scale,) = _centre_and_scale(y[:, None], weight)
        return cls(*features, float(target_centre), float(target_scale) or 1.0)

    @property
    def spread(self):
        """The standard deviations of what `features` returns; zero where all are constant."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    def features(self, X):
        if len(self.columns) < X.shape[1]:
            X = np.take(X, self.columns, axis=1)  # C-ordered, as X
        return (X - self.centre) * self.scale

    def target(self, y):
        """The target standardised; classes are left as they are."""
        return (y - self.target_centre) * self.target_scale if y.dtype.kind == "f" else y

    def restore(self, prediction):
        """Predictions in the target's own units."""
        return prediction / self.target_scale + self.target_centre


def _centre_and_scale(X, weight):
    total = weight.sum()
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    return mean, scale_of(total, mean, variance)


@dataclass(frozen=True)
class Contents:
    """Rows of some tasks in the order of their content, where equal ones are one.

    Attributes
    ----------
    rows : ndarray of shape (n_kept,)
        Which of the rows given; those of task t are ``offsets[t]:offsets[t + 1]``.
    weight : ndarray of shape (n_kept,)
        Summed over equal rows.
    offsets : ndarray of shape (n_tasks + 1,)
    tasks : ndarray
        The tasks that have rows, in the order of their content.
    """

    rows: np.ndarray
    weight: np.ndarray
    offsets: np.ndarray
    tasks: np.ndarray


def arrange(X, y, weight, offsets, standards, pool=None):
    """Order tasks and their rows by what they hold, so that neither labels nor row order matter.

    Equal rows of a task become one that weighs as much as they do, so that a row of weight two
    is two rows, whatever is done with the rows later.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Sorted by task.
    y, weight : ndarray of shape (n_rows,)
        Numbers, or codes of classes.
    offsets : ndarray of shape (n_tasks + 1,)
    standards : Standards
        On the scale of which rows are compared.
    pool : executor or None

    Returns
    -------
    Contents
    """
    n_tasks = len(offsets) - 1
    codes = np.repeat(np.arange(n_tasks), np.diff(offsets))
    keys = _hashes(standards.features(X), standards.target(y), pool)
    order = np.lexsort((weight, keys, codes))
    first = _first_of_equals(X, y, keys, codes, order)
    kept = order[first]
    weight = np.add.reduceat(weight[order], np.flatnonzero(first)) if len(kept) else weight
    sizes = np.bincount(codes[kept], minlength=n_tasks)
    tasks = np.flatnonzero(sizes)
    offsets = np.append(0, np.cumsum(sizes))
    starts = offsets[tasks]
    if len(tasks):
        content = np.add.reduceat(keys[kept].view(np.uint64), starts)  # wraps
        total = np.add.reduceat(weight, starts)
        tasks = tasks[np.lexsort((total, content))]
    return Contents(kept, weight, offsets, tasks)


def _hashes(Z, y, pool):
    bits, y_bits = (_ticks(values).view(np.uint64) for values in (Z, y.astype(np.float64)))
    out = np.empty(len(Z), dtype=np.int64)
    run_chunks(kernels.moments.hash_rows, len(Z), bits, y_bits, 0, out, pool=pool)
    return out


def _ticks(values):
    return np.clip(np.rint(values * _TICKS), -_MOST_TICKS, _MOST_TICKS).astype(np.int64)


def _first_of_equals(X, y, keys, codes, order):
    """Whether each row, in this order, differs from the one before it."""
    first = np.ones(len(order), dtype=bool)
    keys, codes = keys[order], codes[order]
    alike = 1 + np.flatnonzero((keys[1:] == keys[:-1]) & (codes[1:] == codes[:-1]))
    one, other = order[alike], order[alike - 1]
    first[alike] = (X[one] != X[other]).any(axis=1) | (y[one] != y[other])
    return first
