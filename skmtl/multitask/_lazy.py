"""The part of the multi-task estimators that reads lazy frames, whose rows are not in memory."""

import warnings

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from .._callbacks import Progress
from .._jit import worker_pool
from .._validation import check_coverage
from .._warnings import warn_user
from ..base import ResolvedRows
from ..losses import LOG_LOSS, SQUARED_ERROR
from ..losses.per_task import BY_NAME
from ..queries.classes import find_two_classes
from ..queries.encoding import read_columns, to_numbers
from ..queries.frames import read_lazy
from ..queries.moments import block_sums
from ..queries.predictions import Models, mean_of
from ..queries.reading import LazyColumns, key_kinds, keys_as
from ..queries.working import LOSSES, ModelQueries
from ..sharing.tree import TaskTree
from ..sharing.working_problem import WorkingProblem
from ..task_models import check_residual_scale
from ..tasks.blocks import folds
from ..tasks.copies import Settled
from ..tasks.fold_column import refuse_empty_folds
from ..tasks.keys import ColumnUnits
from ._learned import has_learners
from ._partial_fit import PartialFitMixin, SeenRows
from ._separation import warn_of_pure_tasks

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

    def _lazy_loss(self):
        """Return the loss of all tasks if queries have its moments, else None."""
        if is_classifier(self):
            return LOG_LOSS
        loss = BY_NAME.get(self.loss) if isinstance(self.loss, str) else self.loss
        return loss if loss is SQUARED_ERROR or loss in LOSSES else None

    def _needs_rows_in_memory(self):
        """Return which parameter needs rows in memory, and the remedy; None if queries suffice."""
        found = PartialFitMixin._needs_all_rows(self)
        if self._lazy_loss() is None:
            if found is not None and found[0].startswith("loss="):
                names = ", ".join(repr(loss.name) for loss in (SQUARED_ERROR, *LOSSES))
                found = found[0], f"set loss to one of {names} for all tasks"
            return found
        if found is None or not found[0].startswith("loss="):
            return found
        if isinstance(self._named_object(), TaskTree):
            return "sharing=TaskTree needs", "set sharing='partial_pooling'"
        return None

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
        found = self._needs_rows_in_memory()
        if found is not None:
            raise ValueError(
                f"{found[0]} all rows in memory, but X is a lazy frame; collect it, or {found[1]}."
            )

    def _start_lazy(self, X, y, sample_weight, task):
        """Check the arguments of `fit`, and return the number of folds and the `Progress`."""
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
        return n_folds, progress

    def _fit_lazy(self, X, y, sample_weight, n_folds, progress):
        """Fit to a lazy frame; `y` and `sample_weight` are names of its columns.

        Returns
        -------
        fitted : SharingFit
        seen : SeenRows
            The moments of the features and the target.
        """
        loss, named = self._lazy_loss(), y
        found = LazyColumns.find(X, y, sample_weight, self)
        table, preprocessor, summary = found.read(self, n_folds, progress)
        if loss is not SQUARED_ERROR:
            self._check_lazy_target(loss, X, named, sample_weight, summary)
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
            if loss is SQUARED_ERROR:
                fitted, stds = self._fit_seen(
                    solver, seen, rows, y, restriction, executor, progress
                )
            else:
                queries = ModelQueries(table, sums, summary.mean[:-1], loss, n_folds or 1, progress)
                fitted, stds = self._fit_scores(
                    solver, seen, rows, restriction, executor, progress, queries
                )
        self._store(found.X, y, rows, solver, fitted, seen.sizes, stds)
        return fitted, seen

    def _check_lazy_target(self, loss, X, y, sample_weight, summary):
        """Raise a ValueError for targets that a loss does not have; classes are known already."""
        if is_classifier(self):
            return
        loss.check_target(np.array([summary.low[-1], summary.high[-1]]))
        if loss is LOG_LOSS:
            classes, _ = find_two_classes(X, y, sample_weight)
            loss.check_target(classes.astype(np.float64))

    def _fit_scores(self, solver, seen, rows, restriction, executor, progress, queries):
        """Fit to queries of the working moments at the scores of the models.

        Parameters
        ----------
        seen : SeenRows
        queries : ModelQueries

        Returns
        -------
        fitted : SharingFit
        stds : ndarray of shape (n_features,)
            Standard deviations of the features.
        """
        blocks, whole = seen.moments, seen.moments.merge(executor=executor)
        stds = np.sqrt(whole.pooled()[2][:-1])
        settled, schemes, row_unit, loss = Settled(None), [], 1.0, queries.loss
        if self.cv is not None:
            row_unit = seen.unit
            blocks, whole = blocks.faded(row_unit), whole.faded(row_unit)
            settled, schemes = seen.settled(whole), [(blocks, folds(None, seen.n_folds))]
        every = np.ones(len(seen.sizes), dtype=bool)
        settled = self._weigh_moments(settled, solver, rows, np.zeros(0), every, blocks, whole)
        problem = WorkingProblem(
            schemes, whole, executor=executor, progress=progress, within=self._within(solver),
            copies=settled, blocks=blocks, queries=queries, row_unit=row_unit,
            n_classes=2 if loss is LOG_LOSS else 0, tol=self.tol, max_iter=self.max_iter, loss=loss,
        )  # fmt: skip
        problem.restrict(restriction)
        problem.approach()
        fitted = solver.fit_problem(problem)
        if fitted.kkt_residual > self.tol:
            warnings.warn(
                f"the final fit stopped at a KKT residual of {fitted.kkt_residual:.1e}, above "
                f"tol={self.tol:g}, after {fitted.n_iter} steps; increase "
                f"max_iter={self.max_iter} or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if loss is LOG_LOSS:
            warn_of_pure_tasks(blocks, fitted)
        return fitted, stds

    def _predict_lazy(self, X, task, outputs):
        """Return a lazy frame with further columns.

        Parameters
        ----------
        X : lazy frame
        task : object
            Must be None.
        outputs : callable
            As `Models.add` takes it; called with the scores and their standard deviations.
        """
        return self._models_of_lazy(X, task).add(read_lazy(X), outputs).to_native()

    def _predict_means_lazy(self, X, task, *, with_std=False, coverage=None):
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
        models, loss = self._models_of_lazy(X, task, scale), self._task_losses().single

        def outputs(score, std):
            found = {"prediction": mean_of(loss, score)}
            if with_std:
                found["std"] = std
            if coverage is not None:
                low, high = scale.band(coverage).tolist()
                found |= {"low": score + std * low, "high": score + std * high}
            return found

        return models.add(read_lazy(X), outputs).to_native()

    def _predict_proba_lazy(self, X, task, classes):
        """Return a lazy frame with the probabilities of two classes, named by their labels."""

        def outputs(score, std):
            scores = score * -1.0, score
            names = [f"proba_{label}" for label in classes]
            return {n: mean_of(LOG_LOSS, s) for n, s in zip(names, scores, strict=True)}

        return self._predict_lazy(X, task, outputs)

    def _models_of_lazy(self, X, task, scale=None):
        """Return the `Models` of the rows of a lazy frame, or raise for unknown tasks."""
        self._check_lazy_prediction(task)
        frame, columns = read_lazy(X), self._columns
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

        return models

    def _check_lazy_prediction(self, task):
        """Raise for models that need rows in memory."""
        if task is not None:
            raise ValueError("X is a lazy frame: the task must be one of its columns, not task=.")
        what = None
        if self._learned is not None:
            what = "learners"
        elif self._task_source == "target":
            what = "a 2-D y"
        elif self._level_effects is not None or hasattr(self, "level_coef_"):
            what = "effects of groups"
        elif not is_classifier(self) and self._task_losses().single is None:
            what = "several losses"
        elif self._columns.names is None:
            what = "columns without names"
        elif self.coef_.ndim > 2:
            what = "more than two classes"
        if what is not None:
            raise ValueError(
                f"the model has {what}, and predicts rows in memory only, but X is a lazy frame: "
                "collect it in parts, for example partition by partition."
            )

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
