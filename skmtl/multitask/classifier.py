"""MultiTaskClassifier: classes and calibrated probabilities for all tasks of a table."""

import numbers
import warnings
from dataclasses import replace

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import Interval, StrOptions, fit_context
from .._validation import check_weights
from ..sharing.logistic_problem import LogisticProblem
from ..task_models import LinearTaskClassifier, most_probable, probabilities
from ..tasks.prevalence import check_class_prior
from ..tasks.targets import check_classes, check_labels, check_two_classes, find_classes
from ..tasks.variation import column_stds
from ._base import MultiTaskBase, rowwise

__all__ = ["MultiTaskClassifier"]


class MultiTaskClassifier(ClassifierMixin, MultiTaskBase):
    r"""Logistic regression for many tasks that share what helps.

    Every task (customer, field, district, ...) gets its own linear scores

    .. math:: f_t(x) = a + a_t + x'(m + v_t),

    the log-odds of the second class, drawn towards the shared :math:`a + x'm` as strongly as
    cross-validated log-loss inside `fit` says, task by task: from *independent* (one model a
    task) to *pooled* (one model for all). A task with rows of one class only, or with few rows,
    gets probabilities drawn towards the shared ones. With more than two classes every class has
    scores of its own and the loss is multinomial.

    Parameters
    ----------
    sharing : {"partial_pooling", "independent", "pooled"} or object, default="partial_pooling"
        How tasks share; an object of `skmtl.sharing` takes options. Strengths are in units of
        1 / variance on the scale of log-odds, on standardised features: ``1 / C`` of
        scikit-learn's LogisticRegression. They default to "auto".
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
    class_weight : dict or "balanced", default=None
        Weights of the classes, in the fit and in its validation; "balanced" over the table.
    handle_unknown : {"shared", "error"}, default="shared"
        A row of a task never seen in fit is predicted with what all tasks share, with a
        warning; or raises.
    cv : int, splitter or iterable of (train, test), default=5
        How strengths and the report are cross-validated inside `fit`. An int deals the rows of
        every task to that many folds in an order that only what they hold decides, not the order
        of rows or columns nor the columns' units, shifts and signs; repeatedly on small tables.
        Folds that give every class its share in every task would favour intercepts of the tasks'
        own. None skips validation and needs fixed strengths.
    max_iter : int, default=100
        Most Newton steps of the final fit, a candidate.
    tol : float, default=1e-4
        On the KKT residual of the final fit.
    n_jobs : int, default=None
        Threads; None is 1. Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seeds the dealing of rows to folds; None always deals alike.
    verbose : int, default=0
        Above 0, prints what is being done.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    tasks_ : ndarray of shape (n_tasks,)
        Task labels, sorted.
    coef_ : ndarray of shape (n_tasks, n_features) or (n_tasks, n_classes, n_features)
        Slopes of every task, in the units of X: of the log-odds of ``classes_[1]``, or of each
        class's score where there are more than two.
    intercept_ : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
    shared_coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
    shared_intercept_ : float or ndarray of shape (n_classes,)
        What a task never seen is predicted with.
    coef_feature_names_ : ndarray of shape (n_features,)
        Names of the columns of `coef_`, after preprocessing where there is one; the task column
        is not among them.
    sharing_ : object
        The sharing structure with its strengths of largest weight: ``alpha_``,
        ``alpha_intercept_``, ``alpha_shared_``.
    task_report_ : dict of arrays
        As that of `MultiTaskRegressor`; errors are log-losses a row.
    history_ : dict of arrays
        The candidate strengths, their cross-validated log-loss and their weight.
    kkt_residual_ : float
        Largest entry of the objective's gradient at the solution of largest weight, relative
        to the gradient at zero.
    n_iter_ : int
        Newton steps of that solution in the final fit.
    preprocessor_ : transformer or None
        Fitted: a ColumnTransformer where it was "auto" (for sparse X a SimpleImputer).
    n_features_in_ : int
        Columns of X, those that are no features included.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X is a data frame.

    See Also
    --------
    skmtl.sharing.PartialPooling : The strengths.
    MultiTaskRegressor : The same for numbers.

    Notes
    -----
    The objective of one triple of strengths is

    .. math:: \sum_t \sum_{i \in t} w_i \log(1 + e^{-y_i f_t(x_i)})
              + \tfrac12 \left(\lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2
              + \lambda_v \sum_t \|v_t\|^2\right),

    solved by Newton's method with a small factorisation a task. The candidates' scores are
    averaged, as those of `MultiTaskRegressor` are.

    The preprocessor is fitted once, on the rows of positive weight, each counted once; not again
    for every fold of `cv`. With "auto" that changed cross-validated errors by less than 0.1 % on
    tables of 600 to 5,000 rows, and by up to 3 % in either direction on one of 20 rows. A
    transformer that learns from y makes strengths and report too optimistic: judge the model by
    an outer cross-validation, which fits everything anew.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, shop = rng.normal(size=(300, 3)), np.repeat(np.arange(20), 15)
    >>> bought = X[:, 0] + 0.5 * rng.normal(size=20)[shop] + rng.logistic(size=300) > 0
    >>> model = MultiTaskClassifier().fit(X, bought, task=shop)
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
    }

    def __init__(
        self,
        sharing="partial_pooling",
        *,
        task_column=None,
        preprocessor=None,
        exclude_columns=None,
        categorical_columns=None,
        class_weight=None,
        handle_unknown="shared",
        cv=5,
        max_iter=100,
        tol=1e-4,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.sharing = sharing
        self.task_column = task_column
        self.preprocessor = preprocessor
        self.exclude_columns = exclude_columns
        self.categorical_columns = categorical_columns
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
    def fit(self, X, y, sample_weight=None, *, task=None):
        """Fit all tasks.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Finite numbers beside the task column, or whatever `preprocessor` takes.
        y : array-like of shape (n_samples,)
            Class labels, which mean the same in every task.
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
            As `MultiTaskRegressor.fit`; and for a single class, or a 2-D y.
        """
        progress = Progress(self, X, y)
        classes, y = self._encode(y)
        weight = self._weights(y, classes, sample_weight)
        labels = classes[y.astype(np.int64)]  # for the preprocessor
        rows, y, codes, table = self._pack(X, y, weight, task, target=labels)
        present = np.unique(table.y)
        check_two_classes(classes[present.astype(np.int64)])
        table = replace(table, y=np.searchsorted(present, table.y).astype(np.float64))

        def make_problem(space, parts, executor, **kwargs):
            return LogisticProblem(
                space.table, len(present), parts, executor, progress, space.standardise, self.tol,
                self.max_iter, **kwargs,
            )  # fmt: skip

        solver, fitted = self._share(X, y, codes, table, make_problem, rows.preprocessor)
        if fitted.kkt_residual > self.tol:
            warnings.warn(
                f"the final fit stopped at a KKT residual of {fitted.kkt_residual:.1e}, above "
                f"tol={self.tol:g}, after {fitted.n_iter} steps; raise max_iter={self.max_iter} "
                "or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        _warn_of_separation(table, fitted)
        self._store(X, y, rows, solver, fitted, table.task_sizes(), column_stds(table))
        self.classes_ = classes[present.astype(np.int64)]
        progress.end()
        return self

    def _encode(self, y):
        """The classes, and every row's class as a number."""
        self._require_target(y)
        y = check_classes(y)
        classes, codes = np.unique(y, return_inverse=True)
        return classes, codes.astype(np.float64)

    def _weights(self, y, classes, sample_weight):
        """Sample weights times class weights, or None where there are neither."""
        weight = check_weights(sample_weight, len(y))
        if self.class_weight is None:
            return weight
        code = y.astype(np.int64)
        weight = np.ones(len(y)) if weight is None else weight
        if isinstance(self.class_weight, dict):
            unknown = set(self.class_weight) - set(classes.tolist())
            if unknown:
                raise ValueError(
                    f"class_weight names classes that y does not have: {sorted(unknown, key=str)}."
                )
            _check_class_weight(self.class_weight)
            of_class = np.array([self.class_weight.get(c, 1.0) for c in classes.tolist()], float)
        else:  # "balanced": all classes weigh the same
            mass = np.bincount(code, weight, minlength=len(classes))
            present = mass > 0
            of_class = np.where(present, mass.sum() / present.sum(), 0.0)
            of_class /= np.where(present, mass, 1.0)
        return weight * of_class[code]

    def adapt(self, X, y, sample_weight=None, *, class_prior=None):
        """A model for a new task, from some of its rows and what the tasks of `fit` share.

        Nothing is refitted and this estimator stays as it is. With the shared part held, the new
        task's own part is what `fit` would have found, for each of the strengths that tasks of
        its size use, averaged with weights that also heed leave-one-out log-losses on its rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the new task; needs no task column (one present is ignored).
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
        class_prior : dict, default=None
            The share of every class among the rows that the task will be asked of. Intercepts are
            corrected for the shares among these rows (King & Zeng 2001). By default, as much as it
            is probable that rows were sampled by class ("five of each"): the shares among them are
            unlike those of the tasks of `fit`.

        Returns
        -------
        LinearTaskClassifier
            An ordinary fitted estimator, as `for_task` returns.

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
        check_is_fitted(self)
        if class_prior is not None:
            class_prior = check_class_prior(class_prior, self.classes_)
        return self._adapt(X, y, sample_weight, class_prior=class_prior)

    def decision_function(self, X, *, task=None):
        """Log-odds of the second class, or every class's score.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        task : label or array-like of shape (n_samples,), default=None
            Task labels, where fit was given ``task=``; a single one is that of all rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        rows = self._rows_to_predict(X, task)
        codes = rows.codes
        if self._task_source == "none":
            codes = np.zeros(rows.X.shape[0], dtype=np.int64)
        coef = np.concatenate([self.coef_, self.shared_coef_[None]])  # code -1 is the last
        intercept = np.concatenate([self.intercept_, np.asarray(self.shared_intercept_)[None]])
        if len(self.classes_) == 2:
            return rowwise(rows.X, coef, codes) + intercept[codes]
        scores = [rowwise(rows.X, coef[:, k], codes) for k in range(len(self.classes_))]
        return np.column_stack(scores) + intercept[codes]

    def predict_proba(self, X, *, task=None):
        """Probabilities of the classes.

        Parameters
        ----------
        X, task
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return probabilities(self.decision_function(X, task=task))

    def predict_log_proba(self, X, *, task=None):
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, task=task))

    def predict(self, X, *, task=None):
        """The most probable class of every row, by its task's model.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        task : label or array-like of shape (n_samples,), default=None
            Task labels, where fit was given ``task=``; a single one is that of all rows.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            As `MultiTaskRegressor.predict`.
        """
        check_is_fitted(self)
        return most_probable(self.decision_function(X, task=task), self.classes_)

    def score(self, X, y, sample_weight=None, *, task=None):
        """Accuracy of `predict`."""
        return accuracy_score(y, self.predict(X, task=task), sample_weight=sample_weight)

    def _check_support(self, y):
        return find_classes(check_labels(y), self.classes_).astype(np.float64)

    def _task_model(self, coef, intercept, residual_scale):
        return LinearTaskClassifier._from_coefficients(
            coef, intercept, self._columns, self.preprocessor_, self.classes_
        )


def _check_class_weight(class_weight):
    for label, weight in class_weight.items():
        number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not number or not 0.0 <= weight < np.inf:
            raise ValueError(
                f"class_weight={class_weight!r} gives class {label!r} the weight {weight!r}; "
                "weights are finite numbers of zero or more."
            )
    if class_weight and not any(class_weight.values()):
        raise ValueError(
            f"class_weight={class_weight!r} is zero for every class; give some a positive weight."
        )


def _warn_of_separation(table, fitted):
    """Warn where a strength of zero leaves the loss without a minimum."""
    strengths = fitted.strengths
    names = "alpha", "alpha_intercept", "alpha_shared"
    slope, pull, ridge = (strengths[name] for name in names)
    if slope > 0 and pull > 0 and (ridge > 0 or np.isfinite(slope)):
        return
    sizes, codes = table.task_sizes(), table.codes
    if slope > 0 and pull > 0:  # only the shared slopes are free
        sizes, codes = np.array([len(codes)]), np.zeros_like(codes)
    free = np.zeros(len(sizes), dtype=bool)
    if slope > 0 and pull == 0:  # only the intercepts are
        low, high = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
        np.minimum.at(low, codes, table.y)
        np.maximum.at(high, codes, table.y)
        free = low == high
    else:
        least = np.full(len(sizes), np.inf)
        np.minimum.at(least, codes, _margins(table, fitted))
        free = (least > 0) & (sizes > 0)
    if free.any():
        where = f"in {free.sum()} of {len(free)} tasks" if len(free) > 1 else "in the whole table"
        zero = [name for name in names if strengths[name] == 0]
        warnings.warn(
            f"{' and '.join(zero)} being 0, nothing limits the coefficients where the rows are "
            f"told apart without error, as {where}: they grow with "
            "every step, and the probabilities near 0 and 1 mean nothing. Give a strength above "
            "0, or 'auto' with cv=5.",
            ConvergenceWarning,
            stacklevel=3,
        )


def _margins(table, fitted):
    """By how much each packed row's own class leads the others; above zero it is told apart."""
    X, codes, own = table.X[table.rows], table.codes, table.y.astype(np.int64)
    coef = np.concatenate([fitted.coef, fitted.shared_coef[None]])  # `rowwise` wants it last
    if coef.ndim == 2:
        return (2 * own - 1) * (rowwise(X, coef, codes) + fitted.intercept[codes])
    scores = np.column_stack([rowwise(X, c, codes) for c in coef.transpose(1, 0, 2)])
    scores += fitted.intercept[codes]
    lead = np.take_along_axis(scores, own[:, None], axis=1)[:, 0]
    np.put_along_axis(scores, own[:, None], -np.inf, axis=1)
    return lead - scores.max(axis=1)
