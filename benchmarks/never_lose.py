"""Every table, regime and split: ours over the best peer of each cell, chosen with hindsight.

Run ``python benchmarks/never_lose.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import ast
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import problems
from measures import (
    CELL,
    auc_macro,
    calibration_error,
    cell_table,
    geometric_mean,
    log_loss,
    log_loss_macro,
    nmse,
    nmse_macro,
    paired_gaps,
)
from measuring import isolated
from peers import ALL_PEERS, CLASS_PEERS
from sklearn.metrics import roc_auc_score
from table_peers import FRAME_PEERS, GPBoostCrossed

# Our configurations: what differs from a face with a task column and preprocessor="auto". The
# first has linear models only, beside which the others, "auto" the default, are judged, too.
OURS = {"linear": {"sharing": "partial_pooling"}, "auto": {"sharing": "auto"}}
BASE = "linear"
LINEAR = ("pooled_linear", "onehot_linear", "pertask_linear")
PEERS = (*LINEAR, *FRAME_PEERS)
MORE_PEERS = {"gpboost_lmm_rs": partial(GPBoostCrossed, n_slopes=5)}  # only if named
CLOCK = "lgbm_cat_es"  # the peer beside whose seconds ours are shown
SECONDS_FOR_RATIO = 2.0
# A shorter fit is repeated, for its first run may be mostly imports or, for ours, the loading of
# compiled kernels.
REPEAT_BELOW, REPEAT_OURS_BELOW = 0.5, 20.0
CLASS_SETS = (*problems.CLASS_SETS, *problems.SIMULATED_SETS)
# Of ours over the best peer: geometric mean and worst cell.
GOALS = {
    "nmse": (1.00, 1.05),
    "nmse_macro": (1.01, 1.08),
    "logloss": (0.995, 1.05),
    "logloss_macro": (1.01, 1.08),
}
MORE_MEASURES = ["auc", "auc_macro", "calibration"]  # of classifiers: shown, not judged
MEASURES = [*GOALS, *MORE_MEASURES]
KEY = ["set", "variant", "split", "method"]
COLUMNS = [*KEY, *MEASURES, "seconds", "error"]


class Ours:
    """One of our faces, given the table as it comes."""

    takes = "raw"

    def __init__(self, task_column, classifier, options):
        import skmtl  # here, so that no fit is timed with its import

        face = skmtl.MultiTaskClassifier if classifier else skmtl.MultiTaskRegressor
        self.classifier = classifier
        self.model_ = face(task_column=task_column, preprocessor="auto", **options)

    def fit(self, X, task, y):
        """Fit to the frame X, which has the tasks, and the target."""
        self.model_.fit(X, y)
        return self

    def predict(self, X, task):
        """Predict the mean, or the probability of class 1, of each row."""
        return self.model_.predict_proba(X)[:, 1] if self.classifier else self.model_.predict(X)


def maker(method, problem, ours):
    """Return what makes a method for a problem, and the kind of X that it takes."""
    classifier = problem.is_classification
    if method in ours:
        return partial(Ours, problem.task_column, classifier, ours[method]), Ours.takes
    if method in LINEAR:
        return (CLASS_PEERS if classifier else ALL_PEERS)[method], "arrays"
    return partial((FRAME_PEERS | MORE_PEERS)[method], classifier), "frames"


def fit_and_predict(make, arguments, repeat_below):
    """Return the predictions of a method and the seconds of its fit alone."""
    *train, X_test, task_test = arguments
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, seconds = timed_fit(make, train)
        if seconds < repeat_below:
            model, seconds = timed_fit(make, train)
        return model.predict(X_test, task_test), seconds


def timed_fit(make, train):
    """Return a fitted method and its CPU seconds: hours of runs seldom find a quiet machine."""
    model = make()
    start = time.process_time()
    model.fit(*train)
    return model, time.process_time() - start


def errors_of(problem, prediction):
    """Return the measures of predictions on a problem, in the order of `MEASURES`."""
    y, task = problem.y_test, problem.task_test
    found = dict.fromkeys(MEASURES, np.nan)
    if problem.is_classification:
        found["logloss"] = log_loss(y, prediction)
        found["logloss_macro"] = log_loss_macro(y, prediction, task)
        found["auc"] = roc_auc_score(y, prediction)
        found["auc_macro"] = auc_macro(y, prediction, task)
        found["calibration"] = calibration_error(y, prediction)
    else:
        found |= {"nmse": nmse(y, prediction), "nmse_macro": nmse_macro(y, prediction, task)}
    return list(found.values())


def measure(problem, method, ours, time_limit):
    """Return the record of a method on a problem; print it too."""
    make, kind = maker(method, problem, ours)
    repeat_below = REPEAT_OURS_BELOW if method in ours else REPEAT_BELOW
    arguments = make, problem.given(kind), repeat_below
    result, error = isolated(fit_and_predict, arguments, time_limit)
    prediction, seconds = result or (None, np.nan)
    figures = [np.nan] * len(MEASURES)
    if prediction is not None and np.isfinite(prediction).all():
        figures = errors_of(problem, prediction)
    elif prediction is not None:
        error = "predictions are not finite"
    key = [problem.table.name, problem.regime, problem.split, method]
    shown = " ".join(f"{figure:.5f}" for figure in figures if np.isfinite(figure))
    print(f"{' '.join(map(str, key))}: {shown} {seconds:.2f} s {error}", flush=True)
    return [*key, *figures, seconds, " ".join(error.split())]


class Records:
    """The records by set, regime, split and method, of an earlier run and of this one."""

    def __init__(self, reuse, save, anew):
        self.rows = {}
        if reuse:
            earlier = pd.read_csv(reuse, dtype={"error": str}).reindex(columns=COLUMNS)
            earlier["error"] = earlier["error"].fillna("")
            for row in earlier.itertuples(index=False, name=None):
                if row[3] not in anew:
                    self.rows[row[:4]] = list(row)
        self.save = save
        same = save and reuse and Path(save).exists() and Path(save).samefile(reuse)
        if save and not same:
            self.table().to_csv(save, index=False)

    def add(self, row):
        """Add a record and append it to the file: a run that ends early loses nothing."""
        self.rows[tuple(row[:4])] = row
        if self.save:
            frame = pd.DataFrame([row], columns=COLUMNS)
            frame.to_csv(self.save, mode="a", header=False, index=False)

    def table(self):
        """Return all records as a data frame."""
        return pd.DataFrame(list(self.rows.values()), columns=COLUMNS)


def measure_all(options, records):
    """Measure what the records do not have yet: problem by problem, one process at a time."""
    methods = [*options.peers, *options.ours]
    slow, compiled = Counter(), set()
    wanted = [options.sets, options.regimes, options.splits, options.shared]
    for problem in problems.iterate(*wanted):
        cell = problem.table.name, problem.regime
        for method in methods:
            key = (*cell, problem.split, method)
            if key in records.rows:
                if method not in options.ours:
                    slow[*cell, method] += records.rows[key][-2] > options.slow
                continue
            if slow[*cell, method] >= 2:
                reason = f"skipped: two fits took more than {options.slow:g} s"
                records.add([*key, *[np.nan] * (len(MEASURES) + 1), reason])
                continue
            if method in options.ours and (method, problem.is_classification) not in compiled:
                # Kernels are compiled by the first fit after an installation, which does not count.
                measure(problem, method, options.ours, options.time_limit)
                compiled.add((method, problem.is_classification))
            row = measure(problem, method, options.ours, options.time_limit)
            records.add(row)
            if method not in options.ours:
                too_long = row[-1].startswith("no result within")
                slow[*cell, method] += row[-2] > options.slow or too_long


# ------------------------------------------------------------------------------------- figures


def judge(records, metric, method, peers):
    """Return, cell by cell, a method's error, the best peer and its error, their ratio and gap.

    `gap / se` is the mean gap over the splits in its own standard errors.
    """
    base = metric.removesuffix("_macro")
    cells = cell_table(records, metric, base).reindex(columns=[*peers, method])
    cells = cells[cells[peers].notna().any(axis=1)]
    best = cells[peers].idxmin(axis=1)
    table = pd.DataFrame({"best peer": best, "its error": cells[peers].min(axis=1)})
    table[method] = cells[method]
    table["ratio"] = table[method] / table["its error"]
    gaps = paired_gaps(records, metric, method, best)
    table["gap / se"] = gaps["gap"] / gaps["se"]
    return table.rename_axis(CELL)


def lost_cells(table, limit):
    """Return the cells whose ratio exceeds a limit, and whose gap is beyond two standard errors.

    Without a standard error, the ratio alone decides.
    """
    return table[(table["ratio"] > limit) & ~(table["gap / se"] <= 2.0)]


def summary_line(metric, method, table):
    """Return the geometric mean and the worst cell of a method, with their goals."""
    mean_goal, worst_goal = GOALS[metric]
    known = table["ratio"].dropna()
    if known.empty:
        return f"{method}, {metric}: missing in all {len(table)} cells"
    lost = [" ".join(cell) for cell in lost_cells(table, worst_goal).index]
    return (
        f"{method}, {metric}: geometric mean {geometric_mean(known):.4f} (goal <= {mean_goal}), "
        f"worst cell {known.max():.4f} {' '.join(known.idxmax())} (goal <= {worst_goal}), beyond "
        f"it and two standard errors: {', '.join(lost) or 'none'}; cells {len(known)}/{len(table)}"
    )


def beside_base(records, metric, method):
    """Print the geometric mean of a method over the linear models, and the cells that it loses."""
    table = judge(records, metric, method, [BASE])
    known = table["ratio"].dropna()
    if known.empty:
        return
    worse = [" ".join(cell) for cell in lost_cells(table, 1.0).index]
    print(
        f"{method} over {BASE}, {metric}: geometric mean {geometric_mean(known):.4f}, worst cell "
        f"{known.max():.4f}; worse by more than two standard errors: {', '.join(worse) or 'none'}"
    )


def mean_ranks(records, methods):
    """Return the mean rank of each method over the cells of all tables; a missing one is last."""
    errors = records.assign(error_=records["nmse"].fillna(records["logloss"]))
    cells = cell_table(errors, "error_", "error_").reindex(columns=methods)
    cells = cells.dropna(axis=1, how="all").dropna(how="all")
    table = pd.DataFrame({"mean rank": cells.rank(axis=1, na_option="bottom").mean()})
    table["cells"] = cells.notna().sum()
    return table.sort_values("mean rank")


def time_table(records, method):
    """Return seconds of a method's fit beside the clock's, and the ratio where that is slow."""
    table = cell_table(records, "seconds", "seconds").reindex(columns=[method, CLOCK])
    slow = table[CLOCK] > SECONDS_FOR_RATIO
    table["ratio"] = (table[method] / table[CLOCK]).where(slow)
    return table.rename_axis(CELL)


def shown(table):
    """Return a table as text."""
    return table.to_string(float_format="{:.4f}".format)


def print_figures(records, peers, ours):
    """Print every measure cell by cell, then what is missing, ranks, times and the summary."""
    lines, timed = [], records
    records = records[records["method"].isin([*peers, *ours])]
    for metric in GOALS:
        some = records[records["set"].isin(CLASS_SETS) == metric.startswith("logloss")]
        base = metric.removesuffix("_macro")
        if some[some["method"].isin(peers)][metric].isna().all():  # no rows, or all tasks are tiny
            continue
        print(f"\n{metric}: mean over splits\n{shown(cell_table(some, metric, base))}")
        for method in ours:
            table = judge(some, metric, method, peers)
            print(f"\n{metric} of {method} beside the best peer of each cell\n{shown(table)}")
            lines.append(summary_line(metric, method, table))
    some = records[records["set"].isin(CLASS_SETS)]
    for metric in MORE_MEASURES if len(some) else ():
        print(f"\n{metric}: mean over splits\n{shown(cell_table(some, metric, 'logloss'))}")
    print_missing(records)
    print(f"\nmean rank, nmse or logloss\n{shown(mean_ranks(records, [*peers, *ours]))}")
    for method in ours:
        table = time_table(timed, method)
        print(f"\nseconds of {method}'s fit; ratio where {CLOCK} takes more than 2 s")
        print(shown(table))
        if table["ratio"].notna().any():
            mean, worst = geometric_mean(table["ratio"]), table["ratio"].max()
            lines.append(
                f"{method}, seconds / {CLOCK}'s where that is slow: geometric mean {mean:.2f}, "
                f"worst cell {worst:.2f}"
            )
        short = table.loc[table["ratio"].isna(), method].max()
        lines.append(f"{method}, seconds in the other cells: at most {short:.2f}")
    print()
    for line in lines:
        print(line)
    for method in [name for name in ours if name != BASE]:
        for metric in GOALS:
            some = records[records["set"].isin(CLASS_SETS) == metric.startswith("log")]
            if BASE in ours and some[some["method"] == BASE][metric].notna().any():
                beside_base(some, metric, method)


def print_missing(records):
    """Print what is missing and why, equal reasons together."""
    failed = records[records["nmse"].isna() & records["logloss"].isna()]
    for (method, reason), rows in failed.groupby(["method", "error"], sort=False):
        names = [f"{r.set} {r.variant} {r.split}" for r in rows.itertuples()]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"missing: {method} on {', '.join(names[:3])}{more}: {reason}")


# ------------------------------------------------------------------------------------ command


def configuration(text):
    """Read ``NAME``, one of `OURS`, or ``NAME=sharing='graph', cv=3``: name and parameters."""
    name, _, parameters = text.partition("=")
    if not parameters:
        if name not in OURS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(OURS)}")
        return name, OURS[name]
    try:
        call = ast.parse(f"f({parameters})", mode="eval").body
        return name, {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"{parameters!r} are no keyword arguments with literal values: {error}"
        ) from None


def parse_arguments():
    """Return the command line's options."""
    sets, peers = list(problems.ALL_SETS), list(PEERS)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    every = [*sets, *problems.SIMULATED_SETS]
    parser.add_argument("--sets", nargs="+", default=sets, choices=every)
    parser.add_argument("--regimes", nargs="+", default=problems.REGIMES, choices=problems.REGIMES)
    parser.add_argument("--splits", type=int, default=problems.N_SPLITS, help="first N splits (5)")
    parser.add_argument("--peers", nargs="*", default=peers, choices=[*PEERS, *MORE_PEERS])
    parser.add_argument(
        "--ours",
        nargs="*",
        type=configuration,
        metavar="NAME[=PARAMETERS]",
        help="our configurations, measured anew even with --reuse (all of OURS, not anew)",
    )
    parser.add_argument("--save", metavar="FILE.csv", help="append every measurement at once")
    parser.add_argument("--reuse", metavar="FILE.csv", help="take figures from there")
    parser.add_argument("--time-limit", type=float, default=900, help="seconds of a process (900)")
    parser.add_argument("--slow", type=float, default=200, help="two such fits end a peer's cell")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    return parser.parse_args()


def main():
    """Measure, save and print."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}")
    anew = {name for name, _ in options.ours or ()}
    options.ours = OURS if options.ours is None else dict(options.ours)
    records = Records(options.reuse, options.save, anew)
    measure_all(options, records)
    table = records.table()
    ours = [name for name in OURS if name in set(table["method"])]
    ours += [name for name in options.ours if name not in ours]
    methods = [*options.peers, *ours, CLOCK]  # which is in the table of times in any case
    asked = table["set"].isin(options.sets) & table["variant"].isin(options.regimes)
    table = table[asked & (table["split"] < options.splits) & table["method"].isin(methods)]
    order = {name: position for position, name in enumerate(options.sets)}
    table = table.sort_values("set", key=lambda names: names.map(order), kind="stable")
    print_figures(table, options.peers, ours)


if __name__ == "__main__":
    main()
