"""Pictures of what sharing between tasks does, in the manner of scikit-learn's displays."""

from ._coefficients import TaskCoefficientsDisplay
from ._report import TaskReportDisplay

__all__ = ["TaskCoefficientsDisplay", "TaskReportDisplay"]
