"""
A model for a store that opened six weeks ago
=============================================

A chain has a model of its forty stores when new ones open. ``adapt`` makes a model of a
new store from its first weeks, without refitting. The picture shows the error on later
weeks by the number of weeks that are known, beside the errors of a model of these weeks
alone and of a model of the forty old stores alone.
"""

# %%
# The stores differ in their level of revenue and in how they react to prices, holidays
# and the weather. Forty of them have 30 weeks each. Another forty open later, one at a
# time; a hundred weeks of each, from week 60 on, are used to measure errors.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from skmtl import MultiTaskRegressor

rng = np.random.default_rng(0)
store, week = (index.ravel() for index in np.indices((80, 160)))
features = ["price", "holiday", "weather"]
X = pd.DataFrame(rng.normal(size=(len(store), 3)), columns=features)
level = 20 + rng.normal(size=80)
slopes = [-2.0, 1.0, 0.5] + 0.4 * rng.normal(size=(80, 3))
revenue = level[store] + (slopes[store] * X).sum(axis=1) + rng.normal(size=len(X))
X["store"] = store

old = (store < 40) & (week < 30)
model = MultiTaskRegressor("partial_pooling", task_column="store")
model = model.fit(X[old], revenue[old])

# %%
# :meth:`~skmtl.MultiTaskRegressor.adapt` returns an ordinary fitted regressor, which
# needs no task column. Its slopes move from those that all stores share towards the
# store's own. Here are the price slopes of the new store with the steepest one:
steep = 40 + np.argmin(slopes[40:, 0])
for n_weeks in (1, 6, 40):
    known = (store == steep) & (week < n_weeks)
    fresh = model.adapt(X[known], revenue[known])
    print(f"after {n_weeks:2} weeks {fresh.coef_[0]:.2f}")
print(f"shared by all  {model.shared_coef_[0]:.2f}, in truth {slopes[steep, 0]:.2f}")

# %%
# For each of the new stores, *shared* is the adapted model, *independent* a ridge
# regression on the store's own weeks, and *pooled* one on the rows of all old stores.
pooled = Ridge().fit(X.loc[old, features], revenue[old])
known_weeks = [1, 2, 4, 6, 10, 20, 40]
mse = np.zeros((len(known_weeks), 3))
for new in range(40, 80):
    later = (store == new) & (week >= 60)
    for i, n_weeks in enumerate(known_weeks):
        known = (store == new) & (week < n_weeks)
        alone = Ridge().fit(X.loc[known, features], revenue[known])
        shared = model.adapt(X[known], revenue[known])
        for k, one in enumerate([alone, pooled, shared]):
            error = revenue[later] - one.predict(X.loc[later, features])
            mse[i, k] += np.mean(error**2) / 40

# %%
# After one week the adapted model is hardly better than the pooled one, after a few
# weeks it is clearly better than both others. With tens of weeks, a model of the store
# alone does as well, and nothing is lost by sharing. :doc:`/new_tasks` says more, and
# how to estimate such errors from the old stores.
colors = {"independent": "#d55e00", "pooled": "#888888", "shared": "#0072b2"}
fig, ax = plt.subplots(layout="constrained")
for (name, color), rmse in zip(colors.items(), np.sqrt(mse).T, strict=True):
    print(f"{name:12}", rmse.round(2))
    ax.plot(known_weeks, rmse, "o-", color=color, label=name)
ax.axhline(1, color="black", linestyle=":", label="noise")
ax.set_xscale("log")
ax.set_xticks(known_weeks, known_weeks)
ax.minorticks_off()
ax.set_xlabel("weeks since the store opened")
ax.set_ylabel("RMSE of weekly revenue on later weeks (1000 €)")
ax.set_title("With few weeks, start from what the other stores share")
ax.legend()
plt.show()
