"""Measurements that need a process of their own; speed.py starts them and reads the last line."""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def import_time(module):
    """Return the seconds of importing a module; numpy and the interpreter's start excluded."""
    start, cpu_start = time.perf_counter(), time.process_time()
    __import__(module)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu_start}


def first_fit():
    """Return the seconds of the first fit and of the second one, imports of skmtl excluded."""
    import problems

    from skmtl import MultiTaskRegressor

    X, y, task = problems.many_tasks(100, rows=20, features=10)
    start = time.perf_counter()
    MultiTaskRegressor().fit(X, y, task=task)
    first = time.perf_counter()
    MultiTaskRegressor().fit(X, y, task=task)
    return {"first": first - start, "second": time.perf_counter() - first}


def floor(X, codes):
    """Do what no fit can do without: check, sort and gather the rows, and the tasks' Grams."""
    if not np.isfinite(X).all():
        raise ValueError("X is not finite")
    gathered = X[np.argsort(codes, kind="stable")]
    counts = np.bincount(codes)
    stops = np.cumsum(counts)
    grams = np.empty((len(counts), X.shape[1], X.shape[1]))
    for gram, start, stop in zip(grams, stops - counts, stops, strict=True):
        rows = gathered[start:stop]
        np.matmul(rows.T, rows, out=gram)
    return grams


class ArrayTable:
    """A table as arrays: C-ordered floats and integer ids."""

    def __init__(self, X, y, task):
        self.X, self.y, self.task = X, y, task
        self.nbytes = X.nbytes + y.nbytes + task.nbytes

    def fit(self, estimator, n_jobs):
        """Fit our default model."""
        return estimator(n_jobs=n_jobs).fit(self.X, self.y, task=self.task)

    def floor(self):
        """Label the tasks by numpy, and do the floor's work."""
        return floor(self.X, np.unique(self.task, return_inverse=True)[1])


class FrameTable:
    """The same table as a data frame with a column of strings."""

    def __init__(self, X, y, task):
        import pandas as pd

        self.frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])], copy=False)
        self.frame["store"] = pd.Series(task).map(lambda label: f"store {label:06d}")
        self.y = y
        self.nbytes = y.nbytes + int(self.frame.memory_usage(index=False, deep=True).sum())

    def fit(self, estimator, n_jobs):
        """Fit our default model."""
        return estimator(task_column="store", n_jobs=n_jobs).fit(self.frame, self.y)

    def floor(self):
        """Label the tasks by pandas, much faster on strings than numpy, and do the floor's work."""
        codes = self.frame["store"].factorize(sort=True)[0]
        return floor(self.frame.drop(columns="store").to_numpy(), codes)


def fit(n_rows, n_features, n_tasks, frame=False, balanced=False, n_jobs=1):
    """Return median seconds of our fit and of the floor, and our peak memory."""
    import problems
    from measuring import peak, race, reset_peak, resident

    def make(n_rows, n_tasks):
        if balanced:
            data = problems.many_tasks(n_tasks, n_rows // n_tasks, n_features)
        else:
            data = problems.many_rows(n_rows, n_features, n_tasks)
        return FrameTable(*data) if frame else ArrayTable(*data)

    try:
        from skmtl import MultiTaskRegressor
    except ImportError:  # the floor alone
        MultiTaskRegressor = None
    else:
        # Compiled code and thread pools are loaded by a small fit, so that they do not count.
        make(2_000, 200).fit(MultiTaskRegressor, n_jobs)
    baseline = resident()
    table = make(n_rows, n_tasks)
    result = {"input": table.nbytes, "ours": None, "peak": None, "total_peak": None}
    functions = {"floor": table.floor}
    if MultiTaskRegressor is not None:
        reset_peak()
        table.fit(MultiTaskRegressor, n_jobs)
        result |= {"peak": peak() - baseline, "total_peak": peak()}
        functions["ours"] = lambda: table.fit(MultiTaskRegressor, n_jobs)
    return result | race(functions, repeats=3)


if __name__ == "__main__":
    measurements = {f.__name__: f for f in (import_time, first_fit, fit)}
    print(json.dumps(measurements[sys.argv[1]](**json.loads(sys.argv[2]))))
