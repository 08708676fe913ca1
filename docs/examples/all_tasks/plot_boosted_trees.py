"""
Boosted trees for many tasks
============================

Twenty-five ice cream stands have forty days each, and sales bend with the temperature.
Are linear models, boosted trees or a blend of both best, and should trees be fitted to
each stand or to all? The pictures show the curves of one stand, the errors on later
days, and what ``sharing="auto"`` is made of.
"""

# %%
# Sales rise with the temperature up to some point, more at some stands than at others.
# Every stand has a level and a reaction to prices of its own, and prices matter more in
# warm weather. The noise has a standard deviation of 2.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from skmtl import MultiTaskRegressor
from skmtl.inspection import MemberReportDisplay

rng = np.random.default_rng(0)
stand, day = (index.ravel() for index in np.indices((25, 240)))
level, size = 20 + 4 * rng.normal(size=25), rng.lognormal(2.3, 0.3, size=25)
slope = -1 + 0.5 * rng.normal(size=25)


def expected_sales(stand, temperature, price):
    """Return the sales without noise."""
    hump = size[stand] * np.exp(-(((temperature - 24) / 9) ** 2))
    return level[stand] + hump + (slope[stand] - 1.5 * (temperature > 15)) * price


temperature, price, wind = rng.uniform(-5, 35, 6000), *rng.normal(size=(2, 6000))
X = pd.DataFrame({"temperature": temperature, "price": price, "wind": wind})
X["stand"] = pd.Categorical(stand)
y = expected_sales(stand, temperature, price) + 2 * rng.normal(size=6000)
train, later = day < 40, day >= 40

# %%
# The default of :class:`~skmtl.MultiTaskRegressor` blends linear models with smooth
# functions, forests and boosted trees where that is better. It is compared with three
# ways to share linear models, with scikit-learn's boosted trees that see the stand as a
# category, and with boosted trees for each stand.
by_category = HistGradientBoostingRegressor(categorical_features="from_dtype")
models = {
    "linear, independent": MultiTaskRegressor("independent", task_column="stand"),
    "linear, pooled": MultiTaskRegressor("pooled", task_column="stand"),
    "linear, shared": MultiTaskRegressor("partial_pooling", task_column="stand"),
    "trees, one category": by_category,
    "shared, auto": MultiTaskRegressor("auto", task_column="stand"),
}
grid = pd.DataFrame({"temperature": np.arange(-5, 35.1, 0.25), "price": 0, "wind": 0})
grid["stand"] = pd.Categorical([3] * len(grid), categories=range(25))  # to draw a curve
predicted, curves = {}, {}
for name, model in models.items():
    model.fit(X[train], y[train])
    predicted[name], curves[name] = model.predict(X[later]), model.predict(grid)

alone = np.empty(len(X))
for s in range(25):
    trees = HistGradientBoostingRegressor(min_samples_leaf=5)
    trees.fit(X[train & (stand == s)], y[train & (stand == s)])
    alone[stand == s] = trees.predict(X[stand == s])
    if s == 3:
        curves["trees, independent"] = trees.predict(grid)
predicted["trees, independent"] = alone[later]

# %%
# These are the curves of one stand at the average price. A line cannot bend. Trees of
# one stand have forty days to find out where sales rise. Those that see all stands find
# it, and the blend is similar, but smoother.
colors = {
    "linear, shared": "#56b4e9",
    "trees, independent": "#d55e00",
    "trees, one category": "#888888",
    "shared, auto": "#0072b2",
}
fig, ax = plt.subplots(layout="constrained")
for name, color in colors.items():
    ax.plot(grid["temperature"], curves[name], color=color, label=name)
truth = expected_sales(3, grid["temperature"], 0)
ax.plot(grid["temperature"], truth, "k:", linewidth=2, label="truth")
ax.set_xlabel("temperature (°C)")
ax.set_ylabel("sales at the average price (100 €)")
ax.set_title("Other stands tell where the sales of a stand bend")
_ = ax.legend()

# %%
# On later days, curves are worth more than sharing: even independent trees are better
# than the best linear models. The blend is best, and scikit-learn's trees that see the
# stand as a category come close.
colors |= {"linear, independent": "#d55e00", "linear, pooled": "#888888"}
rmse = {name: np.sqrt(np.mean((p - y[later]) ** 2)) for name, p in predicted.items()}
rmse = pd.Series(rmse).sort_values(ascending=False)
fig, ax = plt.subplots(layout="constrained")
bars = ax.barh(rmse.index, rmse, color=rmse.index.map(colors))
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.axvline(2, color="black", linestyle=":", label="noise")
ax.margins(x=0.12)
ax.set_xlabel("RMSE of daily sales on later days (100 €)")
ax.set_title("Trees for all stands are better than trees for each")
_ = ax.legend()

# %%
# :class:`~skmtl.inspection.MemberReportDisplay` shows how good each member of the blend
# is alone, and its weight. Smooth functions and boosted trees are about as good, and
# are averaged. :doc:`/curves` says how members are judged.
MemberReportDisplay.from_estimator(models["shared, auto"])
plt.show()
