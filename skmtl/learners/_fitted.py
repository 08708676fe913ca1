"""Fitted scikit-learn estimators, and their predictions as features."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn import config_context

from ..sharing.learned.wrapped import Wrapped

__all__ = ["FittedEstimator", "EstimatorScores", "digests"]

# Candidates for the least probability that the pooled estimator's log-odds allow for.
_CLIPS = 10.0 ** -np.arange(1.0, 5.1, 0.5)


@dataclass
class FittedEstimator:
    """A fitted clone of a classifier or regressor.

    Attributes
    ----------
    estimator : object
        Fitted on labels 0, 1, ... for classes.
    classes : ndarray or None
        The classes that these labels are; None for numbers.
    """

    estimator: object
    classes: np.ndarray | None

    @classmethod
    def fit(cls, estimator, X, y, weight, seed):
        """Fit a clone; `y` holds codes of classes (integers) or numbers.

        Rows are sorted by their content, as the random draws of an estimator depend on their order.
        """
        order = np.lexsort((weight, y, *X.T[::-1]))
        X, y, weight, classes = X[order], y[order], weight[order], None
        if y.dtype.kind != "f":
            classes, y = np.unique(y, return_inverse=True)
        no_categories = np.zeros(X.shape[1], dtype=bool)
        with config_context(skip_parameter_validation=False):  # the caller's fit has set it
            fitted = Wrapped(estimator).fit(X, no_categories, y, weight, None, seed)
        return cls(fitted, classes)

    def predict(self, X, n_classes=None):
        """Return expected numbers ``(n_rows,)`` or probabilities ``(n_rows, n_classes)``."""
        if self.classes is None:
            return np.asarray(self.estimator.predict(X), dtype=np.float64).reshape(len(X))
        out = np.zeros((len(X), n_classes))
        out[:, self.classes] = self.estimator.predict_proba(X)
        return out


@dataclass
class EstimatorScores:
    """Predictions of an estimator for all tasks, as features for the heads of the tasks.

    Attributes
    ----------
    estimators : list of FittedEstimator
        One per fold of tasks, fitted on the tasks of the other folds.
    n_classes : int or None
        None for numbers.
    clip : float
        Least probability.
    """

    estimators: list
    n_classes: int | None
    clip: float = 0.0

    @property
    def width(self):
        """Number of scores of a row."""
        return 1 if self.n_classes in (None, 2) else self.n_classes

    @classmethod
    def learn(cls, fit, splits):
        """Fit one estimator per fold, or return None if the tasks of one have a single class.

        Parameters
        ----------
        fit : callable
            Returns a `FittedEstimator`, given X, y and weights.
        splits : list of (LabelledTasks, LabelledTasks)
            Training and held-out tasks.
        """
        parts = [(train.X, train.y, train.weight) for train, _ in splits]
        held = [tasks for _, tasks in splits]
        n_classes = None if held[0].ways is None else held[0].max_ways
        if n_classes is not None and any(len(np.unique(y)) < 2 for _, y, _ in parts):
            return None
        self = cls([fit(*part) for part in parts], n_classes)
        if n_classes is None:
            return self
        own = np.concatenate([
            e.predict(tasks.X, n_classes)[np.arange(len(tasks.y)), tasks.y]
            for e, tasks in zip(self.estimators, held, strict=True)
        ])  # fmt: skip
        weight = np.concatenate([tasks.weight for tasks in held])
        return replace(self, clip=_least_loss(own, weight, n_classes))

    def __call__(self, X, fold=-1):
        """Return scores ``(n_rows, n_scores)``.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        fold : int
            The fold whose estimator to use; -1 for the mean of all of them.
        """
        used = self.estimators if fold < 0 else [self.estimators[fold]]
        mean = sum(e.predict(X, self.n_classes) for e in used) / len(used)
        if self.n_classes is None:
            return mean[:, None]
        log = np.log(_clipped(mean, self.clip))
        return np.diff(log) if self.n_classes == 2 else log - log.mean(axis=1, keepdims=True)

    def by_fold(self, X, folds):
        """Return the scores of rows, each with the estimator of a fold of its own."""
        out = np.empty((len(X), self.width))
        for fold in np.unique(folds):
            rows = np.flatnonzero(folds == fold)
            out[rows] = self(X[rows], fold)
        return out


def _clipped(probability, clip):
    """Return probabilities mixed with a uniform distribution, such that none is below `clip`."""
    n_classes = probability.shape[1]
    return clip + (1.0 - n_classes * clip) * probability


def _least_loss(own, weight, n_classes):
    """Return the clip with the least log-loss, given the probabilities of the labels."""
    clips = _CLIPS[_CLIPS * n_classes < 0.5]
    losses = [-weight @ np.log(c + (1.0 - n_classes * c) * own) for c in clips]
    return float(clips[np.argmin(losses)])


def digests(tasks):
    """Return one number per task, which depends only on the distinct rows and labels it has.

    A task of fit is recognised by it, without any of its rows being kept.
    """
    rows = np.column_stack([tasks.X, tasks.y.astype(np.float64)]) + 0.0  # no negative zeros
    bits = np.ascontiguousarray(rows).view(np.uint64)
    key = np.zeros(len(rows), dtype=np.uint64)
    for column in bits.T:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    distinct = np.unique(np.column_stack([tasks.codes.astype(np.uint64), key]), axis=0)
    out = np.zeros(tasks.n_tasks, dtype=np.uint64)
    np.add.at(out, distinct[:, 0].astype(np.int64), distinct[:, 1])
    return out
