"""Moments of tasks as queries: one for centres and limits of the columns, one for products."""

from dataclasses import dataclass, replace

import numpy as np

from ..tasks.encode import LabelColumns, TaskLabels
from ..tasks.moments import TaskMoments
from ..tasks.shards import ShardedBlocks, ShardStore
from .frames import QueryError, beside, collect, engine_of
from .partitions import sums_of_partitions

__all__ = [
    "BlockSums", "LazyTable", "Summary", "block_sums", "number_column", "queries_of_sums",
    "sharded_sums", "summarise",
]  # fmt: skip

# Most sums in one query; with more, the rows are read several times.
_MOST_SUMS = 2000
# Products of deviations from the table's means lose accuracy where groups are far from these, in
# standard deviations of the group: beyond this, deviations from the groups' own means are taken.
# In a task of fewer rows, values may be close to each other by chance.
_FARTHEST, _FEWEST_ROWS = 30.0, 10


@dataclass(frozen=True)
class LazyTable:
    """The rows of a fit as a query.

    Attributes
    ----------
    frame : narwhals.LazyFrame
        Columns ``key0``, ... (the task), ``fold``, ``weight`` if there are weights, ``z0``, ...
        (the features) and ``target``.
    n_keys, n_features : int
    has_weights : bool
    tuples : bool
        Whether labels are tuples.
    """

    frame: object
    n_keys: int
    n_features: int
    has_weights: bool
    tuples: bool = False

    @property
    def keys(self):
        """Names of the columns of the task."""
        return [f"key{k}" for k in range(self.n_keys)]

    @property
    def columns(self):
        """Names of the features and of the target."""
        return [*(f"z{j}" for j in range(self.n_features)), "target"]

    def between(self, low, high):
        """Return the rows of the tasks whose first label is between two values."""
        import narwhals as nw

        key = nw.col("key0")
        return replace(self, frame=self.frame.filter((key >= low) & (key <= high)))

    def all_labels(self):
        """Return the `TaskLabels` of all tasks, by a query."""
        query = self.frame.select(*self.keys).unique()
        return self.labels(collect(lambda: query, "the labels of the tasks"))[0]

    def labels(self, found):
        """Return the `TaskLabels` of a result with the keys, and the code of each of its rows."""
        if not self.n_keys:
            return None, np.zeros(len(found), dtype=np.int64)
        parts = [found[key].to_list() for key in self.keys]
        if not self.tuples:
            return TaskLabels.from_rows(parts[0])
        return TaskLabels.from_rows(LabelColumns(parts, list(range(self.n_keys))))


@dataclass(frozen=True)
class Summary:
    """Statistics of the columns of a lazy frame.

    Attributes
    ----------
    n_rows : int
    missing : ndarray of int, shape (n_columns,)
        Numbers of missing entries.
    mean, low, high : ndarray of shape (n_columns,)
        NaN for columns without numbers.
    """

    n_rows: int
    missing: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def unit(self):
        """Powers of two that bring the deviations from the means into [-1, 1]."""
        reach = np.maximum(self.high - self.mean, self.mean - self.low)
        return np.exp2(-np.ceil(np.log2(np.where(reach > 0.0, reach, 1.0))))

    def take(self, columns):
        """Return the statistics of some of the columns."""
        parts = (self.missing, self.mean, self.low, self.high)
        return Summary(self.n_rows, *(part[columns] for part in parts))


def summarise(frame, numbers, others, weight=None):
    """Return the `Summary` of columns by one query.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    numbers : list of narwhals.Expr
        Columns of float64, whose means and limits are computed.
    others : list of narwhals.Expr
        Columns of which missing entries are counted.
    weight : narwhals.Expr, optional
        Weights of the rows in the means.
    """
    import narwhals as nw

    made = [nw.lit(0).cast(nw.Int64).alias("all_rows")]
    sums = [nw.len().alias("n"), nw.col("weight").sum()]
    made.append((nw.lit(1.0) if weight is None else weight).alias("weight"))
    for j, column in enumerate([*numbers, *others]):
        made.append(column.is_null().cast(nw.Float64).alias(f"gap{j}"))
        sums.append(nw.col(f"gap{j}").sum())
    for j, column in enumerate(numbers):
        made.append(column.alias(f"low{j}"))
        made.append(column.alias(f"high{j}"))
        made.append((column if weight is None else column * weight).alias(f"sum{j}"))
        sums += [nw.col(f"low{j}").min(), nw.col(f"high{j}").max(), nw.col(f"sum{j}").sum()]
    found = collect(
        lambda: frame.select(*made).group_by("all_rows").agg(*sums),
        "means and limits of the columns",
    )
    if not len(found):
        raise ValueError("X is a lazy frame without rows; check its filters.")
    n = len(numbers)
    gaps = _numbers(found, "gap", n + len(others))[0].astype(np.int64)
    low, high, sums = (_numbers(found, name, n)[0] for name in ("low", "high", "sum"))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / float(found["weight"][0])
    return Summary(int(found["n"][0]), gaps, mean, low, high)


def _numbers(found, name, n):
    """Return the columns ``name0``, ``name1``, ... of a result, ``(n_rows, n)``; NaN if missing."""
    out = np.empty((len(found), n))
    for j in range(n):
        out[:, j] = number_column(found, f"{name}{j}")
    return out


def number_column(found, name):
    """Return a column of a result as float64; NaN if missing."""
    values = found[name].to_numpy()
    if values.dtype.kind != "O":
        return values.astype(np.float64)
    return np.array([np.nan if v is None else float(v) for v in values.tolist()])


@dataclass(frozen=True)
class BlockSums:
    """What `block_sums` returns.

    Attributes
    ----------
    labels : TaskLabels or None
        None without a task column.
    moments : TaskMoments or ShardedBlocks, of shape (n_tasks, n_folds)
    sizes : ndarray of int, shape (n_tasks,)
        Numbers of rows.
    unit : ndarray of shape (n_features + 1,)
        Unit of the summary.
    fourth : ndarray of shape (n_features,)
        Weighted sums of fourth powers of these deviations, times the unit.
    varies : bool ndarray of shape (n_tasks, n_folds, n_features + 1)
        Columns with more than one value.
    origin : ndarray of shape (n_tasks, n_features + 1) or None
        Means of the tasks, as such deviations; None if products of deviations from the centre are
        accurate.
    """

    labels: object
    moments: TaskMoments
    sizes: np.ndarray
    unit: np.ndarray
    fourth: np.ndarray
    varies: np.ndarray | None = None
    origin: np.ndarray | None = None

    def labels_of(self, tasks, keys):
        """Return the columns of the labels of tasks, for a join."""
        return _label_columns(self.labels, tasks, keys)


def block_sums(table, n_folds, summary, progress):
    """Compute the moments of every task and fold.

    Parameters
    ----------
    table : LazyTable
    n_folds : int
    summary : Summary
        Of the features and the target.
    progress : callable

    Returns
    -------
    BlockSums

    Raises
    ------
    QueryError
        If the engine fails.
    """
    centre, unit = summary.mean, summary.unit
    progress("query of the products of all columns, by task and fold")
    frame = _centred(table, centre, unit)
    found = _sums(table, frame, n_folds)
    moments, far = _moments(found)
    if far:
        progress("query of the products about the means of tasks and folds")
        found = replace(found, **_about_means(table, frame, found, moments, n_folds))
        moments, _ = _moments(found)
    origin = moments.merge().mean if far else None
    moments.rescale(-centre * unit, 1.0 / unit)
    sizes = found.n_rows.sum(axis=1)
    return BlockSums(found.labels, moments, sizes, unit, found.fourth, ~found.constant, origin)


def sharded_sums(table, n_folds, summary, labels, n_shards, progress):
    """Compute the moments of every task and fold, one shard of the tasks after the other.

    Parameters
    ----------
    table, n_folds, summary, progress
        As `block_sums` takes them.
    labels : TaskLabels
        All tasks.
    n_shards : int
        Smallest number of shards.

    Returns
    -------
    BlockSums
        With `ShardedBlocks` as moments.
    """
    store, sizes, fourth = ShardStore(), [], 0.0
    spans = _spans(labels, n_shards)
    for number, (start, stop, low, high) in enumerate(spans):
        progress(f"shard {number + 1} of {len(spans)}: tasks {start + 1} to {stop}")
        part = block_sums(table.between(low, high), n_folds, summary, lambda text: None)
        if not np.array_equal(part.labels.classes, labels.classes[start:stop]):
            raise QueryError(
                f"the tasks {start + 1} to {stop} of {len(labels)} changed between two queries; "
                "fit to a frame whose rows stay the same, such as a table of its own."
            )
        store.append(part.moments)
        sizes.append(part.sizes)
        fourth = fourth + part.fourth
    return BlockSums(labels, ShardedBlocks(store), np.concatenate(sizes), summary.unit, fourth)


def _spans(labels, n_shards):
    """Return spans of tasks as ``(start, stop, low, high)``, with limits of the first key."""
    first = labels.classes.tolist()
    if isinstance(labels.kind, tuple):
        first = [label[0] for label in first]
    n_tasks = len(first)
    starts = [0]
    for k in range(1, n_shards):
        start = max(k * n_tasks // n_shards, starts[-1] + 1)
        while start < n_tasks and first[start] == first[start - 1]:
            start += 1
        if start < n_tasks:
            starts.append(start)
    stops = [*starts[1:], n_tasks]
    return [(a, b, first[a], first[b - 1]) for a, b in zip(starts, stops, strict=True)]


def _centred(table, centre, unit):
    """Return the query of deviations from a centre, in some units."""
    import narwhals as nw

    kept = [*table.keys, "fold", *(["weight"] if table.has_weights else [])]
    columns = [
        ((nw.col(name) - float(c)) * float(u)).alias(name)
        for name, c, u in zip(table.columns, centre, unit, strict=True)
    ]
    return table.frame.select(*kept, *columns)


def _about_means(table, frame, found, moments, n_folds):
    """Return the sums of deviations from the means of the groups, which are joined."""
    import narwhals as nw

    task, fold = np.nonzero(moments.weight > 0.0)
    names = [f"mean{j}" for j in range(len(table.columns))]
    columns = dict(zip(names, moments.mean[task, fold].T, strict=True))
    columns |= _label_columns(found.labels, task, table.keys) | {"fold_": fold.astype(np.int64)}
    on = [*table.keys, "fold"]
    joined = frame.join(
        beside(frame, columns), left_on=on, right_on=[f"{key}_" for key in on], how="inner"
    )
    kept = [*on, *(["weight"] if table.has_weights else [])]
    pairs = zip(table.columns, names, strict=True)
    joined = joined.select(*kept, *((nw.col(c) - nw.col(m)).alias(c) for c, m in pairs))
    about = _sums(table, joined, n_folds)
    return {"sums": about.sums, "products": about.products, "origin": moments.mean}


@dataclass(frozen=True)
class _Sums:
    """Sums over the rows of every task and fold.

    Attributes
    ----------
    labels : TaskLabels or None
    n_rows, weight : ndarray of shape (n_tasks, n_folds)
    sums : ndarray of shape (n_tasks, n_folds, n_columns)
        Weighted sums of the columns, as deviations from `origin`.
    products : ndarray of shape (n_tasks, n_folds, n_columns, n_columns)
        Weighted sums of the products of these deviations.
    constant : bool ndarray of shape (n_tasks, n_folds, n_columns)
        Columns with a single value.
    fourth : ndarray of shape (n_features,)
    origin : ndarray of shape (n_tasks, n_folds, n_columns) or float
    """

    labels: object
    n_rows: np.ndarray
    weight: np.ndarray
    sums: np.ndarray
    products: np.ndarray
    constant: np.ndarray
    fourth: np.ndarray
    origin: object = 0.0


def _label_columns(labels, tasks, keys):
    """Return the columns of the labels of tasks, for a join."""
    if not keys:
        return {}
    labels = labels.classes[tasks].tolist()
    parts = list(zip(*labels, strict=True)) if isinstance(labels[0], tuple) else [labels]
    return {f"{key}_": list(part) for key, part in zip(keys, parts, strict=True)}


def _sums(table, frame, n_folds):
    """Run the query of the sums, or several if there are many columns."""
    d, keys, labels, parts = len(table.columns), [*table.keys, "fold"], None, {}
    for query in _queries(table, frame, keys):
        found = collect(query, "sums by task and fold")
        labels, codes = table.labels(found)
        at = codes * n_folds + np.array(found["fold"].to_list(), dtype=np.int64)
        size = (1 if labels is None else len(labels)) * n_folds
        for name in [c for c in found.columns if c not in keys]:
            parts[name] = np.zeros(size)
            parts[name][at] = number_column(found, name)

    def shaped(*columns):
        return np.stack([parts[c] for c in columns], axis=-1).reshape(-1, n_folds, len(columns))

    products = np.empty((size // n_folds, n_folds, d, d))
    for i in range(d):
        for j in range(i + 1):
            value = parts.pop(f"product{i * d + j}").reshape(-1, n_folds)
            products[..., i, j] = products[..., j, i] = value
    low, high = (shaped(*(f"{side}{j}" for j in range(d))) for side in ("low", "high"))
    fourth = np.array([parts[f"fourth{j}"].sum() for j in range(d - 1)])
    return _Sums(
        labels, shaped("n")[..., 0].astype(np.int64), shaped("weight_")[..., 0],
        shaped(*(f"sum{j}" for j in range(d))), products, low == high, fourth,
    )  # fmt: skip


def _queries(table, frame, keys):
    """Yield functions that return the queries of the sums, by name."""
    import narwhals as nw

    if engine_of(frame) == "dask":
        yield lambda: sums_of_partitions(frame.to_native(), keys, table.columns, table.has_weights)
        return
    names, d = table.columns, len(table.columns)
    one = nw.col("weight") if table.has_weights else None
    weighted = (lambda e: e) if one is None else (lambda e: one * e)
    made = {"weight_": nw.lit(1.0) if one is None else one}
    limits = []
    for j, name in enumerate(names):
        made[f"sum{j}"] = weighted(nw.col(name))
        limits += [nw.col(name).min().alias(f"low{j}"), nw.col(name).max().alias(f"high{j}")]
    for j, name in enumerate(names[:-1]):
        square = nw.col(name) * nw.col(name)
        made[f"fourth{j}"] = weighted(square * square)
    for i in range(d):
        for j in range(i + 1):
            made[f"product{i * d + j}"] = weighted(nw.col(names[i]) * nw.col(names[j]))
    yield from queries_of_sums(frame, keys, made, [nw.len().alias("n"), *limits])


def queries_of_sums(frame, keys, made, more=()):
    """Yield functions that return the queries of sums by groups.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    keys : list of str
        Names of the columns of the groups.
    made : dict from str to narwhals.Expr
        What is summed, by name.
    more : list of narwhals.Expr
        Further results of the first query.
    """
    import narwhals as nw

    listed = list(made)
    for start in range(0, len(listed), _MOST_SUMS):
        part = listed[start : start + _MOST_SUMS]
        sums = [*([] if start else more), *(nw.col(name).sum() for name in part)]
        query = frame.with_columns(*(made[name].alias(name) for name in part))
        query = query.group_by(*keys).agg(*sums)
        yield lambda query=query: query


def _moments(found):
    """Return the `TaskMoments` of sums, and whether the products have lost accuracy."""
    weight = found.weight[..., None]
    gap = np.divide(found.sums, weight, out=np.zeros_like(found.sums), where=weight > 0.0)
    scatter = found.products - found.sums[..., :, None] * gap[..., None, :]
    scatter = 0.5 * (scatter + np.swapaxes(scatter, -1, -2))
    varies = ~found.constant
    scatter *= varies[..., :, None] & varies[..., None, :]
    diagonal = np.einsum("tkjj->tkj", scatter)
    diagonal[...] = np.maximum(diagonal, 0.0)
    # Per task, as the rows of a single fold may be few and close to each other by chance.
    away = (weight * gap**2 * varies).sum(axis=1)
    within = diagonal.sum(axis=1)
    judged = found.n_rows.sum(axis=1) >= _FEWEST_ROWS
    # Small tasks are judged together.
    away, within = (np.vstack([part[judged], part[~judged].sum(axis=0)]) for part in (away, within))
    far = (away > _FARTHEST**2 * within)[(within > 0.0).any(axis=1)]
    return TaskMoments(found.weight, found.origin + gap, scatter), bool(far.any())
