"""Scores per task, their averages over tasks, and scorers that know the task column."""

import warnings
from typing import NamedTuple

import numpy as np
import sklearn
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from .model_selection import read_task_column
from .tasks.encode import TaskLabels, find_task_column

__all__ = ["task_score", "task_scorer", "task_scores"]

# name -> is greater better?
_METRICS = {"r2": True, "mse": False, "mae": False, "rmse": False, "nmse": False}
_AVERAGES = ("macro", "micro", "median")


class _Rows(NamedTuple):
    """Labelled rows of positive weight, in one dimension, and the tasks they belong to."""

    labels: np.ndarray  # (n_tasks,)
    n_samples: np.ndarray  # (n_tasks,), rows of weight zero included
    codes: np.ndarray  # (n_rows,), and so are the following
    y: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray | None


def task_scores(y_true, y_pred, *, task=None, metric="r2", sample_weight=None):
    r"""Score the predictions of every task on its own.

    With :math:`w_i` the weights (1 without `sample_weight`), :math:`W_t` their sum over the
    labelled rows :math:`i` of task :math:`t` and :math:`\bar y_t` the weighted mean of its labels,

    .. math::
        \mathrm{mse}_t = \frac{1}{W_t} \sum_{i \in t} w_i (y_i - \hat y_i)^2, \quad
        \mathrm{nmse}_t = \frac{\mathrm{mse}_t}
        {\frac{1}{W_t} \sum_{i \in t} w_i (y_i - \bar y_t)^2}, \quad
        r^2_t = 1 - \mathrm{nmse}_t,

    rmse is the square root of mse, and mae has absolute values for squares.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels. With two dimensions every column is a task. NaN means "not labelled" and is left
        out.
    y_pred : array-like of the shape of `y_true`
        Predictions, finite where `y_true` is not NaN.
    task : array-like of shape (n_samples,), default=None
        The task of every row: strings, integers or categories. Only with a one-dimensional
        `y_true`, which without `task` is a single task.
    metric : {"r2", "mse", "mae", "rmse", "nmse"} or callable, default="r2"
        A callable is called for each task as ``metric(y_true, y_pred)``, with the further argument
        ``sample_weight=`` if weights are given, and may be one for classes.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, not negative. They count within a task.

    Returns
    -------
    scores : dict of ndarray, each of shape (n_tasks,)
        In the style of ``cv_results_``, e.g. for ``pandas.DataFrame(scores)``: "task" (the labels,
        sorted, or the indices of the columns), "n_samples" (labelled rows) and "score". The score
        is NaN where the metric is undefined: no labelled row of positive weight, and for r2 and
        nmse also fewer than two, or labels without variance.

    Raises
    ------
    ValueError
        If shapes don't match, if `task` comes with several columns of `y_true`, if a labelled row
        has no finite prediction, if labels or weights are unusable or `metric` is unknown.

    Examples
    --------
    >>> from skmtl.metrics import task_scores
    >>> scores = task_scores(
    ...     [1.0, 2.0, 3.0, 10.0, 20.0], [1.0, 2.0, 4.0, 11.0, 19.0],
    ...     task=["a", "a", "a", "b", "b"], metric="mae",
    ... )
    >>> for task, n, score in zip(*scores.values()):
    ...     print(f"{task}: {n} rows, error {score:.2f}")
    a: 3 rows, error 0.33
    b: 2 rows, error 1.00
    """
    _check_metric(metric)
    rows = _labelled_rows(y_true, y_pred, task, sample_weight, metric)
    return {"task": rows.labels, "n_samples": rows.n_samples, "score": _score(rows, metric)}


def task_score(y_true, y_pred, *, task=None, metric="r2", average="macro", sample_weight=None):
    """Score predictions with one number that does justice to all tasks.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels. With two dimensions every column is a task. NaN means "not labelled" and is left
        out.
    y_pred : array-like of the shape of `y_true`
        Predictions, finite where `y_true` is not NaN.
    task : array-like of shape (n_samples,), default=None
        The task of every row. Only with a one-dimensional `y_true`, which without `task` is a
        single task.
    metric : {"r2", "mse", "mae", "rmse", "nmse"} or callable, default="r2"
        As in :func:`task_scores`. Errors are returned as they are, not negated.
    average : {"macro", "micro", "median"}, default="macro"
        "macro" is the unweighted mean over tasks: a task of ten rows counts as much as one of a
        thousand. "median" is the median over tasks. Both leave out tasks where the metric is
        undefined. "micro" is the plain metric over all labelled rows together, whatever their
        task, so that large tasks count more; with r2 and nmse, differences between the tasks'
        means count as variance explained.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, not negative. With "macro" and "median" they count within a task only.

    Returns
    -------
    score : float
        NaN, with an ``UndefinedMetricWarning``, if the metric is undefined everywhere.

    Raises
    ------
    ValueError
        As :func:`task_scores`, or if `average` is unknown.

    Examples
    --------
    >>> from skmtl.metrics import task_score
    >>> y_true, y_pred = [1.0, 2.0, 3.0, 10.0, 20.0], [1.0, 2.0, 4.0, 11.0, 19.0]
    >>> task = ["a", "a", "a", "b", "b"]
    >>> round(task_score(y_true, y_pred, task=task, metric="mae"), 3)
    0.667
    >>> round(task_score(y_true, y_pred, task=task, metric="mae", average="micro"), 3)
    0.6
    """
    _check_metric(metric)
    _check_average(average)
    rows = _labelled_rows(y_true, y_pred, task, sample_weight, metric)
    if average == "micro":
        rows = rows._replace(labels=np.zeros(1, np.int64), codes=np.zeros_like(rows.codes))
    scores = _score(rows, metric)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        warnings.warn(
            f"metric={_name(metric)} is undefined for every task, so that the score is NaN; "
            "r2 and nmse need at least two different labels.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(np.median(scores) if average == "median" else np.mean(scores))


def task_scorer(metric="r2", *, average="macro", task_column=None, greater_is_better=None):
    """Make a scorer that averages over tasks, for `scoring=` in any scikit-learn tool.

    Parameters
    ----------
    metric : {"r2", "mse", "mae", "rmse", "nmse"} or callable, default="r2"
        As in :func:`task_scores`. Of what is better when small, the scorer returns the negative,
        as scikit-learn's "neg_mean_squared_error" does.
    average : {"macro", "micro", "median"}, default="macro"
        As in :func:`task_score`.
    task_column : str or int, default=None
        The column of the `X` to be scored that holds the task labels. None takes over the
        `task_column` of the model that is scored, also of one in a Pipeline or a search. With
        two or more columns in `y`, these are the tasks. A model without a task column is scored
        as one task.
    greater_is_better : bool, default=None
        None infers it: from the name of the metric or, as scikit-learn's names do, from a
        callable's name, which ends in ``_score`` if greater is better and in ``_error``, ``_loss``
        or ``_deviance`` if smaller is.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y, sample_weight=None, task=None)``, greater is better.
        `task`, labels of the rows, is for models that take ``task=`` in place of a task column;
        where their ``predict`` requests it, they get it. In scikit-learn's metadata routing
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
    return _TaskScorer(metric, average, task_column, greater_is_better)


class _TaskScorer:
    """What `task_scorer` returns; see there."""

    def __init__(self, metric, average, task_column, greater_is_better):
        _check_metric(metric)
        _check_average(average)
        self.metric = metric
        self.average = average
        self.task_column = task_column
        self.greater_is_better = greater_is_better
        self._sign = 1 if _is_gain(metric, greater_is_better) else -1
        self._requests = {"sample_weight": None, "task": True}

    def __call__(self, estimator, X, y_true, sample_weight=None, task=None):
        """Score `estimator` on `X` and `y_true`; greater is better.

        Parameters
        ----------
        estimator : estimator
            Fitted, with a ``predict``.
        X : array-like or data frame of shape (n_samples, n_features)
        y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        sample_weight : array-like of shape (n_samples,), default=None
        task : array-like of shape (n_samples,), default=None
            Labels of the rows, for models without a task column.

        Returns
        -------
        score : float
        """
        if task is None:
            y_pred = estimator.predict(X)
            task = self._read_tasks(estimator, X, y_true)
        else:
            if self.task_column is not None:
                raise ValueError(
                    f"task= and task_column={self.task_column!r} both say what the tasks are; "
                    "give one of them."
                )
            y_pred = estimator.predict(X, **({"task": task} if _takes_task(estimator) else {}))
        score = task_score(
            y_true,
            y_pred,
            task=task,
            metric=self.metric,
            average=self.average,
            sample_weight=sample_weight,
        )
        return self._sign * score

    def _read_tasks(self, estimator, X, y_true):
        if self.task_column is not None:
            return read_task_column(X, self.task_column)
        shape = np.shape(y_true)
        if len(shape) == 2 and shape[1] > 1:
            return None  # the columns of y are the tasks
        return _read_model_tasks(estimator, X)

    def __repr__(self):
        parts = [_name(self.metric), f"average={self.average!r}"]
        if self.task_column is not None:
            parts.append(f"task_column={self.task_column!r}")
        if self.greater_is_better is not None:
            parts.append(f"greater_is_better={self.greater_is_better!r}")
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
            found = [name for name in _INNER if hasattr(estimator, name)]
            estimator = getattr(estimator, found[0]) if found else None
    return None, heads


def _read_model_tasks(estimator, X):
    """Task labels of the rows of `X` as the model inside `estimator` finds them, or None."""
    column, heads = _model_task_column(estimator)
    if column is None:
        return None
    if heads and not _has_column(X, column):
        try:
            for head in heads:
                X = head.transform(X)
        except NotFittedError as error:
            raise ValueError(
                f"the scorer cannot follow X to the model with task_column={column!r} inside "
                f"{type(estimator).__name__}; give task_scorer(task_column=...) the column of X."
            ) from error
    return read_task_column(X, column)


def _has_column(X, column):
    """Whether `X` has the column under the name that the model, behind a Pipeline, knows."""
    if not isinstance(column, str):
        return False  # an index counts the columns that the model sees, not those of X
    try:
        find_task_column(X, column)
    except ValueError:
        return False
    return True


def _takes_task(estimator):
    """Whether the estimator's `predict` requests `task`."""
    try:
        return "task" in get_routing_for_object(estimator).consumes("predict", ["task"])
    except NotImplementedError:  # meta-estimators without routing
        return False


def _name(metric):
    if isinstance(metric, str):
        return repr(metric)
    return getattr(metric, "__name__", repr(metric))


def _check_metric(metric):
    if not callable(metric) and not (isinstance(metric, str) and metric in _METRICS):
        raise ValueError(
            f"metric={metric!r} is unknown; give one of {', '.join(map(repr, _METRICS))}, or a "
            "function metric(y_true, y_pred)."
        )


def _check_average(average):
    if not (isinstance(average, str) and average in _AVERAGES):
        raise ValueError(
            f"average={average!r} is unknown; give one of {', '.join(map(repr, _AVERAGES))}."
        )


def _is_gain(metric, greater_is_better):
    if greater_is_better is not None:
        if isinstance(metric, str) and bool(greater_is_better) != _METRICS[metric]:
            raise ValueError(
                f"greater_is_better={greater_is_better!r} contradicts metric={metric!r}; "
                "leave it at None."
            )
        return bool(greater_is_better)
    if isinstance(metric, str):
        return _METRICS[metric]
    name = getattr(getattr(metric, "func", metric), "__name__", "")  # func: of a partial
    if name.endswith("_score"):
        return True
    if name.endswith(("_error", "_loss", "_deviance")):
        return False
    raise ValueError(
        f"greater_is_better can't be inferred for metric={_name(metric)}; give "
        "greater_is_better=True for a gain, or greater_is_better=False for an error."
    )


def _as_array(values, name, metric):
    """`values` as an array of one or two dimensions, NaN allowed; floats for metrics by name."""
    by_name = isinstance(metric, str)
    try:
        values = check_array(
            values,
            ensure_2d=False,
            dtype=np.float64 if by_name else None,
            ensure_all_finite="allow-nan",
            input_name=name,
        )
    except (TypeError, ValueError) as error:
        if by_name and "convert" in str(error):
            raise ValueError(
                f"{name} must be numbers for metric={metric!r} ({error}); for classes give a "
                "function, e.g. metric=sklearn.metrics.accuracy_score."
            ) from error
        raise
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


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


def _labelled_rows(y_true, y_pred, task, sample_weight, metric):
    """Check all arguments and bring them into one form."""
    y = _as_array(y_true, "y_true", metric)
    prediction = _as_array(y_pred, "y_pred", metric)
    if y.shape != prediction.shape:
        raise ValueError(
            f"y_pred has shape {prediction.shape}, but y_true has shape {y.shape}; "
            "give one prediction for every label."
        )
    labels, codes = _row_codes(y.shape, task)
    weight = None if sample_weight is None else _check_weights(sample_weight, y.shape[0])
    if weight is not None and y.ndim == 2:
        weight = np.repeat(weight, y.shape[1])
    columns = [codes, y.ravel(), prediction.ravel(), weight]
    known = columns[1] == columns[1]  # NaN is the one value unequal to itself
    columns = _keep(columns, known)
    missing = columns[2] != columns[2]
    if missing.any():
        raise ValueError(
            f"y_pred is NaN for {int(missing.sum())} labelled rows, the first in task "
            f"{labels.tolist()[columns[0][np.argmax(missing)]]!r}; give a prediction for every row "
            "that has a label."
        )
    n_samples = np.bincount(columns[0], minlength=len(labels))
    if weight is not None:
        columns = _keep(columns, columns[3] > 0)
    return _Rows(labels, n_samples, *columns)


def _keep(columns, mask):
    if mask.all():
        return columns
    return [None if c is None else c[mask] for c in columns]


def _score(rows, metric):
    """The metric of every task, NaN where it is undefined."""
    if callable(metric):
        return _score_by_call(rows, metric)
    difference = rows.y - rows.prediction
    loss = np.abs(difference) if metric == "mae" else difference * difference
    with np.errstate(divide="ignore", invalid="ignore"):  # tasks without rows: 0 / 0
        total = _sum(np.ones(len(rows.y)), rows)
        error = _sum(loss, rows) / total
        if metric in ("mse", "mae"):
            return error
        if metric == "rmse":
            return np.sqrt(error)
        # Less one of the task's own labels, so that the variance of equal labels is exactly zero.
        anchor = np.zeros(len(rows.labels))
        anchor[rows.codes] = rows.y
        y = rows.y - anchor[rows.codes]
        deviation = y - (_sum(y, rows) / total)[rows.codes]
        variance = _sum(deviation * deviation, rows) / total
        nmse = np.where(variance > 0, error / variance, np.nan)
    return 1.0 - nmse if metric == "r2" else nmse


def _sum(values, rows):
    """Weighted sums of `values` over the rows of every task."""
    if rows.weight is not None:
        values = values * rows.weight
    return np.bincount(rows.codes, values, minlength=len(rows.labels))


def _score_by_call(rows, metric):
    n_tasks = len(rows.labels)
    order = np.argsort(rows.codes, kind="stable")
    ends = np.cumsum(np.bincount(rows.codes, minlength=n_tasks))
    scores = np.full(n_tasks, np.nan)
    for t in range(n_tasks):
        block = order[(ends[t - 1] if t else 0) : ends[t]]
        if len(block):
            weight = {} if rows.weight is None else {"sample_weight": rows.weight[block]}
            scores[t] = float(metric(rows.y[block], rows.prediction[block], **weight))
    return scores
