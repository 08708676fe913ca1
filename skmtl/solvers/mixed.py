r"""The arrow system if only some features' slopes differ between tasks.

Let V be these features and F the others, :math:`U = (I + \kappa C_{VV})^{-1}`, and
:math:`W = U C_{VF}`. Eliminating the task-specific intercept and slopes leads to the system in the
shared (a, m) of `skmtl.kernels.arrow`, with

.. math:: \begin{pmatrix} (I - U)/\kappa & W \\ W' & C_{FF} - \kappa C_{FV} W \end{pmatrix},
    \quad u = \begin{pmatrix} U \bar x_V \\ \bar x_F - \kappa C_{FV} U \bar x_V \end{pmatrix},
    \quad d = \begin{pmatrix} U c_V \\ c_F - \kappa C_{FV} U c_V \end{pmatrix}

in place of :math:`(I - U)/\kappa`, u and d, and with :math:`\bar x_V'u_V` and
:math:`\bar x_V'd_V` in place of :math:`\bar x'u` and :math:`\bar x'd`; then :math:`b_F = m_F`
and :math:`b_V = U m_V - \kappa W m_F + \kappa d_V + \kappa w (\tilde y - a - u'm) u_V`.
"""

import numpy as np

from .. import kernels
from .._jit import run_chunks
from .arrow import ArrowSystem, factor_tasks, kappa_of, pull

__all__ = ["MixedSystem", "solve_given"]


class MixedSystem(ArrowSystem):
    """`ArrowSystem` with slopes of some features that are the same in every task.

    Parameters
    ----------
    varies : bool ndarray of shape (n_features,)
        Features whose slopes differ between tasks.
    """

    def __init__(self, moments, penalty, varies, executor=None, centres=None, anchors=None):
        self.varies = varies
        self._own, self._rest = np.flatnonzero(varies), np.flatnonzero(~varies)
        super().__init__(moments, penalty, executor, centres, anchors)

    def _allocate(self):
        m, q = self.moments, len(self._own)
        n_tasks = len(m.weight)
        columns = np.append(self._own, m.n_features)
        self._mean = np.ascontiguousarray(self._about[:, columns])
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
        train = kernels.arrow.Moments(m.weight, self._mean, self._scatter)
        factors = kernels.arrow.Factors(self._U, self._uv, self._dv, self._xu, self._xd)
        parts = run_chunks(
            factor_tasks, len(m.weight), train, kappa, factors, executor=self.executor
        )
        self._W = self._U @ self._cross
        self._schur_own = sum(part[0] for part in parts)
        self._S = self._assemble(self._schur_own, slice(None))
        self._u, self._d = np.empty((len(m.weight), p)), np.empty((len(m.weight), p))
        for full, part, plain in (
            (self._u, self._uv, self._about[:, :p]),
            (self._d, self._dv, m.scatter[:, :p, p]),
        ):
            full[:, own] = part  # about the centres
            full[:, rest] = plain[:, rest] - kappa * np.einsum("tv,tvf->tf", part, self._cross)
        self._r = self._d.sum(0)
        return self

    def _assemble(self, schur_own, tasks):
        """Return what `tasks` add to the shared system; `schur_own` is its varying part."""
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
        members = [group == g for g in range(group.max() + 1)]
        return np.array([self._assemble(self._schur(self._scatter, one), one) for one in members])

    def leftover_variance(self):
        out = np.full(self.moments.n_features, self.kappa * len(self.active))
        out[self._own] = self.kappa * np.einsum("tjj->j", self._U)
        return out

    def _models(self, start, stop, shared):
        tasks, m, kappa = slice(start, stop), self.moments, self.kappa
        n, mean = m.weight[tasks, None], self._about[tasks]
        a, M, alphas = shared.a[tasks], shared.M, shared.alphas
        u, own, rest = self._u[tasks], self._own, self._rest
        rho = pull(n, alphas)
        step = mean[:, -1:] - kappa * self._xd[tasks, None] - a - np.matmul(u[:, None], M)[:, 0]
        step *= kappa * rho / (1.0 + kappa * rho * self._xu[tasks, None])
        B = np.empty((len(u), len(M) + 2, len(alphas)))
        B[:, rest] = M[rest]
        B[:, own] = (
            self._U[tasks] @ M[own]
            - kappa * (self._W[tasks] @ M[rest])
            + kappa * self._dv[tasks, :, None]
            + self._uv[tasks, :, None] * step[:, None]
        )
        B[:, -2] = -1.0
        error = -a - np.einsum("tj,tjc->tc", mean, B[:, :-1])
        B[:, -1] = a + np.where(n > 0, n / np.where(n > 0, n + alphas, 1.0), 0.0) * error
        return B


def solve_given(system, given, values, intercept_strengths, ridges, penalty=None):
    """Return `ArrowSystem.solve_shared` if the shared slopes of some features are known.

    Parameters
    ----------
    given : bool ndarray of shape (n_features,)
        These features.
    values : ndarray of shape (n_given,)
        Their slopes.
    penalty : ndarray of shape (n_features,), optional
        Replaces the penalty of the system.
    """
    system.given = given
    penalty = system.penalty if penalty is None else penalty
    theta = np.zeros((len(ridges), 1 + system.moments.n_features))
    theta[:, 1:][:, given] = values
    return system._solve_free(
        system._S, system._r, system.active, penalty, intercept_strengths, ridges, theta, ~given
    )
