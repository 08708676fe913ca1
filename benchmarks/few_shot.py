"""Few-shot classification: families with known structure, digits of unseen classes, real tables.

Run ``python benchmarks/few_shot.py --help``.
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
from measures import auc_macro, log_loss
from peers import CLASS_PEERS as PEERS
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

SHOTS = (5, 10, 20)
REAL_PEERS = ("pooled_linear", "onehot_linear", "gpboost_lmm")


def flat(X, y):
    """Rows of all tasks, one below the other, with the numbers of the tasks."""
    n_tasks, n, p = X.shape
    return X.reshape(-1, p), y.ravel(), np.repeat(np.arange(n_tasks), n)


def training_rows(data):
    """Support and query rows of the training tasks together."""
    return flat(np.concatenate([data["Xs"], data["Xq"]], 1), np.hstack([data["ys"], data["yq"]]))


def judge(model, data):
    """Accuracy of each test task after adaptation, and the mean log-loss; seconds a task."""
    accuracy, losses, start = [], [], time.perf_counter()
    for X, y, X_test, y_test in zip(*(data[k] for k in ("Xs", "ys", "Xq", "yq")), strict=True):
        adapted = model.adapt(X, y)
        found = np.searchsorted(adapted.classes_, y_test)
        probability = adapted.predict_proba(X_test)
        accuracy.append(np.mean(probability.argmax(1) == found))
        losses.append(-np.log(probability[np.arange(len(found)), found]).mean())
    return np.array(accuracy), np.mean(losses), (time.perf_counter() - start) / len(accuracy)


def scratch_accuracy(data):
    """Accuracy of scikit-learn's logistic regression on each test task's support rows alone."""
    out = []
    for X, y, X_test, y_test in zip(*(data[k] for k in ("Xs", "ys", "Xq", "yq")), strict=True):
        one = len(np.unique(y)) == 1
        found = y[0] if one else LogisticRegression(max_iter=1000).fit(X, y).predict(X_test)
        out.append(np.mean(found == y_test))
    return np.array(out)


def synthetic(options, name, draw):
    """Meta-train on a family's tasks and adapt to its test tasks, over seeds."""
    from skmtl import MetaLearnerClassifier

    rows = []
    for seed in range(options.seeds):
        train, test = draw(np.random.default_rng(seed))
        X, y, task = training_rows(train)
        start = time.perf_counter()
        model = MetaLearnerClassifier(options.learner).fit(X, y, task=task)
        seconds = time.perf_counter() - start
        accuracy, loss, each = judge(model, test)
        gap = accuracy - scratch_accuracy(test)
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        rows.append([accuracy.mean(), loss, gap.mean(), error, gap.mean() / error, seconds, each])
        print(name, seed, " ".join(f"{value:.4f}" for value in rows[-1]), flush=True)
    columns = ["accuracy", "log_loss", "gap to scratch", "s.e.", "gap / s.e.", "fit s", "adapt s"]
    print(pd.DataFrame(rows, columns=columns).mean().round(4).to_string(), "\n")


def subspace(options):
    """Two classes by slopes in a subspace; asked: accuracy >= 0.73, log-loss <= 0.53."""
    source = problems.generators("few_shot_families", options.shared)

    def draw(rng):
        U = source.subspace_basis(rng)
        return source.subspace(1000, 10, 10, rng, U), source.subspace(300, 10, 100, rng, U)

    synthetic(options, "subspace", draw)


def digits(options):
    """Unseen digits, 5 rows a class; asked: gap >= 0 on average, no seed below -3 s.e."""
    source = problems.generators("few_shot_families", options.shared)
    for way in (3, 2):

        def draw(rng, way=way):
            train = source.digits(1000, way, 5, 10, source.TRAIN_CLASSES, rng)
            return train, source.digits(300, way, 5, 15, source.TEST_CLASSES, rng)

        synthetic(options, f"digits {way}-way", draw)


def table(name, shared):
    """Features, classes and tasks of a real table; School's class is its top quartile."""
    problem = problems.load(name, shared).problem("full", 0)
    frame = pd.concat([problem.train, problem.test], ignore_index=True)
    y = np.concatenate([problem.y_train, problem.y_test])
    if name == "school":
        y = y >= np.quantile(y, 0.75)
    task = pd.factorize(frame[problem.task_column])[0]
    return frame.drop(columns=problem.task_column).to_numpy(float), y.astype(np.int64), task


def real(options):
    """Held-out tasks with 5, 10 and 20 rows; log-loss and AUC, paired over tasks with each peer."""
    from skmtl import MetaLearnerClassifier

    for name in ("landmine", "school"):
        X, y, task = table(name, options.shared)
        results = []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            fold = rng.permutation(task.max() + 1) % 5
            order = rng.permutation(len(y))
            for held in range(5):
                known = fold[task] != held
                Z = StandardScaler().fit(X[known]).transform(X)
                ours = MetaLearnerClassifier(options.learner).fit(
                    X[known], y[known], task=task[known]
                )
                for shots in SHOTS:
                    rank = pd.Series(task[order]).groupby(task[order]).cumcount().to_numpy()
                    support = order[(rank < shots) & ~known[order]]
                    query = order[(rank >= shots) & ~known[order]]
                    results += _few_rows(
                        (name, seed, shots), ours, X, Z, y, task, known, support, query, options
                    )
        frame = pd.DataFrame(
            results, columns=["set", "seed", "shots", "method", "task", "loss", "auc"]
        )
        _print_cells(frame)


def _few_rows(key, ours, X, Z, y, task, known, support, query, options):
    """Records of all methods on the held-out tasks of one fold."""
    probability = {"skmtl": np.empty(len(query)), "scratch": np.empty(len(query))}
    for t in np.unique(task[query]):
        s, q = support[task[support] == t], task[query] == t
        probability["skmtl"][q] = _second(ours.adapt(X[s], y[s]), X[query[q]])
        if len(np.unique(y[s])) == 2:
            alone = LogisticRegression(max_iter=1000).fit(Z[s], y[s])
            probability["scratch"][q] = alone.predict_proba(Z[query[q]])[:, 1]
        else:
            probability["scratch"][q] = (y[s].sum() + 1) / (len(s) + 2)
    rows = np.concatenate([np.flatnonzero(known), support])
    for peer in options.peers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PEERS[peer]().fit(Z[rows], task[rows], y[rows])
            probability[peer] = model.predict(Z[query], task[query])
    out = []
    for method, p in probability.items():
        for t in np.unique(task[query]):
            q = task[query] == t
            both = len(np.unique(y[query[q]])) == 2
            auc = auc_macro(y[query[q]], p[q], task[query[q]]) if both else np.nan
            out.append([*key, method, t, log_loss(y[query[q]], p[q]), auc])
    return out


def _second(model, X):
    """Probability of class 1 by an adapted model."""
    return model.predict_proba(X)[:, list(model.classes_).index(1)]


def _print_cells(frame):
    """Means of every cell, and ours less each peer's, paired over tasks, with standard errors."""
    for measure, sign in (("loss", 1.0), ("auc", -1.0)):
        wide = frame.pivot_table(
            index=["set", "shots", "seed", "task"], columns="method", values=measure
        )
        means = wide.groupby(level=["set", "shots"]).mean()
        print(measure, "\n", means.round(4).to_string())
        gaps = wide.drop(columns="skmtl").rsub(wide["skmtl"], axis=0) * sign
        grouped = gaps.groupby(level=["set", "shots"])
        error = grouped.std() / np.sqrt(grouped.count())
        print(f"ours less the peer's {measure} (below zero: better), and in standard errors")
        print(
            grouped.mean().round(4).to_string(),
            "\n",
            (grouped.mean() / error).round(2).to_string(),
            "\n",
        )


def _tasks_of_table(name, shared, rng):
    """Training rows of four fifths of a table's tasks; of the others 5, 10 or 20 known rows."""
    X, y, task = table(name, shared)
    held = rng.permutation(task.max() + 1) % 5 == 0
    order = rng.permutation(len(y))
    order = order[held[task[order]]]
    rank = pd.Series(task[order]).groupby(task[order]).cumcount().to_numpy()
    tests = []
    for shots in SHOTS:
        for t in np.flatnonzero(held):
            own = task[order] == t
            few, rest = order[own & (rank < shots)], order[own & (rank >= shots)]
            if len(rest):
                tests.append((f"{name} {shots}", t, X[few], y[few], X[rest], y[rest]))
    return (X[~held[task]], y[~held[task]], task[~held[task]]), tests


def _tasks_of_family(name, train, test):
    parts = zip(*(test[k] for k in ("Xs", "ys", "Xq", "yq")), strict=True)
    return training_rows(train), [(name, t, *part) for t, part in enumerate(parts)]


def bent(n_tasks, n_support, n_query, rng):
    """Numbers of a response that bends alike in all tasks, with levels and slopes of their own."""
    level, slope = rng.standard_normal(n_tasks), 0.5 * rng.standard_normal(n_tasks)
    Xs, Xq = (rng.uniform(-3, 3, (n_tasks, n, 4)) for n in (n_support, n_query))

    def label(X):
        shared = 2 * np.sin(2 * X[..., 0]) + X[..., 1] * X[..., 2]
        noise = 0.3 * rng.standard_normal(X.shape[:2])
        return shared + level[:, None] + slope[:, None] * X[..., 3] + noise

    return {"Xs": Xs, "ys": label(Xs), "Xq": Xq, "yq": label(Xq)}


def _estimator_problems(options, rng):
    """Yield training rows and test tasks of every problem of a seed."""
    source = problems.generators("few_shot_families", options.shared)
    n, m = options.tasks, max(options.tasks // 3, 30)
    for name in options.sets:
        if name == "subspace":
            U = source.subspace_basis(rng)
            both = source.subspace(n, 10, 10, rng, U), source.subspace(m, 10, 100, rng, U)
        elif name.startswith("digits"):
            way = int(name[-1])
            train = source.digits(n, way, 5, 10, source.TRAIN_CLASSES, rng)
            both = train, source.digits(m, way, 5, 15, source.TEST_CLASSES, rng)
        elif name in ("sinusoid", "bent"):
            draw = source.sinusoid if name == "sinusoid" else bent
            both = draw(n, 10, 10, rng), draw(m, 10, 100, rng)
        else:
            yield _tasks_of_table(name, options.shared, rng)
            continue
        yield _tasks_of_family(name, *both)


def _estimator_of(name, classes):
    forests = RandomForestRegressor, RandomForestClassifier
    boosted = HistGradientBoostingRegressor, HistGradientBoostingClassifier
    return {"forest": forests, "boosted": boosted}[name][classes](random_state=0)


def _loss(model, X, y, classes):
    """Squared error, or log-loss with probabilities of at least 1e-3, and the error rate."""
    if not classes:
        error = np.mean((model.predict(X) - y) ** 2)
        return error, error
    found = pd.Index(model.classes_).get_indexer(y)
    p = np.where(found < 0, 0.0, model.predict_proba(X)[np.arange(len(y)), found])
    return -np.log(np.maximum(p, 1e-3)).mean(), np.mean(model.predict(X) != y)


def estimator(options):
    """With a forest beside the default: against the default, forests from scratch, and pooled."""
    from skmtl import MetaLearnerClassifier, MetaLearnerRegressor

    records = []
    for seed in range(options.seeds):
        for (X, y, task), tests in _estimator_problems(options, np.random.default_rng(seed)):
            classes = y.dtype.kind != "f"
            face = MetaLearnerClassifier if classes else MetaLearnerRegressor
            start, forest = time.perf_counter(), _estimator_of(options.estimator, classes)
            ours = face(estimator=forest).fit(X, y, task=task)
            seconds = time.perf_counter() - start
            default = face().fit(X, y, task=task)
            shared = getattr(ours, "shared_classes_", True)
            pooled = clone(forest).fit(X, y) if shared else None
            for name, t, X_few, y_few, X_rest, y_rest in tests:
                scratch = clone(forest) if len(np.unique(y_few)) > 1 else DummyClassifier()
                models = {
                    "ours": ours.adapt(X_few, y_few),
                    "default": default.adapt(X_few, y_few),
                    "scratch": scratch.fit(X_few, y_few),
                }
                models |= {"pooled": pooled} if shared else {}
                for method, model in models.items():
                    records.append([name, seed, t, method, *_loss(model, X_rest, y_rest, classes)])
            report = pd.DataFrame(ours.member_report_).pivot_table(
                index="n_rows", columns="member", values="weight"
            )
            print(name, seed, f"{seconds:.1f} s", report.mean().round(2).to_dict(), flush=True)
    frame = pd.DataFrame(records, columns=["set", "seed", "task", "method", "loss", "error"])
    for measure in ("loss", "error"):
        # Tasks of a table are the same for every seed, those of a family are not.
        real = frame["set"].str.split().str[0].isin(["landmine", "school"])
        unit = frame["task"] + np.where(real, 0, 10**6 * frame["seed"])
        wide = frame.assign(unit=unit).pivot_table(
            index=["set", "unit"], columns="method", values=measure
        )
        gaps = wide.drop(columns="ours").rsub(wide["ours"], axis=0).groupby(level="set")
        error = gaps.std() / np.sqrt(gaps.count())
        print(f"\n{measure}: means; ours less the others' (below zero: better); standard errors")
        columns = [wide.groupby(level="set").mean(), gaps.mean(), gaps.mean() / error]
        print(pd.concat(columns, axis=1, keys=["mean", "gap", "in s.e."]).round(3).to_string())


SECTIONS = {f.__name__: f for f in (subspace, digits, real, estimator)}
SETS = "landmine", "school", "subspace", "digits 2", "digits 3", "sinusoid", "bent"


def main():
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds bench/, data/")
    parser.add_argument("--seeds", type=int, default=5, help="seeds, or repetitions (5)")
    parser.add_argument("--learner", default="auto", help="learner of ours (auto)")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, help="of estimator")
    parser.add_argument("--tasks", type=int, default=1000, help="training tasks of estimator's")
    parser.add_argument("--estimator", default="forest", choices=("forest", "boosted"))
    parser.add_argument("--peers", nargs="*", default=list(REAL_PEERS), choices=PEERS)
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    options = parser.parse_args()
    print(f"threads: {threads.COUNT}")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
