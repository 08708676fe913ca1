"""Loss functions, one per file."""

from .base import Loss
from .log_loss import LOG_LOSS
from .per_task import TaskLosses, mean_and_std
from .squared import SQUARED_ERROR

__all__ = ["LOG_LOSS", "SQUARED_ERROR", "Loss", "TaskLosses", "mean_and_std"]
