"""Labels, predictions, tasks and weights: checked, and brought into one row a label."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from ..tasks.encode import TaskLabels
from ._confusion import positive_class
from .formulas import METRICS

__all__ = ["Rows", "labelled_rows"]

_ROUNDING = 1e-3  # how far from 1 probabilities may add up: single precision, a few decimals


class Rows(NamedTuple):
    """Labelled rows of positive weight, in one dimension, and the tasks they belong to."""

    labels: np.ndarray  # (n_tasks,)
    n_samples: np.ndarray  # (n_tasks,), rows of weight zero included
    codes: np.ndarray  # (n_rows,), and so are the following
    y: np.ndarray  # the position among the classes where the metric is by class
    prediction: np.ndarray  # (n_rows, n_classes) where the metric is by class
    weight: np.ndarray | None
    own: np.ndarray | None  # (n_rows, n_classes): those of the row's task; None: all of them
    positive: object = None  # the class that precision, recall and F1 are of; None: their mean


def labelled_rows(
    y_true, y_pred, task, sample_weight, metric, classes=None, shared_classes=True, pos_label=None
):
    """Check all arguments and bring them into one form, `Rows`."""
    if not isinstance(shared_classes, (bool, np.bool_)):
        raise ValueError(
            f"shared_classes={shared_classes!r} must be True or False; give what a fitted model "
            "found, model.shared_classes_."
        )
    spec = METRICS[metric] if isinstance(metric, str) else None
    by_class = spec is not None and spec.by_class
    of_positive = spec is not None and spec.of_positive
    if classes is not None and not (by_class or of_positive):
        names = ", ".join(repr(name) for name, one in METRICS.items() if one.takes_classes)
        raise ValueError(
            f"labels={classes!r} goes with a metric that asks for the order of the classes "
            f"({names}); leave it out."
        )
    if pos_label is not None and not of_positive:
        names = ", ".join(repr(name) for name, one in METRICS.items() if one.of_positive)
        raise ValueError(
            f"pos_label={pos_label!r} goes with a metric of one class ({names}); leave it out."
        )
    if spec is not None and spec.reads != "numbers":
        y_true = _with_none(y_true)
    y = _as_array(y_true, "y_true", metric, spec is not None and spec.reads == "numbers")
    prediction = _as_array(y_pred, "y_pred", metric, spec is not None and spec.reads != "labels")
    _check_shapes(y, prediction, by_class)
    labels, codes = _row_codes(y.shape, task)
    weight = None if sample_weight is None else _check_weights(sample_weight, y.shape[0])
    if weight is not None and y.ndim == 2:
        weight = np.repeat(weight, y.shape[1])
    flat = prediction if y.ndim < prediction.ndim else prediction.ravel()
    columns = [codes, y.ravel(), flat, weight, None]
    columns = _keep(columns, ~_is_missing(columns[1]))
    missing = _is_missing(columns[2])
    if missing.any():
        raise ValueError(
            f"y_pred is NaN for {int(missing.sum())} labelled rows, the first in task "
            f"{labels.tolist()[columns[0][np.argmax(missing)]]!r}; give a prediction for every row "
            "that has a label."
        )
    if by_class:
        columns[1:3] = _by_class(columns[1], columns[2], classes, metric, shared_classes)
    elif spec is not None and spec.reads == "labels":
        _check_same_kind(columns[1], columns[2])
    positive = None
    if of_positive:
        positive = positive_class(*columns[1:3], classes, pos_label, metric)
    n_samples = np.bincount(columns[0], minlength=len(labels))
    if weight is not None:
        columns = _keep(columns, columns[3] > 0)
    if by_class and not shared_classes:  # of rows that count, and of no others
        columns[4] = _own_classes(*columns[:3], len(labels))
    return Rows(labels, n_samples, *columns, positive)


def _with_none(values):
    """Classes as they are, with None for pandas' NA, which can't be compared with anything."""
    if isinstance(values, (list, tuple)):  # numpy would turn ["yes", nan] into strings
        return np.array(values, dtype=object)
    if hasattr(values, "notna") and not np.asarray(values.notna()).all():
        return values.astype(object).where(values.notna(), None)
    return values


def _as_array(values, name, metric, is_number):
    """`values` as an array of one or two dimensions, NaN allowed."""
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
                "metric='accuracy' with what predict returns, or metric='log_loss', 'brier' or "
                "'roc_auc' with what predict_proba does."
            ) from error
        raise
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _check_shapes(y, prediction, by_class):
    if y.shape == prediction.shape:
        return
    if by_class and y.ndim == 1 and prediction.ndim == 2 and len(prediction) == len(y):
        return
    remedy = "give one prediction for every label"
    if by_class:
        remedy += ", or one column for every class"
    elif y.ndim == 1 and prediction.ndim == 2:
        remedy += " (are these probabilities? metric='log_loss', 'brier' and 'roc_auc' take them)"
    raise ValueError(
        f"y_pred has shape {prediction.shape}, but y_true has shape {y.shape}; {remedy}."
    )


def _is_missing(values):
    """Which rows hold a NaN or None."""
    missing = values != values  # NaN is the one value unequal to itself
    if values.dtype == object:
        missing = missing | (values == None)  # noqa: E711  by element
    return missing.any(axis=1) if missing.ndim == 2 else missing


def _check_same_kind(y, prediction, name="y_pred"):
    """Labels as strings against labels as numbers would never agree."""
    if not len(y):
        return
    one, other = y[:1].tolist()[0], prediction[:1].tolist()[0]
    if isinstance(one, str) != isinstance(other, str):
        raise ValueError(
            f"y_true holds labels such as {one!r}, but {name} such as {other!r}; convert them to "
            "the same kind. Probabilities go with metric='log_loss', 'brier' or 'roc_auc'."
        )


def _by_class(y, prediction, classes, metric, shared_classes=True):
    """Every row's position among the classes, and its prediction for each of them.

    Without `classes` they are the distinct values of `y`, sorted, over all tasks. Where tasks have
    classes of their own, a label that is not among them is one more, of probability zero.
    """
    is_given = classes is not None
    if is_given:
        classes = np.asarray(classes).ravel().tolist()
    else:
        try:
            classes = sorted(set(y.tolist()))
        except TypeError:
            raise ValueError("y_true holds labels of mixed kinds; make them alike.") from None
    position = {label: k for k, label in enumerate(classes)}
    _check_classes(prediction, classes, position, is_given)
    codes = np.fromiter((position.get(label, -1) for label in y.tolist()), np.int64, len(y))
    if (codes < 0).any() and shared_classes:
        label = y[int(np.argmax(codes < 0))].tolist() if y.dtype != object else y[codes < 0][0]
        raise ValueError(
            f"y_true has the label {label!r}, which is not among labels={classes}: there is no "
            "probability for it."
        )
    if METRICS[metric].reads == "probabilities":
        _check_probabilities(prediction, metric)
    if prediction.ndim == 1:
        prediction = np.column_stack([1.0 - prediction, prediction])
    if (codes < 0).any():
        _check_same_kind(y, np.array(classes, dtype=object), "labels=")
        unseen, place = np.unique(y[codes < 0], return_inverse=True)
        codes[codes < 0] = len(classes) + place
        prediction = np.pad(prediction, ((0, 0), (0, len(unseen))))
    return codes, prediction


def _own_classes(codes, y, prediction, n_tasks):
    """For every row the classes of its task: those predicted for, or shown by, any of its rows."""
    seen = prediction > 0
    seen[np.arange(len(y)), y] = True
    own = [np.bincount(codes, column, minlength=n_tasks) > 0 for column in seen.T]
    return np.column_stack(own)[codes]


def _check_classes(prediction, classes, position, is_given):
    """As many classes as columns of predictions, two of them where there is one column."""
    if len(position) < len(classes):
        raise ValueError(f"labels={classes} has repeated entries; give every class once.")
    n_columns = 2 if prediction.ndim == 1 else prediction.shape[1]
    if len(classes) == n_columns or (not is_given and not classes):
        return
    given = f"labels={classes}" if is_given else f"y_true has the distinct labels {classes}"
    columns = f"{n_columns} columns" if prediction.ndim == 2 else "one number a row (two classes)"
    raise ValueError(
        f"y_pred has {columns}, but {given}; give labels=, the class of each column in their "
        "order (a model's classes_)."
    )


def _check_probabilities(prediction, metric):
    outside = (prediction < 0) | (prediction > 1)
    if outside.any():
        raise ValueError(
            f"y_pred has values outside of 0 to 1, such as {prediction[outside][0]:.6g}; "
            f"metric={metric!r} needs probabilities, as predict_proba returns them."
        )
    if prediction.ndim == 2 and len(prediction):
        total = prediction.sum(axis=1)
        worst = total[np.argmax(np.abs(total - 1.0))]
        if abs(worst - 1.0) > _ROUNDING:
            raise ValueError(
                f"y_pred has a row that adds up to {worst:.6g} rather than 1; metric={metric!r} "
                "needs the probabilities of all classes, as predict_proba returns them."
            )


def _check_weights(sample_weight, n_samples):
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, but must be one weight a row: ({n_samples},)."
        )
    if (weight < 0).any():
        row = int(np.argmax(weight < 0))
        raise ValueError(
            f"sample_weight has negative weights, the first, {weight[row]}, in row {row}; "
            "give 0 for rows to be left out."
        )
    if not weight.any():
        raise ValueError("sample_weight is zero in every row; give some row a positive weight.")
    return weight


def _row_codes(shape, task):
    """Task labels, and the task of every entry of a `y_true` of that shape, row by row."""
    if len(shape) == 2:
        if task is not None:
            raise ValueError(
                f"task= goes with a one-dimensional y_true, but y_true has shape {shape}, where "
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
    return [None if c is None else c[mask] for c in columns]
