r"""Heads in closed form on an embedding of the rows, and gradients back through them.

A head is a function of a task's support rows. It gives the slopes and intercepts of scores that
are linear in the embedding. `fit` returns these for a batch of tasks, ``(n_tasks, width + 1,
n_outputs)`` with intercepts last. `pull_back` turns the gradient by them into the gradients by the
embedded rows and by the parameters of the head. Rows are stored as in `_embedding.Padded`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

__all__ = ["PrototypeHead", "RidgeSolve", "losses_of_heads", "masked_softmax"]


def masked_softmax(scores, inside):
    """Return class probabilities, zero outside of the mask `inside` ``(n_tasks, n_outputs)``."""
    scores = np.where(inside[:, None], scores, -np.inf)
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    return scores / scores.sum(axis=2, keepdims=True)


def losses_of_heads(heads, Z, rows):
    """Return the losses of the tasks on query rows, and their gradients.

    Losses are squared errors for numbers and cross-entropies for classes.

    Returns
    -------
    losses : ndarray of shape (n_tasks,)
    by_heads, by_Z : ndarray
        Gradients of the sum of the losses, of the shapes of `heads` and `Z`.
    scores : ndarray of shape (n_tasks, n_rows, n_outputs)
    """
    scores = Z @ heads[:, :-1] + heads[:, -1:]
    weight = rows.weight[:, :, None]
    if rows.target.shape[2] == 1:
        gap = scores - rows.target
        losses, slope = (weight * gap**2).sum(axis=(1, 2)), 2.0 * weight * gap
    else:
        inside = np.where(rows.inside[:, None], scores, -np.inf)
        top = inside.max(axis=2, keepdims=True)
        power = np.exp(inside - top)
        total = power.sum(axis=2, keepdims=True)
        correct = np.where(rows.target > 0.0, scores - top, 0.0).sum(axis=2, keepdims=True)
        losses = (weight * (np.log(total) - correct)).sum(axis=(1, 2))
        slope = weight * (power / total - rows.target)
    by_slopes = Z.transpose(0, 2, 1) @ slope
    by_heads = np.concatenate([by_slopes, slope.sum(axis=1, keepdims=True)], axis=1)
    return losses, by_heads, slope @ heads[:, :-1].transpose(0, 2, 1), scores


@dataclass
class _Head:
    """Base of the heads.

    Attributes
    ----------
    width, n_outputs : int
        Width of the embedding, and number of scores; 1 for numbers.
    shared : bool
        Whether outputs mean the same in every task.
    """

    width: int
    n_outputs: int
    shared: bool


class RidgeSolve(_Head):
    r"""A ridge regression on the residuals of a head shared by all tasks.

    With the shared scores :math:`f(z) = m'z + b` of embedded rows z, the residuals :math:`r_i` are
    :math:`y_i - f(z_i)` for numbers, and indicators of the classes minus the softmax of
    :math:`f(z_i)` for classes. Scores are

    .. math:: f(z) + \alpha V'\tilde z, \quad V = \arg\min_V \sum_i w_i
              \|r_i - V'\tilde z_i\|^2 + \lambda \|V\|^2, \quad \tilde z = (z, \kappa).

    Parameters are :math:`\log\lambda, \log\kappa, \log\alpha` (:math:`\alpha` is 1 for numbers)
    and, if outputs mean the same in every task, m and b; otherwise m and b are zero.
    """

    # Candidate initial values: strengths relative to the mean square of a row, and scales (alpha).
    _STRENGTHS, _SCALES = 10.0 ** np.arange(-3.0, 1.5, 0.5), (1.0, 3.0, 10.0, 30.0, 100.0)
    # Added to the strength, so that matrices are invertible.
    _MIN_STRENGTH = 1e-8

    def starts(self, Z, rows):
        """Yield candidate initial parameters."""
        shared = np.zeros((self.width + 1, self.n_outputs))
        if self.n_outputs > 1:
            shared[-1] = np.log(class_shares(rows))
        square = np.einsum("ti,tij->", rows.weight, Z**2) / max(rows.weight.sum(), 1e-300)
        square = np.log(max(square, 1e-6))
        for strength in np.log(self._STRENGTHS):
            for scale in np.log(self._SCALES) if self.n_outputs > 1 else (0.0,):
                common = shared.ravel() if self.shared else ()
                yield np.r_[strength + square, 0.5 * square, scale, common]

    def _parts(self, x):
        strength, constant, scale = np.exp(x[:3])
        if self.n_outputs == 1:
            scale = 1.0
        shared = x[3:].reshape(self.width + 1, self.n_outputs) if self.shared else None
        return strength + self._MIN_STRENGTH, constant, scale, shared

    def fit(self, x, Z, rows):
        """Return heads for embedded support rows Z at parameters x, and arrays for `pull_back`."""
        strength, constant, scale, shared = self._parts(x)
        n_tasks, n, m = Z.shape
        expected = np.zeros(rows.target.shape)
        if self.shared:
            expected += Z @ shared[:-1] + shared[-1]
        if rows.target.shape[2] > 1:
            expected = masked_softmax(expected, rows.inside)
        root = np.sqrt(rows.weight)[:, :, None]
        R = root * (rows.target - expected)
        A = np.empty((n_tasks, n, m + 1))
        A[:, :, :m], A[:, :, m] = Z, constant
        A *= root
        At = A.transpose(0, 2, 1)
        by_rows = n < m + 1
        gram = A @ At if by_rows else At @ A
        size = gram.shape[1]
        gram[:, range(size), range(size)] += strength
        inverse = np.linalg.inv(gram)
        V = At @ (inverse @ R) if by_rows else inverse @ (At @ R)
        heads = scale * V
        heads[:, -1] *= constant
        if self.shared:
            heads += shared
        return heads, (x, Z, rows, expected, root, R, A, inverse, by_rows, V)

    def pull_back(self, saved, by_heads, grad):
        """Return the gradient by Z; the gradient by the parameters is added to `grad`."""
        x, Z, rows, expected, root, R, A, inverse, by_rows, V = saved
        strength, constant, scale, shared = self._parts(x)
        by_V = scale * by_heads
        by_V[:, -1] *= constant
        At = A.transpose(0, 2, 1)
        if by_rows:  # (A'A + sI)^-1 by the inverse of AA' + sI
            U = (by_V - At @ (inverse @ (A @ by_V))) / strength
        else:
            U = inverse @ by_V
        S = A @ U
        by_A = (R - A @ V) @ U.transpose(0, 2, 1) - S @ V.transpose(0, 2, 1)
        by_A *= root
        by_Z = by_A[:, :, :-1]
        grad[0] -= np.exp(x[0]) * (U * V).sum()
        grad[1] += constant * by_A[:, :, -1].sum() + (by_V[:, -1] * V[:, -1]).sum()
        if rows.target.shape[2] > 1:
            grad[2] += (by_V * V).sum()
        if self.shared:
            by_scores = -root * S
            if rows.target.shape[2] > 1:
                by_scores = expected * (
                    by_scores - (expected * by_scores).sum(axis=2, keepdims=True)
                )
            by_shared = grad[3:].reshape(shared.shape)
            by_shared += by_heads.sum(axis=0)
            by_shared[:-1] += np.tensordot(Z, by_scores, axes=([0, 1], [0, 1]))
            by_shared[-1] += by_scores.sum(axis=(0, 1))
            by_Z = by_Z + by_scores @ shared[:-1].T
        return by_Z


def class_shares(rows):
    """Return smoothed shares of the classes in the rows of all tasks."""
    counts = np.einsum("ti,tic->c", rows.weight, rows.target) + 1.0
    return counts / counts.sum()


def class_sums(Z, rows):
    """Return the sums of the embedded rows of each class in each task, and their weights."""
    weighted = rows.weight[:, :, None] * rows.target
    return weighted.transpose(0, 2, 1) @ Z, weighted.sum(axis=1)


class PrototypeHead(_Head):
    r"""Classification by the nearest class mean.

    With the total weight :math:`N_c` of a task's rows of class c and the sum :math:`S_c` of their
    embeddings, scores are

    .. math:: -\gamma \|z - p_c\|^2 + \log s_c, \quad p_c = \frac{S_c + k q_c}{N_c + k}, \quad
              s_c = \frac{N_c + h \pi_c}{N + h}.

    Parameters are :math:`\log\gamma, \log k` and, if classes are the same in every task,
    :math:`\log h`, the shares :math:`\pi` as scores of a softmax, and prototypes q of the
    classes. Otherwise q is the mean of the task's rows, and :math:`s_c` is 1.
    """

    # Candidate initial values: scales (gamma), and prior rows of the prototypes (k).
    _SCALES, _PRIOR_ROWS = 10.0 ** np.arange(-3.0, 1.0, 0.5), (0.1, 1.0, 10.0)
    # Initial number of prior rows of the shares (h).
    _SHARE_ROWS = 10.0

    def starts(self, Z, rows):
        """Yield candidate initial parameters."""
        common = ()
        if self.shared:
            sums, counts = class_sums(Z, rows)
            means = sums.sum(0) / np.maximum(counts.sum(0), 1e-300)[:, None]
            common = np.r_[np.log(self._SHARE_ROWS), np.log(class_shares(rows)), means.ravel()]
        for scale in self._SCALES:
            for prior_rows in self._PRIOR_ROWS:
                yield np.r_[np.log(scale), np.log(prior_rows), common]

    def _parts(self, x):
        scale, prior_rows = np.exp(x[:2])
        if not self.shared:
            return scale, prior_rows, None, None, None
        stop = 3 + self.n_outputs
        return (
            scale, prior_rows, np.exp(x[2]), softmax(x[3:stop]), x[stop:].reshape(-1, self.width),
        )  # fmt: skip

    def fit(self, x, Z, rows):
        """Return heads for embedded support rows Z at parameters x, and arrays for `pull_back`."""
        scale, prior_rows, share_rows, shares, centre = self._parts(x)
        sums, counts = class_sums(Z, rows)
        if not self.shared:
            total = np.maximum(counts.sum(axis=1), 1e-300)[:, None]
            centre = (sums.sum(axis=1) / total)[:, None]
        means = (sums + prior_rows * centre) / (counts + prior_rows)[:, :, None]
        heads = np.empty((len(Z), self.width + 1, counts.shape[1]))
        heads[:, :-1] = 2.0 * scale * means.transpose(0, 2, 1)
        heads[:, -1] = -scale * (means**2).sum(axis=2)
        if self.shared:
            total = counts.sum(axis=1, keepdims=True) + share_rows
            heads[:, -1] += np.log((counts + share_rows * shares) / total)
        return heads, (x, rows, counts, centre, means)

    def pull_back(self, saved, by_heads, grad):
        """Return the gradient by Z; the gradient by the parameters is added to `grad`."""
        x, rows, counts, centre, means = saved
        scale, prior_rows, share_rows, shares, _ = self._parts(x)
        by_slopes, by_intercept = by_heads[:, :-1].transpose(0, 2, 1), by_heads[:, -1]
        by_means = 2.0 * scale * (by_slopes - means * by_intercept[:, :, None])
        by_scale = 2.0 * (by_slopes * means).sum() - (by_intercept * (means**2).sum(axis=2)).sum()
        grad[0] += scale * by_scale
        by_sums = by_means / (counts + prior_rows)[:, :, None]
        grad[1] += prior_rows * (by_sums * (centre - means)).sum()
        if self.shared:
            stop = 3 + self.n_outputs
            part = by_intercept / (counts + share_rows * shares)
            total = counts.sum(axis=1) + share_rows
            grad[2] += share_rows * ((part @ shares) - by_intercept.sum(axis=1) / total).sum()
            by_shares = share_rows * part.sum(axis=0)
            grad[3:stop] += shares * (by_shares - shares @ by_shares)
            grad[stop:] += prior_rows * by_sums.sum(axis=0).ravel()
        else:
            total = np.maximum(counts.sum(axis=1), 1e-300)[:, None]
            by_sums = by_sums + (prior_rows * by_sums.sum(axis=1) / total)[:, None]
        return (rows.weight[:, :, None] * rows.target) @ by_sums
