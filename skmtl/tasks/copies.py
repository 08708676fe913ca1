"""Equal rows and whole-number weights, and their treatment in tuning.

Equal rows of a task are either copies (from a join, or in place of a weight of two), or equal by
chance, which is frequent in tables with few distinct values. In cross-validation, copies must stay
in one fold, because otherwise held-out rows would also be in the training folds. Rows that are
equal by chance must not stay together, because then a held-out row of a binary table would never
have an equal row in the training folds. The labels of rows with the same features decide: if they
agree far more often than the labels of any two rows of a task, or always, the rows are copies.
"""

from dataclasses import dataclass, replace

import numpy as np

from .cells import shared_cells
from .evidence import trust
from .keys import row_keys, uniforms

__all__ = [
    "MOST_PARTS", "Settled", "distinct_rows", "relative_rows", "relative_weights", "settle",
    "settle_support",
]  # fmt: skip

# Equal rows are due to chance if the labels of rows with the same features differ at least this
# fraction as often as those of other rows of the task or table, and the latter agree at least this
# fraction as often.
_CHANCE = 0.1
# With fewer distinct rows, all rows are assigned to folds separately.
_FEWEST = 4
# A whole-number weight is assigned to folds in at most this many parts.
MOST_PARTS = 1000


@dataclass(frozen=True)
class Settled:
    """Table whose rows and weights are ready for tuning.

    Attributes
    ----------
    table : TaskTable
        The table; its rows have keys.
    unit : float
        Factor by which the caller's weights were multiplied.
    together : bool
        Whether equal rows are copies, rather than equal by chance.
    counts : bool
        Whether weights are counts: all are whole numbers, and equal rows are due to chance.
    trust : ndarray of shape (n_features,)
        Factors for the scale of the columns, from `skmtl.tasks.evidence.trust`.
    """

    table: object
    unit: float = 1.0
    together: bool = True
    counts: bool = False
    trust: object = 1.0


def settle(table, fixed_rows=False, classes=False):
    """Add keys to the rows, detect copies, and normalise the weights.

    Copies are merged into one row with the sum of their weights. If equal rows are due to chance,
    whole-number weights are counts, and a row of weight two becomes two rows. Then counts are
    divided by their greatest common divisor, and other weights by their mean over distinct rows.

    Parameters
    ----------
    table : TaskTable
    fixed_rows : bool
        Change only the weights and not the rows, because these are already assigned to folds.
    classes : bool
        Whether the target holds codes of classes.

    Returns
    -------
    Settled
    """
    feature_keys, keys, tails = row_keys(table.X, table.y, table.sample_weight, table.rows)
    table = replace(table, keys=keys, cells=feature_keys)
    settled = _settle_rows(table, feature_keys, fixed_rows)
    table = settled.table
    table = replace(table, cells=shared_cells(table, table.cells))
    return replace(settled, table=table, trust=trust(table, tails, classes))


def _settle_rows(table, feature_keys, fixed_rows):
    weight = table.weights()
    counts = bool((weight == np.rint(weight)).all())
    groups = _Groups.of(table, feature_keys)
    if groups is None:
        return _divided(table, weight.sum() / len(weight), True)
    if groups.n_groups < _FEWEST:
        return _divided(groups.separated(table), weight.mean(), False)
    divisor = groups.divisor(weight) if counts else weight.mean()
    if not groups.due_to_chance(table, weight / divisor if counts else None):
        merged = table if fixed_rows else groups.merged(table)
        return _divided(merged, weight.sum() / groups.n_groups, True)
    if not fixed_rows:
        table = groups.repeated(table, divisor) if counts else groups.separated(table)
    return replace(_divided(table, divisor, False), counts=counts)


def settle_support(X, y, weight, settled):
    """Treat the rows of a new task as `settle` has treated the table.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y, weight : ndarray of shape (n_samples,)
    settled : Settled

    Returns
    -------
    X, y, weight
        Rows of weight zero are left out.
    """
    if settled.counts and (weight == np.rint(weight)).all():
        return X, y, weight * settled.unit
    live = np.flatnonzero(weight > 0)
    X, y, weight = X[live], y[live], weight[live]
    rows, weight = relative_rows(X, y, weight, settled.together)
    return X[rows], y[rows], weight


def relative_weights(weight, settled):
    """Return the weights of all rows of a task as numbers of rows: counts, or with a mean of one.

    Parameters
    ----------
    weight : ndarray of shape (n_samples,)
    settled : Settled
    """
    if settled.counts and (weight == np.rint(weight)).all():
        return weight
    return weight / weight[weight > 0].mean()


def relative_rows(X, y, weight, together):
    """Return the rows of a task, only distinct ones if `together`, and weights of mean one.

    Returns
    -------
    rows : ndarray of shape (n_kept,)
        Row numbers.
    weight : ndarray of shape (n_kept,)
    """
    rows = np.arange(len(y))
    if together:
        rows, weight = distinct_rows(X, y, weight)
    return rows, weight / weight.mean()


def distinct_rows(X, y, weight):
    """Return the first row of each group of equal rows, and the weight of each group."""
    values = np.column_stack([X, y]) + 0.0  # turns -0.0 into 0.0
    _, first, group = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(group.ravel(), weight)


def _divided(table, divisor, together):
    if divisor == 1.0:
        return Settled(table, 1.0, together)
    table = replace(table, sample_weight=table.weights() / divisor)
    return Settled(table, 1.0 / divisor, together)


@dataclass(frozen=True)
class _Groups:
    """Groups of equal rows of a task, and cells of rows with equal features.

    Attributes
    ----------
    order : ndarray of shape (n_packed,)
        Rows sorted by task, cell and group.
    start, cell_start : bool ndarray of shape (n_packed,)
        Whether a group or a cell begins at a position of this order.
    """

    order: np.ndarray
    start: np.ndarray
    cell_start: np.ndarray

    @classmethod
    def of(cls, table, feature_keys):
        """Find the groups; return None if no task has two rows with the same features.

        Parameters
        ----------
        table : TaskTable
            Table with keys.
        feature_keys : ndarray of shape (n_packed,)
            Keys of the rows without their labels.
        """
        ordered = np.sort(feature_keys)
        if not (ordered[1:] == ordered[:-1]).any():
            return None
        codes = table.codes
        # Rows with different labels may have equal keys if the target is symmetric.
        order = np.lexsort((table.weights(), table.y, table.keys, feature_keys, codes))
        codes, feature_keys, keys = codes[order], feature_keys[order], table.keys[order]
        cell = np.r_[True, (codes[1:] != codes[:-1]) | (feature_keys[1:] != feature_keys[:-1])]
        if cell.all():
            return None
        start = cell.copy()
        start[1:] |= keys[1:] != keys[:-1]
        same_key = np.flatnonzero(~start)
        start[same_key] = _differ(table, order[same_key], order[same_key - 1])
        return cls(order, start, cell)

    @property
    def n_groups(self):
        return int(self.start.sum())

    def _sums(self, values, start):
        return np.add.reduceat(values[self.order], np.flatnonzero(start))

    def due_to_chance(self, table, counts):
        """Return whether equal rows are due to chance, judged by how often labels agree.

        `counts` are the numbers of copies that each row stands for, or None.
        """
        counts = np.ones(len(self.order)) if counts is None else counts
        group, cell = self._sums(counts, self.start), self._sums(counts, self.cell_start)
        agree = (group**2 - group).sum() / max((cell**2 - cell).sum(), 1.0)
        chance = max(
            self._agreement(table.y, counts, codes, group, cell)
            for codes in (table.codes, np.zeros_like(table.codes))
        )
        if len(cell) == 1:  # all rows have the same features
            chance = agree
        return 1.0 - agree >= _CHANCE * (1.0 - chance) and chance >= _CHANCE * agree > 0.0

    @staticmethod
    def _agreement(y, counts, codes, group, cell):
        """Return how often labels agree between rows of one code and different cells."""
        label = np.unique(y, return_inverse=True)[1]
        _, label_in_code = np.unique(codes * (label.max() + 1) + label, return_inverse=True)
        pairs = (np.bincount(codes, counts) ** 2).sum() - (cell**2).sum()
        if pairs <= 1e-9 * (cell**2).sum():
            return 0.0
        return ((np.bincount(label_in_code, counts) ** 2).sum() - (group**2).sum()) / pairs

    def divisor(self, counts):
        """Return the greatest common divisor of the counts of the groups."""
        total = np.minimum(self._sums(counts, self.start), 2.0**53)
        return float(np.gcd.reduce(total.astype(np.int64)))

    def merged(self, table):
        """Return the table with one row per group, which has the weight of the group."""
        first = self.order[self.start]
        return _rebuilt(table, first, self._sums(table.weights(), self.start), table.keys[first])

    def separated(self, table):
        """Return the table with different keys for the rows of a group."""
        number = np.arange(len(self.order))
        number -= np.maximum.accumulate(np.where(self.start, number, 0))
        keys = table.keys.copy()
        keys[self.order] += uniforms(number.max() + 1)[number]
        return replace(table, keys=keys)

    def repeated(self, table, divisor):
        """Return the table with each group repeated as often as it counts, in units of `divisor`.

        A group becomes at most `MOST_PARTS` rows.
        """
        total = self._sums(table.weights(), self.start) / divisor
        n_parts = np.minimum(total, MOST_PARTS).astype(np.int64)
        first = np.repeat(self.order[self.start], n_parts)
        number = np.arange(len(first)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
        total, n_parts = np.repeat(total, n_parts), np.repeat(n_parts, n_parts)
        weight = np.floor(total * (number + 1) / n_parts) - np.floor(total * number / n_parts)
        keys = table.keys[first] + uniforms(number.max() + 1)[number]
        return _rebuilt(table, first, weight * divisor, keys)


def _differ(table, one, other):
    """Return whether packed rows differ in any feature or in the label."""
    X, y = table.X, table.y
    differ = X[table.rows[one]] != X[table.rows[other]]
    differ = differ.any(axis=1) if isinstance(X, np.ndarray) else differ.getnnz(axis=1) > 0
    return differ | (y[one] != y[other])


def _rebuilt(table, packed, weight, keys):
    """Return a table of the given packed rows, sorted by task."""
    codes = table.codes[packed]
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes, minlength=table.n_tasks)
    packed = packed[order]
    weight = None if (weight == 1.0).all() else weight[order]
    return replace(
        table, y=table.y[packed], sample_weight=weight, rows=table.rows[packed],
        offsets=np.r_[0, np.cumsum(sizes)], keys=keys[order], cells=table.cells[packed],
    )  # fmt: skip
