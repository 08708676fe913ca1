"""Episodes: tasks drawn at random, with the rows of each split into support and query rows."""

from dataclasses import replace

import numpy as np

from .base import rank_in_groups

__all__ = ["can_be_split", "draw", "split"]

# Largest number of support or query rows of an episode by default (per class, for classes).
_MAX_ROWS = 40
# Number of rows of a task (per class, if it has its own classes) considered for an episode.
_MAX_CANDIDATES = 400


def can_be_split(tasks, n_shots=None):
    """Return a mask of the tasks that have enough rows for both support and query."""
    if tasks.ways is None or (tasks.shared_classes and n_shots is None):
        return tasks.sizes >= 2
    counts = replace(tasks, weight=np.ones(len(tasks.y))).class_counts()
    has_pair = (counts >= 2).any(axis=1)
    return has_pair if tasks.shared_classes else has_pair & (tasks.ways >= 2)


def draw(tasks, n_episodes, n_shots, random_state):
    """Return support and query `LabelledTasks` of tasks drawn with replacement."""
    chosen = random_state.randint(tasks.n_tasks, size=n_episodes)
    return split(tasks, n_shots, random_state, chosen)


def split(tasks, n_shots, random_state, chosen=None):
    """Return support and query rows of the tasks `chosen`, of all tasks if None.

    The support gets `n_shots` rows (per class, for classes) or half of the rows; the query gets the
    others. The only row of a class goes to either. Both get rows of every task that
    `can_be_split`. With shared classes, a task's half is drawn without regard to the classes: if
    both halves had the task's shares of the classes, the support would reveal more about the query
    rows than the rows of a new task do. Own classes are permuted.
    """
    chosen = np.arange(tasks.n_tasks) if chosen is None else chosen
    rows, codes = _rows_of(tasks, chosen, random_state)
    y = tasks.y[rows]
    if tasks.own_classes:
        y = _permuted(y, codes, tasks.ways[chosen], random_state)
    whole = tasks.ways is None or (n_shots is None and tasks.shared_classes)
    classes = np.zeros(len(y), np.int64) if whole else y
    keys = random_state.uniform(size=len(classes))
    group = codes * (int(classes.max(initial=0)) + 1) + classes
    rank = rank_in_groups(keys, group)
    count = np.bincount(group, minlength=1)[group]
    if n_shots is None:
        shots = np.minimum(np.maximum(count // 2, 1), _MAX_ROWS)
    else:
        shots = np.minimum(n_shots, np.maximum(count - 1, 1))
    in_support = np.where(count == 1, keys < 0.5, rank < shots)
    in_query = ~in_support & (rank < shots + max(_MAX_ROWS, n_shots or 0))
    return tuple(
        replace(
            tasks.pick(chosen, rows[part], np.bincount(codes[part], minlength=len(chosen))),
            y=y[part], labels=None,  # they do not match permuted indices, and are not used
        )
        for part in (in_support, in_query)
    )  # fmt: skip


def _rows_of(tasks, chosen, random_state):
    """Return rows of the tasks `chosen`, of large ones a sample, and their indices in `chosen`."""
    sizes = tasks.sizes[chosen]
    limit = _MAX_CANDIDATES * (tasks.ways[chosen] if tasks.own_classes else 1)
    counts = np.minimum(sizes, limit)
    codes = np.repeat(np.arange(len(chosen)), counts)
    position = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    if (sizes > limit).any():
        sampled = (random_state.uniform(size=len(codes)) * sizes[codes]).astype(np.int64)
        position = np.where((sizes > limit)[codes], sampled, position)
        codes, position = np.unique(np.column_stack([codes, position]), axis=0).T
    return tasks.offsets[chosen][codes] + position, codes


def _permuted(y, codes, ways, random_state):
    """Return the class indices, permuted within each task."""
    keys = random_state.uniform(size=(len(ways), int(ways.max(initial=1))))
    keys[np.arange(keys.shape[1]) >= ways[:, None]] = np.inf
    return np.argsort(np.argsort(keys, axis=1), axis=1)[codes, y]
