"""The number of components of a row, and their signs."""

import numpy as np

from ..base import is_auto, number

__all__ = ["check_components", "component_candidates", "signs_of"]

# Without labels, components are kept until they explain this share of the variance.
_SHARE = 0.9
# At most this many numbers of components are tried.
_N_CANDIDATES = 6


check_components = number(least=1, auto=True, whole=True, why="the number of components of a row")


def component_candidates(n_components, spread, most):
    """Return numbers of components to try, and the one to use if there are no labels.

    Parameters
    ----------
    n_components : int or "auto"
    spread : ndarray of shape (n,)
        The variance that each component explains, descending.
    most : int
        The largest number of components; at least 1.
    """
    if not is_auto(n_components):
        only = {"n_components": min(n_components, most)}
        return [only], only
    tried = np.unique(np.rint(np.geomspace(1, most, min(_N_CANDIDATES, most))).astype(int))
    explained = np.cumsum(spread) / spread.sum()
    default = min(1 + int(np.sum(explained < _SHARE)), most)
    return [{"n_components": d} for d in tried.tolist()], {"n_components": default}


def signs_of(vectors):
    """Return factors that make the largest entry of each column positive."""
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return np.where(largest < 0.0, -1.0, 1.0)
