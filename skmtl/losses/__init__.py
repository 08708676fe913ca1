"""Loss functions."""

from .base import Loss
from .counts import GAMMA, POISSON
from .log_loss import LOG_LOSS
from .per_task import TaskLosses, mean_and_std
from .robust import ABSOLUTE_ERROR, Huber, Quantile
from .squared import SQUARED_ERROR

__all__ = [
    "ABSOLUTE_ERROR", "GAMMA", "LOG_LOSS", "POISSON", "SQUARED_ERROR", "Huber", "Loss", "Quantile",
    "TaskLosses", "mean_and_std",
]  # fmt: skip
