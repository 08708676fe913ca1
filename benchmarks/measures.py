"""Measures of error, and the rule that turns them into one ratio to the best peer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

CELL = ["set", "variant"]


def nmse(y, prediction):
    """Return the mean squared error over the variance of the test target, over all rows."""
    return np.mean((y - prediction) ** 2) / np.var(y)


def nmse_macro(y, prediction, task, min_rows=5):
    """Return the median over tasks, with `min_rows` test rows at least, of their own nmse."""
    groups = pd.DataFrame({"y": y, "error": (y - prediction) ** 2}).groupby(np.asarray(task))
    table = groups.agg(
        rows=("y", "size"), var=("y", lambda v: v.var(ddof=0)), mse=("error", "mean")
    )
    table = table[(table["rows"] >= min_rows) & (table["var"] > 0)]
    return (table["mse"] / table["var"]).median()


def log_loss(y, probability):
    """Return the mean log-loss over all rows."""
    probability = np.clip(probability, 1e-15, 1 - 1e-15)
    return -np.mean(np.where(y == 1, np.log(probability), np.log1p(-probability)))


def log_loss_macro(y, probability, task):
    """Return the mean over tasks of their own log-loss."""
    return np.mean([log_loss(y[task == t], probability[task == t]) for t in np.unique(task)])


def auc_macro(y, probability, task):
    """Return the mean, over the tasks with rows of both classes, of their own ROC AUC."""
    own = [(y[task == t], probability[task == t]) for t in np.unique(task)]
    return np.mean([roc_auc_score(*pair) for pair in own if len(np.unique(pair[0])) == 2])


def calibration_error(y, probability, n_bins=10):
    """Return the mean gap, over bins of equally many rows, of mean probability and mean class."""
    bins = np.array_split(np.argsort(probability, kind="stable"), n_bins)
    gaps = [abs(y[rows].mean() - probability[rows].mean()) for rows in bins if len(rows)]
    return np.average(gaps, weights=[len(rows) for rows in bins if len(rows)])


def geometric_mean(values):
    """Return the geometric mean of positive values, missing ones left out."""
    values = np.asarray(values, dtype=np.float64)
    return float(np.exp(np.nanmean(np.log(values)))) if np.isfinite(values).any() else np.nan


def cell_table(records, metric, complete="nmse"):
    """Return the mean error of each method (columns) in each cell of set and regime (rows)."""
    order = pd.MultiIndex.from_frame(records[CELL].drop_duplicates())
    groups = records.groupby([*CELL, "method"])
    # A method that failed on one split is missing in that cell: a mean over other splits than the
    # rest's would not compare. nmse_macro alone may be undefined, where all tasks are tiny, so it
    # is another column that says whether it failed.
    n_splits = records.groupby(CELL)["split"].nunique()
    counts = groups[complete].count().unstack("method")
    means = groups[metric].mean().unstack("method").where(counts.eq(n_splits, axis=0))
    return means.reindex(index=order, columns=records["method"].unique())


def paired_gaps(records, metric, method, others):
    """Return, cell by cell, the mean over splits of a method's error beyond another's, and its SE.

    `others` is a Series with the name of the other method of each cell.
    """
    errors = records.set_index([*CELL, "split", "method"])[metric].unstack("method")
    rows = {}
    for cell, other in others.items():
        own = errors.loc[cell]
        usable = method in own and isinstance(other, str)
        gap = own[method] - own[other] if usable else pd.Series(dtype=float)
        rows[cell] = {"gap": gap.mean(), "se": gap.std(ddof=1) / np.sqrt(max(1, gap.count()))}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=CELL))


def ratios(cells, methods, peers):
    """Divide the error of each method by the least error of the peers, cell by cell."""
    best = cells[[p for p in peers if p in cells]].min(axis=1)
    return cells[[m for m in methods if m in cells]].div(best, axis=0)


def summary(records, methods, peers):
    """Return one row a method: geometric means over cells of both ratios, and the worst cell."""
    overall = ratios(cell_table(records, "nmse"), methods, peers)
    macro = ratios(cell_table(records, "nmse_macro"), methods, peers)
    rows = {}
    for method in overall:
        worst = overall[method].idxmax() if overall[method].notna().any() else ("-", "-")
        rows[method] = {
            "nmse": geometric_mean(overall[method]),
            "nmse_macro": geometric_mean(macro[method]),
            "worst nmse": overall[method].max(),
            "worst cell": " ".join(worst),
            "cells": f"{overall[method].notna().sum()}/{len(overall)}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
