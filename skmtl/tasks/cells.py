"""Rows of several tasks with the same features, such as those of a 2-D target.

A patient with several outcomes, or a compound in several assays, has a row with the same features
in every task. What the features do not tell of such a case is common to its rows, so that they must
be in the same folds: if one of them were held out by a fit that has seen the others, sharing would
seem to predict what it has only seen.

Equal features may also be due to chance, in tables with few distinct values. Then they are about as
frequent within a task as between tasks, and rows are dealt separately. So are those of a design
with few distinct rows, such as the days of a study, in which tasks are to be predicted at the same
points.
"""

import numpy as np

from .keys import by_size, mixed

__all__ = ["deal_cells", "shared_cells"]

# Equal features are due to chance if, within tasks, they are more than this fraction as frequent as
# between tasks.
_CHANCE = 0.1
# A smaller share of rows that repeat others cannot mislead much, and their cases are perhaps met
# again. Keys of different rows may be equal, too, in large tables.
_LEAST_SHARE = 0.05
# With fewer distinct rows, they are the points of a design. Cases that are mistaken for a design
# cost far more than the reverse (a few per cent), so that the bound is low.
_FEWEST = 12
# Multiple of the smallest key of a small task that determines its first block.
_TURNS = 101.0


def shared_cells(table, feature_keys):
    """Return keys of the packed rows by which they are to be dealt together, or None.

    They are those of the features, if these are not equal by chance. Otherwise, rows of X that
    several tasks share, in a 2-D target, have the sums of the keys of their labels.

    Parameters
    ----------
    table : TaskTable
        Table with keys.
    feature_keys : ndarray of shape (n_packed,)

    Returns
    -------
    ndarray of shape (n_packed,) or None
    """
    found = _by_features(table, feature_keys)
    if found is not None or table.n_tasks < 2 or np.bincount(table.rows).max() < 2:
        return found
    in_tasks = np.unique(table.codes * table.X.shape[0] + table.rows) % table.X.shape[0]
    n_tasks = np.bincount(in_tasks, minlength=table.X.shape[0])
    n_cases = (n_tasks > 0).sum()
    if n_cases < _FEWEST or len(in_tasks) - n_cases < _LEAST_SHARE * len(in_tasks):
        return None
    return np.bincount(table.rows, table.keys, table.X.shape[0])[table.rows]


def _by_features(table, feature_keys):
    """Return the feature keys if they are equal between tasks, and not by chance; or None."""
    ordered, n_rows = np.sort(feature_keys), len(feature_keys)
    n_repeated = (ordered[1:] == ordered[:-1]).sum()
    if table.n_tasks < 2 or n_repeated < _LEAST_SHARE * n_rows:
        return None
    if n_rows - n_repeated < _FEWEST:
        return None
    cell = np.unique(feature_keys, return_inverse=True)[1]
    _, in_task = np.unique(cell * table.n_tasks + table.codes, return_counts=True)
    in_cell, sizes = np.bincount(cell), table.task_sizes()
    of_task, of_cell, of_size = (_pairs(n) for n in (in_task, in_cell, sizes))
    within = of_task / max(of_size, 1.0)
    between = (of_cell - of_task) / max(_pairs(np.array([n_rows])) - of_size, 1.0)
    return feature_keys if within < _CHANCE * between else None


def deal_cells(table, n_blocks, seed, most):
    """Assign the rows of every task to blocks, those of one cell to the same.

    Large tasks are assigned by the keys of the cells. The cells of small tasks that are not yet
    assigned fill the blocks in which the task has the fewest rows.

    Parameters
    ----------
    table : TaskTable
        Table with `cells`.
    n_blocks, seed : int
    most : int
        Largest number of rows per block of a small task.

    Returns
    -------
    ndarray of shape (n_packed,), or None if there are too few cells for the blocks
    """
    keys, cell = np.unique(table.cells, return_inverse=True)
    if len(keys) < 2 * n_blocks:
        return None
    keys = mixed(keys, seed)
    block = (keys * n_blocks).astype(np.int64)
    sizes, small = table.task_sizes(), table.task_sizes() <= most * n_blocks
    of_small = np.repeat(small, sizes)
    block[np.setdiff1d(cell[of_small], cell[~of_small])] = -1  # not yet assigned
    order = by_size(sizes, table.task_sums(keys[cell]))[::-1]
    for t in order[small[order] & (sizes[order] > 0)]:
        own = np.unique(cell[table.offsets[t] : table.offsets[t + 1]])
        free = own[block[own] < 0]
        if len(free):
            free = free[np.argsort(keys[free], kind="stable")]
            counts = np.bincount(block[own][block[own] >= 0], minlength=n_blocks)
            block[free] = _filled(counts, len(free), int(keys[free[0]] * _TURNS % 1.0 * n_blocks))
    return block[cell]


def _pairs(sizes):
    """Return the number of ordered pairs of different rows in groups of these sizes."""
    sizes = sizes.astype(np.float64)
    return float((sizes * (sizes - 1.0)).sum())


def _filled(counts, n, first):
    """Return the blocks of `n` more rows, always the one with the fewest rows.

    Of blocks with as many rows, those from `first` on come first.
    """
    n_blocks = len(counts)
    level = counts[:, None] + np.arange(n)
    turn = (np.arange(n_blocks) - first) % n_blocks
    order = np.lexsort((np.repeat(turn, n), level.ravel()))[:n]
    return order // n
