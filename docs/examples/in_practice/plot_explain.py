"""
Explain the prediction for one store
====================================

Why does the model expect so much revenue of this store on this day? For linear models,
the first picture adds up the contributions of the features, and shows how much of each
is shared by all stores and how much is the store's own. The second one explains a blend
with other learners, which has no coefficients.
"""

# %%
# Forty stores have sixty days each. Levels and the effects of discounts and weekends
# differ by store; those of rain and temperature do not, and that of temperature bends.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.inspection import partial_dependence, permutation_importance

from skmtl import MultiTaskRegressor

rng = np.random.default_rng(3)
store = np.repeat(np.arange(40), 60)
n = len(store)
X = pd.DataFrame(
    {
        "store": [f"store {s:02d}" for s in store],
        "discount": 5.0 * rng.integers(0, 7, size=n),  # percent
        "temperature": rng.normal(15, 8, size=n),  # degrees Celsius
        "rain": rng.exponential(3, size=n),  # millimetres
        "weekend": 1.0 * (rng.random(n) < 2 / 7),
    }
)
features = X.columns[1:]
own_effects = [20, 0.2, 4] + [3, 0.15, 2] * rng.normal(size=(40, 3))
level, of_discount, of_weekend = own_effects.T
y = level[store] + of_discount[store] * X["discount"] + of_weekend[store] * X["weekend"]
y = y - 0.3 * X["rain"] - 0.02 * (X["temperature"] - 22) ** 2 + 2 * rng.normal(size=n)
train = np.arange(n) % 2 == 0
X_test, y_test = X[~train], y[~train]

# %%
# Linear models have coefficients. ``coef_frame("own")`` holds what every store adds to
# the shared model, which is the last row. Here is the store with the largest effect of
# discounts of its own.
model = MultiTaskRegressor("partial_pooling", task_column="store")
model.fit(X[train], y[train])
own = model.coef_frame("own")
shared = own.iloc[-1]
label = own[:-1]["discount"].idxmax()
coefficients = pd.DataFrame({"shared": shared, "own": own.loc[label]})
print(label)
print(coefficients.round(2))

# %%
# ``for_task`` returns the model of this store. Its prediction is that of all stores on
# an average day, plus the difference of this store's level, plus a contribution of each
# feature: the coefficient times the difference of the feature from its mean.
one = model.for_task(label)
rows = X_test[X_test["store"] == label]
day = rows.iloc[[one.predict(rows).argmax()]]
mean = X.loc[train, features].mean()
parts = coefficients.loc[features].mul(day[features].iloc[0] - mean, axis=0)
average, level = coefficients.loc["intercept"] + mean @ coefficients.loc[features]
parts = pd.concat([pd.DataFrame({"shared": 0.0, "own": level}, ["level"]), parts])
total = average + parts.to_numpy().sum()
print(parts.round(1))
print(f"average {average:.1f}, sum {total:.1f}, prediction {one.predict(day)[0]:.1f}")

# %%
# Every bar starts where the one before it ends. Most of what the discount contributes
# is this store's own.
fig, ax = plt.subplots(layout="constrained")
ends = average + parts.stack().cumsum().to_numpy()
starts = np.r_[average, ends[:-1]].reshape(parts.shape)
for k, (kind, color) in enumerate({"shared": "#0072b2", "own": "#d55e00"}.items()):
    where = np.arange(5) + 0.3 * k
    ax.barh(where, parts[kind], 0.3, starts[:, k], color=color, label=kind)
for value, name in ((average, "average"), (total, "prediction")):
    ax.axvline(value, color="black", lw=0.8, ls="--", zorder=0)
    ax.text(value, -0.7, f"{name}\n{value:.1f}", ha="center", backgroundcolor="white")
units = {"discount": " %", "temperature": " °C", "rain": " mm", "weekend": ""}
names = [f"{name} {day[name].iloc[0]:.0f}{unit}" for name, unit in units.items()]
ax.set_yticks(np.arange(5) + 0.15, ["level of the store", *names])
ax.set(ylim=(4.7, -1.4), xlim=(average - 2, total + 2), xlabel="revenue, 1000 €")
ax.set_title(f"{label}: its own response to the discount stands out")
ax.legend(title="contribution", loc="lower left", framealpha=1)
plt.show()

# %%
# The true effect of the temperature bends, so that the default, ``sharing="auto"``,
# predicts better. It blends linear models with other learners and has no coefficients
# (:doc:`/curves`).
blend = MultiTaskRegressor("auto", task_column="store").fit(X[train], y[train])
for name, fitted in (("linear", model), ("blend", blend)):
    print(f"{name}: R² {fitted.score(X_test, y_test):.2f}")

# %%
# scikit-learn's tools work with both. The importance of a column is what R² loses if
# its values are permuted, and the store is a column like the others. The partial
# dependence is computed from ``for_task``, so that it is that of the one store.
importance = permutation_importance(blend, X_test, y_test, n_repeats=3, random_state=0)
order = importance.importances_mean.argsort()
fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 4), layout="constrained")
left.barh(X.columns[order], importance.importances_mean[order], color="#0072b2")
left.set(xlabel="loss of R²", title="permutation importance")
for name, fitted, color in (("linear", model, "#56b4e9"), ("blend", blend, "#0072b2")):
    found = partial_dependence(
        fitted.for_task(label), rows[features], ["temperature"], grid_resolution=30
    )
    grid, curve = found["grid_values"][0], found["average"][0]
    right.plot(grid, curve - curve.mean(), color=color, lw=2.5, label=name)
truth = -0.02 * (grid - 22) ** 2
right.plot(grid, truth - truth.mean(), color="black", ls="--", label="true effect")
right.set(xlabel="temperature, °C", ylabel="partial dependence, 1000 €", title=label)
right.legend()
fig.suptitle("A blend finds that the effect of the temperature bends")
plt.show()
