"""Judge candidates beside one model per task and one model for all tasks, and weigh them."""

import numpy as np

from .judge import LeftOut
from .shares import Shares
from .weights import crowd_weights, task_weights

__all__ = ["Guard"]

# Splits that may each be judged by the weights that the others choose.
_MOST_SPLITS = 20
# Steps of EM for the weights, and for those that a split's others would choose.
_STEPS, _STEPS_OF_OTHERS = 15, 3
# Tasks that are left out, and the groups in which they are.
_MOST_LEFT_OUT, _GROUPS = 100, 5
_NAMES = "shared", "independent", "pooled"


class Guard:
    """Cross-validate candidates and choose their weights for every task, and for one never seen.

    Each family of candidates is weighed by itself: those of the structure, which may include
    those of the other two, and those of *independent* and of *pooled* that it is compared with.

    Parameters
    ----------
    problem : object
        Evaluates models on held-out rows: ``judge``, ``unseen_errors``, ``unseen_weights``,
        ``early_scores``, ``held_out_errors`` and ``sample``, as `Problem` has them.
    members : list of Member
        Their candidates stand side by side.
    families : bool ndarray of shape (3, n_candidates)
        Candidates of the structure, of *independent* and of *pooled*.

    Attributes
    ----------
    judged : Judged
    shares : list of Shares
        One per family.
    """

    def __init__(self, problem, members, families):
        self.problem, self.members = problem, members
        self._families = families
        self._are_pooled = np.concatenate([member.are_pooled for member in members])
        self.judged = problem.judge(members)
        self._left = self._leave_out()
        # Errors on tasks left out and their rows, and scores of tasks of which few rows are known.
        self._unseen, self._early = (np.empty((0, len(self._are_pooled))), np.empty(0)), None
        if len(self._left.tasks):
            self._unseen = problem.unseen_errors(self._left)
            if len(members) == 1:
                self._early = problem.early_scores(members[0], self._left, self.judged)
        self.shares = self._weigh(self.judged, _STEPS)

    def _leave_out(self):
        tasks = self.problem.sample(_MOST_LEFT_OUT)
        n_groups = min(_GROUPS, len(tasks))
        if n_groups < 2:
            return LeftOut(tasks[:0], tasks[:0], None, None)
        group = np.arange(len(tasks)) % n_groups
        found = zip(*(member.left_out(tasks, group) for member in self.members), strict=True)
        return LeftOut(tasks, group, *(np.concatenate(models, axis=1) for models in found))

    def _weigh(self, judged, n_steps):
        verdict, rows = judged.verdict(), judged.totals()[1]
        prior = np.concatenate([member.log_prior(rows) for member in self.members])
        return [
            self._weigh_family(family, verdict.scores, rows, prior + verdict.log_prior, n_steps)
            for family in self._families
        ]

    def _weigh_family(self, family, scores, rows, prior, n_steps):
        """Return weights among the candidates of a family, zero elsewhere; small ones removed."""
        tasks, crowd = np.zeros(scores.shape), np.zeros(len(family))
        if family.sum() == 1:  # nothing to choose
            tasks[:, family] = crowd[family] = 1.0
            return Shares(tasks, crowd, family)
        prior, part = prior[family], _differences(scores[:, family])
        if self._are_pooled[family].all():  # one model for all tasks
            crowd[family] = crowd_weights(part, rows, prior)
            tasks[:] = crowd
            return Shares(tasks, crowd, family).pruned()
        early = self._early
        if early is not None:
            early = _differences(early[0][:, family]), *early[1:]
        tasks[:, family], start = task_weights(part, rows, prior, n_steps, early)
        errors, rows_unseen = self._unseen
        if len(errors):
            crowd[family] = self.problem.unseen_weights(errors[:, family], rows_unseen)
        else:
            crowd[family] = crowd_weights(part, rows, prior)
        return Shares(tasks, crowd, family, start).pruned()

    def _optimism(self):
        """Return how much the error of each family is underestimated.

        The splits that judge a family have chosen its weights, too. The difference is estimated by
        each split's errors with the weights that the other splits would choose. It is unknown
        where rows are held out repeatedly: then the other splits have seen them.
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
        limits : bool ndarray of shape (2, n_candidates)
            All candidates that are *independent*, and *pooled*.
        units : ndarray of shape (n_tasks + 1,)
            Of the tasks' errors, and of those of a task never seen.
        """
        report = {}
        for name, family, more in zip(_NAMES, self.shares, self._optimism(), strict=True):
            error, std_error = self._blend_errors(family)
            report[f"error_{name}"] = np.r_[error + more, np.nan] * units
            report[f"std_error_{name}"] = np.r_[std_error, np.nan] * units
        own = self.shares[0].tasks
        alone, pooled = (own[:, limit].sum(axis=1) for limit in limits)
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

    def _blend_errors(self, shares):
        """Return held-out errors per row of a blend, and their standard errors."""
        first = self.members[0]
        if len(self.members) == 1 and first.must_agree(shares, shares.for_new_tasks()[0]):
            return self.judged.means(np.array(list(first.blend_held_out(self.judged, shares))))
        return self.judged.blend_errors(shares.tasks)


def _differences(scores):
    """Return scores as differences to each task's best candidate."""
    return scores - scores.max(axis=1, keepdims=True)


def _unseen_error(shares, errors, rows):
    """Return the error per row on tasks left out, and its standard error over tasks.

    The candidates' errors are averaged, which is no less than the error of the blend.
    """
    if len(rows) < 2:
        return np.nan, np.nan
    each = errors @ shares
    error = each.sum() / rows.sum()
    gaps = each / rows - error
    return error, np.sqrt((rows / rows.sum() * gaps**2).sum() / (len(rows) - 1))
