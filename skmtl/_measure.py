"""What `python -m skmtl` measures: three ways to share, cross-validated outside of all tuning."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

from ._arguments import UserError
from .model_selection import TaskKFold, TaskTimeSeriesSplit

__all__ = ["SHARING", "Measured", "measure"]

SHARING = {"independent": "independent", "pooled": "pooled", "shared": "partial_pooling"}
_OTHERS = ("independent", "pooled")
_LEAST_PROBABILITY = np.finfo(np.float64).eps  # a flat "no" costs 36, not infinity


@dataclass
class Measured:
    """What there is to report.

    Attributes
    ----------
    report : dict of arrays
        As ``task_report_``, and ``"n_tested"``, the rows of every task that were held out in some
        fold, and ``"std_error_gain_over_..."``, the standard errors of the paired differences, in
        units of the gain.
    errors : dict of arrays of shape (n_samples,)
        Of every row: squared errors or log-losses. NaN for tasks of a single row, and for rows that
        no fold tested.
    right : dict of arrays of shape (n_samples,)
        Whether the predicted class was right; empty for numbers.
    model : estimator
        The shared one, fitted on all rows.
    """

    report: dict
    errors: dict
    right: dict
    model: object


def measure(data, n_folds):
    """Cross-validate independent, pooled and shared, outside of all tuning.

    Every row is predicted by models that have not seen it, nor any figure computed from it; the
    line for a task never seen holds out whole tasks. Where rows have a time, folds go forward in
    time and there is no such line.

    Parameters
    ----------
    data : TaskData
        Gets a note of every warning of the fit on all rows.
    n_folds : int

    Returns
    -------
    Measured
    """
    n_samples = np.bincount(data.codes, minlength=len(data.labels))
    with warnings.catch_warnings():
        # Training folds are smaller than the table; only the fit on all rows has a say (below).
        warnings.simplefilter("ignore")
        errors, right = _held_out(data, _splits(data, n_folds), list(SHARING), n_folds)
        unseen = {}
        if len(data.labels) > 2 and data.time is None:
            whole = GroupKFold(min(n_folds, len(data.labels)))
            splits = whole.split(data.target, groups=data.codes)
            unseen, _ = _held_out(data, splits, ["pooled", "shared"], n_folds)
    single = n_samples[data.codes] < 2
    for rows in (*errors.values(), *right.values()):
        rows[single] = np.nan
    model = _model(data, "shared", _inner_cv(data, np.arange(len(data.codes)), n_folds))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(data.table, data.target)
    data.notes.extend(f"warning: {_in_options(str(warning.message))}" for warning in caught)
    report = _task_report(data, errors, unseen, model.task_report_["used"], n_samples)
    return Measured(report, errors, right, model)


def _in_options(message):
    """A warning of the estimator with its parameter's name as the option of the command line."""
    message = message.replace("name them in categorical_columns=", "name them with --categorical")
    return message.replace("; where all are numbers, categorical_columns=[] says so", "")


def _model(data, way, cv):
    """One of the three, unfitted."""
    from skmtl import MultiTaskClassifier, MultiTaskRegressor

    face = MultiTaskRegressor if data.kind == "regression" else MultiTaskClassifier
    return face(sharing=SHARING[way], cv=cv, **data.face)


def _splits(data, n_folds):
    """The folds by which all three are judged."""
    if data.time is None:
        folds = TaskKFold(n_folds, shuffle=True, random_state=0)
        return folds.split(data.target, groups=data.codes)
    longest = _most_times(data, np.arange(len(data.codes)))
    first = longest - n_folds * max(1, longest // (n_folds + 1))
    if first < 2:
        raise UserError(
            f"--time {data.time}: even the longest {data.task_name} has only {longest} distinct "
            f"times; {n_folds} folds forward in time need {n_folds + 2}, so give fewer --folds"
        )
    folds = TaskTimeSeriesSplit(n_folds, time_column=data.time)
    return folds.split(data.table, groups=data.codes)


def _most_times(data, rows):
    """Distinct times of the task that has most of them."""
    times = data.table[data.time].iloc[rows].to_numpy()
    try:
        pairs = np.unique(times, return_inverse=True)[1].ravel(), data.codes[rows]
    except TypeError:
        raise UserError(f"--time {data.time}: that column holds values of mixed kinds") from None
    return int(np.bincount(np.unique(np.column_stack(pairs), axis=0)[:, 1]).max())


def _inner_cv(data, rows, n_folds):
    """How a model fitted on these rows is to be tuned: as it is judged, with as many folds or, on
    a short past, fewer."""
    if data.time is None:
        return n_folds
    n_folds = min(n_folds, max(1, _most_times(data, rows) - 1))
    return TaskTimeSeriesSplit(n_folds, time_column=data.time)


def _held_out(data, splits, names, n_folds):
    """Errors of every row when it was in a test fold, and whether its class was right, by way of
    sharing."""
    errors = {name: np.full(len(data.codes), np.nan) for name in names}
    right = {name: np.full(len(data.codes), np.nan) for name in names}
    for train, test in splits:
        past, cv = data.rows(train), _inner_cv(data, train, n_folds)
        for name in names:
            model = _model(data, name, cv).fit(past, data.target[train])
            target = data.target[test]
            if data.kind == "regression":
                errors[name][test] = (model.predict(data.rows(test)) - target) ** 2
            else:
                p = model.predict_proba(data.rows(test))
                errors[name][test] = _log_loss(p, target, model.classes_)
                right[name][test] = model.classes_[p.argmax(axis=1)] == target
    return errors, right if data.kind == "classification" else {}


def _log_loss(p, target, classes):
    """Of every row; a class that the training fold lacked has probability zero."""
    position = {label: k for k, label in enumerate(classes.tolist())}
    codes = np.array([position.get(label, -1) for label in target.tolist()])
    of_truth = np.where(codes < 0, 0.0, p[np.arange(len(p)), codes])
    return -np.log(np.maximum(of_truth, _LEAST_PROBABILITY))


def _by_task(data, errors):
    """Of the known errors of every task: how many, mean, and its standard error."""
    known = np.isfinite(errors)
    codes, errors, n_tasks = data.codes[known], errors[known], len(data.labels)
    count = np.bincount(codes, minlength=n_tasks)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(codes, errors, n_tasks) / count
        spread = np.bincount(codes, (errors - mean[codes]) ** 2, n_tasks)
        std_error = np.sqrt(spread / (count - 1) / count)
    return count, mean, np.where(count > 1, std_error, np.nan)


def _task_report(data, errors, unseen, used, n_samples):
    n_tested, _, _ = _by_task(data, errors["shared"])
    report = {
        "task": np.array([*data.labels, None], dtype=object),
        "n_samples": np.append(n_samples, 0),
        "n_tested": np.append(n_tested, 0),
        "used": used,  # both are sorted by task
    }
    for name, error in errors.items():
        _, mean, std_error = _by_task(data, error)
        new = unseen.get(name, np.array([np.nan]))
        report[f"error_{name}"] = np.append(mean, new.mean())
        report[f"std_error_{name}"] = np.append(std_error, new.std() / math.sqrt(len(new)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for other in _OTHERS:
            base = report[f"error_{other}"]
            report[f"gain_over_{other}"] = 1 - report["error_shared"] / base
            std_error = _by_task(data, errors[other] - errors["shared"])[2]
            report[f"std_error_gain_over_{other}"] = np.append(std_error, np.nan) / base
    return report
