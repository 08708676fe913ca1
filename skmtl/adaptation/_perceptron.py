"""The later layers of a fitted scikit-learn perceptron, as one vector that can be trained."""

import copy

import numpy as np
from scipy.special import expit, softmax

from ..solvers.adam import steps_along

__all__ = ["LaterLayers", "adam_path"]

# Value of each activation, and its derivative written in that value.
_ACTIVATIONS = {
    "identity": (lambda z: z, lambda a: np.ones_like(a)),
    "logistic": (expit, lambda a: a * (1.0 - a)),
    "tanh": (np.tanh, lambda a: 1.0 - a**2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda a: (a > 0.0).astype(a.dtype)),
}
_OUTPUTS = {"identity": lambda z: z, "logistic": expit, "softmax": lambda z: softmax(z, axis=1)}


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
        self.share, self.total = (weight / weight.sum())[:, None], weight.sum()
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

    def gradient(self, x, step, out):
        """Fill `out` with the gradient at x, and return the mean loss and penalty's gradient norm.

        As `solvers.adam.steps_along` wants it; what it returns is the gradient's largest entry.
        """
        act, derivative = _ACTIVATIONS[self.model.activation]
        layers, grads, values = self.layers(x), self.layers(out), [self.X]
        for W, b in layers[:-1]:
            values.append(act(values[-1] @ W + b))
        W, b = layers[-1]
        output = _OUTPUTS[self.model.out_activation_](values[-1] @ W + b)
        delta = self.share * (output - self.target)
        for i in range(len(layers) - 1, -1, -1):
            (W, _), (G, g) = layers[i], grads[i]
            G[:] = values[i].T @ delta + self.model.alpha / self.total * W
            g[:] = delta.sum(axis=0)
            if i:
                delta = (delta @ W.T) * derivative(values[i])
        return np.abs(out).max(initial=0.0)

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


def adam_path(layers, learning_rate, steps):
    """Parameters after each of so many steps of Adam (ascending), from the model's own."""
    x = layers.start()
    advance, moments, done = steps_along(layers.gradient, learning_rate), np.zeros((3, len(x))), 0
    for wanted in steps:
        if wanted > done:
            advance(x, moments, done, wanted - done)
            done = wanted
        yield x.copy()
