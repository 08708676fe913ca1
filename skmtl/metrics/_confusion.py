"""Metrics that count, class by class, which rows were taken for it and which are of it."""

import numpy as np

__all__ = ["CONFUSION", "positive_class", "score_confusion"]

# By name: what is computed for every class, and how that becomes one figure. "binary" is the figure
# of the positive one of two classes, and "macro" where there are more.
CONFUSION = {
    **{
        name if average == "binary" else f"{name}_{average}": (name, average)
        for name in ("precision", "recall", "f1")
        for average in ("binary", "macro", "weighted", "micro")
    },
    "balanced_accuracy": ("recall", "macro"),
}


def positive_class(y, prediction, classes, pos_label, metric):
    """The class that precision, recall and F1 are of; None where there are more than two.

    Parameters
    ----------
    y, prediction : ndarray of shape (n_rows,)
    classes : list or None
        In order, where the caller knows them.
    pos_label : object or None
    metric : str

    Raises
    ------
    ValueError
        If `pos_label` is none of two classes, or cannot be told from a single one.
    """
    try:
        known = sorted({*y.tolist(), *prediction.tolist()})
    except TypeError:
        raise ValueError("y_true and y_pred hold labels of mixed kinds; make them alike.") from None
    given = [] if classes is None else np.asarray(classes).ravel().tolist()
    found = [*given, *(label for label in known if label not in given)]
    if pos_label is not None:
        if len(found) > 2 or (len(found) == 2 and pos_label not in found):
            raise ValueError(
                f"pos_label={pos_label!r} goes with two classes of which it is one, but the labels "
                f"are {found[:20]}; leave it out for the mean over classes, or give "
                f"metric='{metric}_macro'."
            )
        return pos_label
    if len(found) > 2:
        return None
    if len(found) == 2:
        return found[1]
    if found and found[0] not in (-1, 0, 1):
        raise ValueError(
            f"metric={metric!r} cannot tell which class is the positive one, as {found[0]!r} is "
            "the only one there is; give pos_label=, or labels= (a model's classes_)."
        )
    return 1  # of -1 and 1, 0 and 1, False and True


def score_confusion(rows, metric):
    """One of `CONFUSION` for every task, NaN where it is undefined.

    What is undefined for a class of a task is left out of the mean over its classes.
    """
    figure, average = CONFUSION[metric]
    n_tasks, weight = len(rows.labels), rows.weight
    classes, coded = np.unique(np.concatenate([rows.y, rows.prediction]), return_inverse=True)
    truth, guess = coded.ravel().reshape(2, -1)
    weight = np.ones(len(truth)) if weight is None else weight
    # One entry for every class that a task's labels or predictions show, and for no others.
    keys = rows.codes * max(len(classes), 1)
    pairs, entry = np.unique(np.concatenate([keys + truth, keys + guess]), return_inverse=True)
    of_truth, of_guess = entry.ravel().reshape(2, -1)
    real = np.bincount(of_truth, weight, len(pairs))
    taken = np.bincount(of_guess, weight, len(pairs))
    right = np.bincount(of_truth, weight * (truth == guess), len(pairs))
    task, label = np.divmod(pairs, max(len(classes), 1))
    if average == "binary" and rows.positive is not None:
        mine = classes[label] == rows.positive
        out = np.full(n_tasks, np.nan)
        out[task[mine]] = _figure(figure, real[mine], taken[mine], right[mine])
        return out
    if average == "micro":
        real, taken, right = (np.bincount(task, n, n_tasks) for n in (real, taken, right))
        return _figure(figure, real, taken, right)
    each = _figure(figure, real, taken, right)
    share = np.where(np.isnan(each), 0.0, real if average == "weighted" else 1.0)
    total = np.bincount(task, share * np.nan_to_num(each), n_tasks)
    with np.errstate(invalid="ignore"):  # no class: 0 / 0
        return total / np.bincount(task, share, n_tasks)


def _figure(figure, real, taken, right):
    """Of weights of rows: those of the class, those taken for it, and those that are both."""
    over = {"precision": taken, "recall": real, "f1": (real + taken) / 2}[figure]
    with np.errstate(invalid="ignore"):  # nothing to divide by: 0 / 0
        return right / over
