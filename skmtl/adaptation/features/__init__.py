"""Describe rows by more features, which tell the target from its sources."""

from .augmentation import FeatureAugmentation, PredictionFeature

__all__ = ["FeatureAugmentation", "PredictionFeature"]
