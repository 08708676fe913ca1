"""Forward in time: the error on months to come, and whether the report promised it.

Run ``python benchmarks/forward.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import time
from functools import partial

import measures
import numpy as np
import pandas as pd
import problems
from accuracy import OURS, print_failures
from peers import ALPHAS, PEERS, OneHotRidge, PerTaskRidge, PooledRidge, run
from sklearn.linear_model import RidgeCV

SET, TIME = "aus_retail", "t"
HORIZON, N_FOLDS = 24, 3  # months held out, and forward folds of as many inside
SHUFFLED = f"{OURS}, cv=5"
COLUMNS = ["set", "variant", "split", "method", "nmse", "nmse_macro", "seconds", "error"]
ERROR_TARGET, PROMISE_TARGET = 1.02, 0.2


def forward(n_splits, **options):
    """Return our splitter of the horizon's length."""
    from skmtl.model_selection import TaskTimeSeriesSplit

    return TaskTimeSeriesSplit(n_splits, time_column=TIME, test_size=HORIZON, **options)


def ridge(X, y, splits):
    """Return a fitted ridge, its strength chosen on the given splits."""
    return RidgeCV(ALPHAS, cv=splits, scoring="neg_mean_squared_error").fit(X, y)


class PooledForward(PooledRidge):
    """One ridge for all rows, tuned forward in time; so are those below."""

    def __init__(self, splits):
        self.splits = splits

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.ridge_ = ridge(X, y, self.splits)
        return self


class OneHotForward(OneHotRidge):
    """One ridge for all rows, with the one-hot task among the features."""

    def __init__(self, splits):
        self.splits = splits

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.encoder_ = OneHotRidge().fit(X[:, :0], task, y).encoder_
        self.ridge_ = ridge(self.design(X, task), y, self.splits)
        return self


class PerTaskForward(PerTaskRidge):
    """One ridge a task, tuned on its part of the splits; by leave-one-out if it is in none."""

    def __init__(self, splits):
        self.splits = splits

    def fit(self, X, task, y):
        """Fit to rows X (n_samples, n_features), their task labels and targets."""
        self.pooled_ = PooledForward(self.splits).fit(X, task, y).ridge_
        self.models_ = {}
        every = np.arange(len(y))
        masks = [[np.isin(every, part) for part in pair] for pair in self.splits]
        for label in np.unique(task):
            rows = np.flatnonzero(task == label)
            parts = [[np.flatnonzero(part[rows]) for part in pair] for pair in masks]
            parts = [pair for pair in parts if len(pair[0]) and len(pair[1])]
            self.models_[label] = ridge(X[rows], y[rows], parts or None)
        return self


FORWARD_PEERS = {
    "pooled_linear": PooledForward,
    "onehot_linear": OneHotForward,
    "pertask_linear": PerTaskForward,
}


def origins(n_origins, shared):
    """Yield the problem of each origin: the last `HORIZON` months of every series, then earlier."""
    table = problems.load(SET, shared)
    splits = forward(n_origins, task_column=table.task_column).split(table.frame)
    for origin, (train, test) in enumerate(reversed(list(splits))):
        yield problems.Problem(table, "forward", origin, train, test)


def our_models():
    """Return our estimators, not fitted: only the inner validation differs."""
    from skmtl import MultiTaskRegressor

    linear = partial(MultiTaskRegressor, "partial_pooling")
    return {OURS: partial(linear, cv=forward(N_FOLDS)), SHUFFLED: linear}


def measure(problem, peer_names):
    """Return the records of all methods, and the promises of our own models."""
    rows, promises = [], []
    inner = forward(N_FOLDS, task_column=problem.task_column)
    splits = list(inner.split(problem.train))
    for name in peer_names:
        peer = partial(FORWARD_PEERS[name], splits) if name in FORWARD_PEERS else PEERS[name]
        rows.append(timed(problem, name, lambda peer=peer: run(peer(), *problem.arrays())))
    for name, model in our_models().items():
        model = model(task_column=problem.task_column)

        def predict(model=model):
            return model.fit(problem.train, problem.y_train).predict(problem.test)

        rows.append(timed(problem, name, predict))
        prediction = model.predict(problem.test)
        promises.append([problem.split, name, *promised(problem, model, prediction)])
    return rows, promises


def timed(problem, name, predict):
    """Return one row of the result: errors of a method, seconds, or the reason why it failed."""
    start, figures, error = time.perf_counter(), [np.nan, np.nan], ""
    try:
        prediction = predict()
        task = problem.test[problem.task_column]
        figures = [
            measures.nmse(problem.y_test, prediction),
            measures.nmse_macro(problem.y_test, prediction, task),
        ]
    except Exception as raised:  # whatever a peer raises is a result
        error = f"{type(raised).__name__}: {raised}"
    seconds = time.perf_counter() - start
    row = [problem.table.name, problem.regime, problem.split, name, *figures, seconds, error]
    shown = "{:.5f} {:.5f}".format(*figures)
    print(f"origin {problem.split}, {name}: {shown} {seconds:.2f} s {error}", flush=True)
    return row


def promised(problem, model, prediction):
    """Return the errors promised and come: mean weighted by rows, and median over tasks.

    Of the tasks that the report judges; squared errors a row. A task's weight is its training rows.
    """
    report = pd.DataFrame(model.task_report_).iloc[:-1].set_index("task")
    error = pd.Series((problem.y_test - prediction) ** 2)
    report["came"] = error.groupby(problem.test[problem.task_column].to_numpy()).mean()
    report = report.dropna(subset=["error_shared", "came"])
    both = [report[column].astype(float) for column in ("error_shared", "came")]
    means = [np.average(column, weights=report["n_samples"].astype(float)) for column in both]
    return [*means, *(column.median() for column in both), len(report)]


def print_errors(records, peer_names):
    """Print the error of every method and the ratio of ours to the least of the peers."""
    for metric in ("nmse", "nmse_macro"):
        cells = records.pivot(index="split", columns="method", values=metric)
        cells = cells[records["method"].unique()]
        ratio = measures.ratios(cells, [OURS, SHUFFLED], peer_names)
        print(f"\n{metric}, a row an origin; ratio to the least of the peers")
        print(cells.to_string(float_format="{:.4f}".format))
        print(ratio.to_string(float_format="{:.4f}".format))
    print_failures(records)


def print_promises(promises):
    """Print what the report promised beside what came; returns their ratio for ours."""
    names = ["promised", "came", "median promised", "median came"]
    table = pd.DataFrame(promises, columns=["origin", "method", *names, "tasks"])
    table["promised / came"] = table["promised"] / table["came"]
    table["median ratio"] = table["median promised"] / table["median came"]
    print("\nsquared error a row: task_report_'s error_shared, and what came on the test months")
    print(table.to_string(index=False, float_format="{:.4f}".format))
    return measures.geometric_mean(table.loc[table["method"] == OURS, "promised / came"])


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--origins", type=int, default=1, help="also hold out earlier months (1)")
    parser.add_argument("--save", metavar="FILE.csv", help="write every measurement")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    rows, promises = [], []
    for problem in origins(options.origins, options.shared):
        more_rows, more_promises = measure(problem, options.peers)
        rows, promises = rows + more_rows, promises + more_promises
    records = pd.DataFrame(rows, columns=COLUMNS)
    if options.save:
        records.to_csv(options.save, index=False)
    print_errors(records, options.peers)
    kept = print_promises(promises)
    cells = records.pivot(index="split", columns="method", values="nmse")
    ratio = measures.geometric_mean(measures.ratios(cells, [OURS], options.peers)[OURS])
    print(
        f"\nours, in one line (geometric means over origins): error / best peer {ratio:.4f} "
        f"(target {ERROR_TARGET}), promised / came {kept:.3f} (target within {PROMISE_TARGET:.0%})"
    )


if __name__ == "__main__":
    main()
