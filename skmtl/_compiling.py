"""Compile kernels without interruption, and notify the user once per process."""

import contextlib
import gc
import signal
import threading

__all__ = ["notify_of_compiling", "report_compiling", "undisturbed"]


@contextlib.contextmanager
def undisturbed():
    """Delay Ctrl-C and garbage collection until the end of the block.

    Importing numba or compiling a kernel must not be interrupted: the process would be left with
    partly initialised modules, and LLVM's callbacks swallow exceptions. Compiling a kernel takes a
    second or two, of which garbage collection would take a fifth, as numba creates millions of
    objects.
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


_listener, _notified = None, False


def notify_of_compiling(listener):
    """Call ``listener(text)`` when a kernel is first compiled in this process; None for nobody."""
    global _listener
    _listener = listener


def report_compiling():
    """Notify the listener that a kernel is not cached and is now being compiled."""
    global _notified
    if _listener is not None and not _notified:
        _notified = True
        _listener("compiling kernels, which takes some seconds once after an installation")
