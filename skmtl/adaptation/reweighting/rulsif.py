"""The relative density ratio by least squares."""

from typing import Literal

import numpy as np

from ..base import is_auto, number
from ._density_ratio import N_FOLDS, DensityRatio, deal_folds, draw_centers, widths_to_try
from ._gaussian import combine, gaussian, row_blocks

__all__ = ["RuLSIF"]

_REGULARIZATIONS = np.logspace(-3.0, 1.0, 9)


class RuLSIF(DensityRatio):
    r"""Weights of source rows by the relative density ratio, by least squares in closed form.

    The relative ratio of the target's density q to the sources' p is
    :math:`q / (\alpha q + (1 - \alpha) p)`, which is at most :math:`1 / \alpha`; with
    :math:`\alpha = 0` it is the plain ratio, and the method uLSIF. Its estimate is
    :math:`r(x) = \sum_l \theta_l k(x, c_l)`, a sum of Gaussian kernels at centres :math:`c_l`
    among the target rows, with

    .. math:: \min_\theta \tfrac12 \theta'H\theta - h'\theta + \tfrac\lambda2 |\theta|^2, \quad
        H = \frac\alpha m \sum_j k(x_j^*) k(x_j^*)' + \frac{1 - \alpha}n \sum_i k(x_i) k(x_i)',
        \quad h = \frac1m \sum_j k(x_j^*)

    for n source rows :math:`x` and m target rows :math:`x^*`; negative values are set to zero.
    The estimator is then fitted on the weighted source rows and on the labelled target rows.

    The assumption is covariate shift: the distribution of y given x is the same in source and
    target; only the distribution of x differs. Target labels are not needed; pass additional rows
    without labels as ``unlabeled=``. Several sources are treated as one.

    Parameters
    ----------
    alpha : float, default=0.5
        The share of the target's density in the denominator; at least 0 and below 1. Larger values
        give weights that vary less and correct less.
    sigma : "auto" or float, default="auto"
        Width of the kernel :math:`\exp(-|x - x'|^2 / (2 \sigma^2))`, in the units of the columns.
        All columns share it: scale them by ``preprocessor=`` or a Pipeline as `estimator` of
        `TransferEstimator`. "auto" chooses among nine widths, from an eighth to eight times the
        median distance of two rows, that with the smallest objective (without its penalty) on
        held-out source and target rows, in five folds.
    regularization : "auto" or float, default="auto"
        The strength :math:`\lambda` per row (H and h are means); at least 0. "auto" chooses among
        nine values from 0.001 to 10 along with `sigma`.
    n_centers : int, default=100
        Number of target rows that are centres, drawn by `random_state`; all rows if there are
        fewer.
    target_weight : float, default=1.0
        The weight of a labelled target row; weights of source rows are at most about
        :math:`1 / \alpha`.

    Notes
    -----
    ``history_`` has one row per pair of width and strength: the held-out objective ("score", of
    which the smallest is chosen; NaN if there is one pair only) and the objective on all rows. The
    solution is in closed form. ``transfer_report_`` contains the effective number of rows of
    each source. Equal rows are merged, and sample weights of source and target rows count as
    repetitions.

    References
    ----------
    Yamada, M., Suzuki, T., Kanamori, T., Hachiya, H. and Sugiyama, M. (2013). Relative
    density-ratio estimation for robust distribution comparison. Neural Computation 25, 1324-1370.
    :doi:`10.1162/NECO_a_00442`

    Kanamori, T., Hido, S. and Sugiyama, M. (2009). A least-squares approach to direct importance
    estimation. Journal of Machine Learning Research 10, 1391-1445.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source, TransferEstimator
    >>> from skmtl.adaptation import RuLSIF
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(300, 1)), rng.normal(1.0, 0.5, size=(100, 1))
    >>> source = Source(X, np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=300))
    >>> model = TransferEstimator(source=source, adaptation=RuLSIF(alpha=0.1)).fit(X_target)
    >>> bool(model.score(X_target, np.sin(2 * X_target[:, 0])) > 0.1)
    True
    """

    _checks = {
        **DensityRatio._checks,
        "alpha": number(
            least=0.0,
            below=1.0,
            why="the share of the target's density",
        ),
        "regularization": number(
            least=0.0,
            auto=True,
            why="the penalty of the ratio's coefficients",
        ),
        "n_centers": number(least=1, whole=True, why="the number of centres"),
    }

    def __init__(
        self,
        alpha: float = 0.5,
        sigma: float | Literal["auto"] = "auto",
        regularization: float | Literal["auto"] = "auto",
        n_centers: int = 100,
        target_weight: float = 1.0,
    ):
        self.alpha = alpha
        self.sigma = sigma
        self.regularization = regularization
        self.n_centers = n_centers
        self.target_weight = target_weight

    def _ratios(self, S, w, T, v, random_state, progress):
        centers = draw_centers(T, self.n_centers, random_state)
        n_folds = min(N_FOLDS, S.shape[0], T.shape[0])
        folds = [deal_folds(rows.shape[0], n_folds, random_state) for rows in (S, T)]
        sigmas = widths_to_try(self.sigma, S, T, n_folds, random_state)
        strengths = _REGULARIZATIONS if n_folds > 1 else _REGULARIZATIONS[6:7]
        if not is_auto(self.regularization):
            strengths = np.array([self.regularization], dtype=np.float64)
        choose = len(sigmas) * len(strengths) > 1
        progress(f"least squares for {len(sigmas)} widths and {len(strengths)} strengths")
        found = []
        for sigma in sigmas:
            H, h = self._moments(S, w, folds[0], T, v, folds[1], centers, sigma, n_folds)
            whole = H.sum(axis=0), h.sum(axis=0)
            theta = _ridge(*whole, strengths)
            scores = _held_out(H, h, strengths) if choose else np.full(1, np.nan)
            found.append((theta, scores, _halves(*whole, theta)))
        theta, scores, objectives = map(np.array, zip(*found, strict=True))
        best = np.unravel_index(np.argmin(scores) if choose else 0, scores.shape)
        history = {
            "sigma": np.repeat(sigmas, len(strengths)),
            "regularization": np.tile(strengths, len(sigmas)),
            "score": scores.ravel(),
            "objective": objectives.ravel(),
        }
        ratio = combine(S, centers, sigmas[best[0]], theta[best[0], :, best[1]])
        return np.maximum(ratio, 0.0), history

    def _moments(self, S, w, of_source, T, v, of_target, centers, sigma, n_folds):
        """Return the contributions of each fold's rows to H and h."""
        n = centers.shape[0]
        H, h = np.zeros((n_folds, n, n)), np.zeros((n_folds, n))
        for rows, weight, folds, share, target in (
            (S, w, of_source, 1.0 - self.alpha, False),
            (T, v, of_target, self.alpha, True),
        ):
            weight = weight / weight.sum()
            for block in row_blocks(rows.shape[0], n):
                K, u = gaussian(rows[block], centers, sigma), weight[block]
                for fold in range(n_folds):
                    in_fold = folds[block] == fold
                    A = K[in_fold]
                    H[fold] += share * (A.T @ (u[in_fold, None] * A))
                    if target:
                        h[fold] += u[in_fold] @ A
        return H, h


def _ridge(H, h, strengths):
    """Return ``(H + strength I)^-1 h`` for each strength, as columns."""
    values, vectors = np.linalg.eigh(H)
    values = np.maximum(values, np.finfo(np.float64).eps * max(values[-1], 1e-300))
    return vectors @ ((vectors.T @ h)[:, None] / (values[:, None] + strengths))


def _halves(H, h, theta):
    """Return ``theta'H theta / 2 - h'theta`` for each column."""
    return 0.5 * (theta * (H @ theta)).sum(axis=0) - h @ theta


def _held_out(H, h, strengths):
    """Return the summed objectives at each fold's rows, for coefficients fitted without them."""
    n_folds = len(H)
    total_H, total_h, scale = H.sum(axis=0), h.sum(axis=0), n_folds / (n_folds - 1)
    return sum(
        _halves(A, b, _ridge((total_H - A) * scale, (total_h - b) * scale, strengths))
        for A, b in zip(H, h, strict=True)
    )
