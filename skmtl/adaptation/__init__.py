"""How a source helps a target: one object a way."""

from .networks import FeatureMap, FineTune
from .parameters import ShrinkToSource
from .pooling import Independent, Pooled

__all__ = ["BY_NAME", "FeatureMap", "FineTune", "Independent", "Pooled", "ShrinkToSource"]

# What a string stands for in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "independent": Independent,
    "pooled": Pooled,
    "feature_map": FeatureMap,
    "fine_tune": FineTune,
    "shrink_to_source": ShrinkToSource,
}
