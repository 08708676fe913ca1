"""Estimators for one target, with help from sources."""

from .estimator import TransferEstimator
from .source import Source, Unlabeled

__all__ = ["Source", "TransferEstimator", "Unlabeled"]
