"""New tasks without a refit: the error of ``adapt`` beside that of fitting everything anew.

Run ``python benchmarks/adapt.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import time

import measures
import numpy as np
import pandas as pd
import problems

TARGET = 1.02


def adapted(problem, face):
    """Return test predictions of models fitted without the new tasks and adapted to each.

    Also the predictions of the refit, those of the shared model, and seconds of one adaptation.
    """
    column = problem.task_column
    task, task_test = problem.train[column], problem.test[column]
    new = task_test.unique()
    old = ~task.isin(new)
    refit = face("partial_pooling", task_column=column).fit(problem.train, problem.y_train)
    model = face("partial_pooling", task_column=column).fit(
        problem.train[old], problem.y_train[old]
    )
    prediction, shared = np.empty((2, len(problem.test)))
    seconds = []
    for label in new:
        rows, test = (task == label).to_numpy(), (task_test == label).to_numpy()
        start = time.perf_counter()
        store = model.adapt(problem.train[rows], problem.y_train[rows])
        seconds.append(time.perf_counter() - start)
        prediction[test] = store.predict(problem.test[test])
        features = problem.test[test].drop(columns=column).to_numpy()
        shared[test] = features @ model.shared_coef_ + model.shared_intercept_
    return prediction, refit.predict(problem.test), shared, np.median(seconds)


def main():
    """Measure and print."""
    from skmtl import MultiTaskRegressor

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--sets", nargs="+", default=list(problems.SETS), choices=problems.SETS)
    parser.add_argument("--splits", type=int, default=problems.N_SPLITS)
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    rows = []
    for problem in problems.iterate(options.sets, ["new"], options.splits, options.shared):
        *predictions, seconds = adapted(problem, MultiTaskRegressor)
        errors = [measures.nmse(problem.y_test, p) for p in predictions]
        rows.append([problem.table.name, *errors, 1e3 * seconds])
    columns = ["set", "adapt", "refit", "shared only", "ms a task"]
    table = pd.DataFrame(rows, columns=columns).groupby("set", sort=False).mean()
    table["adapt / refit"] = table["adapt"] / table["refit"]
    print(table.to_string(float_format="{:.4f}".format))
    ratio = table["adapt"].mean() / table["refit"].mean()
    geometric = measures.geometric_mean(table["adapt / refit"])
    print(
        f"mean error adapt / refit {ratio:.4f} (target {TARGET}); geometric mean over sets "
        f"{geometric:.4f}; median {table['ms a task'].median():.2f} ms a task"
    )


if __name__ == "__main__":
    main()
