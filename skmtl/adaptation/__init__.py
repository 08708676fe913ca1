"""How a source helps a target: one object a way."""

from .density_ratio import KLIEP, KMM, RuLSIF
from .pooling import Independent, Pooled

__all__ = ["BY_NAME", "KLIEP", "KMM", "Independent", "Pooled", "RuLSIF"]

# What a string stands for in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "independent": Independent,
    "pooled": Pooled,
    "kliep": KLIEP,
    "kmm": KMM,
    "rulsif": RuLSIF,
}
