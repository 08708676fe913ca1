"""Learners: how to adapt to a new task from few rows."""

from .closed_form import Auto, Hierarchical, Subspace
from .embedded import Prototypes, RidgeHead
from .estimator import WithEstimator
from .gradient import MAML, Reptile

__all__ = [
    "BY_NAME", "MAML", "Auto", "Hierarchical", "Prototypes", "Reptile", "RidgeHead", "Subspace",
    "WithEstimator",
]  # fmt: skip

BY_NAME = {
    "auto": Auto,
    "subspace": Subspace,
    "hierarchical": Hierarchical,
    "maml": MAML,
    "reptile": Reptile,
    "ridge_head": RidgeHead,
    "prototypes": Prototypes,
}
