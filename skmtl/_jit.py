"""Compilation flags and threads; `_kernel` does the compiling.

``fastmath=True`` is not used, because it removes checks for NaN. Kernels are serial and release the
GIL. `run_chunks` spreads coarse chunks of work over threads: this needs none of numba's threading
layers, and sums do not depend on the number of threads.
"""

import contextlib
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import effective_n_jobs, parallel_backend
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from ._compiling import undisturbed

__all__ = ["njit", "on_this_machine", "run_chunks", "run_spans", "worker_pool"]

# Number of chunks of partial sums. It does not depend on n_jobs, and so neither do the results.
N_CHUNKS = 8


def njit(function=None, *, helper=False, inlined=False, fused=False, any_order=False):
    """Compile `function` at its first call and cache the machine code on disk if possible.

    A function is optimised again in every kernel that calls it, so that files with several levels
    of calls take up to a minute to compile; `helper` and `inlined` reduce this. `fused` and
    `any_order` make the code faster without changing how NaN and infinity are treated.

    Parameters
    ----------
    function : callable, optional
        Without it, return a decorator.
    helper : bool
        Only kernels call the function: compile no wrapper for Python, where a call would crash.
    inlined : bool
        Paste the source into the calling kernels, ideally only one.
    fused : bool
        Allow a product and a sum to be rounded once.
    any_order : bool
        In addition allow sums in any order, as vector instructions compute them.
    """
    if function is None:
        return functools.partial(
            njit, helper=helper, inlined=inlined, fused=fused, any_order=any_order
        )
    with undisturbed():  # here, so that `import skmtl` does not import numba
        from ._kernel import make_kernel

    # Kernels are not called from C, and check their divisors where needed.
    options = {"nogil": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    if helper:
        options["no_cpython_wrapper"] = True
    if inlined:
        options["inline"] = "always"
    if fused or any_order:
        options["fastmath"] = {"contract", "reassoc"} if any_order else {"contract"}
    return make_kernel(function, options)


@functools.lru_cache(maxsize=64)
def _chunks(n_items):
    n_chunks = max(1, min(N_CHUNKS, n_items // 32))
    edges = np.linspace(0, n_items, n_chunks + 1).astype(np.int64)
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


@contextlib.contextmanager
def on_this_machine():
    """Keep joblib from giving the work inside a fit to a cluster, if that is its active backend.

    A search on a cluster of Dask or Ray hands the backend down to its workers, in which n_jobs=None
    would then stand for all cores of the cluster, and every tree of a forest would travel.
    """
    backend, _ = get_active_backend()
    if type(backend).__module__ == "joblib._parallel_backends":
        yield
        return
    with parallel_backend("loky", n_jobs=1):
        yield


@contextlib.contextmanager
def worker_pool(n_jobs):
    """Start a pool of threads for `run_chunks`, with one BLAS thread each; None for one thread.

    Use one pool per fit: starting threads and limiting BLAS takes milliseconds, which is more than
    many calls of `run_chunks`.
    """
    with on_this_machine():
        n_threads = 1 if n_jobs is None else effective_n_jobs(n_jobs)
    if n_threads == 1:
        yield None
        return
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as executor:
        yield executor


def run_chunks(kernel, n_items, *args, executor=None):
    """Call ``kernel(start, stop, *args)`` over chunks of ``range(n_items)``.

    Returns the list of results in chunk order.
    """
    chunks = _chunks(n_items)
    if executor is None or len(chunks) == 1:
        return [kernel(a, b, *args) for a, b in chunks]
    return list(executor.map(lambda chunk: kernel(*chunk, *args), chunks))


def run_spans(function, n_items, most, executor=None):
    """Call ``function(start, stop)`` over spans of at most `most` items, and return nothing.

    Use it where every item is computed by itself; sums over items need `run_chunks`.
    """

    def run_part(start, stop):
        for a in range(start, stop, most):
            function(a, min(a + most, stop))

    if executor is None:
        run_part(0, n_items)
    else:
        run_chunks(run_part, n_items, executor=executor)
