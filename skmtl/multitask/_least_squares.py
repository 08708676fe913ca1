"""Problems of the multi-task regression with linear models, and the scale of their targets."""

from dataclasses import replace

import numpy as np

from .._warnings import warn_user
from ..guard.units import Units
from ..sharing.problem import Problem
from ..tasks.moments import block_moments
from ..tasks.rows import TaskRows, prefers_rows

__all__ = ["fit_on_scale", "problem_of"]


def problem_of(progress, space, parts, executor, crossed=None, **kwargs):
    """Return the problem of a table as moments, or as rows if moments would be larger.

    `crossed` are `CrossedEffects`, which are subtracted from the target: in every split, those
    of its training rows.
    """
    table = space.table
    if crossed is not None:
        return _problem_beside(crossed, progress, space, parts, executor, **kwargs)
    if prefers_rows(table, max(1, sum(part.n_blocks for part in parts))):  # 1: cv=None
        schemes = [(TaskRows.of(table, part.block), part) for part in parts]
        blocks = schemes[0][0] if schemes else TaskRows.of(table)
    else:
        schemes = [
            (block_moments(table, part.block, part.n_blocks, executor), part) for part in parts
        ]
        blocks = schemes[0][0] if schemes else block_moments(table, executor=executor)
    return Problem(
        schemes, blocks.merge(executor=executor), table, executor=executor, progress=progress,
        standardise=space.standardise, **kwargs,
    )  # fmt: skip


def _problem_beside(crossed, progress, space, parts, executor, **kwargs):
    """Return the problem of a table less the effects of grouping columns."""
    table, schemes = space.table, []
    for part, offsets in zip(parts, crossed.of_splits, strict=True):
        for s, offset in enumerate(offsets):
            one = slice(s, s + 1)
            blocks = block_moments(
                replace(table, y=table.y - offset), part.block, part.n_blocks, executor
            )
            schemes.append((blocks, replace(part, train=part.train[one], test=part.test[one])))
    table = replace(table, y=table.y - crossed.whole)
    return Problem(
        schemes, block_moments(table, executor=executor).merge(executor=executor), table,
        executor=executor, progress=progress, standardise=space.standardise, crossed=crossed,
        **kwargs,
    )  # fmt: skip


def fit_on_scale(solver, problem, target_scale):
    """Return the fit on the scale of the table, or with every task in its own units.

    Parameters
    ----------
    solver : object
        The sharing structure.
    problem : Problem
    target_scale : {"auto", "table", "task"}
    """
    if problem.restriction.varies is not None:
        if target_scale == "task":
            raise ValueError(
                "target_scale='task' gives every task its own units, in which slopes cannot be "
                "the same in every task, as varying= of the sharing structure requires; set "
                "target_scale='table', or varying=None."
            )
        return solver.fit_problem(problem)
    if target_scale == "task":
        return solver.fit_problem(problem.in_units(Units.learn(problem.moments)))
    fitted = solver.fit_problem(problem)
    if target_scale == "table" or not problem.schemes:
        return fitted
    units = Units.learn(problem.moments)
    required = units.required_advantage()
    if np.isinf(required):
        return fitted
    if not problem.takes_units:
        warn_user(
            "the scales of the targets differ between tasks, but with moments in shards "
            "(memory_limit=) all tasks are fitted on the scale of the table{}; raise memory_limit, "
            "or set target_scale='table' if this is what you want.",
            [],
        )
        return fitted
    problem.progress("the tasks' scales differ: fitting again with each task in its own units")
    other = solver.fit_problem(problem.in_units(units))
    advantage = other.advantage_over(fitted, problem.moments.weight)
    return other if advantage > required else fitted
