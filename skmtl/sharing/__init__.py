"""How tasks share: one object a structure."""

from .pooling import Independent, PartialPooling, Pooled

__all__ = ["Independent", "PartialPooling", "Pooled"]

# What a string stands for in ``MultiTaskRegressor(sharing=...)``.
BY_NAME = {
    "independent": Independent,
    "partial_pooling": PartialPooling,
    "pooled": Pooled,
}
