"""Forward splits in time."""

import numbers

import numpy as np
from sklearn.utils import indexable

from ..tasks.columns import unwrap
from ..tasks.times import rank_times
from ._base import TaskSplitter, check_n_splits, read_column, row_tasks

__all__ = ["TaskTimeSeriesSplit"]


class TaskTimeSeriesSplit(TaskSplitter):
    """Forward split in time: train on each task's past, test on what comes next.

    The last distinct times of every task are cut into `n_splits` consecutive test windows. Each
    fold tests one window and trains on all that is earlier, so that training sets expand; no row
    is trained on that is as late as a test row of its task. Rows may stand in any order, and rows
    that share one time stay together.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 1.
    time_column : str or int, default=None
        The column of `X` with the time of every row: numbers, datetimes or ISO strings such as
        "2024-03-31", found as `task_column` is. None: rows stand in the order of time.
    task_column : str, int or list of these, default=None
        The column of `X` with the task labels: a name (data frames) or an integer index (arrays).
        A name is found exactly, or as the one column that ends in ``__name``. Not needed where
        `split` gets `groups`, as it does inside `MultiTaskRegressor`, nor with ``cut="table"``.
    gap : int, default=0
        Distinct times left out between training and test: how far ahead, less one, the first
        prediction looks.
    test_size : int, default=None
        Distinct times in a test window. None is ``max(1, T // (n_splits + 1))`` for a task of T
        distinct times (with ``cut="table"`` a table of so many).
    max_train_size : int, default=None
        Most distinct times to train on, the latest. None is all.
    cut : {"task", "table"}, default="task"
        "task" cuts every task in its own distinct times, so that each is judged, whenever it began
        and ended; training may then hold rows of other tasks that are later than a task's test
        rows. "table" cuts all tasks at the same dates, counted in the table's distinct times: right
        where a shock hits many tasks at once (weather, holidays, a crisis), of which the other
        tasks' later rows would tell.

    Raises
    ------
    ValueError
        If a count is not an integer or too small, or `cut` is neither of the two.

    See Also
    --------
    TaskKFold : For rows without an order in time.
    FewShotSplit : Holds out whole tasks but for a few rows, to judge a model on new ones.
    sklearn.model_selection.TimeSeriesSplit : The same counted in rows, for a single task.

    Notes
    -----
    With ``cut="task"`` a task is in a fold only if it has rows to train on and to test: a task with
    few distinct times is in the last folds only, and one with a single time in none. With
    ``cut="table"`` a task may be in the training or the test set of a fold alone.

    `split` requests `groups` in scikit-learn's metadata routing, as ``GroupKFold`` does.

    References
    ----------
    Tashman, L. J. (2000). Out-of-sample tests of forecasting accuracy: an analysis and review.
    International Journal of Forecasting 16(4). :doi:`10.1016/S0169-2070(00)00065-0`

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import TaskTimeSeriesSplit
    >>> week = [1, 2, 3, 4, 5, 3, 1, 2]
    >>> X = np.column_stack([week, [0, 0, 0, 0, 0, 1, 1, 1]])
    >>> for train, test in TaskTimeSeriesSplit(2, time_column=0, task_column=1).split(X):
    ...     print("train", train, "test", test)
    train [0 1 2 6] test [3 7]
    train [0 1 2 3 6 7] test [4 5]
    """

    def __init__(
        self,
        n_splits=5,
        *,
        time_column=None,
        task_column=None,
        gap=0,
        test_size=None,
        max_train_size=None,
        cut="task",
    ):
        self.n_splits = check_n_splits(n_splits, fewest=1)
        self.time_column = time_column
        self.task_column = task_column
        self.gap = _check_times("gap", gap, fewest=0)
        self.test_size = _check_times("test_size", test_size, fewest=1, none="the default")
        self.max_train_size = _check_times("max_train_size", max_train_size, fewest=1, none="all")
        if cut not in ("task", "table"):
            raise ValueError(
                f"cut={cut!r} must be 'task' (every task in its own times) or 'table' (all tasks "
                "at the same dates)."
            )
        self.cut = cut

    def split(self, X, y=None, groups=None):
        """Generate the row indices of each fold's training and test set, the earliest fold first.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            The table; read for its number of rows, for `time_column` and, without `groups`, for
            `task_column`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Ignored, but for its length.
        groups : array-like of shape (n_samples,), default=None
            The task label of every row. Overrides `task_column`.

        Yields
        ------
        train : ndarray of shape (n_train,)
            Row indices of the training set, ascending.
        test : ndarray of shape (n_test,)
            Row indices of the test set, ascending.

        Raises
        ------
        ValueError
            If there are neither `groups` nor a `task_column`, if a column is not found, if labels
            or times are missing or of mixed kinds, or if no task has times enough for the first
            fold.
        """
        X, y, groups = indexable(unwrap(X), y, groups)
        rank, n_times = self._rank_rows(X, groups)
        test_size = self._test_size(n_times)
        first = n_times - self.n_splits * test_size  # where the first fold's test window begins
        if not (first > self.gap).any():
            raise ValueError(self._too_short(n_times.max(initial=0)))
        for fold in range(self.n_splits):
            start = first + fold * test_size
            test = (start <= rank) & (rank < start + test_size)
            stop = start - self.gap
            train = rank < stop
            if self.max_train_size is not None:
                train &= rank >= stop - self.max_train_size
            if self.cut == "task":  # nothing to train on, or nothing left to test: not in the fold
                test &= stop > 0
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _rank_rows(self, X, groups):
        """Every row's position among its task's distinct times, and how many these are."""
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        codes = np.zeros(n_samples, dtype=np.int64)
        if self.cut == "task":
            codes = row_tasks(X, groups, self.task_column, owner=type(self).__name__)[1]
        if self.time_column is None:
            time = np.arange(n_samples)
        else:
            column = read_column(X, self.time_column, "time_column")
            time = rank_times(column, f"time_column={self.time_column!r}")
        order = np.lexsort((time, codes))
        c, t = codes[order], time[order]
        new_task = np.diff(c, prepend=-1) > 0
        position = np.cumsum(new_task | (np.diff(t, prepend=-1) != 0)) - 1
        position -= position[new_task][c]
        rank = np.empty(n_samples, dtype=np.int64)
        rank[order] = position
        n_times = np.zeros(len(np.flatnonzero(new_task)), dtype=np.int64)
        np.maximum.at(n_times, codes, rank + 1)
        return rank, n_times[codes]

    def _test_size(self, n_times):
        if self.test_size is not None:
            return self.test_size
        return np.maximum(1, n_times // (self.n_splits + 1))

    def _too_short(self, most):
        """Says why the first fold is empty, where the longest task has `most` distinct times."""
        test_size = 1 if self.test_size is None else self.test_size
        needed = self.n_splits * test_size + self.gap + 1
        of = "the table" if self.cut == "table" else "even the longest task"
        found = f"{of} has {most} distinct times"
        if self.time_column is None:
            found += " (time_column=None: every row is one)"
        return (
            f"The first of n_splits={self.n_splits} folds has no training rows: {found}, while "
            f"test_size={self.test_size} and gap={self.gap} need more than {needed - 1}. Use fewer "
            "folds, a smaller test_size or gap, or check the time and task columns."
        )


def _check_times(name, value, fewest, none=None):
    """A count of distinct times; None is allowed where `none` says what it means."""
    if value is None and none is not None:
        return None
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= fewest:
        return int(value)
    alternative = "" if none is None else f", or None ({none})"
    raise ValueError(
        f"{name}={value!r} must be a number of distinct times, an integer of at least "
        f"{fewest}{alternative}."
    )
