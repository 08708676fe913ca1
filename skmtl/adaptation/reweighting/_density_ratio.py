"""Base class of the density-ratio estimators: the fit that follows, centres, folds."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._compat import take_rows
from ...tasks.stack import stack_rows
from ..base import (
    Adaptation,
    AdaptationResult,
    fit_rows,
    is_auto,
    number,
)  # fmt: skip
from ..pooled_rows import stack_groups, target_features
from ._gaussian import distinct_rows, median_distance

__all__ = ["N_FOLDS", "DensityRatio", "deal_folds", "draw_centers", "warn_of_gap", "widths_to_try"]

N_FOLDS = 5
# Widths to try, as shares of the median distance of two rows.
_WIDTHS = np.geomspace(0.125, 8.0, 9)


class DensityRatio(Adaptation):
    """Estimate of the density ratio at source rows, and a fit with these weights.

    Subclasses define ``_ratios(S, w, T, v, random_state, progress)``, which takes distinct source
    and target rows with their weights, and returns the ratios at the source rows and the history.
    """

    needs_labels = False
    uses_unlabeled = True
    needs_weights = True

    _checks = {
        "target_weight": number(
            above=0.0,
            why="the weight of a labelled target row",
        ),
        "sigma": number(above=0.0, auto=True, why="the width of the kernel"),
    }

    def _fit(self, problem, random_state, progress):
        """Estimate the ratio, and fit a clone of the estimator on all labelled rows."""
        weights = [source.row_weight for source in problem.sources]
        w = np.concatenate(weights)
        X_source, y_source, _ = stack_groups(problem.sources)
        S, ws, of_row = distinct_rows(X_source, w)
        T, vt, _ = distinct_rows(*target_features(problem))
        ratios, history = self._ratios(S, ws, T, vt, random_state, progress)
        ratio = ratios[of_row]
        if not (ratio > 0.0).any():
            raise ValueError(
                f"the adaptation {type(self).__name__} found no source row similar to the target's:"
                f" all ratios are zero. Set a larger sigma (it is {self.sigma!r}), or scale the "
                "columns by preprocessor= or a Pipeline as estimator=."
            )
        predictor = self._fit_weighted(problem, X_source, y_source, w * ratio, progress)
        parts = np.split(ratio, np.cumsum([len(part) for part in weights])[:-1])
        pairs = list(zip(weights, parts, strict=True))
        mean = np.array([(a * r).sum() / a.sum() for a, r in pairs])
        report = {
            "effective_rows": np.array([_effective_rows(a, r) for a, r in pairs]),
            "largest_ratio": np.array([r.max() for r in parts]),
        }
        labelled = 1.0 if problem.y is None else self.target_weight
        return AdaptationResult(predictor, mean / labelled, report, history)

    def _fit_weighted(self, problem, X, y, weight, progress):
        """Return a clone fitted on source rows of positive weight, and on labelled target rows."""
        used = np.flatnonzero(weight)
        if len(used) < len(weight):
            X, y, weight = take_rows(X, used), y[used], weight[used]
        if problem.y is not None:
            X, y = stack_rows([X, problem.X]), np.concatenate([y, problem.y])
            weight = np.concatenate([weight, self.target_weight * problem.row_weight])
        progress(f"fitting on {len(y)} rows, with weights of source rows")
        return fit_rows(problem.estimator, X, y, weight)


def _effective_rows(weight, ratio):
    """Return Kish's effective number of rows; integer weights count as repeated rows."""
    square = (weight * ratio**2).sum()
    return (weight * ratio).sum() ** 2 / square if square > 0.0 else 0.0


def draw_centers(T, n_centers, random_state):
    """Return `n_centers` target rows drawn at random; all rows if there are no more."""
    n = T.shape[0]
    if n <= n_centers:
        return T
    return take_rows(T, np.sort(random_state.choice(n, n_centers, replace=False)))


def deal_folds(n, n_folds, random_state):
    """Return a random fold for each of n rows."""
    folds = np.empty(n, dtype=np.int64)
    folds[random_state.permutation(n)] = np.arange(n) % n_folds
    return folds


def warn_of_gap(name, gap, tol, unit, remedy):
    """Warn of a duality gap above `tol`."""
    warnings.warn(
        f"{name}: the duality gap is {gap:.1e}{unit}, above tol={tol:.1e}; {remedy}.",
        ConvergenceWarning,
        stacklevel=2,
    )


def widths_to_try(sigma, S, T, n_folds, random_state):
    """Return the candidate widths; only one if there are no folds to choose by."""
    if not is_auto(sigma):
        return np.array([sigma], dtype=np.float64)
    median = median_distance([S, T], random_state)
    return median * _WIDTHS if n_folds > 1 else np.array([median])
