"""The later layers of a fitted scikit-learn perceptron as one vector of parameters."""

import copy

import numpy as np
from scipy.special import expit

from ...losses import LOG_LOSS, SQUARED_ERROR

__all__ = ["LaterLayers", "descent_path"]

# The shortest step of a line search, and the factor by which the next step may be longer.
_SHORTEST, _LONGER = 1e-12, 1.5
# Each activation function, and its derivative as a function of its value.
_ACTIVATIONS = {
    "identity": (lambda z: z, lambda a: np.ones_like(a)),
    "logistic": (expit, lambda a: a * (1.0 - a)),
    "tanh": (np.tanh, lambda a: 1.0 - a**2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda a: (a > 0.0).astype(a.dtype)),
}


class LaterLayers:
    r"""Loss of a perceptron on some rows as a function of its layers from `n_frozen` on.

    The objective is scikit-learn's, over all rows at once:

    .. math:: \frac{1}{\sum_i w_i} \Big( \sum_i w_i \ell(f(x_i), y_i)
              + \frac{\alpha}{2} \sum_l \|W_l\|^2 \Big)

    with half the squared error, or the log-loss.

    Parameters
    ----------
    model : fitted MLPRegressor or MLPClassifier
    n_frozen : int
        Number of first layers that stay as they are; their output is computed once.
    X : {ndarray, csr matrix} of shape (n_rows, n_features)
    target : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
    """

    def __init__(self, model, n_frozen, X, target, weight):
        self.model, self.n_frozen, self.target = model, n_frozen, target
        self.share = (weight / weight.sum())[:, None]
        self.penalty = model.alpha / weight.sum()
        act, _ = _ACTIVATIONS[model.activation]
        for W, b in zip(model.coefs_[:n_frozen], model.intercepts_[:n_frozen], strict=True):
            X = act(X @ W + b)
        self.X = X

    def start(self):
        """Return the parameters of the model as a vector, layer by layer."""
        k = self.n_frozen
        layers = zip(self.model.coefs_[k:], self.model.intercepts_[k:], strict=True)
        return np.concatenate(
            [part.ravel() for layer in layers for part in layer], dtype=np.float64
        )

    def layers(self, x):
        """Return ``(W, b)`` of every layer, as views of the vector x."""
        layers, start = [], 0
        for W in self.model.coefs_[self.n_frozen :]:
            stop = start + W.size
            layers.append((x[start:stop].reshape(W.shape), x[stop : stop + W.shape[1]]))
            start = stop + W.shape[1]
        return layers

    def loss_and_gradient(self, x):
        """Return the objective at x, and its gradient."""
        act, derivative = _ACTIVATIONS[self.model.activation]
        gradient = np.empty_like(x)
        layers, grads, values = self.layers(x), self.layers(gradient), [self.X]
        for W, b in layers[:-1]:
            values.append(act(values[-1] @ W + b))
        W, b = layers[-1]
        value, delta = self._output(values[-1] @ W + b)
        for i in range(len(layers) - 1, -1, -1):
            (W, _), (G, g) = layers[i], grads[i]
            value += 0.5 * self.penalty * (W**2).sum()
            G[:], g[:] = values[i].T @ delta + self.penalty * W, delta.sum(axis=0)
            if i:
                delta = (delta @ W.T) * derivative(values[i])
        return value, gradient

    def _output(self, z):
        """Return the loss of the last layer's output z, and its gradient."""
        loss = SQUARED_ERROR if self.model.out_activation_ == "identity" else LOG_LOSS
        value = self.share[:, 0] @ loss.value(z, self.target)
        return value, self.share * loss.gradient(z, self.target)

    def write(self, x):
        """Return a copy of the model with the parameters x, without the state of its training."""
        model, k = copy.copy(self.model), self.n_frozen
        layers = [(W.copy(), b.copy()) for W, b in self.layers(x)]
        model.coefs_ = [W.copy() for W in self.model.coefs_[:k]] + [W for W, _ in layers]
        model.intercepts_ = [b.copy() for b in self.model.intercepts_[:k]] + [b for _, b in layers]
        vars(model).pop("_optimizer", None)
        return model


def descent_path(layers, steps):
    """Yield the parameters after each of the given numbers of gradient steps.

    The first step starts from the model's own parameters. Each step is so short that the objective
    falls by at least half of the first-order prediction, as it does for a step of one over the
    curvature; the objective never rises.

    Parameters
    ----------
    layers : LaterLayers
    steps : list of int
        Ascending.

    Yields
    ------
    ndarray of shape (n_parameters,)
    """
    x, length, done = layers.start(), 1.0, 0
    value, slope = layers.loss_and_gradient(x)
    for wanted in steps:
        for _ in range(wanted - done):
            decrease, moved = slope @ slope, False
            while not moved and length > _SHORTEST:
                new = x - length * slope
                new_value, new_slope = layers.loss_and_gradient(new)
                moved = new_value <= value - 0.5 * length * decrease
                length *= _LONGER if moved else 0.5
            if not moved:  # the objective cannot be reduced further, up to rounding
                length = 1.0
                break
            x, value, slope = new, new_value, new_slope
        done = wanted
        yield x
