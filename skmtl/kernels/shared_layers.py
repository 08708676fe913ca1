r"""Training of hidden layers that all tasks share, with one linear head per task.

The parameters are a flat vector x: the hidden layers as in `kernels.mlp`, the mean head m, and the
deviations :math:`d_t` of the tasks' heads from it, one after the other. A head has the slopes of
the last hidden units z and an intercept. A sample is a row of X with one label or several, each of
one task: :math:`f = \tilde z'(m + d_t)` with :math:`\tilde z = (z, 1)`. For batches of B out of n
samples, whose labels e have the weights :math:`w_e` and sum to W over all samples, the loss is

.. math:: \frac{n}{B W} \sum_e w_e \Big(\frac{\ell_e(f_e)}{\sigma_t^2}
          + \frac{\alpha_t}{2} \|d_t\|^2\Big) + \frac{\alpha}{2 W} \Big(\sum_l \|W_l\|^2
          + \|m\|^2\Big)

without penalties on intercepts of m and of layers, where :math:`\ell` is half the squared error, or
the log-loss of a score. A deviation changes only in batches with labels of its task.
"""

from collections import namedtuple

import numpy as np

from .._jit import njit
from .adam import adam_update
from .mlp import RELU, block, matrix, multiply_by_slope

SQUARED = 0
LOG_LOSS = 1

# Sample s is row s of X, and has the labels from ``starts[s]`` to ``starts[s + 1]``, whose tasks
# are `codes`, and whose targets and weights are the columns of `values`. Few arrays and small types
# make for few cache misses, as batches are drawn at random.
Samples = namedtuple("Samples", ["X", "starts", "codes", "values"])
# Codes of the losses, 1 / sigma^2, and alpha_t, by task.
Tasks = namedtuple("Tasks", ["losses", "precision", "decay"])
# Parameters, their moments and running mean (`kernels.adam`), and the number of updates: of each
# task's deviation, and last of the layers.
State = namedtuple("State", ["x", "moments", "counts"])
# Widths of the layers from X to the last hidden units, code of the activation, penalty alpha / W of
# the layers, factor n / W, and constants of Adam.
Settings = namedtuple("Settings", ["sizes", "activation", "decay", "factor", "constants"])
# Rows of a batch, units and deltas of all layers, the gradient, and, of shape (2, n_tasks), the
# tasks of a batch and the last batch of each task.
Space = namedtuple("Space", ["A", "acts", "deltas", "grad", "seen"])


def n_layer_parameters(sizes):
    """Return the number of parameters of the hidden layers."""
    return int(((sizes[:-1] + 1) * sizes[1:]).sum())


def workspace(sizes, n_rows, n_parameters, n_tasks, dtype):
    """Return a workspace for batches of up to `n_rows` samples."""
    width = n_rows * int(sizes[1:].sum())
    return Space(
        np.empty((n_rows, sizes[0]), dtype), np.empty(width, dtype), np.empty(width, dtype),
        np.zeros(n_parameters, dtype), np.zeros((2, n_tasks), np.int64),
    )  # fmt: skip


@njit(helper=True)
def _tanh(Z):
    """Apply the hyperbolic tangent in place, with an error below 3e-7.

    This is the rational approximation of Eigen (MPL 2); unlike calls of the C library, it is
    compiled to vector instructions.
    """
    t = Z.dtype.type
    for i in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            v = Z[i, j]
            v = t(-7.9) if v < t(-7.9) else (t(7.9) if v > t(7.9) else v)  # NaN stays
            u = v * v
            p = t(-2.76076847742355e-16) * u + t(2.00018790482477e-13)
            p = p * u + t(-8.60467152213735e-11)
            p = p * u + t(5.12229709037114e-08)
            p = p * u + t(1.48572235717979e-05)
            p = p * u + t(6.37261928875436e-04)
            p = p * u + t(4.89352455891786e-03)
            q = t(1.19825839466702e-06) * u + t(1.18534705686654e-04)
            q = q * u + t(2.26843463243900e-03)
            q = q * u + t(4.89352518554385e-03)
            Z[i, j] = v * p / q


@njit(helper=True)
def _gather(X, chosen, first, n, A):
    """Write the rows ``chosen[first:first + n]`` of X to A."""
    for i in range(n):
        s = chosen[first + i]
        for j in range(A.shape[1]):
            A[i, j] = X[s, j]


@njit(helper=True)
def _forward(x, settings, A, acts):
    """Compute the units of all hidden layers of the rows A."""
    sizes, one, n = settings.sizes, np.int64(1), A.shape[0]
    for layer in range(sizes.shape[0] - 1):
        P, Z = matrix(x, sizes, layer, one), block(acts, sizes, layer + 1, n)
        q = sizes[layer]
        np.dot(A, P[:q], Z)
        relu, zero = settings.activation == RELU, Z.dtype.type(0)
        for i in range(n):
            if relu:
                for j in range(Z.shape[1]):
                    v = Z[i, j] + P[q, j]
                    Z[i, j] = zero if v < zero else v  # NaN stays
            else:
                for j in range(Z.shape[1]):
                    Z[i, j] += P[q, j]
        if not relu:
            _tanh(Z)
        A = Z


@njit(helper=True, any_order=True)
def _score(H, i, mean, own):
    """Return the score of row i of H by the head ``mean + own``."""
    m = H.shape[1]
    f = mean[m] + own[m]
    for j in range(m):
        f += H[i, j] * (mean[j] + own[j])
    return f


@njit(helper=True)
def _loss_and_slope(loss, f, y):
    """Return a label's loss at score f, and the derivative by f."""
    if loss == SQUARED:
        return 0.5 * (f - y) * (f - y), f - y
    e = np.exp(-abs(f))
    p = (1.0 if f > 0.0 else e) / (1.0 + e)
    positive = y > 0.5
    value = np.log1p(e) + (0.0 if (f > 0.0) == positive else abs(f))
    return value, p - (1.0 if positive else 0.0)


@njit(helper=True)
def _heads(samples, batch, tasks, state, settings, space, sums):
    """Compute the deltas of the last hidden units and the gradient of the heads.

    Returns the loss of the batch, and the number of tasks in it, which are listed in `seen`.
    """
    chosen, first, n = batch
    sizes, x, grad, seen = settings.sizes, state.x, space.grad, space.seen
    last = sizes.shape[0] - 1
    H, D = block(space.acts, sizes, last, n), block(space.deltas, sizes, last, n)
    m, n_tasks = H.shape[1], seen.shape[1]
    start = x.shape[0] - (n_tasks + 1) * (m + 1)
    mean, by_mean = x[start : start + m + 1], grad[start : start + m + 1]
    zero, n_seen, total = x.dtype.type(0), 0, 0.0
    by_mean[:] = zero
    for i in range(n):
        s = chosen[first + i]
        for j in range(m):
            D[i, j] = zero
        for e in range(samples.starts[s], samples.starts[s + 1]):
            t, y, w = samples.codes[e], samples.values[e, 0], np.float64(samples.values[e, 1])
            at = start + (t + 1) * (m + 1)
            own, by_own = x[at : at + m + 1], grad[at : at + m + 1]
            if seen[1, t] != state.counts[n_tasks]:  # the task's first label of the batch
                seen[1, t] = state.counts[n_tasks]
                seen[0, n_seen] = t
                n_seen += 1
                by_own[:] = zero
            score = np.float64(_score(H, i, mean, own))
            value, slope = _loss_and_slope(tasks.losses[t], score, np.float64(y))
            sums[t] += w * value
            total += w * value * tasks.precision[t]
            g = x.dtype.type(settings.factor / n * w * slope * tasks.precision[t])
            pull = x.dtype.type(settings.factor / n * w * tasks.decay[t])
            for j in range(m):
                D[i, j] += g * (mean[j] + own[j])
            for j in range(m):  # a loop for each, as compilers do not vectorise many arrays at once
                by_own[j] += g * H[i, j] + pull * own[j]
            for j in range(m):
                by_mean[j] += g * H[i, j]
            by_own[m] += g + pull * own[m]
            by_mean[m] += g
    decay = x.dtype.type(settings.decay)
    for j in range(m):
        by_mean[j] += decay * mean[j]
    return total, n_seen


@njit(helper=True)
def _backward(x, settings, n, space):
    """Write the gradient of the layers, from the deltas of the last hidden units."""
    sizes, one, zero = settings.sizes, np.int64(1), x.dtype.type(0)
    decay = x.dtype.type(settings.decay)
    for layer in range(sizes.shape[0] - 2, -1, -1):
        q = sizes[layer]
        D = block(space.deltas, sizes, layer + 1, n)
        multiply_by_slope(settings.activation, block(space.acts, sizes, layer + 1, n), D)
        P, G = matrix(x, sizes, layer, one), matrix(space.grad, sizes, layer, one)
        if layer == 0:
            np.dot(space.A[:n].T, D, G[:q])
        else:
            np.dot(block(space.acts, sizes, layer, n).T, D, G[:q])
            np.dot(D, P[:q].T, block(space.deltas, sizes, layer, n))
        for i in range(q):
            for j in range(D.shape[1]):
                G[i, j] += decay * P[i, j]
        for j in range(D.shape[1]):
            G[q, j] = zero
        for i in range(n):
            for j in range(D.shape[1]):
                G[q, j] += D[i, j]


@njit
def batch_gradient(samples, batch, tasks, state, settings, space, sums):
    """Compute the gradient of a batch, ``(indices, first, n)``, into ``space.grad``.

    The gradient of deviations is written for the tasks of the batch only. Adds the losses of each
    task to `sums`.

    Returns
    -------
    total : float
        Sum of the weighted losses divided by sigma^2, without penalties.
    n_seen : int
        Number of tasks in the batch, which are listed in ``space.seen[0]``.
    """
    chosen, first, n = batch
    A = space.A[:n]
    _gather(samples.X, chosen, first, n, A)
    _forward(state.x, settings, A, space.acts)
    total, n_seen = _heads(samples, batch, tasks, state, settings, space, sums)
    _backward(state.x, settings, n, space)
    return total, n_seen


@njit(helper=True)
def _update(state, space, first, last, step, constants):
    mean, square, average = state.moments[0], state.moments[1], state.moments[2]
    adam_update(
        state.x[first:last], space.grad[first:last], mean[first:last], square[first:last],
        average[first:last], step, constants,
    )  # fmt: skip


@njit
def train(order, edges, samples, tasks, state, settings, space, sums):
    """Take a step of Adam on each batch; return the sum of the losses divided by sigma^2.

    Parameters
    ----------
    order : int64 ndarray
        Indices of samples.
    edges : int64 ndarray of shape (n_batches + 1,)
        Batch b has the samples ``order[edges[b]:edges[b + 1]]``.
    samples : Samples
    tasks : Tasks
    state : State
        Modified in place.
    settings : Settings
    space : Space
    sums : ndarray of shape (n_tasks,)
        The weighted losses of each task are added.
    """
    counts, n_tasks = state.counts, sums.shape[0]
    width = settings.sizes[settings.sizes.shape[0] - 1] + 1
    start = state.x.shape[0] - n_tasks * width
    total = 0.0
    for b in range(edges.shape[0] - 1):
        counts[n_tasks] += 1
        batch = (order, edges[b], edges[b + 1] - edges[b])
        value, n_seen = batch_gradient(samples, batch, tasks, state, settings, space, sums)
        total += value
        _update(state, space, 0, start, counts[n_tasks], settings.constants)
        for k in range(n_seen):
            t = space.seen[0, k]
            counts[t] += 1
            at = start + t * width
            _update(state, space, at, at + width, counts[t], settings.constants)
    return total


@njit
def hidden_units(x, X, settings, space, out):
    """Write the last hidden units of the rows X to `out` ``(n_rows, width)``."""
    most, last = space.A.shape[0], settings.sizes.shape[0] - 1
    for first in range(0, X.shape[0], most):
        n = min(most, X.shape[0] - first)
        _forward(x, settings, X[first : first + n], space.acts)
        H = block(space.acts, settings.sizes, last, n)
        for i in range(n):
            for j in range(H.shape[1]):
                out[first + i, j] = H[i, j]
