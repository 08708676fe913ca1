"""Cross-validated errors of candidates, and verdicts from them."""

from dataclasses import dataclass, replace

import numpy as np

from .weights import log_scores

__all__ = ["Judged", "LeftOut", "Verdict"]


@dataclass
class Verdict:
    """What judged candidates weigh by.

    Attributes
    ----------
    scores : ndarray of shape (n_tasks, n_candidates)
        The tasks' verdicts.
    log_prior : ndarray of shape (n_candidates,)
        Added to what the candidates weigh before any verdict.
    """

    scores: np.ndarray
    log_prior: np.ndarray


@dataclass
class LeftOut:
    """Shared models without some tasks.

    Attributes
    ----------
    tasks, group : ndarray of shape (n_left_out,)
        The tasks, and the group that each is left out with.
    theta, unseen : ndarray of shape (n_groups, n_candidates, ...)
        The models, and the same as they predict a task of which nothing is known.
    """

    tasks: np.ndarray
    group: np.ndarray
    theta: np.ndarray
    unseen: np.ndarray

    def every(self, step):
        """Of every so many of the tasks only."""
        return replace(self, tasks=self.tasks[::step], group=self.group[::step])


@dataclass
class Judged:
    """Cross-validated errors of candidates, on the standardised target.

    Attributes
    ----------
    sse : ndarray of shape (n_splits, n_tasks, n_candidates)
    rows : ndarray of shape (n_splits, n_tasks)
        Held-out weights.
    gram : ndarray of shape (n_tasks, n_candidates, n_candidates) or None
        Products of the candidates' held-out errors, for the errors of blends.
    repeats : float
        How often each row was held out.
    probe : Probe or None
        Errors of single rows.
    noise : float or None
        The table's error per row (`noise_level`), where it is wanted more than once.
    first : list of ndarray or None
        For every split the slopes of the first task under all candidates.
    """

    sse: np.ndarray
    rows: np.ndarray
    gram: np.ndarray | None
    repeats: float
    probe: object = None
    noise: float | None = None
    first: list | None = None

    def totals(self):
        """Errors ``(n_tasks, n_candidates)`` and weights ``(n_tasks,)``, per repeat."""
        return self.sse.sum(0) / self.repeats, self.rows.sum(0) / self.repeats

    def verdict(self):
        """How well the candidates predicted, as log-likelihoods; a `Verdict`."""
        scores = log_scores(*self.totals(), self.noise)
        return Verdict(scores, np.zeros(scores.shape[1]))

    def without(self, split):
        """What is known without one split, to weigh candidates by."""
        keep = np.arange(len(self.rows)) != split
        return replace(self, sse=self.sse[keep], rows=self.rows[keep], gram=None)

    def optimism(self, shares, others):
        """How much lower the error a row seems as the judging splits chose the shares.

        Parameters
        ----------
        shares : ndarray of shape (n_tasks, n_candidates)
        others : list of ndarray
            The shares that each split's others would have chosen.
        """
        gap = sum(((o - shares) * sse).sum(1) for o, sse in zip(others, self.sse, strict=True))
        with np.errstate(invalid="ignore"):
            return np.maximum(gap / self.rows.sum(0), 0.0)

    def blend_errors(self, shares):
        """Errors a row of a blend, and their standard errors from the spread over splits."""
        _, std_error = self.means(np.einsum("stc,tc->st", self.sse, shares))
        with np.errstate(invalid="ignore"):
            mean = np.einsum("tc,tck,tk->t", shares, self.gram, shares) / self.rows.sum(0)
        return np.maximum(mean, 0.0), std_error

    def means(self, each):
        """Means a row of the sums ``(n_splits, n_tasks)``, and the means' standard errors."""
        total = self.rows.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = each.sum(0) / total
            per_row = np.where(self.rows > 0, each / self.rows, 0.0)
            used = (self.rows > 0).sum(0)
            std_error = np.sqrt((self.rows / total * (per_row - mean) ** 2).sum(0) / (used - 1))
        return mean, np.where(used > 1, std_error, np.nan)
