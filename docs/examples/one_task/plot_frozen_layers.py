"""
Fine-tune a perceptron with frozen layers
=========================================

A perceptron has learned scikit-learn's digits, and few labelled images have come from
another scanner: one that inverts black and white, or one that shifts the images by a
pixel. Should all layers be trained further, or the last one only? The picture shows the
accuracy against the number of labelled images of the new scanner.
"""

# %%
# The source has 400 images as they are. Those of the target are inverted, or shifted to
# the right.

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skmtl import Source, TransferEstimator
from skmtl.adaptation import FineTune

rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X = X / 16
scanners = {
    "inverted": 1 - X,
    "shifted by one pixel": np.roll(X.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64),
}

# %%
# :class:`~skmtl.adaptation.FineTune` fits the perceptron to the source and continues
# with gradient steps on the rows of the target. ``n_frozen`` layers stay as they are.
# By default, the number of steps is chosen by cross-validation on the rows of the
# target, and a perceptron of these rows alone is among the candidates: the choice is
# guarded. A given number of steps is not.
mlp = MLPClassifier((30,), solver="lbfgs", alpha=0.01, max_iter=1000, random_state=0)
adaptations = {
    "from scratch": "independent",
    "all layers, 400 steps": FineTune(n_epochs=400),
    "first layer frozen, 400 steps": FineTune(n_epochs=400, n_frozen=1),
    "first layer frozen, guarded": FineTune(n_frozen=1),
}
sizes = [2, 4, 8, 16]
accuracy = {key: np.zeros(len(sizes)) for key in product(scanners, adaptations)}
for _ in range(2):
    old, new, later = np.split(rng.permutation(len(X)), [400, 800])
    source = Source(X[old], y[old])
    of_digit = [new[y[new] == digit] for digit in range(10)]
    for (i, n), (scanner, name) in product(enumerate(sizes), accuracy):
        few, Z = np.concatenate([rows[:n] for rows in of_digit]), scanners[scanner]
        how = {"source": source, "adaptation": adaptations[name], "cv": 2}
        model = TransferEstimator(mlp, **how).fit(Z[few], y[few])
        accuracy[scanner, name][i] += model.score(Z[later], y[later]) / 2

# %%
# An inverted image has the same edges. What the first layer has learned about them
# still applies, and only the last layer has to be learned anew; 400 steps of all layers
# are far too few (two of their points are below the axis). In a shifted image the edges
# are elsewhere, and the first layer has to be trained, too. With two images of each
# digit the guarded model does not notice; from four images on it falls back to the
# perceptron from scratch. With many images, nothing is better than that.
# :doc:`/start_from_source` has other ways to start from a model of the source.
styles = {
    "from scratch": {"color": "#d55e00"},
    "all layers, 400 steps": {"color": "#56b4e9", "ls": ":"},
    "first layer frozen, 400 steps": {"color": "#0072b2", "ls": "--"},
    "first layer frozen, guarded": {"color": "#0072b2", "lw": 2.5},
}
fig, axes = plt.subplots(
    2, 2, sharey="row", height_ratios=[1, 4], figsize=(6.4, 5.2), layout="constrained"
)
for (scanner, Z), (top, ax) in zip(scanners.items(), axes.T, strict=True):
    top.imshow(np.hstack(Z[:4].reshape(4, 8, 8)), cmap="gray", vmin=0, vmax=1)
    top.set(title=scanner, xticks=[], yticks=[])
    for name, style in styles.items():
        print(f"{scanner:<20} {name:<29}", accuracy[scanner, name].round(2))
        ax.plot(sizes, accuracy[scanner, name], marker="o", label=name, **style)
    ax.set(xscale="log", xlabel="labelled images of each digit")
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
axes[1, 0].set(ylabel="accuracy on later images", ylim=(0.45, 0.96))
fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
fig.suptitle("Freeze the first layer if what it has learned still applies")
plt.show()
