"""Adaptations that add or transform features: columns per domain, predictions, a shared map."""

from .augmentation import FeatureAugmentation, PredictionFeature
from .feature_map import FeatureMap

__all__ = ["FeatureAugmentation", "FeatureMap", "PredictionFeature"]
