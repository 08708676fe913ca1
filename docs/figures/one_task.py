"""Six rows of the target and many of three sources, one of which is harmful."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

from skmtl import Source, TransferEstimator

rng = np.random.default_rng(4)


def rows(n, slope, level):
    x = rng.uniform(-1, 1, size=n)
    return x, level + slope * x + 0.4 * rng.normal(size=n)


sources = {
    "plant A": rows(40, 1.1, 0.2),
    "plant B": rows(40, 0.9, -0.1),
    "plant C": rows(40, -1.0, 0.6),
}
x, y = rows(6, 1.0, 0.0)
source = Source(
    np.concatenate([s[0] for s in sources.values()])[:, None],
    np.concatenate([s[1] for s in sources.values()]),
    task=np.repeat(list(sources), 40),
)
grid = np.array([[-1.0], [1.0]])
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, (sx, sy)), color in zip(sources.items(), ("#8fc1e3", "#9fd8b8", "#f3b48b"), strict=True):
    ax.plot(sx, sy, "o", color=color, ms=5, label=name)
alone = Ridge().fit(x[:, None], y)
helped = TransferEstimator(Ridge(), source=source).fit(x[:, None], y)
ax.plot(grid[:, 0], alone.predict(grid), "--", color="#d55e00", lw=2.5, label="six rows alone")
ax.plot(grid[:, 0], helped.predict(grid), color="#0072b2", lw=3, label="with sources")
ax.plot(x, y, "o", color="black", ms=9)
ax.set(xticks=[], yticks=[])
fig.legend(loc="outside right upper", frameon=False, fontsize=13)
