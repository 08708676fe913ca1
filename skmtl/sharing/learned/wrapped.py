"""Any scikit-learn regressor or classifier as a learner."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from .learners import Probabilities

__all__ = ["PerTask", "Wrapped"]

# Fewest rows of a task for a clone of its own.
_FEWEST_OWN_ROWS = 10


@dataclass
class Wrapped:
    """A scikit-learn regressor or classifier as a learner.

    Attributes
    ----------
    estimator : estimator
    task : {"category", "encoded", None}
        How the estimator sees the task (`Design`).
    """

    estimator: object
    task: str | None = None
    fewest_rows = 2
    in_processes = True
    sorts_columns = False  # their order is part of what the estimator was given

    @property
    def takes_gaps(self):
        """Whether the estimator takes missing values, and so sees columns with their gaps."""
        return bool(get_tags(self.estimator).input_tags.allow_nan)

    def fit(self, M, categorical, target, weight, validation, seed, n_classes=0):
        """Return a fitted clone; see `BoostedTrees.fit`.

        Raises
        ------
        ValueError
            If the weights differ, and the estimator takes none.
        """
        estimator, options = clone(self.estimator), {}
        params = estimator.get_params()
        seeds = {
            name: seed
            for name, value in params.items()
            if name.rpartition("__")[2] == "random_state" and value is None
        }
        estimator.set_params(**seeds)
        if categorical.any() and params.get("categorical_features", "") == "from_dtype":
            estimator.set_params(categorical_features=categorical)
        if not (weight == weight[0]).all():
            options = self._weight_options(weight)
        if not n_classes:
            return estimator.fit(M, target, **options)
        return Probabilities.of(lambda: estimator.fit(M, target, **options), target, n_classes)

    def _weight_options(self, weight):
        prefix, last = "", self.estimator
        while isinstance(last, Pipeline):
            prefix, last = f"{prefix}{last.steps[-1][0]}__", last.steps[-1][1]
        if not has_fit_parameter(last, "sample_weight"):
            raise ValueError(
                f"{type(last).__name__} takes no sample_weight, but the rows have different "
                "weights (equal rows are merged into one row of their joint weight); choose "
                "another estimator, or pass neither weights nor copies of rows."
            )
        return {f"{prefix}sample_weight": weight}


@dataclass
class PerTask:
    """One clone of an estimator per task; 0, or equal odds, for tasks of few rows."""

    wrapped: Wrapped
    task: str = "code"
    fewest_rows = 2
    in_processes = True
    sorts_columns = False

    @property
    def takes_gaps(self):
        """Whether the estimator takes missing values."""
        return self.wrapped.takes_gaps

    def fit(self, M, categorical, target, weight, validation, seed, n_classes=0):
        """Return the fitted clones; see `BoostedTrees.fit`."""
        clones = {}
        for code in np.unique(M[:, -1]):
            rows = np.flatnonzero(M[:, -1] == code)
            if len(rows) >= _FEWEST_OWN_ROWS:
                clones[code] = self.wrapped.fit(
                    M[rows, :-1], categorical[:-1], target[rows], weight[rows], None, seed,
                    n_classes,
                )  # fmt: skip
        nothing = np.full(n_classes, 1.0 / n_classes) if n_classes else np.zeros(())
        return _Clones(clones, nothing)


@dataclass
class _Clones:
    """Fitted clones by the code of their task, and what is predicted without one."""

    clones: dict
    nothing: np.ndarray

    def predict(self, M):
        """Return what the clones predict; the last column is the task."""
        out = np.tile(self.nothing, (len(M), *[1] * self.nothing.ndim))
        for code in np.unique(M[:, -1]):
            if code in self.clones:
                rows = np.flatnonzero(M[:, -1] == code)
                out[rows] = self.clones[code].predict(M[rows, :-1])
        return out
