"""Compilation flags and threads; `_kernel` does the compiling.

No ``fastmath=True``: guards against NaN must survive compilation. Kernels are serial and release
the GIL; work is spread over threads in coarse chunks (`run_chunks`), which needs no threading layer
of numba's own and gives the same sums whatever the number of threads.
"""

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import effective_n_jobs
from threadpoolctl import threadpool_limits

from ._compiling import undisturbed

__all__ = ["njit", "run_chunks", "run_spans", "worker_pool"]

# Partial sums are taken over this many chunks, threads or no threads, so that results do not
# depend on n_jobs.
N_CHUNKS = 8


def njit(function=None, *, helper=False, inlined=False, fused=False, any_order=False):
    """Compile `function` at its first call and keep the machine code on disk where possible.

    A callee is optimised anew in every kernel above it, so that deep files compile for a minute.
    Two things help:

    helper : bool
        Only kernels call it: no wrappers for calls from Python, of which one would end the process.
    inlined : bool
        Its source is pasted into the kernels that call it, best one: a level less.

    And two make it faster, and leave NaN and infinity what they are:

    fused : bool
        A product and a sum may be rounded once.
    any_order : bool
        And sums be taken in any order, as vector instructions do.
    """
    if function is None:
        return functools.partial(
            njit, helper=helper, inlined=inlined, fused=fused, any_order=any_order
        )
    with undisturbed():  # here, so that `import skmtl` does not import numba
        from ._kernel import make_kernel

    # Only Python and other kernels call kernels, and divisions are guarded where they need it.
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
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


@contextlib.contextmanager
def worker_pool(n_jobs):
    """A pool of threads for `run_chunks`, None for one; BLAS is kept to one thread inside.

    One pool a fit: starting threads and looking up BLAS libraries takes milliseconds, a call of
    `run_chunks` often less.
    """
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

    For work that is done item by item, whatever the spans are; sums need `run_chunks`.
    """

    def some(start, stop):
        for a in range(start, stop, most):
            function(a, min(a + most, stop))

    if executor is None:
        some(0, n_items)
    else:
        run_chunks(some, n_items, executor=executor)
