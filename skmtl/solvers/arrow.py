r"""Direct solver of partial pooling: one small factorisation per task, and one shared system.

From moments of the tasks it minimises, over the shared (a, m) and the (a_t, v_t) of each task,

.. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
          + \lambda_m m'Pm + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

for a list of strengths at once. With centres :math:`c_t`, the slopes of a task apply to deviations
from its centre, and the shared line passes through anchors :math:`z_t`: :math:`x_i'(m + v_t)` is
replaced by :math:`(x_i - c_t)'(m + v_t) + z_t'm`. Anchors equal to the centres leave the shared
line unchanged; anchors at zero make it a line in the deviations from the centres. The formulas are
in `skmtl.kernels.arrow`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack

from .. import kernels
from .._jit import run_chunks, run_spans

__all__ = ["ArrowSystem", "Gradients", "factor_tasks", "gradients", "kappa_of", "kkt_residual"]

# 1/strength that stands for a slope strength of zero, at the limit of double precision.
_LARGEST_KAPPA = 1e10
# Number of features from which LAPACK is faster than the kernels' Cholesky factorisation.
_LARGE = 80
# Largest rank, as a share of the features, for which a matrix is factored before its eigenvalues.
_DEFICIENT = 0.6


def kappa_of(strength, scale):
    """Return 1 / strength: zero for infinity, and bounded for zero."""
    if np.isinf(strength):
        return 0.0
    return min(1.0 / strength, _LARGEST_KAPPA / scale) if strength > 0 else _LARGEST_KAPPA / scale


class ArrowSystem:
    """Training moments of some tasks, factored at one slope strength at a time.

    Parameters
    ----------
    moments : TaskMoments of shape (n_tasks,)
    penalty : ndarray of shape (n_features,)
        Diagonal of P.
    centres : ndarray of shape (n_tasks, n_features), optional
        Centres of the tasks; zero by default.
    anchors : ndarray of shape (n_tasks, n_features), optional
        Points of the shared line at the centres; the centres by default.
    """

    factored = None  # slope strength of the factorisation
    varies = None  # features whose slopes differ between tasks; None: all
    given = None  # features whose shared slopes were given for the last solutions; None: none
    _work = None

    def __init__(self, moments, penalty, executor=None, centres=None, anchors=None):
        self.moments = moments
        self.penalty = penalty
        self.executor = executor
        self.centres, self.anchors = centres, centres if anchors is None else anchors
        self._about = moments.mean  # means relative to the centres
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
        """Eliminate the task-specific slopes at this strength."""
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

    def set_largest_weight(self, weight):
        """Bound strengths near zero as if a task had this weight, which is that of all tasks."""
        self._scale = max(weight, 1.0)

    def gram(self, intercept_strength):
        """Return the Gram matrix of the shared intercept and slopes, and the right-hand side."""
        return self._gram(intercept_strength, self._S, self._r, self.active)

    def retarget(self, cross, mean, square):
        """Replace the target of the rows.

        Parameters
        ----------
        cross : ndarray of shape (n_tasks, n_features)
            Weighted sums of products of the features' and the target's deviations.
        mean, square : ndarray of shape (n_tasks,)
            Mean of the target, and the weighted sum of its squared deviations.
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
        """Solve for the shared parameters, for each pair of an intercept strength and a ridge on m.

        Returns
        -------
        theta : ndarray of shape (n_pairs, 1 + n_features)
            Shared intercepts and slopes.
        """
        return self._solve(self._S, self._r, self.active, intercept_strengths, ridges)

    def _solve(self, schur, rhs, active, intercept_strengths, ridges):
        m = self.moments
        if m.n_features >= _LARGE:
            return self._solve_large(schur, rhs, active, intercept_strengths, ridges)
        theta = np.zeros((len(ridges), 1 + m.n_features))
        return self._solve_free(
            schur, rhs, active, self.penalty, intercept_strengths, ridges, theta
        )

    @property
    def _of_shared(self):
        """Coefficients of the shared slopes in the means of the tasks."""
        return self._u if self.anchors is None else self._u + self.anchors

    def _solve_free(self, schur, rhs, active, penalty, alphas, ridges, theta, free=None):
        """Fill in `theta`, all of it or the intercept and the features `free`, and return it."""
        m, q = self.moments, theta.shape[1]
        if self._work is None:
            self._work = np.arange(q), kernels.arrow.shared_work(len(m.weight), q)
        positions, work = self._work
        means = kernels.arrow.Means(m.weight, m.mean, self._of_shared, self._xu, self._xd, active)
        strengths = np.ascontiguousarray(alphas), np.ascontiguousarray(ridges)
        free = positions if free is None else positions[np.append(True, free)]
        kernels.arrow.solve_shared(
            means, self.kappa, schur, rhs, penalty, strengths, free, work, theta
        )
        return theta

    def _solve_large(self, schur, rhs, active, intercept_strengths, ridges):
        """Solve by LAPACK, with one eigendecomposition per intercept strength for all ridges."""
        theta = np.zeros((len(ridges), 1 + self.moments.n_features))
        root = 1.0 / np.sqrt(self.penalty)
        for strength in np.unique(intercept_strengths):
            G, g = self._gram(strength, schur, rhs, active)
            w, cross = max(G[0, 0], 1e-300), G[0, 1:]
            inner = (G[1:, 1:] - np.outer(cross, cross) / w) * root * root[:, None]
            rhs_inner = (g[1:] - cross * g[0] / w) * root
            pairs = np.flatnonzero(intercept_strengths == strength)
            # If the ridge is large relative to rounding errors, one factorisation suffices.
            if len(pairs) == 1 and 1e-10 * np.trace(inner) < ridges[pairs[0]] < np.inf:
                inner[np.diag_indices_from(inner)] += ridges[pairs[0]]
                factor = cho_factor(inner, lower=True, check_finite=False)
                theta[pairs[0], 1:] = root * cho_solve(factor, rhs_inner, check_finite=False)
            else:
                values, vectors = eigen_of_rank(inner)
                rotated = vectors.T @ rhs_inner
                for c in pairs[np.isfinite(ridges[pairs])]:
                    total = values + ridges[c]
                    keep = total > 1e-14 * values[-1]
                    step = np.where(keep, rotated / np.where(keep, total, 1.0), 0.0)
                    theta[c, 1:] = root * (vectors @ step)
            for c in pairs:
                theta[c, 0] = (g[0] - cross @ theta[c, 1:]) / w
        return theta

    def _gram(self, strength, schur, rhs, active):
        """Return Gram matrix and right-hand side of (a, m), as in `kernels.arrow.solve_shared`."""
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
        """Return a list of `solve_shared` without the tasks of each group in turn."""
        schur = self._schur_by_group(group)
        return [
            self._solve(
                self._S - schur[g], self._d[group != g].sum(0), self.active & (group != g),
                intercept_strengths, ridges,
            )
            for g in range(len(schur))
        ]  # fmt: skip

    def _schur_by_group(self, group):
        """Return sums of (I - U)/kappa over each group's tasks, as UC to avoid cancellation."""
        members = [group == g for g in range(group.max() + 1)]
        return np.array([self._schur(self.moments.scatter, one) for one in members])

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
        """Return posterior variances of the slopes in units of the noise, summed over tasks."""
        return self.kappa * np.einsum("tjj->j", self._U)

    def _models(self, start, stop, shared):
        """Return slopes and intercepts of some tasks, as `kernels.arrow.models` does."""
        return kernels.arrow.models(start, stop, shared, self._train, self.kappa, self._factors)

    def _over_tasks(self, use, theta, intercept_strengths):
        """Call ``use(start, stop, B)`` on the models of all tasks, in spans of tasks."""
        M = np.ascontiguousarray(theta[:, 1:].T)
        a = np.repeat(theta[None, :, 0], len(self.active), axis=0)
        if self.anchors is not None:
            a += self.anchors @ M
        shared = kernels.arrow.Shared(a, M, np.ascontiguousarray(intercept_strengths))

        def use_span(start, stop):
            B = self._models(start, stop, shared)
            if self.centres is not None:  # from intercepts at the centres to those at zero
                B[:, -1] -= np.matmul(self.centres[start:stop, None], B[:, :-2])[:, 0]
            use(start, stop, B)

        most = kernels.arrow.at_a_time(theta.size)
        run_spans(use_span, len(self.active), most, self.executor)

    def errors(self, theta, intercept_strengths, test):
        """Return squared errors ``(n_tasks, n_pairs)`` on the moments `test`."""
        sse, test = np.empty((len(self.active), len(theta))), test.arrays

        def use(start, stop, B):
            sse[start:stop] = kernels.arrow.errors(start, stop, B, test)

        self._over_tasks(use, theta, intercept_strengths)
        return sse

    def models(self, theta, intercept_strengths, slopes, intercepts, first=0):
        """Write the models of all tasks to ``slopes[:, first:]`` and ``intercepts[:, first:]``.

        These have shapes (n_tasks, n_models, n_features) and (n_tasks, n_models).
        """
        columns = slice(first, first + len(theta))

        def use(start, stop, B):
            slopes[start:stop, columns] = B[:, :-2].transpose(0, 2, 1)
            intercepts[start:stop, columns] = B[:, -1]

        self._over_tasks(use, theta, intercept_strengths)

    def add_blend(self, theta, intercept_strengths, share, coef, intercept):
        """Add the tasks' models, each pair weighted by its share, to `coef` and `intercept`."""
        used = share.any(axis=0)
        if not used.any():
            return
        theta, intercept_strengths = theta[used], intercept_strengths[used]
        share = share[:, used, None]

        def use(start, stop, B):
            blend = np.matmul(B, share[start:stop])[:, :, 0]
            coef[start:stop] += blend[:, :-2]
            intercept[start:stop] += blend[:, -1]

        self._over_tasks(use, theta, intercept_strengths)


def eigen_of_rank(products):
    """Return eigenvalues, ascending, and eigenvectors of a positive semi-definite matrix.

    With more features than rows only those that are not zero: the matrix is L L' with few columns,
    by a Cholesky factorisation with pivoting, and L = Q R gives those of the small matrix R R'.
    """
    p = len(products)
    root, pivots, rank, info = lapack.dpstrf(products, lower=1)
    if info < 0 or not 0 < rank <= _DEFICIENT * p:
        values, vectors = np.linalg.eigh(products)
        return np.maximum(values, 0.0), vectors
    L = np.empty((p, rank))
    L[pivots - 1] = np.tril(root[:, :rank])
    Q, R = np.linalg.qr(L)
    values, vectors = np.linalg.eigh(R @ R.T)
    return np.maximum(values, 0.0), Q @ vectors


def factor_tasks(start, stop, train, kappa, factors):
    """Compute `kernels.arrow.factor`, by LAPACK if there are many features."""
    p = factors.u.shape[1]
    if p < _LARGE or kappa == 0.0:
        return kernels.arrow.factor(start, stop, train, kappa, factors)
    S, r = np.zeros((p, p)), np.zeros(p)
    for t in range(start, stop):
        if not _factor_large(t, train, kappa, factors, S, r):  # numerically singular
            part = kernels.arrow.factor(t, t + 1, train, kappa, factors)
            S += part[0]
            r += part[1]
    return S, r


def _factor_large(t, train, kappa, factors, S, r):
    """Factor a single task and add to `S` and `r`; return whether LAPACK succeeded."""
    weight, mean, scatter = (part[t] for part in train)
    p = len(mean) - 1
    live = np.flatnonzero(np.diagonal(scatter)[:p] > 0.0) if weight > 0.0 else np.arange(0)
    both, one = np.ix_(live, live), live
    if len(live) == p:  # views, not copies
        both, one = (slice(p), slice(p)), slice(p)
    C = scatter[both]
    V = kappa * C
    trace = np.trace(V)
    V[np.diag_indices_from(V)] += 1.0
    info = 0
    if len(live):  # LAPACK prints an error for an empty matrix
        root, info = lapack.dpotrf(V.T, lower=1)
        if info == 0:
            V, info = lapack.dpotri(root, lower=1)
    if info != 0:
        return False
    V = np.tril(V)
    V += np.tril(V, -1).T
    if trace <= kernels.arrow.CANCELS * len(live):  # (I - U)/kappa = UC, made symmetric
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
    u[one] = V @ mean[one]
    d[one] = V @ scatter[one, p]
    r += d
    factors.xu[t], factors.xd[t] = mean[:p] @ u, mean[:p] @ d
    return True


def pull(n, alpha):
    """Return rho = n alpha / (n + alpha), the weight of a mean after eliminating the intercept."""
    known = n > 0.0
    with np.errstate(invalid="ignore"):
        rho = np.where(np.isinf(alpha), n, n * (alpha / np.where(known, n + alpha, 1.0)))
    return np.where(known, rho, 0.0)


@dataclass
class Gradients:
    """Derivatives of the objective at a solution, summed over tasks, and their scale.

    Attributes
    ----------
    intercept : float
        Of the shared intercept.
    slopes, at_zero : ndarray of shape (n_features,)
        Of the shared slopes without their penalty, and sums of the tasks' sizes at zero.
    own : float
        The largest one of the tasks' own intercepts and slopes, with their penalties.
    target, weight : float
        Sums over tasks of the sizes of their targets, and of the weights.
    """

    intercept: float
    slopes: np.ndarray
    at_zero: np.ndarray
    own: float
    target: float
    weight: float

    def plus(self, other):
        """Return those of both sets of tasks."""
        return Gradients(
            self.intercept + other.intercept, self.slopes + other.slopes,
            self.at_zero + other.at_zero, max(self.own, other.own), self.target + other.target,
            self.weight + other.weight,
        )  # fmt: skip

    def residual(self, penalty, ridge, shared_slopes, given=None):
        """Return the largest derivative, relative to the gradient at zero."""
        # A constant target may have a gradient of zero.
        sizes = self.at_zero.max(initial=0.0), self.target, 1e-9 * self.weight, 1e-300
        residuals = [abs(self.intercept), self.own]  # the shared intercept is not penalised
        if np.isfinite(ridge):
            free = slice(None) if given is None else ~given
            gaps = self.slopes - ridge * penalty * shared_slopes
            residuals.append(np.abs(gaps[free]).max(initial=0.0))
        return max(residuals) / max(sizes)


def gradients(
    moments, strengths, theta, coef, intercept, varies=None, centres=None, anchors=None
):  # fmt: skip
    """Return the `Gradients` of tasks; the arguments are those of `kkt_residual`."""
    slope, pull, _ = strengths
    p = moments.n_features
    n, mean = moments.weight, moments.mean
    error = mean[:, p] - intercept - np.einsum("tj,tj->t", mean[:, :p], coef)
    grad_a = n * error
    grad_b = moments.gradient(coef) + mean[:, :p] * grad_a[:, None]
    at_zero = moments.gradient(np.zeros_like(coef)) + mean[:, :p] * (n * mean[:, p])[:, None]
    at_anchors = grad_b if centres is None else grad_b - (centres - anchors) * grad_a[:, None]
    residuals = [0.0]
    if np.isfinite(pull):
        own = intercept - theta[0]
        if centres is not None:
            own = own + np.einsum("tj,tj->t", centres, coef) - anchors @ theta[1:]
        residuals.append(np.abs(grad_a - pull * own).max(initial=0.0))
    if np.isfinite(slope):
        varying = slice(None) if varies is None else varies
        at_centres = grad_b if centres is None else grad_b - centres * grad_a[:, None]
        gaps = at_centres - slope * (coef - theta[1:])
        residuals.append(np.abs(gaps[:, varying]).max(initial=0.0))
    return Gradients(
        grad_a.sum(), at_anchors.sum(0), np.abs(at_zero).sum(0), max(residuals),
        np.abs(n * mean[:, p]).sum(), n.sum(),
    )  # fmt: skip


def kkt_residual(
    moments, penalty, strengths, theta, coef, intercept, varies=None, given=None, centres=None,
    anchors=None,
):  # fmt: skip
    """Return the largest entry of the objective's gradient, relative to the gradient at zero.

    Parameters
    ----------
    strengths : tuple of float
        Slope strength, intercept strength and ridge of the solution.
    varies, given : bool ndarray of shape (n_features,), optional
        Features whose slopes differ between tasks (None: all), and features whose shared slopes
        were given (None: none).
    centres, anchors : ndarray of shape (n_tasks, n_features), optional
        Those of `ArrowSystem`.
    """
    found = gradients(moments, strengths, theta, coef, intercept, varies, centres, anchors)
    return found.residual(penalty, strengths[2], theta[1:], given)
