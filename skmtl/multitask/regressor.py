"""MultiTaskRegressor: predict well for all tasks of a table."""

import functools
import numbers
import warnings

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from .._callbacks import Progress, with_callbacks
from .._compat import check_columns, fit_context
from .._jit import worker_pool
from ..base import LinearTaskModel
from ..sharing._base import Problem
from ..tasks.blocks import deal_blocks, folds
from ..tasks.moments import block_moments
from ..tasks.rows import TaskRows, prefers_rows
from ._base import MultiTaskBase, rowwise

__all__ = ["MultiTaskRegressor"]


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
    task_column : str or int, default=None
        The column of X with the task labels: a name (data frames), found exactly or as the one
        column that ends in ``__name``, or an index (arrays). The column is not a feature.
    handle_unknown : {"shared", "error"}, default="shared"
        A row of a task never seen in fit is predicted with what all tasks share, with a
        warning; or raises.
    cv : int, splitter or iterable of (train, test), default=5
        How strengths and the report are cross-validated inside `fit`. An int deals the rows of
        every task to that many folds by a hash of their content (so row order does not matter),
        repeatedly on small tables. None skips validation and needs fixed strengths.
    n_jobs : int, default=None
        Threads; None is 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seeds the dealing of rows to folds; None always deals alike.
    verbose : int, default=0
        Above 0, prints what is being done.

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Task labels, sorted; column indices of a 2-D y.
    coef_ : ndarray of shape (n_tasks, n_features)
        Slopes of every task, in the units of X and y.
    intercept_ : ndarray of shape (n_tasks,)
    shared_coef_ : ndarray of shape (n_features,)
    shared_intercept_ : float
        What a task never seen is predicted with.
    coef_feature_names_ : ndarray of shape (n_features,)
        Names of the columns of `coef_`; the task column is not among them.
    sharing_ : object
        The sharing structure with its strengths of largest weight: ``alpha_``,
        ``alpha_intercept_``, ``alpha_shared_``.
    task_report_ : dict of arrays
        For every task, and last for "a task never seen" (label None): ``task``, ``n_samples``,
        cross-validated squared errors a row ``error_independent``, ``error_pooled``,
        ``error_shared`` (this model) with ``std_error_...``, what was ``used``, and
        ``gain_over_independent``, ``gain_over_pooled`` (1 - error / error of the other). These
        errors chose the model, so they are somewhat optimistic. Empty with ``cv=None``.
    history_ : dict of arrays
        The candidate strengths, their cross-validated error and their weight.
    kkt_residual_ : float
        Largest entry of the objective's gradient at the solution of largest weight, relative
        to the gradient at zero; of the optimality conditions where slopes have a sign.
    n_iter_ : int
        1: the solver is direct. Where slopes have a sign, systems solved for that solution.
    n_features_in_ : int
        Columns of X, the task column included.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X is a data frame.

    See Also
    --------
    skmtl.sharing.PartialPooling : The objective and its strengths.
    skmtl.inspection.TaskReportDisplay : The report as a picture.

    Notes
    -----
    Tasks are given by `task_column`, by ``task=`` in every method, or by a 2-D `y` (one task a
    column, NaN where a row has no label for the task). With none of these there is one task.

    The cost of tuning does not depend on the number of rows: it works on block-wise moments,
    one pass over the data.

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

    __metadata_request__fit = {"task": True}
    __metadata_request__partial_fit = {"task": True}
    __metadata_request__predict = {"task": True}
    __metadata_request__score = {"task": True, "sample_weight": True}

    def __init__(
        self,
        sharing="partial_pooling",
        *,
        task_column=None,
        handle_unknown="shared",
        cv=5,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.sharing = sharing
        self.task_column = task_column
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
            Finite numbers beside the task column.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            A 2-D y has one task a column; NaN means not labelled for this task.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.
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
        progress = Progress(self, X, y)
        rows, y, codes, table = self._pack(X, y, sample_weight, task)
        make_problem = functools.partial(self._problem, progress)
        solver, fitted = self._share(X, y, codes, table, make_problem)
        self._store(X, y, rows, solver, fitted, table.task_sizes())
        self._moments = None
        progress.end()
        return self

    @staticmethod
    def _problem(progress, space, parts, pool):
        """The table as moments, or as rows where moments would be larger."""
        table = space.table
        if prefers_rows(table, max(1, sum(part.n_blocks for part in parts))):  # 1: cv=None
            schemes = [(TaskRows.of(table, part.block), part) for part in parts]
            blocks = schemes[0][0] if schemes else TaskRows.of(table)
        else:
            schemes = [
                (block_moments(table, part.block, part.n_blocks, pool), part) for part in parts
            ]
            blocks = schemes[0][0] if schemes else block_moments(table, pool=pool)
        return Problem(schemes, blocks.merge(pool=pool), pool, progress, space.standardise)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, *, task=None):
        """Add rows: their moments join those of earlier calls, then all tasks are fitted anew.

        The result is that of `fit` on all rows: exactly so at fixed strengths, and up to the
        dealing of rows to folds where strengths are tuned. New tasks may come at any call. The
        estimator keeps the moments of every task and fold, not the rows.

        Parameters
        ----------
        X, y, sample_weight, task
            As in `fit`. A 2-D y must have the same tasks in every call.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As `fit`; and where `cv` is not an int or None.

        Notes
        -----
        `fit` keeps no moments, so partial_fit after it starts anew, with a warning.
        """
        if self.cv is not None and not isinstance(self.cv, numbers.Integral):
            raise ValueError(
                f"partial_fit deals rows to folds itself: cv={self.cv!r} must be an int."
            )
        earlier = getattr(self, "_moments", None)
        if earlier is None and hasattr(self, "coef_"):
            warnings.warn(
                "partial_fit after fit starts anew: fit keeps no moments to add to. Use "
                "partial_fit from the first rows on.",
                UserWarning,
                stacklevel=2,
            )
        if earlier is not None:
            check_columns(self, X, reset=False)
        progress = Progress(self, X, y)
        rows, y, _, table = self._pack(X, y, sample_weight, task)
        solver = self._make_sharing()
        restriction = self._restriction(solver, X, table.n_features)
        n_blocks = 1 if self.cv is None else int(self.cv)
        block = None if self.cv is None else deal_blocks(table, n_blocks, self._seed())
        sizes = table.task_sizes()
        with worker_pool(self.n_jobs) as pool:
            new = block_moments(table, block, n_blocks, pool)
            if earlier is not None:
                rows.labels, new, sizes = self._add_to(earlier, rows, new, sizes)
            seen = new.take(np.flatnonzero(sizes > 0))
            schemes = [] if self.cv is None else [(seen, folds(None, n_blocks))]
            problem = Problem(schemes, seen.merge(pool=pool), pool, progress)
            problem.restrict(restriction)
            fitted = solver.fit_problem(problem).spread(sizes > 0)
        self._store(X, y, rows, solver, fitted, sizes)
        self._moments = new, sizes
        progress.end()
        return self

    def _add_to(self, earlier, rows, new, sizes):
        """Earlier moments and the new ones together, over the union of their tasks."""
        moments, earlier_sizes = earlier
        if new.weight.shape[1] != moments.weight.shape[1]:
            raise ValueError(
                f"cv={self.cv} changed between calls of partial_fit, from "
                f"{moments.weight.shape[1]} folds."
            )
        if (rows.labels is None) != (self._labels is None):
            raise ValueError("give tasks in every call of partial_fit, or in none.")
        if rows.labels is None:
            if len(sizes) != len(earlier_sizes):
                raise ValueError(
                    f"y has {len(sizes)} tasks, but had {len(earlier_sizes)} in earlier calls."
                )
            labels, here, there = None, np.arange(len(sizes)), np.arange(len(sizes))
        else:
            labels, here, there = self._labels.union(rows.labels)
        n_tasks = len(sizes) if labels is None else len(labels)
        total = moments.expanded(n_tasks, here)
        total.add(new, there)
        out = np.zeros(n_tasks, dtype=np.int64)
        out[here] += earlier_sizes
        out[there] += sizes
        return labels, total, out

    def predict(self, X, *, task=None):
        """Predict every row with its task's model.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        task : array-like of shape (n_samples,), default=None
            Task labels, where fit was given ``task=``.

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
        if self._task_source == "target":
            return rows.X @ self.coef_.T + self.intercept_
        if self._task_source == "none":
            return rows.X @ self.coef_[0] + self.intercept_[0]
        coef = np.vstack([self.coef_, self.shared_coef_])  # code -1 is the last row
        intercept = np.r_[self.intercept_, self.shared_intercept_]
        return rowwise(rows.X, coef, rows.codes) + intercept[rows.codes]

    def score(self, X, y, sample_weight=None, *, task=None):
        """R² of the predictions; with a 2-D y the mean over tasks, NaN labels left out."""
        prediction = self.predict(X, task=task)
        y = np.asarray(y, dtype=np.float64)
        if y.ndim == 1 or not np.isnan(y).any():
            return r2_score(y, prediction, sample_weight=sample_weight)
        from ..metrics import task_score

        return task_score(y, prediction, sample_weight=sample_weight)

    def _task_model(self, coef, intercept, names):
        return LinearTaskModel._from_coefficients(coef, intercept, names, self.task_column)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_column is None
        return tags
