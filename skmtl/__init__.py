"""Learn across tasks with scikit-learn: share what helps, guarded against what does not."""

from .meta import MetaLearnerClassifier, MetaLearnerRegressor
from .multitask import MultiTaskClassifier, MultiTaskRegressor
from .transfer import Source, TransferEstimator, Unlabeled

__version__ = "0.1.0"

__all__ = [
    "MetaLearnerClassifier",
    "MetaLearnerRegressor",
    "MultiTaskClassifier",
    "MultiTaskRegressor",
    "Source",
    "TransferEstimator",
    "Unlabeled",
    "__version__",
]
