"""What transfer costs: the sections cost, speed and memory of transfer.py."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import wraps
from pathlib import Path

import numpy as np
import threads
from measuring import MIB, fresh
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Lasso, LassoCV, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import KFold
from speed import ratio, report

SIDE = Path(__file__).with_name("adapt_side.py")
# Name of an adaptation -> what is asked of ADAPT's CPU time over ours.
ASKED = {"kmm": 100, "tradaboost_r2": 15, "two_stage_tradaboost_r2": 15}
TURN = 0.3  # seconds that a side runs on before the other's turn: both have warm caches
SHARE_COPIED = 0.5  # of the source, private to a worker: above, it would have its own copy


def draw(n_kmm):
    """Arrays for all three; KMM's has as many target rows without labels as source rows."""
    rng = np.random.default_rng(0)
    kmm_p, p, n_source, n_target = 10, 20, 2_000, 40
    kmm_Xs = rng.normal(size=(n_kmm, kmm_p))
    coef = rng.normal(size=p)
    moved = coef + 0.3 * rng.normal(size=p)
    Xs, Xt, Xe = (rng.normal(size=(n, p)) for n in (n_source, n_target, 1_000))
    return {
        "kmm_Xs": kmm_Xs, "kmm_ys": kmm_Xs[:, 0] + rng.normal(size=n_kmm),
        "kmm_Xt": 0.8 * rng.normal(size=(n_kmm, kmm_p)) + 0.4,
        "gamma": 1.0 / kmm_p, "bound": 1000.0, "eps": (np.sqrt(n_kmm) - 1) / np.sqrt(n_kmm),
        "Xs": Xs, "ys": Xs @ coef + rng.normal(size=n_source),
        "Xt": Xt, "yt": Xt @ moved + rng.normal(size=n_target), "Xe": Xe, "ye": Xe @ moved,
    }  # fmt: skip


def ten_sources():
    """Ten sources of 300 rows, 30 target rows, 20 features."""
    rng = np.random.default_rng(0)
    X, coef = rng.normal(size=(3_030, 20)), rng.normal(size=20)
    y = X @ coef + np.sin(3 * X[:, 0]) + rng.normal(size=3_030)
    return {
        "Xs": X[30:], "ys": y[30:], "gs": np.repeat(np.arange(10), 300),
        "Xt": X[:30], "yt": y[:30],
    }  # fmt: skip


def counted(estimator):
    """The estimator with a counter of its fits, at the same place as its class."""
    kind = type(estimator)

    class Counted(kind):
        n_fits = 0

        @wraps(kind.fit)
        def fit(self, *args, **kwargs):
            Counted.n_fits += 1
            return super().fit(*args, **kwargs)

    Counted.__module__, Counted.__name__ = kind.__module__, kind.__name__
    return Counted(**estimator.get_params())


def cost(wide):
    """Fits of the estimator, and CPU time over that of one fit on all rows."""
    from skmtl import Source, TransferEstimator

    narrow = ten_sources()
    cases = {
        "Trans-Lasso, LassoCV(cv=5)": (LassoCV(cv=5), wide),
        "Trans-Lasso, Lasso()": (Lasso(), wide),
        "Trans-Lasso, Lasso(0.1)": (Lasso(0.1), wide),
        "Trans-Lasso, Ridge()": (Ridge(), wide),
        "ten sources, HistGradientBoosting": (HistGradientBoostingRegressor(), narrow),
        "ten sources, RandomForest": (RandomForestRegressor(random_state=0), narrow),
        "ten sources, Ridge()": (Ridge(), narrow),
    }
    print("  asked: at most 40 fits, and at most 30 times one fit on all rows")
    for name, (base, problem) in cases.items():
        source = Source(problem["Xs"], problem["ys"], task=problem["gs"])
        X = np.vstack([problem["Xs"], problem["Xt"]])
        y = np.concatenate([problem["ys"], problem["yt"]])
        spy = counted(base)
        TransferEstimator(spy, source=source).fit(problem["Xt"], problem["yt"])
        model = TransferEstimator(base, source=source)
        if type(base) is Ridge:  # compiles, or reads what was compiled before
            model.fit(problem["Xt"], problem["yt"])
        once, ours = (
            np.median(cpu_seconds(f, TURN))
            for f in (lambda: base.fit(X, y), lambda: model.fit(problem["Xt"], problem["yt"]))  # noqa: B023
        )
        report(f"{name}: one fit on all rows, CPU", 1e3 * once, "ms")
        report(f"{name}: fit of TransferEstimator, CPU", 1e3 * ours, "ms")
        report(f"{name}: ratio", ours / once, "", "asked <= 30")
        report(f"{name}: fits (a subclass, so a Ridge too)", type(spy).n_fits, "", "asked <= 40")


class Adapt:
    """The process in ADAPT's environment."""

    def __init__(self, python, folder):
        self.folder = Path(folder)
        self.process = subprocess.Popen(
            # Isolated: of this folder, adapt.py would be imported for ADAPT.
            [python, "-I", str(SIDE), folder], env=threads.environment(1), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(self.folder / "log").open("w"),
        )  # fmt: skip

    def run(self, name, turn=0.0):
        """Return CPU seconds of every run of a turn; None with the reason printed."""
        try:
            print(name, turn, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)["cpu"]
        reason = (self.folder / "log").read_text().strip().splitlines()[-1:]
        print(f"  missing: ADAPT {name}: {' '.join(reason)}")
        return None

    def result(self, name):
        """What came of the last run."""
        return np.load(self.folder / f"{name}.npy")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(BrokenPipeError):  # it has ended by itself
            self.process.stdin.close()
        self.process.wait()


class Witness(Ridge):
    """A ridge that notes the rows and weights that it was fitted on."""

    seen = None

    def fit(self, X, y, sample_weight=None):
        """Note rows and weights, and fit."""
        Witness.seen = X, sample_weight
        return super().fit(X, y, sample_weight=sample_weight)


def settings(name, data):
    """ADAPT's settings (see adapt_side.py) as parameters of ours."""
    if name == "kmm":
        sigma = 1.0 / np.sqrt(2.0 * data["gamma"])
        return {"sigma": sigma, "max_weight": data["bound"], "eps": float(data["eps"])}
    steps = {"n_steps": 10} if name == "two_stage_tradaboost_r2" else {}
    return {"n_estimators": 10} | steps


def fit_ours(name, adaptation, data, estimator=None):
    """A fitted TransferEstimator, on the same arrays."""
    from skmtl import Source, TransferEstimator

    prefix = "kmm_" if name == "kmm" else ""
    source = Source(data[f"{prefix}Xs"], data[f"{prefix}ys"])
    model = TransferEstimator(
        estimator or Ridge(),
        source=source,
        adaptation=adaptation,
        cv=KFold(5) if name.startswith("two_stage") else None,  # unshuffled, as ADAPT's
    )
    if name == "kmm":  # all target rows are without labels
        return model.fit(data["kmm_Xt"])
    return model.fit(data["Xt"], data["yt"])


def cpu_seconds(function, turn):
    """CPU seconds of every call of a turn."""
    times = []
    while not times or sum(times) < turn:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return times


def kmm_objective(weights, data):
    """KMM's objective (ADAPT's), at the best of the scales that the constraints allow.

    w'Kw / 2 - k'w, where k_i = n_s / n_t times the sum over target rows. Whatever scale the
    weights were handed on at (an estimator does not mind) then does not matter.
    """
    Xs, Xt, gamma = data["kmm_Xs"], data["kmm_Xt"], float(data["gamma"])
    n = len(Xs)
    linear = n / len(Xt) * rbf_kernel(Xs, Xt, gamma=gamma).sum(axis=1)
    w = np.clip(weights, 0.0, None)
    quadratic = w @ rbf_kernel(Xs, gamma=gamma) @ w
    least, most = n * (1 - data["eps"]) / w.sum(), n * (1 + data["eps"]) / w.sum()
    scale = np.clip(linear @ w / quadratic, least, min(most, data["bound"] / w.max()))
    return 0.5 * scale**2 * quadratic - scale * (linear @ w)


def agreement(name, adaptation, data, adapt):
    """Print how good both results are, and how far from each other."""
    theirs = adapt.result(name)
    if name != "kmm":
        ours = fit_ours(name, adaptation, data).predict(data["Xe"])
        report(f"{name}: RMSE, ADAPT", np.sqrt(np.mean((theirs - data["ye"]) ** 2)), "")
        report(f"{name}: RMSE, ours", np.sqrt(np.mean((ours - data["ye"]) ** 2)), "")
        apart = np.sqrt(np.mean((ours - theirs) ** 2)) / theirs.std()
        report(f"{name}: root mean square difference / spread", apart, "")
        return
    fit_ours(name, adaptation, data, Witness())
    ours = np.zeros(len(theirs))  # rows of weight zero may have been left out
    place = {row.tobytes(): i for i, row in enumerate(data["kmm_Xs"])}
    for row, weight in zip(*Witness.seen, strict=True):
        ours[place[row.tobytes()]] = weight
    ours, theirs = kmm_objective(ours, data), kmm_objective(theirs, data)
    report("kmm: objective, ADAPT", theirs, "")
    gap = (ours - theirs) / abs(theirs)
    report("kmm: (ours - ADAPT's) / |ADAPT's|", gap, "", "asked <= 0 (1e-4)")


def speed(options, make_adaptation):
    """CPU seconds of our classics beside ADAPT's on the same arrays, in the same run, in turn."""
    data = draw(options.kmm_rows)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        np.savez(Path(folder) / "data.npz", **data)
        adapt = None
        if Path(options.adapt_python).exists():
            adapt = stack.enter_context(Adapt(options.adapt_python, folder))
        else:
            print(f"  missing: ADAPT: there is no {options.adapt_python} (--adapt-python)")
        for name in ASKED:
            race(name, make_adaptation(name), data, adapt, options.turns)


def race(name, adaptation, data, adapt, turns):
    """Time one method on both sides in turn, one run each before that to warm up."""
    if adaptation is not None:
        try:
            adaptation.set_params(**settings(name, data))
            fit_ours(name, adaptation, data)
        except Exception as reason:  # a failed method is a result
            print(f"  missing: {name}: {type(reason).__name__}: {reason}")
            adaptation = None
    if adapt is not None and adapt.run(name) is None:
        adapt = None
    times = {"ours": [], "ADAPT": []}
    for _ in range(turns):
        if adapt is not None:
            times["ADAPT"] += adapt.run(name, TURN) or []
        if adaptation is not None:
            times["ours"] += cpu_seconds(lambda: fit_ours(name, adaptation, data), TURN)
    theirs, ours = (float(np.median(times[k])) if times[k] else None for k in ("ADAPT", "ours"))
    report(f"{name}: ADAPT, CPU", ratio(theirs, 1e-3), "ms")
    report(f"{name}: ours, CPU", ratio(ours, 1e-3), "ms")
    report(f"{name}: ADAPT / ours", ratio(theirs, ours), "", f"asked >= {ASKED[name]}")
    if adaptation is not None and adapt is not None:
        agreement(name, adaptation, data, adapt)


def memory(options, names):
    """A million source rows: clone, fit, pickle; a grid search of two jobs."""
    environment = threads.environment()
    for name in names[:1]:  # one is enough: it is about the handle
        found = fresh("million_source_rows", environment, n_rows=options.rows, adaptation=name)
        if found is None:
            continue
        print(f"  {options.rows:,} source rows x 27 features, 100 target rows, {name}")
        report("Source(X, y), arrays as they are", 1e3 * found["make"], "ms")
        report("clone of the TransferEstimator", 1e3 * found["clone"], "ms", "asked < 1")
        report("copy.deepcopy of it", 1e3 * found["deepcopy"], "ms")
        report("fit", found["fit"])
        report("fit: peak memory / source", ratio(found["peak"], found["source"]), "")
        report("pickle of the fitted model, source=None", found["pickle"] / MIB, "MiB", "asked < 1")
        report("pickle of estimator_", found["deployed"] / MIB, "MiB", "asked < 1")
    for name in dict.fromkeys(["independent", *names]):
        arguments = {"n_rows": options.search_rows, "adaptation": name}
        found = fresh("search_of_source", environment, **arguments)
        if found is None:
            continue
        print(f"  GridSearchCV, {options.search_rows:,} source rows x 27, 40 fits, {name}")
        report("n_jobs=1", found["one"])
        report("n_jobs=2, two processes started before", found["two"])
        report("source", found["source"] / MIB, "MiB")
        alone = found["alone"] / found["source"]
        report("n_jobs=1: peak above what was held before / source", alone, "")
        for worker, grown in enumerate(found["grown"]):
            share = grown / found["source"]
            report(f"  worker {worker}: peak private memory / source", share, "")
            # What the fit itself takes (rows are stacked, centred, ...) is no copy of the handle.
            report("    less that of n_jobs=1", share - alone, "", f"asked < {SHARE_COPIED}")
        report("  all workers: mapped memory / source", found["mapped"] / found["source"], "")
