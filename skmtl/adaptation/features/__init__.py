"""Adaptations by other features: columns per domain, predictions of sources, a shared map."""

from .augmentation import FeatureAugmentation, PredictionFeature
from .feature_map import FeatureMap

__all__ = ["FeatureAugmentation", "FeatureMap", "PredictionFeature"]
