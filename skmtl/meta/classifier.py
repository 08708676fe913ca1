"""MetaLearnerClassifier: classes and their probabilities, for tasks not yet seen."""

from dataclasses import replace

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from .._callbacks import Progress, with_callbacks
from .._compat import StrOptions, fit_context
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

# Parts of a task's rows that are left out in turn, to correct intercepts for a class prior.
_MOST_PARTS = 20
# Classes are shared where so large a share of the tasks has so large a share of all classes.
_SHARE_OF_TASKS, _SHARE_OF_CLASSES = 1 / 4, 4 / 5


class MetaLearnerClassifier(ClassifierMixin, MetaLearnerBase):
    """Learns from many tasks how to learn the next one from a few rows; classification.

    `fit` learns from the tasks of a table what they have in common. `adapt` makes a classifier
    for a new task of a few labelled rows, and `predict` serves every task of the table in the
    same way.

    Parameters
    ----------
    learner : str or object, default="auto"
        How to learn from tasks: an object of `skmtl.learners`, or the name of one.
    task_column : str, int or list of these, default=None
        The column of X with the task labels: a name (data frames), found exactly or as the one
        column that ends in ``__name``, or an index (arrays). The column is not a feature. A list
        names a task by several columns, ``["store", "item"]``: every combination is a task, its
        label a tuple.
    shared_classes : bool or "auto", default="auto"
        Whether a label means the same in every task (churned, yes or no). If so every task has
        all classes, those that its rows do not show included. If not (which of the birds of this
        garden is it?), every task has the classes of its own rows, probabilities are zero for
        others, a new task may bring classes never seen, and a task that is unknown in `predict`
        raises. "auto" takes classes for shared where there are two in all, and otherwise where,
        of the tasks that show more than one class, a quarter or more show at least four fifths
        of all classes. It cannot tell labels that are numbered anew in every task (the first,
        second, third bird): set False for these.
    preprocessor : "auto" or transformer, default=None
        Makes finite numbers of the columns of X beside the task column and excluded ones, as in
        `MultiTaskClassifier`. None takes them as they are. Numbers need no scaling: features
        are standardised over the table.
    exclude_columns : str, int or sequence of these, default=None
        Columns of X that are no features (a row id, a time), found as `task_column` is.
    categorical_columns : str, int or sequence of these, default=None
        With ``preprocessor="auto"``, columns that are categories though they hold numbers (codes
        of regions), found as `task_column` is. A sequence, even an empty one, says that all other
        numbers are numbers, which is otherwise asked of few whole numbers by a warning.
    handle_unknown : {"shared", "error"}, default="shared"
        A row of a task never seen in fit is predicted with what all tasks share, with a
        warning; or raises, as it does where classes are not shared. With some labelled rows of
        the task, use `adapt`.
    n_jobs : int, default=None
        Threads that linear heads are fitted in; None is 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seeds the learner; None always starts alike.
    verbose : int, default=0
        Above 0, prints what is being done.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Of all tasks together.
    shared_classes_ : bool
        Whether a class was taken to mean the same in every task.
    tasks_ : ndarray of shape (n_tasks,)
        Task labels, sorted.
    learner_ : object
        The learner that was fitted.
    history_ : dict of arrays
        Training curves, where the learner has some.
    n_iter_ : int
        Steps of the learner, where it counts them.
    preprocessor_ : transformer or None
        Fitted: a ColumnTransformer where it was "auto".
    n_features_in_ : int
        Columns of X, those that are no features included.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X is a data frame.

    See Also
    --------
    MultiTaskClassifier : Linear models, where the tasks of the table are those that matter.
    MetaLearnerRegressor : The same for numbers.

    Notes
    -----
    Equal rows of a task are handed to the learner as one, which weighs as much as they do; rows
    and tasks come in an order that only their content decides. So a row of weight two is two
    rows, and neither the order of rows nor the tasks' labels matter. Features that are constant
    over the table are left out.

    Where classes are shared, `adapt` asks how probable the classes' shares among a task's rows are,
    given those of the tasks of `fit`. Shares that are next to impossible, above all equal ones, are
    taken for sampling by class, and the intercept is corrected for it; ``class_prior`` says so.

    Examples
    --------
    Shops with a few customers each, and a new shop of which five are known:

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
        learner="auto",
        *,
        task_column=None,
        shared_classes="auto",
        preprocessor=None,
        exclude_columns=None,
        categorical_columns=None,
        handle_unknown="shared",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            learner,
            task_column=task_column,
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
    def fit(self, X, y, sample_weight=None, *, task=None):
        """Learn from all tasks.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Finite numbers beside the task column, or whatever `preprocessor` takes.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.
        task : array-like of shape (n_samples,), default=None
            Task labels, where X has no task column. Neither: all rows are of one task.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As `MetaLearnerRegressor.fit`; and for a single class, in all or, where classes are
            not shared, in every task; and for a 2-D y.
        TypeError
            For sparse X.
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
        learned = self._learn(table, codes, progress, len(classes), shared)
        self._store(X, y, rows, learned)
        self.classes_, self.shared_classes_ = classes, shared
        self._ways, self._own = learned.ways, learned.labels
        progress.end()
        return self

    def _decide_on_classes(self, table, codes, n_classes, progress):
        """Whether a class means the same in every task."""
        shown = np.unique(table.codes * n_classes + codes) // n_classes
        ways = np.bincount(shown, minlength=table.n_tasks)
        if self.shared_classes == "auto":
            many = ways[ways > 1]
            most = many >= _SHARE_OF_CLASSES * n_classes
            shared = bool(n_classes == 2 or not len(many) or most.mean() >= _SHARE_OF_TASKS)
            progress(
                f"{n_classes} classes, {'shared by all tasks' if shared else 'each task its own'}"
            )
            return shared
        if not self.shared_classes and ways.max() < 2:
            raise ValueError(
                "shared_classes=False, but no task has rows of two classes, so that there is "
                "nothing to tell apart; set shared_classes=True if labels mean the same in all."
            )
        return bool(self.shared_classes)

    def _remedy_for_unknown_tasks(self):
        if self.shared_classes_:
            return super()._remedy_for_unknown_tasks()
        return (
            "as every task has classes of its own (shared_classes_ is False), theirs are not "
            "known: drop them, or give some of their labelled rows to adapt(X_support, "
            "y_support), one task at a time, and predict with what it returns"
        )

    def predict_log_proba(self, X, *, task=None):
        """Logarithms of `predict_proba`; minus infinity for classes a task does not have.

        Parameters
        ----------
        X, task
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        rows = self._rows_to_predict(X, task)
        codes = rows.codes
        if codes is None:
            codes = np.zeros(rows.X.shape[0], dtype=np.int64)
        expected, place = self._serve(rows, codes)
        if self.shared_classes_:
            return expected
        out = np.full((len(codes), len(self.classes_)), -np.inf)
        own = self._own[place]
        row, position = np.nonzero(own >= 0)
        out[row, own[row, position]] = expected[row, position]
        return out

    def predict_proba(self, X, *, task=None):
        """Probabilities of the classes.

        Parameters
        ----------
        X, task
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; zero for classes that a row's task does not have.
        """
        return np.exp(self.predict_log_proba(X, task=task))

    def predict(self, X, *, task=None):
        """The most probable class of every row, by its task's model.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
        task : label or array-like of shape (n_samples,), default=None
            Task labels, where fit was given ``task=``; a single one is that of all rows.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            As `MetaLearnerRegressor.predict`; and for an unknown task, where classes are not
            shared.
        """
        best = self.predict_log_proba(X, task=task).argmax(axis=1)
        return self.classes_[best]

    def score(self, X, y, sample_weight=None, *, task=None):
        """Accuracy of `predict`."""
        return accuracy_score(y, self.predict(X, task=task), sample_weight=sample_weight)

    def adapt(self, X_support, y_support, sample_weight=None, *, class_prior=None):
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
        class_prior : dict, default=None
            The task's share of each class, for rows that were sampled by class ("five of each")
            and so say nothing about how frequent classes are. Intercepts are corrected for it
            (King & Zeng 2001). None takes the rows' shares as evidence, as far as it is probable
            that they were drawn at random: where classes are shared, and shares as these are rare
            among the tasks of fit, those of the tasks count instead.

        Returns
        -------
        AdaptedTaskClassifier
            An ordinary fitted classifier, as `for_task` returns.

        Raises
        ------
        TypeError
            If `class_prior` is not a dict.
        ValueError
            For rows, labels or weights that are unfit, and for a `class_prior` that does not have
            a share above zero for every class, together 1.

        References
        ----------
        King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis
        9(2). :doi:`10.1093/oxfordjournals.pan.a004868`
        """
        return self._adapt(X_support, y_support, sample_weight, class_prior)

    def _head_at_prior(self, task, class_prior, own):
        """The head of a task of which the shares of the classes are given.

        Where the learner does not mind them, rows are weighed by them, and intercepts are such
        that probabilities of these rows, each left out in turn, have them as their mean.
        """
        prior = check_class_prior(class_prior, self.classes_ if own is None else own)
        if getattr(self._knowledge, "uses_class_prior", False):
            return self._knowledge.adapt(replace(task, class_prior=prior[None]))
        weight = prior_weights(task.y, task.weight, prior)
        head = self._knowledge.adapt(replace(task, weight=weight))
        log = self._left_out(task, prior)
        return ShiftedHead(head, shift_to_prior(log, weight, prior))

    def _left_out(self, task, prior):
        """Log-probabilities of a task's rows by heads that were adapted without them."""
        n, place = len(task.y), np.empty(len(task.y), dtype=np.int64)
        n_parts = min(n, _MOST_PARTS)
        place[np.argsort(task.y, kind="stable")] = np.arange(n)
        part = place % n_parts if n > 1 else np.full(n, -1)  # a single row is not left out
        kept = [np.flatnonzero(part != k) for k in range(n_parts)]
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
        parts = task.pick(np.zeros(n_parts, dtype=np.int64), rows, [len(k) for k in kept])
        weight = [prior_weights(task.y[k], task.weight[k], prior) for k in kept]
        heads = self._knowledge.adapt(replace(parts, weight=np.concatenate([*weight, []])))
        return heads.predict(task.X, np.maximum(part, 0))[:, : len(prior)]

    def _check_support(self, y):
        return check_labels(y) if self.shared_classes_ else check_classes(y)

    def _code_support(self, y):
        if self.shared_classes_:
            return find_classes(y, self.classes_), None
        own, position = np.unique(y, return_inverse=True)
        return self._codes_of(own)[position], own

    def _codes_of(self, own):
        """The codes of a task's own classes; those never seen come after all others."""
        codes = class_codes(own, self.classes_)
        new = codes < 0
        codes[new] = len(self.classes_) + np.arange(new.sum())
        return codes

    def _support_task(self, rows, own):
        if own is None:
            return with_classes(rows, len(self.classes_), True)
        labels = self._codes_of(own)
        order = np.argsort(labels)
        position = order[np.searchsorted(labels[order], rows.y)]
        return replace(
            rows, y=position, ways=np.array([len(own)]), labels=labels[None], shared_classes=False
        )

    def _own_classes(self, place):
        if self.shared_classes_:
            return None
        return self.classes_[self._own[place, : self._ways[place]]]

    def _task_model(self, head, classes):
        return AdaptedTaskClassifier._of_head(
            head, self._standards, self._columns, self.preprocessor_,
            self.classes_ if classes is None else classes,
        )  # fmt: skip
