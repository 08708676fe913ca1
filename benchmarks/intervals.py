"""Coverage of prediction intervals, and of prediction sets of classifiers, on test rows.

Run ``python benchmarks/intervals.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import warnings

import numpy as np
import pandas as pd
import problems
import sections

# Simulated tables with classes: tasks, rows per task (a list: any of these), classes, and the
# standard deviation over tasks of the logarithm of what their scores are multiplied by.
SIMULATED = {
    "30 tasks of 20 rows": (30, [20], 2, 0.0),
    "30 tasks of 60 rows, some noisier": (30, [60], 2, 1.0),
    "40 tasks of 5 to 200 rows, some noisier": (40, [5, 10, 20, 50, 200], 2, 0.7),
    "30 tasks of 20 rows, three classes": (30, [20], 3, 0.0),
    "30 tasks of 60 rows, three classes, some noisier": (30, [60], 3, 0.7),
}
TEST_ROWS = 200


def coverage(problem, nominal):
    """Return the share of test labels inside the intervals, and its mean over tasks."""
    from skmtl import MultiTaskRegressor

    column = problem.task_column
    model = MultiTaskRegressor("partial_pooling", task_column=column).fit(
        problem.train, problem.y_train
    )
    low, high = model.predict_interval(problem.test, nominal)
    inside = pd.Series((low <= problem.y_test) & (problem.y_test <= high))
    return inside.mean(), inside.groupby(problem.test[column].to_numpy()).mean().mean()


def intervals(options):
    """Prediction intervals on the test rows of each regression set."""
    rows = []
    for problem in problems.iterate(options.sets, options.regimes, options.splits, options.shared):
        found = coverage(problem, options.coverage)
        rows.append([problem.table.name, problem.regime, *found])
    table = pd.DataFrame(rows, columns=["set", "regime", "rows", "mean over tasks"])
    groups = table.groupby(["set", "regime"], sort=False)
    print(groups.mean().to_string(float_format="{:.3f}".format))
    print("targets at 90 %: rows 0.87 to 0.93 and mean over tasks 0.85 to 0.95 in each set (full)")


def simulated(seed, n_tasks, sizes, n_classes, noise, n_unseen=20):
    """Return X, y and task of training rows, and of test rows with further tasks."""
    rng = np.random.default_rng(seed)
    k, n_all = n_classes if n_classes > 2 else 1, n_tasks + n_unseen
    coef = rng.normal(size=(k, 3)) + 0.5 * rng.normal(size=(n_all, k, 3))
    coef *= np.exp(noise * rng.normal(size=n_all))[:, None, None]
    level = rng.normal(size=(n_all, k)) - 0.5
    rows = np.append(rng.choice(sizes, n_tasks), np.zeros(n_unseen, dtype=int))

    def draw(rows):
        task = np.repeat(np.arange(n_all), rows)
        X = rng.normal(size=(len(task), 3))
        scores = np.einsum("ij,ikj->ik", X, coef[task]) + level[task]
        if k == 1:
            return X, (scores[:, 0] + rng.logistic(size=len(X)) > 0).astype(int), task
        return X, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1), task

    return draw(rows), draw(np.full(n_all, TEST_ROWS))


def set_measures(sets, y, classes, task, known):
    """Return what is measured of prediction sets of test rows.

    `known` is a mask of the rows of tasks in fit. The coverage of single tasks is NaN for
    quantiles over fewer than two tasks.
    """
    inside = sets[np.arange(len(y)), np.searchsorted(classes, y)]
    each = pd.Series(inside[known]).groupby(task[known]).mean()
    return {
        "rows": inside[known].mean(),
        "median task": each.median(),
        "tenth of tasks": each.quantile(0.1),
        "worst task": each.min(),
        "labels": sets[known].sum(axis=1).mean(),
        "single": (sets[known].sum(axis=1) == 1).mean(),
        "unseen": inside[~known].mean() if (~known).any() else np.nan,
    }


def set_tables(options):
    """Yield the name, training rows and test rows of every table with classes."""
    for name, given in SIMULATED.items():
        for seed in range(2 * options.splits):
            yield name, *simulated(seed, *given)
    regimes = dict.fromkeys(["full", "low", *options.regimes])
    sets = list(problems.CLASS_SETS)
    for problem in problems.iterate(sets, regimes, options.splits, options.shared):
        X, task, A, at = (problem.arrays()[i] for i in (0, 1, 3, 4))
        train, test = (X, problem.y_train, task), (A, problem.y_test, at)
        yield f"{problem.table.name}, {problem.regime}", train, test


def prediction_sets(options):
    """Prediction sets on simulated tables, and on the test rows of real ones with classes."""
    from skmtl import MultiTaskClassifier

    rows = []
    for name, (X, y, task), (A, b, at) in set_tables(options):
        model = MultiTaskClassifier(options.sharing).fit(X, y, task=task)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unseen tasks
            sets = model.predict_set(A, options.coverage, task=at)
        known = np.isin(at, model.tasks_)
        rows.append({"table": name, **set_measures(sets, b, model.classes_, at, known)})
    table = pd.DataFrame(rows).groupby("table", sort=False).mean()
    print(table.to_string(float_format="{:.3f}".format))
    print("labels: mean size of a set; single: share of sets of one label; unseen: rows of tasks")
    print("that are not in fit; coverage of single tasks is that of their test rows")


SECTIONS = {"intervals": intervals, "sets": prediction_sets}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument(
        "--sets", nargs="+", default=list(problems.SETS), choices=problems.SETS, help="of intervals"
    )
    parser.add_argument("--regimes", nargs="+", default=["full"], choices=problems.REGIMES)
    parser.add_argument("--splits", type=int, default=problems.N_SPLITS)
    parser.add_argument("--coverage", type=float, default=0.9, help="nominal coverage (0.9)")
    parser.add_argument("--sharing", default="partial_pooling", help="of prediction sets")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}; nominal {options.coverage:.0%}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
