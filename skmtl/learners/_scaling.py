r"""Scaling by the variation within tasks, in which a task's own parameters are learned.

A feature varies within and between tasks, and a task's own rows inform only about the variation
within. On the scale of the whole table, a feature that differs mainly between tasks hardly varies
within them, so that a prior on its slope would suppress it (Mundlak 1978; Bafumi and Gelman 2006).

References
----------
Mundlak, Y. (1978). On the pooling of time series and cross section data. Econometrica 46(1).
:doi:`10.2307/1913646`

Bafumi, J. and Gelman, A. (2006). Fitting multilevel models when predictors and group effects
correlate. :doi:`10.2139/ssrn.1010095`
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Scaling", "inverse_kurtosis"]

# A variance within tasks below this share of the variance over all rows is rounding error.
_ROUNDING = 1e-24
# Kurtoses whose ratio is at most this count as equal.
_EQUAL_RATIO = 2.0
# A variance between tasks below this share of the variance within tasks counts as zero.
_MIN_BETWEEN = 1e-6


@dataclass(frozen=True)
class Scaling:
    """Scales of features and numbers within tasks, and the shrinkage of the tasks' means.

    Attributes
    ----------
    scale : ndarray of shape (n_features,)
        Standard deviations within tasks; over all rows if a feature is constant within tasks.
    unit : float
        The same for the labels if these are numbers; 1 otherwise.
    prior_rows : ndarray of shape (n_features,)
        Variance within tasks divided by the variance between tasks: the number of rows that the
        table's mean counts as in the mean of a task.
    inverse_kurtosis : ndarray of shape (n_features,) or None
        Of the deviations from the tasks' means, scaled to mean one; None if it is about the same
        for all features.
    """

    scale: np.ndarray
    unit: float
    prior_rows: np.ndarray
    inverse_kurtosis: np.ndarray | None

    @classmethod
    def of(cls, tasks):
        """Estimate the scaling from `LabelledTasks` with at least one row."""
        scale, prior_rows = _within_and_between(tasks, tasks.X)
        labels = tasks.y[:, None]
        unit = float(_within_and_between(tasks, labels)[0][0]) if tasks.ways is None else 1.0
        return cls(scale, unit, prior_rows, inverse_kurtosis(tasks))

    def __call__(self, tasks):
        """Return the tasks with features and numbers divided by their scales."""
        return replace(
            tasks,
            X=tasks.X / self.scale,
            y=tasks.y if tasks.ways is not None else tasks.y / self.unit,
            inverse_kurtosis=self.inverse_kurtosis,
            prior_rows=self.prior_rows,
        )

    def restore(self, heads):
        """Return heads ``(n_tasks, n_scores, 1 + n_features)`` for unscaled rows and labels."""
        heads = self.unit * heads
        heads[:, :, 1:] /= self.scale
        return heads


def inverse_kurtosis(tasks):
    """Return the attribute `inverse_kurtosis` of the `Scaling` of `LabelledTasks`."""
    gaps = tasks.X - tasks.means(tasks.X)[tasks.codes]
    square, fourth = (np.average(gaps**k, axis=0, weights=tasks.weight) for k in (2, 4))
    varies = square > _ROUNDING * np.average(tasks.X**2, axis=0, weights=tasks.weight)
    out = np.ones(len(square))
    np.divide(square**2, fourth, out=out, where=varies & (fourth > 0.0))
    if varies.any():
        out[~varies] = out[varies].mean()
    return out / out.mean() if out.max() > _EQUAL_RATIO * out.min() else None


def _within_and_between(tasks, X):
    """Return the columns' scales within tasks, and the ratios of variances within and between.

    This is a one-way analysis of variance: the squared deviations of the tasks' means contain
    variance of both kinds.
    """
    total, means, w = tasks.sums(tasks.weight), tasks.means(X), tasks.weight
    within = w @ (X - means[tasks.codes]) ** 2
    centre = np.average(X, axis=0, weights=w)
    overall = np.average((X - centre) ** 2, axis=0, weights=w)
    freedom = np.maximum(total - 1.0, 0.0).sum()
    within = within / freedom if freedom > 0.0 else np.zeros_like(within)
    between = total @ (means - centre) ** 2 - ((total > 0.0).sum() - 1.0) * within
    between /= max(total.sum() - (total**2).sum() / total.sum(), 1e-300)
    flat = within <= _ROUNDING * overall
    scale = np.sqrt(np.where(flat, np.where(overall > 0.0, overall, 1.0), within))
    prior_rows = np.full_like(scale, np.inf)
    if freedom > 0.0:  # with one row per task, neither variance can be estimated
        differs = between > _MIN_BETWEEN * within
        prior_rows[differs] = within[differs] / between[differs]
        prior_rows[flat] = 0.0
    return scale, prior_rows
