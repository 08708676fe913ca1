"""What a kernel is: numba's dispatcher, made proof against damaged caches and Ctrl-C.

Imports numba, so `_jit` imports it with the first kernel only.
"""

import contextlib
import functools
import hashlib
import pickle
from pathlib import Path

import numba
from numba.core import caching, serialize
from numba.core.registry import CPUDispatcher

from ._compiling import say_compiling, undisturbed

__all__ = ["make_kernel"]


def make_kernel(function, options):
    """Compile `function` at its first call and keep the machine code on disk where possible."""
    kernel = numba.njit(**options)(function)
    if not isinstance(kernel, CPUDispatcher):  # NUMBA_DISABLE_JIT
        return kernel
    kernel.__class__ = _Kernel
    try:
        kernel._cache = _DiskCache(function)
    except RuntimeError:  # a read-only install without a writable home has nowhere to cache
        kernel._cache = _NoCache()
    return kernel


class _Kernel(CPUDispatcher):
    """A dispatcher whose callers see Ctrl-C as what it is, and never in the middle of compiling."""

    def __call__(self, *args):
        try:
            return _call(self, *args)
        except SystemError as error:
            # An exception came up while machine code ran, which cannot end before it is through.
            # `except Exception`, as in cross-validation, would take the SystemError.
            if error.__cause__ is not None:
                raise error.__cause__ from None
            raise

    def _compile_for_args(self, *args, **kwargs):
        with undisturbed():
            return super()._compile_for_args(*args, **kwargs)


_call = CPUDispatcher.__call__


@functools.cache
def _digests(folder):
    """Return a digest of every Python file of a folder; they are read once a process."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob("*.py")}


class _CheckedCode(caching.CompileResultCacheImpl):
    """Machine code with a checksum: LLVM ends the process where it is given half of it."""

    def reduce(self, cres):
        code = serialize.dumps(super().reduce(cres))
        return hashlib.sha256(code).digest(), code

    def rebuild(self, target_context, payload):
        digest, code = payload
        if hashlib.sha256(code).digest() != digest:
            raise ValueError("the machine code is damaged")
        return super().rebuild(target_context, pickle.loads(code))


class _DiskCache(caching.FunctionCache):
    """A cache whose damaged entries are discarded, and which may be full or read-only.

    Machine code holds that of the kernels it calls, and numba's stamp is of a kernel's own file
    only: here it is of all files of the folder, where a kernel may call any other.
    """

    _impl_class = _CheckedCode

    def __init__(self, function):
        super().__init__(function)
        folder = Path(function.__code__.co_filename).parent
        self._cache_file._source_stamp = self._cache_file._source_stamp, _digests(folder)

    def load_overload(self, sig, target_context):
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # a file cut short or overwritten can be unpickled to anything
            found = None
            self._discard()
        if found is None:
            say_compiling()
        return found

    def save_overload(self, sig, data):
        # What cannot be kept is compiled anew in the next process, too.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)

    def _discard(self):
        try:
            self.flush()
        except OSError:  # then neither can anything be saved
            self.disable()


class _NoCache(caching.NullCache):
    """Nothing is kept."""

    def load_overload(self, sig, target_context):
        say_compiling()
