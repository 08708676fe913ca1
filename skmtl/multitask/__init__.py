"""Estimators that fit all tasks of a table together."""

from .classifier import MultiTaskClassifier
from .regressor import MultiTaskRegressor

__all__ = ["MultiTaskClassifier", "MultiTaskRegressor"]
