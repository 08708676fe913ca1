"""Error of independent, pooled and shared by size of task."""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskRegressor

rng = np.random.default_rng(1)
sizes = np.array([4, 8, 16, 32, 64, 128, 256])
rows = np.repeat(sizes, 12)
task = np.repeat(np.arange(rows.size), rows)
X = rng.normal(size=(task.size, 6))
own = 0.45 * rng.normal(size=(rows.size, 6)) + 1.0
y = (X * own[task]).sum(axis=1) + 2 * rng.normal(size=task.size)
test_task = np.repeat(np.arange(rows.size), 60)
X_test = rng.normal(size=(test_task.size, 6))
truth = (X_test * own[test_task]).sum(axis=1)

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
styles = {
    "independent": ("#d55e00", "--", "s"),
    "pooled": ("#888888", ":", "^"),
    "partial_pooling": ("#0072b2", "-", "o"),
}
for sharing, (color, style, marker) in styles.items():
    model = MultiTaskRegressor(sharing).fit(X, y, task=task)
    squares = (model.predict(X_test, task=test_task) - truth) ** 2
    error = [squares[np.isin(test_task, np.flatnonzero(rows == n))].mean() for n in sizes]
    label = sharing.replace("partial_pooling", "shared")
    ax.plot(sizes, np.sqrt(error), style, marker=marker, color=color, label=label)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="rows of the task",
    ylabel="error of its predictions (RMSE)",
    title="shared is the better of the two ends at each size of task, or better",
    xticks=sizes,
    xticklabels=[str(n) for n in sizes],
)
ax.minorticks_off()
ax.legend(frameon=False)
