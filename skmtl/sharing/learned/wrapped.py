"""Any scikit-learn regressor as a learner."""

from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

__all__ = ["PerTask", "Wrapped", "check_regressor"]

# Fewest rows of a task for a clone of its own.
_FEWEST_OWN_ROWS = 10


def check_regressor(estimator, parameter="estimator"):
    """Raise an error unless the estimator is an unfitted scikit-learn regressor."""
    if isinstance(estimator, type):
        raise TypeError(
            f"{parameter}={estimator.__name__} is a class; pass an instance: "
            f"{estimator.__name__}()."
        )
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict"):
        raise TypeError(
            f"{parameter}={estimator!r} must be a scikit-learn regressor, with fit and predict."
        )
    if not is_regressor(estimator):
        raise ValueError(
            f"{parameter}={estimator!r} is not a regressor; pass one, such as "
            "RandomForestRegressor()."
        )


@dataclass
class Wrapped:
    """A scikit-learn regressor as a learner.

    Attributes
    ----------
    estimator : regressor
    task : {"category", "encoded", None}
        How the regressor sees the task (`Design`).
    """

    estimator: object
    task: str | None = None
    fewest_rows = 2

    @property
    def takes_gaps(self):
        """Whether the estimator takes missing values, and so sees columns with their gaps."""
        return bool(get_tags(self.estimator).input_tags.allow_nan)

    def fit(self, M, categorical, target, weight, validation, seed):
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
        return estimator.fit(M, target, **options)

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
    """One clone of a regressor per task; 0 for tasks of few rows."""

    wrapped: Wrapped
    task: str = "code"
    fewest_rows = 2

    @property
    def takes_gaps(self):
        """Whether the estimator takes missing values."""
        return self.wrapped.takes_gaps

    def fit(self, M, categorical, target, weight, validation, seed):
        """Return the fitted clones; see `BoostedTrees.fit`."""
        clones = {}
        for code in np.unique(M[:, -1]):
            rows = np.flatnonzero(M[:, -1] == code)
            if len(rows) >= _FEWEST_OWN_ROWS:
                clones[code] = self.wrapped.fit(
                    M[rows, :-1], categorical[:-1], target[rows], weight[rows], None, seed
                )
        return _Clones(clones)


@dataclass
class _Clones:
    """Fitted clones by the code of their task."""

    clones: dict = field(default_factory=dict)

    def predict(self, M):
        """Return predictions ``(n_rows,)``; the last column is the task."""
        out = np.zeros(len(M))
        for code in np.unique(M[:, -1]):
            if code in self.clones:
                rows = np.flatnonzero(M[:, -1] == code)
                out[rows] = self.clones[code].predict(M[rows, :-1])
        return out
