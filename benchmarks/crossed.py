"""Crossed groupings: lecturers and students, stores and customers, beside GPBoost's mixed model.

    python benchmarks/crossed.py                   # insteval, and a simulated design
    python benchmarks/crossed.py --only large      # a million rows: seconds and peak memory

The simulated designs have a random intercept per task and per rater, and slopes shared by all.
"oracle" is a fit with the true ratios of variances. Errors are mean squared errors on new rows, for
insteval over the variance of the target. Seconds are CPU seconds of the second of two fits.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import time
import warnings

import numpy as np
import pandas as pd
import problems
import sections
from measures import nmse
from measuring import MIB, peak, reset_peak, resident

from skmtl import MultiTaskRegressor
from skmtl.sharing import PartialPooling

# Variances of the tasks, of the raters and of the noise.
VARIANCES = {"task": 0.5, "rater": 0.3, "noise": 1.0}
N_FEATURES = 5

warnings.simplefilter("ignore")


def design(n_rows, n_tasks, n_raters, seed=0, n_test=20_000):
    """Return frames and targets to train and to test: ``X, y, X_test, y_test``."""
    rng = np.random.default_rng(seed)
    effects = {
        "task": np.sqrt(VARIANCES["task"]) * rng.normal(size=n_tasks),
        "rater": np.sqrt(VARIANCES["rater"]) * rng.normal(size=n_raters),
    }
    coef = 0.3 * rng.normal(size=N_FEATURES)

    def draw(n):
        frame = pd.DataFrame(rng.normal(size=(n, N_FEATURES)), columns=list("abcde"))
        y = frame.to_numpy() @ coef
        for name, values in effects.items():
            frame[name] = rng.integers(len(values), size=n)
            y = y + values[frame[name]]
        return frame, y

    X, y = draw(n_rows)
    y = y + np.sqrt(VARIANCES["noise"]) * rng.normal(size=n_rows)
    return X, y, *draw(n_test)


def gpboost_fit(X, y, groups):
    """Fit GPBoost's linear model with random intercepts; return what predicts."""
    import gpboost

    fixed = X.drop(columns=groups).to_numpy(float)
    design = np.column_stack([np.ones(len(fixed)), fixed])
    model = gpboost.GPModel(group_data=X[groups].to_numpy(), likelihood="gaussian")
    model.fit(y=y, X=design)

    def predict(X):
        fixed = X.drop(columns=groups).to_numpy(float)
        design = np.column_stack([np.ones(len(fixed)), fixed])
        return model.predict(group_data_pred=X[groups].to_numpy(), X_pred=design)["mu"]

    return predict


def methods(task, groups, oracle=None):
    """Return the methods to compare: functions of X and y that return what predicts."""

    def ours(sharing, columns, cv=5):
        def fit(X, y):
            model = MultiTaskRegressor(sharing, task_column=task, grouping_columns=columns, cv=cv)
            return model.fit(X, y).predict

        return fit

    found = {
        "auto": ours("auto", groups),
        "partial_pooling": ours("partial_pooling", groups),
    }
    if oracle is not None:
        pull, strengths = oracle
        fixed = PartialPooling(alpha=np.inf, alpha_intercept=pull, alpha_shared=0.0)
        found["oracle"] = ours(fixed, dict(zip(groups, strengths, strict=True)), cv=None)
    found["gpboost"] = lambda X, y: gpboost_fit(X, y, [task, *groups])
    return found


def measured(fit, X, y):
    """Return what predicts, and the CPU seconds of the second of two fits."""
    fit(X, y)
    start = time.process_time()
    predict = fit(X, y)
    return predict, time.process_time() - start


def simulated(options):
    """60,000 rows, 1,000 tasks crossed with 3,000 raters."""
    noise = VARIANCES["noise"]
    oracle = noise / VARIANCES["task"], [noise / VARIANCES["rater"]]
    table = []
    for seed in range(options.seeds):
        X, y, X_test, y_test = design(60_000, 1_000, 3_000, seed)
        for name, fit in methods("task", ["rater"], oracle).items():
            predict, seconds = measured(fit, X, y)
            # Of noisy labels, as users measure it.
            error = np.mean((y_test - predict(X_test)) ** 2) + noise
            table.append([name, error, seconds])
    show(table)


def insteval(options):
    """Ratings of lecturers by students, and the departments of the lecturers."""
    whole, table = problems.load("insteval", options.shared), []
    for regime in problems.REGIMES:
        for split in range(options.splits):
            problem = whole.problem(regime, split)
            X, _, y, X_test, _ = problem.raw()
            X, X_test = (frame.astype({"student": int, "dept": int}) for frame in (X, X_test))
            for name, fit in methods("lecturer", ["student", "dept"]).items():
                predict, seconds = measured(fit, X, y)
                table.append([f"{regime} {name}", nmse(problem.y_test, predict(X_test)), seconds])
    show(table)


def large(options):
    """A million rows, 10,000 tasks and 30,000 raters: wanted within 60 s and 4 GiB."""
    X, y, X_test, y_test = design(1_000_000, 10_000, 30_000)
    for sharing in ("partial_pooling", "auto"):
        before = resident()
        reset_peak()
        start = time.perf_counter()
        model = MultiTaskRegressor(sharing, task_column="task", grouping_columns="rater")
        model.fit(X, y)
        seconds = time.perf_counter() - start
        error = np.mean((y_test - model.predict(X_test)) ** 2) + VARIANCES["noise"]
        print(
            f"  {sharing}: {seconds:.1f} s, {(peak() - before) / MIB:.0f} MiB above the table, "
            f"error {error:.4f}, strengths {model.grouping_strengths_}",
            flush=True,
        )


def show(table):
    """Print mean errors and median seconds."""
    frame = pd.DataFrame(table, columns=["method", "error", "seconds"])
    groups = frame.groupby("method", sort=False)
    shown = pd.DataFrame({"error": groups["error"].mean(), "seconds": groups["seconds"].median()})
    print(shown.to_string(float_format="{:.4f}".format), flush=True)


SECTIONS = {"insteval": insteval, "simulated": simulated, "large": large}


def main():
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=["insteval", "simulated"], choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--splits", type=int, default=problems.N_SPLITS, help="of insteval (5)")
    parser.add_argument("--seeds", type=int, default=3, help="of the simulated design (3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
