"""Meta-learning: adapt to new tasks with a few labelled rows each."""

from .classifier import MetaLearnerClassifier
from .regressor import MetaLearnerRegressor

__all__ = ["MetaLearnerClassifier", "MetaLearnerRegressor"]
