"""
Leave out sources that mislead
==============================

A target has fifteen rows, and six sources offer help. Three of them behave like the
target, and three have slopes with the opposite sign. The first picture shows which
sources are used, and the second one the error with more and more harmful sources: of
the target's rows alone, of all rows pooled, and with the guarded default.
"""

# %%
# The plants measure the same sensors. The slopes of a helpful one differ somewhat from
# those of the target, and those of a harmful one have the opposite sign.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error

from skmtl import Source, TransferEstimator
from skmtl.inspection import TransferReportDisplay

rng = np.random.default_rng(0)


def draw_rows(slopes, n_rows):
    X = rng.normal(size=(n_rows, 12))
    return X, X @ slopes + rng.normal(size=n_rows)


def draw_problem(n_helpful, n_harmful):
    """Return the source, the rows of the target, and later rows of the target."""
    slopes = rng.normal(size=12)
    signs = [1] * n_helpful + [-1] * n_harmful
    tables = [draw_rows(s * slopes + 0.2 * rng.normal(size=12), 100) for s in signs]
    X, y = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    names = [f"{'alike' if s > 0 else 'opposite'} {k}" for k, s in enumerate(signs, 1)]
    source = Source(X, y, np.repeat(names, 100))
    return source, draw_rows(slopes, 15), draw_rows(slopes, 1000)


# %%
# ``adaptation="auto"``, the default, evaluates each source by cross-validation on the
# rows of the target. ``source_weights_`` are the weights of a source row relative to a
# target row.
source, (X, y), later = draw_problem(n_helpful=3, n_harmful=3)
model = TransferEstimator(Ridge(), source=source).fit(X, y)
for name, weight in zip(source.labels, model.source_weights_, strict=True):
    print(f"{name}: {weight:.2f}")

# %%
# The report shows the same, with the evidence: how much of the target's error a source
# removes if it is the only one.
display = TransferReportDisplay.from_estimator(model, name="plant")
display.figure_.suptitle("Sources of the opposite sign get hardly any weight")
plt.show()

# %%
# Errors on later rows, with two helpful sources or none, and more and more harmful
# ones. *Pooled* gives all rows the same weight. The bands are two standard errors over
# 30 repetitions.
adaptations = {"target only": "independent", "pooled": "pooled", "guarded": "auto"}
colors = {"target only": "#d55e00", "pooled": "#888888", "guarded": "#0072b2"}


def error(adaptation):
    model = TransferEstimator(Ridge(), source=source, adaptation=adaptation)
    return root_mean_squared_error(y_later, model.fit(X, y).predict(X_later))


fig, axes = plt.subplots(1, 2, sharey=True, layout="constrained")
for n_helpful, ax in zip([2, 0], axes, strict=True):
    n_harmful = range(n_helpful == 0, 5)
    errors = {name: np.empty((len(n_harmful), 30)) for name in adaptations}
    for i, n in enumerate(n_harmful):
        for k in range(30):
            source, (X, y), (X_later, y_later) = draw_problem(n_helpful, n)
            for name, adaptation in adaptations.items():
                errors[name][i, k] = error(adaptation)
    for name, values in errors.items():
        mean, two = values.mean(axis=1), 2 * values.std(axis=1) / np.sqrt(30)
        print(f"{n_helpful} helpful sources, {name:<12}", mean.round(2))
        ax.plot(n_harmful, mean, "o-", color=colors[name], label=name)
        band = mean - two, mean + two
        ax.fill_between(n_harmful, *band, color=colors[name], alpha=0.2)
    ax.set(xlabel="number of harmful sources", xticks=range(5))
    ax.set_title(f"{n_helpful or 'no'} helpful sources")
axes[0].set(ylabel="root mean squared error (1 is the noise)", ylim=0)
fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig.suptitle("Harmful sources do little harm to the guarded model")
# sphinx_gallery_thumbnail_number = 2
plt.show()

# %%
# With two helpful sources, the guarded model is better than the target's rows alone by
# about as much as without harmful ones. Where no source helps, the best choice is to
# use none. Fifteen rows are little evidence for that: the guarded model is somewhat
# worse than the target's rows alone, though better than *pooled*. See :doc:`/transfer`
# for other numbers of rows.
