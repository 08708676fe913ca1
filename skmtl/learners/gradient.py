r"""Learners that adapt a network by a few gradient steps: MAML and its relatives, Reptile.

MAML looks for parameters :math:`\theta` from which a few gradient steps on a task's support rows
do well on its query rows,

.. math:: \min_\theta \; \sum_t L_t^{query}(\theta_K^t), \quad
          \theta_{k+1}^t = \theta_k^t - r \circ \nabla L_t^{support}(\theta_k^t), \quad
          \theta_0^t = \theta,

with L the mean squared error or the cross-entropy. The gradient is exact: it goes backwards
through the steps with Hessian-vector products.

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

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from .. import kernels
from ..solvers.adam import CONSTANTS, adam
from . import _episodes
from ._episodic import ACTIVATIONS, MOST_HELD_OUT, EpisodicLearner, hidden_widths, is_number
from ._network import AdaptedNetwork, Network, pack
from .base import Knowledge

__all__ = ["MAML", "Reptile"]

# Steps of one call: Ctrl-C comes through in between.
_STEPS = 25
# Decay of the running mean of what is learnt, which is judged and kept: over 500 steps at most.
_AVERAGE = 0.998
# Of the inner rate that is best at the start: curvature grows as training goes on.
_CAUTION = 0.2


def meta_train(network, draw, *, order, inner_steps, learning_rate, max_iter, meta_batch_size,
               learn_inner_rates=False, held_out=None, **options):  # fmt: skip
    """Train the start of a network by Adam; the running mean over its last steps is kept.

    Parameters
    ----------
    network : Network
    draw : callable
        ``draw(n)`` returns support and query rows of n episodes, as `kernels.mlp.Rows`.
    order : int
        Code of `kernels.meta_training`: second or first order, or Reptile.
    held_out : callable, optional
        ``held_out(network)`` returns a dict with "held_out_loss"; see `solvers.adam.adam`, which
        gets the further options.

    Returns
    -------
    Network, AdamResult
    """
    n = len(network.theta)
    on_rates = 10.0 * learning_rate * float(network.rates.max())  # as usual at rates of 0.1
    training = kernels.meta_training
    inner = training.Inner(inner_steps, network.first, order)
    constants = np.array([[rate, *CONSTANTS, _AVERAGE] for rate in (learning_rate, on_rates)])

    def parts(x):
        return training.Start(x[:n], x[n:] if learn_inner_rates else network.rates)

    def advance(x, moments, step, n_steps):
        losses = np.empty((n_steps, meta_batch_size))
        for start in range(0, n_steps, _STEPS):
            some = losses[start : start + _STEPS]
            episodes = training.Episodes(*draw(some.size))
            starts = np.arange(0, some.size + 1, meta_batch_size)
            n_rows = max(np.diff(rows.offsets[starts]).max() for rows in episodes)
            most = max(np.diff(rows.offsets).max() for rows in episodes)
            space = training.workspace(
                network.sizes, meta_batch_size, int(n_rows), int(most), inner_steps, x.dtype
            )
            training.meta_train(
                len(some), training.Adam(moments, step + start, constants), parts(x),
                learn_inner_rates, network.net, inner, episodes, space, some.reshape(-1),
            )  # fmt: skip
        return losses.mean(1)

    def look(x):
        return held_out(replace(network, **parts(x)._asdict()))

    x = np.r_[network.theta, network.rates] if learn_inner_rates else network.theta
    with threadpool_limits(1, user_api="blas"):  # products too small to share, sums always alike
        result = adam(
            x, advance, max_iter=max_iter, held_out=None if held_out is None else look, **options
        )
    theta, rates = parts(result.x)
    return replace(network, theta=theta.copy(), rates=rates.copy()), result


class _GradientLearner(EpisodicLearner):
    """What MAML and Reptile have in common."""

    _choices = EpisodicLearner._choices | {
        "dtype": ("float32", "float64"), "adapted_layers": ("all", "head"),
    }  # fmt: skip
    _counts = "inner_steps", *EpisodicLearner._counts
    first_order, learn_inner_rates, adapted_layers = True, False, "all"

    def __init__(self, hidden_layer_sizes=(40, 40), activation="relu", *, inner_steps=5,
                 inner_rate="auto", learning_rate=1e-3, meta_batch_size=25, max_iter=5000,
                 n_shots=None, validation_fraction=0.1, check_every=100, patience=10,
                 dtype="float32"):  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.inner_steps = inner_steps
        self.inner_rate = inner_rate
        self.learning_rate = learning_rate
        self.meta_batch_size = meta_batch_size
        self.max_iter = max_iter
        self.n_shots = n_shots
        self.validation_fraction = validation_fraction
        self.check_every = check_every
        self.patience = patience
        self.dtype = dtype

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        rate = self.inner_rate
        auto = isinstance(rate, str) and rate == "auto"
        if not auto and not (is_number(rate) and 0 < rate < np.inf):
            raise ValueError(f'inner_rate={rate!r}: it must be a number above zero, or "auto".')

    def learn(self, tasks, random_state, progress):
        """Learn the start from which few gradient steps lead far.

        Parameters
        ----------
        tasks : LabelledTasks
        random_state : numpy.random.RandomState
        progress : callable

        Returns
        -------
        NetworkKnowledge

        Raises
        ------
        ValueError
            For parameters that make no sense, and where no task has rows enough to be split.
        """
        self.check()
        usable, none = self._usable(tasks)
        if not len(usable):
            raise ValueError(f"{type(self).__name__} cannot be trained: {none}")
        network = self._start(tasks.take(usable), random_state)
        training, held = self._hold_out(tasks, usable, random_state)
        held_out, dtype = held and self._look_at(*held), network.theta.dtype

        def draw(n):
            episodes = _episodes.draw(training, n, self.n_shots, random_state)
            return [pack(rows, network.sizes[-1], dtype) for rows in episodes]

        network, result = meta_train(
            network, draw, order=self._order(), inner_steps=self.inner_steps,
            learning_rate=self.learning_rate, max_iter=self.max_iter,
            meta_batch_size=self.meta_batch_size, learn_inner_rates=self.learn_inner_rates,
            held_out=held_out, check_every=self.check_every, patience=self.patience,
            progress=progress,
        )  # fmt: skip
        return NetworkKnowledge(network, self.inner_steps, tasks, result)

    def _start(self, tasks, random_state):
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
            some = tasks.take(random_state.permutation(tasks.n_tasks)[:MOST_HELD_OUT])
            some = _episodes.split(some, self.n_shots, random_state)[0]
            rows = pack(some, n_outputs, network.theta.dtype)
            rate = network.stable_rate(rows, self.inner_steps)
            network.rates[network.rates > 0.0] = _CAUTION * rate
        return network

    def _look_at(self, support, query):
        """What measures a network on held-out tasks."""

        def look(network):
            rows = [pack(some, network.sizes[-1], network.theta.dtype) for some in (support, query)]
            losses, accuracies = network.learning_curve(*rows, self.inner_steps)
            losses, accuracies = losses.mean(1), accuracies.mean(1)
            return {
                "held_out_loss": losses[-1],
                "held_out_loss_by_step": losses,
                "held_out_accuracy_by_step": accuracies,
            }

        return look

    def _order(self):
        training = kernels.meta_training
        return training.FIRST_ORDER if self.first_order else training.SECOND_ORDER


class NetworkKnowledge(Knowledge):
    """A start for the networks of new tasks.

    Attributes
    ----------
    network : Network
    inner_steps : int
    n_iter : int
        Outer steps taken.
    stopped : str
        Why training ended: "no_change", "max_iter", "diverged" or "interrupted".
    history : dict of arrays
        By look: "step", "train_loss" and, where tasks were held out, "held_out_loss",
        "held_out_loss_by_step" and "held_out_accuracy_by_step" (n_looks, inner_steps + 1).
    """

    def __init__(self, network, inner_steps, tasks, result):
        self.network, self.inner_steps = network, inner_steps
        self.classifies, self.shared_classes = tasks.ways is not None, tasks.shared_classes
        self.history, self.n_iter, self.stopped = result.history, result.n_iter, result.stopped

    def adapt(self, tasks, n_steps=None):
        """Networks for the tasks after `n_steps` (None: as in training) steps on their rows.

        Where classes are the tasks' own, a task may have more of them than any in training.
        """
        n_steps = self.inner_steps if n_steps is None else n_steps
        network = self.network
        if self.classifies and tasks.n_tasks:
            network = network.widened(int(tasks.ways.max()))
        return AdaptedNetwork(network, network.adapt(tasks, n_steps), tasks.ways)


class MAML(_GradientLearner):
    """Model-agnostic meta-learning: a network that learns a new task in a few gradient steps.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(40, 40)
        Width of every hidden layer; () is a linear model.
    activation : {"relu", "tanh"}, default="relu"
    inner_steps : int, default=5
        Gradient steps that adapt to a task, in training and afterwards.
    inner_rate : float or "auto", default="auto"
        Length of these steps, on the mean loss over a task's rows. "auto" is a fifth of what lowers
        the tasks' loss the most before training.
    learning_rate : float, default=0.001
        Adam's, for the start that all tasks share.
    meta_batch_size : int, default=25
        Tasks drawn for each of its steps.
    max_iter : int, default=5000
        Most of its steps.
    first_order : bool, default=False
        Leave the Hessians out (FOMAML): faster, and mostly a little worse.
    adapted_layers : {"all", "head"}, default="all"
        "head" adapts the last layer only (ANIL).
    learn_inner_rates : bool, default=False
        Learn a rate for every parameter, starting at `inner_rate` (Meta-SGD).
    n_shots : int or None, default=None
        Support rows of an episode, a class in classification; None is half of the task's rows.
        As many as new tasks will have is best.
    validation_fraction : float, default=0.1
        Share of the tasks held out to stop early by; of fewer than ten tasks none are.
    check_every : int, default=100
        Steps from one look at the held-out tasks to the next.
    patience : int, default=10
        Looks without a lower held-out loss after which training ends.
    dtype : {"float32", "float64"}, default="float32"

    Notes
    -----
    Each step draws tasks and splits the rows of each at random into support and
    query; tasks whose rows cannot be split take no part. Where classes are the task's own, their
    positions are permuted in every episode. What is judged on held-out tasks and kept is a running
    mean of the parameters, over 500 steps at most. Ctrl-C ends training and keeps the best so far.
    """

    _flags = "first_order", "learn_inner_rates"

    def __init__(self, hidden_layer_sizes=(40, 40), activation="relu", *, inner_steps=5,
                 inner_rate="auto", learning_rate=1e-3, meta_batch_size=25, max_iter=5000,
                 first_order=False, adapted_layers="all", learn_inner_rates=False, n_shots=None,
                 validation_fraction=0.1, check_every=100, patience=10,
                 dtype="float32"):  # fmt: skip
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
    """Reptile: a start that moves towards where gradient steps on the tasks lead.

    Each outer step takes `inner_steps` gradient steps on every drawn task, on one half of its rows
    and the other in turn, and hands Adam the mean way back from there as gradient.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(40, 40)
        Width of every hidden layer; () is a linear model.
    activation : {"relu", "tanh"}, default="relu"
    inner_steps : int, default=5
        Gradient steps that adapt to a task, in training (at least 2) and afterwards.
    inner_rate : float or "auto", default="auto"
        Length of these steps, on the mean loss over a task's rows. "auto" is a fifth of what lowers
        the tasks' loss the most before training.
    learning_rate : float, default=0.001
        Adam's.
    meta_batch_size : int, default=25
    max_iter : int, default=5000
    n_shots, validation_fraction, check_every, patience, dtype
        As in `MAML`.
    """

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        super().check()
        if self.inner_steps < 2:
            raise ValueError(
                f"inner_steps={self.inner_steps!r}: with less than 2 Reptile only fits the tasks' "
                "mean; give at least 2."
            )

    def _order(self):
        return kernels.meta_training.REPTILE
