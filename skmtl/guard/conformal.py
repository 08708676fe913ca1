"""Width of prediction intervals from the sizes of out-of-fold errors."""

from dataclasses import dataclass

import numpy as np

__all__ = ["ConformalResiduals"]

# Most sizes kept. Between those of more errors, the next larger one is used.
_POINTS = 10_000
# Relative rounding error of products such as 0.55 * 20, which must not raise a rank by one.
_ROUNDING = 1e-9


@dataclass
class ConformalResiduals:
    r"""Sizes of out-of-fold errors, and the conformal quantile of them.

    If `n` rows count once each, the half-width of an interval with coverage `c` is the
    :math:`\lceil c (n + 1) \rceil`-th smallest size. With weights :math:`w_i` (in rows) of the
    sizes, it is the smallest size `r` for which

    .. math:: \sum_{i: |e_i| \leq r} w_i \geq c \, \Big(1 + \sum_i w_i\Big),

    where the one is the new row, whose error may be of any size.

    Attributes
    ----------
    size : ndarray of shape (n_points,)
        Absolute errors, ascending.
    count : ndarray of shape (n_points,)
        Number of rows whose errors are at most as large.
    """

    size: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, errors, rows, weight=None):
        """Return the sizes of errors.

        Parameters
        ----------
        errors : ndarray of shape (n_errors,)
        rows : ndarray of shape (n_errors,)
            Row of each error. The errors of a row that was held out several times share its weight.
        weight : ndarray of shape (n_rows,), optional
            Positive weights of the rows: counts if all are whole numbers, after division by their
            greatest common divisor, else relative to each other.
        """
        distinct, place, times = np.unique(rows, return_inverse=True, return_counts=True)
        count = np.ones(len(distinct)) if weight is None else _in_rows(weight, distinct)
        order = np.argsort(np.abs(errors), kind="stable")
        size, count = np.abs(errors)[order], np.cumsum((count / times)[place][order])
        if len(size) > _POINTS:
            part = np.ceil(count * (_POINTS / count[-1]))
            last = np.append(np.flatnonzero(np.diff(part)), len(size) - 1)
            size, count = size[last], count[last]
        return cls(size, count)

    def band(self, coverage):
        """Return the bounds ``(low, high)`` to add to a prediction.

        Raises
        ------
        ValueError
            If there are too few rows for this coverage: the interval would be infinite.
        """
        n_rows = self.count[-1] if len(self.count) else 0.0
        needed = coverage * (n_rows + 1.0) - _ROUNDING * (n_rows + 1.0)
        if needed > n_rows:
            raise ValueError(_too_few(coverage, n_rows))
        radius = self.size[np.searchsorted(self.count, needed)]
        return np.array([-radius, radius])


def _in_rows(weight, held_out):
    """Return the weights of held-out rows as numbers of rows.

    Weights that are not counts add up to Kish's effective number of rows, which is smaller the more
    they differ.
    """
    if weight.max() < 2.0**53 and (weight == np.rint(weight)).all():
        return weight[held_out] / np.gcd.reduce(weight.astype(np.int64))
    weight = weight[held_out] / weight[held_out].max(initial=0.0)
    return weight * (weight.sum() / (weight @ weight)) if len(weight) else weight


def _too_few(coverage, n_rows):
    least = int(np.ceil(coverage / (1.0 - coverage) - _ROUNDING))
    found = f"{n_rows:.4g}" if n_rows else "no"
    remedy = "fit on more labelled rows"
    most = np.floor(100.0 * n_rows / (n_rows + 1.0) + _ROUNDING) / 100.0
    if most > 0.0:
        remedy = f"choose a coverage of at most {most:.2g}, or {remedy}"
    return (
        f"coverage={coverage!r} needs out-of-fold residuals of at least {least} rows, but there "
        f"are those of {found} row(s) (counted by weight); with fewer, the interval would be "
        f"infinite: {remedy}."
    )
