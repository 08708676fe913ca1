"""One table cut into source and target."""

import numpy as np
from sklearn.utils import check_consistent_length

from .._compat import take_rows
from ..tasks.columns import as_table, drop_columns, find_columns
from ..tasks.encode import TaskLabels, is_single_label, read_labels
from ..transfer.source import Source, read_target

__all__ = ["source_target_split"]


def source_target_split(X, y, task=None, *, target, task_column=None):
    """Cut one table of several tasks into the rows of one, the target, and all others.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Numbers or class labels.
    task : array-like of shape (n_samples,), default=None
        Whose row it is: strings or integers.
    target : str, int or bool
        One of the task labels.
    task_column : str, int or list of these, default=None
        The column of X with the task labels, instead of `task`: a name (data frames) or an index
        (arrays). It is in neither part: rows to be predicted later come without it, too.

    Returns
    -------
    source : Source
        All rows but the target's; each other task is a source of its own.
    X_target : {ndarray, sparse matrix, data frame} of shape (n_target, n_features)
        Of the kind of X.
    y_target : {ndarray, series} of shape (n_target,)
        Of the kind of y.

    Raises
    ------
    ValueError
        For a target that is not among the labels, or alone; for both or neither of `task` and
        `task_column`; for missing or mixed labels.

    See Also
    --------
    skmtl.TransferEstimator : Predicts for the target with help from the source.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import source_target_split
    >>> X, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
    >>> plant = ["Bonn", "Kiel", "Bonn", "Ulm", "Kiel", "Ulm"]
    >>> source, X_target, y_target = source_target_split(X, y, plant, target="Kiel")
    >>> source
    Source(4 rows x 2 features, 2 sources)
    >>> y_target
    array([1., 4.])
    """
    if (task is None) == (task_column is None):
        given = "both" if task is not None else "neither"
        raise ValueError(
            f"{given} of task= and task_column= were given; give one of them, so that it is known "
            "whose row it is."
        )
    X, what = as_table(X), "task="
    if task_column is not None:
        what = f"task_column={task_column!r}"
        task = read_labels(X, task_column)
        X = drop_columns(X, find_columns(X, task_column))
    labels_of_rows = read_target(y)
    if isinstance(y, (list, tuple)):
        y = labels_of_rows
    labels, codes = TaskLabels.from_rows(task, what)
    check_consistent_length(X, y, codes)
    code = _find(labels, target, what)
    # Sorted by task at once: the handle then need not sort, and copies nothing.
    rows = np.argsort(codes, kind="stable")
    rows = rows[codes[rows] != code]
    if not len(rows):
        raise ValueError(f"{what} has one label only, {target!r}: there is no row of a source.")
    source = Source(take_rows(X, rows), labels_of_rows[rows], task=labels.classes[codes[rows]])
    mine = np.flatnonzero(codes == code)
    return source, take_rows(X, mine), take_rows(y, mine)


def _find(labels, target, what):
    shown = ", ".join(map(repr, labels.classes[:10].tolist())) + ", ..." * (len(labels) > 10)
    if not is_single_label(target, labels):
        raise ValueError(f"target={target!r} must be one of the labels of {what}: {shown}.")
    try:
        return labels.find(target, "target")
    except ValueError:
        raise ValueError(
            f"target={target!r} is not among the labels of {what}, which are: {shown}."
        ) from None
