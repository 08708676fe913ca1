"""Classification: accuracy and speed beside the linear peers, and strengths on simulated churn.

Run ``python benchmarks/classification.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import itertools
import sys
import time

import numpy as np
import pandas as pd
import problems
import sections
from accuracy import OURS, peer_predictions, print_failures
from measures import CELL, auc_macro, geometric_mean, log_loss
from measuring import race
from peers import CLASS_PEERS as PEERS
from peers import OneHotRidge, logistic
from speed import ratio, report, runnable

COLUMNS = ["set", "variant", "split", "method", "log_loss", "auc_macro", "seconds", "error"]
TARGETS = {"log_loss": "<= 1.01", "worst log_loss": "<= 1.05", "auc_macro": ">= -0.005"}
# Fixed strengths among which hindsight chooses in `churn`.
SLOPES, INTERCEPTS = (3.0, 10.0, 30.0, 100.0, np.inf), (0.03, 0.1, 0.3, 1.0, 3.0)


def our_probabilities(problem):
    """Fit our linear models to the training frame and predict the test frame."""
    from skmtl import MultiTaskClassifier

    model = MultiTaskClassifier("partial_pooling", task_column=problem.task_column)
    return model.fit(problem.train, problem.y_train).predict_proba(problem.test)[:, 1]


def measure_ours(problem):
    """Return our probabilities, the seconds and an error message."""
    start = time.perf_counter()
    try:
        return our_probabilities(problem), time.perf_counter() - start, ""
    except Exception as error:  # shown beside the peers' failures
        return None, np.nan, f"{type(error).__name__}: {error}"


def record(problem, method, probability, seconds, error):
    """Return one row of the result: the measures of a method on a problem; print it too."""
    key = [problem.table.name, problem.regime, problem.split, method]
    figures = [np.nan, np.nan]
    if probability is None or not np.all(np.isfinite(probability)):
        error = error or "probabilities are not finite"
    else:
        y, task = problem.y_test, problem.test[problem.task_column].to_numpy()
        figures = [log_loss(y, probability), auc_macro(y, probability, task)]
    shown = "{:.5f} {:.5f}".format(*figures)
    print(f"{' '.join(map(str, key))}: {shown} {seconds:.2f} s {error}", file=sys.stderr)
    return [*key, *figures, seconds, error]


def measure(options):
    """Return the records of all methods: peers first, perhaps of an earlier run, then ours."""
    found = list(problems.iterate(list(problems.CLASS_SETS), shared=options.shared))
    known, rows = {}, []
    if options.reuse:
        reused = pd.read_csv(options.reuse)[COLUMNS].itertuples(index=False, name=None)
        known = {row[:4]: list(row) for row in reused}
    for problem, name in itertools.product(found, PEERS):
        key = (problem.table.name, problem.regime, problem.split, name)
        if key in known:
            rows.append(known[key])
            continue
        rows.append(
            record(problem, name, *peer_predictions(PEERS[name], problem, options.time_limit))
        )
        if options.save:  # at once, so that a long run can be watched, and resumed by --reuse
            pd.DataFrame(rows, columns=COLUMNS).to_csv(options.save, index=False)
    rows = [*(record(problem, OURS, *measure_ours(problem)) for problem in found), *rows]
    records = pd.DataFrame(rows, columns=COLUMNS)
    if options.save:
        records.to_csv(options.save, index=False)
    return records


def cell_table(records, metric):
    """Return the mean of each method (columns) in each cell of set and regime (rows)."""
    groups = records.groupby([*CELL, "method"], sort=False)[metric]
    # A method that failed on one split is missing in that cell.
    table = groups.agg(lambda figures: figures.mean(skipna=False)).unstack("method")
    order = pd.MultiIndex.from_frame(records[CELL].drop_duplicates())
    return table.reindex(index=order, columns=[OURS, *PEERS])


def accuracy(options):
    """Log-loss and macro AUC on the real tables: ours beside each peer."""
    records = measure(options)
    loss, auc = cell_table(records, "log_loss"), cell_table(records, "auc_macro")
    ratios = loss.div(loss[[*PEERS]].min(axis=1), axis=0)
    differences = auc.sub(auc[[*PEERS]].max(axis=1), axis=0)
    print("\nlog_loss: mean over splits; ratio = ours / least of the peers")
    print(loss.assign(ratio=ratios[OURS]).to_string(float_format="{:.4f}".format))
    print("\nauc_macro: mean over splits; difference = ours - greatest of the peers")
    print(auc.assign(difference=differences[OURS]).to_string(float_format="{:.4f}".format))
    print_failures(records.rename(columns={"log_loss": "nmse"}))  # the name that it looks for
    table = pd.DataFrame(
        {
            "log_loss": {method: geometric_mean(ratios[method]) for method in ratios},
            "worst log_loss": ratios.max(),
            "auc_macro": differences.mean(),
            "cells": ratios.notna().sum(),
        }
    )
    print("\nbeside the best peer: geometric mean and worst ratio, mean difference over cells")
    print(table.loc[[*ratios]].to_string(float_format="{:.4f}".format))
    figures = [f"{key} {table.loc[OURS, key]:.4f} (wanted {t})" for key, t in TARGETS.items()]
    print(f"\nours, in one line: {', '.join(figures)}")


def speed(options):
    """Whole tuned fit on landmine (full) against LogisticRegressionCV and a mixed model."""
    problem = problems.load("landmine", options.shared).problem("full", 0)
    X, task, y, _, _ = problem.arrays()
    design = OneHotRidge().fit(X, task, y).design(X, task)

    def ours():
        from skmtl import MultiTaskClassifier

        MultiTaskClassifier("partial_pooling", task_column=problem.task_column).fit(
            problem.train, problem.y_train
        )

    functions = runnable(
        {
            OURS: ours,
            "one-hot LogisticRegressionCV": lambda: logistic(design, y),
            "gpboost_lmm_rs": lambda: PEERS["gpboost_lmm_rs"]().fit(X, task, y),
        }
    )
    medians = race(functions, {name: 5 if name == OURS else 3 for name in functions})
    for name, median in medians.items():
        report(f"{name}: fit", median)
    own = medians.pop(OURS, None)
    targets = {"one-hot LogisticRegressionCV": "> 1", "gpboost_lmm_rs": ">= 4"}
    for name, median in medians.items():
        report(f"{name} / {OURS}", ratio(median, own), "", f"wanted {targets[name]}")


def churn(options):
    """Simulated churn: tuned strengths against the best fixed ones, chosen with hindsight."""
    from skmtl import MultiTaskClassifier
    from skmtl.sharing import PartialPooling

    found = []
    for seed in range(5):
        X, task, y, X_test, task_test, y_test = problems.churn(seed)

        def loss(model, train=(X, y, task), test=(X_test, y_test, task_test)):
            fitted = model.fit(*train[:2], task=train[2])
            return log_loss(test[1], fitted.predict_proba(test[0], task=test[2])[:, 1])

        fixed = {}
        for slope, intercept in itertools.product(SLOPES, INTERCEPTS):
            sharing = PartialPooling(alpha=slope, alpha_intercept=intercept, alpha_shared=1.0)
            fixed[slope, intercept] = loss(MultiTaskClassifier(sharing, cv=None))
        best = min(fixed, key=fixed.get)
        found.append(
            {
                "one class only": (pd.Series(y).groupby(task).nunique() == 1).mean(),
                "tuned": loss(MultiTaskClassifier("partial_pooling")),
                "best fixed": fixed[best],
                "alpha": best[0],
                "alpha_intercept": best[1],
            }
        )
    table = pd.DataFrame(found).rename_axis("seed")
    table["ratio"] = table["tuned"] / table["best fixed"]
    print(table.to_string(float_format="{:.4f}".format))
    report("customers of one class only", table["one class only"].mean(), "", "about 1/3")
    report("tuned / best fixed, geometric mean", geometric_mean(table["ratio"]), "", "<= 1.02")


SECTIONS = {f.__name__: f for f in (accuracy, speed, churn)}


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--save", metavar="FILE.csv", help="write every measurement of accuracy")
    parser.add_argument("--reuse", metavar="FILE.csv", help="take the peers' figures from there")
    parser.add_argument("--time-limit", type=float, default=900, help="seconds a peer's fit (900)")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    return parser.parse_args()


def main():
    """Run the chosen sections."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
