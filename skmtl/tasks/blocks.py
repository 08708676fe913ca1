"""Cross-validation schemes as sets of blocks: rows that a scheme always treats alike."""

import numbers
from dataclasses import dataclass

import numpy as np

from .keys import mixed
from .splits import check_n_folds, read_splits, refuse_empty

__all__ = ["Partition", "deal_blocks", "folds", "partitions"]

# Folds are repeated on small tables until about this many rows have been predicted: choosing
# among many strengths on 20 rows once is noise.
_REPEAT_UNTIL = 3000
_MOST_REPEATS = 5
# A classifier is judged by solving every candidate in every split, so it repeats less.
_MOST_REPEATS_OF_CLASSES = 2
# So many folds are legal of any table, as they are the default.
_FEWEST_FOLDS = 5
# A class of few rows may fall into one block by chance; deal again then, at most so often.
_MOST_DEALS, _NEXT_DEAL = 20, 7919
# Tasks of more rows than so many a block are dealt by their rows' keys, others in turn, from a
# block that so large a multiple of the least key decides.
_LARGE_TASK, _TURNS = 100, 101.0
# Blocks of an irregular scheme (ShuffleSplit) multiply; beyond this many, split by split.
_MOST_BLOCKS = 32


@dataclass(frozen=True)
class Partition:
    """A partition of the packed rows into blocks, and the splits made of these blocks.

    Attributes
    ----------
    block : ndarray of shape (n_packed,)
    n_blocks : int
    train, test : bool ndarray of shape (n_splits, n_blocks)
    """

    block: np.ndarray
    n_blocks: int
    train: np.ndarray
    test: np.ndarray


def deal_blocks(table, n_blocks, seed=0):
    """Deal the rows of every task to `n_blocks` blocks, in an order that only content decides.

    Rows of equal keys fall into one block. Large tasks are dealt by the keys themselves, which is
    balanced enough; small ones in turn.
    """
    keys = mixed(table.keys, seed)
    block = np.minimum((keys * n_blocks).astype(np.int64), n_blocks - 1)
    sizes = table.task_sizes()
    small = np.flatnonzero(np.repeat(sizes <= _LARGE_TASK * n_blocks, sizes))
    if len(small):
        codes, keys = table.codes[small], keys[small]
        order = np.lexsort((keys, codes))
        codes, keys = codes[order], keys[order]
        first = np.r_[True, codes[1:] != codes[:-1]]
        distinct = np.cumsum(np.r_[True, first[1:] | (keys[1:] != keys[:-1])])
        task = np.cumsum(first) - 1
        # Every task begins with a block of its own, or small tasks would fill the first ones.
        turn = np.floor((keys[first] * _TURNS) % 1.0 * n_blocks).astype(np.int64)
        block[small[order]] = (turn[task] + distinct - distinct[first][task]) % n_blocks
    return block


def deal_apart(table, n_blocks, seed=0, classes=False):
    """`deal_blocks` such that no block holds all rows, or all rows of a class.

    Classes are not dealt evenly within a task: held-out rows would then have the class shares of
    the task's training rows, and an intercept that only repeats these would seem to be proven.
    """
    codes = table.y.astype(np.int64) if classes else np.zeros(len(table.y), dtype=np.int64)
    most = np.bincount(codes)
    for attempt in range(_MOST_DEALS):
        block = deal_blocks(table, n_blocks, seed + attempt * _NEXT_DEAL)
        counts = np.bincount(codes * n_blocks + block, minlength=len(most) * n_blocks)
        together = counts.reshape(-1, n_blocks).max(axis=1)
        if not ((together == most) & (most > 1)).any():
            break
    return block


def folds(block, n_folds):
    """The K-fold scheme on blocks."""
    eye = np.eye(n_folds, dtype=bool)
    return Partition(block, n_folds, ~eye, eye)


def partitions(table, cv, *, X=None, y=None, groups=None, seed=0, classifier=False):
    """The partitions of a cross-validation scheme.

    Parameters
    ----------
    table : TaskTable
    cv : int, splitter or iterable of (train, test)
        An int deals the rows of every task to that many folds, repeatedly on small tables.
    X, y, groups
        What the caller passed to fit, for a splitter's ``split``.
    classifier : bool
        The target holds class codes.

    Returns
    -------
    list of Partition

    Raises
    ------
    ValueError
        If `cv` leaves no training or no test rows.
    """
    if isinstance(cv, numbers.Integral) and not isinstance(cv, bool):
        n_folds = check_n_folds(cv, max(table.X.shape[0], _FEWEST_FOLDS))
        n_rows = len(table.rows)
        most = _MOST_REPEATS_OF_CLASSES if classifier else _MOST_REPEATS
        repeats = int(np.clip(round(_REPEAT_UNTIL / max(n_rows, 1)), 1, most))
        deals = (deal_apart(table, n_folds, seed + r, classifier) for r in range(repeats))
        return [folds(block, n_folds) for block in deals]
    n_samples = table.X.shape[0]
    splits = read_splits(cv, X, y, groups, n_samples=n_samples, copies=False)
    return _from_splits(table, splits)


def _from_splits(table, splits):
    n_samples = table.X.shape[0]
    role = np.zeros((n_samples, len(splits)), dtype=np.int8)
    for s, (train, test) in enumerate(splits):
        role[train, s] = 1
        role[test, s] = 2
    role = role[table.rows]
    for s in range(len(splits)):
        sides = (np.flatnonzero(role[:, s] == side) for side in (1, 2))
        refuse_empty(*sides, s, "among the labelled rows of positive weight")
    kinds, block = _distinct(role)
    if len(kinds) <= _MOST_BLOCKS:
        return [Partition(block, len(kinds), kinds.T == 1, kinds.T == 2)]
    one, two = np.array([[False, True, False]]), np.array([[False, False, True]])
    return [Partition(role[:, s].astype(np.int64), 3, one, two) for s in range(len(splits))]


def _distinct(role):
    """The distinct rows of `role` (0, 1 or 2), sorted, and which of them each row is.

    ``np.unique(role, axis=0)`` of a million rows takes ten seconds; of one number a row, little.
    """
    key = np.zeros(len(role), dtype=np.int64)
    for column in role.T:
        key = 3 * key + column
        if key.max() > 2**60:  # the next one could overflow
            key = np.unique(key, return_inverse=True)[1]
    key = key.astype(np.min_scalar_type(key.max()))  # small integers sort by radix
    _, first, block = np.unique(key, return_index=True, return_inverse=True)
    return role[first], block
