"""Elimination of the tasks' own parts from the products of the intercept and the features."""

import numpy as np

__all__ = ["eliminated", "products_of_tasks"]


def products_of_tasks(moments, centres=None, tasks=slice(None)):
    """Return the products ``(n_tasks, 1 + p, 1 + p)`` of the intercept and the features.

    Parameters
    ----------
    moments : TaskMoments of shape (n_tasks,)
    centres : ndarray of shape (n_tasks, p), optional
        Points about which the features are taken; zero by default.
    tasks : slice or ndarray
        Some of the tasks.
    """
    p = moments.n_features
    w, mean = moments.weight[tasks], moments.mean[tasks, :p]
    mean = mean if centres is None else mean - centres[tasks]
    A = np.empty((len(w), 1 + p, 1 + p))
    A[:, 0, 0], A[:, 0, 1:], A[:, 1:, 0] = w, w[:, None] * mean, w[:, None] * mean
    squares = mean[:, :, None] * mean[:, None, :]
    A[:, 1:, 1:] = moments.scatter[tasks, :p, :p] + w[:, None, None] * squares
    return A


def eliminated(products, kappa):
    """Return products after parts with the variances `kappa`, ``(k,)``, are eliminated.

    For products A and the diagonal matrix K of the variances this is inverse(inverse(A) + K), which
    exists for singular A, too.
    """
    left = np.linalg.solve(np.eye(len(kappa)) + products * kappa, products)
    return 0.5 * (left + np.swapaxes(left, 1, 2))
