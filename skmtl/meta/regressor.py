"""MetaLearnerRegressor: regression for new tasks."""

from dataclasses import replace
from typing import Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import fit_context
from .._typing import ArrayLike, MatrixLike, NDArray
from ..base import r2_over_tasks
from ..tasks.targets import check_numbers
from ._adapted import AdaptedTaskModel
from ._base import MetaLearnerBase

__all__ = ["MetaLearnerRegressor"]


class MetaLearnerRegressor(RegressorMixin, MetaLearnerBase):
    """Meta-learning for regression: learn from many tasks how to adapt to a new one.

    `fit` learns what the tasks of a table have in common. `adapt` returns a model for a new task,
    given a few labelled rows of it. `predict` predicts rows of the tasks of the table, each task
    being adapted to its own rows in the same way.

    Parameters
    ----------
    learner : str or object, default="auto"
        The learner: an object of `skmtl.learners`, or the name of one.
    task_column : str, int or list of these, default=None
        Column of X with the task labels: a name (data frames), found exactly or as the only
        column that ends in ``__name``, or an index (arrays). The column is not a feature. With a
        list, such as ``["store", "item"]``, each combination of values is a task, and its label
        is a tuple.
    estimator : regressor, default=None
        Any scikit-learn regressor beside ``learner="auto"``. It is fitted on the rows of all tasks,
        as a further feature on which heads are adapted; and, from scratch, on the rows of a task.
        Each is used at those numbers of labelled rows where predictions of held-out tasks become
        better by more than two standard errors (`skmtl.learners.WithEstimator`). It sees
        standardised features after preprocessing. None adds nothing.
    preprocessor : "auto" or transformer, default=None
        Turns the columns of X, except the task column and excluded columns, into finite numbers,
        as in `MultiTaskRegressor`. None uses them unchanged. Numbers need no scaling, as features
        and target are standardised over the table.
    exclude_columns : str, int or sequence of these, default=None
        Columns of X that are not features (a row id, a time), found like `task_column`.
    categorical_columns : str, int or sequence of these, default=None
        With ``preprocessor="auto"``, numeric columns that are categories (codes of regions), found
        like `task_column`. If a sequence is given, even an empty one, all other numeric columns
        are numbers; with None, a warning asks about columns of few distinct whole numbers.
    handle_unknown : {"shared", "error"}, default="shared"
        How to predict rows of tasks not seen in fit: "shared" uses what all tasks share, with a
        warning; "error" raises. If labelled rows of the task are available, use `adapt`.
    n_jobs : int, default=None
        Number of threads that fit linear heads; None means 1. Results do not depend on it. An
        `estimator` has its own.
    random_state : int, RandomState instance or None, default=None
        Seed of the learner; None uses a fixed seed.
    verbose : int, default=0
        If above 0, print the progress.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task labels; for a 2-D y its column names, or indices.
    learner_ : object
        The fitted learner.
    member_report_ : dict of arrays
        Only with `estimator`: its members (the default learner, the shared estimator, the task's
        own clone) by number of labelled rows. ``"member"``, ``"n_rows"``, ``"error"`` (squared
        error of each alone on held-out tasks), ``"weight"``, and ``"status"``: used, or why not.
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
    MultiTaskRegressor : Linear models, for predictions on the tasks of the table.
    MetaLearnerClassifier : Meta-learning for classification.

    Notes
    -----
    Equal rows of a task are merged into one row of their total weight, and rows and tasks are
    sorted by their content. Therefore a row of weight two is equivalent to two rows, and results
    depend neither on the order of rows nor on the labels of the tasks. Features that are constant
    over the table are ignored.

    Examples
    --------
    Investment of ten firms, and of an eleventh firm of which six years are known:

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
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Target. A 2-D y has one column per task, with NaN for missing labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; a row with weight 2 is equivalent to two rows.
        task : array-like of shape (n_samples,), default=None
            Task labels, if X has no task column. Without either, a 1-D y is one task.

        Returns
        -------
        MetaLearnerRegressor
            The fitted meta-learner.

        Raises
        ------
        ValueError
            If the task column is not found, task labels are missing, of mixed types or
            non-integral numbers, features are NaN or infinite, a task has no labels, or weights
            are invalid; for an `estimator` that is no regressor, takes no weights although weights
            differ, or is given with another learner than "auto".
        TypeError
            If X is sparse, or `estimator` is a class.
        """
        progress = Progress(self, X, y)
        rows, y, _, table = self._pack(X, y, sample_weight, task)
        self._store(X, y, rows, self._learn(table, table.y, progress))
        progress.end()
        return self

    def predict(self, X: MatrixLike, *, task: ArrayLike | None = None) -> NDArray:
        """Predict each row with the model of its task.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict, with the columns of fit.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if fit was given ``task=``; a single label applies to all rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Predictions; 2-D if y was 2-D in fit.

        Raises
        ------
        ValueError
            If the model has several tasks and none is given, task labels are of another type than
            in fit, or a task is unknown and ``handle_unknown="error"``.
        """
        rows = self._rows_to_predict(X, task)
        if self._task_source == "target":
            codes = [np.full(rows.X.shape[0], t) for t in range(len(self.tasks_))]
            expected = np.column_stack([self._serve(replace(rows, codes=c))[0] for c in codes])
        else:
            expected, _ = self._serve(rows)
        return self._result.standards.restore(expected)

    def adapt(
        self, X_support: MatrixLike, y_support: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> AdaptedTaskModel:
        """Return a model for a new task, given a few labelled rows of it.

        Nothing is refitted, and this estimator does not change. Given the rows of a task of `fit`,
        this returns the same model as `for_task`.

        Parameters
        ----------
        X_support : {array-like, data frame} of shape (n_samples, n_features)
            Rows of the new task. The task column is not needed, and ignored if present.
        y_support : array-like of shape (n_samples,)
            Labels of these rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; a row with weight 2 is equivalent to two rows.

        Returns
        -------
        AdaptedTaskModel
            An ordinary fitted regressor.

        Raises
        ------
        ValueError
            If the rows, labels or weights are invalid.
        """
        return self._adapt(X_support, y_support, sample_weight)

    def score(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        task: ArrayLike | None = None,
    ) -> float:
        """Return the R² of the predictions.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Rows to predict, with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if fit was given ``task=``.

        Returns
        -------
        float
            R²; for a 2-D y the mean over tasks, without NaN labels.
        """
        check_is_fitted(self)
        self._check_scored(y)
        return r2_over_tasks(y, self.predict(X, task=task), sample_weight)

    def _check_support(self, y):
        return check_numbers(y)

    def _code_support(self, y):
        return y, None

    def _support_task(self, rows, classes):
        return rows

    def _task_model(self, head, classes):
        return AdaptedTaskModel._of_head(
            head, self._result.standards, self._columns, self.preprocessor_
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_column is None
        return tags
