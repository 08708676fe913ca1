"""
Shared hidden layers: tasks that depend on the same unknown features
====================================================================

Many assays are measured on 25 compounds each. What an assay reacts to is not among the
columns, but the same for all assays. Can a perceptron learn these features from all of
them? The first picture shows the error on five assays by the number of assays that the
hidden layer is shared with, the second one the training of the perceptrons.
"""

# %%
# The columns are six properties of a compound. Activities depend on three features of
# them, the distances from three planes, which each assay combines in its own way.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.neural_network import MLPRegressor

from skmtl import MultiTaskRegressor
from skmtl.inspection import TrainingCurveDisplay
from skmtl.sharing import SharedHiddenLayers

rng = np.random.default_rng(2)
n_assays, n_train, noise = 40, 25, 0.3
assay, row = (index.ravel() for index in np.indices((n_assays, n_train + 200)))
properties = [f"property {k}" for k in range(6)]
X = pd.DataFrame(rng.normal(size=(len(assay), 6)), columns=properties)
planes = rng.normal(size=(6, 3)) / np.sqrt(6)
weights = 1.5 * rng.normal(size=(n_assays, 3))
y = (weights[assay] * np.abs(X @ planes)).sum(axis=1) + noise * rng.normal(size=len(X))
X["assay"] = assay
train, test = row < n_train, (row >= n_train) & (assay < 5)

# %%
# ``sharing="hidden_layers"`` shares the hidden layers of a perceptron, and has a linear
# head for each assay. A small layer and three splits keep this example short.
layers = SharedHiddenLayers(hidden_layer_sizes=(32,))
model = MultiTaskRegressor(layers, task_column="assay", cv=3, random_state=0)
linear = MultiTaskRegressor("partial_pooling", task_column="assay")


def test_error(model, y, n_assays):
    """Fit the model to some assays, and return its RMSE on the first five."""
    fitted = train & (assay < n_assays)
    model.fit(X[fitted], y[fitted])
    return np.sqrt(np.mean((model.predict(X[test]) - y[test]) ** 2))


numbers = [5, 10, 20, 40]
shared_errors = [test_error(model, y, n_assays) for n_assays in numbers]
linear_errors = [test_error(linear, y, n_assays) for n_assays in numbers]

# %%
# Independent perceptrons, for comparison, have the rows of one assay each.
squared = []
for a in range(5):
    rows, new = train & (assay == a), test & (assay == a)
    alone = MLPRegressor(
        hidden_layer_sizes=(32,), alpha=1, solver="lbfgs", max_iter=2000, random_state=0
    )
    alone.fit(X.loc[rows, properties], y[rows])
    squared.append((alone.predict(X.loc[new, properties]) - y[new]) ** 2)
independent_error = np.sqrt(np.mean(squared))

# %%
# With five assays, shared layers are no better than independent perceptrons. The more
# assays there are, the better the features are learned, and the error on the same five
# assays falls. Linear models cannot use further assays, as nothing linear is shared.
fig, ax = plt.subplots(layout="constrained")
ax.axhline(independent_error, color="#d55e00", label="independent perceptrons")
ax.plot(numbers, linear_errors, "o-", color="#56b4e9", label="shared, linear")
ax.plot(numbers, shared_errors, "o-", color="#0072b2", label="shared hidden layer")
ax.axhline(noise, color="black", linestyle=":", label="noise")
ax.set_xscale("log")
ax.set_xticks(numbers, numbers)
ax.minorticks_off()
ax.set_ylim(0, 1.65)
ax.set_xlabel("assays in the table, with 25 compounds each")
ax.set_ylabel("RMSE of the activity on five assays (log units)")
ax.set_title("Shared features are learned from many tasks")
_ = ax.legend(ncols=2, loc="upper center")

# %%
# :class:`~skmtl.inspection.TrainingCurveDisplay` draws the losses of the perceptrons,
# one per split of ``cv``. The loss on training rows is small from the first check on:
# the head of an assay has more weights than the assay has rows, and training starts
# with heads that fit them. What is learned are hidden units with a small loss on
# validation rows. Training ends when it no longer falls, and the parameters at the ring
# are kept.
display = TrainingCurveDisplay.from_estimator(model)
_ = display.figure_.suptitle("The loss on validation rows ends the training")

# %%
# Where the response is linear, hidden layers are of no use: here are the errors on
# activities that depend on the signed distances instead. :doc:`/curves` says when to
# choose what.
signed = (weights[assay] * (X[properties] @ planes)).sum(axis=1)
signed += noise * rng.normal(size=len(X))
print(f"shared, linear      {test_error(linear, signed, 40):.2f}")
print(f"shared hidden layer {test_error(model, signed, 40):.2f}")
plt.show()
