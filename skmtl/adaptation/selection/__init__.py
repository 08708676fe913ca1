"""Which sources help and how much they count: chosen, or the two ends."""

from .auto import Auto
from .pooling import Independent, Pooled

__all__ = ["Auto", "Independent", "Pooled"]
