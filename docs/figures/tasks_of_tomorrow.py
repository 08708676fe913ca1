"""Past tasks and a new one with three rows: what the past says of it."""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MetaLearnerRegressor

rng = np.random.default_rng(3)
n_tasks, n_rows = 40, 12
task = np.repeat(np.arange(n_tasks), n_rows)
x = rng.uniform(-1, 1, size=task.size)
a, b = 0.6 * rng.normal(size=n_tasks), 1.5 + 0.5 * rng.normal(size=n_tasks)


def curve(x, a, b):
    return a + b * np.sin(2.5 * x)


def features(x):
    return np.column_stack([x, x**2, x**3])


y = curve(x, a[task], b[task]) + 0.1 * rng.normal(size=task.size)
model = MetaLearnerRegressor(random_state=0).fit(features(x), y, task=task)

grid = np.linspace(-1, 1, 60)
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for past in range(12):
    ax.plot(grid, curve(grid, a[past], b[past]), color="#bbbbbb", lw=1)
new = np.array([-0.7, 0.0, 0.4])
truth = curve(new, 0.9, 2.0)
learned = model.adapt(features(new), truth)
ax.plot(
    grid, learned.predict(features(grid)), color="#0072b2", lw=3, label="new task, from three rows"
)
ax.plot(new, truth, "o", color="black", ms=9)
ax.plot([], [], color="#bbbbbb", label="past tasks")
ax.set(xticks=[], yticks=[])
ax.legend(frameon=False, fontsize=14, loc="upper left")
