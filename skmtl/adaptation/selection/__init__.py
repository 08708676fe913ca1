"""Choice of the sources and their weights; also the two limits, independent and pooled."""

from .auto import Auto
from .pooling import Independent, Pooled

__all__ = ["Auto", "Independent", "Pooled"]
