"""What adaptations of linear models have in common: parameters read, and written."""

import copy

import numpy as np
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
)  # fmt: skip

from ..solvers.anchored import LogisticRows, SquaredRows
from ..tasks.stack import as_dense
from ..tasks.targets import class_codes

__all__ = [
    "check_linear", "class_factors", "one_hot", "own_penalty", "read_scores", "target_rows",
    "write_scores",
]  # fmt: skip


def check_linear(adaptation, estimator, classifier):
    """Raise a ValueError unless the estimator is a linear model of a loss that is known here.

    Whether a regressor is linear shows only when it is fitted.
    """
    own, name = type(adaptation).__name__, type(estimator).__name__
    if classifier:
        known = isinstance(estimator, LogisticRegression)
        if not known or isinstance(estimator, LogisticRegressionCV):
            raise ValueError(
                f"the adaptation {own} knows the log-loss only, but estimator={name}; use "
                "LogisticRegression, or adaptation='auto', which takes any classifier."
            )
        if not _is_ridge(estimator):
            raise ValueError(
                f"the adaptation {own} knows the squared (L2) penalty only, but estimator={name} "
                f"has penalty={estimator.penalty!r}, l1_ratio={estimator.l1_ratio!r}; leave them "
                "out."
            )
    elif getattr(estimator, "positive", False):
        raise ValueError(
            f"the adaptation {own} knows no signs of coefficients, but estimator={name} has "
            "positive=True; set positive=False."
        )


def _is_ridge(estimator):
    if estimator.penalty == "deprecated":  # scikit-learn 1.8 and later
        return not estimator.l1_ratio
    return estimator.penalty in ("l2", None)


def own_penalty(estimator):
    """The strength s in ``loss + s / 2 |b|^2`` of the estimator; None where it has another.

    The loss is half the square, or the log-loss, summed over rows.
    """
    if isinstance(estimator, LogisticRegression):
        return 0.0 if estimator.penalty is None else 1.0 / estimator.C
    if type(estimator) is LinearRegression:
        return 0.0
    if type(estimator) is Ridge and np.size(estimator.alpha) == 1:
        return float(np.ravel(estimator.alpha)[0])
    return None


def read_scores(model, classes, adaptation):
    """Slopes and intercepts of a fitted linear model.

    Parameters
    ----------
    model : fitted estimator
    classes : ndarray or None
        That scores are wanted of; those that the model does not know get zeros.
    adaptation : Adaptation
        For the error.

    Returns
    -------
    coef : ndarray of shape (n_scores, n_features)
        One score of numbers and of two classes, else one a class.
    intercept : ndarray of shape (n_scores,)
    """
    coef, intercept = getattr(model, "coef_", None), getattr(model, "intercept_", None)
    if coef is None or intercept is None:
        raise _not_linear(model, adaptation, "has no coef_ and intercept_ once it is fitted")
    coef = as_dense(coef)
    coef = np.array(np.atleast_2d(coef), dtype=np.float64)
    intercept = np.array(np.broadcast_to(np.ravel(intercept), len(coef)), dtype=np.float64)
    if classes is None or len(classes) == 2:
        return coef, intercept
    if len(model.classes_) == 2:
        coef, intercept = np.vstack([-coef, coef]) / 2, np.append(-intercept, intercept) / 2
    at = np.searchsorted(classes, model.classes_)
    every = np.zeros((len(classes), coef.shape[1])), np.zeros(len(classes))
    every[0][at], every[1][at] = coef, intercept
    return every


def write_scores(model, coef, intercept, classes, X, adaptation):
    """A copy of a fitted model with these parameters; an error if it does not predict by them.

    Parameters
    ----------
    model : fitted estimator
    coef, intercept
        As `read_scores` returns them.
    classes : ndarray or None
    X : table
        Some rows.
    adaptation : Adaptation
        For the error.
    """
    model = copy.copy(model)
    if classes is not None:
        model.coef_, model.intercept_, model.classes_ = coef, intercept, classes
        return model
    try:
        shape = np.shape(model.intercept_)
        model.coef_ = coef.reshape(np.shape(model.coef_))
        model.intercept_ = intercept.reshape(shape) if shape else float(intercept[0])
    except AttributeError:
        raise _not_linear(model, adaptation, "does not let its coef_ be set") from None
    scores = X @ coef[0] + intercept[0]
    size = np.abs(scores).max(initial=0.0)
    if not np.allclose(model.predict(X), scores, rtol=1e-6, atol=1e-6 * size):
        raise _not_linear(model, adaptation, "does not predict X @ coef_ + intercept_")
    return model


def _not_linear(model, adaptation, what):
    return ValueError(
        f"the adaptation {type(adaptation).__name__} is for linear models, such as Ridge and "
        f"LogisticRegression, but estimator={type(model).__name__} {what}."
    )


def target_rows(problem, rows):
    """The target's `rows` for a solver: a `SquaredRows`, or a `LogisticRows`."""
    rows = problem.take(rows)
    X, y, weight = rows.X, rows.y, rows.row_weight
    X = as_dense(X)
    fit_intercept = getattr(problem.estimator, "fit_intercept", True)
    if not problem.classifier:
        return SquaredRows(X, y, weight, fit_intercept)
    codes = class_codes(y, problem.classes)
    weight = weight * class_factors(problem.estimator, problem.classes, codes, weight)[codes]
    return LogisticRows(X, codes, len(problem.classes), weight, fit_intercept)


def class_factors(estimator, classes, codes, weight):
    """What the ``class_weight`` of an estimator makes of a row, by class.

    Parameters
    ----------
    estimator : estimator
    classes : ndarray of shape (n_classes,)
    codes, weight : ndarray of shape (n_rows,)
        Positions in `classes`, and weights of the rows.
    """
    chosen, n = estimator.class_weight, len(classes)
    if chosen is None:
        return np.ones(n)
    if isinstance(chosen, dict):
        return np.array([chosen.get(label, 1.0) for label in classes.tolist()])
    total = np.bincount(codes, weight, minlength=n)
    return total.sum() / ((total > 0).sum() * np.where(total > 0, total, 1.0))


def one_hot(y, classes):
    """Return labels as scores are compared with them: a column of two classes, else one a class."""
    codes, n = class_codes(y, classes), len(classes)
    return np.eye(n)[codes] if n > 2 else codes[:, None].astype(np.float64)
