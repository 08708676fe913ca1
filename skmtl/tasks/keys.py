r"""Keys of rows: numbers that only the content of a table decides.

Rows are dealt to folds, and tasks and rows are sampled, in the order of their keys, so that results
do not depend on the order of rows or columns, nor on the columns' units, shifts and signs.

Columns are standardised over the table and turned so that a fixed odd statistic of each is
positive. A row's key is the fractional part of a large multiple of

.. math:: \sum_j \tau(\omega z_{ij} + \phi_j) + \tau(\omega y_i),

where :math:`\tau` is the squared distance to the nearest integer (the straight pieces of the
distance itself would give equal sums to rows of other values) and the phase :math:`\phi_j` is made
of column j's statistics, so that rows whose values are swapped between columns have keys of their
own. The sum is continuous in the data, so that rounding moves a key by about 1e-12 and, unlike a
hash of the bits, hardly ever changes the order of two rows; the multiple is large enough that rows
next to one another in the data are not next to one another in the order.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = [
    "RowKeys", "by_size", "evenly_by_size", "mixed", "row_keys", "row_order", "uniforms",
]  # fmt: skip

# Waves a standard deviation, the key's multiples of their sum, and rows worked on at a time.
_WAVES = 3.3
_LEAST_MULTIPLE, _MOST_MULTIPLE = 500.0, 1500.0
_CHUNK = 8192
_GRID = 2.0**33  # steps of a key
# A column whose odd statistics are all below this is symmetric: its squares are taken.
_SYMMETRIC = 1e-9
_GOLDEN = 0.6180339887498949


def row_keys(X, y, weight=None, rows=None):
    """Keys of labelled rows, in an order that `mixed` draws at random.

    Parameters
    ----------
    X : ndarray or csr matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_rows,)
        Numbers, or codes of classes.
    weight : ndarray of shape (n_rows,), optional
    rows : ndarray of shape (n_rows,), optional
        Which row of X each is; all in turn by default.

    Returns
    -------
    of_features, keys : ndarray of shape (n_rows,)
        Keys of the rows without their labels, and with them. Equal rows have equal keys. So do
        rows that no property of the table tells apart but the order and the direction of its
        columns.
    tails : ndarray of shape (n_features,)
        Mean fourth powers of the standardised columns: 3 for the normal distribution, and as many
        times a row's share as few rows make up a column's variance.
    """
    if rows is not None and _is_permutation(rows, X.shape[0]):
        place = np.empty_like(rows)  # in X's own order, which takes a third of the time
        place[rows] = np.arange(len(rows))
        weight = None if weight is None else weight[place]
        of_features, keys, tails = row_keys(X, y[place], weight)
        return of_features[rows], keys[rows], tails
    columns, target, _ = _learned(X, y, weight, rows)
    of_features = columns.waves()
    keys = of_features + _wave(_WAVES * target)
    return _rounded(of_features), _rounded(keys), columns.tails


@dataclass(frozen=True)
class RowKeys:
    """Keys of rows that come in pieces, by the statistics of the first of them.

    Attributes
    ----------
    mean, scale, sign, phase : ndarray of shape (n_features,)
        Of the columns.
    target : tuple of float
        Mean, scale and sign of the target.
    """

    mean: np.ndarray
    scale: np.ndarray
    sign: np.ndarray
    phase: np.ndarray
    target: tuple

    @classmethod
    def learn(cls, X, y, weight=None, rows=None):
        """The statistics of some rows, which may be one only, or all be equal."""
        columns, _, (mean, scale, sign) = _learned(X, y, weight, rows)
        target = mean, float(_some_scale(scale, mean)), sign
        scale = _some_scale(columns.scale, columns.mean)
        return cls(columns.mean, scale, columns.sign, columns.phase, target)

    def keys(self, X, y, rows):
        """Keys of labelled rows; see `row_keys`."""
        mean, scale, sign = self.target
        target = _turned((y - mean) * scale, sign)
        return _rounded(self._known(X, rows).waves() + _wave(_WAVES * target))

    def fourth_powers(self, X, weight, rows):
        """Sums of the standardised columns' fourth powers, ``(n_features,)``."""
        return self._known(X, rows).fourth_powers(weight)

    def _known(self, X, rows):
        columns = _columns(X, rows)
        columns.mean, columns.scale = self.mean, self.scale
        columns.sign, columns.phase = self.sign, self.phase
        return columns


def _rounded(keys):
    """Keys that are the same but for rounding, as those of mirrored rows, are equal."""
    return np.rint(keys * _GRID) / _GRID


def _is_permutation(rows, n):
    return len(rows) == n and bool((np.bincount(rows, minlength=n) == 1).all())


def _learned(X, y, weight, rows):
    """The columns, which know their statistics; the target in its standard form, and its own."""
    rows = np.arange(len(y)) if rows is None else rows
    share = np.full(len(y), 1.0 / len(y)) if weight is None else weight / weight.sum()
    columns = _columns(X, rows)
    columns.standardise(share)
    mean = share @ y
    gap = y - mean
    scale = float(_inverse(share @ gap**2, mean))
    target, radius = gap * scale, columns.radii()
    sign = float(_sign(share @ (target * radius) + 0.37 * (share @ target**3)))
    target = _turned(target, sign)
    columns.turn(share, target, radius)
    return columns, target, (mean, scale, sign)


def _some_scale(scale, mean):
    """A scale for later rows of what was constant in the first ones, too."""
    size = np.where(mean == 0.0, 1.0, np.maximum(np.abs(mean), 1e-150))
    return np.where(scale > 0.0, scale, 1.0 / size)


def _columns(X, rows):
    return (_SparseColumns if sparse.issparse(X) else _DenseColumns)(X, rows)


def mixed(keys, seed=0):
    """The keys' order drawn at random: fractional parts of a multiple that `seed` decides."""
    step = (_GOLDEN * (seed % 10**6 + 1)) % 1.0
    multiple = _LEAST_MULTIPLE + (_MOST_MULTIPLE - _LEAST_MULTIPLE) * step
    return (keys * multiple) % 1.0


def row_order(table):
    """The packed rows of a table with keys, task by task, in an order that only content decides."""
    # Labels whose direction nothing tells, and rows that weigh unalike, may have equal keys.
    return np.lexsort((table.weights(), table.y, mixed(table.keys), table.codes))


def uniforms(n):
    """``n`` numbers between 0 and 1 that look random, always the same (SplitMix64)."""
    with np.errstate(over="ignore"):
        z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) / 2.0**64


def by_size(sizes, content):
    """The order of tasks by their sizes, and of those alike up to rounding by their content."""
    with np.errstate(divide="ignore"):
        return np.lexsort((content, np.rint(np.log(sizes) * 1e9)))


def evenly_by_size(sizes, content, most):
    """At most so many of the tasks that have rows, evenly over their sizes, in that order."""
    order = by_size(sizes, content)
    order = order[sizes[order] > 0]
    picks = np.round(np.linspace(0, len(order) - 1, min(most, len(order))))
    return order[picks.astype(np.int64)]


def _wave(values):
    """The squared distance to the nearest integer."""
    return (values - np.rint(values)) ** 2


def _inverse(variance, mean):
    """1 / standard deviation; 0 for what is constant up to rounding."""
    eps = np.finfo(np.float64).eps
    constant = variance <= (100.0 * eps * mean) ** 2
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))


def _sign(statistic):
    return np.where(np.abs(statistic) < _SYMMETRIC, 0.0, np.sign(statistic))


def _turned(z, sign):
    """Standardised numbers in the direction that an odd statistic gives them."""
    return z * sign if sign else z**2


def _statistics(share, target, radius):
    """Weights of the first, second and third powers of a column in its statistics."""
    first = target + 0.41 * target**2 + 0.53 * radius + 0.29 * target * radius
    second = 1.7 * target + 0.9 * target**2 + 0.31 * radius
    return share * first, share * second, 0.37 * share


class _DenseColumns:
    """Columns of some rows of an array, a chunk of rows at a time, which stays in the cache."""

    def __init__(self, X, rows):
        self.X, self.rows = X, rows
        self.plain = len(rows) == len(X) and bool((rows == np.arange(len(X))).all())

    def chunks(self):
        for a in range(0, len(self.rows), _CHUNK):
            part = slice(a, a + _CHUNK)
            raw = self.X[part] if self.plain else self.X[self.rows[part]]
            yield part, raw

    def standardise(self, share):
        self.mean = sum(share[part] @ raw for part, raw in self.chunks())
        variance = sum(share[part] @ (raw - self.mean) ** 2 for part, raw in self.chunks())
        self.scale = _inverse(variance, self.mean)

    def _z(self, raw):
        z = raw - self.mean
        z *= self.scale
        return z

    def radii(self):
        """Every row's squared distance from the mean, per column that is not constant."""
        out = np.empty(len(self.rows))
        for part, raw in self.chunks():
            z = self._z(raw)
            out[part] = np.square(z, out=z).sum(axis=1)
        return out / max((self.scale > 0).sum(), 1)

    def turn(self, share, target, radius):
        """Find the columns' directions and phases."""
        odd, even, self.tails = np.zeros((3, self.X.shape[1]))
        for part, raw in self.chunks():
            z, own = self._z(raw), _statistics(share[part], target[part], radius[part])
            odd += own[0] @ z
            square = z * z
            even += own[1] @ square
            z *= square
            odd += own[2] @ z
            square *= square
            self.tails += share[part] @ square
        self.sign = _sign(odd)
        self.phase = np.abs(odd) + even

    def fourth_powers(self, weight):
        return sum(weight[part] @ self._z(raw) ** 4 for part, raw in self.chunks())

    def _turned(self, raw):
        z = self._z(raw)
        symmetric = self.sign == 0.0
        z *= np.where(symmetric, 1.0, self.sign)
        if symmetric.any():
            z[:, symmetric] **= 2
        return z

    def waves(self):
        out = np.empty(len(self.rows))
        for part, raw in self.chunks():
            z = self._turned(raw)
            z *= _WAVES
            z += self.phase
            z -= np.rint(z)
            out[part] = np.square(z, out=z).sum(axis=1)
        return out


class _SparseColumns:
    """The same of a sparse matrix: what its zeros give, and how the other entries differ."""

    def __init__(self, X, rows):
        part = sparse.csr_matrix(X)[rows]
        self.index, self.data = part.indices, part.data
        self.row = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        self.shape = part.shape
        self.full = np.bincount(self.index, minlength=part.shape[1]) == part.shape[0]

    def _by_column(self, values):
        return np.bincount(self.index, values, minlength=self.shape[1])

    def _by_row(self, at_zero, values):
        """Sums over columns of ``at_zero`` and, where entries are stored, of `values` instead."""
        more = np.bincount(self.row, values - at_zero[self.index], minlength=self.shape[0])
        return at_zero.sum() + more

    def _weighted(self, weight, at_zero, values):
        """Weighted sums over rows, by column."""
        own = weight[self.row]
        zeros = np.where(self.full, 0.0, weight.sum() - self._by_column(own))
        return zeros * at_zero + self._by_column(own * values)

    def standardise(self, share):
        self.mean = self._by_column(share[self.row] * self.data)
        gap = self.data - self.mean[self.index]
        self.scale = _inverse(self._weighted(share, self.mean**2, gap**2), self.mean)

    def _z(self):
        """Standardised zeros of the columns, and the entries."""
        gap = self.data - self.mean[self.index]
        return -self.mean * self.scale, gap * self.scale[self.index]

    def radii(self):
        z0, z = self._z()
        return self._by_row(z0**2, z**2) / max((self.scale > 0).sum(), 1)

    def turn(self, share, target, radius):
        own, (z0, z) = _statistics(share, target, radius), self._z()
        odd, even, cube = (
            self._weighted(weight, z0**power, z**power)
            for weight, power in zip(own, (1, 2, 3), strict=True)
        )
        odd += cube
        self.tails = self.fourth_powers(share)
        self.sign = _sign(odd)
        self.phase = np.abs(odd) + even

    def fourth_powers(self, weight):
        z0, z = self._z()
        return self._weighted(weight, z0**4, z**4)

    def waves(self):
        z0, z = self._z()
        z0 = np.where(self.sign == 0.0, z0**2, z0 * self.sign)
        of_entry = self.sign[self.index]
        z = np.where(of_entry == 0.0, z**2, z * of_entry)
        at_zero = _wave(_WAVES * z0 + self.phase)
        return self._by_row(at_zero, _wave(_WAVES * z + self.phase[self.index]))
