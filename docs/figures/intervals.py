"""Intervals of three stores: one that is quiet, one that is noisy, and one never seen."""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskRegressor

rng = np.random.default_rng(1)
task = np.repeat(np.arange(30), 15)
x = rng.uniform(-1, 1, size=task.size)
noise = np.exp(0.8 * rng.normal(size=30))
level = 2 * rng.normal(size=30)
y = level[task] + 2 * x + noise[task] * rng.normal(size=task.size)
model = MultiTaskRegressor("partial_pooling", task_column=0).fit(np.column_stack([task, x]), y)

grid = np.linspace(-1, 1, 40)
shown = {"a quiet store": np.argmin(noise), "a noisy store": np.argmax(noise), "a new store": 99}
fig, axes = plt.subplots(1, 3, figsize=(6.4, 3), sharey=True, layout="constrained")
for ax, (name, store) in zip(axes, shown.items(), strict=True):
    rows = np.column_stack([np.full(40, store), grid])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a new store is what is shown
        low, high = model.predict_interval(rows, coverage=0.9)
        ax.plot(grid, model.predict(rows), color="#0072b2")
    ax.fill_between(grid, low, high, color="#0072b2", alpha=0.2, label="90 % interval")
    ax.plot(x[task == store], y[task == store], "o", color="black", ms=4)
    ax.set(title=name, xlabel="feature")
axes[0].set_ylabel("target")
axes[0].legend(frameon=False, loc="upper left")
