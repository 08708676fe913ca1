"""Formulas of the data's fit: one file per loss."""

from .base import Loss
from .log_loss import LOG_LOSS
from .squared import SQUARED_ERROR

__all__ = ["LOG_LOSS", "SQUARED_ERROR", "Loss"]
