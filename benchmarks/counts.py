"""Losses other than squares: counts of stores, medians and quantiles of tasks.

    python benchmarks/counts.py                  # counts, beside fixed strengths and GPBoost
    python benchmarks/counts.py --only robust    # heavy tails: medians, Huber, quantiles
    python benchmarks/counts.py --only crossed   # groupings, beside GPBoost

"counts" are Poisson counts of stores with intercepts and slopes of their own. Errors are deviances
per row on new rows of known stores, over that of the best fixed strengths in hindsight. GPBoost has
random intercepts, and the slopes of the first feature. Seconds are CPU seconds.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import itertools
import time
import warnings

import numpy as np
import pandas as pd
import sections
from sklearn.metrics import mean_poisson_deviance, mean_tweedie_deviance

from skmtl import MultiTaskRegressor
from skmtl.losses import Quantile
from skmtl.sharing import PartialPooling

warnings.simplefilter("ignore")

# Stores, rows per store, standard deviations of log-levels and of slopes, mean count, dispersion.
DESIGNS = {
    "many stores": (200, 12, 0.5, 0.2, 3.0, 1.0),
    "few large stores": (20, 100, 0.5, 0.3, 3.0, 1.0),
    "rare counts": (200, 20, 0.7, 0.2, 0.2, 1.0),
    "large counts": (100, 10, 0.5, 0.1, 200.0, 1.0),
    "over-dispersed": (100, 20, 0.5, 0.2, 10.0, 4.0),
    "one slope": (100, 15, 0.5, 0.0, 2.0, 1.0),
}
N_FEATURES = 3
GRID = list(
    itertools.product(
        [1.0, 3.0, 10.0, 30.0, 100.0, 1e3, np.inf], [0.3, 1.0, 3.0, 10.0, np.inf], [0.0, 1.0, 10.0]
    )
)


def stores(design, seed, kind="poisson"):
    """Return training and test rows: features, tasks, targets."""
    n_tasks, n_rows, level, slope, mean, dispersion = DESIGNS[design]
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_tasks), n_rows + 20)
    X = rng.normal(size=(len(codes), N_FEATURES))
    coef = 0.3 * rng.normal(size=N_FEATURES) + slope * rng.normal(size=(n_tasks, N_FEATURES))
    eta = np.log(mean) + level * rng.normal(size=n_tasks)[codes] + (X * coef[codes]).sum(axis=1)
    expected = np.exp(np.clip(eta, -10.0, 12.0))
    if kind == "gamma":
        y = rng.gamma(2.0, expected / 2.0)
    elif dispersion > 1.0:  # negative binomial with this ratio of variance and mean
        y = rng.poisson(rng.gamma(expected / (dispersion - 1.0), dispersion - 1.0)).astype(float)
    else:
        y = rng.poisson(expected).astype(float)
    train = np.tile(np.arange(n_rows + 20) < n_rows, n_tasks)
    return X, codes, y, train


def gpboost_predictions(X, codes, y, train):
    """Return predictions of GPBoost's Poisson model with random intercepts."""
    import gpboost

    model = gpboost.GPModel(group_data=codes[train], likelihood="poisson")
    design = np.column_stack([np.ones(len(X)), X])
    model.fit(y=y[train], X=design[train])
    return model.predict(group_data_pred=codes[~train], X_pred=design[~train])["mu"]


def counts(options):
    """Deviance over that of the best fixed strengths in hindsight."""
    for design in DESIGNS:
        rows = []
        for seed in range(options.seeds):
            X, codes, y, train = stores(design, seed)
            start = time.process_time()
            model = MultiTaskRegressor(loss="poisson").fit(X[train], y[train], task=codes[train])
            seconds = time.process_time() - start
            ours = mean_poisson_deviance(y[~train], model.predict(X[~train], task=codes[~train]))
            found = []
            for slope, intercept, ridge in GRID:
                fixed = PartialPooling(slope, alpha_intercept=intercept, alpha_shared=ridge)
                fixed = MultiTaskRegressor(fixed, loss="poisson", cv=None)
                fixed.fit(X[train], y[train], task=codes[train])
                prediction = fixed.predict(X[~train], task=codes[~train])
                found.append(mean_poisson_deviance(y[~train], prediction))
            row = [ours / min(found), seconds]
            if options.gpboost:
                start = time.process_time()
                prediction = gpboost_predictions(X, codes, y, train)
                row += [mean_poisson_deviance(y[~train], prediction) / min(found)]
                row += [time.process_time() - start]
            rows.append(row)
        mean = np.mean(rows, axis=0)
        text = f"  {design}: {mean[0]:.4f} ({mean[1]:.2f} s)"
        if options.gpboost:
            text += f", GPBoost {mean[2]:.4f} ({mean[3]:.2f} s)"
        print(text, flush=True)


def amounts(options):
    """Gamma deviance of loss="gamma" over that of a fit of squares of the logarithms."""
    for design in DESIGNS:
        rows = []
        for seed in range(options.seeds):
            X, codes, y, train = stores(design, seed, "gamma")
            errors = []
            for loss in ("gamma", "squared_error"):
                of_logs = loss == "squared_error"
                model = MultiTaskRegressor("partial_pooling", loss=loss)
                model.fit(X[train], np.log(y[train]) if of_logs else y[train], task=codes[train])
                prediction = model.predict(X[~train], task=codes[~train])
                if of_logs:
                    residual = np.log(y[train]) - model.predict(X[train], task=codes[train])
                    prediction = np.exp(prediction) * np.mean(np.exp(residual))
                errors.append(mean_tweedie_deviance(y[~train], prediction, power=2))
            rows.append(errors[0] / errors[1])
        print(f"  {design}: {np.mean(rows):.4f}", flush=True)


def robust(options):
    """Heavy tails: errors of the medians over those of squared errors; coverage of quantiles."""
    for n_tasks, n_rows, name in ((100, 15, "many tasks"), (10, 200, "few large tasks")):
        ratios, coverages = [], []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            codes = np.repeat(np.arange(n_tasks), n_rows + 20)
            X = rng.normal(size=(len(codes), N_FEATURES))
            coef = rng.normal(size=N_FEATURES) + 0.3 * rng.normal(size=(n_tasks, N_FEATURES))
            middle = rng.normal(size=n_tasks)[codes] + (X * coef[codes]).sum(axis=1)
            y = middle + rng.standard_t(1.5, size=len(codes))
            train = np.tile(np.arange(n_rows + 20) < n_rows, n_tasks)
            errors = []
            for loss in ("squared_error", "huber", "absolute_error"):
                model = MultiTaskRegressor("partial_pooling", loss=loss)
                model.fit(X[train], y[train], task=codes[train])
                gap = model.predict(X[~train], task=codes[~train]) - middle[~train]
                errors.append(np.mean(gap**2))
            ratios.append(np.array(errors[1:]) / errors[0])
            for level in (0.1, 0.9):
                model = MultiTaskRegressor("partial_pooling", loss=Quantile(level))
                model.fit(X[train], y[train], task=codes[train])
                below = y[~train] < model.predict(X[~train], task=codes[~train])
                coverages.append(below.mean())
        huber, median = np.mean(ratios, axis=0)
        low, high = np.mean(np.reshape(coverages, (-1, 2)), axis=0)
        print(
            f"  {name}: huber {huber:.3f}, absolute_error {median:.3f}; below the quantiles 0.1 "
            f"and 0.9: {low:.3f} and {high:.3f}",
            flush=True,
        )


def crossed(options):
    """Counts of shops on days, and of stores in regions: deviance over that of GPBoost."""
    for name, shared in (("shops and days", False), ("stores in regions", True)):
        rows = []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            X = pd.DataFrame(rng.normal(size=(8000, 2)), columns=["a", "b"])
            X["shop"] = rng.integers(80, size=len(X))
            X["other"] = X["shop"] // 8 if shared else rng.integers(300, size=len(X))
            effects = rng.normal(size=80), rng.normal(size=300)
            eta = 0.5 + 0.5 * effects[0][X["shop"]] + 0.5 * effects[1][X["other"]] + 0.3 * X["a"]
            y, train = rng.poisson(np.exp(eta)).astype(float), rng.random(len(X)) < 0.5
            errors, seconds = [], []
            for fit in (_our_crossed, _gpboost_crossed):
                start = time.process_time()
                prediction = fit(X[train], y[train], X[~train])
                seconds.append(time.process_time() - start)
                errors.append(mean_poisson_deviance(y[~train], prediction))
            rows.append([errors[0] / errors[1], *seconds])
        ratio, ours, theirs = np.mean(rows, axis=0)
        print(f"  {name}: {ratio:.4f}; seconds {ours:.2f}, GPBoost {theirs:.2f}", flush=True)


def _our_crossed(X, y, X_test):
    model = MultiTaskRegressor(
        "partial_pooling", loss="poisson", task_column="shop", grouping_columns=["other"]
    )
    return model.fit(X, y).predict(X_test)


def _gpboost_crossed(X, y, X_test):
    import gpboost

    columns, groups = ["a", "b"], ["shop", "other"]
    model = gpboost.GPModel(group_data=X[groups].to_numpy(), likelihood="poisson")
    model.fit(y=y, X=X[columns].assign(one=1.0).to_numpy())
    return model.predict(
        group_data_pred=X_test[groups].to_numpy(), X_pred=X_test[columns].assign(one=1.0).to_numpy()
    )["mu"]


SECTIONS = {"counts": counts, "amounts": amounts, "robust": robust, "crossed": crossed}


def main():
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=["counts", "amounts", "robust"], choices=SECTIONS
    )
    parser.add_argument("--seeds", type=int, default=5, help="of every design (5)")
    parser.add_argument("--gpboost", action="store_true", help="with GPBoost's Poisson model")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
