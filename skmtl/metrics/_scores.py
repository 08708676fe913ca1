"""Scores per task, and their averages over tasks."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from .._typing import ArrayLike, NDArray
from ._rows import labelled_rows
from .formulas import metric_name, score_tasks

__all__ = ["check_average", "task_score", "task_scores"]

_AVERAGES = ("macro", "micro", "median")


def task_scores(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    task: ArrayLike | None = None,
    metric: str | Callable = "r2",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    shared_classes: bool = True,
    pos_label: Any = None,
) -> dict[str, NDArray]:
    r"""Score the predictions of every task on its own.

    With :math:`w_i` the weights (1 without `sample_weight`), :math:`W_t` their sum over the
    labelled rows :math:`i` of task :math:`t` and :math:`\bar y_t` the weighted mean of its labels,

    .. math::
        \mathrm{mse}_t = \frac{1}{W_t} \sum_{i \in t} w_i (y_i - \hat y_i)^2, \quad
        \mathrm{nmse}_t = \frac{\mathrm{mse}_t}
        {\frac{1}{W_t} \sum_{i \in t} w_i (y_i - \bar y_t)^2}, \quad
        r^2_t = 1 - \mathrm{nmse}_t,

    rmse is the square root of mse, and mae has absolute values in place of squares.

    For classes, accuracy is the share of rows predicted correctly. Recall is the share of the rows
    of a class that are predicted to be of it; precision is the share of the rows predicted to be of
    a class that are of it; f1 is their harmonic mean. With two classes over all tasks, they refer
    to the positive one; with more, they are means over the classes that occur in the task's labels
    or predictions, as with "_macro". "_weighted" weighs these by the task's rows of each class, and
    "_micro" counts the rows of all classes together. balanced_accuracy is the mean recall over the
    task's classes.

    With :math:`p_{ik}` the probability of class :math:`k` in row :math:`i`, log_loss is the mean of
    :math:`-\log p_{i y_i}` (natural logarithm, probabilities clipped at 2e-16) and brier is the
    mean of :math:`\sum_k (p_{ik} - [y_i = k])^2`, halved for two classes. roc_auc is the share of
    the task's pairs of rows, one of the second class and one of the first, in which the former has
    the higher score; with more than two classes it is the mean over the classes that have such
    pairs in the task, each against the rest. For a task with all classes, these are scikit-learn's
    metrics.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels. With two dimensions, every column is a task. NaN (or None) means "not labelled" and
        is left out.
    y_pred : array-like of the shape of `y_true`, or of shape (n_samples, n_classes)
        Predictions, finite where `y_true` is not NaN: numbers, or classes for accuracy, precision,
        recall and f1. For log_loss and brier probabilities, for roc_auc any scores: one column per
        class in the order of `labels`, or those of the second of two classes.
    task : array-like of shape (n_samples,), default=None
        The task of every row: strings, integers or categories. Only with a one-dimensional
        `y_true`, which without `task` is a single task.
    metric : str or callable, default="r2"
        "r2", "mse", "mae", "rmse" or "nmse" for numbers; "accuracy", "balanced_accuracy",
        "precision", "recall", "f1" (each also as "f1_macro", "f1_weighted", "f1_micro" and so on),
        "log_loss", "brier" or "roc_auc" for classes. A callable is called for each task as
        ``metric(y_true, y_pred)``, with the further argument ``sample_weight=`` if weights are
        given.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, not negative. They count within a task.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns of `y_pred`, such as a model's ``classes_``, for
        log_loss, brier and roc_auc; for precision, recall and f1 they determine the positive class.
        None uses the sorted distinct values over all tasks. A task need not have all classes.
    shared_classes : bool, default=True
        Whether the classes are the same in every task, for log_loss, brier and roc_auc. If False,
        each task has classes of its own, as in a `MetaLearnerClassifier` whose ``shared_classes_``
        is False: those with a probability above zero in any of its rows, and those of its labels,
        where rows of weight zero do not count. Scores are then those of a model with these classes
        only (brier is halved if there are two), and a label that is not among `labels` has
        probability zero and is no error.
    pos_label : object, default=None
        The positive class if there are two, for precision, recall and f1. None means the second.

    Returns
    -------
    scores : dict of ndarray, each of shape (n_tasks,)
        In the style of ``cv_results_``, e.g. for ``pandas.DataFrame(scores)``: "task" (the labels,
        sorted, or the indices of the columns), "n_samples" (labelled rows) and "score". The score
        is NaN where the metric is undefined: without labelled rows of positive weight; r2 and nmse
        for fewer than two rows or labels without variance; roc_auc for a single class; precision
        without rows predicted to be of the class, recall without rows of it, and f1 without either.
        A mean over classes leaves out those for which it is undefined.

    Raises
    ------
    ValueError
        If shapes don't match; if `task` is given with several columns of `y_true`; if a labelled
        row has no finite prediction; if labels or weights are invalid; if `metric` is unknown; if
        `y_pred` are not probabilities; if `labels` or `pos_label` don't fit `y_true`, `y_pred` or
        `metric`; if a single class leaves the positive class undetermined; or if `shared_classes`
        is not a bool.

    Notes
    -----
    scikit-learn's "neg_log_loss" and "neg_brier_score" raise an error if the scored rows lack a
    class of the model, and "roc_auc_ovr" is too optimistic if tasks have classes of their own,
    because it is easy to distinguish a class from the rows of other tasks.

    Examples
    --------
    >>> from skmtl.metrics import task_scores
    >>> scores = task_scores(
    ...     [1.0, 2.0, 3.0, 10.0, 20.0], [1.0, 2.0, 4.0, 11.0, 19.0],
    ...     task=["a", "a", "a", "b", "b"], metric="mae",
    ... )
    >>> for task, n, score in zip(*scores.values()):
    ...     print(f"{task}: {n} rows, error {score:.2f}")
    a: 3 rows, error 0.33
    b: 2 rows, error 1.00

    A task with one class has a log-loss, but no roc_auc:

    >>> y_true, task = ["no", "yes", "no", "no"], ["a", "a", "b", "b"]
    >>> p_yes = [0.3, 0.6, 0.2, 0.4]
    >>> for metric in ("log_loss", "roc_auc"):
    ...     print(metric, task_scores(y_true, p_yes, task=task, metric=metric)["score"].round(2))
    log_loss [0.43 0.37]
    roc_auc [ 1. nan]
    """
    rows = labelled_rows(
        y_true, y_pred, task, sample_weight, metric, labels, shared_classes, pos_label
    )
    return {"task": rows.labels, "n_samples": rows.n_samples, "score": score_tasks(rows, metric)}


def task_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    task: ArrayLike | None = None,
    metric: str | Callable = "r2",
    average: Literal["macro", "micro", "median"] = "macro",
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    shared_classes: bool = True,
    pos_label: Any = None,
) -> float:
    """Average a metric over tasks.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels. With two dimensions, every column is a task. NaN means "not labelled" and is left
        out.
    y_pred : array-like of the shape of `y_true`, or of shape (n_samples, n_classes)
        Predictions, as in :func:`task_scores`.
    task : array-like of shape (n_samples,), default=None
        The task of every row. Only with a one-dimensional `y_true`, which without `task` is a
        single task.
    metric : str or callable, default="r2"
        As in :func:`task_scores`. Errors are returned as they are, not negated.
    average : {"macro", "micro", "median"}, default="macro"
        "macro" is the unweighted mean over tasks: a task of ten rows counts as much as one of a
        thousand. "median" is the median over tasks. Both leave out tasks for which the metric is
        undefined. "micro" is the metric over all labelled rows together, regardless of their task,
        so that large tasks count more. Differences between the means of the tasks then count as
        explained variance in r2 and nmse, and pairs of rows from different tasks count in roc_auc
        (for each class over the rows of tasks that have it, if classes are not shared). ("_macro"
        and "_micro" in a metric's name refer to classes.)
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, not negative. With "macro" and "median" they count within a task only.
    labels : array-like of shape (n_classes,), default=None
        As in :func:`task_scores`.
    shared_classes : bool, default=True
        As in :func:`task_scores`.
    pos_label : object, default=None
        As in :func:`task_scores`.

    Returns
    -------
    score : float
        NaN, with an ``UndefinedMetricWarning``, if the metric is undefined everywhere.

    Raises
    ------
    ValueError
        For the same reasons as in :func:`task_scores`, or if `average` is unknown.

    Examples
    --------
    >>> from skmtl.metrics import task_score
    >>> y_true, y_pred = [1.0, 2.0, 3.0, 10.0, 20.0], [1.0, 2.0, 4.0, 11.0, 19.0]
    >>> task = ["a", "a", "a", "b", "b"]
    >>> round(task_score(y_true, y_pred, task=task, metric="mae"), 3)
    0.667
    >>> round(task_score(y_true, y_pred, task=task, metric="mae", average="micro"), 3)
    0.6
    """
    check_average(average)
    rows = labelled_rows(
        y_true, y_pred, task, sample_weight, metric, labels, shared_classes, pos_label
    )
    if average == "micro":
        rows = rows._replace(labels=np.zeros(1, np.int64), codes=np.zeros_like(rows.codes))
    scores = score_tasks(rows, metric)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        warnings.warn(
            f"metric={metric_name(metric)} is undefined for every task, so the score is NaN; r2, "
            "nmse and roc_auc need at least two different labels, and precision, recall and f1 "
            "need rows of the class.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(np.median(scores) if average == "median" else np.mean(scores))


def check_average(average):
    """Raise for an unknown average."""
    if not (isinstance(average, str) and average in _AVERAGES):
        raise ValueError(
            f"average={average!r} is unknown; give one of {', '.join(map(repr, _AVERAGES))}."
        )
