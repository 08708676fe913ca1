"""Scorer that reads predictions, and the tasks of the rows, from a model."""

from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import sklearn
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from .._typing import ArrayLike, MatrixLike, TaskColumn
from ..tasks.columns import as_table, has_columns
from ..tasks.encode import read_labels
from ._scores import check_average, task_score
from .formulas import find_metric, metric_name

__all__ = ["task_scorer"]


def task_scorer(
    metric: str | Callable = "r2",
    *,
    average: Literal["macro", "micro", "median"] = "macro",
    task_column: TaskColumn = None,
    greater_is_better: bool | None = None,
    pos_label: Any = None,
) -> "_TaskScorer":
    """Make a scorer that averages over tasks, for `scoring=` in any scikit-learn tool.

    Parameters
    ----------
    metric : str or callable, default="r2"
        As in :func:`task_scores`. For metrics that are better when smaller, the scorer returns the
        negative, as scikit-learn's "neg_mean_squared_error" does. log_loss, brier and roc_auc use
        the model's ``predict_proba`` and ``classes_``, so that a task with one class can be scored
        (roc_auc its ``decision_function`` if it has no probabilities); all others use ``predict``.
        If its ``shared_classes_`` is False, every task is scored on its own classes.
    average : {"macro", "micro", "median"}, default="macro"
        As in :func:`task_score`.
    task_column : str, int or list of these, default=None
        Column of the scored `X` that holds the task labels. None uses the `task_column` of the
        scored model, which may be inside a Pipeline or a search. If `y` has two or more columns,
        these are the tasks. A model without a task column is scored as one task.
    greater_is_better : bool, default=None
        Whether a greater value of the metric is better. None infers it from the name of the metric.
        As in scikit-learn, the name of a callable ends in ``_score`` if greater is better and in
        ``_error``, ``_loss`` or ``_deviance`` if smaller is.
    pos_label : object, default=None
        The positive class if there are two, for precision, recall and f1. None means the second
        of the model's ``classes_``.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y, sample_weight=None, task=None)``; greater is better.
        `task`, the task labels of the rows, is for models that take ``task=`` instead of a task
        column; it is passed on to the model's method if that requests it. In scikit-learn's
        metadata routing, `task` is requested by default, and `sample_weight` after
        ``set_score_request(sample_weight=True)``.

    Raises
    ------
    ValueError
        If `metric` or `average` is unknown, or `greater_is_better` can't be inferred.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import cross_val_score
    >>> from skmtl.metrics import task_scorer
    >>> from skmtl.model_selection import TaskKFold
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([rng.normal(size=60), np.repeat([0, 1, 2], 20)])
    >>> y = 2 * X[:, 0] + rng.normal(size=60)
    >>> scorer = task_scorer("rmse", task_column=1)
    >>> scorer
    task_scorer('rmse', average='macro', task_column=1)
    >>> scores = cross_val_score(Ridge(), X, y, cv=TaskKFold(task_column=1), scoring=scorer)
    >>> bool((scores < 0).all())
    True
    """
    return _TaskScorer(metric, average, task_column, greater_is_better, pos_label)


class _TaskScorer:
    """Scorer made by `task_scorer`."""

    def __init__(self, metric, average, task_column, greater_is_better, pos_label):
        self._sign = 1 if _is_gain(metric, greater_is_better) else -1
        check_average(average)
        self.metric = metric
        self.average = average
        self.task_column = task_column
        self.greater_is_better = greater_is_better
        self.pos_label = pos_label
        self._requests = {"sample_weight": None, "task": True}

    def __call__(
        self,
        estimator: Any,
        X: MatrixLike,
        y_true: ArrayLike,
        sample_weight: ArrayLike | None = None,
        task: ArrayLike | None = None,
    ) -> float:
        """Score `estimator` on `X` and `y_true`; greater is better.

        Parameters
        ----------
        estimator : estimator
            Fitted, with the method that the metric uses.
        X : array-like or data frame of shape (n_samples, n_features)
            Rows to predict.
        y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : array-like of shape (n_samples,), default=None
            Task labels of the rows, for models without a task column.

        Returns
        -------
        score : float
            The score, or its negative for metrics that are better when smaller.
        """
        if task is not None and self.task_column is not None:
            raise ValueError(
                f"task= and task_column={self.task_column!r} were both given; give one of them."
            )
        y_pred, labels = self._predict(estimator, X, task)
        score = task_score(
            y_true,
            y_pred,
            task=self._read_tasks(estimator, X, y_true) if task is None else task,
            metric=self.metric,
            average=self.average,
            sample_weight=sample_weight,
            labels=labels,
            shared_classes=_has_shared_classes(estimator),
            pos_label=self.pos_label,
        )
        return self._sign * score

    def _predict(self, estimator, X, task):
        """Return the predictions that the metric needs, and the classes of their columns."""
        spec = find_metric(self.metric)
        found = [name for name in spec.methods if hasattr(estimator, name)]
        if not found:
            raise ValueError(
                f"metric={self.metric!r} needs {' or '.join(spec.methods)}, which "
                f"{type(estimator).__name__} does not have; score another model, or give "
                "metric='accuracy'."
            )
        routed = {"task": task} if task is not None and _takes_task(estimator, found[0]) else {}
        y_pred = getattr(estimator, found[0])(X, **routed)
        return y_pred, getattr(estimator, "classes_", None) if spec.takes_classes else None

    def _read_tasks(self, estimator, X, y_true):
        if self.task_column is not None:
            return read_labels(as_table(X), self.task_column)
        shape = np.shape(y_true)
        if len(shape) == 2 and shape[1] > 1:
            return None  # the columns of y are the tasks
        return _read_model_tasks(estimator, X)

    def __repr__(self):
        parts = [metric_name(self.metric), f"average={self.average!r}"]
        for name in ("task_column", "greater_is_better", "pos_label"):
            if getattr(self, name) is not None:
                parts.append(f"{name}={getattr(self, name)!r}")
        return f"task_scorer({', '.join(parts)})"

    def _accept_sample_weight(self):
        # Called by scikit-learn if there are several scorers and metadata routing is off.
        return True

    def set_score_request(self, **requests: bool | str | None) -> Self:
        """Set which metadata scikit-learn's metadata routing passes to this scorer.

        Parameters
        ----------
        **requests : bool, str or None
            For ``sample_weight`` and ``task``: True (pass it), False (do not), None (raise an error
            if it is given), or the name under which the caller passes it.

        Returns
        -------
        self : object
            The scorer itself.

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled.
        TypeError
            If other metadata is requested.
        """
        if not sklearn.get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable "
                "it using sklearn.set_config(enable_metadata_routing=True)."
            )
        unknown = sorted(set(requests) - set(self._requests))
        if unknown:
            raise TypeError(
                f"set_score_request got {unknown}; this scorer takes {sorted(self._requests)}."
            )
        self._requests = {**self._requests, **requests}
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return the metadata that this scorer requests.

        Returns
        -------
        routing : sklearn.utils.metadata_routing.MetadataRequest
            The requests for `sample_weight` and `task`.
        """
        routing = MetadataRequest(owner=self)
        for param, alias in self._requests.items():
            routing.score.add_request(param=param, alias=alias)
        return routing


# Attributes in which meta-estimators keep the model that predicts, fitted ones first.
_INNER = ("best_estimator_", "estimator_", "regressor_", "estimator", "regressor")


def _inner_models(estimator):
    """Yield the estimator and the models inside it, each with the transformers before it."""
    heads = []
    while estimator is not None:
        yield estimator, heads
        if isinstance(estimator, Pipeline):
            heads = heads + ([estimator[:-1]] if len(estimator.steps) > 1 else [])
            estimator = estimator.steps[-1][1]
        else:
            inner = [getattr(estimator, name) for name in _INNER if hasattr(estimator, name)]
            estimator = inner[0] if inner else None


def _has_shared_classes(estimator):
    """Return False if, in the model inside, every task has classes of its own."""
    for model, _ in _inner_models(estimator):
        if hasattr(model, "shared_classes_"):
            return bool(model.shared_classes_)
    return True


def _read_model_tasks(estimator, X):
    """Return the task labels that the model inside `estimator` reads from `X`, or None."""
    for model, heads in _inner_models(estimator):
        column = getattr(model, "task_column", None)
        if column is None:
            continue
        if heads and has_columns(X, column):
            heads = []
        try:
            for head in heads:
                X = head.transform(X)
        except NotFittedError as error:
            raise ValueError(
                f"the scorer cannot transform X for the model with task_column={column!r} inside "
                f"{type(estimator).__name__}; give task_scorer(task_column=...) the column of X."
            ) from error
        return read_labels(as_table(X), column)
    return None


def _takes_task(estimator, method):
    """Return whether the estimator's `method` requests `task`."""
    try:
        return "task" in get_routing_for_object(estimator).consumes(method, ["task"])
    except NotImplementedError:  # meta-estimators without routing
        return False


def _is_gain(metric, greater_is_better):
    known = find_metric(metric).greater_is_better
    if greater_is_better is not None:
        if known not in (None, bool(greater_is_better)):
            raise ValueError(
                f"greater_is_better={greater_is_better!r} contradicts metric={metric!r}; "
                "leave it at None."
            )
        return bool(greater_is_better)
    if known is not None:
        return known
    name = getattr(getattr(metric, "func", metric), "__name__", "")  # func: of a partial
    if name.endswith(("_score", "_error", "_loss", "_deviance")):
        return name.endswith("_score")
    raise ValueError(
        f"greater_is_better can't be inferred for metric={metric_name(metric)}; give "
        "greater_is_better=True for a score, or greater_is_better=False for an error."
    )
