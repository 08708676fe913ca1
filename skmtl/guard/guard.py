"""Judge a structure's candidates beside one model per task and one model for all tasks."""

import numpy as np

from .shares import Shares
from .weights import crowd_weights, task_weights

__all__ = ["Guard"]

# Splits that may each be judged by the weights that the others choose.
_MOST_SPLITS = 20
# Steps of EM for the weights, and for those that a split's others would choose.
_STEPS, _STEPS_OF_OTHERS = 15, 3
_NAMES = "shared", "independent", "pooled"


class Guard:
    """Cross-validate candidates and choose their weights for every task, and for one never seen.

    Each family of candidates is weighed by itself: the structure's own, among which may be those
    of the others, and the two that it is compared with.

    Parameters
    ----------
    tuner : object
        Solves candidates: `Tuner` and its kin.
    candidates : list of candidates
        Of all families together, such as `Grid`: with a length, ``members`` and ``are_pooled``.
    families : sequence of three lists of candidates
        Those of the structure, of *independent* and of *pooled*.

    Attributes
    ----------
    judged : Judged
    shares : list of Shares
        One per family.
    """

    def __init__(self, tuner, candidates, families):
        self.tuner, self.candidates = tuner, candidates
        self._members = [candidates.members(family) for family in families]
        self.judged = tuner.judge(candidates, blends=True)
        self._left = tuner.left_out(candidates)
        # Errors on tasks left out and their rows; and verdicts of these as if they had few rows.
        self._unseen = tuner.unseen_errors(candidates, self._left)
        self._early = tuner.early_verdict(candidates, self._left, self.judged)
        self.shares = self._weigh(self.judged, _STEPS)

    def _weigh(self, judged, n_steps):
        verdict, rows = judged.verdict(), judged.totals()[1]
        prior = self.tuner.log_prior(self.candidates, rows) + verdict.log_prior
        return [
            self._weigh_family(member, verdict.scores, rows, prior, n_steps).pruned()
            for member in self._members
        ]

    def _weigh_family(self, family, scores, rows, prior, n_steps):
        """Weights among the candidates of a family, zero elsewhere."""
        if family.sum() == 1:  # nothing to choose
            crowd = family.astype(float)
            return Shares(np.tile(crowd, (len(rows), 1)), crowd, family)
        prior, part = prior[family], _differences(scores[:, family])
        tasks, crowd = np.zeros(scores.shape), np.zeros(len(family))
        if self.candidates.are_pooled[family].all():  # one model for all tasks
            crowd[family] = crowd_weights(part, rows, prior)
            tasks[:] = crowd
            return Shares(tasks, crowd, family)
        early = self._early
        if early is not None:
            early = _differences(early[0][:, family]), *early[1:]
        tasks[:, family], start = task_weights(part, rows, prior, n_steps, early)
        errors, rows_unseen = self._unseen
        if len(errors):
            crowd[family] = self.tuner.unseen_weights(errors[:, family], rows_unseen)
        else:
            crowd[family] = crowd_weights(part, rows, prior)
        return Shares(tasks, crowd, family, start)

    def _optimism(self):
        """How much better each family seems as the splits that judge it chose its weights, too.

        Each split's errors under the weights that the other splits would choose say so. Nothing is
        known where rows are held out repeatedly: then the other splits have seen them.
        """
        judged = self.judged
        if judged.repeats > 1.0 + 1e-9 or not 2 <= len(judged.rows) <= _MOST_SPLITS:
            return [0.0] * len(self.shares)
        others = [
            self._weigh(judged.without(split), _STEPS_OF_OTHERS)
            for split in range(len(judged.rows))
        ]
        return [
            judged.optimism(family.tasks, [other[i].tasks for other in others])
            for i, family in enumerate(self.shares)
        ]

    def report(self, limits, units):
        """Return cross-validated errors of the three models, per task and for a task never seen.

        Parameters
        ----------
        limits : sequence of two lists of candidates
            All candidates that are *independent*, and *pooled*.
        units : ndarray of shape (n_tasks + 1,)
            Of the tasks' errors, and of those of a task never seen.
        """
        report = {}
        for name, family, more in zip(_NAMES, self.shares, self._optimism(), strict=True):
            error, std_error = self.tuner.blend_errors(self.judged, self.candidates, family)
            report[f"error_{name}"] = np.r_[error + more, np.nan] * units
            report[f"std_error_{name}"] = np.r_[std_error, np.nan] * units
        own = self.shares[0].tasks
        alone, pooled = (own[:, self.candidates.members(limit)].sum(1) for limit in limits)
        used = np.where(alone > 0.5, "independent", np.where(pooled > 0.5, "pooled", "shared"))
        report["used"] = np.r_[used.astype(object), np.array(["shared"], dtype=object)]
        errors, rows = self._unseen
        for name, family in (("shared", self.shares[0]), ("pooled", self.shares[2])):
            # Relative to the largest unit, as squares of squares overflow.
            top = units.max()
            each = errors * (units[self._left.tasks, None] / top)
            error, std_error = _unseen_error(family.crowd, each, rows)
            report[f"error_{name}"][-1] = error * top
            report[f"std_error_{name}"][-1] = std_error * top
        return report


def _differences(scores):
    """Scores as differences to each task's best candidate."""
    return scores - scores.max(axis=1, keepdims=True)


def _unseen_error(shares, errors, rows):
    """Error per row on tasks left out, and its standard error from the spread over tasks.

    The candidates' errors are averaged: no less than the blend's.
    """
    if len(rows) < 2:
        return np.nan, np.nan
    each = errors @ shares
    error = each.sum() / rows.sum()
    gaps = each / rows - error
    return error, np.sqrt((rows / rows.sum() * gaps**2).sum() / (len(rows) - 1))
