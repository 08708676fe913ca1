"""The part of the multi-task estimators that reads lazy frames, whose rows are not in memory."""

import functools
from dataclasses import replace

import numpy as np
from sklearn.base import is_classifier

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
from ..queries.moments import block_sums, sharded_sums
from ..queries.predictions import Models, mean_of
from ..queries.reading import LazyColumns, key_kinds, keys_as
from ..queries.working import LOSSES, ModelQueries
from ..sharing.problem import Problem
from ..sharing.sharded import ShardedProblem
from ..sharing.tree import TaskTree
from ..sharing.working_problem import WorkingProblem
from ..task_models import check_residual_scale
from ..tasks.blocks import folds
from ..tasks.copies import Settled
from ..tasks.keys import ColumnUnits
from ..tasks.moments import TaskMoments, moment_bytes
from ..tasks.seen import SeenRows
from ._learned import has_learners
from ._partial_fit import PartialFitMixin
from ._separation import warn_of_pure_tasks
from ._weights import labels_of

__all__ = ["LazyMixin"]

# What a fit holds of a shard at a time, in sizes of its moments: results of the query, the moments,
# those of the training and test rows of a split, and their factors.
_COPIES = 4.0


def bytes_of(limit):
    """Return a number of bytes, given as such or as a text like "500MB" or "2 GB".

    Raises
    ------
    ValueError
        For anything else.
    """
    units = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    number, unit = limit, 1.0
    if isinstance(limit, str):
        text = limit.strip().upper().replace("IB", "B")
        number, unit = text[:-2], units.get(text[-2:])
    try:
        found = float(number) * unit
    except (TypeError, ValueError):
        found = np.nan
    if not found >= 1e6:
        raise ValueError(
            f"memory_limit={limit!r} must be a number of bytes or a text such as '2GB', and at "
            "least 1 MB."
        )
    return found


def _added(models, X, outputs):
    """Return a lazy frame with further columns, of narwhals if `X` is such a frame."""
    frame = read_lazy(X)
    found = models.add(frame, outputs)
    return found if X is frame else found.to_native()


def _seen_rows(sums, labels, summary, n_folds):
    """Return the `SeenRows` of sums for all tasks, of which some may have no rows of any weight."""
    sizes, moments = sums.sizes, sums.moments
    if sums.labels is not None and len(labels) > len(sums.labels):
        sizes = np.zeros(len(labels), dtype=np.int64)
        where = labels.encode(sums.labels.classes)
        sizes[where] = sums.sizes
        if isinstance(moments, TaskMoments):
            moments = moments.expanded(len(labels), where)
    seen = SeenRows(moments, float(moments.weight.sum()), sizes)
    if n_folds is None:
        return seen
    units = ColumnUnits(summary.mean[:-1], sums.unit[:-1])
    return replace(seen, keys=units, fourth=sums.fourth)


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
        if getattr(self, "memory_limit", None) is not None:
            bytes_of(self.memory_limit)  # raises
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
        """Fit to a lazy frame; `y` and `sample_weight` are names of its columns."""
        loss, named = self._lazy_loss(), y
        found = LazyColumns.find(X, y, sample_weight, self)
        table, preprocessor, summary = found.read(self, n_folds, progress)
        if loss is not SQUARED_ERROR:
            self._check_lazy_target(loss, X, named, sample_weight, summary)
        solver = self._linear_structure()
        columns = self._find_columns(found.X)
        restriction = self._restriction(solver, columns, preprocessor, table.n_features)
        n_shards, labels, problem_class = self._shards_of(table, solver, restriction, n_folds or 1)
        if n_shards > 1:
            sums = sharded_sums(table, n_folds or 1, summary, labels, n_shards, progress)
        else:
            sums = block_sums(table, n_folds or 1, summary, progress)
        every = sums.labels
        if sample_weight is not None and every is not None:
            every = found.all_labels(table)
        seen = _seen_rows(sums, every, summary, n_folds)
        rows = ResolvedRows(None, None, every, preprocessor=preprocessor)
        y = np.zeros(0)
        with worker_pool(self.n_jobs) as executor:
            if loss is SQUARED_ERROR:
                draft = self._draft()
                draft._forget_solution()
                draft._store_tasks(found.X, y, rows)
                draft._solve(solver, seen, executor, progress, problem_class)
                draft._kept = seen if self.keep_moments else None
                self._become(draft)
                return
            queries = ModelQueries(table, sums, summary.mean[:-1], loss, n_folds or 1, progress)
            fitted, stds = self._fit_scores(
                solver, seen, rows, restriction, executor, progress, queries
            )
        if is_classifier(self):
            self._store(found.X, y, rows, solver, fitted, seen.sizes, stds)
            return
        draft = self._draft()
        draft._forget_solution()
        draft._store(found.X, y, rows, solver, fitted, seen.sizes, stds)
        draft._store_target(fitted)
        draft._kept = None
        self._become(draft)

    def _shards_of(self, table, solver, restriction, n_folds):
        """Return the number of shards, and beyond one the labels and the class of the problem."""
        if getattr(self, "memory_limit", None) is None or not table.n_keys:
            return 1, None, Problem
        limit, labels = bytes_of(self.memory_limit), table.all_labels()
        size = _COPIES * moment_bytes(len(labels) * n_folds, table.n_features)
        n_shards = min(int(np.ceil(size / limit)), len(labels))
        if n_shards < 2:
            return 1, None, Problem
        what = None
        if self._minimises_scores():
            what = f"loss={self.loss!r}"
        elif self.keep_moments:
            what = "keep_moments=True"
        elif self.target_scale == "task":
            what = "target_scale='task'"
        elif not hasattr(solver, "given_strengths"):
            what = f"sharing={self.sharing!r}"
        elif restriction:
            what = "slopes that have a sign or are the same in every task"
        if what is not None:
            raise ValueError(
                f"memory_limit={self.memory_limit!r} keeps the moments of {len(labels)} tasks in "
                f"{n_shards} shards, which {what} cannot be fitted to; raise memory_limit to "
                f"{size / 1e9:.3g} GB, or leave that out."
            )
        return n_shards, labels, functools.partial(ShardedProblem, memory_limit=limit)

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
        has_rows = seen.sizes > 0
        blocks = seen.moments_of(has_rows)
        whole = blocks.merge(executor=executor)
        stds = np.sqrt(whole.pooled()[2][:-1])
        settled, schemes, row_unit, loss = Settled(None), [], 1.0, queries.loss
        if self.cv is not None:
            row_unit = seen.unit
            blocks, whole = blocks.faded(row_unit), whole.faded(row_unit)
            settled, schemes = seen.settled(whole), [(blocks, folds(None, seen.n_folds))]
        labels = labels_of(rows, np.zeros(0), len(has_rows))
        settled = self._weigh_moments(settled, solver, labels, has_rows, blocks, whole)
        problem = WorkingProblem(
            schemes, whole, executor=executor, progress=progress, within=self._within(solver),
            copies=settled, blocks=blocks, queries=queries, row_unit=row_unit,
            n_classes=2 if loss is LOG_LOSS else 0, tol=self.tol, max_iter=self.max_iter, loss=loss,
        )  # fmt: skip
        problem.restrict(restriction)
        problem.approach()
        fitted = solver.fit_problem(problem)
        self._warn_of_early_stop(fitted, 4)
        if loss is LOG_LOSS:
            warn_of_pure_tasks(blocks, fitted)
        return fitted.with_empty_tasks(has_rows), stds

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
        return _added(self._models_of_lazy(X, task), X, outputs)

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

        return _added(models, X, outputs)

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
