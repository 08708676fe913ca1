"""Sums over the rows of a Dask frame: numpy's products in every partition, then their sums.

Dask has no engine of its own: products of columns would be as many columns of pandas.
"""

import numpy as np

from .formulas import ArrayMath, row_formulas

__all__ = ["sums_of_partitions", "working_sums_of_partitions"]


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


def working_sums_of_partitions(
    native, models, on, columns, origins, has_weights, n_models, loss, has_products
):
    """Return the query of the sums of `working`, a Dask frame with a row per group.

    Parameters
    ----------
    native : dask.dataframe.DataFrame
        The rows.
    models : dict from str to list or ndarray
        Columns of the table of the models.
    on, columns : list of str
        Names of the columns of task and fold, and of the features.
    origins : list of str or None
        Columns of the models that are subtracted from the features.
    has_weights : bool
    n_models : int
    loss : Loss
    has_products : bool
        Whether working moments are computed, beside the losses.
    """
    import pandas as pd

    arguments = (
        pd.DataFrame(models), on, columns, origins, has_weights, n_models, loss,
        has_products,
    )  # fmt: skip
    meta = _working_sums_of_rows(native._meta, *arguments)
    parts = native.map_partitions(_working_sums_of_rows, *arguments, meta=meta)
    return parts.groupby("group").sum().reset_index()


def _working_sums_of_rows(
    rows, models, on, columns, origins, has_weights, n_models, loss, has_products
):
    """Return a pandas frame with the sums of every group of rows in memory."""
    joined = rows.merge(models, left_on=on, right_on=[f"{key}_" for key in on])
    joined = joined.sort_values("group", kind="stable")
    groups, starts = np.unique(joined["group"].to_numpy(), return_index=True)

    def numbers(names):
        return joined[names].to_numpy(dtype=np.float64)

    def summed(values):
        return np.add.reduceat(values, starts, axis=0) if len(groups) else values[:0]

    X, y, p = numbers(columns), numbers(["target"])[:, 0], len(columns)
    if origins is not None:
        X = X - numbers(origins)
    weight = numbers(["weight"])[:, 0] if has_weights else np.ones(len(y))
    made = {"group": groups}
    ends = np.append(starts, len(X))[1:]
    for m in range(n_models):
        slopes = numbers([f"b{m}_{j}" for j in range(p)])
        score = numbers([f"a{m}"])[:, 0] + (X * slopes).sum(axis=1)
        found = row_formulas(loss, y, score, ArrayMath)
        made[f"loss{m}"] = summed(weight * found.loss)
        if not has_products:
            continue
        v, g = weight * found.curvature, weight * found.slope
        made |= {f"pearson{m}": summed(weight * found.pearson), f"curvature{m}": summed(v)}
        made |= {f"slope{m}": summed(g), f"square{m}": summed(g * found.slope / found.curvature)}
        first, cross = summed(v[:, None] * X), summed(g[:, None] * X)
        made |= {f"first{m}_{j}": first[:, j] for j in range(p)}
        made |= {f"slope{m}_{j}": cross[:, j] for j in range(p)}
        products = np.zeros((len(groups), p, p))
        for k, (start, stop) in enumerate(zip(starts, ends, strict=True)):
            part = X[start:stop]
            products[k] = (part * v[start:stop, None]).T @ part
        made |= {
            f"product{m}_{i * p + j}": products[:, i, j] for i in range(p) for j in range(i + 1)
        }
    made["least"] = summed(weight * found.least)
    return type(joined)(made)
