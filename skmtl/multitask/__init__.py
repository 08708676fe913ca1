"""Estimators that fit all tasks of a table together."""

from ._summary import FitSummary
from .classifier import MultiTaskClassifier
from .regressor import MultiTaskRegressor

__all__ = ["FitSummary", "MultiTaskClassifier", "MultiTaskRegressor"]
