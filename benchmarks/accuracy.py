"""Accuracy on real tables: ours beside each peer, and the ratio to the best of them.

Run ``python benchmarks/accuracy.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import sys
import time

import measures
import numpy as np
import pandas as pd
import problems
from measuring import isolated
from peers import ALL_PEERS, PEERS, timed_run

OURS = "skmtl"
COLUMNS = ["set", "variant", "split", "method", "nmse", "nmse_macro", "seconds", "error"]
TARGETS = {"nmse": 1.015, "nmse_macro": 1.01, "worst nmse": 1.08}
SCHOOL_60_TARGET = 0.6248


def our_predictions(problem):
    """Fit our linear models to the training frame and predict the test frame."""
    from skmtl import MultiTaskRegressor

    model = MultiTaskRegressor("partial_pooling", task_column=problem.task_column)
    return model.fit(problem.train, problem.y_train).predict(problem.test)


def peer_predictions(make, problem, time_limit):
    """Return the predictions of the peer that `make` makes, its seconds and an error message."""
    result, error = isolated(timed_run, (make, problem.arrays()), time_limit)
    return (*(result or (None, np.nan)), error)


def record(problem, method, prediction, seconds, error):
    """Return one row of the result: the errors of a method on a problem."""
    row = [problem.table.name, problem.regime, problem.split, method]
    y = problem.y_test
    if prediction is None or not np.all(np.isfinite(prediction)):
        return [*row, np.nan, np.nan, seconds, error or "predictions are not finite"]
    task = problem.test[problem.task_column]
    macro = measures.nmse_macro(y, prediction, task)
    return [*row, measures.nmse(y, prediction), macro, seconds, error]


def measure_peers(problem_list, peer_names, time_limit, reused, save):
    """Return the records of the peers, from an earlier run where it has them."""
    known = {tuple(row[:4]): row for row in reused.itertuples(index=False, name=None)}
    rows = []
    for problem in problem_list:
        for name in peer_names:
            key = (problem.table.name, problem.regime, problem.split, name)
            if key in known:
                rows.append(list(known[key]))
                continue
            rows.append(
                record(problem, name, *peer_predictions(ALL_PEERS[name], problem, time_limit))
            )
            _report(rows[-1])
            if save:  # at once, so that a long run can be watched, and resumed by --reuse
                pd.DataFrame(rows, columns=COLUMNS).to_csv(save, index=False)
    return rows


def measure_ours(problem_list):
    """Return the records of our own model; without the library each is missing."""
    rows = []
    for problem in problem_list:
        start, prediction, error = time.perf_counter(), None, ""
        try:
            prediction = our_predictions(problem)
        except Exception as raised:  # shown beside the peers' failures
            error = f"{type(raised).__name__}: {raised}"
        rows.append(record(problem, OURS, prediction, time.perf_counter() - start, error))
    return rows


def _report(row):
    """Print one measurement as it is taken."""
    name, variant, split, method, *figures, seconds, reason = row
    errors = "{:.5f} {:.5f}".format(*figures)
    print(f"{name} {variant} {split} {method}: {errors} {seconds:.2f} s {reason}", file=sys.stderr)


def print_tables(records, peer_names):
    """Print the error of every method in every cell, failures, and the summary."""
    for metric in ("nmse", "nmse_macro"):
        cells = measures.cell_table(records, metric)
        ratio = measures.ratios(cells, [OURS], peer_names)
        print(f"\n{metric}: mean over splits; ratio = ours / least of the peers")
        print(cells.join(ratio.add_suffix(" ratio")).to_string(float_format="{:.4f}".format))
    print_failures(records)
    table = measures.summary(records, [OURS, *peer_names], peer_names)
    print("\nratio to the least of the peers: geometric means over cells, and the worst cell")
    print(table.to_string(float_format="{:.4f}".format))
    if OURS in table.index:
        print(f"\nours, in one line: {summary_line(table.loc[OURS])}")


def print_failures(records):
    """Print what is missing and why, equal reasons together."""
    failed = records[records["nmse"].isna()]
    for (method, reason), rows in failed.groupby(["method", "error"], sort=False):
        names = [f"{r.set} {r.variant} {r.split}" for r in rows.itertuples()]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"missing: {method} on {', '.join(names[:3])}{more}: {reason}")


def summary_line(ours):
    """Return our three figures beside their targets."""
    figures = [f"{key} {ours[key]:.4f} (target {goal})" for key, goal in TARGETS.items()]
    return ", ".join([*figures, f"cells {ours['cells']}"])


def print_school_60(records):
    """Print the mean nMSE of every method on School with 60 % of the rows for training."""
    mean = records.groupby("method", sort=False)["nmse"].agg(lambda e: e.mean(skipna=False))
    print_failures(records)
    print(f"\nschool, 60 % for training: nMSE, mean of splits (target {SCHOOL_60_TARGET})")
    print(mean.to_string(float_format="{:.4f}".format))


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--sets", nargs="+", default=list(problems.SETS), choices=problems.SETS)
    parser.add_argument("--regimes", nargs="+", default=problems.REGIMES, choices=problems.REGIMES)
    parser.add_argument("--splits", type=int, default=None, help="first N splits (5; school60: 10)")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=ALL_PEERS)
    parser.add_argument("--save", metavar="FILE.csv", help="write every measurement")
    parser.add_argument("--reuse", metavar="FILE.csv", help="take the peers' figures from there")
    parser.add_argument("--time-limit", type=float, default=900, help="seconds a peer's fit (900)")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    parser.add_argument("--school60", action="store_true", help="School, 60 %% training rows")
    return parser.parse_args()


def main():
    """Measure, save and print."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}")
    if options.school60:
        problem_list = list(problems.school_60(options.splits or 10, shared=options.shared))
    else:
        n_splits = options.splits or problems.N_SPLITS
        problem_list = list(
            problems.iterate(options.sets, options.regimes, n_splits, options.shared)
        )
    reused = pd.read_csv(options.reuse) if options.reuse else pd.DataFrame(columns=COLUMNS)
    reused = reused.astype({"variant": str})[COLUMNS]
    rows = measure_peers(problem_list, options.peers, options.time_limit, reused, options.save)
    rows = [*measure_ours(problem_list), *rows]
    records = pd.DataFrame(rows, columns=COLUMNS)
    if options.save:
        records.to_csv(options.save, index=False)
    if options.school60:
        print_school_60(records)
    else:
        print_tables(records, options.peers)


if __name__ == "__main__":
    main()
