"""Weights of the candidates for every task."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Shares"]

# Most candidates that are kept for new tasks.
_MOST_CARRIED = 64
# Weights below this fraction of a task's largest weight are set to zero, to save computation.
_LEAST_SHARE = 0.01


@dataclass
class Shares:
    """Weights of the candidates.

    Attributes
    ----------
    tasks : ndarray of shape (n_tasks, n_candidates)
    unseen : ndarray of shape (n_candidates,)
        Weights for an unseen task.
    allowed : bool ndarray of shape (n_candidates,)
        Candidates that may have a positive weight.
    prior : TaskPrior or None
        Prior weights of the allowed candidates for new tasks.
    """

    tasks: np.ndarray
    unseen: np.ndarray
    allowed: np.ndarray
    prior: object = None

    def pruned(self):
        """Return the weights with small ones set to zero."""
        return replace(self, tasks=_prune(self.tasks), unseen=_prune(self.unseen[None])[0])

    def take(self, candidates):
        """Return the weights of some of the candidates, without the prior."""
        return Shares(self.tasks[:, candidates], self.unseen[candidates], self.allowed[candidates])

    def for_new_tasks(self):
        """Return the positions of the candidates for new tasks, and their `TaskPrior`."""
        allowed = np.flatnonzero(self.allowed)
        if self.prior is None:
            return allowed[self.unseen[allowed] > 0], None
        weight = self.prior.at_sizes()
        weight = (weight / weight.max(axis=1, keepdims=True)).max(axis=0)
        kept = weight >= max(np.sort(weight)[-_MOST_CARRIED:][0], _LEAST_SHARE)
        return allowed[kept], self.prior.take(kept)


def _prune(shares):
    top = shares.max(axis=1, keepdims=True)
    kept = np.where(shares >= _LEAST_SHARE * top, shares, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)
