r"""Standard errors of what all tasks share, and the effective number of parameters.

With the products :math:`A_t` of the intercept and the features of a task (working products, for
losses other than squares) and the strengths :math:`\Lambda` of its own part, eliminating this part
leaves :math:`M_t = (A_t^{-1} + \Lambda^{-1})^{-1}`. Groups of tasks are eliminated in the same way
from the sums over their tasks. Then

.. math:: S = \sum_t M_t + \lambda_m, \qquad
          \operatorname{cov}(\hat a, \hat m) = \sigma^2 S^{-1},

as in a mixed model whose variances are known: those of the candidate with the largest weight.

References
----------
Henderson, C. R. (1975). Best linear unbiased estimation and prediction under a selection model.
Biometrics 31(2). :doi:`10.2307/2529430`
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from ..solvers.elimination import eliminated, products_of_tasks

__all__ = [
    "Inference", "RestrictedLikelihood", "infer", "n_effective_of", "shared_inference",
]  # fmt: skip

# Most features for which standard errors are computed, and numbers that are eliminated at a time.
_MOST_FEATURES, _AT_A_TIME = 200, 2**21
# Numbers that are eliminated for one value of the restricted likelihood, of some of the tasks, and
# bounds of the logarithms of relative variances.
_LIKELIHOOD_WORK, _LOG_VARIANCES = 3e5, (-16.0, 8.0)


@dataclass
class Inference:
    """What is known of the accuracy of a fit.

    Attributes
    ----------
    std_error : ndarray of shape (1 + n_features,)
        Standard errors of the shared intercept and slopes, in the caller's units; NaN if unknown.
    noise : float
        Standard deviation of the noise, or for losses with a link the root of the dispersion.
    n_effective : float
        Effective number of parameters of the models of all tasks.
    variances : tuple of float
        Variances of the tasks' intercepts and of their slopes, relative to that of the noise, for
        standardised features.
    """

    std_error: np.ndarray
    noise: float
    n_effective: float
    variances: tuple = (np.nan, np.nan)

    def in_features(self, n_features):
        """Return the same of other features, whose standard errors are not known."""
        return replace(self, std_error=np.full(1 + n_features, np.nan))


def shared_inference(moments, kappa, ridge, centres=None, anchors=None, levels=()):
    """Return the inverse of S, and the effective number of parameters.

    Parameters
    ----------
    moments : TaskMoments of shape (n_tasks,)
    kappa : ndarray of shape (1 + n_features,)
        1 / strength of the tasks' own intercepts and slopes.
    ridge : ndarray of shape (n_features,)
        Strengths of the shared slopes.
    centres, anchors : ndarray of shape (n_tasks, n_features), optional
        As `ArrowSystem` takes them.
    levels : sequence of (groups, kappa)
        For levels above the tasks, from fine to coarse: the group of every task or of every group
        of the level before, and 1 / strengths.

    Returns
    -------
    inverse : ndarray of shape (1 + n_features, 1 + n_features)
    n_effective : float
    """
    (left, spent), n_effective = _eliminate_tasks(moments, kappa, anchors, centres, levels)
    nodes = []  # of every level: what is left of its groups, and what their parts have used up
    for level, (_, of_level) in enumerate(levels):
        M = eliminated(left, of_level)
        nodes.append((M, spent))
        n_effective += np.einsum("tjj,j->", M, of_level)
        outer = (
            np.zeros(len(M), dtype=np.int64) if level + 1 == len(levels) else levels[level + 1][0]
        )
        left, spent = _sums(outer, M), _sums(outer, np.matmul(M * of_level, M))
    S, p = left.sum(axis=0), moments.n_features
    total = S.copy()
    S[range(1, 1 + p), range(1, 1 + p)] += np.where(np.isfinite(ridge), ridge, 0.0)
    live = np.append(True, (np.diag(S)[1:] > 0) & np.isfinite(ridge))
    inverse = np.zeros_like(S)
    inverse[np.ix_(live, live)] = np.linalg.pinv(S[np.ix_(live, live)], hermitian=True)
    n_effective += np.einsum("ij,ji->", inverse, total - spent.sum(axis=0))
    spread = np.broadcast_to(inverse, (1, 1 + p, 1 + p))
    for level in range(len(levels) - 1, -1, -1):  # covariances of the models of the groups
        (M, spent), of_level = nodes[level], levels[level][1]
        last = level + 1 == len(levels)
        spread = spread[np.zeros(len(M), dtype=int) if last else levels[level + 1][0]]
        shrunk = np.eye(1 + p) - of_level[:, None] * M
        spread = shrunk @ spread @ np.swapaxes(shrunk, 1, 2)
        spread = spread + np.diag(of_level) - of_level[:, None] * M * of_level
        n_effective -= np.einsum("tij,tji->", spread, spent)
    return inverse, float(n_effective)


def _eliminate_tasks(moments, kappa, anchors, centres, levels):
    """Return sums over groups of what the tasks leave, and of what their own parts use up.

    Without levels all tasks are one group. The own parts' number of parameters is returned as well,
    as if what all tasks share were known.
    """
    n_tasks, p = len(moments.weight), moments.n_features
    groups = levels[0][0] if levels else np.zeros(n_tasks, dtype=np.int64)
    sums = np.zeros((2, groups.max() + 1, 1 + p, 1 + p))
    n_effective, step = 0.0, max(1, _AT_A_TIME // (1 + p) ** 2)
    for tasks, part in moments.parts(step):
        about = None if centres is None else centres[tasks]
        M = eliminated(products_of_tasks(part.weighted(), about), kappa)
        n_effective += np.einsum("tjj,j->", M, kappa)
        parts = [M, np.matmul(M * kappa, M)]
        if anchors is not None:
            parts = [_anchored(part, anchors[tasks]) for part in parts]
        for out, part in zip(sums, parts, strict=True):
            np.add.at(out, groups[tasks], part)
    return sums, n_effective


def _anchored(products, anchors):
    """Return products of the shared line, which passes through anchors at the tasks' centres."""
    level, cross = products[:, :1, :1], products[:, :1, 1:]
    moved = cross + level * anchors[:, None, :]
    out = products.copy()
    out[:, :1, 1:], out[:, 1:, :1] = moved, np.swapaxes(moved, 1, 2)
    out[:, 1:, 1:] += np.swapaxes(cross, 1, 2) * anchors[:, None, :] + anchors[:, :, None] * moved
    return out


def _sums(groups, values):
    out = np.zeros((groups.max() + 1, *values.shape[1:]))
    np.add.at(out, groups, values)
    return out


def kappa_of_strengths(slope, intercept, factors):
    """Return 1 / strengths of intercepts and slopes; 1e10 for strengths of zero."""
    with np.errstate(divide="ignore"):
        of_intercept, of_slopes = np.minimum(1.0 / np.array([intercept, slope]), 1e10)
    return np.append(of_intercept, of_slopes * factors**2)


def n_effective_of(problem, candidate):
    """Return the effective number of parameters of the models of all tasks; NaN if unknown.

    `candidate` are strengths as `infer` takes them.
    """
    moments, p = problem.moments.weighted(), problem.n_features
    if not hasattr(moments, "scatter") or p > _MOST_FEATURES:
        return np.nan
    slope, intercept, ridge, scaling = candidate
    kappa = kappa_of_strengths(slope, intercept, scaling.own_factors)
    centres, anchors = problem.places(scaling, problem.moments)
    return shared_inference(moments, kappa, np.full(p, ridge), centres, anchors)[1]


def infer(problem, moments, places, candidate, noise, unit_noise=False, spent=None):
    """Return the `Inference` of a fit on standardised moments; None if there is none.

    The variances are those of the restricted likelihood, or of the strengths that are given or
    were chosen beside groupings.

    Parameters
    ----------
    problem : BaseProblem
    moments : TaskMoments of shape (n_tasks,)
        Those of the fit.
    places : callable
        Returns centres and anchors of tasks in a `SlopeScaling`.
    candidate : tuple or None
        Strengths on slopes, intercepts and shared slopes, and the `SlopeScaling`, of the candidate
        with the largest weight. None if its models are not those of any strengths: standard errors
        and variances are then not known.
    noise : callable
        Returns the noise variance per row from the effective number of parameters.
    unit_noise : bool
        Whether this is one.
    spent : float, optional
        Effective number of parameters, if it does not follow from the strengths.
    """
    p, scale, crossed = problem.n_features, problem.scale, problem.crossed
    if candidate is None:
        return Inference(np.full(1 + p, np.nan), np.sqrt(noise(spent)) / scale[-1], spent)
    if not hasattr(moments, "parts") or problem.restriction.positive is not None:
        return None
    if p > _MOST_FEATURES:
        return Inference(np.full(1 + p, np.nan), np.nan, np.nan)
    slope, intercept, ridge, scaling = candidate
    is_independent = np.isinf(ridge) and intercept <= problem.strengths.free_intercept
    levels = () if crossed is None else crossed.levels_above(scale[:-1])
    centres, anchors = places(scaling)
    if crossed is not None:
        slope, intercept = np.array(crossed.pooling[:2]) * problem.strength_unit / crossed.unit
    kappa = kappa_of_strengths(slope, intercept, scaling.own_factors)
    if problem.schemes:
        ridge = 0.0  # that of the candidate would take doubt for knowledge
    is_pooled = np.isinf(slope) and np.isinf(intercept)
    of_noise = None
    if crossed is None and problem.schemes and problem.n_tasks > 1 and not is_pooled:
        tasks = problem.sample(max(10, int(_LIKELIHOOD_WORK / (1 + p) ** 3)))
        own, of_tasks = scaling.own_factors, moments.take(tasks).weighted()
        likelihood = RestrictedLikelihood(of_tasks, own, scaling.within_only, unit_noise)
        intercept, slope, of_noise = likelihood.best()
        kappa = np.append(intercept, slope * own**2)
    inverse, n_effective = shared_inference(
        moments, kappa, np.full(p, ridge), centres, anchors, levels
    )
    if spent is not None:
        n_effective = spent
    unit = scale[:-1]
    if crossed is not None and crossed.groupings is not None:
        n_effective += crossed.n_effective
        # Their products are those of rows without noise in their weights.
        of_weights = problem.copies.unit / problem.strength_unit
        inverse, unit = of_weights * _inverse_of(crossed.information, p), crossed.scale
    variance = noise(n_effective) if of_noise is None else of_noise
    std_error = np.sqrt(_in_units(inverse, problem.centre[:-1], unit) * variance) / scale[-1]
    std_error[1:][scale[:-1] == 0] = np.nan  # constant features have no slope
    if is_independent:  # there is nothing that tasks share
        std_error[:] = np.nan
    own = scaling.own_factors
    slopes = kappa[1:][own > 0] / own[own > 0] ** 2
    of_tasks = float(kappa[0]), float(slopes.mean()) if len(slopes) else 0.0
    return Inference(std_error, np.sqrt(variance) / scale[-1], n_effective, of_tasks)


def _inverse_of(information, p):
    """Return the inverse of products; NaN if there are none."""
    if information is None:
        return np.full((1 + p, 1 + p), np.nan)
    return np.linalg.pinv(information, rcond=1e-12, hermitian=True)


def _in_units(inverse, centre, unit):
    """Return variances of the intercept and slopes of X, from those of ``(X - centre) * unit``."""
    turn = np.zeros_like(inverse)
    turn[0] = np.append(1.0, -centre * unit)
    turn[range(1, len(turn)), range(1, len(turn))] = unit
    return np.maximum(np.einsum("ij,jk,ik->i", turn, inverse, turn), 0.0)


class RestrictedLikelihood:
    r"""Restricted likelihood of the variances of the tasks' intercepts and slopes.

    Slopes are centred at the tasks' means, so that the centred products of the features
    :math:`C_t = U_t D_t U_t'` are decomposed once. With variances :math:`\sigma^2 \kappa_a` and
    :math:`\sigma^2 \kappa_v`, a task leaves :math:`w_t / (1 + \kappa_a w_t)` of its weight and
    :math:`U_t D_t (I + \kappa_v D_t)^{-1} U_t'` of these products. From them come the products S of
    what all tasks share and the squared error Q at their solution. Minus twice the logarithm of the
    likelihood is

    .. math:: (n - q) \log \frac{Q}{n - q} + \sum_t \log (1 + \kappa_a w_t)
              + \sum_t \log |I + \kappa_v D_t| + \log |S|,

    or with :math:`Q` in place of the first term where :math:`\sigma^2` is one.

    Parameters
    ----------
    moments : TaskMoments of shape (n_tasks,)
    factors : ndarray of shape (n_features,)
        Standard deviations of the slopes of the features, up to a common factor.
    within_only : bool
        Whether the shared slopes are those within tasks only.
    unit_noise : bool
        Whether the variance of the noise is one.
    """

    def __init__(self, moments, factors, within_only=False, unit_noise=False):
        p, varies = moments.n_features, np.flatnonzero(factors > 0)
        self.weight, self.target = moments.weight, moments.mean[:, p]
        scatter, cross = moments.scatter[:, :p, :p], moments.scatter[:, :p, p]
        own = scatter[:, varies[:, None], varies] * np.multiply.outer(*[factors[varies]] * 2)
        squares, U = np.linalg.eigh(own)
        self.squares = np.maximum(squares, 0.0)
        # Products of the own slopes with the shared ones and with the target.
        self._shared = np.matmul(scatter[:, :, varies] * factors[varies], U)
        self._own = np.einsum("tij,ti->tj", U, cross[:, varies] * factors[varies])
        self._scatter, self._cross = scatter.sum(axis=0), cross.sum(axis=0)
        self.total = moments.scatter[:, p, p].sum() + self.weight @ self.target**2
        mean = np.zeros_like(cross) if within_only else moments.mean[:, :p]
        self.line = np.column_stack([np.ones(len(mean)), mean])
        self.rows, self.unit_noise = self.weight.sum(), unit_noise

    def __call__(self, log_variances):
        """Return minus twice the log-likelihood of the logarithms of both variances."""
        out, Q, spare = self._parts(log_variances)
        return out + Q if self.unit_noise else out + spare * np.log(Q / spare)

    def _parts(self, log_variances):
        """Return the determinants, the squared error, and the rows less what all tasks share."""
        intercept, slope = np.exp(log_variances)
        left = self.weight / (1.0 + intercept * self.weight)
        inside = 1.0 + slope * self.squares
        S = self.line.T @ (left[:, None] * self.line)
        shrunk = self._shared * (slope / inside)[:, None]
        S[1:, 1:] += self._scatter - np.tensordot(shrunk, self._shared, axes=([0, 2], [0, 2]))
        right = self.line.T @ (left * self.target)
        right[1:] += self._cross - np.einsum("tij,tj->i", shrunk, self._own)
        values, vectors = np.linalg.eigh(S)
        live = values > 1e-10 * values[-1]
        fitted = ((vectors[:, live].T @ right) ** 2 / values[live]).sum()
        own = (self.weight - left) @ self.target**2 + (slope * self._own**2 / inside).sum()
        out = np.log1p(intercept * self.weight).sum() + np.log(inside).sum()
        out += np.log(values[live]).sum()
        Q = max(self.total - own - fitted, 1e-300)
        return out, Q, max(self.rows - live.sum(), 1.0)

    def best(self):
        """Return the variances of intercepts and slopes, and the noise, of most likelihood."""
        start = min([(0.0, -2.0), (-2.0, -4.0), (1.0, -6.0)], key=self)
        found = minimize(self, start, method="L-BFGS-B", bounds=[_LOG_VARIANCES] * 2, tol=1e-6)
        _, Q, spare = self._parts(found.x)
        return (*np.exp(found.x), 1.0 if self.unit_noise else Q / spare)
