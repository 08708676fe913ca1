"""What all tests have: a generator of their own, one thread for BLAS, kernels compiled once.

No test needs what is here but for `rng`: `-n 0` runs them in one process, say for a debugger.
"""

import contextlib
import os
import random
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

try:
    import fcntl
except ImportError:  # on Windows two workers may compile the same kernel
    fcntl = None

# Workers inherit it: the tests run a process a core, and BLAS on more threads than cores waits for
# itself. A number of threads given from outside holds.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_addoption(parser):
    parser.addoption(
        "--seed",
        type=int,
        default=0,
        help="other than 0: other draws of the fixture `rng`, and another order of the tests",
    )


@pytest.fixture
def rng(request):
    """A generator of the test's own: what it draws does not hang on the tests before it."""
    case = f"{request.path.name}::{request.node.name}"
    return np.random.default_rng([zlib.crc32(case.encode()), request.config.option.seed])


def pytest_collection_modifyitems(config, items):
    """Refuse generators that tests share, since what one draws would hang on who ran before."""
    generators = (np.random.Generator, np.random.RandomState)
    for module in {item.module for item in items if hasattr(item, "module")}:
        shared = [name for name, value in vars(module).items() if isinstance(value, generators)]
        if shared:
            raise pytest.UsageError(
                f"{module.__name__} shares generators among its tests: {shared}; take the fixture "
                "`rng`, or delete them once the module's constants are drawn."
            )
    if config.option.seed:
        random.Random(config.option.seed).shuffle(items)


# --------------------------------------------------------------------------------- compilation


def pytest_configure(config):
    """Let workers compile each kernel once for all of them."""
    if not fcntl or os.environ.get("NUMBA_DISABLE_JIT"):
        return
    if hasattr(config, "workerinput"):
        _compile_once(Path(os.environ["SKMTL_KERNEL_LOCKS"]))
    elif config.getoption("numprocesses", None):
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        os.environ["SKMTL_KERNEL_LOCKS"] = folder.name


def _compile_once(folder):
    """Whoever compiles a kernel holds its lock; the others then find it in the cache on disk.

    The compiler's own lock, of threads, is taken first, as it is held where a kernel's callees are
    compiled in turn; callees call nothing above them, so that no two processes wait for each other.
    """
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    compile_kernel = Dispatcher.compile

    def compile_once(self, sig):
        with global_compiler_lock, _lock(folder / self.py_func.__qualname__):
            return compile_kernel(self, sig)

    Dispatcher.compile = compile_once


@contextlib.contextmanager
def _lock(path):
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
