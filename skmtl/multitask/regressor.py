"""MultiTaskRegressor: predict well for all tasks of a table."""

import functools
import numbers
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import StrOptions, check_columns, fit_context
from .._jit import worker_pool
from ..base import r2_over_tasks
from ..guard.units import Units
from ..sharing.problem import Problem
from ..task_models import LinearTaskModel, check_residual_scale, interval
from ..tasks.blocks import deal_blocks, folds
from ..tasks.copies import Settled
from ..tasks.evidence import trust_of_moments
from ..tasks.keys import RowKeys
from ..tasks.moments import TaskMoments, block_moments
from ..tasks.rows import TaskRows, prefers_rows
from ..tasks.splits import check_n_folds
from ..tasks.targets import check_numbers
from ..tasks.variation import column_stds
from ._base import MultiTaskBase, rowwise

__all__ = ["MultiTaskRegressor"]


@dataclass(frozen=True)
class _Seen:
    """What `partial_fit` keeps of rows, and adds to.

    Attributes
    ----------
    moments : TaskMoments of shape (n_tasks, n_folds)
    weight : float
        Of all rows together, none of them faded.
    sizes : ndarray of shape (n_tasks,)
        How many rows they are.
    keys : RowKeys or None
        By which rows are dealt to folds.
    fourth : ndarray of shape (n_features,) or None
        Sums of the columns' fourth powers in the units of `keys`.
    """

    moments: TaskMoments
    weight: float
    sizes: np.ndarray
    keys: RowKeys | None = None
    fourth: np.ndarray | None = None

    @property
    def unit(self):
        """What brings the weights to a mean of one."""
        return self.sizes.sum() / self.weight

    def faded(self, decay):
        """What there is where rows weigh less by so much."""
        fourth = None if self.fourth is None else self.fourth * decay
        return replace(self, moments=self.moments.faded(decay), fourth=fourth)

    def settled(self, whole):
        """As `settle` tells of rows; `whole` are the tasks' moments in the unit."""
        total, mean, variance = whole.pooled()
        square = (variance + (mean - np.append(self.keys.mean, 0.0)) ** 2)[:-1] * self.keys.scale**2
        tails = self.unit * self.fourth / total
        tails = np.divide(tails, square**2, out=np.zeros_like(tails), where=square > 0.0)
        return Settled(None, self.unit, trust=trust_of_moments(whole, tails))


class NoMomentsError(ValueError, AttributeError):
    """A fit has kept no moments that `partial_fit` could add to.

    An AttributeError too, so that for tools which ask whether there is a `partial_fit` there is
    none.
    """


class _WhereMomentsAre:
    """The method `partial_fit`, which a model whose fit kept no moments does not have."""

    def __init__(self, method):
        self.method = method

    def __get__(self, model, owner=None):
        if model is None:
            return self.method
        if hasattr(model, "coef_") and model._kept is None:
            raise NoMomentsError(
                "fit kept no moments that partial_fit could add to (keep_moments=False), and "
                "starting anew would throw its model away: set keep_moments=True before fit, call "
                "partial_fit from the first rows on, or start anew with a clone."
            )
        return self.method.__get__(model, owner)


class MultiTaskRegressor(RegressorMixin, MultiTaskBase):
    r"""Linear regression for many tasks that share what helps.

    Every task (store, patient, school, ...) gets its own linear model

    .. math:: f_t(x) = a + a_t + x'(m + v_t),

    drawn towards the shared :math:`a + x'm` as strongly as cross-validation inside `fit`
    says, task by task: from *independent* (one model a task) to *pooled* (one model for all).

    Parameters
    ----------
    sharing : {"partial_pooling", "independent", "pooled"} or object, default="partial_pooling"
        How tasks share; an object of `skmtl.sharing` takes options. Its strengths default to
        "auto".
    task_column : str, int or list of these, default=None
        The column of X with the task labels: a name (data frames), found exactly or as the one
        column that ends in ``__name``, or an index (arrays). The column is not a feature. A list
        names a task by several columns, ``["store", "item"]``: every combination is a task, its
        label a tuple.
    preprocessor : "auto" or transformer, default=None
        Makes finite numbers of the columns of X beside the task column and excluded ones. None
        takes them as they are. "auto" fills gaps in numbers with the median, adds a column that
        says where they were, and one-hot encodes strings and categories: a gap is a level of its
        own, levels in fewer than 5 rows and those beyond the 30 most frequent share a column, and
        a level never seen counts as one of these, or as none. Strings that are all numbers, and
        booleans, are numbers; dates are refused. Numbers need no scaling: the model standardises
        by itself. Any other transformer or Pipeline is cloned, and fitted on these columns and y.
    exclude_columns : str, int or sequence of these, default=None
        Columns of X that are no features (a row id, the time that only `cv` reads), found as
        `task_column` is.
    categorical_columns : str, int or sequence of these, default=None
        With ``preprocessor="auto"``, columns that are categories though they hold numbers (codes
        of regions), found as `task_column` is. A sequence, even an empty one, says that all other
        numbers are numbers, which is otherwise asked of few whole numbers by a warning.
    target_scale : {"auto", "table", "task"}, default="auto"
        The scale on which tasks share: the table's, or every task's own, where tasks differ in
        units, gain or offset (sensors, assays, shops of all sizes). A task's location and scale
        are told from its training rows, inside each fold, and drawn to the other tasks' where it
        has few. "auto" tries both where the tasks' scales differ beyond chance, and compares the
        tasks' cross-validated errors: their own units must be better by a standard error, or,
        where scales differ by more than e-fold, not worse by one. With ``cv=None``, and where
        `sharing` holds slopes in common (``varying``), it is the table's.
    keep_moments : bool, default=False
        Whether `fit` keeps what `partial_fit` adds to; see there for the memory.
    handle_unknown : {"shared", "error"}, default="shared"
        A row of a task never seen in fit is predicted with what all tasks share, with a
        warning; or raises.
    cv : int, splitter or iterable of (train, test), default=5
        How strengths and the report are cross-validated inside `fit`. An int deals the rows of
        every task to that many folds in an order that only what they hold decides, not the order
        of rows or columns nor the columns' units, shifts and signs; equal rows that are copies
        fall into one fold. It does so repeatedly on small tables. None skips validation and needs
        fixed strengths. Rows in the order of time want a
        `skmtl.model_selection.TaskTimeSeriesSplit`.
    n_jobs : int, default=None
        Threads; None is 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seeds the dealing of rows to folds; None always deals alike.
    verbose : int, default=0
        Above 0, prints what is being done.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Task labels, sorted; of a 2-D y the column names, or indices.
    coef_ : ndarray of shape (n_tasks, n_features)
        Slopes of every task, in the units of X and y.
    intercept_ : ndarray of shape (n_tasks,)
    shared_coef_ : ndarray of shape (n_features,)
    shared_intercept_ : float
        What a task never seen is predicted with.
    coef_feature_names_ : ndarray of shape (n_features,)
        Names of the columns of `coef_`, after preprocessing where there is one; the task column
        is not among them.
    target_scale_ : {"table", "task"}
        The scale that was used.
    sharing_ : object
        The sharing structure with its strengths of largest weight: ``alpha_``,
        ``alpha_intercept_``, ``alpha_shared_``.
    task_report_ : dict of arrays
        For every task, and last for "a task never seen" (label None): ``task``, ``n_samples``,
        cross-validated squared errors a row ``error_independent``, ``error_pooled``,
        ``error_shared`` (this model) with ``std_error_...``, what was ``used``, and
        ``gain_over_independent``, ``gain_over_pooled`` (1 - error / error of the other), and
        ``residual_std``, what `predict` returns as ``std``. These errors chose the model, so they
        are somewhat optimistic. NaN for a task of which `cv` held out no row. Empty with
        ``cv=None``.
    history_ : dict of arrays
        The candidate strengths, their cross-validated error and their weight.
    kkt_residual_ : float
        Largest entry of the objective's gradient at the solution of largest weight, relative
        to the gradient at zero; of the optimality conditions where slopes have a sign.
    n_iter_ : int
        1: the solver is direct. Where slopes have a sign, systems solved for that solution.
    preprocessor_ : transformer or None
        Fitted: a ColumnTransformer where it was "auto" (for sparse X a SimpleImputer).
    n_features_in_ : int
        Columns of X, those that are no features included.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X is a data frame.

    See Also
    --------
    skmtl.sharing.PartialPooling : The objective and its strengths.
    skmtl.inspection.TaskReportDisplay : The report as a picture.
    skmtl.inspection.TaskCoefficientsDisplay : The coefficients as a picture.

    Notes
    -----
    Tasks are given by `task_column`, by ``task=`` in every method, or by a 2-D `y` (one task a
    column, NaN where a row has no label for the task). With none of these there is one task.

    The cost of tuning does not depend on the number of rows: it works on block-wise moments,
    one pass over the data.

    The preprocessor is fitted once, on the rows of positive weight, each counted once; not again
    for every fold of `cv`. With "auto" that changed cross-validated errors by less than 0.1 % on
    tables of 600 to 5,000 rows, and by up to 3 % in either direction on one of 20 rows. A
    transformer that learns from y makes strengths and report too optimistic: judge the model by
    an outer cross-validation, which fits everything anew.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_grunfeld
    >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
    >>> model = MultiTaskRegressor(task_column="firm").fit(X, y)
    >>> model.coef_.shape
    (11, 3)
    >>> model.score(X, y) > 0.9
    True
    """

    _parameter_constraints: dict = {
        **MultiTaskBase._parameter_constraints,
        "target_scale": [StrOptions({"auto", "table", "task"})],
        "keep_moments": ["boolean"],
    }

    __metadata_request__fit = {"task": True}
    __metadata_request__partial_fit = {"task": True, "decay": True}
    __metadata_request__predict = {"task": True, "return_std": True}
    __metadata_request__score = {"task": True, "sample_weight": True}

    def __init__(
        self,
        sharing="partial_pooling",
        *,
        task_column=None,
        preprocessor=None,
        exclude_columns=None,
        categorical_columns=None,
        target_scale="auto",
        keep_moments=False,
        handle_unknown="shared",
        cv=5,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.sharing = sharing
        self.task_column = task_column
        self.preprocessor = preprocessor
        self.exclude_columns = exclude_columns
        self.categorical_columns = categorical_columns
        self.target_scale = target_scale
        self.keep_moments = keep_moments
        self.handle_unknown = handle_unknown
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, task=None):
        """Fit all tasks.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Finite numbers beside the task column, or whatever `preprocessor` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            A 2-D y has one task a column; NaN means not labelled for this task.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts. With strengths "auto" weights are relative: a common factor
            changes nothing, and a row of weight k is k copies of it. A strength that is given is
            in the unit of the weights.
        task : array-like of shape (n_samples,), default=None
            Task labels, where X has no task column.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For an unknown task column, missing or mixed labels, labels that are non-integral
            numbers, NaN or infinite features, a task without labels, bad weights.
        """
        if self.keep_moments:
            self._check_deals()
        progress = Progress(self, X, y)
        rows, y, codes, table = self._pack(X, y, sample_weight, task)
        make_problem = functools.partial(self._problem, progress)
        solver, fitted = self._share(X, y, codes, table, make_problem, rows.preprocessor)
        seen = None
        if self.keep_moments:
            with worker_pool(self.n_jobs) as executor:
                seen = self._seen(table, executor)
        if fitted.residual_scale is not None:
            fitted.residual_scale.out_of_range = fitted.out_of_range(table.X)
        self._store(X, y, rows, solver, fitted, table.task_sizes(), column_stds(table))
        self._kept = seen
        progress.end()
        return self

    @staticmethod
    def _problem(progress, space, parts, executor, **kwargs):
        """The table as moments, or as rows where moments would be larger."""
        table = space.table
        if prefers_rows(table, max(1, sum(part.n_blocks for part in parts))):  # 1: cv=None
            schemes = [(TaskRows.of(table, part.block), part) for part in parts]
            blocks = schemes[0][0] if schemes else TaskRows.of(table)
        else:
            schemes = [
                (block_moments(table, part.block, part.n_blocks, executor), part) for part in parts
            ]
            blocks = schemes[0][0] if schemes else block_moments(table, executor=executor)
        return Problem(
            schemes, blocks.merge(executor=executor), executor, progress, space.standardise, table,
            **kwargs,
        )  # fmt: skip

    def _store(self, X, y, rows, solver, fitted, sizes, stds):
        super()._store(X, y, rows, solver, fitted, sizes, stds)
        self.target_scale_ = fitted.target_scale

    def _fit_problem(self, solver, problem):
        """The fit on the scale of the table, or with every task in units of its own."""
        if problem.restriction.varies is not None:
            if self.target_scale == "task":
                raise ValueError(
                    "target_scale='task' gives every task units of its own, in which no slope is "
                    "the same in every task, as varying= of the sharing structure demands; set "
                    "target_scale='table', or varying=None."
                )
            return solver.fit_problem(problem)
        if self.target_scale == "task":
            return solver.fit_problem(problem.in_units(Units.learn(problem.moments)))
        fitted = solver.fit_problem(problem)
        if self.target_scale == "table" or not problem.schemes:
            return fitted
        units = Units.learn(problem.moments)
        if not units.differ():
            return fitted
        problem.progress("the tasks' scales differ: the same with each in units of its own")
        other = solver.fit_problem(problem.in_units(units))
        least = -1.0 if units.differ_clearly() else 1.0
        advantage = other.advantage_over(fitted, problem.moments.weight)
        return other if advantage > least else fitted

    @_WhereMomentsAre
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, *, task=None, decay=1.0):
        """Add rows: their moments join those of earlier calls, then all tasks are fitted anew.

        The result is that of `fit` on all rows: exactly so at fixed strengths, and up to the
        dealing of rows to folds where strengths are "auto", which are tuned anew at every call.
        New tasks may come at any call. A preprocessor is fitted at the first call, and kept.

        Parameters
        ----------
        X, y, sample_weight, task
            As in `fit`. A 2-D y must have the same tasks in every call; a task may lack labels in
            some of them.
        decay : float, default=1.0
            What the rows of earlier calls are multiplied by in weight before these are added,
            above 0 and at most 1, so that the model follows a drift: with 0.5 a month, rows of
            three months ago weigh an eighth.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As `fit`; and where `cv` is not an int or None.
        NoMomentsError
            A ValueError, after a `fit` that kept no moments.

        Notes
        -----
        The estimator, and its pickle, keep the moments of every task and fold, not the rows:
        ``8 * n_tasks * cv * (n_features + 2) ** 2`` bytes, 40 MB for 1,000 tasks, 5 folds and
        30 features. `fit` keeps them with ``keep_moments=True`` only.

        With strengths "auto" weights are relative to their mean over all rows so far. Equal rows
        are not looked for. One deal of the rows to folds is tuned on, by their place among the
        rows of the first call, where `fit` repeats it on small tables, and `predict_interval`
        takes the normal distribution, as no rows are at hand.
        """
        earlier = self._earlier_moments(decay)
        if earlier is not None:
            check_columns(self, X, reset=False)
        progress = Progress(self, X, y)
        rows, y, _, table = self._pack(
            X, y, sample_weight, task, anew=earlier is None, empty_tasks=True
        )
        solver = self._named_object()
        restriction = self._restriction(solver, X, rows.preprocessor, table.n_features)
        with worker_pool(self.n_jobs) as executor:
            seen = self._seen(table, executor, earlier and earlier.keys)
            if earlier is not None:
                rows.labels, seen = self._add_to(earlier, rows, seen)
            there = seen.sizes > 0
            blocks = seen.moments.take(np.flatnonzero(there))
            settled, schemes, whole = Settled(None), [], blocks.merge(executor=executor)
            stds = np.sqrt(whole.pooled()[2][:-1])
            if self.cv is not None:
                blocks, whole = blocks.faded(seen.unit), whole.faded(seen.unit)
                settled, schemes = seen.settled(whole), [(blocks, folds(None, int(self.cv)))]
            problem = Problem(
                schemes, whole, executor, progress, within=self._within(solver), copies=settled
            )
            problem.restrict(restriction)
            fitted = self._fit_problem(solver, problem).with_empty_tasks(there)
        self._store(X, y, rows, solver, fitted, seen.sizes, stds)
        self._kept = seen
        progress.end()
        return self

    def _earlier_moments(self, decay):
        """What there is to add to, faded; None at the first call."""
        self._check_deals()
        number = isinstance(decay, numbers.Real) and not isinstance(decay, bool)
        if not number or not 0.0 < decay <= 1.0:
            raise ValueError(f"decay={decay!r} must be a number above 0 and at most 1.")
        return self._kept.faded(decay) if hasattr(self, "coef_") else None

    def _check_deals(self):
        if self.cv is None:
            return
        if not isinstance(self.cv, numbers.Integral):
            raise ValueError(
                f"partial_fit deals rows to folds itself: cv={self.cv!r} must be an int."
            )
        check_n_folds(self.cv)

    def _seen(self, table, executor, keys=None):
        """The moments of every task and fold."""
        given = float(table.weights().sum()), table.task_sizes()
        if self.cv is None:
            return _Seen(block_moments(table, executor=executor), *given)
        n_folds = int(self.cv)
        keys = keys or RowKeys.learn(table.X, table.y, table.sample_weight, table.rows)
        table = replace(table, keys=keys.keys(table.X, table.y, table.rows))
        block = deal_blocks(table, n_folds, self._seed())
        fourth = keys.fourth_powers(table.X, table.weights(), table.rows)
        return _Seen(block_moments(table, block, n_folds, executor), *given, keys, fourth)

    def _add_to(self, earlier, rows, seen):
        """Earlier moments and the new ones together, over the union of their tasks."""
        moments, new, sizes = earlier.moments, seen.moments, seen.sizes
        if new.weight.shape[1] != moments.weight.shape[1]:
            raise ValueError(
                f"cv={self.cv} changed between calls of partial_fit, from "
                f"{moments.weight.shape[1]} folds."
            )
        if (rows.labels is None) != (self._labels is None):
            raise ValueError("give tasks in every call of partial_fit, or in none.")
        if rows.labels is None:
            if len(sizes) != len(earlier.sizes):
                raise ValueError(
                    f"y has {len(sizes)} tasks, but had {len(earlier.sizes)} in earlier calls."
                )
            self._check_target_names(rows.targets)
            if rows.targets is None and self._task_source == "target":
                rows.targets = self.tasks_  # this batch is an array
            labels, here, there = None, np.arange(len(sizes)), np.arange(len(sizes))
        else:
            labels, here, there = self._labels.union(rows.labels)
        n_tasks = len(sizes) if labels is None else len(labels)
        total = moments.expanded(n_tasks, here)
        total.add(new, there)
        out = np.zeros(n_tasks, dtype=np.int64)
        out[here] += earlier.sizes
        out[there] += sizes
        weight = earlier.weight + seen.weight
        fourth = None if earlier.fourth is None else earlier.fourth + seen.fourth
        return labels, _Seen(total, weight, out, earlier.keys, fourth)

    def predict(self, X, *, task=None, return_std=False):
        """Predict every row with its task's model.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        task : label or array-like of shape (n_samples,), default=None
            Task labels, where fit was given ``task=``; a single one is that of all rows.
        return_std : bool, default=False
            Also return the standard deviation of new labels about the predictions: noise and
            the model's own error together, from out-of-fold errors, one value a task. A task's
            few errors are drawn towards those of all tasks.

        Returns
        -------
        prediction : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            2-D where fit saw a 2-D y.
        std : ndarray of the same shape
            Only with `return_std`.

        Raises
        ------
        ValueError
            Where the model has several tasks and none is given, labels are of another kind
            than in fit, or a task is unknown and ``handle_unknown="error"``; and with
            `return_std` where ``cv=None``.
        """
        check_is_fitted(self)
        residual_scale = check_residual_scale(self._residual_scale) if return_std else None
        rows = self._rows_to_predict(X, task)
        if self._task_source == "target":
            codes = np.arange(len(self.tasks_))
            prediction = rows.X @ self.coef_.T + self.intercept_
        elif self._task_source == "none":
            codes = np.zeros(rows.X.shape[0], dtype=np.int64)
            prediction = rows.X @ self.coef_[0] + self.intercept_[0]
        else:
            codes = rows.codes
            coef = np.vstack([self.coef_, self.shared_coef_])  # code -1 is the last row
            intercept = np.r_[self.intercept_, self.shared_intercept_]
            prediction = rowwise(rows.X, coef, codes) + intercept[codes]
        if not return_std:
            return prediction
        every = self._task_source == "target"
        return prediction, residual_scale.of_rows(rows.X, None if every else codes)

    def predict_interval(self, X, coverage=0.9, *, task=None):
        """Intervals that hold a share `coverage` of new labels.

        The shape of the errors' distribution is that of out-of-fold errors in units of their
        tasks' standard deviations (`predict` with ``return_std``), all tasks together.

        Parameters
        ----------
        X, task
            As in `predict`.
        coverage : float, default=0.9

        Returns
        -------
        low, high : ndarray of shape (n_samples,) or (n_samples, n_tasks)

        Raises
        ------
        ValueError
            As `predict`, and for a coverage that is not between 0 and 1.

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
        prediction, std = self.predict(X, task=task, return_std=True)
        return interval(prediction, std, self._residual_scale, coverage)

    def score(self, X, y, sample_weight=None, *, task=None):
        """R² of the predictions; with a 2-D y the mean over tasks, NaN labels left out."""
        check_is_fitted(self)
        self._check_scored(y)
        return r2_over_tasks(y, self.predict(X, task=task), sample_weight)

    def _check_support(self, y):
        return check_numbers(y)

    def _task_model(self, coef, intercept, residual_scale):
        return LinearTaskModel._from_coefficients(
            coef, intercept, self._columns, self.preprocessor_, residual_scale
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_column is None
        return tags
