"""The part of the multi-task estimators that deals with learners other than linear models."""

from dataclasses import replace

import numpy as np
from sklearn.base import is_classifier

from .._validation import check_learner
from ..sharing import BY_NAME, Auto, PartialPooling
from ..sharing.estimator import SharedLearner
from ..sharing.learned.design import Rows
from ..sharing.learned.problem import RowProblem
from ..tasks.columns import as_table

__all__ = ["LearnedMixin", "has_learners"]

# Fitted attributes of linear models, with what takes their place.
_LINEAR = {
    "coef_", "intercept_", "shared_coef_", "shared_intercept_", "coef_feature_names_",
}  # fmt: skip


def has_learners(sharing):
    """Return whether a sharing structure, or the name of one, fits learners on rows."""
    return hasattr(BY_NAME.get(sharing) if isinstance(sharing, str) else sharing, "fit_rows")


class _LinearAttribute:
    """Fitted attribute of linear models, which says why it is missing.

    A value in the instance precedes it, as it has no ``__set__``.
    """

    def __init__(self, name):
        self.name = name

    def __get__(self, model, owner=None):
        if model is None:
            return self
        if model._learned is not None:
            raise AttributeError(model._not_linear(self.name))
        raise AttributeError(f"{type(model).__name__!r} object has no attribute {self.name!r}")


class LearnedMixin:
    """Fit and predict with a `LearnedModel`, where the sharing structure has one."""

    _learned = None

    def _no_importances(self):
        """Return the error of `feature_importances_`."""
        if self._learned is not None:
            return AttributeError(
                f"{self._not_linear('feature_importances_')} "
                "sklearn.inspection.permutation_importance works for any model."
            )
        return AttributeError(
            f"{type(self).__name__} has no feature_importances_, because the preprocessor "
            "does not show which columns its outputs come from; set preprocessor= to a "
            'transformer that keeps the names of columns, or to "auto".'
        )

    def _check_learners(self):
        """Raise a ValueError for parameters that do not fit together."""
        if self.estimator is not None:
            check_learner(self.estimator, is_classifier(self))
            if not isinstance(self._named_object(), Auto):
                raise ValueError(
                    "estimator= is a further learner for sharing='auto', but "
                    f"sharing={self.sharing!r}; set sharing='auto', or use "
                    "sharing=SharedEstimator(...) of skmtl.sharing for this learner alone."
                )
        if getattr(self, "keep_moments", False) and has_learners(self._structure()):
            raise ValueError(
                f"keep_moments=True is for linear models, but sharing={self.sharing!r} also fits "
                "learners; set keep_moments=False, or sharing='partial_pooling'."
            )

    def _structure(self):
        """Return a copy of the sharing structure; of "auto", sometimes its linear models alone.

        They are all there is if moments are kept, and for a loss of scores.
        """
        if getattr(self, "keep_moments", False) or self._minimises_scores():
            return self._linear_structure()
        return self._named_object()

    def _linear_structure(self):
        """Return a copy of the sharing structure, of "auto" its linear models alone."""
        solver = self._named_object()
        return PartialPooling() if self._has_linear_part() else solver

    def _has_linear_part(self):
        """Return whether linear models are a part of the structure that can be fitted alone."""
        is_auto = isinstance(self.sharing, Auto) or self.sharing == "auto"
        return is_auto and self.estimator is None

    def _takes_sparse(self):
        """Return whether X may be sparse: not if a learner is all there is."""
        return not isinstance(self.sharing, SharedLearner) and self.sharing != "hidden_layers"

    def _not_linear(self, name):
        used = [str(n) for n in self.member_report_["member"][self.member_report_["weight"] > 0]]
        return (
            f"{type(self).__name__} has no {name}, because the fit is not linear: it uses "
            f"{', '.join(used)} (member_report_). Set sharing='partial_pooling' for linear models."
        )

    def _learn(self, solver, settled, parts, fit_table, rows, view, progress, losses=None):
        """Return the `SharingFit` of a structure with learners.

        Parameters
        ----------
        solver : object
            The sharing structure, with ``fit_rows``.
        settled : Settled
            The rows, with their keys.
        parts : list of Partition
        fit_table : callable
            As `RowProblem.of` takes it.
        rows : ResolvedRows
        view : RowView
        progress : Progress
        losses : TaskLosses, optional
        """
        if not parts:
            raise ValueError(
                f"sharing={self.sharing!r} needs cross-validation, but cv=None; set cv=5, or "
                "choose a structure of linear models with numbers for its strengths."
            )
        problem = RowProblem.of(
            settled,
            parts,
            fit_table,
            rows.X,
            view,
            loss=self._loss,
            n_classes=int(settled.table.y.max()) + 1 if is_classifier(self) else 0,
            n_jobs=self.n_jobs,
            seed=self._seed(),
            progress=progress,
            estimator=self.estimator,
            task_losses=losses,
            learns_noise=isinstance(self.task_weight, str) and self.task_weight == "uncertainty",
            has_groupings=self.grouping_columns is not None,
            scale_by_task=getattr(self, "target_scale", None) == "task",
        )
        fitted = solver.fit_rows(problem)
        learned = replace(fitted.learned, view=view.learner_view)
        return replace(fitted, held_out=None, learned=learned)

    def _store_learned(self, fitted):
        """Set the attributes of a fit with learners, and remove those of an earlier one."""
        self.__dict__.pop("member_report_", None)
        self._learned = self._view = None
        if fitted.learned is None:
            return
        self.member_report_ = fitted.learned.member_report
        if fitted.learned.model is None:
            return
        for name in _LINEAR:
            self.__dict__.pop(name, None)
        self._learned, self._view = fitted.learned.model, fitted.learned.view

    def _adapt_learned(self, raw, X, y, weight, adapter=None, **kwargs):
        """Return the `TaskBlend` of a new task, and the leave-one-out error of its linear model.

        `adapter` takes the place of that of the linear models.
        """
        raw = self._columns.select(as_table(raw))
        rows, learned = Rows(X, self._view(raw, X), np.full(len(y), -1)), self._learned
        if adapter is not None:
            learned = replace(learned, linear=replace(learned.linear, adapter=adapter))
        return learned.adapt(rows, y, weight, **kwargs)

    def _predict_learned(self, rows):
        """Return the scores ``(n_rows, n_scores)`` of rows, and their tasks.

        For a 2-D target, scores have one column per task, and the tasks are None.
        """
        n, view = rows.X.shape[0], self._view(rows.raw, rows.X)
        if self._task_source == "target":
            columns = [
                self._learned.predict(Rows(rows.X, view, np.full(n, t)))
                for t in range(len(self.tasks_))
            ]
            return np.hstack(columns), None
        codes = np.zeros(n, dtype=np.int64) if rows.codes is None else rows.codes
        return self._learned.predict(Rows(rows.X, view, codes)), codes


for _name in _LINEAR:
    setattr(LearnedMixin, _name, _LinearAttribute(_name))
