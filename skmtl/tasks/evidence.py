r"""Columns that next to no rows make up, and for whose slope there is no evidence.

A column that hardly varied is standardised to one that a handful of rows make up. Whatever slope
fits these rows multiplies every later row with an ordinary value there. Where a few outliers make
up a column that matters, such as an income, the slope is beyond doubt; where it is not, it is
pulled harder, and the column gets none where next to no rows make it up.
"""

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

__all__ = ["trust", "trust_of_moments"]

# Next to no rows are so few that are so small a share of the rows, or hardly more than one.
_FEWEST_ROWS, _LEAST_SHARE, _ONE_ROW = 5.0, 0.01, 1.25
# Mean fourth powers beyond which few rows make a column up: those of a level that a row in thirty
# has. Of few rows they are noise below that.
_LONG_TAILS = 30.0
# What a slope must raise the log-likelihood by: of noise one column in 100,000 does.
_EVIDENCE = 10.0


def trust(table, tails, classes=False):
    """What the columns' scale is multiplied by.

    The evidence for a slope is what it raises the Gaussian log-likelihood by, within tasks or
    between their means, for the column as it is or, less dependent on single rows, for its ranks.
    Labels that are classes tell at most the information of the rows whose value is not the
    commonest one.

    Parameters
    ----------
    table : TaskTable
        With weights in units of rows.
    tails : ndarray of shape (n_features,)
        From `row_keys`.
    classes : bool
        The target holds codes of classes.

    Returns
    -------
    ndarray of shape (n_features,)
        One but for columns that few rows make up and for whose slope there is no evidence: in
        proportion to the root of how few these are, and zero where they are next to none.
    """
    weight = table.weights()
    total, codes = weight.sum(), table.codes
    times = _times_told(table)
    few, pulled = _made_by_few(tails, total / times)
    if not few.any():
        return pulled
    needed = _EVIDENCE * times
    labels = (table.y[:, None] == np.unique(table.y)).astype(float) if classes else table.y[:, None]
    surprise = np.full(labels.shape[1], np.inf)
    if classes:
        surprise = -np.log(np.maximum(weight @ labels / total, 1e-300))
    parts = _Parts(codes, weight, table.n_tasks)
    targets = [parts.target(label) for label in labels.T]
    X = table.X.tocsc() if sparse.issparse(table.X) else table.X
    for j in np.flatnonzero(few):
        column = X[:, [j]].toarray()[:, 0] if sparse.issparse(X) else X[:, j]
        column = column[table.rows]
        off = column != np.median(column)
        most = surprise * weight[off].sum()
        forms = [] if classes else [column]
        if (most > needed).any():
            two = np.ptp(column[off]) == 0.0  # of which the ranks say the same
            forms = [column] if two else [*forms, rankdata(column)]
        told = (np.minimum(parts.evidence(form, targets), most) for form in forms)
        if any((gains > needed).any() for gains in told):
            pulled[j] = 1.0
    return pulled


def _times_told(table):
    """In how many tasks a row of X stands: those of a 2-D y share its rows."""
    n_rows, rows = table.X.shape[0], table.rows
    if len(rows) <= n_rows:
        return 1.0
    pairs = np.unique(table.codes * n_rows + rows)
    return len(pairs) / len(np.unique(pairs % n_rows))


def trust_of_moments(moments, tails):
    """`trust` by the moments of the tasks' rows, of shape (n_tasks,), and their numbers as labels.

    Without ranks, for which rows would be needed.
    """
    few, pulled = _made_by_few(tails, moments.weight.sum())
    weight, freedom = moments.weight, _freedom(moments.weight)
    products = moments.scatter.sum(axis=0)
    gaps = moments.mean - weight @ moments.mean / weight.sum()
    between = (weight[:, None] * gaps).T @ gaps
    for j in np.flatnonzero(few):
        told = [
            _gain(p[j, j], p[-1, -1], p[j, -1], own)
            for p, own in zip((products, between), freedom, strict=True)
        ]
        if max(told) > _EVIDENCE:
            pulled[j] = 1.0
    return pulled


def _made_by_few(tails, total):
    """Which columns few of so many rows make up, and what these are trusted without evidence."""
    none = tails > max(total / _FEWEST_ROWS, 1.0 / _LEAST_SHARE)
    none |= tails > total / _ONE_ROW
    few = none | (tails > _LONG_TAILS)
    pulled = np.sqrt(_LONG_TAILS / np.maximum(tails, _LONG_TAILS))
    return few, np.where(none, 0.0, pulled)


def _freedom(weight):
    """Degrees of freedom of a slope within tasks of these weights, and between their means."""
    n_filled = (weight > 0).sum()
    return max(weight.sum() - n_filled - 1.0, 0.0), max(n_filled - 2.0, 0.0)


class _Parts:
    """Variation within tasks, and between their means."""

    def __init__(self, codes, weight, n_tasks):
        self.codes, self.n_tasks = codes, n_tasks
        self.weights = weight, np.bincount(codes, weight, minlength=n_tasks)
        self.freedom = _freedom(self.weights[1])

    def of(self, values):
        """Deviations from the tasks' means, and of these from the table's."""
        weight, total = self.weights
        sums = np.bincount(self.codes, weight * values, minlength=self.n_tasks)
        means = sums / np.where(total > 0, total, 1.0)
        return values - means[self.codes], means - total @ means / total.sum()

    def target(self, values):
        """The same deviations, each with the sum of its squares."""
        parts = zip(self.of(values), self.weights, strict=True)
        return [(gap, weight @ gap**2) for gap, weight in parts]

    def evidence(self, values, targets):
        """What a slope raises each target's log-likelihood by, at most of the two parts."""
        out = np.zeros(len(targets))
        for part, (z, weight) in enumerate(zip(self.of(values), self.weights, strict=True)):
            z, own = weight * z, weight @ z**2
            gains = [_gain(own, t[part][1], z @ t[part][0], self.freedom[part]) for t in targets]
            out = np.maximum(out, gains)
        return out


def _gain(zz, yy, zy, freedom):
    """Half the degrees of freedom times what the squares fall by, in logarithms."""
    if not zz * yy > 0.0:
        return 0.0
    return -0.5 * freedom * np.log(max(1.0 - zy**2 / (zz * yy), 1e-15))
