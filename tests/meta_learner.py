"""A minimal learner: linear heads of each task, shrunk towards the pooled head."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from skmtl.learners.base import Adapted, Knowledge, Learner


class Towards(Learner):
    """Ridge or logistic heads, shrunk towards the pooled head if tasks have the same classes.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength on the squared distance from the pooled head, including intercepts.
    """

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def check(self):
        if not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha!r} must be a number above 0.")

    def learn(self, tasks, random_state, progress):
        progress("pooling the rows")
        assert (tasks.sizes > 0).all() and (tasks.weight > 0).all()
        n_scores = 1 if tasks.ways is None else tasks.ways.max()
        start = np.zeros((n_scores, tasks.n_features + 1))
        if tasks.shared_classes:
            start = solve(tasks.X, tasks.y, tasks.weight, start, self.alpha, tasks.ways is not None)
        return Start(start, self.alpha, random_state.uniform())


class Start(Knowledge):
    n_iter = 1

    def __init__(self, start, alpha, draw):
        self.start, self.alpha = start, alpha
        self.history = {"draw": np.array([draw])}

    def adapt(self, tasks):
        many = tasks.shared_classes
        most = len(self.start) if many else tasks.labels.shape[1]
        heads = np.zeros((tasks.n_tasks, most, tasks.n_features + 1))
        for t, (a, b) in enumerate(zip(tasks.offsets[:-1], tasks.offsets[1:], strict=True)):
            start = self.start if many else np.zeros((tasks.ways[t], tasks.n_features + 1))
            X, y, weight = tasks.X[a:b], tasks.y[a:b], tasks.weight[a:b]
            heads[t, : len(start)] = solve(X, y, weight, start, self.alpha, tasks.ways is not None)
        return Heads(heads, tasks.ways)


@dataclass
class Heads(Adapted):
    heads: np.ndarray
    ways: np.ndarray | None

    def predict(self, X, codes):
        scores = np.einsum("ij,ikj->ik", X, self.heads[codes, :, 1:]) + self.heads[codes, :, 0]
        if self.ways is None:
            return scores[:, 0]
        beyond = np.arange(scores.shape[1]) >= self.ways[codes][:, None]
        return log_softmax(np.where(beyond, -np.inf, scores), axis=1)

    def take(self, tasks):
        return Heads(self.heads[tasks], None if self.ways is None else self.ways[tasks])


def solve(X, y, weight, start, alpha, classes):
    """Return the head ``(n_scores, n_features + 1)`` minimising loss + alpha/2 |head - start|^2."""
    Z = np.column_stack([np.ones(len(X)), X])
    if not classes:
        A = (Z.T * weight) @ Z + alpha * np.eye(Z.shape[1])
        return (start[0] + np.linalg.solve(A, (Z.T * weight) @ (y - Z @ start[0])))[None]
    target = np.eye(len(start))[y]

    def loss(head):
        fit = (weight[:, None] * target * log_softmax(Z @ head.T, axis=1)).sum()
        return 0.5 * alpha * ((head - start) ** 2).sum() - fit

    head, size = start.copy(), start.size
    for _ in range(100):
        p = np.exp(log_softmax(Z @ head.T, axis=1))
        gradient = alpha * (head - start) + (weight[:, None] * (p - target)).T @ Z
        if np.abs(gradient).max() < 1e-12:
            break
        curvature = p[:, :, None] * (np.eye(len(start)) - p[:, None, :]) * weight[:, None, None]
        H = np.einsum("ikl,ij,im->kjlm", curvature, Z, Z, optimize=True).reshape(size, size)
        step = np.linalg.solve(H + alpha * np.eye(size), gradient.ravel()).reshape(head.shape)
        rate, now = 1.0, loss(head)
        while rate > 1e-6 and loss(head - rate * step) > now + 1e-12 * abs(now):
            rate *= 0.5
        head = head - rate * step
    return head
