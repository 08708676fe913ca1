"""All compiled code: pure functions on arrays that know nothing of estimators.

Submodules load on first use, so that ``import skmtl`` does not import numba. Kernels that call
each other share a file: numba's cache notices changes of a kernel's own file only.
"""

import importlib

__all__ = [
    "arrow",
    "boosting",
    "exponential",
    "heads",
    "lasso",
    "logistic",
    "mlp",
    "moments",
    "quadratic",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
