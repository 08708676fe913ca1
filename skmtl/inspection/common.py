"""Helpers of the displays: unwrapping estimators, naming tasks, and reading reports."""

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "Found",
    "check_columns",
    "error_removed",
    "find_model",
    "plural",
    "shorten",
    "task_name",
]

_MULTI_TASK = "multi-task estimators such as MultiTaskRegressor"


class Found(NamedTuple):
    """A fitted multi-task estimator, and the transformers between it and the caller's table."""

    model: object
    heads: list  # fitted transformers of X, in order
    targets: list  # fitted transformers of y, in order

    def features(self, X):
        """Return `X` as it reaches the model."""
        for head in self.heads:
            X = head.transform(X)
        return X

    def target(self, y):
        """Return `y` as it reaches the model."""
        for transformer in self.targets:
            column = np.asarray(y)
            y = transformer.transform(column[:, None] if column.ndim == 1 else column)
            y = y[:, 0] if y.shape[1] == 1 else y
        return y


def find_model(estimator, attribute, display, drawn=_MULTI_TASK):
    """Find the fitted step with `attribute` inside pipelines, searches and target transformers.

    Raises
    ------
    TypeError
        If no step has it; the message names `display` and what it draws, `drawn`.
    NotFittedError
        If the innermost estimator is not fitted.
    """
    inner, heads, targets = estimator, [], []
    while not hasattr(inner, attribute):
        if hasattr(inner, "best_estimator_"):  # such as GridSearchCV
            inner = inner.best_estimator_
        elif hasattr(inner, "steps"):  # Pipeline
            heads += [inner[:-1]] if len(inner.steps) > 1 else []
            inner = inner.steps[-1][1]
        elif hasattr(inner, "regressor_"):  # TransformedTargetRegressor
            targets += [inner.transformer_] if hasattr(inner, "transformer_") else []
            inner = inner.regressor_
        else:
            break
    else:
        return Found(inner, heads, targets)
    if hasattr(inner, "get_params"):
        check_is_fitted(inner)
    where = f" (the final step of {type(estimator).__name__})" if inner is not estimator else ""
    hint = "; a search needs refit=True" if hasattr(inner, "cv_results_") else ""
    raise TypeError(
        f"{type(inner).__name__}{where} has no {attribute}: {display} draws fitted {drawn}{hint}."
    )


def task_name(model, name):
    """Return what one task is called: `name`, else the name of the task column, else None."""
    column = getattr(model, "task_column", None)
    return column if name is None and isinstance(column, str) else name


def plural(name):
    """Return the plural of `name` if it is a plain word, else "tasks"."""
    if not (name.isalpha() and name.islower() and len(name) > 2):
        return "tasks"
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in tuple("aeiou"):
        return name[:-1] + "ies"
    return name + "s"


def shorten(label, width=28):
    """Cut `label` in its middle, as long names mostly differ at their ends."""
    label = str(label)
    if len(label) <= width:
        return label
    return label[: width // 2] + "…" + label[-(width - width // 2 - 1) :]


# ------------------------------------------------------------------------------------- reports


def check_columns(report, keys):
    """Raise a ValueError for columns of unequal length, or for weights that are none.

    `keys` are the columns to check; the first one has the labels, and "weight" is among them.
    """
    noun = keys[0]
    labels = report[noun]
    for key in keys:
        if len(report[key]) != len(labels):
            raise ValueError(
                f"report has {len(report[key])} entries of {key!r}, but {len(labels)} {noun}s; "
                f"give one entry per {noun}."
            )
    weight = np.asarray(report["weight"], dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(weight) | (weight < 0.0))
    if len(bad):
        raise ValueError(
            f"report has the weight {weight[bad[0]]} for {noun} '{labels[bad[0]]}'; weights must "
            "be finite and not negative."
        )


def error_removed(error, reference):
    """Return the share of the error `reference` that is removed, in percent.

    An error of zero cannot be removed, only added to.
    """
    none = reference == 0.0
    share = (reference - error) / np.where(none, 1.0, reference)
    return 100.0 * np.where(none, np.where(error > 0.0, -np.inf, error), share)
