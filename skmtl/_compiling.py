"""Kernels are compiled undisturbed, and the user is told once."""

import contextlib
import gc
import signal
import threading

__all__ = ["say_compiling", "tell_of_compiling", "undisturbed"]


@contextlib.contextmanager
def undisturbed():
    """Put off Ctrl-C, and the collection of garbage, until the end of the block.

    For imports of numba, and compiling: what stops halfway there is broken for the process, and
    LLVM calls back what swallows exceptions. The collector would take a fifth of the time, as
    numba makes millions of objects. One kernel takes a second or two.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _interrupts_held():
            yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def _interrupts_held():
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held = []
    signal.signal(signal.SIGINT, lambda *args: held.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[0])


_tell, _told = None, False


def tell_of_compiling(tell):
    """Have ``tell(text)`` called when kernels are compiled, once a process; None for silence."""
    global _tell
    _tell = tell


def say_compiling():
    """A kernel is not in the cache, and is compiled now."""
    global _told
    if _tell is not None and not _told:
        _told = True
        _tell("compiling kernels, which takes some seconds once after an installation")
