"""What the displays share: the model inside a wrapper, names that fit, matplotlib when needed."""

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "BLUE",
    "VERMILION",
    "Found",
    "find_model",
    "import_pyplot",
    "line_heights",
    "plural",
    "shorten",
    "task_name",
]

# Okabe-Ito blue and vermilion: told apart by colour-blind readers and in grey print.
BLUE, VERMILION = "#0072b2", "#d55e00"
_MULTI_TASK = "multi-task estimators such as MultiTaskRegressor"


class Found(NamedTuple):
    """A fitted multi-task estimator, and what stands between it and the caller's table."""

    model: object
    heads: list  # fitted transformers of X, in order
    targets: list  # fitted transformers of y, in order

    def features(self, X):
        """`X` as the model sees it."""
        for head in self.heads:
            X = head.transform(X)
        return X

    def target(self, y):
        """`y` as the model sees it."""
        for transformer in self.targets:
            column = np.asarray(y)
            column = column[:, None] if column.ndim == 1 else column
            y = transformer.transform(column)
            y = y[:, 0] if y.shape[1] == 1 else y
        return y


def find_model(estimator, attribute, display, drawn=_MULTI_TASK):
    """The fitted step with `attribute` inside pipelines, searches and target transformers.

    Raises
    ------
    TypeError
        If there is none, naming `display` and what is `drawn` by it.
    NotFittedError
        If the innermost estimator is not fitted.
    """
    found = Found(estimator, [], [])
    while not hasattr(found.model, attribute):
        inner = found.model
        if hasattr(inner, "best_estimator_"):  # GridSearchCV and its like
            found = found._replace(model=inner.best_estimator_)
        elif hasattr(inner, "steps"):  # Pipeline
            heads = [inner[:-1]] if len(inner.steps) > 1 else []
            found = found._replace(model=inner.steps[-1][1], heads=found.heads + heads)
        elif hasattr(inner, "regressor_"):  # TransformedTargetRegressor
            targets = [inner.transformer_] if hasattr(inner, "transformer_") else []
            found = found._replace(model=inner.regressor_, targets=found.targets + targets)
        else:
            break
    inner = found.model
    if hasattr(inner, attribute):
        return found
    if hasattr(inner, "get_params"):
        check_is_fitted(inner)
    where = f" (the final step of {type(estimator).__name__})" if inner is not estimator else ""
    hint = "; a search needs refit=True" if hasattr(inner, "cv_results_") else ""
    raise TypeError(
        f"{type(inner).__name__}{where} has no {attribute}: {display} draws fitted {drawn}{hint}."
    )


def task_name(model, name):
    """What one task is called: `name`, or the task column's name, or None."""
    column = getattr(model, "task_column", None)
    return column if name is None and isinstance(column, str) else name


def plural(name):
    """`name` in the plural if it is a plain word, else "tasks"."""
    if not (name.isalpha() and name.islower() and len(name) > 2):
        return "tasks"
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in tuple("aeiou"):
        return name[:-1] + "ies"
    return name + "s"


def line_heights(n_lines, most):
    """Where lines stand (0 at the top, downwards), which are named, and where the band is.

    Up to `most` tasks or sources get a line each. Beyond that the first and the last ones do, and
    all others share a band between them as unnamed, smaller points: nothing is left out.
    """
    if n_lines <= most:
        return np.arange(n_lines, dtype=float), np.ones(n_lines, dtype=bool), None
    top = (most + 1) // 2
    bottom = most - top
    band = max(4.0, most / 3)
    middle = top - 0.5 + band * (np.arange(n_lines - most) + 0.5) / (n_lines - most)
    last = top + band + np.arange(bottom)
    named = np.ones(n_lines, dtype=bool)
    named[top : n_lines - bottom] = False
    heights = np.concatenate([np.arange(top, dtype=float), middle, last])
    return heights, named, (top - 0.5, top - 0.5 + band)


def shorten(label, width=28):
    """`label` cut in its middle: what tells two long names apart is mostly at their ends."""
    label = str(label)
    if len(label) <= width:
        return label
    return label[: width // 2] + "…" + label[-(width - width // 2 - 1) :]


def import_pyplot(display):
    """matplotlib.pyplot, imported only when something is drawn."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as exc:
        raise ImportError(f"{display}.plot needs matplotlib: pip install skmtl[plot]") from exc
    return plt
