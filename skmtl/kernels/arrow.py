r"""The arrow-shaped ridge system of partial pooling, task by task.

For task t with training moments (weight n, means :math:`\bar x, \bar y`, centred scatter C, c)
and strengths :math:`\lambda_v = 1/\kappa` on slopes, :math:`\lambda_a` on intercepts, let
:math:`U = (I + \kappa C)^{-1}`, :math:`u = U\bar x`, :math:`d = Uc`,
:math:`\rho = n\lambda_a/(n + \lambda_a)` and :math:`w = \rho/(1 + \kappa\rho\,\bar x'u)`.
Eliminating the task's own intercept and slopes adds to the system in the shared (a, m) the Gram
matrix

.. math:: \mathrm{diag}(0, (I - U)/\kappa) + w\,[1; u][1; u]'

with right-hand side :math:`[0; d] + w\tilde y\,[1; u]`, where
:math:`\tilde y = \bar y - \kappa\,\bar x'd`. Given (a, m), the task's coefficients are
:math:`b = Um + \kappa d + \kappa w(\tilde y - a - u'm)u`. All formulas hold for
:math:`\kappa = 0` (no task-specific slopes) and :math:`\lambda_a = \infty`.

If the task's own intercept is defined at a centre :math:`c_t`, where the shared line has the value
:math:`a + z_t'm` for an anchor :math:`z_t`, then :math:`\bar x - c_t` replaces :math:`\bar x` in u
and in the products with u; :math:`z_t + u` replaces u in the shared system; and
:math:`a + z_t'm` replaces a in the formula of the coefficients, which yields the intercept at
:math:`c_t`.

Kernels take named tuples of arrays, and their workspace as an argument: arrays made inside, slices
and calls of BLAS take longer to compile than all the arithmetic.
"""

from collections import namedtuple

import numpy as np

from .._jit import njit

# From this number of features on, BLAS multiplies faster than plain loops.
_WIDE = 6
# Size of the tasks' models under all candidates that is processed at a time, and least number of
# tasks.
_BATCH_SIZE, _MIN_TASKS = 2**15, 16

# If kappa times the trace per feature is below this, (I - U) would suffer from cancellation.
CANCELS = 1e-3

# Arrays of all tasks: training or test moments, and the results of `factor`.
Moments = namedtuple("Moments", ["weight", "mean", "scatter"])
Factors = namedtuple("Factors", ["U", "u", "d", "xu", "xd"])
# Arrays of all tasks that the shared system requires, and a mask of the tasks that it includes.
Means = namedtuple("Means", ["weight", "mean", "u", "xu", "xd", "active"])
# Shared solutions: intercepts at the tasks' centres, of shape (n_tasks, n_pairs), slopes in
# columns, and the intercept strength of each pair.
Shared = namedtuple("Shared", ["a", "M", "alphas"])


@njit(helper=True)
def _live_columns(C, p, live):
    """Write the indices of the varying columns among the first `p` to `live`; return their number.

    Many columns may be constant within a task: features of the task itself, rare categories.
    """
    q = 0
    for i in range(p):
        if C[i, i] > 0.0:
            live[q] = i
            q += 1
    return q


@njit(inlined=True)
def _mean_weight(n, alpha):
    """Return rho = n alpha / (n + alpha), the weight of a mean without the task intercept."""
    return n if alpha == np.inf else n * alpha / (n + alpha)


@njit(helper=True)
def _reduce(W, q):
    """Transform [A, b] to [R, R'^-1 b] in place, where A = R'R is of order q.

    Rows with a negligible pivot are set to zero. Rows are subtracted from row i four at a time, and
    the remaining ones one by one.
    """
    top = 0.0
    for i in range(q):
        top = W[i, i] if W[i, i] > top else top
    for i in range(q):
        for k in range(0, i - 3, 4):
            f0, f1, f2, f3 = W[k, i], W[k + 1, i], W[k + 2, i], W[k + 3, i]
            for j in range(i, q + 1):
                W[i, j] -= f0 * W[k, j] + f1 * W[k + 1, j] + f2 * W[k + 2, j] + f3 * W[k + 3, j]
        for k in range(i - i % 4, i):
            f0 = W[k, i]
            for j in range(i, q + 1):
                W[i, j] -= f0 * W[k, j]
        scale = 1.0 / np.sqrt(W[i, i]) if W[i, i] > 1e-14 * top else 0.0
        for j in range(i, q + 1):
            W[i, j] *= scale


@njit(helper=True)
def _sweep(V, q, row):
    """Replace the positive definite lower triangle `V` of order q by minus its inverse.

    This is Goodnight's sweep operator (The American Statistician 33, 1979). The matrix remains
    symmetric after each pivot, so that only the lower triangle is updated, in contiguous rows.
    """
    for k in range(q):
        g = 1.0 / V[k, k]
        for j in range(q):
            row[j] = V[k, j] if j < k else V[j, k]
        row[k] = 0.0
        for i in range(q):
            f = g * row[i]
            for j in range(i + 1):
                V[i, j] -= f * row[j]
            if i < k:
                V[k, i] = f
            else:
                V[i, k] = f
        V[k, k] = -g


def at_a_time(n_numbers):
    """Return the number of tasks to process at a time, with models of `n_numbers` numbers each."""
    return max(_MIN_TASKS, _BATCH_SIZE // n_numbers)


def factor(start, stop, train, kappa, factors):
    """Factor tasks ``start..stop`` at `kappa`; return their sums of (I - U)/kappa and of d.

    For `kappa` zero, U is the identity matrix and is not written.
    """
    p = factors.u.shape[1]
    if kappa == 0.0:
        return _factor_at_zero(slice(start, stop), train, factors)
    S, r = np.zeros((p, p)), np.zeros(p)
    work = np.empty((p, p)), np.empty(p), np.empty(p, dtype=np.int64)
    _factor(start, stop, train, kappa, factors, work, S, r)
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
def _factor(start, stop, train, kappa, factors, work, S, r):
    """Compute U, u, d, x'u and x'd of each task, and add its terms to `S` and `r`.

    For a feature that is constant within the task, U is the identity, u the mean and d zero.
    """
    weight, mean, scatter = train
    U, u, d, xu, xd = factors
    V, row, live = work
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
        for i in range(q):
            for j in range(i + 1):
                V[i, j] = kappa * scatter[t, live[i], live[j]]
            trace += V[i, i]
            V[i, i] += 1.0
            u[t, live[i]] = 0.0
        _sweep(V, q, row)
        for i in range(q):  # now V is the part of U that is not the identity
            for j in range(i + 1):
                V[i, j] = -V[i, j]
                V[j, i] = V[i, j]
        cancels = trace <= CANCELS * q
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
                else:  # (I - U)/kappa = UC, symmetrised against rounding
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


def shared_work(n_tasks, q):
    """Return the workspace of `solve_shared`."""
    return np.empty((n_tasks, q + 1)), np.empty((q + 1, q + 1)), np.empty((q, q + 1))


@njit
def solve_shared(means, kappa, S, r, penalty, strengths, free, work, theta):
    """Solve for the shared (a, m) under each pair of strengths, equal intercept strengths adjacent.

    Only the entries `free` are solved for, of which the first is the intercept. In `theta` they are
    zero before the call, and the other entries hold given values.
    """
    alphas, ridges = strengths
    weight, mean, u, xu, xd, active = means
    n_tasks, p = u.shape
    Z, G, W = work  # Z: root-weighted rows [1, u, y] of the tasks; G: their products
    for c in range(alphas.shape[0]):
        if c == 0 or alphas[c] != alphas[c - 1]:
            for t in range(n_tasks):
                known = active[t] and weight[t] > 0.0
                rho = _mean_weight(weight[t], alphas[c]) if known else 0.0
                root = np.sqrt(rho / (1.0 + kappa * rho * xu[t]))
                Z[t, 0] = root
                for i in range(p):
                    Z[t, i + 1] = root * u[t, i]
                Z[t, p + 1] = root * (mean[t, p] - kappa * xd[t])
            np.dot(Z.T, Z, G)
            for i in range(p):
                G[i + 1, p + 1] += r[i]
                for j in range(p):
                    G[i + 1, j + 1] += S[i, j]
        q = 1 if ridges[c] == np.inf else free.shape[0]
        for i in range(q):
            fi = free[i]
            W[i, q] = G[fi, p + 1]
            for j in range(p + 1):
                W[i, q] -= G[fi, j] * theta[c, j]
            for j in range(i, q):
                W[i, j] = G[fi, free[j]]
            if i > 0:
                W[i, i] += ridges[c] * penalty[fi - 1]
        _reduce(W, q)
        for i in range(q - 1, -1, -1):
            s = W[i, q]
            for j in range(i + 1, q):
                s -= W[i, j] * theta[c, free[j]]
            theta[c, free[i]] = s / W[i, i] if W[i, i] > 0.0 else 0.0


def models(start, stop, shared, train, kappa, factors):
    """Return the models of tasks ``start..stop`` under each shared solution.

    Returns
    -------
    B : ndarray of shape (stop - start, n_features + 2, n_pairs)
        Slopes, a row of -1, and intercepts: the errors are [X, y, 1] @ B.
    """
    p, n_pairs = shared.M.shape
    B = np.empty((stop - start, p + 2, n_pairs))
    B[:, :p] = shared.M
    B[:, p] = -1.0
    np.matmul(factors.u[start:stop], shared.M, out=B[:, p + 1])
    if kappa > 0.0:
        tasks = slice(start, stop)
        _live_products(
            train.scatter[tasks], factors.U[tasks], shared.M[None], np.empty(p, dtype=np.int64), B
        )
    _add_own(start, shared, train, kappa, factors, np.empty(n_pairs), B)
    return B


@njit
def _add_own(start, shared, train, kappa, factors, own, B):
    """Add the task-specific terms to Um, or to m, and replace u'm by the intercept."""
    a, _, alphas = shared
    weight, mean, _ = train
    _, u, d, xu, xd = factors
    p = u.shape[1]
    for i in range(B.shape[0]):
        t = start + i
        for c in range(alphas.shape[0]):  # kappa w (y - a - u'm)
            rho = _mean_weight(weight[t], alphas[c]) if weight[t] > 0.0 else 0.0
            gap = mean[t, p] - kappa * xd[t] - a[t, c] - B[i, p + 1, c]
            own[c] = gap * kappa * rho / (1.0 + kappa * rho * xu[t])
            share = weight[t] / (weight[t] + alphas[c]) if weight[t] > 0.0 else 0.0
            B[i, p + 1, c] = a[t, c] + share * (gap - own[c] * xu[t])
        if kappa > 0.0:
            for j in range(p):
                for c in range(alphas.shape[0]):
                    B[i, j, c] += kappa * d[t, j] + own[c] * u[t, j]


def errors(start, stop, B, test, gram=None):
    """Return squared errors ``(n_tasks, n_models)`` on test moments of tasks ``start..stop``.

    B holds models as returned by `models`; their intercepts are overwritten. With `gram`, the inner
    products of the models' errors are added to ``gram[t]``: a blend of the models with shares s has
    the squared error ``s'(gram)s``.
    """
    weight, mean, scatter = (part[start:stop] for part in test)
    d = mean.shape[1]
    E = np.zeros(B.shape)
    _live_products(scatter, scatter, B, np.empty(d, dtype=np.int64), E)
    B[:, d] += np.einsum("tj,tjc->tc", mean, B[:, :d])
    np.multiply(weight[:, None], B[:, d], out=E[:, d])
    if gram is not None:
        gram[start:stop] += np.matmul(B.transpose(0, 2, 1), E)
    return np.maximum(np.einsum("tjc,tjc->tc", B, E), 0.0)


@njit
def _live_products(scatter, A, B, live, out):
    """Compute ``out[t, live] = A[t][live, live] @ B[t, live]``, by BLAS if all of many vary.

    `live` are the features that vary within the task according to `scatter`. A single B may be used
    for all tasks; B and `out` may have further rows.
    """
    p, n_models = A.shape[1], B.shape[2]
    for t in range(A.shape[0]):
        s = t if B.shape[0] > 1 else 0
        q = _live_columns(scatter[t], p, live)
        if q == p and p >= _WIDE:
            np.dot(A[t], B[s, :p], out[t, :p])
            continue
        for i in range(q):
            r = live[i]
            for c in range(n_models):
                out[t, r, c] = 0.0
            for k in range(q):
                f = A[t, r, live[k]]
                for c in range(n_models):
                    out[t, r, c] += f * B[s, live[k], c]
