"""Compilation and threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import skmtl
from skmtl._jit import N_CHUNKS, run_chunks, worker_pool


def spans(start, stop, out):
    out[start:stop] += 1
    return start, stop


@pytest.mark.parametrize("n_items", [0, 1, 31, 64, 1000])
@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_chunks_cover_every_item_once_in_order(n_items, n_jobs):
    out = np.zeros(n_items)
    with worker_pool(n_jobs) as pool:
        assert (pool is None) == (n_jobs != 2)
        parts = run_chunks(spans, n_items, out, pool=pool)
    np.testing.assert_array_equal(out, 1.0)
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts)][:-1]
    assert parts[-1][1] == n_items and len(parts) <= N_CHUNKS


def test_errors_of_threads_arrive():
    def fail(start, stop):
        raise ZeroDivisionError

    with worker_pool(2) as pool, pytest.raises(ZeroDivisionError):
        run_chunks(fail, 1000, pool=pool)


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
