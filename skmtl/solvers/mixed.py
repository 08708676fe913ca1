r"""The arrow system where only some features' slopes differ by task.

Let V be these features and F the others, :math:`U = (I + \kappa C_{VV})^{-1}`, and
:math:`W = U C_{VF}`. Eliminating the task's own intercept and slopes leaves on the shared
(a, m) what `skmtl.kernels.arrow` says, with

.. math:: \begin{pmatrix} (I - U)/\kappa & W \\ W' & C_{FF} - \kappa C_{FV} W \end{pmatrix},
    \quad u = \begin{pmatrix} U \bar x_V \\ \bar x_F - \kappa C_{FV} U \bar x_V \end{pmatrix},
    \quad d = \begin{pmatrix} U c_V \\ c_F - \kappa C_{FV} U c_V \end{pmatrix}

in the places of :math:`(I - U)/\kappa`, u and d, and with :math:`\bar x_V'u_V` and
:math:`\bar x_V'd_V` in those of :math:`\bar x'u` and :math:`\bar x'd`; then :math:`b_F = m_F`
and :math:`b_V = U m_V - \kappa W m_F + \kappa d_V + \kappa w (\tilde y - a - u'm) u_V`.
"""

import numpy as np

from .. import kernels
from .._jit import run_chunks
from .arrow import ArrowSystem, kappa_of

__all__ = ["MixedSystem", "solve_given"]

# Tasks whose models under all candidates are held at a time.
_AT_A_TIME = 256


class MixedSystem(ArrowSystem):
    """`ArrowSystem` where the slopes of some features are the same in every task.

    Parameters
    ----------
    varies : bool ndarray of shape (n_features,)
        Features whose slopes differ by task.
    """

    def __init__(self, moments, penalty, varies, pool=None):
        self.varies = varies
        self._own, self._rest = np.flatnonzero(varies), np.flatnonzero(~varies)
        super().__init__(moments, penalty, pool)

    def _allocate(self):
        m, q = self.moments, len(self._own)
        n_tasks = len(m.weight)
        columns = np.append(self._own, m.n_features)
        self._mean = np.ascontiguousarray(m.mean[:, columns])
        self._scatter = np.ascontiguousarray(m.scatter[:, columns[:, None], columns])
        self._cross = m.scatter[:, self._own[:, None], self._rest]
        self._U = np.empty((n_tasks, q, q))
        self._uv, self._dv = np.empty((n_tasks, q)), np.empty((n_tasks, q))
        self._xu, self._xd = np.empty(n_tasks), np.empty(n_tasks)

    def factor(self, slope_strength):
        m, own, rest = self.moments, self._own, self._rest
        p, kappa = m.n_features, kappa_of(slope_strength, self._scale)
        self.kappa = kappa
        if kappa == 0.0:
            self._U[:] = np.eye(len(own))
        parts = run_chunks(
            kernels.arrow.factor, len(m.weight), m.weight, self._mean, self._scatter, kappa,
            self._U, self._uv, self._dv, self._xu, self._xd, pool=self.pool,
        )  # fmt: skip
        self._W = self._U @ self._cross
        self._schur_own = sum(part[0] for part in parts)
        self._S = self._assemble(self._schur_own, slice(None))
        self._u, self._d = np.empty((len(m.weight), p)), np.empty((len(m.weight), p))
        for full, part, plain in (
            (self._u, self._uv, m.mean[:, :p]),
            (self._d, self._dv, m.scatter[:, :p, p]),
        ):
            full[:, own] = part
            full[:, rest] = plain[:, rest] - kappa * np.einsum("tv,tvf->tf", part, self._cross)
        self._r = self._d.sum(0)
        return self

    def _assemble(self, schur_own, tasks):
        """The tasks' share of the shared system, of which `schur_own` is the varying part."""
        m, own, rest = self.moments, self._own, self._rest
        W, cross = self._W[tasks], self._cross[tasks]
        inner = m.scatter[tasks][:, rest[:, None], rest].sum(0)
        shape = W.shape[0] * W.shape[1], len(rest)
        inner -= self.kappa * (cross.reshape(shape).T @ W.reshape(shape))
        out = np.empty((m.n_features, m.n_features))
        out[np.ix_(own, own)] = schur_own
        out[np.ix_(own, rest)] = W.sum(0)
        out[np.ix_(rest, own)] = out[np.ix_(own, rest)].T
        out[np.ix_(rest, rest)] = 0.5 * (inner + inner.T)
        return out

    def _schur_by_group(self, group):
        q = len(self._own)
        schur = np.zeros((group.max() + 1, q, q))
        kernels.arrow.schur_by_group(
            self.moments.weight, self._scatter, self.kappa, self._U, group, schur
        )
        return np.array([self._assemble(schur[g], group == g) for g in range(len(schur))])

    def leftover_variance(self):
        out = np.full(self.moments.n_features, self.kappa * len(self.active))
        out[self._own] = self.kappa * np.einsum("tjj->j", self._U)
        return out

    def _models(self, start, stop, theta, intercept_strengths):
        """Slopes ``(n, n_features, n_pairs)`` and intercepts ``(n, n_pairs)`` of some tasks."""
        tasks, m, kappa = slice(start, stop), self.moments, self.kappa
        n, mean = m.weight[tasks, None], m.mean[tasks]
        a, M = theta[:, 0], np.ascontiguousarray(theta[:, 1:].T)
        u, own, rest = self._u[tasks], self._own, self._rest
        with np.errstate(invalid="ignore"):
            free = n / (n + intercept_strengths)  # 0 at infinity
            rho = np.where(np.isinf(intercept_strengths), n, free * intercept_strengths)
        free, rho = np.where(n > 0, free, 0.0), np.where(n > 0, rho, 0.0)
        step = mean[:, -1:] - kappa * self._xd[tasks, None] - a - u @ M
        step *= kappa * rho / (1.0 + kappa * rho * self._xu[tasks, None])
        B = np.empty((len(u), *M.shape))
        B[:, rest] = M[rest]
        B[:, own] = (
            self._U[tasks] @ M[own]
            - kappa * (self._W[tasks] @ M[rest])
            + kappa * self._dv[tasks, :, None]
            + self._uv[tasks, :, None] * step[:, None]
        )
        miss = mean[:, -1:] - a - np.einsum("tj,tjc->tc", mean[:, :-1], B)
        return B, a + free * miss

    def _spans(self, start, stop):
        edges = [*range(start, stop, _AT_A_TIME), stop]
        return zip(edges[:-1], edges[1:], strict=True)

    def errors(self, theta, intercept_strengths, test):
        sse = np.zeros((len(self.active), len(theta)))

        def some(start, stop):
            for a, b in self._spans(start, stop):
                B, intercepts = self._models(a, b, theta, intercept_strengths)
                C, mean = test.scatter[a:b], test.mean[a:b]
                quad = C[:, -1:, -1] - 2.0 * np.einsum("tj,tjc->tc", C[:, -1, :-1], B)
                quad += np.einsum("tjc,tjc->tc", B, C[:, :-1, :-1] @ B)
                miss = mean[:, -1:] - intercepts - np.einsum("tj,tjc->tc", mean[:, :-1], B)
                sse[a:b] = np.maximum(quad, 0.0) + test.weight[a:b, None] * miss**2

        run_chunks(some, len(sse), pool=self.pool)
        return sse

    def models(self, theta, intercept_strengths, slopes, intercepts, first=0):
        where = slice(first, first + len(theta))

        def some(start, stop):
            for a, b in self._spans(start, stop):
                B, intercepts[a:b, where] = self._models(a, b, theta, intercept_strengths)
                slopes[a:b, where] = B.transpose(0, 2, 1)

        run_chunks(some, len(slopes), pool=self.pool)

    def add_blend(self, theta, intercept_strengths, share, coef, intercept):
        def some(start, stop):
            for a, b in self._spans(start, stop):
                B, own = self._models(a, b, theta, intercept_strengths)
                coef[a:b] += np.einsum("tc,tjc->tj", share[a:b], B)
                intercept[a:b] += (share[a:b] * own).sum(1)

        run_chunks(some, len(coef), pool=self.pool)


def solve_given(system, given, values, intercept_strengths, ridges, penalty=None):
    """`ArrowSystem.solve_shared` where the shared slopes of some features are known.

    Parameters
    ----------
    given : bool ndarray of shape (n_features,)
    values : ndarray of shape (n_given,)
        Their slopes.
    penalty : ndarray of shape (n_features,), optional
        Instead of the system's own.
    """
    system.given = given
    m, rest = system.moments, ~given
    penalty = system.penalty if penalty is None else penalty
    theta = np.empty((len(ridges), 1 + m.n_features))
    some = np.empty((len(ridges), 1 + rest.sum()))
    kernels.arrow.solve_shared(
        m.weight, m.mean[:, -1] - system._u[:, given] @ values,
        np.ascontiguousarray(system._u[:, rest]), system._xu, system._xd, system.kappa,
        np.ascontiguousarray(system._S[np.ix_(rest, rest)]),
        system._r[rest] - system._S[np.ix_(rest, given)] @ values,
        system.active, penalty[rest], intercept_strengths, ridges, some,
    )  # fmt: skip
    theta[:, np.append(True, rest)] = some
    theta[:, 1:][:, given] = values
    return theta
