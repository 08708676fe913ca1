"""A linear map to a few components that sources and target share."""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._compat import take_rows
from ...solvers.shared_map import MappedTask, SharedMap
from ...tasks.stack import as_dense
from ...tasks.targets import class_codes
from ..base import (
    Adaptation,
    AdaptationResult,
    enough_classes,
    fit_target,
    is_auto,
    number,
    require_two_classes,
    splits_with_classes,
)  # fmt: skip
from ..evaluation import candidate_errors
from ..linear_models import check_linear, class_factors, one_hot, read_scores, write_scores

__all__ = ["FeatureMap"]

# Candidates for alpha, as shares of the smallest alpha at which all slopes are zero.
_SHARES = np.array([0.3, 0.1, 0.03, 0.01])


class FeatureMap(Adaptation):
    r"""A linear map of the features, shared by sources and target, with one linear head per task.

    All tasks, sources and target, share a linear map g(x) = A'x of the features to a few
    components, and each has a linear head :math:`(h_t, c_t)` on them:

    .. math:: \min_{A, h, c} \; \sum_{s} L_s(h_s'A'x + c_s) + \lambda L_T(h_T'A'x + c_T)
        + \frac{\mu}{2} \Big( \|A\|_F^2 + \sum_t \|h_t\|^2 \Big)

    where L are sums over rows of half the squared error, or of the log-loss, :math:`\lambda` is
    `target_weight` and :math:`\mu` is `alpha`. With as many components as tasks this is the
    trace-norm penalty on the tasks' slopes; with fewer components their rank is bounded too. The
    result is an ordinary linear model of the features, :math:`b_T = A h_T`.

    The assumption is that the target's slopes are a combination of a few directions that the
    sources reveal, with any coefficients: sources with opposite slopes help as well. With one
    source and one component the target's slopes are those of the source (as estimated from both),
    times a factor. Target labels are needed.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Number of components; at most the number of features, and at most the number of scores of
        all tasks: one per task for numbers or two classes, otherwise one per class. "auto" tries 1,
        2 and 4, as long as more components help, along with `alpha`, by cross-validation over
        target rows (``cv`` of `TransferEstimator`), with the squared error or the log-loss. It also
        tries the estimator fitted on the target's rows alone, as a guard against harmful sources.
    alpha : "auto" or float, default="auto"
        Strength of the penalty :math:`\mu`, above zero, relative to losses summed over rows. "auto"
        tries 0.3, 0.1, 0.03 and 0.01 times the smallest value at which all slopes are zero; if
        cross-validation is not possible, it is 0.1 times that value. If both `alpha` and
        `n_components` are given, there is no guard.
    target_weight : float, default=1.0
        The weight of a target row, relative to a source row; above zero.

    Notes
    -----
    **The problem is not convex**: it is solved to a stationary point, starting from the leading
    directions of rough models of the tasks, by steps that never increase the objective. Without
    "auto", ``history_`` contains the objective after each step, and under "excess" a certificate:
    if it is at most 1 (up to rounding), no map with any number of components has a lower objective.

    The estimator determines the loss, squared error or (LogisticRegression) log-loss; its own
    penalty is used only when it is fitted on the target's rows alone. The penalty depends on the
    scales of features: scale them in a Pipeline.

    Heads are separate, so that the model cannot predict classes that the target's rows lack;
    sources of a single class are not used. ``source_weights_`` are 1 / `target_weight` for sources
    that are used, otherwise 0.

    References
    ----------
    Ando, R. K. and Zhang, T. (2005). A framework for learning predictive structures from multiple
    tasks and unlabeled data. Journal of Machine Learning Research 6.
    https://www.jmlr.org/papers/v6/ando05a.html

    Argyriou, A., Evgeniou, T. and Pontil, M. (2008). Convex multi-task feature learning. Machine
    Learning 73. :doi:`10.1007/s10994-007-5040-8`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> coef = rng.normal(size=10)
    >>> X, X_new, X_later = (rng.normal(size=(n, 10)) for n in (300, 12, 1000))
    >>> opposite = Source(X, -2 * X @ coef + 0.5 * rng.normal(size=300))
    >>> y_new, y_later = X_new @ coef + 0.5 * rng.normal(size=12), X_later @ coef
    >>> model = TransferEstimator(Ridge(), source=opposite, adaptation="feature_map")
    >>> model.fit(X_new, y_new).score(X_later, y_later) > 0.95
    True
    """

    _checks = {
        "n_components": number(
            least=1,
            auto=True,
            whole=True,
            why="the number of components of the shared map",
        ),
        "alpha": number(above=0.0, auto=True, why="the penalty of map and heads"),
        "target_weight": number(
            above=0.0,
            why="the weight of a target row, relative to a source row",
        ),
    }

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        alpha: float | Literal["auto"] = "auto",
        target_weight: float = 1.0,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.target_weight = target_weight

    def _check_given(self, *, estimator: Any, classifier: bool, **given: bool) -> None:
        super()._check_given(estimator=estimator, classifier=classifier, **given)
        check_linear(self, estimator, classifier)

    def _fit(self, problem, random_state, progress):
        """Choose the candidate by cross-validation, and fit map and heads on all rows."""
        require_two_classes(problem, self)
        alone = fit_target(problem, problem.all_rows)
        read_scores(alone, None, self)  # raises unless it is a linear model
        used = [s for s, rows in enumerate(problem.sources) if enough_classes(problem, rows.y)]
        sources = [_mapped_task(problem, problem.sources[s]) for s in used]
        tasks = [*sources, self._target_task(problem, problem.all_rows)]
        most = min(problem.X.shape[1], sum(task.target.shape[1] for task in tasks))
        n_components = [1, 2, 4] if is_auto(self.n_components) else [self.n_components]
        n_components = sorted({min(n, most) for n in n_components})
        alphas = [self.alpha]
        if is_auto(self.alpha):
            alphas = ((SharedMap(tasks, 1).strongest() or 1.0) * _SHARES).tolist()
        splits = splits_with_classes(problem)
        chosen, history = (n_components[0], alphas[min(1, len(alphas) - 1)]), {}
        if splits and len(n_components) * len(alphas) > 1:
            problem = replace(problem, splits=splits)
            chosen, history = self._choose(problem, sources, n_components, alphas, progress)
        n, alpha = chosen
        weights = np.zeros(len(problem.sources))
        if n == 0:
            progress("fitting on the target's rows alone")
            return AdaptationResult(alone, weights, history=history)
        progress(f"fitting {n} components of {len(tasks)} tasks")
        shared = SharedMap(tasks, n)
        solution = shared.solve(alpha)
        weights[used] = 1.0 / self.target_weight
        history = history or {
            "objective": np.array(solution.history),
            "excess": np.full(len(solution.history), shared.excess(solution, alpha)),
        }
        predictor = self._target_model(problem, alone, shared, solution, problem.all_rows)
        return AdaptationResult(predictor, weights, history=history)

    def _target_task(self, problem, index):
        return _mapped_task(problem, problem.take(index)).scaled(self.target_weight)

    def _choose(self, problem, sources, n_components, alphas, progress):
        """Return the best (n_components, alpha), or (0, None) for no map, and the history.

        More components are tried as long as they reduce the error.
        """
        progress(
            f"evaluating up to {len(n_components) * len(alphas)} candidates in "
            f"{len(problem.splits)} splits"
        )
        alone = candidate_errors(problem, partial(_alone, problem))
        tried, error = [], []
        for n in n_components:
            models = partial(self._models, problem, sources, n, alphas)
            errors = candidate_errors(problem, models)
            better = not error or errors.min() < min(error)
            tried += [(n, alpha) for alpha in alphas]
            error += errors.tolist()
            if not better:
                break
            # More components need no weaker penalty, and weak penalties take longest.
            alphas = alphas[: errors.argmin() + 2]
        history = {
            "n_components": np.array([n for n, _ in tried] + [0]),
            "alpha": np.array([alpha for _, alpha in tried] + [np.nan]),
            "error": np.array([*error, *alone]),
        }
        # Of equals the first: the fewest components and the strongest penalty.
        return [*tried, (0, None)][np.argmin(history["error"])], history

    def _models(self, problem, sources, n_components, alphas, index):
        """Yield the model for every alpha, the strongest first."""
        shared = SharedMap([*sources, self._target_task(problem, index)], n_components)
        alone, solution = fit_target(problem, index), None
        for alpha in alphas:
            with warnings.catch_warnings():  # the chosen candidate is fitted again
                warnings.simplefilter("ignore", ConvergenceWarning)
                solution = shared.solve(alpha, solution, tol=1e-4)
            yield self._target_model(problem, alone, shared, solution, index)

    def _target_model(self, problem, alone, shared, solution, index):
        """Return the target's model of the features."""
        coef, intercept = shared.model(solution, len(shared.tasks) - 1)
        classes = np.unique(problem.y[index]) if problem.classifier else None
        X = take_rows(problem.X, index)
        return write_scores(alone, coef, intercept, classes, X, self)


def _alone(problem, index):
    yield fit_target(problem, index)


def _mapped_task(problem, rows):
    """Return the rows of a source or of the target as a `MappedTask`, with their own classes."""
    X, weight = as_dense(rows.X), rows.row_weight
    fit_intercept = getattr(problem.estimator, "fit_intercept", True)
    if not problem.classifier:
        return MappedTask.of(X, rows.y[:, None], weight, True, fit_intercept)
    classes = np.unique(rows.y)
    codes = class_codes(rows.y, classes)
    weight = weight * class_factors(problem.estimator, classes, codes, weight)[codes]
    return MappedTask.of(X, one_hot(rows.y, classes), weight, False, fit_intercept)
