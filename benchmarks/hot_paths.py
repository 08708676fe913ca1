"""Hot paths of two versions of skmtl, in turn in fresh processes: medians, and head / base.

Run ``python benchmarks/hot_paths.py --help``; ``nox -s benchmarks -- REVISION`` makes both
environments.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import tempfile

import numpy as np
from measuring import fresh

# What is measured -> the function of fresh.py and its arguments.
PATHS = {
    "import of the estimators": ("import_time", {"module": "skmtl.multitask"}),
    "tuned linear fit, 20,000 rows x 20, 200 tasks": (
        "tuned_fit",
        {"n_rows": 20_000, "n_features": 20, "n_tasks": 200},
    ),
    "predict of one row by for_task": ("predict_one_row", {}),
    "moments of a million rows x 20, 1,000 tasks": (
        "moments",
        {"n_rows": 1_000_000, "n_features": 20, "n_tasks": 1_000},
    ),
}


def medians(measurement, arguments, pythons, repeats, folder):
    """Return the median seconds of every interpreter, None where a process failed."""
    taken = [[] for _ in pythons]
    # A turn before those that count writes byte code and compiled kernels.
    for turn in range(repeats + 1):
        for number, (python, seconds) in enumerate(zip(pythons, taken, strict=True)):
            if None in seconds:
                continue
            environment = threads.environment() | {"NUMBA_CACHE_DIR": f"{folder}/{number}"}
            found = fresh(measurement, environment, python, **arguments)
            if turn or found is None:
                seconds.append(found and found["seconds"])
    return [None if None in seconds else float(np.median(seconds)) for seconds in taken]


def main():
    """Print a line per hot path."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", help="interpreter with the version to compare with, and pandas")
    parser.add_argument("head", help="interpreter with the changed version, and pandas")
    parser.add_argument("--repeats", type=int, default=7, help="processes per figure (7)")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}; medians of {options.repeats} processes in turn")
    print(f"  {'':<48}{'base':>12}{'head':>12}{'head / base':>14}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (measurement, arguments) in PATHS.items():
            pythons = [options.base, options.head]
            base, head = medians(measurement, arguments, pythons, options.repeats, folder)
            ratio = "missing" if base is None or head is None else f"{head / base:.2f}"
            shown = ["missing" if s is None else f"{s:.3g} s" for s in (base, head)]
            print(f"  {name:<48}{shown[0]:>12}{shown[1]:>12}{ratio:>14}", flush=True)


if __name__ == "__main__":
    main()
