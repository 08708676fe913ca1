"""Samples of shared hidden layers: rows with all their labels, standardised."""

from dataclasses import dataclass

import numpy as np

from .. import kernels
from .shared_heads import SQUARED

__all__ = ["PackedSamples", "TargetScale", "pack_samples", "validation_part"]

# A feature with less variation than this, relative to its mean, is constant up to rounding.
_CONSTANT = 1e-10
# Rows that the scale of a task counts as at the scale common to all tasks.
_SCALE_ROWS = 2.0


@dataclass(frozen=True)
class TargetScale:
    """Standardisation of targets: ``(y - centre[t]) / scale[t]``.

    Attributes
    ----------
    centre, scale : ndarray of shape (n_tasks + 1,)
        The last entries are those of a task without rows. They are 0 and 1 for classes.
    by_task : bool
        Whether tasks have values of their own.
    """

    centre: np.ndarray
    scale: np.ndarray
    by_task: bool

    @classmethod
    def of(cls, y, weight, codes, squared, by_task):
        """Compute the standardisation of the tasks for which the mask `squared` is true.

        The logarithm of a task's variance is averaged with the mean over tasks, weighted by the
        number of rows, as few rows hardly tell a variance.
        """
        n_tasks, centre, scale = len(squared), np.zeros(len(squared)), np.ones(len(squared))
        used = squared[codes]
        if not by_task:
            if used.any():
                mean, root = weighted_mean_and_root(y[used], weight[used])
                centre[squared], scale[squared] = mean, root or 1.0
        else:
            total = np.maximum(np.bincount(codes, weight, n_tasks), 1e-300)
            counts = np.bincount(codes, minlength=n_tasks)
            mean = np.bincount(codes, weight * y, n_tasks) / total
            square = np.bincount(codes, weight * (y - mean[codes]) ** 2, n_tasks)
            known = squared & (square > (_CONSTANT * mean) ** 2 * total)
            centre[squared] = mean[squared]
            if known.any():
                degrees = np.where(known, np.maximum(counts - 1.0, 0.0), 0.0)
                logs = np.log(np.where(known, square / total, 1.0))
                common = degrees @ logs / degrees.sum()
                logs = (degrees * logs + _SCALE_ROWS * common) / (degrees + _SCALE_ROWS)
                scale[squared] = np.exp(0.5 * logs[squared])
        share = np.bincount(codes, weight * used, n_tasks) if used.any() else np.zeros(n_tasks)
        total = share.sum()
        unseen = (
            (share @ centre / total, np.exp(share @ np.log(scale) / total)) if total else (0, 1)
        )
        return cls(np.append(centre, unseen[0]), np.append(scale, unseen[1]), by_task)

    def of_new(self, y, weight, squared):
        """Return the standardisation of a new task."""
        centre, scale = self.centre[-1], self.scale[-1]
        if not squared:
            centre, scale = 0.0, 1.0
        elif self.by_task and len(y):
            degrees = len(y) - 1.0
            centre, root = weighted_mean_and_root(y, weight)
            if root > 0.0:
                shares = degrees * np.log(root) + _SCALE_ROWS * np.log(scale)
                scale = np.exp(shares / (degrees + _SCALE_ROWS))
        return TargetScale(
            np.array([centre, self.centre[-1]]), np.array([scale, self.scale[-1]]), self.by_task
        )

    def apply(self, y, codes):
        """Return standardised targets of tasks."""
        return (y - self.centre[codes]) / self.scale[codes]

    def restore(self, scores, codes):
        """Return scores in the unit of the tasks' targets."""
        return scores * self.scale[codes] + self.centre[codes]


def weighted_mean_and_root(values, weight):
    """Return the mean and the standard deviation, which is 0 for constant values."""
    mean = weight @ values / weight.sum()
    root = np.sqrt(weight @ (values - mean) ** 2 / weight.sum())
    return mean, root if root > _CONSTANT * abs(mean) else 0.0


@dataclass(frozen=True)
class PackedSamples:
    """Standardised samples, in the order of the rows of X.

    Attributes
    ----------
    X : float32 ndarray of shape (n_samples, n_features)
        Rows with labels, standardised.
    standards : tuple of ndarray of shape (n_features,)
        Centre and scale: standardised features are ``(X - centre) * scale``.
    sample, y, weight, codes : ndarray of shape (n_labels,)
        Sample, standardised target, weight and task of each label; labels are sorted by task.
    losses : ndarray of shape (n_tasks,)
    target : TargetScale
    emphasis : ndarray of shape (n_tasks,)
        Factors of the tasks' losses, with a mean of one over the labels.
    """

    X: np.ndarray
    standards: tuple
    sample: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    codes: np.ndarray
    losses: np.ndarray
    target: TargetScale
    emphasis: np.ndarray

    @property
    def n(self):
        return len(self.X)

    @property
    def n_tasks(self):
        return len(self.losses)

    def labels_of(self, chosen):
        """Return the positions of the labels of the chosen samples, a mask."""
        return np.flatnonzero(chosen[self.sample])

    def offsets_of(self, labels):
        """Return the offsets of tasks among the given labels, which are sorted by task."""
        return np.append(0, np.cumsum(np.bincount(self.codes[labels], minlength=self.n_tasks)))

    def for_kernel(self):
        """Return the samples as the kernels take them: labels in the order of the samples."""
        order = np.argsort(self.sample, kind="stable")
        starts = np.append(0, np.cumsum(np.bincount(self.sample, minlength=self.n)))
        return kernels.shared_layers.Samples(
            self.X, starts.astype(np.int32), self.codes[order].astype(np.int32),
            np.column_stack([self.y, self.weight])[order].astype(np.float32),
        )  # fmt: skip


def pack_samples(X, y, weight, offsets, rows, losses, by_task, emphasis=None):
    """Return `PackedSamples`; for the arguments see `fit_shared_layers`."""
    n_tasks = len(offsets) - 1
    codes = np.repeat(np.arange(n_tasks), np.diff(offsets))
    losses = np.zeros(n_tasks, np.int64) if losses is None else np.asarray(losses, np.int64)
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
    rows = np.arange(len(y)) if rows is None else np.asarray(rows)
    used, sample = np.unique(rows, return_inverse=True)
    if len(used) < len(X):
        X = X[used]
    centre, scale = standardisation(X, np.bincount(sample, weight))
    standard = np.empty(X.shape, np.float32)
    np.multiply(X - centre, scale, out=standard, casting="same_kind")
    target = TargetScale.of(y, weight, codes, losses == SQUARED, by_task)
    if emphasis is None:
        emphasis = np.ones(n_tasks)
    else:
        emphasis = np.asarray(emphasis, np.float64)
        emphasis = emphasis * (weight.sum() / (weight @ emphasis[codes]))
    return PackedSamples(
        standard, (centre, scale), sample, target.apply(y, codes), weight, codes, losses, target,
        emphasis,
    )  # fmt: skip


def standardisation(X, weight):
    """Return the centre of each feature, and one over its standard deviation, or 0 if constant."""
    share = weight / weight.sum()
    centre = share @ X
    root = np.sqrt(share @ (X - centre) ** 2)
    varies = root > _CONSTANT * np.abs(centre)
    return centre, np.where(varies, 1.0, 0.0) / np.where(varies, root, 1.0)


def validation_part(samples, share, rng):
    """Return a mask of about `share` of the samples, drawn from every task alike.

    The samples are sorted by task, at random within the task, and taken at equal distances. The
    order of the tasks is random, too, and does not depend on their codes. Samples with labels of
    several tasks are drawn at random.
    """
    n, chosen = samples.n, np.zeros(samples.n, bool)
    key, n_chosen = rng.random(n), round(share * n)
    start = rng.random()
    if not n_chosen:
        return chosen
    order = np.argsort(key)
    if len(samples.sample) == n:
        task = np.empty(n, np.int64)
        task[samples.sample] = samples.codes
        first = np.full(samples.n_tasks, np.inf)
        np.minimum.at(first, task, key)
        order = np.lexsort((key, first[task]))
    places = np.floor((np.arange(n_chosen) + start) * (n / n_chosen)).astype(np.int64)
    chosen[order[places]] = True
    return chosen
