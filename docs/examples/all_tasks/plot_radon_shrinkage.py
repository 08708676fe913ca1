"""
Shrinkage of county levels, as in the radon example of Gelman and Hill
======================================================================

Houses in 85 counties are measured for radon; some counties have a single house, some
have a hundred. How high is the level of each county? The picture shows the raw estimate
and the shared one of each county against its number of houses: the fewer houses, the
more an estimate is shrunk towards the mean of all counties.
"""

# %%
# The houses are simulated after the data of Minnesota [1]_. On the scale of log radon,
# levels of counties have a standard deviation of 0.3, houses of a county one of 0.75,
# and a measurement on the first floor is 0.65 lower than one in the basement.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskRegressor
from skmtl.sharing import PartialPooling

rng = np.random.default_rng(0)
n_houses = rng.lognormal(2.0, 1.2, size=85).clip(1, 116).astype(int)
level = 1.45 + 0.3 * rng.normal(size=85)
county = np.repeat(np.arange(85), n_houses)
floor = (rng.random(len(county)) < 0.17).astype(float)
y = level[county] - 0.65 * floor + 0.75 * rng.normal(size=len(county))
X = pd.DataFrame({"county": county, "floor": floor})

# %%
# With ``varying=[]`` the counties share the slope of the floor, and differ in their
# intercepts only, as in the mixed model ``log_radon ~ floor + (1 | county)``.
model = MultiTaskRegressor(PartialPooling(varying=[]), task_column="county").fit(X, y)
slope, pooled = model.shared_coef_[0], model.shared_intercept_
raw = pd.Series(y - slope * floor).groupby(county).mean().to_numpy()
shared = model.intercept_

# %%
# The raw estimate of a county is its mean, corrected for the floor: that of a model of
# its own. The raw estimates of small counties are far apart, but this is mostly noise,
# and they are shrunk most. Estimates of counties with many houses hardly move, even if
# they are far from the mean.
x = n_houses * np.exp(0.05 * rng.normal(size=85))  # so that fewer points overlap
fig, ax = plt.subplots(layout="constrained")
ax.vlines(x, raw, shared, color="0.75", linewidth=1, zorder=1)
ax.scatter(x, raw, s=22, fc="white", ec="#d55e00", label="independent (raw)")
ax.scatter(x, shared, s=22, color="#0072b2", label="shared")
ax.axhline(pooled, color="#888888", label="pooled")
ax.set_xscale("log")
ax.set_xticks([1, 3, 10, 30, 100], [1, 3, 10, 30, 100])
ax.minorticks_off()
ax.set_ylim(top=2.6)
ax.set_xlabel("houses of the county")
ax.set_ylabel("level of the county (log radon in the basement)")
ax.set_title("Counties with few houses are shrunk towards the mean")
ax.legend(ncols=3, loc="upper center")
plt.show()

# %%
# The true levels are known here, so the errors of the estimates are, too. Those of the
# shared estimates are the smallest ones; for counties with many houses, the raw
# estimates are as good. See :doc:`/coming_from/lme4` for other mixed models.
sizes = pd.cut(n_houses, [0, 3, 9, 29, 116], labels=["1-3", "4-9", "10-29", "30-116"])
estimates = pd.DataFrame({"independent": raw, "pooled": pooled, "shared": shared})
squared = estimates.sub(level, axis=0) ** 2
print((squared.groupby(sizes, observed=True).mean() ** 0.5).round(2))

# %%
# .. [1] Gelman, A. and Hill, J. (2007). *Data Analysis Using Regression and
#    Multilevel/Hierarchical Models*. Cambridge University Press, chapter 12.
