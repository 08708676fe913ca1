"""Logistic regression for many tasks."""

import numbers
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self, overload

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import HasMethods, Interval, StrOptions, fit_context
from .._typing import CV, ArrayLike, LazyFrame, MatrixLike, NDArray, RandomState, TaskColumn
from ..losses import LOG_LOSS
from ..queries.frames import is_lazy
from ..sharing.base import Sharing
from ..sharing.newton_problem import NewtonProblem
from ..task_models import (
    BlendedTaskClassifier,
    LinearTaskClassifier,
    most_probable,
    one_or_more,
    probabilities,
)
from ..tasks.prevalence import check_class_prior
from ..tasks.stack import linear_scores
from ..tasks.targets import check_classes, check_labels, check_two_classes, find_classes
from ..tasks.variation import column_stds
from ._base import MultiTaskBase
from ._class_weight import weights_with_classes
from ._lazy_classes import LazyClassesMixin
from ._prediction_sets import PredictionSetsMixin
from ._separation import warn_of_separation

__all__ = ["MultiTaskClassifier"]


class MultiTaskClassifier(
    LazyClassesMixin, PredictionSetsMixin, ClassifierMixin, MultiTaskBase[LinearTaskClassifier]
):
    r"""Classification for many tasks that share information where it helps.

    Every task (customer, field, district, ...) has its own linear scores

    .. math:: f_t(x) = a + a_t + x'(m + v_t),

    the log-odds of the second class, which are shrunk towards the shared :math:`a + x'm`. The
    strength is chosen for each task by the cross-validated log-loss inside `fit`, from
    *independent* (one model per task) to *pooled* (one model for all tasks). The probabilities of a
    task with few rows, or with rows of one class only, are shrunk towards the shared ones. With
    more than two classes, every class has its own scores and the loss is multinomial. Where the
    response bends, these logistic regressions are blended with learners such as trees.

    Parameters
    ----------
    sharing : str or object, default="auto"
        How tasks share information: "auto", "partial_pooling", "independent", "pooled",
        "task_tree", "hidden_layers", or an object of `skmtl.sharing`, which has options.
        "partial_pooling" has linear scores only, and "task_tree" draws tasks to their groups, which
        the first columns of `task_column` name. With "auto" (`skmtl.sharing.Auto`), these are
        blended with smooth functions, forests and boosted trees where the blend is better; such a
        fit has no ``coef_``. With "hidden_layers" (`skmtl.sharing.SharedHiddenLayers`), tasks share
        layers of a perceptron, for two classes. Strengths are 1 / variance on the scale of
        log-odds, for standardised features, like ``1 / C`` of scikit-learn's LogisticRegression,
        and "auto" by default.
    task_column : str, int or list of these, default=None
        Column of X with the task labels, which is not a feature: a name (data frames) or an index
        (arrays). A name must equal a column name, or the part after ``__`` of exactly one column
        name. With a list, such as ``["store", "item"]``, every combination of values is a task,
        whose label is a tuple. Columns of levels are named from coarse to fine.
    estimator : classifier, default=None
        Further learner for ``sharing="auto"``: any scikit-learn classifier with probabilities,
        fitted both with the mean target of the task as one more feature, and without the task.
    preprocessor : "auto" or transformer, default=None
        Converts the columns of X, without the task column and excluded ones, to finite numbers.
        None uses them unchanged. "auto" imputes missing numbers with the median, adds a column that
        marks them, and one-hot encodes strings and categories. Missing categories form a level of
        their own. Levels in fewer than 5 rows, levels beyond the 30 most frequent ones, and levels
        unknown in `fit` share one column. Columns of strings that are all numbers, and of booleans,
        are treated as numbers; dates raise an error. Numbers need no scaling, because the model
        standardises them. Any other transformer or Pipeline is cloned, and fitted on these columns
        and y.
    exclude_columns : str, int or sequence of these, default=None
        Columns of X that are not features (such as a row id, or the time that only `cv` uses),
        specified like `task_column`.
    categorical_columns : str, int or sequence of these, default=None
        With ``preprocessor="auto"``, columns with numbers that are categories (such as codes of
        regions), specified like `task_column`. With a sequence, even an empty one, all other
        columns of numbers are numeric; with None, a warning asks about columns with few distinct
        integers.
    grouping_columns : str, int, list or dict of these, default=None
        Columns of X with further groups of the rows, which cross the tasks or contain them, such as
        the student beside the lecturer. They are not features: every level has an effect of its
        own, added to the log-odds, and shrunk towards zero. A dict gives the strength of each
        column, "auto" or 1 / variance; it is "auto" for columns in a list, and then chosen by
        cross-validation. A pair of strengths, such as ``("auto", "auto")``, gives the levels of a
        column slopes of all features, too; the second is theirs, for standardised features. For two
        classes only. Levels that were not seen in `fit` have no effect.
    fold_column : str or int, default=None
        Column of X with the fold of each row in `cv`, an int: whole numbers from 0 to ``cv - 1`` or
        from 1 to `cv`, or integer ids, which are hashed. It is not a feature. Lazy frames
        need it.
    loss : str or dict, default="log_loss"
        Loss by its name in scikit-learn, or a dict from tasks to names. "log_loss" is the only
        loss of classes; `MultiTaskRegressor` takes tasks of numbers beside tasks of 0 and 1.
    task_weight : None, "balanced" or dict, default=None
        Weights of the tasks in the fit of what they share, by which the weights of their rows are
        multiplied. None: all rows count alike. "balanced": all tasks have the same total weight.
        Dict from tasks to weights, by default 1. Weights have a mean of one over the rows, so that
        strengths that are numbers keep their unit; only those of a dict are not normalised if
        strengths are numbers. Features are standardised, losses measured, and new tasks adapted to
        with plain rows. Without effect if ``sharing="independent"``, where nothing is shared.
    class_weight : dict or "balanced", default=None
        Weights of the classes, in the fit and in its cross-validation. "balanced" gives all classes
        the same total weight in the table. Probabilities are those of the weighted rows, and so is
        the coverage of `predict_set`.
    handle_unknown : {"shared", "error"}, default="shared"
        How to predict rows of tasks that were not seen in `fit`: "shared" uses the shared model and
        warns; "error" raises a ValueError.
    cv : int, splitter or iterable of (train, test), default=5
        Cross-validation inside `fit`, which chooses the regularisation strengths and gives the
        errors of the report. An int assigns the rows of each task to that many folds, by the
        content of the rows only: the assignment does not depend on the order of rows or columns,
        nor on units, shifts and signs of the columns. Rows of several tasks with the same features
        are in the same fold. On small tables this is repeated. Folds are not stratified by class,
        because stratification within tasks would favour task-specific intercepts. None skips
        cross-validation and needs numbers for the strengths.
    max_iter : int, default=100
        Largest number of Newton steps per candidate in the final fit.
    tol : float, default=1e-4
        Tolerance for the KKT residual of the final fit.
    n_jobs : int, default=None
        Number of threads, or processes for learners; None means 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed for the assignment of rows to folds; with None it is always the same.
    verbose : int, default=0
        If above 0, print each step of the fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task labels.
    coef_ : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        Slopes of every task, in the units of X: of the log-odds of ``classes_[1]`` or, with more
        than two classes, of the scores of each class.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
    shared_intercept_ : float or ndarray of shape (n_classes,)
        Intercept of the shared model, which predicts rows of unseen tasks.
    coef_feature_names_ : ndarray of shape (n_features,)
        Names of the columns of `coef_`, after preprocessing, without the task column.
    sharing_ : object
        The sharing structure with the strengths of the candidate with the largest weight:
        ``alpha_``, ``alpha_intercept_``, ``alpha_shared_``.
    task_report_ : dict of arrays
        Report like that of `MultiTaskRegressor`, with log-losses per row as errors.
    member_report_ : dict of arrays
        Only with learners: for every ``member`` its mean ``weight``, the number of tasks that use
        it and its weight for an unseen task; with ``sharing="auto"``, its cross-validated log-loss
        ``error`` and its ``status``, too.
    grouping_effects_ : dict of dicts of arrays
        Only with `grouping_columns`: for every column the ``level``, its ``effect`` on the
        log-odds, and the weight ``n_samples`` of its rows; with slopes, ``slopes`` of shape
        ``(n_levels, n_features)``.
    grouping_strengths_ : dict of float or of pairs of float
        Strengths of the grouping columns, 1 / variance; infinite if the column is of no use.
    level_coef_ : dict of dicts of arrays
        Only with levels above the tasks: for every level its groups, ``group``; ``n_tasks`` and
        ``n_samples``; and the ``intercept`` and ``coef`` that a new task in the group has.
    level_report_ : dict of dicts of arrays
        Errors and gains of `task_report_` for every group, averaged over the rows of its tasks.
    history_ : dict of arrays
        Candidate strengths, their cross-validated log-losses and their weights.
        With ``sharing="hidden_layers"``: the training curve of every split, as
        `skmtl.sharing.SharedHiddenLayers` describes it.
    kkt_residual_ : float
        Largest entry of the gradient of the objective at the solution of the candidate with the
        largest weight, relative to the gradient at zero.
    n_iter_ : int
        Number of Newton steps of that solution in the final fit.
    preprocessor_ : transformer or None
        Fitted preprocessor; for "auto" a ColumnTransformer (for sparse X a SimpleImputer).
    n_features_in_ : int
        Number of columns of X, including those that are not features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it is a data frame.

    See Also
    --------
    skmtl.sharing.PartialPooling : The strengths.
    MultiTaskRegressor : Linear regression for many tasks.

    Notes
    -----
    The objective for given strengths is

    .. math:: \sum_t \sum_{i \in t} w_i \log(1 + e^{-y_i f_t(x_i)})
              + \tfrac12 \left(\lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2
              + \lambda_v \sum_t \|v_t\|^2\right),

    which is solved by Newton's method with a small factorisation per task. The scores of the
    candidates are averaged, like the predictions of `MultiTaskRegressor`.

    The preprocessor is fitted once, on the rows with positive weight, without regard to the
    weights, and not again in every fold of `cv`. With "auto" this changed cross-validated errors by
    less than 0.1 % on tables of 600 to 5,000 rows, and by up to 3 % in either direction on a table
    of 20 rows. With a transformer that learns from y, strengths and report are too optimistic:
    evaluate such a model by an outer cross-validation, which fits everything again.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, shop = rng.normal(size=(300, 3)), np.repeat(np.arange(20), 15)
    >>> bought = X[:, 0] + 0.5 * rng.normal(size=20)[shop] + rng.logistic(size=300) > 0
    >>> model = MultiTaskClassifier("partial_pooling").fit(X, bought, task=shop)
    >>> model.coef_.shape
    (20, 3)
    >>> model.predict_proba(X[:2], task=shop[:2]).shape
    (2, 2)
    """

    __metadata_request__fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__predict_proba = {"task": True}
    __metadata_request__predict_log_proba = {"task": True}
    __metadata_request__decision_function = {"task": True}
    __metadata_request__score = {"task": True, "sample_weight": True}

    _parameter_constraints: dict = {
        **MultiTaskBase._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
        "tol": [Interval(numbers.Real, 0, None, closed="neither")],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }
    _loss = LOG_LOSS

    def __init__(
        self,
        sharing: str | Sharing = "auto",
        *,
        task_column: TaskColumn = None,
        estimator: Any = None,
        preprocessor: object = None,
        exclude_columns: TaskColumn = None,
        categorical_columns: TaskColumn = None,
        grouping_columns: TaskColumn | Mapping[Any, Any] = None,
        fold_column: str | int | None = None,
        loss: str | Mapping[Any, str] = "log_loss",
        task_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        class_weight: dict | Literal["balanced"] | None = None,
        handle_unknown: Literal["shared", "error"] = "shared",
        cv: CV = 5,
        max_iter: int = 100,
        tol: float = 1e-4,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.sharing = sharing
        self.task_column = task_column
        self.estimator = estimator
        self.preprocessor = preprocessor
        self.exclude_columns = exclude_columns
        self.categorical_columns = categorical_columns
        self.grouping_columns = grouping_columns
        self.fold_column = fold_column
        self.loss = loss
        self.task_weight = task_weight
        self.class_weight = class_weight
        self.handle_unknown = handle_unknown
        self.cv = cv
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike | LazyFrame,
        y: ArrayLike,
        sample_weight: ArrayLike | str | None = None,
        *,
        task: ArrayLike | None = None,
    ) -> Self:
        """Fit the models of all tasks.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Finite numbers, except for the task column; or the input of `preprocessor`. A lazy frame
            of Polars, DuckDB, Dask, PySpark or Ibis also has the labels, of two classes, and the
            weights.
        y : array-like of shape (n_samples,), or str
            Class labels, with the same meaning in every task. With a lazy frame, the name of a
            column.
        sample_weight : array-like of shape (n_samples,) or str, default=None
            Weights of the rows, with a lazy frame the name of a column. With strengths "auto"
            weights are relative: a common factor has no effect, and a row with weight k is
            equivalent to k copies of it. Strengths that are numbers are in their unit.
        task : array-like of shape (n_samples,), default=None
            Task labels, if X has no task column.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For the same reasons as in `MultiTaskRegressor.fit`, for a single class, for a 2-D y,
            and for more than two classes of a lazy frame.
        QueryError
            A RuntimeError, if the engine of a lazy frame fails.

        Notes
        -----
        Each Newton step on a lazy frame is a query that joins the rows with the models of the
        tasks: about ten in all. Candidates are cross-validated on quadratic approximations of the
        log-loss, at models that were fitted without the fold in two Newton steps. Errors in
        ``task_report_`` are log-losses of held-out rows, by one more query. The fit is that of rows
        in memory if strengths are numbers and ``cv=None``, and about the same with "auto": the
        log-loss of new rows differed by less than 3e-5 (relative) on tables of 60 to 1,000 rows per
        task, and by 2e-3 with 27 rows per task.
        There are no prediction sets.
        """
        self._check_learners()
        if is_lazy(X):
            return self._fit_lazy_classes(X, y, sample_weight, task)
        progress = Progress(self, X, y)
        self._require_target(y)
        classes, labels = np.unique(check_classes(y), return_inverse=True)
        weight = weights_with_classes(self.class_weight, labels, classes, sample_weight)
        rows, y, codes, table = self._pack(
            X, labels.astype(np.float64), weight, task, target=classes[labels]
        )
        present = np.unique(table.y)
        classes = classes[present.astype(np.int64)]
        check_two_classes(classes)
        table = replace(table, y=np.searchsorted(present, table.y).astype(np.float64))

        def make_problem(space, parts, executor, **kwargs):
            return NewtonProblem(
                space.table, len(classes), parts, self.tol, self.max_iter, executor=executor,
                progress=progress, standardise=space.standardise, **kwargs,
            )  # fmt: skip

        solver, fitted = self._share(X, y, codes, table, lambda loss: make_problem, rows, progress)
        self._warn_of_early_stop(fitted, 2)
        if fitted.learned is None:
            warn_of_separation(table, fitted)
        self._store(X, y, rows, solver, fitted, table.task_sizes(), column_stds(table))
        self.classes_, self._set_thresholds = classes, fitted.set_thresholds
        progress.end()
        return self

    def adapt(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        class_prior: dict | None = None,
    ) -> LinearTaskClassifier:
        """Fit a model for a new task, from some of its rows and the shared part of the model.

        This estimator does not change. The shared part is held fixed, and the task-specific part is
        fitted for each of the strengths that tasks of this size use. These models are averaged with
        weights that also depend on leave-one-out log-losses on the new rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the new task. A task column is not needed, and ignored.
        y : array-like of shape (n_samples,)
            Labels of these rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of these rows.
        class_prior : dict, default=None
            Proportion of every class among the rows to be predicted, by which the intercepts are
            corrected (King & Zeng 2001). By default, intercepts are corrected to the extent that
            the given rows were probably sampled by class (e.g. five of each class), because their
            proportions are unlike those of the tasks in `fit`.

        Returns
        -------
        LinearTaskClassifier or BlendedTaskClassifier
            A fitted estimator like those of `for_task`.

        Raises
        ------
        TypeError
            If `class_prior` is not a dict.
        ValueError
            For invalid rows, labels or weights, and for a `class_prior` without a proportion above
            zero for every class, or with a sum other than 1.

        References
        ----------
        King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis
        9(2). :doi:`10.1093/oxfordjournals.pan.a004868`
        """
        check_is_fitted(self)
        if class_prior is not None:
            class_prior = check_class_prior(class_prior, self.classes_)
        return self._adapt(X, y, sample_weight, class_prior=class_prior)

    @overload
    def decision_function(self, X: MatrixLike, *, task: object = None) -> NDArray: ...

    @overload
    def decision_function(self, X: LazyFrame, *, task: None = None) -> Any: ...

    def decision_function(self, X: MatrixLike | LazyFrame, *, task: object = None) -> Any:
        """Return the log-odds of the second class, or the scores of more than two classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict. A lazy frame is returned with a further column "score".
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if `fit` was given ``task=``; a single label applies to all rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log-odds, or scores in the order of ``classes_``.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return self._scores_lazy(X, task)
        return self._scores_of_rows(X, task)

    def _scores_of_rows(self, X, task):
        """Return what `decision_function` returns for rows in memory."""
        return self._scores_and_codes(X, self._rows_to_predict(X, task))[0]

    def _scores_and_codes(self, X, rows):
        """Return what `decision_function` returns for the rows of X, and their tasks."""
        more = self._level_offset(X, rows) + self._group_offset(rows)
        if self._learned is not None:
            scores, codes = self._predict_learned(rows)
            return one_or_more(scores) + more, codes
        no_tasks = self._task_source == "none"
        codes = np.zeros(rows.X.shape[0], dtype=np.int64) if no_tasks else rows.codes
        coef = np.concatenate([self.coef_, self.shared_coef_[None]])  # code -1 is the last
        intercept = np.concatenate([self.intercept_, np.asarray(self.shared_intercept_)[None]])
        return one_or_more(linear_scores(rows.X, coef, intercept, codes)) + more, codes

    @overload
    def predict_proba(self, X: MatrixLike, *, task: object = None) -> NDArray: ...

    @overload
    def predict_proba(self, X: LazyFrame, *, task: None = None) -> Any: ...

    def predict_proba(self, X: MatrixLike | LazyFrame, *, task: object = None) -> Any:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict. A lazy frame is returned with a further column per class, such as
            "proba_yes", in any order of rows; the engine evaluates it.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return self._predict_proba_lazy(X, task, self.classes_)
        return probabilities(self._scores_of_rows(X, task))

    def predict_log_proba(self, X: MatrixLike, *, task: object = None) -> NDArray:
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities in the order of ``classes_``.
        """
        with np.errstate(divide="ignore"):
            return np.log(probabilities(self._scores_of_rows(X, task)))

    @overload
    def predict(self, X: MatrixLike, *, task: object = None) -> NDArray: ...

    @overload
    def predict(self, X: LazyFrame, *, task: None = None) -> Any: ...

    def predict(self, X: MatrixLike | LazyFrame, *, task: object = None) -> Any:
        """Return the most probable class of every row under the model of its task.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict. A lazy frame is returned with a further column "prediction", in any
            order of rows; the engine evaluates it.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if `fit` was given ``task=``; a single label applies to all rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.

        Raises
        ------
        ValueError
            For the same reasons as in `MultiTaskRegressor.predict`.
        """
        check_is_fitted(self)
        if is_lazy(X):
            return self._predict_classes_lazy(X, task)
        return most_probable(self._scores_of_rows(X, task), self.classes_)

    def score(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        task: object = None,
    ) -> float:
        """Return the accuracy of the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        y : array-like of shape (n_samples,)
            True class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        float
            Fraction of correctly classified rows.
        """
        check_is_fitted(self)
        prediction = most_probable(self._scores_of_rows(X, task), self.classes_)
        return accuracy_score(y, prediction, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not self._takes_sparse():
            tags.input_tags.sparse = False
        return tags

    def _check_support(self, y, loss):
        return find_classes(check_labels(y), self.classes_).astype(np.float64)

    def _learned_task_model(self, blend, errors):
        model = BlendedTaskClassifier._from_blend(
            blend, self._view, self._columns, self.preprocessor_, self.classes_, errors
        )
        return self._with_effects(model)

    def _task_model(self, coef, intercept, errors, loss=None):
        model = LinearTaskClassifier._from_coefficients(
            coef, intercept, self._columns, self.preprocessor_, self.classes_, errors
        )
        return self._with_effects(model)
