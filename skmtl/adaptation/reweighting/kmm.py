"""Kernel mean matching."""

from typing import Literal

import numpy as np

from ..._compat import take_rows
from ...solvers.quadratic import solve_in_parts, solve_quadratic
from ..base import is_auto, number
from ._density_ratio import DensityRatio, warn_of_gap
from ._gaussian import gaussian, kernel_means, median_distance

__all__ = ["KMM"]


class KMM(DensityRatio):
    r"""Weights of source rows by kernel mean matching.

    The weights :math:`b` minimise the distance between the means of source and target rows in the
    feature space of a Gaussian kernel :math:`K`:

    .. math:: \min_b \tfrac12 b'Kb - \kappa'b \quad \text{subject to} \quad 0 \le b_i \le B, \;
        |\tfrac1n \textstyle\sum_i b_i - 1| \le \epsilon

    where :math:`\kappa_i = \frac{n}{m} \sum_j K(x_i, x_j^*)`, for n source rows :math:`x` and m
    target rows :math:`x^*`. The estimator is then fitted on the weighted source rows and on the
    labelled target rows.

    The assumption is covariate shift: the distribution of y given x is the same in source and
    target; only the distribution of x differs, and the source has rows wherever the target has
    some. Target labels are not needed; pass additional rows without labels as ``unlabeled=``.
    Several sources are treated as one.

    Parameters
    ----------
    sigma : "auto" or float, default="auto"
        Width of the kernel :math:`\exp(-|x - x'|^2 / (2 \sigma^2))`, in the units of the columns.
        All columns share it: scale them by ``preprocessor=`` or a Pipeline as `estimator` of
        `TransferEstimator`. "auto" is the median distance of two different rows of source and
        target together (of 300 rows, drawn at random, if there are more).
    max_weight : float, default=1000.0
        The largest weight :math:`B`, above 1; smaller values keep a few rows from dominating.
    eps : "auto" or float, default="auto"
        The largest deviation of the mean weight from 1; at least 0 and below 1. "auto" is the
        paper's :math:`(\sqrt n - 1) / \sqrt n`.
    target_weight : float, default=1.0
        The weight of a labelled target row; the mean weight of source rows is about 1.
    max_rows : int, default=4000
        The largest number of source rows whose kernel matrix is computed (its square, times 16
        bytes). With more rows, parts of this size are solved, and then, in rounds, the rows that
        are farthest from optimal.
    tol : float, default=1e-8
        Tolerance: the objective is at most this share of its absolute value above the minimum.

    Notes
    -----
    ``history_`` contains the objective and its duality gap, by iteration;
    ``transfer_report_`` contains the effective number of rows of each source,
    :math:`(\sum b)^2 / \sum b^2`: if it is far below the number of rows, the fit depends on a few
    rows. With few features K is singular up to rounding, and many weights are equally good; the
    interior point method then ends at even ones. Equal rows are merged, and sample weights of
    source and target rows count as repetitions.

    References
    ----------
    Huang, J., Smola, A. J., Gretton, A., Borgwardt, K. M. and Schoelkopf, B. (2006). Correcting
    sample selection bias by unlabeled data. Advances in Neural Information Processing Systems 19,
    601-608. :doi:`10.7551/mitpress/7503.003.0080`

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import Source, TransferEstimator
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(size=(300, 1)), rng.normal(1.0, 0.5, size=(100, 1))
    >>> source = Source(X, np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=300))
    >>> model = TransferEstimator(source=source, adaptation="kmm").fit(X_target)
    >>> plain = TransferEstimator(source=source).fit(X_target[:1], np.sin(2 * X_target[:1, 0]))
    >>> truth = np.sin(2 * X_target[:, 0])
    >>> bool(model.score(X_target, truth) > plain.score(X_target, truth) + 0.5)
    True
    """

    _checks = {
        **DensityRatio._checks,
        "max_weight": number(above=1.0, why="the largest weight of a source row"),
        "eps": number(
            least=0.0,
            below=1.0,
            auto=True,
            why="the largest deviation of the mean weight from 1",
        ),
        "max_rows": number(
            least=2,
            whole=True,
            why="rows of a kernel matrix in memory",
        ),
        "tol": number(above=0.0, why="a share of the objective"),
    }

    def __init__(
        self,
        sigma: float | Literal["auto"] = "auto",
        max_weight: float = 1000.0,
        eps: float | Literal["auto"] = "auto",
        target_weight: float = 1.0,
        max_rows: int = 4000,
        tol: float = 1e-8,
    ):
        self.sigma = sigma
        self.max_weight = max_weight
        self.eps = eps
        self.target_weight = target_weight
        self.max_rows = max_rows
        self.tol = tol

    def _ratios(self, S, w, T, v, random_state, progress):
        sigma = median_distance([S, T], random_state) if is_auto(self.sigma) else self.sigma
        n, total = S.shape[0], w.sum()
        eps = max(1.0 - 1.0 / np.sqrt(total), 0.0) if is_auto(self.eps) else self.eps
        progress(f"matching the kernel means of {n} source and {T.shape[0]} target rows")
        k = total * kernel_means(S, T, v, sigma)
        bounds = self.max_weight * w, (1.0 - eps) * total, (1.0 + eps) * total
        if n <= self.max_rows:
            solution = solve_quadratic(gaussian(S, S, sigma), k, *bounds, tol=self.tol)
        else:
            parts = np.array_split(random_state.permutation(n), -(-n // self.max_rows))

            def kernel(rows, columns):
                return gaussian(take_rows(S, rows), take_rows(S, columns), sigma)

            solution = solve_in_parts(kernel, k, *bounds, parts, tol=self.tol)
        share = solution.gap / max(abs(solution.objective), 1e-300)
        if share > self.tol:
            remedy = "give a larger tol, or more max_rows if they are fewer than the source rows"
            warn_of_gap("KMM", share, self.tol, " of the objective", remedy)
        n_seen = len(solution.history["gap"])
        ratios = np.minimum(solution.c / w, self.max_weight)  # rounding may exceed it
        return ratios, {"sigma": np.full(n_seen, sigma), **solution.history}
