"""Warnings that a cross-validation would repeat for every fold and candidate."""

import sys
import warnings
import weakref

from joblib import Parallel

__all__ = ["once_per_search", "warn_user"]

_INSIDE = "skmtl", "sklearn", "joblib"

_told = weakref.WeakKeyDictionary()  # what every search in progress was told


def warn_user(message, category):
    """Warn at the line of the user's that led here, and once in a cross-validation or search."""
    if once_per_search(message) is False:
        return
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


def once_per_search(kind):
    """Whether a warning is due where a cross-validation or search is going on.

    Parameters
    ----------
    kind : hashable
        Tells warnings apart.

    Returns
    -------
    bool or None
        None outside of any; True for the first warning inside of one, False for later ones. In
        another process or thread, where the search itself is not seen, True.
    """
    inside, search = False, None
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        inside = inside or module.startswith("sklearn.model_selection.")
        if module == "joblib.parallel" and isinstance(frame.f_locals.get("self"), Parallel):
            search = frame.f_locals["self"]  # the outermost is kept
        frame = frame.f_back
    if not inside:
        return None
    if search is None:
        return True
    told = _told.setdefault(search, set())
    first = kind not in told
    told.add(kind)
    return first
