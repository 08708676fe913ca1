"""The interface of all adaptations, and what they share: fits of the estimator, and checks."""

import inspect
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

from .._compat import take_rows
from .normal_equations import fit_ridge

__all__ = [
    "Adaptation", "AdaptationResult", "ProgressFunction", "SourceRows", "TransferProblem",
    "boolean", "choice", "enough_classes", "fit_rows", "fit_target", "is_auto", "number",
    "require_two_classes", "splits_with_classes", "takes_weights",
]  # fmt: skip

ProgressFunction: TypeAlias = Callable[[str], object]


class _LabeledRows:
    """Rows with labels `y`, and `weight` or None."""

    @property
    def row_weight(self):
        """`weight`, or ones."""
        return np.ones(len(self.y)) if self.weight is None else self.weight

    @property
    def total_weight(self):
        """Sum of the weights, or number of rows."""
        return float(len(self.y) if self.weight is None else self.weight.sum())


@dataclass(frozen=True, eq=False)
class SourceRows(_LabeledRows):
    """Labelled rows of one source, or a selection of the target's.

    Attributes
    ----------
    X : {ndarray, csr matrix, data frame} of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
        Positive; None: all rows count once.
    label : str, int, bool or None
        The user's name of the source; None for target rows.
    """

    X: Any
    y: Any
    weight: np.ndarray | None
    label: Any


@dataclass(frozen=True, eq=False)
class TransferProblem(_LabeledRows):
    """The data of a transfer problem, which an adaptation must not modify.

    Attributes
    ----------
    X : {ndarray, csr matrix, data frame} of shape (n_rows, n_features)
        Target rows, as passed to the estimator. Finite float64 numbers (C-ordered, or CSR) if the
        adaptation has `needs_numbers`; otherwise the table as given by the user or by the
        preparing steps. All tables of a problem are of one kind.
    y : ndarray of shape (n_rows,) or None
        Numbers (float64), or class labels as given by the user. None: no labels.
    weight : ndarray of shape (n_rows,) or None
        Positive; None: all rows count once.
    sources : tuple of SourceRows
        At least one.
    unlabeled : table or None
        Target rows without labels.
    estimator : estimator
        Unfitted, to be cloned.
    classifier : bool
    classes : ndarray of shape (n_classes,) or None
        The sorted classes of sources and target together; None for a regressor.
    splits : sequence of (train, test)
        Indices of target rows, for tuning. Empty if there are too few rows.
    n_jobs : int or None
        For joblib.
    """

    X: Any
    y: Any
    weight: np.ndarray | None
    sources: tuple
    unlabeled: Any
    estimator: Any
    classifier: bool
    classes: Any = None
    splits: Sequence = field(default_factory=list)
    n_jobs: int | None = None

    @property
    def all_rows(self):
        """Indices of all target rows."""
        return np.arange(len(self.y))

    def take(self, index):
        """Return the target rows at `index` as `SourceRows`."""
        weight = None if self.weight is None else self.weight[index]
        return SourceRows(take_rows(self.X, index), self.y[index], weight, None)


@dataclass(frozen=True, eq=False)
class AdaptationResult:
    """Result of an adaptation.

    Attributes
    ----------
    predictor : estimator
        A fitted estimator with predict (and predict_proba, classes_) for tables such as the
        problem's. It keeps neither source nor target rows.
    source_weights : ndarray of shape (n_sources,)
        The weight of a row of each source relative to a target row; zero: not used.
    report : dict of arrays
        One entry per source, in addition to those that the estimator adds (labels, numbers of
        rows).
    history : dict of arrays
        One entry per step or candidate.
    """

    predictor: Any
    source_weights: np.ndarray
    report: dict = field(default_factory=dict)
    history: dict = field(default_factory=dict)


class Adaptation(BaseEstimator):
    """Base class of the adaptations.

    Class attributes declare the requirements, which `TransferEstimator` checks before it reads any
    rows.

    Attributes
    ----------
    needs_labels : bool
        Target rows must have labels. False: ``fit(X)`` without y is allowed.
    needs_unlabeled, uses_unlabeled : bool
        Target rows without labels are required, or used if given (``fit(X)`` without y gives such
        rows). An adaptation that requires them sets both.
    needs_weights : bool
        The estimator must support ``sample_weight``.
    needs_numbers : bool
        Tables must be finite float64 numbers.
    needs_random_state : bool
        `fit` draws random numbers, itself or in the estimator's fits; False: it receives None.
    only : {None, "classifier", "regressor"}
        The kind of estimator that is supported; None: both.
    """

    needs_labels = True
    needs_unlabeled = False
    uses_unlabeled = False
    needs_weights = False
    needs_numbers = True
    needs_random_state = True
    only: str | None = None
    # By parameter: a check such as `number` returns, called with name and value.
    _checks: dict = {}

    def check(self) -> None:
        """Raise a ValueError if a parameter is invalid."""
        for name, check in self._checks.items():
            check(name, getattr(self, name))

    def reads_numbers(self, estimator: Any) -> bool:
        """Return whether tables must be finite float64 numbers for this estimator.

        Parameters
        ----------
        estimator : estimator
            The estimator to be fitted.

        Returns
        -------
        bool
            `needs_numbers`, unless a subclass decides by the estimator.
        """
        return self.needs_numbers

    def _check_given(
        self, *, estimator: Any, classifier: bool, labels: bool, unlabeled: bool, weighted: bool
    ) -> None:
        """Raise a ValueError if the data or the estimator lack a requirement.

        Parameters
        ----------
        estimator : estimator
            The estimator to be fitted.
        classifier : bool
            Whether it is a classifier.
        labels : bool
            Whether target rows have labels.
        unlabeled : bool
            Whether there are target rows without labels.
        weighted : bool
            Whether rows have sample weights.
        """
        name, estimator_name = type(self).__name__, type(estimator).__name__
        if self.needs_labels and not labels:
            raise ValueError(
                f"the adaptation {name} requires y to be passed, but the target y is None."
            )
        if self.needs_unlabeled and not unlabeled:
            raise ValueError(
                f"the adaptation {name} needs target rows without labels; pass them as "
                "unlabeled=skmtl.Unlabeled(X)."
            )
        kind = "classifier" if classifier else "regressor"
        if self.only is not None and self.only != kind:
            raise ValueError(
                f"the adaptation {name} is for a {self.only}, but estimator={estimator_name} is a "
                f"{kind}; adaptation='auto' works with both."
            )
        if (self.needs_weights or weighted) and not takes_weights(estimator):
            needed = self.needs_weights
            reason = f"the adaptation {name} weights rows" if needed else "rows have weights"
            remedy = "" if needed else ", or do not pass sample_weight"
            raise ValueError(
                f"{reason}, but estimator={estimator_name} does not support sample_weight in fit; "
                f"use an estimator that does{remedy}."
            )

    def fit(
        self,
        problem: TransferProblem,
        random_state: np.random.RandomState | None,
        progress: ProgressFunction,
    ) -> AdaptationResult:
        """Fit a model for the target.

        Parameters
        ----------
        problem : TransferProblem
            Target and source rows, and the estimator.
        random_state : numpy.random.RandomState or None
            Random number generator; None if not `needs_random_state`.
        progress : callable
            Called with a line of text at each step.

        Returns
        -------
        AdaptationResult
            The fitted predictor, and the weights of the sources.
        """
        return self._fit(problem, random_state, progress)

    def _fit(self, problem, random_state, progress):
        raise NotImplementedError


def takes_weights(estimator):
    """Return whether fit of the estimator accepts ``sample_weight``.

    Also True if it accepts arbitrary keywords, as searches and ensembles do, which pass them on.
    """
    parameters = inspect.signature(estimator.fit).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def fit_rows(estimator, X, y, weight):
    """Return a fitted clone of `estimator`; a small ridge is fitted faster, up to rounding."""
    ridge = fit_ridge(estimator, X, y, weight)
    return _fit_clone(estimator, X, y, weight) if ridge is None else ridge


def _fit_clone(estimator, X, y, weight):
    """Return a fitted clone of `estimator`; `sample_weight` is passed unless it is None."""
    model = clone(estimator)
    if weight is None:
        return model.fit(X, y)
    try:
        return model.fit(X, y, sample_weight=weight)
    except (TypeError, ValueError) as error:
        if not has_fit_parameter(estimator, "sample_weight"):
            name = type(estimator).__name__
            error.add_note(
                f"Rows are weighted: {name} received sample_weight to pass on. If an estimator "
                "within does not support it, do not pass weights and set "
                "adaptation=Pooled(target_weight=1), or use TransferEstimator within "
                f"{name} rather than around it."
            )
        raise


def fit_target(problem, index):
    """Return a clone of the estimator, fitted on the target rows `index` without any source."""
    rows = problem.take(index)
    return _fit_clone(problem.estimator, rows.X, rows.y, rows.weight)


def enough_classes(problem, y):
    """Return whether `y` has at least two classes, as a classifier needs; True for a regressor."""
    return not problem.classifier or len(np.unique(y)) > 1


def splits_with_classes(problem):
    """Return the splits with enough classes in their training rows."""
    return [split for split in problem.splits if enough_classes(problem, problem.y[split[0]])]


def require_two_classes(problem, adaptation):
    """Raise a ValueError if the target's labels are all of one class."""
    if not enough_classes(problem, problem.y):
        raise ValueError(
            f"y has one class only, {problem.y[:1].tolist()[0]!r}, but the adaptation "
            f"{type(adaptation).__name__} needs target rows of at least two classes; use "
            "adaptation='auto'."
        )


# ------------------------------------------------------------------------------- parameters


def is_auto(value):
    """Return whether a parameter is "auto"; arrays and numbers are not compared with it."""
    return isinstance(value, str) and value == "auto"


def number(
    why, *, above=None, least=None, below=None,
    auto=False, none=False, whole=False, infinite=False,
):  # fmt: skip
    """Return a check that a parameter is a number within bounds, or "auto" or None if allowed.

    Parameters
    ----------
    why : str
        Meaning of the parameter, for the error.
    above, least, below : float or None
        Bounds; only `least` itself is an allowed value.
    auto, none, whole, infinite : bool
        Whether "auto" and None are allowed, whether the number must be whole, and whether it may be
        infinite.
    """
    wanted = "'auto' or " * auto + ("a whole number" if whole else "a number")
    wanted += "" if above is None else f" above {above:g}"
    if least is not None:
        wanted += f" from {least:g} to infinity" if infinite else f" of at least {least:g}"
    wanted += "" if below is None else f" and below {below:g}"

    def is_allowed(value):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return (auto and is_auto(value)) or (none and value is None)
        if value == np.inf:
            return infinite
        return (
            np.isfinite(value)
            and (not whole or isinstance(value, numbers.Integral))
            and (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
        )

    def check(name, value):
        if not is_allowed(value):
            raise ValueError(f"{name}={value!r} must be {wanted}: {why}.")

    return check


def choice(*choices):
    """Return a check that a parameter is one of two or more strings."""

    def check(name, value):
        if not isinstance(value, str) or value not in choices:
            *first, last = map(repr, choices)
            raise ValueError(f"{name}={value!r} must be {', '.join(first)} or {last}.")

    return check


def boolean(*, auto=False):
    """Return a check that a parameter is a bool, or "auto" if allowed."""
    choices = "'auto', " * auto + "True or False"

    def check(name, value):
        if not isinstance(value, (bool, np.bool_)) and not (auto and is_auto(value)):
            raise ValueError(f"{name}={value!r} must be {choices}.")

    return check
