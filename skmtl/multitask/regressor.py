"""Linear regression for many tasks."""

import functools
import numbers
from collections.abc import Mapping
from typing import Any, Literal, Self, overload

from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import HasMethods, Interval, StrOptions, fit_context
from .._jit import worker_pool
from .._typing import CV, ArrayLike, LazyFrame, MatrixLike, NDArray, RandomState, TaskColumn
from ..losses import SQUARED_ERROR, Loss
from ..queries.frames import is_lazy
from ..sharing.base import Sharing
from ..task_models import LinearTaskModel, check_residual_scale, interval
from ..tasks.seen import SeenRows
from ..tasks.targets import check_numbers
from ..tasks.variation import column_stds
from ._base import MultiTaskBase
from ._lazy import LazyMixin
from ._least_squares import fit_on_scale
from ._losses import LossMixin
from ._partial_fit import PartialFitMixin

__all__ = ["MultiTaskRegressor"]


class MultiTaskRegressor(
    RegressorMixin, PartialFitMixin, LazyMixin, LossMixin, MultiTaskBase[LinearTaskModel]
):
    r"""Regression for many tasks that share information where it helps.

    Every task (store, patient, school, ...) has its own linear model

    .. math:: f_t(x) = a + a_t + x'(m + v_t),

    which is shrunk towards the shared model :math:`a + x'm`. The strength is chosen for each task
    by cross-validation inside `fit`, from *independent* (one model per task) to *pooled* (one for
    all tasks). Where the response bends, these models are blended with learners such as trees.

    Parameters
    ----------
    sharing : str or object, default="auto"
        How tasks share information: "auto", "partial_pooling", "independent", "pooled",
        "task_tree", "hidden_layers", or an object of `skmtl.sharing`, which has options.
        "partial_pooling" has linear models only, and "task_tree" draws tasks to their groups, which
        the first columns of `task_column` name. With "auto" (`skmtl.sharing.Auto`), these are
        blended with smooth functions, forests and boosted trees where the blend is better; such a
        fit has no ``coef_`` and no `partial_fit`. With "hidden_layers"
        (`skmtl.sharing.SharedHiddenLayers`), tasks share layers of a perceptron. Regularisation
        strengths are "auto" by default.
    task_column : str, int or list of these, default=None
        Column of X with the task labels, which is not a feature: a name (data frames) or an index
        (arrays). A name must equal a column name, or the part after ``__`` of exactly one column
        name. With a list, such as ``["store", "item"]``, every combination of values is a task,
        whose label is a tuple. Columns of levels are named from coarse to fine.
    estimator : regressor, default=None
        Further learner for ``sharing="auto"``: any scikit-learn regressor, fitted both with the
        mean target of the task as one more feature, and on the residuals of the linear models.
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
        own, added to the predictions, and shrunk towards zero. A dict gives the strength of each
        column, "auto" or a number of rows; it is "auto" for columns in a list, and then chosen by
        cross-validation. A pair of strengths, such as ``("auto", "auto")``, gives the levels of a
        column slopes of all features, too; the second is theirs, for standardised features. Levels
        that were not seen in `fit` have no effect.
    fold_column : str or int, default=None
        Column of X with the fold of each row in `cv`, an int: whole numbers from 0 to ``cv - 1`` or
        from 1 to `cv`, or integer ids, which are hashed. It is not a feature. Lazy frames
        need it. Linear models are then fitted to moments alone, also in memory, so that both fits
        are the same.
    loss : str, object or dict, default="squared_error"
        Loss by its name in scikit-learn, or an object of `skmtl.losses`. "poisson" (counts) and
        "gamma" (amounts above 0) have the logarithm of the mean as linear score; "huber"
        (`skmtl.losses.Huber`), "absolute_error" (medians) and "quantile"
        (`skmtl.losses.Quantile`) that of squared errors. "log_loss" is for targets of 0 and 1; its
        score is the logarithm of the odds, and predictions are probabilities of 1. These are
        minimised by Newton's method, in linear models, to which "auto" is then restricted. A dict
        from tasks to losses, by default "squared_error", is for tables that mix them: linear models
        are then fitted for the tasks of each loss on their own, whereas "hidden_layers" learns
        features for tasks of "squared_error" and "log_loss" together. A task that was not seen in
        `fit` has squared errors if any task of `fit` has, otherwise the loss of most tasks.
    task_weight : None, "balanced", "uncertainty" or dict, default=None
        Weights of the tasks in the fit of what they share, by which the weights of their rows are
        multiplied. None: all rows count alike. "balanced": all tasks have the same total weight.
        Dict from tasks to weights, by default 1. "uncertainty": 1 / noise variance (Kendall et al.
        2018), by the restricted likelihood of a mixed model if tasks have slopes of their own,
        otherwise from held-out errors, and shrunk where tasks may differ by chance; fits and noise
        levels alternate, at most five times. Weights have a mean of one over the rows (with
        "uncertainty" an upper quartile), so that strengths that are numbers stay in rows; only
        those of a dict are not normalised if strengths are numbers. Features are standardised,
        errors measured, and new tasks adapted to with plain rows. Without effect if
        ``sharing="independent"``, where nothing is shared.
    target_scale : {"auto", "table", "task"}, default="auto"
        Scale of the target on which tasks share: one scale for the whole table, or one scale per
        task, for tasks that differ in units, gain or offset (sensors, assays, shops of all sizes).
        Targets of the log-loss have no scale; beside them "auto" is "table".
        The location and the scale of a task are estimated from its training rows, inside each fold,
        and shrunk towards those of the other tasks. "auto" compares both by the tasks'
        cross-validated errors if the scales differ more than by chance: one scale per task is used
        if its error is smaller by at least one standard error or, if the scales differ by more than
        a factor of e, not larger by more than one. With ``cv=None``, and with ``varying`` in
        `sharing`, "auto" is "table".
    keep_moments : bool, default=False
        Whether `fit` keeps the moments that `partial_fit` adds to; see its notes on memory.
    memory_limit : float or str, default=None
        For lazy frames: bytes, or a text such as "2GB", of the moments that are in memory at a
        time. Beyond it, the moments are kept in files, in shards of tasks that are solved one after
        the other. None: all moments are in memory.
    handle_unknown : {"shared", "error"}, default="shared"
        How to predict rows of tasks that were not seen in `fit`: "shared" uses the shared model and
        warns; "error" raises a ValueError.
    cv : int, splitter or iterable of (train, test), default=5
        Cross-validation inside `fit`, which chooses the regularisation strengths and gives the
        errors of the report. An int assigns the rows of each task to that many folds, by the
        content of the rows only: the assignment does not depend on the order of rows or columns,
        nor on units, shifts and signs of the columns. Copies of a row are in the same fold, and so
        are rows of several tasks with the same features, as those of a 2-D y. On small tables this
        is repeated. None skips cross-validation and needs numbers for the
        strengths. For rows ordered in time, use `skmtl.model_selection.TaskTimeSeriesSplit`.
    max_iter : int, default=100
        Largest number of Newton steps per candidate in the final fit, for losses other than the
        squared error.
    tol : float, default=1e-4
        Tolerance of the final fit, for these losses: on `kkt_residual_`, and on the duality gap of
        medians and quantiles.
    n_jobs : int, default=None
        Number of threads, or processes for learners; None means 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed for the assignment of rows to folds; with None it is always the same.
    verbose : int, default=0
        If above 0, print each step of the fit.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task labels; for a 2-D y, its column names or indices.
    coef_ : ndarray of shape (n_tasks, n_features)
        Slopes of every task, in the units of X and y; of "poisson" and "gamma", of the logarithm
        of the mean.
    intercept_ : ndarray of shape (n_tasks,)
    shared_coef_ : ndarray of shape (n_features,)
    shared_intercept_ : float
        Intercept of the shared model, which predicts rows of unseen tasks.
    coef_feature_names_ : ndarray of shape (n_features,)
        Names of the columns of `coef_`, after preprocessing, without the task column.
    target_scale_ : {"table", "task"}
        The scale that was used.
    loss_ : Loss or dict
        The loss that was minimised, with all its parameters; a dict from tasks to losses if they
        differ.
    sharing_ : object
        The sharing structure with the strengths of the candidate with the largest weight:
        ``alpha_``, ``alpha_intercept_``, ``alpha_shared_``; dicts by loss if tasks differ in it.
    task_report_ : dict of arrays
        For every task, and in the last row for an unseen task (label None): ``task``;
        ``n_samples``; cross-validated squared errors per row ``error_independent``,
        ``error_pooled`` and ``error_shared`` (this model), of other losses their unit deviance,
        with ``std_error_...``; the model that was ``used``; ``gain_over_independent`` and
        ``gain_over_pooled`` (1 - error / error of the other model); and ``residual_std``, which
        `predict` returns as ``std``. The same errors chose the model, so they are somewhat
        optimistic. They are NaN for a task without held-out rows. The report is empty with
        ``cv=None``. For tasks with the log-loss, errors are this loss per row; with
        "hidden_layers" beside them, errors of the other models and of an unseen task are NaN.
    member_report_ : dict of arrays
        Only with learners: for every ``member`` its mean ``weight``, the number of tasks that use
        it and its weight for an unseen task; with ``sharing="auto"``, its cross-validated ``error``
        and its ``status``, too.
    task_noise_ : ndarray of shape (n_tasks,)
        Noise levels of the tasks, standard deviations in the units of y. Only with
        ``task_weight="uncertainty"``. For the log-loss, "hidden_layers" has the square root of
        twice its mean; otherwise tasks of other losses have none, NaN.
    grouping_effects_ : dict of dicts of arrays
        Only with `grouping_columns`: for every column the ``level``, its ``effect`` in the units of
        y, and the weight ``n_samples`` of its rows; with slopes, ``slopes`` of shape
        ``(n_levels, n_features)``.
    grouping_strengths_ : dict of float or of pairs of float
        Strengths of the grouping columns, in rows; infinite if the column is of no use.
    level_coef_ : dict of dicts of arrays
        Only with levels above the tasks: for every level its groups, ``group``; ``n_tasks`` and
        ``n_samples``; and the ``intercept`` and ``coef`` that a new task in the group has.
    level_report_ : dict of dicts of arrays
        Errors and gains of `task_report_` for every group, averaged over the rows of its tasks.
    history_ : dict of arrays
        Candidate strengths, their cross-validated errors and their weights, with the ``loss`` if
        tasks differ in it.
        With ``sharing="hidden_layers"``: the training curve of every split, as
        `skmtl.sharing.SharedHiddenLayers` describes it.
    kkt_residual_ : float
        Largest entry of the gradient of the objective at the solution of the candidate with the
        largest weight, relative to the gradient at zero. For slopes with a sign, the largest
        violation of the optimality conditions; for a structure of your own, that of any candidate
        with weight. NaN with "hidden_layers" and the log-loss.
    n_iter_ : int
        1, because the solver is direct. For losses other than the squared error, the number of
        Newton steps; for slopes with a sign, the number of systems solved; with "hidden_layers" and
        the log-loss, the largest number of epochs of a perceptron.
    preprocessor_ : transformer or None
        Fitted preprocessor; for "auto" a ColumnTransformer (for sparse X a SimpleImputer).
    n_features_in_ : int
        Number of columns of X, including those that are not features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it is a data frame.

    See Also
    --------
    skmtl.sharing.PartialPooling : The objective and its strengths.
    skmtl.inspection.TaskReportDisplay : Plot of the report.
    skmtl.inspection.TaskCoefficientsDisplay : Plot of the coefficients.

    Notes
    -----
    Tasks are given by `task_column`, by ``task=`` in every method, or by a 2-D `y` (one task per
    column, NaN if a row has no label for the task). With none of these there is one task.
    Tuning works on block-wise moments, which take one pass over the data, so that its cost does not
    depend on the number of rows.

    The preprocessor is fitted once, on the rows with positive weight, without regard to the
    weights, and not again in every fold of `cv`. With "auto" this changed cross-validated errors by
    less than 0.1 % on tables of 600 to 5,000 rows, and by up to 3 % in either direction on a table
    of 20 rows. With a transformer that learns from y, strengths and report are too optimistic:
    evaluate such a model by an outer cross-validation, which fits everything again.

    References
    ----------
    Kendall, A., Gal, Y. and Cipolla, R. (2018). Multi-task learning using uncertainty to weigh
    losses for scene geometry and semantics. CVPR. :doi:`10.1109/CVPR.2018.00781`

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> model = MultiTaskRegressor("partial_pooling", task_column="firm").fit(X, y)
    >>> model.coef_.shape
    (11, 3)
    >>> model.score(X, y) > 0.9
    True
    """

    _parameter_constraints: dict = {
        **MultiTaskBase._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict"]), None],
        "target_scale": [StrOptions({"auto", "table", "task"})],
        "keep_moments": ["boolean"],
        "memory_limit": [Interval(numbers.Real, 0, None, closed="neither"), str, None],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
        "tol": [Interval(numbers.Real, 0, None, closed="neither")],
    }
    # Of models that were pickled before these were parameters.
    max_iter, tol, memory_limit = 100, 1e-4, None

    _loss = SQUARED_ERROR
    __metadata_request__fit = {"task": True}
    __metadata_request__partial_fit = {"task": True, "decay": True, "solve": True}
    __metadata_request__predict = {"task": True, "return_std": True}
    __metadata_request__score = {"task": True, "sample_weight": True}

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
        loss: str | Loss | Mapping[Any, str] = "squared_error",
        task_weight: Literal["balanced", "uncertainty"] | Mapping[Any, float] | None = None,
        target_scale: Literal["auto", "table", "task"] = "auto",
        keep_moments: bool = False,
        memory_limit: float | str | None = None,
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
        self.target_scale = target_scale
        self.keep_moments = keep_moments
        self.memory_limit = memory_limit
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
            of Polars, DuckDB, Dask, PySpark or Ibis also has the target and the weights.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), or str
            Labels. A 2-D y has one task per column; NaN means that the row has no label for the
            task. With a lazy frame, the name of a column.
        sample_weight : array-like of shape (n_samples,) or str, default=None
            Weights of the rows, with a lazy frame the name of a column. With strengths "auto"
            weights are relative: a common factor has no effect, and weight k is k copies. Strengths
            that are numbers are in their unit.
        task : array-like of shape (n_samples,), default=None
            Task labels, if X has no task column.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For an unknown task column, for task labels that are missing, of mixed types or numbers
            that are not integers, for NaN or infinite features, for a task without labels, for
            invalid weights of rows or tasks, for a loss that `sharing` does not minimise, for
            targets of the log-loss other than 0 and 1, and for lazy frames without `fold_column`.
        QueryError
            A RuntimeError, if the engine of a lazy frame fails.

        Notes
        -----
        Of a lazy frame, squared errors need three queries, and ``loss="poisson"``, "gamma" and
        "log_loss" about ten, one per Newton step (`MultiTaskClassifier`).
        """
        self._check_learners()
        if is_lazy(X):
            n_folds, progress = self._start_lazy(X, y, sample_weight, task)
            self._fit_lazy(X, y, sample_weight, n_folds, progress)
            progress.end()
            return self
        if self._fits_moments_of_folds():
            return self._add_rows(
                X, y, sample_weight, task, self._n_folds(), keep=self.keep_moments,
                empty_tasks=False,
            )  # fmt: skip
        n_folds = self._n_folds() if self.keep_moments else None
        progress = Progress(self, X, y)
        rows, y, codes, table = self._pack(X, y, sample_weight, task)
        make_problem = functools.partial(self._make_problem, progress)
        solver, fitted = self._share(X, y, codes, table, make_problem, rows, progress)
        seen = None
        if self.keep_moments:
            with worker_pool(self.n_jobs) as executor:
                seen = SeenRows.of(table, n_folds, self._seed(), executor)
        self._forget_solution()  # and that rows of `partial_fit` wait for one
        self._store(X, y, rows, solver, fitted, table.task_sizes(), column_stds(table))
        self._store_target(fitted)
        self._kept = seen
        progress.end()
        return self

    def _fit_problem(self, solver, problem):
        if problem.loss is not SQUARED_ERROR:
            return solver.fit_problem(problem)
        return fit_on_scale(solver, problem, self.target_scale)

    @overload
    def predict(
        self, X: MatrixLike, *, task: object = None, return_std: Literal[False] = False
    ) -> NDArray: ...

    @overload
    def predict(
        self, X: MatrixLike, *, task: object = None, return_std: Literal[True]
    ) -> tuple[NDArray, NDArray]: ...

    @overload
    def predict(self, X: LazyFrame, *, task: None = None, return_std: bool = False) -> Any: ...

    def predict(
        self, X: MatrixLike | LazyFrame, *, task: object = None, return_std: bool = False
    ) -> Any:
        """Predict every row with the model of its task.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict. A lazy frame is returned with a further column "prediction" (and
            "std"), in any order of rows; the engine evaluates it.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, if `fit` was given ``task=``; a single label applies to all rows.
        return_std : bool, default=False
            Whether to return the standard deviation of new labels about the predictions as well. It
            is estimated from out-of-fold errors, which contain both the noise and the error of the
            model, with one value per task, shrunk towards a value common to all tasks. NaN for
            tasks of other losses than squares.

        Returns
        -------
        prediction : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Predictions (of the log-loss: probabilities of 1), 2-D after a fit with a 2-D y.
        std : ndarray of the same shape
            Standard deviations, only if `return_std` is true.

        Raises
        ------
        ValueError
            If the model has several tasks and no task is given, if task labels are of another type
            than in `fit`, or if a task is unknown and ``handle_unknown="error"``; with `return_std`
            also if ``cv=None``.
        """
        check_is_fitted(self)
        if return_std:
            self._refuse_std()
        if is_lazy(X):
            return self._predict_means_lazy(X, task, with_std=return_std)
        residual_scale = check_residual_scale(self._residual_scale) if return_std else None
        rows = self._rows_to_predict(X, task)
        prediction, codes = self._predict_rows(rows, X)
        if residual_scale is None:
            return prediction
        return prediction, self._std_of_rows(residual_scale, X, rows, codes)

    def predict_interval(
        self, X: MatrixLike, coverage: float = 0.9, *, task: object = None
    ) -> tuple[NDArray, NDArray]:
        """Return prediction intervals, which contain the fraction `coverage` of new labels.

        The distribution of errors is that of the out-of-fold errors of all tasks together, divided
        by the standard deviations of their tasks (see ``return_std`` of `predict`; NaN as there).

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict. A lazy frame is returned with columns "prediction", "low" and "high".
        coverage : float, default=0.9
            Fraction of new labels in the intervals.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        low, high : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Bounds of the intervals.

        Raises
        ------
        ValueError
            For the same reasons as in `predict`, and for a coverage that is not between 0 and 1.

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> model = MultiTaskRegressor(task_column="firm").fit(X, y)
        >>> low, high = model.predict_interval(X, coverage=0.8)
        >>> bool(((low < y) & (y < high)).mean() > 0.7)
        True
        """
        if is_lazy(X):
            return self._predict_means_lazy(X, task, coverage=coverage)
        prediction, std = self.predict(X, task=task, return_std=True)
        return interval(prediction, std, self._residual_scale, coverage)

    def score(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        task: object = None,
    ) -> float:
        """Return R² of the predictions; with a 2-D y, the mean over tasks, ignoring NaN labels.

        For losses other than the squared error it is D², the share of the deviance that is
        explained, compared with the best constant. If tasks differ in their losses, it is that of
        every loss, averaged with the weights of its rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        float
            R², or D² for another loss.
        """
        check_is_fitted(self)
        self._check_scored(y)
        prediction, codes = self._predict_rows(self._rows_to_predict(X, task), X)
        return self._score(y, prediction, codes, sample_weight)

    def adapt(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        loss: str | Loss | None = None,
    ) -> LinearTaskModel:
        """Fit a model for a new task, from some of its rows and the shared part of the model.

        This estimator does not change. The task-specific part is fitted for each of the strengths
        that tasks of this size use, with the shared part held fixed. These models are averaged with
        weights that also depend on leave-one-out errors on the new rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the new task. A task column is not needed, and ignored.
        y : array-like of shape (n_samples,)
            Labels of these rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of these rows.
        loss : str or Loss, default=None
            Loss of the new task; a task of `fit` must have it. None: that of a task not seen.

        Returns
        -------
        LinearTaskModel
            A fitted estimator like those of `for_task`, of a size independent of the training rows.

        Raises
        ------
        ValueError
            For invalid rows, labels or weights, and for a loss that no task of `fit` has.

        Notes
        -----
        If all tasks were pooled, the new task's model is the shared one. If `fit` saw a single
        task, the differences between tasks are unknown: partial pooling then tries all strengths
        that shrink towards that task's model, weighted by leave-one-out errors on the new rows.
        """
        return self._adapt(X, y, sample_weight, **self._loss_of_new_task(loss))

    def _check_support(self, y, loss):
        y = check_numbers(y)
        if isinstance(loss, Loss):  # learners check targets themselves
            loss.check_target(y)
        return y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not self._takes_sparse():
            tags.input_tags.sparse = False
        tags.target_tags.positive_only = self._has_positive_targets
        # scikit-learn's checks of several outputs draw negative targets.
        tags.target_tags.multi_output = (
            self.task_column is None and not tags.target_tags.positive_only
        )
        return tags
