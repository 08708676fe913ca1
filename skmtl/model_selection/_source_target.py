"""Split of one table into source and target."""

from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length

from .._compat import take_rows
from .._typing import ArrayLike, MatrixLike, TaskColumn
from ..tasks.columns import as_table, drop_columns, find_columns
from ..tasks.encode import TaskLabels, is_single_label, read_labels
from ..transfer.source import Source, read_target

__all__ = ["source_target_split"]


def source_target_split(
    X: MatrixLike,
    y: ArrayLike,
    task: ArrayLike | None = None,
    *,
    target: Any,
    task_column: TaskColumn = None,
) -> tuple[Source, Any, Any]:
    """Split a table of several tasks into the rows of one, the target, and all others.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Table of all tasks.
    y : array-like of shape (n_samples,)
        Numbers or class labels.
    task : array-like of shape (n_samples,), default=None
        Task labels of the rows: strings or integers.
    target : str, int or bool
        Task label of the target.
    task_column : str, int or list of these, default=None
        Column of X with the task labels, instead of `task`: a name (data frames) or an index
        (arrays). It is dropped from both parts, and so must be missing from rows predicted later.

    Returns
    -------
    source : Source
        All rows but those of the target; each other task is one source.
    X_target : {ndarray, sparse matrix, data frame} of shape (n_target, n_features)
        Rows of the target, of the same type as X.
    y_target : {ndarray, series} of shape (n_target,)
        Labels of the target, of the same type as y.

    Raises
    ------
    ValueError
        If `target` is not among the task labels, or is the only one; if both or neither of `task`
        and `task_column` are given; or if task labels are missing or of mixed types.

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
            f"{given} of task= and task_column= were given; give one of them, to assign each row "
            "to its task."
        )
    X, argument = as_table(X), "task="
    if task_column is not None:
        argument = f"task_column={task_column!r}"
        task = read_labels(X, task_column)
        X = drop_columns(X, find_columns(X, task_column))
    y_rows = read_target(y)
    if isinstance(y, (list, tuple)):
        y = y_rows
    labels, codes = TaskLabels.from_rows(task, argument)
    check_consistent_length(X, y, codes)
    code = _find(labels, target, argument)
    rows = np.argsort(codes, kind="stable")  # sorted by task, so that Source copies nothing
    rows = rows[codes[rows] != code]
    if not len(rows):
        raise ValueError(
            f"{argument} has one label only, {target!r}: there are no rows for a source."
        )
    source = Source(take_rows(X, rows), y_rows[rows], task=labels.classes[codes[rows]])
    target_rows = np.flatnonzero(codes == code)
    return source, take_rows(X, target_rows), take_rows(y, target_rows)


def _find(labels, target, argument):
    shown = ", ".join(map(repr, labels.classes[:10].tolist())) + ", ..." * (len(labels) > 10)
    if not is_single_label(target, labels):
        raise ValueError(f"target={target!r} must be one of the labels of {argument}: {shown}.")
    try:
        return labels.find(target, "target")
    except ValueError:
        raise ValueError(
            f"target={target!r} is not among the labels of {argument}, which are: {shown}."
        ) from None
