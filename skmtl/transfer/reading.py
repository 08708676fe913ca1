"""Read the rows of a fit: from what the user gave to a `TransferProblem`."""

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

__all__ = ["Reading", "Steps", "read_table"]

_INSIDE = (
    "Rows that are preprocessed outside differ from the source's: preprocess inside, with "
    "preprocessor= or a Pipeline as estimator=."
)
# Tools such as these hand an encoded y to fit; the labels of a source stay as they are.
_ENCODED = (
    " (StackingClassifier, VotingClassifier and cross_val_predict of probabilities replace y by "
    "0, 1, ...: give y and the source's labels as such integers.)"
)


# ------------------------------------------------------------------------- columns and labels


def match_columns(handle, X, ours, name):
    """Return the rows of a handle as a table with the columns of `X`, in their order.

    Parameters
    ----------
    handle : Source or Unlabeled
    X : table
        The target's.
    ours : list or None
        The column names of `X`.
    name : str
        What the errors call the handle: the parameter.

    Raises
    ------
    ValueError
        For other columns, or names where the other has none: by position alone, rows that were
        preprocessed outside would pass for such as the source's.
    """
    theirs = handle.feature_names
    if theirs is not None and ours is not None:
        return _match_names(handle, theirs, X, ours, name)
    if handle.n_features != X.shape[1]:
        raise ValueError(
            f"{name} has {handle.n_features} features, but X has {X.shape[1]}; they must be the "
            f"same columns. {_INSIDE}"
        )
    if ours is not None:
        raise ValueError(
            f"X is a data frame, but {name} has no column names; make the {name} of a data frame "
            "too, so that it is known which column is which."
        )
    if theirs is not None:
        made = f"{type(handle).__name__}(X.to_numpy(), ...)"
        raise ValueError(
            f"{name} is a data frame with columns such as {theirs[0]!r}, but X has no column "
            "names: a step before TransferEstimator, such as a scaler in a Pipeline, has made an "
            f"array of X, and did not see the rows of {name}. Put such steps inside, as "
            "preprocessor= or as a Pipeline in estimator=. Where X is an array from the "
            f"beginning, and both have the same columns in the same order, give {made}."
        )
    return handle.X


def _match_names(handle, theirs, X, ours, name):
    if theirs != ours:
        missing = [c for c in ours if c not in theirs]
        unknown = [c for c in theirs if c not in ours]
        if missing or unknown:
            said = [f"lacks {missing[:10]}"] * bool(missing)
            said += [f"has {unknown[:10]}, which X has not"] * bool(unknown)
            raise ValueError(
                f"{name} and X must have the same columns, but {name} {' and '.join(said)}. "
                f"{_INSIDE}"
            )
    libraries = frame_library(handle.X), frame_library(X)
    if libraries[0] != libraries[1]:
        raise ValueError(
            f"{name} is a data frame of {libraries[0]}, but X one of {libraries[1]}; give both "
            "as frames of one library."
        )
    return handle.X if theirs == ours else handle.X[ours]


def _kind(y):
    return {"b": "boolean", "i": "number", "u": "number", "f": "number"}.get(y.dtype.kind, "string")


def read_labels(y, classifier):
    """Return the target's labels in one dimension: numbers, or class labels."""
    if classifier:
        return check_classes(y)
    y = check_numbers(y)
    check_target_magnitude(y)
    return y


def labels_of_source(source, y, classifier):
    """Return the source's labels in the type of the target's, and the classes of both (or None).

    Parameters
    ----------
    source : Source
    y : ndarray of shape (n_rows,) or None
        The target's; None where it has none.
    classifier : bool

    Raises
    ------
    ValueError
        Where they are of another kind.
    """
    if classifier:
        if source.y.dtype.kind == "f":
            try:
                check_classification_targets(source.y)
            except ValueError as error:
                raise ValueError(f"source: {error}") from None
        ours = source.distinct()[:0] if y is None else np.unique(y)
        dtype = _common_type(source.distinct(), ours)
        classes = np.unique(np.concatenate([source.distinct().astype(dtype), ours]))
        return source.y.astype(dtype, copy=False), classes
    if _kind(source.y) == "string":
        raise ValueError(
            f"source has labels such as {source.y[:1].tolist()[0]!r}, but the estimator is a "
            "regressor and needs numbers."
        )
    labels = source.y.astype(np.float64, copy=False)
    check_target_magnitude(labels, "source: y")
    return labels, None


def _common_type(theirs, ours):
    """Return the type of the source's labels, given the distinct labels of source and target."""
    if not len(ours):
        return theirs.dtype
    kinds = _kind(theirs), _kind(ours)
    if set(kinds) == {"boolean", "number"} and (
        np.isin(ours if kinds[1] == "number" else theirs, (0, 1)).all()  # True == 1
    ):
        return ours.dtype
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"source has {kinds[0]} labels such as {theirs[:1].tolist()[0]!r}, but y has "
            f"{kinds[1]} labels such as {ours[:1].tolist()[0]!r}; a class must be written alike "
            f"in both.{_ENCODED}"
        )
    if kinds[0] == "number":
        _warn_of_codes(theirs, ours)
        return ours.dtype if theirs.dtype.kind == "f" else theirs.dtype
    return theirs.dtype


def _warn_of_codes(theirs, ours):
    """Warn where y looks encoded as 0, 1, ... but the source's classes do not."""
    codes = np.array_equal(ours, np.arange(len(ours)))
    if codes and len(theirs) >= len(ours) and not np.isin(ours, theirs).all():
        warnings.warn(
            f"y has the classes {ours.tolist()[:5]}, the source {theirs.tolist()[:5]}: do they "
            f"mean the same?{_ENCODED}",
            UserWarning,
            stacklevel=7,
        )


# ------------------------------------------------------------------------------ preparing steps


@dataclass(frozen=True)
class Steps:
    """The unfitted parts of an estimator.

    Attributes
    ----------
    front : list of (name, transformer)
        All but the last step of a Pipeline; empty for any other estimator.
    name : str
        Of the last step; of the innermost, where the last step is a Pipeline itself.
    last : estimator
        The last step, or the estimator itself.
    pipeline : Pipeline or None
        The estimator, if it is one.
    """

    front: list
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
        front = estimator.steps[:-1]
        while isinstance(last, Pipeline):  # its first steps are a step of their own
            if len(last.steps) > 1:
                front.append((f"{name}_steps", last[:-1]))
            name, last = last.steps[-1]
        return cls(front, name, last, estimator)

    def to_fit(self, preprocessor, X):
        """Return the unfitted Pipeline of the preparing steps, or None where there are none."""
        steps = list(self.front)
        if preprocessor is not None:
            taken = {name for name, _ in steps} | {self.name}
            own = "preprocessor" if "preprocessor" not in taken else "outer_preprocessor"
            first = make_preprocessor(preprocessor, X)
            if isinstance(preprocessor, str):  # "auto" leaves numbers in their units
                scaler = StandardScaler(with_mean=not sparse.issparse(X))
                first = Pipeline([("encode", first), ("scale", scaler)])
            steps.insert(0, (own, first))
        if not steps:
            return None
        return Pipeline(steps, memory=None if self.pipeline is None else self.pipeline.memory)

    def deploy(self, front, predictor):
        """Return the fitted model: the Pipeline of fitted steps, or the predictor alone."""
        if front is None and self.pipeline is None:
            return predictor
        steps = [] if front is None else list(front.steps)
        return Pipeline([*steps, (self.name, predictor)])


# ----------------------------------------------------------------------------------- splits


def make_splits(cv, X, y, live, classifier, seed):
    """Return splits of the target's rows of positive weight.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        None is 5. A number of folds is reduced to that of rows, and to none where there is one.
    X, y
        All rows given.
    live : ndarray of shape (n_used,)
        Positions of the rows of positive weight, ascending.
    classifier : bool
    seed : int

    Returns
    -------
    sequence of (train, test)
        Positions among the rows used. Where `cv` is a number, they are made at the first access.

    Raises
    ------
    ValueError
        For what `read_splits` refuses, and splits without training or test rows.
    """
    if cv is None or isinstance(cv, (int, np.integer)):
        return _Folds(5 if cv is None else int(cv), y[live], classifier, seed)
    place = np.full(len(y), -1)
    place[live] = np.arange(len(live))
    splits = []
    for k, split in enumerate(read_splits(cv, X, y, n_samples=len(y))):
        train, test = (place[rows] for rows in split)
        train, test = train[train >= 0], test[test >= 0]
        refuse_empty(train, test, k)
        splits.append((train, test))
    return splits


class _Folds(Sequence):
    """Shuffled folds, made at the first access: not all adaptations use them."""

    def __init__(self, *given):
        self._given = given

    @cached_property
    def _splits(self):
        return _deal(*self._given)

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
    """Return the caller's table, checked; `dates`: a step may make numbers of dates."""
    X = as_table(X)
    check_kind(X, type(estimator).__name__, dates=dates)
    return check_table(estimator, X)


class Reading:
    """The rows of one fit: those of target and source, and target rows without labels.

    `problem` reads and checks them, brings them to the target's columns, fits the preparing
    steps, and makes numbers of them where the adaptation needs these.

    Parameters
    ----------
    face : TransferEstimator
        Its parameters say where the rows are.
    steps : Steps
        The parts of its estimator.
    adaptation : Adaptation
    seed : int
        Of the folds.

    Attributes
    ----------
    target, source, unlabeled : table or None
        The rows, replaced at each stage of `problem`.
    names : list or None
        Column names of the target.
    y, weight, splits
        As in `TransferProblem`.
    y_source : ndarray of shape (n_source_rows,) or None
    classes : ndarray of shape (n_classes,) or None
        Of source and target together.
    front : Pipeline or None
        The fitted preparing steps.
    prepared : table
        The target's rows after the preparing steps, before numbers were made of them.
    has_steps : bool
        Whether a step makes numbers of the columns.
    """

    def __init__(self, face, steps, adaptation, seed):
        self.face, self.steps, self.adaptation, self.seed = face, steps, adaptation, seed
        self.classifier = is_classifier(face)
        self.has_steps = steps.pipeline is not None or face.preprocessor is not None
        self.y_source = self.source = self.unlabeled = self.front = None

    def problem(self, X, y, sample_weight):
        """Read and prepare all rows; return the `TransferProblem`."""
        self._read_target(X, y, sample_weight)
        self._read_source()
        if self.face.unlabeled is not None and self.adaptation.uses_unlabeled:
            self.unlabeled = self._match(self.face.unlabeled, "unlabeled")
        self._prepare()
        self._make_numbers()
        if self.y is None:
            tables = [self.target] if self.unlabeled is None else [self.target, self.unlabeled]
            self.unlabeled, self.target = stack_rows(tables), take_rows(self.target, slice(0, 0))
        return TransferProblem(
            self.target, self.y, self.weight, self._by_source(), self.unlabeled, self.steps.last,
            self.classifier, self.classes, self.splits, self.face.n_jobs,
        )  # fmt: skip

    def deploy(self, predictor):
        """Return the model to deploy: the fitted steps, and the predictor fitted on their rows."""
        if self.prepared is not self.target and not self.adaptation.needs_numbers:
            check_columns(predictor, self.prepared, reset=True)  # it was fitted on their numbers
        return self.steps.deploy(self.front, predictor)

    def _read_target(self, X, y, sample_weight):
        """Read the target's rows of positive weight: table, labels, weights, splits."""
        X = read_table(self.face, X, self.has_steps)
        self.names = check_names(X)
        weight = check_weights(sample_weight, X.shape[0])
        splits = []
        if y is None and weight is not None:
            raise ValueError("sample_weight was given without y; only labelled rows have one.")
        if y is not None:
            y = read_labels(y, self.classifier)
            check_consistent_length(X, y)
            live = np.arange(len(y)) if weight is None else np.flatnonzero(weight)
            splits = make_splits(self.face.cv, X, y, live, self.classifier, self.seed)
            if len(live) < len(y):
                X, y, weight = take_rows(X, live), y[live], weight[live]
        self.target, self.y, self.weight, self.splits = X, y, weight, splits

    def _read_source(self):
        """Read the source's table and labels, and the classes of both."""
        source = self.face.source
        if source is None:
            self.classes = np.unique(self.y) if self.classifier else None
            return
        self.source = self._match(source, "source")
        self.y_source, self.classes = labels_of_source(source, self.y, self.classifier)

    def _match(self, handle, name):
        check_kind(handle.X, name, dates=self.has_steps)
        return match_columns(handle, self.target, self.names, name)

    def _prepare(self):
        """Fit the preparing steps on source and target rows alike, and transform all rows."""
        front = self.steps.to_fit(self.face.preprocessor, self.target)
        if front is None:
            return
        labels, rows = self.y, self.target
        if self.source is not None:
            rows = stack_rows([self.source, self.target])
            labels = None if labels is None else np.concatenate([self.y_source, labels])
        Z = front.fit_transform(rows, labels)
        check_consistent_length(rows, Z)
        if self.unlabeled is not None:
            self.unlabeled = front.transform(self.unlabeled)
        if self.source is not None:
            n = self.source.shape[0]
            self.source, Z = take_rows(Z, slice(0, n)), take_rows(Z, slice(n, None))
        self.target, self.front = Z, front

    def _make_numbers(self):
        """Make finite numbers of all tables, where the adaptation needs these."""
        self.prepared = self.target
        if not self.adaptation.reads_numbers(self.steps.last):
            return
        self.source = self._numbers(self.source, self.face.source)
        self.unlabeled = self._numbers(self.unlabeled, self.face.unlabeled)
        self.target = self._numbers(self.target)
        if self.front is None and self.adaptation.needs_numbers and self.names is not None:
            checker = FunctionTransformer(validate=True, accept_sparse=True).fit(self.prepared)
            self.front = Pipeline([("columns", checker)])  # of the names of later frames

    def _numbers(self, table, handle=None):
        """Return a table as numbers; a handle keeps those of its own table."""
        if handle is not None and table is handle.X:
            return handle.numbers()
        return None if table is None else check_features(self.face, table, REMEDY)

    def _by_source(self):
        """Return the prepared rows and labels of each source."""
        source, X, y = self.face.source, self.source, self.y_source
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
