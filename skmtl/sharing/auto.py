"""The choice among linear models and learners of any kind."""

import time
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from .base import Sharing, SharingFit
from .learned.blend import fit_blend
from .learned.learners import BoostedTrees, Forest, SmoothRidge
from .learned.members import FEWEST_TO_DROP, LearnedMember, fit_splits
from .learned.wrapped import Wrapped
from .pooling import PartialPooling

__all__ = ["Auto"]

# Fewest rows in a leaf of a forest.
_LEAF, _LEAF_OF_CLASSES = 3, 10


class Auto(Sharing):
    r"""Blend of linear models with partial pooling and of learners that bend.

    The prediction of a row of task :math:`t` is a weighted average over members

    .. math:: f_t(x) = \sum_m w_{m}(n_t)\, f_{m,t}(x), \qquad
              w_m \ge 0, \quad \sum_m w_m = 1,

    (of log-odds or scores, in a classification) of the linear models of `PartialPooling`, which are
    always the first member, and of

    - ``"smooth"``: the linear models plus a ridge regression on splines, squares and products of
      the features, fitted on what the linear models leave over;
    - ``"forest"``: a random forest that sees the mean target of the task;
    - ``"forest_residuals"``: the linear models plus a forest on what they leave over;
    - ``"boosted"``: boosted trees that see the task as a category (its mean target if there are
      more than 254 tasks).

    In a classification, what the linear models leave over are the working responses of Newton's
    method (Friedman et al. 2000), for two classes; with more than two, learners of residuals are
    left out.

    Every member is fitted in the splits of `cv`, and predicts the rows that were held out. The
    weights minimise the squared errors of these predictions, each task relative to its noise, or
    their log-losses, among tasks of similar numbers of rows :math:`n_t`. They are shrunk towards
    those of the linear models alone, by how many standard errors the blend is better, and equal to
    these at one standard error or less (two for a size of fewer than eight tasks, if no other size
    shows more than one), so that most tables without curvature keep a linear model.
    Learners are guarded like this, not guaranteed to help.

    Losses other than the squared error and the log-loss are minimised by linear models alone.

    With several task columns, one of which is nested in a later one, the linear models are those
    of `TaskTree` where these predict better than the flat ones.

    A member is dropped after the first splits if it cannot improve the blend of those before it.
    Smooth functions are tried from 50 rows on, forests from 150, boosting from 300. Tables of more
    than 20,000 rows, or 5,000 rows and a million numbers, are judged on one split.

    Parameters
    ----------
    time_budget : float, default=None
        Seconds after which no further member is begun. Results may then depend on the clock.

    See Also
    --------
    PartialPooling : The linear models alone.
    skmtl.inspection.MemberReportDisplay : A picture of the members' errors and weights.

    References
    ----------
    Breiman, L. (1996). Stacked regressions. Machine Learning 24. :doi:`10.1007/BF00117832`

    Friedman, J., Hastie, T. and Tibshirani, R. (2000). Additive logistic regression: a statistical
    view of boosting. Annals of Statistics 28. :doi:`10.1214/aos/1016218223`

    James, W. and Stein, C. (1961). Estimation with quadratic loss. Proceedings of the Fourth
    Berkeley Symposium 1, 361-379 (the shrinkage of the weights)

    Sigrist, F. (2022). Gaussian process boosting. Journal of Machine Learning Research 23(232).

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import Auto
    >>> MultiTaskRegressor(Auto(time_budget=60.0)).get_params()["sharing__time_budget"]
    60.0
    """

    _has_task_slopes = takes_scores = True  # by its linear models

    def __init__(self, *, time_budget: float | None = None):
        self.time_budget = time_budget

    def check(self) -> None:
        """Raise a ValueError for a time budget that is not a positive number."""
        budget = self.time_budget
        if budget is not None and (
            isinstance(budget, (bool, str)) or not np.isreal(budget) or not budget > 0
        ):
            raise ValueError(
                f"time_budget={budget!r} must be a positive number of seconds, or None."
            )

    def _members(self, problem):
        """Return a list of the members besides the linear models, the cheapest ones first."""
        # Working responses of a classification are noisier than residuals.
        residuals = Forest(task=None, min_leaf=_LEAF_OF_CLASSES if problem.n_classes else _LEAF)
        members = [
            LearnedMember("smooth", SmoothRidge(), on_residuals=True),
            LearnedMember("forest", Forest(min_leaf=_LEAF)),
            LearnedMember("forest_residuals", residuals, on_residuals=True),
            LearnedMember("boosted", BoostedTrees()),
        ]
        estimator = problem.estimator
        if estimator is not None:
            # A classifier predicts no residuals.
            on_residuals = not is_classifier(estimator)
            blind = "estimator_residuals" if on_residuals else "estimator_blind"
            members.append(LearnedMember(blind, Wrapped(estimator), on_residuals))
            members.append(LearnedMember("estimator", Wrapped(estimator, "encoded")))
        return members

    def fit_rows(self, problem: Any) -> SharingFit:
        """Fit and weigh the members.

        Parameters
        ----------
        problem : RowProblem
            The data.

        Returns
        -------
        SharingFit
            The linear models, with a `LearnedFit`.
        """
        return self._fit_rows(problem)

    def _fit_rows(self, problem):
        members = self._members(problem)
        # Predictions of training rows take most of the time of a small fit.
        nested = any(one.on_residuals and one.refusal(problem) is None for one in members)
        n_splits = problem.n_judged_splits if nested else 0
        linear = problem.fit_linear(PartialPooling(), nested_splits=n_splits)
        problem.use_units(linear.held_out.location, linear.held_out.scale)
        base = problem.standardised(linear.held_out.nested)
        first = problem.averaged(base)
        for member in members:
            member.base = base if member.on_residuals else None
            member.one_split = problem.n_judged_splits == 1
            member.dropped = member.refusal(problem)
        self._judge(problem, members, first)
        return fit_blend(problem, linear, first, members)

    def _judge(self, problem, members, linear):
        """Fit members in the splits, and drop those that cannot improve the blend."""
        start = time.monotonic()
        if self.time_budget is None:
            _judge_together(problem, linear, [], members)
            return
        for n, member in enumerate(members):
            if member.dropped is None and time.monotonic() - start > self.time_budget:
                member.drop("time_budget was used up")
            _judge_together(problem, linear, members[:n], [member])


def _judge_together(problem, linear, before, members):
    """Fit members in the first splits, and those that are not dropped then in all splits.

    Parameters
    ----------
    problem : RowProblem
    linear : ndarray of shape (n_rows, n_scores)
        Scores of the linear models.
    before : list of LearnedMember
        Members that were judged before.
    members : list of LearnedMember
    """

    def can_gain(scores, rows):
        others = [linear[rows]]
        for held_out in (one.held_out[rows] for one in found):
            others.append(np.where(np.isnan(held_out), linear[rows], held_out))
        return problem.held_out(np.stack(others, axis=1), rows).can_gain(
            problem.held_out(scores[:, None], rows)
        )

    found = _live(before)
    n_first = problem.n_splits_with(FEWEST_TO_DROP)
    fit_splits(problem, _live(members), last=n_first)
    for member in _live(members):
        member.drop_unless_better(can_gain)
        found.extend(_live([member]))
    fit_splits(problem, _live(members), first=n_first)


def _live(members):
    return [member for member in members if member.dropped is None]
