r"""The direct solver of partial pooling: one small factorisation a task, one shared system.

For moments of the tasks it minimises, over the shared (a, m) and each task's (a_t, v_t),

.. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
          + \lambda_m m'Pm + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

for a whole list of strengths at once. With centres :math:`c_t`, a task's own slopes turn about
these, and the shared line runs through anchors :math:`z_t`: :math:`(x_i - c_t)'(m + v_t) + z_t'm`
takes the place of :math:`x_i'(m + v_t)`. Anchors at the centres leave the shared line as it is;
anchors at zero make it one of deviations from the centres. The formulas stand in
`skmtl.kernels.arrow`.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack

from .. import kernels
from .._jit import run_chunks, run_spans

__all__ = ["ArrowSystem", "factor_tasks", "kappa_of", "kkt_residual"]

# 1/strength at which a slope strength of zero is taken; the rest is beyond double precision.
_LARGEST_KAPPA = 1e10
# From this many features on LAPACK beats the kernels' own Cholesky.
_LARGE = 80


def kappa_of(strength, scale):
    """1 / strength, 0 for infinity and bounded for 0."""
    if np.isinf(strength):
        return 0.0
    return min(1.0 / strength, _LARGEST_KAPPA / scale) if strength > 0 else _LARGEST_KAPPA / scale


class ArrowSystem:
    """The training moments of some tasks, factored at one slope strength at a time.

    Parameters
    ----------
    moments : TaskMoments of shape (n_tasks,)
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    centres : ndarray of shape (n_tasks, n_features), optional
        Where the tasks' own slopes turn; zero by default.
    anchors : ndarray of shape (n_tasks, n_features), optional
        What of the centres the shared slopes meet; all of it by default.
    """

    factored = None  # the slope strength at which it is
    varies = None  # features whose slopes differ by task: all
    _work = None
    given = None  # features whose shared slopes the last solutions were given: none

    def __init__(self, moments, penalty, executor=None, centres=None, anchors=None):
        self.moments = moments
        self.penalty = penalty
        self.executor = executor
        self.centres, self.anchors = centres, centres if anchors is None else anchors
        self._about = moments.mean  # the tasks' means about their centres
        if centres is not None:
            self._about = moments.mean.copy()
            self._about[:, :-1] -= centres
        self.active = moments.weight > 0
        self._scale = max(moments.weight.max(initial=0.0), 1.0)
        self._allocate()

    def _allocate(self):
        n_tasks, p = len(self.moments.weight), self.moments.n_features
        self._U = np.empty((n_tasks, p, p))
        self._u, self._d = np.empty((n_tasks, p)), np.empty((n_tasks, p))
        self._xu, self._xd = np.empty(n_tasks), np.empty(n_tasks)
        self._train = self.moments.arrays._replace(mean=self._about)
        self._factors = kernels.arrow.Factors(self._U, self._u, self._d, self._xu, self._xd)

    def factor(self, slope_strength):
        """Eliminate the tasks' own slopes at this strength."""
        if slope_strength == self.factored:
            return self
        self.factored = slope_strength
        self.kappa = kappa_of(slope_strength, self._scale)
        parts = run_chunks(
            factor_tasks, len(self.active), self._train, self.kappa, self._factors,
            executor=self.executor,
        )  # fmt: skip
        self._S = sum(part[0] for part in parts)
        self._r = sum(part[1] for part in parts)
        return self

    def retarget(self, cross, mean, square):
        """Give the same rows another target.

        Parameters
        ----------
        cross : ndarray of shape (n_tasks, n_features)
            Weighted sums of products of the features' and the target's deviations.
        mean, square : ndarray of shape (n_tasks,)
            Of the target: its mean, and the weighted sum of its squared deviations.
        """
        for about in (self.moments.mean, self._about):
            about[:, -1] = mean
        self.moments.scatter[:, -1, -1] = square
        self.moments.scatter[:, :-1, -1] = self.moments.scatter[:, -1, :-1] = cross
        if self.factored is None:
            return
        self._d[:] = cross if self.kappa == 0.0 else np.matmul(self._U, cross[..., None])[..., 0]
        self._d[~self.active] = 0.0
        self._xd[:] = np.einsum("tj,tj->t", self._about[:, :-1], self._d)
        self._r = self._d.sum(axis=0)

    def solve_shared(self, intercept_strengths, ridges):
        """Shared solutions, one for each pair of an intercept strength and a ridge on m.

        Returns
        -------
        theta : ndarray of shape (n_pairs, 1 + n_features)
            The shared intercept and slopes.
        """
        return self._solve(self._S, self._r, self.active, intercept_strengths, ridges)

    def _solve(self, schur, rhs, active, intercept_strengths, ridges):
        m = self.moments
        if m.n_features >= _LARGE:
            return self._solve_large(schur, rhs, active, intercept_strengths, ridges)
        theta = np.zeros((len(ridges), 1 + m.n_features))
        self._solve_free(schur, rhs, active, self.penalty, intercept_strengths, ridges, theta)
        return theta

    @property
    def _of_shared(self):
        """What the shared slopes meet in the tasks' means."""
        return self._u if self.anchors is None else self._u + self.anchors

    def _solve_free(self, schur, rhs, active, penalty, alphas, ridges, theta, free=None):
        """Fill in the zeros of `theta`, all of them or those of the features `free`."""
        m, q = self.moments, theta.shape[1]
        if self._work is None:
            self._work = np.arange(q), kernels.arrow.shared_work(len(m.weight), q)
        every, work = self._work
        means = kernels.arrow.Means(m.weight, m.mean, self._of_shared, self._xu, self._xd, active)
        strengths = np.ascontiguousarray(alphas), np.ascontiguousarray(ridges)
        free = every if free is None else every[np.append(True, free)]
        kernels.arrow.solve_shared(
            means, self.kappa, schur, rhs, penalty, strengths, free, work, theta
        )

    def _solve_large(self, schur, rhs, active, intercept_strengths, ridges):
        """`_solve` by LAPACK: one eigendecomposition an intercept strength serves all ridges."""
        theta = np.zeros((len(ridges), 1 + self.moments.n_features))
        root = 1.0 / np.sqrt(self.penalty)
        for strength in np.unique(intercept_strengths):
            G, g = self._gram(strength, schur, rhs, active)
            w, cross = max(G[0, 0], 1e-300), G[0, 1:]
            inner = (G[1:, 1:] - np.outer(cross, cross) / w) * root * root[:, None]
            alone = np.flatnonzero(intercept_strengths == strength)
            if len(alone) == 1 and _is_large(ridges[alone[0]], inner):
                c = alone[0]
                inner[np.diag_indices_from(inner)] += ridges[c]
                theta[c, 1:] = root * cho_solve(
                    cho_factor(inner, lower=True, check_finite=False),
                    (g[1:] - cross * g[0] / w) * root, check_finite=False,
                )  # fmt: skip
                theta[c, 0] = (g[0] - cross @ theta[c, 1:]) / w
                continue
            values, vectors = np.linalg.eigh(inner)
            values = np.maximum(values, 0.0)
            moved = vectors.T @ ((g[1:] - cross * g[0] / w) * root)
            for c in np.flatnonzero(intercept_strengths == strength):
                if np.isfinite(ridges[c]):
                    total = values + ridges[c]
                    keep = total > 1e-14 * values[-1]
                    step = np.where(keep, moved / np.where(keep, total, 1.0), 0.0)
                    theta[c, 1:] = root * (vectors @ step)
                theta[c, 0] = (g[0] - cross @ theta[c, 1:]) / w
        return theta

    def _gram(self, strength, schur, rhs, active):
        """Gram matrix and right-hand side on (a, m), as `kernels.arrow.solve_shared` has them."""
        m, kappa = self.moments, self.kappa
        rho = np.where(active, pull(m.weight, strength), 0.0)
        Z = np.column_stack([np.ones(len(rho)), self._of_shared, m.mean[:, -1] - kappa * self._xd])
        Z *= np.sqrt(rho / (1.0 + kappa * rho * self._xu))[:, None]
        products = Z.T @ Z
        G, g = products[:-1, :-1], products[:-1, -1]
        G[1:, 1:] += schur
        g[1:] += rhs
        return G, g

    def solve_without(self, group, intercept_strengths, ridges):
        """`solve_shared` without the tasks of each group in turn; a list of thetas."""
        schur = self._schur_by_group(group)
        return [
            self._solve(
                self._S - schur[g], self._d[group != g].sum(0), self.active & (group != g),
                intercept_strengths, ridges,
            )
            for g in range(len(schur))
        ]  # fmt: skip

    def _schur_by_group(self, group):
        """The sums of (I - U)/kappa over each group's tasks, by UC, which does not cancel."""
        return np.array([self._schur(self.moments.scatter, group == g) for g in _numbers(group)])

    def _schur(self, scatter, tasks):
        tasks = np.flatnonzero(tasks & self.active)
        p = scatter.shape[1] - 1
        C = np.ascontiguousarray(scatter[tasks, :p, :p])
        if self.kappa == 0.0:
            return C.sum(axis=0)
        rows = len(tasks) * p
        product = self._U[tasks].reshape(rows, p).T @ C.reshape(rows, p)
        return 0.5 * (product + product.T)

    def leftover_variance(self):
        """Posterior variances of the tasks' slopes in units of the noise, summed over tasks."""
        return self.kappa * np.einsum("tjj->j", self._U)

    def _shared(self, theta, intercept_strengths):
        M = np.ascontiguousarray(theta[:, 1:].T)
        a = np.repeat(theta[None, :, 0], len(self.active), axis=0)
        if self.anchors is not None:
            a += self.anchors @ M
        return kernels.arrow.Shared(a, M, np.ascontiguousarray(intercept_strengths))

    def _models(self, start, stop, shared):
        """Slopes and intercepts of some tasks, as `kernels.arrow.models` returns them."""
        return kernels.arrow.models(start, stop, shared, self._train, self.kappa, self._factors)

    def _over_tasks(self, use, theta, intercept_strengths):
        """Call ``use(start, stop, B)`` on the models of some tasks after others."""
        shared = self._shared(theta, intercept_strengths)
        most = kernels.arrow.at_a_time(theta.size)

        def some(start, stop):
            B = self._models(start, stop, shared)
            if self.centres is not None:  # from the intercepts there to those at zero
                B[:, -1] -= np.matmul(self.centres[start:stop, None], B[:, :-2])[:, 0]
            use(start, stop, B)

        run_spans(some, len(self.active), most, self.executor)

    def errors(self, theta, intercept_strengths, test):
        """Squared errors ``(n_tasks, n_pairs)`` on the moments `test`."""
        sse, test = np.empty((len(self.active), len(theta))), test.arrays

        def use(start, stop, B):
            sse[start:stop] = kernels.arrow.errors(start, stop, B, test)

        self._over_tasks(use, theta, intercept_strengths)
        return sse

    def models(self, theta, intercept_strengths, slopes, intercepts, first=0):
        """Put every task's models into ``slopes[:, first:]`` and ``intercepts[:, first:]``.

        Of shapes (n_tasks, n_models, n_features) and (n_tasks, n_models).
        """
        where = slice(first, first + len(theta))

        def use(start, stop, B):
            slopes[start:stop, where] = B[:, :-2].transpose(0, 2, 1)
            intercepts[start:stop, where] = B[:, -1]

        self._over_tasks(use, theta, intercept_strengths)

    def add_blend(self, theta, intercept_strengths, share, coef, intercept):
        """Add to `coef` and `intercept` the tasks' models, each pair weighted by its share."""
        used = share.any(axis=0)
        if not used.all():
            share, theta, intercept_strengths = (
                share[:, used],
                theta[used],
                intercept_strengths[used],
            )
        if share.shape[1] == 0:
            return
        share = share[:, :, None]

        def use(start, stop, B):
            blend = np.matmul(B, share[start:stop])[:, :, 0]
            coef[start:stop] += blend[:, :-2]
            intercept[start:stop] += blend[:, -1]

        self._over_tasks(use, theta, intercept_strengths)


def factor_tasks(start, stop, train, kappa, factors):
    """As `kernels.arrow.factor`, by LAPACK where features are many."""
    p = factors.u.shape[1]
    if p < _LARGE or kappa == 0.0:
        return kernels.arrow.factor(start, stop, train, kappa, factors)
    S, r = np.zeros((p, p)), np.zeros(p)
    for t in range(start, stop):
        if not _factor_large(t, train, kappa, factors, S, r):  # singular up to rounding
            part = kernels.arrow.factor(t, t + 1, train, kappa, factors)
            S += part[0]
            r += part[1]
    return S, r


def _factor_large(t, train, kappa, factors, S, r):
    """Factor a single task, and add to `S` and `r`; returns whether LAPACK could."""
    weight, mean, scatter = (part[t] for part in train)
    p = len(mean) - 1
    live = np.flatnonzero(np.diagonal(scatter)[:p] > 0.0) if weight > 0.0 else np.arange(0)
    both, where = np.ix_(live, live), live
    if len(live) == p:  # views, not copies
        both, where = (slice(p), slice(p)), slice(p)
    C = scatter[both]
    V = kappa * C
    trace = np.trace(V)
    V[np.diag_indices_from(V)] += 1.0
    root, info = lapack.dpotrf(V.T, lower=1)
    if info == 0:
        V, info = lapack.dpotri(root, lower=1)
    if info != 0:
        return False
    V = np.tril(V)
    V += np.tril(V, -1).T
    if trace <= kernels.arrow.CANCELS * len(live):  # (I - U)/kappa = UC, symmetrised
        part = V @ C
        part = 0.5 * (part + part.T)
    else:
        part = -V / kappa
        part[np.diag_indices_from(part)] += 1.0 / kappa
    S[both] += part
    U, u, d = (part[t] for part in factors[:3])
    U[:], d[:] = np.eye(p), 0.0
    u[:] = mean[:p] if weight > 0.0 else 0.0
    U[both] = V
    u[where] = V @ mean[where]
    d[where] = V @ scatter[where, p]
    r += d
    factors.xu[t], factors.xd[t] = mean[:p] @ u, mean[:p] @ d
    return True


def _is_large(ridge, gram):
    """Whether a ridge is finite, and far above rounding in a Gram matrix."""
    return np.isfinite(ridge) and ridge > 1e-10 * np.trace(gram)


def pull(n, alpha):
    """rho = n alpha / (n + alpha): what is left of the mean's weight with a task intercept."""
    known = n > 0.0
    with np.errstate(invalid="ignore"):
        rho = np.where(np.isinf(alpha), n, n * (alpha / np.where(known, n + alpha, 1.0)))
    return np.where(known, rho, 0.0)


def _numbers(group):
    return range(group.max() + 1)


def kkt_residual(
    moments, penalty, strengths, theta, coef, intercept, varies=None, given=None, centres=None,
    anchors=None,
):  # fmt: skip
    """Largest entry of the objective's gradient, relative to the gradient at zero.

    Parameters
    ----------
    strengths : tuple of float
        Slope strength, intercept strength and ridge of the solution.
    varies, given : bool ndarray of shape (n_features,), optional
        Features whose slopes differ by task, None being all; and whose shared slopes were given.
    centres, anchors : ndarray of shape (n_tasks, n_features), optional
        As those of `ArrowSystem`.
    """
    slope, pull, ridge = strengths
    p = moments.n_features
    n, mean = moments.weight, moments.mean
    miss = mean[:, p] - intercept - np.einsum("tj,tj->t", mean[:, :p], coef)
    grad_a = n * miss
    grad_b = moments.gradient(coef) + mean[:, :p] * grad_a[:, None]
    at_zero = moments.gradient(np.zeros_like(coef)) + mean[:, :p] * (n * mean[:, p])[:, None]
    scale = np.abs(at_zero).sum(0)
    scale = max(scale.max(initial=0.0), np.abs(n * mean[:, p]).sum(), 1e-300)
    residuals = [abs(grad_a.sum())]  # the shared intercept is free
    if np.isfinite(ridge):
        free = slice(None) if given is None else ~given
        at_anchors = grad_b if centres is None else grad_b - (centres - anchors) * grad_a[:, None]
        gaps = at_anchors.sum(0) - ridge * penalty * theta[1:]
        residuals.append(np.abs(gaps[free]).max(initial=0.0))
    if np.isfinite(pull):
        own = intercept - theta[0]
        if centres is not None:
            own = own + np.einsum("tj,tj->t", centres, coef) - anchors @ theta[1:]
        residuals.append(np.abs(grad_a - pull * own).max(initial=0.0))
    if np.isfinite(slope):
        own = slice(None) if varies is None else varies
        turned = grad_b if centres is None else grad_b - centres * grad_a[:, None]
        gaps = turned - slope * (coef - theta[1:])
        residuals.append(np.abs(gaps[:, own]).max(initial=0.0))
    return max(residuals) / scale
