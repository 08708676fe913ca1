"""An embedding of rows that all tasks share, and rows of tasks padded to equal numbers."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Embedding", "Padded", "padded_chunks"]

# Rows, padding included, that are embedded at a time.
_ROWS = 8192


@dataclass
class Embedding:
    """A linear map or a multilayer perceptron.

    Attributes
    ----------
    sizes : tuple of int
        Widths of all layers, from the features to the embedding.
    activation : {"relu", "tanh"}
    linear : bool
        Whether the last layer has no activation.
    theta : ndarray of shape (n_parameters,)
        Layer after layer the matrix ``(width in + 1, width out)``, whose last row is the bias, as
        in `kernels.mlp`.
    """

    sizes: tuple
    activation: str
    linear: bool
    theta: np.ndarray

    @classmethod
    def start(cls, n_features, hidden, n_components, activation, random_state):
        """Weights uniform as by Glorot and Bengio, and biases zero; or near the identity.

        Without a hidden layer the columns of the map are orthonormal, and as many components as
        features are the features themselves.
        """
        if n_components is None and not hidden:
            n_components = n_features
        sizes = (n_features, *hidden, *(() if n_components is None else (n_components,)))
        theta = []
        for q, m in zip(sizes[:-1], sizes[1:], strict=True):
            bound = np.sqrt(6.0 / (q + m))
            W = random_state.uniform(-bound, bound, (q, m))
            if not hidden:
                W = np.eye(q) if q == m else np.linalg.qr(W if q > m else W.T)[0]
                W = W if W.shape == (q, m) else W.T
            theta += [W.ravel(), np.zeros(m)]
        theta = np.concatenate(theta)
        return cls(sizes, activation, n_components is not None, theta)

    def stretched(self, metric):
        """The same with features in another metric, of which the weights are given."""
        theta = self.theta.copy()
        self.layers(theta)[0][:-1] *= np.sqrt(metric)[:, None]
        return replace(self, theta=theta)

    @property
    def width(self):
        return self.sizes[-1]

    def layers(self, flat):
        """The matrices of all layers, as views of a flat vector."""
        out, start = [], 0
        for q, m in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            stop = start + (q + 1) * m
            out.append(flat[start:stop].reshape(q + 1, m))
            start = stop
        return out

    def forward(self, X):
        """Units of all layers: the rows themselves first, their embedding last."""
        units, layers = [X], self.layers(self.theta)
        for k, P in enumerate(layers):
            Z = units[-1] @ P[:-1]
            Z += P[-1]
            if k < len(layers) - 1 or not self.linear:
                Z = np.tanh(Z) if self.activation == "tanh" else np.maximum(Z, 0.0)
            units.append(Z)
        return units

    def backward(self, units, slope, grad):
        """Add to `grad` the gradient by theta, given that by the embedding."""
        layers, into = self.layers(self.theta), self.layers(grad)
        for k in range(len(layers) - 1, -1, -1):
            if k < len(layers) - 1 or not self.linear:
                Z = units[k + 1]
                slope = slope * (1.0 - Z**2 if self.activation == "tanh" else Z > 0.0)
            into[k][:-1] += units[k].T @ slope
            into[k][-1] += slope.sum(axis=0)
            if k:
                slope = slope @ layers[k][:-1].T

    def __call__(self, X):
        """The embedding of rows, some at a time."""
        out = np.empty((len(X), self.width))
        for start in range(0, len(X), _ROWS):
            out[start : start + _ROWS] = self.forward(X[start : start + _ROWS])[-1]
        return out


@dataclass
class Padded:
    """Rows of tasks, each with as many as the longest has; what is added weighs nothing.

    Attributes
    ----------
    X : ndarray of shape (n_tasks, n_rows, n_features)
    target : ndarray of shape (n_tasks, n_rows, n_outputs)
        Numbers, or indicators of the classes.
    weight : ndarray of shape (n_tasks, n_rows)
    inside : ndarray of shape (n_tasks, n_outputs)
        Which of the outputs are the task's own.
    """

    X: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, tasks):
        """Of `LabelledTasks`."""
        sizes = tasks.sizes
        shape = tasks.n_tasks, int(sizes.max(initial=0))
        place = np.arange(len(tasks.y)) - np.repeat(tasks.offsets[:-1], sizes)
        at = tasks.codes, place
        n_outputs = 1 if tasks.ways is None else tasks.most_ways
        X, weight = np.zeros((*shape, tasks.n_features)), np.zeros(shape)
        target = np.zeros((*shape, n_outputs))
        X[at], weight[at] = tasks.X, tasks.weight
        if tasks.ways is None:
            target[(*at, 0)], inside = tasks.y, np.ones((tasks.n_tasks, 1), dtype=bool)
        else:
            target[(*at, tasks.y)] = 1.0
            inside = np.arange(n_outputs) < tasks.ways[:, None]
        return cls(X, target, weight, inside)

    @property
    def flat(self):
        """All rows below each other."""
        return self.X.reshape(self.weight.size, self.X.shape[2])

    def some(self, start, stop):
        """Some of the tasks."""
        return Padded(*(part[start:stop] for part in vars(self).values()))

    def averaging(self):
        """The same with weights that sum to 1 over the rows of a task."""
        total = self.weight.sum(axis=1, keepdims=True)
        weight = self.weight / np.where(total > 0.0, total, 1.0)
        return Padded(self.X, self.target, weight, self.inside)


def padded_chunks(tasks):
    """``(positions, Padded)`` of all tasks, those of similar size together."""
    order = np.argsort(tasks.sizes, kind="stable")
    start = 0
    while start < len(order):
        sizes = tasks.sizes[order[start:]]
        cells = sizes * np.arange(1, len(sizes) + 1)
        count = max(1, int(np.searchsorted(cells, _ROWS, side="right")))
        chosen = order[start : start + min(count, 1024)]
        yield chosen, Padded.of(tasks.take(chosen))
        start += len(chosen)
