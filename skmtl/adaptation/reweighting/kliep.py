"""The density ratio that maximises the likelihood of the target's rows."""

from typing import Literal

import numpy as np

from ..._compat import take_rows
from ...solvers.mixture import solve_mixture
from ..base import number
from ._density_ratio import (
    N_FOLDS,
    DensityRatio,
    deal_folds,
    draw_centers,
    warn_of_gap,
    widths_to_try,
)  # fmt: skip
from ._gaussian import combine, gaussian, kernel_means

__all__ = ["KLIEP"]

# The number of target rows for the cross-validated likelihood, and the tolerance of its fits.
_MOST_HELD_OUT, _HELD_OUT_TOL = 5000, 1e-4
# A centre whose kernel has a smaller mean over source rows is too far from all of them.
_OUT_OF_REACH = 1e-250


class KLIEP(DensityRatio):
    r"""Weights of source rows by the density ratio that maximises the likelihood of target rows.

    The ratio of target to source density is :math:`r(x) = \sum_l \alpha_l k(x, c_l)`, a sum of
    Gaussian kernels at centres :math:`c_l` among the target rows, with

    .. math:: \max_\alpha \frac1m \sum_j \log r(x_j^*) \quad \text{subject to} \quad \alpha \ge 0,
        \; \tfrac1n \textstyle\sum_i r(x_i) = 1

    for n source rows :math:`x` and m target rows :math:`x^*`. The estimator is then fitted on
    the weighted source rows and on the labelled target rows.

    The assumption is covariate shift: the distribution of y given x is the same in source and
    target; only the distribution of x differs, and the source has rows wherever the target has
    some. Target labels are not needed; pass additional rows without labels as ``unlabeled=``.
    Several sources are treated as one.

    Parameters
    ----------
    sigma : "auto" or float, default="auto"
        Width of the kernel :math:`\exp(-|x - x'|^2 / (2 \sigma^2))`, in the units of the columns.
        All columns share it: scale them by ``preprocessor=`` or a Pipeline as `estimator` of
        `TransferEstimator`. "auto" chooses among nine widths, from an eighth to eight times the
        median distance of two rows, that with the largest held-out likelihood of target rows (five
        folds, at most 5,000 rows).
    n_centers : int, default=100
        Number of target rows that are centres, drawn by `random_state`; all rows if there are
        fewer.
    target_weight : float, default=1.0
        The weight of a labelled target row; the mean weight of source rows is 1.
    tol : float, default=1e-8
        Tolerance: the mean log-likelihood is at most this far below the maximum.

    Notes
    -----
    The problem is to find the proportions of a mixture. It is solved by an interior point method
    with a certificate. ``history_`` has one row per width: the held-out mean log-likelihood
    ("score"; NaN for a fixed width), and the objective, gap and number of iterations of the fit to
    all target rows. ``transfer_report_`` contains the effective number of rows of each source.
    Equal rows are merged, and sample weights of source and target rows count as repetitions.

    References
    ----------
    Sugiyama, M., Suzuki, T., Nakajima, S., Kashima, H., von Buenau, P. and Kawanabe, M. (2008).
    Direct importance estimation for covariate shift adaptation. Annals of the Institute of
    Statistical Mathematics 60, 699-746. :doi:`10.1007/s10463-008-0197-x`

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(300, 1)), rng.normal(1.0, 0.5, size=(100, 1))
    >>> source = Source(X, np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=300))
    >>> model = TransferEstimator(source=source, adaptation="kliep").fit(X_target)
    >>> model.source_weights_.round(6)
    array([1.])
    >>> bool(model.score(X_target, np.sin(2 * X_target[:, 0])) > 0.1)
    True
    """

    _checks = {
        **DensityRatio._checks,
        "n_centers": number(least=1, whole=True, why="the number of centres"),
        "tol": number(above=0.0, why="the tolerance of the mean log-likelihood"),
    }

    def __init__(
        self,
        sigma: float | Literal["auto"] = "auto",
        n_centers: int = 100,
        target_weight: float = 1.0,
        tol: float = 1e-8,
    ):
        self.sigma = sigma
        self.n_centers = n_centers
        self.target_weight = target_weight
        self.tol = tol

    def _ratios(self, S, w, T, v, random_state, progress):
        centers = draw_centers(T, self.n_centers, random_state)
        sample = np.sort(random_state.permutation(T.shape[0])[:_MOST_HELD_OUT])
        n_folds = min(N_FOLDS, len(sample))
        folds = deal_folds(len(sample), n_folds, random_state)
        sigmas = widths_to_try(self.sigma, S, T, n_folds, random_state)
        parts = [_TargetKernels(S, w, T, v, centers, sigma) for sigma in sigmas]
        parts = [part for part in parts if part.reach.any()]
        if not parts:
            raise ValueError(
                "the adaptation KLIEP found no source row close to the target's: set a larger "
                f"sigma (it is {self.sigma!r}), or scale the columns by preprocessor= or a "
                "Pipeline as estimator=."
            )
        scores, best = np.full(len(parts), np.nan), 0
        if len(parts) > 1:
            progress(f"evaluating {len(parts)} widths of the kernel in {n_folds} folds")
            scores = np.array([part.likelihood(sample, folds) for part in parts])
            best = int(np.argmax(scores))
        fits = [part.fit(slice(None), self.tol) for part in parts]
        alpha, mixture = fits[best]
        if mixture.gap > self.tol:
            warn_of_gap("KLIEP", mixture.gap, self.tol, "", "give a larger tol")
        history = {
            "sigma": np.array([part.sigma for part in parts]),
            "score": scores,
            "objective": np.array([fit.objective for _, fit in fits]),
            "gap": np.array([fit.gap for _, fit in fits]),
            "n_iter": np.array([fit.n_iter for _, fit in fits]),
        }
        return combine(S, centers, parts[best].sigma, alpha), history


class _TargetKernels:
    """Kernels at target rows, scaled to mean one over source rows: components of a mixture."""

    def __init__(self, S, w, T, v, centers, sigma):
        self.v, self.sigma = v, sigma
        self.means = kernel_means(centers, S, w, sigma)
        self.reach = self.means > _OUT_OF_REACH
        if self.reach.any():
            near = take_rows(centers, np.flatnonzero(self.reach))
            self.A = gaussian(T, near, sigma) / self.means[self.reach]

    def fit(self, rows, tol):
        """Return the coefficients of all kernels, and the mixture, for the target `rows`."""
        A, v = self.A[rows], self.v[rows]
        live = A.max(axis=1) > 0.0  # other rows are far from all centres
        mixture = solve_mixture(A[live], v[live], tol)
        alpha = np.zeros(len(self.means))
        alpha[self.reach] = mixture.p / self.means[self.reach]
        return alpha, mixture

    def likelihood(self, rows, folds):
        """Return the mean log-likelihood of held-out target rows."""
        total, weight = 0.0, 0.0
        for fold in range(folds.max() + 1):
            train, test = rows[folds != fold], rows[folds == fold]
            if not (self.A[train] > 0.0).any():
                return -np.inf
            alpha, _ = self.fit(train, _HELD_OUT_TOL)
            ratio = self.A[test] @ (alpha * self.means)[self.reach]
            total += self.v[test] @ np.log(np.maximum(ratio, np.finfo(np.float64).tiny))
            weight += self.v[test].sum()
        return total / weight
