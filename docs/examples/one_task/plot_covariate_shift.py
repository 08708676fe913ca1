"""
Weight the rows of the source: covariate shift
==============================================

The target has no labels, and its rows have other values of x than those of the source.
A straight line cannot follow the curve everywhere, but weights make it follow the curve
where the target's rows are. The pictures show the weights and the fits with and without
them, and when it helps.
"""

# %%
# In source and target, y depends on x in the same way. The rows of the source are all
# over the curve, and those of the target, without labels, on its right flank.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.tree import DecisionTreeRegressor

from skmtl import Source, TransferEstimator

rng = np.random.default_rng(0)


def draw_rows(mean, spread, n_rows):
    X = rng.normal(mean, spread, size=(n_rows, 1))
    return X, 3 * np.sin(X[:, 0]) + 0.4 * rng.normal(size=n_rows)


X, y = draw_rows(0, 1.5, 300)
X_target, y_target = draw_rows(2.5, 0.6, 200)  # y_target only measures errors

# %%
# ``fit`` takes the rows of the target without ``y``. (If there are also labelled ones,
# pass these to ``fit``, and the others as ``unlabeled=``.) Each row of the source is
# weighted by the density ratio: how much likelier such a row is in the target than in
# the source. ``source_weights_`` has the mean weight of every source, so if each row is
# a source, it has the weight of every row.
source = Source(X, y, task=np.arange(len(X)))
styles = {"kmm": "--", "kliep": "-", "rulsif": ":"}
models = {}
for name in styles:
    model = TransferEstimator(Ridge(), source=source, adaptation=name)
    models[name] = model.fit(X_target)
plain = Ridge().fit(X, y)
error = root_mean_squared_error(y_target, plain.predict(X_target))
print(f"equal   weights: error {error:.2f}")
for name, model in models.items():
    error = root_mean_squared_error(y_target, model.predict(X_target))
    rows = model.source_weights_.sum() ** 2 / (model.source_weights_**2).sum()
    print(f"{name:<7} weights: error {error:.2f}, effective number of rows {rows:.0f}")

# %%
# KMM and KLIEP follow the density ratio, so that few rows have nearly all of the
# weight. RuLSIF has a limit on the weights: it corrects less, but more rows count. The
# lower panel shows the share of every row in the total weight.
fig, (ax, below) = plt.subplots(
    2, 1, sharex=True, height_ratios=[3, 1], figsize=(6.4, 5.4), layout="constrained"
)
line, grid = np.array([[-4.0], [4.5]]), np.linspace(-4, 4.5, 200)
ax.plot(grid, 3 * np.sin(grid), color="black", alpha=0.3, label="true curve")
weights = models["kliep"].source_weights_
ax.scatter(X, y, 5 + 8 * weights, "#0072b2", alpha=0.4, lw=0, label="source, by weight")
ax.plot(X_target, np.full(len(X_target), -5.5), "k|", label="target, no labels")
ax.plot(line, plain.predict(line), "#888888", lw=2.5, label="equal weights")
ax.plot(line, models["kliep"].predict(line), "#0072b2", lw=2.5, label="KLIEP weights")
ax.set(ylim=(-6, 6), ylabel="y")
ax.set_title("With weights, the line fits where the target is")
ax.legend(loc="upper left", ncols=2, fontsize="small")
order = np.argsort(X[:, 0])
for name, style in styles.items():
    share = 100 * models[name].source_weights_ / models[name].source_weights_.sum()
    below.plot(X[order], share[order], style, color="#0072b2", label=name)
below.set(xlabel="x", ylabel="weight, %", xlim=(-4, 4.5))
below.legend(loc="upper left", fontsize="small")
plt.show()

# %%
# A model that can follow the curve everywhere needs no weights, which leave it with
# fewer rows. Here are trees with more and more leaves; the errors are means of six
# draws. On real tables, too, weights help less often than one would think
# (:doc:`/no_labels`).
leaves = [2, 4, 8, 16, 32]
errors = {name: np.zeros(len(leaves)) for name in ["equal", *styles]}
for _ in range(6):
    source = Source(*draw_rows(0, 1.5, 300))
    X_target, y_target = draw_rows(2.5, 0.6, 200)
    for i, n_leaves in enumerate(leaves):
        tree = DecisionTreeRegressor(max_leaf_nodes=n_leaves, random_state=0)
        fitted = {"equal": tree.fit(source.X, source.y)}
        for name in styles:
            model = TransferEstimator(tree, source=source, adaptation=name)
            fitted[name] = model.fit(X_target)
        for name, model in fitted.items():
            error = root_mean_squared_error(y_target, model.predict(X_target))
            errors[name][i] += error / 6

fig, ax = plt.subplots(layout="constrained")
for name, values in errors.items():
    print(f"{name:<7}", values.round(2))
    color = "#888888" if name == "equal" else "#0072b2"
    ax.plot(leaves, values, styles.get(name, "-"), marker="o", color=color, label=name)
ax.axhline(0.4, color="black", lw=0.8)
ax.text(leaves[-1], 0.35, "noise", ha="right")
ax.set(xscale="log", ylim=0, xlabel="number of leaves of a tree")
ax.set(ylabel="root mean squared error on the target")
ax.set_title("A flexible model needs no weights")
ax.set_xticks(leaves, leaves)
ax.minorticks_off()
ax.legend(title="weights")
plt.show()
