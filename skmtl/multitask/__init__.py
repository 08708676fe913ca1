"""Predict well for all tasks of a table."""

from .classifier import MultiTaskClassifier
from .regressor import MultiTaskRegressor

__all__ = ["MultiTaskClassifier", "MultiTaskRegressor"]
