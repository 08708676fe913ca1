"""Transfer: help from sources for one target, beside the same estimator without it.

Run ``python benchmarks/transfer.py --help``.
"""

from __future__ import annotations

import threads  # isort: skip  before numpy loads
import argparse
import ast
import time
import warnings
from functools import cache, partial

import numpy as np
import pandas as pd
import problems
import sections
import transfer_cost
from measures import geometric_mean, nmse
from peers import ALPHAS
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)  # fmt: skip
from sklearn.linear_model import Lasso, LassoCV, LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss

TARGET_ONLY, SOURCE_ONLY, POOLED, ONE_HOT = "target only", "source only", "pooled*", "one-hot"
REFERENCES = (TARGET_ONLY, SOURCE_ONLY, POOLED, ONE_HOT)
HARMFUL = (0, 1, 2, 4, 8)
# Number of informative sources -> mean RMSE asked for.
INFORMATIVE = {20: 1.13, 12: 1.10, 4: 1.17, 0: 1.20}


# ------------------------------------------------------------------------------------------------
# Methods


@cache
def is_known(name):
    """Whether there is an adaptation of this name; says so, once, where there is none."""
    from skmtl.adaptation import BY_NAME

    if name not in BY_NAME:
        print(f"  missing: adaptation {name!r}: there is none of this name", flush=True)
    return name in BY_NAME


def make_adaptation(text):
    """The object that ``name`` or ``name:parameter=value,...`` stands for; None if unknown."""
    from skmtl.adaptation import BY_NAME

    name, _, parameters = text.partition(":")
    if not is_known(name):
        return None
    pairs = [pair.split("=") for pair in parameters.split(",") if pair]
    return BY_NAME[name](**{key: ast.literal_eval(value) for key, value in pairs})


def adaptations(options, also=()):
    """The adaptations asked for, by how they were written; those that are not there are left out.

    `also` are names that belong to a section whatever was asked for.
    """
    from skmtl import TransferEstimator

    asked = options.adaptation or [TransferEstimator().adaptation]
    made = {text: make_adaptation(text) for text in [*asked, *also]}
    return {text: adaptation for text, adaptation in made.items() if adaptation is not None}


def indicators(problem):
    """Features of source, target and test rows beside the one-hot source, the target's last."""
    n_groups = problem["gs"].max() + 2
    groups = (problem["gs"], n_groups - 1, n_groups - 1)
    parts = []
    for X, group in zip((problem[key] for key in ("Xs", "Xt", "Xe")), groups, strict=True):
        one_hot = np.zeros((len(X), n_groups))
        one_hot[np.arange(len(X)), group] = 1.0
        parts.append(np.hstack([X, one_hot]))
    return parts


def asked(model, X):
    """Predictions: probabilities of a class, where it is judged by these."""
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def predict_reference(name, base, problem, ask):
    """Predictions of the test rows without any adaptation."""
    Xs, Xt, Xe, ys, yt = (problem[key] for key in ("Xs", "Xt", "Xe", "ys", "yt"))
    if name == ONE_HOT:
        Xs, Xt, Xe = indicators(problem)
    if name == TARGET_ONLY:
        X, y = Xt, yt
    elif name == SOURCE_ONLY:
        X, y = Xs, ys
    else:
        X, y = np.vstack([Xs, Xt]), np.concatenate([ys, yt])
    return ask(clone(base).fit(X, y), Xe)


def predict_ours(adaptation, base, problem, options, ask):
    """Predictions of the test rows by TransferEstimator, and the CPU seconds of its fit."""
    from skmtl import Source, TransferEstimator, Unlabeled

    source = Source(problem["Xs"], problem["ys"], task=problem["gs"])
    # Features of the test rows are what target rows without labels there are.
    wanted = adaptation.needs_unlabeled or options.unlabeled
    unlabeled = Unlabeled(problem["Xe"]) if wanted else None
    model = TransferEstimator(
        clone(base), source=source, adaptation=adaptation, unlabeled=unlabeled
    )
    start = time.process_time()
    model.fit(problem["Xt"], problem["yt"])
    seconds = time.process_time() - start
    return ask(model, problem["Xe"]), seconds


def measure(drawn, base, options, error, references=(TARGET_ONLY, POOLED), also=(),
            ask=lambda model, X: model.predict(X)):  # fmt: skip
    """Errors and CPU seconds of fits, a row a problem and a column a method.

    Parameters
    ----------
    drawn : list of dict
        Problems.
    base : estimator
        The same for all methods.
    error : callable
        Of true and predicted values of the test rows.
    references : names of REFERENCES
    also : names of adaptations
        Beside those asked for.
    ask : callable
        Of a fitted model and rows: what `error` is given.
    """
    errors, seconds = [], []
    found, failed = adaptations(options, also), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: of all methods alike
        for problem in drawn:
            row = {
                r: error(problem["ye"], predict_reference(r, base, problem, ask))
                for r in references
            }
            taken = {}
            for name, adaptation in found.items():
                if name in failed:
                    continue
                try:
                    prediction, taken[name] = predict_ours(adaptation, base, problem, options, ask)
                except Exception as reason:  # a failed method is a result
                    print(f"  missing: {name}: {type(reason).__name__}: {reason}", flush=True)
                    failed.add(name)
                else:
                    row[name] = error(problem["ye"], prediction)
            errors.append(row)
            seconds.append(taken)
    # A method that failed once is missing: a mean over other problems would not compare.
    errors = pd.DataFrame(errors).drop(columns=list(failed), errors="ignore")
    return errors, pd.DataFrame(seconds).drop(columns=list(failed), errors="ignore")


def rmse(y, prediction):
    """Root of the mean squared error."""
    return np.sqrt(np.mean((y - prediction) ** 2))


def error_rate(y, prediction):
    """Share of wrong classes."""
    return np.mean(y != prediction)


def show(table, digits=3):
    """Print a table."""
    print(table.round(digits).to_string(), "\n", flush=True)


def ours_of(errors):
    """The columns that are adaptations."""
    return [name for name in errors if name not in REFERENCES]


# ------------------------------------------------------------------------------------------------
# Sections


def estimators():
    """Name -> estimator, error and what the error is of; classifiers by their log-loss."""
    of_numbers = (rmse, lambda model, X: model.predict(X))
    of_classes = (log_loss, asked)
    forest = {"n_estimators": 50, "random_state": 0}
    return {
        "Ridge": (Ridge(), *of_numbers),
        "Lasso": (Lasso(0.1), *of_numbers),
        "LogisticRegression": (LogisticRegression(), *of_classes),
        "HistGradientBoostingRegressor": (HistGradientBoostingRegressor(), *of_numbers),
        "RandomForestRegressor": (RandomForestRegressor(**forest), *of_numbers),
        "HistGradientBoostingClassifier": (HistGradientBoostingClassifier(), *of_classes),
        "RandomForestClassifier": (RandomForestClassifier(**forest), *of_classes),
    }


def draw_for(error, drawn):
    """The problems, as classes where they are judged so."""
    return drawn if error is rmse else list(filter(None, map(as_classes, drawn)))


def negative(options):
    """Two good sources and some harmful ones: mean error over that of the target alone."""
    draw = problems.generators("transfer_problems", options.shared).negative_transfer
    reps = options.reps or 50
    for name in options.estimator:
        base, error, ask = estimators()[name]
        for seed in options.seeds:
            ratios, seconds = {}, {}
            for n_harmful in options.harmful:
                drawn = draw_for(error, draw(n_harmful, reps, seed=seed))
                errors, taken = measure(drawn, base, options, error, ask=ask)
                mean = errors.mean()
                ratios[n_harmful] = mean / mean[TARGET_ONLY]
                seconds[n_harmful] = taken.mean()
            print(f"  seed {seed}, {reps} repetitions, {base}; rows: harmful sources")
            table = pd.DataFrame.from_dict(ratios, orient="index").drop(columns=TARGET_ONLY)
            show(table)
            rows = table[ours_of(table)].T
            none, worst = rows.get(0, np.nan), rows.max(axis=1)
            columns = {"none": none, "worst": worst, "worst / none": worst / none}
            print("  asked: none <= 0.78, worst / none <= 1.05")
            show(pd.DataFrame(columns))
            print("  CPU seconds a fit")
            show(pd.DataFrame.from_dict(seconds, orient="index"), 4)


def better(options):
    """The default over the better of target only and pooled, for several kinds of sources.

    Asked: at most 1.10 on average at 15 or more target rows.
    """
    linear = problems.generators("transfer_problems", options.shared).negative_transfer
    reps, kinds = options.reps or 20, {}
    for n_target in (15, 30):
        kinds[f"harmful, {n_target}"] = partial(linear, 3, p=10, n_target=n_target, n_good=0)
        kinds[f"good, {n_target}"] = partial(linear, 0, p=10, n_target=n_target, n_good=3)
        bent = partial(draw_bent, n_target=n_target)
        kinds[f"bent, harmful, {n_target}"] = partial(bent, 3, n_good=0)
        kinds[f"bent, good, {n_target}"] = partial(bent, 0)
        kinds[f"bent, unequal, moved, {n_target}"] = partial(bent, 3, unequal=True)
        kinds[f"bent, other scales, {n_target}"] = partial(bent, 1, scaled=True)
    for name in options.estimator:
        base, error, ask = estimators()[name]
        ratios = {}
        for kind, make in kinds.items():
            drawn = draw_for(error, make(reps=reps, seed=options.seeds[0]))
            mean = measure(drawn, base, options, error, ask=ask)[0].mean()
            ratios[kind] = mean / mean[[TARGET_ONLY, POOLED]].min()
        table = pd.DataFrame.from_dict(ratios, orient="index")
        table.loc["mean"] = table.mean()
        print(f"  {base}, seed {options.seeds[0]}, {reps} repetitions; rows: sources, target rows")
        show(table)


def draw_bent(n_harmful, reps, n_target, n_good=3, seed=0, unequal=False, scaled=False):
    """Sources of a response that is not linear; harmful ones have it turned round.

    `unequal`: of 30 to 270 rows, with features at other levels, and so other shares of a class.
    `scaled`: every other one has labels three times as large.
    """
    out = []
    for rep in range(reps):
        rng = np.random.RandomState(seed + 100 + rep)
        a = rng.randn(5)
        slopes = [a + 0.1 * rng.randn(5) for _ in range(n_good)]
        slopes += [-a + 0.3 * rng.randn(5) for _ in range(n_harmful)]
        sizes = [30 * 3 ** (k % 3) if unequal else 100 for k in range(len(slopes))]
        Xs = [rng.randn(n, 8) + 0.5 * unequal * rng.randn(8) for n in sizes]
        times = [3.0 if scaled and k % 2 else 1.0 for k in range(len(slopes))]
        ys = [t * bent(X, b, rng) for t, X, b in zip(times, Xs, slopes, strict=True)]
        Xt, Xe = rng.randn(n_target, 8), rng.randn(1000, 8)
        out.append({
            "Xs": np.vstack(Xs), "ys": np.concatenate(ys),
            "gs": np.repeat(np.arange(len(sizes)), sizes),
            "Xt": Xt, "yt": bent(Xt, a, rng), "Xe": Xe, "ye": bent(Xe, a, rng),
        })  # fmt: skip
    return out


def bent(X, a, rng):
    """A sine, a product, a square, a step and a line, and noise."""
    parts = 2 * np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2], X[:, 3] ** 2 - 1, 2 * (X[:, 4] > 0), X[:, 5]
    return np.column_stack(parts) @ a + 0.5 * rng.randn(len(X))


def guard(options):
    """Three sources, all harmful or all good, and few target rows: error over the target's alone.

    Nobody asked for these; they say what the guard is worth where few rows are the judges.
    """
    draw = problems.generators("transfer_problems", options.shared).negative_transfer
    reps = options.reps or 20
    bases = {
        "RMSE, Ridge": (Ridge(), rmse),
        "error rate, LogisticRegression": (LogisticRegression(max_iter=500), error_rate),
    }
    for what, (base, error) in bases.items():
        ratios = {}
        for n_target in (6, 10, 15, 20, 40):
            for kind, (n_harmful, n_good) in {"harmful": (3, 0), "good": (0, 3)}.items():
                drawn = draw(n_harmful, reps, p=10, n_target=n_target, n_good=n_good)
                if error is error_rate:
                    drawn = list(filter(None, map(as_classes, drawn)))
                mean = measure(drawn, base, options, error)[0].mean()
                ratios[kind, n_target] = mean / mean[TARGET_ONLY]
        print(f"  {what}, over that of the target alone, {reps} repetitions; rows: target rows")
        table = pd.DataFrame.from_dict(ratios, orient="index").drop(columns=TARGET_ONLY)
        show(table.sort_index())


def as_classes(problem):
    """The problem with the signs of its labels as classes; None where target rows show but one."""
    problem = problem | {key: (problem[key] > 0).astype(np.int64) for key in ("ys", "yt", "ye")}
    return problem if len(np.unique(problem["yt"])) == 2 else None


def lasso(options):
    """Trans-Lasso's simulation: mean RMSE (floor 1.0), and CPU seconds a fit."""
    draw = problems.generators("transfer_problems", options.shared).trans_lasso
    reps = options.reps or 20
    for seed in options.seeds:
        means, seconds = {}, {}
        for n_informative in options.informative:
            drawn = draw(n_informative, reps, seed=seed)
            errors, taken = measure(drawn, LassoCV(cv=5), options, rmse, also=("trans_lasso",))
            means[n_informative] = {**errors.mean(), "asked": INFORMATIVE[n_informative]}
            seconds[n_informative] = taken.mean()
        print(f"  seed {seed}, {reps} repetitions, LassoCV(cv=5); rows: informative sources of 20")
        show(pd.DataFrame.from_dict(means, orient="index"))
        print("  CPU seconds a fit (asked of trans_lasso: < 1)")
        show(pd.DataFrame.from_dict(seconds, orient="index"))


def shift(options):
    """Diabetes (RMSE over that of the target alone) and breast cancer (error rate), shifted."""
    source, reps = problems.generators("transfer_problems", options.shared), options.reps or 20
    drawn = source.diabetes_shift(reps)
    errors, _ = measure(drawn, Ridge(), options, rmse, REFERENCES)
    mean, square = errors.mean(), (errors**2).mean()
    columns = {"mean RMSE": mean, "/ target only": mean / mean[TARGET_ONLY]}
    columns["root of ratio of mean MSE"] = np.sqrt(square / square[TARGET_ONLY])
    columns["mean of ratios"] = errors.div(errors[TARGET_ONLY], axis=0).mean()
    print(f"  diabetes, {reps} repetitions, Ridge(); asked: / target only <= 0.78")
    show(pd.DataFrame(columns))
    drawn = source.cancer_shift(reps)
    drawn = [p | {k: p[k].astype(np.int64) for k in ("ys", "yt", "ye")} for p in drawn]
    errors, _ = measure(drawn, LogisticRegression(max_iter=5000), options, error_rate, REFERENCES)
    print(f"  breast cancer, {reps} repetitions, LogisticRegression(); asked: error <= 0.034")
    show(pd.DataFrame({"error": errors.mean()}), 4)


def transfer_problem(problem):
    """A problem of two tasks as source and target: numbers scaled alike by all training rows."""
    X, task, y, X_test, task_test = problem.arrays()
    target = task == task_test[0]
    if (task_test != task_test[0]).any():
        raise ValueError("test rows of several tasks")
    return {
        "Xs": X[~target], "ys": y[~target], "gs": np.zeros((~target).sum(), dtype=np.int64),
        "Xt": X[target], "yt": y[target], "Xe": X_test, "ye": problem.y_test,
    }  # fmt: skip


def real(options):
    """Student (Portuguese -> mathematics) and wine (white -> red), 20 target rows: nmse.

    Asked: within 2 % of the best of target only, source only, pooled and one-hot in each set,
    and better on average.
    """
    splits = range(min(options.reps or problems.N_SPLITS, problems.N_SPLITS))
    for base in (Ridge(), RidgeCV(ALPHAS)):
        means = {}
        for name in ("student", "wine"):
            table = problems.load(name, options.shared)
            drawn = [transfer_problem(table.problem("new", split)) for split in splits]
            means[name] = measure(drawn, base, options, nmse, REFERENCES)[0].mean()
        table = pd.DataFrame.from_dict(means, orient="index")
        print(f"  {type(base).__name__}, mean of {len(splits)} splits")
        show(table, 4)
        ratio = table.div(table[list(REFERENCES)].min(axis=1), axis=0)
        ratio.loc["geometric mean"] = ratio.apply(geometric_mean)
        print("  over the least of the first four; asked: <= 1.02 in each, < 1 on average")
        show(ratio)


def changes(rng):
    """Ways in which the target's digits differ, as functions of rows of 8 x 8 pixels in [0, 1]."""

    def moved(X):
        images = np.zeros((len(X), 8, 8))
        images[:, :, 1:] = X.reshape(-1, 8, 8)[:, :, :-1]
        return images.reshape(len(X), 64)

    return {
        "a pixel to the right": moved,
        "dimmed to 0.4": lambda X: 0.4 * X,
        "noisy, sd 0.25": lambda X: np.clip(X + 0.25 * rng.normal(size=X.shape), 0.0, 1.0),
        "inverted": lambda X: 1.0 - X,
    }


def draw_digits(way, seed, shots=5):
    """Half of the digits as they are, the other half changed, `shots` rows a class labelled."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    X, y = X[order] / 16.0, y[order]
    half = len(y) // 2
    Xt, yt = changes(rng)[way](X[half:]), y[half:]
    rank = pd.Series(yt).groupby(yt).cumcount().to_numpy()
    few = rank < shots
    return {
        "Xs": X[:half], "ys": y[:half], "gs": np.zeros(half, dtype=np.int64),
        "Xt": Xt[few], "yt": yt[few], "Xe": Xt[~few], "ye": yt[~few],
    }  # fmt: skip


def digits(options):
    """Digits, and the same changed with 5 labelled rows a class: error rate of the ten classes.

    Asked: not worse than the target alone; `inverted` is harmful on purpose.
    """
    reps = options.reps or 20
    base, errors = LogisticRegression(max_iter=1000), {}
    for way in changes(None):
        drawn = [draw_digits(way, seed) for seed in range(reps)]
        errors[way] = measure(drawn, base, options, error_rate, REFERENCES)[0]
    print(f"  {reps} repetitions, LogisticRegression()")
    show(pd.DataFrame({way: table.mean() for way, table in errors.items()}).T, 4)
    rows = []
    for way, table in errors.items():
        gaps = table.sub(table[TARGET_ONLY], axis=0)
        for name in ours_of(table):
            se = gaps[name].std() / np.sqrt(reps)
            row = gaps[name].mean(), se, gaps[name].max(), (gaps[name] > 0).mean()
            rows.append([way, name, *row])
    columns = ["target", "method", "gap", "s.e.", "worst", "share worse"]
    print("  error less that of the target alone, paired (asked: <= 0)")
    show(pd.DataFrame(rows, columns=columns).set_index(["target", "method"]), 4)


def speed(options):
    """CPU seconds of our classics beside ADAPT's on the same arrays, in the same run, in turn."""
    transfer_cost.speed(options, make_adaptation)


def cost(options):
    """What the default costs, beside one fit of the estimator on all rows."""
    draw = problems.generators("transfer_problems", options.shared).trans_lasso
    transfer_cost.cost(draw(12, 1)[0])


def memory(options):
    """A million source rows: clone, fit, pickle; a grid search of two jobs."""
    transfer_cost.memory(options, list(adaptations(options)))


SECTIONS = {
    f.__name__: f
    for f in (negative, guard, better, lasso, shift, real, digits, cost, speed, memory)
}


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--shared", default=problems.SHARED, help="folder that holds bench/, data/")
    parser.add_argument(
        "--adaptation", nargs="+", metavar="NAME[:PARAMETER=VALUE,...]",
        help="adaptations of ours, such as pooled:target_weight=1 (the default of the estimator)",
    )  # fmt: skip
    parser.add_argument("--reps", type=int, help="repetitions (50 of negative, else 20; 5 splits)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0],
        help="first seeds of negative and lasso (0, that of the laid-down figures)",
    )  # fmt: skip
    parser.add_argument(
        "--estimator", nargs="+", default=["Ridge"], choices=estimators(),
        help="of negative and better (Ridge)",
    )  # fmt: skip
    parser.add_argument("--harmful", type=int, nargs="+", default=HARMFUL, help="of negative")
    parser.add_argument(
        "--informative", type=int, nargs="+", default=list(INFORMATIVE), choices=INFORMATIVE,
        help="of lasso",
    )  # fmt: skip
    parser.add_argument(
        "--unlabeled", action="store_true",
        help="features of the test rows to every adaptation, not only to those that need some",
    )  # fmt: skip
    parser.add_argument(
        "--adapt-python", default="adapt/bin/python", help="Python that has ADAPT, of speed"
    )
    parser.add_argument("--turns", type=int, default=7, help="runs of each in speed (7)")
    parser.add_argument("--kmm-rows", type=int, default=1_000, help="source rows of KMM (1,000)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="source rows of memory")
    parser.add_argument("--search-rows", type=int, default=50_000, help="… of its search")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and numba (1)")
    return parser.parse_args()


def main():
    """Run the chosen sections."""
    options = parse_arguments()
    print(f"threads: {threads.COUNT}")
    print(f"{POOLED}: the estimator itself on all rows, which count alike")
    sections.run(SECTIONS, options.only, options)


if __name__ == "__main__":
    main()
