"""Cross-validated errors of candidates, and log-likelihoods from them."""

from dataclasses import dataclass, replace

import numpy as np

from .weights import log_scores, noise_level

__all__ = ["Judged", "LeftOut"]


@dataclass
class LeftOut:
    """Shared models fitted without some tasks.

    Attributes
    ----------
    tasks, group : ndarray of shape (n_left_out,)
        The left-out tasks, and the group that each is left out with.
    shared, unseen : ndarray of shape (n_groups, n_candidates, ...)
        Shared models fitted without each group, and the models that they give an unseen task.
    """

    tasks: np.ndarray
    group: np.ndarray
    shared: np.ndarray
    unseen: np.ndarray

    def subsample(self, step):
        """Return every `step`-th of the left-out tasks, with all models."""
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
        Products of the candidates' held-out errors, from which errors of blends are computed.
    repeats : float
        Number of times that each row was held out.
    probe : Probe or None
        Errors of single rows.
    noise : float or None
        Error per row of the table (`noise_level`); None for a loss other than the squared one.
    first_coef : list of ndarray or None
        For every split, the slopes of the first task under all candidates.
    factors : TaskFactors or None
        Weights of the tasks where the errors of several tasks decide; the errors are plain.
    """

    sse: np.ndarray
    rows: np.ndarray
    gram: np.ndarray | None
    repeats: float
    probe: object = None
    noise: float | None = None
    first_coef: list | None = None
    factors: object = None

    def of_shared(self, scores):
        """Return log-likelihoods of the tasks with the weights they have in a common choice."""
        return scores if self.factors is None else scores * self.factors.of_scores[:, None]

    def of_left_out(self, errors, rows, tasks):
        """Return errors and rows of left-out tasks with the weights of these tasks."""
        if self.factors is None:
            return errors, rows
        values = self.factors.values[tasks]
        return errors * values[:, None], rows * values

    def totals(self):
        """Return errors ``(n_tasks, n_candidates)`` and weights ``(n_tasks,)``, per repeat."""
        return self.sse.sum(0) / self.repeats, self.rows.sum(0) / self.repeats

    def scores(self):
        """Return the log-likelihoods of the candidates.

        Returns
        -------
        scores : ndarray of shape (n_tasks, n_candidates)
            Log-likelihoods of the tasks' held-out rows, up to a constant per task.
        log_prior : float or ndarray of shape (n_candidates,)
            Term to add to the log-weights of the candidates before any error is known.
        """
        errors, rows = self.totals()
        if self.factors is not None:
            errors = self.factors.weighted_errors(errors)
        return log_scores(errors, rows, self.noise_of_scores()), 0.0

    def noise_of_scores(self):
        """Return the error per row of the table, relative to known noise variances."""
        if self.factors is None or not self.factors.of_noise:
            return self.noise
        errors, rows = self.totals()
        return noise_level(self.factors.weighted_errors(errors), rows)

    def without(self, split):
        """Return the sums of the errors of the other splits, from which weights can be computed."""
        others = [k for k in range(len(self.rows)) if k != split]
        # Not copies of all splits, which are large if there are many tasks.
        sse, rows = sum(self.sse[k] for k in others), sum(self.rows[k] for k in others)
        return replace(self, sse=sse[None], rows=rows[None], gram=None)

    def gap(self, split, shares, others):
        """Return how much larger the errors of a split are with weights that it did not choose.

        Parameters
        ----------
        split : int
        shares, others : ndarray of shape (n_tasks, n_candidates)
            The weights, and those chosen by the other splits.
        """
        return ((others - shares) * self.sse[split]).sum(1)

    def optimism(self, gap):
        """Return by how much the errors per row are underestimated, from the sum of the gaps.

        They are underestimated because the splits that estimate them have also chosen the weights.
        """
        with np.errstate(invalid="ignore"):
            return np.maximum(gap / self.rows.sum(0), 0.0)

    def blend_errors(self, shares):
        """Return errors per row of a blend, and their standard errors over splits."""
        _, std_error = self.means(np.einsum("stc,tc->st", self.sse, shares))
        with np.errstate(invalid="ignore"):
            mean = np.einsum("tc,tck,tk->t", shares, self.gram, shares) / self.rows.sum(0)
        return np.maximum(mean, 0.0), std_error

    def errors_of_blends(self, blends):
        """Return `blend_errors` of several blends, their weights ``(n_tasks, n_candidates)``."""
        return [self.blend_errors(shares) for shares in blends]

    def means(self, sums):
        """Return means per row of sums ``(n_splits, n_tasks)``, and their standard errors."""
        total = self.rows.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums.sum(0) / total
            per_row = np.where(self.rows > 0, sums / self.rows, 0.0)
            used = (self.rows > 0).sum(0)
            std_error = np.sqrt((self.rows / total * (per_row - mean) ** 2).sum(0) / (used - 1))
        return mean, np.where(used > 1, std_error, np.nan)
