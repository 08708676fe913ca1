r"""Linear models of one task's rows that are pulled to given parameters, or start from them.

With scores :math:`f_k(x) = x'b_k + c_k` (one of numbers and of two classes, else one a class) and
a centre :math:`m_k` of the slopes,

.. math:: \min_{b, c} \; \sum_i w_i \ell(f(x_i), y_i) + \frac{s}{2} \sum_k \|b_k - m_k\|^2

where the loss is half the square, or the log-loss. Intercepts are free. The slopes move within the
space of the rows only, so that a thin singular value decomposition of them leaves few unknowns:
closed form for the square, Newton's method for the log-loss, with steps by conjugate gradients.

References
----------
Ali, A., Kolter, J. Z. and Tibshirani, R. J. (2019). A continuous-time view of early stopping for
least squares regression. AISTATS. :doi:`10.48550/arXiv.1810.10082`
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..losses import LOG_LOSS, SQUARED_ERROR

__all__ = ["LogisticRows", "SquaredRows", "gradient_path"]

_MOST_STEPS, _MOST_HALVINGS = 100, 40
# Of the log-loss by intercepts, a row: probabilities of 0 and 1 have none at all.
_LEAST_BEND = 1e-10


class _Rows:
    """Rows about their mean, and their singular value decomposition.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        Above zero.
    fit_intercept : bool
        False: intercepts stay as they are at the start.
    """

    # The loss's curvature is at most this.
    curvature = 1.0

    def __init__(self, X, weight, fit_intercept):
        self.weight, self.fit_intercept = weight, fit_intercept
        mean = weight @ X / weight.sum()
        self.mean = mean if fit_intercept else np.zeros_like(mean)
        self.X = X - self.mean
        self.root = np.sqrt(weight)
        U, s, self.V = np.linalg.svd(self.root[:, None] * self.X, full_matrices=False)
        kept = s > s.max(initial=0.0) * max(X.shape) * np.finfo(np.float64).eps
        self.U, self.s, self.V = U[:, kept], s[kept], self.V[kept]

    @property
    def scale(self):
        """Strength at which a pull counts about as much as the rows."""
        return self.curvature * (self.s**2).sum() / max(len(self.s), 1)


class SquaredRows(_Rows):
    """Rows whose target is a number; `y` is of shape (n_rows,)."""

    def __init__(self, X, y, weight, fit_intercept=True):
        super().__init__(X, weight, fit_intercept)
        self.y = y

    def solve(self, centre, intercept, strength):
        """Minimise in closed form.

        Parameters
        ----------
        centre : ndarray of shape (1, n_features)
        intercept : ndarray of shape (1,)
            Kept where intercepts are not fitted.
        strength : float
            s; 0 is the least squares solution nearest to the centre, infinity the centre.

        Returns
        -------
        coef, intercept
            As `centre` and `intercept`.
        """
        level = self.weight @ self.y / self.weight.sum() if self.fit_intercept else intercept[0]
        missed = self.U.T @ (self.root * (self.y - level - self.X @ centre[0]))
        factor = np.zeros_like(self.s) if strength == np.inf else self.s / (self.s**2 + strength)
        coef = centre[0] + (factor * missed) @ self.V
        return coef[None], np.atleast_1d(level - self.mean @ coef)

    def gradient(self, scores):
        """By the scores ``(n_rows, 1)`` of every row."""
        return self.weight[:, None] * SQUARED_ERROR.gradient(scores, self.y[:, None])


class LogisticRows(_Rows):
    """Rows whose target is a class.

    Where rows of some classes are lacking, free intercepts would run away. So the scores of these
    classes at the rows' mean stay where they start, and those of the others keep their mean.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Of classes, from 0 on.
    n_classes : int
    """

    def __init__(self, X, codes, n_classes, weight, fit_intercept=True):
        super().__init__(X, weight, fit_intercept)
        present = np.bincount(codes, minlength=n_classes) > 0
        if n_classes == 2:
            self.curvature, self.target = 0.25, (codes == 1).astype(np.float64)[:, None]
            free = np.ones((1, int(present.all())))
        else:
            self.curvature, self.target = 0.5, np.eye(n_classes)[codes]
            free = np.eye(n_classes)[:, present] - (present / present.sum())[:, None]
            free = np.linalg.qr(free)[0][:, : present.sum() - 1]
        self.free = free if fit_intercept else free[:, :0]

    def gradient(self, scores):
        """By the scores ``(n_rows, n_scores)`` of every row."""
        return self.weight[:, None] * LOG_LOSS.gradient(scores, self.target)

    def loss(self, scores):
        """The log-loss, summed over rows."""
        return self.weight @ LOG_LOSS.value(scores, self.target)

    def solve(self, centre, intercept, strength, tol=1e-10):
        """Minimise by Newton's method.

        Parameters
        ----------
        centre : ndarray of shape (n_scores, n_features)
        intercept : ndarray of shape (n_scores,)
            To start from.
        strength : float
            s, above 0; infinity leaves the slopes at the centre.
        tol : float
            On the largest entry of the gradient, each relative to the sum of the sizes of what
            adds up to it.

        Returns
        -------
        coef, intercept
            As `centre` and `intercept`.

        Warns
        -----
        ConvergenceWarning
            Where the gradient is not as small as `tol`.
        """
        Z = self.X @ self.V.T
        if strength == np.inf:
            Z, strength = Z[:, :0], 0.0
        base = self.X @ centre.T + (intercept + centre @ self.mean)
        u, z = np.zeros((Z.shape[1], len(centre))), self._start(base)
        size = np.abs(Z).T @ self.weight
        scores = base + self.free @ z
        value = self.loss(scores)
        for _ in range(_MOST_STEPS):
            slope = self.gradient(scores)
            g_u, g_z = Z.T @ slope + strength * u, self.free.T @ slope.sum(axis=0)
            each = np.abs(g_u) / (size[:, None] + strength * np.abs(u))
            residual = max(each.max(initial=0.0), np.abs(g_z).max(initial=0.0) / self.weight.sum())
            if residual <= tol:
                break
            du, dz = self._direction(Z, scores, g_u, g_z, strength, min(0.1, residual))
            step, moved = 1.0, Z @ du + self.free @ dz
            fall = (g_u * du).sum() + g_z @ dz
            for _ in range(_MOST_HALVINGS):
                new = u + step * du, z + step * dz
                there = scores + step * moved
                after = self.loss(there) + 0.5 * strength * (new[0] ** 2).sum()
                if after <= value + 1e-4 * step * fall + 1e-14 * abs(value):
                    break
                step *= 0.5
            (u, z), scores, value = new, there, after
        else:
            warnings.warn(
                f"Newton's method stopped after {_MOST_STEPS} steps with a gradient of "
                f"{residual:.1e}, above the tolerance {tol:.1e}. Scaling the features, or a "
                "stronger penalty, may help.",
                ConvergenceWarning,
                stacklevel=2,
            )
        coef = centre + u.T @ self.V[: len(u)]
        # Of the centred features; a stay of the intercept is one of them as they stand.
        level = intercept + centre @ self.mean + self.free @ z
        if self.fit_intercept:
            level = level - coef @ self.mean
        return coef, level

    def _start(self, base):
        """Where free intercepts start: at the classes' shares, if that is better than at zero.

        Where the source's scores are far off, all probabilities are 0 or 1, and nothing bends.
        """
        shares = self.weight @ self.target / self.weight.sum()
        with np.errstate(divide="ignore"):
            levels = np.log(shares) - (np.log1p(-shares) if len(shares) == 1 else 0.0)
        z = self.free.T @ (np.where(np.isfinite(levels), levels, 0.0) - base.mean(axis=0))
        return z if self.loss(base + self.free @ z) < self.loss(base) else np.zeros_like(z)

    def _direction(self, Z, scores, g_u, g_z, strength, forcing):
        """Newton's step, by preconditioned conjugate gradients."""
        p, w = LOG_LOSS.means(scores), self.weight[:, None]
        total = self.weight.sum()
        bend = (w * p * (1.0 - p)).sum(axis=0) / total
        by = (self.s[: len(g_u), None] ** 2 * bend + strength).ravel()
        by = np.concatenate([by, np.full(len(g_z), max(bend.mean(), _LEAST_BEND) * total)])
        by = np.maximum(by, by.max() * 1e-15)
        shape, n_u = g_u.shape, g_u.size

        def curve(flat):
            du, dz = flat[:n_u].reshape(shape), flat[n_u:]
            d = Z @ du + self.free @ dz
            d = w * LOG_LOSS.curve(p, d)
            return np.concatenate([(Z.T @ d + strength * du).ravel(), self.free.T @ d.sum(axis=0)])

        flat = _conjugate_gradients(curve, -np.concatenate([g_u.ravel(), g_z]), by, forcing)
        return flat[:n_u].reshape(shape), flat[n_u:]


def _conjugate_gradients(matrix, b, by, forcing):
    """x with ``matrix(x) = b``, up to `forcing` of b; `by` is about the matrix's diagonal."""
    x, r = np.zeros_like(b), b.copy()
    d = r / by
    rho = start = r @ d
    for _ in range(2 * len(b) + 10):
        q = matrix(d)
        bend = d @ q
        if bend <= 0.0:
            break
        x += rho / bend * d
        r -= rho / bend * q
        new = r @ (r / by)
        if new <= forcing**2 * start:
            break
        d = r / by + new / rho * d
        rho = new
    return x if x.any() else b / by


def gradient_path(rows, coef, intercept, penalty, steps):
    r"""Gradient descent from given parameters: where it is after so many steps.

    The objective is the rows' loss and :math:`\frac{s}{2} \sum_k \|b_k\|^2`. A step's length is
    one over the largest curvature there is, for the slopes and for the intercepts (at the rows'
    mean) each; so no step makes the objective larger.

    Parameters
    ----------
    rows : SquaredRows or LogisticRows
    coef : ndarray of shape (n_scores, n_features)
    intercept : ndarray of shape (n_scores,)
        To start from.
    penalty : float
        s.
    steps : list of int
        Ascending.

    Yields
    ------
    coef, intercept
        After each of `steps`.
    """
    level = intercept + coef @ rows.mean
    top = rows.curvature * rows.s.max(initial=0.0) ** 2 + penalty
    slope_step = 1.0 / top if top > 0.0 else 0.0
    level_step = 1.0 / (rows.curvature * rows.weight.sum()) if rows.fit_intercept else 0.0
    done = 0
    for wanted in steps:
        for _ in range(wanted - done):
            g = rows.gradient(rows.X @ coef.T + level)
            coef = coef - slope_step * (g.T @ rows.X + penalty * coef)
            level = level - level_step * g.sum(axis=0)
        done = wanted
        yield coef, level - coef @ rows.mean
