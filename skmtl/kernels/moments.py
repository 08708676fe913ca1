"""Block-wise task moments: one pass over the rows, then merges."""

import numpy as np

from .._jit import njit

# Below this many rows a block's products are cheaper in plain loops than through BLAS.
_FEW_ROWS = 8


@njit
def _centre_and_multiply(Z, w, m, has_weight, weight, mean, scatter):
    """Weight, mean and centred scatter of the first `m` rows of `Z`, which is overwritten."""
    d = Z.shape[1]
    total = 0.0
    for j in range(d):
        mean[j] = 0.0
    for i in range(m):
        wi = w[i] if has_weight else 1.0
        total += wi
        for j in range(d):  # from the first row, so that a constant's scatter is exactly zero
            mean[j] += wi * (Z[i, j] - Z[0, j])
    if total > 0.0:
        for j in range(d):
            mean[j] = Z[0, j] + mean[j] / total
    for i in range(m):
        root = np.sqrt(w[i]) if has_weight else 1.0
        for j in range(d):
            Z[i, j] = root * (Z[i, j] - mean[j])
    if m < _FEW_ROWS:
        for i in range(m):
            for j in range(d):
                zij = Z[i, j]
                for k in range(d):
                    scatter[j, k] += zij * Z[i, k]
    else:
        np.dot(Z[:m].T, Z[:m], scatter)
    return total


@njit
def block_moments(start, stop, X, y, w, has_weight, rows, edges, weight, mean, scatter):
    """Moments of the groups ``start..stop``: group g holds packed rows edges[g]..edges[g + 1].

    `rows` maps packed rows to rows of `X`; `y` and `w` are packed. Column ``p`` is the target.
    """
    p = X.shape[1]
    longest = 1
    for g in range(start, stop):
        longest = max(longest, edges[g + 1] - edges[g])
    Z = np.empty((longest, p + 1))
    for g in range(start, stop):
        first = edges[g]
        m = edges[g + 1] - first
        for i in range(m):
            r = rows[first + i]
            for j in range(p):
                Z[i, j] = X[r, j]
            Z[i, p] = y[first + i]
        wg = w[first : first + m] if has_weight else w
        weight[g] = _centre_and_multiply(Z, wg, m, has_weight, weight, mean[g], scatter[g])


@njit
def block_moments_csr(
    start, stop, data, indices, indptr, y, w, has_weight, rows, edges, weight, mean, scatter
):
    """`block_moments` for a CSR matrix; one block at a time is made dense."""
    p = mean.shape[1] - 1
    longest = 1
    for g in range(start, stop):
        longest = max(longest, edges[g + 1] - edges[g])
    Z = np.empty((longest, p + 1))
    for g in range(start, stop):
        first = edges[g]
        m = edges[g + 1] - first
        for i in range(m):
            for j in range(p + 1):
                Z[i, j] = 0.0
            r = rows[first + i]
            for k in range(indptr[r], indptr[r + 1]):
                Z[i, indices[k]] += data[k]
            Z[i, p] = y[first + i]
        wg = w[first : first + m] if has_weight else w
        weight[g] = _centre_and_multiply(Z, wg, m, has_weight, weight, mean[g], scatter[g])


@njit
def merge_into(total, mean_a, scatter_a, weight_b, mean_b, scatter_b):
    """Add the moments b to the moments a (Chan et al.'s update); returns the new weight."""
    if weight_b <= 0.0:
        return total
    new = total + weight_b
    d = mean_a.shape[0]
    cross = total * weight_b / new
    for j in range(d):
        gap = cross * (mean_b[j] - mean_a[j])
        for k in range(d):
            scatter_a[j, k] += scatter_b[j, k] + gap * (mean_b[k] - mean_a[k])
    share = weight_b / new
    for j in range(d):
        mean_a[j] += share * (mean_b[j] - mean_a[j])
    return new


@njit
def merge_blocks(
    start, stop, weight, mean, scatter, chosen, tasks, out_weight, out_mean, out_scatter
):
    """Moments of the chosen blocks of every listed task, put together."""
    for i in range(start, stop):
        t = tasks[i]
        total = 0.0
        for j in range(out_mean.shape[1]):
            out_mean[i, j] = 0.0
            for k in range(out_mean.shape[1]):
                out_scatter[i, j, k] = 0.0
        for b in range(weight.shape[1]):
            if chosen[b]:
                total = merge_into(
                    total, out_mean[i], out_scatter[i], weight[t, b], mean[t, b], scatter[t, b]
                )
        out_weight[i] = total


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
