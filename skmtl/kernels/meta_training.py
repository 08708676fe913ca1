r"""Meta-training of networks: gradients of MAML (exact or of first order) and Reptile; Adam steps.

Each task starts from shared parameters and takes a few gradient steps of its own, the inner steps,
which leave layers below `first` unchanged. Networks and rows are those of `mlp`.
"""

from collections import namedtuple

import numpy as np

from .._jit import njit
from .adam import adam_update
from .mlp import (
    LowRank,
    Parameters,
    Rows,
    Units,
    block,
    clear,
    gradient,
    losses_and_deltas,
    matrix,
)
from .mlp_hessian import r_backward, r_forward, r_gradient, r_output

# Codes of the gradient that `meta_gradient` computes.
REPTILE = 0
FIRST_ORDER = 1
SECOND_ORDER = 2

# Inner steps: their number, the first layer they change, and the code of the gradient.
Inner = namedtuple("Inner", ["n_steps", "first", "order"])

# Initial parameters shared by all tasks, and the inner learning rate of each parameter.
Start = namedtuple("Start", ["parameters", "rates"])

# Two `Rows` of the same tasks.
Episodes = namedtuple("Episodes", ["support", "query"])

# State of Adam: moments and average, of shape (3, n_parameters + n_rates), of the initial
# parameters and, if these are learned, of the rates; the number of steps taken; and the constants
# of `adam_update`, of shape (2, 5), for the parameters and for the rates.
Adam = namedtuple("Adam", ["moments", "step", "constants"])

# Result of `workspace`: the tasks' own parameters after each step, two vectors of the same size,
# units and deltas of each step, four vectors for those of the query rows and for derivatives, and
# two buffers; `cross` belongs to `LowRank`.
Space = namedtuple(
    "Space", ["own", "along", "slope", "acts", "deltas", "extra", "wide", "scratch", "cross"]
)


def workspace(sizes, n_tasks, n_rows, max_rows, n_steps, dtype):
    """Return a `Space` for the kernels below.

    It suffices for the given numbers of tasks, rows in total, rows per task, and inner steps.
    """
    own = n_tasks * int(((sizes[:-1] + 1) * sizes[1:]).sum())
    units, widest, layers = n_rows * int(sizes[1:].sum()), int(sizes.max()), len(sizes) - 1
    max_rows = -(-max_rows // 8) * 8  # whole vectors
    steps = max(n_steps, 1)
    return Space(
        np.empty((steps, own), dtype), np.empty(own, dtype), np.empty(own, dtype),
        np.empty((steps, units), dtype), np.empty((steps, units), dtype),
        np.empty((4, units), dtype), np.empty(n_rows * widest, dtype),
        np.empty(widest * max(widest, max_rows), dtype),
        np.empty((2, layers, n_rows, max_rows), dtype)
    )  # fmt: skip


@njit(inlined=True)
def _set_low_rank(n_steps, first, rates, sizes, n_support, n_query, n_tasks, low, by_layer):
    """Mark the layers whose own parameters need not be formed: few rows, one step, one rate."""
    for layer in range(sizes.shape[0] - 1):
        low[layer] = False
        if n_steps != 1 or layer < first:
            continue
        q, m = sizes[layer], sizes[layer + 1]
        formed = (n_support + n_query) * q * m * n_tasks
        if 2 * n_support * n_query * (q + m) <= formed:
            rate = matrix(rates, sizes, layer, 1)
            by_layer[layer] = rate[0, 0]
            low[layer] = True
            for i in range(q + 1):
                for j in range(m):
                    if rate[i, j] != by_layer[layer]:
                        low[layer] = False


@njit(helper=True)
def _own_gradients(low, first, sizes, X, offsets, units, out, total):
    """Compute the gradient of each task, or the sum in layers whose own parameters are not formed.

    The sum is not computed if `total` is empty.
    """
    n_tasks = offsets.shape[0] - 1
    for layer in range(first, sizes.shape[0] - 1):
        if not low[layer]:
            P = matrix(out, sizes, layer, n_tasks)
            clear(P, 0, P.shape[0])
            gradient(layer, layer + 1, n_tasks, sizes, X, offsets, units, out)
        elif total.shape[0]:
            gradient(layer, layer + 1, np.int64(1), sizes, X, offsets, units, total)


@njit(inlined=True)
def _descend(at, first, sizes, rates, n_tasks, slope, new):
    """Compute ``new = parameters - rates * slope`` for each task."""
    shared, own, own_from, low = at.shared, at.own, at.own_from, at.low_rank.layers
    for layer in range(first, sizes.shape[0] - 1):
        if low[layer]:
            continue
        rate, q = matrix(rates, sizes, layer, 1), sizes[layer] + 1
        G, N = matrix(slope, sizes, layer, n_tasks), matrix(new, sizes, layer, n_tasks)
        P = matrix(shared, sizes, layer, 1)
        if layer >= own_from:
            P = matrix(own, sizes, layer, n_tasks)
        for t in range(n_tasks):
            for i in range(q):
                r, e = t * q + i, i if layer < own_from else t * q + i
                for j in range(G.shape[1]):
                    N[r, j] = P[e, j] - rate[i, j] * G[r, j]


@njit
def inner_step(at, first, rates, net, rows, units, scratch, slope, new, losses):
    """Take one step for each task, and write its parameters to `new`; `losses` precede the step."""
    losses_and_deltas(at, first + 1, net, rows, units, scratch, losses)
    low, offsets = at.low_rank.layers, rows.offsets
    _own_gradients(low, first, net.sizes, rows.X, offsets, units, slope, slope[:0])
    _descend(at, first, net.sizes, rates, offsets.shape[0] - 1, slope, new)


@njit(helper=True)
def _add_over_tasks(own, low, first, sizes, n_tasks, out):
    """Add the sum over tasks, in layers from `first` on, to the vector `out`."""
    for layer in range(first, sizes.shape[0] - 1):
        if low[layer]:
            continue
        P, S, q = matrix(own, sizes, layer, n_tasks), matrix(out, sizes, layer, 1), sizes[layer] + 1
        for t in range(n_tasks):
            for i in range(q):
                r = t * q + i
                for j in range(S.shape[1]):
                    S[i, j] += P[r, j]


@njit(inlined=True)
def _times_rates(rates, low, first, sizes, n_tasks, back, along):
    """Compute ``along = -rates * back`` for each task."""
    for layer in range(first, sizes.shape[0] - 1):
        if low[layer]:
            continue
        rate, q = matrix(rates, sizes, layer, 1), sizes[layer] + 1
        B, A = matrix(back, sizes, layer, n_tasks), matrix(along, sizes, layer, n_tasks)
        for t in range(n_tasks):
            for i in range(q):
                r = t * q + i
                for j in range(A.shape[1]):
                    A[r, j] = -rate[i, j] * B[r, j]


@njit(inlined=True)
def meta_gradient(start, net, inner, episodes, space, grad, rate_grad, losses):
    r"""Compute the gradient of the tasks' mean query loss after inner steps on their support rows.

    The inner steps of a task are :math:`\theta_{k+1} = \theta_k - r g(\theta_k)`. Let v be the
    gradient of the query loss at the last parameters. Applying ``v -= H(theta_k) (r v)`` for the
    steps in reverse order yields the gradient by the initial parameters. The gradient by the rates
    is written to `rate_grad`, unless this is empty. The first-order gradient omits the Hessians.
    Reptile takes steps on support and query rows in turn, and its gradient is the initial minus the
    final parameters.

    For a single step, g and v are sums over few rows, ``g = A' D``. If this takes fewer
    multiplications, products with the shared parameters are computed for all tasks at once, and
    products with g and v by way of the rows.

    The query loss of each task is written to `losses`.
    """
    own, along, slope, acts, deltas, extra, _, scratch, cross = space
    (initial, rates), (n_steps, first, order), (support, query) = start, inner, episodes
    sizes, learned = net.sizes, rate_grad.shape[0] > 0
    last, n_tasks = sizes.shape[0] - 1, support.offsets.shape[0] - 1
    grad[:] = 0
    rate_grad[:] = 0
    X, offsets = query.X, query.offsets
    low, by_layer = np.empty(last, np.bool_), np.zeros(last, initial.dtype)
    formed = n_steps if order != REPTILE and not learned else 0
    n_support = support.X.shape[0]
    _set_low_rank(formed, first, rates, sizes, n_support, X.shape[0], n_tasks, low, by_layer)
    low_rank = LowRank(
        low, by_layer, cross[0], cross[1], support.X, support.offsets, acts[0], deltas[0]
    )
    own_from, none = last, np.int64(0)  # a literal 0 would compile another specialisation
    for k in range(n_steps):
        rows = query if order == REPTILE and k % 2 else support
        at = Parameters(initial, own[max(k - 1, 0)], own_from, low_rank)
        units = Units(acts[k], deltas[k])
        inner_step(at, first, rates, net, rows, units, scratch, slope, own[k], losses)
        own_from = first
    final = own[max(n_steps - 1, 0)]
    lowest = last if order == REPTILE else 1
    at, units = Parameters(initial, final, own_from, low_rank), Units(extra[0], extra[1])
    losses_and_deltas(at, lowest, net, query, units, scratch, losses)
    if order == REPTILE:
        _add_over_tasks(final, low, first, sizes, n_tasks, grad)
        for j in range(grad.shape[0]):
            grad[j] = initial[j] - grad[j] / n_tasks
        return
    if n_steps == 0 or (order == FIRST_ORDER and not learned):
        gradient(none, last, none + 1, sizes, X, offsets, units, grad)
    else:
        gradient(none, first, none + 1, sizes, X, offsets, units, grad)
        back = slope
        _own_gradients(low, first, sizes, X, offsets, units, back, grad)
        for k in range(n_steps - 1, -1, -1):
            if learned:
                units = Units(acts[k], deltas[k])
                _rate_gradient(low, first, sizes, support, units, back, along, rate_grad)
            if order == SECOND_ORDER:
                _step_back(start, net, first, episodes, k, low, space, grad)
        _add_over_tasks(back, low, first, sizes, n_tasks, grad)
    for j in range(grad.shape[0]):
        grad[j] /= n_tasks
    for j in range(rate_grad.shape[0]):
        rate_grad[j] /= n_tasks


@njit(inlined=True)
def _rate_gradient(low, first, sizes, rows, units, back, along, rate_grad):
    """Subtract the sum over tasks of the inner gradient times `back`."""
    n_tasks = rows.offsets.shape[0] - 1
    _own_gradients(low, first, sizes, rows.X, rows.offsets, units, along, along[:0])
    for layer in range(first, sizes.shape[0] - 1):
        G, B = matrix(along, sizes, layer, n_tasks), matrix(back, sizes, layer, n_tasks)
        for i in range(G.shape[0]):
            for j in range(G.shape[1]):
                G[i, j] *= -B[i, j]
    _add_over_tasks(along, low, first, sizes, n_tasks, rate_grad)


@njit(inlined=True)
def _step_back(start, net, first, episodes, k, low, space, grad):
    """Apply ``back -= H (rates * back)`` for inner step k; add the shared part to `grad`."""
    own, along, back, acts, deltas, extra, wide, scratch, cross = space
    (initial, rates), (rows, query), sizes = start, episodes, net.sizes
    X, offsets = rows.X, rows.offsets
    n, n_tasks, last = X.shape[0], offsets.shape[0] - 1, sizes.shape[0] - 1
    own_from = last if k == 0 else first
    low_rank = LowRank(low, rates, cross[0], cross[1], query.X, query.offsets, extra[0], extra[1])
    at = Parameters(initial, own[max(k - 1, 0)], own_from, low_rank)
    units, tangent = Units(acts[k], deltas[k]), Units(extra[2], extra[3])
    _times_rates(rates, low, first, sizes, n_tasks, back, along)
    r_forward(at, along, first, net, X, offsets, units, tangent)
    F, R = block(units.acts, sizes, last, n), block(tangent.acts, sizes, last, n)
    r_output(net.loss, rows.weight, F, R, block(tangent.deltas, sizes, last, n))
    r_backward(at, along, first, net, offsets, units, tangent.deltas, wide, scratch)
    none = np.int64(0)
    r_gradient(first, none, own_from, none + 1, sizes, X, offsets, units, tangent, grad)
    r_gradient(first, own_from, last, n_tasks, sizes, X, offsets, units, tangent, back)


@njit
def meta_train(n_steps, adam, start, learn_rates, net, inner, episodes, space, losses):
    """Take `n_steps` of Adam, each on the next ``len(losses) / n_steps`` tasks of the episodes.

    The parameters of `start`, its rates if `learn_rates`, and the moments of `adam` are updated in
    place.
    """
    (initial, rates), (moments, step, constants) = start, adam
    n_tasks, n_parameters = losses.shape[0] // n_steps, initial.shape[0]
    grad = np.empty_like(initial)
    rate_grad = np.empty(n_parameters if learn_rates else 0, initial.dtype)
    for i in range(n_steps):
        a, b = i * n_tasks, (i + 1) * n_tasks
        batch = Episodes(_rows_of(episodes.support, a, b), _rows_of(episodes.query, a, b))
        meta_gradient(start, net, inner, batch, space, grad, rate_grad, losses[a:b])
        adam_update(
            initial, grad, moments[0, :n_parameters], moments[1, :n_parameters],
            moments[2, :n_parameters], step + i + 1, constants[0]
        )  # fmt: skip
        if learn_rates:
            adam_update(
                rates, rate_grad, moments[0, n_parameters:], moments[1, n_parameters:],
                moments[2, n_parameters:], step + i + 1, constants[1]
            )  # fmt: skip


@njit(helper=True)
def _rows_of(rows, a, b):
    """Return the rows of tasks ``a..b``."""
    X, target, weight, ways, offsets = rows
    i, j = offsets[a], offsets[b]
    return Rows(X[i:j], target[i:j], weight[i:j], ways[a:b], offsets[a : b + 1] - i)
