"""Scale and distribution of residuals per task, from out-of-fold errors."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import digamma, ndtri, polygamma

from ..tasks.keys import mixed
from ..tasks.stack import as_dense
from ..tasks.variation import column_limits

__all__ = ["OutOfRangeVariance", "Probe", "ResidualScale", "variance_prior"]

# Most rows whose out-of-fold errors determine the shape of the distribution.
_PROBE_ROWS = 1000
# Most quantiles kept of that distribution; at most half as many as rows, so that no row is kept.
_POINTS = 401


@dataclass
class Probe:
    """Sample of rows of the table whose errors are kept.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        Standardised features.
    y : ndarray of shape (n_splits, n_rows)
        Standardised targets, less what is known of them in every split.
    weight, task : ndarray of shape (n_rows,)
    held_out : bool ndarray of shape (n_splits, n_rows)
    found : list of (rows, errors)
        For every split, the held-out rows and their errors ``(n_rows, n_candidates)`` under every
        candidate.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    task: np.ndarray
    held_out: np.ndarray
    found: list

    @classmethod
    def of(cls, table, partition, centre, scale, units, crossed=None):
        """Return at most `_PROBE_ROWS` held-out rows, those with the smallest keys.

        Parameters
        ----------
        table : TaskTable
            A table with keys.
        partition : Partition
        centre, scale : ndarray of shape (n_features + 1,)
        units : Units or None
        crossed : CrossedEffects or None
            Effects that were subtracted from the target of the table.
        """
        packed = np.flatnonzero(partition.test.any(axis=0)[partition.block])
        if len(packed) > _PROBE_ROWS:
            packed = packed[np.argsort(mixed(table.keys)[packed], kind="stable")[:_PROBE_ROWS]]
            packed.sort()
        X = as_dense(table.X[table.rows[packed]])
        y = np.repeat(table.y[None, packed], len(partition.test), axis=0)
        if crossed is not None:
            y = y + crossed.whole[packed] - [offset[packed] for offset in crossed.of_splits[0]]
        y = (y - centre[-1]) * scale[-1]
        task = np.searchsorted(table.offsets, packed, side="right") - 1
        if units is not None:
            y = (y - units.location[task]) / units.scale[task]
        return cls(
            (X - centre[:-1]) * scale[:-1],
            y,
            table.weights()[packed],
            task,
            partition.test[:, partition.block[packed]],
            [],
        )

    def record(self, slopes, intercepts):
        """Record the errors of the next split.

        Parameters
        ----------
        slopes : ndarray of shape (n_tasks, n_candidates, n_features)
        intercepts : ndarray of shape (n_tasks, n_candidates)
        """
        if len(self.found) == len(self.held_out):
            return
        rows = np.flatnonzero(self.held_out[len(self.found)])
        task = self.task[rows]
        predicted = np.matmul(slopes[task], self.X[rows][:, :, None])[:, :, 0] + intercepts[task]
        self.found.append((rows, self.y[len(self.found), rows][:, None] - predicted))

    def errors(self, shares):
        """Return the errors of a blend and their rows.

        Parameters
        ----------
        shares : ndarray of shape (n_tasks, n_candidates)
        """
        rows = np.concatenate([rows for rows, _ in self.found])
        each = np.concatenate([errors for _, errors in self.found])
        return np.einsum("ic,ic->i", each, shares[self.task[rows]]), rows


@dataclass
class OutOfRangeVariance:
    r"""Additional variance of rows outside the range of the training rows.

    If a feature is at distance :math:`d_j` from the range that it had in training, the error of its
    slope adds :math:`d_j^2 \sigma_t^2 / V_{tj}` to the variance of a new row. The shared slope is
    determined by the squares :math:`S_{tj}` of all rows about their tasks' means, and the
    task-specific one by the squares of the task and the strength :math:`\lambda_{vj}`:

    .. math:: 1 / V_{tj} = 1 / \sum_t S_{tj} + 1 / (S_{tj} + \lambda_{vj}).

    Attributes
    ----------
    low, high : ndarray of shape (n_features,)
        Range of the training rows.
    shared : ndarray of shape (n_features,)
        Variances of the shared slopes, relative to that of the noise.
    own : ndarray of shape (n_tasks + 1, n_features)
        Variances of the task-specific slopes; the last row is for an unseen task.
    strength : ndarray of shape (n_features,)
    """

    low: np.ndarray
    high: np.ndarray
    shared: np.ndarray
    own: np.ndarray
    strength: np.ndarray

    @classmethod
    def of(cls, X, squares, strength):
        """Compute the variances from training rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
        squares : ndarray of shape (n_tasks, n_features)
            Squares of the features about the tasks' means.
        strength : ndarray of shape (n_features,)
            Strengths on the task-specific slopes.
        """
        return cls(
            *column_limits(X), _inverse(squares.sum(axis=0)), _own_variances(squares, strength),
            strength,
        )  # fmt: skip

    def excess(self, X, codes):
        """Return the additional variances of rows, relative to that of the noise.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
        codes : ndarray of shape (n_samples,) or None
            Task of each row; None for the variances of all tasks, ``(n_samples, n_tasks)``.
        """
        X = as_dense(X)
        beyond = np.maximum(np.maximum(self.low - X, X - self.high), 0.0) ** 2
        if codes is None:
            return beyond @ (self.shared + self.own[:-1]).T
        out, far = np.zeros(len(X)), np.flatnonzero(beyond.any(axis=1))
        out[far] = (beyond[far] * (self.shared + self.own[codes[far]])).sum(axis=1)
        return out

    def of_new_task(self, X, weight):
        """Return the variances for a new task with these rows."""
        squares = weight @ (X - weight @ X / weight.sum()) ** 2
        low, high = np.minimum(self.low, X.min(axis=0)), np.maximum(self.high, X.max(axis=0))
        own = _own_variances(squares[None], self.strength)
        return replace(self, low=low, high=high, own=own)

    def take(self, tasks):
        """Return the variances for some of the tasks."""
        return replace(self, own=self.own[np.append(tasks, -1)])


def _own_variances(squares, strength):
    """Return relative variances of task-specific slopes; the last row is for an unseen task."""
    return _inverse(np.vstack([squares, np.zeros(squares.shape[1])]) + strength)


def _inverse(values):
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


@dataclass
class ResidualScale:
    r"""Standard deviations of residuals of new rows, and the shape of their distribution.

    The variance of a task is its out-of-fold mean squared error :math:`s_t^2` of :math:`d_t` rows,
    shrunk towards a common variance :math:`s_0^2` with the weight of :math:`d_0` rows (Smyth 2004),

    .. math:: \tilde s_t^2 = \frac{d_0 s_0^2 + d_t s_t^2}{d_0 + d_t}.

    Both :math:`d_0` and :math:`s_0^2` are learned from the spread of :math:`\log s_t^2` over tasks.

    Attributes
    ----------
    prior_rows, prior_variance : float
    std : ndarray of shape (n_tasks,)
    unseen_std : float
        Standard deviation for an unseen task.
    points : ndarray of shape (n_points,)
        Quantiles, evenly spaced in probability, of the errors divided by the standard deviations of
        their tasks. Empty if the rows were not available: the normal distribution is then used.
    n_points : float
        Number of rows behind the quantiles.
    out_of_range : OutOfRangeVariance or None

    References
    ----------
    Smyth, G. K. (2004). Linear models and empirical Bayes methods for assessing differential
    expression in microarray experiments. Statistical Applications in Genetics and Molecular
    Biology 3(1). :doi:`10.2202/1544-6115.1027`
    """

    prior_rows: float
    prior_variance: float
    std: np.ndarray
    unseen_std: float
    points: np.ndarray
    n_points: float
    out_of_range: OutOfRangeVariance | None = None

    def of_rows(self, X, codes):
        """Return the standard deviations of new labels about the predictions of rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
        codes : ndarray of shape (n_samples,) or None
            Task of each row, -1 for an unseen one; None for all tasks, one per column.
        """
        if codes is None:
            std = np.tile(self.std, (X.shape[0], 1))
        else:
            std = np.append(self.std, self.unseen_std)[codes]
        if self.out_of_range is None:
            return std
        return std * np.sqrt(1.0 + self.out_of_range.excess(X, codes))

    @classmethod
    def learn(cls, sse, rows, unseen_variance, probe=None, shares=None):
        """Learn from the out-of-fold squared errors of the tasks."""
        prior_rows, prior_variance = variance_prior(sse, rows)
        self = cls(prior_rows, prior_variance, None, None, np.zeros(0), 0.0)
        self.std = self.std_of(sse, rows)
        if np.isnan(unseen_variance):
            unseen_variance = sse.sum() / max(rows.sum(), 1e-300)
        self.unseen_std = np.sqrt(unseen_variance)
        if probe is not None and probe.found:
            errors, which = probe.errors(shares)
            task, weight = probe.task[which], probe.weight[which]
            # Leave out the row itself, because new rows do not contribute to the deviation.
            others = self.std_of(
                np.maximum(sse[task] - weight * errors**2, 0.0),
                np.maximum(rows[task] - weight, 0.0),
            )
            unit = np.where(others > 0, errors / np.where(others > 0, others, 1.0), 0.0)
            self.points, self.n_points = _weighted_quantiles(unit, weight), len(np.unique(which))
        return self

    def std_of(self, sse, rows):
        """Return the standard deviations of tasks with these out-of-fold squared errors."""
        if np.isinf(self.prior_rows):
            return np.full(np.shape(sse), np.sqrt(self.prior_variance))
        total = np.maximum(self.prior_rows + rows, 1e-300)
        return np.sqrt((self.prior_rows * self.prior_variance + sse) / total)

    def band(self, coverage):
        """Return the bounds ``(low, high)`` to add to a prediction, in standard deviations."""
        levels = np.array([0.5 - coverage / 2, 0.5 + coverage / 2])
        normal = ndtri(levels)
        if not len(self.points):
            return normal
        # The quantile of a conformal interval: the next larger one of n + 1 errors.
        n = self.n_points
        outward = np.array([levels[0] * (n + 1) - 1, levels[1] * (n + 1)]) / n
        grid = np.linspace(0.0, 1.0, len(self.points))
        low, high = np.interp(outward, grid, self.points)
        if outward[0] < 0.0:  # too few rows for this coverage
            low, high = min(low, normal[0]), max(high, normal[1])
        return np.array([low, high])

    def scaled(self, factor, unseen_factor):
        """Return the scale in other units of the target, which may differ by task."""
        return replace(
            self, prior_variance=self.prior_variance * np.min(factor) ** 2, std=self.std * factor,
            unseen_std=self.unseen_std * unseen_factor,
        )  # fmt: skip

    def take(self, tasks):
        """Return the scale of some tasks; -1 is an unseen task."""
        out_of_range = self.out_of_range and self.out_of_range.take(tasks)
        std = np.r_[self.std, self.unseen_std][tasks]
        return replace(self, std=std, out_of_range=out_of_range)


def variance_prior(sse, rows):
    """Return the rows and the variance of the prior of the tasks' mean squared errors."""
    judged = rows > 0
    mse, d = sse[judged] / rows[judged], rows[judged]
    if not len(d):
        return np.inf, np.nan
    pooled = sse[judged].sum() / d.sum()
    if len(d) < 3 or pooled <= 0:
        return (0.0 if len(d) == 1 else 4.0), pooled
    # A variance of zero, e.g. of a rounded target, means only that the variance is small.
    mse = np.maximum(mse, mse[mse > 1e-12 * pooled].min())
    log_variance = np.log(mse) - digamma(d / 2) + np.log(d / 2)
    noise = polygamma(1, d / 2)
    between = 0.0  # variance of the log-variances over tasks
    for _ in range(20):
        weight = 1.0 / (noise + between)
        weight /= weight.sum()
        centre = weight @ log_variance
        excess = weight @ ((log_variance - centre) ** 2 - noise) / (1.0 - weight @ weight)
        if abs(excess - between) < 1e-3 * (1.0 + between) or excess <= 0.0:
            between = max(excess, 0.0)
            break
        between = excess
    if between < 1e-3:  # the tasks' variances do not differ
        return np.inf, pooled
    prior_rows = 2.0 * _inverse_trigamma(between)
    return prior_rows, np.exp(centre + digamma(prior_rows / 2) - np.log(prior_rows / 2))


def _inverse_trigamma(value, n_steps=50):
    """Return the inverse of the trigamma function, by Newton's method (Smyth 2004)."""
    x = 0.5 + 1.0 / value
    for _ in range(n_steps):
        here = polygamma(1, x)
        step = here * (1.0 - here / value) / polygamma(2, x)
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x


def _weighted_quantiles(values, weight):
    """Return weighted quantiles of the values, evenly spaced in probability."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    middle = (total - 0.5 * weight[order]) / total[-1]
    levels = np.linspace(0.0, 1.0, min(_POINTS, max(len(values) // 2, 3)))
    return np.interp(levels, middle, values[order])
