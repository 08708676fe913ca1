r"""Linear heads of many tasks under one Gaussian prior.

For a task with rows :math:`z_i` (features times a root of the prior's covariance), scores
:math:`b_i` under the prior's mean and weights :math:`w_i`, a head has coordinates v that minimise

.. math:: \sum_i w_i \ell(b_{i1} + z_i'v_1, \dots, b_{iK} + z_i'v_K; y_i)
          + \tfrac12 \sum_k \|v_k\|^2

where the code of the loss :math:`\ell` is 0 for half the squared error, 1 for the log-loss of one
score, and 2 for the log-loss of K scores. A task with fewer rows than coordinates is solved in the
span of its rows: with the Gram matrix :math:`ZZ' = R'R`, the columns of R serve as features and
:math:`v = Qu`, where the columns of :math:`Q = Z'R^{-1}` are orthonormal.
"""

from collections import namedtuple

import numpy as np

from .._jit import njit

_MAX_STEPS = 50
_MAX_HALVINGS = 12
# A step whose predicted gain, in nats and relative to the objective, is smaller is the last one.
# The error after it is of the order of its square.
_MIN_GAIN = 1e-7

# Rows of all tasks, and the Gram matrices of the tasks with fewer rows than coordinates: that of
# task t begins at ``gram[where[t]]``.
Rows = namedtuple("Rows", ["Z", "base", "y", "weight", "offsets", "ways", "gram", "where"])

# Kernels have plain loops and indices instead of slices: array expressions take seconds to compile.


def gram_matrices(Z, offsets):
    """Return the fields `gram` and `where` of `Rows`."""
    sizes = np.diff(offsets)
    where = np.append(0, np.cumsum(np.where(sizes < Z.shape[1], sizes**2, 0)))
    gram = np.empty(where[-1])
    for n in np.unique(sizes[sizes < Z.shape[1]]):
        tasks = np.flatnonzero(sizes == n)
        rows = Z[offsets[tasks, None] + np.arange(n)]
        products = np.matmul(rows, rows.transpose(0, 2, 1))
        gram[where[tasks, None] + np.arange(n * n)] = products.reshape(len(tasks), n * n)
    return gram, where


@njit(helper=True)
def _reduce(W, q, width):
    """Transform [A, B], of `width` columns, to [R, R'^-1 B] in place, where A = R'R is of order q.

    Only the upper triangle of A is read. Rows with a negligible pivot are set to zero.
    """
    top = 0.0
    for i in range(q):
        top = W[i, i] if W[i, i] > top else top
    for i in range(q):
        for k in range(i):
            f = W[k, i]
            if f != 0.0:
                for j in range(i, width):
                    W[i, j] -= f * W[k, j]
        scale = 1.0 / np.sqrt(W[i, i]) if W[i, i] > 1e-13 * top else 0.0
        for j in range(i, width):
            W[i, j] *= scale


@njit(helper=True)
def _solve_upper(R, q, x):
    """Replace x by the solution of R x = x; it is zero in directions with a zero pivot."""
    for k in range(q - 1, -1, -1):
        s = x[k]
        for j in range(k + 1, q):
            s -= R[k, j] * x[j]
        x[k] = s / R[k, k] if R[k, k] > 0.0 else 0.0


@njit(helper=True)
def _means(loss, eta, y, weight, first, n, n_scores, mu):
    """Write the means at scores `eta`, numbers or probabilities, to `mu`; return the loss.

    The first derivative of a row's loss by score k is ``mu[i, k]`` minus the number, or minus one
    for the row's class. The second derivative is one, or ``mu[i, k] * ((k == q) - mu[i, q])``.
    """
    loss_sum = 0.0
    for i in range(n):
        yi, f = y[first + i], eta[i, 0]
        if loss == 0:
            mu[i, 0] = f
            row_loss = 0.5 * (f - yi) * (f - yi)
        elif loss == 1:
            e = np.exp(-abs(f))
            mu[i, 0] = (1.0 if f > 0.0 else e) / (1.0 + e)
            row_loss = np.log1p(e) + (0.0 if (f > 0.0) == (yi > 0.5) else abs(f))
        else:
            top = f
            for k in range(1, n_scores):
                top = eta[i, k] if eta[i, k] > top else top
            total = 0.0
            for k in range(n_scores):
                mu[i, k] = np.exp(eta[i, k] - top)
                total += mu[i, k]
            for k in range(n_scores):
                mu[i, k] /= total
            row_loss = top + np.log(total) - eta[i, int(yi)]
        loss_sum += weight[first + i] * row_loss
    return loss_sum


@njit(helper=True)
def _slope(loss, mean, y, k):
    """Return the first derivative of a row's loss by score k."""
    if loss == 0:
        return mean - y
    return mean - (1.0 if (y > 0.5 if loss == 1 else int(y) == k) else 0.0)


@njit(helper=True)
def _quadratic(loss, rows, first, shape, u, work):
    """Write [H, g] to ``work.W``: the upper triangle of the Hessian at `u`, and the gradient."""
    R, W, mu, y, weight = work.R, work.W, work.mu, rows.y, rows.weight
    n, m, n_scores = shape
    p = n_scores * m
    for a in range(p):
        for b in range(a, p):
            W[a, b] = 0.0
        W[a, a] = 1.0
        W[a, p] = u[a]
    for i in range(n):
        w = weight[first + i]
        for k in range(n_scores):
            mean = mu[i, k]
            f = w * _slope(loss, mean, y[first + i], k)
            for j in range(m):
                W[k * m + j, p] += f * R[i, j]
            for q in range(k, n_scores):
                c = w if loss == 0 else w * mean * ((1.0 if q == k else 0.0) - mu[i, q])
                for j in range(m):
                    f = c * R[i, j]
                    if f != 0.0:
                        for h in range(j if q == k else 0, m):
                            W[k * m + j, q * m + h] += f * R[i, h]


@njit(inlined=True)
def _objective(loss, rows, first, shape, x, work):
    """Return the objective at `x`; the scores and means there are written to `work`."""
    R, eta, base = work.R, work.eta, rows.base
    n, m, n_scores = shape
    total = 0.0
    for a in range(n_scores * m):
        total += 0.5 * x[a] * x[a]
    for i in range(n):
        for k in range(n_scores):
            s = base[first + i, k]
            for j in range(m):
                s += R[i, j] * x[k * m + j]
            eta[i, k] = s
    return total + _means(loss, eta, rows.y, rows.weight, first, n, n_scores, work.mu)


@njit(inlined=True)
def _newton(loss, rows, first, shape, work):
    """Minimise over ``work.u`` by Newton's method, halving steps until the objective decreases.

    The last evaluation is at the result, so that `work` holds its scores and means. For squared
    errors a single step suffices.
    """
    u, trial, step, W = work.u, work.trial, work.step, work.W
    p = shape[1] * shape[2]
    for a in range(p):
        u[a] = 0.0
        trial[a] = 0.0
        step[a] = 0.0
    value, share, last = np.inf, 1.0, False
    n_steps, n_halvings = 0, 0
    while n_steps <= _MAX_STEPS and n_halvings <= _MAX_HALVINGS:
        new = _objective(loss, rows, first, shape, trial, work)
        if new <= value or last:
            value = new
            for a in range(p):
                u[a] = trial[a]
            if last:
                break
            _quadratic(loss, rows, first, shape, u, work)
            _reduce(W, p, p + 1)
            gain = 0.0
            for a in range(p):
                step[a] = W[a, p]
                gain += 0.5 * step[a] * step[a]
            last = loss == 0 or gain <= _MIN_GAIN * (1.0 + abs(value))
            _solve_upper(W, p, step)
            share = 1.0
            n_steps += 1
            n_halvings = 0
        else:
            n_halvings += 1
            share = 0.5 * share if n_halvings < _MAX_HALVINGS else 0.0
        for a in range(p):
            trial[a] = u[a] - share * step[a]


@njit(helper=True)
def _add_covariance(W, G, m, by_rows, moment):
    """Add X'X, or in the span of the rows I + X'X - QQ', to the lower triangle of `moment`.

    X = R'^-1 B is stored in `W` next to R, and Q' in `G`.
    """
    r = moment.shape[0]
    for i in range(r if by_rows else 0):
        moment[i, i] += 1.0
    for k in range(m):
        for i in range(r):
            f, g = W[k, m + i], G[k, m + i]
            if by_rows:
                for j in range(i + 1):
                    moment[i, j] += f * W[k, m + j] - g * G[k, m + j]
            else:
                for j in range(i + 1):
                    moment[i, j] += f * W[k, m + j]


@njit(inlined=True)
def _at_solution(loss, rows, first, shape, work, left, moment):
    """Compute leave-one-out scores, by one Newton step from the solution for each score.

    Also add the posterior covariance of each score, Q'H^-1 Q in the span of the rows, to `moment`.
    If `left` or `moment` is empty, it is not computed.
    """
    R, G, W, x, eta = work.R, work.G, work.W, work.step, work.eta
    mu, y, weight = work.mu, rows.y, rows.weight
    n, m, n_scores = shape
    r, by_rows = moment.shape[0], n < rows.Z.shape[1]
    for k in range(n_scores):
        for a in range(m):
            for b in range(a, m):
                W[a, b] = 0.0
            W[a, a] = 1.0
            for b in range(r):
                W[a, m + b] = G[a, m + b] if by_rows else (1.0 if a == b else 0.0)
        for i in range(n):
            curve = 1.0 if loss == 0 else mu[i, k] * (1.0 - mu[i, k])
            for a in range(m):
                f = weight[first + i] * curve * R[i, a]
                for b in range(a, m):
                    W[a, b] += f * R[i, b]
        _reduce(W, m, m + r)
        _add_covariance(W, G, m, by_rows, moment)
        for i in range(n if len(left) else 0):
            leverage = 0.0
            for a in range(m):
                x[a] = R[i, a]
            for a in range(m):  # W'x = R[i]
                f = x[a] / W[a, a]
                leverage += f * f
                for b in range(a + 1, m):
                    x[b] -= W[a, b] * f
            curve = 1.0 if loss == 0 else mu[i, k] * (1.0 - mu[i, k])
            w = weight[first + i]
            share = 1.0 - w * curve * leverage
            share = share if share > 1e-10 else 1e-10
            slope = _slope(loss, mu[i, k], y[first + i], k)
            left[first + i, k] = eta[i, k] + w * slope * leverage / share


def fit_heads(start, stop, loss, rows, V, left, posterior):
    """Fit the heads of tasks ``start..stop``.

    Parameters
    ----------
    start, stop : int
    loss : int
        Code of the loss.
    rows : Rows
    V : ndarray of shape (n_tasks, n_scores, rank)
        Output: the coordinates.
    left : ndarray of shape (n_rows, n_scores) or (0, n_scores)
        Output unless empty: the leave-one-out scores.
    posterior : bool
        Whether to compute the posterior covariances.

    Returns
    -------
    ndarray of shape (rank, rank) or (0, 0)
        Sum of the heads' posterior covariances (Laplace's approximation) if `posterior`.
    """
    n = max(1, int(np.diff(rows.offsets[start : stop + 1]).max(initial=0)))
    k, r = rows.base.shape[1], rows.Z.shape[1]
    m = min(n, r)
    sizes = [(n, m), (m, m + r), (k * m, max(k * m, m + r) + 1), k * m, k * m, k * m]
    work = _Work(*(np.empty(size) for size in [*sizes, (n, k), (n, k)]))
    moment = np.zeros((r, r) if posterior else (0, 0))
    _fit_heads(start, stop, loss, rows, work, V, left, moment)
    return moment + np.tril(moment, -1).T


_Work = namedtuple("_Work", ["R", "G", "W", "u", "trial", "step", "eta", "mu"])


@njit
def _fit_heads(start, stop, loss, rows, work, V, left, moment):
    R, G, u = work.R, work.G, work.u
    Z, _, _, _, offsets, ways, gram, where = rows
    r = Z.shape[1]
    for t in range(start, stop):
        first = offsets[t]
        n = offsets[t + 1] - first
        n_scores = 1 if loss < 2 else ways[t]
        m = n if n < r else r
        if n < r:  # in the span of the rows: G becomes [R, Q']
            for i in range(n):
                for j in range(n):
                    G[i, j] = gram[where[t] + i * n + j]
                for j in range(r):
                    G[i, n + j] = Z[first + i, j]
            _reduce(G, n, n + r)
        for i in range(n):
            for j in range(m):
                R[i, j] = Z[first + i, j] if n >= r else (G[j, i] if j <= i else 0.0)
        shape = (n, m, n_scores)
        _newton(loss, rows, first, shape, work)
        if len(left) or len(moment):
            _at_solution(loss, rows, first, shape, work, left, moment)
        for k in range(V.shape[1]):
            for j in range(r):
                V[t, k, j] = u[k * m + j] if n >= r and k < n_scores else 0.0
            if n < r and k < n_scores:
                for i in range(n):
                    f = u[k * m + i]
                    for j in range(r):
                        V[t, k, j] += f * G[i, n + j]
