"""Fit on other features: copies per domain, predictions of the sources, a shared map."""

from .augmentation import FeatureAugmentation, PredictionFeature
from .feature_map import FeatureMap

__all__ = ["FeatureAugmentation", "FeatureMap", "PredictionFeature"]
