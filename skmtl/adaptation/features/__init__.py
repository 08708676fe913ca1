"""Describe rows by other features, in which what sources and target share is told apart."""

from .augmentation import FeatureAugmentation, PredictionFeature
from .feature_map import FeatureMap

__all__ = ["FeatureAugmentation", "FeatureMap", "PredictionFeature"]
