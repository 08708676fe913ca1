r"""One linear map of the features for several tasks, with a linear head for each.

.. math:: \min_{A, H, c} \; F = \sum_t \lambda_t \sum_{i \in t} w_i \ell(x_i'A H_t + c_t, y_i)
          + \frac{\mu}{2} \left(\|A\|_F^2 + \|H\|_F^2\right)

with half the square, or the log-loss, A of shape (n_features, n_components), and a column of H for
every score of every task. The two norms are least, over all A and H of the same product B = AH, at
the trace norm of B. The problem is not convex. Where a stationary point has
:math:`\|\nabla L(B)\|_2 \le \mu`, though, no B of any rank is better (`SharedMap.excess`).

Newton's method in a trust region goes down from the leading components of rough models of every
task; the objective never rises.

References
----------
Ando, R. K. and Zhang, T. (2005). A framework for learning predictive structures from multiple tasks
and unlabeled data. Journal of Machine Learning Research 6.
https://www.jmlr.org/papers/v6/ando05a.html

Haeffele, B. D. and Vidal, R. (2020). Structured low-rank matrix factorization: global optimality,
algorithms, and applications. IEEE Transactions on Pattern Analysis and Machine Intelligence 42(6).
:doi:`10.1109/TPAMI.2019.2900306`
"""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ..losses import LOG_LOSS, SQUARED_ERROR

__all__ = ["MappedTask", "Shared", "SharedMap"]


@dataclass(frozen=True)
class MappedTask:
    """Rows of one task about their mean.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    target : ndarray of shape (n_rows, n_scores)
        Numbers (n_scores = 1), 0 and 1, or one indicator a class.
    weight : ndarray of shape (n_rows, 1)
    mean, level : ndarray of shape (n_features,) and (n_scores,)
        Taken off X, and off numbers.
    squared : bool
        The loss: half the square, or the log-loss.
    fit_intercept : bool
    """

    X: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    level: np.ndarray
    squared: bool
    fit_intercept: bool

    @classmethod
    def of(cls, X, target, weight, squared, fit_intercept=True):
        """Rows as they stand; those of squared loss become as few as there are features."""
        weight = weight[:, None]
        mean, level = np.zeros(X.shape[1]), np.zeros(target.shape[1])
        if fit_intercept:
            mean = (weight * X).sum(axis=0) / weight.sum()
        X = X - mean
        if squared:
            if fit_intercept:
                level = (weight * target).sum(axis=0) / weight.sum()
            rows = np.sqrt(weight) * np.hstack([X, target - level])
            if len(rows) > rows.shape[1]:
                rows = np.linalg.qr(rows, mode="r")
            X, target = rows[:, :-1].copy(), rows[:, -1:].copy()
            weight = np.ones((len(rows), 1))
        return cls(X, target, weight, mean, level, squared, fit_intercept)

    @property
    def n_levels(self):
        """Intercepts that are unknowns; those of squared loss follow."""
        return self.target.shape[1] if self.fit_intercept and not self.squared else 0

    def scaled(self, factor):
        """The same with rows that count `factor` times."""
        return MappedTask(
            self.X, self.target, factor * self.weight, self.mean, self.level, self.squared,
            self.fit_intercept,
        )  # fmt: skip

    def loss(self, scores):
        """The loss, and its gradient by the scores ``(n_rows, n_scores)``."""
        loss = SQUARED_ERROR if self.squared else LOG_LOSS
        value = self.weight[:, 0] @ loss.value(scores, self.target)
        return value, self.weight * loss.gradient(scores, self.target)

    def curve(self, scores, moved):
        """The change of that gradient as the scores move."""
        loss = SQUARED_ERROR if self.squared else LOG_LOSS
        return self.weight * loss.curve(loss.means(scores), moved)

    def rough(self, ridge):
        """Slopes ``(n_features, n_scores)`` of a ridge regression on the target."""
        y = self.target
        if not self.squared:
            y = 4.0 * (y - (self.weight * y).sum(axis=0) / self.weight.sum())
        R = np.sqrt(self.weight) * self.X
        small = R @ R.T if len(R) < R.shape[1] else R.T @ R
        small[np.diag_indices_from(small)] += ridge
        y = np.sqrt(self.weight) * y
        if len(R) < R.shape[1]:
            return R.T @ np.linalg.solve(small, y)
        return np.linalg.solve(small, R.T @ y)


@dataclass(frozen=True)
class Shared:
    """A solution.

    Attributes
    ----------
    A, H, c : ndarray
        The map, the heads, and intercepts at the tasks' means.
    history : list of float
        The objective, after every step; it never rises.
    gradient : float
        The largest entry of the gradient, in the units of `SharedMap.solve`.
    """

    A: np.ndarray
    H: np.ndarray
    c: np.ndarray
    history: list
    gradient: float


class SharedMap:
    """Several tasks, and their common map of a number of components.

    Parameters
    ----------
    tasks : list of MappedTask
    n_components : int
        At most as many as there are features, and scores.
    """

    def __init__(self, tasks, n_components):
        self.tasks = tasks
        self.X = np.vstack([task.X for task in tasks])
        self.rows = _slices([len(task.X) for task in tasks])
        self.columns = _slices([task.target.shape[1] for task in tasks])
        self.levels = _slices([task.n_levels for task in tasks])
        p, m = self.X.shape[1], self.columns[-1].stop
        self.n_components = n_components = min(n_components, p, m)
        self.shapes = (p, n_components), (n_components, m), (self.levels[-1].stop,)
        self._last = None

    def _unpack(self, x):
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(x, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _scores(self, Z, H, c):
        """Scores of every task's rows, of which Z are the mapped features."""
        scores = []
        for task, rows, own, levels in self._parts():
            s = Z[rows] @ H[:, own]
            scores.append(s + c[levels] if task.n_levels else s)
        return scores

    def _parts(self):
        return zip(self.tasks, self.rows, self.columns, self.levels, strict=True)

    def _back(self, slopes, Z, H, levels_out):
        """From gradients by the scores: those by Z and by H; intercepts' go to `levels_out`."""
        by_Z, by_H = np.empty_like(Z), np.empty_like(H)
        for slope, (task, rows, own, levels) in zip(slopes, self._parts(), strict=True):
            by_Z[rows], by_H[:, own] = slope @ H[:, own].T, Z[rows].T @ slope
            if task.n_levels:
                levels_out[levels] = slope.sum(axis=0)
        return by_Z, by_H

    def _losses(self, scores):
        found = [task.loss(s) for task, s in zip(self.tasks, scores, strict=True)]
        return sum(value for value, _ in found), [slope for _, slope in found]

    def _look(self, x):
        """A, H and c at x, the mapped features, scores, the loss and its slopes by the scores."""
        if self._last is None or not np.array_equal(self._last[0], x):
            A, H, c = self._unpack(x)
            Z = self.X @ A
            scores = self._scores(Z, H, c)
            self._last = x.copy(), (A, H, c), Z, scores, *self._losses(scores)
        return self._last[1:]

    def value_and_gradient(self, x, mu):
        """Of the objective, at A, H and c in one vector."""
        (A, H, _), Z, _, value, slopes = self._look(x)
        out = np.empty_like(x)
        by_A, by_heads, by_c = self._unpack(out)
        by_Z, by_H = self._back(slopes, Z, H, by_c)
        by_A[:], by_heads[:] = self.X.T @ by_Z + mu * A, by_H + mu * H
        return value + 0.5 * mu * ((A**2).sum() + (H**2).sum()), out

    def curve(self, x, v, mu):
        """The Hessian at x, times v."""
        (_, H, c), Z, scores, _, slopes = self._look(x)
        dA, dH, dc = self._unpack(v)
        dZ = self.X @ dA
        both = zip(self._scores(dZ, H, dc), self._scores(Z, dH, 0.0 * c), strict=True)
        moved = zip(self.tasks, scores, (a + b for a, b in both), strict=True)
        bent = [task.curve(s, d) for task, s, d in moved]
        out = np.empty_like(x)
        by_A, by_heads, by_c = self._unpack(out)
        by_Z, by_H = self._back(bent, Z, H, by_c)
        more_Z, more_H = self._back(slopes, dZ, dH, np.empty_like(c))
        by_A[:] = self.X.T @ (by_Z + more_Z) + mu * dA
        by_heads[:] = by_H + more_H + mu * dH
        return out

    def loss_gradient(self, B, c):
        """By B, of shape (n_features, n_scores)."""
        slopes = self._losses(self._scores(self.X, B, c))[1]
        parts = [self.X[rows].T @ s for s, rows in zip(slopes, self.rows, strict=True)]
        return np.hstack(parts)

    def _base_levels(self):
        """Intercepts that are best where all slopes are zero."""
        c = np.zeros(self.shapes[2])
        for task, levels in zip(self.tasks, self.levels, strict=True):
            if task.n_levels:
                share = (task.weight * task.target).sum(axis=0) / task.weight.sum()
                c[levels] = np.log(share / (1.0 - share) if len(share) == 1 else share)
        return c

    def strongest(self):
        """The mu from which on all slopes are zero."""
        nothing = np.zeros((self.shapes[0][0], self.shapes[1][1]))
        return np.linalg.norm(self.loss_gradient(nothing, self._base_levels()), 2)

    @cached_property
    def _rough(self):
        """Singular vectors and values of rough slopes of every task, each on its own."""
        p = self.X.shape[1]
        ridge = [(task.weight * task.X**2).sum() / p for task in self.tasks]
        rough = [t.rough(0.1 * r or 1.0) for t, r in zip(self.tasks, ridge, strict=True)]
        return np.linalg.svd(np.hstack(rough), full_matrices=False)

    def start(self):
        """The leading components of rough models of every task."""
        (U, s, V), r = self._rough, self.n_components
        root = np.sqrt(np.maximum(s[:r], 1e-3 * s[0]))
        A, H = U[:, :r] * root, root[:, None] * V[:r]
        return np.concatenate([A.ravel(), H.ravel(), self._base_levels()])

    def _restart(self, solution):
        """Its parameters, with components that a stronger penalty has killed back again.

        A component that is zero in A and in H stays so: the gradient is zero there. It is made to
        start along that in which the loss falls most, of the directions that are not in use.
        """
        U, s, V = np.linalg.svd(solution.A @ solution.H, full_matrices=False)
        r = self.n_components
        dead = np.flatnonzero(s[:r] <= 1e-6 * s[0])
        if len(dead) == r:
            return self.start()
        if len(dead):
            U0, V0 = U[:, : dead[0]], V[: dead[0]]
            G = -self.loss_gradient((U0 * s[: dead[0]]) @ V0, solution.c)
            G = G - U0 @ (U0.T @ G)
            L, _, R = np.linalg.svd(G - (G @ V0.T) @ V0, full_matrices=False)
            U[:, dead], V[dead], s[dead] = L[:, : len(dead)], R[: len(dead)], 1e-2 * s[0]
        root = np.sqrt(s[:r])
        A, H = U[:, :r] * root, root[:, None] * V[:r]
        return np.concatenate([A.ravel(), H.ravel(), solution.c])

    def solve(self, mu, start=None, tol=1e-7, max_iter=500):
        """Go down from `start` to a stationary point.

        Parameters
        ----------
        mu : float
            Above zero.
        start : Shared, optional
            The solution at a stronger penalty, say.
        tol : float
            On the largest entry of the gradient, in units in which neither those of numbers nor
            those of features matter.

        Returns
        -------
        Shared

        Warns
        -----
        ConvergenceWarning
            Where the gradient is not as small as `tol`.
        """
        x = self.start() if start is None else self._restart(start)
        # Slopes are products of A and H: each has the root of their unit. Intercepts have none.
        slope = self._rough[1][0] or 1.0
        scale, unit = slope * (self.strongest() or 1.0), np.full(len(x), np.sqrt(slope))
        unit[len(x) - self.shapes[2][0] :] = 1.0
        history = [self.value_and_gradient(x, mu)[0]]

        def value_and_gradient(z):
            value, gradient = self.value_and_gradient(unit * z, mu)
            return value / scale, unit * gradient / scale

        found = minimize(
            value_and_gradient, x / unit, jac=True, method="trust-ncg",
            hessp=lambda z, v: unit * self.curve(unit * z, unit * v, mu) / scale,
            callback=lambda z: history.append(self.value_and_gradient(unit * z, mu)[0]),
            options={"gtol": 0.1 * tol, "maxiter": max_iter},
        )  # fmt: skip
        away = np.abs(found.jac).max(initial=0.0)
        if away > tol:
            warnings.warn(
                f"the shared map was left after {found.nit} steps with a gradient of {away:.1e}, "
                f"above the tolerance {tol:.1e}. Scaling the features, or a larger alpha, may "
                "help.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return Shared(*self._unpack(unit * found.x), history, float(away))

    def excess(self, solution, mu):
        """Of a stationary point: at most 1 where no B of any rank has a lower objective."""
        G = self.loss_gradient(solution.A @ solution.H, solution.c)
        return np.linalg.norm(G, 2) / mu

    def model(self, solution, t):
        """Slopes ``(n_scores, n_features)`` and intercepts of task t on features as they stand."""
        task = self.tasks[t]
        coef = (solution.A @ solution.H[:, self.columns[t]]).T
        level = task.level + (solution.c[self.levels[t]] if task.n_levels else 0.0)
        return coef, level - coef @ task.mean


def _slices(sizes):
    ends = np.cumsum(sizes)
    return [slice(int(b - n), int(b)) for n, b in zip(sizes, ends, strict=True)]
