r"""Learners that adapt a network by a few gradient steps: MAML, its variants, and Reptile.

MAML learns initial parameters :math:`\theta` from which a few gradient steps on a task's support
rows lead to a low loss on its query rows,

.. math:: \min_\theta \; \sum_t L_t^{query}(\theta_K^t), \quad
          \theta_{k+1}^t = \theta_k^t - r \circ \nabla L_t^{support}(\theta_k^t), \quad
          \theta_0^t = \theta,

where L is the mean squared error or the cross-entropy. The gradient is exact: it is propagated
backwards through the steps with Hessian-vector products.

References
----------
Finn, C., Abbeel, P. and Levine, S. (2017). Model-agnostic meta-learning for fast adaptation of
deep networks. ICML. :arxiv:`1703.03400`

Li, Z., Zhou, F., Chen, F. and Li, H. (2017). Meta-SGD: learning to learn quickly for few-shot
learning. :arxiv:`1707.09835`

Nichol, A., Achiam, J. and Schulman, J. (2018). On first-order meta-learning algorithms.
:arxiv:`1803.02999`

Raghu, A., Raghu, M., Bengio, S. and Vinyals, O. (2020). Rapid learning or feature reuse? Towards
understanding the effectiveness of MAML. ICLR. :arxiv:`1909.09157`
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from .. import kernels
from ..solvers.adam import CONSTANTS, adam
from . import _episodes
from ._episodic import ACTIVATIONS, MAX_HELD_OUT, EpisodicLearner, hidden_widths
from ._network import AdaptedNetwork, Network
from ._requirements import AUTO_OR_POSITIVE, COUNT, FLAG, SEVERAL_STEPS, one_of
from .base import Knowledge

__all__ = ["MAML", "Reptile"]

# Number of steps per call of the kernel; Ctrl-C takes effect between calls.
_CALL_STEPS = 25
# Decay of the running mean of the parameters, which averages about 500 steps at most.
_AVERAGE = 0.998
# Share of the best inner rate of an untrained network that is used, as training adds curvature.
_RATE_SHARE = 0.2


def meta_train(network, draw, *, order, inner_steps, learning_rate, max_iter, meta_batch_size,
               learn_inner_rates=False, held_out=None, **options):  # fmt: skip
    """Train the initial parameters of a network by Adam; their running mean is kept.

    Parameters
    ----------
    network : Network
    draw : callable
        ``draw(n)`` returns support and query rows of n episodes, as `kernels.mlp.Rows`.
    order : int
        Code of `kernels.meta_training`: second or first order, or Reptile.
    inner_steps : int
    learning_rate : float
    max_iter : int
    meta_batch_size : int
    learn_inner_rates : bool, default=False
    held_out : callable, optional
        ``held_out(network)`` returns a dict with "held_out_loss", see `solvers.adam.adam`.
    **options
        Further arguments of `solvers.adam.adam`.

    Returns
    -------
    network : Network
    result : AdamResult
    """
    n = len(network.parameters)
    # The learning rate of the inner rates is proportional to them, and equal to the other one at
    # rates of 0.1.
    learning_rates = learning_rate, 10.0 * learning_rate * float(network.rates.max())
    training = kernels.meta_training
    inner = training.Inner(inner_steps, network.first, order)
    constants = np.array([[rate, *CONSTANTS, _AVERAGE] for rate in learning_rates])

    def parts(x):
        return training.Start(x[:n], x[n:] if learn_inner_rates else network.rates)

    def advance(x, moments, step, n_steps):
        losses = np.empty((n_steps, meta_batch_size))
        for start in range(0, n_steps, _CALL_STEPS):
            out = losses[start : start + _CALL_STEPS]
            episodes = training.Episodes(*draw(out.size))
            edges = np.arange(0, out.size + 1, meta_batch_size)
            n_rows = max(np.diff(rows.offsets[edges]).max() for rows in episodes)
            max_rows = max(np.diff(rows.offsets).max() for rows in episodes)
            space = training.workspace(
                network.sizes, meta_batch_size, int(n_rows), int(max_rows), inner_steps, x.dtype
            )
            training.meta_train(
                len(out), training.Adam(moments, step + start, constants), parts(x),
                learn_inner_rates, network.net, inner, episodes, space, out.reshape(-1),
            )  # fmt: skip
        return losses.mean(1)

    def evaluate(x):
        return held_out(replace(network, **parts(x)._asdict()))

    x = np.r_[network.parameters, network.rates] if learn_inner_rates else network.parameters
    with threadpool_limits(1, user_api="blas"):  # small products, reproducible sums
        result = adam(
            x, advance, max_iter=max_iter, held_out=held_out and evaluate, **options
        )  # fmt: skip
    parameters, rates = (part.copy() for part in parts(result.x))
    return replace(network, parameters=parameters, rates=rates), result


class _GradientLearner(EpisodicLearner):
    """Base of MAML and Reptile."""

    _requirements = EpisodicLearner._requirements | {
        "inner_steps": COUNT, "inner_rate": AUTO_OR_POSITIVE, "dtype": one_of("float32", "float64"),
    }  # fmt: skip
    first_order, learn_inner_rates, adapted_layers = True, False, "all"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (40, 40),
        activation: Literal["relu", "tanh"] = "relu",
        *,
        inner_steps: int = 5,
        inner_rate: float | Literal["auto"] = "auto",
        learning_rate: float = 1e-3,
        meta_batch_size: int = 25,
        max_iter: int = 5000,
        n_shots: int | None = None,
        validation_fraction: float = 0.1,
        check_every: int = 100,
        patience: int = 10,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__(
            hidden_layer_sizes, activation, learning_rate, meta_batch_size, max_iter, n_shots,
            validation_fraction, check_every, patience,
        )  # fmt: skip
        self.inner_steps = inner_steps
        self.inner_rate = inner_rate
        self.dtype = dtype

    def _learn(self, tasks, random_state, progress):
        usable, reason = self._usable(tasks)
        if not len(usable):
            raise ValueError(f"{type(self).__name__} cannot be trained: {reason}")
        network = self._start(tasks.take(usable), random_state)
        training, held = self._hold_out(tasks, usable, random_state)

        def draw(n):
            return network.pack(*_episodes.draw(training, n, self.n_shots, random_state))

        network, result = meta_train(
            network, draw, order=self._order(), inner_steps=self.inner_steps,
            learning_rate=self.learning_rate, max_iter=self.max_iter,
            meta_batch_size=self.meta_batch_size, learn_inner_rates=self.learn_inner_rates,
            held_out=held and self._evaluator(*held), check_every=self.check_every,
            patience=self.patience, progress=progress,
        )  # fmt: skip
        return NetworkKnowledge(network, self.inner_steps, result)

    def _start(self, tasks, random_state):
        """Return an untrained network."""
        hidden = hidden_widths(self.hidden_layer_sizes)
        loss = kernels.mlp.SQUARED if tasks.ways is None else kernels.mlp.CROSS_ENTROPY
        n_outputs = 1 if tasks.ways is None else int(tasks.ways.max())
        auto = self.inner_rate == "auto"
        network = Network.random(
            (tasks.n_features, *hidden, n_outputs), ACTIVATIONS[self.activation], loss,
            len(hidden) if self.adapted_layers == "head" else 0, 1.0 if auto else self.inner_rate,
            np.dtype(self.dtype), random_state,
        )  # fmt: skip
        if auto:
            sample = tasks.take(random_state.permutation(tasks.n_tasks)[:MAX_HELD_OUT])
            support, _ = _episodes.split(sample, self.n_shots, random_state)
            rate = network.stable_rate(*network.pack(support), self.inner_steps)
            network.rates[network.rates > 0.0] = _RATE_SHARE * rate
        return network

    def _evaluator(self, support, query):
        """Return a function that evaluates a network on held-out tasks."""

        def evaluate(network):
            curves = network.learning_curve(*network.pack(support, query), self.inner_steps)
            losses, accuracies = (curve.mean(1) for curve in curves)
            return {
                "held_out_loss": losses[-1],
                "held_out_loss_by_step": losses,
                "held_out_accuracy_by_step": accuracies,
            }

        return evaluate

    def _order(self):
        training = kernels.meta_training
        return training.FIRST_ORDER if self.first_order else training.SECOND_ORDER


class NetworkKnowledge(Knowledge):
    """Initial parameters for the networks of new tasks.

    Attributes
    ----------
    network : Network
    inner_steps : int
    n_iter : int
        Number of outer steps taken.
    stopped : str
        Why training ended: "no_change", "max_iter", "diverged" or "interrupted".
    history : dict of arrays
        For each evaluation "step", "train_loss" and, if tasks were held out, "held_out_loss",
        "held_out_loss_by_step" and "held_out_accuracy_by_step" (n_evaluations, inner_steps + 1).
    """

    def __init__(self, network, inner_steps, result):
        self.network, self.inner_steps = network, inner_steps
        self.history, self.n_iter, self.stopped = result.history, result.n_iter, result.stopped

    def adapt(self, tasks, n_steps=None):
        """Return networks adapted to the rows of each task by `n_steps` steps.

        None takes `inner_steps` steps, as in training. If each task has its own classes, a task may
        have more classes than any training task.
        """
        n_steps, network = self.inner_steps if n_steps is None else n_steps, self.network
        if tasks.ways is not None:
            network = network.widened(int(tasks.ways.max(initial=0)))
        return AdaptedNetwork(network, network.adapt(tasks, n_steps), tasks.ways)


class MAML(_GradientLearner):
    """Model-agnostic meta-learning: a network that learns a new task in a few gradient steps.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(40, 40)
        Width of each hidden layer; () is a linear model.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden layers.
    inner_steps : int, default=5
        Number of gradient steps used to adapt to a task, in training and afterwards.
    inner_rate : float or "auto", default="auto"
        Learning rate of these steps, on the mean loss over a task's rows. "auto" is a fifth of the
        rate that gives the lowest loss before training.
    learning_rate : float, default=0.001
        Learning rate of Adam, for the initial parameters shared by all tasks.
    meta_batch_size : int, default=25
        Number of tasks drawn for each step of Adam.
    max_iter : int, default=5000
        Maximum number of steps of Adam.
    first_order : bool, default=False
        Whether to omit the Hessians (FOMAML): faster, and usually slightly less accurate.
    adapted_layers : {"all", "head"}, default="all"
        "head" adapts the last layer only (ANIL).
    learn_inner_rates : bool, default=False
        Whether to learn an inner rate for each parameter, initialised at `inner_rate` (Meta-SGD).
    n_shots : int or None, default=None
        Number of support rows of an episode (per class, in classification); None means half of the
        task's rows. The best value is the number of rows that new tasks will have.
    validation_fraction : float, default=0.1
        Share of the tasks held out for early stopping; with fewer than ten tasks none are held
        out.
    check_every : int, default=100
        Number of steps between evaluations on the held-out tasks.
    patience : int, default=10
        Training stops after this number of evaluations without a lower held-out loss.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the network.

    Notes
    -----
    Each step draws tasks and splits the rows of each at random into support and query rows; tasks
    that cannot be split are not used. If each task has its own classes, these are permuted in every
    episode. A running mean of the parameters, over about 500 steps at most, is evaluated on
    held-out tasks and kept. Ctrl-C ends training and keeps the best parameters so far.
    """

    _requirements = _GradientLearner._requirements | {
        "first_order": FLAG, "learn_inner_rates": FLAG, "adapted_layers": one_of("all", "head"),
    }  # fmt: skip

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (40, 40),
        activation: Literal["relu", "tanh"] = "relu",
        *,
        inner_steps: int = 5,
        inner_rate: float | Literal["auto"] = "auto",
        learning_rate: float = 1e-3,
        meta_batch_size: int = 25,
        max_iter: int = 5000,
        first_order: bool = False,
        adapted_layers: Literal["all", "head"] = "all",
        learn_inner_rates: bool = False,
        n_shots: int | None = None,
        validation_fraction: float = 0.1,
        check_every: int = 100,
        patience: int = 10,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__(
            hidden_layer_sizes, activation, inner_steps=inner_steps, inner_rate=inner_rate,
            learning_rate=learning_rate, meta_batch_size=meta_batch_size, max_iter=max_iter,
            n_shots=n_shots, validation_fraction=validation_fraction, check_every=check_every,
            patience=patience, dtype=dtype,
        )  # fmt: skip
        self.first_order = first_order
        self.adapted_layers = adapted_layers
        self.learn_inner_rates = learn_inner_rates


class Reptile(_GradientLearner):
    """Reptile: initial parameters move towards the tasks' parameters after gradient steps.

    Each outer step takes `inner_steps` gradient steps on each drawn task, on the two halves of its
    rows in turn. The gradient for Adam is the initial parameters minus the mean of the tasks'
    parameters after these steps.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(40, 40)
        Width of each hidden layer; () is a linear model.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden layers.
    inner_steps : int, default=5
        Number of gradient steps used to adapt to a task, in training and afterwards; at least 2.
    inner_rate : float or "auto", default="auto"
        Learning rate of these steps, on the mean loss over a task's rows. "auto" is a fifth of the
        rate that gives the lowest loss before training.
    learning_rate : float, default=0.001
        Learning rate of Adam.
    meta_batch_size : int, default=25
        Number of tasks drawn for each step of Adam.
    max_iter : int, default=5000
        Maximum number of steps of Adam.
    n_shots : int or None, default=None
        Number of support rows of an episode, see `MAML`.
    validation_fraction : float, default=0.1
        Share of the tasks held out for early stopping, see `MAML`.
    check_every : int, default=100
        Number of steps between evaluations on the held-out tasks.
    patience : int, default=10
        Training stops after this number of evaluations without a lower held-out loss.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the network.
    """

    _requirements = _GradientLearner._requirements | {"inner_steps": SEVERAL_STEPS}

    def _order(self):
        return kernels.meta_training.REPTILE
