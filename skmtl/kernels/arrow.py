r"""The arrow-shaped ridge system of partial pooling, task by task.

For task t with training moments (weight n, means :math:`\bar x, \bar y`, centred scatter C, c)
and strengths :math:`\lambda_v = 1/\kappa` on slopes, :math:`\lambda_a` on intercepts, put
:math:`U = (I + \kappa C)^{-1}`, :math:`u = U\bar x`, :math:`d = Uc`,
:math:`\rho = n\lambda_a/(n + \lambda_a)` and :math:`w = \rho/(1 + \kappa\rho\,\bar x'u)`.
Eliminating the task's own intercept and slopes leaves on the shared (a, m) the Gram matrix

.. math:: \mathrm{diag}(0, (I - U)/\kappa) + w\,[1; u][1; u]'

with right-hand side :math:`[0; d] + w\tilde y\,[1; u]`, where
:math:`\tilde y = \bar y - \kappa\,\bar x'd`; and given (a, m) the task's coefficients are
:math:`b = Um + \kappa d + \kappa w(\tilde y - a - u'm)u`. Every formula holds at
:math:`\kappa = 0` (no slopes of their own) and :math:`\lambda_a = \infty`.

Where a task's own slopes turn about a centre :math:`c_t` and the shared line meets the anchor
:math:`z_t` there, :math:`\bar x - c_t` takes the place of :math:`\bar x` in u and in the products
with it; the shared system has :math:`z_t + u` instead of u, and the coefficients' formula a task's
own :math:`a + z_t'm` instead of a, which gives the intercept at :math:`c_t`.

Kernels take named tuples of arrays, and work space from the functions that call them: arrays made
inside, slices and calls of BLAS take longer to compile than all the arithmetic.
"""

from collections import namedtuple

import numpy as np

from .._jit import njit

# Arrays of all tasks: training or test moments, and what `factor` makes of them.
Moments = namedtuple("Moments", ["weight", "mean", "scatter"])
Factors = namedtuple("Factors", ["U", "u", "d", "xu", "xd"])
# What the shared system needs of the tasks, and which of them take part.
Means = namedtuple("Means", ["weight", "mean", "u", "xu", "xd", "active"])
# Shared solutions: intercepts at the tasks' centres, of shape (n_tasks, n_pairs), slopes in
# columns, and the intercept strength of each.
Shared = namedtuple("Shared", ["a", "M", "alphas"])


@njit(inlined=True)
def _live_columns(C, p, live):
    """Put those of the first `p` columns that vary into `live`; returns how many there are.

    Features of the task itself, rare categories and dummies leave many constant within a task.
    """
    q = 0
    for i in range(p):
        if C[i, i] > 0.0:
            live[q] = i
            q += 1
    return q


@njit(inlined=True)
def _pull(n, alpha):
    """rho = n alpha / (n + alpha): what is left of the mean's weight with a task intercept."""
    return n if np.isinf(alpha) else n * alpha / (n + alpha)


@njit(inlined=True)
def _reduce(W, q, m):
    """[A, B] to [R, R'^-1 B] in place, where A = R'R is of order q and B has m columns.

    `W` holds both side by side, and B is lower triangular: one column, or an identity matrix.
    Rows whose pivot has vanished beside the largest are set to zero. Four rows at a time are
    taken from row i; what is beyond row i - 1 counts zero times.
    """
    top = 0.0
    for i in range(q):
        top = max(top, W[i, i])
    for i in range(q):
        for k in range(0, i, 4):
            k1, k2, k3 = min(k + 1, i - 1), min(k + 2, i - 1), min(k + 3, i - 1)
            f0 = W[k, i]
            f1 = W[k1, i] if k + 1 < i else 0.0
            f2 = W[k2, i] if k + 2 < i else 0.0
            f3 = W[k3, i] if k + 3 < i else 0.0
            for j in range(i, q + min(k + 4, m)):
                W[i, j] -= f0 * W[k, j] + f1 * W[k1, j] + f2 * W[k2, j] + f3 * W[k3, j]
        scale = 1.0 / np.sqrt(W[i, i]) if W[i, i] > 1e-14 * top else 0.0
        for j in range(i, q + min(i + 1, m)):
            W[i, j] *= scale


@njit(inlined=True)
def _times(A, live, q, B, out):
    """``out[live] = A[live, live] @ B[live]``, two rows and four columns of `A` at a time.

    The last row of `out` takes what an odd number of rows leaves over.
    """
    nc = B.shape[1]
    for i in range(0, q, 2):
        r0, r1 = live[i], live[min(i + 1, q - 1)]
        o1 = r1 if i + 1 < q else out.shape[0] - 1
        for c in range(nc):
            out[r0, c] = 0.0
            out[o1, c] = 0.0
        for k in range(0, q, 4):
            l0, l1 = live[k], live[min(k + 1, q - 1)]
            l2, l3 = live[min(k + 2, q - 1)], live[min(k + 3, q - 1)]
            s1 = 1.0 if k + 1 < q else 0.0
            s2 = 1.0 if k + 2 < q else 0.0
            s3 = 1.0 if k + 3 < q else 0.0
            a0, a1, a2, a3 = A[r0, l0], s1 * A[r0, l1], s2 * A[r0, l2], s3 * A[r0, l3]
            b0, b1, b2, b3 = A[r1, l0], s1 * A[r1, l1], s2 * A[r1, l2], s3 * A[r1, l3]
            for c in range(nc):
                x0, x1, x2, x3 = B[l0, c], B[l1, c], B[l2, c], B[l3, c]
                out[r0, c] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[o1, c] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3


def factor(start, stop, train, kappa, factors):
    """Factor tasks ``start..stop`` at `kappa`; returns their sums of (I - U)/kappa and of d.

    At `kappa` zero U is the identity matrix, and is not written.
    """
    p = factors.u.shape[1]
    if kappa == 0.0:
        return _factor_at_zero(slice(start, stop), train, factors)
    S, r = np.zeros((p, p)), np.zeros(p)
    W, V = np.empty((p, 2 * p)), np.empty((p, p))
    _factor(start, stop, train, kappa, factors, W, V, np.empty(p, dtype=np.int64), S, r)
    return S, r


def _factor_at_zero(tasks, train, factors):
    weight, mean, scatter = (part[tasks] for part in train)
    _, u, d, xu, xd = (part[tasks] for part in factors)
    p = u.shape[1]
    known = (weight > 0.0)[:, None]
    u[:] = np.where(known, mean[:, :p], 0.0)
    d[:] = np.where(known, scatter[:, :p, p], 0.0)
    xu[:] = (mean[:, :p] * u).sum(axis=1)
    xd[:] = (mean[:, :p] * d).sum(axis=1)
    return scatter[weight > 0.0, :p, :p].sum(axis=0), d.sum(axis=0)


@njit
def _factor(start, stop, train, kappa, factors, W, V, live, S, r):
    """U, u, d, x'u and x'd of each task, and what it adds to `S` and `r`.

    Where a feature is constant within the task, U is the identity, u the mean and d zero.
    """
    weight, mean, scatter = train
    U, u, d, xu, xd = factors
    p = u.shape[1]
    for t in range(start, stop):
        known = weight[t] > 0.0
        for i in range(p):
            u[t, i] = mean[t, i] if known else 0.0
            d[t, i] = 0.0
            for j in range(p):
                U[t, i, j] = 0.0
            U[t, i, i] = 1.0
        q = _live_columns(scatter[t], p, live) if known else 0
        trace = 0.0
        for i in range(q):  # W = [I + kappa C, I]
            for j in range(q):
                W[i, j] = kappa * scatter[t, live[i], live[j]]
                W[i, q + j] = 0.0
                V[i, j] = 0.0
            trace += W[i, i]
            W[i, i] += 1.0
            W[i, q + i] = 1.0
            u[t, live[i]] = 0.0
        _reduce(W, q, q)
        for i in range(q):  # V = R^-1 R'^-1 = U where it is not the identity
            for k in range(i, q, 4):
                k1, k2, k3 = min(k + 1, q - 1), min(k + 2, q - 1), min(k + 3, q - 1)
                f0 = W[k, q + i]
                f1 = W[k1, q + i] if k + 1 < q else 0.0
                f2 = W[k2, q + i] if k + 2 < q else 0.0
                f3 = W[k3, q + i] if k + 3 < q else 0.0
                for j in range(i + 1):
                    V[i, j] += (
                        f0 * W[k, q + j] + f1 * W[k1, q + j] + f2 * W[k2, q + j] + f3 * W[k3, q + j]
                    )
            for j in range(i):
                V[j, i] = V[i, j]
        cancels = trace <= 1e-3 * q
        for i in range(q):
            li = live[i]
            xi, ci = mean[t, li], scatter[t, li, p]
            if not cancels:
                S[li, li] += 1.0 / kappa
            for j in range(q):
                lj, f = live[j], V[i, j]
                U[t, li, lj] = f
                u[t, lj] += f * xi
                d[t, lj] += f * ci
                if not cancels:
                    S[li, lj] -= f / kappa
                else:  # (I - U)/kappa = UC, symmetrised, as rounding is not
                    for k in range(q):
                        part = 0.5 * f * scatter[t, lj, live[k]]
                        S[li, live[k]] += part
                        S[live[k], li] += part
        xu[t] = 0.0
        xd[t] = 0.0
        for i in range(p):
            r[i] += d[t, i]
            xu[t] += mean[t, i] * u[t, i]
            xd[t] += mean[t, i] * d[t, i]


def solve_shared(means, kappa, S, r, penalty, alphas, ridges, theta, free=None):
    """Shared (a, m) for each pair (alphas[c], ridges[c]); equal alphas stand side by side.

    With `free`, the other features' slopes are given, and stand in `theta`.
    """
    q = theta.shape[1]
    if free is None:
        free = np.arange(q)
        theta[:] = 0.0
    else:
        free = np.append(0, 1 + np.flatnonzero(free))
        theta[:, free] = 0.0
    alphas, ridges = np.ascontiguousarray(alphas), np.ascontiguousarray(ridges)
    work = np.empty((2 * q, q + 1))
    _solve_shared(means, kappa, S, r, penalty, alphas, ridges, free, work, theta)


@njit
def _solve_shared(means, kappa, S, r, penalty, alphas, ridges, free, work, theta):
    """`theta` holds zeros where it is to be found."""
    weight, mean, u, xu, xd, active = means
    n_tasks, p = u.shape
    G, W = work[: p + 1], work[p + 1 :]  # G with its right-hand side
    for c in range(alphas.shape[0]):
        if c == 0 or alphas[c] != alphas[c - 1]:
            for i in range(p + 1):
                for j in range(p + 1):
                    G[i, j] = S[i - 1, j - 1] if i > 0 and j > 0 else 0.0
                G[i, p + 1] = r[i - 1] if i > 0 else 0.0
            for t in range(n_tasks):
                if not active[t] or weight[t] <= 0.0:
                    continue
                rho = _pull(weight[t], alphas[c])
                w = rho / (1.0 + kappa * rho * xu[t])
                y = mean[t, p] - kappa * xd[t]
                G[0, 0] += w
                G[0, p + 1] += w * y
                for i in range(p):
                    f = w * u[t, i]
                    G[i + 1, 0] += f
                    G[i + 1, p + 1] += f * y
                    for j in range(i + 1):
                        G[i + 1, j + 1] += f * u[t, j]
            for i in range(p + 1):
                for j in range(i):
                    G[j, i] = G[i, j]
        q = 1 if np.isinf(ridges[c]) else free.shape[0]
        for i in range(q):
            fi = free[i]
            W[i, q] = G[fi, p + 1]
            for j in range(p + 1):
                W[i, q] -= G[fi, j] * theta[c, j]
            for j in range(q):
                W[i, j] = G[fi, free[j]]
            if i > 0:
                W[i, i] += ridges[c] * penalty[fi - 1]
        _reduce(W, q, 1)
        for i in range(q - 1, -1, -1):
            s = W[i, q]
            for j in range(i + 1, q):
                s -= W[i, j] * theta[c, free[j]]
            theta[c, free[i]] = s / W[i, i] if W[i, i] > 0.0 else 0.0


def models(start, stop, shared, train, kappa, factors):
    """Models of tasks ``start..stop`` under each shared solution.

    Returns
    -------
    B : ndarray of shape (n, n_features + 1, n_pairs)
        Slopes, and a last row of -1: [X, y] @ B and the intercepts are the errors.
    intercepts : ndarray of shape (n, n_pairs)
    """
    p, n_pairs = shared.M.shape
    B, intercepts = np.empty((stop - start, p + 1, n_pairs)), np.empty((stop - start, n_pairs))
    work = np.empty(p, dtype=np.int64), np.empty(p)
    _models(start, stop, shared, train, kappa, factors, work, B, intercepts)
    B[:, p] = -1.0
    return B, intercepts


@njit
def _models(start, stop, shared, train, kappa, factors, work, B, intercepts):
    """The pairs run innermost, where `B` is contiguous; of one, the features do."""
    live, one = work
    a, M, alphas = shared
    weight, mean, scatter = train
    U, u, d, xu, xd = factors
    p, nc = M.shape
    for t in range(start, stop):
        e = intercepts[t - start]
        b = B[t - start]
        for j in range(p):
            for c in range(nc):
                b[j, c] = M[j, c]
        if kappa > 0.0 and weight[t] > 0.0:
            q = _live_columns(scatter[t], p, live)
            if nc == 1:
                for j in range(p):
                    one[j] = 0.0
                for i in range(q):
                    f = M[live[i], 0]
                    for j in range(p):  # of the symmetric U
                        one[j] += f * U[t, live[i], j]
                for i in range(q):
                    b[live[i], 0] = one[live[i]]
            else:
                _times(U[t], live, q, M, b)
            for c in range(nc):  # kappa w (y - a - u'm)
                e[c] = mean[t, p] - kappa * xd[t] - a[t, c]
            for j in range(p):
                uj = u[t, j]
                for c in range(nc):
                    e[c] -= uj * M[j, c]
            for c in range(nc):
                rho = _pull(weight[t], alphas[c])
                e[c] *= kappa * rho / (1.0 + kappa * rho * xu[t])
            for j in range(p):
                uj, dj = u[t, j], kappa * d[t, j]
                for c in range(nc):
                    b[j, c] += dj + e[c] * uj
        for c in range(nc):  # a + n/(n + alpha) (y - a - x'b)
            e[c] = mean[t, p] - a[t, c]
        for j in range(p):
            xj = mean[t, j]
            for c in range(nc):
                e[c] -= xj * b[j, c]
        for c in range(nc):
            pulled = weight[t] / (weight[t] + alphas[c]) if weight[t] > 0.0 else 0.0
            e[c] = a[t, c] + pulled * e[c]


def errors(start, stop, B, intercepts, test, sse, gram=None):
    """Squared errors ``sse[t, c]`` on test moments of tasks ``start..stop``.

    Of models as `models` returns them. With `gram`, the inner products of the models' errors are
    added to ``gram[t]``: a blend of them with shares s has the squared error ``s'(gram)s``.
    """
    d, n_pairs = B.shape[1:]
    gram = np.empty((0, n_pairs, n_pairs)) if gram is None else gram
    live, E = np.empty(d, dtype=np.int64), np.empty((d + 1, n_pairs))
    _errors(start, stop, B, intercepts, test, live, E, sse, gram)


@njit
def _errors(start, stop, B, intercepts, test, live, E, sse, gram):
    weight, mean, scatter = test
    d, nc = B.shape[1:]
    crossed = gram.shape[0] > 0
    for t in range(start, stop):
        b = B[t - start]
        miss = E[d]
        for c in range(nc):
            sse[t, c] = 0.0
        if weight[t] <= 0.0:
            continue
        q = _live_columns(scatter[t], d, live)
        _times(scatter[t], live, q, b, E)
        for i in range(q):
            li = live[i]
            for c in range(nc):
                sse[t, c] += b[li, c] * E[li, c]
        for c in range(nc):
            sse[t, c] = max(sse[t, c], 0.0)
            miss[c] = intercepts[t - start, c]
        for j in range(d):
            xj = mean[t, j]
            for c in range(nc):
                miss[c] += xj * b[j, c]
        for c in range(nc):
            sse[t, c] += weight[t] * miss[c] * miss[c]
        if crossed:
            for c in range(nc):
                f = weight[t] * miss[c]
                for k in range(nc):
                    gram[t, c, k] += f * miss[k]
            for i in range(q):
                li = live[i]
                for c in range(nc):
                    f = b[li, c]
                    for k in range(nc):
                        gram[t, c, k] += f * E[li, k]
