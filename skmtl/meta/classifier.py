"""MetaLearnerClassifier: classification for new tasks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score

from .._callbacks import Progress, with_callbacks
from .._compat import StrOptions, fit_context
from .._typing import ArrayLike, MatrixLike, NDArray, RandomState, TaskColumn
from ..learners.base import Learner
from ..tasks.prevalence import check_class_prior, prior_weights, shift_to_prior
from ..tasks.targets import (
    check_classes,
    check_labels,
    check_two_classes,
    class_codes,
    find_classes,
)
from ._adapted import AdaptedTaskClassifier, ShiftedHead
from ._base import MetaLearnerBase, with_classes

__all__ = ["MetaLearnerClassifier"]

# Largest number of folds of a task's rows when intercepts are corrected for a class prior.
_MAX_FOLDS = 20
# Classes are taken to be shared if at least this share of the tasks has at least this share of all
# classes.
_SHARE_OF_TASKS, _SHARE_OF_CLASSES = 1 / 4, 4 / 5


class MetaLearnerClassifier(ClassifierMixin, MetaLearnerBase):
    """Meta-learning for classification: learn from many tasks how to adapt to a new one.

    `fit` learns what the tasks of a table have in common. `adapt` returns a classifier for a new
    task, given a few labelled rows of it. `predict` predicts rows of the tasks of the table, each
    task being adapted to its own rows in the same way.

    Parameters
    ----------
    learner : str or object, default="auto"
        The learner: an object of `skmtl.learners`, or the name of one.
    task_column : str, int or list of these, default=None
        Column of X with the task labels: a name (data frames), found exactly or as the only
        column that ends in ``__name``, or an index (arrays). The column is not a feature. With a
        list, such as ``["store", "item"]``, each combination of values is a task, and its label
        is a tuple.
    estimator : classifier, default=None
        Any scikit-learn classifier beside ``learner="auto"``. If classes are shared, it is fitted
        on the rows of all tasks, as a further feature on which heads are adapted; and, from
        scratch, on the rows of a task. Each is used at those numbers of labelled rows where
        predictions of held-out tasks become better by more than two standard errors
        (`skmtl.learners.WithEstimator`). It sees standardised features after preprocessing. None
        adds nothing.
    shared_classes : bool or "auto", default="auto"
        Whether a label means the same in every task (churned, yes or no). If True, each task has
        all classes, including those without rows in the task. If False (for instance, bird species
        that differ from garden to garden), each task has the classes of its own rows: other classes
        have probability zero, a new task may have classes never seen, and `predict` raises an error
        for an unknown task. "auto" takes classes to be shared if there are only two or if, among
        the tasks with more than one class, at least a quarter have at least four fifths of all
        classes. It cannot recognise labels that are numbered anew in each task (the first, second,
        third bird): use False for these.
    preprocessor : "auto" or transformer, default=None
        Turns the columns of X, except the task column and excluded columns, into finite numbers,
        as in `MultiTaskClassifier`. None uses them unchanged. Numbers need no scaling, as
        features are standardised over the table.
    exclude_columns : str, int or sequence of these, default=None
        Columns of X that are not features (a row id, a time), found like `task_column`.
    categorical_columns : str, int or sequence of these, default=None
        With ``preprocessor="auto"``, numeric columns that are categories (codes of regions), found
        like `task_column`. If a sequence is given, even an empty one, all other numeric columns
        are numbers; with None, a warning asks about columns of few distinct whole numbers.
    handle_unknown : {"shared", "error"}, default="shared"
        How to predict rows of tasks not seen in fit: "shared" uses what all tasks share, with a
        warning; "error" raises, as does "shared" if classes are not shared. If labelled rows of
        the task are available, use `adapt`.
    n_jobs : int, default=None
        Number of threads that fit linear heads; None means 1. Results do not depend on it. An
        `estimator` has its own.
    random_state : int, RandomState instance or None, default=None
        Seed of the learner; None uses a fixed seed.
    verbose : int, default=0
        If above 0, print the progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes of all tasks together.
    shared_classes_ : bool
        Whether a label was taken to mean the same in every task.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task labels.
    learner_ : object
        The fitted learner.
    member_report_ : dict of arrays
        Only with `estimator`: its members (the default learner, the shared estimator, the task's
        own clone) by number of labelled rows. ``"member"``, ``"n_rows"``, ``"error"`` (log-loss
        of each alone on held-out tasks), ``"weight"``, and ``"status"``: used, or why not.
    history_ : dict of arrays
        Training curves, empty for learners in closed form.
    n_iter_ : int
        Number of steps, only for iterative learners.
    preprocessor_ : transformer or None
        The fitted preprocessor; a ColumnTransformer for "auto".
    n_features_in_ : int
        Number of columns of X, including those that are not features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, only if X is a data frame.

    See Also
    --------
    MultiTaskClassifier : Linear models, for predictions on the tasks of the table.
    MetaLearnerRegressor : Meta-learning for regression.

    Notes
    -----
    Equal rows of a task are merged into one row of their total weight, and rows and tasks are
    sorted by their content. Therefore a row of weight two is equivalent to two rows, and results
    depend neither on the order of rows nor on the labels of the tasks. Features that are constant
    over the table are ignored.

    If classes are shared, `adapt` compares the shares of the classes among a task's rows with those
    in the tasks of `fit`. Very improbable shares, in particular equal ones, are attributed to
    sampling by class, and the intercept is corrected accordingly. Use ``class_prior`` to state the
    shares explicitly.

    Examples
    --------
    Shops with a few customers each, and a new shop of which five customers are known:

    >>> import numpy as np
    >>> from skmtl import MetaLearnerClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, shop = rng.normal(size=(600, 3)), np.repeat(np.arange(40), 15)
    >>> bought = X[:, 0] + 0.5 * rng.normal(size=40)[shop] + 0.3 * rng.logistic(size=600) > 0
    >>> model = MetaLearnerClassifier().fit(X, bought, task=shop)
    >>> model.shared_classes_
    True
    >>> X_new = rng.normal(size=(105, 3))
    >>> bought_new = X_new[:, 0] + 0.3 * rng.logistic(size=105) > 0
    >>> new = model.adapt(X_new[:5], bought_new[:5])
    >>> new.predict_proba(X_new[5:]).shape
    (100, 2)
    >>> new.score(X_new[5:], bought_new[5:]) > 0.75
    True
    """

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__predict_proba = {"task": True}
    __metadata_request__predict_log_proba = {"task": True}
    __metadata_request__score = {"task": True, "sample_weight": True}

    _parameter_constraints: dict = {
        **MetaLearnerBase._parameter_constraints,
        "shared_classes": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        learner: str | Learner = "auto",
        *,
        task_column: TaskColumn = None,
        estimator: Any = None,
        shared_classes: bool | Literal["auto"] = "auto",
        preprocessor: Literal["auto"] | BaseEstimator | None = None,
        exclude_columns: TaskColumn = None,
        categorical_columns: TaskColumn = None,
        handle_unknown: Literal["shared", "error"] = "shared",
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            learner,
            task_column=task_column,
            estimator=estimator,
            preprocessor=preprocessor,
            exclude_columns=exclude_columns,
            categorical_columns=categorical_columns,
            handle_unknown=handle_unknown,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.shared_classes = shared_classes

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        task: ArrayLike | None = None,
    ) -> Self:
        """Learn from all tasks.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Finite numbers and the task column, or any columns that `preprocessor` accepts.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; a row with weight 2 is equivalent to two rows.
        task : array-like of shape (n_samples,), default=None
            Task labels, if X has no task column. Without either, all rows belong to one task.

        Returns
        -------
        MetaLearnerClassifier
            The fitted meta-learner.

        Raises
        ------
        ValueError
            If the task column is not found, task labels are missing, of mixed types or
            non-integral numbers, features are NaN or infinite, weights are invalid, y is 2-D, or
            there is only one class, in all tasks or, if classes are not shared, in each of them;
            for an `estimator` that is no classifier, has no ``predict_proba``, takes no weights
            although weights differ, or is given with another learner than "auto".
        TypeError
            If X is sparse, or `estimator` is a class.
        """
        progress = Progress(self, X, y)
        self._require_target(y)
        labels = check_classes(y)
        classes, codes = np.unique(labels, return_inverse=True)
        rows, y, _, table = self._pack(
            X, codes.astype(np.float64), sample_weight, task, target=labels
        )
        present, codes = np.unique(table.y, return_inverse=True)
        classes = classes[present.astype(np.int64)]
        check_two_classes(classes)
        shared = self._decide_on_classes(table, codes, len(classes), progress)
        self._store(X, y, rows, self._learn(table, codes, progress, len(classes), shared))
        self.classes_, self.shared_classes_ = classes, shared
        progress.end()
        return self

    def _decide_on_classes(self, table, codes, n_classes, progress):
        """Return whether a label means the same in every task."""
        tasks = np.unique(table.codes * n_classes + codes) // n_classes
        ways = np.bincount(tasks, minlength=table.n_tasks)
        if self.shared_classes == "auto":
            several = ways[ways > 1]
            has_most = several >= _SHARE_OF_CLASSES * n_classes
            shared = bool(
                n_classes == 2 or not len(several) or has_most.mean() >= _SHARE_OF_TASKS
            )  # fmt: skip
            progress(
                f"{n_classes} classes, {'shared by all tasks' if shared else 'each task its own'}"
            )
            return shared
        if not self.shared_classes and ways.max() < 2:
            raise ValueError(
                "shared_classes=False, but no task has rows of two classes, so that there is "
                "nothing to learn; set shared_classes=True if labels mean the same in every task."
            )
        return bool(self.shared_classes)

    def _remedy_for_unknown_tasks(self):
        if self.shared_classes_:
            return super()._remedy_for_unknown_tasks()
        return (
            "since each task has its own classes (shared_classes_ is False), the classes of these "
            "tasks are not known: drop the rows, or pass some labelled rows of each task to "
            "adapt(X_support, y_support), and predict with the classifier that it returns"
        )

    def predict_log_proba(self, X: MatrixLike, *, task: ArrayLike | None = None) -> NDArray:
        """Predict the log-probabilities of the classes.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict, with the columns of fit.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if fit was given ``task=``; a single label applies to all rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; minus infinity for classes that a row's task does not
            have.

        Raises
        ------
        ValueError
            For the same reasons as in `predict`.
        """
        expected, head = self._serve(self._rows_to_predict(X, task))
        if self.shared_classes_:
            return expected
        out = np.full((len(head), len(self.classes_)), -np.inf)
        labels = self._result.labels[head]
        row, position = np.nonzero(labels >= 0)
        out[row, labels[row, position]] = expected[row, position]
        return out

    def predict_proba(self, X: MatrixLike, *, task: ArrayLike | None = None) -> NDArray:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict, with the columns of fit.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if fit was given ``task=``; a single label applies to all rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; zero for classes that a row's task does not have.

        Raises
        ------
        ValueError
            For the same reasons as in `predict`.
        """
        return np.exp(self.predict_log_proba(X, task=task))

    def predict(self, X: MatrixLike, *, task: ArrayLike | None = None) -> NDArray:
        """Predict the most probable class of each row by the model of its task.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict, with the columns of fit.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if fit was given ``task=``; a single label applies to all rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted classes.

        Raises
        ------
        ValueError
            If the model has several tasks and none is given, task labels are of another type than
            in fit, or a task is unknown and ``handle_unknown="error"`` or classes are not shared.
        """
        best = self.predict_log_proba(X, task=task).argmax(axis=1)
        return self.classes_[best]

    def score(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        task: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy of the predictions.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict, with the columns of fit.
        y : array-like of shape (n_samples,)
            Labels of the rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if fit was given ``task=``.

        Returns
        -------
        float
            Share of the rows, by weight, whose class is predicted.
        """
        return accuracy_score(y, self.predict(X, task=task), sample_weight=sample_weight)

    def adapt(
        self,
        X_support: MatrixLike,
        y_support: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        class_prior: Mapping[object, float] | None = None,
    ) -> AdaptedTaskClassifier:
        """Return a classifier for a new task, given a few labelled rows of it.

        Nothing is refitted, and this estimator does not change. Given the rows of a task of `fit`,
        it returns the classifier of that task.

        Parameters
        ----------
        X_support : {array-like, data frame} of shape (n_samples, n_features)
            Rows of the new task. The task column is not needed, and ignored if present.
        y_support : array-like of shape (n_samples,)
            Labels of these rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; a row with weight 2 is equivalent to two rows.
        class_prior : dict, default=None
            Share of each class in the task, for rows that were sampled by class ("five of each")
            and do not reflect how frequent classes are. Intercepts are corrected accordingly (King
            & Zeng 2001). If None, the class shares of the given rows are used as far as the rows
            were probably drawn at random. If classes are shared and such shares are rare among the
            tasks of `fit`, the shares in those tasks are used instead.

        Returns
        -------
        AdaptedTaskClassifier
            An ordinary fitted classifier.

        Raises
        ------
        TypeError
            If `class_prior` is not a dict.
        ValueError
            If the rows, labels or weights are invalid, or `class_prior` does not have a share above
            zero for each class, with sum 1.

        References
        ----------
        King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis
        9(2). :doi:`10.1093/oxfordjournals.pan.a004868`
        """
        return self._adapt(X_support, y_support, sample_weight, class_prior)

    def _head_at_prior(self, task, class_prior, classes):
        """Return the head of a task with given shares of the classes.

        If the learner does not use them, rows are weighed by them, and intercepts are shifted such
        that the out-of-fold probabilities of the rows have them as their mean.
        """
        prior = check_class_prior(class_prior, self.classes_ if classes is None else classes)
        knowledge = self._result.knowledge
        if getattr(knowledge, "uses_class_prior", False):
            return knowledge.adapt(replace(task, class_prior=prior[None]))
        weight = prior_weights(task.y, task.weight, prior)
        head = knowledge.adapt(replace(task, weight=weight))
        return ShiftedHead(head, shift_to_prior(self._out_of_fold(task, prior), weight, prior))

    def _out_of_fold(self, task, prior):
        """Return log-probabilities of the rows of a task under heads adapted without them."""
        n, rank = len(task.y), np.empty(len(task.y), dtype=np.int64)
        n_folds = min(n, _MAX_FOLDS)
        rank[np.argsort(task.y, kind="stable")] = np.arange(n)
        fold = rank % n_folds if n > 1 else np.full(n, -1)  # a single row is not left out
        kept = [np.flatnonzero(fold != k) for k in range(n_folds)]
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
        parts = task.pick(np.zeros(n_folds, dtype=np.int64), rows, [len(k) for k in kept])
        weight = [prior_weights(task.y[k], task.weight[k], prior) for k in kept]
        parts = replace(parts, weight=np.concatenate([*weight, []]))
        heads = self._result.knowledge.adapt(parts)
        return heads.predict(task.X, np.maximum(fold, 0))[:, : len(prior)]

    def _check_support(self, y):
        return check_labels(y) if self.shared_classes_ else check_classes(y)

    def _code_support(self, y):
        if self.shared_classes_:
            return find_classes(y, self.classes_), None
        classes, position = np.unique(y, return_inverse=True)
        return self._codes_of(classes)[position], classes

    def _codes_of(self, classes):
        """Return the codes of a task's own classes; new classes come after all others."""
        codes = class_codes(classes, self.classes_)
        new = codes < 0
        codes[new] = len(self.classes_) + np.arange(new.sum())
        return codes

    def _support_task(self, rows, classes):
        if classes is None:
            return with_classes(rows, len(self.classes_), True)
        labels = self._codes_of(classes)
        order = np.argsort(labels)
        position = order[np.searchsorted(labels[order], rows.y)]
        return replace(
            rows, y=position, ways=np.array([len(labels)]), labels=labels[None],
            shared_classes=False,
        )  # fmt: skip

    def _task_model(self, head, classes):
        return AdaptedTaskClassifier._of_head(
            head, self._result.standards, self._columns, self.preprocessor_,
            self.classes_ if classes is None else classes,
        )  # fmt: skip
