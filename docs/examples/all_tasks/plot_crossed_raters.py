"""
Who rated what: crossed groupings
=================================

Forty wines are rated by eighty judges, each of whom tastes a few. Is a wine with high
ratings good, or did it meet lenient judges? The wine is the task, and
``grouping_columns`` names the judge, so that every judge has a shrunk effect as well.
The picture compares the estimates for wines and judges with the truth, beside plain
means.
"""

# %%
# A rating is the quality of the wine plus the leniency of the judge plus noise; ratings
# also fall in the course of the day. There are about ten training rows per wine and
# five per judge.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskRegressor
from skmtl.sharing import PartialPooling

rng = np.random.default_rng(0)
quality = rng.normal(size=40)
leniency = 1.5 * rng.normal(size=80)
X = pd.DataFrame(
    {
        "wine": rng.integers(40, size=900),
        "judge": rng.integers(80, size=900),
        "hour": rng.uniform(-4, 4, size=900),  # from noon
    }
)
y = 85 + quality[X["wine"]] + leniency[X["judge"]] - 0.2 * X["hour"]
y += rng.normal(size=900)
X_train, X_test, y_train, y_test = X[:400], X[400:], y[:400], y[400:]

# %%
# With ``varying=[]`` wines differ in their intercepts only, as in the mixed model
# ``rating ~ hour + (1 | wine) + (1 | judge)``. The judges explain much of the ratings:
# without them, the share of the variance on held-out ratings that is explained (R²) is
# far smaller.
wines = PartialPooling(varying=[])
model = MultiTaskRegressor(wines, task_column="wine", grouping_columns=["judge"])
model.fit(X_train, y_train)
without = MultiTaskRegressor(wines, task_column="wine", exclude_columns=["judge"])
without.fit(X_train, y_train)
print(f"R² with judges    {model.score(X_test, y_test):.2f}")
print(f"R² without judges {without.score(X_test, y_test):.2f}")

# %%
# ``grouping_effects_`` has the effects of the judges. Their strength is in rows: an
# effect from n ratings is shrunk by about n / (n + strength). The best value is the
# variance of the noise over that of the effects.
effects = pd.DataFrame(model.grouping_effects_["judge"]).set_index("level")
print(effects.head(3).round(2))
print(f"strength {model.grouping_strengths_['judge']:.2f}, best value {1 / 1.5**2:.2f}")

# %%
# The mean rating of a wine depends on which judges it met, and that of a judge on the
# wines. The model accounts for both, and shrinks effects of few ratings: most of its
# estimates are closer to the truth (diagonal line). See :doc:`/groupings` for more.
own = pd.Series(model.intercept_ - model.shared_intercept_, model.tasks_)
mean_of_wine = (y_train - y_train.mean()).groupby(X_train["wine"]).mean()
mean_of_judge = (y_train - y_train.mean()).groupby(X_train["judge"]).mean()
parts = [
    ("quality of the wine", quality, mean_of_wine, own),
    ("leniency of the judge", leniency, mean_of_judge, effects["effect"]),
]
fig, axes = plt.subplots(1, 2, layout="constrained", figsize=(6.4, 4.2))
for ax, (what, truth, mean, shared) in zip(axes, parts, strict=True):
    x = truth[shared.index]
    errors = np.std(mean - x), np.std(shared - x)
    print(f"{what:21} error of means {errors[0]:.2f}, of the model {errors[1]:.2f}")
    ax.vlines(x, mean, shared, color="0.8", linewidth=1, zorder=1)
    ax.scatter(x, mean, s=16, fc="white", ec="#d55e00", label="mean rating")
    ax.scatter(x, shared, s=16, color="#0072b2", label="shared")
    ax.axline((0, 0), slope=1, color="black", linewidth=1)
    ax.set_xlabel(f"true {what} (points)")
axes[0].set_ylabel("estimate (points)")
axes[0].legend()
fig.suptitle("Effects of the model are closer to the truth than means")
plt.show()
