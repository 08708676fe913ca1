"""Weights of the members of a blend, by the number of labelled rows of a task."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from .stacking import simplex_weights

__all__ = ["BlendWeights", "JudgedRows"]

# Standard errors by which a blend has to be better to be used, if there are many tasks. With few,
# it is the quantile of Student's distribution with the same probability.
_REQUIRED = 0.97725
# Width of the kernel, on the logarithm of the rows, by which tasks of similar sizes share evidence.
_SIZE_WIDTH = 0.7
# Episodes whose kernel is below this share do not count.
_NEAR = 1e-3
# Prior rows at the median noise level with which the noise level of an episode is shrunk, and
# number of steps in which weights and noise levels follow each other.
_NOISE_ROWS, _NOISE_STEPS = 4.0, 5
# Largest number of steps of the weights of probabilities, and the change at which they end.
_EM_STEPS, _EM_CHANGE = 200, 1e-5
# Weights below this are set to zero.
_MIN_WEIGHT = 0.02


@dataclass
class JudgedRows:
    """Predictions of query rows of held-out tasks, by members adapted to support rows.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_members)
        Probabilities of the labels of the rows or, for numbers, errors. NaN if a member was not
        tried. The first member is the one to fall back to.
    weight : ndarray of shape (n_rows,)
    codes : ndarray of shape (n_rows,)
        Episode of each row.
    sizes : ndarray of shape (n_episodes,)
        Total weights of the support rows.
    groups : ndarray of shape (n_episodes,)
        Task of each episode. If tasks have their own classes, those with the same ones are one
        group, as they are not independent.
    are_numbers : bool
    """

    values: np.ndarray
    weight: np.ndarray
    codes: np.ndarray
    sizes: np.ndarray
    groups: np.ndarray
    are_numbers: bool

    @classmethod
    def join(cls, parts):
        """Return the predictions of several folds together, of which there may be none."""
        if not parts:
            nothing = np.zeros(0)
            return cls(np.zeros((0, 3)), nothing, nothing.astype(int), nothing, nothing, True)
        starts = np.cumsum([0, *(len(part.sizes) for part in parts)])
        most = 1 + max(part.groups.max(initial=0) for part in parts)
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.codes + n for part, n in zip(parts, starts, strict=False)]),
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.groups + most * k for k, part in enumerate(parts)]),
            parts[0].are_numbers,
        )  # fmt: skip

    def losses(self, weights):
        """Return the log-losses or squared errors ``(n_rows, ...)`` of blends."""
        with np.errstate(divide="ignore"):
            blend = self.values[:, np.asarray(weights) > 0] @ weights[weights > 0]
            return blend**2 if self.are_numbers else -np.log(blend)

    def near(self, centre):
        """Return the episodes with about ``exp(centre)`` support rows, and their kernels."""
        kernel = np.exp(-0.5 * ((np.log(self.sizes) - centre) / _SIZE_WIDTH) ** 2)
        rows = np.flatnonzero(kernel[self.codes] >= _NEAR)
        return rows, kernel

    def take(self, rows):
        """Return some of the rows."""
        return JudgedRows(
            self.values[rows], self.weight[rows], self.codes[rows], self.sizes, self.groups,
            self.are_numbers,
        )  # fmt: skip


@dataclass
class BlendWeights:
    """Weights of the members for tasks with any number of rows.

    Attributes
    ----------
    size : ndarray of shape (n_sizes,)
        Numbers of labelled rows, sorted.
    weights : ndarray of shape (n_sizes, n_members)
        Not negative, with sum one.
    losses : ndarray of shape (n_sizes, n_members)
        Mean held-out loss of each member alone; NaN if it was not tried.
    """

    size: np.ndarray
    weights: np.ndarray
    losses: np.ndarray

    @classmethod
    def learn(cls, held_out, required=1.0):
        """Learn from `JudgedRows` predictions.

        Members are added one by one, as long as the blend becomes better by more than two standard
        errors over tasks, times `required`.
        """
        n_members = held_out.values.shape[1]
        first = np.eye(n_members)[0]
        judged = np.unique(held_out.codes)
        if not len(judged):
            nothing = np.full((1, n_members), np.nan)
            return cls(np.ones(1), first[None], nothing)
        size = np.unique(np.round(4.0 * np.log(held_out.sizes[judged]))) / 4.0
        weights, losses = [], []
        for centre in size:
            rows, kernel = held_out.near(centre)
            part = held_out.take(rows)
            weights.append(_select(part, kernel, first, required))
            losses.append([_mean_loss(part, kernel, m) for m in range(n_members)])
        return cls(np.exp(size), np.array(weights), np.array(losses))

    def at(self, rows):
        """Return the weights ``(n_tasks, n_members)`` for tasks with these numbers of rows."""
        log_rows = np.log(np.maximum(rows, 1e-300))
        return self.weights[np.abs(log_rows[:, None] - np.log(self.size)).argmin(axis=1)]


def _select(held_out, kernel, found, required):
    """Return the weights of the members near a size, starting with those in `found`."""
    while True:
        best, chosen = 0.0, None
        for m in np.flatnonzero(found == 0):
            members = np.append(np.flatnonzero(found), m)
            tried = np.isfinite(held_out.values[:, members]).all(axis=1)
            if not tried.any():
                continue
            part = held_out.take(np.flatnonzero(tried))
            trial, row_weight = np.zeros(len(found)), None
            trial[members], row_weight = _optimum(part, kernel, members)
            if trial[m] < _MIN_WEIGHT:
                continue
            gain = row_weight * (part.losses(found) - part.losses(trial))
            ratio = advantage(gain, row_weight, part.groups[part.codes])
            if ratio > best:
                best, chosen = ratio, trial
        if best <= required:
            return found
        found = np.where(chosen < _MIN_WEIGHT, 0.0, chosen)
        found = found / found.sum()
        if found.all():
            return found


def _optimum(held_out, kernel, members):
    """Return the best weights of some members, and the weights of the rows behind them."""
    values, row_weight = held_out.values[:, members], held_out.weight * kernel[held_out.codes]
    if not held_out.are_numbers:
        return mixture_weights(values, row_weight), row_weight
    codes, n = held_out.codes, len(held_out.sizes)
    total = np.bincount(codes, held_out.weight, minlength=n)
    found = np.full(len(members), 1.0 / len(members))
    for _ in range(_NOISE_STEPS):
        # The noise of an episode is the error of the blend itself, so that a task that the blend
        # does not suit, as in Student's distribution, has little influence.
        square = np.bincount(codes, held_out.weight * (values @ found) ** 2, minlength=n)
        level = np.median(square[total > 0] / total[total > 0])
        noise = (square + _NOISE_ROWS * level) / (total + _NOISE_ROWS)
        inverse = np.divide(1.0, noise, out=np.zeros(n), where=noise > 0)
        near = row_weight * inverse[codes]
        found = simplex_weights((near[:, None] * values).T @ values)
    return found, near


def mixture_weights(values, weight):
    r"""Return the weights that maximise :math:`\sum_i w_i \log \sum_m v_m p_{im}`, by EM.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_members)
        Probabilities p of the labels.
    weight : ndarray of shape (n_rows,)
        w.

    Returns
    -------
    ndarray of shape (n_members,)
        v, not negative and with sum one.
    """
    found = np.full(values.shape[1], 1.0 / values.shape[1])
    share = weight / weight.sum()
    for _ in range(_EM_STEPS):
        new = found * ((share / np.maximum(values @ found, 1e-300)) @ values)
        new /= new.sum()
        change, found = np.abs(new - found).max(), new
        if change < _EM_CHANGE:
            break
    return found


def advantage(gain, weight, groups):
    """Return how clearly the mean gain is above zero, compared to what is required.

    Parameters
    ----------
    gain, weight, groups : ndarray of shape (n_rows,)
        Weighted gain, weight, and group of each row. Groups are independent.

    Returns
    -------
    float
        The mean gain in standard errors over groups, divided by the required number of standard
        errors: above 1 if a gain is certain enough. Zero if there are fewer than two groups.
    """
    _, groups = np.unique(groups, return_inverse=True)
    gains, weights = np.bincount(groups, gain), np.bincount(groups, weight)
    total = weights.sum()
    n_groups = total**2 / max((weights**2).sum(), 1e-300)  # effective number
    residuals = gains - gains.sum() / total * weights
    variance = (residuals**2).sum()
    if n_groups < 1.5 or variance <= 0.0:
        return 0.0
    spread = np.sqrt(variance * n_groups / (n_groups - 1.0))
    return gains.sum() / spread / student.ppf(_REQUIRED, n_groups - 1.0)


def _mean_loss(held_out, kernel, m):
    """Return the mean loss of a member alone; NaN if it was not tried."""
    part = held_out.take(np.flatnonzero(np.isfinite(held_out.values[:, m])))
    near = part.weight * kernel[part.codes]
    if not near.sum() > 0:
        return np.nan
    return np.average(part.losses(np.eye(part.values.shape[1])[m]), weights=near)
