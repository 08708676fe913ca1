r"""Linear models of one task's rows that are shrunk towards given parameters, or start from them.

With scores :math:`f_k(x) = x'b_k + c_k` (one for numbers and for two classes, else one per class)
and a centre :math:`m_k` of the slopes,

.. math:: \min_{b, c} \; \sum_i w_i \ell(f(x_i), y_i) + \frac{s}{2} \sum_k \|b_k - m_k\|^2

where the loss is half the squared error, or the log-loss. Intercepts are not penalised. The slopes
move within the span of the rows only, so a thin singular value decomposition of the rows leaves few
unknowns: the squared error is minimised in closed form, and the log-loss by Newton's method, with
steps by conjugate gradients.

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
# Lower bound on the curvature of a row's log-loss, which vanishes at probabilities of 0 and 1.
_LEAST_CURVATURE = 1e-10


class _AnchoredRows:
    """Centred rows and their singular value decomposition.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        Positive.
    fit_intercept : bool
        If False, intercepts keep their initial values.
    """

    curvature = 1.0  # upper bound on that of the loss

    def __init__(self, X, weight, fit_intercept):
        self.weight, self.fit_intercept = weight, fit_intercept
        self.mean = weight @ X / weight.sum() if fit_intercept else np.zeros(X.shape[1])
        self.X = X - self.mean
        self.root = np.sqrt(weight)
        U, s, self.V = np.linalg.svd(self.root[:, None] * self.X, full_matrices=False)
        kept = s > s.max(initial=0.0) * max(X.shape) * np.finfo(np.float64).eps
        self.U, self.s, self.V = U[:, kept], s[kept], self.V[kept]

    @property
    def scale(self):
        """Strength at which the penalty counts about as much as the rows."""
        return self.curvature * (self.s**2).sum() / max(len(self.s), 1)


class SquaredRows(_AnchoredRows):
    """Rows whose target `y`, of shape (n_rows,), is a number."""

    def __init__(self, X, y, weight, fit_intercept=True):
        super().__init__(X, weight, fit_intercept)
        self.y = y

    def solve(self, centre, intercept, strength):
        """Minimise in closed form.

        Parameters
        ----------
        centre : ndarray of shape (1, n_features)
        intercept : ndarray of shape (1,)
            Kept if intercepts are not fitted.
        strength : float
            s; 0 gives the least squares solution nearest to the centre, infinity the centre.

        Returns
        -------
        coef, intercept : ndarray
            Of the shapes of `centre` and `intercept`.
        """
        level = self.weight @ self.y / self.weight.sum() if self.fit_intercept else intercept[0]
        residual = self.U.T @ (self.root * (self.y - level - self.X @ centre[0]))
        factor = np.zeros_like(self.s) if strength == np.inf else self.s / (self.s**2 + strength)
        coef = centre[0] + (factor * residual) @ self.V
        return coef[None], np.atleast_1d(level - self.mean @ coef)

    def gradient(self, scores):
        """Return the derivatives of the loss by the scores ``(n_rows, 1)``."""
        return self.weight[:, None] * SQUARED_ERROR.gradient(scores, self.y[:, None])


class LogisticRows(_AnchoredRows):
    """Rows whose target is a class.

    If some classes have no rows, the likelihood has no maximum in their intercepts. Therefore the
    scores of these classes at the rows' mean keep their initial values, and those of the other
    classes keep their mean.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Classes, from 0 on.
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
        """Return the derivatives of the loss by the scores ``(n_rows, n_scores)``."""
        return self.weight[:, None] * LOG_LOSS.gradient(scores, self.target)

    def loss(self, scores):
        """Return the log-loss, summed over rows."""
        return self.weight @ LOG_LOSS.value(scores, self.target)

    def solve(self, centre, intercept, strength, tol=1e-10):
        """Minimise by Newton's method.

        Parameters
        ----------
        centre : ndarray of shape (n_scores, n_features)
        intercept : ndarray of shape (n_scores,)
            Initial values.
        strength : float
            s, positive; infinity keeps the slopes at the centre.
        tol : float
            Tolerance on the entries of the gradient, each relative to the sum of the absolute
            values of its terms.

        Returns
        -------
        coef, intercept : ndarray
            Of the shapes of `centre` and `intercept`.

        Warns
        -----
        ConvergenceWarning
            If an entry of the gradient exceeds `tol`.
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
            relative = np.abs(g_u) / (size[:, None] + strength * np.abs(u))
            residual = max(
                relative.max(initial=0.0), np.abs(g_z).max(initial=0.0) / self.weight.sum()
            )
            if residual <= tol:
                break
            du, dz = self._direction(Z, scores, g_u, g_z, strength, min(0.1, residual))
            step, d_scores = 1.0, Z @ du + self.free @ dz
            descent = (g_u * du).sum() + g_z @ dz
            for _ in range(_MOST_HALVINGS):
                new_u, new_z, new_scores = u + step * du, z + step * dz, scores + step * d_scores
                new_value = self.loss(new_scores) + 0.5 * strength * (new_u**2).sum()
                if new_value <= value + 1e-4 * step * descent + 1e-14 * abs(value):
                    break
                step *= 0.5
            u, z, scores, value = new_u, new_z, new_scores, new_value
        else:
            warnings.warn(
                f"Newton's method stopped after {_MOST_STEPS} steps with a gradient of "
                f"{residual:.1e}, above the tolerance {tol:.1e}. Scaling the features, or a "
                "stronger penalty, may help.",
                ConvergenceWarning,
                stacklevel=2,
            )
        coef = centre + u.T @ self.V[: len(u)]
        level = intercept + centre @ self.mean + self.free @ z  # at the mean of the features
        return coef, level - coef @ self.mean if self.fit_intercept else level

    def _start(self, base):
        """Return initial intercepts from the shares of the classes, or zero if that is better.

        If the scores of the source are very large, all probabilities are 0 or 1 and the curvature
        vanishes.
        """
        shares = self.weight @ self.target / self.weight.sum()
        with np.errstate(divide="ignore"):
            levels = np.log(shares) - (np.log1p(-shares) if len(shares) == 1 else 0.0)
        z = self.free.T @ (np.where(np.isfinite(levels), levels, 0.0) - base.mean(axis=0))
        return z if self.loss(base + self.free @ z) < self.loss(base) else np.zeros_like(z)

    def _direction(self, Z, scores, g_u, g_z, strength, forcing):
        """Return Newton's step, by preconditioned conjugate gradients."""
        p, w = LOG_LOSS.means(scores), self.weight[:, None]
        total = self.weight.sum()
        curvature = (w * p * (1.0 - p)).sum(axis=0) / total
        of_u = (self.s[: len(g_u), None] ** 2 * curvature + strength).ravel()
        of_z = np.full(len(g_z), max(curvature.mean(), _LEAST_CURVATURE) * total)
        diagonal = np.concatenate([of_u, of_z])
        diagonal = np.maximum(diagonal, diagonal.max() * 1e-15)
        shape, n_u = g_u.shape, g_u.size

        def hessian(flat):
            du, dz = flat[:n_u].reshape(shape), flat[n_u:]
            d = w * LOG_LOSS.curve(p, Z @ du + self.free @ dz)
            return np.concatenate([(Z.T @ d + strength * du).ravel(), self.free.T @ d.sum(axis=0)])

        gradient = np.concatenate([g_u.ravel(), g_z])
        flat = _conjugate_gradients(hessian, -gradient, diagonal, forcing)
        return flat[:n_u].reshape(shape), flat[n_u:]


def _conjugate_gradients(matrix, b, diagonal, forcing):
    """Solve ``matrix(x) = b`` to the relative tolerance `forcing`.

    `diagonal` approximates that of the matrix, and is the preconditioner.
    """
    x, r = np.zeros_like(b), b.copy()
    d = r / diagonal
    rho = first = r @ d
    for _ in range(2 * len(b) + 10):
        q = matrix(d)
        curvature = d @ q
        if curvature <= 0.0:
            break
        x += rho / curvature * d
        r -= rho / curvature * q
        new = r @ (r / diagonal)
        if new <= forcing**2 * first:
            break
        d = r / diagonal + new / rho * d
        rho = new
    return x if x.any() else b / diagonal


def gradient_path(rows, coef, intercept, penalty, steps):
    r"""Yield the parameters after given numbers of steps of gradient descent.

    The objective is the rows' loss plus :math:`\frac{s}{2} \sum_k \|b_k\|^2`. The step length is
    the inverse of the largest possible curvature, for the slopes and for the intercepts (at the
    rows' mean) separately, so that no step increases the objective.

    Parameters
    ----------
    rows : SquaredRows or LogisticRows
    coef : ndarray of shape (n_scores, n_features)
    intercept : ndarray of shape (n_scores,)
        Initial values.
    penalty : float
        s.
    steps : list of int
        Numbers of steps, ascending.

    Yields
    ------
    coef, intercept : ndarray
        After each of `steps`.
    """
    level = intercept + coef @ rows.mean
    largest = rows.curvature * rows.s.max(initial=0.0) ** 2 + penalty
    slope_step = 1.0 / largest if largest > 0.0 else 0.0
    level_step = 1.0 / (rows.curvature * rows.weight.sum()) if rows.fit_intercept else 0.0
    done = 0
    for wanted in steps:
        for _ in range(wanted - done):
            g = rows.gradient(rows.X @ coef.T + level)
            coef = coef - slope_step * (g.T @ rows.X + penalty * coef)
            level = level - level_step * g.sum(axis=0)
        done = wanted
        yield coef, level - coef @ rows.mean
