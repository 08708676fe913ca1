r"""Independent models, pooled models, and partial pooling between them.

For squared errors, partial pooling minimises

.. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
          + \lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

over the shared :math:`(a, m)` and the task-specific :math:`(a_t, v_t)`, on features standardised
over the table. With :math:`\lambda_v = \lambda_a = \infty` the model is *pooled*; with
:math:`\lambda_a = 0` and :math:`m = 0` it is *independent*. A classifier minimises the log-loss
plus half of the penalties, and a strength is then 1 / variance on the scale of log-odds.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from .base import Sharing, fit_one, guarded_fit
from .restriction import Restriction
from .strengths import (
    SQUARED,
    Grid,
    baseline_grids,
    check_strength,
    independent_grid,
    pooled_grid,
    within_grid,
)

__all__ = ["Independent", "PartialPooling", "Pooled"]


def _choices(strength, auto, strengths):
    """Return the candidates of a strength: those of "auto", or the given number."""
    return auto if isinstance(strength, str) else strengths.given(strength)


class _Pooling(Sharing):
    """Base class of the structures below, which differ only in their candidates."""

    takes_scores = True

    def _strength_names(self):
        return [name for name in self.get_params(deep=False) if name.startswith("alpha")]

    @property
    def tuned(self) -> bool:
        """Whether all strengths are "auto", so that none refers to a scale of the features."""
        return all(isinstance(getattr(self, name), str) for name in self._strength_names())

    def check(self) -> None:
        """Raise a ValueError for a strength that is neither "auto" nor a number >= 0."""
        for name in self._strength_names():
            check_strength(name, getattr(self, name))

    def given_strengths(self, n_tasks: int, unit: float) -> tuple[float, float, float] | None:
        """Return the strengths on slopes, intercepts and shared slopes; None if any is tuned.

        Parameters
        ----------
        n_tasks : int
            Number of tasks.
        unit : float
            Factor of the caller's weights, by which the strengths are multiplied.

        Returns
        -------
        tuple of float, or None
            The three strengths.
        """
        if any(isinstance(getattr(self, name), str) for name in self._strength_names()):
            return None
        grid = self._grid(n_tasks, replace(SQUARED, unit=unit, within_only=False))
        return float(grid.slope[0]), float(grid.intercept[0]), float(grid.ridge[0])

    def _fit_problem(self, problem):
        strengths = replace(
            problem.strengths,
            unit=problem.strength_unit,
            within_only=problem.separates_levels and self.tuned,
        )
        grid = self._grid(problem.n_tasks, strengths)
        if problem.schemes:
            fitted = _tuned_fit(problem, grid)
        elif len(grid) > 1:
            names = self._strength_names()
            self._refuse_without_folds([n for n in names if isinstance(getattr(self, n), str)])
        else:
            fitted = fit_one(problem, problem.member(grid))
        grid = self._second_task_grid(strengths)
        if problem.n_tasks > 1 or grid is None:
            return fitted
        n_varying = problem.member(grid).n_varying
        return replace(fitted, adapter=fitted.adapter.untried(grid, n_varying))

    def _grid(self, n_tasks, strengths):
        """Return the candidates of this structure, a `Grid`, among the `Strengths`."""
        raise NotImplementedError

    def _second_task_grid(self, strengths):
        """Return candidates for new tasks after a fit on one task; None for the shared model."""
        return None


def _tuned_fit(problem, candidates):
    """Return the guarded fit of the candidates that screening selects."""
    baselines = baseline_grids(problem.strengths, problem.restriction)
    problem.progress(f"screening {len(candidates)} candidate strengths")
    short_lists, scalings = problem.screen(candidates, baselines)
    grid = Grid.concatenate(short_lists)
    allowed, baselines = (
        [grid.isin(other) for other in grids] for grids in (short_lists, baselines)
    )
    return guarded_fit(problem, [problem.member(grid, scalings)], allowed, baselines)


class Independent(_Pooling):
    r"""One ridge regression per task, without sharing.

    Each task minimises
    :math:`\sum_i w_i (y_i - a_t - x_i'v_t)^2 + \alpha \|v_t\|^2` on features standardised over
    the table or, if `alpha` is "auto", by their variation within tasks. The intercept is not
    penalised.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        Ridge strength in rows. "auto" tunes it by cross-validation for each task, with the results
        of the other tasks as a prior.

    Examples
    --------
    >>> from skmtl.sharing import Independent
    >>> Independent(alpha=1.0)
    Independent(alpha=1.0)
    """

    weighs_tasks = False
    _has_task_slopes = True

    def __init__(self, alpha: float | Literal["auto"] = "auto"):
        self.alpha = alpha

    def _grid(self, n_tasks, strengths):
        if isinstance(self.alpha, str):
            return independent_grid(strengths.slopes, strengths.free_intercept)
        return independent_grid(strengths.given(self.alpha), intercept=0.0)


class Pooled(_Pooling):
    r"""One ridge regression for all tasks.

    It minimises :math:`\sum_i w_i (y_i - a - x_i'm)^2 + \alpha \|m\|^2` on features standardised
    over the table, like scikit-learn's ``Ridge(alpha)`` after a ``StandardScaler``.

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

    def __init__(self, alpha: float | Literal["auto"] = "auto"):
        self.alpha = alpha

    def _grid(self, n_tasks, strengths):
        return pooled_grid(_choices(self.alpha, strengths.ridges, strengths))


class PartialPooling(_Pooling):
    r"""One linear model per task, shrunk towards a shared one.

    It minimises, over the shared :math:`(a, m)` and the task-specific :math:`(a_t, v_t)`,

    .. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
              + \lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

    on features standardised over the table. If all strengths are "auto", features are scaled by
    their variation within tasks instead, task-specific slopes are centred at the tasks' means, and
    shared slopes within tasks may differ from those between tasks (Mundlak 1978). Candidates are
    then cross-validated exactly on block-wise moments and *averaged* with weights per task, which
    depend on the errors of the task and on those of tasks of similar size. Sharing is guarded: as
    independent and pooled models are among the candidates, a task that sharing would hurt falls
    back to them. If the slopes of some features vary by task much more than those of others,
    candidates with a learned variance per feature are added.

    `MultiTaskClassifier` minimises the log-loss plus half of the penalties. Its candidates are
    screened on a quadratic approximation of the log-loss and then fitted by Newton's method, and
    strengths are 1 / variance on the scale of log-odds rather than rows.

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        :math:`\lambda_v`, strength that shrinks the tasks' slopes towards the shared ones, in rows.
        With a number there is no guard: 0 gives independent models, infinity pooled ones.
    alpha_intercept : "auto" or float, default="auto"
        :math:`\lambda_a`, strength that shrinks the tasks' intercepts. "auto" is the value of
        `alpha` if that is a number.
    alpha_shared : "auto" or float, default="auto"
        :math:`\lambda_m`, ridge strength on the shared slopes.
    varying : sequence of str or int, default=None
        Features whose slopes differ by task, by name or by index among the features (those after
        preprocessing; the task column is not counted). For all other features,
        :math:`v_{tj} = 0`: their slopes are exactly the shared ones in every task. With an empty
        sequence only the intercepts differ; None stands for all features. With `varying`, tasks
        fall back to the pooled model and to unshared slopes of these features, not to independent
        models; the report still compares with independent models.
    positive, negative : sequence of str or int, default=None
        Features whose slopes are at least, or at most, zero, in every task and in the shared model;
        only for `MultiTaskRegressor`. Candidates are screened without these signs, and then
        cross-validated and averaged with them, so that all models in the report have these signs,
        those of independent and pooled as well. A fitted model has masks of the listed features:
        ``sharing_.varying_``, ``sharing_.positive_`` and ``sharing_.negative_``.

    Raises
    ------
    ValueError
        In `fit`, for an invalid strength, for an unknown feature, and for a feature that is both in
        `positive` and in `negative`.

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
        alpha: float | Literal["auto"] = "auto",
        *,
        alpha_intercept: float | Literal["auto"] = "auto",
        alpha_shared: float | Literal["auto"] = "auto",
        varying: Sequence[str | int] | None = None,
        positive: Sequence[str | int] | None = None,
        negative: Sequence[str | int] | None = None,
    ):
        self.alpha = alpha
        self.alpha_intercept = alpha_intercept
        self.alpha_shared = alpha_shared
        self.varying = varying
        self.positive = positive
        self.negative = negative

    def restriction(self, names: Sequence[str]) -> Restriction:
        """Return the restriction of the slopes.

        Parameters
        ----------
        names : sequence of str
            Names of the features.

        Returns
        -------
        Restriction
            Features whose slopes differ by task, and features whose slopes have a sign.
        """
        return Restriction.of(self.varying, self.positive, self.negative, names)

    @property
    def _has_task_slopes(self):
        return self.varying is None

    def _grid(self, n_tasks, strengths):
        ridges = _choices(self.alpha_shared, strengths.ridges, strengths)
        if n_tasks == 1:  # a plain ridge
            return pooled_grid(ridges)
        slopes, intercepts = self._task_strengths(strengths)
        grid = Grid.product(slopes, intercepts, ridges)
        if not strengths.within_only:
            return grid
        slopes = slopes[:: -strengths.within_step][::-1]
        return Grid.concatenate([grid, within_grid(slopes, intercepts, ridges)])

    def _second_task_grid(self, strengths):
        return Grid.product(*self._task_strengths(strengths), np.zeros(1))

    def _task_strengths(self, strengths):
        """Return the candidates' strengths on task-specific slopes and intercepts."""
        slopes = _choices(self.alpha, strengths.slopes, strengths)
        intercepts = strengths.intercepts if isinstance(self.alpha, str) else slopes
        if self.varying is not None and not len(self.varying):
            slopes = np.array([np.inf])
        return slopes, _choices(self.alpha_intercept, intercepts, strengths)
