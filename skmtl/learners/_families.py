r"""Families of candidates: what the closed forms learn from tasks.

Each is a function of `LabelledTasks` that returns a list of candidates, as long for other tasks of
the same table, so that candidates can be judged on some tasks and learned from all.
"""

from dataclasses import replace

import numpy as np
from scipy.special import expit

from ._prior import GaussianPrior, Prototypes, class_sums, n_scores
from ._shared import (
    FREE,
    FREE_LEVEL,
    FREE_OWN,
    SharedPart,
    diagonal_root,
    pooled_mean,
    zero_mean,
)
from .base import log_probabilities, rank_in_groups

__all__ = [
    "SharedPart", "hierarchical", "independent", "intercepts", "pooled", "prototypes", "subspace",
    "within",
]  # fmt: skip

# Variances of the slopes on standardised features, in squares of the noise where there is one.
_CLASS_VARIANCES = (0.01, 0.1, 1.0, 10.0)
_OWN_CLASS_VARIANCES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_NUMBER_VARIANCES = (1e-3, 0.01, 0.1, 1.0, 10.0, 100.0)
# Of slopes within the subspace, and beside it as a share of that.
_WITHIN, _BESIDE = (0.3, 1.0, 3.0, 10.0), (0.0, 0.01)
# Steps of EM, the tasks that they look at, and about the operations a step may take.
_STEPS, _TASKS, _WORK = 12, (64, 400), 3e6
# Unknowns of a head of several scores in EM: where a task has more, it looks at some rows only.
_UNKNOWNS = 60
# From so many features on a variance for each is not learned.
_MANY = 300
# Heads that draw the variances of single features, and all covariances, to the simpler structure.
_PRIOR_HEADS = 5.0
# Laplace's posterior is too narrow for tasks of few rows, so that EM comes out too small.
_INFLATION = (1.0, 4.0)
# What a candidate costs, in nats, where tasks have classes of their own: a decade of variance, as
# a few classes cannot tell how well the next ones are told apart; and all that was learned on them.
_DECADE, _LEARNED = 6.0, 30.0
# Scales of the variance of levels that is found.
_SCALES = 0.3, 1.0, 3.0
# Draws of signs that say how large eigenvalues are where tasks have nothing in common.
_DRAWS = 5


def _free(tasks):
    if tasks.ways is None:
        return FREE_LEVEL
    return FREE_OWN if tasks.own_classes else FREE


def _root(covariance):
    """A root of the covariance, without directions that hardly vary in units of the deviations."""
    scale = np.sqrt(np.diag(covariance))
    over = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    values, vectors = np.linalg.eigh(covariance * np.multiply.outer(over, over))
    keep = values > 1e-8 * values[-1]
    return scale[:, None] * vectors[:, keep] * np.sqrt(values[keep])


def _with_free_level(covariance, variance):
    """The covariance where levels are free, whatever the slopes."""
    covariance = covariance.copy()
    covariance[0], covariance[:, 0] = 0.0, 0.0
    covariance[0, 0] = variance
    return covariance


def metrics(tasks):
    """Weights of the features: alike on the standardised ones, and by how evenly they vary.

    A column that is nearly always the same has large values, in deviations, where it is not, and a
    slope that is only learned from these would be as large as any other's (`Frame.evenness`).
    """
    shapes = [np.ones(tasks.n_features)]
    if tasks.evenness is not None:
        shapes.append(tasks.evenness)
    return shapes


def independent(tasks):
    """Each task from scratch, in all metrics."""
    if tasks.ways is None:
        variances, decade = _NUMBER_VARIANCES, 0.0
    elif tasks.shared_classes:
        variances, decade = _CLASS_VARIANCES, 0.0
    else:
        variances, decade = _OWN_CLASS_VARIANCES, _DECADE
    zero = zero_mean(tasks)
    return [
        GaussianPrior(
            "independent", zero, diagonal_root(v * shape, _free(tasks)),
            decade * np.log10(v / variances[0]), zero[:, 1:], tasks.ways is None,
        )
        for shape in metrics(tasks)
        for v in variances
    ]  # fmt: skip


def _cost(tasks):
    return _LEARNED if tasks.own_classes else 0.0


def pooled(tasks):
    """One model for all tasks, where a class means the same in all."""
    if tasks.own_classes:
        return []
    nothing = np.zeros((1 + tasks.n_features, 1))
    return [GaussianPrior("pooled", pooled_mean(tasks, v), nothing) for v in (0.01, 1.0)]


def within(tasks):
    """The same slopes in every task, found from rows less their tasks' means; levels are free."""
    if tasks.own_classes:
        return []
    centres = tasks.means(tasks.X)
    inner = replace(tasks, X=tasks.X - centres[tasks.codes], pull=np.zeros(tasks.n_features))
    mean = pooled_mean(inner, offset=tasks.means(tasks.y[:, None])[tasks.codes])
    root = SharedPart.of_levels(FREE_LEVEL, tasks.n_features)
    return [GaussianPrior("intercepts", mean, root, between=mean[:, 1:], free=True)]


def intercepts(tasks, shared):
    """The same slopes in every task, and levels that vary."""
    if tasks.own_classes:
        return []
    return [
        shared.prior("intercepts", shared.of_levels(scale * shared.variance, tasks.n_features))
        for scale in _SCALES
    ]


def prototypes(tasks):
    """The classes' means (Snell et al. 2017), where every task has classes of its own."""
    if not tasks.own_classes:
        return []
    return [
        Prototypes("prototypes", shape / _within(tasks, shape), _DECADE)
        for shape in metrics(tasks)
    ]  # fmt: skip


def _within(tasks, shape):
    """Mean variance of the features within classes, in a metric."""
    sums, counts = class_sums(tasks)
    means = sums / np.maximum(counts, 1e-300)[:, :, None]
    gaps = tasks.X - means[tasks.codes, tasks.y]
    freedom = np.maximum(counts - 1.0, 0.0).sum()
    squares = tasks.weight @ (gaps**2 @ shape) / shape.sum()
    return max(squares / max(freedom, 1.0), 1e-6)


def hierarchical(tasks, random_state, shared):
    """A Gaussian learned by empirical Bayes, with covariances of three structures in turn."""
    chosen = _sample(tasks, _affordable(tasks), random_state)
    residuals = _residuals(tasks, shared)
    some = _thinned(tasks.take(chosen), random_state)
    mean, covariance, out = shared.mean, 0.3 * np.eye(1 + tasks.n_features), []
    covariance[0, 0] = shared.variance
    structures = "scalar", "diagonal", "full"
    for structure in structures if tasks.n_features <= _MANY else structures[:1]:
        if structure == "full":
            covariance = _oriented(tasks, residuals, covariance)
        mean, covariance = expectation_maximisation(some, shared, mean, covariance, structure)
        out += [
            shared.prior("hierarchical", _root(v * covariance), _cost(tasks), mean)
            for v in _INFLATION
        ]
    return out


def _affordable(tasks):
    """How many tasks EM may look at."""
    rows = tasks.sizes.mean()
    unknowns = min(_UNKNOWNS, n_scores(tasks) * min(rows, 1.0 + tasks.n_features))
    work = unknowns**3 / 6.0 + rows * unknowns**2 + unknowns * tasks.n_features**2
    return int(np.clip(_WORK / work, *_TASKS))


def _thinned(tasks, random_state):
    """Tasks with so few rows that EM's steps are cheap, where they have several scores."""
    most = _UNKNOWNS // n_scores(tasks)
    if n_scores(tasks) == 1 or min(tasks.sizes.max(), 1 + tasks.n_features) <= most:
        return tasks
    keys = random_state.random_sample(len(tasks.y))
    return tasks.rows(rank_in_groups(keys, tasks.codes) < most)


def _sample(tasks, most, random_state):
    if tasks.n_tasks <= most:
        return np.arange(tasks.n_tasks)
    return np.sort(random_state.choice(tasks.n_tasks, most, replace=False))


def expectation_maximisation(tasks, shared, mean, covariance, structure, n_steps=_STEPS):
    """EM for the mean and the covariance of the tasks' parameters, with Laplace's posteriors."""
    for _ in range(n_steps):
        prior = shared.prior("hierarchical", _root(covariance), mean=mean)
        _, step, moment, n_heads = prior.posterior(tasks)
        if not tasks.own_classes:  # there, no class's mean differs from another's
            mean = mean + step
            moment = moment - step.T @ step / len(step)
        covariance = _structured(moment, structure, n_heads)
        if tasks.own_classes or shared.free:
            covariance = _with_free_level(covariance, shared.variance)
    return mean, covariance


def _structured(moment, structure, n_heads):
    """A covariance of some structure from the heads' second moment, drawn to the simpler one."""
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
    """The covariance with nine tenths of the slopes' variance where their moments point to."""
    values, vectors = slope_moments(tasks, residuals)
    if values[0] <= 0.0:
        return covariance
    share = np.maximum(values, 0.0) / np.maximum(values, 0.0).sum()
    out = covariance.copy()
    out[1:, 1:] *= 0.1
    out[1:, 1:] += 0.9 * np.trace(covariance[1:, 1:]) * (vectors * share) @ vectors.T
    return out


def slope_moments(tasks, residuals):
    r"""Eigenvalues, largest first, and -vectors of the covariance of the tasks' slopes.

    With the residuals :math:`e_i` of a model for all tasks, the products
    :math:`e_i e_j x_i x_j'` of different rows of a task estimate it without bias, up to a factor,
    where features are uncorrelated within tasks (Tripuraneni et al. 2021). Random signs of the
    residuals say what comes where tasks have nothing in common.
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
    """What the shared part and levels leave of the labels: ``(n_rows, n_scores)``."""
    eta = shared.scores(tasks)
    if tasks.ways is None:
        return tasks.y[:, None] - eta
    if eta.shape[1] == 1:
        return tasks.y[:, None] - expit(eta)
    expected = np.exp(log_probabilities(eta, tasks.ways[tasks.codes]))
    return (tasks.y[:, None] == np.arange(eta.shape[1])) - expected


def subspace(tasks, random_state, shared, rank="auto"):
    """Slopes in few dimensions, found from the tasks' moments."""
    residuals = _residuals(tasks, shared)
    values, vectors = slope_moments(tasks, residuals)
    if rank == "auto":
        draws = [random_state.choice([-1.0, 1.0], len(tasks.y)) for _ in range(_DRAWS)]
        null = max(slope_moments(tasks, residuals * signs[:, None])[0][0] for signs in draws)
        rank = max(1, int((values > null).sum()))
    rank = min(rank, tasks.n_features)
    share = np.maximum(values[:rank], 1e-3 * max(values[0], 1e-300))
    share /= share.mean()
    some = tasks.take(_sample(tasks, min(_affordable(tasks), 200), random_state))
    some = _thinned(some, random_state)
    slopes = np.full(tasks.n_features, 0.3 / tasks.n_features)
    simple = np.diag(np.append(shared.variance, slopes))
    mean, simple = expectation_maximisation(some, shared, shared.mean, simple, "scalar", 6)
    level = simple[0, 0]
    out = []
    for within in _WITHIN:
        for beside in _BESIDE:
            covariance = np.zeros((1 + tasks.n_features,) * 2)
            covariance[0, 0] = max(level, 1e-4)
            covariance[1:, 1:] = within * (vectors[:, :rank] * share) @ vectors[:, :rank].T
            covariance[1:, 1:] += within * beside * np.eye(tasks.n_features)
            out.append(shared.prior("subspace", _root(covariance), _cost(tasks)))
    return out
