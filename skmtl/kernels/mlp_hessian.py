r"""Exact products of a network's Hessian with a vector, by derivatives of the two passes.

Names of derivatives along a direction of the parameters begin with r: the R-operator (Pearlmutter
1994, doi:10.1162/neco.1994.6.1.147). Here each task has its own direction, in the layers from
`first` on; `tangent` are the derivatives of units and deltas along it, see `mlp`.
"""

import numpy as np

from .._jit import njit
from .mlp import (
    RELU,
    SQUARED,
    accumulate,
    affine,
    block,
    clear,
    matrix,
    multiply_by_slope,
    pull_back,
    step_transposed_times,
    used_matrix,
)


@njit(inlined=True)
def r_forward(at, along, first, net, X, offsets, units, tangent):
    """Compute the derivatives of all units along the direction `along`.

    Those of the deltas are initialised with the term due to the curvature of the activations.
    """
    shared, own, own_from, low_rank = at
    low, _, cross, _, other_X, other_offsets, _, other_deltas = low_rank
    sizes, (acts, deltas), (racts, rdeltas) = net.sizes, units, tangent
    n, last, copies = X.shape[0], sizes.shape[0] - 1, offsets.shape[0] - 1
    two, yes, no = acts.dtype.type(2), np.int64(1), np.int64(0)
    for layer in range(first, last):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        R = block(racts, sizes, layer + 1, n)
        clear(R, 0, n)
        if low[layer]:
            right = block(other_deltas, sizes, layer + 1, other_X.shape[0])
            step_transposed_times(cross[layer], right, other_offsets, offsets, R)
        else:
            affine(matrix(along, sizes, layer, copies), A, offsets, yes, R)
        if layer > first:
            RA = block(racts, sizes, layer, n)
            P = used_matrix(shared, own, own_from, low, sizes, layer, offsets)
            affine(P, RA, offsets, no, R)
        if layer == last - 1:
            return
        A, D = block(acts, sizes, layer + 1, n), block(deltas, sizes, layer + 1, n)
        E = block(rdeltas, sizes, layer + 1, n)
        if net.activation == RELU:
            clear(E, 0, n)
        else:
            for i in range(n):
                for j in range(A.shape[1]):
                    E[i, j] = -two * A[i, j] * D[i, j] * R[i, j]
        multiply_by_slope(net.activation, A, R)


@njit(inlined=True)
def r_output(loss, weight, F, R, E):
    """Compute the derivatives E of the output's deltas, from the derivatives R of its scores.

    F holds the predictions.
    """
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
def r_backward(at, along, first, net, offsets, units, rdeltas, wide, scratch):
    """Compute the derivatives of the deltas of all blocks from those of the output."""
    shared, own, own_from, low_rank = at
    low, _, _, cross, other_X, other_offsets, other_acts, _ = low_rank
    sizes, (acts, deltas) = net.sizes, units
    n, last, copies = offsets[offsets.shape[0] - 1], sizes.shape[0] - 1, offsets.shape[0] - 1
    for layer in range(last - 1, 0, -1):
        E, U = block(rdeltas, sizes, layer + 1, n), wide[: n * sizes[layer]]
        U = U.reshape((n, sizes[layer]))
        clear(U, 0, n)
        P = used_matrix(shared, own, own_from, low, sizes, layer, offsets)
        pull_back(P, E, offsets, scratch, U)
        if layer >= first and low[layer]:
            right = block(other_acts, sizes, layer, other_X.shape[0])
            step_transposed_times(cross[layer], right, other_offsets, offsets, U)
        elif layer >= first:
            D = block(deltas, sizes, layer + 1, n)
            pull_back(matrix(along, sizes, layer, copies), D, offsets, scratch, U)
        multiply_by_slope(net.activation, block(acts, sizes, layer, n), U)
        E = block(rdeltas, sizes, layer, n)
        if layer <= first:
            clear(E, 0, n)
        for i in range(n):
            for j in range(U.shape[1]):
                E[i, j] += U[i, j]


@njit
def r_gradient(first, start, stop, copies, sizes, X, offsets, units, tangent, out):
    """Add the product of the Hessian and the direction to `out`, for layers ``start..stop``."""
    (acts, deltas), (racts, rdeltas), n = units, tangent, X.shape[0]
    for layer in range(start, stop):
        A = X if layer == 0 else block(acts, sizes, layer, n)
        P = matrix(out, sizes, layer, copies)
        accumulate(A, block(rdeltas, sizes, layer + 1, n), offsets, np.int64(1), P)
        if layer > first:
            RA, D = block(racts, sizes, layer, n), block(deltas, sizes, layer + 1, n)
            accumulate(RA, D, offsets, np.int64(0), P)
