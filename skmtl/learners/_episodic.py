"""Base of the learners that are trained on episodes: common parameters, and held-out tasks."""

from numbers import Integral

import numpy as np

from . import _episodes
from ._requirements import COUNT, FRACTION, HIDDEN_LAYERS, OPTIONAL_COUNT, POSITIVE, one_of
from .base import Learner

__all__ = ["ACTIVATIONS", "MAX_HELD_OUT", "EpisodicLearner", "hidden_widths"]

ACTIVATIONS = {"relu": 0, "tanh": 1}  # codes of kernels.mlp, which is not loaded before the fit
# With fewer tasks than this none are held out; and the largest number that is useful.
_MIN_TASKS, MAX_HELD_OUT = 10, 250
# Few held-out tasks are used several times, for at least this number of episodes.
_MIN_EPISODES = 100


def hidden_widths(sizes):
    """Return the widths of the hidden layers as a tuple; a single number is one layer."""
    return (sizes,) if isinstance(sizes, Integral) else tuple(sizes)


class EpisodicLearner(Learner):
    """Base of the learners trained by Adam on episodes, with early stopping on held-out tasks."""

    _requirements = {
        "hidden_layer_sizes": HIDDEN_LAYERS, "activation": one_of(*ACTIVATIONS),
        "learning_rate": POSITIVE, "meta_batch_size": COUNT, "max_iter": COUNT,
        "check_every": COUNT, "patience": COUNT, "n_shots": OPTIONAL_COUNT,
        "validation_fraction": FRACTION,
    }  # fmt: skip

    def __init__(self, hidden_layer_sizes, activation, learning_rate, meta_batch_size, max_iter,
                 n_shots, validation_fraction, check_every, patience):  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate = learning_rate
        self.meta_batch_size = meta_batch_size
        self.max_iter = max_iter
        self.n_shots = n_shots
        self.validation_fraction = validation_fraction
        self.check_every = check_every
        self.patience = patience

    def _usable(self, tasks):
        """Return the tasks that can be split, and the words for an error if there are none."""
        usable = np.flatnonzero(_episodes.can_be_split(tasks, self.n_shots))
        pair = "two rows"
        if tasks.own_classes:
            pair += " of one class, and two classes"
        elif tasks.ways is not None and self.n_shots is not None:
            pair += " of one class"
        return usable, (
            f"none of the {tasks.n_tasks} tasks has {pair}, so that none can be split into support "
            "and query rows; provide tasks with more rows, or use a learner in closed form, such "
            "as learner='auto'."
        )

    def _hold_out(self, tasks, usable, random_state):
        """Return training tasks, and held-out support and query rows (None without hold-out)."""
        usable = random_state.permutation(usable)
        n_out = int(np.ceil(self.validation_fraction * len(usable)))
        n_out = min(n_out, MAX_HELD_OUT) if len(usable) >= _MIN_TASKS else 0
        if not n_out:
            return tasks.take(usable), None
        held = self._held_out_episodes(tasks.take(usable[:n_out]), random_state)
        return tasks.take(usable[n_out:]), held

    def _held_out_episodes(self, tasks, random_state):
        """Return support and query rows of held-out tasks, several times each if there are few."""
        chosen = np.tile(np.arange(tasks.n_tasks), -(-_MIN_EPISODES // tasks.n_tasks))
        return _episodes.split(tasks, self.n_shots, random_state, chosen)
