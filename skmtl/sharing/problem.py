"""The data of a regression, and the evaluation of models on it."""

import itertools
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from ..guard.judge import Judged
from ..guard.residuals import Probe, ResidualScale
from ..guard.weights import left_out_weights, log_scores, noise_level
from ..losses import SQUARED_ERROR
from ..tasks.copies import Settled
from ..tasks.keys import evenly_by_size, mixed, row_order
from ..tasks.moments import block_moments, scale_of
from ..tasks.rows import TaskRows
from ..tasks.variation import Variation
from .inference import infer
from .least_squares import LeastSquares, SignedLeastSquares
from .newcomers import Adapter
from .restriction import UNRESTRICTED, Restriction
from .screening import Screening
from .strengths import SQUARED, SlopeScaling

__all__ = ["BaseProblem", "Problem"]

# Most numbers of sparse rows that are made dense.
_DENSE_SIZE = 10**7
# Number of rows per left-out task for few-shot scores: models of large tasks hardly depend on the
# strengths, those of new tasks with few rows do.
_FEW_SHOT_ROWS = 5


@dataclass(kw_only=True)
class BaseProblem:
    """The data of a fit, whatever the loss.

    Attributes
    ----------
    executor : executor or None
        Executor from `_jit.worker_pool`.
    progress : callable
        Called with a line of text at each step.
    standardise : bool
        False if the features are already on a common scale.
    restriction : Restriction
        Restriction of the slopes.
    within : bool
        Whether features are scaled by their variation within tasks, and task-specific slopes are
        centred at the tasks' means; otherwise the variation and the means of the table are used.
    copies : Settled
        Unit of the weights, and whether equal rows are copies.
    nested_splits : int or None
        Number of splits whose training rows a guarded fit also predicts (`HeldOut`); None if it
        predicts no rows.
    crossed : CrossedEffects or None
        Effects of grouping columns, a part of the scores that is known before the fit: those of all
        rows and, in every split, those of its training rows.
    centre, scale : ndarray of shape (n_features + 1,)
        Features and target are ``([X, y] - centre) * scale``.
    units : Units or None
        Units of every task's standardised target.
    variation : Variation or None
        Variation of the standardised features within and between tasks, if `within` is true.
    """

    executor: object = None
    progress: object = field(default=lambda text: None)
    standardise: bool = True
    restriction: Restriction = UNRESTRICTED
    within: bool = False
    copies: Settled = Settled(None)
    nested_splits: int | None = None
    crossed: object = None
    units = None
    variation = None

    def _scale_features(self, variance, task_moments):
        """Set the scale of the features, and their variation if `within` is true.

        Parameters
        ----------
        variance : ndarray of shape (n_features,)
            Variances over the table, to which `scale` refers so far.
        task_moments : callable
            Returns the arguments of `Variation.of`.
        """
        if self.within:
            variation = Variation.of(*task_moments())
        if not self.standardise:
            self.scale[:-1] = 1.0
        elif self.within:
            varies = np.where(self.scale[:-1] > 0, variance, 0.0)
            self.scale[:-1] = variation.scale(varies, self.copies.trust)
        if self.within:
            variation = variation.rescaled(self.scale[:-1])
            self.variation = variation if self.standardise else variation.alike()

    def for_unseen(self, shared, scaling):
        """Return the models that shared models give an unseen task.

        The centre of such a task is unknown. The expected deviation of a row from the centre is a
        fraction of its deviation from the table's means.
        """
        if not scaling.within_only:
            return shared
        return shared * np.append(1.0, 1.0 - self.variation.level_part)

    def in_caller_units(self, slopes, intercepts):
        """Return coefficients and intercepts of the caller's features and target."""
        coef = slopes * self.scale[:-1] / self.scale[-1] + 0.0  # + 0.0 turns -0.0 into 0.0
        return coef, self.centre[-1] + intercepts / self.scale[-1] - coef @ self.centre[:-1]

    @property
    def separates_levels(self):
        """Whether slopes within tasks may differ from those between tasks."""
        return (
            self.variation is not None and not self.restriction and self.variation.levels_differ()
        )

    def sample(self, most):
        """Return at most this many tasks with rows, evenly spread over their sizes.

        The selection depends only on the content of the tasks, not on their labels or order.
        """
        if self.table is None or self.table.keys is None:
            content = self.target_statistic()
        else:
            content = self.table.task_sums(mixed(self.table.keys))
        return evenly_by_size(self.weight, content, most)

    @property
    def n_tasks(self):
        """Number of tasks."""
        return len(self.weight)

    @property
    def fitted_loss(self):
        """The loss in the units of the caller's targets."""
        return self.loss

    @property
    def strength_unit(self):
        """Factor on the strengths that are given."""
        return self.copies.unit

    @property
    def error_units(self):
        """Factors on errors in reports ``(n_tasks + 1,)``, an unseen task's last."""
        return np.r_[self.target_units] ** 2

    @property
    def offset_of_new(self):
        """What is known of the scores of the rows if their tasks are new; None if nothing is."""
        if self.crossed is None:
            return None
        return self.crossed.whole if self.crossed.of_new is None else self.crossed.of_new

    def offsets(self, split):
        """Return what is known of the rows' scores in a split of `partition`, or None."""
        return None if self.crossed is None else self.crossed.of_splits[0][split]

    def set_thresholds(self, judged, left, shares):
        """Return the `SetThresholds` of a blend; None in a regression."""
        return None

    def scalings(self):
        """Return the initial `SlopeScaling` objects, to which learned ones may be added."""
        ones, varies = np.ones(self.n_features), self.restriction.varies
        if varies is not None:
            return [SlopeScaling(ones, varies=varies), SlopeScaling(ones)]
        if self.separates_levels:
            return [SlopeScaling(ones), SlopeScaling(ones, within_only=True)]
        return [SlopeScaling(ones)]


@dataclass
class Problem(BaseProblem):
    """The data of a regression, standardised over the table.

    The given moments are standardised in place.

    Attributes
    ----------
    schemes : list of (TaskMoments of shape (n_tasks, n_blocks), Partition)
        Blocks of the cross-validation schemes; empty without cross-validation.
    moments : TaskMoments of shape (n_tasks,)
    table : TaskTable or None
        The rows, if available.

    Effects of grouping columns (`crossed`) are subtracted from the targets; every scheme then is a
    single split.
    """

    schemes: list
    moments: object
    table: object = None
    loss = SQUARED_ERROR
    strengths = SQUARED
    takes_units = True  # whether tasks may have units of their own

    def __post_init__(self):
        total, self.centre, variance = self.moments.pooled()
        self.scale = scale_of(total, self.centre, variance)
        moments = self.moments
        self._scale_features(
            variance[:-1],
            lambda: (moments.weight, moments.mean[:, :-1], moments.feature_squares()),
        )
        if self.scale[-1] == 0.0:  # a constant target is not rescaled
            self.scale[-1] = 1.0
        if self.crossed is not None:
            self.strengths = self.crossed.candidates(self.strengths)
        self._rescale(self.centre, self.scale)

    def _rescale(self, centre, scale):
        for moments in (self.moments, *(blocks for blocks, _ in self.schemes)):
            moments.rescale(centre, scale)

    def restrict(self, restriction):
        """Set the restriction, and reverse the signs of features with negative slopes."""
        self.restriction = restriction
        if restriction.signs is not None:
            signs = np.append(restriction.signs, 1.0)
            self.scale = self.scale * signs
            self._rescale(0.0, signs)

    @property
    def target_units(self):
        """Units of the tasks' targets and of an unseen task's, in the caller's units."""
        unit = 1.0 / self.scale[-1]
        if self.units is None:
            return np.full(self.n_tasks, unit), unit
        return self.units.scale * unit, self.units.unseen[1] * unit

    def in_units(self, units):
        """Return the problem with the target of every task in its own units."""
        other = copy(self)
        other.units = units
        other.moments = self.moments.in_units(units.location, units.scale)
        other.schemes = [
            (blocks.in_units(units.location, units.scale), part) for blocks, part in self.schemes
        ]
        if self.moments.factors is not None:
            factors = other.moments.factors.normalised(self.weight)
            for moments in (other.moments, *(blocks for blocks, _ in other.schemes)):
                moments.factors = factors
        return other

    def models_in_units(self, data, models_of):
        """Return slopes and intercepts of a fit on some moments, with learned units of the tasks.

        `models_of` returns them for moments in the units of the fit.
        """
        if self.units is None:
            return models_of(data)
        units = self.units.relearned(data)
        slopes, intercepts = models_of(data.in_units(units.location, units.scale))
        units.convert_models(slopes, intercepts)
        return slopes, intercepts

    def few_shot_split(self, tasks, size, most=200):
        """Return moments of `size` rows of some tasks, and of at most `most` others of their rows.

        Tasks with fewer than twice `size` rows get no rows. Rows are counted by their weights, so
        that a row may be split between both parts.
        """
        order = np.argsort(tasks)
        table = self.table_of_new.take(tasks[order]).compact(_DENSE_SIZE)
        weight, sizes = table.weights(), table.task_sizes()
        ranked = row_order(table)
        before = np.cumsum(np.r_[0.0, weight[ranked]])
        before = before[:-1] - np.repeat(before[table.offsets[:-1]], sizes)
        large = np.repeat(table.task_sums(weight) >= (2.0 - 1e-9) * size, sizes)
        known, rest = np.zeros((2, len(weight)))
        known[ranked] = np.clip(size - before, 0.0, weight[ranked]) * large
        rest[ranked] = np.clip(size + most - before, 0.0, weight[ranked]) * large
        parts = []
        for part in (known, rest - known):
            live = part > 0
            thin = replace(table.select(live), sample_weight=part[live], factors=None)
            parts.append(self._moments(thin, tasks, np.argsort(order)))
        return parts

    @property
    def table_of_new(self):
        """The table, where tasks that were left out have no part in the effects of groupings."""
        if self.crossed is None:
            return self.table
        return replace(self.table, y=self.table.y + self.crossed.whole - self.offset_of_new)

    def _moments(self, table, tasks, order):
        blocks = (TaskRows.of if isinstance(self.moments, TaskRows) else block_moments)(table)
        moments = blocks.merge(executor=self.executor).rescale(self.centre, self.scale).take(order)
        if self.units is None:
            return moments
        return moments.in_units(self.units.location[tasks], self.units.scale[tasks])

    def feature_squares(self):
        """Return the squares of the features about the tasks' means, in the caller's units."""
        scale = self.scale[:-1]
        squares = self.moments.feature_squares()
        return np.where(scale != 0, squares / np.where(scale != 0, scale, 1.0) ** 2, 0.0)

    @property
    def partition(self):
        """Partition of the first cross-validation scheme."""
        return self.schemes[0][1] if self.crossed is None else self.crossed.parts[0]

    @property
    def n_scores(self):
        """Number of score sets."""
        return 1

    def models_of_blocks(self, member, shares, chosen, split):
        """Return slopes and intercepts of a blend of candidates on some blocks of the rows.

        Parameters
        ----------
        member : PoolingMember
        shares : Shares
        chosen : bool ndarray of shape (n_blocks,)
            Blocks of `partition`.
        split : int
            Split of `partition` whose effects of grouping columns are subtracted.

        Returns
        -------
        coef : ndarray of shape (n_tasks, [n_scores,] n_features)
        intercept : ndarray of shape (n_tasks, [n_scores])
            In the units of the caller.
        """

        def models_of(moments):
            blend = member.blend(moments, shares)
            return blend.coef[:, None], blend.intercept[:, None]

        blocks = self.schemes[0 if self.crossed is None else split][0]
        slopes, intercepts = self.models_in_units(blocks.merge(chosen), models_of)
        slopes, intercepts = slopes[:, 0], intercepts[:, 0]
        if self.units is not None:
            self.units.convert_models(slopes, intercepts)
        return self.in_caller_units(slopes, intercepts)

    def target_locations(self):
        """Return locations and scales ``(n_tasks + 1,)`` of the tasks' and an unseen task's y."""
        scale, unit, units = np.r_[self.target_units], 1.0 / self.scale[-1], self.units
        location = np.full(len(scale), self.centre[-1])
        if units is not None:
            location += unit * np.append(units.location, units.unseen[0])
        return location, scale

    def inference(self, candidate, blend, spent=None):
        """Return the `Inference` of a blend, whose largest weight is that of a candidate.

        `candidate` and `spent`, the effective number of parameters, are those of `infer`.
        """

        def noise(n_effective):
            rows = self.moments.weight.sum()
            errors = self.held_out_errors(self.moments, blend).sum()
            return errors / max(rows - n_effective, 0.1 * rows)

        found = infer(
            self, self.moments.weighted(), lambda scaling: self.places(scaling, self.moments),
            candidate, noise, spent=spent,
        )  # fmt: skip
        if found is None or self.units is None:
            return found
        unit = self.units.unseen[1]
        return replace(found, std_error=unit * found.std_error, noise=unit * found.noise)

    def places(self, scaling, moments):
        """Return centres and anchors (`ArrowSystem`) of tasks with these moments."""
        if self.variation is None or self.restriction.positive is not None:
            return None, None
        return self.variation.places(scaling.within_only, moments.weight, moments.mean[:, :-1])

    @property
    def weight(self):
        """Total weights of the tasks' rows."""
        return self.moments.weight

    def target_statistic(self):
        """Return a statistic of each task's targets, by which tasks without keys are ordered."""
        return self.moments.mean[:, -1]

    @property
    def n_features(self):
        return self.moments.n_features

    def member(self, grid, scalings=None):
        """Return the candidates of a grid as a member of the guard."""
        kind = LeastSquares if self.restriction.positive is None else SignedLeastSquares
        return kind(self, grid, scalings or self.scalings())

    def screen(self, candidates, baselines):
        """Return the short lists of `Screening.screen`."""
        return Screening(self).screen(candidates, baselines)

    def judge(self, members):
        """Cross-validate the candidates of all members and return a `Judged`."""
        probe = None
        if self.table is not None:
            probe = Probe.of(
                self.table, self.partition, self.centre, self.scale, self.units, self.crossed
            )
        n_candidates = sum(map(len, members))
        gram = np.zeros((self.n_tasks, n_candidates, n_candidates))
        errors, rows, first_coef = [], [], []
        for number, (train, test) in enumerate(self.splits()):
            models = [member.models(train, number) for member in members]
            slopes, intercepts = models[0]
            if len(models) > 1:
                slopes, intercepts = (
                    np.concatenate(parts, axis=1) for parts in zip(*models, strict=True)
                )
            if probe is not None:
                probe.record(slopes, intercepts)
            errors.append(test.add_error_grams(slopes, intercepts, gram, self.executor))
            rows.append(test.weight)
            first_coef.append(slopes[0].copy())
            self.progress(f"cross-validated {n_candidates} candidates on split {number + 1}")
        rows = np.array(rows)
        repeats = max(1.0, rows.sum() / max(self.moments.weight.sum(), 1e-300))
        judged = Judged(
            np.array(errors), rows, gram, repeats, probe, first_coef=first_coef,
            factors=self.moments.factors,
        )  # fmt: skip
        judged.noise = noise_level(*judged.totals())
        return judged

    def held_out_errors(self, test, blend):
        """Return the squared errors ``(n_tasks,)`` of a `Blend` on test moments."""
        gram = np.zeros((self.n_tasks, 1, 1))
        coef, intercept = blend.coef[:, None], blend.intercept[:, None]
        return test.add_error_grams(coef, intercept, gram)[:, 0]

    def left_out_errors(self, left):
        """Return the errors of shared models on left-out tasks.

        Returns
        -------
        errors : ndarray of shape (n_left_out, n_candidates)
        rows : ndarray of shape (n_left_out,)
        """
        test = self._left_out_rows(left)
        errors = np.zeros((len(left.tasks), left.unseen.shape[1]))
        if self.units is not None:
            slopes, intercepts = left.unseen[left.group, :, 1:], left.unseen[left.group, :, 0]
            self.units.take(left.tasks).of_unseen().convert_models(slopes, intercepts)
            gram = np.zeros((*errors.shape, errors.shape[1]))
            return test.add_error_grams(slopes, intercepts, gram), test.weight
        for g, models in enumerate(left.unseen):
            part = test.take(left.group == g)
            errors[left.group == g] = part.errors(models[:, 1:], models[:, 0])
        return errors, test.weight

    def _left_out_rows(self, left):
        """Return the moments of left-out tasks, less what other tasks tell of their scores."""
        if self.crossed is None:
            return self.moments.take(left.tasks)
        self.crossed.leave_out(left.tasks, left.group)
        order = np.argsort(left.tasks)
        table = self.table_of_new.take(left.tasks[order])
        return self._moments(table, left.tasks, np.argsort(order))

    @staticmethod
    def left_out_weights(errors, rows):
        """Return weights of candidates for an unseen task, from errors on left-out tasks."""
        return left_out_weights(errors)

    def few_shot_scores(self, member, left, judged):
        """Return scores of candidates for left-out tasks with few known rows, or None.

        Returns
        -------
        scores : ndarray of shape (n_evaluated, n_candidates)
        rows, sizes : ndarray of shape (n_evaluated,)
            Weights of the predicted rows, and of the known rows.
        """
        found = None if self.table is None else member.few_shot_errors(left, _FEW_SHOT_ROWS)
        if found is None or not len(found[1]):
            return None
        scores, rows = log_scores(*found, judged.noise_of_scores()), found[1]
        return scores, rows, np.full(len(rows), float(_FEW_SHOT_ROWS))

    def residual_scale(self, error, judged, shares):
        """Return the `ResidualScale` of new rows, from the errors of the report."""
        error = error / np.r_[self.target_units] ** 2
        rows = judged.totals()[1]
        sse = np.nan_to_num(error[:-1]) * rows
        return ResidualScale.learn(sse, rows, error[-1], judged.probe, shares.tasks)

    def adapter(self, grid, scalings, shared_models, shares, judged, residual_scale):
        """Return the `Adapter` of candidates to new tasks."""
        kept, prior = shares.for_new_tasks()
        noise = 1.0 if judged is None else judged.noise
        return Adapter(
            grid.take(kept), shared_models[kept], scalings, prior, shares.unseen[kept], noise,
            self.centre, self.scale, residual_scale and replace(residual_scale, std=None),
            None if self.units is None else replace(self.units, scale=None, location=None),
            self.restriction, replace(self.copies, table=None),
            self.variation if self.restriction.positive is None else None,
        )  # fmt: skip

    def splits(self, tasks=None, most=None):
        """Yield ``(train, test)`` moments of at most `most` splits, for some tasks (None: all)."""
        splits = (
            (blocks, pair)
            for blocks, partition in self.schemes
            for pair in zip(partition.train, partition.test, strict=True)
        )
        for blocks, pair in itertools.islice(splits, most):
            yield tuple(blocks.merge(side, tasks, self.executor) for side in pair)

    @property
    def n_splits(self):
        """Number of splits of all schemes."""
        return sum(len(partition.train) for _, partition in self.schemes)
