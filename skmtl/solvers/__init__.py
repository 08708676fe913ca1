"""Loops that end with a certificate."""

from .arrow import ArrowSystem, kkt_residual
from .rows import RowSystem

__all__ = ["ArrowSystem", "RowSystem", "kkt_residual", "make_system"]


def make_system(data, penalty, pool=None):
    """The arrow system for `TaskMoments` or for `TaskRows`."""
    kind = ArrowSystem if hasattr(data, "scatter") else RowSystem
    return kind(data, penalty, pool)
