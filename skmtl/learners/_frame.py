r"""The frame in which a task's own parameters live: its own mean, on the scale within tasks.

A feature varies within tasks and between them, and what a task learns from its own rows is learned
from the former alone. On the scale of the whole table a feature whose level differs by task has
hardly any variation of that kind, so that a prior on the slope would hide it (Mundlak 1978; Bafumi
and Gelman 2006).

References
----------
Mundlak, Y. (1978). On the pooling of time series and cross section data. Econometrica 46(1).
:doi:`10.2307/1913646`

Bafumi, J. and Gelman, A. (2006). Fitting multilevel models when predictors and group effects
correlate. :doi:`10.2139/ssrn.1010095`
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Frame", "evenness"]

# Variances within tasks below this, as a share of all rows', are rounding.
_ROUNDING = 1e-24
# Ratio from which on features do not vary evenly.
_UNEVEN = 2.0
# Variance between tasks below this share of that within them is none.
_LEAST_BETWEEN = 1e-6


@dataclass(frozen=True)
class Frame:
    """What features and numbers are divided by, and how far tasks' means are trusted.

    Attributes
    ----------
    scale : ndarray of shape (n_features,)
        Standard deviations within tasks; of what is constant within them, over all rows.
    unit : float
        The same of the labels, where these are numbers; 1 otherwise.
    pull : ndarray of shape (n_features,)
        Rows that the table's mean counts as in a task's: variance within tasks by that between.
    evenness : ndarray of shape (n_features,) or None
        Of deviations from the tasks' means, one by the kurtosis, so that their mean is one; None
        where it is about the same in all features.
    """

    scale: np.ndarray
    unit: float
    pull: np.ndarray
    evenness: np.ndarray | None

    @classmethod
    def of(cls, tasks):
        """Learn it from `LabelledTasks`, one of which has rows."""
        scale, pull = _within_and_between(tasks, tasks.X)
        unit = 1.0
        if tasks.ways is None:
            unit = float(_within_and_between(tasks, tasks.y[:, None])[0][0])
        return cls(scale, unit, pull, evenness(tasks))

    def __call__(self, tasks):
        """The same tasks in this frame."""
        return replace(
            tasks,
            X=tasks.X / self.scale,
            y=tasks.y if tasks.ways is not None else tasks.y / self.unit,
            evenness=self.evenness,
            pull=self.pull,
        )

    def restore(self, heads):
        """Heads ``(n_tasks, n_scores, 1 + n_features)`` for rows and labels as they were before."""
        heads = self.unit * heads
        heads[:, :, 1:] /= self.scale
        return heads


def evenness(tasks):
    """How evenly the features of `LabelledTasks` vary, as in `Frame`."""
    gaps = tasks.X - tasks.means(tasks.X)[tasks.codes]
    square, fourth = (np.average(gaps**k, axis=0, weights=tasks.weight) for k in (2, 4))
    varies = square > _ROUNDING * np.average(tasks.X**2, axis=0, weights=tasks.weight)
    out = np.ones(len(square))
    np.divide(square**2, fourth, out=out, where=varies & (fourth > 0.0))
    if varies.any():
        out[~varies] = out[varies].mean()
    return out / out.mean() if out.max() > _UNEVEN * out.min() else None


def _within_and_between(tasks, X):
    """Scales of columns within tasks, and their variance there by that between tasks."""
    total = np.bincount(tasks.codes, tasks.weight, minlength=tasks.n_tasks)
    means = tasks.means(X)
    w = tasks.weight
    within = w @ (X - means[tasks.codes]) ** 2
    centre = np.average(X, axis=0, weights=w)
    overall = np.average((X - centre) ** 2, axis=0, weights=w)
    freedom = np.maximum(total - 1.0, 0.0).sum()
    within = within / freedom if freedom > 0.0 else np.zeros_like(within)
    # Analysis of variance: squares of the means' deviations are of both kinds.
    squares = total @ (means - centre) ** 2
    lost = total.sum() - (total**2).sum() / total.sum()
    between = (squares - ((total > 0.0).sum() - 1.0) * within) / max(lost, 1e-300)
    flat = within <= _ROUNDING * overall
    scale = np.sqrt(np.where(flat, np.where(overall > 0.0, overall, 1.0), within))
    pull = np.full_like(scale, np.inf)
    if freedom > 0.0:  # else one row a task, and nothing is known of either kind
        differs = between > _LEAST_BETWEEN * within
        pull[differs] = within[differs] / between[differs]
        pull[flat] = 0.0
    return scale, pull
