r"""Thresholds of conformal prediction sets per task, from out-of-fold probabilities.

The score of a row is :math:`s_i = 1 - p(y_i \mid x_i)`, with probabilities from models that were
fitted without the row. The set of a new row contains all labels whose score is at most a quantile
of these scores (Sadinle et al. 2019). The distribution of the scores of task t, with
:math:`n_t` rows, is the mixture

.. math:: \frac{n_t}{n_t + k} F_t + \frac{k}{n_t + k} F

of its empirical distribution and that of all tasks. In either of them a further score is at
infinity, which is that of the new row. The credibility :math:`n_t / (n_t + k)` is the one of
Bühlmann & Straub (1970), for the share of rows beyond the quantile of all tasks: k is the ratio of
the variance of this indicator within tasks to that of its mean between tasks.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["SetThresholds", "check_set_thresholds", "label_scores", "label_sets"]

# Coverages whose thresholds are kept; thresholds of others are interpolated.
LEVELS = np.concatenate([np.arange(5, 90, 5), np.arange(90, 100), [99.5, 99.9]]) / 100.0
# Smallest number of rows by which the distribution of all tasks counts.
_FEWEST_PRIOR_ROWS = 1.0
_ROUNDING = 1e-12


def label_scores(probabilities, labels):
    """Return one minus the probabilities of the rows' labels.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_scores)
        Those of all classes, or a single column with those of the second of two classes.
    labels : ndarray of shape (n_rows,)
        Codes of the classes.
    """
    if probabilities.shape[1] == 1:
        second = probabilities[:, 0]
        return np.where(labels == 1, 1.0 - second, second)
    return 1.0 - np.take_along_axis(probabilities, labels.astype(np.int64)[:, None], axis=1)[:, 0]


def label_sets(probabilities, top, thresholds):
    """Return which labels are in the prediction sets of rows: always the most probable one.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_classes)
    top : ndarray of shape (n_rows,)
        Positions of the most probable classes.
    thresholds : ndarray of shape (n_rows,)

    Returns
    -------
    bool ndarray of shape (n_rows, n_classes)
    """
    sets = 1.0 - probabilities <= thresholds[:, None]
    sets[np.arange(len(sets)), top] = True
    return sets


def check_set_thresholds(thresholds):
    """Return the thresholds, or raise if there are none."""
    if thresholds is None:
        raise ValueError(
            "predict_set needs out-of-fold probabilities, which this model does not have: it was "
            "fitted with cv=None, or by an earlier version; set cv=5 and fit again."
        )
    return thresholds


@dataclass
class SetThresholds:
    """Largest scores of labels in the prediction sets, at the coverages `LEVELS`.

    Attributes
    ----------
    tasks : ndarray of shape (n_tasks, n_levels)
    unseen : ndarray of shape (n_levels,)
        Thresholds for a task that was not seen.
    pooled : ndarray of shape (n_levels,)
        Thresholds of the scores of all tasks together.

    References
    ----------
    Sadinle, M., Lei, J. and Wasserman, L. (2019). Least ambiguous set-valued classifiers with
    bounded error levels. Journal of the American Statistical Association 114(525).
    :doi:`10.1080/01621459.2017.1395341`

    Dunn, R., Wasserman, L. and Ramdas, A. (2023). Distribution-free prediction sets for two-layer
    hierarchical models. Journal of the American Statistical Association 118(544).
    :doi:`10.1080/01621459.2022.2060112` (unseen tasks: all tasks have the same weight)

    Bühlmann, H. and Straub, E. (1970). Glaubwürdigkeit für Schadensätze. Bulletin of the Swiss
    Association of Actuaries 70.
    """

    tasks: np.ndarray
    unseen: np.ndarray
    pooled: np.ndarray

    @classmethod
    def learn(cls, scores, codes, weight, n_tasks, left=None):
        """Learn from the scores of held-out rows.

        Parameters
        ----------
        scores, codes, weight : ndarray of shape (n_rows,)
            Scores of rows, their tasks and their weights. The weights of a row that was held out
            repeatedly add up to its own.
        n_tasks : int
        left : tuple of three ndarray of shape (n_left_rows,), optional
            The same for rows of left-out tasks under models of an unseen task. If there are none,
            an unseen task has the thresholds of all tasks.
        """
        found = _ScoresOfTasks(scores, codes, weight, n_tasks)
        pooled, tasks = (np.maximum.accumulate(part, axis=-1) for part in found.thresholds())
        if left is None or not len(left[0]):
            return cls(tasks, pooled, pooled)
        score, code, weight = left
        rows = np.bincount(code, weight)
        equal = weight / rows[code] * (rows.sum() / (rows > 0).sum())
        unseen = _PooledScores(score, equal).quantiles(LEVELS)
        return cls(tasks, unseen, pooled)

    def at(self, coverage, codes):
        """Return the thresholds ``(n_rows,)`` of rows at a coverage.

        `codes` are the tasks of the rows, -1 for an unseen one.
        """
        levels = np.concatenate([[0.0], LEVELS, [1.0]])
        above = int(np.searchsorted(levels, coverage))
        share = (coverage - levels[above - 1]) / (levels[above] - levels[above - 1])
        values = np.vstack([self.tasks, self.unseen])
        values = np.pad(values, ((0, 0), (1, 1)), constant_values=((0.0, 0.0), (0.0, 1.0)))
        return ((1.0 - share) * values[:, above - 1] + share * values[:, above])[codes]

    def take(self, tasks):
        """Return the thresholds of some tasks; -1 is an unseen task."""
        return SetThresholds(np.vstack([self.tasks, self.unseen])[tasks], self.unseen, self.pooled)

    def of_new_task(self):
        """Return the thresholds of a task that was adapted to, as those of a single task.

        Its model lies between those of known tasks and of an unseen one, and the thresholds are the
        larger ones of both.
        """
        new = np.maximum(self.pooled, self.unseen)
        return SetThresholds(new[None], self.unseen, self.pooled)


class _PooledScores:
    """Empirical distribution of scores, with a further one beyond all of them.

    Attributes
    ----------
    scores : ndarray of shape (n_rows,)
        Sorted.
    order : ndarray of shape (n_rows,)
        Positions of the sorted scores among those given.
    below : ndarray of shape (n_rows,)
        Share of the weights of scores that are at most as large.
    """

    def __init__(self, scores, weight):
        self.order = np.argsort(scores)
        self.scores = scores[self.order]
        total = np.cumsum(weight[self.order])
        last = _last_of_group(self.scores[1:] != self.scores[:-1])
        self.below = total[last] / (total[-1] + 1.0)

    def quantiles(self, levels):
        """Return the smallest scores that a share of at least `levels` does not exceed, or 1."""
        place = np.searchsorted(self.below, levels - _ROUNDING)
        return np.append(self.scores, 1.0)[place]


def _last_of_group(differ):
    """Return the position of the last row of the group of every row.

    `differ` is a mask ``(n_rows - 1,)`` of the rows that are followed by another group.
    """
    last = np.flatnonzero(np.append(differ, True))
    return np.repeat(last, np.diff(last, prepend=-1))


class _ScoresOfTasks(_PooledScores):
    """Empirical distributions of the scores of all tasks, and of every task.

    Attributes
    ----------
    rows : ndarray of shape (n_tasks,)
        Weights of the tasks' rows.

    Rows with a leading underscore are sorted by task and score, and those of task t begin at
    ``_start[t]``.
    """

    def __init__(self, scores, codes, weight, n_tasks):
        super().__init__(scores, weight)
        codes, weight = codes[self.order], weight[self.order]
        small = codes.astype(np.uint16) if n_tasks <= 2**16 else codes  # radix sort
        by_task = np.argsort(small, kind="stable")
        self.rows = np.bincount(codes, weight, minlength=n_tasks)
        self._score, self._all, code = self.scores[by_task], self.below[by_task], codes[by_task]
        self._start = np.searchsorted(code, np.arange(n_tasks + 1))
        total = np.append(0.0, np.cumsum(weight[by_task]))
        self._total = total[1:] - total[self._start[code]]
        score = self._score
        last = _last_of_group((code[1:] != code[:-1]) | (score[1:] != score[:-1]))
        self._own = self._total[last] / (self.rows[code] + 1.0)

    def _first(self, reaches):
        """Return the positions ``(n_tasks, n_levels)`` of the first rows that reach the levels.

        Those of tasks whose rows do not are the positions after their last rows.

        Parameters
        ----------
        reaches : callable
            Called with positions ``(n_tasks, n_levels)``; returns a mask, which is true from some
            row of a task on.
        """
        low, high = (
            np.repeat(ends[:, None], len(LEVELS), axis=1)
            for ends in (self._start[:-1], self._start[1:])
        )
        while (is_open := low < high).any():
            middle = (low + high) // 2
            found = reaches(np.minimum(middle, len(self._score) - 1))
            high = np.where(is_open & found, middle, high)
            low = np.where(is_open & ~found, middle + 1, low)
        return low

    def _before(self, values, first):
        """Return the values of the rows before these positions; zero for the first of a task."""
        return np.where(first > self._start[:-1, None], values[first - 1], 0.0)

    def prior_rows(self, thresholds):
        """Return the rows by which the distribution of all tasks counts.

        Parameters
        ----------
        thresholds : ndarray of shape (n_levels,)

        Returns
        -------
        ndarray of shape (n_levels,)
            Infinite where the shares of rows beyond a threshold do not differ between tasks.
        """
        live = self.rows > 0
        rows, total = self.rows[live, None], self.rows.sum()
        n_live = len(rows)
        out = np.full(len(thresholds), np.inf)
        if n_live < 2 or total <= n_live:
            return out
        first = self._first(lambda at: self._score[at] > thresholds)
        inside = self._before(self._total, first)[live]
        share, mean = inside / rows, inside.sum(axis=0) / total
        within = (rows * share * (1.0 - share)).sum(axis=0) / (total - n_live)
        between = (rows * (share - mean) ** 2).sum(axis=0) / (n_live - 1)
        excess = (between - within) / ((total - (rows**2).sum() / total) / (n_live - 1))
        differ = excess > _ROUNDING
        out[differ] = np.maximum(within[differ] / excess[differ], _FEWEST_PRIOR_ROWS)
        return out

    def thresholds(self):
        """Return the thresholds of all tasks ``(n_levels,)``, and of each ``(n_tasks, n_levels)``.

        Both are quantiles, the latter those of the mixtures. A mixture increases by jumps at the
        scores of the task, and with those of all tasks between them. Its quantile is at the first
        score of the task at which it reaches the level, or before it.
        """
        pooled = self.quantiles(LEVELS)
        rows = self.rows[:, None]
        share = rows / (rows + self.prior_rows(pooled))

        def reaches(at):
            return share * self._own[at] + (1.0 - share) * self._all[at] >= LEVELS - _ROUNDING

        first = self._first(reaches)
        is_own = first < self._start[1:, None]
        at_own = np.where(is_own, np.append(self._score, 1.0)[first], 1.0)
        own = self._before(self._own, first)
        between = self.quantiles((LEVELS - share * own) / (1.0 - share))
        return pooled, np.minimum(at_own, between)
