"""What estimates of the density ratio have in common: the fit that follows, centres, folds."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._compat import take_rows
from ...tasks.stack import stack_rows
from ..base import Adaptation, AdaptationResult, check_number, fit_rows, is_auto
from ..pool import features_of_target, stack_groups
from ._gaussian import distinct_rows, median_distance

__all__ = ["N_FOLDS", "DensityRatio", "deal_folds", "draw_centers", "warn_of_gap", "widths_to_try"]

N_FOLDS = 5
# Widths tried, as shares of the median distance of two rows.
_WIDTHS = np.geomspace(0.125, 8.0, 9)


class DensityRatio(Adaptation):
    """Estimates the ratio at the source rows and fits on rows weighed by it.

    Subclasses have ``_ratios(S, w, T, v, random_state, progress)``: distinct source and target rows
    with their weights, to the ratio at the source rows and the history.
    """

    needs_labels = False
    uses_unlabeled = True
    needs_weights = True

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        check_number(self, "target_weight", above=0.0, why="how much a labelled target row counts")
        check_number(self, "sigma", above=0.0, auto=True, why="the width of the kernel")

    def fit(self, problem, random_state, progress):
        """Estimate the ratio, and fit a clone of the estimator on all labelled rows."""
        weights = [source.row_weight for source in problem.sources]
        w = np.concatenate(weights)
        X_source, y_source, _ = stack_groups(problem.sources)
        S, ws, place = distinct_rows(X_source, w)
        T, vt, _ = distinct_rows(*features_of_target(problem))
        ratios, history = self._ratios(S, ws, T, vt, random_state, progress)
        ratio = ratios[place]
        if not (ratio > 0.0).any():
            raise ValueError(
                f"the adaptation {type(self).__name__} found no source row like the target's: all "
                f"ratios are zero. Give a larger sigma (it is {self.sigma!r}), or scale the "
                "columns alike by preprocessor= or a Pipeline as estimator=."
            )
        predictor = self._fit_weighted(problem, X_source, y_source, w * ratio, progress)
        parts = np.split(ratio, np.cumsum([len(part) for part in weights])[:-1])
        mean = np.array([(a * r).sum() / a.sum() for a, r in zip(weights, parts, strict=True)])
        report = {
            "effective_rows": np.array(
                [_effective(a, r) for a, r in zip(weights, parts, strict=True)]
            ),
            "largest_ratio": np.array([r.max() for r in parts]),
        }
        labelled = 1.0 if problem.y is None else self.target_weight
        return AdaptationResult(predictor, mean / labelled, report, history)

    def _fit_weighted(self, problem, X, y, weight, progress):
        """A clone fitted on source rows of positive weight, and the target's where labelled."""
        used = np.flatnonzero(weight)
        if len(used) < len(weight):
            X, y, weight = take_rows(X, used), y[used], weight[used]
        if problem.y is not None:
            X, y = stack_rows([X, problem.X]), np.concatenate([y, problem.y])
            weight = np.concatenate([weight, self.target_weight * problem.row_weight])
        progress(f"fitting on {len(y)} rows, source rows weighed")
        return fit_rows(problem.estimator, X, y, weight)


def _effective(weight, ratio):
    """Kish's effective number of rows; those of integer weights are repeated rows."""
    square = (weight * ratio**2).sum()
    return (weight * ratio).sum() ** 2 / square if square > 0.0 else 0.0


def draw_centers(T, n_centers, random_state):
    """Return `n_centers` target rows drawn at random; all, where there are no more."""
    n = T.shape[0]
    if n <= n_centers:
        return T
    return take_rows(T, np.sort(random_state.choice(n, n_centers, replace=False)))


def deal_folds(n, n_folds, random_state):
    """Return the fold of each row, at random."""
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
    """Return the widths to choose from: one, where there is nothing to judge by."""
    if not is_auto(sigma):
        return np.array([sigma], dtype=np.float64)
    median = median_distance([S, T], random_state)
    return median * _WIDTHS if n_folds > 1 else np.array([median])
