"""Learners in closed form: linear heads under priors learned from the tasks, averaged."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..guard.weights import TaskPrior, log_scores, noise_level
from ..tasks.prevalence import Prevalence, sampling_offset
from . import _families as families
from ._held_out import few_shot, folds
from ._requirements import AUTO_OR_COUNT
from ._scaling import Scaling
from .base import Adapted, Knowledge, LabelledTasks, Learner, log_probabilities

__all__ = ["Auto", "Averaged", "Fold", "Hierarchical", "LinearHeads", "Subspace"]

_N_FOLDS = 3
# Number of episodes per fold on which candidates are judged, and of tasks adapted to at a time.
_N_EPISODES, _BATCH_TASKS = 150, 1000
# Inverse temperatures: candidates' scores are multiplied by each of these and then averaged, as a
# strength that finds the best direction may give scores that are too close to zero.
_INVERSE_TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)
# Number of rows that each class counts as at most if each task has its own classes: tasks with the
# same classes are not independent of each other, however many they are.
_ROWS_PER_CLASS = 300.0
# In that case, arguments of `TaskPrior`: the prior probability that a task uses any candidate, and
# the factor on the evidence of a task's own rows, which is mostly noise with few rows per class.
_OWN_CLASSES_PRIOR = 0.02, 0.25
# Candidates whose weight is below this share of the largest weight, at all sizes, are dropped.
_MIN_SHARE = 0.01
_EM_STEPS = 15


class _ClosedForm(Learner):
    """Base of the closed-form learners.

    Candidates are judged on held-out tasks, and averaged with weights that depend on task size.
    Subclasses define ``_candidates(tasks, random_state)``, which estimates the candidates from the
    tasks and returns equally many for any tasks of a table.
    """

    def _learn(self, tasks, random_state, progress):
        return self._learn_and_hold_out(tasks, random_state, progress)[0]

    def _learn_and_hold_out(self, tasks, random_state, progress, splits=None):
        """Learn from all tasks, and from those of every fold.

        Parameters
        ----------
        tasks, random_state, progress
            As in `learn`.
        splits : list of (LabelledTasks, LabelledTasks), default=None
            Training and held-out tasks of the folds; None draws them.

        Returns
        -------
        knowledge : Averaged
        folds : list of Fold
            Those that have both training and held-out tasks.
        """
        tasks = tasks.take(np.flatnonzero(tasks.sizes > 0))
        scaling = Scaling.of(tasks)
        if tasks.ways is None:
            scaling = replace(scaling, unit=scaling.unit * _noise_of(scaling(tasks)))
        scaled = scaling(tasks)
        candidates = self._candidates(scaled, random_state)
        n_columns = len(candidates) * len(_inverse_temperatures(tasks))
        evidence, found = [(np.zeros((0, n_columns)), np.zeros(0), np.zeros(0))], []
        n_folds = min(_N_FOLDS, tasks.n_tasks)
        if splits is None:
            splits = folds(tasks, n_folds, random_state)
        for f, (train, held) in enumerate(splits):
            if not train.n_tasks or not held.n_tasks:
                continue
            progress(f"judging candidates on held-out tasks, fold {f + 1} of {n_folds}")
            episodes = few_shot(scaling(held), _N_EPISODES, random_state)
            of_fold = self._candidates(scaling(train), random_state)
            evidence.append(_evidence(of_fold, *episodes))
            found.append((train, held, of_fold))
        costs = np.repeat([c.cost for c in candidates], len(_inverse_temperatures(tasks)))
        prior, noise = _weigh(tasks, *map(np.concatenate, zip(*evidence, strict=True)), -costs)
        prevalence = None
        if tasks.ways is not None and tasks.shared_classes:
            prevalence = Prevalence.of(tasks.class_counts())
        whole = Averaged(candidates, prior, noise, scaling, prevalence)
        return whole.pruned(), [
            Fold(train, held, replace(whole, candidates=of_fold).pruned())
            for train, held, of_fold in found
        ]


@dataclass(frozen=True)
class Fold:
    """What was learned without some of the tasks.

    The weights of the candidates were judged on the tasks of all folds.

    Attributes
    ----------
    train, held : LabelledTasks
        The tasks that were learned from, and those that were not.
    knowledge : Averaged
    """

    train: LabelledTasks
    held: LabelledTasks
    knowledge: "Averaged"


def _evidence(candidates, support, query):
    """Return how well each candidate, adapted to support rows, predicts the query rows.

    Returns
    -------
    scores : ndarray of shape (n_episodes, n_candidates * n_temperatures)
        Log-likelihoods, or negative squared errors.
    rows, sizes : ndarray of shape (n_episodes,)
        Total weights of the query rows and of the support rows.
    """
    heads = [c.heads(support) for c in candidates]
    scores = [_likelihoods(_scores(h, query.X, query.codes), query) for h in heads]
    return np.hstack(scores), query.sums(query.weight), support.sums(support.weight)


def _noise_of(tasks):
    """Return the lowest root mean squared leave-one-out error of simple candidates."""
    errors = []
    for family in (families.independent, families.pooled, families.within):
        for candidate in family(tasks):
            left_out = candidate.heads_and_left_out(tasks)[1][:, 0]
            errors.append(np.average((tasks.y - left_out) ** 2, weights=tasks.weight))
    return max(np.sqrt(min(errors)), 1e-6)


def _weigh(tasks, scores, rows, sizes, log_prior):
    """Return the candidates' weights by task size, and the squared error per row (of numbers)."""
    settings = _OWN_CLASSES_PRIOR if tasks.own_classes else ()
    if not len(rows):
        return TaskPrior.untried(log_prior, *settings), None
    noise, n_steps = None, _EM_STEPS
    if tasks.ways is None:
        noise = noise_level(-scores, rows)
        scores = log_scores(-scores, rows, noise)
    scores = scores - scores.max(axis=1, keepdims=True)
    if tasks.own_classes:
        share = min(1.0, _ROWS_PER_CLASS * (tasks.labels.max() + 1) / rows.sum())
        scores, rows, n_steps = scores * share, rows * share, 0
    order = np.argsort(sizes, kind="stable")
    prior, _ = TaskPrior.learn(
        scores[order], rows[order], sizes[order], log_prior, n_steps, *settings
    )
    return prior, noise


def _inverse_temperatures(tasks):
    return (1.0,) if tasks.ways is None else _INVERSE_TEMPERATURES


def _likelihoods(scores, tasks, offset=0.0):
    """Return the log-likelihood of each task's labels, ``(n_tasks, n_temperatures)``.

    For numbers, these are negative squared errors. `offset` is the part of the scores that is not
    multiplied by the inverse temperature.
    """
    if tasks.ways is None:
        return -tasks.sums(tasks.weight * (tasks.y - scores[:, 0]) ** 2)[:, None]
    out = []
    for factor in _INVERSE_TEMPERATURES:
        log = log_probabilities(factor * (scores - offset) + offset, tasks.ways[tasks.codes])
        out.append(tasks.sums(tasks.weight * log[np.arange(len(log)), tasks.y]))
    return np.column_stack(out)


def _scores(heads, X, codes):
    """Return the scores ``(n_rows, n_scores)`` of rows under the heads of their tasks."""
    scores = np.empty((len(X), heads.shape[1]))
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(heads) + 1))
    for t in np.flatnonzero(np.diff(edges)):
        rows = order[edges[t] : edges[t + 1]]
        scores[rows] = X[rows] @ heads[t, :, 1:].T + heads[t, :, 0]
    return scores


@dataclass
class Averaged(Knowledge):
    """Candidates, and their weights by task size.

    Attributes
    ----------
    candidates : list of GaussianPrior or ClassMeans
    prior : TaskPrior
        Weights of the candidates and, for each, of the inverse temperatures.
    noise : float or None
        Squared error per row of the table, for numbers.
    scaling : Scaling
        Applied before the candidates; for numbers, with the noise as unit.
    prevalence : Prevalence or None
        How shares of the classes vary between tasks, if tasks share their classes.
    """

    uses_class_prior = True

    candidates: list
    prior: TaskPrior
    noise: float | None
    scaling: Scaling
    prevalence: Prevalence | None = None

    def pruned(self):
        """Return a copy without candidates that no task uses."""
        weight = self.prior.at_sizes()
        used = (weight / weight.max(axis=1, keepdims=True)).max(axis=0) >= _MIN_SHARE
        kept = used.reshape(len(self.candidates), -1).any(axis=1)
        return replace(
            self,
            candidates=[c for c, k in zip(self.candidates, kept, strict=True) if k],
            prior=self.prior.take(np.repeat(kept, len(used) // len(kept))),
        )

    def adapt(self, tasks):
        heads = [self._average(batch) for batch in self.scaling(tasks).batches(_BATCH_TASKS)]
        return LinearHeads(self.scaling.restore(np.concatenate(heads)), tasks.ways)

    def _average(self, tasks):
        offset, shift = self._sampling(tasks)
        pairs = [c.heads_and_left_out(tasks, offset, shift) for c in self.candidates]
        shares = self._shares(tasks, [left_out for _, left_out in pairs], offset)
        return np.einsum("tc,ctkj->tkj", shares, np.array([heads for heads, _ in pairs]))

    def _sampling(self, tasks):
        """Return the effects of sampling by class.

        If the shares of a task's classes are given, any difference to the shares among its rows
        is attributed to sampling; otherwise as much as is probable.

        Returns
        -------
        offset : ndarray of shape (n_rows, n_scores) or float
            Added by sampling to the scores of the rows.
        shift : ndarray of shape (n_tasks, n_scores) or None
            Added by the given shares to a prior's mean intercepts.
        """
        prior, shift = tasks.class_prior, None
        if prior is not None:
            usual = self.prevalence.mean if self.prevalence else 1.0 / tasks.ways[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):  # classes the task does not have
                shift = np.where(prior > 0.0, np.log(prior / usual), 0.0)
                offset = sampling_offset(tasks.class_counts(), prior)
            offset = np.where(prior > 0.0, offset, 0.0)
        elif self.prevalence is not None:
            counts = tasks.class_counts()
            offset = sampling_offset(counts, self.prevalence.mean)
            offset *= self.prevalence.by_class(counts)[:, None]
        else:
            return 0.0, None
        if families.n_scores(tasks) == 1:  # log-odds
            offset, shift = (part if part is None else np.diff(part) for part in (offset, shift))
        return offset[tasks.codes], shift

    def _shares(self, tasks, left_out, offset):
        """Return weights ``(n_tasks, n_candidates)`` of the scores, from leave-one-out scores.

        They include the inverse temperatures.
        """
        rows = tasks.sums(tasks.weight)
        evidence = np.hstack([_likelihoods(scores, tasks, offset) for scores in left_out])
        if tasks.ways is None:
            evidence = log_scores(-evidence, rows, self.noise or 1.0)
        evidence -= evidence.max(axis=1, keepdims=True)
        factors = np.array(_inverse_temperatures(tasks))
        weights = [self.prior.weights(e, max(n, 1.0)) for e, n in zip(evidence, rows, strict=True)]
        return np.array(weights).reshape(len(rows), -1, len(factors)) @ factors


@dataclass
class LinearHeads(Adapted):
    """Linear scores of several tasks.

    Attributes
    ----------
    heads : ndarray of shape (n_tasks, n_scores, 1 + n_features)
        Intercepts first.
    ways : ndarray of shape (n_tasks,) or None
    """

    heads: np.ndarray
    ways: np.ndarray | None

    def predict(self, X, codes):
        scores = _scores(self.heads, X, codes)
        return scores[:, 0] if self.ways is None else log_probabilities(scores, self.ways[codes])

    def take(self, tasks):
        return LinearHeads(self.heads[tasks], None if self.ways is None else self.ways[tasks])


class Subspace(_ClosedForm):
    r"""Slopes of the tasks in a subspace of few dimensions, found in closed form.

    With the residuals :math:`e_i` of the pooled model, the leading eigenvectors of
    :math:`\sum_t \sum_{i \ne j \in t} e_i e_j x_i x_j'` on standardised features span the
    subspace. A new task's slopes get a Gaussian prior, centred at the pooled slopes, within the
    subspace; under this prior a logistic (or ridge) head is fitted to the task's rows.

    Predictions average several strengths of the prior, heads trained from scratch and the pooled
    model. The weights are learned from held-out tasks of similar size, and updated by the
    leave-one-out losses of the new task's rows. Adaptation is thereby guarded.

    Parameters
    ----------
    rank : "auto" or int, default="auto"
        Number of dimensions. "auto" counts the eigenvalues that exceed those of residuals with
        random signs.

    References
    ----------
    Tripuraneni, N., Jin, C. and Jordan, M. (2021). Provable meta-learning of linear
    representations. ICML. https://proceedings.mlr.press/v139/tripuraneni21a.html

    Examples
    --------
    >>> from skmtl.learners import Subspace
    >>> Subspace(rank=3)
    Subspace(rank=3)
    """

    _requirements = {"rank": AUTO_OR_COUNT}

    def __init__(self, rank: int | Literal["auto"] = "auto") -> None:
        self.rank = rank

    def _candidates(self, tasks, random_state):
        return [
            *families.independent(tasks), *families.pooled(tasks),
            *families.subspace(tasks, random_state, families.SharedPart.of(tasks), self.rank),
        ]  # fmt: skip


class Hierarchical(_ClosedForm):
    r"""A Gaussian prior on the tasks' parameters, learned from the tasks.

    The prior :math:`w_t \sim N(\mu, \Sigma)` is estimated by empirical Bayes with EM, which is
    exact for numbers and uses Laplace's approximation for classes. :math:`\Sigma` has one variance
    for all slopes, one variance per slope, or is a full matrix, shrunk towards the simpler
    structures if there are few tasks. Each structure is a candidate at two scales; candidates are
    averaged with heads trained from scratch and the pooled model, as in `Subspace`.

    References
    ----------
    Gelman, A. and Hill, J. (2007). Data Analysis Using Regression and Multilevel/Hierarchical
    Models. Cambridge University Press. :doi:`10.1017/CBO9780511790942`

    Examples
    --------
    >>> from skmtl.learners import Hierarchical
    >>> Hierarchical()
    Hierarchical()
    """

    def _candidates(self, tasks, random_state):
        shared = families.SharedPart.of(tasks)
        return [
            *families.independent(tasks), *families.pooled(tasks),
            *families.intercepts(tasks, shared),
            *families.hierarchical(tasks, random_state, shared),
        ]  # fmt: skip


class Auto(_ClosedForm):
    """All closed-form candidates: those of `Subspace` and of `Hierarchical`.

    For numbers, and if classes are the same in every task, they include models with shared slopes
    and one intercept per task.

    If each task has its own classes, classification by the nearest class mean is a further
    candidate, and candidates are judged on held-out classes instead of only held-out tasks, as
    what is learned from few classes rarely applies to others.

    Examples
    --------
    >>> from skmtl.learners import Auto
    >>> Auto()
    Auto()
    """

    def _candidates(self, tasks, random_state):
        shared = families.SharedPart.of(tasks)
        return [
            *families.independent(tasks), *families.pooled(tasks), *families.prototypes(tasks),
            *families.intercepts(tasks, shared),
            *families.subspace(tasks, random_state, shared),
            *families.hierarchical(tasks, random_state, shared),
        ]  # fmt: skip
