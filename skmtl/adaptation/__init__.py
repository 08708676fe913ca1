"""How a source helps a target: one object a way."""

from .pooling import Independent, Pooled
from .selection import Auto

__all__ = ["BY_NAME", "Auto", "Independent", "Pooled"]

# What a string stands for in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "auto": Auto,
    "independent": Independent,
    "pooled": Pooled,
}
