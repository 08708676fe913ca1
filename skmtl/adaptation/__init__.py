"""How a source helps a target: one object a way."""

from .boosting import TrAdaBoost, TrAdaBoostR2, TwoStageTrAdaBoostR2
from .pooling import Independent, Pooled

__all__ = [
    "BY_NAME",
    "Independent",
    "Pooled",
    "TrAdaBoost",
    "TrAdaBoostR2",
    "TwoStageTrAdaBoostR2",
]

# What a string stands for in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "independent": Independent,
    "pooled": Pooled,
    "tradaboost": TrAdaBoost,
    "tradaboost_r2": TrAdaBoostR2,
    "two_stage_tradaboost_r2": TwoStageTrAdaBoostR2,
}
