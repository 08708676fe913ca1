"""Columns that a learner is fitted on: features, and the task as a category or a number."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Design", "Rows", "TargetMeans", "content_order", "encoded"]

# scikit-learn's trees take categories of at most this many levels.
_MOST_LEVELS = 254
_KEY_DIGITS = 9  # of the keys that columns are sorted by


@dataclass
class Rows:
    """Rows to fit or to predict.

    Attributes
    ----------
    X : {ndarray, csr matrix} of shape (n_rows, n_features)
        Features after preprocessing, for linear models.
    view : ndarray of shape (n_rows, n_columns) or None
        Features for learners (`LearnerView`).
    codes : ndarray of shape (n_rows,)
        Task of each row; -1 for an unseen task.
    """

    X: object
    view: np.ndarray | None
    codes: np.ndarray

    def take(self, chosen):
        """Return some of the rows."""
        view = None if self.view is None else self.view[chosen]
        return Rows(self.X[chosen], view, self.codes[chosen])


def encoded(target, n_scores):
    """Return targets ``(n_rows, n_scores)`` as a loss sees them: 0 and 1 for codes of classes."""
    if n_scores == 1:
        return target[:, None]
    return (target[:, None] == np.arange(n_scores)).astype(np.float64)


@dataclass
class TargetMeans:
    r"""Mean target of each level, shrunk towards the mean of all rows.

    A level with the weight :math:`w` and the mean :math:`\bar y` gets
    :math:`(w \bar y + m \bar y_0) / (w + m)`, where :math:`m` is the ratio of the variance within
    levels to that between them (Micci-Barreca 2001).

    Attributes
    ----------
    values : ndarray of shape (n_levels + 1,)
        The last one, that of an unknown level, is the mean of all rows.
    prior_rows : float
        :math:`m`.

    References
    ----------
    Micci-Barreca, D. (2001). A preprocessing scheme for high-cardinality categorical attributes in
    classification and prediction problems. SIGKDD Explorations 3(1). :doi:`10.1145/507533.507538`
    """

    values: np.ndarray
    prior_rows: float

    @classmethod
    def learn(cls, levels, target, weight, n_levels):
        """Learn from rows of positive weight; `levels` are codes, and negative if unknown."""
        known = levels >= 0
        levels, target, weight = levels[known], target[known], weight[known]
        total = np.bincount(levels, weight, minlength=n_levels)
        seen = total > 0
        if not seen.any():
            return cls(np.zeros(n_levels + 1), 1.0)
        mean = np.bincount(levels, weight * target, minlength=n_levels)
        mean = np.divide(mean, total, out=np.zeros(n_levels), where=seen)
        overall = weight @ target / weight.sum()
        spare = max(weight.sum() - seen.sum(), 1.0)
        within = weight @ (target - mean[levels]) ** 2 / spare
        share = total[seen] / total.sum()
        noise = within * (share * (1.0 - share) / total[seen]).sum()
        between = share @ (mean[seen] - overall) ** 2 - noise
        prior_rows = within / max(between, 1e-3 * within) if within > 0 else 0.0
        shrunk = np.full(n_levels + 1, overall)
        shrunk[:-1][seen] = (total * mean + prior_rows * overall)[seen] / (total + prior_rows)[seen]
        return cls(shrunk, prior_rows)

    def of_new_level(self, target, weight):
        """Return the value of a level that was not seen, from its rows."""
        total = weight.sum() + self.prior_rows
        return (weight @ target + self.prior_rows * self.values[-1]) / max(total, 1e-300)


def content_order(M, categorical, target, weight):
    """Return the order of columns by what is in them, whatever their order in the table.

    Trees that try some of the columns, or find two splits equally good, depend on the order.
    Columns are sorted by the share of rows without a gap, the squared correlation with the target,
    and that with the position of the row. Units and signs do not matter. For codes of categories,
    the correlation is that of the mean target of a level.

    Parameters
    ----------
    M : ndarray of shape (n_rows, n_columns)
        Rows in an order that does not depend on that of the columns.
    categorical : bool ndarray of shape (n_columns,)
    target, weight : ndarray of shape (n_rows,)

    Returns
    -------
    ndarray of shape (n_columns,)
    """
    keys = np.empty((M.shape[1], 4))
    position = np.arange(len(M), dtype=np.float64)
    for j, column in enumerate(M.T):
        known = ~np.isnan(column)
        x, w = column[known], weight[known]
        found = [
            _explained(x, values[known], w, categorical[j]) if w.any() else 0.0
            for values in (target, position)
        ]
        keys[j] = categorical[j], w.sum() / weight.sum(), *found
    # Rounded, as sums of rows and columns in another order differ by rounding.
    return np.lexsort(np.round(keys, _KEY_DIGITS).T[::-1])


def _explained(x, y, weight, is_category):
    """Return the share of the variance of `y` that a line, or a mean per level, explains."""
    y = y - np.average(y, weights=weight)
    total = weight @ y**2
    if is_category:
        levels = x.astype(np.int64)
        sums, weights = (np.bincount(levels, values) for values in (weight * y, weight))
        explained = (sums[weights > 0] ** 2 / weights[weights > 0]).sum()
    else:
        x = x - np.average(x, weights=weight)
        largest = np.abs(x).max()
        x = x / largest if largest > 0 else x
        squares = weight @ x**2
        explained = (weight @ (x * y)) ** 2 / squares if squares > 0 else 0.0
    return explained / total if total > 0 else 0.0


@dataclass
class Design:
    """Columns of a learner.

    Attributes
    ----------
    n_levels : ndarray of shape (n_columns,)
        Number of levels of the columns of the view, 0 for numbers.
    n_tasks : int
    task : {"category", "encoded", "code", None}
        Whether the task is a category (of at most `_MOST_LEVELS` tasks; for more, the mean
        target), the mean target, its code as a number, or no column.
    takes_gaps : bool
        Whether the columns are those of the view, or the features after preprocessing.
    sorts_columns : bool
        Whether the learner sees the columns in the order of `content_order`.
    means : dict
        `TargetMeans` by column of the view, that of the task by None.
    order : ndarray of shape (n_outputs,) or None
        Order of the columns, if it is not that of the table.
    """

    n_levels: np.ndarray
    n_tasks: int
    task: str | None
    takes_gaps: bool = True
    sorts_columns: bool = False
    means: dict | None = None
    order: np.ndarray | None = None

    def __post_init__(self):
        if not self.takes_gaps:
            self.n_levels = np.zeros(0, dtype=np.int64)

    @property
    def encodes_task(self):
        """Whether the task is a column of mean targets."""
        return self.task == "encoded" or (self.task == "category" and self.n_tasks > _MOST_LEVELS)

    @property
    def categorical(self):
        """Mask of the columns that are categories."""
        few = (self.n_levels > 0) & (self.n_levels <= _MOST_LEVELS)
        if self.task is not None:
            few = np.append(few, self.task == "category" and not self.encodes_task)
        return few if self.order is None else few[self.order]

    def fit(self, rows, target, weight, blocks):
        """Learn the mean targets of tasks and of categories with many levels.

        Parameters
        ----------
        rows : Rows
        target, weight : ndarray of shape (n_rows,)
        blocks : ndarray of shape (n_rows,)
            The mean targets for the rows of a block come from the other blocks, as otherwise a
            learner would trust them too much.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs)
            The columns of these rows.
        """
        self.means = {}
        encoded = {int(j): int(n) for j, n in enumerate(self.n_levels) if n > _MOST_LEVELS}
        if self.encodes_task:
            encoded[None] = self.n_tasks
        out = self.transform(rows)
        for column, n_levels in encoded.items():
            levels = self._levels(rows, column)
            self.means[column] = TargetMeans.learn(levels, target, weight, n_levels)
            where = -1 if column is None else column
            for block in np.unique(blocks):
                own = blocks == block
                others = TargetMeans.learn(levels[~own], target[~own], weight[~own], n_levels)
                out[own, where] = others.values[levels[own]]
        if self.sorts_columns:
            self.order = content_order(out, self.categorical, target, weight)
        return self._sorted(out)

    def _sorted(self, out):
        return out if self.order is None else out[:, self.order]

    @staticmethod
    def _levels(rows, column):
        if column is None:
            return rows.codes
        values = rows.view[:, column]
        return np.where(np.isnan(values), -1, values).astype(np.int64)

    def transform(self, rows, task_value=None):
        """Return the columns of rows.

        `task_value` is the mean target of a new task, to which all rows then belong.
        """
        features = rows.view if self.takes_gaps else rows.X
        parts = [features]
        if self.task is not None:
            code = np.where(rows.codes < 0, np.nan, rows.codes)
            parts.append(code[:, None])
        out = np.hstack(parts) if len(parts) > 1 else features.copy()
        for column, means in self.means.items():
            where = -1 if column is None else column
            out[:, where] = means.values[self._levels(rows, column)]
        if task_value is not None and None in self.means:
            out[:, -1] = task_value
        return self._sorted(out)
