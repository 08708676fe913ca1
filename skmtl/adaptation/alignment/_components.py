"""How many components describe a row, and their signs."""

import numpy as np

from ..base import check_number, is_auto

__all__ = ["check_components", "component_ways", "signs_of"]

# Without labels to judge by: components are kept until they explain this share of the variance.
_SHARE = 0.9
# Numbers of components that are tried, at most.
_N_CANDIDATES = 6


def check_components(owner):
    """Raise a ValueError unless `n_components` is "auto" or a whole number from 1."""
    check_number(
        owner, "n_components", least=1, auto=True, whole=True,
        why="how many components describe a row",
    )  # fmt: skip


def component_ways(wanted, spread, most):
    """Return numbers of components to try, and the one to take where there is nothing to judge by.

    `spread`: what each component explains, descending. `most` is at least one.
    """
    if not is_auto(wanted):
        only = {"n_components": min(wanted, most)}
        return [only], only
    tried = np.unique(np.rint(np.geomspace(1, most, min(_N_CANDIDATES, most))).astype(int))
    explained = np.cumsum(spread) / spread.sum()
    default = min(1 + int(np.sum(explained < _SHARE)), most)
    return [{"n_components": d} for d in tried.tolist()], {"n_components": default}


def signs_of(vectors):
    """Return factors that make the largest entry of each column positive."""
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return np.where(largest < 0.0, -1.0, 1.0)
