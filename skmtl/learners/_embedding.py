"""An embedding of rows shared by all tasks, and tasks padded to equal numbers of rows."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Embedding", "Padded", "padded_batches"]

# Number of rows, including padding, and of tasks that are embedded at a time.
_BATCH_ROWS, _BATCH_TASKS = 8192, 1024


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
    parameters : ndarray of shape (n_parameters,)
        For each layer the matrix ``(width in + 1, width out)`` whose last row is the bias, as in
        `kernels.mlp`.
    """

    sizes: tuple
    activation: str
    linear: bool
    parameters: np.ndarray

    @classmethod
    def initial(cls, n_features, hidden, n_components, activation, random_state):
        """Return an untrained embedding.

        Weights are uniform as proposed by Glorot and Bengio, and biases zero. Without a hidden
        layer the columns of the map are orthonormal, and it is the identity if there are as many
        components as features.
        """
        if n_components is None and not hidden:
            n_components = n_features
        sizes = (n_features, *hidden, *(() if n_components is None else (n_components,)))
        parameters = []
        for q, m in itertools.pairwise(sizes):
            bound = np.sqrt(6.0 / (q + m))
            W = random_state.uniform(-bound, bound, (q, m))
            if not hidden:
                W = np.eye(q) if q == m else np.linalg.qr(W if q > m else W.T)[0]
                W = W if W.shape == (q, m) else W.T
            parameters += [W.ravel(), np.zeros(m)]
        return cls(sizes, activation, n_components is not None, np.concatenate(parameters))

    def weighted(self, feature_weights):
        """Return the embedding of features multiplied by the square roots of these weights."""
        parameters = self.parameters.copy()
        self.layers(parameters)[0][:-1] *= np.sqrt(feature_weights)[:, None]
        return replace(self, parameters=parameters)

    @property
    def width(self):
        return self.sizes[-1]

    def layers(self, flat):
        """Return the matrices of all layers, as views of a flat vector."""
        out, start = [], 0
        for q, m in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            stop = start + (q + 1) * m
            out.append(flat[start:stop].reshape(q + 1, m))
            start = stop
        return out

    def _is_activated(self, layer):
        return layer < len(self.sizes) - 2 or not self.linear

    def forward(self, X):
        """Return the units of all layers, from the rows themselves to their embedding."""
        units = [X]
        for k, P in enumerate(self.layers(self.parameters)):
            Z = units[-1] @ P[:-1]
            Z += P[-1]
            if self._is_activated(k):
                Z = np.tanh(Z) if self.activation == "tanh" else np.maximum(Z, 0.0)
            units.append(Z)
        return units

    def backward(self, units, slope, grad):
        """Add the gradient by the parameters to `grad`, given that by the embedding, `slope`."""
        layers, out = self.layers(self.parameters), self.layers(grad)
        for k in range(len(layers) - 1, -1, -1):
            if self._is_activated(k):
                Z = units[k + 1]
                slope = slope * (1.0 - Z**2 if self.activation == "tanh" else Z > 0.0)
            out[k][:-1] += units[k].T @ slope
            out[k][-1] += slope.sum(axis=0)
            if k:
                slope = slope @ layers[k][:-1].T

    def __call__(self, X):
        """Return the embedding of rows, computed in batches."""
        out = np.empty((len(X), self.width))
        for start in range(0, len(X), _BATCH_ROWS):
            batch = slice(start, start + _BATCH_ROWS)
            out[batch] = self.forward(X[batch])[-1]
        return out


@dataclass
class Padded:
    """Tasks padded to the number of rows of the largest, with rows of weight zero.

    Attributes
    ----------
    X : ndarray of shape (n_tasks, n_rows, n_features)
    target : ndarray of shape (n_tasks, n_rows, n_outputs)
        Numbers, or indicators of the classes.
    weight : ndarray of shape (n_tasks, n_rows)
    inside : ndarray of shape (n_tasks, n_outputs)
        Whether the task has this output.
    """

    X: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, tasks):
        """Pad `LabelledTasks`."""
        sizes = tasks.sizes
        shape = tasks.n_tasks, int(sizes.max(initial=0))
        at = tasks.codes, np.arange(len(tasks.y)) - np.repeat(tasks.offsets[:-1], sizes)
        X, weight = np.zeros((*shape, tasks.n_features)), np.zeros(shape)
        X[at], weight[at] = tasks.X, tasks.weight
        if tasks.ways is None:
            target, inside = np.zeros((*shape, 1)), np.ones((tasks.n_tasks, 1), dtype=bool)
            target[(*at, 0)] = tasks.y
        else:
            target = np.zeros((*shape, tasks.max_ways))
            target[(*at, tasks.y)] = 1.0
            inside = np.arange(tasks.max_ways) < tasks.ways[:, None]
        return cls(X, target, weight, inside)

    @property
    def flat(self):
        """All rows in a matrix, task by task."""
        return self.X.reshape(self.weight.size, self.X.shape[2])

    def take(self, tasks):
        """Return the tasks selected by a slice or an index array."""
        return Padded(*(part[tasks] for part in vars(self).values()))

    def normalised(self):
        """Return a copy with weights that sum to 1 over the rows of each task."""
        total = self.weight.sum(axis=1, keepdims=True)
        return replace(self, weight=self.weight / np.where(total > 0.0, total, 1.0))


def padded_batches(tasks):
    """Yield ``(indices, Padded)`` of all tasks, in batches of tasks of similar size."""
    order = np.argsort(tasks.sizes, kind="stable")
    while len(order):
        cells = tasks.sizes[order] * np.arange(1, len(order) + 1)
        count = max(1, int(np.searchsorted(cells, _BATCH_ROWS, side="right")))
        chosen, order = np.split(order, [min(count, _BATCH_TASKS)])
        yield chosen, Padded.of(tasks.take(chosen))
