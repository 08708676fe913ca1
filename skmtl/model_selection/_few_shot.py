"""Folds over tasks, of which a few rows are known."""

import numbers
import warnings

import numpy as np
from sklearn.utils import check_random_state, indexable
from sklearn.utils.multiclass import type_of_target

from ..tasks.columns import is_missing, unwrap
from ._base import TaskSplitter, check_n_splits, row_tasks

__all__ = ["FewShotSplit"]


class FewShotSplit(TaskSplitter):
    """Folds over tasks: of every held-out task a few rows train, and the others are the test.

    This judges a model on tasks that it will meet later, with a few labels each. Every task is held
    out in one fold. Its *shots*, `n_shots` rows of each of its classes (of a regression target:
    `n_shots` rows), are in that fold's training set, as are all rows of the tasks that the fold
    does not hold out; the rest of its rows are tested.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of tasks. The tasks that two folds hold
        out differ in number by at most one.
    n_shots : int, default=5
        The most rows of a held-out task's class (with ``stratify=False``, of the task) that are in
        training. A class keeps at least one row for the test, so that one of at most `n_shots` rows
        has all but one of them in training; the only row of a class is in training. With 0 whole
        tasks are held out, as ``GroupKFold`` does.
    task_column : str, int or list of these, default=None
        The column of `X` with the task labels: a name (data frames) or an integer index (arrays).
        A name is found exactly, or as the one column that ends in ``__name``. Not needed where
        `split` gets `groups`.
    stratify : {"auto"} or bool, default="auto"
        Whether shots are counted class by class. "auto": where `y` holds classes, by scikit-learn's
        ``type_of_target``; not for numbers with decimals, a 2-D `y` or no `y`. **Whole numbers are
        classes to it**: give False where they are amounts.
    shuffle : bool, default=True
        True draws the shots at random, and which tasks go together. False takes the first rows in
        the order of the table, as they would come in where that is the order of time, and deals the
        tasks in the order of their labels.
    random_state : int, RandomState instance or None, default=0
        Seeds the draws. Which rows are the shots matters much, so the default is the same folds in
        every call: models are then compared on the same rows. None draws anew in every call. Not
        used with ``shuffle=False``.

    Raises
    ------
    TypeError
        If `shuffle` is not a bool.
    ValueError
        If `n_splits` is not an integer of at least 2, `n_shots` not one of at least 0, or
        `stratify` neither "auto" nor a bool.

    See Also
    --------
    TaskKFold : Further rows of tasks that are known.
    TaskTimeSeriesSplit : Trains on the past and tests on the future.
    sklearn.model_selection.GroupKFold : Holds out whole tasks, of which no row is known.

    Notes
    -----
    A task that could leave no row to the test, having one row of each class, is in every training
    set and never tested; `split` warns how many these are.

    Shots are never tested. So ``cross_val_predict``, and stacking, which stands on it, raise: they
    need every row in exactly one test set. ``cross_val_score``, ``cross_validate``,
    ``GridSearchCV`` and the like work.

    With the same `random_state`, more shots are the fewer ones and further rows, and the folds hold
    out the same tasks: curves over `n_shots` are paired. To average over several draws of shots,
    join the splits of several seeds in one list; scikit-learn takes it as a ``cv``.

    A string scorer counts every test row the same, so that large tasks weigh more;
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
        n_splits=5,
        *,
        n_shots=5,
        task_column=None,
        stratify="auto",
        shuffle=True,
        random_state=0,
    ):
        self.n_splits = check_n_splits(n_splits, fewest=2)
        self.n_shots = _check_n_shots(n_shots)
        self.task_column = task_column
        if not isinstance(stratify, bool) and not (
            isinstance(stratify, str) and stratify == "auto"
        ):
            raise ValueError(
                f"stratify={stratify!r} must be True (shots of every class), False (shots of the "
                "task) or 'auto' (by the kind of y)."
            )
        self.stratify = stratify
        if not isinstance(shuffle, bool):
            raise TypeError(f"shuffle={shuffle!r} must be True or False.")
        self.shuffle = shuffle
        self.random_state = random_state

    def split(self, X, y=None, groups=None):
        """Generate the row indices of each fold's training and test set.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            The table; read for its number of rows and, without `groups`, for `task_column`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            The target: strings, numbers or bools. Ignored with ``stratify=False``, but for its
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
            If there are neither `groups` nor a `task_column`, if the column is not found, if task
            labels are missing or of mixed kinds, if `y` is asked for classes and has none (missing
            values included), or if fewer tasks can be tested than there are folds.

        Warns
        -----
        UserWarning
            If tasks are too small to be tested, or if whole numbers that "auto" takes for classes
            leave fewer than half of the rows to the test.
        """
        X, y, groups = indexable(unwrap(X), y, groups)
        labels, codes = row_tasks(X, groups, self.task_column, owner=type(self).__name__)
        y = None if self.stratify is False else _as_target(y)
        classes = _classes(y, self.stratify)
        rng = check_random_state(self.random_state) if self.shuffle else None
        is_shot = _draw_shots(codes, classes, self.n_shots, rng)
        tested = np.flatnonzero(np.bincount(codes[~is_shot], minlength=len(labels)))
        self._check_tasks(len(tested), len(labels))
        if self.stratify == "auto" and classes is not None and y.dtype.kind in "iuf":
            self._check_amounts(classes.max() + 1, is_shot.mean())
        turns = tested if rng is None else rng.permutation(tested)
        fold = np.full(len(labels), -1)  # of tasks, then of rows; -1 is tested in none
        fold[turns] = np.arange(len(turns)) % self.n_splits
        fold = np.where(is_shot, -1, fold[codes])
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def _check_tasks(self, n_tested, n_tasks):
        untested = n_tasks - n_tested
        small = "have too few rows to be tested: one row in all, or one of each class"
        if not n_tested:
            raise ValueError(
                f"No task can be tested: all {n_tasks} tasks {small}. Check that the right column "
                "holds the task labels, and stratify= where y holds amounts."
            )
        if n_tested < self.n_splits:
            among = f" ({untested} others {small})" if untested else ""
            raise ValueError(
                f"n_splits={self.n_splits} folds over tasks need at least as many tasks to hold "
                f"out, but there are {n_tested}{among}; use fewer folds, or check that the right "
                "column holds the task labels."
            )
        if untested:
            warnings.warn(
                f"{untested} of {n_tasks} tasks {small}. They are in every training set.",
                UserWarning,
                stacklevel=3,
            )

    def _check_amounts(self, n_classes, share):
        """Counts and prices in whole units would lose most of their rows to the shots."""
        if n_classes > 2 and share > 0.5:
            warnings.warn(
                f"stratify='auto' takes the {n_classes} distinct whole numbers in y for classes, "
                f"and n_shots={self.n_shots} of each are {share:.0%} of a task's rows, which "
                "leaves few to the test; set stratify=False if they are amounts, True if they are "
                "classes.",
                UserWarning,
                stacklevel=3,
            )


def _check_n_shots(n_shots):
    if isinstance(n_shots, numbers.Integral) and not isinstance(n_shots, bool) and n_shots >= 0:
        return int(n_shots)
    raise ValueError(
        f"n_shots={n_shots!r} must be a number of rows, an integer of at least 0; for several "
        "numbers use one splitter each."
    )


def _classes(y, stratify):
    """Every row's class as a number from 0, or None where classes do not count.

    `y` is what `_as_target` returns.
    """
    if y is not None and y.ndim == 1 and type_of_target(y) in ("binary", "multiclass"):
        return np.unique(y, return_inverse=True)[1].ravel()
    if stratify is not True:
        return None
    if y is None:
        raise ValueError(
            "stratify=True needs y, but it is None; pass y to split, or set stratify=False to "
            "count a task's rows whatever their class."
        )
    if y.ndim > 1:
        raise ValueError(
            f"stratify=True needs one class a row, but y has shape {y.shape}; set stratify=False."
        )
    raise ValueError(
        "stratify=True needs classes, but y holds numbers with decimals, such as "
        f"{y[np.argmax(y != np.rint(y))].item()!r}; set stratify=False, or cut y into classes."
    )


def _as_target(y):
    """`y` as an array: in one dimension numbers, bools or strings (as objects), none missing.

    None, and an array of more columns, are returned as they are.
    """
    if y is None:
        return None
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    elif isinstance(y, (list, tuple)):  # numpy would turn [1, "17"] into strings
        y = np.array(y, dtype=object)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        return y
    if y.dtype.kind in "OUT":
        y = _of_one_kind(y.astype(object, copy=False))
    if y.dtype.kind not in "biufO":
        raise ValueError(
            f"y holds values of type {y.dtype}, neither classes (strings, whole numbers, bools) "
            "nor numbers; convert it, or set stratify=False."
        )
    if y.dtype.kind == "f":
        _check_missing(~np.isfinite(y))
    return y


def _of_one_kind(y):
    """An array of objects as numbers or bools where it holds these; strings stay objects."""
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
        f"y holds values of mixed or unsupported kinds ({types}), neither classes of one kind nor "
        "numbers; make them all strings or all numbers, or set stratify=False."
    )


def _check_missing(missing):
    if missing.any():
        raise ValueError(
            f"y is missing or infinite in {int(missing.sum())} rows, the first of them row "
            f"{int(np.argmax(missing))}; drop rows without a label, which can neither be shots nor "
            "be tested."
        )


def _draw_shots(codes, classes, n_shots, rng):
    """Which rows are known when their task is held out.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Task of every row.
    classes : ndarray of shape (n_samples,) or None
        Class of every row; None counts the rows of a task.
    n_shots : int
    rng : RandomState or None
        Draws the rows; None takes the first.

    Returns
    -------
    is_shot : bool ndarray of shape (n_samples,)
    """
    group = codes if classes is None else codes * (classes.max(initial=0) + 1) + classes
    group, sizes = np.unique(group, return_inverse=True, return_counts=True)[1:]
    order = np.arange(len(codes)) if rng is None else rng.permutation(len(codes))
    order = order[np.argsort(group[order], kind="stable")]
    position = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # A class that is tested must be known, and one that is known should be tested.
    taken = np.minimum(n_shots, np.maximum(sizes - 1, 1))
    is_shot = np.empty(len(codes), dtype=bool)
    is_shot[order] = position < np.repeat(taken, sizes)
    return is_shot
