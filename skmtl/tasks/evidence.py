r"""Columns whose variance comes from few rows, and the evidence for their slopes.

After standardisation, the variance of an almost constant column comes from a handful of rows. A
slope fitted to these rows can be far off for later rows with other values. In a column that
matters, such as an income with a few outliers, there is clear evidence for the slope. Without such
evidence the slope is shrunk more, and to zero if the variance comes from almost no rows.
"""

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

__all__ = ["trust", "trust_of_moments"]

# The variance comes from almost no rows if from fewer rows than this and from a smaller share of
# the rows than this, or from hardly more than one row.
_FEWEST_ROWS, _LEAST_SHARE, _ONE_ROW = 5.0, 0.01, 1.25
# The variance comes from few rows if the mean fourth power exceeds this, the value of an indicator
# that is one in a thirtieth of the rows. In small tables, smaller values are noise.
_LONG_TAILS = 30.0
# Required increase of the log-likelihood by a slope; one column of noise in 100,000 reaches it.
_EVIDENCE = 10.0


def trust(table, tails, classes=False):
    """Return factors for the scale of the columns.

    The evidence for a slope is the increase of the Gaussian log-likelihood, within tasks or between
    their means, for the column or for its ranks, which depend less on single rows. For classes, the
    evidence is at most the information in the labels of the rows that differ from the median.

    Parameters
    ----------
    table : TaskTable
        Table with weights in units of rows.
    tails : ndarray of shape (n_features,)
        Mean fourth powers of the standardised columns, from `row_keys`.
    classes : bool
        Whether the target holds codes of classes.

    Returns
    -------
    ndarray of shape (n_features,)
        One, except for columns whose variance comes from few rows and for whose slope there is no
        evidence: then proportional to the root of the number of these rows, and zero for almost no
        rows.
    """
    weight = table.weights()
    total, repeats = weight.sum(), _tasks_per_row(table)
    few, factor = _from_few_rows(tails, total / repeats)
    if not few.any():
        return factor
    needed = _EVIDENCE * repeats
    labels = (table.y[:, None] == np.unique(table.y)).astype(float) if classes else table.y[:, None]
    information = np.full(labels.shape[1], np.inf)
    if classes:
        information = -np.log(np.maximum(weight @ labels / total, 1e-300))
    parts = _WithinAndBetween(table.codes, weight, table.n_tasks)
    targets = [parts.target(label) for label in labels.T]
    X = table.X.tocsc() if sparse.issparse(table.X) else table.X
    for j in np.flatnonzero(few):
        column = X[:, [j]].toarray()[:, 0] if sparse.issparse(X) else X[:, j]
        column = column[table.rows]
        off = column != np.median(column)
        most = information * weight[off].sum()
        forms = [] if classes else [column]
        if (most > needed).any():
            two_values = np.ptp(column[off]) == 0.0  # the ranks are a linear function of them
            forms = [column] if two_values else [*forms, rankdata(column)]
        if any((np.minimum(parts.gains(form, targets), most) > needed).any() for form in forms):
            factor[j] = 1.0
    return factor


def _tasks_per_row(table):
    """Return the mean number of tasks of a row of X: the tasks of a 2-D y share the rows."""
    n_rows, rows = table.X.shape[0], table.rows
    if len(rows) <= n_rows:
        return 1.0
    pairs = np.unique(table.codes * n_rows + rows)
    return len(pairs) / len(np.unique(pairs % n_rows))


def trust_of_moments(moments, tails):
    """Return the factors of `trust` from the moments of each task, for a target of numbers.

    Ranks are not used, because they require the rows.
    """
    few, factor = _from_few_rows(tails, moments.weight.sum())
    weight, freedom = moments.weight, _freedom(moments.weight)
    gaps = moments.mean - weight @ moments.mean / weight.sum()
    parts = moments.total_scatter(), (weight[:, None] * gaps).T @ gaps
    for j in np.flatnonzero(few):
        gains = (
            _gain(products[j, j], products[-1, -1], products[j, -1], n)
            for products, n in zip(parts, freedom, strict=True)
        )
        if max(gains) > _EVIDENCE:
            factor[j] = 1.0
    return factor


def _from_few_rows(tails, total):
    """Return which columns get their variance from few rows, and their factors without evidence."""
    almost_none = tails > max(total / _FEWEST_ROWS, 1.0 / _LEAST_SHARE)
    almost_none |= tails > total / _ONE_ROW
    factor = np.sqrt(_LONG_TAILS / np.maximum(tails, _LONG_TAILS))
    return almost_none | (tails > _LONG_TAILS), np.where(almost_none, 0.0, factor)


def _freedom(weight):
    """Return the degrees of freedom of a slope within tasks and between their means."""
    n_filled = (weight > 0).sum()
    return max(weight.sum() - n_filled - 1.0, 0.0), max(n_filled - 2.0, 0.0)


class _WithinAndBetween:
    """Deviations within tasks, and between their means."""

    def __init__(self, codes, weight, n_tasks):
        self.codes, self.n_tasks = codes, n_tasks
        self.weights = weight, np.bincount(codes, weight, minlength=n_tasks)
        self.freedom = _freedom(self.weights[1])

    def deviations(self, values):
        """Return deviations from the tasks' means, and deviations of these from their mean."""
        weight, total = self.weights
        sums = np.bincount(self.codes, weight * values, minlength=self.n_tasks)
        means = sums / np.where(total > 0, total, 1.0)
        return values - means[self.codes], means - total @ means / total.sum()

    def target(self, values):
        """Return both deviations, each with its sum of squares."""
        parts = zip(self.deviations(values), self.weights, strict=True)
        return [(gap, weight @ gap**2) for gap, weight in parts]

    def gains(self, values, targets):
        """Return the increase of each target's log-likelihood, the larger one of the two parts."""
        out = np.zeros(len(targets))
        parts = zip(self.deviations(values), self.weights, self.freedom, strict=True)
        for part, (z, weight, n) in enumerate(parts):
            z, zz = weight * z, weight @ z**2
            out = np.maximum(out, [_gain(zz, t[part][1], z @ t[part][0], n) for t in targets])
        return out


def _gain(zz, yy, zy, freedom):
    """Return half the degrees of freedom times the decrease of the log sum of squares."""
    if not zz * yy > 0.0:
        return 0.0
    return -0.5 * freedom * np.log(max(1.0 - zy**2 / (zz * yy), 1e-15))
