"""A multilayer perceptron that adapts to tasks by a few gradient steps."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from .. import kernels
from .base import Adapted, log_probabilities

__all__ = ["AdaptedNetwork", "Network", "pack"]

# Number of tasks adapted to, and of rows predicted, at a time: keeps memory small.
_BATCH_TASKS, _BATCH_ROWS = 256, 8192
_INNER_RATES = 0.5 ** np.arange(0, 14)


def pack(tasks, n_outputs, dtype):
    """Return `LabelledTasks` as `kernels.mlp.Rows`, with weights that sum to 1 over each task."""
    X, n = np.ascontiguousarray(tasks.X, dtype), len(tasks.y)
    if tasks.ways is None:
        target, ways = tasks.y.reshape(n, 1).astype(dtype), np.ones(tasks.n_tasks, np.int64)
    else:
        target, ways = np.zeros((n, n_outputs), dtype), tasks.ways.astype(np.int64)
        target[np.arange(n), tasks.y] = 1.0
    weight = (tasks.weight / tasks.sums(tasks.weight)[tasks.codes]).astype(dtype)
    offsets = np.ascontiguousarray(tasks.offsets, np.int64)
    return kernels.mlp.Rows(X, target, weight, ways, offsets)


@dataclass
class Network:
    """Initial parameters shared by all tasks, and how tasks adapt them.

    Attributes
    ----------
    sizes : int64 ndarray
        Widths of all layers, from the features to the outputs.
    activation, loss : int
        Codes of `kernels.mlp`.
    first : int
        The first layer of parameters that tasks adapt.
    parameters, rates : ndarray of shape (n_parameters,)
        Initial parameters, and the learning rates of the inner steps.
    """

    sizes: np.ndarray
    activation: int
    loss: int
    first: int
    parameters: np.ndarray
    rates: np.ndarray

    @classmethod
    def random(cls, sizes, activation, loss, first, inner_rate, dtype, random_state):
        """Return an untrained network.

        Weights are uniform as proposed by Glorot and Bengio, as in scikit-learn, and biases zero.
        """
        sizes = np.asarray(sizes, dtype=np.int64)
        parameters, rates = [], []
        for layer, (q, m) in enumerate(itertools.pairwise(sizes)):
            bound = np.sqrt(6.0 / (q + m))
            parameters += [random_state.uniform(-bound, bound, q * m), np.zeros(m)]
            rates.append(np.full((q + 1) * m, inner_rate if layer >= first else 0.0))
        parameters, rates = (np.concatenate(part).astype(dtype) for part in (parameters, rates))
        return cls(sizes, activation, loss, first, parameters, rates)

    @property
    def net(self):
        """The network as the kernels take it."""
        return kernels.mlp.Net(self.sizes, self.activation, self.loss)

    @property
    def n_layers(self):
        return len(self.sizes) - 1

    def pack(self, *batches):
        """Return each of several `LabelledTasks` as `kernels.mlp.Rows`."""
        return [pack(tasks, self.sizes[-1], self.parameters.dtype) for tasks in batches]

    def layer(self, flat, layer, copies=1):
        """Return the parameters of a layer, of shape (copies, width in + 1, width out)."""
        shape = copies, self.sizes[layer] + 1, self.sizes[layer + 1]
        return kernels.mlp.matrix(flat, self.sizes, layer, copies).reshape(shape)

    def workspace(self, batches, n_steps):
        """Return a workspace that is large enough for each of the given batches of packed rows."""
        offsets = [rows.offsets for rows in batches]
        return kernels.meta_training.workspace(
            self.sizes, len(offsets[0]) - 1, max(o[-1] for o in offsets),
            max(np.diff(o).max(initial=1) for o in offsets), n_steps, self.parameters.dtype,
        )  # fmt: skip

    def kernel_parameters(self, rows, space):
        """Return the `kernels.mlp.Parameters` before the first inner step, and after it.

        After it, the tasks' own parameters are those in ``space.own[0]``.
        """
        low_rank = kernels.mlp.LowRank(
            np.zeros(self.n_layers, dtype=bool), self.rates, *space.cross, rows.X, rows.offsets,
            space.acts[0], space.deltas[0],
        )  # fmt: skip
        start = kernels.mlp.Parameters(self.parameters, space.own[0], self.n_layers, low_rank)
        return start, start._replace(own_from=self.first)

    def _step(self, at, rows, space, losses):
        """Take an inner step from the parameters `at`."""
        units = kernels.mlp.Units(space.acts[0], space.deltas[0])
        kernels.meta_training.inner_step(
            at, self.first, self.rates, self.net, rows, units, space.scratch, space.slope,
            space.own[0], losses,
        )  # fmt: skip

    def adapt(self, tasks, n_steps):
        """Return each task's own parameters after the inner steps, one array per layer."""
        adapted = range(self.first, self.n_layers)
        layers = [[] for _ in adapted]
        for batch in tasks.batches(_BATCH_TASKS):
            (rows,) = self.pack(batch)
            space = self.workspace([rows], 1)
            start, moved = self.kernel_parameters(rows, space)
            losses = np.empty(batch.n_tasks)
            for k in range(n_steps):
                self._step(moved if k else start, rows, space, losses)
            for blocks, layer in zip(layers, adapted, strict=True):
                if n_steps:
                    blocks.append(self.layer(space.own[0], layer, batch.n_tasks).copy())
                else:
                    shared = self.layer(self.parameters, layer)
                    blocks.append(np.repeat(shared, batch.n_tasks, axis=0))
        return [np.concatenate(blocks) for blocks in layers]

    def learning_curve(self, support, query, n_steps):
        """Return each task's query loss and accuracy after 0, 1, ... steps on its support rows.

        Returns
        -------
        losses, accuracies : ndarray of shape (n_steps + 1, n_tasks)
            Accuracies are NaN if targets are numbers.
        """
        n_tasks, last = len(support.offsets) - 1, self.n_layers
        space, scrap = self.workspace([support, query], 1), np.empty(n_tasks)
        start, moved = self.kernel_parameters(support, space)
        units, net = kernels.mlp.Units(*space.extra[:2]), self.net
        losses, accuracies = np.full((2, n_steps + 1, n_tasks), np.nan)
        codes = np.repeat(np.arange(n_tasks), np.diff(query.offsets))
        for k in range(n_steps + 1):
            at = moved if k else start
            kernels.mlp.losses_and_deltas(at, last, net, query, units, space.scratch, losses[k])
            if self.loss == kernels.mlp.CROSS_ENTROPY:
                p = kernels.mlp.block(units.acts, self.sizes, last, len(query.X))
                correct = p.argmax(1) == query.target.argmax(1)
                accuracies[k] = np.bincount(codes, correct * query.weight, minlength=n_tasks)
            if k < n_steps:
                self._step(at, support, space, scrap)
        return losses, accuracies

    def stable_rate(self, rows, n_steps):
        """Return the inner rate, a power of two, with the lowest loss on the rows themselves."""
        best, best_loss = _INNER_RATES[-1], np.inf
        for rate in _INNER_RATES:
            rates = np.where(self.rates > 0.0, rate, 0.0).astype(self.rates.dtype)
            losses, _ = replace(self, rates=rates).learning_curve(rows, rows, n_steps)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = losses[-1].mean()
            if mean < best_loss:
                best, best_loss = rate, mean
        return best

    def widened(self, n_outputs):
        """Return a network with more outputs, initialised at the mean of the present outputs."""
        if n_outputs <= self.sizes[-1]:
            return self
        sizes, last = self.sizes.copy(), self.n_layers - 1
        sizes[-1] = n_outputs
        flat = []
        for values in (self.parameters, self.rates):
            head = self.layer(values, last)[0]
            more = np.repeat(head.mean(1, keepdims=True), n_outputs - head.shape[1], axis=1)
            flat.append(np.r_[values[: -head.size], np.hstack([head, more]).ravel()])
        return replace(self, sizes=sizes, parameters=flat[0], rates=flat[1])


@dataclass
class AdaptedNetwork(Adapted):
    """Networks of several tasks.

    Attributes
    ----------
    network : Network
    layers : list of ndarray of shape (n_tasks, width in + 1, width out)
        The tasks' own parameters, from layer ``network.first`` on.
    ways : ndarray of shape (n_tasks,) or None
    """

    network: Network
    layers: list
    ways: np.ndarray | None

    def take(self, tasks):
        ways = None if self.ways is None else self.ways[tasks]
        return AdaptedNetwork(self.network, [own[tasks] for own in self.layers], ways)

    def predict(self, X, codes):
        codes = np.asarray(codes)
        order = np.argsort(codes, kind="stable")
        out = np.empty((len(X), self.network.sizes[-1]))
        for start in range(0, len(X), _BATCH_ROWS):
            rows = order[start : start + _BATCH_ROWS]
            out[rows] = self._scores(X[rows], codes[rows])
        return out[:, 0] if self.ways is None else log_probabilities(out, self.ways[codes])

    def _scores(self, X, codes):
        """Return the scores of rows sorted by task."""
        net, dtype = self.network, self.network.parameters.dtype
        present, sizes = np.unique(codes, return_counts=True)
        offsets = np.append(0, np.cumsum(sizes))
        X = np.ascontiguousarray(X, dtype)
        rows = kernels.mlp.Rows(X, X[:, :0], X[:0, 0], present, offsets)
        space = net.workspace([rows], 1)
        for i, layer in enumerate(self.layers):
            net.layer(space.own[0], net.first + i, len(present))[:] = layer[present]
        acts, at = space.acts[0], net.kernel_parameters(rows, space)[1]
        kernels.mlp.forward(at, net.net, X, offsets, acts, space.scratch)
        return kernels.mlp.block(acts, net.sizes, net.n_layers, len(X))
