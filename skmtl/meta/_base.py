"""What the meta-learning faces share."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .. import learners as learner_room
from .._compat import HasMethods, StrOptions
from .._jit import worker_pool
from .._validation import check_magnitudes, check_weights
from ..base import TaskEstimator
from ..learners.base import LabelledTasks
from ..tasks.stack import as_dense
from ..tasks.standards import Standards
from ._rows import Unit, arranged

__all__ = ["MetaLearnerBase", "with_classes"]


@dataclass(frozen=True)
class Learned:
    """What a fit has come to.

    Attributes
    ----------
    learner, knowledge, heads : object
        The learner, what it knows, and what it knows of the tasks of fit, an `Adapted`.
    place : ndarray of shape (n_tasks + 1,)
        Which of the heads serves each task, and one never seen; -1: none does.
    standards : Standards
    unit : Unit
    ways, labels : ndarray or None
        Of the heads' tasks, as in `LabelledTasks`.
    """

    learner: object
    knowledge: object
    heads: object
    place: np.ndarray
    standards: Standards
    unit: Unit
    ways: np.ndarray | None
    labels: np.ndarray | None


class MetaLearnerBase(TaskEstimator):
    """What the meta-learning faces share: parameters, packing for learners, fitted attributes."""

    _parameter_constraints: dict = {
        **TaskEstimator._parameter_constraints,
        "learner": [StrOptions(learner_room.BY_NAME.keys()), HasMethods(["learn"])],
    }
    _named = "learner", learner_room.BY_NAME, "skmtl.learners"

    def __init__(
        self,
        learner="auto",
        *,
        task_column=None,
        preprocessor=None,
        exclude_columns=None,
        categorical_columns=None,
        handle_unknown="shared",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.learner = learner
        self.task_column = task_column
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

    def _learn(self, table, y, progress, n_classes=None, shared=True):
        """Learn from the packed table, whose targets are `y`, and adapt to every task of it.

        Parameters
        ----------
        table : TaskTable
        y : ndarray of shape (n_packed,)
            Numbers (floats), or codes of classes (integers).
        progress : callable
        n_classes : int, default=None
            How many classes all tasks have together.
        shared : bool, default=True
            Whether a class means the same in every task. A task without rows is served only then.

        Returns
        -------
        Learned
        """
        learner = self._named_object()
        rows, order, unit, trust = arranged(replace(table, y=y))
        standards = Standards.of(rows.X, rows.y, rows.weight, trust)
        tasks = with_classes(_standardised(rows, standards), n_classes, shared)
        place = np.full(table.n_tasks + 1, tasks.n_tasks if shared else -1)
        place[order] = np.arange(tasks.n_tasks)
        served = replace(tasks, weight=unit.of_tasks(tasks))
        served = _with_empty_task(served) if shared else served
        with worker_pool(self.n_jobs) as executor:
            tasks, served = (replace(some, executor=executor) for some in (tasks, served))
            progress(f"learning from {tasks.n_tasks} tasks")
            knowledge = learner.learn(tasks, np.random.RandomState(self._seed()), progress)
            progress(f"adapting to {tasks.n_tasks} tasks")
            heads = knowledge.adapt(served)
        return Learned(
            learner, knowledge, heads, place, standards, unit, served.ways, served.labels
        )

    def _store(self, X, y, rows, learned):
        """Set the fitted attributes, all at once at the very end."""
        self._store_tasks(X, y, rows)
        self.learner_, self._knowledge = learned.learner, learned.knowledge
        self._heads, self._place = learned.heads, learned.place
        self._standards, self._unit = learned.standards, learned.unit
        self.history_ = learned.knowledge.history
        vars(self).pop("n_iter_", None)  # of an earlier fit
        if hasattr(learned.knowledge, "n_iter"):
            self.n_iter_ = learned.knowledge.n_iter

    def _serve(self, rows, codes):
        """What the heads expect of rows of the tasks `codes`, and which heads these are."""
        place = self._place[codes]  # code -1 is the last
        if (place < 0).any():
            label = self.tasks_[codes[int(np.argmax(place < 0))]]
            self._raise_no_head(label)
        Z = self._standards.features(as_dense(rows.X))
        return self._heads.predict(Z, place), place

    def _raise_no_head(self, label):
        label = np.asarray(label).tolist()
        raise ValueError(
            f"task {label!r} had no row of positive weight in fit, so that its classes are not "
            "known; give it some, or use adapt(X_support, y_support)."
        )

    def for_task(self, label):
        """The model of one task, as an ordinary fitted estimator.

        Parameters
        ----------
        label : str, int or tuple
            A label among ``tasks_``.

        Returns
        -------
        AdaptedTaskClassifier or AdaptedTaskModel
            Takes the columns that are features, before any preprocessing, which it brings
            along; the task column and excluded ones are ignored. Picklable; its size does not
            depend on the training table.

        Raises
        ------
        ValueError
            If the task was not seen in fit.
        """
        t = self._find_task(label)
        if self._place[t] < 0:
            self._raise_no_head(label)
        place = self._place[t]
        return self._task_model(self._heads.take([place]), self._own_classes(place))

    def adapt(self, X_support, y_support, sample_weight=None):
        """A model for a new task, from a few of its labelled rows and what `fit` has learned.

        Nothing is refitted and this estimator stays as it is. For the rows of a task of `fit` it
        is that task's model.

        Parameters
        ----------
        X_support : {array-like, data frame} of shape (n_samples, n_features)
            Rows of the new task; needs no task column (one present is ignored).
        y_support : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        AdaptedTaskClassifier or AdaptedTaskModel
            An ordinary fitted estimator, as `for_task` returns.

        Raises
        ------
        ValueError
            For rows, labels or weights that are unfit.
        """
        return self._adapt(X_support, y_support, sample_weight)

    def _adapt(self, X_support, y_support, sample_weight, class_prior=None):
        check_is_fitted(self)
        _refuse_sparse(X_support)
        X, y = as_dense(self._features_to_predict(X_support)), self._check_support(y_support)
        check_consistent_length(X, y)
        weight = check_weights(sample_weight, len(y))
        weight = np.ones(len(y)) if weight is None else weight
        check_magnitudes(X, None if is_classifier(self) else y, weight)
        X, y, weight = (part[weight > 0] for part in (X, y, weight))
        codes, own = self._code_support(y)
        kept, weight = self._unit.support(X, codes, weight)
        rows = LabelledTasks(X[kept], codes[kept], weight, np.array([0, len(kept)]))
        tasks = self._support_task(_standardised(rows, self._standards), own)
        if class_prior is None:
            head = self._knowledge.adapt(tasks)
        else:
            head = self._head_at_prior(tasks, class_prior, own)
        return self._task_model(head, own)

    def _check_support(self, y):
        """The labels of a new task's rows, in one dimension."""
        raise NotImplementedError

    def _code_support(self, y):
        """The same as `fit` codes them, and the task's own classes (None: it has no own)."""
        raise NotImplementedError

    def _support_task(self, rows, own):
        """The task of these rows, its classes told."""
        raise NotImplementedError

    def _task_model(self, head, classes):
        """An ordinary fitted estimator of a single head; its own classes, or None."""
        raise NotImplementedError

    def _own_classes(self, place):
        """The classes of one of the heads of fit, None where it has none of its own."""
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def _refuse_sparse(X):
    if sparse.issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but learners need dense data: use X.toarray(), or "
            "reduce it before, as by TruncatedSVD in a Pipeline."
        )


def _standardised(rows, standards):
    X, y = standards.features(rows.X), standards.target(rows.y)
    return replace(rows, X=X, y=y)


def with_classes(rows, n_classes, shared):
    """Tasks with their classes told, of rows whose `y` are codes of all classes.

    Where classes are not shared, `y` becomes the position among the task's own classes, sorted.
    """
    if n_classes is None:
        return rows
    if shared:
        return replace(rows, ways=np.full(rows.n_tasks, n_classes))
    shown, pair = np.unique(rows.codes * n_classes + rows.y, return_inverse=True)
    task, label = np.divmod(shown, n_classes)
    ways = np.bincount(task, minlength=rows.n_tasks)
    position = np.arange(len(shown)) - np.repeat(np.cumsum(ways) - ways, ways)
    labels = np.full((rows.n_tasks, ways.max()), -1)
    labels[task, position] = label
    return replace(rows, y=position[pair], ways=ways, labels=labels, shared_classes=False)


def _with_empty_task(tasks):
    """The same tasks and one without rows, which has the classes that all share."""
    ways = None if tasks.ways is None else np.append(tasks.ways, tasks.ways.max())
    return replace(tasks, offsets=np.append(tasks.offsets, tasks.offsets[-1]), ways=ways)
