"""Wide tables and many tasks: time and peak memory of classifiers beside LightGBM's.

    python benchmarks/wide.py --peer peers/bin/python        # an interpreter that has lightgbm

Tables are simulated in the shapes of chemical assays (hundreds of descriptors, a dozen tasks) and
of records of thousands of small tasks. Every fit has a process of its own, one thread, and runs
once before to load kernels. Memory is the peak during the fit above that after the imports, the
table itself included; beside it the limit of 100 MB and four times the dense table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from problems import assays

MB = 1e6
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"
# Rows, features, tasks; and who is measured.
CASES = {
    "assays_12": (27_000, 286, 12, ("classifier", "lightgbm")),
    "assays_27": (54_000, 286, 27, ("classifier", "lightgbm")),
    "records_2410": (31_000, 33, 2_410, ("classifier", "lightgbm")),
    "records_671": (56_000, 20, 671, ("classifier", "meta")),
}


# ----------------------------------------------------------------- in a process of its own


def fit_classifier(frame, y):
    """Fit the multi-task classifier."""
    from skmtl import MultiTaskClassifier

    MultiTaskClassifier(
        "partial_pooling", task_column="task", preprocessor="auto", categorical_columns=[]
    ).fit(frame, y)


def fit_meta(frame, y):
    """Fit the meta-learner."""
    from skmtl import MetaLearnerClassifier

    MetaLearnerClassifier(task_column="task").fit(frame, y)


def fit_lightgbm(frame, y):
    """Fit LightGBM with the task as a category, stopped early on a fifth of the rows."""
    import lightgbm
    from sklearn.model_selection import train_test_split

    frame = frame.assign(task=frame["task"].astype("category"))
    train, rest, y_train, y_rest = train_test_split(
        frame, y, test_size=0.2, random_state=0, stratify=y
    )
    lightgbm.LGBMClassifier(n_estimators=2000, learning_rate=0.05, n_jobs=1, verbose=-1).fit(
        train, y_train, eval_set=[(rest, y_rest)],
        callbacks=[lightgbm.early_stopping(50, verbose=False)],
    )  # fmt: skip


def resident():
    """Return what this process holds, and the most it has held, in bytes (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")]


def measure(method, path):
    """Fit once; print the seconds and the peak above the imports."""
    import pandas as pd

    fit = {"classifier": fit_classifier, "meta": fit_meta, "lightgbm": fit_lightgbm}[method]
    X, y, task = assays(600, 5, 3)
    small = pd.DataFrame(X, columns=[f"d{j}" for j in range(5)]).assign(task=task)
    fit(small, y)  # imports, and kernels
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()[0]
    with np.load(path) as file:
        frame = pd.DataFrame(file["X"], columns=[f"d{j}" for j in range(file["X"].shape[1])])
        frame["task"], y = file["task"], file["y"]
    start = time.perf_counter()
    fit(frame, y)
    print(json.dumps([time.perf_counter() - start, (resident()[1] - before) / MB]))


# ------------------------------------------------------------------------------- the command


def run(method, path, options):
    """Return seconds and megabytes of a fit in a new process, or None where it failed."""
    python = options.peer if method == "lightgbm" else sys.executable
    if python is None:
        return None
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [python, __file__, "--measure", method, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  missing: {method}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Print a row for every fit: seconds, ratio to the first peer, megabytes and their limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has lightgbm")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--repeats", type=int, default=3, help="fits, whose median is taken (3)")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    print(f"{'table':14}{'method':12}{'s':>8}{'ratio':>8}{'MB':>8}{'limit':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            n_rows, n_features, n_tasks, methods = CASES[name]
            X, y, task = assays(n_rows, n_features, n_tasks)
            path = Path(folder) / "table.npz"
            np.savez(path, X=X, y=y, task=task)
            found = {method: [] for method in methods}
            for _ in range(options.repeats):  # in turn
                for method in methods:
                    found[method].append(run(method, path, options))
            report(name, found, 100.0 + 4.0 * X.nbytes / MB)


def report(name, found, limit):
    """Print the medians; the ratio is that of a method's seconds to the last one's."""
    medians = {m: np.median(runs, axis=0) for m, runs in found.items() if None not in runs}
    for method, (seconds, megabytes) in medians.items():
        first, last = list(found)
        base = medians.get(first if method == "meta" else last)
        compared = method == "meta" or (base is not None and method != last)
        ratio = seconds / base[0] if compared else 1
        print(
            f"{name:14}{method:12}{seconds:8.2f}{ratio:8.2f}{megabytes:8.0f}{limit:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
