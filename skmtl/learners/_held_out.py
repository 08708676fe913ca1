"""Tasks held out, of which a few rows are known, to judge candidates on."""

from dataclasses import replace

import numpy as np

from .base import rank_in_groups

__all__ = ["few_shot", "folds"]

# Rows known in an episode, and most rows that are then predicted.
_SIZES = (2, 5, 10, 20, 50, 100, 300, 1000)
_MOST_QUERIES = 100
# Draws of the known rows of a task, where tasks are few.
_MOST_REPEATS = 4


def folds(tasks, n_folds, random_state):
    """``(training tasks, held-out tasks)``: what is held out is nothing like seen in training.

    Whole tasks are; where tasks have classes of their own, whole classes.
    """
    if not tasks.own_classes:
        fold = random_state.permutation(tasks.n_tasks) % n_folds
        for f in range(n_folds):
            yield tasks.take(np.flatnonzero(fold != f)), tasks.take(np.flatnonzero(fold == f))
        return
    n_classes = int(tasks.labels.max()) + 1
    for _ in range(n_folds):  # halves: fewer held-out classes make few tasks of two classes
        held = random_state.permutation(n_classes) < n_classes // 2
        yield _with_classes(tasks, ~held), _with_classes(tasks, held)


def _with_classes(tasks, kept):
    """The rows of some classes, in tasks that have two of them at least."""
    mine = tasks.labels >= 0
    mine &= kept[tasks.labels]
    position = np.cumsum(mine, axis=1) - 1
    ways = mine.sum(axis=1)
    chosen = mine[tasks.codes, tasks.y] & (ways >= 2)[tasks.codes]
    part = tasks.rows(chosen)
    y = position[tasks.codes[chosen], part.y]
    labels = np.full_like(tasks.labels, -1)
    rows, columns = np.nonzero(mine)
    labels[rows, position[rows, columns]] = tasks.labels[rows, columns]
    part = replace(part, y=y, ways=ways, labels=labels)
    return part.take(np.flatnonzero(part.sizes > 0))


def few_shot(tasks, most, random_state):
    """Tasks of which few rows are known, and the same tasks with other rows.

    Each task comes with several numbers of rows, up to half of its own and with four fifths of
    them; `most` in all. Where tasks have classes of their own, these take turns.

    Returns
    -------
    known, asked : LabelledTasks
    """
    offsets = tasks.offsets
    sizes = [_known_sizes(n) for n in tasks.sizes]
    repeats = int(np.clip(most // max(sum(map(len, sizes)), 1), 1, _MOST_REPEATS))
    pairs = [(t, s) for _ in range(repeats) for t, some in enumerate(sizes) for s in some]
    pairs = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if len(pairs) > most:
        pairs = pairs[np.sort(random_state.choice(len(pairs), most, replace=False))]
    known, asked = [], []
    turns, last = _turns(tasks, random_state), -1
    for t, s in pairs:
        if t < last:  # the next draw
            turns = _turns(tasks, random_state)
        rows, last = turns[offsets[t] : offsets[t + 1]], t
        known.append(rows[:s])
        asked.append(rows[s : s + _MOST_QUERIES])
    nothing = np.zeros(0, dtype=np.int64)
    return tuple(
        tasks.pick(pairs[:, 0], np.concatenate([nothing, *rows]), [len(r) for r in rows])
        for rows in (known, asked)
    )


def _known_sizes(n_rows):
    """How many rows of a task of so many are known, in turn."""
    sizes = [s for s in _SIZES if 2 * s <= n_rows]
    if n_rows >= 5 and 0.8 * n_rows > 1.3 * sizes[-1]:
        sizes.append(int(0.8 * n_rows))
    return sizes


def _turns(tasks, random_state):
    """An order of the rows: by task, and at random in each, where its own classes take turns."""
    keys, codes = random_state.random_sample(len(tasks.y)), tasks.codes
    turn = np.zeros(len(keys), dtype=np.int64)
    if tasks.own_classes:
        turn = rank_in_groups(keys, codes * tasks.ways.max() + tasks.y)
    return np.lexsort((keys, turn, codes))
