"""Reading of the rows of a fit: from the user's input to a `TransferProblem`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets

from .._compat import check_columns, take_rows
from .._validation import check_features, check_table, check_target_magnitude, check_weights
from ..adaptation.base import SourceRows, TransferProblem
from ..tasks.columns import as_table, check_names, frame_library
from ..tasks.features import make_preprocessor
from ..tasks.splits import read_splits, refuse_empty
from ..tasks.stack import stack_rows
from ..tasks.targets import check_classes, check_numbers
from .source import REMEDY, check_kind

__all__ = ["ProblemReader", "Steps", "read_table"]

_INSIDE = (
    "Rows that are preprocessed outside differ from the source's: preprocess inside, with "
    "preprocessor= or a Pipeline as estimator=."
)
# Such tools pass an encoded y to fit, while the labels of a source stay as they are.
_ENCODED = (
    " (StackingClassifier, VotingClassifier and cross_val_predict of probabilities replace y by "
    "0, 1, ...: pass y and the source's labels as such integers.)"
)


# ------------------------------------------------------------------------- columns and labels


def match_columns(handle, X, names, parameter):
    """Return the rows of a handle as a table with the columns of `X`, in their order.

    Parameters
    ----------
    handle : Source or Unlabeled
    X : table
        The target's.
    names : list or None
        The column names of `X`.
    parameter : str
        The parameter that holds the handle, for errors.

    Raises
    ------
    ValueError
        If the columns differ, or only one of the tables has column names. Columns are not matched
        by position alone then, because `X` may be the output of a preprocessing step that has not
        been applied to the source.
    """
    source_names = handle.feature_names
    if source_names is not None and names is not None:
        return _match_names(handle, source_names, X, names, parameter)
    if handle.n_features != X.shape[1]:
        raise ValueError(
            f"{parameter} has {handle.n_features} features, but X has {X.shape[1]}; they must have "
            f"the same columns. {_INSIDE}"
        )
    if names is not None:
        raise ValueError(
            f"X is a data frame, but {parameter} has no column names; make the {parameter} from a "
            "data frame too, so that columns can be matched."
        )
    if source_names is not None:
        raise ValueError(
            f"{parameter} is a data frame with columns such as {source_names[0]!r}, but X has no "
            "column names: a step before TransferEstimator, such as a scaler in a Pipeline, has "
            f"converted X to an array, without the rows of {parameter}. Move such steps inside, as "
            "preprocessor= or as a Pipeline in estimator=. If X is an array from the beginning, "
            f"and both have the same columns in the same order, pass "
            f"{type(handle).__name__}(X.to_numpy(), ...)."
        )
    return handle.X


def _match_names(handle, source_names, X, names, parameter):
    if set(source_names) != set(names):
        missing = [name for name in names if name not in source_names]
        unknown = [name for name in source_names if name not in names]
        differences = [f"lacks {missing[:10]}"] * bool(missing)
        differences += [f"has {unknown[:10]}, which X does not have"] * bool(unknown)
        raise ValueError(
            f"{parameter} and X must have the same columns, but {parameter} "
            f"{' and '.join(differences)}. {_INSIDE}"
        )
    libraries = frame_library(handle.X), frame_library(X)
    if libraries[0] != libraries[1]:
        raise ValueError(
            f"{parameter} is a data frame of {libraries[0]}, but X one of {libraries[1]}; pass "
            "both as frames of one library."
        )
    return handle.X if source_names == names else handle.X[names]


def _kind(y):
    return {"b": "boolean", "i": "number", "u": "number", "f": "number"}.get(y.dtype.kind, "string")


def labels_of_source(source, y, classifier):
    """Return the source's labels in the type of the target's, and the classes of both (or None).

    Parameters
    ----------
    source : Source
    y : ndarray of shape (n_rows,) or None
        The target's labels.
    classifier : bool

    Raises
    ------
    ValueError
        If the labels of source and target are of different kinds.
    """
    if classifier:
        if source.y.dtype.kind == "f":
            try:
                check_classification_targets(source.y)
            except ValueError as error:
                raise ValueError(f"source: {error}") from None
        target_classes = source.distinct()[:0] if y is None else np.unique(y)
        dtype = _common_type(source.distinct(), target_classes)
        classes = np.unique(np.concatenate([source.distinct().astype(dtype), target_classes]))
        return source.y.astype(dtype, copy=False), classes
    if _kind(source.y) == "string":
        raise ValueError(
            f"source has labels such as {source.y[:1].tolist()[0]!r}, but the estimator is a "
            "regressor and needs numbers; pass numbers as y of the source, or a classifier as "
            "estimator=."
        )
    labels = source.y.astype(np.float64, copy=False)
    check_target_magnitude(labels, "source: y")
    return labels, None


def _common_type(of_source, of_target):
    """Return the type of the source's labels, given the distinct labels of source and target."""
    if not len(of_target):
        return of_source.dtype
    kinds = _kind(of_source), _kind(of_target)
    if set(kinds) == {"boolean", "number"} and (
        np.isin(of_target if kinds[1] == "number" else of_source, (0, 1)).all()  # True == 1
    ):
        return of_target.dtype
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"source has {kinds[0]} labels such as {of_source[:1].tolist()[0]!r}, but y has "
            f"{kinds[1]} labels such as {of_target[:1].tolist()[0]!r}; a class must have the same "
            f"label in both.{_ENCODED}"
        )
    if kinds[0] == "number":
        _warn_of_codes(of_source, of_target)
        return of_target.dtype if of_source.dtype.kind == "f" else of_source.dtype
    return of_source.dtype


def _warn_of_codes(of_source, of_target):
    """Warn if y looks encoded as 0, 1, ... but the source's classes do not."""
    is_encoded = np.array_equal(of_target, np.arange(len(of_target)))
    if is_encoded and len(of_source) >= len(of_target) and not np.isin(of_target, of_source).all():
        warnings.warn(
            f"y has the classes {of_target.tolist()[:5]}, the source {of_source.tolist()[:5]}: "
            f"check that equal labels mean the same class.{_ENCODED}",
            UserWarning,
            stacklevel=7,
        )


# ------------------------------------------------------------------------------ preparing steps


@dataclass(frozen=True)
class Steps:
    """The unfitted parts of an estimator.

    Attributes
    ----------
    preparing : list of (name, transformer)
        All but the last step of a Pipeline; empty for any other estimator.
    name : str
        The name of the last step; of the innermost one if the last step is itself a Pipeline.
    last : estimator
        The last step, or the estimator itself.
    pipeline : Pipeline or None
        The estimator, if it is one.
    """

    preparing: list
    name: str
    last: object
    pipeline: Pipeline | None

    @classmethod
    def of(cls, estimator):
        """Return the parts of a clone of the estimator."""
        estimator = clone(estimator)
        if not isinstance(estimator, Pipeline):
            return cls([], type(estimator).__name__.lower(), estimator, None)
        name, last = estimator.steps[-1]
        preparing = estimator.steps[:-1]
        while isinstance(last, Pipeline):  # its first steps become one step
            if len(last.steps) > 1:
                preparing.append((f"{name}_steps", last[:-1]))
            name, last = last.steps[-1]
        return cls(preparing, name, last, estimator)

    def preparing_pipeline(self, preprocessor, X):
        """Return the unfitted Pipeline of the preparing steps, or None if there are none."""
        steps = list(self.preparing)
        if preprocessor is not None:
            taken = {self.name, *(name for name, _ in steps)}
            name = "preprocessor" if "preprocessor" not in taken else "outer_preprocessor"
            first = make_preprocessor(preprocessor, X)
            if isinstance(preprocessor, str):  # "auto" does not scale numbers
                scaler = StandardScaler(with_mean=not sparse.issparse(X))
                first = Pipeline([("encode", first), ("scale", scaler)])
            steps.insert(0, (name, first))
        if not steps:
            return None
        return Pipeline(steps, memory=None if self.pipeline is None else self.pipeline.memory)

    def fitted(self, preparing, predictor):
        """Return the fitted model: a Pipeline of the fitted steps, or the predictor alone."""
        if preparing is None and self.pipeline is None:
            return predictor
        return Pipeline([*([] if preparing is None else preparing.steps), (self.name, predictor)])


# ----------------------------------------------------------------------------------- splits


def make_splits(cv, X, y, used, classifier, seed):
    """Return splits of the target's rows of positive weight.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        None means 5. There are at most as many folds as rows, and none for a single row.
    X, y
        All rows passed to fit.
    used : ndarray of shape (n_used,)
        Positions of the rows of positive weight, ascending.
    classifier : bool
    seed : int

    Returns
    -------
    sequence of (train, test)
        Positions among the rows used. If `cv` is a number, they are computed at the first access.

    Raises
    ------
    ValueError
        For splits that `read_splits` refuses, and splits without training or test rows.
    """
    if cv is None or isinstance(cv, (int, np.integer)):
        return _Folds(5 if cv is None else int(cv), y[used], classifier, seed)
    position = np.full(len(y), -1)
    position[used] = np.arange(len(used))
    splits = []
    for k, split in enumerate(read_splits(cv, X, y, n_samples=len(y))):
        train, test = (position[rows] for rows in split)
        train, test = train[train >= 0], test[test >= 0]
        refuse_empty(train, test, k)
        splits.append((train, test))
    return splits


class _Folds(Sequence):
    """Shuffled folds, computed at the first access, since not all adaptations use them."""

    def __init__(self, *arguments):
        self._arguments = arguments

    @cached_property
    def _splits(self):
        return _deal(*self._arguments)

    def __len__(self):
        return len(self._splits)

    def __getitem__(self, k):
        return self._splits[k]


def _deal(n_folds, y, classifier, seed):
    n_folds = min(n_folds, len(y))
    if n_folds < 2:
        return []
    splitter = KFold
    if classifier:
        largest = np.unique(y, return_counts=True)[1].max()
        if largest > 1:
            splitter, n_folds = StratifiedKFold, min(n_folds, largest)
    with warnings.catch_warnings():  # a rare class of the target may be frequent in the sources
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(splitter(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))


# ------------------------------------------------------------------------------------ one fit


def read_table(estimator, X, dates):
    """Return the user's table, checked; `dates`: whether a step may convert dates to numbers."""
    X = as_table(X)
    check_kind(X, type(estimator).__name__, dates=dates)
    return check_table(estimator, X)


class ProblemReader:
    """The rows of one fit: those of target and source, and target rows without labels.

    `problem` reads and checks them, matches their columns to the target's, fits the preparing
    steps, and converts tables to numbers if the adaptation needs these.

    Parameters
    ----------
    estimator : TransferEstimator
        Its parameters hold the source and the rows without labels.
    steps : Steps
        The parts of its estimator.
    adaptation : Adaptation
    seed : int
        Seed of the folds.

    Attributes
    ----------
    target, source, unlabeled : table or None
        The rows, replaced at each stage of `problem`.
    names : list or None
        Column names of the target.
    rows : table
        The target's rows of positive weight, as read.
    y, weight, splits
        As in `TransferProblem`.
    y_source : ndarray of shape (n_source_rows,) or None
    classes : ndarray of shape (n_classes,) or None
        Classes of source and target together.
    preparing : Pipeline or None
        The fitted preparing steps.
    prepared : table
        The target's rows after the preparing steps, before the conversion to numbers.
    has_steps : bool
        Whether a step may convert columns to numbers.
    """

    def __init__(self, estimator, steps, adaptation, seed):
        self.estimator, self.steps, self.adaptation, self.seed = estimator, steps, adaptation, seed
        self.classifier = is_classifier(estimator)
        self.has_steps = steps.pipeline is not None or estimator.preprocessor is not None
        self.y_source = self.source = self.unlabeled = self.preparing = None

    def problem(self, X, y, sample_weight):
        """Read and prepare all rows; return the `TransferProblem`."""
        self._read_target(X, y, sample_weight)
        self._read_source()
        if self.estimator.unlabeled is not None and self.adaptation.uses_unlabeled:
            self.unlabeled = self._match(self.estimator.unlabeled, "unlabeled")
        self._prepare()
        self._convert_to_numbers()
        if self.y is None:
            tables = [self.target] if self.unlabeled is None else [self.target, self.unlabeled]
            self.unlabeled, self.target = stack_rows(tables), take_rows(self.target, slice(0, 0))
        return TransferProblem(
            self.target, self.y, self.weight, self._by_source(), self.unlabeled, self.steps.last,
            self.classifier, self.classes, self.splits, self.estimator.n_jobs,
        )  # fmt: skip

    def fitted(self, predictor):
        """Return the model to deploy: the fitted steps, and the predictor fitted on their rows."""
        if self.prepared is not self.target and not self.adaptation.needs_numbers:
            check_columns(predictor, self.prepared, reset=True)  # it was fitted on their numbers
        return self.steps.fitted(self.preparing, predictor)

    def _read_target(self, X, y, sample_weight):
        """Read the target's rows of positive weight: table, labels, weights, splits."""
        X = read_table(self.estimator, X, self.has_steps)
        self.names = check_names(X)
        weight = check_weights(sample_weight, X.shape[0])
        splits = []
        if y is None and weight is not None:
            raise ValueError(
                "sample_weight was given without y; only labelled rows have weights: pass y, or "
                "leave out sample_weight."
            )
        if y is not None:
            y = check_classes(y) if self.classifier else check_numbers(y)
            if not self.classifier:
                check_target_magnitude(y)
            check_consistent_length(X, y)
            used = np.arange(len(y)) if weight is None else np.flatnonzero(weight)
            splits = make_splits(self.estimator.cv, X, y, used, self.classifier, self.seed)
            if len(used) < len(y):
                X, y, weight = take_rows(X, used), y[used], weight[used]
        self.target = self.rows = X
        self.y, self.weight, self.splits = y, weight, splits

    def _read_source(self):
        """Read the source's table and labels, and the classes of source and target."""
        source = self.estimator.source
        if source is None:
            self.classes = np.unique(self.y) if self.classifier else None
            return
        self.source = self._match(source, "source")
        self.y_source, self.classes = labels_of_source(source, self.y, self.classifier)

    def _match(self, handle, parameter):
        check_kind(handle.X, parameter, dates=self.has_steps)
        return match_columns(handle, self.target, self.names, parameter)

    def _prepare(self):
        """Fit the preparing steps on source and target rows together, and transform all rows."""
        preparing = self.steps.preparing_pipeline(self.estimator.preprocessor, self.target)
        if preparing is None:
            return
        labels, rows = self.y, self.target
        if self.source is not None:
            rows = stack_rows([self.source, self.target])
            labels = None if labels is None else np.concatenate([self.y_source, labels])
        Z = preparing.fit_transform(rows, labels)
        check_consistent_length(rows, Z)
        if self.unlabeled is not None:
            self.unlabeled = preparing.transform(self.unlabeled)
        if self.source is not None:
            n = self.source.shape[0]
            self.source, Z = take_rows(Z, slice(0, n)), take_rows(Z, slice(n, None))
        self.target, self.preparing = Z, preparing

    def _convert_to_numbers(self):
        """Convert all tables to finite numbers if the adaptation needs these."""
        self.prepared = self.target
        if not self.adaptation.reads_numbers(self.steps.last):
            return
        self.source = self._numbers(self.source, self.estimator.source)
        self.unlabeled = self._numbers(self.unlabeled, self.estimator.unlabeled)
        self.target = check_features(self.estimator, self.target, REMEDY)
        if self.preparing is None and self.adaptation.needs_numbers and self.names is not None:
            # This step checks the column names of data frames in predict.
            checker = FunctionTransformer(validate=True, accept_sparse=True).fit(self.prepared)
            self.preparing = Pipeline([("columns", checker)])

    def _numbers(self, table, handle):
        """Return a table as numbers; a handle keeps those of its own table."""
        if handle is not None and table is handle.X:
            return handle.numbers()
        return None if table is None else check_features(self.estimator, table, REMEDY)

    def _by_source(self):
        """Return the prepared rows and labels of each source."""
        source, X, y = self.estimator.source, self.source, self.y_source
        if source is None:
            return ()
        labels, weight = source.labels.tolist(), source.sample_weight
        if len(labels) == 1:
            return (SourceRows(X, y, weight, labels[0]),)
        parts = [slice(*bounds) for bounds in pairwise(source.offsets.tolist())]
        return tuple(
            SourceRows(take_rows(X, part), y[part], None if weight is None else weight[part], label)
            for label, part in zip(labels, parts, strict=True)
        )
