"""Kernels: numba's dispatcher, made robust against damaged caches and Ctrl-C.

This module imports numba, so `_jit` imports it only with the first kernel.
"""

import contextlib
import functools
import hashlib
import pickle
from pathlib import Path

import numba
from numba.core import caching, serialize
from numba.core.registry import CPUDispatcher

from ._compiling import report_compiling, undisturbed

__all__ = ["make_kernel"]


def make_kernel(function, options):
    """Compile `function` at its first call and cache the machine code on disk if possible."""
    kernel = numba.njit(**options)(function)
    if not isinstance(kernel, CPUDispatcher):  # NUMBA_DISABLE_JIT
        return kernel
    kernel.__class__ = _Kernel
    try:
        kernel._cache = _DiskCache(function)
    except RuntimeError:  # neither the installation nor the home folder is writable
        kernel._cache = _NoCache()
    return kernel


class _Kernel(CPUDispatcher):
    """Dispatcher that raises Ctrl-C as KeyboardInterrupt, and never while compiling."""

    def __call__(self, *args):
        try:
            return _call(self, *args)
        except SystemError as error:
            # An exception raised while machine code runs surfaces as a SystemError. Callers that
            # catch Exception, such as cross-validation, would swallow a Ctrl-C in this form.
            if error.__cause__ is not None:
                raise error.__cause__ from None
            raise

    def _compile_for_args(self, *args, **kwargs):
        with undisturbed():
            return super()._compile_for_args(*args, **kwargs)


_call = CPUDispatcher.__call__


@functools.cache
def _digests(folder):
    """Return a digest of every Python file in a folder; the files are read once per process."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob("*.py")}


class _CheckedCode(caching.CompileResultCacheImpl):
    """Machine code with a checksum, because LLVM aborts the process on truncated code."""

    def reduce(self, cres):
        code = serialize.dumps(super().reduce(cres))
        return hashlib.sha256(code).digest(), code

    def rebuild(self, target_context, payload):
        digest, code = payload
        if hashlib.sha256(code).digest() != digest:
            raise ValueError("the machine code is damaged")
        return super().rebuild(target_context, pickle.loads(code))


class _DiskCache(caching.FunctionCache):
    """Cache that discards damaged entries, and tolerates a full or read-only disk.

    The machine code of a kernel contains that of the kernels it calls, but numba's stamp covers
    only the file of the kernel. Here the stamp covers all files in the folder.
    """

    _impl_class = _CheckedCode

    def __init__(self, function):
        super().__init__(function)
        digests = _digests(Path(function.__code__.co_filename).parent)
        self._cache_file._source_stamp = self._cache_file._source_stamp, digests

    def load_overload(self, sig, target_context):
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file can raise any exception
            found = None
            self._discard()
        if found is None:
            report_compiling()
        return found

    def save_overload(self, sig, data):
        # If saving fails, the next process compiles again.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)

    def _discard(self):
        try:
            self.flush()
        except OSError:  # the folder is read-only
            self.disable()


class _NoCache(caching.NullCache):
    """Cache that stores nothing."""

    def load_overload(self, sig, target_context):
        report_compiling()
