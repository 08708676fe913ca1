"""Reading and writing the parameters of linear models, for the adaptations of these."""

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
    """Raise a ValueError unless the estimator is a linear model with a supported loss.

    Whether a regressor is linear can be checked only once it is fitted.
    """
    name, estimator_name = type(adaptation).__name__, type(estimator).__name__
    if classifier:
        known = isinstance(estimator, LogisticRegression)
        if not known or isinstance(estimator, LogisticRegressionCV):
            raise ValueError(
                f"the adaptation {name} supports the log-loss only, but estimator="
                f"{estimator_name}; use LogisticRegression, or adaptation='auto', which works "
                "with any classifier."
            )
        # scikit-learn 1.8 deprecates `penalty` in favour of `l1_ratio`.
        is_deprecated = estimator.penalty == "deprecated"
        if estimator.l1_ratio if is_deprecated else estimator.penalty not in ("l2", None):
            raise ValueError(
                f"the adaptation {name} supports the squared (L2) penalty only, but estimator="
                f"{estimator_name} has penalty={estimator.penalty!r}, "
                f"l1_ratio={estimator.l1_ratio!r}; leave them out."
            )
    elif getattr(estimator, "positive", False):
        raise ValueError(
            f"the adaptation {name} does not support constraints on the signs of coefficients, but "
            f"estimator={estimator_name} has positive=True; set positive=False."
        )


def own_penalty(estimator):
    """Return the strength s in ``loss + s / 2 |b|^2`` of the estimator; None for other penalties.

    The loss is half the squared error, or the log-loss, summed over rows.
    """
    if isinstance(estimator, LogisticRegression):
        return 0.0 if estimator.penalty is None else 1.0 / estimator.C
    if type(estimator) is LinearRegression:
        return 0.0
    if type(estimator) is Ridge and np.size(estimator.alpha) == 1:
        return float(np.ravel(estimator.alpha)[0])
    return None


def read_scores(model, classes, adaptation):
    """Return slopes and intercepts of a fitted linear model.

    Parameters
    ----------
    model : fitted estimator
    classes : ndarray or None
        The classes to return scores of; zeros for those that the model does not know.
    adaptation : Adaptation
        For the error.

    Returns
    -------
    coef : ndarray of shape (n_scores, n_features)
        One score for a regressor and for two classes, otherwise one per class.
    intercept : ndarray of shape (n_scores,)
    """
    coef, intercept = getattr(model, "coef_", None), getattr(model, "intercept_", None)
    if coef is None or intercept is None:
        raise _not_linear(model, adaptation, "has no coef_ and intercept_ after fit")
    coef = np.array(np.atleast_2d(as_dense(coef)), dtype=np.float64)
    intercept = np.array(np.broadcast_to(np.ravel(intercept), len(coef)), dtype=np.float64)
    if classes is None or len(classes) == 2:
        return coef, intercept
    if len(model.classes_) == 2:
        coef, intercept = np.vstack([-coef, coef]) / 2, np.append(-intercept, intercept) / 2
    positions = np.searchsorted(classes, model.classes_)
    full_coef, full_intercept = np.zeros((len(classes), coef.shape[1])), np.zeros(len(classes))
    full_coef[positions], full_intercept[positions] = coef, intercept
    return full_coef, full_intercept


def write_scores(model, coef, intercept, classes, X, adaptation):
    """Return a copy of a fitted model with the given parameters.

    Parameters
    ----------
    model : fitted estimator
    coef, intercept
        As returned by `read_scores`.
    classes : ndarray or None
    X : table
        Rows on which to check that the model predicts ``X @ coef_ + intercept_``.
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
    """Return the target's `rows` for a solver: a `SquaredRows`, or a `LogisticRows`."""
    rows = problem.take(rows)
    X, y, weight = as_dense(rows.X), rows.y, rows.row_weight
    fit_intercept = getattr(problem.estimator, "fit_intercept", True)
    if not problem.classifier:
        return SquaredRows(X, y, weight, fit_intercept)
    codes = class_codes(y, problem.classes)
    weight = weight * class_factors(problem.estimator, problem.classes, codes, weight)[codes]
    return LogisticRows(X, codes, len(problem.classes), weight, fit_intercept)


def class_factors(estimator, classes, codes, weight):
    """Return the factors that the ``class_weight`` of an estimator applies to rows of each class.

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
    """Return labels as columns: one for two classes, otherwise one per class."""
    codes, n = class_codes(y, classes), len(classes)
    return np.eye(n)[codes] if n > 2 else codes[:, None].astype(np.float64)
