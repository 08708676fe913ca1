"""Slow, readable twins of the compiled kernels and of the candidates' weights.

Moments are computed from rows by their definitions; the arrow system is one dense ridge problem
with explicit columns ``[1, x, task dummies, task * x]``; errors are those of predicted rows.
"""

import itertools

import numpy as np
from scipy.optimize import lsq_linear, minimize
from scipy.special import logsumexp, polygamma
from scipy.stats import norm, rankdata
from scipy.stats import t as student
from sklearn.base import clone

# ---------------------------------------------------------------------------------------------
# kernels/moments.py


def moments(X, y, w=None):
    """Weight, mean and centred scatter of ``[X, y]`` (twin of ``_centre_and_multiply``)."""
    Z = np.column_stack([X, y])
    w = np.ones(len(Z)) if w is None else w
    d = Z.shape[1]
    if w.sum() == 0:
        return 0.0, np.zeros(d), np.zeros((d, d))
    mean = (w[:, None] * Z).sum(0) / w.sum()
    gaps = Z - mean
    return (
        w.sum(),
        mean,
        sum((wi * np.outer(g, g) for wi, g in zip(w, gaps, strict=True)), np.zeros((d, d))),
    )


def block_moments(X, y, w, has_weight, rows, edges):
    """Moments of every group of packed rows (twin of ``block_moments`` and of its CSR form)."""
    X = X.toarray() if hasattr(X, "toarray") else X
    out = []
    for first, last in itertools.pairwise(edges):
        group = slice(first, last)
        out.append(moments(X[rows[group]], y[group], w[group] if has_weight else None))
    return stack_moments(out)


def stack_moments(groups):
    """A list of (weight, mean, scatter) as three arrays."""
    return tuple(np.array([group[i] for group in groups]) for i in range(3))


def merge(a, b):
    """Moments of two groups together, by way of raw moments (twin of ``merge_into``)."""
    return raw_to_centred(*(u + v for u, v in zip(raw(*a), raw(*b), strict=True)))


def raw(weight, mean, scatter):
    """Uncentred sums of one, z and z z'."""
    return weight, weight * mean, scatter + weight * np.outer(mean, mean)


def raw_to_centred(weight, first, second):
    if weight == 0:
        return 0.0, np.zeros_like(first), np.zeros_like(second)
    mean = first / weight
    return weight, mean, second - weight * np.outer(mean, mean)


def merge_blocks(weight, mean, scatter, chosen, tasks):
    """The chosen blocks of every listed task together (twin of ``merge_blocks``)."""
    out = []
    for t in tasks:
        total = (0.0, np.zeros(mean.shape[2]), np.zeros(scatter.shape[2:]))
        for b in np.flatnonzero(chosen):
            total = merge(total, (weight[t, b], mean[t, b], scatter[t, b]))
        out.append(total)
    return stack_moments(out)


def error_grams(X, y, codes, slopes, intercepts, w):
    """Inner products of the models' errors, task by task (twin of ``error_grams``)."""
    out = np.zeros((len(slopes), slopes.shape[1], slopes.shape[1]))
    for x, target, t, weight in zip(X, y, codes, w, strict=True):
        error = target - slopes[t] @ x - intercepts[t]
        out[t] += weight * np.outer(error, error)
    return out


# ---------------------------------------------------------------------------------------------
# kernels/arrow.py


def factor(weight, mean, scatter, kappa):
    """U, u, d, x'u, x'd of every task and the sums S, r, by the formulas (twin of ``factor``)."""
    p = mean.shape[1] - 1
    U, u, d, xu, xd = [], [], [], [], []
    S, r = np.zeros((p, p)), np.zeros(p)
    for n, z, C in zip(weight, mean, scatter, strict=True):
        inverse = np.linalg.inv(np.eye(p) + kappa * C[:p, :p])
        x = z[:p] if n > 0 else np.zeros(p)
        c = C[:p, p] if n > 0 else np.zeros(p)
        U.append(inverse)
        u.append(inverse @ x)
        d.append(inverse @ c)
        xu.append(x @ u[-1])
        xd.append(x @ d[-1])
        if n > 0:  # U C = (I - U) / kappa
            S += inverse @ C[:p, :p]
            r += d[-1]
    return tuple(map(np.array, (U, u, d, xu, xd))), S, r


def pull(n, alpha):
    """What is left of a task's weight in the shared intercept (twin of ``pull``)."""
    if n <= 0:
        return 0.0
    if alpha == 0:
        return 0.0
    return 1.0 / (1.0 / n + 1.0 / alpha)


def shared_gram(weight, mean, scatter, kappa, alpha, active):
    """Schur complement on the shared (a, m), from each task's own block elimination.

    Task by task, the Gram matrix of ``[1, x, 1 (own), x (own)]`` plus penalties is written out
    and the own columns are eliminated.
    """
    p = mean.shape[1] - 1
    G, g = np.zeros((1 + p, 1 + p)), np.zeros(1 + p)
    for n, z, C, used in zip(weight, mean, scatter, active, strict=True):
        if n <= 0 or not used:
            continue
        shared = np.empty((1 + p, 1 + p))
        shared[0, 0], shared[0, 1:], shared[1:, 0] = n, n * z[:p], n * z[:p]
        shared[1:, 1:] = C[:p, :p] + n * np.outer(z[:p], z[:p])
        target = np.r_[n * z[p], C[:p, p] + n * z[p] * z[:p]]
        own = [i for i in range(1 + p) if (np.isfinite(alpha) if i == 0 else kappa > 0)]
        penalty = np.diag(np.array([alpha if i == 0 else 1.0 / kappa for i in own], dtype=float))
        cross = shared[:, own]
        middle = np.linalg.pinv(shared[np.ix_(own, own)] + penalty, rcond=1e-13, hermitian=True)
        G += shared - cross @ middle @ cross.T
        g += target - cross @ middle @ target[own]
    return G, g


def dense_design(X, codes, n_tasks, slope, intercept, varies=None, centres=None):
    """Columns ``[1, x, task dummies, task * x]``; infinite strengths have no columns.

    Only the columns of X that `varies` is true for have columns of the tasks' own, about the tasks'
    `centres`. Returns the
    design and the penalty of each column but the shared ones'.
    """
    dummies = (codes[:, None] == np.arange(n_tasks)).astype(float)
    parts, penalties = [np.ones((len(X), 1)), X], []
    if np.isfinite(intercept):
        parts.append(dummies)
        penalties.append(np.full(n_tasks, float(intercept)))
    if np.isfinite(slope):
        own = X if centres is None else X - centres[codes]
        own = own if varies is None else own[:, varies]
        parts.extend(own * dummies[:, [t]] for t in range(n_tasks))
        penalties.append(np.full(n_tasks * own.shape[1], float(slope)))
    return np.hstack(parts), np.concatenate([*penalties, np.empty(0)])


def ridge(A, y, w, penalty):
    """Minimise ``sum w (y - A b)^2 + sum penalty b^2`` by least squares on stacked rows."""
    root = np.sqrt(np.ones(len(A)) if w is None else w)
    rows = np.vstack([A * root[:, None], np.diag(np.sqrt(penalty))])
    target = np.r_[y * root, np.zeros(len(penalty))]
    return np.linalg.lstsq(rows, target, rcond=1e-13)[0]


def dense_ridge(
    X, y, codes, n_tasks, strengths, w=None, penalty=None, varies=None, centres=None, anchors=None
):
    """Partial pooling as one dense ridge problem.

    Parameters
    ----------
    strengths : (slope strength, intercept strength, ridge on the shared slopes)
    penalty : multipliers of the ridge, one a feature.
    varies : which features' slopes differ by task, as a mask.
    centres, anchors : (n_tasks, p) with ``x - centres + anchors`` for the shared slopes.

    Returns
    -------
    theta : (1 + p,) the shared intercept and slopes
    coef, intercept : of every task
    """
    slope, intercept, shared = strengths
    p = X.shape[1]
    if centres is None:
        centres = anchors = np.zeros((n_tasks, p))
    live = X + (anchors - centres)[codes] if np.isfinite(shared) else np.zeros_like(X)
    A, own = dense_design(X, codes, n_tasks, slope, intercept, varies, centres)
    A[:, 1 : 1 + p] = live
    common = np.zeros(p) if np.isinf(shared) else shared * np.ones(p)
    if penalty is not None:
        common = common * penalty
    b = ridge(A, y, w, np.r_[0.0, common, own])
    theta = b[: 1 + p].copy()
    if np.isinf(shared):
        theta[1:] = 0.0
    coef, a = np.tile(theta[1:], (n_tasks, 1)), theta[0] + (anchors - centres) @ theta[1:]
    rest = b[1 + p :]
    if np.isfinite(intercept):
        a = a + rest[:n_tasks]
        rest = rest[n_tasks:]
    if np.isfinite(slope):
        coef[:, slice(None) if varies is None else varies] += rest.reshape(n_tasks, -1)
        a = a - (centres * (coef - theta[1:])).sum(1)
    return theta, coef, a


def squared_errors(X, y, codes, coef, intercept, w=None):
    """Sum of squared errors of every task, row by row (twin of ``task_errors``)."""
    w = np.ones(len(y)) if w is None else w
    sse = np.zeros(len(coef))
    for x, target, t, weight in zip(X, y, codes, w, strict=True):
        sse[t] += weight * (target - x @ coef[t] - intercept[t]) ** 2
    return sse


# ---------------------------------------------------------------------------------------------
# sharing/_strengths.py


def noise_level(sse, rows):
    """Error a row in the median row's task, of the candidate where it is least."""
    levels = []
    for c in range(sse.shape[1]):
        seen = 0.0
        for error, n in sorted((sse[t, c] / n, n) for t, n in enumerate(rows) if n > 0):
            seen += n
            if seen >= (0.5 - 1e-9) * sum(rows):
                levels.append(error)
                break
    return min(levels)


def log_scores(sse, rows, noise_rows):
    """t-like log-likelihood of each candidate in each task, less the task's best."""
    n_tasks, n_candidates = sse.shape
    noise = max(noise_level(sse, rows), 1e-300)
    out = np.empty(sse.shape)
    for t in range(n_tasks):
        for c in range(n_candidates):
            spread = (sse[t, c] + noise_rows * noise) / (rows[t] + noise_rows)
            out[t, c] = -0.5 * (rows[t] + noise_rows) * np.log(spread)
        out[t] -= max(out[t])
    return out


def softmax(x):
    e = np.exp(x - max(x))
    return e / sum(e)


def unseen_weights(scores, rows, others, others_rows, log_prior=0.0):
    """Return weights for an unseen task, from the tempered scores of all tasks."""
    return softmax(min(others, others_rows / max(sum(rows), 1e-300)) * sum(scores) + log_prior)


def task_weights(scores, rows, constants, n_steps, log_prior=0.0):
    """Return weights of each task: a prior from tasks of similar size, and its own scores.

    `constants` has ``others, others_rows, own, size_width, stray, prior_tasks``.
    """
    c = constants
    n_tasks, n_candidates = scores.shape
    unseen = unseen_weights(scores, rows, c["others"], c["others_rows"], log_prior)
    out = np.tile(unseen, (n_tasks, 1))
    judged = [t for t in range(n_tasks) if rows[t] > 0]
    log_size = {t: np.rint(4 * np.log(rows[t])) / 4 for t in judged}  # binned to quarters
    near = {
        (t, s): np.exp(-0.5 * ((log_size[t] - log_size[s]) / c["size_width"]) ** 2)
        for t in judged
        for s in judged
    }
    base = {}
    for t in judged:
        near_rows = sum(near[t, s] * rows[s] for s in judged)
        near_scores = sum(near[t, s] * scores[s] for s in judged)
        temper = min(c["others"], c["others_rows"] / near_rows)
        weight = softmax(temper * near_scores + log_prior)
        base[t] = (1 - c["stray"]) * weight + c["stray"] / n_candidates
    prior = dict(base)
    for _ in range(n_steps):
        share = {t: normalised(np.exp(c["own"] * scores[t]) * prior[t]) for t in judged}
        for t in judged:
            users = sum(near[t, s] * share[s] for s in judged)
            n_near = sum(near[t, s] for s in judged)
            prior[t] = (users + c["prior_tasks"] * base[t]) / (n_near + c["prior_tasks"])
    for t in judged:
        out[t] = normalised(np.exp(c["own"] * scores[t]) * prior[t])
    return out


def normalised(x):
    return x / sum(x)


def left_out_weights(sse):
    """Return weights for an unseen task: every left-out task is one observation."""
    total = np.maximum(sum(sse), 1e-300)
    return softmax(-0.5 * len(sse) * np.log(total / min(total)))


def working(name, parameters, y, weight, score, offset, floor):
    """Curvature, downhill slope and loss of every row (twin of ``working``)."""
    f, (_, a, b, width) = score + offset, parameters
    r = y - f
    if name == "log_loss":
        p = 1.0 / (1.0 + np.exp(-f))
        loss, slope = -np.log(np.where(y == 1, p, 1.0 - p)), y - p
        curvature = np.maximum(p * (1.0 - p), floor)
    elif name == "poisson":
        loss, slope, curvature = np.exp(f) - y * f, y - np.exp(f), np.maximum(np.exp(f), floor)
    elif name == "gamma":
        ratio = y / np.exp(f)
        loss, slope, curvature = ratio + f, ratio - 1.0, np.maximum(ratio, floor)
    elif name == "huber":
        near = np.abs(r) <= a
        loss = np.where(near, r**2 / 2, a * np.abs(r) - a**2 / 2)
        slope, curvature = np.where(near, r, a * np.sign(r)), np.where(near, 1.0, a / np.abs(r))
    else:  # a slope a for positive residuals and b for negative ones, smoothed about zero
        near = np.abs(r) <= width
        absolute = np.where(near, (r**2 / (width or 1.0) + width) / 2, np.abs(r))
        sign = np.where(near, r / (width or 1.0), np.sign(r))
        loss = (a + b) / 2 * absolute + (a - b) / 2 * r
        slope = (a + b) / 2 * sign + (a - b) / 2
        curvature = (a + b) / 2 / np.maximum(np.abs(r), width)
    return weight * curvature, weight * slope, weight * loss


def working_moments(loss, X, y, w, score):
    """Working moments of rows at their scores: the parabola that touches every row's loss there."""
    if loss == "log_loss":
        mean = 1.0 / (1.0 + np.exp(-score))
        value, slope, curvature = np.log1p(np.exp(score)) - y * score, mean - y, mean * (1 - mean)
    elif loss == "poisson":
        mean = np.exp(score)
        value, slope, curvature = mean - y * score, mean - y, mean
    else:
        ratio = y / np.exp(score)
        value, slope, curvature = ratio + score, 1.0 - ratio, ratio
    curvature = np.maximum(curvature, 1e-6)
    D, v = np.column_stack([X, score - slope / curvature]), w * curvature
    mean = v @ D / v.sum()
    scatter = (D - mean).T @ ((D - mean) * v[:, None])
    return v.sum(), mean, scatter, w @ value, w @ (slope**2 / curvature)


def weighted_rows(X, rows, offsets, factor):
    """Sums of weighted rows over each task (twin of ``weighted_rows``)."""
    sums = np.zeros((len(offsets) - 1, X.shape[1]))
    for t in range(len(sums)):
        for i in range(offsets[t], offsets[t + 1]):
            sums[t] += factor[i] * X[rows[i]]
    return sums


def dense_logistic(X, y, codes, n_classes, strengths, w=None, varies=None, factors=None):
    """Probabilities of partial pooling with the logistic loss, by a general-purpose optimiser.

    On features standardised over the table; every class has scores of its own, but with two.
    `varies` says which features' slopes differ by task, as a mask; `factors` are weights of the
    tasks, which features are not standardised with.
    """
    w = np.ones(len(y)) if w is None else w
    mean = np.average(X, axis=0, weights=w)
    Z = (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=w))
    w = w if factors is None else w * factors[codes]
    slope, pull, ridge = strengths
    n_tasks, p = codes.max() + 1, X.shape[1]
    n_scores = 1 if n_classes == 2 else n_classes
    shapes = [(n_scores,), (n_scores, p), (n_scores, n_tasks), (n_scores, n_tasks, p)]
    sizes = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    spans = list(itertools.pairwise(sizes))
    frozen = [False, np.isinf(ridge), np.isinf(pull), np.isinf(slope)]
    target = np.eye(n_classes)[y].T if n_scores > 1 else (y == 1)[None].astype(float)

    def scores(x):
        a, m, own_a, v = (x[i:j].reshape(s) for (i, j), s in zip(spans, shapes, strict=True))
        eta = a[:, None] + m @ Z.T + own_a[:, codes] + np.einsum("ij,kij->ki", Z, v[:, codes])
        return eta, (a, m, own_a, v)

    def objective(x):
        eta, (_, m, own_a, v) = scores(x)
        if n_scores == 1:
            loss = np.logaddexp(0.0, eta[0]) - target[0] * eta[0]
            miss = w * (1.0 / (1.0 + np.exp(-eta)) - target)
        else:
            loss = logsumexp(eta, axis=0) - (target * eta).sum(0)
            miss = w * (np.exp(eta - logsumexp(eta, axis=0)) - target)
        by_task = (codes == np.arange(n_tasks)[:, None]).astype(float)
        value, gradients = w @ loss, [miss.sum(1), miss @ Z, miss @ by_task.T]
        gradients.append(np.einsum("ki,ti,ij->ktj", miss, by_task, Z))
        for i, (strength, part) in enumerate(((ridge, m), (pull, own_a), (slope, v)), start=1):
            if not frozen[i]:
                value += 0.5 * strength * (part**2).sum()
                gradients[i] = gradients[i] + strength * part
        if varies is not None:
            gradients[3] = gradients[3] * varies
        flat = [np.zeros(g.size) if frozen[i] else g.ravel() for i, g in enumerate(gradients)]
        return value, np.concatenate(flat)

    options = {"maxiter": 50_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(objective, np.zeros(sizes[-1]), jac=True, method="L-BFGS-B", options=options)
    eta, _ = scores(found.x)
    if n_scores == 1:
        return np.column_stack([1.0 / (1.0 + np.exp(eta[0])), 1.0 / (1.0 + np.exp(-eta[0]))])
    return np.exp(eta - logsumexp(eta, axis=0)).T


def dense_signed(X, y, codes, n_tasks, strengths, positive, w=None, penalty=None, varies=None):
    """`dense_ridge` with slopes of some features at least zero, as bounded least squares.

    Over the shared (a, m), the tasks' a_t, and the tasks' slopes themselves where they differ.
    """
    slope, pull, ridge = strengths
    p, own_a = X.shape[1], np.isfinite(pull)
    varies = np.ones(p, dtype=bool) if varies is None else varies
    own = np.flatnonzero(varies) if np.isfinite(slope) else np.empty(0, dtype=int)
    q = len(own)
    n_columns = 1 + p + n_tasks * own_a + n_tasks * q
    at_a, at_b = 1 + p, 1 + p + n_tasks * own_a
    w = np.ones(len(y)) if w is None else w
    blocks, target = [], []
    rows = np.zeros((len(y), n_columns))
    rows[:, 0] = 1.0
    rows[:, 1 : 1 + p] = X
    rows[:, 1 + own] = 0.0
    for i, t in enumerate(codes):
        if own_a:
            rows[i, at_a + t] = 1.0
        rows[i, at_b + t * q : at_b + (t + 1) * q] = X[i, own]
    blocks.append(rows * np.sqrt(w)[:, None])
    target.append(y * np.sqrt(w))
    if q:
        rows = np.zeros((n_tasks * q, n_columns))
        rows[:, at_b:] = np.eye(n_tasks * q)
        rows[np.arange(n_tasks * q), 1 + np.tile(own, n_tasks)] = -1.0
        blocks.append(np.sqrt(slope) * rows)
    if own_a:
        blocks.append(np.sqrt(pull) * np.eye(n_columns)[at_a:at_b])
    shared = np.ones(p) if penalty is None else penalty
    if np.isfinite(ridge):
        blocks.append(np.sqrt(ridge * shared)[:, None] * np.eye(n_columns)[1 : 1 + p])
    A = np.vstack(blocks)
    target = np.r_[np.concatenate(target), np.zeros(len(A) - len(y))]
    lower = np.full(n_columns, -np.inf)
    lower[1 : 1 + p][positive] = 0.0
    lower[at_b:] = np.where(np.tile(positive[own], n_tasks), 0.0, -np.inf)
    live = np.ones(n_columns, dtype=bool)
    if np.isinf(ridge):
        live[1 : 1 + p] = False
    found = np.zeros(n_columns)
    found[live] = lsq_linear(
        A[:, live], target, (lower[live], np.inf), method="bvls", tol=1e-15, max_iter=10_000
    ).x
    theta, coef = found[: 1 + p], np.tile(found[1 : 1 + p], (n_tasks, 1))
    coef[:, own] = found[at_b:].reshape(n_tasks, q)
    return theta, coef, theta[0] + (found[at_a:at_b] if own_a else np.zeros(n_tasks))


# ------------------------------------------------------------------------------ linear heads


def head_loss(loss, scores, y, w):
    """Summed loss of rows with ``scores (n, k)`` (twin of the losses of ``kernels.heads``)."""
    if loss == 0:
        return 0.5 * (w * (scores[:, 0] - y) ** 2).sum()
    if loss == 1:
        return (w * np.logaddexp(0.0, np.where(y > 0.5, -1.0, 1.0) * scores[:, 0])).sum()
    log = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return -(w * log[np.arange(len(y)), y.astype(int)]).sum()


def head_gradient(loss, scores, y, w):
    """Derivatives of the rows' losses by their scores, and the second by each alone."""
    if loss == 0:
        return w[:, None] * (scores - y[:, None]), w[:, None] * np.ones_like(scores)
    if loss == 1:
        p = 1.0 / (1.0 + np.exp(-scores))
        return w[:, None] * (p - y[:, None]), w[:, None] * p * (1.0 - p)
    p = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    hit = y[:, None] == np.arange(scores.shape[1])
    return w[:, None] * (p - hit), w[:, None] * p * (1.0 - p)


def fit_head(loss, Z, base, y, w):
    """Coordinates ``(k, r)`` of one task's head, by a general optimiser."""
    from scipy.optimize import minimize

    k, r = base.shape[1], Z.shape[1]

    def objective(v):
        v = v.reshape(k, r)
        scores = base + Z @ v.T
        gradient = head_gradient(loss, scores, y, w)[0].T @ Z + v
        return head_loss(loss, scores, y, w) + 0.5 * (v**2).sum(), gradient.ravel()

    found = minimize(objective, np.zeros(k * r), jac=True, options={"gtol": 1e-9})
    return found.x.reshape(k, r)


def head_left_out(loss, Z, base, y, w, v):
    """Scores of rows without them: one Newton step in each score from the head `v`."""
    scores = base + Z @ v.T
    first, second = head_gradient(loss, scores, y, w)
    out = np.empty_like(scores)
    for k in range(scores.shape[1]):
        inverse = np.linalg.inv(np.eye(Z.shape[1]) + (Z.T * second[:, k]) @ Z)
        reach = np.einsum("ir,rs,is->i", Z, inverse, Z)
        out[:, k] = scores[:, k] + first[:, k] * reach / (1.0 - second[:, k] * reach)
    return out


def head_moment(loss, Z, base, y, w, v):
    """Sum over scores of v v' and of Laplace's posterior covariance."""
    second = head_gradient(loss, base + Z @ v.T, y, w)[1]
    out = v.T @ v
    for k in range(len(v)):
        out = out + np.linalg.inv(np.eye(Z.shape[1]) + (Z.T * second[:, k]) @ Z)
    return out


# ---------------------------------------------------------------------------------------------
# kernels/mlp.py


def mlp_layers(theta, sizes):
    """The (W, b) of every layer."""
    layers, start = [], 0
    for q, m in itertools.pairwise(sizes):
        P = theta[start : start + (q + 1) * m].reshape(q + 1, m)
        layers.append((P[:-1], P[-1]))
        start += (q + 1) * m
    return layers


def mlp_scores(theta, sizes, tanh, X):
    """Units of all layers, of which the last are scores; theta may be complex."""
    layers, units = mlp_layers(theta, sizes), [X]
    for i, (W, b) in enumerate(layers):
        Z = units[-1] @ W + b
        if i < len(layers) - 1:
            Z = np.tanh(Z) if tanh else Z * (Z.real > 0)
        units.append(Z)
    return units


def mlp_loss(theta, sizes, tanh, classes, rows):
    """A task's loss and, by backpropagation, its gradient; rows are (X, target, weight, ways)."""
    X, target, weight, ways = rows
    units = mlp_scores(theta, sizes, tanh, X)
    F = units[-1]
    if classes:
        e = np.exp(F - F.real.max(1, keepdims=True)) * (np.arange(F.shape[1]) < ways)
        p = e / e.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            loss = -(weight * np.log((p * target).sum(1))).sum()
        D = weight[:, None] * (p - target)
    else:
        loss = (weight * ((F - target) ** 2).sum(1)).sum()
        D = 2 * weight[:, None] * (F - target)
    pieces = []
    for i, (W, _) in reversed(list(enumerate(mlp_layers(theta, sizes)))):
        pieces = [(units[i].T @ D).ravel(), D.sum(0), *pieces]
        if i:
            D = D @ W.T * (1 - units[i] ** 2 if tanh else units[i].real > 0)
    return loss, np.concatenate(pieces)


def mlp_query_loss(theta, rates, sizes, tanh, classes, support, query, n_steps):
    """The query loss of a task after inner steps, and its gradient by the last parameters."""
    for _ in range(n_steps):
        theta = theta - rates * mlp_loss(theta, sizes, tanh, classes, support)[1]
    return mlp_loss(theta, sizes, tanh, classes, query)


def complex_step(function, x):
    """Gradient of a real function at `x`, exact to rounding."""
    out = np.empty(len(x))
    for j in range(len(x)):
        moved = x.astype(complex)
        moved[j] += 1e-30j
        out[j] = function(moved).imag / 1e-30
    return out


# ---------------------------------------------------------------------------------------------
# kernels/shared_layers.py, solvers/shared_heads.py


def shared_layers_loss(x, sizes, tanh, X, labels, tasks, decay, factor):
    """Penalised loss of a batch of rows X with labels (row, task, y, weight); x may be complex.

    `tasks` has the code of the loss, 1 / sigma^2 and alpha_t of every task.
    """
    width = sizes[-1] + 1
    mean, *own = x[-width * (len(tasks) + 1) :].reshape(-1, width)
    theta = x[: -width * (len(tasks) + 1)]
    Z = np.column_stack([embedded(theta, sizes, tanh, False, X), np.ones(len(X))])
    total = decay / 2 * sum((W**2).sum() for W, _ in mlp_layers(theta, sizes))
    total += decay / 2 * (mean[:-1] ** 2).sum()
    for row, t, y, weight in labels:
        loss, precision, pull = tasks[t]
        f = Z[row] @ (mean + own[t])
        value = np.log(1 + np.exp(-f if y > 0.5 else f)) if loss else (f - y) ** 2 / 2
        total += factor / len(X) * weight * (precision * value + pull / 2 * (own[t] ** 2).sum())
    return total


def ridge_deviation(H, y, w, mean, covariance, noise):
    """Deviation of a task's head from the prior mean, its posterior covariance, error, weight."""
    A = np.column_stack([H, np.ones(len(H))])
    inverse = np.linalg.inv(A.T @ (w[:, None] * A) / noise + np.linalg.inv(covariance))
    own = inverse @ A.T @ (w * (y - A @ mean)) / noise
    leverage = [wi / noise * a @ inverse @ a for a, wi in zip(A, w, strict=True)]
    error = w @ (y - A @ (mean + own)) ** 2
    return own, inverse, error, w.sum() * (1 - np.mean(leverage))


# ---------------------------------------------------------------------------------------------
# learners/_heads.py, learners/_embedding.py; parameters may be complex


def embedded(theta, sizes, tanh, linear, X):
    """Rows after all layers, the last without activation if `linear`."""
    layers = mlp_layers(theta, sizes)
    for i, (W, b) in enumerate(layers):
        X = X @ W + b
        if not linear or i < len(layers) - 1:
            X = np.tanh(X) if tanh else X * (X.real > 0)
    return X


def complex_softmax(scores):
    e = np.exp(scores - scores.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def ridge_head(x, Z, target, weight, shared):
    """Slopes and, last, intercepts of one task's scores; `target` is (n_rows, n_outputs)."""
    n_outputs, width = target.shape[1], Z.shape[1]
    strength, constant, scale = np.exp(x[:3])
    common = x[3:].reshape(width + 1, n_outputs) if shared else np.zeros((width + 1, n_outputs))
    expected = Z @ common[:-1] + common[-1]
    if n_outputs > 1:
        expected = complex_softmax(expected)
    A = np.column_stack([Z, np.full(len(Z), constant)])
    gram = (A.T * weight) @ A + (strength + 1e-8) * np.eye(width + 1)
    V = np.linalg.solve(gram, (A.T * weight) @ (target - expected))
    V[-1] *= constant
    return common + (V if n_outputs == 1 else scale * V)


def prototype_head(x, Z, target, weight, shared):
    """The same for the nearest of the classes' means."""
    (scale, behind), n_classes = np.exp(x[:2]), target.shape[1]
    counts = (weight[:, None] * target).sum(0)
    if shared:
        share_rows, shares = np.exp(x[2]), complex_softmax(x[3 : 3 + n_classes])
        centres = x[3 + n_classes :].reshape(n_classes, -1)
        log_shares = np.log((counts + share_rows * shares) / (counts.sum() + share_rows))
    else:
        centres = [weight @ Z / weight.sum()] * n_classes
        log_shares = np.zeros(n_classes)
    columns = []
    for c in range(n_classes):
        mean = ((weight * target[:, c]) @ Z + behind * centres[c]) / (counts[c] + behind)
        columns.append(np.append(2 * scale * mean, log_shares[c] - scale * (mean**2).sum()))
    return np.column_stack(columns)


def head_query_loss(head, Z, target, weight):
    """Weighted squared error, or cross-entropy, of one task's query rows."""
    scores = Z @ head[:-1] + head[-1]
    if target.shape[1] == 1:
        return (weight * ((scores - target) ** 2).sum(1)).sum()
    return -(weight * np.log((complex_softmax(scores) * target).sum(1))).sum()


# ---------------------------------------------------------------------------------------------
# adaptation/boosting/: the papers' algorithms, word by word, with scikit-learn's estimators


def adjusted_errors(h, X, y):
    """Deviations over the largest; none where all are rounding (AdaBoost.R2, steps 2 and 3)."""
    deviations = abs(y - h.predict(X))
    if max(deviations) <= 1e-12 * max(abs(y)):
        return np.zeros(len(y))
    return deviations / max(deviations)


def weighted_median(values, votes):
    """The first of the sorted values at which half of the votes are reached."""
    pairs, reached = sorted(zip(values, votes, strict=True), key=lambda pair: pair[0]), 0.0
    for value, vote in pairs:
        reached += vote
        if reached >= 0.5 * sum(votes) * (1 - 1e-12):
            return value


def tradaboost(estimator, source, target, weights, n_rounds, classes=None):
    """TrAdaBoost (with classes) or TrAdaBoost.R2: learners, votes, and all rounds told.

    `weights` are those of source and target rows, whose sum is kept.
    """
    X, y = np.vstack([source[0], target[0]]), np.concatenate([source[1], target[1]])
    n, total = len(source[1]), sum(weights)
    w = np.array(weights, dtype=float)
    beta = 1 / (1 + np.sqrt(2 * np.log(max(sum(w[:n]), 1)) / n_rounds))
    factor, most = (1, 0.5) if classes is None else (len(classes) - 1, 1 - 1 / len(classes))
    learners, votes, told, used = [], [], [], None
    for t in range(n_rounds):
        h = clone(estimator).fit(X, y, sample_weight=w)
        e = adjusted_errors(h, X, y) if classes is None else (h.predict(X) != y).astype(float)
        epsilon = sum(w[n:] * e[n:]) / sum(w[n:])
        told.append((epsilon, sum(w[n:]) / total))
        if epsilon >= most:
            if t == 0:
                learners, votes, used = [h], [1.0], w
            break
        epsilon = max(epsilon, np.finfo(float).eps)
        beta_t = epsilon / ((1 - epsilon) * factor)
        learners, votes, used = [*learners, h], [*votes, np.log(1 / beta_t)], w
        source_part = [w[i] * beta ** e[i] for i in range(n)]
        target_part = [w[i] * beta_t ** -e[i] for i in range(n, len(w))]
        w = np.array(source_part + target_part)
        w = w / sum(w) * total
    first = int(np.ceil(len(learners) / 2)) - 1
    return learners[first:], votes[first:], told, used


def adaboost_r2_of_target(estimator, source, target, weights, n_rounds):
    """AdaBoost.R2 in which source rows keep their weights: learners and votes."""
    X, y = np.vstack([source[0], target[0]]), np.concatenate([source[1], target[1]])
    there = weights > 0
    X, y, w, n = X[there], y[there], weights[there], int(there[: len(source[1])].sum())
    learners, votes = [], []
    for t in range(n_rounds):
        h = clone(estimator).fit(X, y, sample_weight=w)
        e = adjusted_errors(h, X, y)
        epsilon = sum(w * e) / sum(w)
        if epsilon >= 0.5:
            return ([h], [1.0]) if t == 0 else (learners, votes)
        epsilon = max(epsilon, np.finfo(float).eps)
        beta = epsilon / (1 - epsilon)
        learners, votes = [*learners, h], [*votes, np.log(1 / beta)]
        changed = w[n:] * beta ** (1 - e[n:])
        w = np.concatenate([w[:n], changed * sum(w[n:]) / sum(changed)])
    return learners, votes


def two_stage_tradaboost(estimator, source, target, weights, n_steps, n_rounds, splits):
    """Learners and votes of the best step, weights of all steps, and the steps' errors."""
    X, y = np.vstack([source[0], target[0]]), np.concatenate([source[1], target[1]])
    n, total = len(source[1]), sum(weights)
    w = np.array(weights, dtype=float)
    m_share = sum(w[n:]) / total
    steps = [w]
    for t in range(1, n_steps):
        share = m_share + t / (n_steps - 1) * (1 - m_share)
        h = clone(estimator).fit(X, y, sample_weight=w)
        e = adjusted_errors(h, X, y)[:n]
        low, high = 0.0, 1.0
        for _ in range(1100):  # down to the least numbers there are
            beta = (low + high) / 2
            kept = sum(w[:n] * beta**e)
            if kept / (kept + sum(w[n:])) > 1 - share:
                high = beta
            else:
                low = beta
        kept = np.zeros(n) if t == n_steps - 1 else w[:n] * high**e
        w = np.concatenate([kept, w[n:]])
        w = w / sum(w) * total
        steps.append(w)
    errors = []
    for w in steps:
        missed, counts = [], []
        for train, test in splits:
            inner = np.concatenate([w[:n], np.zeros(len(w) - n)])
            inner[n + train] = w[n + train] * sum(w[n:]) / sum(w[n + train])
            learners, votes = adaboost_r2_of_target(estimator, source, target, inner, n_rounds)
            for i in test:
                values = [h.predict(target[0][[i]])[0] for h in learners]
                missed.append((target[1][i] - weighted_median(values, votes)) ** 2)
                counts.append(weights[n + i])
        errors.append(np.average(missed, weights=counts))
    best = steps[int(np.argmin(errors))]
    return *adaboost_r2_of_target(estimator, source, target, best, n_rounds), steps, errors


# ---------------------------------------------------------------------------------------------
# kernels/lasso.py


def lasso(gram, moment, strength, n_sweeps=5000):
    """Coordinate descent, one coefficient after the other (twin of one strength's fit)."""
    coef = np.zeros(len(moment))
    for _ in range(n_sweeps):
        for j in np.flatnonzero(np.diag(gram) > 0):
            z = moment[j] - gram[j] @ coef + gram[j, j] * coef[j]
            coef[j] = np.sign(z) * max(abs(z) - strength, 0.0) / gram[j, j]
    return coef


def lasso_gap(gram, moment, square, strength, coef):
    """Primal less dual objective, the dual point being the residuals, scaled into its bounds."""
    rest = square - 2 * moment @ coef + coef @ gram @ coef
    primal = rest / 2 + strength * np.abs(coef).sum()
    most = np.abs(moment - gram @ coef).max()
    scale = min(1.0, strength / most)
    return primal - (scale * (square - moment @ coef) - scale**2 * rest / 2)


# -------------------------------------------------------------------------- density ratios


def coordinate_sweeps(K, k, c, upper, n_sweeps):
    """``min c'Kc/2 - k'c`` in a box, one coordinate at a time, each to its minimum."""
    c = c.copy()
    for _ in range(n_sweeps):
        for i in range(len(c)):
            others = K[i] @ c - K[i, i] * c[i]
            c[i] = np.clip((k[i] - others) / K[i, i], 0.0, upper[i])
    return c


def pivoted_cholesky(K, n_columns):
    """Columns of L with ``LL' ~ K``, the largest remaining diagonal entry first."""
    left, columns = K.copy(), []
    for _ in range(n_columns):
        i = np.argmax(np.diag(left))
        columns.append(left[:, i] / np.sqrt(left[i, i]))
        left = left - np.outer(columns[-1], columns[-1])
    return np.column_stack(columns)


def gaussian_kernel(A, B, sigma):
    return np.exp(-((A[:, None] - B[None]) ** 2).sum(axis=2) / (2.0 * sigma**2))


def dense_quadratic(K, k, upper, low, high):
    """``min c'Kc/2 - k'c`` in a box with a bounded sum, by a general-purpose optimiser."""
    from scipy.optimize import Bounds, LinearConstraint, minimize

    start = upper * ((low + min(high, upper.sum())) / 2 / upper.sum())
    scale = max(np.abs(k).mean(), 1e-300) * len(k)
    found = minimize(
        lambda c: (0.5 * c @ K @ c - k @ c) / scale,
        start,
        jac=lambda c: (K @ c - k) / scale,
        bounds=Bounds(0.0, upper),
        constraints=[LinearConstraint(np.ones((1, len(k))), low, high)],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return found.x, found.fun * scale


def mixture_by_em(A, v, n_steps):
    """Proportions of a mixture of known parts: expectation maximisation."""
    p = np.full(A.shape[1], 1.0 / A.shape[1])
    for _ in range(n_steps):
        p = p * (A.T @ (v / v.sum() / (A @ p)))
    return p


def relative_ratio(S, T, centers, sigma, strength, alpha):
    """RuLSIF as the paper writes it."""
    at_source, at_target = (gaussian_kernel(rows, centers, sigma) for rows in (S, T))
    H = sum(alpha / len(T) * np.outer(row, row) for row in at_target)
    H = H + sum((1.0 - alpha) / len(S) * np.outer(row, row) for row in at_source)
    theta = np.linalg.solve(H + strength * np.eye(len(centers)), at_target.mean(axis=0))
    return np.maximum(at_source @ theta, 0.0)


# ---------------------------------------------------------------------------------------------
# tasks/evidence.py


def trust(table, classes, fewest_rows, least_share, one_row, long_tails, evidence):
    """Factors for columns that few rows make up, for whose slope no label speaks."""
    X, y, w = table.X[table.rows], table.y, table.weights()
    total, out = w.sum(), []
    labels = [(y == c).astype(float) for c in np.unique(y)] if classes else [y]
    for z in X.T:
        gap = z - np.average(z, weights=w)
        tail = np.average(gap**4, weights=w) / np.average(gap**2, weights=w) ** 2
        none = (tail > total / fewest_rows and tail > 1 / least_share) or tail > total / one_row
        proven = False
        for label in labels:
            forms = [rankdata(z)] if classes else [z, rankdata(z)]
            told = max(_told(form, label, table.codes, w) for form in forms)
            if classes:
                off = w[z != np.median(z)].sum()
                told = min(told, -off * np.log(np.average(label, weights=w)))
            proven |= told > evidence
        pulled = 0.0 if none else min(1.0, np.sqrt(long_tails / tail))
        out.append(1.0 if proven else pulled)
    return np.array(out)


def _told(z, y, codes, w):
    """Gain in log-likelihood of a regression with an intercept a task, or one on their means."""
    tasks = np.unique(codes)
    means = [[np.average(v[codes == t], weights=w[codes == t]) for t in tasks] for v in (z, y)]
    weights = np.array([w[codes == t].sum() for t in tasks])
    place = np.searchsorted(tasks, codes)
    within = [v - np.array(m)[place] for v, m in zip((z, y), means, strict=True)]
    between = [np.array(m) - np.average(m, weights=weights) for m in means]
    gains = []
    for (a, b), v, freedom in (
        (within, w, w.sum() - len(tasks) - 1),
        (between, weights, len(tasks) - 2),
    ):
        rest = b - a * (v @ (a * b)) / max(v @ a**2, 1e-300)
        gains.append(0.5 * max(freedom, 0) * np.log((v @ b**2) / max(v @ rest**2, 1e-300)))
    return max(gains)


# ---------------------------------------------------------------------------------------------
# tasks/prevalence.py


def dirichlet_multinomial(counts, alpha):
    """Probability of a sample's classes, drawn one row after the other (Pólya's urn)."""
    log, urn = 0.0, np.array(alpha, dtype=float)
    for c in np.repeat(np.arange(len(counts)), counts):
        log += np.log(urn[c] / urn.sum())
        urn[c] += 1.0
    orders = [np.log(np.arange(1, n + 1)).sum() for n in counts]
    return np.exp(log + np.log(np.arange(1, sum(counts) + 1)).sum() - sum(orders))


def sampled_by_class(counts, tables, concentrations, by_class, balanced, unlike):
    """Bayes' theorem for "rows were sampled by class", prevalence as in the tasks `tables`."""
    n_classes, weights, at_random = len(counts), [], []
    for c in concentrations:
        mean = np.full(n_classes, 1.0 / n_classes)
        for row in tables:
            mean += row * (1.0 + c) / (row.sum() + c)
        mean /= mean.sum()
        weights.append(np.prod([dirichlet_multinomial(row, c * mean) for row in tables]))
        at_random.append(dirichlet_multinomial(counts, c * mean))
    anything = dirichlet_multinomial(counts, np.ones(n_classes))
    usual = (1.0 - unlike) * np.dot(weights, at_random) / np.sum(weights) + unlike * anything
    equal = float(len(set(counts)) == 1)
    designed = (balanced * equal + (1.0 - balanced) * anything) * (min(counts) > 0)
    return by_class * designed / (by_class * designed + (1.0 - by_class) * usual)


# sharing/: what the report, the intervals and `adapt` promise


def standardised(X, w=None):
    """Columns of mean zero and variance one."""
    mean = np.average(X, axis=0, weights=w)
    return (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=w))


def out_of_fold(X, y, codes, n_tasks, strengths, splits, units=False):
    """Errors of rows held out, by refitting `dense_ridge`; NaN for rows that never are.

    Features are standardised over the table, held-out rows included. With `units` two tasks have
    units of their own, which the training rows of a split tell; y has mean zero then.
    """
    Z, errors = standardised(X), np.full(len(y), np.nan)
    for train, test in splits:
        location, scale = np.zeros(n_tasks), np.ones(n_tasks)
        if units:
            location, scale, _ = units_of_two_tasks(y[train], codes[train])
        own = (y - location[codes]) / scale[codes]
        _, coef, intercept = dense_ridge(Z[train], own[train], codes[train], n_tasks, strengths)
        for i in test:
            gap = own[i] - Z[i] @ coef[codes[i]] - intercept[codes[i]]
            errors[i] = scale[codes[i]] * gap
    return errors


def task_std(sse, rows, prior_rows, prior_variance):
    """A task's standard deviation, drawn to what the tasks have in common (Smyth 2004)."""
    return np.sqrt((prior_rows * prior_variance + sse) / (prior_rows + rows))


def studentised(errors, codes, prior_rows, prior_variance):
    """Every error over the standard deviation that its task has without it."""
    out = []
    for i, error in enumerate(errors):
        others = [errors[j] for j in range(len(errors)) if codes[j] == codes[i] and j != i]
        sse, rows = sum(e**2 for e in others), len(others)
        out.append(error / task_std(sse, rows, prior_rows, prior_variance))
    return np.array(out)


def quantile(values, level):
    """Of n values the k-th smallest stands at (k - 1/2) / n, and lines join them."""
    return np.interp(level, (np.arange(len(values)) + 0.5) / len(values), np.sort(values))


def conformal_band(values, coverage, n_points):
    """How far new values reach, by these: the one to come is the last of n + 1.

    Of n + 1 values the share p lies below the number p (n + 1), out of n. The quantiles are kept
    at `n_points` levels only. Where the number is beyond n, at least the normal quantile is taken.
    """
    n, upper = len(values), 0.5 + coverage / 2
    reach = upper * (n + 1) / n
    levels = np.linspace(0.0, 1.0, n_points)
    kept = [quantile(values, level) for level in levels]
    low, high = (np.interp(level, levels, kept) for level in (1.0 - reach, reach))
    if reach > 1.0:
        low, high = min(low, -norm.ppf(upper)), max(high, norm.ppf(upper))
    return low, high


def error_of_unseen_tasks(sse, rows):
    """Mean error a row over tasks left out, and the standard error of that mean.

    The tasks are a sample of those to come: their variance has one degree of freedom less.
    """
    share = [n / sum(rows) for n in rows]
    error = sum(sse) / sum(rows)
    gaps = [(e / n - error) ** 2 for e, n in zip(sse, rows, strict=True)]
    variance = sum(s * gap for s, gap in zip(share, gaps, strict=True))
    return error, np.sqrt(variance / (len(rows) - 1))


def units_of_two_tasks(y, codes):
    """Location and scale of the targets of two tasks (twin of ``Units.learn``).

    Two variances cannot tell how far variances differ: both are drawn to their mean as by four
    rows. Locations, in units of the scale, are drawn to their mean as far as the noise of the
    means, one over the rows in these units, explains their spread.
    """
    groups = [y[codes == t] for t in range(2)]
    square = np.array([((g - g.mean()) ** 2).sum() for g in groups])
    n = np.array([len(g) for g in groups])
    common = square.sum() / (n - 1).sum()
    scale = np.sqrt((4.0 * common + square) / (4.0 + n - 1))
    ratio = np.array([g.mean() for g in groups]) / scale
    between = max(np.var(ratio) - np.mean(1.0 / n), 1e-6)
    weight = 1.0 / (1.0 / n + between)
    centre = (weight * ratio).sum() / weight.sum()
    location = scale * (n * ratio + centre / between) / (n + 1.0 / between)
    return location, scale, (centre * np.sqrt(common), np.sqrt(common))


def own_part(gap, Z, strengths, w=None, positive=None, shared=None):
    """Intercept and slopes of a task's own, given the errors `gap` of the shared model.

    `strengths` are those on slopes and on the intercept. Slopes of `positive` features, the
    `shared` ones included, are at least zero.
    """
    slope, intercept = strengths
    design = np.column_stack([np.ones(len(Z)), Z])
    penalty = np.r_[intercept, np.full(Z.shape[1], slope)]
    if positive is None:
        return ridge(design, gap, w, penalty)
    root = np.sqrt(np.ones(len(Z)) if w is None else w)
    rows = np.vstack([design * root[:, None], np.diag(np.sqrt(penalty))])
    least = np.r_[-np.inf, np.where(positive, -shared, -np.inf)]
    target = np.r_[gap * root, np.zeros(len(penalty))]
    return lsq_linear(rows, target, (least, np.inf), tol=1e-14, lsmr_tol=1e-14).x


def left_out_errors(gap, Z, strengths, w=None, **signs):
    """Errors of rows by `own_part` refitted without them."""
    w, out = np.ones(len(gap)) if w is None else w, []
    for i in range(len(gap)):
        rest = np.arange(len(gap)) != i
        own = own_part(gap[rest], Z[rest], strengths, w[rest], **signs)
        out.append(gap[i] - own[0] - Z[i] @ own[1:])
    return np.array(out)


def error_of_splits(errors, held_out):
    """Mean squared error of a task's rows, and its standard error from its spread over splits.

    `held_out` are the task's rows in each split.
    """
    held_out = [rows for rows in held_out if len(rows)]
    n = np.array([len(rows) for rows in held_out])
    each = np.array([np.mean(errors[rows] ** 2) for rows in held_out])
    error = (n * each).sum() / n.sum()
    variance = (n * (each - error) ** 2).sum() / n.sum()
    return error, np.sqrt(variance / (len(n) - 1))


def balanced_factors(rows):
    """Weights of tasks with these rows that give every task the same share of all rows."""
    return np.array([rows.sum() / len(rows) / n for n in rows])


def noise_factors(std, rows):
    """Inverse noise variances, whose upper quartile over the rows is one."""
    seen, level = 0.0, None
    for s, n in sorted(zip(std, rows, strict=True), reverse=True):
        seen += n / rows.sum()
        if level is None and seen >= 0.75 - 1e-9:
            level = s
    return np.array([level**2 / s**2 for s in std])


def noise_levels(held_out, training, rows):
    """Noise variances, shrunk by the root of the equation for their variance over tasks."""
    log_variance = 0.5 * np.log(held_out) + 0.5 * np.log(training)
    spare = np.sqrt(training / held_out)
    sampling = np.array([polygamma(1, n * s / 2.0) for n, s in zip(rows, spare, strict=True)])

    def mean_and_gap(between):
        w = 1.0 / (sampling + between)
        w = w / w.sum()
        mean = (w * log_variance).sum()
        found = (w * (log_variance - mean) ** 2).sum() / (1.0 - (w**2).sum())
        margin = 1.0 + np.sqrt(2.0 / (len(rows) - 1))
        return mean, found - margin * (w * sampling).sum() - between

    low, high = 0.0, 1e3
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if mean_and_gap(middle)[1] > 0 else (low, middle)
    mean = mean_and_gap(low)[0]
    return np.exp(mean + low / (low + sampling) * (log_variance - mean))


def size_balanced_weights(rows, width):
    """Return weights of the tasks that give every size the same total weight."""
    sizes = [None if n == 0 else round(4 * width * np.log(n)) for n in rows]
    n_sizes = len({size for size in sizes if size is not None})
    return np.array([0.0 if s is None else 1.0 / n_sizes / sizes.count(s) for s in sizes])


def slope_variances(X, y, codes, strengths, noise, prior, n_steps):
    """Variances of the features' slopes over tasks (twin of ``Screening.learn_scaling``).

    MacKay's fixed point: the squares of the tasks' slopes, over how many tasks' worth of slopes
    the rows determine. `X` is standardised; the first variances are 1 over the slopes' strength.
    """
    slope, intercept, ridge_ = strengths
    variance, n_tasks = np.ones(X.shape[1]), codes.max() + 1
    for _ in range(n_steps):
        root = np.sqrt(variance)  # stretched features have slopes that vary alike
        theta, coef, _ = dense_ridge(
            X * root, y, codes, n_tasks, (slope, intercept, ridge_), penalty=variance
        )
        unknown = np.zeros(len(root))
        for t in range(n_tasks):
            Z = X[codes == t] * root
            Z = Z - Z.mean(axis=0)
            inverse = np.linalg.inv(Z.T @ Z + slope * np.eye(len(root)))
            unknown += slope * np.diag(inverse)
        square = slope * ((coef - theta[1:]) ** 2).sum(axis=0) / noise
        new = variance * (square + prior) / (n_tasks - unknown + prior)
        step, variance = np.abs(np.log(new / variance)).max(), new
        if step < 0.1:
            break
    return variance


def scores_of_classes(loss, rows, expected, pooled, width, repeats=1.0):
    """Return scores and log-weights by held-out losses (twin of ``JudgedLosses.scores``).

    Beside the tasks' scores, which are differences to each task's best, there are prior rows with
    the labels expected under the best `pooled` candidate: the square root of the table's rows.

    Parameters
    ----------
    loss : (n_splits, n_tasks, n_candidates), as ``expected[:, k]`` of pooled candidate k
    rows : (n_splits, n_tasks)
    """
    n_tasks, n_candidates = loss.shape[1:]
    total, n = loss.sum(axis=0) / repeats, rows.sum(axis=0)
    scores = np.array([total[t].min() - total[t] for t in range(n_tasks)])
    best = min(range(len(pooled)), key=lambda k: loss[:, :, pooled[k]].sum())
    weight, prior = size_balanced_weights(n / repeats, width), np.zeros(n_candidates)
    for t in range(n_tasks):
        if n[t] > 0:
            prior -= weight[t] * expected[:, best, t].sum(axis=0) / n[t]
    return scores, np.sqrt(n.sum() / repeats) * prior


def left_out_weights_of_classes(loss, rows):
    """Return weights for an unseen task, by log-losses: one observation per left-out task."""
    return softmax(-len(loss) * sum(loss) / sum(rows))


# ----------------------------------------------------------------- gains of a report, task by task


def size_levels(sizes):
    """The class of every task by its number of rows: 1, 2, 3, 4 to 7, 8 to 15, ... rows."""
    levels = [n if n < 4 else 2 + int(np.floor(np.log2(n))) for n in sizes]
    width = 1
    while len(set(levels)) > 8:
        width += 1
        levels = [int(np.floor(np.log2(n))) // width for n in sizes]
    return levels


def two_standard_errors(degrees):
    """What Student's distribution makes of two standard errors."""
    from scipy.stats import t as student

    return student.ppf(norm.cdf(2.0), degrees)


def gain_reach(report, other):
    """Two standard errors of every task's gain over `other`, errors taken to be uncorrelated."""
    base, shared = report[f"error_{other}"], report["error_shared"]
    rows, levels = report["n_samples"], size_levels(report["n_samples"])
    n_tasks = len(rows)
    ratio = [
        rows[t]
        * (report[f"std_error_{other}"][t] ** 2 + report["std_error_shared"][t] ** 2)
        / (base[t] + shared[t]) ** 2
        for t in range(n_tasks)
    ]

    def told(tasks):
        tasks = [t for t in tasks if rows[t] > 1 and np.isfinite(ratio[t])]
        degrees = sum(rows[t] - 1 for t in tasks)
        return sum((rows[t] - 1) * ratio[t] for t in tasks) / degrees if degrees else -np.inf

    reach = []
    for t in range(n_tasks):
        alike = [s for s in range(n_tasks) if levels[s] == levels[t]]
        typical = max(told(range(n_tasks)), told(alike))
        if len(alike) >= 5:
            u = [(base[s] - shared[s]) / (base[s] + shared[s]) for s in alike]
            typical = max(typical, rows[t] * np.var(u, ddof=1))
        own = rows[t] - 1 if rows[t] > 1 and np.isfinite(ratio[t]) else 0
        drawn = (own * (ratio[t] if own else 0.0) + 4 * typical) / (own + 4)
        spread = (base[t] + shared[t]) * np.sqrt(drawn / rows[t])
        reach.append(two_standard_errors(own + 4) * spread / base[t])
    return np.array(reach)


def gain_of_sum(report, other, tasks):
    """The gain of tasks' errors summed over rows, and two standard errors from their scatter."""
    rows = report["n_samples"][tasks]
    base = sum(rows * report[f"error_{other}"][tasks])
    shared = sum(rows * report["error_shared"][tasks])
    each = rows * (report[f"error_{other}"][tasks] - report["error_shared"][tasks])
    about = each - rows * sum(each) / sum(rows)
    k = len(tasks)
    std_error = np.sqrt(k / (k - 1) * sum(about**2))
    return 1 - shared / base, two_standard_errors(k - 1) * std_error / base


def gcv_score(X, y, weight, alpha):
    """Log of the generalised cross-validation score of a ridge with an intercept, times n."""
    n, root = weight.sum(), np.sqrt(weight)
    A = root[:, None] * (X - np.average(X, axis=0, weights=weight))
    b = root * (y - np.average(y, weights=weight))
    hat = A @ np.linalg.solve(A.T @ A + alpha * np.eye(X.shape[1]), A.T)
    free = max(1.0 - (1.0 + np.trace(hat)) / n, 0.02)
    return n * np.log(np.sum((b - hat @ b) ** 2) / free**2)


def size_kernel(distance, width):
    """How much a task says about those whose logarithm of the rows is at a distance."""
    return np.exp(-0.5 * (distance / width) ** 2) if abs(distance) <= 2.0 * width else 0.0


def standard_errors(gain):
    """By how many standard errors a sum is above zero."""
    return sum(gain) / np.sqrt(sum(gain**2) - sum(gain) ** 2 / len(gain))


def shrunk_steps(blends, over_tasks, over_rows, nears):
    """From the first member towards a blend, by how many standard errors its gain is above zero.

    There is a blend for each size, with its gain task by task and row by row, and the weights of
    the tasks. One standard error is required; of sizes of few tasks two, over rows, if no blend of
    another size is used.
    """
    n_tasks, out = len(nears[0]), []
    z = [standard_errors(gain) for gain in (over_tasks if n_tasks >= 8 else over_rows)]
    for k, blend in enumerate(blends):
        first, mine, required = np.eye(len(blend))[0], z[k], 1
        are_few = sum(value > 0 for value in nears[k]) < min(8, n_tasks)
        if are_few and not any(z[m] > 1 for m in range(len(z)) if m != k):
            mine, required = standard_errors(over_rows[k]), 2
        step = 1.0 - 1.0 / (2.0 * mine) ** 2 if mine > required else 0.0
        out.append(first + step * (blend - first))
    return np.array(out)


def stacked_weights(errors, weight, codes, n_tasks, width=1.0):
    """Weights of members by size of task: one size after the other, one task after the other."""
    n_members = errors.shape[1]
    gram, rows, noise = [], [], []
    for t in range(n_tasks):
        e, w = errors[codes == t], weight[codes == t]
        gram.append(e.T @ (w[:, None] * e))
        rows.append(w.sum())
        noise.append(min(np.diag(gram[-1])))
    level = np.median(np.array(noise) / rows)
    size = sorted({np.round(4 * np.log(r)) / 4 for r in rows})
    out = []
    for centre in size:
        found = np.full(n_members, 1 / n_members)
        for _ in range(5):
            near = [
                size_kernel(np.log(rows[t]) - centre, width)
                * (rows[t] + 4)
                / (found @ gram[t] @ found + 4 * level)
                for t in range(n_tasks)
            ]
            H = sum(near[t] * gram[t] for t in range(n_tasks))
            found = minimize(
                lambda w, H=H: w @ H @ w / np.trace(H), np.full(n_members, 1 / n_members),
                bounds=[(0, 1)] * n_members, tol=1e-14, options={"maxiter": 1000},
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            ).x  # fmt: skip
        over_tasks = np.array([
            near[t] * (0.999 * gram[t][0, 0] - found @ gram[t] @ found) for t in range(n_tasks)
        ])  # fmt: skip
        each = 0.999 * errors[:, 0] ** 2 - (errors @ found) ** 2
        over_rows = np.array([near[codes[i]] * weight[i] * each[i] for i in range(len(codes))])
        out.append((found, over_tasks, over_rows, near))
    return np.exp(size), shrunk_steps(*zip(*out, strict=True))


def stacked_log_loss_weights(scores, target, weight, codes, n_tasks, width=1.0):
    """`stacked_weights` for scores ``(n_rows, n_members, n_scores)`` and the log-loss."""
    n_members = scores.shape[1]

    def losses(w):
        blend = np.einsum("imk,m->ik", scores, w)
        if blend.shape[1] == 1:
            blend = np.column_stack([np.zeros(len(blend)), blend])
            y = np.column_stack([1.0 - target[:, 0], target[:, 0]])
        else:
            y = target
        log = blend - np.log(np.exp(blend).sum(axis=1, keepdims=True))
        return -(y * log).sum(axis=1)

    rows = np.array([weight[codes == t].sum() for t in range(n_tasks)])
    size = sorted({np.round(4 * np.log(r)) / 4 for r in rows})
    first, out = np.eye(n_members)[0], []
    for centre in size:
        near = np.array([size_kernel(np.log(r) - centre, width) for r in rows])
        found = minimize(
            lambda w, near=near: near[codes] * weight @ losses(w) / len(codes),
            np.full(n_members, 1 / n_members), bounds=[(0, 1)] * n_members, tol=1e-14,
            options={"maxiter": 1000},
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        ).x  # fmt: skip
        each = near[codes] * weight * (0.999 * losses(first) - losses(found))
        over_tasks = np.array([each[codes == t].sum() for t in range(n_tasks)])
        out.append((found, over_tasks, each, near))
    return np.exp(size), shrunk_steps(*zip(*out, strict=True))


# ---------------------------------------------------------------------------------------------
# guard/few_shot.py


def advantage(gain, weight, groups):
    """Mean gain in standard errors over groups, as a share of the required number of them."""
    names = sorted(set(groups.tolist()))
    gains = [sum(gain[groups == g]) for g in names]
    weights = [sum(weight[groups == g]) for g in names]
    n = sum(weights) ** 2 / sum(w**2 for w in weights)
    mean = sum(gains) / sum(weights)
    square = sum((g - mean * w) ** 2 for g, w in zip(gains, weights, strict=True))
    if n < 1.5 or square == 0.0:
        return 0.0
    # mean / s.e.(mean), both times the total weight
    return sum(gains) / np.sqrt(square * n / (n - 1)) / student.ppf(norm.cdf(2.0), n - 1)


def blend_weights(values, weight, codes, sizes, groups, are_numbers, required=1.0, width=0.7):
    """Weights of the members by size of support: the size, then the member, one after the other."""
    n_members = values.shape[1]
    size = sorted({np.round(4 * np.log(sizes[e])) / 4 for e in codes})
    out = []
    for centre in size:
        kernel = np.exp(-0.5 * ((np.log(sizes) - centre) / width) ** 2)
        found = np.eye(n_members)[0]
        while True:
            trials = []
            for m in range(n_members):
                some = np.append(np.flatnonzero(found), m)
                rows = np.isfinite(values[:, some]).all(axis=1) & (kernel[codes] >= 1e-3)
                if found[m] > 0 or not rows.any():
                    continue
                part, w, c = values[rows][:, some], weight[rows], codes[rows]
                best, near = _best_blend(part, w, c, kernel, are_numbers)
                trial = np.zeros(n_members)
                trial[some] = best
                old, new = (part @ v[some] for v in (found, trial))
                gain = old**2 - new**2 if are_numbers else np.log(new) - np.log(old)
                ratio = advantage(near * gain, near, groups[c])
                if trial[m] >= 0.02:
                    trials.append((ratio, trial))
            ratio, trial = max(trials, key=lambda pair: pair[0], default=(0.0, None))
            if ratio <= required:
                break
            found = np.where(trial < 0.02, 0.0, trial)
            found = found / found.sum()
        out.append(found)
    return np.exp(size), np.array(out)


def _best_blend(values, weight, codes, kernel, are_numbers):
    """Weights of the best blend by a general solver, and the weights of the rows behind them."""
    n = values.shape[1]
    near = weight * kernel[codes]
    found = np.full(n, 1 / n)
    for _ in range(5 if are_numbers else 1):
        if are_numbers:
            error = {e: weight[codes == e] @ (values[codes == e] @ found) ** 2 for e in set(codes)}
            total = {e: weight[codes == e].sum() for e in error}
            level = np.median([error[e] / total[e] for e in error])
            noise = np.array([(error[e] + 4 * level) / (total[e] + 4) for e in codes])
            near = weight * kernel[codes] / noise

        def loss(v, near=near):
            blend = values @ v
            return near @ (blend**2 if are_numbers else -np.log(np.maximum(blend, 1e-300)))

        options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 10_000}
        start = np.zeros(n - 1)
        logits = minimize(
            lambda z, loss=loss: loss(softmax(np.append(0.0, z))), start, method="Nelder-Mead",
            options=options,
        ).x  # fmt: skip
        found = softmax(np.append(0.0, logits))
    return found, near


def least_clip(own, weight, n_classes, clips):
    """The clip with the least log-loss, given the probabilities `own` of the labels."""
    losses = {}
    for clip in clips:
        if clip * n_classes < 0.5:
            losses[clip] = -sum(
                w * np.log(clip + (1 - n_classes * clip) * p)
                for w, p in zip(weight, own, strict=True)
            )
    return min(losses, key=losses.get)


def new_task_offset(scores, y, weight, prior_rows, sampled, is_log_loss):
    """Return the offset of a new task, and the mean loss of its rows with offsets of the others."""
    slope, curvature = [], []
    for s, t, w in zip(scores, y, weight, strict=True):
        mean = 1.0 / (1.0 + np.exp(-(s + sampled))) if is_log_loss else s
        slope.append(w * (t - mean))
        curvature.append(w * (mean * (1.0 - mean) if is_log_loss else 1.0))
    offset = sum(slope) / (sum(curvature) + prior_rows)
    losses = []
    for i, (s, t) in enumerate(zip(scores, y, strict=True)):
        others = [k for k in range(len(y)) if k != i]
        mine = sum(slope[k] for k in others) / (sum(curvature[k] for k in others) + prior_rows)
        found = s + sampled + mine
        loss = np.log1p(np.exp(found)) - t * found if is_log_loss else 0.5 * (found - t) ** 2
        losses.append(weight[i] * loss)
    return offset, sum(losses) / sum(weight)


# ---------------------------------------------------------------------------------------------
# solvers/crossed.py, sharing/grouping_search.py


def crossed_design(X, codes, n_tasks, levels, sizes, pooling, strengths):
    """``[1, x, task dummies, task * x, dummies of the levels]``, and the penalty of each column.

    Columns of an infinite strength are left out.
    """
    slope, intercept, ridge_ = pooling
    task = np.eye(n_tasks)[codes]
    blocks = [
        (np.ones((len(X), 1)), 0.0),
        (X, ridge_),
        (task, intercept),
        *((task * x[:, None], slope) for x in X.T),
        *((np.eye(m)[c], s) for c, m, s in zip(levels.T, sizes, strengths, strict=True)),
    ]
    used = [(A, s) for A, s in blocks if np.isfinite(s)]
    penalty = [np.full(part.shape[1], s) for part, s in used]
    return np.hstack([part for part, _ in used]), np.concatenate(penalty)


def level_effects(beta, sizes, strengths):
    """The effects at the end of the coefficients; zero for infinite strengths."""
    effects, end = [np.zeros(m) for m in sizes], len(beta)
    for g in range(len(sizes) - 1, -1, -1):
        if np.isfinite(strengths[g]):
            effects[g] = beta[end - sizes[g] : end]
            end -= sizes[g]
    return effects


def crossed_ridge(X, y, codes, n_tasks, levels, sizes, pooling, strengths, w=None):
    """Predictions and effects of the levels by one dense problem (twin of `CrossedSystem`)."""
    A, penalty = crossed_design(X, codes, n_tasks, levels, sizes, pooling, strengths)
    w = np.ones(len(y)) if w is None else w
    beta = np.linalg.lstsq(A.T @ (w[:, None] * A) + np.diag(penalty), A.T @ (w * y), rcond=None)[0]
    return A @ beta, level_effects(beta, sizes, strengths)


def moment_system(codes, weight):
    """Expected sums of squares for a unit of every variance (twin of ``moment_variances``).

    Row 0 is about the mean, row 1 + g about the means of the levels of column g; column 0 is noise.
    The sum of squares of v about the means of groups is v'Wv less that of the group means.
    """
    n = len(weight)
    W = np.diag(weight)
    covariances = [np.diag(1.0 / weight), *((c[:, None] == c).astype(float) for c in codes.T)]
    rows = []
    for group in [np.zeros(n, dtype=int), *codes.T]:
        same = (group[:, None] == group).astype(float)
        share = W @ same @ W / (same @ weight)[:, None]
        rows.append([np.trace((W - share) @ V) for V in covariances])
    return np.array(rows)


def crossed_logistic(X, y, codes, n_tasks, levels, sizes, pooling, strengths, w=None):
    """Log-odds and effects of the levels that minimise the log-loss plus half of the penalties.

    By scipy's general minimiser (twin of `CrossedNewton`).
    """
    A, penalty = crossed_design(X, codes, n_tasks, levels, sizes, pooling, strengths)
    beta = penalised_logistic(A, penalty, y, w)
    return A @ beta, level_effects(beta, sizes, strengths)


def tree_design(X, codes, groups, pooling, of_levels):
    """The columns of ``crossed_design`` without levels, then dummies and dummies * x of each level.

    `groups` are the groups of the tasks on each level, and `of_levels` the strengths on the
    intercepts and the slopes of each level. The last array returned tells the depth of each column:
    0 for what all tasks share, 1, ... for the levels, and the largest for the tasks.
    """
    n_tasks = codes.max() + 1
    A, penalty = crossed_design(X, codes, n_tasks, np.empty((0, 0)), (), pooling, ())
    shared = 1 + X.shape[1] * np.isfinite(pooling[2])
    depth = np.where(np.arange(A.shape[1]) < shared, 0, len(groups) + 1)
    for g, (group, (intercept, slope)) in enumerate(zip(groups, of_levels, strict=True), start=1):
        dummies = np.eye(group.max() + 1)[group[codes]]
        blocks = [(dummies, intercept), *((dummies * x[:, None], slope) for x in X.T)]
        for block, strength in blocks:
            if np.isfinite(strength):
                A = np.hstack([A, block])
                penalty = np.r_[penalty, np.full(block.shape[1], strength)]
                depth = np.r_[depth, np.full(block.shape[1], g)]
    return A, penalty, depth


def tree_ridge(X, y, codes, groups, pooling, of_levels, w=None):
    """Predictions by one dense problem (twin of `TaskTree`), and those of new tasks by level.

    The latter are of tasks in the same groups on the levels down to each one.
    """
    A, penalty, depth = tree_design(X, codes, groups, pooling, of_levels)
    w = np.ones(len(y)) if w is None else w
    beta = np.linalg.lstsq(A.T @ (w[:, None] * A) + np.diag(penalty), A.T @ (w * y), rcond=None)[0]
    new = [A[:, depth <= g] @ beta[depth <= g] for g in range(1, len(groups) + 1)]
    return A @ beta, new


def tree_logistic(X, y, codes, groups, pooling, of_levels):
    """Log-odds by one dense problem (twin of `TaskTree` for two classes)."""
    A, penalty, _ = tree_design(X, codes, groups, pooling, of_levels)
    return A @ penalised_logistic(A, penalty, y)


def penalised_logistic(A, penalty, y, w=None):
    """Coefficients that minimise the log-loss plus half of the penalties."""
    w = np.ones(len(y)) if w is None else w

    def objective(beta):
        scores = A @ beta
        p = 1.0 / (1.0 + np.exp(-scores))
        value = w @ (np.logaddexp(0.0, scores) - y * scores) + 0.5 * penalty @ beta**2
        return value, A.T @ (w * (p - y)) + penalty * beta

    def hessian(beta):
        p = 1.0 / (1.0 + np.exp(-(A @ beta)))
        return A.T @ ((w * p * (1 - p))[:, None] * A) + np.diag(penalty + 1e-12)

    options = {"gtol": 1e-10}
    beta = minimize(
        objective, np.zeros(A.shape[1]), jac=True, hess=hessian, method="trust-exact",
        options=options,
    ).x  # fmt: skip
    return beta


# ----------------------------------------------------------------------------------------------
# sharing/inference.py


def mixed_inference(X, y, codes, groups, pooling, of_levels, w=None, curvature=None):
    """Standard errors of what all tasks share, the noise and the effective parameters.

    From the inverse of one dense system (twin of ``infer`` at given strengths); with `curvature`,
    those of working responses, whose noise is one. Errors are those of the slopes of `X`.
    """
    A, penalty, depth = tree_design(X, codes, groups, pooling, of_levels)
    w = np.ones(len(y)) if w is None else w
    w = w if curvature is None else w * curvature
    gram = A.T @ (w[:, None] * A)
    inverse = np.linalg.pinv(gram + np.diag(penalty))
    n_effective, variance = np.trace(inverse @ gram), 1.0
    if curvature is None:
        beta = inverse @ (A.T @ (w * y))
        variance = w @ (y - A @ beta) ** 2 / (w.sum() - n_effective)
    std_error = np.sqrt(np.diag(inverse)[depth == 0] * variance)
    return std_error, np.sqrt(variance), n_effective


def restricted_likelihood(X, y, codes, kappa, within_only, factors):
    """Minus twice the restricted log-likelihood, up to a constant, from the covariance of the rows.

    `kappa` are the variances of the tasks' intercepts and of their slopes, relative to the noise,
    and `factors` multiply the deviations of the slopes. Own slopes, and with `within_only` shared
    ones, are about the means of the tasks (twin of ``RestrictedLikelihood``).
    """
    n, task = len(y), np.eye(codes.max() + 1)[codes]
    about = X - (task / task.sum(axis=0)) @ (task.T @ X)
    V = np.eye(n) + kappa[0] * task @ task.T
    for x, factor in zip(about.T, factors, strict=True):
        V += kappa[1] * factor**2 * (task * x[:, None]) @ (task * x[:, None]).T
    fixed = np.column_stack([np.ones(n), about if within_only else X])
    inner = np.linalg.solve(V, fixed)
    S = fixed.T @ inner
    rest = y - fixed @ np.linalg.solve(S, inner.T @ y)
    Q, spare = rest @ np.linalg.solve(V, rest), n - fixed.shape[1]
    dets = np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1]
    return spare * np.log(Q / spare) + dets


def conformal_radius(errors, rows, weight, coverage):
    """The smallest size whose rows, with the new one, make the share (twin of `guard.conformal`).

    Infinite if only the new row itself makes it.
    """
    if (weight == np.rint(weight)).all():
        weight = weight / np.gcd.reduce(weight.astype(int))
    else:
        held_out = weight[np.unique(rows)]
        weight = weight * held_out.sum() / (held_out**2).sum()
    total = sum(weight[row] for row in set(rows))
    for radius in sorted(abs(errors)):
        inside = sum(
            weight[row] / (rows == row).sum()
            for error, row in zip(errors, rows, strict=True)
            if abs(error) <= radius
        )
        if inside / (total + 1.0) >= coverage - 1e-9:
            return radius
    return np.inf


# ---------------------------------------------------------------------------------------------
# guard/prediction_sets.py


def share_at_most(value, scores, weight):
    """Share of scores at most `value`, one more of weight one being beyond all of them."""
    return sum(w for s, w in zip(scores, weight, strict=True) if s <= value) / (sum(weight) + 1.0)


def first_at_least(level, share_of, candidates):
    """The smallest candidate whose share reaches a level, or one."""
    for value in sorted(candidates):
        if share_of(value) >= level - 1e-12:
            return value
    return 1.0


def credibility_rows(threshold, scores, codes, weight, n_tasks):
    """Variance within tasks over that between tasks of whether scores are beyond a threshold.

    Moments of a one-way layout with weights (Bühlmann & Straub 1970); infinite if the variance
    between tasks is not positive.
    """
    beyond = (scores > threshold).astype(float)
    tasks = [t for t in range(n_tasks) if (codes == t).any()]
    total, grand = weight.sum(), np.average(beyond, weights=weight)
    if len(tasks) < 2 or total <= len(tasks):
        return np.inf
    within = between = squares = 0.0
    for t in tasks:
        z, w = beyond[codes == t], weight[codes == t]
        mean = np.average(z, weights=w)
        within += (w * (z - mean) ** 2).sum() / (total - len(tasks))
        between += w.sum() * (mean - grand) ** 2 / (len(tasks) - 1)
        squares += w.sum() ** 2
    excess = (between - within) * (len(tasks) - 1) / (total - squares / total)
    return max(within / excess, 1.0) if excess > 1e-12 else np.inf


def set_thresholds(level, scores, codes, weight, n_tasks):
    """Thresholds of prediction sets: of all tasks together, and of every task."""
    pooled = first_at_least(level, lambda s: share_at_most(s, scores, weight), scores)
    prior, tasks = credibility_rows(pooled, scores, codes, weight, n_tasks), []
    for t in range(n_tasks):
        mine = codes == t
        own = weight[mine].sum() / (weight[mine].sum() + prior)

        def mixture(s, mine=mine, own=own):
            of_all = share_at_most(s, scores, weight)
            return own * share_at_most(s, scores[mine], weight[mine]) + (1.0 - own) * of_all

        tasks.append(first_at_least(level, mixture, scores))
    return pooled, np.array(tasks)


def unseen_threshold(level, scores, codes, weight):
    """Threshold for an unseen task, where all left-out tasks have the same weight."""
    rows = {t: weight[codes == t].sum() for t in set(codes.tolist())}
    equal = np.array([w / rows[t] for w, t in zip(weight, codes, strict=True)])
    equal = equal / equal.sum() * weight.sum()
    return first_at_least(level, lambda s: share_at_most(s, scores, equal), scores)


def shares_cells(X, codes, chance=0.1, fewest=12):
    """Return whether rows of several tasks have the same features, not by chance.

    The shares of pairs of rows with the same features are compared within and between tasks.
    """
    equal = (X[:, None] == X[None]).all(axis=2)
    same_task = codes[:, None] == codes[None]
    pairs = ~np.eye(len(X), dtype=bool)
    within = equal[pairs & same_task].mean() if (pairs & same_task).any() else 0.0
    between = equal[pairs & ~same_task].mean() if (~same_task).any() else 0.0
    n_cells = len(np.unique(X, axis=0))
    if n_cells < fewest or len(X) - n_cells < 0.05 * len(X):
        return False
    return bool(within < chance * between)


def task_noise_round(X, y, codes, variance, slopes):
    """Return means and variances of the tasks' log-variances, and the log-variance of the slopes.

    The likelihood is that of the centred rows of every task, with shared slopes by generalised
    least squares from the given variances, and expected over their distribution.
    """
    tasks = range(codes.max() + 1)
    Z = [X[codes == t] - X[codes == t].mean(axis=0) for t in tasks]
    r = [y[codes == t] - y[codes == t].mean() for t in tasks]
    squares = sum((z**2).sum(axis=0) for z in Z) / (len(y) - len(Z))
    own = [z / np.sqrt(squares) for z in Z]

    def covariance(t, noise, of_slopes):
        n = len(r[t])
        return noise * (np.eye(n) - 1.0 / n) + of_slopes * own[t] @ own[t].T

    inverse = [np.linalg.pinv(covariance(t, variance[t], slopes), rcond=1e-12) for t in tasks]
    S = np.linalg.inv(sum(own[t].T @ inverse[t] @ own[t] for t in tasks))
    m = S @ sum(own[t].T @ inverse[t] @ r[t] for t in tasks)
    moment = []  # expected products of the residuals
    for t in tasks:
        left = r[t] - own[t] @ m
        moment.append(np.outer(left, left) + own[t] @ S @ own[t].T)

    def cost(t, noise, of_slopes):
        values, vectors = np.linalg.eigh(covariance(t, noise, of_slopes))
        values, vectors = values[1:], vectors[:, 1:]  # without the mean
        return np.log(values).sum() + (np.diag(vectors.T @ moment[t] @ vectors) / values).sum()

    grid = np.log(slopes) + np.linspace(-1.0, 1.0, 401)
    total = [sum(cost(t, variance[t], np.exp(g)) for t in tasks) for g in grid]
    log_slopes = grid[int(np.argmin(total))]
    mean, sampling = [], []
    for t in tasks:
        grid = np.log(variance[t]) + np.linspace(-8.0, 8.0, 321)
        chance = np.array([cost(t, np.exp(g), slopes) for g in grid])
        chance = np.exp(-0.5 * (chance - chance.min()))
        chance /= chance.sum()
        mean.append(chance @ grid)
        sampling.append(chance @ (grid - mean[-1]) ** 2)
    return np.array(mean), np.array(sampling), log_slopes


def content_order(M, categorical, target, weight):
    """Return the order of columns by kind, share without gaps, and two squared correlations."""
    keys = []
    for j in range(M.shape[1]):
        rows = [i for i in range(len(M)) if not np.isnan(M[i, j])]
        key = [bool(categorical[j]), sum(weight[i] for i in rows) / sum(weight)]
        for y in (target, range(len(M))):
            y, x, w = (np.array([part[i] for i in rows], float) for part in (y, M[:, j], weight))
            if categorical[j]:
                means = {v: np.average(y[x == v], weights=w[x == v]) for v in x}
                x = np.array([means[v] for v in x])
            centred = [v - np.average(v, weights=w) for v in (x, y)]
            xy, xx, yy = (sum(w * a * b) for a, b in (centred, centred[:1] * 2, centred[1:] * 2))
            key.append(xy**2 / (xx * yy) if xx > 0 and yy > 0 else 0.0)
        keys.append([round(value, 9) for value in key])
    return sorted(range(len(keys)), key=keys.__getitem__)
