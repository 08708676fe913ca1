"""How to learn a new task fast."""

from .closed_form import Auto, Hierarchical, Subspace

__all__ = ["BY_NAME", "Auto", "Hierarchical", "Subspace"]

# What a string stands for in ``MetaLearnerClassifier(learner=...)``.
BY_NAME = {"auto": Auto, "subspace": Subspace, "hierarchical": Hierarchical}
