"""Adaptations: methods by which source rows help a target, one class per method."""

from .alignment import CORAL, TCA, OptimalTransport, SubspaceAlignment
from .boosting import TrAdaBoost, TrAdaBoostR2, TwoStageTrAdaBoostR2
from .features import FeatureAugmentation, FeatureMap, PredictionFeature
from .parameters import FineTune, ShrinkToSource, TransLasso
from .reweighting import KLIEP, KMM, RuLSIF
from .selection import Auto, Independent, Pooled

__all__ = [
    "BY_NAME",
    "Auto",
    "CORAL",
    "FeatureAugmentation",
    "FeatureMap",
    "FineTune",
    "Independent",
    "KLIEP",
    "KMM",
    "OptimalTransport",
    "Pooled",
    "PredictionFeature",
    "RuLSIF",
    "ShrinkToSource",
    "SubspaceAlignment",
    "TCA",
    "TrAdaBoost",
    "TrAdaBoostR2",
    "TransLasso",
    "TwoStageTrAdaBoostR2",
]

# The names of adaptations in ``TransferEstimator(adaptation=...)``.
BY_NAME = {
    "auto": Auto,
    "independent": Independent,
    "pooled": Pooled,
    "trans_lasso": TransLasso,
    "shrink_to_source": ShrinkToSource,
    "fine_tune": FineTune,
    "feature_map": FeatureMap,
    "feature_augmentation": FeatureAugmentation,
    "prediction_feature": PredictionFeature,
    "kmm": KMM,
    "kliep": KLIEP,
    "rulsif": RuLSIF,
    "coral": CORAL,
    "subspace_alignment": SubspaceAlignment,
    "tca": TCA,
    "optimal_transport": OptimalTransport,
    "tradaboost": TrAdaBoost,
    "tradaboost_r2": TrAdaBoostR2,
    "two_stage_tradaboost_r2": TwoStageTrAdaBoostR2,
}
