"""Five tasks of four rows: one line for each alone, for all together, and shared."""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskRegressor

rng = np.random.default_rng(4)
task = np.repeat(np.arange(24), 4)
x = rng.uniform(-1, 1, size=96)
slope, level = 1 + 0.3 * rng.normal(size=24), 0.8 * rng.normal(size=24)
y = level[task] + slope[task] * x + 0.6 * rng.normal(size=96)
table = np.column_stack([task, x])

grid = np.array([-1.0, 1.0])
fig, axes = plt.subplots(1, 4, figsize=(6, 3), sharey=True, layout="constrained")
styles = {
    "independent": ("#d55e00", "--"),
    "pooled": ("#888888", ":"),
    "partial_pooling": ("#0072b2", "-"),
}
for sharing, (color, style) in styles.items():
    model = MultiTaskRegressor(sharing, task_column=0).fit(table, y)
    label = sharing.replace("partial_pooling", "shared")
    for shown, ax in enumerate(axes):
        line = model.predict(np.column_stack([np.full(2, shown), grid]))
        ax.plot(grid, line, style, color=color, lw=2.5, label=label)
for shown, ax in enumerate(axes):
    ax.plot(x[task == shown], y[task == shown], "o", color="black", ms=7)
    ax.set(xticks=[], yticks=[], title=f"store {shown + 1}", xlim=(-1.1, 1.1))
handles, labels = axes[0].get_legend_handles_labels()
fig.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=14)
