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
from ..tasks.columns import as_table
from ..tasks.targets import align_classes
from .reading import ProblemReader, Steps, read_table
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
    cv : int, splitter, iterable of splits or None, default=None
        Splits of the target's rows, for the choices that the adaptation makes. An int is a number
        of shuffled folds (stratified for a classifier), at most one per row; None means 5. Train
        and test rows of a split must be disjoint; a row that is listed several times has that
        weight.
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
    feature_names_in_ : ndarray of shape (n_features_in_,)
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
        "cv": ["cv_object"],
        "n_jobs": [None, numbers.Integral],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        source: Source | None = None,
        adaptation: str | Adaptation = "auto",
        unlabeled: Unlabeled | None = None,
        preprocessor: Any = None,
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
            and if the estimator itself raises it.
        """
        progress = Progress(self, X, y)
        self._require_predictor()
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
        self._store(X, adaptation, problem, adapted, reader.fitted(adapted.predictor))
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
