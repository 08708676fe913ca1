"""
Probabilities for customers who have shown one class only
=========================================================

Of 150 customers with eight visits each, some have never bought. What is the probability
that they buy next time? The picture compares the predicted probability of a purchase
with the share of later visits that did end in one, for customers who have bought never,
once, twice and so on.
"""

# %%
# The log-odds of a purchase depend on the discount and on the weather, and every
# customer has a level and slopes of their own. The first eight visits of each customer
# are for training; the next hundred are the future.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from skmtl import MultiTaskClassifier

rng = np.random.default_rng(0)
customer, visit = (index.ravel() for index in np.indices((150, 108)))
level = -1.5 + 0.8 * rng.normal(size=150)
slopes = [1.0, 0.5] + 0.3 * rng.normal(size=(150, 2))
X = pd.DataFrame(rng.normal(size=(len(customer), 2)), columns=["discount", "sun"])
log_odds = level[customer] + (slopes[customer] * X).sum(axis=1)
bought = rng.logistic(size=len(X)) < log_odds
X["customer"] = customer
seen = visit < 8

purchases = bought[seen].groupby(customer[seen]).sum().to_numpy()
never = (purchases == 0)[customer[~seen]]
print("customers who have never bought:", (purchases == 0).sum())

# %%
# scikit-learn's LogisticRegression cannot be fitted to the visits of a customer who has
# never bought. The *independent* model of :class:`~skmtl.MultiTaskClassifier` can, as
# it has a weak penalty on the intercepts as well, but it takes eight times "no" for
# near certainty. The *pooled* model treats these customers like all others. The
# *shared* model is in between, and has the smallest log-loss, for these customers and
# for all.
probability = {}
for name, sharing in [
    ("independent", "independent"),
    ("pooled", "pooled"),
    ("shared", "partial_pooling"),
]:
    model = MultiTaskClassifier(sharing, task_column="customer")
    model.fit(X[seen], bought[seen])
    p = probability[name] = model.predict_proba(X[~seen])[:, 1]
    loss = log_loss(bought[~seen], p), log_loss(bought[~seen][never], p[never])
    print(f"{name:12} log-loss {loss[0]:.2f}, never bought {loss[1]:.2f}")

# %%
# The same holds for customers who have bought often: four of eight visits do not mean
# that every second visit ends in a purchase. Independent predictions are too extreme,
# pooled ones ignore what is known about the customer, and shared ones are close to what
# happened. :doc:`/classification` says how the strengths are chosen.
colors = {"independent": "#d55e00", "pooled": "#888888", "shared": "#0072b2"}
counts = np.arange(6)
group = purchases[customer[~seen]]


def mean_by_count(values):
    """Return the mean over later visits, by the number of purchases so far."""
    return [100 * values[group == count].mean() for count in counts]


fig, ax = plt.subplots(layout="constrained")
for name, p in probability.items():
    ax.plot(counts, mean_by_count(p), "o-", color=colors[name], label=name)
observed = mean_by_count(bought[~seen].to_numpy())
ax.plot(counts, observed, "k_", markersize=26, markeredgewidth=2.5, label="observed")
ax.set_ylim(0)
ax.set_xlabel("purchases in the first 8 visits of the customer")
ax.set_ylabel("probability of a purchase on later visits (%)")
ax.set_title("Shared probabilities are close to what is observed later")
ax.legend()
plt.show()
