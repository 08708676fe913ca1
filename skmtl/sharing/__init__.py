"""Sharing structures: how the models of the tasks depend on each other."""

from .pooling import Independent, PartialPooling, Pooled

__all__ = ["Independent", "PartialPooling", "Pooled"]

# Strings that ``MultiTaskRegressor(sharing=...)`` accepts.
BY_NAME = {
    "independent": Independent,
    "partial_pooling": PartialPooling,
    "pooled": Pooled,
}
