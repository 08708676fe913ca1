"""
Forecast panels forward in time
===============================

Thirty stores have weekly sales, and the next quarter is to be forecast. Inside ``fit``,
folds decide how much the stores share, and give the error that the model reports. The
picture compares the reported error with the actual one, for random folds and for those
of :class:`~skmtl.model_selection.TaskTimeSeriesSplit`, over eight quarters.
"""

# %%
# Every store has a level that drifts as a random walk, and a reaction to prices of its
# own. The number of the week is a feature, so that every store has a linear trend.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskRegressor
from skmtl.model_selection import TaskTimeSeriesSplit

rng = np.random.default_rng(0)
n_stores, n_weeks, horizon = 30, 208, 13
week, store = (index.ravel() for index in np.indices((n_weeks, n_stores)))
steps = 0.2 * rng.normal(size=(n_weeks, n_stores))
level = 20 + 3 * rng.normal(size=n_stores) + steps.cumsum(axis=0)
effect = -1 + 0.3 * rng.normal(size=n_stores)
X = pd.DataFrame({"store": store, "week": week, "price": rng.normal(size=len(week))})
sales = level.ravel() + effect[store] * X["price"] + 0.5 * rng.normal(size=len(X))

# %%
# An int as ``cv`` assigns the weeks of each store to folds at random. The level in a
# week is then known from the weeks before and *after* it: that is interpolation.
# TaskTimeSeriesSplit instead holds out the 13 weeks that follow the training rows,
# three times. Eight quarters are forecast in turn, each one from all weeks before it.
forward = TaskTimeSeriesSplit(n_splits=3, time_column="week", test_size=horizon)
starts = range(n_weeks - 8 * horizon, n_weeks, horizon)
reported, actual, trends = {}, {}, {}
for name, cv in {"random folds": 5, "forward folds": forward}.items():
    model = MultiTaskRegressor("partial_pooling", task_column="store", cv=cv)
    mse = np.empty((2, len(starts)))
    for i, start in enumerate(starts):
        past, quarter = week < start, (week >= start) & (week < start + horizon)
        model.fit(X[past], sales[past])
        mse[0, i] = np.mean(model.task_report_["error_shared"][:-1])
        mse[1, i] = np.mean((sales[quarter] - model.predict(X[quarter])) ** 2)
    reported[name], actual[name] = np.sqrt(mse)
    trends[name] = model.coef_frame()["week"][:-1]

# %%
# The forecasts with forward folds are better, too. Random folds cannot detect that a
# trend fitted to a drifting level does not continue, and shrink it too little. This is
# the mean size of the trends of the last fit, per quarter:
for name, trend in trends.items():
    print(f"{name:13} {horizon * trend.abs().mean():.2f}")

# %%
# Forward folds report most of the error, but not all of it. The windows that choose the
# strengths also evaluate them, and the longer the history over which a drifting level
# is averaged, the less it predicts the future. Weights that decrease with age are a
# better answer to such a drift, see :doc:`/time`.
colors = {"random folds": "#e69f00", "forward folds": "#009e73"}
quarters = np.arange(1, 9)
fig, ax = plt.subplots(layout="constrained")
for name, color in colors.items():
    share = np.mean(reported[name] / actual[name])
    print(f"{name:13} report {share:.0%} of the actual error")
    ax.plot(quarters, actual[name], "o-", color=color, label=f"actual, {name}")
    ax.plot(quarters, reported[name], "o--", color=color, mfc="white", label="reported")
ax.set_ylim(0)
ax.set_xlabel("quarter that is forecast")
ax.set_ylabel("RMSE of weekly sales (1000 €)")
ax.set_title("Random folds report a much smaller error than the actual one")
ax.legend(ncols=2, loc="lower right")
plt.show()
