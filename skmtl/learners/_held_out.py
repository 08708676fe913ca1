"""Held-out tasks with few known rows, on which candidates are judged."""

from dataclasses import replace

import numpy as np

from .base import rank_in_groups

__all__ = ["episodes", "few_shot", "folds"]

# Numbers of known rows in an episode, and largest number of rows that are then predicted.
_SUPPORT_SIZES = (2, 5, 10, 20, 50, 100, 300, 1000)
_MAX_QUERY_ROWS = 100
# Largest number of draws of the known rows of a task, used if tasks are few.
_MAX_REPEATS = 4


def folds(tasks, n_folds, random_state):
    """Yield training and held-out tasks; whole classes are held out if tasks have their own."""
    if not tasks.own_classes:
        fold = random_state.permutation(tasks.n_tasks) % n_folds
        for f in range(n_folds):
            yield tasks.take(np.flatnonzero(fold != f)), tasks.take(np.flatnonzero(fold == f))
        return
    n_classes = int(tasks.labels.max()) + 1
    for _ in range(n_folds):  # halves: with fewer held-out classes few tasks have two of them
        held = random_state.permutation(n_classes) < n_classes // 2
        yield _with_classes(tasks, ~held), _with_classes(tasks, held)


def _with_classes(tasks, kept):
    """Return the rows of some classes, of the tasks that have at least two of these."""
    is_kept = (tasks.labels >= 0) & kept[tasks.labels]
    position = np.cumsum(is_kept, axis=1) - 1
    ways = is_kept.sum(axis=1)
    chosen = is_kept[tasks.codes, tasks.y] & (ways >= 2)[tasks.codes]
    part = tasks.select_rows(chosen)
    labels = np.full_like(tasks.labels, -1)
    rows, columns = np.nonzero(is_kept)
    labels[rows, position[rows, columns]] = tasks.labels[rows, columns]
    part = replace(part, y=position[part.codes, part.y], ways=ways, labels=labels)
    return part.take(np.flatnonzero(part.sizes > 0))


def few_shot(tasks, max_episodes, random_state):
    """Return the support and query rows of `episodes`."""
    return episodes(tasks, max_episodes, random_state)[:2]


def episodes(tasks, max_episodes, random_state):
    """Draw episodes: support rows of a task, and query rows of the same task.

    Each task gives several episodes, with numbers of support rows up to half of its rows, and with
    four fifths of them. If each task has its own classes, support rows take turns among them.

    Returns
    -------
    support, query : LabelledTasks
        Each with one task per episode.
    chosen : ndarray of shape (n_episodes,)
        The task of each episode.
    """
    sizes = [_support_sizes(n) for n in tasks.sizes]
    repeats = int(np.clip(max_episodes // max(sum(map(len, sizes)), 1), 1, _MAX_REPEATS))
    pairs = [(t, s) for _ in range(repeats) for t, of_task in enumerate(sizes) for s in of_task]
    pairs = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if len(pairs) > max_episodes:
        pairs = pairs[np.sort(random_state.choice(len(pairs), max_episodes, replace=False))]
    support, query = [], []
    order, last = _shuffled(tasks, random_state), -1
    for t, s in pairs:
        if t < last:  # the next repeat
            order = _shuffled(tasks, random_state)
        rows, last = order[tasks.offsets[t] : tasks.offsets[t + 1]], t
        support.append(rows[:s])
        query.append(rows[s : s + _MAX_QUERY_ROWS])
    nothing = np.zeros(0, dtype=np.int64)
    support, query = (
        tasks.pick(pairs[:, 0], np.concatenate([nothing, *rows]), [len(r) for r in rows])
        for rows in (support, query)
    )
    return support, query, pairs[:, 0]


def _support_sizes(n_rows):
    """Return the numbers of support rows for a task of `n_rows` rows."""
    sizes = [s for s in _SUPPORT_SIZES if 2 * s <= n_rows]
    if n_rows >= 5 and 0.8 * n_rows > 1.3 * sizes[-1]:
        sizes.append(int(0.8 * n_rows))
    return sizes


def _shuffled(tasks, random_state):
    """Return the rows in random order within each task; its own classes, if any, take turns."""
    keys, codes = random_state.random_sample(len(tasks.y)), tasks.codes
    turn = np.zeros(len(keys), dtype=np.int64)
    if tasks.own_classes:
        turn = rank_in_groups(keys, codes * tasks.ways.max() + tasks.y)
    return np.lexsort((keys, turn, codes))
