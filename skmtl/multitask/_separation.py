"""Warning of classes that are perfectly separated, so that the log-loss has no minimum."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..tasks.stack import linear_scores

__all__ = ["warn_of_pure_tasks", "warn_of_separation"]


def warn_of_separation(table, fitted, stacklevel=3):
    """Warn if the loss has no minimum because of a strength of zero."""
    strengths = fitted.strengths
    names = "alpha", "alpha_intercept", "alpha_shared"
    slope, intercept, ridge = (strengths[name] for name in names)
    if slope > 0 and intercept > 0 and (ridge > 0 or np.isfinite(slope)):
        return
    sizes, codes = table.task_sizes(), table.codes
    if slope > 0 and intercept > 0:  # only the shared slopes are free
        sizes, codes = np.array([len(codes)]), np.zeros_like(codes)
    if slope > 0 and intercept == 0:  # only the intercepts are free
        n_classes = int(table.y.max()) + 1
        task_of_class = np.unique(codes * n_classes + table.y.astype(np.int64)) // n_classes
        free = np.bincount(task_of_class, minlength=len(sizes)) == 1
    else:
        least = np.full(len(sizes), np.inf)
        np.minimum.at(least, codes, _margins(table, fitted))
        free = (least > 0) & (sizes > 0)
    _warn(free, strengths, stacklevel + 1)


def warn_of_pure_tasks(blocks, fitted, stacklevel=5):
    """Warn if the loss has no minimum because of tasks with one class, of whose rows moments exist.

    Parameters
    ----------
    blocks : TaskMoments of shape (n_tasks, n_folds)
        Of the features and the target, 0 or 1.
    fitted : SharingFit
    stacklevel : int
    """
    strengths = fitted.strengths
    if strengths["alpha"] > 0 and strengths["alpha_intercept"] > 0:
        return
    weight = blocks.weight.sum(axis=1)
    share = (blocks.weight * blocks.mean[..., -1]).sum(axis=1)
    rounding = 1e-9 * weight
    _warn((share <= rounding) | (share >= weight - rounding), strengths, stacklevel)


def _warn(free, strengths, stacklevel):
    """Warn of tasks whose classes are separated, a mask, as strengths are zero."""
    names = "alpha", "alpha_intercept", "alpha_shared"
    if free.any():
        where = f"in {free.sum()} of {len(free)} tasks" if len(free) > 1 else "in the whole table"
        zero = [name for name in names if strengths[name] == 0]
        warnings.warn(
            f"{' and '.join(zero)} = 0 does not bound the coefficients if the classes are "
            f"perfectly separated, as {where}: they grow with every step, and probabilities near 0 "
            "and 1 are meaningless. Give a strength above 0, or 'auto' with cv=5.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )


def _margins(table, fitted):
    """Return the margins of the packed rows' classes; positive ones are correctly classified."""
    X, codes, label = table.X[table.rows], table.codes, table.y.astype(np.int64)
    coef = np.concatenate([fitted.coef, fitted.shared_coef[None]])  # the last is for no task
    scores = linear_scores(X, coef, fitted.intercept, codes)
    if scores.shape[1] == 1:
        return (2 * label - 1) * scores[:, 0]
    score = np.take_along_axis(scores, label[:, None], axis=1)[:, 0]
    np.put_along_axis(scores, label[:, None], -np.inf, axis=1)
    return score - scores.max(axis=1)
