"""MetaLearnerRegressor: numbers, for tasks not yet seen."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import fit_context
from ..base import r2_over_tasks
from ..tasks.targets import check_numbers
from ._adapted import AdaptedTaskModel
from ._base import MetaLearnerBase

__all__ = ["MetaLearnerRegressor"]


class MetaLearnerRegressor(RegressorMixin, MetaLearnerBase):
    """Learns from many tasks how to learn the next one from a few rows; regression.

    `fit` learns from the tasks of a table what they have in common. `adapt` makes a model for a
    new task of a few labelled rows, and `predict` serves every task of the table in the same way.

    Parameters
    ----------
    learner : str or object, default="auto"
        How to learn from tasks: an object of `skmtl.learners`, or the name of one.
    task_column : str, int or list of these, default=None
        The column of X with the task labels: a name (data frames), found exactly or as the one
        column that ends in ``__name``, or an index (arrays). The column is not a feature. A list
        names a task by several columns, ``["store", "item"]``: every combination is a task, its
        label a tuple.
    preprocessor : "auto" or transformer, default=None
        Makes finite numbers of the columns of X beside the task column and excluded ones, as in
        `MultiTaskRegressor`. None takes them as they are. Numbers need no scaling: features and
        target are standardised over the table.
    exclude_columns : str, int or sequence of these, default=None
        Columns of X that are no features (a row id, a time), found as `task_column` is.
    categorical_columns : str, int or sequence of these, default=None
        With ``preprocessor="auto"``, columns that are categories though they hold numbers (codes
        of regions), found as `task_column` is. A sequence, even an empty one, says that all other
        numbers are numbers, which is otherwise asked of few whole numbers by a warning.
    handle_unknown : {"shared", "error"}, default="shared"
        A row of a task never seen in fit is predicted with what all tasks share, with a
        warning; or raises. With some labelled rows of the task, use `adapt`.
    n_jobs : int, default=None
        Threads that linear heads are fitted in; None is 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seeds the learner; None always starts alike.
    verbose : int, default=0
        Above 0, prints what is being done.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Task labels, sorted; of a 2-D y the column names, or indices.
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
    MultiTaskRegressor : Linear models, where the tasks of the table are those that matter.
    MetaLearnerClassifier : The same for classes.

    Notes
    -----
    Equal rows of a task are handed to the learner as one, which weighs as much as they do; rows
    and tasks come in an order that only their content decides. So a row of weight two is two
    rows, and neither the order of rows nor the tasks' labels matter. Features that are constant
    over the table are left out.

    Examples
    --------
    What investment depends on in ten firms, and in an eleventh of which six years are known:

    >>> from skmtl import MetaLearnerRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> new = X["firm"] == "US Steel"
    >>> model = MetaLearnerRegressor(task_column="firm").fit(X[~new], y[~new])
    >>> steel = model.adapt(X[new][:6], y[new][:6])
    >>> steel.predict(X[new][6:]).shape
    (14,)
    >>> model.for_task("General Motors").predict(X[:2]).shape
    (2,)
    """

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__score = {"task": True, "sample_weight": True}

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, task=None):
        """Learn from all tasks.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Finite numbers beside the task column, or whatever `preprocessor` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            A 2-D y has one task a column; NaN means not labelled for this task.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.
        task : array-like of shape (n_samples,), default=None
            Task labels, where X has no task column. Neither: a 1-D y is one task.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For an unknown task column, missing or mixed labels, labels that are non-integral
            numbers, NaN or infinite features, a task without labels, bad weights.
        TypeError
            For sparse X.
        """
        progress = Progress(self, X, y)
        rows, y, _, table = self._pack(X, y, sample_weight, task)
        self._store(X, y, rows, self._learn(table, table.y, progress))
        progress.end()
        return self

    def predict(self, X, *, task=None):
        """Predict every row with its task's model.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
        task : label or array-like of shape (n_samples,), default=None
            Task labels, where fit was given ``task=``; a single one is that of all rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            2-D where fit saw a 2-D y.

        Raises
        ------
        ValueError
            Where the model has several tasks and none is given, labels are of another kind
            than in fit, or a task is unknown and ``handle_unknown="error"``.
        """
        rows = self._rows_to_predict(X, task)
        n_rows = rows.X.shape[0]
        if self._task_source == "target":
            every = [np.full(n_rows, t) for t in range(len(self.tasks_))]
            expected = np.column_stack([self._serve(rows, codes)[0] for codes in every])
        else:
            codes = np.zeros(n_rows, dtype=np.int64) if rows.codes is None else rows.codes
            expected, _ = self._serve(rows, codes)
        return self._standards.restore(expected)

    def score(self, X, y, sample_weight=None, *, task=None):
        """R² of the predictions; with a 2-D y the mean over tasks, NaN labels left out."""
        check_is_fitted(self)
        self._check_scored(y)
        return r2_over_tasks(y, self.predict(X, task=task), sample_weight)

    def _check_support(self, y):
        return check_numbers(y)

    def _code_support(self, y):
        return y, None

    def _support_task(self, rows, own):
        return rows

    def _task_model(self, head, classes):
        return AdaptedTaskModel._of_head(head, self._standards, self._columns, self.preprocessor_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_column is None
        return tags
