"""The two limits: the target alone, and one model for source and target rows together."""

from functools import partial

import numpy as np

from ..base import Adaptation, AdaptationResult, check_number, fit_target, is_auto, takes_weights
from ..judge import candidate_errors
from ..pool import Pool, steps_down, total_weight

__all__ = ["Independent", "Pooled", "weight_errors", "weight_grid"]

# Candidates for the weight of a target row are at most this factor apart, and at most so many.
_STEP, _MOST_CANDIDATES = 4.0, 9


class Independent(Adaptation):
    """The target's rows alone; sources are not used.

    What to compare with: help from elsewhere should beat it. Steps that prepare the rows
    (`preprocessor`, a Pipeline's first steps) still see source and target rows alike.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> source = Source([[0.0], [1.0]], [5.0, 7.0])
    >>> model = TransferEstimator(Ridge(0.0), source=source, adaptation="independent")
    >>> model.fit([[0.0], [1.0]], [1.0, 2.0]).predict([[2.0]])
    array([3.])
    """

    needs_numbers = False
    needs_random_state = False

    def fit(self, problem, random_state, progress):
        """Fit a clone of the estimator on the target's rows."""
        progress(f"fitting on {len(problem.y)} target rows")
        predictor = fit_target(problem, np.arange(len(problem.y)))
        return AdaptationResult(predictor, np.zeros(len(problem.sources)))


class Pooled(Adaptation):
    r"""One model for all rows, in which a target row counts more than a source row.

    With squared loss, for instance, it minimises

    .. math:: \sum_{i \in \text{target}} w_i (y_i - f(x_i))^2
        + \frac{1}{\lambda} \sum_{j \in \text{source}} w_j (y_j - f(x_j))^2 + \text{penalty}(f)

    where :math:`\lambda` is `target_weight` and :math:`w` are sample weights. At 1 all rows count
    the same; with larger weights the model comes close to that of the target's rows alone, at the
    same strength of the estimator's own penalty.

    Parameters
    ----------
    target_weight : "auto" or float, default="auto"
        How many source rows a target row counts for, above zero. "auto" takes the best of up to
        nine weights from 1 on, in equal ratios, up to where all source rows together count a tenth
        of the target rows: by cross-validation over target rows (``cv`` of `TransferEstimator`),
        source rows always in training; squared error, or log-loss (error rate where the estimator
        has no probabilities). With a single target row there is nothing to judge by, and it is 1.

    Notes
    -----
    An estimator that does not take ``sample_weight`` gets every target row `target_weight` times,
    which must then be a whole number. Repeated rows mislead what splits rows inside the
    estimator, such as early stopping. An estimator that hands on its fit parameters, such as a
    VotingRegressor, is given weights, and raises where one within it takes none. Do not search
    within: a GridSearchCV as estimator judges mostly by source rows; put it around
    `TransferEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import Pooled
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(300, 4)), rng.normal(size=(12, 4))
    >>> coef = np.array([1.0, -2.0, 0.5, 3.0])
    >>> y, y_target = X @ coef + rng.normal(size=300), X_target @ coef + rng.normal(size=12)
    >>> model = TransferEstimator(source=Source(X, y), adaptation=Pooled(target_weight=4.0))
    >>> model = model.fit(X_target, y_target)
    >>> model.source_weights_
    array([0.25])
    >>> bool(np.abs(model.estimator_.coef_ - coef).max() < 0.2)
    True
    """

    needs_numbers = False

    def __init__(self, target_weight="auto"):
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError unless `target_weight` is "auto" or above zero."""
        check_number(
            self, "target_weight", above=0.0, auto=True,
            why="how many source rows a target row counts for",
        )  # fmt: skip

    def check_given(self, *, estimator, **given):
        super().check_given(estimator=estimator, **given)
        if takes_weights(estimator) or self.target_weight == 1:
            return
        name, value = type(estimator).__name__, self.target_weight
        if not is_auto(value) and (value != int(value) or value < 1):
            raise ValueError(
                f"target_weight={value!r} needs sample_weight in fit, which estimator={name} does "
                "not support; give a whole number, so that target rows can be repeated."
            )

    def fit(self, problem, random_state, progress):
        """Fit a clone of the estimator on all rows, once for every candidate and split and once."""
        repeat = not takes_weights(problem.estimator)
        target_weight, history = self.target_weight, {}
        if is_auto(target_weight):
            target_weight, history = _choose(problem, repeat, progress)
        n_rows = len(problem.y) + sum(len(source.y) for source in problem.sources)
        progress(f"fitting on {n_rows} rows, a target row counting {target_weight:g} times")
        predictor = _fit(Pool(problem, np.arange(len(problem.y))), target_weight, repeat)
        source_weights = np.full(len(problem.sources), 1.0 / target_weight)
        return AdaptationResult(predictor, source_weights, history=history)


def _choose(problem, repeat, progress):
    """The target weight of least cross-validated error, and what was tried."""
    grid = weight_grid(problem, repeat)
    if not problem.splits or len(grid) == 1:
        return 1.0, {}
    progress(f"judging {len(grid)} weights of target rows in {len(problem.splits)} splits")
    error = weight_errors(problem, grid, repeat)
    # Of equals the first, which uses the sources most.
    return float(grid[np.argmin(error)]), {"target_weight": grid, "error": error}


def weight_errors(problem, grid, repeat):
    """The cross-validated error of every weight of a target row in `grid`.

    `repeat`: by repeating rows, as the estimator takes no weights.
    """
    return candidate_errors(problem, partial(_models, problem, grid, repeat))


def weight_grid(problem, repeat):
    """Candidates from 1 to where all source rows together count little."""
    of_sources = sum(total_weight(source) for source in problem.sources)
    grid = 1.0 / steps_down(of_sources, total_weight(problem), _STEP, _MOST_CANDIDATES)
    return np.unique(np.rint(grid)) if repeat else grid


def _models(problem, grid, repeat, index):
    pool = Pool(problem, index)
    for target_weight in grid:
        yield _fit(pool, target_weight, repeat)


def _fit(pool, target_weight, repeat):
    n_sources = len(pool.problem.sources)
    if repeat:
        return pool.fit(np.ones(n_sources), times=int(target_weight))
    return pool.fit(np.full(n_sources, 1.0 / target_weight))
