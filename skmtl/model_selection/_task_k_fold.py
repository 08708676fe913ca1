"""Folds over the rows of every task."""

import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.utils import check_random_state, indexable

from .._typing import ArrayLike, MatrixLike, NDArray, RandomState, TaskColumn
from ..tasks.columns import unwrap
from ._base import TaskSplitter, check_count, check_shuffle

__all__ = ["TaskKFold"]


class TaskKFold(TaskSplitter):
    """K-fold over the rows of every task, so that every fold trains on every task.

    The rows of each task are distributed as evenly as possible over the `n_splits` folds: the
    numbers of a task's rows in two folds differ by at most one. The remainders of the tasks are
    assigned to the folds in turn, so that the sizes of whole folds differ by at most one too. A
    task with at least two rows is in every training fold. A task with a single row is in one test
    fold, where it is unseen in training; a shared or pooled model can still predict it.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of rows. It may exceed the number of rows
        of a task, which is then tested in as many folds as it has rows.
    task_column : str, int or list of these, default=None
        Column of `X` with the task labels: a name (data frames) or an integer index (arrays). A
        name matches the column of that name, or else the only column that ends in ``__name``. Not
        needed if `split` is given `groups`.
    shuffle : bool, default=False
        Whether to shuffle the rows of each task. If False, each fold tests one contiguous segment
        of a task's rows, in the order of the table. Shuffle if that order carries information that
        folds should not follow, e.g. rows sorted by the target or by a feature. Do not use this
        splitter if rows are in order of time and the model is to predict the future: shuffled or
        not, its folds train on later rows than those they test.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling; an int gives the same folds in every call. Only with `shuffle=True`.

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
    FewShotSplit : Holds out all but a few rows of whole tasks, to test a model on new tasks.
    sklearn.model_selection.GroupKFold : Holds out all rows of whole tasks.

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

    def __init__(
        self,
        n_splits: int = 5,
        *,
        task_column: TaskColumn = None,
        shuffle: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.n_splits = check_count("n_splits", n_splits, 2, "folds")
        self.shuffle = check_shuffle(shuffle)
        if random_state is not None and not shuffle:
            raise ValueError(
                f"random_state={random_state!r} has no effect without shuffling; "
                "set shuffle=True, or leave random_state at None."
            )
        self.task_column = task_column
        self.random_state = random_state

    def split(
        self, X: MatrixLike, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray, NDArray]]:
        """Generate the row indices of each fold's training and test set.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            The table; read for its number of rows and, without `groups`, for `task_column`.
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
            If neither `groups` nor a `task_column` is given, if the column is not found, if
            labels are missing or of mixed types, or if there are fewer rows than folds.
        """
        X, y, groups = indexable(unwrap(X), y, groups)
        labels, codes = self._read_tasks(X, groups)
        if self.n_splits > len(codes):
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number "
                f"of samples: n_samples={len(codes)}."
            )
        if len(labels) == len(codes):
            warnings.warn(
                f"Each of the {len(codes)} rows is a task of its own, so that no task in a test "
                "fold was seen in training; check that task_column= or groups= are the tasks.",
                UserWarning,
                stacklevel=2,
            )
        rng = check_random_state(self.random_state) if self.shuffle else None
        folds = _assign_folds(codes, len(labels), self.n_splits, rng)
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def _assign_folds(codes, n_tasks, n_splits, rng):
    """Return the test fold of every row.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Task of every row, 0 to n_tasks - 1.
    n_tasks, n_splits : int
    rng : RandomState or None
        Shuffles rows and tasks; None keeps their order.

    Returns
    -------
    folds : ndarray of shape (n_samples,)
    """
    # numpy sorts small unsigned integers by radix sort, ten times as fast.
    codes = codes.astype(np.min_scalar_type(n_tasks))
    if rng is None:
        turns = np.arange(n_tasks)
        order = np.argsort(codes, kind="stable")
    else:
        turns = rng.permutation(n_tasks)  # the folds of the remainders are random as well
        shuffled = rng.permutation(len(codes))
        order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    base, extra = np.divmod(np.bincount(codes, minlength=n_tasks), n_splits)
    # Remainders are assigned in turn: each task starts where the previous one stopped.
    start = np.empty(n_tasks, dtype=np.int64)
    start[turns] = (np.cumsum(extra[turns]) - extra[turns]) % n_splits
    fold = np.arange(n_splits)
    sizes = base[:, None] + ((fold - start[:, None]) % n_splits < extra[:, None])
    folds = np.empty(len(codes), dtype=np.int64)
    folds[order] = np.repeat(np.tile(fold, n_tasks), sizes.ravel())
    return folds
