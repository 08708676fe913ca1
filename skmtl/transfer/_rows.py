"""From what the user gave to a `TransferProblem`: checks, labels, preparing steps, splits."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets

from .._compat import take_rows
from .._validation import check_target_magnitude
from ..adaptation.base import SourceRows
from ..tasks.columns import column_names, frame_library
from ..tasks.features import make_preprocessor
from ..tasks.splits import read_splits, refuse_empty
from ..tasks.stack import stack_rows
from ..tasks.targets import check_classes, check_numbers

__all__ = ["Prepared", "Steps", "labels_of_source", "make_splits", "match_columns", "prepare"]

_INSIDE = (
    "Rows that are preprocessed outside differ from the source's: preprocess inside, with "
    "preprocessor= or a Pipeline as estimator=."
)
# Tools hand an encoded y to fit, of which a source knows nothing.
_ENCODED = (
    " (StackingClassifier, VotingClassifier and cross_val_predict of probabilities replace y by "
    "0, 1, ...: give y and the source's labels as such integers.)"
)


# ------------------------------------------------------------------------- columns and labels


def match_columns(handle, X, name):
    """The rows of a handle as a table with the columns of `X`, in their order.

    Parameters
    ----------
    handle : Source or Unlabeled
    X : table
        The target's.
    name : str
        Of the parameter, for the errors.

    Raises
    ------
    ValueError
        For other columns, or names where the other has none: by position alone, rows that were
        preprocessed outside would pass for such as the source's.
    """
    theirs, ours = handle.feature_names, column_names(X)
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
    """The target's labels in one dimension: numbers, or class labels."""
    if classifier:
        return check_classes(y)
    y = check_numbers(y)
    check_target_magnitude(y)
    return y


def labels_of_source(source, y, classifier):
    """The source's labels, as labels of the target's kind, and the classes of both (or None).

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
    """The type that the source's labels take, given the distinct labels of source and target."""
    if not len(ours):
        return theirs.dtype
    kinds = _kind(theirs), _kind(ours)
    if set(kinds) == {"boolean", "number"}:
        if np.isin(ours if kinds[1] == "number" else theirs, (0, 1)).all():  # True == 1
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
    """A tool that encodes y as 0, 1, ... does not encode the source's classes."""
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
        """Take a clone of the estimator apart."""
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
        """The unfitted Pipeline of all that prepares rows, None where nothing does."""
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
        """The fitted model: the Pipeline of fitted steps, or the predictor alone."""
        if front is None and self.pipeline is None:
            return predictor
        steps = [] if front is None else list(front.steps)
        return Pipeline([*steps, (self.name, predictor)])


@dataclass(frozen=True)
class Prepared:
    """Tables as the last step is to see them, and the fitted steps that made them (or None)."""

    source: object
    target: object
    unlabeled: object
    front: Pipeline | None


def prepare(front, source, X, unlabeled, labels):
    """Fit the steps of `front` on source and target rows alike, and prepare all rows.

    Parameters
    ----------
    front : Pipeline
        Unfitted.
    source : table or None
    X : table
        The target's.
    unlabeled : table or None
        Only transformed.
    labels : ndarray or None
        Of source and target rows, in this order; None: of neither.
    """
    tables = [X] if source is None else [source, X]
    n_source_rows = 0 if source is None else source.shape[0]
    stacked = stack_rows(tables)
    Z = front.fit_transform(stacked, labels)
    check_consistent_length(stacked, Z)
    unlabeled = None if unlabeled is None else front.transform(unlabeled)
    if source is None:
        return Prepared(None, Z, unlabeled, front)
    source, target = take_slice(Z, 0, n_source_rows), take_slice(Z, n_source_rows, None)
    return Prepared(source, target, unlabeled, front)


def column_checker(X):
    """A fitted step that checks a frame's columns and makes an array of them."""
    return Pipeline([("columns", FunctionTransformer(validate=True, accept_sparse=True).fit(X))])


def take_slice(X, start, stop):
    """Rows from `start` to `stop`: a view, where the table can have one."""
    return X[start:stop] if column_names(X) is None else take_rows(X, slice(start, stop))


def source_rows(source, X, y):
    """The prepared rows and labels of a `Source` (or None), by source."""
    if source is None:
        return ()
    bounds = list(zip(source.offsets[:-1].tolist(), source.offsets[1:].tolist(), strict=True))
    weight = source.sample_weight
    if len(bounds) == 1:
        return (SourceRows(X, y, weight, source.labels.tolist()[0]),)
    return tuple(
        SourceRows(
            take_slice(X, a, b), y[a:b], None if weight is None else weight[a:b], label
        )
        for label, (a, b) in zip(source.labels.tolist(), bounds, strict=True)
    )  # fmt: skip


# ----------------------------------------------------------------------------------- splits


def make_splits(cv, X, y, live, classifier, seed):
    """Splits of the target's rows that are used.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        None is 5. A number of folds is reduced to that of rows, and to none where there is one.
    X, y
        All rows that the user gave.
    live : ndarray of shape (n_used,)
        Those of positive weight, ascending.
    classifier : bool
    seed : int

    Returns
    -------
    sequence of (train, test)
        Positions among the rows used. Folds that are but a number are dealt when first asked for.

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
    """Shuffled folds, dealt when they are first asked for: not all adaptations do."""

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
    with warnings.catch_warnings():  # rare classes are the user's lot, and sources have them too
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(splitter(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))
