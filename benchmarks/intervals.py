"""Coverage of prediction intervals on the test rows of each regression set.

Run ``python benchmarks/intervals.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse

import pandas as pd
import problems


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


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--sets", nargs="+", default=list(problems.SETS), choices=problems.SETS)
    parser.add_argument("--regimes", nargs="+", default=["full"], choices=problems.REGIMES)
    parser.add_argument("--splits", type=int, default=problems.N_SPLITS)
    parser.add_argument("--coverage", type=float, default=0.9, help="nominal coverage (0.9)")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}; nominal {options.coverage:.0%}")
    rows = []
    for problem in problems.iterate(options.sets, options.regimes, options.splits, options.shared):
        found = coverage(problem, options.coverage)
        rows.append([problem.table.name, problem.regime, *found])
    table = pd.DataFrame(rows, columns=["set", "regime", "rows", "mean over tasks"])
    groups = table.groupby(["set", "regime"], sort=False)
    print(groups.mean().to_string(float_format="{:.3f}".format))
    print("targets at 90 %: rows 0.87 to 0.93 and mean over tasks 0.85 to 0.95 in each set (full)")


if __name__ == "__main__":
    main()
