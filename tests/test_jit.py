"""Compilation and threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import skmtl
from skmtl._jit import N_CHUNKS, run_chunks, run_spans, worker_pool


def spans(start, stop, out):
    out[start:stop] += 1
    return start, stop


@pytest.mark.parametrize("n_items", [0, 1, 31, 64, 1000])
@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_chunks_cover_every_item_once_in_order(n_items, n_jobs):
    out = np.zeros(n_items)
    with worker_pool(n_jobs) as pool:
        assert (pool is None) == (n_jobs != 2)
        parts = run_chunks(spans, n_items, out, executor=pool)
    np.testing.assert_array_equal(out, 1.0)
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts)][:-1]
    assert parts[-1][1] == n_items and len(parts) <= N_CHUNKS


@pytest.mark.parametrize("n_items", [0, 1, 31, 64, 1000])
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("most", [1, 7, 5000])
def test_spans_cover_every_item_once(n_items, n_jobs, most):
    out, sizes = np.zeros(n_items), []

    def count(start, stop):
        out[start:stop] += 1
        sizes.append(stop - start)

    with worker_pool(n_jobs) as pool:
        run_spans(count, n_items, most, pool)
    np.testing.assert_array_equal(out, 1.0)
    assert max(sizes, default=0) <= most


def test_errors_of_threads_arrive():
    def fail(start, stop):
        raise ZeroDivisionError

    with worker_pool(2) as pool, pytest.raises(ZeroDivisionError):
        run_chunks(fail, 1000, executor=pool)


_KERNELS = """
from skmtl._jit import njit

@njit(helper=True)
def _square(x):
    return x * x

@njit(inlined=True)
def _half(x):
    return 0.5 * x

@njit
def total(x):
    s = 0.0
    for i in range(x.shape[0]):
        s += _square(x[i]) + _half(x[i])
    return s

@njit
def idle(x, n):
    for k in range(n):
        for i in range(x.shape[0]):
            x[i] = 0.5 * (x[i] + 1.0 / x[i])
    return x, x.sum()
"""


def run_with_kernels(folder, code, **env):
    """Run `code` in a new process where ``kernels_here`` can be imported; returns its lines."""
    file = folder / "kernels_here.py"
    if not file.exists():  # written again, it would be a new one to the cache
        file.write_text(_KERNELS)
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG", "IPY"))}
    path = [str(folder), str(Path(skmtl.__file__).parents[1]), *filter(None, sys.path)]
    env = {**keep, "PYTHONPATH": os.pathsep.join(path), **env}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_DAMAGE = """
import pathlib, numpy as np, kernels_here
from skmtl._jit import njit

x, cache = np.arange(5.0), pathlib.Path("cache")

def hits():
    "A kernel made anew, as in a new process: is the result right, and was it in the cache?"
    kernel = njit(kernels_here.total.py_func)
    assert kernel(x) == 35.0
    return sum(kernel.stats.cache_hits.values())

assert hits() == 0 and hits() == 1
def shorter(raw): return raw[: len(raw) // 2]
def flipped(raw):
    k = len(raw) * 2 // 3
    return raw[:k] + bytes([raw[k] ^ 255]) + raw[k + 1 :]

damages = {
    "empty": lambda raw: b"", "half": shorter, "a byte short": lambda raw: raw[:-1],
    "a byte left": lambda raw: raw[:1], "zeros": lambda raw: bytes(len(raw)),
    "flipped": flipped, "text": lambda raw: b"no pickle\\n", "None": lambda raw: b"N.",
    "longer": lambda raw: raw + raw, "noise": lambda raw: np.random.default_rng(0).bytes(999),
}
for kind in ("nbi", "nbc"):
    for name, damage in damages.items():
        (file,) = cache.glob(f"**/kernels_here.total-*.{kind}")
        file.write_bytes(damage(file.read_bytes()))
        first, second = hits(), hits()
        harmless = name == "longer"
        print(kind, name, (first, second) in ([(0, 1), (1, 1)] if harmless else [(0, 1)]))
"""


@pytest.mark.jit
def test_damaged_cache_files_are_discarded_and_compiled_again(tmp_path):
    """After kill -9, a full disk or worse; and the next process finds them in order."""
    lines = run_with_kernels(tmp_path, _DAMAGE, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert len(lines) == 20 and all(line.endswith("True") for line in lines), lines


_CALLER = """
from skmtl._jit import njit
from helpers_here import pasted, plain

@njit
def total(x):
    s = 0.0
    for i in range(x.shape[0]):
        s += plain(x[i]) + pasted(x[i])
    return s
"""
_HELPERS = """
from skmtl._jit import njit
{constants}

@njit(helper=True)
def plain(x):
    return {plain}

@njit(inlined=True)
def pasted(x):
    return {pasted}
"""
_CALLED = """
import numpy as np
from callers_here import total

print(total(np.arange(3.0)), sum(total.stats.cache_hits.values()))
"""


@pytest.mark.jit
def test_a_change_in_any_file_of_the_folder_has_its_kernels_compiled_again(tmp_path):
    """In a helper's, whether called or pasted in, with the caller's file left as it is."""

    def result(constants="FACTOR = 2.0", plain="FACTOR * x", pasted="x"):
        helpers = _HELPERS.format(constants=constants, plain=plain, pasted=pasted)
        (tmp_path / "helpers_here.py").write_text(helpers)
        cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        return run_with_kernels(tmp_path, _CALLED, **cache)

    (tmp_path / "callers_here.py").write_text(_CALLER)
    assert [result(), result()] == [["9.0 0"], ["9.0 1"]]
    assert [result(plain="9.0 * x"), result(plain="9.0 * x")] == [["30.0 0"], ["30.0 1"]]
    assert result(pasted="3.0 * x") == ["15.0 0"]
    assert result(constants="FACTOR = 4.0") == ["15.0 0"]
    (tmp_path / "one_more.py").write_text("")
    assert result(constants="FACTOR = 4.0") == ["15.0 0"]
    assert result(constants="FACTOR = 4.0") == ["15.0 1"]


_READ_ONLY = """
import errno, pathlib, numpy as np, kernels_here
from numba.core import caching
from skmtl._jit import njit

x = np.arange(5.0)
njit(kernels_here.total.py_func)(x)

def refuse(self, path):
    raise OSError(errno.{reason}, "nothing can be written")

caching.IndexDataCacheFile._open_for_write = refuse
for damage in (False, True):
    if damage:
        for file in pathlib.Path("cache").glob("**/*.nb?"):
            file.write_bytes(b"")
    kernel = njit(kernels_here.total.py_func)
    print(kernel(x), sum(kernel.stats.cache_hits.values()))
print(njit(kernels_here.total.py_func)(x.astype(np.float32)))
"""


@pytest.mark.jit
@pytest.mark.parametrize("reason", ["ENOSPC", "EROFS", "EACCES"])
def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, reason):
    code = _READ_ONLY.format(reason=reason)
    lines = run_with_kernels(tmp_path, code, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert lines == ["35.0 1", "35.0 0", "35.0"]


_INTERRUPTED = """
import gc, os, signal, threading, time
import numpy as np
from kernels_here import idle, total

def interrupted(work, after):
    timer = threading.Timer(after, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        work()
        timer.join()
        time.sleep(0.01)
    except BaseException as error:
        timer.join()
        return type(error).__name__
    return "nothing"

def compile_and_run():
    idle(np.ones(3, dtype=np.float32), 1)

print({interrupted(compile_and_run, after) for after in (0.01,)})
assert gc.isenabled()
compile_and_run()
x = np.full(1000, 2.0)
idle(x, 1)
start = time.perf_counter()
idle(x, 1000)
n = int(400 / (time.perf_counter() - start))  # 0.4 s
print({interrupted(lambda: idle(x, n), after) for after in (0.05, 0.1, 0.2, 0.3)})
print({interrupted(lambda: [total(x) for _ in range(10**6)], 0.01 * k) for k in range(1, 20)})
signal.signal(signal.SIGINT, lambda *args: (_ for _ in ()).throw(TimeoutError))
print({interrupted(lambda: idle(x, n), after) for after in (0.05, 0.1, 0.2)})
"""


@pytest.mark.jit
def test_ctrl_c_is_a_keyboard_interrupt_in_kernels_and_compilation(tmp_path):
    """And what another handler of signals raises is that."""
    lines = run_with_kernels(tmp_path, _INTERRUPTED, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert lines == ["{'KeyboardInterrupt'}"] * 3 + ["{'TimeoutError'}"]


_INTERRUPTED_FITS = """
import os, signal, threading, time
import numpy as np
from sklearn.model_selection import cross_val_score
import skmtl

rng = np.random.default_rng(0)
n = 6000
X, task = rng.normal(size=(n, 8)), np.arange(n) % 300
y = X[:, 0] + rng.normal(size=300)[task] + rng.normal(size=n)
model = skmtl.{face}
y = (y > 0).astype(int) if "Classifier" in "{face}" else y
def judge():
    scores = cross_val_score(model, X, y, params={{"task": task}}, cv=3, error_score=np.nan)
    assert np.isfinite(scores).all(), "swallowed"

model.fit(X, y, task=task)
start = time.perf_counter()
judge()
seconds, wanted = time.perf_counter() - start, model.predict(X, task=task)
for share in np.linspace(0.05, 0.95, 6):
    timer = threading.Timer(share * seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        while True:
            model.fit(X, y, task=task) if share > 0.8 else judge()
    except BaseException as error:
        print(type(error).__name__, (model.predict(X, task=task) == wanted).all())
    timer.join()
"""


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize(
    "face",
    [
        "MultiTaskRegressor('partial_pooling')",
        "MultiTaskClassifier('partial_pooling')",
        "MetaLearnerClassifier()",
    ],
)
def test_cross_validation_does_not_swallow_ctrl_c(tmp_path, face):
    """It takes any Exception for a failed fit. The estimator stays what it was."""
    code = "import sklearn; sklearn.set_config(enable_metadata_routing=True)\n"
    cache = {k: v for k, v in os.environ.items() if k == "NUMBA_CACHE_DIR"}
    lines = run_with_kernels(tmp_path, code + _INTERRUPTED_FITS.format(face=face), **cache)
    assert lines == ["KeyboardInterrupt True"] * 6


_TOLD = """
import numpy as np
from skmtl._compiling import notify_of_compiling
from kernels_here import idle, total

if {verbose}:
    notify_of_compiling(print)
total(np.arange(3.0)), idle(np.ones(3), 1), total(np.arange(3.0)), print("done")
"""


@pytest.mark.jit
def test_compiling_is_reported_once_and_only_when_it_happens(tmp_path):
    quiet, told = (_TOLD.format(verbose=v) for v in (False, True))
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run_with_kernels(tmp_path, quiet, NUMBA_CACHE_DIR=str(tmp_path / "other")) == ["done"]
    first = run_with_kernels(tmp_path, told, **cache)
    assert len(first) == 2 and first[0].startswith("compiling kernels") and first[1] == "done"
    assert run_with_kernels(tmp_path, told, **cache) == ["done"]


_VERBOSE = """
import sys
import numpy as np
from skmtl import {face}
from skmtl.__main__ import main
from skmtl.sharing import PartialPooling

rng = np.random.default_rng(0)
X, task = rng.normal(size=(40, 2)), np.arange(40) % 4
for _ in range(2):
    {fit}
"""


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize(
    ("face", "fit"),
    [
        (
            "MultiTaskRegressor",
            "MultiTaskRegressor('pooled', verbose=1).fit(X, X[:, 0], task=task)",
        ),
        ("MultiTaskRegressor", "main(['--folds', '2'])"),
    ],
    ids=["verbose", "command line"],
)
def test_a_first_fit_says_that_kernels_are_compiled(tmp_path, face, fit):
    code = "import sys; sys.stderr = sys.stdout\n" + _VERBOSE.format(face=face, fit=fit)
    for cached in (False, True):
        lines = run_with_kernels(tmp_path, code, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        assert sum("compiling kernels" in line for line in lines) == (0 if cached else 1)


_SUM = """
import numba
from skmtl._jit import njit

def total(x):
    return x.sum()

try:
    numba.njit(cache=True)(total)
except RuntimeError:
    print("numba alone has nowhere to cache")
njit(total)
"""
_RUN = """
import numpy as np, read_only
print(read_only.njit(read_only.total)(np.arange(4)))
"""


def test_a_read_only_install_without_a_home_still_works(tmp_path):
    """Nowhere to keep machine code: kernels are compiled anew, and nothing fails."""
    # As root, permissions do not hold: files where the cache folders would be do.
    (tmp_path / "read_only.py").write_text(_SUM)
    (tmp_path / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG", "IPY"))}
    path = [str(tmp_path), str(Path(skmtl.__file__).parents[1]), *filter(None, sys.path)]
    env |= {"PYTHONPATH": os.pathsep.join(path), "HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", _RUN], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["numba alone has nowhere to cache", "6"]


_LAYOUTS = """
import warnings
import numpy as np
from scipy import sparse
from sklearn.linear_model import Ridge
import skmtl, skmtl.kernels as kernels

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, task = rng.normal(size=(120, 4)), np.arange(120) % 6
X[:, 3] = task  # constant within tasks
y = X[:, 0] + 0.3 * rng.normal(size=120)
wide = np.repeat(X, 2, axis=1)
locked = X.copy()
locked.flags.writeable = False
np.save("table.npy", X)
tables = [
    X, np.asfortranarray(X), wide[:, ::2], locked, np.load("table.npy", mmap_mode="r"),
    X.astype(np.float32), sparse.csr_matrix(X), sparse.csr_array(X),
]
weight = rng.uniform(0.5, 2.0, size=120)
for Z in tables:
    for w in (None, weight):
        for n_jobs in (None, 2):
            skmtl.MultiTaskRegressor("partial_pooling", n_jobs=n_jobs).fit(Z, y, w, task=task)
        skmtl.MultiTaskClassifier("partial_pooling").fit(Z, (y > 0).astype(int), w, task=task)
    skmtl.MultiTaskClassifier("partial_pooling").fit(Z, np.arange(120) % 3, task=task)
    if isinstance(Z, np.ndarray):
        skmtl.MetaLearnerRegressor().fit(Z, y, task=task)
        skmtl.MetaLearnerClassifier().fit(Z, np.arange(120) % 3, task=task)
skmtl.MultiTaskRegressor("partial_pooling").fit(X, np.c_[y, -y])
model = skmtl.MultiTaskRegressor("partial_pooling")
model.partial_fit(X, y, task=task).partial_fit(X, y, task=task)
model = skmtl.MultiTaskRegressor("partial_pooling").fit(X, y, task=task)
model.adapt(X[:5], y[:5])
n_kernels = 0
for name in ("arrow", "moments", "newton", "heads"):
    for key, kernel in vars(getattr(kernels, name)).items():
        if hasattr(kernel, "signatures"):
            n_kernels += 1
            if len(kernel.signatures) > 1:
                print(name, key, kernel.signatures)
print(n_kernels > 10)
"""


@pytest.mark.jit
def test_every_kernel_is_compiled_for_one_set_of_types(tmp_path):
    """Whatever the layout, type and flags of what users give."""
    cache = {k: v for k, v in os.environ.items() if k == "NUMBA_CACHE_DIR"}
    assert run_with_kernels(tmp_path, _LAYOUTS, **cache) == ["True"]
