"""Equal rows, whole-number weights, and what a row then counts in tuning.

Equal rows of a task are copies, made by a join or given as a weight of two, or they are due to
chance: of tables with few distinct values two observations are often equal. In cross-validation
copies must stay together, as what is held out would else have been seen; chance must not, as every
held-out row of a binary table would else take its like along. How often the labels of rows with the
same features agree tells which: labels that agree far more often than those of two rows of a task
at large, or that never differ, mean copies.
"""

from dataclasses import dataclass, replace

import numpy as np

from .evidence import trust
from .keys import row_keys, uniforms

__all__ = [
    "MOST_PARTS", "Settled", "distinct_rows", "relative_rows", "settle", "settle_support",
]  # fmt: skip

# Equal rows are due to chance where the labels of rows with the same features differ at least so
# many times as often as those of other rows of the task, or of the table, which must agree that
# many times as often.
_CHANCE = 0.1
# With fewer distinct rows there is nothing to deal.
_FEWEST = 4
# A weight is dealt to folds in at most so many parts.
MOST_PARTS = 1000


@dataclass(frozen=True)
class Settled:
    """A table in whose weights and rows strengths can be tuned.

    Attributes
    ----------
    table : TaskTable
        Its rows have keys.
    unit : float
        What the caller's weights were multiplied by.
    together : bool
        Whether equal rows are copies, rather than due to chance.
    counts : bool
        Whether weights are counts: equal rows are due to chance, and all weights whole numbers.
    trust : ndarray of shape (n_features,)
        What the columns' scale is multiplied by, from the function of this name.
    """

    table: object
    unit: float = 1.0
    together: bool = True
    counts: bool = False
    trust: object = 1.0


def settle(table, fixed_rows=False, classes=False):
    """Give rows their keys, tell copies from chance, and bring weights to a unit of their own.

    Copies become one row that weighs as much as they do. Where equal rows are due to chance,
    whole-number weights are counts, and a row of weight two becomes two rows. All weights are then
    relative: divided by their mean over distinct rows, counts by their greatest common divisor.

    Parameters
    ----------
    table : TaskTable
    fixed_rows : bool
        Only tell the unit, and leave the rows, which are assigned to folds already.
    classes : bool
        The target holds codes of classes.

    Returns
    -------
    Settled
    """
    of_features, keys, tails = row_keys(table.X, table.y, table.sample_weight, table.rows)
    table = replace(table, keys=keys)
    settled = _settled(table, of_features, fixed_rows)
    return replace(settled, trust=trust(settled.table, tails, classes))


def _settled(table, of_features, fixed_rows):
    weight = table.weights()
    counts = bool((weight == np.rint(weight)).all())
    groups = _Groups.of(table, of_features)
    if groups is not None and groups.n_groups < _FEWEST:
        return _in_unit(groups.apart(table), weight.mean(), False)
    divisor = groups.divisor(weight) if counts and groups is not None else weight.mean()
    together = groups is None or not groups.due_to_chance(
        table, weight / divisor if counts else None
    )
    if together:
        if groups is not None and not fixed_rows:
            table = groups.merged(table)
        n_distinct = len(weight) if groups is None else groups.n_groups
        return _in_unit(table, weight.sum() / n_distinct, True)
    if not fixed_rows:
        table = groups.parted(table, divisor) if counts else groups.apart(table)
    return replace(_in_unit(table, divisor, False), counts=counts)


def settle_support(X, y, weight, settled):
    """The rows of a new task as `settle` has them, given what it told of the table.

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


def relative_rows(X, y, weight, together):
    """Which rows of a task are distinct, if equal ones are copies, and weights of mean one.

    Returns
    -------
    rows : ndarray of shape (n_kept,)
    weight : ndarray of shape (n_kept,)
    """
    rows = np.arange(len(y))
    if together:
        rows, weight = distinct_rows(X, y, weight)
    return rows, weight / weight.mean()


def distinct_rows(X, y, weight):
    """One of each group of equal rows, and the group's weight."""
    values = np.column_stack([X, y]) + 0.0  # -0.0 is 0.0
    _, first, group = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(group.ravel(), weight)


def _in_unit(table, divisor, together):
    if divisor == 1.0:
        return Settled(table, 1.0, together)
    table = replace(table, sample_weight=table.weights() / divisor)
    return Settled(table, 1.0 / divisor, together)


@dataclass(frozen=True)
class _Groups:
    """Rows of a task that are equal, and cells of rows that are equal but for the label.

    Attributes
    ----------
    order : ndarray of shape (n_packed,)
        Rows by task, cell and group.
    start, cell_start : bool ndarray of shape (n_packed,)
        Where a group, and a cell, begins in that order.
    """

    order: np.ndarray
    start: np.ndarray
    cell_start: np.ndarray

    @classmethod
    def of(cls, table, of_features):
        """None where no task has two rows with the same features.

        Parameters
        ----------
        table : TaskTable
            With keys.
        of_features : ndarray of shape (n_packed,)
            Keys of the rows without their labels.
        """
        ordered = np.sort(of_features)
        if not (ordered[1:] == ordered[:-1]).any():
            return None
        codes = table.codes
        # Labels whose direction nothing tells may have equal keys.
        order = np.lexsort((table.weights(), table.y, table.keys, of_features, codes))
        codes, of_features, keys = codes[order], of_features[order], table.keys[order]
        cell = np.r_[True, (codes[1:] != codes[:-1]) | (of_features[1:] != of_features[:-1])]
        if cell.all():
            return None
        start = cell.copy()
        start[1:] |= keys[1:] != keys[:-1]
        alike = np.flatnonzero(~start)
        start[alike] = _differ(table, order[alike], order[alike - 1])
        return cls(order, start, cell)

    @property
    def n_groups(self):
        return int(self.start.sum())

    def _sums(self, values, start):
        return np.add.reduceat(values[self.order], np.flatnonzero(start))

    def due_to_chance(self, table, counts):
        """Whether equal rows are, by how often labels agree; `counts` are the rows' or None."""
        counts = np.ones(len(self.order)) if counts is None else counts
        group, cell = self._sums(counts, self.start), self._sums(counts, self.cell_start)
        pairs = (cell**2 - cell).sum()
        agree = (group**2 - group).sum() / max(pairs, 1.0)
        chance = max(
            self._agreement(table.y, counts, codes, group, cell)
            for codes in (table.codes, np.zeros_like(table.codes))
        )
        if len(cell) == 1:  # there is nothing but equal features
            chance = agree
        return 1.0 - agree >= _CHANCE * (1.0 - chance) and chance >= _CHANCE * agree > 0.0

    @staticmethod
    def _agreement(y, counts, codes, group, cell):
        """How often labels agree of two rows of the same code, but of different cells."""
        label = np.unique(y, return_inverse=True)[1]
        _, of_code = np.unique(codes * (label.max() + 1) + label, return_inverse=True)
        pairs = (np.bincount(codes, counts) ** 2).sum() - (cell**2).sum()
        if pairs <= 1e-9 * (cell**2).sum():
            return 0.0
        return ((np.bincount(of_code, counts) ** 2).sum() - (group**2).sum()) / pairs

    def divisor(self, counts):
        """The greatest common divisor of the groups' counts."""
        total = np.minimum(self._sums(counts, self.start), 2.0**53)
        return float(np.gcd.reduce(total.astype(np.int64)))

    def merged(self, table):
        """The table with one row for each group, which weighs as much as the group."""
        first = self.order[self.start]
        weight = self._sums(table.weights(), self.start)
        return _rebuilt(table, table.codes[first], first, weight, table.keys[first])

    def apart(self, table):
        """The table with another key for each row of a group."""
        place = np.arange(len(self.order))
        place -= np.maximum.accumulate(np.where(self.start, place, 0))
        keys = table.keys.copy()
        keys[self.order] += uniforms(place.max() + 1)[place]
        return replace(table, keys=keys)

    def parted(self, table, divisor):
        """The table with so many rows for each group as it counts, in multiples of `divisor`."""
        total = self._sums(table.weights(), self.start) / divisor
        n_parts = np.minimum(total, MOST_PARTS).astype(np.int64)
        first = np.repeat(self.order[self.start], n_parts)
        place = np.arange(len(first)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
        total, n_parts = np.repeat(total, n_parts), np.repeat(n_parts, n_parts)
        weight = np.floor(total * (place + 1) / n_parts) - np.floor(total * place / n_parts)
        keys = table.keys[first] + uniforms(place.max() + 1)[place]
        return _rebuilt(table, table.codes[first], first, weight * divisor, keys)


def _differ(table, one, other):
    """Whether rows of a table differ in any feature or in the label."""
    X, y = table.X, table.y
    a, b = table.rows[one], table.rows[other]
    unlike = X[a] != X[b]
    unlike = unlike.any(axis=1) if isinstance(X, np.ndarray) else unlike.getnnz(axis=1) > 0
    return unlike | (y[one] != y[other])


def _rebuilt(table, codes, packed, weight, keys):
    """A table of some of the packed rows, one for each code, sorted by task."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes, minlength=table.n_tasks)
    packed = packed[order]
    weight = None if (weight == 1.0).all() else weight[order]
    return replace(
        table, y=table.y[packed], sample_weight=weight, rows=table.rows[packed],
        offsets=np.r_[0, np.cumsum(sizes)], keys=keys[order],
    )  # fmt: skip
