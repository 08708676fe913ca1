"""A few combinations of the features that sources and target share."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._compat import take_rows
from ...solvers.shared_map import MappedTask, SharedMap
from ...tasks.stack import as_dense
from ...tasks.targets import class_codes
from ..base import (
    Adaptation,
    AdaptationResult,
    check_number,
    fit_target,
    is_auto,
    need_two_classes,
    tells_classes,
)  # fmt: skip
from ..judge import candidate_errors
from ..linear_models import check_linear, class_factors, one_hot, read_scores, write_scores

__all__ = ["FeatureMap"]

# Candidates for alpha, relative to that where all slopes are zero.
_SHARES = np.array([0.3, 0.1, 0.03, 0.01])


class FeatureMap(Adaptation):
    r"""A few combinations of the features that sources and target share, each with its own use.

    All tasks, sources and target, share a linear map g(x) = A'x of the features to a few
    components, and each has a linear head :math:`(h_t, c_t)` on them:

    .. math:: \min_{A, h, c} \; \sum_{s} L_s(h_s'A'x + c_s) + \lambda L_T(h_T'A'x + c_T)
        + \frac{\mu}{2} \Big( \|A\|_F^2 + \sum_t \|h_t\|^2 \Big)

    where L are sums over rows of half the squared error, or of the log-loss, :math:`\lambda` is
    `target_weight` and :math:`\mu` is `alpha`. With as many components as tasks this is the
    penalty of the trace norm on the tasks' slopes; with few, their rank is bounded too. What comes
    of it is an ordinary linear model in the features, :math:`b_T = A h_T`.

    It assumes that the target's slopes are a combination of few directions that sources show,
    in whatever proportion and sign: sources that say the opposite help as well. With one source
    and one component the target's slopes are those of the source (as both see them), times a
    factor. It needs labels of the target.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Components; at most as many as there are features, and scores of tasks: one of each task
        with numbers or two classes, else one a class. "auto" tries 1, 2 and 4, as long as more of
        them help, along with `alpha`, by cross-validation over target rows (``cv`` of
        `TransferEstimator`), by squared error or log-loss; and the estimator fitted on the target's
        rows alone, which is what protects from sources that harm.
    alpha : "auto" or float, default="auto"
        Penalty :math:`\mu`, above zero, beside the sum of the losses of rows. "auto" tries 0.3,
        0.1, 0.03 and 0.01 times that from which on all slopes are zero; where there is nothing to
        judge by, it takes 0.1. If it is given, and `n_components` too, there is no guard.
    target_weight : float, default=1.0
        How many source rows a target row counts for, above zero.

    Notes
    -----
    **The problem is not convex**: it is solved to a stationary point, from the leading
    directions of the tasks' own rough models, by steps none of which makes the objective larger.
    Without "auto" ``history_`` has the objective after each, and under "excess" a certificate: at
    most 1 (up to rounding) says that no map of any number of components has a lower objective.

    The estimator says what the loss is, squared error or (LogisticRegression) log-loss; its
    own penalty counts only where it is fitted on the target's rows alone. The penalty sees
    features as they are: scale them in a Pipeline.

    Heads are apart, so that classes which the target's rows do not show are unknown; sources
    of a single class are not used. ``source_weights_`` are 1 / `target_weight` for those used,
    else 0.

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

    def __init__(self, n_components="auto", alpha="auto", target_weight=1.0):
        self.n_components = n_components
        self.alpha = alpha
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        check_number(
            self, "n_components", least=1, auto=True, whole=True,
            why="how many combinations of the features are shared",
        )  # fmt: skip
        check_number(self, "alpha", above=0.0, auto=True, why="the penalty of map and heads")
        check_number(
            self, "target_weight", above=0.0, why="how many source rows a target row counts for"
        )

    def check_given(self, *, estimator, classifier, **given):
        super().check_given(estimator=estimator, classifier=classifier, **given)
        check_linear(self, estimator, classifier)

    def fit(self, problem, random_state, progress):
        """Fit the map and the heads for every candidate and split, and once more."""
        every = np.arange(len(problem.y))
        need_two_classes(problem, self)
        alone = fit_target(problem, every)
        read_scores(alone, None, self)  # raises where it is no linear model
        used = [s for s, rows in enumerate(problem.sources) if tells_classes(problem, rows.y)]
        sources = [_mapped_task(problem, problem.sources[s]) for s in used]
        tasks = [*sources, self._target_task(problem, every)]
        most = min(problem.X.shape[1], sum(task.target.shape[1] for task in tasks))
        n_components = [1, 2, 4] if is_auto(self.n_components) else [self.n_components]
        n_components = sorted({min(n, most) for n in n_components})
        alphas = [self.alpha]
        if is_auto(self.alpha):
            alphas = ((SharedMap(tasks, 1).strongest() or 1.0) * _SHARES).tolist()
        best, history = (n_components[0], alphas[min(1, len(alphas) - 1)]), {}
        splits = [split for split in problem.splits if tells_classes(problem, problem.y[split[0]])]
        if splits and len(n_components) * len(alphas) > 1:
            judged = replace(problem, splits=splits)
            best, history = self._choose(judged, sources, n_components, alphas, progress)
        weights = np.zeros(len(problem.sources))
        if best[0] == 0:
            progress("fitting on the target's rows alone")
            return AdaptationResult(alone, weights, history=history)
        progress(f"fitting {best[0]} components of {len(tasks)} tasks")
        shared = SharedMap(tasks, best[0])
        solution = shared.solve(best[1])
        weights[used] = 1.0 / self.target_weight
        history = history or {
            "objective": np.array(solution.history),
            "excess": np.full(len(solution.history), shared.excess(solution, best[1])),
        }
        predictor = self._write(problem, alone, shared, solution, every)
        return AdaptationResult(predictor, weights, history=history)

    def _target_task(self, problem, index):
        return _mapped_task(problem, problem.take(index)).scaled(self.target_weight)

    def _choose(self, problem, sources, n_components, alphas, progress):
        """The best (n_components, alpha), (0, None) for none, and what was tried.

        More components are tried as long as they help.
        """
        n_splits = len(problem.splits)
        progress(f"judging up to {len(n_components) * len(alphas)} candidates in {n_splits} splits")
        alone = candidate_errors(problem, partial(_alone, problem))
        tried, error = [], []
        for n in n_components:
            models = partial(self._models, problem, sources, n, alphas)
            found = candidate_errors(problem, models)
            better = not error or found.min() < min(error)
            tried += [(n, alpha) for alpha in alphas]
            error += found.tolist()
            if not better:
                break
            # More components want no weaker penalty, and weak ones take longest.
            alphas = alphas[: found.argmin() + 2]
        history = {
            "n_components": np.array([n for n, _ in tried] + [0]),
            "alpha": np.array([alpha for _, alpha in tried] + [np.nan]),
            "error": np.array([*error, *alone]),
        }
        # Of equals the first: the fewest components, and the strongest penalty.
        return [*tried, (0, None)][np.argmin(history["error"])], history

    def _models(self, problem, sources, n_components, alphas, index):
        """The model of every alpha, the strongest first."""
        shared = SharedMap([*sources, self._target_task(problem, index)], n_components)
        alone, solution = fit_target(problem, index), None
        for alpha in alphas:
            with warnings.catch_warnings():  # the one that is taken is solved again
                warnings.simplefilter("ignore", ConvergenceWarning)
                solution = shared.solve(alpha, solution, tol=1e-4)
            yield self._write(problem, alone, shared, solution, index)

    def _write(self, problem, alone, shared, solution, index):
        """The target's model, in the features as they are."""
        coef, intercept = shared.model(solution, len(shared.tasks) - 1)
        classes = np.unique(problem.y[index]) if problem.classifier else None
        X = take_rows(problem.X, index)
        return write_scores(alone, coef, intercept, classes, X, self)


def _alone(problem, index):
    yield fit_target(problem, index)


def _mapped_task(problem, rows):
    """Rows of a source, or of the target, as a `MappedTask`; of the classes that they show."""
    X = as_dense(rows.X)
    weight, fit_intercept = rows.row_weight, getattr(problem.estimator, "fit_intercept", True)
    if not problem.classifier:
        return MappedTask.of(X, rows.y[:, None], weight, True, fit_intercept)
    classes = np.unique(rows.y)
    codes = class_codes(rows.y, classes)
    weight = weight * class_factors(problem.estimator, classes, codes, weight)[codes]
    return MappedTask.of(X, one_hot(rows.y, classes), weight, False, fit_intercept)
