"""Learn across tasks with scikit-learn: share what helps, guarded against what does not."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

# The subpackages of the names above. They are imported on first access, because `python -m skmtl`
# imports this package first and should report a mistyped path without delay.
_SUBPACKAGES = {
    "MetaLearnerClassifier": "meta",
    "MetaLearnerRegressor": "meta",
    "MultiTaskClassifier": "multitask",
    "MultiTaskRegressor": "multitask",
    "Source": "transfer",
    "TransferEstimator": "transfer",
    "Unlabeled": "transfer",
}


def _submodules():
    return [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]


def __getattr__(name):
    if name in _SUBPACKAGES:
        value = getattr(importlib.import_module(f".{_SUBPACKAGES[name]}", __name__), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and name in _submodules():
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__, *_submodules()})
