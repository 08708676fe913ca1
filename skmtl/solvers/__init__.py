"""Direct and iterative solvers, with a certificate of optimality."""

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


def make_system(data, penalty, executor=None, varies=None, centres=None, anchors=None):
    """Return the arrow system for `TaskMoments` or `TaskRows`.

    `varies` marks the features whose slopes differ between tasks; None means all. `centres` and
    `anchors`, of shape (n_tasks, n_features), are those of `ArrowSystem`.
    """
    if not hasattr(data, "scatter"):
        return RowSystem(data, penalty, executor, varies, centres, anchors)
    if varies is None:
        return ArrowSystem(data, penalty, executor, centres, anchors)
    return MixedSystem(data, penalty, varies, executor, centres, anchors)
