"""The scorer: predictions, and the tasks of the rows, from any model that knows them."""

import numpy as np
import sklearn
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from ..tasks.columns import as_table, has_columns
from ..tasks.encode import read_labels
from ._scores import check_average, task_score
from .formulas import METRICS, check_metric, metric_name

__all__ = ["task_scorer"]


def task_scorer(
    metric="r2", *, average="macro", task_column=None, greater_is_better=None, pos_label=None
):
    """Make a scorer that averages over tasks, for `scoring=` in any scikit-learn tool.

    Parameters
    ----------
    metric : str or callable, default="r2"
        As in :func:`task_scores`. Of what is better when small, the scorer returns the negative,
        as scikit-learn's "neg_mean_squared_error" does. log_loss, brier and roc_auc read the
        model's ``predict_proba`` and ``classes_``, so that a task of one class can be scored
        (roc_auc its ``decision_function`` where it has no probabilities); all others ``predict``.
        Where its ``shared_classes_`` is False, every task is scored on its own classes.
    average : {"macro", "micro", "median"}, default="macro"
        As in :func:`task_score`.
    task_column : str, int or list of these, default=None
        The column of the `X` to be scored that holds the task labels. None takes over the
        `task_column` of the model that is scored, also of one in a Pipeline or a search. With
        two or more columns in `y`, these are the tasks. A model without a task column is scored
        as one task.
    greater_is_better : bool, default=None
        None infers it: from the name of the metric or, as scikit-learn's names do, from a
        callable's name, which ends in ``_score`` if greater is better and in ``_error``, ``_loss``
        or ``_deviance`` if smaller is.
    pos_label : object, default=None
        The positive one of two classes, for precision, recall and f1. None takes the second of the
        model's ``classes_``.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y, sample_weight=None, task=None)``, greater is better.
        `task`, labels of the rows, is for models that take ``task=`` in place of a task column;
        where the method that is read requests it, they get it. In scikit-learn's metadata routing
        `task` is requested; `sample_weight` is after ``set_score_request(sample_weight=True)``.

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
    """What `task_scorer` returns; see there."""

    def __init__(self, metric, average, task_column, greater_is_better, pos_label):
        check_metric(metric)
        check_average(average)
        self.metric = metric
        self.average = average
        self.task_column = task_column
        self.greater_is_better = greater_is_better
        self.pos_label = pos_label
        self._sign = 1 if _is_gain(metric, greater_is_better) else -1
        self._requests = {"sample_weight": None, "task": True}

    def __call__(self, estimator, X, y_true, sample_weight=None, task=None):
        """Score `estimator` on `X` and `y_true`; greater is better.

        Parameters
        ----------
        estimator : estimator
            Fitted, with the method that the metric reads.
        X : array-like or data frame of shape (n_samples, n_features)
        y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        sample_weight : array-like of shape (n_samples,), default=None
        task : array-like of shape (n_samples,), default=None
            Labels of the rows, for models without a task column.

        Returns
        -------
        score : float
        """
        if task is not None and self.task_column is not None:
            raise ValueError(
                f"task= and task_column={self.task_column!r} both say what the tasks are; "
                "give one of them."
            )
        y_pred, labels = self._ask(estimator, X, task)
        score = task_score(
            y_true,
            y_pred,
            task=self._read_tasks(estimator, X, y_true) if task is None else task,
            metric=self.metric,
            average=self.average,
            sample_weight=sample_weight,
            labels=labels,
            shared_classes=not _has_own_classes(estimator),
            pos_label=self.pos_label,
        )
        return self._sign * score

    def _ask(self, estimator, X, task):
        """What the metric needs of the estimator: predictions, and the classes of its columns."""
        spec = METRICS[self.metric] if isinstance(self.metric, str) else None
        methods = ("predict",) if spec is None else spec.methods
        found = [name for name in methods if hasattr(estimator, name)]
        if not found:
            raise ValueError(
                f"metric={self.metric!r} needs {' or '.join(methods)}, which "
                f"{type(estimator).__name__} does not have; score another model, or give "
                "metric='accuracy'."
            )
        routed = {"task": task} if task is not None and _takes_task(estimator, found[0]) else {}
        y_pred = getattr(estimator, found[0])(X, **routed)
        ordered = spec is not None and spec.takes_classes
        return y_pred, getattr(estimator, "classes_", None) if ordered else None

    def _read_tasks(self, estimator, X, y_true):
        if self.task_column is not None:
            return read_labels(as_table(X), self.task_column)
        shape = np.shape(y_true)
        if len(shape) == 2 and shape[1] > 1:
            return None  # the columns of y are the tasks
        return _read_model_tasks(estimator, X)

    def __repr__(self):
        parts = [metric_name(self.metric), f"average={self.average!r}"]
        if self.task_column is not None:
            parts.append(f"task_column={self.task_column!r}")
        if self.greater_is_better is not None:
            parts.append(f"greater_is_better={self.greater_is_better!r}")
        if self.pos_label is not None:
            parts.append(f"pos_label={self.pos_label!r}")
        return f"task_scorer({', '.join(parts)})"

    def _accept_sample_weight(self):
        # Asked by scikit-learn where several scorers are used and metadata routing is off.
        return True

    def set_score_request(self, **requests):
        """Say which metadata scikit-learn's metadata routing is to pass to this scorer.

        Parameters
        ----------
        **requests : bool, str or None
            For ``sample_weight`` and ``task``: True (pass it), False (don't), None (an error if
            given), or the name under which the caller passes it.

        Returns
        -------
        self : object

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled.
        TypeError
            If something else is requested.
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

    def get_metadata_routing(self):
        """The metadata this scorer requests.

        Returns
        -------
        routing : sklearn.utils.metadata_routing.MetadataRequest
        """
        routing = MetadataRequest(owner=self)
        for param, alias in self._requests.items():
            routing.score.add_request(param=param, alias=alias)
        return routing


# Where meta-estimators keep the model they predict with, the fitted one first.
_INNER = ("best_estimator_", "estimator_", "regressor_", "estimator", "regressor")


def _model_task_column(estimator):
    """The `task_column` of the model inside, and the transformers that `X` passes before it."""
    heads = []
    while estimator is not None:
        column = getattr(estimator, "task_column", None)
        if column is not None:
            return column, heads
        if isinstance(estimator, Pipeline):
            if len(estimator.steps) > 1:
                heads.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
        else:
            estimator = _inner(estimator)
    return None, heads


def _inner(estimator):
    """The model inside a meta-estimator, or None."""
    found = [name for name in _INNER if hasattr(estimator, name)]
    return getattr(estimator, found[0]) if found else None


def _has_own_classes(estimator):
    """Whether the model inside took every task to have classes of its own."""
    while estimator is not None and not hasattr(estimator, "shared_classes_"):
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else None
        estimator = _inner(estimator) if last is None else last
    return not getattr(estimator, "shared_classes_", True)


def _read_model_tasks(estimator, X):
    """Task labels of the rows of `X` as the model inside `estimator` finds them, or None."""
    column, heads = _model_task_column(estimator)
    if column is None:
        return None
    if heads and not has_columns(X, column):
        try:
            for head in heads:
                X = head.transform(X)
        except NotFittedError as error:
            raise ValueError(
                f"the scorer cannot follow X to the model with task_column={column!r} inside "
                f"{type(estimator).__name__}; give task_scorer(task_column=...) the column of X."
            ) from error
    return read_labels(as_table(X), column)


def _takes_task(estimator, method):
    """Whether the estimator's `method` requests `task`."""
    try:
        return "task" in get_routing_for_object(estimator).consumes(method, ["task"])
    except NotImplementedError:  # meta-estimators without routing
        return False


def _is_gain(metric, greater_is_better):
    if greater_is_better is not None:
        if isinstance(metric, str) and bool(greater_is_better) != METRICS[metric].greater_is_better:
            raise ValueError(
                f"greater_is_better={greater_is_better!r} contradicts metric={metric!r}; "
                "leave it at None."
            )
        return bool(greater_is_better)
    if isinstance(metric, str):
        return METRICS[metric].greater_is_better
    name = getattr(getattr(metric, "func", metric), "__name__", "")  # func: of a partial
    if name.endswith("_score"):
        return True
    if name.endswith(("_error", "_loss", "_deviance")):
        return False
    raise ValueError(
        f"greater_is_better can't be inferred for metric={metric_name(metric)}; give "
        "greater_is_better=True for a gain, or greater_is_better=False for an error."
    )
