"""Measurements that need a process of their own; the commands start it and read the last line."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np


def import_time(module):
    """Return the seconds of importing a module; numpy and the interpreter's start excluded."""
    start, cpu_start = time.perf_counter(), time.process_time()
    __import__(module)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu_start}


def fit_default(face, X, y, task):
    """Fit a face as it comes, or with the structure, learner or adaptation behind a colon."""
    import sklearn.linear_model

    import skmtl

    name, _, method = face.partition(":")
    if name == "TransferEstimator":
        few = task == task[0]
        source = skmtl.Source(X[~few], y[~few], task=task[~few])
        ridge = sklearn.linear_model.Ridge()
        model = skmtl.TransferEstimator(ridge, source=source, adaptation=method or "auto")
        return model.fit(X[few], y[few])
    model = getattr(skmtl, name)(*[method] if method else [])
    return model.fit(X, y > y.mean() if "Classifier" in name else y, task=task)


def first_fit(face):
    """Return CPU seconds of a face's first fit and of the second one, imports of skmtl excluded."""
    import problems

    import skmtl  # noqa: F401  its import is measured on its own

    data = problems.many_tasks(100, rows=20, features=10)
    start = time.process_time()
    fit_default(face, *data)
    first = time.process_time()
    fit_default(face, *data)
    return {"first": first - start, "second": time.process_time() - first}


def _small_fit():
    """Load compiled code and thread pools, so that they do not count; return the model and X."""
    import problems

    from skmtl import MultiTaskRegressor

    X, y, task = problems.many_rows(2_000, 20, 100)
    return MultiTaskRegressor("partial_pooling").fit(X, y, task=task), X


def tuned_fit(n_rows, n_features, n_tasks):
    """Return the median seconds of a fit of our linear models, strengths tuned."""
    import problems
    from measuring import race
    from sklearn.base import clone

    model, _ = _small_fit()
    X, y, task = problems.many_rows(n_rows, n_features, n_tasks)
    return {"seconds": race({"fit": lambda: clone(model).fit(X, y, task=task)}, 3)["fit"]}


def predict_one_row():
    """Return the seconds of predicting one row by the model of one task."""
    from measuring import seconds_per_call

    model, X = _small_fit()
    single, row = model.for_task(model.tasks_[0]), X[:1]
    return {"seconds": seconds_per_call(lambda: single.predict(row))}


def moments(n_rows, n_features, n_tasks):
    """Return the median seconds of adding the moments of all rows to a new model."""
    import problems
    from measuring import race
    from sklearn.base import clone

    model, _ = _small_fit()
    X, y, task = problems.many_rows(n_rows, n_features, n_tasks)

    def add():
        clone(model).partial_fit(X, y, task=task, solve=False)

    return {"seconds": race({"add": add}, 3)["add"]}


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
        """Fit our linear models."""
        return estimator("partial_pooling", n_jobs=n_jobs).fit(self.X, self.y, task=self.task)

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
        """Fit our linear models."""
        model = estimator("partial_pooling", task_column="store", n_jobs=n_jobs)
        return model.fit(self.frame, self.y)

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


def million_source_rows(n_rows, adaptation):
    """Return seconds of making, cloning and fitting with such a source, and bytes of pickles."""
    import copy
    import pickle

    from measuring import peak, reset_peak, resident, seconds, seconds_per_call
    from sklearn.base import clone
    from sklearn.linear_model import Ridge
    from transfer import make_adaptation

    from skmtl import Source, TransferEstimator

    rng = np.random.default_rng(0)
    coef = rng.normal(size=27)
    X, X_target = rng.standard_normal((n_rows, 27)), rng.standard_normal((100, 27))
    y, y_target = (Z @ coef + rng.standard_normal(len(Z)) for Z in (X, X_target))
    made = seconds(lambda: Source(X, y))
    baseline = resident() - X.nbytes - y.nbytes
    small = Source(X[:1000], y[:1000])  # loads whatever a fit needs
    model = TransferEstimator(Ridge(), source=small, adaptation=make_adaptation(adaptation))
    model.fit(X_target, y_target).set_params(source=Source(X, y))
    result = {"make": made, "source": X.nbytes + y.nbytes}
    result["clone"] = seconds_per_call(lambda: clone(model), loops=20)
    result["deepcopy"] = seconds_per_call(lambda: copy.deepcopy(model), loops=20)
    reset_peak()
    result["fit"] = seconds(lambda: model.fit(X_target, y_target))
    result["peak"] = peak() - baseline
    result["pickle"] = len(pickle.dumps(model.set_params(source=None)))
    result["deployed"] = len(pickle.dumps(model.estimator_))
    return result


class Children:
    """Looks at the memory of this process's children while a block runs (Linux)."""

    def __init__(self):
        self.most, self.mapped = {}, 0

    def look(self):
        """Return private bytes of each child now; note the most."""
        own, mapped = {}, 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                lines = (folder / "status").read_text().splitlines()
            except OSError:  # it has ended
                continue
            fields = dict(line.split(":", 1) for line in lines)
            if int(fields["PPid"]) == os.getpid() and "RssAnon" in fields:
                own[folder.name] = int(fields["RssAnon"].split()[0]) * 1024
                mapped += int(fields["RssShmem"].split()[0]) * 1024
        for child, size in own.items():
            self.most[child] = max(size, self.most.get(child, 0))
        self.mapped = max(mapped, self.mapped)
        return own

    def _keep_looking(self):
        while not self._done.wait(0.005):
            self.look()

    def __enter__(self):
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def search_of_source(n_rows, adaptation):
    """Return seconds of a grid search with one and two jobs, and the memory of its workers."""
    from measuring import peak, reset_peak, resident, seconds
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from transfer import make_adaptation

    from skmtl import Source, TransferEstimator

    rng = np.random.default_rng(0)
    coef = rng.normal(size=27)
    X, X_target = rng.standard_normal((n_rows, 27)), rng.standard_normal((200, 27))
    y, y_target = (Z @ coef + rng.standard_normal(len(Z)) for Z in (X, X_target))
    source = Source(X, y)

    def search(source, n_jobs):
        model = TransferEstimator(Ridge(), source=source, adaptation=make_adaptation(adaptation))
        grid = {"estimator__alpha": np.geomspace(0.01, 100.0, 8)}
        return GridSearchCV(model, grid, cv=5, n_jobs=n_jobs).fit(X_target, y_target)

    few = Source(X[:300], y[:300])
    search(few, 1)  # loads and compiles
    reset_peak()
    held = resident()
    one = seconds(lambda: search(source, 1))
    alone = peak() - held
    search(few, 2)  # starts the workers, which load and compile
    children = Children()
    before = children.look()
    with children:
        two = seconds(lambda: search(source, 2))
    # Without those that do not work, such as joblib's resource tracker.
    grown = [children.most[child] - size for child, size in before.items() if size > 30 * 2**20]
    result = {"one": one, "two": two, "alone": alone, "source": X.nbytes + y.nbytes}
    return result | {"grown": grown, "mapped": children.mapped}


if __name__ == "__main__":
    measurements = {
        f.__name__: f
        for f in (
            import_time, first_fit, tuned_fit, predict_one_row, moments, fit, million_source_rows,
            search_of_source,
        )
    }  # fmt: skip
    print(json.dumps(measurements[sys.argv[1]](**json.loads(sys.argv[2]))))
