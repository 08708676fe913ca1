"""The relative density ratio by least squares."""

import numpy as np

from ..base import check_number, is_auto
from ._density_ratio import N_FOLDS, DensityRatio, deal_folds, draw_centers, widths_to_try
from ._gaussian import combine, gaussian, row_blocks

__all__ = ["RuLSIF"]

_REGULARIZATIONS = np.logspace(-3.0, 1.0, 9)


class RuLSIF(DensityRatio):
    r"""Weighs source rows by the relative density ratio, by least squares in closed form.

    The relative ratio of the target's density q to the sources' p is
    :math:`q / (\alpha q + (1 - \alpha) p)`, which is at most :math:`1 / \alpha`; with
    :math:`\alpha = 0` it is the plain ratio, and the method uLSIF. Its estimate
    :math:`r(x) = \sum_l \theta_l k(x, c_l)`, of Gaussian kernels at centres :math:`c_l` among the
    target rows, has

    .. math:: \min_\theta \tfrac12 \theta'H\theta - h'\theta + \tfrac\lambda2 |\theta|^2, \quad
        H = \frac\alpha m \sum_j k(x_j^*) k(x_j^*)' + \frac{1 - \alpha}n \sum_i k(x_i) k(x_i)',
        \quad h = \frac1m \sum_j k(x_j^*)

    over n source rows :math:`x` and m target rows :math:`x^*`; what is below zero is taken for
    zero. The estimator is then fitted on weighted source rows, and on target rows where they have
    labels.

    It assumes covariate shift: source and target have the same y for the same x and differ in x
    only. It needs no labels of the target; more rows without labels come as ``unlabeled=``. All
    sources together are taken for one.

    Parameters
    ----------
    alpha : float, default=0.5
        The share of the target in what it is compared with, from 0 to below 1. Larger ones give
        weights that vary less, and correct less.
    sigma : "auto" or float, default="auto"
        Width of the kernel :math:`\exp(-|x - x'|^2 / (2 \sigma^2))`, in the units of the columns,
        which it takes all alike: scale them by ``preprocessor=`` or a Pipeline as `estimator` of
        `TransferEstimator`. "auto" takes, of nine widths between an eighth and eight times the
        median distance of two rows, that of the least objective (without its penalty) on source
        and target rows left out, in five folds.
    regularization : "auto" or float, default="auto"
        The strength :math:`\lambda`, a row (H and h are means), at least 0. "auto" takes one of
        nine from 0.001 to 10 along with `sigma`.
    n_centers : int, default=100
        Target rows that are centres, drawn by `random_state`; all, where there are fewer.
    target_weight : float, default=1.0
        How much a labelled target row counts, where the weights of source rows are at most
        :math:`1 / \alpha`, or so.

    Notes
    -----
    ``history_`` has a row a pair of width and strength: the left-out objective ("score", the
    least is taken; NaN where nothing is chosen) and the objective on all rows. There is nothing to
    iterate. ``transfer_report_`` has the effective number of rows of each source. Equal rows are
    merged, and sample weights of source and target rows count as repetitions.

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

    def __init__(
        self,
        alpha=0.5,
        sigma="auto",
        regularization="auto",
        n_centers=100,
        target_weight=1.0,
    ):
        self.alpha = alpha
        self.sigma = sigma
        self.regularization = regularization
        self.n_centers = n_centers
        self.target_weight = target_weight

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_number(self, "alpha", least=0.0, below=1.0, why="the share of the target")
        check_number(
            self, "regularization", least=0.0, auto=True,
            why="the penalty of the ratio's coefficients",
        )  # fmt: skip
        check_number(self, "n_centers", least=1, whole=True, why="target rows that are centres")

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
            scores = _left_out(H, h, strengths) if choose else np.full(1, np.nan)
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
        """The shares that the rows of each fold have in H and h: they add up to these."""
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
                    own = folds[block] == fold
                    A = K[own]
                    H[fold] += share * (A.T @ (u[own, None] * A))
                    if target:
                        h[fold] += u[own] @ A
        return H, h


def _ridge(H, h, strengths):
    """``(H + strength I)^-1 h`` for each, as columns."""
    values, vectors = np.linalg.eigh(H)
    values = np.maximum(values, np.finfo(np.float64).eps * max(values[-1], 1e-300))
    return vectors @ ((vectors.T @ h)[:, None] / (values[:, None] + strengths))


def _halves(H, h, theta):
    """``theta'H theta / 2 - h'theta`` for each column."""
    return 0.5 * (theta * (H @ theta)).sum(axis=0) - h @ theta


def _left_out(H, h, strengths):
    """The objective at the rows of each fold, of the coefficients without them, summed."""
    n_folds = len(H)
    whole, scale = (H.sum(axis=0), h.sum(axis=0)), n_folds / (n_folds - 1)
    return sum(
        _halves(own, at, _ridge((whole[0] - own) * scale, (whole[1] - at) * scale, strengths))
        for own, at in zip(H, h, strict=True)
    )
