"""Episodes: tasks drawn at random, each one's rows split into support and query."""

from dataclasses import replace

import numpy as np

from .base import rank_in_groups

__all__ = ["can_be_split", "draw", "split"]

# Support and query rows of an episode, a class where there are classes, where nothing is said:
# what a task has beyond them waits for its next episode.
_MOST_ROWS = 40
# Rows of a task, a class where classes are its own, that are looked at for an episode.
_MOST_SEEN = 400


def can_be_split(tasks, n_shots=None):
    """Mask of the tasks of which both support and query rows can be taken."""
    if tasks.ways is None or (tasks.shared_classes and n_shots is None):
        return tasks.sizes >= 2
    twice = np.zeros(tasks.n_tasks, dtype=bool)
    codes, y = tasks.codes, tasks.y
    for c in range(int(tasks.ways.max(initial=0))):
        twice |= np.bincount(codes[y == c], minlength=tasks.n_tasks) >= 2
    return twice if tasks.shared_classes else twice & (tasks.ways >= 2)


def draw(tasks, n_episodes, n_shots, random_state):
    """Support and query `LabelledTasks` of episodes on tasks drawn with replacement."""
    chosen = random_state.randint(tasks.n_tasks, size=n_episodes)
    return split(tasks, n_shots, random_state, chosen)


def split(tasks, n_shots, random_state, chosen=None):
    """Support and query rows of the tasks `chosen`, of all if None.

    Support gets `n_shots` rows, a class where there are classes, or half of them; query the rest.
    A class's only row goes to either. Both have some rows of every task that `can_be_split`.
    The half of a task that has shared classes is drawn whatever their classes: where both halves
    have a task's shares of the classes, the support tells more of the query rows than a new task's
    rows would. Where classes are not shared, their positions are permuted.
    """
    chosen = np.arange(tasks.n_tasks) if chosen is None else chosen
    rows, codes = _rows_of(tasks, chosen, random_state)
    y, labels = tasks.y[rows], tasks.labels
    if tasks.own_classes:
        y = _permuted(y, codes, tasks.ways[chosen], random_state)
        labels = None  # they would no longer name the positions, and nobody reads them
    whole = tasks.ways is None or (n_shots is None and tasks.shared_classes)
    classes = np.zeros(len(y), np.int64) if whole else y
    keys = random_state.uniform(size=len(classes))
    group = codes * (int(classes.max(initial=0)) + 1) + classes
    rank = rank_in_groups(keys, group)
    count = np.bincount(group, minlength=1)[group]
    if n_shots is None:
        shots = np.minimum(np.maximum(count // 2, 1), _MOST_ROWS)
    else:
        shots = np.minimum(n_shots, np.maximum(count - 1, 1))
    in_support = np.where(count == 1, keys < 0.5, rank < shots)
    in_query = ~in_support & (rank < shots + max(_MOST_ROWS, n_shots or 0))
    return tuple(
        replace(
            tasks.pick(chosen, rows[part], np.bincount(codes[part], minlength=len(chosen))),
            y=y[part], labels=None if labels is None else labels[chosen],
        )
        for part in (in_support, in_query)
    )  # fmt: skip


def _rows_of(tasks, chosen, random_state):
    """Rows of the tasks `chosen`, of large ones some, and which of `chosen` each is of."""
    sizes = tasks.sizes[chosen]
    most = _MOST_SEEN * (tasks.ways[chosen] if tasks.own_classes else 1)
    counts = np.minimum(sizes, most)
    codes = np.repeat(np.arange(len(chosen)), counts)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    if (sizes > most).any():
        anywhere = (random_state.uniform(size=len(codes)) * sizes[codes]).astype(np.int64)
        place = np.where((sizes > most)[codes], anywhere, place)
        codes, place = np.unique(np.column_stack([codes, place]), axis=0).T
    return tasks.offsets[chosen][codes] + place, codes


def _permuted(y, codes, ways, random_state):
    """Positions of the classes permuted task by task, where these have no meaning."""
    keys = random_state.uniform(size=(len(ways), int(ways.max(initial=1))))
    keys[np.arange(keys.shape[1]) >= ways[:, None]] = np.inf
    return np.argsort(np.argsort(keys, axis=1), axis=1)[codes, y]
