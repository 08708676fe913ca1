"""The blend of linear models and learners that have been judged: its weights, fit and report."""

from dataclasses import dataclass, replace

import numpy as np

from ...guard.residuals import ResidualScale
from ...guard.stacking import StackedWeights, unseen_blend
from .design import encoded
from .members import finish, fit_on
from .model import LearnedFit, LearnedModel

__all__ = ["RowErrors", "fit_blend"]

# Fewest left-out tasks that say whether learners help an unseen task.
_FEWEST_LEFT_OUT = 2
_MOST_OFFSET_ROWS = 1e6


def fit_blend(problem, linear, first, members):
    """Return the `SharingFit` of linear models and learners, weighed by their held-out rows.

    Parameters
    ----------
    problem : RowProblem
    linear : SharingFit
        The linear models, with `HeldOut` predictions.
    first : ndarray of shape (n_rows, n_scores)
        Their scores of held-out rows.
    members : list of LearnedMember
        Those that were judged have held-out scores, the others a reason why they have none.
    """
    judged = [member for member in members if member.dropped is None]
    scores = np.stack([first, *(member.held_out for member in judged)], axis=1)
    live = np.isfinite(scores).all(axis=(1, 2))
    scores, held_out = scores[live], problem.held_out(scores[live], live)
    by_size = StackedWeights.learn(held_out)
    tasks = by_size.of_tasks(problem.task_rows, held_out)
    kept = np.append(True, (tasks[:, 1:] > 0).any(axis=0))
    used = [member for member, k in zip(judged, kept[1:], strict=True) if k]
    problem.progress("final fits")
    finish(problem, used)
    unseen, left, offset_rows = _unseen(problem, linear.held_out, used, tasks[:, kept])
    weights = np.vstack([tasks[:, kept], unseen])
    names = ["linear", *(member.name for member in judged)]
    errors = dict(zip(names, problem.mean_errors(scores, live), strict=True))
    found = _MemberWeights(names, kept, tasks, unseen, problem.task_rows)
    fitted = replace(
        linear, report={name: column.copy() for name, column in linear.report.items()},
        learned=LearnedFit(None, found.report(members, errors)),
    )  # fmt: skip
    if not used:
        return fitted
    found.name_used(fitted.report, weights)
    blend = np.einsum("imk,im->ik", scores, tasks[held_out.codes])
    losses = problem.losses(blend, live)
    _set_errors(fitted.report, problem, held_out, losses, left, unseen)
    if problem.n_classes:
        of_left = None if left is None else left.label_scores(problem, unseen)
        fitted.set_thresholds = problem.set_thresholds(blend, live, of_left)
    adapter = linear.adapter
    if linear.residual_scale is not None:
        residuals = (blend - problem.encoded[live])[:, 0]
        fitted.residual_scale, adapter = _residual_scale(
            fitted.report, problem, linear, held_out, residuals
        )
    fitted.learned.model = LearnedModel(
        replace(linear, adapter=adapter, held_out=None, report={}),
        [member.fitted() for member in used],
        weights,
        replace(by_size, weights=by_size.weights[:, kept]),
        problem.location,
        problem.scale,
        offset_rows,
        problem.loss,
    )
    return fitted


def _unseen(problem, linear, used, tasks):
    """Return weights for an unseen task, `_LeftRows`, and the rows of the members' offsets.

    They come from tasks that are left out of all fits; the second is None if there are too few.
    """
    left = linear.left
    share = problem.task_rows @ tasks / problem.weight.sum()
    offset_rows = np.full(len(used), _MOST_OFFSET_ROWS)
    if not used:
        return share, None, offset_rows
    if len(left) < _FEWEST_LEFT_OUT:
        first = np.eye(1 + len(used))[0]
        return (share if problem.n_tasks == 1 else first), None, offset_rows
    rows = np.flatnonzero(np.isin(problem.rows.codes, left))
    part, location, scale = problem.rows.take(rows), problem.location[-1], problem.scale[-1]
    part.codes = np.full(len(rows), -1)
    first = part.X @ linear.unseen[:, 1:].T + linear.unseen[:, 0]
    if linear.offsets is not None:
        first = first + linear.offsets[rows, None]
    columns = [(first - location) / scale]
    others = ~np.isin(problem.rows.codes, left)
    for member, model in zip(used, fit_on(problem, used, others), strict=True):
        found = model.predict(part)
        columns.append(found + columns[0] if member.on_residuals else found)
    target = encoded((problem.y[rows] - location) / scale, problem.n_scores)
    held_out = problem.held_out(np.stack(columns, axis=1), rows, target)
    weights = unseen_blend(held_out)
    for m, member in enumerate(used):
        if not member.on_residuals:
            offset_rows[m] = _offset_rows(problem, columns[1 + m], target, held_out)
    return weights, _LeftRows(rows, held_out), offset_rows


def _offset_rows(problem, scores, target, held_out):
    """Return the curvature of the loss by which the offset of a new task is shrunk.

    It is the ratio of the noise of a row to the variance of the tasks' offsets. The noise of a
    squared error is the variance within tasks, and that of a row of a log-loss is one.
    """
    weight, codes = held_out.weight, held_out.codes
    means = problem.loss.means(scores)
    slope, curvature = target - means, problem.loss.curvature(means)
    tasks, codes = np.unique(codes, return_inverse=True)
    between = []
    for k in range(scores.shape[1]):
        rows = np.maximum(np.bincount(codes, weight * curvature[:, k]), 1e-300)
        offset, noise = np.bincount(codes, weight * slope[:, k]) / rows, 1.0
        if not problem.n_classes:
            spare = max(weight.sum() - len(tasks), 1.0)
            noise = weight @ (slope[:, k] - offset[codes]) ** 2 / spare
        between.append(np.mean(offset**2 - noise / rows))
    return min(noise / max(np.mean(between), 1e-300), _MOST_OFFSET_ROWS)


@dataclass
class _LeftRows:
    """Rows of left-out tasks.

    Attributes
    ----------
    rows : ndarray of shape (n_left_rows,)
        Positions among all rows.
    held_out : RowLosses or SquaredErrors
        What the members predict for them.
    """

    rows: np.ndarray
    held_out: object

    def error(self, blend):
        """Return the error per row of a blend."""
        weight = self.held_out.weight
        return weight @ self.held_out.losses(blend) / weight.sum()

    def label_scores(self, problem, blend):
        """Return the `label_scores` of a blend in a classification."""
        return problem.label_scores(np.einsum("imk,m->ik", self.held_out.scores, blend), self.rows)


def _set_errors(report, problem, held_out, losses, left, unseen):
    """Set the errors of the blend in the report, from the losses of held-out rows.

    `left` are the `_LeftRows` or None, and `unseen` the weights for an unseen task.
    """
    rows, codes, weight = held_out.rows, held_out.codes, held_out.weight
    unit = problem.scale**2
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = held_out.task_sums(weight * losses) / rows
        spread = held_out.task_sums(weight * (losses - mean[codes]) ** 2)
        std_error = np.sqrt(spread / rows / np.maximum(rows - 1.0, 0.0))
    report["error_shared"][:-1] = mean * unit[:-1]
    report["std_error_shared"][:-1] = std_error * unit[:-1]
    if left is not None:
        report["error_shared"][-1] = left.error(unseen) * unit[-1]


def _residual_scale(report, problem, linear, held_out, residuals):
    """Return the scale of the blend's residuals, and the adapter with their noise."""
    scale, rows = problem.scale, held_out.rows
    sse = held_out.task_sums(held_out.weight * residuals**2)
    unseen = report["error_shared"][-1] / scale[-1] ** 2
    probe = RowErrors(residuals, held_out.codes, held_out.weight)
    standard = ResidualScale.learn(sse, rows, unseen, probe)
    residual_scale = standard.scaled(scale[:-1], scale[-1])
    report["residual_std"] = np.r_[residual_scale.std, residual_scale.unseen_std]
    noise = np.nanmedian(residual_scale.std / linear.residual_scale.std) ** 2
    adapter = replace(
        linear.adapter,
        residual_scale=replace(standard, std=None),
        noise=linear.adapter.noise * noise,
    )
    return residual_scale, adapter


@dataclass
class RowErrors:
    """Errors of rows as `ResidualScale.learn` reads them from a `Probe`."""

    values: np.ndarray
    task: np.ndarray
    weight: np.ndarray
    found: bool = True

    def errors(self, shares):
        return self.values, np.arange(len(self.values))


@dataclass
class _MemberWeights:
    """Weights of the judged members, the linear models first.

    Attributes
    ----------
    names : list of str
    kept : bool ndarray of shape (n_judged,)
        Members with any weight.
    tasks : ndarray of shape (n_tasks, n_judged)
    unseen : ndarray of shape (n_kept,)
    rows : ndarray of shape (n_tasks,)
    """

    names: list
    kept: np.ndarray
    tasks: np.ndarray
    unseen: np.ndarray
    rows: np.ndarray

    def name_used(self, report, weights):
        """Set what every task uses mostly, where it is not the linear models."""
        names = np.array(self.names, dtype=object)[self.kept]
        top = weights.argmax(axis=1)
        report["used"][:] = np.where(top > 0, names[top], report["used"])

    def report(self, members, errors):
        """Return one row per member: its error, where it was used, and why it was not."""
        share = dict(zip(self.names, self.rows @ self.tasks / self.rows.sum(), strict=True))
        n_used = dict(zip(self.names, (self.tasks > 0).sum(axis=0), strict=True))
        of_unseen = dict(zip(np.array(self.names)[self.kept], self.unseen, strict=True))
        names = ["linear", *(member.name for member in members)]
        reasons = {member.name: member.dropped for member in members}
        status = [
            reasons.get(name)
            or ("used" if share[name] > 0 else None)
            or ("used for unseen tasks" if of_unseen.get(name, 0.0) > 0 else None)
            or "no better than the others"
            for name in names
        ]
        return {
            "member": np.array(names, dtype=object),
            "error": np.array([errors.get(name, np.nan) for name in names]),
            "weight": np.array([share.get(name, 0.0) for name in names]),
            "n_tasks": np.array([n_used.get(name, 0) for name in names]),
            "weight_unseen": np.array([of_unseen.get(name, 0.0) for name in names]),
            "status": np.array(status, dtype=object),
        }
