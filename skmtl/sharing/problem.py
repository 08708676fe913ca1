"""The data of a fit, as sharing structures see it."""

from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from ..guard.residuals import Probe
from ..guard.units import Units
from ..losses import SQUARED_ERROR
from ..tasks.copies import Settled
from ..tasks.keys import evenly_by_size, mixed, row_order
from ..tasks.moments import block_moments, scale_of
from ..tasks.rows import TaskRows
from ..tasks.variation import Variation
from .restriction import UNRESTRICTED, Restriction
from .strengths import SQUARED

__all__ = ["Problem"]

# Sparse rows looked at more closely are made dense up to so many numbers.
_DENSE_SIZE = 10**7


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

    def n_varying(self, grid):
        """Features that are not constant, and whose slopes vary by task under the candidates."""
        return self.restriction.n_varying(self.scale[:-1] != 0, grid.metric)

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
