"""What a report promises on tables of few distinct values, and what few balanced labels do.

Usage
-----
    python benchmarks/sound.py
    python benchmarks/sound.py --only few_labels --seeds 2

Simulated tables, ours alone: the figures are ratios to what the rows to come show, and to pooled
logistic regression.
"""

import threads  # isort: skip  # before numpy, which reads them

import argparse
import warnings

import numpy as np
import sections
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from skmtl import MetaLearnerClassifier, MultiTaskClassifier, MultiTaskRegressor

N_TASKS, N_ROWS, N_NEW_ROWS = 20, 60, 500
# Labels of each class in a support, base rate (in log-odds) and spread of the slopes.
SUPPORTS = [(5, -3.2, 0.4), (5, -3.2, 0.8), (5, -2.2, 0.4), (3, -3.2, 0.4), (10, -3.2, 0.4)]


def ratings(seed, kind, jitter):
    """Labels 1 to 5 of binary features or of ratings: rows to fit, and rows to come."""
    rng = np.random.default_rng(seed)
    low, high, p = (0, 2, 3) if kind == "binary" else (1, 6, 2)
    slopes, levels = 0.5 + 0.4 * rng.normal(size=(N_TASKS, p)), 0.7 * rng.normal(size=N_TASKS)
    tables = []
    for n in (N_ROWS, N_NEW_ROWS):
        task = np.repeat(np.arange(N_TASKS), n)
        X = rng.integers(low, high, (len(task), p)).astype(float)
        centred = X - (low + high - 1) / 2
        y = levels[task] + (centred * slopes[task]).sum(1) + rng.normal(size=len(task))
        X += jitter * rng.normal(size=X.shape)
        tables.append((X, np.clip(np.rint(y + 3.0), 1.0, 5.0), task))
    return tables


def report(options):
    """Error that the report promises over that of rows to come; honest is a few percent above 1."""
    for kind in ("binary", "ratings"):
        for jitter in (0.0, 1e-4):
            ratio = {"squared error": [], "log-loss": []}
            for seed in range(options.seeds or 20):
                (X, y, task), (X_new, y_new, task_new) = ratings(seed, kind, jitter)
                model = MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
                found = np.mean((model.predict(X_new, task=task_new) - y_new) ** 2)
                told = np.nanmean(model.task_report_["error_shared"][:-1])
                ratio["squared error"].append(told / found)
                model = MultiTaskClassifier("partial_pooling").fit(X, y > 3, task=task)
                found = log_loss(y_new > 3, model.predict_proba(X_new, task=task_new))
                told = np.nanmean(model.task_report_["error_shared"][:-1])
                ratio["log-loss"].append(told / found)
            for name, values in ratio.items():
                logs = np.log(values)
                error = logs.std(ddof=1) / np.sqrt(len(logs))
                mean = np.exp(logs.mean())
                print(f"{kind:8} jitter {jitter:g} {name:14} {mean:.4f} +- {error:.4f}", flush=True)


def rare(seed, base, spread, n_tasks=200, n_new=30, rows=40, p=6):
    """Tasks with few positives: a table of them, and new ones."""
    rng = np.random.default_rng(seed)
    shared, tasks = 0.7 * rng.normal(size=p), []
    for t in range(n_tasks + n_new):
        level, slopes = base + 0.4 * rng.normal(), shared + spread * rng.normal(size=p)
        X = rng.normal(size=(rows if t < n_tasks else 4000, p))
        tasks.append((X, (level + X @ slopes + rng.logistic(size=len(X)) > 0).astype(int)))
    X, y = (np.concatenate(parts) for parts in zip(*tasks[:n_tasks], strict=True))
    return X, y, np.repeat(np.arange(n_tasks), rows), tasks[n_tasks:]


def few_labels(options):
    """New tasks with as many labels of each class: log-loss over that of pooled, AUC less its."""
    for shots, base, spread in SUPPORTS:
        found = {face.__name__: [] for face in (MultiTaskClassifier, MetaLearnerClassifier)}
        for seed in range(options.seeds or 2):
            X, y, task, new = rare(seed, base, spread)
            pooled = LogisticRegression().fit(X, y)
            models = [
                MultiTaskClassifier("partial_pooling").fit(X, y, task=task),
                MetaLearnerClassifier(random_state=0).fit(X, y, task=task),
            ]
            for A, b in new:
                chosen = np.r_[tuple(np.flatnonzero(b[:2000] == c)[:shots] for c in (0, 1))]
                if len(chosen) < 2 * shots:
                    continue
                A_new, b_new = A[2000:], b[2000:]
                q = pooled.predict_proba(A_new)[:, 1]
                for model in models:
                    p = model.adapt(A[chosen], b[chosen]).predict_proba(A_new)[:, 1]
                    found[type(model).__name__].append(
                        [log_loss(b_new, p), log_loss(b_new, q),
                         roc_auc_score(b_new, p) - roc_auc_score(b_new, q)]
                    )  # fmt: skip
        for name, rows in found.items():
            ours, theirs, auc = np.mean(rows, axis=0)
            print(
                f"{shots} + {shots}, base {base}, spread {spread}: {name:22} "
                f"log-loss {ours / theirs:.3f} (wanted <= 1.05)  AUC {auc:+.4f} (>= -0.005)",
                flush=True,
            )


SECTIONS = {f.__name__: f for f in (report, few_labels)}


def main():
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--seeds", type=int, default=None, help="report: 20, few_labels: 2")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    warnings.simplefilter("ignore")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
