"""Splitters that know about tasks."""

import numbers
import warnings

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, indexable

from .tasks.encode import TaskLabels, as_table, find_task_column, take_column
from .tasks.times import rank_times

__all__ = ["TaskKFold", "TaskTimeSeriesSplit"]


class TaskKFold(BaseCrossValidator):
    """K-fold over the rows of every task, so that every fold trains on every task.

    The rows of each task are dealt to the `n_splits` folds as evenly as they go: a task's rows in
    two folds differ by at most one. The left-over rows of the tasks go around the folds in turn, so
    that the sizes of whole folds differ by at most one too. A task with at least two rows is in
    every training fold. A task with a single row is in one test fold, where it is a task never
    seen in training; that is legal, and a shared or pooled model can still predict it.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of rows. It may exceed the rows of a
        task, which is then tested in as many folds as it has rows.
    task_column : str or int, default=None
        The column of `X` with the task labels: a name (data frames) or an integer index (arrays).
        A name is found exactly, or as the one column that ends in ``__name``. Not needed where
        `split` gets `groups`.
    shuffle : bool, default=False
        Without shuffling, each fold tests one contiguous segment of a task's rows, in the order of
        the table: fold 0 the first, the last fold the last. Shuffle when that order means something
        which the folds should not follow, e.g. rows sorted by the target or by a feature. Rows
        in the order of time are the other case: if the model is to predict the future, neither
        shuffled nor contiguous folds say how well it will, as both train on later rows.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffling; an int gives the same folds in every call. Only with `shuffle=True`.

    Raises
    ------
    TypeError
        If `shuffle` is not a bool.
    ValueError
        If `n_splits` is not an integer of at least 2, or if `random_state` is given without
        `shuffle=True`.

    See Also
    --------
    TaskTimeSeriesSplit : Trains on the past and tests on the future.
    sklearn.model_selection.GroupKFold : Holds out whole tasks, to judge a model on new ones.

    Notes
    -----
    `split` requests `groups` in scikit-learn's metadata routing, as ``GroupKFold`` does.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import TaskKFold
    >>> X = np.column_stack([np.arange(7.0), [0, 0, 0, 0, 1, 1, 1]])
    >>> for train, test in TaskKFold(n_splits=2, task_column=1).split(X):
    ...     print("train", train, "test", test)
    train [2 3 6] test [0 1 4 5]
    train [0 1 4 5] test [2 3 6]
    """

    # Read by scikit-learn's metadata routing: groups reach `split` without a set_split_request.
    __metadata_request__split = {"groups": True}

    def __init__(self, n_splits=5, *, task_column=None, shuffle=False, random_state=None):
        self.n_splits = _check_n_splits(n_splits, fewest=2)
        if not isinstance(shuffle, bool):
            raise TypeError(f"shuffle={shuffle!r} must be True or False.")
        if random_state is not None and not shuffle:
            raise ValueError(
                f"random_state={random_state!r} has no effect without shuffling; "
                "set shuffle=True, or leave random_state at None."
            )
        self.task_column = task_column
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored, present for compatibility.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def split(self, X, y=None, groups=None):
        """Generate the row indices of each fold's training and test set.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            The table; read for its number of rows and, without `groups`, for `task_column`.
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
            If there are neither `groups` nor a `task_column`, if the column is not found, if
            labels are missing or of mixed kinds, or if there are fewer rows than folds.
        """
        return super().split(X, y, groups)

    def _iter_test_masks(self, X=None, y=None, groups=None):
        # The hook that BaseCrossValidator documents; its `split` has checked the lengths by now.
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        if self.n_splits > n_samples:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number "
                f"of samples: n_samples={n_samples}."
            )
        labels, codes = row_tasks(X, groups, self.task_column, owner=type(self).__name__)
        if len(labels) == n_samples:
            warnings.warn(
                f"Each of the {n_samples} rows is a task of its own, so that no task in a test "
                "fold was seen in training; check that the right column holds the task labels.",
                UserWarning,
                stacklevel=3,
            )
        rng = check_random_state(self.random_state) if self.shuffle else None
        folds = _deal_rows(codes, len(labels), self.n_splits, rng)
        for fold in range(self.n_splits):
            yield folds == fold


class TaskTimeSeriesSplit(BaseCrossValidator):
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
    task_column : str or int, default=None
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

    # Read by scikit-learn's metadata routing: groups reach `split` without a set_split_request.
    __metadata_request__split = {"groups": True}

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
        self.n_splits = _check_n_splits(n_splits, fewest=1)
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

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored, present for compatibility.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

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
        X, y, groups = indexable(X, y, groups)
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
            column = _read_column(X, self.time_column, "time_column")
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


def _check_n_splits(n_splits, fewest):
    if isinstance(n_splits, bool) or not isinstance(n_splits, numbers.Integral):
        raise ValueError(
            f"n_splits={n_splits!r} is of type {type(n_splits).__name__}; "
            "the number of folds must be an integer."
        )
    if n_splits < fewest:
        folds = "fold" if fewest == 1 else "folds"
        raise ValueError(f"n_splits={n_splits} is too small: give at least {fewest} {folds}.")
    return int(n_splits)


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


def read_task_column(X, task_column):
    """The labels in column `task_column` of `X`, which may be a frame, an array or a list.

    Raises
    ------
    ValueError
        If the column is not found, naming it and the columns there are.
    """
    return _read_column(X, task_column, "task_column")


def _read_column(X, column, parameter):
    X = as_table(X)
    return take_column(X, find_task_column(X, column, parameter))


def row_tasks(X, groups, task_column, *, owner):
    """The tasks of the rows of `X`, for any splitter.

    Parameters
    ----------
    X : array-like or data frame of shape (n_samples, n_features)
    groups : array-like of shape (n_samples,) or None
        Task labels that override the column.
    task_column : str, int or None
    owner : str
        The splitter's name, for the error message.

    Returns
    -------
    labels : TaskLabels
        The distinct labels, sorted.
    codes : ndarray of shape (n_samples,)
        For every row the position of its label in `labels`.

    Raises
    ------
    ValueError
        If neither `groups` nor `task_column` is given, or the labels are not usable.
    """
    if groups is not None:
        return TaskLabels.from_rows(groups, what="groups")
    if task_column is None:
        raise ValueError(
            f"{owner} does not know the tasks: task_column=None and groups=None. Set "
            f"{owner}(task_column=...) to a column of X, or pass the labels as groups=."
        )
    return TaskLabels.from_rows(read_task_column(X, task_column))


def _deal_rows(codes, n_tasks, n_splits, rng):
    """The test fold of every row.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Task of every row, 0 to n_tasks - 1.
    n_tasks, n_splits : int
    rng : RandomState or None
        Shuffles rows and tasks; None leaves them in order.

    Returns
    -------
    folds : ndarray of shape (n_samples,)
    """
    # A small unsigned type makes numpy's stable sort a radix sort, ten times as fast.
    codes = codes.astype(np.min_scalar_type(n_tasks))
    if rng is None:
        turns = np.arange(n_tasks)
        order = np.argsort(codes, kind="stable")
    else:
        turns = rng.permutation(n_tasks)  # which folds get the left-over rows is random as well
        shuffled = rng.permutation(len(codes))
        order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    base, extra = np.divmod(np.bincount(codes, minlength=n_tasks), n_splits)
    # Left-over rows go around the folds: each task goes on where the task before it stopped.
    start = np.empty(n_tasks, dtype=np.int64)
    start[turns] = (np.cumsum(extra[turns]) - extra[turns]) % n_splits
    fold = np.arange(n_splits)
    sizes = base[:, None] + ((fold - start[:, None]) % n_splits < extra[:, None])
    folds = np.empty(len(codes), dtype=np.int64)
    folds[order] = np.repeat(np.tile(fold, n_tasks), sizes.ravel())
    return folds
