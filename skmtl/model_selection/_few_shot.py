"""Folds over tasks that train on a few rows of the held-out tasks."""

import numbers
import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
from sklearn.utils import check_random_state, indexable
from sklearn.utils.multiclass import type_of_target

from .._typing import ArrayLike, MatrixLike, NDArray, RandomState, TaskColumn
from ..tasks.columns import is_missing, unwrap
from ._base import TaskSplitter, check_count, check_shuffle

__all__ = ["FewShotSplit"]


class FewShotSplit(TaskSplitter):
    """Folds over tasks: a few rows of every held-out task train, and its other rows are tested.

    This evaluates a model on new tasks with a few labels each. Every task is held out in one fold.
    The training set of that fold contains the *shots*, `n_shots` rows of each class of the held-out
    tasks (for a regression target, `n_shots` rows of each task), and all rows of the other tasks.
    The remaining rows of the held-out tasks are tested.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of tasks. The numbers of tasks held out
        in two folds differ by at most one.
    n_shots : int, default=5
        Largest number of training rows per class of a held-out task (with ``stratify=False``, per
        task). A class keeps at least one row for testing, so a class with at most `n_shots` rows
        has all but one of them in training; the only row of a class is in training. With 0, whole
        tasks are held out, as in ``GroupKFold``.
    task_column : str, int or list of these, default=None
        Column of `X` with the task labels: a name (data frames) or an integer index (arrays). A
        name matches the column of that name, or else the only column that ends in ``__name``. Not
        needed if `split` is given `groups`.
    stratify : {"auto"} or bool, default="auto"
        Whether shots are counted per class. "auto" is True if `y` holds classes according to
        scikit-learn's ``type_of_target``, and False for numbers with decimals, a 2-D `y` or no `y`.
        **It takes whole numbers to be classes**: give False if they are amounts.
    shuffle : bool, default=True
        Whether to draw the shots, and the tasks of a fold, at random. If False, the shots are the
        first rows in the order of the table, as they would become known over time, and the tasks
        are assigned to folds in the order of their labels.
    random_state : int, RandomState instance or None, default=0
        Seed of the draws. Scores depend much on which rows are the shots, so by default every call
        gives the same folds, and models are compared on the same rows. None gives new draws in
        every call. Not used with ``shuffle=False``.

    Raises
    ------
    TypeError
        If `shuffle` is not a bool.
    ValueError
        If `n_splits` is not an integer of at least 2, `n_shots` not one of at least 0, or
        `stratify` neither "auto" nor a bool.

    See Also
    --------
    TaskKFold : Tests further rows of tasks that are in training.
    TaskTimeSeriesSplit : Trains on the past and tests on the future.
    sklearn.model_selection.GroupKFold : Holds out all rows of whole tasks.

    Notes
    -----
    A task with only one row of each class has no row to test. It is in every training set and
    never tested; `split` warns how many such tasks there are.

    Shots are never tested. Therefore ``cross_val_predict``, and stacking, which uses it, raise an
    error: they need every row in exactly one test set. ``cross_val_score``, ``cross_validate``,
    ``GridSearchCV`` and the like work.

    With the same `random_state`, a larger `n_shots` adds rows to the shots of a smaller one, and
    the folds hold out the same tasks: curves over `n_shots` are paired. To average over several
    draws of shots, concatenate the splits of several seeds in one list, which scikit-learn accepts
    as ``cv``.

    A scorer given by name weighs all test rows equally, so that large tasks count more;
    `skmtl.metrics.task_scorer` averages over tasks.

    `split` requests `groups` in scikit-learn's metadata routing, as ``GroupKFold`` does.

    References
    ----------
    Vinyals, O., Blundell, C., Lillicrap, T., Kavukcuoglu, K. and Wierstra, D. (2016). Matching
    networks for one shot learning. Advances in Neural Information Processing Systems 29.
    :doi:`10.48550/arXiv.1606.04080`

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import FewShotSplit
    >>> X = np.column_stack([np.arange(9.0), [0, 0, 0, 0, 1, 1, 1, 1, 1]])
    >>> y = ["no", "yes", "no", "yes", "no", "no", "no", "yes", "yes"]
    >>> cv = FewShotSplit(n_splits=2, n_shots=1, task_column=1, shuffle=False)
    >>> for train, test in cv.split(X, y):
    ...     print("train", train, "test", test)
    train [0 1 4 5 6 7 8] test [2 3]
    train [0 1 2 3 4 7] test [5 6 8]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        n_shots: int = 5,
        task_column: TaskColumn = None,
        stratify: bool | Literal["auto"] = "auto",
        shuffle: bool = True,
        random_state: RandomState = 0,
    ) -> None:
        self.n_splits = check_count("n_splits", n_splits, 2, "folds")
        self.n_shots = check_count("n_shots", n_shots, 0, "rows")
        self.task_column = task_column
        if not isinstance(stratify, bool) and not (
            isinstance(stratify, str) and stratify == "auto"
        ):
            raise ValueError(
                f"stratify={stratify!r} must be True (shots per class), False (shots per task) or "
                "'auto' (by the type of y)."
            )
        self.stratify = stratify
        self.shuffle = check_shuffle(shuffle)
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
            The target: strings, numbers or bools. Ignored with ``stratify=False``, except for its
            length.
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
            If neither `groups` nor a `task_column` is given, if the column is not found, if task
            labels are missing or of mixed types, if ``stratify=True`` and `y` does not hold
            classes, if values in `y` are missing, or if fewer tasks can be tested than there are
            folds.

        Warns
        -----
        UserWarning
            If tasks are too small to be tested, or if "auto" takes whole numbers to be classes and
            fewer than half of the rows are left for testing.
        """
        X, y, groups = indexable(unwrap(X), y, groups)
        labels, codes = self._read_tasks(X, groups)
        target = None if self.stratify is False else _as_target(y)
        classes = _classes(target, self.stratify)
        rng = check_random_state(self.random_state) if self.shuffle else None
        is_shot = _draw_shots(codes, classes, self.n_shots, rng)
        tested = np.flatnonzero(np.bincount(codes[~is_shot], minlength=len(labels)))
        self._check_tasks(len(tested), len(labels))
        if self.stratify == "auto" and classes is not None:
            self._check_amounts(target, classes, is_shot.mean())
        turns = tested if rng is None else rng.permutation(tested)
        fold = np.full(len(labels), -1)  # of tasks, then of rows; -1 is never tested
        fold[turns] = np.arange(len(turns)) % self.n_splits
        fold = np.where(is_shot, -1, fold[codes])
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def _check_tasks(self, n_tested, n_tasks):
        untested = n_tasks - n_tested
        small = "have too few rows to be tested: one row in all, or one of each class"
        if not n_tested:
            raise ValueError(
                f"No task can be tested: all {n_tasks} tasks {small}. Check that task_column is "
                "the right column, and set stratify=False if y holds amounts."
            )
        if n_tested < self.n_splits:
            among = f" ({untested} others {small})" if untested else ""
            raise ValueError(
                f"n_splits={self.n_splits} folds over tasks need at least as many tasks to hold "
                f"out, but there are {n_tested}{among}; use fewer folds, or check that task_column "
                "is the right column."
            )
        if untested:
            warnings.warn(
                f"{untested} of {n_tasks} tasks {small}. They are in every training set.",
                UserWarning,
                stacklevel=3,
            )

    def _check_amounts(self, y, classes, share):
        """Warn if `y` seems to hold amounts, such as counts: most rows would become shots."""
        n_classes = classes.max() + 1
        if y.dtype.kind in "iuf" and n_classes > 2 and share > 0.5:
            warnings.warn(
                f"stratify='auto' takes the {n_classes} distinct whole numbers in y for classes, "
                f"and n_shots={self.n_shots} of each are {share:.0%} of all rows, which leaves few "
                "for testing; set stratify=False if they are amounts, True if they are classes.",
                UserWarning,
                stacklevel=3,
            )


def _classes(y, stratify):
    """Return every row's class as a code, or None if shots are counted per task.

    `y` is the output of `_as_target`.
    """
    if y is not None and y.ndim == 1 and type_of_target(y) in ("binary", "multiclass"):
        return np.unique(y, return_inverse=True)[1].ravel()
    if stratify is not True:
        return None
    if y is None:
        raise ValueError(
            "stratify=True needs y, but it is None; pass y to split, or set stratify=False to "
            "count the shots per task."
        )
    if y.ndim > 1:
        raise ValueError(
            f"stratify=True needs one class per row, but y has shape {y.shape}; set stratify=False."
        )
    raise ValueError(
        "stratify=True needs classes, but y holds numbers with decimals, such as "
        f"{y[np.argmax(y != np.rint(y))].item()!r}; set stratify=False, or bin y into classes."
    )


def _as_target(y):
    """Return a 1-D `y` as an array of numbers, bools or strings (as objects), none missing.

    None and 2-D arrays are returned unchanged.
    """
    if y is None:
        return None
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    elif isinstance(y, (list, tuple)):  # numpy would convert [1, "17"] to strings
        y = np.array(y, dtype=object)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        return y
    if y.dtype.kind in "OUT":
        y = _of_one_type(y.astype(object, copy=False))
    if y.dtype.kind not in "biufO":
        raise ValueError(
            f"y holds values of type {y.dtype}, which are neither classes (strings, whole numbers, "
            "bools) nor numbers; convert it, or set stratify=False."
        )
    if y.dtype.kind == "f":
        _check_missing(~np.isfinite(y))
    return y


def _of_one_type(y):
    """Convert an array of objects to numbers or bools; an array of strings is unchanged."""
    values = y.tolist()
    if all(isinstance(v, str) for v in values):
        return y
    _check_missing(np.array([is_missing(v) for v in values], dtype=bool))
    if all(isinstance(v, (bool, np.bool_)) for v in values):
        return y.astype(bool)
    if all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values):
        array = np.array(values)
        if array.dtype.kind in "iuf":
            return array
    types = ", ".join(sorted({type(v).__name__ for v in values}))
    raise ValueError(
        f"y holds values of mixed or unsupported types ({types}); convert them all to strings or "
        "all to numbers, or set stratify=False."
    )


def _check_missing(missing):
    if missing.any():
        raise ValueError(
            f"y is missing or infinite in {int(missing.sum())} rows, the first of them row "
            f"{int(np.argmax(missing))}; drop rows without a label, which can be neither shots nor "
            "test rows."
        )


def _draw_shots(codes, classes, n_shots, rng):
    """Choose the training rows of each task for when it is held out.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Task of every row.
    classes : ndarray of shape (n_samples,) or None
        Class of every row; None counts shots per task.
    n_shots : int
    rng : RandomState or None
        Draws the rows; None takes the first ones.

    Returns
    -------
    is_shot : bool ndarray of shape (n_samples,)
    """
    group = codes if classes is None else codes * (classes.max(initial=0) + 1) + classes
    group, sizes = np.unique(group, return_inverse=True, return_counts=True)[1:]
    order = np.arange(len(codes)) if rng is None else rng.permutation(len(codes))
    order = order[np.argsort(group[order], kind="stable")]
    position = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Every tested class should have shots, and every class with shots should be tested.
    shots = np.minimum(n_shots, np.maximum(sizes - 1, 1))
    is_shot = np.empty(len(codes), dtype=bool)
    is_shot[order] = position < np.repeat(shots, sizes)
    return is_shot
