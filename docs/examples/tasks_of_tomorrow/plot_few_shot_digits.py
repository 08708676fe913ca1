"""
Recognise digits that no task has shown
=======================================

A new task asks for digits that were never seen, with one to twenty labelled images of
each. Do past tasks with other digits help? The picture shows the accuracy for
scikit-learn's digits, and for the same images in uneven light.
"""

# %%
# Every past task has three of the digits 0 to 5, ten images of each. In uneven light, a
# plane is added to the pixels of an image. Such planes say nothing about the digit, and
# are the same kind of disturbance in all tasks.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skmtl import MetaLearnerClassifier
from skmtl.learners import RidgeHead

rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X = X / 16
across = np.tile(np.linspace(-1, 1, 8), (8, 1))
planes = np.stack([np.ones((8, 8)), across, across.T]).reshape(3, 64)
images = {
    "even light": X,
    "uneven light": X + 0.5 * rng.normal(size=(len(X), 3)) @ planes,
}


def draw_task(digits, n_images):
    """Return rows of three of the digits, of shape (3, n_images)."""
    of = [np.flatnonzero(y == d) for d in rng.permutation(digits)[:3]]
    return np.array([rng.choice(rows, n_images, replace=False) for rows in of])


past = np.array([draw_task(range(6), 10) for _ in range(30)]).ravel()
task = np.repeat(np.arange(30), 30)

# %%
# With ``shared_classes=False`` every task has classes of its own, and a new task may
# bring others. The default learner is guarded. :class:`~skmtl.learners.RidgeHead`
# trains a linear embedding of the pixels, in which a new task is learned by ridge
# regression. It has no guard, but stops where training on some of the digits no longer
# helps with the others.
learners = {
    "adapted, ridge head": RidgeHead(n_shots=2, max_iter=300, check_every=100),
    "adapted, default": "auto",
}
models = {}
for light, X in images.items():
    for name, learner in learners.items():
        model = MetaLearnerClassifier(learner, shared_classes=False, random_state=0)
        models[light, name] = model.fit(X[past], y[past], task=task)

# %%
# Sixteen new tasks have three of the digits 6 to 9. The labelled images are given to
# ``adapt``, and to a logistic regression from scratch.
sizes = [1, 2, 5, 10, 20]
accuracy = {}
for _ in range(16):
    rows = draw_task(range(6, 10), 100)
    later = rows[:, 20:].ravel()
    for n in sizes:
        few = rows[:, :n].ravel()
        for light, X in images.items():
            scratch = LogisticRegression(max_iter=500).fit(X[few], y[few])
            fitted = {"from scratch": scratch}
            for name in learners:
                fitted[name] = models[light, name].adapt(X[few], y[few])
            for name, model in fitted.items():
                score = model.score(X[later], y[later])
                accuracy.setdefault((light, name, n), []).append(score)

# %%
# In even light, past tasks do not help: six digits teach little about the shape of
# others, and the model from scratch is as accurate. In uneven light, the ridge head has
# learned which directions to ignore, which one or two images cannot tell. Twenty images
# can, and then the other models are slightly better. See :doc:`/few_shots` for other
# learners.
styles = {
    "adapted, ridge head": {"color": "#0072b2", "lw": 2.5},
    "adapted, default": {"color": "#0072b2", "ls": "--"},
    "from scratch": {"color": "#d55e00"},
}
fig, axes = plt.subplots(
    2, 2, sharey="row", height_ratios=[1, 4], figsize=(6.4, 4.8), layout="constrained"
)
for light, X, (top, ax) in zip(images, images.values(), axes.T, strict=True):
    top.imshow(np.hstack(X[6:10].reshape(4, 8, 8)), cmap="gray")
    top.set(title=light, xticks=[], yticks=[])
    for name, style in styles.items():
        mean = [np.mean(accuracy[light, name, n]) for n in sizes]
        print(f"{light:<13} {name:<20}", *(f"{value:6.2f}" for value in mean))
        ax.plot(sizes, mean, marker="o", label=name, **style)
    ax.set(xscale="log", xlabel="labelled images of each digit")
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
axes[1, 0].set_ylabel("accuracy, mean of 16 new tasks")
fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig.suptitle("Past digits tell what to ignore, if there is anything")
plt.show()
