"""
Fit a table that is larger than memory
======================================

The rows are in Parquet files, and an engine such as DuckDB reads them. Is the model
that is fitted by queries the same as one fitted to rows in memory? The picture compares
the slopes of 500 stores.
"""

# %%
# A table of 300,000 sales in 500 stores is written to a Parquet file. It would fit into
# memory, so that the two can be compared; the code is the same for any number of rows.

import tempfile
from pathlib import Path

import duckdb
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone

from skmtl import MultiTaskRegressor

rng = np.random.default_rng(0)
n_rows, features = 300_000, ["price", "ads", "rain", "warmth", "holiday"]
sales = pd.DataFrame(rng.normal(size=(n_rows, 5)), columns=features)
sales["store"] = rng.integers(500, size=n_rows)
sales["receipt"] = np.arange(n_rows)
slopes = [-2.0, 1.0, -0.5, 0.5, 1.5] + 0.3 * rng.normal(size=(500, 5))
level = 10 + rng.normal(size=500)
store = sales["store"]
sales["revenue"] = level[store] + (sales[features] * slopes[store]).sum(axis=1)
sales["revenue"] += 4 * rng.normal(size=n_rows)

folder = tempfile.TemporaryDirectory()
path = str(Path(folder.name) / "sales.parquet")
sales.to_parquet(path)

# %%
# A relation of DuckDB is lazy: no row has been read yet. ``fit`` takes the relation and
# the name of the target. It runs queries for the sums and products of the columns, per
# store and fold, and their number does not grow with the number of rows. Rows of a
# query have no order, so the folds are made from the values of ``fold_column``.
connection = duckdb.connect()
connection.execute("set memory_limit = '500MB'")
relation = connection.read_parquet(path)
model = MultiTaskRegressor(
    "partial_pooling",
    task_column="store",
    fold_column="receipt",
)
model.fit(relation, y="revenue")

# %%
# The same model is fitted to the rows in memory.
in_memory = clone(model).fit(sales.drop(columns="revenue"), sales["revenue"])
difference = np.abs(model.coef_ - in_memory.coef_).max()
print(f"{model.coef_.size} slopes differ by at most {difference:.0e}")

# %%
# ``predict`` returns a relation with one more column, which is computed when it is
# asked for. Here DuckDB computes the error, so that only one number leaves the engine.
# To write the predictions to a file, use ``predicted.write_parquet``.
predicted = model.predict(relation)
print(predicted.columns)
[(error,)] = predicted.aggregate("sqrt(avg((revenue - prediction) ** 2))").fetchall()
print(f"root mean squared error: {error:.2f}")

# %%
# On the left are the slopes from queries against those from memory; on the right are
# the same slopes by feature, with a bar at the slope that is shared by all stores.
fig, (ax, strips) = plt.subplots(1, 2, sharey=True, layout="constrained")
colors = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]
jitter = rng.uniform(-0.3, 0.3, size=500)
for j, (shared, color) in enumerate(zip(model.shared_coef_, colors, strict=True)):
    ax.plot(in_memory.coef_[:, j], model.coef_[:, j], ".", color=color, ms=4)
    strips.plot(j + jitter, model.coef_[:, j], ".", color=color, ms=4, alpha=0.5)
    strips.hlines(shared, j - 0.4, j + 0.4, color="black", lw=2)
ax.axline((0, 0), slope=1, color="black", lw=0.8, zorder=0)
ax.set(xlabel="slope, rows in memory", ylabel="slope, queries (revenue per unit)")
ax.set_title("the same, to rounding")
strips.set_xticks(range(5), features, rotation=45, ha="right")
strips.set_title("one slope per store")
fig.suptitle("500 stores, fitted by queries")
plt.show()

# %%
# :doc:`/large_tables` lists what can be fitted by queries, the other engines, and the
# times for up to a hundred million rows.
connection.close()
folder.cleanup()
