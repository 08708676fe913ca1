"""Sums over the rows of a Dask frame: numpy's products in every partition, then their sums.

Dask has no engine of its own: products of columns would be as many columns of pandas.
"""

import numpy as np

__all__ = ["sums_of_partitions"]


def sums_of_partitions(native, keys, columns, has_weights):
    """Return the query of the sums of `moments`, a Dask frame with a row per group.

    Parameters
    ----------
    native : dask.dataframe.DataFrame
        Columns `keys`, ``weight`` if there are weights, and `columns`.
    keys, columns : list of str
        Names of the columns of the groups, and of the features and the target.
    has_weights : bool
    """
    arguments = keys, columns, has_weights
    parts = native.map_partitions(
        _sums_of_rows, *arguments, meta=_sums_of_rows(native._meta, *arguments)
    )
    how = {
        name: "min" if name.startswith("low") else "max" if name.startswith("high") else "sum"
        for name in parts.columns
        if name not in keys
    }
    return parts.groupby(keys).agg(how).reset_index()


def _sums_of_rows(rows, keys, columns, has_weights):
    """Return a pandas frame with the sums of every group of rows in memory."""
    groups = rows.groupby(keys, sort=False)
    codes, found = groups.ngroup().to_numpy(), groups.size()
    n = len(found)
    order = np.argsort(codes, kind="stable")
    edges = np.append(0, np.cumsum(np.bincount(codes, minlength=n)))
    Z = rows[columns].to_numpy(dtype=np.float64)[order]
    weight = np.ones(len(Z))
    if has_weights:
        weight = rows["weight"].to_numpy(dtype=np.float64)[order]
    d = len(columns)
    products, low, high = np.empty((n, d, d)), np.empty((n, d)), np.empty((n, d))
    for g in range(n):
        part = slice(edges[g], edges[g + 1])
        products[g] = (Z[part] * weight[part, None]).T @ Z[part]
        low[g], high[g] = Z[part].min(axis=0), Z[part].max(axis=0)
    starts = edges[:-1]

    def summed(values):
        return np.add.reduceat(values, starts, axis=0) if n else values[:0]

    sums, fourth = summed(weight[:, None] * Z), summed(weight[:, None] * Z[:, :-1] ** 4)
    out = found.rename("n").reset_index()
    made = {"weight_": summed(weight)}
    for j in range(d):
        made |= {f"sum{j}": sums[:, j], f"low{j}": low[:, j], f"high{j}": high[:, j]}
        made |= {f"product{j * d + i}": products[:, j, i] for i in range(j + 1)}
    made |= {f"fourth{j}": fourth[:, j] for j in range(d - 1)}
    return out.join(type(out)(made, index=out.index))
