"""Cross-validation schemes as sets of blocks, whose rows are always in the same folds."""

import numbers
from dataclasses import dataclass

import numpy as np

from .cells import deal_cells
from .keys import mixed
from .splits import check_n_folds, read_splits, refuse_empty

__all__ = ["Partition", "deal_blocks", "folds", "partitions"]

# The folds of small tables are repeated until about this many rows have been predicted: a single
# choice among many strengths on 20 rows would be noise.
_REPEAT_UNTIL = 3000
_MOST_REPEATS = 5
# Classifiers repeat less, because they solve every candidate in every split.
_MOST_REPEATS_OF_CLASSES = 2
# The default number of folds, which is legal for tables of fewer rows.
_FEWEST_FOLDS = 5
# All rows of a rare class may fall into one block by chance; then rows are assigned again, at most
# this often, with the seed increased by this much.
_MOST_DEALS, _NEXT_DEAL = 20, 7919
# Tasks with more rows per block than this are assigned by the keys of their rows. Smaller tasks are
# assigned in turn; this multiple of the smallest key determines the first block.
_LARGE_TASK, _TURNS = 100, 101.0
# Irregular schemes (ShuffleSplit) have many blocks; beyond this many, each split is a partition.
_MOST_BLOCKS = 32


@dataclass(frozen=True)
class Partition:
    """Partition of the packed rows into blocks, and the splits made of these blocks.

    Attributes
    ----------
    block : ndarray of shape (n_packed,)
        Block of each row.
    n_blocks : int
    train, test : bool ndarray of shape (n_splits, n_blocks)
        Blocks in the training and test rows of each split.
    """

    block: np.ndarray
    n_blocks: int
    train: np.ndarray
    test: np.ndarray


def deal_blocks(table, n_blocks, seed=0):
    """Assign the rows of every task to `n_blocks` blocks, in an order that depends on content only.

    Rows with equal keys fall into one block. Large tasks are assigned by the values of the keys,
    which is balanced enough; small tasks are assigned in turn. Rows of several tasks with the same
    features stay together if the table has `cells`.
    """
    if table.cells is not None:
        block = deal_cells(table, n_blocks, seed, _LARGE_TASK)
        if block is not None:
            return block
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
        # Tasks begin with different blocks, as otherwise small tasks would fill the first blocks.
        begin = np.floor((keys[first] * _TURNS) % 1.0 * n_blocks).astype(np.int64)
        block[small[order]] = (begin[task] + distinct - distinct[first][task]) % n_blocks
    return block


def deal_apart(table, n_blocks, seed=0, classes=False):
    """Deal blocks such that no block holds all rows, or all rows of a class.

    Classes are not stratified within tasks: held-out rows would then have the class shares of the
    training rows of the task, and the guard would overrate an intercept per task.
    """
    codes = table.y.astype(np.int64) if classes else np.zeros(len(table.y), dtype=np.int64)
    total = np.bincount(codes)
    for attempt in range(_MOST_DEALS):
        block = deal_blocks(table, n_blocks, seed + attempt * _NEXT_DEAL)
        counts = np.bincount(codes * n_blocks + block, minlength=len(total) * n_blocks)
        if not ((counts.reshape(-1, n_blocks).max(axis=1) == total) & (total > 1)).any():
            break
    return block


def folds(block, n_folds):
    """Return the K-fold scheme on blocks."""
    eye = np.eye(n_folds, dtype=bool)
    return Partition(block, n_folds, ~eye, eye)


def partitions(table, cv, *, X=None, y=None, groups=None, seed=0, classifier=False, is_part=False):
    """Return the partitions of a cross-validation scheme.

    Parameters
    ----------
    table : TaskTable
    cv : int, splitter or iterable of (train, test)
        An int assigns the rows of every task to that many folds, repeatedly for small tables.
    X, y, groups
        The arguments for the ``split`` of a splitter, as the caller passed them to fit.
    classifier : bool
        Whether the target holds class codes.
    is_part : bool
        Whether there are further tasks, so that splits without rows of these are left out.

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
        most = _MOST_REPEATS_OF_CLASSES if classifier else _MOST_REPEATS
        repeats = int(np.clip(round(_REPEAT_UNTIL / max(len(table.rows), 1)), 1, most))
        return [
            folds(deal_apart(table, n_folds, seed + r, classifier), n_folds) for r in range(repeats)
        ]
    splits = read_splits(cv, X, y, groups, n_samples=table.X.shape[0], copies=False)
    return _from_splits(table, splits, is_part)


def _from_splits(table, splits, is_part=False):
    role = np.zeros((table.X.shape[0], len(splits)), dtype=np.int8)
    for s, (train, test) in enumerate(splits):
        role[train, s] = 1
        role[test, s] = 2
    role = role[table.rows]
    if is_part:
        whole = (role == 1).any(axis=0) & (role == 2).any(axis=0)
        if whole.any():
            role, splits = role[:, whole], splits[: whole.sum()]
    for s in range(len(splits)):
        train, test = (np.flatnonzero(role[:, s] == side) for side in (1, 2))
        refuse_empty(train, test, s, "among the labelled rows of positive weight")
    kinds, block = _distinct(role)
    if len(kinds) <= _MOST_BLOCKS:
        return [Partition(block, len(kinds), kinds.T == 1, kinds.T == 2)]
    train, test = np.array([[False, True, False]]), np.array([[False, False, True]])
    return [Partition(role[:, s].astype(np.int64), 3, train, test) for s in range(len(splits))]


def _distinct(role):
    """Return the distinct rows of `role` (0, 1 or 2), sorted, and the position of each row there.

    It is faster than ``np.unique(role, axis=0)``, which takes ten seconds for a million rows.
    """
    key = np.zeros(len(role), dtype=np.int64)
    for column in role.T:
        key = 3 * key + column
        if key.max() > 2**60:  # the next step could overflow
            key = np.unique(key, return_inverse=True)[1]
    key = key.astype(np.min_scalar_type(key.max()))  # radix sort for small integers
    _, first, block = np.unique(key, return_index=True, return_inverse=True)
    return role[first], block
