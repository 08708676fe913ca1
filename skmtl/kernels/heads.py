r"""Linear heads of many tasks under one Gaussian prior, task by task.

For a task with rows :math:`z_i` (features times a root of the prior's covariance), scores
:math:`b_i` of the prior's mean and weights :math:`w_i`, a head has coordinates v that minimise

.. math:: \sum_i w_i \ell(b_{i1} + z_i'v_1, \dots, b_{iK} + z_i'v_K; y_i)
          + \tfrac12 \sum_k \|v_k\|^2

where the loss :math:`\ell` is by its code: 0, half the square; 1, the log-loss of one score; 2,
that of K scores. A task of fewer rows than coordinates is solved in the space of its rows: with
the Gram matrix :math:`ZZ' = R'R`, columns of R are the features and :math:`v = Z'R^{-1}u`.
"""

import numpy as np

from .._jit import njit

_MOST_STEPS = 50
_MOST_HALVINGS = 12
# In nats: a step that gains less, relative to the objective, is the last.
_LEAST_GAIN = 1e-11
# From so many unknowns on LAPACK beats plain loops.
_LARGE = 64

# Plain loops and indices rather than slices: array expressions take seconds to compile.


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
        for k in range(i):
            f = R[k, i]
            if f != 0.0:
                for j in range(i, p):
                    R[i, j] -= f * R[k, j]
        scale = 1.0 / np.sqrt(R[i, i]) if R[i, i] > 1e-13 * top else 0.0
        for j in range(i, p):
            R[i, j] *= scale


@njit
def _solve_transposed(R, x):
    """Solve R'x = x in place; directions with a vanished pivot get zero."""
    for k in range(R.shape[0]):
        x[k] = x[k] / R[k, k] if R[k, k] > 0.0 else 0.0
        f = x[k]
        for j in range(k + 1, R.shape[0]):
            x[j] -= R[k, j] * f


@njit
def _solve_upper(R, x):
    """Solve R x = x in place; directions with a vanished pivot get zero."""
    for k in range(R.shape[0] - 1, -1, -1):
        s = x[k]
        for j in range(k + 1, R.shape[0]):
            s -= R[k, j] * x[j]
        x[k] = s / R[k, k] if R[k, k] > 0.0 else 0.0


@njit
def _log_sum(eta, i):
    """Logarithm of the sum of the exponentials of row i's scores."""
    top = eta[i, 0]
    for k in range(1, eta.shape[1]):
        top = max(top, eta[i, k])
    total = 0.0
    for k in range(eta.shape[1]):
        total += np.exp(eta[i, k] - top)
    return top + np.log(total)


@njit
def _row_loss(loss, eta, i, y):
    """Loss of row i; `y` is its number or its class."""
    if loss == 0:
        return 0.5 * (eta[i, 0] - y) ** 2
    if loss == 1:
        s = eta[i, 0] if y > 0.5 else -eta[i, 0]
        return np.log1p(np.exp(-abs(s))) + max(-s, 0.0)
    return _log_sum(eta, i) - eta[i, int(y)]


@njit
def _probability(loss, eta, i, k):
    """Probability of class k (of class 1 where there is one score)."""
    if loss == 2:
        return np.exp(eta[i, k] - _log_sum(eta, i))
    small = np.exp(-abs(eta[i, 0]))
    return (1.0 if eta[i, 0] > 0.0 else small) / (1.0 + small)


@njit
def _derivatives(loss, eta, i, y, curve):
    """Put row i's gradient by the scores into `eta[i]`, its second derivatives into `curve`."""
    n_scores = eta.shape[1]
    if loss < 2:
        eta[i, 0], curve[0, 0] = _slopes(loss, eta, i, y, 0)
        return
    total = _log_sum(eta, i)
    for k in range(n_scores):
        eta[i, k] = np.exp(eta[i, k] - total)
    for k in range(n_scores):
        curve[k, k] = eta[i, k] * (1.0 - eta[i, k])
        for q in range(k + 1, n_scores):
            curve[k, q] = -eta[i, k] * eta[i, q]
    eta[i, int(y)] -= 1.0


@njit
def _slopes(loss, eta, i, y, k):
    """First and second derivative of row i's loss with respect to score k."""
    if loss == 0:
        return eta[i, 0] - y, 1.0
    p = _probability(loss, eta, i, k)
    hit = 1.0 if (loss == 1 and y > 0.5) or (loss == 2 and int(y) == k) else 0.0
    return p - hit, p * (1.0 - p)


@njit
def _scores(R, base, first, u, eta):
    """The scores of the rows at coordinates `u`, which lie score by score."""
    n, m = R.shape
    for i in range(n):
        for k in range(eta.shape[1]):
            s = base[first + i, k]
            for j in range(m):
                s += R[i, j] * u[k * m + j]
            eta[i, k] = s


@njit
def _objective(loss, R, base, y, weight, first, u, eta):
    """The objective at `u`; the scores there are put into `eta`."""
    _scores(R, base, first, u, eta)
    total = 0.0
    for j in range(u.shape[0]):
        total += 0.5 * u[j] * u[j]
    for i in range(R.shape[0]):
        total += weight[first + i] * _row_loss(loss, eta, i, y[first + i])
    return total


@njit
def _quadratic(loss, R, y, weight, first, u, eta, H, g):
    """Gradient, and the upper triangle of the Hessian, at the scores `eta`, which are spoilt."""
    n, m = R.shape
    n_scores = eta.shape[1]
    curve = np.empty((n_scores, n_scores))
    for a in range(u.shape[0]):
        g[a] = u[a]
        for b in range(u.shape[0]):
            H[a, b] = 0.0
        H[a, a] = 1.0
    for i in range(n):
        w = weight[first + i]
        _derivatives(loss, eta, i, y[first + i], curve)
        for k in range(n_scores):
            for j in range(m):
                g[k * m + j] += w * eta[i, k] * R[i, j]
            for q in range(k, n_scores):
                c = curve[k, q]
                for j in range(m):
                    f = w * c * R[i, j]
                    if f != 0.0:
                        start = j if q == k else 0
                        for h in range(start, m):
                            H[k * m + j, q * m + h] += f * R[i, h]


@njit
def _step(H, g):
    """Put H^-1 g into `g`; `H` is spoilt."""
    p = g.shape[0]
    if p < _LARGE:
        _cholesky(H)
        _solve_transposed(H, g)
        _solve_upper(H, g)
        return
    for a in range(p):
        for b in range(a):
            H[a, b] = H[b, a]
    found = np.linalg.solve(H, g)
    for a in range(p):
        g[a] = found[a]


@njit
def _newton(loss, R, base, y, weight, first, u, trial, eta, H, g):
    """Minimise over `u` by Newton's method, a step halved until the objective falls."""
    p = u.shape[0]
    for a in range(p):
        u[a] = 0.0
    value = _objective(loss, R, base, y, weight, first, u, eta)
    for _ in range(_MOST_STEPS):
        _quadratic(loss, R, y, weight, first, u, eta, H, g)
        _step(H, g)
        share = 1.0
        gain = 0.0
        for _ in range(_MOST_HALVINGS):
            for a in range(p):
                trial[a] = u[a] - share * g[a]
            new = _objective(loss, R, base, y, weight, first, trial, eta)
            if new <= value:
                gain = value - new
                value = new
                for a in range(p):
                    u[a] = trial[a]
                break
            share *= 0.5
        if gain <= _LEAST_GAIN * (1.0 + abs(value)):
            break
    _scores(R, base, first, u, eta)


@njit
def _left_out(loss, R, y, weight, first, eta, H, x, left):
    """Scores of every row without it: a Newton step from the solution, score by score."""
    n, m = R.shape
    for k in range(eta.shape[1]):
        for a in range(m):
            for b in range(m):
                H[a, b] = 0.0
            H[a, a] = 1.0
        for i in range(n):
            _, d2 = _slopes(loss, eta, i, y[first + i], k)
            for a in range(m):
                f = weight[first + i] * d2 * R[i, a]
                for b in range(a, m):
                    H[a, b] += f * R[i, b]
        _cholesky(H)
        for i in range(n):
            for j in range(m):
                x[j] = R[i, j]
            _solve_transposed(H, x)
            reach = 0.0
            for j in range(m):
                reach += x[j] * x[j]
            d1, d2 = _slopes(loss, eta, i, y[first + i], k)
            w = weight[first + i]
            share = max(1.0 - w * d2 * reach, 1e-10)
            left[first + i, k] = eta[i, k] + w * d1 * reach / share


@njit
def _own_coordinates(Z, first, n, R, G):
    """The rows' features in as few coordinates as there are rows, or the features there are.

    Returns whether they are the rows'; then ``Z Z' = G'G`` and R = G'.
    """
    r = Z.shape[1]
    if n >= r:
        for i in range(n):
            for j in range(r):
                R[i, j] = Z[first + i, j]
        return False
    mine = Z[first : first + n]
    np.dot(mine, mine.T, G)
    _cholesky(G)
    for i in range(n):
        for j in range(n):
            R[i, j] = G[j, i] if j <= i else 0.0
    return True


@njit
def fit_heads(start, stop, loss, Z, base, y, weight, offsets, ways, V, left):
    """Coordinates ``V[t, k]`` of the heads of tasks ``start..stop``, and ``left[i, k]``: the scores
    of their rows, each predicted without itself.
    """
    r = Z.shape[1]
    most = base.shape[1]
    for t in range(start, stop):
        first = offsets[t]
        n = offsets[t + 1] - first
        n_scores = 1 if loss < 2 else ways[t]
        for k in range(most):
            for j in range(r):
                V[t, k, j] = 0.0
        if n == 0:
            continue
        m = min(n, r)
        p = n_scores * m
        R, G = np.empty((n, m)), np.empty((m, m))
        u, trial, g = np.empty(p), np.empty(p), np.empty(p)
        eta, H = np.empty((n, n_scores)), np.empty((p, p))
        by_rows = _own_coordinates(Z, first, n, R, G)
        _newton(loss, R, base, y, weight, first, u, trial, eta, H, g)
        small, x = np.empty((m, m)), np.empty(m)
        _left_out(loss, R, y, weight, first, eta, small, x, left)
        for k in range(n_scores):
            for j in range(m):
                x[j] = u[k * m + j]
            if by_rows:
                _solve_upper(G, x)
                for i in range(n):
                    for j in range(r):
                        V[t, k, j] += x[i] * Z[first + i, j]
            else:
                for j in range(r):
                    V[t, k, j] = x[j]


@njit
def _add_inverse(H, X, moment):
    """Add the inverse of the positive definite `H` (upper triangle; spoilt) to `moment`."""
    p = H.shape[0]
    _cholesky(H)
    for i in range(p):  # X = H'^-1, a row after the other
        for j in range(p):
            X[i, j] = 0.0
        X[i, i] = 1.0
        for q in range(i):
            f = H[q, i]
            for j in range(q + 1):
                X[i, j] -= f * X[q, j]
        for j in range(i + 1):
            X[i, j] /= H[i, i]
    for q in range(p):
        for i in range(q + 1):
            f = X[q, i]
            for j in range(q + 1):
                moment[i, j] += f * X[q, j]


@njit
def _subtract_rows(B, small, moment):
    """Subtract ``I - (I + B'B)^-1`` from `moment`, by a matrix as small as B has rows."""
    n, r = B.shape
    np.dot(B, B.T, small)
    for i in range(n):
        small[i, i] += 1.0
    _cholesky(small)
    for i in range(n):  # R'X = B
        for q in range(i):
            f = small[q, i]
            for j in range(r):
                B[i, j] -= f * B[q, j]
        for j in range(r):
            B[i, j] /= small[i, i]
    for q in range(n):
        for i in range(r):
            f = B[q, i]
            for j in range(r):
                moment[i, j] -= f * B[q, j]


@njit
def posterior_moments(start, stop, loss, Z, base, y, weight, offsets, ways, V, moment):
    """Add ``v v'`` and the posterior covariance (Laplace's) of every head's coordinates to
    `moment`; returns how many heads there were.
    """
    r = Z.shape[1]
    count = 0
    for t in range(start, stop):
        first = offsets[t]
        n = offsets[t + 1] - first
        n_scores = 1 if loss < 2 else ways[t]
        eta = np.empty((n, n_scores))
        for i in range(n):
            for k in range(n_scores):
                s = base[first + i, k]
                for j in range(r):
                    s += Z[first + i, j] * V[t, k, j]
                eta[i, k] = s
        m = min(n, r)
        small, B = np.empty((m, m)), np.empty((m, r))
        for k in range(n_scores):
            count += 1
            for i in range(r):
                for j in range(r):
                    moment[i, j] += V[t, k, i] * V[t, k, j]
            if n < r:
                for i in range(r):
                    moment[i, i] += 1.0
                for i in range(n):
                    _, d2 = _slopes(loss, eta, i, y[first + i], k)
                    root = np.sqrt(weight[first + i] * d2)
                    for j in range(r):
                        B[i, j] = root * Z[first + i, j]
                _subtract_rows(B, small, moment)
                continue
            for i in range(r):
                for j in range(r):
                    small[i, j] = 0.0
                small[i, i] = 1.0
            for q in range(n):
                _, d2 = _slopes(loss, eta, q, y[first + q], k)
                for i in range(r):
                    f = weight[first + q] * d2 * Z[first + q, i]
                    for j in range(i, r):
                        small[i, j] += f * Z[first + q, j]
            _add_inverse(small, B, moment)
    return count
