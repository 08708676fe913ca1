"""Formulas of the metrics, computed for all tasks at once, and their inputs."""

from typing import NamedTuple

import numpy as np

from ._confusion import CONFUSION, score_confusion

__all__ = ["METRICS", "Metric", "find_metric", "metric_name", "score_tasks"]


class Metric(NamedTuple):
    """Properties of a metric."""

    greater_is_better: bool | None  # None: unknown
    reads: str  # y_pred: "numbers", "labels", "probabilities", "scores" of classes or "anything"
    methods: tuple = ("predict",)  # of a model; the first one it has gives y_pred
    of_positive: bool = False  # whether it refers to the positive one of two classes

    @property
    def by_class(self):
        """Whether `y_pred` has one column per class."""
        return self.reads in ("probabilities", "scores")

    @property
    def takes_classes(self):
        """Whether it depends on the order of the classes."""
        return self.by_class or self.of_positive


METRICS = {
    "r2": Metric(True, "numbers"),
    "mse": Metric(False, "numbers"),
    "mae": Metric(False, "numbers"),
    "rmse": Metric(False, "numbers"),
    "nmse": Metric(False, "numbers"),
    "accuracy": Metric(True, "labels"),
    **{
        name: Metric(True, "labels", of_positive=average == "binary")
        for name, (_, average) in CONFUSION.items()
    },
    "log_loss": Metric(False, "probabilities", ("predict_proba",)),
    "brier": Metric(False, "probabilities", ("predict_proba",)),
    "roc_auc": Metric(True, "scores", ("predict_proba", "decision_function")),
}


_CALLABLE = Metric(None, "anything")


def metric_name(metric):
    """Return the metric as it is written in code."""
    if isinstance(metric, str):
        return repr(metric)
    return getattr(metric, "__name__", repr(metric))


def find_metric(metric):
    """Return the properties of a metric; raise unless it is a known name or callable."""
    if callable(metric):
        return _CALLABLE
    if isinstance(metric, str) and metric in METRICS:
        return METRICS[metric]
    raise ValueError(
        f"metric={metric!r} is unknown; give one of {', '.join(map(repr, METRICS))}, or a "
        "function metric(y_true, y_pred)."
    )


def score_tasks(rows, metric):
    """Return the metric of every task, NaN where it is undefined.

    Parameters
    ----------
    rows : LabelledRows
    metric : str or callable

    Returns
    -------
    ndarray of shape (n_tasks,)
    """
    if callable(metric):
        return _score_by_call(rows, metric)
    if metric == "roc_auc":
        return _roc_auc(rows)
    if metric in CONFUSION:
        return score_confusion(rows, metric)
    if metric in _CLASS_LOSSES:
        return _mean(_CLASS_LOSSES[metric](rows), rows)
    difference = rows.y - rows.prediction
    error = _mean(np.abs(difference) if metric == "mae" else difference * difference, rows)
    if metric in ("mse", "mae"):
        return error
    if metric == "rmse":
        return np.sqrt(error)
    # Relative to one of the task's labels, so that the variance of equal labels is exactly zero.
    origin = np.zeros(len(rows.labels))
    origin[rows.codes] = rows.y
    y = rows.y - origin[rows.codes]
    deviation = y - _mean(y, rows)[rows.codes]
    variance = _mean(deviation * deviation, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        nmse = np.where(variance > 0, error / variance, np.nan)
    return 1.0 - nmse if metric == "r2" else nmse


def _accuracy(rows):
    return (rows.y == rows.prediction).astype(np.float64)


def _log_loss(rows):
    of_truth = rows.prediction[np.arange(len(rows.y)), rows.y]
    return -np.log(np.maximum(of_truth, np.finfo(np.float64).eps))  # at most 36


def _brier(rows):
    """Return squared errors of the probability of the second of two classes, or of all classes."""
    n_classes = rows.prediction.shape[1]
    first = 1 if n_classes == 2 else 0
    truth = rows.y[:, None] == np.arange(first, n_classes)
    error = ((rows.prediction[:, first:] - truth) ** 2).sum(axis=1)
    if rows.task_classes is None or n_classes == 2:
        return error
    return np.where(rows.task_classes.sum(axis=1) == 2, error / 2, error)


_CLASS_LOSSES = {"accuracy": _accuracy, "log_loss": _log_loss, "brier": _brier}


def _roc_auc(rows):
    """Return the area for the second of two classes, or the mean over the classes of the task.

    For each class, only the rows of tasks that have it count.
    """
    n_classes = rows.prediction.shape[1]
    classes = [1] if n_classes == 2 else range(n_classes)
    areas = np.array([_area(_rows_with_class(rows, k), k) for k in classes])
    defined = ~np.isnan(areas)
    with np.errstate(invalid="ignore"):  # no class: 0 / 0
        return np.where(defined, areas, 0.0).sum(axis=0) / defined.sum(axis=0)


def _rows_with_class(rows, k):
    """Return the rows whose task has class `k`."""
    if rows.task_classes is None or rows.task_classes[:, k].all():
        return rows
    columns = {name: getattr(rows, name) for name in ("codes", "y", "prediction", "weight")}
    kept = rows.task_classes[:, k]
    return rows._replace(**{name: c if c is None else c[kept] for name, c in columns.items()})


def _area(rows, k):
    """Return the share of a task's pairs of rows, of class `k` and not, that are ranked correctly.

    Ties count half. The share is NaN for a task without such pairs.
    """
    score, positive = rows.prediction[:, k], rows.y == k
    n_tasks = len(rows.labels)
    order = np.lexsort((score, rows.codes))
    codes, score, positive = rows.codes[order], score[order], positive[order]
    weight = np.ones(len(order)) if rows.weight is None else rows.weight[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (codes[1:] != codes[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(is_new)  # of runs of rows of one task with the same score
    task = codes[starts]
    of_class = np.add.reduceat(weight * positive, starts)
    others = np.add.reduceat(weight * ~positive, starts)
    n_of_class, n_others = (np.bincount(task, sums, n_tasks) for sums in (of_class, others))
    below = np.cumsum(others) - others - (np.cumsum(n_others) - n_others)[task]
    correct = np.bincount(task, of_class * (below + 0.5 * others), n_tasks)
    n_pairs = n_of_class * n_others
    with np.errstate(invalid="ignore"):
        return np.where(n_pairs > 0, correct / n_pairs, np.nan)


def _mean(values, rows):
    """Return weighted means of `values` over every task's rows, NaN for a task without rows."""
    n_tasks = len(rows.labels)
    if rows.weight is not None:
        values = values * rows.weight
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.bincount(rows.codes, values, n_tasks) / np.bincount(
            rows.codes, rows.weight, n_tasks
        )


def _score_by_call(rows, metric):
    n_tasks = len(rows.labels)
    order = np.argsort(rows.codes, kind="stable")
    ends = np.cumsum(np.bincount(rows.codes, minlength=n_tasks))
    scores = np.full(n_tasks, np.nan)
    for t, block in enumerate(np.split(order, ends[:-1])):
        if len(block):
            weight = {} if rows.weight is None else {"sample_weight": rows.weight[block]}
            scores[t] = float(metric(rows.y[block], rows.prediction[block], **weight))
    return scores
