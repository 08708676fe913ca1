"""Speed and memory: ours beside the peers and the floor, in the same run.

Run ``python benchmarks/speed.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import tempfile
from functools import partial

import numpy as np
import problems
import sections
from measuring import MIB, fresh, race, seconds_per_call
from peers import ALL_PEERS, ALPHAS, OneHotRidge
from sklearn.linear_model import Ridge, RidgeCV


def report(name, value, unit="s", target=""):
    """Print one figure, with what it should be where that is laid down."""
    shown = "missing" if value is None else f"{value:.4g} {unit}"
    print(f"  {name:<58} {shown:>14}   {target}".rstrip(), flush=True)


def ratio(numerator, denominator):
    """Divide two figures, of which either may be missing."""
    return None if numerator is None or denominator is None else numerator / denominator


def load_ours():
    """Return our estimator with linear models, or None with the reason printed."""
    try:
        from skmtl import MultiTaskRegressor
    except ImportError as error:
        print(f"  missing: skmtl: {error}")
        return None
    return partial(MultiTaskRegressor, "partial_pooling")


def runnable(functions):
    """Call each function once to warm it up; return those that work and print why others don't."""
    working = {}
    for name, function in functions.items():
        try:
            function()
        except Exception as error:  # a failed peer is a result
            print(f"  missing: {name}: {type(error).__name__}: {error}", flush=True)
        else:
            working[name] = function
    return working


def school(options):
    """Whole tuned fit on School (full) against RidgeCV and the mixed models."""
    problem = problems.load("school", options.shared).problem("full", 0)
    X, task, y, _, _ = problem.arrays()
    design = OneHotRidge().fit(X, task, y).design(X, task)
    functions = {"one-hot RidgeCV": lambda: RidgeCV(ALPHAS).fit(design, y)}
    for name in ("gpboost_lmm_rs", "mixedlm_slopes", *options.school_peers):
        functions[name] = partial(lambda peer: ALL_PEERS[peer]().fit(X, task, y), name)
    ours = load_ours()
    if ours is not None:
        model = ours(task_column=problem.task_column)
        functions["skmtl"] = lambda: model.fit(problem.train, problem.y_train)
    # The slow ones are timed once or thrice: their spread is far below their distance to us.
    repeats = dict.fromkeys(functions, 1)
    repeats |= {"skmtl": 15, "one-hot RidgeCV": 7, "gpboost_lmm_rs": 3}
    functions = runnable(functions)
    medians = race(functions, {name: repeats[name] for name in functions})
    targets = {"one-hot RidgeCV": "> 1", "gpboost_lmm_rs": ">= 4", "mixedlm_slopes": ">= 50"}
    for name, median in medians.items():
        report(f"{name}: fit", median)
    ours = medians.pop("skmtl", None)
    for name, median in medians.items():
        target = f"wanted {targets[name]}" if name in targets else ""
        report(f"{name} / skmtl", ratio(median, ours), "", target)


def rows(options):
    """Whole tuned fit on a million rows against the floor, and its peak memory."""
    shape = {"n_rows": options.rows, "n_features": 30, "n_tasks": 1_000}
    print(f"  {shape}")
    single = {}
    for frame, kind in ((False, "arrays, integer ids"), (True, "frame, string ids")):
        result = fresh("fit", threads.environment(), **shape, frame=frame)
        if result is None:
            continue
        single[kind] = result["ours"]
        # The figures to reach are about arrays; those of the frame are for information.
        report(f"{kind}: fit", result["ours"])
        report(f"{kind}: floor", result["floor"])
        target = "" if frame else "wanted <= 3"
        report(f"{kind}: fit / floor", ratio(result["ours"], result["floor"]), "", target)
        report(f"{kind}: input", result["input"] / MIB, "MiB")
        target = "" if frame else "wanted <= 2.5"
        report(f"{kind}: peak / input", ratio(result["peak"], result["input"]), "", target)
    twice = 2 * threads.COUNT
    doubled = fresh("fit", threads.environment(twice), **shape, n_jobs=twice)
    if doubled:
        speedup = ratio(single.get("arrays, integer ids"), doubled["ours"])
        report(f"speed-up of {twice} threads over {threads.COUNT}", speedup, "", "aim 1.5")


def scaling(options):
    """Time against the number of rows: it should grow no faster than the rows."""
    sizes = [n for n in (10_000, 31_600, 100_000, 316_000, 1_000_000) if n <= options.rows]
    previous = None
    for n_rows in sizes:
        result = fresh("fit", threads.environment(), n_rows=n_rows, n_features=30, n_tasks=1_000)
        taken = result and result["ours"]
        report(f"{n_rows:,} rows x 30 features, 1,000 tasks: fit", taken)
        if previous is not None:
            growth = ratio(ratio(taken, previous[1]), n_rows / previous[0])
            report("  growth of time / growth of rows", growth, "", "wanted <= 1")
        previous = n_rows, taken


def tasks(options):
    """Time and peak memory against the number of tasks, 10 rows and 10 features each."""
    previous = None
    for n_tasks in (1_000, 10_000, 100_000):
        if n_tasks > options.tasks:
            break
        shape = {"n_rows": 10 * n_tasks, "n_features": 10, "n_tasks": n_tasks}
        result = fresh("fit", threads.environment(), **shape, balanced=True)
        taken, peak = (result["ours"], result["total_peak"]) if result else (None, None)
        report(f"{n_tasks:,} tasks: fit", taken)
        report(f"{n_tasks:,} tasks: peak memory of the process", ratio(peak, MIB), "MiB", "< 4096")
        if previous is not None:
            growth = ratio(ratio(taken, previous[1]), n_tasks / previous[0])
            report("  growth of time / growth of tasks", growth, "", "wanted <= 1 or so")
        previous = n_tasks, taken


def medians_of_fresh(measurement, environment, repeats, calls):
    """Return the median figures over fresh processes, for the arguments of each call."""
    found = [[] for _ in calls]
    for _ in range(repeats):
        for arguments, results in zip(calls, found, strict=True):
            results.append(fresh(measurement, environment, **arguments))
            if results[-1] is None:
                return [None] * len(calls)
    keys = found[0][0]
    return [{key: float(np.median([r[key] for r in results])) for key in keys} for results in found]


def startup(options):
    """Import time, and the first fit of a process with a cold and with a warm numba cache."""
    with tempfile.TemporaryDirectory() as folder:
        # Byte code goes to the folder, for all libraries alike: as after a first import, even where
        # the environment forbids to write it beside the sources.
        environment = threads.environment() | {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        import_times(environment)
        first_fits(environment, folder, options.other)


def import_times(environment):
    """Print import times; CPU seconds beside, as a busy machine disturbs them less."""
    calls = [{"module": "sklearn.linear_model"}, {"module": "skmtl"}]
    if not medians_of_fresh("import_time", environment, 1, calls)[0]:  # writes the byte code
        return
    reference, ours = medians_of_fresh("import_time", environment, 11, calls)
    for key in ("seconds", "cpu"):
        report(f"import sklearn.linear_model: {key}", reference[key])
        report(f"import skmtl: {key}", ours[key])
        report("  difference", ours[key] - reference[key], "s", "wanted <= 0.2")


FACES = [f"MultiTask{kind}:partial_pooling" for kind in ("Regressor", "Classifier")]
FACES += ["MetaLearnerRegressor", "MetaLearnerClassifier"]
FACES += ["MetaLearnerClassifier:maml", "MetaLearnerClassifier:reptile", "TransferEstimator"]
FACES += [f"TransferEstimator:{name}" for name in ("trans_lasso", "kmm", "kliep", "tradaboost_r2")]


def first_fits(environment, folder, other):
    """Print the CPU seconds of each face's first fit: without, then with kernels on disk."""
    for face in FACES:
        ours = environment | {"NUMBA_CACHE_DIR": f"{folder}/numba/{face}"}
        cold = fresh("first_fit", ours, face=face)
        if cold is None:
            continue
        (warm,) = medians_of_fresh("first_fit", ours, 3, [{"face": face}])
        report(f"{face}: first fit, cold", cold["first"])
        if other:
            theirs = environment | {"NUMBA_CACHE_DIR": f"{folder}/numba/other/{face}"}
            before = fresh("first_fit", theirs, other, face=face)
            share = ratio(cold["first"], before and before["first"])
            report("  / the other version's", share, "", "wanted <= 1/3")
        report("  first fit, kernels on disk", warm["first"])
        report("  second fit", warm["second"])


def one_row(options):
    """Predict of one row by the estimator of one task against scikit-learn's Ridge."""
    X, y, task = problems.many_rows(10_000, 30, 100)
    row = X[:1]
    ridge = Ridge().fit(X, y)
    reference = seconds_per_call(lambda: ridge.predict(row))
    report("Ridge.predict(row)", 1e6 * reference, "us")
    ours = load_ours()
    if ours is None:
        return
    model = ours().fit(X, y, task=task)
    single = model.for_task(task[0])
    taken = seconds_per_call(lambda: single.predict(row))
    report("for_task(label) once, then predict(row)", 1e6 * taken, "us")
    report("  / Ridge.predict(row)", taken / reference, "", "wanted <= 2")
    report("for_task(label)", 1e6 * seconds_per_call(lambda: model.for_task(task[0])), "us")


SECTIONS = {f.__name__: f for f in (school, rows, scaling, tasks, startup, one_row)}


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    parser.add_argument("--other", metavar="PYTHON", help="startup: an older version's interpreter")
    parser.add_argument("--rows", type=int, default=1_000_000, help="most rows (1,000,000)")
    parser.add_argument("--tasks", type=int, default=100_000, help="most tasks (100,000)")
    parser.add_argument(
        "--school-peers", nargs="*", default=[], choices=ALL_PEERS, help="further peers on School"
    )
    return parser.parse_args()


def main():
    """Run the chosen sections."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}; medians of runs in turn")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
