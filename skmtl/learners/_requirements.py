"""Conditions on the parameters of learners, each a predicate and the words for an error."""

from numbers import Integral, Real

import numpy as np

__all__ = [
    "AUTO_OR_COUNT", "AUTO_OR_POSITIVE", "COUNT", "FLAG", "FRACTION", "HIDDEN_LAYERS",
    "OPTIONAL_COUNT", "POSITIVE", "SEVERAL_STEPS", "one_of",
]  # fmt: skip


def _is_flag(value):
    return isinstance(value, (bool, np.bool_))


def _is_count(value):
    return isinstance(value, Integral) and not _is_flag(value) and value >= 1


def _is_number(value):
    return isinstance(value, Real) and not _is_flag(value)


def _is_positive(value):
    return _is_number(value) and 0 < value < np.inf


def _is_auto(value):
    return isinstance(value, str) and value == "auto"


def _are_widths(value):
    listed = isinstance(value, (list, tuple)) or getattr(value, "ndim", None) == 1
    return _is_count(value) or (listed and all(_is_count(width) for width in value))


def one_of(*names):
    """Return the condition that a value is one of these strings."""
    return (
        lambda value: isinstance(value, str) and value in names,
        f"it must be one of {names}",
    )


COUNT = _is_count, "it must be an integer of at least 1"
OPTIONAL_COUNT = (
    lambda value: value is None or _is_count(value),
    "it must be an integer of at least 1, or None",
)
AUTO_OR_COUNT = (
    lambda value: _is_auto(value) or _is_count(value),
    'it must be an integer of at least 1, or "auto"',
)
SEVERAL_STEPS = (
    lambda value: _is_count(value) and value >= 2,
    "it must be an integer of at least 2; with a single step, Reptile only fits the mean of all "
    "tasks",
)
FLAG = _is_flag, "it must be True or False"
POSITIVE = _is_positive, "it must be a number above zero"
AUTO_OR_POSITIVE = (
    lambda value: _is_auto(value) or _is_positive(value),
    'it must be a number above zero, or "auto"',
)
FRACTION = (
    lambda value: _is_number(value) and 0 <= value < 1,
    "it must be a number of at least 0 and below 1",
)
HIDDEN_LAYERS = (
    _are_widths,
    "give the width of each hidden layer in a tuple, as integers of at least 1; () is a linear "
    "model",
)
