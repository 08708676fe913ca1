"""Checks of labels, predictions, tasks and weights, and their conversion to one row per label."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from ..tasks.encode import TaskLabels
from ._confusion import positive_class
from .formulas import METRICS, find_metric

__all__ = ["LabelledRows", "labelled_rows"]

_ROUNDING = 1e-3  # tolerance on sums of probabilities: single precision, or a few decimals


class LabelledRows(NamedTuple):
    """Labelled rows of positive weight, flattened to one dimension, and their tasks."""

    labels: np.ndarray  # (n_tasks,)
    n_samples: np.ndarray  # (n_tasks,), rows of weight zero included
    codes: np.ndarray  # (n_rows,), as all the following
    y: np.ndarray  # position among the classes if the metric is by class
    prediction: np.ndarray  # (n_rows, n_classes) if the metric is by class
    weight: np.ndarray | None
    task_classes: np.ndarray | None  # (n_rows, n_classes), which the row's task has; None: all
    positive: object = None  # class of precision, recall and F1; None: their mean over classes


def labelled_rows(
    y_true, y_pred, task, sample_weight, metric, classes=None, shared_classes=True, pos_label=None
):
    """Check all arguments and convert them to `LabelledRows`."""
    spec = find_metric(metric)
    if not isinstance(shared_classes, (bool, np.bool_)):
        raise ValueError(
            f"shared_classes={shared_classes!r} must be True or False; give a fitted model's "
            "attribute, model.shared_classes_."
        )
    if classes is not None and not spec.takes_classes:
        names = ", ".join(repr(name) for name, one in METRICS.items() if one.takes_classes)
        raise ValueError(
            f"labels={classes!r} is only for metrics that depend on the order of the classes "
            f"({names}); leave it out."
        )
    if pos_label is not None and not spec.of_positive:
        names = ", ".join(repr(name) for name, one in METRICS.items() if one.of_positive)
        raise ValueError(
            f"pos_label={pos_label!r} is only for metrics of one class ({names}); leave it out."
        )
    if spec.reads not in ("numbers", "anything"):
        y_true = _with_none(y_true)
    y = _as_array(y_true, "y_true", metric, spec.reads == "numbers")
    is_number = spec.reads in ("numbers", "probabilities", "scores")
    prediction = _as_array(y_pred, "y_pred", metric, is_number)
    _check_shapes(y, prediction, spec.by_class)
    labels, codes = _row_codes(y.shape, task)
    weight = None if sample_weight is None else _check_weights(sample_weight, y.shape[0])
    if weight is not None and y.ndim == 2:
        weight = np.repeat(weight, y.shape[1])
    if y.ndim >= prediction.ndim:
        prediction = prediction.ravel()
    y = y.ravel()
    codes, y, prediction, weight = _keep((codes, y, prediction, weight), ~_is_missing(y))
    missing = _is_missing(prediction)
    if missing.any():
        raise ValueError(
            f"y_pred is NaN for {int(missing.sum())} labelled rows, the first in task "
            f"{labels.tolist()[codes[np.argmax(missing)]]!r}; give a prediction for every row "
            "that has a label."
        )
    positive = task_classes = None
    if spec.by_class:
        y, prediction = _by_class(y, prediction, classes, metric, shared_classes)
    elif spec.reads == "labels":
        _check_same_kind(y, prediction)
    if spec.of_positive:
        positive = positive_class(y, prediction, classes, pos_label, metric)
    n_samples = np.bincount(codes, minlength=len(labels))
    if weight is not None:
        codes, y, prediction, weight = _keep((codes, y, prediction, weight), weight > 0)
    if spec.by_class and not shared_classes:  # of rows of positive weight only
        task_classes = _task_classes(codes, y, prediction, len(labels))
    return LabelledRows(labels, n_samples, codes, y, prediction, weight, task_classes, positive)


def _with_none(values):
    """Return classes with None in place of pandas' NA, which does not support comparison."""
    if isinstance(values, (list, tuple)):  # numpy would convert ["yes", nan] to strings
        return np.array(values, dtype=object)
    if hasattr(values, "notna") and not np.asarray(values.notna()).all():
        return values.astype(object).where(values.notna(), None)
    return values


def _as_array(values, name, metric, is_number):
    """Return `values` as an array of one or two dimensions; NaN is allowed."""
    try:
        values = check_array(
            values,
            ensure_2d=False,
            dtype=np.float64 if is_number else None,
            ensure_all_finite="allow-nan",
            input_name=name,
        )
    except (TypeError, ValueError) as error:
        if is_number and "convert" in str(error):
            raise ValueError(
                f"{name} must be numbers for metric={metric!r} ({error}); for classes give "
                "metric='accuracy' with the output of predict, or metric='log_loss', 'brier' or "
                "'roc_auc' with that of predict_proba."
            ) from error
        raise
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _check_shapes(y, prediction, by_class):
    if y.shape == prediction.shape:
        return
    if by_class and y.ndim == 1 and prediction.ndim == 2 and len(prediction) == len(y):
        return
    remedy = "give one prediction per label"
    if by_class:
        remedy += ", or one column per class"
    elif y.ndim == 1 and prediction.ndim == 2:
        remedy += " (for probabilities use metric='log_loss', 'brier' or 'roc_auc')"
    raise ValueError(
        f"y_pred has shape {prediction.shape}, but y_true has shape {y.shape}; {remedy}."
    )


def _is_missing(values):
    """Return which rows hold a NaN or None."""
    missing = values != values  # NaN is the only value unequal to itself
    if values.dtype == object:
        missing = missing | (values == None)  # noqa: E711  elementwise
    return missing.any(axis=1) if missing.ndim == 2 else missing


def _check_same_kind(y, prediction, name="y_pred"):
    """Raise if one of them holds strings and the other numbers, which are never equal."""
    if not len(y):
        return
    one, other = y[:1].tolist()[0], prediction[:1].tolist()[0]
    if isinstance(one, str) != isinstance(other, str):
        raise ValueError(
            f"y_true holds labels such as {one!r}, but {name} such as {other!r}; convert them to "
            "the same type. For probabilities use metric='log_loss', 'brier' or 'roc_auc'."
        )


def _by_class(y, prediction, classes, metric, shared_classes):
    """Return every row's position among the classes, and its prediction for each class.

    If `classes` is None, they are the sorted distinct values of `y` over all tasks. If classes are
    not shared, a label that is not among them becomes a further class, of probability zero.
    """
    is_given = classes is not None
    if is_given:
        classes = np.asarray(classes).ravel().tolist()
    else:
        try:
            classes = sorted(set(y.tolist()))
        except TypeError:
            raise ValueError(
                "y_true holds labels of mixed types; convert them to one type."
            ) from None
    position = {label: k for k, label in enumerate(classes)}
    if len(position) < len(classes):
        raise ValueError(f"labels={classes} has repeated entries; give every class once.")
    _check_n_columns(prediction, classes, is_given)
    codes = np.fromiter((position.get(label, -1) for label in y.tolist()), np.int64, len(y))
    if (codes < 0).any() and shared_classes:
        label = y[int(np.argmax(codes < 0))].tolist() if y.dtype != object else y[codes < 0][0]
        raise ValueError(
            f"y_true has the label {label!r}, which is not among labels={classes}: y_pred has no "
            "column for it."
        )
    if METRICS[metric].reads == "probabilities":
        _check_probabilities(prediction, metric)
    if prediction.ndim == 1:
        prediction = np.column_stack([1.0 - prediction, prediction])
    if (codes < 0).any():
        _check_same_kind(y, np.array(classes, dtype=object), "labels=")
        unseen, unseen_codes = np.unique(y[codes < 0], return_inverse=True)
        codes[codes < 0] = len(classes) + unseen_codes
        prediction = np.pad(prediction, ((0, 0), (0, len(unseen))))
    return codes, prediction


def _task_classes(codes, y, prediction, n_tasks):
    """Return for every row which classes its task has: predicted for, or label of, any row."""
    seen = prediction > 0
    seen[np.arange(len(y)), y] = True
    return np.column_stack([np.bincount(codes, k, minlength=n_tasks) > 0 for k in seen.T])[codes]


def _check_n_columns(prediction, classes, is_given):
    """Raise unless `prediction` has one column per class, or one number per row for two classes."""
    n_columns = 2 if prediction.ndim == 1 else prediction.shape[1]
    if len(classes) == n_columns or (not is_given and not classes):
        return
    given = f"labels={classes}" if is_given else f"y_true has the distinct labels {classes}"
    columns = f"{n_columns} columns" if prediction.ndim == 2 else "one number per row (two classes)"
    raise ValueError(
        f"y_pred has {columns}, but {given}; give labels=, the class of each column in their "
        "order (a model's classes_)."
    )


def _check_probabilities(prediction, metric):
    outside = (prediction < 0) | (prediction > 1)
    if outside.any():
        raise ValueError(
            f"y_pred has values outside of 0 to 1, such as {prediction[outside][0]:.6g}; "
            f"metric={metric!r} needs probabilities, such as the output of predict_proba."
        )
    if prediction.ndim == 2 and len(prediction):
        total = prediction.sum(axis=1)
        worst = total[np.argmax(np.abs(total - 1.0))]
        if abs(worst - 1.0) > _ROUNDING:
            raise ValueError(
                f"y_pred has a row that adds up to {worst:.6g} rather than 1; metric={metric!r} "
                "needs the probabilities of all classes, such as the output of predict_proba."
            )


def _check_weights(sample_weight, n_samples):
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, but needs one weight per row: ({n_samples},)."
        )
    if (weight < 0).any():
        row = int(np.argmax(weight < 0))
        raise ValueError(
            f"sample_weight has negative weights, the first, {weight[row]}, in row {row}; "
            "give 0 to leave a row out."
        )
    if not weight.any():
        raise ValueError("sample_weight is zero in every row; give some row a positive weight.")
    return weight


def _row_codes(shape, task):
    """Return task labels, and the task of every entry of a `y_true` of this shape, by row."""
    if len(shape) == 2:
        if task is not None:
            raise ValueError(
                f"task= is only for a one-dimensional y_true, but y_true has shape {shape}, where "
                "every column is a task; leave task out."
            )
        labels = np.arange(shape[1])
        return labels, np.tile(labels, shape[0])
    if task is None:
        return np.zeros(1, dtype=np.int64), np.zeros(shape[0], dtype=np.int64)
    tasks, codes = TaskLabels.from_rows(task, what="task")
    if len(codes) != shape[0]:
        raise ValueError(f"task has {len(codes)} labels, but y_true has {shape[0]} rows.")
    return tasks.classes, codes


def _keep(columns, mask):
    if mask.all():
        return columns
    return [None if column is None else column[mask] for column in columns]
