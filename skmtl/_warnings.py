"""Warnings that a cross-validation would repeat for every fold and candidate."""

import sys
import warnings
import weakref

from joblib import Parallel

__all__ = ["ELSEWHERE", "LATER", "once_per_search", "warn_user"]

# Where a warning is raised: outside of any search; for the first time in one, or again; in another
# process or thread than the search, where it is not seen whether it has been raised before.
OUTSIDE, FIRST, LATER, ELSEWHERE = "outside", "first", "later", "elsewhere"

_INSIDE = "skmtl", "sklearn", "joblib"

_told = weakref.WeakKeyDictionary()  # what every search in progress was told


def warn_user(message, columns):
    """Warn at the line of the user's that led here, and once in a cross-validation or search.

    Parameters
    ----------
    message : str
        With a place for the columns, ``{}``.
    columns : list of (label, str)
        Columns that it is about, and what was found of each, which differs by fold.
    """
    where = once_per_search((message, tuple(str(label) for label, _ in columns)))
    if where == LATER:
        return
    if where == ELSEWHERE:  # the same words for every fold and candidate: Python shows one
        shown = [repr(label) for label, _ in columns]
    else:
        shown = [f"{label!r} ({found})" for label, found in columns]
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    message = message.replace("{}", ", ".join(shown), 1)  # names may have braces
    warnings.warn(message, UserWarning, stacklevel=level + 1)


def once_per_search(kind):
    """Where a warning is raised, as to a cross-validation or search that may be going on.

    Parameters
    ----------
    kind : hashable
        Tells warnings apart.

    Returns
    -------
    {OUTSIDE, FIRST, LATER, ELSEWHERE}
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
        return OUTSIDE
    if search is None:
        return ELSEWHERE
    told = _told.setdefault(search, set())
    first = kind not in told
    told.add(kind)
    return FIRST if first else LATER
