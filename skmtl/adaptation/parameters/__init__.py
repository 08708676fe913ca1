"""Adaptations that start from the parameters of a source model, or shrink towards them."""

from .fine_tune import FineTune
from .shrink_to_source import ShrinkToSource
from .trans_lasso import TransLasso

__all__ = ["FineTune", "ShrinkToSource", "TransLasso"]
