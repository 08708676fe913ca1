"""Parameters that make no sense, told alike by all adaptations."""

import numbers

import numpy as np

__all__ = ["check_bool", "check_choice", "check_number", "is_auto"]


def is_auto(value):
    """Whether a parameter is the word "auto"; arrays and numbers are not compared with it."""
    return isinstance(value, str) and value == "auto"


def check_number(
    owner, name, *, above=None, least=None, below=None, auto=False, whole=False, infinite=False, why
):
    """Raise a ValueError unless a parameter is "auto" (where allowed) or such a number.

    Parameters
    ----------
    owner : Adaptation
    name : str
        Of the parameter.
    above, least, below : float or None
        Bounds; that of `least` is allowed itself.
    auto, whole, infinite : bool
        Whether "auto" is allowed, the number must be whole, and it may be infinite.
    why : str
        What the parameter is, for the error.
    """
    value = getattr(owner, name)
    if (auto and is_auto(value)) or _is_such(value, above, least, below, whole, infinite):
        return
    wanted = "a whole number" if whole else "a number"
    wanted += "" if above is None else f" above {above:g}"
    if least is not None:
        wanted += f" from {least:g} to infinity" if infinite else f" of at least {least:g}"
    wanted += "" if below is None else f" and below {below:g}"
    wanted = "'auto' or " * auto + wanted
    raise ValueError(f"{name}={value!r} must be {wanted}: {why}.")


def _is_such(value, above, least, below, whole, infinite):
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    if value == np.inf:
        return infinite
    return (
        np.isfinite(value)
        and (not whole or isinstance(value, numbers.Integral))
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
    )


def check_choice(owner, name, choices):
    """Raise a ValueError unless a parameter is one of two strings or more."""
    value = getattr(owner, name)
    if not isinstance(value, str) or value not in choices:
        said = [repr(choice) for choice in choices]
        raise ValueError(f"{name}={value!r} must be {', '.join(said[:-1])} or {said[-1]}.")


def check_bool(owner, name, *, auto=False):
    """Raise a ValueError unless a parameter is a bool, or "auto" where allowed."""
    value = getattr(owner, name)
    if not isinstance(value, (bool, np.bool_)) and not (auto and is_auto(value)):
        wanted = "'auto', " * auto + "True or False"
        raise ValueError(f"{name}={value!r} must be {wanted}.")
