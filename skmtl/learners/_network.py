"""A multilayer perceptron that adapts to tasks by a few gradient steps."""

from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from ._base import Adapted, log_probabilities

__all__ = ["AdaptedNetwork", "Network", "pack"]

# Tasks adapted, and rows predicted, at a time: memory stays small.
_TASKS, _ROWS = 256, 8192
_RATES = 0.5 ** np.arange(0, 14)


def pack(tasks, n_outputs, dtype):
    """`LabelledTasks` as the kernels want them: (X, target, weight, ways, offsets).

    Weights sum to 1 over a task's rows.
    """
    X, n = np.ascontiguousarray(tasks.X, dtype), len(tasks.y)
    if tasks.ways is None:
        target, ways = tasks.y.reshape(n, 1).astype(dtype), np.ones(tasks.n_tasks, np.int64)
    else:
        target, ways = np.zeros((n, n_outputs), dtype), tasks.ways.astype(np.int64)
        target[np.arange(n), tasks.y] = 1.0
    total = np.bincount(tasks.codes, tasks.weight, minlength=tasks.n_tasks)
    weight = (tasks.weight / total[tasks.codes]).astype(dtype)
    return X, target, weight, ways, np.ascontiguousarray(tasks.offsets, np.int64)


@dataclass
class Network:
    """What all tasks start from, and how they go on.

    Attributes
    ----------
    sizes : int64 ndarray
        Widths of all layers, from the features to the outputs.
    activation, loss : int
        Codes of `kernels.mlp`.
    first : int
        The first layer of parameters that tasks change.
    theta, rates : ndarray of shape (n_parameters,)
        Parameters to start from, and inner learning rates.
    """

    sizes: np.ndarray
    activation: int
    loss: int
    first: int
    theta: np.ndarray
    rates: np.ndarray

    @classmethod
    def random(cls, sizes, activation, loss, first, inner_rate, dtype, random_state):
        """Weights uniform as by Glorot and Bengio, as in scikit-learn, and biases zero."""
        sizes = np.asarray(sizes, dtype=np.int64)
        theta, rates = [], []
        for layer, (q, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            bound = np.sqrt(6.0 / (q + m))
            theta += [random_state.uniform(-bound, bound, q * m), np.zeros(m)]
            rates.append(np.full((q + 1) * m, inner_rate if layer >= first else 0.0))
        theta, rates = np.concatenate(theta).astype(dtype), np.concatenate(rates).astype(dtype)
        return cls(sizes, activation, loss, first, theta, rates)

    @property
    def net(self):
        """The network as the kernels take it."""
        return self.sizes, self.activation, self.loss

    @property
    def n_layers(self):
        return len(self.sizes) - 1

    def layer(self, flat, layer, copies=1):
        """A layer's parameters, of shape (copies, width in + 1, width out)."""
        shape = copies, self.sizes[layer] + 1, self.sizes[layer + 1]
        return kernels.mlp.matrix(flat, self.sizes, layer, copies).reshape(shape)

    def workspace(self, supports, n_steps):
        """For the largest of the given batches of rows, which have equally many tasks."""
        offsets = [rows[4] for rows in supports]
        return kernels.mlp.workspace(
            self.sizes, len(offsets[0]) - 1, max(o[-1] for o in offsets),
            max(np.diff(o).max(initial=1) for o in offsets), n_steps, self.theta.dtype,
        )  # fmt: skip

    def _near(self, rows, space):
        """For the kernels: all tasks' own parameters are formed."""
        low, cross = np.zeros(self.n_layers, dtype=bool), space[8]
        return low, self.rates, cross[0], cross[1], rows[0], rows[4], space[3][0], space[4][0]

    def _step(self, rows, k, space, losses):
        """Inner step number k; the tasks' parameters are the first row of ``space[0]``."""
        own, slope, acts, deltas, turned = space[0][0], space[2], space[3], space[4], space[7]
        own_from = self.n_layers if k == 0 else self.first
        kernels.mlp.inner_step(
            self.theta, own, own_from, self._near(rows, space), self.first, self.rates, self.net,
            rows, acts[0], deltas[0], turned, slope, own, losses,
        )  # fmt: skip

    def adapt(self, tasks, n_steps):
        """Every task's own parameters after the inner steps, one array a layer."""
        layers = [[] for _ in range(self.first, self.n_layers)]
        for start in range(0, tasks.n_tasks, _TASKS):
            some = tasks.take(np.arange(start, min(start + _TASKS, tasks.n_tasks)))
            rows = pack(some, self.sizes[-1], self.theta.dtype)
            space = self.workspace([rows], 1)
            losses = np.empty(some.n_tasks)
            for k in range(n_steps):
                self._step(rows, k, space, losses)
            for i, layer in enumerate(range(self.first, self.n_layers)):
                if n_steps:
                    own = self.layer(space[0][0], layer, some.n_tasks).copy()
                else:
                    own = np.repeat(self.layer(self.theta, layer), some.n_tasks, axis=0)
                layers[i].append(own)
        return [np.concatenate(blocks) for blocks in layers]

    def learning_curve(self, support, query, n_steps):
        """Every task's query loss and accuracy after 0, 1, ... steps on its support rows.

        Of shape (n_steps + 1, n_tasks). Accuracies are NaN where targets are numbers.
        """
        n_tasks, last = len(support[4]) - 1, self.n_layers
        space, scrap = self.workspace([support, query], 1), np.empty(n_tasks)
        own, extra, turned = space[0][0], space[5], space[7]
        losses, accuracies = np.empty((2, n_steps + 1, n_tasks))
        accuracies[:] = np.nan
        codes = np.repeat(np.arange(n_tasks), np.diff(query[4]))
        for k in range(n_steps + 1):
            own_from = last if k == 0 else self.first
            kernels.mlp.losses_and_deltas(
                self.theta, own, own_from, self._near(query, space), last, self.net, query,
                extra[0], extra[1], turned, losses[k],
            )  # fmt: skip
            if self.loss == kernels.mlp.CROSS_ENTROPY:
                p = kernels.mlp.block(extra[0], self.sizes, last, len(query[0]))
                right = p.argmax(1) == query[1].argmax(1)
                accuracies[k] = np.bincount(codes, right * query[2], minlength=n_tasks)
            if k < n_steps:
                self._step(support, k, space, scrap)
        return losses, accuracies

    def stable_rate(self, rows, n_steps):
        """The inner rate, of a row of powers of two, that lowers the tasks' own loss the most."""
        best, best_loss = _RATES[-1], np.inf
        for rate in _RATES:
            rates = np.where(self.rates > 0.0, rate, 0.0).astype(self.rates.dtype)
            losses, _ = replace(self, rates=rates).learning_curve(rows, rows, n_steps)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = losses[-1].mean()
            if mean < best_loss:
                best, best_loss = rate, mean
        return best

    def widened(self, n_outputs):
        """The same with more outputs, which start from the mean of those there are."""
        if n_outputs <= self.sizes[-1]:
            return self
        sizes, last = self.sizes.copy(), self.n_layers - 1
        sizes[-1] = n_outputs
        flat = []
        for values in (self.theta, self.rates):
            head = self.layer(values, last)[0]
            more = np.repeat(head.mean(1, keepdims=True), n_outputs - head.shape[1], axis=1)
            flat.append(np.r_[values[: -head.size], np.hstack([head, more]).ravel()])
        return replace(self, sizes=sizes, theta=flat[0], rates=flat[1])


class AdaptedNetwork(Adapted):
    """Networks of some tasks.

    Parameters
    ----------
    network : Network
    layers : list of ndarray of shape (n_tasks, width in + 1, width out)
        The tasks' own parameters, from layer ``network.first`` on.
    ways : ndarray of shape (n_tasks,) or None
    """

    def __init__(self, network, layers, ways):
        self.network, self.layers, self.ways = network, layers, ways

    def take(self, tasks):
        ways = None if self.ways is None else self.ways[tasks]
        return AdaptedNetwork(self.network, [own[tasks] for own in self.layers], ways)

    def predict(self, X, codes):
        codes, n_outputs = np.asarray(codes), self.network.sizes[-1]
        order = np.argsort(codes, kind="stable")
        out = np.empty((len(X), n_outputs))
        for start in range(0, len(X), _ROWS):
            rows = order[start : start + _ROWS]
            out[rows] = self._scores(X[rows], codes[rows])
        return out[:, 0] if self.ways is None else log_probabilities(out, self.ways[codes])

    def _scores(self, X, codes):
        """Scores of rows that are sorted by task."""
        net, dtype = self.network, self.network.theta.dtype
        present, sizes = np.unique(codes, return_counts=True)
        offsets = np.append(0, np.cumsum(sizes))
        own = np.empty(len(present) * len(net.theta), dtype)
        for i, layer in enumerate(self.layers):
            net.layer(own, net.first + i, len(present))[:] = layer[present]
        X = np.ascontiguousarray(X, dtype)
        rows = X, X[:, :0], X[:0, 0], present, offsets
        space = net.workspace([rows], 1)
        acts = space[3][0]
        kernels.mlp.forward(
            net.theta, own, net.first, net._near(rows, space), net.sizes, net.activation, X,
            offsets, acts, space[7],
        )  # fmt: skip
        return kernels.mlp.block(acts, net.sizes, net.n_layers, len(X))
