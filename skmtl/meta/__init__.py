"""Be ready for tasks not yet seen, with a few labels each."""

from .classifier import MetaLearnerClassifier
from .regressor import MetaLearnerRegressor

__all__ = ["MetaLearnerClassifier", "MetaLearnerRegressor"]
