"""The part of the multi-task regressor that reads lazy frames, whose rows are not in memory."""

import numpy as np

from .._callbacks import Progress
from .._jit import worker_pool
from .._validation import check_coverage
from .._warnings import warn_user
from ..base import ResolvedRows
from ..queries.encoding import read_columns, to_numbers
from ..queries.frames import read_lazy
from ..queries.moments import block_sums
from ..queries.predictions import Models, mean_of
from ..queries.reading import LazyColumns, key_kinds, keys_as
from ..task_models import check_residual_scale
from ..tasks.fold_column import refuse_empty_folds
from ..tasks.keys import ColumnUnits
from ._learned import has_learners
from ._partial_fit import SeenRows

__all__ = ["LazyMixin"]


class LazyMixin:
    """Fit to the moments that queries return, and predict by a join."""

    def _fits_moments_of_folds(self):
        """Return whether rows in memory are fitted by their moments, as those of lazy frames are.

        With the same folds, the fits are then the same.
        """
        if self.fold_column is None or self.cv is None or has_learners(self._structure()):
            return False
        return self._needs_all_rows() is None

    def _check_lazy(self, y, sample_weight, task):
        """Raise for arguments and parameters that need rows in memory."""
        for parameter, value in (("y", y), ("sample_weight", sample_weight)):
            if not isinstance(value, str) and (value is not None or parameter == "y"):
                raise TypeError(
                    f"X is a lazy frame, so {parameter} must be the name of one of its columns, "
                    f"but it is of type {type(value).__name__}."
                )
        if task is not None:
            raise ValueError(
                "X is a lazy frame, so the task must be one of its columns: set task_column= "
                "instead of passing task=."
            )
        found = self._needs_all_rows()
        if found is not None:
            raise ValueError(
                f"{found[0]} all rows in memory, but X is a lazy frame; collect it, or {found[1]}."
            )

    def _fit_lazy(self, X, y, sample_weight, task):
        """Fit to a lazy frame; `y` and `sample_weight` are names of its columns."""
        self._check_lazy(y, sample_weight, task)
        self._check_categorical()
        n_folds, progress = self._n_folds(), Progress(self, X, y)
        if n_folds is not None and self.fold_column is None:
            raise ValueError(
                "X is a lazy frame, whose rows have no order, so that cross-validation needs a "
                "column of fold numbers or of integer ids: set fold_column= to its name; or set "
                "cv=None, and numbers for the strengths."
            )
        if has_learners(self.sharing):
            warn_user(
                f"sharing={self.sharing!r} fits its linear models only, because X is a lazy frame "
                "and learners need all rows in memory; set sharing='partial_pooling'{}.",
                [],
            )
        found = LazyColumns.find(X, y, sample_weight, self)
        table, preprocessor, summary = found.read(self, n_folds, progress)
        solver = self._linear_structure()
        restriction = self._restriction(solver, found.X, preprocessor, table)
        sums = block_sums(table, n_folds or 1, summary, progress)
        units = ColumnUnits(summary.mean[:-1], sums.unit[:-1])
        weight = float(sums.moments.weight.sum())
        seen = SeenRows(sums.moments, weight, sums.sizes, units, sums.fourth)
        if n_folds is not None:
            refuse_empty_folds(self.fold_column, seen.moments.weight.sum(axis=0))
        rows = ResolvedRows(None, None, sums.labels, preprocessor=preprocessor)
        y = np.zeros(0)
        with worker_pool(self.n_jobs) as executor:
            fitted, stds = self._fit_seen(solver, seen, rows, y, restriction, executor, progress)
        self._store(found.X, y, rows, solver, fitted, seen.sizes, stds)
        return self._finish(progress, fitted, seen if self.keep_moments else None)

    def _predict_lazy(self, X, task, *, with_std=False, coverage=None):
        """Return a lazy frame with predictions as further columns.

        Parameters
        ----------
        X : lazy frame
        task : object
            Must be None.
        with_std : bool
            Whether to add their standard deviations.
        coverage : float, optional
            Add bounds of intervals that contain this fraction of new labels.
        """
        scale = None
        if with_std or coverage is not None:
            scale = check_residual_scale(self._residual_scale)
        if coverage is not None:
            check_coverage(coverage)
        frame, columns = read_lazy(X), self._columns
        loss = self._check_lazy_prediction(task)
        schema = dict(frame.collect_schema())
        missing = [name for name in columns.names if name not in schema]
        if missing:
            raise ValueError(f"X, a lazy frame, has no columns {missing}, which fit had.")
        kinds = read_columns(schema, columns.names, "a feature")
        models = Models(
            self.tasks_.tolist(), self._lazy_keys(schema),
            to_numbers(self.preprocessor_, columns.names, kinds),
            np.vstack([self.coef_, self.shared_coef_]),
            np.append(self.intercept_, self.shared_intercept_),
            scale,
        )  # fmt: skip
        remedy = self._remedy_for_unknown_tasks()
        if remedy is not None and models.keys:
            unknown = models.count_unknown(frame)
            if unknown:
                raise ValueError(f"{unknown} rows belong to tasks never seen in fit; {remedy}.")

        def outputs(score, std):
            found = {"prediction": mean_of(loss, score)}
            if with_std:
                found["std"] = std
            if coverage is not None:
                low, high = scale.band(coverage).tolist()
                found |= {"low": score + std * low, "high": score + std * high}
            return found

        return models.add(frame, outputs).to_native()

    def _check_lazy_prediction(self, task):
        """Return the loss of all tasks, or raise for models that need rows in memory."""
        if task is not None:
            raise ValueError("X is a lazy frame: the task must be one of its columns, not task=.")
        what = None
        losses = self._task_losses()
        if self._learned is not None:
            what = "learners"
        elif self._task_source == "target":
            what = "a 2-D y"
        elif self._level_effects is not None or hasattr(self, "level_coef_"):
            what = "effects of groups"
        elif losses.single is None:
            what = "several losses"
        elif self._columns.names is None:
            what = "columns without names"
        if what is not None:
            raise ValueError(
                f"the model has {what}, and predicts rows in memory only, but X is a lazy frame: "
                "collect it in parts, for example partition by partition."
            )
        return losses.single

    def _lazy_keys(self, schema):
        """Return the columns of the task as expressions, none without tasks."""
        if self._task_source == "none":
            return []
        if self.task_column is None:
            raise ValueError(
                "the model was fitted with task=, but X is a lazy frame: fit it with task_column=."
            )
        names = [self.feature_names_in_[i] for i in self._columns.tasks]
        missing = [name for name in names if name not in schema]
        if missing:
            raise ValueError(f"the task column {missing} is not a column of X, a lazy frame.")
        kinds = key_kinds(schema, names)
        known = self._labels.kind if isinstance(self._labels.kind, tuple) else (self._labels.kind,)
        if tuple(kinds.values()) != known:
            raise ValueError(
                f"the task column of X, a lazy frame, holds labels of kind {tuple(kinds.values())},"
                f" but the model was fitted on {known}; convert them in the frame."
            )
        return keys_as(kinds)
