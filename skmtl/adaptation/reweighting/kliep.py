"""The density ratio under which the target's rows are likeliest."""

import numpy as np

from ..._compat import take_rows
from ...solvers.mixture import solve_mixture
from ..base import check_number
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

# Likelihoods are judged on at most so many target rows, and so exactly.
_MOST_JUDGED, _JUDGING_TOL = 5000, 1e-4
# A centre whose kernel has a smaller mean over source rows is out of their reach.
_OUT_OF_REACH = 1e-250


class KLIEP(DensityRatio):
    r"""Weighs source rows by the density ratio under which the target's rows are likeliest.

    The ratio of target to source density is :math:`r(x) = \sum_l \alpha_l k(x, c_l)`, of Gaussian
    kernels at centres :math:`c_l` among the target rows, with

    .. math:: \max_\alpha \frac1m \sum_j \log r(x_j^*) \quad \text{subject to} \quad \alpha \ge 0,
        \; \tfrac1n \textstyle\sum_i r(x_i) = 1

    over n source rows :math:`x` and m target rows :math:`x^*`. The estimator is then fitted on
    weighted source rows, and on target rows where they have labels.

    It assumes covariate shift: source and target have the same y for the same x and differ in x
    only, and wherever the target has rows the source has some. It needs no labels of the target;
    more rows without labels come as ``unlabeled=``. All sources together are taken for one.

    Parameters
    ----------
    sigma : "auto" or float, default="auto"
        Width of the kernel :math:`\exp(-|x - x'|^2 / (2 \sigma^2))`, in the units of the columns,
        which it takes all alike: scale them by ``preprocessor=`` or a Pipeline as `estimator` of
        `TransferEstimator`. "auto" takes, of nine widths between an eighth and eight times the
        median distance of two rows, that of the largest likelihood of target rows left out (five
        folds, of at most 5,000 rows).
    n_centers : int, default=100
        Target rows that are centres, drawn by `random_state`; all, where there are fewer.
    target_weight : float, default=1.0
        How much a labelled target row counts, where the weights of source rows have mean 1.
    tol : float, default=1e-8
        It ends where the mean log-likelihood is at most so much below the maximum.

    Notes
    -----
    The problem is that of mixture proportions, solved by an interior point method with a
    certificate. ``history_`` has a row a width: the left-out mean log-likelihood ("score"; NaN for
    a fixed width), objective, gap and iterations of the fit to all target rows.
    ``transfer_report_`` has the effective number of rows of each source. Equal rows are merged,
    and sample weights of source and target rows count as repetitions.

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

    def __init__(self, sigma="auto", n_centers=100, target_weight=1.0, tol=1e-8):
        self.sigma = sigma
        self.n_centers = n_centers
        self.target_weight = target_weight
        self.tol = tol

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_number(self, "n_centers", least=1, whole=True, why="target rows that are centres")
        check_number(self, "tol", above=0.0, why="of the mean log-likelihood")

    def _ratios(self, S, w, T, v, random_state, progress):
        centers = draw_centers(T, self.n_centers, random_state)
        judged = np.sort(random_state.permutation(T.shape[0])[:_MOST_JUDGED])
        n_folds = min(N_FOLDS, len(judged))
        folds = deal_folds(len(judged), n_folds, random_state)
        sigmas = widths_to_try(self.sigma, S, T, n_folds, random_state)
        parts = [_TargetKernels(S, w, T, v, centers, sigma) for sigma in sigmas]
        parts = [part for part in parts if part.reach.any()]
        if not parts:
            raise ValueError(
                f"the adaptation KLIEP found no source row within reach of the target's: give a "
                f"larger sigma (it is {self.sigma!r}), or scale the columns alike by "
                "preprocessor= or a Pipeline as estimator=."
            )
        scores = np.full(len(parts), np.nan)
        if len(parts) > 1:
            progress(f"judging {len(parts)} widths of the kernel in {n_folds} folds")
            scores = np.array([part.judge(judged, folds) for part in parts])
        best = 0 if len(parts) == 1 else int(np.argmax(scores))
        fits = [part.fit(slice(None), self.tol) for part in parts]
        alpha, found = fits[best]
        if found.gap > self.tol:
            warn_of_gap("KLIEP", found.gap, self.tol, "", "give a larger tol")
        history = {
            "sigma": np.array([part.sigma for part in parts]),
            "score": scores,
            "objective": np.array([fit.objective for _, fit in fits]),
            "gap": np.array([fit.gap for _, fit in fits]),
            "n_iter": np.array([fit.n_iter for _, fit in fits]),
        }
        return combine(S, centers, parts[best].sigma, alpha), history


class _TargetKernels:
    """The kernels at target rows, each with mean one over source rows: parts of a mixture."""

    def __init__(self, S, w, T, v, centers, sigma):
        self.v, self.sigma = v, sigma
        self.means = kernel_means(centers, S, w, sigma)
        self.reach = self.means > _OUT_OF_REACH
        if self.reach.any():
            near = take_rows(centers, np.flatnonzero(self.reach))
            self.A = gaussian(T, near, sigma) / self.means[self.reach]

    def fit(self, rows, tol):
        """The coefficients of all kernels, and the proportions, for these target rows."""
        A, v = self.A[rows], self.v[rows]
        live = A.max(axis=1) > 0.0  # the others are beyond all centres, whatever the proportions
        found = solve_mixture(A[live], v[live], tol)
        alpha = np.zeros(len(self.means))
        alpha[self.reach] = found.p / self.means[self.reach]
        return alpha, found

    def judge(self, rows, folds):
        """The mean log-likelihood of target rows left out."""
        total, weight = 0.0, 0.0
        for fold in range(folds.max() + 1):
            train, test = rows[folds != fold], rows[folds == fold]
            if not (self.A[train] > 0.0).any():
                return -np.inf
            alpha, _ = self.fit(train, _JUDGING_TOL)
            ratio = self.A[test] @ (alpha * self.means)[self.reach]
            total += self.v[test] @ np.log(np.maximum(ratio, np.finfo(np.float64).tiny))
            weight += self.v[test].sum()
        return total / weight
