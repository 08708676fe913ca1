"""The choice among linear models and learners of any kind."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..guard.residuals import ResidualScale
from ..guard.stacking import StackedWeights, simplex_weights
from .base import Sharing, SharingFit
from .learned.learners import BoostedTrees, Forest, SmoothRidge
from .learned.members import LearnedMember
from .learned.model import LearnedFit, LearnedModel
from .learned.wrapped import Wrapped
from .pooling import PartialPooling

__all__ = ["Auto"]

# Fewest left-out tasks that say whether learners help an unseen task.
_FEWEST_LEFT_OUT = 3
_MOST_OFFSET_ROWS = 1e6


class Auto(Sharing):
    r"""Blend of linear models with partial pooling and of learners that bend.

    The prediction of a row of task :math:`t` is a weighted average over members

    .. math:: f_t(x) = \sum_m w_{m}(n_t)\, f_{m,t}(x), \qquad
              w_m \ge 0, \quad \sum_m w_m = 1,

    of the linear models of `PartialPooling`, which are always the first member, and of

    - ``"smooth"``: the linear models plus a ridge regression on splines, squares and products of
      the features, fitted on what the linear models leave over;
    - ``"forest"``: a random forest that sees the mean target of the task;
    - ``"forest_residuals"``: the linear models plus a forest on what they leave over;
    - ``"boosted"``: boosted trees that see the task as a category (its mean target if there are
      more than 254 tasks).

    Every member is fitted in the splits of `cv`, and predicts the rows that were held out. The
    weights minimise the squared errors of these predictions, each task relative to its noise, among
    tasks of similar numbers of rows :math:`n_t`. They are those of the linear models alone unless
    the blend is better by more than two standard errors, so that a table without curvature keeps a
    linear model. Learners are guarded like this, not guaranteed to help.

    Parameters
    ----------
    time_budget : float, default=None
        Seconds after which no further member is begun. Results may then depend on the clock.

    See Also
    --------
    PartialPooling : The linear models alone.

    References
    ----------
    Breiman, L. (1996). Stacked regressions. Machine Learning 24. :doi:`10.1007/BF00117832`

    Sigrist, F. (2022). Gaussian process boosting. Journal of Machine Learning Research 23(232).

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import Auto
    >>> MultiTaskRegressor(Auto(time_budget=60.0)).get_params()["sharing__time_budget"]
    60.0
    """

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

    def _members(self, base, estimator=None):
        """Return the members besides the linear models, the cheapest ones first.

        Parameters
        ----------
        base : ndarray of shape (n_splits, n_rows)
            Predictions of the linear models (`LearnedMember`).
        estimator : regressor, default=None
            A further learner.

        Returns
        -------
        list of LearnedMember
        """
        members = [
            LearnedMember("smooth", SmoothRidge(), base),
            LearnedMember("forest", Forest()),
            LearnedMember("forest_residuals", Forest(task=None), base),
            LearnedMember("boosted", BoostedTrees()),
        ]
        if estimator is not None:
            members.append(LearnedMember("estimator_residuals", Wrapped(estimator), base))
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
        linear = problem.fit_linear(PartialPooling())
        problem.use_units(linear.held_out.location, linear.held_out.scale)
        base = problem.standardised(linear.held_out.nested)
        first = problem.averaged(base)
        members = self._judge(problem, base, first)
        judged = [member for member in members if member.dropped is None]
        codes, live = problem.rows.codes, np.isfinite(first)
        for member in judged:
            live &= np.isfinite(member.held_out)
        predicted = np.column_stack([first, *(member.held_out for member in judged)])
        errors = (predicted - problem.target[:, None])[live]
        by_size = StackedWeights.learn(errors, problem.weight[live], codes[live], problem.n_tasks)
        rows = np.bincount(codes, problem.weight, minlength=problem.n_tasks)
        tasks = by_size.of_tasks(rows, errors, problem.weight[live], codes[live])
        kept = np.append(True, (tasks[:, 1:] > 0).any(axis=0))
        used = [member for member, k in zip(judged, kept[1:], strict=True) if k]
        for member in used:
            problem.progress(f"{member.name}: final fit")
            member.finish(problem)
        by_size = replace(by_size, weights=by_size.weights[:, kept])
        unseen, unseen_error, offset_rows = self._unseen(
            problem, linear.held_out, used, tasks[:, kept]
        )
        weights = np.vstack([tasks[:, kept], unseen])
        held_out = np.einsum("im,im->i", errors[:, kept], weights[codes[live]])
        report, residual_scale, standard_scale = self._report(
            problem, linear, held_out, live, weights, unseen_error
        )
        names = np.array(["linear", *(member.name for member in used)], dtype=object)
        report["used"][:] = np.where(
            weights.argmax(axis=1) > 0, names[weights.argmax(axis=1)], report["used"]
        )
        member_report = _member_report(problem, members, judged, errors, live, tasks, kept, unseen)
        model = None
        if used:
            # The adapter of the linear models, with the noise of the blend.
            noise = (
                linear.adapter.noise
                * np.nanmedian(residual_scale.std / linear.residual_scale.std) ** 2
            )
            adapter = replace(
                linear.adapter, residual_scale=replace(standard_scale, std=None), noise=noise
            )
            model = LearnedModel(
                replace(linear, adapter=adapter, held_out=None, report={}),
                [member.fitted() for member in used],
                weights,
                by_size,
                problem.location,
                problem.scale,
                offset_rows,
            )
        return replace(
            linear,
            report=report,
            residual_scale=residual_scale,
            learned=LearnedFit(model, member_report),
        )

    def _judge(self, problem, base, linear):
        """Return the members with held-out predictions, or with the reason why they have none."""
        members, start = self._members(base, problem.estimator), time.monotonic()
        predictions = [linear]

        def best(rows):
            return min(
                np.average((p - problem.target)[rows] ** 2, weights=problem.weight[rows])
                for p in predictions
            )

        for member in members:
            member.dropped = member.refusal(problem)
            if member.dropped is None and self.time_budget is not None:
                if time.monotonic() - start > self.time_budget:
                    member.dropped = "time_budget was used up"
            if member.dropped is None:
                member.judge(problem, best)
            if member.dropped is None:
                predictions.append(np.where(np.isnan(member.held_out), linear, member.held_out))
        return members

    @staticmethod
    def _unseen(problem, linear, used, tasks):
        """Return weights for an unseen task, its error, and the rows of the members' offsets.

        They come from tasks that are left out of all fits.
        """
        left = linear.left
        share = np.bincount(problem.rows.codes, problem.weight) @ tasks / problem.weight.sum()
        offset_rows = np.full(len(used), _MOST_OFFSET_ROWS)
        if not used:
            return share, None, offset_rows
        first = np.eye(1 + len(used))[0]
        if len(left) < _FEWEST_LEFT_OUT:
            return (share if problem.n_tasks == 1 else first), None, offset_rows
        rows = np.flatnonzero(np.isin(problem.rows.codes, left))
        part = problem.rows.take(rows)
        model, codes = linear.unseen, part.codes
        part.codes = np.full(len(rows), -1)
        location, scale = problem.location[-1], problem.scale[-1]
        first_part = (part.X @ model[1:] + model[0] - location) / scale
        columns = [first_part]
        for member in used:
            found = member.fit_without(problem, left).predict(part)
            columns.append(found + first_part if member.on_residuals else found)
        errors = np.column_stack(columns) - ((problem.y[rows] - location) / scale)[:, None]
        weight = problem.weight[rows]
        for m, member in enumerate(used):
            if not member.on_residuals:
                offset_rows[m] = _offset_rows(errors[:, 1 + m], weight, codes)
        mean = np.array([_mean_gram(errors[codes == t], weight[codes == t]) for t in left])
        weights = simplex_weights(mean.mean(axis=0))
        gain = mean[:, 0, 0] - np.einsum("m,tmk,k->t", weights, mean, weights)
        if not gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            weights = first
        total = np.bincount(codes, weight)[left]
        error = (errors @ weights) ** 2 @ weight / total.sum()
        return weights, error, offset_rows

    @staticmethod
    def _report(problem, linear, errors, live, weights, unseen_error):
        """Return the report with the errors of the blend, and the scale of its residuals."""
        codes, weight = problem.rows.codes[live], problem.weight[live]
        n_tasks, scale = problem.n_tasks, problem.scale
        rows = np.bincount(codes, weight, minlength=n_tasks)
        sse = np.bincount(codes, weight * errors**2, minlength=n_tasks)
        report = {name: column.copy() for name, column in linear.report.items()}
        if weights.shape[1] == 1:
            return report, linear.residual_scale, None
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sse / rows
            spread = np.bincount(codes, weight * (errors**2 - mean[codes]) ** 2, minlength=n_tasks)
            std_error = np.sqrt(spread / rows / np.maximum(rows - 1.0, 0.0))
        report["error_shared"][:-1] = mean * scale[:-1] ** 2
        report["std_error_shared"][:-1] = std_error * scale[:-1] ** 2
        if unseen_error is not None:
            report["error_shared"][-1] = unseen_error * scale[-1] ** 2
        unseen = report["error_shared"][-1] / scale[-1] ** 2
        standard = ResidualScale.learn(sse, rows, unseen, _RowErrors(errors, codes, weight))
        residual_scale = standard.scaled(scale[:-1], scale[-1])
        report["residual_std"] = np.r_[residual_scale.std, residual_scale.unseen_std]
        return report, residual_scale, standard


@dataclass
class _RowErrors:
    """Errors of rows as `ResidualScale.learn` reads them from a `Probe`."""

    values: np.ndarray
    task: np.ndarray
    weight: np.ndarray
    found: bool = True

    def errors(self, shares):
        return self.values, np.arange(len(self.values))


def _mean_gram(errors, weight):
    return (errors * weight[:, None]).T @ errors / weight.sum()


def _offset_rows(errors, weight, codes):
    """Return the ratio of the variance within tasks to that of the tasks' mean errors."""
    tasks, codes = np.unique(codes, return_inverse=True)
    rows = np.bincount(codes, weight)
    mean = np.bincount(codes, weight * errors) / rows
    within = weight @ (errors - mean[codes]) ** 2 / max(weight.sum() - len(tasks), 1.0)
    between = np.mean(mean**2 - within / rows)
    return min(within / max(between, 1e-300), _MOST_OFFSET_ROWS)


def _member_report(problem, members, judged, errors, live, tasks, kept, unseen):
    """Return one row per member: its error, where it was used, and why it was not."""
    weight, unit = problem.weight[live], problem.scale[problem.rows.codes[live]]
    rows = np.bincount(problem.rows.codes, problem.weight, minlength=problem.n_tasks)
    error = dict(
        zip(
            ["linear", *(member.name for member in judged)],
            np.average((errors * unit[:, None]) ** 2, axis=0, weights=weight),
            strict=True,
        )
    )
    share = dict(zip(error, rows @ tasks / rows.sum(), strict=True))
    n_used = dict(zip(error, (tasks > 0).sum(axis=0), strict=True))
    of_unseen = dict(zip(np.array(list(error))[kept], unseen, strict=True))
    names = ["linear", *(member.name for member in members)]
    reasons = {member.name: member.dropped for member in members}
    status = [
        reasons.get(name) or ("used" if share[name] > 0 else "no better than the others")
        for name in names
    ]
    return {
        "member": np.array(names, dtype=object),
        "error": np.array([error.get(name, np.nan) for name in names]),
        "weight": np.array([share.get(name, 0.0) for name in names]),
        "n_tasks": np.array([n_used.get(name, 0) for name in names]),
        "weight_unseen": np.array([of_unseen.get(name, 0.0) for name in names]),
        "status": np.array(status, dtype=object),
    }
