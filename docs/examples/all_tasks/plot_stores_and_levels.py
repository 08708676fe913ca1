"""
Many stores, few rows each: how levels and slopes are shrunk
============================================================

Forty stores have between 4 and 64 days of revenue. Is one model per store better, one
model for all stores, or something in between? The first picture shows how far sharing
moves the coefficients of each store, the second one the error on later days, by the
number of days that a store has.
"""

# %%
# The stores differ much in their level of revenue, and little in how they react to a
# discount, to rain and to warmth. The noise of a day has a standard deviation of 4.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskRegressor
from skmtl.inspection import TaskCoefficientsDisplay
from skmtl.metrics import task_scores

rng = np.random.default_rng(0)
sizes = [4, 8, 16, 32, 64]
n_days = np.repeat(sizes, 8)  # of each of the 40 stores
level = 50 + np.tile(np.linspace(-9, 9, 8), 5) + rng.normal(size=40)
slopes = [5, -2, 3] + 0.8 * rng.normal(size=(40, 3))


def draw_days(n_days):
    """Return a table with the given numbers of days of each store, and the revenue."""
    store = np.repeat(np.arange(40), n_days)
    features = rng.normal(size=(len(store), 3))
    X = pd.DataFrame(features, columns=["discount", "rain", "warmth"])
    y = level[store] + (slopes[store] * X).sum(axis=1) + 4 * rng.normal(size=len(X))
    return X.assign(store=store), y.rename("revenue")


X_train, y_train = draw_days(n_days)
X_later, y_later = draw_days(100)

# %%
# *independent* is one ridge regression per store, *pooled* one for all rows, and
# partial pooling is called *shared* in reports. All strengths are chosen by
# cross-validation inside ``fit``.
models = {
    name: MultiTaskRegressor(sharing, task_column="store").fit(X_train, y_train)
    for name, sharing in [
        ("independent", "independent"),
        ("pooled", "pooled"),
        ("shared", "partial_pooling"),
    ]
}

# %%
# The strengths say how much is shared, in rows: a store with that many rows ends up
# about half-way between its own coefficients and those that all stores share. That of
# the intercepts is small, so that levels are hardly shrunk, and that of the slopes is
# large.
sharing = models["shared"].sharing_
print(f"intercepts: {sharing.alpha_intercept_:.2g} rows")
print(f"slopes:     {sharing.alpha_:.2g} rows")

# %%
# :class:`~skmtl.inspection.TaskCoefficientsDisplay` draws this. The lines of the
# intercepts are nearly vertical: levels stay apart. Those of the slopes converge to the
# shared value.
display = TaskCoefficientsDisplay.from_estimator(
    models["shared"], X_train, y_train, features=["intercept", "discount", "rain"]
)
_ = display.figure_.suptitle("Levels stay apart, slopes are drawn together")

# %%
# On 100 later days per store, the pooled model has a large error whatever the number of
# days, as it ignores the levels. Independent models need tens of days until they
# predict about as well as the shared one. With 64 days, little is left to gain. See
# :doc:`/many_tasks` for how much to share.
colors = {"independent": "#d55e00", "pooled": "#888888", "shared": "#0072b2"}
fig, ax = plt.subplots(layout="constrained")
for name, model in models.items():
    y_pred = model.predict(X_later)
    scores = task_scores(y_later, y_pred, task=X_later["store"], metric="rmse")
    rmse = scores["score"].reshape(len(sizes), -1).mean(axis=1)
    print(f"{name:12}", rmse.round(2))
    ax.plot(sizes, rmse, "o-", color=colors[name], label=name)
ax.axhline(4, color="black", linestyle=":", label="noise")
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set_xlabel("days of the store in training")
ax.set_ylabel("RMSE of daily revenue on later days (1000 €)")
ax.set_title("Sharing helps most where rows are few")
ax.legend()
plt.show()
# sphinx_gallery_thumbnail_number = 2
