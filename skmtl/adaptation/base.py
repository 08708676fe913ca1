"""What an adaptation is: it makes a model for the target's rows with help from sources.

Also what all adaptations use: fits of the estimator, and checks of their own parameters.
"""

import inspect
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

from .._compat import take_rows
from .normal_equations import fit_ridge

__all__ = [
    "Adaptation", "AdaptationResult", "SourceRows", "TransferProblem", "check_bool",
    "check_choice", "check_number", "fit_rows", "fit_target", "is_auto", "need_two_classes",
    "takes_weights", "tells_classes",
]  # fmt: skip


class _Weighed:
    """Labelled rows: `y`, and `weight` or None."""

    @property
    def row_weight(self):
        """`weight`, or ones."""
        return np.ones(len(self.y)) if self.weight is None else self.weight


@dataclass(frozen=True, eq=False)
class SourceRows(_Weighed):
    """Rows of one source, or some of the target's.

    Attributes
    ----------
    X : {ndarray, csr matrix, data frame} of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
        Above zero; None: all rows count once.
    label : str, int, bool or None
        The source, as the user named it; None: the target.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray | None
    label: object


@dataclass(frozen=True, eq=False)
class TransferProblem(_Weighed):
    """What there is to learn from. None of it is to be changed.

    Attributes
    ----------
    X : {ndarray, csr matrix, data frame} of shape (n_rows, n_features)
        Target rows as the estimator is to see them. Finite float64 numbers (C-ordered, or CSR)
        where the adaptation says `needs_numbers`; else whatever table the user or the preparing
        steps give. All tables of a problem are of one kind.
    y : ndarray of shape (n_rows,) or None
        Numbers (float64), or class labels as the user writes them. None: no labels.
    weight : ndarray of shape (n_rows,) or None
        Above zero; None: all rows count once.
    sources : tuple of SourceRows
        At least one.
    unlabeled : table or None
        Target rows without labels.
    estimator : estimator
        Unfitted, to be cloned.
    classifier : bool
    classes : ndarray of shape (n_classes,) or None
        Of sources and target together, sorted; None where y are numbers.
    splits : sequence of (train, test)
        Indices of target rows, for anything that is tuned. Empty where there are too few rows.
    n_jobs : int or None
        For joblib.
    """

    X: object
    y: np.ndarray | None
    weight: np.ndarray | None
    sources: tuple
    unlabeled: object
    estimator: object
    classifier: bool
    classes: np.ndarray | None = None
    splits: Sequence = field(default_factory=list)
    n_jobs: int | None = None

    @property
    def weighted(self):
        """Whether the user gave weights, of target or source rows."""
        return self.weight is not None or any(s.weight is not None for s in self.sources)

    def take(self, index):
        """The target's rows at `index`, as `SourceRows`."""
        weight = None if self.weight is None else self.weight[index]
        return SourceRows(take_rows(self.X, index), self.y[index], weight, None)


@dataclass(frozen=True, eq=False)
class AdaptationResult:
    """What came of it.

    Attributes
    ----------
    predictor : estimator
        Fitted: an ordinary estimator with predict (and predict_proba, classes_) of tables such as
        the problem's. It keeps neither source rows nor the target's.
    source_weights : ndarray of shape (n_sources,)
        What a source row counts beside a target row, by source; zero: it was not used.
    report : dict of arrays
        One entry a source, beside those the face adds (labels, numbers of rows).
    history : dict of arrays
        What was tried, one entry a step or candidate.
    """

    predictor: object
    source_weights: np.ndarray
    report: dict = field(default_factory=dict)
    history: dict = field(default_factory=dict)


class Adaptation(BaseEstimator):
    """Base of the adaptations: parameters, what it needs, and `fit`.

    Class attributes say what is needed; the face checks them before it reads a row.

    Attributes
    ----------
    needs_labels : bool
        Target rows have labels. False: ``fit(X)`` without y is legal.
    needs_unlabeled, uses_unlabeled : bool
        Target rows without labels are needed, or used where given (those of ``fit(X)`` without y
        are such). Whoever needs them sets both.
    needs_weights : bool
        The estimator takes ``sample_weight``.
    needs_numbers : bool
        Tables are finite float64 numbers.
    needs_random_state : bool
        `fit` draws random numbers, or hands on what does; False: it is given None.
    only : {None, "classifier", "regressor"}
        The kind of estimator.
    """

    needs_labels = True
    needs_unlabeled = False
    uses_unlabeled = False
    needs_weights = False
    needs_numbers = True
    needs_random_state = True
    only = None

    def check(self):
        """Raise a ValueError for parameters that make no sense."""

    def reads_numbers(self, estimator):
        """Whether tables are to be finite float64 numbers for this estimator."""
        return self.needs_numbers

    def check_given(self, *, estimator, classifier, labels, unlabeled, weighted):
        """Raise a ValueError unless what is needed is given.

        Parameters
        ----------
        estimator : estimator
            Unfitted.
        classifier, labels, unlabeled, weighted : bool
            Whether it is a classifier; whether target rows have labels, there are target rows
            without, and rows have weights.
        """
        own, theirs = type(self).__name__, type(estimator).__name__
        if self.needs_labels and not labels:
            raise ValueError(
                f"the adaptation {own} requires y to be passed, but the target y is None."
            )
        if self.needs_unlabeled and not unlabeled:
            raise ValueError(
                f"the adaptation {own} needs target rows without labels; give them as "
                "unlabeled=skmtl.Unlabeled(X)."
            )
        kind = "classifier" if classifier else "regressor"
        if self.only is not None and self.only != kind:
            raise ValueError(
                f"the adaptation {own} is for a {self.only}, but estimator={theirs} is a {kind}."
            )
        if (self.needs_weights or weighted) and not takes_weights(estimator):
            why = f"the adaptation {own} weighs rows" if self.needs_weights else "rows have weights"
            raise ValueError(
                f"{why}, but estimator={theirs} does not support sample_weight in fit; use one "
                "that does" + ("." if self.needs_weights else ", or leave out sample_weight.")
            )

    def fit(self, problem, random_state, progress):
        """Make a model for the target.

        Parameters
        ----------
        problem : TransferProblem
        random_state : numpy.random.RandomState or None
        progress : callable
            Is told in words what is being done.

        Returns
        -------
        AdaptationResult
        """
        raise NotImplementedError


def takes_weights(estimator):
    """Return whether fit of the estimator takes ``sample_weight``.

    True too where it takes any parameter, as that of a search or an ensemble, which hand it on.
    """
    parameters = inspect.signature(estimator.fit).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def fit_rows(estimator, X, y, weight):
    """Return a fitted clone of `estimator`; a small ridge is fitted faster, up to rounding."""
    ridge = fit_ridge(estimator, X, y, weight)
    return _fit_clone(estimator, X, y, weight) if ridge is None else ridge


def _fit_clone(estimator, X, y, weight):
    """A clone of `estimator`, fitted; `weight` is not mentioned where it is None."""
    model = clone(estimator)
    if weight is None:
        return model.fit(X, y)
    try:
        return model.fit(X, y, sample_weight=weight)
    except (TypeError, ValueError) as error:
        if not has_fit_parameter(estimator, "sample_weight"):
            name = type(estimator).__name__
            error.add_note(
                f"Rows are weighed: {name} was given sample_weight to hand on. If what is within "
                f"does not take it, leave out weights and set adaptation=Pooled(target_weight=1), "
                f"or use TransferEstimator within {name} rather than around it."
            )
        raise


def fit_target(problem, index):
    """A clone of the estimator, fitted on the target's rows `index` alone, by itself."""
    rows = problem.take(index)
    return _fit_clone(problem.estimator, rows.X, rows.y, rows.weight)


def tells_classes(problem, y):
    """Whether labels are numbers, or of two classes at least, as a classifier needs."""
    return not problem.classifier or len(np.unique(y)) > 1


def need_two_classes(problem, adaptation):
    """Raise a ValueError where the target's labels are all of one class."""
    if not tells_classes(problem, problem.y):
        raise ValueError(
            f"y has one class only, {problem.y[:1].tolist()[0]!r}, but the adaptation "
            f"{type(adaptation).__name__} needs rows of two classes of the target at least; use "
            "adaptation='auto'."
        )


# ------------------------------------------------------------------------------- parameters


def is_auto(value):
    """Return whether a parameter is "auto"; arrays and numbers are not compared with it."""
    return isinstance(value, str) and value == "auto"


def check_number(
    owner, name, *, above=None, least=None, below=None, auto=False, whole=False, infinite=False, why
):
    """Raise a ValueError unless a parameter is "auto" (where allowed) or such a number.

    Parameters
    ----------
    owner : Adaptation
    name : str
        Of the parameter.
    above, least, below : float or None
        Bounds; that of `least` is allowed itself.
    auto, whole, infinite : bool
        Whether "auto" is allowed, the number must be whole, and it may be infinite.
    why : str
        What the parameter is, for the error.
    """
    value = getattr(owner, name)
    if (auto and is_auto(value)) or _is_such(value, above, least, below, whole, infinite):
        return
    wanted = "a whole number" if whole else "a number"
    wanted += "" if above is None else f" above {above:g}"
    if least is not None:
        wanted += f" from {least:g} to infinity" if infinite else f" of at least {least:g}"
    wanted += "" if below is None else f" and below {below:g}"
    wanted = "'auto' or " * auto + wanted
    raise ValueError(f"{name}={value!r} must be {wanted}: {why}.")


def _is_such(value, above, least, below, whole, infinite):
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    if value == np.inf:
        return infinite
    return (
        np.isfinite(value)
        and (not whole or isinstance(value, numbers.Integral))
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
    )


def check_choice(owner, name, choices):
    """Raise a ValueError unless a parameter is one of two strings or more."""
    value = getattr(owner, name)
    if not isinstance(value, str) or value not in choices:
        said = [repr(choice) for choice in choices]
        raise ValueError(f"{name}={value!r} must be {', '.join(said[:-1])} or {said[-1]}.")


def check_bool(owner, name, *, auto=False):
    """Raise a ValueError unless a parameter is a bool, or "auto" where allowed."""
    value = getattr(owner, name)
    if not isinstance(value, (bool, np.bool_)) and not (auto and is_auto(value)):
        wanted = "'auto', " * auto + "True or False"
        raise ValueError(f"{name}={value!r} must be {wanted}.")
