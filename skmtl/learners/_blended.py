"""Knowledge and heads of a blend of the closed-form learners and an estimator."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from ..guard.few_shot import BlendWeights
from ._fitted import EstimatorScores, digests
from .base import Adapted, Knowledge
from .closed_form import Averaged

__all__ = [
    "MEMBERS", "Blended", "BlendedHeads", "ClonedHeads", "PooledEstimator", "PooledHeads",
    "pooled_heads", "with_scores",
]  # fmt: skip

MEMBERS = "default", "shared", "own"
# Weight of a uniform distribution, in rows per class, that probabilities of clones are mixed with.
_UNIFORM_ROWS = 0.5


@dataclass
class PooledEstimator(Knowledge):
    """Heads on the features and on the scores of an estimator for all tasks.

    Attributes
    ----------
    heads : Averaged
    scores : EstimatorScores
    digests, folds : ndarray of shape (n_tasks,)
        What the tasks of fit are recognised by, sorted, and their folds.
    """

    heads: Averaged
    scores: EstimatorScores
    digests: np.ndarray
    folds: np.ndarray

    def adapt(self, tasks):
        place = np.searchsorted(self.digests, found := digests(tasks))
        place = np.minimum(place, len(self.digests) - 1)
        fold = np.where(self.digests[place] == found, self.folds[place], -1)
        return pooled_heads(self.heads, self.scores, tasks, fold)


def pooled_heads(heads, scores, tasks, fold):
    """Adapt heads to tasks, whose scores come from folds, one for all or one per task."""
    fold = np.broadcast_to(fold, tasks.n_tasks)
    with_them = with_scores(tasks, scores.by_fold(tasks.X, fold[tasks.codes]))
    return PooledHeads(heads.adapt(with_them), scores, fold)


def with_scores(tasks, scores):
    """Return the tasks with scores as further features."""
    return replace(tasks, X=np.column_stack([tasks.X, scores]))


@dataclass
class PooledHeads(Adapted):
    """Linear heads on features and scores.

    Attributes
    ----------
    heads : LinearHeads
    scores : EstimatorScores
    folds : ndarray of shape (n_tasks,)
        Fold of each task, which its scores come from; -1 for all folds.
    """

    heads: Adapted
    scores: EstimatorScores
    folds: np.ndarray

    def predict(self, X, codes):
        scores = self.scores.by_fold(X, self.folds[codes])
        return self.heads.predict(np.column_stack([X, scores]), codes)

    def take(self, tasks):
        folds, scores = self.folds[tasks], self.scores
        if len(folds) and (folds == folds[0]).all() and folds[0] >= 0:  # others are not needed
            scores = replace(scores, estimators=[scores.estimators[folds[0]]])
            folds = np.zeros_like(folds)
        return PooledHeads(self.heads.take(tasks), scores, folds)


@dataclass
class ClonedHeads(Adapted):
    """Clones of an estimator that were fitted on the rows of one task each.

    Attributes
    ----------
    clones : list of (FittedEstimator or None)
        None if no clone could be fitted.
    rows : ndarray of shape (n_tasks,)
        Total weights of the rows of the tasks.
    ways : ndarray of shape (n_tasks,) or None
    shifts : ndarray of shape (n_tasks, max_ways) or None
        Added to the log-probabilities, for given shares of the classes.
    """

    clones: list
    rows: np.ndarray
    ways: np.ndarray | None
    shifts: np.ndarray | None = None

    @classmethod
    def fit(cls, fit, tasks, wanted=True):
        """Fit a clone to the rows of each task.

        Parameters
        ----------
        fit : callable
            Returns a `FittedEstimator`, given X, y and weights.
        tasks : LabelledTasks
        wanted : ndarray of shape (n_tasks,) or True
            Which tasks get a clone.
        """

        def clone_of(t):
            rows = slice(tasks.offsets[t], tasks.offsets[t + 1])
            X, y = tasks.X[rows], tasks.y[rows]
            if not wanted[t] or len(y) < 2 or (y.dtype.kind != "f" and (y == y[0]).all()):
                return None
            try:
                found = fit(X, y, tasks.weight[rows])
                found.predict(X[:1], None if tasks.ways is None else tasks.ways[t])
            except ValueError:  # too few rows, for inner folds or for neighbours
                return None
            return found

        wanted = np.broadcast_to(wanted, tasks.n_tasks)
        shifts = None
        if tasks.class_prior is not None:
            counts = tasks.class_counts()
            share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
            with np.errstate(divide="ignore", invalid="ignore"):
                shifts = np.where(share > 0, np.log(tasks.class_prior / share), 0.0)
        clones = [clone_of(t) for t in range(tasks.n_tasks)]
        return cls(clones, tasks.sums(tasks.weight), tasks.ways, shifts)

    @property
    def fitted(self):
        """Mask of the tasks that have a clone."""
        return np.array([c is not None for c in self.clones], dtype=bool)

    def predict(self, X, codes):
        if self.ways is None:
            out = np.full(len(X), np.nan)
        else:
            out = np.full((len(X), max(2, int(self.ways.max(initial=2)))), -np.inf)
        for t in np.unique(codes):
            if self.clones[t] is None:
                continue
            rows = np.flatnonzero(codes == t)
            if self.ways is None:
                out[rows] = self.clones[t].predict(X[rows])
                continue
            ways = self.ways[t]
            found = self.rows[t] * self.clones[t].predict(X[rows], ways) + _UNIFORM_ROWS
            if self.shifts is not None:
                found *= np.exp(self.shifts[t, :ways])
            out[rows, :ways] = np.log(found / found.sum(axis=1, keepdims=True))
        return out

    def take(self, tasks):
        tasks = np.asarray(tasks, dtype=np.int64)
        return ClonedHeads(
            [self.clones[t] for t in tasks], self.rows[tasks],
            None if self.ways is None else self.ways[tasks],
            None if self.shifts is None else self.shifts[tasks],
        )  # fmt: skip


@dataclass
class BlendedHeads(Adapted):
    """Weighted means of the probabilities, or numbers, that several heads predict.

    Attributes
    ----------
    members : list of (Adapted or None)
        The first one is `LinearHeads`.
    weights : ndarray of shape (n_tasks, n_members)
    """

    members: list
    weights: np.ndarray

    def predict(self, X, codes):
        weights, parts = self.weights[codes], []
        first = self.members[0].predict(X, codes)
        for m, member in enumerate(self.members):
            rows = np.flatnonzero(weights[:, m] > 0)
            if member is None or not len(rows):
                continue
            part = member.predict(X[rows], codes[rows]) if m else first[rows]
            parts.append((rows, weights[rows, m], part))
        if first.ndim == 1:
            out = np.zeros(len(X))
            for rows, weight, part in parts:
                out[rows] += weight * part
            return out
        logs = np.full((len(parts), *first.shape), -np.inf)
        for log, (rows, weight, part) in zip(logs, parts, strict=True):
            log[rows, : part.shape[1]] = part + np.log(weight)[:, None]
        return logsumexp(logs, axis=0)

    def take(self, tasks):
        weights = self.weights[tasks]
        if not weights[:, 1:].any():
            return self.members[0].take(tasks)
        used = weights.any(axis=0)
        used[0] = True
        return BlendedHeads(
            [m.take(tasks) if m and u else None for m, u in zip(self.members, used, strict=True)],
            weights,
        )


@dataclass
class Blended(Knowledge):
    """Members, and their weights by the number of rows of a task.

    Attributes
    ----------
    default : Averaged
    weights : BlendWeights
        Of `MEMBERS`.
    shared : PooledEstimator or None
        None if it has no weight.
    fit_clone : callable or None
        Returns a `FittedEstimator`, given X, y and weights; None if clones have no weight.
    reasons : dict
        Why members were not judged, by name.
    """

    uses_class_prior = True

    default: Averaged
    weights: BlendWeights
    shared: PooledEstimator | None
    fit_clone: Callable | None
    reasons: dict

    def adapt(self, tasks):
        default = self.default.adapt(tasks)
        weights = self.weights.at(tasks.sums(tasks.weight))
        if not weights[:, 1:].any():
            return default
        members = [default, None, None]
        if weights[:, 1].any():
            members[1] = self.shared.adapt(tasks)
        if weights[:, 2].any():
            members[2] = ClonedHeads.fit(self.fit_clone, tasks, weights[:, 2] > 0)
            weights[~members[2].fitted, 2] = 0.0
        weights[~weights.any(axis=1), 0] = 1.0
        return BlendedHeads(members, weights / weights.sum(axis=1, keepdims=True))

    @property
    def member_report(self):
        """The attribute `member_report_` of a meta-learner, with losses of standardised numbers."""
        n = len(self.weights.size)
        used = (self.weights.weights > 0).any(axis=0)
        status = [
            self.reasons.get(name) or ("used" if u else "no better than the others")
            for name, u in zip(MEMBERS, used, strict=True)
        ]
        return {
            "member": np.tile(np.array(MEMBERS, dtype=object), n),
            "n_rows": np.repeat(self.weights.size, len(MEMBERS)),
            "error": self.weights.losses.ravel(),
            "weight": self.weights.weights.ravel(),
            "status": np.tile(np.array(status, dtype=object), n),
        }
