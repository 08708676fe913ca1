"""Hidden layers of a perceptron as the part of the model that tasks share."""

import copy
import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from .estimator import SharedLearner
from .layers_learner import LayersLearner, curves_of

__all__ = ["SharedHiddenLayers"]


class SharedHiddenLayers(SharedLearner):
    r"""A multilayer perceptron whose hidden layers are shared, with a linear head per task.

    With the last hidden units :math:`z(x)` of the shared layers and :math:`\tilde z = (z, 1)`,
    task :math:`t` has the score :math:`f_t(x) = \tilde z(x)'(m + d_t)`. On standardised features
    and targets, training minimises

    .. math:: \sum_t \frac{1}{v_t} \sum_{i \in t} w_i \frac{(y_i - f_t(x_i))^2}{2}
              + \frac{\alpha}{2} \Big(\sum_l \|W_l\|^2 + \|m\|^2\Big)
              + \frac{\alpha_h}{2} \sum_t \|d_t\|^2

    (or, for two classes, the log-losses of log-odds :math:`f_t`) by Adam with early stopping on a
    validation part of the rows. The :math:`v_t` are one, or
    proportional to the noise of each task if this is learned. The heads are then solved for
    exactly, under a Gaussian prior that is learned from the tasks. A perceptron is fitted in every
    split of `cv`; predictions are the mean of these perceptrons, plus an intercept per task that is
    fitted on what they leave over on held-out rows. For classes they are logistic models of the
    perceptrons' log-odds, with an intercept per task.

    With different losses side by side (``loss=`` of `MultiTaskRegressor`), training minimises

    .. math:: \sum_t \frac{1}{v_t} \sum_{i \in t} w_i\, \ell_t(y_i, f_t(x_i))
              + \frac{\alpha}{2} \Big(\sum_l \|W_l\|^2 + \|m\|^2\Big)
              + \frac{\alpha_h}{2} \sum_t \|d_t\|^2,

    where :math:`\ell_t` is :math:`(y - f)^2 / 2` on targets that are standardised over all tasks
    of squared error (in each task with ``target_scale="task"``), or the log-loss
    :math:`\log(1 + e^f) - y f` of targets 0 and 1. Predictions are the means over the
    perceptrons, of :math:`f_t` in the units of the target or of the probability
    :math:`1 / (1 + e^{-f_t})`, without intercepts on what is left over. With
    ``task_weight="uncertainty"`` the :math:`v_t` are learned in the training, as with
    ``task_noise="per_task"``; :math:`\sigma_t^2` of a task with the log-loss is twice its mean
    loss. A task never seen in `fit` gets the mean heads, with the loss of all tasks or, if they
    differ, as a number.

    A new task (``adapt``) gets heads of its own, shrunk towards the mean heads; the hidden layers
    stay as they are.

    The ``history_`` of the fitted estimator has the training curves, one row per check of the
    validation loss (every epoch, or as many epochs as have 50 steps), and these columns:

    - ``split``: number of the perceptron, from 1, in the order of the splits of `cv`; on small
      tables the splits are repeated with other folds.
    - ``epoch``: epochs trained so far.
    - ``train_loss``: mean loss since the previous row, without penalties: half the squared error in
      units of the variance of the target or, if the noise is learned, half of one plus the mean
      logarithm of the noise whose ratios are :math:`v_t` and whose level is that of the errors.
    - ``validation_loss``: the same loss of the running mean of the parameters, on the validation
      part of the split's training rows. It is NaN if there are too few rows for one.
    - ``alpha``: strength that was used. Curves of other strengths are not kept.
    - ``kept``: whether the number of epochs is that of the fitted perceptron, whose validation loss
      is the lowest.
    - ``task_noise``, only if the noise is learned, of shape (n_rows, n_tasks): variance of
      each task's noise, in units of the variance of the target; with more than 100 tasks instead
      ``task_noise_quantiles``, of shape (n_rows, 5): minimum, quartiles and maximum.

    `skmtl.inspection.TrainingCurveDisplay` draws it. With ``verbose=1``, every tenth check is
    printed. Ctrl-C ends the fit after the present epoch, and a fitted estimator stays as it was.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(64, 32)
        Widths of the hidden layers.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden layers.
    alpha : "auto" or float, default="auto"
        Ridge strength on the weights of the hidden layers and on the mean head, in the unit of the
        loss summed over rows. "auto" tries 10, 3 and 1 on the validation part.
    task_noise : {"common", "per_task"}, default="common"
        Whether the variance of the noise is the same for all tasks, or learned for each (Kendall et
        al. 2018), so that noisy tasks count less: it is the task's mean squared error, averaged
        with that of all tasks as ten rows. :math:`v_t` is proportional to it, and the weighted mean
        of :math:`1 / v_t` is one.
    max_iter : int, default=1000
        Largest number of epochs.

    Raises
    ------
    ValueError
        In `fit`, for an invalid parameter, for sparse X, for more than two classes, and for
        ``cv=None``.

    References
    ----------
    Caruana, R. (1997). Multitask learning. Machine Learning 28. :doi:`10.1023/A:1007379606734`

    Kendall, A., Gal, Y. and Cipolla, R. (2018). Multi-task learning using uncertainty to weigh
    losses for scene geometry and semantics. CVPR. :doi:`10.1109/CVPR.2018.00781`

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import SharedHiddenLayers
    >>> rng = np.random.default_rng(0)
    >>> X, task = rng.normal(size=(400, 2)), rng.integers(4, size=400)
    >>> y = np.abs(X[:, 0]) * (1 + task) + 0.1 * rng.normal(size=400)
    >>> sharing = SharedHiddenLayers(hidden_layer_sizes=(16,))
    >>> model = MultiTaskRegressor(sharing, random_state=0).fit(X, y, task=task)
    >>> model.score(X, y, task=task) > 0.9
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64, 32),
        *,
        activation: Literal["relu", "tanh"] = "relu",
        alpha: float | Literal["auto"] = "auto",
        task_noise: Literal["common", "per_task"] = "common",
        max_iter: int = 1000,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.task_noise = task_noise
        self.max_iter = max_iter

    own, _name, _report = "intercept", "hidden_layers", None
    mixes_losses = True

    def check(self) -> None:
        """Raise a ValueError for an invalid parameter."""
        sizes = self.hidden_layer_sizes
        if not np.iterable(sizes) or not len(sizes) or not all(map(_is_count, sizes)):
            raise ValueError(
                f"hidden_layer_sizes={sizes!r} must be a sequence of widths, whole numbers of at "
                "least 1, such as (64, 32)."
            )
        if self.activation not in ("relu", "tanh"):
            raise ValueError(f"activation={self.activation!r} is unknown; give 'relu' or 'tanh'.")
        is_number = isinstance(self.alpha, numbers.Real) and not isinstance(self.alpha, bool)
        if self.alpha != "auto" and not (is_number and 0.0 <= self.alpha < np.inf):
            raise ValueError(f"alpha={self.alpha!r} must be 'auto' or a number of at least 0.")
        if self.task_noise not in ("common", "per_task"):
            raise ValueError(
                f"task_noise={self.task_noise!r} is unknown; give 'common' or 'per_task'."
            )
        if not _is_count(self.max_iter):
            raise ValueError(f"max_iter={self.max_iter!r} must be a whole number of at least 1.")

    def _learner(self):
        options = {
            "hidden": tuple(self.hidden_layer_sizes),
            "activation": self.activation,
            "alpha": self.alpha,
            "noise": "fixed" if self.task_noise == "common" else "learned",
            "max_iter": self.max_iter,
        }
        return LayersLearner(options, report=self._report)

    def _learner_for(self, problem):
        learner, losses = self._learner(), problem.task_losses
        if not problem.has_other_losses:
            return learner
        if problem.learns_noise:
            learner.task_weight = "uncertainty"
        learner.options["scale_by_task"] = problem.scale_by_task
        learner.loss = {t: losses.of_task(t).name for t in range(problem.n_tasks)}
        learner.new_loss = problem.new_loss.name
        return learner

    def _fit_rows(self, problem):
        """Fit the perceptrons, and return their training curves as the history."""
        shown = copy.copy(self)
        shown._report = problem.progress
        fitted = super(SharedHiddenLayers, shown)._fit_rows(problem)
        model = fitted.learned.model
        member = model.members[0] if model.inputs is None else model.inputs.member
        parts = member.model.parts
        curves = curves_of([estimator for _, estimator in parts], problem.n_tasks)
        return replace(fitted, history=curves)


def _is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1
