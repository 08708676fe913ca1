r"""Multilayer perceptrons of any depth: values, gradients and exact Hessian-vector products.

A network of layer widths `sizes` (int64) has as parameters, layer after layer, the matrix
``(width in + 1, width out)`` of which the last row is the bias, all in one flat vector. Where
every task has parameters of its own they stand layer by layer, and task by task within a layer:
the layer's `copies` matrices below each other. Layers below `own_from` are taken from the vector
shared by all tasks, and all tasks' rows go through them in one product.

Rows of many tasks are packed: task t has rows ``offsets[t]:offsets[t + 1]``. Units of a layer
stand in one ``(n_rows, width)`` block of a flat buffer, block after block from the first hidden
layer on. The output block holds predictions: numbers, or (cross-entropy) probabilities of the
first ``ways[t]`` outputs. `deltas` are derivatives of the loss with respect to a block before its
activation. A name that begins with r is the derivative along a direction of the parameters: the
R-operator (Pearlmutter 1994, doi:10.1162/neco.1994.6.1.147).

The loss of a task is the sum over its rows of ``weight`` times the squared error, summed over
outputs, or times the cross-entropy to the target probabilities.
"""

import numpy as np

from .._jit import njit

RELU, TANH = 0, 1
SQUARED, CROSS_ENTROPY = 0, 1
# Which gradient the training of `meta_gradient` follows.
REPTILE, FIRST_ORDER, SECOND_ORDER = 0, 1, 2

# Products of fewer multiplications are done here, as calling BLAS takes longer.
_LARGE = 30_000

# The last index of an array is always a loop's own variable, and loops over it have no sums, as
# nothing else is compiled to vector instructions.


@njit
def block(buffer, sizes, layer, n):
    """The units of `layer` (1 is the first hidden one) of n rows."""
    start = 0
    for k in range(1, layer):
        start += sizes[k]
    return buffer[n * start : n * (start + sizes[layer])].reshape((n, sizes[layer]))


@njit
def matrix(flat, sizes, layer, copies):
    """The parameters between `layer` and the next, of `copies` networks below each other."""
    start = 0
    for k in range(layer):
        start += (sizes[k] + 1) * sizes[k + 1]
    rows = copies * (sizes[layer] + 1)
    start *= copies
    return flat[start : start + rows * sizes[layer + 1]].reshape((rows, sizes[layer + 1]))


@njit
def _clear(C, c, n):
    for i in range(n):
        for j in range(C.shape[1]):
            C[c + i, j] = 0


@njit
def _times(A, a, B, b, C, c, n, q):
    """``C[c:c+n] += A[a:a+n, :q] @ B[b:b+q]``."""
    m = C.shape[1]
    if m < 4:
        _times_narrow(A, a, B, b, C, c, n, q)
        return
    if n * q * m >= _LARGE and q == A.shape[1]:
        product = np.dot(A[a : a + n], B[b : b + q])
        for i in range(n):
            for j in range(m):
                C[c + i, j] += product[i, j]
        return
    for i in range(0, n - 1, 2):  # two rows and four terms at once: few passes over C and B
        e, f, x, y = a + i, a + i + 1, c + i, c + i + 1
        for k in range(0, q - 3, 4):
            e0, e1, e2, e3 = A[e, k], A[e, k + 1], A[e, k + 2], A[e, k + 3]
            f0, f1, f2, f3 = A[f, k], A[f, k + 1], A[f, k + 2], A[f, k + 3]
            r = b + k
            for j in range(m):
                b0, b1, b2, b3 = B[r, j], B[r + 1, j], B[r + 2, j], B[r + 3, j]
                C[x, j] += (e0 * b0 + e1 * b1) + (e2 * b2 + e3 * b3)
                C[y, j] += (f0 * b0 + f1 * b1) + (f2 * b2 + f3 * b3)
        for k in range(q - q % 4, q):
            e0, f0, r = A[e, k], A[f, k], b + k
            for j in range(m):
                C[x, j] += e0 * B[r, j]
                C[y, j] += f0 * B[r, j]
    if n % 2:
        e, x = a + n - 1, c + n - 1
        for k in range(0, q - 3, 4):
            e0, e1, e2, e3 = A[e, k], A[e, k + 1], A[e, k + 2], A[e, k + 3]
            r = b + k
            for j in range(m):
                b0, b1, b2, b3 = B[r, j], B[r + 1, j], B[r + 2, j], B[r + 3, j]
                C[x, j] += (e0 * b0 + e1 * b1) + (e2 * b2 + e3 * b3)
        for k in range(q - q % 4, q):
            e0, r = A[e, k], b + k
            for j in range(m):
                C[x, j] += e0 * B[r, j]


@njit
def _times_narrow(A, a, B, b, C, c, n, q):
    """`_times` where C has few columns: four rows at once."""
    for j in range(C.shape[1]):
        for i in range(0, n - 3, 4):
            e = a + i
            s0, s1, s2, s3 = C[c + i, j], C[c + i + 1, j], C[c + i + 2, j], C[c + i + 3, j]
            for k in range(q):
                f = B[b + k, j]
                s0 += A[e, k] * f
                s1 += A[e + 1, k] * f
                s2 += A[e + 2, k] * f
                s3 += A[e + 3, k] * f
            C[c + i, j] = s0
            C[c + i + 1, j] = s1
            C[c + i + 2, j] = s2
            C[c + i + 3, j] = s3
        for i in range(n - n % 4, n):
            for k in range(q):
                C[c + i, j] += A[a + i, k] * B[b + k, j]


@njit
def _times_transposed(A, a, B, b, C, c, n, q, scratch):
    """``C[c:c+n, :q] += A[a:a+n] @ B[b:b+q].T``."""
    m = A.shape[1]
    if n * q * m >= _LARGE and q == C.shape[1]:
        product = np.dot(A[a : a + n], B[b : b + q].T)
        for i in range(n):
            for j in range(q):
                C[c + i, j] += product[i, j]
        return
    turned = scratch[: m * q].reshape((m, q))
    for j in range(q):
        for k in range(m):
            turned[k, j] = B[b + j, k]
    if q == C.shape[1]:
        _times(A, a, turned, 0, C, c, n, m)
        return
    for i in range(n):
        for k in range(m):
            f = A[a + i, k]
            for j in range(q):
                C[c + i, j] += f * turned[k, j]


@njit
def _transposed_times(A, a, B, b, C, c, n, q):
    """``C[c:c+q] += A[a:a+n, :q].T @ B[b:b+n]``."""
    m = C.shape[1]
    if n * q * m >= _LARGE and q == A.shape[1]:
        product = np.dot(A[a : a + n].T, B[b : b + n])
        for i in range(q):
            for j in range(m):
                C[c + i, j] += product[i, j]
        return
    if m == 1:
        for k in range(n):
            f, r = B[b + k, 0], a + k
            for i in range(q):
                C[c + i, 0] += A[r, i] * f
        return
    for i in range(0, q - 1, 2):
        x, y = c + i, c + i + 1
        for k in range(0, n - 3, 4):
            r, s = a + k, b + k
            e0, e1, e2, e3 = A[r, i], A[r + 1, i], A[r + 2, i], A[r + 3, i]
            f0, f1, f2, f3 = A[r, i + 1], A[r + 1, i + 1], A[r + 2, i + 1], A[r + 3, i + 1]
            for j in range(m):
                b0, b1, b2, b3 = B[s, j], B[s + 1, j], B[s + 2, j], B[s + 3, j]
                C[x, j] += (e0 * b0 + e1 * b1) + (e2 * b2 + e3 * b3)
                C[y, j] += (f0 * b0 + f1 * b1) + (f2 * b2 + f3 * b3)
        for k in range(n - n % 4, n):
            s, e0, f0 = b + k, A[a + k, i], A[a + k, i + 1]
            for j in range(m):
                C[x, j] += e0 * B[s, j]
                C[y, j] += f0 * B[s, j]
    if q % 2:
        x = c + q - 1
        for k in range(n):
            s, e0 = b + k, A[a + k, q - 1]
            for j in range(m):
                C[x, j] += e0 * B[s, j]


# ---------------------------------------------------------------------------------------------
# A layer. Parameters P are of one network, or of every task, one below the other.


@njit
def _affine(P, A, offsets, bias, Z):
    """``Z += A @ W + b`` (without b unless `bias`)."""
    n_tasks, q, m = offsets.shape[0] - 1, A.shape[1], Z.shape[1]
    if P.shape[0] == q + 1:
        _times(A, 0, P, 0, Z, 0, A.shape[0], q)
    for t in range(n_tasks):
        first, n = offsets[t], offsets[t + 1] - offsets[t]
        base = 0
        if P.shape[0] > q + 1:
            base = t * (q + 1)
            _times(A, first, P, base, Z, first, n, q)
        if bias:
            for i in range(first, first + n):
                for j in range(m):
                    Z[i, j] += P[base + q, j]


@njit
def _pull_back(P, D, offsets, scratch, U):
    """``U += D @ W.T``."""
    q = U.shape[1]
    if P.shape[0] == q + 1:
        _times_transposed(D, 0, P, 0, U, 0, D.shape[0], q, scratch)
        return
    for t in range(offsets.shape[0] - 1):
        first, n = offsets[t], offsets[t + 1] - offsets[t]
        _times_transposed(D, first, P, t * (q + 1), U, first, n, q, scratch)


@njit
def _accumulate(A, D, offsets, bias, P):
    """``W += A.T @ D`` and, with `bias`, ``b += D.sum(0)``: in all, or of every task."""
    n_tasks, q, m = offsets.shape[0] - 1, A.shape[1], D.shape[1]
    if P.shape[0] == q + 1:
        _transposed_times(A, 0, D, 0, P, 0, A.shape[0], q)
    for t in range(n_tasks):
        first, n = offsets[t], offsets[t + 1] - offsets[t]
        base = 0
        if P.shape[0] > q + 1:
            base = t * (q + 1)
            _transposed_times(A, first, D, first, P, base, n, q)
        if bias:
            for i in range(first, first + n):
                for j in range(m):
                    P[base + q, j] += D[i, j]


@njit
def _activate(activation, Z):
    zero = Z.dtype.type(0)
    for i in range(Z.shape[0]):
        if activation == RELU:
            for j in range(Z.shape[1]):
                Z[i, j] = zero if Z[i, j] < zero else Z[i, j]  # NaN stays
        else:
            for j in range(Z.shape[1]):
                Z[i, j] = np.tanh(Z[i, j])


@njit
def _slope(activation, A, D):
    """``D *= f'`` of the activation, whose values are A."""
    zero, one = A.dtype.type(0), A.dtype.type(1)
    for i in range(A.shape[0]):
        if activation == RELU:
            for j in range(A.shape[1]):
                D[i, j] = D[i, j] if A[i, j] > zero else zero
        else:
            for j in range(A.shape[1]):
                D[i, j] *= one - A[i, j] * A[i, j]


# ---------------------------------------------------------------------------------------------
# A network.


@njit
def forward(shared, own, own_from, sizes, activation, X, offsets, acts):
    """Units of all layers; the output block holds scores, see `output`."""
    n, last = X.shape[0], sizes.shape[0] - 1
    A = X
    for layer in range(last):
        Z = block(acts, sizes, layer + 1, n)
        _clear(Z, 0, n)
        if layer < own_from:
            _affine(matrix(shared, sizes, layer, 1), A, offsets, True, Z)
        else:
            copies = offsets.shape[0] - 1
            _affine(matrix(own, sizes, layer, copies), A, offsets, True, Z)
        if layer < last - 1:
            _activate(activation, Z)
        A = Z


@njit
def output(loss, target, weight, ways, offsets, F, D, losses):
    """Scores F to predictions, their deltas D, and every task's loss."""
    two = F.dtype.type(2)
    for t in range(offsets.shape[0] - 1):
        total = 0.0
        for i in range(offsets[t], offsets[t + 1]):
            if loss == SQUARED:
                for j in range(F.shape[1]):
                    gap = F[i, j] - target[i, j]
                    D[i, j] = two * weight[i] * gap
                    total += weight[i] * gap * gap
            else:
                total += weight[i] * _softmax_row(F, D, target, i, ways[t])
                for j in range(F.shape[1]):
                    D[i, j] = weight[i] * (F[i, j] - target[i, j])
        losses[t] = total


@njit
def _softmax_row(F, D, target, i, ways):
    """Row i of F from scores to probabilities; returns its cross-entropy. D is overwritten."""
    top = F[i, 0]
    for j in range(1, ways):
        top = max(top, F[i, j])
    total = F.dtype.type(0)
    value = 0.0
    for j in range(ways):
        D[i, j] = F[i, j] - top
        value -= target[i, j] * D[i, j]
        F[i, j] = np.exp(D[i, j])
        total += F[i, j]
    for j in range(F.shape[1]):
        F[i, j] = F[i, j] / total if j < ways else F.dtype.type(0)
    return value + np.log(total)


@njit
def backward(shared, own, own_from, lowest, sizes, activation, offsets, acts, deltas, scratch):
    """Deltas of the blocks down to `lowest` from those of the output."""
    n, last = offsets[offsets.shape[0] - 1], sizes.shape[0] - 1
    for layer in range(last - 1, lowest - 1, -1):
        D, U = block(deltas, sizes, layer + 1, n), block(deltas, sizes, layer, n)
        _clear(U, 0, n)
        if layer < own_from:
            _pull_back(matrix(shared, sizes, layer, 1), D, offsets, scratch, U)
        else:
            copies = offsets.shape[0] - 1
            _pull_back(matrix(own, sizes, layer, copies), D, offsets, scratch, U)
        _slope(activation, block(acts, sizes, layer, n), U)


@njit
def gradient(first, stop, copies, sizes, X, offsets, acts, deltas, out):
    """Add the gradient by the parameters of layers ``first..stop`` to `out`."""
    n = X.shape[0]
    for layer in range(first, stop):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        D = block(deltas, sizes, layer + 1, n)
        _accumulate(A, D, offsets, True, matrix(out, sizes, layer, copies))


@njit
def r_forward(shared, own, own_from, along, first, sizes, activation, X, offsets, acts, deltas,
              racts, rdeltas):
    """Derivatives of all units along `along` (every task's own) in the layers from `first` on.

    Puts into `rdeltas` what the curvature of the activations adds to them.
    """
    n, last, copies = X.shape[0], sizes.shape[0] - 1, offsets.shape[0] - 1
    two, one = acts.dtype.type(2), acts.dtype.type(1)
    for layer in range(first, last):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        R = block(racts, sizes, layer + 1, n)
        _clear(R, 0, n)
        _affine(matrix(along, sizes, layer, copies), A, offsets, True, R)
        if layer > first:
            RA = block(racts, sizes, layer, n)
            if layer < own_from:
                _affine(matrix(shared, sizes, layer, 1), RA, offsets, False, R)
            else:
                _affine(matrix(own, sizes, layer, copies), RA, offsets, False, R)
        if layer == last - 1:
            return
        A, D = block(acts, sizes, layer + 1, n), block(deltas, sizes, layer + 1, n)
        E = block(rdeltas, sizes, layer + 1, n)
        if activation == RELU:
            _clear(E, 0, n)
        else:
            for i in range(n):
                for j in range(A.shape[1]):
                    E[i, j] = -two * A[i, j] * D[i, j] * R[i, j]
        _slope(activation, A, R)


@njit
def r_output(loss, weight, F, R, E):
    """Derivatives E of the output's deltas from those of the scores, R, at predictions F."""
    two = F.dtype.type(2)
    for i in range(F.shape[0]):
        if loss == SQUARED:
            for j in range(F.shape[1]):
                E[i, j] = two * weight[i] * R[i, j]
        else:
            mean = F.dtype.type(0)
            for j in range(F.shape[1]):
                mean += F[i, j] * R[i, j]
            for j in range(F.shape[1]):
                E[i, j] = weight[i] * F[i, j] * (R[i, j] - mean)


@njit
def r_backward(shared, own, own_from, along, first, sizes, activation, offsets, acts, deltas,
               rdeltas, scratch, turned):
    """Derivatives of the deltas of all blocks, from those of the output."""
    n, last, copies = offsets[offsets.shape[0] - 1], sizes.shape[0] - 1, offsets.shape[0] - 1
    for layer in range(last - 1, 0, -1):
        E, U = block(rdeltas, sizes, layer + 1, n), scratch[: n * sizes[layer]]
        U = U.reshape((n, sizes[layer]))
        _clear(U, 0, n)
        if layer < own_from:
            _pull_back(matrix(shared, sizes, layer, 1), E, offsets, turned, U)
        else:
            _pull_back(matrix(own, sizes, layer, copies), E, offsets, turned, U)
        if layer >= first:
            D = block(deltas, sizes, layer + 1, n)
            _pull_back(matrix(along, sizes, layer, copies), D, offsets, turned, U)
        _slope(activation, block(acts, sizes, layer, n), U)
        E = block(rdeltas, sizes, layer, n)
        if layer <= first:
            _clear(E, 0, n)
        for i in range(n):
            for j in range(U.shape[1]):
                E[i, j] += U[i, j]


@njit
def r_gradient(first, start, stop, copies, sizes, X, offsets, acts, deltas, racts, rdeltas, out):
    """Add the product of the Hessian and the direction to `out`, for layers ``start..stop``."""
    n = X.shape[0]
    for layer in range(start, stop):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        P = matrix(out, sizes, layer, copies)
        _accumulate(A, block(rdeltas, sizes, layer + 1, n), offsets, True, P)
        if layer > first:
            RA, D = block(racts, sizes, layer, n), block(deltas, sizes, layer + 1, n)
            _accumulate(RA, D, offsets, False, P)


# ---------------------------------------------------------------------------------------------
# Learning to learn. `net` is (sizes, activation, loss); `rows` of tasks are (X, target, weight,
# ways, offsets); layers below `first` stay as they are in the inner steps.


def workspace(sizes, n_tasks, n_rows, n_steps, dtype):
    """Arrays that `meta_gradient` works in, for that many tasks, rows and inner steps at most."""
    own = n_tasks * int(((sizes[:-1] + 1) * sizes[1:]).sum())
    units, widest = n_rows * int(sizes[1:].sum()), int(sizes.max())
    steps = max(n_steps, 1)
    return (
        np.empty((steps, own), dtype), np.empty(own, dtype), np.empty(own, dtype),
        np.empty((steps, units), dtype), np.empty((steps, units), dtype),
        np.empty((4, units), dtype), np.empty(n_rows * widest, dtype),
        np.empty(widest * widest, dtype),
    )  # fmt: skip


@njit
def losses_and_deltas(shared, own, own_from, lowest, net, rows, acts, deltas, turned, losses):
    """Forward and backward: every task's loss, and the deltas of blocks down to `lowest`."""
    sizes, activation, loss = net
    X, target, weight, ways, offsets = rows
    n, last = X.shape[0], sizes.shape[0] - 1
    forward(shared, own, own_from, sizes, activation, X, offsets, acts)
    F, D = block(acts, sizes, last, n), block(deltas, sizes, last, n)
    output(loss, target, weight, ways, offsets, F, D, losses)
    backward(shared, own, own_from, lowest, sizes, activation, offsets, acts, deltas, turned)


@njit
def _descend(shared, own, own_from, first, sizes, rates, n_tasks, slope, new):
    """``new = parameters - rates * slope`` of every task."""
    for layer in range(first, sizes.shape[0] - 1):
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
def inner_step(shared, own, own_from, first, rates, net, rows, acts, deltas, turned, slope, new,
               losses):
    """One step of every task, from `own` (or `shared`) to `new`; `losses` are from before it."""
    losses_and_deltas(
        shared, own, own_from, first + 1, net, rows, acts, deltas, turned, losses
    )
    sizes, n_tasks = net[0], rows[4].shape[0] - 1
    slope[:] = 0
    gradient(
        first, sizes.shape[0] - 1, n_tasks, sizes, rows[0], rows[4], acts, deltas, slope
    )
    _descend(shared, own, own_from, first, sizes, rates, n_tasks, slope, new)


@njit
def adapt(theta, first, rates, net, rows, n_steps, space, losses):
    """Take `n_steps` inner steps; parameters end in the first row of the workspace's `own`.

    ``losses[k]`` are the tasks' losses before step k.
    """
    own, _, slope, acts, deltas, _, _, turned = space
    last = net[0].shape[0] - 1
    for k in range(n_steps):
        own_from = last if k == 0 else first
        inner_step(
            theta, own[0], own_from, first, rates, net, rows, acts[0], deltas[0], turned, slope,
            own[0], losses[k],
        )


@njit
def _add_over_tasks(own, first, sizes, n_tasks, out):
    """Add the tasks' sums in layers from `first` on to the vector `out`."""
    for layer in range(first, sizes.shape[0] - 1):
        P, S, q = matrix(own, sizes, layer, n_tasks), matrix(out, sizes, layer, 1), sizes[layer] + 1
        for t in range(n_tasks):
            for i in range(q):
                r = t * q + i
                for j in range(S.shape[1]):
                    S[i, j] += P[r, j]


@njit
def _times_rates(rates, first, sizes, n_tasks, back, along):
    """``along = rates * back`` of every task."""
    for layer in range(first, sizes.shape[0] - 1):
        rate, q = matrix(rates, sizes, layer, 1), sizes[layer] + 1
        B, A = matrix(back, sizes, layer, n_tasks), matrix(along, sizes, layer, n_tasks)
        for t in range(n_tasks):
            for i in range(q):
                r = t * q + i
                for j in range(A.shape[1]):
                    A[r, j] = rate[i, j] * B[r, j]


@njit
def meta_gradient(theta, first, rates, net, support, query, n_steps, order, space, grad, rate_grad,
                  losses):
    r"""Gradient of the tasks' mean query loss after `n_steps` inner steps on their support rows.

    With parameters :math:`\theta_{k+1} = \theta_k - r g(\theta_k)` of a task, and v the gradient
    of its query loss at the last of them, ``v -= H(theta_k) (r v)`` for the steps backwards leads
    to that by the initial parameters. `rate_grad` (of no entries where not wanted) gets the
    gradient by the rates. First order leaves the Hessians out. Reptile's steps are on support and
    query rows in turn, and its gradient is the way from the end back to the start.

    losses : array of shape (n_tasks,) for the query loss of every task
    """
    own, along, slope, acts, deltas, extra, _, turned = space
    sizes = net[0]
    last, n_tasks = sizes.shape[0] - 1, support[4].shape[0] - 1
    grad[:] = 0
    rate_grad[:] = 0
    own_from = last
    for k in range(n_steps):
        rows = query if order == REPTILE and k % 2 else support
        inner_step(
            theta, own[max(k - 1, 0)], own_from, first, rates, net, rows, acts[k], deltas[k],
            turned, slope, own[k], losses,
        )
        own_from = first
    final = own[max(n_steps - 1, 0)]
    X, offsets = query[0], query[4]
    lowest = last if order == REPTILE else 1
    losses_and_deltas(
        theta, final, own_from, lowest, net, query, extra[0], extra[1], turned, losses
    )
    if order == REPTILE:
        _add_over_tasks(final, first, sizes, n_tasks, grad)
        for j in range(grad.shape[0]):
            grad[j] = theta[j] - grad[j] / n_tasks
        return
    if n_steps == 0 or (order == FIRST_ORDER and rate_grad.shape[0] == 0):
        gradient(0, last, 1, sizes, X, offsets, extra[0], extra[1], grad)
    else:
        gradient(0, first, 1, sizes, X, offsets, extra[0], extra[1], grad)
        back = slope
        back[:] = 0
        gradient(first, last, n_tasks, sizes, X, offsets, extra[0], extra[1], back)
        for k in range(n_steps - 1, -1, -1):
            if rate_grad.shape[0]:
                _rate_gradient(first, sizes, support, acts[k], deltas[k], back, along, rate_grad)
            if order == SECOND_ORDER:
                _step_back(theta, first, rates, net, support, k, space, grad)
        _add_over_tasks(back, first, sizes, n_tasks, grad)
    for j in range(grad.shape[0]):
        grad[j] /= n_tasks
    for j in range(rate_grad.shape[0]):
        rate_grad[j] /= n_tasks


@njit
def _rate_gradient(first, sizes, rows, acts, deltas, back, along, rate_grad):
    """Subtract the sum over tasks of the inner gradient times `back`."""
    n_tasks, last = rows[4].shape[0] - 1, sizes.shape[0] - 1
    along[:] = 0
    gradient(first, last, n_tasks, sizes, rows[0], rows[4], acts, deltas, along)
    for j in range(along.shape[0]):
        along[j] *= -back[j]
    _add_over_tasks(along, first, sizes, n_tasks, rate_grad)


@njit
def _step_back(theta, first, rates, net, rows, k, space, grad):
    """``back -= H (rates * back)`` through inner step k; what is shared goes into `grad`."""
    own, along, back, acts, deltas, extra, wide, turned = space
    sizes, activation, loss = net
    X, _, weight, _, offsets = rows
    n, n_tasks, last = X.shape[0], offsets.shape[0] - 1, sizes.shape[0] - 1
    at, own_from = own[max(k - 1, 0)], last if k == 0 else first
    racts, rdeltas = extra[2], extra[3]
    _times_rates(rates, first, sizes, n_tasks, back, along)
    for j in range(along.shape[0]):
        along[j] = -along[j]
    r_forward(
        theta, at, own_from, along, first, sizes, activation, X, offsets, acts[k], deltas[k],
        racts, rdeltas,
    )
    F, R = block(acts[k], sizes, last, n), block(racts, sizes, last, n)
    r_output(loss, weight, F, R, block(rdeltas, sizes, last, n))
    r_backward(
        theta, at, own_from, along, first, sizes, activation, offsets, acts[k], deltas[k],
        rdeltas, wide, turned,
    )
    split = last if k == 0 else first
    r_gradient(
        first, 0, split, 1, sizes, X, offsets, acts[k], deltas[k], racts, rdeltas, grad
    )
    r_gradient(
        first, split, last, n_tasks, sizes, X, offsets, acts[k], deltas[k], racts, rdeltas, back
    )


@njit
def adam_update(x, grad, mean, square, step, rate, decay, decay_square, floor):
    """Update number `step` (from 1) of Adam, in place of `x` and its moments."""
    one = x.dtype.type(1)
    b, c = x.dtype.type(decay), x.dtype.type(decay_square)
    length = x.dtype.type(rate / (1.0 - decay**step))
    unbias = x.dtype.type(1.0 / (1.0 - decay_square**step))
    floor = x.dtype.type(floor)
    for j in range(x.shape[0]):
        mean[j] = b * mean[j] + (one - b) * grad[j]
        square[j] = c * square[j] + (one - c) * grad[j] * grad[j]
        x[j] -= length * mean[j] / (np.sqrt(square[j] * unbias) + floor)
