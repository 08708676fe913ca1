"""How a source helps a target: one object a way."""

from .alignment import CORAL, TCA, OptimalTransport, SubspaceAlignment
from .augmentation import FeatureAugmentation, PredictionFeature
from .pooling import Independent, Pooled

__all__ = [
    "BY_NAME",
    "CORAL",
    "FeatureAugmentation",
    "Independent",
    "OptimalTransport",
    "Pooled",
    "PredictionFeature",
    "SubspaceAlignment",
    "TCA",
]

# What a string stands for in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "independent": Independent,
    "pooled": Pooled,
    "coral": CORAL,
    "subspace_alignment": SubspaceAlignment,
    "tca": TCA,
    "optimal_transport": OptimalTransport,
    "feature_augmentation": FeatureAugmentation,
    "prediction_feature": PredictionFeature,
}
