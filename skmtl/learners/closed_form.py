"""Learners in closed form: linear heads under priors learned from the tasks, averaged."""

from dataclasses import dataclass, replace

import numpy as np

from ..guard.weights import TaskPrior, log_scores, noise_level
from ..tasks.prevalence import Prevalence, sampling_offset
from . import _families as families
from ._episodic import is_count
from ._frame import Frame
from ._held_out import few_shot, folds
from .base import Adapted, Knowledge, Learner, log_probabilities

__all__ = ["Auto", "Hierarchical", "Subspace"]

_FOLDS = 3
# Episodes that judge the candidates, a fold; and tasks that are adapted to at a time.
_EPISODES, _AT_A_TIME = 150, 1000
# Candidates' scores are averaged after multiplication by one of these: a strength that finds the
# best direction may be too cautious.
_SHARPNESS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Rows that a class counts as where tasks have classes of their own: tasks of the same classes
# repeat one another, however many they are.
_ROWS_A_CLASS = 300.0
# There, the share of the tasks that may use any candidate at all, and how much a task's own rows
# say: few rows a class mostly find noise.
_FEW_ROWS = {"stray": 0.02, "own": 0.25}
# A candidate's share below this, beside the largest at every size, is not worth its arithmetic.
_LEAST_SHARE = 0.01
_EM_STEPS = 15


class _ClosedForm(Learner):
    """Candidates are judged on tasks held out, and averaged with weights by size of task."""

    def candidates(self, tasks, random_state):
        """Candidates as the tasks suggest them, equally many for other tasks of the same table."""
        raise NotImplementedError

    def learn(self, tasks, random_state, progress):
        tasks = tasks.take(np.flatnonzero(tasks.sizes > 0))
        frame = Frame.of(tasks)
        if tasks.ways is None:
            frame = replace(frame, unit=frame.unit * _noise_of(frame(tasks)))
        tasks = frame(tasks)
        candidates = self.candidates(tasks, random_state)
        evidence = self._evidence(tasks, len(candidates), random_state, progress)
        costs = np.repeat([c.cost for c in candidates], len(_sharpness(tasks)))
        prior, noise = _weigh(tasks, *evidence, -costs)
        prevalence = None
        if tasks.ways is not None and tasks.shared_classes:
            prevalence = Prevalence.of(tasks.class_counts())
        return Averaged(candidates, prior, noise, frame, prevalence).pruned()

    def _evidence(self, tasks, n_candidates, random_state, progress):
        """How well each candidate predicted other rows of tasks held out.

        Returns
        -------
        scores : ndarray of shape (n_episodes, n_candidates * n_sharpness)
            Log-likelihoods, or squared errors below zero.
        rows, sizes : ndarray of shape (n_episodes,)
            Weights of the rows that were predicted, and of those that were known.
        """
        scores = [np.zeros((0, n_candidates * len(_sharpness(tasks))))]
        rows, sizes = [np.zeros(0)], [np.zeros(0)]
        n_folds = min(_FOLDS, tasks.n_tasks)
        for f, (train, held) in enumerate(folds(tasks, n_folds, random_state)):
            if not train.n_tasks or not held.n_tasks:
                continue
            progress(f"judging candidates on tasks held out, fold {f + 1} of {n_folds}")
            known, asked = few_shot(held, _EPISODES, random_state)
            found = [c.heads(known) for c in self.candidates(train, random_state)]
            scores.append(
                np.hstack([_likelihoods(_scores(h, asked.X, asked.codes), asked) for h in found])
            )
            rows.append(_sums(asked, asked.weight))
            sizes.append(_sums(known, known.weight))
        return np.concatenate(scores), np.concatenate(rows), np.concatenate(sizes)


def _noise_of(tasks):
    """Root of the squared error a row of the best that is known at once, for numbers."""
    errors = []
    some = *families.independent(tasks), *families.pooled(tasks), *families.within(tasks)
    for candidate in some:
        left_out = candidate.heads_and_left_out(tasks)[1][:, 0]
        errors.append(np.average((tasks.y - left_out) ** 2, weights=tasks.weight))
    return max(np.sqrt(min(errors)), 1e-6)


def _weigh(tasks, scores, rows, sizes, log_prior):
    """What tasks of each size use of the candidates, and the squared error a row (of numbers)."""
    noise, settings = None, _FEW_ROWS if tasks.own_classes else {}
    if not len(rows):
        return TaskPrior.untried(log_prior, **settings), noise
    if tasks.ways is None:
        noise = noise_level(-scores, rows)
        scores = log_scores(-scores, rows, noise)
    scores, n_steps = scores - scores.max(axis=1, keepdims=True), _EM_STEPS
    if tasks.own_classes:
        most = _ROWS_A_CLASS * (tasks.labels.max() + 1)
        share, n_steps = min(1.0, most / rows.sum()), 0
        scores, rows = scores * share, rows * share
    order = np.argsort(sizes, kind="stable")
    prior, _ = TaskPrior.learn(
        scores[order], rows[order], sizes[order], log_prior, n_steps, **settings
    )
    return prior, noise


def _sharpness(tasks):
    return (1.0,) if tasks.ways is None else _SHARPNESS


def _sums(tasks, values):
    return np.bincount(tasks.codes, values, minlength=tasks.n_tasks)


def _likelihoods(scores, tasks, offset=0.0):
    """Log-likelihoods of the tasks' labels at every sharpness ``(n_tasks, n_sharpness)``.

    For numbers, squared errors below zero. Of the scores `offset` is not made sharper.
    """
    if tasks.ways is None:
        return -_sums(tasks, tasks.weight * (tasks.y - scores[:, 0]) ** 2)[:, None]
    out = []
    for factor in _sharpness(tasks):
        sharp = factor * (scores - offset) + offset
        log = log_probabilities(sharp, tasks.ways[tasks.codes])
        out.append(_sums(tasks, tasks.weight * log[np.arange(len(log)), tasks.y]))
    return np.column_stack(out)


def _scores(heads, X, codes):
    """Scores ``(n_rows, n_scores)`` of rows under the heads of their tasks."""
    scores = np.empty((len(X), heads.shape[1]))
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(heads) + 1))
    for t in np.flatnonzero(np.diff(edges)):
        rows = order[edges[t] : edges[t + 1]]
        scores[rows] = X[rows] @ heads[t, :, 1:].T + heads[t, :, 0]
    return scores


@dataclass
class Averaged(Knowledge):
    """Candidates, and what tasks of each size turned out to use of them.

    Attributes
    ----------
    candidates : list of GaussianPrior or Prototypes
    prior : TaskPrior
        Over candidates, and within each over sharpness.
    noise : float or None
        The squared error a row of the table, for numbers.
    frame : Frame
        In which candidates are; of numbers, with the noise as unit.
    prevalence : Prevalence or None
        How shares of the classes vary between tasks, where these have the same classes.
    """

    minds_class_prior = True

    candidates: list
    prior: TaskPrior
    noise: float | None
    frame: Frame
    prevalence: Prevalence | None = None

    def pruned(self):
        """Without candidates that no task uses."""
        weight = self.prior.at_sizes()
        used = (weight / weight.max(axis=1, keepdims=True)).max(axis=0) >= _LEAST_SHARE
        kept = used.reshape(len(self.candidates), -1).any(axis=1)
        return replace(
            self,
            candidates=[c for c, k in zip(self.candidates, kept, strict=True) if k],
            prior=self.prior.take(np.repeat(kept, len(used) // len(kept))),
        )

    def adapt(self, tasks):
        tasks = self.frame(tasks)
        some = [
            self._average(tasks.take(np.arange(a, min(a + _AT_A_TIME, tasks.n_tasks))))
            for a in range(0, tasks.n_tasks, _AT_A_TIME)
        ]
        return LinearHeads(self.frame.restore(np.concatenate(some)), tasks.ways)

    def _average(self, tasks):
        offset, shift = self._sampling(tasks)
        found = [c.heads_and_left_out(tasks, offset, shift) for c in self.candidates]
        shares = self._shares(tasks, [left_out for _, left_out in found], offset)
        return np.einsum("tc,ctkj->tkj", shares, np.array([heads for heads, _ in found]))

    def _sampling(self, tasks):
        """What sampling by class does to the tasks.

        Where the shares of a task's classes are given, all of what these rows' shares differ by is
        due to sampling; otherwise as much as is probable.

        Returns
        -------
        offset : ndarray of shape (n_rows, n_scores) or float
            What it has added to the rows' scores.
        shift : ndarray of shape (n_tasks, n_scores) or None
            What the given shares add to a prior's mean intercepts.
        """
        prior, unlike = tasks.class_prior, None
        if prior is not None:
            usual = self.prevalence.mean if self.prevalence else 1.0 / tasks.ways[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):  # beyond a task's own classes
                unlike = np.where(prior > 0.0, np.log(prior / usual), 0.0)
                offset = sampling_offset(tasks.class_counts(), prior)
            offset = np.where(prior > 0.0, offset, 0.0)
        elif self.prevalence is not None:
            counts = tasks.class_counts()
            offset = sampling_offset(counts, self.prevalence.mean)
            offset *= self.prevalence.by_class(counts)[:, None]
        else:
            return 0.0, None
        if families.n_scores(tasks) == 1:  # log-odds
            offset, unlike = (part if part is None else np.diff(part) for part in (offset, unlike))
        return offset[tasks.codes], unlike

    def _shares(self, tasks, left_out, offset):
        """Weights ``(n_tasks, n_candidates)``, times the sharpness.

        From the tasks' sizes and from scores of their rows left out.
        """
        rows = _sums(tasks, tasks.weight)
        own = np.hstack([_likelihoods(scores, tasks, offset) for scores in left_out])
        if tasks.ways is None:
            own = log_scores(-own, rows, self.noise or 1.0)
        own -= own.max(axis=1, keepdims=True)
        factors = np.array(_sharpness(tasks))
        weights = [self.prior.weights(o, max(n, 1.0)) for o, n in zip(own, rows, strict=True)]
        return np.array(weights).reshape(len(rows), -1, len(factors)) @ factors


@dataclass
class LinearHeads(Adapted):
    """Linear scores of some tasks.

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

    With the residuals :math:`e_i` that the pooled model leaves, eigenvectors of
    :math:`\sum_t \sum_{i \ne j \in t} e_i e_j x_i x_j'` on standardised features span the
    subspace. A new task's slopes are drawn to the pooled ones as by a Gaussian prior within it,
    in which a logistic (or ridge) head is fitted on the task's rows.

    Several strengths of that prior are averaged, together with heads from scratch and with the
    pooled model, by what tasks of the new one's size used of them when they were held out, and by
    leave-one-out losses of the new task's rows: adaptation is guarded.

    Parameters
    ----------
    rank : "auto" or int, default="auto"
        Dimensions. "auto" counts the eigenvalues above those of residuals with random signs.

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

    def __init__(self, rank="auto"):
        self.rank = rank

    def check(self):
        """Raise a ValueError for a rank that is neither "auto" nor a positive int."""
        auto = isinstance(self.rank, str) and self.rank == "auto"
        if not auto and not is_count(self.rank):
            raise ValueError(f"rank={self.rank!r} must be 'auto' or a whole number above 0.")

    def candidates(self, tasks, random_state):
        return [
            *families.independent(tasks), *families.pooled(tasks),
            *families.subspace(tasks, random_state, families.SharedPart.of(tasks), self.rank),
        ]  # fmt: skip


class Hierarchical(_ClosedForm):
    r"""A Gaussian prior over the tasks' parameters, learned from the tasks.

    :math:`w_t \sim N(\mu, \Sigma)` by empirical Bayes: EM with Laplace's approximation for
    classes, exactly for numbers. :math:`\Sigma` is one variance for all slopes, one for each, or
    full, drawn to the simpler structures where tasks are few. Each is a candidate at two scales,
    averaged with heads from scratch and with the pooled model as in `Subspace`.

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

    def candidates(self, tasks, random_state):
        shared = families.SharedPart.of(tasks)
        return [
            *families.independent(tasks), *families.pooled(tasks),
            *families.intercepts(tasks, shared),
            *families.hierarchical(tasks, random_state, shared),
        ]  # fmt: skip


class Auto(_ClosedForm):
    """All that is known in closed form: the candidates of `Subspace` and of `Hierarchical`.

    Where classes mean the same in every task, and for numbers, slopes that are the same in every
    task with intercepts that vary are among them.

    Where tasks have classes of their own, the nearest of the classes' means joins, and candidates
    are judged on classes held out, not only on tasks: what is learned on few classes seldom serves
    others.

    Examples
    --------
    >>> from skmtl.learners import Auto
    >>> Auto()
    Auto()
    """

    def candidates(self, tasks, random_state):
        shared = families.SharedPart.of(tasks)
        return [
            *families.independent(tasks), *families.pooled(tasks), *families.prototypes(tasks),
            *families.intercepts(tasks, shared),
            *families.subspace(tasks, random_state, shared),
            *families.hierarchical(tasks, random_state, shared),
        ]  # fmt: skip
