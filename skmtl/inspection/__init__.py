"""Displays of what sharing between tasks does, modelled on scikit-learn's displays."""

from ._coefficients import TaskCoefficientsDisplay
from ._few_shot_curve import few_shot_curve
from ._few_shots import FewShotCurveDisplay
from ._member_report import MemberReportDisplay
from ._meta_training import MetaTrainingDisplay
from ._report import TaskReportDisplay
from ._training import TrainingCurveDisplay
from ._transfer_report import TransferReportDisplay

__all__ = [
    "FewShotCurveDisplay",
    "MemberReportDisplay",
    "MetaTrainingDisplay",
    "TaskCoefficientsDisplay",
    "TaskReportDisplay",
    "TrainingCurveDisplay",
    "TransferReportDisplay",
    "few_shot_curve",
]
