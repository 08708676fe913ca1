r"""Partial pooling beside effects of crossed groupings, by preconditioned conjugate gradients.

At fixed strengths it minimises, over the models of the tasks and an effect of every level,

.. math:: \sum_i w_i \bigl(y_i - f_{t(i)}(x_i) - \sum_g b_{g, l_g(i)}\bigr)^2
          + \Omega(f) + \sum_g \lambda_g \|b_g\|^2,

where :math:`\Omega` are the penalties of `ArrowSystem`. Let R be the matrix that turns a target
into its residuals from partial pooling, and Z the levels of the rows. Eliminating the tasks leaves
the symmetric system :math:`(Z'WRZ + \Lambda)\, b = Z'WRy`. It is never formed: a product with R is
one pass over the rows and one solution of the arrow system, whose factorisation is kept. The
preconditioner consists of the blocks of the levels in :math:`Z'WZ + \Lambda`; for levels that
contain whole tasks, in the system from which these tasks are eliminated. Another loss plus half of
the penalties is minimised by Newton's method, on working responses. With strengths that are ratios
of variances, the solution consists of the best linear unbiased predictions of a mixed model
(Henderson 1975).

The levels of a grouping may have slopes beside their intercepts: row i then adds
:math:`x_i'c_{g, l_g(i)}`, with a strength of its own on these slopes.

References
----------
Henderson, C. R. (1975). Best linear unbiased estimation and prediction under a selection model.
Biometrics 31(2). :doi:`10.2307/2529430`

Strandén, I. and Lidauer, M. (1999). Solving large mixed linear models using preconditioned
conjugate gradient iteration. Journal of Dairy Science 82(12).
:doi:`10.3168/jds.S0022-0302(99)75535-9`
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .. import kernels
from .._jit import run_chunks
from ..tasks.moments import block_moments, readonly
from ..tasks.stack import as_dense
from .arrow import ArrowSystem
from .elimination import eliminated, products_of_tasks
from .newton import working_table

__all__ = ["CrossedNewton", "CrossedSolution", "CrossedSystem", "task_scores"]

# Most halvings of a Newton step, the residual of its linear system, and the most steps.
_MOST_HALVINGS, _INNER, _MOST_STEPS = 20, 1e-4, 50


@dataclass
class CrossedSolution:
    """Effects of the levels, and the certificate of the joint system.

    Attributes
    ----------
    effects : ndarray of shape (n_effects,)
        Effects of the levels of all groupings, in the order of `Levels`.
    residual : float
        Largest violation of the optimality conditions, relative to that of effects of zero.
    n_iter : int
    models : tuple of ndarray
        Slopes ``(n_tasks, n_features)`` and intercepts of the tasks, and the shared intercept and
        slopes ``(1 + n_features,)``.
    """

    effects: np.ndarray
    residual: float
    n_iter: int
    models: tuple = ()


class CrossedSystem:
    """Rows of a table, at one set of strengths of partial pooling at a time.

    Parameters
    ----------
    table : TaskTable
        Rows; the target is given to `solve`.
    levels : Levels
        Levels of the packed rows.
    centre, scale : ndarray of shape (n_features,)
        Features are ``(X - centre) * scale``.
    executor : executor, optional
    """

    def __init__(self, table, levels, centre, scale, executor=None):
        table = table.weighted()
        self.table, self.executor, self.levels = table, executor, levels
        self.centre, self.scale = centre, scale
        self.weight, self.codes = table.weights(), table.codes
        self._has_rows = np.concatenate([
            np.repeat(rows > 0, width)
            for rows, width in zip(levels.rows(self.weight), levels.widths, strict=True)
        ])  # fmt: skip
        self._by_level = {}  # products of the groupings with slopes
        self._sparse = None if isinstance(table.X, np.ndarray) else table.X[table.rows]
        moments = block_moments(table, executor=executor).block(0)
        moments.rescale(np.append(centre, 0.0), np.append(scale, 1.0))
        self._arrow = ArrowSystem(moments, np.ones(table.n_features), executor)

    _shares = True  # whether there is a shared part

    def factor(self, slope, intercept, ridge):
        """Set the strengths of partial pooling."""
        self._arrow.factor(slope)
        self._slope, self._known_blocks = slope, None
        self._pull, self._ridge = np.array([intercept]), np.array([ridge])
        return self

    def information(self, strengths, tol=1e-6):
        """Return the products ``(1 + p, 1 + p)`` of what all tasks share, less all effects.

        They are those of the shared intercept and slopes after the tasks' own parts and the effects
        of the levels are eliminated: one solution per column, without a shared part.

        Parameters
        ----------
        strengths : sequence of float
            As `solve` takes them.
        tol : float
        """
        p, out = self.table.n_features, []
        X = self.table.X[self.table.rows] if self._sparse is None else as_dense(self._sparse)
        columns = np.column_stack([np.ones(len(X)), (X - self.centre) * self.scale])
        self._shares = False
        try:
            for column in columns.T:
                found = self.solve(column, strengths, tol=tol)
                rest = column - self.levels.of_rows(found.effects) - self.predict(found.models)
                out.append(columns.T @ (self.weight * rest))
        finally:
            self._shares = True
        out = np.array(out).reshape(1 + p, 1 + p)
        return 0.5 * (out + out.T)

    def fit(self, target):
        """Return the models (`CrossedSolution`) of partial pooling to a target."""
        arrow, n_tasks = self._arrow, self.table.n_tasks
        total = arrow.moments.weight
        known = np.where(total > 0.0, total, 1.0)
        mean = self.table.task_sums(self.weight * target) / known
        cross = self._products(self.weight * (target - mean[self.codes]))
        arrow.retarget(cross, mean, np.zeros(n_tasks))
        if self._shares:
            theta = arrow.solve_shared(self._pull, self._ridge)
        else:
            theta = np.zeros((1, 1 + self.table.n_features))
        coef, intercept = np.zeros((n_tasks, self.table.n_features)), np.zeros(n_tasks)
        arrow.add_blend(theta, self._pull, np.ones((n_tasks, 1)), coef, intercept)
        return coef, intercept, theta[0]

    def _products(self, values):
        """Return sums ``(n_tasks, n_features)`` of values times features; they sum to zero."""
        table = self.table
        if self._sparse is not None:
            by_task = values, np.arange(len(values)), table.offsets
            by_task = sparse.csr_matrix(by_task, shape=(table.n_tasks, len(values)))
            return (by_task @ self._sparse).toarray() * self.scale
        out = np.empty((table.n_tasks, table.n_features))
        run_chunks(
            kernels.newton.weighted_rows, table.n_tasks, readonly(table.X), table.rows,
            table.offsets, values, out, executor=self.executor,
        )  # fmt: skip
        return out * self.scale

    def predict(self, models):
        """Return the predictions of the rows by models (`CrossedSolution`)."""
        coef, intercept, _ = models
        return task_scores(self.table, coef, intercept, self.centre, self.scale, self.executor)

    def residuals(self, target):
        """Return a target less its fit by partial pooling."""
        return target - self.predict(self.fit(target))

    def solve(self, target, strengths, start=None, tol=1e-9, max_iter=1000):
        """Return the `CrossedSolution`.

        Parameters
        ----------
        target : ndarray of shape (n_rows,)
        strengths : sequence of float
            Strength of every grouping, then those of slopes; effects are zero if it is infinite.
        start : ndarray of shape (n_effects,), optional
        tol : float
            Largest residual of a solution.
        max_iter : int
        """
        levels = self.levels
        strengths = levels.spread(strengths)
        free = np.isfinite(strengths) & self._has_rows
        ridge = np.where(free, strengths, 0.0)
        if self._known_blocks is None:
            self._known_blocks = self._blocks()
        inverse = _BlockInverse(levels, self._known_blocks, ridge, free)

        def projected(values):
            return np.where(free, levels.sums(self.weight * self.residuals(values)), 0.0)

        def product(effects):
            return projected(levels.of_rows(effects)) + ridge * effects

        right = projected(target)
        top, step, n_iter = np.abs(right).max(initial=0.0), 0.0, 0
        effects = np.zeros(len(free))
        if start is not None and top > 0:
            effects = np.where(free, start, 0.0)
        residual = right - product(effects) if effects.any() else right
        norm = residual @ inverse.times(residual)
        while np.abs(residual).max(initial=0.0) > tol * top and n_iter < max_iter:
            step = inverse.times(residual) + step
            image = product(step)
            length = norm / (step @ image)
            effects = effects + length * step
            residual = residual - length * image
            before, norm = norm, residual @ inverse.times(residual)
            step, n_iter = norm / before * step, n_iter + 1
        if n_iter:  # rounding errors add up in the residual of the iteration
            residual = right - product(effects)
        worst = np.abs(residual).max(initial=0.0) / top if top > 0 else 0.0
        models = self.fit(target - levels.of_rows(effects))
        return CrossedSolution(effects, worst, n_iter, models)

    def _blocks(self):
        """Return the blocks ``(n_levels, k, k)`` of every grouping, without the strengths."""
        levels, blocks, eliminated = self.levels, [], None
        for rows, size, parent, slopes, codes in zip(
            levels.rows(self.weight), levels.sizes, levels.parents, levels.slopes, levels.codes.T,
            strict=True,
        ):  # fmt: skip
            if parent is not None:
                eliminated = self._eliminated() if eliminated is None else eliminated
                width = eliminated.shape[-1] if slopes else 1
                block = np.zeros((size, width, width))
                np.add.at(block, parent, eliminated[:, :width, :width])
            elif slopes:
                g = len(blocks)
                if g not in self._by_level:
                    self._by_level[g] = self._products_by_level(codes, size)
                block = self._by_level[g]
            else:
                block = rows[:, None, None]
            blocks.append(block)
        return blocks

    def _eliminated(self):
        """Return the products ``(n_tasks, 1 + p, 1 + p)`` after the tasks' parts are eliminated."""
        strengths = np.append(self._pull, np.full(self.table.n_features, self._slope))
        products = products_of_tasks(self._arrow.moments)
        return eliminated(products, 1.0 / np.maximum(strengths, 1e-12))

    def _products_by_level(self, codes, size):
        """Return the products of the intercept and the features over the rows of every level."""
        one = np.column_stack([np.ones(len(codes)), self.levels.features])
        block = np.empty((size, one.shape[1], one.shape[1]))
        for j in range(one.shape[1]):
            for k in range(j + 1):
                sums = np.bincount(codes, self.weight * one[:, j] * one[:, k], size)
                block[:, j, k] = block[:, k, j] = sums
        return block


class _BlockInverse:
    """Inverse of the blocks of the levels, as a preconditioner.

    Parameters
    ----------
    levels : Levels
    blocks : list of ndarray of shape (n_levels, k, k)
        One per grouping.
    ridge, free : ndarray of shape (n_effects,)
        Strength of every effect, and whether it is not held at zero.
    """

    def __init__(self, levels, blocks, ridge, free):
        self._inverses, start = [], 0
        for block in blocks:
            size, width = block.shape[:2]
            part = slice(start, start + size * width)
            own, live = ridge[part].reshape(size, width), free[part].reshape(size, width)
            # Without strengths a block may be singular.
            diagonal = np.einsum("ljj->lj", block)
            own = np.where(live, own + 1e-12 * diagonal.max(axis=1, keepdims=True), 1.0)
            both = live[:, :, None] & live[:, None, :]
            full = np.where(both, block, 0.0)
            full[:, np.arange(width), np.arange(width)] += own
            inverse = 1.0 / full if width == 1 else np.linalg.inv(full)
            self._inverses.append(np.where(both, inverse, 0.0))
            start = part.stop

    def times(self, values):
        """Return the product with values ``(n_effects,)``."""
        parts, start = [], 0
        for inverse in self._inverses:
            size, width = inverse.shape[:2]
            stop = start + size * width
            own = values[start:stop].reshape(size, width)
            parts.append(np.einsum("lij,lj->li", inverse, own).ravel())
            start = stop
        return np.concatenate(parts)


class CrossedNewton:
    """The same for another loss of one score.

    Parameters
    ----------
    table : TaskTable
        What is `known` of the scores is added to those of the models and effects.
    levels, centre, scale
        As in `CrossedSystem`.
    loss : Loss
    executor : executor, optional
    """

    def __init__(self, table, levels, centre, scale, loss, executor=None):
        self.table, self.levels, self.executor = table.weighted(), levels, executor
        self.loss = loss
        self.centre, self.scale = centre, scale

    def factor(self, slope, intercept, ridge):
        """Set the strengths of partial pooling."""
        self._pooling = slope, intercept, ridge
        return self

    def solve(self, strengths, start=None, tol=1e-6):
        """Return the `CrossedSolution`.

        Its residual is the gradient of the effects, relative to that at the effects of zero.

        Parameters
        ----------
        strengths : sequence of float
        start : CrossedSolution, optional
        tol : float
        """
        table, levels = self.table, self.levels
        ridge = levels.spread(strengths)
        at = [np.zeros(len(ridge)), np.zeros((table.n_tasks, table.n_features))]
        at += [np.zeros(table.n_tasks), np.zeros(1 + table.n_features)]
        inner, scores = None if start is None else start.effects, np.zeros(len(table.y))
        working, before = self._quadratic(scores)
        n_iter, gain, at_zero = 0, np.inf, None
        while True:
            slope = levels.sums(working.sample_weight * (working.y - scores))
            slope -= np.where(np.isfinite(ridge), ridge, 0.0) * at[0]
            residual = np.abs(slope[np.isfinite(ridge)]).max(initial=0.0)
            at_zero = residual if at_zero is None else at_zero
            # The models of the tasks are as good as the last step, whose gain is its error squared.
            known = residual <= tol * at_zero and gain <= 1e-3 * tol * abs(before)
            if known or n_iter == _MOST_STEPS or gain <= 1e-12 * abs(before):
                break
            system = CrossedSystem(working, levels, self.centre, self.scale, self.executor)
            system.factor(*self._pooling)
            found = system.solve(working.y, strengths, inner, min(_INNER, tol))
            inner, new = found.effects, [found.effects, *found.models]
            reached = system.predict(found.models) + levels.of_rows(inner)
            for _ in range(_MOST_HALVINGS):
                working, loss = self._quadratic(reached)
                after = loss + self._penalty(ridge, new)
                if after <= before + 1e-12 * abs(before):
                    break
                new = [0.5 * (a + b) for a, b in zip(at, new, strict=True)]
                reached = 0.5 * (scores + reached)
            at, scores, gain, before = new, reached, before - after, after
            n_iter += 1
        residual = residual / at_zero if at_zero > 0 else 0.0
        return CrossedSolution(at[0], residual, n_iter, tuple(at[1:]))

    def working_system(self, solution):
        """Return the `CrossedSystem` of the working responses at a `CrossedSolution`."""
        scores = task_scores(self.table, *solution.models[:2], self.centre, self.scale)
        working, _ = self._quadratic(scores + self.levels.of_rows(solution.effects))
        system = CrossedSystem(working, self.levels, self.centre, self.scale, self.executor)
        return system.factor(*self._pooling)

    def _quadratic(self, scores):
        """Return the working table at some scores, and the loss."""
        table = self.table
        known = np.zeros(len(scores)) if table.known is None else table.known
        working, losses = working_table(table, self.loss, table.y, scores, known, self.executor)
        return working, losses.sum()

    def _penalty(self, ridge, at):
        """Return half of the penalties."""
        (effects, coef, intercept, theta), total = at, 0.0
        for strength, values in zip(
            (*self._pooling, ridge),
            (coef - theta[1:], intercept - theta[0], theta[1:], effects),
            strict=True,
        ):
            with np.errstate(invalid="ignore"):  # infinite strengths of zeros
                products = strength * values**2
            total += 0.5 * products[np.isfinite(products)].sum()
        return total


def task_scores(table, coef, intercept, centre, scale, executor=None):
    """Return the scores ``(n_packed,)`` of the rows of a table.

    The models of the tasks, ``(n_tasks, n_features)`` and ``(n_tasks,)``, are those of the features
    ``(X - centre) * scale``.
    """
    raw = np.ascontiguousarray(coef * scale)
    constant = intercept - raw @ centre
    if not isinstance(table.X, np.ndarray):
        codes = table.codes
        products = table.X[table.rows].multiply(raw[codes]).sum(axis=1)
        return np.asarray(products).ravel() + constant[codes]
    out = np.empty(len(table.rows))
    run_chunks(
        kernels.newton.linear_scores, table.n_tasks, readonly(table.X), table.rows,
        table.offsets, raw, constant, out, executor=executor,
    )  # fmt: skip
    return out
