"""How to learn a new task fast."""

from .closed_form import Auto, Hierarchical, Subspace
from .gradient import MAML, Reptile

__all__ = ["BY_NAME", "MAML", "Auto", "Hierarchical", "Reptile", "Subspace"]

BY_NAME = {
    "auto": Auto,
    "subspace": Subspace,
    "hierarchical": Hierarchical,
    "maml": MAML,
    "reptile": Reptile,
}
