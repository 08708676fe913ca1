"""Block-wise task moments: one pass over the rows, then merges."""

import numpy as np

from .._jit import njit

# Below this many rows a group's products are cheaper in plain loops than through BLAS.
_FEW_ROWS = 8


def block_moments(start, stop, X, y, w, rows, edges, longest, moments):
    """Moments of the groups ``start..stop``: group g holds packed rows edges[g]..edges[g + 1].

    `rows` maps packed rows to rows of `X`; `y` and `w`, which is empty for weights of one, are
    packed. The last column is the target. No group has more than `longest` rows.
    """
    Z = np.empty((longest, X.shape[1] + 1))
    _block_moments(start, stop, X, y, w, rows, edges, Z, moments)


@njit
def _block_moments(start, stop, X, y, w, rows, edges, Z, moments):
    """Means from the first row on, so that a constant's scatter is exactly zero."""
    weight, mean, scatter = moments
    p = X.shape[1]
    has_weight = w.shape[0] > 0
    for g in range(start, stop):
        first = edges[g]
        m = edges[g + 1] - first
        total = 0.0
        for j in range(p + 1):
            mean[g, j] = 0.0
        for i in range(m):
            r = rows[first + i]
            wi = w[first + i] if has_weight else 1.0
            total += wi
            for j in range(p):
                Z[i, j] = X[r, j]
            Z[i, p] = y[first + i]
            for j in range(p + 1):
                mean[g, j] += wi * (Z[i, j] - Z[0, j])
        weight[g] = total
        if total > 0.0:
            for j in range(p + 1):
                mean[g, j] = Z[0, j] + mean[g, j] / total
        for i in range(m):
            root = np.sqrt(w[first + i]) if has_weight else 1.0
            for j in range(p + 1):
                Z[i, j] = root * (Z[i, j] - mean[g, j])
        if m >= _FEW_ROWS:
            np.dot(Z[:m].T, Z[:m], scatter[g])
            continue
        for j in range(p + 1):
            for k in range(p + 1):
                scatter[g, j, k] = 0.0
        for i in range(m):
            for j in range(p + 1):
                zij = Z[i, j]
                for k in range(p + 1):
                    scatter[g, j, k] += zij * Z[i, k]


@njit
def merge_blocks(start, stop, blocks, chosen, tasks, out):
    """Moments of the chosen blocks of every listed task, put together.

    Means from the first block on: what is constant over blocks keeps a scatter of exactly zero.
    """
    weight, mean, scatter = blocks
    out_weight, out_mean, out_scatter = out
    d = mean.shape[2]
    for i in range(start, stop):
        t = tasks[i]
        total = 0.0
        first = -1
        for j in range(d):
            out_mean[i, j] = 0.0
            for k in range(d):
                out_scatter[i, j, k] = 0.0
        for b in range(weight.shape[1]):
            wb = weight[t, b]
            if chosen[b] and wb > 0.0:
                first = b if first < 0 else first
                total += wb
                for j in range(d):
                    out_mean[i, j] += wb * (mean[t, b, j] - mean[t, first, j])
        out_weight[i] = total
        if first < 0:
            continue
        for j in range(d):
            out_mean[i, j] = mean[t, first, j] + out_mean[i, j] / total
        for b in range(weight.shape[1]):
            wb = weight[t, b]
            if chosen[b] and wb > 0.0:
                for j in range(d):
                    gap = wb * (mean[t, b, j] - out_mean[i, j])
                    for k in range(d):
                        out_scatter[i, j, k] += scatter[t, b, j, k] + gap * (
                            mean[t, b, k] - out_mean[i, k]
                        )


@njit
def hash_rows(start, stop, bits, y_bits, seed, out):
    """A 64-bit hash of each row's content, so that dealing rows does not depend on their order."""
    for i in range(start, stop):
        h = np.uint64(seed)
        for j in range(bits.shape[1]):
            h = (h ^ bits[i, j]) * np.uint64(0x9E3779B97F4A7C15)
            h ^= h >> np.uint64(29)
        h = (h ^ y_bits[i]) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(32)
        out[i] = (h * np.uint64(0x94D049BB133111EB)) >> np.uint64(1)


@njit
<<<<<<< HEAD
def error_grams(start, stop, slopes, intercepts, weight, mean, scatter, gram, sse):
    """Add to ``gram[t]`` the inner products of the candidates' test errors; `sse` is what was
    added to the diagonal.

    A blend of the candidates with shares s has the squared error s'(gram)s.
    """
    p = mean.shape[1] - 1
    nc = slopes.shape[1]
    work = np.empty((2, nc * (p + 1)))
    small = np.empty((p + 1) * (p + 1))
    live = np.empty(p + 1, dtype=np.int64)
    G = np.empty((nc, nc))
    for t in range(start, stop):
        if weight[t] <= 0.0:
            continue
        C = scatter[t]
        q = 0
        for j in range(p + 1):  # what is constant within the task adds nothing
            if C[j, j] > 0.0:
                live[q] = j
                q += 1
        L = small[: q * q].reshape((q, q))  # contiguous, as BLAS wants it
        B = work[0, : nc * q].reshape((nc, q))
        E = work[1, : nc * q].reshape((nc, q))
        for i in range(q):
            for j in range(q):
                L[i, j] = C[live[i], live[j]]
        for c in range(nc):
            miss = mean[t, p] - intercepts[t, c]
            for j in range(p):
                miss -= mean[t, j] * slopes[t, c, j]
            for j in range(q):
                B[c, j] = 1.0 if live[j] == p else -slopes[t, c, live[j]]
            intercepts[t, c] = miss
        np.dot(B, L, E)
        np.dot(E, B.T, G)
        for c in range(nc):
            for k in range(nc):
                gram[t, c, k] += G[c, k] + weight[t] * intercepts[t, c] * intercepts[t, k]
            sse[t, c] = max(G[c, c], 0.0) + weight[t] * intercepts[t, c] ** 2
=======
def _sort_by(keys, order):
    """Shell sort of the indices `order` by their keys; numba's own sort compiles for seconds."""
    n = order.shape[0]
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            item = order[i]
            key = keys[item]
            j = i
            while j >= gap and keys[order[j - gap]] > key:
                order[j] = order[j - gap]
                j -= gap
            order[j] = item
        gap //= 3


@njit
def deal(start, stop, hashes, offsets, n_blocks, block):
    """Deal the rows of each task to blocks in the order of their hashes.

    Large tasks are dealt by the hash itself, which is balanced enough; small ones exactly.
    """
    for t in range(start, stop):
        first = offsets[t]
        m = offsets[t + 1] - first
        if m > 100 * n_blocks:
            for i in range(first, first + m):
                block[i] = hashes[i] % n_blocks
        elif m > 0:
            order = np.arange(first, first + m)
            _sort_by(hashes, order)
            turn = hashes[order[0]] % n_blocks
            for i in range(m):
                block[order[i]] = (turn + i) % n_blocks
>>>>>>> h2
