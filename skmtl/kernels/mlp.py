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

RELU = 0
TANH = 1
SQUARED = 0
CROSS_ENTROPY = 1
# Which gradient the training of `meta_gradient` follows.
REPTILE = 0
FIRST_ORDER = 1
SECOND_ORDER = 2

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


@njit(helper=True)
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


@njit(helper=True)
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
    turned = scratch[: m * C.shape[1]].reshape((m, C.shape[1]))
    if q < C.shape[1]:
        _clear(turned, 0, m)
    for j in range(q):
        for k in range(m):
            turned[k, j] = B[b + j, k]
    _times(A, a, turned, np.int64(0), C, c, n, m)


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


@njit(helper=True)
def _group(t, shared, offsets):
    """First row and number of rows of task t; where parameters are shared, of all tasks."""
    if shared:
        return offsets[0], offsets[offsets.shape[0] - 1] - offsets[0]
    return offsets[t], offsets[t + 1] - offsets[t]


@njit(helper=True)
def _affine(P, A, offsets, bias, Z):
    """``Z += A @ W + bias * b``."""
    q = A.shape[1]
    shared = P.shape[0] == q + 1
    for t in range(1 if shared else offsets.shape[0] - 1):
        first, n = _group(t, shared, offsets)
        _times(A, first, P, t * (q + 1), Z, first, n, q)
        b = t * (q + 1) + q
        for i in range(first, first + n if bias else first):
            for j in range(Z.shape[1]):
                Z[i, j] += P[b, j]


@njit(helper=True)
def _pull_back(P, D, offsets, scratch, U):
    """``U += D @ W.T``."""
    q = U.shape[1]
    shared = P.shape[0] == q + 1
    for t in range(1 if shared else offsets.shape[0] - 1):
        first, n = _group(t, shared, offsets)
        _times_transposed(D, first, P, t * (q + 1), U, first, n, q, scratch)


@njit(helper=True)
def _accumulate(A, D, offsets, bias, P):
    """``W += A.T @ D`` and, with `bias`, ``b += D.sum(0)``: in all, or of every task."""
    q = A.shape[1]
    shared = P.shape[0] == q + 1
    for t in range(1 if shared else offsets.shape[0] - 1):
        first, n = _group(t, shared, offsets)
        _transposed_times(A, first, D, first, P, t * (q + 1), n, q)
        b = t * (q + 1) + q
        for i in range(first, first + n if bias else first):
            for j in range(D.shape[1]):
                P[b, j] += D[i, j]


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


@njit(helper=True)
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


# After one step from shared parameters a task's own are W - rate * A'.D', A' and D' being units
# and deltas of its support rows; products with few rows need not form them, see `meta_gradient`.


@njit(helper=True)
def _step_times(rate, bias, A, offsets, other, right, other_offsets, scratch, cross, Z):
    """``Z += cross @ right`` and ``cross = -rate * (A @ other.T + bias)``, task by task."""
    for t in range(offsets.shape[0] - 1):
        a, b = offsets[t], other_offsets[t]
        n, q = offsets[t + 1] - a, other_offsets[t + 1] - b
        _clear(cross, a, n)
        _times_transposed(A, a, other, b, cross, a, n, q, scratch)
        for i in range(a, a + n):
            for j in range(cross.shape[1]):
                cross[i, j] = -rate * (cross[i, j] + bias)
        _times(cross, a, right, b, Z, a, n, q)


@njit(helper=True)
def _step_transposed_times(cross, A, offsets, other_offsets, Z):
    """``Z += cross.T @ A``, task by task."""
    for t in range(offsets.shape[0] - 1):
        a, b = offsets[t], other_offsets[t]
        _transposed_times(cross, a, A, a, Z, b, offsets[t + 1] - a, other_offsets[t + 1] - b)


# ---------------------------------------------------------------------------------------------
# A network.


@njit(helper=True)
def _chosen(shared, own, own_from, low, sizes, layer, offsets):
    """The parameters that a layer's rows are multiplied with."""
    if layer < own_from or low[layer]:
        return matrix(shared, sizes, layer, 1)
    return matrix(own, sizes, layer, offsets.shape[0] - 1)


@njit
def forward(shared, own, own_from, near, sizes, activation, X, offsets, acts, scratch):
    """Units of all layers; the output block holds scores, see `output`."""
    low, rates, cross, _, other_X, other_offsets, other_acts, other_deltas = near
    other_n, one, yes = other_X.shape[0], X.dtype.type(1), np.int64(1)
    n, last = X.shape[0], sizes.shape[0] - 1
    A = X
    for layer in range(last):
        Z = block(acts, sizes, layer + 1, n)
        _clear(Z, 0, n)
        _affine(_chosen(shared, own, own_from, low, sizes, layer, offsets), A, offsets, yes, Z)
        if layer >= own_from and low[layer]:
            other = other_X if layer == 0 else block(other_acts, sizes, layer, other_n)
            right = block(other_deltas, sizes, layer + 1, other_n)
            _step_times(
                rates[layer], one, A, offsets, other, right, other_offsets, scratch, cross[layer], Z
            )
        if layer < last - 1:
            _activate(activation, Z)
        A = Z


@njit(inlined=True)
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


@njit(inlined=True)
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


@njit(inlined=True)
def backward(
    shared, own, own_from, near, lowest, sizes, activation, offsets, acts, deltas, scratch
):
    """Deltas of the blocks down to `lowest` from those of the output."""
    low, rates, _, cross, other_X, other_offsets, other_acts, other_deltas = near
    other_n, zero = other_X.shape[0], acts.dtype.type(0)
    n, last = offsets[offsets.shape[0] - 1], sizes.shape[0] - 1
    for layer in range(last - 1, lowest - 1, -1):
        D, U = block(deltas, sizes, layer + 1, n), block(deltas, sizes, layer, n)
        _clear(U, 0, n)
        P = _chosen(shared, own, own_from, low, sizes, layer, offsets)
        _pull_back(P, D, offsets, scratch, U)
        if layer >= own_from and low[layer]:
            other = block(other_deltas, sizes, layer + 1, other_n)
            right = block(other_acts, sizes, layer, other_n)
            _step_times(
                rates[layer], zero, D, offsets, other, right, other_offsets, scratch, cross[layer],
                U
            )  # fmt: skip
        _slope(activation, block(acts, sizes, layer, n), U)


@njit
def gradient(first, stop, copies, sizes, X, offsets, acts, deltas, out):
    """Add the gradient by the parameters of layers ``first..stop`` to `out`."""
    n = X.shape[0]
    for layer in range(first, stop):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        D = block(deltas, sizes, layer + 1, n)
        _accumulate(A, D, offsets, np.int64(1), matrix(out, sizes, layer, copies))


@njit(inlined=True)
def r_forward(shared, own, own_from, along, near, first, sizes, activation, X, offsets, acts,
              deltas, racts, rdeltas):  # fmt: skip
    """Derivatives of all units along `along` (every task's own) in the layers from `first` on.

    Puts into `rdeltas` what the curvature of the activations adds to them.
    """
    n, last, copies = X.shape[0], sizes.shape[0] - 1, offsets.shape[0] - 1
    two, yes, no = acts.dtype.type(2), np.int64(1), np.int64(0)
    low, _, cross, _, other_X, other_offsets, _, other_deltas = near
    for layer in range(first, last):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        R = block(racts, sizes, layer + 1, n)
        _clear(R, 0, n)
        if low[layer]:
            right = block(other_deltas, sizes, layer + 1, other_X.shape[0])
            _step_transposed_times(cross[layer], right, other_offsets, offsets, R)
        else:
            _affine(matrix(along, sizes, layer, copies), A, offsets, yes, R)
        if layer > first:
            RA = block(racts, sizes, layer, n)
            P = _chosen(shared, own, own_from, low, sizes, layer, offsets)
            _affine(P, RA, offsets, no, R)
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


@njit(inlined=True)
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


@njit(inlined=True)
def r_backward(shared, own, own_from, along, near, first, sizes, activation, offsets, acts,
               deltas, rdeltas, scratch, turned):  # fmt: skip
    """Derivatives of the deltas of all blocks, from those of the output."""
    low, _, _, cross, other_X, other_offsets, other_acts, _ = near
    n, last, copies = offsets[offsets.shape[0] - 1], sizes.shape[0] - 1, offsets.shape[0] - 1
    for layer in range(last - 1, 0, -1):
        E, U = block(rdeltas, sizes, layer + 1, n), scratch[: n * sizes[layer]]
        U = U.reshape((n, sizes[layer]))
        _clear(U, 0, n)
        P = _chosen(shared, own, own_from, low, sizes, layer, offsets)
        _pull_back(P, E, offsets, turned, U)
        if layer >= first and low[layer]:
            right = block(other_acts, sizes, layer, other_X.shape[0])
            _step_transposed_times(cross[layer], right, other_offsets, offsets, U)
        elif layer >= first:
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
        _accumulate(A, block(rdeltas, sizes, layer + 1, n), offsets, np.int64(1), P)
        if layer > first:
            RA, D = block(racts, sizes, layer, n), block(deltas, sizes, layer + 1, n)
            _accumulate(RA, D, offsets, np.int64(0), P)


# ---------------------------------------------------------------------------------------------
# Learning to learn. `net` is (sizes, activation, loss); `rows` of tasks are (X, target, weight,
# ways, offsets); layers below `first` stay as they are in the inner steps.


def workspace(sizes, n_tasks, n_rows, most_rows, n_steps, dtype):
    """Arrays that the kernels below work in.

    For that many tasks, rows in all, rows of a task, and inner steps at most.
    """
    own = n_tasks * int(((sizes[:-1] + 1) * sizes[1:]).sum())
    units, widest, layers = n_rows * int(sizes[1:].sum()), int(sizes.max()), len(sizes) - 1
    most = -(-most_rows // 8) * 8  # whole vectors
    steps = max(n_steps, 1)
    return (
        np.empty((steps, own), dtype), np.empty(own, dtype), np.empty(own, dtype),
        np.empty((steps, units), dtype), np.empty((steps, units), dtype),
        np.empty((4, units), dtype), np.empty(n_rows * widest, dtype),
        np.empty(widest * max(widest, most), dtype),
        np.empty((2, layers, n_rows, most), dtype)
    )  # fmt: skip


@njit(inlined=True)
def _set_near(n_steps, first, rates, sizes, n_support, n_query, n_tasks, low, by_layer):
    """Find the layers whose own parameters need not be formed: few rows, one step, one rate."""
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


@njit
def losses_and_deltas(shared, own, own_from, near, lowest, net, rows, acts, deltas, turned, losses):
    """Forward and backward: every task's loss, and the deltas of blocks down to `lowest`."""
    sizes, activation, loss = net
    X, target, weight, ways, offsets = rows
    n, last = X.shape[0], sizes.shape[0] - 1
    forward(shared, own, own_from, near, sizes, activation, X, offsets, acts, turned)
    F, D = block(acts, sizes, last, n), block(deltas, sizes, last, n)
    output(loss, target, weight, ways, offsets, F, D, losses)
    backward(shared, own, own_from, near, lowest, sizes, activation, offsets, acts, deltas, turned)


@njit(helper=True)
def _own_gradients(low, first, sizes, X, offsets, acts, deltas, out, total):
    """Every task's gradient in layers from `first` on; the sum where parameters are not formed.

    There is no need for the sum where `total` has no entries.
    """
    n_tasks = offsets.shape[0] - 1
    for layer in range(first, sizes.shape[0] - 1):
        if not low[layer]:
            P = matrix(out, sizes, layer, n_tasks)
            _clear(P, 0, P.shape[0])
            gradient(layer, layer + 1, n_tasks, sizes, X, offsets, acts, deltas, out)
        elif total.shape[0]:
            gradient(layer, layer + 1, np.int64(1), sizes, X, offsets, acts, deltas, total)


@njit(inlined=True)
def _descend(shared, own, own_from, low, first, sizes, rates, n_tasks, slope, new):
    """``new = parameters - rates * slope`` of every task."""
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
def inner_step(
    shared, own, own_from, near, first, rates, net, rows, acts, deltas, turned, slope, new, losses
):
    """One step of every task, from `own` (or `shared`) to `new`; `losses` are from before it."""
    losses_and_deltas(
        shared, own, own_from, near, first + 1, net, rows, acts, deltas, turned, losses
    )
    sizes, low = net[0], near[0]
    _own_gradients(low, first, sizes, rows[0], rows[4], acts, deltas, slope, slope[:0])
    _descend(shared, own, own_from, low, first, sizes, rates, rows[4].shape[0] - 1, slope, new)


@njit(helper=True)
def _add_over_tasks(own, low, first, sizes, n_tasks, out):
    """Add the tasks' sums in layers from `first` on to the vector `out`."""
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
    """``along = -rates * back`` of every task."""
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
def meta_gradient(
    theta, first, rates, net, support, query, n_steps, order, space, grad, rate_grad, losses
):
    r"""Gradient of the tasks' mean query loss after `n_steps` inner steps on their support rows.

    With parameters :math:`\theta_{k+1} = \theta_k - r g(\theta_k)` of a task, and v the gradient
    of its query loss at the last of them, ``v -= H(theta_k) (r v)`` for the steps backwards leads
    to that by the initial parameters. `rate_grad` (of no entries where not wanted) gets the
    gradient by the rates. First order leaves the Hessians out. Reptile's steps are on support and
    query rows in turn, and its gradient is the way from the end back to the start.

    Of a single step g and v are sums over few rows, ``g = A' D``: where that takes fewer
    multiplications, products with the shared parameters are made for all tasks at once and those
    with g and v by way of the rows.

    losses : array of shape (n_tasks,) for the query loss of every task
    """
    own, along, slope, acts, deltas, extra, _, turned, cross = space
    sizes, learned = net[0], rate_grad.shape[0] > 0
    last, n_tasks = sizes.shape[0] - 1, support[4].shape[0] - 1
    grad[:] = 0
    rate_grad[:] = 0
    X, offsets = query[0], query[4]
    low, by_layer = np.empty(last, np.bool_), np.zeros(last, theta.dtype)
    formed = n_steps if order != REPTILE and not learned else 0
    _set_near(formed, first, rates, sizes, support[0].shape[0], X.shape[0], n_tasks, low, by_layer)
    near = (low, by_layer, cross[0], cross[1], support[0], support[4], acts[0], deltas[0])
    own_from, none = last, np.int64(0)  # a literal 0 would be compiled on its own
    for k in range(n_steps):
        rows = query if order == REPTILE and k % 2 else support
        inner_step(
            theta, own[max(k - 1, 0)], own_from, near, first, rates, net, rows, acts[k], deltas[k],
            turned, slope, own[k], losses
        )  # fmt: skip
        own_from = first
    final = own[max(n_steps - 1, 0)]
    lowest = last if order == REPTILE else 1
    losses_and_deltas(
        theta, final, own_from, near, lowest, net, query, extra[0], extra[1], turned, losses
    )
    if order == REPTILE:
        _add_over_tasks(final, low, first, sizes, n_tasks, grad)
        for j in range(grad.shape[0]):
            grad[j] = theta[j] - grad[j] / n_tasks
        return
    if n_steps == 0 or (order == FIRST_ORDER and not learned):
        gradient(none, last, none + 1, sizes, X, offsets, extra[0], extra[1], grad)
    else:
        gradient(none, first, none + 1, sizes, X, offsets, extra[0], extra[1], grad)
        back = slope
        _own_gradients(low, first, sizes, X, offsets, extra[0], extra[1], back, grad)
        for k in range(n_steps - 1, -1, -1):
            if learned:
                _rate_gradient(
                    low, first, sizes, support, acts[k], deltas[k], back, along, rate_grad
                )
            if order == SECOND_ORDER:
                _step_back(theta, first, rates, net, support, query, k, low, space, grad)
        _add_over_tasks(back, low, first, sizes, n_tasks, grad)
    for j in range(grad.shape[0]):
        grad[j] /= n_tasks
    for j in range(rate_grad.shape[0]):
        rate_grad[j] /= n_tasks


@njit(inlined=True)
def _rate_gradient(low, first, sizes, rows, acts, deltas, back, along, rate_grad):
    """Subtract the sum over tasks of the inner gradient times `back`."""
    n_tasks = rows[4].shape[0] - 1
    _own_gradients(low, first, sizes, rows[0], rows[4], acts, deltas, along, along[:0])
    for layer in range(first, sizes.shape[0] - 1):
        G, B = matrix(along, sizes, layer, n_tasks), matrix(back, sizes, layer, n_tasks)
        for i in range(G.shape[0]):
            for j in range(G.shape[1]):
                G[i, j] *= -B[i, j]
    _add_over_tasks(along, low, first, sizes, n_tasks, rate_grad)


@njit(inlined=True)
def _step_back(theta, first, rates, net, rows, query, k, low, space, grad):
    """``back -= H (rates * back)`` through inner step k; what is shared goes into `grad`."""
    own, along, back, acts, deltas, extra, wide, turned, cross = space
    sizes, activation, loss = net
    X, _, weight, _, offsets = rows
    n, n_tasks, last = X.shape[0], offsets.shape[0] - 1, sizes.shape[0] - 1
    at, own_from = own[max(k - 1, 0)], last if k == 0 else first
    racts, rdeltas = extra[2], extra[3]
    near = (low, rates, cross[0], cross[1], query[0], query[4], extra[0], extra[1])
    _times_rates(rates, low, first, sizes, n_tasks, back, along)
    r_forward(
        theta, at, own_from, along, near, first, sizes, activation, X, offsets, acts[k], deltas[k],
        racts, rdeltas
    )  # fmt: skip
    F, R = block(acts[k], sizes, last, n), block(racts, sizes, last, n)
    r_output(loss, weight, F, R, block(rdeltas, sizes, last, n))
    r_backward(
        theta, at, own_from, along, near, first, sizes, activation, offsets, acts[k], deltas[k],
        rdeltas, wide, turned
    )  # fmt: skip
    split = last if k == 0 else first
    none = np.int64(0)
    r_gradient(
        first, none, split, none + 1, sizes, X, offsets, acts[k], deltas[k], racts, rdeltas, grad
    )
    r_gradient(
        first, split, last, n_tasks, sizes, X, offsets, acts[k], deltas[k], racts, rdeltas, back
    )


@njit
def adam_update(x, grad, mean, square, average, step, constants):
    """Update number `step` (from 1) of Adam, in place of `x`, its moments and its average.

    `constants` are the rate, the moments' decays, what keeps from dividing by zero, and the
    average's decay, which is less in the first steps.
    """
    one = x.dtype.type(1)
    b, c = x.dtype.type(constants[1]), x.dtype.type(constants[2])
    length = x.dtype.type(constants[0] / (1.0 - constants[1] ** step))
    unbias = x.dtype.type(1.0 / (1.0 - constants[2] ** step))
    floor = x.dtype.type(constants[3])
    keep = x.dtype.type(min(constants[4], step / (step + 30.0)))
    for j in range(x.shape[0]):
        mean[j] = b * mean[j] + (one - b) * grad[j]
        square[j] = c * square[j] + (one - c) * grad[j] * grad[j]
        x[j] -= length * mean[j] / (np.sqrt(square[j] * unbias) + floor)
        average[j] = keep * average[j] + (one - keep) * x[j]


@njit
def meta_train(n_steps, theta, moments, step, constants, first, rates, learn_rates, net, support,
               query, n_inner, order, space, losses):  # fmt: skip
    """Take `n_steps` of Adam, each on the next ``len(losses) / n_steps`` tasks of the episodes.

    Parameters
    ----------
    moments : array of shape (3, n_parameters + n_rates)
        Adam's, and the average, of theta and, if `learn_rates`, of the rates.
    step : int
        How many steps have been taken.
    constants : array of shape (2, 5)
        Of `adam_update`, for the parameters and for the rates.
    """
    n_tasks, n_parameters = losses.shape[0] // n_steps, theta.shape[0]
    grad = np.empty_like(theta)
    rate_grad = np.empty(n_parameters if learn_rates else 0, theta.dtype)
    for i in range(n_steps):
        a, b = i * n_tasks, (i + 1) * n_tasks
        meta_gradient(
            theta, first, rates, net, _some(support, a, b), _some(query, a, b), n_inner, order,
            space, grad, rate_grad, losses[a:b]
        )  # fmt: skip
        adam_update(
            theta, grad, moments[0, :n_parameters], moments[1, :n_parameters],
            moments[2, :n_parameters], step + i + 1, constants[0]
        )  # fmt: skip
        if learn_rates:
            adam_update(
                rates, rate_grad, moments[0, n_parameters:], moments[1, n_parameters:],
                moments[2, n_parameters:], step + i + 1, constants[1]
            )  # fmt: skip


@njit(helper=True)
def _some(rows, a, b):
    """Rows of tasks ``a..b``."""
    X, target, weight, ways, offsets = rows
    i, j = offsets[a], offsets[b]
    return X[i:j], target[i:j], weight[i:j], ways[a:b], offsets[a : b + 1] - i
