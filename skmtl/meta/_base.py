"""Common parts of the meta-learners."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .. import learners as learners_package
from .._compat import HasMethods, StrOptions
from .._jit import worker_pool
from .._typing import RandomState, TaskColumn
from .._validation import check_learner, check_magnitudes, check_weights
from ..base import TaskEstimator
from ..learners.base import Adapted, Knowledge, LabelledTasks, Learner
from ..tasks.stack import as_dense
from ..tasks.standards import Standards
from ._adapted import AdaptedTaskClassifier, AdaptedTaskModel
from ._rows import RowWeighting, arranged

__all__ = ["MetaLearnerBase", "with_classes"]


@dataclass(frozen=True)
class FitResult:
    """Result of fitting a meta-learner.

    Attributes
    ----------
    learner : Learner
    knowledge : Knowledge
    heads : Adapted
        Heads of the tasks of fit and, if classes are shared or labels are numbers, of an unseen
        task.
    head_of_task : ndarray of shape (n_tasks + 1,)
        Index of the head of each task and of an unseen task; -1 if there is none.
    standards : Standards
    weighting : RowWeighting
    ways, labels : ndarray or None
        Numbers of classes, and own classes, of the tasks of the heads, as in `LabelledTasks`.
    """

    learner: Learner
    knowledge: Knowledge
    heads: Adapted
    head_of_task: np.ndarray
    standards: Standards
    weighting: RowWeighting
    ways: np.ndarray | None
    labels: np.ndarray | None


class MetaLearnerBase(TaskEstimator):
    """Base of the meta-learners: parameters, preparation of rows, fitted attributes.

    Subclasses define how to validate the labels of a new task (`_check_support`), to encode them
    (`_code_support`), to add the classes to its rows (`_support_task`), and to wrap the head of a
    task as an estimator (`_task_model`).
    """

    _parameter_constraints: dict = {
        **TaskEstimator._parameter_constraints,
        "learner": [StrOptions(learners_package.BY_NAME.keys()), HasMethods(["learn"])],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }
    _named = "learner", learners_package.BY_NAME, "skmtl.learners"

    def __init__(
        self,
        learner: str | Learner = "auto",
        *,
        task_column: TaskColumn = None,
        estimator: Any = None,
        preprocessor: Literal["auto"] | BaseEstimator | None = None,
        exclude_columns: TaskColumn = None,
        categorical_columns: TaskColumn = None,
        handle_unknown: Literal["shared", "error"] = "shared",
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.learner = learner
        self.task_column = task_column
        self.estimator = estimator
        self.preprocessor = preprocessor
        self.exclude_columns = exclude_columns
        self.categorical_columns = categorical_columns
        self.handle_unknown = handle_unknown
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _split_rows(self, X, task):
        _refuse_sparse(X)
        return super()._split_rows(X, task)

    def _learner(self):
        """Return the learner that the parameters describe.

        Raises
        ------
        TypeError, ValueError
            For parameters that are invalid or do not fit together.
        """
        learner = self._named_object()
        if self.estimator is None:
            return learner
        check_learner(self.estimator, is_classifier(self))
        if type(learner) is not learners_package.Auto:
            raise ValueError(
                "estimator= is added to learner='auto', but "
                f"learner={self.learner!r}; set learner='auto', or leave out estimator=."
            )
        return learners_package.WithEstimator(clone(self.estimator))

    def _learn(self, table, y, progress, n_classes=None, shared=True):
        """Learn from the packed table with targets `y`, and adapt to each of its tasks.

        Parameters
        ----------
        table : TaskTable
        y : ndarray of shape (n_packed,)
            Numbers (floats), or codes of classes (integers).
        progress : callable
        n_classes : int, default=None
            Number of classes of all tasks together.
        shared : bool, default=True
            Whether a class means the same in every task. Only then can a task without rows be
            predicted.

        Returns
        -------
        FitResult
        """
        learner = self._learner()
        rows, order, weighting, trust = arranged(replace(table, y=y))
        standards = Standards.of(rows.X, rows.y, rows.weight, trust)
        tasks = with_classes(_standardised(rows, standards), n_classes, shared)
        head_of_task = np.full(table.n_tasks + 1, tasks.n_tasks if shared else -1)
        head_of_task[order] = np.arange(tasks.n_tasks)
        served = replace(tasks, weight=weighting.of_tasks(tasks))
        served = _with_empty_task(served) if shared else served
        with worker_pool(self.n_jobs) as executor:
            tasks, served = (replace(part, executor=executor) for part in (tasks, served))
            progress(f"learning from {tasks.n_tasks} tasks")
            knowledge = learner.learn(tasks, np.random.RandomState(self._seed()), progress)
            progress(f"adapting to {tasks.n_tasks} tasks")
            heads = knowledge.adapt(served)
        return FitResult(
            learner, knowledge, heads, head_of_task, standards, weighting, served.ways,
            served.labels,
        )  # fmt: skip

    def _store(self, X, y, rows, result):
        """Set all fitted attributes, at the very end of fit."""
        self._store_tasks(X, y, rows)
        self._result, self.learner_ = result, result.learner
        self.history_ = result.knowledge.history
        vars(self).pop("n_iter_", None)  # of an earlier fit
        vars(self).pop("member_report_", None)
        if hasattr(result.knowledge, "member_report"):
            self.member_report_ = dict(result.knowledge.member_report)
            if not is_classifier(self):  # the error is that of the standardised target
                scale = result.standards.target_scale
                self.member_report_["error"] = self.member_report_["error"] / scale**2
        if hasattr(result.knowledge, "n_iter"):
            self.n_iter_ = result.knowledge.n_iter

    def _serve(self, rows):
        """Return what the heads of the rows' tasks predict, and the indices of these heads."""
        codes = np.zeros(rows.X.shape[0], dtype=np.int64) if rows.codes is None else rows.codes
        head = self._result.head_of_task[codes]  # code -1 selects the last, of an unseen task
        if (head < 0).any():
            self._raise_no_head(self.tasks_[codes[int(np.argmax(head < 0))]])
        Z = self._result.standards.features(as_dense(rows.X))
        return self._result.heads.predict(Z, head), head

    def _raise_no_head(self, label):
        label = np.asarray(label).tolist()
        raise ValueError(
            f"task {label!r} had no row of positive weight in fit, so that its classes are not "
            "known; provide labelled rows of it in fit, or use adapt(X_support, y_support)."
        )

    def for_task(self, label: object) -> AdaptedTaskClassifier | AdaptedTaskModel:
        """Return the model of one task as an ordinary fitted estimator.

        Parameters
        ----------
        label : str, int or tuple
            A label among ``tasks_``.

        Returns
        -------
        AdaptedTaskClassifier or AdaptedTaskModel
            It takes the feature columns before preprocessing, and includes the preprocessor; the
            task column and excluded columns are ignored. It is picklable, and its size does not
            depend on the training table.

        Raises
        ------
        ValueError
            If the task was not seen in fit.
        """
        t = self._find_task(label)
        head = self._result.head_of_task[t]
        if head < 0:
            self._raise_no_head(label)
        return self._task_model(self._result.heads.take([head]), self._classes_of(head))

    def _adapt(self, X_support, y_support, sample_weight, class_prior=None):
        check_is_fitted(self)
        _refuse_sparse(X_support)
        X, y = as_dense(self._features_to_predict(X_support)), self._check_support(y_support)
        check_consistent_length(X, y)
        weight = check_weights(sample_weight, len(y))
        weight = np.ones(len(y)) if weight is None else weight
        check_magnitudes(X, None if is_classifier(self) else y, weight)
        X, y, weight = (part[weight > 0] for part in (X, y, weight))
        codes, classes = self._code_support(y)
        kept, weight = self._result.weighting.support(X, codes, weight)
        rows = LabelledTasks(X[kept], codes[kept], weight, np.array([0, len(kept)]))
        task = self._support_task(_standardised(rows, self._result.standards), classes)
        if class_prior is None:
            head = self._result.knowledge.adapt(task)
        else:
            head = self._head_at_prior(task, class_prior, classes)
        return self._task_model(head, classes)

    def _classes_of(self, head):
        """Return the own classes of the task of a head; None if it has none."""
        result = self._result
        if result.labels is None:
            return None
        return self.classes_[result.labels[head, : result.ways[head]]]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def _refuse_sparse(X):
    if sparse.issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but learners need dense data: use X.toarray(), or "
            "reduce the features first, for example by TruncatedSVD in a Pipeline."
        )


def _standardised(rows, standards):
    return replace(rows, X=standards.features(rows.X), y=standards.target(rows.y))


def with_classes(rows, n_classes, shared):
    """Return tasks with class information, given rows whose `y` are codes of all classes.

    If classes are not shared, `y` becomes the index into the sorted classes of the task.
    """
    if n_classes is None:
        return rows
    if shared:
        return replace(rows, ways=np.full(rows.n_tasks, n_classes))
    present, pair = np.unique(rows.codes * n_classes + rows.y, return_inverse=True)
    task, label = np.divmod(present, n_classes)
    ways = np.bincount(task, minlength=rows.n_tasks)
    position = np.arange(len(present)) - np.repeat(np.cumsum(ways) - ways, ways)
    labels = np.full((rows.n_tasks, ways.max()), -1)
    labels[task, position] = label
    return replace(rows, y=position[pair], ways=ways, labels=labels, shared_classes=False)


def _with_empty_task(tasks):
    """Return the tasks and one without rows, which has the shared classes."""
    ways = None if tasks.ways is None else np.append(tasks.ways, tasks.ways.max())
    return replace(tasks, offsets=np.append(tasks.offsets, tasks.offsets[-1]), ways=ways)
