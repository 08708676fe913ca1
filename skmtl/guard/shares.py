"""What every task uses of the candidates."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Shares"]

# Candidates that are kept for tasks to come.
_MOST_CARRIED = 64
# A candidate's share of a task below this is not worth its arithmetic.
_LEAST_SHARE = 0.01


@dataclass
class Shares:
    """Candidates' weights: ``tasks (n_tasks, n_candidates)`` and ``crowd (n_candidates,)``.

    `family` says which candidates may have any; `prior` is what a task to come starts from, a
    `TaskPrior` of these, or None.
    """

    tasks: np.ndarray
    crowd: np.ndarray
    family: np.ndarray
    prior: object = None

    def pruned(self):
        """The same without small shares."""
        return replace(self, tasks=_prune(self.tasks), crowd=_prune(self.crowd[None])[0])

    def take(self, candidates):
        """Return the weights of some of the candidates, without what new tasks start from."""
        return Shares(self.tasks[:, candidates], self.crowd[candidates], self.family[candidates])

    def for_new_tasks(self):
        """Positions of the candidates that a new task may use, and the `TaskPrior` of these."""
        family = np.flatnonzero(self.family)
        if self.prior is None:
            return family[self.crowd[family] > 0], None
        weight = self.prior.at_sizes()
        weight = (weight / weight.max(axis=1, keepdims=True)).max(axis=0)
        least = max(np.sort(weight)[-_MOST_CARRIED:][0], _LEAST_SHARE)
        kept = weight >= least
        return family[kept], self.prior.take(kept)


def _prune(shares):
    top = shares.max(axis=1, keepdims=True)
    kept = np.where(shares >= _LEAST_SHARE * top, shares, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)
