"""Support for scikit-learn's callbacks (experimental since 1.9) and for `verbose`."""

from collections.abc import Callable

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in without callbacks."""

    def _with_callbacks(method):
        """Return the method unchanged."""
        return method


from ._compat import Method
from ._compiling import notify_of_compiling

__all__ = ["CallbackSupportMixin", "Progress", "with_callbacks"]


# scikit-learn has no types: the decorated method keeps its own.
with_callbacks: Callable[[Method], Method] = _with_callbacks


class Progress:
    """Progress of a fit: prints it if `verbose`, and passes it to scikit-learn's callbacks.

    Create it at the beginning of a fit decorated with `with_callbacks`, call it with a line of text
    at each step, and call `end` when the estimator is fitted.
    """

    def __init__(self, estimator, X, y):
        self.estimator, self.X, self.y = estimator, X, y
        self.context = None
        if estimator.verbose:
            notify_of_compiling(self._print)
        if hasattr(estimator, "_init_callback_context"):
            self.context = estimator._init_callback_context(max_subtasks=None)
            self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def __call__(self, text):
        if self.estimator.verbose:
            self._print(text)
        if self.context is not None:
            step = self.context.subcontext(task_name=text)
            step.call_on_fit_task_begin(estimator=self.estimator)
            step.call_on_fit_task_end(estimator=self.estimator)

    def _print(self, text):
        print(f"[{type(self.estimator).__name__}] {text}")

    def end(self):
        """Report that the estimator is fitted."""
        if self.estimator.verbose:
            notify_of_compiling(None)
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator, X=self.X, y=self.y, reconstruction_attributes={}
            )
