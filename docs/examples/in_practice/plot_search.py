"""
Search over sharing structures and preprocessing
================================================

Which features, and how much should the firms share? ``GridSearchCV`` compares a
Pipeline under several choices, with folds and scores that know the tasks. The picture
shows the error of every candidate in every fold.
"""

# %%
# The table has the investments of eleven firms in six years, 66 rows. Firms differ much
# in size, so that the target is the logarithm.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_grunfeld
from skmtl.metrics import task_scorer
from skmtl.model_selection import TaskKFold
from skmtl.sharing import PartialPooling

X, y = load_grunfeld(return_X_y=True, as_frame=True)
late = X["year"] >= 1949
X, y = X[late], np.log(y[late])

# %%
# The task column passes through the Pipeline to the model. The grid has two versions of
# the features and five sharing structures. With ``varying=[]``,
# :class:`~skmtl.sharing.PartialPooling` has an intercept per firm, and slopes that are
# the same for all.


def take_logs(X):
    return X.assign(value=np.log(X["value"]), capital=np.log(X["capital"]))


model = MultiTaskRegressor(task_column="firm")
pipeline = Pipeline([("features", "passthrough"), ("model", model)])
features = {"raw": "passthrough", "logs": FunctionTransformer(take_logs)}
sharing = {
    "independent": "independent",
    "pooled": "pooled",
    "shared slopes": PartialPooling(varying=[]),
    "partial pooling": "partial_pooling",
    "auto": "auto",
}
grid = {"features": list(features.values()), "model__sharing": list(sharing.values())}

# %%
# :class:`~skmtl.model_selection.TaskKFold` keeps every firm in every training fold, and
# :func:`~skmtl.metrics.task_scorer` averages the error over firms. The folds are dealt
# twice, as three folds of 66 rows are a rough measure.
cv = []
for seed in (0, 1):
    folds = TaskKFold(3, task_column="firm", shuffle=True, random_state=seed)
    cv += folds.split(X, y)
search = GridSearchCV(pipeline, grid, cv=cv, scoring=task_scorer("rmse")).fit(X, y)

# %%
# The folds differ more than most candidates do, but every candidate has the same folds.
# So look at the difference from the best candidate, fold by fold, and its standard
# error. (As training folds overlap, the true one is larger.)
names = [f"{structure}, {version}" for version in features for structure in sharing]
errors = -np.array([search.cv_results_[f"split{k}_test_score"] for k in range(len(cv))])
worse = errors - errors[:, [search.best_index_]]
table = pd.DataFrame({"error": errors.mean(axis=0)}, names)
table["worse by"] = worse.mean(axis=0)
table["standard error"] = worse.std(axis=0, ddof=1) / np.sqrt(len(cv))
print(table.sort_values("error").round(3))

# %%
# Pooled models are far off, as firms differ in size. Logarithms help every structure,
# and independent models gain more by sharing than by logarithms. An intercept per firm
# is enough; partial pooling chooses how far slopes differ, and comes close. (For the
# other learners that "auto" would blend in, there are too few rows.)
# :doc:`/cross_validation` has more on folds and scores.
palette = ["#d55e00", "#888888", "#56b4e9", "#0072b2", "#000000"]
order = np.argsort(-errors.mean(axis=0))
fig, ax = plt.subplots(layout="constrained")
for row, i in enumerate(order):
    color = palette[i % len(palette)]
    ax.plot(errors[:, i], np.full(len(cv), row), "o", color=color, alpha=0.4, mew=0)
    ax.plot(errors[:, i].mean(), row, "|", color=color, ms=18, mew=3)
ax.set_yticks(range(len(names)), [names[i] for i in order])
ax.set(xscale="log", xlabel="root mean squared error of log(investment)")
ax.set_xticks([0.1, 0.2, 0.4, 0.8], ["0.1", "0.2", "0.4", "0.8"])
ax.minorticks_off()
fig.suptitle("Shared slopes of logarithms have the smallest error")
plt.show()
