"""The later layers of a fitted scikit-learn perceptron, as one vector that can be trained."""

import copy

import numpy as np
from scipy.special import expit

from ...losses import LOG_LOSS, SQUARED_ERROR

__all__ = ["LaterLayers", "descent_path"]

_SHORTEST, _LONGER = 1e-12, 1.5
# Value of each activation, and its derivative written in that value.
_ACTIVATIONS = {
    "identity": (lambda z: z, lambda a: np.ones_like(a)),
    "logistic": (expit, lambda a: a * (1.0 - a)),
    "tanh": (np.tanh, lambda a: 1.0 - a**2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda a: (a > 0.0).astype(a.dtype)),
}


class LaterLayers:
    r"""Layers `n_frozen`, ... of a perceptron, on some rows.

    The objective is scikit-learn's, over all rows at once:

    .. math:: \frac{1}{\sum_i w_i} \Big( \sum_i w_i \ell(f(x_i), y_i)
              + \frac{\alpha}{2} \sum_l \|W_l\|^2 \Big)

    with half the square, or the log-loss.

    Parameters
    ----------
    model : fitted MLPRegressor or MLPClassifier
    n_frozen : int
        Layers that stay as they are; what they make of the rows is found once.
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
        """The parameters as the model has them: a vector, layer by layer."""
        m, k = self.model, self.n_frozen
        layers = zip(m.coefs_[k:], m.intercepts_[k:], strict=True)
        flat = [part.ravel() for layer in layers for part in layer]
        return np.concatenate(flat).astype(np.float64)

    def layers(self, x):
        """``(W, b)`` of every layer, views of the vector."""
        out, at = [], 0
        for W in self.model.coefs_[self.n_frozen :]:
            b = at + W.size
            out.append((x[at:b].reshape(W.shape), x[b : b + W.shape[1]]))
            at = b + W.shape[1]
        return out

    def loss_and_gradient(self, x):
        """The objective at x, and its gradient."""
        act, derivative = _ACTIVATIONS[self.model.activation]
        out = np.empty_like(x)
        layers, grads, values = self.layers(x), self.layers(out), [self.X]
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
        return value, out

    def _output(self, z):
        """The loss of what the last layer puts out, and its gradient."""
        loss = SQUARED_ERROR if self.model.out_activation_ == "identity" else LOG_LOSS
        value = self.share[:, 0] @ loss.value(z, self.target)
        return value, self.share * loss.gradient(z, self.target)

    def write(self, x):
        """A copy of the model with these parameters.

        What its own training left behind for going on is dropped.
        """
        model, k = copy.copy(self.model), self.n_frozen
        layers = [(W.copy(), b.copy()) for W, b in self.layers(x)]
        model.coefs_ = [W.copy() for W in self.model.coefs_[:k]] + [W for W, _ in layers]
        model.intercepts_ = [b.copy() for b in self.model.intercepts_[:k]] + [b for _, b in layers]
        vars(model).pop("_optimizer", None)
        return model


def descent_path(layers, steps):
    """Parameters after each of so many steps of gradient descent, from the model's own.

    A step is as long as lets the objective fall by half of what the gradient promises, as one over
    the curvature does; so it never rises.

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
            promise, moved = slope @ slope, False
            while not moved and length > _SHORTEST:
                new = x - length * slope
                there, slope_there = layers.loss_and_gradient(new)
                moved = there <= value - 0.5 * length * promise
                length *= _LONGER if moved else 0.5
            if not moved:  # as low as rounding lets it be
                length = 1.0
                break
            x, value, slope = new, there, slope_there
        done = wanted
        yield x
