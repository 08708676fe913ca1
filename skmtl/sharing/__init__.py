"""Sharing structures: how the models of the tasks depend on each other."""

import re

from .auto import Auto
from .estimator import SharedEstimator
from .hidden_layers import SharedHiddenLayers
from .pooling import Independent, PartialPooling, Pooled
from .tree import TaskTree

__all__ = [
    "Auto",
    "Independent",
    "PartialPooling",
    "Pooled",
    "SharedEstimator",
    "SharedHiddenLayers",
    "TaskTree",
]

# Strings that ``MultiTaskRegressor(sharing=...)`` accepts: "partial_pooling" and so on. They stand
# for objects without arguments, but `SharedEstimator` needs one.
BY_NAME = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): globals()[name]
    for name in __all__
    if not name.startswith("Shared")
} | {"hidden_layers": SharedHiddenLayers}
