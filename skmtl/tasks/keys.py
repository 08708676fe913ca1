r"""Keys of rows: numbers that depend only on the content of a table.

Rows are assigned to folds, and tasks and rows are sampled, in the order of their keys, so that
results do not depend on the order of rows or columns, nor on units, shifts and signs of columns.

Columns are standardised over the table and oriented so that a fixed odd statistic of each is
positive. The key of a row is the fractional part of a large multiple of

.. math:: \sum_j \tau(\omega z_{ij} + \phi_j) + \tau(\omega y_i),

where :math:`\tau` is the squared distance to the nearest integer (the distance itself is piecewise
linear and could give equal sums to different rows). The phase :math:`\phi_j` is computed from the
statistics of column j, so that swapping the values of two columns changes the key. The sum is
continuous in the data: rounding changes a key by about 1e-12 and, unlike a hash of the bits, hardly
ever changes the order of two rows. The multiple is large enough that rows with similar values are
not next to each other in the order.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = [
    "ColumnUnits", "RowKeys", "by_size", "evenly_by_size", "mixed", "row_keys", "row_order",
    "uniforms",
]  # fmt: skip

_WAVES = 3.3  # omega, per standard deviation
_LEAST_MULTIPLE, _MOST_MULTIPLE = 500.0, 1500.0  # of the sum
_CHUNK = 8192  # rows processed at a time
_GRID = 2.0**33  # keys are rounded to multiples of 1 / _GRID
# A column whose odd statistic is below this is symmetric, and its squares are used.
_SYMMETRIC = 1e-9
_GOLDEN = 0.6180339887498949


def row_keys(X, y, weight=None, rows=None):
    """Return keys of labelled rows, before `mixed` makes their order random.

    Parameters
    ----------
    X : ndarray or csr matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_rows,)
        Numbers, or codes of classes.
    weight : ndarray of shape (n_rows,), optional
    rows : ndarray of shape (n_rows,), optional
        The row of X that each label belongs to; by default all rows in order.

    Returns
    -------
    feature_keys, keys : ndarray of shape (n_rows,)
        Keys of the rows without and with their labels. Equal rows have equal keys, and so have
        rows that differ only by the order and the direction of the columns of the table.
    tails : ndarray of shape (n_features,)
        Mean fourth powers of the standardised columns: 3 for the normal distribution, and about
        the number of rows divided by k if k rows make up the variance of a column.
    """
    if rows is not None and _is_permutation(rows, X.shape[0]):
        inverse = np.empty_like(rows)  # processing X in its own order takes a third of the time
        inverse[rows] = np.arange(len(rows))
        weight = None if weight is None else weight[inverse]
        feature_keys, keys, tails = row_keys(X, y[inverse], weight)
        return feature_keys[rows], keys[rows], tails
    columns, target, _ = _learned(X, y, weight, rows)
    feature_keys = columns.waves()
    keys = feature_keys + _wave(_WAVES * target)
    return _rounded(feature_keys), _rounded(keys), columns.tails


@dataclass(frozen=True)
class ColumnUnits:
    """Means and scales of the features in the first rows, in which fourth powers are summed.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
    """

    mean: np.ndarray
    scale: np.ndarray

    def fourth_powers(self, X, weight, rows):
        """Return the sums of fourth powers of the standardised columns, ``(n_features,)``."""
        columns = _columns(X, rows)
        columns.mean, columns.scale = self.mean, self.scale
        return columns.fourth_powers(weight)


@dataclass(frozen=True)
class RowKeys:
    """Keys of rows that arrive in batches, from the statistics of the first batch.

    Attributes
    ----------
    mean, scale, sign, phase : ndarray of shape (n_features,)
        Statistics of the columns.
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
        """Compute the statistics of some rows; a single row or equal rows are allowed."""
        columns, _, (mean, scale, sign) = _learned(X, y, weight, rows)
        target = mean, float(_positive_scale(scale, mean)), sign
        scale = _positive_scale(columns.scale, columns.mean)
        return cls(columns.mean, scale, columns.sign, columns.phase, target)

    def keys(self, X, y, rows):
        """Return the keys of labelled rows; see `row_keys`."""
        mean, scale, sign = self.target
        target = _oriented((y - mean) * scale, sign)
        return _rounded(self._columns(X, rows).waves() + _wave(_WAVES * target))

    def feature_keys(self, X, rows):
        """Return the keys of rows without their labels."""
        return _rounded(self._columns(X, rows).waves())

    def fourth_powers(self, X, weight, rows):
        """Return the sums of fourth powers of the standardised columns, ``(n_features,)``."""
        return self._columns(X, rows).fourth_powers(weight)

    def _columns(self, X, rows):
        columns = _columns(X, rows)
        columns.mean, columns.scale = self.mean, self.scale
        columns.sign, columns.phase = self.sign, self.phase
        return columns


def _rounded(keys):
    """Round keys, so that rows that are equal up to rounding errors have equal keys."""
    return np.rint(keys * _GRID) / _GRID


def _is_permutation(rows, n):
    return len(rows) == n and bool((np.bincount(rows, minlength=n) == 1).all())


def _learned(X, y, weight, rows):
    """Return the columns with their statistics, the oriented target, and its statistics."""
    rows = np.arange(len(y)) if rows is None else rows
    share = np.full(len(y), 1.0 / len(y)) if weight is None else weight / weight.sum()
    columns = _columns(X, rows)
    columns.standardise(share)
    mean = share @ y
    gap = y - mean
    scale = float(_inverse_std(share @ gap**2, mean))
    target, radius = gap * scale, columns.radii()
    sign = float(_sign(share @ (target * radius) + 0.37 * (share @ target**3)))
    target = _oriented(target, sign)
    odd, even = columns.statistics(share, target, radius)
    columns.sign, columns.phase = _sign(odd), np.abs(odd) + even
    return columns, target, (mean, scale, sign)


def _positive_scale(scale, mean):
    """Return a scale for later rows, also of columns that were constant in the first batch."""
    size = np.where(mean == 0.0, 1.0, np.maximum(np.abs(mean), 1e-150))
    return np.where(scale > 0.0, scale, 1.0 / size)


def _columns(X, rows):
    return (_SparseColumns if sparse.issparse(X) else _DenseColumns)(X, rows)


def mixed(keys, seed=0):
    """Shuffle the order of keys: return the fractional parts of a multiple chosen by `seed`."""
    fraction = (_GOLDEN * (seed % 10**6 + 1)) % 1.0
    return (keys * (_LEAST_MULTIPLE + (_MOST_MULTIPLE - _LEAST_MULTIPLE) * fraction)) % 1.0


def row_order(table):
    """Return the order of the packed rows by task and key; `table` has keys."""
    # Keys may be equal for other weights, or for the opposite label in a symmetric target.
    return np.lexsort((table.weights(), table.y, mixed(table.keys), table.codes))


def uniforms(n):
    """Return the first ``n`` numbers of a fixed pseudo-random sequence in [0, 1) (SplitMix64)."""
    with np.errstate(over="ignore"):
        z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) / 2.0**64


def by_size(sizes, content):
    """Return the order of tasks by size and, for sizes that are equal up to rounding, content."""
    with np.errstate(divide="ignore"):
        return np.lexsort((content, np.rint(np.log(sizes) * 1e9)))


def evenly_by_size(sizes, content, most):
    """Choose at most `most` of the tasks with rows, evenly over the order of their sizes."""
    order = by_size(sizes, content)
    order = order[sizes[order] > 0]
    picks = np.round(np.linspace(0, len(order) - 1, min(most, len(order))))
    return order[picks.astype(np.int64)]


def _wave(values):
    """Return the squared distance to the nearest integer."""
    return (values - np.rint(values)) ** 2


def _inverse_std(variance, mean):
    """Return 1 / standard deviation, and 0 for columns that are constant up to rounding."""
    constant = variance <= (100.0 * np.finfo(np.float64).eps * mean) ** 2
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))


def _sign(statistic):
    return np.where(np.abs(statistic) < _SYMMETRIC, 0.0, np.sign(statistic))


def _oriented(z, sign):
    """Return standardised numbers times their sign; their squares if they are symmetric."""
    return z * sign if sign else z**2


def _power_weights(share, target, radius):
    """Return the weights of the first, second and third powers of a column in its statistics."""
    first = target + 0.41 * target**2 + 0.53 * radius + 0.29 * target * radius
    second = 1.7 * target + 0.9 * target**2 + 0.31 * radius
    return share * first, share * second, 0.37 * share


class _DenseColumns:
    """Columns of some rows of an array, processed in chunks of rows that fit into the cache."""

    def __init__(self, X, rows):
        self.X, self.rows = X, rows
        self.in_order = len(rows) == len(X) and bool((rows == np.arange(len(X))).all())

    def chunks(self):
        for a in range(0, len(self.rows), _CHUNK):
            part = slice(a, a + _CHUNK)
            yield part, self.X[part] if self.in_order else self.X[self.rows[part]]

    def standardise(self, share):
        self.mean = sum(share[part] @ raw for part, raw in self.chunks())
        variance = sum(share[part] @ (raw - self.mean) ** 2 for part, raw in self.chunks())
        self.scale = _inverse_std(variance, self.mean)

    def _z(self, raw):
        z = raw - self.mean
        z *= self.scale
        return z

    def radii(self):
        """Return each row's squared distance from the mean, divided by the varying columns."""
        out = np.empty(len(self.rows))
        for part, raw in self.chunks():
            z = self._z(raw)
            out[part] = np.square(z, out=z).sum(axis=1)
        return out / max((self.scale > 0).sum(), 1)

    def statistics(self, share, target, radius):
        """Return an odd and an even statistic of each column, and store the fourth powers."""
        odd, even, self.tails = np.zeros((3, self.X.shape[1]))
        for part, raw in self.chunks():
            z, weights = self._z(raw), _power_weights(share[part], target[part], radius[part])
            odd += weights[0] @ z
            square = z * z
            even += weights[1] @ square
            z *= square
            odd += weights[2] @ z
            square *= square
            self.tails += share[part] @ square
        return odd, even

    def fourth_powers(self, weight):
        return sum(weight[part] @ self._z(raw) ** 4 for part, raw in self.chunks())

    def waves(self):
        """Return each row's sum over the columns of the waves in its key."""
        out, symmetric = np.empty(len(self.rows)), self.sign == 0.0
        for part, raw in self.chunks():
            z = self._z(raw)
            z *= np.where(symmetric, 1.0, self.sign)
            if symmetric.any():
                z[:, symmetric] **= 2
            z *= _WAVES
            z += self.phase
            z -= np.rint(z)
            out[part] = np.square(z, out=z).sum(axis=1)
        return out


class _SparseColumns:
    """`_DenseColumns` for a sparse matrix: sums over zeros plus sums over stored entries."""

    def __init__(self, X, rows):
        part = sparse.csr_matrix(X)[rows]
        self.index, self.data = part.indices, part.data
        self.row = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        self.shape = part.shape
        self.full = np.bincount(self.index, minlength=part.shape[1]) == part.shape[0]

    def _by_column(self, values):
        return np.bincount(self.index, values, minlength=self.shape[1])

    def _by_row(self, at_zero, values):
        """Return sums over columns: `values` of stored entries, and `at_zero` of the zeros."""
        more = np.bincount(self.row, values - at_zero[self.index], minlength=self.shape[0])
        return at_zero.sum() + more

    def _weighted(self, weight, at_zero, values):
        """Return weighted sums over rows, for each column."""
        entry_weight = weight[self.row]
        zeros = np.where(self.full, 0.0, weight.sum() - self._by_column(entry_weight))
        return zeros * at_zero + self._by_column(entry_weight * values)

    def standardise(self, share):
        self.mean = self._by_column(share[self.row] * self.data)
        squares = (self.data - self.mean[self.index]) ** 2
        self.scale = _inverse_std(self._weighted(share, self.mean**2, squares), self.mean)

    def _z(self):
        """Return the standardised zero of each column, and the standardised entries."""
        entries = (self.data - self.mean[self.index]) * self.scale[self.index]
        return -self.mean * self.scale, entries

    def radii(self):
        z0, z = self._z()
        return self._by_row(z0**2, z**2) / max((self.scale > 0).sum(), 1)

    def statistics(self, share, target, radius):
        weights, (z0, z) = _power_weights(share, target, radius), self._z()
        odd, even, cube = (
            self._weighted(weight, z0**power, z**power)
            for weight, power in zip(weights, (1, 2, 3), strict=True)
        )
        self.tails = self.fourth_powers(share)
        return odd + cube, even

    def fourth_powers(self, weight):
        z0, z = self._z()
        return self._weighted(weight, z0**4, z**4)

    def waves(self):
        z0, z = self._z()
        z0 = np.where(self.sign == 0.0, z0**2, z0 * self.sign)
        sign = self.sign[self.index]
        z = np.where(sign == 0.0, z**2, z * sign)
        at_zero = _wave(_WAVES * z0 + self.phase)
        return self._by_row(at_zero, _wave(_WAVES * z + self.phase[self.index]))
