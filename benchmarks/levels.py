"""Levels above the tasks: stores in regions, beside the flat model and GPBoost's nested effects.

    python benchmarks/levels.py                     # simulated stores, and groups without meaning
    python benchmarks/levels.py --only irrelevant --sharing auto

"irrelevant" gives the tasks of the real tables random groups; errors are those of the tree over
those of the flat model on the same rows, and should not exceed 1.005. "retail" has states and
industries that cross. "simulated" has stores in regions, with intercepts and slopes of both; errors
are mean squared errors of known stores and of new stores in known regions, over those of the flat
model. Seconds are CPU seconds.
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
from crossed import gpboost_fit

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import TaskTree

warnings.simplefilter("ignore")

# Tables with enough tasks for groups of tasks.
GROUPED = (
    "school",
    "hsb82",
    "radon",
    "sleepstudy",
    "parkinsons_voice",
    "landmine",
    "contraception",
)
# Standard deviations: of the intercepts and slopes of regions and of stores, and of the noise.
DESIGNS = {
    "regions and stores": (1.0, 0.5, 0.5, 0.3),
    "intercepts of regions": (1.0, 0.0, 0.5, 0.3),
    "slopes of regions": (0.3, 0.7, 0.3, 0.1),
    "weak regions": (0.3, 0.1, 1.0, 0.1),
    "no regions": (0.0, 0.0, 1.0, 0.3),
}
N_FEATURES, N_REGIONS, N_STORES, N_ROWS = 3, 20, 10, 12


def loss_of(model, X, y):
    """Return the mean squared error, or the log-loss."""
    if hasattr(model, "predict_proba"):
        p = np.clip(model.predict_proba(X)[:, 1], 1e-12, 1 - 1e-12)
        return -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))
    return np.mean((y - model.predict(X)) ** 2)


def fitted(sharing, X, y, task_column, kind=MultiTaskRegressor):
    """Return a fitted model, and its CPU seconds."""
    start = time.process_time()
    model = kind(sharing, task_column=task_column).fit(X, y)
    return model, time.process_time() - start


def pair_of(options):
    """Return the flat structure and that with levels."""
    return ("auto", "auto") if options.sharing == "auto" else ("partial_pooling", TaskTree())


def irrelevant(options):
    """Random groups of the tasks of real tables: error of the tree / error of the flat model."""
    flat, tree = pair_of(options)
    for name in GROUPED:
        table, rows = problems.load(name, options.shared), []
        kind = MultiTaskClassifier if table.is_classification else MultiTaskRegressor
        for regime in problems.REGIMES:
            for split in range(options.splits):
                problem, rng = table.problem(regime, split), np.random.default_rng(split)
                labels = np.unique(table.raw[table.task_column])
                n_groups = max(3, round(np.sqrt(len(labels))))
                group = dict(zip(labels, rng.integers(n_groups, size=len(labels)), strict=True))
                errors = []
                for structure, levels in ((flat, False), (tree, True)):
                    X, X_test = problem.train, problem.test
                    column = problem.task_column
                    if levels:
                        X, X_test = (x.assign(group=x[column].map(group)) for x in (X, X_test))
                        column = ["group", column]
                    model, _ = fitted(structure, X, problem.y_train, column, kind)
                    errors.append(loss_of(model, X_test, problem.y_test))
                rows.append([regime, errors[1] / errors[0]])
        frame = pd.DataFrame(rows, columns=["regime", "ratio"]).groupby("regime", sort=False)
        cells = [
            f"{r} {part['ratio'].mean():.4f} (worst {part['ratio'].max():.3f})" for r, part in frame
        ]
        print(f"  {name}: {', '.join(cells)}", flush=True)


def retail(options):
    """States and industries, which cross: error of the tree / error of the flat model."""
    flat, tree = pair_of(options)
    table = problems.load("aus_retail", options.shared)
    raw = table.raw.drop(columns=table.task_column)
    for regime in problems.REGIMES:
        ratios = []
        for split in range(options.splits):
            problem = table.problem(regime, split)
            X, X_test = (raw.iloc[rows] for rows in (problem.train_rows, problem.test_rows))
            errors = []
            for structure in (flat, tree):
                kind = MultiTaskRegressor(
                    structure, task_column=["State", "Industry"], preprocessor="auto"
                )
                model = kind.fit(X, problem.y_train)
                errors.append(loss_of(model, X_test, problem.y_test))
            ratios.append(errors[1] / errors[0])
        print(f"  {regime} {np.mean(ratios):.4f} (worst {max(ratios):.3f})", flush=True)


def stores(design, seed):
    """Return a frame, the targets, their means without noise, and masks of three kinds of rows."""
    rng = np.random.default_rng(seed)
    sd = DESIGNS[design]
    region = np.repeat(np.arange(N_REGIONS), N_STORES)
    n_tasks = len(region)
    level = sd[0] * rng.normal(size=N_REGIONS)[region] + sd[2] * rng.normal(size=n_tasks)
    slopes = rng.normal(size=N_FEATURES) + sd[3] * rng.normal(size=(n_tasks, N_FEATURES))
    slopes = slopes + sd[1] * rng.normal(size=(N_REGIONS, N_FEATURES))[region]
    store = np.repeat(np.arange(n_tasks), N_ROWS)
    frame = pd.DataFrame(rng.normal(size=(len(store), N_FEATURES)), columns=list("abc"))
    mean = level[store] + (frame.to_numpy() * slopes[store]).sum(axis=1)
    frame["region"], frame["store"] = region[store], store
    is_new = store % N_STORES == 0
    test = (rng.random(len(store)) < 0.3) & ~is_new
    return frame, mean + rng.normal(size=len(store)), mean, (~is_new & ~test, test, is_new)


def simulated(options):
    """Stores in regions: errors on known and new stores / those of the flat model, seconds."""
    for design in DESIGNS:
        found = []
        for seed in range(options.seeds):
            X, y, mean, (train, test, new) = stores(design, seed)
            row, seconds = [], []
            for sharing in ("partial_pooling", TaskTree()):
                model, spent = fitted(sharing, X[train], y[train], ["region", "store"])
                row += [np.mean((mean - model.predict(X))[rows] ** 2) for rows in (test, new)]
                seconds.append(spent)
            if options.gpboost:
                start = time.process_time()
                predict = gpboost_fit(X[train], y[train], ["region", "store"])
                row += [np.mean((mean - predict(X))[rows] ** 2) for rows in (test, new)]
                seconds.append(time.process_time() - start)
            found.append([*row, *seconds])
        row = np.mean(found, axis=0)
        text = f"tree known {row[2] / row[0]:.3f} new {row[3] / row[1]:.3f}"
        if options.gpboost:
            text += f"; GPBoost known {row[4] / row[0]:.3f} new {row[5] / row[1]:.3f}"
        seconds = ", ".join(f"{s:.2f}" for s in row[6 if options.gpboost else 4 :])
        print(f"  {design}: {text}; seconds {seconds}", flush=True)


SECTIONS = {"simulated": simulated, "irrelevant": irrelevant, "retail": retail}


def main():
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds data/")
    parser.add_argument("--splits", type=int, default=problems.N_SPLITS, help="of real tables (5)")
    parser.add_argument("--seeds", type=int, default=5, help="of the simulated designs (5)")
    parser.add_argument("--sharing", default="tree", choices=["tree", "auto"])
    parser.add_argument("--gpboost", action="store_true", help="with GPBoost's nested intercepts")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
