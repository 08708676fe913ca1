"""Start of fine-tuning from hidden layers that sources share, with a head for each of them."""

import copy
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from ...solvers.shared_layers import ACTIVATIONS, LOG_LOSS, SQUARED, fit_shared_layers
from ...tasks.stack import as_dense
from ..pooled_rows import stack_groups

__all__ = ["SourceHeads", "check_source_heads"]


def check_source_heads(estimator, n_layers):
    """Raise the ValueError for an estimator whose layers cannot be shared with heads by source."""
    activation = getattr(estimator, "activation", None)
    if n_layers < 2 or activation not in ACTIVATIONS:
        raise ValueError(
            "source_heads='per_source' needs an MLPRegressor or MLPClassifier with hidden layers "
            f"and the activation 'relu' or 'tanh', but estimator={estimator!r}; give one, or "
            "source_heads='common'."
        )


class SourceHeads:
    """Perceptron whose hidden layers were trained on all sources, with a head for each.

    Parameters
    ----------
    problem : TransferProblem
        Of numbers, or of two classes.
    random_state : numpy.random.RandomState or None

    Raises
    ------
    ValueError
        For more than two classes.
    """

    def __init__(self, problem, random_state):
        self.classes, estimator = problem.classes, problem.estimator
        if problem.classifier and len(self.classes) > 2:
            raise ValueError(
                f"source_heads='per_source' supports two classes, but {len(self.classes)} were "
                "found in y and in the sources; give source_heads='common'."
            )
        self.loss = LOG_LOSS if problem.classifier else SQUARED
        X, y, weight = stack_groups(problem.sources)
        sizes = [len(source.y) for source in problem.sources]
        widths = tuple(int(width) for width in np.ravel(estimator.hidden_layer_sizes))
        self.shared = fit_shared_layers(
            np.ascontiguousarray(as_dense(X)), self._target(y), weight,
            np.append(0, np.cumsum(sizes)).astype(np.int64),
            losses=np.full(len(sizes), self.loss), hidden=widths,
            activation=estimator.activation,
            seed=0 if random_state is None else int(random_state.randint(2**31)),
        )  # fmt: skip
        self.frame = self._frame(estimator, X, y)

    def _target(self, y):
        return y if self.classes is None else (y == self.classes[-1]).astype(np.float64)

    def _frame(self, estimator, X, y):
        """Return a fitted perceptron whose weights are to be replaced."""
        chosen = np.unique(y, return_index=True)[1] if self.classes is not None else np.arange(1)
        brief = {"max_iter": 1, "solver": "adam", "batch_size": "auto", "early_stopping": False}
        model = clone(estimator).set_params(**brief, warm_start=False, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X[chosen], y[chosen])
        model.set_params(**estimator.get_params())
        vars(model).pop("_optimizer", None)
        curve = self.shared.history["train_loss"].tolist()
        model.loss_curve_, model.n_iter_ = curve, self.shared.n_iter
        if curve:
            model.loss_ = model.best_loss_ = min(curve)
        return model

    def adapted(self, rows):
        """Return the perceptron with a head for the target, from some of its rows.

        Parameters
        ----------
        rows : SourceRows
        """
        target, X = self._target(rows.y), np.ascontiguousarray(as_dense(rows.X))
        one = self.shared.adapt(X, target, rows.row_weight, self.loss)
        model, layers, unit = copy.copy(self.frame), one.layers, one.target
        x, start, head = layers.parameters.astype(np.float64), 0, one.heads[0]
        model.coefs_, model.intercepts_ = [], []
        for q, m in zip(layers.sizes[:-1], layers.sizes[1:], strict=True):
            model.coefs_.append(x[start : start + q * m].reshape(q, m))
            model.intercepts_.append(x[start + q * m : start + (q + 1) * m])
            start += (q + 1) * m
        # Standardised features and targets become part of the first and the last layer.
        first = model.coefs_[0]
        model.intercepts_[0] = model.intercepts_[0] - (layers.centre * layers.scale) @ first
        model.coefs_[0] = layers.scale[:, None] * first
        model.coefs_.append(unit.scale[0] * head[:-1, None])
        model.intercepts_.append(np.array([unit.scale[0] * head[-1] + unit.centre[0]]))
        return model
