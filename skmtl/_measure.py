"""Measurements of `python -m skmtl`: nested cross-validation of three kinds of sharing."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

from ._arguments import UserError
from .inspection.gains import OTHERS
from .model_selection import TaskKFold, TaskTimeSeriesSplit
from .tasks.targets import class_codes

__all__ = ["SHARING", "Measured", "by_task", "measure"]

SHARING = {"independent": "independent", "pooled": "pooled", "shared": "partial_pooling"}
_LEAST_PROBABILITY = np.finfo(np.float64).eps  # bounds the log-loss of a row by 36


@dataclass
class Measured:
    """Errors of the three kinds of sharing, and the fitted model.

    Attributes
    ----------
    report : dict of arrays
        A ``task_report_`` with two more entries: ``"n_tested"``, the number of rows of each task
        that were held out in some fold, and ``"std_error_gain_over_..."``, the standard errors of
        the paired differences in units of the gain.
    errors : dict of arrays of shape (n_samples,)
        Squared error or log-loss of each row. NaN for tasks of a single row, and for rows that are
        in no test fold.
    right : dict of arrays of shape (n_samples,)
        Whether the predicted class of each row was right; empty for regression.
    model : estimator
        The shared model, fitted on all rows.
    """

    report: dict
    errors: dict
    right: dict
    model: object


def measure(data, n_folds):
    """Cross-validate the independent, the pooled and the shared model, including their tuning.

    Every row is predicted by models that were fitted and tuned without it. The errors for a task
    never seen hold out whole tasks. If rows have a time, folds go forward in time, and the errors
    for a task never seen are not measured.

    Parameters
    ----------
    data : TaskData
        Warnings of the fit on all rows are appended to its notes.
    n_folds : int

    Returns
    -------
    Measured
    """
    n_samples = np.bincount(data.codes, minlength=len(data.labels))
    with warnings.catch_warnings():
        # Training folds are smaller than the table; only warnings of the fit on all rows matter.
        warnings.simplefilter("ignore")
        errors, right = _held_out(data, _splits(data, n_folds), list(SHARING), n_folds)
        unseen = {}
        if len(data.labels) > 2 and data.time is None:
            folds = GroupKFold(min(n_folds, len(data.labels)))
            splits = folds.split(data.target, groups=data.codes)
            unseen, _ = _held_out(data, splits, ["pooled", "shared"], n_folds)
    single = n_samples[data.codes] < 2
    for values in (*errors.values(), *right.values()):
        values[single] = np.nan
    model = _model(data, "shared", _inner_cv(data, np.arange(len(data.codes)), n_folds))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(data.table, data.target)
    data.notes.extend(f"warning: {_in_options(str(warning.message))}" for warning in caught)
    used = model.task_report_["used"]
    return Measured(_task_report(data, errors, unseen, used, n_samples), errors, right, model)


def _in_options(message):
    """Replace the estimator's parameter in a warning by the option of the command line."""
    message = message.replace("name them in categorical_columns=", "name them with --categorical")
    return message.replace("; if all are numbers, set categorical_columns=[]", "")


def _model(data, name, cv):
    """Return one of the three models, unfitted."""
    from skmtl import MultiTaskClassifier, MultiTaskRegressor

    estimator = MultiTaskRegressor if data.kind == "regression" else MultiTaskClassifier
    return estimator(sharing=SHARING[name], cv=cv, **data.parameters)


def _splits(data, n_folds):
    """Return the folds on which all three models are compared."""
    if data.time is None:
        return TaskKFold(n_folds, shuffle=True, random_state=0).split(
            data.target, groups=data.codes
        )
    longest = _most_times(data, np.arange(len(data.codes)))
    if longest - n_folds * max(1, longest // (n_folds + 1)) < 2:
        raise UserError(
            f"--time {data.time}: no {data.task_name} has more than {longest} distinct times, but "
            f"{n_folds} folds forward in time need {n_folds + 2}; give fewer --folds"
        )
    return TaskTimeSeriesSplit(n_folds, time_column=data.time).split(data.table, groups=data.codes)


def _most_times(data, rows):
    """Return the largest number of distinct times of a task."""
    times = data.table[data.time].iloc[rows].to_numpy()
    try:
        pairs = np.unique(times, return_inverse=True)[1].ravel(), data.codes[rows]
    except TypeError:
        raise UserError(
            f"--time {data.time}: that column holds values of mixed kinds; make them all numbers, "
            "all dates or all ISO strings"
        ) from None
    return int(np.bincount(np.unique(np.column_stack(pairs), axis=0)[:, 1]).max())


def _inner_cv(data, rows, n_folds):
    """Return the scheme that tunes a model on these rows.

    It is the outer one, with fewer folds if there are few distinct times.
    """
    if data.time is None:
        return n_folds
    n_folds = min(n_folds, max(1, _most_times(data, rows) - 1))
    return TaskTimeSeriesSplit(n_folds, time_column=data.time)


def _held_out(data, splits, names, n_folds):
    """Return the out-of-fold error of each row and whether its class was right, by model."""
    errors = {name: np.full(len(data.codes), np.nan) for name in names}
    right = {name: np.full(len(data.codes), np.nan) for name in names}
    for train, test in splits:
        X_train, cv = data.rows(train), _inner_cv(data, train, n_folds)
        for name in names:
            model = _model(data, name, cv).fit(X_train, data.target[train])
            target = data.target[test]
            if data.kind == "regression":
                errors[name][test] = (model.predict(data.rows(test)) - target) ** 2
            else:
                p = model.predict_proba(data.rows(test))
                errors[name][test] = _log_loss(p, target, model.classes_)
                right[name][test] = model.classes_[p.argmax(axis=1)] == target
    return errors, right if data.kind == "classification" else {}


def _log_loss(p, target, classes):
    """Return the log-loss of each row; a class missing from training has probability zero."""
    codes = class_codes(target, classes)
    p_true = np.where(codes < 0, 0.0, p[np.arange(len(p)), codes])
    return -np.log(np.maximum(p_true, _LEAST_PROBABILITY))


def by_task(data, errors):
    """Return the number, mean and standard error of the mean of each task's known errors."""
    known = np.isfinite(errors)
    codes, errors, n_tasks = data.codes[known], errors[known], len(data.labels)
    count = np.bincount(codes, minlength=n_tasks)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(codes, errors, n_tasks) / count
        squares = np.bincount(codes, (errors - mean[codes]) ** 2, n_tasks)
        std_error = np.sqrt(squares / (count - 1) / count)
    return count, mean, np.where(count > 1, std_error, np.nan)


def _task_report(data, errors, unseen, used, n_samples):
    report = {
        "task": np.array([*data.labels, None], dtype=object),
        "n_samples": np.append(n_samples, 0),
        "n_tested": np.append(by_task(data, errors["shared"])[0], 0),
        "used": used,  # both are sorted by task
    }
    for name, error in errors.items():
        _, mean, std_error = by_task(data, error)
        new = unseen.get(name, np.array([np.nan]))
        report[f"error_{name}"] = np.append(mean, new.mean())
        report[f"std_error_{name}"] = np.append(std_error, new.std() / math.sqrt(len(new)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for other in OTHERS:
            base = report[f"error_{other}"]
            report[f"gain_over_{other}"] = 1 - report["error_shared"] / base
            std_error = by_task(data, errors[other] - errors["shared"])[2]
            report[f"std_error_gain_over_{other}"] = np.append(std_error, np.nan) / base
    return report
