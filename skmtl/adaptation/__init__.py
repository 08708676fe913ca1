"""How a source helps a target: one object a way."""

from .pooling import Independent, Pooled
from .selection import Auto
from .trans_lasso import TransLasso

__all__ = ["BY_NAME", "Auto", "Independent", "Pooled", "TransLasso"]

# What a string stands for in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "auto": Auto,
    "independent": Independent,
    "pooled": Pooled,
    "trans_lasso": TransLasso,
}
