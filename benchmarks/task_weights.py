"""Errors with and without weights of tasks, on simulated and on real tables.

Run ``python benchmarks/task_weights.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse

import measures
import numpy as np
import pandas as pd
import problems

WEIGHTS = (None, "balanced", "uncertainty")
SETS = ["school", "student", "parkinsons_voice", "wine", "radon"]
# Rows per task, the number of rows of the first task, the ratio of the largest noise level to the
# smallest one, and the standard deviation of slopes over tasks.
DESIGNS = {
    "noise differs 10-fold": (20, 20, 10.0, 0.3),
    "noise differs 100-fold": (20, 20, 100.0, 0.3),
    "the same, 120 rows per task": (120, 120, 100.0, 0.3),
    "slopes differ much, too": (60, 60, 100.0, 3.0),
    "one task has most rows": (20, 4000, 1.0, 0.3),
    "equal tasks": (20, 20, 1.0, 0.3),
}


def simulated(design, seed, n_tasks=20, n_features=8):
    """Return features, target, task, the expected target, and the noise levels of the tasks."""
    rows, first, ratio, spread = DESIGNS[design]
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(n_tasks), np.r_[first, np.full(n_tasks - 1, rows)])
    X = rng.normal(size=(len(task), n_features))
    slopes = rng.normal(size=n_features) + spread * rng.normal(size=(n_tasks, n_features))
    mean = rng.normal(size=n_tasks)[task] + (X * slopes[task]).sum(axis=1)
    noise = ratio ** rng.permutation(np.linspace(-0.5, 0.5, n_tasks))
    return X, mean + noise[task] * rng.normal(size=len(task)), task, mean, noise


def simulated_rows(design, seed, sharing):
    """Return one row per weight: errors about the expected target, averaged over tasks."""
    from skmtl import MultiTaskRegressor

    X, y, task, mean, noise = simulated(design, seed)
    quiet = noise[task] <= np.median(noise)
    true = {t: 1.0 / level**2 for t, level in enumerate(noise)}
    for name, weight in [*((str(w), w) for w in WEIGHTS), ("true weights", true)]:
        model = MultiTaskRegressor(sharing, task_weight=weight).fit(X, y, task=task)
        square = (model.predict(X, task=task) - mean) ** 2

        def over_tasks(rows, square=square):
            return pd.Series(square[rows]).groupby(task[rows]).mean().mean()

        every, level = np.ones(len(y), dtype=bool), np.nan
        if hasattr(model, "task_noise_"):
            level = np.abs(np.log(model.task_noise_ / noise)).mean()
        yield {
            "design": design, "sharing": sharing, "weight": name, "error": over_tasks(every),
            "quiet half": over_tasks(quiet), "noisy half": over_tasks(~quiet),
            "noise, log error": level,
        }  # fmt: skip


def real_rows(problem, sharing):
    """Return one row per weight: errors on the test rows of a problem."""
    from skmtl import MultiTaskRegressor

    for weight in WEIGHTS:
        model = MultiTaskRegressor(sharing, task_column=problem.task_column, task_weight=weight)
        found = model.fit(problem.train, problem.y_train).predict(problem.test)
        tasks = problem.test[problem.task_column]
        yield {
            "set": problem.table.name, "regime": problem.regime, "split": problem.split,
            "weight": str(weight), "nmse": measures.nmse(problem.y_test, found),
            "nmse_macro": measures.nmse_macro(problem.y_test, found, tasks),
        }  # fmt: skip


def print_real(rows):
    """Print errors per cell, and their ratios to those without weights."""
    table = pd.DataFrame(rows)
    for metric in ("nmse", "nmse_macro"):
        cells = table.pivot_table(metric, ["set", "regime"], "weight", sort=False)
        ratio = cells.div(cells["None"], axis=0).add_suffix(" ratio").drop(columns="None ratio")
        print(f"\n{metric}, mean over splits")
        print(cells.join(ratio).to_string(float_format="{:.4f}".format))
        for name in ratio:
            worst = ratio[name].max()
            print(f"{name}: mean {measures.geometric_mean(ratio[name]):.4f}, worst {worst:.4f}")
        paired = table.pivot_table(metric, ["set", "regime", "split"], "weight", sort=False)
        gap = np.log(paired["uncertainty"] / paired["None"]).groupby(["set", "regime"], sort=False)
        print("log ratio of uncertainty, in standard errors over splits")
        print((gap.mean() / gap.sem()).to_string(float_format="{:.1f}".format))


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--sets", nargs="*", default=SETS, choices=problems.SETS)
    parser.add_argument("--regimes", nargs="+", default=["full", "low"], choices=problems.REGIMES)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--draws", type=int, default=100, help="simulated tables per design (100)")
    parser.add_argument("--sharing", nargs="+", default=["partial_pooling", "pooled"])
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    if options.draws:
        rows = [
            row
            for sharing in options.sharing
            for design in DESIGNS
            for seed in range(options.draws)
            for row in simulated_rows(design, seed, sharing)
        ]
        groups = pd.DataFrame(rows).groupby(["sharing", "design", "weight"], sort=False)
        print(groups.mean().to_string(float_format="{:.4f}".format))
    rows = []
    if options.sets:
        for problem in problems.iterate(
            options.sets, options.regimes, options.splits, options.shared
        ):
            rows += real_rows(problem, options.sharing[0])
            print(*rows[-1].values(), flush=True)
        print_real(rows)


if __name__ == "__main__":
    main()
