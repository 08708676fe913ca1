"""What each metric is: its formula, for all tasks at once, and what it is computed from."""

from typing import NamedTuple

import numpy as np

from ._confusion import CONFUSION, score_confusion

__all__ = ["METRICS", "Metric", "check_metric", "metric_name", "score_tasks"]


class Metric(NamedTuple):
    """What the callers of a metric need to know of it."""

    greater_is_better: bool
    reads: str  # what y_pred is: "numbers", "labels", "probabilities" or "scores" of classes
    methods: tuple = ("predict",)  # of a model, the first that it has gives y_pred
    of_positive: bool = False  # whether it is, of two classes, the figure of the positive one

    @property
    def by_class(self):
        """Whether `y_pred` has a column, or a meaning, for every class."""
        return self.reads in ("probabilities", "scores")

    @property
    def takes_classes(self):
        """Whether the order of the classes says something."""
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


def metric_name(metric):
    """The metric as its user would write it."""
    if isinstance(metric, str):
        return repr(metric)
    return getattr(metric, "__name__", repr(metric))


def check_metric(metric):
    """Raise for a metric that is neither known by name nor callable."""
    if not callable(metric) and not (isinstance(metric, str) and metric in METRICS):
        raise ValueError(
            f"metric={metric!r} is unknown; give one of {', '.join(map(repr, METRICS))}, or a "
            "function metric(y_true, y_pred)."
        )


def score_tasks(rows, metric):
    """The metric of every task, NaN where it is undefined.

    Parameters
    ----------
    rows : Rows
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
    # Less one of the task's own labels, so that the variance of equal labels is exactly zero.
    anchor = np.zeros(len(rows.labels))
    anchor[rows.codes] = rows.y
    y = rows.y - anchor[rows.codes]
    deviation = y - _mean(y, rows)[rows.codes]
    variance = _mean(deviation * deviation, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        nmse = np.where(variance > 0, error / variance, np.nan)
    return 1.0 - nmse if metric == "r2" else nmse


def _accuracy(rows):
    return (rows.y == rows.prediction).astype(np.float64)


def _log_loss(rows):
    of_truth = rows.prediction[np.arange(len(rows.y)), rows.y]
    return -np.log(np.maximum(of_truth, np.finfo(np.float64).eps))  # a flat "no" costs 36, not inf


def _brier(rows):
    """The squared error of the probability, or with more than two classes of all of them."""
    n_classes = rows.prediction.shape[1]
    first = 1 if n_classes == 2 else 0
    truth = rows.y[:, None] == np.arange(first, n_classes)
    error = ((rows.prediction[:, first:] - truth) ** 2).sum(axis=1)
    if rows.own is None or n_classes == 2:
        return error
    return np.where(rows.own.sum(axis=1) == 2, error / 2, error)


_CLASS_LOSSES = {"accuracy": _accuracy, "log_loss": _log_loss, "brier": _brier}


def _roc_auc(rows):
    """Of two classes the area for the second; of more the mean over those the task can tell of.

    Only rows whose task has the class count for it: others say "no" without having learned to.
    """
    n_classes = rows.prediction.shape[1]
    classes = [1] if n_classes == 2 else range(n_classes)
    areas = np.array([_area(_rows_with_class(rows, k), k) for k in classes])
    defined = ~np.isnan(areas)
    with np.errstate(invalid="ignore"):  # no class: 0 / 0
        return np.where(defined, areas, 0.0).sum(axis=0) / defined.sum(axis=0)


def _rows_with_class(rows, k):
    """The rows whose task has class `k`."""
    if rows.own is None or rows.own[:, k].all():
        return rows
    columns = {name: getattr(rows, name) for name in ("codes", "y", "prediction", "weight")}
    kept = {name: c if c is None else c[rows.own[:, k]] for name, c in columns.items()}
    return rows._replace(**kept)


def _area(rows, k):
    """Share of a task's pairs (one of class `k`, one not) that the score for it puts right.

    Ties count half. NaN for a task without such pairs.
    """
    score, positive = rows.prediction[:, k], rows.y == k
    n_tasks = len(rows.labels)
    order = np.lexsort((score, rows.codes))
    codes, score, positive = rows.codes[order], score[order], positive[order]
    weight = np.ones(len(order)) if rows.weight is None else rows.weight[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (codes[1:] != codes[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(is_new)  # of the rows of one task with one score
    task = codes[starts]
    ups = np.add.reduceat(weight * positive, starts)
    downs = np.add.reduceat(weight * ~positive, starts)
    n_up, n_down = (np.bincount(task, mass, minlength=n_tasks) for mass in (ups, downs))
    below = np.cumsum(downs) - downs - (np.cumsum(n_down) - n_down)[task]
    won = np.bincount(task, ups * (below + 0.5 * downs), minlength=n_tasks)
    with np.errstate(invalid="ignore"):
        return np.where(n_up * n_down > 0, won / (n_up * n_down), np.nan)


def _mean(values, rows):
    """Weighted means of `values` over the rows of every task, NaN for a task without rows."""
    n_tasks = len(rows.labels)
    if rows.weight is not None:
        values = values * rows.weight
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.bincount(rows.codes, values, minlength=n_tasks) / np.bincount(
            rows.codes, rows.weight, minlength=n_tasks
        )


def _score_by_call(rows, metric):
    n_tasks = len(rows.labels)
    order = np.argsort(rows.codes, kind="stable")
    ends = np.cumsum(np.bincount(rows.codes, minlength=n_tasks))
    scores = np.full(n_tasks, np.nan)
    for t in range(n_tasks):
        block = order[(ends[t - 1] if t else 0) : ends[t]]
        if len(block):
            weight = {} if rows.weight is None else {"sample_weight": rows.weight[block]}
            scores[t] = float(metric(rows.y[block], rows.prediction[block], **weight))
    return scores
