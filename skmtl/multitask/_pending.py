"""Models whose rows have been added up, but that are solved when they are asked for."""

import numbers
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._callbacks import Progress, with_callbacks
from .._jit import worker_pool

__all__ = ["PendingMixin", "check_solve"]

# What a solution sets and methods read, beside what tells the tasks and the columns. There is none
# of it while rows wait for a solution. Attributes of parts that `partial_fit` does not fit, such as
# grouping columns, are not among it, so that it costs nothing to ask whether a model has them.
_SOLUTION = frozenset({
    "coef_", "coef_feature_names_", "history_", "intercept_", "kkt_residual_", "loss_", "n_iter_",
    "shared_coef_", "shared_intercept_", "sharing_", "target_scale_", "task_report_",
    "_adapter", "_fitted_loss", "_importances", "_inference", "_n_rows", "_parts_by_loss",
    "_residual_scale",
})  # fmt: skip


def check_solve(solve):
    """Return the argument of `partial_fit` as a bool or a number of rows, or raise a ValueError."""
    if isinstance(solve, (bool, np.bool_)):
        return bool(solve)
    if not isinstance(solve, numbers.Integral) or solve < 1:
        raise ValueError(
            f"solve={solve!r} must be True (fit the models in this call), False (when they are "
            "next asked for), or a whole number of rows of at least 1, after which they are fitted."
        )
    return int(solve)


class PendingMixin:
    """Solve for the kept moments when a fitted attribute is asked for.

    While rows wait for a solution, ``_rows_to_solve`` has their number and the attributes in
    `_SOLUTION` are missing. Every change of the state is one assignment: it is prepared in a draft,
    so that neither an error nor Ctrl-C leaves a model between two states.
    """

    _kept: Any
    n_jobs: int | None

    if not TYPE_CHECKING:  # for type checkers, a class with it has all attributes

        def __getattr__(self, name):
            if name in _SOLUTION:
                if "_rows_to_solve" in vars(self):
                    self._solve_for(name)
                if name in vars(self):  # or solved by another thread
                    return vars(self)[name]
            # The error of a descriptor, which says why the attribute is missing, or of the class.
            return object.__getattribute__(self, name)

    def __dir__(self) -> list[str]:
        if "_rows_to_solve" not in vars(self):
            return list(super().__dir__())
        # That of scikit-learn asks for every attribute, to see which there are.
        return [*object.__dir__(self), *(name for name in _SOLUTION if name[0] != "_")]

    def _get_fitted_attr_html(self, doc_link=""):
        """Return what notebooks display (since scikit-learn 1.9), which is no reason to solve."""
        shown = self
        if "_rows_to_solve" in vars(self):
            shown = self._draft()
            shown._forget_solution()
        return super(PendingMixin, shown)._get_fitted_attr_html(doc_link)

    def _solve_for(self, name):
        """Fit the models, because an attribute was asked for."""
        draft = self._draft()
        draft._forget_solution()
        try:
            draft._solve_kept()
        except AttributeError as error:  # to `hasattr`, it would be a missing attribute
            raise RuntimeError(f"{_while_solving(name)}: {error}") from error
        except Exception as error:
            error.add_note(f"{_while_solving(name)}.")
            raise
        self._become(draft)

    @with_callbacks
    def _solve_kept(self):
        found = self._needs_all_rows()
        if found is not None:
            raise ValueError(
                f"{found[0]} all rows at once, but the rows of partial_fit are not kept; "
                f"{found[1]}."
            )
        self._check_folds(self._n_folds(), self._kept)
        progress = Progress(self, None, None)
        with worker_pool(self.n_jobs) as executor:
            self._solve(self._linear_structure(), self._kept, executor, progress)
        progress.end()

    def _draft(self):
        """Return a copy with the same attributes, for changes."""
        draft = object.__new__(type(self))
        vars(draft).update(vars(self))
        return draft

    def _become(self, draft):
        """Take over the attributes of a draft."""
        kept = draft._kept
        self.__dict__ = draft.__dict__
        if kept is not None:
            self._kept = kept.written()

    def _forget_solution(self):
        """Remove the attributes of a solution, and return how many rows have waited for one."""
        for name in _SOLUTION:
            vars(self).pop(name, None)
        return vars(self).pop("_rows_to_solve", 0)

    def __copy__(self) -> Self:
        if vars(self).get("_kept") is not None:
            self._kept = self._kept.shared()
        return self._draft()


def _while_solving(name):
    return (
        f"while solving for the rows of partial_fit, as {name!r} was asked for; their moments are "
        "kept, so that other parameters or further rows may help"
    )
