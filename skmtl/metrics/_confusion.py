"""Metrics computed from counts per class: rows of the class, rows predicted to be of it, both."""

import numpy as np

__all__ = ["CONFUSION", "positive_class", "score_confusion"]

# By name: the ratio computed for every class, and its average over classes. "binary" is the ratio
# of the positive one of two classes, and "macro" if there are more.
CONFUSION = {
    **{
        name if average == "binary" else f"{name}_{average}": (name, average)
        for name in ("precision", "recall", "f1")
        for average in ("binary", "macro", "weighted", "micro")
    },
    "balanced_accuracy": ("recall", "macro"),
}


def positive_class(y, prediction, classes, pos_label, metric):
    """Return the class that precision, recall and F1 refer to; None if there are more than two.

    Parameters
    ----------
    y, prediction : ndarray of shape (n_rows,)
    classes : list or None
        In order, if the caller knows them.
    pos_label : object or None
    metric : str

    Raises
    ------
    ValueError
        If `pos_label` is none of two classes, or if a single class leaves it undetermined.
    """
    try:
        known = sorted({*y.tolist(), *prediction.tolist()})
    except TypeError:
        raise ValueError(
            "y_true and y_pred hold labels of mixed types; convert them to one type."
        ) from None
    given = [] if classes is None else np.asarray(classes).ravel().tolist()
    found = [*given, *(label for label in known if label not in given)]
    if pos_label is not None:
        if len(found) > 2 or (len(found) == 2 and pos_label not in found):
            raise ValueError(
                f"pos_label={pos_label!r} must be one of two classes, but the labels are "
                f"{found[:20]}; leave it out for the mean over classes, or give "
                f"metric='{metric}_macro'."
            )
        return pos_label
    if len(found) > 2:
        return None
    if len(found) == 2:
        return found[1]
    if found and found[0] not in (-1, 0, 1):
        raise ValueError(
            f"metric={metric!r} needs to know the positive class, but {found[0]!r} is the only "
            "class; give pos_label=, or labels= (a model's classes_)."
        )
    return 1  # of -1 and 1, 0 and 1, False and True


def score_confusion(rows, metric):
    """Return one of the `CONFUSION` metrics for every task, NaN where it is undefined.

    The mean over a task's classes leaves out those for which the ratio is undefined.
    """
    ratio, average = CONFUSION[metric]
    n_tasks, weight = len(rows.labels), rows.weight
    classes, coded = np.unique(np.concatenate([rows.y, rows.prediction]), return_inverse=True)
    truth, predicted = coded.ravel().reshape(2, -1)
    weight = np.ones(len(truth)) if weight is None else weight
    # One entry for every class that occurs in a task's labels or predictions.
    n_classes = max(len(classes), 1)
    keys = rows.codes * n_classes
    pairs, entry = np.unique(np.concatenate([keys + truth, keys + predicted]), return_inverse=True)
    of_truth, of_predicted = entry.ravel().reshape(2, -1)
    counts = (
        np.bincount(of_truth, weight, len(pairs)),
        np.bincount(of_predicted, weight, len(pairs)),
        np.bincount(of_truth, weight * (truth == predicted), len(pairs)),
    )
    task, label = np.divmod(pairs, n_classes)
    if average == "binary" and rows.positive is not None:
        is_positive = classes[label] == rows.positive
        out = np.full(n_tasks, np.nan)
        out[task[is_positive]] = _ratio(ratio, *(count[is_positive] for count in counts))
        return out
    if average == "micro":
        return _ratio(ratio, *(np.bincount(task, count, n_tasks) for count in counts))
    each = _ratio(ratio, *counts)
    share = np.where(np.isnan(each), 0.0, counts[0] if average == "weighted" else 1.0)
    total = np.bincount(task, share * np.nan_to_num(each), n_tasks)
    with np.errstate(invalid="ignore"):  # no class: 0 / 0
        return total / np.bincount(task, share, n_tasks)


def _ratio(name, of_class, predicted, both):
    """Return a ratio of the weights of rows: of the class, predicted to be of it, and both."""
    over = {"precision": predicted, "recall": of_class, "f1": (of_class + predicted) / 2}[name]
    with np.errstate(invalid="ignore"):  # 0 / 0
        return both / over
