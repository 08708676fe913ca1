"""Boosting in which source rows that are predicted badly lose weight."""

from .tradaboost import TrAdaBoost, TrAdaBoostR2, TwoStageTrAdaBoostR2

__all__ = ["TrAdaBoost", "TrAdaBoostR2", "TwoStageTrAdaBoostR2"]
