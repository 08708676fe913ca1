"""How good a model of a new task is with few of its rows labelled, and with more."""

import numbers
import warnings

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
    estimator,
    X,
    y,
    *,
    task=None,
    shots=(1, 2, 5, 10, 20),
    n_splits=5,
    scoring=None,
    baseline=None,
    random_state=0,
    n_jobs=None,
):
    """Score new tasks of which few rows are labelled: adapted, independent and pooled.

    Folds are over tasks, by `FewShotSplit`. A clone of the estimator is fitted on the tasks that a
    fold does not hold out, once; for each number of shots it is adapted to that many rows of
    every held-out task. All are scored on the same rows, which are none of the shots, and more
    shots are the fewer ones and further rows, so that the curves are paired.

    Parameters
    ----------
    estimator : estimator
        A `MetaLearnerClassifier`, `MetaLearnerRegressor`, `MultiTaskClassifier` or
        `MultiTaskRegressor`, or a Pipeline that ends in one. Need not be fitted and stays as it is.
    X : array-like or data frame of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    task : array-like of shape (n_samples,), default=None
        Task labels of the rows. Needed where `estimator` has no `task_column`, and where that is an
        index, or a column that is made first, behind a Pipeline.
    shots : sequence of int, default=(1, 2, 5, 10, 20)
        How many rows of a new task are labelled: of each of its classes, or, of numbers, in all. A
        class of a task keeps one row for the test, so that of a small one fewer are. Numbers that
        less than half of the tasks' classes have rows for are left out, with a warning.
    n_splits : int, default=5
        Number of folds.
    scoring : str, callable or None, default=None
        "accuracy", "log_loss", "brier", "roc_auc", "r2", "mse", "mae", "rmse" or "nmse", as in
        :func:`skmtl.metrics.task_scores`; the name of another of scikit-learn's scorers; or a
        scorer, ``scorer(estimator, X, y)``. None is accuracy, or R² of numbers.
    baseline : estimator, default=None
        What independent and pooled models are. None is ``LogisticRegression()``, which can be
        fitted to a single row of each class, or of numbers ``RidgeCV((0.1, 1.0, 10.0, 100.0))``,
        as weaker penalties are chosen by luck where rows are few.
    random_state : int, RandomState instance or None, default=0
        Seeds the folds and the draw of shots.
    n_jobs : int, default=None
        Folds that are computed at a time, by joblib.

    Returns
    -------
    curve : sklearn.utils.Bunch, a dict of arrays
        shots : ndarray of shape (n_shots,)
            The numbers of shots, ascending.
        task : ndarray of shape (n_tasks,)
            Labels of the tasks that were scored.
        n_test : ndarray of shape (n_tasks,)
            On how many rows.
        adapted : ndarray of shape (n_shots, n_tasks)
            Scores of the estimator, adapted; NaN where the metric is undefined.
        independent : ndarray of shape (n_shots, n_tasks)
            Scores of the baseline, fitted on the shots alone.
        pooled : ndarray of shape (n_tasks,)
            Scores of one baseline for all training tasks, which has seen no shot. Missing where
            tasks have classes of their own.

    Raises
    ------
    TypeError
        If `estimator` has no ``adapt``, or `shots` are no integers.
    ValueError
        If the tasks of the rows are not known, or told twice, `shots` or `scoring` make no sense,
        no task has rows enough, or there are fewer tasks than folds; if a class that tasks share
        is shown by those of a single fold only; and if folds differ on whether classes are shared.

    Warns
    -----
    UserWarning
        If numbers of shots are left out.

    See Also
    --------
    FewShotCurveDisplay : Draws it.
    skmtl.model_selection.FewShotSplit : The folds, for scikit-learn's tools.

    Notes
    -----
    The baselines get the features that `estimator` makes of the columns, standardised over the
    training tasks. A task of a single class trains, but is never scored: there is nothing to tell
    apart.

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
    y = check_classes(y) if classifies else check_numbers(y)
    tasks, codes = TaskLabels.from_rows(_row_tasks(estimator, X, task))
    check_consistent_length(X, y, codes)
    chosen = _scored_rows(codes, y if classifies else None)
    groups = codes[chosen] if not classifies else _pairs(codes[chosen], y[chosen])
    shots = _affordable(shots, np.unique(groups, return_counts=True)[1])
    if baseline is None:
        baseline = LogisticRegression() if classifies else RidgeCV((0.1, 1.0, 10.0, 100.0))
    seed = random_state
    if not isinstance(seed, numbers.Integral):
        seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
    folds = list(_folds(codes, y, chosen, shots, n_splits, classifies, seed))
    if classifies and getattr(model, "shared_classes", True) is True:
        for train, known, asked in folds:
            _check_known_classes(y[np.union1d(known[-1], asked)], y[train])
    routed = task if getattr(model, "task_column", None) is None else None
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(estimator, X, y, routed, codes, *fold, baseline, scorer)
        for fold in folds
    )
    n_shared = sum("pooled" in part for part in parts)
    if 0 < n_shared < len(parts):
        raise ValueError(
            f"folds differ on whether classes are shared ({n_shared} of {len(parts)} found that "
            "they are); set shared_classes=True or False."
        )
    curve = {name: np.concatenate([p[name] for p in parts], axis=-1) for name in parts[0]}
    order = np.argsort(curve["task"])
    curve = {name: values[..., order] for name, values in curve.items()}
    return Bunch(shots=np.array(shots), **(curve | {"task": tasks.classes[curve["task"]]}))


# ------------------------------------------------------------------------------ what is asked


def final_step(estimator):
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
    """``scorer(model, X, y)``; errors are returned as they are where a name of ours is given."""
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
    return _OwnMetric(scoring)


class _OwnMetric:
    """A metric of `skmtl.metrics` for the model of one task, not negated, NaN if undefined."""

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
    """The task of every row of `X`."""
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
            "the label of every row as task=."
        )
    return read_labels(as_table(X), column)


def _check_known_classes(shown, known):
    """Raise for a class among `shown`, of new tasks, that the tasks learned from don't share."""
    lost = np.setdiff1d(shown, known).tolist()
    if lost:
        raise ValueError(
            f"class {lost[0]!r} is shown by the tasks of a single fold only, so that it is unknown "
            "where these are held out; drop its rows or, where each task has classes of its own, "
            "use MetaLearnerClassifier(shared_classes=False)."
        )


def _check_task_column(found, codes, table, new):
    """Raise where a Pipeline hands the model other tasks in its task column than `codes`.

    `table` holds the rows learned from, of these codes, and `new` those of held-out tasks, whose
    labels an encoder may not know and make alike.
    """
    column = getattr(found.model, "task_column", None)
    if column is None or not found.heads:
        return
    labels, of_new = (np.asarray(read_labels(as_table(part), column)) for part in (table, new))
    tasks, made = TaskLabels.from_rows(labels)
    n_pairs = len(np.unique(np.column_stack([codes, made]), axis=0))
    both = set(labels.tolist()) & set(of_new.tolist())
    if both or not n_pairs == len(tasks) == len(np.unique(codes)):
        raise ValueError(
            f"the tasks that the model finds in task_column={column!r} behind the Pipeline are not "
            "those of task= (or of X), so that held-out tasks would be learned from; give as task= "
            "the labels of that column."
        )


def _pairs(codes, y):
    """The group, a class of a task, of every row."""
    _, classes = np.unique(y, return_inverse=True)
    return codes * (classes.max(initial=0) + 1) + classes


def _scored_rows(codes, y):
    """Rows of tasks that can be scored: of two rows; of two classes, one of them with two rows."""
    sizes, ways = np.bincount(codes), 1
    if y is not None:
        ways = np.bincount(np.unique(_pairs(codes, y)) // np.unique(y).size, minlength=len(sizes))
    can = (sizes > ways) & ((ways > 1) | (y is None))
    chosen = np.flatnonzero(can[codes])
    if not len(chosen):
        what = "two rows" if y is None else "two classes, and two rows of one of them"
        raise ValueError(f"no task can be scored: for that it needs {what}.")
    return chosen


def _affordable(shots, sizes):
    """The numbers of shots for which half of the groups have rows, and one more for the test."""
    most = int(np.ceil(np.median(sizes))) - 1
    kept = [n for n in shots if n <= most]
    if not kept:
        raise ValueError(
            f"shots={shots}: half of the tasks' classes have at most {most + 1} rows, and one "
            "must be left to the test; ask for fewer shots, or give larger tasks."
        )
    if len(kept) < len(shots):
        warnings.warn(
            f"shots={shots[len(kept) :]} are left out: half of the tasks (or of their classes) "
            f"have at most {most + 1} rows, and one must be left to the test.",
            UserWarning,
            stacklevel=3,
        )
    return kept


# --------------------------------------------------------------------------- how it is found


def _folds(codes, y, chosen, shots, n_splits, classifies, seed):
    """``(train, known, asked)`` of every fold: rows, `known` for each number of shots."""
    table = np.empty((len(chosen), 0))
    splits = [
        FewShotSplit(n_splits, n_shots=n, stratify=classifies, random_state=seed).split(
            table, y[chosen], codes[chosen]
        )
        for n in shots
    ]
    for fold in zip(*splits, strict=True):
        asked = chosen[fold[-1][1]]
        held = np.isin(codes, codes[asked])
        rows = [chosen[train] for train, _ in fold]
        yield np.flatnonzero(~held), [shown[held[shown]] for shown in rows], asked


def _score_fold(estimator, X, y, task, codes, train, known, asked, baseline, scorer):
    """Scores of the tasks that a fold holds out, as in `few_shot_curve`; their codes as "task"."""
    fitted = _fit(estimator, take_rows(X, train), y[train], _take(task, train))
    found = find_model(fitted, "adapt", "few_shot_curve")
    model, held = found.model, np.union1d(known[-1], asked)
    table, learned = (found.features(take_rows(X, rows)) for rows in (held, train))
    _check_task_column(found, codes[train], learned, table)
    shared = getattr(model, "shared_classes_", True)
    classes = getattr(model, "classes_", None) if shared else None
    if classes is not None:
        _check_known_classes(y[held], classes)
    scaler = StandardScaler()
    Z_train = scaler.fit_transform(as_dense(model._features_to_predict(learned)))
    Z = scaler.transform(as_dense(model._features_to_predict(table)))
    tasks, n_test = np.unique(codes[asked], return_counts=True)
    out = {"task": tasks, "n_test": n_test}
    out |= {name: np.empty((len(known), len(tasks))) for name in ("adapted", "independent")}
    if shared:
        pooled, out["pooled"] = clone(baseline).fit(Z_train, y[train]), np.empty(len(tasks))
    for j, t in enumerate(tasks):
        rows = np.searchsorted(held, asked[codes[asked] == t])
        truth, test = y[held[rows]], take_rows(table, rows)
        for i, shown in enumerate(known):
            some = np.searchsorted(held, shown[codes[shown] == t])
            labels = y[held[some]]
            adapted = model.adapt(take_rows(table, some), labels)
            alone = _fit_alone(baseline, Z[some], labels, classes)
            out["adapted"][i, j] = scorer(adapted, test, truth)
            out["independent"][i, j] = scorer(alone, Z[rows], truth)
        if shared:
            out["pooled"][j] = scorer(pooled, Z[rows], truth)
    return out


def _take(task, rows):
    return None if task is None else take_rows(task, rows)


def _fit(estimator, X, y, task):
    if task is None:
        return clone(estimator).fit(X, y)
    routing = sklearn.get_config().get("enable_metadata_routing", False)
    if isinstance(estimator, Pipeline) and not routing:
        return clone(estimator).fit(X, y, **{f"{estimator.steps[-1][0]}__task": task})
    return clone(estimator).fit(X, y, task=task)


def _fit_alone(baseline, X, y, classes):
    """The baseline of one task, which tells of all classes that its tasks share."""
    with np.errstate(divide="ignore", invalid="ignore"):  # leave-one-out of a single row
        model = clone(baseline).fit(X, y)
    if classes is None or len(model.classes_) == len(classes):
        return model
    return _AmongClasses(model, classes)


def _model_has(method):
    return available_if(lambda self: hasattr(self.model, method))


class _AmongClasses(ClassifierMixin, BaseEstimator):
    """A fitted classifier among more classes than it has seen, which are given no chance."""

    def __init__(self, model, classes):
        self.model, self.classes_ = model, classes

    def predict(self, X):
        return self.model.predict(X)

    @_model_has("predict_proba")
    def predict_proba(self, X):
        return align_classes(self.model.predict_proba(X), self.model.classes_, self.classes_, 0.0)

    @_model_has("decision_function")
    def decision_function(self, X):
        lowest = np.finfo(np.float64).min  # finite, as metrics ask
        return align_classes(
            self.model.decision_function(X), self.model.classes_, self.classes_, lowest
        )
