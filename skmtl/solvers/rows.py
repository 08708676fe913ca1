r"""The arrow system computed from rows, for tasks with fewer rows than features.

With the centred rows X of a task, :math:`U = (I + \kappa X'X)^{-1} = I - \kappa Y'Y` where
:math:`LL' = I + \kappa XX'` and :math:`Y = L^{-1}X`; and :math:`(I - U)/\kappa = Y'Y`. The
formulas of `skmtl.kernels.arrow` then need matrices of the size of the task's rows only. If only
some columns V vary between tasks, :math:`LL' = I + \kappa X_V X_V'`, and Y is computed from all
columns as before.
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from .arrow import ArrowSystem, kappa_of, pull

__all__ = ["RowSystem"]


class RowSystem(ArrowSystem):
    """`ArrowSystem` for `TaskRows`.

    Parameters
    ----------
    varies : bool ndarray of shape (n_features,), optional
        Features whose slopes differ between tasks; None means all.
    """

    def __init__(self, moments, penalty, executor=None, varies=None, centres=None, anchors=None):
        super().__init__(moments, penalty, executor, centres, anchors)
        self.varies = varies
        self._own = slice(None) if varies is None else varies

    def _allocate(self):
        n_tasks, p = len(self.moments.weight), self.moments.n_features
        self._u, self._d = np.zeros((n_tasks, p)), np.zeros((n_tasks, p))
        self._xu, self._xd = np.zeros(n_tasks), np.zeros(n_tasks)
        self._Y = [None] * n_tasks

    def factor(self, slope_strength):
        data, p = self.moments, self.moments.n_features
        self.kappa = kappa_of(slope_strength, self._scale)
        self._S = np.zeros((p, p))
        for t in np.flatnonzero(self.active):
            root = data.root(t)
            X, y, mean = root[:, :p], root[:, p], self._about[t, :p]
            if self.kappa > 0:
                varying = X[:, self._own]
                L = cholesky(np.eye(len(X)) + self.kappa * (varying @ varying.T), lower=True)
                X, y = (
                    solve_triangular(L, root, lower=True)[:, :p],
                    solve_triangular(L, y, lower=True),
                )
            self._Y[t] = X
            self._S += X.T @ X
            self._d[t] = X.T @ y
            own_mean = mean[self._own]
            self._u[t] = mean - self.kappa * (X.T @ (X[:, self._own] @ own_mean))
            self._xu[t] = own_mean @ self._u[t, self._own]
            self._xd[t] = own_mean @ self._d[t, self._own]
        self._r = self._d.sum(0)
        return self

    def _schur_by_group(self, group):
        schur = np.zeros((group.max() + 1, *self._S.shape))
        for t in np.flatnonzero(self.active):
            schur[group[t]] += self._Y[t].T @ self._Y[t]
        return schur

    def _models(self, t, theta, strengths):
        """Return slopes ``(n_pairs, n_features)`` and intercepts of task t for each solution."""
        data, p, own = self.moments, self.moments.n_features, self._own
        a, M = theta[:, 0], theta[:, 1:]
        centre = anchor = np.zeros(p)
        if self.centres is not None:
            centre, anchor = self.centres[t], self.anchors[t]
        if not self.active[t]:
            return M.copy(), a + M @ (anchor - centre)
        Y, n, mean = self._Y[t], data.weight[t], self._about[t]
        at_centre = a + M @ anchor
        B = M.copy()
        if self.kappa > 0:
            rho = pull(n, strengths)
            w = rho / (1.0 + self.kappa * rho * self._xu[t])
            e = mean[p] - self.kappa * self._xd[t] - at_centre - M @ self._u[t]
            B[:, own] += self.kappa * (self._d[t, own] - (M @ Y.T) @ Y[:, own])
            B[:, own] += (self.kappa * w * e)[:, None] * self._u[t, own]
        intercept = at_centre + n / (n + strengths) * (mean[p] - B @ mean[:p] - at_centre)
        return B, intercept - B @ centre

    def leftover_variance(self):
        out = np.zeros(self.moments.n_features)
        for t in range(len(self.active)):
            out += self.kappa
            if self.active[t]:
                out[self._own] -= self.kappa**2 * (self._Y[t][:, self._own] ** 2).sum(0)
        return out

    def errors(self, theta, intercept_strengths, test):
        sse = np.zeros((len(self.active), len(theta)))
        for t in np.flatnonzero(test.weight > 0):
            B, a = self._models(t, theta, intercept_strengths)
            root = test.root(t)
            mean_error = test.mean[t, -1] - a - B @ test.mean[t, :-1]
            squares = ((root[:, -1:] - root[:, :-1] @ B.T) ** 2).sum(0)
            sse[t] = squares + test.weight[t] * mean_error**2
        return sse

    def models(self, theta, intercept_strengths, slopes, intercepts, first=0):
        columns = slice(first, first + len(theta))
        for t in range(len(self.active)):
            slopes[t, columns], intercepts[t, columns] = self._models(t, theta, intercept_strengths)

    def add_blend(self, theta, intercept_strengths, share, coef, intercept):
        for t in np.flatnonzero(share.any(axis=1)):
            B, a = self._models(t, theta, intercept_strengths)
            coef[t] += share[t] @ B
            intercept[t] += share[t] @ a
