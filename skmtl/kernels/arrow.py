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
"""

import numpy as np

from .._jit import njit

# Plain loops rather than slices: array expressions take seconds to compile.


@njit
def _cholesky(R):
    """R'R of what stands in the upper triangle of `R`, in place.

    Rows whose pivot has vanished beside the largest are set to zero.
    """
    p = R.shape[0]
    top = 0.0
    for i in range(p):
        top = max(top, R[i, i])
    for i in range(p):
        for k in range(0, i - 3, 4):
            f0, f1, f2, f3 = R[k, i], R[k + 1, i], R[k + 2, i], R[k + 3, i]
            for j in range(i, p):
                R[i, j] -= f0 * R[k, j] + f1 * R[k + 1, j] + f2 * R[k + 2, j] + f3 * R[k + 3, j]
        for k in range(i - i % 4, i):
            f0 = R[k, i]
            for j in range(i, p):
                R[i, j] -= f0 * R[k, j]
        scale = 1.0 / np.sqrt(R[i, i]) if R[i, i] > 1e-14 * top else 0.0
        for j in range(i, p):
            R[i, j] *= scale


@njit
def _spd_inverse(R, V, out):
    """Inverse of the positive definite upper triangle `R`: R'R in place, V = R'^-1, out = V'V.

    By row updates, four rows at a time: contiguous, and few passes over the target row. Written
    out each time, as a helper on slices of the rows is half again as slow.
    """
    p = R.shape[0]
    _cholesky(R)
    for i in range(p):
        for j in range(p):
            V[i, j] = 0.0
        V[i, i] = 1.0
        for k in range(0, i - 3, 4):
            f0, f1, f2, f3 = R[k, i], R[k + 1, i], R[k + 2, i], R[k + 3, i]
            for j in range(k + 4):
                V[i, j] -= f0 * V[k, j] + f1 * V[k + 1, j] + f2 * V[k + 2, j] + f3 * V[k + 3, j]
        for k in range(i - i % 4, i):
            f0 = R[k, i]
            for j in range(k + 1):
                V[i, j] -= f0 * V[k, j]
        scale = 1.0 / R[i, i]
        for j in range(i + 1):
            V[i, j] *= scale
    for i in range(p):
        for j in range(i + 1):
            out[i, j] = 0.0
        for k in range(i, p - 3, 4):
            f0, f1, f2, f3 = V[k, i], V[k + 1, i], V[k + 2, i], V[k + 3, i]
            for j in range(i + 1):
                out[i, j] += f0 * V[k, j] + f1 * V[k + 1, j] + f2 * V[k + 2, j] + f3 * V[k + 3, j]
        for k in range(p - (p - i) % 4, p):
            f0 = V[k, i]
            for j in range(i + 1):
                out[i, j] += f0 * V[k, j]
        for j in range(i):
            out[j, i] = out[i, j]


@njit
def live_columns(C, live):
    """Put the columns that are not constant into `live`; returns how many there are.

    Features of the task itself, rare categories and dummies leave many constant within a task.
    """
    q = 0
    for i in range(C.shape[0]):
        if C[i, i] > 0.0:
            live[q] = i
            q += 1
    return q


@njit
def factor(start, stop, weight, mean, scatter, kappa, U, u, d, xu, xd):
    """Factor tasks ``start..stop`` at `kappa`; returns their sum of (I - U)/kappa and of d."""
    p = mean.shape[1] - 1
    S = np.zeros((p, p))
    r = np.zeros(p)
    live = np.empty(p, dtype=np.int64)
    work = np.empty((4, max(p, 2) * p))
    for t in range(start, stop):
        C = scatter[t]
        known = weight[t] > 0.0
        for i in range(p):
            u[t, i] = mean[t, i] if known else 0.0
            d[t, i] = C[i, p] if known and kappa == 0.0 else 0.0
        if kappa > 0.0:
            for i in range(p):
                for j in range(p):
                    U[t, i, j] = 0.0
                U[t, i, i] = 1.0
            if known:
                _eliminate(C, mean[t], kappa, live, work, U[t], u[t], d[t], S)
        elif known:
            for i in range(p):
                for j in range(p):
                    S[i, j] += C[i, j]
        xu[t] = 0.0
        xd[t] = 0.0
        for i in range(p):
            r[i] += d[t, i]
            xu[t] += mean[t, i] * u[t, i]
            xd[t] += mean[t, i] * d[t, i]
    return S, r


@njit
def _eliminate(C, mean, kappa, live, work, U, u, d, S):
    """Put a task's U = (I + kappa C)^-1, u and d where they differ from those of a constant
    feature, and add (I - U)/kappa to `S`: only what is not constant is factored.
    """
    p = S.shape[0]
    q = live_columns(C[:p, :p], live)
    A = work[0, : q * q].reshape((q, q))  # contiguous, as loops over a slice are slow
    R = work[1, : q * q].reshape((q, q))
    V = work[2, : q * q].reshape((q, q))
    inverse = work[3, : q * q].reshape((q, q))
    trace = 0.0
    for i in range(q):
        for j in range(q):
            A[i, j] = C[live[i], live[j]]
            R[i, j] = kappa * A[i, j]
        R[i, i] += 1.0
        trace += A[i, i]
    _spd_inverse(R, V, inverse)
    for i in range(q):
        for j in range(q):
            R[i, j] = 0.0
            U[live[i], live[j]] = inverse[i, j]
    _add_schur(A, inverse, kappa, trace, R)
    for i in range(q):
        for j in range(q):
            S[live[i], live[j]] += R[i, j]
    short = work[2]
    for i in range(2 * q):
        short[i] = 0.0
    for j in range(q):  # by rows of the symmetric inverse, which is a vector operation
        xj, cj = mean[live[j]], C[live[j], p]
        for i in range(q):
            short[i] += inverse[j, i] * xj
            short[q + i] += inverse[j, i] * cj
    for i in range(q):
        u[live[i]] = short[i]
        d[live[i]] = short[q + i]


@njit
def _add_schur(C, U, kappa, trace, S):
    """Add (I - U)/kappa = U C to `S`, by the form that does not cancel."""
    p = S.shape[0]
    if kappa == 0.0:
        for i in range(p):
            for j in range(p):
                S[i, j] += C[i, j]
    elif kappa * trace > 1e-3 * p:
        inverse = 1.0 / kappa
        for i in range(p):
            for j in range(p):
                S[i, j] -= inverse * U[i, j]
            S[i, i] += inverse
    else:
        for i in range(p):
            for k in range(p):
                f = U[i, k]
                if f == 0.0:
                    continue
                for j in range(p):
                    S[i, j] += 0.5 * f * C[k, j]
        for i in range(p):  # symmetrised, as rounding is not
            for k in range(p):
                f = U[i, k]
                if f == 0.0:
                    continue
                for j in range(p):
                    S[j, i] += 0.5 * f * C[k, j]


@njit
def schur_by_group(weight, scatter, kappa, U, group, schur):
    """Sum (I - U)/kappa of the tasks of each group into ``schur[group]``."""
    p = U.shape[1]
    for t in range(weight.shape[0]):
        if weight[t] > 0.0:
            trace = 0.0
            for i in range(p):
                trace += scatter[t, i, i]
            _add_schur(scatter[t], U[t], kappa, trace, schur[group[t]])


@njit
def pull(n, alpha):
    """rho = n alpha / (n + alpha): what is left of the mean's weight with a task intercept."""
    if n <= 0.0:
        return 0.0
    if np.isinf(alpha):
        return n
    return n * alpha / (n + alpha)


@njit
def _solve_spd(A, b, x):
    """Solve A x = b in place of `A`; directions with a vanished pivot get zero."""
    q = A.shape[0]
    _cholesky(A)
    for k in range(q):
        x[k] = b[k]
    for k in range(q):
        x[k] = x[k] / A[k, k] if A[k, k] > 0.0 else 0.0
        f = x[k]
        for j in range(k + 1, q):
            x[j] -= A[k, j] * f
    for k in range(q - 1, -1, -1):
        s = x[k]
        for j in range(k + 1, q):
            s -= A[k, j] * x[j]
        x[k] = s / A[k, k] if A[k, k] > 0.0 else 0.0


@njit
def shared_gram(weight, ybar, u, xu, xd, kappa, alpha, S, r, active, G, g):
    """Gram matrix and right-hand side on (a, m) of the active tasks at one intercept strength."""
    n_tasks, p = u.shape
    Z = np.zeros((n_tasks, p + 2))  # root-weighted rows [1, u, y] of the tasks' means
    for t in range(n_tasks):
        rho = pull(weight[t], alpha)
        if rho <= 0.0 or not active[t]:
            continue
        root = np.sqrt(rho / (1.0 + kappa * rho * xu[t]))
        Z[t, 0] = root
        for i in range(p):
            Z[t, i + 1] = root * u[t, i]
        Z[t, p + 1] = root * (ybar[t] - kappa * xd[t])
    products = np.dot(Z.T, Z)
    for i in range(p + 1):
        g[i] = products[i, p + 1] + (r[i - 1] if i > 0 else 0.0)
        for j in range(p + 1):
            G[i, j] = products[i, j] + (S[i - 1, j - 1] if i > 0 and j > 0 else 0.0)


@njit
def solve_shared(weight, ybar, u, xu, xd, kappa, S, r, active, penalty, alphas, ridges, theta):
    """Shared (a, m) for each pair (alphas[c], ridges[c]); equal alphas stand side by side."""
    q = theta.shape[1]
    G = np.empty((q, q))
    A = np.empty((q, q))
    g = np.empty(q)
    for c in range(alphas.shape[0]):
        if c == 0 or alphas[c] != alphas[c - 1]:
            shared_gram(weight, ybar, u, xu, xd, kappa, alphas[c], S, r, active, G, g)
        if np.isinf(ridges[c]):
            theta[c, 0] = g[0] / G[0, 0] if G[0, 0] > 0.0 else 0.0
            for i in range(1, q):
                theta[c, i] = 0.0
            continue
        for i in range(q):
            for j in range(i, q):
                A[i, j] = G[i, j]
        for i in range(1, q):
            A[i, i] += ridges[c] * penalty[i - 1]
        _solve_spd(A, g, theta[c])


@njit
def _live_product(A, live, q, B, square, wide):
    """A[live, live] B[live] as the first of `wide`, which is work space as `square` is."""
    nc = B.shape[1]
    small = square[: q * q].reshape((q, q))  # contiguous, as BLAS wants it
    some = wide[1, : q * nc].reshape((q, nc))
    for i in range(q):
        for j in range(q):
            small[i, j] = A[live[i], live[j]]
        for c in range(nc):
            some[i, c] = B[live[i], c]
    out = wide[0, : q * nc].reshape((q, nc))
    np.dot(small, some, out)
    return out


@njit
def _task_columns(
    t, theta, weight, mean, scatter, kappa, alphas, U, u, d, xu, xd, M, B, intercepts, e,
    live, square, wide,
):  # fmt: skip
    """Columns of `B`: task t's slopes under each shared solution; and its intercepts.

    The pairs run innermost, where `B` is contiguous.
    """
    p = u.shape[1]
    nc = theta.shape[0]
    if kappa > 0.0 and weight[t] > 0.0:
        q = live_columns(scatter[t, :p, :p], live)
        moved = _live_product(U[t], live, q, M, square, wide)
        for j in range(p):
            for c in range(nc):
                B[j, c] = M[j, c]
        for i in range(q):
            for c in range(nc):
                B[live[i], c] = moved[i, c]
        for c in range(nc):
            e[c] = mean[t, p] - kappa * xd[t] - theta[c, 0]
        for j in range(p):
            uj = u[t, j]
            for c in range(nc):
                e[c] -= uj * M[j, c]
        for c in range(nc):
            rho = pull(weight[t], alphas[c])
            e[c] *= kappa * rho / (1.0 + kappa * rho * xu[t])
        for j in range(p):
            uj, dj = u[t, j], kappa * d[t, j]
            for c in range(nc):
                B[j, c] += dj + e[c] * uj
    else:
        for j in range(p):
            for c in range(nc):
                B[j, c] = M[j, c]
    for c in range(nc):
        e[c] = mean[t, p] - theta[c, 0]
    for j in range(p):
        xj = mean[t, j]
        for c in range(nc):
            e[c] -= xj * B[j, c]
    for c in range(nc):
        intercepts[c] = theta[c, 0]
        if weight[t] > 0.0 and not np.isinf(alphas[c]):
            intercepts[c] += weight[t] / (weight[t] + alphas[c]) * e[c]


@njit
def task_errors(
    start, stop, theta, weight, mean, scatter, kappa, alphas, U, u, d, xu, xd,
    test_weight, test_mean, test_scatter, sse
):  # fmt: skip
    """Squared errors ``sse[t, c]`` on the test moments under each shared solution."""
    p = u.shape[1]
    nc = theta.shape[0]
    M = np.ascontiguousarray(theta[:, 1:].T)
    B = np.empty((p + 1, nc))  # with a last row of -1: [X, y] @ B are the errors
    own = np.empty(nc)
    miss = np.empty(nc)
    live = np.empty(p + 1, dtype=np.int64)
    square = np.empty((p + 1) * (p + 1))
    wide = np.empty((2, (p + 1) * nc))
    B[p] = -1.0
    for t in range(start, stop):
        if test_weight[t] <= 0.0:
            continue
        _task_columns(
            t, theta, weight, mean, scatter, kappa, alphas, U, u, d, xu, xd, M, B[:p], own, miss,
            live, square, wide,
        )  # fmt: skip
        for c in range(nc):
            miss[c] = own[c]
            sse[t, c] = 0.0
        for j in range(p + 1):
            xj = test_mean[t, j]
            for c in range(nc):
                miss[c] += xj * B[j, c]
        q = live_columns(test_scatter[t], live)
        E = _live_product(test_scatter[t], live, q, B, square, wide)
        for i in range(q):
            for c in range(nc):
                sse[t, c] += B[live[i], c] * E[i, c]
        for c in range(nc):
            sse[t, c] = max(sse[t, c], 0.0) + test_weight[t] * miss[c] * miss[c]


@njit
def task_models(
    start, stop, theta, weight, mean, scatter, kappa, alphas, U, u, d, xu, xd,
    first, slopes, intercepts
):  # fmt: skip
    """Task t's models under each shared solution, from ``slopes[t, first]`` on."""
    p = u.shape[1]
    nc = theta.shape[0]
    M = np.ascontiguousarray(theta[:, 1:].T)
    B = np.empty((p, nc))
    own = np.empty(nc)
    miss = np.empty(nc)
    live = np.empty(p, dtype=np.int64)
    square = np.empty(p * p)
    wide = np.empty((2, p * nc))
    for t in range(start, stop):
        _task_columns(
            t, theta, weight, mean, scatter, kappa, alphas, U, u, d, xu, xd, M, B, own, miss,
            live, square, wide,
        )  # fmt: skip
        for c in range(nc):
            intercepts[t, first + c] = own[c]
            for j in range(p):
                slopes[t, first + c, j] = B[j, c]


@njit
def blend(start, stop, theta, share, weight, mean, kappa, alphas, U, u, d, xu, xd, coef, intercept):
    """Add ``sum_c share[t, c] * (intercept, slopes of task t under solution c)``."""
    p = u.shape[1]
    nc = theta.shape[0]
    m = np.empty(p)
    for t in range(start, stop):
        for j in range(p):
            m[j] = 0.0
        total = 0.0
        pushed = 0.0
        mean_term = 0.0
        for c in range(nc):
            s = share[t, c]
            if s == 0.0:
                continue
            total += s
            rho = pull(weight[t], alphas[c])
            e = -theta[c, 0]
            for j in range(p):
                m[j] += s * theta[c, j + 1]
                e -= u[t, j] * theta[c, j + 1]
            if kappa > 0.0 and weight[t] > 0.0:
                w = rho / (1.0 + kappa * rho * xu[t])
                e += mean[t, p] - kappa * xd[t]
                pushed += s * kappa * w * e
        if total == 0.0:
            continue
        for c in range(nc):
            s = share[t, c]
            if s == 0.0:
                continue
            a = theta[c, 0]
            if weight[t] > 0.0 and not np.isinf(alphas[c]):
                # own intercept needs this candidate's prediction at the task's mean:
                # x'b = u'm + kappa x'd + kappa w e x'u
                at_mean = kappa * xd[t]
                rho = pull(weight[t], alphas[c])
                e = mean[t, p] - kappa * xd[t] - a
                for j in range(p):
                    at_mean += u[t, j] * theta[c, j + 1]
                    e -= u[t, j] * theta[c, j + 1]
                at_mean += kappa * rho / (1.0 + kappa * rho * xu[t]) * e * xu[t]
                a += weight[t] / (weight[t] + alphas[c]) * (mean[t, p] - a - at_mean)
            mean_term += s * a
        intercept[t] += mean_term
        if kappa > 0.0 and weight[t] > 0.0:
            for i in range(p):
                coef[t, i] += pushed * u[t, i] + total * kappa * d[t, i]
            for j in range(p):
                mj = m[j]
                for i in range(p):
                    coef[t, i] += U[t, j, i] * mj
        else:
            for i in range(p):
                coef[t, i] += m[i]
