r"""One linear map of the features for several tasks, with one linear head per task.

.. math:: \min_{A, H, c} \; F = \sum_t \lambda_t \sum_{i \in t} w_i \ell(x_i'A H_t + c_t, y_i)
          + \frac{\mu}{2} \left(\|A\|_F^2 + \|H\|_F^2\right)

where the loss is half the squared error or the log-loss, A has shape (n_features, n_components),
and H has one column for every score of every task. The smallest sum of the two norms over all A and
H with the same product B = AH is the trace norm of B. The problem is not convex, but a stationary
point with :math:`\|\nabla L(B)\|_2 \le \mu` is optimal among B of any rank
(`SharedMap.excess`).

Newton's method in a trust region starts from the leading components of preliminary models of every
task; the objective never increases.

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
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ..losses import LOG_LOSS, SQUARED_ERROR

__all__ = ["MapSolution", "MappedTask", "SharedMap"]


@dataclass(frozen=True)
class MappedTask:
    """Centred rows of one task.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    target : ndarray of shape (n_rows, n_scores)
        Numbers (n_scores = 1), 0 and 1, or one indicator per class.
    weight : ndarray of shape (n_rows, 1)
    mean, level : ndarray of shape (n_features,) and (n_scores,)
        Means subtracted from X, and from numeric targets.
    squared : bool
        Whether the loss is half the squared error; otherwise it is the log-loss.
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
        """Centre the rows; with squared error, reduce them to as many as there are features."""
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
        """Number of intercepts to solve for; those of the squared error follow from the slopes."""
        return self.target.shape[1] if self.fit_intercept and not self.squared else 0

    @property
    def _loss(self):
        return SQUARED_ERROR if self.squared else LOG_LOSS

    def scaled(self, factor):
        """Return the task with weights multiplied by `factor`."""
        return replace(self, weight=factor * self.weight)

    def loss(self, scores):
        """Return the loss, and its derivatives by the scores ``(n_rows, n_scores)``."""
        value = self.weight[:, 0] @ self._loss.value(scores, self.target)
        return value, self.weight * self._loss.gradient(scores, self.target)

    def curve(self, scores, d_scores):
        """Return the change of these derivatives for a change of the scores."""
        return self.weight * self._loss.curve(self._loss.means(scores), d_scores)

    def preliminary(self, ridge):
        """Return slopes ``(n_features, n_scores)`` of a ridge regression on the target."""
        y = self.target
        if not self.squared:
            y = 4.0 * (y - (self.weight * y).sum(axis=0) / self.weight.sum())
        R, y = np.sqrt(self.weight) * self.X, np.sqrt(self.weight) * y
        is_wide = len(R) < R.shape[1]
        gram = R @ R.T if is_wide else R.T @ R
        gram[np.diag_indices_from(gram)] += ridge
        return R.T @ np.linalg.solve(gram, y) if is_wide else np.linalg.solve(gram, R.T @ y)


@dataclass(frozen=True)
class MapSolution:
    """Solution of `SharedMap`.

    Attributes
    ----------
    A, H, c : ndarray
        The map, the heads, and intercepts at the tasks' means.
    history : list of float
        Objective after every step; it never increases.
    gradient : float
        Largest entry of the gradient, in the units of `SharedMap.solve`.
    """

    A: np.ndarray
    H: np.ndarray
    c: np.ndarray
    history: list
    gradient: float


class SharedMap:
    """Several tasks with a common map of the features.

    Parameters
    ----------
    tasks : list of MappedTask
    n_components : int
        Rank of the map; reduced to the number of features, or of scores, if that is smaller.
    """

    _last = None  # parameters that were evaluated, and the results

    def __init__(self, tasks, n_components):
        self.tasks = tasks
        self.X = np.vstack([task.X for task in tasks])
        self.rows = _slices([len(task.X) for task in tasks])
        self.columns = _slices([task.target.shape[1] for task in tasks])
        self.levels = _slices([task.n_levels for task in tasks])
        p, m = self.X.shape[1], self.columns[-1].stop
        self.n_components = n_components = min(n_components, p, m)
        self.shapes = (p, n_components), (n_components, m), (self.levels[-1].stop,)

    def _unpack(self, x):
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(x, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _parts(self):
        return zip(self.tasks, self.rows, self.columns, self.levels, strict=True)

    def _scores(self, Z, H, c):
        """Return the scores of each task's rows, from the mapped features Z of all rows."""
        scores = []
        for task, rows, columns, levels in self._parts():
            of_task = Z[rows] @ H[:, columns]
            scores.append(of_task + c[levels] if task.n_levels else of_task)
        return scores

    def _back(self, by_scores, Z, H, by_levels):
        """Return derivatives by Z and by H from those by scores; write those by intercepts."""
        by_Z, by_H = np.empty_like(Z), np.empty_like(H)
        for by_score, (task, rows, columns, levels) in zip(by_scores, self._parts(), strict=True):
            by_Z[rows], by_H[:, columns] = by_score @ H[:, columns].T, Z[rows].T @ by_score
            if task.n_levels:
                by_levels[levels] = by_score.sum(axis=0)
        return by_Z, by_H

    def _losses(self, scores):
        found = [task.loss(s) for task, s in zip(self.tasks, scores, strict=True)]
        return sum(value for value, _ in found), [by_score for _, by_score in found]

    def _evaluate(self, x):
        """Return (A, H, c) of x, the mapped features, scores, the loss and its derivatives."""
        if self._last is None or not np.array_equal(self._last[0], x):
            A, H, c = self._unpack(x)
            Z = self.X @ A
            scores = self._scores(Z, H, c)
            self._last = x.copy(), (A, H, c), Z, scores, *self._losses(scores)
        return self._last[1:]

    def value_and_gradient(self, x, mu):
        """Return the objective and its gradient at x, which holds A, H and c."""
        (A, H, _), Z, _, value, by_scores = self._evaluate(x)
        out = np.empty_like(x)
        by_A, by_heads, by_c = self._unpack(out)
        by_Z, by_H = self._back(by_scores, Z, H, by_c)
        by_A[:], by_heads[:] = self.X.T @ by_Z + mu * A, by_H + mu * H
        return value + 0.5 * mu * ((A**2).sum() + (H**2).sum()), out

    def curve(self, x, v, mu):
        """Return the Hessian at x, times v."""
        (_, H, c), Z, scores, _, by_scores = self._evaluate(x)
        dA, dH, dc = self._unpack(v)
        dZ = self.X @ dA
        both = zip(self._scores(dZ, H, dc), self._scores(Z, dH, 0.0 * c), strict=True)
        changes = zip(self.tasks, scores, (a + b for a, b in both), strict=True)
        out = np.empty_like(x)
        by_A, by_heads, by_c = self._unpack(out)
        by_Z, by_H = self._back([task.curve(s, d) for task, s, d in changes], Z, H, by_c)
        more_Z, more_H = self._back(by_scores, dZ, dH, np.empty_like(c))
        by_A[:] = self.X.T @ (by_Z + more_Z) + mu * dA
        by_heads[:] = by_H + more_H + mu * dH
        return out

    def loss_gradient(self, B, c):
        """Return the derivatives of the loss by B, of shape (n_features, n_scores)."""
        by_scores = self._losses(self._scores(self.X, B, c))[1]
        return np.hstack([self.X[rows].T @ d for d, rows in zip(by_scores, self.rows, strict=True)])

    def _base_levels(self):
        """Return the optimal intercepts if all slopes are zero."""
        c = np.zeros(self.shapes[2])
        for task, levels in zip(self.tasks, self.levels, strict=True):
            if task.n_levels:
                share = (task.weight * task.target).sum(axis=0) / task.weight.sum()
                c[levels] = np.log(share / (1.0 - share) if len(share) == 1 else share)
        return c

    def strongest(self):
        """Return the smallest mu at which all slopes are zero."""
        zero = np.zeros((self.shapes[0][0], self.shapes[1][1]))
        return np.linalg.norm(self.loss_gradient(zero, self._base_levels()), 2)

    @cached_property
    def _preliminary(self):
        """Singular value decomposition of the slopes of one ridge regression per task."""
        p = self.X.shape[1]
        ridge = [(task.weight * task.X**2).sum() / p for task in self.tasks]
        slopes = [t.preliminary(0.1 * r or 1.0) for t, r in zip(self.tasks, ridge, strict=True)]
        return np.linalg.svd(np.hstack(slopes), full_matrices=False)

    def start(self):
        """Return the leading components of preliminary models of every task."""
        (U, s, V), r = self._preliminary, self.n_components
        root = np.sqrt(np.maximum(s[:r], 1e-3 * s[0]))
        A, H = U[:, :r] * root, root[:, None] * V[:r]
        return np.concatenate([A.ravel(), H.ravel(), self._base_levels()])

    def _restart(self, solution):
        """Return parameters to start from a solution at a stronger penalty.

        A component that is zero in A and in H would remain zero, as the gradient is zero there. It
        is replaced by the unused direction in which the loss decreases most.
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
        """Minimise from `start` to a stationary point.

        Parameters
        ----------
        mu : float
            Positive.
        start : MapSolution, optional
            For example the solution at a stronger penalty.
        tol : float
            Tolerance on the largest entry of the gradient, in units that do not depend on those of
            the features and of numeric targets.

        Returns
        -------
        MapSolution

        Warns
        -----
        ConvergenceWarning
            If the gradient exceeds `tol`.
        """
        x = self.start() if start is None else self._restart(start)
        # Slopes are products of A and H, which each get the root of their unit; intercepts get 1.
        slope = self._preliminary[1][0] or 1.0
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
        gradient = float(np.abs(found.jac).max(initial=0.0))
        if gradient > tol:
            warnings.warn(
                f"the shared map stopped after {found.nit} steps with a gradient of "
                f"{gradient:.1e}, above the tolerance {tol:.1e}. Scaling the features, or a larger "
                "alpha, may help.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return MapSolution(*self._unpack(unit * found.x), history, gradient)

    def excess(self, solution, mu):
        """Return a value that is at most 1 if a stationary point is optimal among B of any rank."""
        G = self.loss_gradient(solution.A @ solution.H, solution.c)
        return np.linalg.norm(G, 2) / mu

    def model(self, solution, t):
        """Return slopes ``(n_scores, n_features)`` and intercepts of task t, for raw features."""
        task = self.tasks[t]
        coef = (solution.A @ solution.H[:, self.columns[t]]).T
        level = task.level + (solution.c[self.levels[t]] if task.n_levels else 0.0)
        return coef, level - coef @ task.mean


def _slices(sizes):
    ends = np.cumsum(sizes)
    return [slice(int(b - n), int(b)) for n, b in zip(sizes, ends, strict=True)]
