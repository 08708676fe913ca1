"""Warnings that are raised once per search, instead of for every fold and candidate."""

import sys
import threading
import warnings
import weakref
from time import monotonic

from joblib import Parallel

__all__ = ["ELSEWHERE", "LATER", "once_per_search", "warn_user"]

# Where a warning is raised: outside of any search; for the first time in a search, or again; for
# the first time in a worker process or thread of a search, which does not know those of the others.
OUTSIDE, FIRST, LATER, ELSEWHERE = "outside", "first", "later", "elsewhere"

_INSIDE = "skmtl", "sklearn", "joblib"

# The kinds of warnings that each running search has raised.
_raised: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

# In workers, which know no search: when a kind was last raised, or would have been. scikit-learn
# sets the filters anew for every fold and candidate, whereupon Python shows a warning again. A
# search is taken for over if a kind has not occurred for so many seconds.
_occurred: dict = {}
_lock = threading.Lock()
_SILENCE = 60.0


def warn_user(message, columns):
    """Warn at the user's line of code, and only once in a cross-validation or search.

    Parameters
    ----------
    message : str
        The message, with ``{}`` in place of the columns.
    columns : list of (label, str)
        The columns concerned, and what was found in each; the latter may differ between folds.
    """
    where = once_per_search((message, tuple(str(label) for label, _ in columns)))
    if where == LATER:
        return
    if where == ELSEWHERE:  # one text for all folds and candidates
        shown = [repr(label) for label, _ in columns]
    else:
        shown = [f"{label!r} ({found})" for label, found in columns]
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    message = message.replace("{}", ", ".join(shown), 1)  # names may have braces
    warnings.warn(message, UserWarning, stacklevel=level + 1)


def once_per_search(kind):
    """Return whether a warning is raised inside a cross-validation or search, and if again.

    Parameters
    ----------
    kind : hashable
        Identifies the warning.

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
        return ELSEWHERE if _is_news(kind) else LATER
    raised = _raised.setdefault(search, set())
    is_first = kind not in raised
    raised.add(kind)
    return FIRST if is_first else LATER


def _is_news(kind):
    """Return whether a kind of warning has not occurred in this process for a while."""
    with _lock:
        now, before = monotonic(), _occurred.get(kind, -_SILENCE)
        _occurred[kind] = now
    return now - before >= _SILENCE
