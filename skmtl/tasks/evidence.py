r"""Columns that next to no rows make up, and for whose slope there is no evidence.

A column that hardly varied is standardised to one that a handful of rows make up. Whatever slope
fits these rows multiplies every later row with an ordinary value there. Where a few outliers make
up a column that matters, such as an income, the slope is beyond doubt; where it is not, it is
pulled harder, and the column gets none where next to no rows make it up.
"""

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

__all__ = ["trust"]

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
    none = tails > max(total / _FEWEST_ROWS, 1.0 / _LEAST_SHARE)
    none |= tails > total / _ONE_ROW
    few, out = none | (tails > _LONG_TAILS), np.ones(len(tails))
    if not few.any():
        return out
    labels = (table.y[:, None] == np.unique(table.y)).astype(float) if classes else table.y[:, None]
    surprise = np.full(labels.shape[1], np.inf)
    if classes:
        surprise = -np.log(np.maximum(weight @ labels / total, 1e-300))
    parts = _Parts(codes, weight, table.n_tasks)
    targets = [parts.of(label) for label in labels.T]
    for j in np.flatnonzero(few):
        column = table.X[:, [j]].toarray()[:, 0] if sparse.issparse(table.X) else table.X[:, j]
        column = column[table.rows]
        most = surprise * weight[column != np.median(column)].sum()
        forms = [] if classes else [column]
        if (most > _EVIDENCE).any():
            forms.append(rankdata(column))
        told = np.zeros(len(targets))
        for form in forms:
            own = parts.of(form)
            told = np.maximum(told, [parts.evidence(own, target) for target in targets])
        if (np.minimum(told, most) <= _EVIDENCE).all():
            out[j] = 0.0 if none[j] else np.sqrt(_LONG_TAILS / tails[j])
    return out


class _Parts:
    """Variation within tasks, and between their means."""

    def __init__(self, codes, weight, n_tasks):
        self.codes, self.weight, self.n_tasks = codes, weight, n_tasks
        self.total = np.bincount(codes, weight, minlength=n_tasks)
        n_filled = (self.total > 0).sum()
        self.freedom = max(weight.sum() - n_filled - 1.0, 0.0), max(n_filled - 2.0, 0.0)

    def of(self, values):
        """Deviations from the tasks' means, and of these from the table's."""
        sums = np.bincount(self.codes, self.weight * values, minlength=self.n_tasks)
        means = sums / np.where(self.total > 0, self.total, 1.0)
        return values - means[self.codes], means - self.total @ means / self.total.sum()

    def evidence(self, one, other):
        """What a slope of one on the other raises the log-likelihood by, at most of the two."""
        pairs = zip((self.weight, self.total), one, other, self.freedom, strict=True)
        return max(_gain(*pair) for pair in pairs)


def _gain(weight, z, y, freedom):
    square = (weight @ z**2) * (weight @ y**2)
    if not square > 0.0:
        return 0.0
    left = max(1.0 - (weight @ (z * y)) ** 2 / square, 1e-15)
    return -0.5 * freedom * np.log(left)
