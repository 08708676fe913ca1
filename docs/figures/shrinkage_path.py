"""Slopes of ten tasks against the strength: from independent to pooled."""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskRegressor
from skmtl.sharing import PartialPooling

rng = np.random.default_rng(0)
rows = np.array([4, 4, 4, 8, 8, 15, 15, 40, 40, 100])
task = np.repeat(np.arange(rows.size), rows)
x = rng.normal(size=task.size)
slope = 1 + 0.5 * rng.normal(size=rows.size)
y = slope[task] * x + rng.normal(size=task.size)
table = np.column_stack([task, x])

strengths = np.geomspace(0.1, 3000, 40)
paths = np.array(
    [
        MultiTaskRegressor(
            PartialPooling(strength, alpha_intercept=1.0, alpha_shared=0.0), task_column=0
        )
        .fit(table, y)
        .coef_[:, 0]
        for strength in strengths
    ]
)
fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
shades = plt.colormaps["viridis_r"](np.log(rows / 3) / np.log(rows.max() / 3))
for path, color, n in zip(paths.T, shades, rows, strict=True):
    ax.plot(strengths, path, color=color, label=f"{n} rows")
handles, labels = ax.get_legend_handles_labels()
first = [labels.index(label) for label in dict.fromkeys(labels)]
ax.legend([handles[i] for i in first], [labels[i] for i in first], frameon=False)
ax.set(
    xscale="log",
    xlabel="strength alpha (rows)",
    ylabel="slope of each task",
    title="independent on the left, pooled on the right",
)
