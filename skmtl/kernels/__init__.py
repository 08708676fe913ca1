"""All compiled code: pure functions on arrays that know nothing of estimators.

Submodules load on first use, so that ``import skmtl`` does not import numba. Kernels that call
each other may stand in several files: a change in any file here has all of them compiled anew.
"""

import importlib

__all__ = [
    "adam",
    "arrow",
    "boosting",
    "exponential",
    "heads",
    "lasso",
    "logistic",
    "meta_training",
    "mlp",
    "mlp_hessian",
    "moments",
    "quadratic",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
