"""What learners trained on episodes have in common: parameters, and tasks held out."""

from numbers import Integral, Real

import numpy as np

from . import _episodes
from .base import Learner

__all__ = [
    "ACTIVATIONS", "MOST_HELD_OUT", "EpisodicLearner", "hidden_widths", "is_count", "is_number",
]  # fmt: skip

ACTIVATIONS = {"relu": 0, "tanh": 1}  # codes of kernels.mlp, which is not loaded before the fit
# Of fewer tasks none are held out; of many, so many are enough to stop by.
_FEWEST_TASKS, MOST_HELD_OUT = 10, 250
# Held-out tasks are looked at several times each until there are so many episodes.
_FEWEST_LOOKED_AT = 100


def hidden_widths(sizes):
    """Widths of the hidden layers as a tuple; a single number is one layer."""
    return (sizes,) if isinstance(sizes, Integral) else tuple(sizes)


def is_flag(value):
    return isinstance(value, (bool, np.bool_))


def is_count(value):
    return isinstance(value, Integral) and not is_flag(value) and value >= 1


def is_number(value):
    return isinstance(value, Real) and not is_flag(value)


class EpisodicLearner(Learner):
    """Base of the learners that Adam trains on episodes, stopped early by tasks held out."""

    _choices = {"activation": tuple(ACTIVATIONS)}
    _counts = "meta_batch_size", "max_iter", "check_every", "patience"
    _flags = ()

    def check(self):
        """Raise a ValueError for parameters that make no sense."""
        sizes = self.hidden_layer_sizes
        listed = isinstance(sizes, (list, tuple)) or getattr(sizes, "ndim", None) == 1
        if not (is_count(sizes) or (listed and all(is_count(w) for w in sizes))):
            raise ValueError(
                f"hidden_layer_sizes={sizes!r}: give the width of every hidden layer in a tuple, "
                "each a whole number of at least 1; () is a linear model."
            )
        for name, values in self._choices.items():
            value = getattr(self, name)
            if not (isinstance(value, str) and value in values):
                raise ValueError(f"{name}={value!r}: it is one of {values}.")
        for name in self._flags:
            if not is_flag(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: it must be True or False.")
        rate = self.learning_rate
        if not (is_number(rate) and 0 < rate < np.inf):
            raise ValueError(f"learning_rate={rate!r}: it must be a number above zero.")
        for name in self._counts:
            value = getattr(self, name)
            if not is_count(value):
                raise ValueError(f"{name}={value!r}: it must be an integer of at least 1.")
        shots = self.n_shots
        if shots is not None and not is_count(shots):
            raise ValueError(f"n_shots={shots!r}: it must be an integer of at least 1, or None.")
        if not (is_number(self.validation_fraction) and 0 <= self.validation_fraction < 1):
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r}: it must be at least 0 and "
                "below 1."
            )

    def _usable(self, tasks):
        """The tasks that can be split in two, and what to say where there are none."""
        usable = np.flatnonzero(_episodes.can_be_split(tasks, self.n_shots))
        pair = "two rows"
        if tasks.own_classes:
            pair += " of one class, and two classes"
        elif tasks.ways is not None and self.n_shots is not None:
            pair += " of one class"
        return usable, (
            f"none of the {tasks.n_tasks} tasks has {pair}, so that none can be split into support "
            "and query rows; give tasks of more rows, or a learner in closed form, such as "
            "learner='auto'."
        )

    def _hold_out(self, tasks, usable, random_state):
        """Tasks to train on, and support and query rows of those held out (None: none are)."""
        usable = random_state.permutation(usable)
        n_out = int(np.ceil(self.validation_fraction * len(usable)))
        n_out = min(n_out, MOST_HELD_OUT) if len(usable) >= _FEWEST_TASKS else 0
        training, held = tasks.take(usable[n_out:]), None
        if n_out:
            held = self._episodes_to_look_at(tasks.take(usable[:n_out]), random_state)
        return training, held

    def _episodes_to_look_at(self, tasks, random_state):
        """Support and query rows of tasks, several times each where they are few."""
        repeats = -(-_FEWEST_LOOKED_AT // tasks.n_tasks)
        chosen = np.tile(np.arange(tasks.n_tasks), repeats)
        return _episodes.split(tasks, self.n_shots, random_state, chosen)
