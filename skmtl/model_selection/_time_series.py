"""Forward splits in time."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from sklearn.utils import indexable

from .._typing import ArrayLike, MatrixLike, NDArray, TaskColumn
from ..tasks.columns import as_table, find_column, take_column, unwrap
from ..tasks.times import rank_times
from ._base import TaskSplitter, check_count

__all__ = ["TaskTimeSeriesSplit"]

_TIMES = "distinct times"


class TaskTimeSeriesSplit(TaskSplitter):
    """Forward split in time: train on each task's past, test on what follows.

    The last distinct times of every task are divided into `n_splits` consecutive test windows. Each
    fold tests one window and trains on all earlier rows, so that training sets expand. No training
    row of a task is as late as one of its test rows. Rows may be in any order, and rows with the
    same time stay together.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 1.
    time_column : str or int, default=None
        Column of `X` with the time of every row: numbers, datetimes or ISO strings such as
        "2024-03-31". It is looked up as `task_column` is. None means that rows are in order of
        time.
    task_column : str, int or list of these, default=None
        Column of `X` with the task labels: a name (data frames) or an integer index (arrays). A
        name matches the column of that name, or else the only column that ends in ``__name``. Not
        needed if `split` is given `groups`, as inside `MultiTaskRegressor`, or with
        ``cut="table"``.
    gap : int, default=0
        Number of distinct times left out between training and test: the first prediction is
        ``gap + 1`` times ahead.
    test_size : int, default=None
        Number of distinct times in a test window. None is ``max(1, T // (n_splits + 1))`` for a
        task with T distinct times (with ``cut="table"``, a table with T distinct times).
    max_train_size : int, default=None
        Largest number of distinct times to train on, counted from the latest. None means all.
    cut : {"task", "table"}, default="task"
        "task" divides the distinct times of every task, so that each task is tested, whenever it
        began and ended; training may then include rows of other tasks that are later than a task's
        test rows. "table" divides all tasks at the same times, counted in the table's distinct
        times. Use it if a shock affects many tasks at once (weather, holidays, a crisis), so that
        later rows of other tasks would reveal it.

    Raises
    ------
    ValueError
        If a count is not an integer or too small, or if `cut` is unknown.

    See Also
    --------
    TaskKFold : For rows without an order in time.
    FewShotSplit : Holds out all but a few rows of whole tasks, to test a model on new tasks.
    sklearn.model_selection.TimeSeriesSplit : Counts rows instead of times, for a single task.

    Notes
    -----
    With ``cut="task"`` a task is in a fold only if it has rows to train on and to test: a task with
    few distinct times is in the last folds only, and one with a single time in none. With
    ``cut="table"`` a task may be in only the training set or only the test set of a fold.

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
        n_splits: int = 5,
        *,
        time_column: str | int | None = None,
        task_column: TaskColumn = None,
        gap: int = 0,
        test_size: int | None = None,
        max_train_size: int | None = None,
        cut: Literal["task", "table"] = "task",
    ) -> None:
        self.n_splits = check_count("n_splits", n_splits, 1, "folds")
        self.time_column = time_column
        self.task_column = task_column
        self.gap = check_count("gap", gap, 0, _TIMES)
        self.test_size = check_count("test_size", test_size, 1, _TIMES, none="the default")
        self.max_train_size = check_count("max_train_size", max_train_size, 1, _TIMES, "all")
        if cut not in ("task", "table"):
            raise ValueError(
                f"cut={cut!r} must be 'task' (every task at its own times) or 'table' (all tasks "
                "at the same times)."
            )
        self.cut = cut

    def split(
        self, X: MatrixLike, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray, NDArray]]:
        """Generate the row indices of each fold's training and test set, the earliest fold first.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            The table; read for its number of rows, for `time_column` and, without `groups`, for
            `task_column`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Ignored, except for its length.
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
            If neither `groups` nor a `task_column` is given, if a column is not found, if labels
            or times are missing or of mixed types, or if no task has enough times for the first
            fold.
        """
        X, y, groups = indexable(unwrap(X), y, groups)
        rank, n_times = self._rank_rows(X, groups)
        test_size = self.test_size
        if test_size is None:
            test_size = np.maximum(1, n_times // (self.n_splits + 1))
        first = n_times - self.n_splits * test_size  # start of the first test window
        if not (first > self.gap).any():
            raise ValueError(self._too_short(n_times.max(initial=0)))
        for fold in range(self.n_splits):
            start = first + fold * test_size
            test = (start <= rank) & (rank < start + test_size)
            stop = start - self.gap
            train = rank < stop
            if self.max_train_size is not None:
                train &= rank >= stop - self.max_train_size
            if self.cut == "task":  # a task without training rows is not in the fold
                test &= stop > 0
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _rank_rows(self, X, groups):
        """Return every row's position among its task's distinct times, and their number."""
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        codes = np.zeros(n_samples, dtype=np.int64)
        if self.cut == "task":
            codes = self._read_tasks(X, groups)[1]
        time = np.arange(n_samples)
        if self.time_column is not None:
            X = as_table(X)
            column = take_column(X, find_column(X, self.time_column, "time_column"))
            time = rank_times(column, f"time_column={self.time_column!r}")
        order = np.lexsort((time, codes))
        task = codes[order]
        is_new_task = np.diff(task, prepend=-1) > 0
        position = np.cumsum(is_new_task | (np.diff(time[order], prepend=-1) != 0)) - 1
        position -= position[is_new_task][task]
        rank = np.empty(n_samples, dtype=np.int64)
        rank[order] = position
        n_times = np.zeros(is_new_task.sum(), dtype=np.int64)
        np.maximum.at(n_times, codes, rank + 1)
        return rank, n_times[codes]

    def _too_short(self, most):
        """Return why the first fold is empty if the longest task has `most` distinct times."""
        test_size = 1 if self.test_size is None else self.test_size
        needed = self.n_splits * test_size + self.gap + 1
        found = "the table" if self.cut == "table" else "even the longest task"
        found += f" has {most} distinct times"
        if self.time_column is None:
            found += " (time_column=None: every row is one)"
        return (
            f"The first of n_splits={self.n_splits} folds has no training rows: {found}, while "
            f"test_size={self.test_size} and gap={self.gap} need more than {needed - 1}. Use fewer "
            "folds, a smaller test_size or gap, or check the time and task columns."
        )
