"""Choose which sources help and how much they count; the two limits, independent and pooled."""

from .auto import Auto
from .pooling import Independent, Pooled

__all__ = ["Auto", "Independent", "Pooled"]
