"""Rows of sources weighed by how much likelier the target has such rows: three estimates."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._compat import take_rows
from ...solvers.mixture import solve_mixture
from ...solvers.quadratic import solve_in_parts, solve_quadratic
from ...tasks.stack import stack_rows
from ..base import Adaptation, Adapted, fit_rows
from ..checks import check_number, is_auto
from ..pool import features_of_target, stack_groups
from ._gaussian import combine, distinct_rows, gaussian, kernel_means, median_distance, row_blocks

__all__ = ["KLIEP", "KMM", "RuLSIF"]

_FOLDS = 5
# Widths tried, as shares of the median distance of two rows.
_WIDTHS = np.geomspace(0.125, 8.0, 9)
_REGULARIZATIONS = np.logspace(-3.0, 1.0, 9)
# Likelihoods are judged on at most so many target rows, and so exactly.
_MOST_JUDGED, _JUDGING_TOL = 5000, 1e-4
# A centre whose kernel has a smaller mean over source rows is out of their reach.
_OUT_OF_REACH = 1e-250


class _DensityRatio(Adaptation):
    """Estimates the ratio at the source rows and fits on rows weighed by it.

    Subclasses have ``_ratios(S, w, T, v, random_state, progress)``: distinct source and target rows
    with their weights, to the ratio at the source rows and the history.
    """

    needs_labels = False
    uses_unlabeled = True
    needs_weights = True

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        check_number(self, "target_weight", above=0.0, why="how much a labelled target row counts")
        check_number(self, "sigma", above=0.0, auto=True, why="the width of the kernel")

    def fit(self, problem, random_state, progress):
        """Estimate the ratio, and fit a clone of the estimator on all labelled rows."""
        weights = [source.row_weight for source in problem.sources]
        w = np.concatenate(weights)
        X_source, y_source, _ = stack_groups(problem.sources)
        S, ws, place = distinct_rows(X_source, w)
        T, vt, _ = distinct_rows(*features_of_target(problem))
        ratios, history = self._ratios(S, ws, T, vt, random_state, progress)
        ratio = ratios[place]
        if not (ratio > 0.0).any():
            raise ValueError(
                f"the adaptation {type(self).__name__} found no source row like the target's: all "
                f"ratios are zero. Give a larger sigma (it is {self.sigma!r}), or scale the "
                "columns alike by preprocessor= or a Pipeline as estimator=."
            )
        predictor = self._fit_weighted(problem, X_source, y_source, w * ratio, progress)
        parts = np.split(ratio, np.cumsum([len(part) for part in weights])[:-1])
        mean = np.array([(a * r).sum() / a.sum() for a, r in zip(weights, parts, strict=True)])
        report = {
            "effective_rows": np.array(
                [_effective(a, r) for a, r in zip(weights, parts, strict=True)]
            ),
            "largest_ratio": np.array([r.max() for r in parts]),
        }
        labelled = 1.0 if problem.y is None else self.target_weight
        return Adapted(predictor, mean / labelled, report, history)

    def _fit_weighted(self, problem, X, y, weight, progress):
        """A clone fitted on source rows of positive weight, and the target's where labelled."""
        used = np.flatnonzero(weight)
        if len(used) < len(weight):
            X, y, weight = take_rows(X, used), y[used], weight[used]
        if problem.y is not None:
            X, y = stack_rows([X, problem.X]), np.concatenate([y, problem.y])
            weight = np.concatenate([weight, self.target_weight * problem.row_weight])
        progress(f"fitting on {len(y)} rows, source rows weighed")
        return fit_rows(problem.estimator, X, y, weight)


def _effective(weight, ratio):
    """Kish's effective number of rows; those of integer weights are repeated rows."""
    square = (weight * ratio**2).sum()
    return (weight * ratio).sum() ** 2 / square if square > 0.0 else 0.0


def _draw_centers(T, n_centers, random_state):
    n = T.shape[0]
    if n <= n_centers:
        return T
    return take_rows(T, np.sort(random_state.choice(n, n_centers, replace=False)))


def _deal(n, n_folds, random_state):
    """The fold of each row."""
    folds = np.empty(n, dtype=np.int64)
    folds[random_state.permutation(n)] = np.arange(n) % n_folds
    return folds


def _warn(name, gap, tol, unit, remedy):
    warnings.warn(
        f"{name}: the duality gap is {gap:.1e}{unit}, above tol={tol:.1e}; {remedy}.",
        ConvergenceWarning,
        stacklevel=2,
    )


# ------------------------------------------------------------------------------------------ KMM


class KMM(_DensityRatio):
    r"""Weighs source rows so that they look like the target's, by kernel mean matching.

    The weights :math:`b` bring the means of source and target rows together, in the space of a
    Gaussian kernel :math:`K`:

    .. math:: \min_b \tfrac12 b'Kb - \kappa'b \quad \text{subject to} \quad 0 \le b_i \le B, \;
        |\tfrac1n \textstyle\sum_i b_i - 1| \le \epsilon

    where :math:`\kappa_i = \frac{n}{m} \sum_j K(x_i, x_j^*)`, of n source rows :math:`x` and m
    target rows :math:`x^*`. The estimator is then fitted on weighted source rows, and on target
    rows where they have labels.

    It assumes covariate shift: source and target have the same y for the same x and differ in x
    only, and wherever the target has rows the source has some. It needs no labels of the target;
    more rows without labels come as ``unlabeled=``. All sources together are taken for one.

    Parameters
    ----------
    sigma : "auto" or float, default="auto"
        Width of the kernel :math:`\exp(-|x - x'|^2 / (2 \sigma^2))`, in the units of the columns,
        which it takes all alike: scale them by ``preprocessor=`` or a Pipeline as `estimator` of
        `TransferEstimator`. "auto" is the median distance of two different rows of source and
        target together (drawn, where they are more than 300).
    max_weight : float, default=1000.0
        The bound :math:`B` of a weight, above 1; small ones keep a few rows from dominating.
    eps : "auto" or float, default="auto"
        How far the mean weight may be from 1, from 0 to below 1. "auto" is the paper's
        :math:`(\sqrt n - 1) / \sqrt n`.
    target_weight : float, default=1.0
        How much a labelled target row counts, where the weights of source rows have mean 1 or so.
    max_rows : int, default=4000
        Most source rows whose kernel matrix is made (so many squared, times 16 bytes). With more,
        parts of so many are solved, and then, in rounds, the rows farthest from optimal.
    tol : float, default=1e-8
        It ends where the objective is at most this share of its absolute value above the minimum.

    Notes
    -----
    ``history_`` has the objective and its duality gap, by iteration; ``transfer_report_`` the
    effective number of rows of each source, :math:`(\sum b)^2 / \sum b^2`: where it is far below
    the number of rows, a few rows decide. In few dimensions K is singular but for rounding, and
    many weights are as good as each other; an interior point method then ends at even ones.
    Equal rows are merged, and sample weights of source and target rows count as repetitions.

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

    def __init__(
        self,
        sigma="auto",
        max_weight=1000.0,
        eps="auto",
        target_weight=1.0,
        max_rows=4000,
        tol=1e-8,
    ):
        self.sigma = sigma
        self.max_weight = max_weight
        self.eps = eps
        self.target_weight = target_weight
        self.max_rows = max_rows
        self.tol = tol

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        check_number(self, "max_weight", above=1.0, why="the most a source row counts")
        why = "how far the mean weight may be from 1"
        check_number(self, "eps", least=0.0, below=1.0, auto=True, why=why)
        check_number(self, "max_rows", least=2, whole=True, why="rows of a kernel matrix in memory")
        check_number(self, "tol", above=0.0, why="a share of the objective")

    def _ratios(self, S, w, T, v, random_state, progress):
        sigma = median_distance([S, T], random_state) if is_auto(self.sigma) else self.sigma
        n, total = S.shape[0], w.sum()
        eps = max(1.0 - 1.0 / np.sqrt(total), 0.0) if is_auto(self.eps) else self.eps
        progress(f"matching the kernel means of {n} source and {T.shape[0]} target rows")
        k = total * kernel_means(S, T, v, sigma)
        bounds = self.max_weight * w, (1.0 - eps) * total, (1.0 + eps) * total
        if n <= self.max_rows:
            found = solve_quadratic(gaussian(S, S, sigma), k, *bounds, tol=self.tol)
        else:
            parts = np.array_split(random_state.permutation(n), -(-n // self.max_rows))

            def kernel(rows, columns):
                return gaussian(take_rows(S, rows), take_rows(S, columns), sigma)

            found = solve_in_parts(kernel, k, *bounds, parts, tol=self.tol)
        share = found.gap / max(abs(found.objective), 1e-300)
        if share > self.tol:
            remedy = "give a larger tol, or more max_rows where there are fewer than source rows"
            _warn("KMM", share, self.tol, " of the objective", remedy)
        n_seen = len(found.history["gap"])
        ratios = np.minimum(found.c / w, self.max_weight)  # but for rounding it is
        return ratios, {"sigma": np.full(n_seen, sigma), **found.history}


# ---------------------------------------------------------------------------------------- KLIEP


class KLIEP(_DensityRatio):
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
        centers = _draw_centers(T, self.n_centers, random_state)
        judged = np.sort(random_state.permutation(T.shape[0])[:_MOST_JUDGED])
        n_folds = min(_FOLDS, len(judged))
        folds = _deal(len(judged), n_folds, random_state)
        sigmas = _widths(self.sigma, S, T, n_folds, random_state)
        parts = [_Parts(S, w, T, v, centers, sigma) for sigma in sigmas]
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
            _warn("KLIEP", found.gap, self.tol, "", "give a larger tol")
        history = {
            "sigma": np.array([part.sigma for part in parts]),
            "score": scores,
            "objective": np.array([fit.objective for _, fit in fits]),
            "gap": np.array([fit.gap for _, fit in fits]),
            "n_iter": np.array([fit.n_iter for _, fit in fits]),
        }
        return combine(S, centers, parts[best].sigma, alpha), history


class _Parts:
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


# --------------------------------------------------------------------------------------- RuLSIF


class RuLSIF(_DensityRatio):
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
        why = "the penalty of the ratio's coefficients"
        check_number(self, "regularization", least=0.0, auto=True, why=why)
        check_number(self, "n_centers", least=1, whole=True, why="target rows that are centres")

    def _ratios(self, S, w, T, v, random_state, progress):
        centers = _draw_centers(T, self.n_centers, random_state)
        n_folds = min(_FOLDS, S.shape[0], T.shape[0])
        folds = [_deal(rows.shape[0], n_folds, random_state) for rows in (S, T)]
        sigmas = _widths(self.sigma, S, T, n_folds, random_state)
        strengths = np.array([self.regularization], dtype=object)
        if is_auto(self.regularization):
            strengths = _REGULARIZATIONS if n_folds > 1 else _REGULARIZATIONS[6:7]
        strengths = strengths.astype(np.float64)
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


def _widths(sigma, S, T, n_folds, random_state):
    """The widths to choose from: the median distance alone, where there is nothing to judge by."""
    if not is_auto(sigma):
        return np.array([sigma], dtype=np.float64)
    median = median_distance([S, T], random_state)
    return median * _WIDTHS if n_folds > 1 else np.array([median])
