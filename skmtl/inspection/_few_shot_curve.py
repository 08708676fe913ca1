"""Scores of new tasks against their number of labelled rows."""

import numbers
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sklearn
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch, check_consistent_length, check_random_state
from sklearn.utils.metaestimators import available_if

from .._compat import take_rows
from .._typing import ArrayLike, MatrixLike, RandomState
from ..metrics import task_scorer
from ..metrics.formulas import METRICS
from ..model_selection import FewShotSplit
from ..tasks.columns import are_names, as_table, column_names, has_columns
from ..tasks.encode import TaskLabels, read_labels
from ..tasks.stack import as_dense
from ..tasks.targets import align_classes, check_classes, check_numbers
from .common import find_model

__all__ = ["few_shot_curve", "final_step"]


def few_shot_curve(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    *,
    task: ArrayLike | None = None,
    shots: Sequence[int] = (1, 2, 5, 10, 20),
    n_splits: int = 5,
    scoring: str | Callable | None = None,
    baseline: Any = None,
    random_state: RandomState = 0,
    n_jobs: int | None = None,
) -> Bunch:
    """Score adapted, independent and pooled models on new tasks with few labelled rows.

    The folds of `FewShotSplit` hold out whole tasks. In each fold, a clone of the estimator is
    fitted once, on the other tasks; for each number of shots it is adapted to that many rows of
    every held-out task. All models are scored on the same rows, none of which are shots. A larger
    number of shots includes the rows of the smaller ones, so that the curves are paired.

    Parameters
    ----------
    estimator : estimator
        A `MetaLearnerClassifier`, `MetaLearnerRegressor`, `MultiTaskClassifier` or
        `MultiTaskRegressor`, or a Pipeline that ends in one. It need not be fitted and is left
        unchanged.
    X : array-like or data frame of shape (n_samples, n_features)
        Table of all tasks.
    y : array-like of shape (n_samples,)
        Labels: classes, or numbers for regressors.
    task : array-like of shape (n_samples,), default=None
        Task labels of the rows. Needed if `estimator` has no `task_column`, or if it is behind a
        Pipeline and its task column is an index, or a column that the Pipeline makes.
    shots : sequence of int, default=(1, 2, 5, 10, 20)
        Numbers of labelled rows of a new task: per class, or in total for regressors. Each class of
        a task keeps one row for testing, so small classes have fewer shots. Numbers that exceed the
        rows of more than half of the tasks' classes are left out, with a warning.
    n_splits : int, default=5
        Number of folds.
    scoring : str, callable or None, default=None
        "accuracy", "log_loss", "brier", "roc_auc", "r2", "mse", "mae", "rmse" or "nmse", as in
        :func:`skmtl.metrics.task_scores`; the name of another scikit-learn scorer; or a scorer,
        ``scorer(estimator, X, y)``. None means accuracy for classifiers, and R² for regressors.
    baseline : estimator, default=None
        Estimator of the independent and pooled models. None is ``LogisticRegression()``, which can
        be fitted to a single row per class, or ``RidgeCV((0.1, 1.0, 10.0, 100.0))`` for regressors:
        on few rows, weaker penalties would be chosen by chance.
    random_state : int, RandomState instance or None, default=0
        Seed of the folds and of the draw of shots.
    n_jobs : int, default=None
        Number of folds that are computed in parallel, by joblib.

    Returns
    -------
    curve : sklearn.utils.Bunch, a dict of arrays
        Dictionary-like object with the attributes

        shots : ndarray of shape (n_shots,)
            The numbers of shots, ascending.
        task : ndarray of shape (n_tasks,)
            Labels of the tasks that were scored.
        n_test : ndarray of shape (n_tasks,)
            Number of rows that each task was scored on.
        adapted : ndarray of shape (n_shots, n_tasks)
            Scores of the adapted estimator; NaN where the metric is undefined.
        independent : ndarray of shape (n_shots, n_tasks)
            Scores of the baseline, fitted on the shots alone.
        pooled : ndarray of shape (n_tasks,)
            Scores of one baseline for all training tasks, which uses no shots. Missing if each task
            has classes of its own.

    Raises
    ------
    TypeError
        If `estimator` has no ``adapt``, or if `shots` are not integers.
    ValueError
        If the task labels are missing or given twice; if `shots` or `scoring` are invalid; if no
        task has enough rows, or there are fewer tasks than folds; if a class that tasks share
        occurs in the tasks of a single fold only; or if folds differ on whether classes are shared.

    Warns
    -----
    UserWarning
        If numbers of shots are left out.

    See Also
    --------
    FewShotCurveDisplay : Draws the curves.
    skmtl.model_selection.FewShotSplit : The folds, for scikit-learn's tools.

    Notes
    -----
    The baselines are fitted on the features that `estimator` makes of the columns, standardised
    over the training tasks. A task with a single class is used for training, but not scored.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MetaLearnerRegressor
    >>> from skmtl.inspection import few_shot_curve
    >>> rng = np.random.default_rng(0)
    >>> task = np.repeat(np.arange(30), 12)
    >>> X = rng.normal(size=(360, 4))
    >>> slope = 1 + 0.3 * rng.normal(size=30)
    >>> y = slope[task] * X.sum(axis=1) + rng.normal(size=360)
    >>> curve = few_shot_curve(
    ...     MetaLearnerRegressor("subspace"), X, y, task=task, shots=(1, 5), n_splits=2,
    ...     scoring="rmse",
    ... )
    >>> curve.adapted.shape
    (2, 30)
    >>> bool((curve.adapted.mean(axis=1) < curve.independent.mean(axis=1)).all())
    True
    """
    model = final_step(estimator)
    classifies = is_classifier(estimator)
    scorer = _scorer(scoring, classifies)
    shots = _check_shots(shots)
    X = as_table(X)
    labels = check_classes(y) if classifies else check_numbers(y)
    tasks, codes = TaskLabels.from_rows(_row_tasks(estimator, X, task))
    check_consistent_length(X, labels, codes)
    groups = _task_classes(codes, labels) if classifies else codes
    chosen = _scored_rows(codes, groups, classifies)
    shots = _affordable(shots, np.unique(groups[chosen], return_counts=True)[1])
    if baseline is None:
        baseline = LogisticRegression() if classifies else RidgeCV((0.1, 1.0, 10.0, 100.0))
    if not isinstance(random_state, numbers.Integral):
        random_state = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    folds = list(_folds(codes, labels, chosen, shots, n_splits, classifies, random_state))
    if classifies and getattr(model, "shared_classes", True) is True:
        for train, support, test in folds:
            _check_known_classes(labels[np.union1d(support[-1], test)], labels[train])
    routed = task if getattr(model, "task_column", None) is None else None
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(estimator, X, labels, routed, codes, *fold, baseline, scorer)
        for fold in folds
    )
    n_shared = sum("pooled" in part for part in parts)
    if 0 < n_shared < len(parts):
        raise ValueError(
            f"folds differ on whether classes are shared (in {n_shared} of {len(parts)} folds they "
            "are); set shared_classes=True or False."
        )
    order = np.argsort(np.concatenate([part["task"] for part in parts]))
    curve = {
        name: np.concatenate([part[name] for part in parts], axis=-1)[..., order]
        for name in parts[0]
    }
    return Bunch(shots=np.array(shots), **(curve | {"task": tasks.classes[curve["task"]]}))


# --------------------------------------------------------------------------------- arguments


def final_step(estimator):
    """Return the last step of a Pipeline, or the estimator itself, which must have ``adapt``."""
    model = estimator
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    if not hasattr(model, "adapt"):
        raise TypeError(
            f"estimator={estimator!r} has no adapt(X_support, y_support); give a "
            "MetaLearnerClassifier or MetaLearnerRegressor, or a Pipeline that ends in one (of a "
            "search its best_estimator_)."
        )
    return model


def _scorer(scoring, classifies):
    """Return a scorer; of the metrics in `skmtl.metrics`, errors are not negated."""
    if scoring is None:
        scoring = "accuracy" if classifies else "r2"
    if callable(scoring):
        return scoring
    if not isinstance(scoring, str) or scoring not in METRICS:
        try:
            return get_scorer(scoring)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"scoring={scoring!r} is unknown; give one of {', '.join(map(repr, METRICS))}, the "
                "name of a scikit-learn scorer, or a function scorer(estimator, X, y)."
            ) from error
    return _TaskMetric(scoring)


class _TaskMetric:
    """Metric of `skmtl.metrics` for the model of one task: not negated, NaN if undefined."""

    def __init__(self, name):
        self.scorer = task_scorer(name)
        self.sign = 1 if METRICS[name].greater_is_better else -1

    def __call__(self, model, X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            return self.sign * self.scorer(model, X, y)


def _check_shots(shots):
    shots = np.atleast_1d(np.asarray(shots))
    if shots.ndim != 1 or not len(shots) or shots.dtype.kind not in "iu":
        raise TypeError(f"shots={shots.tolist()!r} must be integers, such as (1, 2, 5, 10, 20).")
    if shots.min() < 1:
        raise ValueError(f"shots={shots.tolist()!r}: each must be at least 1.")
    return np.unique(shots).tolist()


def _row_tasks(estimator, X, task):
    """Return the task label of every row of `X`."""
    column = getattr(final_step(estimator), "task_column", None)
    behind = isinstance(estimator, Pipeline) and len(estimator.steps) > 1
    if task is not None:
        if column is not None and (not behind or has_columns(X, column)):
            raise ValueError(f"both task_column={column!r} and task= were given; give one of them.")
        return task
    if column is None:
        raise ValueError("task=None and the estimator has no task_column: give one of them.")
    if behind and (not are_names(column) or column_names(X) is None):
        raise ValueError(
            f"task_column={column!r} is a column behind a Pipeline, which is not fitted yet; give "
            "the task label of every row as task=."
        )
    return read_labels(as_table(X), column)


def _check_known_classes(held_out, known):
    """Raise if a held-out task has a class that the training tasks do not have."""
    unknown = np.setdiff1d(held_out, known).tolist()
    if unknown:
        raise ValueError(
            f"class {unknown[0]!r} occurs in the tasks of a single fold only, so that it is "
            "unknown when these are held out; drop its rows or, if each task has classes of its "
            "own, use MetaLearnerClassifier(shared_classes=False)."
        )


def _check_task_column(found, codes, table, held_out):
    """Raise if the task column behind a Pipeline has other tasks than `codes`.

    `table` holds the training rows, with these codes, and `held_out` the rows of held-out tasks,
    whose labels an encoder may not know and merge.
    """
    column = getattr(found.model, "task_column", None)
    if column is None or not found.heads:
        return
    labels, of_held_out = (
        np.asarray(read_labels(as_table(part), column)) for part in (table, held_out)
    )
    tasks, column_codes = TaskLabels.from_rows(labels)
    n_pairs = len(np.unique(np.column_stack([codes, column_codes]), axis=0))
    in_both = set(labels.tolist()) & set(of_held_out.tolist())
    if in_both or not n_pairs == len(tasks) == len(np.unique(codes)):
        raise ValueError(
            f"the tasks that the model finds in task_column={column!r} behind the Pipeline are not "
            "those of task= (or of X), so that it would be trained on held-out tasks; give the "
            "labels of that column as task=."
        )


def _task_classes(codes, y):
    """Return the group of every row: rows of one class of one task."""
    _, classes = np.unique(y, return_inverse=True)
    return codes * (classes.max(initial=0) + 1) + classes


def _scored_rows(codes, groups, classifies):
    """Return the rows of tasks that can be scored.

    These have at least two rows or, for classifiers, two classes, one of them with two rows.
    """
    sizes = np.bincount(codes)
    firsts = np.unique(groups, return_index=True)[1]
    n_groups = np.bincount(codes[firsts], minlength=len(sizes))
    can = (sizes > n_groups) & ((n_groups > 1) | (not classifies))
    chosen = np.flatnonzero(can[codes])
    if not len(chosen):
        needed = "two classes, and two rows of one of them" if classifies else "two rows"
        raise ValueError(f"no task can be scored: a task needs {needed}.")
    return chosen


def _affordable(shots, sizes):
    """Return the numbers of shots that leave a test row in at least half of the groups."""
    most = int(np.ceil(np.median(sizes))) - 1
    kept = [n for n in shots if n <= most]
    if not kept:
        raise ValueError(
            f"shots={shots}: half of the tasks' classes have at most {most + 1} rows, and one "
            "must be left for testing; ask for fewer shots, or give larger tasks."
        )
    if len(kept) < len(shots):
        warnings.warn(
            f"shots={shots[len(kept) :]} are left out: half of the tasks (or of their classes) "
            f"have at most {most + 1} rows, and one must be left for testing.",
            UserWarning,
            stacklevel=3,
        )
    return kept


# --------------------------------------------------------------------------------- scoring


def _folds(codes, y, chosen, shots, n_splits, classifies, seed):
    """Yield ``(train, support, test)`` rows of every fold, `support` for each number of shots."""
    table = np.empty((len(chosen), 0))
    splits = [
        FewShotSplit(n_splits, n_shots=n, stratify=classifies, random_state=seed).split(
            table, y[chosen], codes[chosen]
        )
        for n in shots
    ]
    for fold in zip(*splits, strict=True):
        test = chosen[fold[-1][1]]
        is_held_out = np.isin(codes, codes[test])
        known = [chosen[train] for train, _ in fold]
        yield np.flatnonzero(~is_held_out), [rows[is_held_out[rows]] for rows in known], test


def _score_fold(estimator, X, y, task, codes, train, support, test, baseline, scorer):
    """Return the scores of the tasks that a fold holds out, with their codes as "task"."""
    train_task = None if task is None else take_rows(task, train)
    fitted = _fit(estimator, take_rows(X, train), y[train], train_task)
    found = find_model(fitted, "adapt", "few_shot_curve")
    model, held_out = found.model, np.union1d(support[-1], test)
    table, train_table = (found.features(take_rows(X, rows)) for rows in (held_out, train))
    _check_task_column(found, codes[train], train_table, table)
    shared = getattr(model, "shared_classes_", True)
    classes = getattr(model, "classes_", None) if shared else None
    if classes is not None:
        _check_known_classes(y[held_out], classes)
    scaler = StandardScaler()
    Z_train = scaler.fit_transform(as_dense(model._features_to_predict(train_table)))
    Z = scaler.transform(as_dense(model._features_to_predict(table)))
    tasks, n_test = np.unique(codes[test], return_counts=True)
    out = {"task": tasks, "n_test": n_test}
    out |= {name: np.empty((len(support), len(tasks))) for name in ("adapted", "independent")}
    if shared:
        pooled, out["pooled"] = clone(baseline).fit(Z_train, y[train]), np.empty(len(tasks))
    for j, t in enumerate(tasks):
        rows = np.searchsorted(held_out, test[codes[test] == t])
        y_test, X_test = y[held_out[rows]], take_rows(table, rows)
        for i, known in enumerate(support):
            shot_rows = np.searchsorted(held_out, known[codes[known] == t])
            labels = y[held_out[shot_rows]]
            adapted = model.adapt(take_rows(table, shot_rows), labels)
            out["adapted"][i, j] = scorer(adapted, X_test, y_test)
            alone = _fit_alone(baseline, Z[shot_rows], labels, classes)
            out["independent"][i, j] = scorer(alone, Z[rows], y_test)
        if shared:
            out["pooled"][j] = scorer(pooled, Z[rows], y_test)
    return out


def _fit(estimator, X, y, task):
    is_routed = sklearn.get_config().get("enable_metadata_routing", False)
    name = "task"
    if isinstance(estimator, Pipeline) and not is_routed:
        name = f"{estimator.steps[-1][0]}__task"
    return clone(estimator).fit(X, y, **({} if task is None else {name: task}))


def _fit_alone(baseline, X, y, classes):
    """Fit the baseline to the rows of one task; it predicts for all of `classes`."""
    with np.errstate(divide="ignore", invalid="ignore"):  # leave-one-out with a single row
        model = clone(baseline).fit(X, y)
    if classes is None or len(model.classes_) == len(classes):
        return model
    return _AmongClasses(model, classes)


class _AmongClasses(ClassifierMixin, BaseEstimator):
    """A fitted classifier extended by unseen classes, of probability zero."""

    def __init__(self, model, classes):
        self.model, self.classes_ = model, classes

    def predict(self, X):
        return self.model.predict(X)

    @available_if(lambda self: hasattr(self.model, "predict_proba"))
    def predict_proba(self, X):
        return align_classes(self.model.predict_proba(X), self.model.classes_, self.classes_, 0.0)

    @available_if(lambda self: hasattr(self.model, "decision_function"))
    def decision_function(self, X):
        lowest = np.finfo(np.float64).min  # finite, as metrics require
        return align_classes(
            self.model.decision_function(X), self.model.classes_, self.classes_, lowest
        )
