r"""Families of candidates that the closed-form learners estimate from tasks.

Each is a function of `LabelledTasks` that returns a list of candidates. The list has the same
length for any tasks of a table, so that candidates estimated from some tasks can be judged on
others and then estimated again from all.
"""

from dataclasses import replace

import numpy as np

from ..losses import LOG_LOSS
from ._prior import ClassMeans, GaussianPrior, indicators, n_scores
from ._shared import (
    FREE,
    FREE_LEVEL,
    FREE_OWN,
    SharedPart,
    diagonal_root,
    pooled_mean,
    zero_mean,
)
from .base import mask_scores, rank_in_groups

__all__ = [
    "SharedPart", "feature_weights", "hierarchical", "independent", "intercepts", "n_scores",
    "pooled", "prototypes", "subspace", "within",
]  # fmt: skip

# Variances of the slopes on standardised features; for numbers in squares of the noise.
_CLASS_VARIANCES = (0.01, 0.1, 1.0, 10.0)
_OWN_CLASS_VARIANCES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_NUMBER_VARIANCES = (1e-3, 0.01, 0.1, 1.0, 10.0, 100.0)
# Variances of slopes within the subspace, and outside of it as a share of those.
_INSIDE, _OUTSIDE = (0.3, 1.0, 3.0, 10.0), (0.0, 0.01)
# EM: number of steps, range of the number of tasks used, and operations per step (roughly).
_EM_STEPS, _EM_TASKS, _EM_OPERATIONS = 12, (64, 400), 3e6
# Largest number of unknowns of a head with several scores in EM; larger tasks are subsampled.
_MAX_UNKNOWNS = 60
# Above this number of features only a single variance for all slopes is estimated.
_MANY_FEATURES = 300
# Number of heads that the simpler covariance structure counts as when a richer one is estimated.
_PRIOR_HEADS = 5.0
# Laplace's posterior is too narrow for tasks with few rows, so that EM underestimates variances.
_INFLATION = (1.0, 4.0)
# Costs in nats if each task has its own classes: of a factor 10 in the variance, as a few classes
# cannot tell how well others can be separated; and of all that is learned from other classes.
_DECADE, _LEARNED = 6.0, 30.0
# Factors on the estimated variance of the levels.
_LEVEL_SCALES = 0.3, 1.0, 3.0
# Number of random sign vectors for the eigenvalues under the hypothesis that tasks share nothing.
_N_SIGN_DRAWS = 5


def _free_variance(tasks):
    if tasks.ways is None:
        return FREE_LEVEL
    return FREE_OWN if tasks.own_classes else FREE


def _root(covariance):
    """Return a root of the covariance without directions of negligible correlation."""
    scale = np.sqrt(np.diag(covariance))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    values, vectors = np.linalg.eigh(covariance * np.multiply.outer(inverse, inverse))
    keep = values > 1e-8 * values[-1]
    return scale[:, None] * vectors[:, keep] * np.sqrt(values[keep])


def feature_weights(tasks):
    """Return candidate weights of the features: equal, and the inverse kurtosis if it differs.

    A column that is nearly always the same has large standardised values where it is not. With
    equal weights a slope that is learned only from these would be as large as any other.
    """
    equal = np.ones(tasks.n_features)
    return [equal] if tasks.inverse_kurtosis is None else [equal, tasks.inverse_kurtosis]


def independent(tasks):
    """Return ridge candidates that learn each task from scratch."""
    variances, decade = _NUMBER_VARIANCES, 0.0
    if tasks.own_classes:
        variances, decade = _OWN_CLASS_VARIANCES, _DECADE
    elif tasks.ways is not None:
        variances = _CLASS_VARIANCES
    zero = zero_mean(tasks)
    return [
        GaussianPrior(
            "independent", zero, diagonal_root(v * weights, _free_variance(tasks)),
            decade * np.log10(v / variances[0]), zero[:, 1:], tasks.ways is None,
        )
        for weights in feature_weights(tasks)
        for v in variances
    ]  # fmt: skip


def _cost(tasks):
    return _LEARNED if tasks.own_classes else 0.0


def pooled(tasks):
    """Return candidates with one model for all tasks; none if each task has its own classes."""
    if tasks.own_classes:
        return []
    root = np.zeros((1 + tasks.n_features, 1))
    return [GaussianPrior("pooled", pooled_mean(tasks, v), root) for v in (0.01, 1.0)]


def within(tasks):
    """Return a fixed-effects candidate: shared slopes, estimated from deviations within tasks.

    Levels are unrestricted. The labels are numbers.
    """
    centres = tasks.means(tasks.X)
    inner = replace(tasks, X=tasks.X - centres[tasks.codes], prior_rows=np.zeros(tasks.n_features))
    mean = pooled_mean(inner, offset=tasks.means(tasks.y[:, None])[tasks.codes])
    root = SharedPart.level_root(FREE_LEVEL, tasks.n_features)
    return [GaussianPrior("intercepts", mean, root, between=mean[:, 1:], free=True)]


def intercepts(tasks, shared):
    """Return candidates with shared slopes and levels that vary between tasks."""
    if tasks.own_classes:
        return []
    return [
        shared.prior("intercepts", shared.level_root(scale * shared.variance, tasks.n_features))
        for scale in _LEVEL_SCALES
    ]


def prototypes(tasks):
    """Return nearest-class-mean candidates (Snell et al. 2017) if each task has its own classes."""
    if not tasks.own_classes:
        return []
    sums, counts = tasks.class_sums()
    gaps = tasks.X - (sums / np.maximum(counts, 1e-300)[:, :, None])[tasks.codes, tasks.y]
    freedom = max(np.maximum(counts - 1.0, 0.0).sum(), 1.0)
    out = []
    for weights in feature_weights(tasks):
        squares = tasks.weight @ (gaps**2 @ weights) / weights.sum()
        out.append(ClassMeans("prototypes", weights / max(squares / freedom, 1e-6), _DECADE))
    return out


def hierarchical(tasks, random_state, shared):
    """Return Gaussian priors estimated by EM, with covariances of three structures."""
    subset = _subset_for_em(tasks, random_state)
    mean, covariance, out = shared.mean, 0.3 * np.eye(1 + tasks.n_features), []
    covariance[0, 0] = shared.variance
    structures = "scalar", "diagonal", "full"
    for structure in structures if tasks.n_features <= _MANY_FEATURES else structures[:1]:
        if structure == "full":
            covariance = _oriented(tasks, _residuals(tasks, shared), covariance)
        mean, covariance = expectation_maximisation(subset, shared, mean, covariance, structure)
        out += [
            shared.prior("hierarchical", _root(v * covariance), _cost(tasks), mean)
            for v in _INFLATION
        ]
    return out


def _subset_for_em(tasks, random_state, max_tasks=_EM_TASKS[1]):
    """Return some of the tasks, and of large ones some rows, such that EM steps are cheap."""
    k, n_rows = n_scores(tasks), tasks.sizes.mean()
    unknowns = min(_MAX_UNKNOWNS, k * min(n_rows, 1.0 + tasks.n_features))
    operations = unknowns**3 / 6.0 + n_rows * unknowns**2 + unknowns * tasks.n_features**2
    n_tasks = min(int(np.clip(_EM_OPERATIONS / operations, *_EM_TASKS)), max_tasks)
    if tasks.n_tasks > n_tasks:
        tasks = tasks.take(np.sort(random_state.choice(tasks.n_tasks, n_tasks, replace=False)))
    max_rows = _MAX_UNKNOWNS // k
    if k == 1 or min(tasks.sizes.max(), 1 + tasks.n_features) <= max_rows:
        return tasks
    keys = random_state.random_sample(len(tasks.y))
    return tasks.select_rows(rank_in_groups(keys, tasks.codes) < max_rows)


def expectation_maximisation(tasks, shared, mean, covariance, structure, n_steps=_EM_STEPS):
    """Estimate the mean and the covariance of the tasks' parameters, with Laplace's posteriors."""
    for _ in range(n_steps):
        prior = shared.prior("hierarchical", _root(covariance), mean=mean)
        _, step, moment, n_heads = prior.posterior(tasks)
        if not tasks.own_classes:  # own classes are exchangeable, their mean is zero
            mean = mean + step
            moment = moment - step.T @ step / len(step)
        covariance = _structured(moment, structure, n_heads)
        if tasks.own_classes or shared.free:  # the level is independent of the slopes
            covariance[0], covariance[:, 0] = 0.0, 0.0
            covariance[0, 0] = shared.variance
    return mean, covariance


def _structured(moment, structure, n_heads):
    """Return a covariance of some structure from the heads' second moment.

    It is shrunk towards that of the simplest structure.
    """
    p = len(moment) - 1
    common = np.diag(np.append(moment[0, 0], np.full(p, np.trace(moment[1:, 1:]) / max(p, 1))))
    if structure == "scalar":
        return common
    weight = _PRIOR_HEADS
    if structure == "full":
        weight += p
    else:
        moment = np.diag(np.diag(moment))
    return (n_heads * moment + weight * common) / (n_heads + weight)


def _oriented(tasks, residuals, covariance):
    """Return the covariance with nine tenths of the slopes' variance along their moments."""
    values, vectors = slope_moments(tasks, residuals)
    if values[0] <= 0.0:
        return covariance
    share = np.maximum(values, 0.0) / np.maximum(values, 0.0).sum()
    out = covariance.copy()
    out[1:, 1:] *= 0.1
    out[1:, 1:] += 0.9 * np.trace(covariance[1:, 1:]) * (vectors * share) @ vectors.T
    return out


def slope_moments(tasks, residuals):
    r"""Return the eigenvalues, in falling order, and eigenvectors of the slopes' covariance.

    With the residuals :math:`e_i` of a model for all tasks, the products
    :math:`e_i e_j x_i x_j'` of different rows of a task estimate the covariance of the tasks'
    slopes without bias, up to a factor, if features are uncorrelated within tasks (Tripuraneni et
    al. 2021). With random signs of the residuals the result shows what to expect if tasks have
    nothing in common.
    """
    total = np.zeros((tasks.n_features, tasks.n_features))
    X = tasks.X - tasks.centres()[tasks.codes]
    for k in range(residuals.shape[1]):
        rows = (residuals[:, k] * tasks.weight)[:, None] * X
        sums = np.add.reduceat(rows, tasks.offsets[:-1], axis=0)
        total += sums.T @ sums - rows.T @ rows
    values, vectors = np.linalg.eigh(total / len(tasks.X))
    values[np.abs(values) <= 1e-12 * np.abs(values).max()] = 0.0  # constant within tasks
    return values[::-1], vectors[:, ::-1]


def _residuals(tasks, shared):
    """Return the residuals ``(n_rows, n_scores)`` of the shared part including levels."""
    scores = shared.scores(tasks)
    if tasks.ways is None:
        return tasks.y[:, None] - scores
    target = indicators(tasks.y, scores.shape[1])
    return -LOG_LOSS.gradient(mask_scores(scores, tasks.ways[tasks.codes]), target)


def subspace(tasks, random_state, shared, rank="auto"):
    """Return priors on slopes in few dimensions, which are found from the tasks' moments."""
    residuals = _residuals(tasks, shared)
    values, vectors = slope_moments(tasks, residuals)
    if rank == "auto":
        draws = [random_state.choice([-1.0, 1.0], len(tasks.y)) for _ in range(_N_SIGN_DRAWS)]
        null = max(slope_moments(tasks, residuals * signs[:, None])[0][0] for signs in draws)
        rank = max(1, int((values > null).sum()))
    rank = min(rank, tasks.n_features)
    share = np.maximum(values[:rank], 1e-3 * max(values[0], 1e-300))
    share /= share.mean()
    subset = _subset_for_em(tasks, random_state, 200)
    slopes = np.full(tasks.n_features, 0.3 / tasks.n_features)
    start = np.diag(np.append(shared.variance, slopes))
    _, simple = expectation_maximisation(subset, shared, shared.mean, start, "scalar", 6)
    out = []
    for inside in _INSIDE:
        for outside in _OUTSIDE:
            covariance = np.zeros((1 + tasks.n_features,) * 2)
            covariance[0, 0] = max(simple[0, 0], 1e-4)
            covariance[1:, 1:] = inside * (vectors[:, :rank] * share) @ vectors[:, :rank].T
            covariance[1:, 1:] += inside * outside * np.eye(tasks.n_features)
            out.append(shared.prior("subspace", _root(covariance), _cost(tasks)))
    return out
