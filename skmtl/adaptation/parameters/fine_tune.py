"""Gradient steps on the target that start from the source's model."""

from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from ..._compat import take_rows
from ...solvers.anchored import gradient_path
from ..base import (
    Adaptation,
    AdaptationResult,
    choice,
    fit_target,
    is_auto,
    number,
)  # fmt: skip
from ..evaluation import best_candidate, row_errors
from ..linear_models import (
    check_linear,
    one_hot,
    own_penalty,
    read_scores,
    target_rows,
    write_scores,
)  # fmt: skip
from ._candidates import can_fit_target, source_models
from ._perceptron import LaterLayers, descent_path
from ._source_heads import SourceHeads, check_source_heads

__all__ = ["FineTune"]

_EPOCHS = [0, *(2**k for k in range(11))]


class FineTune(Adaptation):
    r"""Gradient steps on the target's rows that start from the source's model.

    A linear model, or a perceptron (MLPRegressor, MLPClassifier), is fitted on the source's rows.
    From its parameters :math:`\theta^S`, gradient steps reduce the loss on the target's rows,

    .. math:: \theta_0 = \theta^S, \quad \theta_{k+1} = \theta_k - r_k \nabla \Big( \sum_i w_i
        \ell(f_\theta(x_i), y_i) + \text{penalty}(\theta) \Big),

    and stop early. After few steps, parameters that the target's rows say little about are still
    the source's; the effect is similar to that of `ShrinkToSource`. Every step uses all target
    rows, so that an epoch is one step, and the order of rows does not matter. At 0 epochs the
    result is the source's model; infinity stands for the estimator fitted on the target's rows
    alone, which is the guard against a harmful source.

    The assumption is that the source's model is close to one that is good for the target or, with
    frozen layers, that the output of these is useful for both. Target labels are needed.

    Parameters
    ----------
    n_epochs : "auto", int or inf, default="auto"
        Number of steps on the target's rows. "auto" chooses among 0, 1, 2, 4, ..., 1024 and
        infinity by cross-validation over target rows (``cv`` of `TransferEstimator`), with the
        squared error or the log-loss. With a single target row it is 0.
    n_frozen : int, default=0
        Number of first layers of the perceptron that stay as they are. A linear model has one
        layer.
    sources : {"nearest", "all"}, default="nearest"
        With several sources, whether to start from the model of all their rows only ("all"), or
        also from those of the nearest ones: sources are sorted by the error of each one's model on
        the target's rows (regardless of the level, for numbers), and the first one, two, four, ...,
        all are tried along with `n_epochs`.
    source_heads : {"common", "per_source"}, default="common"
        How a perceptron is fitted on several sources: "common" fits the estimator on their rows as
        if they were one. With "per_source" all sources share the hidden layers, and each has a head
        (an output layer) of its own, as in `skmtl.sharing.SharedHiddenLayers`. Gradient steps then
        start from a head for the target, fitted on its rows under the prior that the sources' heads
        imply; at 0 epochs this head is the only part that has seen the target. `sources` has no
        meaning then. For regressors and two classes, with the activation "relu" or "tanh". Of the
        estimator's parameters, those that concern training have no effect on this fit: it is
        Adam with early stopping, and a chosen strength.

    Notes
    -----
    For a linear regressor the loss is the squared error, with the penalty of a Ridge; for a
    LogisticRegression, the log-loss with its penalty; for a perceptron, its own loss and penalty,
    whatever its solver. Steps are plain gradient steps, as long as the curvature allows, and never
    increase the objective. With features of very different scales some of them make slow progress:
    scale features in a Pipeline. Other fitted attributes, such as ``loss_curve_``, are those of the
    fit on the source. A perceptron cannot learn classes that the source lacks.

    ``source_weights_`` are 1 for the sources whose model is the starting point, otherwise 0.

    References
    ----------
    Yao, Y., Rosasco, L. and Caponnetto, A. (2007). On early stopping in gradient descent learning.
    Constructive Approximation 26. :doi:`10.1007/s00365-006-0663-2`

    Caruana, R. (1997). Multitask learning. Machine Learning 28. :doi:`10.1023/A:1007379606734`

    Yosinski, J., Clune, J., Bengio, Y. and Lipson, H. (2014). How transferable are features in
    deep neural networks? NeurIPS. :doi:`10.48550/arXiv.1411.1792`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import FineTune
    >>> rng = np.random.default_rng(0)
    >>> X, X_new, X_later = (rng.uniform(-2, 2, size=(n, 2)) for n in (400, 15, 500))
    >>> old = Source(X, np.sin(2 * X[:, 0]) * X[:, 1])
    >>> y_new, y_later = (1.5 * np.sin(2 * T[:, 0]) * T[:, 1] for T in (X_new, X_later))
    >>> mlp = MLPRegressor(
    ...     hidden_layer_sizes=(30,), solver="lbfgs", max_iter=1000, random_state=0
    ... )
    >>> model = TransferEstimator(mlp, source=old, adaptation=FineTune(n_frozen=1))
    >>> model.fit(X_new, y_new).score(X_later, y_later) > 0.9
    True
    """

    _checks = {
        "n_epochs": number(
            least=0,
            auto=True,
            whole=True,
            infinite=True,
            why="steps on the target's rows; np.inf is a fit on these alone",
        ),
        "n_frozen": number(least=0, whole=True, why="the number of fixed layers"),
        "sources": choice("nearest", "all"),
        "source_heads": choice("common", "per_source"),
    }

    def __init__(
        self,
        n_epochs: float | Literal["auto"] = "auto",
        n_frozen: int = 0,
        sources: Literal["nearest", "all"] = "nearest",
        source_heads: Literal["common", "per_source"] = "common",
    ):
        self.n_epochs = n_epochs
        self.n_frozen = n_frozen
        self.sources = sources
        self.source_heads = source_heads

    def _check_given(self, *, estimator: Any, classifier: bool, **given: bool) -> None:
        super()._check_given(estimator=estimator, classifier=classifier, **given)
        n_layers, name = 1, type(estimator).__name__
        if isinstance(estimator, (MLPClassifier, MLPRegressor)):
            n_layers += np.size(estimator.hidden_layer_sizes)
            if getattr(estimator, "loss", "squared_error") not in ("squared_error", "log_loss"):
                raise ValueError(
                    f"the adaptation FineTune supports loss='squared_error' only, but "
                    f"estimator={name} has loss={estimator.loss!r}."
                )
        else:
            check_linear(self, estimator, classifier)
        if self.source_heads == "per_source":
            check_source_heads(estimator, n_layers)
        if self.n_frozen >= n_layers:
            raise ValueError(
                f"n_frozen={self.n_frozen} leaves nothing to train: estimator={name} has "
                f"{n_layers} layer{'s' if n_layers > 1 else ''}, counting the output layer; "
                "freeze fewer."
            )

    def _fit(self, problem, random_state, progress):
        """Choose the candidate by cross-validation, and train it on all target rows."""
        progress(f"fitting on the rows of {len(problem.sources)} sources")
        network = isinstance(problem.estimator, (MLPClassifier, MLPRegressor))
        if self.source_heads == "per_source":
            models = [(np.arange(len(problem.sources)), SourceHeads(problem, random_state))]
        else:
            models = source_models(problem, self.sources, partial(_source_error, problem))
        if network and problem.classifier and self.source_heads == "common":
            _check_outputs(models[0][1], problem)
            models = [pair for pair in models if len(pair[1].classes_) == len(problem.classes)]
        path = partial(self._path, self._network_path if network else self._linear_path)
        epochs, alone, history = [self.n_epochs], [], {}
        if is_auto(self.n_epochs):
            epochs = _EPOCHS if problem.splits else [0]
            alone = [np.inf] * (bool(problem.splits) and can_fit_target(problem))
        # Of equals the first: all sources, and the fewest steps.
        tried = [(pair, n) for pair in models for n in epochs] + [(models[0], n) for n in alone]
        (group, model), n = tried[0]
        if problem.splits and len(tried) > 1:
            paths = partial(_paths, path, problem, models, epochs, alone)
            ((group, model), n), errors = best_candidate(problem, tried, paths, progress)
            history = {
                "n_sources": np.array([len(group) for (group, _), _ in tried]),
                "n_epochs": np.array([float(n) for _, n in tried]),
                "error": errors,
            }
        progress(f"training on {len(problem.y)} target rows, {n:g} epochs")
        (predictor,) = path(problem, model, [n], problem.all_rows)
        weights = np.zeros(len(problem.sources))
        weights[group] = float(n < np.inf)
        return AdaptationResult(predictor, weights, history=history)

    def _path(self, gradient_steps, problem, model, epochs, index):
        """Yield models after each number of epochs (ascending) on the target rows `index`."""
        yield from gradient_steps(problem, model, [int(n) for n in epochs if n < np.inf], index)
        if np.inf in epochs:
            yield fit_target(problem, index)

    def _linear_path(self, problem, model, epochs, index):
        rows, X = target_rows(problem, index), take_rows(problem.X, index)
        start, penalty = read_scores(model, problem.classes, self), own_penalty(model) or 0.0
        for coef, intercept in gradient_path(rows, *start, penalty, epochs):
            yield write_scores(model, coef, intercept, problem.classes, X, self)

    def _network_path(self, problem, model, epochs, index):
        rows = problem.take(index)
        if isinstance(model, SourceHeads):
            model = model.adapted(rows)
        target = one_hot(rows.y, model.classes_) if problem.classifier else rows.y[:, None]
        layers = LaterLayers(model, self.n_frozen, rows.X, target, rows.row_weight)
        # One thread: products are small, and results do not depend on the number of threads.
        with threadpool_limits(1, user_api="blas"):
            for x in descent_path(layers, epochs):
                yield layers.write(x)


def _paths(path, problem, models, epochs, alone, index):
    for _, model in models:
        yield from path(problem, model, epochs, index)
    yield from (fit_target(problem, index) for _ in alone)


def _source_error(problem, model):
    """Return the error of a model on the target's rows, regardless of the level of numbers."""
    weight = problem.row_weight
    if problem.classifier:
        return weight @ row_errors(model, problem.X, problem.y, problem.classes)
    residuals = problem.y - model.predict(problem.X)
    return weight @ (residuals - weight @ residuals / weight.sum()) ** 2


def _check_outputs(model, problem):
    unknown = np.setdiff1d(problem.y, model.classes_)
    if len(unknown):
        raise ValueError(
            f"y has classes that no source has, such as {unknown.tolist()[0]!r}, and "
            f"estimator={type(model).__name__} has no output for them; drop these rows, or use "
            "adaptation='auto'."
        )
