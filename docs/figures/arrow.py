"""Normal equations of eight tasks with three features, and the system that is left."""

import matplotlib.pyplot as plt
import numpy as np

n_tasks, block = 8, 4
size = block * (n_tasks + 1)
matrix = np.zeros((size, size))
for t in range(n_tasks):
    own = slice(block * t, block * (t + 1))
    matrix[own, own] = 1
matrix[-block:, :] = matrix[:, -block:] = 2
fig, (whole, rest) = plt.subplots(
    1, 2, figsize=(6.4, 3.4), width_ratios=[size, size / 2], layout="constrained"
)
colors = plt.matplotlib.colors.ListedColormap(["#ffffff00", "#56b4e9", "#0072b2"])
whole.pcolormesh(matrix, cmap=colors, vmin=0, vmax=2, edgecolors="none")
whole.set(title="all normal equations", xlabel="own parameters of each task, then the shared ones")
rest.pcolormesh(np.full((block, block), 2), cmap=colors, vmin=0, vmax=2, edgecolors="white")
rest.set(title="tasks eliminated", xlabel="shared parameters")
for ax in (whole, rest):
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.invert_yaxis()
