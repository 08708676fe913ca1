"""The data of a fit by a loss of scores, of rows that only queries read.

A query returns the working moments of every task and fold at the scores of the tasks' models, and
each step of Newton's method takes one. Candidates are screened, cross-validated and averaged on
quadratic approximations of the loss at a first model, the *reference*, whose strengths are chosen
by the same approximation; pooled and independent ones at references of their own. The weights of
the candidates are then fixed. With several ones, each is solved on the working moments at the
scores of their average, until nothing changes: the steps converge to an average of solutions whose
quadratic approximations touch the loss there.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..losses import GAMMA, LOG_LOSS
from ..losses.base import LEAST_NOISE
from ..solvers.newton import Scores
from ..tasks.moments import TaskMoments, moment_bytes, scale_of
from ..tasks.prevalence import Prevalence
from .inference import infer
from .newton_problem import JudgedLosses
from .newton_screening import REFERENCE_MARGIN, REFERENCES, ScoreScreening
from .problem import Problem
from .scored import ScoredProblem
from .strengths import LOGISTIC, Grid, baseline_grids
from .working_member import INDEPENDENT, OWN, POOLED, Descent, WorkingMember, advance

__all__ = ["WorkingMoments", "WorkingProblem"]

# Rows of the table's mean target that are added to those of a task, for the scores to start from.
_START_ROWS = 5.0
# Most steps to the reference, and the KKT residual at which it is near enough.
_REFERENCE_STEPS, _REFERENCE_TOL = 5, 3e-3
# Largest size of the moments of all tasks, folds and references of folds.
_MOST_BYTES = 1e9


@dataclass
class WorkingMoments(TaskMoments):
    """Moments of features and working responses, weighted by the curvatures of the rows.

    Attributes
    ----------
    rows : ndarray of shape (...,)
        Weights of the rows, without curvatures.
    location : ndarray of shape (..., n_features)
        Means of the features with these weights.
    constant : ndarray of shape (...,)
        The loss, less half the squared error of the working responses.
    others : tuple of WorkingMoments
        Those of the same rows at further points.
    """

    rows: np.ndarray | None = None
    location: np.ndarray | None = None
    constant: np.ndarray | None = None
    others: tuple = ()

    def at(self, point):
        """Return the moments at a point."""
        return self.others[point - 1] if point else self

    def take(self, tasks):
        """Return a copy of the moments of the given tasks."""
        more = self.rows[tasks], self.location[tasks], self.constant[tasks]
        more = *more, tuple(other.take(tasks) for other in self.others)
        return WorkingMoments(
            *(part[tasks].copy() for part in self.arrays), self._factors_of(tasks), *more
        )

    def merge(self, chosen=None, tasks=None, executor=None):
        """Merge the chosen blocks of each task: shape (n_tasks, n_blocks) to (n_tasks,)."""
        merged = super().merge(chosen, tasks, executor)
        others = tuple(other.merge(chosen, tasks, executor) for other in self.others)
        blocks = slice(None) if chosen is None else chosen
        tasks = slice(None) if tasks is None else tasks
        rows, location, constant = (
            part[tasks][:, blocks] for part in (self.rows, self.location, self.constant)
        )
        total = rows.sum(axis=1)
        mean = np.einsum("tk,tkj->tj", rows, location)
        mean /= np.where(total > 0.0, total, 1.0)[:, None]
        return WorkingMoments(
            *merged.arrays, merged.factors, total, mean, constant.sum(axis=1), others
        )

    def stretched(self, factor):
        """Return the moments of ``[X * factor, y]``."""
        return replace(super().stretched(factor), location=self.location * factor)

    def losses(self, squares):
        """Return the losses of models from squared errors of the working responses."""
        return 0.5 * squares + self.constant[(...,) + (None,) * (squares.ndim - 1)]


@dataclass
class WorkingProblem(ScoredProblem, Problem):
    """The data of a classification, or of a regression by a smooth loss with a link.

    `schemes` and `moments` are first those of the features and the target, and then those of the
    features and the working responses.

    Attributes
    ----------
    blocks : TaskMoments of shape (n_tasks, n_folds)
        Moments of the features and the target.
    queries : object
        Returns what the rows tell of models: ``working`` and ``losses``, as
        `skmtl.queries.working.ModelQueries` has them.
    n_classes : int
        2, or 0 in a regression.
    row_unit : float
        Factor by which the caller's weights were multiplied in the moments.
    tol, max_iter : float and int
        Tolerance of the final fit, and its largest number of Newton steps.
    loss : Loss
    noise : float
        What the weights of the rows were divided by.
    """

    blocks: object = None
    queries: object = None
    n_classes: int = 0
    row_unit: float = 1.0
    tol: float = 1e-4
    max_iter: int = 100
    loss: Any = LOG_LOSS
    noise: float = 1.0
    unit = 1.0
    strengths = LOGISTIC

    def __post_init__(self):
        whole = self.moments
        total, self.centre, variance = whole.pooled()
        self.mean_target, self.is_constant = self.centre[-1], variance[-1] == 0.0
        self.scale = scale_of(total, self.centre, variance)
        self._scale_features(
            variance[:-1], lambda: (whole.weight, whole.mean[:, :-1], whole.feature_squares())
        )
        self.level = self.loss.constant(np.array([self.mean_target]), np.ones(1))
        self.centre[-1], self.scale[-1] = 0.0, 1.0  # scores are not standardised
        if not self.n_classes:
            self.centre[-1], self.unit = self.level, np.exp(-self.level)
        self.partitions = [part for _, part in self.schemes]
        location = (self.blocks.mean[..., :-1] - self.centre[:-1]) * self.scale[:-1]
        self._location = location * (self.blocks.weight > 0.0)[..., None]
        self.n_points = 3 if self.partitions else 1
        self._found = [self._at_start(point == POOLED) for point in range(self.n_points)]
        self._held_out = None
        self._at, self.total_loss = [None] * self.n_points, np.zeros(self.n_points)
        self._set(range(self.n_points))
        # The constant model, with which the first steps are compared.
        self.is_at_start = True
        self.constant = Scores(
            np.zeros((self.n_tasks, self.n_features)),
            np.full(self.n_tasks, self.level - self.centre[-1]),
            np.append(self.level - self.centre[-1], np.zeros(self.n_features)),
        )
        value = self.loss.value(np.full((*whole.weight.shape, 1), self.level), whole.mean[:, -1:])
        self._loss_of_constant = self._weighted(whole.weight * value) / self.row_unit
        self.total_loss[:] = self._factor * self._loss_of_constant

    @property
    def _factor(self):
        """Factor on weighted sums over rows in the units of the caller."""
        return self.row_unit * self.unit**self.loss.degree / self.noise

    def restart(self, point):
        """Take the working moments at the constant model, from which steps of any length descend.

        Those at the tasks' own levels are nearer to the solution, but not always.
        """
        self._found[point] = self._at_start(is_constant=True)
        self._set([point])
        self.total_loss[point] = self._factor * self._loss_of_constant

    def _at_start(self, is_constant):
        """Return working moments at the tasks' own levels, shrunk towards that of the table.

        With `is_constant`, they are at the level of the table.

        Curvatures are the same for all rows of a task, so that they need no query; those of the
        gamma loss are the expected ones.
        """
        plain, W, mean = self.blocks, self.blocks.weight, self.blocks.mean[..., -1]
        total = W.sum(axis=1)
        level = ((W * mean).sum(axis=1) + _START_ROWS * self.mean_target) / (total + _START_ROWS)
        level = np.full_like(level, self.mean_target)[:, None] if is_constant else level[:, None]
        score = self.loss.link(level)
        curvature = self.loss.curvature(level) if self.loss is not GAMMA else np.ones_like(level)
        slope = 1.0 / level if self.loss is GAMMA else np.ones_like(level)
        ratio = slope / curvature  # of the working response to the target
        moments = TaskMoments(*(part.copy() for part in plain.arrays), plain.factors)
        square = moments.scatter[..., -1, -1] + W * (mean - level) ** 2
        square *= slope**2 / curvature
        moments.weight *= curvature
        moments.scatter *= curvature[..., None, None]
        moments.mean[..., -1] = np.where(W > 0.0, score + (mean - level) * ratio, 0.0)
        moments.scatter[..., -1, :] *= ratio[..., None]
        moments.scatter[..., :, -1] *= ratio[..., None]
        moments = moments.faded(1.0 / self.row_unit)
        value = W * self.loss.value(np.broadcast_to(score, W.shape)[..., None], mean[..., None])
        unknown = np.zeros(W.shape)
        return _StartMoments(
            moments, value / self.row_unit, unknown, square / self.row_unit, unknown
        )

    def _set(self, points):
        """Take the results of queries at some of the points."""
        for point in points:
            found = self._found[point]
            self._at[point] = self._blocks_of(found)
            self.total_loss[point] = self._weighted(self._factor * found.loss.sum(axis=1))
        blocks = replace(self._at[0], others=tuple(self._at[1:]))
        self.schemes = [(blocks, part) for part in self.partitions]
        self.moments = blocks.merge(executor=self.executor)

    def _blocks_of(self, found):
        """Return the standardised moments of the result of a query."""
        factor, moments = self._factor, found.moments
        blocks = WorkingMoments(
            moments.weight * factor, moments.mean.copy(), moments.scatter * factor,
            self.blocks.factors, self.blocks.weight / self.noise, self._location,
            factor * (found.loss - found.least - 0.5 * found.square),
        )  # fmt: skip
        blocks.mean[..., -1] -= np.where(moments.weight > 0.0, self.centre[-1], 0.0)
        return blocks.rescale(np.append(self.centre[:-1], 0.0), np.append(self.scale[:-1], 1.0))

    def _weighted(self, losses):
        """Return the sum of the losses of the tasks with the weights of the tasks."""
        factors = self.blocks.factors
        return float((losses if factors is None else losses * factors.values).sum())

    def move(self, models):
        """Take the working moments at the scores of other models, by one query.

        Parameters
        ----------
        models : list of (point, coef, intercept)
            Points, and their standardised models.
        """
        coefs = [self.in_caller_units(coef, intercept) for _, coef, intercept in models]
        coef, intercept = (np.array(part) for part in zip(*coefs, strict=True))
        points = [point for point, *_ in models]
        coef, intercept = coef[:, :, None], intercept[:, :, None]
        for point, found in zip(points, self.queries.working(coef, intercept), strict=True):
            self._found[point] = found
        self._set(points)
        self.is_at_start = False

    def approach(self):
        """Take a few steps to the references, and learn the noise of a regression.

        Without cross-validation, given strengths are solved from the start, and nothing depends on
        the noise.
        """
        if not self.partitions:
            return
        descents = [Descent(self, point) for point in range(self.n_points)]
        left = descents
        for step in range(_REFERENCE_STEPS):
            for descent in left:
                member, best = self._references(descent.point)
                descent.aim(member, member.of_one(best))
            advance(self, left)
            residual = max(descent.residual for descent in descents)
            self.progress(f"step {step + 1} to the references: residual {residual:.1e}")
            own = descents[OWN]
            self._learn_noise(own.member.take([own.top]))
            left = [descent for descent in left if descent.residual > _REFERENCE_TOL]
            if not left:
                break
        self._hold_out(descents)

    def _hold_out(self, descents):
        """Take working moments of every split at references that were fitted without its rows.

        At those of all rows, the approximation would have seen the rows that judge it, and models
        of the training rows would be one step away from models that have seen the others. Pooled
        models hardly depend on the rows of a fold.
        """
        own, pooled, free = (
            tuple(
                part[0]
                for part in self._models_of_folds([d.member], [d.member.of_one(d.top).tasks])
            )
            for d in descents
        )
        n_folds = self.blocks.weight.shape[1]
        if moment_bytes(self.n_tasks * n_folds**2, self.n_features) > _MOST_BYTES:
            coef, intercept = (np.stack(part) for part in zip(own, pooled, free, strict=True))
            blocks = [self._blocks_of(found) for found in self.queries.working(coef, intercept)]
            self._held_out = [({}, blocks)] * n_folds
            return
        at_own = self._at_folds(*own)
        *at_free, at_pooled = self._at_folds(*free, pooled)
        self._held_out = [
            ({OWN: of_own, INDEPENDENT: of_free}, [of_own, at_pooled, of_free])
            for of_own, of_free in zip(at_own, at_free, strict=True)
        ]

    def _at_folds(self, coef, intercept, *more):
        """Return the working moments of all rows at the model of every fold, by one query.

        Parameters
        ----------
        coef : ndarray of shape (n_tasks, n_folds, n_features)
        intercept : ndarray of shape (n_tasks, n_folds)
        *more : pairs of such arrays
            Further models, each at the rows of its fold alone.
        """
        n_folds = coef.shape[1]
        models = [
            (np.repeat(coef[:, k, None], n_folds, 1), np.repeat(intercept[:, k, None], n_folds, 1))
            for k in range(n_folds)
        ]
        slopes, levels = (np.stack(part) for part in zip(*models, *more, strict=True))
        return [self._blocks_of(found) for found in self.queries.working(slopes, levels)]

    def splits(self, tasks=None, most=None):
        """Yield training and test moments at references that did not see the test rows."""
        for number, (train, test) in enumerate(super().splits(tasks, most)):
            if self._held_out is not None:
                part = self.partitions[0]
                sides = part.train[number], part.test[number]
                of_train, of_test = self._held_out[int(np.argmax(sides[1]))]
                if of_train:
                    at = [of_train.get(point, self._at[point]) for point in range(self.n_points)]
                    train = self._merged(at, sides[0], tasks)
                test = self._merged(of_test, sides[1], tasks)
            yield train, test

    def _merged(self, blocks, side, tasks):
        """Return the merged blocks of a side of a split, at every point."""
        blocks = replace(blocks[0], others=tuple(blocks[1:]))
        return blocks.merge(side, tasks, self.executor)

    def _references(self, point):
        """Return the candidates for the reference of a point, and the position of the first good.

        They are in the order of decreasing strengths.
        """
        scalings = self.scalings()
        if point == OWN:
            kinds = range(1 + self.separates_levels)
            rows = np.array([(*strengths, k) for k in kinds for strengths in REFERENCES])
        else:
            independent, pooled = baseline_grids(self.strengths, self.restriction)
            rows = (pooled if point == POOLED else independent).rows()[::-1]
            rows = np.roll(rows, -1, axis=1)
        *strengths, scaling = rows.T
        member = self.member(Grid(*strengths, scaling.astype(np.int64)), scalings)
        loss = 0.5 * sum(member.errors(train, test).sum(axis=0) for train, test in self.splits())
        return member, int(np.argmax(loss <= loss.min() + REFERENCE_MARGIN))

    def _learn_noise(self, member):
        """Set the noise of a regression: Pearson's dispersion of fitted and of held-out rows.

        The former is too small, and the latter too large, by about the same factor, which follows
        from the squared errors of the working responses.
        """
        if self.n_classes or self.is_constant:
            return
        rows, found = self.blocks.weight.sum() / self.row_unit, self._found[OWN]
        squares = self._factor * found.square.sum()
        held_out = sum(member.errors(train, test).sum() for train, test in self.splits())
        noise = found.pearson.sum() / rows * np.sqrt(held_out / max(squares, 1e-300))
        self.noise = max(float(self.unit**self.loss.degree * noise), LEAST_NOISE)
        self._set(range(self.n_points))

    @property
    def weight(self):
        """Total weights of the tasks' rows."""
        return self.blocks.weight.sum(axis=1) / self.noise

    def target_statistic(self):
        """Return the means of the tasks' targets, by which tasks are ordered."""
        weight = self.blocks.weight
        return (weight * self.blocks.mean[..., -1]).sum(axis=1) / weight.sum(axis=1)

    def places(self, scaling, moments):
        """Return centres and anchors (`ArrowSystem`) of tasks with these moments."""
        if self.variation is None:
            return None, None
        return self.variation.places(scaling.within_only, moments.rows, moments.location)

    def member(self, grid, scalings=None):
        """Return the candidates of a grid as a member of the guard."""
        return WorkingMember(self, grid, scalings or self.scalings())

    def screen(self, candidates, baselines):
        """Return the short lists of `Screening.screen`."""
        return ScoreScreening(self, 1, self.n_classes > 0).screen(candidates, baselines)

    def judge(self, members):
        """Cross-validate the candidates of all members on the quadratic approximation."""
        pooled = np.flatnonzero(np.concatenate([member.are_pooled for member in members]))
        self._points = np.concatenate([member.points for member in members])
        losses, expected, rows, first_coef = [], [], [], []
        for number, (train, test) in enumerate(self.splits()):
            slopes, intercepts = _models(members, train)
            expected.append([_distances(test, slopes, intercepts, c) for c in pooled])
            first_coef.append(slopes[0].copy())
            losses.append(self._losses(test, slopes, intercepts))
            rows.append(test.rows)
            self.progress(f"cross-validated {len(self._points)} candidates on split {number + 1}")
        losses, rows = np.array(losses), np.array(rows)
        return _JudgedWorking(
            losses, rows, None, max(1.0, rows.sum() / self.weight.sum()), first_coef=first_coef,
            factors=self.blocks.factors, expected=np.array(expected), pooled=pooled,
            problem=self, members=members,
        )  # fmt: skip

    def _losses(self, test, slopes, intercepts):
        """Return the losses ``(n_tasks, n_candidates)`` of models, each at its point."""
        out = np.empty(intercepts.shape)
        for point in np.unique(self._points):
            own, at = self._points == point, test.at(point)
            out[:, own] = at.losses(_squares(at, slopes[:, own], intercepts[:, own]))
        return out

    def held_out_errors(self, test, blend):
        """Return the losses ``(n_tasks,)`` of a `Blend` on test moments."""
        return test.losses(super().held_out_errors(test, blend))

    def losses_of_blends(self, members, blends):
        """Return the losses of blends on held-out rows, by one query.

        Returns
        -------
        ndarray of shape (n_blends, n_splits, n_tasks)
        """
        found = self._factor * self.queries.losses(*self._models_of_folds(members, blends))
        order = [int(np.argmax(side)) for side in self.partitions[0].test]
        return np.moveaxis(found[..., order], 1, 2)

    def _models_of_folds(self, members, blends):
        """Return slopes ``(n_blends, n_tasks, n_folds, n_features)`` and intercepts of blends.

        Those of a fold are fitted without its rows, and in the units of the caller.
        """
        n_folds = self.blocks.weight.shape[1]
        coef = np.empty((len(blends), self.n_tasks, n_folds, self.n_features))
        intercept = np.empty(coef.shape[:-1])
        for number, (train, _) in enumerate(self.splits()):
            slopes, levels = _models(members, train)
            fold = int(np.argmax(self.partitions[0].test[number]))
            for m, shares in enumerate(blends):
                of_blend = np.einsum("tcj,tc->tj", slopes, shares), (levels * shares).sum(axis=1)
                coef[m, :, fold], intercept[m, :, fold] = self.in_caller_units(*of_blend)
        return coef, intercept

    def left_out_errors(self, left):
        """Return the losses of shared models on left-out tasks, and the tasks' rows.

        They may be far from the tasks' own models, so that a query computes them.
        """
        models = np.moveaxis(left.unseen[left.group], 1, 0)
        coef, intercept = self.in_caller_units(models[..., 1:], models[..., 0])
        found = self.queries.losses(coef[:, :, None], intercept[:, :, None], left.tasks)
        return self._factor * found.sum(axis=2).T, self.weight[left.tasks]

    def inference(self, candidate, blend):
        """Return the `Inference` of a blend: that of the working responses."""
        found = infer(
            self, self.moments.weighted(), lambda scaling: self.places(scaling, self.moments),
            candidate, lambda n_effective: 1.0, unit_noise=True,
        )  # fmt: skip
        return self._with_dispersion(found)

    def adapter(self, grid, scalings, shared_models, *arguments):
        """Return the adapter of candidates to new tasks."""
        return super().adapter(grid, scalings, shared_models[:, None], *arguments)

    def _prevalence(self):
        weight = self.blocks.weight.sum(axis=1)
        share = self.target_statistic()
        return Prevalence.of(np.column_stack([weight * (1.0 - share), weight * share]))


@dataclass
class _StartMoments:
    """Working moments and losses, as queries return them."""

    moments: TaskMoments
    loss: np.ndarray
    least: np.ndarray
    square: np.ndarray
    pearson: np.ndarray


def _models(members, train):
    """Return slopes and intercepts of the candidates of all members."""
    models = [member.models(train) for member in members]
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*models, strict=True))


def _squares(moments, slopes, intercepts):
    """Return squared errors ``(n_tasks, n_models)`` of models of every task."""
    p = moments.n_features
    C, mean = moments.scatter, moments.mean
    miss = mean[:, p:] - intercepts - np.einsum("tj,tcj->tc", mean[:, :p], slopes)
    left = np.einsum("tcj,tcj->tc", slopes @ C[:, :p, :p] - 2.0 * C[:, None, p, :p], slopes)
    return np.maximum(C[:, p, p, None] + left, 0.0) + moments.weight[:, None] * miss**2


def _distances(test, slopes, intercepts, c):
    """Return half the squared distances of the scores of all candidates from those of one.

    They are the expected losses, up to a constant, if the targets were drawn from that candidate.
    """
    slopes = slopes - slopes[:, c : c + 1]
    intercepts = intercepts - intercepts[:, c : c + 1]
    p = slopes.shape[-1]
    level = intercepts + np.einsum("tj,tcj->tc", test.mean[:, :p], slopes)
    products = np.einsum("tcj,tcj->tc", slopes @ test.scatter[:, :p, :p], slopes)
    return 0.5 * (products + test.weight[:, None] * level**2)


@dataclass
class _JudgedWorking(JudgedLosses):
    """Held-out losses of candidates by the quadratic approximation; those of blends are exact.

    Attributes
    ----------
    problem : WorkingProblem
    members : list of WorkingMember
    """

    problem: object = None
    members: list | None = None

    def errors_of_blends(self, blends):
        """Return losses per row of several blends, and their standard errors over splits."""
        if not blends:
            return []
        return [self.means(part) for part in self.problem.losses_of_blends(self.members, blends)]
