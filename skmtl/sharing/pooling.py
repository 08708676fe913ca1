r"""Independent, pooled, and everything between: partial pooling.

The three are one family. For squared loss, partial pooling minimises

.. math:: \sum_t \sum_{i \in t} w_i (y_i - a - a_t - x_i'(m + v_t))^2
          + \lambda_m \|m\|^2 + \lambda_a \sum_t a_t^2 + \lambda_v \sum_t \|v_t\|^2

over the shared :math:`(a, m)` and the tasks' own :math:`(a_t, v_t)`, on features standardised
over the table. :math:`\lambda_v = \lambda_a = \infty` is *pooled*; :math:`\lambda_a = 0` with
:math:`m = 0` is *independent*. For a classifier the squares give way to the log-loss, with half
of the penalties: a strength is then 1 / variance on the scale of log-odds.
"""

import numbers
from dataclasses import replace

import numpy as np

from ..guard.guard import Guard
from ..guard.shares import Shares
from .base import Sharing, SharingFit
from .restricted import make_tuner
from .restriction import FREE, UNRESTRICTED, Restriction
from .strengths import Grid, within_grid

__all__ = ["Independent", "PartialPooling", "Pooled"]

_NONE = np.array([np.inf])


def _independent_grid(slopes, intercept, metric=0):
    slopes = np.atleast_1d(np.asarray(slopes, dtype=float))
    return Grid.product(slopes, np.array([intercept]), _NONE, metric)


def _pooled_grid(ridges):
    return Grid.product(_NONE, _NONE, np.atleast_1d(np.asarray(ridges, dtype=float)))


def _choices(strength, auto, strengths):
    """The candidates of a strength: those of "auto", or the number that was given."""
    return auto if isinstance(strength, str) else strengths.given(strength)


def _limits(strengths, restriction=UNRESTRICTED):
    """Independent and pooled, as candidates: what every fit is judged against."""
    metric = 0 if restriction.varies is None else FREE  # one model a task, in all features
    return [
        _independent_grid(strengths.slopes, strengths.free, metric),
        _pooled_grid(strengths.ridges),
    ]


def _check_strength(name, value):
    if isinstance(value, str) and value == "auto":
        return
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and value >= 0:
        return
    raise ValueError(
        f"{name}={value!r} must be 'auto' or a number from 0 to infinity (a strength on "
        "standardised features)."
    )


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
            _check_strength(name, getattr(self, name))

    def fit_problem(self, problem):
        self.check()
        tuner = make_tuner(problem)
        strengths = replace(
            problem.strengths, unit=problem.copies.unit, apart=problem.apart and self.tuned
        )
        own = self.grid(problem.n_tasks, strengths)
        limits = _limits(problem.strengths, problem.restriction)
        if not problem.schemes:
            if len(own) > 1:
                auto = [n for n in self._strength_names() if isinstance(getattr(self, n), str)]
                raise ValueError(
                    f"{', '.join(auto)} of {type(self).__name__} being 'auto' needs "
                    "cross-validation, but cv=None; give numbers, or set cv=5."
                )
            ones = Shares(np.ones((problem.n_tasks, 1)), np.ones(1), np.ones(1, dtype=bool))
            return self._ready(_assemble(tuner, own, ones, None, {}, None), problem)
        problem.progress(f"screening {len(own)} candidate strengths")
        guard = Guard(tuner, tuner.screen(own, limits))
        grid, shares, judged = guard.candidates, guard.shares[0], guard.judged
        report = guard.report(limits, np.r_[problem.target_units] ** 2)
        spread = tuner.spread(report["error_shared"], judged, shares)
        return self._ready(_assemble(tuner, grid, shares, judged, report, spread), problem)

    def _ready(self, fitted, problem):
        """The fit, with an adapter that can tell a new task from the only one there was."""
        grid = self.newcomers(replace(problem.strengths, unit=problem.copies.unit))
        if problem.n_tasks > 1 or grid is None:
            return fitted
        return replace(fitted, adapter=fitted.adapter.untried(grid, problem.n_varying(grid)))

    def newcomers(self, strengths):
        """Candidates for a second task where fit saw one; None: the shared model."""
        return None


def _assemble(tuner, grid, own, judged, report, spread):
    """The final fit, on the caller's scale."""
    problem = tuner.problem
    coef, intercept, theta, residual, n_iter, thetas = tuner.solve(grid, own)
    top, unit = int(np.argmax(own.tasks.mean(0))), problem.copies.unit
    adapter = tuner.adapter(grid, own, thetas, judged, spread)
    if problem.units is not None:
        problem.units.models(coef, intercept)
        location, scale = problem.units.unseen
        theta *= scale
        theta[0] += location
    x_scale, y_scale = problem.scale[:-1], problem.scale[-1]
    x_mean, y_mean = problem.centre[:-1], problem.centre[-1]
    if spread is not None:
        spread = spread.scaled(*problem.target_units)
        report["residual_std"] = np.r_[spread.std, spread.unseen_std]
    coef = coef * x_scale / y_scale + 0.0  # a slope that is turned round is no -0.0
    shared = theta[..., 1:] * x_scale / y_scale + 0.0
    return SharingFit(
        coef=coef,
        intercept=y_mean + intercept / y_scale - coef @ x_mean,
        shared_coef=shared,
        shared_intercept=y_mean + theta[..., 0] / y_scale - shared @ x_mean,
        strengths={
            "alpha": float(grid.slope[top] / unit),
            "alpha_intercept": float(grid.intercept[top] / unit),
            "alpha_shared": float(grid.ridge[top] / unit),
            **problem.restriction.as_dict(),
        },
        history=_history(tuner, grid, own, judged),
        report=report,
        kkt_residual=residual,
        n_iter=n_iter,
        adapter=adapter,
        spread=spread,
        squares=problem.feature_squares(),
    )


def _history(tuner, grid, own, judged):
    unit = tuner.problem.copies.unit
    history = {
        "alpha": grid.slope / unit,
        "alpha_intercept": grid.intercept / unit,
        "alpha_shared": grid.ridge / unit,
        "per_feature": np.array([np.ptp(m) > 0 for m in tuner.metrics])[grid.metric],
        "within_tasks": np.array(tuner.apart)[grid.metric],
        "weight": own.tasks.mean(0),
    }
    if judged is not None:
        sse, rows = judged.totals()
        unit = tuner.problem.target_units[0] ** 2
        history["error"] = unit @ sse / max(rows.sum(), 1e-300)
    return history


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
            return _independent_grid(strengths.slopes, strengths.free)
        return _independent_grid(strengths.given(self.alpha), intercept=0.0)


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
        return _pooled_grid(strengths.ridges if auto else strengths.given(self.alpha))


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
            return _pooled_grid(ridges)
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
            slopes = _NONE
        return slopes, _choices(self.alpha_intercept, intercepts, strengths)
