"""TransferEstimator: prediction for one target, with help from sources."""

import numbers
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import is_classifier, is_regressor
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._callbacks import Progress, with_callbacks
from .._compat import HasMethods, StrOptions, check_columns, fit_context
from .._typing import CV, ArrayLike, MatrixLike, NDArray, RandomState
from ..adaptation import BY_NAME, Independent
from ..adaptation.base import Adaptation
from ..base import Face
from ..task_models import interval
from ..tasks.columns import as_table
from ..tasks.targets import align_classes
from .reading import ProblemReader, Steps, read_table
from .residuals import out_of_fold_residuals
from .source import REMEDY, Source, Unlabeled

__all__ = ["TransferEstimator"]

# Parts of estimators' errors for a table that is not of finite numbers.
_NOT_NUMBERS = ("NaN", "infinity", "could not convert", "must be a string")


def _has(method):
    """Return a check whether the fitted model, or the unfitted estimator, has the method."""

    def check(self):
        getattr(getattr(self, "estimator_", None) or self._unfitted(), method)
        return True

    return check


def _can_have_intervals(self):
    """Return True, or raise an AttributeError that says why there are no intervals."""
    if not is_regressor(self):
        raise AttributeError(
            "predict_interval is for regressors; the probabilities of a classifier express its "
            "uncertainty."
        )
    if not self._labelled:
        raise AttributeError(
            "predict_interval needs errors on labelled rows of the target, but the model was "
            "fitted without y."
        )
    return True


class TransferEstimator(Face):
    """Prediction for one target, from few labelled rows of it and many rows of sources.

    A classifier or a regressor, like the estimator that it wraps. `fit` takes the target's rows
    only; source rows are a parameter, ``source=``. Therefore cross-validation, stacking and grid
    searches split the target's rows, every fit uses all source rows, and scores are those on the
    target.

    Parameters
    ----------
    estimator : classifier or regressor, default=None
        The estimator to be fitted; None is ``Ridge()``. The first steps of a Pipeline are fitted on
        source and target rows together, with each row of positive weight once; sample weights are
        passed to its last step.
    source : Source or None, default=None
        Labelled rows of one or more sources. None: the estimator is fitted on the target's rows
        alone, so that the grid ``{"source": [first, second, None]}`` shows whether sources help.
    adaptation : str or object, default="auto"
        How sources are used: an object of `skmtl.adaptation`, or the name of one. `Auto` chooses
        the weight of each source on the target's rows. Not used without a source.
    unlabeled : Unlabeled or None, default=None
        Target rows without labels, for adaptations that use them.
    preprocessor : "auto" or transformer, default=None
        Converts the columns of X to finite numbers, before `estimator`; fitted on source and target
        rows together. "auto" imputes missing numbers with the median (and adds columns that mark
        them), one-hot encodes categories and strings, and scales. None uses the columns unchanged.
    keep_residuals : bool, default=False
        Whether `fit` keeps the sizes of out-of-fold errors for `predict_interval`: the estimator,
        adaptation included, is fitted once more for every split of `cv`. Only for a regressor, and
        for labelled rows.
    cv : int, splitter, iterable of splits or None, default=None
        Splits of the target's rows, for the choices that the adaptation makes, and for
        `keep_residuals`. An int is a number of shuffled folds (stratified for a classifier), at
        most one per row; None means 5. Train and test rows of a split must be disjoint; a row that
        is listed several times has that weight.
        An iterator can be read only once: a second fit with it is refused.
    n_jobs : int, default=None
        Number of processes for these choices; None means 1.
    random_state : int, RandomState instance or None, default=None
        Seed of folds and of the adaptation; None always uses the same seed. The wrapped estimator
        has its own.
    verbose : int, default=0
        If above 0, print the progress.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model to deploy, which keeps neither source nor target rows. A Pipeline if there
        are preparing steps.
    classes_ : ndarray of shape (n_classes,)
        Classes of source and target together. Only for a classifier.
    source_weights_ : ndarray of shape (n_sources,)
        The weight of a row of each source, relative to a row of the target. Empty without a source.
    transfer_report_ : dict of arrays
        One entry per source: "source" (label), "n_samples", "weight", and entries that the
        adaptation adds.
    adaptation_ : object
        The adaptation that was used: `Independent` without a source.
    history_ : dict of arrays
        The candidates or steps of the adaptation.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if X is a data frame with string names.

    See Also
    --------
    MultiTaskRegressor : Prediction for all tasks of a table.
    MetaLearnerClassifier : Prediction for tasks that come later.
    skmtl.model_selection.source_target_split : Split one table into source and target.

    Notes
    -----
    The fitted object holds its parameter `source`, as every estimator does, and its pickle includes
    it. ``estimator_`` is small.

    Examples
    --------
    A new plant with ten labelled rows, and 500 rows of other plants:

    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> coef = rng.normal(size=8)
    >>> X, X_new, X_later = (rng.normal(size=(n, 8)) for n in (500, 10, 1000))
    >>> others = Source(X, X @ coef + 0.5 * rng.normal(size=500))
    >>> moved = coef + 0.1 * rng.normal(size=8)
    >>> y_new, y_later = X_new @ moved + 0.5 * rng.normal(size=10), X_later @ moved
    >>> model = TransferEstimator(Ridge(), source=others).fit(X_new, y_new)
    >>> model.score(X_later, y_later) > Ridge().fit(X_new, y_new).score(X_later, y_later)
    True
    """

    _named = "adaptation", BY_NAME, "skmtl.adaptation"
    __metadata_request__score = {"sample_weight": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],  # a stack has no predict before fit
        "source": [Source, None],
        "adaptation": [StrOptions(BY_NAME.keys()), Adaptation],
        "unlabeled": [Unlabeled, None],
        "preprocessor": [StrOptions({"auto"}), HasMethods(["fit", "transform"]), None],
        "keep_residuals": ["boolean"],
        "cv": ["cv_object"],
        "n_jobs": [None, numbers.Integral],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # Of models that were pickled before these attributes existed.
    keep_residuals, _residuals, _labelled = False, None, True

    def __init__(
        self,
        estimator: Any = None,
        *,
        source: Source | None = None,
        adaptation: str | Adaptation = "auto",
        unlabeled: Unlabeled | None = None,
        preprocessor: Any = None,
        keep_residuals: bool = False,
        cv: CV = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.source = source
        self.adaptation = adaptation
        self.unlabeled = unlabeled
        self.preprocessor = preprocessor
        self.keep_residuals = keep_residuals
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including nested ones, such as ``adaptation__alpha``.

        Parameters
        ----------
        **params : dict
            Values by name; ``estimator__...``, ``adaptation__...`` and ``preprocessor__...`` are
            parameters of these objects.

        Returns
        -------
        TransferEstimator
            The estimator itself.
        """
        nested = [key for key in params if key.startswith("estimator__")]
        if nested and params.get("estimator", self.estimator) is None:
            raise ValueError(
                f"{nested[0]} cannot be set on estimator=None; pass the estimator, such as "
                "estimator=Ridge()."
            )
        return super().set_params(**params)

    def _unfitted(self):
        return Ridge() if self.estimator is None else self.estimator

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: MatrixLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit a model for the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target, of any kind that the estimator, or `preprocessor`, accepts.
        y : array-like of shape (n_samples,), default=None
            Labels of the rows. None is allowed for an adaptation that needs none.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; rows of weight zero are left out.

        Returns
        -------
        TransferEstimator
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If a requirement of the adaptation is not met; if the source has other columns than the
            target, or labels of another kind; for NaN labels, invalid weights and invalid splits;
            for ``keep_residuals=True`` with a classifier or without y; and if the estimator itself
            raises it.
        """
        progress = Progress(self, X, y)
        self._require_predictor()
        self._require_numbers(y)
        effective_n_jobs(self.n_jobs)  # raises for 0
        steps = Steps.of(self._unfitted())
        adaptation = self._named_object()  # checks its parameters even if it is not used
        if self.source is None:
            adaptation = Independent()
        adaptation._check_given(
            estimator=steps.last,
            classifier=is_classifier(self),
            labels=y is not None,
            unlabeled=self.unlabeled is not None or y is None,
            weighted=sample_weight is not None
            or getattr(self.source, "sample_weight", None) is not None,
        )
        seed = self._seed()
        reader = ProblemReader(self, steps, adaptation, seed)
        problem = reader.problem(X, y, sample_weight)
        adapted = self._adapt(adaptation, problem, seed, progress)
        estimator, residuals = reader.fitted(adapted.predictor), None
        if self.keep_residuals:
            progress(f"out-of-fold residuals: fits on {len(reader.splits)} splits")
            residuals = out_of_fold_residuals(self, reader)
        self._store(X, adaptation, problem, adapted, estimator)
        self._residuals, self._labelled = residuals, y is not None
        progress.end()
        return self

    def _require_predictor(self):
        if isinstance(self.preprocessor, type):
            name = self.preprocessor.__name__
            raise ValueError(
                f"preprocessor={name} is a class; pass an object of it: preprocessor={name}()."
            )
        estimator = self._unfitted()
        if not is_classifier(estimator) and not is_regressor(estimator):
            raise ValueError(
                f"estimator={estimator!r} must be a classifier or a regressor, or a Pipeline that "
                "ends in one."
            )

    def _require_numbers(self, y):
        """Raise if residuals are to be kept, but the labels are no numbers or not given."""
        if not self.keep_residuals:
            return
        if is_classifier(self):
            raise ValueError(
                "keep_residuals=True is for regressors, but estimator="
                f"{type(self._unfitted()).__name__} is a classifier; set keep_residuals=False."
            )
        if y is None:
            raise ValueError(
                "keep_residuals=True requires y to be passed, but the target y is None; pass y, or "
                "set keep_residuals=False."
            )

    def _adapt(self, adaptation, problem, seed, progress):
        """Return the result of the adaptation."""
        # Seeding takes as long as a small fit.
        generator = np.random.RandomState(seed) if adaptation.needs_random_state else None
        try:
            return adaptation.fit(problem, generator, progress)
        except (ValueError, TypeError) as error:
            if self.preprocessor is None and any(part in str(error) for part in _NOT_NUMBERS):
                error.add_note(REMEDY)
            raise

    def _store(self, X, adaptation, problem, adapted, estimator):
        """Set all fitted attributes, at the very end of fit."""
        check_columns(self, as_table(X), reset=True)
        self.estimator_ = estimator
        vars(self).pop("classes_", None)  # of an earlier fit
        if problem.classifier:
            self.classes_ = problem.classes
        self.adaptation_ = adaptation
        self.source_weights_ = adapted.source_weights
        self.transfer_report_ = {
            "source": np.array([s.label for s in problem.sources]),
            "n_samples": np.array([len(s.y) for s in problem.sources], dtype=np.int64),
            "weight": adapted.source_weights,
            **adapted.report,
        }
        self.history_ = adapted.history

    def _ask(self, method, X):
        check_is_fitted(self)
        X = read_table(self, X, isinstance(self.estimator_, Pipeline))
        check_columns(self, X, reset=False)
        return getattr(self.estimator_, method)(X)

    def _of_all_classes(self, found, missing):
        """Return columns in the order of ``classes_``, with `missing` for unknown classes."""
        return align_classes(found, self.estimator_.classes_, self.classes_, missing)

    def predict(self, X: MatrixLike) -> NDArray:
        """Predict for rows of the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted labels.
        """
        return self._ask("predict", X)

    @available_if(_can_have_intervals)
    def predict_interval(self, X: MatrixLike, coverage: float = 0.9) -> tuple[NDArray, NDArray]:
        r"""Return prediction intervals, which contain the fraction `coverage` of new labels.

        All intervals have the same width, that of the out-of-fold errors of the target's rows,
        which `fit` keeps with ``keep_residuals=True``. Only for a regressor.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target.
        coverage : float, default=0.9
            Share of new labels inside the intervals, between 0 and 1.

        Returns
        -------
        low : ndarray of shape (n_samples,)
            Lower ends of the intervals.
        high : ndarray of shape (n_samples,)
            Upper ends of the intervals.

        Raises
        ------
        ValueError
            If the model was fitted with ``keep_residuals=False``; if `coverage` is not between 0
            and 1; and if it needs more rows than the target has, `c / (1 - c)` for the coverage
            `c`: nine for 0.9, nineteen for 0.95.

        Notes
        -----
        For every split of `cv`, the whole procedure (preparing steps, adaptation, fit) is repeated
        on the training rows. With the errors :math:`e_i` of these fits on the test rows, the
        interval is the prediction of the model of all rows :math:`\pm` the
        :math:`\lceil c (n + 1) \rceil`-th smallest of the `n` sizes :math:`|e_i|`. Where this rank
        exceeds `n`, the interval would be infinite, and an error is raised, as in MAPIE.

        If `cv` is a number, so are the folds inside of these fits; other splits are restricted to
        the training rows (five folds if none remains). The errors of a row that is held out several
        times share its weight. Sample weights that are whole numbers count rows, after division by
        their greatest common divisor; other weights add up to Kish's effective number of rows.

        The method is between cross-conformal prediction [1]_ and split conformal prediction [3]_:
        the models of the folds are not kept, so that the guarantee of the jackknife+ [2]_ for
        arbitrary estimators does not apply. Coverage is right if the model of all rows errs no more
        than those of the folds, which are fitted on fewer rows. With few rows, intervals tend to be
        too wide.

        References
        ----------
        .. [1] Vovk, V. (2015). Cross-conformal predictors. Annals of Mathematics and Artificial
           Intelligence 74, 9-28. :doi:`10.1007/s10472-013-9368-4`
        .. [2] Barber, R. F., Candès, E. J., Ramdas, A. & Tibshirani, R. J. (2021). Predictive
           inference with the jackknife+. The Annals of Statistics 49(1), 486-507.
           :doi:`10.1214/20-AOS1965`
        .. [3] Lei, J., G'Sell, M., Rinaldo, A., Tibshirani, R. J. & Wasserman, L. (2018).
           Distribution-free predictive inference for regression. Journal of the American
           Statistical Association 113, 1094-1111. :doi:`10.1080/01621459.2017.1307116`

        Examples
        --------
        >>> import numpy as np
        >>> from skmtl import Source, TransferEstimator
        >>> rng = np.random.default_rng(0)
        >>> def draw(n):
        ...     X = rng.normal(size=(n, 4))
        ...     return X, X.sum(axis=1) + rng.normal(size=n)
        >>> model = TransferEstimator(source=Source(*draw(300)), keep_residuals=True)
        >>> X_later, y_later = draw(1000)
        >>> low, high = model.fit(*draw(20)).predict_interval(X_later, coverage=0.8)
        >>> bool(((low < y_later) & (y_later < high)).mean() > 0.75)
        True
        """
        check_is_fitted(self)
        if self._residuals is None:
            raise ValueError(
                "predict_interval needs out-of-fold residuals of the target's rows, but the model "
                "was fitted with keep_residuals=False; set keep_residuals=True and call fit again."
            )
        return interval(self.predict(X), 1.0, self._residuals, coverage)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: MatrixLike) -> NDArray:
        """Predict probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``; zero for classes that the model was not
            fitted on.
        """
        return self._of_all_classes(self._ask("predict_proba", X), 0.0)

    @available_if(_has("predict_log_proba"))
    def predict_log_proba(self, X: MatrixLike) -> NDArray:
        """Predict logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Logarithms of `predict_proba`.
        """
        return self._of_all_classes(self._ask("predict_log_proba", X), -np.inf)

    @available_if(_has("decision_function"))
    def decision_function(self, X: MatrixLike) -> NDArray:
        """Compute scores of the classes; for two classes, that of the second.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Scores; the lowest finite number for classes that the model was not fitted on.
        """
        scores = self._ask("decision_function", X)
        return self._of_all_classes(scores, np.finfo(scores.dtype).min)

    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy of a classifier, or the R² of a regressor.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target.
        y : array-like of shape (n_samples,)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            The score; at most 1.
        """
        score = accuracy_score if is_classifier(self) else r2_score
        return score(y, self.predict(X), sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._unfitted())
        tags.estimator_type = wrapped.estimator_type
        tags.classifier_tags, tags.regressor_tags = wrapped.classifier_tags, wrapped.regressor_tags
        tags.non_deterministic = wrapped.non_deterministic
        tags.input_tags = wrapped.input_tags
        tags.input_tags.pairwise = False
        tags.target_tags = wrapped.target_tags
        tags.target_tags.multi_output, tags.target_tags.single_output = False, True
        tags.target_tags.required = True
        return self._follow_preprocessor(tags)
