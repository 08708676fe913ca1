"""The two limits: a model of the target alone, and one model for source and target rows."""

from functools import partial
from typing import Any, Literal

import numpy as np

from ..base import (
    Adaptation,
    AdaptationResult,
    fit_target,
    is_auto,
    number,
    takes_weights,
)  # fmt: skip
from ..evaluation import best_candidate, candidate_errors
from ..pooled_rows import PooledRows, weight_steps

__all__ = ["Independent", "Pooled", "weight_errors", "weight_grid"]

# Candidates for the weight of a target row are at most this factor apart, and at most this many.
_STEP, _MOST_CANDIDATES = 4.0, 9


class Independent(Adaptation):
    """A model of the target's rows alone; sources are not used.

    This is a baseline for the other adaptations. Steps that prepare the rows (`preprocessor`, the
    first steps of a Pipeline) are still fitted on source and target rows.

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

    def _fit(self, problem, random_state, progress):
        """Fit a clone of the estimator on the target's rows."""
        progress(f"fitting on {len(problem.y)} target rows")
        predictor = fit_target(problem, problem.all_rows)
        return AdaptationResult(predictor, np.zeros(len(problem.sources)))


class Pooled(Adaptation):
    r"""One model for all rows, with a weight of target rows relative to source rows.

    With the squared loss, for instance, it minimises

    .. math:: \sum_{i \in \text{target}} w_i (y_i - f(x_i))^2
        + \frac{1}{\lambda} \sum_{j \in \text{source}} w_j (y_j - f(x_j))^2 + \text{penalty}(f)

    where :math:`\lambda` is `target_weight` and :math:`w` are sample weights. At 1 all rows have
    the same weight; as it increases, the model approaches that of the target's rows alone, with the
    same strength of the estimator's own penalty.

    Parameters
    ----------
    target_weight : "auto" or float, default="auto"
        The weight of a target row, relative to a source row; above zero. "auto" chooses among up to
        nine weights from 1 up, in equal ratios, to where all source rows together count a tenth of
        the target rows, by cross-validation over target rows (``cv`` of `TransferEstimator`), with
        all source rows in training, and with the squared error, or the log-loss (the error rate if
        the estimator has no probabilities). With a single target row it is 1.

    Notes
    -----
    For an estimator that does not support ``sample_weight``, every target row is repeated
    `target_weight` times, which must then be a whole number. Repeated rows are misleading if the
    estimator splits rows internally, as early stopping does. An estimator that passes on its fit
    parameters, such as a VotingRegressor, receives weights, and raises an error if an estimator
    within does not support them. Do not use a GridSearchCV as estimator: its scores are mostly
    those of source rows; use it around `TransferEstimator`.

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

    _checks = {
        "target_weight": number(
            above=0.0,
            auto=True,
            why="the weight of a target row, relative to a source row",
        ),
    }

    def __init__(self, target_weight: float | Literal["auto"] = "auto"):
        self.target_weight = target_weight

    def _check_given(self, *, estimator: Any, **given: bool) -> None:
        super()._check_given(estimator=estimator, **given)
        if takes_weights(estimator) or self.target_weight == 1:
            return
        value: Any = self.target_weight
        if not is_auto(value) and (value != int(value) or value < 1):
            raise ValueError(
                f"target_weight={value!r} needs sample_weight in fit, which estimator="
                f"{type(estimator).__name__} does not support; set a whole number, so that target "
                "rows can be repeated."
            )

    def _fit(self, problem, random_state, progress):
        """Choose the weight by cross-validation, and fit a clone of the estimator on all rows."""
        repeat = not takes_weights(problem.estimator)
        target_weight, history = self.target_weight, {}
        if is_auto(target_weight):
            target_weight, history = _choose(problem, repeat, progress)
        n_rows = len(problem.y) + sum(len(source.y) for source in problem.sources)
        progress(f"fitting on {n_rows} rows, target rows with weight {target_weight:g}")
        predictor = _fit_pooled(PooledRows(problem, problem.all_rows), target_weight, repeat)
        weights = np.full(len(problem.sources), 1.0 / target_weight)
        return AdaptationResult(predictor, weights, history=history)


def _choose(problem, repeat, progress):
    """Return the target weight with the smallest cross-validated error, and the history."""
    grid = weight_grid(problem, repeat)
    if not problem.splits or len(grid) == 1:
        return 1.0, {}
    # Of equals the first, which uses the sources most.
    models = partial(_models, problem, grid, repeat)
    target_weight, errors = best_candidate(problem, grid, models, progress)
    return float(target_weight), {"target_weight": grid, "error": errors}


def weight_errors(problem, grid, repeat):
    """Return the cross-validated error of every weight of a target row in `grid`.

    `repeat`: whether to repeat rows, because the estimator does not support weights.
    """
    return candidate_errors(problem, partial(_models, problem, grid, repeat))


def weight_grid(problem, repeat):
    """Return candidate weights of a target row, from 1 to where all source rows count little."""
    source_weight = sum(source.total_weight for source in problem.sources)
    grid = 1.0 / weight_steps(source_weight, problem.total_weight, _STEP, _MOST_CANDIDATES)
    return np.unique(np.rint(grid)) if repeat else grid


def _models(problem, grid, repeat, index):
    pool = PooledRows(problem, index)
    for target_weight in grid:
        yield _fit_pooled(pool, target_weight, repeat)


def _fit_pooled(pool, target_weight, repeat):
    weights = np.full(len(pool.problem.sources), 1.0 if repeat else 1.0 / target_weight)
    return pool.fit(weights, times=int(target_weight) if repeat else 1)
