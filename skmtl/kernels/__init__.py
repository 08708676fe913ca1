"""All compiled code: pure functions on arrays that know nothing of estimators.

Submodules are imported on first use, so that ``import skmtl`` does not import numba. Kernels may
call kernels of other files in this folder: after a change in any of these files, all kernels are
compiled again.
"""

import importlib

__all__ = [
    "adam",
    "arrow",
    "boosting",
    "exponential",
    "heads",
    "lasso",
    "meta_training",
    "mlp",
    "mlp_hessian",
    "moments",
    "newton",
    "quadratic",
    "shared_layers",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
