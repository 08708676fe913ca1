"""
MAML on sinusoids
=================

Every task is a sine wave with an amplitude and a phase of its own. What can be learned
from a thousand waves that helps with the next one, of which only five or ten points are
known? The first picture shows two new waves, before and after adaptation, and a network
that is trained from scratch. The second one shows the error for other numbers of
points.
"""

# %%
# A thousand waves with twenty points each are the past tasks (Finn et al., 2017).

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.neural_network import MLPRegressor

from skmtl import MetaLearnerRegressor
from skmtl.learners import MAML

rng = np.random.default_rng(0)


def draw_wave():
    """Return the function of a new task."""
    amplitude, phase = rng.uniform(1, 5), rng.uniform(0, np.pi)
    return lambda X: amplitude * np.sin(X[:, 0] - phase)


task = np.repeat(np.arange(1000), 20)
X = rng.uniform(-5, 5, size=(len(task), 1))
y = np.concatenate([draw_wave()(rows) for rows in np.split(X, 1000)])

# %%
# :class:`~skmtl.learners.MAML` learns initial weights of a network, such that five
# gradient steps on a few rows of a task lead to a good model of this task. With
# ``learn_inner_rates=True`` it also learns how long these steps are, for every weight
# (Meta-SGD, Li et al., 2017).
maml = MAML(learn_inner_rates=True, learning_rate=0.003, n_shots=10, max_iter=1000)
model = MetaLearnerRegressor(maml, random_state=0).fit(X, y, task=task)

# %%
# ``adapt`` takes the known points of a new wave and returns an ordinary fitted
# regressor. A task that ``fit`` has not seen is predicted by the model before
# adaptation, with a warning. Two more models are fitted to the same points from
# scratch: a network of the same size, and a Gaussian process, which assumes smoothness
# and is better suited to a few points.
grid = np.linspace(-5, 5, 101)[:, None]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wave is unknown
    before = model.predict(grid, task=np.full(len(grid), 1000))
network = MLPRegressor(
    hidden_layer_sizes=(40, 40),
    solver="lbfgs",
    alpha=0.1,
    max_iter=5000,
    random_state=0,
)
process = GaussianProcessRegressor(4.0 * RBF(1.5), alpha=1e-4, optimizer=None)


def predict(X_few, y_few):
    """Return the predictions of all models on the grid, in the order of `styles`."""
    return [
        before,
        model.adapt(X_few, y_few).predict(grid),
        network.fit(X_few, y_few).predict(grid),
        process.fit(X_few, y_few).predict(grid),
    ]


styles = {
    "before adaptation": {"color": "#888888", "lw": 2},
    "adapted": {"color": "#0072b2", "lw": 2.5},
    "network from scratch": {"color": "#d55e00"},
    "Gaussian process": {"color": "#d55e00", "ls": "--"},
}

# %%
# Five points do not determine a curve, unless it is known to be a sine wave. The
# adapted model has learned this from the past waves, and so it is also right between
# the points.
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(6.4, 4.2), layout="constrained")
for ax, n_points in zip(axes, (5, 10), strict=True):
    wave, X_few = draw_wave(), rng.uniform(-5, 5, size=(n_points, 1))
    ax.plot(grid, wave(grid), color="black", lw=6, alpha=0.2, label="new wave")
    for name, curve in zip(styles, predict(X_few, wave(X_few)), strict=True):
        ax.plot(grid, curve, label=name, **styles[name])
    ax.plot(X_few, wave(X_few), "ko", label="known points", zorder=5)
    ax.set(title=f"{n_points} known points", xlabel="x", ylim=(-4, 4))
axes[0].set_ylabel("y")
fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig.suptitle("Past waves tell what lies between the points")
plt.show()

# %%
# The mean error of twenty new waves. From scratch, the Gaussian process is far better
# than the network. With fifteen points it comes close to the adapted model, without any
# past.
sizes = [2, 5, 10, 15]
errors = np.zeros((len(sizes), len(styles)))
for _ in range(20):
    wave, X_few = draw_wave(), rng.uniform(-5, 5, size=(max(sizes), 1))
    for i, n in enumerate(sizes):
        off = predict(X_few[:n], wave(X_few[:n])) - wave(grid)
        errors[i] += np.mean(off**2, axis=1) / 20

print(f"{'known points':<20}", *(f"{n:7}" for n in sizes))
fig, ax = plt.subplots(layout="constrained")
for j, (name, style) in enumerate(styles.items()):
    ax.plot(sizes, errors[:, j], marker="o", label=name, **style)
    print(f"{name:<20}", *(f"{error:7.2f}" for error in errors[:, j]))
ax.set(xlabel="known points of a new wave", ylabel="mean squared error", yscale="log")
ax.set_title("The fewer the points, the more the past waves help")
fig.legend(loc="outside lower center", ncols=2)
plt.show()
