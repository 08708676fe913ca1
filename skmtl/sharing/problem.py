"""The data of a fit, as sharing structures see it."""

from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from ..guard.judge import Judged
from ..guard.residuals import Probe, ResidualScale
from ..guard.units import Units
from ..guard.weights import log_scores, noise_level, unseen_weights
from ..losses import SQUARED_ERROR
from ..tasks.copies import Settled
from ..tasks.keys import evenly_by_size, mixed, row_order
from ..tasks.moments import block_moments, scale_of
from ..tasks.rows import TaskRows
from ..tasks.variation import Variation
from .least_squares import LeastSquares, SignedLeastSquares
from .newcomers import Adapter
from .restriction import UNRESTRICTED, Restriction
from .screening import Screening
from .strengths import SQUARED, Scaling

__all__ = ["Problem"]

# Sparse rows looked at more closely are made dense up to so many numbers.
_DENSE_SIZE = 10**7
# Tasks left out also judge candidates as if they had so few rows: large tasks hardly depend on how
# strongly they are drawn to the others, and a task that begins does.
_EARLY_ROWS = 5


@dataclass
class Problem:
    """The data of a fit, as a sharing structure sees it: standardised over the table.

    The moments given are the problem's own from then on: they are standardised in place.

    Attributes
    ----------
    schemes : list of (TaskMoments of shape (n_tasks, n_blocks), Partition)
        Empty where nothing is to be cross-validated.
    moments : TaskMoments of shape (n_tasks,)
    executor : executor or None
        From `_jit.worker_pool`.
    progress : callable
        Called with a line of text at each step.
    standardise : bool
        False where the features are already on a common scale.
    within : bool
        Whether slopes are learned on the scale on which features vary within tasks, and a task's
        own about its own means; else on that of the table, and about the table's means.
    table : TaskTable or None
        The rows, where they are at hand.
    restriction : Restriction
        What is known of the slopes.
    centre, scale : ndarray of shape (n_features + 1,)
        Features and target are ``([X, y] - centre) * scale``.
    units : Units or None
        Of every task's target, after that.
    variation : Variation or None
        Of the features within and between tasks, after that; where `within` is asked for.
    copies : Settled
        What the unit of the weights is, and whether equal rows are copies.
    """

    schemes: list
    moments: object
    executor: object = None
    progress: object = field(default=lambda text: None)
    standardise: bool = True
    table: object = None
    restriction: Restriction = UNRESTRICTED
    within: bool = False
    copies: Settled = Settled(None)
    loss = SQUARED_ERROR
    strengths = SQUARED
    units = None
    variation = None

    def __post_init__(self):
        total, self.centre, variance = self.moments.pooled()
        self.scale = scale_of(total, self.centre, variance)
        m = self.moments
        self._scale_features(
            total, variance[:-1], lambda: (m.weight, m.mean[:, :-1], m.feature_squares())
        )
        if self.scale[-1] == 0.0:  # a constant target: keep it on its own scale
            self.scale[-1] = 1.0
        for moments in (self.moments, *(blocks for blocks, _ in self.schemes)):
            moments.rescale(self.centre, self.scale)

    def _scale_features(self, total, variance, told):
        """Set the features' scale, and their variation where `within` is asked for.

        `scale` is that of the table so far; `told` gives what `Variation.of` takes.
        """
        variation = Variation.of(*told()) if self.within else None
        if not self.standardise:
            self.scale[:-1] = 1.0
        elif self.within:
            varies = np.where(self.scale[:-1] > 0, variance, 0.0)
            self.scale[:-1] = variation.scale(varies, self.copies.trust)
        if self.within:
            variation = variation.rescaled(self.scale[:-1])
            self.variation = variation if self.standardise else variation.alike()

    def restrict(self, restriction):
        """Fit within a restriction. Features whose slopes are to be negative are turned round."""
        self.restriction = restriction
        if restriction.signs is not None:
            signs = np.append(restriction.signs, 1.0)
            self.scale = self.scale * signs
            for moments in (self.moments, *(blocks for blocks, _ in self.schemes)):
                moments.rescale(0.0, signs)

    def units_of_tasks(self):
        """What the tasks' own units would be."""
        return Units.learn(self.moments)

    @property
    def target_units(self):
        """A task's unit of the target and that of a task never seen, in the caller's units."""
        unit = 1.0 / self.scale[-1]
        if self.units is None:
            return np.full(self.n_tasks, unit), unit
        return self.units.scale * unit, self.units.unseen[1] * unit

    def in_units(self, units):
        """The same problem with every task in units of its own."""
        other = copy(self)
        other.units = units
        other.moments = self.moments.in_units(units.location, units.scale)
        other.schemes = [
            (blocks.in_units(units.location, units.scale), part) for blocks, part in self.schemes
        ]
        return other

    def probe(self):
        """Rows whose errors are looked at one by one, or None where no rows are at hand."""
        if self.table is None:
            return None
        return Probe.of(self.table, self.schemes[0][1], self.centre, self.scale, self.units)

    def thinned(self, tasks, size, most=200):
        """Moments of `size` rows of some tasks, and of at most so many others of their rows.

        Tasks with fewer than twice `size` rows have none. Rows are counted by their weight, so
        that one of weight two is two: it may fall to both sides.
        """
        order = np.argsort(tasks)
        table = self.table.take(tasks[order]).compact(_DENSE_SIZE)
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
            thin = replace(table.select(live), sample_weight=part[live])
            parts.append(self._moments(thin, tasks, np.argsort(order)))
        return parts

    def _moments(self, table, tasks, order):
        blocks = (TaskRows.of if isinstance(self.moments, TaskRows) else block_moments)(table)
        moments = blocks.merge(executor=self.executor).rescale(self.centre, self.scale).take(order)
        if self.units is None:
            return moments
        return moments.in_units(self.units.location[tasks], self.units.scale[tasks])

    def feature_squares(self):
        """The features' squares about the tasks' means, in the caller's units."""
        scale = self.scale[:-1]
        squares = self.moments.feature_squares()
        return np.where(scale != 0, squares / np.where(scale != 0, scale, 1.0) ** 2, 0.0)

    def places(self, apart, moments):
        """Centres and anchors (`ArrowSystem`) of tasks with these moments."""
        if self.variation is None or self.restriction.positive is not None:
            return None, None
        return self.variation.places(apart, moments.weight, moments.mean[:, :-1])

    def for_unseen(self, theta, apart):
        """Shared models as a task never seen has them, of which no centre is known.

        What is expected of a row's deviation from it is a part of that from the table's means.
        """
        if not apart:
            return theta
        return theta * np.append(1.0, 1.0 - self.variation.level_part)

    @property
    def apart(self):
        """Whether slopes between tasks may be told apart from those within."""
        return (
            self.variation is not None and not self.restriction and self.variation.levels_differ()
        )

    def sample(self, most):
        """At most this many tasks with rows, evenly over their sizes.

        In an order that only their content decides, so that labels and their order do not matter.
        """
        content = self.moments.mean[:, -1]
        if self.table is not None and self.table.keys is not None:
            content = self.table.task_sums(mixed(self.table.keys))
        return evenly_by_size(self.moments.weight, content, most)

    @property
    def n_tasks(self):
        return len(self.moments.weight)

    @property
    def n_features(self):
        return self.moments.n_features

    def scalings(self):
        """Return the `Scaling` objects that candidates refer to before any is learned."""
        ones, varies = np.ones(self.n_features), self.restriction.varies
        if varies is not None:
            return [Scaling(ones, varies=varies), Scaling(ones)]
        return [Scaling(ones), Scaling(ones, apart=True)] if self.apart else [Scaling(ones)]

    def member(self, grid, scalings=None):
        """Return the candidates of a grid as a member of the guard."""
        kind = LeastSquares if self.restriction.positive is None else SignedLeastSquares
        return kind(self, grid, scalings or self.scalings())

    def screen(self, own, limits):
        """Return what `Screening.screen` does."""
        return Screening(self).screen(own, limits)

    def judge(self, members):
        """Cross-validate the candidates of all members; return a `Judged`."""
        n_candidates, probe = sum(map(len, members)), self.probe()
        gram = np.zeros((self.n_tasks, n_candidates, n_candidates))
        errors, rows, first = [], [], []
        for number, (train, test) in enumerate(self.splits()):
            slopes, intercepts = _side_by_side([m.models(train, number) for m in members])
            if probe is not None:
                probe.look(slopes, intercepts)
            errors.append(test.add_error_grams(slopes, intercepts, gram, self.executor))
            rows.append(test.weight)
            first.append(slopes[0].copy())
            self.progress(f"judged {n_candidates} candidates on split {number + 1}")
        rows = np.array(rows)
        repeats = max(1.0, rows.sum() / max(self.moments.weight.sum(), 1e-300))
        judged = Judged(np.array(errors), rows, gram, repeats, probe, first=first)
        return replace(judged, noise=noise_level(*judged.totals()))

    def held_out_errors(self, test, blend):
        """Return the squared errors ``(n_tasks,)`` of a `Blend` on test moments."""
        one = np.zeros((self.n_tasks, 1, 1))
        coef, intercept = blend.coef[:, None], blend.intercept[:, None]
        return test.add_error_grams(coef, intercept, one)[:, 0]

    def unseen_errors(self, left):
        """Return the errors of shared models on the tasks left out.

        Returns
        -------
        errors : ndarray of shape (n_left_out, n_candidates)
        rows : ndarray of shape (n_left_out,)
        """
        test, theta = self.moments.take(left.tasks), left.unseen
        errors = np.zeros((len(left.tasks), theta.shape[1]))
        if self.units is not None:
            slopes, intercepts = theta[left.group, :, 1:], theta[left.group, :, 0]
            self.units.take(left.tasks).foreign().models(slopes, intercepts)
            gram = np.zeros((*errors.shape, errors.shape[1]))
            return test.add_error_grams(slopes, intercepts, gram), test.weight
        for g, shared in enumerate(theta):
            part = test.take(left.group == g)
            errors[left.group == g] = part.errors(shared[:, 1:], shared[:, 0])
        return errors, test.weight

    def unseen_weights(self, errors, rows):
        """Return weights of candidates for a task never seen, from errors on tasks left out."""
        return unseen_weights(errors)

    def early_scores(self, member, left, judged):
        """Return scores of candidates for tasks of which few rows are known, or None.

        Returns
        -------
        scores : ndarray of shape (n_some, n_candidates)
        rows, sizes : ndarray of shape (n_some,)
            Weights of the rows that were predicted, and of those that were known.
        """
        found = None if self.table is None else member.early_errors(left, _EARLY_ROWS)
        if found is None or not len(found[1]):
            return None
        errors, rows = found
        return log_scores(errors, rows, judged.noise), rows, np.full(len(rows), float(_EARLY_ROWS))

    def residual_scale(self, error, judged, shares):
        """Return the `ResidualScale` of new rows, from the errors of the report."""
        rows, (own, unseen) = judged.totals()[1], self.target_units
        error = error / np.r_[own, unseen] ** 2
        sse = np.nan_to_num(error[:-1]) * rows
        return ResidualScale.learn(sse, rows, error[-1], judged.probe, shares.tasks)

    def adapter(self, grid, scalings, thetas, shares, judged, residual_scale):
        """Return the `Adapter` of candidates to new tasks."""
        kept, prior = shares.for_new_tasks()
        noise = 1.0 if judged is None else judged.noise
        return Adapter(
            grid.take(kept), thetas[kept], scalings, prior, shares.crowd[kept], noise,
            self.centre, self.scale, residual_scale and replace(residual_scale, std=None),
            None if self.units is None else replace(self.units, scale=None, location=None),
            self.restriction, replace(self.copies, table=None),
            self.variation if self.restriction.positive is None else None,
        )  # fmt: skip

    def splits(self, tasks=None, most=None):
        """``(train, test)`` moments of the scheme's splits, for some tasks."""
        done = 0
        for blocks, partition in self.schemes:
            for train, test in zip(partition.train, partition.test, strict=True):
                if most is not None and done >= most:
                    return
                done += 1
                yield (
                    blocks.merge(train, tasks, self.executor),
                    blocks.merge(test, tasks, self.executor),
                )

    @property
    def n_splits(self):
        return sum(len(partition.train) for _, partition in self.schemes)


def _side_by_side(models):
    """Return slopes and intercepts of the candidates of several members."""
    if len(models) == 1:
        return models[0]
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*models, strict=True))
