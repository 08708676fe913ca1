"""Episodes: tasks drawn at random, each one's rows split into support and query."""

from dataclasses import replace

import numpy as np

from ._base import rank_in_groups

__all__ = ["can_be_split", "draw", "split"]

# Support and query rows of an episode, a class where there are classes, where nothing is said:
# what a task has beyond them waits for its next episode.
_MOST_ROWS = 40


def can_be_split(tasks):
    """Mask of the tasks of which both support and query rows can be taken."""
    if tasks.ways is None:
        return tasks.sizes >= 2
    twice = np.zeros(tasks.n_tasks, dtype=bool)
    for c in range(int(tasks.ways.max(initial=0))):
        twice |= np.bincount(tasks.codes[tasks.y == c], minlength=tasks.n_tasks) >= 2
    return twice if tasks.shared_classes else twice & (tasks.ways >= 2)


def draw(tasks, n_episodes, n_shots, random_state):
    """Support and query `LabelledTasks` of episodes on tasks drawn with replacement.

    Where classes are not shared, positions are permuted in every episode.
    """
    chosen = tasks.take(random_state.randint(tasks.n_tasks, size=n_episodes))
    return split(permuted(chosen, random_state), n_shots, random_state)


def permuted(tasks, random_state):
    """The tasks with the positions of their classes permuted, where these have no meaning."""
    if tasks.ways is None or tasks.shared_classes:
        return tasks
    keys = random_state.uniform(size=(tasks.n_tasks, int(tasks.ways.max(initial=1))))
    keys[np.arange(keys.shape[1]) >= tasks.ways[:, None]] = np.inf
    positions = np.argsort(np.argsort(keys, axis=1), axis=1)
    # `labels` would no longer name the positions, and nobody reads them in an episode.
    return replace(tasks, y=positions[tasks.codes, tasks.y], labels=None)


def split(tasks, n_shots, random_state):
    """Support and query rows of every task.

    Support gets `n_shots` rows, a class where there are classes, or half of them; query the rest.
    A class's only row goes to either. Both have some rows of every task that `can_be_split`.
    The half of a task that has shared classes is drawn whatever their classes: where both halves
    have a task's shares of the classes, the support tells more of the query rows than a new task's
    rows would.
    """
    whole = tasks.ways is None or (n_shots is None and tasks.shared_classes)
    classes = np.zeros(len(tasks.y), np.int64) if whole else tasks.y
    keys = random_state.uniform(size=len(classes))
    n_classes = int(classes.max(initial=0)) + 1
    group = tasks.codes * n_classes + classes
    rank = rank_in_groups(keys, group)
    count = np.bincount(group, minlength=1)[group]
    if n_shots is None:
        shots = np.minimum(np.maximum(count // 2, 1), _MOST_ROWS)
    else:
        shots = np.minimum(n_shots, np.maximum(count - 1, 1))
    in_support = np.where(count == 1, keys < 0.5, rank < shots)
    in_query = ~in_support & (rank < shots + max(_MOST_ROWS, n_shots or 0))
    return tasks.rows(in_support), tasks.rows(in_query)
