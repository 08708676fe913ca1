r"""Multilayer perceptrons of any depth: forward and backward pass, losses and gradients.

The parameters of a network with layer widths `sizes` (int64) are, for each layer, the matrix
``(width in + 1, width out)`` whose last row is the bias, all in one flat vector. Task-specific
parameters are stored by layer, and by task within a layer: the `copies` matrices of the layer are
stacked.

Rows of many tasks are packed: task t has the rows ``offsets[t]:offsets[t + 1]``. The units of a
layer form a ``(n_rows, width)`` block of a flat buffer, which contains the blocks in order from the
first hidden layer on. The output block holds predictions: numbers, or (cross-entropy)
probabilities of the first ``ways[t]`` outputs. `deltas` are derivatives of the loss with respect to
a block before its activation.

The loss of a task is the sum over its rows of ``weight`` times the squared error, summed over
outputs, or times the cross-entropy to the target probabilities.
"""

from collections import namedtuple

import numpy as np

from .._jit import njit

RELU = 0
TANH = 1
SQUARED = 0
CROSS_ENTROPY = 1

# Widths of all layers, and the codes above.
Net = namedtuple("Net", ["sizes", "activation", "loss"])

# Packed rows of tasks.
Rows = namedtuple("Rows", ["X", "target", "weight", "ways", "offsets"])

# Flat buffers of the units of all layers, and of the derivatives of the loss by these; or the
# derivatives of both along a direction.
Units = namedtuple("Units", ["acts", "deltas"])

# Parameters by layer: below `own_from` the vector `shared` by all tasks, so that the rows of all
# tasks are multiplied at once; from there on the task-specific vector `own`, or `shared` with a
# task-specific term of `low_rank`.
Parameters = namedtuple("Parameters", ["shared", "own", "own_from", "low_rank"])

# After one step from shared parameters a task's own parameters are W - rate * A'.D', where A' and
# D' are the units and deltas of the rows of the step. This is of low rank if these rows are few; in
# the layers of the mask `layers` it is never formed. The products of other rows with these are
# stored by layer in `cross` (units) and `back` (deltas).
LowRank = namedtuple(
    "LowRank", ["layers", "rates", "cross", "back", "X", "offsets", "acts", "deltas"]
)

# Products with fewer multiplications are computed by loops, as calling BLAS takes longer.
_LARGE = 30_000

# The last index of an array is always the variable of the innermost loop, and that loop does not
# accumulate a sum: nothing else is compiled to vector instructions.


@njit
def block(buffer, sizes, layer, n):
    """Return the units of `layer` (1 is the first hidden layer) of n rows."""
    start = 0
    for k in range(1, layer):
        start += sizes[k]
    return buffer[n * start : n * (start + sizes[layer])].reshape((n, sizes[layer]))


@njit
def matrix(flat, sizes, layer, copies):
    """Return the parameters between `layer` and the next, of `copies` stacked networks."""
    start = 0
    for k in range(layer):
        start += (sizes[k] + 1) * sizes[k + 1]
    rows = copies * (sizes[layer] + 1)
    start *= copies
    return flat[start : start + rows * sizes[layer + 1]].reshape((rows, sizes[layer + 1]))


@njit(helper=True)
def clear(C, c, n):
    """Set ``C[c:c+n]`` to zero."""
    for i in range(n):
        for j in range(C.shape[1]):
            C[c + i, j] = 0


@njit
def times(A, a, B, b, C, c, n, q):
    """Compute ``C[c:c+n] += A[a:a+n, :q] @ B[b:b+q]``."""
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
    for i in range(0, n - 1, 2):  # two rows and four terms at once, for few passes over C and B
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
    """Compute `times` for C with few columns, four rows at once."""
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
def times_transposed(A, a, B, b, C, c, n, q, scratch):
    """Compute ``C[c:c+n, :q] += A[a:a+n] @ B[b:b+q].T``."""
    m = A.shape[1]
    if n * q * m >= _LARGE and q == C.shape[1]:
        product = np.dot(A[a : a + n], B[b : b + q].T)
        for i in range(n):
            for j in range(q):
                C[c + i, j] += product[i, j]
        return
    transposed = scratch[: m * C.shape[1]].reshape((m, C.shape[1]))
    if q < C.shape[1]:
        clear(transposed, 0, m)
    for j in range(q):
        for k in range(m):
            transposed[k, j] = B[b + j, k]
    times(A, a, transposed, np.int64(0), C, c, n, m)


@njit
def transposed_times(A, a, B, b, C, c, n, q):
    """Compute ``C[c:c+q] += A[a:a+n, :q].T @ B[b:b+n]``."""
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
# A layer. P holds the parameters of one network, or those of each task, stacked.


@njit(helper=True)
def _group(t, shared, offsets):
    """Return the first row and the number of rows of task t, or of all tasks if `shared`."""
    if shared:
        return offsets[0], offsets[offsets.shape[0] - 1] - offsets[0]
    return offsets[t], offsets[t + 1] - offsets[t]


@njit(helper=True)
def affine(P, A, offsets, bias, Z):
    """Compute ``Z += A @ W + bias * b``."""
    q = A.shape[1]
    shared = P.shape[0] == q + 1
    for t in range(1 if shared else offsets.shape[0] - 1):
        first, n = _group(t, shared, offsets)
        times(A, first, P, t * (q + 1), Z, first, n, q)
        b = t * (q + 1) + q
        for i in range(first, first + n if bias else first):
            for j in range(Z.shape[1]):
                Z[i, j] += P[b, j]


@njit(helper=True)
def pull_back(P, D, offsets, scratch, U):
    """Compute ``U += D @ W.T``."""
    q = U.shape[1]
    shared = P.shape[0] == q + 1
    for t in range(1 if shared else offsets.shape[0] - 1):
        first, n = _group(t, shared, offsets)
        times_transposed(D, first, P, t * (q + 1), U, first, n, q, scratch)


@njit(helper=True)
def accumulate(A, D, offsets, bias, P):
    """Compute ``W += A.T @ D`` and, with `bias`, ``b += D.sum(0)``, over all rows or by task."""
    q = A.shape[1]
    shared = P.shape[0] == q + 1
    for t in range(1 if shared else offsets.shape[0] - 1):
        first, n = _group(t, shared, offsets)
        transposed_times(A, first, D, first, P, t * (q + 1), n, q)
        b = t * (q + 1) + q
        for i in range(first, first + n if bias else first):
            for j in range(D.shape[1]):
                P[b, j] += D[i, j]


@njit
def _activate(activation, Z):
    """Apply the activation in place."""
    zero = Z.dtype.type(0)
    for i in range(Z.shape[0]):
        if activation == RELU:
            for j in range(Z.shape[1]):
                Z[i, j] = zero if Z[i, j] < zero else Z[i, j]  # NaN stays
        else:
            for j in range(Z.shape[1]):
                Z[i, j] = np.tanh(Z[i, j])


@njit(helper=True)
def multiply_by_slope(activation, A, D):
    """Multiply D by the derivative of the activation at the units with values A."""
    zero, one = A.dtype.type(0), A.dtype.type(1)
    for i in range(A.shape[0]):
        if activation == RELU:
            for j in range(A.shape[1]):
                D[i, j] = D[i, j] if A[i, j] > zero else zero
        else:
            for j in range(A.shape[1]):
                D[i, j] *= one - A[i, j] * A[i, j]


# Products with the low-rank term of task-specific parameters, see `LowRank`.


@njit(helper=True)
def _step_times(rate, bias, A, offsets, other, right, other_offsets, scratch, cross, Z):
    """Compute ``cross = -rate * (A @ other.T + bias)`` and ``Z += cross @ right`` for each task."""
    for t in range(offsets.shape[0] - 1):
        a, b = offsets[t], other_offsets[t]
        n, q = offsets[t + 1] - a, other_offsets[t + 1] - b
        clear(cross, a, n)
        times_transposed(A, a, other, b, cross, a, n, q, scratch)
        for i in range(a, a + n):
            for j in range(cross.shape[1]):
                cross[i, j] = -rate * (cross[i, j] + bias)
        times(cross, a, right, b, Z, a, n, q)


@njit(helper=True)
def step_transposed_times(cross, A, offsets, other_offsets, Z):
    """Compute ``Z += cross.T @ A`` for each task."""
    for t in range(offsets.shape[0] - 1):
        a, b = offsets[t], other_offsets[t]
        transposed_times(cross, a, A, a, Z, b, offsets[t + 1] - a, other_offsets[t + 1] - b)


# ---------------------------------------------------------------------------------------------
# A network.


@njit(helper=True)
def used_matrix(shared, own, own_from, low, sizes, layer, offsets):
    """Return the matrix that the rows of a layer are multiplied with."""
    if layer < own_from or low[layer]:
        return matrix(shared, sizes, layer, 1)
    return matrix(own, sizes, layer, offsets.shape[0] - 1)


@njit
def forward(at, net, X, offsets, acts, scratch):
    """Compute the units of all layers; the output block then holds scores, see `output`."""
    shared, own, own_from, low_rank = at
    low, rates, cross, _, other_X, other_offsets, other_acts, other_deltas = low_rank
    sizes = net.sizes
    other_n, one, yes = other_X.shape[0], X.dtype.type(1), np.int64(1)
    n, last = X.shape[0], sizes.shape[0] - 1
    A = X
    for layer in range(last):
        Z = block(acts, sizes, layer + 1, n)
        clear(Z, 0, n)
        affine(used_matrix(shared, own, own_from, low, sizes, layer, offsets), A, offsets, yes, Z)
        if layer >= own_from and low[layer]:
            other = other_X if layer == 0 else block(other_acts, sizes, layer, other_n)
            right = block(other_deltas, sizes, layer + 1, other_n)
            _step_times(
                rates[layer], one, A, offsets, other, right, other_offsets, scratch, cross[layer], Z
            )
        if layer < last - 1:
            _activate(net.activation, Z)
        A = Z


@njit(inlined=True)
def output(loss, target, weight, ways, offsets, F, D, losses):
    """Replace scores F by predictions, and compute their deltas D and the loss of each task."""
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
    """Replace scores in row i of F by probabilities; return its cross-entropy. D is workspace."""
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
def backward(at, lowest, net, offsets, units, scratch):
    """Compute the deltas of the blocks down to `lowest` from those of the output."""
    shared, own, own_from, low_rank = at
    low, rates, _, cross, other_X, other_offsets, other_acts, other_deltas = low_rank
    sizes, (acts, deltas) = net.sizes, units
    other_n, zero = other_X.shape[0], acts.dtype.type(0)
    n, last = offsets[offsets.shape[0] - 1], sizes.shape[0] - 1
    for layer in range(last - 1, lowest - 1, -1):
        D, U = block(deltas, sizes, layer + 1, n), block(deltas, sizes, layer, n)
        clear(U, 0, n)
        P = used_matrix(shared, own, own_from, low, sizes, layer, offsets)
        pull_back(P, D, offsets, scratch, U)
        if layer >= own_from and low[layer]:
            other = block(other_deltas, sizes, layer + 1, other_n)
            right = block(other_acts, sizes, layer, other_n)
            _step_times(
                rates[layer], zero, D, offsets, other, right, other_offsets, scratch, cross[layer],
                U
            )  # fmt: skip
        multiply_by_slope(net.activation, block(acts, sizes, layer, n), U)


@njit
def gradient(first, stop, copies, sizes, X, offsets, units, out):
    """Add the gradient by the parameters of layers ``first..stop`` to `out`."""
    acts, deltas, n = units.acts, units.deltas, X.shape[0]
    for layer in range(first, stop):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        D = block(deltas, sizes, layer + 1, n)
        accumulate(A, D, offsets, np.int64(1), matrix(out, sizes, layer, copies))


@njit
def losses_and_deltas(at, lowest, net, rows, units, scratch, losses):
    """Compute the loss of each task, and the deltas of the blocks down to `lowest`."""
    X, target, weight, ways, offsets = rows
    sizes, n, last = net.sizes, X.shape[0], net.sizes.shape[0] - 1
    forward(at, net, X, offsets, units.acts, scratch)
    F, D = block(units.acts, sizes, last, n), block(units.deltas, sizes, last, n)
    output(net.loss, target, weight, ways, offsets, F, D, losses)
    backward(at, lowest, net, offsets, units, scratch)
