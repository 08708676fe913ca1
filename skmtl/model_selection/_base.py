"""What the splitters share: the tasks of the rows, the number of folds, routing."""

import numbers

from sklearn.model_selection import BaseCrossValidator

from ..tasks.columns import as_table, find_column, take_column
from ..tasks.encode import TaskLabels, read_labels

__all__ = ["TaskSplitter", "check_n_splits", "read_column", "row_tasks"]


class TaskSplitter(BaseCrossValidator):
    """A splitter of `n_splits` folds that knows tasks, from a column or from ``groups``."""

    # Read by scikit-learn's metadata routing: groups reach `split` without a set_split_request.
    __metadata_request__split = {"groups": True}

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


def check_n_splits(n_splits, fewest):
    """`n_splits` as an int; raises unless it is an integer of at least `fewest`."""
    if isinstance(n_splits, bool) or not isinstance(n_splits, numbers.Integral):
        raise ValueError(
            f"n_splits={n_splits!r} is of type {type(n_splits).__name__}; "
            "the number of folds must be an integer."
        )
    if n_splits < fewest:
        folds = "fold" if fewest == 1 else "folds"
        raise ValueError(f"n_splits={n_splits} is too small: give at least {fewest} {folds}.")
    return int(n_splits)


def read_column(X, column, parameter):
    """The values in `column` of `X`; `parameter` is what the errors call it."""
    X = as_table(X)
    return take_column(X, find_column(X, column, parameter))


def row_tasks(X, groups, task_column, *, owner):
    """The tasks of the rows of `X`, for any splitter.

    Parameters
    ----------
    X : array-like or data frame of shape (n_samples, n_features)
    groups : array-like of shape (n_samples,) or None
        Task labels that override the column.
    task_column : str, int, list of these, or None
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
    return TaskLabels.from_rows(read_labels(as_table(X), task_column))
