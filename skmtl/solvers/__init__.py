"""Loops that end with a certificate."""

from .arrow import ArrowSystem, kkt_residual
from .mixed import MixedSystem, solve_given
from .rows import RowSystem

__all__ = [
    "ArrowSystem",
    "MixedSystem",
    "RowSystem",
    "kkt_residual",
    "make_system",
    "solve_given",
]


def make_system(data, penalty, pool=None, varies=None):
    """The arrow system for `TaskMoments` or for `TaskRows`.

    `varies` says which features' slopes differ by task; None is all.
    """
    if not hasattr(data, "scatter"):
        return RowSystem(data, penalty, pool, varies)
    if varies is None:
        return ArrowSystem(data, penalty, pool)
    return MixedSystem(data, penalty, varies, pool)
