"""The part of the multi-task regressor that deals with losses other than the squared error."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.validation import column_or_1d

from .._validation import as_numbers, check_weights
from ..losses import LOG_LOSS, SQUARED_ERROR
from ..losses.per_task import BY_NAME
from ..sharing.newton_problem import NewtonProblem
from ..sharing.tree import TaskTree

__all__ = ["LossMixin", "deviance_explained"]


class LossMixin:
    """Minimise losses of scores, and predict by their links."""

    loss: object = "squared_error"  # of models that were pickled before it was a parameter
    _fitted_loss = SQUARED_ERROR

    def _scores_loss(self):
        """Return the loss that linear models minimise by Newton's method; None for others."""
        loss = BY_NAME.get(self.loss) if isinstance(self.loss, str) else self.loss
        other = bool(getattr(loss, "code", "")) and loss is not LOG_LOSS
        return loss if other else None

    def _check_scores_loss(self):
        """Raise a ValueError for parameters that such a loss does not go with."""
        loss = self._scores_loss()
        if loss is None:
            return
        reasons = {
            "keep_moments=True": (self.keep_moments, "keep_moments=False"),
            f"grouping_columns={self.grouping_columns!r}": (
                self.grouping_columns is not None and not loss.has_link, "grouping_columns=None",
            ),
            "target_scale='task'": (self.target_scale == "task", "target_scale='auto'"),
            "task_weight='uncertainty'": (
                isinstance(self.task_weight, str) and self.task_weight == "uncertainty",
                "task_weight='balanced' or None",
            ),
            f"estimator={self.estimator!r}": (self.estimator is not None, "estimator=None"),
            "sharing=TaskTree": (
                isinstance(self._named_object(), TaskTree) and not loss.has_link,
                "sharing='partial_pooling'",
            ),
        }  # fmt: skip
        for given, (is_given, remedy) in reasons.items():
            if is_given:
                raise ValueError(
                    f"loss={self.loss!r} cannot be combined with {given}; set {remedy}, or "
                    "loss='squared_error'."
                )

    def _check_task_source(self, task, y):
        has_link = getattr(self._scores_loss(), "has_link", False)
        if has_link and y.ndim == 2 and y.shape[1] == 1:  # which has no tag of several outputs
            y = column_or_1d(y, warn=True)
        return super()._check_task_source(task, y)

    def _newton_problem(self, progress, space, parts, executor, **kwargs):
        return NewtonProblem(
            space.table, 0, parts, self.tol, self.max_iter, self._scores_loss(), executor=executor,
            progress=progress, standardise=space.standardise, **kwargs,
        )  # fmt: skip

    def _warn_of_residual(self, fitted):
        if fitted.kkt_residual > self.tol:
            warnings.warn(
                f"the final fit stopped at a residual of {fitted.kkt_residual:.1e}, above "
                f"tol={self.tol:g}, after {fitted.n_iter} steps; increase "
                f"max_iter={self.max_iter} or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _refuse_std(self):
        """Raise a ValueError if residuals have no scale because of the loss."""
        if self._fitted_loss is not SQUARED_ERROR:
            raise ValueError(
                f"return_std=True and predict_interval are for the squared error, but the model "
                f"was fitted with loss={self._fitted_loss.name!r}; fit two models with "
                "loss=skmtl.losses.Quantile(0.05) and Quantile(0.95) for an interval."
            )


def deviance_explained(loss, y, prediction, sample_weight=None):
    """Return D², the share of the deviance that predictions explain.

    For a 2-D `y`, the mean over tasks, each over its labelled rows.
    """
    y, prediction = as_numbers(y, "y"), np.asarray(prediction)
    if y.ndim == 2 and y.shape[1] == 1 and prediction.ndim == 1:
        y = y[:, 0]
    check_consistent_length(y, prediction, sample_weight)
    if y.ndim == 1:
        assert_all_finite(y, input_name="y")
    loss.check_target(y[~np.isnan(y)])
    weight = check_weights(sample_weight, len(y))
    weight = np.ones(len(y)) if weight is None else weight
    if y.ndim == 1:
        return _explained(loss, y, prediction, weight)
    found = []
    for target, mean in zip(y.T, prediction.T, strict=True):
        live = ~np.isnan(target) & (weight > 0)
        if live.sum() > 1:
            found.append(_explained(loss, target[live], mean[live], weight[live]))
    return float(np.mean(found)) if found else np.nan


def _explained(loss, y, prediction, weight):
    scores = np.log(prediction) if loss.has_link else prediction
    left, total = weight @ loss.deviance(scores, y), 0.0
    if not loss.has_link or y.any():  # the best constant of zeros is zero, without a deviance
        total = weight @ loss.deviance(np.full(len(y), loss.constant(y, weight)), y)
    if total <= 0.0:  # as in R²: perfect or not
        return 1.0 if left == 0.0 else 0.0
    return float(1.0 - left / total)
