"""Folds over the rows of every task."""

import warnings

import numpy as np
from sklearn.utils import check_random_state

from ..tasks.columns import unwrap
from ._base import TaskSplitter, check_n_splits, row_tasks

__all__ = ["TaskKFold"]


class TaskKFold(TaskSplitter):
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
    task_column : str, int or list of these, default=None
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
    FewShotSplit : Holds out whole tasks but for a few rows, to judge a model on new ones.
    sklearn.model_selection.GroupKFold : Holds out whole tasks, of which then no row is known.

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

    def __init__(self, n_splits=5, *, task_column=None, shuffle=False, random_state=None):
        self.n_splits = check_n_splits(n_splits, fewest=2)
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
        return super().split(unwrap(X), y, groups)

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
