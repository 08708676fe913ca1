"""What problems of losses of scores have in common, whether their rows are in memory or not."""

from dataclasses import replace

import numpy as np
from scipy.special import softmax

from .newcomers import LogisticAdapter, NewtonAdapter

__all__ = ["ScoredProblem"]


class ScoredProblem:
    """Units, reports and adapters of a problem whose loss is one of the rows' scores.

    Attributes
    ----------
    loss : Loss
    n_classes : int
        Number of classes; 0 in a regression.
    noise : float
        What the weights of the rows were divided by.
    unit : float
        Factor on the targets of a regression.
    """

    @property
    def error_units(self):
        """Factors on losses in reports ``(n_tasks + 1,)``, which make them unit deviances."""
        if self.n_classes:
            return np.ones(self.n_tasks + 1)
        return np.full(self.n_tasks + 1, self.loss.factor * self.unit**-self.loss.degree)

    @property
    def fitted_loss(self):
        """The loss in the units of the caller's targets."""
        return self.loss.in_units(1.0 / self.unit)

    @property
    def strength_unit(self):
        """Factor on given strengths, which refer to the loss of the caller's targets."""
        of_penalty = 0.0 if self.loss.has_link else -2.0  # the unit of squares of coefficients
        return self.copies.unit * self.unit ** (self.loss.degree + of_penalty) / self.noise

    @property
    def target_units(self):
        """Units of the targets like `Problem.target_units`; a log-loss has no unit."""
        return np.ones(self.n_tasks), 1.0

    @property
    def n_scores(self):
        """Number of score sets: one for two classes, else one per class."""
        return self.n_classes if self.n_classes > 2 else 1

    def restrict(self, restriction):
        """Set the restriction."""
        if restriction.positive is not None:
            raise ValueError(
                "positive= and negative= of the sharing structure are for MultiTaskRegressor with "
                f"loss='squared_error' only; set them to None for {self.loss.name!r}."
            )
        self.restriction = restriction

    def feature_squares(self):
        """Return zeros, as only prediction intervals need the squares."""
        return np.zeros((self.n_tasks, self.n_features))

    def target_locations(self):
        """Return zeros and ones, as scores have no units."""
        return np.zeros(self.n_tasks + 1), np.ones(self.n_tasks + 1)

    @staticmethod
    def left_out_weights(loss, rows):
        """Return weights of candidates for an unseen task; each left-out task counts as one row."""
        return softmax(-len(loss) * loss.sum(0) / rows.sum())

    def few_shot_scores(self, member, left, judged):
        """Return None, as a few labels hardly distinguish the candidates by these losses."""
        return None

    def residual_scale(self, error, judged, shares):
        """Return None: intervals are for the squared error."""
        return None

    def adapter(self, grid, scalings, shared_models, shares, judged, residual_scale):
        """Return the adapter of candidates to new tasks.

        The shared models have the shape ``(n_candidates, n_scores, 1 + n_features)``.
        """
        kept, prior = shares.for_new_tasks()
        kind, more = NewtonAdapter, {}
        if self.n_classes:
            kind, more = (
                LogisticAdapter,
                {"prevalence": None if prior is None else self._prevalence()},
            )
        return kind(
            grid.take(kept), shared_models[kept], scalings, prior, shares.unseen[kept], self.noise,
            self.centre, self.scale, restriction=self.restriction,
            copies=replace(self.copies, table=None), variation=self.variation, loss=self.loss,
            unit=self.unit, **more,
        )  # fmt: skip

    def _prevalence(self):
        """Return the distribution over tasks of the classes' proportions."""
        raise NotImplementedError

    def _with_dispersion(self, found):
        """Return an `Inference` with the root of the dispersion of the caller's targets."""
        noise = np.nan
        if not self.n_classes:
            noise = np.sqrt(self.noise * self.unit**-self.loss.degree)
        return found and replace(found, noise=noise)
