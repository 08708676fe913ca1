"""
Stores in regions: share along a hierarchy
==========================================

A store resembles the stores of its own region more than those of other regions. With
:class:`~skmtl.sharing.TaskTree`, stores are shrunk towards their region, and regions
towards the whole. The first picture shows the fitted levels of stores and regions, the
second one the errors for known stores and for new stores in a known region.
"""

# %%
# Eight regions have seven known stores each, with twelve weeks, and three new ones.
# Sales depend on the price, and both the level of the sales and the effect of the price
# differ much between regions and little within them.
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskRegressor
from skmtl.base import UnknownTaskWarning
from skmtl.sharing import TaskTree

rng = np.random.default_rng(0)
store, week = (index.ravel() for index in np.indices((80, 112)))
names = np.array(["North", "East", "South", "West", "Coast", "Hills", "Lakes", "City"])
region = np.repeat(np.arange(8), 10)  # of each store
level = 20 + rng.normal(size=8)[region] + 0.3 * rng.normal(size=80)
effect = -1 + 0.5 * rng.normal(size=8)[region] + 0.1 * rng.normal(size=80)
X = pd.DataFrame({"region": names[region[store]], "store": store})
X["price"] = rng.normal(size=len(X))
sales = level[store] + effect[store] * X["price"] + rng.normal(size=len(X))
new = store % 10 >= 7
train, later = ~new & (week < 12), week >= 12

# %%
# The task columns are named from coarse to fine. The flat model, for comparison,
# shrinks all stores towards the same model.
structures = {
    "independent": "independent",
    "pooled": "pooled",
    "shared, flat": "partial_pooling",
    "shared, tree": TaskTree(),
}
models = {
    name: MultiTaskRegressor(sharing, task_column=["region", "store"])
    for name, sharing in structures.items()
}
for model in models.values():
    model.fit(X[train], sales[train])

# %%
# ``level_coef_`` has the models of the regions, and ``level_report_`` the
# cross-validated errors of their stores.
tree = models["shared, tree"]
frame = pd.DataFrame(tree.level_report_["region"]).set_index("group")
frame = frame[["gain_over_independent", "gain_over_pooled"]]
print(tree.coef_frame(level="region").join(frame).astype(float).round(2))

# %%
# Each store is shrunk towards its region, whose level is a good guess for a new store.
regions = tree.level_coef_["region"]
order = np.argsort(regions["intercept"])
height = pd.Series(np.arange(8), regions["group"][order])
known_stores = height[[label[0] for label in tree.tasks_]]
is_new = np.arange(80) % 10 >= 7
new_stores = height[names[region[is_new]]]

fig, ax = plt.subplots(layout="constrained")
ax.plot(regions["intercept"][order], height, "k|", ms=18, mew=3, label="region")
ax.plot(tree.intercept_, known_stores, "o", color="#0072b2", label="known stores")
style = {"color": "#e69f00", "mec": "black", "label": "new stores, in truth"}
ax.plot(level[is_new], new_stores - 0.2, "D", **style)
ax.axvline(tree.shared_intercept_, color="#888888", zorder=0, label="all")
ax.set_yticks(height, height.index)
ax.set_xlabel("level of weekly sales (1000 €)")
ax.set_title("Stores are shrunk towards their region")
_ = ax.legend()

# %%
# On later weeks, the tree is somewhat better than the flat model for known stores, and
# much better for new ones, of which nothing but the region is known. (There is no
# independent model of a new store.) :doc:`/hierarchies` says when levels do not help.
fig, ax = plt.subplots(layout="constrained")
colors = "#d55e00", "#888888", "#56b4e9", "#0072b2"
for k, (name, model) in enumerate(models.items()):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTaskWarning)  # of the new stores
        squared = (sales[later] - model.predict(X[later])) ** 2
    groups = [~new] if name == "independent" else [~new, new]
    rmse = np.sqrt([squared[group[later]].mean() for group in groups])
    x = np.arange(len(groups)) + 0.2 * k
    bars = ax.bar(x, rmse, width=0.18, color=colors[k], label=name)
    ax.bar_label(bars, fmt="%.2f")
ax.axhline(1, color="black", linestyle=":", label="noise")
ax.set_ylim(0, 1.65)
ax.set_xticks([0.3, 1.4], ["known stores", "new stores"])
ax.set_ylabel("RMSE of weekly sales (1000 €)")
ax.set_title("New stores gain most from their region")
ax.legend(ncols=3, loc="upper center")
plt.show()
