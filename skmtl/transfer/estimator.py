"""TransferEstimator: predict for one target, with help from sources."""

import numbers

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
from ..adaptation import BY_NAME, Independent
from ..adaptation.base import Adaptation
from ..base import Face
from ..tasks.columns import as_table
from ..tasks.targets import align_classes
from .reading import Reading, Steps, read_table
from .source import REMEDY, Source, Unlabeled

__all__ = ["TransferEstimator"]

# What estimators say of a table that is not finite numbers.
_NOT_NUMBERS = ("NaN", "infinity", "could not convert", "must be a string")


def _has(method):
    """Whether the fitted model, or the estimator that is to be fitted, has the method."""

    def check(self):
        getattr(getattr(self, "estimator_", None) or self._unfitted(), method)
        return True

    return check


class TransferEstimator(Face):
    """Predicts for one target, from a few labelled rows of it and many rows of sources.

    A classifier or a regressor, as the estimator that it wraps. `fit` sees the target's rows
    only; those of sources come as a parameter, ``source=``. So cross-validation, stacking and
    grid searches split the target's rows, every fit has all source rows, and scores are about the
    target.

    Parameters
    ----------
    estimator : classifier or regressor, default=None
        What to fit; None is ``Ridge()``. A Pipeline has its first steps fitted on source and
        target rows alike, each row of positive weight once; sample weights go to its last step.
    source : Source or None, default=None
        Labelled rows from elsewhere. None: the plain estimator is fitted on the target's rows, so
        that ``{"source": [first, second, None]}`` is a grid that tells whether help helps.
    adaptation : str or object, default="auto"
        How sources help: an object of `skmtl.adaptation`, or the name of one; `Auto` judges each
        source on the target's rows and weighs it. Not used without a source.
    unlabeled : Unlabeled or None, default=None
        Target rows without labels, for adaptations that learn from such.
    preprocessor : "auto" or transformer, default=None
        Makes finite numbers of the columns of X, before `estimator`: fitted on source and target
        rows alike. "auto" fills gaps with the median (and says where), one-hot encodes categories
        and strings, and scales. None takes columns as they are.
    cv : int, splitter, iterable of splits or None, default=None
        Splits of the target's rows for whatever the adaptation tunes. An int is so many shuffled
        folds (stratified, of a classifier), at most one a row; None is 5. Train and test of a
        split share no row; one listed several times counts so often. An iterator can be read
        only once: fit again, it is refused.
    n_jobs : int, default=None
        Processes for what is tuned; None is 1.
    random_state : int, RandomState instance or None, default=None
        Seeds folds and the adaptation; None always starts alike. The wrapped estimator has its
        own.
    verbose : int, default=0
        Above 0, prints what is being done.

    Attributes
    ----------
    estimator_ : estimator
        What to deploy: fitted, self-contained, with neither source nor target rows. A Pipeline
        where there are preparing steps.
    classes_ : ndarray of shape (n_classes,)
        Of source and target together. Only of a classifier.
    source_weights_ : ndarray of shape (n_sources,)
        What a row of each source counts beside a row of the target. Empty without a source.
    transfer_report_ : dict of arrays
        One entry a source: "source" (label), "n_samples", "weight", and what the adaptation adds.
    adaptation_ : object
        The adaptation that was used: `Independent` without a source.
    history_ : dict of arrays
        What the adaptation tried.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where X is a data frame with string names.

    See Also
    --------
    MultiTaskRegressor : Predicts well for all tasks of a table.
    MetaLearnerClassifier : Is ready for tasks that come tomorrow.
    skmtl.model_selection.source_target_split : Cuts one table into source and target.

    Notes
    -----
    The fitted object holds the `source` it was given, as any estimator its parameters; its pickle
    is as large. ``estimator_`` is small.

    Examples
    --------
    A new plant with ten labelled rows, and 500 rows of others:

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
        "estimator": [HasMethods(["fit"]), None],  # a stack has no predict before it is fitted
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
        estimator=None,
        *,
        source=None,
        adaptation="auto",
        unlabeled=None,
        preprocessor=None,
        cv=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
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

    def set_params(self, **params):
        """Set parameters; ``estimator__...``, ``adaptation__...`` reach into objects."""
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
    def fit(self, X, y=None, sample_weight=None):
        """Fit for the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of the target: whatever the estimator, or `preprocessor`, takes.
        y : array-like of shape (n_samples,), default=None
            Their labels. None is legal for an adaptation that needs none.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts; rows of weight zero are left out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where the adaptation lacks something it needs; where the source has other columns, or
            labels of another kind, than the target; for NaN labels, bad weights, bad splits; and
            what the estimator itself raises.
        """
        progress = Progress(self, X, y)
        self._require_predictor()
        effective_n_jobs(self.n_jobs)  # raises for 0
        steps = Steps.of(self._unfitted())
        adaptation = self._named_object()  # its parameters are checked in any case
        if self.source is None:
            adaptation = Independent()
        adaptation.check_given(
            estimator=steps.last,
            classifier=is_classifier(self),
            labels=y is not None,
            unlabeled=self.unlabeled is not None or y is None,
            weighted=sample_weight is not None
            or getattr(self.source, "sample_weight", None) is not None,
        )
        seed = self._seed()
        reading = Reading(self, steps, adaptation, seed)
        problem = reading.problem(X, y, sample_weight)
        adapted = self._adapt(adaptation, problem, seed, progress)
        self._store(X, adaptation, problem, adapted, reading.deploy(adapted.predictor))
        progress.end()
        return self

    def _require_predictor(self):
        if isinstance(self.preprocessor, type):
            name = self.preprocessor.__name__
            raise ValueError(
                f"preprocessor={name} is a class; give an object of it: preprocessor={name}()."
            )
        estimator = self._unfitted()
        if not is_classifier(estimator) and not is_regressor(estimator):
            raise ValueError(
                f"estimator={estimator!r} must be a classifier or a regressor, or a Pipeline that "
                "ends in one."
            )

    def _adapt(self, adaptation, problem, seed, progress):
        """Return what the adaptation makes of the problem."""
        # Seeding takes as long as a small fit.
        draws = np.random.RandomState(seed) if adaptation.needs_random_state else None
        try:
            return adaptation.fit(problem, draws, progress)
        except (ValueError, TypeError) as error:
            if self.preprocessor is None and any(sign in str(error) for sign in _NOT_NUMBERS):
                error.add_note(REMEDY)
            raise

    def _store(self, X, adaptation, problem, adapted, estimator):
        """Set the fitted attributes, all at once at the very end."""
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
        """Return columns in the order of ``classes_``, `missing` where the model has none."""
        return align_classes(found, self.estimator_.classes_, self.classes_, missing)

    def predict(self, X):
        """Predict rows of the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._ask("predict", X)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X):
        """Probabilities of the classes; zero for those that the model was not fitted on.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._of_all_classes(self._ask("predict_proba", X), 0.0)

    @available_if(_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`."""
        return self._of_all_classes(self._ask("predict_log_proba", X), -np.inf)

    @available_if(_has("decision_function"))
    def decision_function(self, X):
        """Scores of the classes, or of the second of two.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The lowest finite number for classes that the model was not fitted on.
        """
        scores = self._ask("decision_function", X)
        return self._of_all_classes(scores, np.finfo(scores.dtype).min)

    def score(self, X, y, sample_weight=None):
        """Accuracy of a classifier, R² of a regressor."""
        score = accuracy_score if is_classifier(self) else r2_score
        return score(y, self.predict(X), sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        theirs = get_tags(self._unfitted())
        tags.estimator_type = theirs.estimator_type
        tags.classifier_tags, tags.regressor_tags = theirs.classifier_tags, theirs.regressor_tags
        tags.non_deterministic = theirs.non_deterministic
        tags.input_tags = theirs.input_tags
        tags.input_tags.pairwise = False
        tags.target_tags = theirs.target_tags
        tags.target_tags.multi_output, tags.target_tags.single_output = False, True
        tags.target_tags.required = True
        return self._follow_preprocessor(tags)
