"""Base class and checks of the splitters: tasks of the rows, number of folds, routing."""

import numbers
from typing import Any

from sklearn.model_selection import BaseCrossValidator

from ..tasks.columns import as_table
from ..tasks.encode import TaskLabels, read_labels

__all__ = ["TaskSplitter", "check_count", "check_shuffle"]


class TaskSplitter(BaseCrossValidator):
    """Base of splitters into `n_splits` folds, with tasks from a column or from ``groups``."""

    # For scikit-learn's metadata routing: `split` gets groups without a set_split_request.
    __metadata_request__split = {"groups": True}

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored, present for compatibility.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        return self.n_splits

    def _read_tasks(self, X, groups):
        """Return the tasks of the rows of `X`.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,) or None
            Task labels, which override the column.

        Returns
        -------
        labels : TaskLabels
            The distinct labels, sorted.
        codes : ndarray of shape (n_samples,)
            For every row the position of its label in `labels`.

        Raises
        ------
        ValueError
            If neither `groups` nor `task_column` is given, or the labels are invalid.
        """
        if groups is not None:
            return TaskLabels.from_rows(groups, what="groups")
        if self.task_column is None:
            owner = type(self).__name__
            raise ValueError(
                f"{owner} needs the tasks, but task_column=None and groups=None. Set "
                f"{owner}(task_column=...) to a column of X, or pass the labels as groups=."
            )
        return TaskLabels.from_rows(read_labels(as_table(X), self.task_column))


def check_count(name, value, fewest, unit, none=None):
    """Return a count; raise unless it is an integer of at least `fewest`.

    `unit` is what it counts. None is allowed if `none` describes its meaning.
    """
    if value is None and none is not None:
        return None
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= fewest:
        return int(value)
    alternative = "" if none is None else f", or None ({none})"
    raise ValueError(
        f"{name}={value!r} must be a number of {unit}, one integer of at least {fewest}"
        f"{alternative}; got {type(value).__name__}."
    )


def check_shuffle(shuffle):
    """Return `shuffle`; raise unless it is a bool."""
    if not isinstance(shuffle, bool):
        raise TypeError(f"shuffle={shuffle!r} must be True or False.")
    return shuffle
