"""Cross-validate candidates together with independent and pooled models, and weigh them."""

import numpy as np

from .judge import LeftOut
from .shares import Shares
from .weights import task_weights, unseen_weights

__all__ = ["Guard"]

# Most splits for which the errors are corrected by weights that the other splits choose.
_MOST_SPLITS = 20
# EM steps for the weights, and for the weights without one split.
_STEPS, _STEPS_OF_OTHERS = 15, 3
# Most tasks that are left out, and the number of groups that they are left out in.
_MOST_LEFT_OUT, _GROUPS = 100, 5
_NAMES = "shared", "independent", "pooled"


class Guard:
    """Cross-validate candidates and choose their weights for every task and for an unseen one.

    Three models are weighed separately: that of the structure, whose candidates may include those
    of the other two, and the *independent* and *pooled* ones that it is compared with.

    Parameters
    ----------
    problem : object
        Evaluates models on held-out rows: ``judge``, ``left_out_errors``, ``left_out_weights``,
        ``few_shot_scores`` and ``sample``, as `Problem` has them.
    members : list of Member
        Their candidates are concatenated.
    allowed : sequence of three bool ndarrays of shape (n_candidates,)
        Candidates of the structure's model, of *independent* and of *pooled*.

    Attributes
    ----------
    judged : Judged
    left : LeftOut
        Shared models of the candidates without some tasks.
    shares : list of Shares
        One per model.
    """

    def __init__(self, problem, members, allowed):
        self.problem, self.members, self._allowed = problem, members, allowed
        self._are_pooled = np.concatenate([member.are_pooled for member in members])
        self.judged = problem.judge(members)
        self.left = self._leave_out()
        # Errors on left-out tasks with their rows, and scores of tasks with few known rows.
        self._left_errors = np.empty((0, len(self._are_pooled))), np.empty(0)
        self._few_shot = None
        if len(self.left.tasks):
            self._left_errors = problem.left_out_errors(self.left)
            if len(members) == 1:
                self._few_shot = problem.few_shot_scores(members[0], self.left, self.judged)
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
        """Return the `Shares` of the three models."""
        (scores, log_prior), rows = judged.scores(), judged.totals()[1]
        prior = np.concatenate([member.log_prior(rows) for member in self.members]) + log_prior
        return [
            self._weigh_allowed(judged, allowed, scores, prior, n_steps)
            for allowed in self._allowed
        ]

    def _weigh_allowed(self, judged, allowed, scores, prior, n_steps):
        rows = judged.totals()[1]
        tasks, unseen = np.zeros(scores.shape), np.zeros(len(allowed))
        if allowed.sum() == 1:  # nothing to choose
            tasks[:, allowed] = unseen[allowed] = 1.0
            return Shares(tasks, unseen, allowed)
        prior, part = prior[allowed], _differences(scores[:, allowed])
        if self._are_pooled[allowed].all():  # one model for all tasks
            unseen[allowed] = unseen_weights(judged.of_shared(part), rows, prior)
            tasks[:] = unseen
            return Shares(tasks, unseen, allowed).pruned()
        few_shot = self._few_shot
        if few_shot is not None:
            few_shot = _differences(few_shot[0][:, allowed]), *few_shot[1:]
        tasks[:, allowed], task_prior = task_weights(part, rows, prior, n_steps, few_shot)
        errors, rows_left_out = self._left_errors
        if len(tasks) == 1:  # all that is known of another task
            unseen = tasks[0]
        elif len(errors):
            left = judged.of_left_out(errors[:, allowed], rows_left_out, self.left.tasks)
            unseen[allowed] = self.problem.left_out_weights(*left)
        else:
            unseen[allowed] = unseen_weights(judged.of_shared(part), rows, prior)
        return Shares(tasks, unseen, allowed, task_prior).pruned()

    def _optimism(self):
        """Return by how much the errors of each of the three models are underestimated.

        The splits that estimate the errors of a model have also chosen its weights. The difference
        is estimated from the errors of each split with the weights that the other splits choose.
        It is unknown if rows are held out repeatedly, because the other splits then contain them.
        """
        judged = self.judged
        if judged.repeats > 1.0 + 1e-9 or not 2 <= len(judged.rows) <= _MOST_SPLITS:
            return [0.0] * len(self.shares)
        gaps = [0.0] * len(self.shares)
        for split in range(len(judged.rows)):  # one by one, because weights of all take memory
            others = self._weigh(judged.without(split), _STEPS_OF_OTHERS)
            for i, (shares, other) in enumerate(zip(self.shares, others, strict=True)):
                gaps[i] = gaps[i] + judged.gap(split, shares.tasks, other.tasks)
        return [judged.optimism(gap) for gap in gaps]

    def report(self, baselines, units):
        """Return cross-validated errors of the three models, per task and for an unseen task.

        Parameters
        ----------
        baselines : sequence of two bool ndarrays of shape (n_candidates,)
            All candidates that are *independent*, and all that are *pooled*.
        units : ndarray of shape (n_tasks + 1,)
            Units of the tasks' errors, and of the errors of an unseen task.
        """
        report = {}
        for name, found, optimism in zip(
            _NAMES, self._blend_errors(), self._optimism(), strict=True
        ):
            error, std_error = found
            report[f"error_{name}"] = np.r_[error + optimism, np.nan] * units
            report[f"std_error_{name}"] = np.r_[std_error, np.nan] * units
        masses = [self.shares[0].tasks[:, mask].sum(axis=1) for mask in baselines]
        used = np.select([mass > 0.5 for mass in masses], ["independent", "pooled"], "shared")
        report["used"] = np.append(used, "shared").astype(object)
        # Relative to the largest unit, because the squares of squared units could overflow.
        top, (errors, rows) = units.max(), self._left_errors
        errors = errors * (units[self.left.tasks, None] / top)
        for name, shares in (("shared", self.shares[0]), ("pooled", self.shares[2])):
            error, std_error = _left_out_error(shares.unseen, errors, rows)
            report[f"error_{name}"][-1] = error * top
            report[f"std_error_{name}"][-1] = std_error * top
        return report

    def left_out(self, units):
        """Return the left-out tasks and the errors per row of an unseen task's model on them.

        Parameters
        ----------
        units : ndarray of shape (n_tasks + 1,)
            Units of the tasks' errors.
        """
        tasks, (errors, rows) = self.left.tasks, self._left_errors
        return tasks, errors @ self.shares[0].unseen / np.maximum(rows, 1e-300) * units[tasks]

    def _blend_errors(self):
        """Return held-out errors per row of the three blends, and their standard errors."""
        first, single = self.members[0], len(self.members) == 1
        agree = [single and first.must_agree(s, s.for_new_tasks()[0]) for s in self.shares]
        free = [
            shares.tasks
            for shares, is_fixed in zip(self.shares, agree, strict=True)
            if not is_fixed
        ]
        found = iter(self.judged.errors_of_blends(free))
        return [
            self.judged.means(np.array(list(first.blend_held_out(self.judged, shares))))
            if is_fixed
            else next(found)
            for shares, is_fixed in zip(self.shares, agree, strict=True)
        ]


def _differences(scores):
    """Return scores as differences to the best candidate of each task."""
    return scores - scores.max(axis=1, keepdims=True)


def _left_out_error(shares, errors, rows):
    """Return the error per row on left-out tasks, and its standard error over tasks.

    The errors of the candidates are averaged, which is an upper bound for the error of the blend.
    """
    if len(rows) < 2:
        return np.nan, np.nan
    each = errors @ shares
    error = each.sum() / rows.sum()
    gaps = each / rows - error
    return error, np.sqrt((rows / rows.sum() * gaps**2).sum() / (len(rows) - 1))
