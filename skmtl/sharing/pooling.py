r"""Independent, pooled, and everything between: partial pooling.

The three are one family. For squared loss, partial pooling minimises

.. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
          + \lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

over the shared :math:`(a, m)` and the tasks' own :math:`(a_t, v_t)`, on features standardised
over the table. :math:`\lambda_v = \lambda_a = \infty` is *pooled*; :math:`\lambda_a = 0` with
:math:`m = 0` is *independent*. For a classifier the squares give way to the log-loss, with half
of the penalties: a strength is then 1 / variance on the scale of log-odds.
"""

from dataclasses import replace

import numpy as np

from .base import Sharing, fit_one, guarded_fit
from .restriction import Restriction
from .strengths import (
    Grid,
    check_strength,
    independent_grid,
    limit_grids,
    pooled_grid,
    within_grid,
)

__all__ = ["Independent", "PartialPooling", "Pooled"]


def _choices(strength, auto, strengths):
    """The candidates of a strength: those of "auto", or the number that was given."""
    return auto if isinstance(strength, str) else strengths.given(strength)


class _Pooling(Sharing):
    """Fits any of the family; the structures below differ in their candidates only."""

    def _strength_names(self):
        return [name for name in self.get_params(deep=False) if name.startswith("alpha")]

    @property
    def tuned(self):
        """Whether all strengths are "auto": no number refers to a scale of the features."""
        return all(isinstance(getattr(self, name), str) for name in self._strength_names())

    def check(self):
        """Raise a ValueError for a strength that is neither 'auto' nor a number >= 0."""
        for name in self._strength_names():
            check_strength(name, getattr(self, name))

    def fit_problem(self, problem):
        self.check()
        strengths = replace(
            problem.strengths, unit=problem.copies.unit, apart=problem.apart and self.tuned
        )
        own = self.grid(problem.n_tasks, strengths)
        if problem.schemes:
            limits = limit_grids(problem.strengths, problem.restriction)
            problem.progress(f"screening {len(own)} candidate strengths")
            families, scalings = problem.screen(own, limits)
            grid = Grid.concatenate(families)
            families, limits = (
                [grid.members(some) for some in lists] for lists in (families, limits)
            )
            fitted = guarded_fit(problem, [problem.member(grid, scalings)], families, limits)
        elif len(own) > 1:
            names = self._strength_names()
            self.refuse_without_folds([n for n in names if isinstance(getattr(self, n), str)])
        else:
            fitted = fit_one(problem, problem.member(own))
        grid = self.newcomers(replace(problem.strengths, unit=problem.copies.unit))
        if problem.n_tasks > 1 or grid is None:
            return fitted
        # An adapter that can tell a new task from the only one there was.
        n_varying = problem.member(grid).n_varying
        return replace(fitted, adapter=fitted.adapter.untried(grid, n_varying))

    def grid(self, n_tasks, strengths):
        """The candidates of this structure, a `Grid`, of the `Strengths` to choose from."""
        raise NotImplementedError

    def newcomers(self, strengths):
        """Candidates for a second task where fit saw one; None: the shared model."""
        return None


class Independent(_Pooling):
    r"""One ridge a task, nothing shared.

    Each task minimises
    :math:`\sum_i w_i (y_i - a_t - x_i'v_t)^2 + \alpha \|v_t\|^2` on features standardised over
    the table; with "auto" by their spread within tasks. The intercept is free.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Ridge strength in rows. "auto" tunes it by cross-validation, task by task with the
        others' verdict as a prior.

    Examples
    --------
    >>> from skmtl.sharing import Independent
    >>> Independent(alpha=1.0)
    Independent(alpha=1.0)
    """

    def __init__(self, alpha="auto"):
        self.alpha = alpha

    def grid(self, n_tasks, strengths):
        if isinstance(self.alpha, str):
            return independent_grid(strengths.slopes, strengths.free)
        return independent_grid(strengths.given(self.alpha), intercept=0.0)


class Pooled(_Pooling):
    r"""One ridge for all tasks; the task is ignored.

    Minimises :math:`\sum_i w_i (y_i - a - x_i'm)^2 + \alpha \|m\|^2` on features standardised
    over the table: scikit-learn's ``Ridge(alpha)`` behind a ``StandardScaler``.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Ridge strength in rows. "auto" tunes it by cross-validation.

    Examples
    --------
    >>> from skmtl.sharing import Pooled
    >>> Pooled(alpha=1.0)
    Pooled(alpha=1.0)
    """

    def __init__(self, alpha="auto"):
        self.alpha = alpha

    def grid(self, n_tasks, strengths):
        auto = isinstance(self.alpha, str)
        return pooled_grid(strengths.ridges if auto else strengths.given(self.alpha))


class PartialPooling(_Pooling):
    r"""Every task has its own linear model, drawn towards a shared one.

    Minimises, over the shared :math:`(a, m)` and the tasks' own :math:`(a_t, v_t)`,

    .. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
              + \lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

    on features standardised over the table. Where all strengths are "auto", features are on the
    scale of their spread within tasks instead, a task's own slopes turn about its own mean, and
    shared slopes within tasks may be told from those between them (Mundlak 1978). Candidates are
    then cross-validated exactly on block-wise moments and *averaged*, with weights of each task's
    own: the verdict of tasks of about its size, and its own. As independent and pooled are among
    the candidates, a task that sharing would hurt falls back to them: it is guarded. Where the
    tasks' slopes vary much more in some features than in others, candidates with a learned
    variance for each feature join.

    In `MultiTaskClassifier` the log-loss takes the place of the squares, with half of the
    penalties; candidates are screened on a quadratic model of it and then judged by Newton's
    method, and strengths are 1 / variance on the scale of log-odds rather than rows.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        :math:`\lambda_v`, strength that draws the tasks' slopes to the shared ones, in rows.
        A number fixes it, and then there is no guard: 0 is independent, infinity is pooled.
    alpha_intercept : "auto" or float, default="auto"
        :math:`\lambda_a`, the same for intercepts. "auto" follows `alpha` where that is a number.
    alpha_shared : "auto" or float, default="auto"
        :math:`\lambda_m`, ridge strength on the shared slopes.
    varying : sequence of str or int, default=None
        Features whose slopes differ by task, by name or by index among the features (those after
        preprocessing; the task column is not counted): :math:`v_{tj} = 0` for all others, whose
        slopes are exactly the shared ones in every task. An empty sequence leaves the intercepts
        only; None is all features. Tasks then fall back to the pooled model and to slopes of
        their own in these features, not to independent models; the report goes on comparing
        with those.
    positive, negative : sequence of str or int, default=None
        Features whose slopes are at least, or at most, zero, in every task and shared; in
        `MultiTaskRegressor` only. The candidates are screened without the signs; those that go
        on are cross-validated and blended with them, so that the report is of signed models,
        those of independent and pooled too. A fitted model has masks of what was listed:
        ``sharing_.varying_``, ``sharing_.positive_`` and ``sharing_.negative_``.

    Raises
    ------
    ValueError
        In the fit, for a strength that is none, for a feature that is not there, and for one
        that is both in `positive` and in `negative`.

    References
    ----------
    Mundlak, Y. (1978). On the pooling of time series and cross section data. Econometrica 46(1).
    :doi:`10.2307/1913646`

    Evgeniou, T. and Pontil, M. (2004). Regularized multi-task learning. KDD.
    :doi:`10.1145/1014052.1014067`

    Gelman, A. and Hill, J. (2007). Data Analysis Using Regression and Multilevel/Hierarchical
    Models. Cambridge University Press. :doi:`10.1017/CBO9780511790942`

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import PartialPooling
    >>> MultiTaskRegressor(PartialPooling(alpha=10.0)).get_params()["sharing__alpha"]
    10.0

    A price can only lower sales, and only its effect differs by store:

    >>> PartialPooling(varying=["price"], negative=["price"])
    PartialPooling(negative=['price'], varying=['price'])
    """

    def __init__(
        self,
        alpha="auto",
        *,
        alpha_intercept="auto",
        alpha_shared="auto",
        varying=None,
        positive=None,
        negative=None,
    ):
        self.alpha = alpha
        self.alpha_intercept = alpha_intercept
        self.alpha_shared = alpha_shared
        self.varying = varying
        self.positive = positive
        self.negative = negative

    def restriction(self, names):
        return Restriction.of(self.varying, self.positive, self.negative, names)

    def grid(self, n_tasks, strengths):
        ridges = _choices(self.alpha_shared, strengths.ridges, strengths)
        if n_tasks == 1:  # one task has nothing to share: the plain ridge
            return pooled_grid(ridges)
        slopes, intercepts = self._own_strengths(strengths)
        grid = Grid.product(slopes, intercepts, ridges)
        if not strengths.apart:
            return grid
        some = slopes[:: -strengths.every][::-1]
        return Grid.concatenate([grid, within_grid(some, intercepts, ridges)])

    def newcomers(self, strengths):
        return Grid.product(*self._own_strengths(strengths), np.zeros(1))

    def _own_strengths(self, strengths):
        slopes = _choices(self.alpha, strengths.slopes, strengths)
        intercepts = strengths.intercepts if isinstance(self.alpha, str) else slopes
        if self.varying is not None and not len(self.varying):
            slopes = np.array([np.inf])
        return slopes, _choices(self.alpha_intercept, intercepts, strengths)
