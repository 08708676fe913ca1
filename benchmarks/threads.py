"""Pin the number of threads: import this before numpy, for BLAS reads them when it loads."""

import os
import sys

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def _requested(arguments):
    """Read `--threads N` or `--threads=N`; one thread by default."""
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--threads":
            return int(value or arguments[position + 1])
    return 1


COUNT = _requested(sys.argv)


def environment(count=COUNT):
    """Return a copy of the environment in which every library uses `count` threads."""
    return os.environ | dict.fromkeys(VARIABLES, str(count))


os.environ.update(environment())
